//! The loop: polls repositories, runs passes over environments, tells the board. Executing a plan is one match.
//!
//! ```text
//!   source (one per repository) ──► desired ──► environment (one per environment) ──► board ──► server, metrics
//!        ▲                                          ▲        pass: observe, plan, execute
//!        └──────────────── resync ──────────────────┘
//! ```
//!
//! Environments are islands: each has its own task, backoff and memory; they share only the limit on passes at once.

pub mod backoff;
pub mod board;
pub mod desired;
mod environment;
pub mod pass;
mod probe;
pub mod resync;
mod source;
mod story;
mod target;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::board::Board;
pub use self::probe::HttpProber;
pub use self::resync::Resyncs;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::EnvironmentName;
use crate::ports::{Accounts, Prober, Repository};
use desired::{Claim, Desired, News, SourceNews};

/// How often to do what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between passes of an environment where nothing is on its way.
    pub steady: Duration,
    /// Between passes while a rollout runs.
    pub in_flight: Duration,
    /// After a write, before the next step: reads lag writes.
    pub after_write: Duration,
    /// The first wait after a failed pass; it doubles from there.
    pub backoff_first: Duration,
    /// The longest wait after failed passes.
    pub backoff_longest: Duration,
}

/// One `[[repository]]` block.
pub struct Source {
    /// The repository. Blocks with the same URL share one.
    pub repository: Arc<dyn Repository>,
    /// Its URL, without credentials.
    pub url: String,
    /// The branches read from it, each with the environments that it may feed.
    pub branches: BTreeMap<String, Claim>,
    /// Between polls.
    pub interval: Duration,
}

/// What the controller works with.
pub struct Parts {
    /// The repositories, one for each URL.
    pub sources: Vec<Source>,
    /// The way into the accounts.
    pub accounts: Arc<dyn Accounts>,
    /// What sends probes.
    pub prober: Arc<dyn Prober>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is shown.
    pub board: Arc<Board>,
    /// What is asked for from outside.
    pub resyncs: Arc<Resyncs>,
    /// How often to do what.
    pub pace: Pace,
    /// How many environments may be in a pass at once.
    pub concurrency: usize,
}

/// What every environment's task shares.
pub(crate) struct Shared {
    pub(crate) accounts: Arc<dyn Accounts>,
    pub(crate) prober: Arc<dyn Prober>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) board: Arc<Board>,
    pub(crate) resyncs: Arc<Resyncs>,
    pub(crate) pace: Pace,
    pub(crate) passes: Semaphore,
    pub(crate) shutdown: CancellationToken,
}

/// Runs until `shutdown`, then lets calls in flight finish. The caller bounds that with its grace period.
///
/// # Errors
/// The text of the failure, if one of the tasks ended by itself, which none should.
pub async fn run(parts: Parts, shutdown: CancellationToken) -> Result<(), String> {
    let shared = Arc::new(Shared {
        accounts: parts.accounts,
        prober: parts.prober,
        clock: parts.clock,
        metrics: parts.metrics,
        board: parts.board,
        resyncs: parts.resyncs,
        pace: parts.pace,
        passes: Semaphore::new(parts.concurrency.max(1)),
        shutdown: shutdown.clone(),
    });
    let (news, mut inbox) = mpsc::channel(16);
    let mut tasks = JoinSet::new();
    shared.resyncs.expect_sources(parts.sources.len());
    for (index, source) in parts.sources.into_iter().enumerate() {
        tasks.spawn(source::run(index, source, Arc::clone(&shared), news.clone()));
    }
    drop(news);

    let mut fleet = Fleet { shared: Arc::clone(&shared), members: BTreeMap::new(), tasks: JoinSet::new() };
    let verdict = loop {
        tokio::select! {
            () = shutdown.cancelled() => break Ok(()),
            received = inbox.recv() => match received {
                Some(News::Read(news)) => fleet.take(news),
                Some(News::Polled { source, number }) => {
                    shared.resyncs.source_done(source, number);
                    shared.board.resync(&shared.resyncs);
                }
                None if shutdown.is_cancelled() => break Ok(()),
                None => break Err("all pollers have ended".to_owned()),
            },
            Some(ended) = tasks.join_next() => {
                if !shutdown.is_cancelled() {
                    break Err(format!("a poller has ended: {}", describe(ended)));
                }
            }
            Some(ended) = fleet.tasks.join_next() => match ended {
                Ok(name) => { fleet.members.remove(&name); }
                Err(error) if !shutdown.is_cancelled() => break Err(format!("an environment's task has ended: {error}")),
                Err(_) => {}
            },
        }
    };
    shutdown.cancel();
    drop(inbox);
    while tasks.join_next().await.is_some() {}
    while fleet.tasks.join_next().await.is_some() {}
    verdict
}

fn describe(ended: Result<(), tokio::task::JoinError>) -> String {
    match ended {
        Ok(()) => "it returned".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// The environments' tasks.
struct Fleet {
    shared: Arc<Shared>,
    members: BTreeMap<EnvironmentName, Member>,
    tasks: JoinSet<EnvironmentName>,
}

struct Member {
    source: usize,
    branch: String,
    desired: watch::Sender<Arc<Desired>>,
    stop: CancellationToken,
}

impl Fleet {
    /// Takes what a poller read: gives each environment its desired state, starts what is new, stops what is gone.
    fn take(&mut self, news: SourceNews) {
        let SourceNews { source, branch, environments, broken, whole } = news;
        let from_here = |member: &Member| member.source == source && member.branch == branch;
        if let Some(errors) = whole {
            // Nothing could be read at all. What runs keeps its last good desired state.
            for (name, _) in self.members.iter().filter(|(_, member)| from_here(member)) {
                self.shared.board.invalid(name, &errors);
            }
            return;
        }
        for (name, errors) in &broken {
            tracing::warn!(environment = %name, errors = errors.len(), first = errors.first().map(String::as_str),
                "environment is broken; its last good desired state stays");
            self.shared.board.invalid(name, errors);
        }
        let gone: Vec<EnvironmentName> = self
            .members
            .iter()
            .filter(|(name, member)| {
                from_here(member) && !environments.contains_key(*name) && !broken.contains_key(*name)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            tracing::warn!(environment = %name, "environment is gone from the repository; it is left as it is");
            if let Some(member) = self.members.remove(&name) {
                member.stop.cancel();
            }
            self.shared.resyncs.forget_environment(&name);
            self.shared.board.remove(&name);
        }
        for (name, desired) in environments {
            self.give(name, source, &branch, desired);
        }
        self.shared.resyncs.settle();
    }

    fn give(&mut self, name: EnvironmentName, source: usize, branch: &str, desired: Arc<Desired>) {
        match self.members.get(&name) {
            Some(member) if member.source == source && member.branch == branch => {
                self.shared.board.valid(&name, &desired);
                member.desired.send_replace(desired);
            }
            Some(_) => {
                tracing::error!(environment = %name, branch,
                    "two repositories or branches feed this environment; the first one counts. \
                     Say with `environments` in pinion.toml which one it is");
            }
            None => {
                self.shared.board.valid(&name, &desired);
                self.shared.resyncs.expect_environment(&name);
                let (sender, receiver) = watch::channel(desired);
                let stop = self.shared.shutdown.child_token();
                self.members.insert(
                    name.clone(),
                    Member { source, branch: branch.to_owned(), desired: sender, stop: stop.clone() },
                );
                self.tasks.spawn(environment::run(name, receiver, Arc::clone(&self.shared), stop));
            }
        }
    }
}
