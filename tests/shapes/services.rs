//! ECS services.

use serde_json::{Value, json};

use super::table::blocked;
use crate::support::stage::Stage;

const DEV: &str = "222222222222";
const ROLE: &str = "arn:aws:iam::222222222222:role/pinion";
const REGISTRY: &str = "222222222222.dkr.ecr.us-west-1.amazonaws.com";
const HOOK: &str = "arn:aws:lambda:us-west-1:222222222222:function:smoke";

fn image(tag: &str) -> String {
    format!("{REGISTRY}/backend:{tag}")
}

/// A task definition with these containers besides `app`, and these other members.
fn definition(family: &str, containers: &str, members: &str) -> String {
    let image = image("1.0");
    format!(
        r#"
[[account.task_definition]]
tags = {{ team = "payments" }}
[account.task_definition.definition]
family = "{family}"
networkMode = "awsvpc"
requiresCompatibilities = ["FARGATE"]
cpu = "256"
memory = "512"
containerDefinitions = [{containers} {{ name = "app", image = "{image}", essential = true, environment = [{{ name = "EMPTY", value = "" }}] }}]
{members}
"#
    )
}

/// An account with these services in cluster `app`, each a line of its world file but for its task definition.
fn world(definitions: &[String], services: &[(&str, &str)]) -> String {
    let services: Vec<String> = services
        .iter()
        .map(|(name, members)| format!("    {{ name = \"{name}\", task_definition = \"{name}\", {members} }},\n"))
        .collect();
    format!(
        r#"
controller = "111111111111"
region = "us-west-1"

[timing]
provision = 2
pull = 2
settle = 3
drain = 3

[[account]]
id = "{DEV}"
name = "dev"
role = [{{ name = "pinion" }}]
repository = [{{ name = "backend", image = [
    {{ tags = ["1.0"] }},
    {{ tags = ["1.1"] }},
    {{ tags = ["1.2"], behaviour = "exits" }},
    {{ tags = ["1.3"], architectures = ["amd64"] }},
    {{ tags = ["1.4"], architectures = ["amd64", "arm64"] }},
] }}]
{}
[[account.cluster]]
name = "app"
service = [
{}]
"#,
        definitions.concat(),
        services.concat()
    )
}

fn stage(world: &str, targets: &[&str], version: &str, speed: f64) -> Stage {
    let mut environment = format!("[account]\nid = \"{DEV}\"\nregion = \"us-west-1\"\nrole = \"{ROLE}\"\n");
    for name in targets {
        environment += &format!(
            "[fargate.{name}]\ncluster = \"app\"\ncomponent = \"backend\"\nimage = \"{REGISTRY}/backend:{{version}}\"\n"
        );
        if *name == "chosen" {
            environment += "container = \"app\"\n";
        }
    }
    Stage::of(world)
        .environments([
            ("environments/dev/environment.toml", environment.as_str()),
            ("environments/dev/pins.toml", format!("backend = \"{version}\"\n").as_str()),
        ])
        .speed(speed)
        .start()
}

fn references(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("dev/fargate/{name}")).collect()
}

fn in_sync(stage: &Stage, names: &[&str]) {
    let all = references(names);
    stage.wait_for_sync(&all.iter().map(String::as_str).collect::<Vec<_>>());
}

/// The statuses of a service's deployments, oldest first.
fn deployments(stage: &Stage, service: &str) -> Vec<String> {
    let fleet = stage.fleet();
    let all = fleet.service(DEV, &format!("app/{service}"))["service_deployments"].as_array().unwrap().clone();
    all.iter().map(|one| one["status"].as_str().unwrap().to_owned()).collect()
}

fn stage_of(stage: &Stage, service: &str) -> String {
    let fleet = stage.fleet();
    let all = fleet.service(DEV, &format!("app/{service}"))["service_deployments"].as_array().unwrap().clone();
    all.last().and_then(|one| one["stage"].as_str()).unwrap_or_default().to_owned()
}

/// Waits until every task of a service runs an image in the container `app`.
fn runs(stage: &Stage, service: &str, tag: &str) {
    let image = image(tag);
    stage.wait_until(&format!("{service} runs {tag}"), |stage| {
        let held = stage.held(DEV);
        let held = &held["clusters"]["app"]["services"][service];
        let tasks: Vec<&Value> =
            held["tasks"].as_array().unwrap().iter().filter(|task| task["phase"] != "Stopped").collect();
        tasks.len() as u64 == held["desired"].as_u64().unwrap()
            && tasks.iter().all(|task| {
                let containers = task["containers"].as_array().unwrap();
                task["phase"] == "Running" && containers.iter().any(|it| it["name"] == "app" && it["image"] == image)
            })
    });
}

#[test]
fn strategies_that_shift_traffic_are_served() {
    let hooked = format!(
        r#"desired = 2, load_balancer = true, configuration = {{ strategy = "BLUE_GREEN", bakeTimeInMinutes = 2, lifecycleHooks = [{{ hookTargetArn = "{HOOK}", roleArn = "arn:aws:iam::222222222222:role/hooks", lifecycleStages = ["POST_TEST_TRAFFIC_SHIFT"] }}] }}"#
    );
    let services = [
        ("green", r#"desired = 2, configuration = { strategy = "BLUE_GREEN", bakeTimeInMinutes = 1 }"#),
        (
            "linear",
            r#"desired = 2, configuration = { strategy = "LINEAR", linearConfiguration = { stepPercent = 25.0, stepBakeTimeInMinutes = 1 } }"#,
        ),
        (
            "canary",
            r#"desired = 2, configuration = { strategy = "CANARY", bakeTimeInMinutes = 1, canaryConfiguration = { canaryPercent = 10.0, canaryBakeTimeInMinutes = 2 } }"#,
        ),
        ("hooked", hooked.as_str()),
    ];
    let names = ["green", "linear", "canary", "hooked"];
    let definitions: Vec<String> = names.iter().map(|name| definition(name, "", "")).collect();
    let stage = stage(&world(&definitions, &services), &names, "1.0", 60.0);
    in_sync(&stage, &names);
    let before = stage.last();
    // The hook takes its time: the deployment is where it is until the answer comes.
    let hook = |status: &str| stage.meddle("/_sim/hooks", &json!({ "account": DEV, "target": HOOK, "status": status }));
    hook("IN_PROGRESS");
    stage.pin("dev", "backend", "1.1");
    stage.wait_until("it waits for the hook", |stage| stage_of(stage, "hooked") == "POST_TEST_TRAFFIC_SHIFT");
    stage.wait_until("and says so", |stage| stage.reason("dev/fargate/hooked").contains("POST_TEST_TRAFFIC_SHIFT"));
    assert_eq!(stage.state("dev/fargate/hooked"), "rolling-out");
    // Both revisions run, and it isn't over though all new tasks run.
    assert_eq!(stage.fleet().tasks(DEV, "app/hooked").len(), 4);
    hook("SUCCEEDED");
    for name in names {
        runs(&stage, name, "1.1");
        assert_eq!(deployments(&stage, name), ["SUCCESSFUL"], "{name}");
    }
    in_sync(&stage, &names);
    stage.settles();
    let mut written = stage.written(before);
    written.sort();
    assert_eq!(written, [["RegisterTaskDefinition"; 4], ["UpdateService"; 4]].concat());
}

#[test]
fn a_deployment_that_shifts_traffic_is_taken_back_and_quarantined() {
    let hooked = format!(
        r#"desired = 1, configuration = {{ strategy = "CANARY", lifecycleHooks = [{{ hookTargetArn = "{HOOK}", roleArn = "arn:aws:iam::222222222222:role/hooks", lifecycleStages = ["POST_SCALE_UP"] }}] }}"#
    );
    let services = [
        (
            "broken",
            r#"desired = 1, configuration = { strategy = "BLUE_GREEN", deploymentCircuitBreaker = { enable = true, rollback = true } }"#,
        ),
        (
            "watched",
            r#"desired = 1, configuration = { strategy = "BLUE_GREEN", bakeTimeInMinutes = 600, alarms = { enable = true, rollback = true, alarmNames = ["5xx"] } }"#,
        ),
        ("hooked", hooked.as_str()),
    ];
    let names = ["broken", "watched", "hooked"];
    let definitions: Vec<String> = names.iter().map(|name| definition(name, "", "")).collect();
    let stage = stage(&world(&definitions, &services), &names, "1.0", 60.0);
    in_sync(&stage, &names);
    stage.meddle("/_sim/hooks", &json!({ "account": DEV, "target": HOOK, "status": "FAILED" }));
    stage.pin("dev", "backend", "1.1");
    stage.wait_for("dev/fargate/hooked", "quarantined");
    let reason = stage.reason("dev/fargate/hooked");
    assert!(reason.contains("ROLLBACK_SUCCESSFUL") && reason.contains(HOOK), "{reason}");
    runs(&stage, "hooked", "1.0");

    // All runs the new image, and the alarm comes while it bakes.
    stage.wait_until("it bakes", |stage| stage_of(stage, "watched") == "BAKE_TIME");
    stage.wait_until("and says so", |stage| stage.reason("dev/fargate/watched").contains("BAKE_TIME"));
    stage.meddle("/_sim/alarms", &json!({ "account": DEV, "name": "5xx", "raised": true }));
    stage.wait_for("dev/fargate/watched", "quarantined");
    let reason = stage.reason("dev/fargate/watched");
    assert!(reason.contains("alarm 5xx"), "{reason}");
    runs(&stage, "watched", "1.0");
    stage.meddle("/_sim/alarms", &json!({ "account": DEV, "name": "5xx", "raised": false }));

    in_sync(&stage, &["broken"]);
    stage.pin("dev", "backend", "1.2");
    stage.wait_for("dev/fargate/broken", "quarantined");
    assert_eq!(deployments(&stage, "broken"), ["SUCCESSFUL", "ROLLBACK_SUCCESSFUL"]);
    runs(&stage, "broken", "1.1");
    stage.wait_until("the others are on their way", |stage| {
        ["watched", "hooked"].iter().all(|name| deployments(stage, name).len() == 2)
    });
    stage.settles();
}

#[test]
fn what_other_controllers_deploy_is_theirs() {
    let services = [
        ("bluegreen", r#"desired = 1, controller = "CODE_DEPLOY""#),
        ("external", r#"desired = 1, controller = "EXTERNAL""#),
        ("double", "desired = 1"),
        ("none", "desired = 1"),
        ("chosen", "desired = 1"),
    ];
    let proxy = |essential: bool| {
        format!("{{ name = \"proxy\", image = \"public.ecr.aws/envoy:1\", essential = {essential} }},")
    };
    let definitions = [
        definition("bluegreen", "", ""),
        definition("external", "", ""),
        definition("double", &proxy(true), ""),
        definition("none", &proxy(false), "").replace(r#"essential = true, env"#, r#"essential = false, env"#),
        definition("chosen", &proxy(true), "").replace(r#"name = "app""#, r#"name = "application""#),
    ];
    let names = ["bluegreen", "external", "double", "none", "chosen"];
    let stage = stage(&world(&definitions, &services), &names, "1.1", 60.0);
    blocked(&stage, "dev/fargate/bluegreen", "deployment controller CODE_DEPLOY");
    blocked(&stage, "dev/fargate/external", "deployment controller EXTERNAL");
    blocked(&stage, "dev/fargate/double", "several essential containers, none named");
    blocked(&stage, "dev/fargate/none", "no essential container, none named");
    blocked(&stage, "dev/fargate/chosen", "named container that isn't there");
    stage.settles();
    assert_eq!(stage.written(0), Vec::<String>::new());
}

#[test]
fn only_the_image_changes() {
    let services = [
        (
            "spot",
            r#"desired = 2, members = { capacityProviderStrategy = [{ capacityProvider = "FARGATE_SPOT", weight = 3, base = 0 }, { capacityProvider = "FARGATE", weight = 1, base = 1 }] }"#,
        ),
        ("zero", "desired = 0"),
        ("sidecar", "desired = 1"),
        ("chosen", "desired = 1"),
        ("future", "desired = 1"),
        ("scaled", "desired = 2"),
    ];
    let proxy = |essential: bool| {
        format!("{{ name = \"proxy\", image = \"public.ecr.aws/envoy:1\", essential = {essential}, dependsOn = [] }},")
    };
    let future = r#"pidMode = "task"
ipcMode = "none"
fieldFromTheFuture = { nested = [1, 2.5, ""], empty = {} }
volumes = [{ name = "cache", efsVolumeConfiguration = { fileSystemId = "fs-1", rootDirectory = "" } }]
runtimePlatform = { cpuArchitecture = "X86_64", operatingSystemFamily = "LINUX" }
ephemeralStorage = { sizeInGiB = 40 }"#;
    let definitions = [
        definition("spot", "", ""),
        definition("zero", "", ""),
        definition("sidecar", &proxy(false), ""),
        definition("chosen", &proxy(true), ""),
        definition("future", "", future),
        definition("scaled", "", ""),
    ];
    let names = ["spot", "zero", "sidecar", "chosen", "future", "scaled"];
    let stage = stage(&world(&definitions, &services), &names, "1.0", 20.0);
    in_sync(&stage, &names);
    let (from, before) = (stage.last(), stage.held(DEV));
    stage.pin("dev", "backend", "1.1");
    // The autoscaler is at work meanwhile.
    stage.wait_until("scaled is on its way", |stage| deployments(stage, "scaled") == ["IN_PROGRESS"]);
    stage.by_hand(ROLE, "UpdateService", &json!({ "cluster": "app", "service": "scaled", "desiredCount": 4 }));
    for name in names {
        runs(&stage, name, "1.1");
    }
    in_sync(&stage, &names);
    stage.settles();
    assert_eq!(stage.fleet().service(DEV, "app/scaled")["desired"], 4);
    assert_eq!(deployments(&stage, "scaled"), ["SUCCESSFUL"]);

    let held = stage.held(DEV);
    for name in names {
        let service = |held: &Value| held["clusters"]["app"]["services"][name].clone();
        let (was, is) = (service(&before), service(&held));
        for member in ["shown", "configuration", "controller", "tags"] {
            assert_eq!(was[member], is[member], "{name}: {member}");
        }
        let revisions = held["task_definitions"][name].as_array().unwrap();
        assert_eq!(revisions.len(), 2, "{name}");
        // Byte for byte but for the image of one container, and the defaults that AWS itself writes into what it shows.
        let mut expected = revisions[0]["registered"].clone();
        let mut made = revisions[1]["registered"].clone();
        for container in expected["containerDefinitions"].as_array_mut().unwrap() {
            if container["name"] == "app" {
                container["image"] = json!(image("1.1"));
            }
        }
        strip_defaults(&mut made, &expected);
        assert_eq!(made.to_string(), expected.to_string(), "{name}");
        assert!(revisions[1]["tags"].as_array().unwrap().contains(&json!({ "key": "team", "value": "payments" })));
    }
    for call in stage.writes(from).iter().filter(|call| call.operation == "UpdateService") {
        let Some(given) = call.params.as_object().filter(|given| !given.contains_key("desiredCount")) else { continue };
        let given: Vec<&str> = given.keys().map(String::as_str).collect();
        assert_eq!(given, ["cluster", "service", "taskDefinition"]);
    }
}

/// Takes away what ECS fills in where a task definition says nothing.
fn strip_defaults(made: &mut Value, expected: &Value) {
    let strip = |made: &mut Value, expected: &Value| {
        let given = expected.as_object().unwrap();
        made.as_object_mut().unwrap().retain(|key, _| given.contains_key(key));
    };
    assert_eq!(made["placementConstraints"], json!([]));
    strip(made, expected);
    for (made, expected) in made["containerDefinitions"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .zip(expected["containerDefinitions"].as_array().unwrap())
    {
        assert_eq!(made["mountPoints"], json!([]));
        strip(made, expected);
    }
}

#[test]
fn an_index_has_to_have_the_tasks_architecture() {
    let arm = r#"runtimePlatform = { cpuArchitecture = "ARM64", operatingSystemFamily = "LINUX" }"#;
    let definitions = [definition("intel", "", ""), definition("graviton", "", arm)];
    let names = ["intel", "graviton"];
    let services = [("intel", "desired = 1"), ("graviton", "desired = 1")];
    let stage = stage(&world(&definitions, &services), &names, "1.0", 60.0);
    in_sync(&stage, &names);
    stage.pin("dev", "backend", "1.3");
    blocked(&stage, "dev/fargate/graviton", "image index without the task's architecture");
    runs(&stage, "intel", "1.3");
    in_sync(&stage, &["intel"]);

    // An index with both is for both.
    stage.pin("dev", "backend", "1.4");
    for name in names {
        runs(&stage, name, "1.4");
    }
    in_sync(&stage, &names);
}
