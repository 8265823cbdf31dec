//! ECS: clusters, services, task definitions, tasks, service deployments and revisions.

mod definitions;
mod deployments;
mod services;
mod tasks;

use serde_json::{Value, json};

use super::super::wire::{ApiError, Call, Service};
use super::super::world::{Cluster, World};

pub(super) fn call(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    match call.operation.as_str() {
        "ListClusters" => services::list_clusters(world, call),
        "DescribeClusters" => services::describe_clusters(world, call),
        "ListServices" => services::list(world, call),
        "DescribeServices" => services::describe(world, call),
        "UpdateService" => services::update(world, call),
        "RegisterTaskDefinition" => definitions::register(world, call),
        "DescribeTaskDefinition" => definitions::describe(world, call),
        "ListTaskDefinitions" => definitions::list(world, call),
        "DeregisterTaskDefinition" => definitions::deregister(world, call),
        "ListTasks" => tasks::list(world, call),
        "DescribeTasks" => tasks::describe(world, call),
        "StopTask" => tasks::stop(world, call),
        "ListServiceDeployments" => deployments::list(world, call),
        "DescribeServiceDeployments" => deployments::describe(world, call),
        "DescribeServiceRevisions" => deployments::describe_revisions(world, call),
        "StopServiceDeployment" => deployments::stop(world, call),
        "ContinueServiceDeployment" => deployments::go_on(world, call),
        "TagResource" => definitions::tag(world, call),
        "ListTagsForResource" => definitions::list_tags(world, call),
        other => Err(ApiError::unknown_operation(Service::Ecs, other)),
    }
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::bad("InvalidParameterException", message)
}

fn client(message: impl Into<String>) -> ApiError {
    ApiError::bad("ClientException", message)
}

/// The last part of an ARN, or the name itself.
fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The name of the cluster that a call is about.
fn cluster_name(call: &Call) -> &str {
    short(call.args().text("cluster").unwrap_or("default"))
}

fn cluster<'a>(world: &'a World, call: &Call) -> Result<&'a Cluster, ApiError> {
    let held = world.region(&call.caller.account, &call.region);
    held.and_then(|held| held.clusters.get(cluster_name(call)))
        .ok_or_else(|| ApiError::bad("ClusterNotFoundException", "Cluster not found."))
}

fn failure(arn: impl Into<String>, reason: &str) -> Value {
    json!({ "arn": arn.into(), "reason": reason })
}

/// More names than a batch may have.
fn check_batch(names: &[String], most: usize, what: &str) -> Result<(), ApiError> {
    if names.is_empty() {
        return Err(invalid(format!("{what} cannot be empty.")));
    }
    if names.len() > most {
        return Err(invalid(format!("{what} cannot have more than {most} elements.")));
    }
    Ok(())
}
