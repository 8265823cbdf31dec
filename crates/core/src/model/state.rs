//! The states of a target.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of a target. What each means stands in the operator's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Every instance or task runs the artifact; the last rollout ended well.
    InSync,
    /// A rollout is due but waits.
    Pending,
    /// Our rollout runs.
    RollingOut,
    /// The rollout ended well; probes run.
    Verifying,
    /// The rollout of this very pin failed or was rolled back.
    Quarantined,
    /// The rollout outlived its deadline.
    Overdue,
    /// The target can't be planned.
    Blocked,
    /// The target is switched off in Git.
    Suspended,
    /// The account can't be read now.
    Unknown,
}

impl State {
    /// All states, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::InSync,
        Self::Pending,
        Self::RollingOut,
        Self::Verifying,
        Self::Quarantined,
        Self::Overdue,
        Self::Blocked,
        Self::Suspended,
        Self::Unknown,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InSync => "in-sync",
            Self::Pending => "pending",
            Self::RollingOut => "rolling-out",
            Self::Verifying => "verifying",
            Self::Quarantined => "quarantined",
            Self::Overdue => "overdue",
            Self::Blocked => "blocked",
            Self::Suspended => "suspended",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
