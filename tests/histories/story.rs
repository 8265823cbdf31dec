//! What a history is made of: a small world, and what happens in it. Generated, shrunk, and kept as JSON.

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// A world and its events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct History {
    /// The environments, each with an account of its own.
    pub(crate) places: Vec<Vec<Shape>>,
    /// What happens, each so many seconds after what comes before it.
    pub(crate) events: Vec<(u32, Event)>,
}

/// A target as it is at the start.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) enum Shape {
    Group { desired: u8, on: On, bake: bool },
    Service { desired: u8, breaker: bool },
}

/// The version of its launch template that a group names.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum On {
    Number,
    Latest,
    Default,
}

/// A version of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Version {
    One,
    Two,
    Three,
    /// It never gets healthy.
    Bad,
    /// There is no such artifact.
    Missing,
}

impl Version {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One => "1",
            Self::Two => "2",
            Self::Three => "3",
            Self::Bad => "bad",
            Self::Missing => "missing",
        }
    }
}

/// What goes wrong with calls.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Trouble {
    Throttle,
    Error,
    /// The call takes effect and an error is answered.
    ErrorAfter,
    Drop,
    /// The call takes effect and nothing is answered.
    DropAfter,
    Cut,
    Garbage,
    Gateway,
    /// Answers take seconds.
    Slow,
    /// Nothing is answered.
    Stall,
    /// Reads lag behind by seconds.
    Lag,
    Expire,
    Revoke,
}

/// Which calls.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Calls {
    All,
    Reads,
    Writes,
    Roles,
}

/// Something that happens. Targets and places are numbers, taken modulo how many there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) enum Event {
    /// A commit sets a pin.
    Pin { target: u8, version: Version },
    /// A commit breaks an environment's file.
    Break { place: u8 },
    /// A commit fixes it.
    Fix { place: u8 },
    /// An operator asks to retry what is quarantined.
    Retry,
    /// The controller dies at the n-th call from now, before or after its effect, and is started again after a while.
    Crash { calls: u8, after: bool, down: u8 },
    /// Calls of one place go wrong, so often at most, for so long at most.
    Trouble { place: u8, what: Trouble, calls: Calls, times: u8, seconds: u8 },
    /// Somebody else rolls out an image of theirs.
    Foreign { target: u8 },
    /// Somebody else stops whatever rollout runs.
    Cancel { target: u8 },
    /// Somebody else changes the capacity.
    Capacity { target: u8, desired: u8 },
    /// An instance of a group is terminated by hand.
    Terminate { target: u8 },
    /// The controller's clock is set.
    Clock { seconds: i16 },
    /// For a while assuming a place's role leads to another account.
    Misroute { place: u8, seconds: u8 },
}

fn shape() -> impl Strategy<Value = Shape> {
    let on = prop_oneof![3 => Just(On::Number), 1 => Just(On::Latest), 1 => Just(On::Default)];
    prop_oneof![
        (0..4_u8, on, any::<bool>()).prop_map(|(desired, on, bake)| Shape::Group { desired, on, bake }),
        (0..4_u8, prop::bool::weighted(0.8)).prop_map(|(desired, breaker)| Shape::Service { desired, breaker }),
    ]
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![
        2 => Just(Version::One),
        4 => Just(Version::Two),
        3 => Just(Version::Three),
        3 => Just(Version::Bad),
        1 => Just(Version::Missing),
    ]
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop::sample::select(vec![
        Trouble::Throttle,
        Trouble::Error,
        Trouble::ErrorAfter,
        Trouble::Drop,
        Trouble::DropAfter,
        Trouble::Cut,
        Trouble::Garbage,
        Trouble::Gateway,
        Trouble::Slow,
        Trouble::Stall,
        Trouble::Lag,
        Trouble::Lag,
        Trouble::Expire,
        Trouble::Revoke,
    ])
}

fn event() -> impl Strategy<Value = Event> {
    let calls = prop_oneof![
        2 => Just(Calls::All),
        2 => Just(Calls::Reads),
        4 => Just(Calls::Writes),
        1 => Just(Calls::Roles)
    ];
    prop_oneof![
        8 => (any::<u8>(), version()).prop_map(|(target, version)| Event::Pin { target, version }),
        1 => any::<u8>().prop_map(|place| Event::Break { place }),
        1 => any::<u8>().prop_map(|place| Event::Fix { place }),
        1 => Just(Event::Retry),
        4 => (0..12_u8, any::<bool>(), 0..60_u8)
            .prop_map(|(calls, after, down)| Event::Crash { calls, after, down }),
        5 => (any::<u8>(), trouble(), calls, 1..6_u8, 5..120_u8)
            .prop_map(|(place, what, calls, times, seconds)| Event::Trouble { place, what, calls, times, seconds }),
        2 => any::<u8>().prop_map(|target| Event::Foreign { target }),
        2 => any::<u8>().prop_map(|target| Event::Cancel { target }),
        2 => (any::<u8>(), 0..4_u8).prop_map(|(target, desired)| Event::Capacity { target, desired }),
        1 => any::<u8>().prop_map(|target| Event::Terminate { target }),
        1 => (-600..600_i16).prop_map(|seconds| Event::Clock { seconds }),
        1 => (any::<u8>(), 5..120_u8).prop_map(|(place, seconds)| Event::Misroute { place, seconds }),
    ]
}

/// Any history.
pub(crate) fn history() -> impl Strategy<Value = History> {
    let place = || prop::collection::vec(shape(), 1..3);
    let places = prop_oneof![2 => prop::collection::vec(place(), 1), 1 => prop::collection::vec(place(), 2)];
    let wait = prop_oneof![3 => 0..15_u32, 3 => 15..90_u32, 1 => 90..400_u32];
    (places, prop::collection::vec((wait, event()), 1..9)).prop_map(|(places, events)| History { places, events })
}
