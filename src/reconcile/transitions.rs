//! The story of each rollout, told once: log lines and counts for what changed between two passes.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::event_sink::End;
use super::in_progress::InProgress;
use super::pass::Outcome;
use crate::metrics::{Metrics, RolloutResult};
use crate::model::status::TargetStatus;
use crate::model::{CommitId, ErrorClass, RolloutOutcome, State, Target};
use crate::plan::{Reason, TargetPlan};
use crate::ports::EventSink;

/// What was told of a target before, so that nothing is told twice.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// The rollout that runs, or whose end hasn't been seen.
    in_progress: Option<InProgress>,
    /// When the present pin arrived, while the target hasn't been in sync with it.
    arrived: Option<Timestamp>,
    /// The pinning commit whose rollout is forbidden, and by which policies.
    denied: Option<(String, BTreeSet<String>)>,
    /// The write that fails, and AWS's code for it.
    failing: Option<(&'static str, String)>,
    /// AWS's id of the rollout that ended well last, and the pinning commit it was for.
    succeeded: Option<(String, String)>,
}

/// What there is to tell about one target.
pub(super) struct Transitions<'a> {
    pub(super) target: &'a Target,
    /// When the newest revision was seen on the branch, if this process saw it arrive.
    pub(super) seen: Option<Timestamp>,
    pub(super) plan: &'a TargetPlan,
    pub(super) outcome: Option<&'a Outcome>,
    pub(super) before: Option<&'a TargetStatus>,
    pub(super) after: &'a TargetStatus,
    pub(super) now: Timestamp,
}

impl Transitions<'_> {
    /// Logs and counts, and notes what is for the history.
    pub(super) fn tell(&self, past: &mut Past, metrics: &Metrics, event_sink: &dyn EventSink) {
        self.pin(past);
        self.denials(past, metrics, event_sink);
        self.drift();
        self.action(past);
        self.state();
        self.warnings();
        self.rollout(past, metrics, event_sink);
        self.convergence(past, metrics);
        let succeeded = past.succeeded.as_ref().filter(|(_, commit)| *commit == self.after.pin.commit);
        self.event_sink(succeeded.map(|(id, _)| id.as_str()), event_sink);
    }

    fn action(&self, past: &mut Past) {
        let (Some(action), Some(outcome)) = (&self.plan.action, self.outcome) else { return };
        let target = &self.after.target;
        match outcome {
            Outcome::Applied(applied) => {
                past.failing = None;
                let (id, version) = (applied.id.as_deref(), &self.after.desired);
                if action.starts_rollout() && self.after.state != State::Quarantined {
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
                // Not by the text: it has the request's id, which is another one at every try.
                let failing = Some((action.operation(), error.code.clone()));
                if past.failing != failing {
                    let class = error.class.as_str();
                    // Somebody was quicker, or what was read is stale: no failure, and the next pass looks again.
                    if error.class == ErrorClass::Conflict {
                        tracing::warn!(target = target, class, "could not {action}: {error}");
                    } else {
                        tracing::error!(target = target, class, "could not {action}: {error}");
                    }
                }
                past.failing = failing;
            }
        }
    }

    fn pin(&self, past: &mut Past) {
        let Some(before) = self.before else { return };
        if before.pin.commit != self.after.pin.commit {
            past.arrived = self.seen;
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
    }

    /// Counts each policy once that has begun to forbid this pin's rollout.
    fn denials(&self, past: &mut Past, metrics: &Metrics, event_sink: &dyn EventSink) {
        match &self.plan.reason {
            Some(Reason::Guardrail(denials)) => {
                let commit = &self.after.pin.commit;
                let known = past.denied.take().filter(|(of, _)| of == commit).map(|(_, known)| known);
                let policies: BTreeSet<String> = denials.iter().map(|denial| denial.policy.clone()).collect();
                for policy in
                    policies.iter().filter(|policy| known.as_ref().is_none_or(|known| !known.contains(*policy)))
                {
                    metrics.guardrail_denied(&self.target.reference, &self.target.component, policy);
                    self.denied(policy, event_sink);
                }
                past.denied = Some((commit.clone(), policies));
            }
            // Nobody knows now whether it would still be forbidden.
            _ if self.after.state == State::Unknown => {}
            _ => past.denied = None,
        }
    }

    fn state(&self) {
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
        } else if before.and_then(|before| before.rollout.as_ref()).map(|rollout| &rollout.status)
            != after.rollout.as_ref().map(|rollout| &rollout.status)
            && after.state == State::RollingOut
        {
            tracing::info!(target = after.target, reason, "{}", after.state);
        }
    }

    /// Says each warning once, when it comes up.
    fn warnings(&self) {
        let known = |warning: &&String| self.before.is_some_and(|before| before.warnings.contains(warning));
        for warning in self.after.warnings.iter().filter(|warning| !known(warning)) {
            tracing::warn!(target = self.after.target, "{warning}");
        }
    }

    /// Follows rollouts from their start to their end, and counts each once.
    fn rollout(&self, past: &mut Past, metrics: &Metrics, event_sink: &dyn EventSink) {
        if let Some(now) = InProgress::of(self) {
            self.runs(past, now, metrics, event_sink);
            return;
        }
        let Some(in_progress) = &past.in_progress else {
            self.found(past, event_sink);
            return;
        };
        let cancelled = self.plan.rollout.as_ref().is_some_and(|it| it.outcome == RolloutOutcome::Cancelled);
        let result = match self.after.state {
            // It led elsewhere than where the pin wants to be by now.
            State::InSync | State::Quarantined if !in_progress.leads_to(self.plan.artifact.as_ref()) => {
                RolloutResult::Cancelled
            }
            State::InSync => RolloutResult::Succeeded,
            State::Quarantined if cancelled => RolloutResult::Cancelled,
            State::Quarantined => RolloutResult::Failed,
            _ => return,
        };
        let id = self.ended(in_progress, result, metrics, event_sink);
        past.succeeded =
            id.filter(|_| result == RolloutResult::Succeeded).map(|id| (id, self.after.pin.commit.clone()));
        past.in_progress = None;
    }

    /// A rollout runs: a new one, or the one that did before.
    fn runs(&self, past: &mut Past, now: InProgress, metrics: &Metrics, event_sink: &dyn EventSink) {
        match &mut past.in_progress {
            Some(before) if before.target == now.target => {
                before.started = now.started.min(before.started);
                if before.id.is_some() || now.id.is_none() {
                    return;
                }
                before.id = now.id;
            }
            // The pin has moved on, and the next rollout takes the place of the one before.
            before => {
                if let Some(before) = before.replace(now) {
                    self.ended(&before, RolloutResult::Cancelled, metrics, event_sink);
                }
            }
        }
        if let Some(InProgress { id: Some(id), version, started, .. }) = &past.in_progress {
            self.rollout_began(id, version.as_deref(), *started, event_sink);
        }
    }

    /// At the first look, what AWS remembers of the rollout that led to where the target is.
    fn found(&self, past: &mut Past, event_sink: &dyn EventSink) {
        let (None, Some(rollout)) = (self.before, &self.plan.rollout) else { return };
        if !super::event_sink::is_final(&rollout.id.0) {
            return;
        }
        let result = match (self.after.state, rollout.outcome) {
            (State::InSync | State::Verifying, RolloutOutcome::Succeeded) => {
                past.succeeded = Some((rollout.id.to_string(), self.after.pin.commit.clone()));
                RolloutResult::Succeeded
            }
            (State::Quarantined, RolloutOutcome::Cancelled) => RolloutResult::Cancelled,
            (State::Quarantined, RolloutOutcome::Failed) => RolloutResult::Failed,
            _ => return,
        };
        self.rollout_found(rollout, result.as_str(), event_sink);
    }

    /// Says under which id the rollout went, if that is known.
    fn ended(
        &self,
        in_progress: &InProgress,
        result: RolloutResult,
        metrics: &Metrics,
        event_sink: &dyn EventSink,
    ) -> Option<String> {
        let rollout = self.plan.rollout.as_ref().filter(|rollout| rollout.target == in_progress.target);
        let ended = rollout.and_then(|rollout| rollout.ended).unwrap_or(self.now);
        let took = between(in_progress.started, ended);
        let id = in_progress.id.clone().or_else(|| rollout.map(|rollout| rollout.id.to_string()));
        if let Some(id) = &id {
            let (version, started) = (in_progress.version.as_deref(), in_progress.started);
            if in_progress.id.is_none() {
                self.rollout_began(id, version, started, event_sink);
            }
            let reason = rollout.and_then(|rollout| rollout.reason.as_deref());
            self.rollout_over(&End { id, version, started, ended, result: result.as_str(), reason }, event_sink);
        }
        metrics.rollout_ended(&self.target.reference, &self.target.component, result, took);
        tracing::info!(
            target = self.after.target,
            version = in_progress.version,
            result = result.as_str(),
            seconds = took.as_secs(),
            "rollout ended"
        );
        id
    }

    /// Counts how long the pin took, once.
    fn convergence(&self, past: &mut Past, metrics: &Metrics) {
        if self.after.state == State::InSync
            && let Some(arrived) = past.arrived.take()
        {
            metrics.converged(&self.target.reference.environment, &self.target.component, between(arrived, self.now));
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
        CommitId::short_of(&self.after.pin.commit)
    }
}

fn between(start: Timestamp, end: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(start)).unwrap_or_default()
}
