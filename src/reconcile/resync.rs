//! Numbered, acknowledged resyncs: asked for by a signal or over HTTP, done when every repository has been polled and
//! every environment has completed a pass that began after that.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use super::poll_now::{Hints, PollRequests};
use crate::model::EnvironmentName;
use crate::model::status::ResyncStatus;

/// A resync that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Request {
    /// Its number, from 1; 0 before the first.
    pub number: u64,
    /// The number of the last one that asked to retry quarantined pins; 0 before the first.
    pub retry: u64,
}

#[derive(Debug, Default)]
struct Progress {
    sources: Vec<u64>,
    environments: BTreeMap<EnvironmentName, u64>,
    /// The last request to retry that each environment has honored, or that isn't meant for it. Outlives a reload: what was
    /// honored once must not be a second time.
    honored: BTreeMap<EnvironmentName, u64>,
}

/// Numbers resyncs and knows how far each is.
#[derive(Debug)]
pub struct Resyncs {
    requested: watch::Sender<Request>,
    polled: watch::Sender<u64>,
    completed: watch::Sender<u64>,
    hints: Hints,
    progress: Mutex<Progress>,
}

impl Default for Resyncs {
    fn default() -> Self {
        Self {
            requested: watch::Sender::new(Request::default()),
            polled: watch::Sender::new(0),
            completed: watch::Sender::new(0),
            hints: Hints::default(),
            progress: Mutex::default(),
        }
    }
}

impl Resyncs {
    /// Asks for a resync and says its number.
    pub fn request(&self, retry_quarantined: bool) -> u64 {
        let mut number = 0;
        self.requested.send_modify(|request| {
            request.number += 1;
            number = request.number;
            if retry_quarantined {
                request.retry = number;
            }
        });
        tracing::info!(number, retry_quarantined, "resync requested");
        number
    }

    /// The last one asked for and the last one done.
    #[must_use]
    pub fn status(&self) -> ResyncStatus {
        ResyncStatus { requested: self.requested.borrow().number, completed: *self.completed.borrow() }
    }

    /// Asks the poller of the repository at this URL to poll now, because a branch is said to have moved. Unknown URLs are
    /// no matter.
    pub fn moved(&self, url: &str) {
        self.hints.moved(url);
    }

    /// What is asked of the poller of a repository.
    pub(super) fn poll_requests(&self, url: &str) -> PollRequests {
        self.hints.requests(url, self.requested.subscribe())
    }

    /// The number up to which all repositories have been polled, for environments.
    #[must_use]
    pub fn polled(&self) -> watch::Receiver<u64> {
        self.polled.subscribe()
    }

    /// The number up to which resyncs are done, for those who wait.
    #[must_use]
    pub fn completed(&self) -> watch::Receiver<u64> {
        self.completed.subscribe()
    }

    /// The request to retry what is quarantined that an environment hasn't honored yet.
    pub(crate) fn retry_asked(&self, name: &EnvironmentName) -> Option<u64> {
        let asked = self.requested.borrow().retry;
        self.with(|progress| progress.honored.get(name).copied().unwrap_or_default() < asked).then_some(asked)
    }

    /// An environment has honored a request to retry, and all before it.
    pub(crate) fn retry_honored(&self, name: &EnvironmentName, number: u64) {
        self.with(|progress| {
            let honored = progress.honored.entry(name.clone()).or_default();
            *honored = number.max(*honored);
        });
    }

    /// Starts again with so many sources and no environment yet; numbers go on.
    pub(crate) fn expect_sources(&self, count: usize) {
        self.with(|progress| {
            progress.sources = vec![0; count];
            progress.environments.clear();
        });
    }

    pub(crate) fn expect_environment(&self, name: &EnvironmentName) {
        // Its first pass comes after the poll that found it, so it owes nothing older.
        let (polled, completed) = (*self.polled.borrow(), *self.completed.borrow());
        self.with(|progress| {
            progress.environments.insert(name.clone(), polled.saturating_sub(1));
            // A request that was over before this environment came wasn't meant for it.
            let honored = progress.honored.entry(name.clone()).or_insert(completed);
            *honored = completed.max(*honored);
        });
    }

    pub(crate) fn forget_environment(&self, name: &EnvironmentName) {
        self.with(|progress| progress.environments.remove(name));
    }

    /// A poller has polled, and handed on what it read, since this number was asked for.
    pub(crate) fn source_done(&self, source: usize, number: u64) {
        self.with(|progress| {
            if let Some(done) = progress.sources.get_mut(source) {
                *done = number.max(*done);
            }
        });
        self.settle();
    }

    /// An environment has completed a pass that began after all repositories had been polled for this number.
    pub(crate) fn environment_done(&self, name: &EnvironmentName, number: u64) {
        self.with(|progress| {
            if let Some(done) = progress.environments.get_mut(name) {
                *done = number.max(*done);
            }
        });
        self.settle();
    }

    /// Works out again how far resyncs are.
    pub(crate) fn settle(&self) {
        let (polled, completed) = self.with(|progress| {
            let polled = progress.sources.iter().copied().min().unwrap_or(0);
            let completed = progress.environments.values().copied().min().unwrap_or(polled).min(polled);
            (polled, completed)
        });
        self.polled.send_if_modified(|number| std::mem::replace(number, polled.max(*number)) < polled);
        let moved =
            self.completed.send_if_modified(|number| std::mem::replace(number, completed.max(*number)) < completed);
        if moved {
            tracing::info!(number = completed, "resync completed");
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Progress) -> T) -> T {
        change(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resync_is_done_when_every_source_and_environment_is() {
        let resyncs = Resyncs::default();
        let (dev, prod) = (EnvironmentName::try_from("dev").unwrap(), EnvironmentName::try_from("prod").unwrap());
        resyncs.expect_sources(2);
        resyncs.expect_environment(&dev);
        resyncs.expect_environment(&prod);
        assert_eq!(resyncs.request(false), 1);
        resyncs.source_done(0, 1);
        assert_eq!(*resyncs.polled().borrow(), 0);
        resyncs.source_done(1, 1);
        assert_eq!(*resyncs.polled().borrow(), 1);
        resyncs.environment_done(&dev, 1);
        assert_eq!(resyncs.status(), ResyncStatus { requested: 1, completed: 0 });
        resyncs.environment_done(&prod, 1);
        assert_eq!(resyncs.status(), ResyncStatus { requested: 1, completed: 1 });
    }

    #[test]
    fn an_environment_that_goes_is_not_waited_for() {
        let resyncs = Resyncs::default();
        let dev = EnvironmentName::try_from("dev").unwrap();
        resyncs.expect_sources(1);
        resyncs.expect_environment(&dev);
        resyncs.request(true);
        resyncs.source_done(0, 1);
        assert_eq!(resyncs.status().completed, 0);
        resyncs.forget_environment(&dev);
        resyncs.settle();
        assert_eq!(resyncs.status().completed, 1);
    }

    #[test]
    fn a_retry_is_honored_once_by_each_environment_that_it_is_meant_for() {
        let resyncs = Resyncs::default();
        let [dev, prod, late] = ["dev", "prod", "late"].map(|name| EnvironmentName::try_from(name).unwrap());
        let begin = || {
            resyncs.expect_sources(1);
            [&dev, &prod].iter().for_each(|name| resyncs.expect_environment(name));
        };
        begin();
        resyncs.request(false);
        assert_eq!(resyncs.retry_asked(&dev), None);
        resyncs.request(true);
        assert_eq!((resyncs.retry_asked(&dev), resyncs.retry_asked(&dev)), (Some(2), Some(2)), "until it is honored");
        resyncs.retry_honored(&dev, 2);
        assert_eq!(resyncs.retry_asked(&dev), None, "once");
        begin();
        assert_eq!(resyncs.retry_asked(&dev), None, "nor again after a reload");
        assert_eq!(resyncs.retry_asked(&prod), Some(2), "who hasn't honored it yet does so after a reload");
        resyncs.source_done(0, 2);
        [&dev, &prod].iter().for_each(|name| resyncs.environment_done(name, 2));
        resyncs.expect_environment(&late);
        assert_eq!(resyncs.retry_asked(&late), None, "it was done before this one came");
        resyncs.request(true);
        assert!([dev, prod, late].iter().all(|name| resyncs.retry_asked(name) == Some(3)));
    }
}
