//! Images that aren't quite there.

use serde_json::{Value, json};

use super::table::{blocked, warned};
use crate::support::stage::{Stage, set_pin};

const DEV: &str = "222222222222";
const TOOLS: &str = "111111111111";
const NAMES: [&str; 7] = ["pending", "failed", "deprecated", "disabled", "deregistered", "unshared", "missing"];

/// Each group is named for what happens to its next image, `<name>-2`; the images are the tools account's.
fn world() -> String {
    let id = |index: usize, version: usize| format!("ami-0f00000000000{index:02}{version:02}");
    let mut images = String::new();
    let (mut templates, mut groups) = (String::new(), String::new());
    for (index, name) in NAMES.iter().enumerate() {
        let old = id(index, 1);
        images += &format!("    {{ id = \"{old}\", name = \"{name}-1\", shared_with = [\"{DEV}\"] }},\n");
        templates += &format!("    {{ name = \"{name}\", version = [{{ data = {{ ImageId = \"{old}\" }} }}] }},\n");
        groups += &format!("    {{ name = \"{name}\", launch_template = \"{name}\", desired = 1, warmup = 10 }},\n");
        let extra = match *name {
            "pending" => ", state = \"pending\"",
            "failed" => ", state = \"failed\"",
            "deprecated" => ", deprecated = true",
            _ => "",
        };
        if !["missing", "unshared", "disabled", "deregistered"].contains(name) {
            let new = id(index, 2);
            images += &format!("    {{ id = \"{new}\", name = \"{name}-2\", shared_with = [\"{DEV}\"]{extra} }},\n");
        }
    }
    // Only its owner sees that an image is disabled, or was deregistered.
    let own = format!(
        "    {{ id = \"{}\", name = \"disabled-2\", state = \"disabled\" }},\n    {{ id = \"{}\", name = \"deregistered-2\" }},\n",
        id(3, 2),
        id(4, 2)
    );
    let unshared = format!("    {{ id = \"{}\", name = \"unshared-2\" }},\n", id(5, 2));
    format!(
        r#"
controller = "{TOOLS}"
region = "us-west-1"

[[account]]
id = "{TOOLS}"
name = "tools"
image = [
{images}{unshared}]
repository = [{{ name = "backend", allowed = ["{DEV}"], image = [{{ tags = ["1.0"] }}] }}]

[[account]]
id = "{DEV}"
name = "dev"
role = [{{ name = "pinion" }}]
image = [
{own}]
launch_template = [
{templates}]
group = [
{groups}]

[[account.task_definition]]
[account.task_definition.definition]
family = "api"
networkMode = "awsvpc"
containerDefinitions = [{{ name = "app", essential = true, image = "{TOOLS}.dkr.ecr.us-west-1.amazonaws.com/backend:1.0" }}]

[[account.cluster]]
name = "app"
service = [{{ name = "api", task_definition = "api", desired = 1 }}]
"#
    )
}

#[test]
fn what_is_not_there_is_looked_for_again() {
    let mut environment =
        format!("[account]\nid = \"{DEV}\"\nregion = \"us-west-1\"\nrole = \"arn:aws:iam::{DEV}:role/pinion\"\n");
    let mut pins = String::from("api = \"1.0\"\n");
    for name in NAMES {
        environment += &format!("[asg.{name}]\nami = {{ name = \"{name}-{{version}}\" }}\n");
        pins += &format!("{name} = \"1\"\n");
    }
    environment += &format!(
        "[fargate.api]\ncluster = \"app\"\nimage = \"{TOOLS}.dkr.ecr.us-west-1.amazonaws.com/backend:{{version}}\"\n"
    );
    let stage = Stage::of(&world())
        .environments([("environments/dev/environment.toml", environment), ("environments/dev/pins.toml", pins)])
        .start();
    let all: Vec<String> = NAMES.iter().map(|name| format!("dev/asg/{name}")).collect();
    stage.wait_for_sync(&all.iter().map(String::as_str).collect::<Vec<_>>());
    let held = stage.held(DEV);
    let gone = held["images"].as_object().unwrap().values().find(|image| image["name"] == "deregistered-2").unwrap();
    // A deregistered image lingers for a minute only: time stands still until it was seen.
    let speed = |speed: u64| stage.meddle("/_sim/speed", &json!({ "speed": speed }));
    speed(0);
    publish(&stage, DEV, json!({ "id": gone["id"], "name": "deregistered-2", "state": "deregistered" }));

    stage.commit("release: 2", |repo| {
        for name in NAMES {
            set_pin(repo, "dev", name, "2");
        }
        set_pin(repo, "dev", "api", "2.0");
    });
    blocked(&stage, "dev/asg/pending", "AMI still being made");
    blocked(&stage, "dev/asg/failed", "AMI that failed");
    blocked(&stage, "dev/asg/disabled", "AMI disabled");
    blocked(&stage, "dev/asg/deregistered", "AMI deregistered");
    blocked(&stage, "dev/asg/unshared", "AMI not shared, or missing");
    blocked(&stage, "dev/asg/missing", "AMI not shared, or missing");
    blocked(&stage, "dev/fargate/api", "container image missing");
    warned(&stage, "dev/asg/deprecated", "AMI deprecated");
    speed(60);
    stage.wait_for_sync(&["dev/asg/deprecated"]);

    // What comes later is found without anybody asking.
    let made = |name: &str, id: &str| json!({ "id": id, "name": format!("{name}-2"), "shared_with": [DEV] });
    for (index, name) in NAMES.iter().enumerate().filter(|(_, name)| **name != "deprecated") {
        publish(&stage, TOOLS, made(name, &format!("ami-0f00000000001{index:02}02")));
    }
    stage.meddle("/_sim/ecr", &json!({ "account": TOOLS, "repository": "backend", "image": { "tags": ["2.0"] } }));
    let mut all = all;
    all.push("dev/fargate/api".to_owned());
    // Of those that were made twice, one isn't usable: there is no doubt which is meant.
    stage.wait_for_sync(&all.iter().map(String::as_str).collect::<Vec<_>>());
    stage.settles();
}

fn publish(stage: &Stage, account: &str, image: Value) {
    stage.meddle("/_sim/images", &json!({ "account": account, "image": image }));
}
