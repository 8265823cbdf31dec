//! What the forge tells Pinion, and what Pinion tells the forge and others: the built program, a real Git server, and a
//! real HTTP server in the place of the forge, which fails when the test says so.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and then shows what it saw"
)]

#[path = "support/forge.rs"]
mod forge;
#[path = "forge/hooks.rs"]
mod hooks;
#[path = "forge/ledger.rs"]
mod ledger;
#[path = "forge/news.rs"]
mod news;
#[path = "forge/notifications.rs"]
mod notifications;
#[path = "support/shop.rs"]
mod shop;
#[path = "support/stage.rs"]
mod stage;
#[path = "forge/statuses.rs"]
mod statuses;
