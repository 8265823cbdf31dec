//! The AWS room on the simulator.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use pinion::aws::{Aws, Keys, Options};
use pinion::clock::SystemClock;
use pinion::model::{
    Account, AmiQuery, AsgSpec, CallRecord, EnvironmentName, FargateSpec, ImageReference, LocalRef, Session, TargetSpec,
};
use pinion::ports::{Accounts as _, Apply, Observe, RecordCalls};
use pinion::sim::{Sim, SimHandle, World};
use serde_json::{Value, json};

use super::stage;

/// Keeps what was recorded.
#[derive(Debug, Default)]
struct Recorded(Mutex<Vec<CallRecord>>);

impl RecordCalls for Recorded {
    fn record(&self, _: &EnvironmentName, call: CallRecord) {
        self.0.lock().unwrap().push(call);
    }
}

/// Keeps nothing.
#[derive(Debug)]
pub(crate) struct Unrecorded;

impl RecordCalls for Unrecorded {
    fn record(&self, _: &EnvironmentName, _: CallRecord) {}
}

/// A simulator whose time stands still unless it is advanced, and the AWS room on it.
pub(crate) struct Simulator {
    pub(crate) aws: Aws,
    sim: SimHandle,
    http: reqwest::Client,
    recorded: Arc<Recorded>,
    /// The last journal entry that `calls` has counted.
    counted: AtomicU64,
}

impl Simulator {
    /// On a world file's text.
    pub(crate) async fn new(world: &str) -> Self {
        Self::on(World::parse(world).unwrap()).await
    }

    /// On many accounts alike, `000000000001` and on.
    pub(crate) async fn fleet(accounts: usize, groups: usize, services: usize) -> Self {
        Self::on(World::fleet(accounts, groups, services).unwrap()).await
    }

    async fn on(world: World) -> Self {
        let options = pinion::sim::Options { speed: 0.0, ..Default::default() };
        let sim = Sim::start(world, options).await.unwrap();
        let recorded = Arc::<Recorded>::default();
        let keys = Keys { access_key_id: "AKIATEST".to_owned(), secret_access_key: "secret".into() };
        let aws = Aws::new(Options {
            endpoint_url: Some(sim.endpoint()),
            keys: Some(keys),
            session: Session::Run,
            recorder: Arc::clone(&recorded) as Arc<dyn RecordCalls>,
            clock: Arc::new(SystemClock),
        })
        .await;
        Self { aws, sim, http: reqwest::Client::new(), recorded, counted: AtomicU64::new(0) }
    }

    /// Reads the dev account.
    pub(crate) fn reader(&self) -> Arc<dyn Observe> {
        self.aws.reader(&environment("dev"), &account("222222222222", Some("pinion-test")))
    }

    /// Writes to the dev account.
    pub(crate) fn writer(&self) -> Arc<dyn Apply> {
        self.aws.writer(&environment("dev"), &account("222222222222", Some("pinion-test")))
    }

    async fn get(&self, path: &str) -> Value {
        let url = format!("{}/_sim/{path}", self.sim.endpoint());
        self.http.get(url).send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) {
        let url = format!("{}/_sim/{path}", self.sim.endpoint());
        self.http.post(url).json(&body).send().await.unwrap().error_for_status().unwrap();
    }

    /// Lets the simulator's time pass.
    pub(crate) async fn advance(&self, seconds: u64) {
        self.post("advance", json!({ "seconds": seconds })).await;
    }

    /// Makes calls fail.
    pub(crate) async fn fault(&self, fault: Value) {
        self.post("faults", fault).await;
    }

    /// Takes all faults away.
    pub(crate) async fn repair(&self) {
        let url = format!("{}/_sim/faults", self.sim.endpoint());
        self.http.delete(url).send().await.unwrap().error_for_status().unwrap();
    }

    /// A call to ECS by somebody else, with a role of the dev account.
    pub(crate) async fn by_hand(&self, role: &str, operation: &'static str, parameters: Value) -> Value {
        let (endpoint, role) = (self.sim.endpoint(), format!("arn:aws:iam::222222222222:role/{role}"));
        tokio::task::spawn_blocking(move || stage::by_hand(&endpoint, &role, operation, &parameters)).await.unwrap()
    }

    /// All calls that the simulator has seen.
    pub(crate) async fn journal(&self) -> Vec<Value> {
        self.get("journal?since=0").await["entries"].as_array().unwrap().clone()
    }

    /// How many of each call the simulator has seen since this was last asked.
    pub(crate) async fn calls(&self) -> BTreeMap<String, usize> {
        let journal = self.get(&format!("journal?since={}", self.counted.load(Ordering::Relaxed))).await;
        self.counted.store(journal["last"].as_u64().unwrap(), Ordering::Relaxed);
        let mut calls = BTreeMap::new();
        for call in journal["entries"].as_array().unwrap() {
            let name = format!("{}:{}", call["service"].as_str().unwrap(), call["operation"].as_str().unwrap());
            *calls.entry(name).or_default() += 1;
        }
        calls
    }

    /// How many of each call were recorded since this was last asked.
    pub(crate) fn recorded(&self) -> BTreeMap<String, usize> {
        count(self.recorded.0.lock().unwrap().drain(..))
    }

    /// How many of each call were recorded with that result.
    pub(crate) fn recorded_as(&self, result: &str) -> BTreeMap<String, usize> {
        count(self.recorded.0.lock().unwrap().iter().filter(|call| call.result == result).cloned())
    }

    /// How many calls were recorded as throttled.
    pub(crate) fn throttles(&self) -> usize {
        self.recorded.0.lock().unwrap().iter().filter(|call| call.throttled).count()
    }
}

fn count(calls: impl Iterator<Item = CallRecord>) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for call in calls {
        *counted.entry(format!("{}:{}", call.service, call.operation)).or_default() += 1;
    }
    counted
}

pub(crate) fn environment(name: &str) -> EnvironmentName {
    name.try_into().unwrap()
}

pub(crate) fn account(id: &str, external_id: Option<&str>) -> Account {
    Account {
        id: id.try_into().unwrap(),
        region: "us-west-1".try_into().unwrap(),
        role: format!("arn:aws:iam::{id}:role/pinion").try_into().unwrap(),
        external_id: external_id.map(str::to_owned),
    }
}

pub(crate) fn local(reference: &str) -> LocalRef {
    reference.to_owned().try_into().unwrap()
}

pub(crate) fn asg(group: &str) -> TargetSpec {
    let ami = AmiQuery::Id { id: "ami-0000000000000140".to_owned() };
    TargetSpec::Asg(AsgSpec { group: group.try_into().unwrap(), ami })
}

pub(crate) fn fargate(cluster: &str, service: &str) -> TargetSpec {
    TargetSpec::Fargate(FargateSpec {
        cluster: cluster.try_into().unwrap(),
        service: service.try_into().unwrap(),
        containers: Vec::new(),
        image: ImageReference::parse("111111111111.dkr.ecr.us-west-1.amazonaws.com/backend:2.0.0").unwrap(),
    })
}
