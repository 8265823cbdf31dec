//! Whether a commit is signed by somebody who may: SSH signatures against an allowed-signers file, OpenPGP signatures
//! against certificates. Pure: bytes, keys and the time are inputs. The only place that names ssh_key and pgp.
//!
//! ```text
//!  key files ─► Trust ──────────────┐
//!  bytes of a commit ─► Commit ─────┴─► verify ─► Signer, or the Refusal
//! ```
//!
//! A key is judged as of the time when the signature was made, never as of now: what was good stays good, so that
//! looking at the same history with the same keys has the same result at any time.

mod allowed;
mod certificate;
mod commit;
mod openpgp;
mod ssh;
mod wire;

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

pub use self::commit::Commit;
use crate::model::Signer;
use crate::model::escape::stripped;

/// How far ahead of ours a signer's clock may be.
const AHEAD: SignedDuration = SignedDuration::from_mins(10);

/// The longest signature that is looked at, in bytes. The longest that is of use has some six thousand.
const MAX_SIGNATURE_BYTES: usize = 16 << 10;

/// Why a commit's signature doesn't count.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no signature.
    #[error("it isn't signed")]
    Unsigned,
    /// The commit or its signature makes no sense.
    #[error("{0}")]
    Malformed(String),
    /// A kind of signature or key that can't be checked, or is too weak to count.
    #[error("{0}")]
    Unsupported(String),
    /// The signature is of something else.
    #[error("the signature by {key} isn't of this commit: something was changed after it was signed")]
    Tampered {
        /// The key.
        key: String,
    },
    /// Nobody who may sign has this key.
    #[error("it is signed by {key}, which is nobody's who may sign")]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// The signature or the key is for something else than commits.
    #[error("{0}")]
    Namespace(String),
    /// The key was not valid yet when it signed.
    #[error("it was signed on {at} by {key}, which is valid only from {from} on")]
    NotYetValid {
        /// The key.
        key: String,
        /// When it was signed.
        at: Timestamp,
        /// From when on the key is valid.
        from: Timestamp,
    },
    /// The key was no longer valid when it signed.
    #[error("it was signed on {at} by {key}, which was valid only until {until}")]
    Expired {
        /// The key.
        key: String,
        /// When it was signed.
        at: Timestamp,
        /// Until when the key was valid.
        until: Timestamp,
    },
    /// The key was no longer valid when it can have signed: the commit rests on a newer one.
    #[error(
        "it says that it was signed on {at}, but it can't be older than {newest}, the date of a commit that it rests on, or its \
         own; by then {key} had ended, on {until}"
    )]
    Backdated {
        /// The key.
        key: String,
        /// When it says that it was signed.
        at: Timestamp,
        /// The newest date of what it rests on.
        newest: Timestamp,
        /// Until when the key was valid.
        until: Timestamp,
    },
    /// The key is revoked.
    #[error("it is signed by {key}, which is revoked: {why}")]
    Revoked {
        /// The key.
        key: String,
        /// What the revocation says.
        why: String,
    },
    /// The key may not sign.
    #[error("it is signed by {key}, which is not for signing")]
    NotForSigning {
        /// The key.
        key: String,
    },
    /// The key belongs to somebody else than the committer.
    #[error("it is signed by {key} of {owners}, but its committer is `{committer}`")]
    Identity {
        /// The key.
        key: String,
        /// Whose key it is.
        owners: String,
        /// The committer's address.
        committer: String,
    },
    /// A merge by a forge that isn't only a merge.
    #[error(
        "it is signed by a forge, whose merges count only if nothing is in them but what they merge, and {0}; merge on your \
         machine and sign that, or rebase the branch and merge again"
    )]
    Altered(String),
    /// It says that it is from the future.
    #[error("its date, {at}, is in the future: a clock is wrong, or the date is forged")]
    Future {
        /// When it says that it was made.
        at: Timestamp,
    },
}

impl Refusal {
    /// The word for it: `unsigned`, `malformed`, `unsupported`, `tampered`, `unknown-key`, `wrong-namespace`,
    /// `not-yet-valid`, `expired`, `backdated`, `revoked`, `not-for-signing`, `wrong-identity`, `altered`, `future`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Malformed(_) => "malformed",
            Self::Unsupported(_) => "unsupported",
            Self::Tampered { .. } => "tampered",
            Self::UnknownKey { .. } => "unknown-key",
            Self::Namespace(_) => "wrong-namespace",
            Self::NotYetValid { .. } => "not-yet-valid",
            Self::Expired { .. } => "expired",
            Self::Backdated { .. } => "backdated",
            Self::Revoked { .. } => "revoked",
            Self::NotForSigning { .. } => "not-for-signing",
            Self::Identity { .. } => "wrong-identity",
            Self::Altered(_) => "altered",
            Self::Future { .. } => "future",
        }
    }

    /// Whether time alone fixes it, so that the verdict is not to be remembered.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::Future { .. })
    }
}

/// Keys that are allowed to sign.
#[derive(Debug, Default)]
pub struct Keys {
    ssh: Vec<allowed::AllowedSigner>,
    openpgp: Vec<openpgp::Certificate>,
}

impl Keys {
    /// Reads an allowed-signers file, as ssh-keygen(1) has it. Times without a zone are UTC.
    ///
    /// # Errors
    /// All that is wrong with it, each with its line. Unlike ssh-keygen we don't pass over such lines.
    pub fn allowed_signers(bytes: &[u8]) -> Result<Self, Vec<String>> {
        Ok(Self { ssh: allowed::parse(bytes)?, openpgp: Vec::new() })
    }

    /// Reads OpenPGP certificates, binary or armored, one or several.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn keyring(bytes: &[u8]) -> Result<Self, Vec<String>> {
        Ok(Self { ssh: Vec::new(), openpgp: openpgp::parse(bytes).map_err(|error| vec![error])? })
    }

    /// Reads either of the two.
    ///
    /// # Errors
    /// As [`Keys::allowed_signers`] or [`Keys::keyring`], whichever it looks like.
    pub fn either(bytes: &[u8]) -> Result<Self, Vec<String>> {
        if openpgp::looks_like(bytes) { Self::keyring(bytes) } else { Self::allowed_signers(bytes) }
    }

    /// Takes over the keys of another.
    pub fn extend(&mut self, other: Self) {
        self.ssh.extend(other.ssh);
        self.openpgp.extend(other.openpgp);
    }

    /// How many lines and certificates there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ssh.len() + self.openpgp.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Who is meant to have signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner<'a> {
    /// The one with this address.
    Committer(&'a str),
    /// The holder of the key.
    Anybody,
}

/// When a commit was signed, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    /// When it says so itself.
    at: Timestamp,
    /// The newest date of all that it rests on; no earlier than `at`.
    newest: Timestamp,
}

impl Moment {
    fn new(at: Timestamp, newest: impl IntoIterator<Item = Timestamp>) -> Self {
        Self { at, newest: newest.into_iter().fold(at, Timestamp::max) }
    }

    /// Why a key that had ended can't have signed.
    fn after(self, until: Timestamp, key: String) -> Refusal {
        let Self { at, newest } = self;
        if at < until { Refusal::Backdated { key, at, newest, until } } else { Refusal::Expired { key, at, until } }
    }
}

/// Whose signatures count.
#[derive(Debug, Default)]
pub struct Trust {
    /// Who may sign any commit, in the committer's name.
    pub signers: Keys,
    /// The keys of forges, which may sign merges, in anybody's name.
    pub forges: Keys,
}

/// A signature that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Whose it is.
    pub signer: Signer,
    /// Whether it counts as a forge's only, so that the commit has to be a merge and nothing else.
    pub by_forge: bool,
}

impl Trust {
    /// Who signed a commit that rests on nothing. See [`Trust::verify_after`].
    ///
    /// # Errors
    /// [`Refusal`] if nobody did whose signature counts.
    pub fn verify(&self, commit: &Commit, now: Timestamp) -> Result<Signed, Refusal> {
        self.verify_after(commit, None, now)
    }

    /// Who signed a commit; `newest` is the newest date of all commits that it rests on, for a key that had ended by then
    /// can't have signed, whatever date it gave itself. Whether a forge's merge holds only what it merges is left to the
    /// caller, who has the trees.
    ///
    /// # Errors
    /// [`Refusal`] if nobody did whose signature counts.
    pub fn verify_after(&self, commit: &Commit, newest: Option<Timestamp>, now: Timestamp) -> Result<Signed, Refusal> {
        let owner = Owner::Committer(&commit.committer);
        let verdict = check(&self.signers, commit, owner, newest, now);
        if verdict.is_err()
            && commit.parents.len() > 1
            && !self.forges.is_empty()
            && let Ok(signer) = check(&self.forges, commit, Owner::Anybody, newest, now)
        {
            return Ok(Signed { signer, by_forge: true });
        }
        verdict.map(|signer| Signed { signer, by_forge: false })
    }
}

fn check(
    keys: &Keys,
    commit: &Commit,
    owner: Owner<'_>,
    newest: Option<Timestamp>,
    now: Timestamp,
) -> Result<Signer, Refusal> {
    let Some(signature) = &commit.signature else { return Err(Refusal::Unsigned) };
    if signature.len() > MAX_SIGNATURE_BYTES {
        return Err(Refusal::Malformed(format!("its signature has more than {MAX_SIGNATURE_BYTES} bytes")));
    }
    let text = std::str::from_utf8(signature).map_err(|_| malformed("it isn't text"))?.trim();
    if let Some(at) = [commit.time].into_iter().find(|at| now.duration_since(*at) < -AHEAD) {
        return Err(Refusal::Future { at });
    }
    if text.starts_with(ssh::BEGIN) {
        ssh::check(&keys.ssh, text, commit, owner, Moment::new(commit.time, newest))
    } else if text.starts_with("-----BEGIN PGP ") {
        openpgp::check(&keys.openpgp, text, commit, owner, newest, now)
    } else if text.starts_with("-----BEGIN SIGNED MESSAGE-----") {
        Err(Refusal::Unsupported("its signature is an X.509 one; sign with an SSH or an OpenPGP key".to_owned()))
    } else {
        Err(malformed("it is neither an SSH nor an OpenPGP signature"))
    }
}

/// A untrusted person's text as part of a reason: on one line, not too long, and without what could steer a terminal, turn the
/// direction of writing, or hide.
fn shown(text: &str) -> String {
    stripped(text).chars().take(200).collect()
}

fn malformed(what: &str) -> Refusal {
    Refusal::Malformed(format!("its signature can't be read: {what}"))
}
