//! Which versions a person or `pinion bump --allow-downgrade` has gone back from, by the history that is checked out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::git;
use crate::cli::error::CliError;
use crate::cli::pins::pins_path;
use crate::git::trailers;
use crate::manifest;
use crate::model::{Component, EnvironmentName, Version};

/// How many commits of a pins file are looked at, newest first.
const MAX_COMMITS: &str = "--max-count=200";

/// The versions of a component that the newest word on them says were rolled back, in any of the environments: a commit
/// with the trailer `Rollback: from VERSION` that changed the environment's pins, and none after it that pins it again.
///
/// # Errors
/// If Git can't be asked. In a folder without a repository or without commits nothing was rolled back.
pub(super) fn versions(
    dir: &Path,
    component: &Component,
    environments: &[EnvironmentName],
) -> Result<BTreeSet<Version>, CliError> {
    if git::head(dir).is_err() {
        return Ok(BTreeSet::new());
    }
    let mut found = BTreeSet::new();
    for environment in environments {
        let path = pins_path(environment);
        let log = git::output(dir, &["log", MAX_COMMITS, "--format=%x01%H%n%B", "--", &path])?;
        let mut commits: Vec<(String, Vec<Version>)> = log.split('\u{1}').filter_map(commit).collect();
        // What is older than the oldest rollback says nothing about any.
        let end = commits.iter().rposition(|(_, from)| !from.is_empty()).map_or(0, |last| last + 1);
        commits.truncate(end);
        // Newest first: the first word on a version counts.
        let mut last_word: BTreeMap<Version, bool> = BTreeMap::new();
        for (id, from) in commits {
            let file = git::output(dir, &["show", &format!("{id}:./{path}")]).unwrap_or_default();
            let pins = manifest::pin_values(file.as_bytes());
            let pinned = pins.get(component.as_str()).and_then(|pin| pin.split("@sha256:").next());
            if let Some(version) = pinned.and_then(|version| Version::try_from(version).ok()) {
                last_word.entry(version).or_insert(false);
            }
            for version in from {
                last_word.entry(version).or_insert(true);
            }
        }
        found.extend(last_word.into_iter().filter_map(|(version, rolled_back)| rolled_back.then_some(version)));
    }
    Ok(found)
}

/// The id of a commit, and the versions that the trailers of its message say were gone back from.
fn commit(text: &str) -> Option<(String, Vec<Version>)> {
    let (id, message) = text.split_once('\n')?;
    let said = trailers(message.as_bytes()).remove("Rollback").unwrap_or_default();
    let from = said.lines().filter_map(|value| Version::try_from(value.strip_prefix("from ")?.trim()).ok());
    Some((id.trim().to_owned(), from.collect()))
}

#[cfg(test)]
mod tests {
    use super::commit;

    #[test]
    fn a_rollback_is_found_wherever_a_squash_merge_puts_it() {
        let versions = |message: &str| -> Vec<String> {
            let (_, from) = commit(&format!("abc\n{message}")).unwrap();
            from.into_iter().map(|version| version.as_str().to_owned()).collect()
        };
        assert_eq!(versions("back\n\nRollback: from 1.5.1\n"), ["1.5.1"]);
        assert_eq!(
            versions("back (#7)\n\n* web 1.5.0\n\nrollback: from 1.5.1\n\nCo-authored-by: A <a@b>\n"),
            ["1.5.1"]
        );
        assert!(versions("Rollback: to 1.5.0\nno Rollback: from 1.4.0").is_empty());
    }
}
