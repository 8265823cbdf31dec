//! Which commit set a value. History is walked once; afterwards only what is new of it.

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use gix::ObjectId;
use gix::bstr::{BStr, ByteSlice};
use jiff::Timestamp;

use super::error::GitError;
use super::tree::{Objects, commit_id};
use pinion_core::model::escape::stripped;
use pinion_core::model::{CommitId, Provenance, Trailer};

/// A file's path, and a key in it: `environments/dev/pins.toml` and `frontend`.
pub type PinKey = (String, String);

/// Reads the values out of a file's bytes (path, bytes → key to value). A file that makes no sense has none.
pub type Extract<'a> = &'a dyn Fn(&str, &[u8]) -> BTreeMap<String, String>;

/// The trees that are kept decoded at most during a walk.
const MAX_TREES: usize = 4096;

/// The trailers that are read of one message at most.
const MAX_TRAILERS: usize = 64;

/// The longest names and subjects that are kept, in characters. They are a untrusted person's text.
const MAX_TEXT: usize = 200;

/// What is known of the provenance of one branch's values. Keep one for each repository and branch.
#[derive(Debug, Default)]
pub struct Provenances {
    known: BTreeMap<PinKey, Known>,
    visited: u64,
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
    /// parent), so that a merge leads to the commit that was merged. A root commit sets what it has, and so does the
    /// last commit of a shallow clone.
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
        let mut open: BTreeMap<(Reverse<i64>, ObjectId), BTreeSet<&PinKey>> = BTreeMap::new();
        let mut answers = BTreeMap::new();
        for (key, value) in wanted {
            if self.knows(key, value, head) || walk.has(head, None, key, value)? {
                open.entry((Reverse(0), head)).or_default().insert(key);
            }
        }
        // Newest first, so that ways that part and meet again are mostly walked once.
        while let Some(((_, commit), keys)) = open.pop_first() {
            let mut compared = false;
            for key in keys {
                let Some(value) = wanted.get(key) else { continue };
                if self.knows(key, value, commit) {
                    if let Some(known) = self.known.get(key) {
                        answers.insert(key.clone(), known.provenance.clone());
                    }
                    continue;
                }
                compared = true;
                let mut before = None;
                for parent in &walk.commit(commit)?.parents {
                    if self.knows(key, value, *parent) || walk.has(*parent, Some(commit), key, value)? {
                        before = Some(*parent);
                        break;
                    }
                }
                if let Some(parent) = before {
                    let time = if self.knows(key, value, parent) { 0 } else { walk.commit(parent)?.seconds };
                    open.entry((Reverse(time), parent)).or_default().insert(key);
                } else {
                    answers.insert(key.clone(), describe(objects, commit)?);
                }
            }
            self.visited += u64::from(compared);
        }
        for (key, provenance) in &answers {
            if let Some(value) = wanted.get(key) {
                let known = Known { head, value: value.clone(), provenance: provenance.clone() };
                self.known.insert(key.clone(), known);
            }
        }
        Ok(answers)
    }

    fn knows(&self, key: &PinKey, value: &str, commit: ObjectId) -> bool {
        self.known.get(key).is_some_and(|known| known.head == commit && known.value == value)
    }
}

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
            names: wanted.keys().flat_map(|(path, _)| path.split('/')).collect(),
            shallow: shallow.map(|commits| commits.iter().copied().collect()).unwrap_or_default(),
            commits: HashMap::new(),
            trees: HashMap::new(),
            values: HashMap::new(),
        }
    }

    /// Whether a commit's file has the value, given that `child`'s (if any) has.
    fn has(
        &mut self,
        commit: ObjectId,
        child: Option<ObjectId>,
        (path, key): &PinKey,
        value: &str,
    ) -> Result<bool, GitError> {
        let tree = self.commit(commit)?.tree;
        let Some(blob) = self.file(tree, path)? else { return Ok(false) };
        if let Some(child) = child {
            let tree = self.commit(child)?.tree;
            if self.file(tree, path)? == Some(blob) {
                return Ok(true);
            }
        }
        let values = match self.values.get(&(path.clone(), blob)) {
            Some(values) => Rc::clone(values),
            None => {
                let bytes = self.objects.blob(blob, path)?;
                let values = Rc::new((self.extract)(path, &bytes));
                self.values.insert((path.clone(), blob), Rc::clone(&values));
                values
            }
        };
        Ok(values.get(key).is_some_and(|found| found == value))
    }

    fn commit(&mut self, id: ObjectId) -> Result<Rc<Node>, GitError> {
        if let Some(node) = self.commits.get(&id) {
            return Ok(Rc::clone(node));
        }
        let unreadable = |error: gix::Error| self.objects.unreadable(format!("commit {id}"), &error);
        let commit = self.objects.repository.find_commit(id).map_err(unreadable)?;
        let parents =
            if self.shallow.contains(&id) { Vec::new() } else { commit.parent_ids().map(gix::Id::detach).collect() };
        let tree = commit.tree_id().map_err(unreadable)?.detach();
        // A commit without a legible date is walked early; that costs time at worst.
        let seconds = commit.time().map(|time| time.seconds).unwrap_or(i64::MAX);
        let node = Rc::new(Node { tree, parents, seconds });
        self.commits.insert(id, Rc::clone(&node));
        Ok(node)
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
            let entry = entry.map_err(|error| self.objects.unreadable(format!("tree {id}"), &error))?;
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
        let unreadable = |error: gix::Error| self.unreadable(format!("the history of commit {to}"), &error);
        let walk = self.repository.rev_walk([tip]).with_hidden(hidden).all().map_err(unreadable)?;
        let mut found = Vec::new();
        for commit in walk.take(MAX_COMMITS) {
            let id = commit.map_err(unreadable)?.id;
            let commit = self.repository.find_commit(id).map_err(unreadable)?;
            if let Some(value) = trailers(commit.message_raw_sloppy()).remove(key) {
                found.push(Trailer { commit: commit_id(id)?, value, honored: true });
            }
        }
        Ok(found)
    }
}

/// What people want to know of a commit. Whether it is signed isn't looked at.
pub(super) fn describe(objects: &Objects, id: ObjectId) -> Result<Provenance, GitError> {
    let unreadable = |error: gix::Error| objects.unreadable(format!("commit {id}"), &error);
    let commit = objects.repository.find_commit(id).map_err(unreadable)?;
    let author = commit.author().map_err(unreadable)?;
    let seconds = commit.time().map(|time| time.seconds).unwrap_or_default();
    let subject = commit.message_raw_sloppy().lines().map(BStr::new).find(|line| !line.trim().is_empty());
    Ok(Provenance {
        commit: commit_id(id)?,
        author: printable(author.name),
        email: printable(author.email),
        time: Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH),
        subject: printable(subject.unwrap_or_default()),
        trailers: trailers(commit.message_raw_sloppy()),
        signer: None,
    })
}

/// The trailers of a message: what Git takes for them, at most [`MAX_TRAILERS`].
fn trailers(message: &BStr) -> BTreeMap<String, String> {
    let mut trailers: BTreeMap<String, String> = BTreeMap::new();
    let message = gix::objs::commit::MessageRef::from_bytes(message);
    let found = message.body().into_iter().flat_map(|body| body.trailers().collect::<Vec<_>>());
    for trailer in found.take(MAX_TRAILERS) {
        let key = printable(trailer.token).to_ascii_lowercase();
        let mut letters = key.chars();
        let Some(first) = letters.next() else { continue };
        let key = format!("{}{}", first.to_ascii_uppercase(), letters.as_str());
        let value = printable(trailer.value.as_ref());
        match trailers.entry(key) {
            Entry::Vacant(entry) => drop(entry.insert(value)),
            Entry::Occupied(mut entry) => *entry.get_mut() += &format!("\n{value}"),
        }
    }
    trailers
}

/// A untrusted person's text without what could steer a terminal, turn the direction of writing, or hide.
pub(super) fn printable(text: &BStr) -> String {
    let text: String = stripped(text.to_str_lossy().trim()).chars().take(MAX_TEXT).collect();
    text.trim().to_owned()
}
