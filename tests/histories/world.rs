//! From a history's places to a world file and an environments repository.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::story::{History, On, Shape};

pub(crate) const REGION: &str = "us-west-1";
/// The versions that have an artifact; the last two aren't Pinion's to pin.
const VERSIONS: [&str; 5] = ["1", "2", "3", "bad", "theirs"];

/// A target of a history.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) place: usize,
    pub(crate) shape: Shape,
    /// The group's or service's name, and its component's.
    pub(crate) name: String,
}

impl Target {
    pub(crate) fn is_group(&self) -> bool {
        matches!(self.shape, Shape::Group { .. })
    }

    /// `asg/g0`, `fargate/s1`.
    pub(crate) fn local(&self) -> String {
        format!("{}/{}", if self.is_group() { "asg" } else { "fargate" }, self.name)
    }

    /// What an instance or task of a version runs.
    pub(crate) fn image(&self, version: &str) -> String {
        let account = account(self.place);
        if self.is_group() {
            let index = VERSIONS.iter().position(|known| *known == version).unwrap_or(9);
            format!("ami-{}{index}{:015x}", self.place, self.name.bytes().map(u64::from).sum::<u64>())
        } else {
            format!("{account}.dkr.ecr.{REGION}.amazonaws.com/{}:{version}", self.name)
        }
    }

    /// The body of the task definition at the start.
    pub(crate) fn definition(&self) -> serde_json::Value {
        serde_json::json!({
            "family": self.name,
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"],
            "cpu": "256",
            "memory": "512",
            "containerDefinitions": [{
                "name": "app",
                "image": self.image("1"),
                "essential": true,
                // As ECS shows it where nothing is said.
                "cpu": 0,
                "environment": [{ "name": "EMPTY", "value": "" }],
                "newerThanThisBuild": { "kept": true },
            }],
        })
    }
}

/// The account of a place.
pub(crate) fn account(place: usize) -> String {
    ["222222222222", "444444444444"][place].to_owned()
}

thread_local! {
    /// The number of the history that runs on this thread. It is part of names, so that no history shares what the SDK
    /// keeps for a whole process by name: its retry quotas.
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// Another history begins on this thread. The same history goes the same way every time.
pub(crate) fn begin() {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    NUMBER.set(LAST.fetch_add(1, Ordering::Relaxed));
    fastrand::seed(1);
}

/// The environment of a place.
pub(crate) fn environment(place: usize) -> String {
    format!("{}-{}", ["one", "two"][place], NUMBER.get())
}

/// All targets of a history.
pub(crate) fn targets(history: &History) -> Vec<Target> {
    let mut targets = Vec::new();
    for (place, shapes) in history.places.iter().enumerate() {
        for (index, shape) in shapes.iter().enumerate() {
            let kind = if matches!(shape, Shape::Group { .. }) { "g" } else { "s" };
            targets.push(Target { place, shape: *shape, name: format!("{kind}{index}") });
        }
    }
    targets
}

/// The world file.
pub(crate) fn world_file(history: &History, targets: &[Target]) -> String {
    let mut text = format!("controller = \"111111111111\"\nregion = \"{REGION}\"\n");
    text.push_str(
        "[timing]\nboot = 6\nunhealthy = 4\nterminate = 2\nrefresh_start = 2\nno_progress = 90\nprovision = 2\n\
         pull = 2\nsettle = 4\ndrain = 2\n",
    );
    for place in 0..history.places.len() {
        let id = account(place);
        text.push_str(&format!("[[account]]\nid = \"{id}\"\nname = \"{}\"\n", environment(place)));
        text.push_str("role = [{ name = \"pinion\" }]\n[[account.cluster]]\nname = \"app\"\n");
        for target in targets.iter().filter(|target| target.place == place) {
            if let Shape::Service { desired, breaker } = target.shape {
                text.push_str(&format!(
                    "[[account.cluster.service]]\nname = \"{0}\"\ntask_definition = \"{0}\"\ndesired = {desired}\n\
                     configuration = {{ deploymentCircuitBreaker = {{ enable = {breaker}, rollback = {breaker} }} }}\n",
                    target.name
                ));
            }
        }
        for target in targets.iter().filter(|target| target.place == place) {
            text.push_str(&resources(target));
        }
    }
    text
}

fn resources(target: &Target) -> String {
    let name = &target.name;
    let mut text = String::new();
    match target.shape {
        Shape::Group { desired, on, .. } => {
            for version in VERSIONS {
                let image = target.image(version);
                let healthy = version != "bad";
                text.push_str(&format!(
                    "[[account.image]]\nid = \"{image}\"\nname = \"{name}-{version}\"\nhealthy = {healthy}\n"
                ));
            }
            let on = match on {
                On::Number => "1",
                On::Latest => "$Latest",
                On::Default => "$Default",
            };
            text.push_str(&format!(
                "[[account.launch_template]]\nname = \"{name}\"\n[[account.launch_template.version]]\n\
                 data = {{ ImageId = \"{}\", InstanceType = \"t3.small\" }}\n[[account.group]]\nname = \"{name}\"\n\
                 launch_template = \"{name}\"\nversion = \"{on}\"\ndesired = {desired}\nmax = 8\nwarmup = 3\n",
                target.image("1")
            ));
        }
        Shape::Service { .. } => {
            text.push_str(&format!("[[account.repository]]\nname = \"{name}\"\nimage = ["));
            for version in VERSIONS {
                let behaviour = if version == "bad" { "exits" } else { "healthy" };
                text.push_str(&format!("{{ tags = [\"{version}\"], behaviour = \"{behaviour}\" }}, "));
            }
            text.push_str("]\n[[account.task_definition]]\ntags = { team = \"theirs\" }\n");
            let definition: toml::Value = serde_json::from_value(target.definition()).unwrap();
            let table = toml::to_string(&BTreeMap::from([("definition", definition)])).unwrap();
            text.push_str(
                &table
                    .replace("[definition", "[account.task_definition.definition")
                    .replace("[[definition", "[[account.task_definition.definition"),
            );
        }
    }
    text
}

/// The environments repository at its first commit.
pub(crate) fn tree(history: &History, targets: &[Target]) -> BTreeMap<String, String> {
    let mut tree = BTreeMap::new();
    for place in 0..history.places.len() {
        let name = environment(place);
        tree.insert(format!("environments/{name}/environment.toml"), environment_file(place, targets));
        let pins = targets.iter().filter(|target| target.place == place);
        let pins: String = pins.map(|target| format!("{} = \"1\"\n", target.name)).collect();
        tree.insert(format!("environments/{name}/pins.toml"), pins);
    }
    tree
}

/// A place's `environment.toml`.
pub(crate) fn environment_file(place: usize, targets: &[Target]) -> String {
    let id = account(place);
    let mut text =
        format!("[account]\nid = \"{id}\"\nregion = \"{REGION}\"\nrole = \"arn:aws:iam::{id}:role/pinion\"\n");
    for target in targets.iter().filter(|target| target.place == place) {
        let name = &target.name;
        match target.shape {
            Shape::Group { bake, .. } => {
                let bake = if bake { "bake = \"20s\"\n" } else { "" };
                text.push_str(&format!(
                    "[asg.{name}]\nami = {{ name = \"{name}-{{version}}\" }}\n[asg.{name}.rollout]\ndeadline = \"5m\"\n{bake}"
                ));
            }
            Shape::Service { .. } => text.push_str(&format!(
                "[fargate.{name}]\ncluster = \"app\"\nimage = \"{id}.dkr.ecr.{REGION}.amazonaws.com/{name}:{{version}}\"\n\
                 [fargate.{name}.rollout]\ndeadline = \"5m\"\n"
            )),
        }
    }
    text
}
