//! Who is notified of which events, and in which shape.

use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::outbox::Outbox;
use super::words;
use crate::config::{Format, Notify, hmac_sha256};
use crate::model::CommitId;
use crate::model::event::EventRecord;
use crate::model::hex::hex;

/// The body of a notification, as JSON. Stable: fields are added, never renamed or removed within version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notification {
    /// The version of this shape: 1.
    pub version: u32,
    /// The event in one line, for people.
    pub summary: String,
    /// The event. Its `key` is the same whenever it is sent again.
    pub event: EventRecord,
}

/// Somebody who is notified of events, and what waits to be sent to them.
#[derive(Debug)]
pub struct Listener {
    notify: Notify,
    outbox: Arc<Outbox<EventRecord>>,
}

impl Listener {
    pub(super) fn new(notify: Notify, outbox: Arc<Outbox<EventRecord>>) -> Self {
        Self { notify, outbox }
    }

    /// Puts an event into the outbox, if it is wanted. Never waits.
    pub fn offer(&self, event: &EventRecord) {
        if wants(&self.notify, event) {
            tracing::debug!(destination = self.notify.name, kind = event.kind.as_str(), "notifying");
            self.outbox.push(None, event.clone());
        }
    }
}

/// Whether somebody wants to be notified of an event.
#[must_use]
pub fn wants(notify: &Notify, event: &EventRecord) -> bool {
    let kind = notify.events.as_ref().is_none_or(|events| events.contains(&event.kind));
    let place = match (&notify.environments, &event.environment) {
        (Some(names), Some(environment)) => names.iter().any(|name| name.as_str() == environment),
        // What concerns no environment concerns all.
        _ => true,
    };
    kind && place
}

/// The body of a notification.
#[must_use]
pub fn body(format: Format, event: &EventRecord) -> Value {
    let summary = words::sentence(event);
    match format {
        Format::Json => {
            serde_json::to_value(Notification { version: 1, summary, event: event.clone() }).unwrap_or_default()
        }
        Format::Slack => slack(&summary, event),
    }
}

/// Slack's shape: the text for notifications and for those who know no blocks, and the same laid out.
fn slack(summary: &str, event: &EventRecord) -> Value {
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
    format!("sha256={}", hex(&mac))
}
