//! Lifecycle hooks: instances wait before they come into service, and before they go.

use super::super::super::world::{Hook, Instance, Lifecycle, Scene, Wait};
use super::{end_of, terminate};

/// An instance begins to wait at a hook.
pub(super) fn wait(instance: &mut Instance, hook: &Hook, at: Lifecycle, group: &str, scene: &mut Scene<'_>) {
    instance.lifecycle = at;
    instance.wait = Some(Wait { until: scene.now() + hook.timeout * 1000, proceeds: hook.proceeds });
    scene.tell(group, format!("{} {}", instance.id, at.name()));
}

/// An instance that is to be terminated is held for so many seconds. Whatever the hook says then, it goes.
pub(super) fn hold(instance: &mut Instance, seconds: u64, scene: &Scene<'_>) {
    instance.lifecycle = Lifecycle::TerminatingWait;
    instance.wait = Some(Wait { until: scene.now() + seconds * 1000, proceeds: true });
}

/// An instance that waits goes on once its hook was answered, or isn't waited for any more.
pub(super) fn go_on(instance: &mut Instance, group: &str, scene: &mut Scene<'_>) {
    let now = scene.now();
    let Some(wait) = instance.wait.filter(|wait| now >= wait.until) else { return };
    instance.wait = None;
    match instance.lifecycle {
        Lifecycle::PendingWait if wait.proceeds => {
            instance.lifecycle = Lifecycle::InService;
            instance.ready_at = now;
            instance.unhealthy_at = instance.unhealthy_at.map(|_| now + scene.world.timing.unhealthy * 1000);
            scene.tell(group, format!("{} InService", instance.id));
        }
        Lifecycle::PendingWait => {
            terminate(instance, scene);
            scene.tell(group, format!("{} {}: abandoned", instance.id, instance.lifecycle.name()));
        }
        _ => {
            end_of(instance, scene);
            scene.tell(group, format!("{} Terminating: its hook is over", instance.id));
        }
    }
}
