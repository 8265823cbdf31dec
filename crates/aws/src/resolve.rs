//! Resolves pins to artifacts. What was found by a name that stays with it is kept until a resync; what wasn't found, and
//! what a tag or a parameter may point away from, is looked for again each time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;
use pinion_core::model::{AmiQuery, Artifact, ArtifactQuery, ResolveError};

/// After this long a container image's tag is looked up again, to see whether it was moved.
const LOOK_AGAIN: Duration = Duration::from_secs(10 * 60);

/// What each query came to.
pub(super) type Resolved<Q> = BTreeMap<Q, Result<Artifact, ResolveError>>;

impl Connection {
    /// Resolves queries; the answer has each of them. With `again` nothing that is kept counts, not even where looking
    /// fails.
    pub(super) async fn resolve_all(&self, queries: &BTreeSet<ArtifactQuery>, again: bool) -> Resolved<ArtifactQuery> {
        let mut resolved = BTreeMap::new();
        let mut machine: BTreeSet<AmiQuery> = BTreeSet::new();
        let mut container = BTreeSet::new();
        for query in queries {
            let kept = self.cache.artifacts.get(query).filter(|(at, _)| !moves(query) || at.elapsed() < LOOK_AGAIN);
            let kept = kept.filter(|_| !again);
            match (kept, query) {
                (Some((_, artifact)), _) => drop(resolved.insert(query.clone(), Ok(artifact))),
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
            if let Ok(artifact) = &result
                && stays(&query)
            {
                self.cache.artifacts.put(query.clone(), (Instant::now(), artifact.clone()));
            }
            let known = |error| self.cache.artifacts.get(&query).map(|(_, artifact)| artifact).ok_or(error);
            let result = match result {
                // It is only looked for again: what was found before is good enough until the registry answers.
                Err(error @ ResolveError::Call(_)) if !again => known(error),
                other => other,
            };
            resolved.insert(query, result);
        }
        resolved
    }
}

/// Whether what a query names may be moved to another image, though it is deployed by its name; or whether the image may be
/// removed once no tag is on it any more.
fn moves(query: &ArtifactQuery) -> bool {
    matches!(query, ArtifactQuery::Image { .. })
}

/// Whether a query's answer stays what it is: an image has one name and id for life, and a parameter's version one value.
/// A container image is deployed by the very text of the query. Tags and labels may be given to another image.
fn stays(query: &ArtifactQuery) -> bool {
    match query {
        ArtifactQuery::Image { .. } | ArtifactQuery::Ami(AmiQuery::Name { .. } | AmiQuery::Id { .. }) => true,
        ArtifactQuery::Ami(AmiQuery::Tags { .. }) => false,
        ArtifactQuery::Ami(AmiQuery::Parameter { parameter }) => parameter
            .rsplit_once(':')
            .is_some_and(|(_, version)| !version.is_empty() && version.bytes().all(|digit| digit.is_ascii_digit())),
    }
}
