//! The state of a target after a pass: a value that decides, compares and is kept. Text is made of it where it is shown.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Artifact, Pin, Reason, Rollout, RolloutId, RolloutTarget, Run, ShapeChange, State, Suspension, TargetRef};

/// What is known of a target after a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetState {
    /// The target.
    pub target: TargetRef,
    /// What it should run. Where nobody knows who set the pin, an uncommitted one.
    pub pin: Pin,
    /// Its state.
    pub state: State,
    /// Why it is in that state.
    pub reason: Option<Reason>,
    /// When it came into that state, as this process saw it.
    pub since: Timestamp,
    /// Since when it isn't in sync, as this process saw it.
    pub out_of_sync_since: Option<Timestamp>,
    /// Since when it is in sync with the pin, if it is; also while it is `verifying` only because a process has begun.
    pub in_sync_since: Option<Timestamp>,
    /// What else it was in sync with, the last first: what this process saw, and what AWS remembers. At most [`Run::MAX`].
    pub runs: Vec<Run>,
    /// When AWS was last read for it. Older than the last pass where the state is `unknown`; what was observed is kept then.
    pub observed: Option<Timestamp>,
    /// The state before it became `unknown`.
    pub last_known: Option<State>,
    /// Whether observed differs from desired though no pin changed.
    pub drifted: bool,
    /// The version or artifact that runs now, where it is known.
    pub running: Option<String>,
    /// The artifact that the pin resolves to.
    pub artifact: Option<Artifact>,
    /// Instances or tasks that run the artifact.
    pub updated: u32,
    /// Instances or tasks in all.
    pub total: u32,
    /// The new shape that a rollout which is due or begins brings.
    pub shape: Option<ShapeChange>,
    /// Whose new shape a rollout brings that is due or under way: a launch-template version's number, or `family:revision`.
    pub brings: Option<String>,
    /// Whether the pin is rolled out, and all that waits is a newer shape.
    pub shape_waits: bool,
    /// What works now but needs somebody's attention.
    pub warnings: Vec<String>,
    /// The rollout in flight or, in quarantine, the one that failed; in sync, the one that led here if it is known.
    pub rollout: Option<Rollout>,
    /// The suspension that stands in Git, also when it has ended.
    pub suspension: Option<Suspension>,
    /// What is under way, and isn't over yet.
    pub ongoing: Ongoing,
}

impl TargetState {
    /// The state, or the last one known while the account can't be read.
    #[must_use]
    pub fn known(&self) -> State {
        match self.state {
            State::Unknown => self.last_known.unwrap_or(State::Unknown),
            state => state,
        }
    }

    /// The policies that forbid its rollout now, each by its `@id`.
    pub fn denied_by(&self) -> impl Iterator<Item = &str> {
        self.reason.iter().flat_map(Reason::policies)
    }
}

/// What has begun for a target and isn't over: by it the next pass knows what has ended. Losing it is harmless: what AWS
/// shows to be running is found again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ongoing {
    /// The rollout that runs, or whose end hasn't been seen.
    pub rollout: Option<StartedRollout>,
    /// When the commit of the present pin was seen to arrive, up to the first pass in which the target is in sync with it.
    pub arrived: Option<Timestamp>,
    /// The write that fails, and AWS's code for it.
    pub failing: Option<(&'static str, String)>,
    /// The policies that forbid the present pin's rollout; kept while the account can't be read.
    pub denied_by: BTreeSet<String>,
}

/// A rollout of Pinion's that was started or seen running. Distinguished by where it leads: ECS knows the same one by two
/// ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartedRollout {
    /// Where it moves the target.
    pub to: RolloutTarget,
    /// The pin that it is for; `None` if the pin had moved on before this process saw it.
    pub pin: Option<Pin>,
    /// The artifact that it brings, as far as that is known.
    pub artifact: Option<String>,
    /// The new shape that it brings, in one line; `None` if none, or another process began it.
    pub shape: Option<String>,
    /// When it started.
    pub started: Timestamp,
    /// AWS's id of it, once it is one that it keeps.
    pub id: Option<RolloutId>,
}

impl StartedRollout {
    /// Whether it brings this artifact.
    #[must_use]
    pub fn brings(&self, artifact: Option<&Artifact>) -> bool {
        self.artifact.is_some() && self.artifact.as_deref() == artifact.map(Artifact::identity)
    }
}
