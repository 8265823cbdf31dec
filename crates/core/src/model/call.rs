//! What calls to AWS came to.

use std::time::Duration;

use super::PortError;

/// What a write came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The id of what was made: a launch-template version's number, an instance refresh's id, a task definition's ARN,
    /// an ECS deployment's id. `None` where nothing was made.
    pub id: Option<String>,
    /// What AWS warned about while it accepted.
    pub warning: Option<String>,
}

/// What became of one write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The write was accepted.
    Applied(Applied),
    /// The write failed.
    Failed(PortError),
}

impl Outcome {
    /// Why the write failed; `None` if it was accepted.
    #[must_use]
    pub fn error(&self) -> Option<&PortError> {
        match self {
            Self::Applied(_) => None,
            Self::Failed(error) => Some(error),
        }
    }
}

/// One call to AWS, for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// The service's name in IAM.
    pub service: &'static str,
    /// The operation.
    pub operation: &'static str,
    /// `ok`, or the word of an [`ErrorClass`](super::ErrorClass).
    pub result: &'static str,
    /// Whether AWS asked for fewer calls.
    pub throttled: bool,
    /// From the first byte sent to the last one read.
    pub duration: Duration,
}
