//! What the controller knows. Written here, read by the server and the metrics through a watch; what changes of repositories,
//! files and resyncs is told as events.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use super::desired::Desired;
use super::resync::Resyncs;
use crate::clock::{Clock, SystemClock};
use crate::events::{self, Event, FilesState};
use crate::guardrail::Policies;
use crate::model::status::{
    EnvironmentStatus, Fault, GuardrailEnd, RepositoryStatus, ResyncStatus, SignaturesStatus, Snapshot,
};
use crate::model::{CommitId, EnvironmentName, LocalRef, TargetState, Verified};
use crate::ports::{EventSink, NoEventSink};

/// Holds the state of everything.
#[derive(Debug)]
pub struct StatusStore {
    status: watch::Sender<Arc<Snapshot>>,
    /// Who is told what changes, and by which clock.
    events: Mutex<(Arc<dyn EventSink>, Arc<dyn Clock>)>,
    /// Whether every repository has been polled once, so that all environments are known that can be.
    complete: AtomicBool,
    /// What was known of targets before a reload, by environment: since when each is in its state isn't forgotten.
    before: Mutex<BTreeMap<String, BTreeMap<String, TargetState>>>,
}

impl Default for StatusStore {
    fn default() -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self {
            status: watch::Sender::new(Arc::new(Snapshot { version, ..Snapshot::default() })),
            events: Mutex::new((Arc::new(NoEventSink), Arc::new(SystemClock))),
            complete: AtomicBool::new(false),
            before: Mutex::default(),
        }
    }
}

impl StatusStore {
    /// Shows these repositories, each a URL without credentials and a branch, and no environments yet.
    pub fn start(&self, repositories: impl IntoIterator<Item = (String, String)>) {
        let repositories = repositories
            .into_iter()
            .map(|(url, branch)| RepositoryStatus { url, branch, ..RepositoryStatus::default() })
            .collect();
        self.complete.store(false, Ordering::Relaxed);
        self.change(|status| {
            status.repositories = repositories;
            let shown = std::mem::take(&mut status.environments).into_iter();
            let shown = shown.map(|(name, environment)| (name, environment.targets)).collect();
            *self.before.lock().unwrap_or_else(PoisonError::into_inner) = shown;
            status.ready = false;
        });
    }

    /// From now on these are told what changes.
    pub fn events_to(&self, sink: Arc<dyn EventSink>, clock: Arc<dyn Clock>) {
        *self.events.lock().unwrap_or_else(PoisonError::into_inner) = (sink, clock);
    }

    /// The controller has started.
    pub fn started(&self) {
        let version = self.status.borrow().version.clone();
        self.tell(|at| vec![Event { at, what: events::What::Started { version: &version } }]);
    }

    /// What was known of an environment's targets before the last reload. Asked for once.
    pub(crate) fn take_before(&self, name: &EnvironmentName) -> BTreeMap<LocalRef, TargetState> {
        let known = self.before.lock().unwrap_or_else(PoisonError::into_inner).remove(name.as_str());
        known.into_iter().flatten().map(|(_, state)| (state.target.local.clone(), state)).collect()
    }

    /// The status, as it is now and whenever it changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.status.subscribe()
    }

    /// Takes over how far resyncs are.
    pub fn resync(&self, resyncs: &Resyncs) {
        let (mut before, mut after) = (ResyncStatus::default(), ResyncStatus::default());
        // Read while the state is locked: of two that come at once, neither takes it back.
        self.change(|status| {
            after = resyncs.status();
            before = std::mem::replace(&mut status.resync, after);
        });
        self.tell(|at| events::of_resyncs(before, after, at));
    }

    /// A poll succeeded. `wrong` is what is wrong with the files of that commit as a whole.
    pub(crate) fn git_polled(&self, url: &str, branch: &str, commit: &CommitId, now: Timestamp, wrong: Option<Fault>) {
        self.repository(url, branch, |repository| {
            repository.revision = Some(commit.to_string());
            repository.last_success = Some(now);
            repository.error = wrong;
        });
    }

    pub(crate) fn git_failed(&self, url: &str, branch: &str, error: &str) {
        self.repository(url, branch, |repository| repository.error = Some(Fault::Unreadable(error.to_owned())));
    }

    /// What a branch's signatures are like.
    pub(crate) fn signatures(&self, url: &str, branch: &str, verified: &Verified) {
        if !verified.checked {
            return;
        }
        self.repository(url, branch, |repository| {
            repository.signatures = Some(SignaturesStatus {
                accepted: verified.accepted.as_ref().map(ToString::to_string),
                refused: verified.refused as u64,
                commits: verified.commits.clone(),
            });
        });
    }

    /// What a branch's guardrails are like.
    pub(crate) fn guardrails(&self, url: &str, branch: &str, policies: &Policies, errors: &[String]) {
        let ends = policies.endings().iter().map(|ending| GuardrailEnd {
            policy: ending.policy.clone(),
            reason: ending.reason.clone(),
            until: ending.until,
        });
        self.repository(url, branch, |repository| {
            repository.guardrails = policies.len() as u64;
            repository.guardrail_ends = ends.collect();
            repository.guardrail_errors = errors.to_vec();
        });
    }

    pub(crate) fn valid(&self, name: &EnvironmentName, desired: &Desired) {
        self.environment(name, |environment| {
            environment.account = desired.environment.account.id.to_string();
            environment.region = desired.environment.account.region.to_string();
            environment.revision = desired.revision.to_string();
            environment.valid = true;
            environment.errors.clear();
            // What it holds of shapes, and that nothing is held any more, only a pass finds.
            if desired.change_limit.is_some() {
                environment.change_limit.clone_from(&desired.change_limit);
            }
        });
    }

    /// Which branch of which repository feeds an environment.
    pub(crate) fn fed(&self, name: &EnvironmentName, url: &str, branch: &str) {
        self.environment(name, |environment| {
            url.clone_into(&mut environment.repository);
            branch.clone_into(&mut environment.branch);
        });
    }

    pub(crate) fn invalid(&self, name: &EnvironmentName, errors: &[String]) {
        self.environment(name, |environment| {
            environment.valid = false;
            environment.errors = errors.to_vec();
        });
    }

    pub(crate) fn remove(&self, name: &EnvironmentName) {
        self.change(|status| {
            status.environments.remove(name.as_str());
        });
    }

    /// What the last pass of an environment found.
    pub(crate) fn passed(
        &self,
        name: &EnvironmentName,
        error: Option<String>,
        change_limit: Option<String>,
        now: Timestamp,
        targets: impl IntoIterator<Item = (String, TargetState)>,
    ) {
        let targets = targets.into_iter().collect();
        self.change(|status| {
            // A pass that ended after its environment was removed must not bring it back.
            let Some(environment) = status.environments.get_mut(name.as_str()) else { return };
            environment.passes += 1;
            environment.targets = targets;
            environment.change_limit = change_limit;
            if error.is_none() {
                environment.last_success = Some(now);
            }
            environment.error = error;
            self.settle(status);
        });
    }

    /// Every repository has been polled, and what it has is shown.
    pub(crate) fn complete(&self) {
        self.complete.store(true, Ordering::Relaxed);
        self.change(|status| self.settle(status));
    }

    /// Ready once every environment has had its first pass. Those that are broken and have no
    /// past can have none: what is wrong with them is known, and that is all that a first pass could tell.
    fn settle(&self, status: &mut Snapshot) {
        let passed = |environment: &EnvironmentStatus<TargetState>| environment.passes > 0;
        status.ready |= self.complete.load(Ordering::Relaxed)
            && !status.environments.is_empty()
            && status.environments.values().all(|environment| passed(environment) || environment.account.is_empty());
    }

    fn repository(&self, url: &str, branch: &str, change: impl FnOnce(&mut RepositoryStatus)) {
        let mut changed = None;
        self.change(|status| {
            let mine = |repository: &&mut RepositoryStatus| repository.url == url && repository.branch == branch;
            if let Some(repository) = status.repositories.iter_mut().find(mine) {
                let before = repository.clone();
                change(repository);
                changed = Some((before, repository.clone()));
            }
        });
        if let Some((before, after)) = &changed {
            self.tell(|at| events::of_repository(before, after, at));
        }
    }

    fn environment(&self, name: &EnvironmentName, change: impl FnOnce(&mut EnvironmentStatus<TargetState>)) {
        let mut before = FilesState::Unread;
        self.change(|status| {
            let environment = status.environments.entry(name.to_string()).or_default();
            before = FilesState::of(environment);
            change(environment);
        });
        let known = Arc::clone(&self.status.borrow());
        if let Some(after) = known.environments.get(name.as_str()) {
            self.tell(|at| events::of_files(before, name.as_str(), after, at).into_iter().collect());
        }
    }

    fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        self.status.send_modify(|status| change(Arc::make_mut(status)));
    }

    /// Not while the state is locked: a listener may want to read it.
    fn tell<'e>(&self, events: impl FnOnce(Timestamp) -> Vec<Event<'e>>) {
        let (sink, clock) = self.events.lock().unwrap_or_else(PoisonError::into_inner).clone();
        events(clock.now()).iter().for_each(|event| sink.take(event));
    }
}
