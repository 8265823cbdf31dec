//! From the commits of a branch to what it wants: the one way there, for `run` and `plan` alike.
//!
//! A commit's files are read; what is broken in it keeps its last good state; what the change limits hold is taken out; and
//! what is left is what the branch wants and claims. All of that depends on the branch's commits alone, and not on which of
//! them this process has seen while it ran: a process that has just started comes to the same end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::desired::{Desired, Reading, complete};
use crate::claims::{BranchClaims, Coverage};
use crate::guardrail::{Guardrails, Policies};
use crate::manifest::suspend::Stops;
use crate::manifest::{self, Draft};
use crate::model::{CommitId, EnvironmentName, Files, RepositoryError, Trailer};
use crate::plan::change_limit::{self, Acknowledgement, ChangeLimits, Extent, Held, Ledger, Outline};
use crate::plan::shape_limit;
use crate::ports::Repository;

/// How many commits are looked at for the last good desired state, and for what has been accepted.
const LOOK_BACK: usize = 200;

/// How many commits before those are looked at for who claimed a resource first.
const MAX_ANCESTRY: usize = 2000;

/// What is known of a branch that is followed.
pub struct Follower {
    branch: String,
    coverage: Coverage,
    limits: ChangeLimits,
    /// What is accepted of the branch.
    ledger: Option<Ledger>,
    /// The commit that was read last, and what was good then.
    last: Option<(CommitId, BTreeMap<EnvironmentName, Arc<Desired>>)>,
    /// The acknowledgements in the commits that were looked at for those of new shapes.
    trailers: BTreeMap<CommitId, Vec<Trailer>>,
}

/// What a branch wants at a commit, in the end.
pub struct Followed {
    /// What it wants of each environment: as its files say, or its last good state.
    pub environments: BTreeMap<EnvironmentName, Arc<Desired>>,
    /// The environments whose files are wrong, each with all of its findings.
    pub broken: BTreeMap<EnvironmentName, Vec<String>>,
    /// Those of them whose last good state was found in earlier commits just now.
    pub recovered: BTreeSet<EnvironmentName>,
    /// What is wrong with the repository as a whole.
    pub whole: Vec<String>,
    /// Whether the commit has no environment at all.
    pub empty: bool,
    /// The guardrails of all its environments.
    pub policies: Policies,
    /// What is wrong with the guardrails.
    pub policy_errors: Vec<String>,
    /// What is odd, and stops nothing.
    pub warnings: Vec<String>,
    /// What a change limit holds.
    pub held: Option<Held>,
    /// What it claims.
    pub claims: BranchClaims,
}

impl Follower {
    /// Nothing has been read yet of this branch, which may feed these environments.
    #[must_use]
    pub fn new(branch: &str, coverage: Coverage, limits: ChangeLimits) -> Self {
        Self { branch: branch.to_owned(), coverage, limits, ledger: None, last: None, trailers: BTreeMap::new() }
    }

    /// Reads what the branch wants at a commit. `seen` is when it arrived there, if that was seen.
    ///
    /// # Errors
    /// [`RepositoryError`] if the repository can't be read. Mistakes in the files aren't errors of this function.
    pub async fn read(
        &mut self,
        repository: &dyn Repository,
        commit: &CommitId,
        seen: Option<Timestamp>,
    ) -> Result<Followed, RepositoryError> {
        let reading = Reading::of(repository, &self.branch, commit, &self.coverage, seen).await?;
        let Reading { mut environments, mut broken, whole, mut suspended, policies, policy_errors, warnings, files } =
            reading;
        let empty = environments.is_empty() && broken.is_empty();
        let mut earlier =
            self.last_good(repository, commit, empty, &environments, &broken, &policies, &mut suspended).await?;
        // What stops an environment does so though the rest of its files is wrong.
        for desired in earlier.values_mut() {
            Arc::make_mut(desired).suspend(&suspended);
        }
        let known = self.last.as_ref();
        let is_new = |(name, desired): &(&EnvironmentName, &Arc<Desired>)| {
            known.is_none_or(|(_, good)| good.get(*name).is_none_or(|good| good.revision != desired.revision))
        };
        let recovered = earlier.iter().filter(is_new).map(|(name, _)| name.clone()).collect();
        for (name, desired) in earlier {
            broken.entry(name.clone()).or_insert_with(|| whole.clone());
            environments.insert(name, desired);
        }
        let good = environments.clone();
        self.follow(repository, commit, &files).await?;
        let ledger = self.ledger.clone().unwrap_or_else(|| Ledger::new(commit.clone(), Extent::new()));
        if let Some(held) = &ledger.held {
            self.hold(repository, &ledger.kept, held, &policies, suspended, &mut environments).await?;
        }
        self.limit_shapes(repository, commit, &mut environments).await?;
        self.last = Some((commit.clone(), good));
        let claims = claims(&environments, &broken, &ledger);
        let held = ledger.held;
        Ok(Followed { environments, broken, recovered, whole, empty, policies, policy_errors, warnings, held, claims })
    }

    /// The last good state of what is broken at a commit, or of all environments where the commit has none. What can't be
    /// read of `suspended` is taken from the commits before.
    #[expect(clippy::too_many_arguments, reason = "all of them are parts of one reading")]
    async fn last_good(
        &self,
        repository: &dyn Repository,
        commit: &CommitId,
        empty: bool,
        environments: &BTreeMap<EnvironmentName, Arc<Desired>>,
        broken: &BTreeMap<EnvironmentName, Vec<String>>,
        policies: &Policies,
        suspended: &mut Stops,
    ) -> Result<BTreeMap<EnvironmentName, Arc<Desired>>, RepositoryError> {
        let lost: BTreeSet<EnvironmentName> =
            broken.keys().filter(|name| !environments.contains_key(*name)).cloned().collect();
        let wanted = if empty { None } else { Some(lost) };
        let until = self.last.as_ref().map(|(commit, _)| commit);
        let mut found = self.look_back(repository, commit, until, wanted.clone(), policies, suspended).await?;
        let Some((_, good)) = &self.last else { return Ok(found) };
        if wanted.is_none() && !found.is_empty() {
            return Ok(found);
        }
        let guardrails: Arc<dyn Guardrails> = Arc::new(policies.clone());
        for (name, desired) in good {
            if wanted.as_ref().is_none_or(|wanted| wanted.contains(name)) && !found.contains_key(name) {
                let mut desired = Arc::clone(desired);
                Arc::make_mut(&mut desired).guardrails = Arc::clone(&guardrails);
                found.insert(name.clone(), desired);
            }
        }
        Ok(found)
    }

    /// Looks for good states in the commits before one, down to `until`. Only those of `wanted` are looked for, or all that
    /// the nearest commit with any has; what isn't found within 200 commits has none.
    async fn look_back(
        &self,
        repository: &dyn Repository,
        commit: &CommitId,
        until: Option<&CommitId>,
        mut wanted: Option<BTreeSet<EnvironmentName>>,
        policies: &Policies,
        suspended: &mut Stops,
    ) -> Result<BTreeMap<EnvironmentName, Arc<Desired>>, RepositoryError> {
        let mut found = BTreeMap::new();
        let mut at = commit.clone();
        for _ in 0..LOOK_BACK {
            if wanted.as_ref().is_some_and(BTreeSet::is_empty) {
                break;
            }
            let Some(before) = repository.before(&at).await? else { break };
            if until == Some(&before) {
                break;
            }
            at = before;
            let files = repository.files(&at).await?;
            let loaded = manifest::load_with_refused(&files.files, &files.refused);
            suspended.fill(&loaded.suspended);
            let is_wanted = |name: &EnvironmentName| {
                self.coverage.covers(name) && wanted.as_ref().is_none_or(|wanted| wanted.contains(name))
            };
            let good = loaded.environments.into_iter().filter_map(|(name, draft)| Some((name, draft.ok()?)));
            let drafts: BTreeMap<EnvironmentName, Draft> = good.filter(|(name, _)| is_wanted(name)).collect();
            if drafts.is_empty() {
                continue;
            }
            let remaining = wanted.unwrap_or_default();
            wanted = Some(remaining.into_iter().filter(|name| !drafts.contains_key(name)).collect());
            found.extend(complete(repository, &self.branch, &at, drafts, policies, None).await?);
        }
        Ok(found)
    }

    /// Takes what is held out of what the branch wants: environments that it removes stay as the last commit had them that had them, pins that
    /// it moves wait.
    async fn hold(
        &self,
        repository: &dyn Repository,
        kept: &BTreeMap<EnvironmentName, CommitId>,
        held: &Held,
        policies: &Policies,
        mut suspended: Stops,
        environments: &mut BTreeMap<EnvironmentName, Arc<Desired>>,
    ) -> Result<(), RepositoryError> {
        let lost: BTreeSet<EnvironmentName> =
            held.change_limit.removed.iter().filter(|name| !environments.contains_key(*name)).cloned().collect();
        let mut by_commit: BTreeMap<&CommitId, BTreeSet<EnvironmentName>> = BTreeMap::new();
        for (name, commit) in kept.iter().filter(|(name, _)| lost.contains(*name)) {
            by_commit.entry(commit).or_default().insert(name.clone());
        }
        for (commit, lost) in by_commit {
            let reading = Reading::of(repository, &self.branch, commit, &self.coverage, None).await?;
            suspended.fill(&reading.suspended);
            let mut then = reading.environments;
            then.retain(|name, _| lost.contains(name));
            let broken: BTreeSet<EnvironmentName> =
                lost.iter().filter(|name| !then.contains_key(*name)).cloned().collect();
            then.extend(self.look_back(repository, commit, None, Some(broken), policies, &mut suspended).await?);
            for desired in then.values_mut() {
                Arc::make_mut(desired).suspend(&suspended);
            }
            environments.extend(then);
        }
        let text = held.to_string();
        for (name, desired) in environments.iter_mut().filter(|(name, _)| held.change_limit.concerns(name)) {
            let desired = Arc::make_mut(desired);
            desired.change_limit = Some(text.clone());
            let components = held.change_limit.components(name);
            desired.environment.held = components.map(|component| (component.clone(), text.clone())).collect();
        }
        Ok(())
    }

    /// Limits the new shapes of prod, where they come from the newest revision: by the acknowledgements in the last 200
    /// commits, whichever process looks.
    async fn limit_shapes(
        &mut self,
        repository: &dyn Repository,
        tip: &CommitId,
        environments: &mut BTreeMap<EnvironmentName, Arc<Desired>>,
    ) -> Result<(), RepositoryError> {
        let is_limited = |desired: &Arc<Desired>| {
            let environment = &desired.environment;
            environment.promotion.is_some() && environment.targets.values().any(|target| target.base.rule().is_some())
        };
        if !environments.values().any(is_limited) {
            return Ok(());
        }
        let mut found = BTreeMap::new();
        let mut at = Some(tip.clone());
        while let Some(commit) = at.take().filter(|_| found.len() < LOOK_BACK) {
            at = repository.before(&commit).await?;
            let trailers = match self.trailers.remove(&commit) {
                Some(known) => known,
                None => repository.trailers(&self.branch, &commit, change_limit::TRAILER).await?,
            };
            found.insert(commit, trailers);
        }
        let limit = shape_limit::limit(self.limits, found.values().flatten());
        for desired in environments.values_mut().filter(|desired| is_limited(desired)) {
            Arc::make_mut(desired).environment.shape_limit = Some(limit.clone());
        }
        self.trailers = found;
        Ok(())
    }

    /// Looks at all commits of the branch up to its tip that haven't been looked at: by a process that has just started,
    /// at the last 200, of which the first counts as accepted.
    async fn follow(
        &mut self,
        repository: &dyn Repository,
        tip: &CommitId,
        at_tip: &Files,
    ) -> Result<(), RepositoryError> {
        let known = self.ledger.as_ref();
        let mut chain = Vec::new();
        let mut joins = known.is_none();
        let mut at = Some(tip.clone());
        while let Some(commit) = at.take() {
            if known.is_some_and(|known| known.seen == commit) {
                joins = true;
                break;
            }
            if chain.len() >= LOOK_BACK {
                at = Some(commit);
                break;
            }
            at = repository.before(&commit).await?;
            chain.push(commit);
        }
        // A branch that was moved elsewhere is compared with what was accepted before, as one step.
        if !joins {
            chain.truncate(1);
        }
        let mut ledger = known.cloned();
        let mut last: Option<(Files, Extent)> = None;
        for commit in chain.into_iter().rev() {
            let files = if commit == *tip { at_tip.clone() } else { repository.files(&commit).await? };
            let unchanged = last.as_ref().filter(|(before, _)| environments(before).eq(environments(&files)));
            let before = ledger.as_ref().map(|ledger| &ledger.there);
            let extent = match unchanged {
                Some((_, extent)) => extent.clone(),
                None => extent(&files, &self.coverage, last.as_ref().map(|(_, extent)| extent).or(before)),
            };
            match &mut ledger {
                None => ledger = Some(Ledger::new(commit, extent.clone())),
                Some(ledger) => {
                    // Messages are read only where one may matter.
                    let word = if change_limit::change_limit(&ledger.accepted, &extent, self.limits).is_some() {
                        let trailers = repository.trailers(&self.branch, &commit, change_limit::TRAILER).await?;
                        Acknowledgement::of(&trailers)
                    } else {
                        Acknowledgement::Missing
                    };
                    ledger.step(commit, extent.clone(), word, self.limits);
                }
            }
            last = Some((files, extent));
        }
        if let Some(ledger) = ledger.as_mut().filter(|_| known.is_none()) {
            for _ in 0..MAX_ANCESTRY {
                let Some(commit) = at.take().filter(|_| !ledger.since.undecided().is_empty()) else { break };
                let files = repository.files(&commit).await?;
                ledger.step_back(&extent(&files, &self.coverage, None));
                at = repository.before(&commit).await?;
            }
        }
        self.ledger = ledger;
        Ok(())
    }
}

fn environments(files: &Files) -> impl Iterator<Item = (&String, &Vec<u8>)> {
    files.files.iter().filter(|(path, _)| path.starts_with("environments/"))
}

/// What a commit has. A broken environment is as it was before; so are all, if there are none.
fn extent(files: &Files, coverage: &Coverage, before: Option<&Extent>) -> Extent {
    let loaded = manifest::load_with_refused(&files.files, &files.refused);
    let earlier = |name: &EnvironmentName| before.and_then(|before| before.get(name)).cloned();
    if loaded.environments.is_empty() {
        return before.cloned().unwrap_or_default();
    }
    let covered = loaded.environments.into_iter().filter(|(name, _)| coverage.covers(name));
    let outlines = covered.filter_map(|(name, result)| {
        let outline = result.ok().map(|draft| outline(&draft)).or_else(|| earlier(&name))?;
        Some((name, outline))
    });
    outlines.collect()
}

/// An environment as far as change limits and claims go.
#[must_use]
pub fn outline(draft: &Draft) -> Outline {
    Outline { promoted: draft.promotion.is_some(), pins: draft.pins(), claims: draft.claims() }
}

/// What a branch claims: what it wants, and what is held of what it wanted before.
fn claims(
    environments: &BTreeMap<EnvironmentName, Arc<Desired>>,
    broken: &BTreeMap<EnvironmentName, Vec<String>>,
    ledger: &Ledger,
) -> BranchClaims {
    let good = environments.iter().map(|(name, desired)| (name.clone(), Some(desired.environment.claims())));
    let lost = broken.keys().filter(|name| !environments.contains_key(*name)).map(|name| (name.clone(), None));
    let kept = ledger.held.is_some().then(|| ledger.claimed.clone());
    BranchClaims {
        environments: good.chain(lost).collect(),
        kept: kept.unwrap_or_default(),
        since: ledger.since.clone(),
    }
}
