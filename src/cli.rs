//! To come.
pub mod client;
pub mod completions;
pub mod error;
pub mod output;
pub mod resync;
pub mod status;
