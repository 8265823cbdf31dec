//! What a running controller says about itself: the shape of `/api/v1/status`. Within the controller the targets are
//! [`TargetState`]s ([`Snapshot`]); the texts of a [`TargetStatus`] are made for the API, and nothing here reads them back.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CommitId, Kind, Reach, State, TargetState, Verified};

/// Everything a running controller says. Stable: fields are added, never renamed or removed within `v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Status")]
pub struct Status<T = TargetStatus> {
    /// Pinion's version.
    pub version: String,
    /// The environments, by name.
    pub environments: BTreeMap<String, EnvironmentStatus<T>>,
    /// The repositories, in the order of the configuration.
    pub repositories: Vec<RepositoryStatus>,
    /// Resyncs asked for and done.
    pub resync: ResyncStatus,
    /// Whether every environment has completed a first pass.
    pub ready: bool,
}

/// What a running controller knows, as it is kept within the process.
pub type Snapshot = Status<TargetState>;

impl<T> Default for Status<T> {
    fn default() -> Self {
        Self {
            version: String::new(),
            environments: BTreeMap::new(),
            repositories: Vec::new(),
            resync: ResyncStatus::default(),
            ready: false,
        }
    }
}

impl From<&Snapshot> for Status {
    fn from(known: &Snapshot) -> Self {
        let environments = known.environments.iter();
        Self {
            version: known.version.clone(),
            environments: environments.map(|(name, environment)| (name.clone(), environment.into())).collect(),
            repositories: known.repositories.clone(),
            resync: known.resync,
            ready: known.ready,
        }
    }
}

/// Resyncs are numbered from 1; 0 means none yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ResyncStatus {
    /// The number of the last one asked for.
    pub requested: u64,
    /// The number of the last one that all environments have completed.
    pub completed: u64,
}

/// A repository and branch that is polled.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RepositoryStatus {
    /// Its URL, without credentials.
    pub url: String,
    /// Its branch.
    pub branch: String,
    /// The commit at the branch's tip, as last seen.
    pub revision: Option<String>,
    /// When the last poll succeeded.
    #[schemars(with = "Option<String>")]
    pub last_success: Option<Timestamp>,
    /// Why what it has now doesn't count: the last poll failed, its files are no environments, or commits are refused.
    #[schemars(with = "Option<String>")]
    pub error: Option<Fault>,
    /// How many guardrails its branch has; 0 also while they are invalid.
    #[serde(default)]
    pub guardrails: u64,
    /// What is wrong with its guardrails. If anything is, nothing is rolled out from this branch.
    #[serde(default)]
    pub guardrail_errors: Vec<String>,
    /// Its guardrails that end by themselves, also those that have ended: freezes.
    #[serde(default)]
    pub guardrail_ends: Vec<GuardrailEnd>,
    /// What its signatures are like; `None` if they aren't checked.
    #[serde(default)]
    pub signatures: Option<SignaturesStatus>,
}

/// Why what a repository has now doesn't count. A text in the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Fault {
    /// It can't be read.
    Unreadable(String),
    /// It can be read, but what is in it as a whole is no use.
    Unusable(String),
    /// Commits are refused by their signatures.
    Refused {
        /// The oldest of them.
        first: RefusedCommit,
        /// How many more there are.
        more: u64,
        /// The commit that counts instead; `None` if none does.
        accepted: Option<CommitId>,
    },
}

impl Fault {
    /// What is wrong with a branch's signatures; `None` if nothing is.
    #[must_use]
    pub fn of_signatures(verified: &Verified) -> Option<Self> {
        let first = verified.commits.first()?.clone();
        let more = verified.refused.saturating_sub(1) as u64;
        Some(Self::Refused { first, more, accepted: verified.accepted.clone() })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(text) | Self::Unusable(text) => f.write_str(text),
            Self::Refused { first, more, accepted } => {
                let (commit, author, reason) = (CommitId::short_of(&first.commit), &first.author, &first.reason);
                write!(f, "commit {commit} by {author} is refused: {reason}")?;
                if *more > 0 {
                    write!(f, "; and so are {more} more")?;
                }
                match accepted {
                    Some(commit) => write!(f, "; commit {} is what counts until that is fixed", commit.short()),
                    None => f.write_str("; nothing counts until that is fixed"),
                }
            }
        }
    }
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self::Unreadable(text)
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.to_string()
    }
}

/// A guardrail that ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuardrailEnd {
    /// The policy's `@id`.
    pub policy: String,
    /// Its `@reason`, with its `@owner` if it names one.
    pub reason: String,
    /// The moment after which it can't forbid anything any more.
    #[schemars(with = "String")]
    pub until: Timestamp,
}

/// What the signatures of a branch's commits are like.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct SignaturesStatus {
    /// The commit that counts: the tip, or the newest one before it that rests on no refused commit. Absent if there is
    /// none.
    pub accepted: Option<String>,
    /// How many commits are refused.
    pub refused: u64,
    /// The refused commits, the oldest first; not all of them if they are many.
    pub commits: Vec<RefusedCommit>,
}

/// A commit whose signature doesn't count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedCommit {
    /// The commit.
    pub commit: String,
    /// Its author's name and address, as it says.
    pub author: String,
    /// Its committer's name and address, as it says.
    pub committer: String,
    /// The first line of its message.
    pub subject: String,
    /// The kind of reason, such as `unsigned` or `unknown-key`.
    pub kind: String,
    /// The reason, for people.
    pub reason: String,
}

/// An environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EnvironmentStatus")]
pub struct EnvironmentStatus<T = TargetStatus> {
    /// The account id.
    pub account: String,
    /// The region.
    pub region: String,
    /// The URL of the repository that feeds it, without credentials.
    #[serde(default)]
    pub repository: String,
    /// The branch that feeds it.
    #[serde(default)]
    pub branch: String,
    /// The commit that the desired state was read from.
    pub revision: String,
    /// Whether the files at the branch's tip are good. If not, the last good desired state is kept.
    pub valid: bool,
    /// What is wrong with the files, if they aren't good.
    pub errors: Vec<String>,
    /// What a change limit holds of it, and what lets it through.
    #[serde(default)]
    pub change_limit: Option<String>,
    /// Why the last pass failed as a whole, if it did.
    pub error: Option<String>,
    /// When the last pass succeeded.
    #[schemars(with = "Option<String>")]
    pub last_success: Option<Timestamp>,
    /// Passes since the start.
    pub passes: u64,
    /// Its targets, by `kind/name`.
    pub targets: BTreeMap<String, T>,
}

impl<T> Default for EnvironmentStatus<T> {
    fn default() -> Self {
        Self {
            account: String::new(),
            region: String::new(),
            repository: String::new(),
            branch: String::new(),
            revision: String::new(),
            valid: false,
            errors: Vec::new(),
            change_limit: None,
            error: None,
            last_success: None,
            passes: 0,
            targets: BTreeMap::new(),
        }
    }
}

impl From<&EnvironmentStatus<TargetState>> for EnvironmentStatus {
    fn from(known: &EnvironmentStatus<TargetState>) -> Self {
        Self {
            account: known.account.clone(),
            region: known.region.clone(),
            repository: known.repository.clone(),
            branch: known.branch.clone(),
            revision: known.revision.clone(),
            valid: known.valid,
            errors: known.errors.clone(),
            change_limit: known.change_limit.clone(),
            error: known.error.clone(),
            last_success: known.last_success,
            passes: known.passes,
            targets: known.targets.iter().map(|(local, target)| (local.clone(), target.into())).collect(),
        }
    }
}

/// A target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetStatus {
    /// Its reference: `prod/asg/web`.
    pub target: String,
    /// Its kind.
    #[schemars(with = "String")]
    pub kind: Kind,
    /// Its component.
    pub component: String,
    /// Its state.
    pub state: State,
    /// Why it is in that state, for people.
    pub reason: Option<String>,
    /// The guardrails that forbid its rollout now, each by its `@id`.
    #[serde(default)]
    pub denied_by: Vec<String>,
    /// When it came into that state, as this process saw it.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// Since when it isn't in sync, as this process saw it.
    #[schemars(with = "Option<String>")]
    pub out_of_sync_since: Option<Timestamp>,
    /// When AWS was last read for it. Older than the last pass where the state is `unknown`.
    #[schemars(with = "Option<String>")]
    pub observed: Option<Timestamp>,
    /// The state before it became `unknown`.
    pub last_known: Option<State>,
    /// Whether observed differs from desired though no pin changed.
    pub drifted: bool,
    /// Since when it is in sync with the pinned version, if it is; also while it is `verifying` only because Pinion was started.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub in_sync_since: Option<Timestamp>,
    /// The pinned version.
    pub desired: String,
    /// The pinned digest, if the pin names one.
    #[serde(default)]
    pub digest: Option<String>,
    /// The version or artifact that runs now, where it is known.
    pub running: Option<String>,
    /// The artifact that the pin resolves to.
    pub artifact: Option<String>,
    /// Instances or tasks that run the artifact.
    pub updated: u32,
    /// Instances or tasks in all.
    pub total: u32,
    /// The new shape that a rollout which is due or begins brings, in one line.
    #[serde(default)]
    pub shape: Option<String>,
    /// What works now but needs somebody's attention.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Where the pin comes from.
    pub pin: PinStatus,
    /// The rollout in flight or, in quarantine, the one that failed.
    pub rollout: Option<RolloutStatus>,
    /// The suspension that stands in Git, also when it has ended.
    #[serde(default)]
    pub suspension: Option<SuspensionStatus>,
}

impl From<&TargetState> for TargetStatus {
    fn from(known: &TargetState) -> Self {
        let provenance = &known.pin.provenance;
        Self {
            target: known.target.to_string(),
            kind: known.target.local.kind,
            component: known.pin.component.to_string(),
            state: known.state,
            reason: known.reason.as_ref().map(ToString::to_string),
            denied_by: known.denied_by().map(ToOwned::to_owned).collect(),
            since: known.since,
            out_of_sync_since: known.out_of_sync_since,
            observed: known.observed,
            last_known: known.last_known,
            drifted: known.drifted,
            in_sync_since: known.in_sync_since,
            desired: known.pin.version.to_string(),
            digest: known.pin.digest.as_ref().map(ToString::to_string),
            running: known.running.clone(),
            artifact: known.artifact.as_ref().map(ToString::to_string),
            updated: known.updated,
            total: known.total,
            shape: known.shape.as_ref().map(ToString::to_string),
            warnings: known.warnings.clone(),
            pin: PinStatus {
                commit: provenance.commit.to_string(),
                author: provenance.author.clone(),
                time: provenance.time,
                subject: provenance.subject.clone(),
            },
            rollout: known.rollout.as_ref().map(|rollout| RolloutStatus {
                id: rollout.id.to_string(),
                status: rollout.status.clone(),
                reason: rollout.reason.clone(),
                percentage: rollout.percentage,
                started: rollout.started,
            }),
            suspension: known.suspension.as_ref().map(|suspension| SuspensionStatus {
                owner: suspension.owner.clone(),
                reason: suspension.reason.clone(),
                until: suspension.until,
                reach: suspension.reach,
            }),
        }
    }
}

/// A target switched off in Git.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SuspensionStatus {
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Until when.
    #[schemars(with = "String")]
    pub until: Timestamp,
    /// What it suspends: `target`, `environment` or `all`.
    #[serde(default)]
    pub reach: Reach,
}

/// The commit that set a pin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PinStatus {
    /// The commit.
    pub commit: String,
    /// Its author.
    pub author: String,
    /// Its time.
    #[schemars(with = "String")]
    pub time: Timestamp,
    /// The first line of its message.
    pub subject: String,
}

/// A rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutStatus {
    /// AWS's id of it.
    pub id: String,
    /// AWS's word for how far it is.
    pub status: String,
    /// AWS's reason for that.
    pub reason: Option<String>,
    /// How much is replaced, 0 to 100.
    pub percentage: Option<u8>,
    /// When it was started.
    #[schemars(with = "Option<String>")]
    pub started: Option<Timestamp>,
}
