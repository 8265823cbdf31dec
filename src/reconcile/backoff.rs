//! Jittered exponential backoff.

use std::time::Duration;

/// Waits that double from a first to a longest one, each drawn between half of it and all of it, so that accounts that
/// failed together don't come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    /// A backoff without failures yet.
    #[must_use]
    pub fn new(first: Duration, longest: Duration, random: fastrand::Rng) -> Self {
        Self { first, longest, failures: 0, random }
    }

    /// Forgets the failures.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure and says how long to wait.
    pub fn wait(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        doubled.min(self.longest).mul_f64(0.5 + self.random.f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), fastrand::Rng::with_seed(7));
        let waits: Vec<Duration> = (0..12).map(|_| backoff.wait()).collect();
        for (number, wait) in waits.iter().enumerate() {
            let full = Duration::from_secs(1 << number.min(6)).min(Duration::from_secs(60));
            assert!(*wait >= full / 2 && *wait <= full, "wait {number} was {wait:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_secs(1));
    }
}
