//! Tables of what has changed.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::*;
use crate::model::status::SignaturesStatus;
use crate::model::{
    Artifact, Denial, ErrorClass, Ongoing, Outcome, Pin, Provenance, Reason, Rollout, RolloutOutcome, RolloutTarget,
    StartedRollout,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// A version, pinned by a commit of this digit.
fn pin(version: &str, commit: char) -> Pin {
    let commit = commit.to_string().repeat(40).parse().unwrap();
    Pin {
        component: "frontend".parse().unwrap(),
        version: version.parse().unwrap(),
        digest: None,
        provenance: Provenance { commit, ..Provenance::uncommitted(at(0)) },
    }
}

fn image(version: &str) -> Artifact {
    Artifact::Ami { id: format!("ami-{version}"), name: None, architecture: None, deprecated: false, root_device: None }
}

fn started(version: &str, number: u64, id: Option<&str>) -> Option<StartedRollout> {
    Some(StartedRollout {
        to: RolloutTarget::TemplateVersion(number),
        pin: Some(pin(version, 'a')),
        artifact: Some(format!("ami-{version}")),
        shape: None,
        started: at(0),
        id: id.map(|id| RolloutId(id.to_owned())),
    })
}

/// A rollout as AWS shows it.
fn shown(number: u64, outcome: RolloutOutcome) -> Option<Rollout> {
    Some(Rollout {
        id: RolloutId("r".to_owned()),
        target: RolloutTarget::TemplateVersion(number),
        outcome,
        status: format!("{outcome:?}"),
        reason: None,
        started: Some(at(0)),
        ended: (!outcome.is_active()).then(|| at(60)),
        percentage: None,
        repeats: false,
    })
}

/// A target in a state, at version 1 of the commit `a`.
fn known(state: State) -> TargetState {
    TargetState {
        target: "prod/asg/web".to_owned().try_into().unwrap(),
        pin: pin("1", 'a'),
        state,
        reason: None,
        since: at(0),
        out_of_sync_since: None,
        in_sync_since: None,
        runs: Vec::new(),
        observed: Some(at(0)),
        last_known: None,
        drifted: false,
        running: Some("0".to_owned()),
        artifact: Some(image("1")),
        updated: 0,
        total: 2,
        shape: None,
        brings: None,
        shape_waits: false,
        warnings: Vec::new(),
        rollout: None,
        suspension: None,
        ongoing: Ongoing::default(),
    }
}

fn with(state: State, change: impl FnOnce(&mut TargetState)) -> TargetState {
    let mut made = known(state);
    change(&mut made);
    made
}

/// A target whose rollout runs.
fn rolling(state: State) -> TargetState {
    with(state, |it| it.ongoing.rollout = started("1", 2, Some("r")))
}

fn moved(mut state: TargetState) -> TargetState {
    (state.pin, state.artifact) = (pin("2", 'b'), Some(image("2")));
    state
}

fn word(change: &TargetChange<'_>) -> String {
    match change {
        TargetChange::Discovered => "discovered".to_owned(),
        TargetChange::PinChanged { from } => format!("pin from {}", from.version),
        TargetChange::State { to, resumed: true, .. } => format!("resumed {to}"),
        TargetChange::State { to, .. } => to.to_string(),
        TargetChange::Progress { to, .. } => format!("progress {}", to.unwrap_or_default()),
        TargetChange::Warning(text) => format!("warning {text}"),
        TargetChange::Denied(policies) => format!("denied {}", policies.join(" ")),
        TargetChange::Drifted => "drifted".to_owned(),
        TargetChange::DriftCorrected => "drift corrected".to_owned(),
        TargetChange::Applied { action, .. } => format!("applied {}", action.operation()),
        TargetChange::WriteFailed { error, .. } => format!("failed {}", error.code),
        TargetChange::RolloutStarted(_) => "rollout started".to_owned(),
        TargetChange::RolloutEnded { result, .. } => format!("rollout {result}"),
        TargetChange::RolloutFound { result, .. } => format!("found {result}"),
        TargetChange::Converged { after } => format!("converged {}", after.as_secs()),
    }
}

fn words(before: Option<&TargetState>, after: &TargetState, outcome: Option<(&Action, &Outcome)>) -> Vec<String> {
    let events = of_target(before, after, outcome, at(90));
    events
        .iter()
        .map(|event| match &event.what {
            What::Target { change, .. } => word(change),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn each_change_of_a_target_is_told_once() {
    use State::{Blocked, InSync, Overdue, Quarantined, RollingOut, Unknown, Verifying};
    let waiting = || known(State::Pending);
    let denied = |policies: &[&str]| {
        let policies: Vec<String> = policies.iter().map(ToString::to_string).collect();
        with(State::Pending, |it| it.ongoing.denied_by = policies.into_iter().collect())
    };
    let lost = |last: State| with(Unknown, |it| it.last_known = Some(last));
    let probed_again = |state: State| with(state, |it| it.in_sync_since = Some(at(0)));
    let failed = |outcome: RolloutOutcome| with(Quarantined, |it| it.rollout = shown(2, outcome));
    let other = |state: State| moved(with(state, |it| it.ongoing.rollout = started("2", 3, Some("s"))));
    let unnamed = |id: Option<&str>| with(RollingOut, |it| it.ongoing.rollout = started("1", 2, id));
    let drifted = |state: State| with(state, |it| it.drifted = true);
    let at_60 = |status: &str| {
        with(RollingOut, |it| {
            it.ongoing.rollout = started("1", 2, Some("r"));
            it.rollout =
                shown(2, RolloutOutcome::Running).map(|rollout| Rollout { status: status.to_owned(), ..rollout });
        })
    };
    let cases: Vec<(TargetState, TargetState, &[&str])> = vec![
        (known(InSync), known(InSync), &[]),
        (known(InSync), moved(waiting()), &["pin from 1", "pending"]),
        (waiting(), rolling(RollingOut), &["rollout started", "rolling-out"]),
        (waiting(), unnamed(None), &["rolling-out"]),
        (unnamed(None), unnamed(Some("r")), &["rollout started"]),
        (unnamed(None), known(InSync), &["rollout started", "rollout succeeded", "in-sync"]),
        (rolling(RollingOut), rolling(RollingOut), &[]),
        (at_60("Pending"), at_60("InProgress"), &["progress InProgress"]),
        (rolling(RollingOut), rolling(Verifying), &["verifying"]),
        (rolling(Verifying), known(InSync), &["rollout succeeded", "in-sync"]),
        (probed_again(InSync), probed_again(Verifying), &["resumed verifying"]),
        (probed_again(Verifying), probed_again(InSync), &["resumed in-sync"]),
        (probed_again(Verifying), known(Quarantined), &["quarantined"]),
        (rolling(RollingOut), failed(RolloutOutcome::Failed), &["rollout failed", "quarantined"]),
        (rolling(RollingOut), failed(RolloutOutcome::Cancelled), &["rollout cancelled", "quarantined"]),
        (
            rolling(RollingOut),
            other(RollingOut),
            &["pin from 1", "rollout cancelled", "rollout started", "rolling-out"],
        ),
        (rolling(RollingOut), moved(known(InSync)), &["pin from 1", "rollout cancelled", "in-sync"]),
        (rolling(RollingOut), rolling(Overdue), &["overdue"]),
        (rolling(Overdue), known(InSync), &["rollout succeeded", "in-sync"]),
        (known(Quarantined), moved(known(Quarantined)), &["pin from 1", "quarantined"]),
        (waiting(), denied(&["soak"]), &["denied soak"]),
        (denied(&["soak"]), denied(&["soak"]), &[]),
        (denied(&["soak"]), denied(&["freeze", "soak"]), &["denied freeze"]),
        (denied(&["soak"]), moved(denied(&["soak"])), &["pin from 1", "pending", "denied soak"]),
        (known(InSync), drifted(State::Pending), &["pending", "drifted"]),
        (drifted(RollingOut), known(InSync), &["in-sync", "drift corrected"]),
        (
            rolling(RollingOut),
            with(Unknown, |it| {
                *it = TargetState { state: Unknown, last_known: Some(RollingOut), ..rolling(RollingOut) }
            }),
            &["resumed unknown"],
        ),
        (lost(InSync), known(InSync), &["resumed in-sync"]),
        (lost(InSync), known(Blocked), &["blocked"]),
        (known(InSync), with(InSync, |it| it.warnings = vec!["old".to_owned()]), &["warning old"]),
        (waiting(), with(InSync, |it| it.ongoing.arrived = Some(at(30))), &["in-sync", "converged 60"]),
    ];
    for (before, after, expected) in &cases {
        assert_eq!(words(Some(before), after, None), *expected, "{} to {}", before.state, after.state);
    }
}

#[test]
fn a_first_look_says_how_things_are_and_is_known_as_such() {
    let found = with(State::InSync, |it| it.rollout = shown(2, RolloutOutcome::Succeeded));
    assert_eq!(words(None, &found, None), ["discovered", "found succeeded", "in-sync", "drift corrected"]);
    assert_eq!(words(None, &rolling(State::RollingOut), None), ["discovered", "rollout started", "rolling-out"]);
    assert!(of_target(None, &found, None, at(0)).iter().all(Event::is_first_look));
    assert!(!of_target(Some(&known(State::Pending)), &found, None, at(0)).iter().any(Event::is_first_look));
    // ECS calls it otherwise before it has an id that stays.
    let provisional = with(State::InSync, |it| {
        it.rollout = shown(2, RolloutOutcome::Succeeded).map(|it| Rollout { id: RolloutId("ecs-svc/1".into()), ..it });
    });
    assert_eq!(words(None, &provisional, None), ["discovered", "in-sync", "drift corrected"]);
}

#[test]
fn a_write_that_keeps_failing_is_told_once_for_each_reason() {
    let action = Action::Verify { probes: Vec::new() };
    let error = |code: &str, request: &str| PortError {
        class: ErrorClass::Retry,
        service: "ecs",
        operation: "UpdateService",
        code: code.to_owned(),
        message: String::new(),
        request_id: Some(request.to_owned()),
        throttled: false,
    };
    let failing =
        |code: &str| with(State::RollingOut, |it| it.ongoing.failing = Some((action.operation(), code.to_owned())));
    let told = |before: &TargetState, code: &str, request: &str| {
        words(Some(before), &failing(code), Some((&action, &Outcome::Failed(error(code, request)))))
    };
    assert_eq!(told(&known(State::RollingOut), "Timeout", "1"), ["failed Timeout"]);
    assert_eq!(told(&failing("Timeout"), "Timeout", "2"), Vec::<String>::new());
    assert_eq!(told(&failing("Timeout"), "Throttled", "3"), ["failed Throttled"]);
}

#[test]
fn a_rollout_is_of_the_commit_that_pins_its_version_now() {
    let before = rolling(State::RollingOut);
    let pins = |after: &TargetState| -> Vec<Pin> {
        let events = of_target(Some(&before), after, None, at(90));
        let ended = |event: &Event<'_>| match &event.what {
            What::Target { change: TargetChange::RolloutEnded { run, .. }, .. } => run.pin.cloned(),
            _ => None,
        };
        events.iter().filter_map(ended).collect()
    };
    assert_eq!(pins(&moved(known(State::InSync))), [pin("1", 'a')], "it was for what another commit wanted");
    let again = with(State::InSync, |it| it.pin = pin("1", 'c'));
    assert_eq!(pins(&again), [pin("1", 'c')], "another commit wants the same");
}

#[test]
fn resyncs_files_and_repositories_are_told_as_they_change() {
    let resync = |requested, completed| ResyncStatus { requested, completed };
    let numbers = |before, after| {
        format!("{:?}", of_resyncs(before, after, at(0)).iter().map(|it| it.what.clone()).collect::<Vec<_>>())
    };
    assert_eq!(numbers(resync(0, 0), resync(2, 1)), "[ResyncsRequested(1..=2), ResyncsCompleted(1..=1)]");
    assert_eq!(numbers(resync(2, 1), resync(2, 1)), "[]");

    let good = EnvironmentStatus { valid: true, ..EnvironmentStatus::default() };
    let bad = EnvironmentStatus { errors: vec!["x".to_owned()], ..EnvironmentStatus::default() };
    let files = |before: FilesState, after: &EnvironmentStatus<TargetState>| {
        of_files(before, "dev", after, at(0)).map(|event| (event.is_first_look(), FilesState::of(after)))
    };
    use FilesState::{Broken, Good, Unread};
    assert_eq!(files(Unread, &EnvironmentStatus::default()), None, "nothing has been read yet");
    assert_eq!(files(Unread, &good), Some((true, Good)));
    assert_eq!(files(Unread, &bad), Some((true, Broken)));
    assert_eq!(files(Good, &bad), Some((false, Broken)));
    assert_eq!(files(Broken, &bad), None);
    assert_eq!(files(Broken, &good), Some((false, Good)));

    let refused = |commit: &str| RefusedCommit {
        commit: commit.repeat(40),
        author: "Mallory".to_owned(),
        committer: "Mallory".to_owned(),
        subject: "x".to_owned(),
        kind: "unsigned".to_owned(),
        reason: "it isn't signed".to_owned(),
    };
    let branch = |error: Option<&str>, commits: Vec<RefusedCommit>| RepositoryStatus {
        error: error.map(|error| Fault::Unreadable(error.to_owned())),
        signatures: Some(SignaturesStatus { accepted: None, refused: commits.len() as u64, commits }),
        ..RepositoryStatus::default()
    };
    let changes = |before: &RepositoryStatus, after: &RepositoryStatus| -> Vec<String> {
        of_repository(before, after, at(0))
            .iter()
            .map(|event| match &event.what {
                What::Repository { change: RepositoryChange::Failed(fault), .. } => format!("failed: {fault}"),
                What::Repository { change: RepositoryChange::Recovered, .. } => "recovered".to_owned(),
                What::Repository { change: RepositoryChange::CommitRefused(commit), .. } => {
                    format!("refused {}", &commit.commit[..1])
                }
                What::Repository { change: RepositoryChange::AllSigned, .. } => "all signed".to_owned(),
                other => panic!("{other:?}"),
            })
            .collect()
    };
    let well = branch(None, Vec::new());
    assert_eq!(changes(&well, &well), Vec::<String>::new());
    assert_eq!(changes(&well, &branch(Some("down"), Vec::new())), ["failed: down"]);
    assert_eq!(changes(&branch(Some("down"), Vec::new()), &branch(Some("down"), Vec::new())), Vec::<String>::new());
    assert_eq!(changes(&branch(Some("down"), Vec::new()), &well), ["recovered"]);
    let one = branch(None, vec![refused("a")]);
    assert_eq!(changes(&well, &one), ["refused a"]);
    assert_eq!(changes(&one, &branch(None, vec![refused("a"), refused("b")])), ["refused b"]);
    assert_eq!(changes(&one, &well), ["all signed"]);
}

#[test]
fn the_text_of_the_api_is_made_of_the_state() {
    let denial = Denial { policy: "soak".to_owned(), reason: "too young".to_owned() };
    let state = with(State::Pending, |it| {
        it.reason = Some(Reason::Guardrail(vec![denial]));
        it.rollout = shown(2, RolloutOutcome::Running);
    });
    let snapshot = crate::model::status::Snapshot {
        environments: BTreeMap::from([(
            "prod".to_owned(),
            EnvironmentStatus { targets: [("asg/web".to_owned(), state)].into(), ..EnvironmentStatus::default() },
        )]),
        ..crate::model::status::Snapshot::default()
    };
    let status = crate::model::status::Status::from(&snapshot);
    let web = &status.environments["prod"].targets["asg/web"];
    assert_eq!((web.target.as_str(), web.desired.as_str(), web.component.as_str()), ("prod/asg/web", "1", "frontend"));
    assert_eq!(web.reason.as_deref(), Some("forbidden by soak: too young"));
    assert_eq!(web.denied_by, ["soak"]);
    assert_eq!(web.rollout.as_ref().map(|rollout| rollout.id.as_str()), Some("r"));
    assert_eq!(web.artifact.as_deref(), Some("ami-1"));
}
