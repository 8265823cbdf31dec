//! Tasks.

use serde_json::{Value, json};

use super::super::super::engine::ecs as engine;
use super::super::super::wire::{ApiError, Call, epoch, page};
use super::super::super::world::{Fate, Phase, Service, Task, World, stable_hex};
use super::{check_batch, cluster, cluster_name, failure, invalid, short};

pub(super) fn list(world: &World, call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let cluster = cluster(world, call)?;
    let service = args.text("serviceName").map(short);
    if let Some(name) = service
        && !cluster.services.contains_key(name)
    {
        return Err(ApiError::bad("ServiceNotFoundException", "Service not found."));
    }
    let wanted = args.text("desiredStatus").unwrap_or("RUNNING");
    let mut arns = Vec::new();
    for held in cluster.services.values().filter(|held| service.is_none_or(|name| held.name == name)) {
        for task in &held.tasks {
            let by = args.text("startedBy").is_none_or(|by| task.deployment == by);
            let family = args
                .text("family")
                .is_none_or(|family| short(&task.task_definition).split(':').next().is_some_and(|its| its == family));
            if desired_status(task) == wanted && by && family {
                arns.push(&task.arn);
            }
        }
    }
    let (arns, next) = page(arns, args, "maxResults", "nextToken", 100, 100)?;
    Ok(json!({ "taskArns": arns, "nextToken": next }))
}

/// The provider that a task is on where the service has a strategy of them: the one with the greatest weight.
fn provider(service: &Service) -> Option<&Value> {
    let strategy = service.shown.get("capacityProviderStrategy")?.as_array()?;
    let weight = |item: &&Value| item.get("weight").and_then(Value::as_i64).unwrap_or(0);
    strategy.iter().max_by_key(weight)?.get("capacityProvider")
}

/// What a task runs on. Where the service has a strategy, Fargate's own providers have names of their own, and of others the
/// task definition says so.
fn launch_type(world: &World, call: &Call, service: &Service, task: &Task) -> Value {
    if let Some(given) = service.shown.get("launchType") {
        return given.clone();
    }
    if provider(service).and_then(Value::as_str).is_none_or(|name| name.starts_with("FARGATE")) {
        return "FARGATE".into();
    }
    let definition = world.task_definition(&call.caller.account, &call.region, &task.task_definition);
    let wanted = definition.and_then(|it| it.registered.get("requiresCompatibilities")).and_then(Value::as_array);
    let managed = wanted.is_some_and(|wanted| wanted.iter().any(|one| one == "MANAGED_INSTANCES"));
    if managed { "MANAGED_INSTANCES" } else { "EC2" }.into()
}

fn desired_status(task: &Task) -> &'static str {
    if task.is_live() { "RUNNING" } else { "STOPPED" }
}

pub(super) fn describe(world: &World, call: &Call) -> Result<Value, ApiError> {
    let names = call.args().texts("tasks");
    check_batch(&names, 100, "Tasks")?;
    let cluster = cluster(world, call)?;
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        let found = cluster.services.values().find_map(|service| {
            service.tasks.iter().find(|task| short(&task.arn) == short(&name)).map(|task| (service, task))
        });
        match found {
            Some((service, task)) => tasks.push(shown(world, call, service, task)),
            None => failures.push(failure(
                format!("arn:aws:ecs:{}:{}:task/{}/{}", call.region, call.caller.account, cluster.name, short(&name)),
                "MISSING",
            )),
        }
    }
    Ok(json!({ "tasks": tasks, "failures": failures }))
}

fn health(world: &World, call: &Call, task: &Task) -> &'static str {
    let held = world.task_definition(&call.caller.account, &call.region, &task.task_definition);
    let checked = held.is_some_and(|definition| definition.has_health_check());
    match (checked, task.phase, task.steady, task.fate) {
        (true, Phase::Running, true, _) => "HEALTHY",
        (true, Phase::Deprovisioning | Phase::Stopped, _, Some(Fate::Unhealthy)) => "UNHEALTHY",
        _ => "UNKNOWN",
    }
}

fn shown(world: &World, call: &Call, service: &Service, task: &Task) -> Value {
    let health = health(world, call, task);
    let containers: Vec<Value> = task
        .containers
        .iter()
        .map(|container| {
            let id = stable_hex(&[&task.arn, &container.name], 32);
            let pulled = matches!(task.phase, Phase::Running | Phase::Deprovisioning | Phase::Stopped)
                && container.reason.is_none();
            json!({
                "containerArn": format!("{}/{id}", task.arn.replace(":task/", ":container/")),
                "taskArn": task.arn,
                "name": container.name,
                "image": container.image,
                "imageDigest": container.digest.as_ref().filter(|_| pulled),
                "runtimeId": format!("{}-{}", short(&task.arn), id.chars().take(10).collect::<String>()),
                "lastStatus": match task.phase {
                    Phase::Provisioning | Phase::Pending => "PENDING",
                    Phase::Running => "RUNNING",
                    Phase::Deprovisioning | Phase::Stopped => "STOPPED",
                },
                "exitCode": container.exit_code,
                "reason": container.reason,
                "networkBindings": [],
                "networkInterfaces": [],
                "healthStatus": health,
            })
        })
        .collect();
    json!({
        "taskArn": task.arn,
        "clusterArn": service.cluster_arn,
        "taskDefinitionArn": task.task_definition,
        "group": format!("service:{}", service.name),
        "startedBy": task.deployment,
        "lastStatus": task.phase.name(),
        "desiredStatus": desired_status(task),
        "healthStatus": health,
        "launchType": launch_type(world, call, service, task),
        "capacityProviderName": provider(service),
        "platformVersion": service.shown.get("platformVersion"),
        "platformFamily": service.shown.get("platformFamily"),
        "availabilityZone": format!("{}a", call.region),
        "connectivity": if task.phase == Phase::Running { "CONNECTED" } else { "DISCONNECTED" },
        "containers": containers,
        "attachments": [],
        "attributes": [],
        "overrides": { "containerOverrides": [], "inferenceAcceleratorOverrides": [] },
        "createdAt": epoch(task.created),
        "startedAt": task.started.map(epoch),
        "stoppingAt": task.stopping.map(epoch),
        "stoppedAt": task.stopped.map(epoch),
        "stopCode": task.stop_code,
        "stoppedReason": task.stop_reason,
        "tags": [],
        "version": 1,
    })
}

pub(super) fn stop(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let asked = short(args.required("task")?).to_owned();
    let reason = args.text("reason").unwrap_or("Task stopped by user").to_owned();
    cluster(world, call)?;
    let name = cluster_name(call).to_owned();
    let (account, region) = (call.caller.account.clone(), call.region.clone());
    let stopped = world.with_region(&account, &region, |_, clusters, scene| {
        let services = clusters.get_mut(&name)?.services.values_mut();
        for service in services {
            if let Some(task) = service.tasks.iter_mut().find(|task| short(&task.arn) == asked) {
                if task.is_live() {
                    engine::stop_task(task, "UserInitiated", &reason, scene);
                }
                return Some((service.name.clone(), task.arn.clone()));
            }
        }
        None
    });
    let (service, arn) = stopped.ok_or_else(|| invalid("The referenced task was not found."))?;
    let held = cluster(world, call)?.services.get(&service);
    let found = held.and_then(|held| held.tasks.iter().find(|task| task.arn == arn).map(|task| (held, task)));
    Ok(json!({ "task": found.map(|(held, task)| shown(world, call, held, task)) }))
}
