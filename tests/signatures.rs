//! Signed commits: keys and commits by real `ssh-keygen`, `gpg` and `git`, the verdicts on them, what they mean for a
//! branch, and a run of the built program.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and then shows what it saw"
)]

#[path = "signatures/desk.rs"]
mod desk;
#[path = "signatures/history.rs"]
mod history;
#[path = "signatures/merges.rs"]
mod merges;
#[path = "signatures/openpgp.rs"]
mod openpgp;
#[path = "signatures/ssh.rs"]
mod ssh;
#[path = "support/stage.rs"]
mod stage;
#[path = "signatures/whole.rs"]
mod whole;
