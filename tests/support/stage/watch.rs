//! Looks at a stage, and waits for what is to happen there.

use std::time::Duration;

use serde_json::Value;

use super::process::{Process, TIMEOUT, now};
use super::view::{Call, Fleet, REGION};
use super::{Another, Stage, http};

/// The simulator.
impl Stage {
    fn sim(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let url = format!("{}{path}", self.endpoint);
        let body = body.map(ToString::to_string).unwrap_or_default();
        let (status, text) = http::request(method, &url, &[("Content-Type", "application/json")], &body)
            .unwrap_or_else(|| panic!("the simulator doesn't answer {path}"));
        assert_eq!(status, 200, "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// What runs where.
    pub(crate) fn fleet(&self) -> Fleet {
        Fleet(self.sim("GET", "/_sim/fleet", None))
    }

    /// All that the simulator holds of an account.
    pub(crate) fn held(&self, account: &str) -> Value {
        self.sim("GET", "/_sim/state", None)["accounts"][account]["regions"][REGION].take()
    }

    /// All that the simulator holds of all accounts.
    pub(crate) fn state_of_all(&self) -> Value {
        self.sim("GET", "/_sim/state", None)
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

    /// Does something to the simulator: `/_sim/faults` and so on.
    pub(crate) fn meddle(&self, path: &str, body: &Value) -> Value {
        self.sim("POST", path, Some(body))
    }

    /// The faults that are still to strike.
    pub(crate) fn faults(&self) -> Vec<Value> {
        serde_json::from_value(self.sim("GET", "/_sim/faults", None)["faults"].take()).unwrap()
    }

    /// The operations of the calls that are held now; waits a moment for them.
    pub(crate) fn held_calls(&self) -> Vec<String> {
        std::thread::sleep(Duration::from_millis(50));
        let held = self.sim("GET", "/_sim/held?millis=200", None)["held"].take();
        let calls = held.as_array().unwrap().iter();
        calls.map(|call| call["operation"].as_str().unwrap().to_owned()).collect()
    }

    /// Takes all faults away.
    pub(crate) fn repair(&self) {
        self.sim("DELETE", "/_sim/faults", None);
    }

    /// A call to ECS by somebody else with the account's role: Pinion isn't the only one there.
    pub(crate) fn by_hand(&self, role: &str, operation: &str, parameters: &Value) -> Value {
        by_hand(&self.endpoint, role, operation, parameters)
    }

    /// The same to EC2; the parameters are a form's, without action and version.
    pub(crate) fn by_hand_in_ec2(&self, role: &str, operation: &str, parameters: &str) -> String {
        let form = format!("Action={operation}&Version=2016-11-15&{parameters}");
        let headers = [("Content-Type", "application/x-www-form-urlencoded".to_owned())];
        as_somebody(&self.endpoint, role, "ec2", &headers, &form)
    }

    /// The same to Auto Scaling; the parameters are a form's, without action and version.
    pub(crate) fn by_hand_in_a_group(&self, role: &str, operation: &str, parameters: &str) {
        by_hand_in_a_group(&self.endpoint, role, operation, parameters);
    }
}

/// What the controller at an address says of everything; null if it doesn't.
fn status_at(address: &str) -> Value {
    let answer = http::get(&format!("http://{address}/api/v1/status")).filter(|(status, _)| *status == 200);
    answer.map_or(Value::Null, |(_, text)| serde_json::from_str(&text).unwrap())
}

/// How many passes of an environment have ended.
pub(crate) fn passes(environment: &Value) -> u64 {
    environment["passes"].as_u64().unwrap_or_default()
}

/// A call to ECS by somebody with a role, at a simulator.
pub(crate) fn by_hand(endpoint: &str, role: &str, operation: &str, parameters: &Value) -> Value {
    let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
    let headers = [("X-Amz-Target", target), ("Content-Type", "application/x-amz-json-1.1".to_owned())];
    serde_json::from_str(&as_somebody(endpoint, role, "ecs", &headers, &parameters.to_string())).unwrap()
}

/// A call to Auto Scaling by somebody with a role, at a simulator.
pub(crate) fn by_hand_in_a_group(endpoint: &str, role: &str, operation: &str, parameters: &str) {
    let form = format!("Action={operation}&Version=2011-01-01&{parameters}");
    let headers = [("Content-Type", "application/x-www-form-urlencoded".to_owned())];
    as_somebody(endpoint, role, "autoscaling", &headers, &form);
}

fn as_somebody(endpoint: &str, role: &str, service: &str, headers: &[(&str, String)], body: &str) -> String {
    let url = format!("{}/", endpoint);
    let signed = |key: &str, service: &str| {
        format!(
            "AWS4-HMAC-SHA256 Credential={key}/20261101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
        )
    };
    let form = format!("Action=AssumeRole&Version=2011-06-15&RoleArn={role}&RoleSessionName=somebody");
    let to_assume = [
        ("Authorization", signed("AKIASOMEBODY", "sts")),
        ("Content-Type", "application/x-www-form-urlencoded".to_owned()),
    ];
    let post = |headers: &[(&str, String)], body: &str| {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (status, text) = http::request("POST", &url, &headers, body).unwrap();
        assert_eq!(status, 200, "{body} by hand: {text}");
        text
    };
    let session = post(&to_assume, &form);
    let member = |name: &str| {
        let (_, rest) = session.split_once(&format!("<{name}>")).unwrap();
        rest.split_once('<').unwrap().0.to_owned()
    };
    let mut all = vec![
        ("Authorization", signed(&member("AccessKeyId"), service)),
        ("X-Amz-Security-Token", member("SessionToken")),
    ];
    all.extend_from_slice(headers);
    post(&all, body)
}

/// What the controller says.
impl Another {
    /// The same as `Stage::status`.
    pub(crate) fn status(&self) -> Value {
        status_at(&self.address)
    }
}

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
        status_at(&self.address)
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

/// What the controller leaves.
impl Stage {
    /// Damages the history that it has left.
    pub(crate) fn damage_history(&self) {
        let path = self.folder.path().join("cache/history.log");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, bytes.iter().map(|byte| !byte).collect::<Vec<_>>()).unwrap();
    }
}

/// Waiting.
impl Stage {
    /// Waits until something is so. A minute is enough for everything on this stage; a failure shows all that is known.
    pub(crate) fn wait_until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let limit = now() + TIMEOUT;
        while !is(self) {
            assert!(now() < limit, "not within {TIMEOUT:?}: {what}");
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
        let passes = || {
            let status = self.status();
            let environments = status["environments"].as_object().into_iter().flatten();
            environments.map(|(_, environment)| passes(environment)).min().unwrap_or(0)
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
        println!("== simulator\n{}", tail(&self.sim.as_ref().map(Process::output).unwrap_or_default(), 20));
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show();
        }
    }
}
