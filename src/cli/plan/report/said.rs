//! Parts of the report in words, as the text and the comment have them.

use std::time::Duration;

use super::TargetReport;
use crate::model::{Kind, words};

/// What else than the pin this change changes of a target, for people.
pub(in super::super) fn also_changed(target: &TargetReport) -> Option<String> {
    target.changed.iter().any(|part| part != "pin").then(|| target.changed.join(", "))
}

/// About how long, for people: `40 s`, `12 min`, `3 h`.
fn about(seconds: u64) -> String {
    match Duration::from_secs(seconds).as_secs() {
        0 => "no time".to_owned(),
        seconds @ ..100 => format!("{seconds} s"),
        seconds @ ..6000 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h", seconds.saturating_add(1800) / 3600),
    }
}

/// What the artifact runs on.
fn unit(kind: Kind) -> &'static str {
    match kind {
        Kind::Asg => "instance",
        Kind::Fargate => "task",
    }
}

/// The rollout in one line.
pub(in super::super) fn course(target: &TargetReport) -> Option<String> {
    let rollout = target.rollout.as_ref()?;
    if rollout.replaces == 0 {
        return Some(format!("{}; nothing runs there that has to be replaced", rollout.method));
    }
    Some(format!(
        "{} of {} in {}, about {}",
        rollout.method,
        words::count(rollout.replaces, unit(target.kind)),
        words::count(rollout.batches, "batch"),
        about(rollout.seconds)
    ))
}
