//! Scenario 1: one image for the frontend, one for the backend, both versions inputs of one deployment.

use serde_json::json;

use crate::support::stage::{Stage, amis, set_pin};

const DEV: &str = "222222222222";
const FRONTEND: [&str; 2] = ["ami-0f000000000001400", "ami-0f000000000001401"];
const BACKEND: [&str; 2] = ["ami-0b000000000002000", "ami-0b000000000002001"];

/// The accounts.
pub(crate) const WORLD: &str = r#"
controller = "111111111111"
region = "us-west-1"

[[account]]
id = "111111111111"
name = "tools"
image = [
    { id = "ami-0f000000000001400", name = "frontend-1.4.0", shared_with = ["222222222222"] },
    { id = "ami-0f000000000001401", name = "frontend-1.4.1", shared_with = ["222222222222"] },
    { id = "ami-0b000000000002000", name = "backend-2.0.0", shared_with = ["222222222222"] },
    { id = "ami-0b000000000002001", name = "backend-2.0.1", shared_with = ["222222222222"] },
]

[[account]]
id = "222222222222"
name = "dev"
role = [{ name = "pinion", external_id = "pinion-7f3a" }]
launch_template = [
    { name = "frontend", version = [{ data = { ImageId = "ami-0f000000000001400", InstanceType = "t3.small" } }] },
    { name = "backend", version = [{ data = { ImageId = "ami-0b000000000002000", InstanceType = "t3.small" } }] },
]
group = [
    { name = "frontend", launch_template = "frontend", version = "1", desired = 3, warmup = 15 },
    # As Terraform's examples have it, and no rollback could use it.
    { name = "backend", launch_template = "backend", version = "$Latest", desired = 2, warmup = 15 },
]
"#;

const ENVIRONMENT: &str = r#"
[account]
id = "222222222222"
region = "us-west-1"
role = "arn:aws:iam::222222222222:role/pinion"
external_id = "pinion-7f3a"

[asg.backend]
ami = { name = "backend-{version}", owner = "111111111111" }

[asg.frontend]
ami = { name = "frontend-{version}", owner = "111111111111" }
after = ["asg/backend"]
"#;

const BOTH: [&str; 2] = ["dev/asg/backend", "dev/asg/frontend"];

fn stage() -> Stage {
    let stage = Stage::of(WORLD)
        .environments([
            ("environments/dev/environment.toml", ENVIRONMENT),
            ("environments/dev/pins.toml", "backend = \"2.0.0\"\nfrontend = \"1.4.0\"\n"),
        ])
        .start();
    stage.wait_for_sync(&BOTH);
    assert_eq!(stage.written(0), Vec::<String>::new(), "what is right already is left alone");
    stage
}

#[test]
fn a_bump_of_one_replaces_only_its_machines() {
    let stage = stage();
    let before = stage.fleet();
    let from = stage.last();

    stage.pin("dev", "frontend", "1.4.1");
    stage.wait_until("every frontend is of 1.4.1", |stage| stage.fleet().group_runs(DEV, "frontend", FRONTEND[1]));
    stage.wait_for_sync(&BOTH);

    let after = stage.fleet();
    assert_eq!(after.ids(DEV, "backend"), before.ids(DEV, "backend"), "the backend's machines are the same");
    let stayed = after.ids(DEV, "frontend").into_iter().filter(|id| before.ids(DEV, "frontend").contains(id)).count();
    assert_eq!(stayed, 0, "no frontend is of before");
    assert_eq!(stage.written(from), ["CreateLaunchTemplateVersion", "StartInstanceRefresh"]);
    let target = stage.target("dev/asg/frontend");
    assert_eq!([&target["desired"], &target["running"]], ["1.4.1", "1.4.1"]);
    assert_eq!([&target["updated"], &target["total"]], [3, 3]);
    stage.settles();
}

#[test]
fn both_at_once_go_in_order() {
    let stage = stage();
    let from = stage.last();

    stage.commit("release: 1.4.1 and 2.0.1", |repo| {
        set_pin(repo, "dev", "frontend", "1.4.1");
        set_pin(repo, "dev", "backend", "2.0.1");
    });
    stage.wait_until("both are of the new versions", |stage| {
        let fleet = stage.fleet();
        fleet.group_runs(DEV, "frontend", FRONTEND[1]) && fleet.group_runs(DEV, "backend", BACKEND[1])
    });
    stage.wait_for_sync(&BOTH);

    // The backend is put on a number first: a rollback has to lead somewhere.
    let expected = [
        "UpdateAutoScalingGroup",
        "CreateLaunchTemplateVersion",
        "StartInstanceRefresh",
        "CreateLaunchTemplateVersion",
        "StartInstanceRefresh",
    ];
    assert_eq!(stage.written(from), expected);
    let refreshes: Vec<String> = stage
        .writes(from)
        .iter()
        .filter_map(|call| call.params["AutoScalingGroupName"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(refreshes, ["backend", "backend", "frontend"]);
    let held = stage.held(DEV);
    let launched = |group: &str| -> Vec<i64> {
        let instances = held["groups"][group]["instances"].as_array().unwrap();
        instances.iter().map(|instance| instance["launched"].as_i64().unwrap()).collect()
    };
    let (last, first) = (launched("backend").into_iter().max(), launched("frontend").into_iter().min());
    assert!(last < first, "the last backend was launched at {last:?}, the first frontend at {first:?}");
    stage.settles();
}

#[test]
fn a_version_without_an_image_is_refused_until_there_is_one() {
    let stage = stage();
    let from = stage.last();

    stage.commit("release: 1.4.2 and 2.0.1", |repo| {
        set_pin(repo, "dev", "frontend", "1.4.2");
        set_pin(repo, "dev", "backend", "2.0.1");
    });
    stage.wait_for("dev/asg/frontend", "blocked");
    let reason = stage.reason("dev/asg/frontend");
    assert!(reason.contains("frontend-1.4.2"), "it says what is missing: {reason}");
    stage.wait_until("the backend is of 2.0.1", |stage| stage.fleet().group_runs(DEV, "backend", BACKEND[1]));
    assert_eq!(amis(&stage.fleet(), DEV, "frontend").into_iter().collect::<Vec<_>>(), [FRONTEND[0]]);
    assert!(stage.writes(from).iter().all(|call| !call.params.to_string().contains("frontend")));

    // Packer is late.
    let image = json!({ "name": "frontend-1.4.2", "shared_with": [DEV] });
    let baked = stage.meddle("/_sim/images", &json!({ "account": "111111111111", "image": image }));
    let ami = baked["id"].as_str().unwrap().to_owned();
    stage.wait_until("every frontend is of 1.4.2", |stage| stage.fleet().group_runs(DEV, "frontend", &ami));
    stage.wait_for_sync(&BOTH);
    stage.settles();
}
