//! What is kept of what has happened: a whole story with kills in it, told by `pinion history` from a running controller

//! and from what it left.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use pinion::history::FILE;
use pinion::model::event::EventKind;
use serde_json::{Value, json};

use crate::support::pair::{DEV, FILES, WORLD};
use crate::support::stage::process::{Process, TIMEOUT, clean};
use crate::support::stage::{self, Stage, changed, set_pin};

/// Version 2 of the service exits, and AWS takes it back; 3 is good again.
fn world() -> String {
    let breaker = "configuration = { deploymentCircuitBreaker = { enable = true, rollback = true } }";
    changed(
        WORLD,
        &[
            (r#"{ tags = ["2"] }"#, r#"{ tags = ["2"], behaviour = "exits" }, { tags = ["3"] }"#),
            ("desired = 2 }]\n", &format!("desired = 2, {breaker} }}]\n")),
        ],
    )
}

/// What `pinion history` says, as JSON.
fn told(stage: &Stage, arguments: &[&str]) -> Value {
    let output = stage.run(&[&["history", "--output", "json"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The kinds of a target's events, the oldest first, with what rollouts came to.
fn kinds(stage: &Stage, scope: &str, more: &[&str]) -> Vec<String> {
    let page = told(stage, &[&[scope], more].concat());
    let mut kinds: Vec<String> = page["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            let kind = event["kind"].as_str().unwrap();
            event["result"].as_str().map_or_else(|| kind.to_owned(), |result| format!("{kind} {result}"))
        })
        .collect();
    kinds.reverse();
    kinds
}

#[test]
fn a_story_with_kills_in_it_is_told_once() {
    let mut stage = Stage::of(&world()).environments(FILES).start();
    let (web, api) = ("dev/asg/frontend", "dev/fargate/api");
    stage.wait_for_sync(&[web, api]);
    // A good version for the group and a bad one for the service; killed while both roll out.
    stage.commit("release: 1.4.1 and 2", |repo| {
        set_pin(repo, "dev", "frontend", "1.4.1");
        set_pin(repo, "dev", "api", "2");
    });
    stage.wait_for(web, "rolling-out");
    stage.wait_for(api, "rolling-out");
    stage.kill_controller();
    stage.start_controller();
    stage.wait_for_sync(&[web]);
    stage.wait_for(api, "quarantined");
    // Fixed; killed as soon as the rollout's beginning is kept, and what it came to is seen by nobody: it takes a while.
    stage.meddle("/_sim/speed", &json!({ "speed": 5 }));
    stage.pin("dev", "api", "3");
    stage.wait_until("the rollout's beginning is kept", |stage| {
        kinds(stage, api, &["--kind", "rollout-started"]).len() == 2
    });
    stage.kill_controller();
    stage.meddle("/_sim/speed", &json!({ "speed": 60 }));
    let image = format!("{DEV}.dkr.ecr.us-west-1.amazonaws.com/api:3");
    stage.wait_until("the rollout ends", |stage| stage.fleet().service_runs(DEV, "app/api", &image));
    stage.start_controller();
    stage.wait_for_sync(&[web, api]);
    stage.settles();
    // And once more, with nothing under way.
    stage.kill_controller();
    stage.start_controller();
    stage.wait_for_sync(&[web, api]);
    stage.settles();
    let expected_web = ["target-discovered", "pin-changed", "rollout-started", "rollout-ended succeeded", "in-sync"];
    let expected_api = [
        "target-discovered",
        "pin-changed",
        "rollout-started",
        "rollout-ended failed",
        "quarantined",
        "pin-changed",
        "rollout-started",
        "rollout-ended succeeded",
        "in-sync",
    ];
    let sorted = |mut kinds: Vec<String>| {
        kinds.sort();
        kinds
    };
    let expected = |kinds: &[&str]| sorted(kinds.iter().map(ToString::to_string).collect());
    assert_eq!(kinds(&stage, web, &[]), expected_web);
    assert_eq!(sorted(kinds(&stage, api, &[])), expected(&expected_api));

    // The figures: the group's release, the service's failure, and its fixing.
    let figures = told(&stage, &["dev", "--dora"]);
    let of = |component: &str| {
        let all = figures["components"].as_array().unwrap();
        all.iter().find(|it| it["component"] == component).unwrap().clone()
    };
    let (frontend, backend) = (of("frontend"), of("api"));
    assert_eq!((&frontend["deployments"], &frontend["failures"]), (&json!(1), &json!(0)), "{figures:#}");
    assert_eq!(
        (&backend["deployments"], &backend["failures"], &backend["unrestored"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert_eq!(backend["change_failure_rate"], json!(0.5));
    assert!(frontend["lead_time_seconds"].is_u64() && backend["time_to_restore_seconds"].is_u64(), "{figures:#}");
    let text = String::from_utf8(stage.run(&["history", "--dora"]).stdout).unwrap();
    assert!(text.starts_with("COMPONENT") && text.contains("50 %"), "{text}");

    // For people, and what else has happened.
    assert!(stage.run(&["resync"]).status.success());
    let text = String::from_utf8(stage.run(&["history", "--limit", "200"]).stdout).unwrap();
    assert!(text.contains("1.4.0 → 1.4.1 by ") && text.contains("release: 1.4.1 and 2"), "{text}");
    assert!(text.contains("resync-completed") && !text.contains("target-discovered"), "{text}");
    assert_eq!(text.matches("\nTIME").count() + usize::from(text.starts_with("TIME")), 1);
    assert_eq!(text.lines().filter(|line| line.contains(" started ")).count(), 4, "{text}");
    // What isn't there is an error, not an empty answer; and a status of one target has no other.
    for (arguments, near) in [
        (["history", "devv"], "did you mean `dev`"),
        (["history", "dev/asg/fronted"], "did you mean `dev/asg/frontend`"),
        (["status", "staging"], "unknown environment `staging`"),
    ] {
        let output = stage.run(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(near), "{arguments:?}: {said}");
    }
    let one = String::from_utf8(stage.run(&["status", web]).stdout).unwrap();
    assert!(one.contains(web) && !one.contains("fargate"), "{one}");
    let refused = stage.run(&["history", "prod/web"]);
    assert_eq!(refused.status.code(), Some(64), "{}", String::from_utf8_lossy(&refused.stderr));
    let missing = stage.run(&["history", "--cache-dir", "elsewhere"]);
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(
        !missing.status.success() && said.contains("there is no history file") && said.contains("cache_dir"),
        "{said}"
    );

    // From the file, while it runs and after a stop by the book.
    let page = told(&stage, &[web]);
    assert_eq!(told(&stage, &[web, "--cache-dir", "cache"]), page);
    stage.signal("TERM");
    assert!(stage.controller().end(stage::process::TIMEOUT).success());
    assert_eq!(told(&stage, &[web, "--cache-dir", "cache"]), page);

    // Damaged, what was in it is gone: what AWS and Git still know is told again, and nothing else suffers.
    stage.damage_history();
    stage.start_controller();
    stage.wait_for_sync(&[web, api]);
    stage.wait_until("the warning", |stage| stage.logged().contains("the history file is damaged"));
    assert_eq!(kinds(&stage, web, &[])[0], "target-discovered");
}

/// All that a file of the history tells, the oldest first.
fn all(stage: &Stage) -> Vec<Value> {
    let every = EventKind::ALL.map(EventKind::as_str).join(",");
    let mut page = told(stage, &["--cache-dir", "cache", "--limit", "500", "--kind", &every]);
    assert!(page["next"].is_null(), "there are more than one page");
    let mut events: Vec<Value> = serde_json::from_value(page["events"].take()).unwrap();
    events.reverse();
    events
}

/// The whole lines of the file, and whether one more is torn.
fn lines(stage: &Stage) -> (Vec<String>, bool) {
    let text = String::from_utf8(std::fs::read(stage.cache().join(FILE)).unwrap()).unwrap();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(str::to_owned).collect();
    (whole, !text.ends_with('\n'))
}

#[test]
fn a_process_that_dies_in_the_middle_of_a_line_takes_nothing_with_it() {
    let mut stage = Stage::of(&world()).environments(FILES).start();
    stage.wait_for_sync(&["dev/asg/frontend", "dev/fargate/api"]);
    stage.pin("dev", "frontend", "1.4.1");
    stage.wait_until("the rollout is told", |stage| kinds(stage, "dev/asg/frontend", &[]).len() == 5);
    stage.kill_controller();
    let mut known = all(&stage);
    assert!(known.len() >= 7, "{known:#?}");

    // The kernel ends a process that writes beyond this size of a file, with exactly so many bytes in it.
    let home = stage.cache().parent().unwrap().to_owned();
    let dies_at = |stage: &Stage, bytes: u64| {
        let mut command = clean(Command::new("prlimit"), &home);
        command.args([&format!("--fsize={bytes}"), "--core=0", env!("CARGO_BIN_EXE_pinion")]);
        command.args(["run", "--config", "pinion.toml"]);
        command.env("AWS_ENDPOINT_URL", stage.aws()).env("AWS_ACCESS_KEY_ID", "test");
        command.env("AWS_SECRET_ACCESS_KEY", "test").env("AWS_REGION", stage::view::REGION);
        // What it logs must not be in its way.
        let mut dying = Process::start("pinion run", &mut command, "/dev/null".into());
        let ended = dying.end(TIMEOUT);
        assert_eq!(ended.signal(), Some(25), "SIGXFSZ ends it at {bytes} bytes: {ended}");
    };
    let (mut torn, mut later) = (0, 0);
    // Within the checksum, behind it, in what it is of, and in events that come later.
    for (more, version) in [(1, ""), (7, ""), (8, ""), (9, ""), (10, ""), (60, ""), (300, "1.4.0"), (700, "1.4.1")] {
        if !version.is_empty() {
            stage.pin("dev", "frontend", version);
        }
        let size: u64 = lines(&stage).0.iter().map(|line| line.len() as u64).sum();
        dies_at(&stage, size + more);
        let (whole, is_torn) = lines(&stage);
        torn += usize::from(is_torn);
        let (events, whole) = (all(&stage), whole.iter().filter(|line| line.contains(" {\"event\":")).count());
        assert_eq!(events.len(), whole, "what is whole is told, and what is torn isn't, at {more}");
        let before = events.iter().filter(|event| known.contains(event)).count();
        assert_eq!(before, known.len(), "nothing is lost, at {more}");
        later += events.len() - before;
        known = events;
    }
    assert!(torn >= 6 && later >= 2, "{torn} lines were torn, {later} were written before another one was");

    // A file with a torn line is written again at the next start. One that dies at that has changed nothing.
    let (whole, is_torn) = lines(&stage);
    if !is_torn {
        let torn = whole.concat() + "0123";
        std::fs::write(stage.cache().join(FILE), torn).unwrap();
    }
    let file = std::fs::read(stage.cache().join(FILE)).unwrap();
    dies_at(&stage, file.len() as u64 / 2);
    assert_eq!(std::fs::read(stage.cache().join(FILE)).unwrap(), file);
    assert_eq!(all(&stage), known);
    stage.start_controller();
    stage.wait_until("the warning", |stage| stage.logged().contains("skipped 1 unreadable line"));
    stage.signal("TERM");
    assert!(stage.controller().end(TIMEOUT).success());
    let (_, is_torn) = lines(&stage);
    let events = all(&stage);
    assert!(!is_torn && events.len() > known.len() && known.iter().all(|event| events.contains(event)), "{events:#?}");
}

#[test]
fn drift_is_told_from_its_beginning_to_its_end() {
    let stage = Stage::of(&world()).environments(FILES).start();
    let (api, role) = ("dev/fargate/api", "arn:aws:iam::222222222222:role/pinion");
    stage.wait_for_sync(&[api]);
    let container =
        json!({"name": "app", "image": "222222222222.dkr.ecr.us-west-1.amazonaws.com/api:3", "essential": true});
    let definition = json!({
        "family": "api", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
        "containerDefinitions": [container],
    });
    stage.by_hand(role, "RegisterTaskDefinition", &definition);
    stage.by_hand(role, "UpdateService", &json!({"cluster": "app", "service": "api", "taskDefinition": "api:2"}));
    stage.wait_until("the drift is healed", |stage| {
        kinds(stage, api, &["--kind", "drifted,drift-corrected"]) == ["drifted", "drift-corrected"]
    });
    let figures = told(&stage, &["--dora"]);
    assert_eq!(figures["components"], json!([]), "healing isn't a deployment");
}

#[test]
fn history_and_mirrors_are_for_pinions_user_alone() {
    let stage = Stage::of(&world()).environments(FILES).start();
    stage.wait_for_sync(&["dev/fargate/api"]);
    stage.wait_until("the history is written", |stage| stage.cache().join(FILE).exists());
    let (mut folders, mut files) = (vec![stage.cache()], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            // What is only there for a moment may be gone.
            let Ok(about) = std::fs::symlink_metadata(&path) else { continue };
            assert_eq!(about.permissions().mode() & 0o077, 0, "{}: {:o}", path.display(), about.permissions().mode());
            if about.is_dir() {
                folders.push(path);
            } else {
                files += 1;
            }
        }
    }
    assert!(files > 5, "{files} files");
}
