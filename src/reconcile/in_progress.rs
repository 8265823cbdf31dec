//! The rollout of a target that this process has seen start or run, until it sees it end.

use jiff::Timestamp;

use super::event_sink;
use super::pass::Outcome;
use super::transitions::Transitions;
use crate::model::{Artifact, RolloutTarget, State};
use crate::plan::{Action, Reason, VersionMove};

/// A rollout on its way. Told from others by where it leads: ECS knows the same one by two ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InProgress {
    /// Where it moves the target.
    pub(super) target: RolloutTarget,
    /// The version it brings; `None` if the pin had moved on before this process saw it.
    pub(super) version: Option<String>,
    /// When it started.
    pub(super) started: Timestamp,
    /// AWS's id of it, once it is one that it keeps.
    pub(super) id: Option<String>,
    artifact: Option<String>,
}

impl InProgress {
    /// The rollout that this pass started or saw running.
    pub(super) fn of(transitions: &Transitions<'_>) -> Option<Self> {
        let plan = transitions.plan;
        let aim =
            (plan.artifact.as_ref().map(|artifact| artifact.identity().to_owned()), transitions.after.desired.clone());
        // The way back of a quarantined pin is no rollout of it.
        let applied = matches!(transitions.outcome, Some(Outcome::Applied(_))) && plan.state != State::Quarantined;
        let started = plan.action.as_ref().and_then(destination).filter(|_| applied);
        if let Some(target) = started {
            return Some(Self { target, version: Some(aim.1), started: transitions.now, id: None, artifact: aim.0 });
        }
        let rollout = plan.rollout.as_ref().filter(|rollout| rollout.outcome.is_active())?;
        if !matches!(plan.state, State::RollingOut | State::Overdue) {
            return None;
        }
        let moved_on =
            matches!(plan.reason, Some(Reason::Superseded { .. } | Reason::Overdue { superseded: true, .. }));
        Some(Self {
            target: rollout.target.clone(),
            version: (!moved_on).then_some(aim.1),
            started: rollout.started.unwrap_or(transitions.now),
            id: Some(rollout.id.to_string()).filter(|id| event_sink::is_final(id)),
            artifact: aim.0.filter(|_| !moved_on),
        })
    }

    /// Whether it brings this artifact.
    pub(super) fn leads_to(&self, artifact: Option<&Artifact>) -> bool {
        self.artifact.is_some() && self.artifact.as_deref() == artifact.map(Artifact::identity)
    }
}

/// Where a rollout that this action starts leads.
fn destination(action: &Action) -> Option<RolloutTarget> {
    match action {
        Action::StartRefresh { version, .. } => Some(RolloutTarget::TemplateVersion(*version)),
        Action::RefreshPolicy { moves, .. } => Some(VersionMove::destination(moves)),
        Action::UpdateService { task_definition, .. } => Some(RolloutTarget::TaskDefinition(task_definition.clone())),
        _ => None,
    }
}
