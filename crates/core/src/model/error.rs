//! How reading and writing fail.

use std::fmt;

use thiserror::Error;

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorClass {
    /// Try again later: throttled, timed out, a fault on their side.
    Retry,
    /// Not allowed. Trying again helps only after somebody changed a policy.
    Denied,
    /// Somebody else was there first, or what we read is stale: observe again.
    Conflict,
    /// The request is wrong and stays wrong.
    Invalid,
}

impl ErrorClass {
    /// The word for it, as in metrics: `retry`, `denied`, `conflict`, `invalid`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Denied => "denied",
            Self::Conflict => "conflict",
            Self::Invalid => "invalid",
        }
    }
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct PortError {
    /// What to do about it.
    pub class: ErrorClass,
    /// The service's name in IAM: `autoscaling`, `cloudwatch`, `ec2`, `ecs`, `ecr`, `ssm`, `sts`.
    pub service: &'static str,
    /// The operation: `StartInstanceRefresh`.
    pub operation: &'static str,
    /// AWS's error code, or one of ours for what never reached AWS: `Timeout`, `Connection`.
    pub code: String,
    /// AWS's message, and of a refusal what to do about it.
    pub message: String,
    /// AWS's request id.
    pub request_id: Option<String>,
    /// Whether AWS asked for fewer calls.
    pub throttled: bool,
}

impl PortError {
    /// Whether the call may have taken effect all the same: what is lost may be the answer alone.
    #[must_use]
    pub fn is_unsure(&self) -> bool {
        self.class == ErrorClass::Retry && !self.throttled
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} failed: {}", self.service, self.operation, self.code)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        match &self.request_id {
            Some(id) => write!(f, " (request {id})"),
            None => Ok(()),
        }
    }
}

/// Why a pin doesn't resolve to an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// There is no such image, or it can't be used. The text says what was looked for, where, and what to do.
    #[error("{0}")]
    Unusable(String),
    /// Looking failed.
    #[error(transparent)]
    Call(#[from] PortError),
}
