//! What AWS reports of a target now, in the shape that planning needs.

use std::collections::BTreeMap;

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
    /// The launch-template version that the group resolves to now; `None` where it has no launch template of its own.
    pub current: Option<TemplateVersion>,
    /// Its instances, in any lifecycle state.
    pub instances: Vec<GroupInstance>,
    /// `DesiredCapacity`.
    pub desired_capacity: u32,
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
    MixedInstances,
    /// A launch configuration, by its name.
    LaunchConfiguration(String),
    /// Nothing that this build knows.
    Unknown,
}

/// A launch template.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TemplateRef {
    /// `lt-…`.
    pub id: String,
    /// Its name.
    pub name: String,
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
    /// Its number.
    pub number: u64,
    /// `ImageId`, as it stands in the template: an AMI id or `resolve:ssm:…`.
    pub image: Option<String>,
    /// Whether it has `InstanceRequirements`, with which AWS allows no desired configuration.
    pub instance_requirements: bool,
    /// What Pinion wrote into its description, if Pinion made it.
    pub marker: Option<Marker>,
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
}

impl GroupInstance {
    /// Whether the instance is on its way out, so that what it runs no longer counts.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.lifecycle.starts_with("Terminat") || self.lifecycle.starts_with("Detach")
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
    /// `desiredCount`.
    pub desired: u32,
    /// `runningCount`.
    pub running: u32,
    /// The digest that each container's image had when the service was last deployed, by the container's name. Empty
    /// where ECS doesn't say.
    pub digests: BTreeMap<String, Digest>,
}

/// A task-definition revision. Never changes, but that it may be deregistered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDefinition {
    /// Its ARN, with the revision.
    pub arn: String,
    /// Its containers.
    pub containers: Vec<Container>,
    /// What Pinion wrote into its tags, if Pinion made it.
    pub marker: Option<Marker>,
    /// Whether it can be deployed. What was read long ago may have been deregistered since.
    pub active: bool,
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
    pub created: Option<jiff::Timestamp>,
    /// `desiredCount`.
    pub desired: u32,
    /// `runningCount`.
    pub running: u32,
}
