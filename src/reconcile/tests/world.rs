//! AWS in memory, just deep enough for the loop: groups whose refreshes take their time, and accounts that misbehave.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;

use super::git::account;
use super::{PausedClock, secs};
use crate::clock::Clock as _;
use crate::model::*;
use crate::model::{Applied, ErrorClass, PortError, ResolveError};
use crate::plan::Action;
use crate::ports::{Accounts, Apply, Observe, Prober};

/// What an account was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// Targets were read: a pass began.
    Read,
    Forgot,
    /// A write was accepted.
    Wrote(String),
}

/// How an account behaves.
#[derive(Debug, Clone, Default)]
pub(super) struct Mood {
    /// It can't be asked whose the credentials are.
    pub(super) identity_fails: Option<ErrorClass>,
    pub(super) write_fails: Option<ErrorClass>,
    /// The credentials belong to another account.
    pub(super) outsider: bool,
    /// Reads never end.
    pub(super) hangs: bool,
    pub(super) panics: bool,
    pub(super) read_takes: Duration,
    pub(super) write_takes: Duration,
    /// Versions whose refreshes fail.
    pub(super) bad: BTreeSet<String>,
    /// Somebody cancels refreshes a second after their start.
    pub(super) cancels: bool,
    /// AWS's rate limits let no write for groups through whose names begin with this.
    pub(super) limited: Option<String>,
    /// Writes for groups whose names begin with this are answered after five minutes.
    pub(super) slow: Option<String>,
}

#[derive(Debug, Default)]
struct AccountState {
    mood: Mood,
    groups: BTreeMap<GroupName, Group>,
    /// Reads. A write may go on beside the next pass's.
    calls: Calls,
    writing: Calls,
    requests: usize,
}

/// Calls under way, and the most that ever were at once.
#[derive(Debug, Clone, Copy, Default)]
struct Calls {
    now: usize,
    most: usize,
}

impl Calls {
    fn begin(&mut self) {
        self.now += 1;
        self.most = self.most.max(self.now);
    }
}

#[derive(Debug)]
struct Group {
    /// The AMIs and markers of the launch template's versions, from number 1.
    versions: Vec<(String, Option<Marker>)>,
    on: u64,
    instances: Vec<u64>,
    /// Newest first, with when they end.
    refreshes: Vec<(Rollout, Timestamp)>,
}

pub(super) struct World {
    clock: Arc<PausedClock>,
    accounts: Mutex<BTreeMap<String, AccountState>>,
    journal: Mutex<Vec<(Duration, String, Event)>>,
    calls: Mutex<Calls>,
    /// What probes say, how long they take, and how many were sent.
    pub(super) probe: Mutex<(Result<(), String>, Duration, usize)>,
    /// How long a refresh takes.
    pub(super) refresh_takes: Mutex<Duration>,
}

impl World {
    pub(super) fn new(clock: Arc<PausedClock>) -> Self {
        Self {
            clock,
            accounts: Mutex::default(),
            journal: Mutex::default(),
            calls: Mutex::default(),
            probe: Mutex::new((Ok(()), Duration::ZERO, 0)),
            refresh_takes: Mutex::new(secs(120)),
        }
    }

    fn account<T>(&self, environment: &str, with: impl FnOnce(&mut AccountState) -> T) -> T {
        with(self.accounts.lock().unwrap().entry(environment.to_owned()).or_default())
    }

    /// Changes how an account behaves.
    pub(super) fn mood<T>(&self, environment: &str, change: impl FnOnce(&mut Mood) -> T) {
        self.account(environment, |account| change(&mut account.mood));
    }

    /// Somebody changes the image of the group `web` by hand.
    pub(super) fn meddle(&self, environment: &str) {
        self.account(environment, |account| {
            let group = account.groups.values_mut().next().unwrap();
            group.versions.push(("ami-web-9.9".to_owned(), None));
            group.on = u64::try_from(group.versions.len()).unwrap();
        });
    }

    fn note(&self, environment: &str, event: Event) {
        self.journal.lock().unwrap().push((self.clock.elapsed(), environment.to_owned(), event));
    }

    /// When an account was read, in seconds since the start.
    pub(super) fn reads(&self, environment: &str) -> Vec<f64> {
        let journal = self.journal.lock().unwrap();
        let of_it = journal.iter().filter(|(_, of, event)| of == environment && *event == Event::Read);
        of_it.map(|(at, ..)| at.as_secs_f64()).collect()
    }

    /// How often an account was asked who is there.
    pub(super) fn requests(&self, environment: &str) -> usize {
        self.account(environment, |account| account.requests)
    }

    pub(super) fn forgot(&self, environment: &str) -> usize {
        let journal = self.journal.lock().unwrap();
        journal.iter().filter(|(_, of, event)| of == environment && *event == Event::Forgot).count()
    }

    /// The writes that an account has accepted.
    pub(super) fn writes(&self, environment: &str) -> Vec<String> {
        let journal = self.journal.lock().unwrap();
        let events = journal.iter().filter(|(_, of, _)| of == environment);
        let writes = events.filter_map(|(.., event)| match event {
            Event::Wrote(action) => Some(action.clone()),
            _ => None,
        });
        writes.collect()
    }

    /// How many refreshes an account has seen.
    pub(super) fn refreshes(&self, environment: &str) -> usize {
        self.writes(environment).iter().filter(|write| write.starts_with("refresh ")).count()
    }

    /// The most calls that were under way at once: in this account, and in all.
    pub(super) fn most_at_once(&self, environment: &str) -> (usize, usize) {
        (self.account(environment, |account| account.calls.most), self.calls.lock().unwrap().most)
    }

    pub(super) fn most_writes_at_once(&self, environment: &str) -> usize {
        self.account(environment, |account| account.writing.most)
    }

    pub(super) fn probes(&self) -> usize {
        self.probe.lock().unwrap().2
    }
}

/// One call; counted as under way while this lives.
struct Call<'a> {
    world: &'a World,
    environment: &'a str,
}

impl<'a> Call<'a> {
    fn begin(world: &'a World, environment: &'a str) -> Self {
        world.account(environment, |account| account.calls.begin());
        world.calls.lock().unwrap().begin();
        Self { world, environment }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.world.account(self.environment, |account| account.calls.now -= 1);
        self.world.calls.lock().unwrap().now -= 1;
    }
}

/// A write, likewise.
struct Writing<'a>(&'a Door);

impl<'a> Writing<'a> {
    fn begin(door: &'a Door) -> Self {
        door.world.account(&door.environment, |account| account.writing.begin());
        Self(door)
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.world.account(&self.0.environment, |account| account.writing.now -= 1);
    }
}

/// The way into one account.
struct Door {
    world: Arc<World>,
    environment: String,
}

impl Accounts for Doors {
    fn reader(&self, environment: &EnvironmentName, to: &Account) -> Arc<dyn Observe> {
        Arc::new(self.door(environment, to))
    }

    fn writer(&self, environment: &EnvironmentName, to: &Account) -> Arc<dyn Apply> {
        Arc::new(self.door(environment, to))
    }
}

impl Doors {
    /// The account that an environment names: its own, or that of the environment from which it was copied.
    fn door(&self, environment: &EnvironmentName, to: &Account) -> Door {
        let copied = ["dev", "prod"].into_iter().find(|name| account(name) == to.id);
        let environment = copied.unwrap_or(environment.as_str()).to_owned();
        Door { world: Arc::clone(&self.0), environment }
    }
}

/// Opens the world's accounts.
pub(super) struct Doors(pub(super) Arc<World>);

impl Door {
    fn with<T>(&self, group: &GroupName, with: impl FnOnce(&mut Group, &Mood) -> T) -> T {
        self.world.account(&self.environment, |account| {
            let AccountState { mood, groups, .. } = account;
            let group = groups.entry(group.clone()).or_insert_with(|| Group {
                versions: vec![(format!("ami-{group}-1.0"), None)],
                on: 1,
                instances: vec![1, 1],
                refreshes: Vec::new(),
            });
            group.settle(mood, self.world.clock.now());
            with(group, mood)
        })
    }

    fn mood(&self) -> Mood {
        self.world.account(&self.environment, |account| account.mood.clone())
    }
}

impl Group {
    /// Ends the newest refresh if its time has come.
    fn settle(&mut self, mood: &Mood, now: Timestamp) {
        let Some((refresh, ends)) = self.refreshes.first_mut() else { return };
        if !refresh.outcome.is_active() || now < *ends {
            return;
        }
        let RolloutTarget::TemplateVersion(to) = refresh.target else { panic!("no version") };
        let image = &self.versions[usize::try_from(to).unwrap() - 1].0;
        refresh.ended = Some(*ends);
        let (outcome, status) = if refresh.outcome == RolloutOutcome::Undoing || mood.cancels {
            (RolloutOutcome::Cancelled, "Cancelled")
        } else if mood.bad.iter().any(|bad| image.ends_with(bad)) {
            self.instances.fill(self.on);
            (RolloutOutcome::Failed, "RollbackSuccessful")
        } else {
            self.on = to;
            self.instances.fill(to);
            (RolloutOutcome::Succeeded, "Successful")
        };
        (refresh.outcome, refresh.status) = (outcome, status.to_owned());
    }

    fn version(&self, name: &GroupName, number: u64) -> TemplateVersion {
        let (image, marker) = self.versions[usize::try_from(number).unwrap() - 1].clone();
        TemplateVersion {
            template: format!("lt-{name}"),
            number,
            image: Some(image),
            instance_type: None,
            instance_requirements: false,
            marker,
            sought: None,
            members: BTreeMap::new(),
            made: Some(Timestamp::MAX),
            made_by: None,
        }
    }

    fn observed(&self, name: &GroupName) -> ObservedTarget {
        let instance = |(index, version): (usize, &u64)| GroupInstance {
            id: format!("i-{index}"),
            lifecycle: "InService".to_owned(),
            healthy: true,
            template: Some((format!("lt-{name}"), *version)),
            image: None,
            configuration: false,
        };
        ObservedTarget::Group(Box::new(ObservedGroup {
            name: name.clone(),
            template: GroupTemplate::LaunchTemplate {
                template: TemplateRef { id: format!("lt-{name}"), name: name.to_string() },
                version: TemplateVersionSpec::Number(self.on),
            },
            current: Some(self.version(name, self.on)),
            instances: self.instances.iter().enumerate().map(instance).collect(),
            desired_capacity: 2,
            traits: GroupTraits::default(),
            launched: BTreeMap::new(),
        }))
    }

    fn apply(&mut self, action: &Action, now: Timestamp, takes: Duration) -> Applied {
        let id = match action {
            Action::CreateTemplateVersion { image, marker, .. } => {
                self.versions.push((image.clone(), Some(marker.clone())));
                self.versions.len().to_string()
            }
            Action::StartRefresh { version, .. } => {
                let id = format!("refresh-{}", self.refreshes.len() + 1);
                let refresh = Rollout {
                    id: RolloutId(id.clone()),
                    target: RolloutTarget::TemplateVersion(*version),
                    outcome: RolloutOutcome::Running,
                    status: "InProgress".to_owned(),
                    reason: None,
                    started: Some(now),
                    ended: None,
                    percentage: Some(50),
                    repeats: false,
                };
                self.instances[0] = *version;
                self.refreshes.insert(0, (refresh, now + SignedDuration::try_from(takes).unwrap()));
                id
            }
            Action::CancelRefresh { refresh, .. } => {
                let (running, ends) = self.refreshes.first_mut().unwrap();
                assert_eq!(running.id, *refresh);
                (running.outcome, running.status) = (RolloutOutcome::Undoing, "Cancelling".to_owned());
                *ends = now + SignedDuration::from_secs(5);
                refresh.0.clone()
            }
            other => panic!("not part of this world: {other}"),
        };
        Applied { id: Some(id), warning: None }
    }
}

fn group_of(action: &Action) -> GroupName {
    let name = match action {
        Action::CreateTemplateVersion { template, .. } => &template.name,
        Action::StartRefresh { group, .. } | Action::CancelRefresh { group, .. } => group.as_str(),
        other => panic!("not part of this world: {other}"),
    };
    GroupName::try_from(name).unwrap()
}

#[async_trait]
impl Observe for Door {
    async fn identity(&self) -> Result<AccountId, PortError> {
        let _call = Call::begin(&self.world, &self.environment);
        let number = self.world.account(&self.environment, |account| {
            account.requests += 1;
            account.requests
        });
        match self.mood().identity_fails {
            Some(class) => Err(error(class, "AssumeRole", number)),
            None if self.mood().outsider => Ok(account("other")),
            None => Ok(account(&self.environment)),
        }
    }

    async fn resolve(
        &self,
        queries: &BTreeSet<ArtifactQuery>,
    ) -> BTreeMap<ArtifactQuery, Result<Artifact, ResolveError>> {
        let artifact = |query: &ArtifactQuery| match query {
            ArtifactQuery::Ami(AmiQuery::Name { name, .. }) => Artifact::Ami {
                id: format!("ami-{name}"),
                name: Some(name.clone()),
                architecture: None,
                deprecated: false,
                root_device: None,
            },
            other => panic!("not part of this world: {other:?}"),
        };
        queries.iter().map(|query| (query.clone(), Ok(artifact(query)))).collect()
    }

    async fn observe(
        &self,
        targets: &BTreeMap<LocalRef, TargetSpec>,
    ) -> BTreeMap<LocalRef, Result<ObservedTarget, PortError>> {
        self.world.note(&self.environment, Event::Read);
        let _call = Call::begin(&self.world, &self.environment);
        let mood = self.mood();
        assert!(!mood.panics, "the test wants a panic");
        sleep(mood.read_takes).await;
        if mood.hangs {
            std::future::pending::<()>().await;
        }
        let observed = |spec: &TargetSpec| match spec {
            TargetSpec::Asg(asg) => self.with(&asg.group, |group, _| group.observed(&asg.group)),
            TargetSpec::Fargate(_) => panic!("not part of this world"),
        };
        targets.iter().map(|(local, spec)| (local.clone(), Ok(observed(spec)))).collect()
    }

    async fn history(&self, observed: &ObservedTarget) -> Result<RolloutHistory, PortError> {
        let ObservedTarget::Group(group) = observed else { panic!("not part of this world") };
        let name = &group.name;
        Ok(self.with(name, |group, _| {
            let count = u64::try_from(group.versions.len()).unwrap();
            RolloutHistory::Group {
                refreshes: group.refreshes.iter().map(|(refresh, _)| refresh.clone()).collect(),
                versions: (1..=count).rev().map(|number| group.version(name, number)).collect(),
                users: Some(Vec::new()),
                complete: true,
            }
        }))
    }

    async fn alarms(&self, names: &BTreeSet<String>) -> Result<BTreeMap<String, String>, PortError> {
        Ok(names.iter().map(|name| (name.clone(), "OK".to_owned())).collect())
    }

    fn forget(&self) {
        self.world.note(&self.environment, Event::Forgot);
    }
}

#[async_trait]
impl Apply for Door {
    async fn apply(&self, action: &Action) -> Result<Applied, PortError> {
        let _write = Writing::begin(self);
        let mood = self.mood();
        let slow = mood.slow.is_some_and(|prefix| group_of(action).as_str().starts_with(&prefix));
        sleep(if slow { secs(300) } else { mood.write_takes }).await;
        if let Some(class) = mood.write_fails {
            return Err(error(class, action.operation(), self.world.requests(&self.environment)));
        }
        let takes = if mood.cancels { secs(1) } else { *self.world.refresh_takes.lock().unwrap() };
        let applied = self.with(&group_of(action), |group, _| group.apply(action, self.world.clock.now(), takes));
        self.world.note(&self.environment, Event::Wrote(action.to_string()));
        Ok(applied)
    }

    async fn turn(&self, action: &Action) {
        if self.mood().limited.is_some_and(|prefix| group_of(action).as_str().starts_with(&prefix)) {
            std::future::pending::<()>().await;
        }
    }
}

/// An error with another request id every time, as AWS's have.
fn error(class: ErrorClass, operation: &'static str, number: usize) -> PortError {
    PortError {
        class,
        service: "autoscaling",
        operation,
        code: class.as_str().to_owned(),
        message: "the test wants it so".to_owned(),
        request_id: Some(format!("request-{number}")),
        throttled: false,
    }
}

#[async_trait]
impl Prober for World {
    async fn probe(&self, _: &Probe) -> Result<(), String> {
        let (verdict, takes) = {
            let mut probe = self.probe.lock().unwrap();
            probe.2 += 1;
            (probe.0.clone(), probe.1)
        };
        sleep(takes).await;
        verdict
    }
}
