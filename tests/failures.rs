//! What can go wrong, and what Pinion makes of it. Each situation is a row of `docs/failure-modes.md`; the tests here bring
//! it about with the built program and the stand-in, and hold what people see against that row.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and then shows what it saw"
)]

#[path = "support/stage.rs"]
mod stage;

#[path = "failures/document.rs"]
mod document;
#[path = "failures/faults.rs"]
mod faults;
#[path = "failures/git.rs"]
mod git;
#[path = "failures/islands.rs"]
mod islands;
#[path = "failures/others.rs"]
mod others;
#[path = "failures/pins.rs"]
mod pins;
#[path = "failures/place.rs"]
mod place;
#[path = "failures/rollouts.rs"]
mod rollouts;
