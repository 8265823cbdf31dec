//! Accepting connections, with limits on their number and on how slow they may be.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::HttpLimits;

/// Serves until `stop`, then until the connections have ended.
pub(super) async fn serve(listener: TcpListener, router: Router, limits: HttpLimits, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(limits.connections));
    let mut open = VecDeque::new();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            // Reaps those that have ended, so that the set doesn't grow.
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let Some(permit) = permit(&permits, &mut open).await else { break };
                let vouched = Vouched::default();
                let (stays, gives_way) = oneshot::channel();
                open.push_back(Open { stays, vouched: vouched.clone() });
                let served = connection(stream, router.clone(), vouched, limits, stop.clone());
                connections.spawn(async move {
                    tokio::select! {
                        () = served => {}
                        _ = gives_way => tracing::debug!("a connection has given way to a newer one"),
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection");
                // Out of file descriptors, most likely: trying again at once would only burn time.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
    drop(listener);
    // Dropping these would cut their connections off.
    while connections.join_next().await.is_some() {}
    drop(open);
}

/// Whether a connection has shown the token. A handler that has checked it sets this.
#[derive(Debug, Clone, Default)]
pub(super) struct Vouched(Arc<AtomicBool>);

impl Vouched {
    /// The other side has shown the token.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A connection that is open, or was.
struct Open {
    /// Dropped to end the connection. Closed once the connection has ended.
    stays: oneshot::Sender<Infallible>,
    vouched: Vouched,
}

/// A place for one more connection. Where there is none, the oldest connection gives way, those that have shown the token last: nobody waits for a
/// place, so that connections that stall can't keep out a probe of `/healthz`. `None` if the semaphore is closed.
async fn permit(permits: &Arc<Semaphore>, open: &mut VecDeque<Open>) -> Option<OwnedSemaphorePermit> {
    open.retain(|open| !open.stays.is_closed());
    if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
        return Some(permit);
    }
    let oldest = open.iter().position(|open| !open.vouched.0.load(Ordering::Relaxed)).unwrap_or_default();
    drop(open.remove(oldest));
    Arc::clone(permits).acquire_owned().await.ok()
}

async fn connection(stream: TcpStream, router: Router, vouched: Vouched, limits: HttpLimits, stop: CancellationToken) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(vouched.clone());
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(limits.body.max(16 * 1024))
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stop.cancelled() => None,
        () = tokio::time::sleep(limits.connection) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            // A client that doesn't read its answer is cut off here.
            match tokio::time::timeout(limits.request, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const TIGHT: HttpLimits = HttpLimits {
        connections: 1,
        header: Duration::from_millis(200),
        request: Duration::from_secs(5),
        connection: Duration::from_secs(5),
        body: 1024,
    };

    async fn start() -> (std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = Router::new().route("/", get(|| async { "hello" }));
        let task = tokio::spawn(serve(listener, router, TIGHT, stop.clone()));
        (address, stop, task)
    }

    #[tokio::test]
    async fn a_client_that_never_finishes_its_request_makes_room_for_the_next() {
        let (address, stop, task) = start().await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        let mut quick = TcpStream::connect(address).await.unwrap();
        quick.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        let reading = tokio::time::timeout(Duration::from_secs(5), quick.read_to_string(&mut answer));
        reading.await.expect("the slow client is cut off").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
        stop.cancel();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn connections_that_stall_keep_nobody_out_and_who_showed_the_token_stays() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let vouch = |axum::Extension(vouched): axum::Extension<Vouched>| async move { vouched.set() };
        let router = Router::new().route("/", get(|| async { "hello" })).route("/vouch", get(vouch));
        // No time-out ends those that stall.
        let limits = HttpLimits { connections: 4, header: Duration::from_secs(600), ..TIGHT };
        let task = tokio::spawn(serve(listener, router, limits, stop.clone()));
        let mut known = TcpStream::connect(address).await.unwrap();
        known.write_all(b"GET /vouch HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert_ne!(known.read(&mut [0; 500]).await.unwrap(), 0);
        let mut stalled = Vec::new();
        for _ in 0..20 {
            let mut slow = TcpStream::connect(address).await.unwrap();
            slow.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
            stalled.push(slow);
        }
        let mut probe = TcpStream::connect(address).await.unwrap();
        probe.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        let reading = tokio::time::timeout(Duration::from_secs(5), probe.read_to_string(&mut answer));
        reading.await.expect("the probe is answered at once").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        known.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert_ne!(known.read(&mut [0; 500]).await.unwrap(), 0, "it is older than those that stall, and stays");
        stop.cancel();
        drop(stalled);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn an_idle_connection_does_not_hold_up_the_end() {
        let (address, stop, task) = start().await;
        let _idle = TcpStream::connect(address).await.unwrap();
        tokio::task::yield_now().await;
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(4), task).await.expect("it ends").unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "the port is free again");
    }
}
