//! The rollouts that are disturbed: the world that they begin in, what is wanted, and what they have to come to.

use serde_json::Value;

use super::DEV;
use crate::support::stage::{Fleet, amis};

pub(crate) const WORLD: &str = r#"
controller = "111111111111"
region = "us-west-1"

[timing]
boot = 6
unhealthy = 4
terminate = 2
refresh_start = 2
no_progress = 40
provision = 2
pull = 2
settle = 4
drain = 2

[[account]]
id = "222222222222"
name = "dev"
role = [{ name = "pinion" }]
image = [
    { id = "ami-0f000000000001400", name = "frontend-1.4.0" },
    { id = "ami-0f000000000001401", name = "frontend-1.4.1" },
    { id = "ami-0f000000000001402", name = "frontend-1.4.2", healthy = false },
]
launch_template = [{ name = "frontend", version = [{ data = { ImageId = "ami-0f000000000001400" } }] }]
group = [{ name = "frontend", launch_template = "frontend", version = "$Default", desired = 2, warmup = 2 }]

[[account.repository]]
name = "api"
image = [{ tags = ["1"] }, { tags = ["2"] }, { tags = ["3"], behaviour = "exits" }]

[[account.task_definition]]
[account.task_definition.definition]
family = "api"
networkMode = "awsvpc"
requiresCompatibilities = ["FARGATE"]
cpu = "256"
memory = "512"
containerDefinitions = [
    { name = "app", image = "222222222222.dkr.ecr.us-west-1.amazonaws.com/api:1", essential = true },
]

[[account.cluster]]
name = "app"
[[account.cluster.service]]
name = "api"
task_definition = "api"
desired = 2
configuration = { deploymentCircuitBreaker = { enable = true, rollback = true } }
"#;

pub(crate) const ACCOUNT: &str = r#"
[account]
id = "222222222222"
region = "us-west-1"
role = "arn:aws:iam::222222222222:role/pinion"
"#;

/// What was going on when the release came.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    pub(crate) pin: &'static str,
    pub(crate) until: fn(&Fleet) -> bool,
    /// What somebody does then: a call to Auto Scaling or to ECS.
    pub(crate) then: Option<(&'static str, &'static str)>,
}

/// A rollout.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What differs in the world.
    pub(crate) world: &'static [(&'static str, &'static str)],
    pub(crate) before: Option<Before>,
    pub(crate) target: &'static str,
    /// The target's tables. `{health}` is a page that is never well.
    pub(crate) files: &'static str,
    pub(crate) pin: &'static str,
    pub(crate) state: &'static str,
    /// The writes that lead to the end, and how often each.
    pub(crate) writes: &'static [(&'static str, usize)],
    pub(crate) ended_well: fn(&Fleet, &Value),
}

const GROUP: &str = "[asg.frontend]\nami = { name = \"frontend-{version}\" }\n";
const PAUSES: &str = "[asg.frontend]\nami = { name = \"frontend-{version}\" }\n[asg.frontend.rollout]\ncheckpoints = \
                      [50, 100]\ncheckpoint_delay = \"12h\"\n";
const BAKES: &str = "[asg.frontend]\nami = { name = \"frontend-{version}\" }\n[asg.frontend.rollout]\nbake = \"2h\"\n\
                     [[asg.frontend.verify]]\nhttp = \"{health}\"\nwithin = \"1s\"\n";
const PROBED: &str = "[asg.frontend]\nami = { name = \"frontend-{version}\" }\n[[asg.frontend.verify]]\nhttp = \
                      \"{health}\"\nwithin = \"1s\"\n";
const SERVICE: &str =
    "[fargate.api]\ncluster = \"app\"\nimage = \"{account}.dkr.ecr.{region}.amazonaws.com/api:{version}\"\n";
const SHIFTS: &str = "[fargate.api]\ncluster = \"app\"\nimage = \
                      \"{account}.dkr.ecr.{region}.amazonaws.com/api:{version}\"\n[[fargate.api.verify]]\nhttp = \
                      \"{health}\"\nwithin = \"1s\"\n";
const NUMBER: (&str, usize) = ("UpdateAutoScalingGroup", 1);
const VERSION: (&str, usize) = ("CreateLaunchTemplateVersion", 1);
const REFRESH: (&str, usize) = ("StartInstanceRefresh", 1);
const REVISION: (&str, usize) = ("RegisterTaskDefinition", 1);
const DEPLOY: (&str, usize) = ("UpdateService", 1);
const BREAKER: &str = "deploymentCircuitBreaker = { enable = true, rollback = true }";
/// A bad version never gives up by itself.
const PATIENT: (&str, &str) = ("no_progress = 40", "no_progress = 40000");

pub(crate) const CASES: [Case; 12] = [
    Case {
        name: "group, good version",
        world: &[],
        before: None,
        target: "asg/frontend",
        files: GROUP,
        pin: "frontend = \"1.4.1\"\n",
        state: "in-sync",
        writes: &[NUMBER, VERSION, REFRESH],
        ended_well: |fleet, held| {
            assert!(fleet.group_runs(DEV, "frontend", "ami-0f000000000001401"));
            group_was_rolled_once(fleet, held, "Successful");
        },
    },
    Case {
        name: "group, bad version",
        world: &[],
        before: None,
        target: "asg/frontend",
        files: GROUP,
        pin: "frontend = \"1.4.2\"\n",
        state: "quarantined",
        writes: &[NUMBER, VERSION, REFRESH],
        ended_well: |fleet, held| {
            assert!(fleet.group_runs(DEV, "frontend", "ami-0f000000000001400"));
            group_was_rolled_once(fleet, held, "RollbackSuccessful");
        },
    },
    Case {
        name: "service, good version",
        world: &[],
        before: None,
        target: "fargate/api",
        files: SERVICE,
        pin: "api = \"2\"\n",
        state: "in-sync",
        writes: &[REVISION, DEPLOY],
        ended_well: |fleet, held| {
            assert!(fleet.service_runs(DEV, "app/api", "222222222222.dkr.ecr.us-west-1.amazonaws.com/api:2"));
            service_was_rolled_once(fleet, held, "SUCCESSFUL");
        },
    },
    Case {
        name: "service, bad version",
        world: &[],
        before: None,
        target: "fargate/api",
        files: SERVICE,
        pin: "api = \"3\"\n",
        state: "quarantined",
        writes: &[REVISION, DEPLOY],
        ended_well: |fleet, held| {
            assert!(fleet.service_runs(DEV, "app/api", "222222222222.dkr.ecr.us-west-1.amazonaws.com/api:1"));
            service_was_rolled_once(fleet, held, "ROLLBACK_SUCCESSFUL");
        },
    },
    Case {
        name: "group, newer pin",
        world: &[PATIENT],
        before: Some(Before { pin: "frontend = \"1.4.2\"\n", until: is_mixed, then: None }),
        target: "asg/frontend",
        files: GROUP,
        pin: "frontend = \"1.4.1\"\n",
        state: "in-sync",
        writes: &[("CancelInstanceRefresh", 1), VERSION, REFRESH],
        ended_well: |fleet, _| {
            assert!(fleet.group_runs(DEV, "frontend", "ami-0f000000000001401"));
            assert_eq!(fleet.refreshes(DEV, "frontend"), ["Cancelled", "Successful"]);
        },
    },
    Case {
        name: "group, way back",
        world: &[],
        before: Some(Before {
            pin: "frontend = \"1.4.1\"\n",
            until: is_mixed,
            then: Some(("CancelInstanceRefresh", "AutoScalingGroupName=frontend")),
        }),
        target: "asg/frontend",
        files: PAUSES,
        pin: "frontend = \"1.4.1\"\n",
        state: "quarantined",
        writes: &[REFRESH],
        ended_well: |fleet, _| {
            assert!(fleet.group_runs(DEV, "frontend", "ami-0f000000000001400"));
            assert_eq!(fleet.refreshes(DEV, "frontend"), ["Cancelled", "Successful"]);
        },
    },
    Case {
        name: "group, probes fail",
        world: &[],
        before: None,
        target: "asg/frontend",
        files: BAKES,
        pin: "frontend = \"1.4.1\"\n",
        state: "quarantined",
        writes: &[NUMBER, VERSION, REFRESH, ("RollbackInstanceRefresh", 1)],
        ended_well: |fleet, held| {
            assert!(fleet.group_runs(DEV, "frontend", "ami-0f000000000001400"));
            group_was_rolled_once(fleet, held, "RollbackSuccessful");
        },
    },
    Case {
        name: "group, probes fail after it",
        world: &[],
        before: None,
        target: "asg/frontend",
        files: PROBED,
        pin: "frontend = \"1.4.1\"\n",
        state: "quarantined",
        writes: &[NUMBER, VERSION, REFRESH],
        ended_well: |fleet, held| {
            assert!(fleet.group_runs(DEV, "frontend", "ami-0f000000000001401"));
            group_was_rolled_once(fleet, held, "Successful");
        },
    },
    Case {
        name: "service, newer pin",
        world: &[(BREAKER, "")],
        before: Some(Before { pin: "api = \"3\"\n", until: is_deployed, then: None }),
        target: "fargate/api",
        files: SERVICE,
        pin: "api = \"2\"\n",
        state: "in-sync",
        writes: &[REVISION, DEPLOY],
        ended_well: |fleet, _| {
            assert!(fleet.service_runs(DEV, "app/api", "222222222222.dkr.ecr.us-west-1.amazonaws.com/api:2"));
            assert_eq!(deployments(fleet), ["STOPPED", "SUCCESSFUL"]);
        },
    },
    Case {
        name: "service, way back",
        world: &[(BREAKER, "deploymentCircuitBreaker = { enable = true, rollback = false }")],
        before: None,
        target: "fargate/api",
        files: SERVICE,
        pin: "api = \"3\"\n",
        state: "quarantined",
        writes: &[REVISION, ("UpdateService", 2)],
        ended_well: |fleet, _| {
            assert!(fleet.service_runs(DEV, "app/api", "222222222222.dkr.ecr.us-west-1.amazonaws.com/api:1"));
            assert_eq!(deployments(fleet), ["STOPPED", "SUCCESSFUL"]);
        },
    },
    Case {
        name: "service, way back to what was deregistered",
        world: &[(BREAKER, "deploymentCircuitBreaker = { enable = true, rollback = false }")],
        before: Some(Before {
            pin: "api = \"3\"\n",
            until: is_deployed,
            then: Some(("DeregisterTaskDefinition", r#"{ "taskDefinition": "api:1" }"#)),
        }),
        target: "fargate/api",
        files: SERVICE,
        pin: "api = \"3\"\n",
        state: "quarantined",
        writes: &[REVISION, DEPLOY],
        ended_well: |fleet, held| {
            assert!(fleet.service_runs(DEV, "app/api", "222222222222.dkr.ecr.us-west-1.amazonaws.com/api:1"));
            assert_eq!(deployments(fleet), ["STOPPED", "SUCCESSFUL"]);
            assert_eq!(held["task_definitions"]["api"].as_array().unwrap().len(), 3, "one copy");
        },
    },
    Case {
        name: "service, probes fail",
        world: &[(BREAKER, "strategy = \"BLUE_GREEN\", bakeTimeInMinutes = 120, maximumPercent = 200")],
        before: None,
        target: "fargate/api",
        files: SHIFTS,
        pin: "api = \"2\"\n",
        state: "quarantined",
        writes: &[REVISION, DEPLOY, ("StopServiceDeployment", 1)],
        ended_well: |fleet, held| {
            assert!(fleet.service_runs(DEV, "app/api", "222222222222.dkr.ecr.us-west-1.amazonaws.com/api:1"));
            service_was_rolled_once(fleet, held, "ROLLBACK_SUCCESSFUL");
        },
    },
];

fn is_mixed(fleet: &Fleet) -> bool {
    amis(fleet, DEV, "frontend").len() == 2
}

fn is_deployed(fleet: &Fleet) -> bool {
    !deployments(fleet).is_empty()
}

/// The statuses of the service's deployments, oldest first.
fn deployments(fleet: &Fleet) -> Vec<&str> {
    let all = fleet.service(DEV, "app/api")["service_deployments"].as_array().unwrap();
    all.iter().map(|one| one["status"].as_str().unwrap()).collect()
}

fn group_was_rolled_once(fleet: &Fleet, held: &Value, status: &str) {
    assert_eq!(fleet.refreshes(DEV, "frontend"), [status], "one refresh");
    let templates = held["templates"].as_object().unwrap().values();
    assert_eq!(templates.map(|one| one["versions"].as_object().unwrap().len()).collect::<Vec<_>>(), [2], "one version");
}

fn service_was_rolled_once(fleet: &Fleet, held: &Value, status: &str) {
    assert_eq!(deployments(fleet), [status], "one deployment");
    assert_eq!(held["task_definitions"]["api"].as_array().unwrap().len(), 2, "one revision");
}
