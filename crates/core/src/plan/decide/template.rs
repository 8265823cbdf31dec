//! What only groups have: launch templates that move under them, and AMIs that are built again under the same name.

use super::{Decision, Verdict};
use crate::model::{Artifact, ObservedTarget, Rollout, RolloutOutcome, State};
use crate::plan::back::ended_badly;
use crate::plan::{Action, Reason, group};

impl Decision<'_> {
    /// The failed rollout of this pin, if somebody has put its group on `$Latest` or `$Default` since, and that is the version
    /// which failed.
    pub(super) fn follows_failed(&self) -> Option<&Rollout> {
        let ObservedTarget::Group(group) = self.seen else { return None };
        if !group::follows_made(group) || self.is_under_way() {
            return None;
        }
        let to_this = |rollout: &&Rollout| rollout.target == self.view.current.target;
        let newest = self.view.rollouts.iter().find(to_this)?;
        let made = self.view.current.marker.as_ref()?;
        Some(newest).filter(|newest| self.prevents_retry(newest) && made.commit == self.pin.provenance.commit)
    }

    /// A group that somebody has put on `$Latest` or `$Default` goes back on the number that its instances run, whatever it
    /// waits for: nothing that runs changes, but what it launches next would be a version that isn't its own.
    pub(super) fn on_its_number(&self, verdict: Verdict) -> Verdict {
        let writes = verdict.action.as_ref().is_some_and(Action::is_write);
        let ObservedTarget::Group(group) = self.seen else { return verdict };
        // While a refresh runs AWS refuses it.
        if writes || self.is_under_way() {
            return verdict;
        }
        match group::back_on_number(group, self.follows_failed().is_some()) {
            Some(action) => verdict.doing(action),
            None => verdict,
        }
    }

    fn is_under_way(&self) -> bool {
        self.view.rollouts.iter().any(|rollout| rollout.outcome.is_active())
    }

    /// The verdict about a pin whose AMI was built again since: nobody has released that one here, so that it isn't rolled
    /// out, and what the pin was rolled out with goes on.
    pub(super) fn rebuilt(&self, active: Option<&Rollout>) -> Option<Verdict> {
        let (ObservedTarget::Group(group), Artifact::Ami { id: now, name, .. }) = (self.seen, self.artifact) else {
            return None;
        };
        let local = &self.target.reference.local;
        let history = self.input.observed.histories.get(local).and_then(|history| history.as_ref().ok());
        let sought = self.target.spec.sought();
        let remembered = self.input.memory.converged.get(local).filter(|converged| {
            let same = converged.commit == self.pin.provenance.commit && converged.sought == sought;
            same && Some(&converged.artifact) == self.view.current.image.as_ref() && converged.artifact != *now
        });
        let remembered = remembered.map(|converged| converged.artifact.as_str());
        let running = group::rebuilt(group, history, self.pin, self.artifact, sought.as_deref()).or(remembered)?;
        let of_this_pin = |rollout: &&Rollout| {
            let revision = self.view.revision(&rollout.target);
            let marker = revision.and_then(|revision| revision.marker.as_ref());
            marker.is_some_and(|marker| marker.commit == self.pin.provenance.commit)
        };
        let rollout = self.view.rollouts.iter().find(of_this_pin);
        match (active, rollout) {
            (Some(active), Some(ours)) if active.id == ours.id => {
                let verdict = match active.outcome {
                    RolloutOutcome::Undoing => {
                        Verdict::of(State::RollingOut, Reason::RollingBack { reason: active.reason.clone() })
                    }
                    _ => self.progress(active),
                };
                return Some(verdict.about(active, true));
            }
            (Some(active), _) => {
                if let Some(verdict) = self.in_flight(active) {
                    return Some(verdict);
                }
            }
            (None, Some(ours)) if ended_badly(ours) && self.prevents_retry(ours) => {
                return Some(self.quarantined(ours));
            }
            (None, _) => {}
        }
        let (running, now) = (running.to_owned(), now.clone());
        Some(Verdict::of(State::Blocked, Reason::AmiRebuilt { name: name.clone(), running, now }))
    }
}
