//! Lifecycle hooks and warm pools.

use serde_json::{Value, json};

use super::super::super::wire::{ApiError, Call, page};
use super::super::super::world::{Group, Hook, Instance, Lifecycle, Wait, WarmPool, World};
use super::groups::{shown_instance, write};
use super::{group, invalid};

const LAUNCHING: &str = "autoscaling:EC2_INSTANCE_LAUNCHING";
const TERMINATING: &str = "autoscaling:EC2_INSTANCE_TERMINATING";

pub(super) fn describe(world: &World, call: &Call) -> Result<Value, ApiError> {
    let held = group(world, call)?;
    let wanted = call.args().texts("LifecycleHookNames");
    let all = [(LAUNCHING, &held.hooks.launching), (TERMINATING, &held.hooks.terminating)];
    let hooks = all.into_iter().filter_map(|(transition, hook)| Some((transition, hook.as_ref()?)));
    let hooks = hooks.filter(|(_, hook)| wanted.is_empty() || wanted.contains(&hook.name));
    let hooks = hooks.map(|(transition, hook)| {
        json!({
            "LifecycleHookName": hook.name,
            "AutoScalingGroupName": held.name,
            "LifecycleTransition": transition,
            "HeartbeatTimeout": hook.timeout,
            "GlobalTimeout": (hook.timeout * 100).min(172_800),
            "DefaultResult": if hook.proceeds { "CONTINUE" } else { "ABANDON" },
        })
    });
    Ok(json!({ "LifecycleHooks": hooks.collect::<Vec<_>>() }))
}

/// The hook that an instance waits at now, if it is the one that the call names.
fn awaited<'a>(group: &'a Group, instance: &Instance, name: &str) -> Option<&'a Hook> {
    let hook = match instance.lifecycle {
        Lifecycle::PendingWait | Lifecycle::WarmedPendingWait => group.hooks.launching.as_ref(),
        Lifecycle::TerminatingWait => group.hooks.terminating.as_ref(),
        _ => None,
    };
    hook.filter(|hook| hook.name == name)
}

/// Changes what an instance waits for at a hook.
fn answer(world: &mut World, call: &Call, change: impl FnOnce(&Hook, Wait, u64) -> Wait) -> Result<Value, ApiError> {
    let (args, now) = (call.args(), world.now);
    let (hook, id) = (args.required("LifecycleHookName")?.to_owned(), args.required("InstanceId")?.to_owned());
    let name = group(world, call)?.name.clone();
    let changed = write(world, call, &name, |group| {
        let pool = group.warm_pool.iter().flat_map(|pool| &pool.instances);
        let found = group.instances.iter().chain(pool).find(|one| one.id == id)?;
        let wait = change(awaited(group, found, &hook)?, found.wait?, now);
        let pool = group.warm_pool.iter_mut().flat_map(|pool| &mut pool.instances);
        group.instances.iter_mut().chain(pool).find(|one| one.id == id)?.wait = Some(wait);
        Some(())
    })?;
    let none = || invalid(format!("No active Lifecycle Action found with instance ID {id}"));
    changed.map(|()| json!({})).ok_or_else(none)
}

pub(super) fn complete(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let result = call.args().required("LifecycleActionResult")?;
    let proceeds = match result {
        "CONTINUE" => true,
        "ABANDON" => false,
        other => return Err(invalid(format!("Lifecycle action result {other} is not CONTINUE or ABANDON."))),
    };
    answer(world, call, |_, _, now| Wait { until: now, proceeds })
}

pub(super) fn heartbeat(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    answer(world, call, |hook, wait, now| Wait { until: now + hook.timeout * 1000, ..wait })
}

/// `WarmPoolConfiguration`.
pub(super) fn shown_pool(pool: &WarmPool) -> Value {
    json!({ "MinSize": pool.min, "MaxGroupPreparedCapacity": pool.prepared, "PoolState": pool.state.name() })
}

pub(super) fn describe_warm_pool(world: &World, call: &Call) -> Result<Value, ApiError> {
    let held = group(world, call)?;
    let Some(pool) = &held.warm_pool else { return Ok(json!({ "Instances": [] })) };
    let (found, next) = page(pool.instances.iter().collect(), call.args(), "MaxRecords", "NextToken", 50, 50)?;
    let instances: Vec<Value> = found.into_iter().map(|one| shown_instance(held, one)).collect();
    Ok(json!({ "WarmPoolConfiguration": shown_pool(pool), "Instances": instances, "NextToken": next }))
}
