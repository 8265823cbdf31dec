//! A controller in whose life everything happens once, so that its scrape has every metric and label value that alerts and
//! dashboards look at.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::support::stage::{Stage, set_pin};

const WORLD: &str = r#"
controller = "111111111111"
region = "us-west-1"

[[account]]
id = "222222222222"
name = "dev"
role = [{ name = "pinion" }]
image = [
    { id = "ami-0f000000000001400", name = "frontend-1.4.0" },
    { id = "ami-0f000000000001401", name = "frontend-1.4.1" },
]
launch_template = [
    { name = "web", version = [{ data = { ImageId = "ami-0f000000000001400" } }] },
    { name = "frozen", version = [{ data = { ImageId = "ami-0f000000000001400" } }] },
    { name = "idle", version = [{ data = { ImageId = "ami-0f000000000001400" } }] },
]
group = [
    { name = "web", launch_template = "web", version = "1", desired = 2, warmup = 20 },
    { name = "frozen", launch_template = "frozen", version = "1", desired = 1 },
    { name = "idle", launch_template = "idle", version = "1", desired = 1 },
]
"#;

const ENVIRONMENT: &str = r#"
[account]
id = "222222222222"
region = "us-west-1"
role = "arn:aws:iam::222222222222:role/pinion"

[asg.web]
component = "frontend"
ami = { name = "frontend-{version}" }

[asg.frozen]
component = "other"
ami = { name = "frontend-{version}" }

[asg.idle]
component = "frontend"
ami = { name = "frontend-{version}" }
suspend = { owner = "ops@example.com", reason = "moved", until = 2036-01-01T00:00:00Z }
"#;

const FREEZE: &str = r#"
@id("freeze")
@reason("not now")
forbid (principal, action == Action::"rollout", resource)
when { resource.component == "other" && context.now < datetime("2136-01-01") };
"#;

/// A new SSH key, and the file that says that it is the committer's.
fn signer(folder: &Path) -> std::path::PathBuf {
    let key = folder.join("key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().unwrap();
    assert!(made.success());
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    std::fs::write(folder.join("allowed_signers"), format!("forge@example.com {public}")).unwrap();
    key
}

/// The scrape.
pub(crate) fn of_everything() -> String {
    let keys = TempDir::new().unwrap();
    let key = signer(keys.path());
    let allowed = keys.path().join("allowed_signers");
    let stage = Stage::of(WORLD)
        .signed_with(&key)
        .repository_with(&format!("[repository.verify]\nallowed_signers = \"{}\"\n", allowed.display()))
        .configured_with("[[notify]]\nname = \"nobody\"\nurl = \"http://127.0.0.1:9/\"\n")
        .environments([
            ("environments/dev/environment.toml", ENVIRONMENT),
            ("environments/dev/pins.toml", "frontend = \"1.4.0\"\nother = \"1.4.0\"\n"),
            ("policies/guardrails/freeze.cedar", FREEZE),
        ])
        .speed(20.0)
        .start();
    stage.wait_for_sync(&["dev/asg/web", "dev/asg/frozen"]);
    stage.commit("everything: 1.4.1", |repo| {
        set_pin(repo, "dev", "frontend", "1.4.1");
        set_pin(repo, "dev", "other", "1.4.1");
    });
    stage.wait_for("dev/asg/web", "rolling-out");
    stage.wait_for("dev/asg/frozen", "pending");
    stage.wait_until("the rollout has an age", |stage| scrape(stage).contains("pinion_rollout_age_seconds{"));
    let age = scrape(&stage);
    stage.wait_for_sync(&["dev/asg/web"]);
    stage.meddle("/_sim/faults", &json!({"operation": "DescribeAutoScalingGroups", "kind": "throttle"}));
    stage.wait_until("a call is throttled and a pass fails", |stage| {
        let counted = |series| stage.metric(series).is_some_and(|value| value > 0.0);
        counted(r#"pinion_aws_throttles_total{environment="dev",service="autoscaling"}"#)
            && counted(r#"pinion_reconcile_total{environment="dev",result="failed"}"#)
    });
    stage.repair();
    // The next start has to assume the role again, and is refused once.
    let mut stage = stage;
    let before = scrape(&stage);
    stage.kill_controller();
    let denied = json!({"operation": "AssumeRole", "kind": "error", "code": "AccessDenied", "status": 403, "times": 1});
    stage.meddle("/_sim/faults", &denied);
    stage.start_controller();
    let refused = r#"pinion_assume_role_failures_total{environment="dev"}"#;
    stage.wait_until("a role isn't assumed", |stage| stage.metric(refused).is_some_and(|value| value > 0.0));
    [age, before, scrape(&stage)].concat()
}

fn scrape(stage: &Stage) -> String {
    stage.get("/metrics").map(|(_, text)| text).unwrap_or_default()
}
