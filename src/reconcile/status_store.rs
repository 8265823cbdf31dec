//! What the controller says about itself. Written here, read by the server and the metrics through a watch.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use super::desired::Desired;
use super::resync::Resyncs;
use crate::guardrail::Policies;
use crate::model::status::{EnvironmentStatus, GuardrailEnd, RepositoryStatus, SignaturesStatus, Status, TargetStatus};
use crate::model::{CommitId, EnvironmentName, LocalRef, Verified};

/// Holds the status of everything.
#[derive(Debug)]
pub struct StatusStore {
    status: watch::Sender<Arc<Status>>,
    /// Whether every repository has been polled once, so that all environments are known that can be.
    complete: AtomicBool,
    /// What was shown of targets before a reload, by environment: since when each is in its state isn't forgotten.
    before: Mutex<BTreeMap<String, BTreeMap<String, TargetStatus>>>,
}

impl Default for StatusStore {
    fn default() -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self {
            status: watch::Sender::new(Arc::new(Status { version, ..Status::default() })),
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

    /// What was shown of an environment's targets before the last reload. Asked for once.
    pub(crate) fn take_before(&self, name: &EnvironmentName) -> BTreeMap<LocalRef, TargetStatus> {
        let shown = self.before.lock().unwrap_or_else(PoisonError::into_inner).remove(name.as_str());
        let shown = shown.into_iter().flatten();
        shown.filter_map(|(local, status)| Some((LocalRef::try_from(local).ok()?, status))).collect()
    }

    /// The status, as it is now and whenever it changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Status>> {
        self.status.subscribe()
    }

    /// Takes over how far resyncs are.
    pub fn resync(&self, resyncs: &Resyncs) {
        self.change(|status| status.resync = resyncs.status());
    }

    /// A poll succeeded. `wrong` is what is wrong with the files of that commit as a whole.
    pub(crate) fn git_polled(&self, url: &str, branch: &str, commit: &CommitId, now: Timestamp, wrong: Option<&str>) {
        self.repository(url, branch, |repository| {
            repository.revision = Some(commit.to_string());
            repository.last_success = Some(now);
            match wrong {
                Some(wrong) => fail(repository, wrong),
                None if repository.error.take().is_some() => {
                    tracing::info!(repository = url, branch, "repository can be read again");
                }
                None => {}
            }
        });
    }

    pub(crate) fn git_failed(&self, url: &str, branch: &str, error: &str) {
        self.repository(url, branch, |repository| fail(repository, error));
    }

    /// What a branch's signatures are like. Says in the log what is new of it.
    pub(crate) fn signatures(&self, url: &str, branch: &str, verified: &Verified) {
        if !verified.checked {
            return;
        }
        self.repository(url, branch, |repository| {
            let known = repository.signatures.take().unwrap_or_default();
            for commit in verified.commits.iter().filter(|commit| !known.commits.contains(commit)) {
                tracing::error!(
                    repository = url,
                    branch,
                    commit = commit.commit,
                    author = commit.author,
                    committer = commit.committer,
                    kind = commit.kind,
                    "commit is refused: {}",
                    commit.reason
                );
            }
            if known.refused > 0 && verified.refused == 0 {
                tracing::info!(repository = url, branch, "all commits are signed by those who may");
            }
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
            environment.change_limit.clone_from(&desired.change_limit);
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
        now: Timestamp,
        targets: impl IntoIterator<Item = (String, TargetStatus)>,
    ) {
        let targets = targets.into_iter().collect();
        self.change(|status| {
            // A pass that ended after its environment was removed must not bring it back.
            let Some(environment) = status.environments.get_mut(name.as_str()) else { return };
            environment.passes += 1;
            environment.targets = targets;
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
    fn settle(&self, status: &mut Status) {
        let passed = |environment: &EnvironmentStatus| environment.passes > 0;
        status.ready |= self.complete.load(Ordering::Relaxed)
            && !status.environments.is_empty()
            && status.environments.values().all(|environment| passed(environment) || environment.account.is_empty());
    }

    fn repository(&self, url: &str, branch: &str, change: impl FnOnce(&mut RepositoryStatus)) {
        self.change(|status| {
            let mine = |repository: &&mut RepositoryStatus| repository.url == url && repository.branch == branch;
            if let Some(repository) = status.repositories.iter_mut().find(mine) {
                change(repository);
            }
        });
    }

    fn environment(&self, name: &EnvironmentName, change: impl FnOnce(&mut EnvironmentStatus)) {
        self.change(|status| change(status.environments.entry(name.to_string()).or_default()));
    }

    fn change(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(|status| change(Arc::make_mut(status)));
    }
}

fn fail(repository: &mut RepositoryStatus, error: &str) {
    if repository.error.as_deref() != Some(error) {
        tracing::error!(repository = repository.url, branch = repository.branch, "{error}");
    }
    repository.error = Some(error.to_owned());
}
