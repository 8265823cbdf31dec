//! Accounts, each with one target, whose policies are whole or lack one part.

use std::collections::BTreeSet;

use serde_json::Value;

pub(crate) const COMMON: &str = "333333333333";

/// What an account has to roll out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A group on `$Latest`, whose AMI is found by name in the common account; its template has all that permissions are
    /// asked for.
    Group,
    /// A group whose AMI is found by a parameter of its own account.
    Parameter,
    /// A group whose AMI is found by a parameter of the common account.
    SharedParameter,
    /// A group whose AMI is found by its tags.
    Tags,
    /// A group whose AMI is pinned by its id, and whose shape comes from the newest version of its launch template.
    Id,
    /// A service whose images are in the common account's registry.
    Service,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Group, Self::Parameter, Self::SharedParameter, Self::Tags, Self::Id, Self::Service];

    pub(crate) fn target(self) -> &'static str {
        if self == Self::Service { "fargate/api" } else { "asg/web" }
    }
}

/// What is taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cut {
    Nothing,
    /// Of a document: an action, or a resource or principal, of a statement.
    Part {
        document: Document,
        sid: String,
        part: Part,
    },
    /// The role, from those that Pinion's own identity may assume.
    FromController,
    /// The same of the identity that runs `pinion plan`.
    FromPlanner,
}

/// A policy of an account, or of its repository in the common one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Document {
    RoleTrust,
    RolePermissions,
    PlanTrust,
    PlanPermissions,
    Repository,
}

impl Document {
    pub(crate) const ALL: [Self; 5] =
        [Self::RoleTrust, Self::RolePermissions, Self::PlanTrust, Self::PlanPermissions, Self::Repository];
}

/// A part of a statement, by its place: what it says differs from account to account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Action(String),
    Resource(usize),
    Principal(usize),
}

/// An account.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) account: String,
    pub(crate) kind: Kind,
    pub(crate) cut: Cut,
}

impl Case {
    fn new(number: usize, kind: Kind, cut: Cut) -> Self {
        Self { name: format!("e{number}"), account: format!("{number:012}"), kind, cut }
    }

    /// The target's reference.
    pub(crate) fn target(&self) -> String {
        format!("{}/{}", self.name, self.kind.target())
    }

    pub(crate) fn role(&self) -> String {
        format!("arn:aws:iam::{}:role/pinion", self.account)
    }

    /// What was taken away, in words.
    pub(crate) fn missing(&self) -> String {
        match &self.cut {
            Cut::Nothing => "nothing".to_owned(),
            Cut::FromController => "controller: the role".to_owned(),
            Cut::FromPlanner => "planner: the role".to_owned(),
            Cut::Part { document, sid, part } => format!("{document:?} {sid}: {part:?}"),
        }
    }
}

/// The policies of one account, from the output of `pinion iam`.
pub(crate) fn document<'a>(access: &'a Value, case: &Case, document: Document) -> Option<&'a Value> {
    let roles = &access["environments"][&case.name];
    let found = match document {
        Document::RoleTrust => &roles["role"]["trust"],
        Document::RolePermissions => &roles["role"]["permissions"],
        Document::PlanTrust => &roles["plan"]["trust"],
        Document::PlanPermissions => &roles["plan"]["permissions"],
        Document::Repository => &access["common"][COMMON]["repositories"][format!("us-west-1/backend/{}", case.name)],
    };
    (!found.is_null()).then_some(found)
}

/// One whole account of each kind.
pub(crate) fn whole() -> Vec<Case> {
    Kind::ALL.iter().enumerate().map(|(at, kind)| Case::new(at + 1, *kind, Cut::Nothing)).collect()
}

/// Accounts that lack one part each: every action, resource and principal of every statement of every document is
/// missing in one of them. `access` is of the whole ones.
/// Those that this build of Pinion has no call for are left out; `limits` shows that they are needed for theirs.
pub(crate) fn lacking(whole: &[Case], access: &Value) -> Vec<Case> {
    let asked = asked();
    let mut cases = Vec::new();
    let mut add = |kind, cut| cases.push(Case::new(whole.len() + cases.len() + 1, kind, cut));
    let mut seen = BTreeSet::new();
    for case in whole {
        for which in Document::ALL {
            let Some(policy) = document(access, case, which) else { continue };
            for statement in policy["Statement"].as_array().unwrap() {
                let sid = statement["Sid"].as_str().unwrap().to_owned();
                let mut actions = texts(&statement["Action"]);
                actions.retain(|action| asked.contains(action));
                if actions.is_empty() {
                    continue;
                }
                // A statement that another kind has just so, and whose parts are missed there.
                if !seen.insert(format!("{which:?} {sid} {actions:?}")) {
                    continue;
                }
                let mut parts: Vec<Part> = actions.into_iter().map(Part::Action).collect();
                let resources = statement["Resource"].as_array().map_or(0, Vec::len);
                let principals = statement["Principal"]["AWS"].as_array().map_or(0, Vec::len);
                // The only one is the statement itself.
                if resources > 1 {
                    parts.extend((0..resources).map(Part::Resource));
                }
                if principals > 1 {
                    parts.extend((0..principals).map(Part::Principal));
                }
                for part in parts {
                    add(case.kind, Cut::Part { document: which, sid: sid.clone(), part });
                }
            }
        }
    }
    add(Kind::Service, Cut::FromController);
    add(Kind::Service, Cut::FromPlanner);
    cases
}

/// The operations that Pinion makes, from its sources.
pub(crate) fn made() -> BTreeSet<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/aws/src/operation.rs");
    let source = std::fs::read_to_string(path).unwrap();
    let (_, table) = source.split_once("operations! {").unwrap();
    let (table, _) = table.split_once("\n}").unwrap();
    let operation = |line: &str| {
        let parts: Vec<&str> = line.split('"').collect();
        (parts.len() == 5).then(|| format!("{}:{}", parts[1], parts[3]))
    };
    let made: BTreeSet<String> =
        table.lines().filter_map(operation).filter(|made| !LISTS.contains(&made.as_str())).collect();
    assert!(made.len() > 15, "{made:?}");
    made
}

/// What only `pinion init` makes, which runs with credentials of a person: no policy of Pinion's own has it.
pub(crate) const LISTS: [&str; 3] = ["ecs:ListClusters", "ecs:ListServices", "ssm:DescribeParameters"];

/// What AWS asks for besides the operations themselves.
const IMPLIED: [&str; 7] = [
    "ec2:CreateTags",
    "ec2:RunInstances",
    "ecr:BatchCheckLayerAvailability",
    "ecr:GetDownloadUrlForLayer",
    "ecs:TagResource",
    "iam:PassRole",
    "sts:TagSession",
];
/// Only a service that bakes is rolled back by a call, and none of these accounts has one.
const UNREACHED: &str = "ecs:StopServiceDeployment";

fn asked() -> BTreeSet<String> {
    let mut asked = made();
    asked.extend(IMPLIED.map(str::to_owned));
    asked.remove(UNREACHED);
    asked
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

/// A document without the part that its account lacks. Says what is gone: the action that will be refused.
pub(crate) fn cut(policy: &mut Value, sid: &str, part: &Part) -> Vec<String> {
    let statements = policy["Statement"].as_array_mut().unwrap();
    let at = statements.iter().position(|statement| statement["Sid"] == *sid).unwrap();
    let statement = &mut statements[at];
    let actions = texts(&statement["Action"]);
    let (list, gone) = match part {
        Part::Action(action) => {
            let list = statement["Action"].as_array_mut().unwrap();
            list.retain(|one| one != action);
            (list.len(), vec![action.clone()])
        }
        Part::Resource(index) => {
            let list = statement["Resource"].as_array_mut().unwrap();
            list.remove(*index);
            (list.len(), actions)
        }
        Part::Principal(index) => {
            let list = statement["Principal"]["AWS"].as_array_mut().unwrap();
            list.remove(*index);
            (list.len(), actions)
        }
    };
    if list == 0 {
        statements.remove(at);
    }
    gone
}
