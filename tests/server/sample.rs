//! A status with one of everything, and a server that shows it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use pinion::clock::Clock;
use pinion::history::{History, Retention};
use pinion::metrics::Metrics;
use pinion::model::status::{
    EnvironmentStatus, GuardrailEnd, PinStatus, RepositoryStatus, ResyncStatus, RolloutStatus, SignaturesStatus,
    Status, SuspensionStatus, TargetStatus,
};
use pinion::model::{Kind, Reach, State};
use pinion::server::{RequestResync, Running, Server};
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::support::typed;

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const TOKEN: &str = "correct horse";

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn now() -> Timestamp {
    time("2026-01-02T12:00:00Z")
}

#[derive(Debug)]
pub(crate) struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        now()
    }
}

pub(crate) fn target(environment: &str, kind: Kind, name: &str, state: State) -> TargetStatus {
    TargetStatus {
        target: format!("{environment}/{kind}/{name}"),
        kind,
        component: "frontend".to_owned(),
        state,
        reason: None,
        denied_by: Vec::new(),
        since: time("2026-01-02T11:55:00Z"),
        out_of_sync_since: (state != State::InSync).then(|| time("2026-01-02T11:50:00Z")),
        observed: Some(now()),
        last_known: None,
        drifted: false,
        in_sync_since: (state == State::InSync).then(|| time("2026-01-02T11:55:00Z")),
        desired: "1.4.2".to_owned(),
        digest: None,
        running: Some("1.4.2".to_owned()),
        artifact: Some("ami-1".to_owned()),
        updated: 4,
        total: 4,
        shape: None,
        warnings: Vec::new(),
        pin: PinStatus {
            commit: COMMIT.to_owned(),
            author: "Ada".to_owned(),
            time: time("2026-01-02T11:45:00Z"),
            subject: "frontend 1.4.2".to_owned(),
        },
        rollout: None,
        suspension: None,
    }
}

pub(crate) fn status() -> Status {
    let mut status = Status { version: "0.1.0".to_owned(), ready: true, ..Status::default() };
    status.resync = ResyncStatus { requested: 3, completed: 2 };
    status.repositories = vec![RepositoryStatus {
        url: "https://github.com/acme/environments.git".to_owned(),
        branch: "main".to_owned(),
        revision: Some(COMMIT.to_owned()),
        last_success: Some(time("2026-01-02T11:59:30Z")),
        error: None,
        guardrails: 2,
        guardrail_errors: Vec::new(),
        guardrail_ends: vec![GuardrailEnd {
            policy: "holiday-freeze".to_owned(),
            reason: "nobody is in the office".to_owned(),
            until: time("2026-01-02T08:00:00Z"),
        }],
        signatures: Some(SignaturesStatus { accepted: Some(COMMIT.to_owned()), refused: 0, commits: Vec::new() }),
    }];
    let mut web = target("prod", Kind::Asg, "web", State::RollingOut);
    web.running = Some("1.4.1".to_owned());
    web.updated = 3;
    web.reason = Some("InProgress, 75 %".to_owned());
    web.rollout = Some(RolloutStatus {
        id: "0123".to_owned(),
        status: "InProgress".to_owned(),
        reason: None,
        percentage: Some(75),
        started: Some(time("2026-01-02T11:58:00Z")),
    });
    let api = target("prod", Kind::Fargate, "api", State::InSync);
    let prod = EnvironmentStatus {
        account: "222222222222".to_owned(),
        region: "us-west-1".to_owned(),
        revision: COMMIT.to_owned(),
        valid: true,
        last_success: Some(time("2026-01-02T11:59:59.5Z")),
        passes: 9,
        targets: [("asg/web".to_owned(), web), ("fargate/api".to_owned(), api)].into(),
        ..EnvironmentStatus::default()
    };
    let mut lost = target("dev", Kind::Asg, "web", State::Unknown);
    lost.last_known = Some(State::InSync);
    lost.running = None;
    lost.drifted = true;
    lost.suspension = Some(SuspensionStatus {
        owner: "ops@example.com".to_owned(),
        reason: "load test".to_owned(),
        until: time("2026-01-01T08:00:00Z"),
        reach: Reach::Environment,
    });
    lost.reason = Some("can't be read now".to_owned());
    let dev = EnvironmentStatus {
        account: "111111111111".to_owned(),
        region: "us-west-1".to_owned(),
        revision: COMMIT.to_owned(),
        valid: false,
        errors: vec!["environments/dev/pins.toml:3\n  unknown key `fronted`".to_owned()],
        error: Some("ec2:DescribeImages failed: Timeout".to_owned()),
        passes: 1,
        targets: [("asg/web".to_owned(), lost)].into(),
        ..EnvironmentStatus::default()
    };
    status.environments = [("prod".to_owned(), prod), ("dev".to_owned(), dev)].into();
    status
}

/// Counts the requests, and remembers whether the last one was to retry quarantined pins.
#[derive(Default)]
pub(crate) struct Requests {
    pub(crate) count: AtomicU64,
    pub(crate) retried: Mutex<Vec<bool>>,
}

impl RequestResync for Requests {
    fn request(&self, retry_quarantined: bool) -> u64 {
        self.retried.lock().unwrap().push(retry_quarantined);
        self.count.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// What a controller says, as the API shows it: of this, what it holds is made.
pub(crate) struct Shown {
    status: Mutex<Arc<Status>>,
    snapshot: watch::Sender<Arc<pinion::model::status::Snapshot>>,
}

impl Shown {
    pub(crate) fn send_modify(&self, change: impl FnOnce(&mut Arc<Status>)) {
        let mut status = self.status.lock().unwrap();
        change(&mut status);
        self.snapshot.send_replace(Arc::new(typed::snapshot(&status)));
    }

    pub(crate) fn send_replace(&self, next: Arc<Status>) {
        self.send_modify(|status| *status = next);
    }
}

/// A server of a controller that can be told what to say.
pub(crate) struct Controller {
    pub(crate) status: Shown,
    pub(crate) requests: Arc<Requests>,
    pub(crate) history: Arc<History>,
    pub(crate) stop: CancellationToken,
    pub(crate) running: Running,
    _folder: TempDir,
}

impl Controller {
    pub(crate) async fn start(status: Status, token: Option<&str>) -> Self {
        let (snapshot, receiver) = watch::channel(Arc::new(typed::snapshot(&status)));
        let requests = Arc::new(Requests::default());
        let stop = CancellationToken::new();
        let metrics = Arc::new(Metrics::new().unwrap());
        let folder = TempDir::new().unwrap();
        let history =
            History::start(folder.path(), Retention::default(), Arc::clone(&metrics), Arc::new(Fixed)).unwrap();
        let server = Server {
            metrics,
            status: receiver,
            history: Arc::clone(&history),
            resync: Arc::clone(&requests) as Arc<dyn RequestResync>,
            token: token.map(SecretString::from),
            hooks: None,
            clock: Arc::new(Fixed),
        };
        let running = server.start("127.0.0.1:0".parse().unwrap(), stop.clone()).await.unwrap();
        let status = Shown { status: Mutex::new(Arc::new(status)), snapshot };
        Self { status, requests, history, stop, running, _folder: folder }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.address)
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        client().get(self.url(path)).send().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, token: Option<&str>) -> reqwest::Response {
        let mut request = client().post(self.url(path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap()
    }
}

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}
