//! ECS services: their view for the decision, and the steps of a rollout.

use std::collections::BTreeMap;
use std::time::Duration;

use super::action::{family_of, short_arn};
use super::revision::{ContainerImage, Revision, View, disown_copies};
use super::shape::Wanted;
use super::{Action, Made};
use crate::model::{
    Artifact, BaseSource, Container, FargateSpec, Marker, Named, ObservedDeployment, ObservedService, Owner, Pin,
    Rollout, RolloutHistory, RolloutId, RolloutOutcome, RolloutTarget, TaskDefinition, Version, same_repository, words,
};

/// ECS forgets service deployments after 90 days (`ListServiceDeployments`).
const REMEMBERED: Duration = Duration::from_secs(80 * 86_400);

/// The view of a service, or why Pinion can't roll it out and what to change.
pub(super) fn view(
    service: &ObservedService,
    spec: &FargateSpec,
    history: Option<&RolloutHistory>,
) -> Result<View, String> {
    let ours: Vec<&str> = containers(service, spec)?.into_iter().map(|container| container.name.as_str()).collect();
    let (revisions, history, complete) = match history {
        Some(RolloutHistory::Service { revisions, deployments, complete }) => {
            (revisions.as_slice(), Some(deployments), *complete)
        }
        _ => (&[][..], None, false),
    };
    let mut current = revision(&service.task_definition, &ours);
    for (name, container) in ours.iter().zip(&mut current.containers) {
        container.digest = service.digests.get(*name).cloned();
    }
    let mut others: Vec<Revision> = Vec::new();
    let known = revisions.iter().map(|definition| revision(definition, &ours));
    let deployed = service.deployments.iter().map(|deployment| Revision {
        target: RolloutTarget::TaskDefinition(deployment.task_definition.clone()),
        name: name_of(&deployment.task_definition),
        image: images_of(&deployment.containers, &ours).first().map(|first| first.image.clone()),
        containers: images_of(&deployment.containers, &ours),
        marker: deployment.marker.clone(),
        usable: true,
        made: None,
        made_by: None,
        copied: false,
        untold: is_untold(&deployment.containers, &ours),
        shaped: true,
    });
    for other in known.chain(deployed) {
        if other.target != current.target && others.iter().all(|seen| seen.target != other.target) {
            others.push(other);
        }
    }
    let number = |revision: &Revision| revision.name.rsplit_once(':').and_then(|(_, number)| number.parse().ok());
    let numbered = std::iter::once(&mut current).chain(&mut others);
    let mut numbered: Vec<(u64, &mut Revision)> =
        numbered.filter_map(|revision| Some((number(revision)?, revision))).collect();
    disown_copies(&mut numbered);
    let mut running: BTreeMap<RolloutTarget, u32> = BTreeMap::new();
    for deployment in &service.deployments {
        let of = running.entry(RolloutTarget::TaskDefinition(deployment.task_definition.clone())).or_default();
        *of = of.saturating_add(deployment.running);
    }
    let before: Vec<String> = service
        .deployments
        .iter()
        .filter(|deployment| !deployment.primary)
        .map(|deployment| name_of(&deployment.task_definition))
        .collect();
    // Right after UpdateService the new deployment's desired count is still 0 (recorded of ECS twice): the service's counts.
    let taken_over = service
        .deployments
        .iter()
        .any(|it| it.primary && (it.rollout_state == "COMPLETED" || it.running >= it.desired.max(service.desired)));
    let leaving = service.deployments.iter().filter(|it| !it.primary && it.running > 0 && !taken_over);
    let outgoing = leaving.max_by_key(|deployment| deployment.running);
    let settled = match service.deployments.as_slice() {
        [only] if only.primary && only.task_definition == service.task_definition.arn => {
            only.rollout_state == "COMPLETED" || is_at_rest(service, only, history)
        }
        _ => false,
    };
    Ok(View {
        current,
        outgoing: outgoing.map(|deployment| RolloutTarget::TaskDefinition(deployment.task_definition.clone())),
        settled,
        quiet: settled,
        bases: (!before.is_empty()).then_some(before),
        others,
        rollouts: rollouts(service, history),
        chosen: true,
        complete,
        remembered: REMEMBERED,
        running: running.into_iter().collect(),
        total: service.desired,
        wanted: None,
    })
}

/// The next write of a rollout of `image`: each pass carries out one, and the next pass finds it done.
pub(super) fn next_step(
    service: &ObservedService,
    spec: &FargateSpec,
    view: &View,
    pin: &Pin,
    artifact: &Artifact,
    made: Option<&Made>,
    owner: Owner,
) -> Result<Action, String> {
    let source = match view.wanted.as_ref().map(Wanted::source).transpose()?.flatten() {
        Some(BaseSource::TaskDefinition(newest)) => newest.as_ref(),
        _ => &service.task_definition,
    };
    let base = view.base().unwrap_or(&view.current.name).clone();
    runs_on(source, artifact)?;
    let names = containers_in(source, spec)?.into_iter().map(|container| container.name.clone()).collect();
    let image = artifact.identity();
    let made_here =
        |made: &Marker| made.commit == pin.provenance.commit && made.base == base && made.from() == view.current.name;
    let made_for_this = |revision: &&Revision| {
        revision.usable
            && !revision.containers.is_empty()
            && revision.containers.iter().all(|container| container.image == image)
            && revision.marker.as_ref().is_some_and(made_here)
    };
    // The oldest: of two Pinions that have each registered one, both take the same.
    let listed = view.others.iter().rev().find(made_for_this).and_then(|revision| match &revision.target {
        RolloutTarget::TaskDefinition(arn) => Some(arn),
        _ => None,
    });
    // Listing lags behind: what this process has just made itself may not be there yet.
    let own = made.filter(|made| made.image.as_deref() == Some(image) && made_here(&made.marker));
    let mut marker = Marker {
        version: pin.version.clone(),
        commit: pin.provenance.commit.clone(),
        from: Some(view.current.name.clone()).filter(|from| *from != base),
        base,
        owner: Some(Named::Owner(owner)),
    };
    let found = listed.or(own.map(|made| &made.arn));
    if found.is_none() && has_room(&source.arn, source.tags, &marker).is_err() {
        // The owner's name is what it can do without.
        marker.owner = None;
        has_room(&source.arn, source.tags, &marker)?;
    }
    Ok(match found {
        Some(arn) => Action::UpdateService {
            cluster: service.cluster.clone(),
            service: service.name.clone(),
            task_definition: arn.clone(),
        },
        _ => Action::RegisterTaskDefinition {
            base: source.arn.clone(),
            family: family_of(&service.task_definition.arn).to_owned(),
            containers: names,
            image: image.to_owned(),
            marker,
        },
    })
}

/// The tags that a resource may have, those that AWS sets aside (*Tag naming limits and requirements* of ECS).
const MAX_TAGS: usize = 50;
/// Characters that a tag's value may have.
const MAX_TAG_VALUE: usize = 256;

/// Whether there is room for Pinion's tags beside those of others; what to do if not.
fn has_room(arn: &str, tags: usize, marker: &Marker) -> Result<(), String> {
    let ours = marker.tags().len();
    let short = short_arn(arn);
    if tags + ours > MAX_TAGS {
        return Err(format!(
            "task definition {short} has {} of its own, and Pinion marks what it registers with {ours} more, but AWS allows \
             {MAX_TAGS}: take {} from the task definition",
            words::count(tags, "tag"),
            words::count(tags + ours - MAX_TAGS, "tag"),
        ));
    }
    match marker.tags().iter().find(|(_, value)| value.chars().count() > MAX_TAG_VALUE) {
        Some((key, _)) => {
            Err(format!("the tag {key} would have more than the {MAX_TAG_VALUE} characters that AWS allows"))
        }
        None => Ok(()),
    }
}

/// What a marker calls a task definition: `family:revision`, of which the end counts where a tag's value can't hold it all.
#[must_use]
pub fn name_of(arn: &str) -> String {
    let short = short_arn(arn);
    short.get(short.len().saturating_sub(MAX_TAG_VALUE)..).unwrap_or(short).to_owned()
}

/// What a copy of a deregistered revision is made with.
pub(super) struct Copying<'a> {
    /// The pin whose rollout failed.
    pub(super) pin: &'a Pin,
    /// The revision that this process has registered last.
    pub(super) made: Option<&'a Made>,
    /// Who it is made for.
    pub(super) owner: Owner,
    /// Other people's tags on the revisions that are known, by their ARNs.
    pub(super) tags: BTreeMap<&'a str, usize>,
}

/// The way back of a service that is left on a task definition whose rollout failed: to the one that it was made from. Where
/// that was deregistered, a copy of it is registered first.
pub(super) fn way_back(service: &ObservedService, view: &View, base: &str, copying: Copying<'_>) -> Option<Action> {
    let known = view.others.iter().find(|revision| revision.name == base);
    let arn = match known.map(|revision| (&revision.target, revision.usable)) {
        Some((RolloutTarget::TaskDefinition(arn), true)) => arn.clone(),
        Some((RolloutTarget::TaskDefinition(arn), false)) => {
            // The oldest: of two Pinions that have each registered one, both take the same.
            let mut copies = view.others.iter().rev().filter(|revision| revision.usable);
            let listed = copies.find(|revision| view.restores(revision, base)).map(|revision| &revision.target);
            // Listing lags behind: what this process has just made itself may not be there yet.
            let from = &view.current.name;
            let own = copying
                .made
                .filter(|made| made.image.is_none() && made.marker.base == base && made.marker.from() == from.as_str());
            match (listed, own) {
                (Some(RolloutTarget::TaskDefinition(copy)), _) => copy.clone(),
                (_, Some(own)) => own.arn.clone(),
                _ => return copy_of(arn, known?, from, &copying),
            }
        }
        Some(_) => return None,
        // Deployed longer ago than ECS remembers; it is in the same account and region.
        None if base.len() < MAX_TAG_VALUE => format!("{}/{base}", service.task_definition.arn.rsplit_once('/')?.0),
        // The beginning of its name isn't known.
        None => return None,
    };
    let (cluster, service) = (service.cluster.clone(), service.name.clone());
    Some(Action::UpdateService { cluster, service, task_definition: arn })
}

/// The registration of a deregistered revision as it was, for a service that is on another one; `None` where there is no room
/// for Pinion's tags. Its marker says what is in it, and that it comes after what failed.
fn copy_of(arn: &str, original: &Revision, on: &str, copying: &Copying<'_>) -> Option<Action> {
    let (version, commit) = match &original.marker {
        Some(marker) => (marker.version.clone(), marker.commit.clone()),
        // Somebody else's: no commit released it here.
        None => (Version::try_from(original.described()).ok()?, copying.pin.provenance.commit.clone()),
    };
    let owner = Some(Named::Owner(copying.owner.clone()));
    let mut marker = Marker { version, commit, base: original.name.clone(), from: Some(on.to_owned()), owner };
    let tags = copying.tags.get(arn).copied().unwrap_or_default();
    if has_room(arn, tags, &marker).is_err() {
        // The owner's name is what it can do without.
        marker.owner = None;
        has_room(arn, tags, &marker).ok()?;
    }
    Some(Action::CopyTaskDefinition { base: arn.to_owned(), marker })
}

/// Whether an image can run where the task definition wants it to; what to change if not. An image that doesn't say what
/// it is for is believed.
fn runs_on(definition: &TaskDefinition, artifact: &Artifact) -> Result<(), String> {
    let Artifact::Image { image, architectures, .. } = artifact else { return Ok(()) };
    let wanted = definition.architecture.as_deref().unwrap_or("X86_64");
    let spelt = match wanted {
        "X86_64" => "amd64",
        "ARM64" => "arm64",
        _ => return Ok(()),
    };
    if architectures.is_empty() || architectures.contains(spelt) {
        return Ok(());
    }
    let offered = architectures.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    Err(format!(
        "{image} is an image index for {offered}, but task definition {} runs on {wanted}; push an image that has {spelt} \
         too, or change runtimePlatform.cpuArchitecture",
        short_arn(&definition.arn)
    ))
}

/// The containers whose image is ours, the first one first; at least one.
fn containers<'a>(service: &'a ObservedService, spec: &FargateSpec) -> Result<Vec<&'a Container>, String> {
    let name = &service.name;
    if service.status != "ACTIVE" {
        return Err(format!(
            "service {name} is {}; create it again, or take it out of environment.toml",
            service.status
        ));
    }
    if service.controller != "ECS" {
        // UpdateService takes `deploymentController` (botocore, ecs 2014-11-13). AWS documents the way from CODE_DEPLOY to ECS
        // and none from EXTERNAL, whose task sets belong to somebody else.
        let advice = match service.controller.as_str() {
            "CODE_DEPLOY" => {
                "move it to ECS, which keeps the service: UpdateService with deploymentController ECS \
                 (ECS's own blue/green deployments are served, too)"
            }
            _ => "create the service with controller ECS",
        };
        return Err(format!(
            "service {name} has the deployment controller {}, with which only that controller may change the task \
             definition; {advice}",
            service.controller
        ));
    }
    containers_in(&service.task_definition, spec)
}

/// The containers of a task definition whose image is ours, the first one first; at least one.
///
/// # Errors
/// Why it isn't known which they are, and what to change.
pub fn containers_in<'a>(definition: &'a TaskDefinition, spec: &FargateSpec) -> Result<Vec<&'a Container>, String> {
    let short = short_arn(&definition.arn);
    if definition.containers.is_empty() || definition.containers.iter().any(|container| container.name.is_empty()) {
        return Err(format!(
            "AWS doesn't say what the containers of task definition {short} are called; it is read again in each pass"
        ));
    }
    if !spec.containers.is_empty() {
        let found = spec.containers.iter().map(|wanted| {
            definition.containers.iter().find(|container| container.name == *wanted).ok_or_else(|| {
                format!(
                    "task definition {short} has no container `{wanted}` (it has {}); correct `container`",
                    names(definition.containers.iter())
                )
            })
        });
        return found.collect();
    }
    let mut essential = definition.containers.iter().filter(|container| container.essential);
    match (essential.next(), essential.next()) {
        (Some(only), None) => Ok(vec![only]),
        (Some(_), Some(_)) => Err(format!(
            "task definition {short} has several essential containers ({}); say with `container` which one is ours",
            names(definition.containers.iter().filter(|container| container.essential))
        )),
        (None, _) => {
            Err(format!("task definition {short} has no essential container; say with `container` which is ours"))
        }
    }
}

fn names<'a>(containers: impl Iterator<Item = &'a Container>) -> String {
    containers.map(|container| container.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The service deployments, and before them what `DescribeServices` shows of the primary deployment where they lag
/// behind it or don't exist.
fn rollouts(service: &ObservedService, history: Option<&Vec<Rollout>>) -> Vec<Rollout> {
    let mut rollouts = history.cloned().unwrap_or_default();
    let Some(primary) = service.deployments.iter().find(|deployment| deployment.primary) else { return rollouts };
    // Where ECS doesn't say how far it is, only the service deployments tell.
    if primary.rollout_state.is_empty() {
        return shares(rollouts, service);
    }
    let target = RolloutTarget::TaskDefinition(primary.task_definition.clone());
    let outcome = outcome(primary);
    let told = rollouts.iter().any(|rollout| rollout.outcome.is_active())
        || (!outcome.is_active() && rollouts.iter().any(|rollout| rollout.target == target));
    if !told {
        rollouts.insert(
            0,
            Rollout {
                id: RolloutId(primary.id.clone()),
                target,
                outcome,
                status: primary.rollout_state.clone(),
                reason: primary.reason.clone(),
                started: primary.created,
                ended: None,
                percentage: None,
                repeats: service
                    .deployments
                    .iter()
                    .filter(|one| !one.primary)
                    .all(|one| one.task_definition == primary.task_definition && one.rollout_state == "COMPLETED")
                    && service.deployments.len() > 1,
            },
        );
    }
    shares(rollouts, service)
}

/// How far the rollouts are that run, by the tasks.
fn shares(mut rollouts: Vec<Rollout>, service: &ObservedService) -> Vec<Rollout> {
    for rollout in rollouts.iter_mut().filter(|rollout| rollout.outcome == RolloutOutcome::Running) {
        let moved = service
            .deployments
            .iter()
            .find(|deployment| rollout.target == RolloutTarget::TaskDefinition(deployment.task_definition.clone()));
        if let Some(moved) = moved {
            let all = moved.desired.max(service.desired);
            let share = moved.running.saturating_mul(100).checked_div(all).unwrap_or(100).min(100);
            rollout.percentage = u8::try_from(share).ok();
        }
    }
    rollouts
}

/// Whether a service's only deployment is at rest though ECS doesn't say so: `rolloutState` is "only returned for services
/// that use the rolling update (`ECS`) deployment type" (ECS API reference, `Deployment`). The service deployments tell, once
/// they are read.
fn is_at_rest(service: &ObservedService, only: &ObservedDeployment, history: Option<&Vec<Rollout>>) -> bool {
    let Some(rollouts) = history.filter(|_| only.rollout_state.is_empty()) else { return false };
    let target = RolloutTarget::TaskDefinition(only.task_definition.clone());
    // A task that is replaced is no rollout; where none is known any more, the tasks have to be there.
    let succeeded =
        rollouts.first().is_some_and(|newest| newest.outcome == RolloutOutcome::Succeeded && newest.target == target);
    let complete = only.running >= only.desired.max(service.desired);
    (succeeded || complete) && !rollouts.iter().any(|rollout| rollout.outcome.is_active())
}

fn outcome(deployment: &ObservedDeployment) -> RolloutOutcome {
    match deployment.rollout_state.as_str() {
        "COMPLETED" => RolloutOutcome::Succeeded,
        "FAILED" => RolloutOutcome::Failed,
        _ => RolloutOutcome::Running,
    }
}

fn revision(definition: &TaskDefinition, ours: &[&str]) -> Revision {
    Revision {
        target: RolloutTarget::TaskDefinition(definition.arn.clone()),
        name: name_of(&definition.arn),
        image: images_of(&definition.containers, ours).first().map(|first| first.image.clone()),
        containers: images_of(&definition.containers, ours),
        marker: definition.marker.clone(),
        usable: definition.active,
        made: definition.made,
        made_by: definition.made_by.clone(),
        copied: false,
        untold: is_untold(&definition.containers, ours),
        shaped: true,
    }
}

/// Whether it isn't said which image one of our containers has: a task definition without containers, or with one that
/// has no name, is one of which AWS has left something out.
fn is_untold(containers: &[Container], ours: &[&str]) -> bool {
    let unsaid = |container: &Container| {
        container.name.is_empty() || (ours.contains(&container.name.as_str()) && container.image.is_empty())
    };
    containers.is_empty() || containers.iter().any(unsaid)
}

/// The images of our containers, in our order; none at all where one of them is missing.
fn images_of(containers: &[Container], ours: &[&str]) -> Vec<ContainerImage> {
    let image = |name: &&str| {
        let found = containers.iter().find(|container| container.name == **name && !container.image.is_empty())?;
        Some(ContainerImage { image: found.image.clone(), digest: None })
    };
    ours.iter().map(image).collect::<Option<_>>().unwrap_or_default()
}

/// What works, but needs somebody's attention.
pub(super) fn warnings(service: &ObservedService, spec: &FargateSpec, artifact: &Artifact) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some((tag, now)) = artifact.tag_moved_to() {
        warnings.push(format!(
            "the tag {tag} is on {now} by now; what counts is the pin's digest. An image that no tag is on any more may be \
             removed by the repository's lifecycle policy"
        ));
    }
    let ours = containers(service, spec).unwrap_or_default();
    let is_ours = |container: &Container| ours.iter().any(|one| one.name == container.name);
    let names = || names(ours.iter().copied());
    for sibling in service.task_definition.containers.iter().filter(|container| !is_ours(container)) {
        let digest = service.digests.get(&sibling.name);
        if same_repository(&sibling.image, artifact.identity()) && !artifact.is_named(&sibling.image, digest) {
            warnings.push(format!(
                "container {} stays on {} of the same repository, beside {} with the pinned image: if it is to follow the \
                 pin, too, name all of them: container = [{}, \"{}\"]",
                sibling.name,
                sibling.image,
                names(),
                ours.iter().map(|one| format!("\"{}\"", one.name)).collect::<Vec<_>>().join(", "),
                sibling.name
            ));
        }
    }
    warnings
}
