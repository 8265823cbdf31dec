//! Policies, as they are written: members in the order that people know, values in theirs.

use std::collections::BTreeMap;

use serde::Serialize;

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    /// The language's version.
    version: &'static str,
    /// The statements, each of a different `Sid`.
    pub statement: Vec<Statement>,
}

impl Policy {
    pub(super) fn of(statements: Vec<Statement>) -> Self {
        Self { version: "2012-10-17", statement: statements }
    }
}

/// A statement that allows something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    /// What it is called.
    pub sid: String,
    effect: &'static str,
    /// Whom it is for, in a policy of a resource or a role's trust.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    principal: BTreeMap<&'static str, Vec<String>>,
    /// What it allows.
    pub action: Vec<String>,
    /// On what.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    condition: BTreeMap<&'static str, BTreeMap<&'static str, Values>>,
}

/// The values of a condition key: one, or a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Many(Vec<String>),
}

impl Statement {
    pub(super) fn allow<const N: usize>(sid: &str, actions: [&str; N]) -> Self {
        Self {
            sid: sid.to_owned(),
            effect: "Allow",
            principal: BTreeMap::new(),
            action: actions.map(str::to_owned).to_vec(),
            resource: Vec::new(),
            condition: BTreeMap::new(),
        }
    }

    /// On these resources, each once.
    pub(super) fn on(mut self, resources: impl IntoIterator<Item = String>) -> Self {
        self.resource.extend(resources);
        self.resource.sort();
        self.resource.dedup();
        self
    }

    /// For these principals.
    pub(super) fn for_whom(mut self, principals: impl IntoIterator<Item = String>) -> Self {
        self.principal.insert("AWS", principals.into_iter().collect());
        self
    }

    /// Only if a condition holds.
    pub(super) fn only_if(
        mut self,
        operator: &'static str,
        key: &'static str,
        values: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let mut values: Vec<String> = values.into_iter().map(Into::into).collect();
        let values = match values.pop() {
            Some(one) if values.is_empty() => Values::One(one),
            last => Values::Many(values.into_iter().chain(last).collect()),
        };
        self.condition.entry(operator).or_default().insert(key, values);
        self
    }
}

/// Text in a resource of a policy, with what would be a wildcard or a variable there escaped.
pub(super) fn literal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '*' | '?' | '$' => escaped.extend(["${", one.encode_utf8(&mut [0; 4]), "}"]),
            _ => escaped.push(one),
        }
    }
    escaped
}
