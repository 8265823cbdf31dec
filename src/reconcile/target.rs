//! From a target's plan, and what became of it, to its status.

use jiff::Timestamp;

use super::pass::Outcome;
use crate::model::status::{PinStatus, RolloutStatus, SuspensionStatus, TargetStatus};
use crate::model::{ErrorClass, Pin, Provenance, RolloutOutcome, State, Target, Version};
use crate::plan::{Reason, TargetPlan};

/// The status of a target after a pass.
pub(super) fn status(
    target: &Target,
    pin: &Pin,
    plan: &TargetPlan,
    outcome: Option<&Outcome>,
    before: Option<&TargetStatus>,
    now: Timestamp,
) -> TargetStatus {
    let (state, reason) = settle(plan, outcome);
    let unknown = state == State::Unknown;
    let since = before.filter(|before| before.state == state).map_or(now, |before| before.since);
    let out_of_sync_since = match state {
        State::InSync => None,
        State::Unknown => before.and_then(|before| before.out_of_sync_since),
        _ => Some(before.and_then(|before| before.out_of_sync_since).unwrap_or(now)),
    };
    // What was last seen stays while the account can't be read.
    let kept = before.filter(|_| unknown);
    let rollout = plan.rollout.as_ref().map(|rollout| RolloutStatus {
        id: rollout.id.to_string(),
        status: rollout.status.clone(),
        reason: rollout.reason.clone(),
        percentage: rollout.percentage,
        started: rollout.started,
    });
    TargetStatus {
        target: target.reference.to_string(),
        kind: target.reference.local.kind,
        component: target.component.to_string(),
        state,
        reason,
        denied_by: plan.reason.iter().flat_map(Reason::policies).map(ToOwned::to_owned).collect(),
        since,
        out_of_sync_since,
        observed: if unknown { before.and_then(|before| before.observed) } else { Some(now) },
        last_known: unknown
            .then(|| {
                before.and_then(
                    |before| {
                        if before.state == State::Unknown { before.last_known } else { Some(before.state) }
                    },
                )
            })
            .flatten(),
        drifted: kept.map_or(plan.drifted, |kept| kept.drifted),
        in_sync_since: in_sync_since(pin, plan, state, before, now),
        desired: pin.version.to_string(),
        digest: pin.digest.as_ref().map(ToString::to_string),
        running: kept.map_or_else(|| plan.running.clone(), |kept| kept.running.clone()),
        artifact: kept.map_or_else(|| plan.artifact.as_ref().map(ToString::to_string), |kept| kept.artifact.clone()),
        updated: kept.map_or(plan.updated, |kept| kept.updated),
        total: kept.map_or(plan.total, |kept| kept.total),
        pin: PinStatus {
            commit: pin.provenance.commit.to_string(),
            author: pin.provenance.author.clone(),
            time: pin.provenance.time,
            subject: pin.provenance.subject.clone(),
        },
        warnings: kept.map_or_else(|| plan.warnings.clone(), |kept| kept.warnings.clone()),
        rollout: kept.map_or(rollout, |kept| kept.rollout.clone()),
        suspension: target.suspend.as_ref().map(|suspension| SuspensionStatus {
            owner: suspension.owner.clone(),
            reason: suspension.reason.clone(),
            until: suspension.until,
        }),
    }
}

/// What is shown for a pin of which nobody knows who set it, so that its target isn't missing.
pub(super) fn unknown_pin(target: &Target, now: Timestamp) -> Option<Pin> {
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
fn in_sync_since(
    pin: &Pin,
    plan: &TargetPlan,
    state: State,
    before: Option<&TargetStatus>,
    now: Timestamp,
) -> Option<Timestamp> {
    let digest = pin.digest.as_ref().map(ToString::to_string);
    let same = before.filter(|before| before.desired == pin.version.as_str() && before.digest == digest);
    let kept = same.and_then(|before| before.in_sync_since);
    let told = || {
        let rollout = plan.rollout.as_ref().filter(|rollout| rollout.outcome == RolloutOutcome::Succeeded);
        let ended = rollout.and_then(|rollout| rollout.ended);
        before.is_none_or(|before| before.observed.is_none()).then(|| ended.map_or(now, |ended| ended.min(now)))
    };
    match state {
        State::InSync => Some(kept.or_else(told).unwrap_or(now)),
        State::Verifying if !plan.just_rolled => kept.or_else(told),
        State::Unknown => kept,
        _ => None,
    }
}

/// The state and reason, given what became of the action. A write that was refused blocks the target; one that may
/// yet go through leaves the state as planned and says what happened.
fn settle(plan: &TargetPlan, outcome: Option<&Outcome>) -> (State, Option<String>) {
    match outcome {
        // The way back that can't be begun makes the pin no better.
        Some(Outcome::Failed(error)) if plan.state == State::Quarantined => {
            let reason = plan.reason.as_ref().map(ToString::to_string).unwrap_or_default();
            (plan.state, Some(format!("{reason}; going back: {error}")))
        }
        Some(Outcome::Failed(error)) => match error.class {
            ErrorClass::Denied | ErrorClass::Invalid => (State::Blocked, Some(error.to_string())),
            ErrorClass::Retry | ErrorClass::Conflict => (plan.state, Some(format!("{error}; will be tried again"))),
        },
        _ => (plan.state, plan.reason.as_ref().map(ToString::to_string)),
    }
}
