//! Manifests: bytes of `environments/` in, drafts or located findings out.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "manifest/broken.rs"]
mod broken;
#[path = "manifest/good.rs"]
mod good;
#[path = "manifest/sample.rs"]
mod sample;
