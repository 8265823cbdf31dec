//! A forge and other receivers of notifications over HTTP: a real server that keeps what it is sent, answers as the forge
//! it plays, and fails when the test says so.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};

/// The token that it asks for.
pub(crate) const TOKEN: &str = "forge-token-0123456789";

/// Whose API it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    GitHub,
    GitLab,
    Gitea,
}

/// What it does instead of answering.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// Answers with this status.
    Status(u16),
    /// Answers 429 and asks to wait for so many seconds.
    Limited(u64),
    /// Never answers.
    Hang,
    /// Closes the connection.
    Close,
}

/// A request that it has had.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// By names in small letters.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// The status of the answer; 0 if there was none.
    pub(crate) status: u16,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A status that a commit was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) commit: String,
    pub(crate) context: String,
    pub(crate) state: String,
    pub(crate) description: String,
}

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    told: Vec<Told>,
    faults: VecDeque<Fault>,
    down: Option<Fault>,
}

/// The server.
pub(crate) struct Forge {
    address: SocketAddr,
    speaks: Speaks,
    state: Arc<Mutex<State>>,
    /// Held by connections that never answer.
    _never: Arc<Condvar>,
}

impl Forge {
    pub(crate) fn speaking(speaks: Speaks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (state, never) = (Arc::new(Mutex::new(State::default())), Arc::new(Condvar::new()));
        let (its, held) = (Arc::clone(&state), Arc::clone(&never));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (state, never) = (Arc::clone(&its), Arc::clone(&held));
                std::thread::spawn(move || serve(stream.unwrap(), speaks, &state, &never));
            }
        });
        Self { address, speaks, state, _never: never }
    }

    /// Where the API is.
    pub(crate) fn api_url(&self) -> String {
        let path = match self.speaks {
            Speaks::GitHub => "/api/v3",
            Speaks::GitLab => "/api/v4",
            Speaks::Gitea => "/api/v1",
        };
        self.url(path)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it does with the next requests.
    pub(crate) fn will(&self, faults: &[Fault]) {
        self.state.lock().unwrap().faults.extend(faults);
    }

    /// What it does with all requests from now on.
    pub(crate) fn is_down(&self, fault: Option<Fault>) {
        self.state.lock().unwrap().down = fault;
    }

    /// The statuses that a commit was given, in order, each `context state: description`.
    pub(crate) fn told(&self, commit: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let mine = state.told.iter().filter(|told| told.commit == commit);
        mine.map(|told| format!("{} {}: {}", told.context, told.state, told.description)).collect()
    }

    /// All statuses that any commit was given.
    pub(crate) fn all_told(&self) -> Vec<Told> {
        self.state.lock().unwrap().told.clone()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    /// The requests at a path, in order, that were taken.
    pub(crate) fn taken(&self, path: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.path == path && request.status == 200).collect()
    }
}

fn serve(mut stream: TcpStream, speaks: Speaks, state: &Mutex<State>, never: &Condvar) {
    let Some(mut request) = receive(&stream) else { return };
    let mut held = state.lock().unwrap();
    let fault = held.faults.pop_front().or(held.down);
    let (status, more, answer) = match fault {
        Some(Fault::Hang) => {
            held.requests.push(request);
            // Until the other side has had enough; nobody ever notifies.
            let waited = never.wait_timeout(held, std::time::Duration::from_secs(60)).unwrap();
            drop(waited);
            return;
        }
        Some(Fault::Close) => {
            held.requests.push(request);
            return;
        }
        Some(Fault::Status(status)) => (status, String::new(), json!({ "message": "as the test says" })),
        Some(Fault::Limited(seconds)) => (429, format!("Retry-After: {seconds}\r\n"), json!({ "message": "too many" })),
        None => {
            let (status, answer) = answer(&request, speaks, &mut held);
            (status, String::new(), answer)
        }
    };
    request.status = status;
    held.requests.push(request);
    drop(held);
    let answer = answer.to_string();
    let length = answer.len();
    let head = format!("HTTP/1.1 {status} Test\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n");
    stream.write_all(format!("{head}{more}Connection: close\r\n\r\n{answer}").as_bytes()).ok();
}

fn receive(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length =
        headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, headers, body: String::from_utf8(body).unwrap(), status: 0 })
}

/// As the forge's documentation has it.
fn answer(request: &Request, speaks: Speaks, state: &mut State) -> (u16, Value) {
    if request.path.starts_with("/webhook") {
        return (200, json!({ "ok": true }));
    }
    let (prefix, header, token) = match speaks {
        Speaks::GitHub => ("/api/v3/repos/acme/environments/", "authorization", format!("Bearer {TOKEN}")),
        Speaks::Gitea => ("/api/v1/repos/acme/environments/", "authorization", format!("token {TOKEN}")),
        Speaks::GitLab => ("/api/v4/projects/acme%2Fenvironments/", "private-token", TOKEN.to_owned()),
    };
    if request.header(header) != token {
        return (401, json!({ "message": "Bad credentials" }));
    }
    let Some(rest) = request.path.strip_prefix(prefix) else { return (404, json!({ "message": "Not Found" })) };
    let (path, _) = rest.split_once('?').unwrap_or((rest, ""));
    match (request.method.as_str(), path.split('/').collect::<Vec<_>>().as_slice()) {
        ("POST", ["statuses", commit]) => give(&request.json(), commit, speaks, state),
        ("GET", ["commits", commit, "status"]) if speaks != Speaks::GitLab => {
            let key = if speaks == Speaks::GitHub { "state" } else { "status" };
            (200, json!({ "statuses": list(commit, "context", key, state) }))
        }
        ("GET", ["repository", "commits", commit, "statuses"]) if speaks == Speaks::GitLab => {
            (200, list(commit, "name", "status", state).into())
        }
        _ => (404, json!({ "message": "Not Found" })),
    }
}

/// The newest status of each context.
fn list(commit: &str, name: &str, key: &str, state: &State) -> Vec<Value> {
    let mine: Vec<(usize, &Told)> = state.told.iter().enumerate().filter(|(_, told)| told.commit == commit).collect();
    let newest =
        mine.iter().filter(|(at, told)| !mine.iter().any(|(later, other)| later > at && other.context == told.context));
    newest
        .map(|(at, told)| json!({ "id": at + 1, name: told.context, key: told.state, "description": told.description }))
        .collect()
}

fn give(body: &Value, commit: &str, speaks: Speaks, state: &mut State) -> (u16, Value) {
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let (name, longest) = match speaks {
        Speaks::GitHub => ("context", 140),
        Speaks::Gitea => ("context", 255),
        Speaks::GitLab => ("name", 255),
    };
    let known: &[&str] = match speaks {
        Speaks::GitHub => &["error", "failure", "pending", "success"],
        Speaks::Gitea => &["pending", "success", "error", "failure", "warning"],
        Speaks::GitLab => &["pending", "running", "success", "failed", "canceled", "skipped"],
    };
    let told =
        Told { commit: commit.to_owned(), context: text(name), state: text("state"), description: text("description") };
    if !known.contains(&told.state.as_str()) || told.context.is_empty() || told.description.chars().count() > longest {
        return (422, json!({ "message": format!("Validation Failed: {body}") }));
    }
    let before = state.told.iter().rfind(|other| other.commit == told.commit && other.context == told.context);
    if speaks == Speaks::GitLab && before.is_some_and(|before| before.state == told.state) {
        let message = format!("Cannot transition status via :run from :{} (Reason(s): ...)", told.state);
        return (400, json!({ "message": message }));
    }
    state.told.push(told);
    (201, json!({}))
}
