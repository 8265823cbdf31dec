//! The HTTP server of a running controller: the status page, the API, metrics and health. It reads a watch and drives
//! nothing; all that it may ask for is a resync, through [`RequestResync`], and a poll, through [`hooks::TakeHints`].

mod history;
pub mod hooks;
mod host;
mod json;
mod limits;
mod page;
mod resync;
mod routes;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::history::History;
use crate::metrics::Metrics;
use crate::model::status::Snapshot;

/// Takes requests for a resync.
pub trait RequestResync: Send + Sync {
    /// Asks for a resync and returns its number, from 1. The request may be merged with others; it is done once
    /// [`ResyncStatus::completed`](crate::model::status::ResyncStatus::completed) has reached that number.
    fn request(&self, retry_quarantined: bool) -> u64;
}

/// What the server shows and whom it asks.
#[derive(Clone)]
pub struct Server {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// What the controller says about itself.
    pub status: watch::Receiver<Arc<Snapshot>>,
    /// What has happened.
    pub history: Arc<History>,
    /// Whom to ask for a resync.
    pub resync: Arc<dyn RequestResync>,
    /// The bearer token for requests that change anything. Without one nobody may.
    pub token: Option<SecretString>,
    /// Who takes push events; `None` where they are refused.
    pub hooks: Option<hooks::Hooks>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// A server that listens.
#[derive(Debug)]
pub struct Running {
    /// The address, with the port that was really taken.
    pub address: SocketAddr,
    /// Ends once the server was told to stop and the requests in flight are answered.
    pub task: JoinHandle<()>,
}

/// The server can't listen.
#[derive(Debug, Error)]
#[error("can't listen on {address}; choose another address with `server.listen` in pinion.toml")]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// How much untrusted people may use. Not configurable: no honest client comes near.
#[derive(Debug, Clone, Copy)]
struct HttpLimits {
    /// Connections at a time; where one more comes, the oldest gives way.
    connections: usize,
    /// How long the head of a request may take, and a connection may idle.
    header: Duration,
    /// How long answering a request may take, its body included. Longer than [`resync::MAX_WAIT`].
    request: Duration,
    /// How long a connection is used before the client has to open another.
    connection: Duration,
    /// The largest body of a request, in bytes.
    body: usize,
}

const LIMITS: HttpLimits = HttpLimits {
    connections: 128,
    header: Duration::from_secs(10),
    request: Duration::from_secs(75),
    connection: Duration::from_secs(600),
    body: 64 * 1024,
};

impl Server {
    /// Listens on `listen` until `stop` is cancelled; then requests in flight are answered, waiting ones at once.
    ///
    /// # Errors
    /// [`ListenError`].
    pub async fn start(self, listen: SocketAddr, stop: CancellationToken) -> Result<Running, ListenError> {
        let failed = |source| ListenError { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        if !address.ip().is_loopback() {
            tracing::info!(%address, "the status can be read from other machines: anyone who reaches this address sees it");
        }
        let router = routes::router(self, address.ip().is_loopback(), stop.clone());
        let task = tokio::spawn(limits::serve(listener, router, LIMITS, stop));
        Ok(Running { address, task })
    }
}
