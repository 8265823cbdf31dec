//! Who holds what, case by case; and over random histories: no resource is ever written for two targets.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::*;
use crate::model::{
    Account, AccountId, AmiQuery, AsgSpec, CommitId, Component, GroupName, Kind, LocalRef, Region, RoleArn,
    RolloutSettings, TargetSpec,
};
use crate::plan::change_limit::{Acknowledgement, ChangeLimits, Extent, Ledger, Outline};

/// An environment with targets of these names, each of them a group of one account.
fn environment(name: &str, targets: &[(&str, &str)]) -> Environment {
    let name = EnvironmentName::try_from(name).unwrap();
    let target = |(target, group): &(&str, &str)| {
        let local = LocalRef::new(Kind::Asg, target).unwrap();
        let target = Target {
            reference: local.within(&name),
            component: Component::try_from("web").unwrap(),
            spec: TargetSpec::Asg(AsgSpec {
                group: GroupName::try_from(*group).unwrap(),
                ami: AmiQuery::Name { name: "web".to_owned(), owner: None },
            }),
            after: BTreeSet::new(),
            rollout: RolloutSettings::default(),
            verify: Vec::new(),
            suspend: None,
            take_over: None,
            base: crate::model::BaseRevision::Running,
        };
        (local, target)
    };
    Environment {
        account: Account {
            id: AccountId::try_from("222222222222").unwrap(),
            region: Region::try_from("us-west-1").unwrap(),
            role: RoleArn::try_from("arn:aws:iam::222222222222:role/pinion").unwrap(),
            external_id: None,
        },
        promotion: None,
        targets: targets.iter().map(target).collect(),
        pins: BTreeMap::new(),
        held: BTreeMap::new(),
        shape_limit: None,
        name,
    }
}

/// The environment `name` with the group `web` alone.
fn web(name: &str) -> Environment {
    environment(name, &[("web", "web")])
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn commit(number: usize) -> CommitId {
    CommitId::try_from(format!("{number:040}")).unwrap()
}

fn named(owner: &str) -> Named {
    Named::try_from(owner.to_owned()).unwrap()
}

/// What a branch claims whose commits have had these environments.
fn branch(commits: &[&[&Environment]]) -> BranchClaims {
    let extent = |environments: &&[&Environment]| -> Extent {
        let outline = |it: &Environment| Outline { claims: it.claims(), ..Outline::default() };
        environments.iter().map(|it| (it.name.clone(), outline(it))).collect()
    };
    let mut commits = commits.iter();
    let mut last = commits.next().unwrap();
    let mut ledger = Ledger::new(commit(1), extent(last));
    for (number, next) in commits.enumerate() {
        let limits = ChangeLimits { removals: false, ..ChangeLimits::default() };
        ledger.step(commit(number + 2), extent(next), Acknowledgement::Missing, limits);
        last = next;
    }
    let environments = last.iter().map(|it| (it.name.clone(), Some(it.claims()))).collect();
    BranchClaims { environments, kept: BTreeSet::new(), since: ledger.since }
}

/// Branches that are called `first`, `second` and so on, of which nothing is read yet.
fn named_branches(coverages: impl IntoIterator<Item = Coverage>) -> Claims {
    let names = ["first", "second", "third"].map(str::to_owned);
    Claims::new(Installation::default(), names.into_iter().zip(coverages))
}

fn claims(branches: &[BranchClaims]) -> Claims {
    let mut claims = named_branches(branches.iter().map(|_| Coverage::All));
    for (place, branch) in branches.iter().enumerate() {
        claims.read(place, branch.clone());
    }
    claims
}

/// Whether an environment's target `web` holds its resource, where the marker names this owner.
fn check(claims: &Claims, environment: &Environment, marked: Option<&str>) -> Result<(), Refusal> {
    let target = &environment.targets[&LocalRef::new(Kind::Asg, "web").unwrap()];
    claims.check(environment, target, marked.map(named).as_ref(), now())
}

fn held(by: &str) -> Result<(), Refusal> {
    Err(Refusal::Held(TargetRef::try_from(by.to_owned()).unwrap()))
}

#[test]
fn of_two_environments_the_one_that_claimed_it_in_the_older_commit_holds_it() {
    let (prod, stage) = (web("prod"), web("a-stage"));
    let both = claims(&[branch(&[&[&prod], &[&prod, &stage]])]);
    assert_eq!(check(&both, &prod, None), Ok(()));
    assert_eq!(check(&both, &stage, None), held("prod/asg/web"));
    assert!(check(&both, &stage, None).unwrap_err().to_string().starts_with("held by prod/asg/web, which"));
    // Both in one commit: which one is to have it isn't ours to guess.
    let tied = claims(&[branch(&[&[&prod, &stage]])]);
    for environment in [&prod, &stage] {
        assert!(matches!(check(&tied, environment, None), Err(Refusal::Tied(_))));
    }
    // Unless the marker names one of them.
    assert_eq!(check(&tied, &stage, Some("pinion/a-stage/asg/web")), Ok(()));
    assert_eq!(check(&tied, &prod, Some("pinion/a-stage/asg/web")), held("a-stage/asg/web"));
}

#[test]
fn the_marker_counts_before_the_branch_and_the_branch_before_the_order_of_the_configuration() {
    let (prod, dev) = (web("prod"), web("dev"));
    let two = claims(&[branch(&[&[&dev]]), branch(&[&[&prod]])]);
    assert_eq!(check(&two, &dev, None), Ok(()), "the first in the configuration, where no marker says otherwise");
    assert_eq!(check(&two, &prod, None), held("dev/asg/web"));
    assert_eq!(check(&two, &prod, Some("pinion/prod/asg/web")), Ok(()));
    assert_eq!(check(&two, &dev, Some("pinion/prod/asg/web")), held("prod/asg/web"));
}

#[test]
fn what_the_holder_gives_up_passes_on_whatever_the_marker_says() {
    let (prod, production) = (web("prod"), web("production"));
    let renamed = claims(&[branch(&[&[&prod], &[&production]])]);
    assert_eq!(check(&renamed, &production, Some("pinion/prod/asg/web")), Ok(()));
    assert_eq!(check(&renamed, &prod, Some("pinion/prod/asg/web")), Err(Refusal::GivenUp), "a pass of what was before");
    let elsewhere = environment("prod", &[("web", "other")]);
    let moved = claims(&[branch(&[&[&prod], &[&elsewhere, &production]])]);
    assert_eq!(check(&moved, &production, Some("pinion/prod/asg/web")), Ok(()));
}

#[test]
fn what_a_change_limit_keeps_of_an_environment_ends_when_an_earlier_branch_feeds_it() {
    let (production, prod) = (web("production"), web("prod"));
    let kept = prod.claims().into_iter().map(|(local, claimed)| (claimed.resource, local.within(&prod.name))).collect();
    let limited = BranchClaims { kept, ..branch(&[&[&prod]]) };
    let marked = Some("pinion/prod/asg/web");
    let both = claims(&[branch(&[&[&production]]), limited.clone()]);
    assert_eq!(check(&both, &production, marked), held("prod/asg/web"));
    let elsewhere = environment("prod", &[("web", "other")]);
    let taken_over = claims(&[branch(&[&[&production, &elsewhere]]), limited]);
    assert_eq!(check(&taken_over, &production, marked), Ok(()));
}

#[test]
fn a_marker_of_what_is_not_read_or_never_was_good_is_waited_for() {
    let production = web("production");
    let marked = Some("pinion/prod/asg/web");
    let mut claims = named_branches([Coverage::All, Coverage::All]);
    claims.read(0, branch(&[&[&production]]));
    let unread = check(&claims, &production, marked).unwrap_err();
    assert!(matches!(unread, Refusal::Unread(_)) && unread.is_passing());
    assert_eq!(check(&claims, &production, None), Ok(()), "what no marker names goes on");
    let mut broken = branch(&[&[]]);
    broken.environments.insert(EnvironmentName::try_from("prod").unwrap(), None);
    claims.read(1, broken);
    let refusal = check(&claims, &production, marked).unwrap_err();
    assert!(matches!(refusal, Refusal::Broken(_)) && !refusal.is_passing());
    claims.read(1, branch(&[&[&web("other")]]));
    assert!(matches!(check(&claims, &production, marked), Ok(())), "prod is gone");
    // A branch that may not feed the environment has nothing to say about it.
    let only = Coverage::Only(BTreeSet::from([EnvironmentName::try_from("dev").unwrap()]));
    let mut claims = named_branches([Coverage::All, only]);
    claims.read(0, branch(&[&[&production]]));
    assert_eq!(check(&claims, &production, marked), Ok(()));
}

#[test]
fn what_no_marker_names_waits_for_an_earlier_branch_that_may_claim_it() {
    let (prod, dev, other) = (web("prod"), web("dev"), environment("other", &[("web", "other")]));
    let unread = || {
        let mut claims = named_branches([Coverage::All, Coverage::All, Coverage::All]);
        claims.read(1, branch(&[&[&dev]]));
        claims
    };
    let claims = unread();
    let refusal = check(&claims, &dev, None).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::Early { branch: "first".to_owned(), by: None },
        "a later branch is waited for by nobody"
    );
    assert!(refusal.is_passing() && refusal.to_string().contains("first, which comes before in pinion.toml"));
    assert_eq!(check(&claims, &dev, Some("pinion/dev/asg/web")), Ok(()), "what it has rolled out goes on");

    // What the branch was found to claim when it was last fetched counts, but gives nothing away.
    let mut claims = unread();
    claims.recall(0, branch(&[&[&prod]]));
    let by = prod.targets.values().next().map(|target| target.reference.clone());
    assert_eq!(check(&claims, &dev, None), Err(Refusal::Early { branch: "first".to_owned(), by }));
    claims.recall(0, branch(&[&[&other]]));
    assert_eq!(check(&claims, &dev, None), Ok(()), "it has nothing to do with this resource");
    let refusal = check(&claims, &dev, Some("pinion/prod/asg/web")).unwrap_err();
    assert!(matches!(refusal, Refusal::Unread(_)), "since then it may have got what the marker names: {refusal}");
    // The branch itself.
    claims.read(0, branch(&[&[&prod]]));
    assert_eq!(check(&claims, &dev, None), held("prod/asg/web"));
    claims.recall(0, branch(&[&[&other]]));
    assert_eq!(check(&claims, &dev, None), held("prod/asg/web"), "what is older counts no more");

    // What may feed no environment is no branch.
    let mut claims = named_branches([Coverage::Only(BTreeSet::new()), Coverage::All]);
    claims.read(1, branch(&[&[&dev]]));
    assert_eq!(check(&claims, &dev, None), Ok(()));
    let digest = claims.owner(&prod.targets.values().next().unwrap().reference).digest();
    assert!(matches!(check(&claims, &dev, Some(&digest)), Err(Refusal::Elsewhere(_))), "all there is has been read");
}

#[test]
fn another_installations_claim_passes_by_a_commit_of_the_claimant_only() {
    let mut prod = web("prod");
    let marked = Some("other/prod/asg/web");
    let refusal = check(&claims(&[branch(&[&[&prod]])]), &prod, marked).unwrap_err();
    assert!(refusal.to_string().contains("`take_over = \"other/prod/asg/web\"`"), "{refusal}");
    let taking = |prod: &mut Environment, from: &str| {
        prod.targets.values_mut().for_each(|target| target.take_over = Some(named(from)));
        claims(&[branch(&[&[prod]])])
    };
    assert!(check(&taking(&mut prod, "other/dev/asg/web"), &prod, marked).is_err(), "it names another one");
    assert_eq!(check(&taking(&mut prod, "other/prod/asg/web"), &prod, marked), Ok(()));
    // Within an installation it is no way to get hold of what another target claims.
    let dev = web("dev");
    taking(&mut prod, "pinion/dev/asg/web");
    let both = claims(&[branch(&[&[&dev], &[&dev, &prod]])]);
    assert_eq!(check(&both, &prod, Some("pinion/dev/asg/web")), held("dev/asg/web"));
}

#[test]
fn what_another_installation_took_over_isnt_ours_by_an_earlier_marker_of_ours() {
    let prod = web("prod");
    let target = prod.targets.values().next().unwrap().reference.clone();
    let resource = prod.claims().values().next().unwrap().resource.clone();
    let mut claims = claims(&[branch(&[&[&prod]])]);
    claims.begin(resource, target.clone());
    claims.end(&prod.name, &BTreeSet::from([target]), &BTreeSet::new(), now());
    // Just after it has taken the resource over, reads may still show the marker of the one before.
    assert_eq!(check(&claims, &prod, Some("other/prod/asg/web")), Ok(()));
    claims.read(0, branch(&[&[]]));
    claims.read(0, branch(&[&[&prod]]));
    let refusal = check(&claims, &prod, Some("other/prod/asg/web")).unwrap_err();
    assert!(matches!(refusal, Refusal::Elsewhere(_)), "it was given up, and another one has it: {refusal}");
    assert_eq!(check(&claims, &prod, Some("pinion/prod/asg/web")), Ok(()));
}

#[test]
fn an_owner_that_is_named_by_its_digest_is_known_all_the_same() {
    let (prod, dev) = (web("prod"), web("dev"));
    let both = claims(&[branch(&[&[&dev], &[&dev, &prod]])]);
    let digest = both.owner(&prod.targets.values().next().unwrap().reference).digest();
    assert_eq!(check(&both, &prod, Some(&digest)), Ok(()));
    assert_eq!(check(&both, &dev, Some(&digest)), held("prod/asg/web"));
    let refusal = check(&claims(&[branch(&[&[&dev]])]), &dev, Some(&digest)).unwrap_err();
    assert!(matches!(refusal, Refusal::Elsewhere(_)), "whose it was can't be told: {refusal}");
}

#[test]
fn nobody_writes_while_the_former_holders_call_is_in_flight_and_what_was_just_written_counts() {
    let (prod, dev) = (web("prod"), web("dev"));
    let resource = prod.claims().values().next().unwrap().resource.clone();
    let mut claims = claims(&[branch(&[&[&prod]]), branch(&[&[&dev]])]);
    assert_eq!(check(&claims, &prod, None), Ok(()));
    let target = prod.targets.values().next().unwrap().reference.clone();
    claims.begin(resource, target.clone());
    claims.read(0, branch(&[&[&web("production")]]));
    assert_eq!(check(&claims, &web("production"), None), Err(Refusal::Passing(target.clone())));
    let (own, none) = (BTreeSet::from([target.clone()]), BTreeSet::new());
    claims.end(&prod.name, &none, &own, now());
    assert_eq!(
        check(&claims, &web("production"), None),
        Err(Refusal::Passing(target.clone())),
        "AWS hasn't answered it"
    );
    claims.answered(&target, true, now());
    assert_eq!(check(&claims, &web("production"), None), Ok(()));
    // Its marker isn't shown yet, and yet it is the one that counts.
    claims.read(0, branch(&[&[]]));
    claims.read(1, branch(&[&[&dev], &[&dev, &prod]]));
    assert_eq!(check(&claims, &dev, None), held("prod/asg/web"));
}

#[test]
fn what_the_first_commits_of_a_long_branch_leave_open_is_found_before_them() {
    let (prod, stage) = (web("prod"), web("stage"));
    let claim = |it: &Environment| {
        (it.claims().values().next().unwrap().resource.clone(), it.targets.values().next().unwrap().reference.clone())
    };
    let both = BTreeSet::from([claim(&prod), claim(&stage)]);
    let mut since = Ancestry::default();
    since.step(&both);
    assert_eq!(since.undecided(), both);
    since.step_back(&both);
    assert_eq!(since.undecided(), both);
    since.step_back(&BTreeSet::from([claim(&stage)]));
    assert!(since.undecided().is_empty());
    let (resource, target) = claim(&stage);
    assert!(since.of(&resource, &target) < since.of(&resource, &claim(&prod).1));
    let mut tied = Ancestry::default();
    tied.step(&both);
    tied.step_back(&BTreeSet::new());
    assert!(tied.undecided().is_empty(), "both came with one commit");
}

#[test]
fn what_a_commit_gives_up_that_is_held_is_given_up_when_it_is_acknowledged() {
    let (prod, elsewhere) = (web("prod"), environment("prod", &[("web", "other")]));
    let resource = prod.claims().values().next().unwrap().resource.clone();
    let claim = (resource, prod.targets.values().next().unwrap().reference.clone());
    let pins =
        |version: &str| (0..6).map(|it| (Component::try_from(format!("c{it}")).unwrap(), version.to_owned())).collect();
    let extent = |it: &Environment, version: &str| -> Extent {
        [(it.name.clone(), Outline { promoted: true, pins: pins(version), claims: it.claims() })].into()
    };
    let mut ledger = Ledger::new(commit(1), extent(&prod, "1"));
    for number in 2..4 {
        ledger.step(commit(number), extent(&elsewhere, "2"), Acknowledgement::Missing, ChangeLimits::default());
        assert!(ledger.held.is_some() && ledger.claimed.contains(&claim), "commit {number} moves all of prod's pins");
    }
    ledger.step(commit(4), extent(&elsewhere, "2"), Acknowledgement::Given, ChangeLimits::default());
    assert!(ledger.held.is_none() && !ledger.claimed.contains(&claim));
}

/// What a commit does to a branch, or happens to the process.
#[derive(Debug, Clone)]
enum Step {
    /// Environment, and the group of its only target; `None`: the file is broken.
    Write(usize, usize, Option<usize>),
    /// The environment is removed, with or without an acknowledgement.
    Remove(usize, usize, bool),
    /// The whole folder of one environment gets another name.
    Rename(usize, usize, usize),
    /// The process reads a branch.
    Read(usize),
    /// The process ends, and another one starts that has read nothing, but finds where the branches were when they were
    /// fetched last, or doesn't.
    Restart(bool),
    /// Every target that may write does, and leaves a marker; these few only find what is right already.
    Pass(u8),
}

const ENVIRONMENTS: [&str; 4] = ["a", "b", "c", "d"];
const GROUPS: [&str; 2] = ["one", "two"];

fn step() -> impl Strategy<Value = Step> {
    let (branch, environment) = (0..2_usize, 0..ENVIRONMENTS.len());
    let group = prop::option::weighted(0.8, 0..GROUPS.len());
    prop_oneof![
        4 => (branch.clone(), environment.clone(), group).prop_map(|(b, e, g)| Step::Write(b, e, g)),
        1 => (branch.clone(), environment.clone(), any::<bool>()).prop_map(|(b, e, said)| Step::Remove(b, e, said)),
        1 => (branch.clone(), environment.clone(), environment).prop_map(|(b, from, to)| Step::Rename(b, from, to)),
        4 => branch.prop_map(Step::Read),
        1 => any::<bool>().prop_map(Step::Restart),
        4 => any::<u8>().prop_map(Step::Pass),
    ]
}

/// A branch as it is in truth. Each environment belongs to one branch: 0 and 1 to the first, 2 and 3 to the second, or to both.
#[derive(Clone, Default)]
struct Truth {
    files: BTreeMap<usize, Option<usize>>,
    /// Commits, the oldest first: what is in each, and whether it acknowledges.
    commits: Vec<(BTreeMap<usize, Option<usize>>, bool)>,
}

impl Truth {
    /// What the branch wants and claims, read from its first commit on.
    fn read(&self) -> (BTreeMap<usize, Environment>, BranchClaims) {
        let mut good: BTreeMap<usize, Environment> = BTreeMap::new();
        let mut accepted: BTreeMap<usize, Environment> = BTreeMap::new();
        let mut ledger: Option<Ledger> = None;
        for (number, (files, acknowledged)) in self.commits.iter().enumerate() {
            good.retain(|environment, _| files.contains_key(environment));
            for (environment, group) in files {
                if let Some(group) = group {
                    good.insert(
                        *environment,
                        self::environment(ENVIRONMENTS[*environment], &[("web", GROUPS[*group])]),
                    );
                }
            }
            let outline = |it: &Environment| Outline { claims: it.claims(), ..Outline::default() };
            let extent: Extent = good.values().map(|it| (it.name.clone(), outline(it))).collect();
            let word = if *acknowledged { Acknowledgement::Given } else { Acknowledgement::Missing };
            match &mut ledger {
                Some(ledger) => ledger.step(commit(number + 1), extent, word, ChangeLimits::default()),
                None => ledger = Some(Ledger::new(commit(number + 1), extent)),
            }
            if ledger.as_ref().is_some_and(|ledger| ledger.held.is_none()) {
                accepted = good.clone();
            }
        }
        let Some(ledger) = ledger else { return Default::default() };
        let mut wanted = good;
        for (environment, before) in accepted {
            wanted.entry(environment).or_insert(before);
        }
        let last = self.commits.last().map(|(files, _)| files.clone()).unwrap_or_default();
        let mut environments: BTreeMap<EnvironmentName, Option<EnvironmentClaims>> =
            wanted.values().map(|it| (it.name.clone(), Some(it.claims()))).collect();
        for environment in last.keys() {
            environments.entry(EnvironmentName::try_from(ENVIRONMENTS[*environment]).unwrap()).or_insert(None);
        }
        let kept = if ledger.held.is_some() { ledger.claimed.clone() } else { BTreeSet::new() };
        (wanted, BranchClaims { environments, kept, since: ledger.since })
    }
}

/// Who may write: the rule as it is, or one that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Sound,
    /// Each claimant may write.
    Nobodys,
    /// Markers don't count.
    Unmarked,
    /// What hasn't been read since the start holds nothing.
    Hasty,
    /// What hasn't been read since the start claims nothing.
    Early,
    /// An environment whose files are broken holds nothing.
    BrokenGivesUp,
    /// What a change limit holds back holds nothing.
    HeldGivesUp,
    /// A broken file ends its environment, as if it were gone: no last good state claims anything.
    NoLastGood,
}

impl Rule {
    const BROKEN: [Self; 7] = [
        Self::Nobodys,
        Self::Unmarked,
        Self::Hasty,
        Self::Early,
        Self::BrokenGivesUp,
        Self::HeldGivesUp,
        Self::NoLastGood,
    ];

    /// What a process with this rule keeps of what a branch claims.
    fn read(self, files: &BTreeMap<usize, Option<usize>>, mut claims: BranchClaims) -> BranchClaims {
        match self {
            Self::HeldGivesUp => {
                claims.kept.clear();
                claims.environments.retain(|name, _| files.keys().any(|it| ENVIRONMENTS[*it] == name.as_str()));
            }
            Self::NoLastGood => {
                let broken = |name: &EnvironmentName| {
                    files.iter().any(|(it, group)| group.is_none() && ENVIRONMENTS[*it] == name.as_str())
                };
                claims.environments.retain(|name, _| !broken(name));
            }
            _ => {}
        }
        claims
    }

    fn check(self, claims: &Claims, environment: &Environment, target: &Target, marked: Option<&Named>) -> bool {
        let marked = marked.filter(|_| self != Self::Unmarked);
        match claims.check(environment, target, marked, now()) {
            Ok(()) => true,
            Err(refusal) => match self {
                Self::Nobodys => refusal != Refusal::GivenUp,
                Self::Hasty => matches!(refusal, Refusal::Unread(_)),
                Self::Early => matches!(refusal, Refusal::Early { .. }),
                Self::BrokenGivesUp => matches!(refusal, Refusal::Broken(_)),
                _ => false,
            },
        }
    }
}

fn steps() -> impl Strategy<Value = (Vec<Step>, bool)> {
    (prop::collection::vec(step(), 1..60), any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_resource_is_ever_written_for_two_targets((steps, shared) in steps()) {
        let played = play(&steps, shared, Rule::Sound);
        prop_assert!(played.is_ok(), "{}", played.unwrap_err());
    }
}

/// How many histories are tried before a broken rule counts as not caught.
const FOR_BROKEN_RULES: usize = 40_000;

#[test]
fn each_broken_rule_of_who_holds_a_resource_is_caught() {
    for rule in Rule::BROKEN {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let caught = (1..=FOR_BROKEN_RULES).find(|_| {
            let (steps, shared) = steps().new_tree(&mut runner).unwrap().current();
            play(&steps, shared, rule).is_err()
        });
        assert!(caught.is_some(), "{rule:?}: nobody sees it");
    }
}

/// Plays a history, in which the processes have this rule: a resource that is written for two targets, if there is one.
fn play(steps: &[Step], shared: bool, rule: Rule) -> Result<(), String> {
    let mine = |branch: usize, environment: usize| shared || environment / 2 == branch;
    let coverage = |branch: usize| match shared {
        true => Coverage::All,
        false => Coverage::Only(
            (0..4)
                .filter(|it| it / 2 == branch)
                .map(|it| EnvironmentName::try_from(ENVIRONMENTS[it]).unwrap())
                .collect(),
        ),
    };
    let fresh = || named_branches((0..2).map(coverage));
    let mut truth = [Truth::default(), Truth::default()];
    let mut process = fresh();
    // What the process has read of each branch, which its environments' tasks go by.
    let mut wanted: [BTreeMap<usize, Environment>; 2] = Default::default();
    // All that any process has read last.
    let mut ever = fresh();
    let mut markers: BTreeMap<Resource, Named> = BTreeMap::new();
    let mut writers: BTreeMap<Resource, TargetRef> = BTreeMap::new();
    for step in steps.iter().cloned() {
        match step {
            Step::Write(branch, environment, group) if mine(branch, environment) => {
                truth[branch].files.insert(environment, group);
                let files = truth[branch].files.clone();
                truth[branch].commits.push((files, false));
            }
            Step::Remove(branch, environment, said) => {
                // Without any environment a commit is broken as a whole.
                if truth[branch].files.len() > 1 && truth[branch].files.remove(&environment).is_some() {
                    let files = truth[branch].files.clone();
                    truth[branch].commits.push((files, said));
                }
            }
            Step::Rename(branch, from, to) if mine(branch, to) => {
                if let Some(group) = truth[branch].files.remove(&from) {
                    truth[branch].files.insert(to, group);
                    let files = truth[branch].files.clone();
                    truth[branch].commits.push((files, false));
                }
            }
            Step::Write(..) | Step::Rename(..) => {}
            Step::Read(branch) if truth[branch].commits.is_empty() => {}
            Step::Read(branch) => {
                let (environments, claims) = truth[branch].read();
                let files = &truth[branch].commits.last().unwrap().0;
                ever.read(branch, claims.clone());
                process.read(branch, rule.read(files, claims));
                wanted[branch] = environments;
            }
            Step::Restart(finds) => {
                process = fresh();
                for (place, branch) in ever.branches.iter().enumerate().filter(|_| finds) {
                    if let Some(claims) = &branch.claims {
                        process.recall(place, claims.clone());
                    }
                }
                wanted = Default::default();
            }
            Step::Pass(converged) => {
                let mut holders: BTreeMap<Resource, TargetRef> = BTreeMap::new();
                for (branch, environments) in wanted.iter().enumerate() {
                    for (index, environment) in environments {
                        // The first branch that has an environment feeds it.
                        let first = process.branches[0].claims.as_ref();
                        if branch == 1 && shared && (first.is_none() || wanted[0].contains_key(index)) {
                            continue;
                        }
                        let target = environment.targets.values().next().unwrap();
                        let resource = target.spec.resource(&environment.account);
                        if !rule.check(&process, environment, target, markers.get(&resource)) {
                            continue;
                        }
                        let other = holders.insert(resource.clone(), target.reference.clone());
                        if let Some(other) = other {
                            return Err(format!("{other} and {} may write {resource} at once", target.reference));
                        }
                        if converged & (1 << index) != 0 {
                            continue;
                        }
                        // As far as anybody has ever read, no branch before this one claims what no marker names.
                        let claimants = ever.claimants(&resource);
                        let earlier = claimants.iter().find(|claimant| claimant.branch < branch);
                        if let Some(earlier) = earlier.filter(|_| !markers.contains_key(&resource)) {
                            let (now, earlier) = (&target.reference, &earlier.target);
                            return Err(format!("{resource} is written for {now}, and {earlier} comes before"));
                        }
                        markers.insert(resource.clone(), Named::Owner(process.owner(&target.reference)));
                        let before = writers.insert(resource.clone(), target.reference.clone());
                        if let Some(before) = before.filter(|before| *before != target.reference) {
                            // The former one had given it up, as far as anybody has read.
                            let claimants = ever.claimants(&resource);
                            if claimants.iter().any(|claimant| claimant.target == before) {
                                let now = &target.reference;
                                return Err(format!("{resource} is written for {now} while {before} claims it"));
                            }
                        }
                    }
                }
            }
        }
    }
    Ok(())
}
