//! What is read of a repository.

use std::collections::BTreeMap;

use thiserror::Error;

use super::CommitId;
use super::status::RefusedCommit;

/// Where a branch points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tip {
    /// The commit.
    pub commit: CommitId,
    /// Whether the branch was moved to a commit that doesn't descend from the earlier one.
    pub forced: bool,
    /// Why this isn't the newest: what the server has is refused as a whole, and this is what was fetched before.
    pub refused: Option<RepositoryError>,
}

/// A poll, a read or a walk of a repository that failed. The text says what, where and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct RepositoryError(pub String);

/// The files of a repository that count. Paths are those of Git: relative to the root, with `/`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Files {
    /// The files and their bytes. One that isn't read, but may be taken for one that is, is here without its bytes; so is,
    /// with a `/` at its end, a folder of an environment that has none of the files.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What is there and was not read, such as a symbolic link or a file that is too large, and why. Each is a mistake in its
    /// environment, or in the policies; none of them keeps the others from being read.
    pub refused: BTreeMap<String, String>,
}

/// The value of one pin: the path of its `pins.toml` and its component.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PinKey {
    /// The file's path in the repository.
    pub path: String,
    /// The component, as it stands there.
    pub component: String,
}

/// What the signatures on a branch allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The commit that counts. `None` if none does.
    pub accepted: Option<CommitId>,
    /// Whether signatures were checked at all.
    pub checked: bool,
    /// How many commits are refused.
    pub refused: usize,
    /// The refused commits, the oldest first; not all of them if they are many.
    pub commits: Vec<RefusedCommit>,
}

impl Verified {
    /// A branch whose signatures nobody asks for.
    #[must_use]
    pub fn unchecked(tip: &CommitId) -> Self {
        Self { accepted: Some(tip.clone()), checked: false, refused: 0, commits: Vec::new() }
    }
}
