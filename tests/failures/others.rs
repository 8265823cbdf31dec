//! Others at work in the same accounts.

use serde_json::json;

use crate::document::failure_mode;
use crate::place::{DEV, Place, ROLE, ami, attempts, by_hand_on, image};
use crate::stage::set_pin;

#[test]
fn foreign_rollouts_are_waited_for() {
    let stage = Place::new().group("web", "", "").service("api", "", "").start();
    stage.meddle("/_sim/speed", &json!({ "speed": 10 }));
    // Somebody replaces all machines, without any other version, and deploys a task definition of their own.
    by_hand_on(&stage, "StartInstanceRefresh", "web", &[]);
    let definition = json!({
        "family": "api", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "512", "memory": "1024",
        "containerDefinitions": [{ "name": "app", "image": image("1.0"), "essential": true }],
    });
    stage.by_hand(ROLE, "RegisterTaskDefinition", &definition);
    stage.by_hand(ROLE, "UpdateService", &json!({ "cluster": "app", "service": "api", "taskDefinition": "api:2" }));
    stage.commit("release: 1.1", |repo| {
        set_pin(repo, "dev", "web", "1.1");
        set_pin(repo, "dev", "api", "1.1");
    });
    failure_mode("foreign-refresh").holds(&stage, "dev/asg/web");
    failure_mode("foreign-deployment").holds(&stage, "dev/fargate/api");
    assert_eq!(attempts(&stage, "web"), 1, "theirs only");
    stage.meddle("/_sim/speed", &json!({ "speed": 60 }));
    stage.wait_for_sync(&["dev/asg/web", "dev/fargate/api"]);
    let fleet = stage.fleet();
    assert_eq!(fleet.refreshes(DEV, "web"), ["Successful", "Successful"], "nobody was cancelled");
    assert!(fleet.group_runs(DEV, "web", ami("1.1")) && fleet.service_runs(DEV, "app/api", &image("1.1")));
    let definitions = stage.held(DEV)["task_definitions"]["api"].clone();
    let newest = definitions.as_array().unwrap().last().unwrap().to_string();
    assert!(newest.contains("1024"), "what they changed besides the image stays: {newest}");
}

#[test]
fn two_controllers_make_one_rollout_of_a_pin() {
    let stage = Place::new().group("web", "version = \"$Default\"", "").service("api", "", "").start();
    let other = stage.another_controller();
    stage.commit("release: 1.1", |repo| {
        set_pin(repo, "dev", "web", "1.1");
        set_pin(repo, "dev", "api", "1.1");
    });
    stage.wait_until("everything runs 1.1", |stage| {
        let fleet = stage.fleet();
        fleet.group_runs(DEV, "web", ami("1.1")) && fleet.service_runs(DEV, "app/api", &image("1.1"))
    });
    stage.wait_for_sync(&["dev/asg/web", "dev/fargate/api"]);
    failure_mode("two-controllers").holds(&stage, "dev/asg/web");
    let fleet = stage.fleet();
    assert_eq!(fleet.refreshes(DEV, "web"), ["Successful"]);
    let deployments = fleet.service(DEV, "app/api")["service_deployments"].as_array().unwrap().len();
    assert_eq!(deployments, 1, "one deployment");

    // A bad pin is quarantined by both, and tried by one.
    stage.pin("dev", "web", "1.2");
    stage.wait_for("dev/asg/web", "quarantined");
    stage.settles();
    assert_eq!(stage.fleet().refreshes(DEV, "web"), ["Successful", "RollbackSuccessful"]);
    drop(other);
}

#[test]
fn capacity_belongs_to_others() {
    let stage = Place::new().group("web", "", "").service("api", "", "").start();
    stage.meddle("/_sim/speed", &json!({ "speed": 15 }));
    let from = stage.last();
    stage.commit("release: 1.1", |repo| {
        set_pin(repo, "dev", "web", "1.1");
        set_pin(repo, "dev", "api", "1.1");
    });
    stage.wait_until("both roll out", |stage| attempts(stage, "web") == 1 && attempts(stage, "api") == 1);
    by_hand_on(&stage, "SetDesiredCapacity", "web", &[("DesiredCapacity", "4")]);
    stage.by_hand(ROLE, "UpdateService", &json!({ "cluster": "app", "service": "api", "desiredCount": 3 }));
    stage.meddle("/_sim/speed", &json!({ "speed": 60 }));
    stage.wait_for_sync(&["dev/asg/web", "dev/fargate/api"]);
    failure_mode("capacity-changed").holds(&stage, "dev/asg/web");
    let fleet = stage.fleet();
    assert!(fleet.group_runs(DEV, "web", ami("1.1")) && fleet.service_runs(DEV, "app/api", &image("1.1")));
    assert_eq!(
        (&fleet.group(DEV, "web")["desired"], &fleet.service(DEV, "app/api")["desired"]),
        (&4.into(), &3.into())
    );
    let ours = stage
        .writes(from)
        .into_iter()
        .filter(|call| call.params.get("DesiredCapacity").is_some() || call.params.get("desiredCount").is_some());
    assert_eq!(ours.count(), 2, "theirs, and none of Pinion's");
    assert_eq!(fleet.refreshes(DEV, "web"), ["Successful"]);
}
