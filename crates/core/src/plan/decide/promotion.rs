//! Whether a version may come here yet from the environment that it is promoted from.

use super::{Decision, Verdict};
use crate::model::{Pin, Promotion, PromotionMode, RolloutOutcome, Run, Standing, State};
use crate::plan::revision::View;
use crate::plan::{Input, Reason};

impl Decision<'_> {
    /// Why a rollout that is due waits, where a version has to soak first. Back to what ran well goes at once, drift is
    /// corrected, and a shape is nobody's version.
    pub(super) fn promotion(&self) -> Option<Verdict> {
        let (Promotion { from, .. }, standing) = held(self.input, self.pin, PromotionMode::Require)?;
        if self.has_run_here() || self.heals() || self.brings_only_a_shape() {
            return None;
        }
        let (from, version) = (from.clone(), self.pin.version.clone());
        Some(Verdict::of(State::Pending, Reason::Promotion { from, version, standing }))
    }
}

/// What is said of a version that is rolled out though it hasn't soaked.
pub(super) fn warning(input: Input<'_>, pin: &Pin) -> Option<String> {
    let (promotion, standing) = held(input, pin, PromotionMode::Inform)?;
    // Before the first look at it there is nothing to say.
    let known = standing != Standing::Unread;
    known.then(|| format!("[promotion]: {}", standing.of(&pin.version, &promotion.from)))
}

fn held<'a>(input: Input<'a>, pin: &Pin, mode: PromotionMode) -> Option<(&'a Promotion, Standing)> {
    let promotion = input.desired.promotion.as_ref().filter(|promotion| promotion.mode == mode)?;
    let standing = input.fleet.standing(&promotion.from, pin, promotion.soak, input.now);
    (!standing.is_good()).then_some((promotion, standing))
}

/// What the rollouts that were read say of what ran: each of Pinion's that ended well, until the next one began.
pub(super) fn runs(view: &View) -> Vec<Run> {
    let mut next = None;
    let mut runs = Vec::new();
    for rollout in &view.rollouts {
        let version =
            view.revision(&rollout.target).and_then(|revision| Some(revision.marker.as_ref()?.version.clone()));
        let ended = rollout.ended.filter(|_| rollout.outcome == RolloutOutcome::Succeeded);
        if let (Some(version), Some(since), Some(until)) = (version, ended, next) {
            runs.push(Run { version, digest: None, since, until });
        }
        next = rollout.started;
    }
    runs.truncate(Run::MAX);
    runs
}
