//! Scenario 5: the pipeline writes the AMI's id to Parameter Store; the application answers `/health` with 200.

use serde_json::json;

use crate::support::stage::Stage;
use crate::support::stage::http::Application;

const DEV: &str = "222222222222";
const PARAMETER: &str = "/DeploymentConfig/dev/App/AmiId";
const AMIS: [&str; 3] = ["ami-0a000000000000001", "ami-0a000000000000002", "ami-0a000000000000003"];

/// The accounts.
pub(crate) const WORLD: &str = r#"
controller = "111111111111"
region = "us-west-1"

[[account]]
id = "222222222222"
name = "dev"
role = [{ name = "pinion" }]
image = [
    { id = "ami-0a000000000000001", name = "app-1" },
    { id = "ami-0a000000000000002", name = "app-2" },
    { id = "ami-0a000000000000003", name = "app-3" },
]
parameter = [{ name = "/DeploymentConfig/dev/App/AmiId", data_type = "aws:ec2:image", versions = [
    "ami-0a000000000000001",
    "ami-0a000000000000002",
] }]
launch_template = [
    { name = "app", version = [{ data = { ImageId = "ami-0a000000000000001", InstanceType = "t3.small" } }] },
]
group = [{ name = "app", launch_template = "app", desired = 2, warmup = 15 }]
"#;

fn stage(application: &Application, bake: &str) -> Stage {
    let environment = format!(
        r#"
[account]
id = "222222222222"
region = "us-west-1"
role = "arn:aws:iam::222222222222:role/pinion"

[asg.app]
ami = {{ parameter = "/DeploymentConfig/{{environment}}/App/AmiId:{{version}}" }}

[asg.app.rollout]
bake = "{bake}"

[[asg.app.verify]]
http = "{}"
timeout = "1s"
within = "1s"
"#,
        application.url("/health")
    );
    let stage = Stage::of(WORLD)
        .environments([
            ("environments/dev/environment.toml", environment.as_str()),
            ("environments/dev/pins.toml", "app = \"1\"\n"),
        ])
        .start();
    stage.wait_for_sync(&["dev/asg/app"]);
    stage
}

#[test]
fn a_version_and_a_label_name_the_image() {
    let application = Application::answering(200);
    let stage = stage(&application, "10s");

    stage.pin("dev", "app", "2");
    stage.wait_until("every machine is of version 2", |stage| stage.fleet().group_runs(DEV, "app", AMIS[1]));
    stage.wait_for_sync(&["dev/asg/app"]);

    // The pipeline writes the next image, and gives it the label that is pinned.
    let written = json!({ "account": DEV, "name": PARAMETER, "value": AMIS[2], "labels": ["released"] });
    assert_eq!(stage.meddle("/_sim/parameters", &written)["version"], 3);
    stage.pin("dev", "app", "released");
    stage.wait_until("every machine is of the label", |stage| stage.fleet().group_runs(DEV, "app", AMIS[2]));
    stage.wait_for_sync(&["dev/asg/app"]);
    let names: Vec<String> = stage
        .calls(0)
        .iter()
        .filter(|call| call.operation == "GetParameters")
        .flat_map(|call| call.params["Names"].as_array().unwrap().clone())
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    for version in ["1", "2", "released"] {
        assert!(names.contains(&format!("{PARAMETER}:{version}")), "{names:?}");
    }
    stage.settles();
}

#[test]
fn a_failing_probe_rolls_back_while_that_is_possible() {
    let application = Application::answering(200);
    let stage = stage(&application, "20m");
    let from = stage.last();

    application.answer(500);
    stage.pin("dev", "app", "2");
    stage.wait_for("dev/asg/app", "quarantined");
    let reason = stage.reason("dev/asg/app");
    assert!(!reason.is_empty(), "it says why");
    assert_eq!(stage.fleet().refreshes(DEV, "app"), ["RollbackSuccessful"]);
    assert!(stage.fleet().group_runs(DEV, "app", AMIS[0]), "every machine is of version 1 again");
    let rolled_back = ["CreateLaunchTemplateVersion", "StartInstanceRefresh", "RollbackInstanceRefresh"];
    assert_eq!(stage.written(from), rolled_back);

    stage.settles();
    assert_eq!(stage.state("dev/asg/app"), "quarantined");
    assert_eq!(stage.written(from), rolled_back, "it isn't tried again");

    // A fixed application, pinned again by another commit.
    application.answer(200);
    stage.commit("app: not 2", |repo| crate::support::stage::set_pin(repo, "dev", "app", "1"));
    stage.wait_for_sync(&["dev/asg/app"]);
    stage.pin("dev", "app", "2");
    stage.wait_until("the second attempt bakes", |stage| {
        stage.fleet().refreshes(DEV, "app").last().map(String::as_str) == Some("Baking")
    });
    stage.meddle("/_sim/advance", &json!({ "seconds": 1200 }));
    stage.wait_until("every machine is of version 2", |stage| stage.fleet().group_runs(DEV, "app", AMIS[1]));
    stage.wait_for_sync(&["dev/asg/app"]);
}

#[test]
fn a_failing_probe_quarantines_where_nothing_can_be_rolled_back() {
    let application = Application::answering(200);
    let stage = stage(&application, "0s");

    application.answer(500);
    stage.pin("dev", "app", "2");
    stage.wait_for("dev/asg/app", "quarantined");
    let reason = stage.reason("dev/asg/app");
    assert!(reason.contains("/health") && reason.contains("500"), "it says why: {reason}");
    assert!(stage.fleet().group_runs(DEV, "app", AMIS[1]), "the refresh is over, AWS takes nothing back");
    stage.settles();
}
