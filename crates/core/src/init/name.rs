//! What targets are called, and which are wanted.

use std::collections::{BTreeMap, BTreeSet};

use super::{Found, Held, Left};
use crate::manifest::Inherited;
use crate::manifest::inherited::{Key, Said};
use crate::model::{ClusterName, GroupName, Kind, LocalRef, ServiceName, words};

/// The most characters of a target's or component's name.
const MAX_NAME: usize = 63;

/// Which groups and services are wanted: `asg/GROUP`, `fargate/SERVICE` or `fargate/CLUSTER/SERVICE`, in which `*` stands for
/// any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    kind: Kind,
    pattern: String,
}

/// A selector can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` selects nothing: it looks like `asg/web-*`, `fargate/*` or `fargate/CLUSTER/SERVICE`")]
pub struct BadSelector(String);

impl std::str::FromStr for Selector {
    type Err = BadSelector;

    fn from_str(text: &str) -> Result<Self, BadSelector> {
        let bad = || BadSelector(text.to_owned());
        let (kind, pattern) = text.split_once('/').filter(|(_, pattern)| !pattern.is_empty()).ok_or_else(bad)?;
        let kind = match kind {
            "asg" => Kind::Asg,
            "fargate" => Kind::Fargate,
            _ => return Err(bad()),
        };
        Ok(Self { kind, pattern: pattern.to_owned() })
    }
}

impl Selector {
    /// The kind that it selects of.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    fn selects(&self, found: &Found) -> bool {
        match (self.kind, found) {
            (Kind::Asg, Found::Group(name)) => words::like(&self.pattern, name),
            (Kind::Fargate, Found::Service { cluster, service }) => {
                words::like(&self.pattern, service) || words::like(&self.pattern, &format!("{cluster}/{service}"))
            }
            _ => false,
        }
    }
}

/// The groups and services that become targets, by the names of their tables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Targets {
    /// The groups.
    pub groups: BTreeMap<LocalRef, GroupName>,
    /// The services.
    pub services: BTreeMap<LocalRef, (ClusterName, ServiceName)>,
    /// Those that can't be named in the files.
    pub left: Vec<Left>,
}

impl Targets {
    fn insert(&mut self, local: LocalRef, held: Held) {
        match held {
            Held::Group(name) => drop(self.groups.insert(local, name)),
            Held::Service(cluster, service) => drop(self.services.insert(local, (cluster, service))),
        }
    }

    pub(super) fn held(&self) -> impl Iterator<Item = (&LocalRef, Held)> {
        let groups = self.groups.iter().map(|(local, name)| (local, Held::Group(name.clone())));
        let services = self.services.iter().map(|(local, (cluster, service))| {
            let held = Held::Service(cluster.clone(), service.clone());
            (local, held)
        });
        groups.chain(services)
    }
}

/// Names the table of each group and service that is wanted: for the resource, as far as a table's name can be like it. Of
/// services with the same name each also has its cluster's; what is alike even then is numbered. What defaults.toml has a
/// table for is a target of every environment, wanted or not.
#[must_use]
pub fn targets(found: &BTreeSet<Found>, only: &[Selector], inherited: &Inherited) -> Targets {
    let mut targets = Targets::default();
    let mut taken = [BTreeSet::new(), BTreeSet::new()];
    let [groups_taken, services_taken] = &mut taken;
    let mut theirs = BTreeSet::new();
    for local in inherited.targets() {
        let taken = if local.kind == Kind::Asg { &mut *groups_taken } else { &mut *services_taken };
        taken.insert(local.name.clone());
        if let Some((of, held)) = named_there(inherited, &local, found) {
            theirs.insert(of);
            targets.insert(local, held);
        }
    }
    let is_wanted = |found: &Found| only.is_empty() || only.iter().any(|one| one.selects(found));
    let wanted = found.iter().filter(|found| is_wanted(found) && !theirs.contains(*found));
    let mut wanted: Vec<Wanted<'_>> = wanted.map(|found| Wanted::new(found, inherited)).collect();
    let mut services: BTreeMap<Option<String>, usize> = BTreeMap::new();
    for wanted in &wanted {
        if let Found::Service { .. } = wanted.found {
            *services.entry(wanted.wish.clone()).or_default() += 1;
        }
    }
    // Those whose names are names of tables already keep them.
    wanted.sort_by_key(|wanted| wanted.wish.as_deref() != Some(wanted.found.name()));
    for Wanted { found, held, wish } in wanted {
        let held = match held {
            Ok(held) => held,
            Err(why) => {
                targets.left.push(Left { what: found.to_string(), why });
                continue;
            }
        };
        let (kind, wish, taken) = match found {
            Found::Group(_) => (Kind::Asg, wish.unwrap_or_else(|| "group".to_owned()), &mut *groups_taken),
            Found::Service { cluster, service } => {
                let alone = services.get(&wish) == Some(&1);
                let wish = wish.filter(|wish| alone && !services_taken.contains(wish));
                let wish = wish.or_else(|| label(&format!("{cluster}-{service}")));
                (Kind::Fargate, wish.unwrap_or_else(|| "service".to_owned()), &mut *services_taken)
            }
        };
        if let Ok(local) = LocalRef::new(kind, &unlike(&wish, taken)) {
            targets.insert(local, held);
        }
    }
    targets.left.sort();
    targets
}

/// A group or service that is wanted.
struct Wanted<'a> {
    found: &'a Found,
    held: Result<Held, String>,
    /// What its table may be called: what the defaults of its kind make its name of, or else what its name is like.
    wish: Option<String>,
}

impl<'a> Wanted<'a> {
    fn new(found: &'a Found, inherited: &Inherited) -> Self {
        let (kind, name) = (found.kind(), found.name());
        let wish = inherited.target_of(kind, name).filter(|wish| LocalRef::new(kind, wish).is_ok());
        Self { found, held: held(found), wish: wish.or_else(|| label(name)) }
    }
}

/// The group or service that defaults.toml has a table for. Where it doesn't say in which cluster, it is the only service of
/// its name.
fn named_there(inherited: &Inherited, local: &LocalRef, found: &BTreeSet<Found>) -> Option<(Found, Held)> {
    let component = inherited.component(local).unwrap_or_default();
    let said = |key| match inherited.own(local, key, &component).or_else(|| inherited.all(local, key, &component)) {
        Some(Said::Text(text)) => Some(text),
        _ => None,
    };
    let there = match local.kind {
        Kind::Asg => Found::Group(said(Key::Group).unwrap_or_else(|| local.name.clone())),
        Kind::Fargate => {
            let service = said(Key::Service).unwrap_or_else(|| local.name.clone());
            let cluster = said(Key::Cluster).or_else(|| {
                let mut clusters = found.iter().filter_map(|found| match found {
                    Found::Service { cluster, service: other } => (*other == service).then_some(cluster),
                    Found::Group(_) => None,
                });
                clusters.next().filter(|_| clusters.next().is_none()).cloned()
            })?;
            Found::Service { cluster, service }
        }
    };
    let held = held(&there).ok()?;
    Some((there, held))
}

/// The resource by its name, or why a file can't name it.
fn held(found: &Found) -> Result<Held, String> {
    match found {
        // What stands in braces is a placeholder, and there is no other way to write one.
        Found::Group(name) if name.contains(['{', '}']) => {
            Err("its name has a brace, which environment.toml takes for a placeholder".to_owned())
        }
        Found::Group(name) => {
            Ok(Held::Group(GroupName::try_from(name.as_str()).map_err(|invalid| invalid.to_string())?))
        }
        Found::Service { cluster, service } => {
            let cluster = ClusterName::try_from(cluster.as_str()).map_err(|invalid| invalid.to_string())?;
            let service = ServiceName::try_from(service.as_str()).map_err(|invalid| invalid.to_string())?;
            Ok(Held::Service(cluster, service))
        }
    }
}

/// A text as the name of a table or component; `None` if nothing of it can stay.
pub(super) fn label(text: &str) -> Option<String> {
    let mut label = String::new();
    for character in text.chars().flat_map(char::to_lowercase) {
        let kept = if character.is_ascii_alphanumeric() || character == '_' { character } else { '-' };
        if label.len() < MAX_NAME && (kept.is_ascii_alphanumeric() || !label.is_empty()) {
            // What was left out leaves one line, however much it was.
            if kept != '-' || character == '-' || !label.ends_with('-') {
                label.push(kept);
            }
        }
    }
    let label = label.trim_end_matches('-');
    (!label.is_empty()).then(|| label.to_owned())
}

/// A name like `wish` that none has yet; it is taken then.
pub(super) fn unlike(wish: &str, taken: &mut BTreeSet<String>) -> String {
    let mut name = wish.to_owned();
    let mut number = 2_usize;
    while taken.contains(&name) {
        let suffix = format!("-{number}");
        let beginning: String = wish.chars().take(MAX_NAME - suffix.len()).collect();
        name = format!("{beginning}{suffix}");
        number += 1;
    }
    taken.insert(name.clone());
    name
}
