//! What to do about a refusal. AWS often names the kind of policy that stands in the way; where it doesn't, all that may be
//! is named, the likeliest first.

use super::error::{is_expired, is_foreign_key};

/// The kinds of policy in the words that AWS ends a refusal with: `because no … allows the … action`, or `with an explicit
/// deny in a …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PolicyKind {
    Identity,
    Trust,
    Service,
    Resources,
    Boundary,
    Session,
    Endpoint,
    Resource,
}

const KINDS: [(&str, PolicyKind); 8] = [
    ("identity-based policy", PolicyKind::Identity),
    ("role trust policy", PolicyKind::Trust),
    ("service control policy", PolicyKind::Service),
    ("resource control policy", PolicyKind::Resources),
    ("permissions boundary", PolicyKind::Boundary),
    ("session policy", PolicyKind::Session),
    ("VPC endpoint policy", PolicyKind::Endpoint),
    ("resource-based policy", PolicyKind::Resource),
];

/// The kind of policy that AWS names as the one that refuses, and whether it does so explicitly.
fn named(message: &str) -> Option<(PolicyKind, bool)> {
    if let Some((_, rest)) = message.split_once("explicit deny in ") {
        let rest = ["a ", "an ", "the "].iter().find_map(|article| rest.strip_prefix(article))?;
        return KINDS.iter().find(|(words, _)| rest.starts_with(words)).map(|(_, kind)| (*kind, true));
    }
    let (_, rest) = message.split_once("because no ")?;
    KINDS.iter().find(|(words, _)| rest.starts_with(words)).map(|(_, kind)| (*kind, false))
}

/// What to do about a refused call that was made with the session of an account's role.
pub(super) fn for_call(code: &str, message: &str) -> &'static str {
    match code {
        "RegionDisabledException" | "OptInRequired" | "Blocked" | "PendingVerification" => {
            "the account itself isn't let in: check that it has `account.region` enabled, and sign in to its console to see \
             what AWS wants of it"
        }
        "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "RequestExpired"
        | "MissingAuthenticationToken" => {
            "check the clock of Pinion's machine, and whether a proxy in between changes requests"
        }
        "KMSAccessDeniedException" => "allow it in the key's policy and in the role's permission policy",
        code if code == "AuthFailure" || is_expired(code) => NOT_TAKEN,
        _ => match named(message) {
            Some((PolicyKind::Identity, true)) => "take that deny out of the role's policies: no allow outweighs it",
            Some((PolicyKind::Service, _)) => SERVICE_CONTROL,
            Some((PolicyKind::Resources, _)) => RESOURCE_CONTROL,
            Some((PolicyKind::Boundary, _)) => "allow it in the role's permissions boundary",
            Some((PolicyKind::Endpoint, _)) => ENDPOINT,
            Some((PolicyKind::Resource, _)) => "allow it in the policy of that resource",
            _ => "allow it in the role's permission policy",
        },
    }
}

const NOT_TAKEN: &str = "AWS doesn't take the role's new session either: check that the account has `account.region` \
                         enabled, and the clock of Pinion's machine";
const SERVICE_CONTROL: &str = "a service control policy is the organisation's: ask those who look after it";
const RESOURCE_CONTROL: &str = "a resource control policy is the organisation's: ask those who look after it";
const ENDPOINT: &str = "allow it in the policy of the VPC endpoint that Pinion's calls go through";

/// What to do about a role that can't be assumed.
pub(super) fn for_role(code: &str, message: &str, external_id: bool, session: &str) -> String {
    let given = match code {
        "ExpiredToken" | "ExpiredTokenException" => {
            "Pinion's own credentials have expired: renew what provides them (log in again, or see why nobody issues new \
             ones), the role has nothing to do with it"
        }
        code if is_foreign_key(code) => {
            "AWS doesn't know Pinion's own access key: check that it is active, that its session token comes with it, and \
             that its account has `account.region` enabled; the role has nothing to do with it"
        }
        "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "RequestExpired"
        | "MissingAuthenticationToken" => {
            "check the secret of Pinion's own access key, the clock of its machine, and whether a proxy in between changes \
             requests; the role has nothing to do with it"
        }
        "RegionDisabledException" => {
            "activate STS for `account.region` in IAM's account settings, in the role's account and in Pinion's own"
        }
        "OptInRequired" | "Blocked" | "PendingVerification" => {
            "the account itself isn't let in: sign in to its console to see what AWS wants of it"
        }
        code if code.starts_with("AccessDenied") || code.starts_with("Unauthorized") => {
            return for_denied_role(message, external_id, session);
        }
        _ => "correct `account.role` or `account.external_id` in environment.toml",
    };
    given.to_owned()
}

fn for_denied_role(message: &str, external_id: bool, session: &str) -> String {
    // What comes with assuming is an action of its own, and the trust policy has to allow it, too.
    for action in ["sts:TagSession", "sts:SetSourceIdentity"] {
        if message.contains(action) {
            return format!("allow {action} in the role's trust policy, and in the policies of Pinion's own identity");
        }
    }
    let id = match external_id {
        true => "asks for this very external id (sts:ExternalId)",
        false => "doesn't ask for an external id (sts:ExternalId)",
    };
    let trust = format!(
        "its trust policy names Pinion's identity as principal, allows sts:AssumeRole, {id}, and allows the session name \
         {session} if it asks for one (sts:RoleSessionName)"
    );
    match named(message) {
        Some((PolicyKind::Identity, false)) => {
            "allow sts:AssumeRole on this role in the policies of Pinion's own identity; the role's trust policy isn't what \
             refuses"
                .to_owned()
        }
        Some((PolicyKind::Identity, true)) => {
            "take that deny out of the policies of Pinion's own identity: no allow outweighs it".to_owned()
        }
        Some((PolicyKind::Trust, true)) => "take that deny out of the role's trust policy: no allow outweighs it".to_owned(),
        Some((PolicyKind::Trust | PolicyKind::Resource, _)) => format!("check that {trust}"),
        Some((PolicyKind::Service, _)) => SERVICE_CONTROL.to_owned(),
        Some((PolicyKind::Resources, _)) => RESOURCE_CONTROL.to_owned(),
        Some((PolicyKind::Boundary, _)) => "allow sts:AssumeRole in the permissions boundary of Pinion's own identity".to_owned(),
        Some((PolicyKind::Session, _)) => {
            "allow sts:AssumeRole in the session policy that Pinion's own session was made with".to_owned()
        }
        Some((PolicyKind::Endpoint, _)) => ENDPOINT.to_owned(),
        None => format!(
            "AWS doesn't say what refuses; check, in this order, that the role exists; that {trust}; that the policies of \
             Pinion's own identity allow sts:AssumeRole on it; and the service control policies of both accounts"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "User: arn:aws:sts::1:assumed-role/pinion/pinion-prod is not authorized to perform: ";

    #[test]
    fn the_kind_of_policy_is_read_off_the_message() {
        for (end, expected) in [
            (
                "ecs:X on resource: * because no identity-based policy allows the ecs:X action",
                Some((PolicyKind::Identity, false)),
            ),
            ("ecs:X with an explicit deny in an identity-based policy", Some((PolicyKind::Identity, true))),
            (
                "ecs:X with an explicit deny in an identity-based policy: arn:aws:iam::1:policy/no",
                Some((PolicyKind::Identity, true)),
            ),
            ("ecs:X with an explicit deny in a service control policy", Some((PolicyKind::Service, true))),
            ("ecs:X because no service control policy allows the ecs:X action", Some((PolicyKind::Service, false))),
            (
                "sts:AssumeRole because no role trust policy allows the sts:AssumeRole action",
                Some((PolicyKind::Trust, false)),
            ),
            ("sts:AssumeRole with an explicit deny in the role trust policy", Some((PolicyKind::Trust, true))),
            ("ecs:X on resource: arn:aws:ecs:::session policy", None),
            ("ecs:X because no policy of this kind is known yet", None),
        ] {
            assert_eq!(named(&format!("{USER}{end}")), expected, "{end}");
        }
    }

    #[test]
    fn what_refuses_a_call_is_what_to_look_at() {
        for (code, end, advice) in [
            ("AccessDenied", "ecs:X on resource: *", "allow it in the role's permission policy"),
            ("UnauthorizedOperation", "", "allow it in the role's permission policy"),
            (
                "AccessDenied",
                "ecs:X because no identity-based policy allows the ecs:X action",
                "role's permission policy",
            ),
            ("AccessDenied", "ecs:X with an explicit deny in an identity-based policy", "take that deny out"),
            ("AccessDenied", "ecs:X with an explicit deny in a service control policy", "the organisation's"),
            ("AccessDenied", "ecs:X because no permissions boundary allows the ecs:X action", "permissions boundary"),
            ("AccessDenied", "ecs:X because no VPC endpoint policy allows the ecs:X action", "VPC endpoint"),
            ("AccessDenied", "ecs:X with an explicit deny in a resource-based policy", "policy of that resource"),
            ("ExpiredTokenException", "", "doesn't take the role's new session"),
            ("UnrecognizedClientException", "", "`account.region`"),
            ("AuthFailure", "", "`account.region`"),
            ("OptInRequired", "", "the account itself isn't let in"),
            ("SignatureDoesNotMatch", "", "the clock of Pinion's machine"),
        ] {
            let said = for_call(code, &format!("{USER}{end}"));
            assert!(said.contains(advice), "{code} {end}: {said}");
        }
    }

    #[test]
    fn the_trust_policy_is_blamed_only_where_it_may_be_it() {
        let role = |code: &str, end: &str| for_role(code, &format!("{USER}{end}"), true, "pinion-prod");
        let denied = |end: &str| role("AccessDenied", &format!("sts:AssumeRole on resource: r{end}"));
        for (said, advice) in [
            (denied(""), "that the role exists; that its trust policy"),
            (denied(""), "asks for this very external id"),
            (denied(""), "allows the session name pinion-prod if it asks for one (sts:RoleSessionName)"),
            (denied(""), "the policies of Pinion's own identity allow sts:AssumeRole on it; and the service control"),
            (denied(" because no role trust policy allows the sts:AssumeRole action"), "check that its trust policy"),
            (role("AccessDenied", "sts:TagSession on resource: r"), "allow sts:TagSession in the role's trust policy"),
        ] {
            assert!(said.contains(advice), "{said}");
        }
        for (said, advice) in [
            (
                denied(" because no identity-based policy allows the sts:AssumeRole action"),
                "allow sts:AssumeRole on this role",
            ),
            (
                denied(" with an explicit deny in an identity-based policy"),
                "take that deny out of the policies of Pinion's",
            ),
            (denied(" with an explicit deny in a service control policy"), "the organisation's"),
            (denied(" because no permissions boundary allows the sts:AssumeRole action"), "Pinion's own identity"),
            (role("ExpiredToken", ""), "Pinion's own credentials have expired"),
            (role("InvalidClientTokenId", ""), "AWS doesn't know Pinion's own access key"),
            (role("SignatureDoesNotMatch", ""), "the secret of Pinion's own access key"),
            (role("RegionDisabledException", ""), "activate STS for `account.region`"),
            (role("ValidationError", ""), "correct `account.role`"),
        ] {
            assert!(said.contains(advice), "{said}");
            assert!(!said.contains("check that") || !said.contains("trust policy"), "{said}");
        }
        assert!(for_role("AccessDenied", "", false, "pinion-prod").contains("doesn't ask for an external id"));
    }
}
