//! What has happened: the shape of `/api/v1/history`.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Component, Pin, TargetRef};

/// What kind of thing has happened. Words are added, never renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// The controller started.
    #[default]
    Started,
    /// A target was seen for the first time.
    TargetDiscovered,
    /// Another commit set the target's pin.
    PinChanged,
    /// A rollout of ours runs.
    RolloutStarted,
    /// It has ended.
    RolloutEnded,
    /// The target is in sync with its pin.
    InSync,
    /// The pin's rollout failed, and isn't tried again.
    Quarantined,
    /// The rollout has outlived its deadline.
    Overdue,
    /// The target can't be planned.
    Blocked,
    /// A guardrail has begun to forbid the pin's rollout.
    Denied,
    /// What runs differs from the pin though no pin changed.
    Drifted,
    /// It is as the pin says again.
    DriftCorrected,
    /// The environment's files are wrong; its last good desired state is kept.
    EnvironmentBroken,
    /// They are good again.
    EnvironmentRecovered,
    /// Somebody asked for a resync.
    ResyncRequested,
    /// All environments have completed it.
    ResyncCompleted,
}

impl EventKind {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Self; 16] = [
        Self::Started,
        Self::TargetDiscovered,
        Self::PinChanged,
        Self::RolloutStarted,
        Self::RolloutEnded,
        Self::InSync,
        Self::Quarantined,
        Self::Overdue,
        Self::Blocked,
        Self::Denied,
        Self::Drifted,
        Self::DriftCorrected,
        Self::EnvironmentBroken,
        Self::EnvironmentRecovered,
        Self::ResyncRequested,
        Self::ResyncCompleted,
    ];

    /// Those that are sent to others as they happen; the first two are of the history alone.
    pub const NOTIFIABLE: &'static [Self] = Self::ALL.split_at(2).1;

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::TargetDiscovered => "target-discovered",
            Self::PinChanged => "pin-changed",
            Self::RolloutStarted => "rollout-started",
            Self::RolloutEnded => "rollout-ended",
            Self::InSync => "in-sync",
            Self::Quarantined => "quarantined",
            Self::Overdue => "overdue",
            Self::Blocked => "blocked",
            Self::Denied => "denied",
            Self::Drifted => "drifted",
            Self::DriftCorrected => "drift-corrected",
            Self::EnvironmentBroken => "environment-broken",
            Self::EnvironmentRecovered => "environment-recovered",
            Self::ResyncRequested => "resync-requested",
            Self::ResyncCompleted => "resync-completed",
        }
    }

    /// The kind that a word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing that has happened, as the history keeps it and notifications bring it. A field that doesn't apply is absent. Stable: fields are added, never renamed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Event")]
pub struct EventRecord {
    /// When: AWS's or Git's word for it where there is one, else when Pinion saw it.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// What distinguishes it: an event with a key that is known already is the same one, seen again.
    pub key: String,
    /// The environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The target's reference: `prod/asg/web`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Its component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The pinned version; of `started`, Pinion's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The version that was pinned before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The commit that set the pin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Its author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The first line of its message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub committed: Option<Timestamp>,
    /// AWS's id of the rollout. Of `in-sync`: the one that led there; absent if none was needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
    /// Of `rollout-ended`: `succeeded`, `failed` or `cancelled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Of `rollout-ended`: how long the rollout took. Of `in-sync`: how long the pin took, from its commit; where others are
    /// told, for how long the target was not in sync, as this process saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl EventRecord {
    /// About a target and a pin of it, with nothing more.
    #[must_use]
    pub fn of_pin(kind: EventKind, key: String, at: Timestamp, target: &TargetRef, pin: &Pin) -> Self {
        let provenance = &pin.provenance;
        Self {
            version: Some(pin.version.to_string()),
            commit: Some(provenance.commit.to_string()),
            author: Some(provenance.author.clone()),
            subject: Some(provenance.subject.clone()),
            committed: Some(provenance.time),
            ..Self::of_target(kind, key, at, target, &pin.component)
        }
    }

    /// About a target, but no pin of it.
    #[must_use]
    pub fn of_target(kind: EventKind, key: String, at: Timestamp, target: &TargetRef, component: &Component) -> Self {
        Self {
            at,
            kind,
            key,
            environment: Some(target.environment.to_string()),
            target: Some(target.to_string()),
            component: Some(component.to_string()),
            ..Self::default()
        }
    }
}

/// Some events, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct EventPage {
    /// The events.
    pub events: Vec<EventRecord>,
    /// What to ask with as `before` for the next, older page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How many events this process had to drop because they came quicker than they could be written.
    pub dropped: u64,
}

/// The four DORA figures of one component. `docs/history.md` defines each.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// The component.
    pub component: String,
    /// Pins that came in sync by a rollout, each environment's by itself.
    pub deployments: u64,
    /// The same, a day.
    pub deployments_per_day: f64,
    /// The median from a pin's commit to all of its targets being in sync, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lead_time_seconds: Option<u64>,
    /// Pins of which a rollout failed.
    pub failures: u64,
    /// Failures per pin that was tried, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_failure_rate: Option<f64>,
    /// The median from a failure to its targets being in sync again, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_restore_seconds: Option<u64>,
    /// Failures that aren't restored yet.
    pub unrestored: u64,
}

/// The DORA figures of a time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Deliveries {
    /// From when.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// Until when.
    #[schemars(with = "String")]
    pub until: Timestamp,
    /// By component.
    pub components: Vec<Delivery>,
}
