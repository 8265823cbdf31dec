//! Task definitions, and tags.

use serde_json::{Map, Value, json};

use super::super::super::wire::{ApiError, Call, epoch, page};
use super::super::super::world::{TaskDefinition, World};
use super::{client, invalid};

/// What ECS fills in where a container definition says nothing.
fn container_defaults() -> [(&'static str, Value); 7] {
    [
        ("cpu", json!(0)),
        ("environment", json!([])),
        ("essential", json!(true)),
        ("mountPoints", json!([])),
        ("portMappings", json!([])),
        ("systemControls", json!([])),
        ("volumesFrom", json!([])),
    ]
}

/// A task definition as DescribeTaskDefinition shows it.
fn shown(definition: &TaskDefinition) -> Value {
    let mut shown = definition.registered.clone();
    for (name, value) in [("volumes", json!([])), ("placementConstraints", json!([]))] {
        shown.entry(name).or_insert(value);
    }
    let awsvpc = shown.get("networkMode").and_then(Value::as_str) == Some("awsvpc");
    let containers = shown.get_mut("containerDefinitions").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
        for (name, default) in container_defaults() {
            container.entry(name).or_insert(default);
        }
        let ports = container.get_mut("portMappings").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            port.entry("protocol").or_insert_with(|| "tcp".into());
            if let Some(number) = port.get("containerPort").cloned().filter(|_| awsvpc) {
                port.entry("hostPort").or_insert(number);
            }
        }
    }
    shown.insert("taskDefinitionArn".to_owned(), definition.arn.clone().into());
    shown.insert("revision".to_owned(), definition.revision.into());
    shown.insert("status".to_owned(), if definition.active { "ACTIVE" } else { "INACTIVE" }.into());
    shown.insert("requiresAttributes".to_owned(), json!([{ "name": "com.amazonaws.ecs.capability.ecr-auth" }]));
    shown.insert("compatibilities".to_owned(), json!(["EC2", "FARGATE"]));
    shown.insert("registeredAt".to_owned(), epoch(definition.registered_at));
    shown.insert("registeredBy".to_owned(), definition.registered_by.clone().into());
    if let Some(at) = definition.deregistered_at {
        shown.insert("deregisteredAt".to_owned(), epoch(at));
    }
    Value::Object(shown)
}

/// AWS's limits of tags: 50 on a resource, keys of 128 characters, values of 256, and none of AWS's own.
fn check_tags(new: &[Value], all: usize) -> Result<(), ApiError> {
    let own = |tag: &&Value| {
        let key = tag.get("key").and_then(Value::as_str).unwrap_or_default();
        key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"))
    };
    if all > 50 {
        return Err(invalid("Too many tags. The number of tags on a resource must not exceed 50."));
    }
    if new.iter().any(|tag| own(&tag)) {
        return Err(invalid("Tag keys that begin with aws: are reserved."));
    }
    for tag in new {
        let length = |member: &str| tag.get(member).and_then(Value::as_str).unwrap_or_default().chars().count();
        if !(1..=128).contains(&length("key")) || length("value") > 256 {
            return Err(invalid("Tag keys have 1 to 128 characters, and values at most 256."));
        }
    }
    Ok(())
}

pub(super) fn register(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let family = args.required("family")?;
    if family.len() > 255 || !family.chars().all(|one| one.is_ascii_alphanumeric() || one == '-' || one == '_') {
        return Err(client(format!("Invalid family name: {family}")));
    }
    let containers = args.list("containerDefinitions");
    if containers.is_empty() {
        return Err(client("Container list cannot be empty."));
    }
    for container in containers {
        for member in ["name", "image"] {
            if container.get(member).and_then(Value::as_str).is_none_or(str::is_empty) {
                return Err(client(format!("Container.{member} should not be null or empty.")));
            }
        }
    }
    let fargate = args.texts("requiresCompatibilities").iter().any(|it| it == "FARGATE");
    if fargate && !(args.has("cpu") && args.has("memory")) {
        return Err(client("Fargate requires that 'cpu' be defined at the task level."));
    }
    if fargate && args.text("networkMode") != Some("awsvpc") {
        return Err(client("Fargate only supports network mode ‘awsvpc’."));
    }
    if args.has("tags") && args.list("tags").is_empty() {
        return Err(invalid("Tags can not be empty."));
    }
    check_tags(args.list("tags"), args.list("tags").len())?;
    // Every member is kept, whether or not this simulator knows it.
    let registered: Map<String, Value> = call.params.as_object().cloned().unwrap_or_default();
    let tags = args.list("tags").to_vec();
    let (account, region) = (call.caller.account.as_str(), call.region.as_str());
    let wall = world.wall;
    let arn = world.register(account, region, registered, tags, &call.caller.arn, wall);
    let definition = arn.and_then(|arn| world.task_definition(account, region, &arn));
    let definition = definition.ok_or_else(|| client("Unable to register the task definition."))?;
    Ok(json!({ "taskDefinition": shown(definition), "tags": definition.tags }))
}

fn find<'a>(world: &'a World, call: &Call) -> Result<&'a TaskDefinition, ApiError> {
    let asked = call.args().required("taskDefinition")?;
    world
        .task_definition(&call.caller.account, &call.region, asked)
        .ok_or_else(|| client("Unable to describe task definition."))
}

pub(super) fn describe(world: &World, call: &Call) -> Result<Value, ApiError> {
    let definition = find(world, call)?;
    let mut answer = json!({ "taskDefinition": shown(definition) });
    if call.args().texts("include").iter().any(|it| it == "TAGS")
        && let Some(map) = answer.as_object_mut()
    {
        map.insert("tags".to_owned(), definition.tags.clone().into());
    }
    Ok(answer)
}

pub(super) fn list(world: &World, call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let active = match args.text("status").unwrap_or("ACTIVE") {
        "ACTIVE" => true,
        "INACTIVE" => false,
        other => return Err(invalid(format!("{other} is not a task definition status."))),
    };
    let held = world.region(&call.caller.account, &call.region);
    // AWS takes the prefix as a whole family name.
    let families = held.into_iter().flat_map(|held| held.task_definitions.iter());
    let wanted = families.filter(|(family, _)| args.text("familyPrefix").is_none_or(|asked| asked == **family));
    let mut arns: Vec<&String> = wanted
        .flat_map(|(_, revisions)| revisions.iter())
        .filter(|definition| definition.active == active)
        .map(|definition| &definition.arn)
        .collect();
    match args.text("sort").unwrap_or("ASC") {
        "ASC" => {}
        "DESC" => arns.reverse(),
        other => return Err(invalid(format!("{other} is not a sort order."))),
    }
    let (arns, next) = page(arns, args, "maxResults", "nextToken", 100, 100)?;
    Ok(json!({ "taskDefinitionArns": arns, "nextToken": next }))
}

fn find_mut<'a>(world: &'a mut World, call: &Call, arn: &str) -> Option<&'a mut TaskDefinition> {
    let held = world.region_mut(&call.caller.account, &call.region);
    held.task_definitions.values_mut().flatten().find(|definition| definition.arn == arn)
}

pub(super) fn deregister(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    if !call.args().required("taskDefinition")?.contains(':') {
        return Err(client("Invalid revision number. Number: "));
    }
    let arn = find(world, call)?.arn.clone();
    let wall = world.wall;
    let definition = find_mut(world, call, &arn).ok_or_else(|| client("Unable to describe task definition."))?;
    definition.active = false;
    definition.deregistered_at = Some(wall);
    Ok(json!({ "taskDefinition": shown(definition) }))
}

/// The tags of whatever has an ARN here.
fn tags_of<'a>(world: &'a mut World, call: &Call) -> Result<&'a mut Vec<Value>, ApiError> {
    let arn = call.args().required("resourceArn")?;
    let held = world.region_mut(&call.caller.account, &call.region);
    if let Some(definition) = held.task_definitions.values_mut().flatten().find(|one| one.arn == arn) {
        return Ok(&mut definition.tags);
    }
    for cluster in held.clusters.values_mut() {
        if cluster.arn == arn {
            return Ok(&mut cluster.tags);
        }
        if let Some(service) = cluster.services.values_mut().find(|service| service.arn == arn) {
            return Ok(&mut service.tags);
        }
    }
    Err(invalid("The specified resource is not found. Specify a valid resource ARN and try again."))
}

pub(super) fn tag(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let new = call.args().list("tags").to_vec();
    let tags = tags_of(world, call)?;
    let others = tags.iter().filter(|held| !new.iter().any(|tag| tag.get("key") == held.get("key"))).count();
    check_tags(&new, others + new.len())?;
    tags.retain(|held| !new.iter().any(|tag| tag.get("key") == held.get("key")));
    tags.extend(new);
    Ok(json!({}))
}

pub(super) fn list_tags(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    Ok(json!({ "tags": tags_of(world, call)? }))
}
