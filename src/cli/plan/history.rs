//! What the working copy's history says about the files, where there is one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;

use super::change::changed;
use super::local::Local;
use crate::cli::error::CliError;
use crate::cli::output;
use crate::cli::signers::{self, Signers, read_pins};
use crate::clock::Clock;
use crate::git::{GitError, Provenances, WorkingCopy};
use crate::guardrail::Policies;
use crate::manifest::{self, Draft, Finding, Findings};
use crate::model::{CommitId, Component, Environment, EnvironmentName, Files, LocalRef, Provenance, Trailer};
use crate::plan::change_limit::{self, Acknowledgement, ChangeLimit, ChangeLimits, Extent};
use crate::reconcile::follow::outline;

/// What the working copy's history says about the files.
pub(in crate::cli) struct History {
    pub(in crate::cli) head: CommitId,
    provenance: BTreeMap<(String, String), Provenance>,
    pub(super) base: Option<Base>,
}

/// The same files as of `--base`.
pub(super) struct Base {
    /// As it was named.
    pub(super) revision: String,
    pub(super) commit: CommitId,
    /// Environments that were good.
    environments: BTreeMap<EnvironmentName, Draft>,
    /// What was wrong with its files.
    findings: BTreeSet<String>,
    /// Its guardrails.
    pub(super) policies: Policies,
    /// What has been changed since then of each target that there is now.
    changed: BTreeMap<(EnvironmentName, LocalRef), Vec<&'static str>>,
    /// What the commits since then say to change limits.
    trailers: Vec<Trailer>,
}

impl History {
    pub(in crate::cli) fn of<'a>(
        dir: &Path,
        base: Option<&str>,
        drafts: impl IntoIterator<Item = &'a Draft>,
    ) -> Result<Self, CliError> {
        let drafts: Vec<&Draft> = drafts.into_iter().collect();
        let nothing = Self { head: CommitId::uncommitted(), provenance: BTreeMap::new(), base: None };
        let copy = match WorkingCopy::discover(dir) {
            Ok(copy) => copy,
            Err(error) if base.is_some() => return Err(error.into()),
            Err(error @ GitError::Unsupported { .. }) => {
                output::note(&format!("{error}; who set the pins isn't known\n"));
                return Ok(nothing);
            }
            Err(_) => return Ok(nothing),
        };
        let objects = copy.objects();
        let head = copy.head()?;
        let base = match base {
            None => None,
            Some(revision) => {
                let commit = copy.resolve(revision)?;
                let files = objects.files(&commit)?;
                let loaded = manifest::load_with_refused(&files.files, &files.refused);
                let trailers = match &head {
                    Some(head) => objects.trailers_since(Some(&commit), head, change_limit::TRAILER)?,
                    None => Vec::new(),
                };
                let findings = loaded.stops(&[]).iter().map(ToString::to_string).collect();
                // What was broken before is new now.
                let environments: BTreeMap<EnvironmentName, Draft> =
                    loaded.environments.into_iter().filter_map(|(name, result)| Some((name, result.ok()?))).collect();
                let targets = drafts.iter().flat_map(|draft| draft.targets.keys().map(move |local| (*draft, local)));
                let changed = targets.map(|(draft, local)| {
                    let parts = changed(draft, environments.get(&draft.name), local);
                    ((draft.name.clone(), local.clone()), parts)
                });
                let changed = changed.collect();
                let (revision, policies) = (revision.to_owned(), loaded.policies);
                Some(Base { revision, commit, environments, findings, policies, changed, trailers })
            }
        };
        let Some(head) = head else { return Ok(Self { base, ..nothing }) };
        let wanted = drafts
            .into_iter()
            .flat_map(|draft| {
                let path = draft.pins_path();
                draft.pins().into_iter().map(move |(component, value)| ((path.clone(), component.to_string()), value))
            })
            .collect();
        let provenance = Provenances::new().provenance(&objects, &head, &wanted, &read_pins)?;
        Ok(Self { head, provenance, base })
    }

    /// Says who signed the commits that set the pins, and lists the commits that a controller would refuse.
    pub(in crate::cli) fn sign(&mut self, signers: &Signers, dir: &Path, now: Timestamp) -> Result<(), CliError> {
        let trailers = self.base.as_mut().map(|base| base.trailers.as_mut_slice()).unwrap_or_default();
        let verified = signers.check(dir, self.provenance.values_mut(), trailers, now)?;
        if let Some(verified) = verified.filter(|verified| verified.refused > 0) {
            output::note(
                &(signers::text(&verified) + "a controller that checks signatures won't follow these commits\n"),
            );
        }
        Ok(())
    }

    pub(in crate::cli) fn complete(&self, draft: &Draft, clock: &dyn Clock) -> Environment {
        let path = draft.pins_path();
        let of_this: BTreeMap<Component, Provenance> = draft
            .pins()
            .into_keys()
            .map(|component| {
                let key = (path.clone(), component.to_string());
                let found = self.provenance.get(&key).cloned();
                (component, found.unwrap_or_else(|| Provenance::uncommitted(clock.now())))
            })
            .collect();
        draft.clone().complete(&of_this)
    }

    /// The folder as the repository that a controller would follow.
    pub(super) fn local(&self, dir: &Path, files: Files, clock: &dyn Clock) -> Local {
        let base = self.base.as_ref();
        Local {
            files,
            copy: WorkingCopy::discover(dir).ok(),
            before: match base {
                Some(base) => Some(base.commit.clone()),
                None => Some(self.head.clone()).filter(|head| !head.is_uncommitted()),
            },
            trailers: base.map(|base| base.trailers.clone()).unwrap_or_default(),
            provenance: self.provenance.clone(),
            uncommitted: Provenance::uncommitted(clock.now()),
        }
    }

    /// What this change changes of a target; `None` without a base.
    pub(super) fn changed(&self, environment: &EnvironmentName, local: &LocalRef) -> Option<Vec<&'static str>> {
        let base = self.base.as_ref()?;
        Some(base.changed.get(&(environment.clone(), local.clone())).cloned().unwrap_or_default())
    }

    /// What was wrong at the base as it is now, and what wasn't.
    pub(super) fn split(&self, broken: Findings) -> (Findings, Findings) {
        let base = self.base.as_ref();
        broken.partition(|finding: &Finding| base.is_some_and(|base| base.findings.contains(&finding.to_string())))
    }

    /// The targets of an environment that this change takes out.
    pub(super) fn removed(&self, environment: &Environment) -> Vec<String> {
        let before = self.base.as_ref().and_then(|base| base.environments.get(&environment.name));
        let before = before.into_iter().flat_map(|before| before.targets.keys());
        before.filter(|local| !environment.targets.contains_key(*local)).map(ToString::to_string).collect()
    }

    /// The environments that this change takes out.
    pub(super) fn removed_environments(&self, now: &BTreeSet<&EnvironmentName>) -> Vec<String> {
        let before = self.base.iter().flat_map(|base| base.environments.keys());
        before.filter(|name| !now.contains(*name)).map(ToString::to_string).collect()
    }

    /// What this change does that change limits hold, and whether that is acknowledged. What is `there` but broken is as it was
    /// before.
    pub(super) fn change_limit<'a>(
        &self,
        drafts: impl IntoIterator<Item = &'a Draft>,
        there: impl IntoIterator<Item = &'a EnvironmentName>,
        limits: ChangeLimits,
    ) -> Option<(ChangeLimit, Acknowledgement)> {
        let base = self.base.as_ref()?;
        let extent = |drafts: &mut dyn Iterator<Item = &Draft>| -> Extent {
            drafts.map(|draft| (draft.name.clone(), outline(draft))).collect()
        };
        let before = extent(&mut base.environments.values());
        let mut after = extent(&mut drafts.into_iter());
        for name in there {
            if let Some(before) = before.get(name).filter(|_| !after.contains_key(name)) {
                after.insert(name.clone(), before.clone());
            }
        }
        change_limit::change_limit(&before, &after, limits)
            .map(|change_limit| (change_limit, Acknowledgement::of(&base.trailers)))
    }
}
