//! Trees and files at a commit, read from the object database and never checked out.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gix::ObjectId;
use gix::bstr::ByteSlice;
use gix::objs::tree::EntryKind;

use super::error::{Cause, GitError};
use super::fetch::{left_out, local_name};
use pinion_core::manifest::gather::{Entry, Listing, NodeKind, TreeLimits, TreeSource, UNKNOWN_SIZE, gather};
use pinion_core::model::{CommitId, Files};

/// The objects of a repository, as they were when this was opened.
pub struct Objects {
    pub(super) repository: gix::Repository,
    pub(super) place: String,
    /// What may be the reason if an object isn't there.
    why_missing: Option<&'static str>,
    suspect: Arc<AtomicBool>,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects").field("place", &self.place).finish_non_exhaustive()
    }
}

/// How we open any repository: nothing counts but its own configuration. Not the user's, not the system's, no
/// environment variables.
pub(super) fn open_options() -> gix::open::Options {
    gix::open::Options::isolated().open_path_as_is(true)
}

/// One of gix's ids as one of ours.
pub(super) fn commit_id(id: ObjectId) -> Result<CommitId, GitError> {
    CommitId::try_from(id.to_string()).map_err(|error| GitError::Object {
        repository: "gix".to_owned(),
        what: "an object id".to_owned(),
        source: Cause::of(&error),
    })
}

impl Objects {
    pub(super) fn open(folder: &Path, place: String, suspect: Arc<AtomicBool>) -> Result<Self, Cause> {
        let opened = gix::ThreadSafeRepository::open_opts(folder, open_options());
        Ok(Self::new(opened.map_err(|error| Cause::of_gix(&error))?.into(), place, suspect))
    }

    pub(super) fn new(mut repository: gix::Repository, place: String, suspect: Arc<AtomicBool>) -> Self {
        // A walk through history reads the same trees again and again.
        repository.object_cache_size_if_unset(8 << 20);
        Self { repository, place, why_missing: None, suspect }
    }

    /// With what may be the reason if an object isn't there.
    pub(super) fn explained(self, why_missing: Option<&'static str>) -> Self {
        Self { why_missing, ..self }
    }

    /// The files at a commit that count, within the default limits.
    ///
    /// # Errors
    /// As [`Objects::files_within`].
    pub fn files(&self, commit: &CommitId) -> Result<Files, GitError> {
        self.files_within(commit, TreeLimits::default())
    }

    /// The files at a commit that count. What can't be taken is refused by name, and stops nothing else.
    ///
    /// # Errors
    /// [`GitError::Object`] if the commit or what belongs to it isn't there.
    pub fn files_within(&self, commit: &CommitId, limits: TreeLimits) -> Result<Files, GitError> {
        let root = self.tree_of(self.find(commit)?)?;
        gather(&mut Tree { objects: self, root }, limits)
    }

    /// The first parent of a commit: what the branch had before. `None` for the first one.
    ///
    /// # Errors
    /// [`GitError::Object`] if the commit can't be read.
    pub fn first_parent(&self, commit: &CommitId) -> Result<Option<CommitId>, GitError> {
        let id = self.find(commit)?;
        let parent = self.commit(id)?.parents.into_iter().next();
        // The last commit of a shallow clone names a parent that isn't there.
        parent.filter(|parent| self.repository.has_object(*parent)).map(commit_id).transpose()
    }

    /// Where a mirror has a branch.
    pub(super) fn mirrored(&self, branch: &str) -> Option<ObjectId> {
        let reference = self.repository.try_find_reference(local_name(branch).as_str()).ok().flatten()?;
        reference.try_id().map(gix::Id::detach)
    }

    /// The id of a commit that is there. One that isn't, say since a force-push, doesn't make the mirror suspect.
    pub(super) fn find(&self, commit: &CommitId) -> Result<ObjectId, GitError> {
        let missing = |source: Cause| GitError::Object {
            repository: self.place.clone(),
            what: format!("commit {commit}"),
            source,
        };
        let id = ObjectId::from_hex(commit.as_str().as_bytes()).map_err(|error| missing(Cause(error.to_string())))?;
        if self.repository.has_object(id) { Ok(id) } else { Err(missing(Cause("it isn't there".to_owned()))) }
    }

    pub(super) fn tree_of(&self, commit: ObjectId) -> Result<ObjectId, GitError> {
        Ok(self.commit(commit)?.tree)
    }

    /// How many bytes a file has; [`UNKNOWN_SIZE`] if all that is known is that it builds on one that is too large.
    pub(super) fn size(&self, id: ObjectId, path: &str) -> Result<u64, GitError> {
        let error = match self.repository.find_header(id) {
            Ok(header) => return Ok(header.size()),
            Err(error) => error,
        };
        let files = left_out(self.repository.git_dir());
        if let Some(file) = files.iter().find(|file| file.id == Some(id)) {
            return Ok(file.size);
        }
        if files.iter().any(|file| file.id.is_none()) && !self.repository.has_object(id) {
            return Ok(UNKNOWN_SIZE);
        }
        Err(self.unreadable(format!("`{path}` ({id})"), &error))
    }

    /// The bytes of a file.
    pub(super) fn blob(&self, id: ObjectId, path: &str) -> Result<Vec<u8>, GitError> {
        let blob = self.repository.find_blob(id);
        blob.map(|mut blob| blob.take_data()).map_err(|error| self.unreadable(format!("`{path}` ({id})"), &error))
    }

    pub(super) fn tree(&self, id: ObjectId) -> Result<gix::Tree<'_>, GitError> {
        self.repository.find_tree(id).map_err(|error| self.unreadable(format!("tree {id}"), &error))
    }

    /// An object that can't be read. If this is a mirror, it is cloned again at the next poll.
    pub(super) fn unreadable(&self, what: String, error: &gix::Error) -> GitError {
        self.suspect.store(true, Ordering::SeqCst);
        let Cause(source) = Cause::of_gix(error);
        let source = Cause(self.why_missing.map_or(source.clone(), |why| format!("{source}; {why}")));
        GitError::Object { repository: self.place.clone(), what, source }
    }
}

/// The tree of a commit, as files are gathered from it.
struct Tree<'a> {
    objects: &'a Objects,
    root: ObjectId,
}

impl TreeSource for Tree<'_> {
    type Handle = ObjectId;
    type Error = GitError;

    fn list(&mut self, folder: Option<&ObjectId>) -> Result<Listing<ObjectId>, GitError> {
        let tree = self.objects.tree(*folder.unwrap_or(&self.root))?;
        let mut entries = Vec::new();
        for entry in tree.iter() {
            // Such a tree is what the server has: a new clone has the same.
            let Ok(entry) = entry else { return Ok(Err("it isn't as Git writes folders".to_owned())) };
            let (bytes, handle) = (entry.filename(), entry.object_id());
            let kind = match entry.mode().kind() {
                EntryKind::Tree => NodeKind::Folder,
                EntryKind::Blob | EntryKind::BlobExecutable => NodeKind::File,
                EntryKind::Link => NodeKind::Link,
                EntryKind::Commit => NodeKind::Submodule,
            };
            let name = bytes.to_str_lossy().into_owned();
            entries.push(Entry { name, legible: bytes.to_str().is_ok(), kind, handle });
        }
        Ok(Ok(entries))
    }

    fn size(&mut self, file: &ObjectId) -> Result<u64, GitError> {
        self.objects.size(*file, "a file")
    }

    fn read(&mut self, file: &ObjectId) -> Result<Vec<u8>, GitError> {
        self.objects.blob(*file, "a file")
    }
}
