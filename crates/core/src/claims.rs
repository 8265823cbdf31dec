//! Which target holds each AWS resource, in the whole process. Pure: what every branch claims, and whom the marker on a
//! resource names, are inputs.
//!
//! A resource has one holder, whatever broken files, change limits, branches and restarts do; every other target that
//! claims it is refused and told who holds it. The holder is found in this order:
//!
//! 1. the target that the marker of the newest revision names, if that target still claims the resource;
//! 2. on one branch, the target that has claimed it for longest, counted in commits and never by their dates;
//! 3. of several branches, the one that comes first in `pinion.toml`.
//!
//! What a marker names is given up only by a state of its environment that counts: valid, accepted by the change limits, and
//! without the resource. Until its branch has been read, nobody knows, and nobody else gets the resource. So it is where no
//! marker decides, and a branch that comes before in `pinion.toml` hasn't been read yet: what it was found to claim by an
//! earlier process counts, and where nothing is known of it, nobody gets the resource.

mod ancestry;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

pub use self::ancestry::{Ancestry, Since};
use crate::model::{
    Claimed, Environment, EnvironmentClaims, EnvironmentName, Installation, Named, Owner, Refusal, Resource, Target,
    TargetRef,
};

/// For so long a marker that this process has written counts, though reads may not show it yet.
const LAG: Duration = Duration::from_secs(300);

/// The environments that a branch may feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coverage {
    /// All that it has.
    All,
    /// These.
    Only(BTreeSet<EnvironmentName>),
}

impl Coverage {
    /// Whether the branch may feed an environment.
    #[must_use]
    pub fn covers(&self, name: &EnvironmentName) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }
}

/// What a branch claims, as far as it counts: after last good states and change limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BranchClaims {
    /// The claims of each environment. `None`: it is broken, and no good state of it is known.
    pub environments: BTreeMap<EnvironmentName, Option<EnvironmentClaims>>,
    /// What a change limit keeps of earlier states: claims that the files don't make any more.
    pub kept: BTreeSet<(Resource, TargetRef)>,
    /// Since when each target claims each resource.
    pub since: Ancestry,
}

/// A branch that is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Branch {
    /// For people: which one it is.
    name: String,
    coverage: Coverage,
    /// `None` until it has been read for the first time.
    claims: Option<BranchClaims>,
    /// What it claimed as it was last fetched, until it has been read: what is there may be older than what counts, so it
    /// can only keep others away.
    recalled: Option<BranchClaims>,
}

impl Branch {
    /// Whether it has yet to be read. What may feed no environment has nothing to say.
    fn is_unread(&self) -> bool {
        self.claims.is_none() && !matches!(&self.coverage, Coverage::Only(names) if names.is_empty())
    }
}

impl BranchClaims {
    /// A target that claims a resource.
    fn claimant(&self, resource: &Resource) -> Option<TargetRef> {
        let good = self.environments.iter().flat_map(|(name, claims)| claims.iter().map(move |claims| (name, claims)));
        let mut claimed = good.flat_map(|(name, claims)| claims.iter().map(move |(local, it)| (name, local, it)));
        let claimed = claimed.find(|(_, _, claimed)| claimed.resource == *resource);
        let kept = || self.kept.iter().find(|(kept, _)| kept == resource).map(|(_, target)| target.clone());
        claimed.map(|(name, local, _)| local.within(name)).or_else(kept)
    }
}

/// All claims on all resources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    installation: Installation,
    /// In the order of `pinion.toml`.
    branches: Vec<Branch>,
    /// The targets whose writes are in flight.
    writing: BTreeMap<Resource, TargetRef>,
    /// The markers that this process has written last.
    written: BTreeMap<Resource, (TargetRef, Timestamp)>,
    /// What was given up since by the target that wrote its marker last: another installation may have taken it over.
    given_up: BTreeSet<Resource>,
}

/// One target that claims a resource.
struct Claimant<'a> {
    target: TargetRef,
    /// The place of its branch in `pinion.toml`.
    branch: usize,
    since: Option<Since>,
    take_over: Option<&'a Named>,
}

/// What is known of an environment.
enum Known {
    /// Its claims.
    Claims,
    /// It is broken, and no good state of it is known.
    Broken,
    /// A branch that may feed it hasn't been read yet.
    Unread,
    /// No branch has it.
    Gone,
}

impl Claims {
    /// Nothing is read yet of these branches, which are in the order of `pinion.toml`: what people call each one, and what
    /// it may feed.
    #[must_use]
    pub fn new(installation: Installation, branches: impl IntoIterator<Item = (String, Coverage)>) -> Self {
        let branches =
            branches.into_iter().map(|(name, coverage)| Branch { name, coverage, claims: None, recalled: None });
        Self { installation, branches: branches.collect(), ..Self::default() }
    }

    /// All there is, is one environment.
    #[must_use]
    pub fn alone(environment: &Environment) -> Self {
        let mut claims = Self::new(Installation::default(), [(String::new(), Coverage::All)]);
        let environments = BTreeMap::from([(environment.name.clone(), Some(environment.claims()))]);
        claims.read(0, BranchClaims { environments, ..BranchClaims::default() });
        claims
    }

    /// What this installation calls a target.
    #[must_use]
    pub fn owner(&self, target: &TargetRef) -> Owner {
        Owner { installation: self.installation.clone(), target: target.clone() }
    }

    /// A branch has been read, by its place in `pinion.toml`.
    pub fn read(&mut self, branch: usize, claims: BranchClaims) {
        if let Some(branch) = self.branches.get_mut(branch) {
            branch.claims = Some(claims);
            branch.recalled = None;
        }
        let gives_up = |(resource, (target, _)): (&Resource, &(TargetRef, Timestamp))| {
            let sound = matches!(self.known(&target.environment), Known::Claims | Known::Gone);
            let claims = self.claimants(resource).iter().any(|claimant| claimant.target == *target);
            (sound && !claims).then(|| resource.clone())
        };
        let given_up: Vec<Resource> = self.written.iter().filter_map(gives_up).collect();
        self.given_up.extend(given_up);
    }

    /// What a branch, by its place in `pinion.toml`, claimed as it was last fetched. It can't be read now.
    pub fn recall(&mut self, branch: usize, claims: BranchClaims) {
        if let Some(branch) = self.branches.get_mut(branch).filter(|branch| branch.claims.is_none()) {
            branch.recalled = Some(claims);
        }
    }

    /// A target has written its marker.
    fn wrote(&mut self, resource: Resource, target: TargetRef, now: Timestamp) {
        self.given_up.remove(&resource);
        self.written.insert(resource, (target, now));
    }

    /// A target is about to write to its resource.
    pub fn begin(&mut self, resource: Resource, target: TargetRef) {
        self.writing.insert(resource, target);
    }

    /// The writes of an environment's pass are over, but for those of the targets that `go_on`; those that made a revision,
    /// and so wrote a marker, are `marked`.
    pub fn end(
        &mut self,
        environment: &EnvironmentName,
        marked: &BTreeSet<TargetRef>,
        go_on: &BTreeSet<TargetRef>,
        now: Timestamp,
    ) {
        let wrote = self.writing.iter().filter(|(_, target)| marked.contains(*target));
        let wrote: Vec<_> = wrote.map(|(resource, target)| (resource.clone(), target.clone())).collect();
        for (resource, target) in wrote {
            self.wrote(resource, target, now);
        }
        self.writing.retain(|_, target| target.environment != *environment || go_on.contains(target));
    }

    /// A write that went on after its pass was answered. `marked`: it made a revision, and so wrote a marker.
    pub fn answered(&mut self, target: &TargetRef, marked: bool, now: Timestamp) {
        let of_this = |_: &Resource, writing: &mut TargetRef| writing == target;
        let answered: Vec<_> = self.writing.extract_if(.., of_this).collect();
        for (resource, target) in answered.into_iter().filter(|_| marked) {
            self.wrote(resource, target, now);
        }
    }

    /// Whether a target holds the resource that it claims. `marked` is whom the marker of the newest revision names that
    /// Pinion made of it.
    ///
    /// # Errors
    /// [`Refusal`] says who holds it.
    pub fn check(
        &self,
        environment: &Environment,
        target: &Target,
        marked: Option<&Named>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let (resource, me) = (target.spec.resource(&environment.account), &target.reference);
        let claimants = self.claimants(&resource);
        if claimants.iter().all(|claimant| claimant.target != *me) {
            return Err(Refusal::GivenUp);
        }
        let own = self.written.get(&resource).filter(|(_, at)| now.duration_since(*at).unsigned_abs() < LAG);
        let foreign = marked.is_some_and(|marked| marked.environment_of(&self.installation).is_none());
        let own = own.filter(|_| !(foreign && self.given_up.contains(&resource)));
        let own = own.map(|(target, _)| Named::Owner(self.owner(target)));
        let holder = self.holder(&resource, &claimants, own.as_ref().or(marked))?;
        if holder != *me {
            return Err(Refusal::Held(holder));
        }
        match self.writing.get(&resource).filter(|writing| *writing != me) {
            Some(before) => Err(Refusal::Passing(before.clone())),
            None => Ok(()),
        }
    }

    fn holder(
        &self,
        resource: &Resource,
        claimants: &[Claimant<'_>],
        marked: Option<&Named>,
    ) -> Result<TargetRef, Refusal> {
        let Some(marked) = marked else { return self.first(resource, claimants.iter()) };
        if let Some(holder) = claimants.iter().find(|claimant| marked.is(&self.owner(&claimant.target))) {
            return Ok(holder.target.clone());
        }
        if let (Named::Owner(owner), Some(name)) = (marked, marked.environment_of(&self.installation)) {
            return match self.known(name) {
                Known::Claims | Known::Gone => self.first(resource, claimants.iter()),
                Known::Broken => Err(Refusal::Broken(owner.target.clone())),
                Known::Unread => Err(Refusal::Unread(marked.clone())),
            };
        }
        let heirs: Vec<&Claimant<'_>> =
            claimants.iter().filter(|claimant| claimant.take_over.is_some_and(|named| marked.matches(named))).collect();
        if !heirs.is_empty() {
            return self.first(resource, heirs.into_iter());
        }
        match marked {
            // It may be a target of a branch that hasn't been read.
            Named::Digest(_) if self.branches.iter().any(Branch::is_unread) => Err(Refusal::Unread(marked.clone())),
            _ => Err(Refusal::Elsewhere(marked.clone())),
        }
    }

    /// The first of several claimants that no marker names, if no branch before its own may claim the resource as well.
    fn first<'a>(
        &self,
        resource: &Resource,
        claimants: impl Iterator<Item = &'a Claimant<'a>> + Clone,
    ) -> Result<TargetRef, Refusal> {
        let first = first(claimants)?;
        for branch in self.branches.iter().take(first.branch).filter(|branch| branch.is_unread()) {
            let by = branch.recalled.as_ref().map(|claims| claims.claimant(resource));
            // What is known not to claim it holds up nobody.
            if by != Some(None) {
                return Err(Refusal::Early { branch: branch.name.clone(), by: by.flatten() });
            }
        }
        Ok(first.target.clone())
    }

    /// The targets that claim a resource.
    fn claimants(&self, resource: &Resource) -> Vec<Claimant<'_>> {
        let mut claimants = Vec::new();
        for (place, branch) in self.branches.iter().enumerate() {
            let Some(claims) = &branch.claims else { continue };
            let since = |target: &TargetRef| claims.since.of(resource, target);
            for (name, claimed) in &claims.environments {
                let claimed = claimed.iter().flatten().filter(|(_, claimed)| claimed.resource == *resource);
                for (local, Claimed { take_over, .. }) in claimed.filter(|_| self.feeder(name) == Some(place)) {
                    let target = local.within(name);
                    let (since, take_over) = (since(&target), take_over.as_ref());
                    claimants.push(Claimant { target, branch: place, since, take_over });
                }
            }
            for (_, target) in claims.kept.iter().filter(|(kept, _)| kept == resource) {
                // Another branch may have taken the environment over.
                let feeds = self.feeder(&target.environment).is_none_or(|feeder| feeder == place);
                if feeds && claimants.iter().all(|claimant| claimant.target != *target) {
                    let (since, target) = (since(target), target.clone());
                    claimants.push(Claimant { target, branch: place, since, take_over: None });
                }
            }
        }
        claimants
    }

    /// The branch that feeds an environment: of several the first one that has a good state of it.
    fn feeder(&self, name: &EnvironmentName) -> Option<usize> {
        let has = |branch: &Branch| {
            let claims = branch.claims.as_ref();
            claims.is_some_and(|claims| matches!(claims.environments.get(name), Some(Some(_))))
        };
        self.branches.iter().position(has)
    }

    fn known(&self, name: &EnvironmentName) -> Known {
        let feeder = self.feeder(name);
        // What an earlier branch has of it would count instead.
        let before = feeder.unwrap_or(self.branches.len());
        let mut earlier = self.branches.iter().take(before);
        if earlier.any(|branch| branch.claims.is_none() && branch.coverage.covers(name)) {
            return Known::Unread;
        }
        if feeder.is_some() {
            return Known::Claims;
        }
        let read = self.branches.iter().filter_map(|branch| branch.claims.as_ref());
        if read.flat_map(|claims| claims.environments.keys()).any(|known| known == name) {
            return Known::Broken;
        }
        Known::Gone
    }
}

/// The first of several claimants that no marker names.
fn first<'a>(claimants: impl Iterator<Item = &'a Claimant<'a>> + Clone) -> Result<&'a Claimant<'a>, Refusal> {
    let rank = |claimant: &Claimant<'_>| (claimant.branch, claimant.since.is_none(), claimant.since);
    let best = claimants.clone().map(rank).min();
    let mut first = claimants.filter(|claimant| Some(rank(claimant)) == best);
    let (one, others) = (first.next(), first.map(|claimant| claimant.target.clone()).collect::<BTreeSet<TargetRef>>());
    match one {
        Some(one) if others.is_empty() => Ok(one),
        Some(one) => Err(Refusal::Tied(others.into_iter().chain([one.target.clone()]).collect())),
        None => Err(Refusal::GivenUp),
    }
}
