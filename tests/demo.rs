//! The scripted demo: it tells its story to the end, and killed in the middle it goes on from there.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// How often to look, and how many times: five minutes, far more than the script takes on a slow machine.
const LOOK: Duration = Duration::from_millis(10);
const LOOKS: usize = 30_000;

fn start(dir: &Path, output: &str) -> Child {
    let output = File::create(dir.join(output)).unwrap();
    Command::new(env!("CARGO_BIN_EXE_pinion"))
        .args(["demo", "--script", "--speed", "20", "--listen", "127.0.0.1:0", "--aws", "127.0.0.1:0", "--dir"])
        .arg(dir.join("demo"))
        .env("HOME", dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap()
}

fn told(dir: &Path, output: &str) -> String {
    std::fs::read_to_string(dir.join(output)).unwrap_or_default()
}

fn finish(dir: &Path, mut demo: Child, output: &str) -> String {
    let ended = (0..LOOKS).find_map(|_| {
        std::thread::sleep(LOOK);
        demo.try_wait().unwrap()
    });
    let Some(status) = ended else {
        demo.kill().unwrap();
        unreachable!("the demo doesn't end:\n{}\n{}", told(dir, output), log(dir));
    };
    let text = told(dir, output);
    assert!(status.success(), "the demo ended with {status}:\n{text}\n{}", log(dir));
    text
}

fn log(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("demo/log")).unwrap_or_default()
}

/// The rollouts in the simulator's journal: each refresh and deployment that was accepted, with what it moves to.
fn rollouts(dir: &Path) -> Vec<(String, String)> {
    let journal = std::fs::read_to_string(dir.join("demo/aws.json.journal")).unwrap();
    journal
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|call| call["status"] == 200)
        .filter_map(|call| {
            let params = &call["params"];
            let to = match call["operation"].as_str()? {
                "StartInstanceRefresh" => &params["DesiredConfiguration"],
                "UpdateService" => &params["taskDefinition"],
                _ => return None,
            };
            Some((call["account"].as_str()?.to_owned(), to.to_string()))
        })
        .collect()
}

/// What the whole story starts: frontend 1.4.2 in dev and prod; backend 2.0.1 in prod, the bad 2.1.1 in dev; somebody's
/// change of prod by hand, and its healing.
const ROLLOUTS: usize = 6;

#[test]
fn the_script_tells_its_story_to_the_end() {
    let dir = TempDir::new().unwrap();
    let text = finish(dir.path(), start(dir.path(), "out"), "out");
    for line in [
        "✓ all targets are in sync",
        "✓ dev/asg/web is in sync with 1.4.2",
        "waits for fargate/api",
        "✓ prod/asg/web is in sync with 1.4.2",
        "✓ dev/fargate/api is quarantined",
        "✓ prod/fargate/api is in sync with 2.0.1",
        "✓ the resync is acknowledged",
        "Done. Everything is in sync",
    ] {
        assert!(text.contains(line), "the story lacks {line:?}:\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "no colours and no cursor movements where there is no terminal");
    // Once more there is nothing left to play: it says so, and shows what runs.
    let again = finish(dir.path(), start(dir.path(), "again"), "again");
    assert!(again.contains("--fresh") && !again.contains("no targets"), "{again}");
    let rollouts = rollouts(dir.path());
    assert_eq!(rollouts.len(), ROLLOUTS, "{rollouts:?}");
}

#[test]
fn killed_in_the_middle_it_goes_on_to_the_same_end_and_repeats_no_rollout() {
    let dir = TempDir::new().unwrap();
    // Once while the first refresh runs, and once more while prod's does.
    let moments = ["dev/asg/web rolling-out", "prod/fargate/api rolling-out"];
    for (number, moment) in moments.iter().enumerate() {
        let output = format!("out{number}");
        let mut demo = start(dir.path(), &output);
        let reached = (0..LOOKS).any(|_| {
            std::thread::sleep(LOOK);
            assert!(demo.try_wait().unwrap().is_none(), "it ended too early:\n{}", told(dir.path(), &output));
            told(dir.path(), &output).contains(moment)
        });
        assert!(reached, "no {moment:?}:\n{}", told(dir.path(), &output));
        demo.kill().unwrap();
        demo.wait().unwrap();
    }
    let text = finish(dir.path(), start(dir.path(), "last"), "last");
    assert!(text.contains("Done. Everything is in sync"), "{text}");
    let rollouts = rollouts(dir.path());
    assert_eq!(rollouts.len(), ROLLOUTS, "{rollouts:?}");
}
