//! Carries out actions: for each one write call. The connection makes sure that it goes to the right account.

use aws_sdk_autoscaling::types::{
    AlarmSpecification, DesiredConfiguration, LaunchTemplateSpecification, RefreshPreferences as Preferences,
    RefreshStrategy,
};
use aws_sdk_ec2::types::{RequestLaunchTemplateData, ValidationWarning};
use aws_sdk_ecs::types::StopServiceDeploymentStopType;
use aws_smithy_types::retry::RetryConfig;

use super::capture::Capture;
use super::connection::{Connection, ours};
use super::groups::template_of;
use super::history::refresh_outcome;
use super::operation::Operation;
use super::task_definition::CloneError;
use super::templates::{capitalised, description};
use super::xml::{Element, Style, add_parameters};
use pinion_core::model::hex::sha256;
use pinion_core::model::{
    Applied, ClusterName, ErrorClass, GroupName, Marker, PortError, RolloutId, ServiceName, TemplateRef,
};
use pinion_core::plan::{Action, RefreshPreferences, VersionMove};

const NOTHING_MADE: Applied = Applied { id: None, warning: None };

impl Connection {
    /// Carries out one action.
    pub(super) async fn write(&self, action: &Action) -> Result<Applied, PortError> {
        match action {
            Action::NumberTemplate { group, template, version } => {
                self.number_template(group, template, *version).await
            }
            Action::CreateTemplateVersion { template, source, image, marker, root_device, sought } => {
                let description = description(marker, sought);
                self.create_template_version(template, *source, image, &description, root_device.as_deref()).await
            }
            Action::StartRefresh { group, template, version, preferences } => {
                self.start_refresh(group, template, *version, preferences).await
            }
            Action::NumberPolicy { group, moves } => self.number_policy(group, moves).await,
            Action::RefreshPolicy { group, moves, preferences } => self.refresh_policy(group, moves, preferences).await,
            Action::CancelRefresh { group, refresh } => self.cancel_refresh(group, refresh).await,
            Action::RollbackRefresh { group, refresh } => self.roll_back_refresh(group, refresh).await,
            Action::RegisterTaskDefinition { base, family, containers, image, marker } => {
                self.register_task_definition(base, family, containers, image, marker).await
            }
            Action::CopyTaskDefinition { base, marker } => {
                let copy = self.definition(base).await?.copy_with(marker);
                let copy = copy.map_err(|error| not_cloneable(base, &error))?;
                Ok(Applied { id: self.register(&copy).await?, warning: None })
            }
            Action::UpdateService { cluster, service, task_definition } => {
                self.update_service(cluster, service, task_definition).await
            }
            Action::RollBackDeployment { deployment, .. } => self.roll_back_deployment(deployment).await,
            Action::Verify { .. } => {
                let message = "probes aren't calls to AWS; send them to the prober".to_owned();
                Err(ours(Operation::GetCallerIdentity, ErrorClass::Invalid, "NotAnAwsAction", message))
            }
        }
    }

    async fn number_template(
        &self,
        group: &GroupName,
        template: &TemplateRef,
        version: u64,
    ) -> Result<Applied, PortError> {
        self.call(Operation::UpdateAutoScalingGroup, || {
            self.autoscaling
                .update_auto_scaling_group()
                .auto_scaling_group_name(group.as_str())
                .launch_template(specification(template, version))
                .send()
        })
        .await?;
        Ok(NOTHING_MADE)
    }

    async fn create_template_version(
        &self,
        template: &TemplateRef,
        source: u64,
        image: &str,
        description: &str,
        root_device: Option<&str>,
    ) -> Result<Applied, PortError> {
        let devices = mappings(self.block_devices(&template.id, source).await?, root_device);
        let token = client_token(&template.id, source, image, description, &devices);
        let answer = self
            .call(Operation::CreateLaunchTemplateVersion, || {
                let devices = devices.clone();
                self.ec2
                    .create_launch_template_version()
                    .launch_template_id(&template.id)
                    .source_version(source.to_string())
                    .version_description(description)
                    .launch_template_data(RequestLaunchTemplateData::builder().image_id(image).build())
                    .client_token(&token)
                    .customize()
                    .mutate_request(move |http| add_parameters(http, &devices))
                    .send()
            })
            .await?;
        let number = answer.launch_template_version.and_then(|version| version.version_number);
        if let Some(number) = number.and_then(|number| u64::try_from(number).ok()) {
            self.note_made_version(&template.id, number);
        }
        Ok(Applied { id: number.map(|number| number.to_string()), warning: answer.warning.and_then(|w| said(&w)) })
    }

    async fn number_policy(&self, group: &GroupName, moves: &[VersionMove]) -> Result<Applied, PortError> {
        let policy = self.moved_policy(Operation::UpdateAutoScalingGroup, group, moves).await?;
        let policy = policy.parameters("MixedInstancesPolicy", QUERY);
        self.call(Operation::UpdateAutoScalingGroup, || {
            let policy = policy.clone();
            let request = self.autoscaling.update_auto_scaling_group().auto_scaling_group_name(group.as_str());
            request.customize().mutate_request(move |http| add_parameters(http, &policy)).send()
        })
        .await?;
        Ok(NOTHING_MADE)
    }

    async fn refresh_policy(
        &self,
        group: &GroupName,
        moves: &[VersionMove],
        preferences: &RefreshPreferences,
    ) -> Result<Applied, PortError> {
        let policy = self.moved_policy(Operation::StartInstanceRefresh, group, moves).await?;
        let policy = policy.parameters("DesiredConfiguration.MixedInstancesPolicy", QUERY);
        self.start_desired(group, None, &policy, preferences).await
    }

    async fn start_refresh(
        &self,
        group: &GroupName,
        template: &TemplateRef,
        version: u64,
        preferences: &RefreshPreferences,
    ) -> Result<Applied, PortError> {
        let desired = DesiredConfiguration::builder().launch_template(specification(template, version)).build();
        self.start_desired(group, Some(desired), &[], preferences).await
    }

    /// `more`: parameters of the desired configuration that the SDK has no types for.
    async fn start_desired(
        &self,
        group: &GroupName,
        desired: Option<DesiredConfiguration>,
        more: &[(String, String)],
        preferences: &RefreshPreferences,
    ) -> Result<Applied, PortError> {
        let answer = self
            .call(Operation::StartInstanceRefresh, || {
                // No client token here either: where the answer is lost and the refresh is a short one, trying again
                // would begin another. The next pass looks for it instead.
                let more = more.to_vec();
                self.autoscaling
                    .start_instance_refresh()
                    .auto_scaling_group_name(group.as_str())
                    .strategy(RefreshStrategy::Rolling)
                    .set_desired_configuration(desired.clone())
                    .preferences(refresh_preferences(preferences))
                    .customize()
                    .config_override(autoscaling_once())
                    .mutate_request(move |http| add_parameters(http, &more))
                    .send()
            })
            .await?;
        Ok(Applied { id: answer.instance_refresh_id, warning: None })
    }

    /// The group's policy as it is at this moment and as AWS sent it, in which only versions differ: types, weights, the
    /// distribution and what this build doesn't know are others' business, and may have changed since planning.
    async fn moved_policy(
        &self,
        operation: Operation,
        group: &GroupName,
        moves: &[VersionMove],
    ) -> Result<Element, PortError> {
        let answer = Capture::default();
        self.call(Operation::DescribeAutoScalingGroups, || {
            let request = self.autoscaling.describe_auto_scaling_groups().auto_scaling_group_names(group.as_str());
            request.customize().interceptor(answer.clone()).send()
        })
        .await?;
        let policy = answer.xml().and_then(|answer| policy_of(&answer, group));
        policy.and_then(|policy| move_versions(policy, moves)).ok_or_else(|| {
            let message = format!(
                "the mixed-instances policy of group {group} has changed since it was read for the plan; the next pass \
                 plans again"
            );
            ours(operation, ErrorClass::Conflict, "PolicyChanged", message)
        })
    }

    async fn cancel_refresh(&self, group: &GroupName, refresh: &RolloutId) -> Result<Applied, PortError> {
        self.still_active(Operation::CancelInstanceRefresh, group, refresh).await?;
        let answer = self
            .call(Operation::CancelInstanceRefresh, || {
                let request = self.autoscaling.cancel_instance_refresh().auto_scaling_group_name(group.as_str());
                request.customize().config_override(autoscaling_once()).send()
            })
            .await?;
        Ok(Applied { id: answer.instance_refresh_id, warning: None })
    }

    async fn roll_back_refresh(&self, group: &GroupName, refresh: &RolloutId) -> Result<Applied, PortError> {
        self.still_active(Operation::RollbackInstanceRefresh, group, refresh).await?;
        let answer = self
            .call(Operation::RollbackInstanceRefresh, || {
                let request = self.autoscaling.rollback_instance_refresh().auto_scaling_group_name(group.as_str());
                request.customize().config_override(autoscaling_once()).send()
            })
            .await?;
        Ok(Applied { id: answer.instance_refresh_id, warning: None })
    }

    /// AWS cancels whichever refresh is the active one. Make sure that it is ours: it can't be if ours has ended. For that
    /// reason the call isn't tried again either: what is active by then may be somebody else's.
    async fn still_active(
        &self,
        operation: Operation,
        group: &GroupName,
        refresh: &RolloutId,
    ) -> Result<(), PortError> {
        let (refreshes, _) = self.refreshes(group).await?;
        let named = refreshes.iter().find(|known| known.instance_refresh_id.as_ref() == Some(&refresh.0));
        let status = named.and_then(|named| named.status.as_ref());
        if status.is_some_and(|status| refresh_outcome(status).is_active()) {
            return Ok(());
        }
        let now = status.map_or("not there", |status| status.as_str());
        let message = format!("instance refresh {refresh} of group {group} is no longer active: {now}");
        Err(ours(operation, ErrorClass::Conflict, "ActiveInstanceRefreshNotFound", message))
    }

    async fn register_task_definition(
        &self,
        base: &str,
        family: &str,
        containers: &[String],
        image: &str,
        marker: &Marker,
    ) -> Result<Applied, PortError> {
        let request = self.definition(base).await?.clone_with(family, containers, image, marker);
        let request = request.map_err(|error| not_cloneable(base, &error))?;
        Ok(Applied { id: self.register(&request).await?, warning: None })
    }

    async fn update_service(
        &self,
        cluster: &ClusterName,
        service: &ServiceName,
        task_definition: &str,
    ) -> Result<Applied, PortError> {
        let answer = self
            .call(Operation::UpdateService, || {
                self.ecs
                    .update_service()
                    .cluster(cluster.as_str())
                    .service(service.as_str())
                    .task_definition(task_definition)
                    .send()
            })
            .await
            // It may have been deregistered since it was read; it is read again.
            .inspect_err(|error| self.forget_definition(task_definition, error))?;
        let deployments = answer.service.and_then(|service| service.deployments).unwrap_or_default();
        let made = deployments.into_iter().find(|deployment| {
            deployment.status.as_deref() == Some("PRIMARY")
                && deployment.task_definition.as_deref() == Some(task_definition)
        });
        Ok(Applied { id: made.and_then(|deployment| deployment.id), warning: None })
    }
}

impl Connection {
    /// Named by its ARN, so that it can hit no other one: AWS refuses if it has ended.
    async fn roll_back_deployment(&self, deployment: &RolloutId) -> Result<Applied, PortError> {
        let answer = self
            .call(Operation::StopServiceDeployment, || {
                self.ecs
                    .stop_service_deployment()
                    .service_deployment_arn(&deployment.0)
                    .stop_type(StopServiceDeploymentStopType::Rollback)
                    .send()
            })
            .await?;
        Ok(Applied { id: answer.service_deployment_arn, warning: None })
    }
}

fn not_cloneable(base: &str, error: &CloneError) -> PortError {
    let message = format!("{base} can't be cloned: {error}");
    ours(Operation::RegisterTaskDefinition, ErrorClass::Invalid, "NotCloneable", message)
}

/// Without the SDK's own trying again.
fn autoscaling_once() -> aws_sdk_autoscaling::config::Builder {
    aws_sdk_autoscaling::config::Builder::new().retry_config(RetryConfig::disabled())
}

fn specification(template: &TemplateRef, version: u64) -> LaunchTemplateSpecification {
    // By id only: AWS refuses a request that gives the name as well.
    LaunchTemplateSpecification::builder().launch_template_id(&template.id).version(version.to_string()).build()
}

/// Auto Scaling has the same names in answers and in requests.
const QUERY: Style = Style { element: "member", before: ".member", name: str::to_owned, said_by_nothing: "" };
/// EC2's requests have capitals. A mapping with an empty `NoDevice` leaves a device of the image out.
const EC2: Style = Style { element: "item", before: "", name: capitalised, said_by_nothing: "noDevice" };

/// A group's mixed-instances policy, in an answer about groups.
fn policy_of(answer: &Element, group: &GroupName) -> Option<Element> {
    let groups = answer.child("DescribeAutoScalingGroupsResult")?.child("AutoScalingGroups")?;
    let mut named = groups.children.iter().filter(|one| one.text_of("AutoScalingGroupName") == Some(group.as_str()));
    named.next()?.child("MixedInstancesPolicy").cloned()
}

/// A policy with other versions of its launch templates; `None` if it names one that wasn't planned with.
fn move_versions(mut policy: Element, moves: &[VersionMove]) -> Option<Element> {
    let launch = policy.child_mut("LaunchTemplate")?;
    move_specification(launch.child_mut(SPECIFICATION)?, moves)?;
    for given in launch.child_mut("Overrides").into_iter().flat_map(|overrides| &mut overrides.children) {
        if let Some(own) = given.child_mut(SPECIFICATION) {
            move_specification(own, moves)?;
        }
    }
    Some(policy)
}

const SPECIFICATION: &str = "LaunchTemplateSpecification";

fn move_specification(given: &mut Element, moves: &[VersionMove]) -> Option<()> {
    let text = |name: &str| given.text_of(name).map(str::to_owned);
    let asked = LaunchTemplateSpecification::builder()
        .set_launch_template_id(text("LaunchTemplateId"))
        .set_launch_template_name(text("LaunchTemplateName"))
        .set_version(text("Version"));
    let (template, from) = template_of(&asked.build())?;
    let found = moves.iter().find(|one| one.template.id == template.id && one.from == from)?;
    // By id only: AWS refuses a request that gives the name as well.
    given.children.retain(|member| member.name != "LaunchTemplateName" && member.name != "Version");
    given.children.push(Element { name: "Version".to_owned(), text: found.to.to_string(), children: Vec::new() });
    Some(())
}

/// The block devices to send with a new version, as request parameters; none where no snapshot would be lost.
///
/// "Snapshots applied to the block device mapping are ignored when creating a new version unless they are explicitly
/// included" (EC2's model, `CreateLaunchTemplateVersionRequest.SourceVersion`). But the root device's: that one is the image's, and a
/// template that was made from an instance names the one of the image before.
fn mappings(mut devices: Vec<Element>, root_device: Option<&str>) -> Vec<(String, String)> {
    for device in
        devices.iter_mut().filter(|device| root_device.is_some_and(|root| device.text_of("deviceName") == Some(root)))
    {
        if let Some(ebs) = device.child_mut("ebs") {
            ebs.children.retain(|member| member.name != "snapshotId");
        }
    }
    if devices.iter().all(|device| device.all("snapshotId").is_empty()) {
        return Vec::new();
    }
    let devices = Element { name: "BlockDeviceMapping".to_owned(), text: String::new(), children: devices };
    devices.parameters("LaunchTemplateData.BlockDeviceMapping", EC2)
}

fn refresh_preferences(preferences: &RefreshPreferences) -> Preferences {
    let number = |seconds: u32| i32::try_from(seconds).unwrap_or(i32::MAX);
    let percentages = || preferences.checkpoints.iter().copied().map(i32::from).collect();
    let alarms =
        || AlarmSpecification::builder().set_alarms(Some(preferences.alarms.iter().cloned().collect())).build();
    Preferences::builder()
        .skip_matching(true)
        .auto_rollback(preferences.auto_rollback)
        .set_min_healthy_percentage(preferences.min_healthy.map(i32::from))
        .set_max_healthy_percentage(preferences.max_healthy.map(i32::from))
        .set_instance_warmup(preferences.warmup.map(number))
        .set_checkpoint_percentages((!preferences.checkpoints.is_empty()).then(percentages))
        .set_checkpoint_delay(preferences.checkpoint_delay.map(number))
        .set_bake_time(preferences.bake.map(number))
        .set_alarm_specification((!preferences.alarms.is_empty()).then(alarms))
        .build()
}

/// The same for the same version of a template, so that a repeated call makes it once: 64 hexadecimal digits.
fn client_token(template: &str, source: u64, image: &str, description: &str, devices: &[(String, String)]) -> String {
    // All of it is part of the request, and AWS refuses a token that comes with another request.
    let text = format!("{template}\n{source}\n{image}\n{description}\n{devices:?}");
    sha256(text, 64)
}

fn said(warning: &ValidationWarning) -> Option<String> {
    let errors: Vec<String> = warning
        .errors()
        .iter()
        .map(|error| format!("{}: {}", error.code().unwrap_or_default(), error.message().unwrap_or_default()))
        .collect();
    (!errors.is_empty()).then(|| errors.join("; "))
}

#[cfg(test)]
mod tests;
