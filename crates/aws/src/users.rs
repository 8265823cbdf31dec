//! Which groups of an account and region launch from a launch template, managed by Pinion or not.

use std::sync::Arc;

use aws_sdk_autoscaling::types::{AutoScalingGroup, LaunchTemplateSpecification};

use super::connection::Connection;
use super::groups::specifications;
use super::operation::Operation;
use pinion_core::model::{PortError, TemplateRef, TemplateUser, TemplateVersionSpec};

/// How many groups a page holds: AWS's most.
const PAGE: i32 = 100;

/// A launch template that a group names, as AWS says it: by id, by name, or by both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    group: String,
    id: Option<String>,
    name: Option<String>,
    version: TemplateVersionSpec,
}

impl User {
    fn of(group: &str, specification: &LaunchTemplateSpecification) -> Self {
        let version = match specification.version.as_deref() {
            None | Some("" | "$Default") => TemplateVersionSpec::Default,
            // What isn't a number may lead anywhere.
            Some(text) => text.parse().map_or(TemplateVersionSpec::Latest, TemplateVersionSpec::Number),
        };
        let (id, name) = (specification.launch_template_id.clone(), specification.launch_template_name.clone());
        Self { group: group.to_owned(), id, name, version }
    }

    fn launches_from(&self, template: &TemplateRef) -> bool {
        let named = self.name.as_ref().is_some_and(|name| *name == template.name);
        // A template that was made again has the name of the one before, which nothing can launch from any more.
        self.id.as_ref().map_or(named, |id| *id == template.id)
    }
}

impl Connection {
    /// Every group of the account and region that names one of these templates, in its own template, its mixed-instances
    /// policy or an override. Read once a pass, as a version made now is what they launch next.
    pub(super) async fn template_users(&self, templates: &[&TemplateRef]) -> Result<Vec<TemplateUser>, PortError> {
        let mut known = self.users.lock().await;
        let all = match &*known {
            Some(all) => Arc::clone(all),
            None => Arc::clone(known.insert(Arc::new(self.all_users().await?))),
        };
        drop(known);
        let user = |user: &User| {
            let template = templates.iter().find(|template| user.launches_from(template))?;
            Some(TemplateUser { group: user.group.clone(), template: (*template).clone(), version: user.version })
        };
        Ok(all.iter().filter_map(user).collect())
    }

    /// Forgets who launches from what: another pass begins.
    pub(super) async fn forget_users(&self) {
        *self.users.lock().await = None;
    }

    async fn all_users(&self) -> Result<Vec<User>, PortError> {
        let mut users = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let page = self
                .call(Operation::DescribeAutoScalingGroups, || {
                    let request = self.autoscaling.describe_auto_scaling_groups().max_records(PAGE);
                    request.include_instances(false).set_next_token(token.clone()).send()
                })
                .await?;
            for group in page.auto_scaling_groups.unwrap_or_default() {
                users.extend(users_of(&group));
            }
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(users);
            }
        }
    }
}

fn users_of(group: &AutoScalingGroup) -> Vec<User> {
    let name = group.auto_scaling_group_name.as_deref().unwrap_or("without a name");
    specifications(group).map(|specification| User::of(name, specification)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_known_by_id_and_where_that_is_missing_by_name() {
        use TemplateVersionSpec::{Default, Latest, Number};
        let template = TemplateRef { id: "lt-1".to_owned(), name: "web".to_owned() };
        let user = |id: Option<&str>, name: Option<&str>, version: Option<&str>| {
            let specification = LaunchTemplateSpecification::builder();
            let specification = specification.set_launch_template_id(id.map(str::to_owned));
            let specification = specification.set_launch_template_name(name.map(str::to_owned));
            User::of("group", &specification.set_version(version.map(str::to_owned)).build())
        };
        assert!(user(Some("lt-1"), Some("web"), None).launches_from(&template));
        assert!(user(Some("lt-1"), None, None).launches_from(&template));
        assert!(user(None, Some("web"), None).launches_from(&template));
        assert!(!user(Some("lt-2"), Some("web"), None).launches_from(&template));
        let versions = [None, Some("$Default"), Some("$Latest"), Some("7"), Some("$Future")];
        let specs = versions.map(|version| user(Some("lt-1"), None, version).version);
        assert_eq!(specs, [Default, Default, Latest, Number(7), Latest]);
    }
}
