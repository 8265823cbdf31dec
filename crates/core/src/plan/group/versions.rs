//! Launch-template versions beside each other: what was made for a pin, whether it is what it was to be, and what differs in
//! what instances run.

use std::collections::BTreeMap;

use super::shape::{self, Slot};
use crate::model::{Artifact, ObservedGroup, Pin, RolloutHistory, TemplateVersion};

/// The version that was made for this very pin from what the slot is on, with the shape of `base`, if there is one; or in
/// what it differs though it mustn't.
pub(super) fn made_for<'a>(
    slot: &Slot<'_>,
    (source, base): (&TemplateVersion, &str),
    known: &'a [TemplateVersion],
    pin: &Pin,
    artifact: &Artifact,
) -> Result<Option<&'a TemplateVersion>, String> {
    let root = match artifact {
        Artifact::Ami { root_device, .. } => root_device.as_deref(),
        Artifact::Image { .. } => None,
    };
    let made_for_this = |version: &&TemplateVersion| {
        version.template == slot.template.id
            && version.image.as_deref() == Some(artifact.identity())
            && version.marker.as_ref().is_some_and(|made| {
                made.commit == pin.provenance.commit
                    && made.from() == slot.current.number.to_string()
                    && made.base == base
            })
    };
    let mut differs = None;
    for version in known.iter().filter(made_for_this) {
        let difference = source.difference(version, root);
        if difference.is_empty() {
            return Ok(Some(version));
        }
        differs = differs.or(Some((version, difference)));
    }
    let Some((version, difference)) = differs else { return Ok(None) };
    Err(format!(
        "version {} of launch template {} was made from version {} for this rollout, but differs from it in more than the \
         image: {}; nothing is rolled out: delete that version, and pin by another commit",
        version.number,
        slot.template.name,
        source.number,
        difference.join(", ")
    ))
}

/// The AMI that this pin was rolled out with, or was about to be, where by now the same look-up gives another one: it was
/// built again. Told by the versions that were made for the pin; those that don't say how the AMI was looked up count.
pub(in crate::plan) fn rebuilt<'a>(
    group: &'a ObservedGroup,
    history: Option<&'a RolloutHistory>,
    pin: &Pin,
    artifact: &Artifact,
    sought: Option<&str>,
) -> Option<&'a str> {
    let slots = shape::slots(group).ok()?;
    let known = match history {
        Some(RolloutHistory::Group { versions, .. }) => versions.as_slice(),
        _ => &[],
    };
    let of_the_group = |version: &&TemplateVersion| slots.iter().any(|slot| slot.template.id == version.template);
    let versions = slots.iter().map(|slot| slot.current).chain(known.iter().filter(of_the_group));
    let mut images = versions.filter_map(|version| {
        let made = version.marker.as_ref()?;
        let for_this = made.commit == pin.provenance.commit && made.version == pin.version;
        let alike = version.sought.is_none() || version.sought.as_deref() == sought;
        version.image.as_deref().filter(|_| for_this && alike)
    });
    let first = images.next()?;
    (first != artifact.identity() && images.all(|image| image != artifact.identity())).then_some(first)
}

/// What instances run that isn't what the group's version says, though Pinion does nothing about it.
pub(super) fn warnings(group: &ObservedGroup) -> Vec<String> {
    let Ok(slots) = shape::slots(group) else { return Vec::new() };
    let mut warnings = Vec::new();
    let mut counts: BTreeMap<&(String, u64), usize> = BTreeMap::new();
    let mut silent = Vec::new();
    for instance in group.instances.iter().filter(|instance| !instance.is_leaving()) {
        match &instance.template {
            Some(launched) => *counts.entry(launched).or_default() += 1,
            None if instance.image.is_none() && !instance.configuration => silent.push(instance.id.as_str()),
            None => {}
        }
    }
    for (launched, count) in counts {
        let (template, number) = launched;
        let slot = slots.iter().find(|slot| slot.template.id == *template).or(slots.first());
        let Some(slot) = slot else { continue };
        let instances = if count == 1 { "1 instance runs".to_owned() } else { format!("{count} instances run") };
        let name = if slot.template.id == *template { &slot.template.name } else { template };
        match group.launched.get(launched) {
            Some(Some(version)) if version.image.is_some() && version.image == slot.current.image => {
                let difference = version.difference(slot.current, None);
                if !difference.is_empty() {
                    warnings.push(format!(
                        "{instances} version {number} of launch template {name}, and the group is on version {} of {}: the \
                         image is the same, but {} {}; Pinion replaces no instance for that: the next rollout does, or an \
                         instance refresh that you start",
                        slot.current.number,
                        slot.template.name,
                        difference.join(", "),
                        if difference.len() == 1 { "differs" } else { "differ" },
                    ));
                }
            }
            Some(None) => warnings.push(format!(
                "{instances} version {number} of launch template {name}, which doesn't exist any more: which image that \
                 is isn't known; the next rollout replaces it"
            )),
            _ => {}
        }
    }
    if !silent.is_empty() {
        warnings.push(format!(
            "AWS names no launch template of {}, as of what was attached by hand: what runs there isn't known; the next \
             rollout replaces it, unless it is detached before",
            silent.join(", ")
        ));
    }
    warnings
}
