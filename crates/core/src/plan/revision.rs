//! What a launch-template version and a task-definition revision, an instance refresh and a service deployment have in
//! common. The decision is taken on this view, once for both kinds.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::shape::Wanted;
use crate::model::{Artifact, Digest, Marker, Named, Rollout, RolloutTarget, Version, role_of, same_repository};

/// A launch-template version or a task-definition revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Revision {
    /// Which it is.
    pub(super) target: RolloutTarget,
    /// What a marker calls it when something is made from it.
    pub(super) name: String,
    /// The image in it: an AMI id, or the image of our first container.
    pub(super) image: Option<String>,
    /// Of a task definition, the images of all our containers.
    pub(super) containers: Vec<ContainerImage>,
    /// What Pinion wrote on it, if Pinion made it.
    pub(super) marker: Option<Marker>,
    /// Whether it can still be rolled out: a task definition that was deregistered can't.
    pub(super) usable: bool,
    /// When it was made, as far as AWS says.
    pub(super) made: Option<Timestamp>,
    /// Who made it, as far as AWS says.
    pub(super) made_by: Option<String>,
    /// Whether it bears the marker of another revision: somebody has copied that one's tags.
    pub(super) copied: bool,
    /// Whether AWS doesn't say which image is in it, so that it may be any.
    pub(super) untold: bool,
    /// Whether it has the shape that is wanted; always, where the shape of what runs is.
    pub(super) shaped: bool,
}

/// A marker holds for the revision that Pinion wrote it on. Other tools copy tags when they register a revision: of
/// revisions that bear the same marker, the oldest is Pinion's, and so are those that the same role has registered (two
/// processes may each have made one). `revisions`: each with its number in its family.
pub(super) fn disown_copies(revisions: &mut [(u64, &mut Revision)]) {
    revisions.sort_by_key(|(number, _)| *number);
    let mut seen: BTreeMap<Marker, Option<String>> = BTreeMap::new();
    for (_, revision) in revisions {
        let Some(marker) = &revision.marker else { continue };
        let role = revision.made_by.as_deref().map(|by| role_of(by).unwrap_or(by));
        match seen.get(marker) {
            None => drop(seen.insert(marker.clone(), role.map(str::to_owned))),
            Some(Some(first)) if role.is_some_and(|role| role != first) => {
                revision.marker = None;
                revision.copied = true;
            }
            // Where AWS doesn't say who has made it, it may be Pinion's.
            Some(_) => {}
        }
    }
}

/// The image of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ContainerImage {
    /// As it stands in the task definition.
    pub(super) image: String,
    /// What ECS resolved it to when the service was deployed, where that is known.
    pub(super) digest: Option<Digest>,
}

impl Revision {
    /// Whether it is what is wanted: on an artifact, with the wanted shape.
    pub(super) fn fits(&self, artifact: &Artifact) -> bool {
        self.shaped && self.runs(artifact)
    }

    /// Whether another revision has the same image as this one, as far as their names and markers tell.
    pub(super) fn has_the_image_of(&self, other: &Self) -> bool {
        let pinned = |revision: &Self| revision.marker.as_ref().map(|it| (it.commit.clone(), it.version.clone()));
        self.has_the_same_images_as(other) || (self.marker.is_some() && pinned(self) == pinned(other))
    }

    fn has_the_same_images_as(&self, other: &Self) -> bool {
        let images = |revision: &Self| revision.containers.iter().map(|one| one.image.clone()).collect::<Vec<_>>();
        self.image.is_some() && self.image == other.image && images(self) == images(other)
    }

    /// Whether it is Pinion's copy of a revision: made from it, with its images.
    fn is_copy_of(&self, original: &Self) -> bool {
        let from_it = self.marker.as_ref().is_some_and(|marker| marker.base == original.name);
        from_it && self.has_the_same_images_as(original)
    }

    /// What is in it, for people: the version where Pinion made it, else the image's tag, digest or id.
    pub(super) fn described(&self) -> String {
        let image = || {
            let image = self.image.as_deref().unwrap_or("no image");
            let repository = image.rsplit_once('/').map_or(image, |(_, repository)| repository);
            repository.split_once(['@', ':']).map_or(repository, |(_, version)| version).to_owned()
        };
        self.marker.as_ref().map_or_else(image, |marker| marker.version.to_string())
    }

    /// Whether it is on an artifact, with all containers that are ours, whatever its shape is.
    pub(super) fn runs(&self, artifact: &Artifact) -> bool {
        match artifact {
            Artifact::Ami { id, .. } => self.image.as_ref() == Some(id),
            Artifact::Image { .. } => {
                !self.containers.is_empty()
                    && self.containers.iter().all(|one| artifact.is_named(&one.image, one.digest.as_ref()))
            }
        }
    }
}

impl Revision {
    /// What it runs instead of an artifact whose name it has: its tag was moved since it was deployed. `version` is the pin's:
    /// a revision that Pinion made of it by a digest has its name, too.
    pub(super) fn moved_from(&self, artifact: &Artifact, version: &Version) -> Option<Digest> {
        let differs = |one: &ContainerImage| artifact.differs_from(&one.image, one.digest.as_ref());
        if self.runs(artifact) {
            return self.containers.iter().find_map(differs);
        }
        let made = self.marker.as_ref().is_some_and(|marker| marker.version == *version);
        let first = self.containers.first().filter(|first| made && first.image.contains('@'))?;
        same_repository(&first.image, artifact.identity()).then(|| differs(first)).flatten()
    }
}

/// A target as the decision sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// The revision that the group or service is on.
    pub(super) current: Revision,
    /// The revision before the current one, while that hasn't taken over; of services only, as a group is on its new
    /// version only after the refresh.
    pub(super) outgoing: Option<RolloutTarget>,
    /// Whether everything that runs, runs the current revision, and nothing is on its way.
    pub(super) settled: bool,
    /// Whether, besides, nothing is coming, going or unwell, so that no rollout can be at work.
    pub(super) quiet: bool,
    /// The names of the revisions that a rollout under way may have started from; `None` if that can't be told.
    pub(super) bases: Option<Vec<String>>,
    /// Other revisions that matter, newest first; empty while the history isn't read.
    pub(super) others: Vec<Revision>,
    /// Rollouts, newest first; empty while the history isn't read.
    pub(super) rollouts: Vec<Rollout>,
    /// Whether the target names its revision itself. A group on `$Latest` is on whatever was made last, tried or not.
    pub(super) chosen: bool,
    /// Whether those are all that AWS remembers.
    pub(super) complete: bool,
    /// For how long AWS remembers them, with something to spare.
    pub(super) remembered: Duration,
    /// How many instances or tasks run each revision that they are on.
    pub(super) running: Vec<(RolloutTarget, u32)>,
    /// Instances or tasks in all.
    pub(super) total: u32,
    /// Whose shape the target is to have; `None` for that of what runs.
    pub(super) wanted: Option<Wanted>,
}

impl View {
    /// The revision that runs.
    pub(super) fn running(&self) -> &Revision {
        self.outgoing.as_ref().and_then(|outgoing| self.revision(outgoing)).unwrap_or(&self.current)
    }

    /// The revision of a name, if it is known.
    pub(super) fn named(&self, name: &str) -> Option<&Revision> {
        std::iter::once(&self.current).chain(&self.others).find(|revision| revision.name == name)
    }

    /// Whether a revision is the one of a name or, where that was deregistered, Pinion's copy of it.
    pub(super) fn restores(&self, revision: &Revision, name: &str) -> bool {
        let original = || self.named(name).filter(|original| !original.usable);
        revision.name == name || original().is_some_and(|original| revision.is_copy_of(original))
    }

    /// The revision that a rollout moves to, if it is known.
    pub(super) fn revision(&self, target: &RolloutTarget) -> Option<&Revision> {
        std::iter::once(&self.current).chain(&self.others).find(|revision| revision.target == *target)
    }

    /// Whether a rollout to this revision is one that Pinion started: Pinion made the revision, and from what ran before.
    /// Somebody who goes back to an older revision of Pinion's making starts a rollout of their own.
    pub(super) fn is_ours(&self, revision: &Revision) -> bool {
        let from = revision.marker.as_ref().map(|marker| marker.from());
        from.is_some_and(|from| self.bases.as_ref().is_none_or(|bases| bases.iter().any(|base| base == from)))
    }

    /// The target that the marker of the newest revision names that Pinion made. Of a service only revisions of the family
    /// that it is on compare.
    pub(super) fn marked_for(&self) -> Option<&Named> {
        let family = |revision: &Revision| revision.name.rsplit_once(':').map(|(family, _)| family.to_owned());
        // Of several launch templates' versions the first one's.
        let number = |revision: &Revision| {
            revision.name.rsplit(':').next()?.split('+').next().and_then(|number| number.parse::<u64>().ok())
        };
        let mine = family(&self.current);
        let all = std::iter::once(&self.current).chain(&self.others);
        let made = all.filter(|revision| revision.marker.is_some() && family(revision) == mine);
        let newest = made.max_by_key(|revision| number(revision));
        newest.and_then(|revision| revision.marker.as_ref()).and_then(|marker| marker.owner.as_ref())
    }

    /// Whose shape is wanted; `None` where that is the shape of what runs.
    pub(super) fn base(&self) -> Option<&String> {
        self.wanted.as_ref().map(|wanted| &wanted.name)
    }

    /// How many instances or tasks run an artifact, with the wanted shape.
    pub(super) fn count(&self, artifact: &Artifact) -> u32 {
        let runs = |target: &RolloutTarget| self.revision(target).is_some_and(|revision| revision.fits(artifact));
        self.running.iter().filter(|(target, _)| runs(target)).map(|(_, count)| count).sum()
    }
}
