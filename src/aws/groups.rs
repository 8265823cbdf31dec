//! Observes Auto Scaling groups: a page of groups, and the launch-template versions that aren't known yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use aws_sdk_autoscaling::types::{AutoScalingGroup, Instance, LaunchTemplateSpecification};

use super::connection::{Connection, ours};
use super::operation::Operation;
use super::templates::MovingVersions;
use crate::model::{
    GroupInstance, GroupName, GroupTemplate, LocalRef, ObservedGroup, ObservedTarget, TemplateRef, TemplateVersion,
    TemplateVersionSpec,
};
use crate::ports::{ErrorClass, PortError};

/// How many groups one call may name (AWS's default quota), and how many it may return.
const NAMES: usize = 50;
const PAGE: i32 = 100;

impl Connection {
    /// Observes groups.
    pub(super) async fn groups(
        &self,
        wanted: &BTreeMap<LocalRef, GroupName>,
    ) -> BTreeMap<LocalRef, Result<ObservedTarget, PortError>> {
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
        for (local, name, group) in found {
            observed.insert(local, observed_group(name, &group, &versions));
        }
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

    async fn describe_groups(&self, names: Vec<String>) -> Result<BTreeMap<String, AutoScalingGroup>, PortError> {
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

    /// The versions that groups are on, template by template: a failure is that of one template's groups only.
    async fn versions_of(&self, groups: impl Iterator<Item = &AutoScalingGroup>) -> Versions {
        let mut numbers: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        let mut moving: BTreeMap<String, Vec<TemplateVersionSpec>> = BTreeMap::new();
        for group in groups {
            let Some((template, spec)) = group.launch_template.as_ref().and_then(template_of) else { continue };
            match spec {
                TemplateVersionSpec::Number(number) => drop(numbers.entry(template.id).or_default().insert(number)),
                spec => moving.entry(template.id).or_default().push(spec),
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

fn observed_group(name: GroupName, group: &AutoScalingGroup, versions: &Versions) -> Result<ObservedTarget, PortError> {
    let (template, current) = match (&group.launch_template, &group.launch_configuration_name) {
        _ if group.mixed_instances_policy.is_some() => (GroupTemplate::MixedInstances, None),
        (Some(specification), _) => match template_of(specification) {
            Some((template, version)) => {
                let current = versions.get(&template, version)?;
                (GroupTemplate::LaunchTemplate { template, version }, Some(current))
            }
            None => (GroupTemplate::Unknown, None),
        },
        (None, Some(configuration)) => (GroupTemplate::LaunchConfiguration(configuration.clone()), None),
        (None, None) => (GroupTemplate::Unknown, None),
    };
    let instances = group.instances.as_deref().unwrap_or_default().iter().map(observed_instance).collect();
    let desired_capacity = group.desired_capacity.and_then(|capacity| u32::try_from(capacity).ok()).unwrap_or_default();
    Ok(ObservedTarget::Group(Box::new(ObservedGroup { name, template, current, instances, desired_capacity })))
}

fn observed_instance(instance: &Instance) -> GroupInstance {
    let template = instance.launch_template.as_ref().and_then(template_of);
    GroupInstance {
        id: instance.instance_id.clone().unwrap_or_default(),
        lifecycle: instance.lifecycle_state.as_ref().map(|state| state.as_str().to_owned()).unwrap_or_default(),
        healthy: instance.health_status.as_deref().is_some_and(|health| health.eq_ignore_ascii_case("Healthy")),
        template: template.and_then(|(template, version)| match version {
            TemplateVersionSpec::Number(number) => Some((template.id, number)),
            TemplateVersionSpec::Latest | TemplateVersionSpec::Default => None,
        }),
    }
}

fn template_of(specification: &LaunchTemplateSpecification) -> Option<(TemplateRef, TemplateVersionSpec)> {
    let version = match specification.version.as_deref() {
        None | Some("" | "$Default") => TemplateVersionSpec::Default,
        Some("$Latest") => TemplateVersionSpec::Latest,
        Some(number) => TemplateVersionSpec::Number(number.parse().ok()?),
    };
    let id = specification.launch_template_id.clone()?;
    Some((TemplateRef { id, name: specification.launch_template_name.clone().unwrap_or_default() }, version))
}
