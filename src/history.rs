//! What has happened, kept across restarts: for the status page, `pinion history`, and the four DORA figures.
//!
//! ```text
//!   sinks::history ──note──► (bounded channel) ──► writer (a thread) ──► store (memory, and one file of lines)
//!                                                                          │
//!                                                   page, API, command line ◄
//! ```
//!
//! Nothing depends on it: a note that finds the channel full is dropped and counted, and a file that is missing, damaged
//! or someone else's is begun again or done without. What is recorded again after a restart is known by its key.

mod dora;
mod keep;
mod query;
mod store;
#[cfg(test)]
mod tests;
pub mod wording;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;

pub use self::query::{Cursor, Query};
pub use self::store::{Retention, Store, StoreError};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::TargetRef;
use crate::model::cause::chain;
use crate::model::event::{Deliveries, EventKind, EventPage, EventRecord};

/// The file's name, in the folder of the mirrors.
pub const FILE: &str = "history.log";

/// How many events may wait to be written: those of a first pass over a large fleet.
const WAITING: usize = 16_384;

/// How many events are written at once at most.
const BATCH: usize = 1024;

enum Message {
    Note(Box<EventRecord>),
    /// All that came before has been written, or given up.
    Flush(oneshot::Sender<()>),
}

/// The history of one process. Noting never waits; reading does.
pub struct History {
    store: Arc<Store>,
    sender: SyncSender<Message>,
    dropped: AtomicU64,
    metrics: Arc<Metrics>,
    /// The targets with a rollout of which no end was noted.
    unfinished: Mutex<BTreeSet<String>>,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("dropped", &self.dropped).finish_non_exhaustive()
    }
}

impl History {
    /// Opens the history in a folder and starts to write. If there can be none on disk, it is kept in memory, with a
    /// warning.
    ///
    /// # Errors
    /// [`StoreError`] if there is no thread for it.
    pub fn start(
        folder: &Path,
        limits: Retention,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, StoreError> {
        let path = folder.join(FILE);
        let store = match Store::create(&path, limits) {
            Ok(store) => store,
            Err(error) => {
                let file = path.display().to_string();
                tracing::warn!(file, "{}; the history is kept in memory only, until the next start", chain(&error));
                Store::in_memory(limits)
            }
        };
        let store = Arc::new(store);
        let unfinished = store.unfinished(clock.now());
        let (sender, receiver) = sync_channel(WAITING);
        let writer = Arc::clone(&store);
        std::thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || write(&writer, &receiver, clock.as_ref()))
            .map_err(StoreError::Thread)?;
        Ok(Arc::new(Self { store, sender, dropped: AtomicU64::new(0), metrics, unfinished: Mutex::new(unfinished) }))
    }

    /// Events, newest first.
    #[must_use]
    pub fn page(&self, query: &Query) -> EventPage {
        let mut page = self.store.page(query);
        page.dropped = self.dropped.load(Ordering::Relaxed);
        page
    }

    /// The DORA figures of each component since a time, of one environment or all.
    #[must_use]
    pub fn deliveries(&self, environment: Option<&str>, since: Timestamp, until: Timestamp) -> Deliveries {
        self.store.deliveries(environment, since, until)
    }

    /// Waits until all that was noted is written, at most this long.
    pub async fn flush(&self, patience: Duration) {
        let (done, written) = oneshot::channel();
        if self.sender.try_send(Message::Flush(done)).is_ok() {
            // Too late or not at all: either way there is nothing more to be done.
            let _ = tokio::time::timeout(patience, written).await;
        }
    }

    fn unfinished_targets(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History {
    /// Takes note. Never waits. The same may be noted again, by this process or another: events are distinguished by their
    /// key.
    pub fn note(&self, event: EventRecord) {
        match (event.kind, &event.target) {
            (EventKind::RolloutStarted, Some(target)) => drop(self.unfinished_targets().insert(target.clone())),
            (EventKind::RolloutEnded, Some(target)) => drop(self.unfinished_targets().remove(target)),
            _ => {}
        }
        if self.sender.try_send(Message::Note(Box::new(event))).is_err() {
            if self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!("the history can't be written as quickly as things happen; events are dropped");
            }
            self.metrics.history_dropped();
        }
    }

    /// Whether a rollout of this target is known of which no end was noted.
    #[must_use]
    pub fn unfinished(&self, target: &TargetRef) -> bool {
        self.unfinished_targets().contains(&target.to_string())
    }
}

/// Writes what is noted until nobody is left to note anything. What came together is written together.
fn write(store: &Store, receiver: &Receiver<Message>, clock: &dyn Clock) {
    let mut failing = false;
    while let Ok(first) = receiver.recv() {
        let mut events = Vec::new();
        let mut waiting = Vec::new();
        for message in std::iter::once(first).chain(std::iter::from_fn(|| receiver.try_recv().ok())).take(BATCH) {
            match message {
                Message::Note(event) => events.push(*event),
                Message::Flush(done) => waiting.push(done),
            }
        }
        if !events.is_empty() {
            match store.append(events, clock.now()) {
                Ok(_) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!("the history can't be written: {}", chain(&error));
                }
                Err(_) => {}
            }
        }
        for done in waiting {
            // The caller may have given up waiting.
            let _ = done.send(());
        }
    }
}
