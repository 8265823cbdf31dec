//! ECS deployments that shift traffic, and what other controllers deploy.

use serde_json::{Value, json};

use super::super::super::wire::Service;
use super::super::super::world::{AlarmState, World};
use super::{ACCOUNT, REGION, call, pass, world, world_with};

const HOOK: &str = "arn:aws:lambda:eu-west-1:222222222222:function:smoke";

fn start(world: &mut World, definition: &str) {
    let params = json!({ "cluster": "main", "service": "api", "taskDefinition": definition });
    call(world, Service::Ecs, "UpdateService", params).unwrap();
}

/// The newest service deployment as the API shows it.
fn shown(world: &mut World) -> Value {
    let list =
        call(world, Service::Ecs, "ListServiceDeployments", json!({ "cluster": "main", "service": "api" })).unwrap();
    let arn = list["serviceDeployments"][0]["serviceDeploymentArn"].clone();
    let params = json!({ "serviceDeploymentArns": [arn] });
    call(world, Service::Ecs, "DescribeServiceDeployments", params).unwrap()["serviceDeployments"][0].clone()
}

/// Statuses with stages and shares of the production traffic, in their order.
fn course(world: &mut World, seconds: u64) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    for _ in 0..seconds {
        let record = shown(world);
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let weight = &record["targetServiceRevision"]["requestedProductionTrafficWeight"];
        let line = format!("{} {} {weight}", text(&record["status"]), text(&record["lifecycleStage"]));
        if seen.last() != Some(&line) {
            seen.push(line);
        }
        pass(world, 1);
    }
    seen
}

fn live(world: &World) -> Vec<String> {
    let service = &world.region(ACCOUNT, REGION).unwrap().clusters["main"].services["api"];
    let mut all: Vec<String> = service
        .tasks
        .iter()
        .filter(|task| task.is_live())
        .map(|task| task.task_definition.rsplit('/').next().unwrap().to_owned())
        .collect();
    all.sort();
    all
}

#[test]
fn traffic_is_shifted_in_stages() {
    let before = [
        "IN_PROGRESS RECONCILE_SERVICE 0.0",
        "IN_PROGRESS PRE_SCALE_UP 0.0",
        "IN_PROGRESS SCALE_UP 0.0",
        "IN_PROGRESS POST_SCALE_UP 0.0",
        "IN_PROGRESS TEST_TRAFFIC_SHIFT 0.0",
        "IN_PROGRESS POST_TEST_TRAFFIC_SHIFT 0.0",
        "IN_PROGRESS PRODUCTION_TRAFFIC_SHIFT 0.0",
    ];
    let after = [
        "IN_PROGRESS POST_PRODUCTION_TRAFFIC_SHIFT 100.0",
        "IN_PROGRESS BAKE_TIME 100.0",
        "IN_PROGRESS CLEAN_UP 100.0",
        "SUCCESSFUL CLEAN_UP 100.0",
    ];
    let (linear, canary) = (
        r#"{ strategy = "LINEAR", linearConfiguration = { stepPercent = 40.0, stepBakeTimeInMinutes = 1 } }"#,
        r#"{ strategy = "CANARY", bakeTimeInMinutes = 1, canaryConfiguration = { canaryPercent = 10.0, canaryBakeTimeInMinutes = 2 } }"#,
    );
    for (configuration, steps) in [
        (r#"{ strategy = "BLUE_GREEN", bakeTimeInMinutes = 5 }"#, vec![]),
        (linear, vec!["40.0", "80.0"]),
        (canary, vec!["10.0"]),
    ] {
        let mut world = world_with(2, "", configuration);
        start(&mut world, "app-good");
        let mut expected: Vec<String> = before.map(str::to_owned).to_vec();
        expected.extend(steps.iter().map(|weight| format!("IN_PROGRESS PRODUCTION_TRAFFIC_SHIFT {weight}")));
        expected.extend(after.map(str::to_owned));
        assert_eq!(course(&mut world, 900), expected, "{configuration}");
        assert_eq!(live(&world), ["app-good:1", "app-good:1"], "{configuration}");
    }
    // Both revisions run until all is over.
    let mut world = world_with(2, "", r#"{ strategy = "BLUE_GREEN", bakeTimeInMinutes = 60 }"#);
    start(&mut world, "app-good");
    pass(&mut world, 600);
    assert_eq!(shown(&mut world)["lifecycleStage"], "BAKE_TIME");
    assert_eq!(live(&world), ["app-good:1", "app-good:1", "app-old:1", "app-old:1"]);
}

#[test]
fn a_failed_hook_takes_all_back() {
    let configuration = format!(
        r#"{{ strategy = "BLUE_GREEN", lifecycleHooks = [{{ hookTargetArn = "{HOOK}", lifecycleStages = ["POST_TEST_TRAFFIC_SHIFT"] }}] }}"#
    );
    let mut world = world_with(2, "", &configuration);
    let answer = |world: &mut World, status: &str| {
        world.region_mut(ACCOUNT, REGION).hooks.insert(HOOK.to_owned(), status.to_owned());
    };
    answer(&mut world, "IN_PROGRESS");
    start(&mut world, "app-good");
    pass(&mut world, 600);
    assert_eq!(shown(&mut world)["lifecycleStage"], "POST_TEST_TRAFFIC_SHIFT");
    answer(&mut world, "FAILED");
    let statuses: Vec<String> =
        course(&mut world, 300).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(statuses, ["IN_PROGRESS", "ROLLBACK_IN_PROGRESS", "ROLLBACK_SUCCESSFUL"]);
    assert!(shown(&mut world)["statusReason"].as_str().unwrap().contains(HOOK));
    assert_eq!(live(&world), ["app-old:1", "app-old:1"]);
    let service = &world.region(ACCOUNT, REGION).unwrap().clusters["main"].services["api"];
    assert!(service.task_definition.ends_with("app-old:1"));
}

#[test]
fn an_alarm_in_the_bake_time_takes_all_back() {
    let alarms = r#"alarms = { enable = true, rollback = true, alarmNames = ["5xx"] }"#;
    let mut world = world_with(2, "", &format!(r#"{{ strategy = "BLUE_GREEN", bakeTimeInMinutes = 60, {alarms} }}"#));
    let old: Vec<String> = world.region(ACCOUNT, REGION).unwrap().clusters["main"].services["api"]
        .tasks
        .iter()
        .map(|task| task.arn.clone())
        .collect();
    start(&mut world, "app-good");
    pass(&mut world, 300);
    world.region_mut(ACCOUNT, REGION).alarms.insert("5xx".to_owned(), AlarmState::Alarm);
    pass(&mut world, 120);
    assert_eq!(shown(&mut world)["status"], "ROLLBACK_SUCCESSFUL");
    // The very tasks that ran before: nothing had to be started again.
    let service = &world.region(ACCOUNT, REGION).unwrap().clusters["main"].services["api"];
    let live: Vec<String> = service.tasks.iter().filter(|task| task.is_live()).map(|task| task.arn.clone()).collect();
    assert_eq!(live, old);
}

#[test]
fn other_controllers_have_task_sets() {
    for (controller, has_definition) in [("CODE_DEPLOY", true), ("EXTERNAL", false)] {
        let mut world = world(2);
        let services = &mut world.region_mut(ACCOUNT, REGION).clusters.get_mut("main").unwrap().services;
        services.get_mut("api").unwrap().controller = controller.to_owned();
        let params = json!({ "cluster": "main", "services": ["api"] });
        let read = call(&mut world, Service::Ecs, "DescribeServices", params).unwrap();
        let service = &read["services"][0];
        assert_eq!(service["deployments"], json!([]), "{controller}");
        assert_eq!(service["taskSets"][0]["status"], "PRIMARY", "{controller}");
        assert_eq!(service.get("taskDefinition").is_some(), has_definition, "{controller}");
    }
}

#[test]
fn an_index_needs_the_tasks_architecture() {
    for (architectures, status) in
        [(json!(["arm64"]), "ROLLBACK_SUCCESSFUL"), (json!(["amd64", "arm64"]), "SUCCESSFUL")]
    {
        let mut world = world(1);
        let file = serde_json::from_value(json!({ "tags": ["good"], "architectures": architectures })).unwrap();
        world.add_container_image(ACCOUNT, REGION, "app", file, 0);
        start(&mut world, "app-good");
        pass(&mut world, 600);
        assert_eq!(shown(&mut world)["status"], status, "{architectures}");
        let params = json!({ "repositoryName": "app", "imageIds": [{ "imageTag": "good" }] });
        let read = call(&mut world, Service::Ecr, "BatchGetImage", params).unwrap();
        let image = &read["images"][0];
        assert_eq!(image["imageManifestMediaType"], "application/vnd.oci.image.index.v1+json");
        let manifest: Value = serde_json::from_str(image["imageManifest"].as_str().unwrap()).unwrap();
        assert_eq!(manifest["manifests"].as_array().unwrap().len(), architectures.as_array().unwrap().len());
    }
}

/// A blue/green service with a PAUSE hook.
fn paused(timeout: &str) -> World {
    let hook = format!(r#"{{ targetType = "PAUSE", lifecycleStages = ["POST_SCALE_UP"]{timeout} }}"#);
    let mut world = world_with(2, "", &format!(r#"{{ strategy = "BLUE_GREEN", lifecycleHooks = [{hook}] }}"#));
    start(&mut world, "app-good");
    pass(&mut world, 600);
    world
}

#[test]
fn a_pause_hook_waits_for_an_answer() {
    for (action, end, runs) in [
        (None, "SUCCESSFUL", "app-good:1"),
        (Some("CONTINUE"), "SUCCESSFUL", "app-good:1"),
        (Some("ROLLBACK"), "ROLLBACK_SUCCESSFUL", "app-old:1"),
    ] {
        let mut world = paused("");
        pass(&mut world, 3600);
        let record = shown(&mut world);
        let hook = &record["lifecycleHookDetails"][0];
        assert_eq!(
            (record["status"].as_str(), record["lifecycleStage"].as_str(), hook["status"].as_str()),
            (Some("IN_PROGRESS"), Some("POST_SCALE_UP"), Some("AWAITING_ACTION"))
        );
        assert_eq!((hook["targetType"].as_str(), hook["timeoutAction"].as_str()), (Some("PAUSE"), Some("ROLLBACK")));
        let mut params = json!({ "serviceDeploymentArn": record["serviceDeploymentArn"], "hookId": "none" });
        let refused = call(&mut world, Service::Ecs, "ContinueServiceDeployment", params.clone()).unwrap_err();
        assert_eq!(refused.code, "InvalidParameterException");
        params["hookId"] = hook["hookId"].clone();
        if let Some(action) = action {
            params["action"] = action.into();
        }
        call(&mut world, Service::Ecs, "ContinueServiceDeployment", params.clone()).unwrap();
        pass(&mut world, 900);
        assert_eq!(shown(&mut world)["status"], end, "{action:?}");
        assert_eq!(live(&world), [runs, runs], "{action:?}");
        assert!(call(&mut world, Service::Ecs, "ContinueServiceDeployment", params).is_err(), "it is answered");
    }
}

#[test]
fn a_pause_hook_that_nobody_answers_times_out() {
    for (timeout, end) in [
        (", timeoutConfiguration = { timeoutInMinutes = 30 }", "ROLLBACK_SUCCESSFUL"),
        (r#", timeoutConfiguration = { timeoutInMinutes = 30, action = "CONTINUE" }"#, "SUCCESSFUL"),
    ] {
        let mut world = paused(timeout);
        assert_eq!(shown(&mut world)["status"], "IN_PROGRESS");
        pass(&mut world, 3600);
        let record = shown(&mut world);
        assert_eq!(
            (record["status"].as_str(), record["lifecycleHookDetails"][0]["status"].as_str()),
            (Some(end), Some("TIMED_OUT"))
        );
    }
    let mut world = world_with(2, "", r#"{ strategy = "BLUE_GREEN" }"#);
    for stage in ["TEST_TRAFFIC_SHIFT", "PRODUCTION_TRAFFIC_SHIFT"] {
        let hook = json!({ "targetType": "PAUSE", "lifecycleStages": [stage] });
        let params =
            json!({ "cluster": "main", "service": "api", "deploymentConfiguration": { "lifecycleHooks": [hook] } });
        assert!(call(&mut world, Service::Ecs, "UpdateService", params).is_err(), "{stage}");
    }
}
