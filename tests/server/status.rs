use std::path::Path;

use clap::{CommandFactory, Parser};
use pinion::cli::error::ErrorKind;
use pinion::cli::output::Screen;
use pinion::cli::{completions, resync, status};
use pinion::model::status::Status;

use super::sample::{self, Controller, TOKEN, now};

#[derive(Parser)]
enum Cli {
    Status(status::Args),
    Resync(resync::Args),
    Completions(completions::Args),
}

#[test]
fn the_table_is_aligned_and_problems_follow() {
    let text = status::render(&sample::status(), now(), Screen::plain());
    let expected = "\
TARGET            STATE        DESIRED  RUNNING  UPDATED  SINCE  REASON
dev/asg/web       unknown      1.4.2    -        4/4      5m     drifted; was in-sync; can't be read now
prod/asg/web      rolling-out  1.4.2    1.4.1    3/4      5m     InProgress, 75 %
prod/fargate/api  in-sync      1.4.2    1.4.2    4/4      5m

environment dev is broken; it keeps its last good desired state, of 01234567:
  environments/dev/pins.toml:3
    unknown key `fronted`

environment dev: ec2:DescribeImages failed: Timeout

guardrail holiday-freeze of https://github.com/acme/environments.git main ended at 2026-01-02T08:00:00Z, and is still in its file
";
    assert_eq!(text, expected);
}

#[test]
fn colours_only_where_wanted() {
    let colour = Screen { terminal: false, colour: true };
    assert!(status::render(&sample::status(), now(), colour).contains("\u{1b}["));
}

async fn run(arguments: &[&str]) -> Result<(), pinion::cli::error::CliError> {
    match Cli::parse_from([&["pinion"], arguments].concat()) {
        Cli::Status(args) => status::run(args).await,
        Cli::Resync(args) => resync::run(args).await,
        Cli::Completions(args) => completions::run(args, Cli::command()).await,
    }
}

#[tokio::test]
async fn a_controller_that_is_not_there_is_said_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = run(&["status", "--address", &address]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    let text = error.to_string();
    assert!(text.starts_with(&format!("error: can't reach the controller at {address}\n")), "{text}");
    assert!(text.contains("refused") && text.contains("hint: start one with `pinion run`"), "{text}");
    for wrong in ["ftp://x", "localhost:9780", "http://"] {
        let error = Cli::try_parse_from(["pinion", "status", "--address", wrong]).err().unwrap().to_string();
        assert!(error.contains("write it like http://127.0.0.1:9780"), "{error}");
    }
}

#[tokio::test]
async fn status_and_resync_talk_to_a_controller() {
    let mut status = sample::status();
    status.resync.completed = 1;
    let controller = Controller::start(status, Some(TOKEN)).await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let (address, token) = (controller.url(""), token.to_str().unwrap());
    run(&["status", "--address", &address]).await.unwrap();
    run(&["status", "--address", &address, "--output", "json"]).await.unwrap();
    run(&["resync", "--address", &address, "--token-file", token, "--retry-quarantined"]).await.unwrap();
    assert_eq!(*controller.requests.retried.lock().unwrap(), [true]);

    let late = run(&["resync", "--address", &address, "--token-file", token, "--timeout", "0"]).await.unwrap_err();
    assert!(late.to_string().contains("resync 2 has not completed"), "{late}");
    std::fs::write(token, "wrong").unwrap();
    let refused = run(&["resync", "--address", &address, "--token-file", token]).await.unwrap_err();
    assert!(refused.to_string().contains("401 Unauthorized: the token is wrong"), "{refused}");
    let absent = run(&["resync", "--address", &address, "--token-file", "/nowhere"]).await.unwrap_err();
    assert!(absent.to_string().contains("can't read the secret in /nowhere"), "{absent}");
}

#[tokio::test]
async fn each_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        run(&["completions", shell]).await.unwrap();
    }
}

/// The names of all fields in a schema.
fn fields(schema: &serde_json::Value, found: &mut Vec<String>) {
    match schema {
        serde_json::Value::Object(object) => {
            if let Some(properties) = object.get("properties").and_then(|properties| properties.as_object()) {
                found.extend(properties.keys().cloned());
            }
            object.values().for_each(|value| fields(value, found));
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| fields(value, found)),
        _ => {}
    }
}

#[test]
fn the_documentation_has_every_field_and_state() {
    let schema = serde_json::to_value(schemars::schema_for!(Status)).unwrap();
    let mut names = Vec::new();
    fields(&schema, &mut names);
    assert!(names.len() > 30, "{names:?}");
    names.extend(pinion::model::State::ALL.map(|state| state.to_string()));
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/status-api.md")).unwrap();
    let missing: Vec<&String> = names.iter().filter(|name| !text.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/status-api.md says nothing of {missing:?}");
}
