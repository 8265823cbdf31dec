//! A pin and where it comes from.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CommitId, Component, Digest, Version};

/// The commit that set a pin to its present value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The commit.
    pub commit: CommitId,
    /// The author's name, as in the commit. Text of a untrusted person: escape it where it is shown.
    pub author: String,
    /// The author's address, as in the commit.
    pub email: String,
    /// When the commit was made (its committer's time).
    pub time: Timestamp,
    /// The first line of the message.
    pub subject: String,
    /// The message's trailers, such as `Rollback`: the first letter a capital, the others not. What stands there more than
    /// once has a line for each.
    #[serde(default)]
    pub trailers: BTreeMap<String, String>,
    /// Who signed it, if signatures are checked and this one holds.
    #[serde(default)]
    pub signer: Option<Signer>,
}

/// A trailer of a commit's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    /// The commit.
    pub commit: CommitId,
    /// Its value. What stands there more than once has a line for each.
    pub value: String,
    /// Whether it counts. Where signatures are checked, the message has to be that of a person who may sign: a forge's
    /// signature isn't enough.
    pub honored: bool,
}

/// Who signed a commit, as far as that was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signer {
    /// The committer's address, which the key is allowed to sign for; for a merge signed by a forge, the forge's name in
    /// the file of its keys.
    pub identity: String,
    /// The key's fingerprint: `SHA256:…` for SSH, hexadecimal for OpenPGP.
    pub key: String,
    /// What kind of signature it is.
    pub kind: SignerKind,
}

/// Kinds of signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignerKind {
    /// By an SSH key.
    Ssh,
    /// By an OpenPGP key.
    OpenPgp,
}

impl Provenance {
    /// The provenance of a pin that no commit has set yet.
    #[must_use]
    pub fn uncommitted(now: Timestamp) -> Self {
        Self {
            commit: CommitId::uncommitted(),
            author: "not committed yet".to_owned(),
            email: String::new(),
            time: now,
            subject: "not committed yet".to_owned(),
            trailers: BTreeMap::new(),
            signer: None,
        }
    }
}

/// The version of a component in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The component.
    pub component: Component,
    /// Its version.
    pub version: Version,
    /// The digest that the version's image must have, where the pin names one.
    pub digest: Option<Digest>,
    /// Where the pin comes from.
    pub provenance: Provenance,
}

impl Pin {
    /// Whether a version, with its digest where one is known, is what is pinned. A digest counts where both name one.
    #[must_use]
    pub fn is_same_artifact(&self, version: &Version, digest: Option<&Digest>) -> bool {
        self.version == *version && self.digest.as_ref().zip(digest).is_none_or(|(ours, theirs)| ours == theirs)
    }
}
