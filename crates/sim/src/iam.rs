//! IAM: who may do what. An identity with permission policies may do what they allow, and no more; one without any may
//! do everything in its account.

mod condition;
mod evaluate;
mod needs;
mod policy;

use std::collections::BTreeMap;

use serde_json::Value;

pub(crate) use self::condition::Context;
pub(crate) use self::evaluate::Ask;
use self::evaluate::{Permission, Who, verdict};
pub(crate) use self::policy::Policy;
pub use self::policy::PolicyError;
use super::wire::{ApiError, Call, Caller, Service};
use super::world::{Repository, Role, World};

/// The words for what policies of the caller's own don't allow.
const NO_IDENTITY: &str = "no identity-based policy allows";
/// The words for what a resource's policy doesn't allow.
const NO_RESOURCE: &str = "no resource-based policy allows";

/// Whether the caller's own policies allow a call, and what AWS asks of the caller for it besides.
///
/// # Errors
/// In the words of the call's service.
pub(crate) fn check(world: &World, call: &Call) -> Result<(), ApiError> {
    let Some(policies) = policies(world, &call.caller) else { return Ok(()) };
    for need in needs::of(world, call) {
        let ask = Ask { action: need.action, resource: need.resource, context: need.context };
        let ask = with_caller(ask, call);
        match verdict(policies, &ask, None) {
            Permission::Allowed | Permission::AllowedToAccount => {}
            verdict => {
                return Err(refusal(call, &ask, &why(verdict, NO_IDENTITY, &ask.action), need.template.as_deref()));
            }
        }
    }
    Ok(())
}

/// Whether a caller may assume a role: by the role's trust policy and, from another account or where trust is given to
/// the whole account, by policies of the caller's own.
///
/// # Errors
/// `AccessDenied`, which doesn't say what is wrong with the trust.
pub(crate) fn check_trust(world: &World, call: &Call, role_arn: &str, role: &Role) -> Result<(), ApiError> {
    for need in needs::of_assume_role(call, role_arn) {
        let ask = with_caller(Ask { action: need.action, resource: need.resource, context: need.context }, call);
        let denied = || refusal(call, &ask, "", None);
        let own = match policies(world, &call.caller) {
            // What a session inherits and is tagged with is for the trust policy alone to allow.
            _ if ask.action != "sts:AssumeRole" => Permission::Allowed,
            None => Permission::Allowed,
            Some(policies) => verdict(policies, &ask, None),
        };
        let role_of = caller_role(&call.caller).map(|(account, name)| role_arn_of(account, name));
        let who = Who { account: &call.caller.account, arn: &call.caller.arn, role: role_of.as_deref() };
        let trust = match &role.trust {
            None => Permission::AllowedToAccount,
            Some(trust) => verdict([trust], &ask, Some(who)),
        };
        let same_account = role_arn.split(':').nth(4) == Some(call.caller.account.as_str());
        match (trust, own) {
            (Permission::Silent | Permission::Denied, _) | (_, Permission::Denied) => return Err(denied()),
            (Permission::Allowed, _) if same_account => {}
            (_, Permission::Silent) => {
                return Err(refusal(call, &ask, &why(Permission::Silent, NO_IDENTITY, &ask.action), None));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a repository lets a caller of another account do something with it.
///
/// # Errors
/// `AccessDeniedException`.
pub(crate) fn check_repository(call: &Call, held: &Repository, arn: &str) -> Result<(), ApiError> {
    let caller = &call.caller;
    let ask = Ask { action: format!("ecr:{}", call.operation), resource: arn.to_owned(), context: Context::new() };
    let ask = with_caller(ask, call);
    let role = caller_role(caller).map(|(account, name)| role_arn_of(account, name));
    let who = Who { account: &caller.account, arn: &caller.arn, role: role.as_deref() };
    match repository_verdict(held, &ask, who) {
        Permission::Allowed | Permission::AllowedToAccount => Ok(()),
        verdict => Err(refusal(call, &ask, &why(verdict, NO_RESOURCE, &ask.action), None)),
    }
}

/// What pulling an image takes.
const PULL: [&str; 3] = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"];

/// Whether tasks of an account with this execution role may pull from a repository. The error is the action that isn't
/// allowed, and to whom.
pub(crate) fn check_pull(
    world: &World,
    account: &str,
    execution_role: Option<&str>,
    owner: &str,
    held: &Repository,
) -> Result<(), String> {
    let role_arn = execution_role.map(|role| as_role_arn(account, role));
    let name = role_arn.as_deref().and_then(|arn| arn.rsplit('/').next());
    let arn = format!("arn:aws:sts::{account}:assumed-role/{}/ecs", name.unwrap_or("none"));
    let who = Who { account, arn: &arn, role: role_arn.as_deref() };
    let policies = name.and_then(|name| world.accounts.get(account)?.roles.get(name)?.policies.as_deref());
    for action in PULL {
        let mut context = Context::new();
        for (key, value) in
            [("aws:principalarn", role_arn.as_deref().unwrap_or(&arn)), ("aws:principalaccount", account)]
        {
            context.insert(key.to_owned(), vec![value.to_owned()]);
        }
        let resource = format!("arn:aws:ecr:{}:{owner}:repository/{}", held.region, held.name);
        let ask = Ask { action: action.to_owned(), resource, context };
        let open = |verdict| matches!(verdict, Permission::Allowed | Permission::AllowedToAccount);
        let own = policies.is_none_or(|policies| open(verdict(policies, &ask, None)));
        let theirs = owner == account || open(repository_verdict(held, &ask, who));
        if !own || !theirs {
            return Err(format!(
                "User: {arn} is not authorized to perform: {action} on resource: {} because {} the {action} action",
                ask.resource,
                if own { NO_RESOURCE } else { NO_IDENTITY }
            ));
        }
    }
    Ok(())
}

fn repository_verdict(held: &Repository, ask: &Ask, who: Who<'_>) -> Permission {
    match &held.policy {
        Some(policy) => verdict([policy], ask, Some(who)),
        None if held.allowed.contains(who.account) => Permission::AllowedToAccount,
        None => Permission::Silent,
    }
}

/// The permission policies of a caller; none for one that may do everything.
fn policies<'w>(world: &'w World, caller: &Caller) -> Option<&'w [Policy]> {
    let account = world.accounts.get(&caller.account)?;
    if let Some((_, name)) = caller_role(caller) {
        return account.roles.get(name)?.policies.as_deref();
    }
    let name = caller.arn.rsplit_once(":user/")?.1;
    account.users.get(name)?.as_deref()
}

/// Account and name of the role of a session.
fn caller_role(caller: &Caller) -> Option<(&str, &str)> {
    let (_, rest) = caller.arn.split_once(":assumed-role/")?;
    let (role, _) = rest.split_once('/')?;
    Some((&caller.account, role))
}

fn role_arn_of(account: &str, name: &str) -> String {
    format!("arn:aws:iam::{account}:role/{name}")
}

/// A role that is given by name or ARN, as an ARN.
fn as_role_arn(account: &str, role: &str) -> String {
    if role.starts_with("arn:") { role.to_owned() } else { role_arn_of(account, role) }
}

/// Adds what every request says about who asks and where.
fn with_caller(mut ask: Ask, call: &Call) -> Ask {
    let caller = &call.caller;
    let principal = match caller_role(caller) {
        Some((account, name)) => role_arn_of(account, name),
        None => caller.arn.clone(),
    };
    let owner = ask.resource.split(':').nth(4).filter(|account| !account.is_empty()).unwrap_or(&caller.account);
    let said = [
        ("aws:principalarn", principal.as_str()),
        ("aws:principalaccount", &caller.account),
        ("aws:requestedregion", &call.region),
        ("aws:resourceaccount", owner),
        // As it is at AWS, whose endpoints take nothing else of this kind from a client that signs.
        ("aws:securetransport", "true"),
        ("aws:userid", &caller.user_id),
    ];
    let said: Vec<(String, String)> = said.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let tags = caller.tags.iter().map(|(key, value)| (format!("aws:principaltag/{key}"), value.clone()));
    for (key, value) in said.into_iter().chain(tags) {
        ask.context.entry(key.to_ascii_lowercase()).or_insert_with(|| vec![value]);
    }
    ask
}

fn why(verdict: Permission, silent: &str, action: &str) -> String {
    match verdict {
        Permission::Denied if silent == NO_RESOURCE => " with an explicit deny in a resource-based policy".to_owned(),
        Permission::Denied => " with an explicit deny in an identity-based policy".to_owned(),
        _ => format!(" because {silent} the {action} action"),
    }
}

/// A refusal in the words of the call's service. `template` is the launch template for whose sake something was asked.
fn refusal(call: &Call, ask: &Ask, why: &str, template: Option<&str>) -> ApiError {
    if let Some(template) = template {
        // Auto Scaling doesn't say which action is missing.
        let mut error =
            ApiError::new(403, "AccessDenied", format!("You are not authorized to use launch template: {template}"));
        error.denied = Some(ask.action.clone());
        return error;
    }
    let mut error = ApiError::denied(call.service, &call.caller.arn, &ask.action, &ask.resource, why);
    if call.service == Service::Ec2 {
        error.message = format!("You are not authorized to perform this operation. {}", error.message);
    }
    error
}

/// Tags in any of AWS's spellings, as a map.
pub(crate) fn tags_of(tags: &[Value]) -> BTreeMap<String, String> {
    let text = |tag: &Value, names: [&str; 2]| {
        names.iter().find_map(|name| tag.get(name)).and_then(Value::as_str).map(str::to_owned)
    };
    tags.iter()
        .filter_map(|tag| Some((text(tag, ["key", "Key"])?, text(tag, ["value", "Value"]).unwrap_or_default())))
        .collect()
}
