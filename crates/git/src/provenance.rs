//! Which commit set a value. History is walked once; afterwards only what is new of it.

mod walk;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use gix::ObjectId;
use gix::bstr::{BStr, ByteSlice};
use jiff::Timestamp;

use super::commit::subject;
use super::error::GitError;
use super::trailers::trailers;
use super::tree::{Objects, commit_id};
use pinion_core::model::escape::stripped;
use pinion_core::model::{CommitId, Provenance, Trailer};
use walk::{State, Walk};

/// A file's path, and a key in it: `environments/dev/pins.toml` and `frontend`.
pub type PinKey = (String, String);

/// Reads the values out of a file's bytes (path, bytes → key to value). A file that makes no sense has none, and so has one
/// that is empty.
pub type Extract<'a> = &'a dyn Fn(&str, &[u8]) -> BTreeMap<String, String>;

/// The commits without a pin that are passed over at most, one after the other.
const MAX_WITHOUT: usize = 10_000;

/// The rewritten commits that are remembered at most.
const MAX_REWRITTEN: usize = 10_000;

/// The longest names and subjects that are kept, in characters. They are a untrusted person's text.
const MAX_TEXT: usize = 200;

/// What is known of the provenance of one branch's values. Keep one for each repository and branch.
#[derive(Debug, Default)]
pub struct Provenances {
    known: BTreeMap<PinKey, Known>,
    visited: u64,
    objects_read: u64,
    /// Commits of a branch that was rewritten, each with the one that had set the same pin before.
    rewritten: BTreeMap<ObjectId, ObjectId>,
}

#[derive(Debug)]
struct Known {
    /// The commit at which this was so.
    head: ObjectId,
    value: String,
    provenance: Provenance,
}

impl Provenances {
    /// Knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many commits have been compared with their parents so far.
    #[must_use]
    pub fn visited(&self) -> u64 {
        self.visited
    }

    /// How many commits, trees and files have been read from the repository so far.
    #[must_use]
    pub fn objects_read(&self) -> u64 {
        self.objects_read
    }

    /// For each wanted value that the files at `head` do have, the commit that set it: the nearest on the way back from
    /// `head` none of whose parents has the same value. Where a parent has it, the way goes on there (the first such
    /// parent), so that a merge leads to the commit that was merged; but if its first parent had known that commit, and
    /// taken the value back, it is the merge that sets it again. A root commit sets what it has, and so does the last
    /// commit of a shallow clone.
    ///
    /// A commit at which the file makes no sense, or which lacks the pin or its environment, has pinned nothing else: the way
    /// goes on behind it. What a pin sets is the version of AWS resources: where they were another component's before, or another
    /// environment's, the way goes on there. So nothing is set by who renames a component or an environment's folder, or moves
    /// a target to another environment.
    ///
    /// # Errors
    /// [`GitError::Object`] if history can't be read.
    pub fn provenance(
        &mut self,
        objects: &Objects,
        head: &CommitId,
        wanted: &BTreeMap<PinKey, String>,
        extract: Extract<'_>,
    ) -> Result<BTreeMap<PinKey, Provenance>, GitError> {
        let head = objects.find(head)?;
        let mut walk = Walk::new(objects, extract, wanted);
        let mut open: Open<'_> = BTreeMap::new();
        let mut gaps: BTreeMap<&PinKey, Gap> = BTreeMap::new();
        let mut answers = BTreeMap::new();
        // For each value the merges on the way whose first parent doesn't have it, the newest first.
        let mut merges: BTreeMap<&PinKey, Vec<(ObjectId, ObjectId)>> = BTreeMap::new();
        for (key, value) in wanted {
            if self.knows(key, value, head) || walk.state(head, None, key, value)? == State::Same(key.clone()) {
                open.entry((Reverse(0), head)).or_default().insert(Way { key, here: key.clone(), set: None });
            }
        }
        // Newest first, so that ways that part and meet again are mostly walked once.
        while let Some(((_, commit), ways)) = open.pop_first() {
            let mut compared = false;
            for Way { key, here, set } in ways {
                let Some(value) = wanted.get(key) else { continue };
                match set {
                    None if self.knows(&here, value, commit) => {
                        if let Some(known) = self.known.get(&here) {
                            answers.insert(key.clone(), known.provenance.clone());
                        }
                        continue;
                    }
                    None => drop(gaps.insert(key, Gap { set: commit, open: 1, steps: 0 })),
                    Some(_) => {}
                }
                // Another way may have led over the gap.
                let set = set.unwrap_or(commit);
                let Some(gap) = gaps.get_mut(key).filter(|gap| gap.set == set) else { continue };
                gap.open -= 1;
                compared = true;
                let before = self.before(&mut walk, commit, set, &here, value)?;
                let goes_on = !matches!(&before, Before::Without(parents) if parents.is_empty());
                if set == commit
                    && goes_on
                    && let [first, _, ..] = *walk.commit(commit)?.parents.as_slice()
                    && !self.knows(&here, value, first)
                    && walk.state(first, Some(commit), &here, value)? == State::Other
                {
                    merges.entry(key).or_default().push((commit, first));
                }
                match before {
                    Before::Has(parent, here) => {
                        let known = self.knows(&here, value, parent);
                        let time = if known { 0 } else { walk.commit(parent)?.seconds };
                        gaps.remove(key);
                        open.entry((Reverse(time), parent)).or_default().insert(Way { key, here, set: None });
                    }
                    Before::Without(parents) => {
                        for parent in parents {
                            gap.steps += 1;
                            if gap.steps > MAX_WITHOUT {
                                break;
                            }
                            let way = Way { key, here: here.clone(), set: Some(set) };
                            let time = walk.commit(parent)?.seconds;
                            gap.open += usize::from(open.entry((Reverse(time), parent)).or_default().insert(way));
                        }
                        if gap.open == 0 {
                            gaps.remove(key);
                            answers.insert(key.clone(), describe(objects, set)?);
                        }
                    }
                }
            }
            self.visited += u64::from(compared);
        }
        for (key, crossed) in merges {
            let Some(found) = answers.get(key) else { continue };
            let found = objects.find(&found.commit)?;
            let mut set = found;
            for (merge, first) in crossed.into_iter().rev() {
                if walk.descends(first, set)? {
                    set = merge;
                }
            }
            if set != found {
                answers.insert(key.clone(), describe(objects, set)?);
            }
        }
        self.objects_read += walk.read;
        for (key, provenance) in &answers {
            let Some(value) = wanted.get(key) else { continue };
            self.note_rewriting(objects, head, key, value, provenance)?;
            let known = Known { head, value: value.clone(), provenance: provenance.clone() };
            self.known.insert(key.clone(), known);
        }
        Ok(answers)
    }

    /// What the parents of a commit say of a pin that `set` has: that commit itself, or the last one that had it on the way
    /// here.
    fn before(
        &self,
        walk: &mut Walk<'_>,
        commit: ObjectId,
        set: ObjectId,
        here: &PinKey,
        value: &str,
    ) -> Result<Before, GitError> {
        let mut without = Vec::new();
        for parent in walk.commit(commit)?.parents.iter().copied() {
            if self.knows(here, value, parent) {
                return Ok(Before::Has(parent, here.clone()));
            }
            match walk.state(parent, Some(set), here, value)? {
                State::Same(there) => return Ok(Before::Has(parent, there)),
                State::Other => {}
                State::Unknown => without.push(parent),
            }
        }
        Ok(Before::Without(without))
    }

    /// A branch that was moved elsewhere, and pins the same as before by another commit, has set no new pin: the commit
    /// was amended or rebased. One that comes on top of what was there is a new pin, as ever.
    fn note_rewriting(
        &mut self,
        objects: &Objects,
        head: ObjectId,
        key: &PinKey,
        value: &str,
        provenance: &Provenance,
    ) -> Result<(), GitError> {
        let Some(known) = self.known.get(key).filter(|known| known.value == value && known.head != head) else {
            return Ok(());
        };
        if known.provenance.commit == provenance.commit {
            return Ok(());
        }
        let id = |commit: &CommitId| ObjectId::from_hex(commit.as_str().as_bytes()).ok();
        let (Some(now), Some(before)) = (id(&provenance.commit), id(&known.provenance.commit)) else { return Ok(()) };
        let rewritten = !objects.descends(head, known.head)
            && !objects.descends(known.head, now)
            && !objects.descends(head, before);
        if rewritten && self.original(now) != self.original(before) {
            self.rewritten.insert(now, self.original(before));
        }
        Ok(())
    }

    /// The commit that had set a pin before the branch was rewritten.
    fn original(&self, mut commit: ObjectId) -> ObjectId {
        // There are no circles: what is noted is an original.
        for _ in 0..self.rewritten.len() {
            match self.rewritten.get(&commit) {
                Some(before) => commit = *before,
                None => break,
            }
        }
        commit
    }

    /// Puts the commit that had set a pin first in the place of one that came from rewriting the branch. That one may be
    /// nowhere any more.
    ///
    /// # Errors
    /// Never, for ids as Git has them.
    pub fn restore(&self, provenance: &mut Provenance) -> Result<(), GitError> {
        if let Ok(id) = ObjectId::from_hex(provenance.commit.as_str().as_bytes()) {
            provenance.commit = commit_id(self.original(id))?;
        }
        Ok(())
    }

    /// What is known of rewritten commits, a line each: the commit, and the one that it stands for.
    #[must_use]
    pub fn rewritings(&self) -> String {
        self.rewritten.iter().map(|(now, before)| format!("{now} {before}\n")).collect()
    }

    /// Takes up what another process knew; what isn't as [`Provenances::rewritings`] writes it is passed over.
    pub fn recall(&mut self, rewritings: &str) {
        let ids = rewritings.lines().filter_map(|line| {
            let (now, before) = line.split_once(' ')?;
            Some((ObjectId::from_hex(now.as_bytes()).ok()?, ObjectId::from_hex(before.as_bytes()).ok()?))
        });
        self.rewritten.extend(ids.filter(|(now, before)| now != before).take(MAX_REWRITTEN));
    }

    fn knows(&self, key: &PinKey, value: &str, commit: ObjectId) -> bool {
        self.known.get(key).is_some_and(|known| known.head == commit && known.value == value)
    }
}

/// Where one pin is on its way back.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Way<'a> {
    /// The pin as it is wanted.
    key: &'a PinKey,
    /// Where it is at the commit: components and folders may have had other names.
    here: PinKey,
    /// The last commit that had it, if this one doesn't.
    set: Option<ObjectId>,
}

/// The ways that are still to be walked from a commit, newest first.
type Open<'a> = BTreeMap<(Reverse<i64>, ObjectId), BTreeSet<Way<'a>>>;

/// Commits that don't have a pin, before one that does.
#[derive(Debug)]
struct Gap {
    /// The commit that has it.
    set: ObjectId,
    /// How many ways through the gap are still to be walked.
    open: usize,
    /// How many commits it has had so far.
    steps: usize,
}

/// What is before a commit.
#[derive(Debug)]
enum Before {
    /// A parent that pins the same, and where.
    Has(ObjectId, PinKey),
    /// None that does; behind these there may be one.
    Without(Vec<ObjectId>),
}

/// The commits that are looked at for trailers at most.
const MAX_COMMITS: usize = 10_000;

impl Objects {
    /// A trailer in the messages of all commits that `to` has and `from` hasn't; all that `to` has without a `from`. The
    /// key with one capital, as in [`Provenance::trailers`]. Signatures aren't looked at; see
    /// [`Verifier::honor`](super::Verifier::honor).
    ///
    /// # Errors
    /// [`GitError::Object`] if history can't be read.
    pub fn trailers_since(&self, from: Option<&CommitId>, to: &CommitId, key: &str) -> Result<Vec<Trailer>, GitError> {
        let tip = self.find(to)?;
        let hidden = from.map(|from| self.find(from)).transpose()?;
        let walk = self.repository.rev_walk([tip]).with_hidden(hidden).all();
        let walked = walk.and_then(|walk| walk.take(MAX_COMMITS).map(|commit| Ok(commit?.id)).collect());
        let commits: Vec<ObjectId> = match walked {
            Ok(commits) => commits,
            Err(_) => self.reachable(tip, hidden, MAX_COMMITS)?,
        };
        let mut found = Vec::new();
        for id in commits {
            if let Some(value) = trailers(self.commit(id)?.message.as_ref()).remove(key) {
                found.push(Trailer { commit: commit_id(id)?, value, honored: true });
            }
        }
        Ok(found)
    }
}

/// What people want to know of a commit. Whether it is signed isn't looked at.
pub(super) fn describe(objects: &Objects, id: ObjectId) -> Result<Provenance, GitError> {
    let commit = objects.commit(id)?;
    let seconds = commit.seconds().unwrap_or_default();
    Ok(Provenance {
        commit: commit_id(id)?,
        author: printable(commit.author.name.as_ref()),
        email: printable(commit.author.email.as_ref()),
        time: Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH),
        subject: printable(subject(commit.message.as_ref())),
        trailers: trailers(commit.message.as_ref()),
        signer: None,
    })
}

/// A untrusted person's text without what could steer a terminal, turn the direction of writing, or hide.
pub(super) fn printable(text: &BStr) -> String {
    let text: String = stripped(text.to_str_lossy().trim()).chars().take(MAX_TEXT).collect();
    text.trim().to_owned()
}
