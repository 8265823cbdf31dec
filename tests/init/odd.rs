//! An account of 30 services and 10 groups whose names are all that AWS allows.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// Parts of the files that come of it.
pub(super) const EXPECTED: [&str; 22] = [
    // What most share is said once.
    "[defaults.asg]\nami = { name = \"{component}-{version}\", owner = \"222222222222\" }\n",
    "[defaults.fargate]\ncluster = \"app\"\nimage = \"333333333333.dkr.ecr.us-west-1.amazonaws.com/team/backend:{version}\"\n",
    // A name that is one of a table's already keeps it; others are numbered.
    "[asg.web]\ncomponent = \"frontend\"\n",
    "[asg.web-2]\ngroup = \"WEB\"\nami = ",
    "[asg.web-3]\ngroup = \"Web\"\n",
    "[asg.team-web-prod]\ngroup = \"team/web.prod\"\n",
    "[asg.group-2]\ngroup = \"日本語\"\n",
    "group = \"größe (blau) #1\"\n",
    "group = \"quote\\\" back\\\\slash ] = '\"\n",
    "ami = { tags = { Application = \"batch jobs\", app-version = \"{version}\" }, owner = \"222222222222\" }\n",
    "ami = { parameter = \"/golden/image.id:{version}\" }\n",
    "ami = { name = \"al2023-ami-{version}-kernel-6.1-x86_64\", owner = \"333333333333\" }\n",
    // The same service in several clusters.
    "[fargate.app-api]\nservice = \"api\"\ncomponent = \"backend\"\n",
    "[fargate.app_2-api]\ncluster = \"App_2\"\nservice = \"api\"\n",
    "[fargate.batch-api]\ncluster = \"batch\"\nservice = \"API\"\n",
    "[fargate.app_2-x9]\ncluster = \"App_2\"\nservice = \"X9\"\n",
    // What has no version.
    "digest-only = { version = \"sha256-dddddddddddd\", digest = \"sha256:dddd",
    "digest-tagged = { version = \"7.0\", digest = \"sha256:7777",
    "latest-tagged = \"8.1.0\"\n",
    "latest-only = { version = \"latest\", digest = \"sha256:9999",
    // Which containers are ours.
    "container = [\"web_1\", \"migrate\"]\n",
    "image = \"docker.io/library/nginx:{version}\"\n",
];

const HOST: &str = "333333333333.dkr.ecr.us-west-1.amazonaws.com";

fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

/// A value as inline TOML.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let members: Vec<String> = map.iter().map(|(key, value)| format!("{key:?} = {}", toml(value))).collect();
            format!("{{ {} }}", members.join(", "))
        }
        Value::Array(all) => format!("[{}]", all.iter().map(toml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// Each group's name, and its AMI's id, name and tags.
fn groups() -> Vec<(String, String, &'static str, Value)> {
    let none = || json!({});
    let groups: [(String, &str, Value); 10] = [
        ("web".to_owned(), "frontend-1.4.0", none()),
        ("Web".to_owned(), "frontend-1.4.0", none()),
        ("WEB".to_owned(), "frontend-v1.3.9-rc1", none()),
        ("team/web.prod".to_owned(), "frontend-1.4.0", none()),
        ("größe (blau) #1".to_owned(), "2026-10-01 x86_64", none()),
        ("日本語".to_owned(), "al2023-ami-2023.5.20240101.0-kernel-6.1-x86_64", none()),
        (
            "quote\" back\\slash ] = '".to_owned(),
            "jobs (nightly)",
            json!({ "Application": "batch jobs", "app-version": "7" }),
        ),
        ("-_.".to_owned(), "golden image", none()),
        ("x".repeat(255), "plain", none()),
        ("$Latest".to_owned(), "app_20261001T120000Z", none()),
    ];
    let mut ids: Vec<&str> = Vec::new();
    let mut all = Vec::new();
    for (group, name, tags) in groups {
        let number = ids.iter().position(|known| *known == name).unwrap_or_else(|| {
            ids.push(name);
            ids.len() - 1
        });
        all.push((group, format!("ami-0000000000000{number:04}"), name, tags));
    }
    all
}

/// Each service's cluster and name, and its containers: name, image, whether it is essential.
fn services() -> Vec<(&'static str, String, Value)> {
    let one = |image: String| json!([{ "name": "app", "image": image, "essential": true }]);
    let ecr = |rest: &str| format!("{HOST}/{rest}");
    let mut services = vec![
        ("app", "api".to_owned(), one(ecr("team/backend:2.0.0"))),
        ("App_2", "api".to_owned(), one(ecr("team/backend:2.0.0"))),
        ("batch", "API".to_owned(), one(ecr("team/backend:1.9.0"))),
        ("app", "X9".to_owned(), one(ecr("team/backend:2.0.0"))),
        ("App_2", "X9".to_owned(), one(ecr("team/backend:2.0.0"))),
        ("batch", "Digest-Only".to_owned(), one(ecr(&format!("digest-only@{}", digest('d'))))),
        ("batch", "digest_tagged".to_owned(), one(ecr(&format!("digest-tagged@{}", digest('7'))))),
        ("batch", "latest".to_owned(), one(ecr("latest-tagged:latest"))),
        ("batch", "untagged".to_owned(), one(ecr("latest-only"))),
        ("batch", "hub".to_owned(), one("nginx:1.25.3-alpine".to_owned())),
        ("batch", "0".to_owned(), one("quay.io/acme/zero:build_7.dev".to_owned())),
        ("batch", "Y".repeat(255), one(ecr("team/backend:2.0.0"))),
        (
            "batch",
            "web_1".to_owned(),
            json!([
                { "name": "envoy", "image": "public.ecr.aws/envoy/envoy:v1", "essential": true },
                { "name": "web_1", "image": ecr("shop:3"), "essential": true },
                { "name": "migrate", "image": ecr("shop:3"), "essential": false },
            ]),
        ),
        ("batch", "none".to_owned(), json!([{ "name": "Only_One", "image": ecr("shop:3"), "essential": false }])),
    ];
    for number in services.len()..30 {
        let version = if number % 2 == 0 { "2.0.0" } else { "1.9.0" };
        services.push(("app", format!("Worker-{number}__A"), one(ecr(&format!("team/backend:{version}")))));
    }
    services
}

/// The world.
pub(super) fn world() -> String {
    let mut text = format!(
        r#"
controller = "111111111111"
region = "us-west-1"

[[account]]
id = "333333333333"
name = "common"
repository = [
    {{ name = "team/backend", allowed = ["222222222222"], image = [{{ tags = ["2.0.0", "latest"] }}, {{ tags = ["1.9.0"] }}] }},
    {{ name = "shop", allowed = ["222222222222"], image = [{{ tags = ["3"] }}] }},
    {{ name = "digest-only", allowed = ["222222222222"], image = [{{ tags = [], digest = "{d}" }}] }},
    {{ name = "digest-tagged", allowed = ["222222222222"], image = [{{ tags = ["prod", "7.0"], digest = "{seven}" }}] }},
    {{ name = "latest-tagged", allowed = ["222222222222"], image = [{{ tags = ["latest", "8.0.9", "8.1.0", "4f1e2d3"], digest = "{eight}" }}] }},
    {{ name = "latest-only", allowed = ["222222222222"], image = [{{ tags = ["latest"], digest = "{nine}" }}] }},
]
"#,
        d = digest('d'),
        seven = digest('7'),
        eight = digest('8'),
        nine = digest('9'),
    );
    let groups = groups();
    let image = |id: &str, name: &str, tags: &Value, public: bool| {
        toml(&json!({ "id": id, "name": name, "tags": tags, "public": public }))
    };
    let of_amazon = |name: &str| name.starts_with("al2023");
    let mut known = Vec::new();
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for (_, id, name, tags) in &groups {
        if !known.contains(&id) {
            known.push(id);
            if of_amazon(name) { &mut theirs } else { &mut ours }.push(image(id, name, tags, of_amazon(name)));
        }
    }
    // Another one of the same name, which only its id tells from the one that runs.
    ours.push(image("ami-0999999999999999f", "plain", &json!({}), false));
    let _ = writeln!(text, "image = [{}]\n", theirs.join(", "));
    let _ = writeln!(text, "[[account]]\nid = \"222222222222\"\nname = \"dev\"\nrole = [{{ name = \"pinion\" }}]");
    let _ = writeln!(text, "image = [{}]", ours.join(", "));
    let golden = &groups.iter().find(|(_, _, name, _)| *name == "golden image").unwrap().1;
    let _ = writeln!(
        text,
        "parameter = [{{ name = \"/golden/image.id\", data_type = \"aws:ec2:image\", versions = [\"ami-00000001\", \"{golden}\"] }}]"
    );
    for (number, (name, id, _, _)) in groups.iter().enumerate() {
        let template = json!({ "name": format!("t{number}"), "version": [{ "data": { "ImageId": id, "InstanceType": "t3.small" } }] });
        let version = if number % 3 == 0 { "$Latest" } else { "1" };
        let group = json!({ "name": name, "launch_template": format!("t{number}"), "version": version, "desired": 1 });
        for (key, value) in [("launch_template", template), ("group", group)] {
            let _ = writeln!(text, "[[account.{key}]]");
            for (key, value) in value.as_object().unwrap() {
                let _ = writeln!(text, "{key} = {}", toml(value));
            }
        }
    }
    let services = services();
    for (number, (_, _, containers)) in services.iter().enumerate() {
        let definition = json!({
            "family": format!("f{number}"), "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"],
            "cpu": "256", "memory": "512", "containerDefinitions": containers,
        });
        let _ = writeln!(text, "[[account.task_definition]]\ndefinition = {}", toml(&definition));
    }
    for cluster in ["app", "App_2", "batch"] {
        let of_cluster = services.iter().enumerate().filter(|(_, (of, _, _))| *of == cluster);
        let of_cluster: Vec<Value> = of_cluster
            .map(
                |(number, (_, name, _))| json!({ "name": name, "task_definition": format!("f{number}"), "desired": 1 }),
            )
            .collect();
        let _ =
            writeln!(text, "[[account.cluster]]\nname = \"{cluster}\"\nservice = {}", toml(&Value::from(of_cluster)));
    }
    text
}
