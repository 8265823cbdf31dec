//! `pinion bump COMPONENT VERSION --environment ENV…`: pins a version, keeping comments and layout, and commits.

mod artifacts;
pub mod edit;
pub(super) mod git;
mod rollbacks;

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use semver::VersionReq;

use self::artifacts::Lookup;
use self::edit::Edit;
use self::git::{Destination, Rewrite};
use super::error::{CliError, ResultExt as _};
use super::output::{self, Screen};
use super::unknown;
use crate::manifest::{self, Findings};
use crate::model::escape::one_line;
use crate::model::{Component, Digest, EnvironmentName, Version, words};

/// Pins a version in one or several environments, keeping comments and layout, and commits
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The component, such as frontend
    #[arg(value_parser = name::<Component>)]
    component: Component,
    /// The version to pin
    #[arg(id = "to", value_name = "VERSION", value_parser = name::<Version>, required_unless_present = "latest")]
    version: Option<Version>,
    /// Pin the newest version of which there is an AMI or an image that all the environments may use
    #[arg(long, conflicts_with_all = ["to", "digest"])]
    latest: bool,
    /// The versions among which the newest is looked for, such as '^1.4' or '>=2, <3'; pre-releases only if it names one
    #[arg(long, value_name = "RANGE", requires = "latest", default_value = "*", value_parser = range)]
    range: VersionReq,
    /// The environment whose pin to set; repeat it, or separate several with commas
    #[arg(long, short, value_name = "ENV", required = true, value_delimiter = ',', value_parser = name::<EnvironmentName>)]
    environment: Vec<EnvironmentName>,
    /// With --latest, also pin a version that a `Rollback:` trailer of an earlier commit names
    #[arg(long, requires = "latest")]
    include_rolled_back: bool,
    /// The digest that the version's image must have: sha256:…
    #[arg(long, value_parser = name::<Digest>)]
    digest: Option<Digest>,
    #[command(flatten)]
    to: Destination,
    /// Don't look whether the version's AMI or image exists
    #[arg(long, conflicts_with = "latest")]
    no_check: bool,
    /// Also go back to an older version. The commit then says so in a `Rollback:` trailer
    #[arg(long)]
    allow_downgrade: bool,
    /// The role to assume in each account, by its name, instead of the one in environment.toml: one that only reads
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// Where the AWS API is, if it isn't AWS's own
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL")]
    endpoint_url: Option<String>,
}

pub(super) fn name<T>(text: &str) -> Result<T, String>
where
    T: for<'a> TryFrom<&'a str>,
    for<'a> <T as TryFrom<&'a str>>::Error: ToString,
{
    T::try_from(text).map_err(|error| error.to_string())
}

fn range(text: &str) -> Result<VersionReq, String> {
    VersionReq::parse(text).map_err(|error| error.to_string())
}

/// What is to be pinned where.
struct Bump<'a> {
    dir: &'a Path,
    component: &'a Component,
    environments: Vec<EnvironmentName>,
    version: Version,
    digest: Option<Digest>,
    /// Whether it may be an older version.
    allow_downgrade: bool,
}

/// One environment's file, before and after.
struct Change {
    environment: EnvironmentName,
    /// Relative to the folder.
    path: String,
    old: String,
    edit: Edit,
}

fn rewrites(changes: &[Change]) -> Vec<Rewrite<'_>> {
    let all = changes.iter();
    all.map(|it| Rewrite { path: &it.path, old: Some(&it.old), new: Some(&it.edit.text) }).collect()
}

/// Edits and commits.
///
/// # Errors
/// If the pin can't be found, the version is older than the one pinned, there is no artifact of it, the files would have
/// findings, or Git fails. Nothing is left changed then, but for a commit that can't be pushed.
pub async fn run(args: Args) -> Result<(), CliError> {
    let mut environments = args.environment.clone();
    environments.sort();
    environments.dedup();
    unknown::folders(&args.to.dir, &environments)?;
    let lookup = Lookup::new(args.endpoint_url.clone(), args.role.clone());
    let (version, digest) = match &args.version {
        Some(version) => (version.clone(), args.digest.clone()),
        None => {
            let rolled_back = match args.include_rolled_back {
                true => BTreeSet::new(),
                false => rollbacks::versions(&args.to.dir, &args.component, &environments)?,
            };
            lookup.newest(&args.to.dir, &args.component, &environments, &args.range, &rolled_back).await?
        }
    };
    let component = &args.component;
    let allow_downgrade = args.allow_downgrade;
    let bump = Bump { dir: &args.to.dir, component, environments, version, digest, allow_downgrade };
    let changes = bump.changes()?;
    if changes.is_empty() {
        // An earlier push may have failed after the commit.
        return if args.to.push { bump.push() } else { Ok(()) };
    }
    let back = bump.backwards(&changes)?;
    let files = bump.check(&changes)?;
    // What was found among the artifacts is there.
    if !args.no_check && !args.latest {
        lookup.exists(&files, component, changes.iter().map(|change| &change.environment)).await?;
    }
    args.to.take(&rewrites(&changes), &bump.message(&changes, back))?;
    let mut text = String::new();
    for Change { environment, edit, .. } in &changes {
        // Writing into a string can't fail.
        let (before, version) = (one_line(&edit.before), one_line(bump.version.as_str()));
        let _ = writeln!(text, "{environment}: {component} {before} → {version}");
    }
    output::print(&text)?;
    if args.to.push { bump.push() } else { Ok(()) }
}

impl Bump<'_> {
    /// The files that change.
    fn changes(&self) -> Result<Vec<Change>, CliError> {
        let all = self.environments.iter().map(|environment| self.change(environment));
        let all = all.collect::<Result<Vec<_>, CliError>>()?;
        let (changes, same): (Vec<_>, Vec<_>) = all.into_iter().partition(|change| change.edit.text != change.old);
        for change in &same {
            let version = one_line(self.version.as_str());
            output::note(&format!("{} has {} {version} already\n", change.environment, self.component));
        }
        Ok(changes)
    }

    fn change(&self, environment: &EnvironmentName) -> Result<Change, CliError> {
        let path = format!("environments/{environment}/pins.toml");
        let file = self.dir.join(&path);
        let old = std::fs::read_to_string(&file).context(|| format!("can't read {}", file.display())).hint(|| {
            "name the folder of an environments repository with --dir, and an environment that it has".to_owned()
        })?;
        let edit = edit::pin(&old, self.component, &self.version, self.digest.as_ref())
            .context(|| format!("can't change {path}"))?;
        // Whatever the file looks like: all other pins have to mean what they meant.
        let others = |text: &str| {
            let mut pins = manifest::pin_values(text.as_bytes());
            let mine = pins.remove(self.component.as_str());
            (pins, mine)
        };
        let ((before, _), (after, mine)) = (others(&old), others(&edit.text));
        // A version may hold an `@` itself.
        let rest = mine.as_ref().and_then(|pin| pin.strip_prefix(self.version.as_str()));
        let pinned = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("@sha256:"));
        if before != after || !pinned {
            return Err(CliError::failed(format!("{path} has a form in which this pin can't be changed safely"))
                .hint("write `component = \"version\"`, one line for each"));
        }
        Ok(Change { environment: environment.clone(), path, old, edit })
    }

    /// The newest version that the new one is older than, if it may be.
    fn backwards<'c>(&self, changes: &'c [Change]) -> Result<Option<&'c str>, CliError> {
        let older = |change: &&Change| self.version.precedence(&change.edit.before) == Some(Ordering::Less);
        let back: Vec<&Change> = changes.iter().filter(older).collect();
        if let (Some(change), false) = (back.first(), self.allow_downgrade) {
            let Change { environment, edit, .. } = change;
            return Err(CliError::failed(format!(
                "{} is older than {}, which {environment} has",
                self.version, edit.before
            ))
            .hint("if it is meant, add --allow-downgrade"));
        }
        Ok(back.first().map(|change| change.edit.before.as_str()))
    }

    /// Whether the files are good with the changes, and mean what they should. The environments as they would be.
    fn check(&self, changes: &[Change]) -> Result<manifest::Loaded, CliError> {
        let mut folder = manifest::read::folder(self.dir)?;
        for change in changes {
            folder.files.insert(change.path.clone(), change.edit.text.clone().into_bytes());
        }
        let loaded = manifest::load_with_refused(&folder.files, &folder.refused);
        let mut findings = Findings::default();
        for change in changes {
            if let Some(Err(found)) = loaded.environments.get(&change.environment) {
                findings.extend(found);
            }
        }
        if findings.is_empty() {
            return Ok(loaded);
        }
        output::note(&super::validate::text(&findings, Screen::stderr()));
        Err(CliError::failed(format!(
            "with this version there would be {}: nothing was changed",
            words::count(findings.len(), "finding")
        )))
    }

    fn message(&self, changes: &[Change], back: Option<&str>) -> String {
        let environments: Vec<&str> = changes.iter().map(|change| change.environment.as_str()).collect();
        let mut message = format!("{} {} in {}\n\n", self.component, self.version, environments.join(", "));
        for change in changes {
            let _ = writeln!(message, "- {}: {} → {}", change.environment, change.edit.before, self.version);
        }
        if let Some(digest) = &self.digest {
            let _ = writeln!(message, "- digest {digest}");
        }
        if let Some(back) = back {
            let _ = writeln!(message, "\nRollback: from {back}");
        }
        message
    }

    /// Makes the change again on what is checked out now. False if it is there already.
    fn again(&self) -> Result<bool, CliError> {
        let changes = self.changes()?;
        if changes.is_empty() {
            return Ok(false);
        }
        let back = self.backwards(&changes)?;
        self.check(&changes)?;
        git::commit(self.dir, None, &rewrites(&changes), &self.message(&changes, back))?;
        Ok(true)
    }

    /// Pushes the commit. Where the remote has moved, the change is made again on top of it: two pins on neighbouring
    /// lines would conflict, and somebody may have pinned something newer meanwhile.
    fn push(&self) -> Result<(), CliError> {
        git::push(self.dir, || self.again())
    }
}
