//! What a pin resolves to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AccountId, AmiQuery, Digest};

/// A container image's reference, without digest: `registry/repository:tag` and its parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ImageReference {
    /// The registry's host, such as `333333333333.dkr.ecr.us-west-1.amazonaws.com`.
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
        whole.then(|| Self { registry: registry.to_owned(), repository: repository.to_owned(), tag: tag.to_owned() })
    }

    /// The account and region of an ECR registry's host; `None` for any other registry.
    #[must_use]
    pub fn ecr(&self) -> Option<(&str, &str)> {
        let mut parts = self.registry.splitn(5, '.');
        let account = parts.next()?;
        let (dkr, ecr, region, rest) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let ours = dkr == "dkr" && ecr.starts_with("ecr") && rest.starts_with("amazonaws.com");
        (ours && account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit())).then_some((account, region))
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.registry, self.repository, self.tag)
    }
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
    },
    /// A container image that exists.
    Image {
        /// What the task definition's container is to say: `registry/repository:tag`, or `registry/repository@digest`
        /// where the pin names a digest.
        image: String,
        /// The digest that the tag had when it was looked up; `None` outside ECR, where it isn't.
        digest: Option<Digest>,
        /// The architectures that an image index offers, in its own spelling (`amd64`, `arm64`); empty where that isn't
        /// known, as of an image that is no index.
        architectures: BTreeSet<String>,
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
