//! Scenario 3: a base image, an application image on top of it, and the group is deployed again; one URL answers for the
//! application.

use std::time::Duration;

use crate::support::stage::http::Application;
use crate::support::stage::{Stage, amis};

const PROD: &str = "444444444444";
const NEW: &str = "ami-0a000000000000002";

/// The accounts.
pub(crate) const WORLD: &str = r#"
controller = "111111111111"
region = "us-west-1"

[[account]]
id = "444444444444"
name = "prod"
role = [{ name = "pinion" }]
image = [
    { id = "ami-0ba5e000000000001", name = "base-1", tags = { role = "base", version = "1" } },
    { id = "ami-0ba5e000000000002", name = "base-2", tags = { role = "base", version = "2" } },
    { id = "ami-0a000000000000001", name = "app 2026-10-01", tags = { role = "app", version = "1", base = "1" } },
    { id = "ami-0a000000000000002", name = "app 2026-11-01", tags = { role = "app", version = "2", base = "2" } },
]
launch_template = [
    { name = "app", version = [{ data = { ImageId = "ami-0a000000000000001", InstanceType = "t3.small" } }] },
]
group = [{ name = "app", launch_template = "app", desired = 4, max = 6, warmup = 15 }]
"#;

fn environment(url: &str) -> String {
    format!(
        r#"
[account]
id = "444444444444"
region = "us-west-1"
role = "arn:aws:iam::444444444444:role/pinion"

[asg.app]
ami = {{ tags = {{ role = "app", version = "{{version}}" }} }}

[asg.app.rollout]
min_healthy = 75
checkpoints = [50, 100]
checkpoint_delay = "1m"

[[asg.app.verify]]
http = "{url}"
status = 200
timeout = "1s"
within = "10m"
"#
    )
}

#[test]
fn the_url_has_the_last_word() {
    let application = Application::answering(200);
    let stage = Stage::of(WORLD)
        .environments([
            ("environments/prod/environment.toml", environment(&application.url("/")).as_str()),
            ("environments/prod/pins.toml", "app = \"1\"\n"),
        ])
        .start();
    stage.wait_for_sync(&["prod/asg/app"]);
    let (before, from) = (stage.fleet(), stage.last());

    application.answer(503);
    let asked = application.asked();
    stage.pin("prod", "app", "2");
    stage.wait_until("the refresh has ended well and the URL was probed", |stage| {
        // What Pinion says first, so that the truth is the later one of the two.
        let said = stage.target("prod/asg/app");
        let fleet = stage.fleet();
        let ended = fleet.refreshes(PROD, "app") == ["Successful"];
        if said["desired"] == "2" {
            assert_ne!(said["state"], "in-sync", "the URL doesn't answer as it should");
            assert!(ended || said["state"] != "verifying", "verifying before the refresh has ended");
        }
        ended && application.asked() > asked
    });
    assert!(stage.fleet().group_runs(PROD, "app", NEW));
    stage.wait_for("prod/asg/app", "verifying");
    // Probes run beside the passes: what one has found is in the next one's reason.
    stage.wait_until("it says what is wrong", |stage| stage.reason("prod/asg/app").contains("503"));
    stage.stays("the pin isn't converged", Duration::from_secs(2), |stage| stage.state("prod/asg/app") == "verifying");

    application.answer(200);
    stage.wait_for_sync(&["prod/asg/app"]);
    let after = stage.fleet();
    assert_eq!(amis(&after, PROD, "app").into_iter().collect::<Vec<_>>(), [NEW]);
    assert!(after.ids(PROD, "app").iter().all(|id| !before.ids(PROD, "app").contains(id)));
    assert_eq!(stage.written(from), ["CreateLaunchTemplateVersion", "StartInstanceRefresh"]);

    // What is converged isn't probed again and again.
    let asked = application.asked();
    stage.settles();
    assert_eq!(application.asked(), asked);
}
