//! A repository in memory, with the pins of a history's targets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use pinion::clock::Clock;
use pinion::model::{CommitId, Files, PinKey, Provenance, RepositoryError, Tip, Trailer};
use pinion::ports::Repository;

type Tree = BTreeMap<String, String>;

/// The branch `main`, commit by commit.
#[derive(Debug)]
pub(crate) struct Git {
    clock: Arc<dyn Clock>,
    commits: Mutex<Vec<Commit>>,
}

#[derive(Debug, Clone)]
struct Commit {
    tree: Tree,
    pins: BTreeMap<PinKey, (String, Provenance)>,
}

impl Git {
    pub(crate) fn new(clock: Arc<dyn Clock>, tree: Tree) -> Self {
        let git = Self { clock, commits: Mutex::default() };
        git.commit(|files| *files = tree);
        git
    }

    /// Commits a change.
    pub(crate) fn commit(&self, change: impl FnOnce(&mut Tree)) -> CommitId {
        let mut commits = self.commits.lock().unwrap();
        let (mut tree, before) = commits.last().map(|tip| (tip.tree.clone(), tip.pins.clone())).unwrap_or_default();
        change(&mut tree);
        let id = id(commits.len());
        let provenance = Provenance {
            commit: id.clone(),
            author: "Ada".to_owned(),
            email: "ada@example.com".to_owned(),
            time: self.clock.now(),
            subject: "a change".to_owned(),
            trailers: BTreeMap::new(),
            signer: None,
        };
        let files = tree.iter().filter(|(path, _)| path.ends_with("/pins.toml"));
        let values = files.flat_map(|(path, text)| {
            let values = pinion::manifest::pin_values(text.as_bytes());
            values.into_iter().map(|(component, value)| (PinKey { path: path.clone(), component }, value))
        });
        let pins = values
            .map(|(key, value)| {
                let kept = before.get(&key).filter(|(before, _)| *before == value);
                let provenance = kept.map_or_else(|| provenance.clone(), |(_, provenance)| provenance.clone());
                (key, (value, provenance))
            })
            .collect();
        commits.push(Commit { tree, pins });
        id
    }

    /// Where the branch is.
    pub(crate) fn tip(&self) -> CommitId {
        id(self.commits.lock().unwrap().len() - 1)
    }

    fn at(&self, commit: &CommitId) -> Commit {
        let number = u64::from_str_radix(commit.as_str(), 16).unwrap();
        self.commits.lock().unwrap()[usize::try_from(number).unwrap() - 1].clone()
    }
}

fn id(index: usize) -> CommitId {
    CommitId::try_from(format!("{:040x}", index + 1)).unwrap()
}

#[async_trait]
impl Repository for Git {
    async fn poll(&self) -> Result<BTreeMap<String, Result<Tip, RepositoryError>>, RepositoryError> {
        Ok(BTreeMap::from([("main".to_owned(), Ok(Tip { commit: self.tip(), forced: false, refused: None }))]))
    }

    async fn files(&self, commit: &CommitId) -> Result<Files, RepositoryError> {
        let files = self.at(commit).tree.into_iter().map(|(path, text)| (path, text.into_bytes())).collect();
        Ok(Files { files, refused: BTreeMap::new() })
    }

    async fn before(&self, commit: &CommitId) -> Result<Option<CommitId>, RepositoryError> {
        let number = usize::try_from(u64::from_str_radix(commit.as_str(), 16).unwrap()).unwrap();
        Ok(number.checked_sub(2).map(id))
    }

    async fn trailers(&self, _: &str, _: &CommitId, _: &str) -> Result<Vec<Trailer>, RepositoryError> {
        Ok(Vec::new())
    }

    async fn provenance(
        &self,
        _: &str,
        commit: &CommitId,
        pins: &BTreeMap<PinKey, String>,
    ) -> Result<BTreeMap<PinKey, Provenance>, RepositoryError> {
        let known = self.at(commit).pins;
        Ok(pins.keys().map(|key| (key.clone(), known[key].1.clone())).collect())
    }
}
