//! Others who move a service or a group themselves, as CloudFormation, CDK and people in the console do: their rollouts are
//! waited for, and then the pinned image is put on the shape that they brought, once.

use serde_json::{Value, json};

use super::{
    AMIS, API, DEV, REGISTRY, ROLLOUT, WEB, environment, fleet, group_on, instances_run, of_the_group, on, runs, world,
};
use crate::failures::document::failure_mode;
use crate::support::stage::Stage;

const CLOUDFORMATION: &str = "arn:aws:iam::222222222222:role/cloudformation";
const PERSON: &str = "arn:aws:iam::222222222222:role/person";
/// The writes of a rollout of a group.
const REFRESH: [&str; 2] = ["CreateLaunchTemplateVersion", "StartInstanceRefresh"];

/// A stage on which the pin 1.1.0 is rolled out already.
fn stage(world: &str, environment: &str, (component, target): (&str, &str)) -> Stage {
    let others = "role = [{ name = \"pinion\" }, { name = \"terraform\" }, { name = \"cloudformation\" }, { name = \"person\" }]";
    let world = world.replace("role = [{ name = \"pinion\" }, { name = \"terraform\" }]", others);
    assert!(world.contains("person"), "{world}");
    let stage = Stage::of(&world)
        .environments([
            ("environments/dev/environment.toml", environment.to_owned()),
            ("environments/dev/pins.toml", format!("{component} = \"1.1.0\"\n")),
        ])
        .speed(60.0)
        .start();
    stage.wait_for_sync(&[target]);
    stage
}

/// Somebody does something that begins a rollout; it is seen under way, and waited for.
fn is_waited_for(stage: &Stage, target: &str, mode: &str, does: impl Fn()) {
    stage.meddle("/_sim/speed", &json!({ "speed": 1 }));
    does();
    failure_mode(mode).holds(stage, target);
    stage.settles();
}

/// A revision by somebody, with an image of their own, and the service moved to it.
fn registers_and_moves(stage: &Stage, role: &str, image: &str, memory: &str, variable: &str) {
    let definition = json!({
        "family": "api", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": memory,
        "containerDefinitions": [{
            "name": "app", "image": format!("{REGISTRY}/api:{image}"), "essential": true,
            "environment": [{ "name": variable, "value": "1" }],
        }],
    });
    let made = stage.by_hand(role, "RegisterTaskDefinition", &definition);
    moves(stage, role, made["taskDefinition"]["taskDefinitionArn"].as_str().unwrap());
}

fn moves(stage: &Stage, role: &str, definition: &str) {
    let update = json!({ "cluster": "app", "service": "api", "taskDefinition": definition });
    stage.by_hand(role, "UpdateService", &update);
}

#[test]
fn cloudformation_moves_a_service_and_the_image_is_put_right_once() {
    let stage = stage(&world(), &environment(), ("api", API));
    assert_eq!(on(&stage), runs(2, "512", &["api:1.1.0"], &[]));

    // A stack is updated: its revision has the image that the stack was made with.
    let from = stage.last();
    is_waited_for(&stage, API, "foreign-deployment", || {
        registers_and_moves(&stage, CLOUDFORMATION, "1.0.0", "1024", "STACK");
    });
    stage.meddle("/_sim/speed", &json!({ "speed": 60 }));
    stage.wait_until("the image is put right", |stage| on(stage) == runs(4, "1024", &["api:1.1.0"], &["STACK"]));
    stage.wait_for_sync(&[API]);
    stage.settles();
    assert_eq!(stage.written(from), [ROLLOUT, ROLLOUT].concat(), "theirs, and one of Pinion's");

    // A pin comes meanwhile: one rollout brings it on the new shape.
    let from = stage.last();
    is_waited_for(&stage, API, "foreign-deployment", || {
        registers_and_moves(&stage, CLOUDFORMATION, "1.0.0", "2048", "STACK");
    });
    stage.pin("dev", "api", "1.2.0");
    stage.wait_until("the pin is read", |stage| stage.target(API)["desired"] == "1.2.0");
    failure_mode("foreign-deployment").holds(&stage, API);
    stage.meddle("/_sim/speed", &json!({ "speed": 60 }));
    stage.wait_until("the pin is rolled out", |stage| on(stage) == runs(6, "2048", &["api:1.2.0"], &["STACK"]));
    stage.wait_for_sync(&[API]);
    stage.settles();
    assert_eq!(stage.written(from), [ROLLOUT, ROLLOUT].concat(), "theirs, and one of Pinion's");

    // A stack that has the pinned image: nothing is left to do.
    let from = stage.last();
    is_waited_for_right(&stage, API, || registers_and_moves(&stage, CLOUDFORMATION, "1.2.0", "1024", "STACK"));
    assert_eq!(on(&stage), runs(7, "1024", &["api:1.2.0"], &["STACK"]));
    assert_eq!(stage.written(from), ROLLOUT, "theirs only");
}

/// Somebody does something that leads to what is pinned.
fn is_waited_for_right(stage: &Stage, target: &str, does: impl Fn()) {
    does();
    stage.wait_until(&format!("{target} is there"), |stage| {
        let target = stage.target(target);
        target["state"] == "in-sync" && target["updated"] == 2
    });
    stage.settles();
}

/// What people do: `Create new revision` copies the tags of the one before, and so Pinion's mark.
#[test]
fn what_a_person_does_to_a_service_in_the_console_stays_but_for_the_image() {
    let by_terraform = "base_revision = \"newest\"\nbase_registered_by = [\"*:assumed-role/terraform/*\"]\n";
    let environment = environment().replace("base_revision = \"newest\"\n", by_terraform);
    let stage = stage(&world(), &environment, ("api", API));

    let asked = json!({ "taskDefinition": "api:2", "include": ["TAGS"] });
    let mut seen = stage.by_hand(PERSON, "DescribeTaskDefinition", &asked);
    let mut copy = seen["taskDefinition"].take();
    let members = copy.as_object_mut().unwrap();
    for said in ["taskDefinitionArn", "revision", "status", "registeredAt", "registeredBy", "requiresAttributes"] {
        members.remove(said);
    }
    members.remove("compatibilities");
    members.insert("tags".to_owned(), seen["tags"].take());
    members.insert("memory".to_owned(), "1024".into());
    let from = stage.last();
    is_waited_for_right(&stage, API, || {
        let made = stage.by_hand(PERSON, "RegisterTaskDefinition", &copy);
        moves(&stage, PERSON, made["taskDefinition"]["taskDefinitionArn"].as_str().unwrap());
    });
    assert_eq!(on(&stage), runs(3, "1024", &["api:1.1.0"], &[]));
    assert_eq!(stage.written(from), ROLLOUT, "theirs only: the image is the pinned one");

    // Back to Terraform's own revision, with its image. That with the pinned one is there already.
    let from = stage.last();
    is_waited_for(&stage, API, "foreign-deployment", || moves(&stage, PERSON, "api:1"));
    stage.meddle("/_sim/speed", &json!({ "speed": 60 }));
    stage.wait_until("the image is put right", |stage| on(stage) == runs(2, "512", &["api:1.1.0"], &[]));
    stage.wait_for_sync(&[API]);
    stage.settles();
    assert_eq!(stage.written(from), ["UpdateService"; 2], "theirs, and one of Pinion's");

    // A revision that only waits there is nobody's shape: this rule counts Terraform's.
    let theirs: Value = serde_json::from_str(&copy.to_string().replace("1024", "2048")).unwrap();
    let from = stage.last();
    stage.by_hand(PERSON, "RegisterTaskDefinition", &theirs);
    stage.signal("HUP");
    stage.settles();
    assert_eq!(stage.written(from), ["RegisterTaskDefinition"]);
    assert_eq!(super::register(&stage, "4096", &["LOG_LEVEL"], &[]), 5);
    stage.signal("HUP");
    stage.wait_until("Terraform's shape runs", |stage| on(stage) == runs(6, "4096", &["api:1.1.0"], &["LOG_LEVEL"]));
    stage.wait_for_sync(&[API]);
}

/// A version by somebody from another one, and the group's instances refreshed to it.
fn refreshes(stage: &Stage, role: &str, source: u64, image: &str, user_data: &str, makes: u64) {
    let version = format!(
        "LaunchTemplateName=web&SourceVersion={source}&LaunchTemplateData.ImageId={image}&LaunchTemplateData.UserData={user_data}"
    );
    stage.by_hand_in_ec2(role, "CreateLaunchTemplateVersion", &version);
    let refresh = format!(
        "AutoScalingGroupName=web&DesiredConfiguration.LaunchTemplate.LaunchTemplateName=web\
         &DesiredConfiguration.LaunchTemplate.Version={makes}"
    );
    stage.by_hand_in_a_group(role, "StartInstanceRefresh", &refresh);
}

#[test]
fn who_refreshes_a_group_is_waited_for_and_the_image_is_put_right_once() {
    let stage = stage(&fleet(), &of_the_group(), ("web", WEB));
    assert_eq!(group_on(&stage), instances_run(2, AMIS[1], "t3.small", ""));

    // A stack with an instance refresh, and the image that it was made with.
    let from = stage.last();
    is_waited_for(&stage, WEB, "foreign-refresh", || {
        refreshes(&stage, CLOUDFORMATION, 1, AMIS[0], "b25l", 3);
    });
    stage.meddle("/_sim/speed", &json!({ "speed": 60 }));
    stage
        .wait_until("the image is put right", |stage| group_on(stage) == instances_run(4, AMIS[1], "t3.small", "b25l"));
    stage.wait_for_sync(&[WEB]);
    stage.settles();
    assert_eq!(stage.written(from), [REFRESH, REFRESH].concat(), "theirs, and one of Pinion's");

    // A person, with the pinned image.
    let from = stage.last();
    is_waited_for_right(&stage, WEB, || refreshes(&stage, PERSON, 4, AMIS[1], "dHdv", 5));
    stage.wait_until("theirs runs", |stage| group_on(stage) == instances_run(5, AMIS[1], "t3.small", "dHdv"));
    stage.wait_for_sync(&[WEB]);
    stage.settles();
    assert_eq!(stage.written(from), REFRESH, "theirs only");

    // And with another one.
    let from = stage.last();
    is_waited_for(&stage, WEB, "foreign-refresh", || refreshes(&stage, PERSON, 5, AMIS[2], "dHJlcw==", 6));
    stage.meddle("/_sim/speed", &json!({ "speed": 60 }));
    stage.wait_until("the image is put right", |stage| {
        group_on(stage) == instances_run(7, AMIS[1], "t3.small", "dHJlcw==")
    });
    stage.wait_for_sync(&[WEB]);
    stage.settles();
    assert_eq!(stage.written(from), [REFRESH, REFRESH].concat());
    assert_eq!(stage.fleet().refreshes(DEV, "web").len(), 6);
}
