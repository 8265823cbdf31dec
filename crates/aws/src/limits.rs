//! Rate limits on this side, of one account and region, so that Pinion leaves room in AWS's throttling buckets for others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::operation::Family;
use pinion_core::model::AccountId;
use pinion_core::plan::forecast::Quota;

/// The limits of all accounts and regions: AWS counts the calls of an account in a region, whichever environment makes them.
#[derive(Debug, Clone, Default)]
pub(super) struct AllLimits(Arc<Mutex<ByPlace>>);

/// By account and region.
type ByPlace = BTreeMap<(AccountId, String), Arc<RateLimits>>;

impl AllLimits {
    /// Those of an account in a region. The same ones each time.
    pub(super) fn of(&self, account: &AccountId, region: &str) -> Arc<RateLimits> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry((account.clone(), region.to_owned())).or_insert_with(|| Arc::new(RateLimits::new())))
    }
}

/// A token bucket for each family of calls.
#[derive(Debug)]
pub(super) struct RateLimits(BTreeMap<Family, Bucket>);

#[derive(Debug)]
struct Bucket {
    quota: Quota,
    /// Callers wait here in the order in which they came. One that stops waiting leaves no debt.
    queue: tokio::sync::Mutex<()>,
    level: Mutex<Level>,
}

#[derive(Debug)]
struct Level {
    tokens: f64,
    filled: Instant,
    /// Tokens that somebody has waited for already, and not yet used.
    reserved: u32,
}

impl RateLimits {
    /// Full buckets.
    fn new() -> Self {
        let now = Instant::now();
        let bucket = |family: Family| {
            let quota = family.quota();
            let level = Level { tokens: f64::from(quota.burst), filled: now, reserved: 0 };
            (family, Bucket { quota, queue: tokio::sync::Mutex::default(), level: Mutex::new(level) })
        };
        Self(Family::ALL.into_iter().map(bucket).collect())
    }

    /// Waits until a call of the family may be made. A token that was reserved is used first.
    pub(super) async fn acquire(&self, family: Family) {
        let Some(bucket) = self.0.get(&family) else { return };
        if !bucket.level(Level::redeem) {
            bucket.wait().await;
        }
    }

    /// Waits for a token, and keeps it for the family's next call.
    pub(super) async fn reserve(&self, family: Family) {
        let Some(bucket) = self.0.get(&family) else { return };
        bucket.wait().await;
        bucket.level(|level| level.reserved = level.reserved.saturating_add(1));
    }

    /// A call of the family is made once more without waiting, as the SDK does: those that come after it wait for longer.
    pub(super) fn charge(&self, family: Family) {
        if let Some(bucket) = self.0.get(&family) {
            bucket.level(|level| level.tokens = (level.tokens - 1.0).max(-f64::from(bucket.quota.burst)));
        }
    }

    /// AWS asked for fewer calls: what was saved up is gone.
    pub(super) fn throttled(&self, family: Family) {
        if let Some(bucket) = self.0.get(&family) {
            bucket.level(|level| level.tokens = level.tokens.min(0.0));
        }
    }
}

impl Bucket {
    async fn wait(&self) {
        let _place = self.queue.lock().await;
        loop {
            let wait = self.level(|level| level.take(self.quota, Instant::now()));
            if wait.is_zero() {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn level<T>(&self, change: impl FnOnce(&mut Level) -> T) -> T {
        change(&mut self.level.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Level {
    /// Takes a token, or says how long there will be none.
    fn take(&mut self, quota: Quota, now: Instant) -> Duration {
        let (burst, per_second) = (f64::from(quota.burst), f64::from(quota.per_second));
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * per_second).min(burst);
        self.filled = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Duration::ZERO;
        }
        // At least what a timer can tell apart.
        Duration::from_secs_f64((1.0 - self.tokens) / per_second).max(Duration::from_millis(1))
    }

    fn redeem(&mut self) -> bool {
        let some = self.reserved > 0;
        self.reserved = self.reserved.saturating_sub(1);
        some
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate_holds() {
        let limits = RateLimits::new();
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
        let limits = RateLimits::new();
        limits.throttled(Family::EcsServiceWrite);
        let start = Instant::now();
        limits.acquire(Family::EcsServiceRead).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        limits.acquire(Family::EcsServiceWrite).await;
        assert!(start.elapsed() >= Duration::from_millis(200));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_once_more_counts_and_is_a_debt_at_most_as_large_as_a_burst() {
        let limits = RateLimits::new();
        let start = Instant::now();
        (0..22).for_each(|_| limits.charge(Family::EcsDefinitionWrite));
        limits.acquire(Family::EcsDefinitionWrite).await;
        assert!((2900..3100).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
        let start = Instant::now();
        (0..1000).for_each(|_| limits.charge(Family::EcsDefinitionWrite));
        limits.acquire(Family::EcsDefinitionWrite).await;
        assert!((20_000..21_100).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_stops_waiting_leaves_no_debt_and_a_reserved_token_serves_the_next_call() {
        let limits = Arc::new(RateLimits::new());
        for _ in 0..20 {
            limits.acquire(Family::EcsDefinitionWrite).await;
        }
        let start = Instant::now();
        let mut many = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let limits = Arc::clone(&limits);
            many.spawn(async move { limits.reserve(Family::EcsDefinitionWrite).await });
        }
        tokio::time::sleep(Duration::from_millis(3500)).await;
        many.shutdown().await;
        for _ in 0..3 {
            limits.acquire(Family::EcsDefinitionWrite).await;
        }
        assert!(start.elapsed() < Duration::from_secs(4), "three were reserved: {:?}", start.elapsed());
        limits.acquire(Family::EcsDefinitionWrite).await;
        assert!(start.elapsed() < Duration::from_secs(5), "those who left don't count: {:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn environments_in_one_account_and_region_share_their_limits() {
        let all = AllLimits::default();
        let account = |id: &str| AccountId::try_from(id).unwrap();
        let first = all.of(&account("222222222222"), "us-west-1");
        for _ in 0..20 {
            first.acquire(Family::EcsDefinitionWrite).await;
        }
        let start = Instant::now();
        all.of(&account("333333333333"), "us-west-1").acquire(Family::EcsDefinitionWrite).await;
        all.of(&account("222222222222"), "us-west-2").acquire(Family::EcsDefinitionWrite).await;
        assert_eq!(start.elapsed(), Duration::ZERO, "another account, another region");
        all.of(&account("222222222222"), "us-west-1").acquire(Family::EcsDefinitionWrite).await;
        assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    }
}
