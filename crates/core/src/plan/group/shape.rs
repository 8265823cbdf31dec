//! Which groups can be rolled out, and what to change about those that can't.

use crate::model::{
    Artifact, GroupTemplate, MixedPolicy, ObservedGroup, TemplateRef, TemplateVersion, TemplateVersionSpec,
};

/// Processes without which a refresh replaces nothing, or puts instances where nobody reaches them.
const NEEDED: [&str; 4] = ["AddToLoadBalancer", "InstanceRefresh", "Launch", "Terminate"];
/// Processes without which a bad image may pass for a good one.
const JUDGES: [&str; 2] = ["HealthCheck", "ReplaceUnhealthy"];

/// A launch template that the group launches from, and the version in force.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot<'a> {
    pub(super) template: &'a TemplateRef,
    /// As the group says it.
    pub(super) version: TemplateVersionSpec,
    pub(super) current: &'a TemplateVersion,
}

/// The launch templates that a group launches from, a mixed-instances policy's own first; or why Pinion can't roll it out
/// and what to change.
pub(super) fn slots(group: &ObservedGroup) -> Result<Vec<Slot<'_>>, String> {
    let name = &group.name;
    let slots = match &group.template {
        GroupTemplate::LaunchTemplate { template, version } => {
            vec![slot(group, template, *version, group.current.as_ref())?]
        }
        GroupTemplate::MixedInstances(policy) => mixed(group, policy)?,
        GroupTemplate::LaunchConfiguration(configuration) => {
            return Err(format!(
                "group {name} is on launch configuration {configuration}, which has no versions to roll out or back to; \
                 make a launch template of it (EC2 console: Launch configurations, Copy to launch template) and put the \
                 group on a numbered version"
            ));
        }
        GroupTemplate::Unknown => {
            return Err(format!(
                "group {name} has neither launch template nor launch configuration; give it a launch template"
            ));
        }
    };
    Ok(slots)
}

fn mixed<'a>(group: &'a ObservedGroup, policy: &'a MixedPolicy) -> Result<Vec<Slot<'a>>, String> {
    let name = &group.name;
    if policy.instance_requirements {
        return Err(format!(
            "the mixed-instances policy of group {name} has instance requirements, with which AWS allows neither a \
             desired configuration nor a rollback; name instance types in the overrides instead"
        ));
    }
    if !policy.images.is_empty() {
        let images = policy.images.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        return Err(format!(
            "overrides in the mixed-instances policy of group {name} name AMIs themselves ({images}), which hide the \
             launch template's; take ImageId out of the overrides"
        ));
    }
    let own = slot(group, &policy.template, policy.version, group.current.as_ref())?;
    let mut slots = vec![own];
    for one in &policy.own {
        let slot = slot(group, &one.template, one.version, one.current.as_ref())?;
        if slot.current.image != own.current.image {
            return Err(format!(
                "an override of group {name} has launch template {} (version {}) with {}, another image than the {} of \
                 the policy's own template {} (version {}); Pinion gives all templates of a group the same image: put \
                 them on one, or move the override to a group of its own with a component of its own",
                one.template.name,
                slot.current.number,
                slot.current.image.as_deref().unwrap_or("no image"),
                own.current.image.as_deref().unwrap_or("no image"),
                policy.template.name,
                own.current.number
            ));
        }
        let same = |known: &Slot<'_>| known.template.id == slot.template.id && known.version == slot.version;
        if !slots.iter().any(same) {
            slots.push(slot);
        }
    }
    Ok(slots)
}

fn slot<'a>(
    group: &ObservedGroup,
    template: &'a TemplateRef,
    version: TemplateVersionSpec,
    current: Option<&'a TemplateVersion>,
) -> Result<Slot<'a>, String> {
    let name = &group.name;
    let current = current.ok_or_else(|| {
        format!(
            "the version of launch template {} ({}) that group {name} names doesn't exist; \
             put the group on a version that does",
            template.name, template.id
        )
    })?;
    if current.instance_requirements {
        return Err(format!(
            "version {} of launch template {} has instance requirements, with which AWS allows no rollback; \
             name instance types instead",
            current.number, template.name
        ));
    }
    if current.image.as_deref().is_some_and(|image| image.starts_with("resolve:ssm:")) {
        return Err(format!(
            "version {} of launch template {} takes its AMI from a parameter (`resolve:ssm:`), with which AWS allows \
             no rollback; put the group on a version with an AMI id, and pin by `ami.parameter`",
            current.number, template.name
        ));
    }
    Ok(Slot { template, version, current })
}

/// Whether a refresh could replace instances at all; what to change if not.
pub(super) fn can_refresh(group: &ObservedGroup) -> Result<(), String> {
    let missing: Vec<&str> = NEEDED.into_iter().filter(|name| group.traits.suspended.contains(*name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "in group {} the {} {} suspended, without which a refresh can't replace instances; resume with `aws autoscaling \
         resume-processes`",
        group.name,
        if missing.len() == 1 { "process" } else { "processes" },
        if let [only] = missing.as_slice() { format!("{only} is") } else { format!("{} are", missing.join(", ")) }
    ))
}

/// Whether the group's instance types can boot the AMI; what to change if not. What AWS doesn't say is believed.
pub(super) fn can_launch(group: &ObservedGroup, artifact: &Artifact) -> Result<(), String> {
    let Artifact::Ami { id, architecture: Some(architecture), .. } = artifact else { return Ok(()) };
    let unfit = |(_, supported): &(&String, &std::collections::BTreeSet<String>)| {
        !supported.is_empty() && !supported.contains(architecture)
    };
    let unfit: Vec<String> = group
        .traits
        .types
        .iter()
        .filter(unfit)
        .map(|(name, supported)| {
            format!("{name} ({})", supported.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
        })
        .collect();
    if unfit.is_empty() {
        return Ok(());
    }
    Err(format!(
        "AMI {id} is for {architecture}, but group {} launches {}; pin an AMI for these instance types, or change them",
        group.name,
        unfit.join(", ")
    ))
}

/// What a refresh will stumble over though it can be started.
pub(super) fn obstacles(group: &ObservedGroup) -> Vec<String> {
    let mut obstacles = Vec::new();
    let some = |ids: &[&str]| match ids {
        [] => None,
        [only] => Some(format!("instance {only} is")),
        [first, .., last] if ids.len() == 2 => Some(format!("instances {first} and {last} are")),
        [first, ..] => Some(format!("instances {first} and {} more are", ids.len() - 1)),
    };
    let staying = || group.instances.iter().filter(|instance| !instance.is_leaving());
    let protected: Vec<&str> = staying()
        .filter(|instance| group.traits.protected.contains(&instance.id))
        .map(|instance| instance.id.as_str())
        .collect();
    if let Some(which) = some(&protected) {
        obstacles.push(format!(
            "{which} protected from scale-in: a refresh waits for that to end, and fails after an hour without progress; \
             end it with `aws autoscaling set-instance-protection --no-protected-from-scale-in`"
        ));
    }
    if group.traits.protects_new {
        obstacles.push(
            "new instances are protected from scale-in: a rollback would wait for them, and fail after an hour; end it \
             with `aws autoscaling update-auto-scaling-group --no-new-instances-protected-from-scale-in`"
                .to_owned(),
        );
    }
    let standby: Vec<&str> = staying()
        .filter(|instance| instance.lifecycle.ends_with("Standby"))
        .map(|instance| instance.id.as_str())
        .collect();
    if let Some(which) = some(&standby) {
        obstacles.push(format!(
            "{which} in standby: a refresh waits for that to end, and fails after an hour without progress; end it with \
             `aws autoscaling exit-standby`"
        ));
    }
    let blind: Vec<&str> = JUDGES.into_iter().filter(|name| group.traits.suspended.contains(*name)).collect();
    if !blind.is_empty() {
        obstacles.push(format!(
            "{} suspended: unhealthy instances aren't replaced, and a bad image may pass for a good one; resume with `aws \
             autoscaling resume-processes`",
            if let [only] = blind.as_slice() { format!("process {only} is") } else { format!("processes {} are", blind.join(", ")) }
        ));
    }
    obstacles
}
