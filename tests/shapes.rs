//! The shapes that groups, services and images have in real accounts, as runs of the built program against the AWS stand-in:
//! each is served, or blocked with a reason that says what to change. `docs/shapes.md` has the table; it is what these
//! tests compare with.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and then shows what it saw"
)]

#[path = "shapes/artifacts.rs"]
mod artifacts;
#[path = "shapes/groups.rs"]
mod groups;
#[path = "shapes/services.rs"]
mod services;
#[path = "support/stage.rs"]
mod stage;
#[path = "shapes/table.rs"]
mod table;
