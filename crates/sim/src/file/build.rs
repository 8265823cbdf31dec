//! From a world file to a world.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::super::engine;
use super::super::world::{
    Account, Cluster, ContainerImage, Group, GroupSource, Hook, Hooks, Image, LaunchTemplate, Lifecycle, Parameter,
    Repository, Service, TemplateRef, TemplateVersion, WarmPool, World, shown_template, stable_hex,
};
use super::{
    AccountFile, BORN, ClusterFile, ContainerImageFile, GroupFile, HookFile, ImageFile, TemplateFile, WorldError,
};

fn hook(file: HookFile) -> Hook {
    Hook { name: file.name, timeout: file.timeout, proceeds: file.proceeds }
}

impl World {
    /// Puts an image into its owner's account, replacing one with the same id. Answers the id.
    pub(crate) fn add_image(&mut self, owner: &str, region: &str, file: ImageFile, created: i64) -> String {
        let id = file.id.unwrap_or_else(|| format!("ami-0{}", stable_hex(&["ami", owner, region, &file.name], 16)));
        let image = Image {
            id: id.clone(),
            name: file.name,
            owner: owner.to_owned(),
            description: file.description,
            tags: file.tags,
            architecture: file.architecture,
            deregistered: (file.state == "deregistered").then_some(if created == BORN { 0 } else { self.now }),
            state: file.state,
            public: file.public,
            shared_with: file.shared_with,
            created,
            deprecated: file.deprecated,
            healthy: file.healthy,
            boot: file.boot,
        };
        self.region_mut(owner, region).images.insert(id.clone(), image);
        id
    }

    /// Pushes a container image; its tags leave other images. Answers the digest.
    pub(crate) fn add_container_image(
        &mut self,
        owner: &str,
        region: &str,
        repository: &str,
        file: ContainerImageFile,
        pushed: i64,
    ) -> String {
        let tags: Vec<&str> = file.tags.iter().map(String::as_str).collect();
        let named = format!("{}{:?}", tags.join(","), file.behaviour);
        let digest =
            file.digest.unwrap_or_else(|| format!("sha256:{}", stable_hex(&[owner, region, repository, &named], 64)));
        let held =
            self.region_mut(owner, region).repositories.entry(repository.to_owned()).or_insert_with(|| Repository {
                name: repository.to_owned(),
                region: region.to_owned(),
                created: pushed,
                allowed: BTreeSet::new(),
                policy: None,
                images: BTreeMap::new(),
            });
        for image in held.images.values_mut() {
            image.tags.retain(|tag| !file.tags.contains(tag));
        }
        let image = held.images.entry(digest.clone()).or_insert_with(|| ContainerImage {
            digest: digest.clone(),
            tags: BTreeSet::new(),
            pushed,
            fate: file.behaviour,
            architectures: BTreeSet::new(),
        });
        image.tags.extend(file.tags);
        image.fate = file.behaviour;
        image.architectures = file.architectures;
        digest
    }

    pub(super) fn add_artifacts(&mut self, file: &mut AccountFile, default_region: &str) {
        let id = file.id.clone();
        let account = self.accounts.entry(id.clone()).or_default();
        *account = Account {
            id: id.clone(),
            name: file.name.clone(),
            roles: BTreeMap::new(),
            users: BTreeMap::new(),
            regions: account.regions.clone(),
        };
        let place = |region: Option<String>| region.unwrap_or_else(|| default_region.to_owned());
        for image in file.image.drain(..) {
            let region = place(image.region.clone());
            self.add_image(&id, &region, image, BORN);
        }
        for repository in &mut file.repository {
            let region = place(repository.region.clone());
            for image in repository.image.drain(..) {
                self.add_container_image(&id, &region, &repository.name, image, BORN);
            }
            let held = self.region_mut(&id, &region).repositories.entry(repository.name.clone());
            let held = held.or_insert_with(|| Repository {
                name: repository.name.clone(),
                region: region.clone(),
                created: BORN,
                allowed: BTreeSet::new(),
                policy: None,
                images: BTreeMap::new(),
            });
            held.allowed.clone_from(&repository.allowed);
        }
        for parameter in file.parameter.drain(..) {
            let region = place(parameter.region);
            let held = Parameter {
                name: parameter.name.clone(),
                kind: parameter.kind,
                data_type: parameter.data_type,
                versions: parameter.versions.into_iter().map(|value| (value, BORN)).collect(),
                labels: parameter.labels,
                shared_with: parameter.shared_with,
            };
            self.region_mut(&id, &region).parameters.insert(parameter.name, held);
        }
    }

    pub(super) fn add_workloads(&mut self, file: AccountFile, default_region: &str) -> Result<(), WorldError> {
        let id = file.id;
        let place = |region: Option<String>| region.unwrap_or_else(|| default_region.to_owned());
        for template in file.launch_template {
            let region = place(template.region.clone());
            self.add_template(&id, &region, template);
        }
        for definition in file.task_definition {
            let region = place(definition.region.clone());
            self.register(&id, &region, definition.definition, tag_list(&definition.tags), "root", BORN);
        }
        for group in file.group {
            let region = place(group.region.clone());
            self.add_group(&id, &region, group)?;
        }
        for cluster in file.cluster {
            let region = place(cluster.region.clone());
            self.add_cluster(&id, &region, cluster)?;
        }
        Ok(())
    }

    fn add_template(&mut self, account: &str, region: &str, file: TemplateFile) {
        let made = || format!("lt-0{}", stable_hex(&["lt", account, region, &file.name], 16));
        let id = file.id.clone().unwrap_or_else(made);
        let created_by = format!("arn:aws:iam::{account}:root");
        let versions = file.version.into_iter().zip(1..).map(|(version, number)| {
            let held = TemplateVersion {
                number,
                description: version.description,
                created: BORN,
                created_by: created_by.clone(),
                data: version.data,
            };
            (number, held)
        });
        let template = LaunchTemplate {
            id: id.clone(),
            name: file.name,
            default: file.default,
            versions: versions.collect(),
            created: BORN,
            created_by: created_by.clone(),
            tags: file.tags,
            tokens: BTreeMap::new(),
        };
        self.region_mut(account, region).templates.insert(id, template);
    }

    fn add_group(&mut self, account: &str, region: &str, file: GroupFile) -> Result<(), WorldError> {
        let missing = |what: String| WorldError::Missing { what, place: format!("{account}/{region}/{}", file.name) };
        let find = |name: &str, version: &str| {
            let held = self.region(account, region);
            let template = held
                .and_then(|held| held.templates.values().find(|template| template.name == *name))
                .filter(|template| template.number(version).is_some())
                .ok_or_else(|| missing(format!("launch template {name} version {version}")))?;
            Ok(TemplateRef { id: template.id.clone(), name: template.name.clone(), version: version.to_owned() })
        };
        let source = match (&file.launch_template, &file.launch_configuration) {
            (Some(name), _) => match file.mixed {
                None => GroupSource::Template(find(name, &file.version)?),
                Some(mixed) => {
                    let mut overrides = mixed.overrides;
                    for given in &mut overrides {
                        let Some(own) = given.get("LaunchTemplateSpecification") else { continue };
                        let text = |key: &str| own.get(key).and_then(Value::as_str);
                        let name = text("LaunchTemplateName").unwrap_or_default();
                        let own = find(name, text("Version").unwrap_or("$Default"))?;
                        given.insert("LaunchTemplateSpecification".to_owned(), shown_template(&own));
                    }
                    let template = find(name, &file.version)?;
                    GroupSource::Mixed { template, overrides, distribution: mixed.distribution }
                }
            },
            (None, Some(configuration)) => {
                GroupSource::Configuration { name: configuration.name.clone(), image: configuration.image.clone() }
            }
            (None, None) => return Err(missing("neither a launch template nor a launch configuration".to_owned())),
        };
        let uuid = stable_hex(&["asg", account, region, &file.name], 32);
        let mut group = Group {
            arn: format!(
                "arn:aws:autoscaling:{region}:{account}:autoScalingGroup:{uuid}:autoScalingGroupName/{}",
                file.name
            ),
            name: file.name.clone(),
            min: file.min.unwrap_or(0),
            max: file.max.unwrap_or(file.desired.saturating_mul(2)),
            desired: file.desired,
            source,
            warmup: file.warmup,
            grace: file.grace,
            health_check_type: file.health_check_type,
            zones: vec![format!("{region}a"), format!("{region}c")],
            subnets: format!("subnet-{},subnet-{}", stable_hex(&[account, "a"], 8), stable_hex(&[account, "c"], 8)),
            target_groups: file.target_groups,
            tags: file.tags,
            maintenance: file.maintenance,
            suspended: BTreeSet::new(),
            protects: file.protects,
            created: BORN,
            instances: Vec::new(),
            refreshes: Vec::new(),
            launch_after: 0,
            hooks: Hooks { launching: file.hooks.launching.map(hook), terminating: file.hooks.terminating.map(hook) },
            warm_pool: file.warm_pool.map(|pool| WarmPool {
                min: pool.min,
                prepared: pool.prepared,
                state: pool.state,
                instances: Vec::new(),
            }),
        };
        self.with_region(account, region, |_, _, scene| engine::asg::settle(&mut group, scene));
        // Only now: it had its instances before.
        group.suspended = file.suspended;
        for instance in group.instances.iter_mut().take(file.protected) {
            instance.protected = true;
        }
        for instance in group.instances.iter_mut().rev().take(file.attached) {
            instance.template = None;
        }
        for instance in group.instances.iter_mut().rev().take(file.standby) {
            instance.lifecycle = Lifecycle::Standby;
            group.desired -= 1;
        }
        self.region_mut(account, region).groups.insert(file.name, group);
        Ok(())
    }

    fn add_cluster(&mut self, account: &str, region: &str, file: ClusterFile) -> Result<(), WorldError> {
        let arn = format!("arn:aws:ecs:{region}:{account}:cluster/{}", file.name);
        let mut services = BTreeMap::new();
        for service in file.service {
            let definition =
                self.task_definition(account, region, &service.task_definition).ok_or_else(|| WorldError::Missing {
                    what: format!("task definition {}", service.task_definition),
                    place: format!("{account}/{region}/{}/{}", file.name, service.name),
                })?;
            let mut shown = default_members(account, region, &service.name, service.load_balancer);
            fit_capacity(&mut shown, &service.members, &definition.registered);
            shown.extend(service.members);
            let mut configuration = default_configuration();
            configuration.extend(service.configuration);
            let held = Service {
                arn: format!("arn:aws:ecs:{region}:{account}:service/{}/{}", file.name, service.name),
                name: service.name.clone(),
                cluster: file.name.clone(),
                cluster_arn: arn.clone(),
                active: service.active,
                task_definition: definition.arn.clone(),
                desired: service.desired,
                controller: service.controller,
                silent: !service.rollout_state,
                configuration,
                shown,
                tags: tag_list(&service.tags),
                created: BORN,
                deployments: Vec::new(),
                service_deployments: Vec::new(),
                revisions: Vec::new(),
                tasks: Vec::new(),
                events: Vec::new(),
            };
            services.insert(service.name, held);
        }
        let cluster = Cluster { name: file.name.clone(), arn, services, tags: Vec::new() };
        self.region_mut(account, region).clusters.insert(file.name, cluster);
        Ok(())
    }
}

/// Takes out what a service doesn't have on the capacity that it is on.
fn fit_capacity(shown: &mut Map<String, Value>, given: &Map<String, Value>, definition: &Map<String, Value>) {
    // A service has a launch type or a strategy of capacity providers, not both.
    let strategy = given.get("capacityProviderStrategy").and_then(Value::as_array);
    if strategy.is_some() {
        shown.remove("launchType");
    }
    let mut providers =
        strategy.into_iter().flatten().filter_map(|item| item.get("capacityProvider").and_then(Value::as_str));
    let launch_type = given.get("launchType").and_then(Value::as_str);
    if launch_type.is_some_and(|given| given != "FARGATE") || providers.any(|name| !name.starts_with("FARGATE")) {
        shown.remove("platformVersion");
        shown.remove("platformFamily");
    }
    if definition.get("networkMode").and_then(Value::as_str) != Some("awsvpc") {
        shown.remove("networkConfiguration");
    }
}

/// Tags in ECS's spelling.
fn tag_list(tags: &BTreeMap<String, String>) -> Vec<Value> {
    tags.iter().map(|(key, value)| serde_json::json!({ "key": key, "value": value })).collect()
}

fn default_configuration() -> Map<String, Value> {
    let mut configuration = Map::new();
    configuration.insert("maximumPercent".to_owned(), 200.into());
    configuration.insert("minimumHealthyPercent".to_owned(), 100.into());
    configuration.insert("strategy".to_owned(), "ROLLING".into());
    configuration
}

/// What a Fargate service in private subnets shows.
fn default_members(account: &str, region: &str, name: &str, load_balancer: bool) -> Map<String, Value> {
    let subnet = |zone: &str| format!("subnet-{}", stable_hex(&[account, zone], 8));
    let mut members = Map::new();
    members.insert("launchType".to_owned(), "FARGATE".into());
    members.insert("platformVersion".to_owned(), "1.4.0".into());
    members.insert("platformFamily".to_owned(), "Linux".into());
    members.insert("schedulingStrategy".to_owned(), "REPLICA".into());
    members.insert("propagateTags".to_owned(), "NONE".into());
    members.insert("enableECSManagedTags".to_owned(), true.into());
    members.insert("enableExecuteCommand".to_owned(), false.into());
    members.insert(
        "networkConfiguration".to_owned(),
        serde_json::json!({ "awsvpcConfiguration": {
            "subnets": [subnet("a"), subnet("c")],
            "securityGroups": [format!("sg-{}", stable_hex(&[account, name], 8))],
            "assignPublicIp": "DISABLED",
        } }),
    );
    let target = format!(
        "arn:aws:elasticloadbalancing:{region}:{account}:targetgroup/{name}/{}",
        stable_hex(&[account, name, "tg"], 16)
    );
    let balancers = if load_balancer {
        serde_json::json!([{ "targetGroupArn": target, "containerName": "app", "containerPort": 8080 }])
    } else {
        serde_json::json!([])
    };
    members.insert("loadBalancers".to_owned(), balancers);
    members
}
