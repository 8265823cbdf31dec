//! EC2: images, launch templates and their versions, instances, instance types.

mod images;
mod instances;
mod template_data;
mod templates;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::wire::{ApiError, Args, Call, Service};
use super::super::world::World;
use super::matches;

pub(super) fn call(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    if call.args().flag("DryRun") == Some(true) {
        return Err(ApiError::new(412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set."));
    }
    match call.operation.as_str() {
        "DescribeImages" => images::describe(world, call),
        "DescribeLaunchTemplates" => templates::describe(world, call),
        "DescribeLaunchTemplateVersions" => templates::describe_versions(world, call),
        "CreateLaunchTemplateVersion" => templates::create_version(world, call),
        "ModifyLaunchTemplate" => templates::modify(world, call),
        "DescribeInstances" => instances::describe(world, call),
        "DescribeInstanceTypes" => instances::describe_types(call),
        other => Err(ApiError::unknown_operation(Service::Ec2, other)),
    }
}

/// `Filter.N.Name` and its values.
fn filters(args: Args<'_>) -> Vec<(String, Vec<String>)> {
    let all = args.list("Filter").iter().map(|value| Args { service: args.service, value });
    all.filter_map(|filter| Some((filter.text("Name")?.to_owned(), filter.texts("Value")))).collect()
}

/// Whether something with these values and tags passes one filter; `None` for a filter that it doesn't know.
fn passes(name: &str, wanted: &[String], values: &[(&str, String)], tags: &BTreeMap<String, String>) -> Option<bool> {
    let any = |text: &str| wanted.iter().any(|pattern| matches(pattern, text));
    if let Some(key) = name.strip_prefix("tag:") {
        return Some(tags.get(key).is_some_and(|value| any(value)));
    }
    if name == "tag-key" {
        return Some(tags.keys().any(|key| any(key)));
    }
    values.iter().find(|(known, _)| *known == name).map(|(_, value)| any(value))
}

fn unknown_filter(name: &str) -> ApiError {
    ApiError::bad("InvalidParameterValue", format!("The filter '{name}' is invalid"))
}

fn tag_set(tags: &BTreeMap<String, String>) -> Value {
    tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}
