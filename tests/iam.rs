//! The policies that `pinion iam` generates are enough, and not more than enough: the built program converges every kind
//! of target against a stand-in that enforces exactly these, and misses every part of them that is taken away.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and then shows what it saw"
)]

#[path = "iam/cases.rs"]
mod cases;
#[path = "iam/documents.rs"]
mod documents;
#[path = "iam/limits.rs"]
mod limits;
#[path = "iam/removal.rs"]
mod removal;
#[path = "support/stage.rs"]
mod stage;
#[path = "iam/world.rs"]
mod world;
