//! What the probes after a rollout say of a pin.

use std::time::Duration;

use super::{Decision, LAG, age};
use crate::model::{Rollout, RolloutOutcome, Target};
use crate::plan::revision::Revision;
use crate::plan::{Action, Input, ProbeRecord};

impl Decision<'_> {
    /// What the probe said that failed for this pin after its rollout, as far as this process knows.
    pub(in crate::plan) fn probe_failure(&self) -> Option<String> {
        match self.probes() {
            Probes::Failing(why) | Probes::Failed(why) | Probes::Unproven(why) => Some(why),
            Probes::Passed | Probes::Due | Probes::Refused(_) => None,
        }
    }

    pub(super) fn verify(&self) -> Action {
        Action::Verify { probes: self.target.verify.clone() }
    }

    pub(super) fn probes(&self) -> Probes {
        let Some(patience) = patience(self.target) else { return Probes::Passed };
        if let Some(why) = self.unasked() {
            return Probes::Refused(why.clone());
        }
        let record = self.input.memory.probes.get(&self.target.reference.local).filter(|record| {
            record.commit == self.pin.provenance.commit
                && record.artifact == self.artifact.identity()
                && record.base.as_ref() == self.view.base()
        });
        match record {
            None => Probes::Due,
            Some(ProbeRecord { failure: None, .. }) => Probes::Passed,
            Some(ProbeRecord { failure: Some(why), first, after_rollout, .. }) => {
                let why = why.clone();
                match age(*first, self.input.now) > patience {
                    true if *after_rollout => Probes::Failed(why),
                    true if self.was_rolled_out() => Probes::Unproven(why),
                    _ => Probes::Failing(why),
                }
            }
        }
    }

    /// Why a probe of this target would never be sent.
    pub(super) fn unasked(&self) -> Option<&String> {
        self.input.observed.unasked.get(&self.target.reference.local)
    }

    /// Whether AWS shows that a rollout of Pinion's for this very pin has ended well.
    fn was_rolled_out(&self) -> bool {
        let (pin, view) = (self.pin, self.view);
        let made_for_it = |revision: &Revision| {
            let marker = revision.marker.as_ref();
            marker.is_some_and(|it| it.commit == pin.provenance.commit && it.version == pin.version)
                && revision.fits(self.artifact)
        };
        let ended_well = |rollout: &Rollout| {
            rollout.outcome == RolloutOutcome::Succeeded && view.revision(&rollout.target).is_some_and(made_for_it)
        };
        // What AWS remembers of rollouts ends after weeks; what all runs is seen for ever.
        (view.settled && made_for_it(&view.current)) || view.rollouts.iter().any(ended_well)
    }
}

/// How the probes of this pin and artifact stand.
pub(super) enum Probes {
    Passed,
    Due,
    /// One of them would never be sent.
    Refused(String),
    Failing(String),
    /// They fail for so long that the rollout is to blame. Nobody asks any more.
    Failed(String),
    /// They fail for so long, too, but since a rollout that an earlier process saw end. Whether they ever passed isn't
    /// known, and so they are sent until they do.
    Unproven(String),
}

/// How long the probes of a target may fail; `None` if it has none.
fn patience(target: &Target) -> Option<Duration> {
    target.verify.iter().map(|probe| probe.within).max()
}

/// Whether this pin's rollout is under way or just over: this process started it, or it has been over for no longer than
/// its probes may fail. One that ended long before has been probed by an earlier process: what fails now isn't its doing.
pub(super) fn just_rolled(target: &Target, attempt: Option<&Rollout>, input: Input<'_>) -> bool {
    attempt.zip(patience(target)).is_some_and(|(rollout, patience)| {
        let over = rollout.ended.or(rollout.started);
        let started = input.memory.started.get(&target.reference.local);
        // Passes may be further apart than probes may fail.
        rollout.outcome.is_active()
            || started.is_some_and(|started| started.to == rollout.target)
            || over.is_none_or(|over| age(over, input.now) <= patience.max(LAG))
    })
}
