//! What accounts that hold artifacts share with the accounts that run them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::role::{parameter, pattern, repository, role_arns};
use super::{Options, Policy, Roles, Scope, Statement};
use crate::model::{AmiQuery, EnvironmentName, TargetSpec};

/// What one account shares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Common {
    /// The policies of ECR repositories, by `region/repository`.
    pub repositories: BTreeMap<String, Policy>,
    /// Machine images to share as they are built: by launch permissions, which each image has of its own.
    pub images: Vec<SharedImages>,
    /// The ARNs of SSM parameters to share through Resource Access Manager, each with the accounts to share it with.
    pub parameters: BTreeMap<String, BTreeSet<String>>,
}

/// Machine images that accounts need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SharedImages {
    /// Where.
    pub region: String,
    /// Their names, or their tags, with `*` for any version.
    pub images: String,
    /// The accounts to give launch permission to.
    pub accounts: BTreeSet<String>,
}

/// What has no policy of its own, as a document.
#[derive(Debug, Serialize)]
pub(super) struct Sharing<'a> {
    images: &'a [SharedImages],
    parameters: &'a BTreeMap<String, BTreeSet<String>>,
}

impl Common {
    pub(super) fn sharing(&self) -> Option<Sharing<'_>> {
        let any = !self.images.is_empty() || !self.parameters.is_empty();
        any.then_some(Sharing { images: &self.images, parameters: &self.parameters })
    }
}

/// The roles that look up and pull from a repository.
#[derive(Default)]
struct Readers {
    pinion: BTreeSet<String>,
    plan: BTreeSet<String>,
    tasks: BTreeSet<String>,
}

/// What each account shares, by its id. Accounts that keep their artifacts to themselves need nothing.
pub(super) fn common(
    scopes: &[Scope],
    environments: &BTreeMap<EnvironmentName, Roles>,
    options: &Options,
) -> BTreeMap<String, Common> {
    let mut repositories: BTreeMap<(String, String), Readers> = BTreeMap::new();
    let mut images: BTreeMap<(String, String, String), BTreeSet<String>> = BTreeMap::new();
    let mut common: BTreeMap<String, Common> = BTreeMap::new();
    for scope in scopes {
        let account = scope.account.id.as_str();
        let Some(roles) = environments.get(&scope.name) else { continue };
        for target in &scope.targets {
            match target {
                TargetSpec::Fargate(service) => {
                    let Some((owner, region, name)) = repository(&service.image, options) else { continue };
                    if owner == account {
                        continue;
                    }
                    let readers = repositories.entry((owner, format!("{region}/{name}"))).or_default();
                    readers.pinion.extend([roles.role.arn.to_string(), roles.plan.arn.to_string()]);
                    readers.plan.insert(roles.plan.arn.to_string());
                    let execution = role_arns(scope, &options.execution_roles);
                    if execution.is_empty() {
                        let partition = roles.role.arn.as_str().split(':').nth(1).unwrap_or("aws");
                        readers.tasks.insert(format!("arn:{partition}:iam::{account}:root"));
                    }
                    readers.tasks.extend(execution);
                }
                TargetSpec::Asg(group) => match &group.ami {
                    AmiQuery::Name { name, owner: Some(owner) } if owner.as_str() != account => {
                        let key = (owner.to_string(), scope.account.region.to_string(), pattern(name, options));
                        images.entry(key).or_default().insert(account.to_owned());
                    }
                    AmiQuery::Tags { tags, owner: Some(owner) } if owner.as_str() != account => {
                        let tags: Vec<String> =
                            tags.iter().map(|(key, value)| format!("{key}={}", pattern(value, options))).collect();
                        let key = (owner.to_string(), scope.account.region.to_string(), tags.join(", "));
                        images.entry(key).or_default().insert(account.to_owned());
                    }
                    AmiQuery::Parameter { parameter: named } if named.starts_with("arn:") => {
                        let arn = parameter(scope, named, options);
                        let owner = arn.split(':').nth(4).unwrap_or_default().to_owned();
                        if owner != account {
                            let held = common.entry(owner).or_default();
                            held.parameters.entry(arn).or_default().insert(account.to_owned());
                        }
                    }
                    AmiQuery::Name { .. }
                    | AmiQuery::Tags { .. }
                    | AmiQuery::Parameter { .. }
                    | AmiQuery::Id { .. } => {}
                },
            }
        }
    }
    for ((owner, place), readers) in repositories {
        let policy = Policy::of(vec![
            Statement::allow("PinionLooksUp", ["ecr:BatchGetImage"]).for_whom(readers.pinion),
            Statement::allow("PlanLooksUp", ["ecr:DescribeImages"]).for_whom(readers.plan),
            Statement::allow(
                "TasksPull",
                ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            )
            .for_whom(readers.tasks),
        ]);
        common.entry(owner).or_default().repositories.insert(place, policy);
    }
    for ((owner, region, images), accounts) in images {
        common.entry(owner).or_default().images.push(SharedImages { region, images, accounts });
    }
    common
}
