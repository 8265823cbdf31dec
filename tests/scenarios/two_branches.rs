//! Scenario 4: one account for dev, one for prod; a push to the dev branch deploys dev, a merge to the prod branch
//! deploys prod.

use std::time::Duration;

use serde_json::json;

use crate::support::stage::{Git, Stage, set_pin};

const DEV: &str = "222222222222";
const PROD: &str = "444444444444";
const SERVICE: &str = "platform/manager";

/// The accounts.
pub(crate) fn world() -> String {
    let account = |id: &str, name: &str| {
        format!(
            r#"
[[account]]
id = "{id}"
name = "{name}"
role = [{{ name = "pinion-{name}", external_id = "herd-{name}" }}]

[[account.repository]]
name = "manager"
image = [{{ tags = ["1.0"] }}, {{ tags = ["1.1"] }}, {{ tags = ["1.2"] }}]

[[account.task_definition]]
[account.task_definition.definition]
family = "manager"
networkMode = "awsvpc"
requiresCompatibilities = ["FARGATE"]
cpu = "256"
memory = "512"
containerDefinitions = [
    {{ name = "app", image = "{id}.dkr.ecr.us-west-1.amazonaws.com/manager:1.0", essential = true }},
]

[[account.cluster]]
name = "platform"
[[account.cluster.service]]
name = "manager"
task_definition = "manager"
desired = 2
load_balancer = true
"#
        )
    };
    let (dev, prod) = (account(DEV, "dev"), account(PROD, "prod"));
    format!("controller = \"111111111111\"\nregion = \"us-west-1\"\n{dev}{prod}")
}

fn environment(id: &str) -> String {
    format!(
        r#"
[account]
id = "{id}"
region = "us-west-1"
role = "arn:aws:iam::{{account}}:role/pinion-{{environment}}"
external_id = "herd-{{environment}}"

[fargate.manager]
cluster = "platform"
image = "{{account}}.dkr.ecr.{{region}}.amazonaws.com/manager:{{version}}"
"#
    )
}

fn image(account: &str, version: &str) -> String {
    format!("{account}.dkr.ecr.us-west-1.amazonaws.com/manager:{version}")
}

fn runs(stage: &Stage, account: &str, version: &str) -> bool {
    stage.fleet().service_runs(account, SERVICE, &image(account, version))
}

/// How often the server was asked for the refs, and for objects, since the last time.
fn asked(stage: &Stage) -> (usize, usize) {
    let requests = stage.git_server().requests();
    let count = |command: &str| requests.iter().filter(|request| request.command.as_deref() == Some(command)).count();
    (count("ls-refs"), count("fetch"))
}

/// A release on the dev branch: both pins, of which this branch feeds one.
fn release(stage: &Stage, version: &str) {
    stage.repo().checkout("dev");
    set_pin(stage.repo(), "dev", "manager", version);
    set_pin(stage.repo(), "prod", "manager", version);
    stage.repo().commit(&format!("manager: {version}"));
}

fn promote(stage: &Stage) {
    stage.repo().checkout("prod");
    stage.repo().merge("dev");
}

fn stage() -> Stage {
    let stage = Stage::of(&world())
        .environments([
            ("environments/dev/environment.toml", environment(DEV)),
            ("environments/dev/pins.toml", "manager = \"1.0\"\n".to_owned()),
            ("environments/prod/environment.toml", environment(PROD)),
            ("environments/prod/pins.toml", "manager = \"1.0\"\n".to_owned()),
        ])
        .branches(&[("dev", &["dev"]), ("prod", &["prod"])])
        .git(Git::http_with_token("ghp_herd_0123456789"))
        .start();
    stage.wait_for_sync(&["dev/fargate/manager", "prod/fargate/manager"]);
    assert_eq!(asked(&stage).1, 1, "one fetch brings both branches");
    stage
}

#[test]
fn a_push_deploys_dev_and_a_merge_deploys_prod() {
    let stage = stage();
    let before = stage.fleet();

    release(&stage, "1.1");
    stage.repo().push();
    stage.wait_until("dev runs 1.1", |stage| runs(stage, DEV, "1.1"));
    stage.wait_for_sync(&["dev/fargate/manager"]);
    let untouched = |stage: &Stage| stage.fleet().service(PROD, SERVICE) == before.service(PROD, SERVICE);
    stage.stays("prod waits for its merge", Duration::from_secs(1), untouched);
    assert_eq!(stage.target("prod/fargate/manager")["desired"], "1.0");

    let from = stage.last();
    promote(&stage);
    stage.repo().push();
    stage.wait_until("prod runs 1.1", |stage| runs(stage, PROD, "1.1"));
    stage.wait_for_sync(&["dev/fargate/manager", "prod/fargate/manager"]);
    for write in stage.writes(from) {
        assert_eq!(write.account.as_deref(), Some(PROD), "{write}");
    }
    // Each account through its own role.
    let roles: Vec<String> = stage
        .calls(0)
        .iter()
        .filter(|call| call.operation == "AssumeRole")
        .map(|call| call.params["RoleArn"].as_str().unwrap().to_owned())
        .collect();
    assert!(roles.contains(&format!("arn:aws:iam::{DEV}:role/pinion-dev")), "{roles:?}");
    assert!(roles.contains(&format!("arn:aws:iam::{PROD}:role/pinion-prod")), "{roles:?}");
    stage.settles();
}

#[test]
fn a_throttled_dev_does_not_hold_prod_up() {
    let stage = stage();
    stage.meddle("/_sim/faults", &json!({ "account": DEV, "kind": "throttle" }));
    asked(&stage);

    release(&stage, "1.2");
    promote(&stage);
    stage.repo().push();
    stage.wait_until("prod runs 1.2", |stage| runs(stage, PROD, "1.2"));
    stage.wait_for_sync(&["prod/fargate/manager"]);
    assert!(runs(&stage, DEV, "1.0"), "dev can't be read, much less changed");
    stage.wait_for("dev/fargate/manager", "unknown");
    assert_eq!(asked(&stage).1, 1, "one fetch brings both branches");

    stage.repair();
    stage.wait_until("dev runs 1.2", |stage| runs(stage, DEV, "1.2"));
    stage.wait_for_sync(&["dev/fargate/manager", "prod/fargate/manager"]);
    assert_eq!(asked(&stage).1, 0, "nothing new to fetch");
}
