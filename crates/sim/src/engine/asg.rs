//! Auto Scaling groups: instances come and go, and instance refreshes take their course.

mod hooks;
mod warm;

use std::collections::BTreeSet;

use super::super::world::{Group, GroupSource, Instance, Lifecycle, Refresh, RefreshStatus, Rollback, Scene};

/// Seconds until a launch is tried again after one failed.
const LAUNCH_RETRY: u64 = 30;

/// Whether a group would change by itself.
pub(crate) fn is_busy(group: &Group) -> bool {
    group.active().is_some()
        || group.instances.iter().any(|instance| match instance.lifecycle {
            Lifecycle::InService => !instance.healthy || instance.unhealthy_at.is_some(),
            Lifecycle::Standby => false,
            _ => true,
        })
        || live(group) != group.desired
        || warm::is_busy(group)
}

/// One tick of a group.
pub(crate) fn step(group: &mut Group, scene: &mut Scene<'_>) {
    age(group, scene);
    match group.refreshes.pop_if(|refresh| refresh.status.is_active()) {
        None => {
            while live(group) < group.desired && warm::take(group, None, scene) {}
            balance(group, &group.source.clone(), scene);
            warm::fill(group, &group.source.clone(), scene);
        }
        Some(mut refresh) => {
            drive(group, &mut refresh, scene);
            warm::fill(group, &refresh.target, scene);
            group.refreshes.push(refresh);
        }
    }
}

/// Gives the group its desired number of instances at once, all in service.
pub(crate) fn settle(group: &mut Group, scene: &mut Scene<'_>) {
    while live(group) < group.desired {
        if !launch(group, &group.source.clone(), scene) {
            return;
        }
    }
    for instance in group.instances.iter_mut().filter(|instance| instance.lifecycle == Lifecycle::Pending) {
        instance.lifecycle = Lifecycle::InService;
        instance.ready_at = 0;
    }
    warm::settle(group, scene);
}

/// Begins a rollback: what was launched since, and is not as the group's own template says, is replaced again.
pub(crate) fn begin_rollback(group: &Group, refresh: &mut Refresh, reason: &str, scene: &mut Scene<'_>) {
    refresh.rollback = Some(Rollback {
        reason: reason.to_owned(),
        started: scene.wall(),
        percentage: refresh.percentage,
        to_update: refresh.to_update,
    });
    refresh.status = RefreshStatus::RollbackInProgress;
    refresh.reason = Some(reason.to_owned());
    refresh.target = group.source.resolved(scene.world, scene.account, scene.region);
    let (replace, keep): (Vec<_>, Vec<_>) = group
        .instances
        .iter()
        .filter(|instance| !instance.is_leaving())
        .partition(|instance| !refresh.target.matches(instance));
    refresh.replace = replace.iter().map(|instance| instance.id.clone()).collect();
    refresh.keep = keep.iter().map(|instance| instance.id.clone()).collect();
    refresh.total = count(refresh.replace.len());
    refresh.to_update = refresh.total;
    refresh.progressed_at = scene.now();
    refresh.paused = false;
    scene.tell(&group.name, format!("refresh {} RollbackInProgress: {reason}", refresh.id));
}

/// Terminates an instance as if from outside the group.
pub(crate) fn terminate(instance: &mut Instance, scene: &Scene<'_>) {
    match instance.hold {
        Some(seconds) => hooks::hold(instance, seconds, scene),
        None => end_of(instance, scene),
    }
}

/// Nothing holds it any more.
fn end_of(instance: &mut Instance, scene: &Scene<'_>) {
    instance.lifecycle = Lifecycle::Terminating;
    instance.gone_at = Some(scene.now() + scene.world.timing.terminate * 1000);
}

/// Whether instances' health is looked at.
fn checks(group: &Group) -> bool {
    !group.suspended.contains("HealthCheck")
}

/// Which override the next instance is launched from: the one that the fewest live instances are of.
fn turn(group: &Group, source: &GroupSource) -> usize {
    let GroupSource::Mixed { overrides, .. } = source else { return 0 };
    let used = |given: &serde_json::Map<String, serde_json::Value>| {
        let kind = given.get("InstanceType").and_then(serde_json::Value::as_str);
        group.instances.iter().filter(|one| one.is_live() && Some(one.instance_type.as_str()) == kind).count()
    };
    overrides.iter().enumerate().min_by_key(|(_, given)| used(given)).map_or(0, |(index, _)| index)
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn live(group: &Group) -> i64 {
    count(group.instances.iter().filter(|instance| instance.is_live()).count())
}

/// Moves every instance on in its own life.
fn age(group: &mut Group, scene: &mut Scene<'_>) {
    let now = scene.now();
    let works = |process: &str| !group.suspended.contains(process);
    let replace = works("ReplaceUnhealthy") && works("Terminate");
    let checks = checks(group);
    for instance in &mut group.instances {
        match instance.lifecycle {
            Lifecycle::Pending if now >= instance.ready_at => match &group.hooks.launching {
                Some(hook) => hooks::wait(instance, hook, Lifecycle::PendingWait, &group.name, scene),
                None => {
                    instance.lifecycle = Lifecycle::InService;
                    scene.tell(&group.name, format!("{} InService", instance.id));
                }
            },
            Lifecycle::PendingWait | Lifecycle::TerminatingWait => hooks::go_on(instance, &group.name, scene),
            Lifecycle::InService if !instance.healthy && replace => {
                terminate(instance, scene);
                scene.tell(&group.name, format!("{} Terminating: unhealthy", instance.id));
            }
            Lifecycle::InService if checks && instance.healthy && instance.unhealthy_at.is_some_and(|at| now >= at) => {
                instance.healthy = false;
                scene.tell(&group.name, format!("{} Unhealthy", instance.id));
            }
            _ => {}
        }
    }
    group.instances.retain(|instance| instance.gone_at.is_none_or(|at| now < at));
}

/// Launches one instance, if the group may and the source can.
fn launch(group: &mut Group, source: &GroupSource, scene: &mut Scene<'_>) -> bool {
    let launched = launched(group, source, Lifecycle::Pending, scene);
    let any = launched.is_some();
    group.instances.extend(launched);
    any
}

/// A new instance for the group or its warm pool.
fn launched(group: &mut Group, source: &GroupSource, to: Lifecycle, scene: &mut Scene<'_>) -> Option<Instance> {
    if group.suspended.contains("Launch") || scene.now() < group.launch_after {
        return None;
    }
    let launch = match scene.world.launch(scene.account, scene.region, source, turn(group, source)) {
        Ok(launch) => launch,
        Err(why) => {
            group.launch_after = scene.now() + LAUNCH_RETRY * 1000;
            scene.tell(&group.name, format!("launch failed: {why}"));
            return None;
        }
    };
    let timing = &scene.world.timing;
    let id = format!("i-0{}", scene.chance.hex(16));
    let ready_at = scene.now() + scene.chance.about(launch.boot.unwrap_or(timing.boot));
    let zone = group.instances.len() % group.zones.len().max(1);
    scene.tell(&group.name, format!("{id} {} on {}", to.name(), launch.image));
    Some(Instance {
        id,
        image: launch.image,
        overridden: launch.overridden,
        instance_type: launch.instance_type,
        zone: group.zones.get(zone).cloned().unwrap_or_else(|| format!("{}a", scene.region)),
        template: launch.template,
        lifecycle: to,
        healthy: true,
        protected: group.protects,
        launched: scene.wall(),
        ready_at,
        unhealthy_at: (!launch.healthy).then_some(ready_at + timing.unhealthy * 1000),
        gone_at: None,
        hold: group.hooks.terminating.as_ref().map(|hook| hook.timeout),
        wait: None,
    })
}

/// Brings the number of instances to the desired capacity.
fn balance(group: &mut Group, source: &GroupSource, scene: &mut Scene<'_>) {
    while live(group) < group.desired && launch(group, source, scene) {}
    let surplus = live(group) - group.desired;
    shrink(group, surplus, scene);
}

/// Terminates the oldest unprotected instances.
fn shrink(group: &mut Group, surplus: i64, scene: &mut Scene<'_>) {
    if group.suspended.contains("Terminate") {
        return;
    }
    let surplus = usize::try_from(surplus).unwrap_or(0);
    let candidates = group.instances.iter_mut().filter(|instance| instance.is_live() && !instance.protected);
    for instance in candidates.take(surplus) {
        terminate(instance, scene);
        scene.tell(&group.name, format!("{} Terminating: scale-in", instance.id));
    }
}

/// One tick of an active refresh.
fn drive(group: &mut Group, refresh: &mut Refresh, scene: &mut Scene<'_>) {
    let now = scene.now();
    match refresh.status {
        RefreshStatus::Pending => {
            balance(group, &group.source.clone(), scene);
            if now >= refresh.resume_at {
                begin(group, refresh, scene);
            }
        }
        RefreshStatus::InProgress | RefreshStatus::RollbackInProgress => {
            let alarm = triggered(refresh, scene);
            match alarm.filter(|_| refresh.status == RefreshStatus::InProgress) {
                Some(alarm) => {
                    fail(group, refresh, &format!("The CloudWatch alarm {alarm} is in the ALARM state."), scene);
                }
                None => replace(group, refresh, scene),
            }
        }
        RefreshStatus::Baking => {
            balance(group, &refresh.target.clone(), scene);
            if let Some(alarm) = triggered(refresh, scene) {
                fail(group, refresh, &format!("The CloudWatch alarm {alarm} is in the ALARM state."), scene);
            } else if now >= refresh.resume_at {
                succeed(group, refresh, scene);
            }
        }
        RefreshStatus::Cancelling => {
            let moving = |instance: &Instance| !matches!(instance.lifecycle, Lifecycle::InService | Lifecycle::Standby);
            if !refresh.wait_for_transition || !group.instances.iter().any(moving) {
                end(group, refresh, RefreshStatus::Cancelled, "Cancelled due to user request.", scene);
            }
        }
        _ => {}
    }
}

fn triggered(refresh: &Refresh, scene: &Scene<'_>) -> Option<String> {
    let region = scene.world.region(scene.account, scene.region)?;
    refresh.preferences.alarms.iter().find(|name| region.is_raised(name)).cloned()
}

/// From Pending to InProgress: settles what is to be replaced.
fn begin(group: &mut Group, refresh: &mut Refresh, scene: &mut Scene<'_>) {
    let preferences = &refresh.preferences;
    let stays = |instance: &Instance| {
        (preferences.skip_matching && refresh.target.matches(instance))
            || (instance.protected && preferences.protected == "Ignore")
            || (instance.lifecycle == Lifecycle::Standby && preferences.standby == "Ignore")
    };
    let here = group.instances.iter().filter(|instance| !instance.is_leaving());
    let (keep, replace): (Vec<_>, Vec<_>) = here.partition(|instance| stays(instance));
    refresh.keep = keep.iter().map(|instance| instance.id.clone()).collect();
    refresh.replace = replace.iter().map(|instance| instance.id.clone()).collect();
    refresh.total = count(refresh.replace.len());
    refresh.to_update = refresh.total;
    refresh.progressed_at = scene.now();
    refresh.status = RefreshStatus::InProgress;
    scene.tell(&group.name, format!("refresh {} InProgress", refresh.id));
    if refresh.total == 0 {
        bake(group, refresh, scene);
    }
}

/// How far the instances may be replaced now: (instances, whether it is the last stretch).
fn quota(refresh: &Refresh) -> (i64, bool) {
    let checkpoints = &refresh.preferences.checkpoints;
    if refresh.status == RefreshStatus::RollbackInProgress || checkpoints.is_empty() {
        return (refresh.total, true);
    }
    let percentage = checkpoints.get(refresh.checkpoint).copied().unwrap_or(100);
    ((refresh.total * percentage + 99).div_euclid(100), refresh.checkpoint + 1 >= checkpoints.len())
}

/// Least healthy and most live instances that the preferences allow.
fn bounds(group: &Group, refresh: &Refresh) -> (i64, i64) {
    let preferences = &refresh.preferences;
    let desired = group.desired;
    let least = (desired * preferences.min_healthy + 99).div_euclid(100);
    let most = (desired * preferences.max_healthy).div_euclid(100);
    if preferences.max_healthy > 100 || preferences.min_healthy >= 100 {
        (least, most.max(desired + 1))
    } else {
        // At least one at a time, or a small group could never move.
        (least.min(desired - 1), desired)
    }
}

/// Replaces as many instances as the preferences allow now, and sees whether a stretch is done.
fn replace(group: &mut Group, refresh: &mut Refresh, scene: &mut Scene<'_>) {
    let now = scene.now();
    if refresh.paused {
        balance(group, &refresh.target.clone(), scene);
        if now >= refresh.resume_at {
            refresh.paused = false;
            refresh.checkpoint += 1;
            refresh.progressed_at = now;
            scene.tell(&group.name, format!("refresh {} goes on from its checkpoint", refresh.id));
        }
        return;
    }
    let warmup = refresh.preferences.warmup;
    let checks = checks(group);
    let (quota, last) = quota(refresh);
    let remain = refresh.total - quota;
    let (least, most) = bounds(group, refresh);
    let stuck = group.suspended.contains("Terminate") || group.suspended.contains("InstanceRefresh");
    let wait = |what: &str| what == "Wait";
    let (protected, standby) = (wait(&refresh.preferences.protected), wait(&refresh.preferences.standby));
    let waits = |instance: &Instance| {
        stuck || (instance.protected && protected) || (instance.lifecycle == Lifecycle::Standby && standby)
    };
    let warm = |instance: &Instance, replaced: &BTreeSet<String>, kept: &BTreeSet<String>| {
        let old = replaced.contains(&instance.id) || kept.contains(&instance.id);
        instance.is_warm(if old { 0 } else { warmup }, now, checks)
    };

    // Old ones go first where they are of no use, then as far as enough healthy ones remain.
    let mut old =
        count(group.instances.iter().filter(|one| !one.is_leaving() && refresh.replace.contains(&one.id)).count());
    let mut healthy = count(group.instances.iter().filter(|one| warm(one, &refresh.replace, &refresh.keep)).count());
    for useless in [true, false] {
        for instance in &mut group.instances {
            let is_warm = warm(instance, &refresh.replace, &refresh.keep);
            let candidate = !instance.is_leaving() && refresh.replace.contains(&instance.id) && !waits(instance);
            if candidate && is_warm != useless && old > remain && (useless || healthy > least) {
                terminate(instance, scene);
                scene.tell(&group.name, format!("{} Terminating: refresh", instance.id));
                old -= 1;
                healthy -= i64::from(is_warm);
            }
        }
    }

    // New ones fill the gap, and run ahead as far as the maximum allows.
    let target = refresh.target.clone();
    while live(group) < group.desired.max((group.desired + old - remain).min(most)) {
        if !warm::take(group, Some(&target), scene) && !launch(group, &target, scene) {
            break;
        }
    }
    if old <= remain {
        let surplus = live(group) - group.desired;
        shrink(group, surplus, scene);
    }

    measure(group, refresh, old, warmup, scene);
    let settled = old <= remain
        && live(group) == group.desired
        && !group
            .instances
            .iter()
            .any(|one| one.is_leaving() || (one.is_live() && !warm(one, &refresh.replace, &refresh.keep)));
    let last = last || refresh.status == RefreshStatus::RollbackInProgress;
    if settled && last && !warm::renew(group, &refresh.target, scene) {
        // Only once the group's own instances are replaced.
        refresh.progressed_at = now;
    } else if settled && refresh.status == RefreshStatus::RollbackInProgress {
        let reason = refresh.rollback.as_ref().map(|rollback| rollback.reason.clone()).unwrap_or_default();
        refresh.percentage = 0;
        refresh.to_update = 0;
        end(group, refresh, RefreshStatus::RollbackSuccessful, &reason, scene);
    } else if settled && last {
        bake(group, refresh, scene);
    } else if settled {
        refresh.paused = true;
        refresh.resume_at =
            now + u64::try_from(refresh.preferences.checkpoint_delay.unwrap_or(3600)).unwrap_or(0) * 1000;
        refresh.reason = Some("Waiting for the checkpoint delay to pass.".to_owned());
        scene.tell(&group.name, format!("refresh {} waits at a checkpoint", refresh.id));
    } else if now >= refresh.progressed_at + scene.world.timing.no_progress * 1000 {
        let held = |instance: &&Instance| refresh.replace.contains(&instance.id) && waits(instance);
        let held: Vec<&str> = group.instances.iter().filter(held).map(|instance| instance.id.as_str()).collect();
        let reason = match held.as_slice() {
            [] => "The instances did not become healthy before the time limit was reached.".to_owned(),
            held => format!("Waited too long for instances that are protected or in standby: {}.", held.join(", ")),
        };
        fail(group, refresh, &reason, scene);
    }
}

/// Updates percentage and the number of instances to go.
fn measure(group: &Group, refresh: &mut Refresh, old: i64, warmup: i64, scene: &Scene<'_>) {
    let fresh = group.instances.iter().filter(|one| {
        one.is_warm(warmup, scene.now(), checks(group))
            && !refresh.replace.contains(&one.id)
            && !refresh.keep.contains(&one.id)
    });
    let done = (refresh.total - old).min(count(fresh.count())).max(0);
    let to_update = refresh.total - done;
    if to_update < refresh.to_update {
        refresh.progressed_at = scene.now();
    }
    refresh.to_update = to_update;
    let total = refresh.total.max(1);
    refresh.percentage = match &refresh.rollback {
        Some(rollback) => rollback.percentage * to_update / total,
        None => done * 100 / total,
    };
}

fn bake(group: &mut Group, refresh: &mut Refresh, scene: &mut Scene<'_>) {
    match refresh.preferences.bake.and_then(|bake| u64::try_from(bake).ok()).filter(|bake| *bake > 0) {
        Some(bake) => {
            refresh.status = RefreshStatus::Baking;
            refresh.percentage = 100;
            refresh.to_update = 0;
            refresh.resume_at = scene.now() + bake * 1000;
            scene.tell(&group.name, format!("refresh {} Baking", refresh.id));
        }
        None => succeed(group, refresh, scene),
    }
}

fn succeed(group: &mut Group, refresh: &mut Refresh, scene: &mut Scene<'_>) {
    refresh.percentage = 100;
    refresh.to_update = 0;
    // Only now: until here the group has kept its own template.
    if let Some(desired) = refresh.desired.clone() {
        group.source = desired;
    }
    end(group, refresh, RefreshStatus::Successful, "", scene);
}

fn fail(group: &mut Group, refresh: &mut Refresh, reason: &str, scene: &mut Scene<'_>) {
    if refresh.status == RefreshStatus::RollbackInProgress {
        end(group, refresh, RefreshStatus::RollbackFailed, reason, scene);
    } else if refresh.preferences.auto_rollback {
        begin_rollback(group, refresh, reason, scene);
    } else {
        end(group, refresh, RefreshStatus::Failed, reason, scene);
    }
}

fn end(group: &Group, refresh: &mut Refresh, status: RefreshStatus, reason: &str, scene: &mut Scene<'_>) {
    refresh.status = status;
    refresh.reason = (!reason.is_empty()).then(|| reason.to_owned());
    refresh.ended = Some(scene.wall());
    scene.tell(&group.name, format!("refresh {} {}", refresh.id, status.name()));
}
