//! `pinion suspend` and `pinion resume`: switch targets, environments or everything off for a while, and on again, by a
//! commit.

pub mod edit;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::fmt::friendly::SpanParser;
use jiff::{SignedDuration, SpanRelativeTo, Timestamp};

use self::edit::{Entry, What};
use super::bump::git::{self, Destination, Rewrite};
use super::bump::name;
use super::error::{CliError, ResultExt as _};
use super::output::{self, Screen};
use super::unknown;
use crate::clock::{Clock as _, SystemClock};
use crate::manifest::{self, Finding, Findings, nearest};
use crate::model::escape::one_line;
use crate::model::{EnvironmentName, LocalRef, Reach, Suspension, words};

const DEFAULTS: &str = "environments/defaults.toml";

/// Switches targets, environments or everything off for a while, by a commit: nothing is written to them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    pinion suspend -e prod --for 2h --reason 'an incident' --push\n  \
    pinion suspend asg/web fargate/api -e prod --until 2026-12-24T18:00:00Z --reason 'load test' --owner web-team\n  \
    pinion suspend --all --for 1d --reason 'a freeze' --push")]
pub struct Args {
    #[command(flatten)]
    on: On,
    /// Why
    #[arg(long, value_name = "TEXT", value_parser = line)]
    reason: String,
    /// Who answers for it. Default: you, as Git knows you
    #[arg(long, value_name = "NAME", value_parser = line)]
    owner: Option<String>,
    /// For how long, such as 90m, 2h or 3d
    #[arg(long = "for", value_name = "TIME", value_parser = span, required_unless_present = "until")]
    span: Option<SignedDuration>,
    /// Until when, such as 2026-12-24T18:00:00Z or 2026-12-24T18:00:00+01:00
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "span")]
    until: Option<Timestamp>,
}

/// Takes suspensions out again, by a commit
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    pinion resume -e prod --push\n  \
    pinion resume asg/web -e prod --push\n  \
    pinion resume --all --push")]
pub struct ResumeArgs {
    #[command(flatten)]
    on: On,
}

/// What is meant, and how it is committed.
#[derive(Debug, clap::Args)]
struct On {
    /// The targets, such as asg/web. Without any, the environment as a whole is meant
    #[arg(value_name = "TARGET", value_parser = target, conflicts_with = "all")]
    targets: Vec<LocalRef>,
    /// The environment; repeat it, or separate several with commas
    #[arg(long, short, value_name = "ENV", required_unless_present = "all", value_delimiter = ',', value_parser = name::<EnvironmentName>)]
    environment: Vec<EnvironmentName>,
    /// All environments, by environments/defaults.toml
    #[arg(long, conflicts_with = "environment")]
    all: bool,
    #[command(flatten)]
    to: Destination,
}

fn target(text: &str) -> Result<LocalRef, String> {
    LocalRef::try_from(text.to_owned()).map_err(|error| error.to_string())
}

fn line(text: &str) -> Result<String, String> {
    let good = !text.trim().is_empty() && !text.chars().any(char::is_control);
    good.then(|| text.to_owned()).ok_or_else(|| "this must be one line of text, and not empty".to_owned())
}

fn span(text: &str) -> Result<SignedDuration, String> {
    let help = "write it in days, hours and minutes, such as 3d, 9h or \"1h 30m\"; for a moment there is --until";
    let span = SpanParser::new().parse_span(text).map_err(|_| help.to_owned())?;
    let span = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|error| error.to_string())?;
    if span.is_positive() { Ok(span) } else { Err("this must be longer than no time".to_owned()) }
}

fn time(text: &str) -> Result<Timestamp, String> {
    let help = "write it as RFC 3339 has it, such as 2026-12-24T18:00:00Z or 2026-12-24T18:00:00+01:00";
    text.parse().map_err(|_| help.to_owned())
}

/// One file, before and after.
struct Change {
    /// Relative to the folder.
    path: String,
    old: Option<String>,
    /// `None` if nothing is left of it.
    new: Option<String>,
    /// What of it was suspended or resumed, for people.
    names: Vec<String>,
}

/// What is to be done: with a suspension to write, or to take out what is there.
struct Job {
    on: On,
    entry: Option<Entry>,
}

/// Edits and commits.
///
/// # Errors
/// If there is no such environment or target, the time is past, a file can't be changed, it would have findings that it
/// doesn't have now, or Git fails. Nothing is left changed then, but for a commit that can't be pushed.
pub async fn suspend(args: Args) -> Result<(), CliError> {
    let now = SystemClock.now();
    let until = match (args.until, args.span) {
        (Some(until), _) => Ok(until),
        (None, span) => now.checked_add(span.unwrap_or_default()),
    };
    let until = until.context(|| "this time can't be written down".to_owned())?;
    // Nobody needs its fractions.
    let until = Timestamp::from_second(until.as_second()).unwrap_or(until);
    if until <= now {
        return Err(CliError::usage(format!("{until} is past")).hint("name a time to come, or --for how long"));
    }
    let owner = match args.owner {
        Some(owner) => owner,
        None => author(&args.on.to.dir)?,
    };
    Job { on: args.on, entry: Some(Entry { owner, reason: args.reason, until }) }.run(now)
}

/// As [`suspend`].
///
/// # Errors
/// As [`suspend`].
pub async fn resume(args: ResumeArgs) -> Result<(), CliError> {
    Job { on: args.on, entry: None }.run(SystemClock.now())
}

/// Whom Git would name as a commit's author: the name and the address.
fn author(dir: &std::path::Path) -> Result<String, CliError> {
    let hint = || "say who answers for it with --owner, or configure Git's user.name and user.email".to_owned();
    let said = git::output(dir, &["var", "GIT_AUTHOR_IDENT"]).map_err(|error| error.hint(hint()))?;
    let end = said.rfind('>').map_or(said.len(), |at| at + 1);
    line(said.get(..end).unwrap_or_default()).map_err(|error| CliError::failed(error).hint(hint()))
}

impl Job {
    fn run(mut self, now: Timestamp) -> Result<(), CliError> {
        self.on.environment.sort();
        self.on.environment.dedup();
        unknown::folders(&self.on.to.dir, &self.on.environment)?;
        let (dir, push) = (&self.on.to.dir, self.on.to.push);
        let changes = self.changes()?;
        if !changes.is_empty() {
            self.check(&changes)?;
            self.on.to.take(&rewrites(&changes), &self.message(&changes))?;
            output::print(&self.done(&changes))?;
        }
        if self.entry.is_none() {
            self.say_what_stays(now)?;
        }
        // An earlier push may have failed after the commit.
        if push { git::push(dir, || self.again()) } else { Ok(()) }
    }

    /// The files that change.
    fn changes(&self) -> Result<Vec<Change>, CliError> {
        let mut changes = Vec::new();
        let all = [(DEFAULTS.to_owned(), None)].into_iter().filter(|_| self.on.all);
        let own = self.on.environment.iter().map(|name| (format!("environments/{name}/environment.toml"), Some(name)));
        for (path, environment) in all.chain(own) {
            let mut change = self.change(path, environment)?;
            if change.new != change.old {
                changes.push(change);
                continue;
            }
            for name in std::mem::take(&mut change.names) {
                let state =
                    if self.entry.is_some() { "is suspended so already" } else { "has no suspension of its own" };
                output::note(&format!("{name} {state}\n"));
            }
        }
        Ok(changes)
    }

    fn change(&self, path: String, environment: Option<&EnvironmentName>) -> Result<Change, CliError> {
        let file = self.on.to.dir.join(&path);
        let old = match std::fs::read_to_string(&file) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && environment.is_none() => None,
            Err(error) => {
                let error = CliError::from_error(&error).context(format!("can't read {}", file.display()));
                return Err(error.hint("name the folder of an environments repository with --dir"));
            }
        };
        let whats: Vec<What<'_>> = match self.on.targets.as_slice() {
            [] => vec![What::All],
            targets => targets.iter().map(What::Target).collect(),
        };
        let names = whats.iter().map(|what| match (environment, what) {
            (None, _) => "all environments".to_owned(),
            (Some(name), What::All) => name.to_string(),
            (Some(name), What::Target(target)) => format!("{name}/{target}"),
        });
        let names = names.collect();
        if let Some(name) = environment {
            self.known(name, old.as_deref().unwrap_or_default())?;
        }
        let mut text = old.clone().unwrap_or_default();
        for what in whats {
            let edited = match &self.entry {
                Some(entry) => edit::set(&text, what, entry).map(Some),
                None => edit::clear(&text, what),
            };
            text = edited.context(|| format!("can't change {path}"))?.unwrap_or(text);
        }
        // A file that holds nothing is a mistake.
        let gone = environment.is_none() && text.trim().is_empty();
        Ok(Change { path, old, new: (!gone).then_some(text), names })
    }

    /// Whether an environment has the targets.
    fn known(&self, name: &EnvironmentName, text: &str) -> Result<(), CliError> {
        let loaded = self.load(&[])?;
        for target in &self.on.targets {
            let error = CliError::usage(format!("environment {name} has no target `{target}`"));
            match loaded.environments.get(name) {
                Some(Ok(draft)) if !draft.targets.contains_key(target) => {
                    let known: Vec<String> = draft.targets.keys().map(ToString::to_string).collect();
                    let known: Vec<&str> = known.iter().map(String::as_str).collect();
                    return Err(error.hint(nearest(&target.to_string(), &known).map_or_else(
                        || format!("targets: {}", known.join(", ")),
                        |near| format!("did you mean `{near}`?"),
                    )));
                }
                Some(Err(_)) if !edit::mentions(text, target) => {
                    return Err(
                        error.hint("its files are broken, see `pinion validate`; without a target, all of it is meant")
                    );
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What the folder says with these changes.
    fn load(&self, changes: &[Change]) -> Result<manifest::Loaded, CliError> {
        let mut folder = manifest::read::folder(&self.on.to.dir)?;
        for Change { path, new, .. } in changes {
            match new {
                Some(text) => drop(folder.files.insert(path.clone(), text.clone().into_bytes())),
                None => drop(folder.files.remove(path)),
            }
        }
        Ok(manifest::load_with_refused(&folder.files, &folder.refused))
    }

    /// Whether nothing is wrong with the changes that isn't without them: who stops something needn't put all else right
    /// first.
    fn check(&self, changes: &[Change]) -> Result<(), CliError> {
        let key = |it: &Finding| (it.file.clone(), it.check, it.key.clone(), it.message.clone());
        let before: BTreeSet<_> = self.load(&[])?.all_findings().iter().map(key).collect();
        let mut findings = Findings::default();
        for finding in self.load(changes)?.all_findings().iter().filter(|it| !before.contains(&key(it))) {
            findings.note(finding);
        }
        if findings.is_empty() {
            return Ok(());
        }
        output::note(&super::validate::text(&findings, Screen::stderr()));
        let count = words::count(findings.len(), "finding");
        Err(CliError::failed(format!("with this there would be {count} more: nothing was changed")))
    }

    fn message(&self, changes: &[Change]) -> String {
        let names: Vec<&str> = changes.iter().flat_map(|change| &change.names).map(String::as_str).collect();
        match &self.entry {
            Some(Entry { owner, reason, until }) => {
                format!("suspend {} until {until}\n\n{reason}\n\n- owner: {owner}\n", names.join(", "))
            }
            None => format!("resume {}\n", names.join(", ")),
        }
    }

    fn done(&self, changes: &[Change]) -> String {
        let mut text = String::new();
        for name in changes.iter().flat_map(|change| &change.names) {
            // Writing into a string can't fail.
            let _ = match &self.entry {
                Some(Entry { until, .. }) => writeln!(text, "{name}: suspended until {until}"),
                None => writeln!(text, "{name}: resumed"),
            };
        }
        text
    }

    /// Says what still suspends what was to be resumed.
    fn say_what_stays(&self, now: Timestamp) -> Result<(), CliError> {
        let loaded = self.load(&[])?;
        let meant = |name: &EnvironmentName| self.on.all || self.on.environment.contains(name);
        for (name, draft) in loaded.environments.iter().filter(|(name, _)| meant(name)) {
            let Ok(draft) = draft else { continue };
            for (local, Suspension { until, reach, .. }) in draft.suspended(now) {
                if !self.on.targets.is_empty() && !self.on.targets.contains(&local) {
                    continue;
                }
                let (by, how) = match reach {
                    Reach::Target => ("its own table".to_owned(), format!("{local} -e {name}")),
                    Reach::Environment => {
                        (format!("[suspend] in environments/{name}/environment.toml"), format!("-e {name}"))
                    }
                    Reach::All => (format!("[suspend] in {DEFAULTS}"), "--all".to_owned()),
                };
                let local = one_line(&local.to_string()).into_owned();
                output::note(&format!(
                    "{name}/{local} stays suspended until {until}, by {by}: `pinion resume {how}`\n"
                ));
            }
        }
        Ok(())
    }

    /// Makes the change again on what is checked out now. False if it is there already.
    fn again(&self) -> Result<bool, CliError> {
        let changes = self.changes()?;
        if changes.is_empty() {
            return Ok(false);
        }
        self.check(&changes)?;
        git::commit(&self.on.to.dir, None, &rewrites(&changes), &self.message(&changes))?;
        Ok(true)
    }
}

fn rewrites(changes: &[Change]) -> Vec<Rewrite<'_>> {
    let all = changes.iter();
    all.map(|it| Rewrite { path: &it.path, old: it.old.as_deref(), new: it.new.as_deref() }).collect()
}
