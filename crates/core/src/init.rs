//! `pinion init`: what an account runs → an environment's two files, and what is left out of them, each with the reason.
//! Pure: names in, then what was read of them, then text out.
//!
//! ```text
//! names of groups and services ─► targets: each gets the name of a table
//! what each runs, its AMIs and tags ─► Proposal: for each target the ways to find its version, the best one first
//! what `pinion plan` would say of it ─► the next way, or left out
//! ```

mod container;
mod machine;
mod name;
mod render;
mod short;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use self::name::{BadSelector, Selector, Targets, targets};
pub use self::render::Written;
use crate::manifest::Inherited;
use crate::model::{
    Account, AccountId, ClusterName, Digest, EnvironmentName, GroupName, Kind, LocalRef, ObservedGroup,
    ObservedService, ObservedTarget, ServiceName,
};

/// A group or service that an account has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    /// An Auto Scaling group, by its name.
    Group(String),
    /// An ECS service.
    Service {
        /// The name of its cluster.
        cluster: String,
        /// Its own name.
        service: String,
    },
}

impl Found {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Group(_) => Kind::Asg,
            Self::Service { .. } => Kind::Fargate,
        }
    }

    /// Its own name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Group(name) => name,
            Self::Service { service, .. } => service,
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(name) => write!(f, "asg/{name}"),
            Self::Service { cluster, service } => write!(f, "fargate/{cluster}/{service}"),
        }
    }
}

/// The AWS resource of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Held {
    Group(GroupName),
    Service(ClusterName, ServiceName),
}

/// What was left out of the files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Left {
    /// The group or service, as [`Found`] shows it.
    pub what: String,
    /// Why.
    pub why: String,
}

/// An AMI that a group runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MachineImage {
    /// Its name.
    pub name: Option<String>,
    /// The account that owns it.
    pub owner: Option<AccountId>,
    /// Its tags; only its owner sees them.
    pub tags: BTreeMap<String, String>,
}

/// A version of an SSM parameter that holds an AMI's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterVersion {
    /// The parameter's name.
    pub parameter: String,
    /// The number of the version.
    pub version: u64,
    /// The AMI's id.
    pub image: String,
}

/// The image of a service that has no tag, or one that moves: its other tags may be a version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Untagged {
    /// The registry's host.
    pub registry: String,
    /// The repository within it.
    pub repository: String,
    /// The digest of the image that runs.
    pub digest: Digest,
}

/// What was read of an account.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The groups and services; where one couldn't be read, why.
    pub targets: BTreeMap<LocalRef, Result<ObservedTarget, String>>,
    /// The AMIs that groups run, by id.
    pub images: BTreeMap<String, MachineImage>,
    /// The SSM parameters that hold such an AMI's id.
    pub parameters: Vec<ParameterVersion>,
    /// The tags of images.
    pub tags: BTreeMap<Untagged, Vec<String>>,
    /// The container to release, where somebody was asked.
    pub containers: BTreeMap<LocalRef, String>,
}

impl Seen {
    fn groups(&self) -> impl Iterator<Item = (&LocalRef, &ObservedGroup)> {
        self.targets.iter().filter_map(|(local, seen)| match seen {
            Ok(ObservedTarget::Group(group)) => Some((local, &**group)),
            _ => None,
        })
    }

    fn services(&self) -> impl Iterator<Item = (&LocalRef, &ObservedService)> {
        self.targets.iter().filter_map(|(local, seen)| match seen {
            Ok(ObservedTarget::Service(service)) => Some((local, &**service)),
            _ => None,
        })
    }

    /// The ids of the AMIs that groups run.
    #[must_use]
    pub fn amis(&self) -> BTreeSet<String> {
        self.groups().filter_map(|(_, group)| machine::running(group)).map(str::to_owned).collect()
    }

    /// The AMIs of which neither name nor tags tell a version: those for which parameters are looked through.
    #[must_use]
    pub fn unversioned(&self) -> BTreeSet<String> {
        self.amis().into_iter().filter(|id| self.images.get(id).is_none_or(|image| !machine::tells(image))).collect()
    }

    /// The images whose other tags are to be read.
    #[must_use]
    pub fn untagged(&self) -> BTreeSet<Untagged> {
        let untagged = self.services().filter_map(|(local, service)| {
            container::untagged(service, self.containers.get(local).map(String::as_str))
        });
        untagged.collect()
    }

    /// What only a person knows: which container of a service is released, where several may be.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        let questions = self.services().filter_map(|(local, service)| {
            let (options, guess) = container::options(service)?;
            Some(Question { target: local.clone(), options, guess })
        });
        questions.collect()
    }
}

/// Which container of a service is released?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The service.
    pub target: LocalRef,
    /// Its essential containers, each with its image.
    pub options: Vec<(String, String)>,
    /// Which of them is taken if nobody says.
    pub guess: usize,
}

/// How the image of a version is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Lookup {
    Name {
        name: String,
        owner: Option<AccountId>,
    },
    Tags {
        tags: BTreeMap<String, String>,
        owner: Option<AccountId>,
    },
    Parameter(String),
    /// Of this target alone: that two groups have the same AMI doesn't say that they have the same releases.
    Id(LocalRef),
    Image(String),
}

/// A way to find what a target runs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    lookup: Lookup,
    version: String,
    digest: Option<Digest>,
    /// What the component may be called.
    component: Option<String>,
    /// What was guessed.
    guess: Option<String>,
}

/// A target that goes into the files.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    held: Held,
    /// The best one first; never empty.
    ways: Vec<Way>,
    /// What `container` says; nothing where the default is right.
    containers: Vec<String>,
    /// The container that is released.
    released: Option<String>,
    notes: Vec<String>,
    /// Why it keeps the shape that runs although defaults.toml says "newest".
    held_back: Option<String>,
}

/// What the files would say.
#[derive(Debug, Clone)]
pub struct Proposal {
    account: Account,
    inherited: Inherited,
    /// Whether nobody has said what the role is called.
    role_guessed: bool,
    candidates: BTreeMap<LocalRef, Candidate>,
    left: BTreeSet<Left>,
    /// Why targets are left out.
    why: BTreeMap<LocalRef, String>,
}

impl Proposal {
    /// Proposes an environment's files over what defaults.toml says. `role_guessed`: the account's role is only a guess, and
    /// the files say so.
    #[must_use]
    pub fn new(
        environment: &EnvironmentName,
        account: &Account,
        role_guessed: bool,
        inherited: Inherited,
        targets: &Targets,
        seen: &Seen,
    ) -> Self {
        let mut proposal = Self {
            account: account.clone(),
            inherited,
            role_guessed,
            candidates: BTreeMap::new(),
            left: targets.left.iter().cloned().collect(),
            why: BTreeMap::new(),
        };
        for (local, held) in targets.held() {
            let candidate = match seen.targets.get(local) {
                Some(Ok(ObservedTarget::Group(group))) => machine::candidate(local, group, seen, &held),
                Some(Ok(ObservedTarget::Service(service))) => {
                    let chosen = seen.containers.get(local).map(String::as_str);
                    container::candidate(service, &seen.tags, chosen, &held, environment)
                }
                Some(Ok(ObservedTarget::Missing(_))) | None if proposal.inherited.has(local) => {
                    Err("this account doesn't have it".to_owned())
                }
                Some(Ok(ObservedTarget::Missing(_))) => Err("it was gone when it was looked at".to_owned()),
                Some(Err(why)) => Err(why.clone()),
                None => Err("it wasn't read".to_owned()),
            };
            match candidate {
                Ok(candidate) => drop(proposal.candidates.insert(local.clone(), candidate)),
                Err(why) => proposal.leave(local, &held, why),
            }
        }
        proposal
    }

    fn leave(&mut self, local: &LocalRef, held: &Held, why: String) {
        self.why.insert(local.clone(), why.clone());
        self.left.insert(Left { what: held.to_string(), why });
    }

    /// The targets that the files have.
    pub fn targets(&self) -> impl Iterator<Item = &LocalRef> {
        self.candidates.keys()
    }

    /// What is left out.
    #[must_use]
    pub fn left(&self) -> &BTreeSet<Left> {
        &self.left
    }

    /// Leaves targets out, each with the reason.
    pub fn leave_out(&mut self, targets: &BTreeMap<LocalRef, String>) {
        for (local, why) in targets {
            if let Some(candidate) = self.candidates.remove(local) {
                self.leave(local, &candidate.held, why.clone());
            }
        }
    }

    /// Takes the next way for targets that wouldn't be in sync, each with the reason; one that has no other way is left out.
    pub fn refuse(&mut self, targets: &BTreeMap<LocalRef, String>) {
        let mut last = BTreeMap::new();
        for (local, why) in targets {
            let Some(candidate) = self.candidates.get_mut(local) else { continue };
            if candidate.ways.len() > 1 {
                candidate.ways.remove(0);
            } else {
                last.insert(local.clone(), why.clone());
            }
        }
        self.leave_out(&last);
    }

    /// Targets for which only a newer shape would be rolled out, each with what that is: they keep the shape that runs, for now.
    pub fn hold_back(&mut self, shapes: &BTreeMap<LocalRef, String>) {
        for (local, shape) in shapes {
            if let Some(candidate) = self.candidates.get_mut(local) {
                candidate.held_back = Some(format!(
                    "environments/defaults.toml says \"newest\", which would roll {shape} out: remove `base_revision` here when it may be"
                ));
            }
        }
    }

    /// Of the targets that defaults.toml gives every environment, those that can't be in this one, each with the reason.
    #[must_use]
    pub fn missing(&self) -> BTreeMap<LocalRef, String> {
        let missing = self.inherited.targets().into_iter().filter(|local| !self.candidates.contains_key(local));
        let why = |local: &LocalRef| {
            self.why.get(local).cloned().unwrap_or_else(|| "this account doesn't have it".to_owned())
        };
        missing.map(|local| (local.clone(), why(&local))).collect()
    }

    /// The two files.
    #[must_use]
    pub fn files(&self) -> Written {
        render::files(self)
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(name) => write!(f, "asg/{name}"),
            Self::Service(cluster, service) => write!(f, "fargate/{cluster}/{service}"),
        }
    }
}
