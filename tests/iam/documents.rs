//! What `pinion iam` prints, and what others say to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::cases::{COMMON, Kind, made, whole};
use super::world::{access, files};
use crate::support::stage::process::{clean, pinion};

/// How `policies/iam` was made; `docs/iam.md` says the same.
const EXAMPLES: [&str; 13] = [
    "iam",
    "--controller",
    "arn:aws:iam::333333333333:role/pinion-controller",
    "--planner",
    "arn:aws:iam::333333333333:role/pinion-planner",
    "--execution-role",
    "app-execution",
    "--task-role",
    "app-task",
    "--instance-role",
    "frontend",
    "--launch-template",
    "lt-0123456789abcdef0",
];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn examples(more: &[&str]) -> String {
    printed(repository(), more)
}

/// What it prints for the environments in a folder.
fn printed(folder: &Path, more: &[&str]) -> String {
    let home = TempDir::new().unwrap();
    let output =
        pinion(home.path()).args(EXAMPLES).args(["--dir", folder.to_str().unwrap()]).args(more).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

fn texts(folder: &Path) -> BTreeMap<String, String> {
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(&path).unwrap())
    };
    std::fs::read_dir(folder).unwrap().map(read).collect()
}

#[test]
fn the_examples_are_what_it_writes() {
    let folder = TempDir::new().unwrap();
    examples(&["--write", folder.path().to_str().unwrap()]);
    let shipped = texts(&repository().join("policies/iam"));
    let written = texts(folder.path());
    assert!(shipped.len() >= 10, "{:?}", shipped.keys());
    assert_eq!(shipped.keys().collect::<Vec<_>>(), written.keys().collect::<Vec<_>>(), "see docs/iam.md");
    for (name, text) in &written {
        assert_eq!(&shipped[name], text, "policies/iam/{name}: see docs/iam.md for how it is made again");
    }
}

/// All identity policies and resource policies in a document, each under a name.
fn policies(value: &Value, name: &str, found: &mut BTreeMap<String, Value>) {
    if value.get("Statement").is_some() {
        found.insert(name.to_owned(), value.clone());
        return;
    }
    if let Value::Object(map) = value {
        map.iter().for_each(|(key, value)| policies(value, &format!("{name}.{key}"), found));
    }
}

fn tool(name: &str) -> PathBuf {
    let here = || repository().join(".tools");
    let path = std::env::var_os("PINION_TOOLS").map_or_else(here, PathBuf::from).join("python/bin").join(name);
    assert!(path.exists(), "{} is missing; `make setup` installs it", path.display());
    path
}

fn run(command: Command, arguments: &[&str]) -> String {
    let mut command = command;
    let output = command.args(arguments).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn parliament_finds_nothing() {
    let folder = TempDir::new().unwrap();
    let cases = whole();
    let all = access(folder.path(), &files(&cases, "http://127.0.0.1:1/"));
    let mut found = BTreeMap::new();
    policies(&all, "all kinds", &mut found);
    policies(&serde_json::from_str(&examples(&[])).unwrap(), "template", &mut found);
    policies(&serde_json::from_str(&examples(&["--session-tags"])).unwrap(), "template, with tags", &mut found);
    let path = folder.path().join("policies.json");
    std::fs::write(&path, serde_json::to_string(&found).unwrap()).unwrap();
    let script = repository().join("tests/iam/parliament_says.py");
    let arguments = [script.to_str().unwrap(), path.to_str().unwrap()];
    let said = run(clean(Command::new(tool("python")), folder.path()), &arguments);
    println!("{said}");
    assert!(said.starts_with(&format!("{} policies, ", found.len())) && said.contains(" 0 findings"), "{said}");
}

#[test]
fn cloudformation_takes_the_templates() {
    let folder = TempDir::new().unwrap();
    for kind in [None, Some("role"), Some("plan"), Some("controller"), Some("planner"), Some("common")] {
        let kind: Vec<&str> = match kind {
            // A stack is of one account.
            None => vec!["prod"],
            Some(kind @ ("role" | "plan")) => vec!["prod", "--kind", kind],
            Some(kind) => vec!["--kind", kind],
        };
        let template = examples(&[&["--output", "cloudformation"], kind.as_slice()].concat());
        let path = folder.path().join("template.json");
        std::fs::write(&path, template).unwrap();
        run(clean(Command::new(tool("cfn-lint")), folder.path()), &["-r", "us-west-1", "-t", path.to_str().unwrap()]);
    }
}

/// An environment whose artifacts have names that are the same once a form allows letters and digits alone.
fn alike() -> TempDir {
    let home = TempDir::new().unwrap();
    let folder = home.path().join("environments/dev");
    std::fs::create_dir_all(&folder).unwrap();
    let parameter = format!("arn:aws:ssm:us-west-1:{COMMON}:parameter");
    let registry = format!("{COMMON}.dkr.ecr.us-west-1.amazonaws.com");
    let mut text = "[account]\nid = \"222222222222\"\nregion = \"us-west-1\"\n\
                    role = \"arn:aws:iam::222222222222:role/teams/pinion\"\n"
        .to_owned();
    for (number, name) in ["team/app", "team-app"].into_iter().enumerate() {
        text.push_str(&format!(
            "[asg.web{number}]\ncomponent = \"web\"\nami = {{ parameter = \"{parameter}/{name}:{{version}}\" }}\n\
             [fargate.api{number}]\ncomponent = \"api\"\ncluster = \"app\"\nimage = \"{registry}/{name}:{{version}}\"\n"
        ));
    }
    std::fs::write(folder.join("environment.toml"), text).unwrap();
    std::fs::write(folder.join("pins.toml"), "web = \"1\"\napi = \"1\"\n").unwrap();
    home
}

/// The accounts' repositories with their policies, and their parameters with whom they are shared with.
type Shared = (BTreeMap<String, Value>, BTreeMap<String, BTreeSet<String>>);

fn shared(whole: &Value) -> Shared {
    let mut all = Shared::default();
    for common in whole["common"].as_object().unwrap().values() {
        let repositories = common["repositories"].as_object().unwrap();
        let named = |place: &String| place.split_once('/').unwrap().1.to_owned();
        all.0.extend(repositories.iter().map(|(place, policy)| (named(place), policy.clone())));
        let parameters: BTreeMap<String, BTreeSet<String>> =
            serde_json::from_value(common["parameters"].clone()).unwrap();
        all.1.extend(parameters);
    }
    all
}

/// What Terraform makes of what is printed: each resource's arguments, by its address.
fn terraform(folder: &Path, more: &[&str]) -> BTreeMap<String, BTreeMap<String, String>> {
    let written = TempDir::new().unwrap();
    let text = printed(folder, &[&["--output", "terraform"], more].concat());
    std::fs::write(written.path().join("pinion.tf.json"), text).unwrap();
    let script = repository().join("tests/iam/terraform_says.py");
    let arguments = [script.to_str().unwrap(), written.path().to_str().unwrap()];
    serde_json::from_str(&run(clean(Command::new(tool("python")), written.path()), &arguments)).unwrap()
}

fn policy(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn terraform_reads_the_same_policies() {
    let alike = alike();
    for folder in [repository(), alike.path()] {
        let whole: Value = serde_json::from_str(&printed(folder, &[])).unwrap();
        let made = terraform(folder, &["dev"]);
        assert_eq!(made.len(), 4, "{:?}", made.keys());
        for (name, kind) in [("dev", "role"), ("dev_plan", "plan")] {
            let (role, expected) = (&made[&format!("aws_iam_role.{name}")], &whole["environments"]["dev"][kind]);
            let arn = expected["arn"].as_str().unwrap();
            assert!(arn.ends_with(&format!(":role{}{}", role["path"], role["name"])), "{arn}: {role:?}");
            assert_eq!(policy(&role["assume_role_policy"]), expected["trust"]);
            let attached = &made[&format!("aws_iam_role_policy.{name}")];
            assert_eq!(attached["role"], format!("aws_iam_role.{name}"), "attached to it");
            assert_eq!(policy(&attached["policy"]), expected["permissions"]);
        }
        for kind in ["controller", "planner"] {
            let made = terraform(folder, &["--kind", kind]);
            assert_eq!(made.len(), 1);
            assert_eq!(policy(&made[&format!("aws_iam_policy.{kind}")]["policy"]), whole[kind]);
        }
        let made = terraform(folder, &["--kind", "common"]);
        let of = |kind: &'static str| made.iter().filter(move |(name, _)| name.split_once('.').unwrap().0 == kind);
        let mut all = Shared::default();
        for (_, repository) in of("aws_ecr_repository_policy") {
            all.0.insert(repository["repository"].clone(), policy(&repository["policy"]));
        }
        for (_, parameter) in of("aws_ram_resource_association") {
            let share = &parameter["resource_share_arn"];
            assert!(share.starts_with("aws_ram_resource_share.") && made.contains_key(share), "{share}");
            let with = of("aws_ram_principal_association").filter(|(_, with)| with["resource_share_arn"] == *share);
            all.1.insert(parameter["resource_arn"].clone(), with.map(|(_, with)| with["principal"].clone()).collect());
        }
        assert_eq!(all, shared(&whole));
    }
}

#[test]
fn what_is_named_alike_stays_apart() {
    let alike = alike();
    let whole: Value = serde_json::from_str(&printed(alike.path(), &[])).unwrap();
    let (repositories, parameters) = shared(&whole);
    assert_eq!((repositories.len(), parameters.len()), (2, 2));
    let template = printed(alike.path(), &["--output", "cloudformation", "--kind", "common"]);
    let resources: BTreeMap<String, Value> = serde_json::from_value(policy(&template)["Resources"].take()).unwrap();
    let mut all = Shared::default();
    for resource in resources.values().map(|resource| &resource["Properties"]) {
        if let Some(name) = resource["RepositoryName"].as_str() {
            all.0.insert(name.to_owned(), resource["RepositoryPolicyText"].clone());
        } else {
            let arn = resource["ResourceArns"][0].as_str().unwrap();
            all.1.insert(arn.to_owned(), serde_json::from_value(resource["Principals"].clone()).unwrap());
        }
    }
    assert_eq!(all, (repositories.clone(), parameters));
    let folder = TempDir::new().unwrap();
    printed(alike.path(), &["--write", folder.path().to_str().unwrap()]);
    let files = texts(folder.path());
    let written: Vec<Value> =
        files.iter().filter(|(name, _)| name.contains("-ecr-")).map(|(_, text)| policy(text)).collect();
    assert_eq!(written, repositories.values().rev().cloned().collect::<Vec<_>>(), "{:?}", files.keys());
}

#[test]
fn versions_are_any_and_names_are_exact() {
    let folder = TempDir::new().unwrap();
    let cases = whole();
    let all = access(folder.path(), &files(&cases, "http://127.0.0.1:1/"));
    let name = |kind: Kind| cases.iter().find(|case| case.kind == kind).unwrap().name.clone();
    let resources = |kind: Kind, sid: &str| -> Vec<String> {
        let statements = &all["environments"][name(kind)]["role"]["permissions"]["Statement"];
        let statement = statements.as_array().unwrap().iter().find(|statement| statement["Sid"] == sid).unwrap();
        serde_json::from_value(statement["Resource"].clone()).unwrap()
    };
    let parameter = format!("arn:aws:ssm:us-west-1:000000000002:parameter/App/{}/AmiId", name(Kind::Parameter));
    assert_eq!(resources(Kind::Parameter, "ReadParameters"), [parameter]);
    let shared = format!("arn:aws:ssm:us-west-1:{COMMON}:parameter/Shared/AmiId");
    assert_eq!(resources(Kind::SharedParameter, "ReadParameters"), std::slice::from_ref(&shared));
    let image = format!("arn:aws:ecr:us-west-1:{COMMON}:repository/backend/{}", name(Kind::Service));
    assert_eq!(resources(Kind::Service, "ReadContainerImages"), [image]);
    assert_eq!(resources(Kind::Service, "RollOutServices"), ["arn:aws:ecs:us-west-1:000000000006:service/app/api"]);
    let common = &all["common"][COMMON];
    assert_eq!(common["parameters"][&shared], serde_json::json!(["000000000003"]));
    assert_eq!(common["images"][0]["images"], "frontend-*");
}

#[test]
fn every_operation_that_pinion_makes_is_allowed_somewhere() {
    let operations = made();
    let folder = TempDir::new().unwrap();
    // The worlds of the cases have no alarms; the examples do.
    let all = access(folder.path(), &files(&whole(), "http://127.0.0.1:1/")).to_string() + &examples(&[]);
    // Whom one is, everybody may ask.
    let missing: Vec<&String> = operations
        .iter()
        .filter(|operation| *operation != "sts:GetCallerIdentity" && !all.contains(&format!("\"{operation}\"")))
        .collect();
    assert!(missing.is_empty(), "no policy allows {missing:?}; crates/core/src/iam/role.rs");
}

#[test]
fn what_is_wrong_is_said() {
    let home = TempDir::new().unwrap();
    let said = |arguments: &[&str]| {
        let dir = repository().to_str().unwrap();
        let output = pinion(home.path()).args(["iam", "--dir", dir]).args(arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let controller = "arn:aws:iam::333333333333:role/pinion-controller";
    let (code, text) = said(&["nowhere", "--controller", controller]);
    assert!(code == 64 && text.contains("environments: dev, prod"), "{text}");
    let (code, text) = said(&["--controller", "pinion"]);
    assert!(code == 64 && text.contains("is not the ARN of a role or user"), "{text}");
    let (code, text) = said(&["--controller", controller, "--output", "cloudformation"]);
    assert!(code == 64 && text.contains("one environment"), "{text}");
    let (code, text) = said(&["--controller", controller, "--plan-role", "a/b"]);
    assert!(code == 1 && text.contains("--plan-role"), "{text}");
    let (code, text) = said(&["--controller", controller]);
    assert!(code == 0 && text.contains("--execution-role") && text.contains("--instance-role"), "{text}");
}
