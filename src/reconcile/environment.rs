//! One environment: its passes, never two at once, and what it remembers between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::Shared;
use super::backoff::Backoff;
use super::desired::Desired;
use super::pass;
use super::probing::Probing;
use super::unanswered::{Meant, Unanswered};
use crate::clock::entropy;
use crate::events;
use crate::guardrail::{Denial, Member};
use crate::model::{
    Environment, EnvironmentName, ErrorClass, LocalRef, Outcome, PortError, Refusal, ResolveError, State, Target,
    TargetState,
};
use crate::plan::{self, Action, Converged, Made, Memory, Observed, Pass, Plan, Reason, Rollback, TargetPlan};

/// After this long a pass no longer counts against how many may be under way: accounts that hang or are throttled must
/// not hold up the others, however many they are.
const HOGGING: Duration = Duration::from_secs(10);

/// Runs passes until stopped.
pub(super) async fn run(
    name: EnvironmentName,
    mut desired: watch::Receiver<Arc<Desired>>,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    let backoff = Backoff::new(shared.pace.backoff_first, shared.pace.backoff_longest, entropy());
    let mut polled = shared.resyncs.polled();
    let mut resynced = 0;
    let mut reconciler = Reconciler {
        name: name.clone(),
        shared: Arc::clone(&shared),
        stop: stop.clone(),
        backoff,
        memory: Memory::default(),
        probing: Probing::new(Arc::clone(&shared.prober)),
        unanswered: Unanswered::default(),
        late: BTreeMap::new(),
        states: shared.status_store.take_before(&name),
    };
    let mut next = Instant::now();
    let mut passes = 0_u64;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep_until(next) => {}
            changed = desired.changed() => if changed.is_err() { break },
            changed = polled.changed() => if changed.is_err() { break },
            (local, meant, outcome) = reconciler.unanswered.next() => reconciler.answered(&local, &meant, outcome),
        }
        let permit = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            permit = shared.passes.acquire() => permit,
        };
        let Ok(permit) = permit else { break };
        // Only now, as the turn may have been long in coming. The number first: what was polled for it has been handed on.
        let number = *polled.borrow_and_update();
        let wanted = Arc::clone(&desired.borrow_and_update());
        passes += 1;
        let wait = {
            let span = tracing::info_span!("pass", environment = %name, pass = passes);
            let turn = reconciler.reconcile_once(&wanted, &desired, number > resynced).instrument(span);
            tokio::pin!(turn);
            tokio::select! {
                biased;
                wait = &mut turn => wait,
                () = tokio::time::sleep(HOGGING) => {
                    // It waits for somebody, and needs nothing of this machine that others could go short of.
                    drop(permit);
                    turn.await
                }
            }
        };
        let Some(wait) = wait else { break };
        resynced = number;
        shared.resyncs.environment_done(&name, number);
        shared.status_store.resync(&shared.resyncs);
        next = Instant::now() + wait;
    }
    // The next one must not write beside them.
    while !reconciler.unanswered.is_empty() {
        let (local, meant, outcome) = reconciler.unanswered.next().await;
        reconciler.answered(&local, &meant, outcome);
    }
}

struct Reconciler {
    name: EnvironmentName,
    shared: Arc<Shared>,
    stop: CancellationToken,
    backoff: Backoff,
    memory: Memory,
    probing: Probing,
    unanswered: Unanswered,
    /// What became of writes that were answered after their pass, until the next one.
    late: BTreeMap<LocalRef, Outcome>,
    states: BTreeMap<LocalRef, TargetState>,
}

impl Reconciler {
    /// One pass, with what Git wants at its beginning; `latest` is what it wants by now. Says how long to wait until the
    /// next; `None` if it was stopped.
    async fn reconcile_once(
        &mut self,
        desired: &Desired,
        latest: &watch::Receiver<Arc<Desired>>,
        fresh: bool,
    ) -> Option<Duration> {
        let environment = &desired.environment;
        let started = Instant::now();
        for local in self.memory.keep(environment) {
            self.states.remove(&local);
        }
        let reader = self.shared.accounts.reader(&self.name, &environment.account);
        let retry = fresh.then(|| self.shared.resyncs.retry_asked(&self.name)).flatten();
        if fresh {
            reader.forget();
            self.memory.refused.clear();
        }
        if retry.is_some() {
            self.retry(environment);
        }
        while let Some((local, meant, outcome)) = self.unanswered.next().now_or_never() {
            self.answered(&local, &meant, outcome);
        }
        let asked = self.shared.clock.now();
        self.probing.take_in(&mut self.memory);
        let (remember, base) = (self.forgotten(desired), self.shared.pace.base);
        let mut observed = tokio::select! {
            biased;
            () = self.stop.cancelled() => return None,
            observed = pass::observe(environment, reader.as_ref(), &self.memory, &remember, base, asked) => observed,
        };
        observed.unasked = self.unasked(environment);
        let now = planning_time(environment, asked, self.shared.clock.now());
        self.memory.forgive(environment, &observed, now);
        // Not before: a pass that is stopped while it reads leaves the request to the next one.
        if let Some(number) = retry {
            self.shared.resyncs.retry_honored(&self.name, number);
        }
        let plan = self.decide(desired, &observed, now);
        let writer = self.shared.accounts.writer(&self.name, &environment.account);
        self.probing.send(environment, &plan, now);
        let wanted = |local: &LocalRef| pass::is_wanted(desired, &latest.borrow(), local);
        let executed = pass::execute(&plan, &writer, &self.stop, &self.unanswered, &wanted).await;
        let mut outcomes = executed.outcomes;
        self.started(environment, &observed, &plan, &outcomes);
        for (local, write) in executed.left {
            // AWS may have heard it.
            self.memory.wrote(environment, &observed, &local, &write.action, self.shared.clock.now());
            let pin = environment.targets.get(&local).and_then(|target| environment.pin_of(target));
            let meant = Meant::of(write.action.clone(), pin, plan.targets.get(&local));
            self.unanswered.leave(local, meant, write);
        }
        self.written(&plan, &outcomes);
        self.remember(environment, &plan, &outcomes);
        self.tell(desired, &plan, &outcomes, now);

        for (local, outcome) in std::mem::take(&mut self.late) {
            outcomes.entry(local).or_insert(outcome);
        }
        let failure = failure(environment, &observed, &outcomes);
        self.shared.metrics.pass_ended(&self.name, failure.is_none(), started.elapsed());
        let targets = self.states.iter().map(|(local, state)| (local.to_string(), state.clone()));
        let held = desired.change_limit.clone().or_else(|| plan.held_shapes.clone());
        self.shared.status_store.passed(&self.name, failure.as_ref().map(ToString::to_string), held, now, targets);
        let shut = matches!(observed.identity, Some(Err(_))) || failure.as_ref().is_some_and(|error| error.throttled);
        (!self.stop.is_cancelled()).then(|| self.wait(&plan, &outcomes, failure.as_ref(), shut))
    }

    /// Plans, and lets all other environments know what is about to start before any of them plans: a limit on rollouts
    /// at once holds across accounts.
    fn decide(&self, desired: &Desired, observed: &Observed, now: Timestamp) -> Plan {
        let mut claims = self.shared.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fleet = self.shared.fleet.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = pass::decide(desired, observed, &self.memory, &fleet, &claims, now);
        for (local, _) in plan.actions().filter(|(_, action)| action.is_write()) {
            if let Some(target) = desired.environment.targets.get(local) {
                claims.begin(target.spec.resource(&desired.environment.account), target.reference.clone());
            }
        }
        for (local, planned) in &plan.targets {
            let target = desired.environment.targets.get(local);
            if let Some((target, pin)) = target.and_then(|target| Some((target, desired.environment.pin_of(target)?)))
                && planned.state != State::Unknown
                && !self.stop.is_cancelled()
            {
                fleet.note(&target.reference, Member::pinned(pin, planned.state));
            }
        }
        plan
    }

    /// The targets of which this process doesn't know since when they are in sync, though guardrails may ask; and those
    /// with a rollout whose end an earlier process didn't live to see.
    fn forgotten(&self, desired: &Desired) -> BTreeSet<LocalRef> {
        let known = |local: &LocalRef| self.states.get(local).is_some_and(|state| state.observed.is_some());
        let asked = |target: &Target| desired.soaks || self.shared.events.has_unfinished(&target.reference);
        let targets = desired.environment.targets.iter().filter(|(local, target)| !known(local) && asked(target));
        targets.map(|(local, _)| local.clone()).collect()
    }

    /// The targets with probes that would never be sent, each with the reason.
    fn unasked(&self, environment: &Environment) -> BTreeMap<LocalRef, String> {
        let refusal = |target: &Target| target.verify.iter().find_map(|probe| self.shared.prober.refuses(probe));
        let targets = environment.targets.iter();
        targets.filter_map(|(local, target)| Some((local.clone(), refusal(target)?))).collect()
    }

    /// Honors an operator's request to retry what is quarantined.
    fn retry(&mut self, environment: &Environment) {
        let quarantined = self.states.iter().filter(|(_, state)| state.known() == State::Quarantined);
        let known = quarantined.filter_map(|(local, state)| Some((local.clone(), state.rollout.as_ref()?.id.clone())));
        self.memory.retry(environment, known.collect(), self.shared.clock.now());
    }

    /// The writes are over, but for those that AWS hasn't answered: what has passed to another target since is free for it.
    fn written(&self, plan: &Plan, outcomes: &BTreeMap<LocalRef, Outcome>) {
        let marked = plan
            .actions()
            .filter(|(local, action)| outcomes.get(*local).is_some_and(|outcome| has_marked(action, outcome)))
            .map(|(local, _)| local.within(&self.name))
            .collect();
        let go_on = self.unanswered.targets().map(|local| local.within(&self.name)).collect();
        let mut claims = self.shared.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.end(&self.name, &marked, &go_on, self.shared.clock.now());
    }

    /// Remembers the rollouts that were asked for, also where nobody knows whether AWS has heard it.
    fn started(
        &mut self,
        environment: &Environment,
        observed: &Observed,
        plan: &Plan,
        outcomes: &BTreeMap<LocalRef, Outcome>,
    ) {
        // What was written is at least as old as this.
        let at = self.shared.clock.now();
        for (local, action) in plan.actions() {
            let Some(outcome) = outcomes.get(local) else { continue };
            if was_heard(action, outcome) {
                self.memory.wrote(environment, observed, local, action, at);
            }
            self.memory.answered(local, action, outcome.error(), at);
        }
    }

    /// A write was answered after its pass.
    fn answered(&mut self, local: &LocalRef, meant: &Meant, outcome: Outcome) {
        let now = self.shared.clock.now();
        if !was_heard(&meant.action, &outcome) {
            self.memory.not_written(local, &meant.action);
        }
        self.memory.answered(local, &meant.action, outcome.error(), now);
        self.remember_made(local, &meant.action, &outcome);
        let marked = has_marked(&meant.action, &outcome);
        let mut claims = self.shared.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.answered(&local.within(&self.name), marked, now);
        drop(claims);
        if let Some(before) = self.states.remove(local) {
            let after = plan::answered(&before, &meant.action, meant.started(now).as_ref(), &outcome);
            for event in events::of_answer(&before, &after, (&meant.action, &outcome), now) {
                self.shared.events.take(&event);
            }
            self.states.insert(local.clone(), after);
        }
        self.late.insert(local.clone(), outcome);
    }

    /// Remembers the revision that was registered, until it is listed.
    fn remember_made(&mut self, local: &LocalRef, action: &Action, outcome: &Outcome) {
        match (outcome, action) {
            (
                Outcome::Applied(applied),
                Action::RegisterTaskDefinition { marker, .. } | Action::CopyTaskDefinition { marker, .. },
            ) => {
                let image = match action {
                    Action::RegisterTaskDefinition { image, .. } => Some(image.clone()),
                    _ => None,
                };
                if let Some(arn) = applied.id.clone() {
                    self.memory.made.insert(local.clone(), Made { marker: marker.clone(), image, arn });
                }
            }
            (Outcome::Failed(error), _) if error.class == ErrorClass::Invalid => drop(self.memory.made.remove(local)),
            _ => {}
        }
    }

    fn remember(&mut self, environment: &Environment, plan: &Plan, outcomes: &BTreeMap<LocalRef, Outcome>) {
        self.memory.note(environment, plan);
        for (local, target) in &environment.targets {
            let (Some(plan), Some(pin)) = (plan.targets.get(local), environment.pin_of(target)) else { continue };
            let commit = &pin.provenance.commit;
            if plan.state == State::InSync {
                let artifact = plan.artifact.as_ref().map(|artifact| artifact.identity().to_owned());
                let (commit, version) = (commit.clone(), pin.version.clone());
                let sought = target.spec.sought();
                let (artifact, base) = (artifact.unwrap_or_default(), plan.base.clone());
                let converged = Converged { commit, version, artifact, sought, base };
                self.memory.converged.insert(local.clone(), converged);
                self.memory.drifted.remove(local);
            } else if plan.drifted {
                self.memory.drifted.insert(local.clone());
            }
            if let (Some(outcome), Some(action)) = (outcomes.get(local), &plan.action) {
                self.remember_made(local, action, outcome);
            }
        }
    }

    /// Makes the new states, and tells what has changed.
    fn tell(&mut self, desired: &Desired, planned: &Plan, outcomes: &BTreeMap<LocalRef, Outcome>, now: Timestamp) {
        let environment = &desired.environment;
        let mut states = BTreeMap::new();
        for (local, target) in &environment.targets {
            let Some(planned) = planned.targets.get(local) else { continue };
            let unknown;
            let pin = match environment.pin_of(target) {
                Some(pin) => pin,
                None => match plan::unknown_pin(target, now) {
                    Some(pin) => {
                        unknown = pin;
                        &unknown
                    }
                    None => continue,
                },
            };
            let (outcome, before) = (outcomes.get(local), self.states.get(local));
            let pass = Pass { target, pin, seen: desired.seen, plan: planned, outcome, now };
            let after = plan::settle(pass, before);
            for event in events::of_target(before, &after, planned.action.as_ref().zip(outcome), now) {
                self.shared.events.take(&event);
            }
            states.insert(local.clone(), after);
        }
        self.states = states;
        let mut fleet = self.shared.fleet.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was stopped has been taken out, and isn't to come back.
        if !self.stop.is_cancelled() {
            fleet.set(&self.name, self.states.values().map(|state| (state.target.clone(), Member::of(state))));
        }
    }

    /// How long until the next pass. `shut` if the account as a whole wants to be left in peace.
    fn wait(
        &mut self,
        plan: &Plan,
        outcomes: &BTreeMap<LocalRef, Outcome>,
        failure: Option<&PortError>,
        shut: bool,
    ) -> Duration {
        let pace = self.shared.pace;
        if failure.is_some_and(|error| matches!(error.class, ErrorClass::Retry)) {
            // One thing that can't be read, such as a registry, doesn't keep the rest waiting for longer than usual.
            let wait = self.backoff.wait();
            return if shut { wait } else { wait.min(pace.steady) };
        }
        self.backoff.reset();
        let wrote = outcomes.values().any(|outcome| matches!(outcome, Outcome::Applied(_)));
        // By the states that came out of it: a write that was refused moves nothing. A target that waits for another
        // one has nothing to hurry for by itself.
        let moving = |state: &TargetState| matches!(state.state, State::RollingOut | State::Verifying | State::Overdue);
        let foreign = |plan: &TargetPlan| match &plan.reason {
            Some(Reason::ForeignRollout { .. }) => true,
            Some(Reason::Claimed(refusal)) => {
                matches!(refusal, Refusal::Passing(_) | Refusal::Early { .. } | Refusal::GivenUp)
            }
            Some(Reason::Rollback { .. }) => true,
            Some(Reason::RolloutFailed { back, .. } | Reason::ShapeFailed { back, .. }) => {
                matches!(back, Some(Rollback::Running { .. }))
            }
            Some(Reason::Guardrail(denials)) => denials.iter().all(Denial::is_brief),
            _ => false,
        };
        if wrote {
            pace.after_write
        } else if self.states.values().any(moving) || plan.targets.values().any(foreign) {
            pace.in_flight
        } else {
            pace.steady
        }
    }
}

/// Whether a write has made a revision, or may have, on which a marker names its target.
fn has_marked(action: &Action, outcome: &Outcome) -> bool {
    action.marker().is_some() && outcome.error().is_none_or(PortError::is_unsure)
}

/// Whether AWS has heard a write, or may have heard it: an error before the write itself, say of the role, is none of it.
fn was_heard(action: &Action, outcome: &Outcome) -> bool {
    outcome.error().is_none_or(|error| error.is_unsure() && error.operation == action.operation())
}

/// The time to plan with: after reading, as reading takes its time. But what was left unread because it was suspended
/// stays so for this pass, though the suspension may have ended meanwhile: without its history nothing can be decided.
fn planning_time(environment: &Environment, asked: Timestamp, now: Timestamp) -> Timestamp {
    let ended = |target: &Target| target.suspend.as_ref().is_some_and(|it| asked < it.until && it.until <= now);
    if environment.targets.values().any(ended) { asked } else { now }
}

/// The failure that the pass as a whole reports: the worst for the account, not for one target's own doing.
fn failure(
    environment: &Environment,
    observed: &Observed,
    outcomes: &BTreeMap<LocalRef, Outcome>,
) -> Option<PortError> {
    match &observed.identity {
        Some(Err(error)) => return Some(error.clone()),
        Some(Ok(caller)) if *caller != environment.account.id => {
            return Some(PortError {
                class: ErrorClass::Denied,
                service: "sts",
                operation: "GetCallerIdentity",
                code: "WrongAccount".to_owned(),
                message: format!(
                    "the credentials of role {} belong to account {caller}, the environment to {}; nothing was read or \
                     written; correct `account.role` or `account.id` in environment.toml",
                    environment.account.role, environment.account.id
                ),
                request_id: None,
                throttled: false,
            });
        }
        Some(Ok(_)) | None => {}
    }
    let reads = observed.targets.values().filter_map(|read| read.as_ref().err());
    let histories = observed.histories.values().filter_map(|read| read.as_ref().err());
    let artifacts = observed.artifacts.values().filter_map(|read| match read {
        Err(ResolveError::Call(error)) => Some(error),
        _ => None,
    });
    let writes = outcomes.values().filter_map(Outcome::error);
    let all: Vec<&PortError> = reads
        .chain(histories)
        .chain(artifacts)
        .chain(writes)
        .filter(|error| error.class != ErrorClass::Conflict)
        .collect();
    all.iter().find(|error| error.class == ErrorClass::Retry).or_else(|| all.first()).map(|error| (*error).clone())
}
