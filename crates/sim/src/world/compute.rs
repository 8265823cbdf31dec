//! Machine images, launch templates and Auto Scaling groups.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Refresh, World};

/// How long a deregistered image still shows as it was, in engine milliseconds.
const LINGERS: u64 = 60_000;
/// When asking for a deregistered image by id becomes an error.
const FORGOTTEN: u64 = 180_000;

/// A machine image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Image {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) owner: String,
    pub(crate) description: String,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) architecture: String,
    /// AWS's image state.
    pub(crate) state: String,
    pub(crate) public: bool,
    pub(crate) shared_with: BTreeSet<String>,
    /// Wall-clock milliseconds.
    pub(crate) created: i64,
    pub(crate) deprecated: bool,
    /// Engine milliseconds.
    pub(crate) deregistered: Option<u64>,
    /// Whether instances of it get healthy.
    pub(crate) healthy: bool,
    /// Seconds from launch to `InService`.
    pub(crate) boot: Option<u64>,
}

/// How an image answers to an account that asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visible {
    Yes,
    /// Known, but the answer is empty.
    Empty,
    No,
}

impl Image {
    /// How the image shows to `account` at engine time `now`.
    pub(crate) fn visible(&self, account: &str, now: u64) -> Visible {
        let theirs = self.owner == account;
        if !(theirs || self.public || self.shared_with.contains(account)) || (self.state == "disabled" && !theirs) {
            return Visible::No;
        }
        match self.deregistered {
            Some(at) if now >= at + FORGOTTEN => Visible::No,
            Some(at) if now >= at + LINGERS => Visible::Empty,
            _ => Visible::Yes,
        }
    }

    fn launchable(&self, account: &str, now: u64) -> bool {
        self.visible(account, now) == Visible::Yes && self.state == "available" && self.deregistered.is_none()
    }
}

/// A launch template with all its versions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LaunchTemplate {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) default: i64,
    pub(crate) versions: BTreeMap<i64, TemplateVersion>,
    pub(crate) created: i64,
    pub(crate) created_by: String,
    pub(crate) tags: BTreeMap<String, String>,
    /// By client token: what was asked, and the version that came of it.
    pub(crate) tokens: BTreeMap<String, (Value, i64)>,
}

/// One version of a launch template.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TemplateVersion {
    pub(crate) number: i64,
    pub(crate) description: Option<String>,
    pub(crate) created: i64,
    pub(crate) created_by: String,
    /// `LaunchTemplateData` under AWS's member names.
    pub(crate) data: Map<String, Value>,
}

impl LaunchTemplate {
    pub(crate) fn latest(&self) -> i64 {
        self.versions.keys().next_back().copied().unwrap_or(0)
    }

    /// The number behind `$Latest`, `$Default` (also the empty string) or a number, if there is such a version.
    pub(crate) fn number(&self, version: &str) -> Option<i64> {
        let number = match version {
            "$Latest" => self.latest(),
            "$Default" | "" => self.default,
            number => number.parse().ok()?,
        };
        self.versions.contains_key(&number).then_some(number)
    }
}

/// A launch template version as a group or an instance names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TemplateRef {
    pub(crate) id: String,
    pub(crate) name: String,
    /// A number, `$Latest` or `$Default`.
    pub(crate) version: String,
}

impl TemplateRef {
    pub(crate) fn is_numbered(&self) -> bool {
        self.version.parse::<i64>().is_ok()
    }
}

/// Where a group's instances come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum GroupSource {
    Template(TemplateRef),
    /// The template, and the policy's other members as they were given.
    Mixed {
        template: TemplateRef,
        overrides: Vec<Map<String, Value>>,
        distribution: Map<String, Value>,
    },
    Configuration {
        name: String,
        image: String,
    },
}

/// The launch template that an override of a mixed-instances policy names, if it has its own.
pub(crate) fn own_template(given: &Map<String, Value>) -> Option<TemplateRef> {
    let specification = given.get("LaunchTemplateSpecification")?;
    let text = |key: &str| specification.get(key).and_then(Value::as_str).map(str::to_owned);
    Some(TemplateRef {
        id: text("LaunchTemplateId")?,
        name: text("LaunchTemplateName").unwrap_or_default(),
        version: text("Version").unwrap_or_else(|| "$Default".to_owned()),
    })
}

/// The members of a `LaunchTemplateSpecification`.
pub(crate) fn shown_template(template: &TemplateRef) -> Value {
    json!({
        "LaunchTemplateId": template.id,
        "LaunchTemplateName": template.name,
        "Version": template.version,
    })
}

impl GroupSource {
    pub(crate) fn template(&self) -> Option<&TemplateRef> {
        match self {
            Self::Template(template) | Self::Mixed { template, .. } => Some(template),
            Self::Configuration { .. } => None,
        }
    }

    /// Every launch template that it names, a policy's own first.
    pub(crate) fn templates(&self) -> Vec<TemplateRef> {
        let mut templates: Vec<TemplateRef> = self.template().cloned().into_iter().collect();
        if let Self::Mixed { overrides, .. } = self {
            templates.extend(overrides.iter().filter_map(own_template));
        }
        templates
    }

    /// Whether it names launch templates, and all by numbers.
    pub(crate) fn is_numbered(&self) -> bool {
        self.template().is_some() && self.templates().iter().all(TemplateRef::is_numbered)
    }

    /// Whether an instance on this template could be one of its own; it must be resolved.
    pub(crate) fn launches(&self, template: Option<&TemplateRef>) -> bool {
        match template {
            None => self.template().is_none(),
            Some(template) => self.templates().contains(template),
        }
    }

    /// Whether an instance is as this would launch it; it must be resolved. An override's image hides the template's.
    pub(crate) fn matches(&self, instance: &Instance) -> bool {
        let named: Vec<&str> = match self {
            Self::Mixed { overrides, .. } => {
                overrides.iter().filter_map(|given| given.get("ImageId")?.as_str()).collect()
            }
            _ => Vec::new(),
        };
        let image = if instance.overridden { named.contains(&instance.image.as_str()) } else { named.is_empty() };
        image && self.launches(instance.template.as_ref())
    }

    /// The launch template, the instance type and the image of the `nth` override.
    fn turn(&self, nth: usize) -> Option<Turn> {
        let Self::Mixed { template, overrides, .. } = self else {
            return self.template().map(|template| (template.clone(), None, None));
        };
        let given = overrides.get(nth % overrides.len().max(1));
        let text = |key: &str| given.and_then(|given| given.get(key)).and_then(Value::as_str).map(str::to_owned);
        let template = given.and_then(own_template).unwrap_or_else(|| template.clone());
        Some((template, text("InstanceType"), text("ImageId")))
    }

    /// The same with `$Latest` and `$Default` replaced by the number they stand for now.
    pub(crate) fn resolved(&self, world: &World, account: &str, region: &str) -> Self {
        let number = |template: &TemplateRef| {
            let held = world.region(account, region)?.templates.get(&template.id)?;
            Some(held.number(&template.version)?.to_string())
        };
        let mut source = self.clone();
        if let Self::Template(template) | Self::Mixed { template, .. } = &mut source
            && let Some(number) = number(template)
        {
            template.version = number;
        }
        if let Self::Mixed { overrides, .. } = &mut source {
            for given in overrides {
                let Some(mut own) = own_template(given) else { continue };
                if let Some(number) = number(&own) {
                    own.version = number;
                }
                given.insert("LaunchTemplateSpecification".to_owned(), shown_template(&own));
            }
        }
        source
    }
}

/// A launch template, and the instance type and the image that replace what it says.
type Turn = (TemplateRef, Option<String>, Option<String>);

/// An Auto Scaling group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) arn: String,
    pub(crate) min: i64,
    pub(crate) max: i64,
    pub(crate) desired: i64,
    pub(crate) source: GroupSource,
    /// Seconds.
    pub(crate) warmup: Option<i64>,
    /// Seconds.
    pub(crate) grace: i64,
    pub(crate) health_check_type: String,
    pub(crate) zones: Vec<String>,
    pub(crate) subnets: String,
    pub(crate) target_groups: Vec<String>,
    pub(crate) tags: BTreeMap<String, String>,
    /// Minimum and maximum healthy percentage of the maintenance policy.
    pub(crate) maintenance: Option<(i64, i64)>,
    pub(crate) suspended: BTreeSet<String>,
    /// Whether new instances are protected from scale-in.
    #[serde(default)]
    pub(crate) protects: bool,
    pub(crate) created: i64,
    pub(crate) instances: Vec<Instance>,
    /// Oldest first.
    pub(crate) refreshes: Vec<Refresh>,
    /// Engine time before which no launch is tried again after one failed.
    pub(crate) launch_after: u64,
    #[serde(default)]
    pub(crate) hooks: Hooks,
    #[serde(default)]
    pub(crate) warm_pool: Option<WarmPool>,
}

/// The lifecycle hooks of a group, one of each kind.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Hooks {
    pub(crate) launching: Option<Hook>,
    pub(crate) terminating: Option<Hook>,
}

/// A lifecycle hook.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Hook {
    pub(crate) name: String,
    /// `HeartbeatTimeout`, in seconds.
    pub(crate) timeout: u64,
    /// Whether `DefaultResult` is CONTINUE.
    pub(crate) proceeds: bool,
}

/// What an instance waits for at a hook.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Wait {
    /// Engine time.
    pub(crate) until: u64,
    /// Whether it then goes on; otherwise it is abandoned.
    pub(crate) proceeds: bool,
}

/// Instances that stand beside a group until it scales out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WarmPool {
    pub(crate) min: i64,
    /// `MaxGroupPreparedCapacity`.
    pub(crate) prepared: Option<i64>,
    pub(crate) state: PoolState,
    pub(crate) instances: Vec<Instance>,
}

/// In which state the instances of a warm pool wait. The names are AWS's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PoolState {
    Stopped,
    Running,
    Hibernated,
}

impl PoolState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stopped => "Stopped",
            Self::Running => "Running",
            Self::Hibernated => "Hibernated",
        }
    }

    /// An instance's that waits in it.
    pub(crate) fn lifecycle(self) -> Lifecycle {
        match self {
            Self::Stopped => Lifecycle::WarmedStopped,
            Self::Running => Lifecycle::WarmedRunning,
            Self::Hibernated => Lifecycle::WarmedHibernated,
        }
    }
}

/// An instance of a group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) image: String,
    /// Whether the image is an override's, and not the template's.
    #[serde(default)]
    pub(crate) overridden: bool,
    pub(crate) instance_type: String,
    pub(crate) zone: String,
    /// With the version's number.
    pub(crate) template: Option<TemplateRef>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) healthy: bool,
    pub(crate) protected: bool,
    /// Wall-clock milliseconds.
    pub(crate) launched: i64,
    /// Engine time of `InService`.
    pub(crate) ready_at: u64,
    /// Engine time at which health checks give it up.
    pub(crate) unhealthy_at: Option<u64>,
    /// Engine time at which it is gone, once terminating.
    pub(crate) gone_at: Option<u64>,
    /// How long its group's hook holds it when it is to be terminated, in seconds.
    #[serde(default)]
    pub(crate) hold: Option<u64>,
    /// What it waits for at a hook.
    #[serde(default)]
    pub(crate) wait: Option<Wait>,
}

/// An instance's place in its life. The names are AWS's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Lifecycle {
    Pending,
    PendingWait,
    InService,
    Terminating,
    TerminatingWait,
    Standby,
    WarmedPending,
    WarmedPendingWait,
    WarmedStopped,
    WarmedRunning,
    WarmedHibernated,
    WarmedTerminating,
}

impl Lifecycle {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::PendingWait => "Pending:Wait",
            Self::InService => "InService",
            Self::Terminating => "Terminating",
            Self::TerminatingWait => "Terminating:Wait",
            Self::Standby => "Standby",
            Self::WarmedPending => "Warmed:Pending",
            Self::WarmedPendingWait => "Warmed:Pending:Wait",
            Self::WarmedStopped => "Warmed:Stopped",
            Self::WarmedRunning => "Warmed:Running",
            Self::WarmedHibernated => "Warmed:Hibernated",
            Self::WarmedTerminating => "Warmed:Terminating",
        }
    }
}

impl Instance {
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Pending | Lifecycle::PendingWait | Lifecycle::InService)
    }

    pub(crate) fn is_leaving(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Terminating | Lifecycle::TerminatingWait | Lifecycle::WarmedTerminating)
    }

    /// In service, healthy as far as anybody `checks`, and warmed up for `warmup` seconds.
    pub(crate) fn is_warm(&self, warmup: i64, now: u64, checks: bool) -> bool {
        self.lifecycle == Lifecycle::InService
            && self.healthy
            && !(checks && self.unhealthy_at.is_some())
            && now >= self.ready_at + u64::try_from(warmup).unwrap_or(0) * 1000
    }
}

impl Group {
    /// The refresh that runs, if one does.
    pub(crate) fn active(&self) -> Option<&Refresh> {
        self.refreshes.last().filter(|refresh| refresh.status.is_active())
    }

    /// Seconds that a new instance warms up without a refresh's own figure.
    pub(crate) fn default_warmup(&self) -> i64 {
        self.warmup.unwrap_or(self.grace)
    }
}

/// The architecture of an instance type, by its name.
pub(crate) fn architecture(instance_type: &str) -> &'static str {
    let family = instance_type.split('.').next().unwrap_or_default();
    let options = family.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let options = options.trim_start_matches(|c: char| c.is_ascii_digit());
    if family == "a1" || options.starts_with('g') { "arm64" } else { "x86_64" }
}

/// What a launch would give.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) image: String,
    pub(crate) overridden: bool,
    pub(crate) instance_type: String,
    pub(crate) template: Option<TemplateRef>,
    pub(crate) healthy: bool,
    pub(crate) boot: Option<u64>,
}

impl World {
    /// The image of any account in a region.
    pub(crate) fn image(&self, region: &str, id: &str) -> Option<&Image> {
        self.accounts.values().find_map(|account| account.regions.get(region)?.images.get(id))
    }

    /// The image id that a template names: itself, or the value of the parameter behind `resolve:ssm:`.
    pub(crate) fn resolve_image(&self, account: &str, region: &str, named: &str) -> Option<String> {
        match named.strip_prefix("resolve:ssm:") {
            None => Some(named.to_owned()),
            Some(parameter) => self.parameter(account, region, parameter).map(|found| found.value),
        }
    }

    /// What an instance launched from `source` now would be, of a policy by its `nth` override, or why none can be.
    pub(crate) fn launch(
        &self,
        account: &str,
        region: &str,
        source: &GroupSource,
        nth: usize,
    ) -> Result<Launch, String> {
        let mut overridden = false;
        let (template, named, instance_type) = match (source.turn(nth), source) {
            (Some((reference, kind, image)), _) => {
                overridden = image.is_some();
                let held = self.region(account, region).and_then(|held| held.templates.get(&reference.id));
                let version = held.and_then(|held| held.versions.get(&held.number(&reference.version)?));
                let version = version.ok_or_else(|| {
                    format!("The specified launch template version {} does not exist.", reference.version)
                })?;
                let text = |key: &str| version.data.get(key).and_then(Value::as_str).map(str::to_owned);
                let mut numbered = reference.clone();
                numbered.version = version.number.to_string();
                let image = image.or_else(|| text("ImageId")).ok_or("The launch template names no image.")?;
                (Some(numbered), image, kind.or_else(|| text("InstanceType")))
            }
            (None, GroupSource::Configuration { image, .. }) => (None, image.clone(), None),
            (None, _) => return Err("The group names no launch template.".to_owned()),
        };
        let instance_type = instance_type.unwrap_or_else(|| "t3.micro".to_owned());
        let id = self
            .resolve_image(account, region, &named)
            .ok_or_else(|| format!("The parameter of {named} does not exist."))?;
        let image = self
            .image(region, &id)
            .filter(|image| image.launchable(account, self.now))
            .ok_or_else(|| format!("The image id '[{id}]' does not exist. Launching EC2 instance failed."))?;
        let supported = architecture(&instance_type);
        if image.architecture != supported {
            return Err(format!(
                "The architecture '{supported}' of the specified instance type does not match the architecture '{}' of \
                 the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again. \
                 Launching EC2 instance failed.",
                image.architecture
            ));
        }
        Ok(Launch { image: id, overridden, instance_type, template, healthy: image.healthy, boot: image.boot })
    }
}
