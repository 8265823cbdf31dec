//! What an operator does: signals, resyncs, retries, reloads, a look at the metrics, and drift by hand.

use std::time::Duration;

use serde_json::json;

use crate::support::pair::{DEV, FILES, TARGETS, WORLD};
use crate::support::promtool;
use crate::support::stage::{Stage, amis, changed, http};

const ROLE: &str = "arn:aws:iam::222222222222:role/pinion";
const GOOD: &str = "ami-0f000000000001400";
const BAD: &str = "ami-0f000000000001501";

/// Who waits for what never gets healthy waits a minute, and 1.5.1 never does. The group stands on its version already.
fn world() -> String {
    let (good, bad) = (
        r#"{ id = "ami-0f000000000001401", name = "frontend-1.4.1" },"#,
        r#"{ id = "ami-0f000000000001501", name = "frontend-1.5.1", healthy = false },"#,
    );
    let timing = "[timing]\nunhealthy = 10\nno_progress = 60\n\n[[account]]";
    changed(WORLD, &[("[[account]]", timing), (good, &format!("{good}\n    {bad}")), (r#", version = "$Default""#, "")])
}

fn stage(steady: &str) -> Stage {
    let stage = Stage::of(&world()).environments(FILES).looking_every(steady, "1s").start();
    stage.wait_for_sync(&TARGETS);
    stage
}

fn completed(stage: &Stage, number: f64) {
    stage.wait_until("the resync is acknowledged", |stage| {
        stage.metric("pinion_resync_completed").is_some_and(|completed| completed >= number)
    });
    assert_eq!(stage.metric("pinion_resync_requested"), Some(number));
}

#[test]
fn a_resync_by_signal_or_command_looks_at_once() {
    // So long that nothing happens but by a resync.
    let stage = stage("1h");
    assert_eq!(stage.metric("pinion_resync_requested"), Some(0.0));
    let from = stage.last();
    stage.stays("nothing is due", Duration::from_secs(1), |stage| stage.last() == from);

    stage.signal("USR1");
    completed(&stage, 1.0);
    let looked: Vec<String> = stage.calls(from).into_iter().map(|call| call.operation).collect();
    assert!(looked.contains(&"DescribeAutoScalingGroups".to_owned()), "{looked:?}");
    assert!(looked.contains(&"DescribeImages".to_owned()), "artifacts are looked for again: {looked:?}");

    let output = stage.run(&["resync"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.starts_with("resync 2 completed"), "{output:?}");
    completed(&stage, 2.0);
    assert_eq!(stage.written(0), Vec::<String>::new());

    let wrong = [("Authorization", "Bearer wrong")];
    let refused = http::request("POST", &stage.url("/api/v1/resync"), &wrong, "");
    assert_eq!(refused.map(|(status, _)| status), Some(401));
    assert_eq!(stage.metric("pinion_resync_requested"), Some(2.0));

    let status = stage.run(&["status"]);
    let table = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(TARGETS.iter().all(|target| table.contains(target)), "{table}");
}

#[test]
fn a_quarantined_pin_is_retried_by_signal() {
    let stage = stage("1s");
    let from = stage.last();
    stage.pin("dev", "frontend", "1.5.1");
    stage.wait_for("dev/asg/frontend", "quarantined");
    assert!(stage.fleet().group_runs(DEV, "frontend", GOOD), "rolled back");
    assert_eq!(
        stage.metric(
            "pinion_quarantined{component=\"frontend\",environment=\"dev\",kind=\"asg\",target=\"dev/asg/frontend\"}"
        ),
        Some(1.0)
    );
    stage.settles();
    let attempts = |stage: &Stage| {
        let starts = |operation: &String| operation == "StartInstanceRefresh";
        stage.written(from).iter().filter(|operation| starts(operation)).count()
    };
    assert_eq!(attempts(&stage), 1);

    // A resync alone doesn't retry it.
    stage.signal("USR1");
    completed(&stage, 1.0);
    stage.settles();
    assert_eq!(attempts(&stage), 1);

    // What the image needs has been fixed elsewhere.
    let image = json!({ "id": BAD, "name": "frontend-1.5.1", "healthy": true });
    stage.meddle("/_sim/images", &json!({ "account": DEV, "image": image }));
    stage.signal("USR2");
    stage.wait_until("every machine is of 1.5.1", |stage| stage.fleet().group_runs(DEV, "frontend", BAD));
    stage.wait_for_sync(&TARGETS);
    assert_eq!(attempts(&stage), 2);
    stage.settles();
}

#[test]
fn a_reload_takes_another_branch() {
    let stage = stage("1s");
    stage.repo().branch("next");
    stage.pin("dev", "frontend", "1.4.1");
    stage.stays("the branch isn't followed", Duration::from_secs(2), |stage| {
        amis(&stage.fleet(), DEV, "frontend").into_iter().eq([GOOD.to_owned()])
    });

    // A configuration that can't be read changes nothing.
    stage.configure("branch = 7\n");
    stage.signal("HUP");
    stage.settles();
    assert_eq!(stage.state("dev/asg/frontend"), "in-sync");

    stage.configure(&stage.configuration().replace("branch = \"main\"", "branch = \"next\""));
    stage.signal("HUP");
    stage.wait_until("every machine is of 1.4.1", |stage| {
        stage.fleet().group_runs(DEV, "frontend", "ami-0f000000000001401")
    });
    stage.wait_for_sync(&TARGETS);
    assert_eq!(stage.status()["repositories"][0]["branch"], "next");
}

#[test]
fn an_end_in_the_middle_of_a_rollout_is_orderly() {
    let mut stage = stage("1s");
    let from = stage.last();
    stage.pin("dev", "frontend", "1.4.1");
    stage.wait_until("a refresh runs", |stage| !stage.fleet().refreshes(DEV, "frontend").is_empty());
    stage.signal("TERM");
    let status = stage.controller().end(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0));
    let last = stage.last();
    stage.stays("nothing more is asked", Duration::from_secs(1), |stage| stage.last() == last);

    stage.start_controller();
    stage.wait_until("every machine is of 1.4.1", |stage| {
        stage.fleet().group_runs(DEV, "frontend", "ami-0f000000000001401")
    });
    stage.wait_for_sync(&TARGETS);
    assert_eq!(stage.written(from), ["CreateLaunchTemplateVersion", "StartInstanceRefresh"]);
}

#[test]
fn drift_is_healed_and_prometheus_can_read_it_all() {
    let stage = stage("1s");
    stage.pin("dev", "api", "2");
    let image = "222222222222.dkr.ecr.us-west-1.amazonaws.com/api:2";
    stage.wait_until("every task runs 2", |stage| stage.fleet().service_runs(DEV, "app/api", image));
    stage.wait_for_sync(&TARGETS);
    let rollouts = "pinion_rollouts_total{component=\"api\",environment=\"dev\",kind=\"fargate\",result=\"succeeded\",\
                    target=\"dev/fargate/api\"}";
    assert_eq!(stage.metric(rollouts), Some(1.0), "{}", stage.get("/metrics").unwrap().1);

    // A person puts the old task definition back.
    let from = stage.last();
    let parameters = json!({ "cluster": "app", "service": "api", "taskDefinition": "api:1" });
    let done = stage.by_hand(ROLE, "UpdateService", &parameters);
    assert_eq!(done["service"]["taskDefinition"].as_str().map(|arn| arn.ends_with("/api:1")), Some(true), "{done}");
    stage.wait_until("the old version is on its way", |stage| {
        stage.fleet().tasks(DEV, "app/api").iter().any(|task| task.image != image)
    });
    stage.wait_until("every task runs 2 again", |stage| stage.fleet().service_runs(DEV, "app/api", image));
    stage.wait_for_sync(&TARGETS);
    // The person's call and Pinion's: the right revision is there already.
    assert_eq!(stage.written(from), ["UpdateService", "UpdateService"]);
    stage.settles();

    promtool::check(&stage.get("/metrics").unwrap().1);
}
