//! What Pinion decides, without any I/O: no clock, no network, no threads. Its `Cargo.toml` holds that wall.
//!
//! ```text
//!   bytes in Git ──► manifest ──► model::Environment ─┐
//!                                    (desired)        ├─► plan ──► actions, and reasons
//!   AWS's answers ──────────────► model::Observed ────┘
//! ```

pub mod claims;
pub mod config;
pub mod events;
pub mod guardrail;
pub mod iam;
pub mod init;
pub mod manifest;
pub mod model;
pub mod plan;
pub mod ports;
pub mod signature;
pub mod webhook;
