//! Instance refreshes: start, read, cancel, roll back.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::super::super::engine::asg;
use super::super::super::wire::{ApiError, Args, Call, iso, page};
use super::super::super::world::{Group, GroupSource, Instance, Preferences, Refresh, RefreshStatus, World};
use super::{group, invalid, shown_source, source};

/// Six weeks, in milliseconds: instance refreshes before that are forgotten.
const HISTORY: i64 = 6 * 7 * 86_400_000;

pub(super) fn start(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let held = group(world, call)?;
    if held.active().is_some() {
        return Err(ApiError::bad(
            "InstanceRefreshInProgress",
            "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh.",
        ));
    }
    if args.text("Strategy").is_some_and(|strategy| !matches!(strategy, "Rolling" | "ReplaceRootVolume")) {
        return Err(invalid(
            "1 validation error detected: Value at 'strategy' failed to satisfy constraint: Member must satisfy enum value set: [Rolling, ReplaceRootVolume]",
        ));
    }
    let preferences = preferences(args, held)?;
    let region = world.region(&call.caller.account, &call.region);
    let state = |name: &String| Some((name.clone(), *region?.alarms.get(name)?));
    if let Some((alarm, state)) = preferences.alarms.iter().find_map(state) {
        return Err(invalid(format!(
            "The instance refresh can't start because the CloudWatch alarm {alarm} is in the {} state.",
            state.name()
        )));
    }
    let desired = match args.at("DesiredConfiguration") {
        Some(given) => source(world, call, given, &held.source)?,
        None => None,
    };
    if preferences.auto_rollback && desired.is_none() {
        return Err(invalid(
            "The AutoRollback parameter cannot be set to true when the DesiredConfiguration parameter is empty.",
        ));
    }
    if preferences.auto_rollback && !held.source.is_numbered() {
        return Err(invalid(
            "The AutoRollback parameter cannot be set to true when the Auto Scaling group's launch template uses \
             $Latest or $Default, or when it uses a launch configuration.",
        ));
    }
    if preferences.auto_rollback && uses_alias(world, call, &held.source) {
        return Err(invalid(
            "The AutoRollback parameter cannot be set to true when the Auto Scaling group's launch template uses an \
             Amazon Web Services Systems Manager parameter instead of an AMI ID.",
        ));
    }
    if (preferences.skip_matching || desired.is_some()) && has_requirements(world, call, &held.source) {
        return Err(invalid(
            "Skip matching and desired configurations are not supported for Auto Scaling groups with instance \
             requirements.",
        ));
    }
    if args.text("Strategy") == Some("ReplaceRootVolume") && !can_replace_root_volumes(held, desired.as_ref()) {
        return Err(invalid(
            "The ReplaceRootVolume strategy needs a desired configuration with a mixed instances policy whose overrides all \
             specify an ImageId, and an Auto Scaling group that is attached to no load balancer.",
        ));
    }
    let resolved = desired.as_ref().unwrap_or(&held.source);
    let target = resolved.resolved(world, &call.caller.account, &call.region);
    let name = held.name.clone();
    let resume_at = world.now + world.timing.refresh_start * 1000;
    let mut refresh = Refresh {
        id: String::new(),
        status: RefreshStatus::Pending,
        reason: None,
        started: world.wall,
        skipped: world.skipped,
        ended: None,
        percentage: 0,
        to_update: held.desired,
        preferences,
        desired,
        target,
        replace: BTreeSet::new(),
        keep: BTreeSet::new(),
        total: 0,
        checkpoint: 0,
        resume_at,
        paused: false,
        progressed_at: world.now,
        rollback: None,
        wait_for_transition: true,
    };
    let id = world.with_region(&call.caller.account, &call.region, |groups, _, scene| {
        let id = scene.chance.uuid();
        refresh.id.clone_from(&id);
        if let Some(group) = groups.get_mut(&name) {
            scene.tell(&name, format!("refresh {id} Pending"));
            group.refreshes.push(refresh);
        }
        id
    });
    Ok(json!({ "InstanceRefreshId": id }))
}

/// What AWS's guide asks for ("Replace root volumes during instance refresh", Requirements).
fn can_replace_root_volumes(group: &Group, desired: Option<&GroupSource>) -> bool {
    let Some(GroupSource::Mixed { overrides, .. }) = desired else { return false };
    let named = !overrides.is_empty() && overrides.iter().all(|given| given.contains_key("ImageId"));
    named && group.target_groups.is_empty()
}

fn preferences(args: Args<'_>, group: &Group) -> Result<Preferences, ApiError> {
    let empty = Value::Object(Map::new());
    let given = args.at("Preferences").unwrap_or(Args { service: args.service, value: &empty });
    let min = given.bounded("MinHealthyPercentage", 0, 100)?;
    let max = given.bounded("MaxHealthyPercentage", 100, 200)?;
    if max.is_some() && min.is_none() {
        return Err(invalid("You must specify MinHealthyPercentage if you specify MaxHealthyPercentage."));
    }
    let (policy_min, policy_max) = group.maintenance.unwrap_or((90, 100));
    let min_healthy = min.unwrap_or(policy_min);
    let max_healthy = max.unwrap_or(if min.is_some() { 100 } else { policy_max });
    if max_healthy - min_healthy > 100 {
        return Err(invalid(
            "The difference between MinHealthyPercentage and MaxHealthyPercentage cannot be greater than 100.",
        ));
    }
    let checkpoints: Vec<i64> =
        given.list("CheckpointPercentages").iter().filter_map(super::super::super::wire::as_int).collect();
    let ascending = checkpoints.iter().zip(checkpoints.iter().skip(1)).all(|(one, next)| one < next);
    if !ascending || checkpoints.iter().any(|percentage| !(1..=100).contains(percentage)) {
        return Err(invalid("CheckpointPercentages must be unique, in ascending order, and between 1 and 100."));
    }
    let delay = given.bounded("CheckpointDelay", 0, 172_800)?;
    if delay.is_some() && checkpoints.is_empty() {
        return Err(invalid("CheckpointDelay can only be specified together with CheckpointPercentages."));
    }
    let choice = |name: &str, allowed: &[&str]| -> Result<String, ApiError> {
        let chosen = given.text(name).unwrap_or("Wait");
        if allowed.contains(&chosen) {
            return Ok(chosen.to_owned());
        }
        Err(invalid(format!("{name} must be one of {}.", allowed.join(", "))))
    };
    let alarms = given.at("AlarmSpecification").map(|alarms| alarms.texts("Alarms")).unwrap_or_default();
    if alarms.len() > 10 {
        return Err(invalid("At most 10 alarms can be specified."));
    }
    Ok(Preferences {
        min_healthy,
        max_healthy,
        min_given: min.is_some(),
        max_given: max.is_some(),
        warmup: given.bounded("InstanceWarmup", -1, 21_600)?.filter(|it| *it >= 0).unwrap_or(group.default_warmup()),
        checkpoints,
        checkpoint_delay: delay,
        skip_matching: given.flag("SkipMatching").unwrap_or(false),
        auto_rollback: given.flag("AutoRollback").unwrap_or(false),
        protected: choice("ScaleInProtectedInstances", &["Refresh", "Ignore", "Wait"])?,
        standby: choice("StandbyInstances", &["Terminate", "Ignore", "Wait"])?,
        alarms,
        bake: given.bounded("BakeTime", 0, 172_800)?,
    })
}

pub(super) fn describe(world: &World, call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let held = group(world, call)?;
    let ids = args.texts("InstanceRefreshIds");
    if let Some(unknown) = ids.iter().find(|id| !held.refreshes.iter().any(|refresh| refresh.id == **id)) {
        return Err(invalid(format!("Instance refresh {unknown} not found.")));
    }
    let known = |refresh: &&Refresh| !world.is_older(refresh.started, refresh.skipped, HISTORY);
    let found: Vec<&Refresh> = held
        .refreshes
        .iter()
        .rev()
        .filter(known)
        .filter(|refresh| ids.is_empty() || ids.contains(&refresh.id))
        .collect();
    let (found, next) = page(found, args, "MaxRecords", "NextToken", 50, 100)?;
    let refreshes: Vec<Value> = found.into_iter().map(|refresh| shown(held, refresh)).collect();
    Ok(json!({ "InstanceRefreshes": refreshes, "NextToken": next }))
}

fn shown(group: &Group, refresh: &Refresh) -> Value {
    let preferences = &refresh.preferences;
    let alarms = &preferences.alarms;
    json!({
        "InstanceRefreshId": refresh.id,
        "AutoScalingGroupName": group.name,
        "Status": refresh.status.name(),
        "StatusReason": refresh.reason,
        "StartTime": iso(refresh.started),
        "EndTime": refresh.ended.map(iso),
        "PercentageComplete": refresh.percentage,
        "InstancesToUpdate": refresh.to_update,
        "ProgressDetails": {
            "LivePoolProgress": {
                "PercentageComplete": refresh.percentage,
                "InstancesToUpdate": refresh.to_update,
            },
            "WarmPoolProgress": group.warm_pool.as_ref().map(|pool| {
                let stays = || pool.instances.iter().filter(|one| !one.is_leaving());
                let is_done = |one: &&Instance| {
                    one.lifecycle == pool.state.lifecycle() && refresh.target.launches(one.template.as_ref())
                };
                let (all, done) = (stays().count(), stays().filter(is_done).count());
                json!({
                    "PercentageComplete": (done * 100).checked_div(all).unwrap_or(100),
                    "InstancesToUpdate": all - done,
                })
            }),
        },
        "Preferences": {
            "MinHealthyPercentage": preferences.min_healthy,
            "MaxHealthyPercentage": preferences.max_given.then_some(preferences.max_healthy),
            "InstanceWarmup": preferences.warmup,
            "CheckpointPercentages": (!preferences.checkpoints.is_empty()).then_some(&preferences.checkpoints),
            "CheckpointDelay": preferences.checkpoint_delay,
            "SkipMatching": preferences.skip_matching,
            "AutoRollback": preferences.auto_rollback,
            "ScaleInProtectedInstances": preferences.protected,
            "StandbyInstances": preferences.standby,
            "AlarmSpecification": (!alarms.is_empty()).then(|| json!({ "Alarms": alarms })),
            "BakeTime": preferences.bake,
        },
        "DesiredConfiguration": refresh.desired.as_ref().map(shown_source),
        "RollbackDetails": refresh.rollback.as_ref().map(|rollback| json!({
            "RollbackReason": rollback.reason,
            "RollbackStartTime": iso(rollback.started),
            "PercentageCompleteOnRollback": rollback.percentage,
            "InstancesToUpdateOnRollback": rollback.to_update,
        })),
    })
}

fn none_active() -> ApiError {
    ApiError::bad("ActiveInstanceRefreshNotFound", "No in progress or pending Instance Refresh found.")
}

pub(super) fn cancel(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let held = group(world, call)?;
    let name = held.name.clone();
    let active = held.active().filter(|refresh| refresh.status != RefreshStatus::Cancelling);
    let id = active.ok_or_else(none_active)?.id.clone();
    let wait = call.args().flag("WaitForTransitioningInstances").unwrap_or(true);
    world.with_region(&call.caller.account, &call.region, |groups, _, scene| {
        if let Some(refresh) = groups.get_mut(&name).and_then(|group| group.refreshes.last_mut()) {
            refresh.status = RefreshStatus::Cancelling;
            refresh.reason = Some("Cancelling due to user request.".to_owned());
            refresh.wait_for_transition = wait;
            scene.tell(&name, format!("refresh {} Cancelling", refresh.id));
        }
    });
    Ok(json!({ "InstanceRefreshId": id }))
}

pub(super) fn rollback(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let held = group(world, call)?;
    let name = held.name.clone();
    let active = held.active().ok_or_else(none_active)?;
    let id = active.id.clone();
    let irreversible = |why: &str| ApiError::bad("IrreversibleInstanceRefresh", why);
    if active.desired.is_none() {
        return Err(irreversible("The instance refresh has no desired configuration and can't be rolled back."));
    }
    if !matches!(active.status, RefreshStatus::Pending | RefreshStatus::InProgress | RefreshStatus::Baking) {
        return Err(irreversible("The instance refresh is not in a state that can be rolled back."));
    }
    if !held.source.is_numbered() {
        return Err(irreversible(
            "The group uses a launch configuration, or a launch template's $Latest or $Default version.",
        ));
    }
    if uses_alias(world, call, &held.source) {
        return Err(irreversible("The group's launch template names its image by a Systems Manager parameter."));
    }
    world.with_region(&call.caller.account, &call.region, |groups, _, scene| {
        if let Some(group) = groups.get_mut(&name)
            && let Some(mut refresh) = group.refreshes.pop()
        {
            asg::begin_rollback(group, &mut refresh, "Rollback requested by user.", scene);
            group.refreshes.push(refresh);
        }
    });
    Ok(json!({ "InstanceRefreshId": id }))
}

/// Whether anything that is so of the data of one of the source's template versions.
fn any_version(world: &World, call: &Call, source: &GroupSource, is: impl Fn(&Map<String, Value>) -> bool) -> bool {
    source.templates().iter().any(|template| {
        let held = world.region(&call.caller.account, &call.region).and_then(|held| held.templates.get(&template.id));
        held.and_then(|held| held.versions.get(&held.number(&template.version)?))
            .is_some_and(|version| is(&version.data))
    })
}

fn uses_alias(world: &World, call: &Call, source: &GroupSource) -> bool {
    let is_alias = |image: &Value| image.as_str().is_some_and(|image| image.starts_with("resolve:ssm:"));
    any_version(world, call, source, |data| data.get("ImageId").is_some_and(is_alias))
}

fn has_requirements(world: &World, call: &Call, source: &GroupSource) -> bool {
    let has = |data: &Map<String, Value>| data.contains_key("InstanceRequirements");
    let overrides = match source {
        GroupSource::Mixed { overrides, .. } => overrides.as_slice(),
        GroupSource::Template(_) | GroupSource::Configuration { .. } => &[],
    };
    overrides.iter().any(has) || any_version(world, call, source, has)
}
