//! `pinion bump COMPONENT VERSION --environment ENV…`: pins a version, keeping comments and layout, and commits.

pub mod edit;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use self::edit::Edit;
use super::error::{CliError, ResultExt as _};
use super::output;
use super::output::Screen;
use crate::manifest::{self, Findings};
use crate::model::{Component, Digest, EnvironmentName, Version};

/// Pins a version in one or several environments, keeping comments and layout, and commits
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The component, such as frontend
    #[arg(value_parser = name::<Component>)]
    component: Component,
    /// The version to pin
    #[arg(id = "to", value_name = "VERSION", value_parser = name::<Version>)]
    version: Version,
    /// An environment whose pin is set; several may be named
    #[arg(long, short, value_name = "ENV", required = true, num_args = 1.., value_parser = name::<EnvironmentName>)]
    environment: Vec<EnvironmentName>,
    /// The digest that the version's image must have: sha256:…
    #[arg(long, value_parser = name::<Digest>)]
    digest: Option<Digest>,
    /// The folder that has environments/
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Commit on a new branch of this name
    #[arg(long, value_name = "NAME", conflicts_with = "no_commit")]
    branch: Option<String>,
    /// Only edit the files
    #[arg(long)]
    no_commit: bool,
    /// Also go back to an older version. The commit then says so in a `Rollback:` trailer
    #[arg(long)]
    allow_downgrade: bool,
}

fn name<T>(text: &str) -> Result<T, String>
where
    T: for<'a> TryFrom<&'a str>,
    for<'a> <T as TryFrom<&'a str>>::Error: ToString,
{
    T::try_from(text).map_err(|error| error.to_string())
}

/// One environment's file, before and after.
struct Change {
    environment: EnvironmentName,
    /// Relative to the folder.
    path: String,
    old: String,
    edit: Edit,
}

/// Edits and commits.
///
/// # Errors
/// If the pin can't be found, the version is older than the one pinned, the files would have findings, or Git fails.
/// Nothing is left changed then.
pub async fn run(args: Args) -> Result<(), CliError> {
    let mut environments = args.environment.clone();
    environments.sort();
    environments.dedup();
    let changes =
        environments.iter().map(|environment| change(&args, environment)).collect::<Result<Vec<_>, CliError>>()?;
    let (changes, same): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| change.edit.text != change.old);
    for change in &same {
        output::note(&format!("{} has {} {} already\n", change.environment, args.component, args.version));
    }
    if changes.is_empty() {
        return Ok(());
    }
    let back = backwards(&args, &changes)?;
    check(&args.dir, &changes)?;
    if args.no_commit {
        write(&args.dir, &changes)?;
    } else {
        commit(&args, &changes, &message(&args, &changes, back))?;
    }
    let mut text = String::new();
    for change in &changes {
        // Writing into a string can't fail.
        let _ = writeln!(text, "{}: {} {} → {}", change.environment, args.component, change.edit.before, args.version);
    }
    output::print(&text)?;
    Ok(())
}

fn change(args: &Args, environment: &EnvironmentName) -> Result<Change, CliError> {
    let path = format!("environments/{environment}/pins.toml");
    let file = args.dir.join(&path);
    let old = std::fs::read_to_string(&file).context(|| format!("can't read {}", file.display())).hint(|| {
        "name the folder of an environments repository with --dir, and an environment that it has".to_owned()
    })?;
    let edit = edit::pin(&old, &args.component, &args.version, args.digest.as_ref()).context(|| path.clone())?;
    // Whatever the file looks like: all other pins have to mean what they meant.
    let others = |text: &str| {
        let mut pins = manifest::pin_values(text.as_bytes());
        let mine = pins.remove(args.component.as_str());
        (pins, mine)
    };
    let ((before, _), (after, mine)) = (others(&old), others(&edit.text));
    let pinned = mine.is_some_and(|pin| pin.split('@').next() == Some(args.version.as_str()));
    if before != after || !pinned {
        return Err(CliError::failed(format!("{path} has a form in which this pin can't be changed safely"))
            .hint("write `component = \"version\"`, one line for each"));
    }
    Ok(Change { environment: environment.clone(), path, old, edit })
}

/// The newest version that the new one is older than, if it may be.
fn backwards<'a>(args: &Args, changes: &'a [Change]) -> Result<Option<&'a str>, CliError> {
    let older = |change: &&Change| args.version.precedence(&change.edit.before) == Some(Ordering::Less);
    let back: Vec<&Change> = changes.iter().filter(older).collect();
    if let (Some(change), false) = (back.first(), args.allow_downgrade) {
        let Change { environment, edit, .. } = change;
        return Err(CliError::failed(format!(
            "{} is older than {}, which {environment} has",
            args.version, edit.before
        ))
        .hint("if that is meant: --allow-downgrade"));
    }
    Ok(back.first().map(|change| change.edit.before.as_str()))
}

/// Whether the files are good with the changes, and mean what they should.
fn check(dir: &Path, changes: &[Change]) -> Result<(), CliError> {
    let mut folder = manifest::read::folder(dir)?;
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
        return Ok(());
    }
    output::note(&super::validate::text(&findings, Screen::stderr()));
    Err(CliError::failed(format!(
        "with this version there would be {} finding(s): nothing was changed",
        findings.len()
    )))
}

fn message(args: &Args, changes: &[Change], back: Option<&str>) -> String {
    let environments: Vec<&str> = changes.iter().map(|change| change.environment.as_str()).collect();
    let mut message = format!("{} {} in {}\n\n", args.component, args.version, environments.join(", "));
    for change in changes {
        let _ = writeln!(message, "- {}: {} → {}", change.environment, change.edit.before, args.version);
    }
    if let Some(digest) = &args.digest {
        let _ = writeln!(message, "- digest {digest}");
    }
    if let Some(back) = back {
        let _ = writeln!(message, "\nRollback: from {back}");
    }
    message
}

fn write(dir: &Path, changes: &[Change]) -> Result<(), CliError> {
    let files: BTreeMap<PathBuf, (&str, &str)> = changes
        .iter()
        .map(|change| (dir.join(&change.path), (change.old.as_str(), change.edit.text.as_str())))
        .collect();
    for (path, (_, new)) in &files {
        if let Err(error) = std::fs::write(path, new) {
            for (path, (old, _)) in &files {
                // What can't be written can't be put back either; the error below names it.
                let _ = std::fs::write(path, old);
            }
            return Err(CliError::from_error(&error).context(format!("can't write {}", path.display())));
        }
    }
    Ok(())
}

/// Commits the changed files, and nothing else that may be staged.
fn commit(args: &Args, changes: &[Change], message: &str) -> Result<(), CliError> {
    let paths: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
    let with = |before: &[&'static str]| {
        let mut arguments: Vec<String> = before.iter().map(|argument| (*argument).to_owned()).collect();
        arguments.push("--".to_owned());
        arguments.extend(paths.iter().map(|path| (*path).to_owned()));
        arguments
    };
    let dirty = git(&args.dir, &with(&["status", "--porcelain"]), "")
        .map_err(|error| error.hint("--no-commit only edits the files"))?;
    if let Some(line) = dirty.lines().next() {
        return Err(CliError::failed(format!("there are changes that aren't committed: {}", line.trim()))
            .hint("commit or undo them first, or edit only, with --no-commit"));
    }
    let before = git(&args.dir, &["symbolic-ref".to_owned(), "--short".to_owned(), "HEAD".to_owned()], "").ok();
    if let Some(branch) = &args.branch {
        git(&args.dir, &["switch".to_owned(), "--quiet".to_owned(), "--create".to_owned(), branch.clone()], "")?;
    }
    let done = write(&args.dir, changes)
        .and_then(|()| git(&args.dir, &with(&["commit", "--quiet", "--file=-", "--only"]), message));
    if let Err(error) = done {
        for change in changes {
            // Best effort: the commit's own failure is what has to be said.
            let _ = std::fs::write(args.dir.join(&change.path), &change.old);
        }
        if let (Some(branch), Some(before)) = (&args.branch, before) {
            let _ = git(&args.dir, &["switch".to_owned(), "--quiet".to_owned(), before], "");
            let _ =
                git(&args.dir, &["branch".to_owned(), "--quiet".to_owned(), "--delete".to_owned(), branch.clone()], "");
        }
        return Err(error.hint("nothing was changed"));
    }
    Ok(())
}

/// Runs Git in a folder; what it printed, without the last line break.
fn git(dir: &Path, arguments: &[String], input: &str) -> Result<String, CliError> {
    let shown = arguments.first().map_or("", String::as_str);
    let failed = || format!("can't run `git {shown}`");
    let mut child = Command::new("git")
        .args(arguments)
        .current_dir(dir)
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A Git that fails early doesn't read; its own words come below.
        let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
    }
    let output = child.wait_with_output().context(failed)?;
    let printed = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() {
        return Ok(printed(&output.stdout));
    }
    let said = printed(&if output.stderr.is_empty() { output.stdout } else { output.stderr });
    Err(CliError::failed(format!("`git {shown}` failed: {}", crate::telemetry::one_line(&said))))
}
