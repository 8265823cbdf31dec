//! Container images in ECR, of any account and region, asked for with the target account's credentials: what it may not
//! see, its tasks may not pull.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ecr::types::ImageIdentifier;
use serde_json::Value;

use super::connection::Connection;
use super::operation::Operation;
use super::resolve::Resolved;
use pinion_core::model::{AccountId, Artifact, Digest, ErrorClass, ImageReference, PortError, ResolveError};

/// AWS's limit for the images named in one call is 100; each query may name two of them, by tag and by digest.
const BATCH: usize = 50;
/// What a tag may lead to: an image, or an index of images for several architectures.
const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

type Query = (ImageReference, Option<Digest>);

/// How an image is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Id {
    Tag(String),
    Digest(String),
}

/// What a registry says of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Image(Found),
    /// `failureCode` and `failureReason`.
    Failure(String, String),
}

/// An image, or an index of images.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    digest: Digest,
    /// The architectures that an index offers.
    architectures: BTreeSet<String>,
    /// The digests of the images in an index.
    members: BTreeSet<Digest>,
}

type Answers = BTreeMap<Id, Answer>;

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
                None => drop(resolved.insert(query.clone(), Ok(artifact(&query.0, query.1.as_ref(), None, None)))),
            }
        }
        for ((registry, region, repository), queries) in repositories {
            for batch in queries.chunks(BATCH) {
                let tags = batch.iter().map(|(reference, _)| Id::Tag(reference.tag.clone()));
                let digests = batch.iter().filter_map(|(_, digest)| Some(Id::Digest(digest.as_ref()?.to_string())));
                let answers = self.batch_get_image(registry, region, repository, &tags.chain(digests).collect()).await;
                for query in batch {
                    let result = match &answers {
                        Ok(answers) => judge(&query.0, query.1.as_ref(), answers, region),
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
        ids: &BTreeSet<Id>,
    ) -> Result<Answers, PortError> {
        let client = self.ecr(region);
        let answer = self
            .call_in(region, Operation::BatchGetImage, || {
                let id = |id: &Id| match id {
                    Id::Tag(tag) => ImageIdentifier::builder().image_tag(tag).build(),
                    Id::Digest(digest) => ImageIdentifier::builder().image_digest(digest).build(),
                };
                let ids = ids.iter().map(id).collect();
                client
                    .batch_get_image()
                    .registry_id(registry)
                    .repository_name(repository)
                    .set_image_ids(Some(ids))
                    .set_accepted_media_types(Some(MEDIA_TYPES.map(str::to_owned).to_vec()))
                    .send()
            })
            .await?;
        let mut answers = Answers::new();
        for failure in answer.failures.unwrap_or_default() {
            let code = failure.failure_code.map(|code| code.as_str().to_owned()).unwrap_or_default();
            let said = Answer::Failure(code, failure.failure_reason.unwrap_or_default());
            // A tag and a digest are asked for one by one: what has both would fail if they belong to two images.
            let id = failure.image_id.and_then(|id| match (id.image_tag, id.image_digest) {
                (Some(tag), _) => Some(Id::Tag(tag)),
                (None, digest) => Some(Id::Digest(digest?)),
            });
            answers.extend(id.map(|id| (id, said)));
        }
        for image in answer.images.unwrap_or_default() {
            let Some(id) = image.image_id else { continue };
            let Some(digest) = id.image_digest.and_then(|digest| Digest::try_from(digest).ok()) else { continue };
            let manifest = image.image_manifest.as_deref().unwrap_or_default();
            let (architectures, members) = index_of(manifest);
            let found = Answer::Image(Found { digest: digest.clone(), architectures, members });
            answers.insert(Id::Digest(digest.to_string()), found.clone());
            answers.extend(id.image_tag.map(|tag| (Id::Tag(tag), found)));
        }
        Ok(answers)
    }
}

fn judge(
    reference: &ImageReference,
    pinned: Option<&Digest>,
    answers: &Answers,
    region: &str,
) -> Result<Artifact, ResolveError> {
    let tagged = answers.get(&Id::Tag(reference.tag.clone()));
    let under_tag = match tagged {
        Some(Answer::Image(found)) => Some(found),
        _ => None,
    };
    let on = under_tag.map(|found| &found.digest);
    let wanted = match pinned {
        Some(pinned) => answers.get(&Id::Digest(pinned.to_string())),
        None => tagged,
    };
    let text = match (wanted, pinned) {
        (Some(Answer::Image(found)), _) => return Ok(artifact(reference, pinned, Some(found), under_tag)),
        (Some(Answer::Failure(code, reason)), _) if code != "ImageNotFound" => {
            format!("{reference} can't be used: {code}: {reason}")
        }
        (_, Some(pinned)) => {
            let on = on.map_or_else(
                || format!("there is no image with the tag {} either", reference.tag),
                |on| format!("its tag {} is on {on} now", reference.tag),
            );
            format!(
                "there is no image {pinned} in {}/{} in {region} ({on}): the digest is another repository's, or the image \
                 was removed; correct the pin's digest, or push the image again",
                reference.registry, reference.repository
            )
        }
        (_, None) => {
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

/// The architectures that a manifest offers and the digests of the images in it, if it is an index; what is no image (an
/// attestation) has the architecture `unknown`.
fn index_of(manifest: &str) -> (BTreeSet<String>, BTreeSet<Digest>) {
    let manifest: Value = serde_json::from_str(manifest).unwrap_or_default();
    let mut found = (BTreeSet::new(), BTreeSet::new());
    for image in manifest.get("manifests").and_then(Value::as_array).into_iter().flatten() {
        let architecture = image.pointer("/platform/architecture").and_then(Value::as_str);
        if architecture == Some("unknown") {
            continue;
        }
        found.0.extend(architecture.map(str::to_owned));
        let digest = image.get("digest").and_then(Value::as_str);
        found.1.extend(digest.and_then(|digest| Digest::try_from(digest.to_owned()).ok()));
    }
    found
}

fn artifact(
    reference: &ImageReference,
    pinned: Option<&Digest>,
    found: Option<&Found>,
    under_tag: Option<&Found>,
) -> Artifact {
    let mut members = found.map(|found| found.members.clone()).unwrap_or_default();
    // An index with nothing else in it, as buildx makes them, is the same bytes as its image.
    let alone =
        |tagged: &&Found| pinned.is_some() && found.is_some_and(|found| tagged.members.iter().eq([&found.digest]));
    members.extend(under_tag.filter(alone).map(|tagged| tagged.digest.clone()));
    let image = match pinned {
        Some(pinned) => format!("{}/{}@{pinned}", reference.registry, reference.repository),
        None => reference.to_string(),
    };
    Artifact::Image {
        image,
        digest: found.map(|found| found.digest.clone()),
        architectures: found.map(|found| found.architectures.clone()).unwrap_or_default(),
        members,
        tag: (reference.tag.clone(), under_tag.map(|found| found.digest.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(of: char) -> Digest {
        Digest::try_from(format!("sha256:{}", of.to_string().repeat(64))).unwrap()
    }

    #[test]
    fn an_index_says_what_it_is_for_and_what_is_in_it() {
        let (a, b, c) = (digest('a'), digest('b'), digest('c'));
        let index = format!(
            r#"{{"manifests":[{{"digest":"{a}","platform":{{"architecture":"amd64","os":"linux"}}}},
            {{"digest":"{b}","platform":{{"architecture":"arm64"}}}},
            {{"digest":"{c}","platform":{{"architecture":"unknown"}}}},{{"digest":"x"}}]}}"#
        );
        let words = BTreeSet::from(["amd64".to_owned(), "arm64".to_owned()]);
        assert_eq!(index_of(&index), (words, BTreeSet::from([a, b])));
        for other in ["", "[]", r#"{"schemaVersion":2,"layers":[]}"#] {
            assert_eq!(index_of(other), (BTreeSet::new(), BTreeSet::new()), "{other}");
        }
    }

    #[test]
    fn an_image_is_found_by_its_tag_or_by_the_pinned_digest() {
        let host = "333333333333.dkr.ecr.us-west-1.amazonaws.com";
        let reference = ImageReference::parse(&format!("{host}/backend:2.0.1")).unwrap();
        let (a, b, c) = (digest('a'), digest('b'), digest('c'));
        let found = |digest: &Digest| {
            Answer::Image(Found { digest: digest.clone(), architectures: BTreeSet::new(), members: BTreeSet::new() })
        };
        let answers = Answers::from([
            (Id::Tag("2.0.1".to_owned()), found(&a)),
            (Id::Digest(a.to_string()), found(&a)),
            (Id::Digest(b.to_string()), found(&b)),
            (Id::Digest(c.to_string()), Answer::Failure("ImageNotFound".to_owned(), String::new())),
        ]);
        let judge = |pinned: Option<&Digest>, answers: &Answers| judge(&reference, pinned, answers, "us-west-1");
        let image = |text: String, on: &Digest| Artifact::Image {
            image: text,
            digest: Some(on.clone()),
            architectures: BTreeSet::new(),
            members: BTreeSet::new(),
            tag: ("2.0.1".to_owned(), Some(a.clone())),
        };
        assert_eq!(judge(None, &answers), Ok(image(reference.to_string(), &a)));
        assert_eq!(judge(Some(&a), &answers), Ok(image(format!("{host}/backend@{a}"), &a)));
        let moved = judge(Some(&b), &answers);
        assert_eq!(moved, Ok(image(format!("{host}/backend@{b}"), &b)), "the digest counts, wherever the tag is");
        assert_eq!(moved.unwrap().tag_moved_to(), Some(("2.0.1", &a)));
        let said = |result: Result<Artifact, ResolveError>| result.unwrap_err().to_string();
        let missing = said(judge(Some(&c), &answers));
        assert!(missing.contains(&format!("its tag 2.0.1 is on {a} now")), "{missing}");
        assert!(said(judge(None, &Answers::new())).starts_with("there is no image 333333333333"));
        assert!(said(judge(Some(&c), &Answers::new())).contains("no image with the tag 2.0.1 either"));
    }

    #[test]
    fn an_index_of_one_image_is_the_same_bytes_as_that_image() {
        let host = "333333333333.dkr.ecr.us-west-1.amazonaws.com";
        let reference = ImageReference::parse(&format!("{host}/backend:2.0.1")).unwrap();
        let (index, member, other) = (digest('a'), digest('b'), digest('c'));
        let found = |digest: &Digest, members: &[&Digest]| {
            let members = members.iter().map(|member| (*member).clone()).collect();
            Answer::Image(Found { digest: digest.clone(), architectures: BTreeSet::new(), members })
        };
        for (members, same) in [(vec![&member], true), (vec![&member, &other], false), (vec![&other], false)] {
            let answers = Answers::from([
                (Id::Tag("2.0.1".to_owned()), found(&index, &members)),
                (Id::Digest(member.to_string()), found(&member, &[])),
            ]);
            let pinned = judge(&reference, Some(&member), &answers, "us-west-1").unwrap();
            let by_tag = format!("{host}/backend:2.0.1");
            assert_eq!(pinned.is_named(&by_tag, Some(&index)), same, "{members:?}");
            assert_eq!(pinned.tag_moved_to().is_none(), same, "{members:?}");
        }
    }
}
