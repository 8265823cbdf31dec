//! Terraform's JSON. Policies are text in it, as the provider takes them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Access, Part, Policy, Role};

/// A configuration: resources by type and name.
#[derive(Debug, Serialize)]
pub(super) struct Configuration {
    resource: BTreeMap<&'static str, BTreeMap<String, BTreeMap<&'static str, Argument>>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Argument {
    Text(String),
    Flag(bool),
}

impl From<String> for Argument {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl Configuration {
    fn add<const N: usize>(&mut self, kind: &'static str, name: &str, arguments: [(&'static str, Argument); N]) {
        self.resource.entry(kind).or_default().insert(name.to_owned(), BTreeMap::from(arguments));
    }

    fn role(&mut self, name: &str, role: &Role) -> serde_json::Result<()> {
        let named = role.arn.as_str().split_once(":role/").map_or("", |(_, named)| named);
        let (path, role_name) = named.rsplit_once('/').map_or(("", named), |(path, name)| (path, name));
        let path = if path.is_empty() { "/".to_owned() } else { format!("/{path}/") };
        let trust = text(&role.trust)?.into();
        let arguments = [("name", role_name.to_owned().into()), ("path", path.into()), ("assume_role_policy", trust)];
        self.add("aws_iam_role", name, arguments);
        let arguments = [
            ("name", "pinion".to_owned().into()),
            ("role", format!("${{aws_iam_role.{name}.id}}").into()),
            ("policy", text(&role.permissions)?.into()),
        ];
        self.add("aws_iam_role_policy", name, arguments);
        Ok(())
    }

    fn policy(&mut self, name: &str, policy: &Policy) -> serde_json::Result<()> {
        let named = format!("pinion-{name}");
        self.add("aws_iam_policy", name, [("name", named.into()), ("policy", text(policy)?.into())]);
        Ok(())
    }
}

/// The configuration of a part.
pub(super) fn configuration(access: &Access, part: Part) -> serde_json::Result<Configuration> {
    let mut configuration = Configuration { resource: BTreeMap::new() };
    for (name, roles) in &access.environments {
        let name = identifier(name.as_str());
        if matches!(part, Part::All | Part::Role) {
            configuration.role(&name, &roles.role)?;
        }
        if matches!(part, Part::All | Part::Plan) {
            configuration.role(&format!("{name}_plan"), &roles.plan)?;
        }
    }
    match part {
        Part::Controller => configuration.policy("controller", &access.controller)?,
        Part::Planner => configuration.policy("planner", &access.planner)?,
        Part::Common => {
            for (account, common) in &access.common {
                for (place, policy) in &common.repositories {
                    let repository = place.split_once('/').map_or(place.as_str(), |(_, name)| name).to_owned();
                    let arguments = [("repository", repository.into()), ("policy", text(policy)?.into())];
                    configuration.add(
                        "aws_ecr_repository_policy",
                        &identifier(&format!("{account}-{place}")),
                        arguments,
                    );
                }
                for (arn, accounts) in &common.parameters {
                    let name = identifier(arn);
                    let share = format!("${{aws_ram_resource_share.{name}.arn}}");
                    let label = format!("pinion-{}", arn.rsplit('/').next().unwrap_or("parameter").replace('*', "any"));
                    let arguments = [("name", label.into()), ("allow_external_principals", Argument::Flag(false))];
                    configuration.add("aws_ram_resource_share", &name, arguments);
                    let arguments =
                        [("resource_arn", arn.clone().into()), ("resource_share_arn", share.clone().into())];
                    configuration.add("aws_ram_resource_association", &name, arguments);
                    for account in accounts {
                        let arguments =
                            [("principal", account.clone().into()), ("resource_share_arn", share.clone().into())];
                        configuration.add("aws_ram_principal_association", &format!("{name}_{account}"), arguments);
                    }
                }
            }
        }
        Part::All | Part::Role | Part::Plan => {}
    }
    Ok(configuration)
}

/// A policy as text, in which Terraform fills nothing in.
fn text(policy: &Policy) -> serde_json::Result<String> {
    Ok(serde_json::to_string(policy)?.replace("${", "$${"))
}

/// A resource's name: letters, digits and `_`, with no digit first.
fn identifier(text: &str) -> String {
    let name: String = text.chars().map(|one| if one.is_ascii_alphanumeric() { one } else { '_' }).collect();
    if name.starts_with(|one: char| one.is_ascii_digit()) { format!("a{name}") } else { name }
}
