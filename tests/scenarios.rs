//! The five deployments that Pinion must serve, and what an operator does, as runs of the built program against the AWS
//! stand-in and real Git servers. `docs/scenarios` has a page for each.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and then shows what it saw"
)]

#[path = "scenarios/common_registry.rs"]
mod common_registry;
#[path = "scenarios/frontend_and_backend.rs"]
mod frontend_and_backend;
#[path = "scenarios/mistakes.rs"]
mod mistakes;
#[path = "scenarios/operator.rs"]
mod operator;
#[path = "scenarios/pages.rs"]
mod pages;
#[path = "support/pair.rs"]
mod pair;
#[path = "scenarios/parameter_store.rs"]
mod parameter_store;
#[path = "scenarios/probed_url.rs"]
mod probed_url;
#[path = "support/promtool.rs"]
mod promtool;
#[path = "support/stage.rs"]
mod stage;
#[path = "scenarios/two_branches.rs"]
mod two_branches;
