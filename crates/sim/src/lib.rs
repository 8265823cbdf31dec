//! The AWS simulator: accounts, Auto Scaling groups and ECS services on this machine, over AWS's own protocols.
//!
//! It meets the rest of the program only over a socket. `world` holds what there is, `engine` lets rollouts take their
//! course, `service` answers AWS's operations, `wire` speaks AWS's protocols, `control` is for tests and people.

mod control;
mod engine;
mod faults;
mod file;
mod http;
mod iam;
mod journal;
mod local;
mod service;
mod state;
mod wire;
mod world;

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::post;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use http::Simulator;
use journal::Journal;
use pinion_clock::{Clock, SystemClock};

pub use file::WorldError;
pub use iam::PolicyError;
pub use local::Local;
pub use state::StateError;
pub use world::World;

/// The most seconds of the simulator's time per second: all that happens in between is played.
pub const FASTEST: f64 = 1_000_000.0;
/// How often time passes for those who don't call, and the state is saved at most.
const TICKER: Duration = Duration::from_millis(200);

/// How a simulator runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Seconds of the simulator's time per second; 0: time passes only through `POST /_sim/advance`.
    pub speed: f64,
    /// The same seed and the same calls give the same story.
    pub seed: u64,
    /// Where the world is kept, if it is to outlive the process. If the file exists, the simulator goes on from it.
    pub state: Option<PathBuf>,
    /// Where every answer is noted down: JSON lines of `service`, `operation`, `status` and `body`.
    pub record: Option<PathBuf>,
    /// Tells wall-clock time.
    pub clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            speed: 1.0,
            seed: 1,
            state: None,
            record: None,
            clock: Arc::new(SystemClock),
        }
    }
}

/// Why a simulator can't run.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// It can't listen.
    #[error("the simulator can't listen on {listen}; give another --listen address")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Speed must be a number from 0 up.
    #[error("{speed} is not a speed; give 0 to {} seconds per second", FASTEST)]
    Speed {
        /// What was given.
        speed: f64,
    },
    /// Its state can't be kept.
    #[error(transparent)]
    State(#[from] StateError),
    /// The listener ended.
    #[error("the simulator stopped listening")]
    Serve(#[source] std::io::Error),
}

/// The simulator.
#[derive(Debug)]
pub struct Sim;

impl Sim {
    /// Starts a simulator in this process. It runs until the handle shuts it down or is dropped.
    ///
    /// # Errors
    ///
    /// If it can't listen, or its state file can't be used.
    pub async fn start(world: World, options: Options) -> Result<SimHandle, SimError> {
        let listen = options.listen;
        let stand = stand(world, options)?;
        let listener = TcpListener::bind(listen).await.map_err(|source| SimError::Listen { listen, source })?;
        let addr = listener.local_addr().map_err(SimError::Serve)?;
        stand.save();
        let router = router(&stand);

        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let stopped = stop.clone();
        tasks.spawn(
            async move { axum::serve(listener, router).with_graceful_shutdown(stopped.cancelled_owned()).await },
        );
        let stopped = stop.clone();
        let ticking = Arc::clone(&stand);
        tasks.spawn(async move {
            let mut ticker = tokio::time::interval(TICKER);
            ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = stopped.cancelled() => {
                        ticking.save();
                        return Ok(());
                    }
                    _ = ticker.tick() => {
                        drop(ticking.lock());
                        ticking.save();
                    }
                }
            }
        });
        Ok(SimHandle { addr, stop, tasks })
    }
}

/// Where a simulator begins: with the world given, or where its state file says that it was.
fn stand(world: World, options: Options) -> Result<Arc<Simulator>, SimError> {
    let Options { listen: _, speed, seed, state, record, clock } = options;
    if !(0.0..=FASTEST).contains(&speed) {
        return Err(SimError::Speed { speed });
    }
    let (mut world, journal) = match &state {
        None => (fresh(world, seed), Journal::default()),
        Some(path) => {
            let mut journal = path.clone().into_os_string();
            journal.push(".journal");
            let journal = PathBuf::from(journal);
            let world = state::load(path)?.unwrap_or_else(|| fresh(world, seed));
            let opened = Journal::open(&journal, world.calls);
            (world, opened.map_err(|source| StateError::Io { path: journal, source })?)
        }
    };
    let record = record.map(|path| match File::options().create(true).append(true).open(&path) {
        Ok(file) => Ok(file),
        Err(source) => Err(StateError::Io { path, source }),
    });
    world.anchor(clock.now().as_millisecond(), speed);
    Ok(Arc::new(Simulator::new(world, journal, clock, state).recording(record.transpose()?)))
}

fn router(stand: &Arc<Simulator>) -> axum::Router {
    axum::Router::new().route("/", post(http::serve)).merge(control::router()).with_state(Arc::clone(stand))
}

fn fresh(mut world: World, seed: u64) -> World {
    world.reseed(seed);
    world
}

/// A running simulator. Dropping it ends it at once.
#[derive(Debug)]
pub struct SimHandle {
    addr: SocketAddr,
    stop: CancellationToken,
    tasks: JoinSet<std::io::Result<()>>,
}

impl SimHandle {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What to set `AWS_ENDPOINT_URL` to.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// A token that ends the simulator when it is cancelled.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// If the listener failed.
    pub async fn wait(mut self) -> Result<(), SimError> {
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(SimError::Serve(error)),
                Err(error) => return Err(SimError::Serve(std::io::Error::other(error))),
            }
        }
        Ok(())
    }

    /// Ends it, answering what is being asked.
    ///
    /// # Errors
    ///
    /// If the listener failed.
    pub async fn shutdown(self) -> Result<(), SimError> {
        self.stop.cancel();
        self.wait().await
    }
}
