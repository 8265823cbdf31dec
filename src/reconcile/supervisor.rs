//! The environments' tasks: who feeds each, what starts and what stops with a new revision.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::crew::Crew;
use super::desired::{Desired, Origin, SourceNews};
use super::{Branch, Shared, environment};
use crate::claims::BranchClaims;
use crate::guardrail;
use crate::model::EnvironmentName;

/// The environments' tasks.
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    members: BTreeMap<EnvironmentName, EnvironmentTask>,
    /// What other branches want of an environment that is fed already: they take over when it is gone from there.
    offers: BTreeMap<EnvironmentName, BTreeMap<Origin, Arc<Desired>>>,
    /// Environments that were never good, so that nothing runs for them, and who says that they are there.
    stillborn: BTreeMap<EnvironmentName, Origin>,
    /// The ends of stopped tasks that still have a call in flight.
    leaving: BTreeMap<EnvironmentName, CancellationToken>,
    /// The sources that haven't been polled yet, each with what its branches may feed: what comes before in the
    /// configuration counts, however long its first answer takes.
    unpolled: BTreeMap<usize, Vec<Branch>>,
    crew: Crew,
}

struct EnvironmentTask {
    origin: Origin,
    desired: watch::Sender<Arc<Desired>>,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Supervisor {
    pub(super) fn new(shared: Arc<Shared>, unpolled: BTreeMap<usize, Vec<Branch>>) -> Self {
        Self {
            shared,
            members: BTreeMap::new(),
            offers: BTreeMap::new(),
            stillborn: BTreeMap::new(),
            leaving: BTreeMap::new(),
            unpolled,
            crew: Crew::default(),
        }
    }

    /// Waits until a task ends that shouldn't have, and says which and how. `None` once no task is left.
    pub(super) async fn failed(&mut self) -> Option<String> {
        loop {
            let (name, ended) = self.crew.ended().await?;
            self.leaving.retain(|_, ended| !ended.is_cancelled());
            // A task that was told to stop has been taken out of the members.
            let mut members = self.members.iter();
            let fell = members.any(|(member, task)| member.as_str() == name && task.ended.is_cancelled());
            match ended {
                Ok(()) if !fell || self.shared.shutdown.is_cancelled() => {}
                Ok(()) => return Some(format!("the task of environment {name} has ended: it returned")),
                Err(error) => return Some(format!("the task of environment {name} has ended: {error}")),
            }
        }
    }

    /// Takes what a poller read: gives each environment its desired state, starts what is new, stops what is gone.
    pub(super) fn take(&mut self, news: SourceNews) {
        let SourceNews { origin, environments, broken, whole, claims } = news;
        if let Some(errors) = whole {
            // Nothing could be read at all. What runs keeps its last good desired state.
            for (name, _) in self.members.iter().filter(|(_, member)| member.origin == origin) {
                self.shared.status_store.invalid(name, &errors);
            }
            // Nor has any commit before it an environment, as far as was looked: no other branch has to wait for it.
            self.recall(origin.place, claims);
            return;
        }
        // Before anybody plans with what is new: what has passed to another target isn't touched by the former one.
        self.shared.claims.lock().unwrap_or_else(PoisonError::into_inner).read(origin.place, claims);
        self.stillborn.retain(|name, from| {
            let stays = *from != origin || broken.contains_key(name);
            if !stays && !self.members.contains_key(name) && !environments.contains_key(name) {
                self.shared.status_store.remove(name);
            }
            stays
        });
        let is_gone = |name: &EnvironmentName| !environments.contains_key(name) && !broken.contains_key(name);
        for (name, offers) in &mut self.offers {
            if is_gone(name) {
                offers.remove(&origin);
            }
        }
        let fed_from_here = self.members.iter().filter(|(_, member)| member.origin == origin);
        let gone: Vec<EnvironmentName> =
            fed_from_here.map(|(name, _)| name).filter(|name| is_gone(name)).cloned().collect();
        for name in gone {
            self.leave(&name);
        }
        // All of them before the first may plan: guardrails that count mustn't overlook the others.
        let now = self.shared.clock.now();
        for (name, desired) in &environments {
            self.known().expect(name, desired.environment.targets.values(), now);
        }
        for (name, desired) in environments {
            self.give(name, &origin, desired);
        }
        for (name, errors) in &broken {
            if self.members.get(name).is_some_and(|member| member.origin != origin) {
                continue;
            }
            let known = self.members.contains_key(name);
            let consequence =
                if known { "its last good desired state stays" } else { "no good desired state of it is known" };
            tracing::warn!(environment = %name, errors = errors.len(), first = errors.first().map(String::as_str),
                "environment is broken; {consequence}");
            self.shared.status_store.invalid(name, errors);
            if !self.members.contains_key(name) {
                self.stillborn.insert(name.clone(), origin.clone());
            }
        }
        self.offers.retain(|_, offers| !offers.is_empty());
        for (name, member) in &self.members {
            let Origin { source, branch, .. } = &member.origin;
            let url = self.shared.urls.get(*source).map(String::as_str).unwrap_or_default();
            self.shared.status_store.fed(name, url, branch);
        }
        self.shared.resyncs.settle();
    }

    /// A branch can't be read, and claimed this when it was last fetched.
    pub(super) fn recall(&self, place: usize, claims: BranchClaims) {
        self.shared.claims.lock().unwrap_or_else(PoisonError::into_inner).recall(place, claims);
    }

    /// A source has been polled for the first time. Says whether that was the last one.
    pub(super) fn polled(&mut self, source: usize) -> bool {
        if self.unpolled.remove(&source).is_none() {
            return false;
        }
        let waiting: Vec<EnvironmentName> =
            self.offers.keys().filter(|name| !self.members.contains_key(*name)).cloned().collect();
        for name in waiting {
            for (origin, desired) in self.offers.remove(&name).unwrap_or_default() {
                self.give(name.clone(), &origin, desired);
            }
        }
        self.offers.retain(|_, offers| !offers.is_empty());
        self.shared.resyncs.settle();
        self.unpolled.is_empty()
    }

    /// Whether a branch that comes before may yet turn out to feed this environment.
    fn is_early(&self, name: &EnvironmentName, origin: &Origin) -> bool {
        let mut branches = self.unpolled.values().flatten();
        branches.any(|branch| branch.place < origin.place && branch.coverage.covers(name))
    }

    /// The environment is gone from the branch that fed it: another one takes over, or nobody looks after it any more.
    fn leave(&mut self, name: &EnvironmentName) {
        let heir = self.offers.get_mut(name).and_then(BTreeMap::pop_first);
        if let (Some((origin, desired)), Some(member)) = (heir, self.members.get_mut(name)) {
            tracing::warn!(environment = %name, branch = origin.branch,
                "environment is gone from the branch that fed it; the other branch that has it feeds it now");
            self.shared.status_store.valid(name, &desired);
            member.origin = origin;
            member.desired.send_replace(desired);
            return;
        }
        tracing::warn!(environment = %name, "environment is gone from the repository; it is left as it is");
        if let Some(member) = self.members.remove(name) {
            member.stop.cancel();
            self.leaving.insert(name.clone(), member.ended);
        }
        self.shared.resyncs.forget_environment(name);
        self.shared.status_store.remove(name);
        self.known().forget(name);
    }

    /// What guardrails may ask about all targets.
    fn known(&self) -> MutexGuard<'_, guardrail::Fleet> {
        self.shared.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&mut self, name: EnvironmentName, origin: &Origin, desired: Arc<Desired>) {
        match self.members.get(&name) {
            Some(member) if member.origin == *origin => {
                self.shared.status_store.valid(&name, &desired);
                member.desired.send_if_modified(|known| {
                    let is_new = !Arc::ptr_eq(known, &desired);
                    *known = desired;
                    is_new
                });
            }
            Some(member) => {
                let first = member.origin.clone().min(origin.clone());
                let (second, other) = if first == *origin {
                    self.shared.status_store.valid(&name, &desired);
                    match self.members.get_mut(&name) {
                        Some(member) => {
                            (std::mem::replace(&mut member.origin, first), member.desired.send_replace(desired))
                        }
                        None => return,
                    }
                } else {
                    (origin.clone(), desired)
                };
                let offers = self.offers.entry(name.clone()).or_default();
                if offers.insert(second.clone(), other).is_none() {
                    tracing::error!(environment = %name, branch = second.branch,
                        "two repositories or branches feed this environment; the first one counts; name it under \
                         `environments` of only one of them in pinion.toml");
                }
            }
            None if self.is_early(&name, origin) => {
                self.offers.entry(name).or_default().insert(origin.clone(), desired);
            }
            None => self.start(name, origin, desired),
        }
    }

    fn start(&mut self, name: EnvironmentName, origin: &Origin, desired: Arc<Desired>) {
        self.shared.status_store.valid(&name, &desired);
        self.shared.resyncs.expect_environment(&name);
        let (sender, receiver) = watch::channel(desired);
        let (stop, ended) = (self.shared.shutdown.child_token(), CancellationToken::new());
        let member =
            EnvironmentTask { origin: origin.clone(), desired: sender, stop: stop.clone(), ended: ended.clone() };
        self.members.insert(name.clone(), member);
        let (shared, before) = (Arc::clone(&self.shared), self.leaving.get(&name).cloned());
        self.crew.spawn(name.to_string(), async move {
            let _ended = ended.drop_guard();
            // An environment that was gone and is back: never two passes of it at once, not even while one ends.
            if let Some(before) = before {
                before.cancelled().await;
            }
            environment::run(name, receiver, shared, stop).await;
        });
    }
}
