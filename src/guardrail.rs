//! Guardrails: policies that can forbid a rollout, with a reason.

use crate::model::{Artifact, Environment, Pin, Target};

/// A rollout that is due.
#[derive(Debug, Clone, Copy)]
pub struct Proposal<'a> {
    /// The environment.
    pub environment: &'a Environment,
    /// The target.
    pub target: &'a Target,
    /// The pin that it would follow.
    pub pin: &'a Pin,
    /// What the pin resolves to.
    pub artifact: &'a Artifact,
    /// What runs now, as far as it can be told.
    pub running: Option<&'a str>,
}

/// A policy's word that a rollout may not be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denial {
    /// The policy's `@id`.
    pub policy: String,
    /// The policy's `@reason`.
    pub reason: String,
}

/// Decides whether a rollout may be started now.
pub trait Guardrails: Send + Sync {
    /// The denials; none means that the rollout may start.
    fn check(&self, proposal: Proposal<'_>) -> Vec<Denial>;
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
        vec![Denial { policy: "pinion:invalid-policies".to_owned(), reason: self.reason.clone() }]
    }
}
