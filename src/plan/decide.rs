//! To come.
use super::{Input, Observed, Plan, TargetPlan};
use crate::model::{Environment, LocalRef, State, Target};
use jiff::Timestamp;
pub(super) fn needs_history(_: &Environment, _: &Observed, _: &LocalRef, _: Timestamp) -> bool {
    true
}
pub(super) fn decide(_: Input<'_>, _: &Target, _: &Plan) -> TargetPlan {
    TargetPlan {
        state: State::Unknown,
        reason: None,
        action: None,
        drifted: false,
        running: None,
        artifact: None,
        updated: 0,
        total: 0,
        rollout: None,
        ours: false,
    }
}
