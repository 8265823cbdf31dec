//! Attempts to move a target to an artifact, as AWS remembers them.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CommitId, Named, TaskDefinition, TemplateUser, TemplateVersion, Version};

/// What Pinion writes into each launch-template version (its description) and task-definition revision (its tags)
/// that it makes. By it a rollout is known as ours, and for which pin it was made, after any restart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Marker {
    /// The pinned version.
    pub version: Version,
    /// The commit that set the pin.
    pub commit: CommitId,
    /// Whose shape it has, all but the image: a launch-template version's number, or a task definition's `family:revision`.
    pub base: String,
    /// What ran before it, where that isn't the base. Until `base_revision` both were always the same.
    pub from: Option<String>,
    /// The target that it was made for; `None` in what was made before markers named it.
    pub owner: Option<Named>,
}

/// What a marker may take of the description of a launch-template version: `VersionDescription` has up to 255 characters, of
/// which 13 say how the image was looked up.
const MAX_DESCRIPTION: usize = 255 - 13;

impl Marker {
    /// The tag keys used on a task definition.
    pub const TAGS: [&'static str; 5] =
        ["pinion:version", "pinion:commit", "pinion:base", "pinion:target", "pinion:from"];

    /// What ran before it, and what it leads back to.
    #[must_use]
    pub fn from(&self) -> &str {
        self.from.as_deref().unwrap_or(&self.base)
    }

    /// Reads a launch-template version's description: `pinion 1.4.2 commit=… base=7 for=pinion/prod/asg/web from=9`. `None`
    /// if Pinion didn't write it.
    #[must_use]
    pub fn parse(description: &str) -> Option<Self> {
        let mut words = description.split(' ');
        if words.next() != Some("pinion") {
            return None;
        }
        let version = Version::try_from(words.next()?).ok()?;
        let commit = CommitId::try_from(words.next()?.strip_prefix("commit=")?).ok()?;
        let base = words.next()?.strip_prefix("base=")?.to_owned();
        let (mut owner, mut from) = (None, None);
        for word in words {
            if let Some(named) = word.strip_prefix("for=") {
                owner = Named::try_from(named.to_owned()).ok();
            } else if let Some(number) = word.strip_prefix("from=") {
                from = Some(number.to_owned());
            }
        }
        Some(Self { version, commit, base, from, owner })
    }

    /// Reads a task definition's tags. `None` if one is missing or Pinion didn't write it.
    #[must_use]
    pub fn from_tags<'a>(tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let (mut version, mut commit, mut base, mut from, mut owner) = (None, None, None, None, None);
        for (key, value) in tags {
            match key {
                "pinion:version" => version = Version::try_from(value).ok(),
                "pinion:commit" => commit = CommitId::try_from(value).ok(),
                "pinion:base" => base = Some(value.to_owned()),
                "pinion:from" => from = Some(value.to_owned()),
                "pinion:target" => owner = Named::try_from(value.to_owned()).ok(),
                _ => {}
            }
        }
        Some(Self { version: version?, commit: commit?, base: base?, from, owner })
    }

    /// The tags that say this on a task definition. Each value fits: the longest has 199 of 256 characters.
    #[must_use]
    pub fn tags(&self) -> Vec<(&'static str, String)> {
        let [version, commit, base, target, from] = Self::TAGS;
        let mut tags =
            vec![(version, self.version.to_string()), (commit, self.commit.to_string()), (base, self.base.clone())];
        tags.extend(self.owner.as_ref().map(|owner| (target, owner.to_string())));
        tags.extend(self.from.clone().map(|name| (from, name)));
        tags
    }
}

/// Written as a launch-template version's description. An owner whose name doesn't fit is named by its digest.
impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("pinion {} commit={} base={}", self.version, self.commit, self.base);
        let from = self.from.as_ref().map(|from| format!(" from={from}")).unwrap_or_default();
        let Some(owner) = &self.owner else { return write!(f, "{text}{from}") };
        let full = format!("{text} for={owner}{from}");
        match owner {
            Named::Owner(owner) if full.chars().count() > MAX_DESCRIPTION => {
                write!(f, "{text} for={}{from}", owner.digest())
            }
            _ => f.write_str(&full),
        }
    }
}

/// The id that AWS gave to a rollout: an instance refresh's id, an ECS service deployment's ARN, or, where ECS keeps
/// no service deployment, the deployment's id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RolloutId(pub String);

impl RolloutId {
    /// The id for people: of an ARN, the part behind its resource's type.
    #[must_use]
    pub fn short(&self) -> &str {
        match self.0.split_once(":service-deployment/") {
            Some((_, rest)) => rest,
            None => &self.0,
        }
    }

    /// Whether it is the id that the rollout keeps. ECS calls a deployment `ecs-svc/…` before it has a service deployment's
    /// ARN, and one rollout would be known by two ids.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !self.0.starts_with("ecs-svc/")
    }

    /// Whether it is the ARN of an ECS service deployment, which can be stopped by it.
    #[must_use]
    pub fn is_service_deployment(&self) -> bool {
        self.0.contains(":service-deployment/")
    }
}

impl fmt::Display for RolloutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a rollout moves its target to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutTarget {
    /// A version of the group's launch template.
    TemplateVersion(u64),
    /// Versions of the launch templates of a mixed-instances policy of which overrides have their own: template id and
    /// number, the policy's own first.
    TemplateVersions(Vec<(String, u64)>),
    /// A task definition's ARN.
    TaskDefinition(String),
    /// Something that Pinion never asks for: no desired configuration, another template, a version that moves.
    Other,
    /// AWS doesn't say, or what it names can't be read any more. It may be anything.
    Unknown,
}

impl RolloutTarget {
    /// Of versions of launch templates, each with its template's id: one by its number alone.
    #[must_use]
    pub fn of_versions(mut versions: Vec<(String, u64)>) -> Self {
        let mut seen = BTreeSet::new();
        versions.retain(|version| seen.insert(version.clone()));
        match versions.as_slice() {
            [] => Self::Unknown,
            [(_, number)] => Self::TemplateVersion(*number),
            _ => Self::TemplateVersions(versions),
        }
    }
}

/// How far a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutOutcome {
    /// It runs.
    Running,
    /// It runs, all is replaced, and AWS watches it for the bake time.
    Baking,
    /// It is being rolled back or stopped.
    Undoing,
    /// It ended well.
    Succeeded,
    /// It failed, was rolled back, or was stopped.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

impl RolloutOutcome {
    /// Whether the rollout is not at its end yet.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Baking | Self::Undoing)
    }
}

/// How a rollout of Pinion's ended: one word, wherever it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RolloutResult {
    /// Every instance or task runs the artifact.
    Succeeded,
    /// It failed, was rolled back or was stopped.
    Failed,
    /// It was cancelled, by a person or because the pin moved on.
    Cancelled,
}

impl RolloutResult {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Succeeded, Self::Failed, Self::Cancelled];

    /// The word for it: in log lines, in the label `result`, in the history and in notifications.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for RolloutResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One attempt to move one target to one artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// AWS's id of it.
    pub id: RolloutId,
    /// Where it moves the target.
    pub target: RolloutTarget,
    /// How far it is.
    pub outcome: RolloutOutcome,
    /// AWS's own word for that, such as `RollbackSuccessful` or `IN_PROGRESS`.
    pub status: String,
    /// AWS's reason, where it gives one.
    pub reason: Option<String>,
    /// When it was started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How much is replaced, 0 to 100.
    pub percentage: Option<u8>,
    /// Whether it moves the target to what it was on before, as far as AWS says: a forced new deployment.
    #[serde(default)]
    pub repeats: bool,
}

/// What AWS remembers about a target's rollouts, read only for targets that aren't settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RolloutHistory {
    /// Of an Auto Scaling group.
    Group {
        /// Instance refreshes, newest first (six weeks at most).
        refreshes: Vec<Rollout>,
        /// The launch-template versions newer than the group's, those that the refreshes name, and those that any of
        /// these was made from; newest first. Of all the templates of a mixed-instances policy.
        versions: Vec<TemplateVersion>,
        /// Every group of the account and region that launches from these templates, this one too; `None` where that
        /// wasn't read, as while a refresh runs.
        users: Option<Vec<TemplateUser>>,
        /// Whether `refreshes` are all that AWS remembers: the list was there, and was read to its end.
        complete: bool,
    },
    /// Of an ECS service.
    Service {
        /// Service deployments, newest first (90 days at most).
        deployments: Vec<Rollout>,
        /// The revisions newer than the service's, and those that the deployments name; newest first.
        revisions: Vec<TaskDefinition>,
        /// Whether `deployments` and `revisions` are all that AWS remembers: the lists were there, were read to their
        /// ends, and each deployment in them could be described.
        complete: bool,
    },
}
