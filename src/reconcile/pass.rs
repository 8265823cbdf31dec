//! One pass over one environment: observe, plan, execute.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{self, FuturesUnordered};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::desired::Desired;
use super::unanswered::{Unanswered, Write};
use crate::claims::Claims;
use crate::guardrail::{Fleet, Member};
use crate::model::{ArtifactQuery, Bases, Environment, LocalRef, Outcome, PortError, State, TargetRef, TargetSpec};
use crate::plan::{self, Action, Input, Memory, Observed, Plan};
use crate::ports::{Apply, BaseQuery, Observe};

/// How many rollout histories of one account are read at once.
const HISTORIES_AT_ONCE: usize = 8;

/// How many writes of one environment are under way at once.
const WRITES_AT_ONCE: usize = 8;

/// How long a pass may start writes, and wait for their answers. Writes still waiting after that are left to the next pass,
/// which plans again from the then-current state.
const WRITE_FOR: Duration = Duration::from_secs(5);

/// Reads what one pass has to know. Writes nothing. Rollouts are read of targets that aren't settled, and of those that
/// `remember` names. `max_age`: how old what is known of revisions may be from which targets take their shape.
pub async fn observe(
    environment: &Environment,
    reader: &dyn Observe,
    memory: &Memory,
    remember: &BTreeSet<LocalRef>,
    max_age: Duration,
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
    for (local, query) in &queries {
        if let Some(artifact) = artifacts.get(query) {
            observed.artifacts.insert((*local).clone(), artifact.clone());
        }
    }
    let doubtful = plan::needs_second_look(environment, &observed);
    if !doubtful.is_empty() {
        let queries = doubtful.iter().filter_map(|local| Some((local, queries.get(local)?)));
        let queries: Vec<(&LocalRef, &ArtifactQuery)> = queries.collect();
        let found = reader.look_again(&queries.iter().map(|(_, query)| (*query).clone()).collect()).await;
        for (local, query) in queries {
            observed.artifacts.extend(found.get(query).map(|artifact| (local.clone(), artifact.clone())));
        }
    }
    observed.bases = bases(environment, reader, &observed, max_age).await;
    let mut unsettled = plan::needs_history(environment, &observed, memory, now);
    unsettled.extend(remember.iter().cloned());
    let alarms: BTreeSet<String> = unsettled
        .iter()
        .filter_map(|local| environment.targets.get(local))
        .flat_map(|target| target.rollout.alarms.iter().cloned())
        .collect();
    if !alarms.is_empty() {
        observed.alarms = Some(reader.alarms(&alarms).await);
    }
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

/// Of the targets whose shape comes from the newest revision, what is found of it.
async fn bases(
    environment: &Environment,
    reader: &dyn Observe,
    observed: &Observed,
    max_age: Duration,
) -> BTreeMap<LocalRef, Result<Bases, PortError>> {
    let queries = environment.targets.iter().filter_map(|(local, target)| {
        let rule = target.base.rule()?;
        let seen = observed.targets.get(local)?.as_ref().ok()?;
        let commit = &environment.pin_of(target)?.provenance.commit;
        Some(BaseQuery { target, rule, observed: seen, commit })
    });
    let queries: Vec<BaseQuery<'_>> = queries.collect();
    if queries.is_empty() { BTreeMap::new() } else { reader.bases(&queries, max_age).await }
}

/// Plans with what was read.
#[must_use]
pub fn decide(
    desired: &Desired,
    observed: &Observed,
    memory: &Memory,
    fleet: &Fleet,
    claims: &Claims,
    now: Timestamp,
) -> Plan {
    let guardrails = desired.guardrails.as_ref();
    plan::plan(Input { desired: &desired.environment, observed, memory, guardrails, fleet, claims, now })
}

/// Summarizes the planned targets for other environments' guardrails. A rollout that hasn't started yet counts as pending.
pub fn members<'a>(
    desired: &'a Desired,
    plan: &'a Plan,
    now: Timestamp,
) -> impl Iterator<Item = (TargetRef, Member)> + 'a {
    plan.targets.iter().filter_map(move |(local, planned)| {
        let target = desired.environment.targets.get(local)?;
        let pin = desired.environment.pin_of(target)?;
        let pass = plan::Pass { target, pin, seen: None, plan: planned, outcome: None, now };
        let known = plan::settle(pass, None);
        let mut member = Member::of(&known);
        if planned.state == State::RollingOut && planned.rollout.is_none() {
            member.state = State::Pending;
        }
        Some((known.target, member))
    })
}

/// Whether a write for a target that was planned with an earlier desired state is still what Git wants.
pub fn is_wanted(planned: &Desired, latest: &Desired, local: &LocalRef) -> bool {
    // A commit whose files are broken may yet suspend what an earlier one wants.
    if planned.revision == latest.revision && planned.suspensions == latest.suspensions {
        return true;
    }
    let (before, now) = (&planned.environment, &latest.environment);
    let Some((was, is)) = before.targets.get(local).zip(now.targets.get(local)) else { return false };
    was == is
        && before.account == now.account
        && before.promotion == now.promotion
        && before.pin_of(was) == now.pin_of(is)
        && before.held.get(&was.component) == now.held.get(&is.component)
        && before.shape_limit == now.shape_limit
        && planned.guardrails.text() == latest.guardrails.text()
}

/// What became of the writes of a pass.
#[derive(Debug, Default)]
pub(super) struct Executed {
    /// Of those that were answered.
    pub(super) outcomes: BTreeMap<LocalRef, Outcome>,
    /// Those that weren't when the pass was over.
    pub(super) left: Vec<(LocalRef, Write)>,
}

/// Carries out the writes of a plan side by side; what they contend for is written one after the other. Before each,
/// `wanted` says whether it is still to be made. Once `cancel` is set, finishes the writes in flight and starts nothing
/// more. A target whose write wasn't begun has no outcome; one for which an earlier pass has left one begins none.
pub(super) async fn execute(
    plan: &Plan,
    writer: &Arc<dyn Apply>,
    cancel: &CancellationToken,
    unanswered: &Unanswered,
    wanted: &(dyn Fn(&LocalRef) -> bool + Send + Sync),
) -> Executed {
    let mut lanes: Vec<(&str, Vec<(&LocalRef, &Action)>)> = Vec::new();
    let free = |(local, action): &(&LocalRef, &Action)| action.is_write() && !unanswered.keeps_back(local, action);
    for (local, action) in plan.actions().filter(free) {
        match lanes.iter_mut().find(|(contended, _)| *contended == action.contends_for()) {
            Some((_, lane)) => lane.push((local, action)),
            None => lanes.push((action.contends_for(), vec![(local, action)])),
        }
    }
    let gate =
        Gate { writer, cancel, wanted, slots: Semaphore::new(WRITES_AT_ONCE), closes: Instant::now() + WRITE_FOR };
    let mut running = FuturesUnordered::new();
    for (_, lane) in lanes {
        running.push(gate.write(lane));
    }
    let mut executed = Executed::default();
    while let Some(lane) = running.next().await {
        executed.outcomes.extend(lane.outcomes);
        executed.left.extend(lane.left);
    }
    executed
}

/// The limits that all writes of a pass share.
struct Gate<'a> {
    writer: &'a Arc<dyn Apply>,
    cancel: &'a CancellationToken,
    wanted: &'a (dyn Fn(&LocalRef) -> bool + Send + Sync),
    slots: Semaphore,
    closes: Instant,
}

impl Gate<'_> {
    /// Runs the writes of one lane in sequence.
    async fn write(&self, lane: Vec<(&LocalRef, &Action)>) -> Executed {
        let mut executed = Executed::default();
        for (local, action) in lane {
            // Wait for the rate limit first, so that a waiting write doesn't occupy a slot.
            let ready = async {
                self.writer.turn(action).await;
                self.slots.acquire().await
            };
            let slot = tokio::select! {
                biased;
                () = self.cancel.cancelled() => break,
                () = sleep_until(self.closes) => break,
                slot = ready => slot,
            };
            if !(self.wanted)(local) {
                continue;
            }
            let mut write = Write::begin(self.writer, action);
            let outcome = tokio::select! {
                biased;
                outcome = write.answer() => outcome,
                () = self.is_over() => {
                    executed.left.push((local.clone(), write));
                    break;
                }
            };
            drop(slot);
            executed.outcomes.insert(local.clone(), outcome);
        }
        executed
    }

    /// Waits until the pass waits for no answer any more. One that is stopped waits for all.
    async fn is_over(&self) {
        sleep_until(self.closes).await;
        if self.cancel.is_cancelled() {
            std::future::pending::<()>().await;
        }
    }
}
