//! Whose shape a target may have: the revisions that Pinion didn't make. Of a family of task definitions one page is listed,
//! the newest first, and each revision is described once. Of launch templates the newest numbers are read, of many at once,
//! and versions only where there are newer ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use aws_sdk_ec2::types::Filter;
use aws_sdk_ecs::types::{SortOrder, TaskDefinitionStatus};
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::Instant;

use super::connection::Connection;
use super::operation::Operation;
use super::task_definition::{Definition, family_and_revision};
use super::task_shape;
use pinion_core::model::{
    Base, BaseRule, BaseSource, Bases, CommitId, ErrorClass, FargateSpec, LocalRef, Marker, ObservedService,
    ObservedTarget, PortError, TargetSpec, TemplateRef, TemplateVersion, principal, role_of,
};
use pinion_core::plan::{containers_in, joined, name_of, templates_of};
use pinion_core::ports::BaseQuery;

/// How many families and launch templates are looked at at once.
const AT_ONCE: usize = 8;
/// How many of Pinion's own revisions are followed back, each made from the one before.
const CHAIN: usize = 200;
/// How many launch templates one call names: "up to 200 values per filter" (Amazon EC2 API reference, *List and filter*).
const TEMPLATES: usize = 200;
/// How many pages of an answer about so many are read at most; AWS's largest page holds them all.
const PAGES: usize = 10;

/// What was found, when, and for which pins: a new one asks again.
#[derive(Debug, Clone)]
pub(super) struct Looked<T> {
    at: Instant,
    commits: BTreeSet<CommitId>,
    found: T,
}

impl<T> Looked<T> {
    /// Found now for a pin, and for those that asked before.
    fn now(found: T, commit: &CommitId, before: Option<Self>) -> Self {
        let mut commits = before.map(|before| before.commits).unwrap_or_default();
        commits.insert(commit.clone());
        Self { at: Instant::now(), commits, found }
    }

    fn is_of(&self, look: Instant) -> bool {
        self.at >= look
    }
}

/// The versions of a launch template after one. None is ever changed: they are read again where there is a newer one.
#[derive(Debug, Clone)]
pub(super) struct Newer {
    at: Instant,
    than: u64,
    /// The newest of them, where it is the one that the launch template was said to have.
    newest: Option<u64>,
    versions: Arc<Vec<TemplateVersion>>,
}

/// A target whose shape is looked for.
struct Sought<'a, T> {
    local: LocalRef,
    rule: &'a BaseRule,
    commit: &'a CommitId,
    target: T,
}

type Service<'a> = (&'a ObservedService, &'a FargateSpec);
/// The launch templates of a group, each with the version that the group is on.
type Group<'a> = Vec<(&'a TemplateRef, &'a TemplateVersion)>;
/// The newest number of each launch template, by id: `None` where it isn't known.
type Numbers = BTreeMap<String, Result<Looked<Option<u64>>, PortError>>;

/// A revision of either kind.
#[derive(Clone)]
enum Known<'a> {
    Definition(Arc<Definition>, &'a FargateSpec),
    Version(Box<TemplateVersion>),
}

impl Known<'_> {
    /// What a marker calls it.
    fn name(&self) -> String {
        match self {
            Self::Definition(definition, _) => name_of(&definition.summary.arn),
            Self::Version(version) => version.number.to_string(),
        }
    }

    fn marker(&self) -> Option<&Marker> {
        match self {
            Self::Definition(definition, _) => definition.summary.marker.as_ref(),
            Self::Version(version) => version.marker.as_ref(),
        }
    }

    /// Who made it, as far as AWS says.
    fn by(&self) -> Option<&str> {
        match self {
            Self::Definition(definition, _) => definition.summary.made_by.as_deref(),
            Self::Version(version) => version.made_by.as_deref(),
        }
    }

    /// What its marker says that it was made from; `None` where that can't be, as a version is made from an older one.
    fn made_from(&self) -> Option<&str> {
        let base = self.marker()?.base.as_str();
        match self {
            Self::Definition(..) => Some(base),
            Self::Version(version) => base.parse().is_ok_and(|base: u64| base < version.number).then_some(base),
        }
    }

    /// In what it differs from an older one of its kind, all but the image, each in a few words.
    fn changes_from(&self, old: &Self) -> Vec<String> {
        match (old, self) {
            (Self::Definition(old, _), Self::Definition(new, spec)) => {
                task_shape::changes(old.body(), new.body(), &ours(new, spec))
            }
            (Self::Version(old), Self::Version(new)) => template_changes(old, new),
            _ => vec!["all of it".to_owned()],
        }
    }
}

impl Connection {
    /// What was found for each target that was asked about.
    pub(super) async fn bases_of(
        &self,
        queries: &[BaseQuery<'_>],
        max_age: Duration,
    ) -> BTreeMap<LocalRef, Result<Bases, PortError>> {
        let look = self.look(max_age);
        let mut families: BTreeMap<&str, Vec<Sought<'_, Service<'_>>>> = BTreeMap::new();
        let mut sought_groups = Vec::new();
        for BaseQuery { target, rule, observed, commit } in queries {
            let local = target.reference.local.clone();
            match (observed, &target.spec) {
                (ObservedTarget::Service(service), TargetSpec::Fargate(spec)) => {
                    let own = family_and_revision(&service.task_definition.arn).map_or("", |(family, _)| family);
                    let family = rule.family.as_deref().unwrap_or(own);
                    let sought = Sought { local, rule, commit, target: (service.as_ref(), spec) };
                    families.entry(family).or_default().push(sought);
                }
                (ObservedTarget::Group(group), TargetSpec::Asg(_)) => {
                    let target = templates_of(group);
                    if !target.is_empty() {
                        sought_groups.push(Sought { local, rule, commit, target });
                    }
                }
                _ => {}
            }
        }
        let numbers = self.newest_numbers(&sought_groups, look).await;
        let mut services = Vec::new();
        for (family, sought) in families {
            services.push(self.bases_of_family(family, sought, look));
        }
        let mut groups = Vec::new();
        for sought in sought_groups {
            groups.push(self.bases_of_group(sought, &numbers));
        }
        let services: Vec<_> = stream::iter(services).buffer_unordered(AT_ONCE).collect().await;
        let groups: Vec<_> = stream::iter(groups).buffer_unordered(AT_ONCE).collect().await;
        services.into_iter().flatten().chain(groups).collect()
    }

    /// When the look began that counts. All of it is looked at together when that is `max_age` ago, so that shapes that were
    /// registered together are seen together, though a new pin reads its own family again in between.
    fn look(&self, max_age: Duration) -> Instant {
        let mut looked = self.cache.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = looked.filter(|at| at.elapsed() < max_age);
        *looked.insert(recent.unwrap_or_else(Instant::now))
    }

    /// The newest number of each launch template of the groups, asked for once a look; a new pin asks for its own.
    async fn newest_numbers(&self, groups: &[Sought<'_, Group<'_>>], look: Instant) -> Numbers {
        let mut templates: BTreeMap<&TemplateRef, BTreeSet<&CommitId>> = BTreeMap::new();
        for Sought { commit, target, .. } in groups {
            for (template, _) in target {
                templates.entry(*template).or_default().insert(*commit);
            }
        }
        let known = |template: &TemplateRef| self.cache.numbers.get(&template.id);
        let is_due = |(template, commits): &(&&TemplateRef, &BTreeSet<&CommitId>)| {
            let asked =
                known(template).filter(|known| known.is_of(look)).map(|known| known.commits).unwrap_or_default();
            !commits.iter().all(|commit| asked.contains(*commit))
        };
        let due: Vec<(&&TemplateRef, &BTreeSet<&CommitId>)> = templates.iter().filter(is_due).collect();
        let mut numbers = Numbers::new();
        for batch in due.chunks(TEMPLATES) {
            let found = match self.newest_of(batch.iter().map(|(template, _)| template.name.clone()).collect()).await {
                // A role from before this was asked for: each launch template is read by itself, as long.
                Err(error) if error.class == ErrorClass::Denied => BTreeMap::new(),
                Err(error) => {
                    numbers.extend(batch.iter().map(|(template, _)| (template.id.clone(), Err(error.clone()))));
                    continue;
                }
                Ok(found) => found,
            };
            for (template, commits) in batch {
                let number = found.get(&template.id).copied();
                for commit in *commits {
                    let before = known(template).filter(|known| known.is_of(look));
                    self.cache.numbers.put(template.id.clone(), Looked::now(number, commit, before));
                }
            }
        }
        for template in templates.keys() {
            if let Some(known) = known(template) {
                numbers.entry(template.id.clone()).or_insert(Ok(known));
            }
        }
        numbers
    }

    /// The newest number of each launch template of these names, by id. One that isn't there is missing: named otherwise than
    /// by a filter, it would fail the whole call.
    async fn newest_of(&self, names: Vec<String>) -> Result<BTreeMap<String, u64>, PortError> {
        let filter = Filter::builder().name("launch-template-name").set_values(Some(names)).build();
        let (mut found, mut token) = (BTreeMap::new(), None);
        for _ in 0..PAGES {
            let page = self
                .call(Operation::DescribeLaunchTemplates, || {
                    let request = self.ec2.describe_launch_templates().filters(filter.clone()).max_results(200);
                    request.set_next_token(token.clone()).send()
                })
                .await?;
            let numbered = page.launch_templates.unwrap_or_default().into_iter();
            found.extend(numbered.filter_map(|template| {
                Some((template.launch_template_id?, u64::try_from(template.latest_version_number?).ok()?))
            }));
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                break;
            }
        }
        Ok(found)
    }

    async fn bases_of_group(
        &self,
        sought: Sought<'_, Group<'_>>,
        numbers: &Numbers,
    ) -> (LocalRef, Result<Bases, PortError>) {
        (sought.local.clone(), self.bases_of_templates(&sought, numbers).await)
    }

    /// Of each launch template the versions matter that are newer than the one whose shape runs. Several are one shape: it is
    /// newer where one of them is.
    async fn bases_of_templates(&self, sought: &Sought<'_, Group<'_>>, numbers: &Numbers) -> Result<Bases, PortError> {
        let on = &sought.target;
        let several = on.len() > 1;
        let (mut recorded, mut wanted, mut made) = (Vec::new(), Vec::new(), false);
        let (mut newest, mut changes) = (Vec::new(), Vec::new());
        let (mut through, mut registered_by) = (BTreeSet::new(), BTreeSet::new());
        for (template, version) in on {
            let (base, by, chain) = self.recorded(&Known::Version(Box::new((*version).clone()))).await?;
            let base: u64 = base.parse().unwrap_or(version.number);
            let newer = self.newest_after(base, template, sought.rule, numbers).await?;
            let found = newer.iter().filter_map(|newer| newer.made_by.as_deref());
            registered_by.extend(by.as_deref().into_iter().chain(found).map(principal));
            recorded.push(base);
            wanted.push(newer.as_ref().map_or(base, |newer| newer.number));
            made |= !chain.is_empty();
            if !several {
                through = chain;
            }
            if let Some(newer) = newer {
                let of = if several { format!("{}: ", version.template) } else { String::new() };
                changes.extend(template_changes(version, &newer).into_iter().map(|change| format!("{of}{change}")));
                newest.push(newer);
            }
        }
        if several && made {
            through.insert(joined(&on.iter().map(|(_, version)| version.number).collect::<Vec<_>>()));
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
        than: u64,
        template: &TemplateRef,
        rule: &BaseRule,
        numbers: &Numbers,
    ) -> Result<Option<TemplateVersion>, PortError> {
        let versions = match numbers.get(&template.id) {
            Some(Ok(looked)) => self.newer_than(&template.id, than, looked).await?,
            Some(Err(error)) => return Err(error.clone()),
            None => return Ok(None),
        };
        for version in versions.iter().rev().filter(|version| version.number > than) {
            if self.counts(&Known::Version(Box::new(version.clone())), rule).await? {
                return Ok(Some(version.clone()));
            }
        }
        Ok(None)
    }

    /// The versions of a template after one.
    async fn newer_than(
        &self,
        template: &str,
        than: u64,
        looked: &Looked<Option<u64>>,
    ) -> Result<Arc<Vec<TemplateVersion>>, PortError> {
        if looked.found.is_some_and(|newest| newest <= than) {
            return Ok(Arc::default());
        }
        let key = template.to_owned();
        let holds = |known: &Newer| {
            let same = known.newest.is_some() && known.newest == looked.found;
            known.than <= than && (same || known.at >= looked.at)
        };
        if let Some(known) = self.cache.newer.get(&key).filter(holds) {
            return Ok(known.versions);
        }
        let versions = Arc::new(self.newer_versions(template, than).await?);
        // Where the list lags behind, it is read again next time.
        let there = |newest: &u64| versions.iter().any(|version| version.number == *newest);
        let newest = looked.found.filter(there);
        self.cache.newer.put(key, Newer { at: Instant::now(), than, newest, versions: Arc::clone(&versions) });
        Ok(versions)
    }

    async fn bases_of_family(
        &self,
        family: &str,
        sought: Vec<Sought<'_, Service<'_>>>,
        look: Instant,
    ) -> Vec<(LocalRef, Result<Bases, PortError>)> {
        let mut found = Vec::new();
        for one in sought {
            found.push((one.local.clone(), self.bases_of_service(family, &one, look).await));
        }
        found
    }

    async fn bases_of_service(
        &self,
        family: &str,
        sought: &Sought<'_, Service<'_>>,
        look: Instant,
    ) -> Result<Bases, PortError> {
        let (service, spec) = sought.target;
        let on = Known::Definition(self.definition(&service.task_definition.arn).await?, spec);
        let (recorded, by, through) = self.recorded(&on).await?;
        let than = recorded.rsplit_once(':').filter(|(of, _)| *of == family);
        let than: Option<u64> = than.and_then(|(_, number)| number.parse().ok());
        let mut newest = None;
        for arn in self.listed(family, sought.commit, look).await?.iter() {
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
            let known = Known::Definition(Arc::clone(&definition), spec);
            if definition.summary.active && self.counts(&known, sought.rule).await? {
                newest = Some(Base {
                    name: known.name(),
                    changes: known.changes_from(&on),
                    revision: BaseSource::TaskDefinition(Box::new(definition.summary.clone())),
                });
                break;
            }
        }
        let registered_by =
            by.as_deref().into_iter().chain(newest.as_ref().and_then(Base::by)).map(principal).collect();
        Ok(Bases { recorded, through, newest, registered_by })
    }

    /// Whether a revision's shape may be a target's: Pinion didn't make it, and the rule admits who did.
    async fn counts(&self, known: &Known<'_>, rule: &BaseRule) -> Result<bool, PortError> {
        Ok(rule.admits(known.by()) && !self.made(known).await?)
    }

    /// Whose shape a revision has, who made that, and those of Pinion's between.
    async fn recorded(&self, on: &Known<'_>) -> Result<(String, Option<String>, BTreeSet<String>), PortError> {
        let (mut known, mut through) = (on.clone(), BTreeSet::new());
        for _ in 0..CHAIN {
            let Some(base) = known.made_from().map(str::to_owned) else { break };
            if !self.made(&known).await? {
                break;
            }
            through.insert(known.name());
            match self.beside(&known, &base).await? {
                Some(before) if !through.contains(&before.name()) => known = before,
                // Deleted, or of a name that isn't known in full: nothing older is known.
                _ => return Ok((base, None, through)),
            }
        }
        Ok((known.name(), known.by().map(str::to_owned), through))
    }

    /// Whether a revision is Pinion's: it bears a marker, and the environment's own role has made it or it has the shape that
    /// the marker says. A copy with the marker of one of Pinion's and something changed is somebody else's.
    async fn made(&self, known: &Known<'_>) -> Result<bool, PortError> {
        if known.marker().is_some() && known.by().is_none_or(|by| is_session_of(by, self.account.role.as_str())) {
            return Ok(true);
        }
        let Some(base) = known.made_from() else { return Ok(false) };
        let base = self.beside(known, base).await?;
        // Where its base is gone nobody can tell, and doubt writes nothing.
        Ok(base.is_none_or(|base| known.changes_from(&base).is_empty()))
    }

    /// The revision of a name, of the same launch template or in the same account and region; `None` if there is none.
    async fn beside<'a>(&self, known: &Known<'a>, name: &str) -> Result<Option<Known<'a>>, PortError> {
        match known {
            Known::Version(version) => {
                let Ok(number) = name.parse() else { return Ok(None) };
                let mut found = self.template_versions(&version.template, &BTreeSet::from([number])).await?;
                Ok(found.remove(&number).map(|version| Known::Version(Box::new(version))))
            }
            Known::Definition(definition, spec) => {
                let Some((account, _)) = definition.summary.arn.rsplit_once('/') else { return Ok(None) };
                match self.definition(&format!("{account}/{name}")).await {
                    Ok(definition) => Ok(Some(Known::Definition(definition, spec))),
                    Err(error) if error.code == "ClientException" => Ok(None),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// The ACTIVE revisions of a family, the newest first: at most a hundred. Listed once a look, and again
    /// for a pin for which they weren't listed yet.
    async fn listed(&self, family: &str, commit: &CommitId, look: Instant) -> Result<Arc<Vec<String>>, PortError> {
        let known = self.cache.families.get(&family.to_owned()).filter(|known| known.is_of(look));
        if let Some(listed) = known.as_ref().filter(|known| known.commits.contains(commit)) {
            return Ok(Arc::clone(&listed.found));
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
        self.cache.families.put(family.to_owned(), Looked::now(Arc::clone(&arns), commit, known));
        Ok(arns)
    }
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
