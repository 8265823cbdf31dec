//! All integration tests of the program, in one binary: what they share is compiled once, and whatever waits does so beside
//! others. A module for each topic; `tests/edges/forgotten.rs` finds a file that no module names.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and then shows what it saw"
)]

mod aws;
mod base_revision;
mod bump;
mod change_limits;
mod crash;
mod demo;
mod doubt;
mod failures;
mod fleet;
mod forge;
mod git;
mod guardrails;
mod histories;
mod history;
mod hostile;
mod iam;
mod init;
mod manifest;
mod moto;
mod ops;
mod page;
mod plan;
mod promote;
mod restart;
mod scenarios;
mod server;
mod shape_limits;
mod shapes;
mod short_tables;
mod signatures;
mod sim;
mod story;
mod support;
mod suspend;
mod truth;
mod validate;
