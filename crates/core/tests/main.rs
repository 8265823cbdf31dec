//! The tests of what is pure, in one binary; they build without the rest of Pinion.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod fuzz;
mod guardrails;
mod manifest;
