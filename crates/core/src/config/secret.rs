//! Where a secret is, and reading it.

use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use thiserror::Error;

/// A file longer than this holds something else than a secret.
const MAX_LENGTH: u64 = 16 * 1024;

/// Where a secret is. `Debug` doesn't show it.
#[derive(Debug, Clone)]
pub enum Secret {
    /// In a file, to be read when it is needed, so that a rotated one is taken up.
    File(PathBuf),
    /// In an environment variable, as it was when the configuration was loaded.
    Environment {
        /// The variable's name.
        variable: String,
        /// Its value.
        value: SecretString,
    },
}

/// Two are the same if they are read from the same place; of a variable, if it holds the same. Both are the operator's own
/// settings, so nobody learns anything from how long comparing takes.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(path), Self::File(other)) => path == other,
            (Self::Environment { variable, value }, Self::Environment { variable: other, value: theirs }) => {
                variable == other && value.expose_secret() == theirs.expose_secret()
            }
            _ => false,
        }
    }
}

impl Eq for Secret {}

/// A secret can't be read.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The file can't be read.
    #[error("can't read the secret in {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file holds no secret.
    #[error("there is no secret in {}: it is {what}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
}

impl Secret {
    /// The secret as it is now, without blanks around it. Blocks for as long as reading a small file takes.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn read(&self) -> Result<SecretString, SecretError> {
        match self {
            Self::Environment { value, .. } => Ok(SecretString::from(value.expose_secret().trim())),
            Self::File(path) => read(path),
        }
    }

    /// The secrets as they are now, where more than one may count, as while one is rotated: one a line.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn read_lines(&self) -> Result<Vec<SecretString>, SecretError> {
        let whole = self.read()?;
        let lines = whole.expose_secret().lines().map(str::trim).filter(|line| !line.is_empty());
        Ok(lines.map(SecretString::from).collect())
    }
}

/// HMAC-SHA256 of a message.
#[must_use]
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    // It takes keys of any length.
    Hmac::<Sha256>::new_from_slice(key).map_or_else(
        |_| Vec::new(),
        |mut mac| {
            mac.update(message);
            mac.finalize().into_bytes().to_vec()
        },
    )
}

fn read(path: &Path) -> Result<SecretString, SecretError> {
    let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
    let unusable = |what| SecretError::Unusable { path: path.to_owned(), what };
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_LENGTH {
        return Err(unusable("too long"));
    }
    let text = SecretString::from(std::fs::read_to_string(path).map_err(unreadable)?);
    match text.expose_secret().trim() {
        "" => Err(unusable("empty")),
        secret => Ok(SecretString::from(secret)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_hold_the_next_secret_beside_the_present_one() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("secret");
        let secret = Secret::File(path.clone());
        assert!(matches!(secret.read(), Err(SecretError::Unreadable { .. })));
        std::fs::write(&path, " \n\n").unwrap();
        assert!(matches!(secret.read(), Err(SecretError::Unusable { what: "empty", .. })));
        std::fs::write(&path, "one\r\n\n two \n").unwrap();
        let lines: Vec<String> =
            secret.read_lines().unwrap().iter().map(|line| line.expose_secret().to_owned()).collect();
        assert_eq!(lines, ["one", "two"]);
        std::fs::write(&path, "x".repeat(20_000)).unwrap();
        assert!(matches!(secret.read(), Err(SecretError::Unusable { what: "too long", .. })));
        assert!(!format!("{secret:?}").contains("xx"));
    }

    #[test]
    fn a_variable_that_holds_something_else_is_another_secret() {
        let variable = |name: &str, value: &str| Secret::Environment { variable: name.to_owned(), value: value.into() };
        let file = |path: &str| Secret::File(PathBuf::from(path));
        assert_eq!(variable("A", "one"), variable("A", "one"));
        assert_ne!(variable("A", "one"), variable("A", "two"), "though `Debug` shows neither");
        assert_ne!(variable("A", "one"), variable("B", "one"));
        assert_eq!(file("a"), file("a"));
        assert_ne!(file("a"), file("b"));
        assert_ne!(file("a"), variable("a", ""));
    }
}
