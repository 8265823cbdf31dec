//! The decision for one target: state, reason, action.

mod alarms;
mod heal;
mod outcome;
mod preconditions;
mod probes;
mod promotion;
mod start;
mod template;

use std::time::Duration;

use jiff::Timestamp;

use self::outcome::Attempts;
use self::preconditions::{Preconditions, preconditions};
use self::probes::{Probes, just_rolled};
pub(super) use self::start::NOT_SHOWN;
use super::revision::View;
use super::{Action, Failing, Input, Memory, Observed, Plan, Reason, Refused, TargetPlan, back, group, service, shape};
use crate::model::{
    Artifact, Bases, Environment, LocalRef, ObservedTarget, Pin, Refusal, ResolveError, Rollout, RolloutHistory,
    RolloutOutcome, State, Target, TargetSpec,
};

/// For this long reads of a target may lag behind what its rollouts say.
const LAG: Duration = Duration::from_secs(30);

/// What a decision comes to.
pub(super) struct Verdict {
    state: State,
    reason: Option<Reason>,
    action: Option<Action>,
    rollout: Option<Rollout>,
    ours: bool,
    warning: Option<String>,
}

impl Verdict {
    pub(super) fn of(state: State, reason: impl Into<Option<Reason>>) -> Self {
        Self { state, reason: reason.into(), action: None, rollout: None, ours: false, warning: None }
    }

    pub(super) fn warning(self, warning: String) -> Self {
        Self { warning: Some(warning), ..self }
    }

    pub(super) fn doing(self, action: impl Into<Option<Action>>) -> Self {
        Self { action: action.into(), ..self }
    }

    pub(super) fn about(self, rollout: &Rollout, ours: bool) -> Self {
        Self { rollout: Some(rollout.clone()), ours, ..self }
    }
}

/// Whether this target's rollouts have to be read. `None` if it is suspended, or its state, artifact or pin isn't known.
pub(super) fn needs_history(
    desired: &Environment,
    observed: &Observed,
    memory: &Memory,
    local: &LocalRef,
    now: Timestamp,
) -> Option<bool> {
    let target = desired.targets.get(local).filter(|target| target.suspended(now).is_none())?;
    let (Some(Ok(seen)), Some(Ok(artifact))) = (observed.targets.get(local), observed.artifacts.get(local)) else {
        return None;
    };
    let (Ok(view), Some(pin)) = (view(target, seen, None), desired.pin_of(target)) else { return None };
    let view = shaped(view, target, observed, artifact, memory, true);
    let commit = &pin.provenance.commit;
    let at_rest = view.settled && view.quiet && view.current.fits(artifact);
    // A rollout for the pin before this one may be about to begin: nothing shows it but the rollouts themselves.
    let moved_on = memory
        .converged
        .get(local)
        .is_some_and(|converged| converged.commit != *commit || converged.base.as_ref() != view.base());
    let probed = memory.probes.get(local).is_some_and(|record| {
        record.commit == *commit && record.base.as_ref() == view.base() && record.failure.is_none()
    });
    // A group that follows what Pinion made may follow what has failed.
    let follows = matches!(seen, ObservedTarget::Group(group) if group::follows_made(group));
    Some(!at_rest || moved_on || follows || !(target.verify.is_empty() || probed))
}

/// Whether the running image has the pinned name but different content, so that the artifact has to be looked up again.
pub(super) fn needs_second_look(desired: &Environment, observed: &Observed, local: &LocalRef) -> bool {
    let Some(target) = desired.targets.get(local) else { return false };
    let (Some(Ok(seen)), Some(Ok(artifact)), Some(pin)) =
        (observed.targets.get(local), observed.artifacts.get(local), desired.pin_of(target))
    else {
        return false;
    };
    // A pinned digest doesn't move.
    if pin.digest.is_some() {
        return false;
    }
    view(target, seen, None).is_ok_and(|view| view.current.moved_from(artifact, &pin.version).is_some())
}

/// The rollouts of a target, newest first, as far as they were read.
pub(super) fn rollouts(desired: &Environment, observed: &Observed, local: &LocalRef) -> Vec<Rollout> {
    let Some(target) = desired.targets.get(local) else { return Vec::new() };
    let history = observed.histories.get(local).and_then(|history| history.as_ref().ok());
    let seen = observed.targets.get(local).and_then(|seen| seen.as_ref().ok());
    let view = seen.and_then(|seen| view(target, seen, history).ok());
    view.map(|view| view.rollouts).unwrap_or_default()
}

/// Whether a rollout of ours runs.
pub(super) fn is_in_flight(input: Input<'_>, target: &Target) -> bool {
    let local = &target.reference.local;
    let Some(Ok(seen)) = input.observed.targets.get(local) else { return false };
    let history = input.observed.histories.get(local).and_then(|history| history.as_ref().ok());
    view(target, seen, history).is_ok_and(|view| {
        view.rollouts.iter().any(|rollout| {
            let ours = view.revision(&rollout.target).is_some_and(|revision| view.is_ours(revision));
            ours && rollout.outcome.is_active()
        })
    })
}

/// Decides about one target. `so_far` holds the decisions about those that it waits for.
pub(super) fn decide(input: Input<'_>, target: &Target, so_far: &Plan) -> TargetPlan {
    let local = &target.reference.local;
    let artifact = input.observed.artifacts.get(local);
    let seen = input.observed.targets.get(local).and_then(|seen| seen.as_ref().ok());
    let history = input.observed.histories.get(local).and_then(|history| history.as_ref().ok());
    let artifact_found = artifact.and_then(|artifact| artifact.as_ref().ok());
    let seen_as = |newer: bool| {
        let view = view(target, seen?, history).map(|view| match artifact_found {
            Some(artifact) => shaped(view, target, input.observed, artifact, input.memory, newer),
            None => view,
        });
        Some(view)
    };
    let judged = |view: &Option<Result<View, String>>| match preconditions(input, target) {
        Err(verdict) => *verdict,
        Ok(Preconditions { pin, artifact, seen }) => match view {
            Some(Ok(view)) => {
                let decision = Decision { input, target, pin, artifact, seen, view, so_far };
                let verdict = || decision.on_its_number(decision.verdict());
                match input.claims.check(input.desired, target, view.marked_for(), input.now) {
                    Ok(()) => verdict(),
                    // It is only doubtful whose it is, which matters to nobody before something is due.
                    Err(refusal @ Refusal::Early { by: None, .. }) => {
                        let verdict = verdict();
                        let writes = verdict.action.as_ref().is_some_and(Action::is_write);
                        if writes { refused(refusal) } else { verdict }
                    }
                    Err(refusal) => refused(refusal),
                }
            }
            Some(Err(shape)) => Verdict::of(State::Blocked, Reason::UnsupportedShape(shape.clone())),
            None => Verdict::of(State::Unknown, Reason::Unread),
        },
    };
    let mut view = seen_as(true);
    let mut verdict = judged(&view);
    // What holds a new shape, a guardrail or the change limit, doesn't hold the pin: that goes out with the shape that runs.
    let is_held = |verdict: &Verdict| matches!(verdict.reason, Some(Reason::Guardrail(_) | Reason::ChangeLimit(_)));
    let newer = matches!(&view, Some(Ok(view)) if view.wanted.as_ref().is_some_and(|wanted| wanted.base.is_some()));
    let mut shape_waits = false;
    if is_held(&verdict) && newer {
        let as_it_is = seen_as(false);
        let other = judged(&as_it_is);
        shape_waits = other.state == State::InSync;
        if !is_held(&other) && other.state != State::InSync {
            let why = verdict
                .reason
                .map(|reason| format!("the newer shape waits, and the pin goes out without it: {reason}"));
            (view, verdict) = (as_it_is, other);
            verdict.warning = verdict.warning.or(why);
        }
    }
    let view = view.and_then(Result::ok);
    let pin = input.desired.pin_of(target);
    let attempt =
        view.as_ref().zip(pin).zip(artifact_found).and_then(|((view, pin), artifact)| {
            Attempts { view, pin, artifact, memory: input.memory, local }.decisive()
        });
    let just_rolled = just_rolled(target, attempt, input);
    let due = verdict.state != State::InSync;
    let mut warnings = match (seen, artifact_found) {
        (Some(ObservedTarget::Group(group)), Some(artifact)) => group::warnings(group, artifact, due),
        (Some(ObservedTarget::Service(service)), Some(artifact)) => match &target.spec {
            TargetSpec::Fargate(spec) => service::warnings(service, spec, artifact),
            TargetSpec::Asg(_) => Vec::new(),
        },
        _ => Vec::new(),
    };
    warnings.extend(shape::sharing(target, input.observed));
    warnings.extend(verdict.warning.clone());
    // A guardrail that holds the version says why itself.
    let goes_on = due && !matches!(verdict.reason, Some(Reason::Guardrail(_)));
    if goes_on && let (Some(pin), Some(artifact), Some(seen), Some(view)) = (pin, artifact_found, seen, &view) {
        warnings.extend(Decision { input, target, pin, artifact, seen, view, so_far }.promotion_warning());
    }
    let base = view.as_ref().and_then(View::base).cloned();
    let drifted = pin.is_some_and(|pin| drifted(input, target, &verdict, attempt, (pin, base.as_ref())));
    let verdict = suppress_refused(input, local, verdict);
    TargetPlan {
        drifted,
        running: view.as_ref().map(|view| {
            let pinned = pin.zip(artifact_found).filter(|(_, artifact)| view.running().runs(artifact));
            pinned.map_or_else(|| running(input, local, view), |(pin, _)| pin.version.to_string())
        }),
        artifact: artifact_found.cloned(),
        shape: view.as_ref().and_then(|view| view.wanted.as_ref()?.change()),
        brings: view.as_ref().and_then(|view| Some(view.wanted.as_ref()?.brings()?.to_owned())),
        base,
        image_differs: view.as_ref().zip(artifact_found).is_some_and(|(view, found)| !view.current.runs(found)),
        updated: view.as_ref().zip(artifact_found).map_or(0, |(view, found)| view.count(found).min(view.total)),
        total: view.as_ref().map_or(0, |view| view.total),
        state: verdict.state,
        reason: verdict.reason,
        action: verdict.action,
        rollout: verdict.rollout,
        ours: verdict.ours,
        warnings,
        runs: view.as_ref().map(|view| promotion::runs(view, input.now)).unwrap_or_default(),
        just_rolled,
        shape_waits,
    }
}

/// Drops an action that AWS refused a moment ago.
fn suppress_refused(input: Input<'_>, local: &LocalRef, verdict: Verdict) -> Verdict {
    let same = |refused: &&Refused| verdict.action.as_ref() == Some(&refused.action) && refused.holds(input.now);
    let Some(refused) = input.memory.refused.get(local).filter(same) else { return verdict };
    let verdict = Verdict { action: None, ..verdict };
    // The pin stays quarantined even if AWS refuses the rollback.
    match (verdict.state, &refused.reason) {
        (State::Quarantined, _) => verdict,
        // It is on its way, and asked for again after a pause.
        (_, Reason::WriteFailed(_)) => Verdict { reason: Some(refused.reason.clone()), ..verdict },
        _ => Verdict { state: State::Blocked, reason: Some(refused.reason.clone()), ..verdict },
    }
}

/// Another target holds the AWS resource.
fn refused(refusal: Refusal) -> Verdict {
    let state = if refusal.is_passing() { State::Pending } else { State::Blocked };
    Verdict::of(state, Reason::Claimed(refusal))
}

/// Whether a target is to get a newer shape, and no rollout brings it yet. Where it can't be told whether that shape has
/// failed here, it counts.
pub(super) fn is_to_get_a_shape(input: Input<'_>, target: &Target) -> bool {
    let local = &target.reference.local;
    let observed = input.observed;
    let newer = observed.bases.get(local).and_then(|bases| bases.as_ref().ok()).is_some_and(|it| it.newest.is_some());
    let Some(Ok(seen)) = observed.targets.get(local).filter(|_| newer && target.suspended(input.now).is_none()) else {
        return false;
    };
    let history = observed.histories.get(local).and_then(|history| history.as_ref().ok());
    let Ok(view) = view(target, seen, history) else { return false };
    let artifact = match observed.artifacts.get(local) {
        Some(Ok(artifact)) => artifact,
        Some(Err(ResolveError::Unusable(_))) => return false,
        Some(Err(ResolveError::Call(_))) | None => return true,
    };
    let view = shaped(view, target, observed, artifact, input.memory, true);
    let brings = |rollout: &Rollout| view.revision(&rollout.target).is_some_and(|revision| revision.shaped);
    let under_way = || view.rollouts.iter().any(|rollout| rollout.outcome.is_active() && brings(rollout));
    view.wanted.as_ref().is_some_and(shape::Wanted::is_newer) && !under_way()
}

fn view(target: &Target, seen: &ObservedTarget, history: Option<&RolloutHistory>) -> Result<View, String> {
    match (seen, &target.spec) {
        (ObservedTarget::Group(group), TargetSpec::Asg(_)) => group::view(group, &target.base, history),
        (ObservedTarget::Service(service), TargetSpec::Fargate(spec)) => service::view(service, spec, history),
        (ObservedTarget::Missing(what), _) => Err(format!("there is no {what}")),
        _ => Err(format!("{} is of another kind than what was read for it", target.reference)),
    }
}

/// The view with the wanted shape marked, where that isn't the shape of what runs. `newer`: whether that may be a newer one.
fn shaped(view: View, target: &Target, observed: &Observed, artifact: &Artifact, memory: &Memory, newer: bool) -> View {
    let local = &target.reference.local;
    match observed.bases.get(local) {
        Some(Ok(bases)) if target.base.rule().is_some() && !newer => {
            view.shaped(&Bases { newest: None, ..bases.clone() }, artifact, memory, local)
        }
        Some(Ok(bases)) if target.base.rule().is_some() => view.shaped(bases, artifact, memory, local),
        _ => view,
    }
}

/// What runs where that isn't the pin: the version that this process knows it by, else what the revision tells.
fn running(input: Input<'_>, local: &LocalRef, view: &View) -> String {
    let earlier = input.memory.converged.get(local);
    let earlier = earlier.filter(|earlier| view.running().image.as_deref() == Some(earlier.artifact.as_str()));
    earlier.map_or_else(|| view.running().described(), |earlier| earlier.version.to_string())
}

/// Whether a target that was in sync with this very pin isn't any more. That it was is known from this process's own
/// passes or, where something has to be done about it, from AWS's memory of the rollout that ended well.
fn drifted(
    input: Input<'_>,
    target: &Target,
    verdict: &Verdict,
    attempt: Option<&Rollout>,
    (pin, base): (&Pin, Option<&String>),
) -> bool {
    let local = &target.reference.local;
    let write = verdict.action.as_ref().is_some_and(Action::is_write);
    // Of what another target holds nothing is due.
    let waits = verdict.state == State::Pending && !matches!(verdict.reason, Some(Reason::Claimed(_)));
    let contested = matches!(verdict.reason, Some(Reason::Contested { .. }));
    let due = waits || contested || (write && verdict.state != State::Quarantined);
    let moving = matches!(verdict.state, State::RollingOut | State::Overdue) && input.memory.drifted.contains(local);
    let remembered = input
        .memory
        .converged
        .get(local)
        .is_some_and(|it| it.commit == pin.provenance.commit && it.base.as_ref() == base);
    let succeeded = attempt.is_some_and(|rollout| rollout.outcome == RolloutOutcome::Succeeded);
    (remembered && (due || moving)) || (succeeded && due)
}

/// A target about which everything is known.
pub(super) struct Decision<'a> {
    pub(super) input: Input<'a>,
    pub(super) target: &'a Target,
    pub(super) pin: &'a Pin,
    artifact: &'a Artifact,
    pub(super) seen: &'a ObservedTarget,
    pub(super) view: &'a View,
    so_far: &'a Plan,
}

impl Decision<'_> {
    fn verdict(&self) -> Verdict {
        let view = self.view;
        let active = view.rollouts.iter().find(|rollout| rollout.outcome.is_active());
        if let Some(failed) = self.follows_failed() {
            return self.quarantined(failed);
        }
        if let Some(left) = self.left_by_a_shape(active) {
            return left;
        }
        if view.settled && view.current.fits(self.artifact) && !self.is_at_work(active) {
            let verdict = self.tag_moved().unwrap_or_else(|| self.converged());
            if verdict.state == State::InSync
                && let Some(held) = self.held_by_its_shape(None)
            {
                return held;
            }
            return match self.attempt() {
                Some(rollout) => verdict.about(rollout, true),
                None => verdict,
            };
        }
        if let Some(verdict) = self.rebuilt(active) {
            return verdict;
        }
        if let Some(active) = active
            && let Some(verdict) = self.in_flight(active)
        {
            return verdict;
        }
        if let Some(failed) = self.attempt().filter(|attempt| self.prevents_retry(attempt)) {
            return self.quarantined(failed);
        }
        if view.current.fits(self.artifact) && matches!(self.target.spec, TargetSpec::Fargate(_)) {
            return self.unsettled_service();
        }
        if let Probes::Failed(why) | Probes::Unproven(why) = self.probes() {
            // Whatever has been done since, a version whose probes failed isn't rolled out again.
            return Verdict::of(State::Quarantined, Reason::ProbeGaveUp(why));
        }
        if let Some(moved) = self.tag_moved().filter(|_| self.view.settled && self.pin.digest.is_none()) {
            return moved;
        }
        if view.current.untold {
            return Verdict::of(State::Blocked, Reason::UnsupportedShape(self.untold()));
        }
        self.forgotten().unwrap_or_else(|| self.start())
    }

    /// Why nothing is rolled out while AWS leaves out the image of what the target is on.
    fn untold(&self) -> String {
        let what = match self.seen {
            ObservedTarget::Group(_) => "launch template version",
            _ => "task definition",
        };
        format!(
            "AWS doesn't say which image is in {what} {}, and so not what runs; it is read again in each pass. If there is \
             none in it, put the target on one that has an image",
            self.view.current.name
        )
    }

    /// The newest rollout made for this pin that says something of it.
    pub(super) fn attempt(&self) -> Option<&Rollout> {
        self.attempts().decisive()
    }

    /// The pinned tag is running, but the tag has since moved to another image. No commit released that image here, so it
    /// isn't rolled out; removing the digest from a pin doesn't release it either.
    fn tag_moved(&self) -> Option<Verdict> {
        let Artifact::Image { image, digest: Some(now), .. } = self.artifact else { return None };
        let running = self.view.current.moved_from(self.artifact, &self.pin.version)?;
        let (image, running, now) = (image.clone(), running.to_string(), now.to_string());
        Some(Verdict::of(State::Blocked, Reason::TagMoved { image, running, now }))
    }

    /// Whether a rollout is at work though everything that runs is right already: the last instances of a refresh
    /// aren't warm yet, or a refresh to another version hasn't launched its first one. A service tells by itself.
    fn is_at_work(&self, active: Option<&Rollout>) -> bool {
        matches!(self.seen, ObservedTarget::Group(_)) && active.is_some()
    }

    /// Whether a rollout failed and no operator has asked for a retry since.
    pub(super) fn prevents_retry(&self, rollout: &Rollout) -> bool {
        let forgiven = self.input.memory.forgiven.get(&self.target.reference.local);
        back::ended_badly(rollout) && !forgiven.is_some_and(|forgiven| forgiven.rollouts.contains(&rollout.id))
    }

    /// Everything runs the artifact: probes have the last word.
    fn converged(&self) -> Verdict {
        match self.probes() {
            Probes::Passed => Verdict::of(State::InSync, None),
            Probes::Refused(why) => Verdict::of(State::Blocked, Reason::ProbeRefused(why)),
            Probes::Due => Verdict::of(State::Verifying, Reason::Probing).doing(self.verify()),
            Probes::Failing(why) => Verdict::of(State::Verifying, Reason::ProbeFailed(why)).doing(self.verify()),
            Probes::Failed(why) => Verdict::of(State::Quarantined, Reason::ProbeGaveUp(why)),
            Probes::Unproven(why) => {
                Verdict::of(State::Quarantined, Reason::ProbeNeverPassed(why)).doing(self.verify())
            }
        }
    }

    /// A rollout runs. `None` means that the next one supersedes it by merely being started.
    fn in_flight(&self, active: &Rollout) -> Option<Verdict> {
        let revision = self.view.revision(&active.target);
        let ours = revision.is_some_and(|revision| self.view.is_ours(revision));
        // What isn't said is no reason to end it.
        let right = revision.is_some_and(|revision| (ours && revision.untold) || revision.fits(self.artifact));
        let undoing = active.outcome == RolloutOutcome::Undoing;
        let shape_failed = self.view.wanted.as_ref().is_some_and(|wanted| wanted.failed.is_some());
        if (!right || shape_failed)
            && let Some(verdict) = self.way_back_runs(active)
        {
            return Some(verdict);
        }
        let verdict = match (right, ours) {
            (true, _) if undoing => self.overdue(active, false).unwrap_or_else(|| {
                Verdict::of(State::RollingOut, Reason::RollingBack { reason: active.reason.clone() })
            }),
            (true, _) => self.progress(active),
            (false, true) => return self.superseded(active).map(|verdict| verdict.about(active, false)),
            (false, false) => {
                let (id, status) = (active.id.clone(), active.status.clone());
                Verdict::of(State::Pending, Reason::ForeignRollout { id, status, failing: self.failing() })
            }
        };
        Some(verdict.about(active, ours))
    }

    /// How many tasks of a service's deployment have failed, if it has no circuit breaker, which would end it.
    fn failing(&self) -> Option<Failing> {
        let ObservedTarget::Service(service) = self.seen else { return None };
        let primary = service.deployments.iter().find(|deployment| deployment.primary)?;
        (primary.failed > 0 && !service.breaker).then(|| Failing {
            tasks: primary.failed,
            end: format!(
                "put the service on a task definition that works, with `aws ecs update-service --cluster {} --service {} \
                 --task-definition FAMILY:REVISION`, and give it a circuit breaker",
                service.cluster, service.name
            ),
        })
    }

    /// A rollout to the artifact runs.
    fn progress(&self, active: &Rollout) -> Verdict {
        let (status, percentage) = (active.status.clone(), active.percentage);
        let verdict = self
            .overdue(active, false)
            .unwrap_or_else(|| Verdict::of(State::RollingOut, Reason::Progress { status, percentage }));
        if active.outcome != RolloutOutcome::Baking {
            return verdict;
        }
        // While it bakes everything is replaced already, and AWS can still take it back.
        match (self.probes(), self.seen) {
            (Probes::Passed | Probes::Refused(_), _) => verdict,
            (Probes::Failed(why), ObservedTarget::Group(group)) if active.target != self.view.current.target => {
                let (group, refresh) = (group.name.clone(), active.id.clone());
                Verdict::of(State::RollingOut, Reason::ProbeFailed(why))
                    .doing(Action::RollbackRefresh { group, refresh })
            }
            (Probes::Failed(why), ObservedTarget::Service(service)) if active.id.is_service_deployment() => {
                let (cluster, service, deployment) = (service.cluster.clone(), service.name.clone(), active.id.clone());
                Verdict::of(State::RollingOut, Reason::ProbeFailed(why)).doing(Action::RollBackDeployment {
                    cluster,
                    service,
                    deployment,
                })
            }
            (Probes::Due | Probes::Failing(_) | Probes::Failed(_) | Probes::Unproven(_), _) => {
                verdict.doing(self.verify())
            }
        }
    }

    /// A rollout that has outlived its deadline, whatever it does now.
    fn overdue(&self, active: &Rollout, superseded: bool) -> Option<Verdict> {
        let deadline = self.target.rollout.deadline;
        active.started.filter(|started| age(*started, self.input.now) > deadline)?;
        let (status, deadline) = (active.status.clone(), deadline.as_secs());
        Some(Verdict::of(State::Overdue, Reason::Overdue { deadline, status, superseded }))
    }

    /// A rollout that Pinion started for another pin is still running.
    fn superseded(&self, active: &Rollout) -> Option<Verdict> {
        let id = active.id.clone();
        if active.outcome == RolloutOutcome::Undoing {
            let stopping = || Verdict::of(State::RollingOut, Reason::Superseded { id });
            return Some(self.overdue(active, true).unwrap_or_else(stopping));
        }
        // Don't cancel it until its successor may start, or the group would be left half rolled out. (A return to the last
        // good version doesn't wait for `after`.)
        if let Some(waiting) = self.waits() {
            return Some(waiting);
        }
        match self.seen {
            ObservedTarget::Group(group) => {
                let cancel = Action::CancelRefresh { group: group.name.clone(), refresh: id.clone() };
                Some(Verdict::of(State::RollingOut, Reason::Superseded { id }).doing(cancel))
            }
            _ => None,
        }
    }

    /// A service on the right task definition that isn't at rest, though no rollout of this pin is known.
    fn unsettled_service(&self) -> Verdict {
        let mut led_here = self.view.rollouts.iter().filter(|rollout| rollout.target == self.view.current.target);
        let newest = led_here.clone().next();
        let failed = |rollout: &&Rollout| rollout.outcome == RolloutOutcome::Failed;
        if let Some(repeat) = newest.filter(failed)
            && (self.view.current.copied || self.attempts().was_there_before(repeat))
        {
            return self.repeat_failed(repeat);
        }
        // What a retry forgives has to go back first: from where it has left the service nothing can be rolled out.
        let left = newest.filter(failed).filter(|rollout| !self.was_tried_again(rollout));
        if let Some(failed) = led_here.find(|rollout| failed(rollout) && self.prevents_retry(rollout)).or(left) {
            return self.quarantined(failed);
        }
        let status = "old tasks are stopping".to_owned();
        let overdue = newest.and_then(|rollout| {
            self.overdue(&Rollout { status: "stopping old tasks".to_owned(), ..rollout.clone() }, false)
        });
        overdue.unwrap_or_else(|| Verdict::of(State::RollingOut, Reason::Progress { status, percentage: None }))
    }
}

/// How long ago something was; zero if it lies ahead.
fn age(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}
