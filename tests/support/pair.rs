//! One account, dev, with a group on frontend-1.4.0 that could run 1.4.1, and a service on api:1 that could run 2.

pub(crate) const DEV: &str = "222222222222";
pub(crate) const TARGETS: [&str; 2] = ["dev/asg/frontend", "dev/fargate/api"];

/// The simulator's world.
pub(crate) const WORLD: &str = r#"
controller = "111111111111"
region = "us-west-1"

[[account]]
id = "222222222222"
name = "dev"
role = [{ name = "pinion" }]
image = [
    { id = "ami-0f000000000001400", name = "frontend-1.4.0" },
    { id = "ami-0f000000000001401", name = "frontend-1.4.1" },
]
launch_template = [{ name = "frontend", version = [{ data = { ImageId = "ami-0f000000000001400" } }] }]
group = [{ name = "frontend", launch_template = "frontend", version = "$Default", desired = 2, warmup = 15 }]
repository = [{ name = "api", image = [{ tags = ["1"] }, { tags = ["2"] }] }]

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
service = [{ name = "api", task_definition = "api", desired = 2 }]
"#;

/// The environments repository.
pub(crate) const FILES: [(&str, &str); 2] = [
    (
        "environments/dev/environment.toml",
        r#"
[account]
id = "222222222222"
region = "us-west-1"
role = "arn:aws:iam::222222222222:role/pinion"

[asg.frontend]
ami = { name = "frontend-{version}" }

[fargate.api]
cluster = "app"
image = "{account}.dkr.ecr.{region}.amazonaws.com/api:{version}"
"#,
    ),
    ("environments/dev/pins.toml", "api = \"1\"\nfrontend = \"1.4.0\"\n"),
];
