//! Keeping the world in a file, so that a killed simulator goes on where it was.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::world::World;

/// Why the state can't be kept.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file can't be read or written.
    #[error("can't use the state file {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file holds something else than a world of this version.
    #[error("{path} does not hold the state of a simulator of this version; delete it to start afresh")]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// The world in a file; `None` if there is no such file.
pub(crate) fn load(path: &Path) -> Result<Option<World>, StateError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StateError::Io { path: path.to_owned(), source }),
    };
    serde_json::from_slice(&text).map(Some).map_err(|source| StateError::Format { path: path.to_owned(), source })
}

/// Saves the world.
pub(crate) fn save(path: &Path, world: &[u8]) -> Result<(), StateError> {
    replace(path, world).map_err(|source| StateError::Io { path: path.to_owned(), source })
}

/// Replaces a file in one step: a reader sees what was in it or what is to be.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
