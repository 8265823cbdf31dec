//! How many at a time, in how many batches, and about how long.

use std::time::Duration;

use super::{Course, Prospect};
use crate::model::survey::{GroupSettings, Host, ServiceSettings};
use crate::model::{ObservedTarget, RolloutSettings, words};

/// How long an instance is taken to need from its launch until it is in service, before it warms up.
const LAUNCH: Duration = Duration::from_secs(60);
/// How long a task is taken to need from its start until it is healthy, and its predecessor to drain.
const START: Duration = Duration::from_secs(90);
/// `CheckpointDelay` where there are checkpoints and none is given.
const CHECKPOINT_DELAY: Duration = Duration::from_secs(3600);

pub(super) fn course(prospect: Prospect<'_>) -> Option<Course> {
    match (prospect.seen, prospect.survey.host.as_ref()?) {
        (ObservedTarget::Group(group), Host::Group(settings)) => {
            let replaces = prospect.total.saturating_sub(prospect.updated);
            Some(refresh(replaces, group.desired_capacity, &prospect.target.rollout, settings))
        }
        (ObservedTarget::Service(service), Host::Service(settings)) => Some(deployment(service.desired, settings)),
        _ => None,
    }
}

fn refresh(replaces: u32, desired: u32, wanted: &RolloutSettings, settings: &GroupSettings) -> Course {
    // Who sets only a minimum gets a maximum of 100 and not the policy's.
    let (min, max) = match wanted.min_healthy {
        Some(min) => (u32::from(min), wanted.max_healthy.map_or(100, u32::from)),
        None => (settings.min_healthy.unwrap_or(90), settings.max_healthy.unwrap_or(100)),
    };
    let at_a_time = share(desired, max.saturating_sub(min)).max(1).min(replaces.max(1));
    let mut batches = 0_u32;
    let mut done = 0;
    let mut pauses = 0;
    let whole = [100];
    let checkpoints = if wanted.checkpoints.is_empty() { &whole[..] } else { wanted.checkpoints.as_slice() };
    for percentage in checkpoints {
        let upto = ceiling(replaces, u32::from(*percentage));
        batches = batches.saturating_add(upto.saturating_sub(done).div_ceil(at_a_time));
        done = done.max(upto);
        pauses += u32::from(*percentage < 100);
    }
    if replaces == 0 {
        (batches, pauses) = (0, 0);
    }
    let warmup = wanted.warmup.unwrap_or(Duration::from_secs(settings.warmup.into()));
    let pause = wanted.checkpoint_delay.unwrap_or(CHECKPOINT_DELAY);
    let bake = if replaces == 0 { Duration::ZERO } else { wanted.bake.unwrap_or_default() };
    let takes = times(LAUNCH.saturating_add(warmup), batches).saturating_add(times(pause, pauses)).saturating_add(bake);
    let mut basis = format!(
        "healthy {min} to {max} %; per batch {} to launch and {} to warm up",
        words::span(LAUNCH),
        words::span(warmup)
    );
    if pauses > 0 {
        basis += &format!("; {} of {}", words::count(pauses, "checkpoint"), words::span(pause));
    }
    if !bake.is_zero() {
        basis += &format!("; {} to bake", words::span(bake));
    }
    Course { method: "instance refresh", replaces, at_a_time, batches, takes, basis, stuck: None }
}

fn deployment(desired: u32, settings: &ServiceSettings) -> Course {
    let ServiceSettings { min_healthy: min, max_healthy: max, .. } = *settings;
    let bake = Duration::from_secs(settings.bake.into());
    if settings.strategy != "ROLLING" {
        let (steps, pause) = settings.steps.unwrap_or((0, 0));
        let pause = Duration::from_secs(pause.into());
        let method = match settings.strategy.as_str() {
            "LINEAR" => "linear deployment",
            "CANARY" => "canary deployment",
            _ => "blue/green deployment",
        };
        let mut basis = format!("all new tasks beside the old ones: {}", words::span(START));
        if steps > 0 {
            basis += &format!("; traffic shifts in {} steps with {} between them", steps.max(2), words::span(pause));
        }
        if !bake.is_zero() {
            basis += &format!("; {} to bake", words::span(bake));
        }
        let takes = START.saturating_add(times(pause, steps)).saturating_add(bake);
        return Course {
            method,
            replaces: desired,
            at_a_time: desired,
            batches: 1.min(desired),
            takes,
            basis,
            stuck: None,
        };
    }
    let (least, most) = (ceiling(desired, min), share(desired, max));
    let room = most.saturating_sub(least);
    let stuck = (room == 0 && desired > 0).then(|| {
        format!(
            "with minimumHealthyPercent {min} and maximumPercent {max} ECS may neither stop nor start one of {}: raise \
             maximumPercent",
            words::count(desired, "task")
        )
    });
    let at_a_time = room.clamp(1, desired.max(1));
    let batches = desired.div_ceil(at_a_time);
    let mut basis = format!("healthy {min} to {max} %; per batch {} to start and to drain", words::span(START));
    if !bake.is_zero() {
        basis += &format!("; {} to bake", words::span(bake));
    }
    let takes = times(START, batches).saturating_add(bake);
    Course { method: "rolling deployment", replaces: desired, at_a_time, batches, takes, basis, stuck }
}

/// So many per cent, rounded down.
fn share(of: u32, percent: u32) -> u32 {
    u32::try_from(u64::from(of) * u64::from(percent) / 100).unwrap_or(u32::MAX)
}

/// So many per cent, rounded up.
fn ceiling(of: u32, percent: u32) -> u32 {
    u32::try_from((u64::from(of) * u64::from(percent)).div_ceil(100)).unwrap_or(u32::MAX)
}

fn times(duration: Duration, factor: u32) -> Duration {
    duration.saturating_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(min: Option<u8>, max: Option<u8>, checkpoints: &[u8]) -> RolloutSettings {
        RolloutSettings {
            min_healthy: min,
            max_healthy: max,
            warmup: Some(Duration::from_secs(90)),
            checkpoints: checkpoints.to_vec(),
            checkpoint_delay: (!checkpoints.is_empty()).then_some(Duration::from_secs(300)),
            bake: Some(Duration::from_secs(600)),
            ..RolloutSettings::default()
        }
    }

    fn shown(course: &Course) -> String {
        format!("{} at a time, {} batches, {} s", course.at_a_time, course.batches, course.takes.as_secs())
    }

    #[test]
    fn batches_of_a_refresh_follow_health_and_checkpoints() {
        let refresh = |replaces, desired, settings: &RolloutSettings, own: &GroupSettings| {
            shown(&super::refresh(replaces, desired, settings, own))
        };
        let none = GroupSettings::default();
        assert_eq!(refresh(10, 10, &group(Some(90), Some(120), &[]), &none), "3 at a time, 4 batches, 1200 s");
        assert_eq!(refresh(3, 3, &group(Some(100), Some(110), &[]), &none), "1 at a time, 3 batches, 1050 s");
        assert_eq!(refresh(10, 10, &group(None, None, &[20, 50, 100]), &none), "1 at a time, 10 batches, 2700 s");
        assert_eq!(refresh(10, 10, &group(Some(0), None, &[]), &none), "10 at a time, 1 batches, 750 s");
        let policy = GroupSettings { min_healthy: Some(50), max_healthy: Some(100), ..none.clone() };
        assert_eq!(refresh(10, 10, &group(None, None, &[]), &policy), "5 at a time, 2 batches, 900 s");
        assert_eq!(refresh(0, 0, &group(None, None, &[20, 100]), &none), "1 at a time, 0 batches, 0 s");
        assert_eq!(refresh(2, 10, &group(Some(0), None, &[]), &none), "2 at a time, 1 batches, 750 s", "drift of two");
    }

    #[test]
    fn batches_of_a_deployment_follow_its_percentages() {
        let settings = |min, max| ServiceSettings {
            strategy: "ROLLING".to_owned(),
            min_healthy: min,
            max_healthy: max,
            ..ServiceSettings::default()
        };
        let rolling = |desired, min, max| super::deployment(desired, &settings(min, max));
        assert_eq!(shown(&rolling(4, 100, 200)), "4 at a time, 1 batches, 90 s");
        assert_eq!(shown(&rolling(4, 50, 100)), "2 at a time, 2 batches, 180 s");
        assert_eq!(shown(&rolling(5, 100, 150)), "2 at a time, 3 batches, 270 s", "the maximum is rounded down");
        assert_eq!(shown(&rolling(0, 100, 200)), "1 at a time, 0 batches, 0 s");
        assert!(rolling(1, 100, 100).stuck.is_some_and(|why| why.contains("raise maximumPercent")));
        assert!(rolling(3, 100, 120).stuck.is_some(), "a fifth of three is none");
        assert_eq!(rolling(4, 50, 100).stuck, None);
        let linear =
            ServiceSettings { strategy: "LINEAR".to_owned(), steps: Some((4, 300)), bake: 60, ..settings(100, 200) };
        assert_eq!(super::deployment(3, &linear).takes.as_secs(), 90 + 4 * 300 + 60);
    }

    #[test]
    fn settings_may_be_anything() {
        let wanted = RolloutSettings {
            min_healthy: Some(u8::MAX),
            max_healthy: Some(u8::MAX),
            warmup: Some(Duration::MAX),
            checkpoints: vec![u8::MAX, 0, 1],
            checkpoint_delay: Some(Duration::MAX),
            bake: Some(Duration::MAX),
            ..RolloutSettings::default()
        };
        for (min_healthy, max_healthy) in [(u32::MAX, 0), (0, u32::MAX), (u32::MAX, u32::MAX), (0, 0)] {
            let settings = GroupSettings {
                min_healthy: Some(min_healthy),
                max_healthy: Some(max_healthy),
                warmup: u32::MAX,
                ..GroupSettings::default()
            };
            let course = super::refresh(u32::MAX, u32::MAX, &wanted, &settings);
            assert!(course.takes > Duration::from_secs(1 << 40), "{course:?}");
            super::refresh(u32::MAX, u32::MAX, &RolloutSettings::default(), &settings);
            for steps in [None, Some((u32::MAX, u32::MAX)), Some((0, 0))] {
                let strategy = if steps.is_some() { "LINEAR" } else { "ROLLING" }.to_owned();
                let bake = u32::MAX;
                let settings =
                    ServiceSettings { strategy, min_healthy, max_healthy, bake, steps, ..Default::default() };
                assert!(super::deployment(u32::MAX, &settings).takes > Duration::from_secs(1 << 30));
            }
        }
    }
}
