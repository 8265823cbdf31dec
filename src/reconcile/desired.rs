//! From the files of a commit to the desired state of each environment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::guardrail::{Guardrails, Policies};
use crate::manifest::{self, Draft};
use crate::model::{CommitId, Component, Environment, EnvironmentName, Files, PinKey, Provenance, RepositoryError};
use crate::ports::Repository;

/// The environments that a branch may feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// All that it has.
    All,
    /// These.
    Only(BTreeSet<EnvironmentName>),
}

impl Claim {
    pub(super) fn covers(&self, name: &EnvironmentName) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }
}

/// What Git wants of one environment.
#[derive(Clone)]
pub struct Desired {
    /// The environment.
    pub environment: Environment,
    /// The commit that it was read from.
    pub revision: CommitId,
    /// What may forbid its rollouts.
    pub guardrails: Arc<dyn Guardrails>,
    /// Whether guardrails may ask for how long its targets are in sync: another environment is promoted from it.
    pub soaks: bool,
    /// When Pinion saw that commit on the branch; `None` for the state found at start, whose arrival it didn't see.
    pub seen: Option<Timestamp>,
    /// What a change limit holds of it, and what lets it through.
    pub change_limit: Option<String>,
}

/// What a poller has to say.
pub(crate) enum News {
    /// A branch was read at a new commit.
    Read(SourceNews),
    /// All that this poller found up to a resync's number has been handed on.
    Polled { source: usize, number: u64 },
}

/// What one poll of one branch brought.
pub(crate) struct SourceNews {
    pub(crate) source: usize,
    pub(crate) branch: String,
    pub(crate) environments: BTreeMap<EnvironmentName, Arc<Desired>>,
    pub(crate) broken: BTreeMap<EnvironmentName, Vec<String>>,
    /// Set if nothing could be read: no environments at all, or no files.
    pub(crate) whole: Option<Vec<String>>,
}

/// What a commit wants.
pub struct Reading {
    /// The environments that are good.
    pub environments: BTreeMap<EnvironmentName, Arc<Desired>>,
    /// The environments that aren't, each with all of its findings.
    pub broken: BTreeMap<EnvironmentName, Vec<String>>,
    /// What is wrong with the repository as a whole.
    pub whole: Vec<String>,
    /// The guardrails of all its environments.
    pub policies: Policies,
    /// What is wrong with the guardrails.
    pub policy_errors: Vec<String>,
    /// What is odd, and stops nothing.
    pub warnings: Vec<String>,
    /// Which of the good environments has each AWS resource.
    pub claims: BTreeMap<String, EnvironmentName>,
    /// The files that all this was read from.
    pub files: Files,
}

/// Reads what a commit of a branch wants. `held` says which environment had each AWS resource before.
///
/// # Errors
/// [`RepositoryError`] if the repository can't be read. Mistakes in the files aren't errors of this function.
pub async fn read(
    repository: &dyn Repository,
    branch: &str,
    commit: &CommitId,
    claim: &Claim,
    seen: Option<Timestamp>,
    held: &BTreeMap<String, EnvironmentName>,
) -> Result<Reading, RepositoryError> {
    let files = repository.files(commit).await?;
    let loaded = manifest::load_after(&files.files, &files.refused, held);
    let warnings = manifest::render::odd(&loaded).map(|warning| warning.to_string()).collect();
    let mut reading = Reading {
        environments: BTreeMap::new(),
        broken: BTreeMap::new(),
        whole: loaded.findings.iter().map(ToString::to_string).collect(),
        policies: loaded.policies,
        policy_errors: loaded.policy_findings.iter().map(ToString::to_string).collect(),
        warnings,
        claims: loaded.claims,
        files,
    };

    let mut drafts = BTreeMap::new();
    for (name, result) in loaded.environments {
        if !claim.covers(&name) {
            continue;
        }
        match result {
            Ok(draft) => {
                drafts.insert(name, draft);
            }
            Err(findings) => {
                reading.broken.insert(name, findings.iter().map(ToString::to_string).collect());
            }
        }
    }
    if let Claim::Only(names) = claim {
        for name in names.iter().filter(|name| !drafts.contains_key(*name)) {
            let missing = format!("environments/{name} doesn't exist on branch {branch}, though pinion.toml names it");
            reading.broken.entry(name.clone()).or_insert_with(|| vec![missing]);
        }
    }

    reading.environments = complete(repository, branch, commit, drafts, &reading.policies, seen).await?;
    Ok(reading)
}

/// How many commits are looked at for the last good desired state.
pub(super) const LOOK_BACK: usize = 200;

/// The last good desired state of environments that are broken at a commit: what a process that has run all the while
/// would still have. For a process that has just started, history is all there is to know it by. Only those of `wanted`
/// are looked for, or all that the nearest commit with any has; what isn't found within 200 commits has none.
///
/// # Errors
/// [`RepositoryError`] if the repository can't be read.
pub(crate) async fn last_good(
    repository: &dyn Repository,
    branch: &str,
    tip: &CommitId,
    claim: &Claim,
    mut wanted: Option<BTreeSet<EnvironmentName>>,
    policies: &Policies,
) -> Result<BTreeMap<EnvironmentName, Arc<Desired>>, RepositoryError> {
    let mut found = BTreeMap::new();
    let mut at = tip.clone();
    for _ in 0..LOOK_BACK {
        if wanted.as_ref().is_some_and(BTreeSet::is_empty) {
            break;
        }
        let Some(before) = repository.before(&at).await? else { break };
        at = before;
        let files = repository.files(&at).await?;
        let loaded = manifest::load_with_refused(&files.files, &files.refused);
        let is_wanted =
            |name: &EnvironmentName| claim.covers(name) && wanted.as_ref().is_none_or(|wanted| wanted.contains(name));
        let good = loaded.environments.into_iter().filter_map(|(name, draft)| Some((name, draft.ok()?)));
        let drafts: BTreeMap<EnvironmentName, Draft> = good.filter(|(name, _)| is_wanted(name)).collect();
        if drafts.is_empty() {
            continue;
        }
        let remaining = wanted.unwrap_or_default();
        wanted = Some(remaining.into_iter().filter(|name| !drafts.contains_key(name)).collect());
        found.extend(complete(repository, branch, &at, drafts, policies, None).await?);
    }
    Ok(found)
}

/// Adds to drafts where their pins come from.
async fn complete(
    repository: &dyn Repository,
    branch: &str,
    commit: &CommitId,
    drafts: BTreeMap<EnvironmentName, Draft>,
    policies: &Policies,
    seen: Option<Timestamp>,
) -> Result<BTreeMap<EnvironmentName, Arc<Desired>>, RepositoryError> {
    let keys = |draft: &Draft| {
        let path = draft.pins_path();
        let key = move |(component, value): (Component, String)| {
            (PinKey { path: path.clone(), component: component.to_string() }, value)
        };
        draft.pins().into_iter().map(key)
    };
    let pins: BTreeMap<PinKey, String> = drafts.values().flat_map(keys).collect();
    let provenance = repository.provenance(branch, commit, &pins).await?;
    let sources = sources(drafts.values(), policies);
    let guardrails: Arc<dyn Guardrails> = Arc::new(policies.clone());
    let with_provenance = |(name, draft): (EnvironmentName, Draft)| {
        let path = draft.pins_path();
        let of_this: BTreeMap<Component, Provenance> = provenance
            .iter()
            .filter(|(key, _)| key.path == path)
            .filter_map(|(key, found)| Some((Component::try_from(key.component.as_str()).ok()?, found.clone())))
            .collect();
        let desired = Desired {
            environment: draft.complete(&of_this),
            revision: commit.clone(),
            guardrails: Arc::clone(&guardrails),
            soaks: sources.contains(&name),
            seen,
            change_limit: None,
        };
        (name, Arc::new(desired))
    };
    Ok(drafts.into_iter().map(with_provenance).collect())
}

/// The environments that others are promoted from, if there are guardrails that may ask about them.
#[must_use]
pub fn sources<'a>(drafts: impl IntoIterator<Item = &'a Draft>, policies: &Policies) -> BTreeSet<EnvironmentName> {
    let promotions = drafts.into_iter().filter_map(|draft| draft.promotion.as_ref());
    if policies.is_empty() { BTreeSet::new() } else { promotions.map(|promotion| promotion.from.clone()).collect() }
}
