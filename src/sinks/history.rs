//! Turns events into history records. Each has a key, so that an event that is reported again is stored once.

use std::sync::Arc;

use jiff::Timestamp;

use crate::events::{Event, RolloutRun, TargetChange, What, is_unproven_quarantine};
use crate::history::History;
use crate::model::event::{EventKind, EventRecord};
use crate::model::{Pin, RolloutResult, State, TargetRef, TargetState};
use crate::ports::EventSink;

/// Notes events in the history.
#[derive(Debug, Clone)]
pub struct HistorySink {
    history: Arc<History>,
    /// Part of the resync keys, because each process numbers its resyncs from 1.
    started: Timestamp,
}

impl HistorySink {
    /// For the history of a process that started at this time.
    #[must_use]
    pub fn new(history: Arc<History>, started: Timestamp) -> Self {
        Self { history, started }
    }
}

impl EventSink for HistorySink {
    fn take(&self, event: &Event<'_>) {
        records(event, self.started).into_iter().for_each(|record| self.history.note(record));
    }

    fn has_unfinished(&self, target: &TargetRef) -> bool {
        self.history.unfinished(target)
    }
}

/// What to note of an event.
pub(super) fn records(event: &Event<'_>, started: Timestamp) -> Vec<EventRecord> {
    let at = event.at;
    let resync = |kind: EventKind, number: u64| EventRecord {
        at,
        kind,
        key: format!("{kind}|{started}|{number}"),
        text: Some(format!("resync {number}")),
        ..EventRecord::default()
    };
    match &event.what {
        What::Started { version } => vec![EventRecord {
            at,
            kind: EventKind::Started,
            key: format!("{}|{at}", EventKind::Started),
            version: Some((*version).to_owned()),
            ..EventRecord::default()
        }],
        What::ResyncsRequested(numbers) => {
            numbers.clone().map(|number| resync(EventKind::ResyncRequested, number)).collect()
        }
        What::ResyncsCompleted(numbers) => {
            numbers.clone().map(|number| resync(EventKind::ResyncCompleted, number)).collect()
        }
        What::Repository { .. } => Vec::new(),
        What::Files { environment, revision, errors, .. } => vec![EventRecord {
            at,
            kind: if errors.is_empty() { EventKind::EnvironmentRecovered } else { EventKind::EnvironmentBroken },
            key: format!("{}|{environment}", EventKind::EnvironmentBroken),
            environment: Some((*environment).to_owned()),
            commit: Some((*revision).to_owned()).filter(|revision| !revision.is_empty()),
            text: errors.first().cloned(),
            ..EventRecord::default()
        }],
        What::Target { before, after, change } => of_target(*before, after, change, at),
    }
}

/// When something happened that is said of a pin: not before its commit was made, as another one may have pinned the same
/// before, nor later than it was seen.
fn of_its_commit(pin: &Pin, at: Timestamp, now: Timestamp) -> Timestamp {
    at.max(pin.provenance.time).min(now)
}

fn of_target(
    before: Option<&TargetState>,
    state: &TargetState,
    change: &TargetChange<'_>,
    now: Timestamp,
) -> Vec<EventRecord> {
    let (target, commit) = (&state.target, &state.pin.provenance.commit);
    let about = |kind: EventKind, key: String, at: Timestamp| {
        let record = EventRecord::of_pin(kind, key, of_its_commit(&state.pin, at, now), target, &state.pin);
        EventRecord { text: state.reason.as_ref().map(ToString::to_string), ..record }
    };
    match change {
        TargetChange::Discovered => {
            let kind = EventKind::TargetDiscovered;
            vec![EventRecord { text: None, ..about(kind, format!("{kind}|{target}"), now) }]
        }
        TargetChange::PinChanged { from } => {
            let kind = EventKind::PinChanged;
            vec![EventRecord {
                previous: Some(from.version.to_string()),
                text: None,
                ..about(kind, format!("{kind}|{target}|{commit}"), state.ongoing.arrived.unwrap_or(now))
            }]
        }
        TargetChange::State { to, led_by, .. } => {
            let rollout = state.rollout.as_ref();
            let id = rollout.map(|rollout| rollout.id.to_string());
            let key = |kind: EventKind| format!("{kind}|{target}|{commit}");
            // The same pin may fail, or take too long, once more when an operator has it tried again.
            let with_id = |kind: EventKind| format!("{}|{}", key(kind), id.as_deref().unwrap_or_default());
            // It has been in sync with the pin before, which said the same.
            let repinned = before.is_some_and(|before| before.pin.provenance.commit != *commit);
            let since = state.in_sync_since.filter(|_| !repinned).unwrap_or(now);
            let record = match to {
                State::InSync => EventRecord {
                    rollout: led_by.map(ToString::to_string),
                    ..about(EventKind::InSync, key(EventKind::InSync), since)
                },
                State::Quarantined if is_unproven_quarantine(state) => return Vec::new(),
                State::Quarantined => {
                    let kind = EventKind::Quarantined;
                    let at = rollout.and_then(|rollout| rollout.ended).unwrap_or(now);
                    let record = about(kind, with_id(kind), at);
                    EventRecord { rollout: id, ..record }
                }
                State::Overdue => {
                    let record = about(EventKind::Overdue, with_id(EventKind::Overdue), now);
                    EventRecord { rollout: id, ..record }
                }
                State::Blocked => {
                    EventRecord { rollout: id.clone(), ..about(EventKind::Blocked, key(EventKind::Blocked), now) }
                }
                _ => return Vec::new(),
            };
            vec![record]
        }
        TargetChange::Denied(policies) => {
            let kind = EventKind::Denied;
            policies.iter().map(|policy| about(kind, format!("{kind}|{target}|{commit}|{policy}"), now)).collect()
        }
        TargetChange::Drifted => {
            let text = state.running.as_ref().map(|running| format!("running {running}"));
            let key = format!("{}|{target}", EventKind::Drifted);
            vec![EventRecord { text, ..about(EventKind::Drifted, key, now) }]
        }
        // Uses the drift's key, to close it.
        TargetChange::DriftCorrected => {
            vec![about(EventKind::DriftCorrected, format!("{}|{target}", EventKind::Drifted), now)]
        }
        TargetChange::RolloutStarted(run) => rollout_started(state, run, now).into_iter().collect(),
        TargetChange::RolloutEnded { run, ended, result, reason } => {
            rollout_ended(state, run, *ended, *result, *reason, now).into_iter().collect()
        }
        TargetChange::RolloutFound { run, ended, result, reason } => {
            let end = rollout_ended(state, run, *ended, *result, *reason, now);
            rollout_started(state, run, now).into_iter().chain(end).collect()
        }
        TargetChange::Progress { .. }
        | TargetChange::Warning(_)
        | TargetChange::Applied { .. }
        | TargetChange::WriteFailed { .. }
        | TargetChange::Converged { .. } => Vec::new(),
    }
}

/// `None` if the rollout has no id: a repeat couldn't be recognized.
fn rollout_started(state: &TargetState, run: &RolloutRun<'_>, now: Timestamp) -> Option<EventRecord> {
    let text = run.shape.map(|shape| format!("with a new shape: {shape}"));
    Some(EventRecord { text, ..of_run(EventKind::RolloutStarted, state, run, run.started, now)? })
}

fn rollout_ended(
    state: &TargetState,
    run: &RolloutRun<'_>,
    ended: Timestamp,
    result: RolloutResult,
    reason: Option<&str>,
    now: Timestamp,
) -> Option<EventRecord> {
    Some(EventRecord {
        result: Some(result.to_string()),
        seconds: u64::try_from(ended.duration_since(run.started).as_secs()).ok(),
        text: reason.map(ToOwned::to_owned),
        ..of_run(EventKind::RolloutEnded, state, run, ended, now)?
    })
}

fn of_run(
    kind: EventKind,
    state: &TargetState,
    run: &RolloutRun<'_>,
    at: Timestamp,
    now: Timestamp,
) -> Option<EventRecord> {
    let (target, id) = (&state.target, run.id?);
    let at = run.pin.map_or_else(|| at.min(now), |pin| of_its_commit(pin, at, now));
    Some(run.record(kind, format!("{kind}|{target}|{id}"), at, state))
}
