//! What a plan can ask for: each is one call, idempotent or harmless when repeated.

use std::collections::BTreeSet;
use std::fmt;

use crate::model::{
    ClusterName, GroupName, Marker, Probe, RolloutId, RolloutTarget, ServiceName, TemplateRef, TemplateVersionSpec,
    words,
};

/// One thing to do about one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `UpdateAutoScalingGroup`: put a group that is on `$Latest` or `$Default` on the number that this is now, so that
    /// a rollback has somewhere to go. Nothing that runs changes.
    NumberTemplate {
        /// The group.
        group: GroupName,
        /// Its launch template.
        template: TemplateRef,
        /// The number.
        version: u64,
    },
    /// `CreateLaunchTemplateVersion`: the source version with another image, and the marker as description.
    CreateTemplateVersion {
        /// The launch template.
        template: TemplateRef,
        /// The version to inherit all else from.
        source: u64,
        /// The AMI.
        image: String,
        /// What to write into the description.
        marker: Marker,
        /// The AMI's root device, of which the AMI itself brings the snapshot. The snapshots of all others are sent again.
        root_device: Option<String>,
        /// How the AMI was looked up ([`AmiQuery::digest`](crate::model::AmiQuery::digest)), for the description as well.
        sought: String,
    },
    /// `StartInstanceRefresh` with this version as desired configuration.
    StartRefresh {
        /// The group.
        group: GroupName,
        /// The launch template.
        template: TemplateRef,
        /// The version to move to.
        version: u64,
        /// How.
        preferences: RefreshPreferences,
    },
    /// `UpdateAutoScalingGroup`: the same as `NumberTemplate` for a mixed-instances policy. All else in it stays as it
    /// is read.
    NumberPolicy {
        /// The group.
        group: GroupName,
        /// Each template version that the policy names, and the number for it.
        moves: Vec<VersionMove>,
    },
    /// `StartInstanceRefresh` with the group's mixed-instances policy as desired configuration, in which only the
    /// versions of launch templates differ.
    RefreshPolicy {
        /// The group.
        group: GroupName,
        /// Each template version that the policy names, and the one to move to.
        moves: Vec<VersionMove>,
        /// How.
        preferences: RefreshPreferences,
    },
    /// `CancelInstanceRefresh`: the pin has moved on.
    CancelRefresh {
        /// The group.
        group: GroupName,
        /// The refresh that must be the active one.
        refresh: RolloutId,
    },
    /// `RollbackInstanceRefresh`: probes failed while the refresh bakes.
    RollbackRefresh {
        /// The group.
        group: GroupName,
        /// The refresh that must be the active one.
        refresh: RolloutId,
    },
    /// `StopServiceDeployment` with `ROLLBACK`: probes failed while the deployment bakes.
    RollBackDeployment {
        /// The cluster.
        cluster: ClusterName,
        /// The service.
        service: ServiceName,
        /// The service deployment, by its ARN.
        deployment: RolloutId,
    },
    /// `RegisterTaskDefinition`: the base with another image in our containers, and the marker as tags.
    RegisterTaskDefinition {
        /// The ARN of the task definition to clone.
        base: String,
        /// The family to register it in.
        family: String,
        /// Our containers.
        containers: Vec<String>,
        /// Their new image.
        image: String,
        /// What to write into the tags.
        marker: Marker,
    },
    /// `RegisterTaskDefinition`: a revision that was deregistered, as it was, with the marker as tags: `UpdateService` takes no
    /// INACTIVE one.
    CopyTaskDefinition {
        /// The ARN of the task definition to copy, into its own family.
        base: String,
        /// What to write into the tags.
        marker: Marker,
    },
    /// `UpdateService` with nothing but the task definition.
    UpdateService {
        /// The cluster.
        cluster: ClusterName,
        /// The service.
        service: ServiceName,
        /// The task definition's ARN.
        task_definition: String,
    },
    /// Send the probes. Writes nothing.
    Verify {
        /// What to ask for, in order.
        probes: Vec<Probe>,
    },
}

impl Action {
    /// Whether it writes to AWS.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self, Self::Verify { .. })
    }

    /// What it changes that other targets may share: a launch template's id, a family of task definitions. Where it changes
    /// nothing but its target, the group's or the service's name. Writes for the same are made one after the other: AWS
    /// refuses some that come at once (`RegisterTaskDefinition` for one family), and the order of the others matters.
    #[must_use]
    pub fn contends_for(&self) -> &str {
        match self {
            Self::NumberTemplate { template, .. } | Self::CreateTemplateVersion { template, .. } => &template.id,
            Self::RegisterTaskDefinition { family, .. } => family,
            Self::CopyTaskDefinition { base, .. } => family_of(base),
            Self::StartRefresh { group, .. }
            | Self::NumberPolicy { group, .. }
            | Self::RefreshPolicy { group, .. }
            | Self::CancelRefresh { group, .. }
            | Self::RollbackRefresh { group, .. } => group.as_str(),
            Self::UpdateService { service, .. } | Self::RollBackDeployment { service, .. } => service.as_str(),
            Self::Verify { .. } => "",
        }
    }

    /// Whether it starts a rollout, so that what runs will change.
    #[must_use]
    pub fn starts_rollout(&self) -> bool {
        self.leads_to().is_some()
    }

    /// What it writes on the revision that it makes; `None` if it makes none.
    #[must_use]
    pub fn marker(&self) -> Option<&Marker> {
        match self {
            Self::CreateTemplateVersion { marker, .. }
            | Self::RegisterTaskDefinition { marker, .. }
            | Self::CopyTaskDefinition { marker, .. } => Some(marker),
            _ => None,
        }
    }

    /// Where the rollout that it starts moves to; `None` if it starts none.
    #[must_use]
    pub fn leads_to(&self) -> Option<RolloutTarget> {
        match self {
            Self::StartRefresh { version, .. } => Some(RolloutTarget::TemplateVersion(*version)),
            Self::RefreshPolicy { moves, .. } => Some(VersionMove::destination(moves)),
            Self::UpdateService { task_definition, .. } => Some(RolloutTarget::TaskDefinition(task_definition.clone())),
            _ => None,
        }
    }

    /// The AWS operation that carries it out; `GET` for probes.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        match self {
            Self::NumberTemplate { .. } | Self::NumberPolicy { .. } => "UpdateAutoScalingGroup",
            Self::CreateTemplateVersion { .. } => "CreateLaunchTemplateVersion",
            Self::StartRefresh { .. } | Self::RefreshPolicy { .. } => "StartInstanceRefresh",
            Self::CancelRefresh { .. } => "CancelInstanceRefresh",
            Self::RollbackRefresh { .. } => "RollbackInstanceRefresh",
            Self::RegisterTaskDefinition { .. } | Self::CopyTaskDefinition { .. } => "RegisterTaskDefinition",
            Self::UpdateService { .. } => "UpdateService",
            Self::RollBackDeployment { .. } => "StopServiceDeployment",
            Self::Verify { .. } => "GET",
        }
    }
}

/// For people: what is about to be done.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NumberTemplate { group, template, version } => {
                write!(f, "put group {group} on version {version} of launch template {}", template.name)
            }
            Self::CreateTemplateVersion { template, source, image, .. } => {
                write!(f, "create a version of launch template {} from version {source} with {image}", template.name)
            }
            Self::StartRefresh { group, template, version, .. } => {
                write!(f, "refresh the instances of group {group} to version {version} of {}", template.name)
            }
            Self::NumberPolicy { group, moves } => {
                write!(f, "put the mixed-instances policy of group {group} on {}", VersionMove::list(moves))
            }
            Self::RefreshPolicy { group, moves, .. } => {
                write!(f, "refresh the instances of group {group} to {}", VersionMove::list(moves))
            }
            Self::CancelRefresh { group, refresh } => write!(f, "cancel instance refresh {refresh} of group {group}"),
            Self::RollbackRefresh { group, refresh } => {
                write!(f, "roll back instance refresh {refresh} of group {group}")
            }
            Self::RegisterTaskDefinition { base, containers, image, .. } => {
                let plural = if containers.len() == 1 { "" } else { "s" };
                let (base, containers) = (short_arn(base), containers.join(", "));
                write!(f, "register a revision of {base} with {image} in container{plural} {containers}")
            }
            Self::CopyTaskDefinition { base, .. } => {
                write!(f, "register {} again, which is INACTIVE", short_arn(base))
            }
            Self::UpdateService { cluster, service, task_definition } => {
                write!(f, "update service {service} in cluster {cluster} to {}", short_arn(task_definition))
            }
            Self::RollBackDeployment { cluster, service, deployment } => {
                write!(f, "roll back deployment {} of service {service} in cluster {cluster}", deployment.short())
            }
            Self::Verify { probes } => write!(f, "send {}", words::count(probes.len(), "probe")),
        }
    }
}

/// `family:revision` of a task definition's ARN.
pub(crate) fn short_arn(arn: &str) -> &str {
    arn.rsplit_once('/').map_or(arn, |(_, short)| short)
}

/// The family of a task definition's ARN.
pub(super) fn family_of(arn: &str) -> &str {
    let short = short_arn(arn);
    short.rsplit_once(':').map_or(short, |(family, _)| family)
}

/// A version of a launch template that a mixed-instances policy names, and the one to name instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionMove {
    /// The launch template.
    pub template: TemplateRef,
    /// What the policy says now.
    pub from: TemplateVersionSpec,
    /// The number that it is to say.
    pub to: u64,
}

impl VersionMove {
    /// Where a refresh with these leads.
    #[must_use]
    pub fn destination(moves: &[Self]) -> RolloutTarget {
        RolloutTarget::of_versions(moves.iter().map(|one| (one.template.id.clone(), one.to)).collect())
    }

    fn list(moves: &[Self]) -> String {
        let moves = moves.iter().map(|one| format!("version {} of {}", one.to, one.template.name));
        moves.collect::<Vec<_>>().join(", ")
    }
}

/// How an instance refresh goes about it. What is `None` or empty is left to AWS and the group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RefreshPreferences {
    /// `MinHealthyPercentage`.
    pub min_healthy: Option<u8>,
    /// `MaxHealthyPercentage`.
    pub max_healthy: Option<u8>,
    /// `InstanceWarmup`, seconds.
    pub warmup: Option<u32>,
    /// `CheckpointPercentages`.
    pub checkpoints: Vec<u8>,
    /// `CheckpointDelay`, seconds.
    pub checkpoint_delay: Option<u32>,
    /// `BakeTime`, seconds.
    pub bake: Option<u32>,
    /// `AlarmSpecification`.
    pub alarms: BTreeSet<String>,
    /// `AutoRollback`: wherever there is another version to go back to.
    pub auto_rollback: bool,
}
