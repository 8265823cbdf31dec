//! The repository as the loop sees it: the blocking mirror, on threads where blocking is allowed.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::{BranchTip, GitError, Mirrors, Provenances, RepositorySource, Verifier};
use pinion_clock::Clock;
use pinion_core::config::Verify;
use pinion_core::model::cause::chain;
use pinion_core::model::{CommitId, Files, PinKey, Provenance, RepositoryError, Tip, Trailer, Verified};
use pinion_core::ports::Repository;

/// Reads the pins out of a `pins.toml`: its path and bytes in, the canonical text of each component's value out. What
/// can't be read has no pins.
pub type ReadPins = fn(&str, &[u8]) -> BTreeMap<String, String>;

/// The folders in which files count.
pub(super) const FOLDERS: [&str; 2] = ["environments", "policies"];

/// One repository, polled through a mirror.
pub struct MirroredRepository {
    inner: Arc<Inner>,
}

struct Inner {
    mirrors: Arc<Mirrors>,
    source: RepositorySource,
    read_pins: ReadPins,
    interrupt: Arc<AtomicBool>,
    provenances: Mutex<BTreeMap<String, Provenances>>,
    /// Where the mirror had each branch before it was moved elsewhere, until it is known what was pinned there.
    moved_from: Mutex<BTreeMap<String, CommitId>>,
    /// What checks the signatures of each branch that has some to be checked.
    verifiers: BTreeMap<String, Mutex<Verifier>>,
    clock: Arc<dyn Clock>,
}

impl MirroredRepository {
    /// The repository that `source` names; `verify` says whose signatures count on which branch, where any are asked for.
    /// Setting `interrupt` ends a fetch in flight.
    ///
    /// # Errors
    /// [`GitError::Keys`] if a file of keys is wrong.
    pub fn new(
        mirrors: Arc<Mirrors>,
        source: RepositorySource,
        read_pins: ReadPins,
        interrupt: Arc<AtomicBool>,
        verify: &BTreeMap<String, Verify>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, GitError> {
        let provenances = Mutex::default();
        let verifier = |(branch, verify): (&String, &Verify)| {
            Ok((branch.clone(), Mutex::new(Verifier::new(verify.clone(), read_pins)?)))
        };
        let verifiers = verify.iter().map(verifier).collect::<Result<_, GitError>>()?;
        let moved_from = Mutex::default();
        let inner = Inner { mirrors, source, read_pins, interrupt, provenances, moved_from, verifiers, clock };
        Ok(Self { inner: Arc::new(inner) })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, GitError> + Send + 'static,
    ) -> Result<T, RepositoryError> {
        let inner = Arc::clone(&self.inner);
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(result) => result.map_err(|error| RepositoryError(chain(&error))),
            Err(error) => Err(RepositoryError(format!("reading the repository ended unexpectedly: {error}"))),
        }
    }
}

#[async_trait]
impl Repository for MirroredRepository {
    async fn poll(&self) -> Result<BTreeMap<String, Result<Tip, RepositoryError>>, RepositoryError> {
        let poll = self
            .blocking(|inner| {
                let mirror = inner.mirrors.open(&inner.source)?;
                let poll = match mirror.poll(&inner.interrupt) {
                    // What was fetched before stays what is wanted, also for a process that was started since.
                    Err(error @ GitError::TooLarge { .. }) => return Ok(Err((mirror.kept()?, error))),
                    poll => poll?,
                };
                let mut moved_from = inner.moved_from.lock().unwrap_or_else(PoisonError::into_inner);
                for (branch, tip) in &poll.branches {
                    if let Ok(BranchTip { previous: Some(previous), forced: true, .. }) = tip {
                        moved_from.entry(branch.clone()).or_insert_with(|| previous.clone());
                    }
                }
                Ok(Ok(poll))
            })
            .await?;
        let poll = match poll {
            Ok(poll) => poll,
            Err((kept, error)) => {
                let error = RepositoryError(chain(&error));
                let tip = |commit: Option<CommitId>| match commit {
                    Some(commit) => Ok(Tip { commit, forced: false, refused: Some(error.clone()) }),
                    None => Err(error.clone()),
                };
                return Ok(kept.into_iter().map(|(branch, commit)| (branch, tip(commit))).collect());
            }
        };
        Ok(poll
            .branches
            .into_iter()
            .map(|(branch, tip)| {
                let tip = tip
                    .map(|tip| Tip { commit: tip.commit, forced: tip.forced, refused: None })
                    .map_err(|error| RepositoryError(chain(&error)));
                (branch, tip)
            })
            .collect())
    }

    async fn kept(&self) -> Result<BTreeMap<String, CommitId>, RepositoryError> {
        let kept = self.blocking(|inner| inner.mirrors.open(&inner.source)?.kept()).await?;
        Ok(kept.into_iter().filter_map(|(branch, commit)| Some((branch, commit?))).collect())
    }

    async fn files(&self, commit: &CommitId) -> Result<Files, RepositoryError> {
        let commit = commit.clone();
        self.blocking(move |inner| inner.mirrors.open(&inner.source)?.files(&commit)).await
    }

    async fn verify(&self, branch: &str, tip: &CommitId, last: Option<&CommitId>) -> Result<Verified, RepositoryError> {
        if !self.inner.verifiers.contains_key(branch) {
            return Ok(Verified::unchecked(tip));
        }
        let (branch, tip, last) = (branch.to_owned(), tip.clone(), last.cloned());
        self.blocking(move |inner| {
            let Some(verifier) = inner.verifiers.get(&branch) else { return Ok(Verified::unchecked(&tip)) };
            let objects = inner.mirrors.open(&inner.source)?.objects()?;
            let mut verifier = verifier.lock().unwrap_or_else(PoisonError::into_inner);
            verifier.verify(&objects, &tip, last.as_ref(), inner.clock.now(), &inner.interrupt)
        })
        .await
    }

    async fn before(&self, commit: &CommitId) -> Result<Option<CommitId>, RepositoryError> {
        let commit = commit.clone();
        self.blocking(move |inner| inner.mirrors.open(&inner.source)?.objects()?.first_parent(&commit)).await
    }

    async fn trailers(&self, branch: &str, commit: &CommitId, key: &str) -> Result<Vec<Trailer>, RepositoryError> {
        let (branch, commit, key) = (branch.to_owned(), commit.clone(), key.to_owned());
        self.blocking(move |inner| {
            let objects = inner.mirrors.open(&inner.source)?.objects()?;
            let before = objects.first_parent(&commit)?;
            let mut trailers = objects.trailers_since(before.as_ref(), &commit, &key)?;
            if let Some(verifier) = inner.verifiers.get(&branch) {
                let mut verifier = verifier.lock().unwrap_or_else(PoisonError::into_inner);
                verifier.honor(&objects, &mut trailers, inner.clock.now())?;
            }
            Ok(trailers)
        })
        .await
    }

    async fn provenance(
        &self,
        branch: &str,
        commit: &CommitId,
        pins: &BTreeMap<PinKey, String>,
    ) -> Result<BTreeMap<PinKey, Provenance>, RepositoryError> {
        let (branch, commit) = (branch.to_owned(), commit.clone());
        let wanted: BTreeMap<(String, String), String> =
            pins.iter().map(|(key, value)| ((key.path.clone(), key.component.clone()), value.clone())).collect();
        let found = self
            .blocking(move |inner| {
                let objects = inner.mirrors.open(&inner.source)?.objects()?;
                let mut provenances = inner.provenances.lock().unwrap_or_else(PoisonError::into_inner);
                let mirror = inner.mirrors.open(&inner.source)?;
                let is_new = !provenances.contains_key(&branch);
                let known = provenances.entry(branch.clone()).or_default();
                let extract = |path: &str, bytes: &[u8]| (inner.read_pins)(path, bytes);
                let moved_from = inner.moved_from.lock().unwrap_or_else(PoisonError::into_inner).remove(&branch);
                if is_new {
                    known.recall(&mirror.rewritings());
                    // What the process before has followed, if the branch was moved while there was none.
                    if let Some(before) = moved_from.filter(|before| objects.find(before).is_ok()) {
                        known.provenance(&objects, &before, &wanted, &extract)?;
                    }
                }
                let noted = known.rewritings();
                let mut found = known.provenance(&objects, &commit, &wanted, &extract)?;
                if known.rewritings() != noted {
                    mirror.note_rewritings(&known.rewritings());
                }
                if let Some(verifier) = inner.verifiers.get(&branch) {
                    let mut verifier = verifier.lock().unwrap_or_else(PoisonError::into_inner);
                    for provenance in found.values_mut() {
                        verifier.vouch(&objects, provenance, inner.clock.now())?;
                    }
                }
                for provenance in found.values_mut() {
                    known.restore(provenance)?;
                }
                Ok(found)
            })
            .await?;
        Ok(found.into_iter().map(|((path, component), found)| (PinKey { path, component }, found)).collect())
    }
}
