//! One account in which many things go wrong at once, so that a stage serves many situations.

use serde_json::{Value, json};

use crate::support::stage::{Builder, Stage};

pub(crate) const DEV: &str = "222222222222";
pub(crate) const ROLE: &str = "arn:aws:iam::222222222222:role/pinion";
/// What the world file says of a service whose circuit breaker rolls back.
pub(crate) const BREAKER: &str = "configuration = { deploymentCircuitBreaker = { enable = true, rollback = true } }";
const AMIS: [(&str, &str, bool); 3] = [
    ("1.0", "ami-0f000000000000100", true),
    ("1.1", "ami-0f000000000000110", true),
    ("1.2", "ami-0f000000000000120", false),
];

/// The AMI of a version: 1.0 and 1.1 are good, and 1.2 never gets healthy.
pub(crate) fn ami(version: &str) -> &'static str {
    AMIS.iter().find(|(name, ..)| *name == version).unwrap().1
}

/// The image of a version: 1.0 and 1.1 are good, and 1.2 exits.
pub(crate) fn image(version: &str) -> String {
    format!("{DEV}.dkr.ecr.us-west-1.amazonaws.com/api:{version}")
}

/// A place under construction: each target has the component of its own name, and begins at 1.0.
#[derive(Default)]
pub(crate) struct Place {
    groups: Vec<(String, String)>,
    services: Vec<(String, String)>,
    targets: String,
    pins: String,
    timing: String,
    accounts: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { timing: "unhealthy = 10\nno_progress = 120\n".to_owned(), ..Self::default() }
    }

    /// A group. `world` is what the world file says of it besides, and `more` what `environment.toml` does.
    pub(crate) fn group(mut self, name: &str, world: &str, more: &str) -> Self {
        self.groups.push((name.to_owned(), world.to_owned()));
        self.targets += &format!("\n[asg.{name}]\nami = {{ name = \"app-{{version}}\" }}\n{more}\n");
        self.pins += &format!("{name} = \"1.0\"\n");
        self
    }

    /// A service.
    pub(crate) fn service(mut self, name: &str, world: &str, more: &str) -> Self {
        self.services.push((name.to_owned(), world.to_owned()));
        let image = "{account}.dkr.ecr.{region}.amazonaws.com/api:{version}";
        self.targets += &format!("\n[fargate.{name}]\ncluster = \"app\"\nimage = \"{image}\"\n{more}\n");
        self.pins += &format!("{name} = \"1.0\"\n");
        self
    }

    /// Another account, with a role of the same name and nothing else.
    pub(crate) fn account(mut self, id: &str) -> Self {
        self.accounts += &format!("\n[[account]]\nid = \"{id}\"\nname = \"n{id}\"\nrole = [{{ name = \"pinion\" }}]\n");
        self
    }

    fn world(&self) -> String {
        let images = AMIS.map(|(version, id, healthy)| {
            format!("    {{ id = \"{id}\", name = \"app-{version}\", healthy = {healthy} }},\n")
        });
        let list = |items: &[(String, String)], item: &dyn Fn(&str, &str) -> String| -> String {
            items.iter().map(|(name, more)| item(name, more)).collect()
        };
        let templates = list(&self.groups, &|name, _| {
            format!("    {{ name = \"{name}\", version = [{{ data = {{ ImageId = \"{}\" }} }}] }},\n", ami("1.0"))
        });
        let groups = list(&self.groups, &|name, more| {
            let more = if more.is_empty() { String::new() } else { format!(", {more}") };
            format!(
                "    {{ name = \"{name}\", launch_template = \"{name}\", desired = 2, max = 6, warmup = 10{more} }},\n"
            )
        });
        let definitions = list(&self.services, &|name, _| {
            format!(
                "\n[[account.task_definition]]\n[account.task_definition.definition]\nfamily = \"{name}\"\n\
                 networkMode = \"awsvpc\"\nrequiresCompatibilities = [\"FARGATE\"]\ncpu = \"256\"\nmemory = \"512\"\n\
                 containerDefinitions = [{{ name = \"app\", image = \"{}\", essential = true }}]\n",
                image("1.0")
            )
        });
        let services = list(&self.services, &|name, more| {
            let more = if more.is_empty() { String::new() } else { format!(", {more}") };
            format!("    {{ name = \"{name}\", task_definition = \"{name}\", desired = 2{more} }},\n")
        });
        format!(
            "controller = \"111111111111\"\nregion = \"us-west-1\"\n[timing]\n{}\n[[account]]\nid = \"{DEV}\"\nname = \
             \"dev\"\nrole = [{{ name = \"pinion\" }}]\nimage = [\n{}]\nlaunch_template = [\n{templates}]\ngroup = \
             [\n{groups}]\nrepository = [{{ name = \"api\", image = [{{ tags = [\"1.0\"] }}, {{ tags = [\"1.1\"] }}, {{ \
             tags = [\"1.2\"], behaviour = \"exits\" }}] }}]\n{definitions}\n[[account.cluster]]\nname = \
             \"app\"\nservice = [\n{services}]\n{}",
            self.timing,
            images.concat(),
            self.accounts
        )
    }

    /// What `environment.toml` says.
    pub(crate) fn environment(&self) -> String {
        format!("[account]\nid = \"{DEV}\"\nregion = \"us-west-1\"\nrole = \"{ROLE}\"\n{}", self.targets)
    }

    /// A stage with this place in it.
    pub(crate) fn builder(&self) -> Builder {
        Stage::of(&self.world()).environments([
            ("environments/dev/environment.toml", self.environment()),
            ("environments/dev/pins.toml", self.pins.clone()),
        ])
    }

    /// A stage on which everything is in sync.
    pub(crate) fn start(&self) -> Stage {
        self.on(self.builder())
    }

    /// The same, from a builder of this place.
    pub(crate) fn on(&self, builder: Builder) -> Stage {
        let stage = builder.start();
        let kinds = [("asg", &self.groups), ("fargate", &self.services)];
        let targets =
            kinds.iter().flat_map(|(kind, all)| all.iter().map(move |(name, _)| format!("dev/{kind}/{name}")));
        let targets: Vec<String> = targets.collect();
        stage.wait_for_sync(&targets.iter().map(String::as_str).collect::<Vec<_>>());
        stage
    }
}

/// The calls of an operation that were accepted and that are about a group, service or template of this name.
pub(crate) fn accepted(stage: &Stage, operation: &str, name: &str) -> Vec<Value> {
    let about = |params: &Value| ["AutoScalingGroupName", "service"].iter().any(|key| params[*key] == name);
    let calls = stage.writes(0).into_iter().filter(|call| call.operation == operation && call.status == 200);
    calls.map(|call| call.params).filter(about).collect()
}

/// How often a rollout of a group or service was started.
pub(crate) fn attempts(stage: &Stage, name: &str) -> usize {
    accepted(stage, "StartInstanceRefresh", name).len() + accepted(stage, "UpdateService", name).len()
}

/// A fault for the simulator.
pub(crate) fn fault(stage: &Stage, fault: &Value) {
    stage.meddle("/_sim/faults", fault);
}

/// A call to Auto Scaling about a group by somebody else with the account's role.
pub(crate) fn by_hand_on(stage: &Stage, operation: &str, group: &str, more: &[(&str, &str)]) {
    let mut form = format!("AutoScalingGroupName={group}");
    for (name, value) in more {
        form.push_str(&format!("&{name}={value}"));
    }
    stage.by_hand_in_a_group(ROLE, operation, &form);
}

/// Raises an alarm, or takes it back.
pub(crate) fn alarm(stage: &Stage, name: &str, raised: bool) {
    stage.meddle("/_sim/alarms", &json!({ "account": DEV, "name": name, "raised": raised }));
}
