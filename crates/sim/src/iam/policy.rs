//! Policies: JSON as AWS has it, read strictly.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::condition::Condition;

/// Why a document is no policy that the simulator can enforce.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PolicyError(String);

impl PolicyError {
    pub(crate) fn new(why: &str) -> Self {
        Self(why.to_owned())
    }
}

/// A policy.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub(crate) struct Policy {
    /// As it was given.
    document: Value,
    pub(crate) statements: Vec<Statement>,
}

/// A statement of a policy.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    /// `Deny` instead of `Allow`.
    pub(crate) deny: bool,
    /// Whom it is about; absent in a policy that belongs to an identity.
    pub(crate) principals: Option<Principals>,
    pub(crate) actions: Terms,
    /// Absent in a trust policy.
    pub(crate) resources: Option<Terms>,
    pub(crate) conditions: Vec<Condition>,
}

/// Patterns, or all but these.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) not: bool,
    pub(crate) patterns: Vec<String>,
}

/// `Principal`, or `NotPrincipal`: AWS principals only, others are nobody here.
#[derive(Debug, Clone)]
pub(crate) struct Principals {
    pub(crate) not: bool,
    /// Account ids, ARNs, or `*`.
    pub(crate) aws: Vec<String>,
}

impl TryFrom<Value> for Policy {
    type Error = PolicyError;

    fn try_from(document: Value) -> Result<Self, PolicyError> {
        let map = document.as_object().ok_or_else(|| PolicyError("a policy is a JSON object".to_owned()))?;
        known(map, &["Version", "Id", "Statement"], "the policy")?;
        match map.get("Version").and_then(Value::as_str) {
            Some("2012-10-17" | "2008-10-17") => {}
            _ => return Err(PolicyError("the policy has no Version 2012-10-17".to_owned())),
        }
        let statements = match map.get("Statement") {
            Some(Value::Array(all)) => all.iter().map(statement).collect::<Result<_, _>>()?,
            Some(one @ Value::Object(_)) => vec![statement(one)?],
            _ => return Err(PolicyError("the policy has no Statement".to_owned())),
        };
        Ok(Self { statements, document })
    }
}

impl From<Policy> for Value {
    fn from(policy: Policy) -> Self {
        policy.document
    }
}

fn known(map: &Map<String, Value>, names: &[&str], what: &str) -> Result<(), PolicyError> {
    match map.keys().find(|key| !names.contains(&key.as_str())) {
        Some(key) => Err(PolicyError(format!("{what} has an unknown element {key}"))),
        None => Ok(()),
    }
}

fn statement(value: &Value) -> Result<Statement, PolicyError> {
    let map = value.as_object().ok_or_else(|| PolicyError("a statement is a JSON object".to_owned()))?;
    let sid = map.get("Sid").and_then(Value::as_str).unwrap_or("without Sid");
    let what = format!("statement {sid}");
    const ELEMENTS: [&str; 9] =
        ["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"];
    known(map, &ELEMENTS, &what)?;
    let deny = match map.get("Effect").and_then(Value::as_str) {
        Some("Allow") => false,
        Some("Deny") => true,
        _ => return Err(PolicyError(format!("{what} has neither Effect Allow nor Deny"))),
    };
    let actions = terms(map, "Action", "NotAction", &what)?;
    let actions = actions.ok_or_else(|| PolicyError(format!("{what} has no Action")))?;
    if let Some(wrong) = actions.patterns.iter().find(|pattern| *pattern != "*" && !pattern.contains(':')) {
        return Err(PolicyError(format!("{what}: {wrong} is no action; it looks like service:Operation")));
    }
    let conditions = match map.get("Condition") {
        None => Vec::new(),
        Some(Value::Object(operators)) => {
            let mut conditions = Vec::new();
            for (operator, keys) in operators {
                let keys = keys.as_object().ok_or_else(|| PolicyError(format!("{what}: {operator} has no keys")))?;
                for (key, values) in keys {
                    let values =
                        texts(values).ok_or_else(|| PolicyError(format!("{what}: {operator} {key} has no values")))?;
                    let condition = Condition::parse(operator, key, values);
                    conditions.push(condition.map_err(|why| PolicyError(format!("{what}: {why}")))?);
                }
            }
            conditions
        }
        Some(_) => return Err(PolicyError(format!("{what}: Condition is a JSON object"))),
    };
    Ok(Statement {
        deny,
        principals: principals(map, &what)?,
        actions,
        resources: terms(map, "Resource", "NotResource", &what)?,
        conditions,
    })
}

/// A string or a list of strings; numbers and booleans as AWS takes them too.
fn texts(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match value {
        Value::Array(all) => all.iter().map(text).collect(),
        one => Some(vec![text(one)?]),
    }
}

fn terms(map: &Map<String, Value>, name: &str, not: &str, what: &str) -> Result<Option<Terms>, PolicyError> {
    let (value, not) = match (map.get(name), map.get(not)) {
        (None, None) => return Ok(None),
        (Some(value), None) => (value, false),
        (None, Some(value)) => (value, true),
        (Some(_), Some(_)) => return Err(PolicyError(format!("{what} has both {name} and {not}"))),
    };
    let patterns = texts(value).filter(|patterns| !patterns.is_empty());
    let patterns = patterns.ok_or_else(|| PolicyError(format!("{what}: {name} is a text or a list of texts")))?;
    Ok(Some(Terms { not, patterns }))
}

fn principals(map: &Map<String, Value>, what: &str) -> Result<Option<Principals>, PolicyError> {
    let (value, not) = match (map.get("Principal"), map.get("NotPrincipal")) {
        (None, None) => return Ok(None),
        (Some(value), None) => (value, false),
        (None, Some(value)) => (value, true),
        (Some(_), Some(_)) => return Err(PolicyError(format!("{what} has both Principal and NotPrincipal"))),
    };
    let wrong = || PolicyError(format!("{what}: Principal is \"*\" or an object of AWS, Service, Federated"));
    let aws = match value {
        Value::String(any) if any == "*" => vec![any.clone()],
        Value::Object(kinds) => {
            known(kinds, &["AWS", "Service", "Federated"], what)?;
            kinds.get("AWS").map(|value| texts(value).ok_or_else(wrong)).transpose()?.unwrap_or_default()
        }
        _ => return Err(wrong()),
    };
    let strange = |text: &&String| {
        let account = text.len() == 12 && text.bytes().all(|digit| digit.is_ascii_digit());
        !account && *text != "*" && !text.starts_with("arn:")
    };
    if let Some(text) = aws.iter().find(strange) {
        return Err(PolicyError(format!("{what}: {text} is no principal: an account id, an ARN, or *")));
    }
    Ok(Some(Principals { not, aws }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Policy;

    #[test]
    fn what_could_not_be_enforced_is_refused() {
        let refused = |statement: serde_json::Value| {
            let policy = json!({ "Version": "2012-10-17", "Statement": [statement] });
            Policy::try_from(policy).map(|_| String::new()).unwrap_or_else(|error| error.to_string())
        };
        let cases = [
            (json!({ "Effect": "Allow", "Action": "ecs:X", "Resource": "*" }), ""),
            (json!({ "Effect": "allow", "Action": "ecs:X", "Resource": "*" }), "neither Effect Allow nor Deny"),
            (json!({ "Effect": "Allow", "Resource": "*" }), "has no Action"),
            (json!({ "Effect": "Allow", "Action": "UpdateService" }), "is no action"),
            (json!({ "Effect": "Allow", "Action": "ecs:X", "Resources": "*" }), "unknown element Resources"),
            (
                json!({ "Effect": "Allow", "Action": "ecs:X", "Condition": { "StringMaybe": { "a:b": "c" } } }),
                "StringMaybe",
            ),
            (json!({ "Effect": "Allow", "Action": "ecs:X", "Principal": { "AWS": "pinion" } }), "is no principal"),
        ];
        for (statement, said) in cases {
            let got = refused(statement.clone());
            assert!(got.contains(said) && got.is_empty() == said.is_empty(), "{statement}: {got}");
        }
        assert!(Policy::try_from(json!({ "Statement": [] })).is_err(), "without a version");
    }
}
