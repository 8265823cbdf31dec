//! Services: which container is released, and how a version leads to the image that runs.

use std::collections::BTreeMap;

use super::name::label;
use super::{Candidate, Held, Lookup, Untagged, Way};
use crate::model::artifact::ImageName;
use crate::model::{
    Container, Digest, EnvironmentName, FargateSpec, ImageReference, ObservedService, Version, same_repository,
};
use crate::plan;

/// Tags that are on one image today and on another one tomorrow.
const MOVING: [&str; 14] = [
    "latest",
    "stable",
    "edge",
    "nightly",
    "main",
    "master",
    "trunk",
    "dev",
    "develop",
    "test",
    "staging",
    "prod",
    "production",
    "current",
];
/// How many digits of a digest stand for a version where there is no tag.
const DIGITS: usize = 12;

/// The image of a container; `None` where a part of its name is missing.
fn named(image: &str) -> Option<ImageName> {
    ImageName::parse(image).filter(|name| !name.repository.is_empty() && name.tag.as_deref() != Some(""))
}

fn essential(service: &ObservedService) -> Vec<&Container> {
    service.task_definition.containers.iter().filter(|container| container.essential).collect()
}

/// The containers that may be meant where `container` has to say which, and the one that probably is: it is called as the
/// service, or it is the only one from a private registry, or it comes first.
pub(super) fn options(service: &ObservedService) -> Option<(Vec<(String, String)>, usize)> {
    let containers = &service.task_definition.containers;
    let essential = essential(service);
    let options: Vec<&Container> = match essential.len() {
        0 => containers.iter().collect(),
        1 => return None,
        _ => essential,
    };
    let called = |container: &&Container| container.name == service.name.as_str();
    let mut private = options
        .iter()
        .enumerate()
        .filter(|(_, container)| ImageName::parse(&container.image).is_some_and(|name| name.is_in_ecr()));
    let only_private = private.next().filter(|_| private.next().is_none()).map(|(index, _)| index);
    let guess = options.iter().position(called).or(only_private).unwrap_or(0);
    let options: Vec<(String, String)> =
        options.iter().map(|container| (container.name.clone(), container.image.clone())).collect();
    (!options.is_empty()).then_some((options, guess))
}

/// The container that is released.
fn released<'a>(service: &'a ObservedService, chosen: Option<&str>) -> Option<&'a Container> {
    let containers = &service.task_definition.containers;
    let guessed = || {
        let (options, guess) = options(service)?;
        options.into_iter().nth(guess).map(|(name, _)| name)
    };
    match (chosen, essential(service).as_slice()) {
        (Some(chosen), _) => containers.iter().find(|container| container.name == chosen),
        (None, [only]) => Some(only),
        (None, _) => guessed().and_then(|name| containers.iter().find(|container| container.name == name)),
    }
}

/// The image of which other tags are to be read: it has none, or one that moves.
pub(super) fn untagged(service: &ObservedService, chosen: Option<&str>) -> Option<Untagged> {
    let container = released(service, chosen)?;
    let named = named(&container.image)?;
    if named.tag.as_deref().is_some_and(|tag| !MOVING.contains(&tag)) {
        return None;
    }
    let digest = named.digest.or_else(|| service.digests.get(&container.name).cloned())?;
    Some(Untagged { registry: named.registry, repository: named.repository, digest })
}

/// The candidate for a service, or why there is none.
pub(super) fn candidate(
    service: &ObservedService,
    tags: &BTreeMap<Untagged, Vec<String>>,
    chosen: Option<&str>,
    held: &Held,
    environment: &EnvironmentName,
) -> Result<Candidate, String> {
    let mut containers = Vec::new();
    let mut notes = Vec::new();
    let container = released(service, chosen);
    if let Some(ours) = container {
        let alike = service.task_definition.containers.iter().filter(|other| other.image == ours.image);
        let others: Vec<&str> = alike.map(|other| other.name.as_str()).filter(|name| *name != ours.name).collect();
        if !others.is_empty() {
            notes.push(format!(
                "guess: {} has the same image as {}, and follows the pin, too",
                list(&others),
                ours.name
            ));
        }
        if options(service).is_some() || !others.is_empty() {
            containers.push(ours.name.clone());
            containers.extend(others.into_iter().map(str::to_owned));
        }
        if let Some((options, _)) = options(service).filter(|_| chosen.is_none()) {
            let rest: Vec<&str> = options
                .iter()
                .map(|(name, _)| name.as_str())
                .filter(|name| !containers.iter().any(|c| c == name))
                .collect();
            if !rest.is_empty() {
                notes.push(format!("guess: container {} is the one that is released, not {}", ours.name, list(&rest)));
            }
        }
    }
    let image = ImageReference { registry: String::new(), repository: String::new(), tag: String::new() };
    let spec = match held {
        Held::Service(cluster, name) => {
            FargateSpec { cluster: cluster.clone(), service: name.clone(), containers: containers.clone(), image }
        }
        Held::Group(_) => return Err("it is no service".to_owned()),
    };
    if let Some(why) = plan::unsupported_service(service, &spec) {
        return Err(why);
    }
    let container = container.ok_or("its task definition has no container")?;
    let named = named(&container.image)
        .ok_or_else(|| format!("the image of container {} can't be read: `{}`", container.name, container.image))?;
    let siblings = untagged(service, chosen).and_then(|untagged| tags.get(&untagged));
    let ways = ways(
        &named,
        service.digests.get(&container.name),
        siblings.map(Vec::as_slice).unwrap_or_default(),
        environment,
    );
    if service.desired == 0 {
        notes.push("its desired count is 0: nothing runs now".to_owned());
    }
    let beside = service.task_definition.containers.iter().filter(|other| {
        !containers.contains(&other.name)
            && other.name != container.name
            && other.image != container.image
            && same_repository(&other.image, &container.image)
    });
    notes.extend(beside.map(|other| {
        format!(
            "container {} stays on `{}`: name it in `container` if it is to follow the pin, too",
            other.name, other.image
        )
    }));
    let released = Some(container.name.clone());
    Ok(Candidate { held: held.clone(), ways, containers, released, notes, held_back: None })
}

fn list(names: &[&str]) -> String {
    names.join(", ")
}

/// The ways to an image: by its tag; where that moves, by another tag of the same image; else by its digest.
fn ways(named: &ImageName, deployed: Option<&Digest>, siblings: &[String], environment: &EnvironmentName) -> Vec<Way> {
    let way = |version: &str, digest: Option<&Digest>, guess: Option<String>| Way {
        lookup: Lookup::Image(format!("{}/{}:{{version}}", named.registry, named.repository)),
        version: version.to_owned(),
        digest: digest.cloned(),
        component: named.repository.rsplit('/').next().and_then(label),
        guess,
    };
    let moves = |tag: &str| MOVING.contains(&tag) || tag == environment.as_str();
    let mut ways = Vec::new();
    let digest = named.digest.as_ref();
    let sibling = best(siblings.iter().map(String::as_str).filter(|tag| !moves(tag)));
    match named.tag.as_deref() {
        Some(tag) if !moves(tag) => {
            ways.push(way(tag, digest, None));
            if let (None, Some(deployed)) = (digest, deployed) {
                let guess = format!("the tag {tag} is on another image by now: the digest is what runs");
                ways.push(way(tag, Some(deployed), Some(guess)));
            }
        }
        Some(tag) => {
            if let Some(sibling) = sibling {
                let guess = format!("what runs is tagged {sibling}, too; the task definition says {tag}, which moves");
                ways.push(way(sibling, digest, Some(guess)));
            }
            if let Some(digest) = digest.or(deployed) {
                let guess = format!("the tag {tag} moves, and what runs has no other: the digest is what counts");
                ways.push(way(tag, Some(digest), Some(guess)));
            } else {
                let guess = format!("the tag {tag} moves, and is no version: push the image under another tag");
                ways.push(way(tag, None, Some(guess)));
            }
        }
        None => {
            let tag = sibling.or_else(|| best(siblings.iter().map(String::as_str)));
            if let (Some(tag), Some(digest)) = (tag, digest) {
                let guess = format!("the task definition names a digest, which the tag {tag} is on");
                ways.push(way(tag, Some(digest), Some(guess)));
            } else if let Some(digest) = digest {
                let hex = digest.as_str().trim_start_matches("sha256:");
                let label = format!("sha256-{}", hex.get(..DIGITS).unwrap_or(hex));
                let guess = "no tag is on this digest: the version is only what it is called here".to_owned();
                ways.push(way(&label, Some(digest), Some(guess)));
            }
        }
    }
    ways
}

/// The tag that says most: the newest version of those that are semantic ones, else the last.
fn best<'a>(tags: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let rank = |tag: &&str| {
        let number = semver::Version::parse(tag.strip_prefix('v').unwrap_or(tag)).ok();
        (number, (*tag).to_owned())
    };
    tags.filter(|tag| Version::try_from(*tag).is_ok()).max_by_key(rank)
}
