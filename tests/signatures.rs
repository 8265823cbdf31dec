//! Signed commits: keys and commits by real `ssh-keygen`, `gpg` and `git`, the verdicts on them, what they mean for a

//! branch, and a run of the built program.

mod desk;
mod history;
mod merges;
mod openpgp;
mod ssh;
mod whole;
