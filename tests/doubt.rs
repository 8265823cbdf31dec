//! Doubt never writes: each optional member of each answer is left out in turn, each list is emptied, and each word of an
//! enumeration becomes one that this build doesn't know. None of that is a reason for a write.

mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use axum::body::{Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request};
use jiff::Timestamp;
use pinion::aws::{Aws, Keys, Options};
use pinion::claims::Claims;
use pinion::clock::{Clock, SystemClock};
use pinion::guardrail::{Fleet, NoPolicies};
use pinion::model::{
    AmiQuery, AsgSpec, CommitId, Component, Environment, EnvironmentName, FargateSpec, ImageReference, LocalRef, Pin,
    Provenance, RolloutSettings, Session, State, Target, TargetSpec, Version,
};
use pinion::plan::{Action, Converged, Input, Memory, Observed, Plan, plan};
use pinion::ports::Accounts as _;
use pinion::reconcile::pass;
use pinion::sim::{Local, World};
use serde_json::json;

use self::tree::{Change, Tree};
use crate::support::aws::{Unrecorded, account};

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
    { id = "ami-0f000000000000010", name = "web-1.0" },
    { id = "ami-0f000000000000011", name = "web-1.1" },
    { id = "ami-0f000000000000012", name = "web-bad", healthy = false },
]
launch_template = [{ name = "web", version = [{ data = { ImageId = "ami-0f000000000000010" } }] }]
group = [{ name = "web", launch_template = "web", version = "1", desired = 2, warmup = 2 }]

[[account.repository]]
name = "api"
image = [{ tags = ["1.0"] }, { tags = ["1.1"] }, { tags = ["bad"], behaviour = "exits" }]

[[account.task_definition]]
[account.task_definition.definition]
family = "api"
networkMode = "awsvpc"
requiresCompatibilities = ["FARGATE"]
cpu = "256"
memory = "512"
containerDefinitions = [
    { name = "app", image = "222222222222.dkr.ecr.us-west-1.amazonaws.com/api:1.0", essential = true },
]

[[account.cluster]]
name = "app"
[[account.cluster.service]]
name = "api"
task_definition = "api"
desired = 2
configuration = { deploymentCircuitBreaker = { enable = true, rollback = true } }
"#;

/// An answer that is changed: that of an operation to a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    operation: String,
    body: String,
}

/// HTTP of one process of Pinion's.
#[derive(Clone)]
struct Line {
    sim: Arc<Local>,
    heard: Arc<Mutex<BTreeMap<Asked, String>>>,
    twist: Option<(Asked, String)>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

impl HttpClient for Line {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Line {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let line = self.clone();
        HttpConnectorFuture::new(async move { line.send(request).await })
    }
}

impl Line {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let mut headers = HeaderMap::new();
        for (name, value) in request.headers() {
            headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let body = Bytes::copy_from_slice(request.body().bytes().unwrap_or_default());
        let text = String::from_utf8(body.to_vec()).unwrap();
        let target = headers.get("x-amz-target").map(|target| target.to_str().unwrap().rsplit('.').next().unwrap());
        let action = || text.split('&').find_map(|pair| pair.strip_prefix("Action="));
        let operation = target.or_else(action).unwrap_or_default().to_owned();
        let mut asked = Request::post("/").body(body).unwrap();
        *asked.headers_mut() = headers;
        let response = self.sim.call(asked).await;
        let status = response.status().as_u16();
        let answer = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let mut answer = String::from_utf8(answer.to_vec()).unwrap();
        let asked = Asked { operation, body: text };
        if status == 200 {
            self.heard.lock().unwrap().insert(asked.clone(), answer.clone());
        }
        if let Some((_, twisted)) = self.twist.as_ref().filter(|(which, _)| *which == asked) {
            answer.clone_from(twisted);
        }
        Ok(HttpResponse::new(status.try_into().unwrap(), SdkBody::from(answer)))
    }
}

/// A simulator, and what is wanted of it.
struct Stage {
    sim: Arc<Local>,
    environment: Environment,
    memory: Memory,
}

fn now() -> Timestamp {
    SystemClock.now()
}

fn environment(version: &str, digit: char, alarms: &[&str]) -> Environment {
    let name = EnvironmentName::try_from("dev").unwrap();
    let target = |local: &str, component: &str, spec: TargetSpec| {
        let local = LocalRef::try_from(local.to_owned()).unwrap();
        let alarms = alarms.iter().map(|alarm| (*alarm).to_owned()).collect();
        let target = Target {
            reference: local.within(&name),
            component: Component::try_from(component).unwrap(),
            spec,
            after: BTreeSet::new(),
            rollout: RolloutSettings { alarms, ..RolloutSettings::default() },
            verify: Vec::new(),
            suspend: None,
            take_over: None,
            base: pinion::model::BaseRevision::Running,
        };
        (local, target)
    };
    let asg = AsgSpec {
        group: "web".try_into().unwrap(),
        ami: AmiQuery::Name { name: format!("web-{version}"), owner: None },
    };
    let fargate = FargateSpec {
        cluster: "app".try_into().unwrap(),
        service: "api".try_into().unwrap(),
        containers: Vec::new(),
        image: ImageReference::parse(&format!("222222222222.dkr.ecr.us-west-1.amazonaws.com/api:{version}")).unwrap(),
    };
    let pin = |component: &str| {
        let component = Component::try_from(component).unwrap();
        let provenance = Provenance {
            commit: CommitId::try_from(digit.to_string().repeat(40)).unwrap(),
            author: "Ada".to_owned(),
            email: "ada@example.com".to_owned(),
            time: now() - jiff::SignedDuration::from_mins(5),
            subject: version.to_owned(),
            trailers: BTreeMap::new(),
            signer: None,
        };
        let version = Version::try_from(version).unwrap();
        (component.clone(), Pin { component, version, digest: None, provenance })
    };
    Environment {
        account: account("222222222222", None),
        promotion: None,
        targets: [
            target("asg/web", "web", TargetSpec::Asg(asg)),
            target("fargate/api", "api", TargetSpec::Fargate(fargate)),
        ]
        .into(),
        pins: [pin("web"), pin("api")].into(),
        held: BTreeMap::new(),
        shape_limit: None,
        name,
    }
}

impl Stage {
    fn new() -> Self {
        let options = pinion::sim::Options { speed: 0.0, ..Default::default() };
        let sim = Arc::new(Local::new(World::parse(WORLD).unwrap(), options).unwrap());
        Self { sim, environment: environment("1.0", 'a', &[]), memory: Memory::default() }
    }

    async fn meddle(&self, path: &str, body: serde_json::Value) {
        let request = Request::post(path).header("content-type", "application/json");
        let response = self.sim.call(request.body(Bytes::from(body.to_string())).unwrap()).await;
        assert!(response.status().is_success(), "{path}");
    }

    /// A process that has just begun, to which one answer comes changed.
    async fn process(&self, twist: Option<(Asked, String)>) -> (Aws, Line) {
        let line = Line { sim: Arc::clone(&self.sim), heard: Arc::default(), twist };
        let keys = Keys { access_key_id: "AKIATEST".to_owned(), secret_access_key: "secret".into() };
        let options = Options {
            endpoint_url: Some("http://simulator.invalid".to_owned()),
            keys: Some(keys),
            session: Session::Run,
            recorder: Arc::new(Unrecorded),
            clock: Arc::new(SystemClock),
        };
        (Aws::over(options, line.clone()).await, line)
    }

    async fn planned(&self, aws: &Aws, memory: &Memory, now: Timestamp) -> (Observed, Plan) {
        let reader = aws.reader(&self.environment.name, &self.environment.account);
        let observed =
            pass::observe(&self.environment, reader.as_ref(), memory, &BTreeSet::new(), Duration::ZERO, now).await;
        let planned = plan(Input {
            desired: &self.environment,
            observed: &observed,
            memory,
            guardrails: &NoPolicies,
            fleet: &Fleet::default(),
            claims: &Claims::alone(&self.environment),
            now,
        });
        (observed, planned)
    }

    /// Passes, until both targets are in that state.
    async fn until(&mut self, state: State) {
        let (aws, _) = self.process(None).await;
        let writer = aws.writer(&self.environment.name, &self.environment.account);
        for _ in 0..60 {
            let (observed, planned) = self.planned(&aws, &self.memory, now()).await;
            self.memory.note(&self.environment, &planned);
            for (local, target) in &planned.targets {
                let pin = self.environment.pin_of(&self.environment.targets[local]).unwrap();
                if let (State::InSync, Some(artifact)) = (target.state, &target.artifact) {
                    let converged = Converged {
                        base: None,
                        commit: pin.provenance.commit.clone(),
                        version: pin.version.clone(),
                        artifact: artifact.identity().to_owned(),
                        sought: self.environment.targets[local].spec.sought(),
                    };
                    self.memory.converged.insert(local.clone(), converged);
                }
            }
            if planned.writes_nothing() && planned.targets.values().all(|target| target.state == state) {
                return;
            }
            for (local, action) in planned.actions() {
                writer.apply(action).await.unwrap();
                self.memory.wrote(&self.environment, &observed, local, action, now());
            }
            if state == State::RollingOut && planned.writes_nothing() {
                return;
            }
            self.meddle("/_sim/advance", json!({ "seconds": if state == State::RollingOut { 1 } else { 20 } })).await;
        }
        panic!("it doesn't come to {state}");
    }

    /// Changes every answer of a pass, one by one; how many there were, and those that led to a write.
    async fn tried(&self, name: &str) -> (usize, Vec<String>) {
        let (aws, line) = self.process(None).await;
        // All at one moment: what was written a moment ago is known of, however busy this machine is.
        let now = now();
        let (_, planned) = self.planned(&aws, &self.memory, now).await;
        assert!(planned.writes_nothing(), "{name}: {planned:?}");
        let heard = line.heard.lock().unwrap().clone();
        let (mut tried, mut wrote) = (0, Vec::new());
        for (asked, answer) in &heard {
            let tree = Tree::parse(answer);
            for (place, change) in tree.changes() {
                let twisted = tree.changed(&place, change).text();
                // A list that comes empty says that there is nothing: only who has seen it before knows better.
                let fresh = (change != Change::Empty).then(Memory::default);
                let (aws, _) = self.process(Some((asked.clone(), twisted))).await;
                let runs = ("that runs", self.memory.clone());
                for (process, memory) in std::iter::once(runs).chain(fresh.map(|memory| ("that begins", memory))) {
                    tried += 1;
                    let (_, planned) = self.planned(&aws, &memory, now).await;
                    for (local, action) in planned.actions().filter(|(_, action)| action.is_write()) {
                        let (what, asked) = (tree.name(&place), &asked.operation);
                        if !is_said_so(asked, &what, change, action) {
                            wrote.push(format!(
                                "{name}, process {process}: {change:?} {what} of {asked}: {local}: {action}"
                            ));
                        }
                    }
                }
            }
        }
        (tried, wrote)
    }
}

/// Where AWS itself gives an absence a meaning: a group's template without a version is its `$Default`.
fn is_said_so(operation: &str, place: &str, change: Change, action: &Action) -> bool {
    let numbers = matches!(action, Action::NumberTemplate { .. } | Action::NumberPolicy { .. });
    let version = operation == "DescribeAutoScalingGroups" && place.ends_with("/LaunchTemplate/Version");
    version && change == Change::Drop && numbers
}

/// A situation, by its name.
async fn situation(name: &str) -> Stage {
    let mut stage = Stage::new();
    stage.environment = environment("1.1", 'b', &[]);
    match name {
        "in sync" => stage.until(State::InSync).await,
        "quarantined" => {
            stage.until(State::InSync).await;
            stage.environment = environment("bad", 'c', &[]);
            stage.until(State::Quarantined).await;
        }
        "rolling out" => stage.until(State::RollingOut).await,
        "waiting for an alarm" => {
            stage.environment = environment("1.0", 'a', &["5xx"]);
            stage.until(State::InSync).await;
            stage.environment = environment("1.1", 'b', &["5xx"]);
            stage.environment.targets.remove(&LocalRef::try_from("fargate/api".to_owned()).unwrap());
            let raised = json!({ "account": "222222222222", "name": "5xx", "raised": true });
            stage.meddle("/_sim/alarms", raised).await;
            stage.until(State::Pending).await;
        }
        other => panic!("there is no situation {other}"),
    }
    stage
}

#[test]
fn what_aws_leaves_out_is_no_reason_to_write() {
    let in_turn = |name: &'static str| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { situation(name).await.tried(name).await })
    };
    let (tried, wrote) = std::thread::scope(|scope| {
        let names = ["in sync", "quarantined", "rolling out", "waiting for an alarm"];
        let threads = names.map(|name| scope.spawn(move || in_turn(name)));
        threads.into_iter().map(|thread| thread.join().unwrap()).fold(
            (0, Vec::new()),
            |(count, mut all), (more, found)| {
                all.extend(found);
                (count + more, all)
            },
        )
    });
    // Past the harness, which keeps to itself what a test that passes prints.
    writeln!(std::io::stderr(), "doubt: {tried} changed answers were tried, {} led to a write", wrote.len()).unwrap();
    assert!(tried > 2_500, "{tried}");
    assert!(wrote.is_empty(), "{} of {tried} led to a write:\n{}", wrote.len(), wrote.join("\n"));
}
