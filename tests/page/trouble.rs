//! What is wrong as a whole is shown where one looks first, with how old what is shown is and what to do.

use pinion::model::State;
use pinion::model::status::{Fault, RefusedCommit, RepositoryStatus, SignaturesStatus, Status};

use super::browser::{Browser, DARK, DESK, PHONE};
use crate::server::sample::{self, COMMIT, Controller, time};

const BRAKE: &str = "held by the blast-radius limit: commit 7d1f0c2a moves 5 of 6 pins of prod at once, more than 50 %; if \
                     that is meant, push a commit with the trailer `Pinion-Acknowledge: blast-radius`";

fn troubled() -> Status {
    let mut status = sample::status();
    let first = &mut status.repositories[0];
    first.error = Some("can't reach https://github.com/acme/environments.git: connection refused".to_owned().into());
    first.last_success = Some(time("2026-01-02T11:20:00Z"));
    first.guardrail_errors = vec![
        "policies/guardrails/freeze.cedar:3:8\n  attribute `nwo` for entity type Context not found; did you mean `now`?".to_owned(),
    ];
    let refused = |commit: &str, reason: &str, subject: &str| RefusedCommit {
        commit: commit.to_owned(),
        author: "Mallory <mallory@example.com>".to_owned(),
        committer: "Mallory <mallory@example.com>".to_owned(),
        subject: subject.to_owned(),
        kind: "unsigned".to_owned(),
        reason: reason.to_owned(),
    };
    let commits = vec![
        refused("a3c95e0f1b2d4c6e8f70918273645546372819ab", "it isn't signed", "frontend 6.6.6"),
        refused("e08b6d4f2a1c3e5d7f9b8a6c4e2d0f1b3a5c7e9d", "it isn't signed", "backend 6.6.6"),
    ];
    status.repositories.push(RepositoryStatus {
        url: "https://git.example.com/platform/live.git".to_owned(),
        branch: "live".to_owned(),
        revision: Some(COMMIT.to_owned()),
        last_success: Some(time("2026-01-02T11:59:50Z")),
        // The controller says the first one here, too.
        error: Some(Fault::Refused { first: commits[0].clone(), more: 2, accepted: COMMIT.parse().ok() }),
        signatures: Some(SignaturesStatus { accepted: Some(COMMIT.to_owned()), refused: 3, commits }),
        ..RepositoryStatus::default()
    });
    let prod = status.environments.get_mut("prod").unwrap();
    prod.change_limit = Some(BRAKE.to_owned());
    (prod.repository, prod.branch) = ("https://git.example.com/platform/live.git".to_owned(), "live".to_owned());
    let api = prod.targets.get_mut("fargate/api").unwrap();
    (api.state, api.reason) = (State::Pending, Some(BRAKE.to_owned()));
    api.warnings = vec!["the tag `1.4.2` was moved: what runs is another image".to_owned()];
    let dev = status.environments.get_mut("dev").unwrap();
    dev.last_success = Some(time("2026-01-02T11:57:00Z"));
    dev.targets.get_mut("asg/web").unwrap().observed = Some(time("2026-01-02T11:57:00Z"));
    let mut new = dev.clone();
    (new.revision, new.error, new.passes) = (String::new(), None, 0);
    new.targets.clear();
    status.environments.insert("new".to_owned(), new);
    status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_as_a_whole_is_said_with_what_follows_and_what_to_do() {
    let controller = Controller::start(troubled(), None).await;
    let browser = Browser::start();
    for (name, look) in [("trouble", DESK), ("trouble-dark", DARK), ("trouble-phone", PHONE)] {
        browser.open(&controller.url("/"), look);
        browser.picture(name, true);
        browser.is_sound(name);
    }
    browser.open(&controller.url("/"), DESK);
    let (sources, dev) = (browser.text("#sources"), browser.text("#env-dev"));
    let (prod, new) = (browser.text("#env-prod"), browser.text("#env-new"));
    for (place, said) in [
        // A Git server that can't be read, and how old what is shown is.
        (&sources, "what was last good stays (as of 40 min ago)"),
        (&sources, "can't reach https://github.com/acme/environments.git: connection refused"),
        // Guardrails that are invalid.
        (&sources, "The guardrails are invalid: nothing is rolled out from this branch until they are fixed"),
        (
            &sources,
            "policies/guardrails/freeze.cedar:3:8\n  attribute nwo for entity type Context not found; did you mean now?",
        ),
        // Commits that are refused.
        (&sources, "3 commits are refused by their signatures: what counts is commit 01234567"),
        (&sources, "commit a3c95e0f by Mallory <mallory@example.com> is refused (frontend 6.6.6): it isn't signed"),
        (&sources, "and 1 more"),
        (&sources, "live at 01234567 · signed commits only"),
        // An environment whose files are broken, with what is wrong with them.
        (&dev, "The files are broken: what they said at commit 01234567 stays until they are fixed"),
        (&dev, "environments/dev/pins.toml:3\n  unknown key fronted"),
        (&dev, "kept at 01234567"),
        (&new, "The files are broken, and no good state of them is known: nothing is done here"),
        // An account that can't be read.
        (&dev, "The last pass failed: what was last seen is shown (as of 3 min ago)"),
        (&dev, "ec2:DescribeImages failed: Timeout"),
        (&dev, "was in-sync; can't be read now (as of 3 min ago)"),
        // A change limit, with what releases it.
        (&prod, "Waiting for an acknowledgement"),
        (&prod, "commit 7d1f0c2a moves 5 of 6 pins of prod at once, more than 50 %"),
        (&prod, "push a commit with the trailer Pinion-Acknowledge: blast-radius"),
        // A warning.
        (&prod, "the tag 1.4.2 was moved: what runs is another image"),
    ] {
        assert!(place.contains(said), "{said:?} isn't said in\n{place}");
    }
    assert_eq!(sources.matches("a3c95e0f").count(), 1, "nothing is said twice: {sources}");
    // What is to be copied stands by itself.
    let codes = browser.eval("[...document.querySelectorAll('#env-prod .problem code')].map(it => it.innerText)");
    assert_eq!(codes, serde_json::json!(["Pinion-Acknowledge: blast-radius"]));

    // Who looks at one target sees what is wrong around it.
    for (path, said) in [
        ("/targets/dev/asg/web", "The files are broken: what they said at commit 01234567 stays"),
        ("/targets/dev/asg/web", "The last pass failed"),
        ("/targets/prod/fargate/api", "the trailer Pinion-Acknowledge: blast-radius"),
        ("/targets/prod/fargate/api", "https://git.example.com/platform/live.git live"),
        ("/targets/prod/fargate/api", "the tag 1.4.2 was moved"),
    ] {
        browser.open(&controller.url(path), DESK);
        let page = browser.text("main");
        assert!(page.contains(said), "{path} says {said:?}:\n{page}");
    }
    assert_eq!(browser.text("main").matches("held by the blast-radius limit").count(), 1, "once is enough");
    browser.picture("trouble-target", false);
    browser.is_sound("a target in trouble");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_headline_says_it_though_no_target_needs_attention() {
    let well = || {
        let mut status = sample::status();
        status.environments.remove("dev");
        status.environments.get_mut("prod").unwrap().targets.get_mut("asg/web").unwrap().state = State::InSync;
        status
    };
    let controller = Controller::start(well(), None).await;
    let browser = Browser::start();
    let says = |change: &dyn Fn(&mut Status), headline: &str| {
        let mut status = well();
        change(&mut status);
        controller.status.send_replace(std::sync::Arc::new(status));
        browser.open(&controller.url("/"), DESK);
        assert_eq!(browser.text("h1"), headline);
    };
    let prod = |status: &mut Status, change: &dyn Fn(&mut pinion::model::status::EnvironmentStatus)| {
        change(status.environments.get_mut("prod").unwrap());
    };
    let text = || Some("so it is".to_owned());
    says(&|_| (), "2 targets in sync");
    says(
        &|it| it.repositories[0].error = text().map(Fault::Unreadable),
        "2 targets in sync, but some repositories or accounts can't be read",
    );
    says(
        &|it| prod(it, &|prod| prod.error = text()),
        "2 targets in sync, but some repositories or accounts can't be read",
    );
    says(
        &|it| prod(it, &|prod| prod.errors = vec![String::new()]),
        "2 targets in sync, but something in Git needs fixing",
    );
    says(
        &|it| prod(it, &|prod| prod.change_limit = text()),
        "2 targets in sync, but a change is waiting for an acknowledgement",
    );
    says(
        &|it| it.repositories[0].signatures.as_mut().unwrap().refused = 1,
        "2 targets in sync, but something in Git needs fixing",
    );
    says(&|it| it.environments.clear(), "No targets");
    browser.is_sound("nothing at all");
    says(&|it| (it.environments, it.ready) = (std::collections::BTreeMap::new(), false), "Reading the environments");
}
