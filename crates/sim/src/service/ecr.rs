//! Container registries.

use serde_json::{Map, Value, json};

use super::super::iam;
use super::super::wire::{ApiError, Args, Call, Service, epoch, page};
use super::super::world::{ContainerImage, Repository, World};

pub(super) fn call(world: &World, call: &Call) -> Result<Value, ApiError> {
    match call.operation.as_str() {
        "DescribeImages" => describe_images(world, call),
        "BatchGetImage" => batch_get_image(world, call),
        "DescribeRepositories" => describe_repositories(world, call),
        other => Err(ApiError::unknown_operation(Service::Ecr, other)),
    }
}

/// The registry that a call is about.
fn registry(call: &Call) -> &str {
    call.args().text("registryId").unwrap_or(&call.caller.account)
}

fn arn(call: &Call, repository: &str) -> String {
    format!("arn:aws:ecr:{}:{}:repository/{repository}", call.region, registry(call))
}

/// The repository, if it exists and its policy lets the caller read it.
fn repository<'a>(world: &'a World, call: &Call, name: &str) -> Result<&'a Repository, ApiError> {
    let registry = registry(call);
    let held = world.region(registry, &call.region).and_then(|held| held.repositories.get(name));
    let held = held.ok_or_else(|| {
        ApiError::bad(
            "RepositoryNotFoundException",
            format!("The repository with name '{name}' does not exist in the registry with id '{registry}'"),
        )
    })?;
    if registry != call.caller.account {
        iam::check_repository(call, held, &arn(call, name))?;
    }
    Ok(held)
}

/// An image; with an architecture, the one for it of an index.
type Found<'a> = (&'a ContainerImage, Option<&'a str>);

fn find<'a>(held: &'a Repository, id: Args<'_>) -> Option<Found<'a>> {
    match (id.text("imageDigest"), id.text("imageTag")) {
        // The images of an index have no tags.
        (Some(digest), tag) => {
            held.by_digest(digest).filter(|(image, of)| tag.is_none_or(|tag| of.is_none() && image.tags.contains(tag)))
        }
        (None, Some(tag)) => held.by_tag(tag).map(|image| (image, None)),
        (None, None) => None,
    }
}

fn digest((image, architecture): Found<'_>) -> String {
    architecture.map_or_else(|| image.digest.clone(), |architecture| image.member(architecture))
}

fn ids<'a>(call: &'a Call) -> Result<Vec<Args<'a>>, ApiError> {
    let ids = call.args().list("imageIds");
    if ids.len() > 100 {
        return Err(ApiError::invalid(
            Service::Ecr,
            "Invalid parameter at 'imageIds' failed to satisfy constraint: 'Member must have length less than or equal \
             to 100'",
        ));
    }
    Ok(ids.iter().map(|value| Args { service: Service::Ecr, value }).collect())
}

fn describe_images(world: &World, call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let name = args.required("repositoryName")?;
    let held = repository(world, call, name)?;
    let registry = registry(call);
    let asked = ids(call)?;
    let images: Vec<Found<'_>> = if asked.is_empty() {
        held.images.values().map(|image| (image, None)).collect()
    } else {
        let found = asked.iter().map(|id| {
            find(held, *id).ok_or_else(|| {
                let member = |name: &str| id.text(name).unwrap_or("null").to_owned();
                ApiError::bad(
                    "ImageNotFoundException",
                    format!(
                        "The image with imageId {{imageDigest:'{}', imageTag:'{}'}} does not exist within the \
                         repository with name '{name}' in the registry with id '{registry}'",
                        member("imageDigest"),
                        member("imageTag")
                    ),
                )
            })
        });
        found.collect::<Result<_, _>>()?
    };
    let details = images.into_iter().map(|found| {
        let (image, of) = found;
        json!({
            "registryId": registry,
            "repositoryName": name,
            "imageDigest": digest(found),
            "imageTags": if of.is_none() { json!(image.tags) } else { Value::Null },
            "imageSizeInBytes": 52_428_800,
            "imagePushedAt": epoch(image.pushed),
            "imageManifestMediaType": manifest(found).0,
            "artifactMediaType": "application/vnd.docker.container.image.v1+json",
        })
    });
    let (details, next) = page(details.collect(), args, "maxResults", "nextToken", 100, 1000)?;
    Ok(json!({ "imageDetails": details, "nextToken": next }))
}

/// Media type and manifest: an index where the image is for several architectures.
fn manifest((image, of): Found<'_>) -> (&'static str, Value) {
    if of.is_some() {
        let media = "application/vnd.oci.image.manifest.v1+json";
        return (media, json!({ "schemaVersion": 2, "mediaType": media, "layers": [] }));
    }
    if image.architectures.is_empty() {
        let media = "application/vnd.docker.distribution.manifest.v2+json";
        return (media, json!({ "schemaVersion": 2, "mediaType": media, "layers": [] }));
    }
    let media = "application/vnd.oci.image.index.v1+json";
    let manifests = image.architectures.iter().map(|architecture| {
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": image.member(architecture),
            "size": 1024,
            "platform": { "os": "linux", "architecture": architecture },
        })
    });
    (media, json!({ "schemaVersion": 2, "mediaType": media, "manifests": manifests.collect::<Vec<_>>() }))
}

fn batch_get_image(world: &World, call: &Call) -> Result<Value, ApiError> {
    let name = call.args().required("repositoryName")?;
    let held = repository(world, call, name)?;
    let (mut images, mut failures) = (Vec::new(), Vec::new());
    for id in ids(call)? {
        match find(held, id) {
            Some(found) => {
                let mut shown = Map::new();
                shown.insert("imageDigest".to_owned(), digest(found).into());
                if let Some(tag) = id.text("imageTag") {
                    shown.insert("imageTag".to_owned(), tag.into());
                }
                let (media, manifest) = manifest(found);
                images.push(json!({
                    "registryId": registry(call),
                    "repositoryName": name,
                    "imageId": shown,
                    "imageManifest": manifest.to_string(),
                    "imageManifestMediaType": media,
                }));
            }
            None => failures.push(json!({
                "imageId": id.value,
                "failureCode": "ImageNotFound",
                "failureReason": "Requested image not found",
            })),
        }
    }
    Ok(json!({ "images": images, "failures": failures }))
}

fn describe_repositories(world: &World, call: &Call) -> Result<Value, ApiError> {
    let args = call.args();
    let names = args.texts("repositoryNames");
    let registry = registry(call);
    let repositories: Vec<&Repository> = if names.is_empty() {
        let held = world.region(registry, &call.region);
        held.map(|held| held.repositories.values().collect()).unwrap_or_default()
    } else {
        names.iter().map(|name| repository(world, call, name)).collect::<Result<_, _>>()?
    };
    let shown = repositories.into_iter().map(|held| {
        json!({
            "repositoryArn": arn(call, &held.name),
            "registryId": registry,
            "repositoryName": held.name,
            "repositoryUri": format!("{registry}.dkr.ecr.{}.amazonaws.com/{}", call.region, held.name),
            "createdAt": epoch(held.created),
            "imageTagMutability": "MUTABLE",
        })
    });
    let (repositories, next) = page(shown.collect(), args, "maxResults", "nextToken", 100, 1000)?;
    Ok(json!({ "repositories": repositories, "nextToken": next }))
}
