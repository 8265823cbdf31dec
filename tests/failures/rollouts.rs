//! Rollouts that fail.

use serde_json::{Value, json};

use super::document::failure_mode;
use super::place::{self, BREAKER, DEV, Place, ROLE, accepted, ami, attempts, by_hand_on, image};
use crate::support::stage::http::Application;
use crate::support::stage::{Stage, amis, set_pin};

const BLUE_GREEN: &str = "configuration = { strategy = \"BLUE_GREEN\", bakeTimeInMinutes = 20, maximumPercent = 200 }";
const BREAKER_ONLY: &str = "configuration = { deploymentCircuitBreaker = { enable = true, rollback = false } }";

/// Of the group `web`: it stops half way.
const SLOW: &str = "[asg.web.rollout]\ncheckpoints = [50, 100]\ncheckpoint_delay = \"1h\"\n";

/// Sets several pins in one commit.
fn release(stage: &Stage, pins: &[(&str, &str)]) {
    stage.commit(&format!("release: {pins:?}"), |repo| {
        for (component, version) in pins {
            set_pin(repo, "dev", component, version);
        }
    });
}

#[test]
fn bad_versions_are_rolled_back_and_never_tried_again() {
    let alarms = "[asg.alarmed.rollout]\nalarms = [\"errors\"]\n";
    let alarm = "configuration = { alarms = { enable = true, rollback = true, alarmNames = [\"errors\"] } }";
    let stage = Place::new()
        .group("sick", "", "")
        .group("alarmed", "", alarms)
        .service("exits", BREAKER, "")
        .service("halts", BREAKER_ONLY, "")
        .service("watched", alarm, "")
        .start();
    let from = stage.last();
    stage.meddle("/_sim/speed", &json!({ "speed": 10 }));
    release(&stage, &[("sick", "1.2"), ("alarmed", "1.1"), ("exits", "1.2"), ("halts", "1.2"), ("watched", "1.1")]);
    stage.wait_until("both roll out", |stage| attempts(stage, "alarmed") == 1 && attempts(stage, "watched") == 1);
    // Not before: ECS doesn't mind an alarm that was raised already when the deployment began.
    place::alarm(&stage, "errors", true);
    stage.meddle("/_sim/speed", &json!({ "speed": 60 }));
    failure_mode("unhealthy-instances").holds(&stage, "dev/asg/sick");
    failure_mode("refresh-alarm").holds(&stage, "dev/asg/alarmed");
    failure_mode("container-exits").holds(&stage, "dev/fargate/exits");
    failure_mode("deployment-alarm").holds(&stage, "dev/fargate/watched");
    failure_mode("breaker-without-rollback").holds(&stage, "dev/fargate/halts");

    stage.wait_until("everything runs what it ran before", |stage| {
        let fleet = stage.fleet();
        let groups = ["sick", "alarmed"].iter().all(|group| fleet.group_runs(DEV, group, ami("1.0")));
        let services = ["exits", "halts", "watched"];
        groups && services.iter().all(|name| fleet.service_runs(DEV, &format!("app/{name}"), &image("1.0")))
    });
    stage.settles();
    for (name, times) in [("sick", 1), ("alarmed", 1), ("exits", 1), ("watched", 1), ("halts", 2)] {
        assert_eq!(attempts(&stage, name), times, "{name}: one rollout, and the way back where AWS knows none");
    }
    assert_eq!(deployed(&stage, "halts"), ["halts:2", "halts:1"], "{:#?}", stage.writes(from));

    // The same bad pin, set again by a new commit, is tried once more, and no more than once.
    release(&stage, &[("sick", "1.0"), ("exits", "1.0")]);
    stage.wait_for_sync(&["dev/asg/sick", "dev/fargate/exits"]);
    release(&stage, &[("sick", "1.2"), ("exits", "1.2")]);
    stage.wait_until("both are tried again", |stage| attempts(stage, "sick") == 2 && attempts(stage, "exits") == 2);
    failure_mode("bad-pin-again").holds(&stage, "dev/asg/sick");
    failure_mode("container-exits").holds(&stage, "dev/fargate/exits");
    stage.settles();
    assert_eq!((attempts(&stage, "sick"), attempts(&stage, "exits")), (2, 2));
}

/// The task definition of a service's revision, without what AWS says of it besides.
fn registered(stage: &Stage, revision: &str) -> Value {
    let asked = json!({ "taskDefinition": revision, "include": ["TAGS"] });
    let mut answer = stage.by_hand(ROLE, "DescribeTaskDefinition", &asked);
    let mut definition = answer["taskDefinition"].take();
    let tags = answer["tags"].as_array().unwrap().iter();
    let own = tags.filter(|tag| !tag["key"].as_str().unwrap().starts_with("pinion:")).cloned().collect();
    let members = definition.as_object_mut().unwrap();
    for said in ["taskDefinitionArn", "revision", "status", "registeredAt", "registeredBy", "deregisteredAt"] {
        members.remove(said);
    }
    members.insert("tags".to_owned(), own);
    definition
}

#[test]
fn what_ran_before_is_registered_again_where_it_was_deregistered() {
    let stage = Place::new().service("halts", BREAKER_ONLY, "").start();
    let target = "dev/fargate/halts";
    let from = stage.last();
    // As `terraform apply` does with what it registered before.
    stage.by_hand(ROLE, "DeregisterTaskDefinition", &json!({ "taskDefinition": "halts:1" }));
    release(&stage, &[("halts", "1.2")]);
    failure_mode("way-back-deregistered").holds(&stage, target);
    stage.wait_until("it runs what it ran before", |stage| {
        stage.fleet().service_runs(DEV, "app/halts", &image("1.0")) && stage.target(target)["updated"] == 0
    });
    stage.settles();
    let wrote = stage.writes(from).into_iter().filter(|call| call.operation != "DeregisterTaskDefinition");
    let wrote: Vec<(String, u16)> = wrote.map(|call| (call.operation, call.status)).collect();
    let step = |operation: &str| (operation.to_owned(), 200);
    let once = [step("RegisterTaskDefinition"), step("UpdateService")];
    assert_eq!(wrote, [once.clone(), once].concat(), "nothing is refused, and nothing is done twice");
    assert_eq!(deployed(&stage, "halts"), ["halts:2", "halts:3"]);
    assert_eq!(registered(&stage, "halts:3"), registered(&stage, "halts:1"));
    assert_eq!(stage.target(target)["running"], "1.0");

    // It is quarantined after a restart, too, and the next pin goes on from there.
    release(&stage, &[("halts", "1.1")]);
    stage.wait_for_sync(&[target]);
    assert_eq!(deployed(&stage, "halts"), ["halts:2", "halts:3", "halts:4"]);
}

/// What this process has read of a revision may be older than that it was deregistered, and ECS's list of the revisions
/// may lag behind as well.
#[test]
fn a_way_back_that_is_refused_is_looked_at_again() {
    let stage = Place::new().service("halts", BREAKER_ONLY, "").start();
    let target = "dev/fargate/halts";
    place::fault(
        &stage,
        &json!({ "operation": "UpdateService", "kind": "hold", "skip": 1, "times": 1, "when": "before" }),
    );
    release(&stage, &[("halts", "1.2")]);
    stage.wait_until("the way back is asked for", |stage| stage.held_calls() == ["UpdateService"]);
    stage.by_hand(ROLE, "DeregisterTaskDefinition", &json!({ "taskDefinition": "halts:1" }));
    stage.meddle("/_sim/release", &json!({}));
    stage.repair();
    failure_mode("way-back-refused").holds(&stage, target);
    stage.wait_until("it runs what it ran before", |stage| {
        stage.fleet().service_runs(DEV, "app/halts", &image("1.0")) && stage.target(target)["updated"] == 0
    });
    stage.settles();
    assert_eq!(deployed(&stage, "halts"), ["halts:2", "halts:3"]);
}

/// The task definitions that a service was put on, in order.
fn deployed(stage: &Stage, service: &str) -> Vec<String> {
    let calls = accepted(stage, "UpdateService", service);
    let name = |params: &Value| params["taskDefinition"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    calls.iter().map(name).collect()
}

#[test]
fn nothing_can_be_launched() {
    let healthy = |table: &str, least: u8, most: u8| {
        format!("[asg.{table}.rollout]\nmin_healthy = {least}\nmax_healthy = {most}\n")
    };
    let stage = Place::new()
        .group("full", "", &healthy("full", 100, 150))
        .group("stuck", "", &healthy("stuck", 50, 100))
        .start();
    stage.meddle("/_sim/speed", &json!({ "speed": 1 }));
    release(&stage, &[("full", "1.1"), ("stuck", "1.1")]);
    stage.wait_until("both roll out", |stage| attempts(stage, "full") == 1 && attempts(stage, "stuck") == 1);
    // An image that can't be launched stands for capacity that isn't there: neither version gets any.
    for version in ["1.0", "1.1"] {
        let gone = json!({ "id": ami(version), "name": format!("app-{version}"), "state": "deregistered" });
        stage.meddle("/_sim/images", &json!({ "account": DEV, "image": gone }));
    }
    stage.meddle("/_sim/speed", &json!({ "speed": 60 }));
    // The first one launches before it terminates, so that it has lost nothing; the other one can't go back either.
    failure_mode("no-capacity").holds(&stage, "dev/asg/full");
    failure_mode("rollback-failed").holds(&stage, "dev/asg/stuck");
    let fleet = stage.fleet();
    assert_eq!(fleet.instances(DEV, "full").iter().filter(|one| one.ami == ami("1.0")).count(), 2);
    assert_eq!(amis(&fleet, DEV, "stuck").into_iter().collect::<Vec<_>>(), [ami("1.0")]);
    stage.settles();
    assert_eq!((attempts(&stage, "full"), attempts(&stage, "stuck")), (1, 1));
}

#[test]
fn what_never_ends_is_overdue_and_a_revert_ends_it() {
    let deadline = |table: &str, more: &str| format!("[{table}.rollout]\ndeadline = \"4s\"\n{more}");
    let slow = deadline("asg.slow", "checkpoints = [50, 100]\ncheckpoint_delay = \"1h\"\n");
    let stage = Place::new().group("slow", "", &slow).service("hung", "", &deadline("fargate.hung", "")).start();
    release(&stage, &[("slow", "1.1"), ("hung", "1.2")]);
    failure_mode("deadline-passed").holds(&stage, "dev/asg/slow");
    failure_mode("no-failure-detector").holds(&stage, "dev/fargate/hung");
    stage.settles();
    assert_eq!((attempts(&stage, "slow"), attempts(&stage, "hung")), (1, 1), "they are left running");

    release(&stage, &[("slow", "1.0"), ("hung", "1.0")]);
    stage.wait_until("every machine is of 1.0", |stage| {
        attempts(stage, "slow") == 2 && stage.fleet().instances(DEV, "slow").iter().all(|one| one.ami == ami("1.0"))
    });
    // A revert is a rollout like any other, and stops at its checkpoint.
    stage.meddle("/_sim/advance", &json!({ "seconds": 3660 }));
    stage.wait_for_sync(&["dev/asg/slow", "dev/fargate/hung"]);
    let fleet = stage.fleet();
    assert!(fleet.group_runs(DEV, "slow", ami("1.0")) && fleet.service_runs(DEV, "app/hung", &image("1.0")));
    stage.settles();
}

#[test]
fn what_somebody_cancels_is_brought_back_to_one_version() {
    let stage = Place::new().group("web", "", SLOW).start();
    stage.pin("dev", "web", "1.1");
    stage.wait_until("the fleet is mixed", |stage| amis(&stage.fleet(), DEV, "web").len() == 2);
    by_hand_on(&stage, "CancelInstanceRefresh", "web", &[]);
    failure_mode("mixed-fleet").holds(&stage, "dev/asg/web");
    stage.wait_until("every machine is of 1.0 again", |stage| stage.fleet().group_runs(DEV, "web", ami("1.0")));
    failure_mode("cancelled").holds(&stage, "dev/asg/web");
    stage.settles();
    assert_eq!(stage.fleet().refreshes(DEV, "web"), ["Cancelled", "Successful"]);
    assert_eq!(attempts(&stage, "web"), 2, "the rollout, and the way back");

    // An operator retries it.
    stage.signal("USR2");
    stage.wait_until("it is tried again", |stage| attempts(stage, "web") == 3);
    stage.wait_for("dev/asg/web", "rolling-out");
    stage.wait_until("it waits at its checkpoint", |stage| amis(&stage.fleet(), DEV, "web").len() == 2);
    stage.meddle("/_sim/advance", &json!({ "seconds": 3600 }));
    stage.wait_for_sync(&["dev/asg/web"]);
    assert!(stage.fleet().group_runs(DEV, "web", ami("1.1")));
}

#[test]
fn what_fails_without_a_rollback_is_brought_back_to_one_version() {
    let stage = Place::new().group("web", "", "").start();
    // Somebody is faster, and begins the refresh to Pinion's version without its rollback.
    place::fault(&stage, &json!({ "account": DEV, "operation": "StartInstanceRefresh", "kind": "hold", "times": 1 }));
    stage.pin("dev", "web", "1.1");
    stage.wait_until("the version is made", |stage| stage.held_calls() == ["StartInstanceRefresh"]);
    let theirs = [
        ("DesiredConfiguration.LaunchTemplate.LaunchTemplateName", "web"),
        ("DesiredConfiguration.LaunchTemplate.Version", "2"),
        ("Preferences.CheckpointPercentages.member.1", "50"),
        ("Preferences.CheckpointPercentages.member.2", "100"),
        ("Preferences.AlarmSpecification.Alarms.member.1", "errors"),
    ];
    by_hand_on(&stage, "StartInstanceRefresh", "web", &theirs);
    stage.meddle("/_sim/release", &json!({}));
    stage.wait_until("the fleet is mixed", |stage| amis(&stage.fleet(), DEV, "web").len() == 2);
    stage.meddle("/_sim/speed", &json!({ "speed": 1 }));
    place::alarm(&stage, "errors", true);
    failure_mode("failed-without-rollback").holds(&stage, "dev/asg/web");
    stage.meddle("/_sim/speed", &json!({ "speed": 60 }));
    stage.wait_until("every machine is of 1.0 again", |stage| stage.fleet().group_runs(DEV, "web", ami("1.0")));
    stage.settles();
    assert_eq!(stage.fleet().refreshes(DEV, "web"), ["Failed", "Successful"]);
    assert_eq!(attempts(&stage, "web"), 2, "theirs, and the way back");
}

#[test]
fn a_way_back_that_is_cancelled_too_is_left_to_people() {
    let stage = Place::new().group("web", "", SLOW).start();
    stage.pin("dev", "web", "1.1");
    stage.wait_until("the fleet is mixed", |stage| amis(&stage.fleet(), DEV, "web").len() == 2);
    // So slow that the way back has replaced nothing when it is cancelled.
    stage.meddle("/_sim/speed", &json!({ "speed": 1 }));
    by_hand_on(&stage, "CancelInstanceRefresh", "web", &[]);
    stage.wait_until("the way back is begun", |stage| attempts(stage, "web") == 2);
    failure_mode("way-back").holds(&stage, "dev/asg/web");
    by_hand_on(&stage, "CancelInstanceRefresh", "web", &[]);
    stage.meddle("/_sim/speed", &json!({ "speed": 60 }));
    failure_mode("way-back-failed").holds(&stage, "dev/asg/web");
    stage.settles();
    assert_eq!(attempts(&stage, "web"), 2);
}

/// Moves the simulator's time on until a group's refreshes have these statuses, oldest first.
fn comes_to(stage: &Stage, group: &str, statuses: &[&str]) {
    stage.wait_until(&format!("the refreshes of {group} are {statuses:?}"), |stage| {
        let there = stage.fleet().refreshes(DEV, group) == statuses;
        if !there {
            stage.meddle("/_sim/advance", &json!({ "seconds": 5 }));
        }
        there
    });
}

#[test]
fn what_is_taken_back_for_too_long_is_overdue() {
    let deadline = |table: &str| format!("[asg.{table}.rollout]\ndeadline = \"4s\"\n");
    let stage = Place::new().group("sick", "", &deadline("sick")).group("stopped", "", &deadline("stopped")).start();
    stage.meddle("/_sim/speed", &json!({ "speed": 1 }));
    release(&stage, &[("sick", "1.2"), ("stopped", "1.1")]);
    stage.wait_until("both roll out", |stage| attempts(stage, "sick") == 1 && attempts(stage, "stopped") == 1);
    comes_to(&stage, "sick", &["RollbackInProgress"]);
    failure_mode("rollback-overdue").holds(&stage, "dev/asg/sick");
    stage.meddle("/_sim/speed", &json!({ "speed": 60 }));
    failure_mode("unhealthy-instances").holds(&stage, "dev/asg/sick");

    // Cancelling waits for what is being launched and terminated.
    stage.wait_for_sync(&["dev/asg/stopped"]);
    stage.meddle("/_sim/speed", &json!({ "speed": 1 }));
    release(&stage, &[("stopped", "1.0")]);
    stage.wait_until("the first machine is replaced", |stage| {
        stage.fleet().instances(DEV, "stopped").iter().any(|one| one.lifecycle != "InService")
    });
    by_hand_on(&stage, "CancelInstanceRefresh", "stopped", &[]);
    stage.meddle("/_sim/speed", &json!({ "speed": 0 }));
    failure_mode("rollback-overdue").holds(&stage, "dev/asg/stopped");
    assert!(stage.reason("dev/asg/stopped").contains("still Cancelling"), "{}", stage.reason("dev/asg/stopped"));
    stage.meddle("/_sim/speed", &json!({ "speed": 60 }));
    stage.wait_for("dev/asg/stopped", "quarantined");
    stage.wait_until("all is of 1.1", |stage| stage.fleet().group_runs(DEV, "stopped", ami("1.1")));
    stage.settles();
    assert_eq!(attempts(&stage, "sick"), 1);
}

#[test]
fn a_way_back_is_forbidden_by_guardrails_like_any_rollout() {
    let stage = Place::new().group("web", "", SLOW).start();
    stage.pin("dev", "web", "1.1");
    stage.wait_until("the fleet is mixed", |stage| amis(&stage.fleet(), DEV, "web").len() == 2);
    let follows = |stage: &Stage, commit: &str| {
        stage.wait_until("the policies are followed", |stage| {
            stage.status()["environments"]["dev"]["revision"] == commit
        });
    };
    let freeze =
        "@id(\"freeze\")\n@reason(\"moving house\")\nforbid (principal, action == Action::\"rollout\", resource);\n";
    let all = "@id(\"all\")\npermit (principal, action, resource);\n";
    let frozen = stage.commit("policies: a freeze", |repo| {
        repo.write("policies/guardrails/freeze.cedar", format!("{all}{freeze}"));
    });
    follows(&stage, &frozen);
    by_hand_on(&stage, "CancelInstanceRefresh", "web", &[]);
    failure_mode("way-back-forbidden").holds(&stage, "dev/asg/web");
    stage.settles();
    assert_eq!((attempts(&stage, "web"), amis(&stage.fleet(), DEV, "web").len()), (1, 2));

    stage.commit("policies: no freeze", |repo| drop(repo.git(&["rm", "--quiet", "policies/guardrails/freeze.cedar"])));
    stage.wait_until("every machine is of 1.0 again", |stage| stage.fleet().group_runs(DEV, "web", ami("1.0")));
    failure_mode("cancelled").holds(&stage, "dev/asg/web");
}

#[test]
fn another_pin_waits_for_the_way_back_of_the_one_before() {
    let stage = Place::new().group("web", "", SLOW).start();
    stage.pin("dev", "web", "1.1");
    stage.wait_until("the fleet is mixed", |stage| amis(&stage.fleet(), DEV, "web").len() == 2);
    stage.meddle("/_sim/speed", &json!({ "speed": 1 }));
    by_hand_on(&stage, "CancelInstanceRefresh", "web", &[]);
    stage.wait_until("the way back is begun", |stage| attempts(stage, "web") == 2);
    failure_mode("way-back").holds(&stage, "dev/asg/web");
    // The same version by other commits is another pin.
    stage.pin("dev", "web", "1.0");
    stage.pin("dev", "web", "1.1");
    failure_mode("earlier-way-back").holds(&stage, "dev/asg/web");
    assert_eq!(attempts(&stage, "web"), 2);
    stage.meddle("/_sim/speed", &json!({ "speed": 60 }));
    stage.wait_until("it waits at its checkpoint", |stage| {
        attempts(stage, "web") == 3 && stage.reason("dev/asg/web").starts_with("InProgress, 50")
    });
    stage.meddle("/_sim/advance", &json!({ "seconds": 3600 }));
    stage.wait_for_sync(&["dev/asg/web"]);
    assert_eq!(stage.fleet().refreshes(DEV, "web"), ["Cancelled", "Successful", "Successful"]);
}

#[test]
fn a_rollback_that_fails_half_way_is_brought_back_once() {
    let ahead = |table: &str, more: &str| {
        let healthy = "min_healthy = 100\nmax_healthy = 150\n";
        format!("[asg.{table}.rollout]\n{healthy}checkpoints = [50, 100]\ncheckpoint_delay = \"1h\"\n{more}")
    };
    let stage = Place::new()
        .group("again", "", &ahead("again", "alarms = [\"errors\"]\n"))
        .group("lost", "", &ahead("lost", ""))
        .start();
    release(&stage, &[("again", "1.1"), ("lost", "1.1")]);
    let mixed = |stage: &Stage, group: &str| amis(&stage.fleet(), DEV, group).len() == 2;
    stage.wait_until("both fleets are mixed", |stage| {
        ["again", "lost"].iter().all(|group| {
            mixed(stage, group) && stage.fleet().group(DEV, group)["instances"].as_array().unwrap().len() == 2
        })
    });
    stage.meddle("/_sim/speed", &json!({ "speed": 1 }));
    // Nothing of 1.0 can be launched any more: neither rollback nor way back gets anywhere.
    let base = |state: &str| {
        let image = json!({ "id": ami("1.0"), "name": "app-1.0", "state": state });
        stage.meddle("/_sim/images", &json!({ "account": DEV, "image": image }));
    };
    base("deregistered");
    by_hand_on(&stage, "CancelInstanceRefresh", "lost", &[]);
    stage.wait_until("the way back is begun", |stage| attempts(stage, "lost") == 2);
    place::alarm(&stage, "errors", true);
    comes_to(&stage, "lost", &["Cancelled", "Failed"]);
    failure_mode("way-back-failed").holds(&stage, "dev/asg/lost");
    stage.wait_until("the rollback has failed, too", |stage| {
        stage.meddle("/_sim/advance", &json!({ "seconds": 5 }));
        stage.fleet().refreshes(DEV, "again")[0] == "RollbackFailed"
    });
    failure_mode("rollback-failed-half-way").holds(&stage, "dev/asg/again");
    base("available");
    place::alarm(&stage, "errors", false);
    stage.meddle("/_sim/speed", &json!({ "speed": 60 }));
    stage.wait_until("every machine is of 1.0 again", |stage| stage.fleet().group_runs(DEV, "again", ami("1.0")));
    stage.settles();
    assert_eq!(stage.fleet().refreshes(DEV, "again"), ["RollbackFailed", "Successful"]);
    assert!(mixed(&stage, "lost") && attempts(&stage, "lost") == 2, "it isn't begun a second time");

    // Any later pin rolls all of it.
    stage.repo().commits_are_of_now();
    release(&stage, &[("lost", "1.0")]);
    stage.wait_until("it is on its way", |stage| attempts(stage, "lost") == 3);
    stage.meddle("/_sim/advance", &json!({ "seconds": 3660 }));
    stage.wait_for_sync(&["dev/asg/lost"]);
    assert!(stage.fleet().group_runs(DEV, "lost", ami("1.0")));
}

#[test]
fn a_service_that_can_go_neither_on_nor_back() {
    let stage = Place::new().service("api", BREAKER, "").start();
    let digest = stage.fleet().tasks(DEV, "app/api")[0].digest.clone().unwrap();
    let base = |behaviour: &str| {
        let image = json!({ "tags": ["1.0"], "digest": digest, "behaviour": behaviour });
        stage.meddle("/_sim/ecr", &json!({ "account": DEV, "repository": "api", "image": image }));
    };
    release(&stage, &[("api", "1.2")]);
    stage.wait_until("it rolls out", |stage| attempts(stage, "api") == 1);
    base("never-starts");
    failure_mode("service-rollback-failed").holds(&stage, "dev/fargate/api");
    stage.settles();
    assert_eq!(attempts(&stage, "api"), 1);
    let old: Vec<String> = stage.fleet().tasks(DEV, "app/api").into_iter().map(|task| task.image).collect();
    assert!(old.contains(&image("1.0")), "the tasks from before run on: {old:?}");

    base("healthy");
    release(&stage, &[("api", "1.1")]);
    stage.wait_for_sync(&["dev/fargate/api"]);
    assert!(stage.fleet().service_runs(DEV, "app/api", &image("1.1")));
}

#[test]
fn probes_that_fail_take_back_what_can_be_taken_back() {
    let application = Application::answering(200);
    let verify = |table: &str| {
        format!("[[{table}.verify]]\nhttp = \"{}\"\ntimeout = \"1s\"\nwithin = \"1s\"\n", application.url("/health"))
    };
    let bakes = format!("[asg.bakes.rollout]\nbake = \"20m\"\n{}", verify("asg.bakes"));
    let stage = Place::new()
        .group("bakes", "", &bakes)
        .group("done", "", &verify("asg.done"))
        .service("api", BREAKER, &verify("fargate.api"))
        .service("shifts", BLUE_GREEN, &verify("fargate.shifts"))
        .start();
    application.answer(500);
    let from = stage.last();
    release(&stage, &[("bakes", "1.1"), ("done", "1.1"), ("api", "1.1"), ("shifts", "1.1")]);
    failure_mode("probe-while-baking").holds(&stage, "dev/asg/bakes");
    failure_mode("probe-in-bake-time").holds(&stage, "dev/fargate/shifts");
    failure_mode("probe-after-refresh").holds(&stage, "dev/asg/done");
    failure_mode("probe-after-deployment").holds(&stage, "dev/fargate/api");
    let fleet = stage.fleet();
    assert!(fleet.group_runs(DEV, "bakes", ami("1.0")), "taken back");
    assert!(fleet.group_runs(DEV, "done", ami("1.1")), "nothing can take it back but another pin");
    assert!(fleet.service_runs(DEV, "app/api", &image("1.1")));
    assert!(fleet.service_runs(DEV, "app/shifts", &image("1.0")), "taken back");
    assert_eq!(fleet.refreshes(DEV, "bakes"), ["RollbackSuccessful"]);
    let taken_back = |operation: &str| stage.written(from).iter().filter(|name| *name == operation).count();
    assert_eq!((taken_back("RollbackInstanceRefresh"), taken_back("StopServiceDeployment")), (1, 1));
    assert_eq!((attempts(&stage, "bakes"), attempts(&stage, "shifts")), (1, 1));
    let asked = application.asked();
    stage.settles();
    assert_eq!(application.asked(), asked, "nobody asks any more");

    application.answer(200);
    release(&stage, &[("bakes", "1.0"), ("done", "1.0"), ("api", "1.0"), ("shifts", "1.0")]);
    stage.wait_for_sync(&["dev/asg/bakes", "dev/asg/done", "dev/fargate/api", "dev/fargate/shifts"]);
    assert_eq!((attempts(&stage, "bakes"), attempts(&stage, "shifts")), (1, 1), "they run it already");

    // The same versions by a new commit, with an application that is well again: now they stay.
    release(&stage, &[("bakes", "1.1"), ("shifts", "1.1")]);
    stage.wait_until("both bake", |stage| {
        let (group, service) = (stage.reason("dev/asg/bakes"), stage.reason("dev/fargate/shifts"));
        group.starts_with("Baking") && service.contains("BAKE_TIME")
    });
    stage.meddle("/_sim/advance", &json!({ "seconds": 1260 }));
    stage.wait_until("both run 1.1", |stage| {
        let fleet = stage.fleet();
        fleet.group_runs(DEV, "bakes", ami("1.1")) && fleet.service_runs(DEV, "app/shifts", &image("1.1"))
    });
    stage.wait_for_sync(&["dev/asg/bakes", "dev/fargate/shifts"]);
    assert_eq!((attempts(&stage, "bakes"), attempts(&stage, "shifts")), (2, 2));
}
