//! The TOML files of an environment, key by key.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::{Schema, json_schema};

use super::finding::{Findings, Place};
use super::kinds::{Alias, Shared};
use super::shape::{At, Field, Number, OneOrMore, Shape, Span, Text, nearest, table};
use super::template::Template;
use super::tree::{Entry, Node, Value};
use crate::model::{AccountId, Component, Digest, EnvironmentName, LocalRef, Named, PromotionMode, Region, Version};

/// A target's text in which `{version}` may stand.
pub(crate) type Versioned = Template<true, true>;
/// A target's text that stays the same when a pin changes.
pub(crate) type Fixed = Template<true, false>;
/// Text that is the same for all targets.
pub(crate) type Common = Template<false, false>;

/// The longest time that Auto Scaling takes for a checkpoint or a bake: two days.
const TWO_DAYS: u64 = 172_800;
const TWO_WEEKS: u64 = 14 * 24 * 3600;
const THIRTY_DAYS: u64 = 30 * 24 * 3600;

table! {
    /// Where and how an environment is deployed: its account and its targets. What `environments/defaults.toml` says
    /// holds for every environment that doesn't say otherwise.
    RawEnvironment {
        /// The AWS account, and how to get into it.
        account: RawAccount,
        /// Where versions come from before they get here. Guardrails use it, too.
        promotion: RawPromotion,
        /// The Auto Scaling groups, by the target's name: `[asg.web]` is `asg/web`.
        asg: BTreeMap<String, Field<RawAsg>>,
        /// The ECS services, on Fargate or on instances, by the target's name: `[fargate.api]` is `fargate/api`.
        fargate: BTreeMap<String, Field<RawFargate>>,
    }
    checked {
        /// Another word for `fargate`: `[ecs.api]` is the target `fargate/api`, as `[fargate.api]` is.
        ecs: Alias<BTreeMap<String, Field<RawFargate>>>,
        /// Switches all targets off for a while: those of this environment, or, in defaults.toml, those of all environments.
        /// It wins over a suspension that ends earlier, and holds also while something else in the files is wrong.
        suspend: RawSuspend,
        /// What holds for all targets of a kind. What a target's own table says wins over it, also if that stands in
        /// defaults.toml.
        defaults: RawDefaults,
    }
    refused {
        "service" => "an ECS service is [fargate.NAME]",
        "services" => "an ECS service is [fargate.NAME]",
        "ec2" => "an Auto Scaling group is [asg.NAME]",
        "autoscaling" => "an Auto Scaling group is [asg.NAME]",
        "auto_scaling_group" => "an Auto Scaling group is [asg.NAME]",
        "group" => "an Auto Scaling group is [asg.NAME]",
        "pins" => "versions are in pins.toml, beside this file",
        "versions" => "versions are in pins.toml, beside this file",
        "id" => "it belongs under [account]",
        "region" => "it belongs under [account]",
        "role" => "it belongs under [account]",
        "external_id" => "it belongs under [account]",
    }
}

table! {
    /// What holds for all targets of a kind. Each table is laid under those of the targets, as defaults.toml is under
    /// environment.toml.
    RawDefaults {}
    checked {
        /// What holds for all Auto Scaling groups: the same keys, except `take_over`.
        asg: Shared<RawAsg>,
        /// What holds for all ECS services: the same keys, except `take_over`.
        fargate: Shared<RawFargate>,
        /// Another word for `fargate`.
        ecs: Alias<Shared<RawFargate>>,
    }
    refused {
        "ami" => "it belongs under [defaults.asg]",
        "group" => "it belongs under [defaults.asg]",
        "cluster" => "it belongs under [defaults.fargate]",
        "container" => "it belongs under [defaults.fargate]",
        "image" => "it belongs under [defaults.fargate]",
        "service" => "it belongs under [defaults.fargate]",
        "suspend" => "what suspends all targets is [suspend], at the top of the file",
        "account" => "what all environments share of it belongs under [account] in environments/defaults.toml",
        "promotion" => "what all environments share of it belongs under [promotion] in environments/defaults.toml",
    }
}

table! {
    /// The AWS account, and how to get into it.
    RawAccount {
        /// The account's id: 12 digits, as a string. The credentials must belong to it before anything is written.
        id: AccountId,
        /// The region of all targets.
        region: Region,
        /// The ARN of the role to assume; it belongs to this account. May use {environment}, {account} and {region}.
        role: Common,
        /// The external id that the role's trust policy asks for. May use {environment}, {account} and {region}.
        external_id: Common,
    }
    refused {
        "account_id" => "it is `id`",
        "role_arn" => "it is `role`",
        "profile" => "Pinion assumes `role`; a profile belongs to the one machine",
    }
    instead "write a table [account] with id, region and role"
}

table! {
    /// Where versions come from before they get here. Guardrails use it, too.
    RawPromotion {
        /// The environment that runs a version before this one does.
        from: EnvironmentName,
        /// How long a version has to be in sync there before it counts as soaked. Default: that it has been in sync is enough.
        soak: Span<1, THIRTY_DAYS>,
        /// What becomes of a version that hasn't soaked there: `"inform"` rolls it out, with a warning; `"require"` holds it. What
        /// has run well here before passes, and so does a component that no target there has. Default: `"inform"`.
        mode: ModeWord,
    }
    instead "write { from = \"ENVIRONMENT\" }, or a table [promotion]"
}

table! {
    /// An Auto Scaling group.
    RawAsg {
        /// The group's name. Default: the target's name. May use placeholders, except {version}.
        group: Fixed,
        /// The component that it runs, which pins.toml gives the version of. Default: the target's name.
        component: Component,
        /// How the AMI of a version is found: one of `name`, `tags`, `parameter` and `id`. It replaces the whole `ami` of
        /// defaults.
        ami: RawAmi,
        /// Where all but the image comes from: "running" copies the launch-template version that the group is on, "newest" takes
        /// the newest version that Pinion didn't make, such as Terraform's. Default: "running".
        base_revision: BaseWord,
        /// With "newest": only versions count that one of these principals made: ARNs, in which `*` stands for any
        /// characters, such as "arn:aws:sts::111111111111:assumed-role/terraform/*". Default: anybody's count.
        base_registered_by: Vec<At<Text>>,
        /// The targets of this environment that have to be in sync before this one rolls out.
        after: Vec<At<LocalRef>>,
        /// How to roll out. What isn't said is left to AWS and the group.
        rollout: RawAsgRollout,
        /// What must answer after a rollout, before it counts as converged, in this order.
        verify: Vec<At<RawProbe>>,
        /// Switches the target off for a while.
        suspend: RawSuspend,
        /// The target of another installation that holds this resource so far, and gives it up:
        /// "INSTALLATION/ENVIRONMENT/KIND/NAME", as the reason of a blocked target names it.
        take_over: Named,
    }
    refused {
        "version" => "versions are in pins.toml, beside this file",
        "image" => "an Auto Scaling group has an `ami`; a container's image belongs under [fargate.NAME]",
        "image_id" => "it is `ami = { id = \"{version}\" }`",
        "name" => "it is `group`",
        "launch_template" => "Pinion finds the launch template by the group",
        "instance_type" => "Pinion changes the image and nothing else",
        "desired_capacity" => "Pinion changes the image and nothing else",
        "min_size" => "Pinion changes the image and nothing else",
        "max_size" => "Pinion changes the image and nothing else",
        "account" => "a target is in its environment's account: it belongs under [account]",
        "region" => "a target is in its environment's region: it belongs under [account]",
        "role" => "it belongs under [account]",
        "promotion" => "it is a table [promotion] of its own",
        "min_healthy" => "it belongs under `rollout`",
        "max_healthy" => "it belongs under `rollout`",
        "deadline" => "it belongs under `rollout`",
        "alarms" => "it belongs under `rollout`",
    }
}

table! {
    /// How the AMI of a version is found: one of `name`, `tags`, `parameter` and `id`.
    RawAmi {
        /// The image's exact name. May use placeholders.
        name: Versioned,
        /// Tags, all of which exactly one image must have. Values may use placeholders.
        tags: BTreeMap<String, Field<Versioned>>,
        /// The SSM parameter that holds the image's id: `name:version` or `name:label`. May use placeholders.
        parameter: Versioned,
        /// The image's id. May use placeholders; `{version}` alone where pins are AMI ids.
        id: Versioned,
        /// The id of the account that owns the image, for `name` and `tags`. May use placeholders, except {version}.
        owner: Fixed,
    }
    refused {
        "ami_id" => "it is `id`",
        "owners" => "it is `owner`, and one account",
        "filter" => "it is `tags`, such as { role = \"web\", version = \"{version}\" }",
        "ssm" => "it is `parameter`",
    }
    instead "write how it is found, such as { name = \"NAME-{version}\", owner = \"ACCOUNT\" }"
}

table! {
    /// How to refresh the instances of a group. What isn't said is left to AWS and the group.
    RawAsgRollout {
        /// After this long a rollout that still runs is overdue: it is left running, and alerts. Default: "1h".
        deadline: Span<1, TWO_WEEKS>,
        /// The percentage of the group's desired capacity that stays healthy during the refresh.
        min_healthy: Number<0, 100>,
        /// The percentage of the group's desired capacity that may run during the refresh. Needs `min_healthy`, and is
        /// at most 100 more.
        max_healthy: Number<100, 200>,
        /// How long a new instance is given before it counts as healthy.
        warmup: Span<0, TWO_DAYS>,
        /// The percentages at which the refresh pauses: ascending, the last one 100.
        checkpoints: Vec<At<Number<1, 100>>>,
        /// How long it pauses at each.
        checkpoint_delay: Span<0, TWO_DAYS>,
        /// How long the group is watched after the last instance was replaced.
        bake: Span<0, TWO_DAYS>,
        /// CloudWatch alarms that fail the refresh, at most 10. May use placeholders, except {version}.
        alarms: Vec<At<Fixed>>,
    }
    refused {
        "min_healthy_percentage" => "it is `min_healthy`",
        "max_healthy_percentage" => "it is `max_healthy`",
        "instance_warmup" => "it is `warmup`",
        "checkpoint_percentages" => "it is `checkpoints`",
        "bake_time" => "it is `bake`",
        "timeout" => "it is `deadline`",
        "auto_rollback" => "a refresh always has it",
    }
}

table! {
    /// An ECS service, on Fargate or on instances.
    RawFargate {
        /// The cluster's name. May use placeholders, except {version}.
        cluster: Fixed,
        /// The service's name. Default: the target's name. May use placeholders, except {version}.
        service: Fixed,
        /// The component that it runs, which pins.toml gives the version of. Default: the target's name.
        component: Component,
        /// The container whose image follows the pin, or a list of those that all do: the application, and the one that
        /// runs its migrations. Default: the only essential one. May use placeholders, except {version}.
        container: OneOrMore<Fixed>,
        /// The image: `registry/repository:tag`, with `{version}` in the tag only. May use placeholders.
        image: Versioned,
        /// Where all but the image comes from: "running" copies the task definition that runs, "newest" takes the newest ACTIVE
        /// revision of the family that Pinion didn't register, such as Terraform's. Default: "running".
        base_revision: BaseWord,
        /// With "newest": the family whose newest revision counts. Default: the one that the service is on. May use
        /// placeholders, except {version}.
        base_family: Fixed,
        /// With "newest": only revisions count that one of these principals registered: ARNs, in which `*` stands for any
        /// characters, such as "arn:aws:sts::111111111111:assumed-role/terraform/*". Default: anybody's count.
        base_registered_by: Vec<At<Text>>,
        /// The targets of this environment that have to be in sync before this one rolls out.
        after: Vec<At<LocalRef>>,
        /// How to roll out.
        rollout: RawFargateRollout,
        /// What must answer after a rollout, before it counts as converged, in this order.
        verify: Vec<At<RawProbe>>,
        /// Switches the target off for a while.
        suspend: RawSuspend,
        /// The target of another installation that holds this resource so far, and gives it up:
        /// "INSTALLATION/ENVIRONMENT/KIND/NAME", as the reason of a blocked target names it.
        take_over: Named,
    }
    refused {
        "version" => "versions are in pins.toml, beside this file",
        "tag" => "versions are in pins.toml, beside this file",
        "digest" => "it belongs to the pin, in pins.toml: NAME = { version = \"1.4.2\", digest = \"sha256:…\" }",
        "ami" => "an ECS service has an `image`; an AMI belongs under [asg.NAME]",
        "name" => "it is `service`",
        "containers" => "it is `container`, also for several",
        "container_name" => "it is `container`",
        "repository" => "it is part of `image`",
        "family" => "it is `base_family`",
        "task_definition" => "Pinion copies what runs; see `base_revision` and `base_family`",
        "desired_count" => "Pinion changes the image and nothing else",
        "cpu" => "Pinion changes the image and nothing else",
        "memory" => "Pinion changes the image and nothing else",
        "environment" => "Pinion changes the image and nothing else",
        "account" => "a target is in its environment's account: it belongs under [account]",
        "region" => "a target is in its environment's region: it belongs under [account]",
        "role" => "it belongs under [account]",
        "promotion" => "it is a table [promotion] of its own",
        "deadline" => "it belongs under `rollout`",
    }
}

table! {
    /// How to roll a service out. How many tasks are replaced at a time is the service's own deployment configuration.
    RawFargateRollout {
        /// After this long a rollout that still runs is overdue: it is left running, and alerts. Default: "1h".
        deadline: Span<1, TWO_WEEKS>,
    }
    refused {
        "min_healthy" => "the service's own deployment configuration (minimumHealthyPercent) decides this",
        "max_healthy" => "the service's own deployment configuration (maximumPercent) decides this",
        "warmup" => "the service's own health check grace period decides this",
        "checkpoints" => "only instance refreshes have checkpoints",
        "checkpoint_delay" => "only instance refreshes have checkpoints",
        "bake" => "the service's own deployment configuration (bakeTimeInMinutes) decides this",
        "alarms" => "the service's own deployment configuration (alarms) decides this",
    }
}

table! {
    /// A request that must be answered as expected after a rollout.
    RawProbe {
        /// The URL to GET, http or https. May use placeholders; {version} only behind the host.
        http: Versioned,
        /// The status that the answer must have. Default: 200.
        status: Number<100, 599>,
        /// How long one try may take. Default: "5s".
        timeout: Span<1, 60>,
        /// How long it may keep failing before the pin is quarantined. Default: "5m".
        within: Span<1, TWO_DAYS>,
    }
    required [http]
    refused {
        "url" => "it is `http`",
        "https" => "it is `http`, also for https",
        "path" => "it is part of `http`",
        "retries" => "it is `within`: how long it may keep failing",
        "interval" => "Pinion chooses it; `within` is how long it may keep failing",
    }
    instead "write { http = \"https://app.example.com/health\" }"
}

table! {
    /// Switches off for a while. All three keys have to be there.
    RawSuspend {
        /// Who answers for it.
        owner: Text,
        /// Why.
        reason: Text,
        /// When it ends by itself: an RFC 3339 date and time, such as 2026-12-24T18:00:00Z.
        until: Timestamp,
    }
    instead "write { owner = \"…\", reason = \"…\", until = \"2026-12-24T18:00:00Z\" }, or use `pinion suspend`"
}

table! {
    /// A version, and the digest that its image must have.
    PinTable {
        /// The version.
        version: Version,
        /// The digest that the version's container image must have: `sha256:` and 64 hexadecimal digits.
        digest: Digest,
    }
    required [version]
}

/// Where a target's shape comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BaseWord {
    Running,
    Newest,
}

impl Shape for BaseWord {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        either(node, findings, [("running", Self::Running), ("newest", Self::Newest)])
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": ["running", "newest"] })
    }
}

/// What becomes of a version that hasn't soaked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ModeWord(pub(crate) PromotionMode);

impl Shape for ModeWord {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        let words = [("inform", Self(PromotionMode::Inform)), ("require", Self(PromotionMode::Require))];
        either(node, findings, words)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": ["inform", "require"] })
    }
}

/// One of two words.
fn either<T: Copy>(node: &Node, findings: &mut Findings, words: [(&str, T); 2]) -> Option<T> {
    let Text(text) = Text::read(node, findings)?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    if found.is_none() {
        let [(first, _), (second, _)] = words;
        let message = format!("`{text}` is neither \"{first}\" nor \"{second}\"");
        findings.report(&node.place, "invalid-value", message);
    }
    found
}

/// A pin: a version, or a table of a version and a digest.
#[derive(Debug, Clone)]
pub(crate) struct RawPin {
    pub(crate) version: Field<Version>,
    pub(crate) digest: Field<Digest>,
}

/// All of `pins.toml`: versions by component.
pub(crate) type RawPins = BTreeMap<String, Field<RawPin>>;

/// What is wrong with a table that isn't even meant to be a pin: `[pins]` around all of them, or a name with a dot.
fn no_pin(node: &Node, entries: &BTreeMap<String, Entry>) -> Option<(String, String)> {
    if entries.is_empty() || entries.keys().any(|key| nearest(key, &["version", "digest"]).is_some()) {
        return None;
    }
    let Place { source, span, key } = &node.place;
    let behind = source.text.get(span.end..).unwrap_or_default().trim_start();
    let before = source.text.get(..span.start).unwrap_or_default().trim_end();
    if behind.starts_with('.') {
        let inner = entries.keys().next().map_or("", String::as_str);
        let message = format!("a dot divides a key: this is a key `{inner}` of the component `{key}`");
        return Some((message, "a component's name has no dots: use - or _, also in `component`".to_owned()));
    }
    before.ends_with('[').then(|| {
        let message = format!("`{key}` is a table, and no version");
        (message, format!("pins stand at the top of the file, one a line, such as web = \"1.4.2\": take [{key}] out"))
    })
}

impl Shape for RawPin {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::Table(entries) => {
                if let Some((message, help)) = no_pin(node, entries) {
                    findings.report_with_help(&node.place, "no-pin", message, help);
                    return None;
                }
                let PinTable { version, digest } = PinTable::read(node, findings)?;
                version.required(&node.place, "version", findings);
                Some(Self { version, digest })
            }
            Value::String(_) => {
                let version = Field::read(Some(node), findings);
                Some(Self { version, digest: Field::Absent })
            }
            other => {
                let message = format!("expected a version, found {}", other.kind());
                let help = "write it in quotes: \"1.4.2\", or { version = \"1.4.2\", digest = \"sha256:…\" }";
                findings.report_with_help(&node.place, "wrong-type", message, help);
                None
            }
        }
    }

    fn schema() -> Schema {
        json_schema!({ "oneOf": [Version::schema(), PinTable::schema()] })
    }
}
