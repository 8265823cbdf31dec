//! The shapes that groups, services and images have in real accounts, as runs of the built program against the AWS simulator:
//! each is served, or blocked with a reason that says what to change. `docs/supported-configurations.md` has the table; it is what these

//! tests compare with.

mod artifacts;
mod capacity;
mod groups;
mod services;
mod table;
