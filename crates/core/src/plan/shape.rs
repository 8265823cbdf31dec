//! Whose shape a target is to have: that of what runs or, with `base_revision = "newest"`, that of the newest revision that
//! Pinion didn't make, unless its rollout has failed here.

use std::collections::BTreeSet;

use super::back::ended_badly;
use super::revision::{Revision, View};
use super::{Memory, Observed};
use crate::model::{
    Artifact, Base, BaseSource, Bases, CommitId, Kind, LocalRef, ObservedTarget, Rollout, RolloutId, RolloutOutcome,
    ShapeChange, Target,
};

/// The shape that a target is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Whose it is, as a marker's `base` names it.
    pub(super) name: String,
    /// Whose shape the target is on.
    pub(super) on: String,
    /// The revision that brings it, where it isn't the shape that the target is on.
    pub(super) base: Option<Base>,
    /// The newer shape that has failed here, and its rollout.
    pub(super) failed: Option<(String, Rollout)>,
    /// Whose shape the rollout under way brings, where that isn't the shape of what ran before.
    under_way: Option<String>,
}

/// What rollouts are judged by.
#[derive(Clone, Copy)]
struct Judge<'a> {
    bases: &'a Bases,
    /// What the pin resolves to.
    artifact: &'a Artifact,
    /// The rollouts that this process has ended itself.
    withdrawn: Option<&'a BTreeSet<RolloutId>>,
    /// The rollouts that a retry has forgiven.
    forgiven: Option<&'a BTreeSet<RolloutId>>,
}

impl Wanted {
    /// The revision whose shape the next one gets; `None` for the one that the target is on.
    ///
    /// # Errors
    /// The shape that the target is on has failed, and what ran before isn't known well enough to be copied.
    pub(super) fn source(&self) -> Result<Option<&BaseSource>, String> {
        match &self.base {
            Some(base) => Ok(Some(&base.revision)),
            None if self.name == self.on => Ok(None),
            None => Err(format!(
                "the shape of {} has failed, and it is still what the target is on; put it back on a revision with the shape of {}",
                self.on, self.name
            )),
        }
    }

    /// Whether a rollout brings a newer shape than that of what runs.
    pub(super) fn is_newer(&self) -> bool {
        self.base.is_some() && self.name != self.on
    }

    /// Whose new shape a rollout brings that is due or under way; `None` where it brings none.
    pub(super) fn brings(&self) -> Option<&str> {
        self.under_way.as_deref().or_else(|| self.is_newer().then_some(self.name.as_str()))
    }

    /// What a rollout brings besides an image; `None` where the target is on that shape.
    pub(super) fn change(&self) -> Option<ShapeChange> {
        let base = self.base.as_ref().filter(|_| self.name != self.on)?;
        Some(ShapeChange {
            from: self.on.clone(),
            to: self.name.clone(),
            by: base.by().map(str::to_owned),
            at: base.made(),
            changes: base.changes.clone(),
        })
    }
}

/// Warnings where nothing limits whose revisions count, and others of this environment take their shape from the same family or
/// launch template, or several principals register in it: what is registered for one purpose changes all of them.
pub(super) fn sharing(target: &Target, observed: &Observed) -> Vec<String> {
    let Some(rule) = target.base.rule() else { return Vec::new() };
    if !rule.registered_by.is_empty() || rule.family.is_some() {
        return Vec::new();
    }
    let source = |seen: &ObservedTarget| match seen {
        ObservedTarget::Service(service) => Some(super::action::family_of(&service.task_definition.arn).to_owned()),
        ObservedTarget::Group(group) => group.current.as_ref().map(|current| current.template.clone()),
        ObservedTarget::Missing(_) => None,
    };
    let local = &target.reference.local;
    let of = |local: &LocalRef| observed.targets.get(local)?.as_ref().ok().and_then(source);
    let Some(own) = of(local) else { return Vec::new() };
    let what = match local.kind {
        Kind::Asg => "launch template",
        Kind::Fargate => "task-definition family",
    };
    let comes_from = format!("its shape comes from the newest revision of {what} {own}");
    let mut warnings = Vec::new();
    let others = observed.targets.keys().filter(|other| *other != local && other.kind == local.kind);
    let others: Vec<String> =
        others.filter(|local| of(local).as_ref() == Some(&own)).map(ToString::to_string).collect();
    if let Some(last) = others.last() {
        let more = others.len() - 1;
        let others = if more == 0 { last.clone() } else { format!("{last} (and {more} more)") };
        warnings.push(format!(
            "{comes_from}, which {others} uses as well: what is registered there for one changes the others; give each its \
             own, or say with `base_registered_by` whose revisions count"
        ));
    }
    let registrars = observed.bases.get(local).and_then(|bases| bases.as_ref().ok()).map(|bases| &bases.registered_by);
    if let Some(registrars) = registrars.filter(|registrars| registrars.len() > 1) {
        let registrars = registrars.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        warnings.push(format!(
            "{comes_from}, in which several register: {registrars}; anybody who may do so shapes what runs here: say with \
             `base_registered_by` whose revisions count"
        ));
    }
    warnings
}

impl View {
    /// Marks the revisions that have the wanted shape.
    pub(super) fn shaped(mut self, bases: &Bases, artifact: &Artifact, memory: &Memory, local: &LocalRef) -> Self {
        let (withdrawn, forgiven) = (memory.withdrawn.get(local), memory.forgiven.get(local));
        let judge = Judge { bases, artifact, withdrawn, forgiven: forgiven.map(|forgiven| &forgiven.rollouts) };
        let on = self.shape_of(&self.current, bases).to_owned();
        let under_way = self.under_way(bases).map(str::to_owned);
        let failed = |name: &str| self.failed_on(name, judge).cloned();
        let newest = bases.newest.as_ref().map(|base| (base, failed(&base.name)));
        let wanted = match newest {
            Some((base, None)) => {
                Wanted { name: base.name.clone(), on, base: Some(base.clone()), failed: None, under_way }
            }
            newest => {
                let newer = newest.and_then(|(base, failed)| Some((base.name.clone(), failed?)));
                let here = failed(&on).map(|failed| (on.clone(), failed));
                let before = here.as_ref().and_then(|_| self.named(&self.ran_before(&self.current)?));
                let name = before.map_or(&*on, |before| self.shape_of(before, bases)).to_owned();
                Wanted { name, on, base: None, failed: here.or(newer), under_way }
            }
        };
        let shaped: BTreeSet<String> = std::iter::once(&self.current)
            .chain(&self.others)
            .filter(|revision| self.shape_of(revision, bases) == wanted.name)
            .map(|revision| revision.name.clone())
            .collect();
        for revision in std::iter::once(&mut self.current).chain(&mut self.others) {
            revision.shaped = shaped.contains(&revision.name);
        }
        self.wanted = Some(wanted);
        self
    }

    /// Whose shape a revision has: its own where Pinion didn't make it, else that of what it was made from, as far back as is
    /// known.
    fn shape_of<'a>(&'a self, revision: &'a Revision, bases: &'a Bases) -> &'a str {
        let newest = bases.newest.as_ref().is_some_and(|base| base.name == revision.name);
        let Some(marker) = revision.marker.as_ref().filter(|_| !newest && revision.name != bases.recorded) else {
            return &revision.name;
        };
        if bases.through.contains(&revision.name) {
            return &bases.recorded;
        }
        let mut name = marker.base.as_str();
        // Each is older than the one made from it; a chain that isn't sane ends.
        for _ in 0..=self.others.len() {
            if bases.through.contains(name) {
                return &bases.recorded;
            }
            match self.named(name).filter(|_| name != bases.recorded).and_then(|base| base.marker.as_ref()) {
                Some(marker) => name = &marker.base,
                None => break,
            }
        }
        name
    }

    /// Whose shape the rollout of Pinion's brings that is under way, where that isn't the shape of what ran before.
    fn under_way<'a>(&'a self, bases: &'a Bases) -> Option<&'a str> {
        let active = self.rollouts.iter().find(|rollout| rollout.outcome.is_active())?;
        let revision = self.revision(&active.target)?;
        let before = self.named(revision.marker.as_ref()?.from())?;
        let shape = self.shape_of(revision, bases);
        (shape != self.shape_of(before, bases)).then_some(shape)
    }

    /// The rollout by which a shape has failed: it brought nothing but this shape, Pinion made what it led to, and nothing
    /// with this shape has ever been rolled out well. Where the image changed, too, it says nothing of the shape alone.
    fn failed_on(&self, name: &str, judge: Judge<'_>) -> Option<&Rollout> {
        let Judge { bases, artifact, withdrawn, forgiven } = judge;
        let made = |rollout: &Rollout| {
            let revision = self.revision(&rollout.target)?;
            let marker = revision.marker.as_ref().filter(|_| self.shape_of(revision, bases) == name)?;
            Some((revision, marker))
        };
        let well = |rollout: &Rollout| {
            let revision = self.revision(&rollout.target);
            rollout.outcome == RolloutOutcome::Succeeded
                && revision.is_some_and(|revision| self.shape_of(revision, bases) == name)
        };
        if self.rollouts.iter().any(well) {
            return None;
        }
        let mut rollouts = self.rollouts.iter().enumerate();
        let failed = rollouts.find(|(at, rollout)| {
            let Some((revision, marker)) = made(rollout) else { return false };
            let before = self.named(marker.from());
            // A way back that fails says nothing of the shape that it leads back to.
            ended_badly(rollout)
                && !self.restores(revision, &marker.base)
                && before.is_some_and(|before| {
                    before.has_the_image_of(revision) || (before.runs(artifact) && revision.runs(artifact))
                })
                && !self.was_cut_short(*at, &marker.commit, true, withdrawn)
        });
        failed.map(|(_, rollout)| rollout).filter(|rollout| !forgiven.is_some_and(|ids| ids.contains(&rollout.id)))
    }

    /// Whether Pinion itself has ended a rollout of a commit's pin, because something else is wanted by now. This process
    /// knows of those that it has cancelled (`withdrawn`); of others it is so if the next rollout is one of Pinion's for
    /// another pin or, where `shapes` count, for another shape: a refresh has to be cancelled before it, and a deployment
    /// that still ran is stopped by it.
    pub(super) fn was_cut_short(
        &self,
        at: usize,
        commit: &CommitId,
        shapes: bool,
        withdrawn: Option<&BTreeSet<RolloutId>>,
    ) -> bool {
        let Some(rollout) = self.rollouts.get(at) else { return false };
        if withdrawn.is_some_and(|withdrawn| withdrawn.contains(&rollout.id)) {
            return true;
        }
        let Some(next) = at.checked_sub(1).and_then(|next| self.rollouts.get(next)) else { return false };
        let Some(after) = self.revision(&next.target) else { return false };
        let made = self.revision(&rollout.target).and_then(|revision| revision.marker.as_ref());
        // Back to what it was made from leads also the rollback of what somebody else has ended.
        let leads_back =
            after.target == self.current.target || made.is_some_and(|made| self.restores(after, made.from()));
        let of_another = after.marker.as_ref().is_some_and(|marker| {
            marker.commit != *commit || (shapes && made.is_some_and(|made| made.base != marker.base))
        });
        if leads_back || !of_another {
            return false;
        }
        match rollout.outcome {
            RolloutOutcome::Cancelled => true,
            RolloutOutcome::Failed if rollout.status == "STOPPED" => {
                rollout.ended.zip(next.started).is_some_and(|(ended, next)| ended >= next)
            }
            _ => false,
        }
    }

    /// What ran before a revision of Pinion's, by what it was made from: the newest of those that was ever rolled out well,
    /// or of which no rollout is known, as it ran before AWS's memory begins.
    pub(super) fn ran_before(&self, revision: &Revision) -> Option<String> {
        let mut name = revision.marker.as_ref()?.from();
        // What was rolled out later, such as the way back, says nothing of what was before.
        let first = self.rollouts.iter().rposition(|rollout| rollout.target == revision.target);
        let earlier = self.rollouts.get(first.map_or(0, |first| first + 1)..).unwrap_or_default();
        // Each is older than the one made from it; a chain that isn't sane ends.
        for _ in 0..=self.others.len() {
            let Some(before) = self.named(name) else { return Some(name.to_owned()) };
            let mut rollouts = earlier.iter().filter(|rollout| rollout.target == before.target).peekable();
            let untried = rollouts.peek().is_none();
            if untried || rollouts.any(|rollout| rollout.outcome == RolloutOutcome::Succeeded) {
                return Some(name.to_owned());
            }
            name = before.marker.as_ref()?.from();
        }
        None
    }
}
