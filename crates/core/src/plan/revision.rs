//! What a launch-template version and a task-definition revision, an instance refresh and a service deployment have in
//! common. The decision is taken on this view, once for both kinds.

use crate::model::{Digest, Marker, Rollout, RolloutTarget};

/// A launch-template version or a task-definition revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Revision {
    /// Which it is.
    pub(super) target: RolloutTarget,
    /// What a marker calls it when something is made from it.
    pub(super) name: String,
    /// The image in it: an AMI id, or the image of our container.
    pub(super) image: Option<String>,
    /// What Pinion wrote on it, if Pinion made it.
    pub(super) marker: Option<Marker>,
    /// Whether it can still be rolled out: a task definition that was deregistered can't.
    pub(super) usable: bool,
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
    /// The digest that our container's image had when the service was deployed, where that is known.
    pub(super) digest: Option<Digest>,
    /// How many instances or tasks run each revision that they are on.
    pub(super) running: Vec<(RolloutTarget, u32)>,
    /// Instances or tasks in all.
    pub(super) total: u32,
}

impl View {
    /// The revision that runs.
    pub(super) fn running(&self) -> &Revision {
        self.outgoing.as_ref().and_then(|outgoing| self.revision(outgoing)).unwrap_or(&self.current)
    }

    /// The revision that a rollout moves to, if it is known.
    pub(super) fn revision(&self, target: &RolloutTarget) -> Option<&Revision> {
        std::iter::once(&self.current).chain(&self.others).find(|revision| revision.target == *target)
    }

    /// Whether a rollout to this revision is one that Pinion started: Pinion made the revision, and from what ran before.
    /// Somebody who goes back to an older revision of Pinion's making starts a rollout of their own.
    pub(super) fn is_ours(&self, revision: &Revision) -> bool {
        let base = revision.marker.as_ref().map(|marker| &marker.base);
        base.is_some_and(|base| self.bases.as_ref().is_none_or(|bases| bases.contains(base)))
    }

    /// How many instances or tasks run an image.
    pub(super) fn count(&self, image: &str) -> u32 {
        let runs = |target: &RolloutTarget| {
            self.revision(target).and_then(|revision| revision.image.as_deref()).is_some_and(|found| found == image)
        };
        self.running.iter().filter(|(target, _)| runs(target)).map(|(_, count)| count).sum()
    }
}
