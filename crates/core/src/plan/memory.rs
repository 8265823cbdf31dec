//! What a process remembers from its own passes, and how what it sees and does changes that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::{Action, Observed, Plan, TargetPlan, decide};
use crate::model::{
    CommitId, Environment, ErrorClass, LocalRef, Marker, PortError, Reason, Resource, RolloutId, RolloutTarget, State,
    Version,
};

/// What this process remembers from its own earlier passes. Losing it is harmless: probes are sent once more, drift may be
/// called a rollout, while reads lag a rollout may be asked for twice, and a request to retry has to be made again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// The AWS resource of each target, which all else here is about.
    pub resources: BTreeMap<LocalRef, Resource>,
    /// With what each target was last in sync.
    pub converged: BTreeMap<LocalRef, Converged>,
    /// The targets that have drifted since, and aren't back yet.
    pub drifted: BTreeSet<LocalRef>,
    /// How the probes of each target stand.
    pub probes: BTreeMap<LocalRef, ProbeRecord>,
    /// The task definition that was registered last for each target: listing them may not show it yet.
    pub made: BTreeMap<LocalRef, Made>,
    /// The rollout of each target that was asked for last: reads may not show it yet.
    pub started: BTreeMap<LocalRef, Started>,
    /// What an operator's last request to retry has forgiven each target.
    pub forgiven: BTreeMap<LocalRef, Forgiven>,
    /// The write for each target that AWS refused last.
    pub refused: BTreeMap<LocalRef, Refused>,
    /// The rollouts of each target that this process has cancelled because another pin was set.
    pub withdrawn: BTreeMap<LocalRef, BTreeSet<RolloutId>>,
    /// The pin by which each target is quarantined: AWS may forget why.
    pub failed: BTreeMap<LocalRef, Failed>,
    /// The rollout of each target that was under way in the last pass.
    pub running: BTreeMap<LocalRef, RolloutId>,
}

/// A write that AWS refused. Asked for again at once it would be refused again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The write.
    pub action: Action,
    /// Why it was refused.
    pub reason: Reason,
    /// How often in a row.
    pub times: u32,
    /// When it was refused last.
    pub at: Timestamp,
}

impl Refused {
    /// The pause after the first refusal; it doubles from there.
    const FIRST: Duration = Duration::from_secs(5);

    /// Whether it is too early to ask for the same again. A permission may be granted at any time, and what contends ends;
    /// what is wrong stays wrong.
    pub(super) fn holds(&self, now: Timestamp) -> bool {
        let passes = matches!(self.reason, Reason::Denied(_) | Reason::WriteFailed(_));
        let longest = if passes { 50 } else { 15 * 60 };
        let doubled = Self::FIRST.saturating_mul(1 << self.times.saturating_sub(1).min(20));
        // Clocks may be set back.
        now.duration_since(self.at).unsigned_abs() < doubled.min(Duration::from_secs(longest))
    }
}

/// A pin whose rollout ended badly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The pinning commit.
    pub commit: CommitId,
    /// The artifact's identity.
    pub artifact: String,
    /// Whose shape it had, as in [`Converged::base`].
    pub base: Option<String>,
    /// The rollout, for people.
    pub rollout: String,
}

/// With what a target was in sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converged {
    /// The pinning commit.
    pub commit: CommitId,
    /// The pinned version.
    pub version: Version,
    /// The artifact's identity.
    pub artifact: String,
    /// How an AMI was looked up ([`AmiQuery::digest`](crate::model::AmiQuery::digest)); `None` for a container image.
    pub sought: Option<String>,
    /// Whose shape it had; `None` where that is always the shape of what runs.
    pub base: Option<String>,
}

/// A revision that this process has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// What was written on it.
    pub marker: Marker,
    /// The image that was put into it; `None` for a copy of what was deregistered.
    pub image: Option<String>,
    /// Its ARN.
    pub arn: String,
}

/// A rollout that this process has asked for. Whether AWS has heard that isn't sure where the answer was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Where it moves its target.
    pub to: RolloutTarget,
    /// When the call was over.
    pub at: Timestamp,
    /// The rollouts that were there before it.
    pub before: BTreeSet<RolloutId>,
}

/// What a request to retry has forgiven a target. By ids, as no clock is to be trusted; what fails later counts again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forgiven {
    /// The rollouts that were known to be at their end.
    pub rollouts: BTreeSet<RolloutId>,
    /// Whether nothing was read since the request: what has failed by the next look is forgiven, too.
    pub open: bool,
    /// The pinning commit that is tried though AWS doesn't say any more how an earlier rollout of it ended.
    pub outcome: Option<CommitId>,
}

/// How the probes of a target stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeRecord {
    /// The pinning commit that they were sent for.
    pub commit: CommitId,
    /// The artifact that they were sent for.
    pub artifact: String,
    /// Whose shape what they were sent for had, as in [`Converged::base`].
    pub base: Option<String>,
    /// When they were first sent.
    pub first: Timestamp,
    /// What the first failing one said; `None` when all were answered as expected.
    pub failure: Option<String>,
    /// Whether the pin's rollout was under way or just over when they were first sent.
    pub after_rollout: bool,
}

/// Gives what is remembered of a target to the one that it is now.
fn rename<T>(all: &mut BTreeMap<LocalRef, T>, moved: impl Fn(LocalRef) -> Option<LocalRef>) {
    let entries = std::mem::take(all).into_iter();
    *all = entries.filter_map(|(local, entry)| Some((moved(local)?, entry))).collect();
}

impl Memory {
    /// Follows the AWS resources of an environment's targets: what is remembered of a resource goes with it to a target of
    /// another name, and is forgotten when no target has it any more. The targets that have another resource than before.
    pub fn keep(&mut self, desired: &Environment) -> BTreeSet<LocalRef> {
        let claims = desired.claims().into_iter();
        let now: BTreeMap<LocalRef, Resource> = claims.map(|(local, claimed)| (local, claimed.resource)).collect();
        let before = std::mem::replace(&mut self.resources, now);
        let now = &self.resources;
        let moved = |local: LocalRef| match before.get(&local) {
            Some(resource) => now.iter().find(|(_, at)| *at == resource).map(|(local, _)| local.clone()),
            None => Some(local).filter(|local| now.contains_key(local)),
        };
        rename(&mut self.converged, moved);
        rename(&mut self.probes, moved);
        rename(&mut self.made, moved);
        rename(&mut self.started, moved);
        rename(&mut self.forgiven, moved);
        rename(&mut self.refused, moved);
        rename(&mut self.withdrawn, moved);
        rename(&mut self.failed, moved);
        rename(&mut self.running, moved);
        self.drifted = std::mem::take(&mut self.drifted).into_iter().filter_map(moved).collect();
        let others = before.into_iter().filter(|(local, resource)| now.get(local).is_some_and(|now| now != resource));
        others.map(|(local, _)| local).collect()
    }

    /// A write was answered: what AWS refuses is remembered.
    pub fn answered(&mut self, local: &LocalRef, action: &Action, error: Option<&PortError>, now: Timestamp) {
        let reason = match error {
            Some(error) if error.class == ErrorClass::Denied => Reason::Denied(error.clone()),
            Some(error) if error.class == ErrorClass::Invalid => Reason::Refused(error.clone()),
            // Another change of the group is pending (Auto Scaling API reference, common errors): it takes what time it takes.
            Some(error) if error.code == "ResourceContention" => Reason::WriteFailed(error.clone()),
            _ => {
                self.refused.remove(local);
                return;
            }
        };
        let before = self.refused.get(local).filter(|refused| refused.action == *action);
        let times = before.map_or(0, |refused| refused.times).saturating_add(1);
        self.refused.insert(local.clone(), Refused { action: action.clone(), reason, times, at: now });
    }

    /// An operator asks to retry what is quarantined and not suspended. `known`: by which rollout each target is, as far as
    /// this process knows; reads that lag may show that one under way again.
    pub fn retry(&mut self, desired: &Environment, mut known: BTreeMap<LocalRef, RolloutId>, now: Timestamp) {
        let stands_still =
            |local: &LocalRef| desired.targets.get(local).is_some_and(|target| target.suspended(now).is_some());
        self.failed.retain(|local, _| stands_still(local));
        for (local, target) in desired.targets.iter().filter(|(local, _)| !stands_still(local)) {
            let forgiven = self.forgiven.entry(local.clone()).or_default();
            forgiven.open = true;
            forgiven.outcome = desired.pin_of(target).map(|pin| pin.provenance.commit.clone());
            forgiven.rollouts.extend(known.remove(local));
        }
        let probes = self.probes.iter_mut().filter(|(local, _)| !stands_still(local));
        probes.for_each(|(_, record)| record.first = now);
    }

    /// Takes in what was read first after such a request, before it is planned with.
    pub fn forgive(&mut self, desired: &Environment, observed: &Observed, now: Timestamp) {
        let open = self.forgiven.iter().filter(|(_, forgiven)| forgiven.open);
        for local in open.map(|(local, _)| local.clone()).collect::<Vec<_>>() {
            let read = matches!(observed.histories.get(&local), Some(Ok(_)));
            let at_rest = decide::needs_history(desired, observed, self, &local, now) == Some(false);
            let rollouts = decide::rollouts(desired, observed, &local);
            if let Some(forgiven) = self.forgiven.get_mut(&local).filter(|_| read || at_rest) {
                forgiven.open = false;
                forgiven.rollouts.extend(rollouts.iter().filter(|it| !it.outcome.is_active()).map(|it| it.id.clone()));
            }
        }
    }

    /// Takes note of what was planned: which pins are quarantined by a rollout, which of those have run since, and which
    /// rollouts are under way.
    pub fn note(&mut self, desired: &Environment, plan: &Plan) {
        let active =
            |planned: &TargetPlan| planned.rollout.as_ref().filter(|it| it.outcome.is_active()).map(|it| it.id.clone());
        let running = plan.targets.iter().filter_map(|(local, planned)| Some((local.clone(), active(planned)?)));
        self.running = running.collect();
        for (local, target) in &desired.targets {
            let (Some(planned), Some(pin)) = (plan.targets.get(local), desired.pin_of(target)) else { continue };
            match (planned.state, &planned.reason, &planned.artifact) {
                (State::Quarantined, Some(Reason::RolloutFailed { id, .. }), Some(artifact)) => {
                    let failed = Failed {
                        commit: pin.provenance.commit.clone(),
                        artifact: artifact.identity().to_owned(),
                        base: planned.base.clone(),
                        rollout: id.short().to_owned(),
                    };
                    self.failed.insert(local.clone(), failed);
                }
                (State::InSync, ..) => drop(self.failed.remove(local)),
                _ => {}
            }
        }
    }

    /// A write that AWS might have heard was refused: nothing came of it.
    pub fn not_written(&mut self, local: &LocalRef, action: &Action) {
        if let (Action::CancelRefresh { refresh, .. }, Some(withdrawn)) = (action, self.withdrawn.get_mut(local)) {
            withdrawn.remove(refresh);
        }
        if self.started.get(local).is_some_and(|started| Some(&started.to) == action.leads_to().as_ref()) {
            self.started.remove(local);
        }
    }

    /// Takes note of a write, planned with what was read, that AWS has heard or may have heard.
    pub fn wrote(
        &mut self,
        desired: &Environment,
        observed: &Observed,
        local: &LocalRef,
        action: &Action,
        at: Timestamp,
    ) {
        if let Action::CancelRefresh { refresh, .. } = action {
            self.withdrawn.entry(local.clone()).or_default().insert(refresh.clone());
        }
        let Some(to) = action.leads_to() else { return };
        let before = decide::rollouts(desired, observed, local).into_iter().map(|rollout| rollout.id).collect();
        self.started.insert(local.clone(), Started { to, at, before });
    }
}
