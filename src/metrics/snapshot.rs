//! The metrics that are read off a [`Snapshot`] at scrape time. A target that is gone from the status is gone from here.

use std::collections::BTreeMap;

use jiff::Timestamp;
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts, Registry};

use super::catalogue::{self, Definition};
use crate::model::status::{EnvironmentStatus, Snapshot};
use crate::model::{State, TargetState};

/// The metrics of a status.
///
/// # Errors
/// If a definition breaks Prometheus' rules for names.
pub(super) fn gather(status: &Snapshot, now: Timestamp) -> Result<Vec<MetricFamily>, prometheus::Error> {
    let mut families = Families::default();
    families.add(&catalogue::BUILD_INFO, &[&status.version], 1.0);
    families.add(&catalogue::RESYNC_REQUESTED, &[], count(status.resync.requested));
    families.add(&catalogue::RESYNC_COMPLETED, &[], count(status.resync.completed));
    for repository in &status.repositories {
        let (url, branch) = (repository.url.as_str(), repository.branch.as_str());
        if let Some(revision) = &repository.revision {
            families.add(&catalogue::GIT_REVISION_INFO, &[url, branch, revision], 1.0);
            families.add(&catalogue::GUARDRAILS_VALID, &[url, branch], flag(repository.guardrail_errors.is_empty()));
        }
        for end in &repository.guardrail_ends {
            families.add(&catalogue::GUARDRAIL_ENDS, &[url, branch, &end.policy], seconds(end.until));
        }
        if let Some(signatures) = &repository.signatures {
            families.add(&catalogue::GIT_SIGNATURES_VALID, &[url, branch], flag(signatures.refused == 0));
            families.add(&catalogue::GIT_REFUSED_COMMITS, &[url, branch], count(signatures.refused));
        }
        // 0 for one that was never read: its age is beyond any limit, and an alert sees it.
        families.add(&catalogue::GIT_LAST_SUCCESS, &[url, branch], repository.last_success.map_or(0.0, seconds));
    }
    for (name, environment) in &status.environments {
        add_environment(&mut families, name, environment, now);
    }
    families.gather()
}

fn add_environment(
    families: &mut Families<'_>,
    name: &str,
    environment: &EnvironmentStatus<TargetState>,
    now: Timestamp,
) {
    families.add(&catalogue::BRAKE_HELD, &[name], flag(environment.change_limit.is_some()));
    families.add(&catalogue::ENVIRONMENT_VALID, &[name], flag(environment.valid));
    if let Some(at) = environment.last_success {
        families.add(&catalogue::RECONCILE_LAST_SUCCESS, &[name], seconds(at));
    }
    for target in environment.targets.values() {
        add_target(families, name, target, now);
    }
}

fn add_target(families: &mut Families<'_>, environment: &str, target: &TargetState, now: Timestamp) {
    let reference = target.target.to_string();
    let (reference, kind) = (reference.as_str(), target.target.local.kind.as_str());
    let component = target.pin.component.as_str();
    let labels = [environment, reference, kind, component];
    for state in State::ALL {
        let labels = [environment, reference, kind, component, state.as_str()];
        families.add(&catalogue::TARGET_STATE, &labels, flag(state == target.state));
    }
    let running = target.running.as_deref().unwrap_or_default();
    let pin = [
        environment,
        reference,
        kind,
        component,
        target.pin.version.as_str(),
        running,
        target.pin.provenance.commit.as_str(),
    ];
    families.add(&catalogue::TARGET_PIN_INFO, &pin, 1.0);
    families.add(&catalogue::TARGET_OUT_OF_SYNC, &labels, target.out_of_sync_since.map_or(0.0, |at| age(at, now)));
    families.add(&catalogue::TARGET_DRIFTED, &labels, flag(target.drifted));
    families.add(&catalogue::QUARANTINED, &labels, flag(target.state == State::Quarantined));
    if let Some(suspension) = &target.suspension {
        families.add(&catalogue::TARGET_SUSPENDED_UNTIL, &labels, seconds(suspension.until));
    }
    let started = target.rollout.as_ref().and_then(|rollout| rollout.started);
    if let (State::RollingOut | State::Overdue, Some(started)) = (target.state, started) {
        families.add(&catalogue::ROLLOUT_AGE, &labels, age(started, now));
    }
}

/// Samples by metric and labels. Two blocks of the configuration may name the same branch: the last one of a series counts, as
/// a scrape with the same series twice is refused as a whole.
#[derive(Default)]
struct Families<'a> {
    samples: BTreeMap<&'static str, (&'a Definition, Vec<Sample>)>,
}

/// The values of the labels, in the definition's order, and the sample's value.
type Sample = (Vec<String>, f64);

impl<'a> Families<'a> {
    fn add(&mut self, definition: &'a Definition, labels: &[&str], value: f64) {
        let (_, samples) = self.samples.entry(definition.name).or_insert_with(|| (definition, Vec::new()));
        samples.push((labels.iter().map(ToString::to_string).collect(), value));
    }

    /// In a registry of their own, which sorts them.
    fn gather(self) -> Result<Vec<MetricFamily>, prometheus::Error> {
        let registry = Registry::new();
        for (definition, samples) in self.samples.into_values() {
            let gauge = GaugeVec::new(Opts::new(definition.name, definition.help), definition.labels)?;
            for (labels, value) in samples {
                gauge.get_metric_with_label_values(&labels)?.set(value);
            }
            registry.register(Box::new(gauge))?;
        }
        Ok(registry.gather())
    }
}

fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

fn count(value: u64) -> f64 {
    value as f64
}

fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

/// Never negative: AWS's clock may be ahead of ours.
fn age(since: Timestamp, now: Timestamp) -> f64 {
    now.duration_since(since).as_secs_f64().max(0.0)
}
