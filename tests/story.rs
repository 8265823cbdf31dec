//! The whole story of a release, as those live it who make it: a branch, a bump, the plan on the pull request, the merge, a
//! push event, dev, a guardrail that holds prod until dev has soaked, prod, and the commit that says so; then the way

//! back. And once more with a version that is no good.

use std::time::Duration;

use pinion::config::hmac_sha256;
use pinion::model::hex::hex;
use serde_json::json;
use tempfile::TempDir;

use crate::support::forge::{Forge, Speaks, TOKEN};
use crate::support::masked::masked;
use crate::support::shop::{self, DEV, PROD, runs};
use crate::support::stage::process::pinion;
use crate::support::stage::{Git, Stage, http};

const SECRET: &str = "hook-secret-0123456789";

/// As shipped: a day in dev, but for a commit that says that it goes back.
const SOAK: &str = include_str!("../docs/guardrails/soak.cedar");

/// A platform team's forge, repository, accounts and controller.
struct Team {
    stage: Stage,
    forge: Forge,
    secrets: TempDir,
}

impl Team {
    fn new() -> Self {
        let (forge, secrets) = (Forge::speaking(Speaks::GitHub), TempDir::new().unwrap());
        let secret = |name: &str, text: &str| {
            let path = secrets.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let told = format!(
            "[repository.forge]\nkind = \"github\"\napi_url = {:?}\nproject = \"acme/environments\"\ntoken_file = {:?}\n",
            forge.api_url(),
            secret("forge-token", TOKEN)
        );
        let hooks = format!("[hooks]\nsecret_file = {:?}\n", secret("hook-secret", SECRET));
        let mut files = shop::environments();
        files.push(("policies/guardrails/soak.cedar".to_owned(), SOAK.to_owned()));
        let stage = Stage::of(&shop::world())
            .environments(files)
            .git(Git::http_with_token("ghp_shop_0123456789"))
            .repository_with(&told)
            .configured_with(&hooks)
            // Only push events make it look.
            .polling_every("24h")
            .with_time_that_jumps()
            .start();
        stage.wait_for_sync(&["dev/fargate/api", "prod/fargate/api"]);
        Self { stage, forge, secrets }
    }

    /// Runs `pinion` in the working copy, as a developer who may read the accounts.
    fn developer(&self, arguments: &[&str]) -> String {
        let repo = self.stage.repo();
        let output = pinion(self.secrets.path())
            .args(arguments)
            .current_dir(repo.work())
            .env("AWS_ENDPOINT_URL", self.stage.aws())
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .envs(repo.identity())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "pinion {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A branch on which a version is bumped; the commit that pins it, and the plan that the pull request shows.
    fn propose(&self, branch: &str, version: &str, environments: &[&str]) -> (String, String) {
        let repo = self.stage.repo();
        repo.checkout("main");
        let environments = environments.join(",");
        self.developer(&["bump", "backend", version, "--branch", branch, "--environment", &environments]);
        assert_eq!(repo.git(&["branch", "--show-current"]), branch);
        let plan = self.developer(&["plan", "--base", "main", "--output", "markdown"]);
        repo.push();
        (repo.head(), plan)
    }

    /// Merges the branch as the forge does, which then sends a push event.
    fn merge(&self, branch: &str) {
        let repo = self.stage.repo();
        repo.checkout("main");
        repo.merge(branch);
        repo.push();
        self.send_push_event();
    }

    /// Takes a commit back on main.
    fn revert(&self, commit: &str, why: &str) -> String {
        let repo = self.stage.repo();
        repo.checkout("main");
        repo.git(&["revert", "--no-commit", commit]);
        let revert = repo.commit(&format!("Revert {}\n\n{why}\n\nRollback: {why}\n", &commit[..8]));
        repo.push();
        self.send_push_event();
        revert
    }

    fn send_push_event(&self) {
        let repository = json!({ "clone_url": self.stage.git_url() });
        let body = json!({ "ref": "refs/heads/main", "repository": repository }).to_string();
        let signature = format!("sha256={}", hex(&hmac_sha256(SECRET.as_bytes(), body.as_bytes())));
        let headers = [("Content-Type", "application/json"), ("X-Hub-Signature-256", signature.as_str())];
        let (status, answer) = http::request("POST", &self.stage.url("/hooks/git"), &headers, &body).unwrap();
        assert!(status == 202 && answer.contains("polled"), "{status} {answer}");
    }

    /// What a commit was last told of an environment.
    fn told(&self, commit: &str, environment: &str) -> String {
        let context = format!("pinion/{environment} ");
        let told = self.forge.told(commit);
        told.iter()
            .rfind(|told| told.starts_with(&context))
            .map(|told| told[context.len()..].to_owned())
            .unwrap_or_default()
    }

    fn wait_until_told(&self, commit: &str, environment: &str, wanted: &str) {
        let what = format!("{environment} is told {wanted:?}");
        self.stage.wait_until(&what, |_| self.told(commit, environment).starts_with(wanted));
        println!("pinion/{environment} {}", self.told(commit, environment));
    }
}

#[test]
fn a_release_soaks_in_dev_goes_to_prod_and_is_taken_back() {
    let team = Team::new();
    let (pinned, plan) = team.propose("backend-1.1.0", "1.1.0", &["dev", "prod"]);
    insta::assert_snapshot!("comment", masked(&plan));
    let stage = &team.stage;
    assert!(runs(stage, DEV, "1.0.0") && runs(stage, PROD, "1.0.0"), "a proposal changes nothing");
    assert_eq!(team.forge.told(&pinned), Vec::<String>::new());

    team.merge("backend-1.1.0");
    team.wait_until_told(&pinned, "dev", "pending: fargate/api: rolling out 1.1.0");
    team.wait_until_told(&pinned, "prod", "pending: fargate/api: forbidden by soak: this version hasn't been in sync");
    team.wait_until_told(&pinned, "dev", "success: backend 1.1.0 in sync after ");
    assert!(runs(stage, DEV, "1.1.0") && runs(stage, PROD, "1.0.0"));

    // Half a day is not enough, and a day is.
    stage.jump(12);
    stage.stays("prod waits", Duration::from_secs(3), |stage| runs(stage, PROD, "1.0.0"));
    assert!(stage.reason("prod/fargate/api").contains("soak"));
    stage.jump(25);
    team.wait_until_told(&pinned, "prod", "success: backend 1.1.0 in sync after 25h ");
    assert!(runs(stage, DEV, "1.1.0") && runs(stage, PROD, "1.1.0"));

    // It is slow, and taken back in both.
    let revert = team.revert(&pinned, "1.1.0 is slow");
    team.wait_until_told(&revert, "dev", "success: backend 1.0.0 in sync");
    team.wait_until_told(&revert, "prod", "success: backend 1.0.0 in sync");
    assert!(runs(stage, DEV, "1.0.0") && runs(stage, PROD, "1.0.0"));
    stage.settles();
    assert!(team.told(&pinned, "dev").starts_with("success"), "that it went well once stays so");
    assert!(team.told(&pinned, "prod").starts_with("success"));
}

#[test]
fn a_bad_version_ends_in_dev_and_its_commit_says_so() {
    let team = Team::new();
    let stage = &team.stage;
    let before = stage.fleet();
    let (pinned, _) = team.propose("backend-2.0.0", "2.0.0", &["dev", "prod"]);
    team.merge("backend-2.0.0");
    team.wait_until_told(&pinned, "prod", "pending: fargate/api: forbidden by soak");
    team.wait_until_told(&pinned, "dev", "failure: fargate/api: the rollout ended as");
    assert_eq!(stage.state("dev/fargate/api"), "quarantined");
    stage.wait_until("dev runs what it ran before", |stage| runs(stage, DEV, "1.0.0"));

    // However long it stands there, it is not tried again, and gets nowhere else.
    let from = stage.last();
    stage.jump(48);
    stage.stays("nothing more is tried", Duration::from_secs(3), |stage| stage.written(from).is_empty());
    assert_eq!(stage.state("dev/fargate/api"), "quarantined");
    assert_eq!(stage.state("prod/fargate/api"), "pending");
    assert_eq!(stage.fleet().service(PROD, "shop/api"), before.service(PROD, "shop/api"));

    let revert = team.revert(&pinned, "2.0.0 doesn't start");
    team.wait_until_told(&revert, "dev", "success: backend 1.0.0 in sync");
    team.wait_until_told(&revert, "prod", "success: backend 1.0.0 in sync");
    assert_eq!(stage.written(from), Vec::<String>::new(), "all runs 1.0.0 already");
    assert!(team.told(&pinned, "dev").starts_with("failure"));
    team.wait_until_told(&pinned, "prod", "error: superseded by ");
    println!("{:#?}", team.forge.all_told());
}
