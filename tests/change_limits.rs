//! Blast-radius change limits, with the built binary and no policy: what one commit may not do unnoticed is held, whatever happens

//! to the process meanwhile, until a commit acknowledges it.

use std::time::Duration;

use crate::support::stage::{Stage, set_pin};

const PINS: usize = 6;
const TRAILER: &str = "Pinion-Acknowledge: blast-radius";

/// dev, and a prod of six groups with a component each; all on version 1 of what is there in 1 and 2.
fn world() -> String {
    let mut text = "controller = \"111111111111\"\nregion = \"us-west-1\"\n".to_owned();
    for (account, name, count) in [("222222222222", "dev", 1), ("444444444444", "prod", PINS)] {
        text += &format!("[[account]]\nid = \"{account}\"\nname = \"{name}\"\nrole = [{{ name = \"pinion\" }}]\n");
        for part in 1..=count {
            for version in 1..=2 {
                text += &format!(
                    "[[account.image]]\nid = \"ami-0f00000000{account:.2}{part:02}{version:03}\"\nname = \"p{part}-{version}\"\n"
                );
            }
            text += &format!(
                "[[account.launch_template]]\nname = \"p{part}\"\nversion = [{{ data = {{ ImageId = \
                 \"ami-0f00000000{account:.2}{part:02}001\" }} }}]\n[[account.group]]\nname = \"p{part}\"\n\
                 launch_template = \"p{part}\"\ndesired = 1\nwarmup = 5\n"
            );
        }
    }
    text
}

fn environment(account: &str, count: usize, more: &str) -> String {
    let mut text = format!(
        "[account]\nid = \"{account}\"\nregion = \"us-west-1\"\nrole = \"arn:aws:iam::{account}:role/pinion\"\n{more}"
    );
    for part in 1..=count {
        text += &format!("[asg.p{part}]\nami = {{ name = \"p{part}-{{version}}\" }}\n");
    }
    text
}

fn pins(count: usize) -> String {
    (1..=count).map(|part| format!("p{part} = \"1\"\n")).collect()
}

fn stage() -> Stage {
    let stage = Stage::of(&world())
        .environments([
            ("environments/dev/environment.toml", environment("222222222222", 1, "")),
            ("environments/dev/pins.toml", pins(1)),
            ("environments/prod/environment.toml", environment("444444444444", PINS, "[promotion]\nfrom = \"dev\"\n")),
            ("environments/prod/pins.toml", pins(PINS)),
        ])
        .start();
    stage.wait_for_sync(&["dev/asg/p1", "prod/asg/p1", "prod/asg/p6"]);
    stage
}

fn held(stage: &Stage) -> Option<f64> {
    stage.metric("pinion_change_limit_held{environment=\"prod\"}")
}

fn restart(stage: &mut Stage) {
    stage.kill_controller();
    stage.start_controller();
    stage.wait_until_ready();
}

#[test]
fn moving_most_of_prod_at_once_waits_for_a_word() {
    let mut stage = stage();
    assert_eq!(held(&stage), Some(0.0));
    let commit = stage.commit("everything at once", |repo| {
        for part in 1..=5 {
            set_pin(repo, "prod", &format!("p{part}"), "2");
        }
        set_pin(repo, "dev", "p1", "2");
    });
    stage.wait_for("prod/asg/p5", "pending");
    let reason = stage.reason("prod/asg/p1");
    let short = &commit[..8];
    assert_eq!(
        reason,
        format!(
            "held by the blast-radius limit: commit {short} moves 5 of 6 pins of prod at once, more than 50 %; if that is \
             meant, push a commit with the trailer `{TRAILER}`"
        )
    );
    stage.wait_for_sync(&["dev/asg/p1"]);
    assert_eq!(held(&stage), Some(1.0));
    let status = stage.run(&["status"]);
    let table = String::from_utf8(status.stdout).unwrap();
    assert!(table.contains("environment prod: held by the blast-radius limit"), "{table}");
    assert!(stage.get("/").unwrap().1.contains("held by the blast-radius limit"));

    // A process that has seen none of it comes to the same.
    restart(&mut stage);
    stage.wait_for("prod/asg/p1", "pending");
    assert_eq!(stage.reason("prod/asg/p1"), reason);
    // Another commit on top lets nothing through, and isn't blamed.
    stage.commit("a note", |repo| {
        repo.write("README.md", "prod is held\n");
    });
    stage.stays("prod is held", Duration::from_secs(2), |stage| stage.reason("prod/asg/p1") == reason);
    assert!(!stage.writes(0).iter().any(|call| call.account.as_deref() == Some("444444444444")));

    // The word comes in a commit that is merged.
    stage.commit("Merge", |repo| {
        repo.branch("word");
        repo.commit(&format!("we mean it\n\n{TRAILER}"));
        repo.checkout("main");
        repo.merge("word");
    });
    stage.wait_for_sync(&["prod/asg/p1", "prod/asg/p2", "prod/asg/p3", "prod/asg/p4", "prod/asg/p5"]);
    assert_eq!(stage.target("prod/asg/p1")["desired"], "2");
    assert_eq!(held(&stage), Some(0.0));
    restart(&mut stage);
    stage.wait_for_sync(&["prod/asg/p1", "prod/asg/p5", "prod/asg/p6"]);
}

#[test]
fn an_environment_that_vanishes_is_looked_after_until_a_word_comes() {
    let mut stage = stage();
    let commit = stage.commit("tidy up", |repo| {
        repo.git(&["rm", "-r", "--quiet", "environments/prod"]);
    });
    let change_limit =
        |stage: &Stage| stage.status()["environments"]["prod"]["change_limit"].as_str().unwrap_or_default().to_owned();
    stage.wait_until("the change limit holds", |stage| held(stage) == Some(1.0));
    assert!(
        change_limit(&stage).contains(&format!("commit {} removes prod", &commit[..8])),
        "{}",
        change_limit(&stage)
    );
    assert_eq!(stage.state("prod/asg/p1"), "in-sync");
    restart(&mut stage);
    stage.wait_for_sync(&["prod/asg/p1", "prod/asg/p6"]);
    assert!(change_limit(&stage).contains("removes prod"), "{}", change_limit(&stage));

    // Taking it back is a way out, too.
    let files = stage.repo().git(&["rev-parse", "HEAD~1"]);
    stage.commit("no, stay", |repo| {
        repo.git(&["checkout", &files, "--", "environments/prod"]);
    });
    stage.wait_until("nothing is held", |stage| held(stage) == Some(0.0));
    assert_eq!(stage.status()["environments"]["prod"]["change_limit"], serde_json::Value::Null);

    stage.commit(&format!("prod is sold\n\n{TRAILER}"), |repo| {
        repo.git(&["rm", "-r", "--quiet", "environments/prod"]);
    });
    stage.wait_until("prod is gone", |stage| stage.status()["environments"]["prod"].is_null());
    restart(&mut stage);
    assert!(stage.status()["environments"]["prod"].is_null());
    assert_eq!(stage.written(0), Vec::<String>::new());
}
