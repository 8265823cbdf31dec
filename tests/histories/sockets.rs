//! Histories through the built program: processes, sockets, a real repository, and `kill -9`.

use std::time::Duration;

use pinion::sim::{Options, Sim, SimHandle, World};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::rules::runs;
use super::run::{ends, file_of, pins_of};
use super::story::{Event, History, Trouble, Version};
use super::world::{Target, account, begin, environment, environment_file, targets, tree, world_file};
use crate::support::loopback;
use crate::support::stage::git::Repo;
use crate::support::stage::process::{Process, TIMEOUT, now, pinion};
use crate::support::stage::view::Call;
use crate::support::stage::{REGION, http};

/// Seconds of the simulator's time per second.
const SPEED: f64 = 40.0;

struct Play {
    targets: Vec<Target>,
    repo: Repo,
    /// Ends before the simulator does.
    controller: Option<Process>,
    sim: SimHandle,
    folder: TempDir,
    address: String,
    pins: Vec<Version>,
}

/// Runs a history to its end: what is wrong with it.
pub(crate) fn run(history: &History, runtime: &Runtime) -> Result<(), String> {
    begin();
    let targets = targets(history);
    let repo = Repo::new();
    for (path, text) in tree(history, &targets) {
        repo.write(&path, text);
    }
    repo.commit("as it is");
    repo.push();
    let world = World::parse(&world_file(history, &targets)).unwrap();
    let options = Options { listen: loopback::own(), speed: SPEED, ..Options::default() };
    let sim = runtime.block_on(Sim::start(world, options)).unwrap();
    let folder = TempDir::new().unwrap();
    let configuration = format!(
        "cache_dir = \"cache\"\n[[repository]]\nurl = \"{}\"\nbranch = \"main\"\ninterval = \"1s\"\n\
         [reconcile]\ninterval = \"1s\"\nin_flight_interval = \"1s\"\n[server]\nlisten = \"127.0.0.1:0\"\n",
        repo.file_url()
    );
    std::fs::write(folder.path().join("pinion.toml"), configuration).unwrap();
    let pins = vec![Version::One; targets.len()];
    let mut play = Play { targets, repo, sim, folder, controller: None, address: String::new(), pins };
    play.start();
    for (seconds, event) in &history.events {
        std::thread::sleep(Duration::from_secs_f64(f64::from(*seconds) / SPEED));
        play.happen(event);
    }
    play.end(history)
}

impl Play {
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

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.sim.endpoint());
        let headers = [("Content-Type", "application/json")];
        let (status, text) = http::request(method, &url, &headers, &body.to_string()).unwrap();
        assert_eq!(status, 200, "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    fn commit(&self, path: &str, change: impl FnOnce(String) -> String) {
        let text = std::fs::read_to_string(self.repo.work().join(path)).unwrap();
        self.repo.write(path, change(text));
        self.repo.commit("a change");
        self.repo.push();
    }

    fn happen(&mut self, event: &Event) {
        let places = self.targets.last().unwrap().place + 1;
        let place = |number: &u8| usize::from(*number) % places;
        match event {
            Event::Pin { target, version } => {
                let index = usize::from(*target) % self.targets.len();
                let (name, place) = (self.targets[index].name.clone(), self.targets[index].place);
                let (old, new) = (self.pins[index].name(), version.name());
                self.pins[index] = *version;
                self.commit(&pins_of(place), |text| {
                    text.replace(&format!("{name} = \"{old}\""), &format!("{name} = \"{new}\""))
                });
            }
            Event::Break { place: number } => self.commit(&file_of(place(number)), |_| "nonsense = ".to_owned()),
            Event::Fix { place: number } => self.fix(place(number)),
            Event::Crash { down, .. } => {
                self.controller.take().unwrap().kill();
                std::thread::sleep(Duration::from_secs_f64(f64::from(*down) / SPEED));
                self.start();
            }
            Event::Trouble { place: number, what, times, seconds, .. } => {
                let (kind, when) = match what {
                    Trouble::Throttle => ("throttle", "before"),
                    Trouble::Error => ("error", "before"),
                    Trouble::ErrorAfter => ("error", "after"),
                    Trouble::Drop => ("drop", "before"),
                    Trouble::DropAfter => ("drop", "after"),
                    Trouble::Cut => ("cut", "after"),
                    Trouble::Garbage => ("garbage", "before"),
                    Trouble::Gateway => ("gateway", "before"),
                    Trouble::Expire => ("expire", "before"),
                    // What takes real time is for the histories in paused time.
                    Trouble::Slow | Trouble::Stall | Trouble::Lag | Trouble::Revoke => return,
                };
                let lasts = f64::from(*seconds) * 1000.0 / SPEED;
                let fault = json!({
                    "account": account(place(number)), "kind": kind, "when": when, "times": times,
                    "lasts": lasts as u64,
                });
                self.ask("POST", "/_sim/faults", &fault);
            }
            // Somebody else's doings, clocks and roles are for the histories in paused time, too.
            _ => {}
        }
    }

    fn fix(&self, place: usize) {
        let text = environment_file(place, &self.targets);
        self.commit(&file_of(place), |_| text);
    }

    fn status(&self, target: &Target) -> (String, String) {
        let answer = http::get(&format!("http://{}/api/v1/status", self.address));
        let (_, text) = answer.filter(|(status, _)| *status == 200).unwrap_or_default();
        let status: Value = serde_json::from_str(&text).unwrap_or_default();
        let said = &status["environments"][environment(target.place)];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&said["targets"][target.local()]["state"]), text(&said["revision"]))
    }

    fn writes(&self) -> Vec<Call> {
        let calls: Vec<Call> =
            serde_json::from_value(self.ask("GET", "/_sim/journal", &Value::Null)["entries"].take()).unwrap();
        calls.into_iter().filter(|call| call.write).collect()
    }

    /// All comes to rest; what is said to be in sync is so; and a new process writes nothing.
    fn end(mut self, history: &History) -> Result<(), String> {
        self.ask("DELETE", "/_sim/faults", &Value::Null);
        for place in 0..history.places.len() {
            self.fix(place);
        }
        let tip = self.repo.head();
        let rests = |play: &Self| {
            play.targets.iter().enumerate().all(|(index, target)| {
                let (state, revision) = play.status(target);
                let ends = ends(target.shape, play.pins[index], false, false);
                revision == tip && ends.iter().any(|end| end.as_str() == state)
            })
        };
        let limit = now() + TIMEOUT;
        let mut quiet = 0;
        while quiet < 3 {
            let before = self.writes().len();
            std::thread::sleep(Duration::from_millis(600));
            quiet = if rests(&self) && self.writes().len() == before { quiet + 1 } else { 0 };
            if now() > limit {
                let said: Vec<_> = self.targets.iter().map(|target| self.status(target)).collect();
                return Err(format!("it doesn't come to rest: {said:?} with pins {:?}\n{}", self.pins, self.shown()));
            }
        }
        let before = self.writes().len();
        self.controller.take().unwrap().kill();
        self.start();
        let settled = now() + TIMEOUT;
        while !rests(&self) {
            if now() > settled {
                return Err(format!("a new process sees it otherwise\n{}", self.shown()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let mut fleet = self.ask("GET", "/_sim/fleet", &Value::Null);
        if self.writes().len() != before {
            return Err(format!("all was at rest, and a new process wrote\n{}", self.shown()));
        }
        for (index, target) in self.targets.iter().enumerate() {
            let held = fleet["accounts"][account(target.place)]["regions"][REGION].take();
            let image = target.image(self.pins[index].name());
            if self.status(target).0 == "in-sync" && !runs(target, &held, &image) {
                return Err(format!("{} is said to be in sync and doesn't run {image}: {held}", target.name));
            }
            fleet["accounts"][account(target.place)]["regions"][REGION] = held;
        }
        let wrong = self.writes().into_iter().find(|call| {
            let accounts = (0..history.places.len()).map(account);
            call.account.as_ref().is_some_and(|account| !accounts.into_iter().any(|known| known == *account))
        });
        wrong.map_or(Ok(()), |call| Err(format!("a write in a strange account: {call}")))
    }

    fn shown(&self) -> String {
        let writes: Vec<String> = self.writes().iter().map(ToString::to_string).collect();
        let log = std::fs::read_to_string(self.folder.path().join("controller.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n");
        format!("{}\n{tail}", writes.join("\n"))
    }
}
