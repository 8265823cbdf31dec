//! Which commit set a value. History is walked once; afterwards only what is new of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::rc::Rc;

use gix::ObjectId;
use gix::bstr::{BStr, ByteSlice};
use jiff::Timestamp;

use super::commit::subject;
use super::error::GitError;
use super::trailers::trailers;
use super::tree::{Objects, commit_id};
use pinion_core::manifest::{self, gather::TreeLimits};
use pinion_core::model::escape::stripped;
use pinion_core::model::{CommitId, Provenance, Trailer};

/// A file's path, and a key in it: `environments/dev/pins.toml` and `frontend`.
pub type PinKey = (String, String);

/// Reads the values out of a file's bytes (path, bytes → key to value). A file that makes no sense has none, and so has one
/// that is empty.
pub type Extract<'a> = &'a dyn Fn(&str, &[u8]) -> BTreeMap<String, String>;

/// The trees that are kept decoded at most during a walk.
const MAX_TREES: usize = 4096;

/// The commits at which a file makes no sense that are passed over at most, one after the other.
const MOST_SENSELESS: usize = 10_000;

/// The rewritten commits that are remembered at most.
const MOST_REWRITTEN: usize = 10_000;

/// What says which targets run a component.
const ENVIRONMENT: &str = "environment.toml";
const DEFAULTS: &str = "defaults.toml";

/// The longest names and subjects that are kept, in characters. They are a untrusted person's text.
const MAX_TEXT: usize = 200;

/// What is known of the provenance of one branch's values. Keep one for each repository and branch.
#[derive(Debug, Default)]
pub struct Provenances {
    known: BTreeMap<PinKey, Known>,
    visited: u64,
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

    /// For each wanted value that the files at `head` do have, the commit that set it: the nearest on the way back from
    /// `head` none of whose parents has the same value. Where a parent has it, the way goes on there (the first such
    /// parent), so that a merge leads to the commit that was merged; but if its first parent had known that commit, and
    /// taken the value back, it is the merge that sets it again. A root commit sets what it has, and so does the last
    /// commit of a shallow clone.
    ///
    /// A commit at which the file makes no sense, or lacks what its environment uses, has pinned nothing else: the way goes on
    /// behind it. A component that was renamed, while what it runs on stayed, is the same one.
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
        // Keys are walked under the name that the component has at the commit.
        let mut open: Open<'_> = BTreeMap::new();
        let mut answers = BTreeMap::new();
        // For each value the merges on the way whose first parent doesn't have it, the newest first.
        let mut merges: BTreeMap<&PinKey, Vec<(ObjectId, ObjectId)>> = BTreeMap::new();
        for (key, value) in wanted {
            if self.knows(key, value, head) || walk.state(head, None, key, value)? == State::Same(key.1.clone()) {
                open.entry((Reverse(0), head)).or_default().insert((key, key.1.clone()));
            }
        }
        // Newest first, so that ways that part and meet again are mostly walked once.
        while let Some(((_, commit), keys)) = open.pop_first() {
            let mut compared = false;
            for (key, name) in keys {
                let Some(value) = wanted.get(key) else { continue };
                let here = (key.0.clone(), name);
                if self.knows(&here, value, commit) {
                    if let Some(known) = self.known.get(&here) {
                        answers.insert(key.clone(), known.provenance.clone());
                    }
                    continue;
                }
                compared = true;
                match self.before(&mut walk, commit, &here, value)? {
                    Some((parent, name)) => {
                        if let [first, _, ..] = *walk.commit(commit)?.parents.as_slice()
                            && !self.knows(&here, value, first)
                            && walk.state(first, Some(commit), &here, value)? == State::Other
                        {
                            merges.entry(key).or_default().push((commit, first));
                        }
                        let known = self.knows(&(key.0.clone(), name.clone()), value, parent);
                        let time = if known { 0 } else { walk.commit(parent)?.seconds };
                        open.entry((Reverse(time), parent)).or_default().insert((key, name));
                    }
                    None => drop(answers.insert(key.clone(), describe(objects, commit)?)),
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
        for (key, provenance) in &answers {
            let Some(value) = wanted.get(key) else { continue };
            self.note_rewriting(objects, head, key, value, provenance)?;
            let known = Known { head, value: value.clone(), provenance: provenance.clone() };
            self.known.insert(key.clone(), known);
        }
        Ok(answers)
    }

    /// The nearest commit before this one that pins the same, and the component's name there.
    fn before(
        &self,
        walk: &mut Walk<'_>,
        commit: ObjectId,
        (path, name): &PinKey,
        value: &str,
    ) -> Result<Option<(ObjectId, String)>, GitError> {
        let mut open: VecDeque<ObjectId> = walk.commit(commit)?.parents.iter().copied().collect();
        let mut seen = HashSet::new();
        let key = (path.clone(), name.clone());
        while let Some(parent) = open.pop_front() {
            if !seen.insert(parent) || seen.len() > MOST_SENSELESS {
                continue;
            }
            if self.knows(&key, value, parent) {
                return Ok(Some((parent, name.clone())));
            }
            match walk.state(parent, Some(commit), &key, value)? {
                State::Same(name) => return Ok(Some((parent, name))),
                State::Other => {}
                State::Unknown => open.extend(walk.commit(parent)?.parents.iter().copied()),
            }
        }
        Ok(None)
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
        self.rewritten.extend(ids.filter(|(now, before)| now != before).take(MOST_REWRITTEN));
    }

    fn knows(&self, key: &PinKey, value: &str, commit: ObjectId) -> bool {
        self.known.get(key).is_some_and(|known| known.head == commit && known.value == value)
    }
}

/// What a commit says of a pin.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// It has the value, for the component of this name.
    Same(String),
    /// It has another value, or no such pin.
    Other,
    /// Its files make no sense there: a controller that reads them goes on with what was before.
    Unknown,
}

/// Which component each resource of an environment runs; `None` if that can't be read.
type Users = Option<Rc<BTreeMap<String, String>>>;

/// The keys that are still to be walked from a commit, newest first, each with the component's name there.
type Open<'a> = BTreeMap<(Reverse<i64>, ObjectId), BTreeSet<(&'a PinKey, String)>>;

/// What one walk has read.
struct Walk<'a> {
    objects: &'a Objects,
    extract: Extract<'a>,
    /// The names of files and folders that matter.
    names: HashSet<&'a str>,
    shallow: Vec<ObjectId>,
    commits: HashMap<ObjectId, Rc<Node>>,
    trees: HashMap<ObjectId, Rc<HashMap<String, ObjectId>>>,
    values: HashMap<(String, ObjectId), Rc<BTreeMap<String, String>>>,
    /// Which component each resource of an environment runs, by the ids of `defaults.toml` and `environment.toml`.
    users: HashMap<(String, Option<ObjectId>, ObjectId), Users>,
}

struct Node {
    tree: ObjectId,
    parents: Vec<ObjectId>,
    seconds: i64,
}

impl<'a> Walk<'a> {
    fn new(objects: &'a Objects, extract: Extract<'a>, wanted: &'a BTreeMap<PinKey, String>) -> Self {
        let shallow = objects.repository.shallow_commits().ok().flatten();
        Self {
            objects,
            extract,
            names: wanted.keys().flat_map(|(path, _)| path.split('/')).chain([ENVIRONMENT, DEFAULTS]).collect(),
            shallow: shallow.map(|commits| commits.iter().copied().collect()).unwrap_or_default(),
            commits: HashMap::new(),
            trees: HashMap::new(),
            values: HashMap::new(),
            users: HashMap::new(),
        }
    }

    /// What a commit says of a pin, given that `child` (if any) has the value under this key.
    fn state(
        &mut self,
        commit: ObjectId,
        child: Option<ObjectId>,
        (path, key): &PinKey,
        value: &str,
    ) -> Result<State, GitError> {
        let same = || Ok(State::Same(key.clone()));
        let tree = self.commit(commit)?.tree;
        let Some(blob) = self.file(tree, path)? else {
            // Without its pins an environment makes no sense; without the other file, too, there is none.
            let (environment, _) = self.settings(tree, path)?;
            return Ok(if environment.is_some() { State::Unknown } else { State::Other });
        };
        if let Some(child) = child {
            let tree = self.commit(child)?.tree;
            if self.file(tree, path)? == Some(blob) {
                return same();
            }
        }
        let values = self.values(path, blob)?;
        match values.get(key) {
            Some(found) if found == value => same(),
            Some(_) => Ok(State::Other),
            None if values.is_empty() => Ok(State::Unknown),
            None => self.absent(tree, child, path, key, value, &values),
        }
    }

    /// What it means that a commit's pins, which make sense, lack a component's.
    fn absent(
        &mut self,
        tree: ObjectId,
        child: Option<ObjectId>,
        path: &str,
        key: &str,
        value: &str,
        values: &BTreeMap<String, String>,
    ) -> Result<State, GitError> {
        if self.settings(tree, path)?.0.is_none() {
            return Ok(State::Other);
        }
        let Some(then) = self.users(tree, path)? else { return Ok(State::Unknown) };
        if then.values().any(|component| component == key) {
            return Ok(State::Unknown);
        }
        // What runs the component now may have run one of another name.
        let Some(child) = child else { return Ok(State::Other) };
        let tree = self.commit(child)?.tree;
        let Some(now) = self.users(tree, path)? else { return Ok(State::Other) };
        let mine = now.iter().filter(|(_, component)| *component == key);
        let names: BTreeSet<Option<&String>> = mine.map(|(resource, _)| then.get(resource)).collect();
        let mut names = names.into_iter();
        Ok(match (names.next().flatten(), names.next()) {
            (Some(name), None) if values.get(name).is_some_and(|found| found == value) => State::Same(name.clone()),
            _ => State::Other,
        })
    }

    fn values(&mut self, path: &str, blob: ObjectId) -> Result<Rc<BTreeMap<String, String>>, GitError> {
        if let Some(values) = self.values.get(&(path.to_owned(), blob)) {
            return Ok(Rc::clone(values));
        }
        let bytes = self.bytes(blob, path)?;
        let values = Rc::new(bytes.map(|bytes| (self.extract)(path, &bytes)).unwrap_or_default());
        self.values.insert((path.to_owned(), blob), Rc::clone(&values));
        Ok(values)
    }

    /// The bytes of a file; `None` of one that is too large to be read.
    fn bytes(&self, blob: ObjectId, path: &str) -> Result<Option<Vec<u8>>, GitError> {
        let header = self.objects.repository.find_header(blob);
        let header = header.map_err(|error| self.objects.unreadable(format!("`{path}` ({blob})"), &error))?;
        if header.size() > TreeLimits::default().file_bytes {
            return Ok(None);
        }
        self.objects.blob(blob, path).map(Some)
    }

    /// The `environment.toml` beside a `pins.toml`, and the `defaults.toml` above.
    fn settings(&mut self, tree: ObjectId, path: &str) -> Result<(Option<ObjectId>, Option<ObjectId>), GitError> {
        let Some((folder, _)) = path.rsplit_once('/') else { return Ok((None, None)) };
        let environment = self.file(tree, &format!("{folder}/{ENVIRONMENT}"))?;
        let root = folder.rsplit_once('/').map_or("", |(root, _)| root);
        Ok((environment, self.file(tree, &format!("{root}/{DEFAULTS}"))?))
    }

    /// Which component each resource runs; `None` if that can't be read.
    fn users(&mut self, tree: ObjectId, path: &str) -> Result<Users, GitError> {
        let (Some(environment), defaults) = self.settings(tree, path)? else { return Ok(None) };
        let key = (path.to_owned(), defaults, environment);
        if let Some(users) = self.users.get(&key) {
            return Ok(users.clone());
        }
        let name = path.rsplit('/').nth(1).unwrap_or_default();
        let defaults = defaults.map(|defaults| self.bytes(defaults, DEFAULTS)).transpose()?.flatten();
        let environment = self.bytes(environment, ENVIRONMENT)?;
        let users = environment.and_then(|bytes| manifest::users(name, defaults.as_deref(), &bytes)).map(Rc::new);
        self.users.insert(key, users.clone());
        Ok(users)
    }

    fn commit(&mut self, id: ObjectId) -> Result<Rc<Node>, GitError> {
        if let Some(node) = self.commits.get(&id) {
            return Ok(Rc::clone(node));
        }
        let commit = self.objects.commit(id)?;
        // A commit without a legible date is walked early; that costs time at worst.
        let seconds = commit.seconds().unwrap_or(i64::MAX);
        let parents = if self.shallow.contains(&id) { Vec::new() } else { commit.parents };
        let node = Rc::new(Node { tree: commit.tree, parents, seconds });
        self.commits.insert(id, Rc::clone(&node));
        Ok(node)
    }

    /// Whether a commit is another one, or descends from it. Looks back no further than to the other one's time, with a day to
    /// spare for clocks that differ.
    fn descends(&mut self, commit: ObjectId, from: ObjectId) -> Result<bool, GitError> {
        const SPARE: i64 = 86_400;
        let oldest = self.commit(from)?.seconds.saturating_sub(SPARE);
        let mut seen = HashSet::from([commit]);
        let mut open = vec![commit];
        while let Some(commit) = open.pop() {
            if commit == from {
                return Ok(true);
            }
            let node = self.commit(commit)?;
            if node.seconds >= oldest {
                open.extend(node.parents.iter().filter(|parent| seen.insert(**parent)));
            }
        }
        Ok(false)
    }

    /// The id of a file in a tree.
    fn file(&mut self, tree: ObjectId, path: &str) -> Result<Option<ObjectId>, GitError> {
        let mut id = tree;
        for name in path.split('/') {
            match self.tree(id)?.get(name) {
                Some(child) => id = *child,
                None => return Ok(None),
            }
        }
        Ok(Some(id))
    }

    /// The entries of a tree that matter. What isn't a tree, because a file once stood in its place, has none.
    fn tree(&mut self, id: ObjectId) -> Result<Rc<HashMap<String, ObjectId>>, GitError> {
        if let Some(entries) = self.trees.get(&id) {
            return Ok(Rc::clone(entries));
        }
        let tree = self.objects.tree(id)?;
        let mut entries = HashMap::new();
        for entry in tree.iter() {
            // What comes after such an entry was never read by anybody.
            let Ok(entry) = entry else { break };
            let name = entry.filename().to_str().ok().filter(|name| self.names.contains(name));
            if let Some(name) = name
                && (entry.mode().is_tree() || entry.mode().is_blob())
            {
                entries.insert(name.to_owned(), entry.object_id());
            }
        }
        if self.trees.len() >= MAX_TREES {
            self.trees.clear();
        }
        let entries = Rc::new(entries);
        self.trees.insert(id, Rc::clone(&entries));
        Ok(entries)
    }
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
