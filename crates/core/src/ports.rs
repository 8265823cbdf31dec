//! The traits that planning's effects go through. Reading and writing are two traits. What goes through them, and how it
//! fails, is the model's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::events::Event;
use crate::model::survey::Survey;
use crate::model::{
    Account, AccountId, Applied, Artifact, ArtifactQuery, BaseRule, Bases, CallRecord, CommitId, Digest,
    EnvironmentName, Files, LocalRef, ObservedTarget, Pattern, PinKey, PortError, Probe, Provenance, RepositoryError,
    ResolveError, RolloutHistory, Target, TargetRef, TargetSpec, Tip, Trailer, Verified,
};
use crate::plan::Action;

/// A target whose shape comes from the newest revision that Pinion didn't make.
#[derive(Debug, Clone, Copy)]
pub struct BaseQuery<'a> {
    /// The target.
    pub target: &'a Target,
    /// Which revisions count.
    pub rule: &'a BaseRule,
    /// The target as AWS reports it.
    pub observed: &'a ObservedTarget,
    /// The commit of its pin.
    pub commit: &'a CommitId,
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

    /// Resolves artifacts as if nothing were known of them yet: what was found before seems to be out of date.
    async fn look_again(
        &self,
        queries: &BTreeSet<ArtifactQuery>,
    ) -> BTreeMap<ArtifactQuery, Result<Artifact, ResolveError>> {
        self.resolve(queries).await
    }

    /// Observes targets. The answer has each target that was asked for.
    async fn observe(
        &self,
        targets: &BTreeMap<LocalRef, TargetSpec>,
    ) -> BTreeMap<LocalRef, Result<ObservedTarget, PortError>>;

    /// What AWS remembers about a target's rollouts.
    async fn history(&self, observed: &ObservedTarget) -> Result<RolloutHistory, PortError>;

    /// What was found of the revisions that these targets' shapes may come from. What is older than `max_age`, or was read
    /// for another pin, is read again. The answer has each target that was asked about, if this knows bases at all.
    async fn bases(
        &self,
        _queries: &[BaseQuery<'_>],
        _max_age: Duration,
    ) -> BTreeMap<LocalRef, Result<Bases, PortError>> {
        BTreeMap::new()
    }

    /// The state of each of these CloudWatch alarms, in AWS's words: `OK`, `ALARM`, `INSUFFICIENT_DATA`; empty where AWS says
    /// none. An alarm that doesn't exist is missing in the answer.
    async fn alarms(&self, names: &BTreeSet<String>) -> Result<BTreeMap<String, String>, PortError>;

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

/// Reads one repository. Shared by all configuration blocks that name the same URL.
#[async_trait]
pub trait Repository: Send + Sync {
    /// One listing of refs, and a fetch if a wanted branch moved. The answer has each wanted branch.
    async fn poll(&self) -> Result<BTreeMap<String, Result<Tip, RepositoryError>>, RepositoryError>;

    /// Where each branch was when it was last fetched, be it by an earlier process, as far as that is still here. Nobody is
    /// asked.
    async fn kept(&self) -> Result<BTreeMap<String, CommitId>, RepositoryError> {
        Ok(BTreeMap::new())
    }

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

/// Writes to one account.
#[async_trait]
pub trait Apply: Send + Sync {
    /// Carries out one action: one write call, which is idempotent or harmless when repeated. Refuses with
    /// [`ErrorClass::Denied`](crate::model::ErrorClass::Denied) if the credentials belong to another account than the environment's.
    async fn apply(&self, action: &Action) -> Result<Applied, PortError>;

    /// Waits until the rate limits let the action's call go. A caller that stops waiting loses nothing.
    async fn turn(&self, _action: &Action) {}
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

    /// Why a probe would never be sent, as far as its URL says; for people.
    fn refuses(&self, _probe: &Probe) -> Option<String> {
        None
    }
}

/// Receives each call to AWS.
pub trait RecordCalls: Send + Sync + fmt::Debug {
    /// Takes note of one call of an environment.
    fn record(&self, environment: &EnvironmentName, call: CallRecord);
}

/// Receives what has happened. Never waits.
pub trait EventSink: Send + Sync + fmt::Debug {
    /// Takes one event.
    fn take(&self, event: &Event<'_>);

    /// Whether it knows of a rollout of this target whose end it hasn't received.
    fn has_unfinished(&self, _target: &TargetRef) -> bool {
        false
    }
}

/// Takes nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoEventSink;

impl EventSink for NoEventSink {
    fn take(&self, _event: &Event<'_>) {}
}
