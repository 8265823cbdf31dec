//! Reads a folder from disk as Git would: for `pinion validate`, which checks what isn't committed yet.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Bytes of one file at most, as for files of Git.
const LARGEST: u64 = 1 << 20;
/// Deeper than this nothing of ours lies.
const DEEPEST: usize = 16;

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

/// What [`load`](super::load) wants to see.
#[derive(Debug, Clone, Default)]
pub struct Folder {
    /// The files and their bytes, by path relative to the folder, with `/`.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What is there and was not read, and why.
    pub refused: BTreeMap<String, String>,
}

/// Reads what lies below [`FOLDERS`](super::FOLDERS) in `root`.
///
/// # Errors
/// [`ReadError`]. A missing folder is none: that is for [`load`](super::load) to report.
pub fn folder(root: &Path) -> Result<Folder, ReadError> {
    let mut folder = Folder::default();
    let failed = |source| ReadError { path: root.to_owned(), source };
    if !root.metadata().map_err(failed)?.is_dir() {
        return Err(failed(io::ErrorKind::NotADirectory.into()));
    }
    for name in super::FOLDERS {
        let path = root.join(name);
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => walk(&path, name, 0, &mut folder)?,
            Ok(_) => drop(folder.refused.insert(name.to_owned(), "this is not a folder".to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ReadError { path, source }),
        }
    }
    Ok(folder)
}

fn walk(path: &Path, name: &str, depth: usize, folder: &mut Folder) -> Result<(), ReadError> {
    let failed = |source| ReadError { path: path.to_owned(), source };
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let failed = |source| ReadError { path: path.clone(), source };
        let inner = format!("{name}/{}", entry.file_name().to_string_lossy());
        let metadata = path.symlink_metadata().map_err(failed)?;
        let refusal = if entry.file_name().to_str().is_none() {
            "its name is not UTF-8".to_owned()
        } else if metadata.is_symlink() {
            "symbolic links are not followed".to_owned()
        } else if metadata.is_dir() && depth < DEEPEST {
            walk(&path, &inner, depth + 1, folder)?;
            continue;
        } else if !metadata.is_file() {
            "this is not a file".to_owned()
        } else if metadata.len() > LARGEST {
            format!("it has {} bytes; {LARGEST} at most are read", metadata.len())
        } else {
            folder.files.insert(inner, std::fs::read(&path).map_err(failed)?);
            continue;
        };
        folder.refused.insert(inner, refusal);
    }
    Ok(())
}
