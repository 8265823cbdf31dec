//! New pins in the files of environments: what `pinion bump` and `pinion promote` write.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::bump::edit;
use super::bump::git::Rewrite;
use super::error::{CliError, ResultExt as _};
use super::output::{self, Screen};
use crate::manifest::{self, Findings, Loaded};
use crate::model::escape::one_line;
use crate::model::{Component, Digest, EnvironmentName, Version, words};

/// A pin that is to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) component: Component,
    pub(super) version: Version,
    pub(super) digest: Option<Digest>,
}

/// One environment's file, before and after.
pub(super) struct Change {
    pub(super) environment: EnvironmentName,
    /// Relative to the folder.
    pub(super) path: String,
    pub(super) old: String,
    pub(super) new: String,
    /// The pins that aren't what they were, each with the version that it was.
    pub(super) moves: Vec<(Wish, String)>,
}

impl Change {
    /// Sets pins in the file of an environment. Nothing is written.
    ///
    /// # Errors
    /// If the file can't be read, has no such pin, or has it in a form that can't be changed safely.
    pub(super) fn of(dir: &Path, environment: &EnvironmentName, wishes: &[Wish]) -> Result<Self, CliError> {
        let path = pins_path(environment);
        let file = dir.join(&path);
        let old = std::fs::read_to_string(&file).context(|| format!("can't read {}", file.display())).hint(|| {
            "name the folder of an environments repository with --dir, and an environment that it has".to_owned()
        })?;
        let mut change = Self { environment: environment.clone(), path, new: old.clone(), old, moves: Vec::new() };
        for wish in wishes {
            change.set(wish)?;
        }
        Ok(change)
    }

    fn set(&mut self, wish: &Wish) -> Result<(), CliError> {
        let path = &self.path;
        let edited = edit::pin(&self.new, &wish.component, &wish.version, wish.digest.as_ref())
            .context(|| format!("can't change {path}"))?;
        // Whatever the file looks like: all other pins have to mean what they meant.
        let others = |text: &str| {
            let mut pins = manifest::pin_values(text.as_bytes());
            let mine = pins.remove(wish.component.as_str());
            (pins, mine)
        };
        let ((before, _), (after, mine)) = (others(&self.new), others(&edited.text));
        // A version may hold an `@` itself.
        let rest = mine.as_ref().and_then(|pin| pin.strip_prefix(wish.version.as_str()));
        let pinned = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("@sha256:"));
        if before != after || !pinned {
            return Err(CliError::failed(format!("{path} has a form in which this pin can't be changed safely"))
                .hint("write `component = \"version\"`, one line for each"));
        }
        if edited.text != self.new {
            self.moves.push((wish.clone(), edited.before));
            self.new = edited.text;
        }
        Ok(())
    }

    /// The pins that go back to an older version.
    pub(super) fn backwards(&self) -> impl Iterator<Item = &(Wish, String)> {
        self.moves.iter().filter(|(wish, before)| wish.version.precedence(before) == Some(Ordering::Less))
    }
}

/// Where an environment's pins are, relative to the folder.
pub(super) fn pins_path(environment: &EnvironmentName) -> String {
    format!("environments/{environment}/pins.toml")
}

/// What is to be written.
pub(super) fn rewrites(changes: &[Change]) -> Vec<Rewrite<'_>> {
    changes.iter().map(|it| Rewrite { path: &it.path, old: Some(&it.old), new: Some(&it.new) }).collect()
}

/// Whether the files are good with the changes, and mean what they should. The environments as they would be.
pub(super) fn check(dir: &Path, changes: &[Change]) -> Result<Loaded, CliError> {
    let mut folder = manifest::read::folder(dir)?;
    for change in changes {
        folder.files.insert(change.path.clone(), change.new.clone().into_bytes());
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
    let moved: usize = changes.iter().map(|change| change.moves.len()).sum();
    Err(CliError::failed(format!(
        "with {} there would be {}: nothing was changed",
        if moved == 1 { "this version" } else { "these pins" },
        words::count(findings.len(), "finding")
    )))
}

/// The trailer of a commit that goes back, with the versions that it goes back from.
pub(super) fn rollback_trailer(changes: &[Change]) -> Option<String> {
    let from: BTreeSet<&str> = changes.iter().flat_map(Change::backwards).map(|(_, before)| before.as_str()).collect();
    let lines = from.iter().map(|before| format!("Rollback: from {before}\n"));
    (!from.is_empty()).then(|| lines.collect())
}

/// What moves, for people.
pub(super) fn described(changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes {
        for (Wish { component, version, digest }, before) in &change.moves {
            let (before, version) = (one_line(before), one_line(version.as_str()));
            // Writing into a string can't fail.
            let _ = match digest.as_ref().filter(|_| before == version) {
                Some(digest) => {
                    writeln!(text, "{}: {component} {version}, with the digest {digest}", change.environment)
                }
                None => writeln!(text, "{}: {component} {before} → {version}", change.environment),
            };
        }
    }
    text
}
