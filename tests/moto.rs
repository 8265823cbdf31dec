//! A second opinion on AWS's wire formats: Pinion against moto, which others wrote.
//!
//! moto knows no instance refreshes and no service deployments. `UpdateService` changes what the service names and makes
//! no deployment, so that this rollout never comes to an end there: what is looked at is what was written. Registries of

//! other accounts can't be read there; `scenarios.rs` does that.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::git::Repo;
use crate::support::http;
use crate::support::process::{Process, TIMEOUT, clean, now, pinion};

const IMAGE: &str = "222222222222.dkr.ecr.us-west-1.amazonaws.com/backend";

const ENVIRONMENT: &str = r#"
[account]
id = "222222222222"
region = "us-west-1"
role = "arn:aws:iam::222222222222:role/pinion"

[asg.web]
component = "frontend"
ami = { name = "web-{version}", owner = "222222222222" }

[asg.worker]
ami = { parameter = "/DeploymentConfig/{environment}/Worker/AmiId:{version}" }

[fargate.api]
component = "backend"
cluster = "app"
container = "app"
image = "{account}.dkr.ecr.{region}.amazonaws.com/backend:{version}"
"#;

fn pins(backend: &str) -> String {
    format!("backend = \"{backend}\"\nfrontend = \"1.4.0\"\nworker = \"1\"\n")
}

/// A program of the Python environment that `make setup` makes.
fn tool(name: &str) -> PathBuf {
    let here = || Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools");
    let tools = std::env::var_os("PINION_TOOLS").map_or_else(here, PathBuf::from);
    let path = tools.join("python/bin").join(name);
    assert!(path.exists(), "{} is missing; `make setup` installs it", path.display());
    path
}

/// moto and the controller.
struct Stage {
    folder: TempDir,
    repo: Repo,
    url: String,
    /// Ends before what it talks to.
    controller: Process,
    _moto: Process,
    address: String,
}

impl Stage {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        // Free a moment ago; moto can't say which port it took.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}");
        let mut command = clean(Command::new(tool("moto_server")), folder.path());
        command
            .args(["-p", &port.to_string()])
            .env("MOTO_ECS_SERVICE_RUNNING", "2")
            .env("PYTHONUNBUFFERED", "1")
            .env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/moto"));
        let mut moto = Process::start("moto_server", &mut command, folder.path().join("moto.log"));
        moto.wait_for("that it runs", 0, |output| output.contains("Running on").then_some(()));
        world(folder.path(), &url, "setup");

        let repo = Repo::new();
        repo.write("environments/dev/environment.toml", ENVIRONMENT).write("environments/dev/pins.toml", pins("2.0.0"));
        repo.commit("environments: as they are");
        repo.push();
        let configuration = format!(
            "cache_dir = \"cache\"\n[[repository]]\nurl = \"{}\"\ninterval = \"1s\"\n[reconcile]\ninterval = \
             \"1s\"\nin_flight_interval = \"1s\"\n[server]\nlisten = \"127.0.0.1:0\"\n",
            repo.file_url()
        );
        std::fs::write(folder.path().join("pinion.toml"), configuration).unwrap();
        let mut command = pinion(folder.path());
        command
            .args(["run", "--config", "pinion.toml"])
            .env("AWS_ENDPOINT_URL", &url)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "us-west-1");
        let mut controller = Process::start("pinion run", &mut command, folder.path().join("controller.log"));
        let listening = |output: &str| {
            output.lines().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line["message"] == "listening").then(|| line["address"].as_str().unwrap().to_owned())
            })
        };
        let address = controller.wait_for("where it listens", 0, listening);
        Self { folder, repo, url, _moto: moto, controller, address }
    }

    /// What moto holds, asked of it with AWS's own client library.
    fn look(&self) -> Value {
        world(self.folder.path(), &self.url, "look")
    }

    fn environment(&self) -> Value {
        let (_, text) = http::get(&format!("http://{}/api/v1/status", self.address)).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["environments"]["dev"].take()
    }

    fn wait_until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let limit = now() + TIMEOUT;
        loop {
            let environment = self.environment();
            if is(&environment) {
                return environment;
            }
            assert!(now() < limit, "not so: {what}\n{environment:#}\n{}", self.controller.output());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn world(home: &Path, url: &str, what: &str) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/moto/world.py");
    let output = clean(Command::new(tool("python")), home).arg(script).args([url, what]).output().unwrap();
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A task definition without what AWS assigns.
fn registered(definition: &Value) -> Value {
    let mut definition = definition["definition"].clone();
    for member in ["revision", "taskDefinitionArn", "registeredAt", "registeredBy", "status", "compatibilities"] {
        definition.as_object_mut().unwrap().remove(member);
    }
    definition
}

#[test]
fn moto_agrees() {
    let stage = Stage::start();
    let targets = ["asg/web", "asg/worker", "fargate/api"];
    let environment = stage.wait_until("everything is in sync", |environment| {
        targets.iter().all(|target| environment["targets"][target]["state"] == "in-sync")
    });
    for target in targets {
        let target = &environment["targets"][target];
        assert_eq!([&target["updated"], &target["total"]], [2, 2], "{target:#}");
    }
    let before = stage.look();
    assert_eq!(before["definitions"].as_array().unwrap().len(), 1, "nothing was written");

    stage.repo.set("environments/dev/pins.toml", &pins("2.0.1"));
    stage.repo.push();
    stage.wait_until("the service names another task definition", |environment| {
        environment["targets"]["fargate/api"]["running"] == "2.0.1"
    });
    // Many more passes, in which nothing may be done twice.
    let passes = stage.environment()["passes"].as_u64().unwrap();
    let environment = stage.wait_until("three more passes", |now| now["passes"].as_u64().unwrap() >= passes + 3);
    assert_eq!(environment["error"], Value::Null);
    let api = &environment["targets"]["fargate/api"];
    assert_ne!(api["state"], "quarantined", "{api:#}");
    assert_ne!(api["state"], "blocked", "{api:#}");
    for target in ["asg/web", "asg/worker"] {
        assert_eq!(environment["targets"][target]["state"], "in-sync");
    }

    let after = stage.look();
    let definitions = after["definitions"].as_array().unwrap();
    assert_eq!(definitions.len(), 2, "registered once");
    let mut expected = registered(&before["definitions"][0]);
    expected["containerDefinitions"][0]["image"] = json!(format!("{IMAGE}:2.0.1"));
    assert_eq!(registered(&definitions[1]), expected);
    let tags = definitions[1]["tags"].as_array().unwrap();
    assert!(tags.contains(&json!({ "key": "team", "value": "backend" })), "{tags:?}");
    assert_eq!(after["service"]["taskDefinition"], definitions[1]["definition"]["taskDefinitionArn"]);
    for member in ["desiredCount", "networkConfiguration"] {
        assert_eq!(after["service"][member], before["service"][member]);
    }
}
