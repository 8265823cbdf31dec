//! What targets are called, and which are wanted.

use std::collections::{BTreeMap, BTreeSet};

use super::{Found, Held, Left};
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
/// services with the same name each also has its cluster's; what is alike even then is numbered.
#[must_use]
pub fn targets(found: &BTreeSet<Found>, only: &[Selector]) -> Targets {
    let mut targets = Targets::default();
    let wanted = found.iter().filter(|found| only.is_empty() || only.iter().any(|one| one.selects(found)));
    let wanted: Vec<(&Found, Result<Held, String>)> = wanted.map(|found| (found, held(found))).collect();
    let mut services: BTreeMap<Option<String>, usize> = BTreeMap::new();
    for (found, _) in &wanted {
        if let Found::Service { service, .. } = found {
            *services.entry(label(service)).or_default() += 1;
        }
    }
    let mut taken = [BTreeSet::new(), BTreeSet::new()];
    let [groups_taken, services_taken] = &mut taken;
    // Those whose names are names of tables already keep them.
    let mut sorted = wanted;
    sorted.sort_by_key(|(found, _)| match found {
        Found::Group(name) => label(name).as_deref() != Some(name),
        Found::Service { service, .. } => label(service).as_deref() != Some(service),
    });
    for (found, held) in sorted {
        let held = match held {
            Ok(held) => held,
            Err(why) => {
                targets.left.push(Left { what: found.to_string(), why });
                continue;
            }
        };
        let (kind, wish, taken) = match found {
            Found::Group(name) => (Kind::Asg, label(name).unwrap_or_else(|| "group".to_owned()), &mut *groups_taken),
            Found::Service { cluster, service } => {
                let own = label(service);
                let alone = services.get(&own) == Some(&1);
                let wish = own.filter(|_| alone).or_else(|| label(&format!("{cluster}-{service}")));
                (Kind::Fargate, wish.unwrap_or_else(|| "service".to_owned()), &mut *services_taken)
            }
        };
        let Ok(local) = LocalRef::new(kind, &unlike(&wish, taken)) else { continue };
        match held {
            Held::Group(name) => drop(targets.groups.insert(local, name)),
            Held::Service(cluster, service) => drop(targets.services.insert(local, (cluster, service))),
        }
    }
    targets.left.sort();
    targets
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
