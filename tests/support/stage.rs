//! A stage for whole runs: the built program against the AWS simulator and a real Git server, each a process of its own.

//! What happened is read from the simulator, never from Pinion's words; what Pinion says is only compared with it.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

mod builder;
mod watch;

pub(crate) use self::builder::{Builder, changed};
use self::git::{GitServer, Repo};
use self::process::{FakeTime, Process, clean, pinion};
pub(crate) use self::view::{Fleet, REGION};
pub(crate) use self::watch::{by_hand, by_hand_in_a_group, passes};
use super::terminal::Terminal;
pub(crate) use super::{git, http, process, view};

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
    time: Option<FakeTime>,
    /// Whether only the controller's time jumps.
    own_time: bool,
    repository_has: String,
    configuration_has: String,
    /// Ends before the simulator does.
    controller: Option<Process>,
    sim: Option<Process>,
    endpoint: String,
    address: String,
    /// The journal's number when the controller was first ready.
    pub(crate) opened: Cell<u64>,
}

/// A controller beside the stage's own; it ends when it is dropped.
pub(crate) struct Another {
    pub(crate) process: Process,
    address: String,
}

impl Stage {
    fn start_sim(&mut self, listen: &str) {
        let mut command = pinion(self.folder.path());
        command.arg("sim").args(&self.world).args(["--listen", listen, "--speed", &self.speed.to_string()]);
        if self.keep_state {
            command.arg("--state").arg(self.folder.path().join("world.json"));
        }
        self.time.iter().filter(|_| !self.own_time).for_each(|time| time.lend(&mut command));
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

    /// Kills the simulator as `kill -9` does.
    pub(crate) fn kill_sim(&mut self) {
        self.sim.take().unwrap().kill();
    }

    /// Starts the simulator again where it was.
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
            text.push_str(&self.repository_has);
            if self.token.is_some() {
                text.push_str("[repository.auth]\ntoken_file = \"git-token\"\n");
            }
        }
        text.push_str(&format!("[reconcile]\n{}", self.reconcile));
        text.push_str("[server]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"resync-token\"\n");
        text.push_str(&self.configuration_has);
        text
    }

    /// Writes the controller's configuration.
    pub(crate) fn configure(&self, text: &str) {
        std::fs::write(self.folder.path().join("pinion.toml"), text).unwrap();
    }

    /// Starts the controller and waits until it listens.
    pub(crate) fn start_controller(&mut self) {
        self.start_controller_by(&[]);
    }

    /// Starts the controller by another program that ends as the controller, such as `env` with options.
    pub(crate) fn start_controller_by(&mut self, wrapper: &[&str]) {
        self.configure(&self.configuration());
        std::fs::write(self.folder.path().join("resync-token"), format!("{TOKEN}\n")).unwrap();
        if let Some(token) = &self.token {
            std::fs::write(self.folder.path().join("git-token"), format!("{token}\n")).unwrap();
        }
        let (controller, address) = self.run_controller(wrapper, "pinion.toml", self.log());
        self.address = address;
        self.controller = Some(controller);
    }

    /// Starts another controller beside the first: the same repository and accounts, a cache of its own. It ends when it
    /// is dropped.
    pub(crate) fn another_controller(&self) -> Another {
        let configuration = self.configuration().replace("cache_dir = \"cache\"", "cache_dir = \"another-cache\"");
        std::fs::write(self.folder.path().join("another.toml"), configuration).unwrap();
        let (process, address) = self.run_controller(&[], "another.toml", self.folder.path().join("another.log"));
        Another { process, address }
    }

    /// The folder of the controller's mirrors.
    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn run_controller(&self, wrapper: &[&str], configuration: &str, log: PathBuf) -> (Process, String) {
        let mut command = match wrapper {
            [] => pinion(self.folder.path()),
            [program, arguments @ ..] => {
                let mut command = clean(Command::new(program), self.folder.path());
                command.args(arguments).arg(env!("CARGO_BIN_EXE_pinion"));
                command
            }
        };
        command
            .args(["run", "--config", configuration])
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", REGION);
        self.time.iter().for_each(|time| time.lend(&mut command));
        let from = std::fs::metadata(&log).map_or(0, |log| usize::try_from(log.len()).unwrap());
        let mut controller = Process::start("pinion run", &mut command, log);
        let listening = |output: &str| {
            output.lines().find_map(|line| {
                // As lines for people have it.
                if let Some((_, address)) = line.split_once(" listening address=") {
                    return address.split(' ').next().map(str::to_owned);
                }
                let line: Value = serde_json::from_str(line).ok()?;
                (line["message"] == "listening").then(|| line["address"].as_str().unwrap().to_owned())
            })
        };
        let address = controller.wait_for("where it listens", from, listening);
        (controller, address)
    }

    /// From now on it is so many hours later than it really is, or earlier: for the simulator and for the controller, or for
    /// the controller only.
    pub(crate) fn jump(&self, hours: i32) {
        self.time.as_ref().expect("this stage's time doesn't jump").jump(hours);
    }

    /// All that the controller has logged.
    pub(crate) fn logged(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap()
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
        self.run_as("test", arguments)
    }

    /// The same with another access key.
    pub(crate) fn run_as(&self, key: &str, arguments: &[&str]) -> Output {
        self.command(key, arguments).output().unwrap()
    }

    /// The same at a terminal.
    pub(crate) fn at_a_terminal(&self, key: &str, arguments: &[&str]) -> Terminal {
        Terminal::start(self.command(key, arguments))
    }

    fn command(&self, key: &str, arguments: &[&str]) -> Command {
        let mut command = pinion(self.folder.path());
        self.time.iter().for_each(|time| time.lend(&mut command));
        command
            .args(arguments)
            .env("PINION_ADDRESS", format!("http://{}", self.address))
            .env("PINION_TOKEN", TOKEN)
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_ACCESS_KEY_ID", key)
            .env("AWS_SECRET_ACCESS_KEY", "test");
        command
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

    /// Where the simulator's AWS API is.
    pub(crate) fn aws(&self) -> &str {
        &self.endpoint
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

/// The AMI of every instance, each once.
pub(crate) fn amis(fleet: &Fleet, account: &str, group: &str) -> BTreeSet<String> {
    fleet.instances(account, group).into_iter().map(|instance| instance.ami).collect()
}
