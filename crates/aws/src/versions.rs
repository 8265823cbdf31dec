//! Lists the versions of which there is an artifact, by what their names or tags look like.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{Filter, Image};
use aws_sdk_ecr::types::{DescribeImagesFilter, TagStatus};

use super::connection::Connection;
use super::images::literal;
use super::operation::Operation;
use pinion_core::model::{AccountId, Digest, ImageReference, Pattern, PortError};

impl Connection {
    /// The versions that fit a pattern, with the digest of an image.
    pub(super) async fn versions_of_pattern(
        &self,
        pattern: &Pattern,
    ) -> Result<BTreeMap<String, Option<Digest>>, PortError> {
        match pattern {
            Pattern::AmiName { before, after, owner } => {
                let wanted = filter("name", format!("{}*{}", literal(before), literal(after)));
                let images = self.available(owner.as_ref(), vec![wanted]).await?;
                let names = images.iter().filter_map(|image| between(image.name.as_deref()?, before, after));
                Ok(names.map(|version| (version, None)).collect())
            }
            Pattern::AmiTag { key, before, after, others, owner } => {
                let others = others.iter().map(|(key, value)| filter(&format!("tag:{key}"), literal(value)));
                let wanted = filter(&format!("tag:{key}"), format!("{}*{}", literal(before), literal(after)));
                let images = self.available(owner.as_ref(), others.chain([wanted]).collect()).await?;
                let values = images.iter().filter_map(|image| {
                    let tag = image.tags().iter().find(|tag| tag.key.as_deref() == Some(key))?;
                    between(tag.value.as_deref()?, before, after)
                });
                Ok(values.map(|version| (version, None)).collect())
            }
            Pattern::ImageTag { reference, before, after } => {
                let tags = self.tags(reference).await?;
                let tags = tags.into_iter().filter_map(|(tag, digest)| Some((between(&tag, before, after)?, digest)));
                Ok(tags.collect())
            }
        }
    }

    /// AMIs that can be used. Without an owner those that this account owns or is given: not whatever is public.
    async fn available(&self, owner: Option<&AccountId>, mut filters: Vec<Filter>) -> Result<Vec<Image>, PortError> {
        filters.push(filter("state", "available".to_owned()));
        if owner.is_none() {
            filters.push(filter("is-public", "false".to_owned()));
        }
        let mut images = Vec::new();
        let mut token = None;
        loop {
            let send = || {
                let request = self.ec2.describe_images().set_filters(Some(filters.clone()));
                let request = request.set_owners(owner.map(|owner| vec![owner.to_string()]));
                request.set_next_token(token.clone()).send()
            };
            let page = self.call(Operation::DescribeMachineImages, send).await?;
            images.extend(page.images.unwrap_or_default());
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(images);
            }
        }
    }

    async fn tags(&self, reference: &ImageReference) -> Result<Vec<(String, Option<Digest>)>, PortError> {
        let Some((registry, region)) = reference.ecr() else { return Ok(Vec::new()) };
        let client = self.ecr(region);
        let mut tags = Vec::new();
        let mut token = None;
        loop {
            let send = || {
                let request = client.describe_images().registry_id(registry).repository_name(&reference.repository);
                let tagged = DescribeImagesFilter::builder().tag_status(TagStatus::Tagged).build();
                request.filter(tagged).set_next_token(token.clone()).send()
            };
            let page = self.call(Operation::DescribeContainerImages, send).await?;
            for image in page.image_details.unwrap_or_default() {
                let digest = image.image_digest.and_then(|digest| Digest::try_from(digest).ok());
                tags.extend(image.image_tags.unwrap_or_default().into_iter().map(|tag| (tag, digest.clone())));
            }
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(tags);
            }
        }
    }
}

fn between(text: &str, before: &str, after: &str) -> Option<String> {
    let version = text.strip_prefix(before)?.strip_suffix(after)?;
    (!version.is_empty()).then(|| version.to_owned())
}

fn filter(name: &str, value: String) -> Filter {
    Filter::builder().name(name).values(value).build()
}
