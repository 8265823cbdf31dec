//! Blast-radius change limits: what one commit may not do unnoticed, policies or not. Pure: what was accepted before and what a
//! commit wants are inputs.
//!
//! A commit that removes environments, or that moves more than a share of prod's pins at once, is held until a
//! commit acknowledges it by a trailer. Commits are looked at one after the other along the branch's first parents, so
//! that a process that starts later, or sees several of them at once, comes to the same end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::claims::Ancestry;
use crate::model::{CommitId, Component, EnvironmentClaims, EnvironmentName, Resource, TargetRef, Trailer};

/// The key of the trailer that acknowledges, with one capital, as trailers are kept.
pub const TRAILER: &str = "Pinion-acknowledge";
/// The value that it must have.
pub const ACKNOWLEDGEMENT: &str = "blast-radius";
/// The trailer as people write it.
pub const LINE: &str = "Pinion-Acknowledge: blast-radius";

/// What is held and what isn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeLimits {
    /// The share of prod's pins, in per cent, that one commit may move; 100 holds none.
    pub max_percent: u32,
    /// So many pins may be moved at once whatever share that is.
    pub always_allowed: u32,
    /// Whether removing environments is held. One that is emptied is broken, and stays as it was anyway.
    pub removals: bool,
}

impl Default for ChangeLimits {
    fn default() -> Self {
        Self { max_percent: 50, always_allowed: 4, removals: true }
    }
}

/// What there is of an environment, as far as change limits care.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outline {
    /// Whether pins are promoted to it from another one: it is prod.
    pub promoted: bool,
    /// Its pins, each as canonical text.
    pub pins: BTreeMap<Component, String>,
    /// What its targets claim.
    pub claims: EnvironmentClaims,
}

/// What a branch has, environment by environment.
pub type Extent = BTreeMap<EnvironmentName, Outline>;

/// What a commit does that is held.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangeLimit {
    /// The environments that it removes.
    pub removed: BTreeSet<EnvironmentName>,
    /// The pins of prod that it moves, where they are too many.
    pub moved: BTreeSet<(EnvironmentName, Component)>,
    /// How many pins prod had.
    pub of: usize,
    /// The share that may be moved, in per cent.
    pub max_percent: u32,
}

impl ChangeLimit {
    /// The words for what it is, as in metrics: `removals`, `pins`.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        let removals = (!self.removed.is_empty()).then_some("removals");
        removals.into_iter().chain((!self.moved.is_empty()).then_some("pins"))
    }

    /// Whether it holds anything of an environment.
    #[must_use]
    pub fn concerns(&self, environment: &EnvironmentName) -> bool {
        self.removed.contains(environment) || self.moved.iter().any(|(of, _)| of == environment)
    }

    /// The components of an environment whose pins are held.
    pub fn components<'a>(&'a self, environment: &'a EnvironmentName) -> impl Iterator<Item = &'a Component> + 'a {
        self.moved.iter().filter(move |(of, _)| of == environment).map(|(_, component)| component)
    }
}

/// For people: what it does.
impl fmt::Display for ChangeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.removed.is_empty() {
            let names: Vec<&str> = self.removed.iter().map(EnvironmentName::as_str).collect();
            parts.push(format!("removes {}", names.join(", ")));
        }
        if !self.moved.is_empty() {
            let moved = self.moved.len();
            let (of, max_percent) = (self.of, self.max_percent);
            parts.push(format!("moves {moved} of {of} pins of prod at once, more than {max_percent} %"));
        }
        f.write_str(&parts.join(" and "))
    }
}

/// A change limit, and the commit that it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The commit that began it.
    pub commit: CommitId,
    /// What is held.
    pub change_limit: ChangeLimit,
    /// A commit whose trailer would let it through, but doesn't count.
    pub ignored_acknowledgement: Option<CommitId>,
}

/// For people: what is held, and what lets it through.
impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.commit.is_uncommitted() {
            write!(f, "held by the blast-radius limit: this change {}", self.change_limit)?;
        } else {
            write!(f, "held by the blast-radius limit: commit {} {}", self.commit.short(), self.change_limit)?;
        }
        write!(f, "; if that is meant, push a commit with the trailer `{LINE}`")?;
        match &self.ignored_acknowledgement {
            Some(commit) => write!(f, "; {}", ignored_acknowledgement(commit.as_str())),
            None => Ok(()),
        }
    }
}

/// What a commit does, compared with what was accepted before, that has to be acknowledged; `None` if nothing has.
#[must_use]
pub fn change_limit(before: &Extent, after: &Extent, limits: ChangeLimits) -> Option<ChangeLimit> {
    let mut change_limit = ChangeLimit { max_percent: limits.max_percent, ..ChangeLimit::default() };
    for (name, old) in before {
        let new = after.get(name);
        if new.is_none() && limits.removals {
            change_limit.removed.insert(name.clone());
        }
        if !(old.promoted || new.is_some_and(|new| new.promoted)) {
            continue;
        }
        change_limit.of += old.pins.len();
        for (component, value) in &old.pins {
            // A pin that is taken out takes its targets out, too.
            if new.is_some_and(|new| new.pins.get(component) != Some(value)) {
                change_limit.moved.insert((name.clone(), component.clone()));
            }
        }
    }
    if !too_many(change_limit.moved.len(), change_limit.of, limits) {
        change_limit.moved.clear();
    }
    (!change_limit.removed.is_empty() || !change_limit.moved.is_empty()).then_some(change_limit)
}

/// Whether so many pins of prod may not be moved at once.
fn too_many(moved: usize, of: usize, limits: ChangeLimits) -> bool {
    exceeds(moved, of, (limits.max_percent, limits.always_allowed))
}

/// Whether a part of a whole is more than a share of it in per cent, and more than is allowed whatever the share.
pub(super) fn exceeds(part: usize, of: usize, (max_percent, always_allowed): (u32, u32)) -> bool {
    let (part, of) = (part as u64, of as u64);
    part > u64::from(always_allowed) && part * 100 > of * u64::from(max_percent)
}

/// Says for people why a commit's trailer doesn't count.
#[must_use]
pub fn ignored_acknowledgement(commit: &str) -> String {
    let short = CommitId::short_of(commit);
    format!("the one of commit {short} doesn't count, because nobody who may sign has signed that message")
}

/// Whether commits acknowledge what a change limit holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acknowledgement {
    /// None does.
    Missing,
    /// This one would, but its trailer doesn't count.
    Ignored(CommitId),
    /// One does.
    Given,
}

impl Acknowledgement {
    /// What these trailers say.
    #[must_use]
    pub fn of(trailers: &[Trailer]) -> Self {
        let mut words = trailers.iter().filter(|trailer| acknowledges(&trailer.value));
        match words.clone().find(|trailer| trailer.honored).or_else(|| words.next()) {
            Some(trailer) if trailer.honored => Self::Given,
            Some(trailer) => Self::Ignored(trailer.commit.clone()),
            None => Self::Missing,
        }
    }

    /// The commit whose trailer doesn't count, where none does.
    #[must_use]
    pub fn ignored_acknowledgement(&self) -> Option<&CommitId> {
        if let Self::Ignored(commit) = self { Some(commit) } else { None }
    }
}

/// Whether the value of a trailer acknowledges. What stands there more than once has a line for each.
fn acknowledges(value: &str) -> bool {
    value.lines().any(|line| line.trim().eq_ignore_ascii_case(ACKNOWLEDGEMENT))
}

/// What has been accepted of a branch so far, and what is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// The last commit that was looked at.
    pub seen: CommitId,
    /// What that one has.
    pub there: Extent,
    /// What is accepted: what is there but for what is held, which is as it was before.
    pub accepted: Extent,
    /// For each environment whose removal is held, the last commit that had it.
    pub kept: BTreeMap<EnvironmentName, CommitId>,
    /// What isn't accepted.
    pub held: Option<Held>,
    /// What each environment of which something is held claimed before.
    claiming: BTreeMap<EnvironmentName, BTreeSet<(Resource, TargetRef)>>,
    /// What is claimed: by what is there, and by what was there before where something is held.
    pub claimed: BTreeSet<(Resource, TargetRef)>,
    /// Since when each target claims its resource.
    pub since: Ancestry,
}

impl Ledger {
    /// Begins with a commit that is accepted as it is.
    #[must_use]
    pub fn new(commit: CommitId, extent: Extent) -> Self {
        let (claimed, mut since) = (claims(&extent), Ancestry::default());
        since.step(&claimed);
        Self {
            seen: commit,
            there: extent.clone(),
            accepted: extent,
            kept: BTreeMap::new(),
            held: None,
            claiming: BTreeMap::new(),
            claimed,
            since,
        }
    }

    /// Takes the next commit of the branch. What of it isn't held is accepted, so that the next one is compared with that.
    pub fn step(&mut self, commit: CommitId, extent: Extent, word: Acknowledgement, limits: ChangeLimits) {
        let found = change_limit(&self.accepted, &extent, limits).filter(|_| word != Acknowledgement::Given);
        let Some(mut found) = found else {
            let since = std::mem::take(&mut self.since);
            *self = Self { since, ..Self::new(commit, extent) };
            self.since.step(&self.claimed);
            return;
        };
        let earlier = self.held.take();
        if let Some(earlier) = &earlier {
            found.go_on(&earlier.change_limit, limits);
        }
        self.kept.retain(|name, _| found.removed.contains(name));
        for name in &found.removed {
            self.kept.entry(name.clone()).or_insert_with(|| self.seen.clone());
        }
        self.claiming.retain(|name, _| found.concerns(name));
        for (name, outline) in self.accepted.iter().filter(|(name, _)| found.concerns(name)) {
            let before = || claims_of([(name, outline)].into_iter()).collect();
            self.claiming.entry(name.clone()).or_insert_with(before);
        }
        self.accepted = found.accepted(&self.accepted, &extent);
        self.claimed = claims(&extent);
        self.claimed.extend(claims(&self.accepted));
        self.claimed.extend(self.claiming.values().flatten().cloned());
        self.since.step(&self.claimed);
        // What began it may have been taken back since.
        let earlier = earlier.filter(|earlier| found.has_of(&earlier.change_limit));
        let (first, before) =
            earlier.map_or((commit.clone(), None), |earlier| (earlier.commit, earlier.ignored_acknowledgement));
        let ignored_acknowledgement = word.ignored_acknowledgement().cloned().or(before);
        self.held = Some(Held { commit: first, change_limit: found, ignored_acknowledgement });
        self.seen = commit;
        self.there = extent;
    }

    /// Takes a commit before all that were looked at, where they don't tell who came first.
    pub fn step_back(&mut self, extent: &Extent) {
        self.since.step_back(&claims(extent));
    }
}

impl ChangeLimit {
    /// With what was held before: a commit that comes on top counts by itself, and pins of an environment that it removes
    /// are held as they were.
    fn go_on(&mut self, earlier: &Self, limits: ChangeLimits) {
        let new = self.moved.difference(&earlier.moved).count();
        if new < self.moved.len() && !too_many(new, self.of, limits) {
            self.moved.retain(|pin| earlier.moved.contains(pin));
        }
        let gone = earlier.moved.iter().filter(|(environment, _)| self.removed.contains(environment));
        let gone: Vec<(EnvironmentName, Component)> = gone.cloned().collect();
        self.moved.extend(gone);
    }

    fn has_of(&self, earlier: &Self) -> bool {
        !self.removed.is_disjoint(&earlier.removed) || !self.moved.is_disjoint(&earlier.moved)
    }

    /// What is there but for what is held, which is as it was before.
    fn accepted(&self, before: &Extent, there: &Extent) -> Extent {
        let mut accepted = there.clone();
        for name in &self.removed {
            accepted.extend(before.get(name).map(|outline| (name.clone(), outline.clone())));
        }
        for (name, component) in &self.moved {
            let (Some(old), Some(outline)) = (before.get(name), accepted.get_mut(name)) else { continue };
            // No longer being prod is no way out.
            outline.promoted |= old.promoted;
            if let Some(value) = old.pins.get(component) {
                outline.pins.insert(component.clone(), value.clone());
            }
        }
        accepted
    }
}

/// What the environments of a branch claim.
fn claims(extent: &Extent) -> BTreeSet<(Resource, TargetRef)> {
    claims_of(extent.iter()).collect()
}

fn claims_of<'a>(
    environments: impl Iterator<Item = (&'a EnvironmentName, &'a Outline)>,
) -> impl Iterator<Item = (Resource, TargetRef)> {
    environments.flat_map(|(name, outline)| {
        outline.claims.iter().map(move |(local, claimed)| (claimed.resource.clone(), local.within(name)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, whether it is prod, and pins.
    type Given<'a> = (&'a str, bool, &'a [(&'a str, &'a str)]);

    fn extent(environments: &[Given<'_>]) -> Extent {
        let outline = |promoted: bool, pins: &[(&str, &str)]| Outline {
            promoted,
            claims: BTreeMap::new(),
            pins: pins
                .iter()
                .map(|(component, version)| (Component::try_from(*component).unwrap(), (*version).to_owned()))
                .collect(),
        };
        environments
            .iter()
            .map(|(name, promoted, pins)| (EnvironmentName::try_from(*name).unwrap(), outline(*promoted, pins)))
            .collect()
    }

    fn commit(digit: char) -> CommitId {
        CommitId::try_from(digit.to_string().repeat(40)).unwrap()
    }

    /// `count` environments of prod with two pins each, of which the first `moved` have another version of `a`, and
    /// the first `both` of `b`, too.
    fn prods(count: usize, moved: usize, both: usize) -> Extent {
        let names: Vec<String> = (0..count).map(|index| format!("prod{index}")).collect();
        let mut all = Extent::new();
        for (index, name) in names.iter().enumerate() {
            let a = if index < moved { "2" } else { "1" };
            let b = if index < both { "2" } else { "1" };
            all.extend(extent(&[(name, true, &[("a", a), ("b", b)])]));
        }
        all
    }

    #[test]
    fn a_share_of_prods_pins_may_move() {
        let limits = ChangeLimits::default();
        let before = prods(6, 0, 0);
        assert_eq!(change_limit(&before, &prods(6, 6, 0), limits), None, "half of them may");
        let held = change_limit(&before, &prods(6, 6, 1), limits).unwrap();
        assert_eq!(held.to_string(), "moves 7 of 12 pins of prod at once, more than 50 %");
        assert_eq!(held.kinds().collect::<Vec<_>>(), ["pins"]);
        let allowed = ChangeLimits { max_percent: 100, ..limits };
        assert_eq!(change_limit(&before, &prods(6, 6, 6), allowed), None, "the configuration allows it");
        assert_eq!(change_limit(&prods(2, 0, 0), &prods(2, 2, 2), limits), None, "a release of four pins is no blast");
        let strict = ChangeLimits { always_allowed: 0, ..limits };
        assert!(change_limit(&prods(2, 0, 0), &prods(2, 2, 2), strict).is_some());
        let dev = |version| extent(&[("dev", false, &[("a", version), ("b", version), ("c", version)])]);
        assert_eq!(change_limit(&dev("1"), &dev("2"), strict), None, "dev isn't prod");
        let mut undone = prods(6, 6, 6);
        undone.values_mut().for_each(|outline| outline.promoted = false);
        assert!(change_limit(&before, &undone, limits).is_some(), "no longer being prod is no way out");
        assert_eq!(change_limit(&before, &prods(9, 0, 0), limits), None, "new environments move nothing");
    }

    #[test]
    fn environments_do_not_vanish_unnoticed() {
        let limits = ChangeLimits::default();
        let both = extent(&[("dev", false, &[("a", "1")]), ("prod", true, &[("a", "1")])]);
        let one = extent(&[("dev", false, &[("a", "1")])]);
        assert_eq!(change_limit(&both, &one, limits).unwrap().to_string(), "removes prod");
        assert_eq!(change_limit(&one, &both, limits), None);
        assert_eq!(change_limit(&both, &Extent::new(), ChangeLimits { removals: false, ..limits }), None);
    }

    #[test]
    fn what_is_held_stays_so_until_it_is_acknowledged_or_taken_back() {
        let limits = ChangeLimits::default();
        let both = extent(&[("dev", false, &[("a", "1")]), ("prod", true, &[("a", "1")])]);
        let one = extent(&[("dev", false, &[("a", "1")])]);
        let newer = extent(&[("dev", false, &[("a", "2")])]);
        let mut ledger = Ledger::new(commit('a'), both.clone());
        ledger.step(commit('b'), one, Acknowledgement::Missing, limits);
        let held = ledger.held.clone().unwrap();
        assert_eq!(
            held.to_string(),
            "held by the blast-radius limit: commit bbbbbbbb removes prod; if that is meant, push a commit with the \
             trailer `Pinion-Acknowledge: blast-radius`"
        );
        ledger.step(commit('c'), newer.clone(), Acknowledgement::Missing, limits);
        assert_eq!(ledger.held, Some(held), "another commit on top doesn't let it through, and isn't blamed");
        let prod = EnvironmentName::try_from("prod").unwrap();
        assert_eq!((ledger.kept.clone(), ledger.seen.clone()), ([(prod, commit('a'))].into(), commit('c')));
        let mut reverted = ledger.clone();
        reverted.step(commit('d'), both.clone(), Acknowledgement::Missing, limits);
        assert_eq!(reverted, Ledger { since: reverted.since.clone(), ..Ledger::new(commit('d'), both) });
        let ignored_acknowledgement = Acknowledgement::Ignored(commit('d'));
        ledger.step(commit('d'), newer.clone(), ignored_acknowledgement, limits);
        ledger.step(commit('e'), newer.clone(), Acknowledgement::Missing, limits);
        assert!(
            ledger.held.as_ref().unwrap().to_string().ends_with(
                "`Pinion-Acknowledge: blast-radius`; the one of commit dddddddd doesn't count, because nobody who may sign \
                 has signed that message"
            ),
            "{ledger:?}"
        );
        ledger.step(commit('d'), newer.clone(), Acknowledgement::Given, limits);
        assert_eq!(ledger, Ledger { since: ledger.since.clone(), ..Ledger::new(commit('d'), newer) });
    }

    fn step(ledger: &mut Ledger, digit: char, extent: &Extent) -> Option<String> {
        ledger.step(commit(digit), extent.clone(), Acknowledgement::Missing, ChangeLimits::default());
        ledger.held.as_ref().map(|held| held.change_limit.to_string())
    }

    /// Dev's folder is removed by mistake, and nobody says that it is meant: prod's releases go on, and rollbacks do.
    #[test]
    fn a_removal_that_is_held_makes_no_later_commit_larger() {
        let dev = extent(&[("dev", false, &[("a", "1")])]);
        let with_dev = |prod: Extent| -> Extent { prod.into_iter().chain(dev.clone()).collect() };
        let mut ledger = Ledger::new(commit('a'), with_dev(prods(6, 0, 0)));
        assert_eq!(step(&mut ledger, 'b', &prods(6, 0, 0)).unwrap(), "removes dev");
        for (digit, both) in [('c', 2), ('d', 4), ('e', 6), ('f', 4), ('5', 2), ('6', 0)] {
            assert_eq!(step(&mut ledger, digit, &prods(6, both, both)).unwrap(), "removes dev", "commit {digit}");
        }
        // What is kept is each as it was last.
        let mut fewer = prods(6, 0, 0);
        fewer.remove(&EnvironmentName::try_from("prod5").unwrap());
        assert_eq!(step(&mut ledger, '2', &fewer).unwrap(), "removes dev, prod5");
        let kept = [("dev", 'a'), ("prod5", '6')];
        assert_eq!(
            ledger.kept,
            kept.map(|(name, digit)| (EnvironmentName::try_from(name).unwrap(), commit(digit))).into()
        );
        // Too many by itself is still too many.
        assert_eq!(
            step(&mut ledger, '3', &prods(6, 6, 6)).unwrap(),
            "removes dev and moves 12 of 12 pins of prod at once, more than 50 %"
        );
        assert_eq!(ledger.held.as_ref().unwrap().commit, commit('b'), "what began it");
        assert_eq!(step(&mut ledger, '4', &with_dev(prods(6, 0, 0))), None, "all is back");
    }

    /// A hold isn't worn down by later commits, and doesn't bar them.
    #[test]
    fn pins_that_are_held_stay_so_while_others_move() {
        let held = |ledger: &Ledger| ledger.held.as_ref().unwrap().change_limit.moved.len();
        let mut ledger = Ledger::new(commit('a'), prods(6, 0, 0));
        assert!(step(&mut ledger, 'b', &prods(6, 6, 1)).is_some());
        assert_eq!(held(&ledger), 7);
        // Four of the others in a commit of its own, and then again, to yet another version.
        assert!(step(&mut ledger, 'c', &prods(6, 6, 5)).is_some());
        assert_eq!(held(&ledger), 7, "of twelve that differ from what was accepted first");
        let mut third = prods(6, 6, 5);
        let b = Component::try_from("b").unwrap();
        for name in ["prod1", "prod2"] {
            third.get_mut(&EnvironmentName::try_from(name).unwrap()).unwrap().pins.insert(b.clone(), "3".to_owned());
        }
        assert!(step(&mut ledger, 'd', &third).is_some());
        assert_eq!(held(&ledger), 7);
        // Not being prod any more is no way out, nor is being removed.
        let mut undone = third.clone();
        undone.values_mut().for_each(|outline| outline.promoted = false);
        step(&mut ledger, 'e', &undone);
        step(&mut ledger, 'f', &undone);
        assert_eq!(held(&ledger), 7);
        let mut removed = third.clone();
        let prod0 = EnvironmentName::try_from("prod0").unwrap();
        removed.remove(&prod0);
        step(&mut ledger, '1', &removed);
        let change_limit = &ledger.held.as_ref().unwrap().change_limit;
        assert_eq!(change_limit.components(&prod0).count(), 2, "{change_limit:?}");
    }

    #[test]
    fn an_acknowledgement_is_a_word_on_a_line_of_its_own() {
        let trailer = |digit: char, value: &str, honored: bool| Trailer {
            commit: commit(digit),
            value: value.to_owned(),
            honored,
        };
        let of = |trailers: &[Trailer]| Acknowledgement::of(trailers);
        assert_eq!(of(&[trailer('a', "other\n Blast-Radius ", true)]), Acknowledgement::Given);
        assert_eq!(of(&[trailer('a', "no blast-radius", true), trailer('b', "", true)]), Acknowledgement::Missing);
        let forged = trailer('f', ACKNOWLEDGEMENT, false);
        assert_eq!(of(&[trailer('a', "other", true), forged.clone()]), Acknowledgement::Ignored(commit('f')));
        assert_eq!(of(&[forged, trailer('b', ACKNOWLEDGEMENT, true)]), Acknowledgement::Given);
    }
}
