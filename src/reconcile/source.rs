//! One repository: polls it, and hands on what its branches want.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::desired::{News, Origin, SourceNews};
use super::follow::{Followed, Follower};
use super::poll_now::{APART, PollNow};
use super::{Shared, Source};
use crate::clock::entropy;
use crate::metrics::PollResult;
use crate::model::status::Fault;
use crate::model::{CommitId, RepositoryError, Tip};

/// Polls until shutdown.
pub(super) async fn run(index: usize, source: Source, shared: Arc<Shared>, news: mpsc::Sender<News>) {
    let limits = shared.change_limits;
    let follower = |(branch, followed): (&String, &super::Branch)| {
        (branch.clone(), Follower::new(branch, followed.coverage.clone(), limits))
    };
    let followers = source.branches.iter().map(follower).collect();
    let mut poller = Poller {
        index,
        source,
        shared,
        news,
        read: BTreeMap::new(),
        followers,
        recalled: BTreeSet::new(),
        first: true,
    };
    let pace = poller.shared.pace;
    let mut backoff = Backoff::new(pace.backoff_first, pace.backoff_longest, entropy());
    let mut requests = poller.shared.resyncs.poll_requests(&poller.source.url);
    let mut next = Instant::now();
    let mut started = next;
    loop {
        tokio::select! {
            () = poller.shared.shutdown.cancelled() => return,
            () = tokio::time::sleep_until(next) => {}
            request = requests.next() => match request {
                None => return,
                Some(PollNow::Resync) => {}
                Some(PollNow::Moved) => {
                    next = next.min(Instant::now().max(started + APART));
                    continue;
                }
            },
        }
        let request = requests.begin();
        started = Instant::now();
        let went_well = poller.poll().await;
        if !went_well {
            poller.recall().await;
        }
        // Sent on the same channel as the files, so that no environment completes a resync before it has received what this
        // poll read.
        if poller.news.send(News::Polled { source: index, number: request }).await.is_err() {
            return;
        }
        let wait = if went_well {
            backoff.reset();
            poller.source.interval
        } else {
            backoff.wait().min(poller.source.interval.max(pace.backoff_first))
        };
        next = Instant::now() + wait;
    }
}

struct Poller {
    index: usize,
    source: Source,
    shared: Arc<Shared>,
    news: mpsc::Sender<News>,
    /// What of each branch was last read to its end.
    read: BTreeMap<String, LastRead>,
    /// What each branch wants.
    followers: BTreeMap<String, Follower>,
    /// The branches of which it was looked up what an earlier process has seen of them.
    recalled: BTreeSet<String>,
    first: bool,
}

struct LastRead {
    /// The branch's tip.
    tip: CommitId,
    /// The commit that was read: the tip, unless signatures say otherwise.
    commit: CommitId,
    /// Why nothing in this commit can be used, if so.
    wrong: Option<Fault>,
}

impl Poller {
    /// Polls once. Says whether all went well.
    async fn poll(&mut self) -> bool {
        let started = Instant::now();
        let polled = self.source.repository.poll().await;
        let took = started.elapsed();
        let tips = match polled {
            Ok(tips) => tips,
            Err(error) => {
                self.shared.metrics.git_polled(&self.source.url, PollResult::Failed, took);
                if !self.shared.shutdown.is_cancelled() {
                    for branch in self.source.branches.keys() {
                        self.shared.status_store.git_failed(&self.source.url, branch, &error.to_string());
                    }
                }
                return false;
            }
        };
        let moved = |(branch, tip): (&String, &Result<Tip, _>)| {
            tip.as_ref().is_ok_and(|tip| self.read.get(branch).map(|last| &last.tip) != Some(&tip.commit))
        };
        let found = if tips.iter().any(moved) { PollResult::Changed } else { PollResult::Unchanged };
        let went_well = self.follow(tips).await;
        // If something can't be read, the poll has failed, even though the server answered.
        let result = if went_well { found } else { PollResult::Failed };
        self.shared.metrics.git_polled(&self.source.url, result, took);
        self.first = false;
        went_well
    }

    /// Looks up what the branches that haven't been read yet claimed when they were last fetched: nobody else is to get that
    /// meanwhile. Nothing else of what may be out of date counts.
    async fn recall(&mut self) {
        let is_due = |branch: &String| !self.read.contains_key(branch) && !self.recalled.contains(branch);
        let due: Vec<String> = self.source.branches.keys().filter(|branch| is_due(branch)).cloned().collect();
        if due.is_empty() || self.shared.shutdown.is_cancelled() {
            return;
        }
        let repository = Arc::clone(&self.source.repository);
        let Ok(mut kept) = repository.kept().await else { return };
        for branch in due {
            let (Some(tip), Some(followed)) = (kept.remove(&branch), self.source.branches.get(&branch)) else {
                continue;
            };
            let Ok(verified) = repository.verify(&branch, &tip, None).await else { continue };
            let Some(commit) = verified.accepted else { continue };
            let mut follower = Follower::new(&branch, followed.coverage.clone(), self.shared.change_limits);
            let Ok(Followed { claims, .. }) = follower.read(repository.as_ref(), &commit, None).await else { continue };
            tracing::info!(
                repository = self.source.url,
                branch,
                revision = commit.short(),
                "the branch can't be read yet; what it claimed here counts until then"
            );
            let place = followed.place;
            self.recalled.insert(branch);
            if self.news.send(News::Recalled { place, claims }).await.is_err() {
                return;
            }
        }
    }

    /// Reads what has moved. Says whether all went well.
    async fn follow(&mut self, tips: BTreeMap<String, Result<Tip, RepositoryError>>) -> bool {
        let mut went_well = true;
        for (branch, tip) in tips {
            match tip {
                Ok(Tip { commit, refused: Some(error), .. }) => {
                    // A process that has read nothing yet goes on from what an earlier one had.
                    if !self.read.contains_key(&branch) {
                        self.follow_branch(&branch, commit).await;
                    }
                    self.shared.status_store.git_failed(&self.source.url, &branch, &error.to_string());
                    went_well = false;
                }
                Ok(tip) => {
                    if tip.forced {
                        tracing::warn!(
                            repository = self.source.url,
                            branch,
                            revision = tip.commit.short(),
                            "branch was force-pushed; following it"
                        );
                    }
                    went_well &= self.follow_branch(&branch, tip.commit).await;
                }
                Err(error) => {
                    self.shared.status_store.git_failed(&self.source.url, &branch, &error.to_string());
                    went_well = false;
                }
            }
        }
        went_well
    }

    /// Reads a branch if it has moved. Says whether all went well.
    async fn follow_branch(&mut self, branch: &str, tip: CommitId) -> bool {
        let last = self.read.get(branch).map(|last| &last.commit);
        let verified = match self.source.repository.verify(branch, &tip, last).await {
            Ok(verified) => verified,
            Err(error) => {
                self.shared.status_store.git_failed(&self.source.url, branch, &error.to_string());
                return false;
            }
        };
        self.shared.status_store.signatures(&self.source.url, branch, &verified);
        let now = self.shared.clock.now();
        let Some(commit) = &verified.accepted else {
            let wrong = Fault::of_signatures(&verified);
            self.shared.status_store.git_polled(&self.source.url, branch, &tip, now, wrong);
            return true;
        };
        if let Some(last) = self.read.get_mut(branch).filter(|last| last.commit == *commit) {
            let wrong = Fault::of_signatures(&verified).or_else(|| last.wrong.clone());
            self.shared.status_store.git_polled(&self.source.url, branch, &tip, now, wrong);
            last.tip = tip;
            return true;
        }
        self.read(branch, &tip, commit.clone(), Fault::of_signatures(&verified)).await
    }

    /// Reads a commit of a branch and hands on what it wants. Says whether all went well.
    async fn read(&mut self, branch: &str, tip: &CommitId, commit: CommitId, refused: Option<Fault>) -> bool {
        let Some(follower) = self.followers.get_mut(branch) else { return true };
        let now = self.shared.clock.now();
        let seen = (!self.first).then_some(now);
        let followed = match follower.read(self.source.repository.as_ref(), &commit, seen).await {
            Ok(followed) => followed,
            Err(error) => {
                self.shared.status_store.git_failed(&self.source.url, branch, &error.to_string());
                return false;
            }
        };
        self.report(branch, &commit, &followed);
        let Followed { environments, broken, mut whole, empty, claims, .. } = followed;
        if empty && whole.is_empty() {
            whole.push("no environment was found".to_owned());
        }
        let wrong = empty.then(|| Fault::Unusable(whole.join("; ")));
        self.shared.status_store.git_polled(&self.source.url, branch, tip, now, refused.or_else(|| wrong.clone()));
        self.read.insert(branch.to_owned(), LastRead { tip: tip.clone(), commit, wrong });
        let place = self.source.branches.get(branch).map_or(usize::MAX, |branch| branch.place);
        let origin = Origin { place, source: self.index, branch: branch.to_owned() };
        let whole = (empty && environments.is_empty()).then_some(whole);
        self.news.send(News::Read(SourceNews { origin, environments, broken, whole, claims })).await.is_ok()
    }

    /// Says what is new and what is wrong.
    fn report(&self, branch: &str, commit: &CommitId, followed: &Followed) {
        let (repository, revision) = (&self.source.url, commit.short());
        let (environments, broken) = (followed.environments.len(), followed.broken.len());
        tracing::info!(repository, branch, revision, environments, broken, "new revision");
        for (name, desired) in followed.environments.iter().filter(|(name, _)| followed.recovered.contains(*name)) {
            tracing::warn!(environment = %name, revision = desired.revision.short(),
                "environment is broken; its last good desired state is of an earlier commit");
        }
        if let Some(held) = &followed.held {
            tracing::warn!(repository, branch, revision = held.commit.short(), "{held}");
        }
        for finding in followed.whole.iter().filter(|_| !followed.empty) {
            tracing::error!(repository, branch, "{finding}");
        }
        for warning in &followed.warnings {
            tracing::warn!(repository, branch, "{warning}");
        }
        for error in &followed.policy_errors {
            tracing::error!(repository, branch, "guardrails are invalid, so nothing is rolled out: {error}");
        }
        self.shared.status_store.guardrails(repository, branch, &followed.policies, &followed.policy_errors);
    }
}
