//! An environment as its files have it: all but where its pins come from, which only Git's history can say.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use super::Folder;
use super::finding::Findings;
use super::kinds::Spread;
use super::raw::RawPins;
use super::shape::Shape as _;
use super::suspend::Suspensions;
use super::tree::Node;
use crate::model::{
    Account, Component, Digest, Environment, EnvironmentClaims, EnvironmentName, LocalRef, Pin, Promotion, Provenance,
    Suspension, Target, Version, desired,
};

/// The value of a pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinValue {
    /// The version.
    pub version: Version,
    /// The digest that the version's image must have, where the pin names one.
    pub digest: Option<Digest>,
}

/// The canonical text: `version`, or `version@digest`. Equal texts mean the same pin, however the file is written.
impl fmt::Display for PinValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.digest {
            Some(digest) => write!(f, "{}@{digest}", self.version),
            None => f.pad(self.version.as_str()),
        }
    }
}

/// An environment without provenance. All checks have passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The folder's name.
    pub name: EnvironmentName,
    /// The AWS account.
    pub account: Account,
    /// Where pins are promoted from.
    pub promotion: Option<Promotion>,
    /// The targets, each with its own suspension, if it has one.
    pub targets: BTreeMap<LocalRef, Target>,
    /// What suspends them, alone or together.
    pub suspensions: Suspensions,
    pub(super) pins: BTreeMap<Component, PinValue>,
}

impl Draft {
    /// The pins, one for each component that a target uses, each in [`PinValue`]'s canonical text.
    #[must_use]
    pub fn pins(&self) -> BTreeMap<Component, String> {
        self.pins.iter().map(|(component, value)| (component.clone(), value.to_string())).collect()
    }

    /// What each target claims.
    #[must_use]
    pub fn claims(&self) -> EnvironmentClaims {
        desired::claims(&self.account, &self.targets)
    }

    /// The targets that are suspended at a time, and by what.
    #[must_use]
    pub fn suspended(&self, now: Timestamp) -> BTreeMap<LocalRef, Suspension> {
        let mut targets = self.targets.clone();
        self.suspensions.put(&mut targets);
        targets.into_iter().filter_map(|(local, target)| Some((local, target.suspended(now)?.clone()))).collect()
    }

    /// The value of a component's pin.
    #[must_use]
    pub fn pin_value(&self, component: &Component) -> Option<&PinValue> {
        self.pins.get(component)
    }

    /// The path of `pins.toml` in the repository.
    #[must_use]
    pub fn pins_path(&self) -> String {
        format!("environments/{}/pins.toml", self.name)
    }

    /// The environment, once it is known where each pin comes from. A pin of unknown provenance is left out: a rollout
    /// that no commit answers for could neither be recognised later nor quarantined.
    #[must_use]
    pub fn complete(&self, provenance: &BTreeMap<Component, Provenance>) -> Environment {
        let pins = self.pins.iter().filter_map(|(component, PinValue { version, digest })| {
            let provenance = provenance.get(component)?.clone();
            let (version, digest) = (version.clone(), digest.clone());
            Some((component.clone(), Pin { component: component.clone(), version, digest, provenance }))
        });
        let mut targets = self.targets.clone();
        self.suspensions.put(&mut targets);
        Environment {
            name: self.name.clone(),
            account: self.account.clone(),
            promotion: self.promotion.clone(),
            targets,
            pins: pins.collect(),
            held: BTreeMap::new(),
            shape_limit: None,
        }
    }
}

/// The well-formed pins of a `pins.toml` of any age, by component, in [`PinValue`]'s canonical text. Empty for what
/// isn't TOML.
#[must_use]
pub fn pin_values(bytes: &[u8]) -> BTreeMap<String, String> {
    let mut ignored = Findings::default();
    let node = Node::parse("pins.toml", bytes, &mut ignored);
    let pins = node.and_then(|node| RawPins::read(&node, &mut ignored)).unwrap_or_default();
    let values =
        pins.into_iter().filter_map(|(component, pin)| Some((component, pin.value()?.canonical()?.to_string())));
    values.collect()
}

/// Which component each AWS resource of an environment runs, by a text that names the resource, as of files of any age. `None`
/// if it can't be read from this `environment.toml`.
#[must_use]
pub fn users(name: &str, defaults: Option<&[u8]>, environment: &[u8]) -> Option<BTreeMap<String, String>> {
    let name = EnvironmentName::try_from(name).ok()?;
    let mut ignored = Findings::default();
    let mut noted = Findings::default();
    let mut defaults = defaults.and_then(|bytes| Node::parse("defaults.toml", bytes, &mut ignored));
    if let Some(defaults) = &mut defaults {
        super::kinds::unify(defaults, &mut ignored, &mut noted);
    }
    let folder = Folder { environment: Some(environment), ..Folder::default() };
    let (view, _) = super::open(&name, folder, defaults.as_ref(), &mut Spread::default(), &mut noted);
    view.raw.as_ref()?;
    let users = view.targets().into_iter().filter_map(|target| {
        // One that can't be named is nobody else's either.
        let resource = super::check::claim(&view, &target).unwrap_or_else(|| format!("{name}/{}", target.local));
        Some((resource, target.component()?.0.to_string()))
    });
    Some(users.collect())
}
