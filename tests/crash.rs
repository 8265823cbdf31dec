//! `kill -9` before and after every single AWS call of a rollout, and a new start: the same end, nothing done twice, and
//! no quarantine lost. The list of calls comes from a run that nobody disturbs; each point is a run of its own, with a
//! stand-in of its own that holds the call until the controller is dead.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and then shows what it saw"
)]

#[path = "support/stage.rs"]
mod stage;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use pinion::sim::{Options, Sim, SimHandle, World};
use serde_json::{Value, json};
use stage::git::Repo;
use stage::process::{PATIENCE, Process, figure, now, pinion};
use stage::view::Call;
use stage::{Fleet, REGION, http};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const DEV: &str = "222222222222";
/// How many points are tried at the same time: each mostly waits for the controller's next pass.
const AT_ONCE: usize = 20;
/// Seconds of the stand-in's time that pass with each call, and none else: how a rollout goes doesn't depend on how busy
/// this machine is.
const PER_CALL: u64 = 5;

const WORLD: &str = r#"
controller = "111111111111"
region = "us-west-1"

[timing]
boot = 6
unhealthy = 4
terminate = 2
refresh_start = 2
no_progress = 40
provision = 2
pull = 2
settle = 4
drain = 2

[[account]]
id = "222222222222"
name = "dev"
role = [{ name = "pinion" }]
image = [
    { id = "ami-0f000000000001400", name = "frontend-1.4.0" },
    { id = "ami-0f000000000001401", name = "frontend-1.4.1" },
    { id = "ami-0f000000000001402", name = "frontend-1.4.2", healthy = false },
]
launch_template = [{ name = "frontend", version = [{ data = { ImageId = "ami-0f000000000001400" } }] }]
group = [{ name = "frontend", launch_template = "frontend", version = "$Default", desired = 2, warmup = 2 }]

[[account.repository]]
name = "api"
image = [{ tags = ["1"] }, { tags = ["2"] }, { tags = ["3"], behaviour = "exits" }]

[[account.task_definition]]
[account.task_definition.definition]
family = "api"
networkMode = "awsvpc"
requiresCompatibilities = ["FARGATE"]
cpu = "256"
memory = "512"
containerDefinitions = [
    { name = "app", image = "222222222222.dkr.ecr.us-west-1.amazonaws.com/api:1", essential = true },
]

[[account.cluster]]
name = "app"
[[account.cluster.service]]
name = "api"
task_definition = "api"
desired = 2
configuration = { deploymentCircuitBreaker = { enable = true, rollback = true } }
"#;

const ACCOUNT: &str = r#"
[account]
id = "222222222222"
region = "us-west-1"
role = "arn:aws:iam::222222222222:role/pinion"
"#;

/// A rollout.
struct Case {
    name: &'static str,
    target: &'static str,
    files: &'static str,
    pin: &'static str,
    state: &'static str,
    /// The writes that lead to the end, each once.
    writes: &'static [&'static str],
    ended_well: fn(&Fleet, &Value),
}

const GROUP: &str = "[asg.frontend]\nami = { name = \"frontend-{version}\" }\n";
const SERVICE: &str =
    "[fargate.api]\ncluster = \"app\"\nimage = \"{account}.dkr.ecr.{region}.amazonaws.com/api:{version}\"\n";
const GROUP_WRITES: &[&str] = &["CreateLaunchTemplateVersion", "StartInstanceRefresh", "UpdateAutoScalingGroup"];
const SERVICE_WRITES: &[&str] = &["RegisterTaskDefinition", "UpdateService"];

const CASES: [Case; 4] = [
    Case {
        name: "group, good version",
        target: "asg/frontend",
        files: GROUP,
        pin: "frontend = \"1.4.1\"\n",
        state: "in-sync",
        writes: GROUP_WRITES,
        ended_well: |fleet, held| {
            assert!(fleet.group_runs(DEV, "frontend", "ami-0f000000000001401"));
            group_was_rolled_once(fleet, held, "Successful");
        },
    },
    Case {
        name: "group, bad version",
        target: "asg/frontend",
        files: GROUP,
        pin: "frontend = \"1.4.2\"\n",
        state: "quarantined",
        writes: GROUP_WRITES,
        ended_well: |fleet, held| {
            assert!(fleet.group_runs(DEV, "frontend", "ami-0f000000000001400"));
            group_was_rolled_once(fleet, held, "RollbackSuccessful");
        },
    },
    Case {
        name: "service, good version",
        target: "fargate/api",
        files: SERVICE,
        pin: "api = \"2\"\n",
        state: "in-sync",
        writes: SERVICE_WRITES,
        ended_well: |fleet, held| {
            assert!(fleet.service_runs(DEV, "app/api", "222222222222.dkr.ecr.us-west-1.amazonaws.com/api:2"));
            service_was_rolled_once(fleet, held, "SUCCESSFUL");
        },
    },
    Case {
        name: "service, bad version",
        target: "fargate/api",
        files: SERVICE,
        pin: "api = \"3\"\n",
        state: "quarantined",
        writes: SERVICE_WRITES,
        ended_well: |fleet, held| {
            assert!(fleet.service_runs(DEV, "app/api", "222222222222.dkr.ecr.us-west-1.amazonaws.com/api:1"));
            service_was_rolled_once(fleet, held, "ROLLBACK_SUCCESSFUL");
        },
    },
];

fn group_was_rolled_once(fleet: &Fleet, held: &Value, status: &str) {
    assert_eq!(fleet.refreshes(DEV, "frontend"), [status], "one refresh");
    let templates = held["templates"].as_object().unwrap().values();
    assert_eq!(templates.map(|one| one["versions"].as_object().unwrap().len()).collect::<Vec<_>>(), [2], "one version");
}

fn service_was_rolled_once(fleet: &Fleet, held: &Value, status: &str) {
    let deployments = fleet.service(DEV, "app/api")["service_deployments"].clone();
    let statuses: Vec<&Value> = deployments.as_array().unwrap().iter().map(|one| &one["status"]).collect();
    assert_eq!(statuses, [status], "one deployment");
    assert_eq!(held["task_definitions"]["api"].as_array().unwrap().len(), 2, "one revision");
}

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

/// One run: a stand-in, and a controller that is to bring about the release.
struct Run<'a> {
    case: &'a Case,
    sim: SimHandle,
    folder: TempDir,
    controller: Option<Process>,
    address: String,
}

impl<'a> Run<'a> {
    fn new(case: &'a Case, url: &str, runtime: &Runtime) -> Self {
        let options = Options { speed: 0.0, ..Options::default() };
        let sim = runtime.block_on(Sim::start(World::parse(WORLD).unwrap(), options)).unwrap();
        let folder = TempDir::new().unwrap();
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
        let limit = now() + PATIENCE;
        loop {
            if let Some(found) = find(self) {
                return found;
            }
            assert!(now() < limit, "not within {PATIENCE:?}: {what}; {:#}\n{}", self.target(), self.shown());
            std::thread::sleep(Duration::from_millis(40));
        }
    }

    /// Waits for the wanted state, and makes sure that the pass after it writes nothing.
    fn end(&self) -> End {
        let passes = |run: &Self| run.environment()["passes"].as_u64().unwrap_or_default();
        self.wait(&format!("it is {}", self.case.state), |run| {
            (run.target()["state"] == self.case.state).then_some(())
        });
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
        let once: BTreeMap<String, usize> = self.case.writes.iter().map(|name| ((*name).to_owned(), 1)).collect();
        assert_eq!(counts, once, "each step once\n{}", self.shown());
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
fn repository(case: &Case) -> Repo {
    let repo = Repo::new();
    repo.write("environments/dev/environment.toml", format!("{ACCOUNT}{}", case.files));
    repo.write("environments/dev/pins.toml", case.pin);
    repo.commit("release");
    repo.push();
    repo
}

/// The points of a run that nobody disturbs, and its end.
fn points(case: &Case, url: &str, runtime: &Runtime) -> (Vec<Point>, End) {
    let mut run = Run::new(case, url, runtime);
    run.start();
    run.wait("the rollout ends", |run| (run.target()["state"] == case.state).then_some(()));
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
    let started = now();
    let runtime = Runtime::new().unwrap();
    let repositories: Vec<Repo> = CASES.iter().map(repository).collect();
    let urls: Vec<String> = repositories.iter().map(Repo::file_url).collect();
    let plain: Vec<(Vec<Point>, End)> =
        CASES.iter().zip(&urls).map(|(case, url)| points(case, url, &runtime)).collect();
    let all = plain.iter().enumerate().flat_map(|(case, (points, _))| points.iter().map(move |point| (case, point)));
    let queue: Mutex<VecDeque<(usize, &Point)>> = Mutex::new(all.collect());
    let failures: Mutex<Vec<String>> = Mutex::default();
    let total = queue.lock().unwrap().len();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap().pop_front();
                    let Some((index, point)) = next else { break };
                    let case = &CASES[index];
                    let mut run = Run::new(case, &urls[index], &runtime);
                    let tried = catch_unwind(AssertUnwindSafe(|| {
                        assert_eq!(run.killed_at(point), plain[index].1, "the same end");
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
    for (case, (points, _)) in CASES.iter().zip(&plain) {
        figure(&format!("crash matrix, {}: {} calls, {} points", case.name, points.len() / 2, points.len()));
        assert!(points.len() >= 20, "{} has few calls: {points:?}", case.name);
    }
    figure(&format!("crash matrix: {total} points in {} s", started.elapsed().as_secs()));
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {total} points failed:\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn a_repository_without_the_release_does_nothing() {
    let runtime = Runtime::new().unwrap();
    let case = Case { pin: "frontend = \"1.4.0\"\n", ..CASES[0] };
    let repo = repository(&case);
    let mut run = Run::new(&case, &repo.file_url(), &runtime);
    run.start();
    assert_eq!(run.end().state, "in-sync");
    assert!(Path::new(&run.folder.path().join("cache")).is_dir());
    assert!(run.calls(0).iter().all(|call| !call.write), "{}", run.shown());
}
