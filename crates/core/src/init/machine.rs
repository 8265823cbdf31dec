//! Groups: how a version leads to the AMI that runs.

use std::collections::BTreeMap;
use std::ops::Range;

use super::name::label;
use super::{Candidate, Held, Lookup, MachineImage, Seen, Way};
use crate::model::{LocalRef, ObservedGroup, Version};
use crate::plan;

/// Tags that say which version an image is of, without what joins their words.
const VERSIONS: [&str; 7] =
    ["version", "appversion", "imageversion", "releaseversion", "release", "build", "buildnumber"];
/// Tags that say what an image is of.
const ROLES: [&str; 7] = ["role", "component", "app", "application", "service", "project", "product"];
/// What separates a version from the rest of a name.
const SEPARATORS: &str = "-_/ .@(['";
/// Words of which a version may have more behind it, such as `1.4.2-rc1`.
const PRERELEASES: [&str; 9] = ["rc", "alpha", "beta", "dev", "pre", "preview", "snapshot", "build", "hotfix"];
/// From so many digits on a number isn't by chance in a name: a date, a time, a number of a build.
const MANY_DIGITS: usize = 6;
/// What begins a parameter of AWS's own.
const AWS_PARAMETERS: &str = "/aws/";

/// The id of the AMI that a group's instances are launched from.
pub(super) fn running(group: &ObservedGroup) -> Option<&str> {
    group.current.as_ref()?.image.as_deref().filter(|image| image.starts_with("ami-"))
}

/// Whether name or tags tell a version without doubt.
pub(super) fn tells(image: &MachineImage) -> bool {
    by_tags(image).is_some() || by_name(image).is_some_and(|(_, sure)| sure)
}

/// The candidate for a group, or why there is none.
pub(super) fn candidate(
    local: &LocalRef,
    group: &ObservedGroup,
    seen: &Seen,
    held: &Held,
) -> Result<Candidate, String> {
    if let Some(why) = plan::unsupported_group(group) {
        return Err(why);
    }
    let id = running(group).ok_or("its launch template names no AMI")?;
    let mut ways = Vec::new();
    let image = seen.images.get(id);
    let name = image.and_then(by_name);
    ways.extend(image.and_then(by_tags));
    let (sure, unsure): (Vec<_>, Vec<_>) = name.into_iter().partition(|(_, sure)| *sure);
    // A name that has the version of the tags is found in every account.
    let agrees = sure.iter().any(|(named, _)| ways.iter().any(|tagged: &Way| tagged.version == named.version));
    let place = if agrees { 0 } else { ways.len() };
    for (way, _) in sure {
        ways.insert(place, way);
    }
    let parameters = seen.parameters.iter().filter(|one| one.image == id);
    ways.extend(parameters.filter(|one| !one.parameter.starts_with(AWS_PARAMETERS)).map(|one| Way {
        lookup: Lookup::Parameter(format!("{}:{{version}}", one.parameter)),
        version: one.version.to_string(),
        digest: None,
        component: None,
        guess: Some(format!("version {} of the parameter holds {id}, which runs", one.version)),
    }));
    ways.extend(unsure.into_iter().map(|(way, _)| way));
    ways.push(Way {
        lookup: Lookup::Id(local.clone()),
        version: id.to_owned(),
        digest: None,
        component: None,
        guess: Some(match image.and_then(|image| image.name.as_deref()) {
            Some(name) => format!("pins are AMI ids: nothing else leads to {id} (`{name}`) alone"),
            None => "pins are AMI ids: nothing else leads to this one".to_owned(),
        }),
    });
    let mut notes = Vec::new();
    if group.desired_capacity == 0 {
        notes.push("its desired capacity is 0: nothing runs now".to_owned());
    }
    Ok(Candidate { held: held.clone(), ways, containers: Vec::new(), released: None, notes, held_back: None })
}

/// By tags: one that says the version, and at least one that says what it is of.
fn by_tags(image: &MachineImage) -> Option<Way> {
    let (version_key, version) = image.tags.iter().find(|(key, value)| {
        VERSIONS.contains(&words(key).as_str()) && Version::try_from(value.as_str()).is_ok() && is_plain(value)
    })?;
    let is_role = |(key, value): &(&String, &String)| {
        ROLES.contains(&words(key).as_str()) && !value.is_empty() && is_plain(value) && is_plain(key)
    };
    let roles: Vec<(&String, &String)> = image.tags.iter().filter(is_role).collect();
    let (_, first) = roles.first()?;
    let component = label(first);
    let mut tags: BTreeMap<String, String> =
        roles.iter().map(|(key, value)| ((*key).clone(), (*value).clone())).collect();
    tags.insert(version_key.clone(), "{version}".to_owned());
    Some(Way {
        lookup: Lookup::Tags { tags, owner: image.owner.clone() },
        version: version.clone(),
        digest: None,
        component,
        guess: Some(format!("the version is in the AMI's tag `{version_key}`")),
    })
}

/// A key without capitals and what joins its words.
fn words(key: &str) -> String {
    key.chars().filter(|character| !"-_: .".contains(*character)).collect::<String>().to_ascii_lowercase()
}

/// Whether a text can stand in a look-up: EC2 has wildcards, and environment.toml has placeholders.
fn is_plain(text: &str) -> bool {
    !text.contains(['*', '?', '\\', '{', '}']) && !text.chars().any(char::is_control)
}

/// By name, and whether what looks like a version is one without doubt.
fn by_name(image: &MachineImage) -> Option<(Way, bool)> {
    let name = image.name.as_deref().filter(|name| is_plain(name))?;
    let (range, sure) = version_in(name)?;
    let (before, version, after) =
        (name.get(..range.start)?, name.get(range.clone())?.to_owned(), name.get(range.end..)?);
    Version::try_from(version.as_str()).ok()?;
    let stem = before.trim_matches(|character| SEPARATORS.contains(character));
    let way = Way {
        lookup: Lookup::Name { name: format!("{before}{{version}}{after}"), owner: image.owner.clone() },
        component: label(stem),
        guess: Some(format!("the version in the AMI's name `{name}` is {version}")),
        version,
        digest: None,
    };
    Some((way, sure))
}

/// Where a version is in a name: what has the most dots between digits, or else the most digits.
pub(super) fn version_in(name: &str) -> Option<(Range<usize>, bool)> {
    let mut best: Option<((usize, usize), Range<usize>)> = None;
    let mut before: Option<char> = None;
    let mut end = 0;
    for (at, character) in name.char_indices() {
        let begins = before.is_none_or(|before| SEPARATORS.contains(before)) && at >= end;
        before = Some(character);
        let Some(rest) = name.get(at..).filter(|rest| begins && is_number(rest)) else { continue };
        let length = length_of(rest);
        end = at + length;
        let text = rest.get(..length).unwrap_or_default();
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        let rank = (text.bytes().filter(|byte| *byte == b'.').count(), digits);
        if best.as_ref().is_none_or(|(known, _)| rank > *known) {
            best = Some((rank, at..end));
        }
    }
    best.map(|((dots, digits), range)| (range, dots > 0 || digits >= MANY_DIGITS))
}

/// Whether a number begins here, or a `v` before one.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['v', 'V']).unwrap_or(text);
    digits.starts_with(|first: char| first.is_ascii_digit())
}

/// How long the version is that begins here: letters, digits, dots between them, and what belongs behind.
fn length_of(text: &str) -> usize {
    let mut length = piece(text);
    loop {
        let rest = text.get(length..).unwrap_or_default();
        let Some(after) = rest.strip_prefix(['-', '_']) else { return length };
        let next = piece(after);
        let word = after.get(..next).unwrap_or_default();
        // In `web-2-1.4.2` the number before belongs to the name.
        let begins_there = word.contains('.') && !text.get(..length).is_some_and(|so_far| so_far.contains('.'));
        if begins_there || !continues(word) {
            return length;
        }
        length += 1 + next;
    }
}

/// How long the letters and digits are that begin here, with the dots between them.
fn piece(text: &str) -> usize {
    let run = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(text.len());
    text.get(..run).unwrap_or_default().trim_end_matches('.').len()
}

/// Whether this belongs to the version before it: more digits, a pre-release, the beginning of a commit.
fn continues(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let is_hex = word.len() >= 7 && digits > 0 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let stem = word.trim_end_matches(|last: char| last.is_ascii_digit() || last == '.').to_ascii_lowercase();
    let is_number = word.starts_with(|first: char| first.is_ascii_digit()) && !["32bit", "64bit"].contains(&word);
    is_hex || is_number || PRERELEASES.contains(&stem.as_str())
}
