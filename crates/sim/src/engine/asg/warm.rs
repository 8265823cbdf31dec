//! Warm pools: instances that have booted already and wait beside their group until it scales out.

use super::super::super::world::{Group, GroupSource, Instance, Lifecycle, Scene, WarmPool};
use super::{count, hooks, launched};

/// How many instances are to be in the pool.
fn wanted(group: &Group, pool: &WarmPool) -> i64 {
    (pool.prepared.unwrap_or(group.max) - group.desired).max(pool.min).max(0)
}

fn live(pool: &WarmPool) -> i64 {
    count(pool.instances.iter().filter(|instance| !instance.is_leaving()).count())
}

fn is_ready(pool: &WarmPool, instance: &Instance) -> bool {
    instance.lifecycle == pool.state.lifecycle()
}

/// Whether the pool would change by itself.
pub(super) fn is_busy(group: &Group) -> bool {
    group.warm_pool.as_ref().is_some_and(|pool| {
        live(pool) != wanted(group, pool) || !pool.instances.iter().all(|instance| is_ready(pool, instance))
    })
}

/// Fills the pool at once.
pub(super) fn settle(group: &mut Group, scene: &mut Scene<'_>) {
    let source = group.source.clone();
    fill(group, &source, scene);
    if let Some(pool) = &mut group.warm_pool {
        for instance in &mut pool.instances {
            instance.lifecycle = pool.state.lifecycle();
        }
    }
}

/// One tick of the pool: its instances boot, wait at the hook for new ones, and are as many as they should be. New ones are
/// of `source`.
pub(super) fn fill(group: &mut Group, source: &GroupSource, scene: &mut Scene<'_>) {
    let Some(mut pool) = group.warm_pool.take() else { return };
    let now = scene.now();
    for instance in &mut pool.instances {
        let waits = instance.wait.is_some_and(|wait| now < wait.until);
        match (instance.lifecycle, &group.hooks.launching) {
            (Lifecycle::WarmedPending, Some(hook)) if now >= instance.ready_at => {
                hooks::wait(instance, hook, Lifecycle::WarmedPendingWait, &group.name, scene);
            }
            (Lifecycle::WarmedPendingWait, _) if !waits && instance.wait.is_some_and(|wait| !wait.proceeds) => {
                leave(instance, &group.name, scene);
            }
            (Lifecycle::WarmedPending, None) if now >= instance.ready_at => warm(instance, pool.state.lifecycle()),
            (Lifecycle::WarmedPendingWait, _) if !waits => warm(instance, pool.state.lifecycle()),
            _ => {}
        }
    }
    pool.instances.retain(|instance| instance.gone_at.is_none_or(|at| now < at));
    let wanted = wanted(group, &pool);
    while live(&pool) < wanted {
        let Some(instance) = launched(group, source, Lifecycle::WarmedPending, scene) else { break };
        pool.instances.push(instance);
    }
    let surplus = usize::try_from(live(&pool) - wanted).unwrap_or(0);
    for instance in pool.instances.iter_mut().filter(|instance| !instance.is_leaving()).take(surplus) {
        leave(instance, &group.name, scene);
    }
    group.warm_pool = Some(pool);
}

fn warm(instance: &mut Instance, state: Lifecycle) {
    instance.lifecycle = state;
    instance.wait = None;
}

fn leave(instance: &mut Instance, group: &str, scene: &mut Scene<'_>) {
    instance.lifecycle = Lifecycle::WarmedTerminating;
    instance.wait = None;
    instance.gone_at = Some(scene.now() + scene.world.timing.terminate * 1000);
    scene.tell(group, format!("{} Warmed:Terminating", instance.id));
}

/// Takes an instance that is ready from the pool into the group, where it starts in a quarter of the time; of `source` only, if
/// one is given. Otherwise any will do: what is in the pool was launched from what the group was on then.
pub(super) fn take(group: &mut Group, source: Option<&GroupSource>, scene: &mut Scene<'_>) -> bool {
    if group.suspended.contains("Launch") {
        return false;
    }
    let Some(pool) = &mut group.warm_pool else { return false };
    let fits = |instance: &Instance| {
        instance.lifecycle == pool.state.lifecycle()
            && source.is_none_or(|source| source.launches(instance.template.as_ref()))
    };
    let Some(at) = pool.instances.iter().position(fits) else { return false };
    let mut instance = pool.instances.remove(at);
    let timing = &scene.world.timing;
    instance.lifecycle = Lifecycle::Pending;
    instance.ready_at = scene.now() + timing.boot * 250;
    instance.unhealthy_at = instance.unhealthy_at.map(|_| instance.ready_at + timing.unhealthy * 1000);
    scene.tell(&group.name, format!("{} Pending from the warm pool", instance.id));
    group.instances.push(instance);
    true
}

/// The end of a refresh: the pool's instances that aren't of `source` go. Says whether all are there, and of it.
pub(super) fn renew(group: &mut Group, source: &GroupSource, scene: &mut Scene<'_>) -> bool {
    let Some(pool) = &mut group.warm_pool else { return true };
    for instance in pool.instances.iter_mut().filter(|instance| !instance.is_leaving()) {
        if !source.launches(instance.template.as_ref()) {
            leave(instance, &group.name, scene);
        }
    }
    !is_busy(group)
}
