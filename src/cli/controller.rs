//! The controller, put together from its parts: for `pinion run` and for the demo.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::CliError;
use super::signers::read_pins;
use crate::aws::{Aws, Keys, Options};
use crate::claims::Coverage;
use crate::clock::{Clock, SystemClock};
use crate::config::{Notify, Verify};
use crate::forge::{self, ReportedBranch};
use crate::git::{Auth, MirroredRepository, Mirrors, Programs, RepositorySource};
use crate::history::{History, Retention};
use crate::metrics::Metrics;
use crate::model::{Installation, Session};
use crate::plan::change_limit;
use crate::ports::EventSink;
use crate::reconcile::{self, HttpProber, Intervals, Parts, Resyncs, Source, StatusStore};
use crate::server::RequestResync;
use crate::server::hooks::TakeHints;
use crate::sinks::{HistorySink, LogSink, MetricsSink, NotificationSink, Sinks};

/// A branch to follow.
#[derive(Debug, Clone)]
pub struct Branch {
    /// The repository's URL, without credentials.
    pub url: String,
    /// How to get in.
    pub auth: Auth,
    /// The branch.
    pub branch: String,
    /// Between polls. Where branches share a repository, the shortest counts.
    pub interval: Duration,
    /// The environments that it may feed.
    pub coverage: Coverage,
    /// How long connecting to the server may take.
    pub connect_timeout: Duration,
    /// How long the server may send nothing.
    pub stall_timeout: Duration,
    /// How long a poll may take in all.
    pub poll_timeout: Duration,
    /// Whose signatures count; `None` if none are asked for.
    pub verify: Option<Verify>,
}

/// What one run of the controller is given.
#[derive(Debug, Clone)]
pub struct Wiring {
    /// What this installation is called.
    pub installation: Installation,
    /// The branches.
    pub branches: Vec<Branch>,
    /// Where mirrors are kept.
    pub cache: PathBuf,
    /// Where the AWS API is, if it isn't AWS's own.
    pub endpoint_url: Option<String>,
    /// Credentials, if they aren't the standard chain's.
    pub keys: Option<Keys>,
    /// How often to do what.
    pub pace: Intervals,
    /// How many environments may be in a pass at once.
    pub concurrency: usize,
    /// What one commit may not do unnoticed.
    pub change_limits: change_limit::ChangeLimits,
    /// The branches whose commits get statuses.
    pub reported: Vec<ReportedBranch>,
    /// Who is notified of events.
    pub notify: Vec<Notify>,
    /// Hosts that probes may ask although their addresses are link-local or of AWS's metadata services.
    pub probe_hosts: BTreeSet<String>,
}

/// What outlives a reload of the configuration: counts, numbers, and what is shown.
pub struct Controller {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// What is shown.
    pub status_store: Arc<StatusStore>,
    /// What is asked for.
    pub resyncs: Arc<Resyncs>,
    /// What has happened.
    pub history: Arc<History>,
    /// Who receives what happens, besides those in the configuration.
    sinks: Vec<Arc<dyn EventSink>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl Controller {
    /// A controller that doesn't run yet, with its history in this folder.
    ///
    /// # Errors
    /// If the metrics can't be registered, which is a mistake of ours, or there is no thread for the history.
    pub fn new(folder: &Path, retention: Retention) -> Result<Self, CliError> {
        let metrics = Arc::new(Metrics::new()?);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let history = History::start(folder, retention, Arc::clone(&metrics), Arc::clone(&clock))?;
        let (status_store, resyncs) = (Arc::new(StatusStore::default()), Arc::new(Resyncs::default()));
        let sinks: Vec<Arc<dyn EventSink>> = vec![
            Arc::new(LogSink),
            Arc::new(MetricsSink(Arc::clone(&metrics))),
            Arc::new(HistorySink::new(Arc::clone(&history), clock.now())),
        ];
        // Resyncs may be asked for before anything runs.
        status_store.events_to(Arc::new(Sinks(sinks.clone())), Arc::clone(&clock));
        Ok(Self { metrics, status_store, resyncs, history, sinks, clock })
    }

    /// Says in the history that it has started.
    pub fn started(&self) {
        self.status_store.started();
    }

    /// Runs until `stop`, and lets calls in flight finish.
    ///
    /// # Errors
    /// If something can't be set up, or a task ended by itself.
    pub async fn run(&self, wiring: Wiring, stop: CancellationToken) -> Result<(), CliError> {
        let interrupt = Arc::new(AtomicBool::new(false));
        let sources = sources(&wiring, &interrupt, &self.clock)?;
        let shown: BTreeSet<(String, String)> =
            wiring.branches.iter().map(|branch| (branch.url.clone(), branch.branch.clone())).collect();
        self.status_store.start(shown);
        let accounts = Aws::new(Options {
            endpoint_url: wiring.endpoint_url,
            keys: wiring.keys,
            session: Session::Run,
            recorder: Arc::clone(&self.metrics) as Arc<dyn crate::ports::RecordCalls>,
            clock: Arc::clone(&self.clock),
        })
        .await;
        let reports = forge::Parts {
            branches: wiring.reported,
            notify: wiring.notify,
            status: self.status_store.subscribe(),
            metrics: Arc::clone(&self.metrics),
            clock: Arc::clone(&self.clock),
        };
        let stop_reports = stop.child_token();
        let mut reporting = forge::start(reports, &stop_reports)?;
        let mut sinks = self.sinks.clone();
        sinks.push(Arc::new(NotificationSink::new(reporting.take_listeners())));
        let parts = Parts {
            installation: wiring.installation,
            sources,
            accounts: Arc::new(accounts),
            prober: Arc::new(HttpProber::new(wiring.probe_hosts)?),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            status_store: Arc::clone(&self.status_store),
            events: Arc::new(Sinks(sinks)),
            resyncs: Arc::clone(&self.resyncs),
            pace: wiring.pace,
            concurrency: wiring.concurrency,
            change_limits: wiring.change_limits,
        };
        let fetches = stop.clone();
        let watch = tokio::spawn(async move {
            fetches.cancelled().await;
            interrupt.store(true, Ordering::Relaxed);
        });
        let ended = reconcile::run(parts, stop).await;
        watch.abort();
        stop_reports.cancel();
        reporting.ended().await;
        ended.map_err(CliError::failed)
    }
}

/// One source for each repository, with all of its branches: one listing of refs serves them all.
fn sources(wiring: &Wiring, interrupt: &Arc<AtomicBool>, clock: &Arc<dyn Clock>) -> Result<Vec<Source>, CliError> {
    let mirrors = Arc::new(Mirrors::new(wiring.cache.clone(), Programs::default()));
    let mut by_repository: Vec<(&Branch, Vec<&Branch>)> = Vec::new();
    // In the order of the configuration, which decides between two that feed one environment.
    for branch in &wiring.branches {
        let same = |(first, _): &&mut (&Branch, _)| first.url == branch.url && first.auth == branch.auth;
        match by_repository.iter_mut().find(same) {
            Some((_, branches)) => branches.push(branch),
            None => by_repository.push((branch, vec![branch])),
        }
    }
    let mut sources = Vec::new();
    for (first, branches) in by_repository {
        let url = first.url.clone();
        let source = RepositorySource {
            url: url.clone(),
            branches: branches.iter().map(|branch| branch.branch.clone()).collect::<BTreeSet<_>>(),
            auth: first.auth.clone(),
            connect_timeout: first.connect_timeout,
            stall_timeout: first.stall_timeout,
            poll_timeout: first.poll_timeout,
        };
        // A URL that can't work is a mistake in the configuration: it is said before anything runs.
        mirrors.open(&source)?;
        let verify: BTreeMap<String, Verify> =
            branches.iter().filter_map(|branch| Some((branch.branch.clone(), branch.verify.clone()?))).collect();
        let (mirrors, interrupt) = (Arc::clone(&mirrors), Arc::clone(interrupt));
        let repository = MirroredRepository::new(mirrors, source, read_pins, interrupt, &verify, Arc::clone(clock))?;
        sources.push(Source {
            repository: Arc::new(repository),
            interval: branches.iter().map(|branch| branch.interval).min().unwrap_or(first.interval),
            branches: followed(&wiring.branches, &url, &branches),
            url,
        });
    }
    Ok(sources)
}

/// What each branch of a repository may feed, and its place in the configuration. Blocks that name the same branch add up.
fn followed(all: &[Branch], url: &str, branches: &[&Branch]) -> BTreeMap<String, reconcile::Branch> {
    let mut followed: BTreeMap<String, reconcile::Branch> = BTreeMap::new();
    for branch in branches {
        let before = followed.remove(&branch.branch);
        let place = all.iter().position(|one| one.url == url && one.branch == branch.branch).unwrap_or(all.len());
        let coverage = match (before.map(|before| before.coverage), &branch.coverage) {
            (Some(Coverage::All), _) | (_, Coverage::All) => Coverage::All,
            (Some(Coverage::Only(before)), Coverage::Only(more)) => {
                Coverage::Only(before.union(more).cloned().collect())
            }
            (None, Coverage::Only(names)) => Coverage::Only(names.clone()),
        };
        followed.insert(branch.branch.clone(), reconcile::Branch { coverage, place });
    }
    followed
}

/// Takes requests for resyncs from the server and from signals, and push events from the server.
pub struct ResyncDesk {
    /// Where they are numbered.
    pub resyncs: Arc<Resyncs>,
    /// Where it is shown how far they are.
    pub status_store: Arc<StatusStore>,
}

impl RequestResync for ResyncDesk {
    fn request(&self, retry_quarantined: bool) -> u64 {
        let number = self.resyncs.request(retry_quarantined);
        self.status_store.resync(&self.resyncs);
        number
    }
}

impl TakeHints for ResyncDesk {
    fn moved(&self, url: &str) {
        self.resyncs.moved(url);
    }
}
