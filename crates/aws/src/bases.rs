//! Whose shape a target may have: the revisions that Pinion didn't make. Of a family of task definitions one page is listed,
//! the newest first, and each revision is described once; of a launch template the numbers are read with the group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_ecs::types::{SortOrder, TaskDefinitionStatus};
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::Instant;

use super::connection::Connection;
use super::operation::Operation;
use super::task_definition::{Definition, family_and_revision};
use super::task_shape;
use pinion_core::model::{
    Base, BaseRule, BaseSource, Bases, CommitId, FargateSpec, LocalRef, ObservedGroup, ObservedService, ObservedTarget,
    PortError, TargetSpec, TemplateVersion, principal, role_of,
};
use pinion_core::plan::{containers_in, joined, name_of, templates_of};
use pinion_core::ports::BaseQuery;

/// How many families are looked at at once.
const AT_ONCE: usize = 8;
/// How many of Pinion's own revisions are followed back, each made from the one before.
const CHAIN: usize = 200;

/// The ACTIVE revisions of a family, as they were listed.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    at: Instant,
    /// The pins for which they were listed: a new one asks again.
    commits: BTreeSet<CommitId>,
    /// ARNs, the newest first.
    arns: Arc<Vec<String>>,
}

/// The versions of a launch template after one, as they were read.
#[derive(Debug, Clone)]
pub(super) struct Newer {
    at: Instant,
    than: u64,
    commits: BTreeSet<CommitId>,
    versions: Arc<Vec<TemplateVersion>>,
}

/// A service whose shape is looked for.
struct Wanted<'a> {
    local: LocalRef,
    service: &'a ObservedService,
    spec: &'a FargateSpec,
    rule: &'a BaseRule,
    commit: &'a CommitId,
}

impl Connection {
    /// What was found for each target that was asked about.
    pub(super) async fn bases_of(
        &self,
        queries: &[BaseQuery<'_>],
        max_age: Duration,
    ) -> BTreeMap<LocalRef, Result<Bases, PortError>> {
        let mut families: BTreeMap<&str, Vec<Wanted<'_>>> = BTreeMap::new();
        let mut groups = Vec::new();
        for BaseQuery { target, rule, observed, commit } in queries {
            let local = target.reference.local.clone();
            if let (ObservedTarget::Service(service), TargetSpec::Fargate(spec)) = (observed, &target.spec) {
                let own = family_and_revision(&service.task_definition.arn).map_or("", |(family, _)| family);
                let family = rule.family.as_deref().unwrap_or(own);
                families.entry(family).or_default().push(Wanted { local, service, spec, rule, commit });
            } else if let ObservedTarget::Group(group) = observed
                && !templates_of(group).is_empty()
            {
                groups.push(self.bases_of_group(local, group, rule, commit, max_age));
            }
        }
        let mut reads = Vec::new();
        for (family, wanted) in families {
            reads.push(self.bases_of_family(family, wanted, max_age));
        }
        let found: Vec<_> = stream::iter(reads).buffer_unordered(AT_ONCE).collect().await;
        let groups: Vec<_> = stream::iter(groups).buffer_unordered(AT_ONCE).collect().await;
        found.into_iter().flatten().chain(groups).collect()
    }

    async fn bases_of_group(
        &self,
        local: LocalRef,
        group: &ObservedGroup,
        rule: &BaseRule,
        commit: &CommitId,
        max_age: Duration,
    ) -> (LocalRef, Result<Bases, PortError>) {
        (local, self.bases_of_templates(&templates_of(group), rule, commit, max_age).await)
    }

    /// Of each launch template all versions are read that are newer than the one whose shape runs. Several are one shape: it is
    /// newer where one of them is.
    async fn bases_of_templates(
        &self,
        on: &[&TemplateVersion],
        rule: &BaseRule,
        commit: &CommitId,
        max_age: Duration,
    ) -> Result<Bases, PortError> {
        let (mut recorded, mut wanted, mut made) = (Vec::new(), Vec::new(), false);
        let (mut newest, mut changes) = (Vec::new(), Vec::new());
        let (mut through, mut registered_by) = (BTreeSet::new(), BTreeSet::new());
        for version in on {
            let (number, by, chain) = self.recorded_version(version).await?;
            let newer = self.newest_after(number, &version.template, rule, commit, max_age).await?;
            let found = newer.iter().filter_map(|newer| newer.made_by.as_deref());
            registered_by.extend(by.as_deref().into_iter().chain(found).map(principal));
            recorded.push(number);
            wanted.push(newer.as_ref().map_or(number, |newer| newer.number));
            made |= !chain.is_empty();
            if on.len() == 1 {
                through = chain;
            }
            if let Some(newer) = newer {
                let of = if on.len() == 1 { String::new() } else { format!("{}: ", version.template) };
                changes.extend(template_changes(version, &newer).into_iter().map(|change| format!("{of}{change}")));
                newest.push(newer);
            }
        }
        if on.len() > 1 && made {
            through.insert(joined(&on.iter().map(|version| version.number).collect::<Vec<_>>()));
        }
        let newest = (!newest.is_empty()).then(|| Base {
            name: joined(&wanted),
            changes,
            revision: BaseSource::TemplateVersions(newest),
        });
        Ok(Bases { recorded: joined(&recorded), through, newest, registered_by })
    }

    /// The newest version of a launch template after one that Pinion didn't make and that counts.
    async fn newest_after(
        &self,
        recorded: u64,
        template: &str,
        rule: &BaseRule,
        commit: &CommitId,
        max_age: Duration,
    ) -> Result<Option<TemplateVersion>, PortError> {
        for version in self.newer_than(template, recorded, commit, max_age).await?.iter().rev() {
            if version.number > recorded
                && rule.admits(version.made_by.as_deref())
                && !self.made_version(version).await?
            {
                return Ok(Some(version.clone()));
            }
        }
        Ok(None)
    }

    /// Whose shape a version has, who made that, and the versions of Pinion's between.
    async fn recorded_version(
        &self,
        on: &TemplateVersion,
    ) -> Result<(u64, Option<String>, BTreeSet<String>), PortError> {
        let (mut version, mut through) = (on.clone(), BTreeSet::new());
        for _ in 0..CHAIN {
            let base: Option<u64> = version.marker.as_ref().and_then(|marker| marker.base.parse().ok());
            let Some(base) = base.filter(|base| *base < version.number) else { break };
            if !self.made_version(&version).await? {
                break;
            }
            through.insert(version.number.to_string());
            match self.template_versions(&on.template, &BTreeSet::from([base])).await?.remove(&base) {
                Some(before) => version = before,
                // Deleted: nothing older is known.
                None => return Ok((base, None, through)),
            }
        }
        Ok((version.number, version.made_by, through))
    }

    /// Whether a version is Pinion's, as [`Self::made`] says of a task definition.
    async fn made_version(&self, version: &TemplateVersion) -> Result<bool, PortError> {
        let Some(marker) = &version.marker else { return Ok(false) };
        if version.made_by.as_deref().is_none_or(|by| is_session_of(by, self.account.role.as_str())) {
            return Ok(true);
        }
        let Ok(base) = marker.base.parse() else { return Ok(false) };
        let base = self.template_versions(&version.template, &BTreeSet::from([base])).await?.remove(&base);
        Ok(base.is_none_or(|base| template_changes(&base, version).is_empty()))
    }

    /// The versions of a template after one, read again as [`Self::listed`] lists families.
    async fn newer_than(
        &self,
        template: &str,
        than: u64,
        commit: &CommitId,
        max_age: Duration,
    ) -> Result<Arc<Vec<TemplateVersion>>, PortError> {
        let known = self.cache.newer.get(&template.to_owned());
        let known = known.filter(|known| known.at.elapsed() < max_age && known.than <= than);
        if let Some(newer) = known.as_ref().filter(|known| known.commits.contains(commit)) {
            return Ok(Arc::clone(&newer.versions));
        }
        let versions = Arc::new(self.newer_versions(template, than).await?);
        let mut commits = known.map(|known| known.commits).unwrap_or_default();
        commits.insert(commit.clone());
        let newer = Newer { at: Instant::now(), than, commits, versions: Arc::clone(&versions) };
        self.cache.newer.put(template.to_owned(), newer);
        Ok(versions)
    }

    async fn bases_of_family(
        &self,
        family: &str,
        wanted: Vec<Wanted<'_>>,
        max_age: Duration,
    ) -> Vec<(LocalRef, Result<Bases, PortError>)> {
        let mut found = Vec::new();
        for one in wanted {
            found.push((one.local.clone(), self.bases_of_service(family, &one, max_age).await));
        }
        found
    }

    async fn bases_of_service(&self, family: &str, wanted: &Wanted<'_>, max_age: Duration) -> Result<Bases, PortError> {
        let on = self.definition(&wanted.service.task_definition.arn).await?;
        let (recorded, by, through) = self.recorded(&on, wanted.spec).await?;
        let than = recorded.rsplit_once(':').filter(|(of, _)| *of == family);
        let than: Option<u64> = than.and_then(|(_, number)| number.parse().ok());
        let mut newest = None;
        for arn in self.listed(family, wanted.commit, max_age).await?.iter() {
            let number = family_and_revision(arn).map(|(_, number)| number);
            if than.zip(number).is_some_and(|(than, number)| number <= than) {
                break;
            }
            let definition = match self.definition(arn).await {
                Ok(definition) => definition,
                // Deleted since it was listed.
                Err(error) if error.code == "ClientException" => continue,
                Err(error) => return Err(error),
            };
            let by = definition.summary.made_by.as_deref();
            if definition.summary.active && wanted.rule.admits(by) && !self.made(&definition, wanted.spec).await? {
                newest = Some(definition);
                break;
            }
        }
        let newest = newest.map(|definition| Base {
            name: name_of(&definition.summary.arn),
            changes: task_shape::changes(on.body(), definition.body(), &ours(&definition, wanted.spec)),
            revision: BaseSource::TaskDefinition(Box::new(definition.summary.clone())),
        });
        Ok(Bases { recorded, through, registered_by: registrars(by, newest.as_ref()), newest })
    }

    /// Whose shape a task definition has, who registered that, and the revisions of Pinion's between.
    async fn recorded(
        &self,
        on: &Arc<Definition>,
        spec: &FargateSpec,
    ) -> Result<(String, Option<String>, BTreeSet<String>), PortError> {
        let (mut definition, mut through) = (Arc::clone(on), BTreeSet::new());
        for _ in 0..CHAIN {
            let name = name_of(&definition.summary.arn);
            let by = || definition.summary.made_by.clone();
            let Some(marker) = definition.summary.marker.as_ref() else { return Ok((name, by(), through)) };
            if !self.made(&definition, spec).await? {
                return Ok((name, by(), through));
            }
            through.insert(name);
            match self.beside(&on.summary.arn, &marker.base).await? {
                Some(before) if !through.contains(&name_of(&before.summary.arn)) => definition = before,
                // Deleted, or of a name that isn't known in full: nothing older is known.
                _ => return Ok((marker.base.clone(), None, through)),
            }
        }
        Ok((name_of(&definition.summary.arn), None, through))
    }

    /// Whether a revision is Pinion's: it bears a marker, and the environment's own role has registered it or it has the shape
    /// that the marker says. A copy with the tags of one of Pinion's and something changed is somebody else's.
    async fn made(&self, definition: &Definition, spec: &FargateSpec) -> Result<bool, PortError> {
        let Some(marker) = &definition.summary.marker else { return Ok(false) };
        let by = definition.summary.made_by.as_deref();
        if by.is_none_or(|by| is_session_of(by, self.account.role.as_str())) {
            return Ok(true);
        }
        let base = self.beside(&definition.summary.arn, &marker.base).await?;
        let ours = ours(definition, spec);
        // Where its base is gone nobody can tell, and doubt writes nothing.
        Ok(base.is_none_or(|base| task_shape::changes(base.body(), definition.body(), &ours).is_empty()))
    }

    /// The task definition of a name, in the account and region of another one; `None` if there is none.
    async fn beside(&self, arn: &str, name: &str) -> Result<Option<Arc<Definition>>, PortError> {
        let Some((account, _)) = arn.rsplit_once('/') else { return Ok(None) };
        match self.definition(&format!("{account}/{name}")).await {
            Ok(definition) => Ok(Some(definition)),
            Err(error) if error.code == "ClientException" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The ACTIVE revisions of a family, the newest first: at most a hundred. Listed again when they are older than `max_age`,
    /// or for a pin for which they weren't listed yet.
    async fn listed(&self, family: &str, commit: &CommitId, max_age: Duration) -> Result<Arc<Vec<String>>, PortError> {
        let known = self.cache.families.get(&family.to_owned()).filter(|listed| listed.at.elapsed() < max_age);
        if let Some(listed) = known.as_ref().filter(|listed| listed.commits.contains(commit)) {
            return Ok(Arc::clone(&listed.arns));
        }
        let page = self
            .call(Operation::ListTaskDefinitions, || {
                let request = self.ecs.list_task_definitions().family_prefix(family).max_results(100);
                request.status(TaskDefinitionStatus::Active).sort(SortOrder::Desc).send()
            })
            .await?;
        let numbered = page.task_definition_arns.unwrap_or_default().into_iter().filter_map(|arn| {
            let (of, number) = family_and_revision(&arn)?;
            (of == family).then_some((number, arn.clone()))
        });
        // Some simulators ignore the order.
        let numbered: BTreeMap<u64, String> = numbered.collect();
        let arns = Arc::new(numbered.into_values().rev().collect::<Vec<_>>());
        let mut commits = known.map(|known| known.commits).unwrap_or_default();
        commits.insert(commit.clone());
        let listed = Listed { at: Instant::now(), commits, arns: Arc::clone(&arns) };
        self.cache.families.put(family.to_owned(), listed);
        Ok(arns)
    }
}

/// Who registered the shape that is recorded and the newest one, each in short, as far as AWS says.
fn registrars(recorded: Option<String>, newest: Option<&Base>) -> BTreeSet<String> {
    recorded.as_deref().into_iter().chain(newest.and_then(Base::by)).map(principal).collect()
}

/// The names of our containers; none where that isn't known, which the plan says.
fn ours(definition: &Definition, spec: &FargateSpec) -> Vec<String> {
    let found = containers_in(&definition.summary, spec).unwrap_or_default();
    found.into_iter().map(|container| container.name.clone()).collect()
}

/// In what a version differs from another, each in a few words. The snapshots of devices come with the image.
fn template_changes(old: &TemplateVersion, new: &TemplateVersion) -> Vec<String> {
    let named = old.difference(new, None).into_iter().filter(|member| !member.starts_with("snapshot of "));
    let words = |member: &str| match member {
        "InstanceType" => {
            let kind = |version: &TemplateVersion| version.instance_type.clone().unwrap_or_else(|| "none".to_owned());
            format!("instance type {} → {}", kind(old), kind(new))
        }
        member => format!("{} changed", in_words(member)),
    };
    named.map(words).collect()
}

/// `user data` of `UserData`. What has a device's name behind it keeps that.
fn in_words(member: &str) -> String {
    let (name, device) = member.split_once(' ').map_or((member, None), |(name, device)| (name, Some(device)));
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    match device {
        Some(device) => format!("{words} {device}"),
        None => words,
    }
}

/// Whether a principal is a session of a role, by their ARNs.
fn is_session_of(principal: &str, role: &str) -> bool {
    role_of(principal).is_some_and(|name| role.rsplit('/').next() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_in_words() {
        assert_eq!(
            ["UserData", "SecurityGroupIds", "BlockDeviceMappings /dev/sdf"].map(in_words),
            ["user data", "security group ids", "block device mappings /dev/sdf"]
        );
    }

    #[test]
    fn sessions_of_a_role() {
        let role = "arn:aws:iam::222222222222:role/teams/pinion";
        for (principal, is) in [
            ("arn:aws:sts::222222222222:assumed-role/pinion/pinion-prod", true),
            ("arn:aws:sts::222222222222:assumed-role/pinion-prod/pinion", false),
            ("arn:aws:iam::222222222222:user/pinion", false),
            ("arn:aws:iam::222222222222:root", false),
        ] {
            assert_eq!(is_session_of(principal, role), is, "{principal}");
        }
    }
}
