//! What guardrails may ask about other targets: a small extract of what is known of all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::model::promotion::length;
use crate::model::{
    Component, Digest, EnvironmentName, Pin, Run, Standing, State, Target, TargetRef, TargetState, Version,
};

/// What is known of all targets of all environments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fleet {
    targets: BTreeMap<TargetRef, Member>,
    /// And since when that is so.
    unseen: BTreeMap<EnvironmentName, Timestamp>,
    /// The targets that Git wants, each with its component, whatever is known of them.
    wanted: BTreeMap<TargetRef, Component>,
}

/// What is known of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its component.
    pub component: Component,
    /// The pinned version.
    pub version: Version,
    /// The pinned digest, if the pin names one.
    pub digest: Option<Digest>,
    /// Its state; while the account can't be read, the last one known.
    pub state: State,
    /// Since when it is in sync with this version, if it is.
    pub in_sync_since: Option<Timestamp>,
    /// What else it was in sync with, as far as that is known.
    pub runs: Vec<Run>,
}

impl Member {
    /// A target in some state, with its pin. Since when it is in sync isn't known.
    #[must_use]
    pub fn pinned(pin: &Pin, state: State) -> Self {
        let (component, version, digest) = (pin.component.clone(), pin.version.clone(), pin.digest.clone());
        Self { component, version, digest, state, in_sync_since: None, runs: Vec::new() }
    }

    /// What is known of a target after a pass.
    #[must_use]
    pub fn of(known: &TargetState) -> Self {
        Self {
            // What can't be read now isn't known to be in sync.
            in_sync_since: known.in_sync_since.filter(|_| known.state == State::InSync),
            runs: known.runs.clone(),
            ..Self::pinned(&known.pin, known.known())
        }
    }

    /// Whether a rollout is on its way: not known yet to have ended well or badly.
    fn is_rolling(&self) -> bool {
        is_rolling(self.state)
    }

    /// Whether a pin's version is pinned here, too. A digest counts where both pins name one.
    fn has(&self, pin: &Pin) -> bool {
        pin.is_same_artifact(&self.version, self.digest.as_ref())
    }

    /// Whether it is or was in sync with a pin's version for so long.
    fn has_soaked(&self, pin: &Pin, soak: Duration, now: Timestamp) -> bool {
        let present = self.in_sync_since.filter(|_| self.has(pin)).map(|since| length(since, now));
        let past = self.runs.iter().filter(|run| run.is_of(pin)).map(Run::length);
        present.into_iter().chain(past).any(|length| length >= soak)
    }
}

/// Whether a target in this state has a rollout on its way.
#[must_use]
pub fn is_rolling(state: State) -> bool {
    matches!(state, State::RollingOut | State::Verifying | State::Overdue)
}

/// Counts of targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// In the environment asked about.
    pub environment: u32,
    /// In all.
    pub all: u32,
    /// In all, those with the same component and version.
    pub this_version: u32,
}

impl Fleet {
    /// How long others are held up by an environment of which nothing is known yet.
    pub const TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

    /// An environment that exists, with the targets that Git wants of it, but about which nothing may be known yet.
    pub fn expect<'a>(
        &mut self,
        environment: &EnvironmentName,
        targets: impl IntoIterator<Item = &'a Target>,
        now: Timestamp,
    ) {
        self.wanted.retain(|target, _| target.environment != *environment);
        let wanted = targets.into_iter().map(|target| (target.reference.clone(), target.component.clone()));
        self.wanted.extend(wanted);
        if !self.targets.keys().any(|target| target.environment == *environment) {
            self.unseen.entry(environment.clone()).or_insert(now);
        }
    }

    /// Takes note of a target's state. In sync with the same version it has been since before, if it was.
    pub fn note(&mut self, target: &TargetRef, mut member: Member) {
        let before = self.targets.get(target);
        if member.runs.is_empty() {
            member.runs = before.map(|before| before.runs.clone()).unwrap_or_default();
        }
        let same = before.filter(|before| before.version == member.version);
        if member.state == State::InSync && member.in_sync_since.is_none() {
            member.in_sync_since = same.and_then(|before| before.in_sync_since);
        }
        self.targets.insert(target.clone(), member);
    }

    /// Replaces what is known of an environment.
    pub fn set(&mut self, environment: &EnvironmentName, targets: impl IntoIterator<Item = (TargetRef, Member)>) {
        self.forget_states(environment);
        self.targets.extend(targets);
    }

    /// Takes an environment out.
    pub fn forget(&mut self, environment: &EnvironmentName) {
        self.wanted.retain(|target, _| target.environment != *environment);
        self.forget_states(environment);
    }

    fn forget_states(&mut self, environment: &EnvironmentName) {
        self.targets.retain(|target, _| target.environment != *environment);
        self.unseen.remove(environment);
    }

    /// What is known of a target.
    #[must_use]
    pub fn get(&self, target: &TargetRef) -> Option<&Member> {
        self.targets.get(target)
    }

    /// An environment that exists, but about whose targets nothing is known yet, if there is one. One that takes longer
    /// than [`Fleet::TIMEOUT`] holds up nobody any more.
    #[must_use]
    pub fn unseen(&self, now: Timestamp) -> Option<&EnvironmentName> {
        let waited = |since: Timestamp| now.duration_since(since) < Self::TIMEOUT;
        self.unseen.iter().find(|(_, since)| waited(**since)).map(|(environment, _)| environment)
    }

    /// Whether an environment has a target of a component. Where nothing is known of its targets it may have one.
    #[must_use]
    pub fn may_have(&self, environment: &EnvironmentName, component: &Component) -> bool {
        let mut its = self.targets.iter().filter(|(target, _)| target.environment == *environment).peekable();
        its.peek().is_none() || its.any(|(_, member)| member.component == *component)
    }

    /// The targets other than this one whose rollouts are on their way.
    #[must_use]
    pub fn rolling(&self, target: &TargetRef, pin: &Pin) -> Counts {
        self.count(target, pin, Member::is_rolling)
    }

    /// The targets other than this one that are quarantined.
    #[must_use]
    pub fn quarantined(&self, target: &TargetRef, pin: &Pin) -> Counts {
        self.count(target, pin, |member| member.state == State::Quarantined)
    }

    fn count(&self, target: &TargetRef, pin: &Pin, which: fn(&Member) -> bool) -> Counts {
        let mut counts = Counts::default();
        for (other, member) in self.targets.iter().filter(|(other, member)| *other != target && which(member)) {
            counts.all += 1;
            counts.environment += u32::from(other.environment == target.environment);
            counts.this_version += u32::from(member.component == pin.component && member.version == pin.version);
        }
        counts
    }

    /// Since when all targets of the pin's component in an environment are in sync with the pin's version. `None` if one
    /// isn't, or there is none. A digest counts where both pins name one.
    #[must_use]
    pub fn in_sync_since(&self, environment: &EnvironmentName, pin: &Pin) -> Option<Timestamp> {
        let since = self.of_component(environment, pin);
        let since = since.map(|(_, member)| member.in_sync_since.filter(|_| member.has(pin)));
        since.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    fn of_component<'a>(
        &'a self,
        environment: &'a EnvironmentName,
        pin: &'a Pin,
    ) -> impl Iterator<Item = (&'a TargetRef, &'a Member)> {
        let all = self.targets.iter();
        all.filter(move |(target, it)| target.environment == *environment && it.component == pin.component)
    }

    /// How a pin's version stands in the environment that it is promoted from: whether all targets of its component there
    /// are or were in sync with it for as long as `soak`.
    #[must_use]
    pub fn standing(&self, from: &EnvironmentName, pin: &Pin, soak: Duration, now: Timestamp) -> Standing {
        if !self.targets.keys().any(|target| target.environment == *from) {
            return Standing::Unread;
        }
        // What has failed there doesn't come, however well it ran before.
        let failed = |member: &Member| member.state == State::Quarantined && member.has(pin);
        if let Some((target, _)) = self.of_component(from, pin).find(|(_, member)| failed(member)) {
            return Standing::Quarantined { target: target.clone() };
        }
        let mut wanted = self
            .wanted
            .iter()
            .filter(|(target, component)| target.environment == *from && **component == pin.component);
        if wanted.any(|(target, _)| self.targets.get(target).is_none_or(|it| it.component != pin.component)) {
            return Standing::Unread;
        }
        let mut lacking =
            self.of_component(from, pin).filter(|(_, member)| !member.has_soaked(pin, soak, now)).peekable();
        if lacking.peek().is_none() {
            let concerned = self.of_component(from, pin).next().is_some();
            return if concerned { Standing::Soaked } else { Standing::Unconcerned };
        }
        // The worst of them says most.
        let mut soaking = Timestamp::MIN;
        let mut worst = None;
        for (target, member) in lacking {
            let since = member.in_sync_since.filter(|_| member.has(pin));
            let until = since.and_then(|since| since.checked_add(soak).ok());
            match (until, member.state) {
                (Some(until), _) => soaking = soaking.max(until),
                // It was in sync when its account could last be read.
                (None, State::InSync | State::Unknown) if member.has(pin) => worst = worst.or(Some(Standing::Unread)),
                (None, state) => {
                    worst =
                        Some(Standing::Missing { target: target.clone(), pinned: member.version.clone(), state, soak });
                }
            }
        }
        worst.unwrap_or(Standing::Soaking { until: soaking })
    }
}
