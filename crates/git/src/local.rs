//! A person's own clone, for `pinion plan` and `pinion validate`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gix::sec::trust::Mapping;

use super::error::{Cause, GitError};
use super::tree::{Objects, commit_id};
use pinion_core::model::CommitId;

/// A working copy of an environments repository.
pub struct WorkingCopy {
    repository: gix::ThreadSafeRepository,
    root: PathBuf,
}

impl std::fmt::Debug for WorkingCopy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkingCopy").field("root", &self.root).finish_non_exhaustive()
    }
}

impl WorkingCopy {
    /// The repository that a folder is in.
    ///
    /// # Errors
    /// [`GitError::NotARepository`] if it is in none, or in one without files (a bare one).
    pub fn discover(folder: &Path) -> Result<Self, GitError> {
        let not = |source: Cause| GitError::NotARepository { path: folder.to_owned(), source };
        let options = gix::open::Options::isolated;
        let trust = Mapping { full: options(), reduced: options() };
        let repository = gix::ThreadSafeRepository::discover_opts(folder, Default::default(), trust)
            .map_err(|error| not(Cause::of_gix(&error)))?;
        let root = repository.work_dir().map(Path::to_path_buf);
        let root = root.ok_or_else(|| not(Cause("it is a bare repository".to_owned())))?;
        let root = root.canonicalize().map_err(|error| not(Cause::of(&error)))?;
        Ok(Self { repository, root })
    }

    /// The folder that `environments/` stands in, absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The commit that is checked out; `None` before the first one.
    ///
    /// # Errors
    /// [`GitError::Revision`] if it can't be read.
    pub fn head(&self) -> Result<Option<CommitId>, GitError> {
        let repository = self.repository.to_thread_local();
        let head = repository.head().map_err(|error| self.no_revision("HEAD", &error))?;
        if head.is_unborn() {
            return Ok(None);
        }
        self.resolve("HEAD").map(Some)
    }

    /// The commit that a revision means: `main`, `origin/main`, `HEAD~2`, a tag, or an id or the start of one.
    ///
    /// # Errors
    /// [`GitError::Revision`] if there is no such commit.
    pub fn resolve(&self, revision: &str) -> Result<CommitId, GitError> {
        let repository = self.repository.to_thread_local();
        let object = repository.rev_parse_single(revision).and_then(|id| id.object());
        let commit = object.and_then(|object| object.peel_to_kind(gix::object::Kind::Commit));
        commit_id(commit.map_err(|error| self.no_revision(revision, &error))?.id)
    }

    /// Its objects: files at a commit, and history for [`super::Provenances`]. A value that isn't committed has no
    /// provenance; give it [`pinion_core::model::Provenance::uncommitted`].
    #[must_use]
    pub fn objects(&self) -> Objects {
        Objects::new(self.repository.to_thread_local(), self.root.display().to_string(), Arc::default())
    }

    fn no_revision(&self, revision: &str, error: &gix::Error) -> GitError {
        GitError::Revision {
            repository: self.root.display().to_string(),
            revision: revision.to_owned(),
            // What comes before it is about how the revision was parsed.
            source: Cause::last_of_gix(error),
        }
    }
}
