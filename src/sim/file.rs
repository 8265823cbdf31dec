//! The world file: TOML that says what the accounts hold at the start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::world::{
    Account, Cluster, ContainerImage, Fate, Group, Image, LaunchTemplate, Parameter, Repository, Role, Service, Source,
    TaskDefinition, TemplateRef, TemplateVersion, Timing, World, stable_hex,
};

/// When everything that a world file names was made: 2026-01-01T00:00:00Z, in milliseconds.
const BORN: i64 = 1_767_225_600_000;

/// Why a world file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The file can't be read.
    #[error("can't read the world file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file isn't TOML, or has a key that a world file has not, or lacks one.
    #[error("the world file is not valid")]
    Parse(#[source] Box<toml::de::Error>),
    /// Something refers to something that isn't there.
    #[error("the world file names {what} in {place}, which is not there; add it or correct the name")]
    Missing {
        /// What was referred to.
        what: String,
        /// Account, region and name of what refers to it.
        place: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorldFile {
    controller: String,
    region: String,
    #[serde(default)]
    timing: Timing,
    #[serde(default)]
    account: Vec<AccountFile>,
    fleet: Option<FleetFile>,
}

/// Many accounts alike, in a few lines.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FleetFile {
    accounts: usize,
    groups: usize,
    services: usize,
    #[serde(default = "two")]
    instances: i64,
    #[serde(default = "two")]
    tasks: i64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountFile {
    id: String,
    name: String,
    #[serde(default)]
    role: Vec<RoleFile>,
    #[serde(default)]
    image: Vec<ImageFile>,
    #[serde(default)]
    launch_template: Vec<TemplateFile>,
    #[serde(default)]
    group: Vec<GroupFile>,
    #[serde(default)]
    task_definition: Vec<TaskDefinitionFile>,
    #[serde(default)]
    cluster: Vec<ClusterFile>,
    #[serde(default)]
    repository: Vec<RepositoryFile>,
    #[serde(default)]
    parameter: Vec<ParameterFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleFile {
    name: String,
    external_id: Option<String>,
    #[serde(default = "hour")]
    max_session: i64,
}

/// A machine image, in a world file or published at run time.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImageFile {
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) region: Option<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default = "x86")]
    architecture: String,
    #[serde(default = "available")]
    state: String,
    #[serde(default)]
    public: bool,
    #[serde(default)]
    shared_with: BTreeSet<String>,
    #[serde(default)]
    deprecated: bool,
    #[serde(default = "yes")]
    healthy: bool,
    boot: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateFile {
    name: String,
    region: Option<String>,
    #[serde(default = "one")]
    default: i64,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    version: Vec<VersionFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionFile {
    description: Option<String>,
    data: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupFile {
    name: String,
    region: Option<String>,
    min: Option<i64>,
    max: Option<i64>,
    desired: i64,
    launch_template: Option<String>,
    #[serde(default = "first")]
    version: String,
    mixed: Option<MixedFile>,
    launch_configuration: Option<ConfigurationFile>,
    warmup: Option<i64>,
    #[serde(default)]
    grace: i64,
    #[serde(default = "ec2")]
    health_check_type: String,
    #[serde(default)]
    target_groups: Vec<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    maintenance: Option<(i64, i64)>,
    #[serde(default)]
    suspended: BTreeSet<String>,
    #[serde(default)]
    protected: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MixedFile {
    #[serde(default)]
    overrides: Vec<Map<String, Value>>,
    #[serde(default)]
    distribution: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigurationFile {
    name: String,
    image: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskDefinitionFile {
    region: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    definition: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterFile {
    name: String,
    region: Option<String>,
    #[serde(default)]
    service: Vec<ServiceFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceFile {
    name: String,
    task_definition: String,
    desired: i64,
    #[serde(default = "rolling")]
    controller: String,
    #[serde(default)]
    load_balancer: bool,
    #[serde(default)]
    configuration: Map<String, Value>,
    #[serde(default)]
    members: Map<String, Value>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RepositoryFile {
    name: String,
    region: Option<String>,
    #[serde(default)]
    allowed: BTreeSet<String>,
    #[serde(default)]
    image: Vec<ContainerImageFile>,
}

/// A container image, in a world file or pushed at run time.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContainerImageFile {
    pub(crate) tags: BTreeSet<String>,
    pub(crate) digest: Option<String>,
    #[serde(default)]
    pub(crate) behaviour: Fate,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ParameterFile {
    name: String,
    region: Option<String>,
    #[serde(default = "string")]
    kind: String,
    #[serde(default = "text")]
    data_type: String,
    versions: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, usize>,
    #[serde(default)]
    shared_with: BTreeSet<String>,
}

fn yes() -> bool {
    true
}
fn one() -> i64 {
    1
}
fn two() -> i64 {
    2
}
fn hour() -> i64 {
    3600
}
fn first() -> String {
    "1".to_owned()
}
fn x86() -> String {
    "x86_64".to_owned()
}
fn available() -> String {
    "available".to_owned()
}
fn ec2() -> String {
    "EC2".to_owned()
}
fn rolling() -> String {
    "ECS".to_owned()
}
fn string() -> String {
    "String".to_owned()
}
fn text() -> String {
    "text".to_owned()
}

impl World {
    /// The world of the demo: a tools account with the artifacts, and a dev and a prod account that run them.
    ///
    /// # Errors
    ///
    /// Never, as long as the tests pass; the file is part of the program.
    pub fn demo() -> Result<Self, WorldError> {
        Self::parse(include_str!("demo.toml"))
    }

    /// `accounts` accounts (`000000000001` and on) beside the tools account, each with `groups` groups
    /// (`group-0` and on) and `services` services (`service-0` and on, in cluster `app`).
    ///
    /// # Errors
    ///
    /// Never, as long as the tests pass.
    pub fn fleet(accounts: usize, groups: usize, services: usize) -> Result<Self, WorldError> {
        Self::parse(&format!(
            "controller = \"111111111111\"\nregion = \"us-west-1\"\n[fleet]\naccounts = {accounts}\ngroups = \
             {groups}\nservices = {services}\n"
        ))
    }

    /// Reads a world file.
    ///
    /// # Errors
    ///
    /// If the file can't be read, isn't a world file, or names what it doesn't hold.
    pub fn load(path: &Path) -> Result<Self, WorldError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| WorldError::Read { path: path.to_owned(), source })?;
        Self::parse(&text)
    }

    /// Reads a world from TOML text.
    ///
    /// # Errors
    ///
    /// If the text isn't a world file, or names what it doesn't hold.
    pub fn parse(text: &str) -> Result<Self, WorldError> {
        let mut file: WorldFile = toml::from_str(text).map_err(|error| WorldError::Parse(Box::new(error)))?;
        if let Some(fleet) = file.fleet.take() {
            let text = fleet_text(&fleet, &file.controller, &file.region);
            let more: WorldFile = toml::from_str(&text).map_err(|error| WorldError::Parse(Box::new(error)))?;
            file.account.extend(more.account);
        }
        let mut world = Self::empty(&file.controller, &file.region, file.timing.clone());
        world.wall = BORN;
        world.region_mut(&file.controller, &file.region);
        // Artifacts of all accounts first: what runs in one account may come from another.
        for account in &mut file.account {
            world.add_artifacts(account, &file.region);
        }
        for account in file.account {
            world.add_workloads(account, &file.region)?;
        }
        world.settle();
        world.wall = 0;
        Ok(world)
    }

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
                created: pushed,
                allowed: BTreeSet::new(),
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
        });
        image.tags.extend(file.tags);
        image.fate = file.behaviour;
        digest
    }

    fn add_artifacts(&mut self, file: &mut AccountFile, default_region: &str) {
        let id = file.id.clone();
        let roles = file.role.drain(..).map(|role| {
            let held = Role { name: role.name.clone(), external_id: role.external_id, max_session: role.max_session };
            (role.name, held)
        });
        let account = self.accounts.entry(id.clone()).or_default();
        *account = Account {
            id: id.clone(),
            name: file.name.clone(),
            roles: roles.collect(),
            regions: account.regions.clone(),
        };
        let place = |region: Option<String>| region.unwrap_or_else(|| default_region.to_owned());
        for image in file.image.drain(..) {
            let region = place(image.region.clone());
            self.add_image(&id, &region, image, BORN);
        }
        for repository in file.repository.drain(..) {
            let region = place(repository.region);
            for image in repository.image {
                self.add_container_image(&id, &region, &repository.name, image, BORN);
            }
            let held = self.region_mut(&id, &region).repositories.entry(repository.name.clone());
            let held = held.or_insert_with(|| Repository {
                name: repository.name.clone(),
                created: BORN,
                allowed: BTreeSet::new(),
                images: BTreeMap::new(),
            });
            held.allowed = repository.allowed;
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

    fn add_workloads(&mut self, file: AccountFile, default_region: &str) -> Result<(), WorldError> {
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
        let id = format!("lt-0{}", stable_hex(&["lt", account, region, &file.name], 16));
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
        let source = match (&file.launch_template, &file.launch_configuration) {
            (Some(name), _) => {
                let held = self.region(account, region);
                let template = held
                    .and_then(|held| held.templates.values().find(|template| template.name == *name))
                    .filter(|template| template.number(&file.version).is_some())
                    .ok_or_else(|| missing(format!("launch template {name} version {}", file.version)))?;
                let template =
                    TemplateRef { id: template.id.clone(), name: template.name.clone(), version: file.version.clone() };
                match file.mixed {
                    None => Source::Template(template),
                    Some(mixed) => {
                        Source::Mixed { template, overrides: mixed.overrides, distribution: mixed.distribution }
                    }
                }
            }
            (None, Some(configuration)) => {
                Source::Configuration { name: configuration.name.clone(), image: configuration.image.clone() }
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
            max: file.max.unwrap_or(file.desired * 2),
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
            suspended: file.suspended,
            created: BORN,
            instances: Vec::new(),
            refreshes: Vec::new(),
            launch_after: 0,
        };
        self.with_region(account, region, |_, _, scene| super::engine::asg::settle(&mut group, scene));
        for instance in group.instances.iter_mut().take(file.protected) {
            instance.protected = true;
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
            shown.extend(service.members);
            let mut configuration = default_configuration();
            configuration.extend(service.configuration);
            let held = Service {
                arn: format!("arn:aws:ecs:{region}:{account}:service/{}/{}", file.name, service.name),
                name: service.name.clone(),
                cluster: file.name.clone(),
                cluster_arn: arn.clone(),
                active: true,
                task_definition: definition.arn.clone(),
                desired: service.desired,
                controller: service.controller,
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

    /// A task definition by family, `family:revision` or ARN.
    pub(crate) fn task_definition(&self, account: &str, region: &str, asked: &str) -> Option<&TaskDefinition> {
        let held = self.region(account, region)?;
        let short = match asked.strip_prefix("arn:aws:ecs:") {
            None => asked,
            Some(arn) => arn.strip_prefix(&format!("{region}:{account}:task-definition/"))?,
        };
        match short.split_once(':') {
            Some((family, revision)) => {
                let revision: i64 = revision.parse().ok()?;
                held.task_definitions.get(family)?.iter().find(|one| one.revision == revision)
            }
            None => held.task_definitions.get(short)?.iter().rev().find(|one| one.active),
        }
    }

    /// Adds a revision to the family that `registered` names. Answers its ARN; `None` without a family.
    pub(crate) fn register(
        &mut self,
        account: &str,
        region: &str,
        mut registered: Map<String, Value>,
        tags: Vec<Value>,
        by: &str,
        wall: i64,
    ) -> Option<String> {
        let family = registered.get("family").and_then(Value::as_str)?.to_owned();
        registered.remove("tags");
        let revisions = self.region_mut(account, region).task_definitions.entry(family.clone()).or_default();
        let revision = revisions.last().map_or(1, |last| last.revision + 1);
        let arn = format!("arn:aws:ecs:{region}:{account}:task-definition/{family}:{revision}");
        revisions.push(TaskDefinition {
            family,
            revision,
            arn: arn.clone(),
            registered,
            tags,
            active: true,
            registered_at: wall,
            registered_by: if by.starts_with("arn:") { by.to_owned() } else { format!("arn:aws:iam::{account}:{by}") },
            deregistered_at: None,
        });
        Some(arn)
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

/// The TOML of a fleet: artifacts in the controller's account, and accounts that all look alike.
fn fleet_text(fleet: &FleetFile, controller: &str, region: &str) -> String {
    use std::fmt::Write as _;
    let ids: Vec<String> = (1..=fleet.accounts).map(|number| format!("{number:012}")).collect();
    let quoted: Vec<String> = ids.iter().map(|id| format!("{id:?}")).collect();
    let shared = quoted.join(", ");
    let mut text = format!(
        "controller = {controller:?}\nregion = {region:?}\n[[account]]\nid = {controller:?}\nname = \"tools\"\n\
         [[account.repository]]\nname = \"backend\"\nallowed = [{shared}]\nimage = [{{ tags = [\"1.0.0\"] }}, \
         {{ tags = [\"1.1.0\"] }}, {{ tags = [\"1.1.1\"], behaviour = \"exits\" }}]\n"
    );
    let image = |version: &str| {
        format!("ami-0{}", stable_hex(&["ami", controller, region, &format!("frontend-{version}")], 16))
    };
    for (version, healthy) in [("1.0.0", true), ("1.1.0", true), ("1.1.1", false)] {
        let _ = writeln!(
            text,
            "[[account.image]]\nname = \"frontend-{version}\"\nhealthy = {healthy}\nshared_with = [{shared}]\ntags = \
             {{ role = \"frontend\", version = \"{version}\" }}"
        );
    }
    for id in &ids {
        let _ = writeln!(text, "[[account]]\nid = \"{id}\"\nname = \"fleet-{id}\"\nrole = [{{ name = \"pinion\" }}]");
        for number in 0..fleet.groups {
            let _ = writeln!(
                text,
                "[[account.launch_template]]\nname = \"group-{number}\"\nversion = [{{ data = {{ ImageId = \"{}\", \
                 InstanceType = \"t3.small\" }} }}]\n[[account.group]]\nname = \"group-{number}\"\nlaunch_template \
                 = \"group-{number}\"\ndesired = {}\nwarmup = 30",
                image("1.0.0"),
                fleet.instances
            );
        }
        for number in 0..fleet.services {
            let _ = writeln!(
                text,
                "[[account.task_definition]]\n[account.task_definition.definition]\nfamily = \
                 \"service-{number}\"\nnetworkMode = \"awsvpc\"\nrequiresCompatibilities = [\"FARGATE\"]\ncpu = \
                 \"256\"\nmemory = \"512\"\ncontainerDefinitions = [{{ name = \"app\", essential = true, image = \
                 \"{controller}.dkr.ecr.{region}.amazonaws.com/backend:1.0.0\" }}]"
            );
        }
        let _ = writeln!(text, "[[account.cluster]]\nname = \"app\"");
        for number in 0..fleet.services {
            let _ = writeln!(
                text,
                "[[account.cluster.service]]\nname = \"service-{number}\"\ntask_definition = \
                 \"service-{number}\"\ndesired = {}\nconfiguration = {{ deploymentCircuitBreaker = {{ enable = true, \
                 rollback = true }} }}",
                fleet.tasks
            );
        }
    }
    text
}
