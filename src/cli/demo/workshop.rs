//! The demo's folder: a bare repository as the server's side, a clone to work in, and what the controller keeps.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::cli::error::{CliError, ResultExt as _};

/// What the environments repository begins with: path, text.
const FILES: [(&str, &str); 6] = [
    ("README.md", include_str!("files/README.md")),
    ("environments/defaults.toml", include_str!("files/defaults.toml")),
    ("environments/dev/environment.toml", include_str!("files/dev.toml")),
    ("environments/dev/pins.toml", PINS),
    ("environments/prod/environment.toml", include_str!("files/prod.toml")),
    ("environments/prod/pins.toml", PINS),
];

const PINS: &str =
    "# What runs here. A release changes one of these lines.\nfrontend = \"1.4.0\"\nbackend = \"2.0.0\"\n";

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct Workshop {
    root: PathBuf,
}

impl Workshop {
    /// Opens the folder, or makes it.
    pub(super) async fn open(dir: &Path, fresh: bool) -> Result<Self, CliError> {
        let made_by_us = dir.join("environments.git").exists() || dir.join("log").exists();
        if fresh && made_by_us {
            std::fs::remove_dir_all(dir).context(|| format!("can't remove {}", dir.display()))?;
        }
        let strange = dir.exists() && !made_by_us && std::fs::read_dir(dir)?.next().is_some();
        if strange {
            return Err(CliError::failed(format!("{} has files that aren't a demo's", dir.display()))
                .hint("choose another folder with --dir"));
        }
        std::fs::create_dir_all(dir).context(|| format!("can't create {}", dir.display()))?;
        let workshop = Self { root: dir.canonicalize()? };
        if !workshop.bare().join("refs/heads/main").exists() && !workshop.bare().join("packed-refs").exists() {
            workshop.begin().await?;
        }
        Ok(workshop)
    }

    async fn begin(&self) -> Result<(), CliError> {
        // What an earlier start left half-done is made again.
        for folder in [self.bare(), self.clone_dir()] {
            if folder.exists() {
                std::fs::remove_dir_all(&folder)?;
            }
        }
        let (bare, work) = (self.bare().display().to_string(), self.clone_dir().display().to_string());
        git(&self.root, &["init", "--quiet", "--bare", "--initial-branch=main", &bare]).await?;
        git(&self.root, &["clone", "--quiet", &bare, &work]).await?;
        git(&self.clone_dir(), &["checkout", "--quiet", "-B", "main"]).await?;
        for (path, text) in FILES {
            let path = self.clone_dir().join(path);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(path, text)?;
        }
        self.commit("Environments of the demo").await
    }

    /// The repository as the controller sees it.
    pub(super) fn url(&self) -> String {
        format!("file://{}", self.bare().display())
    }

    fn bare(&self) -> PathBuf {
        self.root.join("environments.git")
    }

    /// The clone to work in.
    pub(super) fn clone_dir(&self) -> PathBuf {
        self.root.join("environments")
    }

    /// Where the controller keeps its mirror.
    pub(super) fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Where the simulator keeps its world.
    pub(super) fn state(&self) -> PathBuf {
        self.root.join("aws.json")
    }

    /// Where log lines go: the terminal is for the demo.
    pub(super) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The same, opened to be added to.
    pub(super) fn log_file(&self) -> Result<std::fs::File, CliError> {
        Ok(std::fs::OpenOptions::new().create(true).append(true).open(self.log())?)
    }

    /// Where the script notes how far it is.
    pub(super) fn progress(&self) -> PathBuf {
        self.root.join("script")
    }

    /// What a `pins.toml` says now in the clone.
    pub(super) fn pin(&self, environment: &str, component: &str) -> Result<String, CliError> {
        let text = std::fs::read_to_string(self.pins(environment))?;
        let line = text.lines().find_map(|line| line.strip_prefix(component)?.trim().strip_prefix('='));
        let value = line.map(|value| value.trim().trim_matches('"').to_owned());
        value.ok_or_else(|| CliError::failed(format!("{environment} has no pin of {component}")))
    }

    fn pins(&self, environment: &str) -> PathBuf {
        self.clone_dir().join("environments").join(environment).join("pins.toml")
    }

    /// Sets a pin in the clone, without committing it. Says whether that changed anything.
    pub(super) fn set_pin(&self, environment: &str, component: &str, version: &str) -> Result<bool, CliError> {
        let path = self.pins(environment);
        let before = std::fs::read_to_string(&path)?;
        let after: String = before
            .lines()
            .map(|line| {
                if line.split('=').next().is_some_and(|key| key.trim() == component) {
                    format!("{component} = \"{version}\"\n")
                } else {
                    format!("{line}\n")
                }
            })
            .collect();
        std::fs::write(path, &after)?;
        Ok(before != after)
    }

    /// Commits what is changed and pushes it.
    pub(super) async fn commit(&self, message: &str) -> Result<(), CliError> {
        let clone = self.clone_dir();
        git(&clone, &["add", "--all"]).await?;
        git(&clone, &["commit", "--quiet", "--message", message]).await?;
        self.push().await
    }

    /// Pushes `main`.
    pub(super) async fn push(&self) -> Result<(), CliError> {
        git(&self.clone_dir(), &["push", "--quiet", "origin", "main"]).await.map(drop)
    }

    /// Runs git in the clone.
    pub(super) async fn git(&self, arguments: &[&str]) -> Result<String, CliError> {
        git(&self.clone_dir(), arguments).await
    }
}

async fn git(dir: &Path, arguments: &[&str]) -> Result<String, CliError> {
    let shown = arguments.join(" ");
    let output = Command::new("git")
        .args(["-c", "user.name=Demo", "-c", "user.email=demo@example.com", "-c", "commit.gpgsign=false"])
        .args(arguments)
        .current_dir(dir)
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .output()
        .await
        .context(|| format!("can't run `git {shown}`"))
        .hint(|| "the demo needs Git; on Debian: apt-get install git".to_owned())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(crate::cli::bump::git::failure(&shown, &String::from_utf8_lossy(&output.stderr)))
}
