//! `DescribeInstances` and `DescribeInstanceTypes`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::super::wire::{ApiError, Call, Service, iso, page};
use super::super::super::world::{Group, Instance, Lifecycle, World, architecture, stable_hex};
use super::{filters, passes, tag_set, unknown_filter};

pub(super) fn describe(world: &World, call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let ids = args.texts("InstanceId");
    let filters = filters(args);
    let held = world.region(&call.caller.account, &call.region);
    let all: Vec<(&Group, &Instance)> = held
        .into_iter()
        .flat_map(|held| held.groups.values())
        .flat_map(|group| {
            let pool = group.warm_pool.iter().flat_map(|pool| &pool.instances);
            group.instances.iter().chain(pool).map(move |instance| (group, instance))
        })
        .collect();
    let unknown: Vec<&str> =
        ids.iter().filter(|id| !all.iter().any(|(_, instance)| instance.id == **id)).map(String::as_str).collect();
    if !unknown.is_empty() {
        return Err(ApiError::bad(
            "InvalidInstanceID.NotFound",
            format!("The instance ID '{}' does not exist", unknown.join(", ")),
        ));
    }
    let mut found = Vec::new();
    for (group, instance) in all {
        if !ids.is_empty() && !ids.contains(&instance.id) {
            continue;
        }
        let tags = tags(group, instance);
        let values = [
            ("instance-id", instance.id.clone()),
            ("image-id", instance.image.clone()),
            ("instance-type", instance.instance_type.clone()),
            ("instance-state-name", state(instance).1.to_owned()),
            ("availability-zone", instance.zone.clone()),
        ];
        let mut keep = true;
        for (name, wanted) in &filters {
            keep &= passes(name, wanted, &values, &tags).ok_or_else(|| unknown_filter(name))?;
        }
        if keep {
            found.push(shown(&call.caller.account, instance, &tags));
        }
    }
    let size = found.len().max(1);
    let (reservations, next) = page(found, args, "MaxResults", "NextToken", size, 1000)?;
    Ok(json!({ "reservationSet": reservations, "nextToken": next }))
}

fn tags(group: &Group, instance: &Instance) -> BTreeMap<String, String> {
    let mut tags = group.tags.clone();
    tags.insert("aws:autoscaling:groupName".to_owned(), group.name.clone());
    if let Some(template) = &instance.template {
        tags.insert("aws:ec2launchtemplate:id".to_owned(), template.id.clone());
        tags.insert("aws:ec2launchtemplate:version".to_owned(), template.version.clone());
    }
    tags
}

fn state(instance: &Instance) -> (i64, &'static str) {
    match instance.lifecycle {
        Lifecycle::Pending | Lifecycle::WarmedPending => (0, "pending"),
        Lifecycle::Terminating | Lifecycle::WarmedTerminating => (32, "shutting-down"),
        Lifecycle::WarmedStopped | Lifecycle::WarmedHibernated => (80, "stopped"),
        _ => (16, "running"),
    }
}

fn shown(account: &str, instance: &Instance, tags: &BTreeMap<String, String>) -> Value {
    let (code, name) = state(instance);
    json!({
        "reservationId": format!("r-0{}", stable_hex(&["reservation", &instance.id], 16)),
        "ownerId": account,
        "groupSet": [],
        "instancesSet": [{
            "instanceId": instance.id,
            "imageId": instance.image,
            "instanceState": { "code": code, "name": name },
            "instanceType": instance.instance_type,
            "architecture": architecture(&instance.instance_type),
            "launchTime": iso(instance.launched),
            "placement": { "availabilityZone": instance.zone, "tenancy": "default" },
            "amiLaunchIndex": 0,
            "rootDeviceType": "ebs",
            "virtualizationType": "hvm",
            "hypervisor": "xen",
            "tagSet": tag_set(tags),
        }],
    })
}

pub(super) fn describe_types(call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let mut types = args.texts("InstanceType");
    if let Some(wrong) = types.iter().find(|name| !name.contains('.')) {
        return Err(ApiError::bad(
            "InvalidInstanceType",
            format!("The following supplied instance types do not exist: [{wrong}]"),
        ));
    }
    if types.len() > 100 {
        return Err(ApiError::invalid(Service::Ec2, "At most 100 instance types can be asked for."));
    }
    let filters = filters(args);
    if types.is_empty() {
        // What a filter names exists, as far as this simulator is asked.
        types =
            filters.iter().filter(|(name, _)| name == "instance-type").flat_map(|(_, wanted)| wanted.clone()).collect();
        types.retain(|name| name.contains('.') && !name.contains(['*', '?']));
    }
    if types.is_empty() {
        types = ["m6g.large", "m7i.large", "t3.micro", "t3.small", "t4g.small"].map(str::to_owned).to_vec();
    }
    let mut found = Vec::new();
    for name in types {
        let values = [("instance-type", name.clone()), ("current-generation", "true".to_owned())];
        let mut keep = true;
        for (filter, wanted) in &filters {
            keep &= passes(filter, wanted, &values, &BTreeMap::new()).ok_or_else(|| unknown_filter(filter))?;
        }
        if keep {
            found.push(name);
        }
    }
    let shown = found.iter().map(|name| {
        json!({
            "instanceType": name,
            "currentGeneration": true,
            "bareMetal": false,
            "hypervisor": "nitro",
            "processorInfo": { "supportedArchitectures": [architecture(name)] },
            "vCpuInfo": { "defaultVCpus": 2 },
            "memoryInfo": { "sizeInMiB": 2048 },
        })
    });
    let (types, next) = page(shown.collect(), args, "MaxResults", "NextToken", 100, 100)?;
    Ok(json!({ "instanceTypeSet": types, "nextToken": next }))
}

#[cfg(test)]
mod tests {
    use super::super::super::super::world::architecture;

    #[test]
    fn graviton_is_told_from_intel() {
        for (name, expected) in
            [("t4g.small", "arm64"), ("m6gd.large", "arm64"), ("g5.xlarge", "x86_64"), ("m7i.large", "x86_64")]
        {
            assert_eq!(architecture(name), expected, "{name}");
        }
    }
}
