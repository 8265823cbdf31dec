//! The simulator is true: AWS's own clients drive it, and every answer is held against AWS's own models.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::stage::process::clean;
use crate::support::stage::{Stage, set_pin};

const DEV: &str = "222222222222";
const PROD: &str = "444444444444";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a script beside this file with the tools' Python; what it prints.
fn script(name: &str, home: &Path, arguments: &[&str]) -> String {
    let here = || repository().join(".tools");
    let python = std::env::var_os("PINION_TOOLS").map_or_else(here, PathBuf::from).join("python/bin/python");
    assert!(python.exists(), "{} is missing; `make setup` installs it", python.display());
    let mut command = clean(Command::new(python), home);
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(repository().join("tests/truth").join(name)).args(arguments);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{name}:\n{said}\n{}", printed.chars().take(5000).collect::<String>());
    printed
}

fn texts(value: &Value) -> BTreeSet<String> {
    value.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

fn check(report: &Value) {
    assert!(report["deviations"].as_object().unwrap().is_empty(), "{:#}", report["deviations"]);
}

/// All sources of the simulator.
fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// The codes that the simulator's sources name, where an error is made.
fn codes() -> BTreeSet<String> {
    let mut found = Vec::new();
    sources(&repository().join("crates/sim/src"), &mut found);
    let mut codes = BTreeSet::new();
    for source in found {
        for kind in ["ApiError::bad(", "ApiError::new(", "Self::bad(", "Self::new("] {
            for (at, _) in source.match_indices(kind) {
                let rest = source[at + kind.len()..].trim_start().trim_start_matches(|one: char| one.is_ascii_digit());
                let rest = rest.trim_start_matches([',', ' ', '\n']);
                let code = rest.strip_prefix('"').and_then(|rest| rest.split('"').next());
                // Brackets mark what is noted in the journal and never answered.
                if let Some(code) = code.filter(|code| !code.starts_with('(')) {
                    codes.insert(code.to_owned());
                }
            }
        }
    }
    codes
}

#[test]
fn the_checks_find_what_is_wrong() {
    let home = TempDir::new().unwrap();
    println!("{}", script("faulty.py", home.path(), &[]));
}

#[test]
fn aws_own_clients_find_no_deviation() {
    let home = TempDir::new().unwrap();
    let arguments = [env!("CARGO_BIN_EXE_pinion"), home.path().to_str().unwrap()];
    let report: Value = serde_json::from_str(&script("drive.py", home.path(), &arguments)).unwrap();
    check(&report);
    let (operations, seen) = (texts(&report["operations"]), texts(&report["codes"]));
    println!(
        "botocore: {} calls of {} operations, {} error codes, {} waiters, {} paginators, {} lines of the AWS command line: \
         no deviation",
        report["calls"],
        operations.len(),
        seen.len(),
        report["waiters"].as_array().unwrap().len(),
        report["paginators"].as_object().unwrap().len(),
        report["command_lines"]
    );
    // All that Pinion asks.
    let source = std::fs::read_to_string(repository().join("crates/aws/src/operation.rs")).unwrap();
    let (_, table) = source.split_once("operations! {").unwrap();
    let (table, _) = table.split_once("\n}").unwrap();
    let asked: Vec<String> = table
        .lines()
        .filter_map(|line| {
            let parts: Vec<&str> = line.split('"').collect();
            (parts.len() == 5).then(|| format!("{}:{}", parts[1], parts[3]))
        })
        .collect();
    assert!(asked.len() > 15, "{asked:?}");
    let missing: Vec<&String> = asked.iter().filter(|operation| !operations.contains(*operation)).collect();
    assert!(missing.is_empty(), "tests/truth/drive.py doesn't drive {missing:?}");
    // All that it can be answered with.
    let codes = codes();
    assert!(codes.len() > 40, "{codes:?}");
    let missing: Vec<&String> = codes.difference(&seen).collect();
    assert!(missing.is_empty(), "tests/truth/drive.py doesn't provoke {missing:?}");
    let statuses = texts(&report["statuses"]);
    for status in
        ["Pending", "InProgress", "Baking", "RollbackSuccessful", "Failed", "Cancelled", "SUCCESSFUL", "STOPPED"]
    {
        assert!(statuses.contains(status), "{status} wasn't seen: {statuses:?}");
    }
}

/// The functions that are tests, as `file::function`.
fn tests_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_in(&path, found);
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let (stem, text) = (path.file_stem().unwrap().to_str().unwrap(), std::fs::read_to_string(&path).unwrap());
        let mut marked = false;
        for line in text.lines().map(str::trim) {
            let name =
                line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ").and_then(|rest| rest.split('(').next());
            match name {
                Some(name) if marked => {
                    found.insert(format!("{stem}::{name}"));
                    marked = false;
                }
                _ => {
                    marked = line.starts_with("#[test]")
                        || line.starts_with("#[tokio::test")
                        || (marked && line.starts_with('#'))
                }
            }
        }
    }
}

/// What a table names that doesn't exist, and how many it names.
fn misspelt(table: &str, tests: &BTreeSet<String>) -> (Vec<String>, usize) {
    let rows = table.lines().filter(|line| line.starts_with("| "));
    let named: Vec<&str> =
        rows.flat_map(|row| row.split('`').skip(1).step_by(2)).filter(|name| name.contains("::")).collect();
    let count = named.len();
    (named.into_iter().filter(|name| !tests.contains(*name)).map(str::to_owned).collect(), count)
}

#[test]
fn every_test_that_the_table_names_exists() {
    let mut tests = BTreeSet::new();
    for folder in ["crates", "src", "tests"] {
        tests_in(&repository().join(folder), &mut tests);
    }
    assert!(tests.len() > 100, "{}", tests.len());
    let text = std::fs::read_to_string(repository().join("docs/simulator.md")).unwrap();
    let (_, table) = text.split_once("## What it does as AWS does").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let (missing, count) = misspelt(table, &tests);
    assert!(missing.is_empty(), "docs/simulator.md names tests that aren't there: {missing:?}");
    assert!(count > 40, "{count}");
    // Every row but headings names one.
    for row in table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| behaviour") && !line.starts_with("| ---"))
    {
        assert!(row.starts_with("| **") || row.contains("::"), "no test shows this: {row}");
    }
    let wrong = table.replacen("groups::a_good_image", "groups::a_goad_image", 1);
    assert_eq!(misspelt(&wrong, &tests).0, ["groups::a_goad_image_rolls_out"], "a misspelt one is found");
}

const DEFAULTS: &str = include_str!("../src/cli/demo/files/defaults.toml");
const ENVIRONMENTS: [(&str, &str); 2] = [
    ("dev", include_str!("../src/cli/demo/files/dev.toml")),
    ("prod", include_str!("../src/cli/demo/files/prod.toml")),
];

#[test]
fn what_a_running_controller_was_answered_has_no_deviation() {
    let home = TempDir::new().unwrap();
    let record = home.path().join("record.jsonl");
    let mut files = vec![("environments/defaults.toml".to_owned(), DEFAULTS.to_owned())];
    for (name, text) in ENVIRONMENTS {
        let pins = "frontend = \"1.4.0\"\nbackend = \"2.0.0\"\n".to_owned();
        files.push((format!("environments/{name}/environment.toml"), text.to_owned()));
        files.push((format!("environments/{name}/pins.toml"), pins));
    }
    let stage = Stage::of(include_str!("../crates/sim/src/demo.toml"))
        .environments(files)
        .speed(120.0)
        .recording_to(record.clone())
        .start();
    let all: Vec<String> = stage.status()["environments"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(name, held)| {
            held["targets"].as_object().unwrap().keys().map(|local| format!("{name}/{local}")).collect::<Vec<_>>()
        })
        .collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    assert_eq!(all.len(), 4, "{all:?}");
    stage.wait_for_sync(&all);
    // The demo's script: good versions everywhere, then bad ones in dev, and the way out.
    stage.commit("new versions", |repo| {
        for name in ["dev", "prod"] {
            set_pin(repo, name, "frontend", "1.5.0");
            set_pin(repo, name, "backend", "2.1.0");
        }
    });
    stage.wait_until("both run the new versions", |stage| {
        let image = "111111111111.dkr.ecr.us-west-1.amazonaws.com/backend:2.1.0";
        let fleet = stage.fleet();
        [DEV, PROD].iter().all(|account| {
            fleet.group_runs(account, "frontend", "ami-0f0000000001500aa")
                && fleet.service_runs(account, "app/api", image)
        })
    });
    stage.wait_for_sync(&all);
    // One after the other: the frontend waits for the backend.
    for (component, bad, good) in [("frontend", "1.5.1", "1.5.0"), ("backend", "2.1.1", "2.1.0")] {
        stage.pin("dev", component, bad);
        let target = if component == "frontend" { "dev/asg/web" } else { "dev/fargate/api" };
        stage.wait_for(target, "quarantined");
        stage.pin("dev", component, good);
        stage.wait_for_sync(&all);
    }
    drop(stage);
    let report: Value = serde_json::from_str(&script("recorded.py", home.path(), &[record.to_str().unwrap()])).unwrap();
    check(&report);
    println!(
        "a controller: {} answers of {} operations: no deviation",
        report["calls"],
        report["operations"].as_array().unwrap().len()
    );
    assert!(report["calls"].as_u64().unwrap() > 100, "{report}");
    assert!(report["operations"].as_array().unwrap().len() >= 15, "{report}");
}
