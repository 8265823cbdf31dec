//! A folder as the repository that a controller would follow: its files are the newest commit, made on top of the base, or
//! of what is checked out.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::cli::signers::read_pins;
use crate::git::{GitError, Objects, Provenances, WorkingCopy};
use crate::model::cause::chain;
use crate::model::{CommitId, Files, PinKey, Provenance, RepositoryError, Tip, Trailer};
use crate::ports::Repository;

/// A folder and what its commits say of it.
pub(super) struct Local {
    /// The folder's files.
    pub(super) files: Files,
    /// The working copy that it is in.
    pub(super) copy: Option<WorkingCopy>,
    /// The commit that the files are made on: the base, or what is checked out.
    pub(super) before: Option<CommitId>,
    /// The trailers of the commits that lead from the base to the files.
    pub(super) trailers: Vec<Trailer>,
    /// The commit that set each pin of the files, by the path of its file and its component.
    pub(super) provenance: BTreeMap<(String, String), Provenance>,
    /// What a pin is given that no commit has set.
    pub(super) uncommitted: Provenance,
}

impl Local {
    fn objects(&self) -> Result<Objects, RepositoryError> {
        let copy = self.copy.as_ref().ok_or_else(|| RepositoryError("the folder is in no repository".to_owned()))?;
        Ok(copy.objects())
    }
}

fn failed(error: GitError) -> RepositoryError {
    RepositoryError(chain(&error))
}

#[async_trait]
impl Repository for Local {
    async fn poll(&self) -> Result<BTreeMap<String, Result<Tip, RepositoryError>>, RepositoryError> {
        Err(RepositoryError("a folder can't be polled".to_owned()))
    }

    async fn files(&self, commit: &CommitId) -> Result<Files, RepositoryError> {
        if commit.is_uncommitted() {
            return Ok(self.files.clone());
        }
        self.objects()?.files(commit).map_err(failed)
    }

    async fn before(&self, commit: &CommitId) -> Result<Option<CommitId>, RepositoryError> {
        if commit.is_uncommitted() {
            return Ok(self.before.clone());
        }
        self.objects()?.first_parent(commit).map_err(failed)
    }

    async fn trailers(&self, _branch: &str, commit: &CommitId, key: &str) -> Result<Vec<Trailer>, RepositoryError> {
        if commit.is_uncommitted() {
            return Ok(self.trailers.clone());
        }
        let objects = self.objects()?;
        let before = objects.first_parent(commit).map_err(failed)?;
        objects.trailers_since(before.as_ref(), commit, key).map_err(failed)
    }

    async fn provenance(
        &self,
        _branch: &str,
        commit: &CommitId,
        pins: &BTreeMap<PinKey, String>,
    ) -> Result<BTreeMap<PinKey, Provenance>, RepositoryError> {
        let found = if commit.is_uncommitted() {
            self.provenance.clone()
        } else {
            let wanted = pins.iter().map(|(key, value)| ((key.path.clone(), key.component.clone()), value.clone()));
            let wanted = wanted.collect();
            Provenances::new().provenance(&self.objects()?, commit, &wanted, &read_pins).map_err(failed)?
        };
        let of = |key: &PinKey| found.get(&(key.path.clone(), key.component.clone())).cloned();
        let known = pins.keys().map(|key| (key.clone(), of(key).unwrap_or_else(|| self.uncommitted.clone())));
        Ok(known.collect())
    }
}
