//! Guardrails in the running controller: the built program, a Git server and the AWS simulator.

use std::time::Duration;

use serde_json::json;

use crate::support::shop;
use crate::support::stage::process::pinion;
use crate::support::stage::{Git, Stage};

const DEV: &str = "222222222222";
const PROD: &str = "333333333333";
const TARGETS: [&str; 3] = ["dev/asg/frontend", "dev/fargate/api", "prod/asg/frontend"];

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
launch_template = [{ name = "frontend", version = [{ data = { ImageId = "ami-0f000000000001400" } }] }]
group = [{ name = "frontend", launch_template = "frontend", desired = 2, warmup = 15 }]
repository = [{ name = "api", image = [{ tags = ["1.0.0"] }, { tags = ["1.1.0"] }] }]

[[account.task_definition]]
[account.task_definition.definition]
family = "api"
networkMode = "awsvpc"
requiresCompatibilities = ["FARGATE"]
cpu = "256"
memory = "512"
containerDefinitions = [
    { name = "app", image = "222222222222.dkr.ecr.us-west-1.amazonaws.com/api:1.0.0", essential = true },
]

[[account.cluster]]
name = "app"
service = [{ name = "api", task_definition = "api", desired = 2 }]

[[account]]
id = "333333333333"
name = "prod"
role = [{ name = "pinion" }]
image = [
    { id = "ami-0e000000000001400", name = "frontend-1.4.0" },
    { id = "ami-0e000000000001401", name = "frontend-1.4.1" },
]
launch_template = [{ name = "frontend", version = [{ data = { ImageId = "ami-0e000000000001400" } }] }]
group = [{ name = "frontend", launch_template = "frontend", desired = 2, warmup = 15 }]
"#;

const DEFAULTS: &str = r#"
[account]
region = "us-west-1"
role = "arn:aws:iam::{account}:role/pinion"
[asg.frontend]
ami = { name = "frontend-{version}" }
"#;
const DEV_TOML: &str = r#"
[account]
id = "222222222222"
[fargate.api]
cluster = "app"
image = "{account}.dkr.ecr.{region}.amazonaws.com/api:{version}"
"#;
const PROD_TOML: &str = "[account]\nid = \"333333333333\"\n[promotion]\nfrom = \"dev\"\n";

const SOAK: &str = r#"
@id("soak")
@reason("not in sync in dev yet")
forbid (principal, action, resource)
when { context has promotion && !context.promotion.in_sync };
"#;
const ONE_AT_A_TIME: &str = r#"
@id("one-at-a-time")
@reason("another one rolls out")
forbid (principal, action, resource)
when { context.rolling.all >= 1 };
"#;
const NO_DOWNGRADE: &str = include_str!("../../docs/guardrails/no-downgrade.cedar");

fn stage() -> Stage {
    let stage = Stage::of(WORLD)
        .environments([
            ("environments/defaults.toml", DEFAULTS),
            ("environments/dev/environment.toml", DEV_TOML),
            ("environments/dev/pins.toml", "api = \"1.0.0\"\nfrontend = \"1.4.0\"\n"),
            ("environments/prod/environment.toml", PROD_TOML),
            ("environments/prod/pins.toml", "frontend = \"1.4.0\"\n"),
            ("policies/guardrails/soak.cedar", SOAK),
            ("policies/guardrails/one-at-a-time.cedar", ONE_AT_A_TIME),
            ("policies/guardrails/no-downgrade.cedar", NO_DOWNGRADE),
        ])
        .git(Git::http_with_token("t0ken"))
        .looking_every("1s", "1s")
        .start();
    stage.wait_for_sync(&TARGETS);
    stage
}

/// What a command printed.
fn printed(stage: &Stage, arguments: &[&str]) -> String {
    let output = stage.run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_version_soaks_and_one_target_rolls_out_at_a_time() {
    let stage = stage();
    let work = stage.repo().work().display().to_string();
    let explain = ["policy", "explain", "prod/asg/frontend", "--dir", &work];
    let start = stage.last();
    stage.commit("release", |repo| {
        crate::support::stage::set_pin(repo, "dev", "frontend", "1.4.1");
        crate::support::stage::set_pin(repo, "dev", "api", "1.1.0");
        crate::support::stage::set_pin(repo, "prod", "frontend", "1.4.1");
    });
    stage.wait_until("prod waits for dev", |stage| {
        stage.reason("prod/asg/frontend").contains("soak: not in sync in dev")
    });
    let text = printed(&stage, &explain);
    assert!(text.starts_with("prod/asg/frontend  1.4.0 → 1.4.1  at "), "{text}");
    assert!(text.contains("  !  soak           forbids  not in sync in dev yet\n"), "{text}");
    assert!(text.contains("     no-downgrade   allows\n"), "{text}");
    assert!(text.ends_with("Forbidden, and time alone won't change that.\n"), "{text}");
    let denials = "pinion_guardrail_denials_total{component=\"frontend\",environment=\"prod\",kind=\"asg\",\
                   policy=\"soak\",target=\"prod/asg/frontend\"}";
    assert_eq!(stage.metric(denials), Some(1.0));

    stage.wait_until("all are in sync", |stage| {
        let rolling = TARGETS.iter().filter(|target| stage.state(target) == "rolling-out").count();
        // Three looks, one after the other: between the first and the last one may have ended and the next begun.
        let again = TARGETS.iter().filter(|target| stage.state(target) == "rolling-out").count();
        assert!(rolling.min(again) <= 1, "{rolling} at once");
        let done = |target: &str, version: &str| {
            let status = stage.target(target);
            status["state"] == "in-sync" && status["running"] == version
        };
        done(TARGETS[0], "1.4.1") && done(TARGETS[1], "1.1.0") && done(TARGETS[2], "1.4.1")
    });
    assert!(stage.fleet().group_runs(DEV, "frontend", "ami-0f000000000001401"));
    assert!(stage.fleet().group_runs(PROD, "frontend", "ami-0e000000000001401"));
    let started = stage.written(start);
    let starts: Vec<&String> =
        started.iter().filter(|call| call.contains("StartInstanceRefresh") || call.contains("UpdateService")).collect();
    assert_eq!(starts.len(), 3, "{started:?}");
    let text = printed(&stage, &explain);
    assert!(text.contains("in sync in dev since ") && text.ends_with("Allowed.\n"), "{text}");
}

#[test]
fn soaking_holds_up_neither_healing_nor_what_is_not_promoted() {
    let soak = include_str!("../../docs/guardrails/soak.cedar");
    let policy = ("policies/guardrails/soak.cedar".to_owned(), soak.to_owned());
    let stage = Stage::of(&shop::world()).environments(shop::environments().into_iter().chain([policy])).start();
    stage.wait_for_sync(&["dev/fargate/api", "prod/fargate/api"]);
    stage.pin("dev", "backend", "1.1.0");
    stage.wait_until("dev moves on", |stage| shop::runs(stage, shop::DEV, "1.1.0"));
    stage.wait_for_sync(&["dev/fargate/api"]);

    // Somebody rolls out in prod by hand: what is pinned there comes back, though dev runs something else by now.
    let role = format!("arn:aws:iam::{}:role/pinion", shop::PROD);
    let image = format!("{}.dkr.ecr.us-west-1.amazonaws.com/api:1.2.0", shop::PROD);
    let definition = json!({
        "family": "api", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
        "containerDefinitions": [{"name": "app", "image": image, "essential": true}],
    });
    let made = stage.by_hand(&role, "RegisterTaskDefinition", &definition);
    let made = made["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned();
    let from = stage.last();
    stage.by_hand(&role, "UpdateService", &json!({"cluster": "shop", "service": "api", "taskDefinition": made}));
    let rolled = |stage: &Stage| stage.written(from).iter().filter(|call| *call == "UpdateService").count();
    stage.wait_until("it is healed", |stage| rolled(stage) == 2 && shop::runs(stage, shop::PROD, "1.0.0"));
    stage.wait_for_sync(&["prod/fargate/api"]);

    // Another version soaks, until dev no longer has the component at all.
    let work = stage.repo().work().display().to_string();
    let explain = ["policy", "explain", "prod/fargate/api", "--dir", &work];
    stage.pin("prod", "backend", "1.1.0");
    stage.wait_until("it soaks", |stage| stage.reason("prod/fargate/api").contains("soak: "));
    let text = printed(&stage, &explain);
    assert!(text.contains("in sync in dev since ") && text.contains("  !  soak    forbids"), "{text}");
    // To the second, since nobody reads more.
    let times: Vec<&str> = text
        .split_whitespace()
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| word.starts_with("20") && word.contains('T'))
        .collect();
    assert!(times.len() >= 2 && times.iter().all(|time| time.len() == "2026-01-02T12:00:00Z".len()), "{times:?}");
    stage.commit("dev: another service", |repo| {
        let path = "environments/dev/environment.toml";
        let environment = std::fs::read_to_string(repo.work().join(path)).unwrap();
        repo.write(path, environment.replace("component = \"backend\"", "component = \"other\""));
        repo.write("environments/dev/pins.toml", "other = \"1.1.0\"\n");
    });
    stage.wait_until("prod is on its own", |stage| shop::runs(stage, shop::PROD, "1.1.0"));
    stage.wait_for_sync(&["prod/fargate/api"]);
    let text = printed(&stage, &explain);
    assert!(text.contains("there is no such component in dev\n") && text.ends_with("Allowed.\n"), "{text}");
}

#[test]
fn a_downgrade_waits_for_a_commit_that_says_so() {
    let stage = stage();
    stage.pin("dev", "frontend", "1.4.1");
    stage.wait_until("it runs", |stage| stage.target("dev/asg/frontend")["running"] == "1.4.1");
    stage.wait_for_sync(&["dev/asg/frontend"]);
    let start = stage.last();
    stage.pin("dev", "frontend", "1.4.0");
    stage.wait_until("it is forbidden", |stage| stage.reason("dev/asg/frontend").contains("no-downgrade"));
    stage.stays("nothing is written", Duration::from_secs(3), |stage| stage.writes(start).is_empty());
    stage.pin("dev", "frontend", "1.4.1");
    stage.commit("frontend back to 1.4.0\n\nIt is slow.\n\nRollback: 1.4.1 is slow\n", |repo| {
        crate::support::stage::set_pin(repo, "dev", "frontend", "1.4.0");
    });
    stage.wait_until("it went back", |stage| stage.fleet().group_runs(DEV, "frontend", "ami-0f000000000001400"));
    stage.wait_for_sync(&["dev/asg/frontend"]);
}

#[test]
fn an_invalid_policy_denies_all_but_what_runs_already() {
    let stage = stage();
    let valid = format!("pinion_guardrails_valid{{branch=\"main\",repository=\"{}\"}}", stage.git_url());
    assert_eq!(stage.metric(&valid), Some(1.0));
    assert_eq!(stage.status()["repositories"][0]["guardrails"], 3);

    stage.pin("dev", "frontend", "1.4.1");
    stage.wait_until("a refresh runs", |stage| !stage.fleet().refreshes(DEV, "frontend").is_empty());
    let bad = "policies/guardrails/soak.cedar";
    stage.commit("a mistake", |repo| {
        repo.write(bad, SOAK.replace("in_sync", "insync"));
        crate::support::stage::set_pin(repo, "dev", "api", "1.1.0");
    });
    stage.wait_until("it is said", |stage| stage.metric(&valid) == Some(0.0));
    stage.wait_until("nothing new is started", |stage| {
        stage.reason("dev/fargate/api").contains("pinion:invalid-policies: the policies are invalid")
    });
    let errors = stage.status()["repositories"][0]["guardrail_errors"].to_string();
    assert!(errors.contains("policies/guardrails/soak.cedar:5:"), "{errors}");
    let status = printed(&stage, &["status"]);
    assert!(status.contains("are invalid, so nothing is rolled out:\n  policies/guardrails/soak.cedar:5:"), "{status}");
    // What runs is never abandoned.
    stage.wait_until("the refresh ends well", |stage| {
        stage.fleet().group_runs(DEV, "frontend", "ami-0f000000000001401")
            && stage.state("dev/asg/frontend") == "in-sync"
    });
    assert!(stage.reason("dev/fargate/api").contains("pinion:invalid-policies"));
    stage.commit("repaired", |repo| {
        repo.write(bad, SOAK);
    });
    stage.wait_for_sync(&["dev/fargate/api"]);
    assert_eq!(stage.metric(&valid), Some(1.0));
}

#[test]
fn a_controller_that_starts_anew_knows_how_long_a_version_has_soaked() {
    let mut stage = stage();
    stage.pin("dev", "frontend", "1.4.1");
    stage.wait_until("it runs", |stage| stage.target("dev/asg/frontend")["running"] == "1.4.1");
    stage.wait_for_sync(&["dev/asg/frontend"]);
    let since = |stage: &Stage| stage.target("dev/asg/frontend")["in_sync_since"].as_str().unwrap().to_owned();
    let before: jiff::Timestamp = since(&stage).parse().unwrap();
    stage.kill_controller();
    std::thread::sleep(Duration::from_secs(5));
    stage.start_controller();
    stage.wait_until_ready();
    let after: jiff::Timestamp = since(&stage).parse().unwrap();
    let moved = after.duration_since(before).abs();
    assert!(moved < jiff::SignedDuration::from_secs(4), "{before} was it before, {after} now");
}

const FREEZES: &str = r#"
@id("last-year")
@reason("long over")
forbid (principal, action, resource)
when { context.now < datetime("2021-01-04") };

@id("for-now")
@reason("nobody is here")
@owner("ops@example.com")
forbid (principal, action, resource in Environment::"prod")
when { context.now >= datetime("2021-01-04") && context.now < datetime("2136-01-04T08:00:00+0100") };
"#;

#[test]
fn a_freeze_that_has_ended_is_told_everywhere() {
    let stage = Stage::of(WORLD)
        .environments([
            ("environments/defaults.toml", DEFAULTS),
            ("environments/prod/environment.toml", PROD_TOML.split_once("[promotion]").unwrap().0),
            ("environments/prod/pins.toml", "frontend = \"1.4.1\"\n"),
            ("policies/guardrails/freezes.cedar", FREEZES),
        ])
        .start();
    stage.wait_for("prod/asg/frontend", "pending");
    let repository = &stage.status()["repositories"][0];
    assert_eq!(
        repository["guardrail_ends"],
        serde_json::json!([
            { "policy": "for-now", "reason": "nobody is here (ops@example.com)", "until": "2136-01-04T07:00:00Z" },
            { "policy": "last-year", "reason": "long over", "until": "2021-01-04T00:00:00Z" },
        ])
    );
    let metric = |policy: &str| {
        let labels = format!("branch=\"main\",policy=\"{policy}\",repository=\"{}\"", stage.git_url());
        stage.metric(&format!("pinion_guardrail_ends_timestamp_seconds{{{labels}}}"))
    };
    assert_eq!(metric("last-year"), Some(1_609_718_400.0));
    assert!(metric("for-now") > Some(5_000_000_000.0));
    let (_, page) = stage.get("/").unwrap();
    assert!(page.contains("last-year ended 2021-01-04 00:00:00 UTC: take it out"), "{page}");
    assert!(page.contains("for-now until 2136-01-04 07:00:00 UTC"), "{page}");
    let status = printed(&stage, &["status"]);
    assert!(status.contains("guardrail last-year of ") && status.contains("ended at 2021-01-04T00:00:00Z"), "{status}");
    assert!(!status.contains("guardrail for-now of "), "{status}");

    let work = stage.repo().work().display().to_string();
    let text = printed(&stage, &["policy", "explain", "prod/asg/frontend", "--dir", &work]);
    assert!(text.contains("last-year  allows   it ended at 2021-01-04T00:00:00Z: take it out\n"), "{text}");
    assert!(text.contains("forbids  until 2136-01-04T07:00:00Z: nobody is here (ops@example.com)\n"), "{text}");
    let output = stage.run(&["validate", &work]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "a warning is no finding: {said}");
    assert_eq!(
        said,
        "policies/guardrails/freezes.cedar:2: warning: last-year: this policy ended at 2021-01-04T00:00:00Z and forbids \
         nothing any more; take it out\n"
    );
    let output = stage.run(&["validate", &work, "--output", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["valid"], &report["warnings"][0]["check"]), (&true.into(), &"policy-ended".into()));
}

#[test]
fn validate_refuses_a_folder_with_such_a_policy() {
    let folder = tempfile::tempdir().unwrap();
    let soak = include_str!("../../docs/guardrails/soak.cedar").replace("promotion.hours", "promotion.hour");
    let environment = "[account]\nid = \"222222222222\"\nregion = \"us-west-1\"\nrole = \
                       \"arn:aws:iam::222222222222:role/pinion\"\n[asg.web]\nami = { id = \"{version}\" }\n";
    for (path, text) in [
        ("environments/dev/environment.toml", environment),
        ("environments/dev/pins.toml", "web = \"ami-0f000000000001400\"\n"),
        ("policies/guardrails/soak.cedar", soak.as_str()),
    ] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let output = pinion(folder.path()).arg("validate").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let line = soak.lines().position(|line| line.contains("promotion.hour ")).unwrap() + 1;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.starts_with(&format!("policies/guardrails/soak.cedar:{line}:")) && said.contains("`promotion.hour`"),
        "{said}"
    );
}
