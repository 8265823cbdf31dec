//! The two files as text.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::name::{label, unlike};
use super::{Candidate, Held, Lookup, Proposal, Way};
use crate::model::escape::one_line;
use crate::model::{Digest, LocalRef};

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
    let components = components(&proposal.candidates);
    let mut environment = heading(proposal);
    let mut notes: BTreeMap<LocalRef, Vec<String>> = BTreeMap::new();
    for (local, candidate) in &proposal.candidates {
        let (Some(way), Some(component)) = (candidate.ways.first(), components.get(local)) else { continue };
        let mut said = candidate.notes.clone();
        said.extend(way.guess.iter().map(|guess| format!("guess: {guess}")));
        said.extend(component.apart.clone());
        environment.push('\n');
        said.iter().for_each(|note| comment(&mut environment, note));
        table(&mut environment, local, candidate, way, &component.name);
        if !said.is_empty() {
            notes.insert(local.clone(), said);
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
        // Writing into a string can't fail, here and below.
        let _ = match component.digest {
            None => writeln!(text, "{name} = {version}"),
            Some(digest) => {
                writeln!(text, "{name} = {{ version = {version}, digest = {} }}", quoted(digest.as_str()))
            }
        };
    }
    Written { environment, pins: text, notes, components: pins.len() }
}

fn heading(proposal: &Proposal) -> String {
    let account = &proposal.account;
    let mut text = String::from("# Made by `pinion init` from what ran here.\n\n");
    if proposal.role_guessed {
        comment(&mut text, "guess: nobody has said what the role is called");
    }
    text.push_str("[account]\n");
    let _ = writeln!(text, "id = {}", quoted(account.id.as_str()));
    let _ = writeln!(text, "region = {}", quoted(account.region.as_str()));
    let _ = writeln!(text, "role = {}", quoted(account.role.as_str()));
    if let Some(id) = &account.external_id {
        let _ = writeln!(text, "external_id = {}", quoted(id));
    }
    text
}

fn comment(text: &mut String, what: &str) {
    let _ = writeln!(text, "# {}", one_line(what));
}

fn table(text: &mut String, local: &LocalRef, candidate: &Candidate, way: &Way, component: &str) {
    let _ = writeln!(text, "[{}.{}]", local.kind, local.name);
    let mut named = |key: &str, name: &str| {
        if name != local.name || key == "cluster" {
            let _ = writeln!(text, "{key} = {}", quoted(name));
        }
    };
    match &candidate.held {
        Held::Group(name) => {
            named("group", name.as_str());
            named("component", component);
        }
        Held::Service(cluster, name) => {
            // It has no default.
            named("cluster", cluster.as_str());
            named("service", name.as_str());
            named("component", component);
        }
    }
    let _ = match candidate.containers.as_slice() {
        [] => Ok(()),
        [only] => writeln!(text, "container = {}", quoted(only)),
        several => {
            let names: Vec<String> = several.iter().map(|name| quoted(name)).collect();
            writeln!(text, "container = [{}]", names.join(", "))
        }
    };
    let owned = |owner: &Option<_>| {
        owner
            .as_ref()
            .map_or_else(String::new, |owner: &crate::model::AccountId| format!(", owner = {}", quoted(owner.as_str())))
    };
    let _ = match &way.lookup {
        Lookup::Image(image) => writeln!(text, "image = {}", quoted(image)),
        Lookup::Name { name, owner } => writeln!(text, "ami = {{ name = {}{} }}", quoted(name), owned(owner)),
        Lookup::Tags { tags, owner } => {
            let tags: Vec<String> =
                tags.iter().map(|(key, value)| format!("{} = {}", bare(key), quoted(value))).collect();
            writeln!(text, "ami = {{ tags = {{ {} }}{} }}", tags.join(", "), owned(owner))
        }
        Lookup::Parameter(parameter) => writeln!(text, "ami = {{ parameter = {} }}", quoted(parameter)),
        Lookup::Id(_) => writeln!(text, "ami = {{ id = \"{{version}}\" }}"),
    };
}

/// Which component each target runs: one for all that look their image up alike and run the same version. It is called
/// after the image. Where several versions run, that is the one that most targets run, if there is one; the others, and
/// components whose name another one has, are called after their first target.
fn components(candidates: &BTreeMap<LocalRef, Candidate>) -> BTreeMap<LocalRef, Released<'_>> {
    type Releases<'a> = BTreeMap<(&'a str, Option<&'a Digest>), Vec<(&'a LocalRef, &'a Way)>>;
    let mut lookups: BTreeMap<&Lookup, Releases<'_>> = BTreeMap::new();
    for (local, candidate) in candidates {
        let Some(way) = candidate.ways.first() else { continue };
        let release = (way.version.as_str(), way.digest.as_ref());
        lookups.entry(&way.lookup).or_default().entry(release).or_default().push((local, way));
    }
    let mut taken = BTreeSet::new();
    let mut components = BTreeMap::new();
    for (lookup, releases) in lookups {
        let mut releases: Vec<_> = releases.into_iter().collect();
        releases.sort_by_key(|(_, targets)| (Reverse(targets.len()), targets.first().map(|(local, _)| *local)));
        let count = |rank: usize| releases.get(rank).map_or(0, |(_, targets)| targets.len());
        let ahead = count(0) > count(1);
        let most = releases.first().map(|((version, _), _)| (*version).to_owned()).unwrap_or_default();
        for (rank, ((version, digest), targets)) in releases.into_iter().enumerate() {
            let Some((first, way)) = targets.first() else { continue };
            let of_image = way.component.clone().filter(|name| rank == 0 && ahead && !taken.contains(name));
            let wish = of_image.or_else(|| label(&first.name)).unwrap_or_else(|| first.name.clone());
            let name = unlike(&wish, &mut taken);
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

/// A key as TOML has it.
fn bare(key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if is_bare { key.to_owned() } else { quoted(key) }
}

/// A text as TOML's basic string. What could turn the writing direction or hide is escaped, too.
fn quoted(text: &str) -> String {
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
