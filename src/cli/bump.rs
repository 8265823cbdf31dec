//! `pinion bump COMPONENT VERSION --environment ENV…`: pins a version, keeping comments and layout, and commits.

pub(super) mod artifacts;
pub mod edit;
pub(super) mod git;
mod rollbacks;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use semver::VersionReq;

use self::artifacts::Lookup;
use self::git::Destination;
use super::error::CliError;
use super::output;
use super::pins::{self, Change, Wish};
use super::unknown;
use crate::model::escape::one_line;
use crate::model::{Component, Digest, EnvironmentName, Version};

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
    wish: Wish,
    environments: Vec<EnvironmentName>,
    /// Whether it may be an older version.
    allow_downgrade: bool,
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
    let wish = Wish { component: component.clone(), version, digest };
    let bump = Bump { dir: &args.to.dir, wish, environments, allow_downgrade };
    let changes = bump.changes()?;
    if changes.is_empty() {
        // An earlier push may have failed after the commit.
        return if args.to.push && args.to.branch.is_none() { git::push_as_it_is(bump.dir) } else { Ok(()) };
    }
    bump.may_go_back(&changes)?;
    let files = pins::check(bump.dir, &changes)?;
    // What was found among the artifacts is there.
    if !args.no_check && !args.latest {
        lookup.exists(&files, component, changes.iter().map(|change| &change.environment)).await?;
    }
    args.to.take(&pins::rewrites(&changes), &bump.message(&changes))?;
    output::print(&pins::described(&changes))?;
    if args.to.push { bump.push() } else { Ok(()) }
}

impl Bump<'_> {
    /// The files that change.
    fn changes(&self) -> Result<Vec<Change>, CliError> {
        let wishes = std::slice::from_ref(&self.wish);
        let all = self.environments.iter().map(|environment| Change::of(self.dir, environment, wishes));
        let all = all.collect::<Result<Vec<_>, CliError>>()?;
        let (changes, same): (Vec<_>, Vec<_>) = all.into_iter().partition(|change| !change.moves.is_empty());
        for change in &same {
            let Wish { component, version, .. } = &self.wish;
            let version = one_line(version.as_str());
            output::note(&format!("{} has {component} {version} already\n", change.environment));
        }
        Ok(changes)
    }

    /// Fails if the new version is older than one that is pinned, and that isn't meant.
    fn may_go_back(&self, changes: &[Change]) -> Result<(), CliError> {
        let older = changes.iter().find_map(|change| Some((change, change.backwards().next()?)));
        match older {
            Some((Change { environment, .. }, (wish, before))) if !self.allow_downgrade => {
                Err(CliError::failed(format!("{} is older than {before}, which {environment} has", wish.version))
                    .hint("if it is meant, add --allow-downgrade"))
            }
            _ => Ok(()),
        }
    }

    fn message(&self, changes: &[Change]) -> String {
        let Wish { component, version, digest } = &self.wish;
        let environments: Vec<&str> = changes.iter().map(|change| change.environment.as_str()).collect();
        let mut message = format!("{component} {version} in {}\n\n", environments.join(", "));
        for change in changes {
            for (_, before) in &change.moves {
                let _ = writeln!(message, "- {}: {before} → {version}", change.environment);
            }
        }
        if let Some(digest) = digest {
            let _ = writeln!(message, "- digest {digest}");
        }
        if let Some(trailer) = pins::rollback_trailer(changes) {
            let _ = write!(message, "\n{trailer}");
        }
        message
    }

    /// Makes the change again on what is checked out now. False if it is there already.
    fn again(&self) -> Result<bool, CliError> {
        let changes = self.changes()?;
        if changes.is_empty() {
            return Ok(false);
        }
        self.may_go_back(&changes)?;
        pins::check(self.dir, &changes)?;
        git::commit(self.dir, None, &pins::rewrites(&changes), &self.message(&changes))?;
        Ok(true)
    }

    /// Pushes the commit. Where the remote has moved, the change is made again on top of it: two pins on neighbouring
    /// lines would conflict, and somebody may have pinned something newer meanwhile.
    fn push(&self) -> Result<(), CliError> {
        git::push(self.dir, || self.again())
    }
}
