//! Git: bare mirrors that are polled, trees read at a commit, and the commit that set each pin. The only place that
//! names gix. Everything here blocks: the caller runs it on a thread that may.
//!
//! ```text
//!   server ──poll──► mirror (a cache, may vanish) ──► objects ──► files at a commit ──► manifest
//!                                                        └─────► provenances: who set which value
//! ```

mod commit;
mod error;
mod fetch;
mod local;
mod merge;
mod mirror;
mod pack;
mod port;
mod provenance;
mod source;
mod trailers;
mod transport;
mod tree;
mod verify;
mod watch;

pub use error::{Cause, GitError};
pub use local::WorkingCopy;
pub use mirror::{BranchTip, Mirror, Mirrors, Poll};
pub use port::{MirroredRepository, ReadPins};
pub use provenance::{Extract, PinKey, Provenances};
pub use source::{Auth, Programs, RepositorySource, TokenSource};
pub use trailers::trailers;
pub use tree::Objects;
pub use verify::Verifier;
