//! `kill -9` before and after every single AWS call of a rollout, and a new start: the same end, nothing done twice, and
//! no quarantine lost. The list of calls comes from a run that nobody disturbs; each point is a run of its own, with a

//! simulator of its own that holds the call until the controller is dead.

mod cases;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use cases::{ACCOUNT, Before, CASES, Case, WORLD};
use pinion::sim::{Options, Sim, SimHandle, World};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::support::loopback;
use crate::support::stage::git::Repo;
use crate::support::stage::http::Application;
use crate::support::stage::process::{Process, TIMEOUT, figure, now, pinion};
use crate::support::stage::view::Call;
use crate::support::stage::{self, Fleet, REGION, http};
use crate::support::turn;

const DEV: &str = "222222222222";
/// How many points are tried at the same time: each mostly waits for the controller's next pass.
const AT_ONCE: usize = 32;
/// Seconds of the simulator's time that pass with each call, and none else: how a rollout goes doesn't depend on how busy
/// this machine is.
const PER_CALL: u64 = 5;

/// Where the controller is killed: at the n-th call of an operation, counted from 0, before or after its effect.
#[derive(Debug, Clone)]
struct Point {
    service: String,
    operation: String,
    nth: usize,
    when: &'static str,
}

/// What a run came to.
#[derive(Debug, PartialEq)]
struct End {
    state: Value,
    running: Value,
    artifact: Value,
    updated: Value,
    total: Value,
}

/// One run: a simulator, and a controller that is to bring about the release.
struct Run<'a> {
    case: &'a Case,
    /// Ends before the simulator does.
    controller: Option<Process>,
    sim: SimHandle,
    folder: TempDir,
    address: String,
}

impl<'a> Run<'a> {
    /// In the world of the case, or in one that was left.
    fn new(case: &'a Case, url: &str, left: Option<&Value>, runtime: &Runtime) -> Self {
        let folder = TempDir::new().unwrap();
        let state = left.map(|left| {
            let path = folder.path().join("world.json");
            std::fs::write(&path, left.to_string()).unwrap();
            path
        });
        let world = stage::changed(WORLD, case.world);
        let options = Options { listen: loopback::own(), speed: 0.0, state, ..Options::default() };
        let sim = runtime.block_on(Sim::start(World::parse(&world).unwrap(), options)).unwrap();
        let configuration = format!(
            "cache_dir = \"cache\"\n[[repository]]\nurl = \"{url}\"\nbranch = \"main\"\ninterval = \"1h\"\n\
             [reconcile]\ninterval = \"1s\"\nin_flight_interval = \"1s\"\n[server]\nlisten = \"127.0.0.1:0\"\n"
        );
        std::fs::write(folder.path().join("pinion.toml"), configuration).unwrap();
        let run = Self { case, sim, folder, controller: None, address: String::new() };
        run.ask("POST", "/_sim/speed", &json!({ "speed": 0, "per_call": PER_CALL }));
        run
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.sim.endpoint());
        let headers = [("Content-Type", "application/json")];
        let (status, text) = http::request(method, &url, &headers, &body.to_string()).unwrap();
        assert_eq!(status, 200, "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    fn get(&self, path: &str) -> Value {
        self.ask("GET", path, &Value::Null)
    }

    fn start(&mut self) {
        let mut command = pinion(self.folder.path());
        command
            .args(["run", "--config", "pinion.toml"])
            .env("AWS_ENDPOINT_URL", self.sim.endpoint())
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", REGION);
        let log = self.folder.path().join("controller.log");
        let from = std::fs::metadata(&log).map_or(0, |log| usize::try_from(log.len()).unwrap());
        let mut controller = Process::start("pinion run", &mut command, log);
        self.address = controller.wait_for("where it listens", from, |output| {
            output.lines().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line["message"] == "listening").then(|| line["address"].as_str().unwrap().to_owned())
            })
        });
        self.controller = Some(controller);
    }

    /// The environment as the controller shows it.
    fn environment(&self) -> Value {
        let answer = http::get(&format!("http://{}/api/v1/status", self.address));
        let (_, text) = answer.filter(|(status, _)| *status == 200).unwrap_or_default();
        serde_json::from_str::<Value>(&text).unwrap_or_default()["environments"]["dev"].take()
    }

    fn target(&self) -> Value {
        self.environment()["targets"][self.case.target].take()
    }

    fn wait<T>(&self, what: &str, find: impl Fn(&Self) -> Option<T>) -> T {
        let limit = now() + TIMEOUT;
        loop {
            if let Some(found) = find(self) {
                return found;
            }
            assert!(now() < limit, "not within {TIMEOUT:?}: {what}; {:#}\n{}", self.target(), self.shown());
            std::thread::sleep(Duration::from_millis(40));
        }
    }

    /// Whether the wanted state is there, and nothing is on its way back any more.
    fn is_over(&self) -> bool {
        let target = self.target();
        let on_its_way = target["reason"].as_str().is_some_and(|reason| reason.contains("what it left"));
        target["state"] == self.case.state && !on_its_way
    }

    /// Waits for the wanted state, and makes sure that the pass after it writes nothing.
    fn end(&self) -> End {
        let passes = |run: &Self| run.environment()["passes"].as_u64().unwrap_or_default();
        self.wait(&format!("it is {}", self.case.state), |run| run.is_over().then_some(()));
        let (seen, last) = (passes(self), self.calls(0).last().map_or(0, |call| call.sequence));
        self.wait("another pass", |run| (passes(run) > seen).then_some(()));
        let late: Vec<String> = self.calls(last).iter().filter(|call| call.write).map(ToString::to_string).collect();
        assert_eq!(late, Vec::<String>::new(), "a pass after the end writes nothing");
        // As it is after that pass: the one that saw the end may have read the instances a moment before it.
        let target = self.target();
        let part = |name: &str| target[name].clone();
        End {
            state: part("state"),
            running: part("running"),
            artifact: part("artifact"),
            updated: part("updated"),
            total: part("total"),
        }
    }

    fn calls(&self, since: u64) -> Vec<Call> {
        serde_json::from_value(self.get(&format!("/_sim/journal?since={since}"))["entries"].take()).unwrap()
    }

    /// Makes sure that what happened, happened once.
    fn check(&self) {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for call in self.calls(0).into_iter().filter(|call| call.write && call.status == 200) {
            *counts.entry(call.operation).or_default() += 1;
        }
        let wanted = self.case.writes.iter().map(|(name, times)| ((*name).to_owned(), *times));
        assert_eq!(counts, wanted.collect(), "each step as often as it should be\n{}", self.shown());
        let held = self.get("/_sim/state")["accounts"][DEV]["regions"][REGION].take();
        (self.case.ended_well)(&Fleet(self.get("/_sim/fleet")), &held);
    }

    /// Runs until the call of the point is held, kills the controller, and starts another one.
    fn killed_at(&mut self, point: &Point) -> End {
        let fault = json!({
            "kind": "hold", "service": point.service, "operation": point.operation,
            "skip": point.nth, "times": 1, "when": point.when,
        });
        self.ask("POST", "/_sim/faults", &fault);
        self.start();
        self.wait("the call is made", |run| {
            let held = run.get("/_sim/held?millis=200")["held"].take();
            held.as_array().filter(|held| !held.is_empty()).map(|_| ())
        });
        self.controller.take().unwrap().kill();
        self.start();
        self.end()
    }

    fn shown(&self) -> String {
        let calls: Vec<String> = self.calls(0).iter().map(ToString::to_string).collect();
        let log = std::fs::read_to_string(self.folder.path().join("controller.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n");
        format!("{}\n{tail}", calls.join("\n"))
    }
}

/// A repository whose tip is the release.
fn repository(case: &Case, pin: &str, health: &str) -> Repo {
    let repo = Repo::new();
    let files = case.files.replace("{health}", health);
    repo.write("environments/dev/environment.toml", format!("{ACCOUNT}{files}"));
    repo.write("environments/dev/pins.toml", pin);
    repo.commit("release");
    repo.push();
    repo
}

/// The points of a run that nobody disturbed, and its end.
type Plain = (Vec<Point>, End);

/// A case as all its runs begin.
struct Scene<'a> {
    case: &'a Case,
    url: String,
    left: Option<Value>,
}

impl<'a> Scene<'a> {
    /// The scene, and the repository that it is of.
    fn new(case: &'a Case, health: &str, runtime: &Runtime) -> (Self, Repo) {
        let repo = repository(case, case.pin, health);
        let url = repo.file_url();
        let left = case.before.as_ref().map(|before| {
            let earlier = (before.pin != case.pin).then(|| repository(case, before.pin, health));
            went_before(case, before, &earlier.as_ref().map_or(url.clone(), Repo::file_url), runtime)
        });
        (Self { case, url, left }, repo)
    }

    fn run(&self, runtime: &Runtime) -> Run<'a> {
        Run::new(self.case, &self.url, self.left.as_ref(), runtime)
    }
}

/// The world that is left when an earlier rollout is where it should be.
fn went_before(case: &Case, before: &Before, url: &str, runtime: &Runtime) -> Value {
    let mut run = Run::new(case, url, None, runtime);
    run.start();
    run.wait("what comes before", |run| (before.until)(&Fleet(run.get("/_sim/fleet"))).then_some(()));
    run.controller.take().unwrap().kill();
    let role = "arn:aws:iam::222222222222:role/pinion";
    match before.then {
        Some((operation, given)) if given.starts_with('{') => {
            stage::by_hand(&run.sim.endpoint(), role, operation, &serde_json::from_str(given).unwrap());
        }
        Some((operation, given)) => stage::by_hand_in_a_group(&run.sim.endpoint(), role, operation, given),
        None => {}
    }
    run.get("/_sim/state")
}

/// Runs a case that nobody disturbs.
fn points(scene: &Scene<'_>, runtime: &Runtime) -> Plain {
    let mut run = scene.run(runtime);
    run.start();
    run.wait("the rollout ends", |run| run.is_over().then_some(()));
    let calls = run.calls(0);
    let end = run.end();
    run.check();
    let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut points = Vec::new();
    for call in calls {
        let nth = seen.entry((call.service.clone(), call.operation.clone())).or_default();
        for when in ["before", "after"] {
            let (service, operation) = (call.service.clone(), call.operation.clone());
            points.push(Point { service, operation, nth: *nth, when });
        }
        *nth += 1;
    }
    (points, end)
}

/// The message of a panic.
fn told(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}

#[test]
fn killed_before_and_after_every_call() {
    let _turn = turn::mine();
    let started = now();
    let runtime = Runtime::new().unwrap();
    let application = Application::answering(500);
    let health = application.url("/health");
    let plain: Vec<((Scene<'_>, Repo), Plain)> = std::thread::scope(|scope| {
        let begin = |case| {
            let (health, runtime) = (&health, &runtime);
            scope.spawn(move || {
                let (scene, repo) = Scene::new(case, health, runtime);
                let plain = points(&scene, runtime);
                ((scene, repo), plain)
            })
        };
        let all: Vec<_> = CASES.iter().map(begin).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let all = plain.iter().flat_map(|((scene, _), (points, end))| points.iter().map(move |point| (scene, point, end)));
    let queue: Mutex<VecDeque<(&Scene<'_>, &Point, &End)>> = Mutex::new(all.collect());
    let failures: Mutex<Vec<String>> = Mutex::default();
    let total = queue.lock().unwrap().len();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap().pop_front();
                    let Some((scene, point, end)) = next else { break };
                    let (case, mut run) = (scene.case, scene.run(&runtime));
                    let tried = catch_unwind(AssertUnwindSafe(|| {
                        assert_eq!(run.killed_at(point), *end, "the same end");
                        run.check();
                    }));
                    if let Err(panic) = tried {
                        let (why, shown) = (told(panic.as_ref()), run.shown());
                        failures.lock().unwrap().push(format!("{} at {point:?}: {why}\n{shown}", case.name));
                    }
                }
            });
        }
    });
    for ((scene, _), (points, _)) in &plain {
        let (name, points) = (scene.case.name, points.len());
        figure(&format!("crash matrix, {name}: {} calls, {points} points", points / 2));
    }
    figure(&format!("crash matrix: {total} points in {} s", started.elapsed().as_secs()));
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {total} points failed:\n{}", failures.len(), failures.join("\n\n"));
    let few = plain.iter().find(|(_, (points, _))| points.len() < 20);
    assert!(few.is_none(), "{} has few calls", few.map_or("", |((scene, _), _)| scene.case.name));
}

#[test]
fn a_repository_without_the_release_does_nothing() {
    let runtime = Runtime::new().unwrap();
    let case = Case { pin: "frontend = \"1.4.0\"\n", ..CASES[0] };
    let repo = repository(&case, case.pin, "");
    let mut run = Run::new(&case, &repo.file_url(), None, &runtime);
    run.start();
    assert_eq!(run.end().state, "in-sync");
    assert!(Path::new(&run.folder.path().join("cache")).is_dir());
    assert!(run.calls(0).iter().all(|call| !call.write), "{}", run.shown());
}

/// A controller that was left running by a killed test once deployed its version in a simulator that had got the same port.
#[test]
fn who_asks_for_a_simulator_that_is_gone_reaches_no_other() {
    let runtime = Runtime::new().unwrap();
    let start = |listen| {
        let options = Options { listen, speed: 0.0, ..Options::default() };
        runtime.block_on(Sim::start(World::parse(WORLD).unwrap(), options)).unwrap()
    };
    let gone = start(loopback::own());
    let (endpoint, port) = (gone.endpoint(), gone.endpoint().rsplit_once(':').unwrap().1.parse().unwrap());
    drop(gone);
    let mut listen = loopback::own();
    listen.set_port(port);
    let other = start(listen);
    assert!(http::get(&format!("{}/_sim/state", other.endpoint())).is_some());
    assert!(http::get(&format!("{endpoint}/_sim/state")).is_none(), "{endpoint} is answered by {}", other.endpoint());
}
