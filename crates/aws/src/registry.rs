//! Container images in ECR, of any account and region, asked for with the target account's credentials: what it may not
//! see, its tasks may not pull.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ecr::types::ImageIdentifier;
use serde_json::Value;

use super::connection::Connection;
use super::operation::Operation;
use super::resolve::Resolved;
use pinion_core::model::{AccountId, Artifact, Digest, ErrorClass, ImageReference, PortError, ResolveError};

/// AWS's limit for the images named in one call.
const BATCH: usize = 100;
/// What a tag may lead to: an image, or an index of images for several architectures.
const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

type Query = (ImageReference, Option<Digest>);

/// What a registry says of one tag.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tagged {
    /// The digest, and the architectures of an image index.
    Digest(Digest, BTreeSet<String>),
    /// `failureCode` and `failureReason`.
    Failure(String, String),
}

impl Connection {
    /// Resolves queries for container images.
    pub(super) async fn container_images(&self, queries: &BTreeSet<Query>) -> Resolved<Query> {
        let mut resolved = BTreeMap::new();
        let mut repositories: BTreeMap<(&str, &str, &str), Vec<&Query>> = BTreeMap::new();
        for query in queries {
            match query.0.ecr() {
                Some((registry, region)) => {
                    repositories.entry((registry, region, &query.0.repository)).or_default().push(query);
                }
                // Another registry: ECS finds out whether the image exists.
                None => drop(
                    resolved.insert(query.clone(), Ok(artifact(&query.0, query.1.as_ref(), None, BTreeSet::new()))),
                ),
            }
        }
        for ((registry, region, repository), queries) in repositories {
            for batch in queries.chunks(BATCH) {
                let tags: BTreeSet<&str> = batch.iter().map(|(reference, _)| reference.tag.as_str()).collect();
                let tagged = self.batch_get_image(registry, region, repository, &tags).await;
                for query in batch {
                    let result = match &tagged {
                        Ok(tagged) => judge(&query.0, query.1.as_ref(), tagged.get(query.0.tag.as_str()), region),
                        Err(error) => Err(refusal(error, &query.0, registry, region, &self.account.id)),
                    };
                    resolved.insert((*query).clone(), result);
                }
            }
        }
        resolved
    }

    /// `BatchGetImage` rather than `DescribeImages`: one missing tag doesn't fail the others, and a repository policy
    /// that lets an account pull allows it already.
    async fn batch_get_image(
        &self,
        registry: &str,
        region: &str,
        repository: &str,
        tags: &BTreeSet<&str>,
    ) -> Result<BTreeMap<String, Tagged>, PortError> {
        let client = self.ecr(region);
        let answer = self
            .call(Operation::BatchGetImage, || {
                let ids = tags.iter().map(|tag| ImageIdentifier::builder().image_tag(*tag).build()).collect();
                client
                    .batch_get_image()
                    .registry_id(registry)
                    .repository_name(repository)
                    .set_image_ids(Some(ids))
                    .set_accepted_media_types(Some(MEDIA_TYPES.map(str::to_owned).to_vec()))
                    .send()
            })
            .await?;
        let mut tagged = BTreeMap::new();
        for failure in answer.failures.unwrap_or_default() {
            let Some(tag) = failure.image_id.and_then(|id| id.image_tag) else { continue };
            let code = failure.failure_code.map(|code| code.as_str().to_owned()).unwrap_or_default();
            tagged.insert(tag, Tagged::Failure(code, failure.failure_reason.unwrap_or_default()));
        }
        for image in answer.images.unwrap_or_default() {
            let Some(id) = image.image_id else { continue };
            let digest = id.image_digest.and_then(|digest| Digest::try_from(digest).ok());
            if let (Some(tag), Some(digest)) = (id.image_tag, digest) {
                let architectures = image.image_manifest.as_deref().map(architectures_of).unwrap_or_default();
                tagged.insert(tag, Tagged::Digest(digest, architectures));
            }
        }
        Ok(tagged)
    }
}

fn judge(
    reference: &ImageReference,
    pinned: Option<&Digest>,
    tagged: Option<&Tagged>,
    region: &str,
) -> Result<Artifact, ResolveError> {
    let text = match tagged {
        Some(Tagged::Digest(digest, architectures)) if pinned.is_none_or(|pinned| pinned == digest) => {
            return Ok(artifact(reference, pinned, Some(digest.clone()), architectures.clone()));
        }
        Some(Tagged::Digest(digest, _)) => {
            let pinned = pinned.map(ToString::to_string).unwrap_or_default();
            format!(
                "the tag of {reference} is on {digest} now, but the pin demands {pinned}: the tag was moved, or the digest \
                 is another version's; correct the pin's digest, or push the tag again"
            )
        }
        Some(Tagged::Failure(code, reason)) if code != "ImageNotFound" => {
            format!("{reference} can't be used: {code}: {reason}")
        }
        Some(Tagged::Failure(..)) | None => {
            format!("there is no image {reference} in {region}; check that it was pushed, and to this very repository")
        }
    };
    Err(ResolveError::Unusable(text))
}

/// What a call that failed means for an image.
fn refusal(
    error: &PortError,
    reference: &ImageReference,
    registry: &str,
    region: &str,
    account: &AccountId,
) -> ResolveError {
    let repository = &reference.repository;
    let text = match (error.code.as_str(), error.class) {
        ("RepositoryNotFoundException", _) => format!(
            "there is no ECR repository {repository} in {region} of account {registry}; check the name, the account and \
             the region in `image` ({error})"
        ),
        // Not the role's own failure to be assumed, which has a text of its own.
        (_, ErrorClass::Denied) if error.service == Operation::BatchGetImage.service() => {
            let mut text = format!(
                "account {account} may not look into ECR repository {repository} of account {registry} in {region}: allow \
                 ecr:BatchGetImage in the role's permission policy"
            );
            if registry != account.as_str() {
                text.push_str(&format!(" and, for account {account}, in the repository's policy"));
            }
            text.push_str(&format!(" ({error})"));
            text
        }
        _ => return ResolveError::Call(error.clone()),
    };
    ResolveError::Unusable(text)
}

/// The architectures that a manifest offers, if it is an index; what is no image (an attestation) has `unknown`.
fn architectures_of(manifest: &str) -> BTreeSet<String> {
    let manifest: Value = serde_json::from_str(manifest).unwrap_or_default();
    let images = manifest.get("manifests").and_then(Value::as_array).into_iter().flatten();
    let named = images.filter_map(|image| image.get("platform")?.get("architecture")?.as_str());
    named.filter(|architecture| *architecture != "unknown").map(str::to_owned).collect()
}

fn artifact(
    reference: &ImageReference,
    pinned: Option<&Digest>,
    digest: Option<Digest>,
    architectures: BTreeSet<String>,
) -> Artifact {
    let image = match pinned {
        Some(pinned) => format!("{}/{}@{pinned}", reference.registry, reference.repository),
        None => reference.to_string(),
    };
    Artifact::Image { image, digest, architectures }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(of: char) -> Digest {
        Digest::try_from(format!("sha256:{}", of.to_string().repeat(64))).unwrap()
    }

    #[test]
    fn an_index_says_what_it_is_for() {
        let index = r#"{"manifests":[{"platform":{"architecture":"amd64","os":"linux"}},
            {"platform":{"architecture":"arm64"}},{"platform":{"architecture":"unknown"}},{"digest":"x"}]}"#;
        assert_eq!(architectures_of(index), BTreeSet::from(["amd64".to_owned(), "arm64".to_owned()]));
        for other in ["", "[]", r#"{"schemaVersion":2,"layers":[]}"#] {
            assert!(architectures_of(other).is_empty(), "{other}");
        }
    }

    #[test]
    fn a_tag_is_an_artifact_if_its_digest_is_the_pinned_one() {
        let reference = ImageReference::parse("333333333333.dkr.ecr.us-west-1.amazonaws.com/backend:2.0.1").unwrap();
        let (a, b) = (digest('a'), digest('b'));
        let on_a = Tagged::Digest(a.clone(), BTreeSet::new());
        assert_eq!(
            judge(&reference, None, Some(&on_a), "us-west-1"),
            Ok(Artifact::Image {
                image: reference.to_string(),
                digest: Some(a.clone()),
                architectures: BTreeSet::new()
            })
        );
        let by_digest = format!("333333333333.dkr.ecr.us-west-1.amazonaws.com/backend@{a}");
        assert_eq!(
            judge(&reference, Some(&a), Some(&on_a), "us-west-1"),
            Ok(Artifact::Image { image: by_digest, digest: Some(a), architectures: BTreeSet::new() })
        );
        let said = |result: Result<Artifact, ResolveError>| result.unwrap_err().to_string();
        assert!(said(judge(&reference, Some(&b), Some(&on_a), "us-west-1")).contains("the tag was moved"));
        assert!(said(judge(&reference, None, None, "us-west-1")).starts_with("there is no image 333333333333"));
    }
}
