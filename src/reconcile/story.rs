//! The story of each rollout, told once: log lines and counts for what changed between two passes.

use std::time::Duration;

use jiff::Timestamp;

use super::pass::Outcome;
use crate::metrics::{Metrics, RolloutResult};
use crate::model::status::TargetStatus;
use crate::model::{RolloutOutcome, State, Target};
use crate::plan::{Reason, TargetPlan};

/// What there is to tell about one target.
pub(super) struct Telling<'a> {
    pub(super) target: &'a Target,
    /// When the pin's commit was seen on the branch, if this process saw it arrive and the target wasn't in sync since.
    pub(super) seen: Option<Timestamp>,
    pub(super) plan: &'a TargetPlan,
    pub(super) outcome: Option<&'a Outcome>,
    pub(super) before: Option<&'a TargetStatus>,
    pub(super) after: &'a TargetStatus,
    pub(super) now: Timestamp,
}

impl Telling<'_> {
    /// Logs and counts.
    pub(super) fn tell(&self, metrics: &Metrics) {
        self.pin(metrics);
        self.drift();
        self.action();
        self.state(metrics);
    }

    fn action(&self) {
        let (Some(action), Some(outcome)) = (&self.plan.action, self.outcome) else { return };
        let target = &self.after.target;
        match outcome {
            Outcome::Applied(applied) => {
                let (id, version) = (applied.id.as_deref(), &self.after.desired);
                if action.starts_rollout() {
                    tracing::info!(
                        target = target,
                        version,
                        commit = self.commit(),
                        id,
                        author = self.after.pin.author,
                        subject = self.after.pin.subject,
                        "rollout started: {action}"
                    );
                } else {
                    tracing::info!(target = target, version, id, "{action}");
                }
                if let Some(warning) = &applied.warning {
                    tracing::warn!(target = target, operation = action.operation(), "AWS warns: {warning}");
                }
            }
            Outcome::Failed(error) => {
                if self.before.and_then(|before| before.reason.as_ref()) != self.after.reason.as_ref() {
                    tracing::error!(target = target, class = error.class.as_str(), "could not {action}: {error}");
                }
            }
            Outcome::Probed(_) => {}
        }
    }

    fn pin(&self, metrics: &Metrics) {
        let Some(before) = self.before else { return };
        if before.pin.commit != self.after.pin.commit {
            tracing::info!(
                target = self.after.target,
                from = before.desired,
                to = self.after.desired,
                commit = self.commit(),
                author = self.after.pin.author,
                subject = self.after.pin.subject,
                "pin changed"
            );
        }
        if let Some(Reason::Guardrail(denials)) = &self.plan.reason
            && before.reason != self.after.reason
        {
            // Those that were said before go on; only what joined them begins.
            let said = before.reason.as_deref().unwrap_or_default();
            for denial in denials.iter().filter(|denial| !said.contains(&denial.to_string())) {
                metrics.guardrail_denied(&self.target.reference, &self.target.component, &denial.policy);
            }
        }
    }

    fn state(&self, metrics: &Metrics) {
        let (before, after) = (self.before, self.after);
        let reason = after.reason.as_deref();
        let was = before.map(|before| before.state);
        if was != Some(after.state) {
            let from = was.map(State::as_str);
            let (target, to, version) = (&after.target, after.state.as_str(), &after.desired);
            match after.state {
                State::Quarantined | State::Overdue | State::Blocked | State::Unknown => {
                    tracing::warn!(target = target, from, version, commit = self.commit(), reason, "{to}");
                }
                _ => tracing::info!(target = target, from, version, reason, "{to}"),
            }
            self.count(metrics);
        } else if before.and_then(|before| before.rollout.as_ref()).map(|rollout| &rollout.status)
            != after.rollout.as_ref().map(|rollout| &rollout.status)
            && after.state == State::RollingOut
        {
            tracing::info!(target = after.target, reason, "{}", after.state);
        }
    }

    /// Counts a rollout that has ended since the last pass, and how long the pin took.
    fn count(&self, metrics: &Metrics) {
        let Some(before) = self.before else { return };
        let ran = matches!(before.state, State::RollingOut | State::Overdue | State::Unknown | State::Verifying);
        let result = match self.after.state {
            State::InSync => RolloutResult::Succeeded,
            State::Quarantined
                if self.plan.rollout.as_ref().is_some_and(|rollout| rollout.outcome == RolloutOutcome::Cancelled) =>
            {
                RolloutResult::Cancelled
            }
            State::Quarantined => RolloutResult::Failed,
            _ => return,
        };
        if ran && before.state != State::Unknown {
            let ended = self.plan.rollout.as_ref().and_then(|rollout| rollout.ended).unwrap_or(self.now);
            let started = self
                .plan
                .rollout
                .as_ref()
                .and_then(|rollout| rollout.started)
                .or_else(|| before.rollout.as_ref().and_then(|rollout| rollout.started))
                .unwrap_or(before.since);
            metrics.rollout_ended(&self.target.reference, &self.target.component, result, between(started, ended));
            tracing::info!(
                target = self.after.target,
                version = self.after.desired,
                result = result.as_str(),
                seconds = between(started, ended).as_secs(),
                "rollout ended"
            );
        }
        if let Some(seen) = self.seen.filter(|_| self.after.state == State::InSync) {
            metrics.converged(&self.target.reference.environment, &self.target.component, between(seen, self.now));
        }
    }

    fn drift(&self) {
        let was = self.before.is_some_and(|before| before.drifted);
        if self.after.drifted && !was {
            tracing::warn!(
                target = self.after.target,
                version = self.after.desired,
                running = self.after.running.as_deref(),
                "drifted: healing"
            );
        } else if was && !self.after.drifted && self.after.state == State::InSync {
            tracing::info!(target = self.after.target, "drift healed");
        }
    }

    fn commit(&self) -> &str {
        self.after.pin.commit.get(..8).unwrap_or_default()
    }
}

fn between(start: Timestamp, end: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(start)).unwrap_or_default()
}
