//! What Pinion calls its sessions of accounts' roles.

use super::{EnvironmentName, hex};

/// The most characters that a role session's name may have (`RoleSessionName`; STS API reference, `AssumeRole`).
const MAX_LENGTH: usize = 64;
/// Hexadecimal digits at the end of a name that was cut.
const DIGITS: usize = 16;

/// What a session of an account's role is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// `pinion run`.
    Run,
    /// `pinion plan`.
    Plan,
    /// `pinion bump`, which looks whether an artifact exists.
    Bump,
}

impl Session {
    /// The name of the session for an environment, by which CloudTrail shows it and a role's trust knows it: `pinion-prod`,
    /// `pinion.plan-prod`, `pinion.bump-prod`. It has at most 64 characters; a longer one is cut, and ends in a full stop and
    /// 16 hexadecimal digits of the SHA-256 digest of the whole. No two are alike: no environment's name has a full stop.
    #[must_use]
    pub fn name(self, environment: &EnvironmentName) -> String {
        let prefix = match self {
            Self::Run => "pinion",
            Self::Plan => "pinion.plan",
            Self::Bump => "pinion.bump",
        };
        let whole = format!("{prefix}-{environment}");
        if whole.len() <= MAX_LENGTH {
            return whole;
        }
        let beginning: String = whole.chars().take(MAX_LENGTH - DIGITS - 1).collect();
        format!("{beginning}.{}", hex::sha256(&whole, DIGITS))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_environment_and_use_has_a_legal_name_of_its_own() {
        let long = "x".repeat(60);
        let environments = ["prod", "plan-prod", "bump-prod", "a", &long, &format!("{long}y"), &format!("{long}yz")];
        let environments = environments.map(|name| EnvironmentName::try_from(name).unwrap());
        let sessions = [Session::Run, Session::Plan, Session::Bump];
        let names: BTreeSet<String> =
            sessions.iter().flat_map(|session| environments.iter().map(|name| session.name(name))).collect();
        assert_eq!(names.len(), sessions.len() * environments.len(), "{names:?}");
        for name in &names {
            assert!((2..=MAX_LENGTH).contains(&name.len()), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_=,.@-".contains(&byte)), "{name}");
        }
        assert_eq!(Session::Run.name(&environments[0]), "pinion-prod");
        assert_eq!(Session::Plan.name(&environments[0]), "pinion.plan-prod");
        let cut = Session::Run.name(&environments[4]);
        assert!(cut.len() == MAX_LENGTH && cut.starts_with("pinion-xxx") && cut.contains('.'), "{cut}");
    }
}
