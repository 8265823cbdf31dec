//! What was read of one environment's folder, as checking and building look at it.

use std::collections::BTreeMap;

use super::draft::PinValue;
use super::finding::{Findings, Place};
use super::raw::{Common, RawAsg, RawEnvironment, RawFargate, RawPin, RawPins, RawProbe};
use super::shape::{At, Field};
use super::suspend::Word;
use super::template::Scope;
use crate::model::{Component, EnvironmentName, InvalidName, Kind, LocalRef, Named};

/// One environment's files. What couldn't be read is `None`, and has been reported.
pub(super) struct View {
    pub(super) name: EnvironmentName,
    pub(super) raw: Option<RawEnvironment>,
    /// Its `environment.toml` as a whole.
    pub(super) place: Place,
    pub(super) pins: Option<RawPins>,
    /// The path of its `pins.toml`.
    pub(super) pins_path: String,
    /// Whether something that was probably meant to be a target isn't read as one, which has been reported. What only seems to
    /// follow from that isn't.
    pub(super) loses_targets: bool,
    /// What its `environment.toml` says of suspending all its targets.
    pub(super) suspend: Word,
}

/// A target's table of either kind.
#[derive(Clone, Copy)]
pub(super) enum Table<'a> {
    Asg(&'a RawAsg),
    Fargate(&'a RawFargate),
}

/// A target.
pub(super) struct RawTarget<'a> {
    pub(super) local: LocalRef,
    pub(super) place: &'a Place,
    pub(super) table: Table<'a>,
    /// Its component; `None` if it is said badly.
    component: Option<Component>,
}

impl View {
    /// The targets whose names are well-formed and whose tables are tables.
    pub(super) fn targets(&self) -> Vec<RawTarget<'_>> {
        let Some(raw) = &self.raw else { return Vec::new() };
        let asg = tables(&raw.asg).map(|(name, at)| (Kind::Asg, name, &at.place, Table::Asg(&at.value)));
        let fargate =
            tables(&raw.fargate).map(|(name, at)| (Kind::Fargate, name, &at.place, Table::Fargate(&at.value)));
        let named = asg.chain(fargate).filter_map(|(kind, name, place, table)| {
            let local = LocalRef::new(kind, name).ok()?;
            let component = match table.component() {
                Field::Absent => Component::try_from(name.as_str()).ok(),
                said => said.value().cloned(),
            };
            Some(RawTarget { local, place, table, component })
        });
        named.collect()
    }

    /// Reports targets and components whose names aren't well-formed.
    pub(super) fn check_names(&self, findings: &mut Findings) {
        let mut report = |place: &Place, name: &str, result: Result<(), InvalidName>| {
            let Err(error) = result else { return };
            let right = name.to_lowercase().replace([' ', '.'], "-");
            let help = match Component::try_from(right.as_str()) {
                Ok(right) => format!("write it as `{right}`"),
                Err(_) if LocalRef::try_from(name.to_owned()).is_ok() => {
                    "a pin belongs to a component, and not to a target: write the component's name".to_owned()
                }
                Err(_) => return findings.report(place, "invalid-value", error.to_string()),
            };
            findings.report_with_help(place, "invalid-value", error.to_string(), help);
        };
        if let Some(raw) = &self.raw {
            for (name, at) in tables(&raw.asg) {
                report(&at.place, name, LocalRef::new(Kind::Asg, name).map(drop));
            }
            for (name, at) in tables(&raw.fargate) {
                report(&at.place, name, LocalRef::new(Kind::Fargate, name).map(drop));
            }
        }
        for (name, pin) in self.pins.iter().flatten() {
            if let Some(at) = pin.at() {
                report(&at.place, name, Component::try_from(name.as_str()).map(drop));
            }
        }
    }

    /// Whether a target of this name is written down, be it well or badly.
    pub(super) fn mentions(&self, local: &LocalRef) -> bool {
        let Some(raw) = &self.raw else { return false };
        match local.kind {
            Kind::Asg => raw.asg.value().is_some_and(|tables| tables.contains_key(&local.name)),
            Kind::Fargate => raw.fargate.value().is_some_and(|tables| tables.contains_key(&local.name)),
        }
    }

    /// What placeholders stand for where no target is meant.
    pub(super) fn scope(&self) -> Scope<'_> {
        let account = self.raw.as_ref().and_then(|raw| raw.account.value());
        Scope {
            environment: self.name.as_str(),
            account: account.and_then(|account| account.id.value()).map(|id| id.as_str()),
            region: account.and_then(|account| account.region.value()).map(|region| region.as_str()),
            ..Scope::default()
        }
    }

    /// What placeholders stand for in a target's table, but for the version.
    pub(super) fn scope_of<'a>(&'a self, target: &'a RawTarget<'_>) -> Scope<'a> {
        Scope {
            component: target.component.as_ref().map(Component::as_str),
            target: Some(&target.local.name),
            ..self.scope()
        }
    }

    /// The pin of a component, if it is well-formed.
    pub(super) fn pin(&self, component: &Component) -> Option<&RawPin> {
        self.pins.as_ref()?.get(component.as_str())?.value()
    }

    /// Fills in the placeholders of what belongs to no target.
    pub(super) fn expand(&self, template: &At<Common>) -> Option<String> {
        template.value.expand(self.scope())
    }
}

fn tables<T>(field: &Field<BTreeMap<String, Field<T>>>) -> impl Iterator<Item = (&String, &At<T>)> {
    let tables = field.value().into_iter().flatten();
    tables.filter_map(|(name, table)| Some((name, table.at()?)))
}

impl<'a> Table<'a> {
    fn component(self) -> &'a Field<Component> {
        match self {
            Self::Asg(asg) => &asg.component,
            Self::Fargate(fargate) => &fargate.component,
        }
    }
}

impl RawTarget<'_> {
    /// Its component, and where that is said. `None` if it is said badly.
    pub(super) fn component(&self) -> Option<(Component, &Place)> {
        let place = self.table.component().at().map_or(self.place, |at| &at.place);
        Some((self.component.clone()?, place))
    }

    pub(super) fn take_over(&self) -> &Field<Named> {
        match self.table {
            Table::Asg(asg) => &asg.take_over,
            Table::Fargate(fargate) => &fargate.take_over,
        }
    }

    /// Its probes that can be read.
    pub(super) fn probes(&self) -> impl Iterator<Item = &RawProbe> {
        let field = match self.table {
            Table::Asg(asg) => &asg.verify,
            Table::Fargate(fargate) => &fargate.verify,
        };
        field.value().into_iter().flatten().map(|at| &at.value)
    }

    pub(super) fn after(&self) -> &Field<Vec<At<LocalRef>>> {
        match self.table {
            Table::Asg(asg) => &asg.after,
            Table::Fargate(fargate) => &fargate.after,
        }
    }
}

impl RawPin {
    /// Its value, if it is well-formed.
    pub(super) fn canonical(&self) -> Option<PinValue> {
        let digest = match &self.digest {
            Field::Absent => None,
            Field::Bad => return None,
            Field::Given(at) => Some(at.value.clone()),
        };
        Some(PinValue { version: self.version.value()?.clone(), digest })
    }
}
