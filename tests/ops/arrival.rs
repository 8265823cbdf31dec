//! Once for real: Prometheus scrapes the controller, a bad version is merged, and the alert arrives where people are
//! told; a revert, and the all-clear does.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::stage::Stage;
use crate::support::stage::http;
use crate::support::stage::process::{Process, clean};

const WORLD: &str = r#"
controller = "111111111111"
region = "us-west-1"

[[account]]
id = "222222222222"
name = "prod"
role = [{ name = "pinion" }]
repository = [{ name = "api", image = [{ tags = ["1"] }, { tags = ["2"], behaviour = "exits" }] }]

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
service = [{ name = "api", task_definition = "api", desired = 2, configuration = { deploymentCircuitBreaker = { enable = true, rollback = true } } }]
"#;

const ENVIRONMENT: &str = r#"
[account]
id = "222222222222"
region = "us-west-1"
role = "arn:aws:iam::222222222222:role/pinion"

[fargate.api]
cluster = "app"
component = "backend"
image = "222222222222.dkr.ecr.us-west-1.amazonaws.com/api:{version}"
"#;

/// A program of Prometheus', from where `make setup` puts it or from the machine's packages.
fn program(name: &str) -> PathBuf {
    let here = || Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools");
    let tools = std::env::var_os("PINION_TOOLS").map_or_else(here, PathBuf::from);
    let ours = tools.join("prometheus/usr/bin").join(name);
    if ours.exists() { ours } else { PathBuf::from(name) }
}

/// An address that was free a moment ago; neither program can say which port it took.
fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Takes what Alertmanager sends, and keeps the alerts.
struct Webhook {
    address: String,
    alerts: Arc<Mutex<Vec<Value>>>,
}

impl Webhook {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let alerts = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&alerts);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if let Some(message) = Self::take(stream.unwrap()) {
                    let arrived = message["alerts"].as_array().cloned().unwrap_or_default();
                    kept.lock().unwrap().extend(arrived);
                }
            }
        });
        Self { address, alerts }
    }

    fn take(mut stream: TcpStream) -> Option<Value> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok()?;
        serde_json::from_slice(&body).ok()
    }

    fn arrived(&self, status: &str) -> Option<Value> {
        self.alerts.lock().unwrap().iter().find(|alert| alert["status"] == status).cloned()
    }

    fn names(&self) -> BTreeSet<String> {
        let name = |alert: &Value| alert["labels"]["alertname"].as_str().unwrap_or_default().to_owned();
        self.alerts.lock().unwrap().iter().map(name).collect()
    }
}

/// Alertmanager and Prometheus, looking every second.
fn watch(stage: &Stage, webhook: &Webhook, folder: &Path) -> [Process; 2] {
    let (prometheus, alertmanager) = (free(), free());
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/pinion/files/alerts.yaml");
    let scraped = stage.url("/").trim_start_matches("http://").trim_end_matches('/').to_owned();
    // JSON is YAML, too.
    let routes = json!({
        "route": {
            "receiver": "people", "group_by": ["alertname"],
            "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h"
        },
        "receivers": [{
            "name": "people",
            "webhook_configs": [{ "url": format!("http://{}/", webhook.address), "send_resolved": true }]
        }]
    });
    let scrapes = json!({
        "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
        "rule_files": [rules],
        "scrape_configs": [{ "job_name": "pinion", "static_configs": [{ "targets": [scraped] }] }],
        "alerting": { "alertmanagers": [{ "static_configs": [{ "targets": [alertmanager] }] }] }
    });
    std::fs::write(folder.join("alertmanager.yml"), routes.to_string()).unwrap();
    std::fs::write(folder.join("prometheus.yml"), scrapes.to_string()).unwrap();
    let start = |name: &str, arguments: &[String], address: &str| {
        let mut command = clean(Command::new(program(name)), folder);
        command.args(arguments);
        let mut process = Process::start(name, &mut command, folder.join(format!("{name}.log")));
        let ready = format!("http://{address}/-/ready");
        process.wait_for("that it is ready", 0, |_| http::get(&ready).filter(|(status, _)| *status == 200));
        process
    };
    let managing = [
        "--config.file=alertmanager.yml".to_owned(),
        "--storage.path=alertmanager".to_owned(),
        "--cluster.listen-address=".to_owned(),
        format!("--web.listen-address={alertmanager}"),
    ];
    let watching = [
        "--config.file=prometheus.yml".to_owned(),
        "--storage.tsdb.path=prometheus".to_owned(),
        format!("--web.listen-address={prometheus}"),
    ];
    [start("prometheus-alertmanager", &managing, &alertmanager), start("prometheus", &watching, &prometheus)]
}

#[test]
fn a_bad_version_is_told_to_people() {
    let stage = Stage::of(WORLD)
        .environments([
            ("environments/prod/environment.toml", ENVIRONMENT),
            ("environments/prod/pins.toml", "backend = \"1\"\n"),
        ])
        .start();
    stage.wait_for_sync(&["prod/fargate/api"]);
    let (webhook, folder) = (Webhook::open(), TempDir::new().unwrap());
    let _watching = watch(&stage, &webhook, folder.path());

    stage.pin("prod", "backend", "2");
    stage.wait_for("prod/fargate/api", "quarantined");
    stage.wait_until("the alert arrives", |_| webhook.arrived("firing").is_some());
    let alert = webhook.arrived("firing").unwrap();
    println!("arrived at the webhook:\n{alert:#}");
    assert_eq!(
        alert["labels"],
        json!({
            "alertname": "PinionQuarantined", "severity": "warning", "job": "pinion",
            "environment": "prod", "target": "prod/fargate/api", "component": "backend"
        })
    );
    assert_eq!(alert["annotations"]["summary"], "The rollout of backend to prod/fargate/api failed");
    assert_eq!(
        alert["annotations"]["runbook_url"],
        "https://github.com/pinion_owner/pinion/blob/main/docs/runbook.md#pinionquarantined"
    );

    stage.pin("prod", "backend", "1");
    stage.wait_for_sync(&["prod/fargate/api"]);
    stage.wait_until("the all-clear arrives", |_| webhook.arrived("resolved").is_some());
    assert_eq!(webhook.names(), BTreeSet::from(["PinionQuarantined".to_owned()]), "and nothing else was told");
}
