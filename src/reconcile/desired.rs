//! From the files of a commit to the desired state of each environment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::claims::{BranchClaims, Coverage};
use crate::guardrail::{Guardrails, Policies};
use crate::manifest::suspend::{Stops, Suspensions};
use crate::manifest::{self, Draft};
use crate::model::{CommitId, Component, Environment, EnvironmentName, Files, PinKey, Provenance, RepositoryError};
use crate::ports::Repository;

/// What Git wants of one environment.
#[derive(Clone)]
pub struct Desired {
    /// The environment.
    pub environment: Environment,
    /// What suspends its targets.
    pub suspensions: Suspensions,
    /// The commit that it was read from.
    pub revision: CommitId,
    /// What may forbid its rollouts.
    pub guardrails: Arc<dyn Guardrails>,
    /// Whether it matters for how long its targets are in sync: another environment is promoted from it.
    pub soaks: bool,
    /// When Pinion saw that commit on the branch; `None` for the state found at start, whose arrival it didn't see.
    pub seen: Option<Timestamp>,
    /// What a change limit holds of it, and what lets it through.
    pub change_limit: Option<String>,
}

impl Desired {
    /// Lets what newer files say of suspending whole environments win over what this was read with.
    pub(super) fn suspend(&mut self, stops: &Stops) {
        self.suspensions.follow(stops, &self.environment.name);
        self.suspensions.put(&mut self.environment.targets);
    }
}

/// What a poller has to say.
pub(crate) enum News {
    /// A branch was read at a new commit.
    Read(SourceNews),
    /// A branch that can't be read claimed this when it was last fetched, by an earlier process. Its place is that in
    /// `pinion.toml`.
    Recalled { place: usize, claims: BranchClaims },
    /// All that this poller found up to a resync's number has been handed on.
    Polled { source: usize, number: u64 },
}

/// What one poll of one branch brought.
pub(crate) struct SourceNews {
    pub(crate) origin: Origin,
    pub(crate) environments: BTreeMap<EnvironmentName, Arc<Desired>>,
    pub(crate) broken: BTreeMap<EnvironmentName, Vec<String>>,
    /// Set if nothing could be read: no environments at all, or no files.
    pub(crate) whole: Option<Vec<String>>,
    /// What the branch claims.
    pub(crate) claims: BranchClaims,
}

/// A branch that is followed. They are in the order of `pinion.toml`, which decides between two that have the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    /// Its place in `pinion.toml`.
    pub(crate) place: usize,
    /// Its source, by its index.
    pub(crate) source: usize,
    /// Its name.
    pub(crate) branch: String,
}

/// What a commit's own files want.
pub(super) struct Reading {
    /// The environments that are good.
    pub(super) environments: BTreeMap<EnvironmentName, Arc<Desired>>,
    /// The environments that aren't, each with all of its findings.
    pub(super) broken: BTreeMap<EnvironmentName, Vec<String>>,
    /// What is wrong with the repository as a whole.
    pub(super) whole: Vec<String>,
    /// What suspends whole environments, also those that are broken.
    pub(super) suspended: Stops,
    /// The guardrails of all its environments.
    pub(super) policies: Policies,
    /// What is wrong with the guardrails.
    pub(super) policy_errors: Vec<String>,
    /// What is odd, and stops nothing.
    pub(super) warnings: Vec<String>,
    /// The files that all this was read from.
    pub(super) files: Files,
}

impl Reading {
    /// Reads a commit of a branch.
    pub(super) async fn of(
        repository: &dyn Repository,
        branch: &str,
        commit: &CommitId,
        coverage: &Coverage,
        seen: Option<Timestamp>,
    ) -> Result<Self, RepositoryError> {
        let files = repository.files(commit).await?;
        let loaded = manifest::load_with_refused(&files.files, &files.refused);
        let warnings = manifest::render::odd(&loaded).map(|warning| warning.to_string()).collect();
        let mut reading = Self {
            environments: BTreeMap::new(),
            broken: BTreeMap::new(),
            suspended: loaded.suspended,
            whole: loaded.findings.iter().map(ToString::to_string).collect(),
            policies: loaded.policies,
            policy_errors: loaded.policy_findings.iter().map(ToString::to_string).collect(),
            warnings,
            files,
        };
        let mut drafts = BTreeMap::new();
        for (name, result) in loaded.environments {
            if !coverage.covers(&name) {
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
        if let Coverage::Only(names) = coverage {
            for name in names.iter().filter(|name| !drafts.contains_key(*name)) {
                let missing =
                    format!("environments/{name} doesn't exist on branch {branch}, though pinion.toml names it");
                reading.broken.entry(name.clone()).or_insert_with(|| vec![missing]);
            }
        }
        reading.environments = complete(repository, branch, commit, drafts, &reading.policies, seen).await?;
        Ok(reading)
    }
}

/// Adds to drafts where their pins come from.
pub(super) async fn complete(
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
    let sources = sources(drafts.values());
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
            suspensions: draft.suspensions,
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

/// The environments that others are promoted from.
#[must_use]
pub fn sources<'a>(drafts: impl IntoIterator<Item = &'a Draft>) -> BTreeSet<EnvironmentName> {
    let promotions = drafts.into_iter().filter_map(|draft| draft.promotion.as_ref());
    promotions.map(|promotion| promotion.from.clone()).collect()
}
