//! What a rollout that is due would be like: which kind, in how many batches, how long, whether it can be taken back, and
//! whether the artifact is fit for it. An estimate, from the group's and the service's own settings.

mod artifact;
mod pace;
mod wave;

use std::time::Duration;

use jiff::Timestamp;

pub use self::artifact::{Check, Question};
pub use self::wave::{Quota, Wave};
use crate::model::survey::{Host, Survey};
use crate::model::{Artifact, ObservedTarget, ResolveError, Target};

/// What is known when a rollout is foretold.
#[derive(Debug, Clone, Copy)]
pub struct Prospect<'a> {
    /// The target as Git wants it.
    pub target: &'a Target,
    /// The target as AWS shows it.
    pub seen: &'a ObservedTarget,
    /// What the pin resolves to, or why it doesn't.
    pub artifact: Option<&'a Result<Artifact, ResolveError>>,
    /// What else was read.
    pub survey: &'a Survey,
    /// Instances or tasks that run the artifact already.
    pub updated: u32,
    /// Instances or tasks in all.
    pub total: u32,
    /// The time.
    pub now: Timestamp,
}

/// What a rollout would be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// What is asked of the artifact, and the answers.
    pub checks: Vec<Check>,
    /// How it would go; `None` where the target's settings couldn't be read.
    pub course: Option<Course>,
    /// Whether AWS can take it back, and how.
    pub rollback: Rollback,
}

impl Forecast {
    /// Whether the artifact can't run here, for certain.
    #[must_use]
    pub fn architecture_mismatch(&self) -> bool {
        self.checks.iter().any(|check| check.question == Question::Fits && check.answer == Some(false))
    }
}

/// How a rollout would go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    /// What it is: `instance refresh`, `rolling deployment`, `blue/green deployment`.
    pub method: &'static str,
    /// Instances or tasks that are replaced.
    pub replaces: u32,
    /// How many at a time.
    pub at_a_time: u32,
    /// In how many batches; 0 if nothing is replaced.
    pub batches: u32,
    /// About how long it takes. An estimate.
    pub takes: Duration,
    /// What the estimate rests on, for people.
    pub basis: String,
    /// Why it can't move at all, if the settings allow nothing to be stopped or started.
    pub stuck: Option<String>,
}

/// Whether a rollout can be taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollback {
    /// Whether AWS does it by itself when the rollout goes wrong.
    pub automatic: bool,
    /// How, or why not and what helps.
    pub how: String,
}

/// Foretells a rollout.
#[must_use]
pub fn forecast(prospect: Prospect<'_>) -> Forecast {
    Forecast { checks: artifact::checks(prospect), course: pace::course(prospect), rollback: rollback(prospect) }
}

fn rollback(prospect: Prospect<'_>) -> Rollback {
    let artifact = prospect.artifact.and_then(|artifact| artifact.as_ref().ok());
    match (prospect.seen, &prospect.survey.host) {
        (ObservedTarget::Group(group), _) => {
            let current = group.current.as_ref();
            let same = current.and_then(|version| version.image.as_deref()) == artifact.map(Artifact::identity);
            match current {
                Some(_) if same => Rollback {
                    automatic: false,
                    how: "no: the group is on this AMI already, and there is no other version to go back to".to_owned(),
                },
                Some(version) => Rollback {
                    automatic: true,
                    how: format!("AWS rolls back to version {} of the launch template by itself", version.number),
                },
                None => Rollback { automatic: false, how: "no: the group's launch template has no version".to_owned() },
            }
        }
        (ObservedTarget::Service(_), Some(Host::Service(settings))) => match (settings.rolls_back, settings.detects) {
            (true, _) => Rollback {
                automatic: true,
                how: "ECS rolls back by itself, by its circuit breaker or alarms".to_owned(),
            },
            (false, true) => Rollback {
                automatic: false,
                how: "not by itself: a deployment that goes wrong ends as failed; switch on `rollback` of the circuit \
                      breaker, or pin the earlier version again"
                    .to_owned(),
            },
            (false, false) => Rollback {
                automatic: false,
                how:
                    "not by itself: the service has neither circuit breaker nor alarms, so that a bad version is only \
                      seen at the deadline; pin the earlier version again"
                        .to_owned(),
            },
        },
        _ => Rollback { automatic: false, how: "not known".to_owned() },
    }
}
