//! Statuses of commits.

use tempfile::TempDir;

use crate::support::forge::{Fault, Forge, Speaks, TOKEN};
use crate::support::shop::{self, DEV, PROD};
use crate::support::stage::Stage;

/// A stage whose commits are told what becomes of them at this forge.
fn stage(forge: &Forge, kind: &str, secrets: &TempDir, speed: f64) -> Stage {
    let file = secrets.path().join("forge-token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let block = format!(
        "[repository.forge]\nkind = {kind:?}\napi_url = {:?}\nproject = \"acme/environments\"\ntoken_file = {:?}\n\
         target_url = \"https://pinion.example.com/\"\n",
        forge.api_url(),
        file.display().to_string()
    );
    let stage =
        Stage::of(&shop::world()).environments(shop::environments()).repository_with(&block).speed(speed).start();
    stage.wait_for_sync(&["dev/fargate/api", "prod/fargate/api"]);
    stage
}

/// With a rollout that brings a new shape, the commit is told whose; a restart repeats nothing.
#[test]
fn a_commit_is_told_which_shape_its_rollout_brings() {
    let (forge, secrets) = (Forge::speaking(Speaks::GitHub), TempDir::new().unwrap());
    let mut stage = stage(&forge, "github", &secrets, 6.0);
    stage.commit("dev's shape is the newest", |repo| {
        let text = std::fs::read_to_string(repo.work().join("environments/dev/environment.toml")).unwrap();
        repo.write("environments/dev/environment.toml", text + "base_revision = \"newest\"\n");
    });
    let image = format!("{DEV}.dkr.ecr.us-west-1.amazonaws.com/api:1.0.0");
    let planted = serde_json::json!([{ "name": "PLANTED", "value": "planted-value" }]);
    let definition = serde_json::json!({
        "family": "api", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "512", "memory": "1024",
        "containerDefinitions": [{ "name": "app", "image": image, "essential": true, "environment": planted }],
    });
    let role = format!("arn:aws:iam::{DEV}:role/pinion");
    stage.by_hand(&role, "RegisterTaskDefinition", &definition);
    let both = stage.pin("dev", "backend", "1.1.0");
    let told = wait(&stage, &forge, &both, "pinion/dev pending");
    assert_eq!(told, ["pinion/dev pending: fargate/api: rolling out 1.1.0 with task definition api:2"]);
    stage.wait_until("it is under way", |stage| stage.target("dev/fargate/api")["rollout"].is_object());
    stage.kill_controller();
    let before = forge.requests().len();
    stage.start_controller();
    stage.wait_until_ready();
    stage.wait_until("the forge is asked", |_| forge.requests().len() > before);
    let told = wait(&stage, &forge, &both, "pinion/dev success");
    assert!(
        told.len() == 2
            && told[1].starts_with("pinion/dev success: backend 1.1.0 with task definition api:2 in sync after "),
        "{told:?}"
    );
    let only = stage.pin("dev", "backend", "1.2.0");
    let told = wait(&stage, &forge, &only, "pinion/dev success");
    assert_eq!(told[0], "pinion/dev pending: fargate/api: rolling out 1.2.0");
    assert!(forge.requests().iter().all(|request| !request.body.contains("planted-value")));
}

/// Waits until a commit's newest status of an environment begins so, and gives back all of its statuses.
fn wait(stage: &Stage, forge: &Forge, commit: &str, newest: &str) -> Vec<String> {
    let environment = newest.split(' ').next().unwrap().to_owned();
    stage.wait_until(&format!("{commit} is told {newest}"), |_| {
        let told = forge.told(commit);
        told.iter().rfind(|status| status.starts_with(&environment)).is_some_and(|status| status.starts_with(newest))
    });
    forge.told(commit)
}

#[test]
fn a_commit_is_told_what_becomes_of_it() {
    let (forge, secrets) = (Forge::speaking(Speaks::GitHub), TempDir::new().unwrap());
    let stage = stage(&forge, "github", &secrets, 60.0);
    assert_eq!(forge.requests().len(), 0, "what was in sync before is told nothing");

    let good = stage.pin("dev", "backend", "1.1.0");
    let told = wait(&stage, &forge, &good, "pinion/dev success");
    assert_eq!(told[0], "pinion/dev pending: fargate/api: rolling out 1.1.0");
    assert!(told[1].starts_with("pinion/dev success: backend 1.1.0 in sync after ") && told.len() == 2, "{told:?}");

    let bad = stage.pin("dev", "backend", "2.0.0");
    let told = wait(&stage, &forge, &bad, "pinion/dev failure");
    println!("{told:#?}");
    assert!(told.last().unwrap().contains("fargate/api: the rollout ended as"), "{told:?}");

    let back = stage.pin("dev", "backend", "1.1.0");
    wait(&stage, &forge, &back, "pinion/dev success");
    assert_eq!(forge.told(&bad).len(), told.len(), "a failure stays one when its pin is gone");
    assert!(forge.all_told().iter().all(|told| told.context == "pinion/dev"), "prod has nothing to do with these");

    // Two environments by one commit, each with its own status.
    let both = stage.commit("backend: 1.2 everywhere", |repo| {
        for environment in ["dev", "prod"] {
            crate::support::stage::set_pin(repo, environment, "backend", "1.2.0");
        }
    });
    wait(&stage, &forge, &both, "pinion/dev success");
    wait(&stage, &forge, &both, "pinion/prod success");
    assert!(shop::runs(&stage, DEV, "1.2.0") && shop::runs(&stage, PROD, "1.2.0"));

    let posts: Vec<_> = forge.requests().into_iter().filter(|request| request.method == "POST").collect();
    let one = &posts[0];
    assert_eq!(one.path, format!("/api/v3/repos/acme/environments/statuses/{good}"));
    assert_eq!(one.header("authorization"), format!("Bearer {TOKEN}"));
    assert_eq!(one.header("accept"), "application/vnd.github+json");
    assert_eq!(one.json()["target_url"], "https://pinion.example.com/");
    assert_eq!(
        stage.metric("pinion_notifications_total{destination=\"github:acme/environments\",result=\"sent\"}"),
        Some(posts.len() as f64)
    );
    assert!(!stage.logged().contains(TOKEN), "the token is never logged");
}

#[test]
fn a_restart_repeats_nothing() {
    let (forge, secrets) = (Forge::speaking(Speaks::GitHub), TempDir::new().unwrap());
    let mut stage = stage(&forge, "github", &secrets, 6.0);
    let commit = stage.pin("dev", "backend", "1.1.0");
    wait(&stage, &forge, &commit, "pinion/dev pending");
    stage.kill_controller();
    let before = forge.requests().len();
    stage.start_controller();
    stage.wait_until_ready();
    stage.wait_until("the forge is asked", |_| forge.requests().len() > before);
    let asked = forge.requests()[before].clone();
    assert_eq!(asked.method, "GET");
    assert!(asked.path.starts_with(&format!("/api/v3/repos/acme/environments/commits/{commit}/status")), "{asked:?}");
    let told = wait(&stage, &forge, &commit, "pinion/dev success");
    assert_eq!(told.len(), 2, "{told:?}");
    stage.kill_controller();
    let before = forge.requests().len();
    stage.start_controller();
    stage.wait_for_sync(&["dev/fargate/api", "prod/fargate/api"]);
    stage.settles();
    let posts = forge.requests()[before..].iter().filter(|request| request.method == "POST").count();
    assert_eq!(posts, 0, "{:?}", forge.told(&commit));
}

#[test]
fn a_forge_that_fails_holds_nothing_up_and_is_told_in_the_end() {
    let (forge, secrets) = (Forge::speaking(Speaks::GitHub), TempDir::new().unwrap());
    let stage = stage(&forge, "github", &secrets, 60.0);
    let faults = [Fault::Status(500), Fault::Close, Fault::Limited(2), Fault::Hang];
    forge.will(&faults);
    let commit = stage.pin("dev", "backend", "1.1.0");
    stage.wait_until("dev runs 1.1", |stage| shop::runs(stage, DEV, "1.1.0"));
    stage.wait_for_sync(&["dev/fargate/api"]);
    assert_eq!(forge.told(&commit), Vec::<String>::new(), "the rollout is over, and the forge still fails");
    let told = wait(&stage, &forge, &commit, "pinion/dev success");
    assert_eq!(told.len(), 1, "what is told is how it is now: {told:?}");
    let count = |result: &str| {
        let name = format!("pinion_notifications_total{{destination=\"github:acme/environments\",result={result:?}}}");
        stage.metric(&name)
    };
    stage.wait_until("it is counted", |_| count("sent") == Some(1.0));
    assert_eq!((count("retried"), count("failed"), count("dropped")), (Some(4.0), Some(0.0), Some(0.0)));
    assert_eq!(stage.metric("pinion_notifications_queued{destination=\"github:acme/environments\"}"), Some(0.0));

    // A token that is refused is read again at each try.
    let file = secrets.path().join("forge-token");
    std::fs::write(&file, "expired-token-9876543210").unwrap();
    let next = stage.pin("dev", "backend", "1.2.0");
    stage.wait_until("the token is refused", |_| forge.requests().iter().any(|request| request.status == 401));
    stage.wait_until("dev runs 1.2", |stage| shop::runs(stage, DEV, "1.2.0"));
    std::fs::write(&file, TOKEN).unwrap();
    wait(&stage, &forge, &next, "pinion/dev success");
    let log = stage.logged();
    assert!(!log.contains("expired-token") && log.contains("check that the token is right"), "{log}");

    // What will never be taken isn't tried again.
    forge.is_down(Some(Fault::Status(422)));
    stage.pin("dev", "backend", "1.1.0");
    stage.wait_until("it is given up", |_| count("failed") >= Some(1.0));
    forge.is_down(None);
    stage.wait_for_sync(&["dev/fargate/api"]);
}

#[test]
fn a_pin_that_moves_on_leaves_nothing_pending() {
    let (forge, secrets) = (Forge::speaking(Speaks::GitHub), TempDir::new().unwrap());
    let stage = stage(&forge, "github", &secrets, 2.0);
    let first = stage.pin("dev", "backend", "1.1.0");
    wait(&stage, &forge, &first, "pinion/dev pending");
    let second = stage.pin("dev", "backend", "1.2.0");
    wait(&stage, &forge, &second, "pinion/dev pending");
    let told = wait(&stage, &forge, &first, "pinion/dev error");
    assert_eq!(
        told.last().unwrap(),
        &format!("pinion/dev error: superseded by {} before it was in sync", &second[..8])
    );
}

#[test]
fn gitlab_and_gitea_have_their_own_words() {
    for (speaks, kind, running, failed) in
        [(Speaks::GitLab, "gitlab", "running", "failed"), (Speaks::Gitea, "gitea", "pending", "failure")]
    {
        let (forge, secrets) = (Forge::speaking(speaks), TempDir::new().unwrap());
        let stage = stage(&forge, kind, &secrets, 60.0);
        let good = stage.pin("dev", "backend", "1.1.0");
        let told = wait(&stage, &forge, &good, "pinion/dev success");
        assert_eq!(told[0], format!("pinion/dev {running}: fargate/api: rolling out 1.1.0"));
        let bad = stage.pin("dev", "backend", "2.0.0");
        wait(&stage, &forge, &bad, &format!("pinion/dev {failed}"));
        let posts: Vec<_> = forge.requests().into_iter().filter(|request| request.method == "POST").collect();
        assert!(posts.iter().all(|request| request.status == 201), "{posts:#?}");
        if speaks == Speaks::GitLab {
            assert_eq!(posts[0].json()["ref"], "main");
        }
    }
}
