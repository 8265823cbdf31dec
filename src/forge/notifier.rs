//! Who is told of which events, and in which shape.

use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::news::news;
use super::outbox::Outbox;
use super::words;
use crate::clock::Clock;
use crate::config::{Format, Notify, hexadecimal, hmac_sha256};
use crate::model::CommitId;
use crate::model::event::Event;
use crate::model::status::Status;

/// The body of a notification, as JSON. Stable: fields are added, never renamed or removed within version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notification {
    /// The version of this shape: 1.
    pub version: u32,
    /// The event in one line, for people.
    pub summary: String,
    /// The event. Its `key` is the same whenever it is told again.
    pub event: Event,
}

/// Hands events to those who want to be told of them. Never waits.
#[derive(Debug)]
pub(super) struct Notifier {
    listeners: Vec<(Notify, Arc<Outbox<Event>>)>,
}

impl Notifier {
    pub(super) fn new(listeners: Vec<(Notify, Arc<Outbox<Event>>)>) -> Self {
        Self { listeners }
    }

    /// Tells what is new from one look at the status to the next, until `stop`.
    pub(super) async fn run(
        self,
        mut status: watch::Receiver<Arc<Status>>,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) {
        let mut before = Arc::clone(&status.borrow_and_update());
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = status.changed() => if changed.is_err() { return },
            }
            let after = Arc::clone(&status.borrow_and_update());
            news(&before, &after, clock.now()).iter().for_each(|event| self.tell(event));
            before = after;
        }
    }

    fn tell(&self, event: &Event) {
        for (notify, outbox) in self.listeners.iter().filter(|(notify, _)| wants(notify, event)) {
            tracing::debug!(destination = notify.name, kind = event.kind.as_str(), "telling");
            outbox.push(None, event.clone());
        }
    }
}

/// Whether somebody wants to be told of an event.
#[must_use]
pub fn wants(notify: &Notify, event: &Event) -> bool {
    let kind = notify.events.as_ref().is_none_or(|events| events.contains(&event.kind));
    let place = match (&notify.environments, &event.environment) {
        (Some(names), Some(environment)) => names.iter().any(|name| name.as_str() == environment),
        // What concerns no environment concerns all.
        _ => true,
    };
    kind && place
}

/// The body that tells of an event.
#[must_use]
pub fn body(format: Format, event: &Event) -> Value {
    let summary = words::sentence(event);
    match format {
        Format::Json => {
            serde_json::to_value(Notification { version: 1, summary, event: event.clone() }).unwrap_or_default()
        }
        Format::Slack => slack(&summary, event),
    }
}

/// Slack's shape: the text for notifications and for those who know no blocks, and the same laid out.
fn slack(summary: &str, event: &Event) -> Value {
    let summary = escaped(&words::fitting(summary, 2900));
    let mut about = vec![format!("*{}*", event.kind)];
    about.extend(event.subject.as_deref().map(|subject| escaped(&words::fitting(subject, 200))));
    about.extend(event.commit.as_deref().map(|commit| escaped(CommitId::short_of(commit))));
    json!({
        "text": summary,
        "blocks": [
            { "type": "section", "text": { "type": "mrkdwn", "text": summary, "verbatim": true } },
            { "type": "context", "elements": [{ "type": "mrkdwn", "text": about.join(" · "), "verbatim": true }] },
        ],
    })
}

/// What Slack takes as it stands: without these three nothing can become a link or a mention.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The signature of a body that is sent at a time: `sha256=` and HMAC-SHA256 of the Unix time, a full stop and the body.
#[must_use]
pub fn signature(secret: &SecretString, at: Timestamp, body: &str) -> String {
    let signed = format!("{}.{body}", at.as_second());
    let mac = hmac_sha256(secret.expose_secret().as_bytes(), signed.as_bytes());
    format!("sha256={}", hexadecimal(&mac))
}
