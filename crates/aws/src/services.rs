//! Observes ECS services: in tens per cluster, and the task definitions that aren't known yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_ecs::types::{Deployment, Service};
use aws_smithy_types::DateTime;
use jiff::Timestamp;

use super::connection::{Connection, ours};
use super::operation::Operation;
use super::task_definition::Definition;
use pinion_core::model::{
    ClusterName, Digest, ErrorClass, LocalRef, ObservedDeployment, ObservedService, ObservedTarget, PortError,
    ServiceName, TaskDefinition,
};

/// AWS's limit for the services named in one call, and for service revisions.
const BATCH: usize = 10;
const REVISIONS: usize = 20;

/// A service revision: its task definition, and the digest of each container's image.
#[derive(Debug, Clone)]
pub(super) struct Deployed {
    task_definition: Option<String>,
    digests: BTreeMap<String, Digest>,
}

type Definitions = BTreeMap<String, Result<Arc<Definition>, PortError>>;

impl Connection {
    /// Observes services.
    pub(super) async fn services(
        &self,
        wanted: &BTreeMap<LocalRef, (ClusterName, ServiceName)>,
    ) -> BTreeMap<LocalRef, Result<ObservedTarget, PortError>> {
        let mut clusters: BTreeMap<&ClusterName, Vec<(&LocalRef, &ServiceName)>> = BTreeMap::new();
        for (local, (cluster, service)) in wanted {
            clusters.entry(cluster).or_default().push((local, service));
        }
        let mut observed = BTreeMap::new();
        let mut found = Vec::new();
        for (cluster, services) in clusters {
            for batch in services.chunks(BATCH) {
                match self.describe_services(cluster, batch).await {
                    Ok(described) => {
                        for ((local, service), result) in batch.iter().zip(described) {
                            match result {
                                Ok(Some(answer)) => found.push(((*local).clone(), cluster, *service, answer)),
                                Ok(None) => {
                                    let what = format!("service {service} in cluster {cluster}");
                                    observed.insert((*local).clone(), Ok(ObservedTarget::Missing(what)));
                                }
                                Err(error) => drop(observed.insert((*local).clone(), Err(error))),
                            }
                        }
                    }
                    Err(error) if error.code == "ClusterNotFoundException" => {
                        let missing = ObservedTarget::Missing(format!("cluster {cluster}"));
                        observed.extend(batch.iter().map(|(local, _)| ((*local).clone(), Ok(missing.clone()))));
                    }
                    Err(error) => {
                        observed.extend(batch.iter().map(|(local, _)| ((*local).clone(), Err(error.clone()))));
                    }
                }
            }
        }
        let arns: BTreeSet<&str> = found.iter().flat_map(|(_, _, _, service)| definitions_of(service)).collect();
        let revisions: BTreeSet<&str> = found.iter().filter_map(|(_, _, _, service)| revision_of(service)).collect();
        let (definitions, digests) = tokio::join!(self.definitions(arns), self.digests(revisions));
        for (local, cluster, name, service) in &found {
            // Right after UpdateService the only revision may still be that of the task definition before.
            let deployed = revision_of(service).and_then(|revision| digests.get(revision));
            let deployed =
                deployed.filter(|it| it.task_definition.is_some() && it.task_definition == service.task_definition);
            let digests = deployed.map(|deployed| deployed.digests.clone()).unwrap_or_default();
            observed.insert(local.clone(), observed_service(cluster, name, service, &definitions, digests));
        }
        observed
    }

    /// The digests of the images that service revisions were deployed with, by container; each is read once. Without
    /// them a tag that was moved goes unnoticed, which is no reason to know nothing of the service.
    async fn digests(&self, revisions: BTreeSet<&str>) -> BTreeMap<String, Deployed> {
        let mut known = BTreeMap::new();
        let mut unknown = Vec::new();
        for revision in revisions.into_iter().map(str::to_owned) {
            match self.cache.digests.get(&revision) {
                Some(digests) => drop(known.insert(revision, digests)),
                None => unknown.push(revision),
            }
        }
        for batch in unknown.chunks(REVISIONS) {
            let answer = self
                .call(Operation::DescribeServiceRevisions, || {
                    self.ecs.describe_service_revisions().set_service_revision_arns(Some(batch.to_vec())).send()
                })
                .await;
            for revision in answer.ok().and_then(|answer| answer.service_revisions).unwrap_or_default() {
                let Some(arn) = revision.service_revision_arn else { continue };
                let images = revision.container_images.unwrap_or_default().into_iter();
                let digests: BTreeMap<String, Digest> = images
                    .filter_map(|image| Some((image.container_name?, Digest::try_from(image.image_digest?).ok()?)))
                    .collect();
                let deployed = Deployed { task_definition: revision.task_definition, digests };
                // A deployment that has just begun has none yet.
                if !deployed.digests.is_empty() {
                    self.cache.digests.put(arn.clone(), deployed.clone());
                }
                known.insert(arn, deployed);
            }
        }
        known
    }

    /// Describes at most ten services; `None` for one that doesn't exist. The answer is in the order of the question.
    async fn describe_services(
        &self,
        cluster: &ClusterName,
        services: &[(&LocalRef, &ServiceName)],
    ) -> Result<Vec<Result<Option<Service>, PortError>>, PortError> {
        let answer = self
            .call(Operation::DescribeServices, || {
                let names = services.iter().map(|(_, service)| service.to_string()).collect();
                self.ecs.describe_services().cluster(cluster.as_str()).set_services(Some(names)).send()
            })
            .await?;
        let mut described: BTreeMap<String, Service> = answer
            .services
            .unwrap_or_default()
            .into_iter()
            .map(|service| (service.service_name.clone().unwrap_or_default(), service))
            .collect();
        let failures = answer.failures.unwrap_or_default();
        Ok(services
            .iter()
            .map(|(_, name)| {
                if let Some(service) = described.remove(name.as_str()) {
                    return Ok(Some(service));
                }
                let failure = failures.iter().find(|failure| {
                    failure.arn.as_deref().is_some_and(|arn| arn.rsplit('/').next() == Some(name.as_str()))
                });
                match failure.and_then(|failure| failure.reason.as_deref()) {
                    None | Some("MISSING") => Ok(None),
                    Some(reason) => {
                        let message = failure.and_then(|failure| failure.detail.clone()).unwrap_or_default();
                        Err(ours(Operation::DescribeServices, ErrorClass::Invalid, reason, message))
                    }
                }
            })
            .collect())
    }

    /// Task definitions by ARN; a few at a time where they aren't known yet.
    pub(super) async fn definitions(&self, arns: BTreeSet<&str>) -> Definitions {
        const LANES: usize = 4;
        let mut lanes: [Vec<&str>; LANES] = Default::default();
        for (index, arn) in arns.into_iter().enumerate() {
            if let Some(lane) = lanes.get_mut(index % LANES) {
                lane.push(arn);
            }
        }
        let [a, b, c, d] = lanes.map(|lane| self.definitions_in_turn(lane));
        let (mut all, b, c, d) = tokio::join!(a, b, c, d);
        all.extend(b);
        all.extend(c);
        all.extend(d);
        all
    }

    async fn definitions_in_turn(&self, arns: Vec<&str>) -> Definitions {
        let mut definitions = BTreeMap::new();
        for arn in arns {
            definitions.insert(arn.to_owned(), self.definition(arn).await);
        }
        definitions
    }
}

/// The revision that all of a service's tasks are of, if there is only one.
fn revision_of(service: &Service) -> Option<&str> {
    match service.current_service_revisions() {
        [only] => only.arn(),
        _ => None,
    }
}

fn definitions_of(service: &Service) -> impl Iterator<Item = &str> {
    let deployments =
        service.deployments.iter().flatten().filter_map(|deployment| deployment.task_definition.as_deref());
    service.task_definition.as_deref().into_iter().chain(deployments)
}

fn observed_service(
    cluster: &ClusterName,
    name: &ServiceName,
    service: &Service,
    definitions: &Definitions,
    digests: BTreeMap<String, Digest>,
) -> Result<ObservedTarget, PortError> {
    let summary = |arn: &str| match definitions.get(arn) {
        Some(Ok(definition)) => Ok(definition.summary.clone()),
        Some(Err(error)) => Err(error.clone()),
        None => Ok(TaskDefinition {
            arn: arn.to_owned(),
            containers: Vec::new(),
            architecture: None,
            marker: None,
            active: true,
            tags: 0,
            made: None,
            made_by: None,
        }),
    };
    let mut deployments = Vec::new();
    for deployment in service.deployments.iter().flatten() {
        let definition = summary(deployment.task_definition.as_deref().unwrap_or_default())?;
        deployments.push(observed_deployment(deployment, definition));
    }
    deployments.sort_by_key(|deployment| (!deployment.primary, std::cmp::Reverse(deployment.created)));
    let controller = service.deployment_controller.as_ref().map(|controller| controller.r#type.as_str().to_owned());
    Ok(ObservedTarget::Service(Box::new(ObservedService {
        cluster: cluster.clone(),
        name: name.clone(),
        arn: service.service_arn.clone().unwrap_or_default(),
        status: service.status.clone().unwrap_or_default(),
        controller: controller.unwrap_or_else(|| "ECS".to_owned()),
        task_definition: summary(service.task_definition.as_deref().unwrap_or_default())?,
        deployments,
        breaker: service
            .deployment_configuration
            .as_ref()
            .and_then(|configuration| configuration.deployment_circuit_breaker.as_ref())
            .is_some_and(|breaker| breaker.enable),
        desired: count(service.desired_count),
        running: count(service.running_count),
        digests,
    })))
}

fn observed_deployment(deployment: &Deployment, definition: TaskDefinition) -> ObservedDeployment {
    ObservedDeployment {
        id: deployment.id.clone().unwrap_or_default(),
        primary: deployment.status.as_deref() == Some("PRIMARY"),
        task_definition: definition.arn,
        marker: definition.marker,
        containers: definition.containers,
        rollout_state: deployment.rollout_state.as_ref().map(|state| state.as_str().to_owned()).unwrap_or_default(),
        reason: deployment.rollout_state_reason.clone().filter(|reason| !reason.is_empty()),
        created: deployment.created_at.as_ref().and_then(timestamp),
        failed: count(deployment.failed_tasks),
        desired: count(deployment.desired_count),
        running: count(deployment.running_count),
    }
}

fn count(count: i32) -> u32 {
    u32::try_from(count).unwrap_or_default()
}

/// AWS's time as ours, to the millisecond: JSON carries it as a floating-point number, which holds no more.
pub(super) fn timestamp(time: &DateTime) -> Option<Timestamp> {
    let milliseconds = (time.as_nanos() + 500_000).div_euclid(1_000_000);
    Timestamp::from_millisecond(i64::try_from(milliseconds).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_times_may_be_anything() {
        assert_eq!([i32::MIN, -1, 0, i32::MAX].map(count), [0, 0, 0, 2_147_483_647]);
        let time = |seconds, nanos| timestamp(&DateTime::from_secs_and_nanos(seconds, nanos)).map(|at| at.to_string());
        assert_eq!(time(253_402_207_200, 0).as_deref(), Some("9999-12-30T22:00:00Z"));
        assert_eq!(time(0, 0).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(time(-1, 0).as_deref(), Some("1969-12-31T23:59:59Z"));
        for seconds in [i64::MIN, i64::MIN / 1000, -377_705_116_801, 253_402_300_800, i64::MAX / 1000, i64::MAX] {
            assert_eq!(time(seconds, 999_999_999), None, "{seconds}");
        }
    }
}
