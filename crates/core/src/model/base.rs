//! Whose shape a target has: all of a task definition or a launch-template version but the image that Pinion puts into it.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{TaskDefinition, TemplateVersion, words};

/// Where the shape of a target comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BaseRevision {
    /// From what runs: only the image ever changes.
    #[default]
    Running,
    /// From the newest revision that Pinion didn't make.
    Newest(BaseRule),
}

impl BaseRevision {
    /// Which revisions count; `None` where the shape of what runs stays.
    #[must_use]
    pub fn rule(&self) -> Option<&BaseRule> {
        match self {
            Self::Running => None,
            Self::Newest(rule) => Some(rule),
        }
    }
}

/// Which revisions a target's shape may come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
pub struct BaseRule {
    /// The family of task definitions; `None` for the one that the service is on. Groups have none.
    pub family: Option<String>,
    /// Patterns of ARNs, with `*` for any characters: only what one of these principals registered counts. Empty for
    /// anybody.
    pub registered_by: Vec<String>,
}

impl BaseRule {
    /// Whether a revision counts, by who registered it. Where AWS doesn't say who it was, it counts only if anybody's does.
    #[must_use]
    pub fn admits(&self, registered_by: Option<&str>) -> bool {
        let by = |pattern: &String| registered_by.is_some_and(|principal| words::like(pattern, principal));
        self.registered_by.is_empty() || self.registered_by.iter().any(by)
    }
}

/// What was found of the revisions that a target's shape may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bases {
    /// Whose shape the target runs: a launch-template version's number, or `family:revision`; of several launch templates the
    /// numbers, joined by `+`. At the end of the chain of what Pinion made from what it had made before.
    pub recorded: String,
    /// The names in that chain, what runs included, where they aren't [`recorded`](Self::recorded).
    pub through: BTreeSet<String>,
    /// The newest revision that Pinion didn't make, that counts, and that is newer than the recorded one; `None` where there
    /// is none.
    pub newest: Option<Base>,
    /// Who registered those of these two that Pinion didn't make, in short: `role/terraform`.
    pub registered_by: BTreeSet<String>,
}

/// A revision that a target's shape may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// A launch-template version's number, or `family:revision`. Of several launch templates the numbers, joined by `+`.
    pub name: String,
    /// The revision.
    pub revision: BaseSource,
    /// What it changes of what runs, each in a few words; never the value of a variable or a secret.
    pub changes: Vec<String>,
}

/// A revision of either kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseSource {
    /// Of a service.
    TaskDefinition(Box<TaskDefinition>),
    /// Of a group: of each launch template that has a newer one, which is one unless overrides name templates of their own.
    TemplateVersions(Vec<TemplateVersion>),
}

impl Base {
    /// Who registered it, as far as AWS says.
    #[must_use]
    pub fn by(&self) -> Option<&str> {
        match &self.revision {
            BaseSource::TaskDefinition(definition) => definition.made_by.as_deref(),
            BaseSource::TemplateVersions(versions) => versions.first()?.made_by.as_deref(),
        }
    }

    /// When it was registered, as far as AWS says.
    #[must_use]
    pub fn made(&self) -> Option<Timestamp> {
        match &self.revision {
            BaseSource::TaskDefinition(definition) => definition.made,
            BaseSource::TemplateVersions(versions) => versions.iter().filter_map(|version| version.made).max(),
        }
    }
}

/// A new shape that a target gets, for people and for guardrails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShapeChange {
    /// Whose shape the target has.
    pub from: String,
    /// Whose shape it gets.
    pub to: String,
    /// Who registered that, as far as AWS says.
    pub by: Option<String>,
    /// When.
    pub at: Option<Timestamp>,
    /// What it changes, each in a few words; never the value of a variable or a secret.
    pub changes: Vec<String>,
}

impl ShapeChange {
    /// In one line: `api:42 → api:43 (registered by role/terraform, 12m ago): cpu 256 → 512; + env LOG_LEVEL; image stays
    /// ours`. `when`: when it was registered, in words.
    #[must_use]
    pub fn line(&self, when: Option<&str>) -> String {
        let by = self.by.as_deref().map(|by| format!("by {}", principal(by)));
        let registered: Vec<&str> = by.as_deref().into_iter().chain(when).collect();
        let registered = match registered.as_slice() {
            [by, when] => format!(" (registered {by}, {when})"),
            [only] => format!(" (registered {only})"),
            _ => String::new(),
        };
        let mut changes = self.changes.join("; ");
        if changes.is_empty() {
            "nothing but its number differs".clone_into(&mut changes);
        }
        format!("{} → {}{registered}: {changes}; image stays ours", self.from, self.to)
    }
}

impl fmt::Display for ShapeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line(self.at.map(|at| format!("at {at}")).as_deref()))
    }
}

/// A principal in short: `role/terraform` of `arn:aws:sts::222222222222:assumed-role/terraform/run-7`.
#[must_use]
pub fn principal(arn: &str) -> String {
    match role_of(arn) {
        Some(role) => format!("role/{role}"),
        None => arn.splitn(6, ':').nth(5).unwrap_or(arn).to_owned(),
    }
}

/// The name of the role that a principal is a session of, by its ARN; `None` where it isn't a session.
#[must_use]
pub fn role_of(principal: &str) -> Option<&str> {
    principal.split_once(":assumed-role/").and_then(|(_, session)| session.split('/').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_in_one_line() {
        let change = ShapeChange {
            from: "api:42".to_owned(),
            to: "api:43".to_owned(),
            by: Some("arn:aws:sts::222222222222:assumed-role/terraform/run-7".to_owned()),
            at: None,
            changes: vec!["cpu 256 → 512".to_owned(), "+ env LOG_LEVEL".to_owned()],
        };
        assert_eq!(
            change.line(Some("12m ago")),
            "api:42 → api:43 (registered by role/terraform, 12m ago): cpu 256 → 512; + env LOG_LEVEL; image stays ours"
        );
        let bare = ShapeChange { by: None, changes: Vec::new(), ..change };
        assert_eq!(bare.to_string(), "api:42 → api:43: nothing but its number differs; image stays ours");
    }

    #[test]
    fn patterns_of_principals() {
        let admits = |pattern: &str, by: &str| {
            let rule = BaseRule { family: None, registered_by: vec![pattern.to_owned()] };
            rule.admits(Some(by))
        };
        let session = "arn:aws:sts::222222222222:assumed-role/terraform-prod/run-7";
        for pattern in [
            "*",
            "*:assumed-role/terraform*",
            "arn:aws:sts::222222222222:assumed-role/terraform-prod/*",
            "arn:*:assumed-role/*/run-7",
            session,
        ] {
            assert!(admits(pattern, session), "{pattern}");
        }
        for pattern in ["", "terraform*", "*:assumed-role/terraform", "arn:*:user/*", "arn:*/run-7*8"] {
            assert!(!admits(pattern, session), "{pattern}");
        }
        let rule = BaseRule { family: None, registered_by: vec!["*".to_owned()] };
        assert!(!rule.admits(None), "nobody knows who it was");
        assert!(BaseRule::default().admits(None));
    }
}
