//! What a forecast wants to know of a target besides what planning does. Read for `pinion plan` only: a controller needs
//! none of it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

/// What was read of one target and its images. Whatever couldn't be read is missing here, and named in `unread`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Survey {
    /// The image that the target is on now.
    pub now: Option<ImageFacts>,
    /// The image that the pin resolves to.
    pub next: Option<ImageFacts>,
    /// The target's own settings.
    pub host: Option<Host>,
    /// What couldn't be read, and why; one sentence each.
    pub unread: Vec<String>,
}

/// What is known of an AMI or a container image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageFacts {
    /// When it was made, or pushed.
    pub created: Option<Timestamp>,
    /// When an AMI is, or was, deprecated.
    pub deprecated: Option<Timestamp>,
    /// The processors that it is for, in the words of [`platform`]; empty if it doesn't say.
    pub platforms: BTreeSet<String>,
    /// The commit of the component that it was built from, where it says so: an AMI's tag `revision` or `commit`, an
    /// image's annotation `org.opencontainers.image.revision`. A untrusted person's text.
    pub source: Option<String>,
}

/// The settings of a target that a rollout goes by.
#[derive(Debug, Clone, PartialEq)]
pub enum Host {
    /// An Auto Scaling group's.
    Group(GroupSettings),
    /// An ECS service's.
    Service(ServiceSettings),
}

/// The settings of an Auto Scaling group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupSettings {
    /// `MinHealthyPercentage` of its instance maintenance policy.
    pub min_healthy: Option<u32>,
    /// `MaxHealthyPercentage` of its instance maintenance policy.
    pub max_healthy: Option<u32>,
    /// `DefaultInstanceWarmup`, else `HealthCheckGracePeriod`; seconds.
    pub warmup: u32,
    /// The instance types that it launches, each with the processors that it has, in the words of [`platform`]; none if
    /// that couldn't be read.
    pub instance_types: BTreeMap<String, BTreeSet<String>>,
}

/// The settings of an ECS service.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ServiceSettings {
    /// `deploymentConfiguration.strategy`: `ROLLING`, `BLUE_GREEN`, `LINEAR` or `CANARY`.
    pub strategy: String,
    /// `minimumHealthyPercent`.
    pub min_healthy: u32,
    /// `maximumPercent`.
    pub max_healthy: u32,
    /// `bakeTimeInMinutes`, seconds.
    pub bake: u32,
    /// The steps of `LINEAR` and `CANARY`: how many there are before all is shifted, and the wait after each in seconds.
    pub steps: Option<(u32, u32)>,
    /// Whether ECS rolls back when tasks fail to start (circuit breaker) or an alarm goes off.
    pub rolls_back: bool,
    /// Whether the circuit breaker or alarms end a deployment that goes wrong at all.
    pub detects: bool,
    /// `runtimePlatform.cpuArchitecture` of its task definition, in the words of [`platform`].
    pub platform: String,
}

/// One word for a processor, whichever AWS or OCI uses: `x86_64`, `arm64`, or the word itself.
#[must_use]
pub fn platform(word: &str) -> String {
    match word.to_ascii_lowercase().as_str() {
        "amd64" | "x86_64" | "x86-64" => "x86_64".to_owned(),
        "arm64" | "aarch64" => "arm64".to_owned(),
        other => other.to_owned(),
    }
}
