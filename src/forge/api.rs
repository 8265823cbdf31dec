//! What the three forges want to be sent, and what they answer. Pure.

use serde_json::{Value, json};
use url::Url;

use super::ledger::{CommitReport, CommitState};
use super::words;
use crate::config::{Forge, ForgeKind};

/// The status that a commit has, in the forge's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The forge's word for the state.
    pub state: String,
    /// The description.
    pub description: String,
}

/// The name of an environment's status.
#[must_use]
pub fn context(environment: &str) -> String {
    format!("pinion/{environment}")
}

/// The longest description that a forge takes, in characters.
#[must_use]
pub fn longest(kind: ForgeKind) -> usize {
    match kind {
        ForgeKind::GitHub => 140,
        ForgeKind::GitLab | ForgeKind::Gitea => 255,
    }
}

/// The forge's word for a verdict.
#[must_use]
pub fn state(kind: ForgeKind, verdict: CommitState) -> &'static str {
    match (kind, verdict) {
        (ForgeKind::GitLab, CommitState::Running) => "running",
        (_, CommitState::Waiting | CommitState::Running) => "pending",
        (_, CommitState::Succeeded) => "success",
        (ForgeKind::GitLab, CommitState::Failed | CommitState::Blocked) => "failed",
        (_, CommitState::Failed) => "failure",
        (ForgeKind::GitLab, CommitState::Superseded) => "canceled",
        (_, CommitState::Blocked | CommitState::Superseded) => "error",
    }
}

/// What a report says in the forge's words.
#[must_use]
pub fn known(kind: ForgeKind, report: &CommitReport) -> Known {
    let description = words::fitting(&report.description, longest(kind));
    Known { state: state(kind, report.verdict).to_owned(), description }
}

/// Whether a report is worth sending, given the status that the commit has.
///
/// Only a failure is reported after a success: that a target drifts and is healed, or is looked at again by another process, is
/// no matter of the commit's. Within one state another description is: the ledger makes the same one as long as nothing has
/// changed.
#[must_use]
pub fn is_news(kind: ForgeKind, before: Option<&Known>, report: &CommitReport) -> bool {
    let Some(before) = before else { return true };
    let after = known(kind, report);
    if before.state == state(kind, CommitState::Succeeded) {
        return report.verdict == CommitState::Failed;
    }
    // GitLab doesn't take another description for the same state.
    before.state != after.state || (kind != ForgeKind::GitLab && before.description != after.description)
}

/// The URL that a status is sent to, and its body.
#[must_use]
pub fn status(forge: &Forge, branch: &str, report: &CommitReport) -> Option<(Url, Value)> {
    let known = known(forge.kind, report);
    let context = context(&report.environment);
    let url = match forge.kind {
        ForgeKind::GitHub | ForgeKind::Gitea => repository(forge, &["statuses", &report.commit]),
        ForgeKind::GitLab => project(forge, &["statuses", &report.commit]),
    }?;
    let mut body = json!({ "state": known.state, "description": known.description });
    let object = body.as_object_mut()?;
    if forge.kind == ForgeKind::GitLab {
        object.insert("name".to_owned(), context.into());
        // Otherwise GitLab takes any branch that has the commit.
        object.insert("ref".to_owned(), branch.into());
    } else {
        object.insert("context".to_owned(), context.into());
    }
    if let Some(target) = &forge.target_url {
        object.insert("target_url".to_owned(), target.as_str().into());
    }
    Some((url, body))
}

/// The URL of the statuses that a commit has.
#[must_use]
pub fn statuses(forge: &Forge, report: &CommitReport) -> Option<Url> {
    let commit = report.commit.as_str();
    let mut url = match forge.kind {
        ForgeKind::GitHub | ForgeKind::Gitea => repository(forge, &["commits", commit, "status"]),
        ForgeKind::GitLab => project(forge, &["repository", "commits", commit, "statuses"]),
    }?;
    match forge.kind {
        ForgeKind::GitHub => url.query_pairs_mut().append_pair("per_page", "100"),
        ForgeKind::Gitea => url.query_pairs_mut().append_pair("limit", "50"),
        ForgeKind::GitLab => url.query_pairs_mut().append_pair("name", &context(&report.environment)),
    };
    Some(url)
}

/// The status that a commit has, from the answer at [`statuses`]; `None` without one.
#[must_use]
pub fn read(kind: ForgeKind, answer: &Value, environment: &str) -> Option<Known> {
    let list = if kind == ForgeKind::GitLab { answer } else { answer.get("statuses")? };
    let (name, state) = match kind {
        ForgeKind::GitHub => ("context", "state"),
        ForgeKind::Gitea => ("context", "status"),
        ForgeKind::GitLab => ("name", "status"),
    };
    let text = |status: &Value, key: &str| status.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let wanted = context(environment);
    let mine = list.as_array()?.iter().filter(|status| text(status, name) == wanted);
    let newest = mine.max_by_key(|status| status.get("id").and_then(Value::as_i64))?;
    Some(Known { state: text(newest, state), description: text(newest, "description") })
}

/// Whether GitLab's refusal only says that the commit has this status already.
#[must_use]
pub fn is_repeat(kind: ForgeKind, status: u16, answer: &str) -> bool {
    kind == ForgeKind::GitLab && status == 400 && answer.contains("Cannot transition status")
}

fn repository(forge: &Forge, rest: &[&str]) -> Option<Url> {
    url(forge, std::iter::once("repos").chain(forge.project.split('/')).chain(rest.iter().copied()))
}

/// GitLab takes the whole path of the project as one segment.
fn project(forge: &Forge, rest: &[&str]) -> Option<Url> {
    url(forge, ["projects", &forge.project].into_iter().chain(rest.iter().copied()))
}

fn url<'a>(forge: &Forge, segments: impl Iterator<Item = &'a str>) -> Option<Url> {
    let mut url = Url::parse(&forge.api_url).ok()?;
    url.path_segments_mut().ok()?.pop_if_empty().extend(segments);
    Some(url)
}
