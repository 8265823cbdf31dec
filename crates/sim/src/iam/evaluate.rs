//! Whether policies allow a request.

use super::super::service::matches;
use super::condition::{Context, filled};
use super::policy::{Policy, Principals, Statement, Terms};

/// A request for one action on one resource.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// `ecs:UpdateService`.
    pub(crate) action: String,
    /// An ARN, or `*` for an action that has no resources.
    pub(crate) resource: String,
    pub(crate) context: Context,
}

/// Who asks, as a policy of a resource names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who<'a> {
    pub(crate) account: &'a str,
    /// The user's or session's ARN.
    pub(crate) arn: &'a str,
    /// The role's ARN, of a session.
    pub(crate) role: Option<&'a str>,
}

/// What policies say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permission {
    /// To the very principal, or to anybody.
    Allowed,
    /// To the principal's account, which has to hand it on by a policy of its own.
    AllowedToAccount,
    /// Nothing is said.
    Silent,
    /// A statement denies it.
    Denied,
}

/// What policies say to a request. `who` is absent for the policies of the asking identity itself.
pub(crate) fn verdict<'p>(
    policies: impl IntoIterator<Item = &'p Policy>,
    ask: &Ask,
    who: Option<Who<'_>>,
) -> Permission {
    let mut verdict = Permission::Silent;
    for statement in policies.into_iter().flat_map(|policy| &policy.statements) {
        let named = match (who, &statement.principals) {
            (None, _) => Permission::Allowed,
            (Some(_), None) => Permission::Silent,
            (Some(who), Some(principals)) => names(principals, who),
        };
        if named == Permission::Silent || !applies(statement, ask) {
            continue;
        }
        if statement.deny {
            return Permission::Denied;
        }
        if verdict != Permission::Allowed {
            verdict = named;
        }
    }
    verdict
}

fn applies(statement: &Statement, ask: &Ask) -> bool {
    let action = ask.action.to_ascii_lowercase();
    let actions = &statement.actions;
    let is_action = actions.patterns.iter().any(|pattern| matches(&pattern.to_ascii_lowercase(), &action));
    // A trust policy and a repository's policy are about what they are attached to.
    let is_resource = |terms: &Terms| {
        let hit = terms.patterns.iter().any(|pattern| matches(&filled(pattern, &ask.context), &ask.resource));
        hit != terms.not
    };
    is_action != actions.not
        && statement.resources.as_ref().is_none_or(is_resource)
        && statement.conditions.iter().all(|condition| condition.holds(&ask.context))
}

fn names(principals: &Principals, who: Who<'_>) -> Permission {
    let mut found = Permission::Silent;
    for named in &principals.aws {
        if named == "*" || named == who.arn || who.role == Some(named) {
            found = Permission::Allowed;
            break;
        }
        if named == who.account || *named == format!("arn:aws:iam::{}:root", who.account) {
            found = Permission::AllowedToAccount;
        }
    }
    match (principals.not, found) {
        (false, found) => found,
        (true, Permission::Silent) => Permission::Allowed,
        (true, _) => Permission::Silent,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ROLE: &str = "arn:aws:iam::111111111111:role/ci";
    const WHO: Who<'_> =
        Who { account: "111111111111", arn: "arn:aws:sts::111111111111:assumed-role/ci/run", role: Some(ROLE) };

    fn policy(statements: Value) -> Policy {
        Policy::try_from(json!({ "Version": "2012-10-17", "Statement": statements })).unwrap()
    }

    fn ask(action: &str, resource: &str) -> Ask {
        Ask { action: action.to_owned(), resource: resource.to_owned(), context: Context::new() }
    }

    #[test]
    fn deny_beats_allow_and_silence_is_no() {
        let policy = policy(json!([
            { "Effect": "Allow", "Action": ["ecs:Describe*", "ECS:updateservice"], "Resource": "arn:aws:ecs:*:1:service/app/*" },
            { "Effect": "Deny", "Action": "ecs:*", "Resource": "arn:aws:ecs:*:*:service/app/db" },
            { "Effect": "Allow", "NotAction": "iam:*", "Resource": "arn:x" },
            { "Effect": "Allow", "Action": "ssm:*", "NotResource": "arn:secret" },
        ]));
        let cases = [
            ("ecs:UpdateService", "arn:aws:ecs:eu:1:service/app/api", Permission::Allowed),
            ("ecs:DescribeServices", "arn:aws:ecs:eu:1:service/app/api", Permission::Allowed),
            ("ecs:DeleteService", "arn:aws:ecs:eu:1:service/app/api", Permission::Silent),
            ("ecs:UpdateService", "arn:aws:ecs:eu:2:service/app/api", Permission::Silent),
            ("ecs:UpdateService", "arn:aws:ecs:eu:1:service/app/db", Permission::Denied),
            ("ecs:Anything", "arn:x", Permission::Allowed),
            ("iam:PassRole", "arn:x", Permission::Silent),
            ("ssm:GetParameters", "arn:open", Permission::Allowed),
            ("ssm:GetParameters", "arn:secret", Permission::Silent),
        ];
        for (action, resource, expected) in cases {
            assert_eq!(verdict([&policy], &ask(action, resource), None), expected, "{action} {resource}");
        }
    }

    #[test]
    fn principals_are_roles_accounts_or_anybody() {
        let says = |principal: Value| {
            let policy = policy(json!([{ "Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole" }]));
            verdict([&policy], &ask("sts:AssumeRole", "arn:r"), Some(WHO))
        };
        assert_eq!(says(json!({ "AWS": ROLE })), Permission::Allowed);
        assert_eq!(says(json!({ "AWS": WHO.arn })), Permission::Allowed);
        assert_eq!(says(json!("*")), Permission::Allowed);
        assert_eq!(says(json!({ "AWS": "arn:aws:iam::111111111111:root" })), Permission::AllowedToAccount);
        assert_eq!(says(json!({ "AWS": ["222222222222", "111111111111"] })), Permission::AllowedToAccount);
        assert_eq!(says(json!({ "AWS": "arn:aws:iam::111111111111:role/other" })), Permission::Silent);
        assert_eq!(says(json!({ "Service": "ec2.amazonaws.com" })), Permission::Silent);
    }
}
