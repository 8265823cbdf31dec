//! Instance refreshes.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::GroupSource;

/// An instance refresh.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Refresh {
    pub(crate) id: String,
    pub(crate) status: RefreshStatus,
    pub(crate) reason: Option<String>,
    /// Wall-clock milliseconds.
    pub(crate) started: i64,
    /// What the world had jumped over by then.
    #[serde(default)]
    pub(crate) skipped: u64,
    pub(crate) ended: Option<i64>,
    pub(crate) percentage: i64,
    pub(crate) to_update: i64,
    pub(crate) preferences: Preferences,
    /// As asked for.
    pub(crate) desired: Option<GroupSource>,
    /// Where new instances come from while it runs; numbered.
    pub(crate) target: GroupSource,
    /// Instances to be replaced that were there at the start (of the refresh, or of its rollback).
    pub(crate) replace: BTreeSet<String>,
    /// Instances that were there at the start and stay.
    pub(crate) keep: BTreeSet<String>,
    /// How many there were to replace at the start.
    pub(crate) total: i64,
    /// Index of the checkpoint being worked towards.
    pub(crate) checkpoint: usize,
    /// Engine time at which the pause, the bake or the start is over.
    pub(crate) resume_at: u64,
    /// Whether it waits at a checkpoint.
    pub(crate) paused: bool,
    /// Engine time of the last progress.
    pub(crate) progressed_at: u64,
    pub(crate) rollback: Option<Rollback>,
    pub(crate) wait_for_transition: bool,
}

/// Where a rollback began.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Rollback {
    pub(crate) reason: String,
    pub(crate) started: i64,
    pub(crate) percentage: i64,
    pub(crate) to_update: i64,
}

/// What a refresh was asked to respect.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Preferences {
    pub(crate) min_healthy: i64,
    pub(crate) max_healthy: i64,
    /// Whether the caller gave the percentages (they are shown only then).
    pub(crate) min_given: bool,
    pub(crate) max_given: bool,
    /// Seconds.
    pub(crate) warmup: i64,
    pub(crate) checkpoints: Vec<i64>,
    /// Seconds.
    pub(crate) checkpoint_delay: Option<i64>,
    pub(crate) skip_matching: bool,
    pub(crate) auto_rollback: bool,
    pub(crate) protected: String,
    pub(crate) standby: String,
    pub(crate) alarms: Vec<String>,
    /// Seconds.
    pub(crate) bake: Option<i64>,
}

/// A refresh's status. The names are AWS's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RefreshStatus {
    Pending,
    InProgress,
    Baking,
    Successful,
    Failed,
    Cancelling,
    Cancelled,
    RollbackInProgress,
    RollbackFailed,
    RollbackSuccessful,
}

impl RefreshStatus {
    pub(crate) fn is_active(self) -> bool {
        matches!(self, Self::Pending | Self::InProgress | Self::Baking | Self::Cancelling | Self::RollbackInProgress)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::InProgress => "InProgress",
            Self::Baking => "Baking",
            Self::Successful => "Successful",
            Self::Failed => "Failed",
            Self::Cancelling => "Cancelling",
            Self::Cancelled => "Cancelled",
            Self::RollbackInProgress => "RollbackInProgress",
            Self::RollbackFailed => "RollbackFailed",
            Self::RollbackSuccessful => "RollbackSuccessful",
        }
    }
}
