//! The environments repository: bytes of `environments/` and `policies/` become the model, or all that is wrong with
//! them at once. No I/O, but for [`read`], which reads a folder for the command line.
//!
//! ```text
//! bytes ─► tree ─► (over defaults.toml) ─► raw ─► checks ─► Draft ─► with provenance: model::Environment
//!          every value knows its place     shape  table of  build
//! ```

mod build;
mod check;
mod draft;
mod finding;
pub mod gather;
pub(crate) mod inherited;
mod kinds;
mod legal;
mod misplaced;
mod policy;
mod raw;
pub mod read;
pub mod render;
pub mod schema;
pub(crate) mod shape;
pub mod suspend;
mod template;
pub(crate) mod tree;
mod view;

use std::collections::BTreeMap;

pub use self::check::MAX_TARGETS;
pub use self::draft::{Draft, PinValue, pin_values, users};
pub(crate) use self::finding::Place;
pub use self::finding::{Finding, Findings};
pub use self::inherited::Inherited;
use self::kinds::Spread;
pub use self::kinds::described_at;
use self::raw::{RawEnvironment, RawPins};
use self::shape::Shape as _;
pub use self::shape::nearest;
use self::suspend::{Stops, Word};
use self::tree::Node;
use self::view::View;
use crate::guardrail::Policies;
use crate::model::{EnvironmentName, Reach};

const ROOT: &str = "environments";
/// What holds for every environment that doesn't say otherwise.
pub const DEFAULTS: &str = "environments/defaults.toml";

/// What a repository says.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The environments, each by its own: one that is wrong has its findings, and the others are none the worse.
    pub environments: BTreeMap<EnvironmentName, Result<Draft, Findings>>,
    /// What is wrong and belongs to no environment. If there is no environment at all, nothing counts; else what this is
    /// about doesn't, and the environments do.
    pub findings: Findings,
    /// What is odd, and stops nothing.
    pub warnings: Findings,
    /// What is neither, but may have to be explained.
    pub notes: Findings,
    /// The guardrails. If anything is wrong with them, they forbid everything.
    pub policies: Policies,
    /// What is wrong with the guardrails.
    pub policy_findings: Findings,
    /// The targets of several environments that claim one AWS resource. One of them holds it, and the others are blocked;
    /// their environments count all the same.
    pub contested: Findings,
    /// What suspends whole environments, also those that are wrong.
    pub suspended: Stops,
}

impl Loaded {
    /// All that is wrong anywhere.
    #[must_use]
    pub fn all_findings(&self) -> Findings {
        let mut all = self.broken();
        all.extend(&self.contested);
        all
    }

    /// All that is wrong with the files themselves.
    fn broken(&self) -> Findings {
        let mut all = self.findings.clone();
        all.extend(&self.policy_findings);
        for findings in self.environments.values().filter_map(|environment| environment.as_ref().err()) {
            all.extend(findings);
        }
        all
    }

    /// What keeps environments from being applied, all of them if none is named. `pinion validate` fails by this (and by what
    /// is contested) and `pinion plan` refuses by it; what is left for an environment of which it has nothing is what `pinion run` applies.
    #[must_use]
    pub fn stops(&self, names: &[EnvironmentName]) -> Findings {
        if names.is_empty() {
            return self.broken();
        }
        let mut found = self.policy_findings.clone();
        if self.environments.is_empty() {
            found.extend(&self.findings);
        }
        for findings in names.iter().filter_map(|name| self.environments.get(name)?.as_ref().err()) {
            found.extend(findings);
        }
        found
    }

    /// How many targets the good environments have.
    #[must_use]
    pub fn targets(&self) -> usize {
        self.drafts().map(|draft| draft.targets.len()).sum()
    }

    /// How many pins the good environments have.
    #[must_use]
    pub fn pins(&self) -> usize {
        self.drafts().map(|draft| draft.pins.len()).sum()
    }

    fn drafts(&self) -> impl Iterator<Item = &Draft> {
        self.environments.values().filter_map(|environment| environment.as_ref().ok())
    }
}

/// One environment's folder, as it was given.
#[derive(Default)]
struct Folder<'a> {
    environment: Option<&'a [u8]>,
    pins: Option<&'a [u8]>,
    /// Files that may be meant for one of the two, such as `environment.yaml`.
    lookalikes: Vec<&'a str>,
    /// One of the two in a folder below, as if environments could be put below each other.
    nested: Option<&'a str>,
    findings: Findings,
}

/// Reads a repository. Paths are those of Git: relative to the root, with `/`; only what [`gather`] reads counts.
#[must_use]
pub fn load(files: &BTreeMap<String, Vec<u8>>) -> Loaded {
    load_with_refused(files, &BTreeMap::new())
}

/// Like [`load`], where something is there that couldn't be taken, such as a symbolic link: `refused` has the reasons,
/// by path, and each is a finding.
#[must_use]
pub fn load_with_refused(files: &BTreeMap<String, Vec<u8>>, refused: &BTreeMap<String, String>) -> Loaded {
    let mut loaded = Loaded::default();
    let mut folders = sort(files, refused, &mut loaded);
    if folders.is_empty() {
        let help = misplaced::instead(files);
        loaded.findings.report_with_help(&Place::file(ROOT), "no-environment", "there is no environment", help);
    }
    misplaced::report(files, !folders.is_empty(), &mut loaded.warnings);

    // What is wrong with the defaults is wrong with each environment that they hold for. What no environment lets stand
    // is still reported, but harms none.
    let mut broken = Findings::default();
    for path in [ROOT, DEFAULTS] {
        if let Some(reason) = refused.get(path) {
            broken.report(&Place::file(path), "refused", reason.clone());
        }
    }
    let mut defaults = files.get(DEFAULTS).and_then(|bytes| Node::parse(DEFAULTS, bytes, &mut broken));
    if let Some(defaults) = &mut defaults {
        kinds::unify(defaults, &mut broken, &mut loaded.notes);
    }
    let there = files.contains_key(DEFAULTS) || [ROOT, DEFAULTS].iter().any(|path| refused.contains_key(*path));
    let all = match there {
        true => suspend::take(defaults.as_mut(), Reach::All, &mut broken, &mut loaded.notes),
        false => Some(None),
    };
    for folder in folders.values_mut() {
        folder.findings.extend(&broken);
    }
    loaded.findings.extend(&broken);
    let mut unused = Findings::default();
    if let Some(defaults) = &defaults {
        let _ = RawEnvironment::read(defaults, &mut unused);
    }

    let mut findings: BTreeMap<EnvironmentName, Findings> = BTreeMap::new();
    let mut views: BTreeMap<EnvironmentName, View> = BTreeMap::new();
    let mut spread = Spread::default();
    let mut own: BTreeMap<EnvironmentName, Word> = BTreeMap::new();
    for (name, folder) in folders {
        let (view, found) = open(&name, folder, defaults.as_ref(), &mut spread, &mut loaded.notes);
        findings.insert(name.clone(), found);
        own.insert(name.clone(), view.suspend.clone());
        views.insert(name, view);
    }
    loaded.suspended = Stops::new(all.clone(), own);
    for (name, view) in &views {
        check::one(view, findings.entry(name.clone()).or_default());
    }
    let too_many = check::too_many(&views).map(|said| ("too-many-targets", said));
    let too_much = spread.too_much().map(|said| ("too-many-defaults", said));
    for (check, (message, help)) in too_many.into_iter().chain(too_much) {
        let place = Place::file(ROOT);
        for found in findings.values_mut().chain([&mut loaded.findings]) {
            found.report_with_help(&place, check, message.clone(), help);
        }
    }
    check::across(&views, &mut loaded.warnings);
    loaded.contested = check::contested(&views);
    for (name, view) in &views {
        let mut found = findings.remove(name).unwrap_or_default();
        let outcome = match build::draft(view, all.as_ref(), &mut found) {
            Some(draft) if found.is_empty() => Ok(draft),
            _ => Err(found),
        };
        loaded.environments.insert(name.clone(), outcome);
    }
    for finding in unused.iter() {
        let mut broken = loaded.environments.values().filter_map(|environment| environment.as_ref().err());
        if !broken.any(|findings| findings.has(finding)) {
            loaded.warnings.note(finding);
        }
    }
    let mut found = Findings::default();
    loaded.policies = policy::read(files, refused, &loaded.environments, &mut found, &mut loaded.warnings);
    loaded.policy_findings = found;
    loaded
}

/// Sorts the files into the environments' folders.
fn sort<'a>(
    files: &'a BTreeMap<String, Vec<u8>>,
    refused: &'a BTreeMap<String, String>,
    loaded: &mut Loaded,
) -> BTreeMap<EnvironmentName, Folder<'a>> {
    let mut folders: BTreeMap<EnvironmentName, Folder<'a>> = BTreeMap::new();
    let paths = files.iter().map(|(path, bytes)| (path.as_str(), Ok(bytes.as_slice())));
    let paths = paths.chain(refused.iter().map(|(path, reason)| (path.as_str(), Err(reason))));
    for (path, content) in paths {
        let Some(inner) = path.strip_prefix("environments/").filter(|_| path != DEFAULTS) else { continue };
        if inner.split('/').any(|part| part.starts_with('.')) {
            continue;
        }
        let place = Place::file(path);
        let (folder, file) = inner.split_once('/').unwrap_or((inner, ""));
        if folder == inner {
            match (content, EnvironmentName::try_from(folder)) {
                // The folder itself couldn't be taken.
                (Err(reason), Ok(name)) => {
                    folders.entry(name).or_default().findings.report(&place, "refused", reason.clone());
                }
                (Err(reason), Err(_)) => loaded.findings.report(&place, "refused", reason.clone()),
                (Ok(_), _) if gather::is_stray(inner) => report_stray(&place, &mut loaded.warnings),
                (Ok(_), _) if gather::is_policy(inner) => misplaced::report_policy(path, &mut loaded.warnings),
                (Ok(_), _) if misplaced::is_like_defaults(inner) && !files.contains_key(DEFAULTS) => {
                    misplaced::report_defaults(path, &mut loaded.warnings);
                }
                (Ok(_), _) => {}
            }
            continue;
        }
        let name = match EnvironmentName::try_from(folder) {
            Ok(name) => name,
            Err(error) => {
                let place = Place::file(&format!("{ROOT}/{folder}"));
                loaded.findings.report_with_help(&place, "invalid-value", error.to_string(), "rename the folder");
                continue;
            }
        };
        let folder = folders.entry(name).or_default();
        match (file, content) {
            ("environment.toml" | "pins.toml", Err(reason)) => {
                folder.findings.report(&place, "refused", reason.clone());
            }
            ("environment.toml", Ok(bytes)) => folder.environment = Some(bytes),
            ("pins.toml", Ok(bytes)) => folder.pins = Some(bytes),
            // What lies deeper is another tool's.
            (file, Ok(_)) if file.contains('/') => {
                let is_own = file.split_once('/').is_some_and(|(_, file)| gather::OWN.contains(&file));
                folder.nested = folder.nested.or(is_own.then_some(path));
            }
            (file, Ok(_)) if gather::is_stray(file) => report_stray(&place, &mut folder.findings),
            (file, Ok(_)) if gather::is_policy(file) => misplaced::report_policy(path, &mut loaded.warnings),
            (file, Ok(_)) if misplaced::is_like_own(file) => folder.lookalikes.push(path),
            _ => {}
        }
    }
    folders
}

fn report_stray(place: &Place, findings: &mut Findings) {
    let help =
        "the files are environments/defaults.toml, environments/NAME/environment.toml and environments/NAME/pins.toml";
    findings.report_with_help(place, "stray-file", "no file of this name is read", help);
}

/// Reads an environment's files, shape by shape.
fn open(
    name: &EnvironmentName,
    folder: Folder<'_>,
    defaults: Option<&Node>,
    spread: &mut Spread,
    notes: &mut Findings,
) -> (View, Findings) {
    let Folder { environment, pins, lookalikes, nested, mut findings } = folder;
    let (path, pins_path) = (format!("{ROOT}/{name}/environment.toml"), format!("{ROOT}/{name}/pins.toml"));
    let parse = |path: &str, bytes: Option<&[u8]>, findings: &mut Findings| match bytes {
        Some(bytes) => Node::parse(path, bytes, findings),
        None => {
            // A file that was refused, or whose folder was, has been reported.
            let refused = |finding: &Finding| finding.check == "refused" && path.starts_with(&finding.file);
            if !findings.iter().any(refused) {
                let place = Place::file(path);
                let is_meant = |other: &&&str| {
                    other.rsplit('/').next().and_then(misplaced::own).is_some_and(|own| path.ends_with(own))
                };
                let help = match (lookalikes.iter().find(is_meant), nested) {
                    (Some(other), _) => {
                        format!("{other} isn't read: the files are TOML; write it as {path}")
                    }
                    (None, Some(deeper)) => format!(
                        "{deeper} isn't read: environments aren't put below each other; move its folder to {ROOT}/"
                    ),
                    (None, None) => {
                        "add it; if the folder isn't meant to be an environment, move it out of environments/"
                            .to_owned()
                    }
                };
                findings.report_with_help(&place, "missing-file", "this file is missing", help);
            }
            None
        }
    };
    let mut raw = parse(&path, environment, &mut findings);
    let loses_targets =
        [raw.as_ref(), defaults].into_iter().flatten().any(|file| kinds::loses_targets(file, RawEnvironment::KEYS));
    let suspend = suspend::take(raw.as_mut(), Reach::Environment, &mut findings, notes);
    let pins = parse(&pins_path, pins, &mut findings);
    let raw = raw.map(|mut node| {
        kinds::unify(&mut node, &mut findings, notes);
        match defaults {
            Some(defaults) => node.over(defaults, is_one_value),
            None => node,
        }
    });
    let place = raw.as_ref().map_or_else(|| Place::file(&path), |node| node.place.clone());
    let raw = raw.and_then(|node| spread.over(node, &mut findings, is_one_value));
    let raw = raw.and_then(|node| RawEnvironment::read(&node, &mut findings));
    let pins = pins.and_then(|node| RawPins::read(&node, &mut findings));
    (View { name: name.clone(), raw, place, pins, pins_path, loses_targets, suspend }, findings)
}

/// Tables that are one value, by their key: they replace those of defaults whole.
fn is_one_value(key: &str) -> bool {
    let table = key.strip_suffix(".ami");
    table.is_some_and(|table| table.starts_with("asg.") || table == "defaults.asg")
}
