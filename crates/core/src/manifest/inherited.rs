//! What `environments/defaults.toml` says already of an environment that is to be written: with it only what differs is.
//! Mistakes are nobody's here; who loads the files finds them.

use std::collections::BTreeMap;

use super::finding::Findings;
use super::raw::{Fixed, RawAccount, RawAmi, RawAsg, RawEnvironment, RawFargate, Versioned};
use super::shape::{At, Field, Shape as _};
use super::template::Scope;
use super::tree::Node;
use super::{DEFAULTS, kinds};
use crate::model::{AccountId, Component, EnvironmentName, Kind, LocalRef, Region, RoleArn};

/// Stands for a placeholder whose value is looked for; no text has it.
const ANY: &str = "\u{0}";
/// `{version}` stays as it is.
const VERSION: &str = "{version}";

/// A key of a target's table that says what the target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Cluster,
    Service,
    Group,
    Component,
    Container,
    Image,
    Ami,
}

impl Key {
    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Service => "service",
            Self::Group => "group",
            Self::Component => "component",
            Self::Container => "container",
            Self::Image => "image",
            Self::Ami => "ami",
        }
    }
}

/// How an AMI is found, with all placeholders filled in but `{version}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Ami {
    pub(crate) name: Option<String>,
    pub(crate) tags: Option<BTreeMap<String, String>>,
    pub(crate) parameter: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) owner: Option<String>,
}

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Said {
    Text(String),
    Names(Vec<String>),
    Ami(Ami),
}

/// What a defaults.toml says for one environment.
#[derive(Debug, Clone, Default)]
pub struct Inherited {
    environment: String,
    account: String,
    region: String,
    said: Option<RawAccount>,
    /// `[KIND.NAME]`.
    asg: BTreeMap<String, RawAsg>,
    fargate: BTreeMap<String, RawFargate>,
    /// `[defaults.KIND]`.
    all_asg: Option<RawAsg>,
    all_fargate: Option<RawFargate>,
}

impl Inherited {
    /// Reads the bytes of defaults.toml. What can't be read says nothing.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let mut inherited = Self::default();
        let mut findings = Findings::default();
        let Some(mut file) = Node::parse(DEFAULTS, bytes, &mut findings) else { return inherited };
        kinds::unify(&mut file, &mut findings, &mut Findings::default());
        if let Some(raw) = RawEnvironment::read(&file, &mut findings) {
            inherited.said = value(raw.account);
            inherited.asg = tables(raw.asg);
            inherited.fargate = tables(raw.fargate);
        }
        let all = |kind: Kind| kinds::of_all(&file, kind);
        inherited.all_asg = all(Kind::Asg).and_then(|node| RawAsg::read(node, &mut findings));
        inherited.all_fargate = all(Kind::Fargate).and_then(|node| RawFargate::read(node, &mut findings));
        inherited
    }

    /// The same, with what its placeholders stand for in an environment.
    #[must_use]
    pub fn within(self, environment: &EnvironmentName, account: &AccountId, region: &Region) -> Self {
        Self { environment: environment.to_string(), account: account.to_string(), region: region.to_string(), ..self }
    }

    fn scope(&self) -> Scope<'_> {
        Scope {
            environment: &self.environment,
            account: Some(&self.account),
            region: Some(&self.region),
            ..Scope::default()
        }
    }

    /// The region of all environments.
    #[must_use]
    pub fn region(&self) -> Option<&Region> {
        self.said.as_ref()?.region.value()
    }

    /// The role to assume, if it is one of the environment's account.
    #[must_use]
    pub fn role(&self) -> Option<RoleArn> {
        let role = self.said.as_ref()?.role.value()?.expand(self.scope())?;
        RoleArn::try_from(role).ok().filter(|role| role.account() == self.account)
    }

    /// The external id that the role asks for.
    #[must_use]
    pub fn external_id(&self) -> Option<String> {
        self.said.as_ref()?.external_id.value()?.expand(self.scope())
    }

    /// The targets that every environment has.
    #[must_use]
    pub fn targets(&self) -> Vec<LocalRef> {
        let asg = self.asg.keys().map(|name| LocalRef::new(Kind::Asg, name));
        let fargate = self.fargate.keys().map(|name| LocalRef::new(Kind::Fargate, name));
        asg.chain(fargate).filter_map(Result::ok).collect()
    }

    /// What a target's own table says of a key.
    pub(crate) fn own(&self, local: &LocalRef, key: Key, component: &str) -> Option<Said> {
        let scope = Scope { component: Some(component), target: Some(&local.name), ..self.scope() };
        match local.kind {
            Kind::Asg => of_group(self.asg.get(&local.name)?, key, scope),
            Kind::Fargate => of_service(self.fargate.get(&local.name)?, key, scope),
        }
    }

    /// What the defaults of its kind say of a key for a target.
    pub(crate) fn all(&self, local: &LocalRef, key: Key, component: &str) -> Option<Said> {
        self.of_all(local.kind, key, Scope { component: Some(component), target: Some(&local.name), ..self.scope() })
    }

    fn of_all(&self, kind: Kind, key: Key, scope: Scope<'_>) -> Option<Said> {
        match kind {
            Kind::Asg => of_group(self.all_asg.as_ref()?, key, scope),
            Kind::Fargate => of_service(self.all_fargate.as_ref()?, key, scope),
        }
    }

    /// The component of a target, if defaults.toml says it; a target of every environment that says none is called as its
    /// component.
    pub(crate) fn component(&self, local: &LocalRef) -> Option<String> {
        let said = self.own(local, Key::Component, "").or_else(|| self.all(local, Key::Component, ""));
        match said {
            Some(Said::Text(component)) => Some(component),
            _ => self.has(local).then(|| local.name.clone()),
        }
    }

    /// Whether every environment has this target.
    pub(crate) fn has(&self, local: &LocalRef) -> bool {
        match local.kind {
            Kind::Asg => self.asg.contains_key(&local.name),
            Kind::Fargate => self.fargate.contains_key(&local.name),
        }
    }

    /// The target for which the defaults of its kind would say this name of its group or service.
    pub(crate) fn target_of(&self, kind: Kind, name: &str) -> Option<String> {
        let key = match kind {
            Kind::Asg => Key::Group,
            Kind::Fargate => Key::Service,
        };
        let pattern = self.of_all(kind, key, Scope { target: Some(ANY), ..self.scope() })?;
        matched(&pattern, &Said::Text(name.to_owned()))
    }

    /// The component for which the defaults of its kind would say this image or AMI.
    pub(crate) fn component_of(&self, local: &LocalRef, key: Key, said: &Said) -> Option<String> {
        let pattern = self.all(local, key, ANY)?;
        matched(&pattern, said)
    }
}

/// What stands in a text where the pattern has [`ANY`], which it has once.
fn matched(pattern: &Said, said: &Said) -> Option<String> {
    let (pattern, text) = match (pattern, said) {
        (Said::Text(pattern), Said::Text(text)) => (pattern, text),
        (Said::Ami(Ami { name: Some(pattern), .. }), Said::Ami(Ami { name: Some(text), .. })) => (pattern, text),
        _ => return None,
    };
    let (before, after) = pattern.split_once(ANY)?;
    let middle = text.strip_prefix(before)?.strip_suffix(after)?;
    (!after.contains(ANY) && !middle.is_empty()).then(|| middle.to_owned())
}

fn value<T>(field: Field<T>) -> Option<T> {
    if let Field::Given(At { value, .. }) = field { Some(value) } else { None }
}

fn tables<T>(field: Field<BTreeMap<String, Field<T>>>) -> BTreeMap<String, T> {
    let tables = value(field).unwrap_or_default();
    tables.into_iter().filter_map(|(name, table)| Some((name, value(table)?))).collect()
}

fn fixed(field: &Field<Fixed>, scope: Scope<'_>) -> Option<String> {
    field.value()?.expand(scope)
}

fn versioned(field: &Field<Versioned>, scope: Scope<'_>) -> Option<String> {
    field.value()?.expand(Scope { version: Some(VERSION), ..scope })
}

fn component(field: &Field<Component>) -> Option<Said> {
    Some(Said::Text(field.value()?.to_string()))
}

fn of_group(raw: &RawAsg, key: Key, scope: Scope<'_>) -> Option<Said> {
    match key {
        Key::Group => fixed(&raw.group, scope).map(Said::Text),
        Key::Component => component(&raw.component),
        Key::Ami => Some(Said::Ami(ami(raw.ami.value()?, scope)?)),
        Key::Cluster | Key::Service | Key::Container | Key::Image => None,
    }
}

fn of_service(raw: &RawFargate, key: Key, scope: Scope<'_>) -> Option<Said> {
    match key {
        Key::Cluster => fixed(&raw.cluster, scope).map(Said::Text),
        Key::Service => fixed(&raw.service, scope).map(Said::Text),
        Key::Component => component(&raw.component),
        Key::Container => {
            let names = raw.container.value()?.0.iter().map(|name| name.expand(scope));
            names.collect::<Option<_>>().map(Said::Names)
        }
        Key::Image => versioned(&raw.image, scope).map(Said::Text),
        Key::Group | Key::Ami => None,
    }
}

fn ami(raw: &RawAmi, scope: Scope<'_>) -> Option<Ami> {
    let tags = match raw.tags.value() {
        Some(tags) => {
            let tags = tags.iter().map(|(key, value)| Some((key.clone(), versioned(value, scope)?)));
            Some(tags.collect::<Option<BTreeMap<_, _>>>()?)
        }
        None => None,
    };
    Some(Ami {
        name: versioned(&raw.name, scope),
        tags,
        parameter: versioned(&raw.parameter, scope),
        id: versioned(&raw.id, scope),
        owner: fixed(&raw.owner, scope),
    })
}
