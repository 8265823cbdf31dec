//! Manifests: bytes of `environments/` in, drafts or located findings out.

mod agree;
mod broken;
mod good;
mod sample;
