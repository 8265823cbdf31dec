//! The planner: desired and observed in, actions and reasons out. Pure and synchronous; nothing here reads a clock, a
//! file or a socket.
//!
//! Each target gets a [`State`], a [`Reason`] where the state needs one, and at most one [`Action`]. The same code
//! serves both kinds of target: a launch-template version and a task-definition revision are both a *revision*, an
//! instance refresh and a service deployment both a *rollout*.

mod action;
mod back;
pub mod change_limit;
mod decide;
pub mod forecast;
mod group;
mod memory;
mod order;
mod revision;
mod service;
mod settle;
mod shape;
pub mod shape_limit;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

pub use self::action::{Action, RefreshPreferences, VersionMove};
pub use self::group::{joined, templates_of};
pub use self::memory::{Converged, Failed, Forgiven, Made, Memory, ProbeRecord, Refused, Started};
pub use self::order::{Cycle, in_order};
pub use self::service::{containers_in, name_of};
pub use self::settle::{Pass, answered, settle, unknown_pin};
use crate::claims::Claims;
use crate::guardrail::{Fleet, Guardrails, Member};
use crate::model::{
    AccountId, Artifact, BaseRevision, Bases, Environment, FargateSpec, LocalRef, ObservedGroup, ObservedService,
    ObservedTarget, PortError, ResolveError, Rollout, RolloutHistory, Run, ShapeChange, State, Target,
};
pub use crate::model::{Failing, Reason, Rollback};

/// What was read of one environment for one pass.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The account that the credentials belong to; `None` if it wasn't asked for.
    pub identity: Option<Result<AccountId, PortError>>,
    /// What each target's pin resolves to.
    pub artifacts: BTreeMap<LocalRef, Result<Artifact, ResolveError>>,
    /// Each target as AWS reports it.
    pub targets: BTreeMap<LocalRef, Result<ObservedTarget, PortError>>,
    /// The rollouts of those targets for which [`needs_history`] asked.
    pub histories: BTreeMap<LocalRef, Result<RolloutHistory, PortError>>,
    /// Of the targets whose shape comes from the newest revision, what was found of it.
    pub bases: BTreeMap<LocalRef, Result<Bases, PortError>>,
    /// The states of the alarms of those targets' refreshes, in AWS's words; `None` if there are none to ask for.
    pub alarms: Option<Result<BTreeMap<String, String>, PortError>>,
    /// The targets with probes that would never be sent, each with the reason.
    pub unasked: BTreeMap<LocalRef, String>,
}

/// All that planning needs.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// What Git wants.
    pub desired: &'a Environment,
    /// What AWS shows.
    pub observed: &'a Observed,
    /// What this process remembers.
    pub memory: &'a Memory,
    /// What may forbid a rollout.
    pub guardrails: &'a dyn Guardrails,
    /// What is known of all targets, for guardrails; what is planned here counts at once.
    pub fleet: &'a Fleet,
    /// Which target holds each AWS resource.
    pub claims: &'a Claims,
    /// The time.
    pub now: Timestamp,
}

/// What is to be done in one environment in one pass.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// By target.
    pub targets: BTreeMap<LocalRef, TargetPlan>,
    /// Why new shapes wait, and what lets them through, where the change limit holds them.
    pub held_shapes: Option<String>,
}

impl Plan {
    /// The actions, each with its target, in the targets' order.
    pub fn actions(&self) -> impl Iterator<Item = (&LocalRef, &Action)> {
        self.targets.iter().filter_map(|(target, plan)| plan.action.as_ref().map(|action| (target, action)))
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn writes_nothing(&self) -> bool {
        self.actions().all(|(_, action)| !action.is_write())
    }
}

/// What is to be done about one target, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetPlan {
    /// Its state.
    pub state: State,
    /// Why.
    pub reason: Option<Reason>,
    /// What to do now.
    pub action: Option<Action>,
    /// Whether observed differs from desired though no pin changed.
    pub drifted: bool,
    /// What runs now: a version where Pinion made it, else the artifact.
    pub running: Option<String>,
    /// The artifact that the pin resolves to.
    pub artifact: Option<Artifact>,
    /// Whose shape it is to run with; `None` where that is always the shape of what runs, or isn't known.
    pub base: Option<String>,
    /// The new shape that a rollout which is due or under way brings.
    pub shape: Option<ShapeChange>,
    /// Whose new shape a rollout brings that is due or under way, as far as that is known.
    pub brings: Option<String>,
    /// Whether the target isn't on the artifact yet, whatever its shape is.
    pub image_differs: bool,
    /// Instances or tasks that run the artifact.
    pub updated: u32,
    /// Instances or tasks in all.
    pub total: u32,
    /// The rollout in flight or, in quarantine, the one that failed; in sync, the one that led here if it is known.
    pub rollout: Option<Rollout>,
    /// Whether the rollout in flight is one that this pin started.
    pub ours: bool,
    /// What works now but needs somebody's attention, such as a deprecated image; for people.
    pub warnings: Vec<String>,
    /// What it was in sync with before, as far as the rollouts that were read say; the last first.
    pub runs: Vec<Run>,
    /// Whether this pin's rollout is under way or just over: if probes fail now, they fail because of it.
    pub just_rolled: bool,
    /// Whether the pin is rolled out, and all that waits is a newer shape.
    pub shape_waits: bool,
}

impl TargetPlan {
    /// Whether the pin is rolled out, and only a newer shape isn't, as that waits or has failed.
    #[must_use]
    pub fn is_held_by_its_shape(&self) -> bool {
        self.shape_waits
            || matches!(self.reason, Some(Reason::ShapeFailed { back: None, .. })) && self.updated == self.total
    }
}

/// The targets whose rollouts have to be read before planning: those that aren't settled on their artifact, and those
/// of which it isn't known yet that they are in sync with this very pin.
#[must_use]
pub fn needs_history(
    desired: &Environment,
    observed: &Observed,
    memory: &Memory,
    now: Timestamp,
) -> BTreeSet<LocalRef> {
    let needs = |local: &&LocalRef| decide::needs_history(desired, observed, memory, local, now) == Some(true);
    desired.targets.keys().filter(needs).cloned().collect()
}

/// The targets whose artifact has to be looked up once more before anything is said about it: what runs has its name, and
/// other bytes than were found. The tag may have been moved since it was looked up.
#[must_use]
pub fn needs_second_look(desired: &Environment, observed: &Observed) -> BTreeSet<LocalRef> {
    let needs = |local: &&LocalRef| decide::needs_second_look(desired, observed, local);
    desired.targets.keys().filter(needs).cloned().collect()
}

/// Why a group can't be rolled out whatever its pin is, and what to change about it; `None` if it can be.
pub(crate) fn unsupported_group(group: &ObservedGroup) -> Option<String> {
    group::view(group, &BaseRevision::Running, None).err()
}

/// The same of a service.
pub(crate) fn unsupported_service(service: &ObservedService, spec: &FargateSpec) -> Option<String> {
    service::view(service, spec, None).err()
}

/// Decides what to do.
#[must_use]
pub fn plan(input: Input<'_>) -> Plan {
    let mut plan = Plan { held_shapes: shape_limit::held(input), ..Plan::default() };
    let mut fleet = input.fleet.clone();
    // What runs already counts for all, also for those that are decided about earlier.
    for target in input.desired.targets.values().filter(|target| decide::is_in_flight(input, target)) {
        note(&mut fleet, input.desired, target, State::RollingOut);
    }
    for local in in_order(&input.desired.targets) {
        if let Some(target) = input.desired.targets.get(&local) {
            let decided = decide::decide(Input { fleet: &fleet, ..input }, target, &plan);
            if decided.state != State::Unknown {
                note(&mut fleet, input.desired, target, decided.state);
            }
            plan.targets.insert(local, decided);
        }
    }
    plan
}

fn note(fleet: &mut Fleet, desired: &Environment, target: &Target, state: State) {
    if let Some(pin) = desired.pin_of(target) {
        fleet.note(&target.reference, Member::pinned(pin, state));
    }
}
