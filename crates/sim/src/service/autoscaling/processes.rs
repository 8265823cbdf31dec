//! What keeps a refresh from instances: protection from scale-in, standby, suspended processes.

use serde_json::{Value, json};

use super::super::super::wire::{ApiError, Call};
use super::super::super::world::{Lifecycle, World};
use super::groups::write;
use super::{group, invalid};

/// AWS's processes of a group.
const PROCESSES: [&str; 9] = [
    "AZRebalance",
    "AddToLoadBalancer",
    "AlarmNotification",
    "HealthCheck",
    "InstanceRefresh",
    "Launch",
    "ReplaceUnhealthy",
    "ScheduledActions",
    "Terminate",
];

/// The instances that a call names, all of which must be in the group.
fn named(world: &World, call: &Call) -> Result<(String, Vec<String>), ApiError> {
    let held = group(world, call)?;
    let ids = call.args().texts("InstanceIds");
    match ids.iter().find(|id| !held.instances.iter().any(|instance| instance.id == **id)) {
        Some(id) => Err(invalid(format!("The instance {id} is not part of Auto Scaling group {}.", held.name))),
        None => Ok((held.name.clone(), ids)),
    }
}

pub(super) fn protect(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let (name, ids) = named(world, call)?;
    let protected = call.args().flag("ProtectedFromScaleIn").unwrap_or(false);
    write(world, call, &name, |group| {
        for instance in group.instances.iter_mut().filter(|instance| ids.contains(&instance.id)) {
            instance.protected = protected;
        }
        json!({})
    })
}

fn moved(
    world: &mut World,
    call: &Call,
    from: Lifecycle,
    to: Lifecycle,
    change: impl Fn(i64) -> i64,
) -> Result<Value, ApiError> {
    let (name, ids) = named(world, call)?;
    let held = group(world, call)?;
    let wrong = held.instances.iter().find(|instance| ids.contains(&instance.id) && instance.lifecycle != from);
    if let Some(instance) = wrong {
        return Err(invalid(format!("The instance {} is not in {}.", instance.id, from.name())));
    }
    write(world, call, &name, |group| {
        for instance in group.instances.iter_mut().filter(|instance| ids.contains(&instance.id)) {
            instance.lifecycle = to;
        }
        group.desired += change(i64::try_from(ids.len()).unwrap_or(0));
        json!({ "Activities": [] })
    })
}

pub(super) fn enter_standby(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let fewer = call.args().flag("ShouldDecrementDesiredCapacity").unwrap_or(false);
    moved(world, call, Lifecycle::InService, Lifecycle::Standby, |count| if fewer { -count } else { 0 })
}

/// AWS raises the desired capacity by as many.
pub(super) fn exit_standby(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    moved(world, call, Lifecycle::Standby, Lifecycle::InService, |count| count)
}

fn processes(call: &Call) -> Result<Vec<String>, ApiError> {
    let named = call.args().texts("ScalingProcesses");
    if let Some(unknown) = named.iter().find(|name| !PROCESSES.contains(&name.as_str())) {
        return Err(invalid(format!("{unknown} is not a valid process type.")));
    }
    Ok(if named.is_empty() { PROCESSES.map(str::to_owned).to_vec() } else { named })
}

pub(super) fn suspend(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let (name, processes) = (group(world, call)?.name.clone(), processes(call)?);
    write(world, call, &name, |group| {
        group.suspended.extend(processes);
        json!({})
    })
}

pub(super) fn resume(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let (name, processes) = (group(world, call)?.name.clone(), processes(call)?);
    write(world, call, &name, |group| {
        group.suspended.retain(|process| !processes.contains(process));
        json!({})
    })
}
