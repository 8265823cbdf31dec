//! Calls that are held: their connections stay open, and they go on only when they are told to.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use super::When;

/// The held calls.
#[derive(Debug, Default)]
pub(crate) struct Held {
    calls: Mutex<(u64, BTreeMap<u64, HeldCall>)>,
    /// Changes with every call that comes or goes.
    changes: watch::Sender<u64>,
}

/// A held call.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct HeldCall {
    /// Given when it is held.
    pub(crate) id: u64,
    /// The fault that holds it.
    pub(crate) fault: u64,
    /// Whether it has taken effect.
    pub(crate) when: When,
    pub(crate) account: Option<String>,
    pub(crate) service: String,
    pub(crate) operation: String,
}

impl Held {
    fn calls(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, HeldCall>)> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Holds a call until it is released. A caller that hangs up is held no longer.
    pub(crate) async fn hold(&self, mut call: HeldCall) {
        let mut changes = self.changes.subscribe();
        let id = {
            let (last, calls) = &mut *self.calls();
            *last += 1;
            call.id = *last;
            calls.insert(*last, call);
            *last
        };
        let leave = Leave { held: self, id };
        self.changed();
        while self.calls().1.contains_key(&id) {
            if changes.changed().await.is_err() {
                break;
            }
        }
        drop(leave);
    }

    /// The held calls. Waits for the first one, but not for longer than this.
    pub(crate) async fn wait(&self, at_most: Duration) -> Vec<HeldCall> {
        let mut changes = self.changes.subscribe();
        let first = async {
            while self.calls().1.is_empty() {
                if changes.changed().await.is_err() {
                    break;
                }
            }
        };
        // What is held when the time is up is told in either case.
        drop(tokio::time::timeout(at_most, first).await);
        self.calls().1.values().cloned().collect()
    }

    /// Lets one call go on, or all. Says how many there were.
    pub(crate) fn release(&self, id: Option<u64>) -> usize {
        let released = {
            let (_, calls) = &mut *self.calls();
            let before = calls.len();
            calls.retain(|held, _| id.is_some_and(|id| *held != id));
            before - calls.len()
        };
        self.changed();
        released
    }
}

/// Takes a call out of the held ones, however its wait ends.
struct Leave<'a> {
    held: &'a Held,
    id: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let there = self.held.calls().1.remove(&self.id).is_some();
        if there {
            self.held.changed();
        }
    }
}
