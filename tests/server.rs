//! The server, the metrics and the commands that talk to a running controller, over real sockets.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "server/http.rs"]
mod http;
#[path = "server/metrics.rs"]
mod metrics;
#[path = "support/promtool.rs"]
mod promtool;
#[path = "server/sample.rs"]
mod sample;
#[path = "server/signals.rs"]
mod signals;
#[path = "server/status.rs"]
mod status;
