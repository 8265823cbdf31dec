//! What has happened between two looks at the status. Pure. The first look is what all others are compared with, so a
//! process that starts tells nothing that the one before it has told.
//!
//! The history (`crate::history`) isn't asked: it keeps a fact once, under its key, while here a change is told as often
//! as it happens. A target that blocks again for the same commit is no new fact, but somebody wants to know.

use jiff::Timestamp;

use crate::model::State;
use crate::model::event::{Event, EventKind};
use crate::model::status::{EnvironmentStatus, Status, TargetStatus};

/// What is new in `after`.
#[must_use]
pub fn news(before: &Status, after: &Status, now: Timestamp) -> Vec<Event> {
    let mut events = Vec::new();
    for (kind, from, to) in [
        (EventKind::ResyncRequested, before.resync.requested, after.resync.requested),
        (EventKind::ResyncCompleted, before.resync.completed, after.resync.completed),
    ] {
        if from < to {
            let text = Some(format!("number {to}"));
            events.push(Event { at: now, kind, key: format!("{kind}|{now}|{to}"), text, ..Event::default() });
        }
    }
    for (name, environment) in &after.environments {
        let Some(earlier) = before.environments.get(name) else { continue };
        events.extend(files(name, earlier, environment, now));
        for (local, target) in &environment.targets {
            if let Some(earlier) = earlier.targets.get(local) {
                Change { environment: name, before: earlier, after: target, now }.tell(&mut events);
            }
        }
    }
    events
}

/// Whether the environment's files were broken or fixed.
fn files(name: &str, before: &EnvironmentStatus, after: &EnvironmentStatus, now: Timestamp) -> Option<Event> {
    let kind = match (before.valid, after.valid) {
        (true, false) => EventKind::EnvironmentBroken,
        (false, true) => EventKind::EnvironmentRecovered,
        _ => return None,
    };
    let text = after.errors.first().cloned();
    let environment = Some(name.to_owned());
    Some(Event { at: now, kind, key: format!("{kind}|{name}|{now}"), environment, text, ..Event::default() })
}

struct Change<'a> {
    environment: &'a str,
    before: &'a TargetStatus,
    after: &'a TargetStatus,
    now: Timestamp,
}

/// The state, or the last one that was known while the account can't be read. What is only probed once more, because a
/// process has begun, is in sync as before.
fn state(target: &TargetStatus) -> State {
    match target.state {
        State::Unknown => target.last_known.unwrap_or(State::Unknown),
        State::Verifying if target.in_sync_since.is_some() => State::InSync,
        state => state,
    }
}

fn rolls(state: State) -> bool {
    matches!(state, State::RollingOut | State::Verifying | State::Overdue)
}

impl Change<'_> {
    fn tell(&self, events: &mut Vec<Event>) {
        if self.after.state == State::Unknown {
            return;
        }
        let (was, is) = (state(self.before), state(self.after));
        let moved_on = self.before.pin.commit != self.after.pin.commit;
        let entered = |wanted: State| is == wanted && (was != wanted || moved_on);
        if moved_on {
            let previous = Some(self.before.desired.clone());
            events.push(Event { previous, ..self.event(EventKind::PinChanged) });
        }
        if rolls(was) && (moved_on || !rolls(is)) {
            let result = match is {
                State::InSync if !moved_on => Some("succeeded"),
                State::Quarantined if !moved_on => Some("failed"),
                _ if moved_on => Some("cancelled"),
                _ => None,
            };
            events.extend(result.map(|result| self.ended(result)));
        }
        if rolls(is) && (!rolls(was) || moved_on) {
            events.push(self.event(EventKind::RolloutStarted));
        }
        for (wanted, kind) in [
            (State::InSync, EventKind::InSync),
            (State::Quarantined, EventKind::Quarantined),
            (State::Overdue, EventKind::Overdue),
            (State::Blocked, EventKind::Blocked),
        ] {
            if entered(wanted) {
                let text = self.after.reason.clone();
                events.push(Event { text, seconds: self.took(kind), ..self.event(kind) });
            }
        }
        let denied = |policy: &String| moved_on || !self.before.denied_by.contains(policy);
        if self.after.denied_by.iter().any(denied) {
            events.push(Event { text: self.after.reason.clone(), ..self.event(EventKind::Denied) });
        }
        if self.after.drifted && !self.before.drifted {
            let text = self.after.running.as_ref().map(|running| format!("{running} runs"));
            events.push(Event { text, ..self.event(EventKind::Drifted) });
        }
        if self.before.drifted && !self.after.drifted && is == State::InSync {
            events.push(self.event(EventKind::DriftCorrected));
        }
    }

    /// Of the pin as it is now.
    fn event(&self, kind: EventKind) -> Event {
        let target = self.after;
        let key = format!("{kind}|{}|{}|{}", target.target, target.pin.commit, self.now);
        Event {
            rollout: target.rollout.as_ref().map(|rollout| rollout.id.clone()),
            ..Event::of_target(kind, key, self.now, self.environment, target)
        }
    }

    /// Of the rollout that was on its way before.
    fn ended(&self, result: &str) -> Event {
        let before = Change { after: self.before, ..*self };
        let started = self.before.rollout.as_ref().and_then(|rollout| rollout.started).unwrap_or(self.before.since);
        Event {
            result: Some(result.to_owned()),
            seconds: u64::try_from(self.now.duration_since(started).as_secs()).ok(),
            text: self.after.reason.clone().filter(|_| result == "failed"),
            ..before.event(EventKind::RolloutEnded)
        }
    }

    /// How long it took until it was in sync, as this process saw it.
    fn took(&self, kind: EventKind) -> Option<u64> {
        let since = self.before.out_of_sync_since.filter(|_| kind == EventKind::InSync)?;
        u64::try_from(self.now.duration_since(since).as_secs()).ok()
    }
}
