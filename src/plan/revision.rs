//! What a launch-template version and a task-definition revision, an instance refresh and a service deployment have in
//! common. The decision is taken on this view, once for both kinds.

use crate::model::{Marker, Rollout, RolloutTarget};

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
}

/// A target as the decision sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// The revision that the group or service is on.
    pub(super) current: Revision,
    /// Whether everything that runs, runs the current revision, and nothing is on its way.
    pub(super) settled: bool,
    /// Other revisions that matter, newest first; empty while the history isn't read.
    pub(super) others: Vec<Revision>,
    /// Rollouts, newest first; empty while the history isn't read.
    pub(super) rollouts: Vec<Rollout>,
    /// How many instances or tasks run each revision that they are on.
    pub(super) running: Vec<(RolloutTarget, u32)>,
    /// Instances or tasks in all.
    pub(super) total: u32,
}

impl View {
    /// The revision that a rollout moves to, if it is known.
    pub(super) fn revision(&self, target: &RolloutTarget) -> Option<&Revision> {
        std::iter::once(&self.current).chain(&self.others).find(|revision| revision.target == *target)
    }

    /// How many instances or tasks run an image.
    pub(super) fn count(&self, image: &str) -> u32 {
        let runs = |target: &RolloutTarget| {
            self.revision(target).and_then(|revision| revision.image.as_deref()).is_some_and(|found| found == image)
        };
        self.running.iter().filter(|(target, _)| runs(target)).map(|(_, count)| count).sum()
    }
}
