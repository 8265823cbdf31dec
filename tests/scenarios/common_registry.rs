//! Scenario 2: Fargate services in private subnets behind a load balancer; images in the registry of a common account;
//! released by tags that aren't semantic versions; secrets beside the image.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::stage::{Git, Stage};

const DEV: &str = "222222222222";
const COMMON: &str = "333333333333";

/// The accounts.
pub(crate) const WORLD: &str = r#"
controller = "111111111111"
region = "us-west-1"

[[account]]
id = "333333333333"
name = "common"

[[account.repository]]
name = "verb"
allowed = ["222222222222"]
image = [
    { tags = ["backend.0.0.1_dev1"] },
    { tags = ["backend.0.0.1_dev2"] },
    { tags = ["backend.0.0.1_dev3"], behaviour = "unhealthy" },
    { tags = ["frontend.0.0.1_dev1"] },
]

[[account]]
id = "222222222222"
name = "dev"
role = [{ name = "pinion" }]

[[account.task_definition]]
tags = { team = "verb", "cost-centre" = "" }
[account.task_definition.definition]
family = "backend"
networkMode = "awsvpc"
requiresCompatibilities = ["FARGATE"]
cpu = "512"
memory = "1024"
pidMode = "task"
executionRoleArn = "arn:aws:iam::222222222222:role/backend-execution"
taskRoleArn = "arn:aws:iam::222222222222:role/backend"
ephemeralStorage = { sizeInGiB = 30 }
runtimePlatform = { cpuArchitecture = "X86_64", operatingSystemFamily = "LINUX" }
volumes = [{ name = "scratch", host = {} }]
# No SDK of today knows this one.
quantumEntanglement = { enabled = true, partners = ["backend", ""], strength = 0 }
[[account.task_definition.definition.containerDefinitions]]
name = "app"
image = "333333333333.dkr.ecr.us-west-1.amazonaws.com/verb:backend.0.0.1_dev1"
essential = true
portMappings = [{ containerPort = 8080, hostPort = 8080, protocol = "tcp", name = "http" }]
environment = [{ name = "STAGE", value = "dev" }, { name = "FEATURES", value = "" }]
secrets = [
    { name = "EMR_IMAGES", valueFrom = "arn:aws:secretsmanager:us-west-1:222222222222:secret:emrimages-a1b2c3" },
    { name = "GITHUB", valueFrom = "arn:aws:secretsmanager:us-west-1:222222222222:secret:github-d4e5f6:token::" },
]
mountPoints = [{ sourceVolume = "scratch", containerPath = "/scratch", readOnly = false }]
logConfiguration = { logDriver = "awslogs", options = { "awslogs-group" = "backend", "awslogs-datetime-format" = "" } }
healthCheck = { command = ["CMD-SHELL", "curl -fs http://localhost:8080/health"], interval = 10, retries = 3 }
futureOfContainers = ["", { depth = 0 }]
[[account.task_definition.definition.containerDefinitions]]
name = "forwarder"
image = "public.ecr.aws/aws-observability/aws-for-fluent-bit:2.32.0"
essential = false
user = "0"

[[account.task_definition]]
[account.task_definition.definition]
family = "frontend"
networkMode = "awsvpc"
requiresCompatibilities = ["FARGATE"]
cpu = "256"
memory = "512"
containerDefinitions = [
    { name = "app", image = "333333333333.dkr.ecr.us-west-1.amazonaws.com/verb:frontend.0.0.1_dev1", essential = true },
]

[[account.cluster]]
name = "verb"
[[account.cluster.service]]
name = "backend"
task_definition = "backend"
desired = 2
load_balancer = true
tags = { team = "verb" }
configuration = { deploymentCircuitBreaker = { enable = true, rollback = true } }
[[account.cluster.service]]
name = "frontend"
task_definition = "frontend"
desired = 1
load_balancer = true
configuration = { deploymentCircuitBreaker = { enable = true, rollback = true } }
"#;

const ENVIRONMENT: &str = r#"
[account]
id = "222222222222"
region = "us-west-1"
role = "arn:aws:iam::222222222222:role/pinion"

[fargate.backend]
cluster = "verb"
image = "333333333333.dkr.ecr.{region}.amazonaws.com/verb:{version}"

[fargate.frontend]
cluster = "verb"
image = "333333333333.dkr.ecr.{region}.amazonaws.com/verb:{version}"
"#;

const PINS: &str = "backend = \"backend.0.0.1_dev1\"\nfrontend = \"frontend.0.0.1_dev1\"\n";
const BOTH: [&str; 2] = ["dev/fargate/backend", "dev/fargate/frontend"];

fn image(tag: &str) -> String {
    format!("333333333333.dkr.ecr.us-west-1.amazonaws.com/verb:{tag}")
}

fn stage() -> Stage {
    let stage = Stage::of(WORLD)
        .environments([("environments/dev/environment.toml", ENVIRONMENT), ("environments/dev/pins.toml", PINS)])
        .git(Git::http_with_token("ghp_verb_0123456789"))
        .start();
    stage.wait_for_sync(&BOTH);
    assert_eq!(stage.written(0), Vec::<String>::new(), "what is right already is left alone");
    stage
}

/// The digest that a tag is on.
fn digest(stage: &Stage, tag: &str) -> String {
    let held = stage.held(COMMON);
    let images = held["repositories"]["verb"]["images"].as_object().unwrap();
    let tagged = |image: &&Value| image["tags"].as_array().unwrap().contains(&json!(tag));
    images.values().find(tagged).unwrap()["digest"].as_str().unwrap().to_owned()
}

/// What AWS tells of a task definition: all but what it assigned itself, and the tags.
fn definition(stage: &Stage, revision: &str) -> (Value, Value) {
    let parameters = json!({ "taskDefinition": revision, "include": ["TAGS"] });
    let mut told = stage.by_hand("arn:aws:iam::222222222222:role/pinion", "DescribeTaskDefinition", &parameters);
    let mut definition = told["taskDefinition"].take();
    let assigned = [
        "compatibilities",
        "registeredAt",
        "registeredBy",
        "requiresAttributes",
        "revision",
        "status",
        "taskDefinitionArn",
    ];
    for member in assigned {
        assert!(definition.as_object_mut().unwrap().remove(member).is_some(), "{member}");
    }
    (definition, told["tags"].take())
}

#[test]
fn all_but_the_image_survives() {
    let stage = stage();
    let (fleet, before) = (stage.fleet(), stage.held(DEV));
    let from = stage.last();

    stage.pin("dev", "backend", "backend.0.0.1_dev2");
    let new = image("backend.0.0.1_dev2");
    stage.wait_until("every task runs dev2", |stage| stage.fleet().service_runs(DEV, "verb/backend", &new));
    stage.wait_for_sync(&BOTH);

    // Looked for before anything was touched, with the account's own credentials, in the common account's registry.
    let calls = stage.calls(from);
    let looked = calls.iter().find(|call| call.service == "ecr").unwrap();
    assert_eq!(looked.account.as_deref(), Some(DEV));
    assert_eq!(looked.params["registryId"], COMMON);
    assert!(calls.iter().filter(|call| call.write).all(|call| call.sequence > looked.sequence));
    assert_eq!(stage.written(from), ["RegisterTaskDefinition", "UpdateService"]);

    let (digest, after) = (digest(&stage, "backend.0.0.1_dev2"), stage.fleet());
    for task in after.tasks(DEV, "verb/backend") {
        assert_eq!(task.digest.as_deref(), Some(digest.as_str()), "{}", task.arn);
    }
    assert_eq!(after.service(DEV, "verb/frontend"), fleet.service(DEV, "verb/frontend"), "the frontend is as it was");

    // The new revision is the old one but for the image and Pinion's tags.
    let (mut expected, tags) = definition(&stage, "backend:1");
    let (made, all) = definition(&stage, "backend:2");
    assert_eq!(expected["quantumEntanglement"]["partners"][1], "", "the simulator tells what it was told");
    expected["containerDefinitions"][0]["image"] = new.into();
    assert_eq!(made, expected);
    let (marks, kept): (Vec<Value>, Vec<Value>) = all
        .as_array()
        .unwrap()
        .iter()
        .cloned()
        .partition(|tag| tag["key"].as_str().is_some_and(|key| key.starts_with("pinion:")));
    assert_eq!(Value::from(kept), tags);
    let marks: BTreeSet<&str> = marks.iter().filter_map(|tag| tag["key"].as_str()).collect();
    assert_eq!(marks, BTreeSet::from(["pinion:base", "pinion:commit", "pinion:target", "pinion:version"]));

    // And so is the service, but for the task definition.
    let held = stage.held(DEV);
    let service = |held: &Value, member: &str| held["clusters"]["verb"]["services"]["backend"][member].clone();
    for member in ["desired", "configuration", "shown", "tags", "controller"] {
        assert_eq!(service(&held, member), service(&before, member), "{member}");
    }
    let subnets = &service(&held, "shown")["networkConfiguration"]["awsvpcConfiguration"];
    assert_eq!(subnets["assignPublicIp"], "DISABLED", "{subnets}");
    stage.settles();
}

#[test]
fn a_tag_that_was_not_pushed_touches_nothing() {
    let stage = stage();
    let (fleet, from) = (stage.fleet(), stage.last());

    stage.pin("dev", "backend", "backend.0.0.1_dev9");
    stage.wait_for("dev/fargate/backend", "blocked");
    let reason = stage.reason("dev/fargate/backend");
    assert!(reason.contains(&image("backend.0.0.1_dev9")), "it says what is missing: {reason}");
    stage.settles();
    assert_eq!(stage.writes(from).len(), 0, "not even tried");
    assert_eq!(stage.fleet().service(DEV, "verb/backend"), fleet.service(DEV, "verb/backend"));

    let pushed = json!({ "tags": ["backend.0.0.1_dev9"] });
    stage.meddle("/_sim/ecr", &json!({ "account": COMMON, "repository": "verb", "image": pushed }));
    let new = image("backend.0.0.1_dev9");
    stage.wait_until("every task runs dev9", |stage| stage.fleet().service_runs(DEV, "verb/backend", &new));
    stage.wait_for_sync(&BOTH);
}

#[test]
fn tasks_that_the_load_balancer_finds_unhealthy_are_no_success() {
    let stage = stage();
    let from = stage.last();

    stage.pin("dev", "backend", "backend.0.0.1_dev3");
    stage.wait_for("dev/fargate/backend", "quarantined");
    let reason = stage.reason("dev/fargate/backend");
    assert!(reason.contains("ROLLBACK_SUCCESSFUL"), "{reason}");
    let old = image("backend.0.0.1_dev1");
    stage.wait_until("every task runs dev1 again", |stage| stage.fleet().service_runs(DEV, "verb/backend", &old));
    stage.settles();
    stage.wait_for("dev/fargate/backend", "quarantined");
    assert_eq!(stage.written(from), ["RegisterTaskDefinition", "UpdateService"], "once, and not again");

    // The way out is another pin.
    stage.pin("dev", "backend", "backend.0.0.1_dev2");
    let new = image("backend.0.0.1_dev2");
    stage.wait_until("every task runs dev2", |stage| stage.fleet().service_runs(DEV, "verb/backend", &new));
    stage.wait_for_sync(&BOTH);
    stage.settles();
}
