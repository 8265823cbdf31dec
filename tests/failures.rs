//! What can go wrong, and what Pinion makes of it. Each situation is a row of `docs/failure-modes.md`; the tests here bring

//! it about with the built program and the simulator, and hold what people see against that row.

pub(crate) mod document;
mod faults;
mod git;
mod islands;
mod large;
mod others;
mod pins;
mod place;
mod rollouts;
