//! Faults: connections and answers that break, calls that are held, throttling, lagging reads, spoilt credentials.

use std::time::Duration;

use aws_sdk_autoscaling::error::{ProvideErrorMetadata as _, SdkError};
use serde_json::{Value, json};

use super::stand::{Account, DEV, Simulator};

/// What a call comes to: its error's code, or how it broke.
async fn describe(account: &Account) -> String {
    let call = account.asg.describe_auto_scaling_groups().send();
    match tokio::time::timeout(Duration::from_millis(400), call).await {
        Err(_) => "no answer".to_owned(),
        Ok(Ok(_)) => "ok".to_owned(),
        Ok(Err(SdkError::DispatchFailure(_))) => "broken connection".to_owned(),
        Ok(Err(error)) => {
            let status = error.raw_response().map_or(0, |response| response.status().as_u16());
            error.code().map_or_else(|| format!("unreadable {status}"), str::to_owned)
        }
    }
}

async fn resize(account: &Account, desired: i32) -> bool {
    let request = account.asg.set_desired_capacity().auto_scaling_group_name("frontend").desired_capacity(desired);
    request.send().await.is_ok()
}

#[tokio::test]
async fn answers_break_in_every_way() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    for (fault, expected) in [
        (json!({ "kind": "drop" }), "broken connection"),
        (json!({ "kind": "cut" }), "unreadable 200"),
        (json!({ "kind": "stall" }), "no answer"),
        (json!({ "kind": "hold" }), "no answer"),
        (json!({ "kind": "slow", "millis": 80 }), "ok"),
        (json!({ "kind": "slow", "millis": 8000 }), "no answer"),
        (json!({ "kind": "garbage" }), "unreadable 200"),
        (json!({ "kind": "gateway" }), "unreadable 502"),
        (json!({ "kind": "gateway", "status": 503 }), "unreadable 503"),
        (json!({ "kind": "error", "status": 500 }), "InternalFailure"),
        (json!({ "kind": "throttle" }), "Throttling"),
    ] {
        let mut fault = fault;
        fault["times"] = 1.into();
        fault["operation"] = "DescribeAutoScalingGroups".into();
        stand.post("faults", fault.clone()).await;
        let what = describe(&dev).await;
        assert!(what == expected || (expected == "unreadable 200" && what == "broken connection"), "{fault}: {what}");
        assert_eq!(describe(&dev).await, "ok", "{fault} strikes once");
    }
}

#[tokio::test]
async fn a_lost_call_has_its_effect_only_if_it_was_lost_afterwards() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    for (when, kind, desired) in
        [("before", "drop", 4), ("after", "drop", 5), ("before", "gateway", 6), ("after", "gateway", 4)]
    {
        let before = stand.group(DEV, "frontend").await["desired"].clone();
        let fault = json!({ "operation": "SetDesiredCapacity", "kind": kind, "when": when, "times": 1 });
        stand.post("faults", fault).await;
        assert!(!resize(&dev, desired).await);
        let expected = if when == "after" { json!(desired) } else { before };
        assert_eq!(stand.group(DEV, "frontend").await["desired"], expected, "{when} {kind}");
    }
}

#[tokio::test]
async fn a_call_is_held_at_the_nth_and_goes_on_when_it_is_released() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    let before = stand.group(DEV, "frontend").await["desired"].clone();
    let fault = json!({ "operation": "SetDesiredCapacity", "kind": "hold", "skip": 1, "times": 1 });
    stand.post("faults", fault).await;
    assert!(resize(&dev, before.as_i64().unwrap().try_into().unwrap()).await, "the first one passes");
    let held = tokio::spawn(async move { resize(&dev, 5).await });
    let told = stand.get("held?millis=10000").await["held"].take();
    assert_eq!((&told[0]["operation"], &told[0]["when"]), (&json!("SetDesiredCapacity"), &json!("before")));
    assert_eq!(stand.group(DEV, "frontend").await["desired"], before, "nothing has happened yet");
    assert_eq!(stand.post("release", json!({ "id": told[0]["id"] })).await["released"], 1);
    assert!(held.await.unwrap());
    assert_eq!(stand.group(DEV, "frontend").await["desired"], 5);
    assert_eq!(stand.get("held").await["held"], json!([]));
}

#[tokio::test]
async fn who_hangs_up_is_held_no_longer_and_a_call_held_before_its_effect_has_none() {
    let stand = Simulator::demo().await;
    for (when, expected) in [("before", None), ("after", Some(5))] {
        let dev = stand.account(DEV).await;
        let before = stand.group(DEV, "frontend").await["desired"].clone();
        let fault = json!({ "operation": "SetDesiredCapacity", "kind": "hold", "when": when, "times": 1 });
        stand.post("faults", fault).await;
        let caller = tokio::spawn(async move { resize(&dev, 5).await });
        assert_eq!(stand.get("held?millis=10000").await["held"][0]["when"], when);
        caller.abort();
        let limit = tokio::time::Instant::now() + Duration::from_secs(10);
        while stand.get("held").await["held"] != json!([]) {
            assert!(tokio::time::Instant::now() < limit, "it is held though nobody waits");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let expected = expected.map_or(before, Value::from);
        assert_eq!(stand.group(DEV, "frontend").await["desired"], expected, "{when}");
    }
}

#[tokio::test]
async fn buckets_run_dry_each_by_itself() {
    let stand = Simulator::demo().await;
    let (dev, prod) = (stand.account(DEV).await, stand.account(super::stand::PROD).await);
    stand.post("faults", json!({ "kind": "bucket", "burst": 3, "refill": 0 })).await;
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(describe(&dev).await);
    }
    assert_eq!(told, ["ok", "ok", "ok", "Throttling"]);
    assert_eq!(describe(&prod).await, "ok", "another account has another bucket");
    dev.ec2.describe_images().send().await.unwrap();
    stand.sim_delete("faults").await;
    stand.post("faults", json!({ "kind": "bucket", "service": "ecs" })).await;
    let register = || dev.ecs.deregister_task_definition().task_definition("nothing:1").send();
    let mut passed = 0;
    while register().await.unwrap_err().code() != Some("ThrottlingException") {
        passed += 1;
        assert!(passed < 40, "AWS has 20 at once, and one a second");
    }
    assert!(passed >= 20, "{passed}");
}

#[tokio::test]
async fn reads_lag_behind_writes() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    let shown = || async {
        let answer = dev.asg.describe_auto_scaling_groups().auto_scaling_group_names("frontend").send().await.unwrap();
        answer.auto_scaling_groups()[0].desired_capacity().unwrap()
    };
    let before = shown().await;
    let fault = json!({ "kind": "lag", "millis": 10_000, "operation": "DescribeAutoScalingGroups" });
    stand.post("faults", fault).await;
    assert!(resize(&dev, 5).await);
    assert_eq!(shown().await, before, "not seen yet");
    assert_eq!(stand.group(DEV, "frontend").await["desired"], 5, "though it is so");
    stand.advance(9).await;
    assert_eq!(shown().await, before);
    stand.advance(2).await;
    assert_eq!(shown().await, 5);
}

#[tokio::test]
async fn credentials_expire_and_are_revoked() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    stand.post("faults", json!({ "account": DEV, "kind": "expire", "times": 1 })).await;
    assert_eq!(describe(&dev).await, "ExpiredToken");
    assert_eq!(describe(&dev).await, "ExpiredToken", "what has expired stays so");
    let dev = stand.account(DEV).await;
    assert_eq!(describe(&dev).await, "ok");
    stand.post("faults", json!({ "account": DEV, "kind": "revoke", "times": 1 })).await;
    for _ in 0..2 {
        assert_eq!(describe(&dev).await, "AccessDenied");
    }
    assert_eq!(describe(&stand.account(DEV).await).await, "ok", "sessions from then on are good");
}

#[tokio::test]
async fn a_fault_lasts_as_long_as_it_is_told() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    stand.post("faults", json!({ "kind": "throttle", "lasts": 200 })).await;
    assert_eq!(describe(&dev).await, "Throttling");
    let start = tokio::time::Instant::now();
    while describe(&dev).await != "ok" {
        assert!(start.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(stand.get("faults").await["faults"], json!([]));
}

#[tokio::test]
async fn time_can_pass_by_calls_alone() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    stand.post("speed", json!({ "speed": 0, "per_call": 7 })).await;
    let seconds = || async { stand.get("fleet").await["engine_seconds"].as_u64().unwrap() };
    let before = seconds().await;
    for _ in 0..3 {
        describe(&dev).await;
    }
    assert_eq!(seconds().await, before + 21);
}

#[tokio::test]
async fn pages_hold_less_and_roles_lead_astray() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    stand.post("faults", json!({ "kind": "page", "operation": "DescribeImages" })).await;
    let first = dev.ec2.describe_images().max_results(100).send().await.unwrap();
    assert_eq!(first.images().len(), 1, "though more were asked for");
    let second = dev.ec2.describe_images().next_token(first.next_token().unwrap()).send().await.unwrap();
    assert_ne!(first.images()[0].image_id(), second.images()[0].image_id());

    stand.post("faults", json!({ "kind": "astray", "operation": "AssumeRole", "to": super::stand::PROD })).await;
    let caller = stand.account(DEV).await.sts.get_caller_identity().send().await.unwrap();
    assert_eq!(caller.account(), Some(super::stand::PROD));
    assert_eq!(dev.sts.get_caller_identity().send().await.unwrap().account(), Some(DEV), "a session stays what it is");
}
