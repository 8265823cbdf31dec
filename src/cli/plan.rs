//! `pinion plan`: what a merge of the files in a folder would do. Looks everything up live, writes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::error::CliError;
use super::output::{self, Output, Screen};
use super::signers::{self, Signers};
use crate::aws::{Aws, Options};
use crate::clock::{Clock, SystemClock};
use crate::git::{Provenances, WorkingCopy};
use crate::guardrail::{Fleet, Guardrails};
use crate::manifest::{self, Draft};
use crate::metrics::Metrics;
use crate::model::{Component, Environment, EnvironmentName, Kind, Provenance, RoleArn, State};
use crate::plan::{Memory, Observed, Plan, Reason, TargetPlan};
use crate::ports::{Accounts, Observe};
use crate::reconcile::desired::{Desired, sources};
use crate::reconcile::pass;
use crate::telemetry::one_line;

/// The arguments of `pinion plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The environments to plan; all of them if none is named.
    #[arg(value_name = "ENV")]
    environments: Vec<EnvironmentName>,
    /// The folder that has `environments/`.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Show only the targets for which something changed since this revision.
    #[arg(long, value_name = "REV")]
    base: Option<String>,
    /// What the output is for.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// Exit with 2 if anything would be rolled out.
    #[arg(long)]
    detailed_exitcode: bool,
    /// Assume the role of this name in each account, instead of the environment's own.
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    #[command(flatten)]
    signers: Signers,
    /// Where the AWS API is, if it isn't AWS's own.
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL")]
    endpoint_url: Option<String>,
}

/// What `--output json` prints. Stable: fields are added, never renamed or removed.
#[derive(Debug, Serialize)]
struct Report {
    environments: BTreeMap<String, EnvironmentReport>,
    /// Targets that would be rolled out, now or when what they wait for is over.
    changes: usize,
    /// Targets that can't be planned.
    blocked: usize,
    /// Targets whose pin is quarantined.
    quarantined: usize,
}

#[derive(Debug, Serialize)]
struct EnvironmentReport {
    account: String,
    region: String,
    targets: Vec<TargetReport>,
}

#[derive(Debug, Serialize)]
struct TargetReport {
    target: String,
    kind: Kind,
    component: String,
    state: State,
    reason: Option<String>,
    /// Whether the target would be rolled out, now or when what it waits for is over.
    change: bool,
    /// What runs now.
    from: Option<String>,
    /// The pinned version.
    to: String,
    artifact: Option<String>,
    /// The first call that a controller would make.
    next: Option<Next>,
    /// Instances or tasks that run the artifact, and all of them.
    updated: u32,
    total: u32,
    drifted: bool,
    commit: Option<String>,
    author: String,
    subject: String,
}

#[derive(Debug, Serialize)]
struct Next {
    operation: &'static str,
    summary: String,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] if files are broken, or something can't be read at all.
pub async fn run(args: Args) -> Result<ExitCode, CliError> {
    let folder = manifest::read::folder(&args.dir)?;
    let loaded = manifest::load_with_refused(&folder.files, &folder.refused);
    let mut broken = loaded.findings.clone();
    broken.extend(&loaded.policy_findings);
    let mut drafts = BTreeMap::new();
    for (name, result) in &loaded.environments {
        if !args.environments.is_empty() && !args.environments.contains(name) {
            continue;
        }
        match result {
            Ok(draft) => {
                drafts.insert(name.clone(), draft);
            }
            Err(findings) => broken.extend(findings),
        }
    }
    if let Some(name) = args.environments.iter().find(|name| !loaded.environments.contains_key(*name)) {
        let known: Vec<&str> = loaded.environments.keys().map(EnvironmentName::as_str).collect();
        return Err(CliError::usage(format!("there is no environment `{name}`"))
            .hint(format!("known are: {}", known.join(", "))));
    }
    if !broken.is_empty() {
        output::note(&super::validate::text(&broken, Screen::stderr()));
        return Err(CliError::failed(format!("{} finding(s): nothing was planned", broken.len()))
            .hint("`pinion validate` shows the same, offline"));
    }

    let roles = match &args.role {
        None => BTreeMap::new(),
        Some(name) => drafts.values().map(|draft| role_named(draft, name)).collect::<Result<_, _>>()?,
    };
    let mut git = History::of(&args.dir, args.base.as_deref(), drafts.values().copied())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    git.sign(&args.signers, &args.dir, clock.now())?;
    let recorder = Arc::new(Metrics::new()?);
    let aws = Aws::new(Options {
        endpoint_url: args.endpoint_url.clone(),
        keys: None,
        session_name: "pinion-plan".to_owned(),
        recorder,
        clock: Arc::clone(&clock),
    })
    .await;
    let guardrails: Arc<dyn Guardrails> = Arc::new(loaded.policies.clone());
    let sources = sources(drafts.values().copied(), &loaded.policies);
    let wanted = drafts.values().map(|draft| {
        let mut environment = git.complete(draft, clock.as_ref());
        if let Some(role) = roles.get(&environment.name) {
            environment.account.role = role.clone();
        }
        // Probes are for after a rollout; a plan asks what would be rolled out.
        environment.targets.values_mut().for_each(|target| target.verify.clear());
        let soaks = sources.contains(&environment.name);
        Desired { environment, revision: git.head.clone(), guardrails: Arc::clone(&guardrails), soaks, seen: None }
    });
    let seen = futures_util::future::join_all(wanted.map(|desired| {
        let reader = aws.reader(&desired.environment.name, &desired.environment.account);
        let clock = Arc::clone(&clock);
        async move { look(desired, reader, clock.as_ref()).await }
    }))
    .await;
    let plans = decide(seen, clock.now());

    let report = git.report(&plans);
    let screen = Screen::stdout();
    match args.output {
        Output::Json => output::print(&(serde_json::to_string_pretty(&report)? + "\n"))?,
        Output::Text => output::print(&render(&report, screen))?,
    }
    if report.blocked > 0 {
        return Err(CliError::failed(format!("{} target(s) can't be planned", report.blocked))
            .hint("the lines marked ! say why"));
    }
    Ok(if args.detailed_exitcode && report.changes > 0 { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

async fn look(desired: Desired, reader: Arc<dyn Observe>, clock: &dyn Clock) -> (Desired, Observed) {
    let all = desired.environment.targets.keys().filter(|_| desired.soaks).cloned().collect();
    let observed = pass::observe(&desired.environment, reader.as_ref(), &Memory::default(), &all, clock.now()).await;
    (desired, observed)
}

/// Plans all environments, each by itself, knowing what all of them are doing now. What would start isn't counted: a
/// controller takes one after the other, and which comes first is open.
fn decide(seen: Vec<(Desired, Observed)>, now: Timestamp) -> Vec<(Desired, Plan)> {
    let memory = Memory::default();
    let mut fleet = Fleet::default();
    for (desired, observed) in &seen {
        let plan = pass::decide(desired, observed, &memory, &Fleet::default(), now);
        fleet.set(&desired.environment.name, pass::members(desired, &plan, now));
    }
    let plans = seen.into_iter().map(|(desired, observed)| {
        let plan = pass::decide(&desired, &observed, &memory, &fleet, now);
        (desired, plan)
    });
    plans.collect()
}

/// The role of this name in an environment's account.
fn role_named(draft: &Draft, name: &str) -> Result<(EnvironmentName, RoleArn), CliError> {
    let (stem, _) = draft.account.role.as_str().split_once(":role/").unwrap_or_default();
    let arn = RoleArn::try_from(format!("{stem}:role/{name}"));
    let arn = arn.map_err(|error| CliError::usage(format!("--role {name}: {error}")).hint("give the role's name"))?;
    Ok((draft.name.clone(), arn))
}

/// What the working copy's history says about the files, where there is one.
pub(super) struct History {
    head: crate::model::CommitId,
    provenance: BTreeMap<(String, String), Provenance>,
    /// The same environments as of `--base`.
    base: Option<BTreeMap<EnvironmentName, Draft>>,
}

impl History {
    pub(super) fn of<'a>(
        dir: &Path,
        base: Option<&str>,
        drafts: impl IntoIterator<Item = &'a Draft>,
    ) -> Result<Self, CliError> {
        let nothing = Self { head: crate::model::CommitId::uncommitted(), provenance: BTreeMap::new(), base: None };
        let copy = match WorkingCopy::discover(dir) {
            Ok(copy) => copy,
            Err(error) if base.is_some() => return Err(error.into()),
            Err(_) => return Ok(nothing),
        };
        let objects = copy.objects();
        let base = match base {
            None => None,
            Some(revision) => {
                let files = objects.files(&copy.resolve(revision)?, &crate::git::FOLDERS)?;
                let loaded = manifest::load_with_refused(&files.files, &files.refused);
                // What was broken before is new now.
                Some(loaded.environments.into_iter().filter_map(|(name, result)| Some((name, result.ok()?))).collect())
            }
        };
        let Some(head) = copy.head()? else { return Ok(Self { base, ..nothing }) };
        let wanted = drafts
            .into_iter()
            .flat_map(|draft| {
                let path = draft.pins_path();
                draft.pins().into_iter().map(move |(component, value)| ((path.clone(), component.to_string()), value))
            })
            .collect();
        let provenance =
            Provenances::new().provenance(&objects, &head, &wanted, &|_, bytes| manifest::pin_values(bytes))?;
        Ok(Self { head, provenance, base })
    }

    /// Says who signed the commits that set the pins, and tells of commits that a controller would refuse.
    pub(super) fn sign(&mut self, signers: &Signers, dir: &Path, now: Timestamp) -> Result<(), CliError> {
        let verified = signers.check(dir, self.provenance.values_mut(), now)?;
        if let Some(verified) = verified.filter(|verified| verified.refused > 0) {
            output::note(
                &(signers::text(&verified) + "a controller that checks signatures won't follow these commits\n"),
            );
        }
        Ok(())
    }

    pub(super) fn complete(&self, draft: &Draft, clock: &dyn Clock) -> Environment {
        let path = draft.pins_path();
        let of_this: BTreeMap<Component, Provenance> = draft
            .pins()
            .into_keys()
            .map(|component| {
                let key = (path.clone(), component.to_string());
                let found = self.provenance.get(&key).cloned();
                (component, found.unwrap_or_else(|| Provenance::uncommitted(clock.now())))
            })
            .collect();
        draft.clone().complete(&of_this)
    }

    /// Whether this change touches a target: what it is, how it rolls out, or its pin.
    fn touched(&self, environment: &Environment, local: &crate::model::LocalRef) -> bool {
        let Some(base) = &self.base else { return true };
        let Some(before) = base.get(&environment.name) else { return true };
        let (Some(now), Some(then)) = (environment.targets.get(local), before.targets.get(local)) else { return true };
        let value = environment.pin_of(now).map(|pin| (&pin.version, &pin.digest));
        let earlier = before.pin_value(&then.component).map(|pin| (&pin.version, &pin.digest));
        now.spec != then.spec || environment.account != before.account || value != earlier
    }

    fn report(&self, plans: &[(Desired, Plan)]) -> Report {
        let mut report = Report { environments: BTreeMap::new(), changes: 0, blocked: 0, quarantined: 0 };
        for (desired, plan) in plans {
            let environment = &desired.environment;
            let mut targets = Vec::new();
            for (local, plan) in plan.targets.iter().filter(|(local, _)| self.touched(environment, local)) {
                let Some(target) = environment.targets.get(local) else { continue };
                let Some(pin) = environment.pin_of(target) else { continue };
                let change = changes(plan);
                report.changes += usize::from(change);
                report.blocked += usize::from(matches!(plan.state, State::Blocked | State::Unknown));
                report.quarantined += usize::from(plan.state == State::Quarantined);
                targets.push(TargetReport {
                    target: target.reference.to_string(),
                    kind: local.kind,
                    component: target.component.to_string(),
                    state: plan.state,
                    reason: plan
                        .reason
                        .as_ref()
                        .filter(|reason| **reason != Reason::Preparing)
                        .map(ToString::to_string),
                    change,
                    from: plan.running.clone(),
                    to: pin.version.to_string(),
                    artifact: plan.artifact.as_ref().map(ToString::to_string),
                    next: plan
                        .action
                        .as_ref()
                        .map(|action| Next { operation: action.operation(), summary: action.to_string() }),
                    updated: plan.updated,
                    total: plan.total,
                    drifted: plan.drifted,
                    commit: (!pin.provenance.commit.is_uncommitted()).then(|| pin.provenance.commit.to_string()),
                    author: pin.provenance.author.clone(),
                    subject: pin.provenance.subject.clone(),
                });
            }
            let (account, region) = (environment.account.id.to_string(), environment.account.region.to_string());
            report.environments.insert(environment.name.to_string(), EnvironmentReport { account, region, targets });
        }
        report
    }
}

/// Whether the target would be rolled out, now or when what it waits for is over.
fn changes(plan: &TargetPlan) -> bool {
    plan.action.as_ref().is_some_and(crate::plan::Action::is_write) || plan.state == State::Pending
}

fn render(report: &Report, screen: Screen) -> String {
    let mut text = String::new();
    for (name, environment) in &report.environments {
        text += &format!("{}  account {}, {}\n", one_line(name), environment.account, environment.region);
        if environment.targets.is_empty() {
            text += "  nothing in this change touches it\n";
        }
        let mut table = screen.table(&["  ", "TARGET", "STATE", "VERSION", ""]);
        for target in &environment.targets {
            let from = target.from.as_deref().unwrap_or("?");
            let step = if target.change { format!("{from} → {}", target.to) } else { target.to.clone() };
            let sign = match (target.change, target.state) {
                (_, State::Blocked | State::Unknown | State::Quarantined) => "!",
                (true, State::Pending) => "…",
                (true, _) => "~",
                (false, _) => " ",
            };
            let what = match (&target.next, &target.reason) {
                (Some(next), _) => format!(
                    "{} of {} to replace; first: {}",
                    target.total.saturating_sub(target.updated),
                    target.total,
                    next.summary
                ),
                (None, Some(reason)) => reason.clone(),
                (None, None) => format!("{} of {}", target.updated, target.total),
            };
            table.add_row(vec![
                screen.cell(&format!("  {sign}")),
                screen.cell(&target.target),
                if target.next.is_some() {
                    screen.painted("roll out", comfy_table::Color::Blue)
                } else {
                    screen.state(target.state)
                },
                screen.cell(&step),
                screen.cell(&what),
            ]);
        }
        text += &output::table_text(&table);
        text += "\n\n";
    }
    let in_sync = report
        .environments
        .values()
        .flat_map(|environment| &environment.targets)
        .filter(|target| target.state == State::InSync)
        .count();
    text + &format!(
        "Plan: {} to roll out, {in_sync} in sync, {} quarantined, {} can't be planned.\n",
        report.changes, report.quarantined, report.blocked
    )
}
