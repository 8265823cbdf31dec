//! The five deployments that Pinion must serve, and what an operator does, as runs of the built program against the AWS

//! simulator and real Git servers. `docs/scenarios` has a page for each.

mod common_registry;
mod frontend_and_backend;
mod mistakes;
mod operator;
mod pages;
mod parameter_store;
mod probed_url;
mod two_branches;
