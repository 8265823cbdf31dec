//! Faults of AWS, of the credentials, and of what answers in between.

use serde_json::{Value, json};

use crate::document::failure_mode;
use crate::place::{DEV, Place, ami, attempts, fault, image};
use crate::stage::{Stage, set_pin};

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
        stage.mend();
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
    stage.mend();
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
    stage.mend();
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
    fault(
        &stage,
        &json!({
            "operation": "DescribeAutoScalingGroups", "times": 1, "kind": "error", "code": "ExpiredToken", "status": 403
        }),
    );
    stage.wait_until("the role is assumed again", |stage| assumed(stage) > before);
    stage.settles();
    failure_mode("credentials-expired").holds(&stage, "dev/asg/web");

    // Revoked, and the role can't be assumed any more.
    fault(&stage, &json!({ "service": "autoscaling", "kind": "error", "code": "ExpiredToken", "status": 403 }));
    fault(
        &stage,
        &json!({
            "operation": "AssumeRole", "kind": "error", "code": "AccessDenied", "status": 403,
            "message": "User is not authorized to perform sts:AssumeRole"
        }),
    );
    failure_mode("role-not-assumed").holds(&stage, "dev/asg/web");
    assert!(error(&stage).contains("AssumeRole"), "{}", error(&stage));
    stage.mend();
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
