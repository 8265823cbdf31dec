//! What to allow Pinion in AWS: the policies that environments need, and no more. Pure: environments in, documents out.
//!
//! ```text
//! Scope of each environment ─► role.rs:   trust and permissions of its role, and of the read-only one of `pinion plan`
//!                           ─► common.rs: what accounts that hold artifacts share with it
//!                           ─► controller: the roles that Pinion's own identity may assume
//!                                      └─► JSON, CloudFormation, Terraform
//! ```

mod cloudformation;
mod common;
mod policy;
mod role;
mod terraform;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use self::common::{Common, SharedImages};
pub use self::policy::{Policy, Statement};
use crate::model::{Account, EnvironmentName, RoleArn, TargetSpec};

/// An environment, as far as its permissions go.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Its name.
    pub name: EnvironmentName,
    /// Its account, and the role that Pinion assumes there.
    pub account: Account,
    /// Its targets, with [`Options::any_version`] where a version would be.
    pub targets: Vec<TargetSpec>,
    /// Whether a refresh of a group names alarms, so that their states are read.
    pub alarms: bool,
    /// Whether a group's shape comes from the newest version of its launch template, so that its number is read.
    pub newest: bool,
}

/// What files of the environments don't say.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The ARNs of the identities that `pinion run` has.
    pub controllers: BTreeSet<String>,
    /// The ARNs of the identities that `pinion plan` has.
    pub planners: BTreeSet<String>,
    /// The name of the read-only role in each account.
    pub plan_role: String,
    /// Roles of tasks, by ARN or by name in each account.
    pub task_roles: BTreeSet<String>,
    /// Roles with which ECS pulls images and starts tasks, by ARN or by name.
    pub execution_roles: BTreeSet<String>,
    /// Roles of instance profiles, by ARN or by name.
    pub instance_roles: BTreeSet<String>,
    /// The ids of the groups' launch templates. Of no others versions can be made, and nothing is launched by them.
    pub launch_templates: BTreeSet<String>,
    /// Whether the identities carry session tags that the roles inherit, as EKS Pod Identity's do.
    pub session_tags: bool,
    /// The text that stands for any version; empty: none does.
    pub any_version: String,
}

/// All documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Access {
    /// What Pinion's own identity may do.
    pub controller: Policy,
    /// What the identity of `pinion plan` may do.
    pub planner: Policy,
    /// What each environment's account needs.
    pub environments: BTreeMap<EnvironmentName, Roles>,
    /// What the accounts that hold artifacts need, by account id.
    pub common: BTreeMap<String, Common>,
}

/// The roles of an environment's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Roles {
    /// The one that `pinion run` assumes.
    pub role: Role,
    /// The read-only one of `pinion plan`.
    pub plan: Role,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Role {
    /// Its ARN.
    pub arn: RoleArn,
    /// Who may assume it.
    pub trust: Policy,
    /// What it may do.
    pub permissions: Policy,
}

/// An environment's permissions can't be generated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not the name of a role; --plan-role takes 1 to 64 letters, digits and +=,.@_-")]
pub struct BadRoleName {
    /// What was given.
    pub name: String,
}

/// Generates all documents.
///
/// # Errors
/// If the read-only role's name isn't one.
pub fn generate(scopes: &[Scope], options: &Options) -> Result<Access, BadRoleName> {
    let mut environments = BTreeMap::new();
    for scope in scopes {
        environments.insert(scope.name.clone(), role::roles(scope, options)?);
    }
    let assume = |sid: &str, pick: fn(&Roles) -> &Role| {
        let arns = environments.values().map(|roles| pick(roles).arn.to_string());
        Policy::of(vec![Statement::allow(sid, ["sts:AssumeRole"]).on(arns)])
    };
    Ok(Access {
        controller: assume("AssumeTheRolesOfEnvironments", |roles| &roles.role),
        planner: assume("AssumeTheReadOnlyRolesOfEnvironments", |roles| &roles.plan),
        common: common::common(scopes, &environments, options),
        environments,
    })
}

impl Access {
    /// Each document by the name of a file for it, `.json` included, as text.
    ///
    /// # Errors
    /// Never, for these types.
    pub fn files(&self) -> serde_json::Result<BTreeMap<String, String>> {
        let mut files = BTreeMap::new();
        files.insert("controller.json".to_owned(), pretty(&self.controller)?);
        files.insert("planner.json".to_owned(), pretty(&self.planner)?);
        for (name, roles) in &self.environments {
            for (kind, role) in [("role", &roles.role), ("plan", &roles.plan)] {
                files.insert(format!("{name}-{kind}-trust.json"), pretty(&role.trust)?);
                files.insert(format!("{name}-{kind}-permissions.json"), pretty(&role.permissions)?);
            }
        }
        for (account, common) in &self.common {
            for (place, policy) in &common.repositories {
                let name = format!("{account}-ecr-{}", place.replace('/', "-"));
                let name = apart(name, "-", |name| files.contains_key(&format!("{name}.json")));
                files.insert(format!("{name}.json"), pretty(policy)?);
            }
            if let Some(sharing) = common.sharing() {
                files.insert(format!("{account}-sharing.json"), pretty(&sharing)?);
            }
        }
        Ok(files)
    }

    /// A CloudFormation template with the roles of these environments, for one account each.
    ///
    /// # Errors
    /// Never, for these types.
    pub fn cloudformation(&self, part: Part) -> serde_json::Result<String> {
        pretty(&cloudformation::template(self, part))
    }

    /// Terraform's JSON (`.tf.json`) with the same.
    ///
    /// # Errors
    /// Never, for these types.
    pub fn terraform(&self, part: Part) -> serde_json::Result<String> {
        pretty(&terraform::configuration(self, part)?)
    }

    /// All as JSON, or one part.
    ///
    /// # Errors
    /// Never, for these types.
    pub fn json(&self, part: Part) -> serde_json::Result<String> {
        match part {
            Part::All => pretty(self),
            Part::Controller => pretty(&self.controller),
            Part::Planner => pretty(&self.planner),
            Part::Role => pretty(&self.roles(|roles| vec![&roles.role])),
            Part::Plan => pretty(&self.roles(|roles| vec![&roles.plan])),
            Part::Common => pretty(&self.common),
        }
    }

    /// Roles by their environments.
    fn roles(&self, pick: fn(&Roles) -> Vec<&Role>) -> BTreeMap<&EnvironmentName, Vec<&Role>> {
        self.environments.iter().map(|(name, roles)| (name, pick(roles))).collect()
    }
}

/// A part of [`Access`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Everything; in a template, both roles of each environment.
    All,
    /// The permissions of Pinion's own identity.
    Controller,
    /// The permissions of the identity that runs `pinion plan`.
    Planner,
    /// The role of each environment.
    Role,
    /// The read-only role of each environment.
    Plan,
    /// What accounts that hold artifacts share.
    Common,
}

/// `name`, or where that is taken, the same with a number. Each form allows other characters in names, so that `team/app`
/// and `team-app` come to be called alike.
fn apart(name: String, between: &str, taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2_u32..).map(|number| format!("{name}{between}{number}"));
    std::iter::once(name.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(name)
}

fn pretty(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(|text| text + "\n")
}
