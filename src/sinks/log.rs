//! Events as log lines: each says what has changed, from what to what.

use crate::events::{Event, RepositoryChange, TargetChange, What};
use crate::model::{CommitId, ErrorClass, State, TargetState};
use crate::ports::EventSink;

/// Writes log lines.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogSink;

impl EventSink for LogSink {
    fn take(&self, event: &Event<'_>) {
        match &event.what {
            What::Repository { url, branch, change } => repository(url, branch, change),
            What::Target { before, after, change } => target(*before, after, change),
            // Said where they happen, with what only that place knows.
            What::Started { .. } | What::ResyncsRequested(_) | What::ResyncsCompleted(_) | What::Files { .. } => {}
        }
    }
}

fn repository(url: &str, branch: &str, change: &RepositoryChange<'_>) {
    match change {
        RepositoryChange::Failed(fault) => tracing::error!(repository = url, branch, "{fault}"),
        RepositoryChange::Recovered => tracing::info!(repository = url, branch, "repository can be read again"),
        RepositoryChange::CommitRefused(commit) => tracing::error!(
            repository = url,
            branch,
            commit = commit.commit,
            author = commit.author,
            committer = commit.committer,
            kind = commit.kind,
            "commit is refused: {}",
            commit.reason
        ),
        RepositoryChange::AllSigned => {
            tracing::info!(repository = url, branch, "all commits are signed by allowed signers");
        }
    }
}

fn target(before: Option<&TargetState>, after: &TargetState, change: &TargetChange<'_>) {
    let target = after.target.to_string();
    let target = target.as_str();
    let (version, provenance) = (after.pin.version.as_str(), &after.pin.provenance);
    let commit = provenance.commit.short();
    let reason = after.reason.as_ref().map(ToString::to_string);
    let reason = reason.as_deref();
    match change {
        TargetChange::PinChanged { from } => tracing::info!(
            target = target,
            from = from.version.as_str(),
            to = version,
            commit,
            author = provenance.author,
            subject = provenance.subject,
            "pin changed"
        ),
        // Another pin in the same state is said by the line above.
        TargetChange::State { from, to, .. } if *from == Some(*to) => {}
        TargetChange::State { from, to, .. } => {
            let (from, to) = (from.map(State::as_str), *to);
            match to {
                State::Quarantined | State::Overdue | State::Blocked | State::Unknown => {
                    let to = to.as_str();
                    tracing::warn!(target = target, from, to, version, commit, reason, "state changed");
                }
                _ => tracing::info!(target = target, from, to = to.as_str(), version, reason, "state changed"),
            }
        }
        TargetChange::Progress { from, to } => {
            tracing::info!(target = target, from, to, version, reason, "rollout goes on");
        }
        TargetChange::Warning(warning) => tracing::warn!(target = target, "{warning}"),
        TargetChange::Drifted => {
            let running = after.running.as_deref();
            tracing::warn!(target = target, from = version, to = running, "drifted; it is corrected");
        }
        TargetChange::DriftCorrected => {
            if let Some(before) = before {
                tracing::info!(target = target, from = before.running.as_deref(), to = version, "drift corrected");
            }
        }
        TargetChange::Applied { action, applied } => {
            let id = applied.id.as_deref();
            if action.starts_rollout() && after.state != State::Quarantined {
                tracing::info!(
                    target = target,
                    from = before.and_then(|before| before.running.as_deref()),
                    to = version,
                    version,
                    commit,
                    id,
                    author = provenance.author,
                    subject = provenance.subject,
                    "rollout started: {action}"
                );
            } else {
                tracing::info!(target = target, version, id, "{action}");
            }
            if let Some(warning) = &applied.warning {
                tracing::warn!(target = target, operation = action.operation(), "AWS warns: {warning}");
            }
        }
        TargetChange::WriteFailed { action, error } => {
            let class = error.class.as_str();
            // Somebody was quicker, or what was read is stale: no failure, and the next pass looks again.
            if error.class == ErrorClass::Conflict {
                tracing::warn!(target = target, class, "could not {action}: {error}");
            } else {
                tracing::error!(target = target, class, "could not {action}: {error}");
            }
        }
        TargetChange::RolloutEnded { run, ended, result, .. } => tracing::info!(
            target = target,
            version = run.pin.map(|pin| pin.version.as_str()),
            commit = run.pin.map(|pin| CommitId::short_of(pin.provenance.commit.as_str())),
            result = result.as_str(),
            seconds = ended.duration_since(run.started).as_secs(),
            "rollout ended"
        ),
        TargetChange::Denied(_)
        | TargetChange::Discovered
        | TargetChange::RolloutStarted(_)
        | TargetChange::RolloutFound { .. }
        | TargetChange::Converged { .. } => {}
    }
}
