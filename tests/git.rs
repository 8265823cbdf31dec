//! Git against real servers: polling, recovery, time-outs, secrets, trees and provenance.

mod certificates;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pinion::git::{
    Auth, GitError, Mirror, Mirrors, Objects, Poll, Programs, Provenances, RepositorySource, TokenSource, WorkingCopy,
};
use pinion::manifest::gather::TreeLimits;
use pinion::model::{CommitId, Provenance};
use secrecy::SecretString;
use tempfile::TempDir;

use crate::support::git::{Cut, GitDaemon, GitServer, Repo, Then};

const TOKEN: &str = "ghp_s3cr3tS3cr3tS3cr3t";
const PINS: &str = "environments/dev/pins.toml";

struct Fixture {
    cache: TempDir,
    mirror: Arc<Mirror>,
}

fn source(url: &str, branches: &[&str]) -> RepositorySource {
    RepositorySource {
        url: url.to_owned(),
        branches: branches.iter().map(ToString::to_string).collect(),
        auth: Auth::None,
        connect_timeout: Duration::from_secs(5),
        stall_timeout: Duration::from_secs(60),
        poll_timeout: Duration::from_secs(120),
    }
}

fn open(source: &RepositorySource, programs: Programs) -> Fixture {
    let cache = TempDir::new().unwrap();
    let mirror = Mirrors::new(cache.path().join("git"), programs).open(source).unwrap();
    Fixture { cache, mirror }
}

fn mirror(url: &str, branches: &[&str]) -> Fixture {
    open(&source(url, branches), Programs::default())
}

impl Fixture {
    fn poll(&self) -> Poll {
        self.mirror.poll(&AtomicBool::new(false)).unwrap()
    }

    fn fails(&self) -> GitError {
        self.mirror.poll(&AtomicBool::new(false)).unwrap_err()
    }

    /// The text of one file at a branch's tip.
    fn read(&self, poll: &Poll, branch: &str, path: &str) -> String {
        let tip = poll.branches[branch].as_ref().unwrap();
        let files = self.mirror.files(&tip.commit).unwrap();
        String::from_utf8(files.files[path].clone()).unwrap()
    }
}

fn tip(poll: &Poll, branch: &str) -> String {
    poll.branches[branch].as_ref().unwrap().commit.to_string()
}

fn started() -> Repo {
    let repo = Repo::new();
    repo.set(PINS, "frontend = \"1.0.0\"");
    repo.push();
    repo
}

fn token_auth(token: &str) -> Auth {
    Auth::Token(TokenSource::Environment { variable: "GIT_TOKEN".to_owned(), token: SecretString::from(token) })
}

/// Everything an error may be shown as.
fn shown(error: &GitError) -> String {
    let mut text = format!("{error}\n{error:?}\n{error:#?}");
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        text.push_str(&format!("\n{source}\n{source:?}"));
        next = source.source();
    }
    text
}

#[test]
fn an_idle_poll_is_one_listing_and_a_move_is_one_fetch() {
    let repo = started();
    let server = GitServer::start(&repo).token(TOKEN);
    let fixture =
        open(&RepositorySource { auth: token_auth(TOKEN), ..source(&server.url(), &["main"]) }, Programs::default());
    let first = fixture.poll();
    assert!(first.fetched);
    assert_eq!(tip(&first, "main"), repo.head());
    assert_eq!(first.branches["main"].as_ref().unwrap().previous, None);
    server.requests();

    let idle = fixture.poll();
    assert!(!idle.fetched);
    assert_eq!(idle.branches["main"].as_ref().unwrap().previous.as_ref().unwrap().as_str(), repo.head());
    let requests = server.requests();
    let commands: Vec<_> =
        requests.iter().map(|request| (request.method.as_str(), request.command.as_deref(), request.status)).collect();
    assert_eq!(commands, [("GET", None, 200), ("POST", Some("ls-refs"), 200)]);
    let bytes: usize = requests.iter().map(|request| request.bytes).sum();
    assert!(bytes < 1000, "an idle poll moved {bytes} bytes");

    let before = repo.head();
    repo.set(PINS, "frontend = \"1.1.0\"");
    repo.push();
    let moved = fixture.poll();
    assert!(moved.fetched);
    let branch = moved.branches["main"].as_ref().unwrap();
    assert_eq!((branch.commit.to_string(), branch.forced), (repo.head(), false));
    assert_eq!(branch.previous.as_ref().unwrap().as_str(), before);
    assert_eq!(fixture.read(&moved, "main", PINS), "frontend = \"1.1.0\"");
    let fetches = server.requests().iter().filter(|request| request.command.as_deref() == Some("fetch")).count();
    assert_eq!(fetches, 1);
}

#[test]
fn an_idle_poll_stays_small_beside_many_other_branches() {
    let repo = started();
    for index in 0..300 {
        repo.git(&["branch", &format!("topic/{index}")]);
    }
    repo.push();
    let server = GitServer::start(&repo);
    let fixture = mirror(&server.url(), &["main"]);
    fixture.poll();
    server.requests();
    fixture.poll();
    let bytes: usize = server.requests().iter().map(|request| request.bytes).sum();
    assert!(bytes < 1000, "an idle poll moved {bytes} bytes");
}

#[test]
fn two_branches_of_one_url_share_a_mirror_and_a_fetch() {
    let repo = started();
    repo.branch("production");
    repo.set(PINS, "frontend = \"0.9.0\"");
    repo.push();
    let server = GitServer::start(&repo);
    let cache = TempDir::new().unwrap();
    let mirrors = Mirrors::new(cache.path().to_owned(), Programs::default());
    let one = mirrors.open(&source(&server.url(), &["main"])).unwrap();
    let two = mirrors.open(&source(&server.url(), &["production"])).unwrap();
    assert!(Arc::ptr_eq(&one, &two));
    let fixture = Fixture { cache, mirror: one };
    fixture.poll();

    repo.set(PINS, "frontend = \"0.9.1\"");
    repo.checkout("main");
    repo.set(PINS, "frontend = \"1.1.0\"");
    repo.push();
    server.requests();
    let poll = fixture.poll();
    let fetches = server.requests().iter().filter(|request| request.command.as_deref() == Some("fetch")).count();
    assert_eq!(fetches, 1);
    assert_eq!(fixture.read(&poll, "main", PINS), "frontend = \"1.1.0\"");
    assert_eq!(fixture.read(&poll, "production", PINS), "frontend = \"0.9.1\"");
}

#[test]
fn a_force_push_is_followed_and_flagged() {
    let repo = started();
    let server = GitServer::start(&repo);
    let fixture = mirror(&server.url(), &["main"]);
    fixture.poll();
    let before = repo.head();
    repo.git(&["commit", "--quiet", "--amend", "--message", "rewritten"]);
    repo.force_push();
    let poll = fixture.poll();
    let branch = poll.branches["main"].as_ref().unwrap();
    assert!(branch.forced && poll.fetched);
    assert_eq!(branch.commit.as_str(), repo.head());
    assert_eq!(branch.previous.as_ref().unwrap().as_str(), before);
    assert!(!fixture.poll().branches["main"].as_ref().unwrap().forced);

    // Back to a commit that the mirror has already.
    repo.git(&["reset", "--quiet", "--hard", &before]);
    repo.force_push();
    let poll = fixture.poll();
    assert!(poll.branches["main"].as_ref().unwrap().forced);
    assert_eq!(tip(&poll, "main"), before);
}

#[test]
fn a_force_push_while_the_controller_was_away_is_flagged() {
    let repo = started();
    let cache = TempDir::new().unwrap();
    let start = || {
        Mirrors::new(cache.path().to_owned(), Programs::default()).open(&source(&repo.file_url(), &["main"])).unwrap()
    };
    let go = AtomicBool::new(false);
    start().poll(&go).unwrap();
    repo.git(&["commit", "--quiet", "--amend", "--message", "rewritten"]);
    repo.force_push();
    assert!(start().poll(&go).unwrap().branches["main"].as_ref().unwrap().forced);
}

#[test]
fn a_deleted_cache_is_cloned_again() {
    let repo = started();
    let server = GitServer::start(&repo);
    let fixture = mirror(&server.url(), &["main"]);
    let first = fixture.poll();
    std::fs::remove_dir_all(fixture.cache.path().join("git")).unwrap();
    let tip = &first.branches["main"].as_ref().unwrap().commit;
    let error = fixture.mirror.files(tip).unwrap_err();
    assert!(matches!(error, GitError::Mirror { .. }), "{error}");
    let poll = fixture.poll();
    assert!(poll.fetched && !poll.branches["main"].as_ref().unwrap().forced);
    assert_eq!(fixture.read(&poll, "main", PINS), "frontend = \"1.0.0\"");
    assert!(!fixture.poll().fetched);
}

#[test]
fn a_damaged_cache_is_cloned_again() {
    let repo = started();
    let fixture = mirror(&repo.file_url(), &["main"]);
    let damages: [&dyn Fn(&Path); 6] = [
        &|folder| std::fs::remove_file(folder.join("HEAD")).unwrap(),
        &|folder| std::fs::write(folder.join("config"), "[core\n\trubbish").unwrap(),
        &|folder| std::fs::write(folder.join("refs/remotes/origin/main"), "rubbish").unwrap(),
        &|folder| {
            std::fs::remove_dir_all(folder.join("objects/pack")).unwrap();
            std::fs::create_dir(folder.join("objects/pack")).unwrap();
        },
        &|folder| {
            std::fs::remove_dir_all(folder).unwrap();
            std::fs::write(folder, "a file in its place").unwrap();
        },
        &|folder| std::fs::write(folder.join("refs/remotes/origin/main.lock"), "").unwrap(),
    ];
    for (index, damage) in damages.iter().enumerate() {
        fixture.poll();
        damage(fixture.mirror.folder());
        repo.set(PINS, &format!("frontend = \"2.0.{index}\""));
        repo.push();
        let poll = fixture.poll();
        assert_eq!(tip(&poll, "main"), repo.head(), "damage {index}");
        assert_eq!(fixture.read(&poll, "main", PINS), format!("frontend = \"2.0.{index}\""), "damage {index}");
    }
}

#[test]
fn an_object_that_cannot_be_read_leads_to_a_new_clone() {
    let repo = started();
    let fixture = mirror(&repo.file_url(), &["main"]);
    let poll = fixture.poll();
    let pack = std::fs::read_dir(fixture.mirror.folder().join("objects/pack")).unwrap();
    let pack =
        pack.map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some_and(|e| e == "pack")).unwrap();
    let commit = poll.branches["main"].as_ref().unwrap().commit.clone();
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = 12..bytes.len() - 20;
    bytes[middle].fill(0);
    std::fs::set_permissions(&pack, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&pack, bytes).unwrap();
    let error = fixture.mirror.files(&commit).unwrap_err();
    assert!(error.is_transient(), "{error}");
    let poll = fixture.poll();
    assert_eq!(fixture.read(&poll, "main", PINS), "frontend = \"1.0.0\"");
}

#[test]
fn many_fetches_do_not_pile_up_packs() {
    let repo = started();
    let fixture = mirror(&repo.file_url(), &["main"]);
    for index in 0..60 {
        repo.set(PINS, &format!("frontend = \"1.0.{index}\""));
        repo.push();
        let poll = fixture.poll();
        assert_eq!(tip(&poll, "main"), repo.head());
    }
    let packs = std::fs::read_dir(fixture.mirror.folder().join("objects/pack")).unwrap();
    let packs = packs.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "pack")).count();
    assert!(packs < 52, "{packs} packs");
}

#[test]
fn every_kind_of_url_works() {
    let repo = started();
    let daemon = GitDaemon::start(&repo);
    let folder = TempDir::new().unwrap();
    let ssh = script(folder.path(), "ssh", r#"echo "$@" >>"$0.log"; for last in "$@"; do :; done; exec sh -c "$last""#);
    let path = repo.bare().display().to_string();
    let urls = [
        repo.file_url(),
        path.clone(),
        daemon.url(),
        format!("ssh://git@example.com:2222{path}"),
        format!("git@example.com:{path}"),
    ];
    let fixtures: Vec<_> = urls
        .iter()
        .map(|url| open(&source(url, &["main"]), Programs { ssh: ssh.clone(), ..Programs::default() }))
        .collect();
    for (round, version) in ["1.0.0", "1.1.0"].into_iter().enumerate() {
        for (url, fixture) in urls.iter().zip(&fixtures) {
            let poll = fixture.poll();
            assert!(poll.fetched, "{url}, round {round}");
            assert_eq!(fixture.read(&poll, "main", PINS), format!("frontend = \"{version}\""), "{url}");
            assert!(!fixture.poll().fetched, "{url}");
        }
        repo.set(PINS, "frontend = \"1.1.0\"");
        repo.push();
    }
    let log = std::fs::read_to_string(folder.path().join("ssh.log")).unwrap();
    let call = log.lines().next().unwrap();
    for part in ["-o BatchMode=yes", "-o ConnectTimeout=5", "-o ServerAliveInterval=20", "-p 2222 git@example.com"] {
        assert!(call.contains(part), "`{part}` isn't in `{call}`");
    }
}

#[test]
fn a_program_at_the_other_end_gets_no_secrets_of_ours() {
    // What a test always has, and no program needs.
    assert!(std::env::var_os("CARGO_PKG_NAME").is_some());
    let folder = TempDir::new().unwrap();
    let spy = script(folder.path(), "spy", "env >\"$0.env\"; exit 1");
    let programs = Programs { ssh: spy.clone(), git: spy };
    for url in ["git@example.com:x.git", "file:///x.git"] {
        open(&source(url, &["main"]), programs.clone()).fails();
        let text = std::fs::read_to_string(folder.path().join("spy.env")).unwrap();
        let got: BTreeSet<&str> = text.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
        assert!(got.is_superset(&BTreeSet::from(["GIT_PROTOCOL", "LC_ALL", "PATH"])), "{got:?}");
        let known = [
            "GIT_CONFIG_GLOBAL",
            "GIT_CONFIG_NOSYSTEM",
            "GIT_CONFIG_SYSTEM",
            "GIT_EXEC_PATH",
            "GIT_PROTOCOL",
            "HOME",
            "KRB5CCNAME",
            "LC_ALL",
            "LD_LIBRARY_PATH",
            "LOGNAME",
            "OLDPWD",
            "PATH",
            "PWD",
            "SHELL",
            "SHLVL",
            "SSH_AUTH_SOCK",
            "TMPDIR",
            "TZ",
            "USER",
            "XDG_CONFIG_HOME",
            "_",
        ];
        let more: Vec<&&str> = got.iter().filter(|name| !known.contains(name)).collect();
        assert!(more.is_empty(), "{url}: {more:?}");
    }
}

#[test]
fn a_mirror_is_for_its_user_alone() {
    let repo = started();
    let fixture = mirror(&repo.file_url(), &["main"]);
    fixture.poll();
    let parent = fixture.mirror.folder().parent().unwrap();
    for folder in [fixture.mirror.folder(), parent] {
        let mode = std::fs::metadata(folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", folder.display());
    }
    // As an earlier version left it.
    std::fs::set_permissions(fixture.mirror.folder(), std::fs::Permissions::from_mode(0o755)).unwrap();
    fixture.poll();
    assert_eq!(std::fs::metadata(fixture.mirror.folder()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn an_ssh_key_is_the_only_one_offered_and_refusals_are_explained() {
    let repo = started();
    let folder = TempDir::new().unwrap();
    let url = format!("ssh://git@example.com{}", repo.bare().display());
    let with = |body: &str| {
        let programs = Programs { ssh: script(folder.path(), "ssh", body), ..Programs::default() };
        open(&RepositorySource { auth: Auth::SshKeyFile("/keys/deploy".into()), ..source(&url, &["main"]) }, programs)
    };
    let denied =
        with("echo \"$@\" >\"$0.log\"; echo 'git@example.com: Permission denied (publickey).' >&2; exit 255").fails();
    assert!(denied.is_auth() && denied.to_string().contains("SSH key"), "{denied}");
    let log = std::fs::read_to_string(folder.path().join("ssh.log")).unwrap();
    assert!(log.contains("-o IdentitiesOnly=yes -i /keys/deploy"), "{log}");
    let unknown = with("echo 'Host key verification failed.' >&2; exit 255").fails();
    assert!(unknown.to_string().contains("known_hosts"), "{unknown}");
    let other = with("echo 'ssh: connect to host example.com port 22: No route to host' >&2; exit 255").fails();
    assert!(other.is_transient() && shown(&other).contains("No route to host"), "{other}");
}

#[test]
fn a_missing_program_is_named_with_its_package() {
    let programs = Programs { ssh: "/nowhere/ssh".into(), ..Programs::default() };
    let error = open(&source("git@example.com:acme/environments.git", &["main"]), programs).fails();
    assert!(error.to_string().contains("openssh-client"), "{error}");
}

#[test]
fn a_missing_branch_is_reported_and_stops_no_other() {
    let repo = started();
    let server = GitServer::start(&repo);
    let fixture = mirror(&server.url(), &["main", "produktion"]);
    for _ in 0..2 {
        let poll = fixture.poll();
        assert_eq!(tip(&poll, "main"), repo.head());
        let error = poll.branches["produktion"].as_ref().unwrap_err().to_string();
        assert!(error.contains("`produktion`") && error.contains(&server.url()), "{error}");
    }
    repo.branch("produktion");
    repo.push();
    assert_eq!(tip(&fixture.poll(), "produktion"), repo.head());
    let only = mirror(&server.url(), &["nothing"]);
    assert!(only.poll().branches["nothing"].is_err());
}

#[test]
fn a_branch_that_turns_into_a_folder_of_branches_is_followed() {
    let repo = started();
    repo.git(&["branch", "release"]);
    repo.push();
    let cache = TempDir::new().unwrap();
    let mirrors = Mirrors::new(cache.path().to_owned(), Programs::default());
    let go = AtomicBool::new(false);
    mirrors.open(&source(&repo.file_url(), &["release"])).unwrap().poll(&go).unwrap();
    repo.git(&["push", "--quiet", "origin", ":release"]);
    repo.git(&["branch", "-m", "release", "release/1"]);
    repo.push();
    let mirror = mirrors.open(&source(&repo.file_url(), &["release/1"])).unwrap();
    let poll = mirror.poll(&go).unwrap();
    assert_eq!(tip(&poll, "release/1"), repo.head());
    assert!(poll.branches["release"].is_err());
}

#[test]
fn refusals_of_a_forge_are_explained() {
    let repo = started();
    let server = GitServer::start(&repo).token(TOKEN);
    let with = |auth: Auth| open(&RepositorySource { auth, ..source(&server.url(), &["main"]) }, Programs::default());
    let none = with(Auth::None).fails();
    assert!(none.is_auth() && none.to_string().contains("wants a token (401)"), "{none}");
    let wrong = with(token_auth("ghp_wrong")).fails();
    assert!(wrong.is_auth() && wrong.to_string().contains("refused the token (401)"), "{wrong}");
    for (status, sign) in [(403, "forbids it (403)"), (404, "may not see it")] {
        server.fail_with(status);
        let error = with(token_auth(TOKEN)).fails();
        assert!(error.is_auth() && error.to_string().contains(sign), "{error}");
    }
    server.fail_with(503);
    let error = with(token_auth(TOKEN)).fails();
    assert!(error.is_transient() && shown(&error).contains("the answer was 503"), "{}", shown(&error));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = mirror(&format!("http://{nobody}/environments.git"), &["main"]).fails();
    assert!(error.is_transient() && shown(&error).contains("refused"), "{}", shown(&error));
}

#[test]
fn a_rotated_token_is_taken_up_from_its_file() {
    let repo = started();
    let server = GitServer::start(&repo).token("first");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "first\n").unwrap();
    let auth = Auth::Token(TokenSource::File(file.clone()));
    let fixture = open(&RepositorySource { auth, ..source(&server.url(), &["main"]) }, Programs::default());
    fixture.poll();
    server.set_token("second");
    assert!(fixture.fails().is_auth());
    std::fs::write(&file, "second").unwrap();
    fixture.poll();
    for (content, sign) in [("", "empty"), ("two words", "spaces")] {
        std::fs::write(&file, content).unwrap();
        let error = fixture.fails();
        assert!(error.is_auth() && shown(&error).contains(sign), "{}", shown(&error));
        assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    }
}

#[test]
fn the_token_is_nowhere_to_be_seen() {
    let repo = started();
    let server = GitServer::start(&repo).token(TOKEN);
    let sources = [
        RepositorySource { auth: token_auth(TOKEN), ..source(&server.url(), &["main"]) },
        RepositorySource { auth: token_auth(TOKEN), ..source("http://127.0.0.1:1/x.git", &["main"]) },
    ];
    for source in &sources {
        let fixture = open(source, Programs::default());
        let mut texts = vec![format!("{source:?} {:?}", fixture.mirror)];
        for token in [TOKEN, "changed"] {
            server.set_token(token);
            match fixture.mirror.poll(&AtomicBool::new(false)) {
                Ok(poll) => texts.push(format!("{poll:?}")),
                Err(error) => texts.push(shown(&error)),
            }
        }
        server.set_token(TOKEN);
        for text in texts {
            assert!(!text.contains(TOKEN), "{text}");
        }
        for file in walk(fixture.cache.path()) {
            let bytes = std::fs::read(&file).unwrap();
            assert!(!bytes.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes()), "{}", file.display());
        }
    }
    let cache = TempDir::new().unwrap();
    let mirrors = Mirrors::new(cache.path().to_owned(), Programs::default());
    for url in [format!("https://me:{TOKEN}@example.com/x.git"), format!("https://{TOKEN}@example.com/x.git")] {
        let error = mirrors.open(&source(&url, &["main"])).unwrap_err();
        assert!(!shown(&error).contains(TOKEN) && error.to_string().contains("token_file"), "{}", shown(&error));
    }
}

#[test]
fn impossible_sources_are_refused_before_anything_is_sent() {
    let mirrors = Mirrors::new("/nowhere".into(), Programs::default());
    let cases: [(&str, Auth, &str, &str); 7] = [
        ("http://git.example.com/x.git", token_auth(TOKEN), "main", "clear text"),
        ("git@example.com:x.git", token_auth(TOKEN), "main", "https only"),
        ("https://example.com/x.git", Auth::SshKeyFile("/key".into()), "main", "ssh URLs only"),
        ("ftp://example.com/x.git", Auth::None, "main", "scheme"),
        ("ssh://-oProxyCommand=x/y.git", Auth::None, "main", "dash"),
        ("https://example.com/x.git", Auth::None, "a b", "`a b`"),
        ("https://example.com/x.git", Auth::None, "feature/*", "`feature/*`"),
    ];
    for (url, auth, branch, sign) in cases {
        let error = mirrors.open(&RepositorySource { auth, ..source(url, &[branch]) }).unwrap_err().to_string();
        assert!(error.contains(sign), "{url}: {error}");
    }
}

/// Sources whose other side accepts and never answers, each with what keeps it alive.
fn silent() -> Vec<(RepositorySource, Programs, Box<dyn std::any::Any>)> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let folder = TempDir::new().unwrap();
    let sleeper = script(folder.path(), "sleeper", "exec sleep 30");
    let programs = Programs { ssh: sleeper.clone(), git: sleeper };
    let urls = [
        format!("http://{address}/x.git"),
        format!("git://{address}/x.git"),
        "git@example.com:x.git".to_owned(),
        "file:///x.git".to_owned(),
    ];
    let keep: Arc<(TcpListener, TempDir)> = Arc::new((listener, folder));
    let keep = |_: &String| -> Box<dyn std::any::Any> { Box::new(Arc::clone(&keep)) };
    urls.iter().map(|url| (source(url, &["main"]), programs.clone(), keep(url))).collect()
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    for (source, programs, _keep) in silent() {
        let source = RepositorySource { stall_timeout: Duration::from_millis(300), ..source };
        let fixture = open(&source, programs);
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(fixture.fails()).unwrap());
        let error = receiver.recv_timeout(Duration::from_secs(10)).expect("the poll hangs");
        assert!(matches!(error, GitError::Stalled { .. }), "{}: {}", source.url, shown(&error));
        assert!(error.is_transient() && error.to_string().contains("0.3 s"), "{error}");
    }
}

/// A wrapper of `ssh` starts other programs, which would outlive it.
#[test]
fn what_a_program_has_started_ends_with_the_poll() {
    let folder = TempDir::new().unwrap();
    let body = "sleep 300 & echo $! >>\"$0.pids\"; (sleep 300 & echo $! >>\"$0.pids\"; wait) & wait";
    let wrapper = script(folder.path(), "wrapper", body);
    let children = || {
        let pids = std::fs::read_to_string(folder.path().join("wrapper.pids")).unwrap_or_default();
        pids.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let runs = |pid: &String| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        !status.is_empty() && !status.contains("State:\tZ")
    };
    let programs = Programs { ssh: wrapper.clone(), git: wrapper };
    let source = source("git@example.com:x.git", &["main"]);
    for limited in [
        RepositorySource { poll_timeout: Duration::from_secs(1), ..source.clone() },
        RepositorySource { stall_timeout: Duration::from_secs(1), ..source.clone() },
    ] {
        open(&limited, programs.clone()).fails();
        assert!(children().len() >= 2, "they were started");
        let left = || children().iter().filter(|pid| runs(pid)).count();
        for _ in 0..100 {
            if left() == 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(left(), 0, "of {:?}", children());
    }
}

#[test]
fn a_shutdown_ends_a_hanging_poll() {
    for (source, programs, _keep) in silent() {
        let fixture = open(&source, programs);
        let interrupt = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = std::sync::mpsc::channel();
        let flag = Arc::clone(&interrupt);
        std::thread::spawn(move || sender.send(fixture.mirror.poll(&flag).unwrap_err()).unwrap());
        assert!(receiver.recv_timeout(Duration::from_millis(200)).is_err(), "{} doesn't hang", source.url);
        interrupt.store(true, Ordering::SeqCst);
        let error = receiver.recv_timeout(Duration::from_secs(2)).expect("the poll ignores the interrupt");
        assert!(error.is_interrupted(), "{}: {error}", source.url);
    }
}

/// A repository whose first fetch moves some 300 KB, and servers for it.
fn heavy() -> (Repo, GitServer, GitDaemon) {
    let repo = started();
    let mut state = 1_u32;
    let noise = (0..300_000).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    repo.write("noise.bin", noise.collect::<Vec<u8>>()).commit("noise");
    repo.push();
    let (server, daemon) = (GitServer::start(&repo), GitDaemon::start(&repo));
    (repo, server, daemon)
}

#[test]
fn a_fetch_that_breaks_off_half_way_is_the_servers_fault_and_the_next_one_works() {
    let (repo, server, daemon) = heavy();
    for url in [server.url(), daemon.url()] {
        for then in [Then::Close, Then::Hang] {
            let cut = Cut::before(&url, 50_000, then);
            let source =
                RepositorySource { stall_timeout: Duration::from_secs(2), ..source(&cut.url(&url), &["main"]) };
            let fixture = open(&source, Programs::default());
            let error = fixture.fails();
            match then {
                Then::Close => assert!(matches!(error, GitError::Unreachable { .. }), "{url}: {}", shown(&error)),
                Then::Hang => assert!(matches!(error, GitError::Stalled { .. }), "{url}: {}", shown(&error)),
            }
            cut.repair();
            assert_eq!(tip(&fixture.poll(), "main"), repo.head());
        }
    }
}

#[test]
fn a_mirror_survives_a_fetch_that_breaks_off() {
    let (repo, server, daemon) = heavy();
    for url in [server.url(), daemon.url()] {
        let cut = Cut::before(&url, i64::MAX, Then::Close);
        let fixture = mirror(&cut.url(&url), &["main"]);
        let before = fixture.poll();
        let commit = before.branches["main"].as_ref().unwrap().commit.clone();
        let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(fixture.mirror.folder()).unwrap());
        let noise: Vec<u8> = std::fs::read(repo.work().join("noise.bin")).unwrap().into_iter().rev().collect();
        repo.write("noise.bin", noise).commit("other noise");
        repo.push();
        cut.limit(20_000);
        let error = fixture.fails();
        assert!(matches!(error, GitError::Unreachable { .. }), "{url}: {}", shown(&error));
        fixture.mirror.files(&commit).unwrap();
        cut.repair();
        let after = fixture.poll();
        assert_eq!(tip(&after, "main"), repo.head());
        assert_eq!(after.branches["main"].as_ref().unwrap().previous.as_ref(), Some(&commit));
        let now = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(fixture.mirror.folder()).unwrap());
        assert_eq!(inode, now, "{url}: the mirror was replaced without need");
    }
}

#[test]
fn a_shutdown_ends_a_fetch_that_hangs_half_way() {
    let (_repo, server, daemon) = heavy();
    for url in [server.url(), daemon.url()] {
        let cut = Cut::before(&url, 50_000, Then::Hang);
        let fixture = mirror(&cut.url(&url), &["main"]);
        let interrupt = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = std::sync::mpsc::channel();
        let flag = Arc::clone(&interrupt);
        std::thread::spawn(move || sender.send(fixture.mirror.poll(&flag).unwrap_err()).unwrap());
        assert!(receiver.recv_timeout(Duration::from_millis(500)).is_err(), "{url} doesn't hang");
        interrupt.store(true, Ordering::SeqCst);
        let error = receiver.recv_timeout(Duration::from_secs(2)).expect("the poll ignores the interrupt");
        assert!(error.is_interrupted(), "{url}: {error}");
    }
}

#[test]
fn what_is_not_pinions_is_not_looked_at_and_what_cannot_be_taken_is_refused_by_name() {
    let repo = started();
    repo.write("environments/dev/big.txt", vec![b'x'; (1 << 20) + 1]);
    repo.write("environments/dev/environment.toml", vec![b'#'; (1 << 20) + 1]);
    repo.write("environments/prod/pins.toml", "web = \"1\"");
    repo.write("environments/dev/deep/and/deeper/pins.toml", "not read");
    repo.write("policies/guardrails/freeze.cedar", "forbid(principal, action, resource);");
    repo.write("policies/README.md", "not read");
    repo.write("elsewhere/file", "not read");
    std::os::unix::fs::symlink("/etc/passwd", repo.work().join("environments/dev/link")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", repo.work().join("environments/prod/environment.toml")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", repo.work().join("environments/providers.tf")).unwrap();
    repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{},environments/module", repo.head())]);
    std::fs::create_dir(repo.work().join("environments/module")).unwrap();
    repo.commit("odd things");
    repo.push();
    let fixture = mirror(&repo.file_url(), &["main"]);
    let poll = fixture.poll();
    let commit = poll.branches["main"].as_ref().unwrap().commit.clone();
    let objects = fixture.mirror.objects().unwrap();
    let files = objects.files(&commit).unwrap();
    let names: Vec<_> = files.files.keys().collect();
    assert_eq!(names, [PINS, "environments/prod/pins.toml", "policies/guardrails/freeze.cedar"]);
    let refusals = |files: &pinion::model::Files| -> Vec<String> {
        files.refused.iter().map(|(path, why)| format!("{path}: {why}")).collect()
    };
    assert_eq!(
        refusals(&files),
        [
            "environments/dev/environment.toml: it has 1048577 bytes; a file may have 1048576",
            "environments/module: it is a submodule, which Pinion doesn't follow",
            "environments/prod/environment.toml: it is a symbolic link, which Pinion doesn't follow; put the file itself \
             there",
        ]
    );
    // Only what concerns the whole repository is refused as a whole, and then without an error.
    let few = TreeLimits { environments: 1, ..TreeLimits::default() };
    let files = objects.files_within(&commit, few).unwrap();
    assert_eq!(refusals(&files), ["environments: there are more than 1 environments in it"]);
    assert_eq!(files.files.keys().collect::<Vec<_>>(), ["policies/guardrails/freeze.cedar"]);
    let small = TreeLimits { total_bytes: 30, ..TreeLimits::default() };
    let found = refusals(&objects.files_within(&commit, small).unwrap());
    assert!(found.iter().any(|one| one.contains("have more than 30 bytes together")), "{found:?}");
    let nothing = CommitId::try_from("1".repeat(40)).unwrap();
    assert!(objects.files(&nothing).unwrap_err().to_string().contains("1111"));
    assert!(!fixture.poll().fetched, "asking for a commit that isn't there is no reason to clone again");
}

/// A file of zeros but for its first bytes, and its size.
fn large(repo: &Repo, name: &str, first: &str, size: u64) {
    repo.write(name, first);
    std::fs::File::options().write(true).open(repo.work().join(name)).unwrap().set_len(size).unwrap();
}

#[test]
fn a_large_file_stops_nothing_that_does_not_need_it() {
    let repo = started();
    repo.set("environments/prod/pins.toml", "frontend = \"1.0.0\"");
    let (provider, mib) = ("environments/dev/.terraform/provider", 1 << 20);
    large(&repo, "dump.sql", "1", 20 * mib);
    large(&repo, provider, "2", 17 * mib);
    repo.commit("a dump and a provider, by mistake");
    repo.push();
    let fixture = mirror(&repo.file_url(), &["main"]);
    let packs = || {
        let files = std::fs::read_dir(fixture.mirror.folder().join("objects/pack")).unwrap();
        files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|end| end == "pack")).count()
    };
    let files = |refused: &[&str]| {
        let tip = fixture.poll().branches["main"].as_ref().unwrap().commit.clone();
        assert_eq!(tip.as_str(), repo.head());
        let files = fixture.mirror.files(&tip).unwrap();
        assert_eq!(files.refused.iter().map(|(path, why)| format!("{path}: {why}")).collect::<Vec<_>>(), refused);
        assert_eq!(files.files["environments/prod/pins.toml"], b"frontend = \"1.0.0\"");
        files
    };
    files(&[]);
    // A server sends the next versions as differences from what it believes to be here, and in the end from what was left out
    // itself. That is no reason to clone again.
    for round in 1..3 {
        large(&repo, "dump.sql", &format!("{round} once more"), 20 * mib);
        large(&repo, provider, &format!("{round}"), 17 * mib + round);
        repo.write("README.md", round.to_string()).commit("other versions of them");
        repo.push();
        files(&[]);
        assert_eq!(packs(), usize::try_from(round).unwrap() + 1);
    }
    // A file that counts is only missed in its own environment, with its size.
    let pins = repo.set(PINS, "frontend = \"1.1.0\"");
    large(&repo, PINS, "#", 17 * mib);
    repo.commit("seventeen MiB of pins");
    repo.push();
    files(&["environments/dev/pins.toml: it has 17825792 bytes; a file may have 1048576"]);
    repo.set(PINS, "frontend = \"1.1.0\"");
    repo.push();
    assert_eq!(files(&[]).files[PINS], b"frontend = \"1.1.0\"");
    let (objects, head) = (fixture.mirror.objects().unwrap(), CommitId::try_from(repo.head()).unwrap());
    let wanted = BTreeMap::from([((PINS.to_owned(), "frontend".to_owned()), "\"1.1.0\"".to_owned())]);
    let found = Provenances::new().provenance(&objects, &head, &wanted, &extract).unwrap();
    assert_eq!(found.into_values().next().unwrap().commit.as_str(), pins, "what was too large has pinned nothing");
    // A new mirror has the same, by one pack.
    std::fs::remove_dir_all(fixture.mirror.folder()).unwrap();
    assert!(fixture.poll().fetched);
    files(&[]);
    assert_eq!(packs(), 1);
    assert!(!fixture.poll().fetched);
    let (server, daemon) = (GitServer::start(&repo), GitDaemon::start(&repo));
    for url in [server.url(), daemon.url()] {
        let fixture = mirror(&url, &["main"]);
        assert_eq!(fixture.read(&fixture.poll(), "main", PINS), "frontend = \"1.1.0\"", "{url}");
    }
}

#[test]
fn a_commit_whose_author_makes_no_sense_stops_nothing() {
    let repo = started();
    let tree = repo.git(&["write-tree"]);
    let mut heads = vec![repo.head()];
    for (at, line) in
        ["Ada <ada@example.com 1700000000 +0000", "Ada", "", "<> x y", "Ada <a@b> 99999999999999999999 +0000"]
            .into_iter()
            .enumerate()
    {
        let parent = heads.last().unwrap();
        let text =
            format!("tree {tree}\nparent {parent}\nauthor {line}\ncommitter {line}\n\nnumber {at}\n\nRollback: x\n");
        std::fs::write(repo.work().join("../commit"), text).unwrap();
        let made = repo.git(&["hash-object", "-t", "commit", "-w", "--literally", "../commit"]);
        repo.git(&["reset", "--quiet", "--hard", &made]);
        heads.push(made);
    }
    let fixture = mirror(&repo.file_url(), &["main"]);
    repo.push();
    assert!(fixture.poll().fetched);
    // And one on top of them.
    let good = repo.set(PINS, "frontend = \"1.1.0\"");
    repo.push();
    let poll = fixture.poll();
    let tip = poll.branches["main"].as_ref().unwrap();
    assert_eq!((tip.commit.as_str(), tip.forced), (good.as_str(), false));
    let objects = fixture.mirror.objects().unwrap();
    let (first, head) = (CommitId::try_from(heads[0].clone()).unwrap(), tip.commit.clone());
    assert_eq!(objects.trailers_since(Some(&first), &head, "Rollback").unwrap().len(), 5);
    let mut at = Some(head.clone());
    let walked = std::iter::from_fn(|| {
        at = objects.first_parent(at.as_ref()?).unwrap();
        at.clone()
    });
    assert_eq!(walked.count(), heads.len());
    for (commit, value) in [(&head, "\"1.1.0\""), (&CommitId::try_from(heads[1].clone()).unwrap(), "\"1.0.0\"")] {
        let wanted = BTreeMap::from([((PINS.to_owned(), "frontend".to_owned()), value.to_owned())]);
        let found = Provenances::new().provenance(&objects, commit, &wanted, &extract).unwrap();
        assert_eq!(found.len(), 1);
    }
    // It isn't cloned again for that.
    assert!(!fixture.poll().fetched);
}

// Provenance

/// `key = "value"` lines; anything else makes the file senseless.
fn extract(_path: &str, bytes: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(bytes);
    let values = text
        .lines()
        .map(|line| line.split_once('=').map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())));
    values.collect::<Option<_>>().unwrap_or_default()
}

struct History {
    repo: Repo,
    fixture: Fixture,
    provenances: Provenances,
    previous: u64,
}

impl History {
    fn new() -> Self {
        let repo = Repo::new();
        let fixture = mirror(&repo.file_url(), &["main"]);
        Self { repo, fixture, provenances: Provenances::new(), previous: 0 }
    }

    fn objects(&self) -> (Objects, CommitId) {
        self.repo.force_push();
        let poll = self.fixture.poll();
        (self.fixture.mirror.objects().unwrap(), poll.branches["main"].as_ref().unwrap().commit.clone())
    }

    /// The provenance of the pin `key` of an environment at the tip of main.
    fn of(&mut self, environment: &str, key: &str) -> Option<Provenance> {
        let (objects, head) = self.objects();
        let path = format!("environments/{environment}/pins.toml");
        let files = objects.files(&head).unwrap();
        let value = extract(&path, &files.files[&path]).remove(key).unwrap();
        let wanted = BTreeMap::from([((path, key.to_owned()), value)]);
        self.provenances.provenance(&objects, &head, &wanted, &extract).unwrap().into_values().next()
    }

    fn commit_of(&mut self, environment: &str, key: &str) -> String {
        self.of(environment, key).unwrap().commit.to_string()
    }

    /// Commits visited since the last call.
    fn visited(&mut self) -> u64 {
        let visited = self.provenances.visited() - self.previous;
        self.previous += visited;
        visited
    }
}

#[test]
fn the_commit_that_set_a_pin_is_found_with_author_time_and_subject() {
    let mut history = History::new();
    history.repo.set(PINS, "a = 1\nb = 1");
    history.repo.set(PINS, "a = 1\nb = 2");
    let b3 = history.repo.write(PINS, "a = 1\nb = 3").commit("release: b 3\n\nwith a body");
    history.repo.set("README.md", "unrelated");
    let found = history.of("dev", "b").unwrap();
    assert_eq!(found.commit.as_str(), b3);
    assert_eq!((found.author.as_str(), found.email.as_str()), ("Ada Example", "ada@example.com"));
    assert_eq!(found.subject, "release: b 3");
    assert_eq!(found.time.to_string(), "2023-11-14T22:16:20Z");
}

#[test]
fn history_is_walked_once_and_then_only_what_is_new() {
    let mut history = History::new();
    let first = history.repo.set(PINS, "a = 1\nb = 0");
    for index in 1..50 {
        history.repo.set(PINS, &format!("a = 1\nb = {index}"));
    }
    assert_eq!(history.commit_of("dev", "a"), first);
    assert_eq!(history.visited(), 50);
    assert_eq!(history.commit_of("dev", "a"), first);
    assert_eq!(history.visited(), 0, "nothing is new");
    history.repo.set(PINS, "a = 1\nb = 50");
    history.repo.set("README.md", "unrelated");
    assert_eq!(history.commit_of("dev", "a"), first);
    assert_eq!(history.visited(), 2);
    let second = history.repo.set(PINS, "a = 2\nb = 50");
    assert_eq!(history.commit_of("dev", "a"), second);
    assert_eq!(history.visited(), 1);
    // Another key of the same file is walked for itself.
    history.commit_of("dev", "b");
    assert_eq!(history.visited(), 3);
}

#[test]
fn many_keys_are_found_in_one_walk() {
    let mut history = History::new();
    let mut expected = BTreeMap::new();
    for round in 0..5 {
        for environment in ["dev", "prod", "test"] {
            let path = format!("environments/{environment}/pins.toml");
            let commit = history.repo.set(&path, &format!("a = {round}\nfixed = 1"));
            expected.insert((path.clone(), "a".to_owned()), ("4".to_owned(), commit.clone()));
            if round == 0 {
                expected.insert((path, "fixed".to_owned()), ("1".to_owned(), commit));
            }
        }
    }
    let (objects, head) = history.objects();
    let mut wanted: BTreeMap<_, _> = expected.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect();
    wanted.insert((PINS.to_owned(), "a2".to_owned()), "9".to_owned());
    wanted.insert((PINS.to_owned(), "fixed".to_owned()), "1".to_owned());
    let found = history.provenances.provenance(&objects, &head, &wanted, &extract).unwrap();
    let found: BTreeMap<_, _> = found.into_iter().map(|(key, value)| (key, value.commit.to_string())).collect();
    let expected: BTreeMap<_, _> = expected.into_iter().map(|(key, (_, commit))| (key, commit)).collect();
    assert_eq!(found, expected, "a value that isn't at head has no provenance");
    assert_eq!(history.visited(), 15, "each commit once");
}

#[test]
fn a_merge_leads_to_the_commit_that_was_merged() {
    let mut history = History::new();
    history.repo.set(PINS, "a = 1");
    history.repo.branch("topic");
    let on_branch = history.repo.set(PINS, "a = 2");
    history.repo.checkout("main");
    history.repo.set("README.md", "meanwhile");
    let merge = history.repo.merge("topic");
    assert_eq!(history.commit_of("dev", "a"), on_branch);
    // A merge that itself decides the value sets it.
    history.repo.checkout("topic");
    history.repo.set(PINS, "a = 3");
    history.repo.checkout("main");
    history.repo.set(PINS, "a = 4");
    history.repo.git(&["merge", "--quiet", "--no-ff", "--no-commit", "--strategy=ours", "topic"]);
    let evil = history.repo.set(PINS, "a = 5");
    assert_eq!(history.repo.git(&["rev-list", "--parents", "-1", "HEAD"]).split(' ').count(), 3);
    assert_eq!(history.commit_of("dev", "a"), evil);
    assert_ne!(merge, evil);
}

/// What was taken back on the main line and is merged once more is wanted again, though the commit that first set it is old.
#[test]
fn a_merge_that_sets_again_what_was_taken_back_is_a_new_commit() {
    let mut history = History::new();
    history.repo.set(PINS, "a = 1");
    history.repo.branch("topic");
    let first = history.repo.set(PINS, "a = 2");
    history.repo.checkout("main");
    history.repo.set("README.md", "meanwhile");
    history.repo.merge("topic");
    assert_eq!(history.commit_of("dev", "a"), first);
    let back = history.repo.set(PINS, "a = 1");
    assert_eq!(history.commit_of("dev", "a"), back);
    history.repo.checkout("topic");
    history.repo.set("notes.md", "it was innocent");
    history.repo.checkout("main");
    history.repo.git(&["merge", "--quiet", "--no-ff", "--no-commit", "topic"]);
    let again = history.repo.set(PINS, "a = 2");
    assert_eq!(history.repo.git(&["rev-list", "--parents", "-1", "HEAD"]).split(' ').count(), 3);
    assert_eq!(history.commit_of("dev", "a"), again, "the way through the topic leads to a commit that main had known");
    // Another process, which knows nothing yet, says the same; and so does a later merge of something else.
    let mut fresh = History { provenances: Provenances::new(), ..history };
    assert_eq!(fresh.commit_of("dev", "a"), again);
    fresh.repo.branch("other");
    fresh.repo.set("notes.md", "more");
    fresh.repo.checkout("main");
    fresh.repo.merge("other");
    assert_eq!(fresh.commit_of("dev", "a"), again);
}

#[test]
fn a_merge_of_unrelated_work_walks_only_what_is_new() {
    let mut history = History::new();
    let first = history.repo.set(PINS, "a = 1");
    for index in 0..20 {
        history.repo.set("README.md", &index.to_string());
    }
    assert_eq!(history.commit_of("dev", "a"), first);
    history.visited();
    history.repo.branch("topic");
    history.repo.set("notes.md", "one");
    history.repo.set("notes.md", "two");
    history.repo.checkout("main");
    history.repo.merge("topic");
    assert_eq!(history.commit_of("dev", "a"), first);
    assert_eq!(history.visited(), 1, "the first parent is what is known");
}

#[test]
fn there_and_back_again_is_a_new_commit() {
    let mut history = History::new();
    let first = history.repo.set(PINS, "a = 1");
    assert_eq!(history.commit_of("dev", "a"), first);
    // Both happen between two polls.
    history.repo.set(PINS, "a = 2");
    let back = history.repo.set(PINS, "a = 1");
    assert_eq!(history.commit_of("dev", "a"), back);
    // Layout isn't value.
    history.repo.set(PINS, "a =    1");
    assert_eq!(history.commit_of("dev", "a"), back);
}

const SETTINGS: &str = "environments/dev/environment.toml";

/// An environment whose group `web` runs a component, by whatever name its target has.
fn settings(target: &str, component: &str) -> String {
    format!(
        "[account]\nid = \"222222222222\"\nregion = \"us-west-1\"\nrole = \"arn:aws:iam::222222222222:role/pinion\"\n\
         [asg.{target}]\ngroup = \"web\"\ncomponent = \"{component}\"\nami = {{ id = \"{{version}}\" }}\n"
    )
}

/// Whatever makes a file senseless for a while: who restores it has pinned nothing.
#[test]
fn a_file_that_is_broken_and_restored_is_no_new_pin() {
    let good = "a = 1\nb = 1";
    let large = format!("{good}\n{}", "#".repeat(1 << 20));
    let cases: [(&str, Option<&[u8]>); 6] = [
        ("a merge marker", Some("a = 1\n<<<<<<< HEAD".as_bytes())),
        ("an emptied file", Some(b"")),
        ("a file that isn't text", Some(b"\xff\xfe")),
        ("a line that is gone", Some(b"b = 1")),
        ("a file that is too large", Some(large.as_bytes())),
        ("a file that is gone", None),
    ];
    for (what, broken) in cases {
        for steps in [1, 3] {
            let mut history = History::new();
            history.repo.write(SETTINGS, settings("web", "a"));
            let first = history.repo.set(PINS, good);
            assert_eq!(history.commit_of("dev", "a"), first);
            for step in 0..steps {
                match broken {
                    Some(text) => {
                        history.repo.write(PINS, text);
                    }
                    None if step == 0 => std::fs::remove_file(history.repo.work().join(PINS)).unwrap(),
                    None => {}
                }
                history.repo.write("README.md", step.to_string()).commit("broken");
                history.objects();
            }
            let restored = history.repo.set(PINS, good);
            assert_eq!(history.commit_of("dev", "a"), first, "{what}");
            history.provenances = Provenances::new();
            assert_eq!(history.commit_of("dev", "a"), first, "{what}, by a new process");
            // Another value is a new pin, also behind such a file.
            history.repo.write(PINS, broken.unwrap_or(b"")).commit("broken again");
            let other = history.repo.set(PINS, "a = 2\nb = 1");
            assert_eq!(history.commit_of("dev", "a"), other, "{what}, and another value");
            assert_ne!(restored, other);
        }
    }
}

#[test]
fn a_component_that_is_renamed_is_no_new_pin() {
    for (target, component) in [("web", "frontend"), ("frontend", "frontend")] {
        let mut history = History::new();
        history.repo.write(SETTINGS, settings("web", "a"));
        let first = history.repo.set(PINS, "a = 1");
        assert_eq!(history.commit_of("dev", "a"), first);
        history.repo.write(SETTINGS, settings(target, component));
        history.repo.set(PINS, &format!("{component} = 1"));
        assert_eq!(history.commit_of("dev", component), first, "what is known under the other name counts");
        history.provenances = Provenances::new();
        assert_eq!(history.commit_of("dev", component), first, "and a new process walks there");
        history.repo.set("README.md", "more");
        assert_eq!(history.commit_of("dev", component), first);
        // With another value, or for another group, it is one.
        history.repo.write(SETTINGS, settings("web", "b"));
        let other = history.repo.set(PINS, "b = 2");
        assert_eq!(history.commit_of("dev", "b"), other);
        history.repo.write(SETTINGS, settings("web", "c").replace("group = \"web\"", "group = \"other\""));
        let other = history.repo.set(PINS, "c = 2");
        assert_eq!(history.commit_of("dev", "c"), other);
    }
}

/// The files of an environment that runs `group` by the component `a`.
fn folder(history: &History, environment: &str, group: &str, pins: &str) {
    let text = settings("web", "a").replace("\"web\"", &format!("\"{group}\""));
    history.repo.write(&format!("environments/{environment}/environment.toml"), text);
    history.repo.write(&format!("environments/{environment}/pins.toml"), pins);
}

fn drop_folder(history: &History, environment: &str) {
    std::fs::remove_dir_all(history.repo.work().join("environments").join(environment)).unwrap();
}

/// The commit of a pin, as this process says and as a new one does.
fn by_any_process(history: &mut History, environment: &str, key: &str) -> String {
    let commit = history.commit_of(environment, key);
    let known = std::mem::take(&mut history.provenances);
    assert_eq!(history.commit_of(environment, key), commit, "by a new process");
    history.provenances = known;
    commit
}

/// What is removed and comes back as it was has pinned nothing: whether the removal was ever carried out isn't asked.
#[test]
fn what_is_removed_and_comes_back_is_no_new_pin() {
    let pins = "a = 1\nb = 1";
    for what in ["the folder", "the target and its pin", "the pin, and the settings are gone"] {
        for steps in [1, 3] {
            let mut history = History::new();
            folder(&history, "dev", "web", pins);
            let first = history.repo.commit("dev");
            assert_eq!(history.commit_of("dev", "a"), first);
            match what {
                "the folder" => drop_folder(&history, "dev"),
                "the target and its pin" => {
                    let text = settings("web", "a");
                    history.repo.write(SETTINGS, text.split("[asg").next().unwrap());
                    history.repo.write(PINS, "b = 1");
                }
                _ => {
                    std::fs::remove_file(history.repo.work().join(SETTINGS)).unwrap();
                    history.repo.write(PINS, "b = 1");
                }
            }
            for step in 0..steps {
                history.repo.write("README.md", step.to_string()).commit("gone");
                history.objects();
            }
            folder(&history, "dev", "web", pins);
            history.repo.commit("back");
            assert_eq!(by_any_process(&mut history, "dev", "a"), first, "{what}");
            // With another value it is one, and so is what comes back after another value.
            let other = history.repo.set(PINS, "a = 2\nb = 1");
            assert_eq!(by_any_process(&mut history, "dev", "a"), other, "{what}, and another value");
            drop_folder(&history, "dev");
            history.repo.commit("gone again");
            folder(&history, "dev", "web", pins);
            let set = history.repo.commit("back, as it was first");
            assert_eq!(by_any_process(&mut history, "dev", "a"), set, "{what}, and the first value");
        }
    }
}

/// A group keeps its pin, whichever environment it is in.
#[test]
fn what_moves_to_another_environment_is_no_new_pin() {
    let mut history = History::new();
    folder(&history, "prod", "web", "a = 1");
    folder(&history, "other", "its-own", "a = 2");
    let first = history.repo.commit("prod");
    assert_eq!(history.commit_of("prod", "a"), first);
    // The folder is renamed, twice.
    for (from, to) in [("prod", "live"), ("live", "production")] {
        history.repo.git(&["mv", &format!("environments/{from}"), &format!("environments/{to}")]);
        history.repo.commit("renamed");
        assert_eq!(by_any_process(&mut history, to, "a"), first, "{to}");
    }
    // Its files are broken for a while, and it is copied before the other one is removed.
    history.repo.write("environments/production/environment.toml", "[account").commit("broken");
    folder(&history, "copy", "web", "a = 1");
    history.repo.commit("a copy");
    assert_eq!(by_any_process(&mut history, "copy", "a"), first);
    drop_folder(&history, "production");
    history.repo.commit("the other one is gone");
    assert_eq!(by_any_process(&mut history, "copy", "a"), first);
    // The target moves alone, by way of a commit that has it nowhere, and with another component's name.
    drop_folder(&history, "copy");
    history.repo.commit("nowhere");
    let text =
        settings("web", "front") + "[asg.own]\ngroup = \"its-own\"\ncomponent = \"a\"\nami = { id = \"{version}\" }\n";
    history.repo.write("environments/other/environment.toml", text);
    history.repo.set("environments/other/pins.toml", "a = 2\nfront = 1");
    assert_eq!(by_any_process(&mut history, "other", "front"), first);
    // What is set there counts, also for who takes it back.
    let other = history.repo.set("environments/other/pins.toml", "a = 2\nfront = 3");
    assert_eq!(by_any_process(&mut history, "other", "front"), other);
    drop_folder(&history, "other");
    folder(&history, "prod", "web", "a = 1");
    let back = history.repo.commit("back in prod, with the first value");
    assert_eq!(by_any_process(&mut history, "prod", "a"), back);
    // Nobody ran this group, or one of its name in another account.
    folder(&history, "test", "elsewhere", "a = 1");
    let new = history.repo.commit("another group");
    assert_eq!(by_any_process(&mut history, "test", "a"), new);
    let text = settings("web", "a").replace("222222222222", "333333333333");
    history.repo.write("environments/dev/environment.toml", text);
    let new = history.repo.set(PINS, "a = 1");
    assert_eq!(by_any_process(&mut history, "dev", "a"), new);
}

/// A merge of what was renamed on one side leads to the commit that set the pin on the other.
#[test]
fn a_rename_is_followed_through_a_merge() {
    let mut history = History::new();
    folder(&history, "prod", "web", "a = 1");
    history.repo.commit("prod");
    let set = history.repo.set("environments/prod/pins.toml", "a = 2");
    history.repo.branch("topic");
    history.repo.git(&["mv", "environments/prod", "environments/live"]);
    history.repo.commit("renamed");
    history.repo.checkout("main");
    history.repo.set("README.md", "meanwhile");
    history.repo.merge("topic");
    assert_eq!(by_any_process(&mut history, "live", "a"), set);
}

/// A new environment looks for what it runs in all of history, once for all of its pins, and reads little of it.
#[test]
fn who_ran_what_before_costs_little() {
    let mut history = History::new();
    for index in 0..20 {
        folder(&history, &format!("env-{index}"), &format!("group-{index}"), "a = 0");
    }
    history.repo.commit("twenty environments");
    let (commits, components) = (200, 50);
    for index in 0..commits {
        history.repo.set(&format!("environments/env-{}/pins.toml", index % 20), &format!("a = {}", index + 1));
    }
    let head = settings("web", "a");
    let mut text = head.split("[asg").next().unwrap().to_owned();
    let mut pins = String::new();
    for index in 0..components {
        text += &format!(
            "[asg.t{index}]\ngroup = \"new-{index}\"\ncomponent = \"c{index}\"\nami = {{ id = \"{{version}}\" }}\n"
        );
        pins += &format!("c{index} = 1\n");
    }
    history.repo.write(SETTINGS, text);
    let new = history.repo.set(PINS, &pins);
    let (objects, head) = history.objects();
    let keys = (0..components).map(|index| (PINS.to_owned(), format!("c{index}")));
    let wanted: BTreeMap<_, _> = keys.map(|key| (key, "1".to_owned())).collect();
    let found = history.provenances.provenance(&objects, &head, &wanted, &extract).unwrap();
    assert_eq!(found.len(), components);
    assert!(found.values().all(|found| found.commit.as_str() == new));
    assert_eq!(history.visited(), commits as u64 + 2, "each commit once for all pins");
    // Of each commit itself, its tree, the folder of environments and the one that has changed; twenty files of settings.
    let read = history.provenances.objects_read();
    assert!(read <= 5 * commits as u64 + 100, "{read} objects were read");
    history.provenances.provenance(&objects, &head, &wanted, &extract).unwrap();
    assert_eq!(history.provenances.objects_read(), read, "nothing is new");
}

#[test]
fn a_rewritten_tip_is_no_new_pin() {
    let mut history = History::new();
    history.repo.set(PINS, "a = 1");
    let bad = history.repo.set(PINS, "a = 2");
    let first_of = |history: &mut History| {
        let mut found = history.of("dev", "a").unwrap();
        history.provenances.restore(&mut found).unwrap();
        found.commit.to_string()
    };
    assert_eq!(first_of(&mut history), bad);
    // Amended, twice: an unrelated change, and the message.
    for text in ["one", "two"] {
        history.repo.write("README.md", text);
        history.repo.git(&["add", "--all"]);
        history.repo.git(&["commit", "--quiet", "--amend", "--message", text]);
        assert_ne!(history.repo.head(), bad);
        assert_eq!(first_of(&mut history), bad, "{text}");
    }
    // Rebased onto something else, while nobody looked; and what is noted is enough for a new process.
    history.repo.git(&["checkout", "--quiet", "-b", "other", "HEAD~1"]);
    history.repo.set("README.md", "other");
    history.repo.git(&["cherry-pick", "-X", "theirs", "main"]);
    history.repo.git(&["branch", "--quiet", "--force", "main", "other"]);
    history.repo.checkout("main");
    assert_eq!(first_of(&mut history), bad);
    let mut fresh = Provenances::new();
    fresh.recall(&history.provenances.rewritings());
    history.provenances = fresh;
    assert_eq!(first_of(&mut history), bad, "a new process knows it by what was noted");
    // What is withdrawn and pinned again is a new pin, whether the branch goes on or is moved back.
    history.repo.set(PINS, "a = 1");
    let again = history.repo.set(PINS, "a = 2");
    assert_eq!(first_of(&mut history), again);
    history.repo.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    assert_ne!(first_of(&mut history), again);
    history.repo.write("README.md", "third");
    let third = history.repo.set(PINS, "a = 2");
    assert_eq!(first_of(&mut history), third);
}

#[test]
fn after_a_force_push_the_walk_starts_afresh() {
    let mut history = History::new();
    history.repo.set(PINS, "a = 1");
    history.repo.set("README.md", "one");
    assert_eq!(history.commit_of("dev", "a"), history.repo.git(&["rev-parse", "HEAD~1"]));
    history.repo.git(&["checkout", "--quiet", "--orphan", "rewritten"]);
    let root = history.repo.commit("all in one");
    history.repo.git(&["branch", "--quiet", "--force", "main", "rewritten"]);
    history.repo.checkout("main");
    assert_eq!(history.commit_of("dev", "a"), root);
}

#[test]
fn untrusted_text_in_commits_is_made_harmless() {
    let mut history = History::new();
    history.repo.write(PINS, "a = 1").commit("\u{1b}[31mred\u{202e}txet\u{7} subject");
    let found = history.of("dev", "a").unwrap();
    assert_eq!(found.subject, "[31mredtxet subject");
    history.repo.write(PINS, "a = 2").commit(&"long ".repeat(100));
    assert_eq!(history.of("dev", "a").unwrap().subject.chars().count(), 199);
}

// A person's own clone

#[test]
fn a_working_copy_gives_head_revisions_files_and_provenance() {
    let repo = started();
    let first = repo.head();
    let second = repo.set(PINS, "frontend = \"1.1.0\"");
    repo.git(&["tag", "--annotate", "--message", "a tag", "v1"]);
    let copy = WorkingCopy::discover(&repo.work().join("environments/dev")).unwrap();
    assert_eq!(copy.root(), repo.work().canonicalize().unwrap());
    assert_eq!(copy.head().unwrap().unwrap().as_str(), second);
    for (revision, commit) in [("HEAD~1", &first), ("main", &second), ("v1", &second), (&first[..10], &first)] {
        assert_eq!(copy.resolve(revision).unwrap().as_str(), commit, "{revision}");
    }
    let error = copy.resolve("no-such").unwrap_err().to_string();
    assert!(error.contains("`no-such`"), "{error}");
    let head = copy.head().unwrap().unwrap();
    let wanted = |value: &str| BTreeMap::from([((PINS.to_owned(), "frontend".to_owned()), format!("\"{value}\""))]);
    let mut provenances = Provenances::new();
    let found = provenances.provenance(&copy.objects(), &head, &wanted("1.1.0"), &extract).unwrap();
    assert_eq!(found.into_values().next().unwrap().commit.as_str(), second);
    let uncommitted = provenances.provenance(&copy.objects(), &head, &wanted("1.2.0"), &extract).unwrap();
    assert!(uncommitted.is_empty());
    let base = copy.resolve("HEAD~1").unwrap();
    let files = copy.objects().files(&base).unwrap();
    assert_eq!(files.files[PINS], b"frontend = \"1.0.0\"");
}

#[test]
fn a_shallow_working_copy_ends_at_its_boundary() {
    let repo = started();
    let boundary = repo.set("README.md", "newest");
    repo.push();
    let folder = TempDir::new().unwrap();
    let clone = folder.path().join("clone");
    repo.git(&["clone", "--quiet", "--depth=1", &repo.file_url(), clone.to_str().unwrap()]);
    let copy = WorkingCopy::discover(&clone).unwrap();
    let head = copy.head().unwrap().unwrap();
    let wanted = BTreeMap::from([((PINS.to_owned(), "frontend".to_owned()), "\"1.0.0\"".to_owned())]);
    let found = Provenances::new().provenance(&copy.objects(), &head, &wanted, &extract).unwrap();
    assert_eq!(found.into_values().next().unwrap().commit.as_str(), boundary);
    let error = copy.resolve("HEAD~1").unwrap_err().to_string();
    assert!(error.contains("shallow"), "{error}");
}

#[test]
fn folders_without_a_working_copy_are_told_apart() {
    let folder = TempDir::new().unwrap();
    let error = WorkingCopy::discover(folder.path()).unwrap_err().to_string();
    assert!(error.contains("isn't inside a Git repository"), "{error}");
    let repo = Repo::new();
    assert_eq!(WorkingCopy::discover(&repo.work()).unwrap().head().unwrap(), None);
    assert!(WorkingCopy::discover(&repo.bare()).is_err());
}

#[test]
fn clones_and_servers_of_other_kinds_are_named_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    let git = |at: &Path, arguments: &[&str]| {
        let output = crate::support::git::hermetic(&mut std::process::Command::new("git"), folder.path())
            .args(["-c", "user.name=a", "-c", "user.email=a@b"])
            .args(arguments)
            .current_dir(at)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let init = |name: &str, format: &str| {
        let path = folder.path().join(name);
        git(folder.path(), &["init", "--quiet", "--initial-branch=main", format, name]);
        std::fs::write(path.join("README"), "x").unwrap();
        git(&path, &["add", "README"]);
        git(&path, &["commit", "--quiet", "--message", "one"]);
        path
    };
    let long = init("long", "--object-format=sha256");
    let error = WorkingCopy::discover(&long).unwrap_err().to_string();
    assert!(error.contains("SHA-256") && error.contains("SHA-1"), "{error}");
    let error = shown(&mirror(&format!("file://{}", long.display()), &["main"]).fails());
    assert!(error.contains("SHA-256"), "{error}");

    // As `git init --ref-format=reftable` of Git 2.45 writes it.
    let table = init("table", "--object-format=sha1");
    let settings = table.join(".git/config");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, text + "[extensions]\n\trefStorage = reftable\n").unwrap();
    let error = WorkingCopy::discover(&table).unwrap_err().to_string();
    assert!(error.contains("reftable") && error.contains("git refs migrate"), "{error}");

    let repo = started();
    let partial = folder.path().join("partial");
    git(folder.path(), &["clone", "--quiet", "--no-checkout", "--filter=blob:none", &repo.file_url(), "partial"]);
    let copy = WorkingCopy::discover(&partial).unwrap();
    let error = shown(&copy.objects().files(&copy.head().unwrap().unwrap()).unwrap_err());
    assert!(error.contains("partial clone") && error.contains("--refetch"), "{error}");
}

fn script(folder: &Path, name: &str, body: &str) -> OsString {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.into_os_string()
}

fn walk(folder: &Path) -> BTreeSet<std::path::PathBuf> {
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.insert(path);
        }
    }
    files
}

/// A `git://` server of one connection that has answered who it is, and the rest of what it is to say.
fn git_server(talk: impl FnOnce(&mut TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("git://{}/environments.git", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        heard(&mut stream);
        let capabilities = ["version 2\n", "agent=git/2\n", "ls-refs\n", "fetch=shallow\n", "object-format=sha1\n"];
        stream.write_all((capabilities.map(packet).concat() + "0000").as_bytes()).unwrap();
        heard(&mut stream);
        talk(&mut stream);
    });
    url
}

fn packet(text: &str) -> String {
    format!("{:04x}{text}", text.len() + 4)
}

fn heard(stream: &mut TcpStream) {
    assert_ne!(stream.read(&mut [0; 4096]).unwrap(), 0);
}

/// What is said of a repository that is larger than is taken.
fn too_large(error: &GitError) -> String {
    assert!(matches!(error, GitError::TooLarge { .. }), "{}", shown(error));
    assert_eq!((error.as_str(), error.is_transient(), error.is_auth()), ("too-large", false, false));
    error.to_string()
}

#[test]
fn a_listing_without_end_is_given_up_and_said_to_be_too_large() {
    let (ended, end) = std::sync::mpsc::channel();
    let url = git_server(move |stream| {
        let mut sent = 0;
        for thousand in 0..5000 {
            let line = |i| packet(&format!("{:040x} refs/heads/branch-{thousand}-{i}\n", i + 1));
            let lines: String = (0..1000).map(line).collect();
            if stream.write_all(lines.as_bytes()).is_err() {
                break;
            }
            sent += lines.len();
        }
        ended.send(sent).unwrap();
    });
    let text = too_large(&mirror(&url, &["main"]).fails());
    assert!(text.contains("its listing of branches has more than 4 MiB; remove branches"), "{text}");
    let sent = end.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(sent < 100 << 20, "{sent} bytes were taken");
}

#[test]
fn a_commit_that_is_too_large_is_refused_and_what_was_fetched_before_stays() {
    let repo = started();
    let (server, daemon) = (GitServer::start(&repo), GitDaemon::start(&repo));
    let fixtures = [repo.file_url(), server.url(), daemon.url()].map(|url| mirror(&url, &["main"]));
    let good = fixtures.each_ref().map(Fixture::poll);
    std::fs::write(repo.work().join("../message"), "x".repeat((1 << 20) + 1)).unwrap();
    repo.git(&["commit", "--quiet", "--allow-empty", "--file=../message"]);
    // That it isn't the tip doesn't help.
    repo.set("README.md", "more");
    repo.push();
    for (fixture, good) in fixtures.iter().zip(&good) {
        for _ in 0..2 {
            let text = too_large(&fixture.fails());
            assert!(text.contains("a commit or tag in its history has 2 MiB; the most is 1 MiB"), "{text}");
            assert_eq!(fixture.read(good, "main", PINS), "frontend = \"1.0.0\"");
        }
    }
    // Nor does a new clone.
    let text = too_large(&mirror(&repo.file_url(), &["main"]).fails());
    assert!(text.contains("git filter-repo"), "{text}");
    repo.git(&["reset", "--quiet", "--hard", "HEAD~2"]);
    repo.set(PINS, "frontend = \"1.1.0\"");
    repo.force_push();
    for fixture in &fixtures {
        assert_eq!(fixture.read(&fixture.poll(), "main", PINS), "frontend = \"1.1.0\"");
    }
}

#[test]
fn a_server_that_goes_on_saying_that_it_is_busy_is_given_up_in_the_end() {
    for while_listing in [false, true] {
        let url = git_server(move |stream| {
            if !while_listing {
                let listing = packet(&format!("{:040x} refs/heads/main\n", 7)) + "0000";
                stream.write_all(listing.as_bytes()).unwrap();
                heard(stream);
                stream.write_all(packet("packfile\n").as_bytes()).unwrap();
            }
            let line =
                if while_listing { packet(&format!("{:040x} refs/heads/main-1\n", 7)) } else { packet("\x02busy\n") };
            while stream.write_all(line.as_bytes()).is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let fixture = open(
            &RepositorySource { poll_timeout: Duration::from_secs(1), ..source(&url, &["main"]) },
            Programs::default(),
        );
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(fixture.fails()).unwrap());
        let error = receiver.recv_timeout(Duration::from_secs(20)).expect("the poll never ends");
        assert!(matches!(error, GitError::Overdue { .. }), "listing: {while_listing}: {}", shown(&error));
        assert!(error.is_transient() && error.to_string().contains("within 1 s"), "{error}");
    }
}
