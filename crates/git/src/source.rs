//! Where a repository is and how to get in.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gix::url::Scheme;
use secrecy::{ExposeSecret, SecretString};

use super::error::{Cause, GitError};
use pinion_core::model::hex::sha256;

/// A token file longer than this holds something else.
const MAX_TOKEN_BYTES: u64 = 16 * 1024;

/// A repository to mirror.
#[derive(Debug, Clone)]
pub struct RepositorySource {
    /// `https://`, `http://`, `ssh://`, `user@host:path`, `git://`, `file://`, or a path. Without password or token.
    pub url: String,
    /// The branches to follow, without `refs/heads/`.
    pub branches: BTreeSet<String>,
    /// How to get in.
    pub auth: Auth,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long the server may send nothing.
    pub stall_timeout: Duration,
    /// How long a conversation may take in all.
    pub poll_timeout: Duration,
}

/// How to get in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Auth {
    /// As anybody; for ssh, as the system's `ssh` is set up.
    #[default]
    None,
    /// With a token, as the password of HTTP's basic authentication. The URL's user, if any, goes with it.
    Token(TokenSource),
    /// With an SSH private key in a file. It must not need a passphrase.
    SshKeyFile(PathBuf),
}

/// Where a token comes from. `Debug` doesn't show it.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// A file, read at each poll, so that a rotated token is taken up.
    File(PathBuf),
    /// An environment variable, as it was at start.
    Environment {
        /// The variable's name.
        variable: String,
        /// Its value.
        token: SecretString,
    },
}

/// Two are the same if they are read from the same place; of a variable, if it holds the same. Both are the operator's own
/// settings, so nobody learns anything from how long comparing takes.
impl PartialEq for TokenSource {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(path), Self::File(other)) => path == other,
            (Self::Environment { variable, token }, Self::Environment { variable: other, token: theirs }) => {
                variable == other && token.expose_secret() == theirs.expose_secret()
            }
            _ => false,
        }
    }
}

impl Eq for TokenSource {}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment { variable, .. } => write!(f, "${variable}"),
        }
    }
}

impl TokenSource {
    fn read(&self, url: &str) -> Result<SecretString, GitError> {
        let failed =
            |reason: String| GitError::Token { url: url.to_owned(), path: self.to_string(), source: Cause(reason) };
        let token = match self {
            Self::Environment { token, .. } => token.clone(),
            Self::File(path) => {
                let length = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
                if length > MAX_TOKEN_BYTES {
                    return Err(failed(format!("it has {length} bytes, which is too long for a token")));
                }
                SecretString::from(std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?)
            }
        };
        let token = SecretString::from(token.expose_secret().trim());
        if token.expose_secret().is_empty() {
            return Err(failed("it is empty".to_owned()));
        }
        if token.expose_secret().chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(failed("it has spaces, line breaks or control characters in the middle".to_owned()));
        }
        Ok(token)
    }
}

/// The programs that some URLs need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// For ssh URLs: OpenSSH's client, or what takes the same arguments.
    pub ssh: OsString,
    /// For file URLs.
    pub git: OsString,
}

impl Default for Programs {
    fn default() -> Self {
        Self { ssh: "ssh".into(), git: "git".into() }
    }
}

/// A source that has been looked through.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    pub(super) url: gix::Url,
    /// For people: without user where the user may be a secret.
    pub(super) shown: String,
    /// For https: the user that goes with the token.
    pub(super) user: String,
    pub(super) auth: Auth,
    pub(super) connect_timeout: Duration,
    pub(super) stall_timeout: Duration,
    pub(super) poll_timeout: Duration,
}

impl Remote {
    /// Checks URL and authentication against each other.
    pub(super) fn new(source: &RepositorySource) -> Result<Self, GitError> {
        let bad = |shown: &str, reason: &str| GitError::Url { url: shown.to_owned(), reason: reason.to_owned() };
        // Until it is parsed the URL might hold a password anywhere: show what follows the last `@`.
        let tail = source.url.rsplit('@').next().unwrap_or_default();
        let mut url = gix::url::parse(source.url.as_str())
            .map_err(|_| bad(tail, "it isn't a URL; write it like https://host/owner/repository.git"))?;
        let user = url.user().map(str::to_owned);
        let password = url.set_password(None);
        let http = matches!(url.scheme, Scheme::Http | Scheme::Https);
        if http {
            url.set_user(None);
        }
        let shown = url.to_string();
        if password.is_some() {
            return Err(bad(&shown, "it holds a password; take it out, revoke it, and use `token_file`"));
        }
        if http && user.is_some() && !matches!(source.auth, Auth::Token(_)) {
            return Err(bad(&shown, "it holds a user, or a token in its place; take it out and use `token_file`"));
        }
        match url.scheme {
            Scheme::Http | Scheme::Https | Scheme::Ssh | Scheme::Git | Scheme::File => {}
            _ => return Err(bad(&shown, "its scheme isn't known; use https, ssh or file")),
        }
        match (&source.auth, &url.scheme) {
            (Auth::None, _) | (Auth::Token(_), Scheme::Https) | (Auth::SshKeyFile(_), Scheme::Ssh) => {}
            (Auth::Token(_), Scheme::Http) if is_loopback(&url) => {}
            (Auth::Token(_), Scheme::Http) => {
                return Err(bad(&shown, "a token isn't sent in clear text over the network; use https"));
            }
            (Auth::Token(_), _) => {
                return Err(bad(&shown, "a token works with https only; for ssh use `ssh_key_file`"));
            }
            (Auth::SshKeyFile(_), _) => {
                return Err(bad(&shown, "an SSH key works with ssh URLs only; use `token_file`"));
            }
        }
        // What starts with a dash would be an option to ssh or git, not a name.
        let dashed = |part: Option<&str>| part.is_some_and(|part| part.starts_with('-'));
        if dashed(url.host()) || dashed(url.user()) || url.path.starts_with(b"-") {
            return Err(bad(&shown, "its user, host or path starts with a dash"));
        }
        if source.branches.is_empty() {
            return Err(bad(&shown, "no branch is named; set `branch`"));
        }
        for branch in &source.branches {
            let full = format!("refs/heads/{branch}");
            if gix::validate::reference::name(full.as_str().into()).is_err() || branch.contains('*') {
                return Err(bad(&shown, &format!("`{branch}` can't be the name of a branch")));
            }
        }
        Ok(Self {
            url,
            shown,
            user: user.unwrap_or_else(|| "x-access-token".to_owned()),
            auth: source.auth.clone(),
            connect_timeout: source.connect_timeout,
            stall_timeout: source.stall_timeout,
            poll_timeout: source.poll_timeout,
        })
    }

    /// The token to send now, if one is configured.
    pub(super) fn token(&self) -> Result<Option<SecretString>, GitError> {
        match &self.auth {
            Auth::Token(source) => source.read(&self.shown).map(Some),
            Auth::None | Auth::SshKeyFile(_) => Ok(None),
        }
    }

    /// The name of the mirror's folder: readable, and different for a different URL or way in. No secret feeds it.
    pub(super) fn folder(&self) -> String {
        let way_in = match &self.auth {
            Auth::None => String::new(),
            Auth::Token(source) => format!("token {source} {}", self.user),
            Auth::SshKeyFile(path) => format!("key {}", path.display()),
        };
        let hash = sha256(format!("{}\n{way_in}", self.url), 12);
        let path = self.url.path.to_string();
        let name = Path::new(&path).file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name: String =
            name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).take(40).collect();
        format!("{}-{hash}", if name.is_empty() { "repository" } else { &name })
    }
}

fn is_loopback(url: &gix::Url) -> bool {
    url.host().is_some_and(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}
