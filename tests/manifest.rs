//! Manifests as `validate`, `plan` and `run` read them. What is found in them is tested in `crates/core/tests/manifest`.

mod agree;
#[path = "../crates/core/tests/manifest/files.rs"]
mod files;
