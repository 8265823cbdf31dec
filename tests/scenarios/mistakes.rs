//! Mistakes in the environments repository: all of them are found at once, and they stop nobody else.

use std::collections::BTreeSet;

use crate::support::stage::process::pinion;
use crate::support::stage::{Stage, set_pin};

const DEV: &str = "222222222222";
const IMAGE: [&str; 2] = ["ami-0f000000000001400", "ami-0f000000000001401"];

fn world() -> String {
    let account = |id: &str, name: &str| {
        format!(
            r#"
[[account]]
id = "{id}"
name = "{name}"
role = [{{ name = "pinion" }}]
image = [
    {{ id = "ami-0f000000000001400", name = "frontend-1.4.0" }},
    {{ id = "ami-0f000000000001401", name = "frontend-1.4.1" }},
]
launch_template = [{{ name = "frontend", version = [{{ data = {{ ImageId = "ami-0f000000000001400" }} }}] }}]
group = [{{ name = "frontend", launch_template = "frontend", desired = 2, warmup = 15 }}]
"#
        )
    };
    // Only so that each has an image of its own, under an id of its own.
    let prod = account("444444444444", "prod").replace("ami-0f", "ami-0e");
    format!("controller = \"111111111111\"\nregion = \"us-west-1\"\n{}{prod}", account(DEV, "dev"))
}

fn environment(id: &str) -> String {
    format!(
        r#"[account]
id = "{id}"
region = "us-west-1"
role = "arn:aws:iam::{id}:role/pinion"

[asg.frontend]
ami = {{ name = "frontend-{{version}}" }}
"#
    )
}

const PINS: &str = "frontend = \"1.4.0\"\n";

/// Each line that ends in a number is a mistake. `api` (3) has no pin, and nothing uses the pin of `worker` (10).
const BROKEN: &str = r#"[account]
id = "44444444444"                                    # 1: eleven digits
region = "us-west-1"
role = "arn:aws:iam::444444444444:role/pinion"

[asg.frontend]
grup = "frontend"                                     # 2: no such key
ami = { name = "frontend-{versoin}" }                 # 4: no such placeholder
after = ["fargate/nobody"]                            # 5: no such target

[asg.frontend.rollout]
min_healthy = 101                                     # 6: out of range
warmup = "90"                                         # 7: no unit
bake = 600                                            # 8: no text

[fargate.api]
cluster = "app"
image = "444444444444.dkr.ecr.us-west-1.amazonaws.com/api:{version}"

[[fargate.api.verify]]
http = "ftp://example.com/health"                     # 9: not http
"#;
const BROKEN_PINS: &str = "frontend = \"1.4.0\"\nworker = \"7\"\n";

/// `path:line` of what `pinion validate` found.
fn located(text: &str) -> BTreeSet<String> {
    let place = |line: &str| {
        let mut parts = line.splitn(4, ':');
        let (path, line, column) = (parts.next()?, parts.next()?, parts.next()?);
        let number = |text: &str| text.parse::<u32>().is_ok_and(|number| number > 0);
        (path.starts_with("environments/") && number(line) && number(column)).then(|| format!("{path}:{line}"))
    };
    text.lines().filter_map(place).collect()
}

#[test]
fn ten_mistakes_are_ten_located_errors() {
    let folder = tempfile::tempdir().unwrap();
    let prod = folder.path().join("environments/prod");
    std::fs::create_dir_all(&prod).unwrap();
    std::fs::write(prod.join("environment.toml"), BROKEN).unwrap();
    std::fs::write(prod.join("pins.toml"), BROKEN_PINS).unwrap();

    let output = pinion(folder.path()).args(["validate", "."]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}{errors}");
    let file = "environments/prod/environment.toml";
    let mut expected: BTreeSet<String> =
        [2, 7, 8, 9, 12, 13, 14, 16, 21].into_iter().map(|line| format!("{file}:{line}")).collect();
    expected.insert("environments/prod/pins.toml:2".to_owned());
    assert_eq!(located(&text), expected, "{text}");
    assert!(errors.contains("10 findings"), "{errors}");
}

#[test]
fn a_broken_environment_stops_nobody_else() {
    let stage = Stage::of(&world())
        .environments([
            ("environments/dev/environment.toml", environment(DEV).as_str()),
            ("environments/dev/pins.toml", PINS),
            ("environments/prod/environment.toml", environment("444444444444").as_str()),
            ("environments/prod/pins.toml", PINS),
        ])
        .start();
    stage.wait_for_sync(&["dev/asg/frontend", "prod/asg/frontend"]);
    let (before, from) = (stage.fleet(), stage.last());

    // One commit breaks prod and bumps dev.
    stage.commit("release: 1.4.1", |repo| {
        set_pin(repo, "dev", "frontend", "1.4.1");
        repo.write("environments/prod/environment.toml", BROKEN);
        repo.write("environments/prod/pins.toml", "frontend = \"1.4.1\"\nworker = \"7\"\n");
    });
    stage.wait_until("dev is of 1.4.1", |stage| stage.fleet().group_runs(DEV, "frontend", IMAGE[1]));
    stage.wait_for_sync(&["dev/asg/frontend", "prod/asg/frontend"]);
    let (group, prod) = ("frontend", "444444444444");
    assert_eq!(stage.fleet().group(prod, group), before.group(prod, group), "prod is as it was");
    assert!(stage.writes(from).iter().all(|call| call.account.as_deref() == Some(DEV)));

    let status = stage.status();
    let broken = &status["environments"]["prod"];
    assert_eq!(broken["valid"], false);
    assert_eq!(broken["errors"].as_array().unwrap().len(), 10, "{broken:#}");
    assert_eq!(broken["targets"]["asg/frontend"]["desired"], "1.4.0", "its last good desired state");
    assert_eq!(stage.metric("pinion_environment_valid{environment=\"prod\"}"), Some(0.0));
    assert_eq!(stage.metric("pinion_environment_valid{environment=\"dev\"}"), Some(1.0));

    // It is fixed, and goes on.
    stage.commit("prod: fixed", |repo| {
        repo.write("environments/prod/environment.toml", environment(prod));
        repo.write("environments/prod/pins.toml", "frontend = \"1.4.1\"\n");
    });
    let ami = IMAGE[1].replace("ami-0f", "ami-0e");
    stage.wait_until("prod is of 1.4.1", |stage| stage.fleet().group_runs(prod, group, &ami));
    stage.wait_for_sync(&["dev/asg/frontend", "prod/asg/frontend"]);
    stage.settles();
}
