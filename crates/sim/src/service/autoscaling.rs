//! Auto Scaling: groups and instance refreshes.

mod groups;
mod lifecycle;
mod processes;
mod refreshes;

use serde_json::{Map, Value, json};

use super::super::wire::{ApiError, Args, Call, Service};
use super::super::world::{Group, GroupSource, TemplateRef, World, shown_template};

pub(super) fn call(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    match call.operation.as_str() {
        "DescribeAutoScalingGroups" => groups::describe(world, call),
        "UpdateAutoScalingGroup" => groups::update(world, call),
        "SetDesiredCapacity" => groups::set_desired_capacity(world, call),
        "SetInstanceProtection" => processes::protect(world, call),
        "EnterStandby" => processes::enter_standby(world, call),
        "ExitStandby" => processes::exit_standby(world, call),
        "DescribeLifecycleHooks" => lifecycle::describe(world, call),
        "CompleteLifecycleAction" => lifecycle::complete(world, call),
        "RecordLifecycleActionHeartbeat" => lifecycle::heartbeat(world, call),
        "DescribeWarmPool" => lifecycle::describe_warm_pool(world, call),
        "SuspendProcesses" => processes::suspend(world, call),
        "ResumeProcesses" => processes::resume(world, call),
        "StartInstanceRefresh" => refreshes::start(world, call),
        "DescribeInstanceRefreshes" => refreshes::describe(world, call),
        "CancelInstanceRefresh" => refreshes::cancel(world, call),
        "RollbackInstanceRefresh" => refreshes::rollback(world, call),
        other => Err(ApiError::unknown_operation(Service::AutoScaling, other)),
    }
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::bad("ValidationError", message)
}

/// The group that a call names.
fn group<'a>(world: &'a World, call: &Call) -> Result<&'a Group, ApiError> {
    let name = call.args().required("AutoScalingGroupName")?;
    let held = world.region(&call.caller.account, &call.region).and_then(|held| held.groups.get(name));
    held.ok_or_else(|| invalid(format!("AutoScalingGroup name not found - AutoScalingGroup {name} not found")))
}

/// A `LaunchTemplateSpecification`: the template must be there, and so must the version.
fn template(world: &World, call: &Call, given: Args<'_>) -> Result<TemplateRef, ApiError> {
    let (id, name) = (given.text("LaunchTemplateId"), given.text("LaunchTemplateName"));
    if id.is_some() == name.is_some() {
        return Err(invalid(
            "Valid requests must contain either launchTemplateId or launchTemplateName, but not both.",
        ));
    }
    let version = given.text("Version").unwrap_or("$Default");
    let held = world.region(&call.caller.account, &call.region);
    let found = held.and_then(|held| {
        held.templates
            .values()
            .find(|template| Some(template.id.as_str()) == id || Some(template.name.as_str()) == name)
    });
    let found = found.ok_or_else(|| {
        invalid(
            "You must use a valid fully-formed launch template. The specified launch template, with template ID \
             does not exist.",
        )
    })?;
    if found.number(version).is_none() {
        return Err(invalid(format!(
            "You must use a valid fully-formed launch template. Could not find launch template version {version}"
        )));
    }
    Ok(TemplateRef { id: found.id.clone(), name: found.name.clone(), version: version.to_owned() })
}

/// A `MixedInstancesPolicy`. What it leaves out is taken from the policy in force.
fn mixed(world: &World, call: &Call, given: Args<'_>, before: &GroupSource) -> Result<GroupSource, ApiError> {
    let (mut overrides, mut distribution) = match before {
        GroupSource::Mixed { overrides, distribution, .. } => (overrides.clone(), distribution.clone()),
        _ => (Vec::new(), Map::new()),
    };
    let launch_template = given.at("LaunchTemplate");
    if let Some(given) = launch_template.filter(|given| given.has("Overrides")) {
        overrides = given.list("Overrides").iter().filter_map(Value::as_object).cloned().collect();
        for given in &mut overrides {
            let Some(value) = given.get("LaunchTemplateSpecification") else { continue };
            let own = template(world, call, Args { service: Service::AutoScaling, value })?;
            given.insert("LaunchTemplateSpecification".to_owned(), shown_template(&own));
        }
    }
    if let Some(given) = given.at("InstancesDistribution").and_then(|given| given.value.as_object()) {
        distribution.extend(given.clone());
    }
    let specification = launch_template.and_then(|given| given.at("LaunchTemplateSpecification"));
    let template = match specification {
        Some(specification) => template(world, call, specification)?,
        None => before
            .template()
            .cloned()
            .ok_or_else(|| invalid("The mixed instances policy must contain a launch template specification."))?,
    };
    Ok(GroupSource::Mixed { template, overrides, distribution })
}

/// The launch template or mixed policy in a request or a desired configuration, if there is one.
fn source(world: &World, call: &Call, given: Args<'_>, before: &GroupSource) -> Result<Option<GroupSource>, ApiError> {
    match (given.at("LaunchTemplate"), given.at("MixedInstancesPolicy")) {
        (Some(_), Some(_)) => {
            Err(invalid("Valid requests must contain either LaunchTemplate or MixedInstancesPolicy, but not both."))
        }
        (Some(one), None) => Ok(Some(GroupSource::Template(template(world, call, one)?))),
        (None, Some(policy)) => Ok(Some(mixed(world, call, policy, before)?)),
        (None, None) => Ok(None),
    }
}

/// `LaunchTemplate`, `MixedInstancesPolicy` or `LaunchConfigurationName`.
fn shown_source(source: &GroupSource) -> Map<String, Value> {
    let (name, value) = match source {
        GroupSource::Template(template) => ("LaunchTemplate", shown_template(template)),
        GroupSource::Mixed { template, overrides, distribution } => (
            "MixedInstancesPolicy",
            json!({
                "LaunchTemplate": {
                    "LaunchTemplateSpecification": shown_template(template),
                    "Overrides": overrides,
                },
                "InstancesDistribution": distribution,
            }),
        ),
        GroupSource::Configuration { name, .. } => ("LaunchConfigurationName", name.clone().into()),
    };
    Map::from_iter([(name.to_owned(), value)])
}
