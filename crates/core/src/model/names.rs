//! Newtypes for names that come from outside. A value of one of these is well-formed.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A name that isn't well-formed: what it was to be, what it was, and the rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{value}` is not {what}: {rule}")]
pub struct InvalidName {
    /// What the value was meant to be, with its article: "an account id".
    pub what: &'static str,
    /// The value as given.
    pub value: String,
    /// The rule that a well-formed value keeps.
    pub rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;

            fn try_from(value: String) -> Result<Self, InvalidName> {
                let check: fn(&str) -> bool = $check;
                if check(&value) {
                    Ok(Self(value))
                } else {
                    Err(InvalidName { what: $what, value, rule: $rule })
                }
            }
        }

        impl TryFrom<&str> for $type {
            type Error = InvalidName;

            fn try_from(value: &str) -> Result<Self, InvalidName> {
                Self::try_from(value.to_owned())
            }
        }

        impl std::str::FromStr for $type {
            type Err = InvalidName;

            fn from_str(value: &str) -> Result<Self, InvalidName> {
                Self::try_from(value.to_owned())
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

fn is_label(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= 63
        && value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        && value.bytes().next().is_some_and(|b| b != b'-' && b != b'_')
}

fn is_hex(value: &str, length: usize) -> bool {
    value.len() == length && value.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_printable(value: &str, longest: usize) -> bool {
    !value.is_empty() && value.chars().count() <= longest && !value.chars().any(char::is_control)
}

/// Whether it is a role's path and name: the name has letters, digits and `+=,.@_-`, the path before it visible ASCII (IAM API
/// reference, `CreateRole`).
fn is_role_path(value: &str) -> bool {
    let (path, name) = value.rsplit_once('/').unwrap_or(("", value));
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
    !name.is_empty() && name.bytes().all(named) && path.bytes().all(|byte| byte.is_ascii_graphic())
}

name!(
    /// The name of an environment: its folder under `environments/`.
    EnvironmentName,
    "an environment's name",
    "it has 1 to 63 of a-z, 0-9, - and _, and starts with a letter or digit",
    is_label
);
name!(
    /// The name of an installation of Pinion: one controller, or several that stand in for each other. Two that may reach the
    /// same AWS accounts need two names.
    Installation,
    "an installation's name",
    "it has 1 to 63 of a-z, 0-9, - and _, and starts with a letter or digit",
    is_label
);
name!(
    /// A thing that is released, such as `frontend`.
    Component,
    "a component's name",
    "it has 1 to 63 of a-z, 0-9, - and _, and starts with a letter or digit",
    is_label
);
name!(
    /// The version of a component: any printable text without spaces, at most 128 characters (the longest image tag).
    Version,
    "a version",
    "it has 1 to 128 printable characters and no spaces",
    |value| is_printable(value, 128) && !value.chars().any(char::is_whitespace)
);
name!(
    /// An AWS account id.
    AccountId,
    "an account id",
    "it has exactly 12 digits",
    |value| value.len() == 12 && value.bytes().all(|b| b.is_ascii_digit())
);
name!(
    /// An AWS region, such as `us-west-1`.
    Region,
    "a region",
    "it looks like `us-west-1`: lower-case words and a number, joined by -",
    |value| value.split('-').count() >= 3
        && value.split('-').all(|part| !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
        && value.bytes().last().is_some_and(|b| b.is_ascii_digit())
);
name!(
    /// The ARN of an IAM role.
    RoleArn,
    "a role's ARN",
    "it looks like `arn:aws:iam::123456789012:role/name`",
    |value| {
        let mut parts = value.splitn(6, ':');
        parts.next() == Some("arn")
            && parts.next().is_some_and(|partition| partition.starts_with("aws"))
            && parts.next() == Some("iam")
            && parts.next() == Some("")
            && parts.next().is_some_and(|id| id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit()))
            && parts.next().and_then(|name| name.strip_prefix("role/")).is_some_and(is_role_path)
    }
);
name!(
    /// The digest of a container image.
    Digest,
    "a digest",
    "it is `sha256:` and 64 lower-case hexadecimal digits",
    |value| value.strip_prefix("sha256:").is_some_and(|hex| is_hex(hex, 64))
);
name!(
    /// The id of a Git commit, in full.
    CommitId,
    "a commit id",
    "it has 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits",
    |value| is_hex(value, 40) || is_hex(value, 64)
);
name!(
    /// The name of an Auto Scaling group.
    GroupName,
    "an Auto Scaling group's name",
    "it has 1 to 255 printable characters and no colon",
    |value| is_printable(value, 255) && !value.contains(':')
);
name!(
    /// The name of an ECS cluster.
    ClusterName,
    "an ECS cluster's name",
    "it has 1 to 255 of letters, digits, - and _",
    |value| !value.is_empty()
        && value.len() <= 255
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
);
name!(
    /// The name of an ECS service.
    ServiceName,
    "an ECS service's name",
    "it has 1 to 255 of letters, digits, - and _",
    |value| !value.is_empty()
        && value.len() <= 255
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
);

impl Default for Installation {
    fn default() -> Self {
        Self("pinion".to_owned())
    }
}

impl RoleArn {
    /// The account that the role belongs to.
    #[must_use]
    pub fn account(&self) -> &str {
        self.0.split(':').nth(4).unwrap_or_default()
    }

    /// Another role of the same account, by its name, with its path if it has one.
    ///
    /// # Errors
    /// [`InvalidName`] if no role can have this name.
    pub fn renamed(&self, name: &str) -> Result<Self, InvalidName> {
        let account = self.0.split(":role/").next().unwrap_or_default();
        Self::try_from(format!("{account}:role/{name}"))
    }
}

impl CommitId {
    /// What stands for a pin that no commit has set yet: all zeros, as in `git blame`.
    #[must_use]
    pub fn uncommitted() -> Self {
        Self("0".repeat(40))
    }

    /// Whether this is [`CommitId::uncommitted`].
    #[must_use]
    pub fn is_uncommitted(&self) -> bool {
        self.0.bytes().all(|b| b == b'0')
    }

    /// The first 8 digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        Self::short_of(&self.0)
    }

    /// The same of an id that is text, as it stands in the status and in events.
    #[must_use]
    pub fn short_of(commit: &str) -> &str {
        commit.get(..8).unwrap_or(commit)
    }
}

/// What kind of thing a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An Auto Scaling group.
    Asg,
    /// An ECS service, whatever it runs on.
    Fargate,
}

impl Kind {
    /// The word used in references, metrics and `environment.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asg => "asg",
            Self::Fargate => "fargate",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A target within its environment: `asg/web`, `fargate/api`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LocalRef {
    /// The kind.
    pub kind: Kind,
    /// The name of its table in `environment.toml`.
    pub name: String,
}

impl LocalRef {
    /// The reference of a target of this kind and table name.
    ///
    /// # Errors
    /// [`InvalidName`] if the name isn't a label.
    pub fn new(kind: Kind, name: &str) -> Result<Self, InvalidName> {
        if is_label(name) {
            Ok(Self { kind, name: name.to_owned() })
        } else {
            Err(InvalidName {
                what: "a target's name",
                value: name.to_owned(),
                rule: "it has 1 to 63 of a-z, 0-9, - and _, and starts with a letter or digit",
            })
        }
    }

    /// This reference in an environment.
    #[must_use]
    pub fn within(&self, environment: &EnvironmentName) -> TargetRef {
        TargetRef { environment: environment.clone(), local: self.clone() }
    }
}

/// What a target of the alias in `environment.toml` is called everywhere else.
const ALIAS: &str = "a table [ecs.NAME] is the target `fargate/NAME`, everywhere";

impl TryFrom<String> for LocalRef {
    type Error = InvalidName;

    fn try_from(value: String) -> Result<Self, InvalidName> {
        let parsed = value.split_once('/').and_then(|(kind, name)| {
            let kind = match kind {
                "asg" => Kind::Asg,
                "fargate" => Kind::Fargate,
                _ => return None,
            };
            Self::new(kind, name).ok()
        });
        parsed.ok_or_else(|| {
            let rule = if value.starts_with("ecs/") { ALIAS } else { "it looks like `asg/web` or `fargate/api`" };
            InvalidName { what: "a target", value, rule }
        })
    }
}

impl From<LocalRef> for String {
    fn from(local: LocalRef) -> Self {
        local.to_string()
    }
}

impl fmt::Display for LocalRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.kind, self.name))
    }
}

impl fmt::Debug for LocalRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// A target anywhere: `prod/asg/web`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TargetRef {
    /// The environment.
    pub environment: EnvironmentName,
    /// The target within it.
    pub local: LocalRef,
}

impl TryFrom<String> for TargetRef {
    type Error = InvalidName;

    fn try_from(value: String) -> Result<Self, InvalidName> {
        let parsed = value.split_once('/').and_then(|(environment, local)| {
            Some(Self {
                environment: EnvironmentName::try_from(environment).ok()?,
                local: LocalRef::try_from(local.to_owned()).ok()?,
            })
        });
        parsed.ok_or_else(|| {
            let is_alias = value.split_once('/').is_some_and(|(_, local)| local.starts_with("ecs/"));
            let rule = if is_alias { ALIAS } else { "it looks like `prod/asg/web` or `prod/fargate/api`" };
            InvalidName { what: "a target's reference", value, rule }
        })
    }
}

impl From<TargetRef> for String {
    fn from(target: TargetRef) -> Self {
        target.to_string()
    }
}

impl fmt::Display for TargetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.environment, self.local))
    }
}

impl fmt::Debug for TargetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.environment, self.local)
    }
}
