//! What a pin resolves to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AccountId, AmiQuery, Digest};

/// A container image's reference, without digest: `registry/repository:tag` and its parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ImageReference {
    /// The registry's host in its one spelling, such as `333333333333.dkr.ecr.us-west-1.amazonaws.com`.
    pub registry: String,
    /// The repository within the registry.
    pub repository: String,
    /// The tag.
    pub tag: String,
}

impl ImageReference {
    /// Parses `registry/repository:tag`. `None` if a part is missing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (registry, rest) = text.split_once('/')?;
        let (repository, tag) = rest.rsplit_once(':')?;
        let whole = !registry.is_empty() && !repository.is_empty() && !tag.is_empty() && !tag.contains('/');
        whole.then(|| Self { registry: host(registry), repository: repository.to_owned(), tag: tag.to_owned() })
    }

    /// The account and region of an ECR registry's host; `None` for any other registry.
    #[must_use]
    pub fn ecr(&self) -> Option<(&str, &str)> {
        ecr_registry(&self.registry)
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.registry, self.repository, self.tag)
    }
}

/// The one spelling of a registry's host: names of hosts ignore case, and ECR is at HTTPS's own port.
fn host(text: &str) -> String {
    let host = text.to_ascii_lowercase();
    match host.strip_suffix(":443").filter(|bare| ecr_registry(bare).is_some()) {
        Some(bare) => bare.to_owned(),
        None => host,
    }
}

/// The account and region of an ECR registry's host, in each of its spellings: IPv4 or dual stack, FIPS or not, in each
/// partition (*Amazon ECR endpoints*; the suffixes are those of the partitions in AWS's endpoint rules).
fn ecr_registry(host: &str) -> Option<(&str, &str)> {
    const SUFFIXES: [&str; 9] = [
        "amazonaws.com",
        "amazonaws.com.cn",
        "amazonaws.eu",
        "on.aws",
        "on.amazonwebservices.com.cn",
        "on.amazonwebservices.eu",
        "c2s.ic.gov",
        "sc2s.sgov.gov",
        "cloud.adc-e.uk",
    ];
    const SERVICES: [&str; 4] = ["dkr.ecr.", "dkr.ecr-fips.", "dkr-ecr.", "dkr-ecr-fips."];
    let (account, rest) = host.split_once('.')?;
    let rest = SERVICES.iter().find_map(|service| rest.strip_prefix(service))?;
    let (region, suffix) = rest.split_once('.')?;
    let good = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()) && !region.is_empty();
    (good && SUFFIXES.contains(&suffix)).then_some((account, region))
}

/// A container image as a task definition names it, taken apart, with the registry written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageName {
    /// The registry's host.
    pub(crate) registry: String,
    pub(crate) repository: String,
    /// `latest` where neither tag nor digest is given.
    pub(crate) tag: Option<String>,
    pub(crate) digest: Option<Digest>,
}

impl ImageName {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(Digest::try_from(digest.to_owned()).ok()?)),
            None => (text, None),
        };
        // A first part that could not be a host belongs to the name of a repository on Docker Hub.
        let is_host = |part: &str| part.contains(['.', ':']) || part == "localhost";
        let (registry, rest) = match name.split_once('/').filter(|(first, _)| is_host(first)) {
            Some((registry, rest)) => (host(registry), rest),
            None => ("docker.io".to_owned(), name),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (rest, digest.is_none().then(|| "latest".to_owned())),
        };
        let mut name = Self { registry, repository: repository.to_owned(), tag, digest };
        if name.service() == "docker.io" && !repository.contains('/') {
            name.repository = format!("library/{repository}");
        }
        Some(name)
    }

    /// Whether it is in one of ECR's private registries.
    pub(crate) fn is_in_ecr(&self) -> bool {
        ecr_registry(&self.registry).is_some()
    }

    /// The registry itself: the same for all hosts of one ECR registry, and for those of Docker Hub.
    fn service(&self) -> String {
        match (ecr_registry(&self.registry), self.registry.as_str()) {
            (Some((account, region)), _) => format!("{account}.dkr.ecr.{region}"),
            (None, "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com") => "docker.io".to_owned(),
            (None, registry) => registry.to_owned(),
        }
    }

    fn is_beside(&self, other: &Self) -> bool {
        self.service() == other.service() && self.repository == other.repository
    }
}

/// Whether two images are of one repository, in whichever spelling.
#[must_use]
pub fn same_repository(one: &str, other: &str) -> bool {
    ImageName::parse(one).zip(ImageName::parse(other)).is_some_and(|(one, other)| one.is_beside(&other))
}

/// What has to be looked up to resolve a pin for one target. Placeholders are already filled in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArtifactQuery {
    /// A machine image.
    Ami(AmiQuery),
    /// A container image, and the digest that the pin demands.
    Image {
        /// The image.
        reference: ImageReference,
        /// The pinned digest, if any.
        digest: Option<Digest>,
    },
}

/// What a pin resolves to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Artifact {
    /// A machine image that exists, is available, and can be used by the target's account.
    Ami {
        /// Its id, `ami-…`.
        id: String,
        /// Its name.
        name: Option<String>,
        /// Its architecture in AWS's spelling, `x86_64` or `arm64`; `None` if AWS doesn't say.
        architecture: Option<String>,
        /// Whether its owner has deprecated it: it works, but not for ever.
        deprecated: bool,
        /// Its root device, such as `/dev/xvda`: the snapshot there is the image's own.
        root_device: Option<String>,
    },
    /// A container image that exists.
    Image {
        /// What the task definition's container is to say: `registry/repository:tag`, or `registry/repository@digest`
        /// where the pin names a digest.
        image: String,
        /// The pinned digest, or else the one that the tag had when it was looked up; `None` outside ECR, where it isn't.
        digest: Option<Digest>,
        /// The architectures that an image index offers, in its own spelling (`amd64`, `arm64`); empty where that isn't
        /// known, as of an image that is no index.
        architectures: BTreeSet<String>,
        /// Other digests of the same bytes. Those of the images in an index: ECS may say which of them a task runs. Of an image
        /// that is alone in its tag's index, the index's.
        members: BTreeSet<Digest>,
        /// The tag that the pin's version leads to, and what that is on now; `None` where it wasn't found, or isn't known.
        tag: (String, Option<Digest>),
    },
}

impl Artifact {
    /// The text that identifies the artifact in a launch template or a container definition.
    #[must_use]
    pub fn identity(&self) -> &str {
        match self {
            Self::Ami { id, .. } => id,
            Self::Image { image, .. } => image,
        }
    }

    /// Whether a container of a task definition names this very image: the same text, the same tag of the same repository,
    /// or the same bytes. `deployed` is the digest that ECS resolved it to when it was deployed, where that is known.
    ///
    /// A tag that was moved since is still the same name; [`Artifact::differs_from`] finds out.
    #[must_use]
    pub fn is_named(&self, text: &str, deployed: Option<&Digest>) -> bool {
        let Self::Image { image, digest, tag: (tag, tag_on), .. } = self else { return text == self.identity() };
        if text == image {
            return true;
        }
        let Some((there, ours)) = ImageName::parse(text).zip(ImageName::parse(image)) else { return false };
        if !there.is_beside(&ours) {
            return false;
        }
        if ours.digest.is_none() && there.tag == ours.tag {
            return true;
        }
        match there.digest.as_ref().or(deployed) {
            Some(runs) => self.has(runs),
            // The pin adds a digest to the tag that is there: as far as anybody knows, these are the same bytes.
            None => there.tag.as_ref() == Some(tag) && digest.is_some() && tag_on == digest,
        }
    }

    /// Whether a container that names this image runs other bytes, as far as is known.
    #[must_use]
    pub fn differs_from(&self, text: &str, deployed: Option<&Digest>) -> Option<Digest> {
        let Self::Image { digest: Some(_), .. } = self else { return None };
        let named = ImageName::parse(text).and_then(|name| name.digest);
        named.or_else(|| deployed.cloned()).filter(|runs| !self.has(runs))
    }

    /// Whether these bytes are the artifact's, those of one of the images in its index, or the index that has nothing else.
    fn has(&self, runs: &Digest) -> bool {
        match self {
            Self::Ami { .. } => false,
            Self::Image { image, digest, members, .. } => {
                digest.as_ref() == Some(runs)
                    || members.contains(runs)
                    || image.split_once('@').is_some_and(|(_, pinned)| pinned == runs.as_str())
            }
        }
    }

    /// The digest that the version's tag is on by now, if the pin names another one.
    #[must_use]
    pub fn tag_moved_to(&self) -> Option<(&str, &Digest)> {
        match self {
            Self::Image { image, tag: (tag, Some(now)), .. } if image.contains('@') => {
                (!self.has(now)).then_some((tag.as_str(), now))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.identity())
    }
}

/// What the artifacts of a component are called: what stands before and after the version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// The name of an AMI.
    AmiName {
        /// What stands before the version.
        before: String,
        /// What stands after it.
        after: String,
        /// The owning account, if it matters.
        owner: Option<AccountId>,
    },
    /// The tag of an AMI.
    AmiTag {
        /// The tag's key.
        key: String,
        /// What stands before the version in its value.
        before: String,
        /// What stands after it.
        after: String,
        /// The other tags that the AMI must have.
        others: BTreeMap<String, String>,
        /// The owning account, if it matters.
        owner: Option<AccountId>,
    },
    /// The tag of an image in ECR.
    ImageTag {
        /// Any image of the repository.
        reference: ImageReference,
        /// What stands before the version in a tag.
        before: String,
        /// What stands after it.
        after: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "333333333333.dkr.ecr.us-west-1.amazonaws.com";

    fn digest(of: char) -> Digest {
        Digest::try_from(format!("sha256:{}", of.to_string().repeat(64))).unwrap()
    }

    #[test]
    fn every_spelling_of_an_ecr_host_is_ecrs() {
        for (host, region) in [
            ("333333333333.dkr.ecr.us-west-1.amazonaws.com", "us-west-1"),
            ("333333333333.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
            ("333333333333.dkr-ecr.us-west-1.on.aws", "us-west-1"),
            ("333333333333.dkr-ecr-fips.us-east-1.on.aws", "us-east-1"),
            ("333333333333.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("333333333333.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "cn-north-1"),
            ("333333333333.dkr.ecr.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
            ("333333333333.dkr-ecr.eusc-de-east-1.on.amazonwebservices.eu", "eusc-de-east-1"),
            ("333333333333.dkr.ecr.us-iso-east-1.c2s.ic.gov", "us-iso-east-1"),
        ] {
            assert_eq!(ecr_registry(host), Some(("333333333333", region)), "{host}");
        }
        for spelling in [HOST.to_uppercase(), format!("{HOST}:443"), HOST.replace("dkr", "DKR")] {
            let reference = ImageReference::parse(&format!("{spelling}/api:1.0")).unwrap();
            assert_eq!(reference.to_string(), format!("{HOST}/api:1.0"), "{spelling}");
            assert_eq!(reference.ecr(), Some(("333333333333", "us-west-1")), "{spelling}");
            assert!(artifact(false, Some('a')).is_named(&format!("{spelling}/api:1.0"), None), "{spelling}");
        }
        let elsewhere = ImageReference::parse("localhost:443/api:1.0").unwrap();
        assert_eq!((elsewhere.registry.as_str(), elsewhere.ecr()), ("localhost:443", None));
        for other in [
            "docker.io",
            "public.ecr.aws",
            "33333333333.dkr.ecr.us-west-1.amazonaws.com",
            "333333333333.dkr.ecr.us-west-1.amazonaws.com.example.com",
            "333333333333.dkr.ecr.us-west-1.evil.on.aws",
            "333333333333.dkr.ecr..amazonaws.com",
            "dkr.ecr.us-west-1.amazonaws.com",
        ] {
            assert_eq!(ecr_registry(other), None, "{other}");
        }
    }

    /// The artifact of version 1.0, on `a`: an index that has `c`.
    fn artifact(pinned: bool, tag_on: Option<char>) -> Artifact {
        let a = digest('a');
        Artifact::Image {
            image: if pinned { format!("{HOST}/api@{a}") } else { format!("{HOST}/api:1.0") },
            digest: Some(a),
            architectures: BTreeSet::new(),
            members: BTreeSet::from([digest('c')]),
            tag: ("1.0".to_owned(), tag_on.map(digest)),
        }
    }

    #[test]
    fn tag_digest_and_both_are_one_image_if_the_bytes_are_the_same() {
        let (a, b, c) = (digest('a'), digest('b'), digest('c'));
        let dual = "333333333333.dkr-ecr.us-west-1.on.aws";
        let tagged = artifact(false, Some('a'));
        let pinned = artifact(true, Some('a'));
        for (text, deployed, by_tag, by_digest) in [
            (format!("{HOST}/api:1.0"), Some(&a), true, true),
            (format!("{HOST}/api:1.0"), None, true, true),
            (format!("{HOST}/api@{a}"), None, true, true),
            (format!("{HOST}/api:1.0@{a}"), None, true, true),
            (format!("{HOST}/api:stable@{a}"), None, true, true),
            (format!("{HOST}/api:stable"), Some(&a), true, true),
            (format!("{HOST}/api@{c}"), None, true, true),
            (format!("{HOST}/api:1.0"), Some(&c), true, true),
            (format!("{dual}/api:1.0"), None, true, true),
            (format!("{dual}/api@{a}"), None, true, true),
            (format!("{HOST}/api@{b}"), None, false, false),
            (format!("{HOST}/api:stable"), None, false, false),
            (format!("{HOST}/api:stable"), Some(&b), false, false),
            // The same name, though its bytes are others by now: that is no other version, but a tag that was moved.
            (format!("{HOST}/api:1.0"), Some(&b), true, false),
            (format!("{HOST}/other@{a}"), None, false, false),
            ("444444444444.dkr.ecr.us-west-1.amazonaws.com/api:1.0".to_owned(), Some(&a), false, false),
            (format!("333333333333.dkr.ecr.us-west-2.amazonaws.com/api@{a}"), None, false, false),
            ("api".to_owned(), Some(&a), false, false),
            (String::new(), None, false, false),
        ] {
            let found = (tagged.is_named(&text, deployed), pinned.is_named(&text, deployed));
            assert_eq!(found, (by_tag, by_digest), "{text} {deployed:?}");
        }
        let elsewhere = artifact(true, Some('b'));
        assert!(!elsewhere.is_named(&format!("{HOST}/api:1.0"), None), "its tag is on other bytes by now");
        assert_eq!(elsewhere.tag_moved_to(), Some(("1.0", &b)));
        assert_eq!((pinned.tag_moved_to(), tagged.tag_moved_to()), (None, None));
        assert_eq!(tagged.differs_from(&format!("{HOST}/api:1.0"), Some(&b)), Some(b));
        assert_eq!(tagged.differs_from(&format!("{HOST}/api:1.0"), Some(&c)), None, "one of the images in the index");
    }

    #[test]
    fn docker_hub_has_one_name_for_each_repository() {
        for (one, other) in [
            ("nginx:1", "docker.io/library/nginx:2"),
            ("nginx", "index.docker.io/library/nginx:1"),
            ("acme/api:1", "registry-1.docker.io/acme/api@sha256:"),
            ("localhost:5000/api:1", "localhost:5000/api"),
        ] {
            let other = other.replace("@sha256:", &format!("@{}", digest('a')));
            assert!(same_repository(one, &other), "{one} {other}");
        }
        assert!(!same_repository("nginx:1", "quay.io/library/nginx:1"));
        assert!(!same_repository("localhost/api:1", "api:1"));
    }
}
