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
//!                                                               │ state (a watch), events
//!                                         server, sinks ◄───────┘
//! ```
//!
//! What is pure, what talks to Git and what talks to AWS are crates of their own (`crates/`), so that Cargo holds the
//! walls between them. They are named here once, so that every module says `crate::plan` or `crate::git`.

pub use pinion_aws as aws;
pub use pinion_clock as clock;
pub use pinion_core::{claims, config, events, guardrail, iam, init, manifest, model, plan, ports, signature, webhook};
pub use pinion_git as git;
#[cfg(feature = "sim")]
pub use pinion_sim as sim;

pub mod cli;
pub mod forge;
pub mod history;
pub mod metrics;
pub mod reconcile;
pub mod server;
pub mod shutdown;
pub mod sinks;
pub mod telemetry;
