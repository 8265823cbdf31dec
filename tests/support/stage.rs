//! A stage for whole runs: the built program against the AWS stand-in and a real Git server, each a process of its own.
//! What happened is read from the stand-in, never from Pinion's words; what Pinion says is only compared with it.

#![allow(dead_code, reason = "each test uses its part")]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

#[path = "git.rs"]
pub(crate) mod git;
#[path = "http.rs"]
pub(crate) mod http;
#[path = "process.rs"]
pub(crate) mod process;
#[path = "view.rs"]
pub(crate) mod view;

use git::{GitServer, Repo};
use process::{PATIENCE, Process, now, pinion};
pub(crate) use view::{Call, Fleet, REGION};

/// The token that asks for resyncs.
pub(crate) const TOKEN: &str = "resync-token-0123456789";

/// How environments come to the controller.
pub(crate) enum Git {
    Http { token: String },
    File,
}

impl Git {
    /// Git's own HTTP server, which asks for this token.
    pub(crate) fn http_with_token(token: &str) -> Self {
        Self::Http { token: token.to_owned() }
    }
}

enum GitEnd {
    Http(GitServer),
    File,
}

/// What a stage is made of.
pub(crate) struct Builder {
    world: Vec<String>,
    files: Vec<(String, String)>,
    branches: Vec<(String, Vec<String>)>,
    git: Git,
    speed: f64,
    reconcile: String,
    interval: String,
    keep_state: bool,
    controlled: bool,
}

/// A stage on which everything runs.
pub(crate) struct Stage {
    folder: TempDir,
    repo: Repo,
    git: GitEnd,
    token: Option<String>,
    world: Vec<String>,
    speed: f64,
    keep_state: bool,
    reconcile: String,
    interval: String,
    branches: Vec<(String, Vec<String>)>,
    sim: Option<Process>,
    endpoint: String,
    controller: Option<Process>,
    address: String,
    /// The journal's number when the controller was first ready.
    pub(crate) opened: Cell<u64>,
}

impl Stage {
    /// A stage with the accounts of a world file.
    pub(crate) fn of(world: &str) -> Builder {
        Builder {
            world: vec![world.to_owned()],
            files: Vec::new(),
            branches: vec![("main".to_owned(), Vec::new())],
            git: Git::File,
            speed: 60.0,
            reconcile: "interval = \"1s\"\nin_flight_interval = \"1s\"\n".to_owned(),
            interval: "1s".to_owned(),
            keep_state: false,
            controlled: true,
        }
    }

    /// A stage with many accounts alike, each with so many groups and services.
    pub(crate) fn of_fleet(accounts: usize, groups: usize, services: usize) -> Builder {
        let mut builder = Self::of("");
        builder.world = vec!["--fleet".to_owned(), format!("{accounts},{groups},{services}")];
        builder
    }
}

impl Builder {
    /// What the environments repository holds at first, by path.
    pub(crate) fn environments<P: Into<String>, T: Into<String>>(
        mut self,
        files: impl IntoIterator<Item = (P, T)>,
    ) -> Self {
        self.files.extend(files.into_iter().map(|(path, text)| (path.into(), text.into())));
        self
    }

    /// Which branches are followed, each for which environments.
    pub(crate) fn branches(mut self, branches: &[(&str, &[&str])]) -> Self {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        self.branches = branches.iter().map(|(branch, names)| ((*branch).to_owned(), owned(names))).collect();
        self
    }

    /// How environments come to the controller.
    pub(crate) fn git(mut self, git: Git) -> Self {
        self.git = git;
        self
    }

    /// Seconds of the stand-in's time per second.
    pub(crate) fn speed(mut self, speed: f64) -> Self {
        self.speed = speed;
        self
    }

    /// How often the controller looks when nothing is on its way, and while something is.
    pub(crate) fn looking_every(mut self, steady: &str, in_flight: &str) -> Self {
        self.reconcile = format!("interval = \"{steady}\"\nin_flight_interval = \"{in_flight}\"\n");
        self
    }

    /// How often the repository is polled.
    pub(crate) fn polling_every(mut self, interval: &str) -> Self {
        interval.clone_into(&mut self.interval);
        self
    }

    /// Keeps the stand-in's world in a file, so that it can be killed.
    pub(crate) fn keeping_its_state(mut self) -> Self {
        self.keep_state = true;
        self
    }

    /// Everything but the controller.
    pub(crate) fn without_controller(mut self) -> Self {
        self.controlled = false;
        self
    }

    /// Starts everything, and waits until the controller has looked at everything once.
    pub(crate) fn start(self) -> Stage {
        let folder = TempDir::new().unwrap();
        let repo = Repo::new();
        for (path, text) in &self.files {
            repo.write(path, text);
        }
        repo.commit("environments: as they are");
        for (branch, _) in self.branches.iter().filter(|(branch, _)| branch != "main") {
            repo.git(&["branch", branch]);
        }
        repo.push();
        let (git, token) = match self.git {
            Git::Http { token } => (GitEnd::Http(GitServer::start(&repo).token(&token)), Some(token)),
            Git::File => (GitEnd::File, None),
        };
        let world = match self.world.as_slice() {
            [text] => {
                let path = folder.path().join("world.toml");
                std::fs::write(&path, text).unwrap();
                vec!["--world".to_owned(), path.display().to_string()]
            }
            _ => self.world,
        };
        let mut stage = Stage {
            folder,
            repo,
            git,
            token,
            world,
            speed: self.speed,
            keep_state: self.keep_state,
            reconcile: self.reconcile,
            interval: self.interval,
            branches: self.branches,
            sim: None,
            endpoint: String::new(),
            controller: None,
            address: String::new(),
            opened: Cell::new(0),
        };
        stage.start_sim("127.0.0.1:0");
        if self.controlled {
            stage.start_controller();
            stage.wait_until_ready();
            stage.opened.set(stage.last());
        }
        stage
    }
}

impl Stage {
    fn start_sim(&mut self, listen: &str) {
        let mut command = pinion(self.folder.path());
        command.arg("sim").args(&self.world).args(["--listen", listen, "--speed", &self.speed.to_string()]);
        if self.keep_state {
            command.arg("--state").arg(self.folder.path().join("world.json"));
        }
        let log = self.folder.path().join("sim.log");
        let from = std::fs::metadata(&log).map_or(0, |log| usize::try_from(log.len()).unwrap());
        let mut sim = Process::start("pinion sim", &mut command, log);
        let endpoint = |output: &str| {
            let (_, rest) = output.split_once("AWS_ENDPOINT_URL=")?;
            rest.contains('\n').then(|| rest.lines().next().unwrap_or_default().to_owned())
        };
        self.endpoint = sim.wait_for("where it listens", from, endpoint);
        self.sim = Some(sim);
    }

    /// Kills the stand-in as `kill -9` does.
    pub(crate) fn kill_sim(&mut self) {
        self.sim.take().unwrap().kill();
    }

    /// Starts the stand-in again where it was.
    pub(crate) fn restart_sim(&mut self) {
        let listen = self.endpoint.trim_start_matches("http://").to_owned();
        self.start_sim(&listen);
    }

    /// The controller's configuration, as it is started with.
    pub(crate) fn configuration(&self) -> String {
        let mut text = String::from("cache_dir = \"cache\"\n");
        for (branch, environments) in &self.branches {
            text.push_str(&format!(
                "[[repository]]\nurl = \"{}\"\nbranch = \"{branch}\"\ninterval = \"{}\"\n",
                self.git_url(),
                self.interval
            ));
            if !environments.is_empty() {
                text.push_str(&format!("environments = {environments:?}\n"));
            }
            if self.token.is_some() {
                text.push_str("[repository.auth]\ntoken_file = \"git-token\"\n");
            }
        }
        text.push_str(&format!("[reconcile]\n{}", self.reconcile));
        text.push_str("[server]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"resync-token\"\n");
        text
    }

    /// Writes the controller's configuration.
    pub(crate) fn configure(&self, text: &str) {
        std::fs::write(self.folder.path().join("pinion.toml"), text).unwrap();
    }

    /// Starts the controller and waits until it listens.
    pub(crate) fn start_controller(&mut self) {
        self.configure(&self.configuration());
        std::fs::write(self.folder.path().join("resync-token"), format!("{TOKEN}\n")).unwrap();
        if let Some(token) = &self.token {
            std::fs::write(self.folder.path().join("git-token"), format!("{token}\n")).unwrap();
        }
        let mut command = pinion(self.folder.path());
        command
            .args(["run", "--config", "pinion.toml"])
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", REGION);
        let log = self.log();
        let from = std::fs::metadata(&log).map_or(0, |log| usize::try_from(log.len()).unwrap());
        let mut controller = Process::start("pinion run", &mut command, log);
        let listening = |output: &str| {
            output.lines().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line["message"] == "listening").then(|| line["address"].as_str().unwrap().to_owned())
            })
        };
        self.address = controller.wait_for("where it listens", from, listening);
        self.controller = Some(controller);
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("controller.log")
    }

    /// Waits until the controller has looked at everything once.
    pub(crate) fn wait_until_ready(&self) {
        self.wait_until("the controller is ready", |stage| {
            stage.get("/readyz").is_some_and(|(status, _)| status == 200)
        });
    }

    /// Kills the controller as `kill -9` does.
    pub(crate) fn kill_controller(&mut self) {
        self.controller.take().unwrap().kill();
    }

    /// The running controller.
    pub(crate) fn controller(&mut self) -> &mut Process {
        self.controller.as_mut().unwrap()
    }

    /// Sends the controller a signal: `TERM`, `HUP`, `USR1`.
    pub(crate) fn signal(&self, signal: &str) {
        self.controller.as_ref().unwrap().signal(signal);
    }

    /// Runs `pinion` with a subcommand beside the controller.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        pinion(self.folder.path())
            .args(arguments)
            .env("PINION_ADDRESS", format!("http://{}", self.address))
            .env("PINION_TOKEN", TOKEN)
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .output()
            .unwrap()
    }
}

/// The repository.
impl Stage {
    /// The repository.
    pub(crate) fn repo(&self) -> &Repo {
        &self.repo
    }

    /// The Git server, where it is one that counts.
    pub(crate) fn git_server(&self) -> &GitServer {
        match &self.git {
            GitEnd::Http(server) => server,
            GitEnd::File => panic!("this stage has no HTTP server for Git"),
        }
    }

    /// The repository's URL as the controller knows it.
    pub(crate) fn git_url(&self) -> String {
        match &self.git {
            GitEnd::Http(server) => server.url(),
            GitEnd::File => self.repo.file_url(),
        }
    }

    /// Changes files, commits and pushes; the new commit.
    pub(crate) fn commit(&self, message: &str, change: impl FnOnce(&Repo)) -> String {
        change(&self.repo);
        let commit = self.repo.commit(message);
        self.repo.push();
        commit
    }

    /// Changes one pin, commits and pushes, as a release does; the new commit.
    pub(crate) fn pin(&self, environment: &str, component: &str, version: &str) -> String {
        self.commit(&format!("{component}: {version} in {environment}"), |repo| {
            set_pin(repo, environment, component, version);
        })
    }
}

/// Changes one line of an environment's `pins.toml`.
pub(crate) fn set_pin(repo: &Repo, environment: &str, component: &str, version: &str) {
    let path = format!("environments/{environment}/pins.toml");
    let text = std::fs::read_to_string(repo.work().join(&path)).unwrap();
    let key = format!("{component} = ");
    assert_eq!(text.lines().filter(|line| line.starts_with(&key)).count(), 1, "{component} in {text}");
    let lines = text.lines().map(|line| {
        let pin = format!("{key}\"{version}\"");
        if line.starts_with(&key) { pin } else { line.to_owned() }
    });
    repo.write(&path, lines.collect::<Vec<_>>().join("\n") + "\n");
}

/// The stand-in.
impl Stage {
    fn sim(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let url = format!("{}{path}", self.endpoint);
        let body = body.map(ToString::to_string).unwrap_or_default();
        let (status, text) = http::request(method, &url, &[("Content-Type", "application/json")], &body)
            .unwrap_or_else(|| panic!("the stand-in doesn't answer {path}"));
        assert_eq!(status, 200, "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// What runs where.
    pub(crate) fn fleet(&self) -> Fleet {
        Fleet(self.sim("GET", "/_sim/fleet", None))
    }

    /// All that the stand-in holds of an account.
    pub(crate) fn held(&self, account: &str) -> Value {
        self.sim("GET", "/_sim/state", None)["accounts"][account]["regions"][REGION].take()
    }

    /// The AWS calls after a number.
    pub(crate) fn calls(&self, since: u64) -> Vec<Call> {
        serde_json::from_value(self.sim("GET", &format!("/_sim/journal?since={since}"), None)["entries"].take())
            .unwrap()
    }

    /// The calls after a number that change something.
    pub(crate) fn writes(&self, since: u64) -> Vec<Call> {
        self.calls(since).into_iter().filter(|call| call.write).collect()
    }

    /// The names of the calls after a number that change something and were accepted, in order.
    pub(crate) fn written(&self, since: u64) -> Vec<String> {
        self.writes(since).into_iter().filter(|call| call.status == 200).map(|call| call.operation).collect()
    }

    /// The number of the last AWS call.
    pub(crate) fn last(&self) -> u64 {
        self.sim("GET", "/_sim/journal?since=18446744073709551615", None)["last"].as_u64().unwrap()
    }

    /// Does something to the stand-in: `/_sim/faults` and so on.
    pub(crate) fn meddle(&self, path: &str, body: &Value) -> Value {
        self.sim("POST", path, Some(body))
    }

    /// Takes all faults away.
    pub(crate) fn mend(&self) {
        self.sim("DELETE", "/_sim/faults", None);
    }

    /// A call to ECS by somebody else with the account's role: Pinion isn't the only one there.
    pub(crate) fn by_hand(&self, role: &str, operation: &str, parameters: &Value) -> Value {
        let url = format!("{}/", self.endpoint);
        let signed = |key: &str, service: &str| {
            format!(
                "AWS4-HMAC-SHA256 Credential={key}/20261101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
            )
        };
        let form = format!("Action=AssumeRole&Version=2011-06-15&RoleArn={role}&RoleSessionName=somebody");
        let headers = [
            ("Authorization", signed("AKIASOMEBODY", "sts")),
            ("Content-Type", "application/x-www-form-urlencoded".to_owned()),
        ];
        let post = |headers: &[(&str, String)], body: &str| {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let (status, text) = http::request("POST", &url, &headers, body).unwrap();
            assert_eq!(status, 200, "{operation} by hand: {text}");
            text
        };
        let session = post(&headers, &form);
        let member = |name: &str| {
            let (_, rest) = session.split_once(&format!("<{name}>")).unwrap();
            rest.split_once('<').unwrap().0.to_owned()
        };
        let headers = [
            ("Authorization", signed(&member("AccessKeyId"), "ecs")),
            ("X-Amz-Security-Token", member("SessionToken")),
            ("X-Amz-Target", format!("AmazonEC2ContainerServiceV20141113.{operation}")),
            ("Content-Type", "application/x-amz-json-1.1".to_owned()),
        ];
        serde_json::from_str(&post(&headers, &parameters.to_string())).unwrap()
    }
}

/// What the controller says.
impl Stage {
    /// Gets a page.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        http::get(&self.url(path))
    }

    /// The URL of a page of the controller's.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What the controller says about itself; null if it doesn't answer.
    pub(crate) fn status(&self) -> Value {
        let answer = self.get("/api/v1/status").filter(|(status, _)| *status == 200);
        answer.map_or(Value::Null, |(_, text)| serde_json::from_str(&text).unwrap())
    }

    /// What the controller says about a target, such as `dev/asg/web`.
    pub(crate) fn target(&self, reference: &str) -> Value {
        let (environment, local) = reference.split_once('/').unwrap();
        self.status()["environments"][environment]["targets"][local].take()
    }

    /// The state of a target, as the controller says; empty if it doesn't.
    pub(crate) fn state(&self, reference: &str) -> String {
        self.target(reference)["state"].as_str().unwrap_or_default().to_owned()
    }

    /// The reason for the state of a target, as the controller says.
    pub(crate) fn reason(&self, reference: &str) -> String {
        self.target(reference)["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// The value of a metric's series, such as `pinion_resync_completed`.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics")?;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned));
        line?.parse().ok()
    }
}

/// Waiting.
impl Stage {
    /// Waits until something is so. A minute is enough for everything on this stage; a failure shows all that is known.
    pub(crate) fn wait_until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let limit = now() + PATIENCE;
        while !is(self) {
            assert!(now() < limit, "not within {PATIENCE:?}: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the controller says that a target is in a state.
    pub(crate) fn wait_for(&self, reference: &str, state: &str) {
        self.wait_until(&format!("{reference} is {state}"), |stage| stage.state(reference) == state);
    }

    /// Waits until the controller says that all of these are in sync.
    pub(crate) fn wait_for_sync(&self, references: &[&str]) {
        self.wait_until(&format!("{references:?} are in sync"), |stage| {
            let status = stage.status();
            references.iter().all(|reference| {
                let (environment, local) = reference.split_once('/').unwrap();
                status["environments"][environment]["targets"][local]["state"] == "in-sync"
            })
        });
    }

    /// Makes sure that something stays so for a while.
    pub(crate) fn stays(&self, what: &str, long: Duration, is: impl Fn(&Self) -> bool) {
        let end = now() + long;
        while now() < end {
            assert!(is(self), "no longer so: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Makes sure that the controller goes on looking and writes nothing: what it has done is done.
    pub(crate) fn settles(&self) {
        let passes = || -> u64 {
            let status = self.status();
            let environments = status["environments"].as_object().into_iter().flatten();
            environments.map(|(_, environment)| environment["passes"].as_u64().unwrap_or_default()).min().unwrap_or(0)
        };
        let (before, from) = (passes(), self.last());
        self.wait_until("two more passes", |_| passes() >= before + 2);
        assert_eq!(self.written(from), Vec::<String>::new(), "a pass over what is in sync writes nothing");
    }

    fn show(&self) {
        let tail = |text: &str, lines: usize| {
            let all: Vec<&str> = text.lines().collect();
            all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
        };
        let ask = |path: &str| {
            let answer = http::get(&format!("{}{path}", self.endpoint));
            answer.and_then(|(_, text)| serde_json::from_str::<Value>(&text).ok()).unwrap_or_default()
        };
        println!("== fleet\n{:#}", ask("/_sim/fleet"));
        let mut journal = ask("/_sim/journal");
        let calls: Vec<Call> = serde_json::from_value(journal["entries"].take()).unwrap_or_default();
        let recent = calls.len().saturating_sub(40);
        println!("== journal: writes, refusals and the last calls");
        for (_, call) in calls.iter().enumerate().filter(|(at, call)| call.write || call.status != 200 || *at >= recent)
        {
            println!("{call}");
        }
        let (_, status) = self.get("/api/v1/status").unwrap_or_default();
        println!("== status\n{:#}", serde_json::from_str::<Value>(&status).unwrap_or_default());
        println!("== controller\n{}", tail(&std::fs::read_to_string(self.log()).unwrap_or_default(), 120));
        println!("== stand-in\n{}", tail(&self.sim.as_ref().map(Process::output).unwrap_or_default(), 20));
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show();
        }
    }
}

/// The AMI of every instance, each once.
pub(crate) fn amis(fleet: &Fleet, account: &str, group: &str) -> BTreeSet<String> {
    fleet.instances(account, group).into_iter().map(|instance| instance.ami).collect()
}
