//! Trouble with Git, the mirror and the disk. What runs keeps running, and what Git wanted last stays wanted.

use std::process::Command;
use std::time::Duration;

use super::document::failure_mode;
use super::place::{DEV, Place, ami};
use crate::support::stage::{Git, Stage};

/// What is wrong with the repository.
fn error(stage: &Stage) -> String {
    stage.status()["repositories"][0]["error"].as_str().unwrap_or_default().to_owned()
}

fn repaired(stage: &Stage) {
    stage.wait_until("the repository can be read again", |stage| error(stage).is_empty());
}

#[test]
fn a_server_that_is_down_talks_rubbish_or_wants_another_token() {
    let place = Place::new().group("web", "", "");
    let stage = place.on(place.builder().git(Git::http_with_token("token-0123456789abcdef")));
    let server = stage.git_server();
    let from = stage.last();
    server.fail_with(503);
    failure_mode("git-down").says(&stage, error);
    failure_mode("git-down").is_counted(&stage, "failed");
    assert_eq!(stage.state("dev/asg/web"), "in-sync");
    server.repair();
    repaired(&stage);
    server.talk_rubbish();
    failure_mode("git-rubbish").says(&stage, error);
    server.repair();
    repaired(&stage);
    server.set_token("another-0123456789abcdef");
    failure_mode("git-token").says(&stage, error);
    stage.settles();
    assert_eq!(stage.written(from), Vec::<String>::new());
    server.set_token("token-0123456789abcdef");
    stage.pin("dev", "web", "1.1");
    stage.wait_until("the pin arrives", |stage| stage.fleet().group_runs(DEV, "web", ami("1.1")));
    repaired(&stage);
}

#[test]
fn a_server_that_is_slow_or_hangs_holds_up_nothing_but_news() {
    let place = Place::new().group("web", "", "");
    let patient = "stall_timeout = \"2s\"\n";
    let stage = place.on(place.builder().git(Git::http_with_token("token-0123456789abcdef")).repository_with(patient));
    let server = stage.git_server();
    server.think_for(Duration::from_millis(700));
    stage.pin("dev", "web", "1.1");
    stage.wait_until("the pin arrives", |stage| stage.fleet().group_runs(DEV, "web", ami("1.1")));
    stage.wait_for_sync(&["dev/asg/web"]);
    assert_eq!(error(&stage), "", "slow is no error");

    server.think_for(Duration::from_secs(600));
    stage.pin("dev", "web", "1.0");
    failure_mode("git-slow").says(&stage, error);
    failure_mode("git-slow").is_counted(&stage, "failed");
    // What is known is looked after meanwhile.
    let from = stage.last();
    stage.settles();
    assert_eq!((stage.state("dev/asg/web"), stage.written(from)), ("in-sync".to_owned(), Vec::new()));
    server.repair();
    stage.wait_until("the pin arrives", |stage| stage.fleet().group_runs(DEV, "web", ami("1.0")));
    repaired(&stage);
}

#[test]
fn a_rewritten_history_is_followed_and_a_damaged_mirror_is_cloned_again() {
    let stage = Place::new().group("web", "", "").start();
    stage.pin("dev", "web", "1.1");
    stage.wait_for_sync(&["dev/asg/web"]);
    stage.wait_until("it runs 1.1", |stage| stage.fleet().group_runs(DEV, "web", ami("1.1")));
    stage.repo().git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    stage.repo().force_push();
    stage.wait_until("it runs 1.0 again", |stage| stage.fleet().group_runs(DEV, "web", ami("1.0")));
    stage.wait_for_sync(&["dev/asg/web"]);
    failure_mode("history-rewritten").holds(&stage, "dev/asg/web");

    let mirrors = std::fs::read_dir(stage.cache()).unwrap().map(|entry| entry.unwrap().path());
    // The history lies beside them.
    let mirrors: Vec<_> = mirrors.filter(|path| path.is_dir()).collect();
    let packs = mirrors[0].join("objects/pack");
    let packs = if packs.is_dir() { packs } else { find(&mirrors[0], "pack") };
    for pack in std::fs::read_dir(packs).unwrap() {
        let path = pack.unwrap().path();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"rubbish").unwrap();
    }
    stage.pin("dev", "web", "1.1");
    stage.wait_until("it runs 1.1", |stage| stage.fleet().group_runs(DEV, "web", ami("1.1")));
    stage.wait_for_sync(&["dev/asg/web"]);
    failure_mode("mirror-damaged").holds(&stage, "dev/asg/web");
    repaired(&stage);
}

/// A folder of this name below another.
fn find(folder: &std::path::Path, name: &str) -> std::path::PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        if next.ends_with(name) {
            return next;
        }
        folders
            .extend(std::fs::read_dir(&next).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()));
    }
    panic!("no folder {name} below {}", folder.display());
}

/// A file-size limit stands for a full disk: what is written beyond it fails the same way.
#[test]
fn a_full_disk_keeps_what_was_read_last() {
    let place = Place::new().group("web", "", "");
    let mut stage = place.on(place.builder());
    stage.kill_controller();
    stage.start_controller_by(&["env", "--ignore-signal=XFSZ"]);
    stage.wait_until_ready();
    let controller = stage.controller().id().to_string();
    let limit = |limit: &str| {
        let set = Command::new("prlimit").args(["--pid", &controller, &format!("--fsize={limit}:")]).status().unwrap();
        assert!(set.success());
    };
    limit("300000");
    stage.commit("release: 1.1, and something large", |repo| {
        let mut noise = 1_u32;
        let mut byte = || {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        };
        repo.write("large", (0..1_000_000).map(|_| byte()).collect::<Vec<u8>>());
        crate::support::stage::set_pin(repo, "dev", "web", "1.1");
    });
    failure_mode("disk-full").says(&stage, error);
    failure_mode("disk-full").is_counted(&stage, "failed");
    assert_eq!(stage.state("dev/asg/web"), "in-sync");
    limit("unlimited");
    stage.wait_until("the pin arrives", |stage| stage.fleet().group_runs(DEV, "web", ami("1.1")));
    repaired(&stage);
}
