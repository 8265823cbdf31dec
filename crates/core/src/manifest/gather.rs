//! What is read of a repository, from a folder on disk as from a commit: one walk for both, so that `validate`, `plan` and
//! `run` see the same files, and refuse the same ones.
//!
//! Of an environment's folder only its own files count. What else lies there, in whatever number, depth or shape, is another
//! tool's, and isn't looked at; so nothing in one folder keeps another one from being read.

use std::collections::BTreeSet;

use super::{DEFAULTS, ROOT, misplaced};
use crate::model::{EnvironmentName, Files};

/// How much is read at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeLimits {
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Environments.
    pub environments: usize,
    /// Files and folders below `policies/`.
    pub policies: usize,
    /// Bytes of all files.
    pub total_bytes: u64,
    /// Folders below each other in `policies/`.
    pub depth: usize,
}

/// 1 MiB a file, 10 000 environments, 10 000 entries of `policies/` at most 16 deep, 2 MiB in all: files take up to 60
/// times their size while they are read.
impl Default for TreeLimits {
    fn default() -> Self {
        Self { file_bytes: 1 << 20, environments: 10_000, policies: 10_000, total_bytes: 2 << 20, depth: 16 }
    }
}

/// What an entry of a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A submodule.
    Submodule,
    /// A socket, a device, or the like.
    Other,
}

impl NodeKind {
    fn word(self) -> &'static str {
        match self {
            Self::File => "a file",
            Self::Folder => "a folder",
            Self::Link => "a symbolic link",
            Self::Submodule => "a submodule",
            Self::Other => "neither a file nor a folder",
        }
    }

    /// Why this isn't taken where a file is wanted.
    fn refusal(self) -> String {
        match self {
            Self::Link | Self::Submodule => {
                format!("it is {}, which Pinion doesn't follow; put the file itself there", self.word())
            }
            kind => format!("it is {}, not a file", kind.word()),
        }
    }
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<H> {
    /// Its name; for people only if it isn't UTF-8.
    pub name: String,
    /// Whether the name is UTF-8.
    pub legible: bool,
    /// What it is.
    pub kind: NodeKind,
    /// What it is read by.
    pub handle: H,
}

/// The entries of a folder, or why it makes no sense.
pub type Listing<H> = Result<Vec<Entry<H>>, String>;

/// The size of a file that is too large for it to be known.
pub const UNKNOWN_SIZE: u64 = u64::MAX;

/// Where files are read from.
pub trait TreeSource {
    /// What a file or folder is read by.
    type Handle;
    /// Why nothing at all can be read.
    type Error;

    /// The entries of a folder, of the root without a handle; or why this folder makes no sense.
    ///
    /// # Errors
    /// Only if trying again later may help.
    fn list(&mut self, folder: Option<&Self::Handle>) -> Result<Listing<Self::Handle>, Self::Error>;

    /// How many bytes a file has; [`UNKNOWN_SIZE`] if it is too large for that to be known.
    ///
    /// # Errors
    /// Only if trying again later may help.
    fn size(&mut self, file: &Self::Handle) -> Result<u64, Self::Error>;

    /// The bytes of a file.
    ///
    /// # Errors
    /// Only if trying again later may help.
    fn read(&mut self, file: &Self::Handle) -> Result<Vec<u8>, Self::Error>;
}

/// Reads what counts.
///
/// # Errors
/// As the source. What is wrong with the repository itself is in [`Files::refused`].
pub fn gather<S: TreeSource>(source: &mut S, limits: TreeLimits) -> Result<Files, S::Error> {
    let mut walk = Walk { source, limits, bytes: 0, policies: 0, files: Files::default() };
    let root = match walk.source.list(None)? {
        Ok(root) => root,
        Err(reason) => {
            walk.files.refused.insert(ROOT.to_owned(), reason);
            return Ok(walk.files);
        }
    };
    let mut found = false;
    for entry in &root {
        match (entry.name.as_str(), entry.kind) {
            (ROOT, NodeKind::Folder) => {
                found = true;
                walk.environments(&entry.handle)?;
            }
            (POLICIES, NodeKind::Folder) => walk.policies(POLICIES, &entry.handle, 0)?,
            (name @ (ROOT | POLICIES), kind) => {
                found |= name == ROOT;
                walk.files.refused.insert(name.to_owned(), format!("it is {}, not a folder", kind.word()));
            }
            _ => {}
        }
    }
    walk.misplaced(&root, found)?;
    if walk.bytes > limits.total_bytes {
        let reason = format!(
            "its files and those of policies/ have more than {} bytes together; remove what isn't needed, or divide the repository",
            limits.total_bytes
        );
        walk.whole(ROOT, reason);
    }
    Ok(walk.files)
}

/// The folder of the guardrails.
pub(super) const POLICIES: &str = "policies";
/// So many folders that don't count are looked into, for what was probably meant to.
const MAX_LOOKED_AT: usize = 64;

/// The files of an environment.
pub(super) const OWN: [&str; 2] = ["environment.toml", "pins.toml"];

struct Walk<'a, S: TreeSource> {
    source: &'a mut S,
    limits: TreeLimits,
    bytes: u64,
    policies: usize,
    files: Files,
}

impl<S: TreeSource> Walk<'_, S> {
    fn environments(&mut self, folder: &S::Handle) -> Result<(), S::Error> {
        let entries = match self.source.list(Some(folder))? {
            Ok(entries) => entries,
            Err(reason) => {
                self.files.refused.insert(ROOT.to_owned(), reason);
                return Ok(());
            }
        };
        let mut count = 0;
        let mut seen = BTreeSet::new();
        for entry in entries.iter().filter(|entry| !entry.name.starts_with('.')) {
            // A name with a slash, which only a forged tree has, must not be taken for a path.
            let name = entry.name.replace(['/', '\0'], "?");
            let path = format!("{ROOT}/{name}");
            let twice = !seen.insert(name.clone());
            let is_name = entry.legible && EnvironmentName::try_from(name.as_str()).is_ok();
            match entry.kind {
                NodeKind::Folder if twice => self.refuse_folder(&path, "there are two of this name".to_owned()),
                NodeKind::Folder if !entry.legible => self.refuse_folder(&path, "its name isn't UTF-8".to_owned()),
                NodeKind::Folder => {
                    count += 1;
                    if count > self.limits.environments {
                        let most = self.limits.environments;
                        self.whole(ROOT, format!("there are more than {most} environments in it"));
                        return Ok(());
                    }
                    self.environment(&path, &entry.handle)?;
                }
                _ if path == DEFAULTS => self.file(&path, entry)?,
                // A link to a folder looks like an environment; one with another name is another tool's.
                NodeKind::Link | NodeKind::Submodule if is_name => {
                    self.refuse_folder(&path, format!("it is {}, which Pinion doesn't follow", entry.kind.word()));
                }
                NodeKind::File
                    if entry.legible && (is_stray(&name) || is_policy(&name) || misplaced::is_like_defaults(&name)) =>
                {
                    self.files.files.insert(path, Vec::new());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes a folder out, with what was read of it.
    fn refuse_folder(&mut self, path: &str, reason: String) {
        let below = format!("{path}/");
        self.files.files.retain(|file, _| !file.starts_with(&below));
        self.files.refused.retain(|file, _| !file.starts_with(&below));
        self.files.refused.insert(path.to_owned(), reason);
    }

    /// Takes everything below a folder of the root out.
    fn whole(&mut self, root: &str, reason: String) {
        self.refuse_folder(root, reason);
    }

    fn environment(&mut self, path: &str, folder: &S::Handle) -> Result<(), S::Error> {
        let entries = match self.source.list(Some(folder))? {
            Ok(entries) => entries,
            Err(reason) => {
                self.files.refused.insert(path.to_owned(), reason);
                return Ok(());
            }
        };
        let mut has_any = false;
        let mut shown = false;
        let mut has_policy = false;
        for entry in entries.iter().filter(|entry| entry.legible && !entry.name.starts_with('.')) {
            has_any = true;
            let name = entry.name.as_str();
            let inner = format!("{path}/{name}");
            if OWN.contains(&name) {
                shown = true;
                if self.files.files.contains_key(&inner) || self.files.refused.contains_key(&inner) {
                    self.files.files.remove(&inner);
                    self.files.refused.insert(inner, "there are two of this name".to_owned());
                } else {
                    self.file(&inner, entry)?;
                }
            } else if entry.kind != NodeKind::Folder
                && !name.contains(['/', '\0'])
                && (is_stray(name) || misplaced::is_like_own(name))
            {
                shown = true;
                self.files.files.insert(inner, Vec::new());
            } else if entry.kind == NodeKind::File && !has_policy && is_policy(name) && !name.contains(['/', '\0']) {
                has_policy = true;
                self.files.files.insert(inner, Vec::new());
            }
        }
        if has_any && !shown {
            self.files.files.insert(format!("{path}/"), Vec::new());
            // Those who put environments below each other put them here.
            let mut left = MAX_LOOKED_AT;
            let is_own = |name: &str| OWN.contains(&name);
            if let Some(own) = self.find(path, folder, is_own, &mut left)? {
                self.files.files.insert(own, Vec::new());
            }
        }
        Ok(())
    }

    /// Notes what lies at the root and was probably meant for a place where it would count. Only the names are kept.
    fn misplaced(&mut self, root: &[Entry<S::Handle>], found: bool) -> Result<(), S::Error> {
        let mut left = MAX_LOOKED_AT;
        for entry in in_order(root) {
            let name = entry.name.as_str();
            match entry.kind {
                NodeKind::File if is_policy(name) || name == "defaults.toml" || (!found && OWN.contains(&name)) => {
                    self.files.files.insert(name.to_owned(), Vec::new());
                }
                NodeKind::Folder if name == ROOT || name == POLICIES || name.starts_with('.') => {}
                NodeKind::Folder if misplaced::is_like_policies(name) => {
                    if let Some(path) = self.find(name, &entry.handle, is_policy, &mut left)? {
                        self.files.files.insert(path, Vec::new());
                    }
                }
                NodeKind::Folder if misplaced::is_like_environments(name) => {
                    let is_own = |name: &str| OWN.contains(&name);
                    let holds = found.then(|| self.find(name, &entry.handle, is_own, &mut left)).transpose()?;
                    if !matches!(holds, Some(None)) {
                        self.files.files.insert(format!("{name}/"), Vec::new());
                    }
                }
                NodeKind::Folder if !found && left > 0 => {
                    left -= 1;
                    let Ok(inner) = self.source.list(Some(&entry.handle))? else { continue };
                    if inner.iter().any(|inner| inner.name == ROOT && inner.kind == NodeKind::Folder) {
                        self.files.files.insert(format!("{name}/{ROOT}/"), Vec::new());
                    }
                    if let Some(own) = in_order(&inner).iter().find(|inner| OWN.contains(&inner.name.as_str())) {
                        self.files.files.insert(format!("{name}/{}", own.name), Vec::new());
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The path of a file below a folder that is `wanted` by its name. At most so many folders as are `left` are looked into, two
    /// deep.
    fn find(
        &mut self,
        path: &str,
        folder: &S::Handle,
        wanted: fn(&str) -> bool,
        left: &mut usize,
    ) -> Result<Option<String>, S::Error> {
        let Ok(entries) = self.list_some(folder, left)? else { return Ok(None) };
        let is_wanted = |entry: &&Entry<S::Handle>| entry.kind == NodeKind::File && wanted(&entry.name);
        let entries = in_order(&entries);
        if let Some(file) = entries.iter().copied().find(is_wanted) {
            return Ok(Some(format!("{path}/{}", file.name)));
        }
        for inner in entries.iter().filter(|inner| inner.kind == NodeKind::Folder) {
            let Ok(files) = self.list_some(&inner.handle, left)? else { continue };
            if let Some(file) = in_order(&files).into_iter().find(is_wanted) {
                return Ok(Some(format!("{path}/{}/{}", inner.name, file.name)));
            }
        }
        Ok(None)
    }

    /// The entries of a folder, unless enough were looked into.
    fn list_some(&mut self, folder: &S::Handle, left: &mut usize) -> Result<Listing<S::Handle>, S::Error> {
        match left.checked_sub(1) {
            Some(rest) => {
                *left = rest;
                self.source.list(Some(folder))
            }
            None => Ok(Err(String::new())),
        }
    }

    fn policies(&mut self, path: &str, folder: &S::Handle, depth: usize) -> Result<(), S::Error> {
        if depth > self.limits.depth {
            let reason = format!("it lies more than {} folders deep", self.limits.depth);
            self.files.refused.insert(path.to_owned(), reason);
            return Ok(());
        }
        let entries = match self.source.list(Some(folder))? {
            Ok(entries) => entries,
            Err(reason) => {
                self.files.refused.insert(path.to_owned(), reason);
                return Ok(());
            }
        };
        for entry in &entries {
            self.policies += 1;
            if self.policies > self.limits.policies {
                let most = self.limits.policies;
                self.whole(POLICIES, format!("there are more than {most} files and folders in it"));
                return Ok(());
            }
            let inner = format!("{path}/{}", entry.name.replace(['/', '\0'], "?"));
            let twice = self.files.files.contains_key(&inner) || self.files.refused.contains_key(&inner);
            match entry.kind {
                NodeKind::Folder if entry.legible => self.policies(&inner, &entry.handle, depth + 1)?,
                NodeKind::File if !is_policy(&entry.name) => {
                    if entry.legible && misplaced::is_like_policy(&entry.name) {
                        self.files.files.insert(inner, Vec::new());
                    }
                }
                _ if twice => {
                    self.files.files.remove(&inner);
                    self.files.refused.insert(inner, "there are two of this name".to_owned());
                }
                NodeKind::File if entry.legible => self.file(&inner, entry)?,
                NodeKind::File | NodeKind::Folder => {
                    self.files.refused.insert(inner, "its name isn't UTF-8".to_owned());
                }
                // It may be a policy, or a folder of them.
                kind => drop(self.files.refused.insert(inner, kind.refusal())),
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &str, entry: &Entry<S::Handle>) -> Result<(), S::Error> {
        let refusal = if entry.kind == NodeKind::File {
            let (size, most) = (self.source.size(&entry.handle)?, self.limits.file_bytes);
            if size <= most {
                self.bytes = self.bytes.saturating_add(size);
                if self.bytes <= self.limits.total_bytes {
                    let bytes = self.source.read(&entry.handle)?;
                    self.files.files.insert(path.to_owned(), bytes);
                }
                return Ok(());
            }
            if size == UNKNOWN_SIZE {
                format!(
                    "it was left out, as it is stored as a difference from a far larger file; a file may have {most} bytes"
                )
            } else {
                format!("it has {size} bytes; a file may have {most}")
            }
        } else {
            entry.kind.refusal()
        };
        self.files.refused.insert(path.to_owned(), refusal);
        Ok(())
    }
}

/// Whether somebody may think that this file counts.
pub(super) fn is_stray(name: &str) -> bool {
    extension(name).as_deref() == Some("toml")
}

/// The entries whose names can be written down, by name: Git orders folders as if they ended in a slash, and a disk doesn't.
fn in_order<H>(entries: &[Entry<H>]) -> Vec<&Entry<H>> {
    let legible = |entry: &&Entry<H>| entry.legible && !entry.name.contains(['/', '\0']);
    let mut entries: Vec<&Entry<H>> = entries.iter().filter(legible).collect();
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    entries
}

pub(super) fn is_policy(name: &str) -> bool {
    extension(name).as_deref() == Some("cedar")
}

pub(super) fn extension(path: &str) -> Option<String> {
    path.rsplit('/').next()?.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase())
}
