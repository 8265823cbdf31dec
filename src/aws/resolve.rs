//! Resolves pins to artifacts. An artifact that was found is kept until a resync; what wasn't is looked for again.

use std::collections::{BTreeMap, BTreeSet};

use super::connection::Connection;
use crate::model::{AmiQuery, Artifact, ArtifactQuery};
use crate::ports::ResolveError;

/// What each query came to.
pub(super) type Resolved<Q> = BTreeMap<Q, Result<Artifact, ResolveError>>;

impl Connection {
    /// Resolves queries; the answer has each of them.
    pub(super) async fn resolve_all(&self, queries: &BTreeSet<ArtifactQuery>) -> Resolved<ArtifactQuery> {
        let mut resolved = BTreeMap::new();
        let mut machine: BTreeSet<AmiQuery> = BTreeSet::new();
        let mut container = BTreeSet::new();
        for query in queries {
            match (self.cache.artifacts.get(query), query) {
                (Some(artifact), _) => drop(resolved.insert(query.clone(), Ok(artifact))),
                (None, ArtifactQuery::Ami(ami)) => drop(machine.insert(ami.clone())),
                (None, ArtifactQuery::Image { reference, digest }) => {
                    container.insert((reference.clone(), digest.clone()));
                }
            }
        }
        let (machine, container) = tokio::join!(self.machine_images(&machine), self.container_images(&container));
        let found = machine.into_iter().map(|(query, result)| (ArtifactQuery::Ami(query), result)).chain(
            container
                .into_iter()
                .map(|((reference, digest), result)| (ArtifactQuery::Image { reference, digest }, result)),
        );
        for (query, result) in found {
            if let Ok(artifact) = &result {
                self.cache.artifacts.put(query.clone(), artifact.clone());
            }
            resolved.insert(query, result);
        }
        resolved
    }
}
