//! Signals: what stops the process, and what asks it to do something.
//!
//! The first SIGTERM or SIGINT asks for an orderly end, the second for one at once. SIGHUP, SIGUSR1 and SIGUSR2 are
//! requests; their meaning stands at [`Signal`].

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What an operator asks a running controller for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP: read the configuration again, and resync.
    Reload,
    /// SIGUSR1: resync.
    Resync,
    /// SIGUSR2: resync, and retry quarantined pins.
    ResyncRetrying,
}

/// The process's signals, from [`listen`] on.
#[derive(Debug)]
pub struct Signals {
    /// Cancelled by the first SIGTERM or SIGINT: finish the call in flight and start nothing new.
    pub stop: CancellationToken,
    /// Cancelled by the second one: leave at once.
    pub abort: CancellationToken,
    /// The requests, in the order in which they came.
    pub requests: mpsc::UnboundedReceiver<Signal>,
}

/// Takes over the process's signals. From here on none of them ends the process by itself.
///
/// # Errors
/// If the operating system refuses a handler.
pub fn listen() -> io::Result<Signals> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut user1 = signal(SignalKind::user_defined1())?;
    let mut user2 = signal(SignalKind::user_defined2())?;
    let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
    // Unbounded, because the kernel merges what comes quicker than it is taken, and a request may not get lost.
    let (sender, requests) = mpsc::unbounded_channel();
    let (first, second) = (stop.clone(), abort.clone());
    tokio::spawn(async move {
        loop {
            let (name, request) = tokio::select! {
                _ = terminate.recv() => ("SIGTERM", None),
                _ = interrupt.recv() => ("SIGINT", None),
                _ = hangup.recv() => ("SIGHUP", Some(Signal::Reload)),
                _ = user1.recv() => ("SIGUSR1", Some(Signal::Resync)),
                _ = user2.recv() => ("SIGUSR2", Some(Signal::ResyncRetrying)),
            };
            match request {
                Some(request) => {
                    tracing::info!(signal = name, "signal received");
                    // Nobody listens any more once the end has begun.
                    let _ = sender.send(request);
                }
                None if first.is_cancelled() => {
                    tracing::warn!(signal = name, "second signal: leaving at once");
                    second.cancel();
                    return;
                }
                None => {
                    tracing::info!(signal = name, "stopping: calls in flight are finished, nothing new is started");
                    first.cancel();
                }
            }
        }
    });
    Ok(Signals { stop, abort, requests })
}

/// How the end went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Everything came to its end.
    Done,
    /// The grace period was not enough.
    TimedOut,
    /// A second signal came.
    Aborted,
}

/// Waits for `work` until `stop`, then for the grace period, or until `abort`. Returns what `work` gave if it ended.
pub async fn drain<T>(
    work: impl Future<Output = T>,
    stop: &CancellationToken,
    abort: &CancellationToken,
    grace: Duration,
) -> (Drained, Option<T>) {
    let limit = async {
        stop.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        // First what ended: a result must not be lost to a time limit that is reached in the same moment.
        biased;
        output = work => (Drained::Done, Some(output)),
        () = abort.cancelled() => (Drained::Aborted, None),
        () = limit => (Drained::TimedOut, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_may_use_the_grace_period_but_not_more() {
        let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
        let grace = Duration::from_secs(10);
        let quick = drain(tokio::time::sleep(Duration::from_secs(3600)), &stop, &abort, grace).await;
        assert_eq!(quick.0, Drained::Done, "without a signal there is no limit");

        stop.cancel();
        let quick = drain(tokio::time::sleep(Duration::from_secs(9)), &stop, &abort, grace).await;
        assert_eq!(quick.0, Drained::Done);
        let slow = drain(tokio::time::sleep(Duration::from_secs(11)), &stop, &abort, grace).await;
        assert_eq!(slow.0, Drained::TimedOut);

        abort.cancel();
        let aborted = drain(tokio::time::sleep(Duration::from_secs(1)), &stop, &abort, grace).await;
        assert_eq!(aborted.0, Drained::Aborted);
    }
}
