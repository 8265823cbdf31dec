//! How long a wave must take: many targets at once are begun no faster than AWS takes the calls.

use std::time::Duration;

use crate::model::{Kind, words};

/// A throttling bucket of AWS's: so many calls at once, and so many a second after that, in one account and region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Calls at once.
    pub burst: u32,
    /// Calls a second after that. Never zero.
    pub per_second: u32,
}

impl Quota {
    /// `RegisterTaskDefinition` and its like ("task definition modify" in *Request throttling for the Amazon ECS API*).
    pub const TASK_DEFINITIONS: Self = Self::of(20, 1);
    /// `UpdateService` and its like ("service modify" in the same place).
    pub const SERVICES: Self = Self::of(50, 5);
    /// `CreateLaunchTemplateVersion` (*Request throttling for the Amazon EC2 API*).
    pub const TEMPLATE_VERSIONS: Self = Self::of(100, 5);
    /// All of Auto Scaling's calls. AWS doesn't publish the size of that bucket: a guess on the low side.
    pub const AUTO_SCALING: Self = Self::of(50, 10);

    /// So many calls at once, and so many a second after that.
    #[must_use]
    pub const fn of(burst: u32, per_second: u32) -> Self {
        Self { burst, per_second: if per_second == 0 { 1 } else { per_second } }
    }

    /// How long AWS makes so many calls take at least, when the bucket is full at first.
    #[must_use]
    pub fn takes(self, calls: u32) -> Duration {
        Duration::from_secs(1).saturating_mul(calls.saturating_sub(self.burst)) / self.per_second
    }
}

/// Rollouts that are to begin at once in one account and region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wave {
    /// Groups.
    pub groups: u32,
    /// Services.
    pub services: u32,
}

impl Wave {
    /// One more target.
    pub fn add(&mut self, kind: Kind) {
        let count = match kind {
            Kind::Asg => &mut self.groups,
            Kind::Fargate => &mut self.services,
        };
        *count = count.saturating_add(1);
    }

    /// How long it takes at least until the last of them has begun, and what for, in words; `None` if AWS lets all of them
    /// begin at once. Each target needs one call of each kind, one after the other, so that the slowest kind tells.
    #[must_use]
    pub fn takes(self) -> Option<(Duration, String)> {
        let calls = [
            ("RegisterTaskDefinition", Quota::TASK_DEFINITIONS, self.services),
            ("UpdateService", Quota::SERVICES, self.services),
            ("CreateLaunchTemplateVersion", Quota::TEMPLATE_VERSIONS, self.groups),
            ("StartInstanceRefresh", Quota::AUTO_SCALING, self.groups),
        ];
        let slowest = calls.into_iter().max_by_key(|(_, quota, count)| quota.takes(*count))?;
        let (operation, quota, count) = slowest;
        let takes = quota.takes(count);
        let basis = format!(
            "AWS takes {} calls of {operation} at once and then {} a second in one account and region, and {} are to begin: \
             the last one begins after {} at the earliest",
            quota.burst,
            quota.per_second,
            words::count(count, "rollout"),
            words::span(takes)
        );
        (!takes.is_zero()).then_some((takes, basis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_takes_as_long_as_its_slowest_kind_of_call() {
        let seconds = |groups, services| Wave { groups, services }.takes().map(|(takes, _)| takes.as_secs());
        assert_eq!(seconds(0, 0), None);
        assert_eq!(seconds(50, 20), None, "all within the bursts");
        assert_eq!(seconds(0, 150), Some(130), "one task definition a second after twenty");
        assert_eq!(seconds(150, 0), Some(10));
        assert_eq!(seconds(60, 21), Some(1));
        assert_eq!(seconds(u32::MAX, u32::MAX), Some(u64::from(u32::MAX) - 20));
        let (_, basis) = Wave { groups: 0, services: 150 }.takes().unwrap();
        assert!(basis.contains("20 calls of RegisterTaskDefinition at once and then 1 a second"), "{basis}");
    }
}
