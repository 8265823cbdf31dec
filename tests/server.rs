//! The server, the metrics and the commands that talk to a running controller, over real sockets.

mod http;
mod metrics;
pub(crate) mod sample;
mod signals;
mod status;
