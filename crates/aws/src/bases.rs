//! Whose shape a target may have: the revisions that Pinion didn't make. Of a family of task definitions one page is listed,
//! the newest first, and each revision is described once; of a launch template the numbers are read with the group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_ecs::types::{SortOrder, TaskDefinitionStatus};
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::Instant;

use super::connection::Connection;
use super::operation::Operation;
use super::task_definition::{Definition, family_and_revision};
use super::task_shape;
use pinion_core::model::{
    Base, BaseRule, BaseSource, Bases, CommitId, FargateSpec, LocalRef, ObservedService, ObservedTarget, PortError,
    TargetSpec,
};
use pinion_core::plan::{containers_in, name_of};
use pinion_core::ports::BaseQuery;

/// How many families are looked at at once.
const AT_ONCE: usize = 8;
/// How many of Pinion's own revisions are followed back, each made from the one before.
const CHAIN: usize = 200;

/// The ACTIVE revisions of a family, as they were listed.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    at: Instant,
    /// The pins for which they were listed: a new one asks again.
    commits: BTreeSet<CommitId>,
    /// ARNs, the newest first.
    arns: Arc<Vec<String>>,
}

/// A service whose shape is looked for.
struct Wanted<'a> {
    local: LocalRef,
    service: &'a ObservedService,
    spec: &'a FargateSpec,
    rule: &'a BaseRule,
    commit: &'a CommitId,
}

impl Connection {
    /// What was found for each target that was asked about.
    pub(super) async fn bases_of(
        &self,
        queries: &[BaseQuery<'_>],
        max_age: Duration,
    ) -> BTreeMap<LocalRef, Result<Bases, PortError>> {
        let mut families: BTreeMap<&str, Vec<Wanted<'_>>> = BTreeMap::new();
        for BaseQuery { target, rule, observed, commit } in queries {
            let local = target.reference.local.clone();
            if let (ObservedTarget::Service(service), TargetSpec::Fargate(spec)) = (observed, &target.spec) {
                let own = family_and_revision(&service.task_definition.arn).map_or("", |(family, _)| family);
                let family = rule.family.as_deref().unwrap_or(own);
                families.entry(family).or_default().push(Wanted { local, service, spec, rule, commit });
            }
        }
        let mut reads = Vec::new();
        for (family, wanted) in families {
            reads.push(self.bases_of_family(family, wanted, max_age));
        }
        let found: Vec<_> = stream::iter(reads).buffer_unordered(AT_ONCE).collect().await;
        found.into_iter().flatten().collect()
    }

    async fn bases_of_family(
        &self,
        family: &str,
        wanted: Vec<Wanted<'_>>,
        max_age: Duration,
    ) -> Vec<(LocalRef, Result<Bases, PortError>)> {
        let mut found = Vec::new();
        for one in wanted {
            found.push((one.local.clone(), self.bases_of_service(family, &one, max_age).await));
        }
        found
    }

    async fn bases_of_service(&self, family: &str, wanted: &Wanted<'_>, max_age: Duration) -> Result<Bases, PortError> {
        let on = self.definition(&wanted.service.task_definition.arn).await?;
        let (recorded, through) = self.recorded(&on, wanted.spec).await?;
        let than = recorded.rsplit_once(':').filter(|(of, _)| *of == family);
        let than: Option<u64> = than.and_then(|(_, number)| number.parse().ok());
        let mut newest = None;
        for arn in self.listed(family, wanted.commit, max_age).await?.iter() {
            let number = family_and_revision(arn).map(|(_, number)| number);
            if than.zip(number).is_some_and(|(than, number)| number <= than) {
                break;
            }
            let definition = match self.definition(arn).await {
                Ok(definition) => definition,
                // Deleted since it was listed.
                Err(error) if error.code == "ClientException" => continue,
                Err(error) => return Err(error),
            };
            let by = definition.summary.made_by.as_deref();
            if definition.summary.active && wanted.rule.admits(by) && !self.made(&definition, wanted.spec).await? {
                newest = Some(definition);
                break;
            }
        }
        let newest = newest.map(|definition| Base {
            name: name_of(&definition.summary.arn),
            changes: task_shape::changes(on.body(), definition.body(), &ours(&definition, wanted.spec)),
            revision: BaseSource::TaskDefinition(Box::new(definition.summary.clone())),
        });
        Ok(Bases { recorded, through, newest, shared: None })
    }

    /// Whose shape a task definition has, and the revisions of Pinion's between.
    async fn recorded(
        &self,
        on: &Arc<Definition>,
        spec: &FargateSpec,
    ) -> Result<(String, BTreeSet<String>), PortError> {
        let (mut definition, mut through) = (Arc::clone(on), BTreeSet::new());
        for _ in 0..CHAIN {
            let name = name_of(&definition.summary.arn);
            let Some(marker) = definition.summary.marker.as_ref() else { return Ok((name, through)) };
            if !self.made(&definition, spec).await? {
                return Ok((name, through));
            }
            through.insert(name);
            match self.beside(&on.summary.arn, &marker.base).await? {
                Some(before) if !through.contains(&name_of(&before.summary.arn)) => definition = before,
                // Deleted, or of a name that isn't known in full: nothing older is known.
                _ => return Ok((marker.base.clone(), through)),
            }
        }
        Ok((name_of(&definition.summary.arn), through))
    }

    /// Whether a revision is Pinion's: it bears a marker, and the environment's own role has registered it or it has the shape
    /// that the marker says. A copy with the tags of one of Pinion's and something changed is somebody else's.
    async fn made(&self, definition: &Definition, spec: &FargateSpec) -> Result<bool, PortError> {
        let Some(marker) = &definition.summary.marker else { return Ok(false) };
        let by = definition.summary.made_by.as_deref();
        if by.is_none_or(|by| is_session_of(by, self.account.role.as_str())) {
            return Ok(true);
        }
        let base = self.beside(&definition.summary.arn, &marker.base).await?;
        let ours = ours(definition, spec);
        // Where its base is gone nobody can tell, and doubt writes nothing.
        Ok(base.is_none_or(|base| task_shape::changes(base.body(), definition.body(), &ours).is_empty()))
    }

    /// The task definition of a name, in the account and region of another one; `None` if there is none.
    async fn beside(&self, arn: &str, name: &str) -> Result<Option<Arc<Definition>>, PortError> {
        let Some((account, _)) = arn.rsplit_once('/') else { return Ok(None) };
        match self.definition(&format!("{account}/{name}")).await {
            Ok(definition) => Ok(Some(definition)),
            Err(error) if error.code == "ClientException" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The ACTIVE revisions of a family, the newest first: at most a hundred. Listed again when they are older than `max_age`,
    /// or for a pin for which they weren't listed yet.
    async fn listed(&self, family: &str, commit: &CommitId, max_age: Duration) -> Result<Arc<Vec<String>>, PortError> {
        let known = self.cache.families.get(&family.to_owned()).filter(|listed| listed.at.elapsed() < max_age);
        if let Some(listed) = known.as_ref().filter(|listed| listed.commits.contains(commit)) {
            return Ok(Arc::clone(&listed.arns));
        }
        let page = self
            .call(Operation::ListTaskDefinitions, || {
                let request = self.ecs.list_task_definitions().family_prefix(family).max_results(100);
                request.status(TaskDefinitionStatus::Active).sort(SortOrder::Desc).send()
            })
            .await?;
        let numbered = page.task_definition_arns.unwrap_or_default().into_iter().filter_map(|arn| {
            let (of, number) = family_and_revision(&arn)?;
            (of == family).then_some((number, arn.clone()))
        });
        // Some simulators ignore the order.
        let numbered: BTreeMap<u64, String> = numbered.collect();
        let arns = Arc::new(numbered.into_values().rev().collect::<Vec<_>>());
        let mut commits = known.map(|known| known.commits).unwrap_or_default();
        commits.insert(commit.clone());
        let listed = Listed { at: Instant::now(), commits, arns: Arc::clone(&arns) };
        self.cache.families.put(family.to_owned(), listed);
        Ok(arns)
    }
}

/// The names of our containers; none where that isn't known, which the plan says.
fn ours(definition: &Definition, spec: &FargateSpec) -> Vec<String> {
    let found = containers_in(&definition.summary, spec).unwrap_or_default();
    found.into_iter().map(|container| container.name.clone()).collect()
}

/// Whether a principal is a session of a role, by their ARNs.
fn is_session_of(principal: &str, role: &str) -> bool {
    let session = principal.split_once(":assumed-role/").and_then(|(_, rest)| rest.split('/').next());
    session.is_some_and(|session| role.rsplit('/').next() == Some(session))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_a_role() {
        let role = "arn:aws:iam::222222222222:role/teams/pinion";
        for (principal, is) in [
            ("arn:aws:sts::222222222222:assumed-role/pinion/pinion-prod", true),
            ("arn:aws:sts::222222222222:assumed-role/pinion-prod/pinion", false),
            ("arn:aws:iam::222222222222:user/pinion", false),
            ("arn:aws:iam::222222222222:root", false),
        ] {
            assert_eq!(is_session_of(principal, role), is, "{principal}");
        }
    }
}
