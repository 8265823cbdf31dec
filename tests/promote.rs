//! Promotion: `[promotion]` as the controller heeds it, and `pinion promote`.

use std::process::Output;

use crate::support::shop::{self, DEV, PROD};
use crate::support::stage::{Git, Stage};

const BOTH: [&str; 2] = ["dev/fargate/api", "prod/fargate/api"];

/// The shop, where prod takes only what dev has run well, and dev runs 1.0.0.
fn stage(mode: &str) -> Stage {
    let required = |(path, text): (String, String)| {
        let text = text.replace("from = \"dev\"\n", &format!("from = \"dev\"\nmode = \"{mode}\"\n"));
        (path, text)
    };
    let stage = Stage::of(&shop::world())
        .environments(shop::environments().into_iter().map(required))
        .git(Git::http_with_token("ghp_shop_0123456789"))
        .start();
    for (key, value) in [("user.name", "Ada Example"), ("user.email", "ada@example.com")] {
        stage.repo().git(&["config", key, value]);
    }
    stage.wait_for_sync(&BOTH);
    stage
}

fn promote(stage: &Stage, arguments: &[&str]) -> Output {
    let work = stage.repo().work().display().to_string();
    stage.run(&[&["promote"], arguments, &["--dir", &work]].concat())
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

#[test]
fn prod_takes_what_dev_has_run() {
    let mut stage = stage("require");
    let from = stage.last();
    stage.pin("prod", "backend", "1.1.0");
    stage.wait_for("prod/fargate/api", "pending");
    let held = "held by [promotion]: 1.1.0 isn't known to have been in sync in dev: dev/fargate/api has 1.0.0 pinned";
    assert_eq!(stage.reason("prod/fargate/api"), held);
    let plan = stage.run(&["plan", "--dir", &stage.repo().work().display().to_string()]);
    assert!(said(&plan).contains(held), "{}", said(&plan));
    assert_eq!(stage.written(from), Vec::<String>::new());
    stage.pin("dev", "backend", "1.1.0");
    stage.wait_until("prod has it", |stage| shop::runs(stage, PROD, "1.1.0"));
    assert!(shop::runs(&stage, DEV, "1.1.0"), "dev has it first");
    stage.wait_for_sync(&BOTH);

    // Back to what ran here goes at once, whatever dev runs.
    stage.pin("dev", "backend", "1.2.0");
    stage.wait_until("dev has it", |stage| shop::runs(stage, DEV, "1.2.0"));
    stage.wait_for_sync(&["dev/fargate/api"]);
    stage.pin("prod", "backend", "1.0.0");
    stage.wait_until("prod has gone back", |stage| shop::runs(stage, PROD, "1.0.0"));

    // What dev ran is known after a restart as well: AWS remembers it.
    stage.pin("dev", "backend", "1.1.0");
    stage.wait_until("dev has gone on", |stage| shop::runs(stage, DEV, "1.1.0"));
    stage.wait_for_sync(&BOTH);
    stage.kill_controller();
    stage.start_controller();
    stage.wait_for_sync(&BOTH);
    stage.pin("prod", "backend", "1.2.0");
    stage.wait_until("prod has what dev had", |stage| shop::runs(stage, PROD, "1.2.0"));

    // What is quarantined in dev doesn't come.
    stage.pin("dev", "backend", "2.0.0");
    stage.wait_for("dev/fargate/api", "quarantined");
    stage.wait_for_sync(&["prod/fargate/api"]);
    let from = stage.last();
    stage.pin("prod", "backend", "2.0.0");
    stage.wait_for("prod/fargate/api", "pending");
    let held = "held by [promotion]: 2.0.0 is quarantined in dev: dev/fargate/api";
    assert_eq!((stage.reason("prod/fargate/api").as_str(), stage.written(from).len()), (held, 0));
}

#[test]
fn a_version_that_never_ran_in_dev_is_only_warned_of_unless_that_is_required() {
    let stage = stage("inform");
    stage.pin("prod", "backend", "1.1.0");
    stage.wait_until("it warns", |stage| {
        let warnings = stage.target("prod/fargate/api")["warnings"].to_string();
        warnings
            .contains("[promotion]: 1.1.0 isn't known to have been in sync in dev: dev/fargate/api has 1.0.0 pinned")
    });
    stage.wait_until("it is rolled out all the same", |stage| shop::runs(stage, PROD, "1.1.0"));
    stage.wait_for_sync(&BOTH);
    assert_eq!(stage.target("prod/fargate/api")["warnings"].to_string(), "[]");
}

#[test]
fn what_is_in_sync_is_promoted_by_one_commit() {
    let stage = stage("require");
    let before = || (stage.repo().head(), stage.repo().git(&["status", "--porcelain"]));
    let refused = |arguments: &[&str], code: i32, why: &str| {
        let had = before();
        let output = promote(&stage, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(why), "{arguments:?}: {}", said(&output));
        assert_eq!(before(), had, "{arguments:?}");
    };
    let same = promote(&stage, &["dev", "prod"]);
    assert!(same.status.success() && said(&same).contains("nothing to promote"), "{}", said(&same));
    refused(&["dev", "dev"], 64, "dev can't be promoted to itself");
    refused(&["dev", "prdo"], 64, "did you mean `prod`?");
    refused(&["dev", "prod", "bakend"], 64, "did you mean `backend`?");
    refused(&["staging", "prod"], 64, "there is no environment `staging`");

    // What is pinned and not in sync stays where it is.
    stage.repo().set("environments/dev/pins.toml", "backend = \"1.1.0\"");
    refused(&["dev", "prod"], 1, "dev/fargate/api follows 1.0.0, which isn't what is pinned here");
    stage.repo().push();
    stage.wait_for("dev/fargate/api", "rolling-out");
    refused(&["dev", "prod", "backend"], 1, "prod: backend waits: dev/fargate/api is rolling-out");
    stage.wait_for_sync(&BOTH);
    let away = promote(&stage, &["dev", "prod", "--address", "http://127.0.0.1:9"]);
    assert!(!away.status.success() && said(&away).contains("--force"), "{}", said(&away));
    refused(&["prod", "dev"], 1, "dev: backend would go back from 1.1.0 to 1.0.0");

    let done = promote(&stage, &["dev", "prod", "--push"]);
    assert!(done.status.success(), "{}", said(&done));
    assert!(said(&done).contains("prod: backend 1.0.0 → 1.1.0"), "{}", said(&done));
    let message = stage.repo().git(&["log", "-1", "--format=%B"]);
    assert_eq!(message.trim_end(), "promote dev to prod: backend 1.1.0\n\n- prod: backend 1.0.0 → 1.1.0");
    stage.wait_until("prod has it", |stage| shop::runs(stage, PROD, "1.1.0"));
    stage.wait_for_sync(&BOTH);

    // What is bad there comes only if somebody insists, and going back says so.
    stage.pin("dev", "backend", "2.0.0");
    stage.wait_for("dev/fargate/api", "quarantined");
    refused(&["dev", "prod"], 1, "prod: backend waits: dev/fargate/api is quarantined");
    let forced = promote(&stage, &["dev", "prod", "--force", "--no-commit"]);
    assert!(forced.status.success(), "{}", said(&forced));
    assert!(stage.repo().git(&["diff"]).contains("+backend = \"2.0.0\""));
    stage.repo().git(&["checkout", "--quiet", "."]);
    let back = promote(&stage, &["prod", "dev", "--force"]);
    assert!(back.status.success(), "{}", said(&back));
    assert!(stage.repo().git(&["log", "-1", "--format=%B"]).ends_with("\nRollback: from 2.0.0"));
}
