//! What commits say of a pin, each object read once, and within bounds.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use gix::ObjectId;
use gix::bstr::ByteSlice;

use super::super::error::GitError;
use super::super::tree::Objects;
use super::{Extract, PinKey};
use pinion_core::manifest::{self, gather::TreeLimits};

/// The trees that are kept decoded at most during a walk.
const MAX_TREES: usize = 4096;

/// The lines of files that are kept at most during a walk: pins, and which component runs what.
const MAX_KEPT: usize = 50_000;

/// The environments that are listed in one walk at most, for who ran a resource before. Beyond that, a pin that comes from
/// elsewhere is a new one.
const MAX_LOOKS: usize = 5_000_000;

/// The bytes that are read in one walk at most, for who ran a resource.
const MAX_PARSED: usize = 128 << 20;

/// What says which targets run a component.
const ENVIRONMENT: &str = "environment.toml";
const DEFAULTS: &str = "defaults.toml";

/// What a commit says of a pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// It has the value, in this file and for the component of this name.
    Same(PinKey),
    /// It has another value.
    Other,
    /// It has none: its files make no sense there, or nobody runs what the pin is for.
    Unknown,
}

/// Which component each resource of an environment runs; `None` if that can't be read.
type Users = Option<Rc<BTreeMap<String, String>>>;

/// What one walk has read.
pub(super) struct Walk<'a> {
    objects: &'a Objects,
    extract: Extract<'a>,
    /// The names of files and folders that matter.
    names: HashSet<String>,
    shallow: Vec<ObjectId>,
    commits: HashMap<ObjectId, Rc<Node>>,
    trees: HashMap<ObjectId, Rc<HashMap<String, ObjectId>>>,
    values: HashMap<(String, ObjectId), Rc<BTreeMap<String, String>>>,
    /// Which component each resource of an environment runs, by the ids of `defaults.toml` and `environment.toml`.
    users: HashMap<(String, Option<ObjectId>, ObjectId), Users>,
    /// The resources that a pin is for, by commit.
    resources: HashMap<(ObjectId, PinKey), Rc<[String]>>,
    /// Who runs what, in the folder of environments that was looked at last.
    claims: Option<Last>,
    /// How many commits, trees and files were read.
    pub(super) read: u64,
    /// How many lines are kept of files.
    kept: usize,
    /// How many environments were looked at for who runs what.
    looks: usize,
    /// How many bytes were read for who runs what.
    parsed: usize,
}

/// By which pins each resource is run.
type Claims = BTreeMap<String, Vec<PinKey>>;

/// The environments, each with its folder's id and that of its `environment.toml`.
type Folders = BTreeMap<String, (ObjectId, Option<ObjectId>)>;

/// Who runs what, and the folder and files that say so.
struct Last {
    folder: ObjectId,
    defaults: Option<ObjectId>,
    files: Folders,
    claims: Rc<Claims>,
}

pub(super) struct Node {
    tree: ObjectId,
    pub(super) parents: Vec<ObjectId>,
    pub(super) seconds: i64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(objects: &'a Objects, extract: Extract<'a>, wanted: &'a BTreeMap<PinKey, String>) -> Self {
        let shallow = objects.repository.shallow_commits().ok().flatten();
        Self {
            objects,
            extract,
            names: wanted
                .keys()
                .flat_map(|(path, _)| path.split('/'))
                .chain([ENVIRONMENT, DEFAULTS])
                .map(str::to_owned)
                .collect(),
            shallow: shallow.map(|commits| commits.iter().copied().collect()).unwrap_or_default(),
            commits: HashMap::new(),
            trees: HashMap::new(),
            values: HashMap::new(),
            users: HashMap::new(),
            resources: HashMap::new(),
            claims: None,
            read: 0,
            kept: 0,
            looks: 0,
            parsed: 0,
        }
    }

    /// What a commit says of a pin, given that `child` (if any) has the value under this key.
    pub(super) fn state(
        &mut self,
        commit: ObjectId,
        child: Option<ObjectId>,
        here: &PinKey,
        value: &str,
    ) -> Result<State, GitError> {
        let (path, key) = here;
        let tree = self.commit(commit)?.tree;
        if let Some(blob) = self.file(tree, path)? {
            if let Some(child) = child {
                let tree = self.commit(child)?.tree;
                if self.file(tree, path)? == Some(blob) {
                    return Ok(State::Same(here.clone()));
                }
            }
            match self.values(path, blob)?.get(key) {
                Some(found) if found == value => return Ok(State::Same(here.clone())),
                Some(_) => return Ok(State::Other),
                None => {}
            }
        }
        let Some(child) = child else { return Ok(State::Unknown) };
        let mine = self.resources(child, here)?;
        self.elsewhere(tree, &mine, path, value)
    }

    /// What a commit that lacks a pin says of the resources that it is for. Another component may have run them, or another
    /// environment.
    fn elsewhere(&mut self, tree: ObjectId, mine: &[String], path: &str, value: &str) -> Result<State, GitError> {
        let own = if self.settings(tree, path)?.0.is_some() {
            // What its own environment runs isn't for the others to say.
            let Some(own) = self.users(tree, path)? else { return Ok(State::Unknown) };
            Some(own)
        } else {
            None
        };
        let mut same = None;
        for resource in mine {
            let pins = match own.as_ref().and_then(|own| own.get(resource)) {
                Some(component) => vec![(path.to_owned(), component.clone())],
                None => self.claims(tree, path)?.get(resource).cloned().unwrap_or_default(),
            };
            let (mut found, mut other) = (None, false);
            for pin in pins {
                self.follow(&pin.0);
                let Some(blob) = self.file(tree, &pin.0)? else { continue };
                match self.values(&pin.0, blob)?.get(&pin.1) {
                    Some(there) if there == value => found = found.or(Some(pin)),
                    Some(_) => other = true,
                    None => {}
                }
            }
            if found.is_none() && other {
                return Ok(State::Other);
            }
            same = same.or(found);
        }
        Ok(same.map_or(State::Unknown, State::Same))
    }

    /// From now on the names in a path matter, too.
    fn follow(&mut self, path: &str) {
        for name in path.split('/') {
            if !self.names.contains(name) {
                self.names.insert(name.to_owned());
                self.trees.clear();
            }
        }
    }

    /// The resources that a component runs at a commit.
    fn resources(&mut self, commit: ObjectId, here: &PinKey) -> Result<Rc<[String]>, GitError> {
        let memo = (commit, here.clone());
        if let Some(resources) = self.resources.get(&memo) {
            return Ok(Rc::clone(resources));
        }
        let tree = self.commit(commit)?.tree;
        let users = self.users(tree, &here.0)?.unwrap_or_default();
        let mine = users.iter().filter(|(_, component)| **component == here.1);
        let resources: Rc<[String]> = mine.map(|(resource, _)| resource.clone()).collect();
        if self.resources.len() >= MAX_KEPT {
            self.resources.clear();
        }
        self.resources.insert(memo, Rc::clone(&resources));
        Ok(resources)
    }

    /// By which pins each resource is run, in all environments of a tree. Beyond some work, none.
    fn claims(&mut self, tree: ObjectId, path: &str) -> Result<Rc<Claims>, GitError> {
        let mut parts = path.rsplitn(3, '/');
        let (file, _, Some(root)) = (parts.next().unwrap_or_default(), parts.next(), parts.next()) else {
            return Ok(Rc::default());
        };
        let Some(folder) = self.file(tree, root)? else { return Ok(Rc::default()) };
        if let Some(last) = self.claims.as_ref().filter(|last| last.folder == folder) {
            return Ok(Rc::clone(&last.claims));
        }
        let defaults = self.file(tree, &format!("{root}/{DEFAULTS}"))?;
        let last = self.claims.take();
        let mut files = BTreeMap::new();
        for (name, id) in self.folders(folder)? {
            self.looks += 1;
            if self.looks > MAX_LOOKS {
                return Ok(Rc::default());
            }
            let known = last.as_ref().and_then(|last| last.files.get(&name)).filter(|known| known.0 == id);
            let environment = match known {
                Some((_, environment)) => *environment,
                None => self.tree(id)?.get(ENVIRONMENT).copied(),
            };
            files.insert(name, (id, environment));
        }
        // Most commits change pins, and not what runs them.
        let runs = |files: &Folders| -> Vec<(String, ObjectId)> {
            files.iter().filter_map(|(name, (_, environment))| Some((name.clone(), (*environment)?))).collect()
        };
        let runs_here = runs(&files);
        let same = last.filter(|last| last.defaults == defaults && runs(&last.files) == runs_here);
        let claims = match same {
            Some(last) => last.claims,
            None => {
                let mut claims = Claims::new();
                for (name, environment) in &runs_here {
                    let path = format!("{root}/{name}/{file}");
                    let Some(users) = self.users_by(&path, defaults, *environment)? else { continue };
                    for (resource, component) in users.iter() {
                        claims.entry(resource.clone()).or_default().push((path.clone(), component.clone()));
                    }
                }
                Rc::new(claims)
            }
        };
        self.claims = Some(Last { folder, defaults, files, claims: Rc::clone(&claims) });
        Ok(claims)
    }

    /// The folders in a folder.
    fn folders(&mut self, id: ObjectId) -> Result<Vec<(String, ObjectId)>, GitError> {
        let tree = self.objects.tree(id)?;
        self.read += 1;
        let entries = tree.iter().map_while(Result::ok).filter(|entry| entry.mode().is_tree());
        let named = entries.filter_map(|entry| Some((entry.filename().to_str().ok()?.to_owned(), entry.object_id())));
        Ok(named.take(TreeLimits::default().environments).collect())
    }

    fn values(&mut self, path: &str, blob: ObjectId) -> Result<Rc<BTreeMap<String, String>>, GitError> {
        if let Some(values) = self.values.get(&(path.to_owned(), blob)) {
            return Ok(Rc::clone(values));
        }
        let bytes = self.bytes(blob, path)?;
        let values = Rc::new(bytes.map(|bytes| (self.extract)(path, &bytes)).unwrap_or_default());
        self.keep(values.len());
        self.values.insert((path.to_owned(), blob), Rc::clone(&values));
        Ok(values)
    }

    /// The bytes of a file; `None` of one that is too large to be read.
    fn bytes(&mut self, blob: ObjectId, path: &str) -> Result<Option<Vec<u8>>, GitError> {
        self.read += 1;
        if self.objects.size(blob, path)? > TreeLimits::default().file_bytes {
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
        self.users_by(path, defaults, environment)
    }

    /// The same, by the ids of the two files.
    fn users_by(&mut self, path: &str, defaults: Option<ObjectId>, environment: ObjectId) -> Result<Users, GitError> {
        let key = (path.to_owned(), defaults, environment);
        if let Some(users) = self.users.get(&key) {
            return Ok(users.clone());
        }
        let name = path.rsplit('/').nth(1).unwrap_or_default();
        let defaults = defaults.map(|defaults| self.bytes(defaults, DEFAULTS)).transpose()?.flatten();
        let environment = self.bytes(environment, ENVIRONMENT)?;
        let size = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        self.parsed += size(&environment) + size(&defaults);
        let environment = environment.filter(|_| self.parsed <= MAX_PARSED);
        let users = environment.and_then(|bytes| manifest::users(name, defaults.as_deref(), &bytes)).map(Rc::new);
        self.keep(users.as_ref().map_or(0, |users| users.len()));
        self.users.insert(key, users.clone());
        Ok(users)
    }

    /// Makes room for so many more lines of what was read from files.
    fn keep(&mut self, lines: usize) {
        self.kept += 1 + lines;
        if self.kept > MAX_KEPT {
            self.kept = 1 + lines;
            self.values.clear();
            self.users.clear();
        }
    }

    pub(super) fn commit(&mut self, id: ObjectId) -> Result<Rc<Node>, GitError> {
        if let Some(node) = self.commits.get(&id) {
            return Ok(Rc::clone(node));
        }
        let commit = self.objects.commit(id)?;
        self.read += 1;
        // A commit without a legible date is walked early; that costs time at worst.
        let seconds = commit.seconds().unwrap_or(i64::MAX);
        let parents = if self.shallow.contains(&id) { Vec::new() } else { commit.parents };
        let node = Rc::new(Node { tree: commit.tree, parents, seconds });
        self.commits.insert(id, Rc::clone(&node));
        Ok(node)
    }

    /// Whether a commit is another one, or descends from it. Looks back no further than to the other one's time, with a day to
    /// spare for clocks that differ.
    pub(super) fn descends(&mut self, commit: ObjectId, from: ObjectId) -> Result<bool, GitError> {
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
        self.read += 1;
        let mut entries = HashMap::new();
        for entry in tree.iter() {
            // What comes after such an entry was never read by anybody.
            let Ok(entry) = entry else { break };
            let name = entry.filename().to_str().ok().filter(|name| self.names.contains(*name));
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
