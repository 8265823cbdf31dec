//! A mixed-instances policy whose override has a launch template of its own: each template has a base of its own.

use std::collections::BTreeMap;

use super::{AMIS, DEV, TERRAFORM, WEB, fleet, of_the_group};
use crate::support::stage::Stage;

/// The group of [`fleet`] with an override that launches from another template.
fn world() -> String {
    let one = AMIS[0];
    let template = |name: &str| {
        format!(
            "{{ name = \"{name}\", version = [{{ data = {{ ImageId = \"{one}\", InstanceType = \"t3.small\" }} }}] }}"
        )
    };
    let policy = "mixed = { overrides = [{ InstanceType = \"t3.small\" }, { InstanceType = \"t3.large\", \
                  LaunchTemplateSpecification = { LaunchTemplateName = \"spot\", Version = \"1\" } }] }";
    let fleet = fleet();
    let (head, _) = fleet.split_once("launch_template = [").unwrap();
    format!(
        "{head}launch_template = [{}, {}]\ngroup = [{{ name = \"web\", launch_template = \"web\", version = \"1\", \
         desired = 4, warmup = 2, {policy} }}]\n",
        template("web"),
        template("spot")
    )
}

/// What the instances run, if all of a template run the same: by the template's name the version's number, the image and the
/// user data.
fn runs(stage: &Stage) -> Option<BTreeMap<String, (u64, String, String)>> {
    let held = stage.held(DEV);
    let mut found = BTreeMap::new();
    for instance in held["groups"]["web"]["instances"].as_array()? {
        let (name, version) = (instance["template"]["name"].as_str()?, instance["template"]["version"].as_str()?);
        let template = held["templates"].as_object()?.values().find(|template| template["name"] == name)?;
        let data = &template["versions"][version]["data"];
        let text = |key: &str| data[key].as_str().unwrap_or_default().to_owned();
        let runs = (version.parse().ok()?, text("ImageId"), text("UserData"));
        if found.insert(name.to_owned(), runs.clone()).is_some_and(|other| other != runs) {
            return None;
        }
    }
    Some(found)
}

fn expected(web: (u64, &str, &str), spot: (u64, &str, &str)) -> Option<BTreeMap<String, (u64, String, String)>> {
    let of = |(number, image, data): (u64, &str, &str)| (number, image.to_owned(), data.to_owned());
    Some(BTreeMap::from([("web".to_owned(), of(web)), ("spot".to_owned(), of(spot))]))
}

/// A version that Terraform makes of a template, with the first image.
fn version(stage: &Stage, template: &str, user_data: &str) {
    let parameters = format!(
        "LaunchTemplateName={template}&LaunchTemplateData.ImageId={}&LaunchTemplateData.InstanceType=t3.small\
         &LaunchTemplateData.UserData={user_data}",
        AMIS[0]
    );
    stage.by_hand_in_ec2(TERRAFORM, "CreateLaunchTemplateVersion", &parameters);
}

#[test]
fn terraform_owns_the_user_data_of_each_template_of_a_policy() {
    let stage = Stage::of(&world())
        .environments([
            ("environments/dev/environment.toml", of_the_group()),
            ("environments/dev/pins.toml", "web = \"1.0.0\"\n".to_owned()),
        ])
        .speed(60.0)
        .start();
    let work = stage.repo().work().display().to_string();
    stage.wait_for_sync(&[WEB]);
    assert_eq!(stage.written(0), Vec::<String>::new(), "what runs has the newest shapes");
    assert_eq!(runs(&stage), expected((1, AMIS[0], ""), (1, AMIS[0], "")));

    // The override's template alone: the other one keeps its shape.
    version(&stage, "spot", "b25l");
    let plan = String::from_utf8(stage.run(&["plan", "--dir", &work]).stdout).unwrap();
    assert!(plan.contains("1+1 → 1+2 (registered by role/terraform"), "{plan}");
    assert!(plan.contains("user data changed; image stays ours") && !plan.contains("b25l"), "{plan}");
    let from = stage.last();
    stage.signal("HUP");
    stage.wait_until("it is rolled out", |stage| runs(stage) == expected((2, AMIS[0], ""), (3, AMIS[0], "b25l")));
    stage.wait_for_sync(&[WEB]);
    let (create, start) = ("CreateLaunchTemplateVersion", "StartInstanceRefresh");
    assert_eq!(stage.written(from), [create, create, start]);

    // The policy's own, and a pin: one refresh brings both, and the override keeps what it has.
    version(&stage, "web", "dHdv");
    let from = stage.last();
    stage.pin("dev", "web", "1.1.0");
    stage
        .wait_until("both are rolled out", |stage| runs(stage) == expected((4, AMIS[1], "dHdv"), (4, AMIS[1], "b25l")));
    stage.wait_for_sync(&[WEB]);
    assert_eq!(stage.written(from), [create, create, start]);
    let from = stage.last();
    stage.signal("HUP");
    stage.settles();
    assert_eq!(stage.written(from), Vec::<String>::new());
}
