//! One history in this process, in paused time: the real loop, planner and AWS room over the simulator's own engine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use pinion::aws::{Aws, Keys, Options};
use pinion::claims::Coverage;
use pinion::clock::Clock;
use pinion::metrics::Metrics;
use pinion::model::Installation;
use pinion::model::status::{Snapshot, Status};
use pinion::model::{Probe, Session, State};
use pinion::plan::change_limit::ChangeLimits;
use pinion::ports::{NoEventSink, Prober, RecordCalls};
use pinion::reconcile::{self, Intervals, Parts, Resyncs, Source, StatusStore};
use pinion::sim::{Local, World};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::git::Git;
use super::mutants::{Doors, Mutant};
use super::rules::{Book, Broken};
use super::story::{Calls, Event, History, Shape, Trouble, Version};
use super::wire::{Call, Death, Wire};
use super::world::{Target, account, begin, environment, environment_file, targets, tree, world_file};

const INTERVALS: Intervals = Intervals {
    steady: secs(60),
    in_flight: secs(10),
    base: secs(300),
    after_write: secs(1),
    backoff_first: secs(1),
    backoff_longest: secs(60),
};
/// For how long a history may go on after its last event until all is at rest.
const TIMEOUT: Duration = secs(3 * 3600);

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A clock that goes with tokio's, and can be set.
#[derive(Debug)]
struct PausedClock {
    began: Instant,
    offset: Mutex<SignedDuration>,
}

impl PausedClock {
    fn new() -> Self {
        Self { began: Instant::now(), offset: Mutex::default() }
    }
}

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.began.elapsed()).unwrap();
        Timestamp::from_second(1_800_000_000).unwrap() + elapsed + *self.offset.lock().unwrap()
    }
}

struct NoProbes;

#[async_trait]
impl Prober for NoProbes {
    async fn probe(&self, _: &Probe) -> Result<(), String> {
        Ok(())
    }
}

/// What a history came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) broken: Vec<Broken>,
    pub(crate) calls: usize,
    pub(crate) writes: usize,
    pub(crate) rollouts: usize,
    pub(crate) deaths: usize,
    /// What happened, for people.
    pub(crate) told: Vec<String>,
}

/// Runs a history to its end, with a sound controller or one that breaks a rule.
pub(crate) fn run(history: &History, mutant: Option<Mutant>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async { Play::new(history, mutant).await.play(history).await })
}

/// A controller that lives.
struct Life {
    task: JoinHandle<Result<(), String>>,
    resyncs: Arc<Resyncs>,
    status: watch::Receiver<Arc<Snapshot>>,
}

struct Play {
    targets: Vec<Target>,
    wire: Arc<Wire>,
    calls: mpsc::UnboundedReceiver<Call>,
    git: Arc<Git>,
    clock: Arc<PausedClock>,
    book: Book,
    life: Option<Life>,
    mutant: Option<Mutant>,
    /// The pin of each target.
    pins: Vec<Version>,
    /// Whether somebody else had a hand in each target's rollouts.
    meddled: Vec<bool>,
    in_sync: BTreeMap<usize, bool>,
    outcome: Outcome,
}

impl Play {
    async fn new(history: &History, mutant: Option<Mutant>) -> Self {
        begin();
        let targets = targets(history);
        let aws_clock = Arc::new(PausedClock::new());
        let file = world_file(history, &targets);
        let world = World::parse(&file).unwrap_or_else(|error| panic!("{error:?}\n{file}"));
        let options = pinion::sim::Options { clock: Arc::clone(&aws_clock) as _, ..Default::default() };
        let (wire, calls) = Wire::new(Local::new(world, options).unwrap(), mutant);
        let git = Arc::new(Git::new(aws_clock, tree(history, &targets)));
        let mut play = Self {
            pins: vec![Version::One; targets.len()],
            meddled: vec![false; targets.len()],
            book: Book::new(&targets),
            targets,
            wire,
            calls,
            git,
            clock: Arc::new(PausedClock::new()),
            life: None,
            mutant,
            in_sync: BTreeMap::new(),
            outcome: Outcome::default(),
        };
        play.start().await;
        play
    }

    async fn start(&mut self) {
        let metrics = Arc::new(Metrics::new().unwrap());
        let aws = Aws::over(
            Options {
                endpoint_url: None,
                keys: Some(Keys { access_key_id: "AKIATEST".to_owned(), secret_access_key: "secret".into() }),
                session: Session::Run,
                recorder: Arc::clone(&metrics) as Arc<dyn RecordCalls>,
                clock: Arc::clone(&self.clock) as _,
            },
            self.wire.line(),
        )
        .await;
        let (status_store, resyncs) = (Arc::new(StatusStore::default()), Arc::new(Resyncs::default()));
        status_store.start([("memory".to_owned(), "main".to_owned())]);
        let source = Source {
            repository: Arc::clone(&self.git) as _,
            url: "memory".to_owned(),
            branches: BTreeMap::from([("main".to_owned(), reconcile::Branch { coverage: Coverage::All, place: 0 })]),
            interval: secs(15),
        };
        let status = status_store.subscribe();
        let parts = Parts {
            installation: Installation::default(),
            sources: vec![source],
            accounts: Arc::new(Doors::new(aws, self.mutant)),
            prober: Arc::new(NoProbes),
            clock: Arc::clone(&self.clock) as _,
            metrics,
            status_store,
            resyncs: Arc::clone(&resyncs),
            events: Arc::new(NoEventSink),
            change_limits: ChangeLimits::default(),
            pace: INTERVALS,
            concurrency: 16,
        };
        let task = tokio::spawn(reconcile::run(parts, CancellationToken::new()));
        self.in_sync.clear();
        self.life = Some(Life { task, resyncs, status });
    }

    fn kill(&mut self) {
        if let Some(life) = self.life.take() {
            life.task.abort();
            self.outcome.deaths += 1;
        }
    }

    fn tell(&mut self, what: String) {
        self.outcome.told.push(format!("{:7.1} {what}", self.wire.elapsed().as_secs_f64()));
    }

    async fn play(mut self, history: &History) -> Outcome {
        self.wait(secs(5)).await;
        for (seconds, event) in &history.events {
            if self.is_found_out() {
                break;
            }
            self.wait(secs((*seconds).into())).await;
            self.tell(format!("== {event:?}"));
            self.happen(event).await;
        }
        self.end().await;
        self.outcome.broken = self.book.broken;
        self.outcome
    }

    /// Lets time pass, and looks at what the controller does and says meanwhile.
    async fn wait(&mut self, long: Duration) {
        let until = Instant::now() + long;
        while self.look(until).await {}
    }

    /// Waits for the next thing that the controller does, says or dies of; not beyond a time. Whether it is before that.
    async fn look(&mut self, until: Instant) -> bool {
        let Some(life) = &mut self.life else {
            sleep_until(until).await;
            return false;
        };
        tokio::select! {
            biased;
            Some(call) = self.calls.recv() => self.note(&call),
            changed = life.status.changed() => {
                if changed.is_err() {
                    let what = "the controller ended unexpectedly".to_owned();
                    self.book.broken.push(Broken { rule: 0, what });
                    self.life = None;
                    return false;
                }
                self.judge(false).await;
            }
            () = sleep_until(until) => return false,
        }
        true
    }

    fn note(&mut self, call: &Call) {
        self.outcome.calls += 1;
        if call.is_write() {
            self.outcome.writes += 1;
            let begins = ["StartInstanceRefresh", "UpdateService"].contains(&call.operation.as_str());
            self.outcome.rollouts += usize::from(begins && call.status == 200);
        }
        if call.is_write() || call.status != 200 {
            let Call { environment, operation, status, params, .. } = call;
            let params = if call.is_write() { params.to_string() } else { String::new() };
            self.outcome
                .told
                .push(format!("{:7.1} {environment} {operation} {status} {params}", call.at.as_secs_f64()));
        }
        self.book.call(call);
    }

    /// Judges what the controller claims.
    async fn judge(&mut self, last: bool) {
        let Some(life) = &mut self.life else { return };
        let status = Status::from(&**life.status.borrow_and_update());
        while let Ok(call) = self.calls.try_recv() {
            self.note(&call);
        }
        for index in 0..self.targets.len() {
            let target = self.targets[index].clone();
            let Some(environment) = status.environments.get(&environment(target.place)) else { continue };
            let Some(said) = environment.targets.get(&target.local()) else { continue };
            let now = said.state == State::InSync;
            let before = self.in_sync.insert(index, now).unwrap_or(false);
            if !before || !now {
                let known = self.outcome.told.last().is_some_and(|line| line.contains("said"));
                if !known || before != now {
                    let reason = said.reason.clone().unwrap_or_default();
                    self.tell(format!("said {} {} {reason}", target.local(), said.state));
                }
            }
            if now && (!before || last) {
                let fleet = self.wire.fleet(&account(target.place)).await;
                let at = self.wire.elapsed();
                self.book.claimed(index, &said.desired, &fleet, at, last);
            }
        }
    }

    async fn happen(&mut self, event: &Event) {
        let now = self.wire.elapsed();
        let place = |number: &u8| usize::from(*number) % (self.targets.last().unwrap().place + 1);
        let index = |number: &u8| usize::from(*number) % self.targets.len();
        match event {
            Event::Pin { target, version } => {
                let index = index(target);
                let (place, name) = (self.targets[index].place, self.targets[index].name.clone());
                let (old, new) = (self.pins[index].name(), version.name());
                self.pins[index] = *version;
                self.git.commit(|tree| {
                    let pins = tree.get_mut(&pins_of(place)).unwrap();
                    *pins = pins.replace(&format!("{name} = \"{old}\""), &format!("{name} = \"{new}\""));
                });
            }
            Event::Break { place: number } => {
                let path = file_of(place(number));
                self.git.commit(|tree| drop(tree.insert(path, "nonsense = ".to_owned())));
            }
            Event::Fix { place: number } => self.fix(place(number)),
            Event::Retry => {
                if let Some(life) = &self.life {
                    life.resyncs.request(true);
                    self.book.retry(now);
                }
            }
            Event::Crash { calls, after, down } => {
                self.wire.die(Death { calls: *calls, after: *after });
                let limit = Instant::now() + secs(150);
                let wire = Arc::clone(&self.wire);
                while !wire.is_dead() && Instant::now() < limit {
                    tokio::select! {
                        () = wire.died.notified() => {}
                        () = self.wait(secs(1)) => {}
                    }
                }
                self.kill();
                for place in 0..=self.targets.last().unwrap().place {
                    self.book.disturb(place, now + secs(200));
                }
                while let Ok(call) = self.calls.try_recv() {
                    self.note(&call);
                }
                sleep(secs((*down).into())).await;
                self.start().await;
            }
            Event::Trouble { place: number, what, calls, times, seconds } => {
                let place = place(number);
                self.trouble(place, *what, *calls, *times, *seconds).await;
            }
            Event::Foreign { target } => self.foreign(index(target)).await,
            Event::Cancel { target } => {
                let index = index(target);
                self.meddle(index);
                let target = self.targets[index].clone();
                self.cancel(&target).await;
            }
            Event::Capacity { target, desired } => {
                let index = index(target);
                let target = self.targets[index].clone();
                self.book.disturb(target.place, now + secs(30));
                let (service, operation, params) = if target.is_group() {
                    let params = json!({ "AutoScalingGroupName": target.name, "DesiredCapacity": desired.to_string() });
                    ("autoscaling", "SetDesiredCapacity", params)
                } else {
                    let params = json!({ "cluster": "app", "service": target.name, "desiredCount": desired });
                    ("ecs", "UpdateService", params)
                };
                self.by_hand(&target, service, operation, &params).await;
            }
            Event::Terminate { target } => {
                let target = self.targets[index(target)].clone();
                self.book.disturb(target.place, now + secs(30));
                let fleet = self.wire.fleet(&account(target.place)).await;
                let instance = fleet["groups"][&target.name]["instances"][0]["id"].clone();
                if instance.is_string() && fleet["groups"][&target.name]["instances"][0]["lifecycle"] == "InService" {
                    let body = json!({ "account": account(target.place), "instance": instance });
                    self.wire.ask("POST", "/_sim/terminate-instance", &body).await;
                }
            }
            Event::Clock { seconds } => {
                self.book.clock(now);
                *self.clock.offset.lock().unwrap() += SignedDuration::from_secs((*seconds).into());
            }
            Event::Misroute { place: number, seconds } => {
                let place = place(number);
                let other = account(1 - place);
                // Credentials that are good still aren't asked for again: the ones in use are over.
                self.wire.misroute(&account(place), &other, *seconds);
                self.book.disturb(place, now + secs(u64::from(*seconds) + 130));
                let fault = json!({ "account": account(place), "kind": "expire", "times": 1 });
                self.wire.ask("POST", "/_sim/faults", &fault).await;
            }
        }
    }

    fn fix(&self, place: usize) {
        let text = environment_file(place, &self.targets);
        self.git.commit(|tree| drop(tree.insert(file_of(place), text)));
    }

    fn meddle(&mut self, index: usize) {
        self.meddled[index] = true;
        let (place, now) = (self.targets[index].place, self.wire.elapsed());
        self.book.disturb(place, now + secs(30));
    }

    async fn trouble(&mut self, place: usize, what: Trouble, calls: Calls, times: u8, seconds: u8) {
        let (kind, when, more) = match what {
            Trouble::Throttle => ("throttle", "before", json!({})),
            Trouble::Error => ("error", "before", json!({ "status": 503, "code": "ServiceUnavailable" })),
            Trouble::ErrorAfter => ("error", "after", json!({})),
            Trouble::Drop => ("drop", "before", json!({})),
            Trouble::DropAfter => ("drop", "after", json!({})),
            Trouble::Cut => ("cut", "after", json!({})),
            Trouble::Garbage => ("garbage", "before", json!({})),
            Trouble::Gateway => ("gateway", "before", json!({ "status": 500 })),
            Trouble::Slow => ("slow", "before", json!({ "millis": 8000 })),
            Trouble::Stall => ("stall", "before", json!({})),
            Trouble::Lag => ("lag", "before", json!({ "millis": 2000 + 500 * u64::from(times) })),
            Trouble::Expire => ("expire", "before", json!({})),
            Trouble::Revoke => ("revoke", "before", json!({})),
        };
        let roles = ["AssumeRole"];
        let reads =
            ["DescribeAutoScalingGroups", "DescribeServices", "DescribeInstanceRefreshes", "ListTaskDefinitions"];
        let writes = [
            "CreateLaunchTemplateVersion",
            "StartInstanceRefresh",
            "UpdateAutoScalingGroup",
            "RegisterTaskDefinition",
            "UpdateService",
        ];
        let operations: &[&str] = match calls {
            Calls::All => &[],
            Calls::Reads => &reads,
            Calls::Writes => &writes,
            Calls::Roles => &roles,
        };
        let mut fault = json!({ "kind": kind, "when": when, "lasts": u64::from(seconds) * 1000 });
        if what != Trouble::Lag {
            fault["times"] = times.into();
        }
        if calls != Calls::Roles {
            fault["account"] = account(place).into();
        }
        fault.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        if operations.is_empty() {
            self.wire.ask("POST", "/_sim/faults", &fault).await;
        }
        for operation in operations {
            fault["operation"] = (*operation).into();
            self.wire.ask("POST", "/_sim/faults", &fault).await;
        }
        let until = self.wire.elapsed() + secs(u64::from(seconds) + 130);
        for other in 0..=self.targets.last().unwrap().place {
            if other == place || calls == Calls::Roles {
                self.book.disturb(other, until);
                if what == Trouble::Lag {
                    self.book.lag(other, until);
                }
            }
        }
        if what == Trouble::Revoke {
            self.book.disturb(place, until + secs(4000));
        }
    }

    async fn by_hand(&self, target: &Target, service: &str, operation: &str, params: &Value) -> (u16, String) {
        let account = account(target.place);
        let call = self.wire.by_hand(&account, service, operation, params);
        timeout(secs(1), call).await.unwrap_or_default()
    }

    /// Somebody else rolls out an image of theirs.
    async fn foreign(&mut self, index: usize) {
        self.meddle(index);
        let target = self.targets[index].clone();
        let image = target.image("theirs");
        if target.is_group() {
            let fleet = self.wire.fleet(&account(target.place)).await;
            let template = fleet["groups"][&target.name]["template"]["id"].as_str().unwrap().to_owned();
            let version = json!({
                "LaunchTemplateId": template, "SourceVersion": "1", "LaunchTemplateData.ImageId": image,
            });
            let (status, answer) = self.by_hand(&target, "ec2", "CreateLaunchTemplateVersion", &version).await;
            let number = answer.split_once("<versionNumber>").and_then(|(_, rest)| rest.split_once('<'));
            if let (200, Some((number, _))) = (status, number) {
                let refresh = json!({
                    "AutoScalingGroupName": target.name,
                    "DesiredConfiguration.LaunchTemplate.LaunchTemplateId": template,
                    "DesiredConfiguration.LaunchTemplate.Version": number,
                });
                self.by_hand(&target, "autoscaling", "StartInstanceRefresh", &refresh).await;
            }
        } else {
            let mut definition = target.definition();
            definition["containerDefinitions"][0]["image"] = image.into();
            let (status, answer) = self.by_hand(&target, "ecs", "RegisterTaskDefinition", &definition).await;
            let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
            if status == 200 {
                let update = json!({
                    "cluster": "app", "service": target.name,
                    "taskDefinition": answer["taskDefinition"]["taskDefinitionArn"],
                });
                self.by_hand(&target, "ecs", "UpdateService", &update).await;
            }
        }
        let fleet = self.wire.fleet(&account(target.place)).await;
        while let Ok(call) = self.calls.try_recv() {
            self.note(&call);
        }
        self.book.foreign(index, &fleet, self.wire.elapsed());
    }

    /// Somebody else stops whatever rollout runs.
    async fn cancel(&mut self, target: &Target) {
        if target.is_group() {
            let params = json!({ "AutoScalingGroupName": target.name });
            self.by_hand(target, "autoscaling", "CancelInstanceRefresh", &params).await;
        } else {
            let fleet = self.wire.fleet(&account(target.place)).await;
            let records = fleet["services"][format!("app/{}", target.name)]["service_deployments"].clone();
            let newest = records.as_array().and_then(|all| all.last()).map(|one| one["arn"].clone());
            if let Some(arn) = newest {
                let params = json!({ "serviceDeploymentArn": arn, "stopType": "ROLLBACK" });
                self.by_hand(target, "ecs", "StopServiceDeployment", &params).await;
            }
        }
    }

    fn ends(&self, index: usize) -> Vec<State> {
        ends(self.targets[index].shape, self.pins[index], self.meddled[index], self.resized())
    }

    /// Whether a mutant has shown what it is.
    fn is_found_out(&self) -> bool {
        self.mutant.is_some_and(|mutant| self.book.broken.iter().any(|broken| broken.rule == mutant.rule()))
    }

    fn resized(&self) -> bool {
        self.outcome.told.iter().any(|line| line.contains("== Capacity"))
    }

    fn states(&self) -> Vec<Option<(State, String)>> {
        let Some(life) = &self.life else { return vec![None; self.targets.len()] };
        let status = Status::from(&**life.status.borrow());
        let state = |target: &Target| {
            let environment = status.environments.get(&environment(target.place))?;
            let said = environment.targets.get(&target.local())?;
            Some((said.state, said.reason.clone().unwrap_or_default()))
        };
        self.targets.iter().map(state).collect()
    }

    /// The last events are over: all comes to rest, and then nothing is written any more, not even by a new process.
    async fn end(&mut self) {
        self.wire.ask("DELETE", "/_sim/faults", &Value::Null).await;
        self.wire.route();
        for place in 0..=self.targets.last().unwrap().place {
            self.fix(place);
        }
        self.tell("== all is fixed".to_owned());
        let began = Instant::now();
        let rests = |play: &Self| {
            let states = play.states();
            let good = |(index, said): (usize, &Option<(State, String)>)| {
                said.as_ref().is_some_and(|(state, _)| play.ends(index).contains(state))
            };
            states.iter().enumerate().all(good)
        };
        let (mut quiet, mut restless) = (0, 0);
        while quiet < 2 {
            let writes = self.outcome.writes;
            self.wait(secs(100)).await;
            let rests = rests(self);
            quiet = if rests && self.outcome.writes == writes { quiet + 1 } else { 0 };
            if self.is_found_out() {
                return;
            }
            restless = if rests && quiet == 0 { restless + 1 } else { 0 };
            if restless > 8 {
                self.book.broken.push(Broken { rule: 10, what: "all is well, and it writes on and on".to_owned() });
                return;
            }
            if began.elapsed() > TIMEOUT {
                let states = self.states();
                let names: Vec<&str> = (0..states.len()).map(|index| self.book.target_name(index)).collect();
                let what = format!("it doesn't come to rest: {names:?} {states:?} with pins {:?}", self.pins);
                self.book.broken.push(Broken { rule: 0, what });
                return;
            }
        }
        self.judge(true).await;
        let writes = self.outcome.writes;
        self.kill();
        self.tell("== a new process".to_owned());
        self.start().await;
        self.wait(secs(150)).await;
        self.judge(true).await;
        if self.outcome.writes != writes {
            let what = format!("all was at rest, and {} writes came after it", self.outcome.writes - writes);
            self.book.broken.push(Broken { rule: 10, what });
        }
        if !rests(self) {
            let what = format!("a new process sees it otherwise: {:?}", self.states());
            self.book.broken.push(Broken { rule: 5, what });
        }
        self.kill();
    }
}

/// What a target may come to when nothing happens any more: with its pin, if somebody else had a hand in its rollouts, if
/// sizes were changed.
pub(crate) fn ends(shape: Shape, pin: Version, meddled: bool, resized: bool) -> Vec<State> {
    let (Shape::Group { desired, .. } | Shape::Service { desired, .. }) = shape;
    let mut ends = match pin {
        Version::Missing => vec![State::Blocked],
        // Nothing runs, so that nothing shows how bad it is; or nothing ran at the time.
        Version::Bad if desired == 0 || resized => vec![State::InSync, State::Quarantined, State::Overdue],
        Version::Bad => vec![State::Quarantined, State::Overdue],
        _ => vec![State::InSync],
    };
    if meddled {
        ends.extend([State::Quarantined, State::InSync, State::Overdue]);
    }
    ends
}

pub(crate) fn pins_of(place: usize) -> String {
    format!("environments/{}/pins.toml", environment(place))
}

pub(crate) fn file_of(place: usize) -> String {
    format!("environments/{}/environment.toml", environment(place))
}
