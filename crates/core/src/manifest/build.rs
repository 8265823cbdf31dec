//! From what was read of a folder to the model. Reports keys that are missing and values that AWS wouldn't take.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::draft::{Draft, PinValue};
use super::finding::{Findings, Place};
use super::kinds::is_shared;
use super::legal::{self, Rule};
use super::raw::{BaseWord, Fixed, RawAmi, RawAsg, RawAsgRollout, RawFargate, RawProbe, RawSuspend, Versioned};
use super::shape::{At, Field, OneOrMore, Text};
use super::suspend::{Suspensions, suspension};
use super::template::Scope;
use super::view::{RawTarget, Table, View};
use crate::model::{
    Account, AmiQuery, AsgSpec, BaseRevision, BaseRule, Component, FargateSpec, ImageReference, InvalidName, LocalRef,
    Probe, Promotion, Reach, RolloutSettings, Suspension, Target, TargetSpec,
};

/// How long one try of a probe may take, by default.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a probe may keep failing, by default.
const PROBE_WITHIN: Duration = Duration::from_secs(5 * 60);

/// Builds an environment. `None` if something is missing or wrong, which has been reported.
/// `all` is what defaults.toml says of suspending all targets.
pub(super) fn draft(view: &View, all: Option<&Option<Suspension>>, findings: &mut Findings) -> Option<Draft> {
    let raw = view.raw.as_ref()?;
    let account = account(view, findings);
    let promotion = match &raw.promotion {
        Field::Absent => Some(None),
        Field::Bad => None,
        Field::Given(at) => {
            let from = at.value.from.required(&at.place, "from", findings);
            let (soak, mode) = (copied(&at.value.soak), copied(&at.value.mode));
            from.zip(soak).zip(mode).map(|((from, soak), mode)| {
                let (from, soak) = (from.value.clone(), soak.map_or(Duration::ZERO, |soak| soak.0));
                Some(Promotion { from, soak, mode: mode.map(|word| word.0).unwrap_or_default() })
            })
        }
    };
    let targets: Vec<Option<Target>> =
        view.targets().iter().map(|target| Builder::new(view, target, findings).target()).collect();
    let targets = targets.into_iter().collect::<Option<Vec<_>>>();
    let pins = view
        .pins
        .as_ref()?
        .iter()
        .map(|(name, pin)| Some((Component::try_from(name.as_str()).ok()?, pin.value()?.canonical()?)));
    let pins = pins.collect::<Option<BTreeMap<Component, PinValue>>>();
    let targets: BTreeMap<LocalRef, Target> =
        targets?.into_iter().map(|target| (target.reference.local.clone(), target)).collect();
    let suspended = targets.iter().filter_map(|(local, target)| Some((local.clone(), target.suspend.clone()?)));
    let suspensions =
        Suspensions { all: all?.clone(), environment: view.suspend.clone()?, targets: suspended.collect() };
    Some(Draft { name: view.name.clone(), account: account?, promotion: promotion?, targets, suspensions, pins: pins? })
}

fn account(view: &View, findings: &mut Findings) -> Option<Account> {
    let raw = view.raw.as_ref()?;
    let At { place, value: account } = raw.account.required(&view.place, "account", findings)?;
    let id = account.id.required(place, "id", findings);
    let region = account.region.required(place, "region", findings);
    let role = account
        .role
        .required(place, "role", findings)
        .and_then(|role| named(view.expand(role)?, &role.place, findings));
    let external_id = optional(&account.external_id, |at| {
        let text = view.expand(at)?;
        legal::external_id(&text).map_err(|rule| report_illegal(&at.place, &text, rule, findings)).ok()?;
        Some(text)
    });
    let (id, region) = (id?.value.clone(), region?.value.clone());
    Some(Account { id, region, role: role?, external_id: external_id? })
}

/// The value of a key that may be missing: `None` if it is there and wrong.
fn optional<T, U>(field: &Field<T>, read: impl FnOnce(&At<T>) -> Option<U>) -> Option<Option<U>> {
    match field {
        Field::Absent => Some(None),
        Field::Bad => None,
        Field::Given(at) => read(at).map(Some),
    }
}

fn copied<T: Clone>(field: &Field<T>) -> Option<Option<T>> {
    optional(field, |at| Some(at.value.clone()))
}

/// A name, from text whose placeholders are filled in.
fn named<T: TryFrom<String, Error = InvalidName>>(text: String, place: &Place, findings: &mut Findings) -> Option<T> {
    match T::try_from(text) {
        Ok(name) => Some(name),
        Err(error) => {
            findings.report(place, "invalid-value", error.to_string());
            None
        }
    }
}

fn report_illegal(place: &Place, text: &str, rule: Rule, findings: &mut Findings) {
    // Findings are logged and shown on pages; what may hold a password isn't repeated in them.
    let text = if text.contains("://") && text.contains('@') { "this".to_owned() } else { format!("`{text}`") };
    findings.report(place, "invalid-value", format!("{text} can't be used here: {rule}"));
}

struct Builder<'a> {
    view: &'a View,
    raw: &'a RawTarget<'a>,
    /// The place and text of the version, if the component has a well-formed pin.
    version: Option<(&'a Place, &'a str)>,
    findings: &'a mut Findings,
}

impl<'a> Builder<'a> {
    fn new(view: &'a View, raw: &'a RawTarget<'a>, findings: &'a mut Findings) -> Self {
        let pin = raw.component().and_then(|(component, _)| view.pin(&component));
        let version = pin.and_then(|pin| pin.version.at()).map(|at| (&at.place, at.value.as_str()));
        Self { view, raw, version, findings }
    }

    fn target(mut self) -> Option<Target> {
        let base = self.base();
        let (spec, verify, suspend, rollout) = match self.raw.table {
            Table::Asg(asg) => {
                (self.asg(asg), self.verify(&asg.verify), self.suspend(&asg.suspend), self.asg_rollout(&asg.rollout))
            }
            Table::Fargate(fargate) => {
                let rollout = optional(&fargate.rollout, |at| {
                    let deadline = copied(&at.value.deadline)?.map(|span| span.0);
                    Some(RolloutSettings {
                        deadline: deadline.unwrap_or(RolloutSettings::DEFAULT_DEADLINE),
                        ..RolloutSettings::default()
                    })
                });
                let rollout = rollout.map(Option::unwrap_or_default);
                (self.fargate(fargate), self.verify(&fargate.verify), self.suspend(&fargate.suspend), rollout)
            }
        };
        let after = copied(self.raw.after())?.unwrap_or_default();
        let after: BTreeSet<LocalRef> = after.into_iter().map(|at| at.value).collect();
        let (component, _) = self.raw.component()?;
        let take_over = copied(self.raw.take_over())?;
        Some(Target {
            reference: self.raw.local.within(&self.view.name),
            component,
            spec: spec?,
            after,
            rollout: rollout?,
            verify: verify?,
            suspend: suspend?,
            take_over,
            base: base?,
        })
    }

    /// What placeholders stand for, but for the version.
    fn scope(&self) -> Scope<'a> {
        self.view.scope_of(self.raw)
    }

    /// The value of a key that has to be in the target's table, or in the defaults of its kind.
    fn required<'f, T>(&mut self, field: &'f Field<T>, key: &str) -> Option<&'f At<T>> {
        if field.is_absent() {
            let place = Place { key: super::tree::join(&self.raw.place.key, key), ..self.raw.place.clone() };
            let message = format!("the key `{key}` is missing");
            let help = format!("set it here, or in [defaults.{}] for all of them", self.raw.local.kind);
            self.findings.report_with_help(&place, "missing-key", message, help);
        }
        field.at()
    }

    /// A name, with its placeholders filled in.
    fn fixed<T: TryFrom<String, Error = InvalidName>>(&mut self, at: &At<Fixed>) -> Option<T> {
        let text = at.value.expand(self.scope())?;
        let help = match text.as_str() {
            "self" => Some("the environment's own account is {account}".to_owned()),
            arn if arn.starts_with("arn:") => {
                arn.rsplit([':', '/']).next().map(|name| format!("write the name alone: \"{name}\""))
            }
            _ => None,
        };
        match T::try_from(text) {
            Ok(name) => Some(name),
            Err(error) => {
                match help {
                    Some(help) => {
                        self.findings.report_with_help(&at.place, "invalid-value", error.to_string(), help);
                    }
                    None => self.findings.report(&at.place, "invalid-value", error.to_string()),
                }
                None
            }
        }
    }

    /// A name that is the target's own where none is said.
    fn named<T: TryFrom<String, Error = InvalidName>>(&mut self, field: &Field<Fixed>) -> Option<T> {
        match field {
            Field::Absent => T::try_from(self.raw.local.name.clone()).ok(),
            Field::Bad => None,
            Field::Given(at) => self.fixed(at),
        }
    }

    fn asg(&mut self, asg: &RawAsg) -> Option<TargetSpec> {
        let group = self.named(&asg.group);
        let ami = self.required(&asg.ami, "ami").and_then(|ami| self.ami(ami));
        Some(TargetSpec::Asg(AsgSpec { group: group?, ami: ami? }))
    }

    fn ami(&mut self, At { place, value: ami }: &At<RawAmi>) -> Option<AmiQuery> {
        let ways = [
            ("name", ami.name.is_absent()),
            ("tags", ami.tags.is_absent()),
            ("parameter", ami.parameter.is_absent()),
            ("id", ami.id.is_absent()),
        ];
        let said: Vec<_> = ways.iter().filter(|(_, absent)| !absent).map(|(way, _)| *way).collect();
        if said.len() != 1 {
            let message = match said.as_slice() {
                [] => "this doesn't say how to find the AMI".to_owned(),
                said => format!("this says several ways to find the AMI: {}", said.join(", ")),
            };
            self.findings.report_with_help(place, "ami", message, "set one of name, tags, parameter, id");
            return None;
        }
        if let (Field::Given(owner), false, false) = (&ami.owner, !ami.name.is_absent(), !ami.tags.is_absent()) {
            let message = "only `name` and `tags` take an owner";
            self.findings.report_with_help(&owner.place, "ami", message, "remove it");
            return None;
        }
        let owner = optional(&ami.owner, |at| self.fixed(at))?;
        if let Field::Given(at) = &ami.name {
            return Some(AmiQuery::Name { name: self.versioned(at, "v0.0", legal::ami_name)?, owner });
        }
        if let Field::Given(at) = &ami.parameter {
            let at = Some(at).filter(|at| self.has_its_own_account(at))?;
            return Some(AmiQuery::Parameter { parameter: self.versioned(at, "v0", legal::parameter)? });
        }
        if let Field::Given(at) = &ami.id {
            return Some(AmiQuery::Id { id: self.versioned(at, "ami-00000000", legal::ami_id)? });
        }
        let raw = ami.tags.at()?;
        if raw.value.is_empty() {
            self.findings.report(&raw.place, "ami", "there is no tag, so that every AMI would match");
            return None;
        }
        let tags = raw.value.iter().map(|(key, value)| {
            let at = value.at()?;
            legal::tag_key(key).map_err(|rule| report_illegal(&at.place, key, rule, self.findings)).ok()?;
            Some((key.clone(), self.versioned(at, "v0", legal::tag_value)?))
        });
        // All are looked at before the first that is wrong ends it.
        let tags: Vec<_> = tags.collect();
        Some(AmiQuery::Tags { tags: tags.into_iter().collect::<Option<_>>()?, owner })
    }

    fn fargate(&mut self, fargate: &RawFargate) -> Option<TargetSpec> {
        let cluster = self.required(&fargate.cluster, "cluster").and_then(|at| self.fixed(at));
        let service = self.named(&fargate.service);
        let image = self.required(&fargate.image, "image");
        let image = image.filter(|at| self.has_its_own_repository(at));
        let image =
            image.and_then(|at| self.versioned(at, "v0", legal::image)).and_then(|text| ImageReference::parse(&text));
        let containers = optional(&fargate.container, |at| self.containers(at))?.unwrap_or_default();
        Some(TargetSpec::Fargate(FargateSpec { cluster: cluster?, service: service?, containers, image: image? }))
    }

    /// Where its shape comes from.
    fn base(&mut self) -> Option<BaseRevision> {
        let absent = Field::Absent;
        let (word, family, by) = match self.raw.table {
            Table::Asg(asg) => (&asg.base_revision, &absent, &asg.base_registered_by),
            Table::Fargate(fargate) => (&fargate.base_revision, &fargate.base_family, &fargate.base_registered_by),
        };
        let word = copied(word)?.unwrap_or(BaseWord::Running);
        let idle = [family.at().map(|at| &at.place), by.at().map(|at| &at.place)];
        let family = optional(family, |at| {
            let family = at.value.expand(self.scope())?;
            legal::family(&family).map_err(|rule| report_illegal(&at.place, &family, rule, self.findings)).ok()?;
            Some(family)
        });
        let registered_by = optional(by, |at| self.principals(at));
        if word == BaseWord::Newest {
            let (family, registered_by) = (family?, registered_by?.unwrap_or_default());
            return Some(BaseRevision::Newest(BaseRule { family, registered_by }));
        }
        // What is said for all targets of a kind may well be meant for those that take the newest.
        if let Some(place) = idle.into_iter().flatten().find(|place| !is_shared(place)) {
            let message = "this counts only where `base_revision` is \"newest\"";
            self.findings.report_with_help(place, "no-effect", message, "set that, too, or remove this key");
            return None;
        }
        Some(BaseRevision::Running)
    }

    /// Patterns of principals.
    fn principals(&mut self, At { place, value }: &At<Vec<At<Text>>>) -> Option<Vec<String>> {
        if value.is_empty() {
            let message = "this list is empty, so that nobody's revisions would count";
            self.findings.report_with_help(place, "invalid-value", message, "name who registers, or remove the key");
            return None;
        }
        let patterns = value.iter().map(|At { place, value: Text(pattern) }| {
            if pattern.starts_with("arn:") || pattern.starts_with('*') {
                return Some(pattern.clone());
            }
            let message = format!("`{pattern}` is no pattern of ARNs: it begins neither with `arn:` nor with `*`");
            let help = "a session of a role is \"arn:aws:sts::ACCOUNT:assumed-role/ROLE/*\", of any account \"*:assumed-role/ROLE/*\"";
            self.findings.report_with_help(place, "invalid-value", message, help);
            None
        });
        let patterns: Vec<Option<String>> = patterns.collect();
        patterns.into_iter().collect()
    }

    fn containers(&mut self, At { place, value }: &At<OneOrMore<Fixed>>) -> Option<Vec<String>> {
        let mut names = Vec::new();
        for template in &value.0 {
            let name = template.expand(self.scope())?;
            if names.contains(&name) {
                self.findings.report(place, "invalid-value", format!("this names the container `{name}` twice"));
                return None;
            }
            names.push(name);
        }
        Some(names)
    }

    /// Fills in all placeholders. If the outcome isn't legal, it is said whose fault that is: the template's, if
    /// no version would do (`sample` is a version that does), else the pin's.
    fn versioned(
        &mut self,
        template: &At<Versioned>,
        sample: &str,
        legal: fn(&str) -> Result<(), Rule>,
    ) -> Option<String> {
        let scope = self.scope();
        let sample = template.value.expand(Scope { version: Some(sample), ..scope })?;
        if let Err(rule) = legal(&sample) {
            report_illegal(&template.place, &sample, rule, self.findings);
            return None;
        }
        let (pin, version) = self.version?;
        let text = template.value.expand(Scope { version: Some(version), ..scope })?;
        if let Err(rule) = legal(&text) {
            let message = format!("{} makes `{text}` of this, which can't be used: {rule}", template.place.key);
            let help = if version.contains("sha256:") {
                "a digest is a key of its own: { version = \"1.4.2\", digest = \"sha256:…\" }"
            } else if version.contains('/') {
                "pin only what {version} stands for there, such as \"1.4.2\""
            } else {
                "pin a version that is legal there"
            };
            self.findings.report_with_help(pin, "version-illegal", message, help);
            return None;
        }
        Some(text)
    }

    /// Whether `{version}` stands behind the repository of an image. Who sets a pin mustn't choose where images come from.
    fn has_its_own_repository(&mut self, template: &At<Versioned>) -> bool {
        // No text of a template has a control character.
        const MARK: char = '\0';
        let scope = self.scope();
        let Some(text) = template.value.expand(Scope { version: Some("\0"), ..scope }) else { return true };
        let Some((before, after)) = text.split_once(MARK) else { return true };
        let last = before.rsplit('/').next().unwrap_or_default();
        let good = last.contains([':', '@']) && !after.contains('/');
        if !good {
            let message = "the version is part of the registry or the repository here; a pin must not choose where images come from";
            let help = "write both out, and put {version} into the tag: `registry.example.com/repository:{version}`";
            self.findings.report_with_help(&template.place, "image-source", message, help);
        }
        good
    }

    /// Whether a parameter is of the same account and region whatever the version is: those of the environment, or those of its
    /// ARN.
    fn has_its_own_account(&mut self, template: &At<Versioned>) -> bool {
        let scope = self.scope();
        let owner = |version| {
            let text = template.value.expand(Scope { version: Some(version), ..scope })?;
            Some(text.starts_with("arn:").then(|| text.splitn(6, ':').take(5).collect::<Vec<_>>().join(":")))
        };
        let pinned = self.version.map_or("v0", |(_, version)| version);
        let good = owner("v0") == owner("w1") && owner("v0") == owner(pinned);
        if !good {
            let message = "the version is part of the parameter's account or region here; a pin must not choose where images come from";
            let help =
                "write them out, and use {version} behind them, in the parameter's name, its version or its label";
            self.findings.report_with_help(&template.place, "image-source", message, help);
        }
        good
    }

    fn verify(&mut self, field: &Field<Vec<At<RawProbe>>>) -> Option<Vec<Probe>> {
        let probes = match field {
            Field::Absent => return Some(Vec::new()),
            Field::Bad => return None,
            Field::Given(at) => &at.value,
        };
        let probes: Vec<_> = probes.iter().map(|probe| self.probe(probe)).collect();
        probes.into_iter().collect()
    }

    /// Whether a probe's URL asks the same host whatever the version is. Who sets a pin mustn't choose whom Pinion asks.
    fn has_its_own_host(&mut self, template: &At<Versioned>) -> bool {
        let scope = self.scope();
        let origin = |version| {
            let text = template.value.expand(Scope { version: Some(version), ..scope })?;
            Some(url::Url::parse(&text).ok()?.origin())
        };
        // Where one of them isn't a URL the other says what is wrong.
        let steady = match (origin("v0"), origin("w1")) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        if !steady {
            let message = "the version is part of the host here; a pin must not choose whom Pinion asks";
            let help = "write the host out, and use {version} behind it, in the path or the query";
            self.findings.report_with_help(&template.place, "probe-host", message, help);
        }
        steady
    }

    fn probe(&mut self, At { place, value: probe }: &At<RawProbe>) -> Option<Probe> {
        let http = probe.http.required(place, "http", self.findings);
        let http = http.filter(|at| self.has_its_own_host(at)).and_then(|at| self.versioned(at, "v0", legal::probe));
        Some(Probe {
            http: http?,
            status: copied(&probe.status)?.map_or(200, |status| status.0),
            timeout: copied(&probe.timeout)?.map_or(PROBE_TIMEOUT, |span| span.0),
            within: copied(&probe.within)?.map_or(PROBE_WITHIN, |span| span.0),
        })
    }

    fn suspend(&mut self, field: &Field<RawSuspend>) -> Option<Option<Suspension>> {
        optional(field, |at| suspension(at, Reach::Target, self.findings))
    }

    fn asg_rollout(&mut self, field: &Field<RawAsgRollout>) -> Option<RolloutSettings> {
        let rollout = match field {
            Field::Absent => return Some(RolloutSettings::default()),
            Field::Bad => return None,
            Field::Given(at) => &at.value,
        };
        let mut alarms = BTreeSet::new();
        for at in copied(&rollout.alarms)?.unwrap_or_default() {
            let name = at.value.expand(self.scope())?;
            if let Err(rule) = legal::alarm(&name) {
                report_illegal(&at.place, &name, rule, self.findings);
                return None;
            }
            alarms.insert(name);
        }
        Some(RolloutSettings {
            deadline: copied(&rollout.deadline)?.map_or(RolloutSettings::DEFAULT_DEADLINE, |span| span.0),
            min_healthy: copied(&rollout.min_healthy)?.map(super::shape::Number::byte),
            max_healthy: copied(&rollout.max_healthy)?.map(super::shape::Number::byte),
            warmup: copied(&rollout.warmup)?.map(|span| span.0),
            checkpoints: copied(&rollout.checkpoints)?.unwrap_or_default().iter().map(|at| at.value.byte()).collect(),
            checkpoint_delay: copied(&rollout.checkpoint_delay)?.map(|span| span.0),
            bake: copied(&rollout.bake)?.map(|span| span.0),
            alarms,
        })
    }
}
