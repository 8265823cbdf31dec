//! The status page in a browser: what it shows in each state, how it keeps up, that strangers' texts stay texts, and that
//! everybody can use it. With PINION_SCREENSHOTS=FOLDER it leaves pictures there.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and then shows what it saw"
)]

#[path = "page/browser.rs"]
mod browser;
#[path = "page/gallery.rs"]
mod gallery;
#[path = "page/kept.rs"]
mod kept;
#[path = "page/live.rs"]
mod live;
#[path = "server/sample.rs"]
mod sample;
#[path = "page/shown.rs"]
mod shown;
#[path = "support/stage.rs"]
mod stage;
#[path = "page/trouble.rs"]
mod trouble;
