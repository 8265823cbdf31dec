//! What has to hold between keys, files and environments: two tables of named checks.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Findings, Place};
use super::kinds::is_shared;
use super::raw::{Fixed, RawAsgRollout};
use super::shape::Field;
use super::template::Scope;
use super::view::{RawTarget, Table, View};
use crate::model::{Component, EnvironmentName, LocalRef, RoleArn, address_in, is_link_local};
use crate::plan::Cycle;

/// A check of one environment.
type Check = fn(&View, &mut Reporter<'_>);

/// The checks of one environment, in the order in which they run.
const CHECKS: [(&str, Check); 14] = [
    ("no-target", no_target),
    ("too-many-targets", too_many_targets),
    ("role-account", role_account),
    ("promotion-cycle", promotion_from_itself),
    ("after-unknown", after_unknown),
    ("after-cycle", after_cycle),
    ("pin-unused", pin_unused),
    ("pin-missing", pin_missing),
    ("digest-unused", digest_unused),
    ("version-unused", version_unused),
    ("health-range", health_range),
    ("checkpoints", checkpoints),
    ("alarms", alarms),
    (CLAIMED_TWICE, claimed_twice),
];

const CLAIMED_TWICE: &str = "claimed-twice";

/// A check of all environments together.
type CheckAcross = fn(&BTreeMap<EnvironmentName, View>, &mut dyn FnMut(&EnvironmentName, Complaint));

/// The checks whose outcome is only a warning: what the files of another environment make wrong in this one, as a commit
/// reaches no further than its folder; and what `pinion.toml` may allow, which isn't read here.
const ACROSS: [(&str, CheckAcross); 3] =
    [("promotion-unknown", promotion_unknown), ("promotion-cycle", promotion_cycle), ("probe-address", probe_address)];

struct Reporter<'a> {
    check: &'static str,
    findings: &'a mut Findings,
}

impl Reporter<'_> {
    fn at(&mut self, place: &Place, message: impl Into<String>, help: impl Into<String>) {
        self.findings.report_with_help(place, self.check, message, help);
    }
}

/// Where something is wrong, what, and what to do.
type Complaint = (Place, String, String);

/// Runs the checks of one environment.
pub(super) fn one(view: &View, findings: &mut Findings) {
    view.check_names(findings);
    for (check, run) in CHECKS {
        run(view, &mut Reporter { check, findings });
    }
}

/// Runs the checks of all environments together.
pub(super) fn across(views: &BTreeMap<EnvironmentName, View>, warnings: &mut Findings) {
    for (check, run) in ACROSS {
        run(views, &mut |_, (place, message, help)| {
            let findings = &mut *warnings;
            findings.report_with_help(&place, check, message, help);
        });
    }
}

/// The most targets of an environment. Each takes some 5 KiB for as long as it is managed.
pub const MAX_TARGETS: usize = 2_000;
/// The most targets of all environments.
const MAX_TARGETS_OF_ALL: usize = 10_000;

/// What is wrong with all environments, if they have too many targets together.
pub(super) fn too_many(views: &BTreeMap<EnvironmentName, View>) -> Option<(String, &'static str)> {
    let count: usize = views.values().map(|view| view.targets().len()).sum();
    (count > MAX_TARGETS_OF_ALL).then(|| {
        let message = format!("all environments have {count} targets; the most is {MAX_TARGETS_OF_ALL}");
        (message, "divide them between repositories, each with a controller of its own")
    })
}

fn too_many_targets(view: &View, report: &mut Reporter<'_>) {
    let count = view.targets().len();
    if count > MAX_TARGETS {
        let message = format!("this environment has {count} targets; the most is {MAX_TARGETS}");
        report.at(&view.place, message, "divide it: several environments may have the same account");
    }
}

fn no_target(view: &View, report: &mut Reporter<'_>) {
    let Some(raw) = &view.raw else { return };
    let none = |absent: bool, empty: Option<bool>| absent || empty == Some(true);
    let no_asg = none(raw.asg.is_absent(), raw.asg.value().map(BTreeMap::is_empty));
    let no_fargate = none(raw.fargate.is_absent(), raw.fargate.value().map(BTreeMap::is_empty));
    if no_asg && no_fargate && !view.loses_targets {
        report.at(&view.place, "this environment has no target", "add an [asg.NAME] or a [fargate.NAME]");
    }
}

fn role_account(view: &View, report: &mut Reporter<'_>) {
    let Some(account) = view.raw.as_ref().and_then(|raw| raw.account.value()) else { return };
    let (Some(id), Some(role)) = (account.id.value(), account.role.at()) else { return };
    let Some(arn) = view.expand(role).and_then(|arn| RoleArn::try_from(arn).ok()) else { return };
    if arn.account() != id.as_str() {
        let message = format!("this role belongs to account {}, the environment to {id}", arn.account());
        report.at(&role.place, message, "correct the role, or `account.id`; `{account}` in the role keeps them equal");
    }
}

fn after_unknown(view: &View, report: &mut Reporter<'_>) {
    if view.loses_targets {
        return;
    }
    for target in view.targets() {
        for before in target.after().value().into_iter().flatten().filter(|before| !view.mentions(&before.value)) {
            // What holds for all targets is said once, not once for each that waits.
            let shared = is_shared(&before.place);
            let others = view.targets().into_iter().map(|other| other.local);
            let others = others.filter(|other| shared || *other != target.local);
            let known: Vec<_> = others.map(String::from).collect();
            let help = if known.is_empty() {
                "there is none that it could wait for: remove it".to_owned()
            } else {
                format!("it can wait for: {}", known.join(", "))
            };
            report.at(&before.place, format!("there is no target `{}` in this environment", before.value), help);
        }
    }
}

fn after_cycle(view: &View, report: &mut Reporter<'_>) {
    let targets: BTreeMap<LocalRef, RawTarget<'_>> =
        view.targets().into_iter().map(|target| (target.local.clone(), target)).collect();
    let mut graph: BTreeMap<LocalRef, BTreeSet<LocalRef>> = BTreeMap::new();
    for (local, target) in &targets {
        let before = target.after().value().into_iter().flatten().map(|at| at.value.clone());
        graph.insert(local.clone(), before.collect());
    }
    // One after the other, so that independent cycles are all found.
    while let Some(cycle) = Cycle::find(&graph) {
        let first = cycle.0.first().and_then(|first| targets.get(first));
        if let Some(after) = first.and_then(|target| target.after().at()) {
            let help = match cycle.0.first() {
                Some(only) if is_shared(&after.place) => {
                    format!("give {only} an `after` of its own, such as `after = []`")
                }
                _ => "take one of them out of an `after`".to_owned(),
            };
            report.at(&after.place, cycle.to_string(), help);
        }
        for local in &cycle.0 {
            graph.remove(local);
        }
    }
}

/// The components that targets use, with those that say so; `None` if a target says it badly.
fn components(view: &View) -> Option<BTreeMap<Component, Vec<RawTarget<'_>>>> {
    view.raw
        .as_ref()
        .filter(|_| !view.loses_targets)
        .filter(|raw| !matches!((&raw.asg, &raw.fargate), (Field::Bad, _) | (_, Field::Bad)))?;
    let mut used: BTreeMap<Component, Vec<RawTarget<'_>>> = BTreeMap::new();
    for target in view.targets() {
        let (component, _) = target.component()?;
        used.entry(component).or_default().push(target);
    }
    Some(used)
}

fn pin_unused(view: &View, report: &mut Reporter<'_>) {
    let (Some(used), Some(pins)) = (components(view), &view.pins) else { return };
    for (name, pin) in pins {
        let Some(pin) = pin.at() else { continue };
        if !used.is_empty() && Component::try_from(name.as_str()).is_ok_and(|name| !used.contains_key(&name)) {
            let known = used.keys().map(Component::as_str).collect::<Vec<_>>();
            let help = match super::shape::nearest(name, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("remove it; components in use: {}", known.join(", ")),
            };
            report.at(&pin.place, format!("no target uses the component `{name}`"), help);
        }
    }
}

fn pin_missing(view: &View, report: &mut Reporter<'_>) {
    let Some(pins) = &view.pins else { return };
    for target in view.targets() {
        let Some((component, place)) = target.component() else { continue };
        if !pins.contains_key(component.as_str()) {
            let message = format!("the component `{component}` of {} has no pin", target.local);
            report.at(place, message, format!("add `{component} = \"VERSION\"` to {}", view.pins_path));
        }
    }
}

fn digest_unused(view: &View, report: &mut Reporter<'_>) {
    for (component, targets) in components(view).into_iter().flatten() {
        let digest = view.pin(&component).and_then(|pin| pin.digest.at());
        if let Some(digest) = digest.filter(|_| targets.iter().all(|target| matches!(target.table, Table::Asg(_)))) {
            let message = format!("only container images have digests, and `{component}` runs in none");
            report.at(&digest.place, message, format!("write `{component} = \"VERSION\"`"));
        }
    }
}

fn version_unused(view: &View, report: &mut Reporter<'_>) {
    const MESSAGE: &str = "{version} doesn't occur, so that a pin would change nothing";
    for target in view.targets() {
        match target.table {
            Table::Asg(asg) => {
                let Some(ami) = asg.ami.at() else { continue };
                let raw = &ami.value;
                let single = [&raw.name, &raw.parameter, &raw.id];
                let tags = raw.tags.value().into_iter().flat_map(BTreeMap::values);
                let mut fields = single.into_iter().chain(tags).peekable();
                let all_read = !matches!(raw.tags, Field::Bad | Field::Absent) || single.iter().any(|f| !f.is_absent());
                if all_read
                    && fields.all(|field| match field {
                        Field::Absent => true,
                        Field::Bad => false,
                        Field::Given(template) => !template.value.uses_version(),
                    })
                {
                    report.at(&ami.place, MESSAGE, "put {version} where versions differ");
                }
            }
            Table::Fargate(fargate) => {
                if let Some(image) = fargate.image.at().filter(|image| !image.value.uses_version()) {
                    report.at(&image.place, MESSAGE, "put {version} into the tag");
                }
            }
        }
    }
}

/// The rollout settings of all groups.
fn asg_rollouts(view: &View) -> Vec<(RawTarget<'_>, &RawAsgRollout)> {
    let targets = view.targets().into_iter();
    let rollouts = targets.filter_map(|target| match target.table {
        Table::Asg(asg) => Some((target, asg.rollout.value()?)),
        Table::Fargate(_) => None,
    });
    rollouts.collect()
}

fn health_range(view: &View, report: &mut Reporter<'_>) {
    for (_, rollout) in asg_rollouts(view) {
        let Some(max) = rollout.max_healthy.at() else { continue };
        match &rollout.min_healthy {
            Field::Absent => report.at(&max.place, "`max_healthy` needs `min_healthy`", "set both, or neither"),
            Field::Given(min) if max.value.0 > min.value.0 + 100 => {
                let message = format!("this is more than 100 above `min_healthy`, which is {}", min.value.0);
                report.at(&max.place, message, format!("set at most {}", min.value.0 + 100));
            }
            Field::Given(_) | Field::Bad => {}
        }
    }
}

fn checkpoints(view: &View, report: &mut Reporter<'_>) {
    for (_, rollout) in asg_rollouts(view) {
        let Some(checkpoints) = rollout.checkpoints.at() else { continue };
        if let Some((_, next)) = checkpoints
            .value
            .iter()
            .zip(checkpoints.value.iter().skip(1))
            .find(|(before, next)| next.value.0 <= before.value.0)
        {
            report.at(
                &next.place,
                "checkpoints must ascend, and none may occur twice",
                "order them, such as [20, 50, 100]",
            );
        }
        if let Some(last) = checkpoints.value.last().filter(|last| last.value.0 != 100) {
            report.at(
                &last.place,
                "the last checkpoint isn't 100: some instances would never be replaced",
                "end with 100",
            );
        }
    }
}

fn alarms(view: &View, report: &mut Reporter<'_>) {
    for (target, rollout) in asg_rollouts(view) {
        let Some(alarms) = rollout.alarms.at() else { continue };
        if alarms.value.len() > 10 {
            let message = format!("these are {} alarms; an instance refresh watches at most 10", alarms.value.len());
            report.at(&alarms.place, message, "make one composite alarm of several");
        }
        let mut seen = BTreeSet::new();
        for alarm in &alarms.value {
            if alarm.value.expand(view.scope_of(&target)).is_some_and(|name| !seen.insert(name)) {
                report.at(&alarm.place, "this alarm is listed twice", "remove it");
            }
        }
    }
}

fn promotion_from_itself(view: &View, report: &mut Reporter<'_>) {
    let from = view.raw.as_ref().and_then(|raw| raw.promotion.value()?.from.at());
    if let Some(from) = from.filter(|from| from.value == view.name) {
        report.at(
            &from.place,
            "this environment is promoted from itself",
            "name the one that runs a version before it",
        );
    }
}

/// Whom each environment is promoted from, and where that is said.
fn promotions(views: &BTreeMap<EnvironmentName, View>) -> BTreeMap<&EnvironmentName, (&EnvironmentName, &Place)> {
    let promotions = views.iter().filter_map(|(name, view)| {
        let from = view.raw.as_ref()?.promotion.value()?.from.at()?;
        Some((name, (&from.value, &from.place)))
    });
    promotions.collect()
}

fn probe_address(views: &BTreeMap<EnvironmentName, View>, report: &mut dyn FnMut(&EnvironmentName, Complaint)) {
    for (name, view) in views {
        let targets = view.targets();
        for at in targets.iter().flat_map(RawTarget::probes).filter_map(|probe| probe.http.at()) {
            // The host is the same for each version.
            let url = at.value.expand(Scope { version: Some("v0"), ..view.scope() });
            let address = url.and_then(|url| address_in(&url::Url::parse(&url).ok()?));
            if let Some(address) = address.filter(|address| is_link_local(*address)) {
                let message = format!(
                    "{address} is link-local or of one of AWS's metadata services; Pinion doesn't ask it, and rolls nothing out here"
                );
                let help = "ask the target itself; or add the host to `allow` under [probes] in pinion.toml".to_owned();
                report(name, (at.place.clone(), message, help));
            }
        }
    }
}

fn promotion_unknown(views: &BTreeMap<EnvironmentName, View>, report: &mut dyn FnMut(&EnvironmentName, Complaint)) {
    for (name, (from, place)) in promotions(views) {
        if !views.contains_key(from) {
            let known = views.keys().filter(|known| *known != name).map(EnvironmentName::as_str).collect::<Vec<_>>();
            let help = match super::shape::nearest(from.as_str(), &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("no version counts as having run there; environments: {}", known.join(", ")),
            };
            report(name, (place.clone(), format!("there is no environment `{from}`"), help));
        }
    }
}

fn promotion_cycle(views: &BTreeMap<EnvironmentName, View>, report: &mut dyn FnMut(&EnvironmentName, Complaint)) {
    let promotions = promotions(views);
    for (name, (_, place)) in &promotions {
        let mut path = vec![*name];
        let mut at = *name;
        while let Some((from, _)) = promotions.get(at).filter(|_| path.len() <= promotions.len()) {
            path.push(from);
            at = from;
            if from == name && path.len() > 2 {
                let path = path.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" → ");
                let message = format!("these are promoted from each other: {path}");
                let help = "no version can run in each of them first: take `from` out of one".to_owned();
                report(name, ((*place).clone(), message, help));
                break;
            }
        }
    }
}

/// What a target claims: an AWS resource that only one target may have.
pub(super) fn claim(view: &View, target: &RawTarget<'_>) -> Option<String> {
    let scope = view.scope_of(target);
    let (account, region) = (scope.account?, scope.region?);
    let named = |field: &Field<Fixed>| match field {
        Field::Absent => Some(target.local.name.clone()),
        Field::Bad => None,
        Field::Given(at) => at.value.expand(scope),
    };
    let resource = match target.table {
        Table::Asg(asg) => format!("Auto Scaling group `{}`", named(&asg.group)?),
        Table::Fargate(fargate) => {
            let cluster = fargate.cluster.value()?.expand(scope)?;
            format!("ECS service `{cluster}/{}`", named(&fargate.service)?)
        }
    };
    Some(format!("{resource} in {account}, {region}"))
}

/// What to do about a resource that two targets claim: their name for it may be one that was meant for neither alone.
fn one_each(target: &RawTarget<'_>) -> String {
    let (key, name) = match target.table {
        Table::Asg(asg) => ("group", &asg.group),
        Table::Fargate(fargate) => ("service", &fargate.service),
    };
    match name.at().filter(|at| is_shared(&at.place)) {
        Some(_) => format!("put {{target}} into `{key}` of [defaults.{}]", target.local.kind),
        None => "let only one target have it".to_owned(),
    }
}

/// Of two targets of one environment that claim one resource, the later one is wrong.
fn claimed_twice(view: &View, report: &mut Reporter<'_>) {
    let mut claims: BTreeMap<String, RawTarget<'_>> = BTreeMap::new();
    for target in view.targets() {
        let Some(claim) = claim(view, &target) else { continue };
        match claims.get(&claim) {
            Some(other) => {
                let other = format!("{}/{} ({})", view.name, other.local, other.place.line());
                let message = format!("{other} claims the {claim}, too");
                report.at(target.place, message, one_each(&target));
            }
            None => {
                claims.insert(claim, target);
            }
        }
    }
}

/// Targets of several environments that claim one resource. None of their environments is wrong for it: which target holds
/// the resource is known only with the history, the other branches and the account (`crate::claims`).
pub(super) fn contested(views: &BTreeMap<EnvironmentName, View>) -> Findings {
    let mut claims: BTreeMap<String, Vec<(&EnvironmentName, RawTarget<'_>)>> = BTreeMap::new();
    for (name, view) in views {
        for target in view.targets() {
            if let Some(claim) = claim(view, &target) {
                claims.entry(claim).or_default().push((name, target));
            }
        }
    }
    let mut findings = Findings::default();
    for (claim, claimants) in &claims {
        for (name, target) in claimants {
            if let Some((other, claimant)) = claimants.iter().find(|(other, _)| other != name) {
                let message = format!("{other}/{} ({}) claims the {claim}, too", claimant.local, claimant.place.line());
                findings.report_with_help(target.place, CLAIMED_TWICE, message, "let only one target have it");
            }
        }
    }
    findings
}
