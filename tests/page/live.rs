//! A rollout as it is seen in a browser, and its history after a restart: the built program against the simulator.

use serde_json::{Value, json};

use super::browser::{Browser, DESK};
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
    { id = "ami-0f000000000001402", name = "frontend-1.4.2", healthy = false },
]
launch_template = [{ name = "frontend", version = [{ data = { ImageId = "ami-0f000000000001400" } }] }]
group = [{ name = "frontend", launch_template = "frontend", version = "$Default", desired = 4, warmup = 15 }]
"#;

const ENVIRONMENT: &str = r#"
[account]
id = "222222222222"
region = "us-west-1"
role = "arn:aws:iam::222222222222:role/pinion"

[asg.frontend]
ami = { name = "frontend-{version}" }
"#;

#[test]
fn a_rollout_is_followed_without_a_reload_and_kept_across_a_restart() {
    let mut stage = Stage::of(WORLD)
        .environments([
            ("environments/dev/environment.toml", ENVIRONMENT),
            ("environments/dev/pins.toml", "frontend = \"1.4.0\"\n"),
        ])
        .speed(20.0)
        .start();
    stage.wait_for_sync(&["dev/asg/frontend"]);
    let browser = Browser::start();
    browser.open(&stage.url("/"), DESK);
    browser.eval(
        "window.seen = []; new MutationObserver(() => { \
           const row = document.querySelector('tbody tr'); \
           const now = row.dataset.state + ' ' + (row.querySelector('progress')?.value ?? ''); \
           if (seen.at(-1) !== now) seen.push(now); \
         }).observe(document.getElementById('main'), {subtree: true, childList: true, attributes: true, characterData: true}); true",
    );
    stage.commit("frontend: 1.4.1 <b>bold</b>", |repo| set_pin(repo, "dev", "frontend", "1.4.1"));
    browser.wait_for("the rollout", "document.querySelector('tbody tr').dataset.state === 'rolling-out'");
    browser.picture("rollout", false);
    browser.wait_for(
        "the end of the rollout",
        "document.querySelector('tbody tr').dataset.state === 'in-sync' && document.body.innerText.includes('1.4.1 succeeded')",
    );
    let seen = browser.eval("window.seen");
    assert!(seen.as_array().is_some_and(|seen| seen.len() >= 3), "it moved along: {seen}");
    assert!(browser.text("tbody tr").contains("frontend: 1.4.1 <b>bold</b>"));
    browser.is_quiet("a rollout");

    let events = |stage: &Stage| -> Value {
        let (status, text) = stage.get("/api/v1/history?target=dev/asg/frontend").unwrap();
        assert_eq!(status, 200, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()["events"].take()
    };
    let before = events(&stage);
    let kinds: Vec<&str> = before.as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        ["in-sync", "rollout-ended", "rollout-started", "pin-changed", "target-discovered"],
        "{before:#}"
    );
    stage.kill_controller();
    stage.start_controller();
    stage.wait_for_sync(&["dev/asg/frontend"]);
    stage.settles();
    assert_eq!(events(&stage), before, "a restart tells nothing twice, and forgets nothing");
    browser.open(&stage.url("/targets/dev/asg/frontend"), DESK);
    assert_eq!(browser.count(".feed li"), 5);
    assert_eq!(browser.eval("document.title"), json!("dev/asg/frontend: in-sync – Pinion"));
}
