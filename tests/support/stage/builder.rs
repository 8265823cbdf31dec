//! Sets a stage up.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::git::{GitServer, Repo};
use super::process::FakeTime;
use super::{Git, GitEnd, Stage};
use crate::support::loopback;

/// A world file with other words in it, each of which stands there.
pub(crate) fn changed(world: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(world.to_owned(), |world, (old, new)| {
        assert!(world.contains(old), "{old}");
        world.replace(old, new)
    })
}

/// What a stage is made of.
pub(crate) struct Builder {
    world: Vec<String>,
    record: Option<PathBuf>,
    files: Vec<(String, String)>,
    branches: Vec<(String, Vec<String>)>,
    git: Git,
    speed: f64,
    reconcile: String,
    interval: String,
    keep_state: bool,
    controlled: bool,
    time_jumps: bool,
    own_time: bool,
    repository_has: String,
    configuration_has: String,
    key: Option<PathBuf>,
}

impl Stage {
    /// A stage with the accounts of a world file.
    pub(crate) fn of(world: &str) -> Builder {
        Builder {
            world: vec![world.to_owned()],
            record: None,
            files: Vec::new(),
            branches: vec![("main".to_owned(), Vec::new())],
            git: Git::File,
            speed: 60.0,
            reconcile: "interval = \"1s\"\nin_flight_interval = \"1s\"\n".to_owned(),
            interval: "1s".to_owned(),
            keep_state: false,
            controlled: true,
            time_jumps: false,
            own_time: false,
            repository_has: String::new(),
            configuration_has: String::new(),
            key: None,
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

    /// Seconds of the simulator's time per second.
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

    /// Keeps the simulator's world in a file, so that it can be killed.
    pub(crate) fn keeping_its_state(mut self) -> Self {
        self.keep_state = true;
        self
    }

    /// Signs commits with an SSH key, from the first one on.
    pub(crate) fn signed_with(mut self, key: &Path) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// The simulator notes its answers down in this file.
    pub(crate) fn recording_to(mut self, path: PathBuf) -> Self {
        self.record = Some(path);
        self
    }

    /// Lets the time of the simulator and of the controller jump, see [`Stage::jump`].
    pub(crate) fn with_time_that_jumps(mut self) -> Self {
        self.time_jumps = true;
        self
    }

    /// Lets the controller's clock jump, and nobody else's.
    pub(crate) fn with_a_clock_that_jumps(mut self) -> Self {
        (self.time_jumps, self.own_time) = (true, true);
        self
    }

    /// More keys and tables for the end of each `[[repository]]`.
    pub(crate) fn repository_with(mut self, text: &str) -> Self {
        self.repository_has.push_str(text);
        self
    }

    /// More tables for the end of the controller's configuration.
    pub(crate) fn configured_with(mut self, text: &str) -> Self {
        self.configuration_has.push_str(text);
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
        if let Some(key) = self.key.as_ref().map(|key| key.display().to_string()) {
            let settings = [("gpg.format", "ssh"), ("user.signingkey", &key), ("commit.gpgsign", "true")];
            for (name, value) in settings {
                repo.git(&["config", name, value]);
            }
        }
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
        let mut world = match self.world.as_slice() {
            [text] => {
                let path = folder.path().join("world.toml");
                std::fs::write(&path, text).unwrap();
                vec!["--world".to_owned(), path.display().to_string()]
            }
            _ => self.world,
        };
        if let Some(path) = self.record {
            world.extend(["--record".to_owned(), path.display().to_string()]);
        }
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
            time: self.time_jumps.then(FakeTime::new),
            own_time: self.own_time,
            repository_has: self.repository_has,
            configuration_has: self.configuration_has,
            sim: None,
            endpoint: String::new(),
            controller: None,
            address: String::new(),
            opened: Cell::new(0),
        };
        stage.start_sim(&loopback::own().to_string());
        if self.controlled {
            stage.start_controller();
            stage.wait_until_ready();
            stage.opened.set(stage.last());
        }
        stage
    }
}
