//! What isn't read, though somebody probably meant it to be: files and folders of nearly the right name, or at nearly the right
//! place. How they are recognized, and what is said of them.

use std::collections::BTreeMap;

use super::finding::{Findings, Place};
use super::gather::{self, OWN, POLICIES};
use super::{DEFAULTS, ROOT};

/// The name of the check.
const CHECK: &str = "misplaced";

/// Whether two names differ by no more than a slip of the keyboard.
fn is_nearly(name: &str, right: &str) -> bool {
    name.len() <= 2 * right.len() && strsim::damerau_levenshtein(name, right) <= 2
}

/// Whether a folder at the root was probably meant to be `environments/`.
pub(super) fn is_like_environments(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(name.as_str(), "env" | "envs") || is_nearly(&name, ROOT)
}

/// Whether guardrails in a folder at the root were probably meant to be in `policies/`.
pub(super) fn is_like_policies(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(name.as_str(), "policy" | "cedar" | "rules")
        || is_nearly(&name, POLICIES)
        || ["guardrail", "guardrails"].iter().any(|right| is_nearly(&name, right))
}

/// Whether a file below `policies/` was probably meant to be a guardrail, or was one.
pub(super) fn is_like_policy(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    !name.starts_with('.') && !gather::is_policy(name) && lower.contains(".cedar") && !lower.contains(".cedarschema")
}

/// Whether a file in `environments/` was probably meant to be `defaults.toml`.
pub(super) fn is_like_defaults(name: &str) -> bool {
    is_like(name, &["default", "defaults"])
}

/// Whether a file of an environment's folder was probably meant to be one of those that are read.
pub(super) fn is_like_own(name: &str) -> bool {
    own(name).is_some()
}

/// The file that one of this name was probably meant to be.
pub(super) fn own(name: &str) -> Option<&'static str> {
    let stems: [&[&str]; 2] = [&["environment", "env"], &["pins", "pin"]];
    OWN.into_iter().zip(stems).find(|(_, stems)| is_like(name, stems)).map(|(own, _)| own)
}

/// Whether a name is one of these, with another ending than `.toml`: another format, none, or one that an editor added.
fn is_like(name: &str, stems: &[&str]) -> bool {
    let name = name.to_ascii_lowercase();
    let (stem, rest) = name.split_once('.').unwrap_or((&name, ""));
    let ending = matches!(rest, "" | "yaml" | "yml" | "json" | "tml") || (rest.starts_with("toml") && rest != "toml");
    ending && stems.contains(&stem)
}

/// What to do where there is no environment at all.
pub(super) fn instead(files: &BTreeMap<String, Vec<u8>>) -> String {
    let like =
        |path: &&String| path.split_once('/').is_some_and(|(name, _)| name != ROOT && is_like_environments(name));
    if let Some((folder, _)) = files.keys().find(like).and_then(|path| path.split_once('/')) {
        return format!("there is a folder {folder}/: rename it to {ROOT}/");
    }
    let below = format!("/{ROOT}/");
    if let Some(path) = files.keys().find(|path| path.ends_with(&below)) {
        return format!(
            "there is a folder {path}: {ROOT}/ is read at the root of the repository: name the folder that it is in, or move it"
        );
    }
    if let Some(own) = OWN.into_iter().find(|own| files.contains_key(*own)) {
        return format!(
            "there is {own} itself: an environment's files are {ROOT}/NAME/{own} below the root of the repository: name that folder, \
             or move them"
        );
    }
    let environment = |path: &&String| path.split_once('/').is_some_and(|(top, own)| top != ROOT && OWN.contains(&own));
    if let Some(path) = files.keys().find(environment) {
        return format!(
            "there is {path}: environments are the folders of {ROOT}/: name the folder that {ROOT}/ is in, or move them into one"
        );
    }
    format!("add a folder {ROOT}/NAME/ with environment.toml and pins.toml")
}

/// Reports what isn't read outside of `environments/`; below it, [`report_defaults`] and [`report_policy`] do.
pub(super) fn report(files: &BTreeMap<String, Vec<u8>>, has_environments: bool, warnings: &mut Findings) {
    for path in files.keys() {
        let (top, rest) = path.split_once('/').unwrap_or((path, ""));
        let name = path.rsplit('/').next().unwrap_or_default();
        match top {
            POLICIES if is_like_policy(name) => report_renamed(files, path, warnings),
            ROOT | POLICIES => {}
            _ if gather::is_policy(name) => report_policy(path, warnings),
            "defaults.toml" if rest.is_empty() => {
                let help = format!("move it to {DEFAULTS}");
                warnings.report_with_help(&Place::file(path), CHECK, "this file isn't read", help);
            }
            folder if has_environments && path.ends_with('/') && is_like_environments(folder) => {
                let help = format!("environments are the folders of {ROOT}/: move what is in it there");
                warnings.report_with_help(&Place::file(folder), CHECK, "this folder isn't read", help);
            }
            _ => {}
        }
    }
}

/// Reports a file that looks like `defaults.toml`, where there is none.
pub(super) fn report_defaults(path: &str, warnings: &mut Findings) {
    let help = format!("the files are TOML: write it as {DEFAULTS}");
    warnings.report_with_help(&Place::file(path), CHECK, "this file isn't read", help);
}

/// Reports a guardrail that isn't below `policies/`.
pub(super) fn report_policy(path: &str, warnings: &mut Findings) {
    let name = path.rsplit('/').next().unwrap_or_default();
    let message = "this guardrail isn't read, and so forbids nothing";
    let help = format!("guardrails are read below {POLICIES}/: move it to {POLICIES}/guardrails/{name}");
    warnings.report_with_help(&Place::file(path), CHECK, message, help);
}

/// Reports a file below `policies/` whose name goes on behind `.cedar`.
fn report_renamed(files: &BTreeMap<String, Vec<u8>>, path: &str, warnings: &mut Findings) {
    let end = path.to_ascii_lowercase().rfind(".cedar").map_or(path.len(), |at| at + ".cedar".len());
    let right = path.get(..end).unwrap_or(path);
    let message = "this isn't read, and so forbids nothing: a guardrail's name ends in .cedar";
    let help = match files.contains_key(right) {
        true => format!("remove it: {right} is read"),
        false => format!("rename it to {right}, or remove it"),
    };
    warnings.report_with_help(&Place::file(path), CHECK, message, help);
}
