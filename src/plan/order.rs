//! `after`: the order of targets within an environment.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::model::{LocalRef, Target};

/// Targets that wait for each other.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("these wait for each other: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(" → "))]
pub struct Cycle(
    /// The targets, each waiting for the next, and the first again at the end.
    pub Vec<LocalRef>,
);

/// All targets, each behind those that it waits for; by name where there is a choice. Targets of a cycle, which
/// `manifest` refuses, come last.
#[must_use]
pub fn in_order(targets: &BTreeMap<LocalRef, Target>) -> Vec<LocalRef> {
    let mut order = Vec::with_capacity(targets.len());
    let mut placed = BTreeSet::new();
    while order.len() < targets.len() {
        let ready = targets.iter().find(|(local, target)| {
            !placed.contains(*local)
                && target.after.iter().all(|before| placed.contains(before) || !targets.contains_key(before))
        });
        let Some((local, _)) = ready else { break };
        placed.insert(local.clone());
        order.push(local.clone());
    }
    order.extend(targets.keys().filter(|local| !placed.contains(*local)).cloned());
    order
}

impl Cycle {
    /// The first cycle in a graph of who waits for whom, if there is one.
    #[must_use]
    pub fn find(after: &BTreeMap<LocalRef, BTreeSet<LocalRef>>) -> Option<Self> {
        let mut done = BTreeSet::new();
        for start in after.keys() {
            let mut path = Vec::new();
            if let Some(cycle) = walk(after, start, &mut path, &mut done) {
                return Some(cycle);
            }
        }
        None
    }
}

fn walk(
    after: &BTreeMap<LocalRef, BTreeSet<LocalRef>>,
    at: &LocalRef,
    path: &mut Vec<LocalRef>,
    done: &mut BTreeSet<LocalRef>,
) -> Option<Cycle> {
    if let Some(position) = path.iter().position(|seen| seen == at) {
        let mut cycle = path.split_off(position);
        cycle.push(at.clone());
        return Some(Cycle(cycle));
    }
    if done.contains(at) {
        return None;
    }
    path.push(at.clone());
    for next in after.get(at).into_iter().flatten() {
        if let Some(cycle) = walk(after, next, path, done) {
            return Some(cycle);
        }
    }
    path.pop();
    done.insert(at.clone());
    None
}
