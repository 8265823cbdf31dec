//! The loop with in-memory ports and paused time: hours of it pass in milliseconds, and nothing opens a socket.

mod change_limits;
mod git;
mod islands;
mod looks;
mod probes;
mod resyncs;
mod sources;
mod suspend;
mod transitions;
mod world;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::subscriber::DefaultGuard;

use self::git::Git;
use self::world::{Doors, World};
use super::{Intervals, Parts, Resyncs, Source, StatusStore, run};
use crate::claims::Coverage;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::Installation;
use crate::model::State;
use crate::model::status::{EnvironmentStatus, Status, TargetStatus};
use crate::plan::change_limit::ChangeLimits;
use crate::sinks::{LogSink, MetricsSink, Sinks};

const INTERVALS: Intervals = Intervals {
    steady: secs(60),
    in_flight: secs(10),
    base: secs(300),
    after_write: secs(1),
    backoff_first: secs(1),
    backoff_longest: secs(300),
};
/// Between polls of Git.
const POLLS: Duration = secs(30);

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A clock that goes with tokio's, and can be set.
#[derive(Debug)]
struct PausedClock {
    started: Instant,
    offset: Mutex<SignedDuration>,
}

impl PausedClock {
    fn new() -> Self {
        Self { started: Instant::now(), offset: Mutex::default() }
    }

    /// Since the test began, however the clock was set meanwhile.
    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn set_back(&self, by: Duration) {
        *self.offset.lock().unwrap() -= SignedDuration::try_from(by).unwrap();
    }
}

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.elapsed()).unwrap();
        Timestamp::from_second(1_800_000_000).unwrap() + elapsed + *self.offset.lock().unwrap()
    }
}

/// What was logged, line by line.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A controller to be: environments, each with the group `web` at 1.0, fed by one repository.
struct Setup {
    pace: Intervals,
    concurrency: usize,
    change_limits: ChangeLimits,
    world: Arc<World>,
    /// The repositories, each with its branches.
    sources: Vec<(Arc<Git>, BTreeMap<String, Coverage>)>,
    status_store: Arc<StatusStore>,
    resyncs: Arc<Resyncs>,
    clock: Arc<PausedClock>,
    log: Log,
    guard: DefaultGuard,
}

impl Setup {
    fn new(environments: &[&str]) -> Self {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        let clock = Arc::new(PausedClock::new());
        let git = Arc::new(Git::new(Arc::clone(&clock)));
        for name in environments {
            git.add(name);
        }
        Self {
            pace: INTERVALS,
            concurrency: 16,
            // Most tests remove environments as if that were nothing.
            change_limits: ChangeLimits { removals: false, ..ChangeLimits::default() },
            world: Arc::new(World::new(Arc::clone(&clock))),
            sources: vec![(git, BTreeMap::from([("main".to_owned(), Coverage::All)]))],
            status_store: Arc::default(),
            resyncs: Arc::default(),
            clock,
            log,
            guard: tracing::subscriber::set_default(subscriber),
        }
    }

    /// Another repository, with a branch of this name.
    fn source(&mut self, branch: &str) -> Arc<Git> {
        let git = Arc::new(Git::new(Arc::clone(&self.clock)));
        self.sources.push((Arc::clone(&git), BTreeMap::from([(branch.to_owned(), Coverage::All)])));
        git
    }

    fn start(self) -> Rig {
        let metrics = Arc::new(Metrics::new().unwrap());
        let (stop, git) = (CancellationToken::new(), Arc::clone(&self.sources[0].0));
        let url = |index: usize| format!("https://git.example/{index}");
        let shown = self.sources.iter().enumerate();
        self.status_store
            .start(shown.flat_map(|(index, (_, branches))| branches.keys().map(move |it| (url(index), it.clone()))));
        let sources = self.sources.into_iter().enumerate();
        let mut places = 0..;
        let parts = Parts {
            installation: Installation::default(),
            sources: sources
                .map(|(index, (repository, branches))| Source {
                    repository,
                    url: url(index),
                    branches: branches
                        .into_iter()
                        .map(|(name, coverage)| (name, super::Branch { coverage, place: places.next().unwrap() }))
                        .collect(),
                    interval: POLLS,
                })
                .collect(),
            accounts: Arc::new(Doors(Arc::clone(&self.world))),
            prober: Arc::clone(&self.world) as _,
            clock: Arc::clone(&self.clock) as _,
            metrics: Arc::clone(&metrics),
            status_store: Arc::clone(&self.status_store),
            events: Arc::new(Sinks(vec![Arc::new(LogSink), Arc::new(MetricsSink(Arc::clone(&metrics)))])),
            resyncs: Arc::clone(&self.resyncs),
            pace: self.pace,
            concurrency: self.concurrency,
            change_limits: self.change_limits,
        };
        let task = tokio::spawn(run(parts, stop.clone()));
        Rig {
            world: self.world,
            git,
            status_store: self.status_store,
            resyncs: self.resyncs,
            clock: self.clock,
            metrics,
            stop,
            task,
            log: self.log,
            _guard: self.guard,
        }
    }
}

/// A controller that runs.
struct Rig {
    world: Arc<World>,
    /// The first repository.
    git: Arc<Git>,
    status_store: Arc<StatusStore>,
    resyncs: Arc<Resyncs>,
    clock: Arc<PausedClock>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), String>>,
    log: Log,
    _guard: DefaultGuard,
}

impl Rig {
    /// A controller over these environments, run until all are in sync.
    async fn converged(environments: &[&str]) -> Self {
        let rig = Setup::new(environments).start();
        rig.until(|status| status.ready).await;
        for name in environments {
            assert_eq!(rig.state(name), State::InSync);
        }
        rig
    }

    /// What the API would show.
    fn status(&self) -> Arc<Status> {
        Arc::new(Status::from(&**self.status_store.subscribe().borrow()))
    }

    fn environment(&self, name: &str) -> EnvironmentStatus {
        self.status().environments[name].clone()
    }

    /// The status of an environment's group `web`.
    fn web(&self, name: &str) -> TargetStatus {
        self.environment(name).targets["asg/web"].clone()
    }

    fn state(&self, name: &str) -> State {
        self.web(name).state
    }

    /// Lets time pass until the status is as wanted; within two hours.
    async fn until(&self, wanted: impl Fn(&Status) -> bool) {
        let waited = Instant::now();
        while !wanted(&self.status()) {
            assert!(waited.elapsed() < secs(7200), "never: {:#?}\n{}", self.status(), self.logged());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Lets time pass until a group `web` is in a state.
    async fn until_state(&self, name: &str, state: State) {
        let web = |status: &Status| status.environments.get(name)?.targets.get("asg/web").map(|web| web.state);
        self.until(|status| web(status) == Some(state)).await;
    }

    fn resync(&self, retry: bool) -> u64 {
        self.resyncs.request(retry)
    }

    /// Stops, and says how long that took.
    async fn stop(&mut self) -> Duration {
        let asked = Instant::now();
        self.stop.cancel();
        (&mut self.task).await.unwrap().unwrap();
        asked.elapsed()
    }

    fn logged(&self) -> String {
        String::from_utf8(self.log.0.lock().unwrap().clone()).unwrap()
    }

    /// How many log lines have all of these texts.
    fn lines(&self, texts: &[&str]) -> usize {
        self.logged().lines().filter(|line| texts.iter().all(|text| line.contains(text))).count()
    }

    /// The sum of a metric's series with all of these texts in their labels.
    fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.metrics.render(&self.status_store.subscribe().borrow(), self.clock.now());
        let series = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once("} "));
        series
            .filter(|(found, _)| labels.iter().all(|label| found.contains(label)))
            .map(|(_, value)| value.parse::<f64>().unwrap())
            .sum()
    }
}
