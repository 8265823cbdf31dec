//! The status page in a browser: what it shows in each state, how it keeps up, that untrusted people's texts stay texts, and that
//! everybody can use it. With PINION_SCREENSHOTS=FOLDER it leaves pictures there.

mod browser;
mod gallery;
mod kept;
mod live;
mod shown;
mod trouble;
