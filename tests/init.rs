//! `pinion init`: what runs in an account becomes an environment, with which `pinion validate` finds nothing and `pinion plan`
//! has nothing to do; what is left out says why; and nothing of anybody's is overwritten.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;

use pinion::manifest;
use serde_json::json;
use tempfile::TempDir;

use crate::scenarios::{common_registry, frontend_and_backend, parameter_store, probed_url, two_branches};
use crate::support::stage::Stage;

mod defaults;
mod odd;
mod terminal;

const DEV: &str = "222222222222";
const PROD: &str = "444444444444";
const REGION: [&str; 2] = ["--region", "us-west-1"];

/// A simulator, and a folder that is to become an environments repository.
struct Bench {
    stage: Stage,
    folder: TempDir,
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{}\n{}", self.code, self.out, self.err)
    }
}

impl Bench {
    fn of(world: &str) -> Self {
        let stage = Stage::of(world).environments([("README.md", "here")]).speed(0.0).without_controller().start();
        Self { stage, folder: TempDir::new().unwrap() }
    }

    fn dir(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    fn run_as(&self, key: &str, environment: &str, more: &[&str]) -> Said {
        let mut arguments = vec!["init", "--environment", environment, "--dir", self.dir()];
        arguments.extend(REGION);
        arguments.extend(more);
        self.stage.run_as(key, &arguments).into()
    }

    fn run(&self, environment: &str, more: &[&str]) -> Said {
        self.run_as("test", environment, more)
    }

    fn path(&self, environment: &str, file: &str) -> PathBuf {
        self.folder.path().join("environments").join(environment).join(file)
    }

    fn read(&self, environment: &str, file: &str) -> String {
        std::fs::read_to_string(self.path(environment, file)).unwrap()
    }

    /// `pinion init` succeeds, `pinion validate` is clean, and `pinion plan` has nothing to do. The text of both files.
    fn becomes(&self, environment: &str, more: &[&str]) -> (String, String) {
        let from = self.stage.last();
        let said = self.run(environment, more);
        assert_eq!(said.code, 0, "{said}");
        self.is_in_sync(environment, &said);
        assert_eq!(self.stage.written(from), Vec::<String>::new(), "it only reads");
        (self.read(environment, "environment.toml"), self.read(environment, "pins.toml"))
    }

    fn is_in_sync(&self, environment: &str, said: &Said) {
        let validated: Said = self.stage.run(&["validate", self.dir()]).into();
        let text = self.read(environment, "environment.toml");
        assert!(validated.code == 0 && validated.err.is_empty(), "{validated}\n{said}\n{text}");
        assert!(validated.out.ends_with(": no findings\n"), "{validated}");
        let arguments = ["plan", environment, "--dir", self.dir(), "--detailed-exitcode", "--output", "json"];
        let planned: Said = self.stage.run(&arguments).into();
        assert_eq!(planned.code, 0, "{planned}\n{text}");
        assert_eq!(planned.err, "", "{planned}");
    }

    /// How many targets the files have, of each kind.
    fn targets(&self, environment: &str) -> BTreeMap<String, usize> {
        let folder = manifest::read::folder(self.folder.path()).unwrap();
        let loaded = manifest::load(&folder.files);
        let draft = loaded.environments.iter().find(|(name, _)| name.as_str() == environment).unwrap().1;
        let mut counts = BTreeMap::new();
        for local in draft.as_ref().unwrap().targets.keys() {
            *counts.entry(local.kind.to_string()).or_default() += 1;
        }
        counts
    }
}

fn role(account: &str, name: &str) -> String {
    format!("arn:aws:iam::{account}:role/{name}")
}

#[test]
fn two_components_with_amis_of_another_account() {
    let bench = Bench::of(frontend_and_backend::WORLD);
    let files = bench.becomes("dev", &["--role", &role(DEV, "pinion"), "--external-id", "pinion-7f3a"]);
    insta::assert_snapshot!(files.0, @r#"
    # Made by `pinion init` from what ran here.

    [account]
    id = "222222222222"
    region = "us-west-1"
    role = "arn:aws:iam::222222222222:role/pinion"
    external_id = "pinion-7f3a"

    # for all that say nothing else; {component} is the table's name, or its `component`
    [defaults.asg]
    ami = { name = "{component}-{version}", owner = "111111111111" }

    # guess: the version in the AMI's name `backend-2.0.0` is 2.0.0
    [asg.backend]

    # guess: the version in the AMI's name `frontend-1.4.0` is 1.4.0
    [asg.frontend]
    "#);
    assert_eq!(files.1, "backend = \"2.0.0\"\nfrontend = \"1.4.0\"\n");
}

#[test]
fn services_whose_images_are_in_a_common_registry() {
    let bench = Bench::of(common_registry::WORLD);
    let files = bench.becomes("dev", &["--role", &role(DEV, "pinion")]);
    insta::assert_snapshot!(files.0, @r#"
    # Made by `pinion init` from what ran here.

    [account]
    id = "222222222222"
    region = "us-west-1"
    role = "arn:aws:iam::222222222222:role/pinion"

    # for all that say nothing else
    [defaults.fargate]
    cluster = "verb"
    image = "333333333333.dkr.ecr.us-west-1.amazonaws.com/verb:{version}"

    [fargate.backend]

    # guess: a component of its own, as 333333333333.dkr.ecr.us-west-1.amazonaws.com/verb is at frontend.0.0.1_dev1 here and at backend.0.0.1_dev1 elsewhere
    [fargate.frontend]
    "#);
    assert_eq!(files.1, "backend = \"backend.0.0.1_dev1\"\nfrontend = \"frontend.0.0.1_dev1\"\n");
}

#[test]
fn an_ami_that_tags_tell() {
    let bench = Bench::of(probed_url::WORLD);
    let files = bench.becomes("prod", &["--role", &role(PROD, "pinion")]);
    let expected = "# guess: the version is in the AMI's tag `version`\n[asg.app]\nami = { tags = { role = \"app\", version = \"{version}\" }, owner = \"444444444444\" }\n";
    assert!(files.0.ends_with(expected), "{}", files.0);
    assert_eq!(files.1, "app = \"1\"\n");
}

#[test]
fn two_accounts_of_one_repository() {
    let bench = Bench::of(&two_branches::world());
    for (environment, account) in [("dev", DEV), ("prod", PROD)] {
        let (name, external) = (format!("pinion-{environment}"), format!("herd-{environment}"));
        let files = bench.becomes(environment, &["--role", &role(account, &name), "--external-id", &external]);
        let image = format!("image = \"{account}.dkr.ecr.us-west-1.amazonaws.com/manager:{{version}}\"\n");
        assert!(files.0.contains(&image), "{}", files.0);
        assert_eq!(files.1, "manager = \"1.0\"\n");
    }
}

#[test]
fn an_ami_that_a_parameter_holds() {
    let bench = Bench::of(parameter_store::WORLD);
    let files = bench.becomes("dev", &["--role", &role(DEV, "pinion")]);
    let expected = "[asg.app]\nami = { parameter = \"/DeploymentConfig/dev/App/AmiId:{version}\" }\n";
    assert!(files.0.ends_with(expected), "{}", files.0);
    assert_eq!(files.1, "app = \"1\"\n", "an older version than the newest runs");
}

#[test]
fn thirty_services_and_ten_groups_with_odd_names() {
    let bench = Bench::of(&odd::world());
    let (environment, pins) = bench.becomes("dev", &["--role", &role(DEV, "pinion")]);
    let expected = BTreeMap::from([("asg".to_owned(), 10), ("fargate".to_owned(), 30)]);
    assert_eq!(bench.targets("dev"), expected, "{environment}");
    assert!(!environment.contains("Left out"), "{environment}");
    // What is as it is said in odd.rs.
    for part in odd::EXPECTED {
        assert!(environment.contains(part) || pins.contains(part), "{part}\n{environment}\n{pins}");
    }
    // In pages of one, and again over what is there.
    bench.stage.meddle("/_sim/faults", &json!({ "kind": "page" }));
    let again = bench.becomes("dev", &["--role", &role(DEV, "pinion"), "--force"]);
    assert_eq!(again, (environment, pins));
}

const LEFT: &str = r#"
controller = "111111111111"
region = "us-west-1"

[[account]]
id = "222222222222"
name = "dev"
role = [
    { name = "pinion" },
    { name = "weak", policies = [{ Version = "2012-10-17", Statement = [{ Effect = "Allow", Action = "ecs:*", Resource = "*" }] }] },
]
user = [{ name = "ci" }]
key = [{ id = "AKIACI", user = "ci" }]
image = [
    { id = "ami-0f000000000001400", name = "frontend-1.4.0" },
    { id = "ami-0f000000000001401", name = "frontend-1.4.1" },
    { id = "ami-0f000000000001499", name = "twice-1.0.0" },
    { id = "ami-0f000000000001498", name = "twice-1.0.0" },
]
launch_template = [
    { name = "frontend", version = [
        { data = { ImageId = "ami-0f000000000001400", InstanceType = "t3.small" } },
        { data = { ImageId = "ami-0f000000000001401", InstanceType = "t3.small" } },
    ] },
    { name = "twice", version = [{ data = { ImageId = "ami-0f000000000001499", InstanceType = "t3.small" } }] },
    { name = "gone", version = [{ data = { ImageId = "ami-0dead000000000000", InstanceType = "t3.small" } }] },
]
group = [
    { name = "web", launch_template = "frontend", version = "1", desired = 2 },
    { name = "empty", launch_template = "frontend", version = "1", desired = 0 },
    { name = "twice", launch_template = "twice", version = "1", desired = 1 },
    { name = "gone", launch_template = "gone", version = "1", desired = 1 },
    { name = "{curly}", launch_template = "frontend", version = "1", desired = 1 },
    { name = "legacy", launch_configuration = { name = "legacy-lc", image = "ami-0f000000000001400" }, desired = 1 },
    { name = "moving", launch_template = "frontend", version = "1", desired = 2 },
    { name = "spread", launch_template = "frontend", version = "1", desired = 2, mixed = { overrides = [
        { InstanceType = "m7i.large" },
        { InstanceType = "m7i.xlarge", LaunchTemplateSpecification = { LaunchTemplateName = "frontend", Version = "2" } },
    ] } },
]
repository = [{ name = "api", image = [{ tags = ["1"] }, { tags = ["2"] }] }]

[[account.task_definition]]
[account.task_definition.definition]
family = "api"
networkMode = "awsvpc"
requiresCompatibilities = ["FARGATE"]
cpu = "256"
memory = "512"
containerDefinitions = [{ name = "app", image = "222222222222.dkr.ecr.us-west-1.amazonaws.com/api:1", essential = true }]

[[account.cluster]]
name = "app"
service = [
    { name = "api", task_definition = "api", desired = 2 },
    { name = "idle", task_definition = "api", desired = 0 },
    { name = "deployed", task_definition = "api", desired = 1, controller = "CODE_DEPLOY" },
    { name = "external", task_definition = "api", desired = 1, controller = "EXTERNAL" },
    { name = "deleted", task_definition = "api", desired = 0, active = false },
    { name = "on-ec2", task_definition = "api", desired = 1, members = { launchType = "EC2" } },
]
"#;

#[test]
fn what_is_left_out_says_why_in_the_file_and_on_the_screen() {
    let bench = Bench::of(LEFT);
    let refresh = "AutoScalingGroupName=moving";
    bench.stage.by_hand_in_a_group(&role(DEV, "pinion"), "StartInstanceRefresh", refresh);
    // Until an instance is being replaced, all is as it was.
    bench.stage.meddle("/_sim/advance", &json!({ "seconds": 15 }));
    let pinion = role(DEV, "pinion");
    let (environment, pins) = bench.becomes("dev", &["--role", &pinion]);
    let (targets, left) = environment.split_once("# Left out:\n").unwrap();
    for (what, why) in [
        ("asg/gone", "there is no AMI with the id ami-0dead000000000000 in us-west-1"),
        ("asg/legacy", "group legacy is on launch configuration legacy-lc, which has no versions"),
        ("asg/moving", "waits for a rollout that Pinion didn't start: "),
        ("asg/spread", "an override of group spread has launch template frontend (version 2) with"),
        ("asg/{curly}", "its name has a brace, which environment.toml takes for a placeholder"),
        ("fargate/app/deployed", "service deployed has the deployment controller CODE_DEPLOY"),
        ("fargate/app/external", "service external has the deployment controller EXTERNAL"),
    ] {
        let line = format!("# - {what}: {why}");
        assert!(left.contains(&line), "{line}\n{left}");
    }
    assert_eq!(left.lines().count(), 7, "what was deleted is nothing: {left}");
    assert!(targets.contains("# its desired capacity is 0: nothing runs now\n"), "{targets}");
    assert!(targets.contains("# its desired count is 0: nothing runs now\n"), "{targets}");
    assert!(targets.contains("[fargate.on-ec2]\n"), "{targets}");
    assert!(targets.contains("[asg.twice]\nami = { id = \"{version}\" }\n"), "two AMIs have its name: {targets}");
    assert_eq!(pins, "api = \"1\"\nfrontend = \"1.4.0\"\ntwice = \"ami-0f000000000001499\"\n");
    let said = bench.run("dev", &["--role", &pinion, "--force"]);
    assert!(said.out.starts_with("environments/dev/environment.toml: 6 targets, 7 left out\n"), "{said}");
    assert!(said.out.contains("  left out asg/legacy: group legacy is on launch configuration"), "{said}");
    assert!(said.out.contains("  asg/twice: guess: pins are AMI ids"), "{said}");
}

#[test]
fn nothing_is_overwritten_and_nothing_is_written_for_nothing() {
    let bench = Bench::of(LEFT);
    let pinion = role(DEV, "pinion");
    for file in ["environment.toml", "pins.toml"] {
        let path = bench.path("dev", file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "# mine\n").unwrap();
        let from = bench.stage.last();
        let said = bench.run("dev", &["--role", &pinion, "--yes"]);
        assert_eq!(said.code, 1, "{said}");
        assert!(said.err.contains(&format!("environments/dev/{file} is there already: nothing was written")), "{said}");
        assert!(said.err.contains("--force"), "{said}");
        assert_eq!(bench.read("dev", file), "# mine\n");
        assert_eq!(bench.stage.last(), from, "AWS isn't even asked");
        std::fs::remove_file(path).unwrap();
    }
    let said = bench.run("dev", &["--role", &pinion, "--only", "asg/legacy"]);
    assert_eq!(said.code, 1, "{said}");
    assert!(said.err.contains("left out asg/legacy: group legacy is on launch configuration"), "{said}");
    assert!(said.err.contains("there is nothing here that Pinion can manage as it is: nothing was written"), "{said}");
    let said = bench.run("dev", &["--role", &pinion, "--only", "fargate/none-*"]);
    assert!(said.code == 1 && said.err.contains("has nothing that --only selects"), "{said}");
    assert!(said.err.contains("what is there: fargate/app/api, fargate/app/deployed, "), "{said}");
    assert!(said.err.contains("--region reads another region, and another AWS profile another account"), "{said}");
    assert_eq!(std::fs::read_dir(bench.folder.path().join("environments/dev")).unwrap().count(), 0);
    for wrong in [["--only", "ecs/api"], ["--role", "pinion"], ["--region", "somewhere"]] {
        assert_eq!(bench.run("dev", &wrong).code, 64, "{wrong:?}");
    }
}

#[test]
fn what_is_selected_is_all_that_is_read_and_another_environment_keeps_what_it_has() {
    let bench = Bench::of(LEFT);
    let pinion = role(DEV, "pinion");
    let from = bench.stage.last();
    bench.becomes("one", &["--role", &pinion, "--only", "asg/web", "--only", "asg/emp*"]);
    assert_eq!(bench.targets("one"), BTreeMap::from([("asg".to_owned(), 2)]));
    let asked: Vec<String> = bench.stage.calls(from).into_iter().map(|call| call.operation).collect();
    assert!(!asked.iter().any(|operation| operation == "ListClusters"), "{asked:?}");
    assert!(!asked.iter().any(|operation| operation == "DescribeParameters"), "names tell all: {asked:?}");
    let (environment, _) = bench.becomes("two", &["--role", &pinion, "--only", "asg/*", "--only", "fargate/app/api"]);
    assert!(environment.contains("# - asg/web: one/asg/web of this repository has it\n"), "{environment}");
    assert!(environment.contains("[fargate.api]\n"), "{environment}");
}

#[test]
fn ones_own_credentials_do_before_there_is_a_role() {
    let bench = Bench::of(LEFT);
    // The role is guessed, and the account is that of the credentials.
    let said = bench.run_as("AKIACI", "dev", &["--only", "fargate/*"]);
    assert_eq!(said.code, 0, "{said}");
    let text = bench.read("dev", "environment.toml");
    let account = "# guess: nobody has said what the role is called\n[account]\nid = \"222222222222\"\nregion = \"us-west-1\"\nrole = \"arn:aws:iam::222222222222:role/pinion\"\n";
    assert!(text.contains(account), "{text}");
    bench.is_in_sync("dev", &said);

    let missing = role(DEV, "to-come");
    let said = bench.run_as("AKIACI", "later", &["--role", &missing]);
    assert!(said.code == 1 && said.err.contains("--no-assume reads with your own credentials"), "{said}");
    let said = bench.run_as("AKIACI", "later", &["--role", &missing, "--no-assume", "--only", "asg/web"]);
    // The other environment has none of them.
    assert_eq!(said.code, 0, "{said}");
    assert!(bench.read("later", "environment.toml").contains(&format!("role = \"{missing}\"\n")));

    // Those of another account are no use.
    let said = bench.run("other", &["--role", &missing, "--no-assume"]);
    assert!(said.code == 1 && said.err.contains("belong to account 111111111111"), "{said}");
    assert!(!Path::new(&bench.path("other", "")).exists());
}

#[test]
fn what_may_not_be_listed_is_said() {
    let bench = Bench::of(LEFT);
    let weak = role(DEV, "weak");
    let said = bench.run("dev", &["--role", &weak]);
    assert_eq!(said.code, 1, "{said}");
    assert!(said.err.contains("the account can't be listed with the role"), "{said}");
    assert!(said.err.contains("autoscaling:DescribeAutoScalingGroups"), "{said}");
    assert!(said.err.contains("allow what docs/iam.md names"), "{said}");
    assert!(!bench.path("dev", "environment.toml").exists());
}
