//! Whose signatures count, for commands that look at a working copy: what `[repository.verify]` says to the controller.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use jiff::Timestamp;

use super::error::{CliError, ResultExt as _};
use crate::config::Verify;
use crate::git::{Verifier, WorkingCopy};
use crate::manifest;
use crate::model::escape::one_line;
use crate::model::{CommitId, Provenance, Trailer, Verified};

/// The files of keys, as in `[repository.verify]` of pinion.toml
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Signers {
    /// Check that commits are signed, by this allowed-signers file
    #[arg(long, value_name = "FILE")]
    allowed_signers: Option<PathBuf>,
    /// Check that commits are signed, by the OpenPGP certificates in this file
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// Merges may be signed by the keys in this file, too
    #[arg(long, value_name = "FILE")]
    forge_keys: Option<PathBuf>,
    /// This commit, all 40 digits of it, is trusted unsigned with all before it
    #[arg(long, value_name = "COMMIT")]
    signed_since: Option<CommitId>,
}

impl Signers {
    fn policy(&self) -> Result<Option<Verify>, CliError> {
        let policy = Verify {
            allowed_signers: self.allowed_signers.clone(),
            keyring: self.keyring.clone(),
            forge_keys: self.forge_keys.clone(),
            since: self.signed_since.clone(),
        };
        match (&policy.allowed_signers, &policy.keyring) {
            (None, None) if policy.forge_keys.is_some() || policy.since.is_some() => {
                Err(CliError::usage("no keys are named that may sign")
                    .hint("name a file with --allowed-signers (SSH) or --keyring (OpenPGP)"))
            }
            (None, None) => Ok(None),
            _ => Ok(Some(policy)),
        }
    }

    /// Checks the history of what is checked out, and says in `provenances` who signed what, and which `trailers` count.
    /// `None` if nobody asks for it.
    ///
    /// # Errors
    /// If the folder is in no repository, or keys or history can't be read.
    pub(super) fn check<'a>(
        &self,
        folder: &Path,
        provenances: impl IntoIterator<Item = &'a mut Provenance>,
        trailers: &mut [Trailer],
        now: Timestamp,
    ) -> Result<Option<Verified>, CliError> {
        let Some(policy) = self.policy()? else { return Ok(None) };
        let mut verifier = Verifier::new(policy, read_pins)?;
        let copy = WorkingCopy::discover(folder)
            .context(|| "signatures are checked on the commits of a Git repository".to_owned())?;
        let Some(head) = copy.head()? else { return Ok(None) };
        let objects = copy.objects();
        let verified = verifier.verify(&objects, &head, None, now, &AtomicBool::new(false))?;
        for provenance in provenances.into_iter().filter(|provenance| !provenance.commit.is_uncommitted()) {
            verifier.vouch(&objects, provenance, now)?;
        }
        verifier.honor(&objects, trailers, now)?;
        Ok(Some(verified))
    }
}

/// The pins of a `pins.toml`, as Git's history is asked for them.
pub(super) fn read_pins(_path: &str, bytes: &[u8]) -> BTreeMap<String, String> {
    manifest::pin_values(bytes)
}

/// The refused commits, one a line; empty if there are none.
pub(super) fn text(verified: &Verified) -> String {
    let mut text = String::new();
    for commit in &verified.commits {
        let short = CommitId::short_of(&commit.commit);
        let line = format!("commit {short} by {} is refused: {}", commit.author, commit.reason);
        text.push_str(&one_line(&line));
        text.push('\n');
    }
    let more = verified.refused.saturating_sub(verified.commits.len());
    if more > 0 {
        text.push_str(&format!("and {more} more\n"));
    }
    text
}
