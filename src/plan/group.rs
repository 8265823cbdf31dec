//! Auto Scaling groups: their view for the decision, and the steps of a rollout.

use std::collections::BTreeMap;

use super::revision::{Revision, View};
use super::{Action, RefreshPreferences};
use crate::model::{
    GroupTemplate, Marker, ObservedGroup, Pin, RolloutHistory, RolloutSettings, RolloutTarget, TemplateRef,
    TemplateVersion, TemplateVersionSpec,
};

/// The view of a group, or why Pinion can't roll it out and what to change.
pub(super) fn view(group: &ObservedGroup, history: Option<&RolloutHistory>) -> Result<View, String> {
    let (template, current) = shape(group)?;
    let (versions, rollouts) = match history {
        Some(RolloutHistory::Group { versions, refreshes }) => (versions.as_slice(), refreshes.clone()),
        _ => (&[][..], Vec::new()),
    };
    let staying = || group.instances.iter().filter(|instance| !instance.is_leaving());
    let mut running: BTreeMap<RolloutTarget, u32> = BTreeMap::new();
    for instance in staying() {
        let target = match &instance.template {
            Some((id, number)) if *id == template.id => RolloutTarget::TemplateVersion(*number),
            _ => RolloutTarget::Unknown,
        };
        *running.entry(target).or_default() += 1;
    }
    let on_current = RolloutTarget::TemplateVersion(current.number);
    Ok(View {
        current: revision(current),
        settled: running.keys().all(|target| *target == on_current),
        quiet: staying().all(|instance| instance.lifecycle == "InService" && instance.healthy)
            && staying().count() >= usize::try_from(group.desired_capacity).unwrap_or(usize::MAX),
        // The group takes another version only when a refresh has ended well.
        bases: Some(vec![current.number.to_string()]),
        others: versions.iter().filter(|version| version.number != current.number).map(revision).collect(),
        rollouts,
        digest: None,
        running: running.into_iter().collect(),
        total: u32::try_from(staying().count()).unwrap_or(u32::MAX),
    })
}

/// The next write of a rollout of `image`: each pass carries out one, and the next pass finds it done.
pub(super) fn next_step(
    group: &ObservedGroup,
    view: &View,
    pin: &Pin,
    image: &str,
    settings: &RolloutSettings,
) -> Result<Action, String> {
    let (template, current) = shape(group)?;
    // Before any new version exists: a group on `$Latest` would launch from it at once, and could never be rolled back.
    if !matches!(group.template, GroupTemplate::LaunchTemplate { version: TemplateVersionSpec::Number(_), .. }) {
        return Ok(Action::NumberTemplate {
            group: group.name.clone(),
            template: template.clone(),
            version: current.number,
        });
    }
    let made_for_this = |revision: &&Revision| {
        let made = revision.marker.as_ref();
        revision.image.as_deref() == Some(image)
            && made.is_some_and(|made| made.commit == pin.provenance.commit && made.base == view.current.name)
    };
    let ready = if view.current.image.as_deref() == Some(image) {
        Some(&view.current)
    } else {
        view.others.iter().find(made_for_this)
    };
    Ok(match ready.map(|revision| &revision.target) {
        Some(RolloutTarget::TemplateVersion(version)) => Action::StartRefresh {
            group: group.name.clone(),
            template: template.clone(),
            version: *version,
            preferences: preferences(settings, *version != current.number),
        },
        _ => Action::CreateTemplateVersion {
            template: template.clone(),
            source: current.number,
            image: image.to_owned(),
            marker: Marker {
                version: pin.version.clone(),
                commit: pin.provenance.commit.clone(),
                base: current.number.to_string(),
            },
        },
    })
}

/// The way back of a group whose instances are left mixed: a refresh to the version that the group is on. There is
/// nothing to go back to from there, and alarms that are raised already must not end it.
pub(super) fn way_back(group: &ObservedGroup, settings: &RolloutSettings) -> Option<Action> {
    let (template, current) = shape(group).ok()?;
    let numbered =
        matches!(group.template, GroupTemplate::LaunchTemplate { version: TemplateVersionSpec::Number(_), .. });
    let all = preferences(settings, false);
    let preferences = RefreshPreferences {
        min_healthy: all.min_healthy,
        max_healthy: all.max_healthy,
        warmup: all.warmup,
        ..Default::default()
    };
    let (group, template) = (group.name.clone(), template.clone());
    numbered.then_some(Action::StartRefresh { group, template, version: current.number, preferences })
}

fn shape(group: &ObservedGroup) -> Result<(&TemplateRef, &TemplateVersion), String> {
    let name = &group.name;
    let template = match &group.template {
        GroupTemplate::LaunchTemplate { template, .. } => template,
        GroupTemplate::MixedInstances => {
            return Err(format!(
                "group {name} has a mixed-instances policy, which this version of Pinion can't roll out; \
                 give the group a launch template"
            ));
        }
        GroupTemplate::LaunchConfiguration(configuration) => {
            return Err(format!(
                "group {name} is on launch configuration {configuration}, which knows no versions; \
                 move the group to a launch template"
            ));
        }
        GroupTemplate::Unknown => {
            return Err(format!("group {name} has neither launch template nor launch configuration"));
        }
    };
    let current = group.current.as_ref().ok_or_else(|| {
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
    Ok((template, current))
}

fn revision(version: &TemplateVersion) -> Revision {
    Revision {
        target: RolloutTarget::TemplateVersion(version.number),
        name: version.number.to_string(),
        image: version.image.clone(),
        marker: version.marker.clone(),
        usable: true,
    }
}

fn preferences(settings: &RolloutSettings, auto_rollback: bool) -> RefreshPreferences {
    let seconds = |duration: std::time::Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    RefreshPreferences {
        min_healthy: settings.min_healthy,
        max_healthy: settings.max_healthy,
        warmup: settings.warmup.map(seconds),
        checkpoints: settings.checkpoints.clone(),
        checkpoint_delay: settings.checkpoint_delay.map(seconds),
        bake: settings.bake.map(seconds),
        alarms: settings.alarms.clone(),
        auto_rollback,
    }
}
