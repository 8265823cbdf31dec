//! The AWS resources that targets claim, and the names of those who hold them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AccountId, EnvironmentName, Installation, InvalidName, Kind, LocalRef, Region, TargetRef, hex};

/// An AWS resource that one target may manage. Its display is for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// The account that it is in.
    pub account: AccountId,
    /// The region that it is in.
    pub region: Region,
    /// What kind of thing it is.
    pub kind: Kind,
    /// The group's name, or `cluster/service`.
    pub name: String,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Asg => "Auto Scaling group",
            Kind::Fargate => "ECS service",
        };
        write!(f, "{kind} `{}` in {}, {}", self.name, self.account, self.region)
    }
}

/// What each target of an environment claims.
pub type EnvironmentClaims = BTreeMap<LocalRef, Claimed>;

/// What a target claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The resource.
    pub resource: Resource,
    /// The target of another installation whose claim passes to this one.
    pub take_over: Option<Named>,
}

/// A target of an installation of Pinion, written `INSTALLATION/ENVIRONMENT/KIND/NAME`: `pinion/prod/asg/web`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Owner {
    /// The installation.
    pub installation: Installation,
    /// The target in it.
    pub target: TargetRef,
}

impl Owner {
    /// What stands for an owner whose name is too long to be written in full: `~` and 20 hexadecimal digits of the name's
    /// SHA-256 digest.
    #[must_use]
    pub fn digest(&self) -> String {
        format!("~{}", hex::sha256(self.to_string(), 20))
    }
}

impl TryFrom<String> for Owner {
    type Error = InvalidName;

    fn try_from(value: String) -> Result<Self, InvalidName> {
        let parsed = value.split_once('/').and_then(|(installation, target)| {
            let installation = Installation::try_from(installation).ok()?;
            Some(Self { installation, target: TargetRef::try_from(target.to_owned()).ok()? })
        });
        parsed.ok_or(InvalidName {
            what: "a target of an installation",
            value,
            rule: "it looks like `pinion/prod/asg/web`: installation, environment, kind and name",
        })
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> Self {
        owner.to_string()
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.installation, self.target))
    }
}

/// The owner that a marker names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Named {
    /// In full.
    Owner(Owner),
    /// By the digest of its name, as [`Owner::digest`] writes it, where there was no room for the name.
    Digest(String),
}

impl Named {
    /// Whether this names an owner.
    #[must_use]
    pub fn is(&self, owner: &Owner) -> bool {
        match self {
            Self::Owner(named) => named == owner,
            Self::Digest(digest) => *digest == owner.digest(),
        }
    }

    /// Whether both name the same owner.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Owner(owner), named) | (named, Self::Owner(owner)) => named.is(owner),
            (one, other) => one == other,
        }
    }

    /// The environment, if this names a target of an installation in full.
    #[must_use]
    pub fn environment_of(&self, installation: &Installation) -> Option<&EnvironmentName> {
        match self {
            Self::Owner(owner) if owner.installation == *installation => Some(&owner.target.environment),
            _ => None,
        }
    }
}

impl TryFrom<String> for Named {
    type Error = InvalidName;

    fn try_from(value: String) -> Result<Self, InvalidName> {
        let digits = value.strip_prefix('~');
        match digits {
            Some(digits) if digits.len() == 20 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => {
                Ok(Self::Digest(value))
            }
            _ => Owner::try_from(value).map(Self::Owner),
        }
    }
}

impl From<Named> for String {
    fn from(named: Named) -> Self {
        named.to_string()
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner(owner) => fmt::Display::fmt(owner, f),
            Self::Digest(digest) => f.pad(digest),
        }
    }
}

/// Why a target may not touch the resource that it claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Another target holds it.
    Held(TargetRef),
    /// The marker names this target, whose environment is broken, and no good state of it is known.
    Broken(TargetRef),
    /// The marker names a target of another installation.
    Elsewhere(Named),
    /// These targets claim it since the same commit, and nothing says which is to have it.
    Tied(BTreeSet<TargetRef>),
    /// The marker names a target of a branch that hasn't been read since the start.
    Unread(Named),
    /// No marker decides, and this branch comes before that of the claimant, and hasn't been read since the start. `by` claimed
    /// the resource when it was last fetched; `None` if nothing is known of it.
    Early {
        /// Which branch, for people.
        branch: String,
        /// What claimed the resource there.
        by: Option<TargetRef>,
    },
    /// The claim has passed to this target from another one, whose last write is still in flight.
    Passing(TargetRef),
    /// The files that count by now don't claim it any more.
    GivenUp,
}

impl Refusal {
    /// Whether it ends by itself.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unread(_) | Self::Early { .. } | Self::Passing(_) | Self::GivenUp)
    }
}

/// For people: who holds it, and what to do.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(by) => {
                write!(f, "held by {by}, which claimed it first; let only one of the two name this resource")
            }
            Self::Broken(by) => write!(
                f,
                "held by {by}, whose environment is broken and has no earlier state that is good; correct its files, and \
                 let only one of the two name this resource"
            ),
            Self::Elsewhere(by) => write!(
                f,
                "held by {by}, a target of another installation; to take it over, take it out there and add \
                 `take_over = \"{by}\"` to this target"
            ),
            Self::Tied(others) => {
                let others: Vec<String> = others.iter().map(ToString::to_string).collect();
                let others = others.join(", ");
                write!(f, "claimed by {others} since the same commit; let only one of them name this resource")
            }
            Self::Unread(by) => {
                write!(f, "held by {by} when it was last changed; waits until the branch of that target has been read")
            }
            Self::Early { branch, by: Some(by) } => write!(
                f,
                "held by {by} as {branch} was last fetched, which comes before in pinion.toml; waits until that branch can \
                 be read again"
            ),
            Self::Early { branch, by: None } => write!(
                f,
                "Pinion has never rolled this out, and {branch}, which comes before in pinion.toml, may claim it, too; \
                 waits until that branch has been read"
            ),
            Self::Passing(by) => write!(f, "waits until {by}, which held it so far, has ended its last call"),
            Self::GivenUp => f.write_str("waits for the newer state of its files, which has arrived"),
        }
    }
}
