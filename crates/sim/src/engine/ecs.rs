//! ECS services: tasks start, run and stop; deployments complete, fail, or are rolled back.

mod failure;
mod shift;

use std::collections::BTreeMap;

use self::failure::{obey_stop, raised, roll_back, watch};
use super::super::world::{
    Deployment, Fate, Phase, Pull, Revision, Rollout, Scene, Service, ServiceDeployment, ServiceRollback, Stage, Task,
    TaskContainer, TaskDefinition, is_ecr,
};

/// Seconds a stopped task can still be described.
const REMEMBERED: u64 = 3600;
/// How many stopped tasks of a service are kept at most.
const STOPPED_KEPT: usize = 50;
/// Seconds from RUNNING to the exit of a container that exits.
const EXITS_AFTER: u64 = 3;

/// Whether a service would change by itself.
pub(crate) fn is_busy(service: &Service) -> bool {
    service.active
        && (service.deployments.len() > 1
            || service.deployments.iter().any(|one| one.rollout == Rollout::InProgress)
            || service.service_deployments.last().is_some_and(ServiceDeployment::is_active)
            || service.tasks.iter().any(|task| match task.phase {
                Phase::Running => !task.steady,
                Phase::Stopped => false,
                Phase::Provisioning | Phase::Pending | Phase::Deprovisioning => true,
            })
            || (live(service) != service.desired && service.controller == "ECS"))
}

/// One tick of a service.
pub(crate) fn step(service: &mut Service, scene: &mut Scene<'_>) {
    age(service, scene);
    obey_stop(service, scene);
    watch(service, scene);
    shift::step(service, scene);
    schedule(service, scene);
    complete(service, scene);
}

/// Gives the service its desired number of tasks at once, all running.
pub(crate) fn settle(service: &mut Service, scene: &mut Scene<'_>) {
    if service.deployments.is_empty() {
        begin(service, &service.task_definition.clone(), None, scene);
        service.service_deployments.clear();
    }
    while live(service) < service.desired {
        start_task(service, scene);
    }
    let Some(definition) = definition(&service.task_definition, scene).cloned() else { return };
    let created = scene.wall();
    for task in &mut service.tasks {
        for container in &mut task.containers {
            if let Pull::Found(digest, _) = scene.world.pull(scene.account, &definition.arn, &container.image) {
                container.digest = Some(digest);
            }
        }
        task.phase = Phase::Running;
        task.steady = true;
        task.fate = Some(Fate::Healthy);
        task.started = Some(created);
        task.task_definition.clone_from(&definition.arn);
    }
    if let Some(deployment) = service.deployments.first_mut() {
        deployment.rollout = Rollout::Completed;
        deployment.unscheduled = false;
        deployment.reason = format!("ECS deployment {} completed.", deployment.id);
    }
    if let Some(revision) = service.revisions.last_mut() {
        revision.completed = true;
    }
    service.events.clear();
}

/// Begins a deployment of a task definition. With `rollback` it is the way back of that service deployment, to a
/// revision that had completed; without, a change that makes a revision and a service deployment of its own.
/// Answers its id.
pub(crate) fn begin(
    service: &mut Service,
    task_definition: &str,
    rollback: Option<(String, Revision)>,
    scene: &mut Scene<'_>,
) -> String {
    let id = format!("ecs-svc/{}", scene.chance.digits(19));
    let stem = format!("{}/{}", service.cluster, service.name);
    let arn = |kind: &str, id: &str| format!("arn:aws:ecs:{}:{}:{kind}/{stem}/{id}", scene.region, scene.account);
    let wall = scene.wall();
    let is_rollback = rollback.is_some();
    let (service_deployment, revision) = match rollback {
        Some((service_deployment, revision)) => (service_deployment, revision),
        None => {
            let images = definition(task_definition, scene).map(TaskDefinition::images).unwrap_or_default();
            let digest = |image: &str| match scene.world.pull(scene.account, task_definition, image) {
                Pull::Found(digest, _) => Some(digest),
                Pull::Missing(_) => None,
            };
            let images = images.into_iter().map(|(name, image)| (name, image.clone(), digest(&image))).collect();
            let revision = Revision {
                arn: arn("service-revision", &scene.chance.digits(19)),
                task_definition: task_definition.to_owned(),
                created: wall,
                images,
                completed: false,
                shown: service.shown.clone(),
            };
            let record = arn("service-deployment", &scene.chance.upper(21));
            supersede(service, wall);
            let (breaker, _) = service.breaker();
            let shift = shift::begin(service, scene);
            service.service_deployments.push(ServiceDeployment {
                arn: record.clone(),
                status: "IN_PROGRESS".to_owned(),
                reason: None,
                created: wall,
                skipped: scene.world.skipped,
                started: wall,
                updated: wall,
                finished: None,
                stopped: None,
                sources: service.deployments.iter().map(|one| one.revision.clone()).collect(),
                target: revision.arn.clone(),
                configuration: service.configuration.clone(),
                breaker: if breaker { "MONITORING" } else { "DISABLED" }.to_owned(),
                failures: 0,
                threshold: service.threshold(),
                rollback: None,
                shift,
                pauses: Vec::new(),
            });
            service.revisions.push(revision.clone());
            (record, revision)
        }
    };
    let digests = revision.images.iter().filter_map(|(_, image, digest)| Some((image.clone(), digest.clone()?)));
    service.deployments.insert(
        0,
        Deployment {
            id: id.clone(),
            task_definition: task_definition.to_owned(),
            revision: revision.arn.clone(),
            service_deployment,
            rollout: Rollout::InProgress,
            reason: format!("ECS deployment {id} in progress."),
            failed: 0,
            failed_total: 0,
            created: wall,
            updated: wall,
            halted: false,
            unscheduled: true,
            completes_at: None,
            is_rollback,
            muted: raised(service, scene),
            launch_after: 0,
            digests: digests.collect(),
        },
    );
    task_definition.clone_into(&mut service.task_definition);
    scene.tell(&service.name, format!("deployment {id} of {task_definition} IN_PROGRESS"));
    id
}

/// Stops a task, with AWS's stop code.
pub(crate) fn stop_task(task: &mut Task, code: &str, reason: &str, scene: &mut Scene<'_>) {
    task.phase = Phase::Deprovisioning;
    task.next_at = scene.now() + scene.world.timing.drain * 1000;
    task.stopping = Some(scene.wall());
    task.stop_code = Some(code.to_owned());
    task.stop_reason = Some(reason.to_owned());
}

/// A newer change ends the service deployment that runs.
fn supersede(service: &mut Service, wall: i64) {
    for record in service.service_deployments.iter_mut().filter(|record| record.is_active()) {
        close(record, "STOPPED", "The service deployment was stopped because a newer service deployment began.", wall);
    }
    for deployment in service.deployments.iter_mut().filter(|one| one.rollout == Rollout::InProgress) {
        deployment.updated = wall;
    }
}

fn close(record: &mut ServiceDeployment, status: &str, reason: &str, wall: i64) {
    status.clone_into(&mut record.status);
    record.reason = Some(reason.to_owned());
    record.updated = wall;
    record.finished = Some(wall);
    if status == "STOPPED" {
        record.stopped = Some(wall);
    }
    if record.breaker == "MONITORING" {
        "MONITORING_COMPLETE".clone_into(&mut record.breaker);
    }
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn live(service: &Service) -> i64 {
    count(service.tasks.iter().filter(|task| task.is_live()).count())
}

fn definition<'a>(arn: &str, scene: &Scene<'a>) -> Option<&'a TaskDefinition> {
    let (family, _) = arn.rsplit_once('/')?.1.rsplit_once(':')?;
    let revisions = scene.world.region(scene.account, scene.region)?.task_definitions.get(family)?;
    revisions.iter().find(|one| one.arn == arn)
}

/// Moves every task on in its own life, and counts those that failed.
fn age(service: &mut Service, scene: &mut Scene<'_>) {
    let now = scene.now();
    let load_balanced = service.has_load_balancer();
    let mut failed: Vec<String> = Vec::new();
    let mut healthy: Vec<String> = Vec::new();
    let name = service.name.clone();
    for task in service.tasks.iter_mut().filter(|task| now >= task.next_at) {
        match task.phase {
            Phase::Provisioning => {
                task.phase = Phase::Pending;
                task.next_at = now + scene.chance.about(scene.world.timing.pull);
            }
            Phase::Pending => match start(task, scene) {
                Ok(()) => {
                    task.phase = Phase::Running;
                    task.started = Some(scene.wall());
                    let settle = scene.world.timing.settle;
                    task.next_at = now + if task.fate == Some(Fate::Exits) { EXITS_AFTER } else { settle } * 1000;
                    scene.tell(&name, format!("task {} RUNNING", short(&task.arn)));
                }
                Err(why) => {
                    failed.push(task.deployment.clone());
                    stop_task(task, "TaskFailedToStart", &why, scene);
                    scene.tell(&name, format!("task {} failed to start", short(&task.arn)));
                }
            },
            Phase::Running if !task.steady => {
                let checked = load_balanced
                    || definition(&task.task_definition, scene).is_some_and(TaskDefinition::has_health_check);
                match task.fate {
                    Some(Fate::Exits) => {
                        failed.push(task.deployment.clone());
                        if let Some(container) = task.containers.first_mut() {
                            container.exit_code = Some(1);
                        }
                        stop_task(task, "EssentialContainerExited", "Essential container in task exited", scene);
                        scene.tell(&name, format!("task {} exited", short(&task.arn)));
                    }
                    Some(Fate::Unhealthy) if checked => {
                        failed.push(task.deployment.clone());
                        let why = if load_balanced {
                            "Task failed ELB health checks"
                        } else {
                            "Task failed container health checks"
                        };
                        stop_task(task, "ServiceSchedulerInitiated", why, scene);
                        scene.tell(&name, format!("task {} unhealthy", short(&task.arn)));
                    }
                    _ => {
                        task.steady = true;
                        healthy.push(task.deployment.clone());
                    }
                }
            }
            Phase::Deprovisioning => {
                task.phase = Phase::Stopped;
                task.stopped = Some(scene.wall());
                task.stopped_at = now;
                scene.tell(&name, format!("task {} STOPPED", short(&task.arn)));
            }
            Phase::Running | Phase::Stopped => {}
        }
    }
    let resets = service.resets_on_healthy_task();
    for deployment in &mut service.deployments {
        if resets && healthy.contains(&deployment.id) {
            deployment.failed = 0;
        }
        let failures = count(failed.iter().filter(|id| **id == deployment.id).count());
        if failures > 0 {
            deployment.failed += failures;
            deployment.failed_total += failures;
            deployment.updated = scene.wall();
            deployment.launch_after = now + 1000 * 5 * u64::try_from(deployment.failed_total.min(12)).unwrap_or(1);
        }
    }
    forget(service, now);
}

fn short(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// Drops tasks that have been stopped for long.
fn forget(service: &mut Service, now: u64) {
    let stopped = service.tasks.iter().filter(|task| task.phase == Phase::Stopped).count();
    let mut surplus = stopped.saturating_sub(STOPPED_KEPT);
    service.tasks.retain(|task| {
        if task.phase != Phase::Stopped {
            return true;
        }
        let drop = surplus > 0 || now >= task.stopped_at + REMEMBERED * 1000;
        surplus = surplus.saturating_sub(1);
        !drop
    });
}

/// Pulls a task's images. The task's fate is that of its worst image.
fn start(task: &mut Task, scene: &Scene<'_>) -> Result<(), String> {
    let mut fate = Fate::Healthy;
    let architecture = definition(&task.task_definition, scene).map_or("amd64", TaskDefinition::architecture);
    for container in &mut task.containers {
        // A digest that the deployment resolved is pulled even when its tag has moved on since.
        let reference = match &container.digest {
            Some(digest) if is_ecr(&container.image) && !container.image.contains('@') => {
                format!("{}@{digest}", container.image)
            }
            _ => container.image.clone(),
        };
        match scene.world.pull_for(scene.account, &task.task_definition, &reference, architecture) {
            Pull::Found(digest, its) => {
                container.digest = Some(digest);
                if its != Fate::Healthy {
                    fate = its;
                }
            }
            Pull::Missing(why) => {
                container.reason = Some(why.clone());
                return Err(why);
            }
        }
    }
    task.fate = Some(fate);
    if fate == Fate::NeverStarts {
        return Err("ResourceInitializationError: unable to pull secrets or registry auth: execution resource \
                    retrieval failed: the task cannot reach the registry"
            .to_owned());
    }
    Ok(())
}

/// Starts and stops tasks as far as minimumHealthyPercent and maximumPercent allow.
fn schedule(service: &mut Service, scene: &mut Scene<'_>) {
    if let Some(primary) = service.deployments.first_mut() {
        primary.unscheduled = false;
    }
    if let Some(shift) = service.shift() {
        shift::schedule(service, shift.stage, scene);
        return;
    }
    let Some(primary) = service.primary().cloned() else { return };
    let (least, most) = service.bounds();
    let new = |task: &Task| task.deployment == primary.id;
    if !primary.halted {
        let mut running = count(service.tasks.iter().filter(|task| task.is_live() && task.steady).count());
        for task in service.tasks.iter_mut().filter(|task| task.is_live() && !new(task)) {
            if !task.steady || running > least {
                running -= i64::from(task.steady);
                let reason = format!("Scaling activity initiated by (deployment {})", primary.id);
                stop_task(task, "ServiceSchedulerInitiated", &reason, scene);
            }
        }
    }
    let mine = count(service.tasks.iter().filter(|task| task.is_live() && new(task)).count());
    let surplus = usize::try_from(mine - service.desired).unwrap_or(0);
    for task in service.tasks.iter_mut().filter(|task| task.is_live() && new(task)).take(surplus) {
        let reason = format!("Scaling activity initiated by (deployment {})", primary.id);
        stop_task(task, "ServiceSchedulerInitiated", &reason, scene);
    }
    if primary.halted || scene.now() < primary.launch_after {
        return;
    }
    let most = if primary.rollout == Rollout::Completed { most.max(service.desired) } else { most };
    for _ in 0..(service.desired - mine).min(most - live(service)).max(0) {
        start_task(service, scene);
    }
}

fn start_task(service: &mut Service, scene: &mut Scene<'_>) {
    let Some(primary) = service.primary() else { return };
    let images = definition(&primary.task_definition, scene).map(TaskDefinition::images).unwrap_or_default();
    let digests: BTreeMap<_, _> = primary.digests.clone();
    let containers = images.into_iter().map(|(name, image)| TaskContainer {
        name,
        digest: digests.get(&image).cloned(),
        image,
        exit_code: None,
        reason: None,
    });
    let arn =
        format!("arn:aws:ecs:{}:{}:task/{}/{}", scene.region, scene.account, service.cluster, scene.chance.hex(32));
    let task = Task {
        arn,
        deployment: primary.id.clone(),
        task_definition: primary.task_definition.clone(),
        phase: Phase::Provisioning,
        next_at: scene.now() + scene.chance.about(scene.world.timing.provision),
        containers: containers.collect(),
        fate: None,
        created: scene.wall(),
        started: None,
        stopping: None,
        stopped: None,
        stopped_at: 0,
        stop_code: None,
        stop_reason: None,
        steady: false,
    };
    scene.tell(&service.name, format!("task {} PROVISIONING", short(&task.arn)));
    service.tasks.push(task);
}

/// Sees whether the primary deployment is done, and drops drained ones.
fn complete(service: &mut Service, scene: &mut Scene<'_>) {
    let Some(primary) = service.primary().cloned() else { return };
    let alive = |id: &str| service.tasks.iter().any(|task| task.deployment == id && task.phase != Phase::Stopped);
    let kept: Vec<String> =
        service.deployments.iter().map(|one| one.id.clone()).filter(|id| *id == primary.id || alive(id)).collect();
    service.deployments.retain(|one| kept.contains(&one.id));

    succeed_early(service, &primary, scene);
    let steady = count(service.tasks.iter().filter(|task| task.is_live() && task.steady).count());
    let done = primary.rollout == Rollout::InProgress
        && !primary.halted
        && service.shift().is_none_or(|shift| shift.stage == Stage::CleanUp)
        && service.deployments.len() == 1
        && steady == service.desired
        && live(service) == service.desired;
    if !done {
        return;
    }
    let wall = scene.wall();
    succeed(service, &primary, wall);
    let now = scene.now();
    let Some(deployment) = service.deployments.first_mut() else { return };
    let completes_at = *deployment.completes_at.get_or_insert(now + scene.world.timing.complete * 1000);
    if now < completes_at {
        return;
    }
    deployment.rollout = Rollout::Completed;
    deployment.reason = format!("ECS deployment {} completed.", deployment.id);
    deployment.updated = wall;
    scene.tell(&service.name, format!("deployment {} COMPLETED", primary.id));
    let event = scene.chance.uuid();
    service.note(event, wall, &format!("(deployment {}) deployment completed.", primary.id));
    let event = scene.chance.uuid();
    service.note(event, wall, "has reached a steady state.");
}

/// With early success criteria a rolling deployment is successful before all its tasks are there, and before the old ones
/// are gone.
fn succeed_early(service: &mut Service, primary: &Deployment, scene: &mut Scene<'_>) {
    let Some((enough, blocking)) = service.early_success() else { return };
    let of_it = |task: &&Task| task.deployment == primary.id;
    let steady = count(service.tasks.iter().filter(of_it).filter(|task| task.is_live() && task.steady).count());
    let old = service.tasks.iter().any(|task| !of_it(&task) && task.phase != Phase::Stopped);
    let early = primary.rollout == Rollout::InProgress && !primary.halted && !primary.is_rollback;
    if early && steady >= enough && !(blocking && old) {
        succeed(service, primary, scene.wall());
    }
}

/// The service deployment of a deployment is at its good end.
fn succeed(service: &mut Service, primary: &Deployment, wall: i64) {
    if let Some(revision) = service.revisions.iter_mut().find(|one| one.arn == primary.revision) {
        revision.completed = true;
    }
    let status = if primary.is_rollback { "ROLLBACK_SUCCESSFUL" } else { "SUCCESSFUL" };
    let record = service.service_deployments.iter_mut().find(|one| one.arn == primary.service_deployment);
    if let Some(record) = record.filter(|record| record.is_active()) {
        let reason = record.reason.clone().unwrap_or_default();
        close(record, status, &reason, wall);
        record.reason = record.reason.take().filter(|reason| !reason.is_empty());
    }
}
