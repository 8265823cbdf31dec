//! Others at work in the same accounts.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::document::failure_mode;
use super::place::{BREAKER, DEV, Place, ROLE, accepted, ami, attempts, by_hand_on, fault, image};
use crate::support::git::Repo;
use crate::support::stage::{Stage, passes, set_pin};

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

/// Each write of either waits until the other one is about to make the same, so that every race there is is run.
#[test]
fn two_controllers_that_race_for_every_write_do_no_harm() {
    let stage = Place::new()
        .group("latest", "version = \"$Latest\"", "")
        .group("default", "version = \"$Default\"", "")
        .service("api", BREAKER, "")
        .start();
    let other = stage.another_controller();
    let writes = [
        "UpdateAutoScalingGroup",
        "CreateLaunchTemplateVersion",
        "StartInstanceRefresh",
        "RegisterTaskDefinition",
        "UpdateService",
    ];
    for operation in writes {
        fault(&stage, &json!({ "account": DEV, "operation": operation, "kind": "hold" }));
    }
    let from = stage.last();
    let good = [("latest", "1.1"), ("default", "1.1"), ("api", "1.1")];
    let tip = stage
        .commit("release: 1.1", |repo| good.iter().for_each(|(name, version)| set_pin(repo, "dev", name, version)));
    let mut raced = BTreeSet::new();
    let runs = |stage: &Stage, version: &str| {
        let fleet = stage.fleet();
        ["latest", "default"].iter().all(|group| fleet.group_runs(DEV, group, ami(version)))
            && fleet.service_runs(DEV, "app/api", &image(version))
    };
    // The passes of this commit that each has ended.
    let ended = || {
        [stage.status(), other.status()]
            .map(|mut status| status["environments"]["dev"].take())
            .map(|dev| if dev["revision"] == tip { passes(&dev) } else { 0 })
    };
    let mut before: Option<(Vec<String>, [u64; 2])> = None;
    while !runs(&stage, "1.1") {
        let held: Vec<String> = stage.held_calls();
        let now = ended();
        let (same, since) = before.take().unwrap_or_default();
        let since =
            if same == held { [0, 1].map(|one| if since[one] == 0 { now[one] } else { since[one] }) } else { now };
        // What the other doesn't want to make any more goes on by itself: its passes end without.
        let alone = [0, 1].iter().any(|one| since[*one] > 0 && now[*one] >= since[*one] + 2);
        // Writes of one controller go side by side: all of them are awaited from both.
        let of = |operation: &String| held.iter().filter(|one| *one == operation).count();
        let both = held.iter().all(|operation| of(operation) % 2 == 0);
        if !held.is_empty() && (both || alone) {
            raced.extend(held.iter().filter(|operation| of(operation) > 1).cloned());
            stage.meddle("/_sim/release", &json!({}));
        } else {
            before = Some((held, since));
        }
        assert!(stage.writes(from).len() < 60, "they never come to an end");
    }
    assert_eq!(raced.iter().map(String::as_str).collect::<BTreeSet<_>>(), writes.into(), "both made each of them");
    stage.repair();
    let targets = ["dev/asg/latest", "dev/asg/default", "dev/fargate/api"];
    stage.wait_for_sync(&targets);
    failure_mode("two-controllers-race").holds(&stage, "dev/asg/latest");
    failure_mode("two-controllers-race").holds(&stage, "dev/fargate/api");
    let fleet = stage.fleet();
    for group in ["latest", "default"] {
        assert_eq!(fleet.refreshes(DEV, group), ["Successful"], "{group}");
        let numbers: Vec<Value> = accepted(&stage, "UpdateAutoScalingGroup", group);
        assert!(numbers.iter().all(|params| params["LaunchTemplate"]["Version"] == "1"), "{numbers:?}");
    }
    assert_eq!(fleet.service(DEV, "app/api")["service_deployments"].as_array().unwrap().len(), 1);
    stage.settles();
    assert!(!other.process.output().contains("quarantined") && !stage.logged().contains("quarantined"));
}

#[test]
fn somebody_stops_or_replaces_our_deployment() {
    let stage = Place::new().service("stopped", BREAKER, "").service("replaced", BREAKER, "").start();
    stage.meddle("/_sim/speed", &json!({ "speed": 1 }));
    stage.commit("release: 1.1", |repo| {
        set_pin(repo, "dev", "stopped", "1.1");
        set_pin(repo, "dev", "replaced", "1.1");
    });
    for target in ["dev/fargate/stopped", "dev/fargate/replaced"] {
        stage.wait_until(&format!("{target} rolls out"), |stage| stage.reason(target).starts_with("IN_PROGRESS"));
    }
    let ours = stage.fleet().service(DEV, "app/stopped")["service_deployments"][0]["arn"].clone();
    stage.by_hand(ROLE, "StopServiceDeployment", &json!({ "serviceDeploymentArn": ours, "stopType": "ROLLBACK" }));
    let theirs = json!({ "cluster": "app", "service": "replaced", "taskDefinition": "replaced:1" });
    stage.by_hand(ROLE, "UpdateService", &theirs);
    stage.meddle("/_sim/speed", &json!({ "speed": 60 }));
    failure_mode("deployment-stopped").holds(&stage, "dev/fargate/stopped");
    failure_mode("deployment-replaced").holds(&stage, "dev/fargate/replaced");
    for name in ["app/stopped", "app/replaced"] {
        stage.wait_until(&format!("{name} is back"), |stage| stage.fleet().service_runs(DEV, name, &image("1.0")));
    }
    stage.settles();
    assert_eq!((attempts(&stage, "stopped"), attempts(&stage, "replaced")), (1, 2), "ours once each, and theirs");
    // An operator retries both.
    stage.signal("USR2");
    stage.wait_for_sync(&["dev/fargate/stopped", "dev/fargate/replaced"]);
    let fleet = stage.fleet();
    for name in ["app/stopped", "app/replaced"] {
        assert!(fleet.service_runs(DEV, name, &image("1.1")));
    }
}

#[test]
fn a_resource_belongs_to_one_target() {
    let place = Place::new().group("web", "", "").service("api", "", "");
    let mut stage = place.start();
    // A copy of the folder, with the account id as it was.
    stage.commit("stage: a copy of dev", |repo| {
        repo.write("environments/stage/environment.toml", place.environment());
        repo.write("environments/stage/pins.toml", "api = \"1.1\"\nweb = \"1.0\"\n");
    });
    failure_mode("claimed").holds(&stage, "stage/asg/web");
    stage.pin("dev", "web", "1.1");
    let (dev, copies) = (["dev/asg/web", "dev/fargate/api"], ["stage/asg/web", "stage/fargate/api"]);
    stage.wait_until("dev runs 1.1", |stage| stage.fleet().group_runs(DEV, "web", ami("1.1")));
    stage.wait_for_sync(&dev);
    stage.kill_controller();
    stage.start_controller();
    stage.wait_for_sync(&dev);
    copies.iter().for_each(|copy| failure_mode("claimed").holds(&stage, copy));
    stage.settles();
    assert_eq!((attempts(&stage, "web"), attempts(&stage, "api")), (1, 0), "dev's own rollout, and no other");

    // The holder gives the group up, and the other one has it without a rollout.
    let from = stage.last();
    stage.commit("web is stage's", |repo| {
        repo.write("environments/dev/environment.toml", Place::new().service("api", "", "").environment());
        repo.write("environments/dev/pins.toml", "api = \"1.0\"\n");
        repo.write("environments/stage/pins.toml", "api = \"1.1\"\nweb = \"1.1\"\n");
    });
    stage.wait_for_sync(&["stage/asg/web", "dev/fargate/api"]);
    failure_mode("claimed").holds(&stage, "stage/fargate/api");

    // An installation of another name: the marker is that of a target which isn't its own.
    stage.configure(&format!("installation = \"acme\"\n{}", stage.configuration()));
    stage.signal("HUP");
    failure_mode("claimed-elsewhere").holds(&stage, "stage/asg/web");
    let taken = place.environment().replace("[asg.web]\n", "[asg.web]\ntake_over = \"pinion/dev/asg/web\"\n");
    stage.commit("web is acme's", |repo| {
        repo.write("environments/stage/environment.toml", taken);
    });
    stage.wait_for_sync(&["stage/asg/web"]);
    stage.settles();
    assert_eq!(stage.written(from), Vec::<String>::new());
    stage.pin("stage", "web", "1.0");
    stage.wait_until("stage goes back to 1.0", |stage| stage.fleet().group_runs(DEV, "web", ami("1.0")));
}

#[test]
fn who_comes_first_keeps_what_nobody_has_rolled_out_though_it_is_down_at_the_start() {
    let place = Place::new().group("web", "", "");
    let copies = Repo::new();
    copies.write("environments/stage/environment.toml", place.environment());
    copies.write("environments/stage/pins.toml", "web = \"1.1\"\n");
    copies.commit("stage: a copy of dev");
    copies.push();
    let second = format!("[[repository]]\nurl = \"{}\"\nbranch = \"main\"\ninterval = \"1s\"\n", copies.file_url());
    let mut stage = place.on(place.builder().configured_with(&second));
    failure_mode("claimed").holds(&stage, "stage/asg/web");
    let from = stage.last();
    let (bare, away) = (stage.repo().bare(), stage.repo().repos().join("away.git"));
    for (waits, without_cache) in [(failure_mode("claimed-before"), false), (failure_mode("claimed-perhaps"), true)] {
        stage.kill_controller();
        std::fs::rename(&bare, &away).unwrap();
        if without_cache {
            std::fs::remove_dir_all(stage.cache()).unwrap();
        }
        stage.start_controller();
        waits.holds(&stage, "stage/asg/web");
        stage.settles();
        std::fs::rename(&away, &bare).unwrap();
        failure_mode("claimed").holds(&stage, "stage/asg/web");
        stage.wait_for_sync(&["dev/asg/web"]);
    }
    assert_eq!(stage.written(from), Vec::<String>::new());
}

#[test]
fn what_has_probes_that_are_never_sent_is_blocked_before_anything_moves() {
    let verify = "[[asg.web.verify]]\nhttp = \"http://169.254.169.254/latest/\"\n";
    let place = Place::new().group("web", "", verify);
    let stage = place.builder().start();
    failure_mode("probe-refused").holds(&stage, "dev/asg/web");
    let from = stage.last();
    stage.pin("dev", "web", "1.1");
    stage.wait_until("it has looked at 1.1", |stage| stage.target("dev/asg/web")["desired"] == "1.1");
    failure_mode("probe-refused").holds(&stage, "dev/asg/web");
    stage.settles();
    assert_eq!(stage.written(from), Vec::<String>::new());
    stage.configure(&format!("{}[probes]\nallow = [\"169.254.169.254\"]\n", stage.configuration()));
    stage.signal("HUP");
    stage.wait_until("it is allowed by name", |stage| stage.fleet().group_runs(DEV, "web", ami("1.1")));
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
