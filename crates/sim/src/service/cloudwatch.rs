//! CloudWatch: the states of alarms, in its JSON protocol.

use serde_json::{Value, json};

use super::super::wire::{ApiError, Call, Service};
use super::super::world::World;

/// How many alarms one call may name.
const NAMES: usize = 100;

pub(super) fn call(world: &World, call: &Call) -> Result<Value, ApiError> {
    match call.operation.as_str() {
        "DescribeAlarms" => describe_alarms(world, call),
        other => Err(ApiError::unknown_operation(Service::CloudWatch, other)),
    }
}

/// Alarms are told by their names only; each that is asked for is there.
fn describe_alarms(world: &World, call: &Call) -> Result<Value, ApiError> {
    let names = call.args().texts("AlarmNames");
    if names.len() > NAMES {
        return Err(ApiError::invalid(Service::CloudWatch, "At most 100 alarm names can be given.".to_owned()));
    }
    let region = world.region(&call.caller.account, &call.region);
    let state = |name: &String| region.and_then(|region| region.alarms.get(name)).map_or("OK", |state| state.name());
    let alarm = |name: &String| {
        let arn = format!("arn:aws:cloudwatch:{}:{}:alarm:{name}", call.region, call.caller.account);
        json!({ "AlarmName": name, "AlarmArn": arn, "StateValue": state(name), "ActionsEnabled": true })
    };
    Ok(json!({ "MetricAlarms": names.iter().map(alarm).collect::<Vec<_>>(), "CompositeAlarms": [] }))
}
