//! Guardrails: the shipped ones allow, deny and expire; what is wrong with a policy is found, with its line; and what can't
//! be evaluated forbids.

mod case;
mod mistakes;
mod semantics;
mod shipped;
