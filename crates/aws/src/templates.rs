//! Launch-template versions: read once each, because they never change.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::LaunchTemplateVersion;

use super::connection::Connection;
use super::operation::Operation;
use pinion_core::model::{Marker, PortError, TemplateVersion, TemplateVersionSpec};

/// AWS's limit for the versions named in one call.
const BATCH: usize = 200;
/// What AWS says when one of the versions named doesn't exist.
const GONE: &str = "InvalidLaunchTemplateId.VersionNotFound";

impl Connection {
    /// Versions of a launch template by number. Those that are gone are missing in the answer.
    pub(super) async fn template_versions(
        &self,
        template: &str,
        numbers: &BTreeSet<u64>,
    ) -> Result<BTreeMap<u64, TemplateVersion>, PortError> {
        let mut found = BTreeMap::new();
        let mut unknown = Vec::new();
        for number in numbers {
            match self.cache.template_versions.get(&(template.to_owned(), *number)) {
                Some(version) => drop(found.insert(*number, version)),
                None => unknown.push(number.to_string()),
            }
        }
        for batch in unknown.chunks(BATCH) {
            match self.describe_versions(template, batch).await {
                Ok(versions) => found.extend(versions.into_iter().map(|(version, _)| (version.number, version))),
                // One that is gone fails them all.
                Err(error) if error.code == GONE && batch.len() > 1 => {
                    for number in batch {
                        match self.describe_versions(template, std::slice::from_ref(number)).await {
                            Ok(versions) => {
                                found.extend(versions.into_iter().map(|(version, _)| (version.number, version)));
                            }
                            Err(error) if error.code == GONE => {}
                            Err(error) => return Err(error),
                        }
                    }
                }
                Err(error) if error.code == GONE => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// What `$Latest` and `$Default` of a launch template are now.
    pub(super) async fn moving_versions(
        &self,
        template: &str,
        wanted: &[TemplateVersionSpec],
    ) -> Result<MovingVersions, PortError> {
        let mut names = Vec::new();
        if wanted.contains(&TemplateVersionSpec::Latest) {
            names.push("$Latest".to_owned());
        }
        if wanted.contains(&TemplateVersionSpec::Default) {
            names.push("$Default".to_owned());
        }
        let versions = self.describe_versions(template, &names).await?;
        Ok(MovingVersions {
            latest: versions.iter().map(|(version, _)| version).max_by_key(|version| version.number).cloned(),
            default: versions.into_iter().find(|(_, default)| *default).map(|(version, _)| version),
        })
    }

    /// Versions that were made after one.
    pub(super) async fn newer_versions(&self, template: &str, than: u64) -> Result<Vec<TemplateVersion>, PortError> {
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let page = self
                .call(Operation::DescribeLaunchTemplateVersions, || {
                    self.ec2
                        .describe_launch_template_versions()
                        .launch_template_id(template)
                        .min_version(than.saturating_add(1).to_string())
                        .max_results(200)
                        .set_next_token(token.clone())
                        .send()
                })
                .await?;
            let versions = page.launch_template_versions.unwrap_or_default();
            found.extend(versions.iter().filter_map(|version| self.keep_version(template, version)));
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(found);
            }
        }
    }

    /// Versions by number or `$` name, each with whether it is the default one.
    async fn describe_versions(
        &self,
        template: &str,
        versions: &[String],
    ) -> Result<Vec<(TemplateVersion, bool)>, PortError> {
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let page = self
                .call(Operation::DescribeLaunchTemplateVersions, || {
                    self.ec2
                        .describe_launch_template_versions()
                        .launch_template_id(template)
                        .set_versions(Some(versions.to_vec()))
                        .set_next_token(token.clone())
                        .send()
                })
                .await?;
            found.extend(page.launch_template_versions.unwrap_or_default().iter().filter_map(|version| {
                Some((self.keep_version(template, version)?, version.default_version.unwrap_or_default()))
            }));
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(found);
            }
        }
    }

    fn keep_version(&self, template: &str, version: &LaunchTemplateVersion) -> Option<TemplateVersion> {
        let data = version.launch_template_data.as_ref();
        let kept = TemplateVersion {
            template: template.to_owned(),
            number: version.version_number.and_then(|number| u64::try_from(number).ok())?,
            image: data.and_then(|data| data.image_id.clone()).filter(|image| !image.is_empty()),
            instance_type: data.and_then(|data| data.instance_type.as_ref()).map(|kind| kind.as_str().to_owned()),
            instance_requirements: data.is_some_and(|data| data.instance_requirements.is_some()),
            marker: version.version_description.as_deref().and_then(Marker::parse),
        };
        self.cache.template_versions.put((template.to_owned(), kept.number), kept.clone());
        Some(kept)
    }
}

/// What `$Latest` and `$Default` are now; each is there only if it was asked for.
#[derive(Debug, Clone)]
pub(super) struct MovingVersions {
    latest: Option<TemplateVersion>,
    default: Option<TemplateVersion>,
}

impl MovingVersions {
    /// The version that a group on `spec` resolves to.
    pub(super) fn of(&self, spec: TemplateVersionSpec) -> Option<&TemplateVersion> {
        match spec {
            TemplateVersionSpec::Latest => self.latest.as_ref(),
            TemplateVersionSpec::Default => self.default.as_ref(),
            TemplateVersionSpec::Number(_) => None,
        }
    }
}
