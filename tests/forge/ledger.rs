//! What each commit is to be told: tables, without I/O.

use jiff::Timestamp;
use pinion::config::ForgeKind;
use pinion::forge::api::{self, Known};
use pinion::forge::ledger::{CommitReport, CommitState, Ledger};
use pinion::model::status::{EnvironmentStatus, Snapshot, Status, TargetStatus};
use pinion::model::{ErrorClass, PortError, Reason};
use serde_json::json;

use crate::support::typed::snapshot;

const URL: &str = "https://git.example/acme/environments.git";
const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// A target that a commit has pinned to a version.
fn target(name: &str, commit: &str, version: &str, state: &str, reason: &str) -> TargetStatus {
    serde_json::from_value(json!({
        "target": format!("prod/asg/{name}"), "kind": "asg", "component": "frontend", "state": state,
        "reason": if reason.is_empty() { None } else { Some(reason) },
        "since": at(0), "drifted": false, "desired": version, "updated": 0, "total": 2,
        "pin": { "commit": commit, "author": "Ada", "time": at(0), "subject": "a release" },
    }))
    .unwrap()
}

fn status(targets: &[TargetStatus]) -> Status {
    let targets = targets.iter().map(|target| (target.target.clone(), target.clone())).collect();
    let environment = EnvironmentStatus {
        repository: URL.to_owned(),
        branch: "main".to_owned(),
        passes: 1,
        targets,
        ..EnvironmentStatus::default()
    };
    Status { environments: [("prod".to_owned(), environment)].into(), ..Status::default() }
}

fn take(ledger: &mut Ledger, targets: &[TargetStatus], seconds: i64) -> Vec<(String, CommitState, String)> {
    take_states(ledger, &snapshot(&status(targets)), seconds)
}

fn take_states(ledger: &mut Ledger, snapshot: &Snapshot, seconds: i64) -> Vec<(String, CommitState, String)> {
    let reports = ledger.take(snapshot, at(seconds));
    reports.into_iter().map(|report| (report.commit[..1].to_owned(), report.verdict, report.description)).collect()
}

fn ledger() -> Ledger {
    Ledger::new(URL, "main")
}

#[test]
fn the_worst_of_its_targets_makes_the_verdict() {
    type Case<'a> = (&'a [(&'a str, &'a str)], CommitState, &'a str);
    let cases: [Case<'_>; 10] = [
        (&[("in-sync", ""), ("in-sync", "")], CommitState::Succeeded, "frontend 2 in sync"),
        (
            &[("in-sync", ""), ("pending", "forbidden by soak: wait")],
            CommitState::Waiting,
            "asg/t1: forbidden by soak: wait",
        ),
        (
            &[("pending", "waits for t1"), ("rolling-out", "InProgress, 40 %")],
            CommitState::Running,
            "asg/t1: rolling out 2",
        ),
        (&[("rolling-out", "a"), ("rolling-out", "b")], CommitState::Running, "asg/t0: rolling out 2 (and 1 more)"),
        (&[("verifying", "probes are sent"), ("in-sync", "")], CommitState::Running, "asg/t0: verifying 2"),
        (
            &[("rolling-out", ""), ("overdue", "still Pending")],
            CommitState::Running,
            "asg/t1: still Pending (and 1 more)",
        ),
        (&[("rolling-out", ""), ("blocked", "no image")], CommitState::Blocked, "asg/t1: no image"),
        (&[("blocked", "no image"), ("quarantined", "it failed")], CommitState::Failed, "asg/t1: it failed"),
        (&[("suspended", "by Ada"), ("in-sync", "")], CommitState::Waiting, "asg/t0: by Ada"),
        (&[("unknown", "x"), ("in-sync", "")], CommitState::Waiting, "asg/t0: the account can't be read now"),
    ];
    for (states, verdict, description) in cases {
        let targets: Vec<_> = states
            .iter()
            .enumerate()
            .map(|(index, (state, reason))| target(&format!("t{index}"), A, "2", state, reason))
            .collect();
        assert_eq!(take(&mut ledger(), &targets, 0), [("a".to_owned(), verdict, description.to_owned())], "{states:?}");
    }
    let mut unread = target("t0", A, "2", "unknown", "can't be read now");
    unread.last_known = Some(pinion::model::State::InSync);
    assert_eq!(take(&mut ledger(), &[unread], 0)[0].1, CommitState::Succeeded, "what was last known counts");
}

#[test]
fn only_what_changes_is_told() {
    let mut ledger = ledger();
    let mut told =
        |state: &str, reason: &str, seconds| take(&mut ledger, &[target("t", A, "2", state, reason)], seconds);
    assert_eq!(told("pending", "forbidden by soak: wait", 0).len(), 1);
    assert_eq!(told("pending", "forbidden by soak: wait", 1), []);
    assert_eq!(told("pending", "forbidden by freeze: wait", 2).len(), 1, "it waits for something else");
    assert_eq!(told("rolling-out", "InProgress, 10 %", 60).len(), 1);
    assert_eq!(told("rolling-out", "InProgress, 20 %", 61), []);
    assert_eq!(told("blocked", "it has no launch template", 62).len(), 1);
    assert_eq!(told("blocked", "it has no launch template", 63), []);
    let done = told("in-sync", "", 3725);
    assert_eq!(done, [("a".to_owned(), CommitState::Succeeded, "frontend 2 in sync after 1h 2m".to_owned())]);
    assert_eq!(told("in-sync", "", 3726), []);
}

#[test]
fn the_same_refusal_is_told_once_whatever_its_request_and_message_are() {
    let refused = |code: &str, message: &str, request: &str| {
        let mut snapshot = snapshot(&status(&[target("t", A, "2", "blocked", "")]));
        let target = snapshot.environments.get_mut("prod").unwrap().targets.values_mut().next().unwrap();
        target.reason = Some(Reason::Denied(PortError {
            class: ErrorClass::Denied,
            service: "ec2",
            operation: "DescribeImages",
            code: code.to_owned(),
            message: message.to_owned(),
            request_id: Some(request.to_owned()),
            throttled: false,
        }));
        snapshot
    };
    let mut ledger = ledger();
    let first = take_states(&mut ledger, &refused("UnauthorizedOperation", "not you", "8f3a-11"), 0);
    let text = "asg/t: ec2:DescribeImages failed: UnauthorizedOperation: not you".to_owned();
    assert_eq!(first, [("a".to_owned(), CommitState::Blocked, text)], "without the request's id, which says nothing");
    assert_eq!(take_states(&mut ledger, &refused("UnauthorizedOperation", "encoded: x2Yf", "9e21-12"), 1), []);
    assert_eq!(take_states(&mut ledger, &refused("AccessDenied", "not you", "9e21-13"), 2).len(), 1);
}

#[test]
fn what_was_in_sync_long_before_is_told_nothing() {
    let week = 7 * 24 * 3600;
    for (state, age, reports) in
        [("in-sync", week + 1, 0), ("in-sync", week - 1, 1), ("pending", week + 1, 1), ("quarantined", 9 * week, 1)]
    {
        assert_eq!(take(&mut ledger(), &[target("t", A, "2", state, "why")], age).len(), reports, "{state} {age}");
    }
    let mut ledger = ledger();
    assert_eq!(take(&mut ledger, &[target("t", A, "2", "in-sync", "")], week + 1), []);
    let later = take(&mut ledger, &[target("t", B, "2", "in-sync", "")], week + 2);
    assert_eq!(later.len(), 1, "one that comes later is told, however old it is");
    let uncommitted = "0".repeat(40);
    assert_eq!(take(&mut self::ledger(), &[target("t", &uncommitted, "2", "pending", "why")], 0), []);
}

#[test]
fn a_commit_that_is_overtaken_is_told_so_if_it_was_still_open() {
    for (state, told) in
        [("pending", true), ("rolling-out", true), ("blocked", true), ("in-sync", false), ("quarantined", false)]
    {
        let mut ledger = ledger();
        take(&mut ledger, &[target("t", A, "2", state, "why")], 0);
        let reports = take(&mut ledger, &[target("t", B, "3", "pending", "why")], 1);
        let overtaken =
            ("a".to_owned(), CommitState::Superseded, "superseded by bbbbbbbb before it was in sync".to_owned());
        assert_eq!(reports.contains(&overtaken), told, "{state}: {reports:?}");
    }
    let mut ledger = ledger();
    let both = |commit: &str| [target("t0", commit, "2", "pending", "why"), target("t1", A, "2", "in-sync", "")];
    take(&mut ledger, &both(A), 0);
    let reports = take(&mut ledger, &both(B), 1);
    assert!(
        reports.iter().all(|(_, verdict, _)| *verdict != CommitState::Superseded),
        "it still pins the other: {reports:?}"
    );
}

#[test]
fn other_branches_and_what_has_not_been_looked_at_are_no_matter() {
    let mut other = status(&[target("t", A, "2", "pending", "why")]);
    let changes: [fn(&mut EnvironmentStatus); 3] = [
        |it| it.branch = "dev".to_owned(),
        |it| it.repository = "https://git.example/other.git".to_owned(),
        |it| it.passes = 0,
    ];
    for change in changes {
        let before = other.clone();
        change(other.environments.get_mut("prod").unwrap());
        assert_eq!(ledger().take(&snapshot(&other), at(0)), []);
        other = before;
    }
}

#[test]
fn a_success_is_only_followed_by_a_failure() {
    let report = |verdict, description: &str| CommitReport {
        commit: A.to_owned(),
        environment: "prod".to_owned(),
        verdict,
        description: description.to_owned(),
    };
    let known =
        |state: &str, description: &str| Some(Known { state: state.to_owned(), description: description.to_owned() });
    use ForgeKind::{GitHub, GitLab};
    let cases = [
        (GitHub, None, report(CommitState::Waiting, "x"), true),
        (GitHub, known("pending", "x"), report(CommitState::Waiting, "x"), false),
        (GitHub, known("pending", "x"), report(CommitState::Waiting, "y"), true),
        (GitLab, known("pending", "x"), report(CommitState::Waiting, "y"), false),
        (GitLab, known("pending", "x"), report(CommitState::Running, "x"), true),
        (GitHub, known("pending", "x"), report(CommitState::Succeeded, "x"), true),
        (GitHub, known("success", "x"), report(CommitState::Running, "drifted"), false),
        (GitHub, known("success", "x"), report(CommitState::Blocked, "y"), false),
        (GitHub, known("success", "x"), report(CommitState::Superseded, "y"), false),
        (GitHub, known("success", "after 2m"), report(CommitState::Succeeded, "after 3m"), false),
        (GitHub, known("success", "x"), report(CommitState::Failed, "y"), true),
        (GitHub, known("failure", "x"), report(CommitState::Running, "retried"), true),
        (GitHub, known("failure", "x"), report(CommitState::Failed, "x"), false),
    ];
    for (kind, before, report, expected) in cases {
        assert_eq!(api::is_news(kind, before.as_ref(), &report), expected, "{before:?} then {report:?}");
    }
    let long = report(CommitState::Failed, &format!("{}\n\u{1b}[31mred\u{202e}", "ä".repeat(300)));
    let description = api::known(GitHub, &long).description;
    assert!(description.chars().count() == 140 && description.ends_with('…'), "{description}");
    let hostile = api::known(GitLab, &report(CommitState::Failed, "a\r\n\u{1b}[31mred\u{202e}")).description;
    assert_eq!(hostile, "a\\r\\n\\u{1b}[31mred\\u{202e}");
}

#[test]
fn a_new_shape_is_named() {
    let name = "prod/asg/web";
    let brings = |shown: &TargetStatus, shape: Option<&str>| {
        let mut snapshot = snapshot(&status(std::slice::from_ref(shown)));
        let target = snapshot.environments.get_mut("prod").unwrap().targets.get_mut(name).unwrap();
        target.brings = shape.map(ToOwned::to_owned);
        snapshot
    };
    let rolling = target("web", A, "1.2", "rolling-out", "");
    let done = target("web", A, "1.2", "in-sync", "");
    let mut known = ledger();
    assert_eq!(
        take_states(&mut known, &brings(&rolling, Some("7")), 0),
        [("a".to_owned(), CommitState::Running, "asg/web: rolling out 1.2 with launch template version 7".to_owned())]
    );
    assert_eq!(take_states(&mut known, &brings(&rolling, None), 30), [], "it isn't said again");
    assert_eq!(
        take_states(&mut known, &brings(&done, None), 60),
        [(
            "a".to_owned(),
            CommitState::Succeeded,
            "frontend 1.2 with launch template version 7 in sync after 1m".to_owned()
        )]
    );
    // What waits beside a pin that is rolled out is no matter of the pin's.
    let mut known = ledger();
    take_states(&mut known, &brings(&rolling, None), 0);
    let mut waits = brings(&target("web", A, "1.2", "pending", "held by the blast-radius limit"), Some("8"));
    waits.environments.get_mut("prod").unwrap().targets.get_mut(name).unwrap().shape_waits = true;
    assert_eq!(
        take_states(&mut known, &waits, 60),
        [("a".to_owned(), CommitState::Succeeded, "frontend 1.2 in sync after 1m".to_owned())]
    );
}
