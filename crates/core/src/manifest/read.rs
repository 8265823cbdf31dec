//! Reads a folder from disk as Git would: for `pinion validate` and `pinion plan`, which check what isn't committed yet.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::gather::{self, Entry, Listing, NodeKind, TreeLimits, TreeSource};
use crate::model::Files;

/// A folder can't be read.
#[derive(Debug, Error)]
#[error("can't read {}", path.display())]
pub struct ReadError {
    /// The file or folder.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Reads what counts of the folder of a repository.
///
/// # Errors
/// [`ReadError`]. A missing `environments/` is none: that is for [`load`](super::load) to report.
pub fn folder(root: &Path) -> Result<Files, ReadError> {
    let failed = |source| ReadError { path: root.to_owned(), source };
    if !root.metadata().map_err(failed)?.is_dir() {
        return Err(failed(io::ErrorKind::NotADirectory.into()));
    }
    gather::gather(&mut Disk { root }, TreeLimits::default())
}

struct Disk<'a> {
    root: &'a Path,
}

impl TreeSource for Disk<'_> {
    type Handle = PathBuf;
    type Error = ReadError;

    fn list(&mut self, folder: Option<&PathBuf>) -> Result<Listing<PathBuf>, ReadError> {
        let path = folder.map_or(self.root, PathBuf::as_path);
        let failed = |source| ReadError { path: path.to_owned(), source };
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let handle = entry.path();
            let failed = |source| ReadError { path: handle.clone(), source };
            let metadata = handle.symlink_metadata().map_err(failed)?;
            let kind = if metadata.is_symlink() {
                NodeKind::Link
            } else if metadata.is_file() {
                NodeKind::File
            } else if !metadata.is_dir() {
                NodeKind::Other
            } else if is_repository(&handle) {
                NodeKind::Submodule
            } else if !holds_anything(&handle) {
                // Git has no empty folders.
                continue;
            } else {
                NodeKind::Folder
            };
            let legible = entry.file_name().to_str().is_some();
            let name = entry.file_name().to_string_lossy().into_owned();
            entries.push(Entry { name, legible, kind, handle });
        }
        // As Git has them, whatever the file system's order.
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Ok(entries))
    }

    fn size(&mut self, file: &PathBuf) -> Result<u64, ReadError> {
        let metadata = file.symlink_metadata().map_err(|source| ReadError { path: file.clone(), source })?;
        Ok(metadata.len())
    }

    fn read(&mut self, file: &PathBuf) -> Result<Vec<u8>, ReadError> {
        std::fs::read(file).map_err(|source| ReadError { path: file.clone(), source })
    }
}

/// Whether a folder is the work tree of another repository, which Git would commit as a submodule.
fn is_repository(path: &Path) -> bool {
    path.join(".git").symlink_metadata().is_ok()
}

/// Whether a folder, or one below it, holds anything but folders. Ends at the first thing that is found. What can't be read
/// holds something.
fn holds_anything(path: &Path) -> bool {
    let mut open = vec![path.to_owned()];
    while let Some(folder) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { return true };
        for entry in entries {
            match entry {
                Ok(entry) if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !is_repository(&entry.path()) => {
                    open.push(entry.path());
                }
                _ => return true,
            }
        }
    }
    false
}
