//! Clusters, task definitions, services with their deployments, and tasks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::World;

/// One revision of a task definition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TaskDefinition {
    pub(crate) family: String,
    pub(crate) revision: i64,
    pub(crate) arn: String,
    /// Every member that was registered, known here or not, tags aside.
    pub(crate) registered: Map<String, Value>,
    pub(crate) tags: Vec<Value>,
    pub(crate) active: bool,
    pub(crate) registered_at: i64,
    pub(crate) registered_by: String,
    pub(crate) deregistered_at: Option<i64>,
}

impl TaskDefinition {
    /// Container names with the images they name.
    pub(crate) fn images(&self) -> Vec<(String, String)> {
        let containers = self.registered.get("containerDefinitions").and_then(Value::as_array);
        containers
            .into_iter()
            .flatten()
            .filter_map(|container| {
                let text = |key: &str| container.get(key).and_then(Value::as_str).map(str::to_owned);
                Some((text("name")?, text("image")?))
            })
            .collect()
    }

    /// The architecture that it runs on, as images spell it.
    pub(crate) fn architecture(&self) -> &'static str {
        let platform = self.registered.get("runtimePlatform");
        match platform.and_then(|it| it.get("cpuArchitecture")).and_then(Value::as_str) {
            Some("ARM64") => "arm64",
            _ => "amd64",
        }
    }

    /// Whether a container has a health check of its own.
    pub(crate) fn has_health_check(&self) -> bool {
        let containers = self.registered.get("containerDefinitions").and_then(Value::as_array);
        containers.into_iter().flatten().any(|container| container.get("healthCheck").is_some_and(|it| !it.is_null()))
    }
}

/// A cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) arn: String,
    pub(crate) services: BTreeMap<String, Service>,
    pub(crate) tags: Vec<Value>,
}

/// A service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) arn: String,
    pub(crate) cluster: String,
    pub(crate) cluster_arn: String,
    pub(crate) active: bool,
    /// ARN.
    pub(crate) task_definition: String,
    pub(crate) desired: i64,
    /// ECS, CODE_DEPLOY or EXTERNAL.
    pub(crate) controller: String,
    /// Its deployments don't say how far they are: no `rolloutState`.
    #[serde(default)]
    pub(crate) silent: bool,
    pub(crate) configuration: Map<String, Value>,
    /// Members that are shown as they were given: launchType, networkConfiguration, loadBalancers and the like.
    pub(crate) shown: Map<String, Value>,
    pub(crate) tags: Vec<Value>,
    pub(crate) created: i64,
    /// Newest first: the first is PRIMARY.
    pub(crate) deployments: Vec<Deployment>,
    /// Oldest first.
    pub(crate) service_deployments: Vec<ServiceDeployment>,
    /// Oldest first.
    pub(crate) revisions: Vec<Revision>,
    pub(crate) tasks: Vec<Task>,
    /// Newest first.
    pub(crate) events: Vec<Value>,
}

/// One deployment of a service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Deployment {
    pub(crate) id: String,
    pub(crate) task_definition: String,
    pub(crate) revision: String,
    /// The service deployment that made it.
    pub(crate) service_deployment: String,
    pub(crate) rollout: Rollout,
    pub(crate) reason: String,
    /// Failed tasks since the last healthy one.
    pub(crate) failed: i64,
    /// Failed tasks in all.
    pub(crate) failed_total: i64,
    pub(crate) created: i64,
    pub(crate) updated: i64,
    /// It starts no more tasks: stopped, or failed without rollback.
    pub(crate) halted: bool,
    /// The scheduler hasn't looked at it yet: it wants no task so far.
    #[serde(default)]
    pub(crate) unscheduled: bool,
    /// Engine time at which its rollout state is to be COMPLETED, once all is done.
    #[serde(default)]
    pub(crate) completes_at: Option<u64>,
    pub(crate) is_rollback: bool,
    /// Alarms that were raised already when it began: they say nothing about it.
    #[serde(default)]
    pub(crate) muted: Vec<String>,
    /// Engine time before which no task is started again after one failed.
    pub(crate) launch_after: u64,
    /// Digest by image reference, as resolved when it began.
    pub(crate) digests: BTreeMap<String, String>,
}

/// A deployment's rollout state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Rollout {
    InProgress,
    Completed,
    Failed,
}

impl Rollout {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
        }
    }
}

/// A service deployment: the record of one change of a service from start to end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ServiceDeployment {
    pub(crate) arn: String,
    /// AWS's status.
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) created: i64,
    /// What the world had jumped over by then.
    #[serde(default)]
    pub(crate) skipped: u64,
    pub(crate) started: i64,
    pub(crate) updated: i64,
    pub(crate) finished: Option<i64>,
    pub(crate) stopped: Option<i64>,
    pub(crate) sources: Vec<String>,
    pub(crate) target: String,
    pub(crate) configuration: Map<String, Value>,
    pub(crate) breaker: String,
    pub(crate) failures: i64,
    pub(crate) threshold: i64,
    pub(crate) rollback: Option<ServiceRollback>,
    /// Of a deployment that shifts traffic instead of rolling: how far it is.
    #[serde(default)]
    pub(crate) shift: Option<Shift>,
    /// The PAUSE hooks that it has come to.
    #[serde(default)]
    pub(crate) pauses: Vec<Pause>,
}

/// A PAUSE hook that a service deployment has come to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pause {
    /// `hookId`.
    pub(crate) id: String,
    pub(crate) stage: Stage,
    /// Which of the service's hooks it is.
    pub(crate) place: usize,
    /// AWAITING_ACTION, SUCCEEDED, FAILED or TIMED_OUT.
    pub(crate) status: String,
    /// What happens when nobody answers: CONTINUE or ROLLBACK.
    pub(crate) on_timeout: String,
    /// Engine time at which that happens, and the wall-clock time as it was foreseen.
    pub(crate) until: u64,
    pub(crate) expires: i64,
}

impl Pause {
    pub(crate) fn awaits(&self) -> bool {
        self.status == "AWAITING_ACTION"
    }
}

/// How far a blue/green, linear or canary deployment is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Shift {
    pub(crate) stage: Stage,
    /// Engine time before which the stage isn't over.
    pub(crate) until: u64,
    /// Per cent of the production traffic that the new revision gets.
    pub(crate) weight: f64,
}

/// A stage of such a deployment, in their order. The names are AWS's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Stage {
    ReconcileService,
    PreScaleUp,
    ScaleUp,
    PostScaleUp,
    TestTrafficShift,
    PostTestTrafficShift,
    ProductionTrafficShift,
    PostProductionTrafficShift,
    BakeTime,
    CleanUp,
}

impl Stage {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ReconcileService => "RECONCILE_SERVICE",
            Self::PreScaleUp => "PRE_SCALE_UP",
            Self::ScaleUp => "SCALE_UP",
            Self::PostScaleUp => "POST_SCALE_UP",
            Self::TestTrafficShift => "TEST_TRAFFIC_SHIFT",
            Self::PostTestTrafficShift => "POST_TEST_TRAFFIC_SHIFT",
            Self::ProductionTrafficShift => "PRODUCTION_TRAFFIC_SHIFT",
            Self::PostProductionTrafficShift => "POST_PRODUCTION_TRAFFIC_SHIFT",
            Self::BakeTime => "BAKE_TIME",
            Self::CleanUp => "CLEAN_UP",
        }
    }

    /// The stage after it; the last one has none.
    pub(crate) fn next(self) -> Self {
        match self {
            Self::ReconcileService => Self::PreScaleUp,
            Self::PreScaleUp => Self::ScaleUp,
            Self::ScaleUp => Self::PostScaleUp,
            Self::PostScaleUp => Self::TestTrafficShift,
            Self::TestTrafficShift => Self::PostTestTrafficShift,
            Self::PostTestTrafficShift => Self::ProductionTrafficShift,
            Self::ProductionTrafficShift => Self::PostProductionTrafficShift,
            Self::PostProductionTrafficShift => Self::BakeTime,
            Self::BakeTime | Self::CleanUp => Self::CleanUp,
        }
    }
}

impl ServiceDeployment {
    pub(crate) fn is_active(&self) -> bool {
        matches!(
            self.status.as_str(),
            "PENDING" | "IN_PROGRESS" | "STOP_REQUESTED" | "ROLLBACK_REQUESTED" | "ROLLBACK_IN_PROGRESS"
        )
    }
}

/// Where a service deployment rolled back to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ServiceRollback {
    pub(crate) reason: String,
    pub(crate) started: i64,
    pub(crate) revision: String,
}

/// A service revision: what was to run, with digests.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Revision {
    pub(crate) arn: String,
    pub(crate) task_definition: String,
    pub(crate) created: i64,
    /// Container, image, digest.
    pub(crate) images: Vec<(String, String, Option<String>)>,
    /// Whether a deployment of it has completed.
    pub(crate) completed: bool,
    /// Members of the service that were in force.
    pub(crate) shown: Map<String, Value>,
}

/// A task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) arn: String,
    pub(crate) deployment: String,
    pub(crate) task_definition: String,
    pub(crate) phase: Phase,
    /// Engine time of the next phase.
    pub(crate) next_at: u64,
    pub(crate) containers: Vec<TaskContainer>,
    /// What its image will do.
    pub(crate) fate: Option<Fate>,
    /// Wall-clock milliseconds.
    pub(crate) created: i64,
    pub(crate) started: Option<i64>,
    pub(crate) stopping: Option<i64>,
    pub(crate) stopped: Option<i64>,
    /// Engine time of the stop, for forgetting it.
    pub(crate) stopped_at: u64,
    pub(crate) stop_code: Option<String>,
    pub(crate) stop_reason: Option<String>,
    /// Whether it has run well for long enough to count.
    pub(crate) steady: bool,
}

/// A container of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TaskContainer {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) digest: Option<String>,
    pub(crate) exit_code: Option<i64>,
    pub(crate) reason: Option<String>,
}

/// A task's place in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Phase {
    Provisioning,
    Pending,
    Running,
    Deprovisioning,
    Stopped,
}

impl Phase {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Deprovisioning => "DEPROVISIONING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// How a container image behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fate {
    /// Runs and is healthy.
    #[default]
    Healthy,
    /// Runs for a moment, then its essential container exits with code 1.
    Exits,
    /// Runs, and its health checks fail.
    Unhealthy,
    /// Never reaches RUNNING.
    NeverStarts,
}

impl Task {
    /// Counts against maximumPercent.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Provisioning | Phase::Pending | Phase::Running)
    }
}

impl Service {
    pub(crate) fn primary(&self) -> Option<&Deployment> {
        self.deployments.first()
    }

    /// Minimum healthy and maximum task counts for the desired count.
    pub(crate) fn bounds(&self) -> (i64, i64) {
        let percent = |key: &str, default| self.configuration.get(key).and_then(Value::as_i64).unwrap_or(default);
        let least =
            self.desired.saturating_mul(percent("minimumHealthyPercent", 100)).saturating_add(99).div_euclid(100);
        let most = self.desired.saturating_mul(percent("maximumPercent", 200)).div_euclid(100);
        (least, most)
    }

    /// Whether the circuit breaker is on, and whether it rolls back.
    pub(crate) fn breaker(&self) -> (bool, bool) {
        let breaker = self.configuration.get("deploymentCircuitBreaker");
        let flag = |key: &str| breaker.and_then(|it| it.get(key)).and_then(Value::as_bool).unwrap_or(false);
        (flag("enable"), flag("rollback"))
    }

    /// The strategy of its deployments.
    pub(crate) fn strategy(&self) -> &str {
        self.configuration.get("strategy").and_then(Value::as_str).unwrap_or("ROLLING")
    }

    /// How many healthy tasks of a rolling deployment are enough for it to count as successful, and whether the old tasks have
    /// to be gone by then; `None` without early success criteria.
    pub(crate) fn early_success(&self) -> Option<(i64, bool)> {
        let criteria = self.configuration.get("earlySuccessCriteria")?;
        let enabled = criteria.get("enable").and_then(Value::as_bool).unwrap_or(false);
        let percent = criteria.get("healthyPercent").and_then(Value::as_i64).unwrap_or(100);
        let blocking = criteria.get("sourceServiceRevisionCleanup").and_then(Value::as_str) != Some("DEFERRED");
        let enough = self.desired.saturating_mul(percent).saturating_add(99).div_euclid(100);
        (enabled && self.strategy() == "ROLLING").then_some((enough, blocking))
    }

    /// How the deployment that runs shifts traffic, if it does.
    pub(crate) fn shift(&self) -> Option<Shift> {
        self.service_deployments.last().filter(|record| record.status == "IN_PROGRESS")?.shift
    }

    fn breaker_member(&self, name: &str) -> Option<&Value> {
        self.configuration.get("deploymentCircuitBreaker")?.get(name)
    }

    /// Failed tasks that trip the circuit breaker.
    pub(crate) fn threshold(&self) -> i64 {
        let given = self.breaker_member("thresholdConfiguration");
        let kind = given.and_then(|it| it.get("type")).and_then(Value::as_str).unwrap_or("BOUNDED_PERCENT");
        let value = given.and_then(|it| it.get("value")).and_then(Value::as_i64).unwrap_or(50);
        let percentage = (self.desired * value + 99).div_euclid(100);
        match kind {
            "COUNT" => value,
            "UNBOUNDED_PERCENT" => percentage.max(1),
            _ => percentage.clamp(3, 200),
        }
    }

    /// Whether a healthy task sets the circuit breaker's count back to nothing.
    pub(crate) fn resets_on_healthy_task(&self) -> bool {
        self.breaker_member("resetOnHealthyTask").and_then(Value::as_bool).unwrap_or(true)
    }

    pub(crate) fn has_load_balancer(&self) -> bool {
        self.shown.get("loadBalancers").and_then(Value::as_array).is_some_and(|all| !all.is_empty())
    }

    /// Puts a line at the top of the service's events.
    pub(crate) fn note(&mut self, id: String, wall: i64, message: &str) {
        let message = format!("(service {}) {message}", self.name);
        self.events.insert(0, json!({ "id": id, "createdAt": wall as f64 / 1000.0, "message": message }));
        self.events.truncate(100);
    }
}

impl World {
    /// A task definition by family, `family:revision` or ARN.
    pub(crate) fn task_definition(&self, account: &str, region: &str, asked: &str) -> Option<&TaskDefinition> {
        let held = self.region(account, region)?;
        let short = match asked.strip_prefix("arn:aws:ecs:") {
            None => asked,
            Some(arn) => arn.strip_prefix(&format!("{region}:{account}:task-definition/"))?,
        };
        match short.split_once(':') {
            Some((family, revision)) => {
                let revision: i64 = revision.parse().ok()?;
                held.task_definitions.get(family)?.iter().find(|one| one.revision == revision)
            }
            None => held.task_definitions.get(short)?.iter().rev().find(|one| one.active),
        }
    }

    /// Adds a revision to the family that `registered` names. Answers its ARN; `None` without a family.
    pub(crate) fn register(
        &mut self,
        account: &str,
        region: &str,
        mut registered: Map<String, Value>,
        tags: Vec<Value>,
        by: &str,
        wall: i64,
    ) -> Option<String> {
        let family = registered.get("family").and_then(Value::as_str)?.to_owned();
        registered.remove("tags");
        let revisions = self.region_mut(account, region).task_definitions.entry(family.clone()).or_default();
        let revision = revisions.last().map_or(1, |last| last.revision + 1);
        let arn = format!("arn:aws:ecs:{region}:{account}:task-definition/{family}:{revision}");
        revisions.push(TaskDefinition {
            family,
            revision,
            arn: arn.clone(),
            registered,
            tags,
            active: true,
            registered_at: wall,
            registered_by: if by.starts_with("arn:") { by.to_owned() } else { format!("arn:aws:iam::{account}:{by}") },
            deregistered_at: None,
        });
        Some(arn)
    }
}
