//! The traits that planning's effects go through, and the classes of their errors. Reading and writing are two traits.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use crate::model::event::Event;
use crate::model::status::RefusedCommit;
use crate::model::survey::Survey;
use crate::model::{
    Account, AccountId, Artifact, ArtifactQuery, CommitId, Digest, EnvironmentName, ImageReference, LocalRef,
    ObservedTarget, Probe, Provenance, RolloutHistory, TargetRef, TargetSpec, Trailer,
};
use crate::plan::Action;

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorClass {
    /// Try again later: throttled, timed out, a fault on their side.
    Retry,
    /// Not allowed. Trying again helps only after somebody changed a policy.
    Denied,
    /// Somebody else was there first, or what we read is stale: observe again.
    Conflict,
    /// The request is wrong and stays wrong.
    Invalid,
}

impl ErrorClass {
    /// The word for it, as in metrics: `retry`, `denied`, `conflict`, `invalid`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Denied => "denied",
            Self::Conflict => "conflict",
            Self::Invalid => "invalid",
        }
    }
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct PortError {
    /// What to do about it.
    pub class: ErrorClass,
    /// The service's name in IAM: `autoscaling`, `ec2`, `ecs`, `ecr`, `ssm`, `sts`.
    pub service: &'static str,
    /// The operation: `StartInstanceRefresh`.
    pub operation: &'static str,
    /// AWS's error code, or one of ours for what never reached AWS: `Timeout`, `Connection`.
    pub code: String,
    /// AWS's message, and of a refusal what to do about it.
    pub message: String,
    /// AWS's request id.
    pub request_id: Option<String>,
    /// Whether AWS asked for fewer calls.
    pub throttled: bool,
}

impl PortError {
    /// Whether the call may have taken effect all the same: what is lost may be the answer alone.
    #[must_use]
    pub fn is_unsure(&self) -> bool {
        self.class == ErrorClass::Retry && !self.throttled
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} failed: {}", self.service, self.operation, self.code)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        match &self.request_id {
            Some(id) => write!(f, " (request {id})"),
            None => Ok(()),
        }
    }
}

/// Why a pin doesn't resolve to an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// There is no such image, or it can't be used. The text says what was looked for, where, and what to do.
    #[error("{0}")]
    Unusable(String),
    /// Looking failed.
    #[error(transparent)]
    Call(#[from] PortError),
}

/// Reads one account. Implementations batch, and read nothing twice that can't change.
#[async_trait]
pub trait Observe: Send + Sync {
    /// The account that the credentials in use belong to. Asked of AWS once for each set of credentials.
    async fn identity(&self) -> Result<AccountId, PortError>;

    /// Resolves artifacts. The answer has each query that was asked.
    async fn resolve(
        &self,
        queries: &BTreeSet<ArtifactQuery>,
    ) -> BTreeMap<ArtifactQuery, Result<Artifact, ResolveError>>;

    /// Observes targets. The answer has each target that was asked for.
    async fn observe(
        &self,
        targets: &BTreeMap<LocalRef, TargetSpec>,
    ) -> BTreeMap<LocalRef, Result<ObservedTarget, PortError>>;

    /// What AWS remembers about a target's rollouts.
    async fn history(&self, observed: &ObservedTarget) -> Result<RolloutHistory, PortError>;

    /// Forgets what was read and may have changed since (resolved artifacts). What can't change is kept.
    fn forget(&self);
}

/// Reads what only a forecast wants to know. Fails softly: what can't be read is named in the answer.
#[async_trait]
pub trait Surveyor: Send + Sync {
    /// Surveys a target that was observed, and the artifact that it is to get, if there is one.
    async fn survey(&self, target: &TargetSpec, observed: &ObservedTarget, next: Option<&Artifact>) -> Survey;

    /// The versions of which there is an artifact that this account can use, each with an image's digest.
    async fn versions(&self, pattern: &Pattern) -> Result<BTreeMap<String, Option<Digest>>, PortError>;
}

/// What the artifacts of a component are called: what stands before and after the version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// The name of an AMI.
    AmiName {
        /// What stands before the version.
        before: String,
        /// What stands after it.
        after: String,
        /// The owning account, if it matters.
        owner: Option<AccountId>,
    },
    /// The tag of an AMI.
    AmiTag {
        /// The tag's key.
        key: String,
        /// What stands before the version in its value.
        before: String,
        /// What stands after it.
        after: String,
        /// The other tags that the AMI must have.
        others: BTreeMap<String, String>,
        /// The owning account, if it matters.
        owner: Option<AccountId>,
    },
    /// The tag of an image in ECR.
    ImageTag {
        /// Any image of the repository.
        reference: ImageReference,
        /// What stands before the version in a tag.
        before: String,
        /// What stands after it.
        after: String,
    },
}

/// Where a branch points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tip {
    /// The commit.
    pub commit: CommitId,
    /// Whether the branch was moved to a commit that doesn't descend from the earlier one.
    pub forced: bool,
}

/// A poll, a read or a walk of a repository that failed. The text says what, where and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct RepositoryError(pub String);

/// Files of a repository, by their paths in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Files {
    /// Their bytes.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What isn't read, such as a symbolic link or a file that is too large, and why.
    pub refused: BTreeMap<String, String>,
}

/// The value of one pin: the path of its `pins.toml` and its component.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PinKey {
    /// The file's path in the repository.
    pub path: String,
    /// The component, as it stands there.
    pub component: String,
}

/// What the signatures on a branch allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The commit that counts. `None` if none does.
    pub accepted: Option<CommitId>,
    /// Whether signatures were checked at all.
    pub checked: bool,
    /// How many commits are refused.
    pub refused: usize,
    /// The refused commits, the oldest first; not all of them if they are many.
    pub commits: Vec<RefusedCommit>,
}

impl Verified {
    /// A branch whose signatures nobody asks for.
    #[must_use]
    pub fn unchecked(tip: &CommitId) -> Self {
        Self { accepted: Some(tip.clone()), checked: false, refused: 0, commits: Vec::new() }
    }
}

/// Reads one repository. Shared by all configuration blocks that name the same URL.
#[async_trait]
pub trait Repository: Send + Sync {
    /// One listing of refs, and a fetch if a wanted branch moved. The answer has each wanted branch.
    async fn poll(&self) -> Result<BTreeMap<String, Result<Tip, RepositoryError>>, RepositoryError>;

    /// The files under `environments/` and `policies/` at a commit.
    async fn files(&self, commit: &CommitId) -> Result<Files, RepositoryError>;

    /// Which commit of a branch counts, by the signatures of all commits up to its tip. `last` is the one that counted so
    /// far, if that is known: nothing before it does.
    async fn verify(
        &self,
        _branch: &str,
        tip: &CommitId,
        _last: Option<&CommitId>,
    ) -> Result<Verified, RepositoryError> {
        Ok(Verified::unchecked(tip))
    }

    /// What the branch had before a commit: its first parent. `None` for the first commit.
    async fn before(&self, commit: &CommitId) -> Result<Option<CommitId>, RepositoryError>;

    /// A trailer of a branch's commit, and of those that it merged: all that its first parent doesn't have. The key has
    /// one capital.
    async fn trailers(&self, branch: &str, commit: &CommitId, key: &str) -> Result<Vec<Trailer>, RepositoryError>;

    /// The commit that set each pin to its present value, given as the canonical text of the pin's value.
    async fn provenance(
        &self,
        branch: &str,
        commit: &CommitId,
        pins: &BTreeMap<PinKey, String>,
    ) -> Result<BTreeMap<PinKey, Provenance>, RepositoryError>;
}

/// What a write came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The id of what was made: a launch-template version's number, an instance refresh's id, a task definition's ARN,
    /// an ECS deployment's id. `None` where nothing was made.
    pub id: Option<String>,
    /// What AWS warned about while it accepted.
    pub warning: Option<String>,
}

/// Writes to one account.
#[async_trait]
pub trait Apply: Send + Sync {
    /// Carries out one action: one write call, which is idempotent or harmless when repeated. Refuses with
    /// [`ErrorClass::Denied`] if the credentials belong to another account than the environment's.
    async fn apply(&self, action: &Action) -> Result<Applied, PortError>;
}

/// Opens accounts. Cheap: the same environment and account give the same connection, caches and rate limits.
pub trait Accounts: Send + Sync {
    /// What reads the account.
    fn reader(&self, environment: &EnvironmentName, account: &Account) -> Arc<dyn Observe>;
    /// What writes to the account.
    fn writer(&self, environment: &EnvironmentName, account: &Account) -> Arc<dyn Apply>;
}

/// Sends probes.
#[async_trait]
pub trait Prober: Send + Sync {
    /// Sends one request. `Err` says for people how the answer differed from the expected one.
    async fn probe(&self, probe: &Probe) -> Result<(), String>;
}

/// One call to AWS, for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// The service's name in IAM.
    pub service: &'static str,
    /// The operation.
    pub operation: &'static str,
    /// `ok`, or the word of an [`ErrorClass`].
    pub result: &'static str,
    /// Whether AWS asked for fewer calls.
    pub throttled: bool,
    /// From the first byte sent to the last one read.
    pub duration: Duration,
}

/// Is told of each call to AWS.
pub trait RecordCalls: Send + Sync + fmt::Debug {
    /// Takes note of one call of an environment.
    fn record(&self, environment: &EnvironmentName, call: CallRecord);
}

/// Keeps what has happened. Neither call waits for anything.
pub trait Chronicle: Send + Sync + fmt::Debug {
    /// Takes note. The same may be noted again, by this process or another: events are told apart by their key.
    fn note(&self, event: Event);
    /// Whether a rollout of this target is known of which no end was noted.
    fn unfinished(&self, target: &TargetRef) -> bool;
}

/// Keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoChronicle;

impl Chronicle for NoChronicle {
    fn note(&self, _event: Event) {}

    fn unfinished(&self, _target: &TargetRef) -> bool {
        false
    }
}
