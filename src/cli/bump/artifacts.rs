//! Looks in AWS whether a version's artifact exists, and which version is the newest. With the roles of the environments, or with
//! others in their accounts, where there is access.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use semver::VersionReq;

use super::edit;
use crate::aws::{Aws, Options};
use crate::cli::error::{CliError, ResultExt as _};
use crate::cli::{output, unknown};
use crate::clock::{Clock, SystemClock};
use crate::manifest::{self, Draft, Loaded};
use crate::metrics::Metrics;
use crate::model::escape::one_line;
use crate::model::{
    Account, AmiQuery, ArtifactQuery, Component, Digest, EnvironmentName, ImageReference, Pattern, Provenance,
    ResolveError, Session, TargetSpec, Version, words,
};
use crate::ports::Accounts;

/// How long is looked. Without access that is known at once, or never.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Stands for the version in what is looked for. Legal wherever a version is.
const PLACEHOLDER: &str = "0.0.0-pinion-bump";

/// Looks into AWS.
pub(in crate::cli) struct Lookup {
    endpoint_url: Option<String>,
    role: Option<String>,
}

impl Lookup {
    /// `role` is the name of the role to assume in each account, instead of the environment's.
    pub(in crate::cli) fn new(endpoint_url: Option<String>, role: Option<String>) -> Self {
        Self { endpoint_url, role }
    }

    fn account(&self, draft: &Draft) -> Result<Account, CliError> {
        let mut account = draft.account.clone();
        if let Some(name) = &self.role {
            account.role = account.role.renamed(name)?;
        }
        Ok(account)
    }

    async fn aws(&self) -> Result<Aws, CliError> {
        Ok(Aws::new(Options {
            endpoint_url: self.endpoint_url.clone(),
            keys: None,
            session: Session::Bump,
            recorder: Arc::new(Metrics::new()?),
            clock: Arc::new(SystemClock),
        })
        .await)
    }

    /// Fails if an artifact of the component's pin is known not to be usable. Says so where that can't be found out.
    pub(in crate::cli) async fn exists(
        &self,
        loaded: &Loaded,
        component: &Component,
        environments: impl Iterator<Item = &EnvironmentName>,
    ) -> Result<(), CliError> {
        let aws = self.aws().await?;
        for name in environments {
            let Some(Ok(draft)) = loaded.environments.get(name) else { continue };
            let queries = queries(draft, component);
            let reader = aws.reader(&draft.name, &self.account(draft)?);
            let asked = tokio::time::timeout(TIMEOUT, reader.resolve(&queries)).await;
            let Ok(answers) = asked else {
                output::note(&format!("{name}: couldn't find out in time whether the artifact exists\n"));
                continue;
            };
            for result in answers.into_values() {
                match result {
                    Ok(_) => {}
                    Err(ResolveError::Unusable(why)) => {
                        return Err(CliError::failed(format!("{name}: {why}"))
                            .hint("nothing was changed; --no-check pins it all the same"));
                    }
                    Err(ResolveError::Call(error)) => {
                        let why = one_line(&error.to_string()).into_owned();
                        output::note(&format!("{name}: no access to see whether the artifact exists ({why})\n"));
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// The newest version within the range that all targets of the component in all the environments may use; with its
    /// digest where the pins name one. Versions that were rolled back are left out.
    pub(super) async fn newest(
        &self,
        dir: &Path,
        component: &Component,
        environments: &[EnvironmentName],
        range: &VersionReq,
        rolled_back: &BTreeSet<Version>,
    ) -> Result<(Version, Option<Digest>), CliError> {
        let loaded = with_placeholder(dir, component, environments)?;
        let aws = self.aws().await?;
        let mut common: Option<BTreeMap<String, Option<Digest>>> = None;
        let mut pinned_digest = false;
        for name in environments {
            let draft = match loaded.environments.get(name) {
                Some(Ok(draft)) => draft,
                Some(Err(findings)) => return Err(CliError::failed(findings.to_string())),
                None => return Err(unknown::environment(name, loaded.environments.keys())),
            };
            pinned_digest |= draft.pin_value(component).is_some_and(|pin| pin.digest.is_some());
            let surveyor = aws.surveyor(&draft.name, &self.account(draft)?);
            for pattern in patterns(draft, component)? {
                let listed = tokio::time::timeout(TIMEOUT, surveyor.versions(&pattern)).await;
                let listed = listed.context(|| format!("{name}: the versions couldn't be listed in time"))?;
                let listed = listed.context(|| format!("{name}: the versions can't be listed"))?;
                common = Some(match common {
                    None => listed,
                    Some(common) => common.into_iter().filter(|(version, _)| listed.contains_key(version)).collect(),
                });
            }
        }
        let candidates = common.unwrap_or_default();
        for version in rolled_back.iter().filter(|version| candidates.contains_key(version.as_str())) {
            let version = one_line(version.as_str());
            output::note(&format!("{component} {version} was rolled back: skipped; --include-rolled-back pins it\n"));
        }
        let newest = candidates
            .iter()
            .filter(|(text, _)| !rolled_back.iter().any(|version| version.as_str() == text.as_str()))
            .filter_map(|(text, digest)| {
                let number = semver::Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()?;
                range.matches(&number).then_some((number, text, digest))
            })
            .max_by(|(one, text, _), (other, other_text, _)| (one, text).cmp(&(other, other_text)));
        let Some((_, text, digest)) = newest else {
            let names: Vec<&str> = environments.iter().map(EnvironmentName::as_str).collect();
            let message = format!("no version of {component} within {range} can be used in {}", names.join(", "));
            let seen =
                format!("seen: {}; only semantic ones count, such as 1.4.2", words::count(candidates.len(), "version"));
            return Err(CliError::failed(message).hint(seen));
        };
        Ok((Version::try_from(text.as_str())?, digest.clone().filter(|_| pinned_digest)))
    }
}

fn queries(draft: &Draft, component: &Component) -> BTreeSet<ArtifactQuery> {
    let provenance = Provenance::uncommitted(SystemClock.now());
    let provenance = draft.pins().into_keys().map(|component| (component, provenance.clone())).collect();
    let environment = draft.complete(&provenance);
    let targets = environment.targets.values().filter(|target| target.component == *component);
    targets.filter_map(|target| Some(target.artifact_query(environment.pin_of(target)?))).collect()
}

/// The environments with a version that is none: what is looked for shows where a version goes.
fn with_placeholder(dir: &Path, component: &Component, environments: &[EnvironmentName]) -> Result<Loaded, CliError> {
    let mut folder = manifest::read::folder(dir)?;
    let version = Version::try_from(PLACEHOLDER)?;
    // Of another image than any.
    let digest = Digest::try_from(format!("sha256:{}", "0".repeat(64)))?;
    for name in environments {
        let path = format!("environments/{name}/pins.toml");
        let Some(bytes) = folder.files.get(&path) else {
            return Err(CliError::failed(format!("there is no {path}"))
                .hint("name the folder of an environments repository with --dir, and an environment that it has"));
        };
        let text = String::from_utf8_lossy(bytes).into_owned();
        let edited = match edit::pin(&text, component, &version, None) {
            Err(edit::EditError::Digest(_)) => edit::pin(&text, component, &version, Some(&digest)),
            edited => edited,
        };
        folder.files.insert(path.clone(), edited.context(|| format!("can't change {path}"))?.text.into_bytes());
    }
    Ok(manifest::load_with_refused(&folder.files, &folder.refused))
}

/// What the versions of a component look like in an environment.
fn patterns(draft: &Draft, component: &Component) -> Result<Vec<Pattern>, CliError> {
    let targets = draft.targets.values().filter(|target| target.component == *component);
    let patterns = targets.map(|target| {
        let pattern = match &target.spec {
            TargetSpec::Asg(asg) => ami(&asg.ami),
            TargetSpec::Fargate(fargate) => image(&fargate.image),
        };
        pattern.ok_or_else(|| {
            CliError::failed(format!(
                "the versions of {} can't be listed by the way its image is found",
                target.reference
            ))
            .hint("name the version; --latest knows AMIs by name or tags, and images in ECR by tag")
        })
    });
    patterns.collect()
}

fn ami(query: &AmiQuery) -> Option<Pattern> {
    match query {
        AmiQuery::Name { name, owner } => {
            let (before, after) = name.split_once(PLACEHOLDER)?;
            Some(Pattern::AmiName { before: before.to_owned(), after: after.to_owned(), owner: owner.clone() })
        }
        AmiQuery::Tags { tags, owner } => {
            let (key, value) = tags.iter().find(|(_, value)| value.contains(PLACEHOLDER))?;
            let (before, after) = value.split_once(PLACEHOLDER)?;
            let others = tags.iter().filter(|(other, _)| *other != key);
            Some(Pattern::AmiTag {
                key: key.clone(),
                before: before.to_owned(),
                after: after.to_owned(),
                others: others.map(|(key, value)| (key.clone(), value.clone())).collect(),
                owner: owner.clone(),
            })
        }
        AmiQuery::Parameter { .. } | AmiQuery::Id { .. } => None,
    }
}

fn image(reference: &ImageReference) -> Option<Pattern> {
    reference.ecr()?;
    let (before, after) = reference.tag.split_once(PLACEHOLDER)?;
    Some(Pattern::ImageTag { reference: reference.clone(), before: before.to_owned(), after: after.to_owned() })
}
