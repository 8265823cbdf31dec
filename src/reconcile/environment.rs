//! One environment: its passes, never two at once, and what it remembers between them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::backoff::Backoff;
use super::desired::Desired;
use super::pass::{self, Outcome};
use super::story::Telling;
use super::target;
use crate::clock::entropy;
use crate::model::status::TargetStatus;
use crate::model::{CommitId, EnvironmentName, LocalRef, State};
use crate::plan::{Memory, Observed, Plan, ProbeRecord, Reason};
use crate::ports::{ErrorClass, PortError, ResolveError};

/// Runs passes until stopped. Gives back its name.
pub(super) async fn run(
    name: EnvironmentName,
    mut desired: watch::Receiver<Arc<Desired>>,
    shared: Arc<Shared>,
    stop: CancellationToken,
) -> EnvironmentName {
    let backoff = Backoff::new(shared.pace.backoff_first, shared.pace.backoff_longest, entropy());
    let mut polled = shared.resyncs.polled();
    let mut resynced = 0;
    let mut keeper = Keeper {
        name: name.clone(),
        shared,
        stop: stop.clone(),
        backoff,
        memory: Memory::default(),
        statuses: BTreeMap::new(),
        seen: BTreeMap::new(),
    };
    let mut next = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return name,
            () = tokio::time::sleep_until(next) => {}
            changed = desired.changed() => if changed.is_err() { return name },
            changed = polled.changed() => if changed.is_err() { return name },
        }
        let number = *polled.borrow_and_update();
        let wanted = Arc::clone(&desired.borrow_and_update());
        let fresh = number > resynced;
        let wait = keeper.turn(&wanted, fresh).await;
        if stop.is_cancelled() {
            return name;
        }
        resynced = number;
        keeper.shared.resyncs.environment_done(&name, number);
        keeper.shared.board.resync(&keeper.shared.resyncs);
        next = Instant::now() + wait;
    }
}

struct Keeper {
    name: EnvironmentName,
    shared: Arc<Shared>,
    stop: CancellationToken,
    backoff: Backoff,
    memory: Memory,
    statuses: BTreeMap<LocalRef, TargetStatus>,
    /// When each target's pin was seen to arrive, while it isn't in sync yet.
    seen: BTreeMap<LocalRef, (CommitId, Timestamp)>,
}

impl Keeper {
    /// One pass. Says how long to wait until the next.
    async fn turn(&mut self, desired: &Desired, fresh: bool) -> Duration {
        let shared = Arc::clone(&self.shared);
        let Ok(_permit) = shared.passes.acquire().await else { return self.shared.pace.steady };
        let environment = &desired.environment;
        let started = Instant::now();
        let reader = self.shared.accounts.reader(&self.name, &environment.account);
        if fresh {
            reader.forget();
            self.heed_retry();
        }
        let observed = tokio::select! {
            () = self.stop.cancelled() => return Duration::ZERO,
            observed = pass::observe(environment, reader.as_ref(), self.shared.clock.now()) => observed,
        };
        let now = self.shared.clock.now();
        let plan = pass::decide(desired, &observed, &self.memory, now);
        let writer = self.shared.accounts.writer(&self.name, &environment.account);
        let outcomes = pass::execute(&plan, writer.as_ref(), self.shared.prober.as_ref(), &self.stop).await;
        self.remember(desired, &plan, &outcomes, now);
        self.tell(desired, &plan, &outcomes, now);

        let failure = failure(&observed, &outcomes);
        self.shared.metrics.pass_ended(&self.name, failure.is_none(), started.elapsed());
        let targets = self.statuses.iter().map(|(local, status)| (local.to_string(), status.clone()));
        self.shared.board.passed(&self.name, failure.as_ref().map(ToString::to_string), now, targets);
        self.wait(&plan, &outcomes, failure.as_ref())
    }

    /// An operator has asked to retry what is quarantined.
    fn heed_retry(&mut self) {
        let asked = self.shared.resyncs.current().retry.map(|(_, at)| at);
        if asked > self.memory.retry_since {
            self.memory.retry_since = asked;
            self.memory.probes.retain(|_, record| record.failure.is_none());
        }
    }

    fn remember(&mut self, desired: &Desired, plan: &Plan, outcomes: &BTreeMap<LocalRef, Outcome>, now: Timestamp) {
        let environment = &desired.environment;
        self.memory.converged.retain(|local, _| environment.targets.contains_key(local));
        self.memory.probes.retain(|local, _| environment.targets.contains_key(local));
        for (local, target) in &environment.targets {
            let (Some(plan), Some(pin)) = (plan.targets.get(local), environment.pin_of(target)) else { continue };
            let commit = &pin.provenance.commit;
            if plan.state == State::InSync {
                self.memory.converged.insert(local.clone(), commit.clone());
            }
            if let (Some(Outcome::Probed(verdict)), Some(artifact)) = (outcomes.get(local), &plan.artifact) {
                let artifact = artifact.identity().to_owned();
                let before = self.memory.probes.get(local);
                let same = before.filter(|record| record.commit == *commit && record.artifact == artifact);
                let record = ProbeRecord {
                    commit: commit.clone(),
                    artifact,
                    first: same.map_or(now, |record| record.first),
                    failure: verdict.clone().err(),
                };
                self.memory.probes.insert(local.clone(), record);
            }
        }
    }

    /// Makes the new statuses, and tells what changed.
    fn tell(&mut self, desired: &Desired, plan: &Plan, outcomes: &BTreeMap<LocalRef, Outcome>, now: Timestamp) {
        let environment = &desired.environment;
        let mut statuses = BTreeMap::new();
        for (local, target) in &environment.targets {
            let (Some(plan), Some(pin)) = (plan.targets.get(local), environment.pin_of(target)) else { continue };
            let (outcome, before) = (outcomes.get(local), self.statuses.get(local).cloned());
            let before = before.as_ref();
            let after = target::status(target, pin, plan, outcome, before, now);
            let seen = self.arrival(local, desired, &after);
            Telling { target, seen, plan, outcome, before, after: &after, now }.tell(&self.shared.metrics);
            statuses.insert(local.clone(), after);
        }
        self.statuses = statuses;
    }

    /// When this target's pin arrived, if this process saw it and the target hasn't been in sync with it before.
    fn arrival(&mut self, local: &LocalRef, desired: &Desired, after: &TargetStatus) -> Option<Timestamp> {
        let commit = CommitId::try_from(after.pin.commit.as_str()).ok()?;
        let changed = self.statuses.get(local).is_some_and(|before| before.pin.commit != after.pin.commit);
        if let Some(at) = desired.seen.filter(|_| changed) {
            self.seen.insert(local.clone(), (commit.clone(), at));
        }
        let (of, at) = self.seen.get(local)?.clone();
        if of != commit || after.state == State::InSync {
            self.seen.remove(local);
        }
        (of == commit).then_some(at)
    }

    fn wait(&mut self, plan: &Plan, outcomes: &BTreeMap<LocalRef, Outcome>, failure: Option<&PortError>) -> Duration {
        let pace = self.shared.pace;
        if failure.is_some_and(|error| matches!(error.class, ErrorClass::Retry)) {
            return self.backoff.wait();
        }
        self.backoff.reset();
        let wrote = outcomes.values().any(|outcome| matches!(outcome, Outcome::Applied(_)));
        let moving = |state: State| matches!(state, State::RollingOut | State::Verifying | State::Overdue);
        let foreign =
            |reason: Option<&Reason>| matches!(reason, Some(Reason::ForeignRollout { .. } | Reason::After { .. }));
        if wrote {
            pace.after_write
        } else if plan.targets.values().any(|plan| moving(plan.state) || foreign(plan.reason.as_ref())) {
            pace.in_flight
        } else {
            pace.steady
        }
    }
}

/// The failure that the pass as a whole reports: the worst for the account, not for one target's own doing.
fn failure(observed: &Observed, outcomes: &BTreeMap<LocalRef, Outcome>) -> Option<PortError> {
    if let Some(Err(error)) = &observed.identity {
        return Some(error.clone());
    }
    let reads = observed.targets.values().filter_map(|read| read.as_ref().err());
    let histories = observed.histories.values().filter_map(|read| read.as_ref().err());
    let artifacts = observed.artifacts.values().filter_map(|read| match read {
        Err(ResolveError::Call(error)) => Some(error),
        _ => None,
    });
    let writes = outcomes.values().filter_map(|outcome| match outcome {
        Outcome::Failed(error) => Some(error),
        _ => None,
    });
    let all: Vec<&PortError> = reads
        .chain(histories)
        .chain(artifacts)
        .chain(writes)
        .filter(|error| error.class != ErrorClass::Conflict)
        .collect();
    all.iter().find(|error| error.class == ErrorClass::Retry).or_else(|| all.first()).map(|error| (*error).clone())
}
