//! `DescribeImages`.

use serde_json::{Value, json};

use super::super::super::wire::{ApiError, Call, iso, page};
use super::super::super::world::{Image, Visible, World};
use super::{filters, passes, tag_set, unknown_filter};

pub(super) fn describe(world: &World, call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let account = call.caller.account.as_str();
    let ids = args.texts("ImageId");
    let owners = args.texts("Owner");
    let deprecated = args.flag("IncludeDeprecated").unwrap_or(false);
    let disabled = args.flag("IncludeDisabled").unwrap_or(false);

    for id in &ids {
        if !well_formed(id) {
            return Err(ApiError::bad("InvalidAMIID.Malformed", format!("Invalid id: \"{id}\"")));
        }
    }
    let unknown: Vec<&str> = ids
        .iter()
        .filter(|id| {
            let found = world.image(&call.region, id);
            found.is_none_or(|image| image.visible(account, world.now) == Visible::No)
        })
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        let (subject, verb) =
            if unknown.len() == 1 { ("image id", "does not exist") } else { ("image ids", "do not exist") };
        return Err(ApiError::bad("InvalidAMIID.NotFound", format!("The {subject} '[{}]' {verb}", unknown.join(", "))));
    }

    let filters = filters(args);
    let mut found = Vec::new();
    let all = world.accounts.values().filter_map(|held| held.regions.get(&call.region));
    for image in all.flat_map(|held| held.images.values()) {
        let own = image.owner == account;
        let named = ids.contains(&image.id);
        let owned = owners.is_empty() || owners.iter().any(|owner| (owner == "self" && own) || *owner == image.owner);
        let shown = image.visible(account, world.now) == Visible::Yes
            && (ids.is_empty() || named)
            && owned
            && (!image.deprecated || own || deprecated)
            && (image.state != "disabled" || disabled || named);
        if shown && keep(image, &filters)? {
            found.push(shown_image(image));
        }
    }
    let size = found.len().max(1);
    let (images, next) = page(found, args, "MaxResults", "NextToken", size, 1000)?;
    Ok(json!({ "imagesSet": images, "nextToken": next }))
}

fn keep(image: &Image, filters: &[(String, Vec<String>)]) -> Result<bool, ApiError> {
    let values = [
        ("name", image.name.clone()),
        ("state", image.state.clone()),
        ("owner-id", image.owner.clone()),
        ("image-id", image.id.clone()),
        ("architecture", image.architecture.clone()),
        ("description", image.description.clone()),
        ("is-public", image.public.to_string()),
        ("image-type", "machine".to_owned()),
        ("root-device-type", "ebs".to_owned()),
        ("virtualization-type", "hvm".to_owned()),
    ];
    for (name, wanted) in filters {
        if !passes(name, wanted, &values, &image.tags).ok_or_else(|| unknown_filter(name))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `ami-` and 8 or 17 hexadecimal digits.
fn well_formed(id: &str) -> bool {
    id.strip_prefix("ami-")
        .is_some_and(|rest| matches!(rest.len(), 8 | 17) && rest.chars().all(|digit| digit.is_ascii_hexdigit()))
}

fn shown_image(image: &Image) -> Value {
    json!({
        "imageId": image.id,
        "imageLocation": format!("{}/{}", image.owner, image.name),
        "imageState": image.state,
        "imageOwnerId": image.owner,
        "creationDate": iso(image.created),
        "isPublic": image.public,
        "architecture": image.architecture,
        "imageType": "machine",
        "name": image.name,
        "description": image.description,
        "rootDeviceType": "ebs",
        "rootDeviceName": "/dev/xvda",
        "virtualizationType": "hvm",
        "hypervisor": "xen",
        "enaSupport": true,
        "platformDetails": "Linux/UNIX",
        "deprecationTime": image.deprecated.then(|| iso(image.created)),
        "tagSet": tag_set(&image.tags),
    })
}
