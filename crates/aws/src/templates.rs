//! Launch-template versions: read once each, because they never change.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::operation::describe_launch_template_versions::builders::DescribeLaunchTemplateVersionsFluentBuilder;
use aws_sdk_ec2::types::LaunchTemplateVersion;

use super::capture::Capture;
use super::connection::{Connection, ours};
use super::operation::Operation;
use super::services::timestamp;
use super::xml::Element;
use pinion_core::model::hex::sha256;
use pinion_core::model::{ErrorClass, Marker, PortError, TemplateVersion, TemplateVersionSpec};

/// AWS's limit for the versions named in one call.
const BATCH: usize = 200;
/// What AWS says when one of the versions named doesn't exist.
const GONE: &str = "InvalidLaunchTemplateId.VersionNotFound";

impl Connection {
    /// Versions of a launch template by number. Those that are gone are missing in the answer.
    pub(super) async fn template_versions(
        &self,
        template: &str,
        numbers: &BTreeSet<u64>,
    ) -> Result<BTreeMap<u64, TemplateVersion>, PortError> {
        let mut found = BTreeMap::new();
        let mut unknown = Vec::new();
        for number in numbers {
            match self.cache.template_versions.get(&(template.to_owned(), *number)) {
                Some(version) => drop(found.insert(*number, version)),
                None => unknown.push(number.to_string()),
            }
        }
        for batch in unknown.chunks(BATCH) {
            match self.describe_versions(template, batch).await {
                Ok(versions) => found.extend(versions.into_iter().map(|(version, _)| (version.number, version))),
                // One that is gone fails them all.
                Err(error) if error.code == GONE && batch.len() > 1 => {
                    for number in batch {
                        match self.describe_versions(template, std::slice::from_ref(number)).await {
                            Ok(versions) => {
                                found.extend(versions.into_iter().map(|(version, _)| (version.number, version)));
                            }
                            Err(error) if error.code == GONE => {}
                            Err(error) => return Err(error),
                        }
                    }
                }
                Err(error) if error.code == GONE => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// What `$Latest` and `$Default` of a launch template are now.
    pub(super) async fn moving_versions(
        &self,
        template: &str,
        wanted: &[TemplateVersionSpec],
    ) -> Result<MovingVersions, PortError> {
        let mut names = Vec::new();
        if wanted.contains(&TemplateVersionSpec::Latest) {
            names.push("$Latest".to_owned());
        }
        if wanted.contains(&TemplateVersionSpec::Default) {
            names.push("$Default".to_owned());
        }
        let versions = self.describe_versions(template, &names).await?;
        Ok(MovingVersions {
            latest: versions.iter().map(|(version, _)| version).max_by_key(|version| version.number).cloned(),
            default: versions.into_iter().find(|(_, default)| *default).map(|(version, _)| version),
        })
    }

    /// Versions that were made after one. AWS's model calls `MinVersion` "the version number after which to describe launch
    /// template versions", and others read it as the first one to describe: this asks from the one that is known, and
    /// leaves that out. Those that this process was given a number for are among them, whatever the list says.
    pub(super) async fn newer_versions(&self, template: &str, than: u64) -> Result<Vec<TemplateVersion>, PortError> {
        let listed =
            self.read_versions(template, |request| request.min_version(than.to_string()).max_results(200)).await?;
        let mut found: BTreeMap<u64, TemplateVersion> =
            listed.into_iter().map(|(version, _)| (version.number, version)).collect();
        let made = self.cache.made_versions.get(&template.to_owned()).unwrap_or_default();
        let made: BTreeSet<u64> = made.into_iter().filter(|number| !found.contains_key(number)).collect();
        found.extend(self.template_versions(template, &made).await?);
        Ok(found.into_values().filter(|version| version.number > than).collect())
    }

    /// AWS has given this number to a version that this process asked for.
    pub(super) fn note_made_version(&self, template: &str, number: u64) {
        let key = template.to_owned();
        let mut made = self.cache.made_versions.get(&key).unwrap_or_default();
        made.insert(number);
        // Older ones are listed by now.
        while made.len() > MADE {
            made.pop_first();
        }
        self.cache.made_versions.put(key, made);
    }

    /// The block-device mappings of a version as AWS sent them; none if it has none.
    pub(super) async fn block_devices(&self, template: &str, number: u64) -> Result<Vec<Element>, PortError> {
        let answer = Capture::default();
        self.call(Operation::DescribeLaunchTemplateVersions, || {
            self.ec2
                .describe_launch_template_versions()
                .launch_template_id(template)
                .versions(number.to_string())
                .customize()
                .interceptor(answer.clone())
                .send()
        })
        .await?;
        let whole = answer.xml();
        let data =
            whole.as_ref().and_then(|whole| data_of(whole, number)).ok_or_else(|| unreadable(template, number))?;
        Ok(data.child(MAPPINGS).map(|mappings| mappings.children.clone()).unwrap_or_default())
    }

    /// Versions by number or `$` name, each with whether it is the default one.
    async fn describe_versions(
        &self,
        template: &str,
        versions: &[String],
    ) -> Result<Vec<(TemplateVersion, bool)>, PortError> {
        self.read_versions(template, |request| request.set_versions(Some(versions.to_vec()))).await
    }

    /// All pages of the versions that `ask` asks for, each with whether it is the default one.
    async fn read_versions(
        &self,
        template: &str,
        ask: impl Fn(DescribeLaunchTemplateVersionsFluentBuilder) -> DescribeLaunchTemplateVersionsFluentBuilder
        + Send
        + Sync,
    ) -> Result<Vec<(TemplateVersion, bool)>, PortError> {
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let answer = Capture::default();
            let page = self
                .call(Operation::DescribeLaunchTemplateVersions, || {
                    ask(self.ec2.describe_launch_template_versions().launch_template_id(template))
                        .set_next_token(token.clone())
                        .customize()
                        .interceptor(answer.clone())
                        .send()
                })
                .await?;
            let whole = answer.xml();
            for version in page.launch_template_versions.unwrap_or_default() {
                let default = version.default_version.unwrap_or_default();
                found.push((self.keep_version(template, &version, whole.as_ref())?, default));
            }
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(found);
            }
        }
    }

    fn keep_version(
        &self,
        template: &str,
        version: &LaunchTemplateVersion,
        answer: Option<&Element>,
    ) -> Result<TemplateVersion, PortError> {
        let number = version.version_number.and_then(|number| u64::try_from(number).ok()).unwrap_or_default();
        // What AWS said of it isn't known then, and what is compared with it would be nothing but a guess.
        let sent = answer.and_then(|answer| data_of(answer, number)).ok_or_else(|| unreadable(template, number))?;
        let data = version.launch_template_data.as_ref();
        let kept = TemplateVersion {
            template: template.to_owned(),
            number,
            image: data.and_then(|data| data.image_id.clone()).filter(|image| !image.is_empty()),
            instance_type: data.and_then(|data| data.instance_type.as_ref()).map(|kind| kind.as_str().to_owned()),
            instance_requirements: data.is_some_and(|data| data.instance_requirements.is_some()),
            marker: version.version_description.as_deref().and_then(Marker::parse),
            sought: version.version_description.as_deref().and_then(sought),
            members: members(sent),
            made: version.create_time.as_ref().and_then(timestamp),
            made_by: version.created_by.clone().filter(|by| !by.is_empty()),
        };
        // One whose image AWS has left out is asked for again.
        if kept.image.is_some() {
            self.cache.template_versions.put((template.to_owned(), kept.number), kept.clone());
        }
        Ok(kept)
    }
}

/// How many made versions are remembered of each template.
const MADE: usize = 50;
/// The block-device mappings of a version in an answer.
const MAPPINGS: &str = "blockDeviceMappingSet";
/// What a version's description says besides the marker: how the image was looked up.
const SOUGHT: &str = "ami=";

/// The description of a version: the marker, and how its image was looked up.
pub(super) fn description(marker: &Marker, sought: &str) -> String {
    format!("{marker} {SOUGHT}{sought}")
}

fn sought(description: &str) -> Option<String> {
    let word = description.split(' ').find_map(|word| word.strip_prefix(SOUGHT));
    word.map(str::to_owned)
}

fn unreadable(template: &str, number: u64) -> PortError {
    let message = format!("the answer about version {number} of launch template {template} can't be read");
    ours(Operation::DescribeLaunchTemplateVersions, ErrorClass::Retry, "UnreadableResponse", message)
}

/// The `launchTemplateData` of a version in an answer.
fn data_of(answer: &Element, number: u64) -> Option<&Element> {
    let number = number.to_string();
    let versions = answer.child("launchTemplateVersionSet")?.children.iter();
    let mut versions = versions.filter(|version| version.text_of("versionNumber") == Some(number.as_str()));
    versions.next()?.child("launchTemplateData")
}

/// What a version holds besides its image, member by member; of the block devices each with its snapshot apart.
fn members(data: &Element) -> BTreeMap<String, String> {
    let mut members: BTreeMap<String, String> = BTreeMap::new();
    let mut add = |name: String, content: &str| {
        members.entry(name).or_default().push_str(&sha256(content, 32));
    };
    for member in data.children.iter().filter(|member| member.name != "imageId") {
        let empty = member.children.is_empty() && member.text.is_empty();
        if member.name != MAPPINGS {
            if !empty {
                add(named(&member.name), &member.canonical());
            }
            continue;
        }
        for mapping in &member.children {
            let device = mapping.text_of("deviceName").unwrap_or("without a name");
            let mut rest = mapping.clone();
            let snapshot = rest.child_mut("ebs").and_then(|ebs| {
                let snapshot = ebs.text_of("snapshotId").map(str::to_owned);
                ebs.children.retain(|one| one.name != "snapshotId");
                snapshot
            });
            add(TemplateVersion::block_device(device), &rest.canonical());
            if let Some(snapshot) = snapshot {
                add(TemplateVersion::snapshot(device), &snapshot);
            }
        }
    }
    members
}

/// A member's name in AWS's model, from its name in an answer: `securityGroupIdSet` is `SecurityGroupIds`.
fn named(answered: &str) -> String {
    let (stem, list) = match answered.strip_suffix("Set") {
        Some(stem) => (stem, "s"),
        None => (answered, ""),
    };
    format!("{}{list}", capitalised(stem))
}

/// A name with a capital, as requests of EC2 have it.
pub(super) fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// What `$Latest` and `$Default` are now; each is there only if it was asked for.
#[derive(Debug, Clone)]
pub(super) struct MovingVersions {
    latest: Option<TemplateVersion>,
    default: Option<TemplateVersion>,
}

impl MovingVersions {
    /// The version that a group on `spec` resolves to.
    pub(super) fn of(&self, spec: TemplateVersionSpec) -> Option<&TemplateVersion> {
        match spec {
            TemplateVersionSpec::Latest => self.latest.as_ref(),
            TemplateVersionSpec::Default => self.default.as_ref(),
            TemplateVersionSpec::Number(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mappings: &str, more: &str) -> BTreeMap<String, String> {
        let data = format!(
            "<launchTemplateData><imageId>ami-1</imageId><blockDeviceMappingSet>{mappings}</blockDeviceMappingSet>{more}\
             </launchTemplateData>"
        );
        members(&Element::parse(&data).unwrap())
    }

    #[test]
    fn members_are_told_apart_and_snapshots_from_their_devices() {
        let with = "<item><deviceName>/dev/sdf</deviceName><ebs><snapshotId>snap-1</snapshotId><volumeSize>30</volumeSize></ebs></item>";
        let without = "<item><deviceName>/dev/sdf</deviceName><ebs><volumeSize>30</volumeSize></ebs></item>";
        let (one, other) = (read(with, ""), read(without, ""));
        assert_eq!(one.keys().collect::<Vec<_>>(), ["BlockDeviceMappings /dev/sdf", "snapshot of /dev/sdf"]);
        assert_eq!(other.get("BlockDeviceMappings /dev/sdf"), one.get("BlockDeviceMappings /dev/sdf"));
        let groups = "<securityGroupIdSet><item>sg-1</item></securityGroupIdSet><userData>a</userData><futureMember>x</futureMember><keyName/>";
        let many = read("", groups);
        assert_eq!(many.keys().collect::<Vec<_>>(), ["FutureMember", "SecurityGroupIds", "UserData"]);
        assert_ne!(many.get("UserData"), read("", "<userData>b</userData>").get("UserData"));
        assert_eq!(read("", "<imageId>ami-2</imageId>"), read("", ""), "the image is what may differ");
    }

    #[test]
    fn a_description_says_how_the_image_was_looked_up() {
        let marker = Marker {
            owner: None,
            version: pinion_core::model::Version::try_from("1.4.2").unwrap(),
            commit: pinion_core::model::CommitId::try_from("a".repeat(40)).unwrap(),
            base: "7".to_owned(),
            from: None,
        };
        let text = description(&marker, "0badcafe");
        assert_eq!((Marker::parse(&text), sought(&text).as_deref()), (Some(marker.clone()), Some("0badcafe")));
        assert_eq!(sought(&marker.to_string()), None, "made before this was written");
    }
}
