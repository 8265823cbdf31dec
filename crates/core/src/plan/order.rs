//! `after`: the order of targets within an environment.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::model::{LocalRef, Target};

/// Targets that wait for each other.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("these targets wait for each other: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(" → "))]
pub struct Cycle(
    /// The targets, each waiting for the next, and the first again at the end.
    pub Vec<LocalRef>,
);

/// All targets, each behind those that it waits for; by name where there is a choice. Targets of a cycle, which
/// `manifest` refuses, come last.
#[must_use]
pub fn in_order(targets: &BTreeMap<LocalRef, Target>) -> Vec<LocalRef> {
    // How many each one waits for, and who waits for it.
    let mut waits: BTreeMap<&LocalRef, usize> = BTreeMap::new();
    let mut followers: BTreeMap<&LocalRef, Vec<&LocalRef>> = BTreeMap::new();
    for (local, target) in targets {
        let before: BTreeSet<&LocalRef> = target.after.iter().filter(|before| targets.contains_key(*before)).collect();
        waits.insert(local, before.len());
        for one in before {
            followers.entry(one).or_default().push(local);
        }
    }
    let mut ready: BTreeSet<&LocalRef> =
        waits.iter().filter(|(_, before)| **before == 0).map(|(local, _)| *local).collect();
    let mut order = Vec::with_capacity(targets.len());
    while let Some(local) = ready.pop_first() {
        waits.remove(local);
        order.push(local.clone());
        for follower in followers.remove(local).into_iter().flatten() {
            if let Some(before) = waits.get_mut(follower) {
                *before = before.saturating_sub(1);
                if *before == 0 {
                    ready.insert(follower);
                }
            }
        }
    }
    order.extend(waits.into_keys().cloned());
    order
}

impl Cycle {
    /// The first cycle in a graph of who waits for whom, if there is one.
    #[must_use]
    pub fn find(after: &BTreeMap<LocalRef, BTreeSet<LocalRef>>) -> Option<Self> {
        let mut done: BTreeSet<&LocalRef> = BTreeSet::new();
        for start in after.keys() {
            // The way from the start, each with those that are still to be looked at. Not by recursion: files can name
            // more targets than the stack holds calls.
            let below = |local: &LocalRef| after.get(local).into_iter().flatten();
            let mut path = vec![(start, below(start))];
            let mut on_path = BTreeSet::from([start]);
            if done.contains(start) {
                continue;
            }
            while let Some((at, rest)) = path.last_mut() {
                let Some(next) = rest.next() else {
                    on_path.remove(*at);
                    done.insert(*at);
                    path.pop();
                    continue;
                };
                if on_path.contains(next) {
                    let cycle = path.iter().map(|(local, _)| *local).skip_while(|local| *local != next);
                    return Some(Self(cycle.chain([next]).cloned().collect()));
                }
                if !done.contains(next) {
                    on_path.insert(next);
                    path.push((next, below(next)));
                }
            }
        }
        None
    }
}
