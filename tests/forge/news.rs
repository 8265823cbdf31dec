//! What is news between two looks at the status: tables, without I/O.

use jiff::Timestamp;
use pinion::forge::news::news;
use pinion::forge::words::{fitting, lasting, sentence};
use pinion::model::State;
use pinion::model::status::{EnvironmentStatus, ResyncStatus, Status, TargetStatus};
use serde_json::{Value, json};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// A target in a state, with what is said more.
fn target(state: &str, more: &Value) -> TargetStatus {
    let mut target = json!({
        "target": "prod/fargate/api", "kind": "fargate", "component": "backend", "state": state, "reason": "because",
        "since": at(0), "drifted": false, "desired": "1", "updated": 0, "total": 2,
        "pin": { "commit": "aaaaaaaaaa", "author": "Ada", "time": at(0), "subject": "a release" },
    });
    target.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    serde_json::from_value(target).unwrap()
}

fn status(target: &TargetStatus) -> Status {
    let environment = EnvironmentStatus {
        valid: true,
        targets: [("fargate/api".to_owned(), target.clone())].into(),
        ..EnvironmentStatus::default()
    };
    Status { environments: [("prod".to_owned(), environment)].into(), ..Status::default() }
}

fn told(before: &TargetStatus, after: &TargetStatus) -> Vec<String> {
    let events = news(&status(before), &status(after), at(90));
    events
        .iter()
        .map(|event| {
            format!("{}{}", event.kind, event.result.as_ref().map(|result| format!(" {result}")).unwrap_or_default())
        })
        .collect()
}

#[test]
fn each_change_is_told_once() {
    let moved =
        json!({ "desired": "2", "pin": { "commit": "bbbbbbbbbb", "author": "Ada", "time": at(9), "subject": "x" } });
    let drifted = json!({ "drifted": true });
    let denied = json!({ "denied_by": ["soak"] });
    let known = json!({ "last_known": "rolling-out" });
    // Probed once more, as a process has begun, and not because of a rollout.
    let since = json!({ "in_sync_since": at(0) });
    let none = json!({});
    let cases: [(&str, &Value, &str, &Value, &[&str]); 21] = [
        ("in-sync", &none, "in-sync", &none, &[]),
        ("in-sync", &none, "pending", &moved, &["pin-changed"]),
        ("in-sync", &none, "rolling-out", &moved, &["pin-changed", "rollout-started"]),
        ("pending", &none, "rolling-out", &none, &["rollout-started"]),
        ("rolling-out", &none, "rolling-out", &none, &[]),
        ("rolling-out", &none, "verifying", &none, &[]),
        ("verifying", &none, "in-sync", &none, &["rollout-ended succeeded", "in-sync"]),
        ("in-sync", &since, "verifying", &since, &[]),
        ("verifying", &since, "in-sync", &since, &[]),
        ("verifying", &since, "quarantined", &none, &["quarantined"]),
        ("rolling-out", &none, "quarantined", &none, &["rollout-ended failed", "quarantined"]),
        ("rolling-out", &none, "rolling-out", &moved, &["pin-changed", "rollout-ended cancelled", "rollout-started"]),
        ("rolling-out", &none, "overdue", &none, &["overdue"]),
        ("overdue", &none, "in-sync", &none, &["rollout-ended succeeded", "in-sync"]),
        ("quarantined", &none, "quarantined", &moved, &["pin-changed", "quarantined"]),
        ("pending", &none, "pending", &denied, &["denied"]),
        ("pending", &denied, "pending", &denied, &[]),
        ("in-sync", &none, "rolling-out", &drifted, &["rollout-started", "drifted"]),
        ("rolling-out", &drifted, "in-sync", &none, &["rollout-ended succeeded", "in-sync", "drift-corrected"]),
        ("rolling-out", &none, "unknown", &known, &[]),
        ("unknown", &known, "in-sync", &none, &["rollout-ended succeeded", "in-sync"]),
    ];
    for (was, before, is, after, expected) in cases {
        assert_eq!(told(&target(was, before), &target(is, after)), expected, "{was} {before} to {is} {after}");
    }
    let blocked = news(&status(&target("pending", &none)), &status(&target("blocked", &none)), at(90));
    assert_eq!(blocked[0].text.as_deref(), Some("because"));
}

#[test]
fn the_first_look_and_what_comes_or_goes_is_no_news() {
    let one = status(&target("quarantined", &json!({})));
    assert_eq!(news(&Status::default(), &one, at(0)), []);
    assert_eq!(news(&one, &Status::default(), at(0)), []);
    let mut other = one.clone();
    other.resync = ResyncStatus { requested: 2, completed: 1 };
    other.environments.get_mut("prod").unwrap().valid = false;
    other.environments.get_mut("prod").unwrap().errors = vec!["pins.toml:1:1: no".to_owned()];
    let events = news(&one, &other, at(0));
    let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["resync-requested", "resync-completed", "environment-broken"]);
    assert_eq!(events[2].text.as_deref(), Some("pins.toml:1:1: no"));
    assert_eq!(news(&other, &one, at(0)).len(), 1, "mended");
}

#[test]
fn events_are_sentences_on_one_line() {
    let before = target("rolling-out", &json!({ "rollout": { "id": "r1", "status": "x", "started": at(0) } }));
    let after = target("quarantined", &json!({ "reason": "it\nfailed\u{1b}[2J" }));
    let events = news(&status(&before), &status(&after), at(90));
    let sentences: Vec<_> = events.iter().map(sentence).collect();
    assert_eq!(
        sentences,
        [
            "prod/fargate/api: rollout of 1 failed after 1m 30s: it\\nfailed\\u{1b}[2J",
            "prod/fargate/api: 1 is quarantined: it\\nfailed\\u{1b}[2J (aaaaaaaa, Ada)",
        ]
    );
    assert_eq!(target("in-sync", &json!({})).state, State::InSync);
    let spoken =
        [0, 59, 60, 90, 3600, 7260, 172_800, 200_000].map(|seconds| lasting(jiff::SignedDuration::from_secs(seconds)));
    assert_eq!(spoken, ["0s", "59s", "1m", "1m 30s", "1h 0m", "2h 1m", "2d 0h", "2d 7h"]);
    assert_eq!([fitting("abc", 3), fitting("abcd", 3), fitting("a b c", 3)], ["abc", "ab…", "a…"]);
}
