//! Events that are read off the status: resyncs, environments whose files break, the start itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::model::event::{Event, EventKind};
use crate::model::status::{ResyncStatus, Status};
use crate::ports::EventSink;

/// Follows the status until `stop`, and notes what has changed. The status is a watch: of changes that come quicker than
/// this can look, the last one counts.
pub async fn watch(
    mut status: watch::Receiver<Arc<Status>>,
    event_sink: Arc<dyn EventSink>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let started = clock.now();
    let version = status.borrow().version.clone();
    event_sink.note(Event {
        at: started,
        kind: EventKind::Started,
        key: format!("started|{started}"),
        version: Some(version),
        ..Event::default()
    });
    let mut seen = Seen { started, resync: ResyncStatus::default(), broken: BTreeMap::new() };
    loop {
        let now = Arc::clone(&status.borrow_and_update());
        seen.compare(&now, clock.now()).into_iter().for_each(|event| event_sink.note(event));
        tokio::select! {
            () = stop.cancelled() => return,
            changed = status.changed() => if changed.is_err() { return },
        }
    }
}

/// What was seen last.
#[derive(Debug)]
struct Seen {
    /// Resyncs are numbered again by each process.
    started: Timestamp,
    resync: ResyncStatus,
    /// Whether each environment's files were wrong.
    broken: BTreeMap<String, bool>,
}

impl Seen {
    fn compare(&mut self, status: &Status, now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        let started = self.started;
        let mut resync = |kind: EventKind, from: u64, to: u64| {
            events.extend((from + 1..=to).map(|number| Event {
                at: now,
                kind,
                key: format!("{kind}|{started}|{number}"),
                text: Some(format!("resync {number}")),
                ..Event::default()
            }));
        };
        resync(EventKind::ResyncRequested, self.resync.requested, status.resync.requested);
        resync(EventKind::ResyncCompleted, self.resync.completed, status.resync.completed);
        self.resync = status.resync;

        let mut broken = BTreeMap::new();
        for (name, environment) in &status.environments {
            let wrong = !environment.errors.is_empty();
            // Before the first look at its files an environment is neither.
            let looked = wrong || environment.valid;
            if looked && self.broken.get(name) != Some(&wrong) {
                events.push(Event {
                    at: now,
                    kind: if wrong { EventKind::EnvironmentBroken } else { EventKind::EnvironmentRecovered },
                    key: format!("{}|{name}", EventKind::EnvironmentBroken),
                    environment: Some(name.clone()),
                    commit: Some(environment.revision.clone()).filter(|revision| !revision.is_empty()),
                    text: environment.errors.first().cloned(),
                    ..Event::default()
                });
            }
            if looked {
                broken.insert(name.clone(), wrong);
            }
        }
        self.broken = broken;
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::status::EnvironmentStatus;

    #[test]
    fn the_status_is_told_as_it_changes() {
        let mut seen =
            Seen { started: Timestamp::UNIX_EPOCH, resync: ResyncStatus::default(), broken: BTreeMap::new() };
        let mut status = Status::default();
        let mut kinds = |status: &Status| -> Vec<EventKind> {
            seen.compare(status, Timestamp::UNIX_EPOCH).iter().map(|event| event.kind).collect()
        };
        assert_eq!(kinds(&status), []);
        status.resync = ResyncStatus { requested: 2, completed: 1 };
        let (asked, done) = (EventKind::ResyncRequested, EventKind::ResyncCompleted);
        assert_eq!(kinds(&status), [asked, asked, done]);
        assert_eq!(kinds(&status), []);
        let good = EnvironmentStatus { valid: true, ..EnvironmentStatus::default() };
        let bad = EnvironmentStatus { errors: vec!["x".to_owned()], ..EnvironmentStatus::default() };
        status.environments.insert("dev".to_owned(), EnvironmentStatus::default());
        assert_eq!(kinds(&status), [], "nothing has been read yet");
        // The history keeps a fixing only of what was broken.
        for (next, expected) in [
            (good.clone(), EventKind::EnvironmentRecovered),
            (bad, EventKind::EnvironmentBroken),
            (good, EventKind::EnvironmentRecovered),
        ] {
            status.environments.insert("dev".to_owned(), next);
            assert_eq!(kinds(&status), [expected]);
            assert_eq!(kinds(&status), []);
        }
    }
}
