//! The guardrails among the files of `policies/`, and where in them something is wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::draft::Draft;
use super::finding::{Findings, Place, SourceText};
use super::gather::{self, POLICIES};
use super::tree::{POINTER, POINTER_HELP, is_pointer};
use crate::guardrail::{Known, Policies};
use crate::model::EnvironmentName;

/// Reads the policies. They may name the environments that there are, good or broken, and the targets of the good ones.
pub(super) fn read(
    files: &BTreeMap<String, Vec<u8>>,
    refused: &BTreeMap<String, String>,
    environments: &BTreeMap<EnvironmentName, Result<Draft, Findings>>,
    findings: &mut Findings,
    warnings: &mut Findings,
) -> Policies {
    let mut texts = BTreeMap::new();
    let mut unread = None;
    // What couldn't be taken may be a policy, or a folder of them: a guardrail must not vanish by being unreadable.
    for (path, reason) in refused.iter().filter(|(path, _)| is_below(path)) {
        findings.report(&Place::file(path), "refused", reason.clone());
        unread = Some(path);
    }
    for (path, bytes) in files.iter().filter(|(path, _)| is_policy(path)) {
        if is_pointer(bytes) {
            findings.report_with_help(&Place::file(path), "git-lfs", POINTER, POINTER_HELP);
            unread = Some(path);
            continue;
        }
        match String::from_utf8(bytes.clone()) {
            // Some editors begin a file with a byte order mark, which Cedar doesn't know.
            Ok(text) => drop(texts.insert(path.clone(), text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned())),
            Err(_) => {
                let help = "save the file as UTF-8";
                findings.report_with_help(&Place::file(path), "syntax", "this is not UTF-8", help);
                unread = Some(path);
            }
        }
    }
    let mut known = Known::default();
    for (name, draft) in environments {
        known.environments.insert(name.clone());
        match draft {
            Ok(draft) => known.targets.extend(draft.targets.values().map(|target| target.reference.clone())),
            Err(_) => drop(known.broken.insert(name.clone())),
        }
    }
    let (policies, mistakes) = Policies::read(&texts, &known);
    for mistake in mistakes {
        let text = texts.get(&mistake.path).cloned().unwrap_or_default();
        let source = Arc::new(SourceText { path: mistake.path, text });
        let place = Place::of(source, mistake.span, mistake.policy.unwrap_or_default());
        let findings = if mistake.is_warning { &mut *warnings } else { &mut *findings };
        match mistake.help {
            Some(help) => findings.report_with_help(&place, mistake.check, mistake.message, help),
            None => findings.report(&place, mistake.check, mistake.message),
        }
    }
    match unread {
        Some(path) => Policies::invalid(format!(
            "{path} can't be read; nothing is rolled out until `pinion validate` finds nothing in the policies"
        )),
        None => policies,
    }
}

/// All files below `policies/` that end in `.cedar` are policies; `guardrails/` is where they are looked for by people.
fn is_policy(path: &str) -> bool {
    is_below(path) && gather::is_policy(path)
}

fn is_below(path: &str) -> bool {
    path.split('/').next() == Some(POLICIES)
}
