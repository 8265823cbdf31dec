//! Whether a version may come here yet from the environment that it is promoted from.

use jiff::Timestamp;

use super::{Decision, Verdict};
use crate::model::{Digest, Promotion, PromotionMode, RolloutOutcome, Run, Standing, State};
use crate::plan::Reason;
use crate::plan::revision::{Revision, View};

impl Decision<'_> {
    /// Why a rollout that is due waits, where a version has to soak first.
    pub(super) fn promotion(&self) -> Option<Verdict> {
        let (Promotion { from, .. }, standing) = self.unsoaked(PromotionMode::Require)?;
        let (from, version) = (from.clone(), self.pin.version.clone());
        Some(Verdict::of(State::Pending, Reason::Promotion { from, version, standing }))
    }

    /// What is said of a version that is rolled out though it hasn't soaked.
    pub(super) fn promotion_warning(&self) -> Option<String> {
        let (promotion, standing) = self.unsoaked(PromotionMode::Inform)?;
        // Before the first look at it there is nothing to say.
        let known = standing != Standing::Unread;
        known.then(|| format!("[promotion]: {}", standing.of(&self.pin.version, &promotion.from)))
    }

    /// How the version stands where it is promoted from, if it may not come yet. Back to what ran well goes at once, in
    /// whatever shape; drift is corrected, and a shape is nobody's version.
    fn unsoaked(&self, mode: PromotionMode) -> Option<(&Promotion, Standing)> {
        let promotion = self.input.desired.promotion.as_ref().filter(|promotion| promotion.mode == mode)?;
        let standing = self.input.fleet.standing(&promotion.from, self.pin, promotion.soak, self.input.now);
        let exempt = || {
            let ran = self
                .input
                .fleet
                .get(&self.target.reference)
                .is_some_and(|it| it.runs.iter().any(|run| run.is_of(self.pin)));
            ran || self.has_run(|revision| revision.runs(self.artifact)) || self.heals() || self.brings_only_a_shape()
        };
        (!standing.is_good() && !exempt()).then_some((promotion, standing))
    }
}

/// What the rollouts that were read say of what ran: each of Pinion's that ended well, until the next one began or, of what
/// still runs, until now.
pub(super) fn runs(view: &View, now: Timestamp) -> Vec<Run> {
    let newest = view.rollouts.first().filter(|newest| view.settled && newest.target == view.current.target);
    let mut next = newest.map(|_| now);
    let mut runs = Vec::new();
    for rollout in &view.rollouts {
        let revision = view.revision(&rollout.target);
        let version = revision.and_then(|revision| Some(revision.marker.as_ref()?.version.clone()));
        let ended = rollout.ended.filter(|_| rollout.outcome == RolloutOutcome::Succeeded);
        if let (Some(version), Some(since), Some(until)) = (version, ended, next) {
            runs.push(Run { version, digest: revision.and_then(digest), since, until });
        }
        next = rollout.started;
    }
    runs
}

/// The digest that a revision's image was pinned with.
fn digest(revision: &Revision) -> Option<Digest> {
    let (_, digest) = revision.containers.first()?.image.split_once('@')?;
    Digest::try_from(digest).ok()
}
