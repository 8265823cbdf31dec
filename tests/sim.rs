//! The AWS simulator, driven by the SDK's own clients over a socket.

mod control;
mod faults;
mod groups;
mod lookups;
mod services;
mod stand;
