//! Events as notifications over HTTP. A change is sent as often as it happens: a target that blocks again for the same commit
//! is no new fact for the history, but somebody wants to know. How things are when a process begins is sent to nobody.

use jiff::Timestamp;

use crate::events::{Event, RolloutRun, TargetChange, What};
use crate::forge::notifier::Listener;
use crate::model::event::{EventKind, EventRecord};
use crate::model::{RolloutResult, State, TargetState};
use crate::ports::EventSink;

/// Hands events to those who want to know of them.
#[derive(Debug)]
pub struct NotificationSink {
    listeners: Vec<Listener>,
}

impl NotificationSink {
    /// For these.
    #[must_use]
    pub fn new(listeners: Vec<Listener>) -> Self {
        Self { listeners }
    }
}

impl EventSink for NotificationSink {
    fn take(&self, event: &Event<'_>) {
        if self.listeners.is_empty() {
            return;
        }
        if let Some(record) = record(event) {
            self.listeners.iter().for_each(|listener| listener.offer(&record));
        }
    }
}

/// What to send of an event; `None` if it is no news to others.
#[must_use]
pub(super) fn record(event: &Event<'_>) -> Option<EventRecord> {
    if event.is_first_look() {
        return None;
    }
    let at = event.at;
    let resync = |kind: EventKind, number: &u64| EventRecord {
        at,
        kind,
        key: format!("{kind}|{at}|{number}"),
        text: Some(format!("number {number}")),
        ..EventRecord::default()
    };
    match &event.what {
        What::Started { .. } | What::Repository { .. } => None,
        What::ResyncsRequested(numbers) => Some(resync(EventKind::ResyncRequested, numbers.end())),
        What::ResyncsCompleted(numbers) => Some(resync(EventKind::ResyncCompleted, numbers.end())),
        What::Files { environment, errors, .. } => {
            let kind = if errors.is_empty() { EventKind::EnvironmentRecovered } else { EventKind::EnvironmentBroken };
            Some(EventRecord {
                at,
                kind,
                key: format!("{kind}|{environment}|{at}"),
                environment: Some((*environment).to_owned()),
                text: errors.first().cloned(),
                ..EventRecord::default()
            })
        }
        What::Target { before, after, change } => of_target((*before)?, after, change, at),
    }
}

fn of_target(
    before: &TargetState,
    after: &TargetState,
    change: &TargetChange<'_>,
    at: Timestamp,
) -> Option<EventRecord> {
    let target = &after.target;
    let key = |kind: EventKind, commit: &str| format!("{kind}|{target}|{commit}|{at}");
    let about = |kind: EventKind| EventRecord {
        rollout: after.rollout.as_ref().map(|rollout| rollout.id.to_string()),
        ..EventRecord::of_pin(kind, key(kind, after.pin.provenance.commit.as_str()), at, target, &after.pin)
    };
    let reason = || after.reason.as_ref().map(ToString::to_string);
    let of_run = |kind: EventKind, run: &RolloutRun<'_>| {
        let commit = run.pin.map_or("", |pin| pin.provenance.commit.as_str());
        run.record(kind, key(kind, commit), at, after)
    };
    Some(match change {
        TargetChange::PinChanged { from } => {
            EventRecord { previous: Some(from.version.to_string()), ..about(EventKind::PinChanged) }
        }
        TargetChange::State { resumed: true, .. } => return None,
        TargetChange::State { to, .. } => {
            let kind = match to {
                State::InSync => EventKind::InSync,
                State::Quarantined => EventKind::Quarantined,
                State::Overdue => EventKind::Overdue,
                State::Blocked => EventKind::Blocked,
                _ => return None,
            };
            // How long it took until it was in sync, as this process saw it.
            let since = before.out_of_sync_since.filter(|_| kind == EventKind::InSync);
            let seconds = since.and_then(|since| u64::try_from(at.duration_since(since).as_secs()).ok());
            EventRecord { text: reason(), seconds, ..about(kind) }
        }
        TargetChange::Denied(_) => EventRecord { text: reason(), ..about(EventKind::Denied) },
        TargetChange::Drifted => {
            let text = after.running.as_ref().map(|running| format!("{running} runs"));
            EventRecord { text, ..about(EventKind::Drifted) }
        }
        TargetChange::DriftCorrected => about(EventKind::DriftCorrected),
        TargetChange::RolloutStarted(run) => of_run(EventKind::RolloutStarted, run),
        TargetChange::RolloutEnded { run, ended, result, .. } => EventRecord {
            result: Some(result.to_string()),
            seconds: u64::try_from(ended.duration_since(run.started).as_secs()).ok(),
            text: reason().filter(|_| *result != RolloutResult::Succeeded && after.state == State::Quarantined),
            ..of_run(EventKind::RolloutEnded, run)
        },
        TargetChange::Discovered
        | TargetChange::Progress { .. }
        | TargetChange::Warning(_)
        | TargetChange::Applied { .. }
        | TargetChange::WriteFailed { .. }
        | TargetChange::RolloutFound { .. }
        | TargetChange::Converged { .. } => return None,
    })
}
