//! Since when each target of a branch claims each resource, counted in the commits of its first parents.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Resource, TargetRef};

/// A place on a branch: the older, the smaller. Only places of one [`Ancestry`] compare.
pub type Since = i64;

/// Since when each target of a branch claims each resource without a break. Made by going through the branch's commits,
/// the oldest first; the same commits come to the same end, whichever process looks at them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ancestry {
    next: Since,
    since: BTreeMap<(Resource, TargetRef), Since>,
    /// The resources whose claims began with one and the same commit.
    tied: BTreeSet<Resource>,
}

impl Ancestry {
    /// Takes the next commit: all that its environments claim, as far as it counts.
    pub fn step(&mut self, claims: &BTreeSet<(Resource, TargetRef)>) {
        self.since.retain(|claim, _| claims.contains(claim));
        for claim in claims {
            self.since.entry(claim.clone()).or_insert(self.next);
        }
        self.next = self.next.saturating_add(1);
    }

    /// Since when a target claims a resource. `None`: that isn't known.
    #[must_use]
    pub fn of(&self, resource: &Resource, target: &TargetRef) -> Option<Since> {
        self.since.get(&(resource.clone(), target.clone())).copied()
    }

    /// The claims on resources that several targets have claimed since before the commits that were looked at. Which came
    /// first is to be found there.
    #[must_use]
    pub fn undecided(&self) -> BTreeSet<(Resource, TargetRef)> {
        let mut oldest: BTreeMap<&Resource, (Since, Vec<&TargetRef>)> = BTreeMap::new();
        for ((resource, target), since) in &self.since {
            let (first, targets) = oldest.entry(resource).or_insert((*since, Vec::new()));
            if since < first {
                *first = *since;
                targets.clear();
            }
            if since == first {
                targets.push(target);
            }
        }
        oldest.retain(|resource, (since, targets)| *since <= 0 && targets.len() > 1 && !self.tied.contains(*resource));
        let claims = oldest.into_iter().flat_map(|(resource, (_, targets))| {
            targets.into_iter().map(move |target| (resource.clone(), target.clone()))
        });
        claims.collect()
    }

    /// Takes the commit before all that were looked at so far: those of the undecided claims that it has are older.
    pub fn step_back(&mut self, claims: &BTreeSet<(Resource, TargetRef)>) {
        let undecided = self.undecided();
        for (resource, _) in &undecided {
            if undecided.iter().all(|claim| claim.0 != *resource || !claims.contains(claim)) {
                self.tied.insert(resource.clone());
            }
        }
        for claim in undecided.intersection(claims) {
            if let Some(since) = self.since.get_mut(claim) {
                *since = since.saturating_sub(1);
            }
        }
    }
}
