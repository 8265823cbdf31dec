//! What an account has, for `pinion init`: the names of its groups and services, and what their images are called.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_ecr::types::ImageIdentifier;
use aws_sdk_ssm::types::{ParameterMetadata, ParameterStringFilter};
use aws_smithy_types::error::display::DisplayErrorContext;
use aws_types::region::Region;

use super::connection::{ATTEMPT_TIMEOUT, Connection, Shared, ours};
use super::error::port_error;
use super::images;
use super::operation::Operation;
use pinion_core::init::{Found, MachineImage, ParameterVersion, Targets, Untagged};
use pinion_core::model::{self, AccountId, ErrorClass, ImageReference, Kind, LocalRef, ObservedTarget, PortError};

/// AWS's largest pages of each list.
const GROUPS: i32 = 100;
const CLUSTERS: i32 = 100;
const SERVICES: i32 = 100;
const LISTED_PARAMETERS: i32 = 50;
/// How many pages of a list are read at most: more groups, clusters or services than an environment may have targets.
const MAX_PAGES: usize = 100;
/// How many versions of a parameter are looked at, the newest first.
const VERSIONS: u64 = 10;

/// Lists an account.
#[derive(Debug, Clone)]
pub struct Inventory(pub(super) Arc<Connection>);

impl Inventory {
    /// All groups and services of these kinds.
    ///
    /// # Errors
    /// [`PortError`] of the first call that fails: half a list is none.
    pub async fn list(&self, kinds: &BTreeSet<Kind>) -> Result<BTreeSet<Found>, PortError> {
        let mut found = BTreeSet::new();
        if kinds.contains(&Kind::Asg) {
            found.extend(self.0.group_names().await?.into_iter().map(Found::Group));
        }
        if kinds.contains(&Kind::Fargate) {
            for cluster in self.0.cluster_names().await? {
                let services = self.0.service_names(&cluster).await?;
                found.extend(services.into_iter().map(|service| Found::Service { cluster: cluster.clone(), service }));
            }
        }
        Ok(found)
    }

    /// What each group and service is now.
    pub async fn observe(&self, targets: &Targets) -> BTreeMap<LocalRef, Result<ObservedTarget, PortError>> {
        let (mut observed, services) = tokio::join!(self.0.groups(&targets.groups), self.0.services(&targets.services));
        observed.extend(services);
        observed
    }

    /// AMIs by id. Those that aren't there, or not for this account, are missing in the answer.
    ///
    /// # Errors
    /// [`PortError`] if EC2 can't be asked.
    pub async fn machine_images(&self, ids: &BTreeSet<String>) -> Result<BTreeMap<String, MachineImage>, PortError> {
        let mut found = BTreeMap::new();
        for image in self.0.images_by_id(ids).await? {
            let Some(id) = image.image_id else { continue };
            let tags = image.tags.unwrap_or_default().into_iter();
            let tags = tags.filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default())));
            let owner = image.owner_id.and_then(|owner| AccountId::try_from(owner).ok());
            let name = image.name.filter(|name| !name.is_empty());
            found.insert(id, MachineImage { name, owner, tags: tags.collect() });
        }
        Ok(found)
    }

    /// The versions of the account's SSM parameters that hold one of these AMIs: of parameters of the data type
    /// `aws:ec2:image`, and of the newest ten versions of each.
    ///
    /// # Errors
    /// [`PortError`] if they can't be listed or read.
    pub async fn parameters(&self, images: &BTreeSet<String>) -> Result<Vec<ParameterVersion>, PortError> {
        let mut found = Vec::new();
        if images.is_empty() {
            return Ok(found);
        }
        let mut newest = self.0.image_parameters().await?;
        for _ in 0..VERSIONS {
            let names: Vec<String> = newest.iter().map(|(name, version)| format!("{name}:{version}")).collect();
            for batch in names.chunks(images::PARAMETERS) {
                for parameter in self.0.get_parameters(batch.to_vec()).await? {
                    let (Some(name), Some(value)) = (parameter.name, parameter.value) else { continue };
                    let value = value.trim();
                    if images.contains(value)
                        && let Ok(version) = u64::try_from(parameter.version)
                    {
                        newest.remove(&name);
                        found.push(ParameterVersion { parameter: name, version, image: value.to_owned() });
                    }
                }
            }
            newest.retain(|_, version| *version > 1);
            newest.values_mut().for_each(|version| *version -= 1);
        }
        found.sort_by(|one, other| (&one.parameter, one.version).cmp(&(&other.parameter, other.version)));
        Ok(found)
    }

    /// The tags of images in ECR. Images of other registries are missing in the answer, and so is what can't be read.
    pub async fn tags(&self, images: &BTreeSet<Untagged>) -> BTreeMap<Untagged, Vec<String>> {
        let mut tags = BTreeMap::new();
        for image in images {
            let reference = ImageReference {
                registry: image.registry.clone(),
                repository: image.repository.clone(),
                tag: String::new(),
            };
            let Some((registry, region)) = reference.ecr() else { continue };
            let client = self.0.ecr(region);
            let id = ImageIdentifier::builder().image_digest(image.digest.as_str()).build();
            let answer = self
                .0
                .call_in(region, Operation::DescribeContainerImages, || {
                    let request = client.describe_images().registry_id(registry).repository_name(&image.repository);
                    request.image_ids(id.clone()).send()
                })
                .await;
            let details = answer.ok().and_then(|answer| answer.image_details).unwrap_or_default();
            if let Some(detail) = details.into_iter().next() {
                tags.insert(image.clone(), detail.image_tags.unwrap_or_default());
            }
        }
        tags
    }
}

/// Reads a list to its end. `page` reads the page of a token, and gives what is in it and the token of the next.
async fn all<T>(
    operation: Operation,
    page: impl AsyncFn(Option<String>) -> Result<(Vec<T>, Option<String>), PortError>,
) -> Result<Vec<T>, PortError> {
    let (mut all, mut token) = (Vec::new(), None);
    for _ in 0..MAX_PAGES {
        let (some, next) = page(token).await?;
        all.extend(some);
        token = next.filter(|next| !next.is_empty());
        if token.is_none() {
            return Ok(all);
        }
    }
    // AWS gives the same page again, or the account has more than Pinion takes.
    let message = format!("there are more than {MAX_PAGES} pages; select fewer with --only");
    Err(ours(operation, ErrorClass::Invalid, "TooMany", message))
}

impl Connection {
    async fn group_names(&self) -> Result<Vec<String>, PortError> {
        let operation = Operation::DescribeAutoScalingGroups;
        let groups = all(operation, async |token: Option<String>| {
            let page = self
                .call(operation, || {
                    let request = self.autoscaling.describe_auto_scaling_groups().max_records(GROUPS);
                    request.include_instances(false).set_next_token(token.clone()).send()
                })
                .await?;
            Ok((page.auto_scaling_groups.unwrap_or_default(), page.next_token))
        });
        Ok(groups.await?.into_iter().filter_map(|group| group.auto_scaling_group_name).collect())
    }

    async fn cluster_names(&self) -> Result<Vec<String>, PortError> {
        let operation = Operation::ListClusters;
        let arns = all(operation, async |token: Option<String>| {
            let page = self
                .call(operation, || self.ecs.list_clusters().max_results(CLUSTERS).set_next_token(token.clone()).send())
                .await?;
            Ok((page.cluster_arns.unwrap_or_default(), page.next_token))
        });
        Ok(arns.await?.iter().filter_map(|arn| name_in(arn)).collect())
    }

    async fn service_names(&self, cluster: &str) -> Result<Vec<String>, PortError> {
        let operation = Operation::ListServices;
        let arns = all(operation, async |token: Option<String>| {
            let page = self
                .call(operation, || {
                    let request = self.ecs.list_services().cluster(cluster).max_results(SERVICES);
                    request.set_next_token(token.clone()).send()
                })
                .await?;
            Ok((page.service_arns.unwrap_or_default(), page.next_token))
        });
        Ok(arns.await?.iter().filter_map(|arn| name_in(arn)).collect())
    }

    /// The parameters of the data type of AMIs, each with the number of its newest version.
    async fn image_parameters(&self) -> Result<BTreeMap<String, u64>, PortError> {
        let operation = Operation::DescribeParameters;
        let filter = ParameterStringFilter::builder().key("DataType").option("Equals").values("aws:ec2:image");
        let filter = filter.build().map_err(|error| {
            ours(operation, ErrorClass::Invalid, "InvalidRequest", DisplayErrorContext(&error).to_string())
        })?;
        let parameters = all(operation, async |token: Option<String>| {
            let page = self
                .call(operation, || {
                    let request = self.ssm.describe_parameters().parameter_filters(filter.clone());
                    request.max_results(LISTED_PARAMETERS).set_next_token(token.clone()).send()
                })
                .await?;
            Ok((page.parameters.unwrap_or_default(), page.next_token))
        });
        let newest = |parameter: ParameterMetadata| Some((parameter.name?, u64::try_from(parameter.version).ok()?));
        Ok(parameters.await?.into_iter().filter_map(newest).collect())
    }
}

/// The name at the end of an ARN.
fn name_in(arn: &str) -> Option<String> {
    arn.rsplit_once('/').map(|(_, name)| name.to_owned())
}

/// Whose Pinion's own credentials are.
pub(super) async fn own_account(shared: &Shared, region: &model::Region) -> Result<(String, AccountId), PortError> {
    let operation = Operation::GetCallerIdentity;
    let config = aws_sdk_sts::config::Builder::from(&shared.sdk).region(Region::new(region.to_string()));
    let timeouts = aws_smithy_types::timeout::TimeoutConfig::builder().operation_timeout(ATTEMPT_TIMEOUT).build();
    let client = aws_sdk_sts::Client::from_conf(config.timeout_config(timeouts).build());
    let answer = client.get_caller_identity().send().await.map_err(|error| port_error(operation, &error))?;
    let arn = answer.arn.unwrap_or_default();
    let partition = arn.split(':').nth(1).filter(|partition| partition.starts_with("aws"));
    let account = answer.account.and_then(|account| AccountId::try_from(account).ok());
    let both = partition.map(str::to_owned).zip(account);
    both.ok_or_else(|| {
        let message = format!("the answer doesn't say which account the credentials belong to: `{arn}`");
        ours(operation, ErrorClass::Retry, "UnreadableResponse", message)
    })
}
