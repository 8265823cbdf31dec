//! What AWS reports of a target now, in the shape that planning needs.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ClusterName, Digest, GroupName, Marker, ServiceName};

/// A target as AWS reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObservedTarget {
    /// An Auto Scaling group.
    Group(Box<ObservedGroup>),
    /// An ECS service.
    Service(Box<ObservedService>),
    /// There is no such group, service or cluster. The text says which: `service api in cluster app`.
    Missing(String),
}

/// An Auto Scaling group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedGroup {
    /// Its name.
    pub name: GroupName,
    /// What it launches instances from.
    pub template: GroupTemplate,
    /// The launch-template version that the group resolves to now, of a mixed-instances policy the policy's own; `None`
    /// where it has none.
    pub current: Option<TemplateVersion>,
    /// Its instances, in any lifecycle state.
    pub instances: Vec<GroupInstance>,
    /// `DesiredCapacity`.
    pub desired_capacity: u32,
    /// What else stands in the way of a refresh.
    pub traits: GroupTraits,
    /// The launch-template versions that its instances were launched from, by template id and number; `None` for one that
    /// AWS doesn't have any more.
    pub launched: BTreeMap<(String, u64), Option<TemplateVersion>>,
}

/// What of a group's settings matters to a refresh, besides what it launches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupTraits {
    /// Names of the suspended processes, such as `Launch`.
    pub suspended: BTreeSet<String>,
    /// Ids of the instances that are protected from scale-in.
    pub protected: BTreeSet<String>,
    /// Whether new instances are protected from scale-in as well.
    pub protects_new: bool,
    /// The instance types that the group may launch, each with the architectures that it supports in AWS's spelling
    /// (`x86_64`, `arm64`); none where AWS wasn't asked or didn't say.
    pub types: BTreeMap<String, BTreeSet<String>>,
}

/// What a group launches instances from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupTemplate {
    /// A launch template.
    LaunchTemplate {
        /// Which.
        template: TemplateRef,
        /// The version that the group names.
        version: TemplateVersionSpec,
    },
    /// A mixed-instances policy.
    MixedInstances(MixedPolicy),
    /// A launch configuration, by its name.
    LaunchConfiguration(String),
    /// Nothing that this build knows.
    Unknown,
}

/// A mixed-instances policy, as far as images go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MixedPolicy {
    /// The launch template for all overrides that have none of their own.
    pub template: TemplateRef,
    /// The version of it that the policy names.
    pub version: TemplateVersionSpec,
    /// The launch templates of overrides that have their own, each template and version once.
    pub own: Vec<OverrideTemplate>,
    /// Whether an override has `InstanceRequirements`.
    pub instance_requirements: bool,
    /// The AMIs that overrides name themselves (`ImageId`).
    pub images: BTreeSet<String>,
}

/// The launch template of an override.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverrideTemplate {
    /// Which.
    pub template: TemplateRef,
    /// The version that the override names.
    pub version: TemplateVersionSpec,
    /// The version that this is now; `None` if there is none.
    pub current: Option<TemplateVersion>,
}

/// A launch template.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TemplateRef {
    /// `lt-…`.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A group that launches from a launch template, managed by Pinion or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateUser {
    /// The group's name.
    pub group: String,
    /// The launch template.
    pub template: TemplateRef,
    /// The version that the group names; what isn't known counts as the latest.
    pub version: TemplateVersionSpec,
}

/// The version that a group names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateVersionSpec {
    /// A number.
    Number(u64),
    /// `$Latest`.
    Latest,
    /// `$Default`, or none given.
    Default,
}

/// A version of a launch template. Never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateVersion {
    /// The launch template's id, `lt-…`.
    pub template: String,
    /// Its number.
    pub number: u64,
    /// `ImageId`, as it stands in the template: an AMI id or `resolve:ssm:…`.
    pub image: Option<String>,
    /// `InstanceType`.
    pub instance_type: Option<String>,
    /// Whether it has `InstanceRequirements`, with which AWS allows no desired configuration.
    pub instance_requirements: bool,
    /// What Pinion wrote into its description, if Pinion made it.
    pub marker: Option<Marker>,
    /// How its image was looked up, if Pinion made it and noted that ([`AmiQuery::digest`](super::AmiQuery::digest)).
    pub sought: Option<String>,
    /// All else that it holds but its image: a digest of each member of `LaunchTemplateData`, as AWS sent it. Block devices
    /// are apart by their names, and their snapshots from them.
    pub members: BTreeMap<String, String>,
    /// `CreateTime`.
    pub made: Option<Timestamp>,
    /// `CreatedBy`: the principal's ARN.
    pub made_by: Option<String>,
}

impl TemplateVersion {
    /// What a block device is called among the members.
    #[must_use]
    pub fn block_device(device: &str) -> String {
        format!("BlockDeviceMappings {device}")
    }

    /// What a block device's snapshot is called among the members.
    #[must_use]
    pub fn snapshot(device: &str) -> String {
        format!("snapshot of {device}")
    }

    /// The members in which two versions differ, their images aside. `root`: the device of which the image itself brings the
    /// snapshot.
    #[must_use]
    pub fn difference<'a>(&'a self, other: &'a Self, root: Option<&str>) -> Vec<&'a str> {
        let of_the_image = root.map(Self::snapshot);
        let names: BTreeSet<&String> = self.members.keys().chain(other.members.keys()).collect();
        let names = names.into_iter().filter(|name| Some(*name) != of_the_image.as_ref());
        names.filter(|name| self.members.get(*name) != other.members.get(*name)).map(String::as_str).collect()
    }
}

/// An instance of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInstance {
    /// `i-…`.
    pub id: String,
    /// `LifecycleState`, such as `InService`.
    pub lifecycle: String,
    /// Whether `HealthStatus` is `Healthy`.
    pub healthy: bool,
    /// The launch template's id and the version that it was launched from.
    pub template: Option<(String, u64)>,
    /// `ImageId`, which AWS gives only where it isn't the launch template's: root volumes replaced, images of overrides.
    pub image: Option<String>,
    /// Whether it was launched from a launch configuration.
    pub configuration: bool,
}

impl GroupInstance {
    /// Whether what the instance runs doesn't count: it is on its way out, or waits in a warm pool, which AWS refreshes by itself.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        ["Terminat", "Detach", "Warmed"].iter().any(|state| self.lifecycle.starts_with(state))
    }
}

/// An ECS service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedService {
    /// The cluster.
    pub cluster: ClusterName,
    /// The service's name.
    pub name: ServiceName,
    /// Its ARN.
    pub arn: String,
    /// `status`: `ACTIVE`, `DRAINING` or `INACTIVE`.
    pub status: String,
    /// `deploymentController.type`: `ECS`, `CODE_DEPLOY` or `EXTERNAL`.
    pub controller: String,
    /// The task definition that the service is on now.
    pub task_definition: TaskDefinition,
    /// The deployments that `DescribeServices` shows; the primary one first.
    pub deployments: Vec<ObservedDeployment>,
    /// Whether ECS ends a deployment whose tasks fail: `deploymentCircuitBreaker.enable`.
    pub breaker: bool,
    /// `desiredCount`.
    pub desired: u32,
    /// `runningCount`.
    pub running: u32,
    /// The digest that each container's image had when the service's task definition was deployed, by the container's name.
    /// Empty where ECS doesn't say.
    pub digests: BTreeMap<String, Digest>,
}

/// A task-definition revision. Never changes, but that it may be deregistered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDefinition {
    /// Its ARN, with the revision.
    pub arn: String,
    /// Its containers.
    pub containers: Vec<Container>,
    /// `runtimePlatform.cpuArchitecture`: `X86_64`, which is also what AWS takes where none is said, or `ARM64`.
    pub architecture: Option<String>,
    /// What Pinion wrote into its tags, if Pinion made it.
    pub marker: Option<Marker>,
    /// Whether it can be deployed. What was read long ago may have been deregistered since.
    pub active: bool,
    /// How many tags it has that are neither Pinion's nor AWS's own.
    pub tags: usize,
    /// `registeredAt`.
    pub made: Option<Timestamp>,
    /// `registeredBy`: the principal's ARN.
    pub made_by: Option<String>,
}

/// A container of a task definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image, as it stands there.
    pub image: String,
    /// Whether the task stops when it stops.
    pub essential: bool,
}

/// A deployment of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedDeployment {
    /// `ecs-svc/…`.
    pub id: String,
    /// Whether it is the service's primary one.
    pub primary: bool,
    /// The ARN of its task definition.
    pub task_definition: String,
    /// What Pinion wrote into the tags of its task definition, if Pinion made that.
    pub marker: Option<Marker>,
    /// The image of each container of its task definition, by the container's name.
    pub containers: Vec<Container>,
    /// `rolloutState`: `IN_PROGRESS`, `COMPLETED` or `FAILED`.
    pub rollout_state: String,
    /// `rolloutStateReason`.
    pub reason: Option<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// `failedTasks`: how many of its tasks have failed to start so far.
    pub failed: u32,
    /// `desiredCount`.
    pub desired: u32,
    /// `runningCount`.
    pub running: u32,
}
