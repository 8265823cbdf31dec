//! Parameter Store.

use serde_json::{Value, json};

use super::super::wire::{ApiError, Call, Service, epoch};
use super::super::world::{Found, World};

pub(super) fn call(world: &World, call: &Call) -> Result<Value, ApiError> {
    match call.operation.as_str() {
        "GetParameters" => get_parameters(world, call),
        "GetParameter" => get_parameter(world, call),
        other => Err(ApiError::unknown_operation(Service::Ssm, other)),
    }
}

fn shown(found: &Found) -> Value {
    let slash = if found.name.starts_with('/') { "" } else { "/" };
    json!({
        "Name": found.name,
        "Type": found.kind,
        "Value": found.value,
        "Version": found.version,
        "Selector": found.selector,
        "LastModifiedDate": epoch(found.modified),
        "ARN": format!("arn:aws:ssm:{}:{}:parameter{slash}{}", found.region, found.owner, found.name),
        "DataType": found.data_type,
    })
}

fn get_parameters(world: &World, call: &Call) -> Result<Value, ApiError> {
    let mut names = call.args().texts("Names");
    if names.is_empty() || names.len() > 10 {
        return Err(ApiError::invalid(
            Service::Ssm,
            format!(
                "1 validation error detected: Value '[{}]' at 'names' failed to satisfy constraint: Member must have \
                 length less than or equal to 10, Member must have length greater than or equal to 1",
                names.join(", ")
            ),
        ));
    }
    names.sort();
    names.dedup();
    let (mut found, mut invalid) = (Vec::new(), Vec::new());
    for name in names {
        match world.parameter(&call.caller.account, &call.region, &name) {
            Some(parameter) => found.push(shown(&parameter)),
            None => invalid.push(name),
        }
    }
    Ok(json!({ "Parameters": found, "InvalidParameters": invalid }))
}

fn get_parameter(world: &World, call: &Call) -> Result<Value, ApiError> {
    let name = call.args().required("Name")?;
    if let Some(found) = world.parameter(&call.caller.account, &call.region, name) {
        return Ok(json!({ "Parameter": shown(&found) }));
    }
    let plain = name.rsplit_once(':').filter(|_| !name.starts_with("arn:")).map(|(plain, _)| plain);
    match plain.and_then(|plain| world.parameter(&call.caller.account, &call.region, plain)) {
        Some(_) => Err(ApiError::bad(
            "ParameterVersionNotFound",
            format!("Systems Manager could not find version or label of {name}. Verify the version and try again."),
        )),
        None => Err(ApiError::bad("ParameterNotFound", "")),
    }
}
