//! What can go wrong with Git, in words for the person who has to fix it.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use pinion_core::model::cause;

/// The technical reason under a [`GitError`]: the whole chain of it in one line, without credentials.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Cause(pub(super) String);

impl Cause {
    /// The chain of an error, each part once.
    pub(super) fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        Self(cause::chain(error))
    }

    /// The last of an error's chain.
    pub(super) fn deepest(error: &(dyn std::error::Error + 'static)) -> Self {
        Self(cause::deepest(error).to_string())
    }

    /// What lies deepest in one of gix's errors.
    pub(super) fn last_of_gix(error: &gix::Error) -> Self {
        Self(error.iter_errors().last().map_or_else(|| error.to_string(), ToString::to_string))
    }

    /// The chain of one of gix's errors, whose causes form a tree.
    pub(super) fn of_gix(error: &gix::Error) -> Self {
        let mut text = String::new();
        for part in error.iter_errors() {
            cause::append(&mut text, &part.to_string());
        }
        Self(text)
    }
}

/// An operation on a repository that failed. URLs in it carry no credentials.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GitError {
    /// The URL can't be used.
    #[error("repository URL {url}: {reason}")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it, and what to write instead.
        reason: String,
    },
    /// The token can't be read.
    #[error("repository {url}: the token in {path} can't be used; put the token, and nothing else, into that file")]
    Token {
        /// The repository.
        url: String,
        /// The file, or the environment variable.
        path: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The server lets us not in.
    #[error("repository {url}: {reason}")]
    Refused {
        /// The repository.
        url: String,
        /// What the server said and what may be the reason.
        reason: String,
        /// The chain.
        #[source]
        source: Cause,
    },
    /// The server can't be reached, or broke off, or answered what isn't Git.
    #[error("repository {url}: {what}")]
    Unreachable {
        /// The repository.
        url: String,
        /// What failed.
        what: String,
        /// The chain.
        #[source]
        source: Cause,
    },
    /// The repository is larger than is taken. What was fetched before stays.
    #[error("repository {url} is too large: {what}; {advice}; what was fetched before is kept")]
    TooLarge {
        /// The repository.
        url: String,
        /// What is too large, and what is the most.
        what: String,
        /// What to do.
        advice: &'static str,
    },
    /// The poll took too long, though the server kept sending.
    #[error(
        "repository {url}: the poll hasn't ended within {}; check what the server is busy with, or raise `poll_timeout` \
         in pinion.toml",
        seconds(.limit)
    )]
    Overdue {
        /// The repository.
        url: String,
        /// The time-out that ran out.
        limit: Duration,
    },
    /// The server sent nothing for too long.
    #[error(
        "repository {url}: the server has sent nothing for {}; check whether it is overloaded, or a firewall drops \
         the connection",
        seconds(.limit)
    )]
    Stalled {
        /// The repository.
        url: String,
        /// The time-out that ran out.
        limit: Duration,
    },
    /// The poll was interrupted because the process shuts down.
    #[error("repository {url}: interrupted by the shutdown")]
    Interrupted {
        /// The repository.
        url: String,
    },
    /// The server has no such branch.
    #[error("repository {url} has no branch `{branch}`: create it, or correct `branch` in pinion.toml")]
    MissingBranch {
        /// The repository.
        url: String,
        /// The branch.
        branch: String,
    },
    /// A program that the URL needs can't be started.
    #[error(
        "repository {url}: can't start `{program}`; install it (Debian: the package `{package}`), or use an https URL"
    )]
    Program {
        /// The repository.
        url: String,
        /// The program.
        program: String,
        /// The Debian package that has it.
        package: &'static str,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The cache folder can't be used. A broken mirror within it is replaced without an error.
    #[error("can't use the mirror {path} of {url}; check that the cache folder is writable and the disk isn't full")]
    Mirror {
        /// The repository.
        url: String,
        /// The mirror's folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: Cause,
    },
    /// An object can't be read.
    #[error("{repository}: can't read {what}")]
    Object {
        /// The repository's URL or folder.
        repository: String,
        /// Which object.
        what: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A revision that isn't there.
    #[error("{repository}: no commit is called `{revision}`; in a shallow clone, fetch more of the history first")]
    Revision {
        /// The repository's folder.
        repository: String,
        /// The revision as given.
        revision: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A file of keys that can't be used to check signatures.
    #[error("the keys in {path} can't be used: {reason}")]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A clone of a kind that can't be read.
    #[error("{path} can't be read: {reason}")]
    Unsupported {
        /// The folder.
        path: PathBuf,
        /// What kind it is, and what to do.
        reason: String,
    },
    /// A folder that is in no repository.
    #[error("{path} isn't inside a Git repository; change into a clone of your environments repository")]
    NotARepository {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: Cause,
    },
}

/// What is said of a repository with ids that are too long.
pub(super) const SHA256: &str = "the repository has SHA-256 object ids, which Pinion can't read yet; use one with SHA-1 ids, as `git init` makes them and \
     all forges have them";

fn seconds(limit: &Duration) -> String {
    format!("{} s", limit.as_secs_f64())
}

impl GitError {
    /// Whether waiting may be all that is needed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Stalled { .. }
                | Self::Overdue { .. }
                | Self::Interrupted { .. }
                | Self::Object { .. }
        )
    }

    /// Whether a credential or a permission has to change.
    #[must_use]
    pub fn is_auth(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Token { .. })
    }

    /// Whether the process is shutting down and nothing is wrong.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        matches!(self, Self::Interrupted { .. })
    }

    /// The word for it in metrics: `unreachable`, `stalled`, `refused`, `missing-branch`, `interrupted`, `too-large`, `local`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Stalled { .. } | Self::Overdue { .. } => "stalled",
            Self::Refused { .. } | Self::Token { .. } => "refused",
            Self::MissingBranch { .. } => "missing-branch",
            Self::Interrupted { .. } => "interrupted",
            Self::TooLarge { .. } => "too-large",
            _ => "local",
        }
    }
}
