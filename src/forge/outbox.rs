//! What waits to be sent to one destination: bounded, oldest first, the newest of what has one key.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::metrics::Metrics;

/// What waits to be sent.
#[derive(Debug)]
pub(super) struct Outbox<T> {
    /// What the destination is called in metrics and log lines.
    pub(super) name: String,
    pub(super) metrics: Arc<Metrics>,
    most: usize,
    waiting: Mutex<VecDeque<Item<T>>>,
    arrived: Notify,
}

/// Something to send.
#[derive(Debug)]
pub(super) struct Item<T> {
    /// What has the same key takes its place.
    pub(super) key: Option<String>,
    pub(super) value: T,
    /// How often it was tried.
    pub(super) tries: u32,
}

impl<T> Outbox<T> {
    pub(super) fn new(name: String, most: usize, metrics: Arc<Metrics>) -> Self {
        metrics.notifies(&name);
        Self { name, metrics, most, waiting: Mutex::default(), arrived: Notify::new() }
    }

    /// Puts it at the end, or in the place of what has the same key. Never waits: if there is no room, the oldest goes.
    pub(super) fn push(&self, key: Option<String>, value: T) {
        self.with(|waiting| {
            let item = Item { key, value, tries: 0 };
            if let Some(same) = waiting.iter_mut().find(|same| same.key.is_some() && same.key == item.key) {
                *same = item;
                return;
            }
            if waiting.len() >= self.most {
                waiting.pop_front();
                self.metrics.notified(&self.name, "dropped");
                tracing::warn!(destination = self.name, "too many messages wait to be sent; the oldest is dropped");
            }
            waiting.push_back(item);
        });
        self.arrived.notify_one();
    }

    /// Puts it back to the front, unless something newer with the same key has come meanwhile.
    pub(super) fn put_back(&self, item: Item<T>) {
        self.with(|waiting| {
            let newer = waiting.iter().any(|other| other.key.is_some() && other.key == item.key);
            if !newer && waiting.len() < self.most {
                waiting.push_front(item);
            }
        });
        self.arrived.notify_one();
    }

    /// The next one, if there is one.
    pub(super) fn pop(&self) -> Option<Item<T>> {
        self.with(VecDeque::pop_front)
    }

    /// Waits until there may be something.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    fn with<R>(&self, change: impl FnOnce(&mut VecDeque<Item<T>>) -> R) -> R {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut waiting);
        self.metrics.notifications_queued(&self.name, waiting.len());
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_key_counts_and_the_oldest_goes_when_there_is_no_room() {
        let outbox = Outbox::new("there".to_owned(), 2, Arc::new(Metrics::new().unwrap()));
        let key = |key: &str| Some(key.to_owned());
        outbox.push(key("a"), 1);
        outbox.push(key("b"), 2);
        outbox.push(key("a"), 3);
        let first = outbox.pop().unwrap();
        assert_eq!((first.value, first.tries), (3, 0), "in the place of the one before");
        outbox.push(key("a"), 4);
        outbox.put_back(first);
        assert_eq!([outbox.pop().unwrap().value, outbox.pop().unwrap().value], [2, 4], "a newer one has come");
        for value in 5..9 {
            outbox.push(None, value);
        }
        assert_eq!([outbox.pop().unwrap().value, outbox.pop().unwrap().value], [7, 8]);
        assert!(outbox.pop().is_none());
    }
}
