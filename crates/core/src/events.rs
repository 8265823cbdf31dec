//! Finds what has changed. Pure: compares the state before with the state after and the action's outcome, and returns events.
//! Log, metrics, history and notifications all use these, and never look for changes themselves.

mod target;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::Timestamp;

pub use self::target::{is_unproven_quarantine, of_answer, of_target};
use crate::model::event::{EventKind, EventRecord};
use crate::model::status::{EnvironmentStatus, Fault, RefusedCommit, RepositoryStatus, ResyncStatus};
use crate::model::{Applied, Pin, PortError, RolloutId, RolloutResult, State, TargetState};
use crate::plan::Action;

/// Something that has happened, as seen at a time.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// When Pinion saw it.
    pub at: Timestamp,
    /// What.
    pub what: What<'a>,
}

/// What has happened.
#[derive(Debug, Clone)]
pub enum What<'a> {
    /// The controller started.
    Started {
        /// Its version.
        version: &'a str,
    },
    /// Somebody asked for resyncs.
    ResyncsRequested(RangeInclusive<u64>),
    /// All environments have completed resyncs.
    ResyncsCompleted(RangeInclusive<u64>),
    /// Something about a repository's branch.
    Repository {
        /// Its URL, without credentials.
        url: &'a str,
        /// The branch.
        branch: &'a str,
        /// What has changed.
        change: RepositoryChange<'a>,
    },
    /// An environment's files were looked at for the first time, or have become good or broken.
    Files {
        /// The environment.
        environment: &'a str,
        /// The commit that its desired state is of; empty if there is none.
        revision: &'a str,
        /// What is wrong with them; empty if they are good.
        errors: &'a [String],
        /// Whether this process hasn't looked at them before.
        first: bool,
    },
    /// Something about a target.
    Target {
        /// What was known of it before this pass; `None` at the first look.
        before: Option<&'a TargetState>,
        /// What is known of it after this pass.
        after: &'a TargetState,
        /// What has changed.
        change: TargetChange<'a>,
    },
}

/// What has changed about a repository's branch.
#[derive(Debug, Clone)]
pub enum RepositoryChange<'a> {
    /// It has become unusable, or is now unusable for another reason.
    Failed(&'a Fault),
    /// It can be used again.
    Recovered,
    /// A commit is refused by its signature.
    CommitRefused(&'a RefusedCommit),
    /// No commit is refused any more.
    AllSigned,
}

/// What has changed about a target.
#[derive(Debug, Clone, PartialEq)]
pub enum TargetChange<'a> {
    /// It was seen for the first time by this process.
    Discovered,
    /// Another commit set its pin.
    PinChanged {
        /// The pin before.
        from: &'a Pin,
    },
    /// It came into a state, or is in the same one with another pin.
    State {
        /// The state before.
        from: Option<State>,
        /// The state now.
        to: State,
        /// Whether the target was already in this state: the account can merely be read again, or a restarted process has
        /// repeated the probes.
        resumed: bool,
        /// Of `in-sync`: the rollout that led there; `None` if none was needed, or its id isn't known.
        led_by: Option<&'a RolloutId>,
    },
    /// AWS reports a new status for its rollout.
    Progress {
        /// The previous status.
        from: Option<&'a str>,
        /// The current status.
        to: Option<&'a str>,
    },
    /// Something works now but needs somebody's attention.
    Warning(&'a str),
    /// Policies have begun to forbid the pin's rollout.
    Denied(Vec<&'a str>),
    /// What runs differs from the pin though no pin changed.
    Drifted,
    /// It matches its pin: again after drift, or at the first look.
    DriftCorrected,
    /// A write was accepted.
    Applied {
        /// What was to be done.
        action: &'a Action,
        /// What came of it.
        applied: &'a Applied,
    },
    /// A write failed for a new reason.
    WriteFailed {
        /// What was to be done.
        action: &'a Action,
        /// Why it failed.
        error: &'a PortError,
    },
    /// A rollout of ours runs. Reported when AWS's id of it is known, or when it has ended without one.
    RolloutStarted(RolloutRun<'a>),
    /// A rollout of ours has ended.
    RolloutEnded {
        /// The rollout.
        run: RolloutRun<'a>,
        /// When it ended.
        ended: Timestamp,
        /// How.
        result: RolloutResult,
        /// AWS's reason.
        reason: Option<&'a str>,
    },
    /// At the first look, a rollout of ours that is over already. An earlier process may have reported it.
    RolloutFound {
        /// The rollout.
        run: RolloutRun<'a>,
        /// When it ended.
        ended: Timestamp,
        /// How.
        result: RolloutResult,
        /// AWS's reason.
        reason: Option<&'a str>,
    },
    /// It came in sync with a pin whose commit was seen to arrive.
    Converged {
        /// How long that took.
        after: Duration,
    },
}

/// A rollout of ours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RolloutRun<'a> {
    /// AWS's id of it, if it is known.
    pub id: Option<&'a RolloutId>,
    /// The pin that it is for; `None` if the pin had moved on before this process saw it.
    pub pin: Option<&'a Pin>,
    /// The new shape that it brings, in one line, as far as that is known.
    pub shape: Option<&'a str>,
    /// When it started.
    pub started: Timestamp,
}

impl RolloutRun<'_> {
    /// A history record for this rollout, with its target and pin filled in.
    #[must_use]
    pub fn record(&self, kind: EventKind, key: String, at: Timestamp, state: &TargetState) -> EventRecord {
        let record = match self.pin {
            Some(pin) => EventRecord::of_pin(kind, key, at, &state.target, pin),
            None => EventRecord::of_target(kind, key, at, &state.target, &state.pin.component),
        };
        EventRecord { rollout: self.id.map(ToString::to_string), ..record }
    }
}

impl Event<'_> {
    /// Whether this only describes what the process found when it first looked; an earlier process may have reported it.
    #[must_use]
    pub fn is_first_look(&self) -> bool {
        match &self.what {
            What::Target { before, .. } => before.is_none(),
            What::Files { first, .. } => *first,
            _ => false,
        }
    }
}

/// The events for resyncs requested or completed between `before` and `after`.
#[must_use]
pub fn of_resyncs(before: ResyncStatus, after: ResyncStatus, at: Timestamp) -> Vec<Event<'static>> {
    let requested =
        (before.requested < after.requested).then(|| What::ResyncsRequested(before.requested + 1..=after.requested));
    let completed =
        (before.completed < after.completed).then(|| What::ResyncsCompleted(before.completed + 1..=after.completed));
    requested.into_iter().chain(completed).map(|what| Event { at, what }).collect()
}

/// The events of a repository's branch between `before` and `after`.
#[must_use]
pub fn of_repository<'a>(before: &'a RepositoryStatus, after: &'a RepositoryStatus, at: Timestamp) -> Vec<Event<'a>> {
    let mut changes = Vec::new();
    match (&before.error, &after.error) {
        (before, Some(fault)) if before.as_ref() != Some(fault) => changes.push(RepositoryChange::Failed(fault)),
        (Some(_), None) => changes.push(RepositoryChange::Recovered),
        _ => {}
    }
    if let Some(after) = &after.signatures {
        let known = before.signatures.as_ref();
        let is_known = |commit: &&RefusedCommit| known.is_some_and(|known| known.commits.contains(commit));
        let new = after.commits.iter().filter(|commit| !is_known(commit));
        changes.extend(new.map(RepositoryChange::CommitRefused));
        if known.is_some_and(|known| known.refused > 0) && after.refused == 0 {
            changes.push(RepositoryChange::AllSigned);
        }
    }
    let (url, branch) = (after.url.as_str(), after.branch.as_str());
    changes.into_iter().map(|change| Event { at, what: What::Repository { url, branch, change } }).collect()
}

/// Whether an environment's files have been read, and are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilesState {
    /// Nobody has looked at them.
    Unread,
    /// They are good.
    Good,
    /// Something is wrong with them.
    Broken,
}

impl FilesState {
    /// Of an environment.
    #[must_use]
    pub fn of<T>(environment: &EnvironmentStatus<T>) -> Self {
        match (environment.valid, environment.errors.is_empty()) {
            (_, false) => Self::Broken,
            (true, true) => Self::Good,
            (false, true) => Self::Unread,
        }
    }
}

/// The events of an environment's files, given their state before.
#[must_use]
pub fn of_files<'a>(
    before: FilesState,
    name: &'a str,
    after: &'a EnvironmentStatus<TargetState>,
    at: Timestamp,
) -> Option<Event<'a>> {
    let now = FilesState::of(after);
    let what = What::Files {
        environment: name,
        revision: &after.revision,
        errors: &after.errors,
        first: before == FilesState::Unread,
    };
    (now != FilesState::Unread && now != before).then_some(Event { at, what })
}
