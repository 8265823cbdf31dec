//! The real clock and the source of randomness: the one place that reads either.

use jiff::Timestamp;

/// Tells the time. Everything that decides by time takes one of these, so that tests set it.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The wall-clock time now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the one reader of the real clock")]
        Timestamp::now()
    }
}

/// A generator seeded from the operating system: for jitter and identifiers, never for secrets.
#[must_use]
pub fn entropy() -> fastrand::Rng {
    #[expect(clippy::disallowed_methods, reason = "the one reader of real randomness")]
    fastrand::Rng::new()
}
