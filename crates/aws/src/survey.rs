//! What only a forecast wants to know: ages and processors of images, instance types, and the settings that a rollout
//! goes by. What a role may not read is named, and the rest goes on.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use aws_sdk_autoscaling::types::{AutoScalingGroup, LaunchTemplateSpecification};
use aws_sdk_ec2::types::{Filter, Image, InstanceType};
use aws_sdk_ecr::types::ImageIdentifier;
use aws_sdk_ecs::types::DeploymentConfiguration;
use jiff::Timestamp;
use serde_json::Value;

use super::connection::Connection;
use super::operation::Operation;
use super::services::timestamp;
use pinion_core::model::survey::{GroupSettings, Host, ImageFacts, ServiceSettings, Survey, platform};
use pinion_core::model::{
    Artifact, Container, Digest, FargateSpec, ImageReference, ObservedGroup, ObservedService, ObservedTarget, Pattern,
    PortError, TargetSpec,
};
use pinion_core::ports::Surveyor;

/// The annotation that says which commit an image was built from.
const REVISION: &str = "org.opencontainers.image.revision";
/// The tags that say it of an AMI, the best first.
const REVISION_TAGS: [&str; 3] = [REVISION, "revision", "commit"];

#[async_trait]
impl Surveyor for Connection {
    async fn survey(&self, target: &TargetSpec, observed: &ObservedTarget, next: Option<&Artifact>) -> Survey {
        match (target, observed) {
            (TargetSpec::Asg(_), ObservedTarget::Group(group)) => self.survey_group(group, next).await,
            (TargetSpec::Fargate(spec), ObservedTarget::Service(service)) => {
                self.survey_service(spec, service, next).await
            }
            _ => Survey::default(),
        }
    }

    async fn versions(&self, pattern: &Pattern) -> Result<BTreeMap<String, Option<Digest>>, PortError> {
        self.versions_of_pattern(pattern).await
    }
}

impl Connection {
    async fn survey_group(&self, group: &ObservedGroup, next: Option<&Artifact>) -> Survey {
        let mut survey = Survey::default();
        let now = group.current.as_ref().and_then(|version| version.image.as_deref());
        let wanted: BTreeSet<&str> = now.into_iter().chain(next.map(Artifact::identity)).collect();
        match self.describe_by_id(&wanted).await {
            Ok(images) => {
                let of = |id: Option<&str>| {
                    let image = images.iter().find(|image| image.image_id.as_deref() == id && id.is_some());
                    image.map(machine_facts)
                };
                survey.now = of(now);
                survey.next = of(next.map(Artifact::identity));
            }
            Err(error) => survey.unread.push(format!("couldn't read the AMIs' ages: {error}")),
        }
        match self.settings_of_group(group, &mut survey.unread).await {
            Ok(settings) => survey.host = settings.map(Host::Group),
            Err(error) => survey.unread.push(format!("the group's settings couldn't be read: {error}")),
        }
        survey
    }

    async fn describe_by_id(&self, ids: &BTreeSet<&str>) -> Result<Vec<Image>, PortError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let values: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        let filter = Filter::builder().name("image-id").set_values(Some(values)).build();
        let send = || {
            let request = self.ec2.describe_images().filters(filter.clone());
            request.include_deprecated(true).include_disabled(true).send()
        };
        Ok(self.call(Operation::DescribeMachineImages, send).await?.images.unwrap_or_default())
    }

    async fn settings_of_group(
        &self,
        group: &ObservedGroup,
        unread: &mut Vec<String>,
    ) -> Result<Option<GroupSettings>, PortError> {
        let name = group.name.as_str();
        let send = || self.autoscaling.describe_auto_scaling_groups().auto_scaling_group_names(name).send();
        let groups = self.call(Operation::DescribeAutoScalingGroups, send).await?.auto_scaling_groups;
        let Some(group) = groups.and_then(|groups| groups.into_iter().next()) else { return Ok(None) };
        let policy = group.instance_maintenance_policy.as_ref();
        let percentage = |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok());
        let warmup = percentage(group.default_instance_warmup).or(percentage(group.health_check_grace_period));
        let mut settings = GroupSettings {
            min_healthy: percentage(policy.and_then(|policy| policy.min_healthy_percentage)),
            max_healthy: percentage(policy.and_then(|policy| policy.max_healthy_percentage)),
            warmup: warmup.unwrap_or_default(),
            instance_types: BTreeMap::new(),
        };
        match self.instance_types(&group).await {
            Ok(types) => settings.instance_types = types,
            Err(error) => unread.push(format!("couldn't check the AMI against the instance types: {error}")),
        }
        Ok(Some(settings))
    }

    /// The instance types that a group launches, each with its processors.
    async fn instance_types(&self, group: &AutoScalingGroup) -> Result<BTreeMap<String, BTreeSet<String>>, PortError> {
        let mixed = group.mixed_instances_policy.as_ref().and_then(|policy| policy.launch_template.as_ref());
        let overrides = mixed.and_then(|template| template.overrides.as_deref()).unwrap_or_default();
        let mut names: BTreeSet<String> =
            overrides.iter().filter_map(|instance| instance.instance_type.clone()).collect();
        let template = group.launch_template.as_ref();
        let template = template.or(mixed.and_then(|mixed| mixed.launch_template_specification.as_ref()));
        if let (true, Some(template)) = (names.is_empty(), template) {
            names.extend(self.instance_type_of(template).await?);
        }
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let send = || {
            let wanted = names.iter().map(|name| InstanceType::from(name.as_str())).collect();
            self.ec2.describe_instance_types().set_instance_types(Some(wanted)).send()
        };
        let described = self.call(Operation::DescribeInstanceTypes, send).await?.instance_types.unwrap_or_default();
        let described = described.into_iter().filter_map(|found| {
            let processors = found.processor_info.and_then(|processor| processor.supported_architectures);
            let processors = processors.unwrap_or_default();
            Some((found.instance_type?.to_string(), processors.iter().map(|word| platform(word.as_str())).collect()))
        });
        Ok(described.collect())
    }

    async fn instance_type_of(&self, template: &LaunchTemplateSpecification) -> Result<Option<String>, PortError> {
        let version = template.version.clone().filter(|version| !version.is_empty());
        let version = version.unwrap_or_else(|| "$Default".to_owned());
        let send = || {
            let request = self.ec2.describe_launch_template_versions().versions(version.clone());
            request.set_launch_template_id(template.launch_template_id.clone()).send()
        };
        let versions = self.call(Operation::DescribeLaunchTemplateVersions, send).await?.launch_template_versions;
        let data = versions.and_then(|versions| versions.into_iter().next()?.launch_template_data);
        Ok(data.and_then(|data| data.instance_type).map(|name| name.to_string()))
    }

    async fn survey_service(&self, spec: &FargateSpec, service: &ObservedService, next: Option<&Artifact>) -> Survey {
        let mut survey = Survey::default();
        let now = container(spec, service).map(|container| container.image.as_str());
        let next = next.map(Artifact::identity);
        let (now, next) = tokio::join!(self.container_facts(now), self.container_facts(next));
        for (slot, read) in [(&mut survey.now, now), (&mut survey.next, next)] {
            match read {
                Ok(facts) => *slot = facts,
                Err(error) => survey.unread.push(format!("couldn't read an image's details from ECR: {error}")),
            }
        }
        let settings = async {
            let (cluster, name) = (service.cluster.as_str(), service.name.as_str());
            let send = || self.ecs.describe_services().cluster(cluster).services(name).send();
            let services = self.call(Operation::DescribeServices, send).await?.services;
            let found = services.and_then(|services| services.into_iter().next());
            let definition = self.definition(&service.task_definition.arn).await?;
            let configuration = found.and_then(|found| found.deployment_configuration);
            Ok::<_, PortError>(service_settings(configuration.as_ref(), definition.processor()))
        };
        match settings.await {
            Ok(settings) => survey.host = Some(Host::Service(settings)),
            Err(error) => survey.unread.push(format!("the service's settings couldn't be read: {error}")),
        }
        survey
    }

    /// What ECR says of an image; `None` for one of another registry.
    async fn container_facts(&self, image: Option<&str>) -> Result<Option<ImageFacts>, PortError> {
        let Some((reference, id)) = image.and_then(identifier) else { return Ok(None) };
        let Some((registry, region)) = reference.ecr() else { return Ok(None) };
        let client = self.ecr(region);
        let describe = self.call_in(region, Operation::DescribeContainerImages, || {
            let request = client.describe_images().registry_id(registry).repository_name(&reference.repository);
            request.image_ids(id.clone()).send()
        });
        let get = self.call_in(region, Operation::BatchGetImage, || {
            let request = client.batch_get_image().registry_id(registry).repository_name(&reference.repository);
            request.image_ids(id.clone()).set_accepted_media_types(Some(manifest_types())).send()
        });
        let (described, got) = tokio::join!(describe, get);
        let manifest = got?.images.unwrap_or_default().into_iter().next().and_then(|image| image.image_manifest);
        let mut facts = manifest.as_deref().map(manifest_facts).unwrap_or_default();
        // A repository's policy that lets an account pull needn't let it describe: then only the age isn't known.
        let details = described.ok().and_then(|described| described.image_details).unwrap_or_default();
        facts.created = details.first().and_then(|detail| timestamp(detail.image_pushed_at.as_ref()?));
        Ok(Some(facts))
    }
}

/// The container whose image is ours, as planning finds it.
fn container<'a>(spec: &FargateSpec, service: &'a ObservedService) -> Option<&'a Container> {
    let mut containers = service.task_definition.containers.iter();
    match spec.containers.first() {
        Some(name) => containers.find(|container| container.name == *name),
        None => containers.find(|container| container.essential),
    }
}

/// Without these AWS turns a manifest into the oldest form.
fn manifest_types() -> Vec<String> {
    [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// An image by tag or digest, in the words of ECR.
fn identifier(image: &str) -> Option<(ImageReference, ImageIdentifier)> {
    match image.split_once('@') {
        Some((name, digest)) => {
            // Only the registry and the repository count.
            let reference = ImageReference::parse(&format!("{name}:digest"))?;
            Some((reference, ImageIdentifier::builder().image_digest(digest).build()))
        }
        None => {
            let reference = ImageReference::parse(image)?;
            let id = ImageIdentifier::builder().image_tag(&reference.tag).build();
            Some((reference, id))
        }
    }
}

fn machine_facts(image: &Image) -> ImageFacts {
    let time = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
    let tag = |key: &&str| {
        let found = image.tags().iter().find(|tag| tag.key.as_deref() == Some(*key));
        found.and_then(|tag| tag.value.clone()).filter(|value| !value.is_empty())
    };
    ImageFacts {
        created: time(&image.creation_date),
        deprecated: time(&image.deprecation_time),
        platforms: image.architecture.iter().map(|word| platform(word.as_str())).collect(),
        source: REVISION_TAGS.iter().find_map(tag),
    }
}

/// What a manifest says. One of a single image doesn't say which processor that is for: its configuration does.
fn manifest_facts(manifest: &str) -> ImageFacts {
    let Ok(manifest) = serde_json::from_str::<Value>(manifest) else { return ImageFacts::default() };
    let entries = manifest.get("manifests").and_then(Value::as_array).into_iter().flatten();
    let word = |entry: &Value| entry.pointer("/platform/architecture").and_then(Value::as_str).map(platform);
    let source = manifest.get("annotations").and_then(|annotations| annotations.get(REVISION)?.as_str());
    ImageFacts {
        // Attestations stand among the images, for the processor `unknown`.
        platforms: entries.filter_map(word).filter(|word| word != "unknown").collect(),
        source: source.map(str::to_owned).filter(|source| !source.is_empty()),
        ..ImageFacts::default()
    }
}

fn service_settings(configuration: Option<&DeploymentConfiguration>, processor: Option<&str>) -> ServiceSettings {
    let number = |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok());
    let minutes = |value: Option<i32>| number(value).unwrap_or_default().saturating_mul(60);
    let breaker = configuration.and_then(|configuration| configuration.deployment_circuit_breaker.as_ref());
    let alarms = configuration.and_then(|configuration| configuration.alarms.as_ref());
    let (breaks, alarmed) = (breaker.is_some_and(|breaker| breaker.enable), alarms.is_some_and(|alarms| alarms.enable));
    let linear = configuration.and_then(|configuration| configuration.linear_configuration.as_ref());
    let canary = configuration.and_then(|configuration| configuration.canary_configuration.as_ref());
    let strategy = configuration.and_then(|configuration| configuration.strategy.as_ref());
    let strategy = strategy.map_or("ROLLING", |strategy| strategy.as_str()).to_owned();
    let steps = match strategy.as_str() {
        "LINEAR" => {
            let percent = linear.and_then(|linear| linear.step_percent).unwrap_or(10.0).clamp(1.0, 100.0);
            let mut steps = 0_u32;
            while f64::from(steps) * percent < 100.0 {
                steps += 1;
            }
            Some((steps, minutes(linear.and_then(|linear| linear.step_bake_time_in_minutes))))
        }
        "CANARY" => Some((1, minutes(canary.and_then(|canary| canary.canary_bake_time_in_minutes)))),
        _ => None,
    };
    ServiceSettings {
        strategy,
        min_healthy: number(configuration.and_then(|it| it.minimum_healthy_percent)).unwrap_or(100),
        max_healthy: number(configuration.and_then(|it| it.maximum_percent)).unwrap_or(200),
        bake: minutes(configuration.and_then(|it| it.bake_time_in_minutes)),
        steps,
        rolls_back: (breaks && breaker.is_some_and(|breaker| breaker.rollback))
            || (alarmed && alarms.is_some_and(|alarms| alarms.rollback)),
        detects: breaks || alarmed,
        // Fargate's default.
        platform: platform(processor.unwrap_or("X86_64")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_names_its_processors() {
        let index = r#"{ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
            { "digest": "sha256:1", "platform": { "os": "linux", "architecture": "amd64" } },
            { "digest": "sha256:2", "platform": { "os": "linux", "architecture": "arm64" } },
            { "digest": "sha256:3", "platform": { "os": "unknown", "architecture": "unknown" } } ],
            "annotations": { "org.opencontainers.image.revision": "4f1e2d3" } }"#;
        let facts = manifest_facts(index);
        assert_eq!(facts.platforms, BTreeSet::from(["arm64".to_owned(), "x86_64".to_owned()]));
        assert_eq!(facts.source.as_deref(), Some("4f1e2d3"));
        assert_eq!(manifest_facts(r#"{ "schemaVersion": 2, "layers": [] }"#), ImageFacts::default());
        assert_eq!(manifest_facts("not JSON"), ImageFacts::default());
    }

    #[test]
    fn an_image_is_asked_for_by_what_names_it() {
        let registry = "333333333333.dkr.ecr.us-west-1.amazonaws.com/team/backend";
        let (reference, id) = identifier(&format!("{registry}:2.0.1")).unwrap();
        assert_eq!((reference.repository.as_str(), id.image_tag()), ("team/backend", Some("2.0.1")));
        let (reference, id) = identifier(&format!("{registry}@sha256:abc")).unwrap();
        assert_eq!((reference.repository.as_str(), id.image_digest()), ("team/backend", Some("sha256:abc")));
        assert!(identifier("nginx").is_none());
    }

    #[test]
    fn settings_that_are_not_given_are_those_of_ecs() {
        let plain = service_settings(None, None);
        assert_eq!((plain.min_healthy, plain.max_healthy, plain.rolls_back), (100, 200, false));
        assert_eq!((plain.strategy.as_str(), plain.platform.as_str()), ("ROLLING", "x86_64"));
        let linear = DeploymentConfiguration::builder()
            .strategy(aws_sdk_ecs::types::DeploymentStrategy::from("LINEAR"))
            .linear_configuration(
                aws_sdk_ecs::types::LinearConfiguration::builder()
                    .step_percent(30.0)
                    .step_bake_time_in_minutes(5)
                    .build(),
            )
            .build();
        assert_eq!(service_settings(Some(&linear), Some("ARM64")).steps, Some((4, 300)));
        for (percent, steps) in [(f64::NAN, 0), (f64::INFINITY, 1), (f64::NEG_INFINITY, 100), (-0.0, 100), (1e300, 1)] {
            let minutes = i32::MAX;
            let odd = aws_sdk_ecs::types::LinearConfiguration::builder();
            let odd = odd.step_percent(percent).step_bake_time_in_minutes(minutes).build();
            let odd = DeploymentConfiguration::builder()
                .strategy(aws_sdk_ecs::types::DeploymentStrategy::from("LINEAR"))
                .linear_configuration(odd)
                .minimum_healthy_percent(i32::MIN)
                .maximum_percent(i32::MAX)
                .bake_time_in_minutes(minutes)
                .build();
            let settings = service_settings(Some(&odd), None);
            assert_eq!((settings.steps, settings.bake), (Some((steps, u32::MAX)), u32::MAX), "{percent}");
            assert_eq!((settings.min_healthy, settings.max_healthy), (100, 2_147_483_647));
        }
    }
}
