//! Faults of AWS, of the credentials, and of what answers in between.

use serde_json::{Value, json};

use super::document::failure_mode;
use super::place::{BREAKER, DEV, Place, ami, attempts, fault, image};
use crate::support::stage::{Stage, set_pin};

/// An account that isn't the environment's.
const OTHER: &str = "444444444444";

/// The error of the environment's last pass.
fn error(stage: &Stage) -> String {
    stage.status()["environments"]["dev"]["error"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_rollout_gets_through_all_that_passes() {
    let stage = Place::new().group("web", "", "").service("api", "", "").start();
    let once = |operation: &str, kind: Value| {
        let mut it = json!({ "operation": operation, "times": 2 });
        it.as_object_mut().unwrap().extend(kind.as_object().unwrap().clone());
        fault(&stage, &it);
    };
    let error = |code: &str, status: u16| json!({ "kind": "error", "code": code, "status": status });
    once("CreateLaunchTemplateVersion", error("RequestLimitExceeded", 503));
    once("StartInstanceRefresh", error("ResourceContention", 500));
    once("RegisterTaskDefinition", error("ServerException", 500));
    once("UpdateService", json!({ "kind": "throttle" }));
    once("DescribeInstanceRefreshes", error("ServiceUnavailable", 503));
    once("DescribeServiceDeployments", json!({ "kind": "delay", "millis": 700 }));
    once("DescribeAutoScalingGroups", json!({ "kind": "delay", "millis": 700 }));
    stage.commit("release: 1.1", |repo| {
        set_pin(repo, "dev", "web", "1.1");
        set_pin(repo, "dev", "api", "1.1");
    });
    stage.wait_until("everything runs 1.1", |stage| {
        let fleet = stage.fleet();
        fleet.group_runs(DEV, "web", ami("1.1")) && fleet.service_runs(DEV, "app/api", &image("1.1"))
    });
    stage.wait_for_sync(&["dev/asg/web", "dev/fargate/api"]);
    failure_mode("faults-that-pass").holds(&stage, "dev/asg/web");
    assert_eq!((attempts(&stage, "web"), attempts(&stage, "api")), (1, 1));
    stage.settles();
}

/// How many service deployments there were.
fn deployments(stage: &Stage, name: &str) -> usize {
    stage.fleet().service(DEV, &format!("app/{name}"))["service_deployments"].as_array().unwrap().len()
}

/// Waits until both run a version, each after so many rollouts in all.
fn both_run(stage: &Stage, version: &str, rollouts: usize) {
    stage.wait_until(&format!("everything runs {version}"), |stage| {
        let fleet = stage.fleet();
        fleet.group_runs(DEV, "web", ami(version)) && fleet.service_runs(DEV, "app/api", &image(version))
    });
    stage.wait_for_sync(&["dev/asg/web", "dev/fargate/api"]);
    assert_eq!((stage.fleet().refreshes(DEV, "web").len(), deployments(stage, "api")), (rollouts, rollouts));
}

fn release(stage: &Stage, version: &str) {
    stage.commit(&format!("release: {version}"), |repo| {
        set_pin(repo, "dev", "web", version);
        set_pin(repo, "dev", "api", version);
    });
}

#[test]
fn connections_break_stay_open_or_are_slow() {
    let stage = Place::new().group("web", "", "").service("api", "", "").start();
    for (operation, kind, when) in [
        // Half of the answer, and the connection stays open: given up after a while, and asked again.
        ("DescribeAutoScalingGroups", "stall", "before"),
        ("UpdateService", "stall", "after"),
        // Half of the answer, and the connection is closed.
        ("DescribeServices", "cut", "before"),
        ("StartInstanceRefresh", "cut", "after"),
        // Nothing at all.
        ("RegisterTaskDefinition", "drop", "after"),
        ("CreateLaunchTemplateVersion", "drop", "after"),
        // What isn't AWS's.
        ("DescribeInstanceRefreshes", "garbage", "before"),
        ("ListServiceDeployments", "gateway", "before"),
    ] {
        fault(&stage, &json!({ "operation": operation, "kind": kind, "when": when, "times": 1 }));
    }
    release(&stage, "1.1");
    both_run(&stage, "1.1", 1);
    failure_mode("broken-connections").holds(&stage, "dev/asg/web");
    failure_mode("broken-connections").holds(&stage, "dev/fargate/api");
    let left = stage.faults();
    assert_eq!(left, Vec::<Value>::new(), "each has struck");

    fault(&stage, &json!({ "account": DEV, "kind": "slow", "millis": 400 }));
    release(&stage, "1.0");
    both_run(&stage, "1.0", 2);
    failure_mode("slow-answers").holds(&stage, "dev/asg/web");
    failure_mode("slow-answers").holds(&stage, "dev/fargate/api");
}

#[test]
fn reads_that_lag_start_nothing_twice() {
    let stage = Place::new().group("web", "version = \"$Latest\"", "").service("api", BREAKER, "").start();
    // Two seconds, which is two passes.
    fault(&stage, &json!({ "account": DEV, "kind": "lag", "millis": 120_000 }));
    release(&stage, "1.1");
    both_run(&stage, "1.1", 1);
    failure_mode("reads-lag").holds(&stage, "dev/asg/web");
    failure_mode("reads-lag").holds(&stage, "dev/fargate/api");
    release(&stage, "1.2");
    for target in ["dev/asg/web", "dev/fargate/api"] {
        stage.wait_for(target, "quarantined");
    }
    stage.repair();
    stage.settles();
    assert_eq!((stage.fleet().refreshes(DEV, "web").len(), deployments(&stage, "api")), (2, 2));
}

#[test]
fn a_clock_that_jumps_holds_up_nothing() {
    let place = Place::new().group("web", "", "").service("api", "", "");
    let stage = place.on(place.builder().with_a_clock_that_jumps());
    let assumed = |stage: &Stage| stage.calls(0).iter().filter(|call| call.operation == "AssumeRole").count();
    stage.meddle("/_sim/speed", &json!({ "speed": 15 }));
    for (version, hours, rollouts) in [("1.1", 30, 1), ("1.0", -30, 2)] {
        release(&stage, version);
        stage.wait_until("both roll out", |stage| {
            stage.fleet().refreshes(DEV, "web").len() == rollouts && deployments(stage, "api") == rollouts
        });
        let before = assumed(&stage);
        stage.jump(hours);
        both_run(&stage, version, rollouts);
        failure_mode("clock-jumps").holds(&stage, "dev/asg/web");
        failure_mode("clock-jumps").holds(&stage, "dev/fargate/api");
        let more = assumed(&stage) - before;
        assert!(more <= 2, "the role was assumed {more} times");
    }
    stage.settles();
}

#[test]
fn what_cannot_be_read_is_unknown_and_keeps_its_last_state() {
    let stage = Place::new().group("web", "", "").start();
    for (id, kind) in [
        ("throttled", json!({ "kind": "throttle" })),
        ("server-errors", json!({ "kind": "error", "code": "InternalFailure", "status": 500 })),
    ] {
        let mut read = json!({ "operation": "DescribeAutoScalingGroups" });
        read.as_object_mut().unwrap().extend(kind.as_object().unwrap().clone());
        fault(&stage, &read);
        let row = if id == "throttled" { failure_mode("throttled") } else { failure_mode("server-errors") };
        row.holds(&stage, "dev/asg/web");
        assert_eq!(stage.target("dev/asg/web")["last_known"], "in-sync");
        stage.repair();
        stage.wait_for_sync(&["dev/asg/web"]);
    }
    // A call that is refused for good blocks its target, and says what to allow.
    fault(
        &stage,
        &json!({
            "operation": "DescribeAutoScalingGroups", "kind": "error", "code": "AccessDenied", "status": 403,
            "message": "User is not authorized to perform autoscaling:DescribeAutoScalingGroups"
        }),
    );
    failure_mode("denied").holds(&stage, "dev/asg/web");
    stage.repair();
    stage.wait_for_sync(&["dev/asg/web"]);
    // And so does a write.
    fault(
        &stage,
        &json!({
            "operation": "StartInstanceRefresh", "kind": "error", "code": "AccessDenied", "status": 403,
            "message": "User is not authorized to perform autoscaling:StartInstanceRefresh"
        }),
    );
    stage.pin("dev", "web", "1.1");
    failure_mode("write-denied").holds(&stage, "dev/asg/web");
    stage.repair();
    stage.wait_for_sync(&["dev/asg/web"]);
    assert_eq!(attempts(&stage, "web"), 1);
}

#[test]
fn credentials_expire_are_revoked_and_belong_elsewhere() {
    let place = Place::new().group("web", "", "");
    let stage = place.start();
    // Expired: renewed within the same pass, and nobody notices.
    let assumed = |stage: &Stage| stage.calls(0).iter().filter(|call| call.operation == "AssumeRole").count();
    let before = assumed(&stage);
    fault(&stage, &json!({ "account": DEV, "kind": "expire", "times": 1 }));
    stage.wait_until("the role is assumed again", |stage| assumed(stage) > before);
    stage.settles();
    failure_mode("credentials-expired").holds(&stage, "dev/asg/web");

    // Revoked: whatever is asked with them is denied, and others are as good as ever.
    let before = assumed(&stage);
    let from = stage.last();
    fault(&stage, &json!({ "account": DEV, "kind": "revoke", "times": 1 }));
    stage.wait_until("the role is assumed again", |stage| assumed(stage) > before);
    stage.settles();
    failure_mode("sessions-revoked").holds(&stage, "dev/asg/web");
    let denied = stage.calls(from).iter().filter(|call| call.status == 403).count();
    assert_eq!((assumed(&stage), denied), (before + 1, 1), "one denial, and one new session");

    // Expired, and the role can't be assumed any more.
    fault(&stage, &json!({ "account": DEV, "kind": "expire", "times": 1 }));
    fault(
        &stage,
        &json!({
            "operation": "AssumeRole", "kind": "error", "code": "AccessDenied", "status": 403,
            "message": "User is not authorized to perform sts:AssumeRole"
        }),
    );
    failure_mode("role-not-assumed").holds(&stage, "dev/asg/web");
    assert!(error(&stage).contains("AssumeRole"), "{}", error(&stage));
    stage.repair();
    stage.wait_for_sync(&["dev/asg/web"]);

    // The role is the right one for the file, but leads to another account.
    let from = stage.last();
    stage.commit("dev: another account", |repo| {
        let text = place.environment().replace(DEV, "333333333333");
        repo.write("environments/dev/environment.toml", text);
    });
    failure_mode("no-such-account").holds(&stage, "dev/asg/web");
    assert_eq!(stage.written(from), Vec::<String>::new());
    let failed = "pinion_reconcile_total{environment=\"dev\",result=\"failed\"}";
    assert!(stage.metric(failed).is_some_and(|count| count > 0.0));
}

#[test]
fn who_refuses_is_told() {
    let stage = Place::new().group("web", "", "").start();
    let refused = |operation: &str, code: &str, message: &str| json!({ "operation": operation, "kind": "error", "code": code, "status": 403, "message": message });
    let reads = "autoscaling:DescribeAutoScalingGroups";
    let why =
        format!("User: pinion is not authorized to perform: {reads} with an explicit deny in a service control policy");
    fault(&stage, &refused("DescribeAutoScalingGroups", "AccessDenied", &why));
    failure_mode("denied-by-organisation").holds(&stage, "dev/asg/web");
    stage.repair();
    stage.wait_for_sync(&["dev/asg/web"]);

    let why = "User: pinion is not authorized to perform: sts:AssumeRole on resource: r because no identity-based policy \
               allows the sts:AssumeRole action";
    fault(&stage, &refused("AssumeRole", "AccessDenied", why));
    fault(&stage, &json!({ "account": DEV, "kind": "expire", "times": 1 }));
    failure_mode("own-identity-denied").holds(&stage, "dev/asg/web");
    stage.repair();
    stage.wait_for_sync(&["dev/asg/web"]);

    fault(&stage, &refused("AssumeRole", "ExpiredToken", "The security token included in the request is expired"));
    fault(&stage, &json!({ "account": DEV, "kind": "expire", "times": 1 }));
    failure_mode("own-credentials-expired").holds(&stage, "dev/asg/web");
    stage.repair();
    stage.wait_for_sync(&["dev/asg/web"]);
    stage.settles();
}

#[test]
fn a_session_of_another_account_is_good_for_nothing() {
    let stage = Place::new().group("web", "", "").account(OTHER).start();
    let from = stage.last();
    fault(&stage, &json!({ "operation": "AssumeRole", "kind": "astray", "to": OTHER }));
    fault(&stage, &json!({ "account": DEV, "kind": "expire", "times": 1 }));
    failure_mode("wrong-account").holds(&stage, "dev/asg/web");
    stage.pin("dev", "web", "1.1");
    stage.wait_until("the pin is seen", |stage| stage.target("dev/asg/web")["desired"] == "1.1");
    stage.settles();
    assert!(error(&stage).contains("belong to account 444444444444"), "{}", error(&stage));
    assert_eq!(stage.written(from), Vec::<String>::new());
    let there: Vec<String> = stage
        .calls(from)
        .into_iter()
        .filter(|call| call.account.as_deref() == Some(OTHER))
        .map(|call| call.operation)
        .collect();
    assert!(!there.is_empty() && there.iter().all(|operation| operation == "GetCallerIdentity"), "{there:?}");

    // The next session is the right one, without waiting for the wrong one's end.
    stage.repair();
    stage.wait_for_sync(&["dev/asg/web"]);
    assert!(stage.fleet().group_runs(DEV, "web", ami("1.1")));
}
