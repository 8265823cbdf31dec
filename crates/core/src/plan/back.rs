//! What a failed rollout leaves behind, and the way back: instances or tasks of a quarantined pin don't stay beside those
//! of the version before. Goes back once; where that fails, too, people have to look.

use super::decide::{Decision, NOT_SHOWN, Verdict};
use super::service::Copying;
use super::{Action, Reason, Rollback, group, service};
use crate::model::reason::listed;
use crate::model::{ObservedTarget, Rollout, RolloutHistory, RolloutOutcome, RolloutTarget, State, TargetSpec};

impl Decision<'_> {
    /// The quarantine of this pin, and what is to be done about what its rollout has left.
    pub(super) fn quarantined(&self, failed: &Rollout) -> Verdict {
        let (back, action) = self.way_back(failed);
        let Rollout { id, status, reason, .. } = failed.clone();
        let probe = self.probe_failure();
        Verdict::of(State::Quarantined, Reason::RolloutFailed { id, status, reason, probe, back })
            .doing(action)
            .about(failed, true)
    }

    /// The newer shape that failed here, and its rollout.
    fn failed_shape(&self) -> Option<&(String, Rollout)> {
        self.view.wanted.as_ref()?.failed.as_ref()
    }

    /// The verdict about a target whose newer shape failed, and what is done about what that left.
    pub(super) fn held_by_its_shape(&self, back: Option<Rollback>) -> Option<Verdict> {
        let (base, failed) = self.failed_shape()?;
        let Rollout { id, status, reason, .. } = failed.clone();
        let (base, probe) = (base.clone(), None);
        let reason = Reason::ShapeFailed { base, id, status, reason, probe, back };
        Some(Verdict::of(State::Quarantined, reason).about(failed, true))
    }

    /// What is to be done about what a newer shape has left that failed; `None` if it has left nothing, or another rollout
    /// runs.
    pub(super) fn left_by_a_shape(&self, active: Option<&Rollout>) -> Option<Verdict> {
        let (_, failed) = self.failed_shape().filter(|_| active.is_none())?;
        let (back, action) = self.way_back(failed);
        self.held_by_its_shape(Some(back?)).map(|verdict| verdict.doing(action))
    }

    /// A rollout that leads back from a failed one of Pinion's, as far as that can be told: it is the next one after it,
    /// and leads to what ran well before. It is waited for, no matter who started it.
    pub(super) fn way_back_runs(&self, active: &Rollout) -> Option<Verdict> {
        let mut rollouts = self.view.rollouts.iter().skip_while(|rollout| rollout.id != active.id);
        let (newest, failed) = (rollouts.next()?, rollouts.next()?);
        let to = self.leads_back_to(failed).filter(|_| ended_badly(failed))?;
        if !self.leads_to(&newest.target, &to) {
            return None;
        }
        let status = active.status.clone();
        let of_its_shape = self.failed_shape().is_some_and(|(_, of)| of.id == failed.id);
        if of_its_shape {
            return self.held_by_its_shape(Some(Rollback::Running { to, status }));
        }
        let of_this_pin = self.attempt().is_some_and(|attempt| attempt.id == failed.id && self.prevents_retry(attempt));
        if !of_this_pin {
            let id = active.id.clone();
            return Some(Verdict::of(State::Pending, Reason::Rollback { to, id, status }).about(active, false));
        }
        let Rollout { id, status: ended, reason, .. } = failed.clone();
        let (probe, back) = (self.probe_failure(), Some(Rollback::Running { to, status }));
        let reason = Reason::RolloutFailed { id, status: ended, reason, probe, back };
        Some(Verdict::of(State::Quarantined, reason).about(failed, true))
    }

    fn way_back(&self, failed: &Rollout) -> (Option<Rollback>, Option<Action>) {
        let nothing = (None, None);
        let Some(before) = self.leads_back_to(failed) else { return nothing };
        let (to, action) = match (self.seen, &self.target.spec) {
            (ObservedTarget::Group(group), _) if !self.view.settled && failed.target != self.view.current.target => {
                (self.view.current.name.clone(), group::way_back(group, &self.target.rollout))
            }
            (ObservedTarget::Service(service), TargetSpec::Fargate(_)) if failed.target == self.view.current.target => {
                if self.is_on_copy_of(&before) {
                    // The way back itself has failed.
                    return (Some(Rollback::Failed { to: before, status: failed.status.clone() }), None);
                }
                let action = service::way_back(service, self.view, &before, self.copying());
                (before, action)
            }
            _ => return nothing,
        };
        let newest = self.view.rollouts.first();
        if newest.is_some_and(|newest| newest.id != failed.id) {
            // Something was tried since: our own way back, or somebody who looks after it.
            let failed = newest.filter(|newest| ended_badly(newest) && self.leads_to(&newest.target, &to));
            return (failed.map(|newest| Rollback::Failed { to, status: newest.status.clone() }), None);
        }
        // AWS has just brought it back: what was read a moment earlier still shows what was before.
        let Some(action) = action.filter(|_| !(was_taken_back(failed) && self.has_just_ended(failed))) else {
            return nothing;
        };
        if self.is_on_its_way(&action) {
            return (Some(Rollback::Running { to, status: NOT_SHOWN.to_owned() }), None);
        }
        let denials = self.denials();
        if denials.is_empty() {
            (Some(Rollback::Due { to }), Some(action))
        } else {
            (Some(Rollback::Forbidden { to, by: listed(&denials) }), None)
        }
    }

    /// What ran well before a failed rollout of Pinion's.
    fn leads_back_to(&self, rollout: &Rollout) -> Option<String> {
        self.view.ran_before(self.view.revision(&rollout.target)?)
    }

    /// Whether a rollout's target is the revision of a name, or a copy of it.
    fn leads_to(&self, target: &RolloutTarget, name: &str) -> bool {
        self.view.revision(target).is_some_and(|revision| self.view.restores(revision, name))
    }

    fn is_on_copy_of(&self, name: &str) -> bool {
        self.view.current.name != name && self.view.restores(&self.view.current, name)
    }

    /// What a copy of what ran before is made with, where that was deregistered.
    fn copying(&self) -> Copying<'_> {
        let local = &self.target.reference.local;
        let known = match self.input.observed.histories.get(local) {
            Some(Ok(RolloutHistory::Service { revisions, .. })) => revisions.as_slice(),
            _ => &[],
        };
        Copying {
            pin: self.pin,
            made: self.input.memory.made.get(local),
            owner: self.input.claims.owner(&self.target.reference),
            tags: known.iter().map(|definition| (definition.arn.as_str(), definition.tags)).collect(),
        }
    }
}

pub(super) fn ended_badly(rollout: &Rollout) -> bool {
    matches!(rollout.outcome, RolloutOutcome::Failed | RolloutOutcome::Cancelled)
}

/// Whether AWS says that a failed rollout has left nothing behind.
fn was_taken_back(rollout: &Rollout) -> bool {
    matches!(rollout.status.as_str(), "RollbackSuccessful" | "ROLLBACK_SUCCESSFUL")
}
