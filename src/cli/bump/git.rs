//! Commits and pushes with the user's own `git`, as the author that its configuration names.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cli::error::{CliError, ResultExt as _};
use crate::cli::output;
use crate::model::escape::one_line;

/// How often a push is tried while others push, too.
const PUSHES: usize = 5;

/// Where files are edited, and what becomes of the edits.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Destination {
    /// The folder that has environments/
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(in crate::cli) dir: PathBuf,
    /// Commit on a new branch of this name
    #[arg(long, value_name = "NAME", conflicts_with = "no_commit")]
    pub(in crate::cli) branch: Option<String>,
    /// Push the commit, too. If somebody else was faster, it is made again on top of theirs
    #[arg(long, conflicts_with = "no_commit")]
    pub(in crate::cli) push: bool,
    /// Only edit the files
    #[arg(long)]
    pub(in crate::cli) no_commit: bool,
}

impl Destination {
    /// Writes the files and, unless that isn't wanted, commits them.
    pub(in crate::cli) fn take(&self, changes: &[Rewrite<'_>], message: &str) -> Result<(), CliError> {
        match self.no_commit {
            true => write(&self.dir, changes),
            false => commit(&self.dir, self.branch.as_deref(), changes, message),
        }
    }
}

/// A file of the folder, before and after; `None` where there is none.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Rewrite<'a> {
    /// Relative to the folder.
    pub(in crate::cli) path: &'a str,
    pub(in crate::cli) old: Option<&'a str>,
    pub(in crate::cli) new: Option<&'a str>,
}

impl Rewrite<'_> {
    fn put(&self, dir: &Path, text: Option<&str>) -> std::io::Result<()> {
        let path = dir.join(self.path);
        match text {
            Some(text) => std::fs::write(path, text),
            None if path.exists() => std::fs::remove_file(path),
            None => Ok(()),
        }
    }
}

/// Writes all files, or none.
fn write(dir: &Path, changes: &[Rewrite<'_>]) -> Result<(), CliError> {
    for change in changes {
        if let Err(error) = change.put(dir, change.new) {
            for change in changes {
                // What can't be written can't be put back either; the error below names it.
                let _ = change.put(dir, change.old);
            }
            let path = dir.join(change.path);
            return Err(CliError::from_error(&error).context(format!("can't write {}", path.display())));
        }
    }
    Ok(())
}

/// Commits the changed files, and nothing else that may be staged; on a new branch if one is named.
pub(in crate::cli) fn commit(
    dir: &Path,
    branch: Option<&str>,
    changes: &[Rewrite<'_>],
    message: &str,
) -> Result<(), CliError> {
    let with = |before: &[&'static str]| -> Vec<String> {
        let paths = changes.iter().map(|change| change.path.to_owned());
        before.iter().map(|argument| (*argument).to_owned()).chain(["--".to_owned()]).chain(paths).collect()
    };
    let dirty = run(dir, &with(&["status", "--porcelain"]), "")
        .map_err(|error| error.hint("--no-commit only edits the files"))?;
    if let Some(line) = dirty.lines().next() {
        return Err(CliError::failed(format!("there are changes that aren't committed: {}", one_line(line.trim())))
            .hint("commit or undo them first, or edit only, with --no-commit"));
    }
    let before = git(dir, &["symbolic-ref", "--short", "HEAD"]).ok();
    if let Some(branch) = branch {
        git(dir, &["switch", "--quiet", "--create", branch])?;
    }
    // Git knows of no file that was never added.
    let added: Vec<&str> = changes.iter().filter(|it| it.old.is_none()).map(|it| it.path).collect();
    let add = |()| added.iter().try_for_each(|path| git(dir, &["add", "--intent-to-add", "--", path]).map(drop));
    let done = write(dir, changes)
        .and_then(add)
        .and_then(|()| run(dir, &with(&["commit", "--quiet", "--file=-", "--only"]), message));
    if let Err(error) = done {
        for change in changes {
            // Best effort: the commit's own failure is what has to be said.
            let _ = change.put(dir, change.old);
        }
        for path in added {
            let _ = git(dir, &["reset", "--quiet", "--", path]);
        }
        if let (Some(branch), Some(before)) = (branch, before) {
            let _ = git(dir, &["switch", "--quiet", &before]);
            let _ = git(dir, &["branch", "--quiet", "--delete", branch]);
        }
        return Err(error.hint("nothing was changed"));
    }
    Ok(())
}

/// Where the branch that is checked out is pushed to.
pub(super) struct Aim {
    pub(super) remote: String,
    pub(super) branch: String,
}

/// What became of a push.
pub(super) enum Pushed {
    Done,
    /// The remote has commits that this branch hasn't.
    Behind,
}

impl Aim {
    pub(super) fn of(dir: &Path) -> Result<Self, CliError> {
        let branch = git(dir, &["symbolic-ref", "--short", "HEAD"])
            .map_err(|error| error.hint("it is committed; switch to a branch, and push it"))?;
        let setting = |key: &str| git(dir, &["config", "--get", &format!("branch.{branch}.{key}")]).ok();
        let remote = setting("remote").filter(|remote| !remote.is_empty()).unwrap_or_else(|| "origin".to_owned());
        let upstream = setting("merge").and_then(|name| name.strip_prefix("refs/heads/").map(str::to_owned));
        Ok(Self { remote, branch: upstream.unwrap_or(branch) })
    }

    pub(super) fn push(&self, dir: &Path) -> Result<Pushed, CliError> {
        let to = format!("HEAD:refs/heads/{}", self.branch);
        match git(dir, &["push", "--quiet", "--set-upstream", &self.remote, &to]) {
            Ok(_) => Ok(Pushed::Done),
            // What a server refuses for other reasons would be refused again.
            Err(_) if self.is_ahead(dir) => Ok(Pushed::Behind),
            Err(error) => Err(error.hint("it is committed, but not pushed")),
        }
    }

    /// Whether the remote's branch has commits that this one hasn't.
    fn is_ahead(&self, dir: &Path) -> bool {
        let theirs = self.fetch(dir);
        theirs.is_ok_and(|theirs| git(dir, &["merge-base", "--is-ancestor", &theirs, "HEAD"]).is_err())
    }

    /// Where the remote's branch is now.
    pub(super) fn fetch(&self, dir: &Path) -> Result<String, CliError> {
        let from = format!("refs/heads/{}", self.branch);
        git(dir, &["fetch", "--quiet", &self.remote, &from])?;
        git(dir, &["rev-parse", "FETCH_HEAD"])
    }
}

/// Pushes the commit. Where the remote has moved, `again` makes the change again on top of it, and commits it; it says
/// false if it is there already.
pub(in crate::cli) fn push(dir: &Path, again: impl Fn() -> Result<bool, CliError>) -> Result<(), CliError> {
    let aim = Aim::of(dir)?;
    for _ in 0..PUSHES {
        match aim.push(dir)? {
            Pushed::Done => {
                output::print(&format!("pushed to {} of {}\n", one_line(&aim.branch), one_line(&aim.remote)))?;
                return Ok(());
            }
            Pushed::Behind => {}
        }
        let (branch, remote) = (one_line(&aim.branch), one_line(&aim.remote));
        output::note(&format!("{branch} of {remote} has moved; trying again on top of it\n"));
        let theirs = aim.fetch(dir)?;
        if !is_alone(dir, &theirs)? {
            rebase(dir, &theirs)?;
            continue;
        }
        let mine = head(dir)?;
        move_to(dir, &theirs)?;
        if !again().map_err(|error| error.hint(left(&aim, &theirs, &mine)))? {
            return Ok(());
        }
    }
    Err(faster(&aim))
}

/// Pushes the branch as it is, on top of what others have pushed: nothing is to be changed any more.
pub(in crate::cli) fn push_as_it_is(dir: &Path) -> Result<(), CliError> {
    let aim = Aim::of(dir)?;
    for _ in 0..PUSHES {
        if let Pushed::Done = aim.push(dir)? {
            output::print(&format!("pushed to {} of {}\n", one_line(&aim.branch), one_line(&aim.remote)))?;
            return Ok(());
        }
        rebase(dir, &aim.fetch(dir)?)?;
    }
    Err(faster(&aim))
}

fn faster(aim: &Aim) -> CliError {
    CliError::failed(format!("{} of {} moves faster than this can be pushed", aim.branch, aim.remote))
        .hint("it is committed; push it later")
}

/// What there is to know when a commit was left because its change can't be made on top of the remote's.
fn left(aim: &Aim, theirs: &str, mine: &str) -> String {
    let short = |commit: &str| commit.get(..8).unwrap_or(commit).to_owned();
    let (branch, remote) = (one_line(&aim.branch), one_line(&aim.remote));
    format!(
        "nothing was pushed; this branch is where {branch} of {remote} is, at {theirs}, and the commit that was made before, {mine}, \
         is on no branch: `git branch NAME {mine}` keeps it, `git reset --keep {mine}` goes back to it",
        theirs = short(theirs),
        mine = short(mine),
    )
}

/// What a command of Git prints.
pub(in crate::cli) fn output(dir: &Path, arguments: &[&str]) -> Result<String, CliError> {
    git(dir, arguments)
}

/// The commit that is checked out.
pub(super) fn head(dir: &Path) -> Result<String, CliError> {
    git(dir, &["rev-parse", "HEAD"])
}

/// Whether there is no other commit here than the last one that isn't there.
pub(super) fn is_alone(dir: &Path, theirs: &str) -> Result<bool, CliError> {
    Ok(git(dir, &["rev-list", "--count", &format!("{theirs}..HEAD")])? == "1")
}

/// Moves the branch to another commit. Files that were changed and not committed stay as they are, or nothing is moved.
pub(super) fn move_to(dir: &Path, commit: &str) -> Result<(), CliError> {
    let moved = git(dir, &["reset", "--quiet", "--keep", commit]);
    moved
        .map(drop)
        .map_err(|error| error.hint("it is committed, but not pushed; commit or undo your own changes first"))
}

/// Puts this branch's commits on top of another one.
pub(super) fn rebase(dir: &Path, onto: &str) -> Result<(), CliError> {
    git(dir, &["rebase", "--quiet", "--autostash", onto]).map(drop).map_err(|error| {
        let _ = git(dir, &["rebase", "--abort"]);
        error.hint("it is committed, but not pushed; rebase it by hand")
    })
}

/// The error of a Git that has failed, with its own words as they stood.
pub(in crate::cli) fn failure(command: &str, said: &str) -> CliError {
    let lines = said.lines().map(|line| one_line(line.trim_end())).filter(|line| !line.is_empty());
    let said = lines.collect::<Vec<_>>().join("\n");
    let failed = format!("`git {command}` failed");
    if said.is_empty() {
        return CliError::failed(failed);
    }
    let outside = said.contains("not a git repository");
    let error = CliError::failed(said).context(failed);
    if outside {
        error.hint("change into a clone of your environments repository, or name it with --dir")
    } else {
        error
    }
}

/// Runs Git in a folder; what it printed, without the last line break.
fn git(dir: &Path, arguments: &[&str]) -> Result<String, CliError> {
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    run(dir, &arguments, "")
}

fn run(dir: &Path, arguments: &[String], input: &str) -> Result<String, CliError> {
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
    Err(failure(shown, &said))
}
