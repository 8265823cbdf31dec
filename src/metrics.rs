//! Prometheus metrics. What can be read off a [`Snapshot`] is, at scrape time; the rest is counted as it happens.
//!
//! All of it stands in [`CATALOGUE`]. Labels are bounded: versions and commits appear only in `_info` metrics. A counter whose
//! labels can be known beforehand begins at 0: Prometheus' `increase()` doesn't see one that begins at 1.

mod catalogue;
mod snapshot;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

pub use self::catalogue::{CATALOGUE, Definition, MetricKind};
pub use crate::model::RolloutResult;
use crate::model::status::Snapshot;
use crate::model::{CallRecord, Component, EnvironmentName, TargetRef};
use crate::ports::RecordCalls;

/// The content type of what [`Metrics::render`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a poll of Git came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollResult {
    /// Nothing new.
    Unchanged,
    /// A branch has moved.
    Changed,
    /// The repository couldn't be read.
    Failed,
}

impl PollResult {
    const ALL: [Self; 3] = [Self::Unchanged, Self::Changed, Self::Failed];

    /// The word for it in the label `result`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Changed => "changed",
            Self::Failed => "failed",
        }
    }
}

/// The metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    assume_role_failures: IntCounterVec,
    aws_request_duration: HistogramVec,
    aws_requests: IntCounterVec,
    aws_throttles: IntCounterVec,
    convergence: HistogramVec,
    git_poll_duration: HistogramVec,
    git_polls: IntCounterVec,
    guardrail_denials: IntCounterVec,
    history_dropped: IntCounterVec,
    hooks: IntCounterVec,
    notifications: IntCounterVec,
    notifications_queued: IntGaugeVec,
    reconcile: IntCounterVec,
    reconcile_duration: HistogramVec,
    rollout_duration: HistogramVec,
    rollouts: IntCounterVec,
    /// The environments and targets of the last scrape, to know which are gone.
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    environments: BTreeSet<String>,
    targets: BTreeSet<String>,
}

/// Upper bounds in seconds for single calls and passes.
const CALLS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Upper bounds in seconds for rollouts: from a small service to a large group with checkpoints.
const ROLLOUTS: &[f64] =
    &[15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 2700.0, 3600.0, 7200.0, 14400.0, 43200.0];

impl Metrics {
    /// Metrics of their own registry, so that tests don't share any.
    ///
    /// # Errors
    /// If a definition breaks Prometheus' rules for names, or one stands there twice.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let counter = |definition: &Definition| -> Result<IntCounterVec, prometheus::Error> {
            let vec = IntCounterVec::new(Opts::new(definition.name, definition.help), definition.labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok(vec)
        };
        let gauge = |definition: &Definition| -> Result<IntGaugeVec, prometheus::Error> {
            let vec = IntGaugeVec::new(Opts::new(definition.name, definition.help), definition.labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok(vec)
        };
        let histogram = |definition: &Definition, buckets: &[f64]| -> Result<HistogramVec, prometheus::Error> {
            let options = HistogramOpts::new(definition.name, definition.help).buckets(buckets.to_vec());
            let vec = HistogramVec::new(options, definition.labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok(vec)
        };
        let metrics = Self {
            assume_role_failures: counter(&catalogue::ASSUME_ROLE_FAILURES)?,
            aws_request_duration: histogram(&catalogue::AWS_REQUEST_DURATION, CALLS)?,
            aws_requests: counter(&catalogue::AWS_REQUESTS)?,
            aws_throttles: counter(&catalogue::AWS_THROTTLES)?,
            convergence: histogram(&catalogue::CONVERGENCE, ROLLOUTS)?,
            git_poll_duration: histogram(&catalogue::GIT_POLL_DURATION, CALLS)?,
            git_polls: counter(&catalogue::GIT_POLLS)?,
            guardrail_denials: counter(&catalogue::GUARDRAIL_DENIALS)?,
            history_dropped: counter(&catalogue::HISTORY_DROPPED)?,
            hooks: counter(&catalogue::HOOKS)?,
            notifications: counter(&catalogue::NOTIFICATIONS)?,
            notifications_queued: gauge(&catalogue::NOTIFICATIONS_QUEUED)?,
            reconcile: counter(&catalogue::RECONCILE)?,
            reconcile_duration: histogram(&catalogue::RECONCILE_DURATION, CALLS)?,
            rollout_duration: histogram(&catalogue::ROLLOUT_DURATION, ROLLOUTS)?,
            rollouts: counter(&catalogue::ROLLOUTS)?,
            seen: Mutex::default(),
            registry,
        };
        // It has no labels, so it is there from the start.
        metrics.history_dropped.get_metric_with_label_values::<&str>(&[])?;
        Ok(metrics)
    }

    /// A rollout has ended. Its duration is from AWS's start to AWS's end.
    pub fn rollout_ended(&self, target: &TargetRef, component: &Component, result: RolloutResult, duration: Duration) {
        let (environment, kind) = (target.environment.as_str(), target.local.kind.as_str());
        let reference = target.to_string();
        count(&self.rollouts, &[environment, &reference, kind, component.as_str(), result.as_str()]);
        observe(&self.rollout_duration, &[environment, kind, component.as_str(), result.as_str()], duration);
    }

    /// A target is in sync with a pin whose commit was first seen on the branch this long ago.
    pub fn converged(&self, environment: &EnvironmentName, component: &Component, after: Duration) {
        observe(&self.convergence, &[environment.as_str(), component.as_str()], after);
    }

    /// A policy has begun to forbid a rollout that was not forbidden by it before.
    pub fn guardrail_denied(&self, target: &TargetRef, component: &Component, policy: &str) {
        let reference = target.to_string();
        let (environment, kind) = (target.environment.as_str(), target.local.kind.as_str());
        count(&self.guardrail_denials, &[environment, &reference, kind, component.as_str(), policy]);
    }

    /// An event had to be left out of the history.
    pub fn history_dropped(&self) {
        count(&self.history_dropped, &[]);
    }

    /// A pass over an environment has ended.
    pub fn pass_ended(&self, environment: &EnvironmentName, ok: bool, duration: Duration) {
        count(&self.reconcile, &[environment.as_str(), if ok { "ok" } else { "failed" }]);
        observe(&self.reconcile_duration, &[environment.as_str()], duration);
    }

    /// A repository has been polled. The URL carries no credentials.
    pub fn git_polled(&self, url: &str, result: PollResult, duration: Duration) {
        count(&self.git_polls, &[url, result.as_str()]);
        observe(&self.git_poll_duration, &[], duration);
    }

    /// A push event has come in.
    pub fn hook(&self, result: &str) {
        count(&self.hooks, &[result]);
    }

    /// A commit status or notification was sent, will be tried again, was given up, or had no room.
    pub fn notified(&self, destination: &str, result: &str) {
        count(&self.notifications, &[destination, result]);
    }

    /// There is a destination for commit statuses or notifications.
    pub fn notifies(&self, destination: &str) {
        for result in ["sent", "retried", "failed", "dropped"] {
            begin(&self.notifications, &[destination, result]);
        }
        self.notifications_queued(destination, 0);
    }

    /// So many commit statuses or notifications wait to be sent.
    pub fn notifications_queued(&self, destination: &str, waiting: usize) {
        if let Ok(gauge) = self.notifications_queued.get_metric_with_label_values(&[destination]) {
            gauge.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        }
    }

    /// All metrics in the text format, version 0.0.4: those of the status as they are at `now`, and those counted so
    /// far. Series of environments and targets that were in an earlier status and are not in this one are dropped.
    #[must_use]
    pub fn render(&self, status: &Snapshot, now: Timestamp) -> String {
        self.drop_stale(status);
        self.begin_known(status);
        let mut text = String::new();
        let encoded = snapshot::gather(status, now).and_then(|mut families| {
            families.extend(self.registry.gather());
            TextEncoder::new().encode_utf8(&families, &mut text)
        });
        if let Err(error) = encoded {
            tracing::error!(%error, "can't encode the metrics");
        }
        text
    }

    fn drop_stale(&self, status: &Snapshot) {
        let now = Seen {
            environments: status.environments.keys().cloned().collect(),
            targets: status
                .environments
                .values()
                .flat_map(|environment| environment.targets.values().map(|target| target.target.to_string()))
                .collect(),
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for environment in seen.environments.difference(&now.environments) {
            self.forget("environment", environment);
        }
        for target in seen.targets.difference(&now.targets) {
            self.forget("target", target);
        }
        *seen = now;
    }

    /// What is counted of the environments, targets and repositories that there are.
    fn begin_known(&self, status: &Snapshot) {
        for repository in &status.repositories {
            for result in PollResult::ALL {
                begin(&self.git_polls, &[&repository.url, result.as_str()]);
            }
        }
        for (name, environment) in &status.environments {
            begin(&self.assume_role_failures, &[name]);
            begin(&self.reconcile, &[name, "ok"]);
            begin(&self.reconcile, &[name, "failed"]);
            for target in environment.targets.values() {
                let (reference, kind) = (target.target.to_string(), target.target.local.kind.as_str());
                for result in RolloutResult::ALL {
                    let component = target.pin.component.as_str();
                    begin(&self.rollouts, &[name, &reference, kind, component, result.as_str()]);
                }
            }
        }
    }

    /// Drops all series of which a label has a value.
    fn forget(&self, label: &str, value: &str) {
        for vec in [
            &self.assume_role_failures,
            &self.aws_requests,
            &self.aws_throttles,
            &self.guardrail_denials,
            &self.reconcile,
            &self.rollouts,
        ] {
            forget(vec, label, value);
        }
        for vec in [&self.convergence, &self.reconcile_duration, &self.rollout_duration] {
            forget(vec, label, value);
        }
    }
}

impl RecordCalls for Metrics {
    fn record(&self, environment: &EnvironmentName, call: CallRecord) {
        let environment = environment.as_str();
        count(&self.aws_requests, &[environment, call.service, call.operation, call.result]);
        observe(&self.aws_request_duration, &[call.service, call.operation], call.duration);
        begin(&self.aws_throttles, &[environment, call.service]);
        if call.throttled {
            count(&self.aws_throttles, &[environment, call.service]);
        }
        if call.operation == "AssumeRole" && call.result != "ok" {
            count(&self.assume_role_failures, &[environment]);
        }
    }
}

// The labels' number is right by construction, and a test goes through all of them; a miss must not stop the loop.
fn count(vec: &IntCounterVec, labels: &[&str]) {
    if let Ok(counter) = vec.get_metric_with_label_values(labels) {
        counter.inc();
    }
}

/// The counter stands at 0, if it hasn't counted yet.
fn begin(vec: &IntCounterVec, labels: &[&str]) {
    drop(vec.get_metric_with_label_values(labels));
}

fn observe(vec: &HistogramVec, labels: &[&str], duration: Duration) {
    if let Ok(histogram) = vec.get_metric_with_label_values(labels) {
        histogram.observe(duration.as_secs_f64());
    }
}

fn forget<T: MetricVecBuilder>(vec: &MetricVec<T>, label: &str, value: &str)
where
    MetricVec<T>: Collector,
{
    for family in vec.collect() {
        for metric in family.get_metric() {
            let labels: HashMap<&str, &str> =
                metric.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
            if labels.get(label) == Some(&value) {
                // It stood there a moment ago; if another scrape was quicker, all the better.
                let _ = vec.remove(&labels);
            }
        }
    }
}
