//! Parameter Store.

use serde_json::{Value, json};

use super::super::wire::{ApiError, Args, Call, Service, epoch, page};
use super::super::world::{Found, Parameter, World};

pub(super) fn call(world: &World, call: &Call) -> Result<Value, ApiError> {
    match call.operation.as_str() {
        "DescribeParameters" => describe_parameters(world, call),
        "GetParameters" => get_parameters(world, call),
        "GetParameter" => get_parameter(world, call),
        other => Err(ApiError::unknown_operation(Service::Ssm, other)),
    }
}

fn shown(found: &Found) -> Value {
    json!({
        "Name": found.name,
        "Type": found.kind,
        "Value": found.value,
        "Version": found.version,
        "Selector": found.selector,
        "LastModifiedDate": epoch(found.modified),
        "ARN": arn(&found.region, &found.owner, &found.name),
        "DataType": found.data_type,
    })
}

/// The account's own parameters, without their values. Of the filters it has those by name, type and data type, that are equal.
fn describe_parameters(world: &World, call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let held = world.region(&call.caller.account, &call.region);
    let mut shown = Vec::new();
    for parameter in held.into_iter().flat_map(|held| held.parameters.values()) {
        if !keep(parameter, args)? {
            continue;
        }
        let Some((_, modified)) = parameter.versions.last() else { continue };
        shown.push(json!({
            "Name": parameter.name,
            "ARN": arn(&call.region, &call.caller.account, &parameter.name),
            "Type": parameter.kind,
            "LastModifiedDate": epoch(*modified),
            "LastModifiedUser": format!("arn:aws:iam::{}:root", call.caller.account),
            "Version": parameter.versions.len(),
            "Tier": "Standard",
            "Policies": [],
            "DataType": parameter.data_type,
        }));
    }
    let (shown, next) = page(shown, args, "MaxResults", "NextToken", 50, 50)?;
    Ok(json!({ "Parameters": shown, "NextToken": next }))
}

fn keep(parameter: &Parameter, args: Args<'_>) -> Result<bool, ApiError> {
    for value in args.list("ParameterFilters") {
        let filter = Args { service: Service::Ssm, value };
        let key = filter.required("Key")?;
        let is = match (key, filter.text("Option").unwrap_or("Equals")) {
            ("Name", "Equals") => &parameter.name,
            ("Type", "Equals") => &parameter.kind,
            ("DataType", "Equals") => &parameter.data_type,
            ("Name" | "Type" | "DataType", option) => {
                return Err(ApiError::bad(
                    "InvalidFilterOption",
                    format!("The filter option {option} isn't valid here."),
                ));
            }
            _ => return Err(ApiError::bad("InvalidFilterKey", "")),
        };
        if !filter.texts("Values").contains(is) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn arn(region: &str, account: &str, name: &str) -> String {
    let slash = if name.starts_with('/') { "" } else { "/" };
    format!("arn:aws:ssm:{region}:{account}:parameter{slash}{name}")
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
