//! `kill -9` at any moment of a rollout, and a new start: the same end, and nothing done twice.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::support::pair::{DEV, FILES, TARGETS, WORLD};
use crate::support::stage::http::Application;
use crate::support::stage::{Stage, set_pin};

const AMI: &str = "ami-0f000000000001401";
const IMAGE: &str = "222222222222.dkr.ecr.us-west-1.amazonaws.com/api:2";

fn stage(speed: f64) -> Stage {
    let stage = Stage::of(WORLD).environments(FILES).speed(speed).keeping_its_state().start();
    stage.wait_for_sync(&TARGETS);
    assert_eq!(stage.written(0), Vec::<String>::new());
    stage
}

fn release(stage: &Stage) {
    stage.commit("release: 1.4.1 and 2", |repo| {
        set_pin(repo, "dev", "frontend", "1.4.1");
        set_pin(repo, "dev", "api", "2");
    });
}

/// Waits for the end that was wanted, and makes sure that each step to it was made once.
fn came_to_its_end(stage: &Stage) {
    stage.wait_until("everything runs the new versions", |stage| {
        let fleet = stage.fleet();
        fleet.group_runs(DEV, "frontend", AMI) && fleet.service_runs(DEV, "app/api", IMAGE)
    });
    stage.wait_for_sync(&TARGETS);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for operation in stage.written(0) {
        *counts.entry(operation).or_default() += 1;
    }
    let once = [
        "CreateLaunchTemplateVersion",
        "RegisterTaskDefinition",
        "StartInstanceRefresh",
        "UpdateAutoScalingGroup",
        "UpdateService",
    ];
    assert_eq!(counts, once.map(|operation| (operation.to_owned(), 1)).into_iter().collect());
    assert_eq!(stage.fleet().refreshes(DEV, "frontend"), ["Successful"]);
    let records = stage.fleet().service(DEV, "app/api")["service_deployments"].clone();
    assert_eq!(records.as_array().unwrap().iter().map(|one| &one["status"]).collect::<Vec<_>>(), ["SUCCESSFUL"]);
    stage.settles();
}

/// Kills the controller as soon as so many writes were made, and starts another one.
fn killed_after(writes: usize) {
    let mut stage = stage(60.0);
    release(&stage);
    stage.wait_until("the writes were made", |stage| stage.written(0).len() >= writes);
    stage.kill_controller();
    stage.start_controller();
    came_to_its_end(&stage);
}

#[test]
fn killed_before_the_first_write() {
    killed_after(0);
}

#[test]
fn killed_after_the_first_write() {
    killed_after(1);
}

#[test]
fn killed_after_the_second_write() {
    killed_after(2);
}

#[test]
fn killed_after_the_third_write() {
    killed_after(3);
}

#[test]
fn killed_after_the_fourth_write() {
    killed_after(4);
}

#[test]
fn killed_after_the_last_write() {
    killed_after(5);
}

#[test]
fn killed_again_and_again() {
    let mut stage = stage(15.0);
    release(&stage);
    // Long enough for a pass at times, too short for one at others.
    for milliseconds in [400, 900, 150, 1300, 700, 300, 1800, 500, 1100, 250, 1500, 600] {
        std::thread::sleep(Duration::from_millis(milliseconds));
        stage.kill_controller();
        stage.start_controller();
    }
    came_to_its_end(&stage);
}

/// Each write takes effect, and its answer is lost.
fn lose_answers(stage: &Stage) {
    for operation in ["CreateLaunchTemplateVersion", "RegisterTaskDefinition", "StartInstanceRefresh", "UpdateService"]
    {
        let fault = json!({ "operation": operation, "kind": "error", "when": "after", "times": 1 });
        stage.meddle("/_sim/faults", &fault);
    }
}

/// Waits for the end that was wanted, and makes sure that nothing that matters was done twice: calls were repeated, since
/// nobody could know that they had been heard.
fn came_to_its_end_all_the_same(stage: &Stage) {
    stage.wait_until("everything runs the new versions", |stage| {
        let fleet = stage.fleet();
        fleet.group_runs(DEV, "frontend", AMI) && fleet.service_runs(DEV, "app/api", IMAGE)
    });
    stage.wait_for_sync(&TARGETS);
    assert_eq!(stage.fleet().refreshes(DEV, "frontend"), ["Successful"], "one refresh");
    let records = stage.fleet().service(DEV, "app/api")["service_deployments"].clone();
    assert_eq!(records.as_array().unwrap().len(), 1, "one deployment");
    let held = stage.held(DEV);
    let templates = held["templates"].as_object().unwrap().values();
    assert_eq!(templates.map(|one| one["versions"].as_object().unwrap().len()).collect::<Vec<_>>(), [2], "one version");
    let revisions = held["task_definitions"]["api"].as_array().unwrap().len();
    assert_eq!(revisions, 2, "one revision");
    stage.settles();
}

#[test]
fn answers_are_lost() {
    let stage = stage(60.0);
    lose_answers(&stage);
    release(&stage);
    came_to_its_end_all_the_same(&stage);
}

#[test]
fn killed_while_answers_are_lost() {
    let mut stage = stage(60.0);
    lose_answers(&stage);
    release(&stage);
    stage.wait_until("a rollout was begun", |stage| {
        let begun = |operation: &str| stage.writes(0).iter().any(|call| call.operation == operation);
        begun("StartInstanceRefresh") && begun("UpdateService")
    });
    stage.kill_controller();
    stage.start_controller();
    came_to_its_end_all_the_same(&stage);
}

#[test]
fn the_simulator_is_killed() {
    let mut stage = stage(60.0);
    release(&stage);
    stage.wait_until("both rollouts run", |stage| {
        stage
            .written(0)
            .iter()
            .filter(|name| ["StartInstanceRefresh", "UpdateService"].contains(&name.as_str()))
            .count()
            == 2
    });
    stage.kill_sim();
    std::thread::sleep(Duration::from_millis(500));
    stage.restart_sim();
    came_to_its_end(&stage);
}

/// Starts another controller an hour later, when nobody can tell any more whether what fails has ever passed.
fn killed_and_started_an_hour_later(stage: &mut Stage, hours: i32) {
    stage.kill_controller();
    stage.jump(hours);
    stage.start_controller();
}

#[test]
fn killed_after_probes_have_failed() {
    let application = Application::answering(200);
    let health = application.url("/health");
    let verify =
        |table: &str| format!("\n[[{table}.verify]]\nhttp = \"{health}\"\ntimeout = \"1s\"\nwithin = \"2s\"\n");
    let probed = format!("{}{}{}", FILES[0].1, verify("asg.frontend"), verify("fargate.api"));
    let files = [(FILES[0].0, probed), (FILES[1].0, FILES[1].1.to_owned())];
    let mut stage = Stage::of(WORLD).environments(files).with_time_that_jumps().start();
    stage.wait_for_sync(&TARGETS);
    application.answer(500);
    release(&stage);
    let gave_up = |stage: &Stage, since: &str| {
        for target in TARGETS {
            stage.wait_until(&format!("{target} is quarantined"), |stage| {
                stage.target(target)["state"] == "quarantined" && stage.reason(target).contains(since)
            });
        }
    };
    gave_up(&stage, "the rollout itself is over");
    let written = stage.written(0);

    killed_and_started_an_hour_later(&mut stage, 1);
    gave_up(&stage, "hasn't passed since Pinion was started");
    for target in TARGETS {
        let of_it = format!("target=\"{target}\"");
        stage.wait_until("it is counted as quarantined", |stage| {
            let (_, text) = stage.get("/metrics").unwrap_or_default();
            let mut quarantined =
                text.lines().filter(|line| line.starts_with("pinion_quarantined{") && line.ends_with(" 1"));
            quarantined.any(|line| line.contains(&of_it))
        });
    }
    application.answer(200);
    stage.wait_for_sync(&TARGETS);

    // It has passed, and fails after the next start for another reason: shown while it lasts, and nothing is done about it.
    application.answer(500);
    killed_and_started_an_hour_later(&mut stage, 2);
    gave_up(&stage, "hasn't passed since Pinion was started");
    application.answer(200);
    stage.wait_for_sync(&TARGETS);
    stage.settles();
    assert_eq!(stage.written(0), written);
}
