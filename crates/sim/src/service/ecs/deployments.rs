//! Service deployments and service revisions.

use serde_json::{Value, json};

use super::super::super::wire::{ApiError, Call, as_text, epoch, page};
use super::super::super::world::{Deployment, Phase, Revision, Service, ServiceDeployment, World};
use super::{check_batch, cluster, failure, invalid, short};

/// Ninety days, in milliseconds: service deployments before that are forgotten.
const HISTORY: i64 = 90 * 24 * 3_600_000;

/// A filter's time in milliseconds: seconds since 1970, or text.
fn time(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_f64().map(|seconds| (seconds * 1000.0) as i64),
        Value::String(text) => text.parse::<jiff::Timestamp>().ok().map(|at| at.as_millisecond()),
        _ => None,
    }
}

pub(super) fn list(world: &World, call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let name = short(args.required("service")?);
    let service = cluster(world, call)?.services.get(name);
    let service = service.ok_or_else(|| ApiError::bad("ServiceNotFoundException", "Service not found."))?;
    let statuses: Vec<String> = args.list("status").iter().filter_map(as_text).collect();
    let window = args.at("createdAt");
    let bound = |name: &str| window.and_then(|window| window.value.get(name)).and_then(time);
    let (after, before) = (bound("after"), bound("before"));
    let briefs: Vec<Value> = service
        .service_deployments
        .iter()
        .rev()
        .filter(|record| !world.is_older(record.created, record.skipped, HISTORY))
        .filter(|record| statuses.is_empty() || statuses.contains(&record.status))
        .filter(|record| after.is_none_or(|after| record.created >= after))
        .filter(|record| before.is_none_or(|before| record.created <= before))
        .map(|record| {
            json!({
                "serviceDeploymentArn": record.arn,
                "serviceArn": service.arn,
                "clusterArn": service.cluster_arn,
                "createdAt": epoch(record.created),
                "startedAt": epoch(record.started),
                "finishedAt": record.finished.map(epoch),
                "targetServiceRevisionArn": record.target,
                "status": record.status,
                "statusReason": record.reason,
            })
        })
        .collect();
    let (briefs, next) = page(briefs, args, "maxResults", "nextToken", 20, 100)?;
    Ok(json!({ "serviceDeployments": briefs, "nextToken": next }))
}

/// The service in whose ARN stem `arn` (a service deployment's or revision's) is.
fn owner<'a>(world: &'a World, call: &Call, arn: &str) -> Option<&'a Service> {
    let mut parts = arn.split('/').skip(1);
    let (cluster, service) = (parts.next()?, parts.next()?);
    world.region(&call.caller.account, &call.region)?.clusters.get(cluster)?.services.get(service)
}

/// A revision in a service deployment, with the share of the traffic that it gets where traffic is shifted.
fn summary(service: &Service, revision: &str, weight: Option<f64>) -> Value {
    let ids: Vec<&str> = service
        .deployments
        .iter()
        .filter(|deployment| deployment.revision == revision)
        .map(|deployment| deployment.id.as_str())
        .collect();
    let tasks = service.tasks.iter().filter(|task| ids.contains(&task.deployment.as_str()));
    let running = tasks.clone().filter(|task| task.phase == Phase::Running).count();
    let pending = tasks.filter(|task| task.phase < Phase::Running).count();
    let primary = service.primary().is_some_and(|primary: &Deployment| primary.revision == revision);
    json!({
        "arn": revision,
        "requestedTaskCount": if primary { wanted(service) } else { 0 },
        "runningTaskCount": running,
        "pendingTaskCount": pending,
        "requestedTestTrafficWeight": weight.map(|_| if primary { 100.0 } else { 0.0 }),
        "requestedProductionTrafficWeight": weight,
    })
}

/// How many tasks the primary deployment asks for: none until the scheduler has looked at it.
pub(super) fn wanted(service: &Service) -> i64 {
    if service.primary().is_some_and(|primary| primary.unscheduled) { 0 } else { service.desired }
}

/// The PAUSE hooks that a service deployment has come to; none at all where there were none.
fn shown_pauses(record: &ServiceDeployment) -> Option<Vec<Value>> {
    let pauses = record.pauses.iter().map(|pause| {
        json!({
            "hookId": pause.id,
            "targetType": "PAUSE",
            "status": pause.status,
            "expiresAt": epoch(pause.expires),
            "timeoutAction": pause.on_timeout,
        })
    });
    (!record.pauses.is_empty()).then(|| pauses.collect())
}

fn shown(service: &Service, record: &ServiceDeployment) -> Value {
    let weight = record.shift.map(|shift| shift.weight);
    json!({
        "serviceDeploymentArn": record.arn,
        "serviceArn": service.arn,
        "clusterArn": service.cluster_arn,
        "createdAt": epoch(record.created),
        "startedAt": epoch(record.started),
        "finishedAt": record.finished.map(epoch),
        "lifecycleStage": record.shift.map(|shift| shift.stage.name()),
        "lifecycleHookDetails": shown_pauses(record),
        "stoppedAt": record.stopped.map(epoch),
        "updatedAt": epoch(record.updated),
        "sourceServiceRevisions": record
            .sources
            .iter()
            .map(|arn| summary(service, arn, weight.map(|weight| 100.0 - weight)))
            .collect::<Vec<_>>(),
        "targetServiceRevision": summary(service, &record.target, weight),
        "status": record.status,
        "statusReason": record.reason,
        "deploymentConfiguration": record.configuration,
        "rollback": record.rollback.as_ref().map(|rollback| json!({
            "reason": rollback.reason,
            "startedAt": epoch(rollback.started),
            "serviceRevisionArn": rollback.revision,
        })),
        "deploymentCircuitBreaker": {
            "status": record.breaker,
            "failureCount": record.failures,
            "threshold": record.threshold,
        },
    })
}

pub(super) fn describe(world: &World, call: &Call) -> Result<Value, ApiError> {
    let arns = call.args().texts("serviceDeploymentArns");
    check_batch(&arns, 20, "Service deployment ARNs")?;
    let (mut records, mut failures) = (Vec::new(), Vec::new());
    for arn in arns {
        let service = owner(world, call, &arn);
        let record = service.and_then(|service| {
            service.service_deployments.iter().find(|record| record.arn == arn).map(|record| shown(service, record))
        });
        match record {
            Some(record) => records.push(record),
            None => failures.push(failure(arn, "MISSING")),
        }
    }
    Ok(json!({ "serviceDeployments": records, "failures": failures }))
}

fn shown_revision(service: &Service, revision: &Revision) -> Value {
    let images: Vec<Value> = revision
        .images
        .iter()
        .map(|(name, image, digest)| json!({ "containerName": name, "image": image, "imageDigest": digest }))
        .collect();
    let member = |name: &str| revision.shown.get(name).cloned().unwrap_or(Value::Null);
    json!({
        "serviceRevisionArn": revision.arn,
        "serviceArn": service.arn,
        "clusterArn": service.cluster_arn,
        "taskDefinition": revision.task_definition,
        "launchType": member("launchType"),
        "capacityProviderStrategy": member("capacityProviderStrategy"),
        "platformVersion": member("platformVersion"),
        "platformFamily": member("platformFamily"),
        "loadBalancers": member("loadBalancers"),
        "networkConfiguration": member("networkConfiguration"),
        "containerImages": images,
        "guardDutyEnabled": false,
        "createdAt": epoch(revision.created),
    })
}

pub(super) fn describe_revisions(world: &World, call: &Call) -> Result<Value, ApiError> {
    let arns = call.args().texts("serviceRevisionArns");
    check_batch(&arns, 20, "Service revision ARNs")?;
    let (mut revisions, mut failures) = (Vec::new(), Vec::new());
    for arn in arns {
        let service = owner(world, call, &arn);
        let revision = service.and_then(|service| {
            let revision = service.revisions.iter().find(|revision| revision.arn == arn);
            revision.map(|revision| shown_revision(service, revision))
        });
        match revision {
            Some(revision) => revisions.push(revision),
            None => failures.push(failure(arn, "MISSING")),
        }
    }
    Ok(json!({ "serviceRevisions": revisions, "failures": failures }))
}

/// The service deployment that a call names, to be changed.
fn find_mut<'a>(world: &'a mut World, call: &Call, arn: &str) -> Result<&'a mut ServiceDeployment, ApiError> {
    let unknown = || ApiError::bad("ServiceDeploymentNotFoundException", "The service deployment cannot be found.");
    let (cluster, service) = {
        let held = owner(world, call, arn).ok_or_else(unknown)?;
        (held.cluster.clone(), held.name.clone())
    };
    let held = world.region_mut(&call.caller.account, &call.region).clusters.get_mut(&cluster);
    let held = held.and_then(|held| held.services.get_mut(&service)).ok_or_else(unknown)?;
    held.service_deployments.iter_mut().find(|record| record.arn == arn).ok_or_else(unknown)
}

/// `ContinueServiceDeployment`: on from a PAUSE hook, or back. Without an action it is on.
pub(super) fn go_on(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let (arn, hook) = (args.required("serviceDeploymentArn")?, args.required("hookId")?);
    let action = args.text("action").unwrap_or("CONTINUE");
    if !matches!(action, "CONTINUE" | "ROLLBACK") {
        return Err(invalid(format!("{action} is not an action of a lifecycle hook.")));
    }
    let wall = world.wall;
    let record = find_mut(world, call, arn)?;
    let active = record.status == "IN_PROGRESS";
    let pause = record.pauses.iter_mut().find(|pause| pause.id == hook);
    let pause = pause.ok_or_else(|| invalid(format!("The lifecycle hook {hook} cannot be found.")))?;
    if !active || !pause.awaits() {
        return Err(invalid(format!(
            "The lifecycle hook {hook} doesn't await an action: its status is {}.",
            pause.status
        )));
    }
    if action == "CONTINUE" {
        "SUCCEEDED".clone_into(&mut pause.status);
    } else {
        "FAILED".clone_into(&mut pause.status);
        "ROLLBACK_REQUESTED".clone_into(&mut record.status);
    }
    record.updated = wall;
    Ok(json!({ "serviceDeploymentArn": arn }))
}

pub(super) fn stop(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let arn = args.required("serviceDeploymentArn")?;
    let kind = args.text("stopType").unwrap_or("ROLLBACK");
    let status = match kind {
        "ROLLBACK" => "ROLLBACK_REQUESTED",
        "ABORT" => "STOP_REQUESTED",
        other => return Err(invalid(format!("{other} is not a stop type."))),
    };
    let wall = world.wall;
    let record = find_mut(world, call, arn)?;
    if !matches!(record.status.as_str(), "PENDING" | "IN_PROGRESS") {
        return Err(ApiError::bad(
            "ConflictException",
            format!("The service deployment can't be stopped, because its status is {}.", record.status),
        ));
    }
    status.clone_into(&mut record.status);
    record.updated = wall;
    Ok(json!({ "serviceDeploymentArn": arn }))
}
