//! Groups on `$Latest` and `$Default` are put on numbers: this one, and those that share its launch templates.

use super::shape::{self, Slot};
use crate::model::{
    GroupTemplate, ObservedGroup, ObservedTarget, RolloutHistory, Target, TargetSpec, TemplateRef, TemplateUser,
    TemplateVersionSpec,
};
use crate::plan::action::VersionMove;
use crate::plan::{Action, Input};

/// Puts every version that the group names on the number that it is now. `failed`: its rollout to what `$Latest` is now failed.
pub(super) fn number(group: &ObservedGroup, slots: &[Slot<'_>], failed: bool) -> Action {
    let numbers = stood_on(group, slots, failed);
    match (&group.template, slots, numbers.as_slice()) {
        (GroupTemplate::LaunchTemplate { template, .. }, [_], [number]) => {
            Action::NumberTemplate { group: group.name.clone(), template: template.clone(), version: *number }
        }
        _ => {
            let moves = slots.iter().zip(numbers).map(|(slot, to)| VersionMove {
                template: slot.template.clone(),
                from: slot.version,
                to,
            });
            Action::NumberPolicy { group: group.name.clone(), moves: moves.collect() }
        }
    }
}

/// The numbers that the versions are, before any rollout. `$Latest` may be a version of Pinion's making already: another
/// Pinion has put the group on a number meanwhile and made it, somebody has put the group back on `$Latest`, it was made
/// for another group, or reads of the group lag. To put the group on that one would be to roll it out without a way back;
/// what it was made from is what instances run. All templates of a group go back together: of one that has no instance now,
/// none tells.
fn stood_on(group: &ObservedGroup, slots: &[Slot<'_>], failed: bool) -> Vec<u64> {
    let runs = |slot: &Slot<'_>| {
        let running = group.instances.iter().filter(|instance| !instance.is_leaving());
        let mut templates = running.filter_map(|instance| instance.template.as_ref());
        let base = made_from(slot);
        templates.any(|(id, number)| *id == slot.template.id && Some(*number) == base)
    };
    let back = failed || slots.iter().any(runs);
    slots.iter().map(|slot| made_from(slot).filter(|_| back).unwrap_or(slot.current.number)).collect()
}

/// What the version was made from that a group follows by `$Latest` or `$Default`, if Pinion made it.
fn made_from(slot: &Slot<'_>) -> Option<u64> {
    let moves = !matches!(slot.version, TemplateVersionSpec::Number(_));
    let marker = slot.current.marker.as_ref().filter(|_| moves);
    marker.and_then(|marker| marker.from().parse::<u64>().ok())
}

/// Whether a group follows, by `$Latest` or `$Default`, a version that Pinion made: it should be on a number.
pub(in crate::plan) fn follows_made(group: &ObservedGroup) -> bool {
    shape::slots(group).is_ok_and(|slots| slots.iter().any(|slot| made_from(slot).is_some()))
}

/// Puts a group that was put on `$Latest` or `$Default` back on the numbers that its instances run, where these names stand
/// for something else by now: the next instance would be launched from a version that isn't its own. `failed`: its rollout
/// to that version failed. `None` if there is nothing to put back.
pub(in crate::plan) fn back_on_number(group: &ObservedGroup, failed: bool) -> Option<Action> {
    let slots = shape::slots(group).ok()?;
    let astray = |(slot, number): (&Slot<'_>, u64)| slot.current.number != number;
    let numbers = stood_on(group, &slots, failed);
    slots.iter().zip(numbers).any(astray).then(|| number(group, &slots, failed))
}

/// Before a version of a template is made: the next group of this environment to put on a number, if there is one; or why the
/// version can't be made, and what to do about it.
pub(super) fn others(
    group: &ObservedGroup,
    template: &TemplateRef,
    history: Option<&RolloutHistory>,
    input: Input<'_>,
) -> Result<Option<Action>, String> {
    let Some(RolloutHistory::Group { users: Some(users), .. }) = history else {
        return Err(format!(
            "it isn't known which groups launch from launch template {}; they are asked for again in the next pass",
            template.name
        ));
    };
    let follows = |user: &&TemplateUser| {
        user.template == *template
            && user.group != group.name.as_str()
            && !matches!(user.version, TemplateVersionSpec::Number(_))
    };
    let mut ours = Vec::new();
    for user in users.iter().filter(follows) {
        let named = |target: &&Target| matches!(&target.spec, TargetSpec::Asg(asg) if asg.group.as_str() == user.group);
        match input.desired.targets.values().find(named) {
            Some(target) if is_suspended(target, input) => {
                return Err(format!(
                    "{}, but its target {} is suspended, so that Pinion leaves it alone: {}",
                    follower(user),
                    target.reference.local,
                    remedy(user)
                ));
            }
            Some(target) => ours.push(target),
            None => {
                return Err(format!("{}, and it isn't a target of this environment: {}", follower(user), remedy(user)));
            }
        }
    }
    let Some(target) = ours.first() else { return Ok(None) };
    match input.observed.targets.get(&target.reference.local) {
        Some(Ok(ObservedTarget::Group(other))) => Ok(Some(number(other, &shape::slots(other)?, false))),
        _ => Err(format!(
            "{} shares launch template {} and is to be put on a number first, but it can't be read now",
            target.reference.local, template.name
        )),
    }
}

fn is_suspended(target: &Target, input: Input<'_>) -> bool {
    target.suspend.as_ref().is_some_and(|suspension| input.now < suspension.until)
}

fn follower(user: &TemplateUser) -> String {
    let by = match user.version {
        TemplateVersionSpec::Latest => "$Latest",
        TemplateVersionSpec::Default | TemplateVersionSpec::Number(_) => "$Default",
    };
    format!(
        "group {} launches from the same launch template {} by {by}, and could launch next what is made for this rollout",
        user.group, user.template.name
    )
}

fn remedy(user: &TemplateUser) -> String {
    format!(
        "put group {} on a numbered version, or give it a launch template of its own (`aws autoscaling \
         update-auto-scaling-group --auto-scaling-group-name {} --launch-template LaunchTemplateId={},Version=NUMBER`)",
        user.group, user.group, user.template.id
    )
}
