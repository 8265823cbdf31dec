//! Terraform owns the shape of a service, Git its image: `base_revision = "newest"`.

use serde_json::{Value, json};

use crate::support::stage::Stage;

const DEV: &str = "222222222222";
const TERRAFORM: &str = "arn:aws:iam::222222222222:role/terraform";
const REGISTRY: &str = "222222222222.dkr.ecr.us-west-1.amazonaws.com";
const API: &str = "dev/fargate/api";
/// The values that nothing may show.
const PLANTED: &str = "planted-value";

fn world() -> String {
    format!(
        r#"controller = "111111111111"
region = "us-west-1"

[timing]
provision = 2
pull = 2
settle = 3
drain = 3

[[account]]
id = "{DEV}"
name = "dev"
role = [{{ name = "pinion" }}, {{ name = "terraform" }}]
repository = [
    {{ name = "api", image = [{{ tags = ["1.0.0"] }}, {{ tags = ["1.1.0"] }}, {{ tags = ["1.2.0"] }}] }},
    {{ name = "agent", image = [{{ tags = ["1"] }}] }},
]

[[account.task_definition]]
[account.task_definition.definition]
family = "api"
networkMode = "awsvpc"
requiresCompatibilities = ["FARGATE"]
cpu = "256"
memory = "512"
containerDefinitions = [{{ name = "app", image = "{REGISTRY}/api:1.0.0", essential = true }}]

[[account.cluster]]
name = "app"
service = [{{ name = "api", task_definition = "api", desired = 2, configuration = {{ deploymentCircuitBreaker = {{ enable = true, rollback = true }} }} }}]
"#
    )
}

fn environment() -> String {
    format!(
        r#"[account]
id = "{DEV}"
region = "us-west-1"
role = "arn:aws:iam::{DEV}:role/pinion"

[defaults.fargate]
base_revision = "newest"

[fargate.api]
cluster = "app"
image = "{REGISTRY}/{{component}}:{{version}}"
"#
    )
}

/// What Terraform registers: its own image, which doesn't matter, and what is in it besides.
fn register(stage: &Stage, memory: &str, variables: &[&str], containers: &[Value]) -> u64 {
    let variable = |name: &&str| json!({ "name": name, "value": PLANTED });
    let secret = |name: &&str| json!({ "name": format!("{name}_SECRET"), "valueFrom": PLANTED });
    let app = json!({
        "name": "app",
        "image": format!("{REGISTRY}/api:1.0.0"),
        "essential": true,
        "environment": variables.iter().map(variable).collect::<Vec<_>>(),
        "secrets": variables.iter().map(secret).collect::<Vec<_>>(),
    });
    let containers: Vec<Value> = std::iter::once(app).chain(containers.iter().cloned()).collect();
    let definition = json!({
        "family": "api", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": memory,
        "containerDefinitions": containers,
    });
    let answer = stage.by_hand(TERRAFORM, "RegisterTaskDefinition", &definition);
    answer["taskDefinition"]["revision"].as_u64().unwrap()
}

/// The revision that the service is on: its number, its memory, the tags of its images, and the names of its variables.
fn on(stage: &Stage) -> (u64, String, Vec<String>, Vec<String>) {
    let services = stage.by_hand(TERRAFORM, "DescribeServices", &json!({ "cluster": "app", "services": ["api"] }));
    let arn = services["services"][0]["taskDefinition"].as_str().unwrap().to_owned();
    let answer = stage.by_hand(TERRAFORM, "DescribeTaskDefinition", &json!({ "taskDefinition": arn }));
    let definition = &answer["taskDefinition"];
    let texts = |pointer: &str, key: &str| -> Vec<String> {
        let items = definition.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        items.map(|item| item[key].as_str().unwrap().rsplit('/').next().unwrap().to_owned()).collect()
    };
    (
        definition["revision"].as_u64().unwrap(),
        definition["memory"].as_str().unwrap().to_owned(),
        texts("/containerDefinitions", "image"),
        texts("/containerDefinitions/0/environment", "name"),
    )
}

fn runs(number: u64, memory: &str, images: &[&str], variables: &[&str]) -> (u64, String, Vec<String>, Vec<String>) {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    (number, memory.to_owned(), owned(images), owned(variables))
}

/// The writes of a rollout.
const ROLLOUT: [&str; 2] = ["RegisterTaskDefinition", "UpdateService"];

#[test]
fn terraform_owns_the_shape_and_git_the_image() {
    let stage = Stage::of(&world())
        .environments([
            ("environments/dev/environment.toml", environment()),
            ("environments/dev/pins.toml", "api = \"1.0.0\"\n".to_owned()),
        ])
        .speed(60.0)
        .start();
    let work = stage.repo().work().display().to_string();
    let plan = || {
        let output = stage.run(&["plan", "--dir", &work]);
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    stage.wait_for_sync(&[API]);
    assert_eq!(stage.written(0), Vec::<String>::new(), "what runs has the newest shape");

    // Terraform adds a variable. The plan names it; the merge of a bump brings both, by one rollout.
    assert_eq!(register(&stage, "512", &["LOG_LEVEL"], &[]), 2);
    let said = plan();
    assert!(said.contains("api:1 → api:2 (registered by role/terraform"), "{said}");
    assert!(said.contains("+ env LOG_LEVEL; + secret LOG_LEVEL_SECRET; image stays ours"), "{said}");
    assert_eq!(on(&stage).0, 1, "nothing looks for a new shape as often as that");
    let from = stage.last();
    stage.pin("dev", "api", "1.1.0");
    stage.wait_until("both are rolled out", |stage| on(stage) == runs(3, "512", &["api:1.1.0"], &["LOG_LEVEL"]));
    stage.wait_for_sync(&[API]);
    assert_eq!(stage.written(from), ROLLOUT);

    // The next shape alone.
    assert_eq!(register(&stage, "1024", &["LOG_LEVEL"], &[]), 4);
    let from = stage.last();
    stage.signal("HUP");
    stage.wait_until("the shape is rolled out", |stage| on(stage) == runs(5, "1024", &["api:1.1.0"], &["LOG_LEVEL"]));
    stage.wait_for_sync(&[API]);
    assert_eq!(stage.written(from), ROLLOUT);
    assert!(!stage.target(API)["drifted"].as_bool().unwrap());

    // A bad one: its sidecar's image can't be pulled.
    let pinned_by = stage.target(API)["pin"].clone();
    let missing = json!({ "name": "agent", "image": format!("{REGISTRY}/agent:none"), "essential": false });
    assert_eq!(register(&stage, "1024", &["LOG_LEVEL"], &[missing]), 6);
    stage.signal("HUP");
    stage.wait_for(API, "quarantined");
    stage
        .wait_until("what ran before runs again", |stage| on(stage) == runs(5, "1024", &["api:1.1.0"], &["LOG_LEVEL"]));
    stage.wait_until("nothing is left of it", |stage| {
        stage.state(API) == "quarantined" && stage.target(API)["updated"] == 2
    });
    assert!(stage.reason(API).contains("the newer shape of api:6"), "{}", stage.reason(API));
    assert_eq!(stage.target(API)["pin"], pinned_by);
    let from = stage.last();
    stage.settles();
    assert_eq!(stage.written(from), [""; 0], "it isn't tried again");

    // A pin goes on with the last good shape.
    stage.pin("dev", "api", "1.2.0");
    stage.wait_until("the pin is rolled out", |stage| on(stage) == runs(8, "1024", &["api:1.2.0"], &["LOG_LEVEL"]));
    stage.wait_until("the shape alone is quarantined", |stage| {
        stage.state(API) == "quarantined" && stage.reason(API).contains("api:6")
    });

    // A corrected one.
    let agent = json!({ "name": "agent", "image": format!("{REGISTRY}/agent:1"), "essential": false });
    assert_eq!(register(&stage, "1024", &["LOG_LEVEL", "AGENT"], &[agent]), 9);
    stage.signal("HUP");
    stage.wait_for_sync(&[API]);
    assert_eq!(on(&stage), runs(10, "1024", &["api:1.2.0", "agent:1"], &["LOG_LEVEL", "AGENT"]));

    // No value was shown anywhere.
    let target = stage.get("targets/dev/fargate/api").map(|(_, page)| page).unwrap_or_default();
    let history = stage.run(&["history", "--dir", &work]).stdout;
    for (what, text) in [
        ("plan", plan()),
        ("log", stage.logged()),
        ("status", stage.status().to_string()),
        ("page", target),
        ("metrics", stage.get("metrics").map(|(_, text)| text).unwrap_or_default()),
        ("history", String::from_utf8(history).unwrap()),
    ] {
        assert!(!text.contains(PLANTED), "{what}: {text}");
    }
}
