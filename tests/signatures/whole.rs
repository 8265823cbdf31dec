//! The built program: a commit that isn't signed is refused, said, and stays without effect until that is fixed.

use pinion::plan::change_limit::LINE;
use serde_json::Value;

use super::desk::{ADA, Desk, THEN, With};
use crate::support::stage::process::pinion;
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
    { id = "ami-0f000000000001402", name = "frontend-1.4.2" },
]
launch_template = [{ name = "frontend", version = [{ data = { ImageId = "ami-0f000000000001400" } }] }]
group = [
    { name = "frontend", launch_template = "frontend", version = "$Default", desired = 1, warmup = 15 },
    { name = "legacy", launch_template = "frontend", version = "1", desired = 1, warmup = 15 },
]
"#;

const ENVIRONMENT: &str = r#"
[account]
id = "222222222222"
region = "us-west-1"
role = "arn:aws:iam::222222222222:role/pinion"

[asg.frontend]
ami = { name = "frontend-{version}" }
"#;

const GUARDRAIL: &str = include_str!("../../docs/guardrails/signed-commits.cedar");

const TARGET: &str = "dev/asg/frontend";

/// The policy that asks for a signature, on dev.
fn guardrail() -> String {
    GUARDRAIL.split("\n\n").next().unwrap().replace("\"prod\"", "\"dev\"")
}

/// The commit that a status says is refused, and why.
fn refused(status: &Value) -> Option<(String, String)> {
    let commit = &status["repositories"][0]["signatures"]["commits"][0];
    Some((commit["commit"].as_str()?.to_owned(), commit["kind"].as_str()?.to_owned()))
}

#[test]
fn a_refused_commit_has_no_effect_and_is_told_everywhere() {
    let desk = Desk::new();
    let key = desk.ssh_key("ada", &["ed25519"]);
    let file = desk.path("allowed_signers");
    // The committer on this stage.
    std::fs::write(&file, format!("forge@example.com {key}\n")).unwrap();
    let mut stage = Stage::of(WORLD)
        .environments([
            ("environments/dev/environment.toml", ENVIRONMENT),
            ("environments/dev/pins.toml", "frontend = \"1.4.0\"\n"),
            ("policies/guardrails/signed.cedar", &guardrail()),
        ])
        .signed_with(&desk.path("ada"))
        .repository_with(&format!("[repository.verify]\nallowed_signers = \"{}\"\n", file.display()))
        .start();
    stage.wait_for_sync(&[TARGET]);
    let url = stage.git_url();
    let valid = format!("pinion_git_signatures_valid{{branch=\"main\",repository=\"{url}\"}}");
    assert_eq!(stage.metric(&valid), Some(1.0));

    let signed = stage.pin("dev", "frontend", "1.4.1");
    stage.wait_until("what is signed is rolled out", |stage| {
        stage.target(TARGET)["desired"] == "1.4.1" && stage.state(TARGET) == "in-sync"
    });

    let before = stage.last();
    stage.repo().git(&["config", "commit.gpgsign", "false"]);
    let unsigned = stage.pin("dev", "frontend", "1.4.2");
    stage.wait_until("the refusal is known", |stage| refused(&stage.status()).is_some());
    assert_eq!(refused(&stage.status()), Some((unsigned.clone(), "unsigned".to_owned())));
    assert_eq!(stage.metric(&valid), Some(0.0));
    let shown = stage.run(&["status"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let told = format!("commit {} by Ada Example <{ADA}> is refused: it isn't signed", &unsigned[..8]);
    let kept = format!("commit {} is what counts until that is fixed", &signed[..8]);
    assert!(shown.contains(&told) && shown.contains(&kept), "{shown}");
    let page = stage.get("/").unwrap().1;
    assert!(page.contains(&format!("commit {} by Ada Example", &unsigned[..8])), "{page}");
    let log = stage.controller().output();
    assert_eq!(log.matches("commit is refused: it isn't signed").count(), 1, "told once:\n{log}");

    // A process that starts now finds the same, and nothing is rolled back or out.
    stage.kill_controller();
    stage.start_controller();
    stage.wait_until_ready();
    stage.wait_for_sync(&[TARGET]);
    assert_eq!(stage.target(TARGET)["desired"], "1.4.1");
    assert_eq!(refused(&stage.status()), Some((unsigned.clone(), "unsigned".to_owned())));
    assert_eq!(stage.written(before), Vec::<String>::new());

    // Fixed: the commit is taken out and made again, signed.
    stage.repo().git(&["config", "commit.gpgsign", "true"]);
    stage.repo().git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    set_pin(stage.repo(), "dev", "frontend", "1.4.2");
    stage.repo().commit("frontend 1.4.2, signed");
    stage.repo().force_push();
    stage.wait_until("what is fixed is rolled out", |stage| {
        stage.target(TARGET)["desired"] == "1.4.2" && stage.state(TARGET) == "in-sync"
    });
    assert_eq!(stage.metric(&valid), Some(1.0));
    assert_eq!(refused(&stage.status()), None);

    // A file of keys that is broken is said, and nothing else happens.
    std::fs::write(&file, "nonsense\n").unwrap();
    stage.wait_until("the broken keys are told", |stage| {
        let error = stage.status()["repositories"][0]["error"].to_string();
        error.contains("line 1: there is no key after the principals")
    });
    assert_eq!(stage.state(TARGET), "in-sync");
    let refusal = stage.run(&["run", "--config", "pinion.toml"]);
    let said = String::from_utf8(refusal.stderr).unwrap();
    assert!(!refusal.status.success() && said.contains("there is no key after the principals"), "{said}");
}

#[test]
fn whoever_merges_on_a_forge_acknowledges_nothing() {
    let desk = Desk::new();
    let people = desk.path("allowed_signers");
    std::fs::write(&people, format!("forge@example.com {}\n", desk.ssh_key("ada", &["ed25519"]))).unwrap();
    let forge = desk.path("forge.keys");
    std::fs::write(&forge, format!("the-forge {}\n", desk.ssh_key("the-forge", &["ed25519"]))).unwrap();
    let stage = Stage::of(WORLD)
        .environments([
            ("environments/dev/environment.toml", ENVIRONMENT),
            ("environments/dev/pins.toml", "frontend = \"1.4.0\"\n"),
            ("environments/old/environment.toml", &ENVIRONMENT.replace("[asg.frontend]", "[asg.legacy]")),
            ("environments/old/pins.toml", "legacy = \"1.4.0\"\n"),
        ])
        .signed_with(&desk.path("ada"))
        .repository_with(&format!(
            "[repository.verify]\nallowed_signers = {people:?}\nmerges = \"forge\"\nforge_keys = {forge:?}\n"
        ))
        .start();
    stage.wait_for_sync(&[TARGET, "old/asg/legacy"]);
    let before = stage.repo().head();

    let key = format!("user.signingkey={}", desk.path("the-forge").display());
    let message = format!("Merge\n\n{LINE}");
    let merge = stage.commit("a note", |repo| {
        repo.branch("side");
        repo.git(&["rm", "-r", "--quiet", "environments/old"]);
        repo.commit("tidy up");
        repo.checkout("main");
        repo.git(&["-c", &key, "merge", "--quiet", "--no-ff", "-m", &message, "side"]);
        repo.write("README.md", "what is left\n");
    });
    let merge = stage.repo().git(&["rev-parse", &format!("{merge}^")]);
    let ignored_acknowledgement =
        format!("the one of commit {} doesn't count, because nobody who may sign has signed that message", &merge[..8]);
    let change_limit =
        |stage: &Stage| stage.status()["environments"]["old"]["change_limit"].as_str().unwrap_or_default().to_owned();
    stage.wait_until("the change limit holds", |stage| !change_limit(stage).is_empty());
    let held = change_limit(&stage);
    assert!(
        held.contains(&format!("commit {} removes old", &merge[..8])) && held.ends_with(&ignored_acknowledgement),
        "{held}"
    );
    assert_eq!(stage.state("old/asg/legacy"), "in-sync");

    // A plan is told the same, where it is told whose signatures count.
    let work = stage.repo().work().display().to_string();
    let (people, forge) = (people.display().to_string(), forge.display().to_string());
    let plan = |more: &[&str]| {
        let planned = stage.run(&[&["plan", "--dir", &work, "--base", &before], more].concat());
        assert!(planned.status.success(), "{planned:?}");
        String::from_utf8(planned.stdout).unwrap()
    };
    let signers = ["--allowed-signers", &people, "--forge-keys", &forge];
    assert!(plan(&[]).contains("acknowledges it"));
    for format in ["text", "markdown"] {
        let text = plan(&[&signers as &[&str], &["--output", format]].concat());
        assert!(text.contains("blast-radius limit") && text.contains(&ignored_acknowledgement), "{text}");
    }
    let report: Value = serde_json::from_str(&plan(&[&signers as &[&str], &["--output", "json"]].concat())).unwrap();
    assert_eq!(
        (&report["change_limit"]["acknowledged"], &report["change_limit"]["ignored_acknowledgement"]),
        (&false.into(), &merge.into())
    );

    // A person says it.
    stage.commit(&format!("we mean it\n\n{LINE}"), |repo| {
        repo.write("README.md", "it is meant\n");
    });
    stage.wait_until("it is gone", |stage| stage.status()["environments"]["old"].is_null());
}

#[test]
fn a_guardrail_wants_signatures_though_the_branch_does_not() {
    let stage = Stage::of(WORLD)
        .environments([
            ("environments/dev/environment.toml", ENVIRONMENT),
            ("environments/dev/pins.toml", "frontend = \"1.4.1\"\n"),
            ("policies/guardrails/signed.cedar", &guardrail()),
        ])
        .start();
    stage.wait_until("the rollout is forbidden", |stage| stage.reason(TARGET).contains("signed-commits: "));
    assert_eq!(stage.state(TARGET), "pending");
}

#[test]
fn validate_says_which_commits_would_be_refused() {
    let desk = Desk::new();
    let file = desk.path("allowed_signers");
    std::fs::write(&file, format!("{ADA} {}\n", desk.ssh_key("ada", &["ed25519"]))).unwrap();
    let folder = desk.work().join("environments/dev");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("environment.toml"), ENVIRONMENT).unwrap();
    std::fs::write(folder.join("pins.toml"), "frontend = \"1.4.0\"\n").unwrap();
    desk.git(ADA, THEN, &["add", "--all"]);
    desk.commit(With::Ssh("ada"), ADA, THEN, "signed");
    let validate = |more: &[&str]| {
        let signers = file.display().to_string();
        let mut command = pinion(&desk.work());
        let output = command.args(["validate", "--allowed-signers", &signers]).args(more).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(validate(&[]), (true, String::new()));
    let unsigned = desk.commit(With::Nothing, ADA, THEN, "unsigned");
    let (good, said) = validate(&[]);
    let told = format!("commit {} by ada <{ADA}> is refused: it isn't signed\n", &unsigned[..8]);
    assert!(!good && said.starts_with(&told), "{said}");
    assert_eq!(validate(&["--signed-since", &unsigned]), (true, String::new()));
}
