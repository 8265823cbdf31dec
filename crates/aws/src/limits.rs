//! Client-side rate limits of one account, so that Pinion leaves room in AWS's throttling buckets for others.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::operation::Family;

/// A token bucket for each family of calls.
#[derive(Debug)]
pub(super) struct Limits(BTreeMap<Family, Mutex<Bucket>>);

#[derive(Debug)]
struct Bucket {
    burst: f64,
    per_second: f64,
    /// Below zero while callers wait: what is missing is what they wait for.
    tokens: f64,
    filled: Instant,
}

impl Limits {
    /// Full buckets.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let bucket = |family: Family| {
            let (burst, per_second) = family.quota();
            let (burst, per_second) = (f64::from(burst), f64::from(per_second));
            (family, Mutex::new(Bucket { burst, per_second, tokens: burst, filled: now }))
        };
        Self(Family::ALL.into_iter().map(bucket).collect())
    }

    /// Waits until a call of the family may be made.
    pub(super) async fn acquire(&self, family: Family) {
        let Some(bucket) = self.0.get(&family) else { return };
        let wait = bucket.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// AWS asked for fewer calls: what was saved up is gone.
    pub(super) fn throttled(&self, family: Family) {
        if let Some(bucket) = self.0.get(&family) {
            let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.tokens = bucket.tokens.min(0.0);
        }
    }
}

impl Bucket {
    /// Takes a token and says how long to wait for it.
    fn take(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst) - 1.0;
        self.filled = now;
        if self.tokens >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-self.tokens / self.per_second) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate_holds() {
        let limits = Limits::new();
        let start = Instant::now();
        for _ in 0..20 {
            limits.acquire(Family::EcsDefinitionWrite).await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..3 {
            limits.acquire(Family::EcsDefinitionWrite).await;
        }
        assert!(start.elapsed() >= Duration::from_secs(3), "{:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttle_empties_the_bucket_and_no_other() {
        let limits = Limits::new();
        limits.throttled(Family::EcsServiceWrite);
        let start = Instant::now();
        limits.acquire(Family::EcsServiceRead).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        limits.acquire(Family::EcsServiceWrite).await;
        assert!(start.elapsed() >= Duration::from_millis(200));
    }
}
