//! The five deployments that Pinion must serve, and what an operator does, as runs of the built program against the AWS

//! simulator and real Git servers. `docs/scenarios` has a page for each.

pub(crate) mod common_registry;
pub(crate) mod frontend_and_backend;
mod mistakes;
mod operator;
mod pages;
pub(crate) mod parameter_store;
pub(crate) mod probed_url;
pub(crate) mod two_branches;
