//! Where events go: each sink is one file, and receives what [`crate::events`] has found out. None of them looks for changes
//! by itself, so that log, metrics, history and notifications can't disagree. A new sink is a new file, and one line where
//! the controller is put together.

mod history;
mod log;
mod metrics;
mod notifications;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::history::HistorySink;
pub use self::log::LogSink;
pub use self::metrics::MetricsSink;
pub use self::notifications::NotificationSink;
use crate::events::Event;
use crate::model::TargetRef;
use crate::ports::EventSink;

/// Several sinks, each of which receives everything, in this order.
#[derive(Debug, Clone, Default)]
pub struct Sinks(pub Vec<Arc<dyn EventSink>>);

impl EventSink for Sinks {
    fn take(&self, event: &Event<'_>) {
        self.0.iter().for_each(|sink| sink.take(event));
    }

    fn has_unfinished(&self, target: &TargetRef) -> bool {
        self.0.iter().any(|sink| sink.has_unfinished(target))
    }
}
