//! What moves by itself: instances and refreshes, tasks and deployments. Pure and synchronous: no I/O, no clock.

pub(crate) mod asg;
pub(crate) mod ecs;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::world::{Cluster, Group, Region, Scene};

/// Whether anything in a region would change by itself with time.
pub(crate) fn is_busy(region: &Region) -> bool {
    region.groups.values().any(asg::is_busy)
        || region.clusters.values().flat_map(|cluster| cluster.services.values()).any(ecs::is_busy)
}

/// One tick.
pub(crate) fn step(
    groups: &mut BTreeMap<String, Group>,
    clusters: &mut BTreeMap<String, Cluster>,
    scene: &mut Scene<'_>,
) {
    for group in groups.values_mut() {
        if asg::is_busy(group) {
            asg::step(group, scene);
        }
    }
    for service in clusters.values_mut().flat_map(|cluster| cluster.services.values_mut()) {
        if ecs::is_busy(service) {
            ecs::step(service, scene);
        }
    }
}

/// Fills what is empty, at once.
pub(crate) fn settle(
    groups: &mut BTreeMap<String, Group>,
    clusters: &mut BTreeMap<String, Cluster>,
    scene: &mut Scene<'_>,
) {
    for group in groups.values_mut() {
        asg::settle(group, scene);
    }
    for service in clusters.values_mut().flat_map(|cluster| cluster.services.values_mut()) {
        ecs::settle(service, scene);
    }
}
