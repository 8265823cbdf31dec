//! Guardrails: policies that can forbid a rollout, with a reason. Pure: the time and all facts are inputs. The only place
//! that names cedar.
//!
//! ```text
//! texts ─► Policies (checked against the schema) ─┐
//! Proposal (target, pin, time) ─┬─► request ──────┴─► Cedar ─► Denials
//! Fleet (all other targets) ────┘
//! ```

mod check;
mod depth;
mod end;
mod explain;
mod fleet;
mod policies;
mod request;
mod zone;

use jiff::Timestamp;

pub use self::check::Mistake;
pub use self::explain::{Effect, Explanation, Opinion};
pub use self::fleet::{Counts, Fleet, Member, is_rolling};
pub use self::policies::{Ending, Known, Policies};
pub use crate::model::Denial;
use crate::model::{Environment, Pin, ShapeChange, Target};

/// The schema that policies are checked against: the text of `policies/guardrails/pinion.cedarschema`.
pub const SCHEMA: &str = include_str!("../../../policies/guardrails/pinion.cedarschema");

/// A rollout that is due.
#[derive(Debug, Clone, Copy)]
pub struct Proposal<'a> {
    /// The environment.
    pub environment: &'a Environment,
    /// The target.
    pub target: &'a Target,
    /// The pin that it would follow.
    pub pin: &'a Pin,
    /// What runs now, as far as it is known.
    pub running: Option<&'a str>,
    /// Whether it brings back what this very pin has brought here before: drift is healed.
    pub heals: bool,
    /// The new shape that it brings.
    pub shape: Option<&'a ShapeChange>,
    /// Whether it brings another image; if not, only the shape is new.
    pub image: bool,
    /// What is known of all targets.
    pub fleet: &'a Fleet,
    /// The time.
    pub now: Timestamp,
}

/// Decides whether a rollout may be started now.
pub trait Guardrails: Send + Sync {
    /// The denials; none means that the rollout may start.
    fn check(&self, proposal: Proposal<'_>) -> Vec<Denial>;

    /// What they say. The same text forbids the same.
    fn text(&self) -> String {
        String::new()
    }
}

/// An environments repository without policies: nothing is forbidden.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPolicies;

impl Guardrails for NoPolicies {
    fn check(&self, _: Proposal<'_>) -> Vec<Denial> {
        Vec::new()
    }
}

/// Policies that can't be evaluated: everything is forbidden, and it is said why.
#[derive(Debug, Clone)]
pub struct DenyAll {
    /// Why they can't.
    pub reason: String,
}

impl Guardrails for DenyAll {
    fn check(&self, _: Proposal<'_>) -> Vec<Denial> {
        vec![Denial { policy: Denial::INVALID.to_owned(), reason: self.reason.clone() }]
    }

    fn text(&self) -> String {
        self.reason.clone()
    }
}
