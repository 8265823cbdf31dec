//! Clusters and services.

use serde_json::{Value, json};

use super::super::super::engine::ecs as engine;
use super::super::super::wire::{ApiError, Call, epoch, page};
use super::super::super::world::{Deployment, Phase, Service, World};
use super::deployments::wanted;
use super::{check_batch, client, cluster, cluster_name, failure, invalid, short};

/// Members of a service that a new deployment takes up, and that are otherwise kept as given.
const DEPLOYED: &[&str] = &[
    "networkConfiguration",
    "platformVersion",
    "loadBalancers",
    "serviceRegistries",
    "capacityProviderStrategy",
    "serviceConnectConfiguration",
    "volumeConfigurations",
    "vpcLatticeConfigurations",
];
/// Members that change without a deployment.
const KEPT: &[&str] = &[
    "healthCheckGracePeriodSeconds",
    "enableExecuteCommand",
    "enableECSManagedTags",
    "propagateTags",
    "placementConstraints",
    "placementStrategy",
    "availabilityZoneRebalancing",
];

pub(super) fn describe_clusters(world: &World, call: &Call) -> Result<Value, ApiError> {
    let mut names = call.args().texts("clusters");
    if names.is_empty() {
        names.push("default".to_owned());
    }
    check_batch(&names, 100, "Clusters")?;
    let held = world.region(&call.caller.account, &call.region);
    let (mut clusters, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match held.and_then(|held| held.clusters.get(short(&name))) {
            Some(cluster) => {
                let tasks = cluster.services.values().flat_map(|service| &service.tasks);
                let count = |wanted: fn(Phase) -> bool| tasks.clone().filter(|task| wanted(task.phase)).count();
                clusters.push(json!({
                    "clusterArn": cluster.arn,
                    "clusterName": cluster.name,
                    "status": "ACTIVE",
                    "registeredContainerInstancesCount": 0,
                    "runningTasksCount": count(|phase| phase == Phase::Running),
                    "pendingTasksCount": count(|phase| phase < Phase::Running),
                    "activeServicesCount": cluster.services.len(),
                    "statistics": [],
                    "tags": cluster.tags,
                    "settings": [],
                    "capacityProviders": ["FARGATE", "FARGATE_SPOT"],
                    "defaultCapacityProviderStrategy": [],
                }));
            }
            None => failures.push(failure(
                format!("arn:aws:ecs:{}:{}:cluster/{}", call.region, call.caller.account, short(&name)),
                "MISSING",
            )),
        }
    }
    Ok(json!({ "clusters": clusters, "failures": failures }))
}

pub(super) fn list_clusters(world: &World, call: &Call) -> Result<Value, ApiError> {
    let held = world.region(&call.caller.account, &call.region);
    let arns: Vec<&String> = held.into_iter().flat_map(|held| held.clusters.values()).map(|it| &it.arn).collect();
    let (arns, next) = page(arns, call.args(), "maxResults", "nextToken", 100, 100)?;
    Ok(json!({ "clusterArns": arns, "nextToken": next }))
}

/// A service that was deleted is in no list ("no longer visible … in the ListServices API operation"; `DeleteService`).
pub(super) fn list(world: &World, call: &Call) -> Result<Value, ApiError> {
    let cluster = cluster(world, call)?;
    let services = cluster.services.values().filter(|service| service.active);
    let arns: Vec<&String> = services.map(|service| &service.arn).collect();
    let (arns, next) = page(arns, call.args(), "maxResults", "nextToken", 10, 100)?;
    Ok(json!({ "serviceArns": arns, "nextToken": next }))
}

pub(super) fn describe(world: &World, call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let names = args.texts("services");
    check_batch(&names, 10, "Services")?;
    let cluster = cluster(world, call)?;
    let tags = args.texts("include").iter().any(|it| it == "TAGS");
    let (mut services, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match cluster.services.get(short(&name)) {
            Some(service) => services.push(shown(service, tags)),
            None => failures.push(failure(
                format!(
                    "arn:aws:ecs:{}:{}:service/{}/{}",
                    call.region,
                    call.caller.account,
                    cluster.name,
                    short(&name)
                ),
                "MISSING",
            )),
        }
    }
    Ok(json!({ "services": services, "failures": failures }))
}

fn counts(service: &Service, deployment: Option<&str>) -> (usize, usize) {
    let tasks = service.tasks.iter().filter(|task| deployment.is_none_or(|id| task.deployment == id));
    let running = tasks.clone().filter(|task| task.phase == Phase::Running).count();
    let pending = tasks.filter(|task| task.phase < Phase::Running).count();
    (running, pending)
}

fn shown_deployment(service: &Service, deployment: &Deployment, primary: bool) -> Value {
    let (running, pending) = counts(service, Some(&deployment.id));
    let desired = if primary { wanted(service) } else { i64::try_from(running + pending).unwrap_or(0) };
    let mut shown = json!({
        "id": deployment.id,
        "status": if primary { "PRIMARY" } else { "ACTIVE" },
        "taskDefinition": deployment.task_definition,
        "desiredCount": desired,
        "pendingCount": pending,
        "runningCount": running,
        "failedTasks": deployment.failed,
        "createdAt": epoch(deployment.created),
        "updatedAt": epoch(deployment.updated),
        "rolloutState": deployment.rollout.name(),
        "rolloutStateReason": deployment.reason,
    });
    if let Some(map) = shown.as_object_mut() {
        if service.silent {
            map.remove("rolloutState");
            map.remove("rolloutStateReason");
        }
        for name in
            ["launchType", "platformVersion", "platformFamily", "networkConfiguration", "capacityProviderStrategy"]
        {
            if let Some(value) = service.shown.get(name) {
                map.insert(name.to_owned(), value.clone());
            }
        }
    }
    shown
}

/// A deployment of another controller.
fn task_set(service: &Service, deployment: &Deployment, primary: bool) -> Value {
    let (running, pending) = counts(service, Some(&deployment.id));
    json!({
        "id": deployment.id,
        "taskSetArn": format!("{}/{}", service.arn.replace(":service/", ":task-set/"), deployment.id),
        "serviceArn": service.arn,
        "clusterArn": service.cluster_arn,
        "startedBy": service.controller,
        "status": if primary { "PRIMARY" } else { "ACTIVE" },
        "taskDefinition": deployment.task_definition,
        "computedDesiredCount": service.desired,
        "pendingCount": pending,
        "runningCount": running,
        "createdAt": epoch(deployment.created),
        "updatedAt": epoch(deployment.updated),
        "launchType": service.shown.get("launchType"),
        "scale": { "value": 100.0, "unit": "PERCENT" },
        "stabilityStatus": "STEADY_STATE",
        "stabilityStatusAt": epoch(deployment.updated),
    })
}

/// A service as DescribeServices shows it.
pub(super) fn shown(service: &Service, tags: bool) -> Value {
    let (running, pending) = counts(service, None);
    let deployments: Vec<Value> = service
        .deployments
        .iter()
        .enumerate()
        .map(|(index, deployment)| shown_deployment(service, deployment, index == 0))
        .collect();
    let revisions: Vec<Value> = service
        .deployments
        .iter()
        .map(|deployment| {
            let (running, pending) = counts(service, Some(&deployment.id));
            json!({
                "arn": deployment.revision,
                "requestedTaskCount": running + pending,
                "runningTaskCount": running,
                "pendingTaskCount": pending,
            })
        })
        .collect();
    let mut shown = json!({
        "serviceArn": service.arn,
        "serviceName": service.name,
        "clusterArn": service.cluster_arn,
        "serviceRegistries": [],
        "status": if service.active { "ACTIVE" } else { "INACTIVE" },
        "desiredCount": service.desired,
        "runningCount": running,
        "pendingCount": pending,
        "taskDefinition": service.task_definition,
        "deploymentConfiguration": service.configuration,
        "deployments": deployments,
        "events": service.events,
        "createdAt": epoch(service.created),
        "currentServiceRevisions": revisions,
        "placementConstraints": [],
        "placementStrategy": [],
        "deploymentController": { "type": service.controller },
        "createdBy": format!("{}:root", service.arn.split(":service/").next().unwrap_or_default().replace(":ecs:", ":iam:")),
    });
    if let Some(map) = shown.as_object_mut() {
        if let Some(record) = service.service_deployments.last() {
            map.insert("currentServiceDeployment".to_owned(), record.arn.clone().into());
        }
        map.extend(service.shown.clone());
        // What another controller deploys are task sets.
        if service.controller != "ECS" {
            let sets = service.deployments.iter().enumerate();
            let sets: Vec<Value> = sets.map(|(index, one)| task_set(service, one, index == 0)).collect();
            map.insert("taskSets".to_owned(), sets.into());
            map.insert("deployments".to_owned(), json!([]));
        }
        if service.controller == "EXTERNAL" {
            map.remove("taskDefinition");
        }
        if tags {
            map.insert("tags".to_owned(), service.tags.clone().into());
        }
    }
    shown
}

pub(super) fn update(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let name = short(args.required("service")?).to_owned();
    let (account, region) = (call.caller.account.clone(), call.region.clone());
    let held = cluster(world, call)?.services.get(&name);
    let held = held.ok_or_else(|| ApiError::bad("ServiceNotFoundException", "Service not found."))?;
    if !held.active {
        return Err(ApiError::bad("ServiceNotActiveException", "Service was not ACTIVE."));
    }
    let desired = args.bounded("desiredCount", 0, 5000)?;
    let definition = match args.text("taskDefinition") {
        None => None,
        Some(_) if held.controller != "ECS" => {
            return Err(invalid(format!(
                "Unable to update task definition on services with a {} deployment controller. Use {} to trigger a \
                 new deployment.",
                held.controller,
                if held.controller == "CODE_DEPLOY" { "AWS CodeDeploy" } else { "CreateTaskSet" }
            )));
        }
        Some(asked) => {
            let found = world.task_definition(&account, &region, asked);
            let found = found.ok_or_else(|| client("TaskDefinition not found."))?;
            if !found.active {
                return Err(client("TaskDefinition is inactive"));
            }
            Some(found.arn.clone())
        }
    };
    let force = args.flag("forceNewDeployment").unwrap_or(false);
    let configuration = args.at("deploymentConfiguration").and_then(|it| it.value.as_object()).cloned();
    if let Some(configuration) = &configuration {
        let percent = |key: &str| configuration.get(key).and_then(Value::as_i64);
        if percent("maximumPercent").is_some_and(|most| !(100..=200).contains(&most))
            || percent("minimumHealthyPercent").is_some_and(|least| !(0..=200).contains(&least))
        {
            return Err(invalid("The deployment configuration's percentages are out of range."));
        }
    }
    let hooks = configuration.as_ref().and_then(|it| it.get("lifecycleHooks")).and_then(Value::as_array);
    for hook in
        hooks.into_iter().flatten().filter(|hook| hook.get("targetType").and_then(Value::as_str) == Some("PAUSE"))
    {
        let stages = hook.get("lifecycleStages").and_then(Value::as_array).into_iter().flatten();
        let never = ["TEST_TRAFFIC_SHIFT", "PRODUCTION_TRAFFIC_SHIFT"];
        if let Some(stage) = stages.filter_map(Value::as_str).find(|stage| never.contains(stage)) {
            return Err(invalid(format!("PAUSE lifecycle hooks are not supported at the {stage} stage.")));
        }
    }
    let member = |name: &&&str| args.at(name).map(|it| ((**name).to_owned(), it.value.clone()));
    let deployed: Vec<(String, Value)> = DEPLOYED.iter().filter_map(|name| member(&name)).collect();
    let kept: Vec<(String, Value)> = KEPT.iter().filter_map(|name| member(&name)).collect();
    let cluster = cluster_name(call).to_owned();

    let updated = world.with_region(&account, &region, |_, clusters, scene| {
        let service = clusters.get_mut(&cluster)?.services.get_mut(&name)?;
        service.desired = desired.unwrap_or(service.desired);
        if let Some(configuration) = configuration {
            service.configuration.extend(configuration);
        }
        service.shown.extend(kept);
        let definition = definition.unwrap_or_else(|| service.task_definition.clone());
        let differs = deployed.iter().any(|(name, value)| service.shown.get(name) != Some(value));
        service.shown.extend(deployed);
        if service.controller == "ECS" && (force || differs || definition != service.task_definition) {
            engine::begin(service, &definition, None, scene);
        }
        Some(shown(service, true))
    });
    updated
        .map(|service| json!({ "service": service }))
        .ok_or_else(|| ApiError::bad("ServiceNotFoundException", "Service not found."))
}
