//! Trees and files at a commit, read from the object database and never checked out.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gix::ObjectId;
use gix::bstr::ByteSlice;
use gix::objs::tree::EntryKind;

use super::error::{Cause, GitError};
use super::fetch::local_name;
use pinion_core::model::CommitId;

/// How much is read of a tree at most. The default: 1 MiB a file, 10 000 files, 64 MiB in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Files, and folders, and whatever else a tree may hold.
    pub entries: usize,
    /// Bytes of all files.
    pub total_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file_bytes: 1 << 20, entries: 10_000, total_bytes: 64 << 20 }
    }
}

/// Deeper than this nothing of ours lies.
pub(super) const DEEPEST: usize = 16;

/// The files at a commit. Paths are those of Git: relative to the root, with `/`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Files {
    /// The files and their bytes.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What is there and was not read, and why: symbolic links, submodules, files that are too large, names that aren't
    /// UTF-8. Each is a mistake in its environment; none of them keeps the others from being read.
    pub refused: BTreeMap<String, String>,
}

/// The objects of a repository, as they were when this was opened.
pub struct Objects {
    pub(super) repository: gix::Repository,
    pub(super) place: String,
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
        Self { repository, place, suspect }
    }

    /// The files below some folders at a commit, with the default limits. A folder that isn't there has no files.
    ///
    /// # Errors
    /// As [`Objects::files_within`].
    pub fn files(&self, commit: &CommitId, folders: &[&str]) -> Result<Files, GitError> {
        self.files_within(commit, folders, Limits::default())
    }

    /// The files below some folders at a commit.
    ///
    /// # Errors
    /// [`GitError::Limit`] if there are too many files or too much of them; [`GitError::Object`] if the commit or what
    /// belongs to it can't be read.
    pub fn files_within(&self, commit: &CommitId, folders: &[&str], limits: Limits) -> Result<Files, GitError> {
        let mut reading = Reading { objects: self, commit, limits, entries: 0, bytes: 0, files: Files::default() };
        let root = self.tree_of(self.find(commit)?)?;
        for folder in folders {
            let mut tree = root;
            let mut found = true;
            for name in folder.split('/').filter(|name| !name.is_empty()) {
                match self.child(tree, name)? {
                    Some((id, EntryKind::Tree)) => tree = id,
                    Some((_, kind)) => {
                        let refused = format!("it is {}, not a folder", word(kind));
                        reading.files.refused.insert((*folder).to_owned(), refused);
                        found = false;
                        break;
                    }
                    None => {
                        found = false;
                        break;
                    }
                }
            }
            if found {
                reading.folder(folder.trim_matches('/'), tree, 0)?;
            }
        }
        Ok(reading.files)
    }

    /// Whether `ancestor` is `commit` or one of its ancestors. No if it isn't there.
    pub(super) fn descends(&self, commit: ObjectId, ancestor: ObjectId) -> bool {
        let base = self.repository.merge_base(commit, ancestor);
        base.ok().flatten().is_some_and(|base| base.detach() == ancestor)
    }

    /// The first parent of a commit: what the branch had before. `None` for the first one.
    ///
    /// # Errors
    /// [`GitError::Object`] if the commit can't be read.
    pub fn first_parent(&self, commit: &CommitId) -> Result<Option<CommitId>, GitError> {
        let id = self.find(commit)?;
        let read = self.repository.find_commit(id);
        let parent = read.map(|commit| commit.parent_ids().next().map(gix::Id::detach));
        let parent = parent.map_err(|error| self.unreadable(format!("commit {commit}"), &error))?;
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
        let commit_object = self.repository.find_commit(commit);
        let tree = commit_object.and_then(|commit| commit.tree_id().map(gix::Id::detach));
        tree.map_err(|error| self.unreadable(format!("commit {commit}"), &error))
    }

    /// The bytes of a file.
    pub(super) fn blob(&self, id: ObjectId, path: &str) -> Result<Vec<u8>, GitError> {
        let blob = self.repository.find_blob(id);
        blob.map(|mut blob| blob.take_data()).map_err(|error| self.unreadable(format!("`{path}` ({id})"), &error))
    }

    pub(super) fn tree(&self, id: ObjectId) -> Result<gix::Tree<'_>, GitError> {
        self.repository.find_tree(id).map_err(|error| self.unreadable(format!("tree {id}"), &error))
    }

    fn child(&self, tree: ObjectId, name: &str) -> Result<Option<(ObjectId, EntryKind)>, GitError> {
        let tree = self.tree(tree)?;
        let entry = tree.find_entry(name);
        Ok(entry.map(|entry| (entry.object_id(), entry.mode().kind())))
    }

    /// An object that can't be read. If this is a mirror, it is cloned again at the next poll.
    pub(super) fn unreadable(&self, what: String, error: &gix::Error) -> GitError {
        self.suspect.store(true, Ordering::SeqCst);
        GitError::Object { repository: self.place.clone(), what, source: Cause::of_gix(error) }
    }
}

struct Reading<'a> {
    objects: &'a Objects,
    commit: &'a CommitId,
    limits: Limits,
    entries: usize,
    bytes: u64,
    files: Files,
}

impl Reading<'_> {
    fn folder(&mut self, path: &str, id: ObjectId, depth: usize) -> Result<(), GitError> {
        if depth > DEEPEST {
            return Err(self.limit(path, format!("it lies more than {DEEPEST} folders deep")));
        }
        let objects = self.objects;
        let tree = objects.tree(id)?;
        // Two entries of one name, which only a forged tree has, would let one file hide another.
        let mut seen = HashSet::new();
        for entry in tree.iter() {
            let entry = entry.map_err(|error| objects.unreadable(format!("folder `{path}`"), &error))?;
            let name = entry.filename().to_str_lossy().into_owned();
            let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(self.limit(&path, format!("there are more than {} entries", self.limits.entries)));
            }
            let kind = entry.mode().kind();
            let refusal = if entry.filename().to_str().is_err() {
                Some("its name isn't UTF-8".to_owned())
            } else if matches!(name.as_str(), "" | "." | "..") || name.contains(['/', '\0']) {
                Some("no file can have this name".to_owned())
            } else if !seen.insert(name) {
                Some("there are two of this name".to_owned())
            } else if matches!(kind, EntryKind::Link | EntryKind::Commit) {
                Some(format!("it is {}, which Pinion doesn't follow; put the file itself there", word(kind)))
            } else {
                None
            };
            if let Some(refusal) = refusal {
                self.files.files.remove(&path);
                self.files.refused.insert(path, refusal);
            } else if kind == EntryKind::Tree {
                self.folder(&path, entry.object_id(), depth + 1)?;
            } else {
                self.file(path, entry.object_id())?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: String, id: ObjectId) -> Result<(), GitError> {
        let header = self.objects.repository.find_header(id);
        let size = header.map_err(|error| self.objects.unreadable(format!("`{path}` ({id})"), &error))?.size();
        if size > self.limits.file_bytes {
            let refusal = format!("it has {size} bytes; a file may have {}", self.limits.file_bytes);
            self.files.refused.insert(path, refusal);
            return Ok(());
        }
        self.bytes += size;
        if self.bytes > self.limits.total_bytes {
            return Err(self.limit(&path, format!("all files have more than {} bytes", self.limits.total_bytes)));
        }
        let bytes = self.objects.blob(id, &path)?;
        self.files.files.insert(path, bytes);
        Ok(())
    }

    fn limit(&self, path: &str, rule: String) -> GitError {
        GitError::Limit {
            repository: self.objects.place.clone(),
            path: path.to_owned(),
            commit: self.commit.to_string(),
            rule,
        }
    }
}

fn word(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Tree => "a folder",
        EntryKind::Blob | EntryKind::BlobExecutable => "a file",
        EntryKind::Link => "a symbolic link",
        EntryKind::Commit => "a submodule",
    }
}
