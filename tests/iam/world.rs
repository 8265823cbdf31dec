//! The world and the files of the accounts.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::cases::{COMMON, Case, Cut, Document, Kind, cut, document};
use crate::support::stage::process::pinion;

const CONTROLLER: &str = "arn:aws:iam::111111111111:role/pinion-controller";
const PLANNER: &str = "arn:aws:iam::111111111111:role/pinion-planner";
/// The access key of the identity that runs `pinion plan`; that of the controller is the stage's.
pub(crate) const PLANNER_KEY: &str = "AKIAPLANNER";
/// The launch template of every account.
const TEMPLATE: &str = "lt-0123456789abcdef0";
pub(crate) const VERSIONS: [&str; 4] = ["1.0.0", "1.1.0", "1.2.0", "1.3.0"];

fn ami(version: &str) -> String {
    format!("ami-0a00000000000{}", version.replace('.', "0").get(..4).unwrap())
}

/// The pin of a version, as the kind names it.
pub(crate) fn pin(kind: Kind, version: &str) -> String {
    let number = VERSIONS.iter().position(|known| *known == version).unwrap() + 1;
    match kind {
        Kind::Parameter | Kind::SharedParameter => number.to_string(),
        Kind::Id => ami(version),
        Kind::Group | Kind::Tags | Kind::Service => version.to_owned(),
    }
}

fn environment(case: &Case, probe: &str) -> String {
    let (account, name) = (&case.account, &case.name);
    let mut text = format!(
        "[account]\nid = \"{account}\"\nregion = \"us-west-1\"\nrole = \"{}\"\nexternal_id = \"ext-{name}\"\n",
        case.role()
    );
    let query = match case.kind {
        Kind::Service => {
            text.push_str(&format!(
                "[fargate.api]\ncluster = \"app\"\ncontainer = \"app\"\nimage = \
                 \"{COMMON}.dkr.ecr.us-west-1.amazonaws.com/backend/{name}:{{version}}\"\n"
            ));
            return text;
        }
        Kind::Group => format!("name = \"frontend-{{version}}\", owner = \"{COMMON}\""),
        Kind::Parameter => "parameter = \"/App/{environment}/AmiId:{version}\"".to_owned(),
        Kind::SharedParameter => {
            format!("parameter = \"arn:aws:ssm:us-west-1:{COMMON}:parameter/Shared/AmiId:{{version}}\"")
        }
        Kind::Tags => format!("tags = {{ role = \"frontend\", version = \"{{version}}\" }}, owner = \"{account}\""),
        Kind::Id => "id = \"{version}\"".to_owned(),
    };
    text.push_str(&format!("[asg.web]\ngroup = \"web-{name}\"\nami = {{ {query} }}\n"));
    if case.kind == Kind::Id {
        text.push_str("base_revision = \"newest\"\n");
    }
    if case.kind == Kind::Group {
        text.push_str(&format!(
            "[asg.web.rollout]\nbake = \"20m\"\n[[asg.web.verify]]\nhttp = \"{probe}\"\ntimeout = \"1s\"\nwithin = \"1s\"\n"
        ));
    }
    text
}

/// The files of the environments repository.
pub(crate) fn files(cases: &[Case], probe: &str) -> BTreeMap<String, String> {
    let of = |case: &Case| {
        let pins = format!("{} = \"{}\"\n", component(case.kind), pin(case.kind, VERSIONS[0]));
        let folder = format!("environments/{}", case.name);
        [(format!("{folder}/environment.toml"), environment(case, probe)), (format!("{folder}/pins.toml"), pins)]
    };
    cases.iter().flat_map(of).collect()
}

pub(crate) fn component(kind: Kind) -> &'static str {
    if kind == Kind::Service { "api" } else { "web" }
}

/// What `pinion iam` prints for files, run as a person would.
pub(crate) fn access(folder: &Path, files: &BTreeMap<String, String>) -> Value {
    for (path, text) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let output = pinion(folder)
        .args(["iam", "--controller", CONTROLLER, "--planner", PLANNER, "--session-tags"])
        .args(["--execution-role", "app-execution", "--task-role", "app-task", "--instance-role", "web"])
        .args(["--launch-template", TEMPLATE])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The world file: every identity has exactly the generated policies, but for what its account lacks.
pub(crate) fn world(cases: &[Case], access: &Value) -> String {
    let mut text = "controller = \"111111111111\"\nregion = \"us-west-1\"\n[timing]\nboot = 5\nterminate = 2\n\
                    refresh_start = 1\nprovision = 1\npull = 1\nsettle = 2\ndrain = 1\n"
        .to_owned();
    text.push_str(&controller(cases, access));
    text.push_str(&common(cases, access));
    for case in cases {
        text.push_str(&account(case, access));
    }
    text
}

fn json(policy: &Value) -> String {
    format!("'''{policy}'''")
}

fn controller(cases: &[Case], access: &Value) -> String {
    let without = |policy: &Value, cut: &Cut, role: &str| {
        let mut policy = policy.clone();
        let list = policy["Statement"][0]["Resource"].as_array_mut().unwrap();
        for case in cases.iter().filter(|case| case.cut == *cut) {
            let arn = format!("arn:aws:iam::{}:role/{role}", case.account);
            list.retain(|one| *one != *arn);
        }
        json(&policy)
    };
    format!(
        "[[account]]\nid = \"111111111111\"\nname = \"tools\"\nrole = [\n{{ name = \"pinion-controller\", policies = \
         [{}] }},\n{{ name = \"pinion-planner\", policies = [{}] }},\n]\nkey = [\n{{ id = \"test\", role = \
         \"pinion-controller\", tags = {{ eks-cluster-name = \"main\" }} }},\n{{ id = \"{PLANNER_KEY}\", role = \
         \"pinion-planner\", tags = {{ repository = \"environments\" }} }},\n]\n",
        without(&access["controller"], &Cut::FromController, "pinion"),
        without(&access["planner"], &Cut::FromPlanner, "pinion-plan"),
    )
}

/// A document of an account, without what it lacks.
fn policy(case: &Case, access: &Value, which: Document) -> Value {
    let mut policy = document(access, case, which).unwrap().clone();
    if let Cut::Part { document, sid, part } = &case.cut
        && *document == which
    {
        cut(&mut policy, sid, part);
    }
    policy
}

fn common(cases: &[Case], access: &Value) -> String {
    let accounts: Vec<String> = cases.iter().map(|case| format!("\"{}\"", case.account)).collect();
    let accounts = accounts.join(", ");
    let mut text = format!("[[account]]\nid = \"{COMMON}\"\nname = \"common\"\n");
    for version in VERSIONS {
        // The third is slow, so that the fourth comes while it is on its way.
        let boot = if version == VERSIONS[2] { "boot = 1800\n" } else { "" };
        text.push_str(&format!(
            "[[account.image]]\nid = \"{}\"\nname = \"frontend-{version}\"\nshared_with = [{accounts}]\n{boot}",
            ami(version)
        ));
    }
    let values: Vec<String> = VERSIONS.iter().map(|version| format!("\"{}\"", ami(version))).collect();
    text.push_str(&format!(
        "[[account.parameter]]\nname = \"/Shared/AmiId\"\nversions = [{}]\nshared_with = [{accounts}]\n",
        values.join(", ")
    ));
    for case in cases.iter().filter(|case| case.kind == Kind::Service) {
        let images: Vec<String> = VERSIONS.iter().map(|version| format!("{{ tags = [\"{version}\"] }}")).collect();
        text.push_str(&format!(
            "[[account.repository]]\nname = \"backend/{}\"\npolicy = {}\nimage = [{}]\n",
            case.name,
            json(&policy(case, access, Document::Repository)),
            images.join(", ")
        ));
    }
    text
}

fn account(case: &Case, access: &Value) -> String {
    let (id, name) = (&case.account, &case.name);
    let of = |which| json(&policy(case, access, which));
    let mut text = format!(
        "[[account]]\nid = \"{id}\"\nname = \"{name}\"\nrole = [\n{{ name = \"pinion\", trust = {}, policies = [{}] \
         }},\n{{ name = \"pinion-plan\", trust = {}, policies = [{}] }},\n]\n",
        of(Document::RoleTrust),
        of(Document::RolePermissions),
        of(Document::PlanTrust),
        of(Document::PlanPermissions)
    );
    if case.kind == Kind::Service {
        text.push_str(&format!(
            "[[account.task_definition]]\ntags = {{ team = \"web\" }}\n[account.task_definition.definition]\nfamily = \
             \"api\"\nnetworkMode = \"awsvpc\"\nrequiresCompatibilities = [\"FARGATE\"]\ncpu = \"256\"\nmemory = \
             \"512\"\ntaskRoleArn = \"arn:aws:iam::{id}:role/app-task\"\nexecutionRoleArn = \
             \"arn:aws:iam::{id}:role/app-execution\"\ncontainerDefinitions = [{{ name = \"app\", essential = true, image \
             = \"{COMMON}.dkr.ecr.us-west-1.amazonaws.com/backend/{name}:1.0.0\" }}]\n[[account.cluster]]\nname = \
             \"app\"\nservice = [{{ name = \"api\", task_definition = \"api\", desired = 1 }}]\n"
        ));
        return text;
    }
    match case.kind {
        Kind::Parameter => {
            let values: Vec<String> = VERSIONS.iter().map(|version| format!("\"{}\"", ami(version))).collect();
            text.push_str(&format!(
                "[[account.parameter]]\nname = \"/App/{name}/AmiId\"\nversions = [{}]\n",
                values.join(", ")
            ));
        }
        Kind::Tags => {
            for (number, version) in VERSIONS.iter().enumerate() {
                text.push_str(&format!(
                    "[[account.image]]\nid = \"ami-0b0000000000000{number}0\"\nname = \"own-{version}\"\ntags = {{ role = \
                     \"frontend\", version = \"{version}\" }}\n"
                ));
            }
        }
        _ => {}
    }
    let image = if case.kind == Kind::Tags { "ami-0b000000000000000".to_owned() } else { ami(VERSIONS[0]) };
    let (more, version) = if case.kind == Kind::Group {
        let tags = ["instance", "network-interface", "spot-instances-request", "volume"]
            .map(|kind| format!("{{ ResourceType = \"{kind}\", Tags = [{{ Key = \"team\", Value = \"web\" }}] }}"));
        let more = format!(
            ", KeyName = \"ops\", SecurityGroupIds = [\"sg-0123\"], IamInstanceProfile = {{ Name = \"web\" }}, \
             TagSpecifications = [{}], Placement = {{ GroupName = \"near\" }}, InstanceMarketOptions = {{ MarketType = \
             \"spot\" }}, BlockDeviceMappings = [{{ DeviceName = \"/dev/sdf\", Ebs = {{ SnapshotId = \"snap-0123\" }} }}], \
             LicenseSpecifications = [{{ LicenseConfigurationArn = \
             \"arn:aws:license-manager:us-west-1:{id}:license-configuration:lic-0123\" }}], \
             CapacityReservationSpecification = {{ CapacityReservationTarget = {{ CapacityReservationId = \"cr-0123\", \
             CapacityReservationResourceGroupArn = \"arn:aws:resource-groups:us-west-1:{id}:group/reserved\" }} }}",
            tags.join(", ")
        );
        (more, "$Latest")
    } else {
        (String::new(), "1")
    };
    text.push_str(&format!(
        "[[account.launch_template]]\nid = \"{TEMPLATE}\"\nname = \"web\"\nversion = [{{ data = {{ ImageId = \"{image}\", InstanceType = \
         \"t3.small\"{more} }} }}]\n[[account.group]]\nname = \"web-{name}\"\nlaunch_template = \"web\"\nversion = \
         \"{version}\"\ndesired = 1\nwarmup = 1\n"
    ));
    text
}
