//! Terraform owns the shape of a service or a group, Git its image: `base_revision = "newest"`.

mod living;
mod policy;

use serde_json::{Value, json};

use crate::failures::document::failure_mode;
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
        .configured_with("[log]\nfilter = \"trace\"\n")
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
    failure_mode("shape-failed").holds(&stage, API);
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
        let shown = text.lines().find(|line| line.contains(PLANTED));
        assert_eq!(shown, None, "{what}");
    }
}

const WEB: &str = "dev/asg/web";
const AMIS: [&str; 3] = ["ami-0f000000000001000", "ami-0f000000000001100", "ami-0f000000000001200"];

fn fleet() -> String {
    let [one, two, three] = AMIS;
    format!(
        r#"controller = "111111111111"
region = "us-west-1"

[timing]
boot = 2
unhealthy = 5
no_progress = 60

[[account]]
id = "{DEV}"
name = "dev"
role = [{{ name = "pinion" }}, {{ name = "terraform" }}]
image = [
    {{ id = "{one}", name = "web-1.0.0" }},
    {{ id = "{two}", name = "web-1.1.0" }},
    {{ id = "{three}", name = "web-1.2.0" }},
]
launch_template = [{{ name = "web", version = [{{ data = {{ ImageId = "{one}", InstanceType = "t3.small" }} }}] }}]
group = [{{ name = "web", launch_template = "web", version = "1", desired = 2, warmup = 2 }}]
"#
    )
}

fn of_the_group() -> String {
    format!(
        r#"[account]
id = "{DEV}"
region = "us-west-1"
role = "arn:aws:iam::{DEV}:role/pinion"

[asg.web]
base_revision = "newest"
ami = {{ name = "web-{{version}}" }}
"#
    )
}

/// A version that Terraform makes, with the first image.
fn version(stage: &Stage, kind: &str, user_data: &str) {
    let parameters = format!(
        "LaunchTemplateName=web&LaunchTemplateData.ImageId={}&LaunchTemplateData.InstanceType={kind}\
         &LaunchTemplateData.UserData={user_data}",
        AMIS[0]
    );
    stage.by_hand_in_ec2(TERRAFORM, "CreateLaunchTemplateVersion", &parameters);
}

/// What the instances run, if all run the same: the number of the version, the image, the type and the user data.
fn group_on(stage: &Stage) -> Option<(u64, String, String, String)> {
    let held = stage.held(DEV);
    let instances = held["groups"]["web"]["instances"].as_array()?;
    let versions: Vec<&str> =
        instances.iter().filter_map(|instance| instance["template"]["version"].as_str()).collect();
    let version = *versions.first()?;
    if versions.len() != 2 || versions.iter().any(|other| *other != version) {
        return None;
    }
    let template = held["templates"].as_object()?.values().next()?;
    let data = &template["versions"][version]["data"];
    let text = |key: &str| data[key].as_str().unwrap_or_default().to_owned();
    Some((version.parse().ok()?, text("ImageId"), text("InstanceType"), text("UserData")))
}

fn instances_run(number: u64, image: &str, kind: &str, user_data: &str) -> Option<(u64, String, String, String)> {
    Some((number, image.to_owned(), kind.to_owned(), user_data.to_owned()))
}

#[test]
fn terraform_owns_the_user_data_of_a_group() {
    let stage = Stage::of(&fleet())
        .environments([
            ("environments/dev/environment.toml", of_the_group()),
            ("environments/dev/pins.toml", "web = \"1.0.0\"\n".to_owned()),
        ])
        .speed(60.0)
        .start();
    let work = stage.repo().work().display().to_string();
    stage.wait_for_sync(&[WEB]);
    assert_eq!(stage.written(0), Vec::<String>::new(), "what runs has the newest shape");

    // New user data and a bump: one refresh brings both.
    version(&stage, "t3.small", "b25l");
    let plan = String::from_utf8(stage.run(&["plan", "--dir", &work]).stdout).unwrap();
    assert!(plan.contains("1 → 2 (registered by role/terraform"), "{plan}");
    assert!(plan.contains("user data changed; image stays ours") && !plan.contains("b25l"), "{plan}");
    let from = stage.last();
    stage.pin("dev", "web", "1.1.0");
    stage.wait_until("both are rolled out", |stage| group_on(stage) == instances_run(3, AMIS[1], "t3.small", "b25l"));
    stage.wait_for_sync(&[WEB]);
    assert_eq!(stage.written(from), ["CreateLaunchTemplateVersion", "StartInstanceRefresh"]);

    // User data alone.
    version(&stage, "t3.small", "dHdv");
    let from = stage.last();
    stage.signal("HUP");
    stage.wait_until("it is rolled out", |stage| group_on(stage) == instances_run(5, AMIS[1], "t3.small", "dHdv"));
    stage.wait_for_sync(&[WEB]);
    assert_eq!(stage.written(from), ["CreateLaunchTemplateVersion", "StartInstanceRefresh"]);

    // A type that the image can't run on: no instance starts.
    version(&stage, "t4g.small", "dHdv");
    stage.signal("HUP");
    stage.wait_for(WEB, "quarantined");
    stage.wait_until("what ran before runs", |stage| group_on(stage) == instances_run(5, AMIS[1], "t3.small", "dHdv"));
    assert!(stage.reason(WEB).contains("the newer shape of 6"), "{}", stage.reason(WEB));
    let from = stage.last();
    stage.settles();
    assert_eq!(stage.written(from), [""; 0], "it isn't tried again");

    // A pin goes on with the last good shape, and a corrected one is rolled out.
    stage.pin("dev", "web", "1.2.0");
    stage.wait_until("the pin is rolled out", |stage| group_on(stage) == instances_run(8, AMIS[2], "t3.small", "dHdv"));
    version(&stage, "t3.medium", "dHdv");
    stage.wait_for(WEB, "quarantined");
    stage.signal("HUP");
    stage.wait_until("the corrected one runs", |stage| {
        group_on(stage) == instances_run(10, AMIS[2], "t3.medium", "dHdv")
    });
    stage.wait_for_sync(&[WEB]);
}

/// How many calls of each of two operations there were.
fn looked(stage: &Stage, since: u64) -> [usize; 2] {
    let calls = stage.calls(since);
    ["ListTaskDefinitions", "DescribeTaskDefinition"]
        .map(|operation| calls.iter().filter(|call| call.operation == operation).count())
}

#[test]
fn looking_for_newer_versions_costs_one_call_for_all_groups() {
    const GROUPS: usize = 12;
    let each = |text: &dyn Fn(usize) -> String| (0..GROUPS).map(text).collect::<String>();
    let templates = each(&|number| {
        format!(
            "{{ name = \"g{number}\", version = [{{ data = {{ ImageId = \"{}\", InstanceType = \"t3.small\" }} }}] }},\n",
            AMIS[0]
        )
    });
    let groups = each(&|number| {
        format!("{{ name = \"g{number}\", launch_template = \"g{number}\", version = \"1\", desired = 1 }},\n")
    });
    let world = format!(
        "controller = \"111111111111\"\nregion = \"us-west-1\"\n[[account]]\nid = \"{DEV}\"\nname = \"dev\"\n\
         role = [{{ name = \"pinion\" }}, {{ name = \"terraform\" }}]\nimage = [{{ id = \"{}\", name = \"web-1.0.0\" }}]\n\
         launch_template = [\n{templates}]\ngroup = [\n{groups}]\n",
        AMIS[0]
    );
    let account =
        format!("[account]\nid = \"{DEV}\"\nregion = \"us-west-1\"\nrole = \"arn:aws:iam::{DEV}:role/pinion\"\n");
    let defaults =
        "[defaults.asg]\nbase_revision = \"newest\"\ncomponent = \"web\"\nami = { name = \"web-{version}\" }\n";
    let targets = each(&|number| format!("[asg.g{number}]\n"));
    let stage = Stage::of(&world)
        .environments([
            ("environments/dev/environment.toml", account + defaults + &targets),
            ("environments/dev/pins.toml", "web = \"1.0.0\"\n".to_owned()),
        ])
        .looking_every("1s", "1s")
        .start();
    let passes = |stage: &Stage| stage.status()["environments"]["dev"]["passes"].as_u64().unwrap();
    let looked = |since: u64| {
        let calls = stage.calls(since);
        ["DescribeLaunchTemplates", "DescribeLaunchTemplateVersions"]
            .map(|operation| calls.iter().filter(|call| call.operation == operation).count())
    };
    stage.wait_until("four passes", |stage| passes(stage) >= 4);
    assert_eq!(
        looked(0),
        [1, GROUPS],
        "the version that each group is on, and one call for all newest numbers, in four passes"
    );
    let from = stage.last();
    stage.signal("HUP");
    let before = passes(&stage);
    stage.wait_until("two more passes", |stage| passes(stage) >= before + 2);
    assert_eq!(looked(from), [1, 0], "a resync asks again, and reads no version where none is newer");
}

#[test]
fn looking_for_newer_shapes_costs_one_list_a_family() {
    const SERVICES: usize = 12;
    let each = |text: &dyn Fn(usize) -> String| (0..SERVICES).map(text).collect::<String>();
    let definitions = each(&|number| {
        format!(
            "[[account.task_definition]]\n[account.task_definition.definition]\nfamily = \"s{number}\"\nnetworkMode = \"awsvpc\"\n\
             requiresCompatibilities = [\"FARGATE\"]\ncpu = \"256\"\nmemory = \"512\"\ncontainerDefinitions = \
             [{{ name = \"app\", image = \"{REGISTRY}/api:1.0.0\", essential = true }}]\n"
        )
    });
    let services =
        each(&|number| format!("{{ name = \"s{number}\", task_definition = \"s{number}\", desired = 1 }},\n"));
    let world = format!(
        "controller = \"111111111111\"\nregion = \"us-west-1\"\n[[account]]\nid = \"{DEV}\"\nname = \"dev\"\n\
         role = [{{ name = \"pinion\" }}]\nrepository = [{{ name = \"api\", image = [{{ tags = [\"1.0.0\"] }}] }}]\n{definitions}\
         [[account.cluster]]\nname = \"app\"\nservice = [\n{services}]\n"
    );
    let account =
        format!("[account]\nid = \"{DEV}\"\nregion = \"us-west-1\"\nrole = \"arn:aws:iam::{DEV}:role/pinion\"\n");
    let defaults = format!(
        "[defaults.fargate]\nbase_revision = \"newest\"\ncluster = \"app\"\ncomponent = \"api\"\n\
         image = \"{REGISTRY}/api:{{version}}\"\n"
    );
    let targets = each(&|number| format!("[fargate.s{number}]\n"));
    let stage = Stage::of(&world)
        .environments([
            ("environments/dev/environment.toml", account + &defaults + &targets),
            ("environments/dev/pins.toml", "api = \"1.0.0\"\n".to_owned()),
        ])
        .looking_every("1s", "1s")
        .start();
    let passes = |stage: &Stage| stage.status()["environments"]["dev"]["passes"].as_u64().unwrap();
    stage.wait_until("four passes", |stage| passes(stage) >= 4);
    assert_eq!(looked(&stage, 0), [SERVICES, SERVICES], "once each, in four passes");
    let from = stage.last();
    stage.signal("HUP");
    let before = passes(&stage);
    stage.wait_until("two more passes", |stage| passes(stage) >= before + 2);
    assert_eq!(looked(&stage, from), [SERVICES, 0], "a resync lists them again, and describes nothing it knows");
}
