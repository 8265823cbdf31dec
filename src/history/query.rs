//! What is asked of the history.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use crate::model::event::EventKind;

/// The most events that one answer has.
pub(super) const MOST: usize = 500;

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// Of one environment (`prod`) or one target (`prod/asg/web`).
    pub scope: Option<String>,
    /// Of one component.
    pub component: Option<String>,
    /// Of these kinds; all if empty.
    pub kinds: BTreeSet<EventKind>,
    /// Not older than this.
    pub since: Option<Timestamp>,
    /// Older than the event that this names.
    pub before: Option<Cursor>,
    /// How many, at most 500.
    pub limit: usize,
}

impl Query {
    /// The newest so many.
    #[must_use]
    pub fn newest(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// All kinds but the finding of targets, which at a first start is one event for each target.
    #[must_use]
    pub fn of_interest(mut self) -> Self {
        self.kinds = EventKind::ALL.into_iter().filter(|kind| *kind != EventKind::TargetDiscovered).collect();
        self
    }
}

/// The place of an event: its time in microseconds, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub(super) at: i64,
    pub(super) number: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at, self.number)
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text
            .split_once('.')
            .and_then(|(at, number)| Some(Self { at: at.parse().ok()?, number: number.parse().ok()? }));
        parsed.ok_or_else(|| format!("`{text}` is not a place in the history; use `next` of an earlier answer"))
    }
}
