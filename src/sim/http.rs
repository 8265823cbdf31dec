//! The listener: AWS calls at `/`, the control API under `/_sim/`.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use super::faults::{Faults, When};
use super::journal::{Entry, Journal};
use super::service::{dispatch, is_write, role_id};
use super::state;
use super::wire::{ApiError, Call, Caller, Encoded, Protocol, Scope, Service, decode_form, encode, iso, read_scope};
use super::world::{World, stable_hex};
use crate::clock::Clock;

/// What the listener, the control API and the ticker share.
#[derive(Debug)]
pub(crate) struct Stand {
    inner: Mutex<Inner>,
    clock: Arc<dyn Clock>,
    /// Held while saving, so that an older world never overwrites a newer one.
    path: Mutex<Option<PathBuf>>,
    /// Where answers are noted down.
    record: Option<Mutex<File>>,
}

/// What is behind the lock.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) world: World,
    pub(crate) journal: Journal,
    pub(crate) faults: Faults,
    /// Whether the world has changed since it was saved.
    pub(crate) dirty: bool,
    requests: u64,
}

impl Stand {
    pub(crate) fn new(world: World, journal: Journal, clock: Arc<dyn Clock>, path: Option<PathBuf>) -> Self {
        let requests = journal.last();
        let inner = Inner { world, journal, faults: Faults::default(), dirty: true, requests };
        Self { inner: Mutex::new(inner), clock, path: Mutex::new(path), record: None }
    }

    /// The same, noting its answers down.
    pub(crate) fn recording(mut self, file: Option<File>) -> Self {
        self.record = file.map(Mutex::new);
        self
    }

    fn note(&self, service: Service, operation: &str, answer: &Encoded) {
        let Some(file) = &self.record else { return };
        let line = json!({
            "service": service.name(),
            "operation": operation,
            "status": answer.status,
            "body": answer.body,
        });
        let written = writeln!(file.lock().unwrap_or_else(PoisonError::into_inner), "{line}");
        if let Err(error) = written {
            tracing::warn!(%error, "an answer of the stand-in can't be noted down");
        }
    }

    /// Wall-clock milliseconds.
    pub(crate) fn wall(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    /// The world, with all that was due by now having happened.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let wall = self.wall();
        let due = inner.world.segment.engine_at(wall);
        let moved = inner.world.advance(due);
        inner.dirty |= moved;
        inner.world.wall = wall;
        inner
    }

    /// Lets engine time jump ahead; everything in between happens now.
    pub(crate) fn jump(&self, seconds: u64) {
        let mut inner = self.lock();
        let (wall, speed) = (inner.world.wall, inner.world.segment.speed);
        inner.world.anchor(wall, 0.0);
        let to = inner.world.now + seconds * 1000;
        inner.world.advance(to);
        inner.world.anchor(wall, speed);
        inner.dirty = true;
    }

    /// Writes the world to its file, if it has one and has changed.
    pub(crate) fn save(&self) {
        let path = self.path.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = path.as_deref() else { return };
        let world = {
            let mut inner = self.lock();
            if !inner.dirty {
                return;
            }
            inner.dirty = false;
            serde_json::to_vec(&inner.world)
        };
        let saved = world.map(|world| state::save(path, &world));
        match saved {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the stand-in's state is not saved"),
            Err(error) => tracing::warn!(%error, "the stand-in's state is not saved"),
        }
    }
}

/// A request as far as it could be read.
struct Request {
    scope: Scope,
    service: Service,
    operation: String,
    params: Value,
}

/// Answers an AWS call.
pub(crate) async fn serve(State(stand): State<Arc<Stand>>, headers: HeaderMap, body: Bytes) -> Response {
    let request_id = {
        let mut inner = stand.lock();
        inner.requests += 1;
        let (seed, number) = (inner.world.seed.to_string(), inner.requests.to_string());
        let hex = stable_hex(&["request", &seed, &number], 32);
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
    };
    let request = match read(&headers, &body) {
        Ok(request) => request,
        Err((service, error)) => return respond(encode(service, "", Err(&error), &request_id), &request_id),
    };
    let (service, operation) = (request.service, request.operation.clone());
    let encoded = answer(&stand, &headers, request, &request_id).await;
    stand.note(service, &operation, &encoded);
    respond(encoded, &request_id)
}

async fn answer(stand: &Stand, headers: &HeaderMap, request: Request, request_id: &str) -> Encoded {
    let Request { scope, service, operation, params } = request;
    let (caller, fault) = {
        let mut inner = stand.lock();
        let caller = identify(&inner.world, service, &scope, headers);
        let account = caller.as_ref().map_or("", |caller| caller.account.as_str());
        let fault = inner.faults.take(account, &scope.region, service, &operation);
        (caller, fault)
    };
    if let Some(fault) = &fault
        && fault.millis > 0
    {
        tokio::time::sleep(Duration::from_millis(fault.millis)).await;
    }
    let write = is_write(service, &operation);
    let error = fault.as_ref().and_then(|fault| fault.error(service).map(|error| (fault.when, error)));
    let account = caller.as_ref().ok().map(|caller| caller.account.clone());

    let (encoded, changes) = {
        let mut inner = stand.lock();
        let result = caller.and_then(|caller| {
            let call = Call {
                service,
                region: scope.region.clone(),
                operation: operation.clone(),
                params: params.clone(),
                caller,
            };
            match error {
                Some((When::Before, error)) => Err(error),
                Some((When::After, error)) => dispatch(&mut inner.world, &call).and(Err(error)),
                None => dispatch(&mut inner.world, &call),
            }
        });
        let encoded = encode(service, &operation, result.as_ref(), request_id);
        let entry = Entry {
            sequence: 0,
            at: iso(inner.world.wall).as_str().unwrap_or_default().to_owned(),
            engine: inner.world.now,
            account,
            service: service.name().to_owned(),
            region: scope.region,
            operation: operation.clone(),
            write,
            params,
            status: encoded.status,
            code: result.as_ref().err().map(|error| error.code.clone()),
            denied: result.err().and_then(|error| error.denied),
            request_id: request_id.to_owned(),
        };
        tracing::debug!(
            account = entry.account,
            service = entry.service,
            operation = entry.operation,
            status = entry.status,
            code = entry.code,
            "call"
        );
        inner.journal.add(entry);
        inner.world.calls = inner.journal.last();
        let changes = write || service == Service::Sts;
        inner.dirty |= changes;
        (encoded, changes)
    };
    // The answer must not be known before the change can outlive this process.
    if changes {
        stand.save();
    }
    encoded
}

/// Takes a request apart. An error comes with the service in whose form it is to be told.
fn read(headers: &HeaderMap, body: &[u8]) -> Result<Request, (Service, ApiError)> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let target = text("x-amz-target").and_then(|target| target.split_once('.'));
    // Without a signature the form of the answer follows from the form of the request.
    let guess = if target.is_some() { Service::Ecs } else { Service::Sts };
    let missing =
        || (guess, ApiError::new(403, "MissingAuthenticationToken", "Request is missing Authentication Token"));
    let scope = text("authorization").and_then(read_scope).ok_or_else(missing)?;
    let service = Service::from_scope(&scope.service).ok_or_else(|| {
        let why = format!("Credential should be scoped to correct service; the stand-in has no {}.", scope.service);
        let error = match guess.protocol() {
            Protocol::Json => ApiError::bad("InvalidSignatureException", why),
            Protocol::Ec2 | Protocol::Query => ApiError::new(403, "SignatureDoesNotMatch", why),
        };
        (guess, error)
    })?;
    if service.protocol() == Protocol::Json {
        let malformed = |why: String| (service, ApiError::bad("SerializationException", why));
        let (_, operation) = target.ok_or_else(|| (service, ApiError::unknown_operation(service, "")))?;
        let body = if body.is_empty() { b"{}" } else { body };
        let params: Map<String, Value> = serde_json::from_slice(body).map_err(|error| malformed(error.to_string()))?;
        return Ok(Request { scope, service, operation: operation.to_owned(), params: params.into() });
    }
    let mut params = decode_form(body);
    let operation = params.remove("Action").and_then(|action| action.as_str().map(str::to_owned));
    let operation =
        operation.ok_or_else(|| (service, ApiError::bad("MissingAction", "The request is missing an action.")))?;
    params.remove("Version");
    Ok(Request { scope, service, operation, params: params.into() })
}

/// Who holds an access key.
fn identify(world: &World, service: Service, scope: &Scope, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let key = scope.access_key.as_str();
    if let Some(session) = world.sessions.get(key) {
        let token = headers.get("x-amz-security-token").and_then(|token| token.to_str().ok());
        if token != Some(session.token.as_str()) {
            return Err(ApiError::unknown_key(service));
        }
        if world.wall >= session.expires {
            return Err(ApiError::expired(service));
        }
        let (account, role, name) = (&session.account, &session.role, &session.name);
        return Ok(Caller {
            account: account.clone(),
            arn: format!("arn:aws:sts::{account}:assumed-role/{role}/{name}"),
            user_id: format!("{}:{name}", role_id(account, role)),
            is_session: true,
            tags: session.tags.clone(),
            transitive: session.transitive.clone(),
        });
    }
    if let Some(held) = world.keys.get(key) {
        return Ok(held.clone());
    }
    // Temporary keys are ours to know; long-lived ones all belong to the controller's account.
    if key.starts_with("ASIA") {
        return Err(ApiError::unknown_key(service));
    }
    let account = &world.controller;
    Ok(Caller {
        account: account.clone(),
        arn: format!("arn:aws:iam::{account}:user/controller"),
        user_id: format!("AIDA{}", stable_hex(&["user", account], 17).to_ascii_uppercase()),
        ..Caller::default()
    })
}

fn respond(encoded: Encoded, request_id: &str) -> Response {
    let status = StatusCode::from_u16(encoded.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, encoded.body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(encoded.content_type));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-amzn-requestid", id.clone());
        headers.insert("x-amz-request-id", id);
    }
    response
}
