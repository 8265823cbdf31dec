//! Guardrails in whole runs: what forbids, what it says, and what a policy that is wrong does. What each policy means is tested
//! in `crates/core/tests/guardrails`.

mod whole;
