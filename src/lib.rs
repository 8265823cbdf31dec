//! Pinion: a GitOps reconciler for AWS compute.
//!
//! ```text
//!   Git ──► manifest ──► model::Environment ─┐
//!  (git)   (bytes → model)    (desired)      │
//!                                            ├─► plan ──► actions and reasons
//!   AWS ──► aws ───────► model::Observed ────┘   (pure)         │
//!    ▲     (observe)                                            ▼
//!    └────────────────── aws (apply) ◄── ports ◄────────── reconcile
//!                                                       (the loop; one match)
//!                                                               │ watch
//!                                       server, metrics ◄───────┘
//! ```
//!
//! Data flows down the module list and never back. `plan` decides and does no I/O; `reconcile` obeys.

pub mod aws;
pub mod cli;
pub mod clock;
pub mod config;
pub mod git;
pub mod guardrail;
pub mod history;
pub mod manifest;
pub mod metrics;
pub mod model;
pub mod plan;
pub mod ports;
pub mod reconcile;
pub mod server;
pub mod shutdown;
#[cfg(feature = "sim")]
pub mod sim;
pub mod telemetry;
