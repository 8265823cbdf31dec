//! The AWS stand-in, driven by the SDK's own clients over a socket.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests; the exemption for them leaves out helpers")]

#[path = "sim/control.rs"]
mod control;
#[path = "sim/faults.rs"]
mod faults;
#[path = "sim/groups.rs"]
mod groups;
#[path = "sim/lookups.rs"]
mod lookups;
#[path = "sim/services.rs"]
mod services;
#[path = "sim/stand.rs"]
mod stand;
