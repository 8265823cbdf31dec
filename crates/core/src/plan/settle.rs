//! From a target's plan, and what became of it, to its state after the pass.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Action, TargetPlan};
use crate::model::{
    ErrorClass, Ongoing, Outcome, Pin, Provenance, Reason, RolloutOutcome, Run, StartedRollout, State, Target,
    TargetState, Version,
};

/// All that the state of a target after a pass is made of.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'a> {
    /// The target.
    pub target: &'a Target,
    /// What it should run.
    pub pin: &'a Pin,
    /// When the newest revision was seen on the branch, if this process saw it arrive.
    pub seen: Option<Timestamp>,
    /// What was planned.
    pub plan: &'a TargetPlan,
    /// What became of the plan's action, if it was tried.
    pub outcome: Option<&'a Outcome>,
    /// The time of the plan.
    pub now: Timestamp,
}

/// The state of a target after a pass, given the one before.
#[must_use]
pub fn settle(pass: Pass<'_>, before: Option<&TargetState>) -> TargetState {
    let Pass { target, pin, plan, now, .. } = pass;
    let (state, reason) = state(plan, pass.outcome);
    let unknown = state == State::Unknown;
    let since = before.filter(|before| before.state == state).map_or(now, |before| before.since);
    let out_of_sync_since = match state {
        State::InSync => None,
        State::Unknown => before.and_then(|before| before.out_of_sync_since),
        _ => Some(before.and_then(|before| before.out_of_sync_since).unwrap_or(now)),
    };
    let last_known = before.and_then(|before| match before.state {
        State::Unknown => before.last_known,
        known => Some(known),
    });
    let in_sync_since = in_sync_since(pass, state, before);
    // What was last seen stays while the account can't be read.
    let kept = before.filter(|_| unknown);
    TargetState {
        target: target.reference.clone(),
        pin: pin.clone(),
        since,
        out_of_sync_since,
        in_sync_since,
        runs: runs(pass, in_sync_since, before),
        observed: if unknown { before.and_then(|before| before.observed) } else { Some(now) },
        last_known: last_known.filter(|_| unknown),
        drifted: kept.map_or(plan.drifted, |kept| kept.drifted),
        running: kept.map_or_else(|| plan.running.clone(), |kept| kept.running.clone()),
        artifact: kept.map_or_else(|| plan.artifact.clone(), |kept| kept.artifact.clone()),
        updated: kept.map_or(plan.updated, |kept| kept.updated),
        total: kept.map_or(plan.total, |kept| kept.total),
        shape: kept.map_or_else(|| plan.shape.clone(), |kept| kept.shape.clone()),
        shape_waits: kept.map_or(plan.shape_waits, |kept| kept.shape_waits),
        brings: kept.map_or_else(|| plan.brings.clone(), |kept| kept.brings.clone()),
        warnings: kept.map_or_else(|| plan.warnings.clone(), |kept| kept.warnings.clone()),
        rollout: kept.map_or_else(|| plan.rollout.clone(), |kept| kept.rollout.clone()),
        suspension: target.suspend.clone(),
        ongoing: ongoing(pass, state, before),
        state,
        reason,
    }
}

/// The state of a target after a write was answered that its pass hadn't waited for. `started`: the rollout that runs since, if
/// the write was accepted and starts one.
#[must_use]
pub fn answered(
    before: &TargetState,
    action: &Action,
    started: Option<&StartedRollout>,
    outcome: &Outcome,
) -> TargetState {
    let mut after = before.clone();
    match outcome {
        Outcome::Applied(_) => {
            after.ongoing.failing = None;
            // A pass may have seen it running meanwhile.
            let known = |started: &StartedRollout| after.ongoing.rollout.as_ref().is_some_and(|it| it.to == started.to);
            if let Some(started) = started.filter(|started| !known(started)) {
                after.ongoing.rollout = Some(started.clone());
            }
        }
        Outcome::Failed(error) => after.ongoing.failing = Some((action.operation(), error.code.clone())),
    }
    after
}

/// What is shown for a pin of which nobody knows who set it, so that its target isn't missing.
#[must_use]
pub fn unknown_pin(target: &Target, now: Timestamp) -> Option<Pin> {
    Some(Pin {
        component: target.component.clone(),
        version: Version::try_from("unknown").ok()?,
        digest: None,
        provenance: Provenance::uncommitted(now),
    })
}

/// Since when the target is in sync with its pin. A process that has just begun takes AWS's word for when the rollout
/// that led there ended, where it has that. While the account can't be read, what was last known stays; so it does while
/// probes are sent once more because a process has begun, and not because of a rollout.
fn in_sync_since(pass: Pass<'_>, state: State, before: Option<&TargetState>) -> Option<Timestamp> {
    let Pass { pin, plan, now, .. } = pass;
    let same = before.filter(|before| pin.is_same_artifact(&before.pin.version, before.pin.digest.as_ref()));
    let kept = same.and_then(|before| before.in_sync_since);
    let from_aws = || {
        let rollout = plan.rollout.as_ref().filter(|rollout| rollout.outcome == RolloutOutcome::Succeeded);
        let ended = rollout.and_then(|rollout| rollout.ended);
        before.is_none_or(|before| before.observed.is_none()).then(|| ended.map_or(now, |ended| ended.min(now)))
    };
    match state {
        State::InSync => Some(kept.or_else(from_aws).unwrap_or(now)),
        State::Verifying if !plan.just_rolled => kept.or_else(from_aws),
        State::Unknown => kept,
        _ => None,
    }
}

/// What the target was in sync with: what is known of it already, what has just ended, and, for a process that has just begun,
/// what AWS remembers. AWS knows nothing of probes, so that what has some isn't taken from it. Of each version the longest
/// time is kept.
fn runs(
    Pass { target, pin, plan, now, .. }: Pass<'_>,
    after: Option<Timestamp>,
    before: Option<&TargetState>,
) -> Vec<Run> {
    let ended = before.and_then(|before| {
        let since = before.in_sync_since.filter(|_| before.state != State::Verifying)?;
        let Pin { version, digest, .. } = before.pin.clone();
        let goes_on = after.is_some() && pin.is_same_artifact(&version, digest.as_ref());
        // What can't be read isn't known to be in sync.
        let until = if before.state == State::Unknown { before.observed? } else { now };
        (!goes_on).then_some(Run { version, digest, since, until })
    });
    let seen = before.map(|before| before.runs.as_slice()).unwrap_or_default();
    let begins = before.is_none_or(|before| before.observed.is_none());
    let remembered = if begins && target.verify.is_empty() { plan.runs.as_slice() } else { &[] };
    let mut runs: Vec<Run> = Vec::new();
    for run in ended.iter().chain(seen).chain(remembered) {
        match runs.iter_mut().find(|known| known.version == run.version && known.digest == run.digest) {
            Some(known) if known.length() < run.length() => *known = run.clone(),
            Some(_) => {}
            None => runs.push(run.clone()),
        }
    }
    runs.sort_by_key(|run| std::cmp::Reverse(run.until));
    runs.truncate(Run::MAX);
    runs
}

/// The state and reason, given what became of the action. A write that was refused blocks the target; one that may
/// yet go through leaves the state as planned and says what happened.
fn state(plan: &TargetPlan, outcome: Option<&Outcome>) -> (State, Option<Reason>) {
    let planned = plan.reason.clone();
    match outcome {
        // That the rollback can't be started makes the pin no better.
        Some(Outcome::Failed(error)) if plan.state == State::Quarantined => {
            let reason = planned.map_or_else(
                || Reason::WriteFailed(error.clone()),
                |reason| Reason::RollbackNotStarted { quarantined: Box::new(reason), error: error.clone() },
            );
            (plan.state, Some(reason))
        }
        Some(Outcome::Failed(error)) => match error.class {
            ErrorClass::Denied => (State::Blocked, Some(Reason::Denied(error.clone()))),
            ErrorClass::Invalid => (State::Blocked, Some(Reason::Refused(error.clone()))),
            ErrorClass::Retry | ErrorClass::Conflict => (plan.state, Some(Reason::WriteFailed(error.clone()))),
        },
        _ => (plan.state, planned),
    }
}

/// What has begun and isn't over.
fn ongoing(pass: Pass<'_>, state: State, before: Option<&TargetState>) -> Ongoing {
    let Pass { pin, plan, .. } = pass;
    let earlier = before.map(|before| &before.ongoing);
    let same_pin = before.is_some_and(|before| before.pin.provenance.commit == pin.provenance.commit);
    let arrived = match before {
        None => None,
        Some(_) if !same_pin => pass.seen,
        // It was counted in the pass in which the target came in sync.
        Some(before) if before.state == State::InSync => None,
        Some(before) => before.ongoing.arrived,
    };
    let failing = match (&plan.action, pass.outcome) {
        (Some(action), Some(Outcome::Failed(error))) => Some((action.operation(), error.code.clone())),
        (_, Some(Outcome::Applied(_))) => None,
        _ => earlier.and_then(|earlier| earlier.failing.clone()),
    };
    let denied_by = match &plan.reason {
        Some(reason @ Reason::Guardrail(_)) => reason.policies().map(ToOwned::to_owned).collect(),
        // Nobody knows now whether it would still be forbidden.
        _ if state == State::Unknown && same_pin => {
            earlier.map(|earlier| earlier.denied_by.clone()).unwrap_or_default()
        }
        _ => BTreeSet::new(),
    };
    Ongoing {
        rollout: rollout(pass, state, earlier.and_then(|earlier| earlier.rollout.as_ref())),
        arrived,
        failing,
        denied_by,
    }
}

/// The rollout that runs or whose end this pass hasn't seen.
fn rollout(pass: Pass<'_>, state: State, before: Option<&StartedRollout>) -> Option<StartedRollout> {
    match (seen_running(pass), before) {
        // The same one: by the id that it keeps, once that is known.
        (Some(now), Some(before)) if before.to == now.to => Some(StartedRollout {
            started: now.started.min(before.started),
            id: before.id.clone().or(now.id),
            ..before.clone()
        }),
        (Some(now), _) => Some(now),
        // It is over, well or badly.
        (None, _) if matches!(state, State::InSync | State::Quarantined) => None,
        (None, before) => before.cloned(),
    }
}

/// The rollout that this pass started or saw running.
fn seen_running(pass: Pass<'_>) -> Option<StartedRollout> {
    let Pass { pin, plan, now, .. } = pass;
    let artifact = plan.artifact.as_ref().map(|artifact| artifact.identity().to_owned());
    // The rollback of a quarantined pin is no rollout of it.
    let applied = matches!(pass.outcome, Some(Outcome::Applied(_))) && plan.state != State::Quarantined;
    if let Some(to) = plan.action.as_ref().filter(|_| applied).and_then(Action::leads_to) {
        let shape = plan.shape.as_ref().map(ToString::to_string);
        return Some(StartedRollout { to, pin: Some(pin.clone()), artifact, shape, started: now, id: None });
    }
    let rollout = plan.rollout.as_ref().filter(|rollout| rollout.outcome.is_active())?;
    if !matches!(plan.state, State::RollingOut | State::Overdue) {
        return None;
    }
    let moved_on = matches!(plan.reason, Some(Reason::Superseded { .. } | Reason::Overdue { superseded: true, .. }));
    Some(StartedRollout {
        to: rollout.target.clone(),
        pin: (!moved_on).then(|| pin.clone()),
        artifact: artifact.filter(|_| !moved_on),
        shape: None,
        started: rollout.started.unwrap_or(now),
        id: Some(rollout.id.clone()).filter(crate::model::RolloutId::is_final),
    })
}
