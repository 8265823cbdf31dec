//! What a pass has changed about a target.

use std::time::Duration;

use jiff::Timestamp;

use super::{Event, RolloutRun, TargetChange, What};
use crate::model::{
    Outcome, Pin, Reason, Rollout, RolloutId, RolloutOutcome, RolloutResult, StartedRollout, State, TargetState,
};
use crate::plan::Action;

/// What has changed about a target from one pass to the next, in the order in which it is to be reported. `outcome` is the action
/// that was tried in between, and what became of it; `before` is `None` at the first look.
#[must_use]
pub fn of_target<'a>(
    before: Option<&'a TargetState>,
    after: &'a TargetState,
    outcome: Option<(&'a Action, &'a Outcome)>,
    now: Timestamp,
) -> Vec<Event<'a>> {
    let mut changes = Changes { before, after, now, found: Vec::new() };
    changes.pin();
    if let Some((action, outcome)) = outcome {
        changes.action(action, outcome);
    }
    changes.progress();
    changes.warnings();
    changes.rollout();
    changes.state();
    changes.denials();
    changes.drift();
    let event = |change| Event { at: now, what: What::Target { before, after, change } };
    changes.found.into_iter().map(event).collect()
}

/// What is to be told of a write that was answered after its pass: only that. The next pass tells what it has changed.
#[must_use]
pub fn of_answer<'a>(
    before: &'a TargetState,
    after: &'a TargetState,
    (action, outcome): (&'a Action, &'a Outcome),
    now: Timestamp,
) -> Vec<Event<'a>> {
    let mut changes = Changes { before: Some(before), after, now, found: Vec::new() };
    changes.action(action, outcome);
    let event = |change| Event { at: now, what: What::Target { before: Some(before), after, change } };
    changes.found.into_iter().map(event).collect()
}

struct Changes<'a> {
    before: Option<&'a TargetState>,
    after: &'a TargetState,
    now: Timestamp,
    found: Vec<TargetChange<'a>>,
}

impl<'a> Changes<'a> {
    /// The state before, if its pin was set by the same commit.
    fn same_pin(&self) -> Option<&'a TargetState> {
        self.before.filter(|before| before.pin.provenance.commit == self.after.pin.provenance.commit)
    }

    fn pin(&mut self) {
        match self.before {
            None => self.found.push(TargetChange::Discovered),
            Some(before) if self.same_pin().is_none() => {
                self.found.push(TargetChange::PinChanged { from: &before.pin });
            }
            Some(_) => {}
        }
    }

    fn action(&mut self, action: &'a Action, outcome: &'a Outcome) {
        match outcome {
            Outcome::Applied(applied) => self.found.push(TargetChange::Applied { action, applied }),
            Outcome::Failed(error) => {
                // Not by the text: it has the request's id, which is another one at every try.
                let known = self.before.and_then(|before| before.ongoing.failing.as_ref());
                if known != self.after.ongoing.failing.as_ref() {
                    self.found.push(TargetChange::WriteFailed { action, error });
                }
            }
        }
    }

    /// AWS's word for a rollout that goes on.
    fn progress(&mut self) {
        let Some(before) = self.before else { return };
        let status = |state: &'a TargetState| state.rollout.as_ref().map(|rollout| rollout.status.as_str());
        let (from, to) = (status(before), status(self.after));
        if self.after.state == State::RollingOut && before.state == State::RollingOut && from != to {
            self.found.push(TargetChange::Progress { from, to });
        }
    }

    fn warnings(&mut self) {
        let known = |warning: &&String| self.before.is_some_and(|before| before.warnings.contains(warning));
        let new = self.after.warnings.iter().filter(|warning| !known(warning));
        self.found.extend(new.map(|warning| TargetChange::Warning(warning)));
    }

    /// Follows rollouts from their start to their end, and reports each once.
    fn rollout(&mut self) {
        let Some(before) = self.before else {
            self.rollout_found();
            self.rollout_started(None);
            return;
        };
        let (earlier, now) = (before.ongoing.rollout.as_ref(), self.after.ongoing.rollout.as_ref());
        match (earlier, now) {
            (None, _) => self.rollout_started(None),
            (Some(earlier), Some(now)) if earlier.to == now.to => self.rollout_started(Some(earlier)),
            // The pin has moved on, and the next rollout takes the place of the one before.
            (Some(earlier), Some(_)) => {
                self.rollout_ended(earlier, RolloutResult::Cancelled);
                self.rollout_started(None);
            }
            (Some(earlier), None) => self.rollout_ended(earlier, self.result(earlier)),
        }
    }

    /// The rollout that runs now, once it has the id that it keeps.
    fn rollout_started(&mut self, earlier: Option<&StartedRollout>) {
        let reported = earlier.is_some_and(|earlier| earlier.id.is_some());
        if let Some(now) = self.after.ongoing.rollout.as_ref().filter(|now| now.id.is_some() && !reported) {
            self.found.push(TargetChange::RolloutStarted(self.run(now, now.id.as_ref())));
        }
    }

    fn rollout_ended(&mut self, rollout: &'a StartedRollout, result: RolloutResult) {
        let seen = self.after.rollout.as_ref().filter(|seen| seen.target == rollout.to);
        let run = self.run(rollout, rollout.id.as_ref().or(seen.map(|seen| &seen.id)));
        if rollout.id.is_none() {
            self.found.push(TargetChange::RolloutStarted(run));
        }
        let ended = seen.and_then(|seen| seen.ended).unwrap_or(self.now);
        let reason = seen.and_then(|seen| seen.reason.as_deref());
        self.found.push(TargetChange::RolloutEnded { run, ended, result, reason });
    }

    /// How a rollout ended for which nothing is waited any more.
    fn result(&self, rollout: &StartedRollout) -> RolloutResult {
        let cancelled = self.after.rollout.as_ref().is_some_and(|it| it.outcome == RolloutOutcome::Cancelled);
        match self.after.state {
            // It led elsewhere than where the pin wants to be by now.
            _ if !rollout.brings(self.after.artifact.as_ref()) => RolloutResult::Cancelled,
            State::Quarantined if cancelled => RolloutResult::Cancelled,
            State::Quarantined => RolloutResult::Failed,
            _ => RolloutResult::Succeeded,
        }
    }

    /// At the first look, what AWS remembers of the rollout that led to where the target is.
    fn rollout_found(&mut self) {
        let Some(rollout) = self.after.rollout.as_ref().filter(|rollout| rollout.id.is_final()) else { return };
        let result = match (self.after.state, rollout.outcome) {
            (State::InSync | State::Verifying, RolloutOutcome::Succeeded) => RolloutResult::Succeeded,
            (State::Quarantined, RolloutOutcome::Cancelled) => RolloutResult::Cancelled,
            (State::Quarantined, RolloutOutcome::Failed) => RolloutResult::Failed,
            _ => return,
        };
        let Rollout { id, started: Some(started), ended: Some(ended), reason, .. } = rollout else { return };
        let run = RolloutRun { id: Some(id), pin: Some(&self.after.pin), shape: None, started: *started };
        self.found.push(TargetChange::RolloutFound { run, ended: *ended, result, reason: reason.as_deref() });
    }

    fn run(&self, rollout: &'a StartedRollout, id: Option<&'a RolloutId>) -> RolloutRun<'a> {
        // Another commit may have pinned the same version meanwhile: then it is that commit's.
        let now = &self.after.pin;
        let pin: Option<&Pin> = rollout.pin.as_ref().map(|pin| if pin.version == now.version { now } else { pin });
        RolloutRun { id, pin, shape: rollout.shape.as_deref(), started: rollout.started }
    }

    fn state(&mut self) {
        let (from, to) = (self.before.map(|before| before.state), self.after.state);
        if from != Some(to) || self.same_pin().is_none() {
            let resumed = self.same_pin().is_some_and(|before| effective(before) == effective(self.after));
            self.found.push(TargetChange::State { from, to, resumed, led_by: self.led_by() });
        }
        if let Some(arrived) = self.after.ongoing.arrived.filter(|_| to == State::InSync) {
            let after = Duration::try_from(self.now.duration_since(arrived)).unwrap_or_default();
            self.found.push(TargetChange::Converged { after });
        }
    }

    /// The rollout that led to being in sync: the one that has just ended, or the one that AWS remembers.
    fn led_by(&self) -> Option<&'a RolloutId> {
        if self.after.state != State::InSync {
            return None;
        }
        let seen = self.after.rollout.as_ref();
        let ended = self.before.and_then(|before| before.ongoing.rollout.as_ref());
        match ended.filter(|ended| ended.brings(self.after.artifact.as_ref())) {
            Some(ended) => {
                let same = seen.filter(|seen| seen.target == ended.to);
                ended.id.as_ref().or(same.map(|seen| &seen.id))
            }
            None => seen.map(|seen| &seen.id).filter(|id| id.is_final()),
        }
    }

    fn denials(&mut self) {
        let known = self.same_pin().map(|before| &before.ongoing.denied_by);
        let is_new = |policy: &&String| known.is_none_or(|known| !known.contains(*policy));
        let new: Vec<&str> = self.after.ongoing.denied_by.iter().filter(is_new).map(String::as_str).collect();
        if !new.is_empty() {
            self.found.push(TargetChange::Denied(new));
        }
    }

    fn drift(&mut self) {
        let was = self.before.is_some_and(|before| before.drifted);
        if self.after.drifted && !was {
            self.found.push(TargetChange::Drifted);
        } else if (was || self.before.is_none()) && !self.after.drifted && self.after.state == State::InSync {
            self.found.push(TargetChange::DriftCorrected);
        }
    }
}

/// The state as far as anybody knew: the last known one while the account can't be read; and what is only probed once
/// more, because a process has begun, is in sync as before.
fn effective(state: &TargetState) -> State {
    match state.known() {
        State::Verifying if state.in_sync_since.is_some() => State::InSync,
        known => known,
    }
}

/// Whether a pin is quarantined only by probes that this process never saw pass. Whether its rollout failed isn't known; if
/// it did, the process that saw it end has reported that.
#[must_use]
pub fn is_unproven_quarantine(state: &TargetState) -> bool {
    state.state == State::Quarantined && matches!(state.reason, Some(Reason::ProbeNeverPassed(_)))
}
