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
        if let Some(reason) = settings(folder).as_deref().and_then(unsupported) {
            return Err(GitError::Unsupported { path: folder.to_owned(), reason: reason.to_owned() });
        }
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
        let repository = self.repository.to_thread_local();
        let partial = settings(&self.root).is_some_and(|text| has(&text, "partialclone"));
        let place = self.root.display().to_string();
        Objects::new(repository, place, Arc::default()).explained(partial.then_some(PARTIAL))
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

const PARTIAL: &str = "this is a partial clone, which lacks what it hasn't needed yet: clone without --filter, or run `git fetch --refetch \
     --no-filter`";

/// The settings of the repository that a folder is in.
fn settings(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let dot = folder.ancestors().map(|folder| folder.join(".git")).find(|dot| dot.exists())?;
    let inside = if dot.is_dir() {
        dot
    } else {
        // A work tree of another clone: `gitdir: …/.git/worktrees/NAME`, whose settings are above.
        let text = std::fs::read_to_string(&dot).ok()?;
        let inside = dot.parent()?.join(text.strip_prefix("gitdir:")?.trim());
        match std::fs::read_to_string(inside.join("commondir")) {
            Ok(common) => inside.join(common.trim()),
            Err(_) => inside,
        }
    };
    std::fs::read_to_string(inside.join("config")).ok()
}

/// Whether a setting is there, whatever its section. Names of settings don't differ by case.
fn has(settings: &str, name: &str) -> bool {
    value(settings, name).is_some() || settings.to_ascii_lowercase().contains(&format!("{name}filter"))
}

fn value(settings: &str, name: &str) -> Option<String> {
    let mut pairs = settings.lines().filter_map(|line| line.split_once('='));
    pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_ascii_lowercase())
}

/// Why a clone with these settings can't be read (gitrepository-layout(5) and git-config(1), `extensions.*`).
fn unsupported(settings: &str) -> Option<&'static str> {
    if value(settings, "objectformat").as_deref() == Some("sha256") {
        return Some(super::error::SHA256);
    }
    (value(settings, "refstorage").as_deref() == Some("reftable")).then_some(
        "it keeps its branches as a reftable, which Pinion can't read yet: run `git refs migrate --ref-format=files` in it",
    )
}
