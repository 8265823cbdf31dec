//! Rollouts that end badly: what they leave behind, what outlives its deadline, and what probes take back.

use super::services::{deployment, service};
use super::*;
use crate::guardrail::{Denial, Guardrails, Proposal};

fn bad() -> (u64, &'static str, Option<Marker>) {
    (2, "1.1", marker("1.1", 'b', "1"))
}

fn group_with(refreshes: &[Rollout]) -> (ObservedTarget, Option<RolloutHistory>) {
    let seen = groups::group(1, &[(1, "1.0", None), bad()], &[1, 2]);
    (seen, Some(groups::history(&[bad()], refreshes)))
}

fn planned(environment: &Environment, guardrails: &dyn Guardrails, refreshes: &[Rollout]) -> TargetPlan {
    let (seen, history) = group_with(refreshes);
    let observed = Observed {
        bases: BTreeMap::new(),
        identity: Some(Ok(environment.account.id.clone())),
        alarms: None,
        unasked: BTreeMap::new(),
        artifacts: artifacts(environment),
        targets: BTreeMap::from([(web(), Ok(seen))]),
        histories: history.into_iter().map(|history| (web(), Ok(history))).collect(),
    };
    let (memory, fleet) = (Memory::default(), Fleet::default());
    let input = Input {
        desired: environment,
        observed: &observed,
        memory: &memory,
        guardrails,
        fleet: &fleet,
        claims: &Claims::alone(environment),
        now: at(10),
    };
    plan(input).targets.remove(&web()).unwrap()
}

/// Forbids all but the healing of drift.
struct OnlyHealing;

impl Guardrails for OnlyHealing {
    fn check(&self, proposal: Proposal<'_>) -> Vec<Denial> {
        let denial = Denial { policy: "soak".to_owned(), reason: "too young".to_owned() };
        if proposal.heals { Vec::new() } else { vec![denial] }
    }
}

#[test]
fn a_guardrail_can_tell_healing_from_a_rollout() {
    use RolloutOutcome::Succeeded;
    let (same, next) = (environment(("1.1", 'b'), ("2.0", 'b')), environment(("1.1", 'c'), ("2.0", 'b')));
    let foreign = || groups::refresh("f", 1, Succeeded, 8);
    for (what, environment, refreshes, heals) in [
        ("nothing was rolled out yet", &same, vec![], false),
        ("this pin was, and somebody went back", &same, vec![foreign(), groups::refresh("r", 2, Succeeded, 5)], true),
        ("another commit's was", &next, vec![foreign(), groups::refresh("r", 2, Succeeded, 5)], false),
    ] {
        let plan = planned(environment, &OnlyHealing, &refreshes);
        assert_eq!(plan.action.is_some(), heals, "{what}: {}", line(&plan));
        assert_eq!((plan.state == State::Pending, plan.drifted), (!heals, heals), "{what}: {}", line(&plan));
    }
}

#[test]
fn the_way_back_of_a_group() {
    use RolloutOutcome::{Cancelled, Failed, Running, Succeeded};
    let bad_pin = environment(("1.1", 'b'), ("2.0", 'b'));
    let next_pin = environment(("1.2", 'c'), ("2.0", 'b'));
    let frozen = DenyAll { reason: "frozen".to_owned() };
    let failed = || groups::refresh("r", 2, Failed, 5);
    let back = |outcome| groups::refresh("back", 1, outcome, 6);
    type Row<'a> = (&'a str, &'a Environment, &'a dyn Guardrails, Vec<Rollout>);
    let table: [Row<'_>; 8] = [
        ("a mixed fleet", &bad_pin, &NoPolicies, vec![failed()]),
        ("a mixed fleet in a freeze", &bad_pin, &frozen, vec![failed()]),
        ("it is on its way back", &bad_pin, &NoPolicies, vec![back(Running), failed()]),
        ("it goes back while another pin is set", &next_pin, &NoPolicies, vec![back(Running), failed()]),
        ("the way back failed", &bad_pin, &NoPolicies, vec![back(Failed), failed()]),
        ("the way back was cancelled", &bad_pin, &NoPolicies, vec![back(Cancelled), failed()]),
        ("it went back, and somebody mixed it since", &bad_pin, &NoPolicies, vec![back(Succeeded), failed()]),
        ("another pin is set", &next_pin, &NoPolicies, vec![failed()]),
    ];
    let mut lines = String::new();
    for (name, environment, guardrails, refreshes) in table {
        lines += &format!("{name}: {}\n", line(&planned(environment, guardrails, &refreshes)));
    }
    insta::assert_snapshot!(lines, @r"
    a mixed fleet: quarantined (the rollout ended as Failed (r); what it left is brought back to 1; pin another version, or retry with `pinion resync --retry-quarantined`) => refresh the instances of group frontend to version 1 of frontend
    a mixed fleet in a freeze: quarantined (the rollout ended as Failed (r); versions are mixed, as the way back to 1 is forbidden by pinion:invalid-policies: frozen; pin another version, or retry with `pinion resync --retry-quarantined`)
    it is on its way back: quarantined (the rollout ended as Failed (r); what it left is on its way back to 1 (Running); pin another version, or retry with `pinion resync --retry-quarantined`)
    it goes back while another pin is set: pending (waits until what an earlier rollout left is back on 1: back (Running))
    the way back failed: quarantined (the rollout ended as Failed (r); versions are mixed, as the way back to 1 ended as Failed; pin another version, or retry with `pinion resync --retry-quarantined`)
    the way back was cancelled: quarantined (the rollout ended as Failed (r); versions are mixed, as the way back to 1 ended as Cancelled; pin another version, or retry with `pinion resync --retry-quarantined`)
    it went back, and somebody mixed it since: quarantined (the rollout ended as Failed (r); pin another version, or retry with `pinion resync --retry-quarantined`)
    another pin is set: rolling-out (getting ready) => create a version of launch template frontend from version 1 with ami-1.2
    ");

    let action = planned(&bad_pin, &NoPolicies, &[failed()]).action;
    let Some(Action::StartRefresh { preferences, .. }) = action else { panic!("{action:?}") };
    assert!(!preferences.auto_rollback && preferences.checkpoints.is_empty() && preferences.alarms.is_empty());
}

#[test]
fn what_aws_has_just_taken_back_is_looked_at_again_first() {
    let bad_pin = environment(("1.1", 'b'), ("2.0", 'b'));
    let with = |status: &str, ended: Timestamp| {
        let failed = groups::refresh("r", 2, RolloutOutcome::Failed, 5);
        let failed = Rollout { status: status.to_owned(), ended: Some(ended), ..failed };
        let plan = planned(&bad_pin, &NoPolicies, &[failed]);
        assert_eq!(plan.state, State::Quarantined);
        plan.action.is_some()
    };
    assert!(!with("RollbackSuccessful", at(10)), "the instances were read a moment before it ended");
    assert!(with("RollbackSuccessful", at(8)), "two minutes later they are still mixed: something else has done that");
    assert!(with("Failed", at(10)), "this one leaves them mixed");
}

#[test]
fn the_way_back_of_a_service() {
    use RolloutOutcome::{Failed, Running, Succeeded};
    let bad_pin = environment(("1.0", 'b'), ("2.1", 'b'));
    let ours = || marker("2.1", 'b', "api:1");
    let left = || service(2, "2.1", ours(), &[(2, true, "FAILED", 0), (1, false, "COMPLETED", 2)]);
    let back = || service(1, "2.0", None, &[(1, true, "IN_PROGRESS", 1), (2, false, "FAILED", 0)]);
    let there = || service(1, "2.0", None, &[(1, true, "COMPLETED", 2)]);
    let known = [(2, "2.1", ours())];
    let table = [
        ("left where it was stopped", left(), vec![deployment(2, Failed, 5)]),
        ("on its way back", back(), vec![deployment(1, Running, 6), deployment(2, Failed, 5)]),
        ("back again", there(), vec![deployment(1, Succeeded, 6), deployment(2, Failed, 5)]),
    ];
    let mut lines = String::new();
    for (name, seen, mut deployments) in table {
        for (index, one) in deployments.iter_mut().enumerate() {
            one.id = RolloutId(format!("d-{index}"));
        }
        let history = services::history(&known, &deployments);
        let plan = decide_one(&bad_pin, &api(), seen, Some(history), |_, _| {});
        lines += &format!("{name}: {}\n", line(&plan));
    }
    insta::assert_snapshot!(lines, @r"
    left where it was stopped: quarantined (the rollout ended as Failed (d-0); what it left is brought back to api:1; pin another version, or retry with `pinion resync --retry-quarantined`) => update service api in cluster app to api:1
    on its way back: quarantined (the rollout ended as Failed (d-1); what it left is on its way back to api:1 (Running); pin another version, or retry with `pinion resync --retry-quarantined`)
    back again: quarantined (the rollout ended as Failed (d-1); pin another version, or retry with `pinion resync --retry-quarantined`)
    ");
}

/// What ran before was deregistered, which `UpdateService` refuses: a copy of it is registered first, and only one.
#[test]
fn the_way_back_of_a_service_to_what_was_deregistered() {
    use RolloutOutcome::{Failed, Running, Succeeded};
    let bad_pin = environment(("1.0", 'b'), ("2.1", 'b'));
    let next_pin = environment(("1.0", 'b'), ("2.2", 'c'));
    let ours = || marker("2.1", 'b', "api:1");
    let copy = || marker("2.0", 'b', "api:1").map(|marker| Marker { from: Some("api:2".to_owned()), ..marker });
    let left = || service(2, "2.1", ours(), &[(2, true, "FAILED", 0), (1, false, "COMPLETED", 2)]);
    let back = || service(3, "2.0", copy(), &[(3, true, "IN_PROGRESS", 1), (2, false, "FAILED", 0)]);
    let there = |state| service(3, "2.0", copy(), &[(3, true, state, 2)]);
    let failed = || deployment(2, Failed, 5);
    let known = || vec![(2, "2.1", ours()), (1, "2.0", None)];
    let copied = || [vec![(3, "2.0", copy())], known()].concat();
    let twice = || [vec![(4, "2.0", copy())], copied()].concat();
    let others = || [vec![(3, "2.0", None)], known()].concat();
    let changed = || [vec![(3, "2.3", copy())], known()].concat();
    let none = Memory::default;
    let made = || Made { marker: copy().unwrap(), image: None, arn: services::arn(3) };
    let remembers = || Memory { made: BTreeMap::from([(api(), made())]), ..Memory::default() };
    let rolled = || Memory {
        made: BTreeMap::from([(
            api(),
            Made { marker: ours().unwrap(), image: Some(image("2.1")), arn: services::arn(2) },
        )]),
        ..Memory::default()
    };
    type Revisions = Vec<(u64, &'static str, Option<Marker>)>;
    type Row<'a> = (&'a str, &'a Environment, ObservedTarget, Revisions, Vec<Rollout>, Memory);
    let table: [Row<'_>; 12] = [
        ("left where it was stopped", &bad_pin, left(), known(), vec![failed()], rolled()),
        ("a copy is there, as after a restart", &bad_pin, left(), copied(), vec![failed()], none()),
        ("a copy was made, and isn't listed yet", &bad_pin, left(), known(), vec![failed()], remembers()),
        ("two are there", &bad_pin, left(), twice(), vec![failed()], remembers()),
        ("somebody else's revision has the image", &bad_pin, left(), others(), vec![failed()], none()),
        ("its tags are on another image", &bad_pin, left(), changed(), vec![failed()], none()),
        ("on its way back", &bad_pin, back(), copied(), vec![deployment(3, Running, 6), failed()], none()),
        ("back again", &bad_pin, there("COMPLETED"), copied(), vec![deployment(3, Succeeded, 6), failed()], none()),
        ("the way back failed", &bad_pin, there("FAILED"), copied(), vec![deployment(3, Failed, 6), failed()], none()),
        ("and left it there", &bad_pin, left(), copied(), vec![deployment(3, Failed, 6), failed()], none()),
        (
            "another pin is set meanwhile",
            &next_pin,
            back(),
            copied(),
            vec![deployment(3, Running, 6), failed()],
            none(),
        ),
        (
            "another pin is set then",
            &next_pin,
            there("COMPLETED"),
            copied(),
            vec![deployment(3, Succeeded, 6), failed()],
            none(),
        ),
    ];
    let mut lines = String::new();
    for (name, environment, seen, revisions, mut deployments, remembered) in table {
        for (index, one) in deployments.iter_mut().enumerate() {
            one.id = RolloutId(format!("d-{index}"));
        }
        let mut history = services::history(&revisions, &deployments);
        let RolloutHistory::Service { revisions, .. } = &mut history else { panic!("it is a service") };
        revisions.iter_mut().for_each(|revision| revision.active = !revision.arn.ends_with(":1"));
        let plan = decide_one(environment, &api(), seen, Some(history), |_, memory| *memory = remembered);
        lines += &format!("{name}: {}\n", line(&plan));
        if let Some(Action::CopyTaskDefinition { base, marker }) = plan.action {
            assert_eq!(base, services::arn(1), "{name}");
            let owner = marker.owner.clone();
            assert_eq!((Some(Marker { owner: None, ..marker }), owner.is_some()), (copy(), true), "{name}");
        }
    }
    insta::assert_snapshot!(lines, @r"
    left where it was stopped: quarantined (the rollout ended as Failed (d-0); what it left is brought back to api:1; pin another version, or retry with `pinion resync --retry-quarantined`) => register api:1 again, which is INACTIVE
    a copy is there, as after a restart: quarantined (the rollout ended as Failed (d-0); what it left is brought back to api:1; pin another version, or retry with `pinion resync --retry-quarantined`) => update service api in cluster app to api:3
    a copy was made, and isn't listed yet: quarantined (the rollout ended as Failed (d-0); what it left is brought back to api:1; pin another version, or retry with `pinion resync --retry-quarantined`) => update service api in cluster app to api:3
    two are there: quarantined (the rollout ended as Failed (d-0); what it left is brought back to api:1; pin another version, or retry with `pinion resync --retry-quarantined`) => update service api in cluster app to api:3
    somebody else's revision has the image: quarantined (the rollout ended as Failed (d-0); what it left is brought back to api:1; pin another version, or retry with `pinion resync --retry-quarantined`) => register api:1 again, which is INACTIVE
    its tags are on another image: quarantined (the rollout ended as Failed (d-0); what it left is brought back to api:1; pin another version, or retry with `pinion resync --retry-quarantined`) => register api:1 again, which is INACTIVE
    on its way back: quarantined (the rollout ended as Failed (d-1); what it left is on its way back to api:1 (Running); pin another version, or retry with `pinion resync --retry-quarantined`)
    back again: quarantined (the rollout ended as Failed (d-1); pin another version, or retry with `pinion resync --retry-quarantined`)
    the way back failed: quarantined (the rollout ended as Failed (d-1); pin another version, or retry with `pinion resync --retry-quarantined`)
    and left it there: quarantined (the rollout ended as Failed (d-1); versions are mixed, as the way back to api:1 ended as Failed; pin another version, or retry with `pinion resync --retry-quarantined`)
    another pin is set meanwhile: pending (waits until what an earlier rollout left is back on api:1: d-0 (Running))
    another pin is set then: rolling-out (getting ready) => register a revision of api:3 with registry/backend:2.2 in container app
    ");
}

/// The copy says what is in it: the version and the commit of what it is a copy of, where that is Pinion's own.
#[test]
fn a_copy_is_of_the_pin_that_ran_before() {
    let bad_pin = environment(("1.0", 'c'), ("2.1", 'c'));
    let (good, bad) = (marker("2.0", 'a', "api:1"), marker("2.1", 'c', "api:2"));
    let left = service(3, "2.1", bad.clone(), &[(3, true, "FAILED", 0), (2, false, "COMPLETED", 2)]);
    let copied = |tags: usize| {
        let deployments = [deployment(3, RolloutOutcome::Failed, 5), deployment(2, RolloutOutcome::Succeeded, 3)];
        let mut history = services::history(&[(3, "2.1", bad.clone()), (2, "2.0", good.clone())], &deployments);
        let RolloutHistory::Service { revisions, .. } = &mut history else { panic!("it is a service") };
        revisions[1].active = false;
        revisions[1].tags = tags;
        let plan = decide_one(&bad_pin, &api(), left.clone(), Some(history), |_, _| {});
        match plan.action {
            Some(Action::CopyTaskDefinition { base, marker }) => Some((base, marker)),
            None => None,
            Some(other) => panic!("{other}"),
        }
    };
    let (base, made) = copied(45).unwrap();
    assert_eq!((base, made.base.as_str(), made.from()), (services::arn(2), "api:2", "api:3"));
    assert_eq!((made.version.as_str(), &made.commit, made.owner.is_some()), ("2.0", &commit('a'), true));
    assert_eq!(copied(46).map(|(_, made)| made.owner), Some(None), "AWS allows 50 tags");
    assert_eq!(copied(47), None);
}

#[test]
fn whatever_outlives_its_deadline_is_overdue() {
    use RolloutOutcome::{Running, Succeeded, Undoing};
    let mut bad_pin = environment(("1.1", 'b'), ("2.1", 'b'));
    let mut next_pin = environment(("1.2", 'c'), ("2.1", 'b'));
    for environment in [&mut bad_pin, &mut next_pin] {
        environment.targets.values_mut().for_each(|target| target.rollout.deadline = SHORT);
    }
    let old = |outcome| groups::refresh("r", 2, outcome, 0);
    let mut lines = String::new();
    for (name, environment, outcome) in [
        ("it runs", &bad_pin, Running),
        ("it is rolled back", &bad_pin, Undoing),
        ("the pin has moved on, and it doesn't stop", &next_pin, Undoing),
    ] {
        lines += &format!("{name}: {}\n", line(&planned(environment, &NoPolicies, &[old(outcome)])));
    }
    let ours = marker("2.1", 'b', "api:1");
    let stopping = service(2, "2.1", ours, &[(2, true, "COMPLETED", 2), (1, false, "COMPLETED", 1)]);
    let history = services::history(&[], &[deployment(2, Succeeded, 0)]);
    let plan = decide_one(&bad_pin, &api(), stopping, Some(history), |_, _| {});
    lines += &format!("old tasks don't stop: {}\n", line(&plan));
    insta::assert_snapshot!(lines, @r"
    it runs: overdue (still Running after the deadline of 5m; it is left running)
    it is rolled back: overdue (still Undoing after the deadline of 5m; it is left running)
    the pin has moved on, and it doesn't stop: overdue (the pin has moved on, but its rollout is still Undoing after the deadline of 5m)
    old tasks don't stop: overdue (still stopping old tasks after the deadline of 5m; it is left running)
    ");
}

#[test]
fn what_was_deregistered_is_not_rolled_out_and_of_two_the_oldest_is() {
    let environment = environment(("1.0", 'b'), ("2.1", 'b'));
    let at_rest = || service(1, "2.0", None, &[(1, true, "COMPLETED", 2)]);
    let ours = || marker("2.1", 'b', "api:1");
    let step = |active: &dyn Fn(&str) -> bool| {
        let mut history = services::history(&[(3, "2.1", ours()), (2, "2.1", ours())], &[]);
        let RolloutHistory::Service { revisions, .. } = &mut history else { panic!("it is a service") };
        revisions.iter_mut().for_each(|revision| revision.active = active(&revision.arn));
        decide_one(&environment, &api(), at_rest(), Some(history), |_, _| {}).action.unwrap().to_string()
    };
    assert_eq!(step(&|_| true), "update service api in cluster app to api:2");
    assert_eq!(step(&|arn| !arn.ends_with(":2")), "update service api in cluster app to api:3");
    assert!(step(&|_| false).starts_with("register a revision of api:1"));
}

#[test]
fn a_pin_that_no_commit_answers_for_is_blocked() {
    let mut environment = environment(("1.1", 'b'), ("2.0", 'b'));
    let artifacts = artifacts(&environment);
    environment.pins.clear();
    let observed = Observed {
        bases: BTreeMap::new(),
        identity: Some(Ok(environment.account.id.clone())),
        alarms: None,
        unasked: BTreeMap::new(),
        artifacts,
        targets: BTreeMap::from([(web(), Ok(groups::group(1, &[(1, "1.0", None)], &[1, 1])))]),
        histories: BTreeMap::new(),
    };
    let (memory, fleet) = (Memory::default(), Fleet::default());
    let input = Input {
        desired: &environment,
        observed: &observed,
        memory: &memory,
        guardrails: &NoPolicies,
        fleet: &fleet,
        claims: &Claims::alone(&environment),
        now: at(10),
    };
    let plan = plan(input).targets.remove(&web()).unwrap();
    assert_eq!((plan.state, &plan.action), (State::Blocked, &None));
    assert!(line(&plan).contains("set the pin by a commit of its own"), "{}", line(&plan));
}

#[test]
fn what_aws_refuses_is_not_asked_for_each_second() {
    let environment = environment(("1.1", 'b'), ("2.0", 'b'));
    let seen = || groups::group(1, &[(1, "1.0", None)], &[1, 1]);
    let first = decide_one(&environment, &web(), seen(), Some(groups::history(&[], &[])), |_, _| {});
    let action = first.action.unwrap();
    // Refused at these seconds before the decision; whether it is asked for again.
    for (class, refusals, asked) in [
        (ErrorClass::Invalid, vec![1], false),
        (ErrorClass::Invalid, vec![5], true),
        (ErrorClass::Invalid, vec![14, 9], false),
        (ErrorClass::Invalid, vec![20, 10], true),
        (ErrorClass::Invalid, vec![899; 30], false),
        (ErrorClass::Invalid, vec![900; 30], true),
        (ErrorClass::Denied, vec![1], false),
        (ErrorClass::Denied, vec![60; 30], true),
        (ErrorClass::Retry, vec![1], true),
        (ErrorClass::Conflict, vec![1], true),
        (ErrorClass::Invalid, vec![-100_000], true),
    ] {
        let plan = decide_one(&environment, &web(), seen(), Some(groups::history(&[], &[])), |_, memory| {
            for before in &refusals {
                let at = at(10) - jiff::SignedDuration::from_secs(*before);
                memory.answered(&web(), &action, Some(&failed(class)), at);
            }
        });
        assert_eq!(plan.action.is_some(), asked, "{class:?} {refusals:?}: {}", line(&plan));
        assert_eq!(plan.state == State::Blocked, !asked);
    }
    // Another change of the group is pending: no reason to call it blocked, and none to ask for it each second.
    for (before, asked) in [(1, false), (5, true)] {
        let plan = decide_one(&environment, &web(), seen(), Some(groups::history(&[], &[])), |_, memory| {
            let contention = PortError { code: "ResourceContention".to_owned(), ..failed(ErrorClass::Conflict) };
            let at = at(10) - jiff::SignedDuration::from_secs(before);
            memory.answered(&web(), &action, Some(&contention), at);
        });
        assert_eq!((plan.action.is_some(), plan.state), (asked, State::RollingOut), "{}", line(&plan));
        assert_eq!(matches!(plan.reason, Some(Reason::WriteFailed(_))), !asked, "{}", line(&plan));
    }
    let accepted = decide_one(&environment, &web(), seen(), Some(groups::history(&[], &[])), |_, memory| {
        memory.answered(&web(), &action, Some(&failed(ErrorClass::Invalid)), at(10));
        memory.answered(&web(), &action, None, at(10));
    });
    assert!(accepted.action.is_some());
    let mut next = environment.clone();
    next.pins.values_mut().for_each(|pin| pin.provenance.commit = commit('c'));
    let another = decide_one(&next, &web(), seen(), Some(groups::history(&[], &[])), |_, memory| {
        memory.answered(&web(), &action, Some(&failed(ErrorClass::Invalid)), at(10));
    });
    assert!(another.action.is_some(), "another commit is another request");
}
