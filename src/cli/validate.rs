//! `pinion validate [DIR]`: checks an environments repository offline and, if it is asked to, against what AWS has.

use std::path::PathBuf;
use std::sync::Arc;

use super::error::{CliError, ResultExt as _};
use super::output::{Output, Screen, note, print};
use super::plan::{Trial, trial};
use super::signers::{self, Signers};
use crate::aws::{Aws, Options};
use crate::clock::{Clock as _, SystemClock};
use crate::manifest::{self, Findings, Loaded, render};
use crate::metrics::Metrics;
use crate::model::escape::{one_line, plain_json};
use crate::model::{Files, Installation, Session, words};

/// Checks an environments repository, offline unless --look-up is given
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The repository's folder, the one that has environments/
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// What to print
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    signers: Signers,
    /// Also look up in AWS whether what the files name is there and can be managed, and warn of shapes that several share.
    /// Nothing is written
    #[arg(long)]
    look_up: bool,
    /// With --look-up: the role to assume in each account, by its name, instead of the one in environment.toml
    #[arg(long, value_name = "NAME", requires = "look_up")]
    role: Option<String>,
    /// With --look-up: what the installation is called that will apply this: `installation` of pinion.toml
    #[arg(long, value_name = "NAME", default_value_t)]
    installation: Installation,
    /// With --look-up: where the AWS API is, if it isn't AWS's own
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL")]
    endpoint_url: Option<String>,
}

/// Prints all that is wrong to standard output, or one line if nothing is; and to standard error what wants attention.
///
/// # Errors
/// If anything is wrong, or the folder can't be read, or standard output can't be written.
pub async fn run(args: Args) -> Result<(), CliError> {
    let folder = manifest::read::folder(&args.folder)
        .hint(|| "name the folder of an environments repository: `pinion validate DIR`".to_owned())?;
    let loaded = manifest::load_with_refused(&folder.files, &folder.refused);
    let findings = loaded.all_findings();
    let now = SystemClock.now();
    for warning in render::warnings(&loaded, now) {
        // A path is a untrusted person's text.
        note(&format!("{}\n", one_line(&warning.to_string())));
    }
    for line in render::notes(&loaded) {
        note(&format!("{}\n", one_line(&line)));
    }
    match args.output {
        Output::Json => print(&plain_json(&render::json(&loaded, now)?))?,
        Output::Text if findings.is_empty() => print(&format!("{}: no findings\n", summary(&loaded)))?,
        Output::Text => print(&text(&findings, Screen::stdout()))?,
    }
    let verified = args.signers.check(&args.folder, [], &mut [], now)?;
    if let Some(verified) = verified.filter(|verified| verified.refused > 0) {
        note(&signers::text(&verified));
        let refused = verified.refused;
        return Err(CliError::failed(format!(
            "{} {} refused because of {}",
            words::count(refused, "commit"),
            if refused == 1 { "is" } else { "are" },
            if refused == 1 { "its signature" } else { "their signatures" }
        ))
        .hint("nothing after the first of them would be applied; if they are older than signing, see --signed-since")
        .hint("a clone that isn't whole can't be checked: `git fetch --unshallow`, or `fetch-depth: 0`"));
    }
    verdict(&findings)?;
    if args.look_up { look_up(&args, &folder, &loaded).await } else { Ok(()) }
}

/// Looks all targets up. What has nothing wrong offline is planned, and what can't be managed as it is fails.
async fn look_up(args: &Args, folder: &Files, loaded: &Loaded) -> Result<(), CliError> {
    let aws = Aws::new(Options {
        endpoint_url: args.endpoint_url.clone(),
        keys: None,
        session: Session::Plan,
        recorder: Arc::new(Metrics::new()?),
        clock: Arc::new(SystemClock),
    })
    .await;
    let mut blocked = 0;
    for name in loaded.environments.keys() {
        let place =
            Trial { dir: &args.folder, name, aws: &aws, installation: &args.installation, role: args.role.as_deref() };
        let tried = trial(place, folder.clone()).await.context(|| format!("{name} can't be looked up"))?;
        let warnings = tried.warnings.iter().flat_map(|(local, warnings)| warnings.iter().map(move |one| (local, one)));
        for (local, warning) in warnings {
            note(&format!("{}: warning: {}\n", local.within(name), one_line(warning)));
        }
        for (local, why) in &tried.blocked {
            note(&format!("{}: {}\n", local.within(name), one_line(why)));
        }
        blocked += tried.blocked.len();
    }
    match blocked {
        0 if args.output == Output::Text => {
            print(&format!("looked up in AWS: {} can be managed\n", words::count(loaded.targets(), "target")))?;
            Ok(())
        }
        0 => Ok(()),
        count => Err(CliError::failed(format!("{} can't be managed", words::count(count, "target")))
            .hint("`pinion plan` shows the same, with the rest")),
    }
}

/// The findings as text: with the lines of their files on a terminal, one a line otherwise.
#[must_use]
pub fn text(findings: &Findings, screen: Screen) -> String {
    if !screen.terminal {
        return render::plain(findings);
    }
    let width = console_width();
    render::graphical(findings, screen.colour, width)
}

/// The error that a command ends with if anything is wrong.
///
/// # Errors
/// One that says how much is wrong.
pub fn verdict(findings: &Findings) -> Result<(), CliError> {
    match findings.len() {
        0 => Ok(()),
        count => Err(CliError::failed(words::count(count, "finding"))),
    }
}

fn summary(loaded: &Loaded) -> String {
    let (environments, targets, pins) = (loaded.environments.len(), loaded.targets(), loaded.pins());
    format!(
        "{}, {}, {}",
        words::count(environments, "environment"),
        words::count(targets, "target"),
        words::count(pins, "pin")
    )
}

/// The terminal's width, within what reads well.
fn console_width() -> usize {
    comfy_table::Table::new().width().map_or(100, |width| usize::from(width).clamp(60, 140))
}
