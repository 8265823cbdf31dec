//! STS: roles and identities.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::iam;
use super::super::wire::{ApiError, Call, Service, iso};
use super::super::world::{Session, World, stable_hex};

pub(super) fn call(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    match call.operation.as_str() {
        "AssumeRole" => assume_role(world, call),
        "GetCallerIdentity" => Ok(json!({
            "UserId": call.caller.user_id,
            "Account": call.caller.account,
            "Arn": call.caller.arn,
        })),
        other => Err(ApiError::unknown_operation(Service::Sts, other)),
    }
}

fn assume_role(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let role_arn = args.required("RoleArn")?;
    let name = args.required("RoleSessionName")?;
    if !(2..=64).contains(&name.len()) || !name.chars().all(|one| one.is_ascii_alphanumeric() || "_=,.@-".contains(one))
    {
        return Err(ApiError::invalid(
            Service::Sts,
            format!(
                "1 validation error detected: Value '{name}' at 'roleSessionName' failed to satisfy constraint: Member \
                 must satisfy regular expression pattern: [\\w+=,.@-]*"
            ),
        ));
    }
    let duration = args.bounded("DurationSeconds", 900, 43_200)?.unwrap_or(3600);
    let external_id = args.text("ExternalId");
    if external_id.is_some_and(|it| !(2..=1224).contains(&it.len())) {
        return Err(ApiError::invalid(
            Service::Sts,
            "1 validation error detected: Value at 'externalId' failed to satisfy constraint: Member must have length \
             between 2 and 1224",
        ));
    }

    // Whatever is wrong with the trust, the answer doesn't say what.
    let denied = || ApiError::denied(Service::Sts, &call.caller.arn, "sts:AssumeRole", role_arn, "");
    let rest = role_arn
        .strip_prefix("arn:aws:iam::")
        .ok_or_else(|| ApiError::invalid(Service::Sts, format!("{role_arn} is invalid")))?;
    let (account, role_name) = rest.split_once(":role/").ok_or_else(denied)?;
    let role_name = role_name.rsplit('/').next().unwrap_or(role_name);
    let role = world.accounts.get(account).and_then(|held| held.roles.get(role_name)).ok_or_else(denied)?;
    if role.external_id.is_some() && role.external_id.as_deref() != external_id {
        return Err(denied());
    }
    iam::check_trust(world, call, role_arn, role)?;
    if call.caller.is_session && duration > 3600 {
        return Err(ApiError::invalid(
            Service::Sts,
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
        ));
    }
    if duration > role.max_session {
        return Err(ApiError::invalid(
            Service::Sts,
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        ));
    }

    world.issued += 1;
    // The time is in it so that a simulator started afresh never takes an earlier one's key for another account's.
    let (wall, number) = (world.wall.to_string(), world.issued.to_string());
    let draw = |what: &str, length| stable_hex(&[what, &wall, &number, role_arn, name], length);
    let key = format!("ASIA{}", draw("key", 16).to_ascii_uppercase());
    let (secret, token) = (draw("secret", 40), draw("token", 160));
    let expires = world.wall + duration * 1000;
    let role_id = role_id(account, role_name);
    // Tags that are inherited can't be given again.
    let mut tags: BTreeMap<String, String> =
        call.caller.tags.clone().into_iter().filter(|(key, _)| call.caller.transitive.contains(key)).collect();
    for (key, value) in iam::tags_of(args.list("Tags")) {
        tags.entry(key).or_insert(value);
    }
    let mut transitive = call.caller.transitive.clone();
    transitive.extend(args.texts("TransitiveTagKeys"));
    let session = Session {
        account: account.to_owned(),
        role: role_name.to_owned(),
        name: name.to_owned(),
        token: token.clone(),
        expires,
        tags,
        transitive,
    };
    world.sessions.retain(|_, held| held.expires > world.wall);
    world.sessions.insert(key.clone(), session);
    Ok(json!({
        "Credentials": {
            "AccessKeyId": key,
            "SecretAccessKey": secret,
            "SessionToken": token,
            // To the second, as AWS has it.
            "Expiration": iso(expires - expires % 1000),
        },
        "AssumedRoleUser": {
            "AssumedRoleId": format!("{role_id}:{name}"),
            "Arn": format!("arn:aws:sts::{account}:assumed-role/{role_name}/{name}"),
        },
    }))
}

/// The unique id of a role, the same each time.
pub(crate) fn role_id(account: &str, role: &str) -> String {
    format!("AROA{}", stable_hex(&["role", account, role], 17).to_ascii_uppercase())
}
