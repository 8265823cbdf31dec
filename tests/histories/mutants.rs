//! Ten controllers, each of which breaks one of the ten rules: by wrapped ports, or by what is done to its calls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::body::Bytes;
use pinion::aws::Aws;
use pinion::model::{
    Account, AccountId, Applied, Artifact, ArtifactQuery, CommitId, EnvironmentName, LocalRef, Marker, ObservedTarget,
    PortError, ResolveError, RolloutHistory, RolloutOutcome, TargetSpec, Version,
};
use pinion::plan::Action;
use pinion::ports::{Accounts, Apply, Observe};
use serde_json::Value;

use super::story::{Calls, Event, History, Trouble};
use super::world::account;

/// A broken rule. The order is that of the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Writes a size beside the image.
    MoreThanTheImage,
    /// Takes whatever is stable for what was wanted.
    StableIsSuccess,
    /// Starts refreshes without auto-rollback.
    NoRollback,
    /// Forgets failures.
    NoQuarantine,
    /// Doesn't recognise what an earlier process made.
    Forgetful,
    /// Makes each write twice in one pass.
    TwoAtOnce,
    /// Takes every account for the right one.
    AnyAccount,
    /// Has one queue for all accounts.
    OneQueueForAll,
    /// Takes everybody's rollouts for its own.
    AllIsOurs,
    /// Writes though all is well.
    Restless,
}

impl Mutant {
    pub(crate) const ALL: [Self; 10] = [
        Self::MoreThanTheImage,
        Self::StableIsSuccess,
        Self::NoRollback,
        Self::NoQuarantine,
        Self::Forgetful,
        Self::TwoAtOnce,
        Self::AnyAccount,
        Self::OneQueueForAll,
        Self::AllIsOurs,
        Self::Restless,
    ];

    /// The number of the rule that it breaks.
    pub(crate) fn rule(self) -> u8 {
        let index = Self::ALL.iter().position(|mutant| *mutant == self).unwrap();
        u8::try_from(index + 1).unwrap()
    }

    /// Whether a history has what it takes to show it: there is no use in trying the others.
    pub(crate) fn may_show(self, history: &History) -> bool {
        let has = |wanted: fn(&Event) -> bool| history.events.iter().any(|(_, event)| wanted(event));
        match self {
            Self::OneQueueForAll => {
                // A call that hangs long enough to meet a pass at rest.
                let hangs = has(|event| {
                    matches!(
                        event,
                        Event::Trouble { what: Trouble::Stall, calls: Calls::All | Calls::Reads, seconds: 60.., .. }
                    )
                });
                history.places.len() > 1 && hangs && !has(|event| matches!(event, Event::Crash { .. }))
            }
            Self::AnyAccount => has(|event| matches!(event, Event::Misroute { .. })),
            Self::AllIsOurs => has(|event| matches!(event, Event::Foreign { .. })),
            _ => true,
        }
    }

    /// What it makes of a request.
    pub(crate) fn request(self, operation: &str, body: Bytes) -> Bytes {
        match (self, operation) {
            (Self::MoreThanTheImage, "UpdateService") => {
                let mut params: Value = serde_json::from_slice(&body).unwrap();
                params["desiredCount"] = 2.into();
                params.to_string().into()
            }
            (Self::MoreThanTheImage, "CreateLaunchTemplateVersion") => {
                [&body, "&LaunchTemplateData.InstanceType=t3.nano".as_bytes()].concat().into()
            }
            _ => body,
        }
    }

    /// What it makes of an answer.
    pub(crate) fn answer(self, operation: &str, answer: String, environment: &str) -> String {
        if self != Self::AnyAccount || operation != "GetCallerIdentity" {
            return answer;
        }
        let (expected, other) = if environment.starts_with("one") { (0, 1) } else { (1, 0) };
        answer.replace(&account(other), &account(expected))
    }
}

/// The way into the accounts, for a mutant or a sound controller.
pub(crate) struct Doors {
    pub(crate) aws: Aws,
    pub(crate) mutant: Option<Mutant>,
    seen: Arc<Mutex<Seen>>,
}

/// What a mutant remembers of this life.
#[derive(Default)]
struct Seen {
    /// The identities that names have resolved to.
    artifacts: BTreeMap<String, String>,
    /// The ids of what was made.
    made: BTreeSet<String>,
}

impl Doors {
    pub(crate) fn new(aws: Aws, mutant: Option<Mutant>) -> Self {
        Self { aws, mutant, seen: Arc::default() }
    }
}

impl Accounts for Doors {
    fn reader(&self, environment: &EnvironmentName, account: &Account) -> Arc<dyn Observe> {
        let reader = self.aws.reader(environment, account);
        let Some(mutant) = self.mutant else { return reader };
        let writer = self.aws.writer(environment, account);
        Arc::new(Door { reader, writer, mutant, seen: Arc::clone(&self.seen) })
    }

    fn writer(&self, environment: &EnvironmentName, account: &Account) -> Arc<dyn Apply> {
        let writer = self.aws.writer(environment, account);
        let Some(mutant) = self.mutant else { return writer };
        let reader = self.aws.reader(environment, account);
        Arc::new(Door { reader, writer, mutant, seen: Arc::clone(&self.seen) })
    }
}

struct Door {
    reader: Arc<dyn Observe>,
    writer: Arc<dyn Apply>,
    mutant: Mutant,
    seen: Arc<Mutex<Seen>>,
}

impl Door {
    /// What a target's name has resolved to.
    fn artifact(&self, name: &str) -> Option<String> {
        self.seen.lock().unwrap().artifacts.get(name).cloned()
    }

    /// What a stable target is taken for.
    fn embellish(&self, target: &mut ObservedTarget) {
        match target {
            ObservedTarget::Group(group) => {
                let image = self.artifact(group.name.as_str());
                let number = group.current.as_ref().map(|current| current.number);
                let on = |one: &pinion::model::GroupInstance| one.template.as_ref().map(|(_, version)| *version);
                if let (Some(image), Some(current)) = (image, &mut group.current)
                    && group.instances.iter().all(|instance| on(instance) == number)
                {
                    current.image = Some(image);
                }
            }
            ObservedTarget::Service(service) => {
                if let (Some(image), [only]) = (self.artifact(service.name.as_str()), service.deployments.as_slice())
                    && only.rollout_state == "COMPLETED"
                {
                    service.task_definition.containers.iter_mut().for_each(|it| it.image.clone_from(&image));
                }
            }
            ObservedTarget::Missing(_) => {}
        }
    }

    /// A write that nothing asks for, to a target at rest.
    async fn fidget(&self, target: &ObservedTarget) {
        let action = match target {
            ObservedTarget::Service(service) => match service.deployments.as_slice() {
                [only] if only.rollout_state == "COMPLETED" => Action::UpdateService {
                    cluster: service.cluster.clone(),
                    service: service.name.clone(),
                    task_definition: service.task_definition.arn.clone(),
                },
                _ => return,
            },
            ObservedTarget::Group(group) => match (&group.template, &group.current) {
                (pinion::model::GroupTemplate::LaunchTemplate { template, .. }, Some(current)) => {
                    Action::NumberTemplate {
                        group: group.name.clone(),
                        template: template.clone(),
                        version: current.number,
                    }
                }
                _ => return,
            },
            ObservedTarget::Missing(_) => return,
        };
        drop(self.writer.apply(&action).await);
    }
}

fn claimed(base: String) -> Option<Marker> {
    let (version, commit) = (Version::try_from("1").unwrap(), CommitId::try_from("f".repeat(40)).unwrap());
    Some(Marker { version, commit, base, from: None, owner: None })
}

fn short(arn: &str) -> String {
    arn.rsplit('/').next().unwrap_or_default().to_owned()
}

#[async_trait]
impl Observe for Door {
    async fn identity(&self) -> Result<AccountId, PortError> {
        self.reader.identity().await
    }

    async fn resolve(
        &self,
        queries: &BTreeSet<ArtifactQuery>,
    ) -> BTreeMap<ArtifactQuery, Result<Artifact, ResolveError>> {
        let resolved = self.reader.resolve(queries).await;
        let mut seen = self.seen.lock().unwrap();
        for artifact in resolved.values().flatten() {
            let name = match artifact {
                Artifact::Ami { name, .. } => name.as_deref().and_then(|name| name.split('-').next()),
                other => other.identity().rsplit('/').next().and_then(|image| image.split(':').next()),
            };
            seen.artifacts.insert(name.unwrap_or_default().to_owned(), artifact.identity().to_owned());
        }
        drop(seen);
        resolved
    }

    async fn observe(
        &self,
        targets: &BTreeMap<LocalRef, TargetSpec>,
    ) -> BTreeMap<LocalRef, Result<ObservedTarget, PortError>> {
        let mut observed = self.reader.observe(targets).await;
        for target in observed.values_mut().flatten() {
            match self.mutant {
                Mutant::StableIsSuccess => self.embellish(target),
                Mutant::Restless => self.fidget(target).await,
                Mutant::AllIsOurs => {
                    if let ObservedTarget::Service(service) = target {
                        let base = service.deployments.iter().find(|deployment| !deployment.primary);
                        let base = base.map_or_else(|| "any".to_owned(), |before| short(&before.task_definition));
                        let current = &mut service.task_definition;
                        current.marker = current.marker.clone().or_else(|| claimed(base.clone()));
                        for deployment in &mut service.deployments {
                            deployment.marker = deployment.marker.clone().or_else(|| claimed(base.clone()));
                        }
                    }
                }
                _ => {}
            }
        }
        observed
    }

    async fn history(&self, observed: &ObservedTarget) -> Result<RolloutHistory, PortError> {
        let mut history = self.reader.history(observed).await?;
        let failed = |outcome: RolloutOutcome| {
            self.mutant == Mutant::NoQuarantine && matches!(outcome, RolloutOutcome::Failed | RolloutOutcome::Cancelled)
        };
        let forgotten = |id: &str, marker: &Option<Marker>| {
            self.mutant == Mutant::Forgetful && marker.is_some() && !self.seen.lock().unwrap().made.contains(id)
        };
        match &mut history {
            RolloutHistory::Group { refreshes, versions, .. } => {
                refreshes.retain(|rollout| !failed(rollout.outcome));
                versions.retain(|version| !forgotten(&version.number.to_string(), &version.marker));
                if let (Mutant::AllIsOurs, ObservedTarget::Group(group)) = (self.mutant, observed) {
                    let base = group.current.as_ref().map(|current| current.number.to_string()).unwrap_or_default();
                    for version in versions {
                        version.marker = version.marker.clone().or_else(|| claimed(base.clone()));
                    }
                }
            }
            RolloutHistory::Service { deployments, revisions, .. } => {
                deployments.retain(|rollout| !failed(rollout.outcome));
                revisions.retain(|revision| !forgotten(&revision.arn, &revision.marker));
            }
        }
        Ok(history)
    }

    async fn alarms(&self, names: &BTreeSet<String>) -> Result<BTreeMap<String, String>, PortError> {
        self.reader.alarms(names).await
    }

    fn forget(&self) {
        self.reader.forget();
    }
}

#[async_trait]
impl Apply for Door {
    async fn apply(&self, action: &Action) -> Result<Applied, PortError> {
        let mut action = action.clone();
        if let (Mutant::NoRollback, Action::StartRefresh { preferences, .. }) = (self.mutant, &mut action) {
            preferences.auto_rollback = false;
        }
        let mut applied = self.writer.apply(&action).await?;
        if self.mutant == Mutant::TwoAtOnce {
            applied = self.writer.apply(&action).await?;
        }
        self.seen.lock().unwrap().made.extend(applied.id.clone());
        Ok(applied)
    }
}
