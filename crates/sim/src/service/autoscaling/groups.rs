//! Groups: reading, capacity, template.

use serde_json::{Value, json};

use super::super::super::wire::{ApiError, Args, Call, Service, iso, page};
use super::super::super::world::{Group, GroupSource, Instance, World, shown_template};
use super::super::matches;
use super::lifecycle::shown_pool;
use super::{group, invalid, shown_source, source};

pub(super) fn describe(world: &World, call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let names = args.texts("AutoScalingGroupNames");
    if names.len() > 50 {
        return Err(invalid(
            "1 validation error detected: Value at 'autoScalingGroupNames' failed to satisfy constraint: Member must \
             have length less than or equal to 50",
        ));
    }
    let instances = args.flag("IncludeInstances").unwrap_or(true);
    let held = world.region(&call.caller.account, &call.region);
    let mut found = Vec::new();
    for group in held.into_iter().flat_map(|held| held.groups.values()) {
        if (names.is_empty() || names.contains(&group.name)) && keep(group, args)? {
            found.push(group);
        }
    }
    let (found, next) = page(found, args, "MaxRecords", "NextToken", 50, 100)?;
    let groups: Vec<Value> = found.into_iter().map(|group| shown(group, instances)).collect();
    Ok(json!({ "AutoScalingGroups": groups, "NextToken": next }))
}

fn keep(group: &Group, args: Args<'_>) -> Result<bool, ApiError> {
    for value in args.list("Filters") {
        let filter = Args { service: Service::AutoScaling, value };
        let (name, wanted) = (filter.text("Name").unwrap_or_default(), filter.texts("Values"));
        let any = |text: &str| wanted.iter().any(|pattern| matches(pattern, text));
        let passes = match (name, name.strip_prefix("tag:")) {
            ("tag-key", _) => group.tags.keys().any(|key| any(key)),
            ("tag-value", _) => group.tags.values().any(|value| any(value)),
            (_, Some(key)) => group.tags.get(key).is_some_and(|value| any(value)),
            _ => return Err(invalid(format!("Filter {name} is not valid."))),
        };
        if !passes {
            return Ok(false);
        }
    }
    Ok(true)
}

fn shown(group: &Group, instances: bool) -> Value {
    let tags = group.tags.iter().map(|(key, value)| {
        json!({
            "ResourceId": group.name,
            "ResourceType": "auto-scaling-group",
            "Key": key,
            "Value": value,
            "PropagateAtLaunch": true,
        })
    });
    let suspended = group
        .suspended
        .iter()
        .map(|name| json!({ "ProcessName": name, "SuspensionReason": "User suspended at 2026-01-01T00:00:00Z" }));
    let mut shown = json!({
        "AutoScalingGroupName": group.name,
        "AutoScalingGroupARN": group.arn,
        "MinSize": group.min,
        "MaxSize": group.max,
        "DesiredCapacity": group.desired,
        "DefaultCooldown": 300,
        "AvailabilityZones": group.zones,
        "LoadBalancerNames": [],
        "TargetGroupARNs": group.target_groups,
        "HealthCheckType": group.health_check_type,
        "HealthCheckGracePeriod": group.grace,
        "Instances": [],
        "CreatedTime": iso(group.created),
        "SuspendedProcesses": suspended.collect::<Vec<_>>(),
        "VPCZoneIdentifier": group.subnets,
        "EnabledMetrics": [],
        "Tags": tags.collect::<Vec<_>>(),
        "TerminationPolicies": ["Default"],
        "NewInstancesProtectedFromScaleIn": group.protects,
        "DefaultInstanceWarmup": group.warmup,
        "TrafficSources": [],
        "InstanceMaintenancePolicy": group.maintenance.map(|(least, most)| {
            json!({ "MinHealthyPercentage": least, "MaxHealthyPercentage": most })
        }),
        "WarmPoolConfiguration": group.warm_pool.as_ref().map(shown_pool),
        "WarmPoolSize": group.warm_pool.as_ref().map(|pool| pool.instances.len()),
    });
    if let Some(map) = shown.as_object_mut() {
        map.extend(shown_source(&group.source));
        if instances {
            map.insert("Instances".to_owned(), group.instances.iter().map(|one| shown_instance(group, one)).collect());
        }
    }
    shown
}

pub(super) fn shown_instance(group: &Group, instance: &Instance) -> Value {
    let configuration = match &group.source {
        GroupSource::Configuration { name, .. } if instance.template.is_none() => Some(name.clone()),
        _ => None,
    };
    json!({
        "InstanceId": instance.id,
        "ImageId": instance.overridden.then_some(&instance.image),
        "InstanceType": instance.instance_type,
        "AvailabilityZone": instance.zone,
        "LifecycleState": instance.lifecycle.name(),
        "HealthStatus": if instance.healthy { "Healthy" } else { "Unhealthy" },
        "LaunchConfigurationName": configuration,
        "LaunchTemplate": instance.template.as_ref().map(shown_template),
        "ProtectedFromScaleIn": instance.protected,
    })
}

pub(super) fn write<T>(
    world: &mut World,
    call: &Call,
    name: &str,
    change: impl FnOnce(&mut Group) -> T,
) -> Result<T, ApiError> {
    let held = world.region_mut(&call.caller.account, &call.region).groups.get_mut(name);
    held.map(change)
        .ok_or_else(|| invalid(format!("AutoScalingGroup name not found - AutoScalingGroup {name} not found")))
}

/// How many instances a group may have. AWS has a quota for each account; the simulator has one of its own, as it holds
/// each instance in memory.
const LARGEST_GROUP: i64 = 10_000;

pub(super) fn update(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let held = group(world, call)?;
    let name = held.name.clone();
    let new_source = source(world, call, args, &held.source)?;
    let configuration = args.text("LaunchConfigurationName");
    let changes_source = new_source.is_some() || configuration.is_some();
    let guarded = held.active().is_some_and(|refresh| refresh.desired.is_some());
    if changes_source && guarded {
        return Err(invalid(
            "An active instance refresh with a desired configuration exists. All configuration options derived from \
             the desired configuration are not available for update while the instance refresh is active.",
        ));
    }
    let least = args.bounded("MinSize", 0, LARGEST_GROUP)?.unwrap_or(held.min);
    let most = args.bounded("MaxSize", 0, LARGEST_GROUP)?.unwrap_or(held.max);
    let given = args.int("DesiredCapacity")?;
    if least > most {
        return Err(invalid("Max bound must be greater than or equal to min bound"));
    }
    if given.is_some_and(|desired| desired < least || desired > most) {
        return Err(invalid("Desired capacity must be between the specified min size and max size"));
    }
    let desired = given.unwrap_or(held.desired).clamp(least, most);
    let warmup = args.int("DefaultInstanceWarmup")?;
    let grace = args.int("HealthCheckGracePeriod")?;
    let protects = args.flag("NewInstancesProtectedFromScaleIn");
    let check = args.text("HealthCheckType").map(str::to_owned);
    let configuration = configuration.map(str::to_owned);
    write(world, call, &name, |group| {
        if let Some(source) = new_source {
            group.source = source;
        } else if let Some(name) = configuration {
            group.source = GroupSource::Configuration { name, image: String::new() };
        }
        (group.min, group.max, group.desired) = (least, most, desired);
        group.warmup = warmup.or(group.warmup).filter(|seconds| *seconds >= 0);
        group.grace = grace.unwrap_or(group.grace);
        group.protects = protects.unwrap_or(group.protects);
        if let Some(check) = check {
            group.health_check_type = check;
        }
        json!({})
    })
}

pub(super) fn set_desired_capacity(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let held = group(world, call)?;
    let (name, least, most) = (held.name.clone(), held.min, held.max);
    let desired = call
        .args()
        .int("DesiredCapacity")?
        .ok_or_else(|| ApiError::missing(Service::AutoScaling, "DesiredCapacity"))?;
    if desired > most {
        return Err(invalid(format!(
            "New SetDesiredCapacity value {desired} is above max value {most} for the AutoScalingGroup."
        )));
    }
    if desired < least {
        return Err(invalid(format!(
            "New SetDesiredCapacity value {desired} is below min value {least} for the AutoScalingGroup."
        )));
    }
    write(world, call, &name, |group| {
        group.desired = desired;
        json!({})
    })
}
