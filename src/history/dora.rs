//! The four DORA figures, from events. `docs/history.md` defines each.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::event::{Deliveries, Delivery, EventKind, EventRecord};

/// A pin that was tried: one component in one environment, set by one commit.
#[derive(Debug, Default)]
struct Attempt {
    /// When the last of its targets came in sync by a rollout.
    deployed: Option<Timestamp>,
    /// From the commit until then, in seconds.
    lead: Option<u64>,
    /// When its first rollout failed, of each target.
    failed: BTreeMap<String, Timestamp>,
}

/// The figures of all components in these events, which are in the order of their times.
pub(super) fn deliveries(events: &[EventRecord], since: Timestamp, until: Timestamp) -> Deliveries {
    let mut attempts: BTreeMap<(&str, &str, &str), Attempt> = BTreeMap::new();
    let mut synced: BTreeMap<&str, Vec<Timestamp>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.at <= until) {
        let (Some(component), Some(environment), Some(commit), Some(target)) =
            (&event.component, &event.environment, &event.commit, &event.target)
        else {
            continue;
        };
        let pin = (component.as_str(), environment.as_str(), commit.as_str());
        match event.kind {
            EventKind::InSync => {
                synced.entry(target).or_default().push(event.at);
                if event.rollout.is_some() {
                    let attempt = attempts.entry(pin).or_default();
                    attempt.deployed = attempt.deployed.max(Some(event.at));
                    attempt.lead = attempt.lead.max(event.seconds);
                }
            }
            EventKind::RolloutEnded if event.result.as_deref() == Some("failed") => {
                attempts.entry(pin).or_default().failed.entry(target.clone()).or_insert(event.at);
            }
            EventKind::Quarantined => {
                attempts.entry(pin).or_default().failed.entry(target.clone()).or_insert(event.at);
            }
            _ => {}
        }
    }

    let mut components: BTreeMap<&str, Vec<&Attempt>> = BTreeMap::new();
    for ((component, _, _), attempt) in &attempts {
        components.entry(component).or_default().push(attempt);
    }
    let days = (until.duration_since(since).as_secs_f64() / 86_400.0).max(f64::MIN_POSITIVE);
    let components = components.into_iter().map(|(component, attempts)| {
        let deployments = count(attempts.iter().filter(|attempt| attempt.deployed.is_some()));
        let failures = count(attempts.iter().filter(|attempt| !attempt.failed.is_empty()));
        let restores: Vec<Option<u64>> = attempts
            .iter()
            .filter(|attempt| !attempt.failed.is_empty())
            .map(|attempt| restored(attempt, &synced))
            .collect();
        let tried = attempts.len();
        Delivery {
            component: component.to_owned(),
            deployments,
            deployments_per_day: deployments as f64 / days,
            lead_time_seconds: median(attempts.iter().filter_map(|attempt| attempt.lead).collect()),
            failures,
            change_failure_rate: (tried > 0).then(|| failures as f64 / tried as f64),
            unrestored: count(restores.iter().filter(|restore| restore.is_none())),
            time_to_restore_seconds: median(restores.into_iter().flatten().collect()),
        }
    });
    Deliveries { since, until, components: components.collect() }
}

/// From the first failure to the moment at which each target that had failed was in sync again.
fn restored(attempt: &Attempt, synced: &BTreeMap<&str, Vec<Timestamp>>) -> Option<u64> {
    let first = attempt.failed.values().min()?;
    let mut last = *first;
    for (target, failed) in &attempt.failed {
        let again = synced.get(target.as_str())?.iter().find(|at| *at > failed)?;
        last = last.max(*again);
    }
    u64::try_from(last.duration_since(*first).as_secs()).ok()
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    items.count() as u64
}

/// The one in the middle; of two, the mean of both.
fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    let upper = *values.get(values.len() / 2)?;
    let lower = values.get((values.len() - 1) / 2).copied().unwrap_or(upper);
    Some(lower.midpoint(upper))
}
