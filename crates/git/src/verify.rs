//! Which commit of a branch counts, by the signatures of all commits up to its tip.
//!
//! A commit counts if its own signature holds and all of its parents count, back to the roots or to the commit that the
//! configuration says is trusted. That is a function of history, keys and configuration, so nothing has to be remembered:
//! a process that starts again finds what the one before it had accepted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gix::ObjectId;
use jiff::Timestamp;

use super::error::{Cause, GitError};
use super::merge::Merges;
use super::port::ReadPins;
use super::provenance::{describe, printable};
use super::tree::{Objects, commit_id};
use pinion_core::config::Verify;
use pinion_core::model::status::RefusedCommit;
use pinion_core::model::{CommitId, Provenance, Trailer, Verified};
use pinion_core::signature::{Commit, Keys, Refusal, Signed, Trust};

/// So many refused commits are named.
const MAX_NAMED: usize = 20;

/// The largest file of keys, in bytes.
const LARGEST_FILE: u64 = 8 << 20;

/// What is to be said of a commit by itself.
type Judgement = Result<Arc<Signed>, Refusal>;

/// Whether a commit counts with all that it rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It does, no matter who made it: the trusted commit rests on it.
    Trusted,
    /// It does by signatures.
    Signed,
    /// It doesn't.
    Refused,
}

/// Checks the signatures of one branch.
#[derive(Debug)]
pub struct Verifier {
    policy: Verify,
    /// What the files of keys held when they were last read.
    files: Vec<Vec<u8>>,
    trust: Trust,
    merges: Merges,
    /// The verdict on each commit that was looked at.
    verdicts: HashMap<ObjectId, Judgement>,
    /// What is to be said of a commit with all that it rests on.
    standings: HashMap<ObjectId, Standing>,
    /// The newest date of a commit and of all that it rests on, in seconds since 1970, for those that have a standing.
    newest: HashMap<ObjectId, i64>,
    /// Whether what the trusted commit rests on is among them.
    rooted: bool,
    /// Commits with a parent that isn't there, and that parent.
    missing: HashMap<ObjectId, ObjectId>,
    /// The last answer, and what was asked.
    answer: Option<((ObjectId, Option<ObjectId>), Verified)>,
}

impl Verifier {
    /// Reads the files of keys. What `read_pins` reads is compared in the merges of forges.
    ///
    /// # Errors
    /// [`GitError::Keys`] if a file can't be read or is wrong.
    pub fn new(policy: Verify, read_pins: ReadPins) -> Result<Self, GitError> {
        let mut verifier = Self {
            policy,
            files: Vec::new(),
            trust: Trust::default(),
            merges: Merges::new(read_pins),
            verdicts: HashMap::new(),
            standings: HashMap::new(),
            newest: HashMap::new(),
            rooted: false,
            missing: HashMap::new(),
            answer: None,
        };
        verifier.refresh()?;
        Ok(verifier)
    }

    /// Reads the files of keys again. If they have changed, all is looked at again.
    fn refresh(&mut self) -> Result<(), GitError> {
        type Read = fn(&[u8]) -> Result<Keys, Vec<String>>;
        // The last one says whether they are a forge's.
        let sources: [(&Option<PathBuf>, Read, bool); 3] = [
            (&self.policy.allowed_signers, Keys::allowed_signers, false),
            (&self.policy.keyring, Keys::keyring, false),
            (&self.policy.forge_keys, Keys::either, true),
        ];
        let named: Vec<(&PathBuf, Read, bool)> =
            sources.into_iter().filter_map(|(path, read, forge)| Some((path.as_ref()?, read, forge))).collect();
        let files: Vec<Vec<u8>> = named.iter().map(|(path, ..)| read_keys(path)).collect::<Result<_, _>>()?;
        if files == self.files {
            return Ok(());
        }
        let mut trust = Trust::default();
        for ((path, read, forge), bytes) in named.into_iter().zip(&files) {
            let keys =
                read(bytes).map_err(|errors| GitError::Keys { path: path.clone(), reason: errors.join("; ") })?;
            if forge { trust.forges.extend(keys) } else { trust.signers.extend(keys) }
        }
        self.trust = trust;
        self.files = files;
        self.verdicts.clear();
        self.standings.clear();
        self.newest.clear();
        self.missing.clear();
        self.rooted = false;
        self.answer = None;
        Ok(())
    }

    /// Forgets what was said of commits whose parents weren't there then and are now: the server's history was cut off,
    /// and has been completed since.
    fn look_again(&mut self, objects: &Objects) {
        let come: Vec<ObjectId> = self
            .missing
            .iter()
            .filter(|(_, parent)| objects.repository.has_object(**parent))
            .map(|(commit, _)| *commit)
            .collect();
        if come.is_empty() {
            return;
        }
        for commit in come {
            self.missing.remove(&commit);
            self.verdicts.remove(&commit);
        }
        self.standings.clear();
        self.newest.clear();
        self.rooted = false;
        self.answer = None;
    }

    /// Which commit counts for a branch whose tip is this. With `last`, the commit that counted so far, nothing does that
    /// doesn't descend from it: a branch that is rewritten or cut back takes nothing back as long as its tip is refused.
    ///
    /// # Errors
    /// [`GitError`] if the files of keys are wrong, or history can't be read.
    pub fn verify(
        &mut self,
        objects: &Objects,
        tip: &CommitId,
        last: Option<&CommitId>,
        now: Timestamp,
        interrupt: &AtomicBool,
    ) -> Result<Verified, GitError> {
        self.refresh()?;
        self.look_again(objects);
        let tip_id = objects.find(tip)?;
        let last_id = last.and_then(|last| ObjectId::from_hex(last.as_str().as_bytes()).ok());
        if let Some((asked, answer)) = &self.answer
            && *asked == (tip_id, last_id)
        {
            return Ok(answer.clone());
        }
        if !self.rooted {
            self.trust_history(objects, now, interrupt)?;
        }
        let brief = self.walk(objects, tip_id, now, interrupt)?;
        let mut accepted = self.newest_accepted(objects, tip_id)?;
        if accepted != Some(tip_id)
            && let Some(last) = last_id
            && !accepted.is_some_and(|accepted| objects.descends(accepted, last))
        {
            accepted = Some(last);
        }
        let (refused, commits) = self.refused(objects, tip_id)?;
        let accepted = accepted.map(commit_id).transpose()?;
        let answer = Verified { accepted, checked: true, refused, commits };
        if brief {
            // What time fixes is looked at again.
            self.standings.retain(|_, standing| *standing != Standing::Refused);
        } else {
            self.answer = Some(((tip_id, last_id), answer.clone()));
        }
        Ok(answer)
    }

    /// Says who signed the commit that set a pin, if that counts, whatever it rests on; and takes its trailers away unless
    /// they are to be honored.
    ///
    /// # Errors
    /// [`GitError::Object`] if it can't be read.
    pub fn vouch(&mut self, objects: &Objects, pin: &mut Provenance, now: Timestamp) -> Result<(), GitError> {
        let id = objects.find(&pin.commit)?;
        let signed = self.verdict(objects, id, now)?.ok();
        if !self.answers(id, signed.as_deref()) {
            pin.trailers.clear();
        }
        pin.signer = signed.map(|signed| signed.signer.clone());
        Ok(())
    }

    /// Says which trailers are to be honored, after [`Verifier::verify`].
    ///
    /// # Errors
    /// [`GitError::Object`] if a commit can't be read.
    pub fn honor(&mut self, objects: &Objects, trailers: &mut [Trailer], now: Timestamp) -> Result<(), GitError> {
        for trailer in trailers {
            let id = objects.find(&trailer.commit)?;
            let signed = self.verdict(objects, id, now)?.ok();
            trailer.honored = self.answers(id, signed.as_deref());
        }
        Ok(())
    }

    /// How many folders and files have been read so far to compare the merges of forges with what they merge.
    #[must_use]
    pub fn compared(&self) -> u64 {
        self.merges.read
    }

    /// Whether somebody answers for a commit's message: a person has signed it, or it is trusted unsigned. Who merges on a
    /// forge writes what they like into the message, and the forge signs it.
    fn answers(&self, id: ObjectId, signed: Option<&Signed>) -> bool {
        self.standings.get(&id) == Some(&Standing::Trusted) || signed.is_some_and(|signed| !signed.by_forge)
    }

    fn verdict(&mut self, objects: &Objects, id: ObjectId, now: Timestamp) -> Result<Judgement, GitError> {
        match self.verdicts.get(&id) {
            Some(verdict) => Ok(verdict.clone()),
            None => Ok(self.judge(objects, id, now)?.1),
        }
    }

    /// All that the trusted commit rests on counts. If it isn't there, nothing does for its sake.
    fn trust_history(&mut self, objects: &Objects, now: Timestamp, interrupt: &AtomicBool) -> Result<(), GitError> {
        let Some(since) = &self.policy.since else { return Ok(()) };
        let Ok(since) = objects.find(since) else { return Ok(()) };
        self.standings.clear();
        self.newest.clear();
        let mut open = vec![(since, false)];
        while let Some((id, after_parents)) = open.pop() {
            go_on(objects, interrupt)?;
            if after_parents {
                self.date(objects, id, now)?;
            } else if self.standings.insert(id, Standing::Trusted).is_none() {
                // A shallow history ends somewhere; what is trusted may.
                let (there, missing) = parents(objects, id)?;
                self.missing.extend(missing.map(|parent| (id, parent)));
                open.push((id, true));
                open.extend(there.into_iter().map(|parent| (parent, false)));
            }
        }
        self.rooted = true;
        Ok(())
    }

    /// Finds for a commit and all that it rests on whether they count. Parents before children, without recursion. Says
    /// whether time may fix a verdict.
    fn walk(
        &mut self,
        objects: &Objects,
        tip: ObjectId,
        now: Timestamp,
        interrupt: &AtomicBool,
    ) -> Result<bool, GitError> {
        let mut open = vec![tip];
        let mut waiting: HashSet<ObjectId> = HashSet::new();
        let mut brief = false;
        while let Some(id) = open.pop() {
            if self.standings.contains_key(&id) {
                continue;
            }
            go_on(objects, interrupt)?;
            if waiting.remove(&id) {
                // Only now it is known how old what it rests on is.
                let (parents, verdict) = self.judge(objects, id, now)?;
                brief |= verdict.as_ref().is_err_and(Refusal::passes);
                let counts = verdict.is_ok() && parents.iter().all(|parent| self.counts(parent) == Some(true));
                self.standings.insert(id, if counts { Standing::Signed } else { Standing::Refused });
                self.date(objects, id, now)?;
                continue;
            }
            open.push(id);
            let (parents, _) = parents(objects, id)?;
            open.extend(parents.iter().filter(|parent| !self.standings.contains_key(*parent)));
            waiting.insert(id);
        }
        Ok(brief)
    }

    /// Notes the newest date of a commit and of what it rests on. A date in the future is a mistake, and ages nothing.
    fn date(&mut self, objects: &Objects, id: ObjectId, now: Timestamp) -> Result<(), GitError> {
        let commit = objects.commit(id)?;
        let own = commit.seconds().filter(|seconds| *seconds <= now.as_second());
        let before = commit.parents.iter().filter_map(|parent| self.newest.get(parent).copied());
        if let Some(newest) = before.chain(own).max() {
            self.newest.insert(id, newest);
        }
        Ok(())
    }

    /// The parents of a commit, and the verdict on the commit itself.
    fn judge(
        &mut self,
        objects: &Objects,
        id: ObjectId,
        now: Timestamp,
    ) -> Result<(Vec<ObjectId>, Judgement), GitError> {
        let commit = match read(objects, id)? {
            Ok(commit) => commit,
            Err(refusal) => {
                self.verdicts.insert(id, Err(refusal.clone()));
                return Ok((Vec::new(), Err(refusal)));
            }
        };
        let mut parents: Vec<ObjectId> =
            commit.parents.iter().filter_map(|parent| ObjectId::from_hex(parent.as_bytes()).ok()).collect();
        let missing = parents.iter().find(|parent| !objects.repository.has_object(**parent)).copied();
        let verdict = match missing {
            Some(parent) => {
                parents.clear();
                self.missing.insert(id, parent);
                Err(Refusal::Malformed(format!(
                    "its parent {parent} isn't there, so that what it builds on can't be checked; the server's \
                     repository may be a shallow clone"
                )))
            }
            None => match self.trust.verify_after(&commit, self.newest_of(&parents), now) {
                Ok(signed) if signed.by_forge => match self.merges.altered(objects, id, &parents)? {
                    Some(what) => Err(Refusal::Altered(what)),
                    None => Ok(Arc::new(signed)),
                },
                verdict => verdict.map(Arc::new),
            },
        };
        if !verdict.as_ref().is_err_and(Refusal::passes) {
            self.verdicts.insert(id, verdict.clone());
        }
        Ok((parents, verdict))
    }

    /// The newest date of all that rests on these.
    fn newest_of(&self, parents: &[ObjectId]) -> Option<Timestamp> {
        let newest = parents.iter().filter_map(|parent| self.newest.get(parent)).max()?;
        Timestamp::from_second(*newest).ok()
    }

    /// Whether a commit counts; `None` if it wasn't looked at.
    fn counts(&self, id: &ObjectId) -> Option<bool> {
        self.standings.get(id).map(|standing| *standing != Standing::Refused)
    }

    /// The newest commit that counts of those that the branch had, by first parents.
    fn newest_accepted(&self, objects: &Objects, tip: ObjectId) -> Result<Option<ObjectId>, GitError> {
        let mut at = Some(tip);
        while let Some(id) = at {
            match self.counts(&id) {
                Some(true) => return Ok(Some(id)),
                Some(false) => at = first_parent(objects, id)?,
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// How many commits are refused for what they are themselves, and the oldest of them.
    fn refused(&self, objects: &Objects, tip: ObjectId) -> Result<(usize, Vec<RefusedCommit>), GitError> {
        let mut found: BTreeMap<(i64, ObjectId), String> = BTreeMap::new();
        let mut count = 0;
        let mut seen = HashSet::new();
        let mut open = vec![tip];
        while let Some(id) = open.pop() {
            if self.counts(&id) != Some(false) || !seen.insert(id) {
                continue;
            }
            if !matches!(self.verdicts.get(&id), Some(Ok(_))) {
                count += 1;
                let time = objects.commit(id).ok().and_then(|commit| commit.seconds());
                found.insert((time.unwrap_or(0), id), String::new());
                if found.len() > MAX_NAMED {
                    found.pop_last();
                }
            }
            open.extend(parents(objects, id)?.0);
        }
        let named = found.into_keys().map(|(_, id)| self.refusal(objects, id));
        Ok((count, named.collect::<Result<_, _>>()?))
    }

    fn refusal(&self, objects: &Objects, id: ObjectId) -> Result<RefusedCommit, GitError> {
        let (kind, reason) = match self.verdicts.get(&id) {
            Some(Err(refusal)) => (refusal.as_str(), refusal.to_string()),
            // Only what time fixes isn't remembered.
            _ => ("future", "its date is in the future".to_owned()),
        };
        let shown = |name: &str, email: &str| format!("{name} <{email}>");
        let described = describe(objects, id);
        let committer = objects.commit(id).ok().map(|commit| commit.committer);
        let committer = committer.map(|who| shown(&printable(who.name.as_ref()), &printable(who.email.as_ref())));
        let (author, subject) = match described {
            Ok(found) => (shown(&found.author, &found.email), found.subject),
            // It may be refused for not being legible.
            Err(_) => ("?".to_owned(), String::new()),
        };
        Ok(RefusedCommit {
            commit: id.to_string(),
            author,
            committer: committer.unwrap_or_else(|| "?".to_owned()),
            subject,
            kind: kind.to_owned(),
            reason,
        })
    }
}

fn go_on(objects: &Objects, interrupt: &AtomicBool) -> Result<(), GitError> {
    if interrupt.load(Ordering::Relaxed) {
        return Err(GitError::Interrupted { url: objects.place.clone() });
    }
    Ok(())
}

/// A commit as its bytes have it.
fn read(objects: &Objects, id: ObjectId) -> Result<Result<Commit, Refusal>, GitError> {
    let found = objects.repository.find_object(id);
    let object = found.map_err(|error| objects.unreadable(format!("commit {id}"), &error))?;
    Ok(Commit::parse(&object.data))
}

/// The first parent, if it is there.
fn first_parent(objects: &Objects, id: ObjectId) -> Result<Option<ObjectId>, GitError> {
    let first = objects.commit(id)?.parents.into_iter().next();
    Ok(first.filter(|id| objects.repository.has_object(*id)))
}

/// The parents that are there, and one that isn't.
fn parents(objects: &Objects, id: ObjectId) -> Result<(Vec<ObjectId>, Option<ObjectId>), GitError> {
    let parents = objects.commit(id)?.parents.into_iter();
    let (there, missing): (Vec<_>, Vec<_>) = parents.partition(|id| objects.repository.has_object(*id));
    Ok((there, missing.first().copied()))
}

fn read_keys(path: &Path) -> Result<Vec<u8>, GitError> {
    let wrong = |reason: String| GitError::Keys { path: path.to_owned(), reason };
    let size = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if size > LARGEST_FILE {
        return Err(wrong(format!("it has more than {LARGEST_FILE} bytes")));
    }
    std::fs::read(path).map_err(|error| wrong(Cause::of(&error).to_string()))
}
