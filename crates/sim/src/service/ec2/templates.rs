//! Launch templates and their versions.

use serde_json::{Map, Value, json};

use super::super::super::wire::{ApiError, Args, Call, Service, iso, page};
use super::super::super::world::{LaunchTemplate, TemplateVersion, World};
use super::template_data::{from_request, to_response};
use super::{filters, passes, tag_set, unknown_filter};

fn not_found(id: Option<&str>, name: Option<&str>) -> ApiError {
    match (id, name) {
        (Some(id), _) => ApiError::bad(
            "InvalidLaunchTemplateId.NotFound",
            format!("The specified launch template, with template ID {id}, does not exist."),
        ),
        (None, name) => ApiError::bad(
            "InvalidLaunchTemplateName.NotFoundException",
            format!(
                "At least one of the launch templates specified in the request does not exist. Launch template {} \
                 not found.",
                name.unwrap_or_default()
            ),
        ),
    }
}

/// The template's id, from a call that names it by id or by name and never both.
fn named(world: &World, call: &Call) -> Result<String, ApiError> {
    let args = call.args();
    let (id, name) = (args.text("LaunchTemplateId"), args.text("LaunchTemplateName"));
    match (id, name) {
        (Some(_), Some(_)) => Err(ApiError::bad(
            "InvalidParameterCombination",
            "You can't specify both LaunchTemplateId and LaunchTemplateName. Specify one of them.",
        )),
        (None, None) => Err(ApiError::missing(Service::Ec2, "LaunchTemplateId or LaunchTemplateName")),
        _ => {
            let held = world.region(&call.caller.account, &call.region);
            let found = held.and_then(|held| {
                held.templates.values().find(|template| {
                    id.is_some_and(|id| template.id == id) || name.is_some_and(|name| template.name == name)
                })
            });
            found.map(|template| template.id.clone()).ok_or_else(|| not_found(id, name))
        }
    }
}

fn template<'a>(world: &'a World, call: &Call, id: &str) -> Result<&'a LaunchTemplate, ApiError> {
    let held = world.region(&call.caller.account, &call.region);
    held.and_then(|held| held.templates.get(id)).ok_or_else(|| not_found(Some(id), None))
}

pub(super) fn describe(world: &World, call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let (ids, names, filters) = (args.texts("LaunchTemplateId"), args.texts("LaunchTemplateName"), filters(args));
    let held = world.region(&call.caller.account, &call.region);
    let all: Vec<&LaunchTemplate> = held.into_iter().flat_map(|held| held.templates.values()).collect();
    if let Some(id) = ids.iter().find(|id| !all.iter().any(|template| template.id == **id)) {
        return Err(not_found(Some(id), None));
    }
    if let Some(name) = names.iter().find(|name| !all.iter().any(|template| template.name == **name)) {
        return Err(not_found(None, Some(name)));
    }
    let mut found = Vec::new();
    for template in all {
        let mut keep =
            (ids.is_empty() && names.is_empty()) || ids.contains(&template.id) || names.contains(&template.name);
        let values = [("launch-template-name", template.name.clone())];
        for (name, wanted) in &filters {
            keep &= passes(name, wanted, &values, &template.tags).ok_or_else(|| unknown_filter(name))?;
        }
        if keep {
            found.push(shown(template));
        }
    }
    let (templates, next) = page(found, args, "MaxResults", "NextToken", 200, 200)?;
    Ok(json!({ "launchTemplates": templates, "nextToken": next }))
}

fn shown(template: &LaunchTemplate) -> Value {
    json!({
        "launchTemplateId": template.id,
        "launchTemplateName": template.name,
        "createTime": iso(template.created),
        "createdBy": template.created_by,
        "defaultVersionNumber": template.default,
        "latestVersionNumber": template.latest(),
        "tagSet": tag_set(&template.tags),
    })
}

fn shown_version(template: &LaunchTemplate, version: &TemplateVersion, data: &Map<String, Value>) -> Value {
    json!({
        "launchTemplateId": template.id,
        "launchTemplateName": template.name,
        "versionNumber": version.number,
        "versionDescription": version.description,
        "createTime": iso(version.created),
        "createdBy": version.created_by,
        "defaultVersion": version.number == template.default,
        "launchTemplateData": to_response(data),
    })
}

pub(super) fn describe_versions(world: &World, call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let wanted = args.texts("LaunchTemplateVersion");
    let held = world.region(&call.caller.account, &call.region);
    // Without a template: the latest or default versions of all.
    let templates: Vec<&LaunchTemplate> = if args.has("LaunchTemplateId") || args.has("LaunchTemplateName") {
        vec![template(world, call, &named(world, call)?)?]
    } else if !wanted.is_empty() && wanted.iter().all(|version| version.starts_with('$')) {
        held.into_iter().flat_map(|held| held.templates.values()).collect()
    } else {
        return Err(ApiError::missing(Service::Ec2, "LaunchTemplateId or LaunchTemplateName"));
    };
    let bound = |name: &str| -> Result<Option<i64>, ApiError> { args.int(name) };
    let (least, most) = (bound("MinVersion")?, bound("MaxVersion")?);
    let resolve = args.flag("ResolveAlias").unwrap_or(false);
    let mut found = Vec::new();
    for template in templates {
        let numbers: Vec<i64> = if wanted.is_empty() {
            // AWS's model: "the version number after which to describe", "up to which to describe".
            let within =
                |number: &i64| least.is_none_or(|least| *number > least) && most.is_none_or(|most| *number <= most);
            template.versions.keys().rev().copied().filter(within).collect()
        } else {
            let number = |version: &String| {
                template.number(version).filter(|_| !version.is_empty()).ok_or_else(|| {
                    ApiError::bad(
                        "InvalidLaunchTemplateId.VersionNotFound",
                        format!(
                            "Could not find the specified version {version} for the launch template with ID {}.",
                            template.id
                        ),
                    )
                })
            };
            let mut numbers = wanted.iter().map(number).collect::<Result<Vec<_>, _>>()?;
            numbers.sort_unstable_by(|one, other| other.cmp(one));
            numbers.dedup();
            numbers
        };
        for version in numbers.iter().filter_map(|number| template.versions.get(number)) {
            let mut data = version.data.clone();
            if resolve && let Some(named) = data.get("ImageId").and_then(Value::as_str) {
                let image = world.resolve_image(&call.caller.account, &call.region, named).ok_or_else(|| {
                    ApiError::bad("InvalidParameterValue", format!("The parameter {named} can't be resolved."))
                })?;
                data.insert("ImageId".to_owned(), image.into());
            }
            found.push(shown_version(template, version, &data));
        }
    }
    let (versions, next) = page(found, args, "MaxResults", "NextToken", 200, 200)?;
    Ok(json!({ "launchTemplateVersionSet": versions, "nextToken": next }))
}

/// What a request asks for, its token aside: the same again must give the same version.
fn asked(args: Args<'_>) -> Value {
    let mut asked = args.value.clone();
    if let Some(map) = asked.as_object_mut() {
        map.remove("ClientToken");
    }
    asked
}

pub(super) fn create_version(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let id = named(world, call)?;
    let Some(data) = args.at("LaunchTemplateData") else {
        return Err(ApiError::missing(Service::Ec2, "LaunchTemplateData"));
    };
    let held = template(world, call, &id)?;
    let token = args.text("ClientToken");
    if token.is_some_and(|token| token.len() > 128 || !token.is_ascii()) {
        return Err(ApiError::bad("InvalidParameterValue", "ClientToken must be at most 128 ASCII characters."));
    }
    if let Some((before, number)) = token.and_then(|token| held.tokens.get(token)) {
        if *before != asked(args) {
            return Err(ApiError::bad(
                "IdempotentParameterMismatch",
                "The client token you have provided is associated with a resource of different parameters. Please \
                 use a different client token.",
            ));
        }
        let version = held.versions.get(number).ok_or_else(|| not_found(Some(&id), None))?;
        return Ok(json!({ "launchTemplateVersion": shown_version(held, version, &version.data) }));
    }
    let mut content = match args.text("SourceVersion") {
        None => Map::new(),
        Some(source) => {
            let version = held.number(source).and_then(|number| held.versions.get(&number));
            let version = version.ok_or_else(|| {
                ApiError::bad(
                    "InvalidLaunchTemplateId.VersionNotFound",
                    format!("Could not find the specified version {source} for the launch template with ID {id}."),
                )
            })?;
            without_snapshots(version.data.clone())
        }
    };
    content.extend(from_request(data.value));
    let warning = warning(world, call, &content);

    let (wall, created_by) = (world.wall, call.caller.arn.clone());
    let description = args.text("VersionDescription").map(str::to_owned);
    let remembered = token.map(|token| (token.to_owned(), asked(args)));
    let held = world.region_mut(&call.caller.account, &call.region).templates.get_mut(&id);
    let held = held.ok_or_else(|| not_found(Some(&id), None))?;
    if held.versions.len() >= 10_000 {
        return Err(ApiError::bad(
            "VersionLimitExceeded",
            "The launch template has reached the limit of versions (10000).",
        ));
    }
    let number = held.latest() + 1;
    let version = TemplateVersion { number, description, created: wall, created_by, data: content };
    if let Some((token, asked)) = remembered {
        held.tokens.insert(token, (asked, number));
    }
    held.versions.insert(number, version.clone());
    Ok(json!({
        "launchTemplateVersion": shown_version(held, &version, &version.data),
        "warning": warning,
    }))
}

/// "Snapshots applied to the block device mapping are ignored when creating a new version unless they are explicitly
/// included": what AWS's model says of `SourceVersion`.
fn without_snapshots(mut data: Map<String, Value>) -> Map<String, Value> {
    let devices = data.get_mut("BlockDeviceMappings").and_then(Value::as_array_mut);
    for device in devices.into_iter().flatten() {
        if let Some(ebs) = device.get_mut("Ebs").and_then(Value::as_object_mut) {
            ebs.remove("SnapshotId");
        }
    }
    data
}

/// EC2's remarks on parameters that launching would stumble over; creating the version succeeds all the same.
fn warning(world: &World, call: &Call, data: &Map<String, Value>) -> Option<Value> {
    let named = data.get("ImageId").and_then(Value::as_str)?;
    if named.starts_with("resolve:ssm:") || world.image(&call.region, named).is_some() {
        return None;
    }
    Some(json!({ "errorSet": [{
        "code": "InvalidAMIID.NotFound",
        "message": format!("The image id '[{named}]' does not exist"),
    }] }))
}

pub(super) fn modify(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let id = named(world, call)?;
    let wanted = call.args().text("SetDefaultVersion").or_else(|| call.args().text("DefaultVersion"));
    let wanted = wanted.ok_or_else(|| ApiError::missing(Service::Ec2, "SetDefaultVersion"))?;
    let held = world.region_mut(&call.caller.account, &call.region).templates.get_mut(&id);
    let held = held.ok_or_else(|| not_found(Some(&id), None))?;
    held.default = held.number(wanted).ok_or_else(|| {
        ApiError::bad(
            "InvalidLaunchTemplateId.VersionNotFound",
            format!("Could not find the specified version {wanted} for the launch template with ID {id}."),
        )
    })?;
    Ok(json!({ "launchTemplate": shown(held) }))
}
