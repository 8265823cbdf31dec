//! ECS deployments.

use serde_json::{Value, json};

use super::super::super::wire::Service;
use super::super::super::world::{self, World};
use super::{ACCOUNT, REGION, call, pass, world, world_with};

fn service(world: &World) -> &world::Service {
    &world.region(ACCOUNT, REGION).unwrap().clusters["main"].services["api"]
}

fn update(world: &mut World, mut params: Value) -> String {
    params["cluster"] = "main".into();
    params["service"] = "api".into();
    let updated = call(world, Service::Ecs, "UpdateService", params).unwrap();
    updated["service"]["deployments"][0]["id"].as_str().unwrap().to_owned()
}

/// The service deployment's statuses in their order.
fn course(world: &mut World, seconds: u64) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    for _ in 0..seconds {
        let status = service(world).service_deployments.last().unwrap().status.clone();
        if seen.last() != Some(&status) {
            seen.push(status);
        }
        pass(world, 1);
    }
    seen
}

fn running(world: &World) -> usize {
    service(world).tasks.iter().filter(|task| task.phase == world::Phase::Running).count()
}

#[test]
fn statuses_take_their_course() {
    let back = vec!["IN_PROGRESS", "ROLLBACK_IN_PROGRESS", "ROLLBACK_SUCCESSFUL"];
    let breaker = "{ deploymentCircuitBreaker = { enable = true, rollback = true } }";
    let halting = "{ deploymentCircuitBreaker = { enable = true, rollback = false } }";
    for (image, configuration, expected, runs) in [
        ("good", breaker, vec!["IN_PROGRESS", "SUCCESSFUL"], "good"),
        ("exits", breaker, back.clone(), "old"),
        ("unhealthy", breaker, back.clone(), "old"),
        ("never-starts", breaker, back.clone(), "old"),
        ("missing", breaker, back, "old"),
        ("exits", halting, vec!["IN_PROGRESS", "STOPPED"], "exits"),
        ("exits", "{}", vec!["IN_PROGRESS"], "exits"),
    ] {
        let mut world = world_with(3, "", configuration);
        let old = service(&world).deployments[0].id.clone();
        let new = update(&mut world, json!({ "taskDefinition": format!("app-{image}") }));
        assert_eq!(course(&mut world, 2000), expected, "{image} {configuration}");
        let service = service(&world);
        assert!(service.task_definition.ends_with(&format!("app-{runs}:1")), "{image} {configuration}");
        assert!(running(&world) >= 3, "{image} {configuration}");
        if runs == "old" {
            let last = &service.deployments[0].id;
            assert!(*last != old && *last != new && service.deployments.len() == 1, "{image}: a third deployment");
        }
    }
}

#[test]
fn bounds_hold_all_the_way() {
    // desired, minimum %, maximum %, least running, most alive
    for (desired, least, most, floor, ceiling) in
        [(4, 100, 200, 4, 8), (4, 50, 100, 2, 4), (3, 50, 150, 2, 4), (1, 100, 200, 1, 2), (1, 0, 100, 0, 1)]
    {
        let configuration = format!("{{ minimumHealthyPercent = {least}, maximumPercent = {most} }}");
        let mut world = world_with(desired, "", &configuration);
        update(&mut world, json!({ "taskDefinition": "app-good" }));
        let (mut fewest, mut greatest) = (usize::MAX, 0);
        for _ in 0..300 {
            pass(&mut world, 1);
            fewest = fewest.min(running(&world));
            greatest = greatest.max(service(&world).tasks.iter().filter(|task| task.is_live()).count());
        }
        let case = format!("{desired} at {least}-{most} %");
        assert_eq!(service(&world).deployments[0].rollout, world::Rollout::Completed, "{case}");
        assert_eq!((fewest, greatest), (floor, ceiling), "{case}");
    }
}

#[test]
fn thresholds_are_clamped() {
    for (desired, expected) in [(0, 3), (1, 3), (6, 3), (7, 4), (25, 13), (1000, 200)] {
        let mut service = service(&world(1)).clone();
        service.desired = desired;
        assert_eq!(service.threshold(), expected, "{desired}");
    }
    for (kind, value, expected) in [("COUNT", 7, 7), ("BOUNDED_PERCENT", 10, 3), ("UNBOUNDED_PERCENT", 10, 1)] {
        let breaker = json!({ "enable": true, "thresholdConfiguration": { "type": kind, "value": value } });
        let mut service = service(&world(10)).clone();
        service.configuration.insert("deploymentCircuitBreaker".to_owned(), breaker);
        assert_eq!(service.threshold(), expected, "{kind}");
    }
}

#[test]
fn nothing_desired_completes_at_once() {
    let mut world = world(0);
    update(&mut world, json!({ "taskDefinition": "app-exits" }));
    assert_eq!(course(&mut world, 30), ["IN_PROGRESS", "SUCCESSFUL"]);
}

#[test]
fn a_newer_change_takes_over() {
    let mut world = world(3);
    update(&mut world, json!({ "taskDefinition": "app-exits" }));
    pass(&mut world, 12);
    let newest = update(&mut world, json!({ "taskDefinition": "app-good" }));
    assert_eq!(service(&world).service_deployments[0].status, "STOPPED");
    pass(&mut world, 200);
    let service = service(&world);
    assert_eq!(service.deployments.len(), 1);
    assert_eq!((&service.deployments[0].id, service.deployments[0].rollout), (&newest, world::Rollout::Completed));
}

#[test]
fn counts_and_configuration_make_no_deployment() {
    let mut world = world(2);
    let before = service(&world).deployments[0].id.clone();
    for params in [
        json!({ "desiredCount": 5 }),
        json!({ "deploymentConfiguration": { "maximumPercent": 150 } }),
        json!({ "taskDefinition": "app-old" }),
    ] {
        assert_eq!(update(&mut world, params.clone()), before, "{params}");
    }
    pass(&mut world, 60);
    assert_eq!(running(&world), 5);
    assert_ne!(update(&mut world, json!({ "forceNewDeployment": true })), before);
}

#[test]
fn a_moved_tag_is_seen_only_by_the_next_deployment() {
    let mut world = world(2);
    let digests = |world: &World| {
        let live = service(world).tasks.iter().filter(|task| task.is_live());
        live.map(|task| task.containers[0].digest.clone().unwrap_or_default()).collect::<Vec<_>>()
    };
    let old = digests(&world)[0].clone();
    let file = serde_json::from_value(json!({ "tags": ["old"], "digest": "sha256:moved" })).unwrap();
    world.add_container_image(ACCOUNT, REGION, "app", file, 0);
    // A replaced task still runs what the deployment resolved.
    let arn = service(&world).tasks[0].arn.clone();
    call(&mut world, Service::Ecs, "StopTask", json!({ "cluster": "main", "task": arn })).unwrap();
    pass(&mut world, 60);
    assert_eq!(digests(&world), [old.clone(), old]);
    update(&mut world, json!({ "forceNewDeployment": true }));
    pass(&mut world, 120);
    assert_eq!(digests(&world), ["sha256:moved", "sha256:moved"]);
}

#[test]
fn unknown_members_of_a_task_definition_survive() {
    let mut world = world(1);
    let container = json!({ "name": "app", "image": "x", "fromTheFuture": { "a": [1, ""] } });
    let params = json!({ "family": "app", "novelty": "kept", "containerDefinitions": [container] });
    call(&mut world, Service::Ecs, "RegisterTaskDefinition", params).unwrap();
    let read = call(&mut world, Service::Ecs, "DescribeTaskDefinition", json!({ "taskDefinition": "app" })).unwrap();
    let definition = &read["taskDefinition"];
    assert_eq!(definition["novelty"], "kept");
    assert_eq!(definition["containerDefinitions"][0]["fromTheFuture"], json!({ "a": [1, ""] }));
    assert_eq!(definition["revision"], 1);
}

#[test]
fn a_deployment_wants_no_task_until_the_scheduler_has_seen_it() {
    let mut world = world(3);
    let params = json!({ "cluster": "main", "service": "api", "taskDefinition": "app-good" });
    let counts = |service: &Value| service["deployments"][0]["desiredCount"].as_i64();
    let answer = call(&mut world, Service::Ecs, "UpdateService", params).unwrap();
    assert_eq!((counts(&answer["service"]), answer["service"]["desiredCount"].as_i64()), (Some(0), Some(3)));
    let describe = json!({ "cluster": "main", "services": ["api"] });
    let read = |world: &mut World| call(world, Service::Ecs, "DescribeServices", describe.clone()).unwrap();
    assert_eq!(counts(&read(&mut world)["services"][0]), Some(0));
    pass(&mut world, 1);
    assert_eq!(counts(&read(&mut world)["services"][0]), Some(3));
}

#[test]
fn a_service_deployment_is_successful_before_its_deployment_is_completed() {
    let mut world = world(2);
    world.timing.complete = 38;
    update(&mut world, json!({ "taskDefinition": "app-good" }));
    let ended = |world: &World| service(world).service_deployments.last().unwrap().status == "SUCCESSFUL";
    while !ended(&world) {
        pass(&mut world, 1);
    }
    let completed = |world: &World| service(world).deployments[0].rollout == world::Rollout::Completed;
    pass(&mut world, 37);
    assert!(!completed(&world));
    pass(&mut world, 2);
    assert!(completed(&world));
}

#[test]
fn early_success_comes_while_old_tasks_still_run() {
    let criteria = |cleanup: &str| {
        let early = format!(r#"{{ enable = true, healthyPercent = 50, sourceServiceRevisionCleanup = "{cleanup}" }}"#);
        format!("{{ minimumHealthyPercent = 50, maximumPercent = 150, earlySuccessCriteria = {early} }}")
    };
    for (cleanup, early) in [("DEFERRED", true), ("BLOCKING", false)] {
        let mut world = world_with(4, "", &criteria(cleanup));
        update(&mut world, json!({ "taskDefinition": "app-good" }));
        while service(&world).service_deployments.last().unwrap().status == "IN_PROGRESS" {
            pass(&mut world, 1);
        }
        let of_old = |task: &&world::Task| task.task_definition.ends_with("app-old:1");
        let old = service(&world).tasks.iter().filter(of_old).any(|task| task.phase != world::Phase::Stopped);
        assert_eq!((old, service(&world).deployments.len() > 1), (early, early), "{cleanup}");
        pass(&mut world, 300);
        let end = service(&world);
        assert_eq!((end.deployments.len(), end.deployments[0].rollout), (1, world::Rollout::Completed), "{cleanup}");
    }
}

#[test]
fn deployments_need_not_say_how_far_they_are() {
    let mut world = world(2);
    world.region_mut(ACCOUNT, REGION).clusters.get_mut("main").unwrap().services.get_mut("api").unwrap().silent = true;
    let describe = json!({ "cluster": "main", "services": ["api"] });
    let read = call(&mut world, Service::Ecs, "DescribeServices", describe).unwrap();
    let deployment = &read["services"][0]["deployments"][0];
    assert!(deployment.get("rolloutState").is_none() && deployment.get("status").is_some(), "{deployment}");
}

#[test]
fn tags_have_limits() {
    let mut world = world(1);
    let tag = |key: &str, value: &str| json!({ "key": key, "value": value });
    let mut register = |tags: Vec<Value>| {
        let containers = json!([{ "name": "app", "image": "nginx" }]);
        let params = json!({ "family": "tagged", "containerDefinitions": containers, "tags": tags });
        call(&mut world, Service::Ecs, "RegisterTaskDefinition", params)
    };
    let many = |count: usize| (0..count).map(|number| tag(&format!("team-{number}"), "x")).collect::<Vec<_>>();
    assert!(register(many(50)).is_ok());
    for refused in [
        many(51),
        vec![tag("aws:team", "x")],
        vec![tag("AWS:team", "x")],
        vec![tag(&"k".repeat(129), "x")],
        vec![tag("k", &"v".repeat(257))],
    ] {
        assert_eq!(register(refused).unwrap_err().code, "InvalidParameterException");
    }
    assert!(register(vec![tag(&"k".repeat(128), &"v".repeat(256))]).is_ok());
}
