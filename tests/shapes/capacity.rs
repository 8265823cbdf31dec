//! What ECS services run on: instances of the account's own, those that ECS manages, and Express Mode.

use serde_json::{Value, json};

use crate::support::stage::Stage;

const DEV: &str = "222222222222";
const ROLE: &str = "arn:aws:iam::222222222222:role/pinion";
const REGISTRY: &str = "222222222222.dkr.ecr.us-west-1.amazonaws.com";

/// A service: its name, the members of its task definition, those of its container, and those of its own.
type Line = (&'static str, &'static str, &'static str, &'static str);

const ON_INSTANCES: [Line; 7] = [
    (
        "bridge",
        r#"networkMode = "bridge"
requiresCompatibilities = ["EC2"]
placementConstraints = [{ type = "memberOf", expression = "attribute:ecs.instance-type =~ m7i.*" }]
volumes = [{ name = "docker", host = { sourcePath = "/var/run/docker.sock" } }]"#,
        r#"memoryReservation = 256, privileged = true, links = [], portMappings = [{ containerPort = 8080, hostPort = 0, protocol = "tcp" }], ulimits = [{ name = "nofile", softLimit = 65536, hardLimit = 65536 }]"#,
        r#"desired = 2, members = { launchType = "EC2", placementStrategy = [{ type = "spread", field = "attribute:ecs.availability-zone" }], placementConstraints = [{ type = "distinctInstance" }] }"#,
    ),
    (
        "host",
        r#"networkMode = "host"
requiresCompatibilities = ["EC2"]
ipcMode = "host"
pidMode = "host""#,
        r#"memory = 512, resourceRequirements = [{ type = "GPU", value = "1" }]"#,
        r#"desired = 1, members = { launchType = "EC2" }, configuration = { minimumHealthyPercent = 0, maximumPercent = 100 }"#,
    ),
    (
        "vpc",
        r#"networkMode = "awsvpc"
requiresCompatibilities = ["EC2"]
proxyConfiguration = { type = "APPMESH", containerName = "app", properties = [] }"#,
        "memory = 512",
        r#"desired = 1, members = { launchType = "EC2" }"#,
    ),
    (
        "provider",
        r#"networkMode = "bridge""#,
        "memory = 512",
        r#"desired = 2, members = { capacityProviderStrategy = [{ capacityProvider = "workers", weight = 1, base = 1 }, { capacityProvider = "workers-spot", weight = 3, base = 0 }] }"#,
    ),
    (
        "daemon",
        r#"networkMode = "host"
requiresCompatibilities = ["EC2"]"#,
        "memory = 128",
        r#"desired = 3, members = { launchType = "EC2", schedulingStrategy = "DAEMON" }, configuration = { minimumHealthyPercent = 0, maximumPercent = 100 }"#,
    ),
    (
        "managed",
        r#"networkMode = "awsvpc"
requiresCompatibilities = ["MANAGED_INSTANCES"]
cpu = "1024"
memory = "2048""#,
        r#"linuxParameters = { capabilities = { add = ["BPF"], drop = [] } }"#,
        r#"desired = 2, members = { capacityProviderStrategy = [{ capacityProvider = "managed-gpu", weight = 1, base = 0 }], availabilityZoneRebalancing = "ENABLED" }"#,
    ),
    (
        "managed-type",
        r#"networkMode = "host"
requiresCompatibilities = ["EC2", "MANAGED_INSTANCES"]
cpu = "512"
memory = "1024""#,
        "",
        r#"desired = 1, members = { launchType = "MANAGED_INSTANCES" }"#,
    ),
];

/// As Express Mode makes it: a canary with an alarm, a container of its name, and tags that it knows its own by.
const EXPRESS: Line = (
    "shop",
    r#"networkMode = "awsvpc"
requiresCompatibilities = ["FARGATE"]
cpu = "1024"
memory = "2048"
executionRoleArn = "arn:aws:iam::222222222222:role/ecsTaskExecutionRole""#,
    r#"portMappings = [{ containerPort = 80, hostPort = 80, protocol = "tcp", name = "shop-80-tcp" }], logConfiguration = { logDriver = "awslogs", options = { "awslogs-group" = "/aws/ecs/default/shop", "awslogs-stream-prefix" = "ecs" } }"#,
    r#"desired = 2, load_balancer = true, tags = { AmazonECSManaged = "true" }, members = { resourceManagementType = "ECS", availabilityZoneRebalancing = "ENABLED" }, configuration = { strategy = "CANARY", bakeTimeInMinutes = 3, canaryConfiguration = { canaryPercent = 5.0, canaryBakeTimeInMinutes = 3 }, alarms = { enable = true, rollback = true, alarmNames = ["shop-rollback"] }, deploymentCircuitBreaker = { enable = true, rollback = true } }"#,
);

fn image(tag: &str) -> String {
    format!("{REGISTRY}/backend:{tag}")
}

/// Services of one cluster, whose one container has this name, all on 1.0; and Pinion to look after them.
fn stage(cluster: &str, container: &str, lines: &[Line], speed: f64) -> Stage {
    let (mut definitions, mut services, mut tables) = (String::new(), String::new(), String::new());
    for (name, definition, members, service) in lines {
        let comma = if members.is_empty() { "" } else { ", " };
        let image = image("1.0");
        definitions += &format!(
            "[[account.task_definition]]\ntags = {{ AmazonECSManaged = \"true\" }}\n[account.task_definition.definition]\n\
             family = \"{name}\"\ncontainerDefinitions = [{{ name = \"{container}\", image = \"{image}\", essential = true{comma}{members} }}]\n\
             {definition}\n"
        );
        services += &format!("    {{ name = \"{name}\", task_definition = \"{name}\", {service} }},\n");
        tables += &format!("[ecs.{name}]\n");
    }
    let world = format!(
        "controller = \"111111111111\"\nregion = \"us-west-1\"\n[timing]\nprovision = 2\npull = 2\nsettle = 3\ndrain = 3\n\
         [[account]]\nid = \"{DEV}\"\nname = \"dev\"\nrole = [{{ name = \"pinion\" }}]\n\
         repository = [{{ name = \"backend\", image = [{{ tags = [\"1.0\"] }}, {{ tags = [\"1.1\"] }}, {{ tags = [\"1.2\"], behaviour = \"exits\" }}] }}]\n\
         {definitions}[[account.cluster]]\nname = \"{cluster}\"\nservice = [\n{services}]\n"
    );
    let environment = format!(
        "[account]\nid = \"{DEV}\"\nregion = \"us-west-1\"\nrole = \"{ROLE}\"\n[defaults.ecs]\ncluster = \"{cluster}\"\n\
         component = \"backend\"\nimage = \"{REGISTRY}/{{component}}:{{version}}\"\n{tables}"
    );
    let stage = Stage::of(&world)
        .environments([
            ("environments/dev/environment.toml", environment.as_str()),
            ("environments/dev/pins.toml", "backend = \"1.0\"\n"),
        ])
        .speed(speed)
        .start();
    in_sync(&stage, lines);
    stage
}

fn in_sync(stage: &Stage, lines: &[Line]) {
    let all: Vec<String> = lines.iter().map(|(name, ..)| format!("dev/fargate/{name}")).collect();
    stage.wait_for_sync(&all.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Waits until every task of a service runs an image.
fn runs(stage: &Stage, service: &str, tag: &str) {
    let image = image(tag);
    stage.wait_until(&format!("{service} runs {tag}"), |stage| stage.fleet().service_runs(DEV, service, &image));
}

#[test]
fn services_on_any_capacity_are_served() {
    let lines = &ON_INSTANCES;
    let stage = stage("workers", "app", lines, 20.0);
    let (from, before) = (stage.last(), stage.held(DEV));
    stage.pin("dev", "backend", "1.1");
    for (name, ..) in lines {
        runs(&stage, &format!("workers/{name}"), "1.1");
    }
    in_sync(&stage, lines);
    stage.settles();
    let after = stage.held(DEV);
    for (name, ..) in lines {
        let service = |held: &Value| held["clusters"]["workers"]["services"][name].clone();
        let (was, is) = (service(&before), service(&after));
        for member in ["shown", "configuration", "controller", "tags", "desired"] {
            assert_eq!(was[member], is[member], "{name}: {member}");
        }
        let revisions = after["task_definitions"][name].as_array().unwrap();
        assert_eq!(revisions.len(), 2, "{name}");
        let (was, made) = (&revisions[0]["registered"], &revisions[1]["registered"]);
        for (member, value) in was.as_object().unwrap().iter().filter(|(member, _)| *member != "containerDefinitions") {
            assert_eq!(&made[member], value, "{name}: {member}");
        }
        for (member, value) in was["containerDefinitions"][0].as_object().unwrap() {
            let expected = if member == "image" { json!(image("1.1")) } else { value.clone() };
            assert_eq!(made["containerDefinitions"][0][member], expected, "{name}: {member}");
        }
    }
    // Nothing is said of capacity, and so nothing of it changes.
    let updates: Vec<_> = stage.writes(from).into_iter().filter(|call| call.operation == "UpdateService").collect();
    assert_eq!(updates.len(), lines.len());
    for call in updates {
        let given: Vec<&str> = call.params.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(given, ["cluster", "service", "taskDefinition"]);
    }
}

#[test]
fn a_bad_image_on_instances_is_rolled_back() {
    const BREAKER: &str = "deploymentCircuitBreaker = { enable = true, rollback = true }";
    const LINES: [Line; 2] = [
        (
            "bridge",
            r#"networkMode = "bridge""#,
            "memory = 512",
            r#"desired = 2, members = { launchType = "EC2" }, configuration = { deploymentCircuitBreaker = { enable = true, rollback = true } }"#,
        ),
        (
            "managed",
            "networkMode = \"awsvpc\"\nrequiresCompatibilities = [\"MANAGED_INSTANCES\"]\ncpu = \"512\"\nmemory = \"1024\"",
            "",
            r#"desired = 2, members = { capacityProviderStrategy = [{ capacityProvider = "managed", weight = 1, base = 0 }] }, configuration = { deploymentCircuitBreaker = { enable = true, rollback = true } }"#,
        ),
    ];
    assert!(LINES.iter().all(|(.., service)| service.contains(BREAKER)));
    let stage = stage("workers", "app", &LINES, 60.0);
    stage.pin("dev", "backend", "1.2");
    for (name, ..) in LINES {
        stage.wait_for(&format!("dev/fargate/{name}"), "quarantined");
        runs(&stage, &format!("workers/{name}"), "1.0");
    }
    stage.settles();
}

#[test]
fn express_mode_is_served() {
    let lines = [EXPRESS];
    let stage = stage("default", "Main", &lines, 60.0);
    let (from, before) = (stage.last(), stage.held(DEV));
    stage.pin("dev", "backend", "1.1");
    runs(&stage, "default/shop", "1.1");
    in_sync(&stage, &lines);
    assert_eq!(stage.written(from), ["RegisterTaskDefinition", "UpdateService"]);
    let after = stage.held(DEV);
    let service = |held: &Value| held["clusters"]["default"]["services"]["shop"].clone();
    for member in ["shown", "configuration", "tags"] {
        assert_eq!(service(&before)[member], service(&after)[member], "{member}");
    }
    let made = &after["task_definitions"]["shop"][1];
    assert!(made["tags"].as_array().unwrap().contains(&json!({ "key": "AmazonECSManaged", "value": "true" })));

    // Somebody gives it a variable and the image that they have at hand, by Express Mode: a revision and a deployment that
    // ECS makes for them. That ends first, and then the image is the pinned one again, with the variable.
    let mut theirs = made["registered"].clone();
    theirs["containerDefinitions"][0]["image"] = json!(image("1.0"));
    theirs["containerDefinitions"][0]["environment"] = json!([{ "name": "LOG_LEVEL", "value": "debug" }]);
    theirs["tags"] = json!([{ "key": "AmazonECSManaged", "value": "true" }]);
    let from = stage.last();
    stage.by_hand(ROLE, "RegisterTaskDefinition", &theirs);
    stage.by_hand(
        ROLE,
        "UpdateService",
        &json!({ "cluster": "default", "service": "shop", "taskDefinition": "shop:3" }),
    );
    stage.wait_until("it is waited for", |stage| {
        stage.reason("dev/fargate/shop").contains("shop:3") || stage.state("dev/fargate/shop") == "pending"
    });
    stage.wait_until("a revision of ours is on theirs", |stage| {
        stage.held(DEV)["task_definitions"]["shop"].as_array().unwrap().len() == 4
    });
    runs(&stage, "default/shop", "1.1");
    in_sync(&stage, &lines);
    stage.settles();
    let held = stage.held(DEV);
    let container = &held["task_definitions"]["shop"][3]["registered"]["containerDefinitions"][0];
    assert_eq!(container["image"], json!(image("1.1")));
    assert_eq!(container["environment"], json!([{ "name": "LOG_LEVEL", "value": "debug" }]));
    let writes = ["RegisterTaskDefinition", "UpdateService"];
    assert_eq!(stage.written(from), [writes, writes].concat(), "theirs, and then ours, once");
    // Theirs had ended by then.
    let deployments = held["clusters"]["default"]["services"]["shop"]["service_deployments"].clone();
    let statuses: Vec<&str> =
        deployments.as_array().unwrap().iter().map(|one| one["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["SUCCESSFUL"; 3]);
}
