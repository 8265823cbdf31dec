//! `pinion init`: writes an environment's files from what runs in an account, so that the first plan is empty.

mod ask;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::ask::Asker;
use super::error::{CliError, ResultExt as _};
use super::output;
use super::plan::{Trial, trial};
use crate::aws::{Aws, Inventory, Options};
use crate::clock::SystemClock;
use crate::init::{Proposal, Seen, Selector, Targets, Written, targets};
use crate::manifest::{self, Inherited, MAX_TARGETS};
use crate::metrics::Metrics;
use crate::model::escape::one_line;
use crate::model::{
    Account, EnvironmentName, ErrorClass, Files, Installation, Kind, LocalRef, PortError, Region, RoleArn, Session,
    words,
};

/// What the role is called if nobody says.
const ROLE: &str = "pinion";
/// How many groups and services are named where none was selected.
const SHOWN: usize = 5;
/// What to do where the wrong place was read.
const OTHER_PLACE: &str = "--region reads another region, and another AWS profile another account";
/// How often the files are tried. Each time what wouldn't be in sync is looked up another way, or left out.
const MAX_TRIES: usize = 20;

/// Writes an environment's files from what runs in an account, so that `pinion plan` is empty
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    pinion init --environment dev --region us-west-1\n  \
    pinion init --environment prod --region us-west-1 --role arn:aws:iam::444444444444:role/pinion --only 'fargate/*'")]
pub struct Args {
    /// The environment to write: the name of its folder in environments/
    #[arg(long, short, value_name = "ENV")]
    environment: EnvironmentName,
    /// The region. Without it: that of environments/defaults.toml, or of your own profile
    #[arg(long, value_name = "REGION", env = "AWS_REGION")]
    region: Option<Region>,
    /// The role to assume, which environment.toml names, too. Without it, your own credentials read their account
    #[arg(long, value_name = "ARN")]
    role: Option<RoleArn>,
    /// The external id that the role's trust policy asks for
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
    /// Read with your own credentials, as the role isn't there yet
    #[arg(long)]
    no_assume: bool,
    /// Only these: asg/GROUP, fargate/SERVICE or fargate/CLUSTER/SERVICE; * stands for any text; repeat it for several
    #[arg(long, value_name = "PATTERN")]
    only: Vec<Selector>,
    /// The folder that has environments/, or is to have it
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Ask nothing, and take the guesses
    #[arg(long, short)]
    yes: bool,
    /// Overwrite the environment's files
    #[arg(long)]
    force: bool,
    /// What the installation is called that will manage this: `installation` of pinion.toml
    #[arg(long, value_name = "NAME", default_value_t)]
    installation: Installation,
    /// Where the AWS API is, if it isn't AWS's own
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL")]
    endpoint_url: Option<String>,
}

impl Args {
    fn path(&self, file: &str) -> String {
        format!("environments/{}/{file}", self.environment)
    }
}

const ENVIRONMENT: &str = "environment.toml";
const PINS: &str = "pins.toml";

/// Reads the account, and writes the two files.
///
/// # Errors
/// If the files are there already, the account can't be read, or there is nothing in it that Pinion could manage. Nothing
/// is written then.
pub async fn run(args: Args) -> Result<(), CliError> {
    for path in [args.path(ENVIRONMENT), args.path(PINS)] {
        if !args.force && args.dir.join(&path).symlink_metadata().is_ok() {
            return Err(CliError::failed(format!("{path} is there already: nothing was written"))
                .hint("--force overwrites both files of the environment"));
        }
    }
    let folder = match args.dir.exists() {
        true => manifest::read::folder(&args.dir)?,
        false => Files::default(),
    };
    let mut asker = (!args.yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal())
        .then(|| Asker::new(std::io::BufReader::new(std::io::stdin()), std::io::stderr()));
    let Opened { aws, mut account, mut role_guessed, inherited } = open(&args, &folder).await?;
    let inventory = aws.inventory(&args.environment, &account);
    let targets = list(&args, &inventory, &account, &inherited).await?;
    if let Some(asker) = asker.as_mut().filter(|_| role_guessed) {
        account.role = asker.role(&account.role)?;
        role_guessed = false;
    }
    let mut seen = read(&inventory, &targets).await?;
    if let Some(asker) = &mut asker {
        for question in seen.questions() {
            let name = question.options.get(asker.which(&question)?).map(|(name, _)| name.clone());
            seen.containers.extend(name.map(|name| (question.target, name)));
        }
    }
    // With what was answered there may be other images without a version.
    seen.tags = inventory.tags(&seen.untagged()).await;
    let proposal = Proposal::new(&args.environment, &account, role_guessed, inherited, &targets, &seen);
    let (proposal, warnings) = tried(&args, &folder, &aws, proposal).await?;
    let written = proposal.files();
    if proposal.targets().next().is_none() {
        output::note(&left_out(&proposal));
        return Err(CliError::failed("there is nothing here that Pinion can manage as it is: nothing was written")
            .hint("docs/supported-configurations.md says what it can, and what to change about the rest")
            .hint(OTHER_PLACE));
    }
    let summary = summary(&args, &proposal, &written, &warnings);
    if let Some(asker) = &mut asker {
        output::note(&summary);
        if !asker.agree(&format!("Write environments/{}?", args.environment))? {
            return Err(CliError::failed("nothing was written"));
        }
    }
    write(&args.dir.join(args.path(PINS)), &written.pins, args.force)?;
    write(&args.dir.join(args.path(ENVIRONMENT)), &written.environment, args.force)?;
    let mut text = if asker.is_some() { String::new() } else { summary };
    text.push_str("written; `pinion validate` checks the files, and `pinion plan` asks AWS\n");
    output::print(&text)?;
    Ok(())
}

/// Whom to ask, and about which account.
struct Opened {
    aws: Aws,
    account: Account,
    /// Whether nobody has said what the role is called.
    role_guessed: bool,
    inherited: Inherited,
}

async fn open(args: &Args, folder: &Files) -> Result<Opened, CliError> {
    let aws = Aws::new(Options {
        endpoint_url: args.endpoint_url.clone(),
        keys: None,
        session: Session::Plan,
        recorder: Arc::new(Metrics::new()?),
        clock: Arc::new(SystemClock),
    })
    .await;
    let defaults = folder.files.get(manifest::DEFAULTS);
    let inherited = defaults.map_or_else(Inherited::default, |bytes| Inherited::read(bytes));
    let region = args.region.clone().or_else(|| inherited.region().cloned()).or_else(|| aws.own_region());
    let region = region.ok_or_else(|| {
        CliError::failed("nobody has said which region: nothing was read")
            .hint("--region REGION, AWS_REGION, or `region` in your profile of ~/.aws/config")
    })?;
    let (partition, id) = match &args.role {
        Some(role) => (String::new(), role.account().parse()?),
        None => {
            let whose = aws.own_account(&region).await;
            whose.context(|| "can't find out which account your own credentials are of".to_owned())?
        }
    };
    let inherited = inherited.within(&args.environment, &id, &region);
    let (role, role_guessed) = match args.role.clone().or_else(|| inherited.role()) {
        Some(role) => (role, false),
        None => (RoleArn::try_from(format!("arn:{partition}:iam::{id}:role/{ROLE}"))?, true),
    };
    let external_id = args.external_id.clone().or_else(|| inherited.external_id());
    let account = Account { id, region, role, external_id };
    let aws = if args.no_assume || args.role.is_none() { aws.as_oneself() } else { aws };
    Ok(Opened { aws, account, role_guessed, inherited })
}

async fn list(
    args: &Args,
    inventory: &Inventory,
    account: &Account,
    inherited: &Inherited,
) -> Result<Targets, CliError> {
    let mut kinds: BTreeSet<Kind> = match args.only.as_slice() {
        [] => [Kind::Asg, Kind::Fargate].into(),
        only => only.iter().map(Selector::kind).collect(),
    };
    kinds.extend(inherited.targets().into_iter().map(|local| local.kind));
    let found = inventory.list(&kinds).await.map_err(|error| refused(&error, args))?;
    let targets = targets(&found, &args.only, inherited);
    let (groups, services) = (targets.groups.len(), targets.services.len());
    let place = format!("account {}, {}", account.id, account.region);
    if groups + services + targets.left.len() == 0 {
        let what = if args.only.is_empty() { "no group and no service" } else { "nothing that --only selects" };
        let some: Vec<String> =
            found.iter().take(SHOWN).map(|found| one_line(&found.to_string()).into_owned()).collect();
        let error = CliError::failed(format!("{place} has {what}: nothing was written"));
        return Err(if some.is_empty() { error } else { error.hint(format!("what is there: {}", some.join(", "))) }
            .hint(OTHER_PLACE));
    }
    if groups + services > MAX_TARGETS {
        let count = groups + services;
        return Err(CliError::failed(format!("{place} has {count} groups and services; the most is {MAX_TARGETS}"))
            .hint("select some with --only: several environments may have the same account"));
    }
    let (groups, services) = (words::count(groups, "group"), words::count(services, "service"));
    output::note(&format!("reading {groups} and {services} of {place}\n"));
    Ok(targets)
}

/// The account can't be listed.
fn refused(error: &PortError, args: &Args) -> CliError {
    let hint = match error.class {
        ErrorClass::Denied if error.operation == "AssumeRole" && error.code != "NoCredentials" => {
            "if the role isn't there yet: --no-assume reads with your own credentials"
        }
        ErrorClass::Denied => {
            "`pinion init` lists the account, which the roles of `pinion iam` may not: read with your own credentials \
             (--no-assume), or allow what docs/iam.md names"
        }
        _ => "try again",
    };
    let what = if args.role.is_some() && !args.no_assume { "with the role" } else { "with your own credentials" };
    CliError::from_error(error).context(format!("the account can't be listed {what}")).hint(hint)
}

async fn read(inventory: &Inventory, targets: &Targets) -> Result<Seen, CliError> {
    let observed = inventory.observe(targets).await;
    let observed =
        observed.into_iter().map(|(local, seen)| (local, seen.map_err(|error| format!("it can't be read: {error}"))));
    let mut seen = Seen { targets: observed.collect(), ..Seen::default() };
    seen.images = inventory.machine_images(&seen.amis()).await.context(|| "can't read the AMIs".to_owned())?;
    match inventory.parameters(&seen.unversioned()).await {
        Ok(parameters) => seen.parameters = parameters,
        // Then there is one way less to find an AMI.
        Err(error) => {
            let why = one_line(&error.to_string()).into_owned();
            output::note(&format!("can't look for AMIs in Parameter Store, and do without: {why}\n"));
        }
    }
    Ok(seen)
}

/// Plans the files, until nothing is left in them with which there would be something to do. With what a plan warns of.
async fn tried(
    args: &Args,
    folder: &Files,
    aws: &Aws,
    mut proposal: Proposal,
) -> Result<(Proposal, BTreeMap<LocalRef, Vec<String>>), CliError> {
    for _ in 0..MAX_TRIES {
        if let Some((local, why)) = proposal.missing().into_iter().next() {
            let name = &args.environment;
            return Err(CliError::failed(format!("{local} can't be in {name}: {why}: nothing was written")).hint(
                "environments/defaults.toml has its table for every environment: move it to the environment.toml of those that have it",
            ));
        }
        if proposal.targets().next().is_none() {
            return Ok((proposal, BTreeMap::new()));
        }
        let place =
            Trial { dir: &args.dir, name: &args.environment, aws, installation: &args.installation, role: None };
        let tried = trial(place, with(folder, args, &proposal.files()));
        let tried = tried.await.context(|| "the files that would be written can't be planned".to_owned())?;
        if tried.due.is_empty() && tried.shapes.is_empty() {
            return Ok((proposal, tried.warnings));
        }
        proposal.hold_back(&tried.shapes);
        proposal.refuse(&tried.due);
    }
    Err(CliError::failed("what runs changes faster than it can be written down: nothing was written")
        .hint("try again when fewer rollouts run, or select what is at rest with --only"))
}

/// The folder's files with these two among them.
fn with(folder: &Files, args: &Args, written: &Written) -> Files {
    let mut files = folder.clone();
    for (file, text) in [(ENVIRONMENT, &written.environment), (PINS, &written.pins)] {
        files.files.insert(args.path(file), text.clone().into_bytes());
    }
    files
}

fn write(path: &Path, text: &str, force: bool) -> Result<(), CliError> {
    let failed = || format!("can't write {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).context(failed)?;
    }
    let mut options = OpenOptions::new();
    options.write(true);
    // What somebody has made meanwhile is theirs.
    let options = if force { options.create(true).truncate(true) } else { options.create_new(true) };
    options.open(path).and_then(|mut file| file.write_all(text.as_bytes())).context(failed)
}

fn summary(args: &Args, proposal: &Proposal, written: &Written, warnings: &BTreeMap<LocalRef, Vec<String>>) -> String {
    let mut text = String::new();
    let (count, left) = (proposal.targets().count(), proposal.left().len());
    // Writing into a string can't fail, here and below.
    let _ = writeln!(text, "{}: {}, {left} left out", args.path(ENVIRONMENT), words::count(count, "target"));
    let _ = writeln!(text, "{}: {}", args.path(PINS), words::count(written.components, "pin"));
    for (target, notes) in &written.notes {
        for note in notes {
            let _ = writeln!(text, "  {target}: {}", one_line(note));
        }
    }
    for (target, warnings) in warnings {
        for warning in warnings {
            let _ = writeln!(text, "  {target}: warning: {}", one_line(warning));
        }
    }
    text.push_str(&left_out(proposal));
    text
}

fn left_out(proposal: &Proposal) -> String {
    let mut text = String::new();
    for left in proposal.left() {
        let _ = writeln!(text, "  left out {}: {}", one_line(&left.what), one_line(&left.why));
    }
    text
}
