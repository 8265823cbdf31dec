//! Terraform's JSON. Policies are text in it, as the provider takes them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Access, Part, Policy, Role, apart};

/// A configuration: resources by type and name.
#[derive(Debug, Serialize)]
pub(super) struct Configuration {
    resource: BTreeMap<&'static str, BTreeMap<String, BTreeMap<&'static str, String>>>,
}

impl Configuration {
    fn add<const N: usize>(&mut self, kind: &'static str, name: &str, arguments: [(&'static str, String); N]) {
        self.resource.entry(kind).or_default().insert(name.to_owned(), BTreeMap::from(arguments));
    }

    /// A name for a resource of a kind, made of a text, that no other has.
    fn name(&self, kind: &str, text: &str) -> String {
        let named = self.resource.get(kind);
        apart(identifier(text), "_", |name| named.is_some_and(|named| named.contains_key(name)))
    }

    fn role(&mut self, name: &str, role: &Role) -> serde_json::Result<()> {
        let named = role.arn.as_str().split_once(":role/").map_or("", |(_, named)| named);
        let (path, role_name) = named.rsplit_once('/').map_or(("", named), |(path, name)| (path, name));
        let path = if path.is_empty() { "/".to_owned() } else { format!("/{path}/") };
        let trust = text(&role.trust)?;
        let arguments = [("name", role_name.to_owned()), ("path", path), ("assume_role_policy", trust)];
        self.add("aws_iam_role", name, arguments);
        let arguments = [
            ("name", "pinion".to_owned()),
            ("role", format!("${{aws_iam_role.{name}.id}}")),
            ("policy", text(&role.permissions)?),
        ];
        self.add("aws_iam_role_policy", name, arguments);
        Ok(())
    }

    fn policy(&mut self, name: &str, policy: &Policy) -> serde_json::Result<()> {
        let named = format!("pinion-{name}");
        self.add("aws_iam_policy", name, [("name", named), ("policy", text(policy)?)]);
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
                    let arguments = [("repository", repository), ("policy", text(policy)?)];
                    let name = configuration.name("aws_ecr_repository_policy", &format!("{account}-{place}"));
                    configuration.add("aws_ecr_repository_policy", &name, arguments);
                }
                for (arn, accounts) in &common.parameters {
                    let name = configuration.name("aws_ram_resource_share", arn);
                    let share = format!("${{aws_ram_resource_share.{name}.arn}}");
                    let label = format!("pinion-{}", arn.rsplit('/').next().unwrap_or("parameter").replace('*', "any"));
                    configuration.add("aws_ram_resource_share", &name, [("name", label)]);
                    let arguments = [("resource_arn", arn.clone()), ("resource_share_arn", share.clone())];
                    configuration.add("aws_ram_resource_association", &name, arguments);
                    for account in accounts {
                        let arguments = [("principal", account.clone()), ("resource_share_arn", share.clone())];
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
