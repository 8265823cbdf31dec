//! The two files as text.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::name::{label, unlike};
use super::short::{self, Defaults, Row, Wish};
use super::{Candidate, Held, Lookup, Proposal, Way};
use crate::manifest::inherited::{Ami, Key, Said};
use crate::model::escape::one_line;
use crate::model::{AccountId, Digest, Kind, LocalRef};

/// An environment's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// `environment.toml`.
    pub environment: String,
    /// `pins.toml`.
    pub pins: String,
    /// What was guessed or wants attention, by target; these are comments in the files, too.
    pub notes: BTreeMap<LocalRef, Vec<String>>,
    /// How many components there are.
    pub components: usize,
}

/// A component: its targets have their version from one pin.
struct Released<'a> {
    name: String,
    version: &'a str,
    digest: Option<&'a Digest>,
    /// Where most targets with the same look-up run another version, what is said of it at its first target.
    apart: Option<String>,
}

pub(super) fn files(proposal: &Proposal) -> Written {
    let inherited = &proposal.inherited;
    let components = components(proposal);
    let known = proposal
        .candidates
        .iter()
        .filter_map(|(local, candidate)| Some((local, candidate, candidate.ways.first()?, components.get(local)?)));
    let known: Vec<_> = known.collect();
    let rows: Vec<Row<'_>> =
        known.iter().map(|(local, candidate, way, released)| row(local, candidate, way, &released.name)).collect();
    let defaults = short::defaults(&rows, inherited);
    let mut environment = heading(proposal);
    shared(&mut environment, &defaults);
    let mut notes: BTreeMap<LocalRef, Vec<String>> = BTreeMap::new();
    let mut below_header_alone = false;
    for ((local, candidate, way, component), row) in known.iter().zip(&rows) {
        let mut said = candidate.notes.clone();
        said.extend(way.guess.iter().map(|guess| format!("guess: {guess}")));
        said.extend(component.apart.clone());
        said.extend(candidate.held_back.clone());
        let mut lines: Vec<String> = row
            .differing(&defaults, inherited)
            .map(|wish| format!("{} = {}", wish.key.name(), wish.said.toml()))
            .collect();
        if candidate.held_back.is_some() {
            lines.push("base_revision = \"running\"".to_owned());
        }
        let is_header_alone = said.is_empty() && lines.is_empty();
        if is_header_alone && inherited.has(local) {
            continue;
        }
        // Short tables stand close together.
        if !(is_header_alone && below_header_alone) {
            environment.push('\n');
        }
        below_header_alone = is_header_alone;
        said.iter().for_each(|note| comment(&mut environment, note));
        // Writing into a string can't fail, here and below.
        let _ = writeln!(environment, "[{}.{}]", local.kind, local.name);
        for line in lines {
            let _ = writeln!(environment, "{line}");
        }
        if !said.is_empty() {
            notes.insert((*local).clone(), said);
        }
    }
    if !proposal.left.is_empty() {
        environment.push_str("\n# Left out:\n");
        for left in &proposal.left {
            comment(&mut environment, &format!("- {}: {}", left.what, left.why));
        }
    }
    let pins: BTreeMap<&str, &Released<'_>> =
        components.values().map(|component| (component.name.as_str(), component)).collect();
    let mut text = String::new();
    for (name, component) in &pins {
        let version = quoted(component.version);
        let _ = match component.digest {
            None => writeln!(text, "{name} = {version}"),
            Some(digest) => {
                writeln!(text, "{name} = {{ version = {version}, digest = {} }}", quoted(digest.as_str()))
            }
        };
    }
    Written { environment, pins: text, notes, components: pins.len() }
}

/// The account: its id, and what defaults.toml doesn't say as it has to be.
fn heading(proposal: &Proposal) -> String {
    let (account, inherited) = (&proposal.account, &proposal.inherited);
    let mut text = String::from("# Made by `pinion init` from what ran here.\n\n");
    if proposal.role_guessed {
        comment(&mut text, "guess: nobody has said what the role is called");
    }
    text.push_str("[account]\n");
    let _ = writeln!(text, "id = {}", quoted(account.id.as_str()));
    if inherited.region() != Some(&account.region) {
        let _ = writeln!(text, "region = {}", quoted(account.region.as_str()));
    }
    if inherited.role().as_ref() != Some(&account.role) {
        let _ = writeln!(text, "role = {}", quoted(account.role.as_str()));
    }
    if let Some(id) = account.external_id.as_ref().filter(|id| inherited.external_id().as_ref() != Some(*id)) {
        let _ = writeln!(text, "external_id = {}", quoted(id));
    }
    text
}

/// The defaults of each kind.
fn shared(text: &mut String, defaults: &Defaults) {
    for kind in [Kind::Asg, Kind::Fargate] {
        let of_kind = defaults.iter().filter(|((of, _), _)| *of == kind);
        let of_kind: Vec<(Key, &Said)> = of_kind.map(|((_, key), said)| (*key, said)).collect();
        if of_kind.is_empty() {
            continue;
        }
        text.push('\n');
        let uses = |placeholder: &str| of_kind.iter().any(|(_, said)| said.has_placeholder(placeholder));
        match (uses("{component}"), uses("{target}")) {
            (false, false) => comment(text, "for all that say nothing else"),
            (true, false) => {
                comment(text, "for all that say nothing else; {component} is the table's name, or its `component`");
            }
            (false, true) => comment(text, "for all that say nothing else; {target} is the table's name"),
            (true, true) => comment(
                text,
                "for all that say nothing else; {target} is the table's name, {component} its `component`, or else its name",
            ),
        }
        let _ = writeln!(text, "[defaults.{kind}]");
        for (key, said) in of_kind {
            let _ = writeln!(text, "{} = {}", key.name(), said.toml());
        }
    }
}

fn comment(text: &mut String, what: &str) {
    let _ = writeln!(text, "# {}", one_line(what));
}

/// What has to come of a target's table.
fn row<'a>(local: &'a LocalRef, candidate: &Candidate, way: &Way, component: &'a str) -> Row<'a> {
    let wish = |key, said| Wish { key, said, optional: false };
    let text = |key, text: &str| wish(key, Said::Text(text.to_owned()));
    let mut wishes = match &candidate.held {
        Held::Group(name) => vec![text(Key::Group, name.as_str()), text(Key::Component, component)],
        Held::Service(cluster, name) => vec![
            text(Key::Cluster, cluster.as_str()),
            text(Key::Service, name.as_str()),
            text(Key::Component, component),
        ],
    };
    match (candidate.containers.as_slice(), &candidate.released) {
        ([], Some(released)) => {
            wishes.push(Wish { key: Key::Container, said: Said::Names(vec![released.clone()]), optional: true });
        }
        ([], None) => {}
        (names, _) => wishes.push(wish(Key::Container, Said::Names(names.to_vec()))),
    }
    let (key, said) = way.lookup.said();
    wishes.push(wish(key, said));
    Row { local, component, wishes }
}

impl Lookup {
    /// The key that says this, and its value.
    pub(super) fn said(&self) -> (Key, Said) {
        let owned = |owner: &Option<AccountId>| owner.as_ref().map(AccountId::to_string);
        let ami = match self {
            Self::Image(image) => return (Key::Image, Said::Text(image.clone())),
            Self::Name { name, owner } => Ami { name: Some(name.clone()), owner: owned(owner), ..Ami::default() },
            Self::Tags { tags, owner } => Ami { tags: Some(tags.clone()), owner: owned(owner), ..Ami::default() },
            Self::Parameter(parameter) => Ami { parameter: Some(parameter.clone()), ..Ami::default() },
            Self::Id(_) => Ami { id: Some("{version}".to_owned()), ..Ami::default() },
        };
        (Key::Ami, Said::Ami(ami))
    }
}

/// Which component each target runs: one for all that look their image up alike and run the same version. It is called as
/// defaults.toml calls it, or after the image. Where several versions run, that is the one that most targets run, if there is
/// one; the others, and components whose name another one has, are called after their first target.
fn components(proposal: &Proposal) -> BTreeMap<LocalRef, Released<'_>> {
    type Release<'a> = (&'a str, Option<&'a Digest>);
    type Releases<'a> = BTreeMap<Release<'a>, Vec<(&'a LocalRef, &'a Way)>>;
    let inherited = &proposal.inherited;
    // Those that have a name already come first.
    let mut lookups: BTreeMap<(bool, Option<String>, &Lookup), Releases<'_>> = BTreeMap::new();
    let known = || proposal.candidates.iter().filter_map(|(local, candidate)| Some((local, candidate.ways.first()?)));
    let named_there: BTreeMap<&Lookup, String> =
        known().filter_map(|(local, way)| Some((&way.lookup, inherited.component(local)?))).collect();
    for (local, way) in known() {
        let release = (way.version.as_str(), way.digest.as_ref());
        let said = inherited.component(local).or_else(|| named_there.get(&way.lookup).cloned());
        lookups.entry((said.is_none(), said, &way.lookup)).or_default().entry(release).or_default().push((local, way));
    }
    let mut taken = BTreeSet::new();
    let mut named: BTreeMap<String, Release<'_>> = BTreeMap::new();
    let mut components = BTreeMap::new();
    for ((_, said, lookup), releases) in lookups {
        let mut releases: Vec<_> = releases.into_iter().collect();
        releases.sort_by_key(|(_, targets)| (Reverse(targets.len()), targets.first().map(|(local, _)| *local)));
        let count = |rank: usize| releases.get(rank).map_or(0, |(_, targets)| targets.len());
        let ahead = count(0) > count(1) || said.is_some();
        let most = releases.first().map(|((version, _), _)| (*version).to_owned()).unwrap_or_default();
        for (rank, (release, targets)) in releases.into_iter().enumerate() {
            let Some((first, way)) = targets.first() else { continue };
            let (version, digest) = release;
            let known = said.clone().filter(|said| rank == 0 && named.get(said) == Some(&release));
            let name = known.unwrap_or_else(|| {
                let (key, value) = lookup.said();
                let there =
                    || inherited.component_of(first, key, &value).filter(|name| label(name).as_ref() == Some(name));
                let of_image = said.clone().or_else(there).or_else(|| way.component.clone());
                let of_image = of_image.filter(|name| rank == 0 && ahead && !taken.contains(name));
                let wish = of_image.or_else(|| label(&first.name)).unwrap_or_else(|| first.name.clone());
                unlike(&wish, &mut taken)
            });
            named.insert(name.clone(), release);
            let apart = (rank > 0).then(|| {
                let what = subject(lookup);
                format!("guess: a component of its own, as {what} is at {version} here and at {most} elsewhere")
            });
            for (local, _) in &targets {
                let apart = apart.clone().filter(|_| local == first);
                components.insert((*local).clone(), Released { name: name.clone(), version, digest, apart });
            }
        }
    }
    components
}

fn subject(lookup: &Lookup) -> String {
    match lookup {
        Lookup::Image(image) => image.trim_end_matches(":{version}").to_owned(),
        Lookup::Name { name, .. } => name.clone(),
        Lookup::Parameter(parameter) => parameter.trim_end_matches(":{version}").to_owned(),
        Lookup::Tags { .. } | Lookup::Id(_) => "the AMI".to_owned(),
    }
}

/// A text as TOML's basic string. What could turn the writing direction or hide is escaped, too.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            _ if *one_line(character.encode_utf8(&mut [0; 4])) != *character.encode_utf8(&mut [0; 4]) => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(character));
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}
