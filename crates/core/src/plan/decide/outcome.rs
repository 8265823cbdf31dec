//! What the rollouts that AWS remembers say of a pin: which of them was its attempt, and whether there may have been one
//! that AWS doesn't tell of any more.

use jiff::Timestamp;

use super::{Decision, Verdict, age};
use crate::model::{Artifact, CommitId, LocalRef, Pin, Rollout, RolloutOutcome, RolloutTarget, State};
use crate::plan::back::ended_badly;
use crate::plan::revision::{Revision, View};
use crate::plan::{Memory, Reason};

/// The rollouts of one pin among those of its target.
#[derive(Clone, Copy)]
pub(super) struct Attempts<'a> {
    pub(super) view: &'a View,
    pub(super) pin: &'a Pin,
    pub(super) artifact: &'a Artifact,
    pub(super) memory: &'a Memory,
    pub(super) local: &'a LocalRef,
}

impl<'a> Attempts<'a> {
    /// The newest rollout made for this pin that says something of it. What Pinion itself has cut short says nothing, and
    /// neither does a later failure of what has succeeded: then it is the one that succeeded, or none.
    pub(super) fn decisive(self) -> Option<&'a Rollout> {
        let rollouts = &self.view.rollouts;
        let newest =
            rollouts.iter().enumerate().find(|(at, rollout)| self.is_of_pin(rollout) && !self.cut_short(*at))?.1;
        if !ended_badly(newest) {
            return Some(newest);
        }
        let well = |rollout: &&Rollout| {
            rollout.target == newest.target && rollout.outcome == RolloutOutcome::Succeeded && self.is_of_pin(rollout)
        };
        rollouts.iter().find(well).or(Some(newest).filter(|_| !self.was_there_before(newest)))
    }

    /// Whether a rollout moves its target to what that was on already, so that it can't be what brought it there.
    pub(super) fn was_there_before(self, rollout: &Rollout) -> bool {
        // A group takes a version only when its refresh has ended well.
        let group = matches!(rollout.target, RolloutTarget::TemplateVersion(_) | RolloutTarget::TemplateVersions(_));
        let well = |other: &Rollout| other.target == rollout.target && other.outcome == RolloutOutcome::Succeeded;
        rollout.repeats
            || (group && self.view.chosen && rollout.target == self.view.current.target)
            || self.view.rollouts.iter().any(well)
    }

    /// All rollouts made for this pin, newest first.
    pub(super) fn all(self) -> impl Iterator<Item = &'a Rollout> {
        self.view.rollouts.iter().filter(move |rollout| self.is_of_pin(rollout))
    }

    /// Whether Pinion made a revision for this pin. What is in it may not be said.
    pub(super) fn made_for_it(self, revision: &Revision) -> bool {
        let fits = revision.untold || revision.fits(self.artifact);
        fits && revision.marker.as_ref().is_some_and(|marker| marker.commit == self.pin.provenance.commit)
    }

    /// Whether a rollout was made for this pin: by the marker's commit or, where the revision was right before Pinion came
    /// or AWS doesn't tell of a marker, by being newer than the pin.
    fn is_of_pin(self, rollout: &Rollout) -> bool {
        let Some(revision) = self.view.revision(&rollout.target) else { return false };
        if revision.marker.is_some() {
            return self.made_for_it(revision);
        }
        let since = rollout.started.is_some_and(|started| started >= self.pin.provenance.time);
        let here = revision.target == self.view.current.target || ended_badly(rollout);
        here && since && !revision.copied && revision.fits(self.artifact)
    }

    /// Whether Pinion itself has ended a rollout, because something else is wanted by now.
    fn cut_short(self, at: usize) -> bool {
        let withdrawn = self.memory.withdrawn.get(self.local);
        self.view.was_cut_short(at, &self.pin.provenance.commit, self.view.wanted.is_some(), withdrawn)
    }
}

impl Decision<'_> {
    pub(super) fn attempts(&self) -> Attempts<'_> {
        Attempts {
            view: self.view,
            pin: self.pin,
            artifact: self.artifact,
            memory: self.input.memory,
            local: &self.target.reference.local,
        }
    }

    /// The quarantine of a pin that may have been tried, and of which AWS doesn't say any more how that ended.
    pub(super) fn forgotten(&self) -> Option<Verdict> {
        let local = &self.target.reference.local;
        let commit = &self.pin.provenance.commit;
        let memory = self.input.memory;
        if memory.forgiven.get(local).is_some_and(|forgiven| forgiven.outcome.as_ref() == Some(commit)) {
            return None;
        }
        let same = |of: &CommitId, artifact: &str, base: Option<&String>| {
            of == commit && artifact == self.artifact.identity() && base == self.view.base()
        };
        if memory.converged.get(local).is_some_and(|it| same(&it.commit, &it.artifact, it.base.as_ref())) {
            return None;
        }
        let attempts = self.attempts();
        let succeeded = attempts.all().any(|rollout| rollout.outcome == RolloutOutcome::Succeeded);
        if succeeded || (self.view.chosen && attempts.made_for_it(&self.view.current)) {
            return None;
        }
        let quarantine = |what: String, why: &str| {
            let why = why.to_owned();
            Some(Verdict::of(State::Quarantined, Reason::OutcomeUnknown { what, why }))
        };
        if let Some(failed) = memory.failed.get(local).filter(|it| same(&it.commit, &it.artifact, it.base.as_ref()))
            && attempts.all().next().is_none()
        {
            return quarantine(failed.rollout.clone(), "it ended badly, and AWS doesn't tell of it any more");
        }
        for revision in self.view.others.iter().filter(|revision| attempts.made_for_it(revision)) {
            if self.view.rollouts.iter().any(|rollout| rollout.target == revision.target) {
                continue;
            }
            if let Some(why) = self.may_have_been_tried(revision) {
                return quarantine(format!("a rollout of {}", revision.name), why);
            }
        }
        // A rollout to what AWS doesn't tell of any more may have been this pin's.
        let since = |started: Timestamp| started >= self.pin.provenance.time;
        let gone = |rollout: &&Rollout| {
            rollout.target != RolloutTarget::Other
                && self.view.revision(&rollout.target).is_none()
                && self.prevents_retry(rollout)
                && rollout.started.is_none_or(since)
        };
        let gone = self.view.rollouts.iter().find(gone)?;
        quarantine(gone.id.short().to_owned(), "AWS doesn't say any more what it rolled out")
    }

    /// Why a revision of Pinion's to which no rollout is known may have been rolled out all the same. A young one was only
    /// made: a rollout of it would be remembered.
    fn may_have_been_tried(&self, revision: &Revision) -> Option<&'static str> {
        let Some(made) = revision.made else { return Some("AWS doesn't say when that was made") };
        if age(made, self.input.now) >= self.view.remembered {
            return Some("that is older than AWS's memory of rollouts");
        }
        // This process knows what it has made itself, and what it has asked for.
        let own = self.input.memory.made.get(&self.target.reference.local);
        let started = self.input.memory.started.get(&self.target.reference.local);
        if own.is_some_and(|own| RolloutTarget::TaskDefinition(own.arn.clone()) == revision.target)
            && started.is_none_or(|started| started.to != revision.target)
        {
            return None;
        }
        if !self.view.complete {
            return Some("AWS's list of rollouts can't be read to its end");
        }
        let unknown = |rollout: &Rollout| {
            rollout.target == RolloutTarget::Unknown && rollout.started.is_none_or(|started| started >= made)
        };
        self.view.rollouts.iter().any(unknown).then_some("AWS doesn't say what was rolled out since")
    }

    /// A deployment to what the service was on before has failed: its tasks are as good as they were.
    pub(super) fn repeat_failed(&self, failed: &Rollout) -> Verdict {
        let Rollout { id, status, reason, .. } = failed.clone();
        let running = self.view.count(self.artifact);
        let failed = Reason::RepeatFailed { id, status, reason };
        if running < self.view.total {
            return Verdict::of(State::Blocked, failed);
        }
        let verdict = self.tag_moved().unwrap_or_else(|| self.converged());
        verdict.warning(failed.to_string())
    }

    /// Whether the pin leads back to what has run well here: to what the target is on while a rollout has left it mixed, to
    /// any version before that, or to what some rollout that AWS remembers has brought here. Such a way out is held back
    /// neither by `after` nor by an alarm that is raised already.
    pub(super) fn has_run_here(&self) -> bool {
        self.has_run(|revision| revision.fits(self.artifact))
    }

    /// Whether such a revision has run here well, or is what the target is on.
    pub(super) fn has_run(&self, is: impl Fn(&Revision) -> bool) -> bool {
        let well = |rollout: &Rollout| {
            rollout.outcome == RolloutOutcome::Succeeded && self.view.revision(&rollout.target).is_some_and(&is)
        };
        self.led_here(&is) || self.view.rollouts.iter().any(well)
    }

    /// Whether such a revision is what the target is on, or what ran before that, however far back.
    fn led_here(&self, is: &impl Fn(&Revision) -> bool) -> bool {
        if !self.view.chosen {
            return false;
        }
        let mut revision = &self.view.current;
        // Each is older than the one made from it; a chain that isn't sane ends.
        for _ in 0..=self.view.others.len() {
            if is(revision) {
                return true;
            }
            let before = self.view.ran_before(revision).and_then(|name| self.view.named(&name));
            let Some(before) = before else { return false };
            revision = before;
        }
        false
    }
}
