//! Guardrails: the shipped ones allow, deny and expire; what is wrong with a policy is found, with its line; and what can't
//! be evaluated forbids.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

#[path = "guardrails/case.rs"]
mod case;
#[path = "guardrails/mistakes.rs"]
mod mistakes;
#[path = "guardrails/semantics.rs"]
mod semantics;
#[path = "guardrails/shipped.rs"]
mod shipped;
#[path = "support/shop.rs"]
mod shop;
#[path = "support/stage.rs"]
mod stage;
#[path = "guardrails/whole.rs"]
mod whole;
