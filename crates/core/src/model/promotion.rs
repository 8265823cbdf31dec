//! Promotion: a version runs well in one environment before it comes to the next.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::{Digest, EnvironmentName, Pin, State, TargetRef, Version, words};

/// Where an environment's versions are promoted from: `[promotion]` in `environment.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Promotion {
    /// The environment that runs a version before this one does.
    pub from: EnvironmentName,
    /// How long a version has to be in sync there. Zero: that it has been in sync is enough.
    pub soak: Duration,
    /// What becomes of a version that hasn't been.
    pub mode: PromotionMode,
}

/// What becomes of a version that hasn't soaked where it is promoted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PromotionMode {
    /// It is rolled out, with a warning.
    #[default]
    Inform,
    /// It isn't rolled out.
    Require,
}

/// A time in which a target was in sync with a version, as far as it is known: seen by this process, or told by the rollouts
/// that AWS remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The version.
    pub version: Version,
    /// The digest, where the pin named one.
    pub digest: Option<Digest>,
    /// When its rollout had ended.
    pub since: Timestamp,
    /// When the next one began.
    pub until: Timestamp,
}

impl Run {
    /// How many of them are kept for a target.
    pub const MAX: usize = 16;

    /// Whether it was this pin's version. A digest counts where both name one.
    #[must_use]
    pub fn is_of(&self, pin: &Pin) -> bool {
        pin.is_same_artifact(&self.version, self.digest.as_ref())
    }

    /// How long it was, not less than no time, whatever clocks say.
    #[must_use]
    pub fn length(&self) -> Duration {
        length(self.since, self.until)
    }
}

/// From one time to another; no time if that is earlier.
#[must_use]
pub fn length(since: Timestamp, until: Timestamp) -> Duration {
    Duration::try_from(until.duration_since(since)).unwrap_or_default()
}

/// How a version stands in the environment that it is promoted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// No target there has the component.
    Unconcerned,
    /// It is in sync there for long enough, or was.
    Soaked,
    /// It is in sync there, and until then not for long enough.
    Soaking {
        /// When it will be.
        until: Timestamp,
    },
    /// It is quarantined there.
    Quarantined {
        /// The target that is.
        target: TargetRef,
    },
    /// It isn't known to have been in sync there, or not for long enough.
    Missing {
        /// A target of which that isn't known.
        target: TargetRef,
        /// What this target has pinned.
        pinned: Version,
        /// Its state.
        state: State,
        /// How long it would have to be in sync.
        soak: Duration,
    },
    /// What runs there isn't known now.
    Unread,
}

impl Standing {
    /// Whether a version that stands so may be promoted.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Unconcerned | Self::Soaked)
    }

    /// The same for people, of a version and the environment that it is promoted from.
    #[must_use]
    pub fn of<'a>(&'a self, version: &'a Version, from: &'a EnvironmentName) -> impl fmt::Display + 'a {
        struct Text<'a>(&'a Standing, &'a Version, &'a EnvironmentName);
        impl fmt::Display for Text<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Self(standing, version, from) = *self;
                match standing {
                    Standing::Unconcerned => write!(f, "{from} has no target of this component"),
                    Standing::Soaked => write!(f, "{version} has been in sync in {from} for long enough"),
                    Standing::Soaking { until } => {
                        write!(f, "{version} is in sync in {from}, and will have soaked at {until:.0}")
                    }
                    Standing::Quarantined { target } => {
                        write!(f, "{version} is quarantined in {from}: {target}")
                    }
                    Standing::Missing { target, pinned, state: State::InSync, .. } if pinned == version => {
                        write!(f, "{from} has {version} with another digest: {target}")
                    }
                    Standing::Missing { target, pinned, state, .. } if pinned == version => {
                        write!(f, "{version} isn't in sync in {from}: {target} is {state}")
                    }
                    Standing::Missing { target, pinned, soak, .. } => {
                        let long = if soak.is_zero() { String::new() } else { format!(" for {}", words::span(*soak)) };
                        write!(
                            f,
                            "{version} isn't known to have been in sync in {from}{long}: {target} has {pinned} pinned"
                        )
                    }
                    Standing::Unread => write!(f, "it isn't known what runs in {from}"),
                }
            }
        }
        Text(self, version, from)
    }
}
