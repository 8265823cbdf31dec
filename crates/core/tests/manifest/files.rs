//! The files of a small good environment.

pub(crate) const ENVIRONMENT: &str = r#"
[account]
id = "222222222222"
region = "us-west-1"
role = "arn:aws:iam::222222222222:role/pinion"

[asg.web]
group = "frontend"
component = "frontend"
ami = { name = "frontend-{version}", owner = "333333333333" }
after = ["fargate/api"]

[fargate.api]
cluster = "app"
component = "backend"
image = "333333333333.dkr.ecr.us-west-1.amazonaws.com/backend:{version}"
"#;

pub(crate) const PINS: &str = "frontend = \"1.4.2\"\nbackend = \"2.0.1\"\n";
