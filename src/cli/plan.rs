//! `pinion plan`: what a merge of the files in a folder would do. Looks everything up live, writes nothing.

mod change;
mod history;
mod local;
mod markdown;
mod report;
mod text;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use tracing::Instrument as _;

pub(super) use self::history::History;
pub use self::markdown::MARKER;
pub use self::report::PlanReport;
use self::report::{Broken, Given};
pub(super) use self::trial::{Trial, trial};
use super::error::CliError;
use super::output::{self, Screen};
use super::signers::Signers;
use super::unknown;
use crate::aws::{Aws, Options};
use crate::claims::{Claims, Coverage};
use crate::clock::{Clock, SystemClock};
use crate::guardrail::Fleet;
use crate::manifest::{self, Findings};
use crate::metrics::Metrics;
use crate::model::escape::{one_line, plain_json};
use crate::model::survey::Survey;
use crate::model::{CommitId, EnvironmentName, Installation, LocalRef, Session, State, words};
use crate::plan::change_limit::ChangeLimits;
use crate::plan::{Memory, Observed, Plan, TargetPlan};
use crate::ports::{Accounts, Observe, Surveyor};
use crate::reconcile::desired::Desired;
use crate::reconcile::follow::Follower;
use crate::reconcile::pass;

/// How many targets of one account are surveyed at once.
const SURVEYS_AT_ONCE: usize = 4;

/// The arguments of `pinion plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The environments to plan; all of them if none is named.
    #[arg(value_name = "ENV")]
    environments: Vec<EnvironmentName>,
    /// The folder that has `environments/`.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Show only what the change since this revision causes.
    #[arg(long, value_name = "REV")]
    base: Option<String>,
    /// What the output is for.
    #[arg(long, value_enum, default_value_t)]
    output: Format,
    /// Exit with 2 if anything would be rolled out.
    #[arg(long)]
    detailed_exitcode: bool,
    #[command(flatten)]
    signers: Signers,
    /// The share of prod's pins and shapes, in per cent, that may change at once unheld: `change_limits.max_percent` of
    /// pinion.toml.
    #[arg(long, value_name = "PERCENT", default_value_t = ChangeLimits::default().max_percent)]
    change_limit_max_percent: u32,
    /// How many of prod's pins and shapes may change at once whatever share that is: `change_limits.always_allowed` of
    /// pinion.toml.
    #[arg(long, value_name = "PINS", default_value_t = ChangeLimits::default().always_allowed)]
    change_limit_always_allowed: u32,
    /// The role to assume in each account, by its name, instead of the one in environment.toml: one that only reads.
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// What the installation is called that will apply this: `installation` of pinion.toml.
    #[arg(long, value_name = "NAME", default_value_t)]
    installation: Installation,
    /// Where the AWS API is, if it isn't AWS's own.
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL")]
    endpoint_url: Option<String>,
}

/// What the output is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For a comment on a pull request.
    Markdown,
    /// For programs: stable, with a JSON Schema.
    Json,
}

/// An environment that was planned, with all that was read of it.
struct Planned {
    desired: Desired,
    observed: Observed,
    plan: Plan,
    surveys: BTreeMap<LocalRef, Survey>,
    /// What this change changes of each target that it touches; all targets without a base.
    touched: BTreeMap<LocalRef, Vec<&'static str>>,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] if files are broken, or something can't be read at all.
pub async fn run(args: Args) -> Result<ExitCode, CliError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let folder = manifest::read::folder(&args.dir)?;
    let loaded = manifest::load_with_refused(&folder.files, &folder.refused);
    let broken = loaded.stops(&args.environments);
    let good = loaded.environments.iter().filter_map(|(name, result)| Some((name, result.as_ref().ok()?)));
    let mut drafts: BTreeMap<_, _> = good.collect();
    if let Some(name) = args.environments.iter().find(|name| !loaded.environments.contains_key(*name)) {
        return Err(unknown::environment(name, loaded.environments.keys()));
    }
    for warning in manifest::render::warnings(&loaded, clock.now()) {
        output::note(&format!("{}\n", one_line(&warning.to_string())));
    }
    let named = |name: &EnvironmentName| args.environments.is_empty() || args.environments.contains(name);
    // What is wrong in one environment, or in a folder that is none, stops nobody else, as in `run`.
    if !loaded.policy_findings.is_empty() || (!broken.is_empty() && !drafts.keys().any(|name| named(name))) {
        return Err(refuse(&broken, args.output, clock.now())?);
    }

    let mut history = History::of(&args.dir, args.base.as_deref(), drafts.values().copied())?;
    history.sign(&args.signers, &args.dir, clock.now())?;
    let limits = ChangeLimits {
        max_percent: args.change_limit_max_percent,
        always_allowed: args.change_limit_always_allowed,
        removals: true,
    };
    let change_limit = history.change_limit(drafts.values().copied(), loaded.environments.keys(), limits);
    let removed = history.removed_environments(&loaded.environments.keys().collect());
    let (earlier, broken) = history.split(broken);
    // Guardrails may ask about the environments that others are promoted from, and be those broken now.
    let asked: BTreeSet<EnvironmentName> = drafts
        .values()
        .filter(|draft| named(&draft.name))
        .filter_map(|draft| Some(draft.promotion.as_ref()?.from.clone()))
        .collect();
    drafts.retain(|name, _| named(name));

    let aws = Aws::new(Options {
        endpoint_url: args.endpoint_url.clone(),
        keys: None,
        session: Session::Plan,
        recorder: Arc::new(Metrics::new()?),
        clock: Arc::clone(&clock),
    })
    .await;
    let local = history.local(&args.dir, folder, clock.as_ref());
    let mut follower = Follower::new("the folder", Coverage::All, limits);
    let followed = follower
        .read(&local, &CommitId::uncommitted(), None)
        .await
        .map_err(|error| CliError::failed(error.to_string()))?;
    let mut claims = Claims::new(args.installation.clone(), [("the folder".to_owned(), Coverage::All)]);
    claims.read(0, followed.claims);
    let mut wanted = Vec::new();
    for (_, desired) in
        followed.environments.into_iter().filter(|(name, _)| drafts.contains_key(name) || asked.contains(name))
    {
        let mut desired = Arc::unwrap_or_clone(desired);
        desired.revision = history.head.clone();
        if let Some(name) = &args.role {
            desired.environment.account.role = desired.environment.account.role.renamed(name)?;
        }
        // Probes are for after a rollout; a plan asks what would be rolled out.
        desired.environment.targets.values_mut().for_each(|target| target.verify.clear());
        wanted.push(desired);
    }
    let seen = futures_util::future::join_all(wanted.into_iter().map(|desired| {
        let reader = aws.reader(&desired.environment.name, &desired.environment.account);
        let clock = Arc::clone(&clock);
        async move { look(desired, reader, clock.as_ref()).await }
    }))
    .await;
    let at = clock.now();
    let (mut planned, fleet) = decide(seen, &claims, at);
    planned.retain(|planned| drafts.contains_key(&planned.desired.environment.name));
    let findings = Broken { new: &broken, earlier: &earlier };
    let given =
        Given { history: &history, policies: &loaded.policies, fleet: &fleet, change_limit, removed, findings, at };
    for planned in &mut planned {
        planned.touched = touched(planned, &given);
    }
    futures_util::future::join_all(planned.iter_mut().map(|planned| {
        let environment = &planned.desired.environment;
        survey(planned, aws.surveyor(&environment.name, &environment.account))
    }))
    .await;

    let report = PlanReport::of(&planned, &given);
    print(&report, args.output)?;
    for (findings, consequence) in [
        (&earlier, "so it was before this change: what this is about isn't planned"),
        (&broken, "what this is about isn't planned"),
    ] {
        if !findings.is_empty() {
            output::note(&(super::validate::text(findings, Screen::stderr()) + consequence + "\n"));
        }
    }
    if !broken.is_empty() {
        return Err(CliError::failed(format!("{}: the rest was planned", words::count(broken.len(), "finding")))
            .hint("`pinion validate` shows the same, offline"));
    }
    if report.blocked > 0 {
        return Err(CliError::failed(format!("{} can't be planned", words::count(report.blocked, "target")))
            .hint("the lines marked ! say why"));
    }
    if report.architecture_mismatches > 0 {
        return Err(CliError::failed(format!(
            "wrong processor: {}",
            words::count(report.architecture_mismatches, "artifact")
        ))
        .hint("build them for the processors of their targets, or pin others"));
    }
    Ok(if args.detailed_exitcode && report.changes > 0 { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

fn print(report: &PlanReport, format: Format) -> Result<(), CliError> {
    match format {
        Format::Json => output::print(&plain_json(&(serde_json::to_string_pretty(report)? + "\n")))?,
        Format::Markdown => output::print(&markdown::render(report))?,
        Format::Text => output::print(&text::render(report, Screen::stdout()))?,
    }
    Ok(())
}

/// Says what is wrong with the files, also where only standard output is kept.
fn refuse(broken: &Findings, format: Format, at: Timestamp) -> Result<CliError, CliError> {
    if format != Format::Text {
        print(&PlanReport::broken(at, broken.iter().map(ToString::to_string).collect()), format)?;
    }
    output::note(&super::validate::text(broken, Screen::stderr()));
    Ok(CliError::failed(format!("{}: nothing was planned", words::count(broken.len(), "finding")))
        .hint("`pinion validate` shows the same, offline"))
}

async fn look(desired: Desired, reader: Arc<dyn Observe>, clock: &dyn Clock) -> (Desired, Observed) {
    let all = desired.environment.targets.keys().filter(|_| desired.soaks).cloned().collect();
    let span = tracing::info_span!("plan", environment = %desired.environment.name);
    let memory = Memory::default();
    let read = pass::observe(&desired.environment, reader.as_ref(), &memory, &all, Duration::ZERO, clock.now());
    let observed = read.instrument(span).await;
    (desired, observed)
}

/// Plans all environments, each by itself, knowing what all of them are doing now. What would start isn't counted: a
/// controller takes one after the other, and which comes first is open.
fn decide(seen: Vec<(Desired, Observed)>, claims: &Claims, now: Timestamp) -> (Vec<Planned>, Fleet) {
    let memory = Memory::default();
    let mut fleet = Fleet::default();
    for (desired, observed) in &seen {
        let plan = pass::decide(desired, observed, &memory, &Fleet::default(), claims, now);
        fleet.expect(&desired.environment.name, desired.environment.targets.values(), now);
        fleet.set(&desired.environment.name, pass::members(desired, &plan, now));
    }
    let planned = seen.into_iter().map(|(desired, observed)| {
        let plan = pass::decide(&desired, &observed, &memory, &fleet, claims, now);
        Planned { desired, observed, plan, surveys: BTreeMap::new(), touched: BTreeMap::new() }
    });
    (planned.collect(), fleet)
}

/// The targets that this change touches, each with what it changes: of itself, or of what guardrails say to its rollout.
fn touched(planned: &Planned, given: &Given<'_>) -> BTreeMap<LocalRef, Vec<&'static str>> {
    let name = &planned.desired.environment.name;
    let parts = planned.plan.targets.iter().filter_map(|(local, plan)| {
        let Some(mut parts) = given.history.changed(name, local) else { return Some((local.clone(), Vec::new())) };
        if report::changes(plan) && given.judged_differently(planned, local, plan) {
            parts.push("guardrails");
        }
        (!parts.is_empty()).then(|| (local.clone(), parts))
    });
    parts.collect()
}

async fn survey(planned: &mut Planned, surveyor: Arc<dyn Surveyor>) {
    let Planned { desired, observed, plan, touched, .. } = &*planned;
    let environment = &desired.environment;
    let blocked = |plan: &TargetPlan| plan.state == State::Blocked && plan.artifact.is_some();
    let wanted = plan
        .targets
        .iter()
        .filter(|(local, plan)| (report::changes(plan) || blocked(plan)) && touched.contains_key(*local));
    let surveys = wanted.filter_map(|(local, plan)| {
        let target = environment.targets.get(local)?;
        let seen = observed.targets.get(local)?.as_ref().ok()?;
        let surveyor = &surveyor;
        Some(async move { (local.clone(), surveyor.survey(&target.spec, seen, plan.artifact.as_ref()).await) })
    });
    let surveys: Vec<_> = surveys.collect();
    planned.surveys = stream::iter(surveys).buffer_unordered(SURVEYS_AT_ONCE).collect().await;
}
