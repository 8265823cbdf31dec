//! What guardrails may ask about other targets: a small extract of what is known of all of them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::model::{Component, Digest, EnvironmentName, Pin, State, TargetRef, TargetState, Version};

/// What is known of all targets of all environments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fleet {
    targets: BTreeMap<TargetRef, Member>,
    /// And since when that is so.
    unseen: BTreeMap<EnvironmentName, Timestamp>,
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
}

impl Member {
    /// A target in some state, with its pin. Since when it is in sync isn't known.
    #[must_use]
    pub fn pinned(pin: &Pin, state: State) -> Self {
        let (component, version, digest) = (pin.component.clone(), pin.version.clone(), pin.digest.clone());
        Self { component, version, digest, state, in_sync_since: None }
    }

    /// What is known of a target after a pass.
    #[must_use]
    pub fn of(known: &TargetState) -> Self {
        Self {
            // What can't be read now isn't known to be in sync.
            in_sync_since: known.in_sync_since.filter(|_| known.state == State::InSync),
            ..Self::pinned(&known.pin, known.known())
        }
    }

    /// Whether a rollout is on its way: not known yet to have ended well or badly.
    fn is_rolling(&self) -> bool {
        is_rolling(self.state)
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

    /// An environment that exists, but about whose targets nothing may be known yet.
    pub fn expect(&mut self, environment: &EnvironmentName, now: Timestamp) {
        if !self.targets.keys().any(|target| target.environment == *environment) {
            self.unseen.entry(environment.clone()).or_insert(now);
        }
    }

    /// Takes note of a target's state. In sync with the same version it has been since before, if it was.
    pub fn note(&mut self, target: &TargetRef, mut member: Member) {
        let before = self.targets.get(target).filter(|before| before.version == member.version);
        if member.state == State::InSync && member.in_sync_since.is_none() {
            member.in_sync_since = before.and_then(|before| before.in_sync_since);
        }
        self.targets.insert(target.clone(), member);
    }

    /// Replaces what is known of an environment.
    pub fn set(&mut self, environment: &EnvironmentName, targets: impl IntoIterator<Item = (TargetRef, Member)>) {
        self.forget(environment);
        self.targets.extend(targets);
    }

    /// Takes an environment out.
    pub fn forget(&mut self, environment: &EnvironmentName) {
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
        let same = |member: &Member| {
            let digests = member.digest.as_ref().zip(pin.digest.as_ref());
            member.version == pin.version && digests.is_none_or(|(theirs, ours)| theirs == ours)
        };
        let of_component = self
            .targets
            .iter()
            .filter(|(target, member)| target.environment == *environment && member.component == pin.component);
        let since = of_component.map(|(_, member)| member.in_sync_since.filter(|_| same(member)));
        since.collect::<Option<Vec<_>>>()?.into_iter().max()
    }
}
