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
//! Data flows down the module list and never back. `plan` decides and does no I/O; `reconcile` obeys. The fuzzers
//! (`fuzz/`) take only the rooms that need neither AWS nor Git.

#[cfg(not(fuzzing))]
pub mod aws;
#[cfg(not(fuzzing))]
pub mod cli;
pub mod clock;
pub mod config;
#[cfg(not(fuzzing))]
pub mod forge;
#[cfg(not(fuzzing))]
pub mod git;
pub mod guardrail;
#[cfg(not(fuzzing))]
pub mod history;
pub mod iam;
pub mod manifest;
#[cfg(not(fuzzing))]
pub mod metrics;
pub mod model;
pub mod plan;
pub mod ports;
#[cfg(not(fuzzing))]
pub mod reconcile;
#[cfg(not(fuzzing))]
pub mod server;
/// Of the server, what reads push events.
#[cfg(fuzzing)]
pub mod server {
    /// Push events.
    pub mod hooks {
        pub mod push;
        pub mod signature;
    }
}
#[cfg(not(fuzzing))]
pub mod shutdown;
pub mod signature;
#[cfg(all(feature = "sim", not(fuzzing)))]
pub mod sim;
#[cfg(not(fuzzing))]
pub mod telemetry;
