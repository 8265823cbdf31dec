//! From a status as the API shows it, in which tests write down what they want to see, to what the controller holds. What
//! a value can't hold is left out of it.

use pinion::model::status::{EnvironmentStatus, RolloutStatus, Snapshot, Status, SuspensionStatus, TargetStatus};
use pinion::model::{
    Artifact, Component, Denial, Digest, Ongoing, Pin, Provenance, Reason, Rollout, RolloutId, RolloutOutcome,
    RolloutTarget, Suspension, TargetRef, TargetState, Version,
};

/// The whole.
pub(crate) fn snapshot(status: &Status) -> Snapshot {
    let environment = |shown: &EnvironmentStatus| EnvironmentStatus {
        account: shown.account.clone(),
        region: shown.region.clone(),
        repository: shown.repository.clone(),
        branch: shown.branch.clone(),
        revision: shown.revision.clone(),
        valid: shown.valid,
        errors: shown.errors.clone(),
        change_limit: shown.change_limit.clone(),
        error: shown.error.clone(),
        last_success: shown.last_success,
        passes: shown.passes,
        targets: shown.targets.iter().map(|(local, it)| (local.clone(), target(it))).collect(),
    };
    let environments = status.environments.iter();
    Snapshot {
        version: status.version.clone(),
        environments: environments.map(|(name, it)| (name.clone(), environment(it))).collect(),
        repositories: status.repositories.clone(),
        resync: status.resync,
        ready: status.ready,
    }
}

/// One target. Its reason is one that says just this, unless guardrails forbid it or a change limit holds it.
pub(crate) fn target(shown: &TargetStatus) -> TargetState {
    let version = shown.desired.chars().filter(|it| !it.is_control() && !it.is_whitespace()).take(128);
    let version: String = version.collect();
    let denial = |policy: &String| Denial { policy: policy.clone(), reason: "so it is".to_owned() };
    let reason = match (&shown.reason, shown.denied_by.as_slice()) {
        (None, []) => None,
        (Some(text), []) if text.starts_with("held by") => Some(Reason::ChangeLimit(text.clone())),
        (Some(text), []) => Some(Reason::UnsupportedShape(text.clone())),
        (_, denied) => Some(Reason::Guardrail(denied.iter().map(denial).collect())),
    };
    let rollout = |it: &RolloutStatus| Rollout {
        id: RolloutId(it.id.clone()),
        target: RolloutTarget::Unknown,
        outcome: RolloutOutcome::Running,
        status: it.status.clone(),
        reason: it.reason.clone(),
        started: it.started,
        ended: None,
        percentage: it.percentage,
        repeats: false,
    };
    let suspension = |it: &SuspensionStatus| Suspension {
        owner: it.owner.clone(),
        reason: it.reason.clone(),
        until: it.until,
        reach: it.reach,
    };
    let image = |id: &String| Artifact::Ami {
        id: id.clone(),
        name: None,
        architecture: None,
        deprecated: false,
        root_device: None,
    };
    TargetState {
        target: TargetRef::try_from(shown.target.clone()).unwrap(),
        pin: Pin {
            component: Component::try_from(shown.component.as_str()).unwrap_or_else(|_| "frontend".parse().unwrap()),
            version: Version::try_from(version).unwrap(),
            digest: shown.digest.as_deref().and_then(|digest| Digest::try_from(digest).ok()),
            provenance: Provenance {
                commit: shown.pin.commit.parse().unwrap(),
                author: shown.pin.author.clone(),
                time: shown.pin.time,
                subject: shown.pin.subject.clone(),
                ..Provenance::uncommitted(shown.pin.time)
            },
        },
        state: shown.state,
        reason,
        since: shown.since,
        out_of_sync_since: shown.out_of_sync_since,
        runs: Vec::new(),
        in_sync_since: shown.in_sync_since,
        observed: shown.observed,
        last_known: shown.last_known,
        drifted: shown.drifted,
        running: shown.running.clone(),
        artifact: shown.artifact.as_ref().map(image),
        updated: shown.updated,
        total: shown.total,
        shape: None,
        brings: None,
        shape_waits: false,
        warnings: shown.warnings.clone(),
        rollout: shown.rollout.as_ref().map(rollout),
        suspension: shown.suspension.as_ref().map(suspension),
        ongoing: Ongoing::default(),
    }
}
