//! Bare mirrors in a cache folder. A mirror may be deleted or damaged at any time: the next poll clones it again.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gix::ObjectId;

use super::error::{Cause, GitError};
use super::fetch::{Exchange, Failure, Tips};
use super::source::{Programs, Remote, RepositorySource};
use super::tree::{Objects, commit_id};
use super::watch::Watch;
use pinion_core::model::{CommitId, Files};

/// How often a running fetch is looked at, for an interrupt or a stall.
const LOOK: Duration = Duration::from_millis(20);

/// How long a fetch that was given up may take to end, before it is left to end by itself.
const FAREWELL: Duration = Duration::from_millis(500);

/// The file in a mirror that has what is known of rewritten commits.
const REWRITINGS: &str = "pinion-rewritten";

/// The mirrors in one cache folder.
#[derive(Debug)]
pub struct Mirrors {
    cache: PathBuf,
    programs: Programs,
    open: Mutex<BTreeMap<String, Arc<Mirror>>>,
}

impl Mirrors {
    /// The mirrors in a folder, which is made when it is needed.
    #[must_use]
    pub fn new(cache: PathBuf, programs: Programs) -> Self {
        Self { cache, programs, open: Mutex::default() }
    }

    /// The mirror of a repository. Two sources with one URL and one way in get one mirror, which then follows the
    /// branches of both, with the time-outs of the first. Nothing is sent, and nothing is written.
    ///
    /// # Errors
    /// [`GitError::Url`] if the URL, a branch or the way in isn't possible.
    pub fn open(&self, source: &RepositorySource) -> Result<Arc<Mirror>, GitError> {
        let remote = Remote::new(source)?;
        let name = remote.folder();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = self.cache.join(&name);
        let mirror = open.entry(name).or_insert_with(|| {
            let programs = self.programs.clone();
            Arc::new(Mirror {
                remote,
                programs,
                folder,
                branches: Mutex::default(),
                tips: Mutex::default(),
                suspect: Arc::default(),
            })
        });
        mirror.branches.lock().unwrap_or_else(PoisonError::into_inner).extend(source.branches.iter().cloned());
        Ok(Arc::clone(mirror))
    }
}

/// The mirror of one repository.
#[derive(Debug)]
pub struct Mirror {
    remote: Remote,
    programs: Programs,
    folder: PathBuf,
    branches: Mutex<BTreeSet<String>>,
    /// The tips of the last poll. The lock is held during a poll, so that there is one at a time.
    tips: Mutex<BTreeMap<String, ObjectId>>,
    /// Set when an object couldn't be read: the next poll clones again.
    suspect: Arc<AtomicBool>,
}

/// What a poll found.
#[derive(Debug)]
pub struct Poll {
    /// Each branch that is followed: its tip, or [`GitError::MissingBranch`].
    pub branches: BTreeMap<String, Result<BranchTip, GitError>>,
    /// Whether anything was fetched. If not, the poll has cost one listing of the branches.
    pub fetched: bool,
}

/// The tip of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchTip {
    /// The commit it points at.
    pub commit: CommitId,
    /// The commit it pointed at before, if that is known; the same if it hasn't moved.
    pub previous: Option<CommitId>,
    /// Whether it was moved to a commit that doesn't descend from the previous one.
    pub forced: bool,
}

impl Mirror {
    /// The repository's URL, without credentials.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.remote.shown
    }

    /// The folder of the mirror. It may not be there.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Lists the branches that are followed and, if one has moved, fetches them all at once. Blocks; returns soon after
    /// `interrupt` is set. A mirror that is missing or broken is cloned again.
    ///
    /// # Errors
    /// [`GitError`] if the server can't be asked or the cache folder can't be written.
    pub fn poll(&self, interrupt: &AtomicBool) -> Result<Poll, GitError> {
        let mut known = self.tips.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted: Vec<String> =
            self.branches.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        if known.is_empty() {
            *known = self.recorded_tips(&wanted);
        }
        let found = if !self.folder.is_dir() || self.suspect.load(Ordering::SeqCst) {
            let found = self.clone_again(&wanted, interrupt)?;
            tracing::info!(repository = self.url(), mirror = %self.folder.display(), "cloned into the cache");
            found
        } else {
            match self.exchange(&self.folder, &wanted, interrupt) {
                Ok(found) => found,
                Err(Failure::Remote(error)) => return Err(error),
                Err(Failure::Local(cause)) => {
                    tracing::warn!(repository = self.url(), mirror = %self.folder.display(), %cause, "cloning again");
                    self.clone_again(&wanted, interrupt)?
                }
            }
        };
        let mut branches = BTreeMap::new();
        for branch in wanted {
            let tip = match found.branches.get(&branch) {
                None => {
                    known.remove(&branch);
                    Err(GitError::MissingBranch { url: self.url().to_owned(), branch: branch.clone() })
                }
                Some(tip) => {
                    let previous = known.get(&branch).copied();
                    let forced = match previous {
                        Some(previous) if previous != *tip => !self.objects()?.descends(*tip, previous),
                        _ => false,
                    };
                    known.insert(branch.clone(), *tip);
                    Ok(BranchTip { commit: commit_id(*tip)?, previous: previous.map(commit_id).transpose()?, forced })
                }
            };
            branches.insert(branch, tip);
        }
        Ok(Poll { branches, fetched: found.fetched })
    }

    /// Where the mirror has each branch that is followed; `None` for one that was never fetched.
    ///
    /// # Errors
    /// [`GitError::Object`] if an id makes no sense.
    pub(super) fn kept(&self) -> Result<BTreeMap<String, Option<CommitId>>, GitError> {
        let wanted: Vec<String> =
            self.branches.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        let tips = self.recorded_tips(&wanted);
        let tip = |branch: &String| tips.get(branch).copied().map(commit_id).transpose();
        wanted.iter().map(|branch| Ok((branch.clone(), tip(branch)?))).collect()
    }

    /// The objects of the mirror as it is now.
    ///
    /// # Errors
    /// [`GitError::Mirror`] if the mirror isn't there (it hasn't been polled, or was deleted since).
    pub fn objects(&self) -> Result<Objects, GitError> {
        Objects::open(&self.folder, self.url().to_owned(), Arc::clone(&self.suspect)).map_err(|source| {
            self.suspect.store(true, Ordering::SeqCst);
            self.unusable(source)
        })
    }

    /// The files at a commit that count.
    ///
    /// # Errors
    /// As [`Objects::files`], and [`GitError::Mirror`].
    pub fn files(&self, commit: &CommitId) -> Result<Files, GitError> {
        self.objects()?.files(commit)
    }

    /// What an earlier process has noted of rewritten commits; empty if nothing is.
    pub(super) fn rewritings(&self) -> String {
        std::fs::read_to_string(self.folder.join(REWRITINGS)).unwrap_or_default()
    }

    /// Notes rewritten commits beside what was mirrored. Without them a version that was quarantined is tried once more after
    /// a restart, so that what can't be written is only logged.
    pub(super) fn note_rewritings(&self, more: &str) {
        let mut lines: BTreeSet<String> = self.rewritings().lines().map(str::to_owned).collect();
        lines.extend(more.lines().map(str::to_owned));
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let (path, fresh) = (self.folder.join(REWRITINGS), self.folder.join(format!("{REWRITINGS}.new")));
        let written = std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, &path));
        if let Err(error) = written {
            tracing::warn!(repository = self.url(), path = %path.display(), %error, "can't note rewritten commits");
        }
    }

    fn unusable(&self, source: Cause) -> GitError {
        GitError::Mirror { url: self.url().to_owned(), path: self.folder.clone(), source }
    }

    /// The tips that an earlier process has left in the mirror.
    fn recorded_tips(&self, wanted: &[String]) -> BTreeMap<String, ObjectId> {
        match Objects::open(&self.folder, self.url().to_owned(), Arc::default()) {
            Ok(objects) => {
                let tips = wanted.iter().map(|branch| (branch.clone(), objects.mirrored(branch)));
                tips.filter_map(|(branch, tip)| Some((branch, tip?))).collect()
            }
            Err(_) => BTreeMap::new(),
        }
    }

    /// Clones next to the old mirror, then puts the new one in its place: a clone that breaks off leaves nothing half.
    fn clone_again(&self, wanted: &[String], interrupt: &AtomicBool) -> Result<Tips, GitError> {
        let io = |error: std::io::Error| self.unusable(Cause::of(&error));
        let fresh = self.folder.with_extension("new");
        remove(&fresh).map_err(io)?;
        if let Some(parent) = fresh.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(io)?;
        }
        let found = match self.exchange(&fresh, wanted, interrupt) {
            Ok(found) => found,
            Err(failure) => {
                // The error that led here is worth more than one about the leftovers.
                let _ = remove(&fresh);
                return Err(match failure {
                    Failure::Remote(error) => error,
                    Failure::Local(cause) => self.unusable(cause),
                });
            }
        };
        if self.folder.join(REWRITINGS).is_file() {
            // They are worth more than the mirror, which the server has.
            let _ = std::fs::copy(self.folder.join(REWRITINGS), fresh.join(REWRITINGS));
        }
        remove(&self.folder).map_err(io)?;
        std::fs::rename(&fresh, &self.folder).map_err(io)?;
        self.suspect.store(false, Ordering::SeqCst);
        Ok(Tips { branches: found.branches, fetched: true })
    }

    /// Holds a conversation on a thread of its own, and gives it up on an interrupt or a stall.
    fn exchange(&self, folder: &Path, wanted: &[String], interrupt: &AtomicBool) -> Result<Tips, Failure> {
        let watch = Arc::new(Watch::default());
        let exchange = Exchange {
            remote: self.remote.clone(),
            programs: self.programs.clone(),
            branches: wanted.to_vec(),
            folder: folder.to_owned(),
            watch: Arc::clone(&watch),
        };
        let (sender, receiver) = sync_channel(1);
        std::thread::spawn(move || {
            let result = exchange.run();
            exchange.watch.reap();
            // Nobody listens any more if we were given up.
            let _ = sender.send(result);
        });
        let looks = |limit: Duration| limit.as_millis() / LOOK.as_millis().max(1);
        let (stalled, overdue) = (looks(self.remote.stall_timeout), looks(self.remote.poll_timeout));
        let (mut quiet, mut all, mut seen) = (0_u128, 0_u128, None);
        let url = || self.url().to_owned();
        loop {
            match receiver.recv_timeout(LOOK) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::Local(Cause("the thread that fetches has ended unexpectedly".to_owned())));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = watch.waiting_at();
            quiet = if now.is_some() && now == seen { quiet + 1 } else { 0 };
            seen = now;
            all += 1;
            let interrupted = interrupt.load(Ordering::SeqCst);
            if interrupted || quiet > stalled || all > overdue {
                watch.give_up();
                let _ = receiver.recv_timeout(FAREWELL);
                return Err(Failure::Remote(if interrupted {
                    GitError::Interrupted { url: url() }
                } else if all > overdue {
                    GitError::Overdue { url: url(), limit: self.remote.poll_timeout }
                } else {
                    GitError::Stalled { url: url(), limit: self.remote.stall_timeout }
                }));
            }
        }
    }
}

/// Removes a folder, or whatever else is in its place, if anything is.
fn remove(path: &Path) -> std::io::Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
