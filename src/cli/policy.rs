//! `pinion policy explain ENV/TARGET`: what the guardrails say to a rollout, and when it may pass.

use std::path::PathBuf;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use serde::Serialize;

use super::client::{Address, Controller};
use super::error::CliError;
use super::output::{self, Output, Screen};
use super::plan::History;
use super::signers::Signers;
use super::unknown;
use crate::clock::{Clock, SystemClock};
use crate::guardrail::{Effect, Ending, Explanation, Fleet, Member, Proposal};
use crate::manifest;
use crate::model::escape::{one_line, plain_json};
use crate::model::status::{Status, TargetStatus};
use crate::model::{CommitId, Component, Digest, Environment, EnvironmentName, Pin, State, TargetRef, Version, words};

/// Asks the guardrails
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what each policy says to a rollout of a target, and when it may pass
    Explain(Explain),
}

/// Shows what each policy says to a rollout of a target to the version pinned in a folder, and when it may pass.
#[derive(Debug, clap::Args)]
struct Explain {
    /// The target, such as prod/asg/web
    #[arg(value_name = "ENV/TARGET", value_parser = target)]
    target: TargetRef,
    /// The time of the rollout, such as 2026-12-24T18:00:00Z; now, unless given
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// The folder that has environments/ and policies/
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Don't ask the running controller: as if nothing were known of what runs anywhere
    #[arg(long)]
    offline: bool,
    /// What the output is for
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    signers: Signers,
    #[command(flatten)]
    address: Address,
}

fn target(text: &str) -> Result<TargetRef, String> {
    TargetRef::try_from(text.to_owned()).map_err(|error| error.to_string())
}

/// What `--output json` prints. Stable: fields are added, never renamed or removed.
#[derive(Debug, Serialize)]
struct PolicyCheck {
    target: String,
    at: Timestamp,
    /// What runs, where it is known.
    from: Option<String>,
    to: String,
    commit: Option<String>,
    author: String,
    subject: String,
    allowed: bool,
    /// The first full minute at which nothing forbids it, if nothing but the time changes.
    allowed_from: Option<Timestamp>,
    policies: Vec<PolicyReport>,
    facts: Facts,
}

#[derive(Debug, Serialize)]
struct PolicyReport {
    id: String,
    /// `allows`, `forbids`, or `fails`: it can't be evaluated, and so forbids.
    verdict: &'static str,
    reason: String,
    error: Option<String>,
    /// The moment after which it can't forbid anything any more, if it ends by itself.
    until: Option<Timestamp>,
}

/// What the policies were given of other targets.
#[derive(Debug, Serialize)]
struct Facts {
    promoted_from: Option<String>,
    /// Whether this component has a target there, as far as is known.
    pinned: Option<bool>,
    /// Since when this version is in sync there, if it is.
    in_sync_since: Option<Timestamp>,
    /// Whether it brings back what this pin had brought here before.
    drift: bool,
    rolling_in_environment: u32,
    rolling_in_all: u32,
    quarantined_in_environment: u32,
    quarantined_in_all: u32,
    quarantined_with_this_version: u32,
}

/// Runs the command.
///
/// # Errors
/// If the files have findings, there is no such target, or the controller can't be asked.
pub async fn run(args: Args) -> Result<(), CliError> {
    let Command::Explain(args) = args.command;
    let folder = manifest::read::folder(&args.dir)?;
    let loaded = manifest::load_with_refused(&folder.files, &folder.refused);
    let mut broken = loaded.findings.clone();
    broken.extend(&loaded.policy_findings);
    let name = &args.target.environment;
    let draft = match loaded.environments.get(name) {
        Some(Ok(draft)) => Some(draft),
        Some(Err(findings)) => {
            broken.extend(findings);
            None
        }
        None => return Err(unknown::environment(name, loaded.environments.keys())),
    };
    let Some(draft) = draft.filter(|_| broken.is_empty()) else {
        output::note(&super::validate::text(&broken, Screen::stderr()));
        return Err(CliError::failed(words::count(broken.len(), "finding")).hint("`pinion validate` shows the same"));
    };
    let mut history = History::of(&args.dir, None, [draft])?;
    history.sign(&args.signers, &args.dir, SystemClock.now())?;
    let environment = history.complete(draft, &SystemClock);
    let found = environment.targets.get(&args.target.local);
    let Some((target, pin)) = found.and_then(|target| Some((target, environment.pin_of(target)?))) else {
        let known: Vec<String> = environment.targets.keys().map(ToString::to_string).collect();
        return Err(CliError::usage(format!("there is no target `{}`", args.target))
            .hint(format!("targets of {name}: {}", known.join(", "))));
    };
    let status = if args.offline { Status::default() } else { known(args.address).await? };
    let running = running(&status, &args.target);
    let fleet = fleet(&status);
    let now = args.at.unwrap_or_else(|| SystemClock.now());
    let heals = heals(&status, &args.target, pin);
    let running = running.as_deref();
    let proposal = Proposal {
        environment: &environment,
        target,
        pin,
        running,
        heals,
        shape: None,
        image: true,
        fleet: &fleet,
        now,
    };
    let explanation = loaded.policies.explain(proposal);
    let report = report(&args.target, &environment, pin, proposal, explanation, loaded.policies.endings());
    match args.output {
        Output::Json => output::print(&plain_json(&(serde_json::to_string_pretty(&report)? + "\n")))?,
        Output::Text => output::print(&text(&report, Screen::stdout()))?,
    }
    Ok(())
}

async fn known(address: Address) -> Result<Status, CliError> {
    let controller = Controller::new(address)?;
    controller
        .status()
        .await
        .map_err(|error| error.hint("`--offline` asks nobody, and explains as if nothing were known of what runs"))
}

/// What a controller's answer says of all targets, as guardrails ask for it. Names that aren't well-formed are left out.
fn fleet(status: &Status) -> Fleet {
    let mut fleet = Fleet::default();
    for (name, environment) in &status.environments {
        if let Ok(name) = EnvironmentName::try_from(name.as_str()) {
            fleet.set(&name, environment.targets.values().filter_map(member));
        }
    }
    fleet
}

fn member(target: &TargetStatus) -> Option<(TargetRef, Member)> {
    let state = match (target.state, target.last_known) {
        (State::Unknown, Some(last)) => last,
        (state, _) => state,
    };
    let member = Member {
        component: Component::try_from(target.component.as_str()).ok()?,
        version: Version::try_from(target.desired.as_str()).ok()?,
        digest: target.digest.as_deref().and_then(|digest| Digest::try_from(digest).ok()),
        state,
        // What can't be read now isn't known to be in sync.
        in_sync_since: target.in_sync_since.filter(|_| target.state == State::InSync),
        runs: Vec::new(),
    };
    Some((TargetRef::try_from(target.target.clone()).ok()?, member))
}

fn running(status: &Status, target: &TargetRef) -> Option<String> {
    let environment = status.environments.get(target.environment.as_str())?;
    environment.targets.get(&target.local.to_string())?.running.clone()
}

/// Whether the controller says that it would heal drift, from the pin that the folder has.
fn heals(status: &Status, target: &TargetRef, pin: &Pin) -> bool {
    let environment = status.environments.get(target.environment.as_str());
    let known = environment.and_then(|environment| environment.targets.get(&target.local.to_string()));
    known.is_some_and(|known| {
        known.drifted && known.desired == pin.version.as_str() && known.pin.commit == pin.provenance.commit.as_str()
    })
}

fn report(
    target: &TargetRef,
    environment: &Environment,
    pin: &Pin,
    proposal: Proposal<'_>,
    explanation: Explanation,
    endings: &[Ending],
) -> PolicyCheck {
    let (rolling, quarantined) = (proposal.fleet.rolling(target, pin), proposal.fleet.quarantined(target, pin));
    let promoted_from = environment.promotion.as_ref().map(|promotion| &promotion.from);
    let allowed = explanation.allows();
    let policies = explanation.opinions.into_iter().map(|opinion| {
        let (verdict, error) = match opinion.verdict {
            Effect::Allows => ("allows", None),
            Effect::Forbids => ("forbids", None),
            Effect::Fails(error) => ("fails", Some(error)),
        };
        let until = endings.iter().find(|ending| ending.policy == opinion.policy).map(|ending| ending.until);
        PolicyReport { id: opinion.policy, verdict, reason: opinion.reason, error, until }
    });
    let commit = &pin.provenance.commit;
    PolicyCheck {
        target: target.to_string(),
        at: proposal.now,
        from: proposal.running.map(str::to_owned),
        to: pin.version.to_string(),
        commit: (!commit.is_uncommitted()).then(|| commit.to_string()),
        author: pin.provenance.author.clone(),
        subject: pin.provenance.subject.clone(),
        allowed,
        allowed_from: explanation.allowed_from,
        policies: policies.collect(),
        facts: Facts {
            promoted_from: promoted_from.map(ToString::to_string),
            pinned: promoted_from.map(|from| proposal.fleet.may_have(from, &proposal.target.component)),
            in_sync_since: promoted_from.and_then(|from| proposal.fleet.in_sync_since(from, pin)),
            drift: proposal.heals,
            rolling_in_environment: rolling.environment,
            rolling_in_all: rolling.all,
            quarantined_in_environment: quarantined.environment,
            quarantined_in_all: quarantined.all,
            quarantined_with_this_version: quarantined.this_version,
        },
    }
}

fn text(report: &PolicyCheck, screen: Screen) -> String {
    let from = report.from.as_deref().unwrap_or("?");
    let mut text = format!("{}  {} → {}  at {:.0}\n", report.target, one_line(from), one_line(&report.to), report.at);
    let (author, subject) = (one_line(&report.author), one_line(&report.subject));
    text += &match &report.commit {
        Some(commit) => {
            format!("pinned by {author} in {}: {subject}\n", CommitId::short_of(commit))
        }
        None => "not committed yet\n".to_owned(),
    };
    let facts = &report.facts;
    if let Some(from) = &facts.promoted_from {
        text += &match (facts.in_sync_since, facts.pinned) {
            (Some(since), _) => format!("in sync in {from} since {since:.0}\n"),
            (None, Some(false)) => format!("there is no such component in {from}\n"),
            (None, _) => format!("not in sync in {from}, as far as is known\n"),
        };
    }
    if facts.drift {
        text += "drift: this pin had been rolled out here before\n";
    }
    text += &format!(
        "other targets: {} rolling out here, {} in all; {} quarantined here, {} in all, {} of them with this version\n\n",
        facts.rolling_in_environment,
        facts.rolling_in_all,
        facts.quarantined_in_environment,
        facts.quarantined_in_all,
        facts.quarantined_with_this_version,
    );
    if report.policies.is_empty() {
        return text + "There are no policies: nothing is forbidden.\n";
    }
    let mut table = screen.table(&["  ", "POLICY", "VERDICT", "REASON"]);
    for policy in &report.policies {
        let (sign, colour, reason) = match (policy.verdict, &policy.error, policy.until) {
            ("allows", _, Some(until)) if until <= report.at => {
                (" ", comfy_table::Color::Green, format!("it ended at {until}: take it out"))
            }
            ("allows", ..) => (" ", comfy_table::Color::Green, String::new()),
            (_, Some(error), _) => ("!", comfy_table::Color::Red, error.clone()),
            (_, None, Some(until)) => ("!", comfy_table::Color::Red, format!("until {until}: {}", policy.reason)),
            (_, None, None) => ("!", comfy_table::Color::Red, policy.reason.clone()),
        };
        table.add_row(vec![
            screen.cell(&format!("  {sign}")),
            screen.cell(&policy.id),
            screen.painted(policy.verdict, colour),
            screen.cell(&reason),
        ]);
    }
    text += &output::table_text(&table);
    text += "\n\n";
    text + &match (report.allowed, report.allowed_from) {
        (true, _) => "Allowed.\n".to_owned(),
        (false, Some(allowed_from)) => {
            // The first whole second at which it is.
            let second = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil);
            let from = allowed_from.round(second).unwrap_or(allowed_from);
            format!("Forbidden. If nothing but the time changes, it is allowed from {from:.0}.\n")
        }
        (false, None) => "Forbidden, and time alone won't change that.\n".to_owned(),
    }
}
