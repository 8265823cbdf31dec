//! All sinks say the same of a rollout's end.

use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::events;
use crate::metrics::Metrics;
use crate::model::event::{EventKind, EventRecord};
use crate::model::status::Snapshot;
use crate::model::{
    AmiQuery, Applied, Artifact, AsgSpec, ErrorClass, Outcome, Pin, PortError, Provenance, Reason, Rollout, RolloutId,
    RolloutOutcome, RolloutSettings, RolloutTarget, State, Target, TargetSpec, TargetState, TemplateRef,
};
use crate::plan::{self, Action, Pass, RefreshPreferences, TargetPlan};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_secs(seconds)
}

fn target() -> Target {
    let ami = AmiQuery::Name { name: "web".to_owned(), owner: None };
    Target {
        reference: "prod/asg/web".to_owned().try_into().unwrap(),
        component: "frontend".parse().unwrap(),
        spec: TargetSpec::Asg(AsgSpec { group: "web".parse().unwrap(), ami }),
        after: BTreeSet::new(),
        rollout: RolloutSettings::default(),
        verify: Vec::new(),
        suspend: None,
        take_over: None,
        base: crate::model::BaseRevision::Running,
    }
}

fn pin(version: &str) -> Pin {
    Pin {
        component: "frontend".parse().unwrap(),
        version: version.parse().unwrap(),
        digest: None,
        provenance: Provenance {
            commit: version.repeat(40).parse().unwrap(),
            author: "Ada".to_owned(),
            ..Provenance::uncommitted(at(0))
        },
    }
}

/// A plan for a version, which is also the number of the template's version that brings it.
fn planned(version: &str, state: State, reason: Option<Reason>) -> TargetPlan {
    TargetPlan {
        base: None,
        shape: None,
        brings: None,
        shape_waits: false,
        image_differs: false,
        state,
        reason,
        action: None,
        drifted: false,
        running: Some("0".to_owned()),
        artifact: Some(Artifact::Ami {
            id: format!("ami-{version}"),
            name: None,
            architecture: None,
            deprecated: false,
            root_device: None,
        }),
        updated: 0,
        total: 2,
        rollout: None,
        ours: true,
        warnings: Vec::new(),
        runs: Vec::new(),
        just_rolled: true,
    }
}

fn refresh(version: u64) -> Action {
    Action::StartRefresh {
        group: "web".parse().unwrap(),
        template: TemplateRef { id: "lt-1".to_owned(), name: "web".to_owned() },
        version,
        preferences: RefreshPreferences::default(),
    }
}

fn rollout(number: u64, outcome: RolloutOutcome, status: &str) -> Rollout {
    Rollout {
        id: RolloutId(format!("r{number}")),
        target: RolloutTarget::TemplateVersion(number),
        outcome,
        status: status.to_owned(),
        reason: Some("AWS says why".to_owned()),
        started: Some(at(10)),
        ended: (!outcome.is_active()).then(|| at(100)),
        percentage: None,
        repeats: false,
    }
}

/// The results that each sink has told, after passes over one target.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    log: Vec<String>,
    metric: Vec<String>,
    history: Vec<String>,
    webhook: Vec<String>,
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Remembers what history and webhook would be told.
#[derive(Debug, Default)]
struct Records(Mutex<(Vec<EventRecord>, Vec<EventRecord>)>);

impl EventSink for Records {
    fn take(&self, event: &Event<'_>) {
        let mut records = self.0.lock().unwrap();
        records.0.extend(history::records(event, at(0)));
        records.1.extend(notifications::record(event));
    }
}

/// What is told after these passes, each a plan for a pin with what became of its action.
fn told(passes: Vec<(&str, TargetPlan, Option<Outcome>)>) -> (Told, String) {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let metrics = Arc::new(Metrics::new().unwrap());
    let records = Arc::new(Records::default());
    tracing::subscriber::with_default(subscriber, || {
        let sinks = Sinks(vec![
            Arc::new(LogSink),
            Arc::new(MetricsSink(Arc::clone(&metrics))),
            Arc::clone(&records) as Arc<dyn EventSink>,
        ]);
        let (target, mut before) = (target(), None::<TargetState>);
        for (index, (version, plan, outcome)) in passes.into_iter().enumerate() {
            let (pin, now) = (pin(version), at(30 * index as i64));
            let pass = Pass { target: &target, pin: &pin, seen: None, plan: &plan, outcome: outcome.as_ref(), now };
            let after = plan::settle(pass, before.as_ref());
            let step = plan.action.as_ref().zip(outcome.as_ref());
            for event in events::of_target(before.as_ref(), &after, step, now) {
                sinks.take(&event);
            }
            before = Some(after);
        }
    });
    let log = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    let after = |line: &str, key: &str| line.split_once(key)?.1.split('"').next().map(str::to_owned);
    let text = metrics.render(&Snapshot::default(), at(1000));
    let records = records.0.lock().unwrap();
    let results = |records: &[EventRecord]| -> Vec<String> {
        let ended = records.iter().filter(|record| record.kind == EventKind::RolloutEnded);
        ended.filter_map(|record| record.result.clone()).collect()
    };
    let told = Told {
        log: log
            .lines()
            .filter(|line| line.contains("rollout ended"))
            .filter_map(|line| after(line, "result=\""))
            .collect(),
        metric: text
            .lines()
            .filter(|line| line.starts_with("pinion_rollouts_total{") && line.ends_with(" 1"))
            .filter_map(|line| after(line, "result=\""))
            .collect(),
        history: results(&records.0),
        webhook: results(&records.1),
    };
    (told, log)
}

#[test]
fn log_metric_history_and_webhook_agree_on_how_a_rollout_ended() {
    use RolloutOutcome::{Cancelled, Failed, Running, Succeeded, Undoing};
    use State::{InSync, Quarantined, RollingOut, Unknown};
    let before = || ("1", planned("1", InSync, None), None);
    let applied = || Some(Outcome::Applied(Applied { id: Some("r2".to_owned()), warning: None }));
    let starts = || {
        let plan = TargetPlan { action: Some(refresh(2)), ..planned("2", RollingOut, Some(Reason::Preparing)) };
        ("2", plan, applied())
    };
    let seen = |version: &'static str, state: State, number: u64, outcome: RolloutOutcome, status: &str| {
        let reason = match (state, outcome) {
            (RollingOut, Undoing) => Some(Reason::RollingBack { reason: None }),
            (RollingOut, _) => Some(Reason::Progress { status: status.to_owned(), percentage: None }),
            (Quarantined, _) => Some(Reason::RolloutFailed {
                id: RolloutId(format!("r{number}")),
                status: status.to_owned(),
                reason: None,
                probe: None,
                back: None,
            }),
            _ => None,
        };
        (
            version,
            TargetPlan { rollout: Some(rollout(number, outcome, status)), ..planned(version, state, reason) },
            None,
        )
    };
    let runs = || seen("2", RollingOut, 2, Running, "InProgress");
    let over = |outcome: RolloutOutcome, status: &str| {
        let state = if outcome == Succeeded { InSync } else { Quarantined };
        vec![before(), starts(), runs(), seen("2", state, 2, outcome, status)]
    };
    let unreadable = || {
        let error = PortError {
            class: ErrorClass::Retry,
            service: "sts",
            operation: "AssumeRole",
            code: "Timeout".to_owned(),
            message: String::new(),
            request_id: None,
            throttled: false,
        };
        ("2", planned("2", Unknown, Some(Reason::Unreadable(error))), None)
    };
    let next = || {
        let plan = TargetPlan { action: Some(refresh(3)), ..planned("3", RollingOut, Some(Reason::Preparing)) };
        ("3", plan, applied())
    };
    let stopping = || {
        let reason = Reason::Superseded { id: RolloutId("r2".to_owned()) };
        let plan = planned("3", RollingOut, Some(reason));
        ("3", TargetPlan { rollout: Some(rollout(2, Undoing, "Cancelling")), ..plan }, None)
    };
    let gave_up = |version: &'static str| {
        let plan = planned(version, Quarantined, Some(Reason::ProbeGaveUp("answered 500".to_owned())));
        (version, TargetPlan { rollout: Some(rollout(2, Succeeded, "Successful")), ..plan }, None)
    };
    let cases = [
        ("successful", over(Succeeded, "Successful"), "succeeded"),
        ("failed", over(Failed, "Failed"), "failed"),
        ("rolled back", over(Failed, "RollbackSuccessful"), "failed"),
        ("rollback failed", over(Failed, "RollbackFailed"), "failed"),
        ("cancelled by a person", over(Cancelled, "Cancelled"), "cancelled"),
        ("stopped, of ECS", over(Failed, "STOPPED"), "failed"),
        ("rolled back, of ECS", over(Failed, "ROLLBACK_SUCCESSFUL"), "failed"),
        (
            "rolling back, then rolled back",
            {
                let undoing = seen("2", RollingOut, 2, Undoing, "RollbackInProgress");
                vec![before(), starts(), runs(), undoing, seen("2", Quarantined, 2, Failed, "RollbackSuccessful")]
            },
            "failed",
        ),
        ("superseded by our own", vec![before(), starts(), runs(), next()], "cancelled"),
        ("stopped for the next one", vec![before(), starts(), runs(), stopping(), next()], "cancelled"),
        ("left behind by a revert", vec![before(), starts(), runs(), before()], "cancelled"),
        ("the probes give up", vec![before(), starts(), runs(), gave_up("2")], "failed"),
        (
            "ended while nobody could look",
            vec![before(), starts(), runs(), unreadable(), seen("2", InSync, 2, Succeeded, "Successful")],
            "succeeded",
        ),
        (
            "cancelled while nobody could look",
            vec![before(), starts(), runs(), unreadable(), seen("2", Quarantined, 2, Cancelled, "Cancelled")],
            "cancelled",
        ),
        ("never seen running", vec![before(), starts(), seen("2", InSync, 2, Succeeded, "Successful")], "succeeded"),
    ];
    for (what, passes, result) in cases {
        let one = || vec![result.to_owned()];
        let expected = Told { log: one(), metric: one(), history: one(), webhook: one() };
        let (told, log) = told(passes);
        assert_eq!(told, expected, "{what}:\n{log}");
    }
}

#[test]
fn a_rollout_that_was_over_before_the_first_look_is_told_to_the_history_alone() {
    let found = |outcome: RolloutOutcome, state: State| {
        let plan = planned("2", state, None);
        told(vec![("2", TargetPlan { rollout: Some(rollout(2, outcome, "x")), ..plan }, None)]).0
    };
    for (outcome, state, result) in [
        (RolloutOutcome::Succeeded, State::InSync, "succeeded"),
        (RolloutOutcome::Failed, State::Quarantined, "failed"),
        (RolloutOutcome::Cancelled, State::Quarantined, "cancelled"),
    ] {
        assert_eq!(found(outcome, state), Told { history: vec![result.to_owned()], ..Told::default() });
    }
}

#[test]
fn a_log_line_says_from_what_to_what() {
    let plan = |state: State| planned("2", state, None);
    let (_, log) = told(vec![("1", planned("1", State::InSync, None), None), ("2", plan(State::Pending), None)]);
    assert!(log.contains("pin changed target=\"prod/asg/web\" from=\"1\" to=\"2\""), "{log}");
    assert!(log.contains("state changed target=\"prod/asg/web\" from=\"in-sync\" to=\"pending\""), "{log}");
}

#[test]
fn notifications_are_sentences_on_one_line() {
    let reason = |text: &str| Some(Reason::UnsupportedShape(text.to_owned()));
    let applied = Some(Outcome::Applied(Applied { id: None, warning: None }));
    let starts = TargetPlan { action: Some(refresh(2)), ..planned("2", State::RollingOut, None) };
    let hostile = planned("2", State::Quarantined, reason("it\nfailed\u{1b}[2J"));
    let hostile = TargetPlan { rollout: Some(rollout(2, RolloutOutcome::Failed, "Failed")), ..hostile };
    let records = Records::default();
    let (target, mut before) = (target(), None::<TargetState>);
    for (index, (version, plan, outcome)) in
        [("1", planned("1", State::InSync, None), None), ("2", starts, applied), ("2", hostile, None)]
            .into_iter()
            .enumerate()
    {
        let (pin, now) = (pin(version), at(10 + 45 * index as i64));
        let pass = Pass { target: &target, pin: &pin, seen: None, plan: &plan, outcome: outcome.as_ref(), now };
        let after = plan::settle(pass, before.as_ref());
        for event in events::of_target(before.as_ref(), &after, plan.action.as_ref().zip(outcome.as_ref()), now) {
            records.take(&event);
        }
        before = Some(after);
    }
    let records = records.0.lock().unwrap();
    let sentences: Vec<String> = records.1.iter().map(crate::forge::words::sentence).collect();
    assert_eq!(
        sentences,
        [
            "prod/asg/web: pinned to 2, before 1 (22222222, Ada)",
            "prod/asg/web: rollout of 2 started (22222222, Ada)",
            "prod/asg/web: rollout of 2 failed after 45s: it\\nfailed\\u{1b}[2J",
            "prod/asg/web: 2 is quarantined: it\\nfailed\\u{1b}[2J (22222222, Ada)",
        ]
    );
    let lasting = [0, 59, 60, 90, 3600, 7260, 172_800, 200_000]
        .map(|seconds| crate::forge::words::lasting(SignedDuration::from_secs(seconds)));
    assert_eq!(lasting, ["0s", "59s", "1m", "1m 30s", "1h 0m", "2h 1m", "2d 0h", "2d 7h"]);
    let fitting = [("abc", 3), ("abcd", 3), ("a b c", 3)].map(|(text, most)| crate::forge::words::fitting(text, most));
    assert_eq!(fitting, ["abc", "ab…", "a…"]);
}

/// A commit that pins what was pinned before, such as one that brings a removed folder back, sets another pin: nothing that
/// is said of it happened before.
#[test]
fn nothing_in_the_history_is_older_than_its_commit() {
    let target = target();
    let pinned = |digit: &str, seconds: i64| {
        let mut pin = pin("1");
        pin.provenance.commit = digit.repeat(40).parse().unwrap();
        pin.provenance.time = at(seconds);
        pin
    };
    let plan = TargetPlan {
        rollout: Some(rollout(1, RolloutOutcome::Succeeded, "Successful")),
        ..planned("1", State::InSync, None)
    };
    let look = |pin: &Pin, seconds: i64, before: Option<&TargetState>| {
        let pass = Pass { target: &target, pin, seen: None, plan: &plan, outcome: None, now: at(seconds) };
        let after = plan::settle(pass, before);
        let records: Vec<EventRecord> = events::of_target(before, &after, None, at(seconds))
            .iter()
            .flat_map(|event| history::records(event, at(0)))
            .collect();
        (after, records)
    };
    let when = |records: &[EventRecord], kind: EventKind| {
        records.iter().find(|record| record.kind == kind).map(|record| record.at).unwrap()
    };
    let (first, records) = look(&pinned("a", 0), 130, None);
    assert_eq!(when(&records, EventKind::InSync), at(100), "when its rollout ended");
    let (_, records) = look(&pinned("b", 150), 170, Some(&first));
    assert_eq!(when(&records, EventKind::InSync), at(170), "when the next pin was seen");
    // The rollout that AWS remembers is older than the pin; and one process's clock may be behind the other's.
    for (now, since) in [(170, 150), (140, 140)] {
        let (_, records) = look(&pinned("b", 150), now, None);
        for kind in [EventKind::InSync, EventKind::RolloutStarted, EventKind::RolloutEnded] {
            assert_eq!(when(&records, kind), at(since), "{kind}");
        }
    }
}
