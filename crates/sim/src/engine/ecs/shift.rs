//! Blue/green, linear and canary deployments: the new revision runs beside the old one, traffic is shifted, and the old one
//! goes only after the bake time. Until then all can be taken back at once.

use serde_json::Value;

use super::super::super::world::{Pause, Rollout, Scene, Service, Shift, Stage};
use super::{count, roll_back, start_task, stop_task};

const MINUTE: u64 = 60_000;

/// The beginning of a deployment that shifts traffic; `None` where the service rolls, or where nothing ran before.
pub(super) fn begin(service: &Service, scene: &Scene<'_>) -> Option<Shift> {
    let shifts = service.strategy() != "ROLLING" && !service.deployments.is_empty();
    shifts.then(|| Shift { stage: Stage::ReconcileService, until: scene.now(), weight: 0.0 })
}

/// One tick: at most one stage further.
pub(super) fn step(service: &mut Service, scene: &mut Scene<'_>) {
    let Some(mut shift) = service.shift() else { return };
    let Some(primary) = service.primary() else { return };
    if primary.halted || primary.rollout != Rollout::InProgress || scene.now() < shift.until {
        return;
    }
    match pause(service, shift.stage, scene) {
        Answer::Succeeded => {}
        Answer::InProgress => return,
        Answer::Failed(hook) => {
            let stage = shift.stage.name();
            let reason =
                format!("Service deployment rolled back because the lifecycle hook {hook} timed out at {stage}.");
            roll_back(service, &reason, scene);
            return;
        }
    }
    match answer(service, shift.stage, scene) {
        Answer::Succeeded => {}
        Answer::InProgress => return,
        Answer::Failed(hook) => {
            let stage = shift.stage.name();
            let reason = format!("Service deployment rolled back because the lifecycle hook {hook} failed at {stage}.");
            roll_back(service, &reason, scene);
            return;
        }
    }
    if !is_over(service, &mut shift, scene) {
        keep(service, shift);
        return;
    }
    let next = shift.stage.next();
    if next == shift.stage {
        return;
    }
    shift.stage = next;
    if next == Stage::BakeTime {
        shift.until = scene.now() + minutes(service.configuration.get("bakeTimeInMinutes"), 0) * MINUTE;
    }
    scene.tell(&service.name, format!("service deployment at {}", next.name()));
    keep(service, shift);
}

/// Starts the new revision's tasks beside the old one's, and stops those once all is over.
pub(super) fn schedule(service: &mut Service, stage: Stage, scene: &mut Scene<'_>) {
    let Some(primary) = service.primary().cloned() else { return };
    let reason = format!("Scaling activity initiated by (deployment {})", primary.id);
    let new = |service: &Service| {
        count(service.tasks.iter().filter(|task| task.is_live() && task.deployment == primary.id).count())
    };
    let surplus = usize::try_from(new(service) - service.desired).unwrap_or(0);
    for task in service.tasks.iter_mut().filter(|task| task.is_live() && task.deployment == primary.id).take(surplus) {
        stop_task(task, "ServiceSchedulerInitiated", &reason, scene);
    }
    if stage == Stage::CleanUp {
        for task in service.tasks.iter_mut().filter(|task| task.is_live() && task.deployment != primary.id) {
            stop_task(task, "ServiceSchedulerInitiated", &reason, scene);
        }
    }
    if stage >= Stage::ScaleUp && !primary.halted && scene.now() >= primary.launch_after {
        for _ in new(service)..service.desired {
            start_task(service, scene);
        }
    }
}

/// Whether the stage's own work is done. Shifts traffic where the stage is there for it.
fn is_over(service: &Service, shift: &mut Shift, scene: &Scene<'_>) -> bool {
    let member = |parent: &str, name: &str| service.configuration.get(parent).and_then(|it| it.get(name));
    let percent = |value: Option<&Value>, default: f64| value.and_then(Value::as_f64).unwrap_or(default);
    match shift.stage {
        Stage::ScaleUp => {
            let primary = service.primary().map(|primary| primary.id.as_str());
            let steady =
                |task: &&super::Task| task.is_live() && task.steady && Some(task.deployment.as_str()) == primary;
            count(service.tasks.iter().filter(steady).count()) >= service.desired
        }
        Stage::ProductionTrafficShift => {
            let (step, pause) = match service.strategy() {
                "LINEAR" => (
                    percent(member("linearConfiguration", "stepPercent"), 10.0),
                    minutes(member("linearConfiguration", "stepBakeTimeInMinutes"), 6),
                ),
                "CANARY" if shift.weight == 0.0 => (
                    percent(member("canaryConfiguration", "canaryPercent"), 5.0),
                    minutes(member("canaryConfiguration", "canaryBakeTimeInMinutes"), 10),
                ),
                _ => (100.0, 0),
            };
            shift.weight = (shift.weight + step).min(100.0);
            shift.until = scene.now() + pause * MINUTE;
            shift.weight >= 100.0
        }
        _ => true,
    }
}

fn minutes(value: Option<&Value>, default: u64) -> u64 {
    // AWS's limit for all of them: a day.
    value.and_then(Value::as_u64).unwrap_or(default).min(1440)
}

fn keep(service: &mut Service, shift: Shift) {
    if let Some(record) = service.service_deployments.last_mut() {
        record.shift = Some(shift);
    }
}

/// What the PAUSE hooks of a stage say together: a deployment waits at each until it is told to go on or to go back, or
/// until the hook's time is over.
fn pause(service: &mut Service, stage: Stage, scene: &mut Scene<'_>) -> Answer {
    let hooks = service.configuration.get("lifecycleHooks").and_then(Value::as_array).cloned().unwrap_or_default();
    let (now, wall) = (scene.now(), scene.wall());
    let mut all = Answer::Succeeded;
    for (place, hook) in hooks.iter().enumerate() {
        let stages = hook.get("lifecycleStages").and_then(Value::as_array);
        let here = stages.into_iter().flatten().any(|given| given.as_str() == Some(stage.name()));
        if !here || hook.get("targetType").and_then(Value::as_str) != Some("PAUSE") {
            continue;
        }
        let timeout = hook.get("timeoutConfiguration");
        // AWS's limit: fourteen days. Its default: one.
        let minutes =
            timeout.and_then(|it| it.get("timeoutInMinutes")).and_then(Value::as_u64).unwrap_or(1440).min(20_160);
        let action = timeout.and_then(|it| it.get("action")).and_then(Value::as_str).unwrap_or("ROLLBACK");
        let Some(record) = service.service_deployments.last_mut() else { return all };
        let known = record.pauses.iter_mut().find(|pause| pause.stage == stage && pause.place == place);
        match known {
            None => {
                record.pauses.push(Pause {
                    id: scene.chance.uuid(),
                    stage,
                    place,
                    status: "AWAITING_ACTION".to_owned(),
                    on_timeout: action.to_owned(),
                    until: now + minutes * MINUTE,
                    expires: wall.saturating_add_unsigned(minutes * MINUTE),
                });
                all = Answer::InProgress;
            }
            Some(pause) if pause.awaits() && now >= pause.until => {
                "TIMED_OUT".clone_into(&mut pause.status);
                if pause.on_timeout != "CONTINUE" {
                    return Answer::Failed(pause.id.clone());
                }
            }
            Some(pause) if pause.awaits() => all = Answer::InProgress,
            Some(_) => {}
        }
    }
    all
}

/// What the hooks of a stage say together.
enum Answer {
    Succeeded,
    InProgress,
    /// The target of the one that failed.
    Failed(String),
}

fn answer(service: &Service, stage: Stage, scene: &Scene<'_>) -> Answer {
    let hooks = service.configuration.get("lifecycleHooks").and_then(Value::as_array);
    let Some(region) = scene.world.region(scene.account, scene.region) else { return Answer::Succeeded };
    let mut all = Answer::Succeeded;
    for hook in hooks.into_iter().flatten() {
        let stages = hook.get("lifecycleStages").and_then(Value::as_array);
        if !stages.into_iter().flatten().any(|given| given.as_str() == Some(stage.name())) {
            continue;
        }
        let target = hook.get("hookTargetArn").and_then(Value::as_str).unwrap_or_default();
        match region.hooks.get(target).map(String::as_str) {
            Some("FAILED") => return Answer::Failed(target.to_owned()),
            Some("IN_PROGRESS") => all = Answer::InProgress,
            _ => {}
        }
    }
    all
}
