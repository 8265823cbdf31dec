//! What change limits hold of a branch: found by looking at its commits one after the other, and taken out of what the tip wants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::desired::{self, Claim, Desired, LOOK_BACK, Reading};
use crate::manifest::{self, Draft};
use crate::model::{CommitId, EnvironmentName, Files, RepositoryError};
use crate::plan::change_limit::{self, Acknowledgement, Extent, Held, Ledger, Limits, Outline};
use crate::ports::Repository;

/// What is accepted of each branch of a repository.
pub(super) struct ChangeLimits {
    limits: Limits,
    ledgers: BTreeMap<String, Ledger>,
}

impl ChangeLimits {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, ledgers: BTreeMap::new() }
    }

    /// Takes what is held out of what the tip of a branch wants: environments that it removes stay as they were
    /// accepted, pins that it moves wait. Says what is held.
    pub(super) async fn apply(
        &mut self,
        repository: &dyn Repository,
        branch: &str,
        tip: &CommitId,
        claim: &Claim,
        reading: &mut Reading,
    ) -> Result<Option<Held>, RepositoryError> {
        let ledger = self.follow(repository, branch, tip, claim, &reading.files).await?;
        let Some(held) = ledger.held.clone() else { return Ok(None) };
        let lost: BTreeSet<EnvironmentName> = held
            .change_limit
            .removed
            .iter()
            .filter(|name| !reading.environments.contains_key(*name))
            .cloned()
            .collect();
        if !lost.is_empty() {
            let mut by_commit: BTreeMap<CommitId, BTreeSet<EnvironmentName>> = BTreeMap::new();
            for (name, commit) in ledger.kept.iter().filter(|(name, _)| lost.contains(*name)) {
                by_commit.entry(commit.clone()).or_default().insert(name.clone());
            }
            for (commit, lost) in by_commit {
                let kept = kept(repository, branch, &commit, claim, &lost, reading).await?;
                reading.environments.extend(kept);
            }
        }
        let text = held.to_string();
        for (name, desired) in reading.environments.iter_mut().filter(|(name, _)| held.change_limit.concerns(name)) {
            let desired = Arc::make_mut(desired);
            desired.change_limit = Some(text.clone());
            let components = held.change_limit.components(name);
            desired.environment.held = components.map(|component| (component.clone(), text.clone())).collect();
        }
        Ok(Some(held))
    }

    /// Looks at all commits of the branch up to its tip that haven't been looked at: by a process that has just started,
    /// at the last 200, of which the first counts as accepted.
    async fn follow(
        &mut self,
        repository: &dyn Repository,
        branch: &str,
        tip: &CommitId,
        claim: &Claim,
        at_tip: &Files,
    ) -> Result<&Ledger, RepositoryError> {
        let known = self.ledgers.get(branch);
        let mut chain = Vec::new();
        let mut joins = known.is_none();
        let mut at = Some(tip.clone());
        while let Some(commit) = at {
            if known.is_some_and(|known| known.seen == commit) {
                joins = true;
                break;
            }
            if chain.len() >= LOOK_BACK {
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
                None => extent(&files, claim, last.as_ref().map(|(_, extent)| extent).or(before)),
            };
            match &mut ledger {
                None => ledger = Some(Ledger::new(commit, extent.clone())),
                Some(ledger) => {
                    // Messages are read only where one may matter.
                    let word = if change_limit::change_limit(&ledger.accepted, &extent, self.limits).is_some() {
                        Acknowledgement::of(&repository.trailers(branch, &commit, change_limit::TRAILER).await?)
                    } else {
                        Acknowledgement::Missing
                    };
                    ledger.step(commit, extent.clone(), word, self.limits);
                }
            }
            last = Some((files, extent));
        }
        let ledger = ledger.unwrap_or_else(|| Ledger::new(tip.clone(), Extent::new()));
        let entry = self.ledgers.entry(branch.to_owned());
        Ok(entry.and_modify(|known| *known = ledger.clone()).or_insert(ledger))
    }
}

fn environments(files: &Files) -> impl Iterator<Item = (&String, &Vec<u8>)> {
    files.files.iter().filter(|(path, _)| path.starts_with("environments/"))
}

/// What a commit has. A broken environment is as it was before; so are all, if there are none.
fn extent(files: &Files, claim: &Claim, before: Option<&Extent>) -> Extent {
    let loaded = manifest::load_with_refused(&files.files, &files.refused);
    let earlier = |name: &EnvironmentName| before.and_then(|before| before.get(name)).cloned();
    if loaded.environments.is_empty() {
        return before.cloned().unwrap_or_default();
    }
    let covered = loaded.environments.into_iter().filter(|(name, _)| claim.covers(name));
    let outlines = covered.filter_map(|(name, result)| {
        let outline = result.ok().map(|draft| outline(&draft)).or_else(|| earlier(&name))?;
        Some((name, outline))
    });
    outlines.collect()
}

/// An environment as far as change limits care.
#[must_use]
pub fn outline(draft: &Draft) -> Outline {
    Outline { promoted: draft.promotion.is_some(), pins: draft.pins() }
}

/// Environments as the last commit had them that had them.
async fn kept(
    repository: &dyn Repository,
    branch: &str,
    commit: &CommitId,
    claim: &Claim,
    lost: &BTreeSet<EnvironmentName>,
    reading: &Reading,
) -> Result<BTreeMap<EnvironmentName, Arc<Desired>>, RepositoryError> {
    let mut then = desired::read(repository, branch, commit, claim, None, &BTreeMap::new()).await?.environments;
    then.retain(|name, _| lost.contains(name));
    let broken: BTreeSet<EnvironmentName> = lost.iter().filter(|name| !then.contains_key(*name)).cloned().collect();
    if !broken.is_empty() {
        then.extend(desired::last_good(repository, branch, commit, claim, Some(broken), &reading.policies).await?);
    }
    Ok(then)
}
