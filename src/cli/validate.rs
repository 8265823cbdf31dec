//! `pinion validate [DIR]`: checks an environments repository offline.

use std::path::PathBuf;

use super::error::{CliError, ResultExt as _};
use super::output::{Output, Screen, note, print};
use super::signers::{self, Signers};
use crate::clock::{Clock as _, SystemClock};
use crate::manifest::{self, Findings, Loaded, render};
use crate::model::escape::{one_line, plain_json};
use crate::model::words;

/// Checks an environments repository, offline
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
    verdict(&findings)
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
