//! `[suspend]` at the top of a file: it suspends all targets of an environment, or of all environments.
//!
//! It is taken out of the trees before defaults.toml is laid under environment.toml, so that neither replaces the other, and
//! read by itself, so that it holds though something else in the environment is wrong: who stops everything mustn't have to
//! put everything right first.

use std::collections::BTreeMap;

use super::finding::Findings;
use super::raw::RawSuspend;
use super::shape::{At, Shape as _};
use super::tree::{Node, Value};
use crate::model::{EnvironmentName, LocalRef, Reach, Suspension, Target};

const KEY: &str = "suspend";

/// What a file says of suspending all that it holds for. `None` if the file, or its `[suspend]`, can't be read: then what it
/// said before holds.
pub type Word = Option<Option<Suspension>>;

/// What the files of a commit say of suspending all targets, whatever else is wrong with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stops {
    /// What defaults.toml says.
    all: Word,
    /// What each environment.toml says.
    environments: BTreeMap<EnvironmentName, Word>,
}

impl Stops {
    pub(super) fn new(all: Word, environments: BTreeMap<EnvironmentName, Word>) -> Self {
        Self { all, environments }
    }

    /// Takes from an earlier commit what couldn't be read of a later one.
    pub fn fill(&mut self, earlier: &Self) {
        if self.all.is_none() {
            self.all.clone_from(&earlier.all);
        }
        for (name, word) in &earlier.environments {
            let own = self.environments.entry(name.clone()).or_default();
            if own.is_none() {
                own.clone_from(word);
            }
        }
    }

    /// What defaults.toml says.
    #[must_use]
    pub fn all(&self) -> &Word {
        &self.all
    }

    /// What an environment's own file says.
    #[must_use]
    pub fn own(&self, name: &EnvironmentName) -> Word {
        self.environments.get(name).cloned().flatten()
    }
}

/// All that suspends targets of an environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suspensions {
    /// What suspends the targets of all environments.
    pub(super) all: Option<Suspension>,
    /// What suspends all targets of this one.
    pub(super) environment: Option<Suspension>,
    /// What suspends one target each.
    pub(super) targets: BTreeMap<LocalRef, Suspension>,
}

impl Suspensions {
    /// Lets what newer files say win over what was said when these targets were read. What can't be read changes nothing.
    pub fn follow(&mut self, stops: &Stops, name: &EnvironmentName) {
        if let Some(all) = stops.all() {
            self.all.clone_from(all);
        }
        if let Some(own) = stops.own(name) {
            self.environment = own;
        }
    }

    /// Gives each target the suspension that ends last of those that it has; of several that end together, that with the
    /// shortest reach.
    pub fn put(&self, targets: &mut BTreeMap<LocalRef, Target>) {
        for (local, target) in targets {
            let all = [&self.all, &self.environment].into_iter().flatten().chain(self.targets.get(local));
            target.suspend = all.max_by_key(|suspension| suspension.until).cloned();
        }
    }
}

/// Takes the `[suspend]` out of a file's tree. Where it stands is noted, as it may surprise those who read a target's table.
pub(super) fn take(file: Option<&mut Node>, reach: Reach, findings: &mut Findings, notes: &mut Findings) -> Word {
    let Value::Table(top) = &mut file?.value else { return None };
    let Some(entry) = top.remove(KEY) else { return Some(None) };
    let value = RawSuspend::read(&entry.node, findings)?;
    let suspension = suspension(&At { place: entry.node.place, value }, reach, findings)?;
    let what = match reach {
        Reach::All => "all targets of all environments",
        Reach::Environment | Reach::Target => "all targets of this environment",
    };
    let message = format!("{what} are suspended until {}", suspension.until);
    notes.report_with_help(&entry.key, "suspended", message, "a target's own suspension counts only if it ends later");
    Some(Some(suspension))
}

/// The value of a `suspend`. `None` if something is missing or wrong, which is reported.
pub(super) fn suspension(at: &At<RawSuspend>, reach: Reach, findings: &mut Findings) -> Option<Suspension> {
    let At { place, value: suspend } = at;
    let owner = suspend.owner.required(place, "owner", findings);
    let reason = suspend.reason.required(place, "reason", findings);
    let until = suspend.until.required(place, "until", findings);
    let (owner, reason) = (owner?.value.0.clone(), reason?.value.0.clone());
    Some(Suspension { owner, reason, until: until?.value, reach })
}
