//! What the controller says about itself. Written here, read by the server and the metrics through a watch.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;

use super::desired::Desired;
use super::resync::Resyncs;
use crate::model::status::{EnvironmentStatus, RepositoryStatus, Status, TargetStatus};
use crate::model::{CommitId, EnvironmentName};

/// Holds the status of everything.
#[derive(Debug)]
pub struct Board {
    status: watch::Sender<Arc<Status>>,
}

impl Default for Board {
    fn default() -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { status: watch::Sender::new(Arc::new(Status { version, ..Status::default() })) }
    }
}

impl Board {
    /// Shows these repositories, each a URL without credentials and a branch, and no environments yet.
    pub fn start(&self, repositories: impl IntoIterator<Item = (String, String)>) {
        let repositories = repositories
            .into_iter()
            .map(|(url, branch)| RepositoryStatus { url, branch, ..RepositoryStatus::default() })
            .collect();
        self.change(|status| {
            status.repositories = repositories;
            status.environments.clear();
            status.ready = false;
        });
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

    pub(crate) fn git_polled(&self, url: &str, branch: &str, commit: &CommitId, now: Timestamp) {
        self.repository(url, branch, |repository| {
            repository.revision = Some(commit.to_string());
            repository.last_success = Some(now);
            if repository.error.take().is_some() {
                tracing::info!(repository = url, branch, "repository can be read again");
            }
        });
    }

    pub(crate) fn git_failed(&self, url: &str, branch: &str, error: &str) {
        self.repository(url, branch, |repository| {
            if repository.error.as_deref() != Some(error) {
                tracing::error!(repository = url, branch, "{error}");
            }
            repository.error = Some(error.to_owned());
        });
    }

    pub(crate) fn valid(&self, name: &EnvironmentName, desired: &Desired) {
        self.environment(name, |environment| {
            environment.account = desired.environment.account.id.to_string();
            environment.region = desired.environment.account.region.to_string();
            environment.revision = desired.revision.to_string();
            environment.valid = true;
            environment.errors.clear();
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
        self.environment(name, |environment| {
            environment.passes += 1;
            environment.targets = targets;
            if error.is_none() {
                environment.last_success = Some(now);
            }
            environment.error = error;
        });
        // Ready once every environment that can have a first pass has had one.
        self.change(|status| {
            status.ready |= status.environments.values().all(|other| other.passes > 0 || other.account.is_empty());
        });
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
