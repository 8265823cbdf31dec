//! Auto Scaling groups: their view for the decision, and the steps of a rollout.

mod number;
mod shape;
mod versions;

use std::collections::BTreeMap;
use std::time::Duration;

pub(super) use self::number::{back_on_number, follows_made};
use self::shape::Slot;
pub(super) use self::versions::rebuilt;
use super::action::VersionMove;
use super::revision::{Revision, View};
use super::shape::Wanted;
use super::{Action, Input, RefreshPreferences};
use crate::model::{
    Artifact, BaseRevision, BaseSource, GroupInstance, GroupTemplate, Marker, Named, ObservedGroup, Pin,
    RolloutHistory, RolloutSettings, RolloutTarget, Target, TemplateRef, TemplateVersion, TemplateVersionSpec,
};

/// What joins the numbers of several launch templates' versions.
const JOINT: char = '+';

/// Auto Scaling forgets instance refreshes after six weeks (`DescribeInstanceRefreshes`: "the last six weeks").
const REMEMBERED: Duration = Duration::from_secs(5 * 7 * 86_400);

/// The view of a group, or why Pinion can't roll it out and what to change.
pub(super) fn view(
    group: &ObservedGroup,
    base: &BaseRevision,
    history: Option<&RolloutHistory>,
) -> Result<View, String> {
    let slots = shape::slots(group)?;
    // Only the image is Pinion's, unless the shape is wanted, too.
    let by_image = base.rule().is_none();
    let (versions, rollouts, complete) = match history {
        Some(RolloutHistory::Group { versions, refreshes, complete, .. }) => {
            (versions.as_slice(), refreshes.clone(), *complete)
        }
        _ => (&[][..], Vec::new(), false),
    };
    let current = current(&slots, by_image).ok_or_else(|| format!("group {} has no launch template", group.name))?;
    let others: Vec<Revision> = if slots.len() == 1 {
        let of_the_template =
            |version: &&TemplateVersion| slots.iter().any(|slot| slot.template.id == version.template);
        let revisions = versions.iter().filter(of_the_template).map(revision);
        revisions.filter(|revision| revision.target != current.target).collect()
    } else {
        let mut others: Vec<Revision> = Vec::new();
        for rollout in &rollouts {
            if rollout.target != current.target && others.iter().all(|known| known.target != rollout.target) {
                others.extend(together(&rollout.target, &slots, versions, by_image));
            }
        }
        others
    };
    let staying = || group.instances.iter().filter(|instance| !instance.is_leaving());
    let mut running: BTreeMap<RolloutTarget, u32> = BTreeMap::new();
    for target in staying().filter_map(|instance| what_runs(group, instance, &slots, by_image, (&current, &others))) {
        *running.entry(target).or_default() += 1;
    }
    Ok(View {
        outgoing: None,
        settled: running.keys().all(|target| *target == current.target),
        quiet: staying().all(|instance| instance.lifecycle == "InService" && instance.healthy)
            && staying().count() >= usize::try_from(group.desired_capacity).unwrap_or(usize::MAX),
        // The group takes another version only when a refresh has ended well.
        bases: Some(vec![current.name.clone()]),
        current,
        others,
        rollouts,
        chosen: slots.iter().all(|slot| matches!(slot.version, TemplateVersionSpec::Number(_))),
        complete,
        remembered: REMEMBERED,
        running: running.into_iter().collect(),
        total: u32::try_from(staying().count()).unwrap_or(u32::MAX),
        wanted: None,
    })
}

/// The next write of a rollout of `artifact`: each pass carries out one, and the next pass finds it done.
pub(super) fn next_step(
    group: &ObservedGroup,
    view: &View,
    history: Option<&RolloutHistory>,
    pin: &Pin,
    artifact: &Artifact,
    target: &Target,
    input: Input<'_>,
) -> Result<Action, String> {
    let slots = shape::slots(group)?;
    shape::can_refresh(group)?;
    shape::can_launch(group, artifact)?;
    // Before any new version exists: a group on `$Latest` would launch from it at once, and could never be rolled back.
    if slots.iter().any(|slot| !matches!(slot.version, TemplateVersionSpec::Number(_))) {
        return Ok(number::number(group, &slots, false));
    }
    let image = artifact.identity();
    let known = match history {
        Some(RolloutHistory::Group { versions, .. }) => versions.as_slice(),
        _ => &[],
    };
    let mut moves = Vec::new();
    for (at, slot) in slots.iter().enumerate() {
        let source = source(slot, view)?;
        let base = view.base().and_then(|name| name.split(JOINT).nth(at)).map(str::to_owned);
        let base = base.unwrap_or_else(|| slot.current.number.to_string());
        let ready = if slot.current.image.as_deref() == Some(image) && view.current.shaped {
            Some(slot.current)
        } else {
            versions::made_for(slot, (source, &base), known, pin, artifact)?
        };
        let Some(ready) = ready else {
            // A version is at once what every group on `$Latest` launches next.
            if let Some(action) = number::others(group, slot.template, history, input)? {
                return Ok(action);
            }
            return Ok(Action::CreateTemplateVersion {
                template: slot.template.clone(),
                source: source.number,
                image: image.to_owned(),
                marker: Marker {
                    version: pin.version.clone(),
                    commit: pin.provenance.commit.clone(),
                    from: Some(slot.current.number.to_string()).filter(|from| *from != base),
                    base,
                    owner: Some(Named::Owner(input.claims.owner(&target.reference))),
                },
                root_device: match artifact {
                    Artifact::Ami { root_device, .. } => root_device.clone(),
                    Artifact::Image { .. } => None,
                },
                sought: target.spec.sought().unwrap_or_default(),
            });
        };
        moves.push(VersionMove { template: slot.template.clone(), from: slot.version, to: ready.number });
    }
    let preferences = preferences(&target.rollout, VersionMove::destination(&moves) != view.current.target);
    Ok(refresh(group, moves, preferences))
}

/// The version that a new one is made from: the newest base of its template, or what the group is on.
fn source<'a>(slot: &Slot<'a>, view: &'a View) -> Result<&'a TemplateVersion, String> {
    match view.wanted.as_ref().map(Wanted::source).transpose()?.flatten() {
        Some(BaseSource::TemplateVersions(newest)) => {
            Ok(newest.iter().find(|version| version.template == slot.template.id).unwrap_or(slot.current))
        }
        _ => Ok(slot.current),
    }
}

/// The way back of a group whose instances are left mixed: a refresh to what the group is on. There is nothing to go
/// back to from there, and alarms that are raised already must not end it.
pub(super) fn way_back(group: &ObservedGroup, settings: &RolloutSettings) -> Option<Action> {
    let slots = shape::slots(group).ok()?;
    shape::can_refresh(group).ok()?;
    if slots.iter().any(|slot| !matches!(slot.version, TemplateVersionSpec::Number(_))) {
        return None;
    }
    let all = preferences(settings, false);
    let preferences = RefreshPreferences {
        min_healthy: all.min_healthy,
        max_healthy: all.max_healthy,
        warmup: all.warmup,
        ..Default::default()
    };
    let moves: Vec<VersionMove> = slots
        .iter()
        .map(|slot| VersionMove { template: slot.template.clone(), from: slot.version, to: slot.current.number })
        .collect();
    Some(refresh(group, moves, preferences))
}

/// The refresh that makes these moves.
fn refresh(group: &ObservedGroup, moves: Vec<VersionMove>, preferences: RefreshPreferences) -> Action {
    match (&group.template, moves.as_slice()) {
        (GroupTemplate::LaunchTemplate { .. }, [only]) => Action::StartRefresh {
            group: group.name.clone(),
            template: only.template.clone(),
            version: only.to,
            preferences,
        },
        _ => Action::RefreshPolicy { group: group.name.clone(), moves, preferences },
    }
}

/// What works now but needs somebody's attention. `due`: also what stands in the way of a refresh.
pub(super) fn warnings(group: &ObservedGroup, artifact: &Artifact, due: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Artifact::Ami { id, deprecated: true, .. } = artifact {
        warnings.push(format!(
            "AMI {id} is deprecated: it works until its owner disables or deregisters it; pin a newer version"
        ));
    }
    warnings.extend(versions::warnings(group));
    if due {
        warnings.extend(shape::obstacles(group));
    }
    warnings
}

/// A group's launch templates, each with the version that it is on, a mixed-instances policy's own first; none where Pinion
/// can't roll it out.
#[must_use]
pub fn templates_of(group: &ObservedGroup) -> Vec<(&TemplateRef, &TemplateVersion)> {
    shape::slots(group)
        .map(|slots| slots.iter().map(|slot| (slot.template, slot.current)).collect())
        .unwrap_or_default()
}

/// The name of several launch templates' versions together, each by its number.
#[must_use]
pub fn joined(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(&JOINT.to_string())
}

/// The revision that the group is on: of several templates, all as one.
fn current(slots: &[Slot<'_>], by_image: bool) -> Option<Revision> {
    as_one(slots.iter().map(|slot| slot.current).collect(), by_image)
}

/// Versions of several templates as one revision. It has an image if they all have the same, and is Pinion's if they all
/// were made for the same commit. Where only the image is Pinion's (`by_image`) it is called and made from what the first one
/// is; else from all of them, as each has a base of its own.
fn as_one(versions: Vec<&TemplateVersion>, by_image: bool) -> Option<Revision> {
    let first = *versions.first()?;
    let commit = |version: &TemplateVersion| version.marker.as_ref().map(|marker| marker.commit.clone());
    let mut marker = first.marker.clone().filter(|_| versions.iter().all(|version| commit(version) == commit(first)));
    let mut name = first.number.to_string();
    if !by_image {
        let numbers: Vec<u64> = versions.iter().map(|version| version.number).collect();
        name = joined(&numbers);
        let markers: Vec<&Marker> = versions.iter().filter_map(|version| version.marker.as_ref()).collect();
        let all = |part: fn(&Marker) -> &str| {
            markers.iter().map(|marker| part(marker)).collect::<Vec<_>>().join(&JOINT.to_string())
        };
        if let Some(marker) = &mut marker {
            marker.base = all(|marker| &marker.base);
            marker.from = Some(all(Marker::from)).filter(|from| *from != marker.base);
        }
    }
    Some(Revision {
        target: RolloutTarget::of_versions(
            versions.iter().map(|version| (version.template.clone(), version.number)).collect(),
        ),
        name,
        image: first.image.clone().filter(|_| versions.iter().all(|version| version.image == first.image)),
        containers: Vec::new(),
        marker,
        usable: true,
        // Of several, the oldest: what is older than AWS's memory isn't known any more.
        made: versions.iter().map(|version| version.made).min().flatten(),
        made_by: first.made_by.clone(),
        copied: false,
        untold: versions.iter().any(|version| version.image.is_none()),
        shaped: true,
    })
}

/// The revision that a refresh of several templates moves to, if all its versions are known.
fn together(to: &RolloutTarget, slots: &[Slot<'_>], versions: &[TemplateVersion], by_image: bool) -> Option<Revision> {
    let RolloutTarget::TemplateVersions(wanted) = to else { return None };
    let find = |(template, number): &(String, u64)| {
        let is_it = |version: &&TemplateVersion| version.template == *template && version.number == *number;
        versions.iter().chain(slots.iter().map(|slot| slot.current)).find(is_it)
    };
    let mut versions = wanted.iter().map(find).collect::<Option<Vec<_>>>()?;
    // As the group has them, so that a name means the same everywhere.
    versions.sort_by_key(|version| slots.iter().position(|slot| slot.template.id == version.template));
    as_one(versions, by_image)
}

/// The revision that an instance runs; `None` where AWS says nothing about it. An instance of another version with the image
/// of the group's runs what the group's version says, where only the image is Pinion's (`by_image`).
fn what_runs(
    group: &ObservedGroup,
    instance: &GroupInstance,
    slots: &[Slot<'_>],
    by_image: bool,
    (current, others): (&Revision, &[Revision]),
) -> Option<RolloutTarget> {
    if let Some(image) = &instance.image {
        let has = |revision: &&Revision| revision.image.as_ref() == Some(image);
        let found = std::iter::once(current).chain(others).find(has);
        return Some(found.map_or(RolloutTarget::Unknown, |revision| revision.target.clone()));
    }
    let Some((template, number)) = &instance.template else {
        return instance.configuration.then_some(RolloutTarget::Unknown);
    };
    let in_force = slots.iter().any(|slot| slot.template.id == *template && slot.current.number == *number);
    match group.launched.get(&(template.clone(), *number)) {
        _ if in_force => Some(current.target.clone()),
        Some(None) => None,
        Some(Some(version)) if by_image && version.image.is_some() && version.image == current.image => {
            Some(current.target.clone())
        }
        _ => Some(running_on(template, *number, slots, others)),
    }
}

/// The revision that an instance of another version than the group's runs.
fn running_on(template: &str, number: u64, slots: &[Slot<'_>], others: &[Revision]) -> RolloutTarget {
    match slots {
        [only] if only.template.id == template => RolloutTarget::TemplateVersion(number),
        _ => {
            let has = |revision: &&Revision| {
                matches!(&revision.target, RolloutTarget::TemplateVersions(all)
                    if all.iter().any(|(id, version)| id == template && *version == number))
            };
            others.iter().find(has).map_or(RolloutTarget::Unknown, |revision| revision.target.clone())
        }
    }
}

fn revision(version: &TemplateVersion) -> Revision {
    Revision {
        target: RolloutTarget::TemplateVersion(version.number),
        name: version.number.to_string(),
        image: version.image.clone(),
        containers: Vec::new(),
        marker: version.marker.clone(),
        usable: true,
        made: version.made,
        made_by: version.made_by.clone(),
        copied: false,
        untold: version.image.is_none(),
        shaped: true,
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
