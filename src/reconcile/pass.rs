//! One pass over one environment: observe, plan, execute.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use futures_util::stream;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::desired::Desired;
use crate::guardrail::{Fleet, Member};
use crate::model::{Applied, ArtifactQuery, Environment, LocalRef, PortError, Probe, State, TargetRef, TargetSpec};
use crate::plan::{self, Action, Input, Memory, Observed, Plan};
use crate::ports::{Apply, Observe, Prober};

/// How many rollout histories of one account are read at once.
const HISTORIES_AT_ONCE: usize = 8;

/// What became of one action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The write was accepted.
    Applied(Applied),
    /// The write failed.
    Failed(PortError),
    /// The probes were sent: the first failure, if any.
    Probed(Result<(), String>),
}

/// Reads what one pass has to know. Writes nothing. Rollouts are read of targets that aren't settled, and of those that
/// `remember` names.
pub async fn observe(
    environment: &Environment,
    reader: &dyn Observe,
    memory: &Memory,
    remember: &BTreeSet<LocalRef>,
    now: Timestamp,
) -> Observed {
    let mut observed = Observed::default();
    let identity = reader.identity().await;
    let known = identity.as_ref().is_ok_and(|caller| *caller == environment.account.id);
    observed.identity = Some(identity);
    if !known {
        return observed;
    }
    let specs: BTreeMap<LocalRef, TargetSpec> =
        environment.targets.iter().map(|(local, target)| (local.clone(), target.spec.clone())).collect();
    let queries: BTreeMap<&LocalRef, ArtifactQuery> = environment
        .targets
        .iter()
        .filter_map(|(local, target)| Some((local, target.artifact_query(environment.pin_of(target)?))))
        .collect();
    let wanted: BTreeSet<ArtifactQuery> = queries.values().cloned().collect();
    let (artifacts, targets) = futures_util::future::join(reader.resolve(&wanted), reader.observe(&specs)).await;
    observed.targets = targets;
    for (local, query) in queries {
        if let Some(artifact) = artifacts.get(&query) {
            observed.artifacts.insert(local.clone(), artifact.clone());
        }
    }
    let mut unsettled = plan::needs_history(environment, &observed, memory, now);
    unsettled.extend(remember.iter().cloned());
    let mut wanted = Vec::new();
    for local in unsettled {
        if let Some(Ok(target)) = observed.targets.get(&local) {
            wanted.push((local, target.clone()));
        }
    }
    let reads = wanted.into_iter().map(|(local, target)| async move { (local, reader.history(&target).await) });
    observed.histories = stream::iter(reads).buffer_unordered(HISTORIES_AT_ONCE).collect().await;
    observed
}

/// Plans with what was read.
#[must_use]
pub fn decide(desired: &Desired, observed: &Observed, memory: &Memory, fleet: &Fleet, now: Timestamp) -> Plan {
    let guardrails = desired.guardrails.as_ref();
    plan::plan(Input { desired: &desired.environment, observed, memory, guardrails, fleet, now })
}

/// What a plan says of the targets of its environment, for the guardrails of others. What would only start now isn't
/// rolling out.
pub fn members<'a>(
    desired: &'a Desired,
    plan: &'a Plan,
    now: Timestamp,
) -> impl Iterator<Item = (TargetRef, Member)> + 'a {
    plan.targets.iter().filter_map(move |(local, plan)| {
        let target = desired.environment.targets.get(local)?;
        let pin = desired.environment.pin_of(target)?;
        let (reference, mut member) = Member::of(&super::target::status(target, pin, plan, None, None, now))?;
        if plan.state == State::RollingOut && plan.rollout.is_none() {
            member.state = State::Pending;
        }
        Some((reference, member))
    })
}

/// Carries out a plan. Once `cancel` is set, finishes the write in flight and starts nothing more; probes are broken off.
pub async fn execute(
    plan: &Plan,
    writer: &dyn Apply,
    prober: &dyn Prober,
    cancel: &CancellationToken,
) -> BTreeMap<LocalRef, Outcome> {
    let mut outcomes = BTreeMap::new();
    for (local, action) in plan.actions() {
        if cancel.is_cancelled() {
            break;
        }
        let outcome = match action {
            Action::Verify { probes } => tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                verdict = send(probes, prober) => Outcome::Probed(verdict),
            },
            write => match writer.apply(write).await {
                Ok(applied) => Outcome::Applied(applied),
                Err(error) => Outcome::Failed(error),
            },
        };
        outcomes.insert(local.clone(), outcome);
    }
    outcomes
}

/// Sends probes until one fails.
async fn send(probes: &[Probe], prober: &dyn Prober) -> Result<(), String> {
    for probe in probes {
        prober.probe(probe).await?;
    }
    Ok(())
}
