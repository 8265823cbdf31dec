//! Manifests: bytes of `environments/` in, drafts or located findings out.

mod broken;
mod careless;
mod files;
mod good;
mod image_source;
mod less;
mod misplaced;
mod sample;
mod suspend;
