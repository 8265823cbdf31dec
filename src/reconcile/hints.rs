//! Hints that a branch has moved: the repository is polled now instead of at its next interval. That is all that a hint
//! does; what the poll finds decides.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// Between the start of a poll and that of another one for a hint. All that comes in between is answered by that one.
pub(super) const APART: Duration = Duration::from_secs(1);

/// Takes hints to the pollers. Many hints that come while a poller is busy or waits are one.
#[derive(Debug, Default)]
pub struct Hints {
    /// How many hints there were for each URL.
    pollers: Mutex<BTreeMap<String, watch::Sender<u64>>>,
}

impl Hints {
    /// A branch of the repository at this URL has moved, or so somebody says. Unknown URLs are no matter.
    pub fn moved(&self, url: &str) {
        let pollers = self.pollers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(poller) = pollers.get(url) {
            poller.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Where a poller hears of them.
    pub(super) fn of(&self, url: &str) -> watch::Receiver<u64> {
        let mut pollers = self.pollers.lock().unwrap_or_else(PoisonError::into_inner);
        pollers.entry(url.to_owned()).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }
}
