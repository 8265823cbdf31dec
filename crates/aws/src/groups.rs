//! Observes Auto Scaling groups: a page of groups, and the launch-template versions that aren't known yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use aws_sdk_autoscaling::types::{AutoScalingGroup, Instance, LaunchTemplateSpecification, MixedInstancesPolicy};
use aws_sdk_ec2::types::{Filter, InstanceTypeInfo};

use super::connection::{Connection, ours};
use super::operation::Operation;
use super::templates::MovingVersions;
use pinion_core::model::{
    ErrorClass, GroupInstance, GroupName, GroupTemplate, GroupTraits, LocalRef, MixedPolicy, ObservedGroup,
    ObservedTarget, OverrideTemplate, PortError, TemplateRef, TemplateVersion, TemplateVersionSpec,
};

/// How many groups one call may name (AWS's default quota), and how many it may return.
const NAMES: usize = 50;
const PAGE: i32 = 100;
/// How many instance types are asked for at once: AWS's largest page of them.
const TYPES: usize = 100;

impl Connection {
    /// Observes groups.
    pub(super) async fn groups(
        &self,
        wanted: &BTreeMap<LocalRef, GroupName>,
    ) -> BTreeMap<LocalRef, Result<ObservedTarget, PortError>> {
        self.forget_users().await;
        let mut observed = BTreeMap::new();
        let mut found = Vec::new();
        let mut described = self.page_of_groups(wanted).await;
        let mut by_name = Vec::new();
        for (local, name) in wanted {
            match described.groups.remove(name.as_str()) {
                Some(group) => found.push((local.clone(), name.clone(), group)),
                None if described.all => drop(observed.insert(local.clone(), Ok(missing(name)))),
                None => by_name.push((local, name)),
            }
        }
        for batch in by_name.chunks(NAMES) {
            match self.describe_groups(batch.iter().map(|(_, name)| name.to_string()).collect()).await {
                Ok(mut groups) => {
                    for (local, name) in batch {
                        match groups.remove(name.as_str()) {
                            Some(group) => found.push(((*local).clone(), (*name).clone(), group)),
                            None => drop(observed.insert((*local).clone(), Ok(missing(name)))),
                        }
                    }
                }
                Err(error) => {
                    observed.extend(batch.iter().map(|(local, _)| ((*local).clone(), Err(error.clone()))));
                }
            }
        }
        let versions = self.versions_of(found.iter().map(|(_, _, group)| group)).await;
        let launched = self.launched_versions(found.iter().map(|(_, _, group)| group)).await;
        for (local, name, group) in found {
            observed.insert(local, observed_group(name, &group, &versions, &launched));
        }
        self.add_instance_types(&mut observed).await;
        observed
    }

    /// Where the account has few other groups, pages of all of them are fewer calls than batches of names. Reads no more
    /// pages than there would be batches, and where that is too few, not again.
    async fn page_of_groups(&self, wanted: &BTreeMap<LocalRef, GroupName>) -> Described {
        let mut described = Described::default();
        if wanted.len() <= NAMES || self.crowded.load(Ordering::Relaxed) {
            return described;
        }
        let mut token: Option<String> = None;
        for _ in 0..wanted.len().div_ceil(NAMES) {
            let page = self
                .call(Operation::DescribeAutoScalingGroups, || {
                    let request = self.autoscaling.describe_auto_scaling_groups().max_records(PAGE);
                    request.set_next_token(token.clone()).send()
                })
                .await;
            // The batches that follow tell of the failure, each of its own.
            let Ok(page) = page else { return described };
            described.add(page.auto_scaling_groups);
            token = page.next_token.filter(|token| !token.is_empty());
            described.all = token.is_none();
            if described.all || wanted.values().all(|name| described.groups.contains_key(name.as_str())) {
                return described;
            }
        }
        self.crowded.store(true, Ordering::Relaxed);
        described
    }

    pub(super) async fn describe_groups(
        &self,
        names: Vec<String>,
    ) -> Result<BTreeMap<String, AutoScalingGroup>, PortError> {
        let mut described = Described::default();
        let mut token = None;
        loop {
            let page = self
                .call(Operation::DescribeAutoScalingGroups, || {
                    self.autoscaling
                        .describe_auto_scaling_groups()
                        .set_auto_scaling_group_names(Some(names.clone()))
                        .max_records(PAGE)
                        .set_next_token(token.clone())
                        .send()
                })
                .await?;
            described.add(page.auto_scaling_groups);
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(described.groups);
            }
        }
    }

    /// Says of each instance type which architectures it supports. Where AWS doesn't let us ask, nothing is said: that an
    /// AMI doesn't fit then shows only when its instances don't start.
    async fn add_instance_types(&self, observed: &mut BTreeMap<LocalRef, Result<ObservedTarget, PortError>>) {
        let mut groups: Vec<&mut ObservedGroup> = Vec::new();
        for target in observed.values_mut() {
            if let Ok(ObservedTarget::Group(group)) = target {
                groups.push(group);
            }
        }
        let wanted: BTreeSet<&String> = groups.iter().flat_map(|group| group.traits.types.keys()).collect();
        let known = self.architectures_of(wanted.into_iter().cloned().collect()).await;
        for group in groups {
            for (name, supported) in &mut group.traits.types {
                supported.extend(known.get(name).into_iter().flatten().cloned());
            }
        }
    }

    /// The architectures that instance types support, asked for once each. Those that AWS doesn't know have none.
    async fn architectures_of(&self, wanted: BTreeSet<String>) -> BTreeMap<String, BTreeSet<String>> {
        let mut known = BTreeMap::new();
        let mut unknown = Vec::new();
        for name in wanted {
            match self.cache.instance_types.get(&name) {
                Some(supported) => drop(known.insert(name, supported)),
                None => unknown.push(name),
            }
        }
        for batch in unknown.chunks(TYPES) {
            let described = match self.describe_types(batch).await {
                Ok(described) => described,
                Err(error) if matches!(error.class, ErrorClass::Denied | ErrorClass::Invalid) => Vec::new(),
                // It passes: asked again in the next pass.
                Err(_) => continue,
            };
            let mut found: BTreeMap<String, BTreeSet<String>> =
                batch.iter().map(|name| (name.clone(), BTreeSet::new())).collect();
            for described in described {
                let supported = described.processor_info.and_then(|info| info.supported_architectures);
                if let Some(name) = described.instance_type {
                    let supported = supported.unwrap_or_default();
                    let supported = supported.iter().map(|architecture| architecture.as_str().to_owned());
                    found.insert(name.as_str().to_owned(), supported.collect());
                }
            }
            for (name, supported) in found {
                self.cache.instance_types.put(name.clone(), supported.clone());
                known.insert(name, supported);
            }
        }
        known
    }

    async fn describe_types(&self, names: &[String]) -> Result<Vec<InstanceTypeInfo>, PortError> {
        // As a filter: one that doesn't exist among `InstanceTypes` would fail the whole call.
        let filter = Filter::builder().name("instance-type").set_values(Some(names.to_vec())).build();
        let mut described = Vec::new();
        let mut token = None;
        loop {
            let page = self
                .call(Operation::DescribeInstanceTypes, || {
                    self.ec2.describe_instance_types().filters(filter.clone()).set_next_token(token.clone()).send()
                })
                .await?;
            described.extend(page.instance_types.unwrap_or_default());
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(described);
            }
        }
    }

    /// The versions that groups are on, template by template: a failure is that of one template's groups only.
    async fn versions_of(&self, groups: impl Iterator<Item = &AutoScalingGroup>) -> Versions {
        let mut numbers: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        let mut moving: BTreeMap<String, Vec<TemplateVersionSpec>> = BTreeMap::new();
        for group in groups {
            for (template, spec) in specifications(group).filter_map(template_of) {
                match spec {
                    TemplateVersionSpec::Number(number) => {
                        numbers.entry(template.id).or_default().insert(number);
                    }
                    spec => moving.entry(template.id).or_default().push(spec),
                }
            }
        }
        let mut versions = Versions::default();
        for (template, numbers) in numbers {
            let read = self.template_versions(&template, &numbers).await;
            versions.numbered.insert(template, read);
        }
        for (template, specs) in moving {
            let read = self.moving_versions(&template, &specs).await;
            versions.moving.insert(template, read);
        }
        versions
    }
}

/// The versions that instances were launched from, by template id and number, template by template.
type Launched = BTreeMap<String, Result<BTreeMap<u64, TemplateVersion>, PortError>>;

impl Connection {
    /// The versions that the instances of groups were launched from. A template that is gone has none.
    async fn launched_versions(&self, groups: impl Iterator<Item = &AutoScalingGroup>) -> Launched {
        let mut numbers: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for instance in groups.flat_map(|group| group.instances.as_deref().unwrap_or_default()) {
            if let Some((template, number)) = launched_from(instance) {
                numbers.entry(template).or_default().insert(number);
            }
        }
        let mut launched = Launched::new();
        for (template, numbers) in numbers {
            let read = match self.template_versions(&template, &numbers).await {
                Err(error) if error.class == ErrorClass::Invalid => Ok(BTreeMap::new()),
                read => read,
            };
            launched.insert(template, read);
        }
        launched
    }
}

/// The template's id and the version's number that an instance was launched from.
fn launched_from(instance: &Instance) -> Option<(String, u64)> {
    match template_of(instance.launch_template.as_ref()?)? {
        (template, TemplateVersionSpec::Number(number)) => Some((template.id, number)),
        (_, TemplateVersionSpec::Latest | TemplateVersionSpec::Default) => None,
    }
}

/// Groups by name, and whether they are all that the account has.
#[derive(Debug, Default)]
struct Described {
    groups: BTreeMap<String, AutoScalingGroup>,
    all: bool,
}

impl Described {
    fn add(&mut self, groups: Option<Vec<AutoScalingGroup>>) {
        for group in groups.unwrap_or_default() {
            self.groups.insert(group.auto_scaling_group_name.clone().unwrap_or_default(), group);
        }
    }
}

fn missing(name: &GroupName) -> ObservedTarget {
    ObservedTarget::Missing(format!("Auto Scaling group {name}"))
}

#[derive(Debug, Default)]
struct Versions {
    numbered: BTreeMap<String, Result<BTreeMap<u64, TemplateVersion>, PortError>>,
    moving: BTreeMap<String, Result<MovingVersions, PortError>>,
}

impl Versions {
    fn get(&self, template: &TemplateRef, spec: TemplateVersionSpec) -> Result<TemplateVersion, PortError> {
        let version = match spec {
            TemplateVersionSpec::Number(number) => match self.numbered.get(&template.id) {
                Some(Ok(versions)) => versions.get(&number),
                Some(Err(error)) => return Err(error.clone()),
                None => None,
            },
            spec => match self.moving.get(&template.id) {
                Some(Ok(versions)) => versions.of(spec),
                Some(Err(error)) => return Err(error.clone()),
                None => None,
            },
        };
        version.cloned().ok_or_else(|| {
            let which = match spec {
                TemplateVersionSpec::Number(number) => format!("version {number}"),
                TemplateVersionSpec::Latest => "latest version".to_owned(),
                TemplateVersionSpec::Default => "default version".to_owned(),
            };
            ours(
                Operation::DescribeLaunchTemplateVersions,
                ErrorClass::Invalid,
                "VersionNotFound",
                format!(
                    "launch template {} ({}) has no {which}; put the group on a version that exists",
                    template.name, template.id
                ),
            )
        })
    }
}

/// The launch templates that a group names, a mixed-instances policy's own before those of its overrides.
pub(super) fn specifications(group: &AutoScalingGroup) -> impl Iterator<Item = &LaunchTemplateSpecification> {
    let policy = group.mixed_instances_policy.as_ref().and_then(|policy| policy.launch_template.as_ref());
    let own = policy.and_then(|policy| policy.launch_template_specification.as_ref());
    let overrides = policy.into_iter().flat_map(|policy| policy.overrides());
    let overrides = overrides.filter_map(|one| one.launch_template_specification.as_ref());
    group.launch_template.as_ref().into_iter().chain(own).chain(overrides)
}

fn observed_group(
    name: GroupName,
    group: &AutoScalingGroup,
    versions: &Versions,
    launched: &Launched,
) -> Result<ObservedTarget, PortError> {
    let (template, current) = match (&group.mixed_instances_policy, &group.launch_template) {
        (Some(policy), _) => match observed_policy(policy, versions)? {
            Some((policy, current)) => (GroupTemplate::MixedInstances(policy), Some(current)),
            None => (GroupTemplate::Unknown, None),
        },
        (None, Some(specification)) => match template_of(specification) {
            Some((template, version)) => {
                let current = versions.get(&template, version)?;
                (GroupTemplate::LaunchTemplate { template, version }, Some(current))
            }
            None => (GroupTemplate::Unknown, None),
        },
        (None, None) => match &group.launch_configuration_name {
            Some(configuration) => (GroupTemplate::LaunchConfiguration(configuration.clone()), None),
            None => (GroupTemplate::Unknown, None),
        },
    };
    let all = || group.instances.as_deref().unwrap_or_default().iter();
    let protected = all().filter(|instance| instance.protected_from_scale_in == Some(true));
    let suspended = group.suspended_processes.iter().flatten().filter_map(|process| process.process_name.clone());
    let traits = GroupTraits {
        suspended: suspended.collect(),
        protected: protected.filter_map(|instance| instance.instance_id.clone()).collect(),
        protects_new: group.new_instances_protected_from_scale_in == Some(true),
        types: types_of(group, current.as_ref(), &template).into_iter().map(|name| (name, BTreeSet::new())).collect(),
    };
    let mut from = BTreeMap::new();
    for (template, number) in all().filter_map(launched_from) {
        let version = match launched.get(&template) {
            Some(Ok(versions)) => versions.get(&number).cloned(),
            Some(Err(error)) => return Err(error.clone()),
            None => None,
        };
        from.insert((template, number), version);
    }
    let instances = all().map(observed_instance).collect();
    let desired_capacity = group.desired_capacity.and_then(|capacity| u32::try_from(capacity).ok()).unwrap_or_default();
    Ok(ObservedTarget::Group(Box::new(ObservedGroup {
        name,
        template,
        current,
        instances,
        desired_capacity,
        traits,
        launched: from,
    })))
}

/// A mixed-instances policy, and the version of its own template; `None` if it isn't one that this build understands.
fn observed_policy(
    policy: &MixedInstancesPolicy,
    versions: &Versions,
) -> Result<Option<(MixedPolicy, TemplateVersion)>, PortError> {
    let Some(launch) = &policy.launch_template else { return Ok(None) };
    let Some((template, version)) = launch.launch_template_specification.as_ref().and_then(template_of) else {
        return Ok(None);
    };
    let current = versions.get(&template, version)?;
    let mut own: Vec<OverrideTemplate> = Vec::new();
    for specification in launch.overrides().iter().filter_map(|one| one.launch_template_specification.as_ref()) {
        let Some((template, version)) = template_of(specification) else { return Ok(None) };
        if !own.iter().any(|known| known.template == template && known.version == version) {
            let current = Some(versions.get(&template, version)?);
            own.push(OverrideTemplate { template, version, current });
        }
    }
    let policy = MixedPolicy {
        template,
        version,
        own,
        instance_requirements: launch.overrides().iter().any(|one| one.instance_requirements.is_some()),
        images: launch.overrides().iter().filter_map(|one| one.image_id.clone()).collect(),
    };
    Ok(Some((policy, current)))
}

/// The instance types that a group may launch: those of its overrides, else those of its launch templates.
fn types_of(group: &AutoScalingGroup, current: Option<&TemplateVersion>, template: &GroupTemplate) -> BTreeSet<String> {
    let policy = group.mixed_instances_policy.as_ref().and_then(|policy| policy.launch_template.as_ref());
    let overrides = policy.map(|policy| policy.overrides()).unwrap_or_default();
    let named: BTreeSet<String> = overrides.iter().filter_map(|one| one.instance_type.clone()).collect();
    if !named.is_empty() {
        return named;
    }
    let own = match template {
        GroupTemplate::MixedInstances(policy) => policy.own.as_slice(),
        _ => &[],
    };
    let versions = own.iter().filter_map(|one| one.current.as_ref()).chain(current);
    versions.filter_map(|version| version.instance_type.clone()).collect()
}

fn observed_instance(instance: &Instance) -> GroupInstance {
    GroupInstance {
        id: instance.instance_id.clone().unwrap_or_default(),
        lifecycle: instance.lifecycle_state.as_ref().map(|state| state.as_str().to_owned()).unwrap_or_default(),
        healthy: instance.health_status.as_deref().is_some_and(|health| health.eq_ignore_ascii_case("Healthy")),
        template: launched_from(instance),
        image: instance.image_id.clone().filter(|image| !image.is_empty()),
        configuration: instance.launch_configuration_name.as_deref().is_some_and(|name| !name.is_empty()),
    }
}

pub(super) fn template_of(specification: &LaunchTemplateSpecification) -> Option<(TemplateRef, TemplateVersionSpec)> {
    let version = match specification.version.as_deref() {
        None | Some("" | "$Default") => TemplateVersionSpec::Default,
        Some("$Latest") => TemplateVersionSpec::Latest,
        Some(number) => TemplateVersionSpec::Number(number.parse().ok()?),
    };
    let id = specification.launch_template_id.clone()?;
    Some((TemplateRef { id, name: specification.launch_template_name.clone().unwrap_or_default() }, version))
}
