//! A repository in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::PausedClock;
use crate::clock::Clock as _;
use crate::manifest::pin_values;
use crate::model::{AccountId, CommitId, Files, PinKey, Provenance, RepositoryError, Tip, Trailer};
use crate::ports::Repository;

type Tree = BTreeMap<String, Vec<u8>>;

/// What stands before the path of what can't be taken; its bytes say why.
const REFUSED: &str = "refused:";

/// A repository whose branches are moved by the test.
pub(super) struct Git {
    clock: Arc<PausedClock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tips: BTreeMap<String, CommitId>,
    commits: BTreeMap<CommitId, Commit>,
    forced: bool,
    /// Set while it can't be read.
    down: Option<String>,
    /// Set while its files can't be read.
    unreadable: Option<String>,
    /// Where each branch was when an earlier process fetched it.
    kept: BTreeMap<String, CommitId>,
    /// How long a poll takes.
    takes: Duration,
    panics: bool,
    polls: usize,
    files: usize,
}

#[derive(Clone, Default)]
struct Commit {
    tree: Tree,
    parent: Option<CommitId>,
    pins: BTreeMap<PinKey, (String, Provenance)>,
}

impl Git {
    pub(super) fn new(clock: Arc<PausedClock>) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// Commits a change of `main`.
    pub(super) fn commit(&self, change: impl FnOnce(&mut Tree)) -> CommitId {
        self.commit_on("main", change)
    }

    pub(super) fn commit_on(&self, branch: &str, change: impl FnOnce(&mut Tree)) -> CommitId {
        let mut state = self.state.lock().unwrap();
        let parent = state.tips.get(branch).cloned();
        let Commit { mut tree, pins, .. } =
            state.tips.get(branch).map(|tip| state.commits[tip].clone()).unwrap_or_default();
        change(&mut tree);
        let id = CommitId::try_from(format!("{:040x}", state.commits.len() + 1)).unwrap();
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
        let values = files.flat_map(|(path, bytes)| {
            pin_values(bytes).into_iter().map(|(component, value)| (PinKey { path: path.clone(), component }, value))
        });
        let pins = values
            .map(|(key, value)| {
                let before = pins.get(&key).filter(|(before, _)| *before == value);
                let provenance = before.map_or_else(|| provenance.clone(), |(_, provenance)| provenance.clone());
                (key, (value, provenance))
            })
            .collect();
        state.commits.insert(id.clone(), Commit { tree, parent, pins });
        state.tips.insert(branch.to_owned(), id.clone());
        id
    }

    /// Adds an environment with the group `web` on pin 1.0.
    pub(super) fn add(&self, name: &str) {
        self.add_on("main", name);
    }

    pub(super) fn add_on(&self, branch: &str, name: &str) {
        self.commit_on(branch, |tree| {
            tree.insert(file(name, "environment.toml"), environment(name, "").into_bytes());
            tree.insert(file(name, "pins.toml"), b"web = \"1.0\"\n".to_vec());
        });
    }

    /// Appends to an environment's `environment.toml`: tables, or keys of the group `web`.
    pub(super) fn append(&self, name: &str, text: &str) {
        self.commit(|tree| {
            tree.get_mut(&file(name, "environment.toml")).unwrap().extend_from_slice(text.as_bytes());
        });
    }

    pub(super) fn pin(&self, name: &str, version: &str) -> CommitId {
        self.commit(|tree| {
            tree.insert(file(name, "pins.toml"), format!("web = \"{version}\"\n").into_bytes());
        })
    }

    pub(super) fn remove(&self, name: &str) {
        self.commit(|tree| tree.retain(|path, _| !path.starts_with(&format!("environments/{name}/"))));
    }

    /// Breaks an environment's file, or fixes it.
    pub(super) fn write(&self, name: &str, text: &str) {
        self.commit(|tree| {
            tree.insert(file(name, "environment.toml"), text.as_bytes().to_vec());
        });
    }

    /// Moves `main` to where it was before, as a force-push does.
    pub(super) fn force_to(&self, commit: &CommitId) {
        let mut state = self.state.lock().unwrap();
        state.tips.insert("main".to_owned(), commit.clone());
        state.forced = true;
    }

    /// Deletes a branch, and says where it was.
    pub(super) fn delete(&self, branch: &str) -> CommitId {
        self.state.lock().unwrap().tips.remove(branch).unwrap()
    }

    pub(super) fn restore(&self, branch: &str, commit: CommitId) {
        self.state.lock().unwrap().tips.insert(branch.to_owned(), commit);
    }

    pub(super) fn set_down(&self, why: Option<&str>) {
        self.state.lock().unwrap().down = why.map(str::to_owned);
    }

    /// An earlier process has fetched the branches as they are now.
    pub(super) fn keep(&self) {
        let mut state = self.state.lock().unwrap();
        state.kept = state.tips.clone();
    }

    pub(super) fn set_unreadable(&self, why: Option<&str>) {
        self.state.lock().unwrap().unreadable = why.map(str::to_owned);
    }

    /// Replaces everything below a folder by the reason why it can't be taken.
    pub(super) fn refuse(&self, folder: &str, why: &str) {
        self.commit(|tree| {
            tree.retain(|path, _| !path.starts_with(&format!("{folder}/")));
            tree.insert(format!("{REFUSED}{folder}"), why.as_bytes().to_vec());
        });
    }

    pub(super) fn slow(&self, takes: Duration) {
        self.state.lock().unwrap().takes = takes;
    }

    pub(super) fn panic(&self) {
        self.state.lock().unwrap().panics = true;
    }

    pub(super) fn polls(&self) -> usize {
        self.state.lock().unwrap().polls
    }

    /// How many times files were read.
    pub(super) fn files_read(&self) -> usize {
        self.state.lock().unwrap().files
    }
}

/// An `environment.toml` with the group `web` at its end, and this below it.
pub(super) fn environment(name: &str, more: &str) -> String {
    let account = account(name);
    format!(
        "[account]\nid = \"{account}\"\nregion = \"us-west-1\"\nrole = \"arn:aws:iam::{account}:role/pinion\"\n\
         [asg.web]\nami = {{ name = \"web-{{version}}\" }}\n{more}"
    )
}

/// The account of an environment: each has one of its own.
pub(super) fn account(environment: &str) -> AccountId {
    let number = environment.bytes().fold(0_u64, |number, byte| number * 31 + u64::from(byte));
    AccountId::try_from(format!("{:012}", number % 1_000_000_000_000)).unwrap()
}

fn file(name: &str, file: &str) -> String {
    format!("environments/{name}/{file}")
}

#[async_trait]
impl Repository for Git {
    async fn poll(&self) -> Result<BTreeMap<String, Result<Tip, RepositoryError>>, RepositoryError> {
        let takes = self.state.lock().unwrap().takes;
        tokio::time::sleep(takes).await;
        let mut state = self.state.lock().unwrap();
        state.polls += 1;
        assert!(!state.panics, "the test wants a panic");
        if let Some(why) = &state.down {
            return Err(RepositoryError(why.clone()));
        }
        let forced = std::mem::take(&mut state.forced);
        let mut tips: BTreeMap<_, _> = state
            .tips
            .iter()
            .map(|(branch, commit)| (branch.clone(), Ok(Tip { commit: commit.clone(), forced, refused: None })))
            .collect();
        if tips.is_empty() {
            let missing = RepositoryError("branch main doesn't exist".to_owned());
            tips.insert("main".to_owned(), Err(missing));
        }
        Ok(tips)
    }

    async fn kept(&self) -> Result<BTreeMap<String, CommitId>, RepositoryError> {
        Ok(self.state.lock().unwrap().kept.clone())
    }

    async fn files(&self, commit: &CommitId) -> Result<Files, RepositoryError> {
        let mut state = self.state.lock().unwrap();
        state.files += 1;
        if let Some(why) = &state.unreadable {
            return Err(RepositoryError(why.clone()));
        }
        let (mut files, mut refused) = (state.commits[commit].tree.clone(), BTreeMap::new());
        files.retain(|path, bytes| match path.strip_prefix(REFUSED) {
            Some(path) => refused.insert(path.to_owned(), String::from_utf8(bytes.clone()).unwrap()).is_some(),
            None => true,
        });
        Ok(Files { files, refused })
    }

    async fn before(&self, commit: &CommitId) -> Result<Option<CommitId>, RepositoryError> {
        Ok(self.state.lock().unwrap().commits[commit].parent.clone())
    }

    async fn trailers(&self, _: &str, commit: &CommitId, key: &str) -> Result<Vec<Trailer>, RepositoryError> {
        let state = self.state.lock().unwrap();
        let pins = state.commits[commit].pins.values();
        let mine = pins.filter(|(_, provenance)| provenance.commit == *commit);
        let values = mine.filter_map(|(_, provenance)| provenance.trailers.get(key).cloned());
        Ok(values.map(|value| Trailer { commit: commit.clone(), value, honored: true }).collect())
    }

    async fn provenance(
        &self,
        _: &str,
        commit: &CommitId,
        pins: &BTreeMap<PinKey, String>,
    ) -> Result<BTreeMap<PinKey, Provenance>, RepositoryError> {
        let state = self.state.lock().unwrap();
        let known = &state.commits[commit].pins;
        Ok(pins.keys().map(|key| (key.clone(), known[key].1.clone())).collect())
    }
}
