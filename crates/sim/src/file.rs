//! The world file: TOML that says what the accounts hold at the start.

mod build;
mod fleet;
mod identities;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::iam::PolicyError;
use super::world::{Fate, PoolState, Timing, World};

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
    /// What is wrong is in this file.
    #[error("{path} can't be used")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<WorldError>,
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
    /// A policy can't be enforced.
    #[error("the policy of {place} can't be used; give a table, JSON text or the path of a JSON file, in AWS's form")]
    Policy {
        /// What it is the policy of.
        place: String,
        /// Why.
        #[source]
        source: PolicyError,
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
    user: Vec<UserFile>,
    #[serde(default)]
    key: Vec<KeyFile>,
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
    trust: Option<PolicyFile>,
    policies: Option<Vec<PolicyFile>>,
}

/// A user, and what it may do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UserFile {
    name: String,
    policies: Option<Vec<PolicyFile>>,
}

/// A long-lived access key: a user's, or one that stands for a session of a role.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    id: String,
    user: Option<String>,
    role: Option<String>,
    /// Session tags, of a role's: all of them are inherited by the roles that it assumes.
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

/// A policy: a table, JSON text, or the path of a JSON file, relative to the world file.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum PolicyFile {
    Text(String),
    Table(Map<String, Value>),
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
    /// Made from account, region and name unless given.
    id: Option<String>,
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
    #[serde(default)]
    protects: bool,
    #[serde(default)]
    standby: usize,
    /// How many of its instances somebody has attached by hand: they are of no launch template.
    #[serde(default)]
    attached: usize,
    #[serde(default)]
    hooks: HooksFile,
    warm_pool: Option<WarmPoolFile>,
}

/// At most one hook of each kind.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HooksFile {
    launching: Option<HookFile>,
    terminating: Option<HookFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HookFile {
    name: String,
    /// Seconds.
    #[serde(default = "heartbeat")]
    timeout: u64,
    /// What happens after that: whether it goes on; otherwise the instance is abandoned.
    #[serde(default)]
    proceeds: bool,
}

fn heartbeat() -> u64 {
    3600
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WarmPoolFile {
    #[serde(default)]
    min: i64,
    /// `MaxGroupPreparedCapacity`.
    prepared: Option<i64>,
    #[serde(default = "stopped")]
    state: PoolState,
}

fn stopped() -> PoolState {
    PoolState::Stopped
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
    #[serde(default = "yes")]
    active: bool,
    #[serde(default = "rolling")]
    controller: String,
    #[serde(default)]
    load_balancer: bool,
    #[serde(default = "yes")]
    rollout_state: bool,
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
    policy: Option<PolicyFile>,
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
    /// Of an image index: what it has images for, as `amd64` and `arm64`. None: it is no index.
    #[serde(default)]
    pub(crate) architectures: BTreeSet<String>,
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
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse_in(&text, folder)
            .map_err(|error| WorldError::File { path: path.to_owned(), source: Box::new(error) })
    }

    /// Reads a world from TOML text. Paths of policies in it are relative to the working directory.
    ///
    /// # Errors
    ///
    /// If the text isn't a world file, or names what it doesn't hold.
    pub fn parse(text: &str) -> Result<Self, WorldError> {
        Self::parse_in(text, Path::new(""))
    }

    fn parse_in(text: &str, folder: &Path) -> Result<Self, WorldError> {
        let mut file: WorldFile = toml::from_str(text).map_err(|error| WorldError::Parse(Box::new(error)))?;
        if let Some(fleet) = file.fleet.take() {
            let text = fleet::text(&fleet, &file.controller, &file.region);
            let more: WorldFile = toml::from_str(&text).map_err(|error| WorldError::Parse(Box::new(error)))?;
            file.account.extend(more.account);
        }
        let mut world = Self::empty(&file.controller, &file.region, file.timing.clone());
        world.wall = BORN;
        world.region_mut(&file.controller, &file.region);
        // Artifacts of all accounts first: what runs in one account may come from another.
        for account in &mut file.account {
            world.add_artifacts(account, &file.region);
            world.add_identities(account, folder)?;
        }
        for account in file.account {
            world.add_workloads(account, &file.region)?;
        }
        world.settle();
        world.wall = 0;
        Ok(world)
    }
}
