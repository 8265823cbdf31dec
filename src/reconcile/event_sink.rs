//! What a pass has to tell the history: each event once it is so, under a key by which it is known again.

use jiff::Timestamp;

use super::transitions::Transitions;
use crate::model::event::{Event, EventKind};
use crate::model::{Rollout, State};
use crate::plan::Reason;
use crate::ports::EventSink;

/// What ECS calls a deployment before it has a service deployment's ARN: one rollout would be told under two ids.
const PROVISIONAL: &str = "ecs-svc/";

impl Transitions<'_> {
    /// Notes what this pass has found out about the target, but for the rollout's course.
    pub(super) fn event_sink(&self, led_by: Option<&str>, event_sink: &dyn EventSink) {
        let (before, after) = (self.before, self.after);
        let target = &after.target;
        let commit = &after.pin.commit;
        let pinned = before.is_some_and(|before| before.pin.commit == *commit);
        match before {
            None => {
                let key = format!("{}|{target}", EventKind::TargetDiscovered);
                event_sink.note(Event { text: None, ..self.event(EventKind::TargetDiscovered, key, self.now) });
            }
            Some(before) if !pinned => {
                let key = format!("{}|{target}|{commit}", EventKind::PinChanged);
                event_sink.note(Event {
                    previous: Some(before.desired.clone()),
                    text: None,
                    ..self.event(EventKind::PinChanged, key, self.seen.unwrap_or(self.now))
                });
            }
            Some(_) => {}
        }
        self.drift_event(event_sink);
        let entered = before.is_none_or(|before| before.state != after.state) || !pinned;
        if !entered {
            return;
        }
        let rollout = self.plan.rollout.as_ref();
        let id = rollout.map(|rollout| rollout.id.to_string());
        let kind = match after.state {
            State::InSync => EventKind::InSync,
            // Whether the rollout failed isn't known; if it did, the process that saw it end has noted that.
            State::Quarantined if matches!(self.plan.reason, Some(Reason::ProbeNeverPassed(_))) => return,
            State::Quarantined => EventKind::Quarantined,
            State::Overdue => EventKind::Overdue,
            State::Blocked => EventKind::Blocked,
            _ => return,
        };
        let mut key = format!("{kind}|{target}|{commit}");
        let mut at = self.now;
        match kind {
            EventKind::InSync => at = after.in_sync_since.unwrap_or(self.now),
            // The same pin may fail, or take too long, once more when an operator has it tried again.
            EventKind::Quarantined | EventKind::Overdue => {
                key = format!("{key}|{}", id.as_deref().unwrap_or_default());
                if kind == EventKind::Quarantined {
                    at = rollout.and_then(|rollout| rollout.ended).unwrap_or(self.now);
                }
            }
            _ => {}
        }
        let rollout =
            if kind == EventKind::InSync { led_by.map(str::to_owned).or(id.filter(|id| is_final(id))) } else { id };
        event_sink.note(Event { rollout, ..self.event(kind, key, at) });
    }

    fn drift_event(&self, event_sink: &dyn EventSink) {
        let was = self.before.is_some_and(|before| before.drifted);
        let key = format!("{}|{}", EventKind::Drifted, self.after.target);
        if self.after.drifted && !was {
            let running = self.after.running.as_ref().map(|running| format!("{running} runs"));
            event_sink.note(Event { text: running, ..self.event(EventKind::Drifted, key, self.now) });
        } else if (was || self.before.is_none()) && !self.after.drifted && self.after.state == State::InSync {
            event_sink.note(self.event(EventKind::DriftCorrected, key, self.now));
        }
    }

    /// A policy has begun to forbid this pin's rollout.
    pub(super) fn denied(&self, policy: &str, event_sink: &dyn EventSink) {
        let kind = EventKind::Denied;
        let key = format!("{kind}|{}|{}|{policy}", self.after.target, self.after.pin.commit);
        event_sink.note(self.event(kind, key, self.now));
    }

    /// A rollout of ours runs under this id, or has ended.
    pub(super) fn rollout_began(
        &self,
        id: &str,
        version: Option<&str>,
        started: Timestamp,
        event_sink: &dyn EventSink,
    ) {
        let key = format!("{}|{}|{id}", EventKind::RolloutStarted, self.after.target);
        event_sink.note(Event {
            rollout: Some(id.to_owned()),
            text: None,
            ..self.of_version(version, self.event(EventKind::RolloutStarted, key, started))
        });
    }

    /// A rollout of ours has ended.
    pub(super) fn rollout_over(&self, end: &End<'_>, event_sink: &dyn EventSink) {
        let key = format!("{}|{}|{}", EventKind::RolloutEnded, self.after.target, end.id);
        let took = end.ended.duration_since(end.started).as_secs();
        event_sink.note(Event {
            rollout: Some(end.id.to_owned()),
            result: Some(end.result.to_owned()),
            seconds: u64::try_from(took).ok(),
            text: end.reason.map(str::to_owned),
            ..self.of_version(end.version, self.event(EventKind::RolloutEnded, key, end.ended))
        });
    }

    /// At the first look, a rollout that is over already: an earlier process may have seen it begin.
    pub(super) fn rollout_found(&self, rollout: &Rollout, result: &'static str, event_sink: &dyn EventSink) {
        let (Some(started), Some(ended)) = (rollout.started, rollout.ended) else { return };
        let (id, version) = (rollout.id.to_string(), Some(self.after.desired.as_str()));
        self.rollout_began(&id, version, started, event_sink);
        let reason = rollout.reason.as_deref();
        self.rollout_over(&End { id: &id, version, started, ended, result, reason }, event_sink);
    }

    /// A rollout to another version than the pinned one isn't the doing of the commit that pins now.
    fn of_version(&self, version: Option<&str>, event: Event) -> Event {
        if version == Some(self.after.desired.as_str()) {
            return event;
        }
        let version = version.map(str::to_owned);
        Event { version, commit: None, author: None, subject: None, committed: None, ..event }
    }

    fn event(&self, kind: EventKind, key: String, at: Timestamp) -> Event {
        let environment = self.target.reference.environment.as_str();
        let about = Event::of_target(kind, key, at.min(self.now), environment, self.after);
        Event { text: self.after.reason.clone(), ..about }
    }
}

/// How a rollout ended.
pub(super) struct End<'a> {
    pub(super) id: &'a str,
    pub(super) version: Option<&'a str>,
    pub(super) started: Timestamp,
    pub(super) ended: Timestamp,
    pub(super) result: &'a str,
    pub(super) reason: Option<&'a str>,
}

/// Whether a rollout is known by the id that it keeps.
pub(super) fn is_final(id: &str) -> bool {
    !id.starts_with(PROVISIONAL)
}
