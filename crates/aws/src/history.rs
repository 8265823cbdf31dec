//! What AWS remembers about rollouts: instance refreshes and service deployments, and the versions and revisions that
//! they moved to.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use aws_sdk_autoscaling::types::{InstanceRefresh, InstanceRefreshStatus, LaunchTemplateSpecification};
use aws_sdk_ecs::types::{
    ServiceDeployment, ServiceDeploymentBrief, ServiceDeploymentLifecycleStage as Stage, ServiceDeploymentStatus,
    ServiceRevisionSummary, SortOrder, TaskDefinitionStatus,
};

use super::connection::{Connection, ours};
use super::operation::Operation;
use super::services::timestamp;
use super::task_definition::family_and_revision;
use pinion_core::model::{
    ErrorClass, GroupName, GroupTemplate, ObservedGroup, ObservedService, ObservedTarget, PortError, Rollout,
    RolloutHistory, RolloutId, RolloutOutcome, RolloutTarget, TaskDefinition, TemplateRef, TemplateVersion,
};

/// How many refreshes are read at once: AWS's largest page.
const REFRESHES: i32 = 100;
/// How many pages of them are read at most.
const PAGES: usize = 10;
/// How far what versions were made from is followed.
const BASES: usize = 20;
/// How many deployments are looked at. Those that have ended are read once.
const DEPLOYMENTS: usize = 100;
/// AWS's limit for the deployments or revisions named in one call.
const BATCH: usize = 20;
/// How many revisions newer than the service's are looked at.
const REVISIONS: usize = 50;

impl Connection {
    /// The rollouts of a target.
    pub(super) async fn rollouts(&self, observed: &ObservedTarget) -> Result<RolloutHistory, PortError> {
        match observed {
            ObservedTarget::Group(group) => self.group_rollouts(group).await,
            ObservedTarget::Service(service) => self.service_rollouts(service).await,
            ObservedTarget::Missing(_) => {
                Ok(RolloutHistory::Group { refreshes: Vec::new(), versions: Vec::new(), users: None, complete: false })
            }
        }
    }

    async fn group_rollouts(&self, group: &ObservedGroup) -> Result<RolloutHistory, PortError> {
        let (template, own) = match &group.template {
            GroupTemplate::LaunchTemplate { template, .. } => (Some(template), &[][..]),
            GroupTemplate::MixedInstances(policy) => (Some(&policy.template), policy.own.as_slice()),
            GroupTemplate::LaunchConfiguration(_) | GroupTemplate::Unknown => (None, &[][..]),
        };
        let (refreshes, complete) = self.refreshes(&group.name).await?;
        let refreshes: Vec<Rollout> = refreshes.iter().map(|refresh| refresh_rollout(refresh, template)).collect();
        // The oldest version in force of each template: what comes after it may be what was made for a pin.
        let mut templates: BTreeMap<&str, u64> = BTreeMap::new();
        let slots = own.iter().map(|one| (&one.template, &one.current));
        for (template, current) in template.into_iter().map(|template| (template, &group.current)).chain(slots) {
            let Some(current) = current else { continue };
            let oldest = templates.entry(&template.id).or_insert(current.number);
            *oldest = current.number.min(*oldest);
        }
        let mut versions = BTreeMap::new();
        for (id, oldest) in templates {
            let newer = self.newer_versions(id, oldest).await?;
            versions.extend(newer.into_iter().map(|version| ((Reverse(version.number), id), version)));
            let named = refreshes.iter().flat_map(|refresh| match &refresh.target {
                RolloutTarget::TemplateVersion(number) if template.is_some_and(|own| own.id == id) => vec![*number],
                RolloutTarget::TemplateVersions(all) => {
                    all.iter().filter(|(of, _)| of == id).map(|(_, number)| *number).collect()
                }
                _ => Vec::new(),
            });
            let named: BTreeSet<u64> = named.filter(|number| !versions.contains_key(&(Reverse(*number), id))).collect();
            let named = self.template_versions(id, &named).await?;
            versions.extend(named.into_iter().map(|(number, version)| ((Reverse(number), id), version)));
            let current = std::iter::once(&group.current).chain(own.iter().map(|one| &one.current)).flatten();
            let current: Vec<TemplateVersion> = current.filter(|version| version.template == id).cloned().collect();
            for _ in 0..BASES {
                // What each was made from ran before it; older ones aren't listed.
                let of_it =
                    versions.iter().filter(|((_, of), _)| *of == id).map(|(_, version)| version).chain(&current);
                let bases = of_it.filter_map(|version| version.marker.as_ref()?.from().parse::<u64>().ok());
                let known = |number: &u64| versions.contains_key(&(Reverse(*number), id));
                let bases: BTreeSet<u64> = bases.filter(|number| !known(number)).collect();
                let found = self.template_versions(id, &bases).await?;
                if found.is_empty() {
                    break;
                }
                versions.extend(found.into_iter().map(|(number, version)| ((Reverse(number), id), version)));
            }
        }
        // While a refresh runs no version is made, so that nobody needs to know.
        let users = if refreshes.iter().any(|refresh| refresh.outcome.is_active()) {
            None
        } else {
            let templates: Vec<&TemplateRef> =
                template.into_iter().chain(own.iter().map(|one| &one.template)).collect();
            Some(self.template_users(&templates).await?)
        };
        Ok(RolloutHistory::Group { refreshes, versions: versions.into_values().collect(), users, complete })
    }

    /// A group's instance refreshes, newest first, and whether they are all that AWS remembers.
    pub(super) async fn refreshes(&self, group: &GroupName) -> Result<(Vec<InstanceRefresh>, bool), PortError> {
        let (mut refreshes, mut complete) = (Vec::new(), false);
        let mut token: Option<String> = None;
        for _ in 0..PAGES {
            let page = self
                .call(Operation::DescribeInstanceRefreshes, || {
                    self.autoscaling
                        .describe_instance_refreshes()
                        .auto_scaling_group_name(group.as_str())
                        .max_records(REFRESHES)
                        .set_next_token(token.clone())
                        .send()
                })
                .await?;
            let Some(listed) = page.instance_refreshes else { break };
            refreshes.extend(listed);
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                complete = true;
                break;
            }
        }
        let pending = |refresh: &InstanceRefresh| refresh.status == Some(InstanceRefreshStatus::Pending);
        if refreshes.iter().any(|refresh| refresh.start_time.is_none() && !pending(refresh)) {
            // AWS lists the newest first, which is all that is known of their order then.
            return Ok((refreshes, complete));
        }
        // Stable: AWS's own order, newest first, decides between two of the same second.
        refreshes.sort_by_key(|refresh| Reverse(refresh.start_time.as_ref().and_then(timestamp)));
        // One that is about to start has no time yet; there can be no newer one.
        refreshes.sort_by_key(|refresh| {
            refresh.start_time.is_some() || refresh.status != Some(InstanceRefreshStatus::Pending)
        });
        Ok((refreshes, complete))
    }

    async fn service_rollouts(&self, service: &ObservedService) -> Result<RolloutHistory, PortError> {
        let (deployments, all_deployments) = match self.service_deployments(service).await {
            Ok(read) => {
                self.keeps_deployments.store(true, Ordering::Relaxed);
                read
            }
            Err(error)
                if is_unknown_operation(&error, self.simulator) && !self.keeps_deployments.load(Ordering::Relaxed) =>
            {
                // It has no memory that could end.
                (shown_deployments(service), true)
            }
            Err(error) => return Err(error),
        };
        let oldest = oldest_that_tells(&service.task_definition);
        let (deployable, all_active) = self.newer_revisions(oldest, TaskDefinitionStatus::Active).await?;
        // One that has failed may be deregistered since; that it was there, and for which pin, is still known.
        let (inactive, all_inactive) = self.newer_revisions(oldest, TaskDefinitionStatus::Inactive).await?;
        let mut arns: BTreeSet<String> = inactive.union(&deployable).cloned().collect();
        // Of the newer ones all are listed that can be deployed; who was deployed and isn't listed was deregistered.
        let active = |arn: &str| {
            let newer = oldest.zip(family_and_revision(arn)).is_some_and(|(then, it)| then.0 == it.0 && then.1 < it.1);
            !inactive.contains(arn) && (!newer || !all_active || deployable.contains(arn))
        };
        arns.extend(deployments.iter().filter_map(|deployment| match &deployment.target {
            RolloutTarget::TaskDefinition(arn) => Some(arn.clone()),
            _ => None,
        }));
        arns.extend(self.before(service, &deployments).await?);
        let mut revisions = Vec::new();
        for (_, definition) in self.definitions(arns.iter().map(String::as_str).collect()).await {
            match definition {
                Ok(definition) => {
                    let summary = definition.summary.clone();
                    let active = (summary.active && active(&summary.arn)) || summary.arn == service.task_definition.arn;
                    revisions.push(TaskDefinition { active, ..summary });
                }
                // Deleted since: it can't be rolled out to any more.
                Err(error) if error.code == "ClientException" => {}
                Err(error) => return Err(error),
            }
        }
        revisions.sort_by_key(|revision| {
            let (family, number) = family_and_revision(&revision.arn).unwrap_or_default();
            (Reverse(number), family.to_owned())
        });
        let complete = all_deployments && all_active && all_inactive;
        Ok(RolloutHistory::Service { deployments, revisions, complete })
    }

    /// What ran before, which may have been deployed longer ago than ECS remembers: what the service's revision was made from
    /// and, as long as only bad deployments of that are known, what that one was.
    async fn before(&self, service: &ObservedService, deployments: &[Rollout]) -> Result<Vec<String>, PortError> {
        let mut before = Vec::new();
        let Some((account, _)) = service.task_definition.arn.rsplit_once('/') else { return Ok(before) };
        let mut marker = service.task_definition.marker.clone();
        while let Some(made) = marker.take().filter(|_| before.len() < BASES) {
            let arn = format!("{account}/{}", made.from());
            before.push(arn.clone());
            if only_ended_badly(deployments, &arn) {
                marker = match self.definition(&arn).await {
                    Ok(definition) => definition.summary.marker.clone(),
                    Err(error) if error.code == "ClientException" => None,
                    Err(error) => return Err(error),
                };
            }
        }
        Ok(before)
    }

    /// A service's deployments, newest first, and whether they are all that AWS remembers.
    async fn service_deployments(&self, service: &ObservedService) -> Result<(Vec<Rollout>, bool), PortError> {
        let (mut briefs, mut complete) = self.list_deployments(service).await?;
        briefs.sort_by_key(|brief| Reverse(brief.created_at.as_ref().and_then(timestamp)));
        complete &= briefs.len() <= DEPLOYMENTS && briefs.iter().all(|brief| brief.service_deployment_arn.is_some());
        briefs.truncate(DEPLOYMENTS);
        let telling = newest_and_active(&briefs);

        let arns: Vec<String> = briefs.into_iter().filter_map(|brief| brief.service_deployment_arn).collect();
        let mut rollouts: BTreeMap<String, Rollout> = BTreeMap::new();
        let mut unsettled = Vec::new();
        for arn in &arns {
            match self.cache.deployments.get(arn) {
                Some(rollout) => drop(rollouts.insert(arn.clone(), rollout)),
                None => unsettled.push(arn.clone()),
            }
        }
        let mut described = Vec::new();
        for batch in unsettled.chunks(BATCH) {
            let answer = self
                .call(Operation::DescribeServiceDeployments, || {
                    self.ecs.describe_service_deployments().set_service_deployment_arns(Some(batch.to_vec())).send()
                })
                .await?;
            described.extend(answer.service_deployments.unwrap_or_default());
        }
        let targets = self.targets_of(&described).await?;
        for deployment in &described {
            let Some(arn) = deployment.service_deployment_arn.clone() else { continue };
            let definition = revision_of(deployment).and_then(|revision| targets.get(revision)).cloned();
            let mut rollout = deployment_rollout(deployment, definition.clone());
            let sources = deployment.source_service_revisions();
            let same = |source: &ServiceRevisionSummary| {
                definition.is_some() && source.arn().and_then(|arn| targets.get(arn)) == definition.as_ref()
            };
            rollout.repeats = !sources.is_empty() && sources.iter().all(same);
            if !rollout.outcome.is_active() && rollout.target != RolloutTarget::Unknown {
                self.cache.deployments.put(arn.clone(), rollout.clone());
            }
            rollouts.insert(arn, rollout);
        }
        if let Some(unread) = telling.iter().find(|arn| !rollouts.contains_key(*arn)) {
            // Without it a rollout would be begun a second time.
            let message = format!("{unread} is listed, and can't be described yet; it is read again in the next pass");
            return Err(ours(Operation::DescribeServiceDeployments, ErrorClass::Retry, "NotThereYet", message));
        }
        complete &= arns.iter().all(|arn| rollouts.contains_key(arn));
        Ok((arns.iter().filter_map(|arn| rollouts.remove(arn)).collect(), complete))
    }

    /// What AWS lists of a service's deployments, in which order it doesn't promise, and whether that is all.
    async fn list_deployments(
        &self,
        service: &ObservedService,
    ) -> Result<(Vec<ServiceDeploymentBrief>, bool), PortError> {
        let mut briefs = Vec::new();
        let mut token = None;
        loop {
            let page = self
                .call(Operation::ListServiceDeployments, || {
                    self.ecs
                        .list_service_deployments()
                        .cluster(service.cluster.as_str())
                        .service(service.name.as_str())
                        .max_results(100)
                        .set_next_token(token.clone())
                        .send()
                })
                .await?;
            let Some(listed) = page.service_deployments else { return Ok((briefs, false)) };
            briefs.extend(listed);
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok((briefs, true));
            }
        }
    }

    /// The task definition of each service revision that deployments go to, by the revision's ARN.
    async fn targets_of(&self, deployments: &[ServiceDeployment]) -> Result<BTreeMap<String, String>, PortError> {
        let mut targets = BTreeMap::new();
        let mut unknown = Vec::new();
        let sources = deployments.iter().flat_map(ServiceDeployment::source_service_revisions);
        let sources = sources.filter_map(ServiceRevisionSummary::arn);
        for revision in deployments.iter().filter_map(revision_of).chain(sources).collect::<BTreeSet<_>>() {
            match self.cache.revisions.get(&revision.to_owned()) {
                Some(definition) => drop(targets.insert(revision.to_owned(), definition)),
                None => unknown.push(revision.to_owned()),
            }
        }
        for batch in unknown.chunks(BATCH) {
            let answer = self
                .call(Operation::DescribeServiceRevisions, || {
                    self.ecs.describe_service_revisions().set_service_revision_arns(Some(batch.to_vec())).send()
                })
                .await?;
            for revision in answer.service_revisions.unwrap_or_default() {
                if let (Some(arn), Some(definition)) = (revision.service_revision_arn, revision.task_definition) {
                    self.cache.revisions.put(arn.clone(), definition.clone());
                    targets.insert(arn, definition);
                }
            }
        }
        Ok(targets)
    }

    /// The revisions of a family that were registered after one, and whether these are all.
    async fn newer_revisions(
        &self,
        than: Option<(&str, u64)>,
        status: TaskDefinitionStatus,
    ) -> Result<(BTreeSet<String>, bool), PortError> {
        let mut newer = BTreeSet::new();
        let Some((family, revision)) = than else { return Ok((newer, false)) };
        let mut token = None;
        loop {
            let page = self
                .call(Operation::ListTaskDefinitions, || {
                    self.ecs
                        .list_task_definitions()
                        .family_prefix(family)
                        .status(status.clone())
                        .sort(SortOrder::Desc)
                        .max_results(100)
                        .set_next_token(token.clone())
                        .send()
                })
                .await?;
            // A page is read to its end: moto ignores the order, and a revision that isn't found is registered again.
            let mut reached = false;
            let Some(listed) = page.task_definition_arns else { return Ok((newer, false)) };
            for arn in listed {
                match family_and_revision(&arn) {
                    // Prefixes match other families too where the simulator is loose about it.
                    Some((other, _)) if other != family => {}
                    Some((_, number)) if number > revision && newer.len() < REVISIONS => drop(newer.insert(arn)),
                    Some((_, number)) if number > revision => return Ok((newer, false)),
                    _ => reached = true,
                }
            }
            token = page.next_token.filter(|token| !token.is_empty());
            if reached || token.is_none() {
                return Ok((newer, true));
            }
        }
    }
}

/// The revision after which those were registered that tell something of a service: its own, or the one before what Pinion
/// made that from, as what lies between may bear the same marker.
fn oldest_that_tells(current: &TaskDefinition) -> Option<(&str, u64)> {
    let (family, number) = family_and_revision(&current.arn)?;
    let base = current.marker.as_ref().and_then(|marker| marker.from().rsplit_once(':'));
    let base = base.filter(|(of, _)| *of == family).and_then(|(_, number)| number.parse::<u64>().ok());
    // It, too: whether it can still be deployed is known from the list.
    let base = base.filter(|base| *base < number).map(|base| base.saturating_sub(1));
    Some((family, base.unwrap_or(number)))
}

/// Whether a task definition was deployed, and never well.
fn only_ended_badly(deployments: &[Rollout], arn: &str) -> bool {
    let mut of_it = deployments
        .iter()
        .filter(|deployment| matches!(&deployment.target, RolloutTarget::TaskDefinition(target) if target == arn))
        .peekable();
    of_it.peek().is_some() && of_it.all(|deployment| deployment.outcome != RolloutOutcome::Succeeded)
}

/// Whether an endpoint doesn't know an operation: simulators have no service deployments. AWS has errors of its own for
/// that. moto falls over instead; from AWS itself such an answer is a fault that passes, and forgetting the deployments
/// over it would forget quarantines.
fn is_unknown_operation(error: &PortError, simulator: bool) -> bool {
    const CODES: [&str; 6] = [
        "UnknownOperationException",
        "UnknownOperation",
        "InvalidAction",
        "NotImplemented",
        "UnsupportedFeatureException",
        "UnsupportedOperationException",
    ];
    CODES.contains(&error.code.as_str()) || (simulator && matches!(error.code.as_str(), "HTTP500" | "HTTP501"))
}

/// The deployments that `DescribeServices` shows, as rollouts.
fn shown_deployments(service: &ObservedService) -> Vec<Rollout> {
    let mut shown: Vec<Rollout> = service
        .deployments
        .iter()
        .map(|deployment| {
            let outcome = match deployment.rollout_state.as_str() {
                "COMPLETED" => RolloutOutcome::Succeeded,
                "FAILED" => RolloutOutcome::Failed,
                _ => RolloutOutcome::Running,
            };
            Rollout {
                id: RolloutId(deployment.id.clone()),
                target: RolloutTarget::TaskDefinition(deployment.task_definition.clone()),
                outcome,
                status: deployment.rollout_state.clone(),
                reason: deployment.reason.clone(),
                started: deployment.created,
                ended: None,
                percentage: share(i64::from(deployment.running), i64::from(deployment.desired)),
                repeats: false,
            }
        })
        .collect();
    shown.sort_by_key(|rollout| Reverse(rollout.started));
    shown
}

fn refresh_rollout(refresh: &InstanceRefresh, template: Option<&TemplateRef>) -> Rollout {
    let status = refresh.status.as_ref();
    Rollout {
        id: RolloutId(refresh.instance_refresh_id.clone().unwrap_or_default()),
        target: refresh_target(refresh, template),
        outcome: status.map_or(RolloutOutcome::Running, refresh_outcome),
        status: status.map(|status| status.as_str().to_owned()).unwrap_or_default(),
        reason: refresh.status_reason.clone().filter(|reason| !reason.is_empty()),
        started: refresh.start_time.as_ref().and_then(timestamp),
        ended: refresh.end_time.as_ref().and_then(timestamp),
        percentage: refresh.percentage_complete.map(percentage),
        repeats: false,
    }
}

/// Where a refresh moves its group: to a number of its launch template, or of those that its mixed-instances policy names.
fn refresh_target(refresh: &InstanceRefresh, template: Option<&TemplateRef>) -> RolloutTarget {
    let Some(desired) = &refresh.desired_configuration else {
        // Pinion's own have one, and roll back by themselves, which AWS takes from no others.
        let plain = refresh.preferences.as_ref().and_then(|preferences| preferences.auto_rollback) == Some(false);
        return if plain { RolloutTarget::Other } else { RolloutTarget::Unknown };
    };
    let Some(template) = template else { return RolloutTarget::Unknown };
    let policy = desired.mixed_instances_policy.as_ref().and_then(|policy| policy.launch_template.as_ref());
    let own = policy.and_then(|policy| policy.launch_template_specification.as_ref());
    let overrides = policy.into_iter().flat_map(|policy| policy.overrides());
    let overrides = overrides.filter_map(|one| one.launch_template_specification.as_ref());
    let mut specifications = desired.launch_template.as_ref().or(own).into_iter().chain(overrides);
    let Some(own) = specifications.next() else { return RolloutTarget::Unknown };
    let ours = match &own.launch_template_id {
        Some(id) => *id == template.id,
        None => own.launch_template_name.as_ref() == Some(&template.name),
    };
    let named = own.launch_template_id.is_some() || own.launch_template_name.is_some();
    let moving = own.version.as_deref().is_some_and(|version| version.starts_with('$'));
    if named && (!ours || moving) {
        return RolloutTarget::Other;
    }
    let number = |specification: &LaunchTemplateSpecification| -> Option<u64> {
        specification.version.as_deref().and_then(|version| version.parse().ok())
    };
    let own = number(own).filter(|_| ours).map(|number| (template.id.clone(), number));
    let overrides = specifications.map(|one| Some((one.launch_template_id.clone()?, number(one)?)));
    let versions = std::iter::once(own).chain(overrides).collect::<Option<Vec<_>>>();
    versions.map_or(RolloutTarget::Unknown, RolloutTarget::of_versions)
}

/// How far an instance refresh is. A status that this build doesn't know counts as running: nothing is started beside it.
pub(super) fn refresh_outcome(status: &InstanceRefreshStatus) -> RolloutOutcome {
    match status {
        InstanceRefreshStatus::Baking => RolloutOutcome::Baking,
        InstanceRefreshStatus::Cancelling | InstanceRefreshStatus::RollbackInProgress => RolloutOutcome::Undoing,
        InstanceRefreshStatus::Successful => RolloutOutcome::Succeeded,
        InstanceRefreshStatus::Failed
        | InstanceRefreshStatus::RollbackFailed
        | InstanceRefreshStatus::RollbackSuccessful => RolloutOutcome::Failed,
        InstanceRefreshStatus::Cancelled => RolloutOutcome::Cancelled,
        _ => RolloutOutcome::Running,
    }
}

/// Of deployments, newest first, those without which nothing can be decided.
fn newest_and_active(briefs: &[ServiceDeploymentBrief]) -> Vec<String> {
    let active = |brief: &ServiceDeploymentBrief| {
        brief.status.as_ref().is_some_and(|status| deployment_outcome(status).is_active())
    };
    let telling = briefs.iter().enumerate().filter(|(at, brief)| *at == 0 || active(brief));
    telling.filter_map(|(_, brief)| brief.service_deployment_arn.clone()).collect()
}

fn revision_of(deployment: &ServiceDeployment) -> Option<&str> {
    deployment.target_service_revision.as_ref().and_then(|revision| revision.arn.as_deref())
}

fn deployment_rollout(deployment: &ServiceDeployment, definition: Option<String>) -> Rollout {
    let status = deployment.status.as_ref();
    let revision = deployment.target_service_revision.as_ref();
    let started = deployment.created_at.as_ref().or(deployment.started_at.as_ref());
    let ended = deployment.finished_at.as_ref().or(deployment.stopped_at.as_ref());
    let rolled_back = deployment.rollback.as_ref().and_then(|rollback| rollback.reason.clone());
    Rollout {
        id: RolloutId(deployment.service_deployment_arn.clone().unwrap_or_default()),
        target: definition.map_or(RolloutTarget::Unknown, RolloutTarget::TaskDefinition),
        outcome: match status.map_or(RolloutOutcome::Running, deployment_outcome) {
            RolloutOutcome::Running if deployment.lifecycle_stage == Some(Stage::BakeTime) => RolloutOutcome::Baking,
            outcome => outcome,
        },
        status: match (status, &deployment.lifecycle_stage) {
            (Some(status @ ServiceDeploymentStatus::InProgress), Some(stage)) => format!("{status}, {stage}"),
            (status, _) => status.map(|status| status.as_str().to_owned()).unwrap_or_default(),
        },
        reason: deployment.status_reason.clone().or(rolled_back).filter(|reason| !reason.is_empty()),
        started: started.and_then(timestamp),
        ended: ended.and_then(timestamp),
        percentage: revision.and_then(|revision| {
            share(i64::from(revision.running_task_count), i64::from(revision.requested_task_count))
        }),
        repeats: false,
    }
}

/// How far a service deployment is. A status that this build doesn't know counts as running.
fn deployment_outcome(status: &ServiceDeploymentStatus) -> RolloutOutcome {
    match status {
        ServiceDeploymentStatus::StopRequested
        | ServiceDeploymentStatus::RollbackRequested
        | ServiceDeploymentStatus::RollbackInProgress => RolloutOutcome::Undoing,
        ServiceDeploymentStatus::Successful => RolloutOutcome::Succeeded,
        ServiceDeploymentStatus::Stopped
        | ServiceDeploymentStatus::RollbackSuccessful
        | ServiceDeploymentStatus::RollbackFailed => RolloutOutcome::Failed,
        _ => RolloutOutcome::Running,
    }
}

fn share(part: i64, whole: i64) -> Option<u8> {
    (whole > 0).then(|| u8::try_from((part.saturating_mul(100) / whole).clamp(0, 100)).unwrap_or_default())
}

fn percentage(percentage: i32) -> u8 {
    u8::try_from(percentage.clamp(0, 100)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use aws_sdk_autoscaling::types::{DesiredConfiguration, RefreshPreferences};

    use super::*;

    #[test]
    fn statuses_have_outcomes() {
        let refreshes = [
            ("Pending", RolloutOutcome::Running),
            ("InProgress", RolloutOutcome::Running),
            ("Baking", RolloutOutcome::Baking),
            ("Cancelling", RolloutOutcome::Undoing),
            ("RollbackInProgress", RolloutOutcome::Undoing),
            ("Successful", RolloutOutcome::Succeeded),
            ("Failed", RolloutOutcome::Failed),
            ("RollbackFailed", RolloutOutcome::Failed),
            ("RollbackSuccessful", RolloutOutcome::Failed),
            ("Cancelled", RolloutOutcome::Cancelled),
            ("SomethingNew", RolloutOutcome::Running),
        ];
        for (status, outcome) in refreshes {
            assert_eq!(refresh_outcome(&InstanceRefreshStatus::from(status)), outcome, "{status}");
        }
        let deployments = [
            ("PENDING", RolloutOutcome::Running),
            ("IN_PROGRESS", RolloutOutcome::Running),
            ("STOP_REQUESTED", RolloutOutcome::Undoing),
            ("ROLLBACK_REQUESTED", RolloutOutcome::Undoing),
            ("ROLLBACK_IN_PROGRESS", RolloutOutcome::Undoing),
            ("SUCCESSFUL", RolloutOutcome::Succeeded),
            ("STOPPED", RolloutOutcome::Failed),
            ("ROLLBACK_SUCCESSFUL", RolloutOutcome::Failed),
            ("ROLLBACK_FAILED", RolloutOutcome::Failed),
        ];
        for (status, outcome) in deployments {
            assert_eq!(deployment_outcome(&ServiceDeploymentStatus::from(status)), outcome, "{status}");
        }
    }

    /// A word that AWS has added to a model is to be judged here before the SDK that knows it is taken.
    #[test]
    fn every_word_of_the_locked_sdks_is_judged() {
        use aws_sdk_autoscaling::types::LifecycleState;
        use aws_sdk_ecs::types::{DeploymentControllerType, DeploymentRolloutState};
        let judged: [(&str, &[&str], &str); 7] = [
            (
                "instance refreshes",
                InstanceRefreshStatus::values(),
                "Baking Cancelled Cancelling Failed InProgress Pending RollbackFailed RollbackInProgress RollbackSuccessful \
                 Successful",
            ),
            (
                "service deployments",
                ServiceDeploymentStatus::values(),
                "IN_PROGRESS PENDING ROLLBACK_FAILED ROLLBACK_IN_PROGRESS ROLLBACK_REQUESTED ROLLBACK_SUCCESSFUL STOPPED \
                 STOP_REQUESTED SUCCESSFUL",
            ),
            (
                "stages of a service deployment, of which only the bake time is one of its own",
                Stage::values(),
                "BAKE_TIME CLEAN_UP POST_PRODUCTION_TRAFFIC_SHIFT POST_SCALE_UP POST_TEST_TRAFFIC_SHIFT PRE_SCALE_UP \
                 PRODUCTION_TRAFFIC_SHIFT RECONCILE_SERVICE SCALE_UP TEST_TRAFFIC_SHIFT",
            ),
            ("deployments", DeploymentRolloutState::values(), "COMPLETED FAILED IN_PROGRESS"),
            ("deployment controllers", DeploymentControllerType::values(), "CODE_DEPLOY ECS EXTERNAL"),
            ("task definitions", TaskDefinitionStatus::values(), "ACTIVE DELETE_IN_PROGRESS INACTIVE"),
            (
                "instances, which leave by Terminat… and Detach…, and work InService",
                LifecycleState::values(),
                "Detached Detaching EnteringStandby InService Pending Pending:Proceed Pending:Wait Quarantined \
                 ReplacingRootVolume ReplacingRootVolume:Proceed ReplacingRootVolume:Wait RootVolumeReplaced Standby Terminated \
                 Terminating Terminating:Proceed Terminating:Retained Terminating:Wait Warmed:Hibernated Warmed:Pending \
                 Warmed:Pending:Proceed Warmed:Pending:Retained Warmed:Pending:Wait Warmed:Running Warmed:Stopped \
                 Warmed:Terminated Warmed:Terminating Warmed:Terminating:Proceed Warmed:Terminating:Retained \
                 Warmed:Terminating:Wait",
            ),
        ];
        for (what, words, known) in judged {
            let mut words = words.to_vec();
            words.sort_unstable();
            let known: Vec<&str> = known.split_whitespace().collect();
            assert_eq!(words, known, "{what}");
        }
    }

    #[test]
    fn a_refresh_goes_to_a_number_of_the_groups_own_template_or_somewhere_unknown() {
        let template = TemplateRef { id: "lt-1".to_owned(), name: "web".to_owned() };
        let target = |id: Option<&str>, name: Option<&str>, version: &str| {
            let specification = LaunchTemplateSpecification::builder()
                .set_launch_template_id(id.map(str::to_owned))
                .set_launch_template_name(name.map(str::to_owned))
                .version(version)
                .build();
            let desired = DesiredConfiguration::builder().launch_template(specification).build();
            refresh_target(&InstanceRefresh::builder().desired_configuration(desired).build(), Some(&template))
        };
        assert_eq!(target(Some("lt-1"), None, "8"), RolloutTarget::TemplateVersion(8));
        assert_eq!(target(None, Some("web"), "8"), RolloutTarget::TemplateVersion(8));
        assert_eq!(target(Some("lt-2"), Some("web"), "8"), RolloutTarget::Other);
        assert_eq!(target(Some("lt-1"), None, "$Latest"), RolloutTarget::Other);
        assert_eq!(target(Some("lt-1"), None, "eight"), RolloutTarget::Unknown);
        assert_eq!(target(None, None, "8"), RolloutTarget::Unknown);
        let without = |preferences: Option<RefreshPreferences>| {
            let refresh = InstanceRefresh::builder().set_preferences(preferences).build();
            refresh_target(&refresh, Some(&template))
        };
        let plain = |rollback| RefreshPreferences::builder().auto_rollback(rollback).build();
        assert_eq!(without(Some(plain(false))), RolloutTarget::Other);
        for doubtful in [None, Some(plain(true)), Some(RefreshPreferences::builder().build())] {
            assert_eq!(without(doubtful), RolloutTarget::Unknown);
        }
    }

    #[test]
    fn shares_may_be_anything() {
        assert_eq!([i32::MIN, -1, 50, 101, i32::MAX].map(percentage), [0, 0, 50, 100, 100]);
        assert_eq!(
            [share(1, 0), share(1, -1), share(i64::MIN, 1), share(i64::MAX, 1)],
            [None, None, Some(0), Some(100)]
        );
        assert_eq!([share(1, 3), share(-1, i64::MAX)], [Some(33), Some(0)]);
    }
}
