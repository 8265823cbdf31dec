//! The ten rules of the product as checkers of what a controller did, told by the simulator and never by Pinion.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::wire::Call;
use super::world::{Target, account, environment};

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Broken {
    /// The rule's number in the product's list; 0: it came to no end.
    pub(crate) rule: u8,
    pub(crate) what: String,
}

/// How long after somebody else's doing Pinion can't be expected to know of it.
const HARDLY: Duration = Duration::from_secs(20);
/// For how long a rollout that was asked for may not show.
const LATELY: Duration = Duration::from_secs(25);
/// The longest that an account in peace waits for its next pass: the interval, and what calls take.
const PASS: Duration = Duration::from_secs(70);

/// What Pinion has made and started, and what others did.
pub(crate) struct Book {
    targets: Vec<Target>,
    pub(crate) broken: Vec<Broken>,
    /// Commit, version and base of what Pinion made, by target and launch-template version or task definition.
    made: BTreeMap<(usize, String), (Made, usize)>,
    /// What Pinion started, by id.
    started: BTreeMap<String, Started>,
    /// Other rollouts, by id, and since when they are there.
    foreign: BTreeMap<String, Duration>,
    /// When an operator last asked to retry.
    retried: Option<Duration>,
    /// When the controller's clock was last set.
    clock_set: Option<Duration>,
    /// The last write of each target that was accepted and after which it wasn't read yet.
    unread: BTreeMap<usize, String>,
    /// Until when each place is disturbed, so that neither its pace nor its claims can be judged.
    disturbed: Vec<Duration>,
    /// Until when reads of each place lag.
    lagging: Vec<Duration>,
    /// The last pass of each environment: its life and when.
    passes: BTreeMap<String, (usize, Duration)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Made {
    version: String,
    commit: String,
    base: String,
}

struct Started {
    target: usize,
    commit: String,
    revision: String,
    at: Duration,
    life: usize,
}

const BAD: [&str; 8] = [
    "Failed",
    "RollbackSuccessful",
    "RollbackFailed",
    "Cancelled",
    "STOPPED",
    "ROLLBACK_SUCCESSFUL",
    "ROLLBACK_FAILED",
    "FAILED",
];
const GOOD: [&str; 2] = ["Successful", "SUCCESSFUL"];

/// The rollouts of a target as the simulator shows them, newest last: ids and statuses.
fn rollouts<'a>(target: &Target, fleet: &'a Value) -> Vec<(&'a str, &'a str)> {
    let held = held(target, fleet);
    let (all, id) = if target.is_group() { (&held["refreshes"], "id") } else { (&held["service_deployments"], "arn") };
    let text = |value: &'a Value| value.as_str().unwrap_or_default();
    all.as_array().into_iter().flatten().map(|one| (text(&one[id]), text(&one["status"]))).collect()
}

fn held<'a>(target: &Target, fleet: &'a Value) -> &'a Value {
    if target.is_group() { &fleet["groups"][&target.name] } else { &fleet["services"][format!("app/{}", target.name)] }
}

/// Whether a clone has all that its base has, and nothing more than what says nothing.
fn covers(clone: &Value, base: &Value) -> bool {
    match (clone, base) {
        (Value::Object(clone), Value::Object(base)) => {
            let empty = |value: &Value| {
                value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty)
            };
            base.iter().all(|(name, value)| clone.get(name).is_some_and(|cloned| covers(cloned, value)))
                && clone.iter().all(|(name, value)| base.contains_key(name) || empty(value))
        }
        (Value::Array(clone), Value::Array(base)) => {
            clone.len() == base.len() && clone.iter().zip(base).all(|(clone, base)| covers(clone, base))
        }
        _ => clone == base,
    }
}

fn is_active(status: &str) -> bool {
    !BAD.contains(&status) && !GOOD.contains(&status)
}

/// Whether all that runs is of an image, and nothing else is on its way.
pub(crate) fn runs(target: &Target, fleet: &Value, image: &str) -> bool {
    let held = held(target, fleet);
    let all = |list: &str, key: &str, gone: &[&str]| {
        held[list].as_array().into_iter().flatten().all(|one| {
            let phase = one["lifecycle"].as_str().or_else(|| one["status"].as_str()).unwrap_or_default();
            one[key] == image || gone.iter().any(|gone| phase.starts_with(gone))
        })
    };
    if target.is_group() {
        all("instances", "ami", &["Terminat"])
    } else {
        all("tasks", "image", &["STOP", "DEPROVISION", "DEACTIV"])
    }
}

impl Book {
    pub(crate) fn new(targets: &[Target]) -> Self {
        let places = targets.iter().map(|target| target.place).max().unwrap_or(0) + 1;
        Self {
            targets: targets.to_vec(),
            broken: Vec::new(),
            made: BTreeMap::new(),
            started: BTreeMap::new(),
            foreign: BTreeMap::new(),
            retried: None,
            clock_set: None,
            unread: BTreeMap::new(),
            disturbed: vec![Duration::ZERO; places],
            lagging: vec![Duration::ZERO; places],
            passes: BTreeMap::new(),
        }
    }

    fn fail(&mut self, rule: u8, call: &Call, what: &str) {
        let Call { at, environment, operation, params, .. } = call;
        self.broken.push(Broken { rule, what: format!("{what}: {at:?} {environment} {operation} {params}") });
    }

    /// Somebody asked to retry what is quarantined.
    pub(crate) fn retry(&mut self, at: Duration) {
        self.retried = Some(at);
    }

    /// Somebody else started a rollout.
    pub(crate) fn foreign(&mut self, target: usize, fleet: &Value, at: Duration) {
        for (id, _) in rollouts(&self.targets[target], fleet) {
            if !self.started.contains_key(id) {
                self.foreign.entry(id.to_owned()).or_insert(at);
            }
        }
    }

    /// Something is done to a place, until then.
    pub(crate) fn disturb(&mut self, place: usize, until: Duration) {
        self.disturbed[place] = self.disturbed[place].max(until);
    }

    pub(crate) fn lag(&mut self, place: usize, until: Duration) {
        self.lagging[place] = self.lagging[place].max(until);
    }

    /// Takes note of a call, and judges it.
    pub(crate) fn call(&mut self, call: &Call) {
        let Some(place) = (0..self.disturbed.len()).find(|place| environment(*place) == call.environment) else {
            return;
        };
        if !call.is_write() {
            self.read(call, place);
            return;
        }
        if call.account != account(place) && !call.account.is_empty() {
            self.fail(7, call, &format!("a write in account {}", call.account));
        }
        let Some(target) = self.target(call, place) else {
            self.fail(1, call, "a write to what is no target");
            return;
        };
        if call.status == 200
            && let Some(before) = self.unread.insert(target, call.operation.clone())
        {
            self.fail(6, call, &format!("a write after {before} without looking"));
        }
        self.only_the_image(call, target);
        match call.operation.as_str() {
            "CreateLaunchTemplateVersion" | "RegisterTaskDefinition" => self.made(call, target),
            "StartInstanceRefresh" | "UpdateService" => self.starts(call, target),
            "CancelInstanceRefresh" | "RollbackInstanceRefresh" => {
                let active = rollouts(&self.targets[target], &call.before);
                let theirs = active.iter().find(|(id, status)| is_active(status) && !self.started.contains_key(*id));
                if let Some((id, _)) = theirs.filter(|_| call.status == 200) {
                    let what = format!("refresh {id} isn't Pinion's");
                    self.fail(9, call, &what);
                }
            }
            _ => {}
        }
    }

    fn read(&mut self, call: &Call, place: usize) {
        let kind = match call.operation.as_str() {
            "DescribeAutoScalingGroups" => true,
            "DescribeServices" => false,
            _ => return,
        };
        let targets = &self.targets;
        self.unread.retain(|target, _| targets[*target].place != place || targets[*target].is_group() != kind);
        let last = self.passes.insert(call.environment.clone(), (call.life, call.at));
        if let Some((life, last)) = last
            && life == call.life
            && self.disturbed[place] < last
            && call.at - last > PASS
        {
            let late = (call.at - last).as_secs();
            self.fail(8, call, &format!("nobody disturbed this account, and its next pass came after {late} s"));
        }
    }

    /// The target of a write.
    fn target(&self, call: &Call, place: usize) -> Option<usize> {
        let params = &call.params;
        let text = |name: &str| params[name].as_str();
        let template = text("LaunchTemplateId");
        let groups = call.before["groups"].as_object();
        let of_template = template.and_then(|id| {
            groups?.iter().find(|(_, group)| group["template"]["id"] == id).map(|(name, _)| name.as_str())
        });
        let name = text("AutoScalingGroupName").or(of_template).or(text("service")).or(text("family"))?;
        let is_it = |target: &Target| target.place == place && target.name == name;
        self.targets.iter().position(is_it)
    }

    /// Rule 1: nothing is written but the image. Rule 3: what has to be so before a rollout.
    fn only_the_image(&mut self, call: &Call, target: usize) {
        let of = self.targets[target].clone();
        let group = &call.before["groups"][&of.name];
        let on = group["template"]["version"].as_str().unwrap_or_default().to_owned();
        let keys: BTreeSet<&str> = call.params.as_object().unwrap().keys().map(String::as_str).collect();
        let allowed: &[&str] = match call.operation.as_str() {
            "UpdateAutoScalingGroup" => {
                &["AutoScalingGroupName", "LaunchTemplate.LaunchTemplateId", "LaunchTemplate.Version"]
            }
            "CreateLaunchTemplateVersion" => &[
                "LaunchTemplateId",
                "SourceVersion",
                "VersionDescription",
                "LaunchTemplateData.ImageId",
                "ClientToken",
            ],
            "UpdateService" => &["cluster", "service", "taskDefinition"],
            _ => &[],
        };
        if !allowed.is_empty() {
            let more: Vec<&&str> =
                keys.iter().filter(|key| !allowed.contains(key) && !["Action", "Version"].contains(key)).collect();
            if !more.is_empty() {
                self.fail(1, call, &format!("{more:?} isn't the image"));
            }
        }
        let size = |fleet: &Value| held(&of, fleet)["desired"].clone();
        if size(&call.before) != size(&call.after) {
            self.fail(1, call, "the size changed");
        }
        match call.operation.as_str() {
            "RegisterTaskDefinition" => {
                let mut asked = call.params.clone();
                let tags = asked["tags"].take();
                asked.as_object_mut().unwrap().remove("tags");
                let mut plain = of.definition();
                plain["containerDefinitions"][0]["image"] = asked["containerDefinitions"][0]["image"].clone();
                if !covers(&asked, &plain) {
                    self.fail(1, call, "the clone differs in more than the image");
                }
                let meddled = rollouts(&of, &call.before).iter().any(|(id, _)| !self.started.contains_key(*id));
                if !meddled
                    && !tags.as_array().is_some_and(|tags| tags.contains(&json!({ "key": "team", "value": "theirs" })))
                {
                    self.fail(1, call, "somebody's tag is lost");
                }
            }
            "CreateLaunchTemplateVersion" if call.status == 200 && on.parse::<u64>().is_err() => {
                self.fail(3, call, &format!("the group is on {on} while a version is made"));
            }
            "StartInstanceRefresh" => {
                let to = call.text("DesiredConfiguration.LaunchTemplate.Version").to_owned();
                if to.parse::<u64>().is_err() {
                    self.fail(3, call, "no numbered desired configuration");
                } else if to != on && call.text("Preferences.AutoRollback") != "true" {
                    self.fail(3, call, "no auto-rollback");
                }
            }
            _ => {}
        }
    }

    /// Rule 5: a revision for a commit, made from a base, is made once.
    fn made(&mut self, call: &Call, target: usize) {
        // Whatever the answer was: only what came of it counts, and that is known when it is used.
        let made = if call.operation == "CreateLaunchTemplateVersion" {
            let words: Vec<&str> = call.text("VersionDescription").split(' ').collect();
            let [_, version, commit, base, ..] = words.as_slice() else { return self.fail(5, call, "no marker") };
            let (commit, base) = (commit.trim_start_matches("commit="), base.trim_start_matches("base="));
            Made { version: (*version).to_owned(), commit: commit.to_owned(), base: base.to_owned() }
        } else {
            let tags = call.params["tags"].as_array().cloned().unwrap_or_default();
            let tag = |key: &str| {
                let found = tags.iter().find(|tag| tag["key"] == key);
                found.and_then(|tag| tag["value"].as_str()).unwrap_or_default().to_owned()
            };
            Made { version: tag("pinion:version"), commit: tag("pinion:commit"), base: tag("pinion:base") }
        };
        let id = if call.operation == "CreateLaunchTemplateVersion" {
            call.element("versionNumber").map(str::to_owned)
        } else {
            let answer: Value = serde_json::from_str(&call.answer).unwrap_or_default();
            answer["taskDefinition"]["taskDefinitionArn"].as_str().map(str::to_owned)
        };
        let Some(id) = id.filter(|_| call.status == 200) else { return };
        let before = self.made.insert((target, id.clone()), (made.clone(), call.life));
        let twins =
            self.made.iter().filter(|((of, other), (known, _))| *of == target && *other != id && *known == made);
        // ECS takes no client token: a process that begins while lists lag can't know of what the last one made, and what
        // it makes harms nobody.
        let lags = call.operation == "RegisterTaskDefinition" && self.lagging[self.targets[target].place] >= call.at;
        let twin =
            twins.filter(|(_, (_, life))| !lags || *life == call.life).map(|((_, other), _)| other.clone()).next();
        if let Some(other) = twin.filter(|_| before.is_none()) {
            let what = format!("{other} was made for this already, and {id} is superfluous");
            self.fail(5, call, &what);
        }
    }

    /// What was begun: rules 4, 5 and 9.
    fn starts(&mut self, call: &Call, target: usize) {
        let of = self.targets[target].clone();
        let known: BTreeSet<&str> = rollouts(&of, &call.before).into_iter().map(|(id, _)| id).collect();
        let begun: Vec<String> = rollouts(&of, &call.after)
            .into_iter()
            .filter(|(id, _)| !known.contains(id))
            .map(|(id, _)| id.to_owned())
            .collect();
        let revision = if of.is_group() {
            call.text("DesiredConfiguration.LaunchTemplate.Version")
        } else {
            call.text("taskDefinition")
        };
        let [id] = begun.as_slice() else { return self.in_vain(call, target, revision) };
        let on = held(&of, &call.before)["template"]["version"].as_str().unwrap_or_default();
        let made = self.made.get(&(target, revision.to_owned())).map(|(made, _)| made.clone());
        let commit = made.as_ref().map(|made| made.commit.clone()).unwrap_or_default();
        // Back to what the group is on: that fixes, and tries nothing.
        let tries = !commit.is_empty() && revision != on;
        let statuses: BTreeMap<&str, &str> = rollouts(&of, &call.before).into_iter().collect();
        let earlier: Vec<(&String, &Started)> =
            self.started.iter().filter(|(_, one)| one.target == target && one.commit == commit).collect();
        let mut found = Vec::new();
        for (other, start) in earlier.iter().filter(|_| tries) {
            let status = statuses.get(other.as_str()).copied().unwrap_or_default();
            if BAD.contains(&status) && self.retried.is_none_or(|retried| start.at > retried) {
                found.push((4, format!("{other} of the same commit ended as {status}, and {id} tries again")));
            }
            if is_active(status) {
                found.push((5, format!("{other} of the same commit is {status}, and {id} is begun beside it")));
            }
        }
        let first = revision == "1" || revision.ends_with(":1");
        let version = made.map(|made| made.version).or_else(|| first.then(|| "1".to_owned()));
        let newest = rollouts(&of, &call.before).last().map(|(_, status)| (*status).to_owned()).unwrap_or_default();
        let there = held(&of, &call.before)["task_definition"] == revision || on == revision;
        if let Some(image) = version.map(|version| of.image(&version))
            && there
            && !is_active(&newest)
            && runs(&of, &call.before, &image)
        {
            found.push((5, format!("all runs {image} already, and {id} is begun")));
        }
        let theirs = rollouts(&of, &call.before).into_iter().find(|(other, status)| {
            let known = self.foreign.get(*other).is_none_or(|since| call.at - *since > HARDLY);
            is_active(status) && !self.started.contains_key(*other) && known && self.lagging[of.place] < call.at
        });
        if let Some((other, status)) = theirs {
            found.push((9, format!("{other} isn't Pinion's and is {status}, and {id} is begun over it")));
        }
        for (rule, what) in found {
            self.fail(rule, call, &what);
        }
        let (revision, at, life) = (revision.to_owned(), call.at, call.life);
        self.started.insert(id.clone(), Started { target, commit, revision, at, life });
    }

    /// Rule 6: who has asked for a refresh waits for reads to show it, though the answer stayed out.
    fn in_vain(&mut self, call: &Call, target: usize, revision: &str) {
        let own = |one: &Started| one.target == target && one.life == call.life && one.revision == revision;
        let lately = |one: &Started| call.at - one.at < LATELY && self.clock_set.is_none_or(|set| set < one.at);
        if call.answer.contains("InstanceRefreshInProgress") && self.started.values().any(|it| own(it) && lately(it)) {
            self.fail(6, call, "a refresh that was begun just now is asked for again");
        }
    }

    /// The controller's clock was set.
    pub(crate) fn clock(&mut self, at: Duration) {
        self.clock_set = Some(at);
    }

    /// Rule 2: what is said to be in sync runs what is wanted, and nothing is on its way.
    pub(crate) fn claimed(&mut self, target: usize, version: &str, fleet: &Value, at: Duration, last: bool) {
        let of = &self.targets[target];
        if !last && (self.disturbed[of.place].max(self.lagging[of.place]) + HARDLY > at) {
            return;
        }
        let image = of.image(version);
        if !runs(of, fleet, &image) {
            let what = format!("{} is said to be in sync at {at:?} and doesn't run {image}: {fleet}", of.name);
            self.broken.push(Broken { rule: 2, what });
        }
    }

    /// Whether somebody else had a hand in a target's rollouts.
    pub(crate) fn target_name(&self, target: usize) -> &str {
        &self.targets[target].name
    }
}
