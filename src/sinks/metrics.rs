//! Events that are counted or measured. What can be read off the state is, when it is asked for: see [`crate::metrics`].

use std::sync::Arc;
use std::time::Duration;

use crate::events::{Event, TargetChange, What};
use crate::metrics::Metrics;
use crate::ports::EventSink;

/// Counts events.
#[derive(Debug, Clone)]
pub struct MetricsSink(pub Arc<Metrics>);

impl EventSink for MetricsSink {
    fn take(&self, event: &Event<'_>) {
        let What::Target { after, change, .. } = &event.what else { return };
        let (target, component) = (&after.target, &after.pin.component);
        match change {
            TargetChange::Denied(policies) => {
                policies.iter().for_each(|policy| self.0.guardrail_denied(target, component, policy));
            }
            TargetChange::RolloutEnded { run, ended, result, .. } => {
                let took = Duration::try_from(ended.duration_since(run.started)).unwrap_or_default();
                self.0.rollout_ended(target, component, *result, took);
            }
            TargetChange::Converged { after } => self.0.converged(&target.environment, component, *after),
            _ => {}
        }
    }
}
