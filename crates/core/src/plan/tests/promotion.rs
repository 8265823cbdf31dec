//! Versions that have to soak elsewhere first.

use super::*;
use crate::guardrail::Member;

fn dev(name: &str) -> TargetRef {
    TargetRef::try_from(format!("dev/asg/{name}")).unwrap()
}

/// A target of dev with a version, in a state, in sync since some minute.
fn member(component: &str, version: &str, state: State, since: Option<i64>) -> Member {
    let pin = pin(component, version, 'd');
    Member { in_sync_since: since.map(at), ..Member::pinned(&pin, state) }
}

fn ran(version: &str, since: i64, until: i64) -> Run {
    Run { version: Version::try_from(version).unwrap(), digest: None, since: at(since), until: at(until) }
}

fn fleet(members: Vec<Member>) -> Fleet {
    let mut fleet = Fleet::default();
    let named = members.into_iter().enumerate().map(|(at, member)| (dev(&format!("t{at}")), member));
    fleet.set(&EnvironmentName::try_from("dev").unwrap(), named);
    fleet
}

/// Prod, where the frontend is to go from 1.0 to 1.1, and what a version has to do in dev first. It is minute 200.
fn planned(mode: PromotionMode, soak: u64, fleet: &Fleet, refreshes: &[Rollout]) -> TargetPlan {
    let mut environment = environment(("1.1", 'b'), ("2.0", 'b'));
    let (from, soak) = (EnvironmentName::try_from("dev").unwrap(), Duration::from_secs(soak * 60));
    environment.promotion = Some(Promotion { from, soak, mode });
    let versions = [(2, "1.1", marker("1.1", 'a', "1")), (3, "1.0", marker("1.0", 'c', "2"))];
    let versions = if refreshes.is_empty() { &versions[..0] } else { &versions[..] };
    let seen = match refreshes {
        [] => groups::group(1, &[(1, "1.0", None)], &[1, 1]),
        _ => groups::group(3, &[(3, "1.0", marker("1.0", 'c', "2"))], &[3, 3]),
    };
    let observed = Observed {
        bases: BTreeMap::new(),
        identity: Some(Ok(environment.account.id.clone())),
        alarms: None,
        unasked: BTreeMap::new(),
        artifacts: artifacts(&environment),
        targets: BTreeMap::from([(web(), Ok(seen))]),
        histories: BTreeMap::from([(web(), Ok(groups::history(versions, refreshes)))]),
    };
    let input = Input {
        desired: &environment,
        observed: &observed,
        memory: &Memory::default(),
        guardrails: &NoPolicies,
        fleet,
        claims: &Claims::alone(&environment),
        now: at(200),
    };
    plan(input).targets.remove(&web()).unwrap()
}

#[test]
fn a_version_soaks_where_it_is_promoted_from() {
    use State::{InSync, Quarantined, RollingOut, Unknown};
    let with_runs = |version: &str, runs: Vec<Run>| Member { runs, ..member("frontend", version, InSync, Some(150)) };
    let table = [
        ("nothing is known of dev", vec![]),
        ("dev has no such component", vec![member("backend", "2.0", InSync, Some(10))]),
        ("in sync for long", vec![member("frontend", "1.1", InSync, Some(100))]),
        ("in sync for a moment", vec![member("frontend", "1.1", InSync, Some(190))]),
        (
            "one of two is not",
            vec![member("frontend", "1.1", InSync, Some(100)), member("frontend", "1.1", InSync, Some(180))],
        ),
        (
            "one of two rolls out",
            vec![member("frontend", "1.1", InSync, Some(190)), member("frontend", "1.1", RollingOut, None)],
        ),
        ("quarantined", vec![member("frontend", "1.1", Quarantined, None)]),
        (
            "it failed there, and ran well before",
            vec![Member { runs: vec![ran("1.1", 30, 140)], ..member("frontend", "1.1", Quarantined, None) }],
        ),
        ("can't be read now", vec![member("frontend", "1.1", Unknown, None)]),
        ("dev is behind", vec![member("frontend", "1.0", InSync, Some(10))]),
        ("dev has moved on", vec![with_runs("1.2", vec![ran("1.1", 30, 140)])]),
        ("dev moved on soon", vec![with_runs("1.2", vec![ran("1.1", 130, 140)])]),
    ];
    let mut lines = String::new();
    for (what, members) in table {
        let fleet = fleet(members);
        let [required, informed] =
            [PromotionMode::Require, PromotionMode::Inform].map(|mode| planned(mode, 60, &fleet, &[]));
        assert_eq!(informed.state, RollingOut, "{what}: {}", line(&informed));
        assert!(
            required.state == RollingOut || (required.state, &required.action) == (State::Pending, &None),
            "{what}"
        );
        let said = required.reason.map_or_else(String::new, |reason| reason.to_string());
        let warned = said.replacen("held by ", "", 1);
        let unread = said.ends_with("what runs in dev");
        assert_eq!(
            informed.warnings.first(),
            (required.state == State::Pending && !unread).then_some(&warned),
            "{what}"
        );
        lines += &format!("{what}: {said}\n");
    }
    insta::assert_snapshot!(lines, @r"
    nothing is known of dev: held by [promotion]: it isn't known what runs in dev
    dev has no such component: getting ready
    in sync for long: getting ready
    in sync for a moment: held by [promotion]: 1.1 is in sync in dev, and will have soaked at 2027-01-15T12:10:00Z
    one of two is not: held by [promotion]: 1.1 is in sync in dev, and will have soaked at 2027-01-15T12:00:00Z
    one of two rolls out: held by [promotion]: 1.1 isn't in sync in dev: dev/asg/t1 is rolling-out
    quarantined: held by [promotion]: 1.1 is quarantined in dev: dev/asg/t0
    it failed there, and ran well before: held by [promotion]: 1.1 is quarantined in dev: dev/asg/t0
    can't be read now: held by [promotion]: it isn't known what runs in dev
    dev is behind: held by [promotion]: 1.1 isn't known to have been in sync in dev for 1h: dev/asg/t0 has 1.0 pinned
    dev has moved on: getting ready
    dev moved on soon: held by [promotion]: 1.1 isn't known to have been in sync in dev for 1h: dev/asg/t0 has 1.2 pinned
    ");
}

#[test]
fn without_a_soak_it_is_enough_to_have_been_in_sync() {
    for (members, free) in [
        (vec![member("frontend", "1.1", State::InSync, Some(200))], true),
        (vec![Member { runs: vec![ran("1.1", 30, 30)], ..member("frontend", "1.2", State::Quarantined, None) }], true),
        (vec![member("frontend", "1.1", State::Verifying, None)], false),
    ] {
        let plan = planned(PromotionMode::Require, 0, &fleet(members), &[]);
        assert_eq!(plan.action.is_some(), free, "{}", line(&plan));
    }
}

#[test]
fn what_has_run_here_well_waits_for_no_other_environment() {
    let behind = fleet(vec![member("frontend", "0.9", State::InSync, Some(10))]);
    let ended = |refresh: Rollout, minute| Rollout { ended: Some(at(minute)), ..refresh };
    let well = ended(groups::refresh("r", 2, RolloutOutcome::Succeeded, 5), 20);
    let now = ended(groups::refresh("s", 3, RolloutOutcome::Succeeded, 100), 110);
    let plan = planned(PromotionMode::Require, 60, &behind, &[now.clone(), well.clone()]);
    assert!(plan.action.is_some(), "{}", line(&plan));
    // Its time in between is known from what AWS remembers, and that of what still runs.
    assert_eq!(plan.runs, [ran("1.0", 110, 200), ran("1.1", 20, 100)]);
    // Nor is it warned of.
    let plan = planned(PromotionMode::Inform, 60, &behind, &[now, well]);
    assert_eq!(plan.warnings, Vec::<String>::new());
}

#[test]
fn what_was_in_sync_is_remembered_when_the_pin_moves_on() {
    let environment = environment(("1.1", 'b'), ("2.0", 'b'));
    let target = &environment.targets[&web()];
    let settled = |version: &str, minute: i64, state: State, before: Option<&TargetState>, runs: &[Run]| {
        let seen = groups::group(1, &[(1, "1.0", None)], &[1, 1]);
        let plan = decide_one(&environment, &web(), seen, Some(groups::history(&[], &[])), |_, _| {});
        let plan = TargetPlan { state, runs: runs.to_vec(), action: None, ..plan };
        let pin = pin("frontend", version, 'b');
        settle(Pass { target, pin: &pin, seen: None, plan: &plan, outcome: None, now: at(minute) }, before)
    };
    let first = settled("1.0", 0, State::InSync, None, &[ran("0.9", -20, -10)]);
    assert_eq!(first.runs, [ran("0.9", -20, -10)]);
    let second = settled("1.1", 30, State::RollingOut, Some(&first), &[]);
    assert_eq!(second.runs, [ran("1.0", 0, 30), ran("0.9", -20, -10)]);
    // What AWS says of the same time is no other time.
    let third = settled("1.1", 31, State::InSync, Some(&second), &[ran("1.0", -1, 29)]);
    assert_eq!(third.runs, second.runs);
    // A failed version was never in sync.
    let fourth = settled("1.2", 40, State::RollingOut, Some(&third), &[]);
    let fifth = settled("1.3", 50, State::RollingOut, Some(&fourth), &[]);
    let versions: Vec<&str> = fifth.runs.iter().map(|run| run.version.as_str()).collect();
    assert_eq!(versions, ["1.1", "1.0", "0.9"]);
}

#[test]
fn what_git_wants_and_nobody_has_seen_yet_holds() {
    let mut prod = environment(("1.1", 'b'), ("2.0", 'b'));
    let mut wanted = prod.targets.remove(&web()).unwrap();
    wanted.reference = dev("t0");
    let mut fleet = fleet(vec![member("backend", "2.0", State::InSync, Some(10))]);
    assert_eq!(planned(PromotionMode::Require, 0, &fleet, &[]).state, State::RollingOut);
    let name = EnvironmentName::try_from("dev").unwrap();
    fleet.expect(&name, [&wanted], at(0));
    let plan = planned(PromotionMode::Require, 0, &fleet, &[]);
    assert_eq!(line(&plan), "pending (held by [promotion]: it isn't known what runs in dev)");
    fleet.set(&name, [(dev("t0"), member("frontend", "1.1", State::InSync, Some(10)))]);
    assert_eq!(planned(PromotionMode::Require, 0, &fleet, &[]).state, State::RollingOut);
    fleet.forget(&name);
    fleet.set(&name, [(dev("t1"), member("backend", "2.0", State::InSync, Some(10)))]);
    assert_eq!(planned(PromotionMode::Require, 0, &fleet, &[]).state, State::RollingOut);
}

#[test]
fn only_the_time_that_was_seen_counts() {
    let environment = environment(("1.1", 'b'), ("2.0", 'b'));
    let settled = |version: &str, minute: i64, state: State, probed: bool, before: Option<&TargetState>| {
        let seen = groups::group(1, &[(1, "1.0", None)], &[1, 1]);
        let plan = decide_one(&environment, &web(), seen, Some(groups::history(&[], &[])), |_, _| {});
        let plan = TargetPlan { state, runs: vec![ran("0.9", -20, -10)], action: None, ..plan };
        let (mut target, pin) = (environment.targets[&web()].clone(), pin("frontend", version, 'b'));
        if probed {
            target.verify.push(probes::probe());
        }
        settle(Pass { target: &target, pin: &pin, seen: None, plan: &plan, outcome: None, now: at(minute) }, before)
    };
    // AWS doesn't know what probes said.
    assert_eq!(settled("1.0", 0, State::InSync, true, None).runs, []);
    let first = settled("1.0", 0, State::InSync, false, None);
    // While the account can't be read nothing is known, whatever is pinned then.
    let unread = settled("1.0", 30, State::Unknown, false, Some(&first));
    let moved = settled("1.1", 90, State::Unknown, false, Some(&unread));
    assert_eq!(moved.runs.first(), Some(&ran("1.0", 0, 0)));
    // What is switched off was in sync until then.
    let suspended = settled("1.0", 30, State::Suspended, false, Some(&first));
    assert_eq!(suspended.runs.first(), Some(&ran("1.0", 0, 30)));
    // A digest that is added is no other version.
    let mut pinned = first.clone();
    pinned.pin.digest = Some(Digest::try_from(format!("sha256:{}", "a".repeat(64)).as_str()).unwrap());
    assert_eq!(settled("1.0", 40, State::InSync, false, Some(&pinned)).in_sync_since, Some(at(0)));
}
