//! The listener: AWS calls at `/`, the control API under `/_sim/`.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::faults::{Fault, Faults, Held, HeldCall, Kind, Past, Struck, When, deliver, label};
use super::journal::{Entry, Journal};
use super::service::{dispatch, is_write, role_id};
use super::state;
use super::wire::{ApiError, Call, Caller, Encoded, Protocol, Scope, Service, decode_form, encode, iso, read_scope};
use super::world::{TICK, World, stable_hex};
use pinion_clock::Clock;

/// What the listener, the control API and the ticker share.
#[derive(Debug)]
pub(crate) struct Simulator {
    inner: Mutex<Inner>,
    clock: Arc<dyn Clock>,
    /// Held while saving, so that an older world never overwrites a newer one.
    path: Mutex<Option<PathBuf>>,
    /// Where answers are noted down.
    record: Option<Mutex<File>>,
    /// Calls that are held.
    pub(crate) held: Held,
}

/// What is behind the lock.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) world: World,
    pub(crate) journal: Journal,
    pub(crate) faults: Faults,
    /// How the world was, while reads lag.
    pub(crate) past: Past,
    /// Engine milliseconds that pass with every AWS call, besides those of the clock.
    pub(crate) per_call: u64,
    /// Whether the world has changed since it was saved.
    pub(crate) dirty: bool,
    requests: u64,
}

impl Inner {
    /// Lets engine time pass until `to`, and keeps what lagging reads may ask for on the way.
    fn advance(&mut self, to: u64) {
        let lag = self.faults.longest_lag();
        if lag == 0 {
            // What was kept for a fault that is over is older than the next one may ask for.
            self.past.forget();
        } else {
            let from = to.saturating_sub(lag).saturating_sub(TICK);
            if self.world.advance(from) {
                self.dirty = true;
                self.past.note(&mut self.world, lag);
            }
            while self.world.now + TICK <= to {
                let next = self.world.now + TICK;
                let moved = self.world.advance(next);
                self.dirty |= moved;
                if moved {
                    self.past.note(&mut self.world, lag);
                }
            }
        }
        self.dirty |= self.world.advance(to);
    }

    /// Lets engine time jump ahead; everything in between happens now.
    pub(crate) fn jump(&mut self, milliseconds: u64) {
        let (wall, speed) = (self.world.wall, self.world.segment.speed);
        self.world.anchor(wall, 0.0);
        self.world.skipped = self.world.skipped.saturating_add(milliseconds);
        let to = self.world.now + milliseconds;
        self.advance(to);
        self.world.anchor(wall, speed);
        self.dirty = true;
    }
}

impl Simulator {
    pub(crate) fn new(world: World, journal: Journal, clock: Arc<dyn Clock>, path: Option<PathBuf>) -> Self {
        let requests = journal.last();
        let inner = Inner {
            world,
            journal,
            faults: Faults::default(),
            past: Past::default(),
            per_call: 0,
            dirty: true,
            requests,
        };
        Self { inner: Mutex::new(inner), clock, path: Mutex::new(path), held: Held::default(), record: None }
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
            tracing::warn!(%error, "an answer of the simulator can't be noted down");
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
        inner.advance(due);
        inner.world.wall = wall;
        inner
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
            Ok(Err(error)) => tracing::warn!(%error, "the simulator's state is not saved"),
            Err(error) => tracing::warn!(%error, "the simulator's state is not saved"),
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
pub(crate) async fn serve(State(stand): State<Arc<Simulator>>, headers: HeaderMap, body: Bytes) -> Response {
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
        Err((service, error)) => return respond(encode(service, "", Err(&error), &request_id), &request_id, None),
    };
    let (service, operation) = (request.service, request.operation.clone());
    let (encoded, fault) = answer(&stand, &headers, request, &request_id).await;
    stand.note(service, &operation, &encoded);
    respond(encoded, &request_id, fault.as_ref())
}

async fn answer(
    stand: &Simulator,
    headers: &HeaderMap,
    request: Request,
    request_id: &str,
) -> (Encoded, Option<Fault>) {
    let Request { scope, service, operation, params } = request;
    let write = is_write(service, &operation);
    let read = !write && service != Service::Sts;
    let (caller, strike) = {
        let mut inner = stand.lock();
        let caller = identify(&inner.world, service, &scope, headers);
        let account = caller.as_ref().map_or("", |caller| caller.account.as_str());
        let struck = Struck { account, region: &scope.region, service, operation: &operation };
        let wall = inner.world.wall;
        let strike = inner.faults.take(struck, read, wall);
        if let Some(fault) = &strike.fault {
            let Inner { faults, world, .. } = &mut *inner;
            faults.spoil(fault, &scope.access_key, account, world);
        }
        let revoked = inner.faults.is_revoked(&scope.access_key);
        let caller = match (&strike.fault, caller) {
            (Some(fault), Ok(_)) if fault.kind == Kind::Expire => Err(ApiError::expired(service)),
            // Who somebody is may be asked by all.
            (_, Ok(caller)) if revoked && operation != "GetCallerIdentity" => {
                let action = format!("{}:{operation}", service.name());
                let why = " with an explicit deny in an identity-based policy";
                Err(ApiError::denied(service, &caller.arn, &action, "*", why))
            }
            (_, caller) => caller,
        };
        (caller, strike)
    };
    let fault = strike.fault;
    if let Some(fault) = &fault
        && fault.millis > 0
        && fault.kind != Kind::Slow
    {
        tokio::time::sleep(Duration::from_millis(fault.millis)).await;
    }
    let account = caller.as_ref().ok().map(|caller| caller.account.clone());
    let who = caller.as_ref().ok().map(|caller| caller.arn.clone());
    let hold = |when: When| {
        let held = fault.as_ref().filter(|fault| fault.kind == Kind::Hold && fault.when == when);
        let call = held.map(|fault| HeldCall {
            id: 0,
            fault: fault.id,
            when,
            account: account.clone(),
            service: service.name().to_owned(),
            operation: operation.clone(),
        });
        async move {
            if let Some(call) = call {
                stand.held.hold(call).await;
            }
        }
    };
    hold(When::Before).await;
    let error = fault.as_ref().and_then(|fault| fault.error(service).map(|error| (fault.when, error)));

    let (encoded, changes) = {
        let mut inner = stand.lock();
        if inner.per_call > 0 {
            let milliseconds = inner.per_call;
            inner.jump(milliseconds);
        }
        let mut before = match strike.lag {
            0 => None,
            lag => inner.past.at(inner.world.now, lag),
        };
        let result = caller.and_then(|caller| {
            let mut params = params.clone();
            if let Some(fault) = &fault {
                fault.bend(read, &mut params);
            }
            let call = Call { service, region: scope.region.clone(), operation: operation.clone(), params, caller };
            let world = before.as_mut().unwrap_or(&mut inner.world);
            match error {
                Some((When::Before, error)) => Err(error),
                Some((When::After, error)) => dispatch(world, &call).and(Err(error)),
                None => dispatch(world, &call),
            }
        });
        let encoded = encode(service, &operation, result.as_ref(), request_id);
        let entry = Entry {
            sequence: 0,
            at: iso(inner.world.wall).as_str().unwrap_or_default().to_owned(),
            engine: inner.world.now,
            account: account.clone(),
            caller: who,
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
        let lag = inner.faults.longest_lag();
        if write && lag > 0 {
            let Inner { past, world, .. } = &mut *inner;
            past.note(world, lag);
        }
        (encoded, changes)
    };
    // The answer must not be known before the change can outlive this process.
    if changes {
        stand.save();
    }
    hold(When::After).await;
    (encoded, fault)
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
        let why = format!("Credential should be scoped to correct service; the simulator has no {}.", scope.service);
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

fn respond(encoded: Encoded, request_id: &str, fault: Option<&Fault>) -> Response {
    let status = StatusCode::from_u16(encoded.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = deliver(status, encoded.body, fault);
    label(&mut response, encoded.content_type, request_id, fault);
    response
}
