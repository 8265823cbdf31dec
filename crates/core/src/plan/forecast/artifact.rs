//! Whether the artifact is there, may be used, and fits.

use std::collections::BTreeSet;

use super::Prospect;
use crate::model::survey::{Host, ImageFacts};
use crate::model::{Artifact, ResolveError};

/// What is asked of an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Whether it is there, available, and the target's account may read it.
    Usable,
    /// Whether it isn't deprecated.
    Current,
    /// Whether it is for the processors that it is to run on.
    Fits,
}

impl Question {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usable => "usable",
            Self::Current => "current",
            Self::Fits => "fits",
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// To what.
    pub question: Question,
    /// `None` if it isn't known.
    pub answer: Option<bool>,
    /// In words.
    pub detail: String,
}

pub(super) fn checks(prospect: Prospect<'_>) -> Vec<Check> {
    let answer = |question, answer, detail: String| Check { question, answer, detail };
    let artifact = match prospect.artifact {
        Some(Ok(artifact)) => artifact,
        Some(Err(ResolveError::Unusable(why))) => return vec![answer(Question::Usable, Some(false), why.clone())],
        Some(Err(ResolveError::Call(error))) => return vec![answer(Question::Usable, None, error.to_string())],
        None => return vec![answer(Question::Usable, None, "it wasn't looked up".to_owned())],
    };
    let mut checks = vec![match artifact {
        Artifact::Ami { .. } => {
            answer(Question::Usable, Some(true), "exists, is available, and this account may launch it".to_owned())
        }
        Artifact::Image { digest: Some(_), .. } => {
            answer(Question::Usable, Some(true), "exists, and this account may pull it".to_owned())
        }
        Artifact::Image { digest: None, .. } => {
            answer(Question::Usable, None, "the registry isn't ECR: ECS finds out whether the image exists".to_owned())
        }
    }];
    let facts = prospect.survey.next.as_ref();
    if let (Artifact::Ami { .. }, Some(facts)) = (artifact, facts) {
        checks.push(match facts.deprecated {
            Some(since) if since <= prospect.now => {
                answer(Question::Current, Some(false), format!("deprecated since {since}; build it again"))
            }
            Some(until) => answer(Question::Current, Some(true), format!("not deprecated until {until}")),
            None => answer(Question::Current, Some(true), "not deprecated".to_owned()),
        });
    }
    let host = prospect.survey.host.as_ref();
    // Where nobody has looked, because there is nothing to run on, there is no answer.
    if facts.is_some() || host.is_some() || !prospect.survey.unread.is_empty() {
        let (fits, detail) = fits(facts, host);
        checks.push(answer(Question::Fits, fits, detail));
    }
    checks
}

fn fits(facts: Option<&ImageFacts>, host: Option<&Host>) -> (Option<bool>, String) {
    let platforms = facts.map(|facts| &facts.platforms).filter(|platforms| !platforms.is_empty());
    match (platforms, host) {
        (Some(platforms), Some(Host::Group(settings))) if !settings.instance_types.is_empty() => {
            let runs = |processors: &BTreeSet<String>| processors.is_empty() || !processors.is_disjoint(platforms);
            let wrong: Vec<&str> = settings
                .instance_types
                .iter()
                .filter(|(_, processors)| !runs(processors))
                .map(|(name, _)| name.as_str())
                .collect();
            let types = settings.instance_types.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            if wrong.is_empty() {
                (Some(true), format!("it is for {}, as {types}", words(platforms)))
            } else {
                let wrong = wrong.join(", ");
                (Some(false), format!("it is for {}, but {wrong} isn't: build it for that", words(platforms)))
            }
        }
        (Some(platforms), Some(Host::Service(settings))) => {
            if platforms.contains(&settings.platform) {
                (Some(true), format!("it is for {}, and the tasks for {}", words(platforms), settings.platform))
            } else {
                let (image, task) = (words(platforms), &settings.platform);
                (Some(false), format!("it is for {image}, but the tasks are for {task}: push it for that, too"))
            }
        }
        (None, Some(Host::Service(settings))) => (
            None,
            format!("its manifest doesn't say for which processor it is; the tasks are for {}", settings.platform),
        ),
        _ => (None, "which processors it is for, and which it is to run on, isn't known".to_owned()),
    }
}

fn words(platforms: &BTreeSet<String>) -> String {
    platforms.iter().map(String::as_str).collect::<Vec<_>>().join(" and ")
}
