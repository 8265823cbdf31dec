//! Two accounts, dev and prod, each with a service that runs version 1.0.0 and could run 1.1.0, 1.2.0, or 2.0.0, which exits.

use super::stage::{Fleet, Stage};

pub(crate) const DEV: &str = "222222222222";
pub(crate) const PROD: &str = "444444444444";
const SERVICE: &str = "shop/api";

/// The simulator's world.
pub(crate) fn world() -> String {
    let account = |id: &str, name: &str| {
        format!(
            r#"
[[account]]
id = "{id}"
name = "{name}"
role = [{{ name = "pinion" }}]

[[account.repository]]
name = "api"
image = [{{ tags = ["1.0.0"] }}, {{ tags = ["1.1.0"] }}, {{ tags = ["1.2.0"] }}, {{ tags = ["2.0.0"], behaviour = "exits" }}]

[[account.task_definition]]
[account.task_definition.definition]
family = "api"
networkMode = "awsvpc"
requiresCompatibilities = ["FARGATE"]
cpu = "256"
memory = "512"
containerDefinitions = [
    {{ name = "app", image = "{id}.dkr.ecr.us-west-1.amazonaws.com/api:1.0.0", essential = true }},
]

[[account.cluster]]
name = "shop"
[[account.cluster.service]]
name = "api"
task_definition = "api"
desired = 2
configuration = {{ deploymentCircuitBreaker = {{ enable = true, rollback = true }} }}
"#
        )
    };
    let (dev, prod) = (account(DEV, "dev"), account(PROD, "prod"));
    format!("controller = \"111111111111\"\nregion = \"us-west-1\"\n{dev}{prod}")
}

/// The environments repository.
pub(crate) fn environments() -> Vec<(String, String)> {
    let environment = |id: &str, more: &str| {
        format!(
            r#"[account]
id = "{id}"
region = "us-west-1"
role = "arn:aws:iam::{{account}}:role/pinion"
{more}
[fargate.api]
cluster = "shop"
component = "backend"
image = "{{account}}.dkr.ecr.{{region}}.amazonaws.com/api:{{version}}"
"#
        )
    };
    let pins = "backend = \"1.0.0\"\n".to_owned();
    vec![
        ("environments/dev/environment.toml".to_owned(), environment(DEV, "")),
        ("environments/dev/pins.toml".to_owned(), pins.clone()),
        ("environments/prod/environment.toml".to_owned(), environment(PROD, "\n[promotion]\nfrom = \"dev\"\n")),
        ("environments/prod/pins.toml".to_owned(), pins),
    ]
}

/// Whether an account runs a version and nothing else.
pub(crate) fn runs(stage: &Stage, account: &str, version: &str) -> bool {
    in_fleet(&stage.fleet(), account, version)
}

fn in_fleet(fleet: &Fleet, account: &str, version: &str) -> bool {
    fleet.service_runs(account, SERVICE, &format!("{account}.dkr.ecr.us-west-1.amazonaws.com/api:{version}"))
}
