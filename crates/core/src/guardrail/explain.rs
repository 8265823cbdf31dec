//! What each policy says to a rollout, and when it may pass.

use jiff::{SignedDuration, Timestamp};

use super::{Denial, Guardrails as _, Policies, Proposal};

/// What one policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opinion {
    /// The policy's `@id`.
    pub policy: String,
    /// Its `@reason`, with its `@owner` if it names one.
    pub reason: String,
    /// What it comes to.
    pub verdict: Effect,
}

/// What a policy comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// It doesn't forbid the rollout.
    Allows,
    /// It forbids the rollout.
    Forbids,
    /// It can't be evaluated, for Cedar's reason given here, and so forbids the rollout.
    Fails(String),
}

impl Opinion {
    /// The denial that it is, if it is one.
    #[must_use]
    pub fn denial(self) -> Option<Denial> {
        match self.verdict {
            Effect::Allows => None,
            Effect::Forbids => Some(Denial { policy: self.policy, reason: self.reason }),
            Effect::Fails(error) => {
                let reason = format!("it can't be evaluated, and so forbids: {error}; correct the policy");
                Some(Denial { policy: self.policy, reason })
            }
        }
    }
}

/// What would be decided about a rollout, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What each policy says, in the order of their ids.
    pub opinions: Vec<Opinion>,
    /// The first full minute at which nothing forbids it, if nothing but the time changes; `None` if it may start now, or
    /// not within [`Explanation::HORIZON`].
    pub allowed_from: Option<Timestamp>,
}

impl Explanation {
    /// How far ahead is looked for a time at which the rollout may start.
    pub const HORIZON: SignedDuration = SignedDuration::from_hours(24 * 366);

    /// Whether it may start now.
    #[must_use]
    pub fn allows(&self) -> bool {
        self.opinions.iter().all(|opinion| opinion.verdict == Effect::Allows)
    }
}

/// The steps in which is looked ahead: the length of a step, and up to where. A window that is shorter than a step may be
/// missed.
const STEPS: [(SignedDuration, SignedDuration); 2] = [
    (SignedDuration::from_mins(15), SignedDuration::from_hours(24 * 14)),
    (SignedDuration::from_hours(6), Explanation::HORIZON),
];
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

impl Policies {
    /// What would be decided about a rollout, and why.
    #[must_use]
    pub fn explain(&self, proposal: Proposal<'_>) -> Explanation {
        let opinions = self.opinions(proposal);
        let explanation = Explanation { opinions, allowed_from: None };
        if explanation.allows() || self.is_empty() {
            return explanation;
        }
        Explanation { allowed_from: self.allowed_from(proposal), ..explanation }
    }

    fn allowed_from(&self, proposal: Proposal<'_>) -> Option<Timestamp> {
        let free = |now: Timestamp| self.check(Proposal { now, ..proposal }).is_empty();
        let start = proposal.now.as_second().div_euclid(60).saturating_mul(60);
        let start = Timestamp::from_second(start).ok()?;
        let mut shut = start;
        for (step, end) in STEPS {
            while shut.duration_since(start) < end {
                let next = shut.checked_add(step).ok()?;
                if free(next) {
                    return opening(shut, next, free);
                }
                shut = next;
            }
        }
        None
    }
}

/// The first full minute that is free, between one that isn't and one that is. Halves what lies between.
fn opening(mut shut: Timestamp, mut open: Timestamp, free: impl Fn(Timestamp) -> bool) -> Option<Timestamp> {
    while open.duration_since(shut) > MINUTE {
        let half = open.duration_since(shut).as_mins() / 2;
        let middle = shut.checked_add(SignedDuration::from_mins(half)).ok()?;
        if free(middle) { open = middle } else { shut = middle }
    }
    Some(open)
}
