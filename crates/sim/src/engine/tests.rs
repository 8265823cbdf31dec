//! The engines without sockets: worlds from text, calls as values, time by hand.

mod lifecycle;
mod refreshes;
mod rollouts;
mod shifts;

use serde_json::{Value, json};

use super::super::service::dispatch;
use super::super::wire::{ApiError, Call, Caller, Service};
use super::super::world::{Group, World};

const ACCOUNT: &str = "222222222222";
const REGION: &str = "eu-west-1";
const GOOD: &str = "ami-00000002";
const BAD: &str = "ami-000000bd";

/// One account with a group of `desired` instances on version 1 of its template (versions 2: good, 3: bad), and a
/// service of `desired` tasks of `app:good`.
fn world(desired: i64) -> World {
    world_with(desired, "", "{ deploymentCircuitBreaker = { enable = true, rollback = true } }")
}

fn world_with(desired: i64, group: &str, configuration: &str) -> World {
    let image = |tag: &str| format!("{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/app:{tag}");
    let mut text = format!(
        r#"
        controller = "{ACCOUNT}"
        region = "{REGION}"
        [timing]
        boot = 20
        no_progress = 600
        [[account]]
        id = "{ACCOUNT}"
        name = "one"
        image = [
            {{ id = "ami-00000001", name = "old" }},
            {{ id = "{GOOD}", name = "good" }},
            {{ id = "{BAD}", name = "bad", healthy = false }},
        ]
        [[account.launch_template]]
        name = "web"
        version = [
            {{ data = {{ ImageId = "ami-00000001", InstanceType = "t3.small" }} }},
            {{ data = {{ ImageId = "{GOOD}", InstanceType = "t3.small" }} }},
            {{ data = {{ ImageId = "{BAD}", InstanceType = "t3.small" }} }},
            {{ data = {{ ImageId = "ami-0000dead", InstanceType = "t3.small" }} }},
        ]
        [[account.group]]
        name = "web"
        launch_template = "web"
        desired = {desired}
        warmup = 30
        {group}
        [[account.repository]]
        name = "app"
        image = [
            {{ tags = ["old"] }}, {{ tags = ["good"] }}, {{ tags = ["exits"], behaviour = "exits" }},
            {{ tags = ["unhealthy"], behaviour = "unhealthy" }},
            {{ tags = ["never-starts"], behaviour = "never-starts" }},
        ]
        "#
    );
    for tag in ["old", "good", "exits", "unhealthy", "never-starts", "missing"] {
        text.push_str(&format!(
            r#"
            [[account.task_definition]]
            [account.task_definition.definition]
            family = "app-{tag}"
            containerDefinitions = [{{ name = "app", image = "{}", healthCheck = {{ command = ["true"] }} }}]
            "#,
            image(tag)
        ));
    }
    text.push_str(&format!(
        r#"
        [[account.cluster]]
        name = "main"
        service = [{{ name = "api", task_definition = "app-old", desired = {desired}, configuration = {configuration} }}]
        "#
    ));
    World::parse(&text).unwrap()
}

fn call(world: &mut World, service: Service, operation: &str, params: Value) -> Result<Value, ApiError> {
    let caller = Caller {
        account: ACCOUNT.to_owned(),
        arn: format!("arn:aws:iam::{ACCOUNT}:user/test"),
        user_id: "AIDATEST".to_owned(),
        ..Caller::default()
    };
    let call = Call { service, region: REGION.to_owned(), operation: operation.to_owned(), params, caller };
    dispatch(world, &call)
}

fn pass(world: &mut World, seconds: u64) {
    let to = world.now + seconds * 1000;
    world.advance(to);
}

fn group(world: &World) -> &Group {
    &world.region(ACCOUNT, REGION).unwrap().groups["web"]
}

/// Starts a refresh to a template version.
fn refresh(world: &mut World, version: &str, preferences: Value) -> Result<String, ApiError> {
    let params = json!({
        "AutoScalingGroupName": "web",
        "DesiredConfiguration": { "LaunchTemplate": { "LaunchTemplateName": "web", "Version": version } },
        "Preferences": preferences,
    });
    let started = call(world, Service::AutoScaling, "StartInstanceRefresh", params)?;
    Ok(started["InstanceRefreshId"].as_str().unwrap().to_owned())
}

/// The newest refresh as the API shows it.
fn shown(world: &mut World) -> Value {
    let params = json!({ "AutoScalingGroupName": "web" });
    let read = call(world, Service::AutoScaling, "DescribeInstanceRefreshes", params).unwrap();
    read["InstanceRefreshes"][0].clone()
}

/// Statuses in their order until nothing changes for an hour, looking every second.
fn course(world: &mut World, seconds: u64) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    for _ in 0..seconds {
        let status = shown(world)["Status"].as_str().unwrap().to_owned();
        if seen.last() != Some(&status) {
            seen.push(status);
        }
        pass(world, 1);
    }
    seen
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let story = |seed: u64| {
        let mut world = world(4);
        world.reseed(seed);
        refresh(&mut world, "3", json!({ "AutoRollback": "true" })).unwrap();
        let params = json!({ "cluster": "main", "service": "api", "taskDefinition": "app-exits" });
        call(&mut world, Service::Ecs, "UpdateService", params).unwrap();
        pass(&mut world, 3000);
        world.log
    };
    assert!(story(7).len() > 50);
    assert_eq!(story(7), story(7));
    assert_ne!(story(7), story(8));
}

#[test]
fn how_time_is_cut_changes_nothing() {
    let story = |cut: u64| {
        let mut world = world(3);
        refresh(&mut world, "2", json!({})).unwrap();
        let end = world.now + 600_000;
        while world.now < end {
            let to = (world.now + cut).min(end);
            world.advance(to);
        }
        world.log
    };
    assert_eq!(story(1000), story(37_000));
    assert_eq!(story(1000), story(600_000));
}

#[test]
fn worlds_are_kept_whole() {
    let mut world = world(3);
    refresh(&mut world, "2", json!({})).unwrap();
    pass(&mut world, 40);
    let text = serde_json::to_string(&world).unwrap();
    let mut again: World = serde_json::from_str(&text).unwrap();
    pass(&mut world, 900);
    pass(&mut again, 900);
    assert_eq!(world.log, again.log);
    assert_eq!(group(&again).source.template().unwrap().version, "2");
}

#[test]
fn a_quiet_world_costs_nothing() {
    let mut world = World::fleet(10, 25, 25).unwrap();
    let to = world.now + 10 * 365 * 86_400_000;
    assert!(!world.advance(to));
    assert_eq!(world.now, to);
}

#[test]
fn shipped_worlds_are_valid() {
    World::demo().unwrap();
    let error = World::parse("controller = \"1\"\nregion = \"r\"\ncolour = 1").unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("colour"));
}
