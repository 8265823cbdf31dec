//! What is said of an environment that isn't there.

use std::path::Path;

use super::error::CliError;
use crate::manifest::nearest;
use crate::model::EnvironmentName;
use crate::model::escape::one_line;
use crate::model::status::Status;

/// The error for a name that no environment has, with the one that was probably meant.
pub(super) fn environment<'a>(name: &EnvironmentName, known: impl Iterator<Item = &'a EnvironmentName>) -> CliError {
    among(name, &known.map(EnvironmentName::as_str).collect::<Vec<_>>())
}

/// Whether the folder has all of these environments, whatever is in them.
///
/// # Errors
/// As [`environment`].
pub(super) fn folders(dir: &Path, names: &[EnvironmentName]) -> Result<(), CliError> {
    let environments = dir.join("environments");
    let Some(name) = names.iter().find(|name| !environments.join(name.as_str()).is_dir()) else { return Ok(()) };
    let entries = std::fs::read_dir(environments).into_iter().flatten().flatten();
    let entries = entries.filter(|entry| entry.path().is_dir());
    let mut known: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    known.sort();
    Err(among(name, &known.iter().map(String::as_str).collect::<Vec<_>>()))
}

fn among(name: &EnvironmentName, known: &[&str]) -> CliError {
    let error = CliError::usage(format!("there is no environment `{name}`"));
    meant(error, name.as_str(), known, || match known {
        [] => "name the folder that has environments/ with --dir".to_owned(),
        known => format!("environments: {}", known.join(", ")),
    })
}

/// The error with the name that was probably meant as its hint, or else with another hint.
fn meant(error: CliError, name: &str, known: &[&str], other: impl FnOnce() -> String) -> CliError {
    error.hint(nearest(name, known).map_or_else(other, |near| format!("did you mean `{near}`?")))
}

/// Whether a controller knows an environment, `prod`, or a target, `prod/asg/web`.
pub(super) fn knows(scope: &str, status: &Status) -> bool {
    known(scope, status).1.contains(&scope)
}

/// The error for an environment or a target that a controller doesn't know, with the one that was probably meant.
pub(super) fn scope(scope: &str, status: &Status) -> CliError {
    let (what, known) = known(scope, status);
    let error = CliError::failed(format!("unknown {what} `{}`", one_line(scope)));
    meant(error, scope, &known, || "`pinion status` lists all of them".to_owned())
}

/// What a scope is of, and all that a controller knows of that kind.
fn known<'a>(scope: &str, status: &'a Status) -> (&'static str, Vec<&'a str>) {
    let environments = status.environments.keys().map(|name| name.as_str());
    let targets = status.environments.values().flat_map(|it| it.targets.values().map(|target| target.target.as_str()));
    if scope.contains('/') { ("target", targets.collect()) } else { ("environment", environments.collect()) }
}
