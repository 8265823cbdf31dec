//! Auto Scaling groups.

use serde_json::{Value, json};

use super::table::{blocked, warned};
use crate::support::stage::Stage;
use crate::support::stage::view::Call;

const DEV: &str = "222222222222";
const ROLE: &str = "arn:aws:iam::222222222222:role/pinion";
const OLD: &str = "ami-0f000000000000100";
const NEW: &str = "ami-0f000000000000101";

/// An account with an old and a new image of the component `frontend`, for Intel, and one for Graviton.
fn world(templates: &str, groups: &str) -> String {
    format!(
        r#"
controller = "111111111111"
region = "us-west-1"

[[account]]
id = "{DEV}"
name = "dev"
role = [{{ name = "pinion" }}]
image = [
    {{ id = "{OLD}", name = "frontend-1.0" }},
    {{ id = "{NEW}", name = "frontend-1.1" }},
    {{ id = "ami-0f000000000000102", name = "frontend-1.2", architecture = "arm64" }},
    {{ id = "ami-0f000000000000900", name = "proxy-1.0" }},
]
parameter = [{{ name = "/ami", data_type = "aws:ec2:image", versions = ["{OLD}"] }}]
launch_template = [
{templates}
]
group = [
{groups}
]
"#
    )
}

/// A template whose only version has this image.
fn template(name: &str, image: &str) -> String {
    format!(
        r#"    {{ name = "{name}", version = [{{ data = {{ ImageId = "{image}", InstanceType = "t3.small", KeyName = "{name}" }} }}] }},"#
    )
}

/// A stage with these groups as targets of the component `frontend`, pinned to `version`.
fn stage(world: &str, targets: &[&str], version: &str, speed: f64) -> Stage {
    let mut environment = format!("[account]\nid = \"{DEV}\"\nregion = \"us-west-1\"\nrole = \"{ROLE}\"\n");
    for name in targets {
        environment +=
            &format!("[asg.{name}]\ncomponent = \"frontend\"\nami = {{ name = \"frontend-{{version}}\" }}\n");
    }
    Stage::of(world)
        .environments([
            ("environments/dev/environment.toml", environment.as_str()),
            ("environments/dev/pins.toml", format!("frontend = \"{version}\"\n").as_str()),
        ])
        .speed(speed)
        .start()
}

/// The accepted writes about a group, and about launch templates whose names begin with its own.
fn writes(stage: &Stage, from: u64, group: &str) -> Vec<Call> {
    let held = stage.held(DEV);
    let of_it = |call: &Call| match call.params["LaunchTemplateId"].as_str() {
        Some(id) => held["templates"][id]["name"].as_str().unwrap().starts_with(group),
        None => call.params["AutoScalingGroupName"] == group,
    };
    stage.writes(from).into_iter().filter(|call| call.status == 200 && of_it(call)).collect()
}

fn names(calls: &[Call]) -> Vec<&str> {
    calls.iter().map(|call| call.operation.as_str()).collect()
}

/// What a group launches from, as the simulator holds it.
fn source(stage: &Stage, group: &str) -> Value {
    stage.held(DEV)["groups"][group]["source"].clone()
}

/// A policy without the versions of launch templates: what is not Pinion's.
fn without_versions(mut policy: Value) -> Value {
    policy["Mixed"]["template"]["version"] = Value::Null;
    for given in policy["Mixed"]["overrides"].as_array_mut().unwrap() {
        if let Some(own) = given.get_mut("LaunchTemplateSpecification") {
            own["Version"] = Value::Null;
        }
    }
    // A form has only text.
    for figure in policy["Mixed"]["distribution"].as_object_mut().unwrap().values_mut() {
        *figure = Value::from(figure.to_string().trim_matches('"'));
    }
    policy
}

/// Instances wait at hooks before they come into service and before they go, and a warm pool stands beside the group.
#[test]
fn hooks_and_warm_pools_are_waited_for() {
    let groups = r#"
    { name = "hooked", launch_template = "hooked", desired = 2, warmup = 10, warm_pool = {}, hooks = {
        launching = { name = "boot", timeout = 30, proceeds = true }, terminating = { name = "drain", timeout = 30 },
    } },
"#;
    let stage = stage(&world(&template("hooked", OLD), groups), &["hooked"], "1.0", 60.0);
    stage.wait_for_sync(&["dev/asg/hooked"]);
    stage.settles();
    let from = stage.last();
    let lifecycles = |stage: &Stage| -> Vec<String> {
        let group = &stage.held(DEV)["groups"]["hooked"];
        let instances = group["instances"].as_array().unwrap().iter();
        instances.map(|one| one["lifecycle"].as_str().unwrap().to_owned()).collect()
    };

    stage.pin("dev", "frontend", "1.1");
    for state in ["PendingWait", "TerminatingWait"] {
        stage.wait_until(&format!("an instance is {state}"), |stage| lifecycles(stage).iter().any(|it| it == state));
        assert_eq!(stage.target("dev/asg/hooked")["state"], "rolling-out");
    }
    stage.wait_until("hooked runs 1.1", |stage| stage.fleet().group_runs(DEV, "hooked", NEW));
    stage.wait_for_sync(&["dev/asg/hooked"]);
    let pool = stage.held(DEV)["groups"]["hooked"]["warm_pool"]["instances"].clone();
    let images: Vec<&str> = pool.as_array().unwrap().iter().map(|one| one["image"].as_str().unwrap()).collect();
    assert_eq!(images, [NEW, NEW], "a refresh replaces what is in the pool as well");
    // Hours later the pool still stands there, and nothing is written about it.
    stage.settles();
    assert_eq!(names(&writes(&stage, from, "hooked")), ["CreateLaunchTemplateVersion", "StartInstanceRefresh"]);
}

#[test]
fn every_way_to_name_a_template_is_served() {
    let templates: Vec<String> = ["latest", "default", "mixed", "own", "own-big", "moving", "moving-big", "kept"]
        .iter()
        .map(|name| template(name, OLD))
        .collect();
    let groups = r#"
    { name = "latest", launch_template = "latest", version = "$Latest", desired = 2, warmup = 10 },
    { name = "default", launch_template = "default", version = "$Default", desired = 2, warmup = 10 },
    { name = "kept", launch_template = "kept", desired = 4, warmup = 10, maintenance = [50, 150] },
    { name = "mixed", launch_template = "mixed", desired = 3, warmup = 10, mixed = { overrides = [
        { InstanceType = "t3.small", WeightedCapacity = "1" },
        { InstanceType = "t3.medium", WeightedCapacity = "1" },
    ], distribution = { OnDemandBaseCapacity = 1, OnDemandPercentageAboveBaseCapacity = 25, SpotAllocationStrategy = "price-capacity-optimized" } } },
    { name = "own", launch_template = "own", desired = 4, warmup = 10, mixed = { overrides = [
        { InstanceType = "t3.small" },
        { InstanceType = "t3.large", LaunchTemplateSpecification = { LaunchTemplateName = "own-big", Version = "1" } },
        { InstanceType = "t3.xlarge", LaunchTemplateSpecification = { LaunchTemplateName = "own-big", Version = "1" } },
    ] } },
    { name = "moving", launch_template = "moving", version = "$Latest", desired = 2, warmup = 10, mixed = { overrides = [
        { InstanceType = "t3.small" },
        { InstanceType = "t3.large", LaunchTemplateSpecification = { LaunchTemplateName = "moving-big", Version = "$Default" } },
    ], distribution = { OnDemandPercentageAboveBaseCapacity = 0 } } },
"#;
    let all = ["latest", "default", "kept", "mixed", "own", "moving"];
    let stage = stage(&world(&templates.join("\n"), groups), &all, "1.0", 60.0);
    let targets: Vec<String> = all.iter().map(|name| format!("dev/asg/{name}")).collect();
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    stage.wait_for_sync(&targets);
    stage.settles();
    let from = stage.last();
    let before: Vec<Value> = all.iter().map(|name| source(&stage, name)).collect();

    stage.pin("dev", "frontend", "1.1");
    for name in all {
        stage.wait_until(&format!("{name} runs 1.1"), |stage| stage.fleet().group_runs(DEV, name, NEW));
    }
    stage.wait_for_sync(&targets);
    stage.settles();

    // On a number before there is any new version.
    let (number, create, start) = ("UpdateAutoScalingGroup", "CreateLaunchTemplateVersion", "StartInstanceRefresh");
    for name in ["latest", "default"] {
        let calls = writes(&stage, from, name);
        assert_eq!(names(&calls), [number, create, start], "{name}");
        assert_eq!(calls[0].params["LaunchTemplate"]["Version"], "1");
        assert_eq!(calls[2].params["Preferences"]["AutoRollback"], "true", "{}", calls[2].params);
    }
    assert_eq!(names(&writes(&stage, from, "moving")), [number, create, create, start]);
    assert_eq!(names(&writes(&stage, from, "mixed")), [create, start]);
    assert_eq!(names(&writes(&stage, from, "own")), [create, create, start]);

    // The policy stays what it was but for the versions; every template has the new image.
    for (name, was) in all.iter().zip(&before).filter(|(_, was)| was.get("Mixed").is_some()) {
        let now = source(&stage, name);
        assert_ne!(now, *was, "{name}");
        assert_eq!(without_versions(now), without_versions(was.clone()), "{name}");
    }
    assert_eq!(source(&stage, "own")["Mixed"]["overrides"][2]["LaunchTemplateSpecification"]["Version"], "2");
    let held = stage.held(DEV);
    for template in held["templates"].as_object().unwrap().values() {
        let version = &template["versions"]["2"]["data"];
        assert_eq!(version["ImageId"], NEW, "{}", template["name"]);
        assert_eq!(version["KeyName"], template["name"], "all else is inherited");
    }
    // Instances of both templates were there, and both run the new image.
    let launched: Vec<String> = held["groups"]["own"]["instances"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["template"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert!(launched.contains(&"own".to_owned()) && launched.contains(&"own-big".to_owned()), "{launched:?}");
    // What the group's maintenance policy says is left to it.
    let started = writes(&stage, from, "kept").pop().unwrap();
    assert_eq!(started.params["Preferences"].get("MinHealthyPercentage"), None);
    let bounds = &held["groups"]["kept"]["refreshes"][0]["preferences"];
    assert_eq!((&bounds["min_healthy"], &bounds["max_healthy"]), (&json!(50), &json!(150)));
}

#[test]
fn a_policy_is_rolled_back_as_a_whole() {
    let bad = r#"image = [{ id = "ami-0f0000000000001bd", name = "frontend-1.3", healthy = false },"#;
    let templates = [template("web", OLD), template("web-big", OLD)].join("\n");
    let groups = r#"
    { name = "web", launch_template = "web", desired = 2, warmup = 10, mixed = { overrides = [
        { InstanceType = "t3.small" },
        { InstanceType = "t3.large", LaunchTemplateSpecification = { LaunchTemplateName = "web-big", Version = "1" } },
    ] } },
"#;
    let world = world(&templates, groups).replace("image = [", bad);
    let world = world.replace("[[account]]", "[timing]\nno_progress = 300\n[[account]]");
    let stage = stage(&world, &["web"], "1.0", 240.0);
    stage.wait_for_sync(&["dev/asg/web"]);
    let (from, before) = (stage.last(), source(&stage, "web"));

    stage.pin("dev", "frontend", "1.3");
    stage.wait_for("dev/asg/web", "quarantined");
    assert_eq!(stage.fleet().refreshes(DEV, "web"), ["RollbackSuccessful"]);
    assert_eq!(source(&stage, "web"), before, "the policy was never touched");
    stage.wait_until("all is of 1.0 again", |stage| stage.fleet().group_runs(DEV, "web", OLD));
    stage.settles();
    assert_eq!(writes(&stage, from, "web").len(), 3, "tried once");

    stage.pin("dev", "frontend", "1.1");
    stage.wait_until("1.1 runs", |stage| stage.fleet().group_runs(DEV, "web", NEW));
    stage.wait_for_sync(&["dev/asg/web"]);
}

#[test]
fn what_cannot_be_rolled_out_says_what_to_change() {
    let parameter = template("parameter", "resolve:ssm:/ami");
    let wanting = r#"    { name = "wanting", version = [{ data = { ImageId = "IMAGE", InstanceRequirements = { VCpuCount = { Min = 2 } } } }] },"#
        .replace("IMAGE", OLD);
    let mut templates: Vec<String> =
        ["web", "asked", "paused", "named"].iter().map(|name| template(name, OLD)).collect();
    templates.extend([template("proxy", "ami-0f000000000000900"), parameter, wanting]);
    let groups = r#"
    { name = "parameter", launch_template = "parameter", desired = 1 },
    { name = "wanting", launch_template = "wanting", desired = 1 },
    { name = "asked", launch_template = "asked", desired = 1, mixed = { overrides = [{ InstanceRequirements = { VCpuCount = { Min = 2 } } }] } },
    { name = "named", launch_template = "named", desired = 1, mixed = { overrides = [{ InstanceType = "t3.small", ImageId = "ami-0f000000000000900" }] } },
    { name = "other", launch_template = "web", desired = 2, mixed = { overrides = [
        { InstanceType = "t3.small" },
        { InstanceType = "t3.large", LaunchTemplateSpecification = { LaunchTemplateName = "proxy", Version = "1" } },
    ] } },
    { name = "configured", launch_configuration = { name = "web-2019", image = "ami-0f000000000000100" }, desired = 1 },
    { name = "paused", launch_template = "paused", desired = 1, warmup = 10, suspended = ["Launch", "Terminate", "AZRebalance"] },
    { name = "unwatched", launch_template = "web", desired = 1, warmup = 10, suspended = ["ReplaceUnhealthy"] },
"#;
    let all = ["parameter", "wanting", "asked", "named", "other", "configured", "paused", "unwatched"];
    let world = world(&templates.join("\n"), groups);
    let stage = stage(&world, &all, "1.1", 60.0);
    blocked(&stage, "dev/asg/parameter", "template with `resolve:ssm:`");
    blocked(&stage, "dev/asg/wanting", "instance requirements in the launch template");
    blocked(&stage, "dev/asg/asked", "instance requirements in a mixed-instances policy");
    blocked(&stage, "dev/asg/named", "override that names an AMI itself");
    blocked(&stage, "dev/asg/other", "override whose template has another image");
    blocked(&stage, "dev/asg/configured", "launch configuration");
    blocked(&stage, "dev/asg/paused", "process suspended that a refresh needs");
    stage.wait_for_sync(&["dev/asg/unwatched"]);
    stage.settles();
    assert!(writes(&stage, 0, "paused").is_empty(), "nothing was begun that could not be ended");

    // What is fixed by hand goes on by itself.
    stage.by_hand_in_a_group(ROLE, "ResumeProcesses", "AutoScalingGroupName=paused");
    stage.wait_until("paused runs 1.1", |stage| stage.fleet().group_runs(DEV, "paused", NEW));
    stage.wait_for_sync(&["dev/asg/paused"]);
}

#[test]
fn an_image_for_another_architecture_is_not_begun() {
    let groups = r#"
    { name = "web", launch_template = "web", desired = 1, warmup = 10 },
    { name = "mixed", launch_template = "mixed", desired = 2, warmup = 10, mixed = { overrides = [{ InstanceType = "m7i.large" }, { InstanceType = "m7g.large" }] } },
"#;
    let templates = [template("web", OLD), template("mixed", OLD)].join("\n");
    // The instances that a launch template for both would have can't all start; what runs is not the point here.
    let stage = stage(&world(&templates, groups), &["web", "mixed"], "1.2", 60.0);
    blocked(&stage, "dev/asg/web", "AMI for another architecture than the instance types");
    blocked(&stage, "dev/asg/mixed", "AMI for another architecture than the instance types");
    stage.settles();
    assert_eq!(stage.written(0), Vec::<String>::new());

    stage.pin("dev", "frontend", "1.1");
    stage.wait_until("web runs 1.1", |stage| stage.fleet().group_runs(DEV, "web", NEW));
    stage.wait_for_sync(&["dev/asg/web"]);
}

#[test]
fn what_a_refresh_waits_for_is_said() {
    let names = ["kept", "guarded", "standing", "unwatched"];
    let templates: Vec<String> = names.iter().map(|name| template(name, OLD)).collect();
    let groups = r#"
    { name = "kept", launch_template = "kept", desired = 2, warmup = 10, protected = 1 },
    { name = "guarded", launch_template = "guarded", desired = 1, warmup = 10, protects = true },
    { name = "standing", launch_template = "standing", desired = 2, warmup = 10, standby = 1 },
    { name = "unwatched", launch_template = "unwatched", desired = 1, warmup = 600, suspended = ["HealthCheck"] },
"#;
    let stage = stage(&world(&templates.join("\n"), groups), &names, "1.0", 30.0);
    let held = stage.held(DEV);
    let instance = |group: &str, key: &str, value: Value| {
        let all = held["groups"][group]["instances"].as_array().unwrap();
        all.iter().find(|one| one[key] == value).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let (kept, standing) =
        (instance("kept", "protected", json!(true)), instance("standing", "lifecycle", json!("Standby")));
    stage.pin("dev", "frontend", "1.1");
    warned(&stage, "dev/asg/kept", "instances protected from scale-in");
    warned(&stage, "dev/asg/guarded", "new instances protected from scale-in");
    warned(&stage, "dev/asg/standing", "instances in standby");
    warned(&stage, "dev/asg/unwatched", "process suspended that tells good from bad");
    for (name, instance) in [("kept", &kept), ("standing", &standing)] {
        let target = format!("dev/asg/{name}");
        stage.wait_until("the refresh waits", |stage| {
            let rest =
                stage.fleet().instances(DEV, name).into_iter().filter(|one| one.id != *instance).collect::<Vec<_>>();
            !rest.is_empty() && rest.iter().all(|one| one.ami == NEW)
        });
        assert_eq!(stage.state(&target), "rolling-out", "{name}");
        assert!(stage.fleet().ids(DEV, name).contains(instance), "{name}: it was left alone");
    }
    stage.by_hand_in_a_group(
        ROLE,
        "SetInstanceProtection",
        &format!("AutoScalingGroupName=kept&InstanceIds.member.1={kept}&ProtectedFromScaleIn=false"),
    );
    stage.by_hand_in_a_group(
        ROLE,
        "ExitStandby",
        &format!("AutoScalingGroupName=standing&InstanceIds.member.1={standing}"),
    );
    for name in ["kept", "standing"] {
        stage.wait_until("it goes on", |stage| stage.fleet().group_runs(DEV, name, NEW));
    }
    stage.wait_for_sync(&["dev/asg/kept", "dev/asg/standing"]);
    assert_eq!(stage.target("dev/asg/kept")["warnings"], json!([]));
}
