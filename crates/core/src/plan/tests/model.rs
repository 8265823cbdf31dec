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
    /// The revisions that somebody has deregistered.
    pub(super) inactive: BTreeSet<u64>,
    /// Whether a service stays on what has failed, as with a circuit breaker that rolls nothing back.
    pub(super) stays: bool,
    /// Versions whose rollouts fail and are rolled back.
    pub(super) bad: BTreeSet<String>,
    pub(super) writes: usize,
    /// Minutes: when what happens next happens.
    pub(super) clock: i64,
    /// Whether somebody else is moving the service, or refreshing the group, and from where.
    pub(super) foreign: BTreeMap<LocalRef, u64>,
}

/// A revision's version and marker, by number from 1.
pub(super) type Made = [(String, Option<Marker>)];

pub(super) fn numbered(made: &Made, number: u64) -> &(String, Option<Marker>) {
    &made[usize::try_from(number).unwrap() - 1]
}

/// The number that a marker's member names.
fn number_in(name: &str) -> u64 {
    name.rsplit(':').next().unwrap().parse().unwrap()
}

/// The numbers of the revisions that somebody else has made, newest first.
pub(super) fn others(made: &Made) -> impl Iterator<Item = u64> + '_ {
    let all = (1..=u64::try_from(made.len()).unwrap()).rev();
    all.filter(|number| numbered(made, *number).1.is_none())
}

/// Whose shape a revision has, and those of Pinion's between.
pub(super) fn recorded(made: &Made, on: u64) -> (u64, BTreeSet<u64>) {
    let (mut number, mut through) = (on, BTreeSet::new());
    while let Some(marker) = &numbered(made, number).1 {
        through.insert(number);
        number = number_in(&marker.base);
    }
    (number, through)
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
            inactive: BTreeSet::new(),
            stays: false,
            bad: BTreeSet::new(),
            writes: 0,
            clock: 1,
            foreign: BTreeMap::new(),
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
            active: !self.inactive.contains(&revision),
            tags: 0,
            made: Some(at(1)),
            made_by: None,
        }
    }

    fn number_of(arn: &str) -> u64 {
        arn.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// The deployment that another one replaces.
    fn leaving(&self, from: u64) -> ObservedDeployment {
        let definition = self.definition(from);
        ObservedDeployment {
            id: "ecs-svc/0".to_owned(),
            primary: false,
            task_definition: definition.arn,
            marker: definition.marker,
            containers: definition.containers,
            rollout_state: "COMPLETED".to_owned(),
            reason: None,
            created: Some(at(0)),
            failed: 0,
            desired: 0,
            running: 1,
        }
    }

    fn service_state(&self) -> &'static str {
        if self.foreign.contains_key(&api()) {
            return "IN_PROGRESS";
        }
        let on = RolloutTarget::TaskDefinition(Self::arn(self.service_on));
        let failed = |rollout: &Rollout| rollout.target == on && rollout.outcome == RolloutOutcome::Failed;
        if self.deployments.first().is_some_and(failed) { "FAILED" } else { "COMPLETED" }
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
                rollout_state: self.service_state().to_owned(),
                reason: None,
                created: Some(at(0)),
                failed: 0,
                desired: 2,
                running: 2,
            }]
            .into_iter()
            .chain(self.foreign.get(&api()).map(|from| self.leaving(*from)))
            .collect(),
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
        for (local, target) in &environment.targets {
            if target.base.rule().is_some() {
                observed.bases.insert(local.clone(), Ok(self.bases(local)));
            }
        }
        let numbers = |list: &Made| (1..=u64::try_from(list.len()).unwrap()).rev();
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

    /// What is found of the revisions of others, as long as those that Pinion makes are known by their markers.
    fn bases(&self, local: &LocalRef) -> Bases {
        let is_group = *local == web();
        let (made, on) = if is_group { (&self.templates, self.group_on) } else { (&self.revisions, self.service_on) };
        let name = |number: u64| if is_group { number.to_string() } else { format!("api:{number}") };
        let revision = |number: u64| {
            if is_group {
                BaseSource::TemplateVersions(vec![self.template(number)])
            } else {
                BaseSource::TaskDefinition(Box::new(self.definition(number)))
            }
        };
        let (base, through) = recorded(made, on);
        let newest = others(made).next().filter(|newest| *newest > base);
        Bases {
            registered_by: BTreeSet::new(),
            recorded: name(base),
            through: through.into_iter().map(name).collect(),
            newest: newest.map(|newest| Base { name: name(newest), revision: revision(newest), changes: Vec::new() }),
        }
    }

    /// Somebody else moves a target to a revision; `end` says when it is there.
    pub(super) fn move_by_hand(&mut self, local: &LocalRef, to: u64) {
        self.clock += 1;
        let is_group = *local == web();
        let on = if is_group { &mut self.group_on } else { &mut self.service_on };
        let from = std::mem::replace(on, to);
        self.foreign.insert(local.clone(), from);
        let target = if is_group { RolloutTarget::Other } else { RolloutTarget::TaskDefinition(Self::arn(to)) };
        let id = format!("theirs-{}", self.clock);
        let rollout = Rollout { target, ..groups::refresh(&id, 0, RolloutOutcome::Running, self.clock) };
        if is_group { self.refreshes.insert(0, rollout) } else { self.deployments.insert(0, rollout) }
    }

    /// What others have begun is over.
    pub(super) fn end(&mut self) {
        for local in std::mem::take(&mut self.foreign).into_keys() {
            let of_group = local == web();
            if of_group {
                self.instances.fill(self.group_on);
            }
            let rollouts = if of_group { &mut self.refreshes } else { &mut self.deployments };
            for rollout in rollouts.iter_mut().filter(|rollout| rollout.outcome.is_active()) {
                rollout.outcome = RolloutOutcome::Succeeded;
            }
        }
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
            Action::CopyTaskDefinition { base, marker } => {
                let (version, _) = self.revisions[usize::try_from(Self::number_of(base)).unwrap() - 1].clone();
                self.revisions.push((version, Some(marker.clone())));
            }
            Action::UpdateService { task_definition, .. } => {
                let revision = Self::number_of(task_definition);
                assert!(!self.inactive.contains(&revision), "AWS takes no revision that was deregistered");
                let name = self.revisions[usize::try_from(revision).unwrap() - 1].0.clone();
                let rollout = self.ended(RolloutTarget::TaskDefinition(task_definition.clone()), &name);
                if rollout.outcome == RolloutOutcome::Succeeded || self.stays {
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
