//! What Git wants of an environment. Built by `manifest`, which has checked all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::hex::sha256;
use super::{
    AccountId, ArtifactQuery, BaseRevision, Claimed, ClusterName, CommitId, Component, EnvironmentClaims,
    EnvironmentName, GroupName, ImageReference, Kind, LocalRef, Named, Pin, Promotion, Region, Resource, RoleArn,
    ServiceName, TargetRef,
};

/// An environment as Git wants it: one account, its targets and its pins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Environment {
    /// The folder's name.
    pub name: EnvironmentName,
    /// The AWS account.
    pub account: Account,
    /// Where pins are promoted from.
    pub promotion: Option<Promotion>,
    /// The targets.
    pub targets: BTreeMap<LocalRef, Target>,
    /// The pins, one for each component that a target uses.
    pub pins: BTreeMap<Component, Pin>,
    /// The components whose pins a change limit holds, and why: nothing rolls out to them.
    pub held: BTreeMap<Component, String>,
    /// How many targets may get a new shape at once; `None` where no limit holds shapes.
    pub shape_limit: Option<ShapeLimit>,
}

/// How many targets of an environment may get a new shape at once, and what commits acknowledge of that.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ShapeLimit {
    /// The share of the targets, in per cent; 100 holds none.
    pub max_percent: u32,
    /// So many may whatever share that is.
    pub always_allowed: u32,
    /// The ids of sets of new shapes that commits acknowledge.
    pub acknowledged: BTreeSet<String>,
    /// The ids that a commit's trailer names without counting, each with the commit.
    pub ignored: BTreeMap<String, CommitId>,
}

impl Environment {
    /// The pin that a target follows. `manifest` guarantees that there is one.
    #[must_use]
    pub fn pin_of(&self, target: &Target) -> Option<&Pin> {
        self.pins.get(&target.component)
    }

    /// What each target claims.
    #[must_use]
    pub fn claims(&self) -> EnvironmentClaims {
        claims(&self.account, &self.targets)
    }
}

/// An AWS account and how to get into it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Account {
    /// The account id. The caller's must equal it before anything is written.
    pub id: AccountId,
    /// The region of all targets.
    pub region: Region,
    /// The role to assume.
    pub role: RoleArn,
    /// The external id to give with it.
    pub external_id: Option<String>,
}

/// One Auto Scaling group or Fargate service, as Git wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Its reference.
    pub reference: TargetRef,
    /// The component it runs.
    pub component: Component,
    /// Which AWS resource it is, and how its artifact is found.
    pub spec: TargetSpec,
    /// The targets of this environment that must be in sync before this one rolls out.
    pub after: BTreeSet<LocalRef>,
    /// How to roll out.
    pub rollout: RolloutSettings,
    /// What must answer before a rollout counts as converged, in order.
    pub verify: Vec<Probe>,
    /// Set while the target is switched off in Git.
    pub suspend: Option<Suspension>,
    /// The target of another installation whose claim this one takes over.
    pub take_over: Option<Named>,
    /// Where its shape comes from: all but the image.
    pub base: BaseRevision,
}

/// Which AWS resource a target is, and how its artifact is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetSpec {
    /// An Auto Scaling group.
    Asg(AsgSpec),
    /// An ECS service.
    Fargate(FargateSpec),
}

/// What targets of an account claim.
pub(crate) fn claims(account: &Account, targets: &BTreeMap<LocalRef, Target>) -> EnvironmentClaims {
    let claim =
        |target: &Target| Claimed { resource: target.spec.resource(account), take_over: target.take_over.clone() };
    targets.iter().map(|(local, target)| (local.clone(), claim(target))).collect()
}

impl TargetSpec {
    /// The AWS resource in an account.
    #[must_use]
    pub fn resource(&self, account: &Account) -> Resource {
        let (kind, name) = match self {
            Self::Asg(asg) => (Kind::Asg, asg.group.to_string()),
            Self::Fargate(fargate) => (Kind::Fargate, format!("{}/{}", fargate.cluster, fargate.service)),
        };
        Resource { account: account.id.clone(), region: account.region.clone(), kind, name }
    }
}

/// An Auto Scaling group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AsgSpec {
    /// The group's name.
    pub group: GroupName,
    /// How its AMI is found; placeholders are filled in.
    pub ami: AmiQuery,
}

/// How an AMI is found. Placeholders are filled in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AmiQuery {
    /// By its exact name.
    Name {
        /// The name.
        name: String,
        /// The owning account, if it matters.
        owner: Option<AccountId>,
    },
    /// By its tags; exactly one image must have them all.
    Tags {
        /// The tags.
        tags: BTreeMap<String, String>,
        /// The owning account, if it matters.
        owner: Option<AccountId>,
    },
    /// By the value of an SSM parameter, `name`, `name:version` or `name:label`.
    Parameter {
        /// The parameter.
        parameter: String,
    },
    /// By its id.
    Id {
        /// The id, `ami-…`.
        id: String,
    },
}

impl TargetSpec {
    /// How its AMI is looked up ([`AmiQuery::digest`]); `None` where it has none.
    #[must_use]
    pub fn sought(&self) -> Option<String> {
        match self {
            Self::Asg(asg) => Some(asg.ami.digest()),
            Self::Fargate(_) => None,
        }
    }
}

impl AmiQuery {
    /// Eight hexadecimal digits that distinguish one look-up from another. A launch-template version that Pinion makes has them in its
    /// description: where the same look-up gives another image, the image was built again.
    #[must_use]
    pub fn digest(&self) -> String {
        // The derived `Debug` names every part, and the parts' order never changes.
        sha256(format!("{self:?}"), 8)
    }
}

/// An ECS service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FargateSpec {
    /// The cluster.
    pub cluster: ClusterName,
    /// The service.
    pub service: ServiceName,
    /// The containers whose image is ours, the first one first; by default, if there is none here, the only essential one.
    pub containers: Vec<String>,
    /// The image; placeholders are filled in.
    pub image: ImageReference,
}

/// How to roll out. What is `None` is left to AWS and to the group's or service's own settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RolloutSettings {
    /// After this long a running rollout is overdue.
    pub deadline: Duration,
    /// `MinHealthyPercentage` of an instance refresh, 0 to 100.
    pub min_healthy: Option<u8>,
    /// `MaxHealthyPercentage` of an instance refresh, 100 to 200.
    pub max_healthy: Option<u8>,
    /// `InstanceWarmup` of an instance refresh.
    pub warmup: Option<Duration>,
    /// `CheckpointPercentages` of an instance refresh: ascending, 1 to 100.
    pub checkpoints: Vec<u8>,
    /// `CheckpointDelay` of an instance refresh.
    pub checkpoint_delay: Option<Duration>,
    /// `BakeTime` of an instance refresh.
    pub bake: Option<Duration>,
    /// CloudWatch alarms that fail an instance refresh, at most 10.
    pub alarms: BTreeSet<String>,
}

impl RolloutSettings {
    /// The deadline where none is set: an hour, in which AWS itself gives up on a refresh without progress.
    pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(60 * 60);
}

impl Default for RolloutSettings {
    fn default() -> Self {
        Self {
            deadline: Self::DEFAULT_DEADLINE,
            min_healthy: None,
            max_healthy: None,
            warmup: None,
            checkpoints: Vec::new(),
            checkpoint_delay: None,
            bake: None,
            alarms: BTreeSet::new(),
        }
    }
}

/// A request that must be answered as expected after a rollout.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Probe {
    /// The URL to GET, http or https.
    pub http: String,
    /// The status that the answer must have.
    pub status: u16,
    /// How long one try may take.
    pub timeout: Duration,
    /// How long the probe may keep failing before the pin is quarantined.
    pub within: Duration,
}

/// A target switched off in Git.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suspension {
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When it ends by itself.
    pub until: Timestamp,
    /// What it suspends.
    pub reach: Reach,
}

/// What a suspension suspends, which is also where it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// One target: it stands in the target's table, or in the defaults of its kind.
    #[default]
    Target,
    /// All targets of an environment: it stands at the top of its environment.toml.
    Environment,
    /// All targets of all environments: it stands at the top of defaults.toml.
    All,
}

impl Target {
    /// What suspends it at a time.
    #[must_use]
    pub fn suspended(&self, now: Timestamp) -> Option<&Suspension> {
        self.suspend.as_ref().filter(|suspension| now < suspension.until)
    }

    /// What has to be looked up to resolve `pin` for this target.
    #[must_use]
    pub fn artifact_query(&self, pin: &Pin) -> ArtifactQuery {
        match &self.spec {
            TargetSpec::Asg(asg) => ArtifactQuery::Ami(asg.ami.clone()),
            TargetSpec::Fargate(fargate) => {
                ArtifactQuery::Image { reference: fargate.image.clone(), digest: pin.digest.clone() }
            }
        }
    }
}
