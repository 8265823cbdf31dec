//! What a poller is asked for before its interval is over: to poll now. All that asks for it goes through one type, whether
//! somebody wants a resync or a branch is said to have moved. What the poll finds decides.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::resync::Request;

/// Between the start of a poll and that of another one because a branch is said to have moved. All that comes in between is
/// answered by that one.
pub(super) const APART: Duration = Duration::from_secs(1);

/// Why a poller is to poll now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PollNow {
    /// A resync was asked for: at once.
    Resync,
    /// A branch is said to have moved: soon, but not sooner than [`APART`] after the last poll began.
    Moved,
}

/// Where one poller hears that it is to poll now. What comes while it is busy or waits is one request.
#[derive(Debug)]
pub(super) struct PollRequests {
    resyncs: watch::Receiver<Request>,
    moved: watch::Receiver<u64>,
}

impl PollRequests {
    /// Waits for the next request; `None` once nobody can ask any more. Nothing is lost when this is dropped.
    pub(super) async fn next(&mut self) -> Option<PollNow> {
        let (changed, why) = tokio::select! {
            changed = self.resyncs.changed() => (changed, PollNow::Resync),
            changed = self.moved.changed() => (changed, PollNow::Moved),
        };
        changed.ok().map(|()| why)
    }

    /// A poll begins, which answers all that was asked for up to now. Says up to which resync that is.
    pub(super) fn begin(&mut self) -> u64 {
        self.moved.mark_unchanged();
        self.resyncs.borrow_and_update().number
    }
}

/// What is said from outside about branches that have moved, by repository.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// How many hints there were for each URL.
    pollers: Mutex<BTreeMap<String, watch::Sender<u64>>>,
}

impl Hints {
    /// A branch of the repository at this URL has moved, or so somebody says. Unknown URLs are no matter.
    pub(super) fn moved(&self, url: &str) {
        let pollers = self.pollers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(poller) = pollers.get(url) {
            poller.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Where the poller of a repository hears of them, and of resyncs.
    pub(super) fn requests(&self, url: &str, resyncs: watch::Receiver<Request>) -> PollRequests {
        let mut pollers = self.pollers.lock().unwrap_or_else(PoisonError::into_inner);
        let moved = pollers.entry(url.to_owned()).or_insert_with(|| watch::Sender::new(0)).subscribe();
        PollRequests { resyncs, moved }
    }
}
