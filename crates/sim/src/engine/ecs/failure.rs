//! How a deployment fails: the circuit breaker, alarms, and stops that were asked for; and how it goes back.

use super::{ServiceRollback, begin, close};
use crate::world::{Deployment, Revision, Rollout, Scene, Service};

/// Carries out a `StopServiceDeployment`.
pub(super) fn obey_stop(service: &mut Service, scene: &mut Scene<'_>) {
    let Some(record) = service.service_deployments.last() else { return };
    match record.status.as_str() {
        "STOP_REQUESTED" => {
            halt(service, "STOPPED", "Service deployment was stopped by a StopServiceDeployment request.", scene);
        }
        "ROLLBACK_REQUESTED" => {
            roll_back(service, "Service deployment rolled back because of a StopServiceDeployment request.", scene);
        }
        _ => {}
    }
}

/// The failure detectors: circuit breaker and alarms.
pub(super) fn watch(service: &mut Service, scene: &mut Scene<'_>) {
    let Some(primary) = service.primary() else { return };
    if primary.rollout != Rollout::InProgress || primary.halted {
        return;
    }
    let (is_rollback, failed) = (primary.is_rollback, primary.failed);
    let (enabled, rolls_back) = service.breaker();
    let threshold = service.threshold();
    let owner = primary.service_deployment.clone();
    if let Some(record) = service.service_deployments.iter_mut().find(|one| one.arn == owner && !is_rollback) {
        record.failures = failed;
    }
    let tripped = enabled && failed >= threshold;
    // On the way back nobody asks them: they are what the way back is for.
    let alarm = triggered(service, scene).filter(|_| !is_rollback);
    let (reason, rolls_back) = match &alarm {
        Some((name, rolls_back)) => {
            (format!("Service deployment rolled back because alarm {name} is in ALARM."), *rolls_back)
        }
        None => (
            "Service deployment rolled back because the circuit breaker threshold was exceeded.".to_owned(),
            rolls_back,
        ),
    };
    if !tripped && alarm.is_none() {
        return;
    }
    if tripped && let Some(record) = service.service_deployments.iter_mut().find(|one| one.arn == owner) {
        "TRIGGERED".clone_into(&mut record.breaker);
    }
    if is_rollback {
        halt(service, "ROLLBACK_FAILED", "The rollback failed: tasks failed to start.", scene);
    } else if rolls_back {
        roll_back(service, &reason, scene);
    } else {
        halt(service, "STOPPED", "Service deployment failed: tasks failed to start.", scene);
    }
}

/// The deployment alarms that are in ALARM.
pub(super) fn raised(service: &Service, scene: &Scene<'_>) -> Vec<String> {
    let names = service.configuration.get("alarms").and_then(|alarms| alarms.get("alarmNames"));
    let names = names.and_then(serde_json::Value::as_array).into_iter().flatten().filter_map(|name| name.as_str());
    let region = scene.world.region(scene.account, scene.region);
    names.filter(|name| region.is_some_and(|region| region.is_raised(name))).map(str::to_owned).collect()
}

/// A deployment alarm that has gone into ALARM since the deployment began, and whether it is to roll back.
fn triggered(service: &Service, scene: &Scene<'_>) -> Option<(String, bool)> {
    let alarms = service.configuration.get("alarms")?;
    let flag = |key: &str| alarms.get(key).and_then(serde_json::Value::as_bool).unwrap_or(false);
    let muted = &service.primary()?.muted;
    let name = raised(service, scene).into_iter().find(|name| !muted.contains(name)).filter(|_| flag("enable"))?;
    Some((name, flag("rollback")))
}

/// Stops the running deployment where it is.
fn halt(service: &mut Service, status: &str, reason: &str, scene: &mut Scene<'_>) {
    let wall = scene.wall();
    let Some(primary) = service.deployments.first_mut() else { return };
    primary.halted = true;
    primary.rollout = Rollout::Failed;
    primary.reason = format!("ECS deployment circuit breaker: tasks failed to start. {reason}");
    primary.updated = wall;
    let (id, owner) = (primary.id.clone(), primary.service_deployment.clone());
    if let Some(record) = service.service_deployments.iter_mut().find(|one| one.arn == owner) {
        close(record, status, reason, wall);
    }
    scene.tell(&service.name, format!("deployment {id} FAILED: {status}"));
    let event = scene.chance.uuid();
    service.note(event, wall, &format!("(deployment {id}) deployment failed: tasks failed to start."));
}

/// Goes back to the last revision that completed, under a new deployment; without one, the deployment only fails.
pub(super) fn roll_back(service: &mut Service, reason: &str, scene: &mut Scene<'_>) {
    let wall = scene.wall();
    let Some(primary) = service.primary().cloned() else { return };
    let earlier = service.revisions.iter().rev().find(|one| one.completed && one.arn != primary.revision).cloned();
    let Some(earlier) = earlier else {
        halt(service, "ROLLBACK_FAILED", "There is no completed service revision to roll back to.", scene);
        return;
    };
    if let Some(record) = service.service_deployments.iter_mut().find(|one| one.arn == primary.service_deployment) {
        "ROLLBACK_IN_PROGRESS".clone_into(&mut record.status);
        record.reason = Some(reason.to_owned());
        record.updated = wall;
        record.rollback =
            Some(ServiceRollback { reason: reason.to_owned(), started: wall, revision: earlier.arn.clone() });
    }
    let definition = earlier.task_definition.clone();
    let id = match take_back(service, &primary, &earlier, scene) {
        Some(id) => id,
        None => begin(service, &definition, Some((primary.service_deployment.clone(), earlier)), scene),
    };
    if let Some(failed) = service.deployments.iter_mut().find(|one| one.id == primary.id) {
        failed.rollout = Rollout::Failed;
        failed.halted = true;
        failed.updated = wall;
        failed.reason = "ECS deployment circuit breaker: tasks failed to start.".to_owned();
    }
    if let Some(newest) = service.deployments.first_mut() {
        newest.reason = format!("ECS deployment circuit breaker: rolling back to deploymentId {id}.");
    }
    scene.tell(&service.name, format!("deployment {} FAILED, rolling back by {id}", primary.id));
    let event = scene.chance.uuid();
    let message = format!("(deployment {}) deployment failed: tasks failed to start.", primary.id);
    service.note(event, wall, &message);
    let event = scene.chance.uuid();
    service.note(event, wall, &format!("rolling back to deployment {id}."));
}

/// Where traffic was only shifted, the old revision's tasks still run: its deployment is the primary one again. Answers
/// its id.
fn take_back(service: &mut Service, failed: &Deployment, earlier: &Revision, scene: &Scene<'_>) -> Option<String> {
    let raised = raised(service, scene);
    let record = service.service_deployments.iter_mut().find(|one| one.arn == failed.service_deployment)?;
    record.shift.as_mut()?.weight = 0.0;
    let place = service.deployments.iter().position(|one| one.revision == earlier.arn && !one.halted)?;
    let mut old = service.deployments.remove(place);
    old.rollout = Rollout::InProgress;
    old.is_rollback = true;
    old.service_deployment.clone_from(&failed.service_deployment);
    old.failed = 0;
    old.muted = raised;
    let id = old.id.clone();
    service.task_definition.clone_from(&earlier.task_definition);
    service.deployments.insert(0, old);
    Some(id)
}
