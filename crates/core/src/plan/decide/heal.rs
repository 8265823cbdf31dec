//! Healing drift, and when to stop: somebody who changes a target back each time it was healed would have it rolled out for
//! ever.

use std::time::Duration;

use super::{Decision, Verdict, age};
use crate::model::{Rollout, State};
use crate::plan::Reason;

/// Rollouts of one pin count for this long.
const DAY: Duration = Duration::from_secs(86_400);
/// So many rollouts of one pin within a day are nothing unusual: its own, and one that heals.
const USUAL: usize = 2;
/// How long to wait after each further one before the next.
const PAUSES: [Duration; 3] = [Duration::from_secs(300), Duration::from_secs(900), Duration::from_secs(2_700)];

impl Decision<'_> {
    /// Why drift isn't healed now: it was, so often that somebody must be changing it back.
    pub(super) fn damped(&self) -> Option<Verdict> {
        if !self.heals() {
            return None;
        }
        let (local, now) = (&self.target.reference.local, self.input.now);
        let forgiven = self.input.memory.forgiven.get(local);
        let counts = |rollout: &&Rollout| {
            let recent = rollout.started.is_none_or(|started| age(started, now) < DAY);
            recent && !forgiven.is_some_and(|forgiven| forgiven.rollouts.contains(&rollout.id))
        };
        let rollouts: Vec<&Rollout> = self.attempts().all().filter(counts).collect();
        let times = rollouts.len();
        let further = times.checked_sub(USUAL + 1)?;
        // By this process's own clock, where it knows.
        let started = self.input.memory.started.get(local).map(|started| started.at).filter(|at| *at <= now);
        let last = started.or_else(|| rollouts.first().and_then(|rollout| rollout.ended.or(rollout.started)));
        let until = PAUSES.get(further).zip(last).and_then(|(pause, last)| last.checked_add(*pause).ok());
        if until.is_some_and(|until| until <= now) {
            return None;
        }
        let (to, by) = (self.view.current.name.clone(), self.view.current.made_by.clone());
        let state = if until.is_some() { State::Pending } else { State::Blocked };
        Some(Verdict::of(state, Reason::Contested { times, to, by, until }))
    }
}
