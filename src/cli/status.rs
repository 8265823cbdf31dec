//! `pinion status`: the table of targets, from a running controller.

use std::time::Duration;

use comfy_table::Color;
use jiff::Timestamp;

use super::client::{Address, Controller};
use super::error::CliError;
use super::output::{self, Output, Screen};
use super::unknown;
use crate::clock::{Clock, SystemClock};
use crate::model::escape::{one_line, plain_json};
use crate::model::status::{Status, TargetStatus};
use crate::model::{CommitId, State};

/// How often `--watch` looks.
const EVERY: Duration = Duration::from_secs(1);

/// Shows the targets of a running controller.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this environment or target: prod, prod/asg/web
    #[arg(value_name = "ENV[/KIND/NAME]")]
    scope: Option<String>,

    /// Show it again every second until interrupted
    #[arg(long, short)]
    watch: bool,

    /// For people, or for programs
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    address: Address,
}

/// Prints the status, once or until interrupted.
///
/// # Errors
/// If the controller can't be reached or answers strangely. While watching, only the first time.
pub async fn run(args: Args) -> Result<(), CliError> {
    let screen = Screen::stdout();
    let controller = Controller::new(args.address)?;
    let scope = args.scope.as_deref().map(|scope| scope.trim_end_matches('/'));
    let mut text = show(&controller, scope, args.output, args.watch, screen).await?;
    if !args.watch {
        output::print(&text)?;
        return Ok(());
    }
    loop {
        if screen.terminal && args.output == Output::Text {
            output::print(&redraw(&text))?;
        } else {
            output::print(&text)?;
        }
        tokio::time::sleep(EVERY).await;
        text = match show(&controller, scope, args.output, true, screen).await {
            Ok(text) => text,
            // A controller may be restarted while it is watched.
            Err(error) if args.output == Output::Text => format!("{error}\n"),
            Err(error) => return Err(error),
        };
    }
}

async fn show(
    controller: &Controller,
    scope: Option<&str>,
    output: Output,
    watch: bool,
    screen: Screen,
) -> Result<String, CliError> {
    let mut json = controller.status_json().await?;
    if let Some(scope) = scope
        && !keep_only(&mut json, scope)
    {
        return Err(unknown::scope(scope, &controller.read_status(json)?));
    }
    match output {
        Output::Text => Ok(render(&controller.read_status(json)?, SystemClock.now(), screen)),
        // One object a line while watching, so that a program can separate them.
        Output::Json if watch => Ok(plain_json(&format!("{json}\n")).into_owned()),
        Output::Json => Ok(plain_json(&format!("{json:#}\n")).into_owned()),
    }
}

/// Leaves of a status only an environment, or one target of it. False, and all is left, if there is no such one.
fn keep_only(status: &mut serde_json::Value, scope: &str) -> bool {
    let (name, target) = scope.split_once('/').map_or((scope, None), |(name, target)| (name, Some(target)));
    let Some(environments) = status.get_mut("environments").and_then(|it| it.as_object_mut()) else { return false };
    let Some(environment) = environments.get_mut(name) else { return false };
    if let Some(target) = target {
        let targets = environment.get_mut("targets").and_then(|it| it.as_object_mut());
        let Some(targets) = targets.filter(|targets| targets.contains_key(target)) else { return false };
        targets.retain(|key, _| key == target);
    }
    environments.retain(|key, _| key == name);
    true
}

/// The text over what was drawn before: each line clears its own rest, and the last one all below it, so that nothing
/// flickers.
pub(super) fn redraw(text: &str) -> String {
    format!("\u{1b}[H{}\u{1b}[J", text.replace('\n', "\u{1b}[K\n"))
}

/// The table of targets, then what is wrong with environments and repositories.
#[must_use]
pub fn render(status: &Status, now: Timestamp, screen: Screen) -> String {
    let header = ["TARGET", "STATE", "DESIRED", "RUNNING", "UPDATED", "SINCE", "REASON"];
    let mut table = screen.table(&header);
    let mut rows = 0_usize;
    for target in status.environments.values().flat_map(|environment| environment.targets.values()) {
        rows += 1;
        let running = target.running.as_deref().unwrap_or("-");
        let differs = target.running.as_deref().is_some_and(|running| running != target.desired);
        table.add_row([
            screen.cell(&target.target),
            screen.state(target.state),
            screen.cell(&target.desired),
            if differs { screen.painted(running, Color::Yellow) } else { screen.cell(running) },
            screen.cell(&format!("{}/{}", target.updated, target.total)),
            screen.cell(&output::ago(target.since, now)),
            screen.cell(&reason(target)),
        ]);
    }
    let mut text = if rows == 0 { "no targets yet".to_owned() } else { output::table_text(&table) };
    text.push('\n');
    for problem in problems(status, now) {
        text.push('\n');
        text.push_str(&problem);
    }
    text
}

fn reason(target: &TargetStatus) -> String {
    let mut parts = Vec::new();
    if target.drifted {
        parts.push("drifted".to_owned());
    }
    if let (State::Unknown, Some(last)) = (target.state, target.last_known) {
        parts.push(format!("was {last}"));
    }
    parts.extend(target.reason.clone());
    parts.join("; ")
}

/// Each a paragraph, its last line ended.
fn problems(status: &Status, now: Timestamp) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, environment) in &status.environments {
        if !environment.valid || !environment.errors.is_empty() {
            // Several lines each, as `pinion validate` shows them; every line is made harmless by itself.
            let lines = environment.errors.iter().flat_map(|error| error.lines());
            let errors: String = lines.map(|line| format!("  {}\n", one_line(line))).collect();
            let kept = match CommitId::short_of(&environment.revision) {
                "" => "no good desired state of it is known".to_owned(),
                revision => format!("it keeps its last good desired state, of {revision}"),
            };
            problems.push(format!("environment {name} is broken; {kept}:\n{errors}"));
        }
        if let Some(change_limit) = &environment.change_limit {
            problems.push(format!("environment {name}: {}\n", one_line(change_limit)));
        }
        if let Some(error) = &environment.error {
            problems.push(format!("environment {name}: {}\n", one_line(error)));
        }
    }
    for repository in &status.repositories {
        if !repository.guardrail_errors.is_empty() {
            let lines = repository.guardrail_errors.iter().flat_map(|error| error.lines());
            let errors: String = lines.map(|line| format!("  {}\n", one_line(line))).collect();
            let (url, branch) = (one_line(&repository.url), one_line(&repository.branch));
            problems.push(format!("the guardrails of {url} {branch} are invalid, so nothing is rolled out:\n{errors}"));
        }
        for end in repository.guardrail_ends.iter().filter(|end| end.until <= now) {
            let (url, branch) = (one_line(&repository.url), one_line(&repository.branch));
            let (policy, until) = (one_line(&end.policy), end.until);
            problems.push(format!("guardrail {policy} of {url} {branch} ended at {until}, and is still in its file\n"));
        }
        if let Some(error) = &repository.error {
            let (url, branch) = (one_line(&repository.url), one_line(&repository.branch));
            // Most errors name the repository themselves.
            let error = error.to_string();
            let error = error.strip_prefix(&format!("repository {}: ", repository.url)).unwrap_or(&error);
            problems.push(format!("repository {url} {branch}: {}\n", one_line(error)));
        }
    }
    if !status.ready && problems.is_empty() {
        problems.push("the first pass hasn't completed yet\n".to_owned());
    }
    problems
}
