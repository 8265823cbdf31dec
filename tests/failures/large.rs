//! Repositories that are larger than is taken: nothing of them is held in memory, what was fetched before stays, and the other
//! repositories go on.

use std::fs::File;
use std::io::{BufWriter, Write as _};

use super::document::{Row, failure_mode};
use super::place::{DEV, Place, ami};
use crate::support::git::Repo;
use crate::support::stage::{Stage, set_pin};

/// The most that the controller may have had in memory, in MiB. The build that is shipped needs less than this one, which
/// has what debuggers want.
const MOST: u64 = 128;

/// What the controller had in memory at most since it was started, in MiB.
fn peak(stage: &mut Stage) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", stage.controller().id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// What is wrong with the stage's own repository.
fn error(stage: &Stage) -> String {
    let (status, url) = (stage.status(), stage.git_url());
    let mut repositories = status["repositories"].as_array().unwrap().iter();
    let ours = repositories.find(|repository| repository["url"] == url.as_str()).unwrap();
    ours["error"].as_str().unwrap_or_default().to_owned()
}

/// A file of zeros that takes no place on the disk, but for its first byte.
fn zeros(repo: &Repo, name: &str, first: u8, length: u64) {
    repo.write(name, [first]);
    File::options().write(true).open(repo.work().join(name)).unwrap().set_len(length).unwrap();
}

/// What a history has that is too large, and what makes it so.
type History = (&'static str, Row, fn(&Repo));

/// Files that are too large, and how they come.
type Files = (&'static str, fn(&Repo));

/// So many branches that their listing has 300 MB.
fn branches(repo: &Repo) {
    let (path, tip) = (repo.bare().join("packed-refs"), repo.head());
    let mut file = BufWriter::new(File::create(path).unwrap());
    writeln!(file, "# pack-refs with: peeled fully-peeled sorted ").unwrap();
    let long = "x".repeat(180);
    for number in 0..1_300_000 {
        writeln!(file, "{tip} refs/heads/main-{number:07}-{long}").unwrap();
    }
    file.into_inner().unwrap();
}

#[test]
fn a_repository_that_is_too_large_takes_no_memory_and_stops_no_other() {
    let place = Place::new().group("web", "", "").group("db", "", "");
    let of_web = Place::new().group("web", "", "");
    let of_db = Place::new().group("db", "", "");
    let other = Repo::new();
    other.write("environments/other/environment.toml", of_db.environment());
    other.set("environments/other/pins.toml", "db = \"1.0\"\n");
    other.push();
    let second = format!("[[repository]]\nurl = \"{}\"\ninterval = \"1s\"\n", other.file_url());
    let builder = place.builder().environments([
        ("environments/dev/environment.toml", of_web.environment()),
        ("environments/dev/pins.toml", "web = \"1.0\"\n".to_owned()),
    ]);
    let mut stage = builder.configured_with(&second).start();
    stage.wait_for_sync(&["dev/asg/web", "other/asg/db"]);
    println!("at rest: {} MiB", peak(&mut stage));

    // Files that nobody reads are no reason to stop.
    stage.commit("release: 1.1, and 10,001 files", |repo| {
        for number in 0..10_001 {
            repo.write(&format!("environments/dev/notes/{number}"), format!("{number}"));
        }
        set_pin(repo, "dev", "web", "1.1");
    });
    stage.wait_until("the pin arrives", |stage| stage.fleet().group_runs(DEV, "web", ami("1.1")));
    stage.wait_for_sync(&["dev/asg/web"]);
    println!("10,001 files: {} MiB", peak(&mut stage));

    // Nor are large ones, whether the controller was there when they came or not.
    let files: [Files; 2] = [
        ("300 MB of zeros", |repo| {
            zeros(repo, "dump.sql", 1, 300 << 20);
            repo.commit("a dump, by mistake");
            repo.git(&["rm", "--quiet", "dump.sql"]);
        }),
        ("six of 95 MB", |repo| {
            for number in 0..6 {
                zeros(repo, &format!("environments/dev/.terraform/dump-{number}"), number, 95 << 20);
            }
        }),
    ];
    for (what, make) in files {
        for restarted in [false, true] {
            if restarted {
                stage.kill_controller();
                std::fs::remove_dir_all(stage.cache()).unwrap();
                stage.start_controller();
                stage.wait_until_ready();
            } else {
                make(stage.repo());
            }
            let version = if restarted { "1.1" } else { "1.0" };
            stage.commit(what, |repo| set_pin(repo, "dev", "web", version));
            stage.wait_until("the pin arrives", |stage| stage.fleet().group_runs(DEV, "web", ami(version)));
            stage.wait_for_sync(&["dev/asg/web"]);
            assert_eq!(error(&stage), "");
            let peak = peak(&mut stage);
            println!("{what}, restarted: {restarted}: {peak} MiB");
            assert!(peak < MOST, "{what}, restarted: {restarted}: {peak} MiB");
        }
    }

    let good = stage.repo().head();
    let histories: [History; 2] = [
        ("a commit of 2 MB", failure_mode("git-too-large"), |repo| {
            repo.write("message", "x".repeat(2 << 20));
            repo.git(&["add", "--all"]);
            repo.git(&["commit", "--quiet", "--allow-empty", "--file=message"]);
        }),
        ("300 MB of branches", failure_mode("git-many-branches"), branches),
    ];
    for (round, (what, row, make)) in histories.into_iter().enumerate() {
        let repo = stage.repo();
        make(repo);
        set_pin(repo, "dev", "web", "1.0");
        repo.commit(what);
        repo.force_push();
        row.says(&stage, error);
        row.is_counted(&stage, "failed");
        // One that is started now goes on from what was fetched before.
        for restarted in [false, true] {
            if restarted {
                stage.kill_controller();
                stage.start_controller();
                stage.wait_until_ready();
                row.says(&stage, error);
                stage.wait_for_sync(&["dev/asg/web"]);
            }
            let version = ["1.1", "1.0"][(2 * round + usize::from(restarted)) % 2];
            other.set("environments/other/pins.toml", &format!("db = \"{version}\"\n"));
            other.push();
            stage.wait_until("the other repository goes on", |stage| stage.fleet().group_runs(DEV, "db", ami(version)));
            stage.wait_for_sync(&["dev/asg/web", "other/asg/db"]);
            assert!(stage.fleet().group_runs(DEV, "web", ami("1.1")), "{what}: the last good state stays");
            assert_eq!(stage.target("dev/asg/web")["desired"], "1.1", "{}", stage.target("dev/asg/web"));
            let peak = peak(&mut stage);
            println!("{what}, restarted: {restarted}: {peak} MiB");
            assert!(peak < MOST, "{what}, restarted: {restarted}: {peak} MiB");
        }
        let repo = stage.repo();
        if what.ends_with("branches") {
            std::fs::remove_file(repo.bare().join("packed-refs")).unwrap();
        }
        repo.git(&["reset", "--quiet", "--hard", &good]);
        repo.force_push();
        stage.wait_until("the repository can be read again", |stage| error(stage).is_empty());
    }
}
