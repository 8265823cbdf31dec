//! `pinion plan` on a pull request: what a change causes, as text, as a comment and as JSON, checked against the simulator;

//! what is wrong with an artifact; what is waited for; what change limits will hold. Nothing is ever written.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::masked::masked;
use crate::support::python;
use crate::support::stage::{Stage, set_pin};

const WORLD: &str = r#"
controller = "111111111111"
region = "us-west-1"

[[account]]
id = "111111111111"
name = "tools"
image = [
    { id = "ami-0f000000000001400", name = "frontend-1.4.0", shared_with = ["222222222222", "444444444444"] },
    { id = "ami-0f000000000001401", name = "frontend-1.4.1", shared_with = ["222222222222", "444444444444"], tags = { revision = "4f1e2d3c" } },
    { id = "ami-0f000000000001402", name = "frontend-1.4.2", shared_with = ["222222222222", "444444444444"], architecture = "arm64" },
    { id = "ami-0f000000000001403", name = "frontend-1.4.3", shared_with = ["222222222222", "444444444444"], deprecated = true },
    { id = "ami-0f000000000001404", name = "frontend-1.4.4", shared_with = ["222222222222"] },
]
repository = [{ name = "api", allowed = ["222222222222", "444444444444"], image = [{ tags = ["1"] }, { tags = ["2"] }] }]

[[account]]
id = "222222222222"
name = "dev"
role = [{ name = "pinion" }]
launch_template = [{ name = "frontend", version = [{ data = { ImageId = "ami-0f000000000001400", InstanceType = "t3.small" } }] }]
group = [{ name = "frontend", launch_template = "frontend", desired = 2, warmup = 15 }]
task_definition = [{ definition = { family = "api", networkMode = "awsvpc", requiresCompatibilities = ["FARGATE"], cpu = "256", memory = "512", containerDefinitions = [{ name = "app", image = "111111111111.dkr.ecr.us-west-1.amazonaws.com/api:1", essential = true }] } }]
cluster = [{ name = "app", service = [{ name = "api", task_definition = "api", desired = 2 }] }]

[[account]]
id = "444444444444"
name = "prod"
role = [{ name = "pinion" }]
launch_template = [{ name = "frontend", version = [{ data = { ImageId = "ami-0f000000000001400", InstanceType = "m7i.large" } }] }]
group = [{ name = "frontend", launch_template = "frontend", version = "$Latest", desired = 10, warmup = 15 }]
task_definition = [{ definition = { family = "api", networkMode = "awsvpc", requiresCompatibilities = ["FARGATE"], cpu = "256", memory = "512", runtimePlatform = { cpuArchitecture = "ARM64", operatingSystemFamily = "LINUX" }, containerDefinitions = [{ name = "app", image = "111111111111.dkr.ecr.us-west-1.amazonaws.com/api:1", essential = true }] } }]
cluster = [{ name = "app", service = [{ name = "api", task_definition = "api", desired = 4, configuration = { minimumHealthyPercent = 50, maximumPercent = 100, deploymentCircuitBreaker = { enable = true, rollback = true } } }] }]
"#;

const DEFAULTS: &str = r#"
[account]
region = "us-west-1"
role = "arn:aws:iam::{account}:role/pinion"

[asg.frontend]
ami = { name = "frontend-{version}", owner = "111111111111" }

[fargate.api]
cluster = "app"
image = "111111111111.dkr.ecr.us-west-1.amazonaws.com/api:{version}"
"#;

const PROD: &str = r#"
[account]
id = "444444444444"

[promotion]
from = "dev"

[asg.frontend]
after = ["fargate/api"]

[asg.frontend.rollout]
min_healthy = 90
max_healthy = 120
warmup = "90s"
checkpoints = [20, 50, 100]
checkpoint_delay = "5m"
bake = "10m"
"#;

const SOAK: &str = include_str!("../docs/guardrails/soak.cedar");
const PINS: &str = "api = \"1\"\nfrontend = \"1.4.0\"\n";

/// Two accounts on 1.4.0 and 1, and a branch to change that.
fn stage() -> Stage {
    let stage = Stage::of(WORLD)
        .environments([
            ("environments/defaults.toml", DEFAULTS),
            ("environments/dev/environment.toml", "[account]\nid = \"222222222222\"\n"),
            ("environments/dev/pins.toml", PINS),
            ("environments/prod/environment.toml", PROD),
            ("environments/prod/pins.toml", PINS),
            ("policies/guardrails/soak.cedar", SOAK),
        ])
        .without_controller()
        // What somebody else rolls out is to be under way still when it is looked at.
        .speed(1.0)
        .start();
    stage.repo().branch("change");
    stage
}

fn plan(stage: &Stage, more: &[&str]) -> Output {
    let work = stage.repo().work().display().to_string();
    let mut arguments = vec!["plan", "--dir", &work];
    arguments.extend(more);
    stage.run(&arguments)
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The plan as JSON, which fits its schema.
fn report(stage: &Stage, more: &[&str]) -> (Value, Option<i32>) {
    let mut arguments = vec!["--output", "json"];
    arguments.extend(more);
    let output = plan(stage, &arguments);
    let text = said(&output);
    let report = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}"));
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/plan.schema.json");
    let validate = "import json, sys, jsonschema\n\
                    schema = json.load(open(sys.argv[1]))\n\
                    jsonschema.Draft7Validator.check_schema(schema)\n\
                    jsonschema.Draft7Validator(schema).validate(json.load(sys.stdin))\n";
    python::run(&["-c", validate, schema], &text);
    (report, output.status.code())
}

fn target<'a>(report: &'a Value, reference: &str) -> &'a Value {
    let (environment, _) = reference.split_once('/').unwrap();
    let targets = report["environments"][environment]["targets"].as_array().unwrap();
    targets.iter().find(|target| target["target"] == reference).unwrap_or_else(|| panic!("{reference}: {report:#}"))
}

#[test]
fn a_change_is_told_as_text_comment_and_json() {
    let stage = stage();
    set_pin(stage.repo(), "dev", "frontend", "1.4.1");
    set_pin(stage.repo(), "prod", "frontend", "1.4.1");
    set_pin(stage.repo(), "prod", "api", "2");
    stage.repo().commit("frontend 1.4.1, and the api that it needs");

    let text = plan(&stage, &["--base", "main", "--detailed-exitcode"]);
    assert_eq!(text.status.code(), Some(2), "{text:?}");
    insta::assert_snapshot!("text", masked(&said(&text)));

    let comment = said(&plan(&stage, &["--base", "main", "--output", "markdown"]));
    assert!(comment.starts_with(&format!("{}\n", pinion::cli::plan::MARKER)), "{comment}");
    insta::assert_snapshot!("comment", masked(&comment));

    let (report, code) = report(&stage, &["--base", "main"]);
    assert_eq!(code, Some(0));
    insta::assert_snapshot!("json", masked(&serde_json::to_string_pretty(&report).unwrap()));
    assert_eq!(report["base"]["commit"], stage.repo().git(&["rev-parse", "main"]));

    // Without a base everything is shown, and what doesn't change, too.
    let all = said(&plan(&stage, &[]));
    assert!(all.contains("dev/fargate/api") && all.contains("in-sync"), "{all}");
    // One environment alone still knows where its pins are promoted from.
    let prod = said(&plan(&stage, &["prod", "--base", "main"]));
    assert!(prod.contains("soak") && !prod.contains("\n    dev/asg/frontend"), "{prod}");
    assert_eq!(stage.written(0), Vec::<String>::new());
}

#[test]
fn an_artifact_that_will_not_do_is_named() {
    let stage = stage();
    let change = |version: &str| {
        set_pin(stage.repo(), "dev", "frontend", version);
        stage.repo().commit("another frontend");
        report(&stage, &["--base", "main"])
    };
    let check = |report: &Value, name: &str| {
        let checks = target(report, "dev/asg/frontend")["checks"].as_array().unwrap();
        checks.iter().find(|check| check["check"] == name).cloned().unwrap_or_default()
    };

    let (missing, code) = change("9.9.9");
    assert_eq!(code, Some(1));
    assert_eq!(target(&missing, "dev/asg/frontend")["state"], "blocked");
    let usable = check(&missing, "usable");
    assert_eq!(usable["ok"], false);
    assert!(usable["detail"].as_str().unwrap().starts_with("there is no AMI named `frontend-9.9.9`"), "{usable}");

    // Another processor: planning itself refuses it, and the question is answered all the same.
    let (other, code) = change("1.4.2");
    assert_eq!(code, Some(1), "{other:#}");
    let shown = target(&other, "dev/asg/frontend").to_string();
    assert!(shown.contains("arm64") && shown.contains("t3.small"), "{shown}");
    assert_eq!(target(&other, "dev/asg/frontend")["state"], "blocked");
    assert_eq!(check(&other, "fits")["ok"], false, "{shown}");
    let text = said(&plan(&stage, &["--base", "main"]));
    assert!(text.contains("  !  dev/asg/frontend  blocked  ami-0f000000000001400 → 1.4.2"), "{text}");
    // What isn't there yet has nothing that something could fit.
    stage.repo().write(
        "environments/dev/environment.toml",
        "[account]\nid = \"222222222222\"\n[asg.frontend]\ngroup = \"new\"\n",
    );
    let (nowhere, _) = change("1.4.1");
    assert_eq!(check(&nowhere, "fits"), Value::Null);
    stage.repo().git(&["checkout", "--quiet", "main", "--", "environments/dev/environment.toml"]);

    let (old, code) = change("1.4.3");
    assert_eq!(code, Some(0), "a deprecated AMI works: {old:#}");
    assert_eq!(check(&old, "current")["ok"], false);
    assert_eq!(check(&old, "fits")["ok"], true);

    // Shared with dev, and forgotten for prod.
    set_pin(stage.repo(), "prod", "frontend", "1.4.4");
    let (shared, code) = change("1.4.4");
    assert_eq!(code, Some(1));
    assert_eq!(check(&shared, "usable")["ok"], true);
    let prod = target(&shared, "prod/asg/frontend");
    assert!(prod["reason"].as_str().unwrap().contains("shared with account 444444444444"), "{prod}");
    assert_eq!(stage.written(0), Vec::<String>::new());
}

#[test]
fn settings_and_guardrails_are_changes_too() {
    let stage = stage();
    let repo = stage.repo();
    let parts = |report: &Value, reference: &str| target(report, reference)["changed"].clone();
    repo.write("environments/prod/environment.toml", PROD.replace("min_healthy = 90", "min_healthy = 50"));
    repo.commit("faster");
    let (faster, _) = report(&stage, &["--base", "main"]);
    assert_eq!(parts(&faster, "prod/asg/frontend"), json!(["rollout"]));
    assert_eq!(faster["environments"]["prod"]["targets"].as_array().unwrap().len(), 1);
    let comment = said(&plan(&stage, &["--base", "main", "--output", "markdown"]));
    let row = "| `prod/asg/frontend` | `1.4.0` | `1.4.0` | in-sync; changed: rollout |";
    assert!(comment.contains(row) && comment.contains("Not touched: `dev`."), "{comment}");
    // Words between policies mean nothing.
    repo.write("policies/guardrails/soak.cedar", format!("// The same.\n{SOAK}"));
    repo.commit("a comment");
    assert_eq!(report(&stage, &["--base", "main"]).0["policies"], json!([]));

    // Something waits for a guardrail; without that it doesn't.
    repo.git(&["checkout", "--quiet", "-B", "waiting", "main"]);
    set_pin(repo, "prod", "api", "2");
    repo.commit("api 2");
    repo.branch("released");
    let more = "@id(\"more\")\n@reason(\"no\")\nforbid (principal, action, resource == Target::\"dev/fargate/api\");\n";
    repo.git(&["rm", "--quiet", "policies/guardrails/soak.cedar"]);
    repo.write("policies/guardrails/more.cedar", more);
    repo.commit("other guardrails");
    let (released, _) = report(&stage, &["--base", "waiting"]);
    let changes = json!([{ "policy": "more", "change": "added" }, { "policy": "soak", "change": "removed" }]);
    assert_eq!(released["policies"], changes);
    assert_eq!(parts(&released, "prod/fargate/api"), json!(["guardrails"]));
    assert_eq!((&released["changes"], &released["waiting"]), (&json!(1), &json!(0)));
    let comment = said(&plan(&stage, &["--base", "waiting", "--output", "markdown"]));
    assert!(comment.contains("- Guardrail `more` is added.\n- Guardrail `soak` is removed.\n"), "{comment}");
    let text = said(&plan(&stage, &["--base", "waiting"]));
    assert!(text.contains("guardrail more is added\nguardrail soak is removed\n"), "{text}");
    assert!(
        text.contains("dev  account 222222222222, us-west-1\n  nothing in this change touches it\n\nprod"),
        "{text}"
    );
}

#[test]
fn what_is_in_the_way_is_named_with_its_end() {
    let stage = stage();
    let now = jiff_now();
    let soon = (now + jiff::SignedDuration::from_hours(30)).strftime("%Y-%m-%dT%H:%M:00Z").to_string();
    let freeze = format!(
        "@id(\"freeze\")\n@reason(\"moving house\")\nforbid (principal, action == Action::\"rollout\", resource)\nwhen {{ \
         context.now < datetime(\"{soon}\") }};\n"
    );
    stage.repo().write("policies/guardrails/freeze.cedar", freeze);
    set_pin(stage.repo(), "dev", "api", "2");
    stage.repo().commit("api 2");
    let (frozen, _) = report(&stage, &["--base", "main"]);
    let api = target(&frozen, "dev/fargate/api");
    assert_eq!(api["denied_by"], json!([{ "policy": "freeze", "reason": "moving house" }]));
    assert_eq!(api["allowed_from"], soon.as_str(), "{api:#}");

    // Somebody deploys there.
    stage.repo().git(&["rm", "--quiet", "policies/guardrails/freeze.cedar"]);
    stage.repo().commit("no freeze");
    stage.by_hand(
        "arn:aws:iam::222222222222:role/pinion",
        "UpdateService",
        &json!({ "cluster": "app", "service": "api", "forceNewDeployment": true }),
    );
    let (foreign, _) = report(&stage, &["--base", "main"]);
    let api = target(&foreign, "dev/fargate/api");
    assert_eq!(api["state"], "pending", "{api:#}");
    assert_eq!(api["in_progress"]["ours"], false);
    let comment = said(&plan(&stage, &["--base", "main", "--output", "markdown"]));
    assert!(comment.contains("a rollout that Pinion didn't start"), "{comment}");
    assert!(comment.contains("not this pin's: it is waited for"), "{comment}");
}

#[test]
fn broken_files_and_change_limits_are_shown_in_the_comment() {
    let stage = stage();
    let repo = stage.repo();
    // All of prod goes.
    repo.git(&["rm", "-r", "--quiet", "environments/prod"]);
    repo.commit("no prod");
    let comment = said(&plan(&stage, &["--base", "main", "--output", "markdown"]));
    assert!(comment.contains("**Held by the blast-radius limit:** this change `removes prod`"), "{comment}");
    assert!(comment.contains("- `prod` is looked after until its removal is acknowledged."), "{comment}");
    repo.commit("yes\n\nPinion-Acknowledge: blast-radius");
    let (report, _) = report(&stage, &["--base", "main"]);
    assert_eq!(report["change_limit"]["acknowledged"], true);
    assert_eq!(report["removed"], json!(["prod"]));
    let comment = said(&plan(&stage, &["--base", "main", "--output", "markdown"]));
    assert!(comment.contains("- `prod` is no longer looked after"), "{comment}");

    // Both pins of prod, where none may move freely.
    repo.git(&["checkout", "--quiet", "-b", "other", "main"]);
    set_pin(repo, "prod", "frontend", "1.4.1");
    set_pin(repo, "prod", "api", "2");
    repo.commit("all of it");
    let strict = ["--base", "main", "--output", "json", "--change-limit-always-allowed", "0"];
    let held: Value = serde_json::from_str(&said(&plan(&stage, &strict))).unwrap();
    let reason = target(&held, "prod/fargate/api")["reason"].as_str().unwrap();
    assert!(reason.contains("moves 2 of 2 pins of prod at once, more than 50 %"), "{reason}");
    assert!(reason.contains("`Pinion-Acknowledge: blast-radius`"), "{reason}");

    set_pin(repo, "prod", "api", "2 or so");
    let broken = plan(&stage, &["--base", "main", "--output", "markdown", "prod"]);
    assert_eq!(broken.status.code(), Some(1));
    let comment = said(&broken);
    assert!(comment.contains("1 mistake in the files, nothing was planned"), "{comment}");
    assert!(comment.contains("environments/prod/pins.toml:1"), "{comment}");
}

/// What is wrong in one environment stops nobody else, in `plan` as in `run`.
#[test]
fn what_is_broken_keeps_nobody_else_from_being_planned() {
    let stage = stage();
    let repo = stage.repo();
    set_pin(repo, "dev", "api", "2 or so");
    repo.write("environments/_template/environment.toml", "x = 1\n");
    set_pin(repo, "prod", "frontend", "1.4.1");
    // Everything is new here, and so all of it is this change's doing.
    let (new, code) = report(&stage, &["--base", "main"]);
    assert_eq!(code, Some(1));
    assert_eq!(target(&new, "prod/asg/frontend")["change"], true);
    assert_eq!((&new["removed"], &new["change_limit"]), (&json!([]), &Value::Null), "dev isn't gone");
    let findings = |report: &Value, of: &str| -> Vec<String> {
        let all = report[of].as_array().unwrap().iter();
        all.map(|one| one.as_str().unwrap().split(':').next().unwrap().to_owned()).collect()
    };
    let files = ["environments/_template", "environments/dev/pins.toml"];
    assert_eq!(
        (findings(&new, "findings"), findings(&new, "earlier_findings").len()),
        (files.map(str::to_owned).into(), 0)
    );
    let output = plan(&stage, &["--output", "markdown"]);
    let comment = said(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(comment.contains("1 to roll out, 1 of them waiting, 2 mistakes in the files"), "{comment}");
    assert!(
        comment.contains("This is wrong, and what it is about isn't planned:\n\n- ``environments/_template"),
        "{comment}"
    );
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("2 findings: the rest was planned"), "{errors}");

    // It is merged like this, and the next change is another one's.
    repo.commit("broken");
    set_pin(repo, "prod", "api", "2");
    repo.commit("prod: api 2");
    let (next, code) = report(&stage, &["--base", "HEAD~1"]);
    assert_eq!(code, Some(0), "{next:#}");
    assert_eq!(target(&next, "prod/fargate/api")["change"], true);
    assert_eq!(
        (findings(&next, "findings").len(), findings(&next, "earlier_findings")),
        (0, files.map(str::to_owned).into())
    );
    let comment = said(&plan(&stage, &["--base", "HEAD~1", "--output", "markdown"]));
    assert!(comment.contains("This was wrong before, and what it is about isn't planned:"), "{comment}");

    // Guardrails that make no sense forbid everything.
    repo.write("policies/guardrails/soak.cedar", "forbid (");
    let output = plan(&stage, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("nothing was planned"));
}

fn jiff_now() -> jiff::Timestamp {
    #[expect(clippy::disallowed_methods, reason = "the binary under test looks at the real clock")]
    jiff::Timestamp::now()
}

#[test]
fn the_workflow_has_the_least_rights_and_finds_its_comment() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/pinion-plan.yml");
    let text = std::fs::read_to_string(path).unwrap();
    let loaded =
        python::run(&["-c", "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"], &text);
    let workflow: Value = serde_json::from_str(&loaded).unwrap();
    // YAML 1.1 reads the key `on` as true.
    let on = workflow.get("on").or_else(|| workflow.get("true")).unwrap();
    assert_eq!(on.as_object().unwrap().keys().collect::<Vec<_>>(), ["pull_request"]);
    assert_eq!(workflow["permissions"], json!({}));
    let jobs = &workflow["jobs"];
    assert_eq!(jobs["plan"]["permissions"], json!({ "contents": "read", "id-token": "write" }));
    assert_eq!(jobs["comment"]["permissions"], json!({ "pull-requests": "write" }));
    let same_repository = "github.event.pull_request.head.repo.full_name == github.repository";
    assert!(jobs["comment"]["if"].as_str().unwrap().contains(same_repository));
    for (name, job) in jobs.as_object().unwrap() {
        for step in job["steps"].as_array().unwrap() {
            // Pinion itself, by its own version; a fork's pull request is validated with it, too.
            let own = concat!("/pinion/.github/actions/setup-pinion@v", env!("CARGO_PKG_VERSION"));
            if let Some(uses) = step["uses"].as_str().filter(|uses| !uses.ends_with(own)) {
                let (_, commit) = uses.split_once('@').unwrap();
                assert!(commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{uses}");
                // The job that may write runs nothing of the pull request.
                assert!(name != "comment" || !uses.starts_with("actions/checkout@"), "{uses}");
                if uses.starts_with("actions/checkout@") {
                    assert_eq!(step["with"]["persist-credentials"], false);
                } else if name == "plan" {
                    assert_eq!(step["if"], same_repository, "{uses}");
                }
            }
            // What a pull request says of itself never becomes part of a script.
            let script = step["run"].as_str().unwrap_or_default();
            assert!(!script.contains("${{"), "{script}");
        }
    }
    assert!(text.contains(&format!("startswith(\"{}\")", pinion::cli::plan::MARKER)));
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/plan.md")).unwrap();
    assert!(page.contains(&format!("startswith(\"{}\")", pinion::cli::plan::MARKER)));
}

#[test]
fn the_script_for_gitlab_keeps_one_note_however_many_there_are() {
    let root = env!("CARGO_MANIFEST_DIR");
    python::run(&[&format!("{root}/tests/plan/gitlab.py"), &format!("{root}/docs/plan.md")], "");
}
