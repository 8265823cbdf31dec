//! The loop: polls repositories, runs passes over environments, tells the status store. Executing a plan is one match.
//!
//! ```text
//!   source (one per repository) ──► desired ──► environment (one per environment) ──► board ──► server, metrics
//!        ▲                                          ▲        pass: observe, plan, execute
//!        └──────────────── resync ──────────────────┘          └─► events ──► sinks
//! ```
//!
//! Environments are islands: each has its own task, backoff and memory; they share only the limit on passes at once.

pub mod backoff;
mod crew;
pub mod desired;
mod environment;
pub mod follow;
pub mod pass;
mod poll_now;
mod probe;
mod probing;
pub mod resync;
mod source;
pub mod status_store;
mod supervisor;
#[cfg(test)]
mod tests;
mod unanswered;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

pub use self::probe::HttpProber;
pub use self::resync::Resyncs;
pub use self::status_store::StatusStore;
use crate::claims::{Claims, Coverage};
use crate::clock::Clock;
use crate::guardrail;
use crate::metrics::Metrics;
use crate::model::Installation;
use crate::plan::change_limit::ChangeLimits;
use crate::ports::{Accounts, EventSink, Prober, Repository};
use crew::Crew;
use desired::News;
use supervisor::Supervisor;

/// How often to do what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    /// Between passes of an environment where nothing is on its way.
    pub steady: Duration,
    /// Between passes while a rollout runs.
    pub in_flight: Duration,
    /// Between two looks for a newer revision to take a target's shape from.
    pub base: Duration,
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
    pub branches: BTreeMap<String, Branch>,
    /// Between polls.
    pub interval: Duration,
}

/// A branch of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// The environments that it may feed.
    pub coverage: Coverage,
    /// Its place among all branches in `pinion.toml`, from 0: of two that feed one environment, or claim one resource, the
    /// first one counts.
    pub place: usize,
}

/// What the controller works with.
pub struct Parts {
    /// What this installation is called.
    pub installation: Installation,
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
    pub status_store: Arc<StatusStore>,
    /// Who is told what happens.
    pub events: Arc<dyn EventSink>,
    /// What is asked for from outside: resyncs, and polls of branches that have moved.
    pub resyncs: Arc<Resyncs>,
    /// How often to do what.
    pub pace: Intervals,
    /// How many environments may be in a pass at once.
    pub concurrency: usize,
    /// What one commit may not do unnoticed.
    pub change_limits: ChangeLimits,
}

/// What every environment's task shares.
pub(crate) struct Shared {
    pub(crate) accounts: Arc<dyn Accounts>,
    pub(crate) prober: Arc<dyn Prober>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) status_store: Arc<StatusStore>,
    pub(crate) events: Arc<dyn EventSink>,
    pub(crate) resyncs: Arc<Resyncs>,
    /// The repositories' URLs, in the order of the sources.
    pub(crate) urls: Vec<String>,
    pub(crate) pace: Intervals,
    pub(crate) passes: Semaphore,
    pub(crate) change_limits: ChangeLimits,
    /// What guardrails may ask about all targets.
    pub(crate) fleet: Mutex<guardrail::Fleet>,
    /// Which target holds each AWS resource. Locked before `fleet`, where both are.
    pub(crate) claims: Mutex<Claims>,
    pub(crate) shutdown: CancellationToken,
}

/// Runs until `shutdown`, then lets calls in flight finish. The caller bounds that with its grace period.
///
/// # Errors
/// The text of the failure, if one of the tasks ended by itself, which none should.
pub async fn run(parts: Parts, shutdown: CancellationToken) -> Result<(), String> {
    let mut coverages: Vec<(String, Coverage)> = Vec::new();
    for source in &parts.sources {
        for (name, branch) in &source.branches {
            if coverages.len() <= branch.place {
                coverages.resize(branch.place + 1, (String::new(), Coverage::Only(BTreeSet::new())));
            }
            if let Some(coverage) = coverages.get_mut(branch.place) {
                *coverage = (format!("branch {name} of {}", source.url), branch.coverage.clone());
            }
        }
    }
    let shared = Arc::new(Shared {
        accounts: parts.accounts,
        prober: parts.prober,
        clock: parts.clock,
        metrics: parts.metrics,
        status_store: parts.status_store,
        events: parts.events,
        resyncs: parts.resyncs,
        urls: parts.sources.iter().map(|source| source.url.clone()).collect(),
        pace: parts.pace,
        passes: Semaphore::new(parts.concurrency.max(1)),
        change_limits: parts.change_limits,
        fleet: Mutex::default(),
        claims: Mutex::new(Claims::new(parts.installation, coverages)),
        shutdown: shutdown.clone(),
    });
    shared.status_store.events_to(Arc::clone(&shared.events), Arc::clone(&shared.clock));
    // One sender stays here: a poller that ends is heard of by its end, never by a silent channel.
    let (news, mut inbox) = mpsc::channel(16);
    let mut pollers = Crew::default();
    shared.resyncs.expect_sources(parts.sources.len());
    let unpolled = parts.sources.iter().map(|source| source.branches.values().cloned().collect()).enumerate().collect();
    for (index, source) in parts.sources.into_iter().enumerate() {
        pollers.spawn(source.url.clone(), source::run(index, source, Arc::clone(&shared), news.clone()));
    }

    let mut supervisor = Supervisor::new(Arc::clone(&shared), unpolled);
    let verdict = loop {
        tokio::select! {
            () = shutdown.cancelled() => break Ok(()),
            Some(news) = inbox.recv() => match news {
                News::Read(news) => supervisor.take(news),
                News::Recalled { place, claims } => supervisor.recall(place, claims),
                News::Polled { source, number } => {
                    shared.resyncs.source_done(source, number);
                    shared.status_store.resync(&shared.resyncs);
                    if supervisor.polled(source) {
                        shared.status_store.complete();
                    }
                }
            },
            Some((url, ended)) = pollers.ended() => {
                if !shutdown.is_cancelled() {
                    let how = ended.err().map_or_else(|| "it returned".to_owned(), |error| error.to_string());
                    break Err(format!("the poller of {url} has ended: {how}"));
                }
            }
            Some(failure) = supervisor.failed() => break Err(failure),
        }
    };
    shutdown.cancel();
    drop(inbox);
    while pollers.ended().await.is_some() {}
    while supervisor.failed().await.is_some() {}
    verdict
}
