//! What is wrong with a repository or an environment as a whole, in words that say what follows from it.

use jiff::Timestamp;

use super::view::{Part, parts};
use crate::model::status::{EnvironmentStatus, Fault, RepositoryStatus};
use crate::model::{CommitId, Reason, TargetState};

/// Something that is wrong.
#[derive(Debug, Hash)]
pub(super) struct Trouble {
    /// `bad`, or `waits` if somebody only has to say a word.
    pub(super) tone: &'static str,
    /// What follows from it.
    pub(super) title: String,
    /// How old what is shown instead is.
    pub(super) read: Option<Timestamp>,
    /// What exactly is wrong.
    pub(super) texts: Vec<Vec<Part>>,
}

impl Trouble {
    fn new<'t>(title: impl Into<String>, texts: impl IntoIterator<Item = &'t String>) -> Self {
        let texts = texts.into_iter().map(|text| parts(text)).collect();
        Self { tone: "bad", title: title.into(), read: None, texts }
    }
}

/// What is wrong with a repository's branch.
pub(super) fn of_repository(repository: &RepositoryStatus) -> Vec<Trouble> {
    let mut found = Vec::new();
    // Refused commits are said below, with what each of them is.
    if let Some(fault) = repository.error.as_ref().filter(|fault| !matches!(fault, Fault::Refused { .. })) {
        let title = match repository.last_success {
            Some(_) => "Can’t be used as it is now: what was last good stays",
            None => "Can’t be read, and hasn’t been read yet",
        };
        found.push(Trouble { read: repository.last_success, ..Trouble::new(title, [&fault.to_string()]) });
    }
    if !repository.guardrail_errors.is_empty() {
        let title = "The guardrails are invalid: nothing is rolled out from this branch until they are fixed";
        found.push(Trouble::new(title, &repository.guardrail_errors));
    }
    if let Some(signatures) = repository.signatures.as_ref().filter(|signatures| signatures.refused > 0) {
        let refused = signatures.refused;
        let counts = match &signatures.accepted {
            Some(commit) => format!("what counts is commit {}", CommitId::short_of(commit)),
            None => "no commit counts".to_owned(),
        };
        let title = match refused {
            1 => format!("1 commit is refused by its signature: {counts}"),
            _ => format!("{refused} commits are refused by their signatures: {counts}"),
        };
        let mut texts: Vec<String> = signatures
            .commits
            .iter()
            .map(|it| {
                let commit = CommitId::short_of(&it.commit);
                format!("commit {commit} by {} is refused ({}): {}", it.author, it.subject, it.reason)
            })
            .collect();
        let more = usize::try_from(refused).unwrap_or(usize::MAX).saturating_sub(texts.len());
        texts.extend((more > 0).then(|| format!("and {more} more")));
        found.push(Trouble::new(title, &texts));
    }
    found
}

/// What is wrong with an environment. What a target's reason says already is left out.
pub(super) fn of_environment(environment: &EnvironmentStatus<TargetState>, said: Option<&Reason>) -> Vec<Trouble> {
    let mut found = Vec::new();
    if !environment.errors.is_empty() {
        let title = if environment.revision.is_empty() {
            "The files are broken, and no good state of them is known: nothing is done here".to_owned()
        } else {
            let commit = CommitId::short_of(&environment.revision);
            format!("The files are broken: what they said at commit {commit} stays until they are fixed")
        };
        found.push(Trouble::new(title, &environment.errors));
    }
    let is_said = |held: &&String| matches!(said, Some(Reason::ChangeLimit(reason)) if reason == *held);
    if let Some(change_limit) = environment.change_limit.as_ref().filter(|held| !is_said(held)) {
        found.push(Trouble { tone: "waits", ..Trouble::new("Waiting for an acknowledgement", [change_limit]) });
    }
    if let Some(error) = &environment.error {
        let title = match environment.last_success {
            Some(_) => "The last pass failed: what was last seen is shown",
            None => "No pass has succeeded yet",
        };
        found.push(Trouble { read: environment.last_success, ..Trouble::new(title, [error]) });
    }
    found
}
