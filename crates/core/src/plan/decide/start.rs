//! A rollout that is due: its next step, and why it isn't taken yet.

use super::{Decision, LAG, Verdict, age, running};
use crate::guardrail::{Denial, Proposal};
use crate::model::{ObservedTarget, Rollout, RolloutOutcome, State, Target, TargetSpec};
use crate::plan::shape::Wanted;
use crate::plan::{Action, Input, Reason, Started, TargetPlan, group, service};

/// How far a rollout is that was asked for, and of which nothing that was read tells.
pub(in crate::plan) const NOT_SHOWN: &str = "it was asked for, but what was read doesn't show it yet";

impl Decision<'_> {
    /// A rollout is due.
    pub(super) fn start(&self) -> Verdict {
        if self.reads_lag() {
            let status =
                "it has only just ended well, and what was read shows something else; it is read once more first";
            let status = status.to_owned();
            return Verdict::of(State::RollingOut, Reason::Progress { status, percentage: None });
        }
        // A way out isn't barred by its probes.
        if let Some(why) = self.unasked().filter(|_| !self.has_run_here()) {
            return Verdict::of(State::Blocked, Reason::ProbeRefused(why.clone()));
        }
        if let Some(waiting) = self.waits() {
            return waiting;
        }
        let history = self.input.observed.histories.get(&self.target.reference.local);
        let Some(history) = history.and_then(|history| history.as_ref().ok()) else {
            // Without them it isn't known what was tried.
            return Verdict::of(State::Unknown, Reason::Unread);
        };
        if let Some(damped) = self.damped() {
            return damped;
        }
        let (settings, warning) = match self.settings() {
            Ok(settings) => settings,
            Err(held) => return *held,
        };
        let owner = self.input.claims.owner(&self.target.reference);
        let step = match (self.seen, &self.target.spec) {
            (ObservedTarget::Group(group), _) => {
                let target = Target { rollout: settings, ..self.target.clone() };
                group::next_step(group, self.view, Some(history), self.pin, self.artifact, &target, self.input)
            }
            (ObservedTarget::Service(service), TargetSpec::Fargate(spec)) => {
                let made = self.input.memory.made.get(&self.target.reference.local);
                service::next_step(service, spec, self.view, self.pin, self.artifact, made, owner)
            }
            _ => Err(format!("{} is of another kind than what was read for it", self.target.reference)),
        };
        match step {
            Ok(action) if self.is_on_its_way(&action) => {
                let status = NOT_SHOWN.to_owned();
                Verdict::of(State::RollingOut, Reason::Progress { status, percentage: None })
            }
            Ok(action) => {
                let verdict = Verdict::of(State::RollingOut, Reason::Preparing).doing(action);
                match warning {
                    Some(warning) => verdict.warning(warning),
                    None => verdict,
                }
            }
            Err(shape) => Verdict::of(State::Blocked, Reason::UnsupportedShape(shape)),
        }
    }

    /// Whether this process has only just asked for the very rollout that it would start now, and nothing that was read
    /// tells of it. A service would be deployed a second time: unlike a refresh, nothing refuses that. Earlier rollouts that
    /// led to the same tell nothing.
    pub(in crate::plan) fn is_on_its_way(&self, action: &Action) -> bool {
        let Input { memory, now, .. } = self.input;
        let Some(Started { to, at, before }) = memory.started.get(&self.target.reference.local) else { return false };
        let told = self.view.rollouts.iter().any(|rollout| rollout.target == *to && !before.contains(&rollout.id));
        !told && action.leads_to().as_ref() == Some(to) && *at <= now && age(*at, now) < LAG
    }

    /// Whether this process has asked for the same once more since a rollout.
    pub(super) fn was_tried_again(&self, rollout: &Rollout) -> bool {
        let started = self.input.memory.started.get(&self.target.reference.local);
        started.is_some_and(|started| started.to == rollout.target && started.before.contains(&rollout.id))
    }

    /// Whether this pin's rollout has only just ended well: that the target isn't there yet is then no reason to begin
    /// another one, unless it was seen there.
    fn reads_lag(&self) -> bool {
        let local = &self.target.reference.local;
        let commit = &self.pin.provenance.commit;
        let seen = self
            .input
            .memory
            .converged
            .get(local)
            .is_some_and(|converged| converged.commit == *commit && converged.base.as_ref() == self.view.base());
        let ended = self.attempt().filter(|rollout| rollout.outcome == RolloutOutcome::Succeeded);
        // What somebody has rolled out since is what was read.
        let since = self.view.rollouts.iter().take_while(|rollout| ended.is_some_and(|ended| ended.id != rollout.id));
        let replaced = ended.is_some_and(|ended| since.clone().any(|rollout| rollout.target != ended.target));
        // It went on in the last pass, whatever the clocks say: its target was read before its end.
        let went_on = self.input.memory.running.get(local);
        !seen && !replaced && ended.is_some_and(|rollout| self.has_just_ended(rollout) || went_on == Some(&rollout.id))
    }

    /// Whether a rollout is over for so short a time that reads of its target may still show it under way.
    pub(in crate::plan) fn has_just_ended(&self, rollout: &Rollout) -> bool {
        // Clocks may differ, and one that is set back must not make this last.
        rollout.ended.is_some_and(|ended| ended.duration_since(self.input.now).unsigned_abs() < LAG)
    }

    /// Why a rollout that is due may not start yet.
    pub(super) fn waits(&self) -> Option<Verdict> {
        if let Some(held) = self.input.desired.held.get(&self.target.component) {
            return Some(Verdict::of(State::Pending, Reason::ChangeLimit(held.clone())));
        }
        if let Some(held) = self.so_far.held_shapes.as_ref().filter(|_| self.brings_a_shape()) {
            return Some(Verdict::of(State::Pending, Reason::ChangeLimit(held.clone())));
        }
        // `after` orders what is new. Back to what ran well goes at once: the others may never get there.
        let after = self.target.after.iter().filter(|_| !self.has_run_here() && !self.brings_only_a_shape());
        for before in after {
            let planned = self.so_far.targets.get(before);
            let state = planned.map_or(State::Unknown, |plan| plan.state);
            if state != State::InSync && !planned.is_some_and(TargetPlan::is_held_by_its_shape) {
                return Some(Verdict::of(State::Pending, Reason::After { target: before.clone(), state }));
            }
        }
        if let Some(waiting) = self.promotion() {
            return Some(waiting);
        }
        let denials = self.denials();
        (!denials.is_empty()).then(|| Verdict::of(State::Pending, Reason::Guardrail(denials)))
    }

    /// Whether a rollout brings a newer shape, whether or not it brings an image.
    fn brings_a_shape(&self) -> bool {
        self.view.wanted.as_ref().is_some_and(Wanted::is_newer)
    }

    /// Whether the pinned image runs already, so that a rollout brings nothing but another shape. `after` orders versions.
    pub(super) fn brings_only_a_shape(&self) -> bool {
        !self.view.current.shaped && self.view.current.runs(self.artifact)
    }

    /// What forbids a rollout now.
    pub(in crate::plan) fn denials(&self) -> Vec<Denial> {
        let running = running(self.input, &self.target.reference.local, self.view);
        let shape = self.view.wanted.as_ref().and_then(Wanted::change);
        self.input.guardrails.check(Proposal {
            environment: self.input.desired,
            target: self.target,
            pin: self.pin,
            running: Some(&running),
            heals: self.heals(),
            shape: shape.as_ref(),
            image: !self.view.current.runs(self.artifact),
            fleet: self.input.fleet,
            now: self.input.now,
        })
    }

    /// Whether this very pin had brought this very artifact here before.
    pub(super) fn heals(&self) -> bool {
        let converged = self.input.memory.converged.get(&self.target.reference.local).is_some_and(|converged| {
            converged.commit == self.pin.provenance.commit
                && converged.artifact == self.artifact.identity()
                && converged.base.as_ref() == self.view.base()
        });
        converged || self.attempt().is_some_and(|rollout| rollout.outcome == RolloutOutcome::Succeeded)
    }
}
