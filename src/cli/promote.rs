//! `pinion promote FROM TO… [COMPONENT…]`: pins in other environments what is pinned in one, as one commit, once it is in sync there.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::bump::artifacts::Lookup;
use super::bump::git::{self, Destination};
use super::bump::name;
use super::client::{Address, Controller};
use super::error::CliError;
use super::output;
use super::pins::{self, Change, Wish};
use super::unknown;
use crate::clock::{Clock as _, SystemClock};
use crate::manifest::{Draft, Loaded, nearest};
use crate::model::escape::one_line;
use crate::model::status::{Status, TargetStatus};
use crate::model::{Component, EnvironmentName, State, words};

/// Pins in other environments what is pinned and in sync in one, as one commit
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    pinion promote dev prod --branch promote-dev --push\n  \
    pinion promote dev staging prod frontend backend\n  \
    pinion promote dev prod --component frontend")]
pub struct Args {
    /// The environment whose pins to take
    #[arg(value_parser = name::<EnvironmentName>)]
    from: EnvironmentName,
    /// The environments to pin them in; then, unless all that they share is meant, the components
    #[arg(value_name = "TO|COMPONENT", required = true)]
    names: Vec<String>,
    /// A component that has the name of an environment; repeat it, or separate several with commas
    #[arg(long, short, value_delimiter = ',', value_parser = name::<Component>)]
    component: Vec<Component>,
    /// Promote also what isn't in sync there, or hasn't soaked, and go back to older versions
    #[arg(long)]
    force: bool,
    /// Don't look whether the versions' AMIs or images exist
    #[arg(long)]
    no_check: bool,
    /// The role to assume in each account, by its name, instead of the one in environment.toml: one that only reads
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// Where the AWS API is, if it isn't AWS's own
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL")]
    endpoint_url: Option<String>,
    #[command(flatten)]
    to: Destination,
    #[command(flatten)]
    address: Address,
}

/// What is to be promoted.
struct Promotion<'a> {
    dir: &'a Path,
    from: &'a EnvironmentName,
    to: Vec<EnvironmentName>,
    /// None: all that the environments share.
    components: Vec<Component>,
}

/// The pins that go back, each with the version that it goes back from.
type Backwards = Vec<(EnvironmentName, Component, String)>;

/// Edits and commits.
///
/// # Errors
/// If there is no such environment or component, something isn't in sync where it comes from and that isn't forced, the
/// files would have findings, or Git fails. Nothing is left changed then, but for a commit that can't be pushed.
pub async fn run(args: Args) -> Result<(), CliError> {
    let (to, components) = sort(&args)?;
    let promotion = Promotion { dir: &args.to.dir, from: &args.from, to, components };
    let loaded = pins::check(promotion.dir, &[])?;
    let wishes = promotion.wishes(&loaded)?;
    if wishes.iter().all(|(_, wishes)| wishes.is_empty()) {
        return Err(CliError::failed(format!("{} and {} share no component", args.from, listed(&promotion.to)))
            .hint("a component is promoted to an environment that has a pin of it"));
    }
    let changes = promotion.changes(&wishes)?;
    if changes.is_empty() {
        output::note(&format!("nothing to promote: {} has these pins already\n", listed(&promotion.to)));
        // An earlier push may have failed after the commit.
        return if args.to.push && args.to.branch.is_none() { git::push_as_it_is(&args.to.dir) } else { Ok(()) };
    }
    let status = match Controller::new(args.address)?.status().await {
        Ok(status) => Ok(status),
        Err(error) if args.force => Err(error),
        Err(error) => return Err(error.hint("--force promotes without knowing what is in sync")),
    };
    let objections = promotion.objections(&loaded, &changes, status.as_ref().ok(), SystemClock.now());
    if let Err(error) = &status {
        output::note(&format!("{error}\n"));
    }
    output::print(&pins::described(&changes))?;
    let said: String = objections.iter().map(|objection| format!("{objection}\n")).collect();
    output::note(&said);
    if !objections.is_empty() && !args.force {
        let what = words::count(objections.len(), "objection");
        return Err(CliError::failed(format!("{what}: nothing was changed"))
            .hint("name the components that may be promoted, or add --force"));
    }
    let files = pins::check(promotion.dir, &changes)?;
    if !args.no_check {
        let lookup = Lookup::new(args.endpoint_url.clone(), args.role.clone());
        for change in &changes {
            for (wish, _) in &change.moves {
                lookup.exists(&files, &wish.component, std::iter::once(&change.environment)).await?;
            }
        }
    }
    args.to.take(&pins::rewrites(&changes), &promotion.message(&changes))?;
    let judged = (wishes, backwards(&changes));
    if args.to.push { git::push(promotion.dir, || promotion.again(&judged)) } else { Ok(()) }
}

/// Which of the names are environments, and which are components.
fn sort(args: &Args) -> Result<(Vec<EnvironmentName>, Vec<Component>), CliError> {
    let folder = |name: &str| args.to.dir.join("environments").join(name).is_dir();
    unknown::folders(&args.to.dir, std::slice::from_ref(&args.from))?;
    let (mut to, mut components) = (BTreeSet::new(), args.component.iter().cloned().collect::<BTreeSet<_>>());
    for name in &args.names {
        match EnvironmentName::try_from(name.as_str()) {
            Ok(environment) if folder(name) => {
                to.insert(environment);
            }
            _ => {
                let component =
                    Component::try_from(name.as_str()).map_err(|error| CliError::usage(error.to_string()))?;
                components.insert(component);
            }
        }
    }
    if to.contains(&args.from) {
        return Err(CliError::usage(format!("{} can't be promoted to itself", args.from))
            .hint("name it as a component with --component, if it is one"));
    }
    if to.is_empty() {
        let first = args.names.first().map(String::as_str).unwrap_or_default();
        let name = EnvironmentName::try_from(first).map_err(|error| CliError::usage(error.to_string()))?;
        unknown::folders(&args.to.dir, std::slice::from_ref(&name))?;
    }
    Ok((to.into_iter().collect(), components.into_iter().collect()))
}

fn backwards(changes: &[Change]) -> Backwards {
    let of = |change: &Change| {
        let name = change.environment.clone();
        let moves: Vec<_> = change.backwards().cloned().collect();
        moves.into_iter().map(move |(wish, before)| (name.clone(), wish.component, before))
    };
    changes.iter().flat_map(of).collect()
}

fn listed(names: &[EnvironmentName]) -> String {
    names.iter().map(EnvironmentName::as_str).collect::<Vec<_>>().join(", ")
}

impl Promotion<'_> {
    fn draft<'l>(&self, loaded: &'l Loaded, name: &EnvironmentName) -> Result<&'l Draft, CliError> {
        match loaded.environments.get(name) {
            Some(Ok(draft)) => Ok(draft),
            Some(Err(findings)) => {
                output::note(&super::validate::text(findings, output::Screen::stderr()));
                Err(CliError::failed(format!("{name} has {}", words::count(findings.len(), "finding")))
                    .hint("correct its files first; `pinion validate` shows the same"))
            }
            None => Err(unknown::environment(name, loaded.environments.keys())),
        }
    }

    /// What each environment is to have: an environment gets what it has a pin of.
    fn wishes(&self, loaded: &Loaded) -> Result<Vec<(EnvironmentName, Vec<Wish>)>, CliError> {
        let source = self.draft(loaded, self.from)?;
        let pinned = source.pins();
        let environments = loaded.environments.keys().map(EnvironmentName::as_str);
        let known: Vec<&str> = pinned.keys().map(Component::as_str).chain(environments).collect();
        if let Some(component) = self.components.iter().find(|component| !pinned.contains_key(*component)) {
            let hint = nearest(component.as_str(), &known).map_or_else(
                || format!("its components: {}", known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            let what = format!("{} has no pin of `{component}`, and no environment has this name", self.from);
            return Err(CliError::usage(what).hint(hint));
        }
        let wishes = self.to.iter().map(|name| {
            let target = self.draft(loaded, name)?;
            let mut wishes = Vec::new();
            for component in pinned.keys().filter(|it| self.components.is_empty() || self.components.contains(*it)) {
                let (Some(source), had) = (source.pin_value(component), target.pin_value(component)) else { continue };
                match had {
                    None if self.components.is_empty() => {}
                    None => {
                        return Err(CliError::failed(format!("{name} has no pin of `{component}`"))
                            .hint(format!("add it to {}, with a target that runs it", target.pins_path())));
                    }
                    Some(had) if had.digest.is_some() && source.digest.is_none() => {
                        return Err(CliError::failed(format!(
                            "the pin of `{component}` in {name} names a digest, and that in {} doesn't",
                            self.from
                        ))
                        .hint(format!("pin the digest in {}, too", self.from)));
                    }
                    Some(_) => {
                        let (version, digest) = (source.version.clone(), source.digest.clone());
                        wishes.push(Wish { component: component.clone(), version, digest });
                    }
                }
            }
            Ok((name.clone(), wishes))
        });
        wishes.collect()
    }

    /// The files that change.
    fn changes(&self, wishes: &[(EnvironmentName, Vec<Wish>)]) -> Result<Vec<Change>, CliError> {
        let changes = wishes.iter().map(|(environment, wishes)| Change::of(self.dir, environment, wishes));
        let changes = changes.collect::<Result<Vec<_>, CliError>>()?;
        Ok(changes.into_iter().filter(|change| !change.moves.is_empty()).collect())
    }

    /// Why these changes shouldn't be made. `None` for a controller that can't be asked.
    fn objections(&self, loaded: &Loaded, changes: &[Change], status: Option<&Status>, now: Timestamp) -> Vec<String> {
        let mut objections = Vec::new();
        for change in changes {
            let to = &change.environment;
            let promotion = loaded.environments.get(to).and_then(|draft| draft.as_ref().ok()?.promotion.as_ref());
            let soak = match promotion {
                Some(promotion) if promotion.from == *self.from => {
                    SignedDuration::try_from(promotion.soak).unwrap_or(SignedDuration::MAX)
                }
                Some(promotion) => {
                    objections.push(format!("{to} is promoted from {}, not from {}", promotion.from, self.from));
                    SignedDuration::ZERO
                }
                None => SignedDuration::ZERO,
            };
            for (wish, before) in change.backwards() {
                let (version, before) = (one_line(wish.version.as_str()), one_line(before));
                objections.push(format!("{to}: {} would go back from {before} to {version}", wish.component));
            }
            for (wish, _) in &change.moves {
                let objection = status.and_then(|status| self.unready(status, wish, soak, now));
                objections.extend(objection.map(|why| format!("{to}: {} waits: {why}", wish.component)));
            }
        }
        objections
    }

    /// Why a version isn't ready where it comes from.
    fn unready(&self, status: &Status, wish: &Wish, soak: SignedDuration, now: Timestamp) -> Option<String> {
        let from = self.from;
        let Some(environment) = status.environments.get(from.as_str()) else {
            return Some(format!("the controller doesn't know {from}"));
        };
        let runs = |target: &&TargetStatus| target.component == wish.component.as_str();
        let mut targets = environment.targets.values().filter(runs).peekable();
        if targets.peek().is_none() {
            return Some(format!("no target of {from} runs it, as far as the controller knows"));
        }
        targets.find_map(|target| {
            let name = one_line(&target.target);
            let digests = target.digest.as_deref().zip(wish.digest.as_ref());
            if target.desired != wish.version.as_str() || digests.is_some_and(|(its, ours)| its != ours.as_str()) {
                let desired = one_line(&target.desired);
                return Some(format!(
                    "{name} follows {desired}, which isn't what is pinned here: wait until the controller has read this pin, or pull"
                ));
            }
            let reason = target.reason.as_deref().map(|reason| format!(": {}", one_line(reason))).unwrap_or_default();
            match target.in_sync_since.filter(|_| target.state == State::InSync) {
                None => Some(format!("{name} is {}{reason}", target.state)),
                Some(since) => {
                    let until = since.checked_add(soak).ok().filter(|until| *until <= now);
                    until.is_none().then(|| format!("{name} is in sync since {since:.0}, and has to soak for {soak:#}"))
                }
            }
        })
    }

    fn message(&self, changes: &[Change]) -> String {
        let all: BTreeSet<(&str, &str)> = changes
            .iter()
            .flat_map(|change| &change.moves)
            .map(|(wish, _)| (wish.component.as_str(), wish.version.as_str()))
            .collect();
        let to = changes.iter().map(|change| change.environment.as_str()).collect::<Vec<_>>().join(", ");
        let what = match all.len() {
            ..=2 => {
                all.iter().map(|(component, version)| format!("{component} {version}")).collect::<Vec<_>>().join(", ")
            }
            more => words::count(more, "component"),
        };
        let mut message = format!("promote {} to {to}: {what}\n\n", self.from);
        for change in changes {
            for (Wish { component, version, .. }, before) in &change.moves {
                // Writing into a string can't fail.
                let _ = writeln!(message, "- {}: {component} {before} → {version}", change.environment);
            }
        }
        let digests: BTreeSet<String> = changes
            .iter()
            .flat_map(|change| &change.moves)
            .filter_map(|(wish, _)| Some(format!("- digest of {}: {}", wish.component, wish.digest.as_ref()?)))
            .collect();
        for line in digests {
            let _ = writeln!(message, "{line}");
        }
        if let Some(trailer) = pins::rollback_trailer(changes) {
            let _ = write!(message, "\n{trailer}");
        }
        message
    }

    /// Makes the change again on what is checked out now. False if it is there already.
    fn again(&self, (judged, older): &(Vec<(EnvironmentName, Vec<Wish>)>, Backwards)) -> Result<bool, CliError> {
        let wishes = self.wishes(&pins::check(self.dir, &[])?)?;
        if wishes != *judged {
            return Err(CliError::failed(format!("the pins of {} have moved meanwhile", self.from))
                .hint("run it again, so that the new versions are looked at"));
        }
        let changes = self.changes(&wishes)?;
        if changes.is_empty() {
            return Ok(false);
        }
        if backwards(&changes) != *older {
            return Err(CliError::failed(format!("{} has newer versions by now", listed(&self.to)))
                .hint("run it again: it says what would go back"));
        }
        output::print(&pins::described(&changes))?;
        pins::check(self.dir, &changes)?;
        git::commit(self.dir, None, &pins::rewrites(&changes), &self.message(&changes))?;
        Ok(true)
    }
}
