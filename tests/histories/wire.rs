//! What lies between the controller and the simulator: each of Pinion's calls goes through here. It is recorded, and may
//! be where the controller dies.

use std::collections::BTreeMap;
use std::pin::pin;
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
use pinion::sim::Local;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};

use super::mutants::Mutant;
use super::world::REGION;

/// A call of Pinion's.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Since the history began.
    pub(crate) at: Duration,
    /// Which start of the controller made it, counted from 1.
    pub(crate) life: usize,
    /// The environment that it was made for.
    pub(crate) environment: String,
    /// The account that its credentials lead to.
    pub(crate) account: String,
    pub(crate) operation: String,
    /// The parameters: a JSON body, or a form as a flat object.
    pub(crate) params: Value,
    /// 0 if there was no answer.
    pub(crate) status: u16,
    pub(crate) answer: String,
    /// The account's groups and services before and after, for calls that change something.
    pub(crate) before: Value,
    pub(crate) after: Value,
}

impl Call {
    pub(crate) fn is_write(&self) -> bool {
        is_write(&self.operation)
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.params[name].as_str().unwrap_or_default()
    }

    /// The text of an XML element of the answer.
    pub(crate) fn element(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.answer.split_once(&format!("<{name}>"))?;
        rest.split_once('<').map(|(text, _)| text)
    }
}

fn is_write(operation: &str) -> bool {
    let reads = ["Describe", "List", "Get", "BatchGet", "AssumeRole"];
    !reads.iter().any(|verb| operation.starts_with(verb))
}

/// When the controller is to die.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Death {
    /// How many calls it may still make.
    pub(crate) calls: u8,
    pub(crate) after: bool,
}

/// What all connections of a history share.
pub(crate) struct Wire {
    pub(crate) sim: Local,
    pub(crate) mutant: Option<Mutant>,
    began: Instant,
    state: Mutex<State>,
    /// Rung when the controller is to die now.
    pub(crate) died: Notify,
    calls: mpsc::UnboundedSender<Call>,
    /// For the mutant whose accounts are no islands.
    queue: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    life: usize,
    death: Option<Death>,
    dead: bool,
    /// Environment and account of each access key.
    keys: BTreeMap<String, (String, String)>,
    /// Roles that lead elsewhere, and until when.
    misrouted: BTreeMap<String, (String, Instant)>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

/// HTTP for one life of the controller.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    wire: Arc<Wire>,
    life: usize,
}

impl HttpClient for Line {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Line {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let line = self.clone();
        HttpConnectorFuture::new(async move { line.wire.send(line.life, request).await })
    }
}

impl Wire {
    pub(crate) fn new(sim: Local, mutant: Option<Mutant>) -> (Arc<Self>, mpsc::UnboundedReceiver<Call>) {
        let (calls, received) = mpsc::unbounded_channel();
        let wire = Self {
            sim,
            mutant,
            began: Instant::now(),
            state: Mutex::default(),
            died: Notify::new(),
            calls,
            queue: tokio::sync::Mutex::new(()),
        };
        (Arc::new(wire), received)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// A line for another life of the controller.
    pub(crate) fn line(self: &Arc<Self>) -> Line {
        let life = {
            let mut state = self.state.lock().unwrap();
            state.life += 1;
            (state.death, state.dead) = (None, false);
            state.life
        };
        Line { wire: Arc::clone(self), life }
    }

    pub(crate) fn die(&self, death: Death) {
        self.state.lock().unwrap().death = Some(death);
    }

    /// Whether the controller has made its last call.
    pub(crate) fn is_dead(&self) -> bool {
        self.state.lock().unwrap().dead
    }

    /// Makes a role lead to another account for a while.
    pub(crate) fn misroute(&self, account: &str, to: &str, seconds: u8) {
        let until = Instant::now() + Duration::from_secs(seconds.into());
        self.state.lock().unwrap().misrouted.insert(account.to_owned(), (to.to_owned(), until));
    }

    pub(crate) fn route(&self) {
        self.state.lock().unwrap().misrouted.clear();
    }

    /// Whether this call is the controller's last: `Some(true)` if it still takes effect.
    fn is_last(&self, life: usize) -> Option<bool> {
        let mut state = self.state.lock().unwrap();
        if state.life != life || state.dead {
            return Some(false);
        }
        let death = state.death.as_mut()?;
        if death.calls > 0 {
            death.calls -= 1;
            return None;
        }
        let after = death.after;
        state.dead = true;
        Some(after)
    }

    async fn send(&self, life: usize, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let _turn = match self.mutant {
            Some(Mutant::OneQueueForAll) => Some(self.queue.lock().await),
            _ => None,
        };
        let (mut headers, mut body) = (HeaderMap::new(), Bytes::new());
        for (name, value) in request.headers() {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        if let Some(bytes) = request.body().bytes() {
            body = Bytes::copy_from_slice(bytes);
        }
        let (operation, _) = read(&headers, &body);
        if let Some(mutant) = self.mutant {
            body = mutant.request(&operation, body);
        }
        let (_, params) = read(&headers, &body);
        let (environment, account) = self.whose(&headers, &operation, &params);
        if operation == "AssumeRole" {
            let role = params["RoleArn"].as_str().unwrap_or_default();
            let from = role.split(':').nth(4).unwrap_or_default();
            if from != account {
                body = String::from_utf8(body.to_vec()).unwrap().replace(from, &account).into();
            }
        }
        let last = self.is_last(life);
        if last == Some(false) {
            self.died.notify_one();
            return std::future::pending().await;
        }
        let at = self.elapsed();
        let write = is_write(&operation);
        let before = if write { self.fleet(&account).await } else { Value::Null };
        let mut answered = Request::post("/").body(body).unwrap();
        *answered.headers_mut() = headers;
        let response = self.sim.call(answered).await;
        let status = response.status().as_u16();
        let after = if write { self.fleet(&account).await } else { Value::Null };
        let mut call =
            Call { at, life, environment, account, operation, params, status: 0, answer: String::new(), before, after };
        let mut body = pin!(to_bytes(response.into_body(), usize::MAX));
        // What is whole is there at once. What isn't may never be, and has had its effect all the same.
        let known = timeout(Duration::ZERO, &mut body).await;
        let bytes = match known {
            Ok(bytes) => bytes,
            Err(_) => {
                self.calls.send(call.clone()).unwrap();
                call.operation.clear();
                body.await
            }
        };
        let answer = bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
        let is_garbage = answer.contains("this is no answer");
        call.answer = answer;
        if let Some(mutant) = self.mutant {
            call.answer = mutant.answer(&operation_of(&call.params), call.answer, &call.environment);
        }
        if let Some((_, rest)) = call.answer.split_once("<AccessKeyId>")
            && let Some((key, _)) = rest.split_once('<')
        {
            let held = (call.environment.clone(), call.account.clone());
            self.state.lock().unwrap().keys.insert(key.to_owned(), held);
        }
        let answer = call.answer.clone();
        if !call.operation.is_empty() {
            call.status = if bytes.is_ok() && !is_garbage { status } else { 0 };
            self.calls.send(call).unwrap();
        }
        if last == Some(true) {
            self.died.notify_one();
            return std::future::pending().await;
        }
        bytes.map_err(|error| ConnectorError::io(error.into()))?;
        let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(answer));
        response.headers_mut().insert("x-amzn-requestid", "request");
        Ok(response)
    }

    /// The environment that a call is made for, and the account that it goes to.
    fn whose(&self, headers: &HeaderMap, operation: &str, params: &Value) -> (String, String) {
        let state = self.state.lock().unwrap();
        if operation == "AssumeRole" {
            let session = params["RoleSessionName"].as_str().unwrap_or_default();
            let account = params["RoleArn"].as_str().and_then(|role| role.split(':').nth(4)).unwrap_or_default();
            let elsewhere = state.misrouted.get(account).filter(|(_, until)| Instant::now() < *until);
            let account = elsewhere.map_or(account, |(to, _)| to);
            return (session.trim_start_matches("pinion-").to_owned(), account.to_owned());
        }
        let authorization = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let key = authorization.split_once("Credential=").and_then(|(_, rest)| rest.split_once('/'));
        key.and_then(|(key, _)| state.keys.get(key).cloned()).unwrap_or_default()
    }

    /// The groups and services of an account.
    pub(crate) async fn fleet(&self, account: &str) -> Value {
        self.ask("GET", "/_sim/fleet", &Value::Null).await["accounts"][account]["regions"][REGION].take()
    }

    /// Asks the simulator's control API.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let response = self.sim.call(request.body(body.to_string().into()).unwrap()).await;
        let status = response.status();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert!(status.is_success(), "{method} {path} {body}: {}", String::from_utf8_lossy(&bytes));
        serde_json::from_slice(&bytes).unwrap()
    }

    /// A call by somebody else, with the account's role.
    pub(crate) async fn by_hand(&self, account: &str, service: &str, operation: &str, params: &Value) -> (u16, String) {
        let role = format!("arn:aws:iam::{account}:role/pinion");
        let form = format!("Action=AssumeRole&Version=2011-06-15&RoleArn={role}&RoleSessionName=somebody");
        let signed = |key: &str, service: &str| {
            format!(
                "AWS4-HMAC-SHA256 Credential={key}/20261101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
            )
        };
        let request = Request::post("/").header("authorization", signed("AKIASOMEBODY", "sts"));
        let session = self.sim.call(request.body(form.into()).unwrap()).await;
        let session = to_bytes(session.into_body(), usize::MAX).await.unwrap_or_default();
        let session = String::from_utf8(session.to_vec()).unwrap_or_default();
        let member = |name: &str| {
            let found = session.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once('<'));
            found.map(|(text, _)| text.to_owned()).unwrap_or_default()
        };
        let mut request = Request::post("/")
            .header("authorization", signed(&member("AccessKeyId"), service))
            .header("x-amz-security-token", member("SessionToken"));
        let body = if service == "ecs" {
            request = request.header("x-amz-target", format!("AmazonEC2ContainerServiceV20141113.{operation}"));
            params.to_string()
        } else {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("Action", operation);
            for (name, value) in params.as_object().unwrap() {
                form.append_pair(name, value.as_str().unwrap());
            }
            form.finish()
        };
        let response = self.sim.call(request.body(body.into()).unwrap()).await;
        let status = response.status().as_u16();
        let answer = to_bytes(response.into_body(), usize::MAX).await.unwrap_or_default();
        (status, String::from_utf8_lossy(&answer).into_owned())
    }
}

/// The operation of a form.
fn operation_of(params: &Value) -> String {
    params["Action"].as_str().unwrap_or_default().to_owned()
}

/// The operation and the parameters of a request.
fn read(headers: &HeaderMap, body: &[u8]) -> (String, Value) {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    if let Some((_, operation)) = target.and_then(|target| target.split_once('.')) {
        return (operation.to_owned(), serde_json::from_slice(body).unwrap_or(json!({})));
    }
    let form: serde_json::Map<String, Value> = url::form_urlencoded::parse(body)
        .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
        .collect();
    (form.get("Action").and_then(Value::as_str).unwrap_or_default().to_owned(), Value::Object(form))
}
