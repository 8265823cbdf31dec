//! A model of AWS just deep enough for properties: it obeys actions, and its rollouts end at once or fail.

use super::*;

/// One account with one group and one service.
#[derive(Debug, Clone)]
pub(super) struct World {
    /// The versions of the template, from number 1: the frontend's version in each, and its marker.
    pub(super) templates: Vec<(String, Option<Marker>)>,
    pub(super) numbered: bool,
    pub(super) group_on: u64,
    pub(super) instances: Vec<u64>,
    pub(super) refreshes: Vec<Rollout>,
    /// The revisions of the task definition, from number 1.
    pub(super) revisions: Vec<(String, Option<Marker>)>,
    pub(super) service_on: u64,
    pub(super) deployments: Vec<Rollout>,
    /// Versions whose rollouts fail and are rolled back.
    pub(super) bad: BTreeSet<String>,
    pub(super) writes: usize,
    clock: i64,
}

impl World {
    pub(super) fn new(frontend: &str, backend: &str, numbered: bool, instances: usize) -> Self {
        Self {
            templates: vec![(frontend.to_owned(), None)],
            numbered,
            group_on: 1,
            instances: vec![1; instances],
            refreshes: Vec::new(),
            revisions: vec![(backend.to_owned(), None)],
            service_on: 1,
            deployments: Vec::new(),
            bad: BTreeSet::new(),
            writes: 0,
            clock: 1,
        }
    }

    fn template(&self, number: u64) -> TemplateVersion {
        let (version, marker) = self.templates[usize::try_from(number).unwrap() - 1].clone();
        groups::version_of(number, &version, marker)
    }

    fn arn(revision: u64) -> String {
        format!("arn:aws:ecs:us-west-1:222222222222:task-definition/api:{revision}")
    }

    fn definition(&self, revision: u64) -> TaskDefinition {
        let (version, marker) = self.revisions[usize::try_from(revision).unwrap() - 1].clone();
        let container = Container { name: "app".to_owned(), image: image(&version), essential: true };
        TaskDefinition {
            arn: Self::arn(revision),
            containers: vec![container],
            architecture: None,
            marker,
            active: true,
            tags: 0,
            made: Some(at(1)),
            made_by: None,
        }
    }

    pub(super) fn observe(&self, environment: &Environment) -> Observed {
        let template = TemplateRef { id: "lt-1".to_owned(), name: "frontend".to_owned() };
        let version =
            if self.numbered { TemplateVersionSpec::Number(self.group_on) } else { TemplateVersionSpec::Latest };
        let group = ObservedTarget::Group(Box::new(ObservedGroup {
            name: GroupName::try_from("frontend").unwrap(),
            template: GroupTemplate::LaunchTemplate { template, version },
            current: Some(self.template(self.group_on)),
            instances: self
                .instances
                .iter()
                .enumerate()
                .map(|(index, version)| GroupInstance {
                    id: format!("i-{index}"),
                    lifecycle: "InService".to_owned(),
                    healthy: true,
                    template: Some(("lt-1".to_owned(), *version)),
                    image: None,
                    configuration: false,
                })
                .collect(),
            desired_capacity: u32::try_from(self.instances.len()).unwrap(),
            traits: GroupTraits::default(),
            launched: BTreeMap::new(),
        }));
        let definition = self.definition(self.service_on);
        let service = ObservedTarget::Service(Box::new(ObservedService {
            cluster: ClusterName::try_from("app").unwrap(),
            name: ServiceName::try_from("api").unwrap(),
            arn: "arn:aws:ecs:us-west-1:222222222222:service/app/api".to_owned(),
            status: "ACTIVE".to_owned(),
            controller: "ECS".to_owned(),
            breaker: true,
            deployments: vec![ObservedDeployment {
                id: "ecs-svc/1".to_owned(),
                primary: true,
                task_definition: definition.arn.clone(),
                marker: definition.marker.clone(),
                containers: definition.containers.clone(),
                rollout_state: "COMPLETED".to_owned(),
                reason: None,
                created: Some(at(0)),
                failed: 0,
                desired: 2,
                running: 2,
            }],
            task_definition: definition,
            desired: 2,
            running: 2,
            digests: BTreeMap::new(),
        }));
        let mut observed = Observed {
            bases: BTreeMap::new(),
            identity: Some(Ok(environment.account.id.clone())),
            alarms: None,
            unasked: BTreeMap::new(),
            artifacts: artifacts(environment),
            targets: BTreeMap::from([(web(), Ok(group)), (api(), Ok(service))]),
            histories: BTreeMap::new(),
        };
        let numbers = |list: &[(String, Option<Marker>)]| (1..=u64::try_from(list.len()).unwrap()).rev();
        for local in needs_history(environment, &observed, &Memory::default(), at(10)) {
            let history = if local == web() {
                RolloutHistory::Group {
                    refreshes: self.refreshes.clone(),
                    versions: numbers(&self.templates).map(|number| self.template(number)).collect(),
                    users: Some(Vec::new()),
                    complete: true,
                }
            } else {
                RolloutHistory::Service {
                    deployments: self.deployments.clone(),
                    revisions: numbers(&self.revisions).map(|number| self.definition(number)).collect(),
                    complete: true,
                }
            };
            observed.histories.insert(local, Ok(history));
        }
        observed
    }

    fn ended(&mut self, target: RolloutTarget, version: &str) -> Rollout {
        self.clock += 1;
        let outcome = if self.bad.contains(version) { RolloutOutcome::Failed } else { RolloutOutcome::Succeeded };
        Rollout { target, ..groups::refresh("r", 0, outcome, self.clock) }
    }

    pub(super) fn apply(&mut self, action: &Action) {
        self.writes += 1;
        match action {
            Action::NumberTemplate { version, .. } => {
                self.numbered = true;
                self.group_on = *version;
            }
            Action::CreateTemplateVersion { image, marker, .. } => {
                let version = image.strip_prefix("ami-").unwrap().to_owned();
                self.templates.push((version, Some(marker.clone())));
                if !self.numbered {
                    self.group_on = u64::try_from(self.templates.len()).unwrap();
                }
            }
            Action::StartRefresh { version, .. } => {
                assert!(self.numbered, "a refresh that could not be rolled back");
                let name = self.templates[usize::try_from(*version).unwrap() - 1].0.clone();
                let rollout = self.ended(RolloutTarget::TemplateVersion(*version), &name);
                if rollout.outcome == RolloutOutcome::Succeeded {
                    self.group_on = *version;
                    self.instances.fill(*version);
                }
                self.refreshes.insert(0, rollout);
            }
            Action::RegisterTaskDefinition { image, marker, .. } => {
                let version = image.rsplit_once(':').unwrap().1.to_owned();
                self.revisions.push((version, Some(marker.clone())));
            }
            Action::UpdateService { task_definition, .. } => {
                let revision: u64 = task_definition.rsplit_once(':').unwrap().1.parse().unwrap();
                let name = self.revisions[usize::try_from(revision).unwrap() - 1].0.clone();
                let rollout = self.ended(RolloutTarget::TaskDefinition(task_definition.clone()), &name);
                if rollout.outcome == RolloutOutcome::Succeeded {
                    self.service_on = revision;
                }
                self.deployments.insert(0, rollout);
            }
            Action::NumberPolicy { .. }
            | Action::RefreshPolicy { .. }
            | Action::CancelRefresh { .. }
            | Action::RollbackRefresh { .. }
            | Action::RollBackDeployment { .. }
            | Action::Verify { .. } => {
                panic!("nothing runs that {action} could be about")
            }
        }
    }
}
