//! A hermetic Git repository and servers for it: `git http-backend` behind a small HTTP server that checks a token and
//! counts, and `git daemon`.

use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use tempfile::TempDir;

/// A bare repository `repos/environments.git` that servers show, and a working copy that pushes to it.
pub(crate) struct Repo {
    folder: TempDir,
    /// Seconds since 1970 of the next commit.
    clock: Cell<i64>,
}

impl Repo {
    /// Both empty, with `main` checked out.
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let repo = Self { folder, clock: Cell::new(1_700_000_000) };
        std::fs::create_dir_all(repo.work()).unwrap();
        let bare = repo.bare().to_str().unwrap().to_owned();
        repo.git(&["init", "--quiet", "--bare", "--initial-branch=main", &bare]);
        for setting in ["http.receivepack=true", "uploadpack.allowFilter=true"] {
            let (key, value) = setting.split_once('=').unwrap();
            repo.git(&["--git-dir", &bare, "config", key, value]);
        }
        repo.git(&["init", "--quiet", "--initial-branch=main"]);
        repo.git(&["remote", "add", "origin", &bare]);
        repo
    }

    /// The folder that servers serve.
    pub(crate) fn repos(&self) -> PathBuf {
        self.folder.path().join("repos")
    }

    /// The bare repository.
    pub(crate) fn bare(&self) -> PathBuf {
        self.repos().join("environments.git")
    }

    /// The working copy.
    pub(crate) fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// The bare repository's file URL.
    pub(crate) fn file_url(&self) -> String {
        format!("file://{}", self.bare().display())
    }

    /// Runs git in the working copy; its output without the last line break.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let output = hermetic(&mut Command::new("git"), self.folder.path())
            .args(arguments)
            .current_dir(self.work())
            .envs(self.identity())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "git {arguments:?} failed: {errors}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Who commits, and when: for programs that run git.
    pub(crate) fn identity(&self) -> [(&'static str, String); 6] {
        let date = format!("{} +0000", self.clock.get());
        [
            ("GIT_AUTHOR_NAME", "Ada Example".to_owned()),
            ("GIT_AUTHOR_EMAIL", "ada@example.com".to_owned()),
            ("GIT_COMMITTER_NAME", "Forge".to_owned()),
            ("GIT_COMMITTER_EMAIL", "forge@example.com".to_owned()),
            ("GIT_AUTHOR_DATE", date.clone()),
            ("GIT_COMMITTER_DATE", date),
        ]
    }

    /// Writes a file into the working copy.
    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.work().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// Commits everything, a minute after the last commit; the new commit.
    pub(crate) fn commit(&self, message: &str) -> String {
        self.tick();
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.head()
    }

    /// Writes one file and commits; the new commit.
    pub(crate) fn set(&self, path: &str, text: &str) -> String {
        self.write(path, text).commit(&format!("{path}: {text}"))
    }

    /// The commit that is checked out.
    pub(crate) fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    /// Checks a new branch out.
    pub(crate) fn branch(&self, name: &str) {
        self.git(&["checkout", "--quiet", "-b", name]);
    }

    /// Checks a branch or commit out.
    pub(crate) fn checkout(&self, name: &str) {
        self.git(&["checkout", "--quiet", name]);
    }

    /// Merges a branch with a merge commit; that commit.
    pub(crate) fn merge(&self, name: &str) -> String {
        self.tick();
        self.git(&["merge", "--quiet", "--no-ff", "--message", &format!("Merge {name}"), name]);
        self.head()
    }

    /// Pushes all branches.
    pub(crate) fn push(&self) {
        self.git(&["push", "--quiet", "origin", "--all"]);
    }

    /// Pushes all branches, whatever the server has.
    pub(crate) fn force_push(&self) {
        self.git(&["push", "--quiet", "--force", "origin", "--all"]);
    }

    /// The next commit is of this very second; most are of a time long ago, so that their ids don't change.
    pub(crate) fn commits_are_of_now(&self) {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        self.clock.set(i64::try_from(now.as_secs()).unwrap());
    }

    fn tick(&self) {
        self.clock.set(self.clock.get() + 60);
    }
}

/// Takes the user's and the machine's Git configuration away from a command.
pub(crate) fn hermetic<'c>(command: &'c mut Command, home: &Path) -> &'c mut Command {
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "XDG_CONFIG_HOME", "GIT_PROTOCOL"] {
        command.env_remove(variable);
    }
    command
        .env("HOME", home)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
}

/// A request that a [`GitServer`] has had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// `GET` or `POST`.
    pub(crate) method: String,
    /// The path, without the query.
    pub(crate) path: String,
    /// The command of Git's protocol 2: `ls-refs` or `fetch`.
    pub(crate) command: Option<String>,
    /// The status of the answer.
    pub(crate) status: u16,
    /// Bytes of the request's body and of the answer's.
    pub(crate) bytes: usize,
}

/// An HTTP server for the repositories in a folder. It ends when it is dropped.
pub(crate) struct GitServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<tokio::runtime::Runtime>,
}

struct Shared {
    repos: PathBuf,
    backend: PathBuf,
    state: Mutex<Served>,
}

#[derive(Default)]
struct Served {
    token: Option<String>,
    status: Option<u16>,
    rubbish: bool,
    /// How long it thinks before it answers.
    delay: Duration,
    requests: Vec<Request>,
}

impl GitServer {
    /// Serves the repositories of a [`Repo`] on a free port of the loopback address.
    pub(crate) fn start(repo: &Repo) -> Self {
        Self::serve(&repo.repos())
    }

    /// Serves all bare repositories in a folder.
    pub(crate) fn serve(repos: &Path) -> Self {
        let backend = exec_path().join("git-http-backend");
        assert!(
            backend.exists(),
            "{} is missing; install Debian's package `git` (elsewhere: `git-core` or `git-daemon`)",
            backend.display()
        );
        let shared = Arc::new(Shared { repos: repos.to_owned(), backend, state: Mutex::default() });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { address, shared, runtime: Some(runtime) }
    }

    /// From now on asks for this token, as the password of basic authentication.
    pub(crate) fn token(self, token: &str) -> Self {
        self.set_token(token);
        self
    }

    /// Changes the token.
    pub(crate) fn set_token(&self, token: &str) {
        self.shared.state.lock().unwrap().token = Some(token.to_owned());
    }

    /// From now on answers every request with this status.
    pub(crate) fn fail_with(&self, status: u16) {
        self.shared.state.lock().unwrap().status = Some(status);
    }

    /// From now on answers every request with what isn't Git's.
    pub(crate) fn talk_rubbish(&self) {
        self.shared.state.lock().unwrap().rubbish = true;
    }

    /// From now on thinks for so long before each answer.
    pub(crate) fn think_for(&self, delay: Duration) {
        self.shared.state.lock().unwrap().delay = delay;
    }

    /// From now on answers as it should, and asks for no other token than before.
    pub(crate) fn repair(&self) {
        let mut state = self.shared.state.lock().unwrap();
        (state.status, state.rubbish, state.delay) = (None, false, Duration::ZERO);
    }

    /// The URL of `environments.git`.
    pub(crate) fn url(&self) -> String {
        self.url_of("environments.git")
    }

    /// The URL of a repository.
    pub(crate) fn url_of(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// The requests since the last call of this.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.shared.state.lock().unwrap().requests)
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let (token, forced, rubbish, delay) = {
        let state = shared.state.lock().unwrap();
        (state.token.clone(), state.status, state.rubbish, state.delay)
    };
    tokio::time::sleep(delay).await;
    let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let password = authorization.as_deref().and_then(password_of);
    let (sent, command) = (body.len(), command_of(&body));
    let path = uri.path().to_owned();
    let (status, answer_headers, bytes) = if let Some(status) = forced {
        (status, Vec::new(), Vec::new())
    } else if rubbish {
        (
            200,
            vec![("content-type".to_owned(), "text/html".to_owned())],
            b"<h1>Sign in to the guest network</h1>".to_vec(),
        )
    } else if token.is_some() && token != password {
        (401, vec![("www-authenticate".to_owned(), "Basic realm=\"test\"".to_owned())], Vec::new())
    } else {
        let (shared, method, uri) = (Arc::clone(&shared), method.clone(), uri.clone());
        tokio::task::spawn_blocking(move || cgi(&shared, &method, &uri, &headers, &body)).await.unwrap()
    };
    let request = Request { method: method.to_string(), path, command, status, bytes: sent + bytes.len() };
    shared.state.lock().unwrap().requests.push(request);
    let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    for (name, value) in answer_headers {
        response = response.header(name, value);
    }
    response.body(Body::from(bytes)).unwrap()
}

/// Runs `git http-backend` for one request: the status, the headers and the body of its answer.
fn cgi(
    shared: &Shared,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
    let mut child = hermetic(&mut Command::new(&shared.backend), &shared.repos)
        .env("GIT_PROJECT_ROOT", &shared.repos)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_USER", "test")
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let body = body.to_vec();
    // A backend that refuses doesn't read its input.
    let writer = std::thread::spawn(move || stdin.write_all(&body).ok());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let end = output.stdout.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(output.stdout.len());
    let (head, rest) = output.stdout.split_at(end);
    let mut status = 200;
    let mut answer = Vec::new();
    for line in String::from_utf8_lossy(head).lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("status") {
            status = value.trim().split(' ').next().unwrap().parse().unwrap();
        } else {
            answer.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    (status, answer, rest.get(4..).unwrap_or_default().to_vec())
}

fn command_of(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let rest = text.split_once("command=")?.1;
    Some(rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect())
}

fn password_of(authorization: &str) -> Option<String> {
    let coded = authorization.strip_prefix("Basic ")?;
    let mut bits = 0_u32;
    let mut count = 0;
    let mut plain = Vec::new();
    for digit in coded.bytes().take_while(|byte| *byte != b'=') {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            plain.push((bits >> count & 255) as u8);
        }
    }
    Some(String::from_utf8(plain).ok()?.split_once(':')?.1.to_owned())
}

fn exec_path() -> PathBuf {
    let output =
        Command::new("git").arg("--exec-path").output().expect("git is missing; install Debian's package `git`");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// A `git daemon`. It ends when it is dropped.
pub(crate) struct GitDaemon {
    child: Child,
    port: u16,
}

impl GitDaemon {
    /// Serves the repositories of a [`Repo`].
    pub(crate) fn start(repo: &Repo) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut base = std::ffi::OsString::from("--base-path=");
        base.push(repo.repos());
        let child = hermetic(&mut Command::new(exec_path().join("git-daemon")), &repo.repos())
            .args(["--listen=127.0.0.1", "--export-all", "--reuseaddr", &format!("--port={port}")])
            .arg(base)
            .stderr(Stdio::null())
            .spawn()
            .expect("git-daemon is missing; install Debian's package `git`");
        let daemon = Self { child, port };
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return daemon;
            }
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        panic!("git daemon doesn't listen on port {port}");
    }

    /// The URL of `environments.git`.
    pub(crate) fn url(&self) -> String {
        format!("git://127.0.0.1:{}/environments.git", self.port)
    }
}

impl Drop for GitDaemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What a [`Cut`] does with a connection once enough has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Keeps it open and lets nothing more through.
    Hang,
    /// Closes it.
    Close,
}

/// A TCP proxy that lets so many bytes of the server's pass and then spoils all its connections.
pub(crate) struct Cut {
    port: u16,
    left: Arc<AtomicI64>,
}

impl Cut {
    /// Stands in front of a server on the loopback address.
    pub(crate) fn before(url: &str, bytes: i64, then: Then) -> Self {
        let server: SocketAddr = url.split('/').nth(2).unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let left = Arc::new(AtomicI64::new(bytes));
        let budget = Arc::clone(&left);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(server).unwrap());
                let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
                let budget = Arc::clone(&budget);
                std::thread::spawn(move || pass(server, client, &budget, then));
            }
        });
        Self { port, left }
    }

    /// The same URL through the proxy.
    pub(crate) fn url(&self, url: &str) -> String {
        let server = url.split('/').nth(2).unwrap();
        url.replace(server, &format!("127.0.0.1:{}", self.port))
    }

    /// Lets everything through from now on.
    pub(crate) fn repair(&self) {
        self.limit(i64::MAX);
    }

    /// Lets so many bytes pass from now on.
    pub(crate) fn limit(&self, bytes: i64) {
        self.left.store(bytes, Ordering::SeqCst);
    }
}

fn pass(mut server: TcpStream, mut client: TcpStream, left: &AtomicI64, then: Then) {
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = server.read(&mut buffer) {
        if left.fetch_sub(i64::try_from(length).unwrap(), Ordering::SeqCst) <= 0 {
            match then {
                Then::Hang => std::thread::sleep(std::time::Duration::from_secs(30)),
                Then::Close => {}
            }
            break;
        }
        if client.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    client.shutdown(std::net::Shutdown::Both).ok();
}
