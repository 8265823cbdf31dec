//! Container registries and Parameter Store.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::super::iam::{self, Policy};
use super::{Fate, World};

/// A repository of container images.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Repository {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) region: String,
    pub(crate) created: i64,
    /// Accounts that may read it, where it has no policy.
    pub(crate) allowed: BTreeSet<String>,
    #[serde(default)]
    pub(crate) policy: Option<Policy>,
    /// By digest.
    pub(crate) images: BTreeMap<String, ContainerImage>,
}

/// A container image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContainerImage {
    pub(crate) digest: String,
    pub(crate) tags: BTreeSet<String>,
    pub(crate) pushed: i64,
    pub(crate) fate: Fate,
    /// Of an index: what it has images for. None: it is one image, for whatever runs it.
    #[serde(default)]
    pub(crate) architectures: BTreeSet<String>,
}

impl ContainerImage {
    /// The digest of an index's image for an architecture.
    pub(crate) fn member(&self, architecture: &str) -> String {
        format!("sha256:{}", super::stable_hex(&[&self.digest, architecture], 64))
    }
}

impl Repository {
    /// An image by its digest: one of its own, or one for an architecture that an index has, and then for which.
    pub(crate) fn by_digest(&self, digest: &str) -> Option<(&ContainerImage, Option<&str>)> {
        if let Some(image) = self.images.get(digest) {
            return Some((image, None));
        }
        self.images.values().find_map(|image| {
            let architecture = image.architectures.iter().find(|architecture| image.member(architecture) == digest)?;
            Some((image, Some(architecture.as_str())))
        })
    }

    pub(crate) fn by_tag(&self, tag: &str) -> Option<&ContainerImage> {
        self.images.values().find(|image| image.tags.contains(tag))
    }
}

/// A parameter with its history.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) data_type: String,
    /// Value and wall-clock milliseconds; version 1 first.
    pub(crate) versions: Vec<(String, i64)>,
    /// Version by label.
    pub(crate) labels: BTreeMap<String, usize>,
    pub(crate) shared_with: BTreeSet<String>,
}

/// A parameter's value as a selector found it.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) owner: String,
    pub(crate) region: String,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) data_type: String,
    pub(crate) value: String,
    pub(crate) version: usize,
    pub(crate) modified: i64,
    /// With the leading colon.
    pub(crate) selector: Option<String>,
}

/// Where a container image reference leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pull {
    /// Digest and behaviour.
    Found(String, Fate),
    /// Why it can't be pulled, in the agent's words.
    Missing(String),
}

impl World {
    /// A parameter by name, `name:version`, `name:label` or full ARN, as `account` may see it.
    pub(crate) fn parameter(&self, account: &str, region: &str, asked: &str) -> Option<Found> {
        let (owner, region, rest) = match asked.strip_prefix("arn:aws:ssm:") {
            None => (account, region, asked.to_owned()),
            Some(arn) => {
                let mut parts = arn.splitn(3, ':');
                let (region, owner, path) = (parts.next()?, parts.next()?, parts.next()?);
                let path = path.strip_prefix("parameter")?;
                // The ARN of a plain name has a slash that the name has not.
                let plain = path.strip_prefix('/').filter(|name| !name.contains('/'));
                let parameters = &self.region(owner, region)?.parameters;
                let known = |name: &str| parameters.contains_key(name.split(':').next().unwrap_or(name));
                (owner, region, plain.filter(|name| known(name)).unwrap_or(path).to_owned())
            }
        };
        let (name, selector) = match rest.split_once(':') {
            Some((name, selector)) => (name, Some(selector)),
            None => (rest.as_str(), None),
        };
        let parameter = self.region(owner, region)?.parameters.get(name)?;
        if owner != account && !parameter.shared_with.contains(account) {
            return None;
        }
        let version = match selector {
            None => parameter.versions.len(),
            Some(selector) => selector.parse().ok().or_else(|| parameter.labels.get(selector).copied())?,
        };
        let (value, modified) = parameter.versions.get(version.checked_sub(1)?)?;
        Some(Found {
            owner: owner.to_owned(),
            region: region.to_owned(),
            name: name.to_owned(),
            kind: parameter.kind.clone(),
            data_type: parameter.data_type.clone(),
            value: value.clone(),
            version,
            modified: *modified,
            selector: selector.map(|it| format!(":{it}")),
        })
    }

    /// What a task of this definition (its ARN) and architecture gets: an index may have no image for it.
    pub(crate) fn pull_for(&self, account: &str, definition: &str, reference: &str, architecture: &str) -> Pull {
        let found = self.pull(account, definition, reference);
        let Pull::Found(digest, _) = &found else { return found };
        let offered = parse_reference(reference).and_then(|parts| {
            let held = self.region(&parts.owner, &parts.region)?.repositories.get(&parts.repository)?;
            Some(match held.by_digest(digest)? {
                (image, None) => image.architectures.is_empty() || image.architectures.contains(architecture),
                (_, Some(of)) => of == architecture,
            })
        });
        if offered.is_none_or(|offered| offered) {
            return found;
        }
        Pull::Missing(format!(
            "CannotPullContainerError: pull image manifest has been retried 7 time(s): image Manifest does not contain \
             descriptor matching platform 'linux/{architecture}'"
        ))
    }

    /// What pulling `reference` for a task of this definition (its ARN) in `account` gives now. Images outside ECR are
    /// taken to exist and to be healthy.
    pub(crate) fn pull(&self, account: &str, definition: &str, reference: &str) -> Pull {
        let Some(Reference { owner, region, repository, tag, digest }) = parse_reference(reference) else {
            return Pull::Found(format!("sha256:{}", super::stable_hex(&[reference], 64)), Fate::Healthy);
        };
        let missing = |why: &str| {
            Pull::Missing(format!(
                "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref {reference}: {why}"
            ))
        };
        let Some(held) = self.region(&owner, &region).and_then(|held| held.repositories.get(&repository)) else {
            return missing("not found");
        };
        let home = definition.split(':').nth(3).unwrap_or(&region);
        let definition = self.task_definition(account, home, definition);
        let execution_role = definition.and_then(|held| held.registered.get("executionRoleArn")?.as_str());
        if let Err(why) = iam::check_pull(self, account, execution_role, &owner, held) {
            return missing(&format!(
                "pull access denied, repository does not exist or may require authorization: {why}"
            ));
        }
        let found = match (&digest, &tag) {
            (Some(digest), _) => held.by_digest(digest).map(|(image, _)| (digest, image.fate)),
            (None, tag) => {
                let image = held.by_tag(tag.as_deref().unwrap_or("latest"));
                image.map(|image| (&image.digest, image.fate))
            }
        };
        found.map_or_else(|| missing("not found"), |(digest, fate)| Pull::Found(digest.clone(), fate))
    }
}

/// An ECR image reference, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Reference {
    owner: String,
    region: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// Whether an image is in ECR.
pub(crate) fn is_ecr(reference: &str) -> bool {
    parse_reference(reference).is_some()
}

/// Takes an image reference apart; `None` if it isn't one of ECR.
fn parse_reference(reference: &str) -> Option<Reference> {
    let (host, path) = reference.split_once('/')?;
    let (owner, rest) = host.split_once('.')?;
    let rest =
        ["dkr.ecr.", "dkr.ecr-fips.", "dkr-ecr.", "dkr-ecr-fips."].iter().find_map(|it| rest.strip_prefix(it))?;
    let (region, suffix) = rest.split_once('.')?;
    const SUFFIXES: [&str; 6] = [
        "amazonaws.com",
        "amazonaws.com.cn",
        "amazonaws.eu",
        "on.aws",
        "on.amazonwebservices.com.cn",
        "on.amazonwebservices.eu",
    ];
    let region = SUFFIXES.contains(&suffix).then(|| region.to_owned())?;
    let (path, digest) = match path.split_once('@') {
        Some((path, digest)) => (path, Some(digest.to_owned())),
        None => (path, None),
    };
    let (repository, tag) = match path.split_once(':') {
        Some((repository, tag)) => (repository.to_owned(), Some(tag.to_owned())),
        None => (path.to_owned(), None),
    };
    Some(Reference { owner: owner.to_owned(), region, repository, tag, digest })
}

#[cfg(test)]
mod tests {
    use super::{Reference, parse_reference};

    #[test]
    fn references_are_taken_apart() {
        let owned = |it: &str| it.to_owned();
        let host = "111111111111.dkr.ecr.us-west-1.amazonaws.com";
        let (account, region) = (owned("111111111111"), owned("us-west-1"));
        for (given, tag, digest) in [
            (format!("{host}/team/api:1.0"), Some("1.0"), None),
            (format!("{host}/team/api:1.0@sha256:ab"), Some("1.0"), Some("sha256:ab")),
            (format!("{host}/team/api"), None, None),
        ] {
            let expected = Reference {
                owner: account.clone(),
                region: region.clone(),
                repository: owned("team/api"),
                tag: tag.map(owned),
                digest: digest.map(owned),
            };
            assert_eq!(parse_reference(&given), Some(expected));
        }
        assert_eq!(parse_reference("nginx:latest"), None);
        for host in [
            "111111111111.dkr.ecr-fips.us-west-1.amazonaws.com",
            "111111111111.dkr-ecr.us-west-1.on.aws",
            "111111111111.dkr-ecr-fips.us-west-1.on.aws",
            "111111111111.dkr.ecr.us-west-1.amazonaws.com.cn",
            "111111111111.dkr.ecr.us-west-1.amazonaws.eu",
        ] {
            let found = parse_reference(&format!("{host}/api:1")).unwrap();
            assert_eq!((found.owner.as_str(), found.region.as_str()), ("111111111111", "us-west-1"), "{host}");
        }
        assert_eq!(parse_reference("111111111111.dkr.ecr.us-west-1.example.com/api:1"), None);
    }
}
