//! ECS services: their view for the decision, and the steps of a rollout.

use std::collections::BTreeMap;

use super::action::short_arn;
use super::revision::{Revision, View};
use super::{Action, Made};
use crate::model::{
    Artifact, Container, FargateSpec, Marker, ObservedDeployment, ObservedService, Pin, Rollout, RolloutHistory,
    RolloutId, RolloutOutcome, RolloutTarget, TaskDefinition,
};

/// The view of a service, or why Pinion can't roll it out and what to change.
pub(super) fn view(
    service: &ObservedService,
    spec: &FargateSpec,
    history: Option<&RolloutHistory>,
) -> Result<View, String> {
    let container = container(service, spec)?.name.clone();
    let (revisions, history) = match history {
        Some(RolloutHistory::Service { revisions, deployments }) => (revisions.as_slice(), Some(deployments)),
        _ => (&[][..], None),
    };
    let current = revision(&service.task_definition, &container);
    let mut others: Vec<Revision> = Vec::new();
    let known = revisions.iter().map(|definition| revision(definition, &container));
    let deployed = service.deployments.iter().map(|deployment| Revision {
        target: RolloutTarget::TaskDefinition(deployment.task_definition.clone()),
        name: short_arn(&deployment.task_definition).to_owned(),
        image: image_of(&deployment.containers, &container),
        marker: deployment.marker.clone(),
        usable: true,
    });
    for other in known.chain(deployed) {
        if other.target != current.target && others.iter().all(|seen| seen.target != other.target) {
            others.push(other);
        }
    }
    let mut running: BTreeMap<RolloutTarget, u32> = BTreeMap::new();
    for deployment in &service.deployments {
        let of = running.entry(RolloutTarget::TaskDefinition(deployment.task_definition.clone())).or_default();
        *of = of.saturating_add(deployment.running);
    }
    let before: Vec<String> = service
        .deployments
        .iter()
        .filter(|deployment| !deployment.primary)
        .map(|deployment| short_arn(&deployment.task_definition).to_owned())
        .collect();
    let taken_over = service
        .deployments
        .iter()
        .any(|it| it.primary && (it.rollout_state == "COMPLETED" || it.running >= it.desired));
    let leaving = service.deployments.iter().filter(|it| !it.primary && it.running > 0 && !taken_over);
    let outgoing = leaving.max_by_key(|deployment| deployment.running);
    let settled = matches!(service.deployments.as_slice(), [only]
        if only.primary && only.rollout_state == "COMPLETED" && only.task_definition == service.task_definition.arn);
    Ok(View {
        current,
        outgoing: outgoing.map(|deployment| RolloutTarget::TaskDefinition(deployment.task_definition.clone())),
        settled,
        quiet: settled,
        bases: (!before.is_empty()).then_some(before),
        others,
        rollouts: rollouts(service, history),
        digest: service.digests.get(&container).cloned(),
        running: running.into_iter().collect(),
        total: service.desired,
    })
}

/// The next write of a rollout of `image`: each pass carries out one, and the next pass finds it done.
pub(super) fn next_step(
    service: &ObservedService,
    spec: &FargateSpec,
    view: &View,
    pin: &Pin,
    artifact: &Artifact,
    made: Option<&Made>,
) -> Result<Action, String> {
    runs_on(&service.task_definition, artifact)?;
    let image = artifact.identity();
    let made_for_this = |revision: &&Revision| {
        let made = revision.marker.as_ref();
        revision.usable
            && revision.image.as_deref() == Some(image)
            && made.is_some_and(|made| made.commit == pin.provenance.commit && made.base == view.current.name)
    };
    // The oldest: of two Pinions that have each registered one, both take the same.
    let listed = view.others.iter().rev().find(made_for_this).and_then(|revision| match &revision.target {
        RolloutTarget::TaskDefinition(arn) => Some(arn),
        _ => None,
    });
    // Listing lags behind: what this process has just made itself may not be there yet.
    let own = made.filter(|made| {
        made.image == image && made.marker.commit == pin.provenance.commit && made.marker.base == view.current.name
    });
    Ok(match listed.or(own.map(|made| &made.arn)) {
        Some(arn) => Action::UpdateService {
            cluster: service.cluster.clone(),
            service: service.name.clone(),
            task_definition: arn.clone(),
        },
        _ => Action::RegisterTaskDefinition {
            base: service.task_definition.arn.clone(),
            container: container(service, spec)?.name.clone(),
            image: image.to_owned(),
            marker: Marker {
                version: pin.version.clone(),
                commit: pin.provenance.commit.clone(),
                base: view.current.name.clone(),
            },
        },
    })
}

/// The way back of a service that is left on a task definition whose rollout failed: to the one that it was made from.
pub(super) fn way_back(service: &ObservedService, view: &View, base: &str) -> Option<Action> {
    let known = view.others.iter().find(|revision| revision.name == base);
    let arn = match known.map(|revision| (&revision.target, revision.usable)) {
        Some((RolloutTarget::TaskDefinition(arn), true)) => arn.clone(),
        Some(_) => return None,
        // Deployed longer ago than ECS remembers; it is in the same account and region.
        None => format!("{}/{base}", service.task_definition.arn.rsplit_once('/')?.0),
    };
    let (cluster, service) = (service.cluster.clone(), service.name.clone());
    Some(Action::UpdateService { cluster, service, task_definition: arn })
}

/// Whether an image can run where the task definition wants it to; what to change if not. An image that doesn't say what
/// it is for is believed.
fn runs_on(definition: &TaskDefinition, artifact: &Artifact) -> Result<(), String> {
    let Artifact::Image { image, architectures, .. } = artifact else { return Ok(()) };
    let wanted = definition.architecture.as_deref().unwrap_or("X86_64");
    let spelt = match wanted {
        "X86_64" => "amd64",
        "ARM64" => "arm64",
        _ => return Ok(()),
    };
    if architectures.is_empty() || architectures.contains(spelt) {
        return Ok(());
    }
    let offered = architectures.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    Err(format!(
        "{image} is an image index for {offered}, but task definition {} runs on {wanted}; push an image that has {spelt} \
         too, or change runtimePlatform.cpuArchitecture",
        short_arn(&definition.arn)
    ))
}

/// The container whose image is ours.
fn container<'a>(service: &'a ObservedService, spec: &FargateSpec) -> Result<&'a Container, String> {
    let name = &service.name;
    if service.status != "ACTIVE" {
        return Err(format!(
            "service {name} is {}; create it anew, or take it out of environment.toml",
            service.status
        ));
    }
    if service.controller != "ECS" {
        return Err(format!(
            "service {name} has the deployment controller {}, with which only that controller may change the task \
             definition; create the service with controller ECS",
            service.controller
        ));
    }
    let definition = &service.task_definition;
    let short = short_arn(&definition.arn);
    if let Some(wanted) = &spec.container {
        return definition.containers.iter().find(|container| container.name == *wanted).ok_or_else(|| {
            format!(
                "task definition {short} has no container `{wanted}` (it has {}); correct `container`",
                names(definition.containers.iter())
            )
        });
    }
    let mut essential = definition.containers.iter().filter(|container| container.essential);
    match (essential.next(), essential.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(format!(
            "task definition {short} has several essential containers ({}); say with `container` which one is ours",
            names(definition.containers.iter().filter(|container| container.essential))
        )),
        (None, _) => {
            Err(format!("task definition {short} has no essential container; say with `container` which is ours"))
        }
    }
}

fn names<'a>(containers: impl Iterator<Item = &'a Container>) -> String {
    containers.map(|container| container.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The service deployments, and before them what `DescribeServices` shows of the primary deployment where they lag
/// behind it or don't exist.
fn rollouts(service: &ObservedService, history: Option<&Vec<Rollout>>) -> Vec<Rollout> {
    let mut rollouts = history.cloned().unwrap_or_default();
    let Some(primary) = service.deployments.iter().find(|deployment| deployment.primary) else { return rollouts };
    let target = RolloutTarget::TaskDefinition(primary.task_definition.clone());
    let outcome = outcome(primary);
    let told = rollouts.iter().any(|rollout| rollout.outcome.is_active())
        || (!outcome.is_active() && rollouts.iter().any(|rollout| rollout.target == target));
    if !told {
        rollouts.insert(
            0,
            Rollout {
                id: RolloutId(primary.id.clone()),
                target,
                outcome,
                status: primary.rollout_state.clone(),
                reason: primary.reason.clone(),
                started: primary.created,
                ended: None,
                percentage: None,
            },
        );
    }
    for rollout in rollouts.iter_mut().filter(|rollout| rollout.outcome == RolloutOutcome::Running) {
        let moved = service
            .deployments
            .iter()
            .find(|deployment| rollout.target == RolloutTarget::TaskDefinition(deployment.task_definition.clone()));
        if let Some(moved) = moved {
            let share = moved.running.saturating_mul(100).checked_div(moved.desired).unwrap_or(100).min(100);
            rollout.percentage = u8::try_from(share).ok();
        }
    }
    rollouts
}

fn outcome(deployment: &ObservedDeployment) -> RolloutOutcome {
    match deployment.rollout_state.as_str() {
        "COMPLETED" => RolloutOutcome::Succeeded,
        "FAILED" => RolloutOutcome::Failed,
        _ => RolloutOutcome::Running,
    }
}

fn revision(definition: &TaskDefinition, container: &str) -> Revision {
    Revision {
        target: RolloutTarget::TaskDefinition(definition.arn.clone()),
        name: short_arn(&definition.arn).to_owned(),
        image: image_of(&definition.containers, container),
        marker: definition.marker.clone(),
        usable: definition.active,
    }
}

fn image_of(containers: &[Container], name: &str) -> Option<String> {
    containers.iter().find(|container| container.name == name).map(|container| container.image.clone())
}
