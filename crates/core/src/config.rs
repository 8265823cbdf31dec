//! `pinion.toml`: what it may hold, what it means, and what flags and environment variables say instead.
//!
//! Flags beat environment variables, which beat the file. All that is wrong with the file comes at once. Secrets are
//! only ever named here, by file or variable.

mod notifications;
mod overrides;
mod raw;
mod resolve;
mod secret;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

pub(crate) use self::notifications::host_and_path;
pub use self::notifications::{Address, Forge, ForgeKind, Format, Notify};
pub use self::overrides::{LogFormat, Overrides};
use self::raw::RawConfig;
pub use self::secret::{Secret, SecretError, hmac_sha256};
use crate::manifest::shape::Shape as _;
use crate::manifest::tree::Node;
use crate::manifest::{self, Findings};
use crate::model::{CommitId, EnvironmentName, Installation};
use crate::plan::change_limit::ChangeLimits;

/// The file that is read where none is named.
pub const DEFAULT_FILE: &str = "pinion.toml";

/// How the controller works. Checked, complete, with paths that don't depend on the working folder's whims: relative
/// ones are relative to the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The repositories, in the file's order; at least one.
    pub repositories: Vec<Repository>,
    /// How often to reconcile, and how much at a time.
    pub reconcile: Reconcile,
    /// What this installation is called in the markers that it leaves in AWS.
    pub installation: Installation,
    /// What one commit may not do unnoticed.
    pub change_limits: ChangeLimits,
    /// Where to listen.
    pub server: Server,
    /// What push events are signed with; a file has one secret a line. `None`: they are refused.
    pub hooks: Option<Secret>,
    /// Who is notified of events, in the file's order.
    pub notify: Vec<Notify>,
    /// Hosts that probes may ask although their addresses are link-local or of AWS's metadata services.
    pub probe_hosts: BTreeSet<String>,
    /// How to reach AWS.
    pub aws: Aws,
    /// How much of what has happened to keep.
    pub history: History,
    /// How to log.
    pub log: Log,
    /// The folder of the mirrors and of the history. It may be deleted at any time.
    pub cache_dir: PathBuf,
    /// How long what is in flight may take to finish after a signal to end.
    pub grace_period: Duration,
}

/// One branch of one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Its URL or path, without password or token.
    pub url: String,
    /// Its branch, without `refs/heads/`.
    pub branch: String,
    /// How often to poll it.
    pub interval: Duration,
    /// The environments that it feeds; `None` means all that it has.
    pub environments: Option<BTreeSet<EnvironmentName>>,
    /// How to get in.
    pub auth: Auth,
    /// The forge where its commits get statuses.
    pub forge: Option<Forge>,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long the server may send nothing.
    pub stall_timeout: Duration,
    /// How long a poll may take in all.
    pub poll_timeout: Duration,
    /// Whose signatures count; `None` if none are asked for.
    pub verify: Option<Verify>,
}

/// Whose signatures count on a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verify {
    /// The allowed-signers file of those who sign with SSH keys.
    pub allowed_signers: Option<PathBuf>,
    /// The OpenPGP certificates of those who sign with them.
    pub keyring: Option<PathBuf>,
    /// The keys, of either kind, that may sign merges in anybody's name.
    pub forge_keys: Option<PathBuf>,
    /// The commit that is trusted with all that came before it.
    pub since: Option<CommitId>,
}

/// How to get into a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// As anybody, or as the system's `ssh` is set up.
    None,
    /// With a token.
    Token(Secret),
    /// With an SSH private key in this file.
    SshKeyFile(PathBuf),
}

/// How often to reconcile, and how much at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconcile {
    /// Between two passes of an environment at rest.
    pub interval: Duration,
    /// Between two passes of an environment in which a rollout runs.
    pub in_flight_interval: Duration,
    /// Between two looks for a newer revision to take a target's shape from.
    pub base_interval: Duration,
    /// Passes of environments at the same time.
    pub concurrency: usize,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The address.
    pub listen: SocketAddr,
    /// The bearer token for requests that change anything. Without one nobody may.
    pub token: Option<Secret>,
}

/// How to reach AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aws {
    /// An endpoint for all services instead of AWS's own.
    pub endpoint_url: Option<String>,
}

/// How much of what has happened to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// For how long.
    pub keep: Duration,
    /// How many events at most.
    pub events: u64,
}

/// How to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// What the lines look like; `None` means what suits where they go.
    pub format: Option<LogFormat>,
    /// What is logged, such as `pinion=debug,warn`.
    pub filter: Option<String>,
}

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the configuration {}; name another file with --config", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is wrong.
    #[error("the configuration {} is wrong", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All that is wrong with it.
        #[source]
        findings: Findings,
    },
}

/// Looks up environment variables.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Config {
    /// Reads a file and this process's environment variables.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let bytes = std::fs::read(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(path, &bytes, overrides, &|variable| std::env::var(variable).ok())
    }

    /// Reads the bytes of a file at `path`, which isn't touched.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn parse(
        path: &Path,
        bytes: &[u8],
        overrides: &Overrides,
        environment: Environment<'_>,
    ) -> Result<Self, ConfigError> {
        let mut findings = Findings::default();
        let node = Node::parse(&path.display().to_string(), bytes, &mut findings);
        let raw = node.and_then(|node| Some((RawConfig::read(&node, &mut findings)?, node.place)));
        let folder = path.parent().unwrap_or(Path::new(""));
        let resolver = resolve::Resolver { folder, overrides, environment, findings: &mut findings };
        match raw.and_then(|(raw, place)| resolver.config(&raw, &place)) {
            Some(config) if findings.is_empty() => Ok(config),
            _ => Err(ConfigError::Invalid { path: path.to_owned(), findings }),
        }
    }
}

/// The JSON Schema of `pinion.toml`.
#[must_use]
pub fn schema() -> serde_json::Value {
    manifest::schema::of::<RawConfig>("pinion.toml")
}
