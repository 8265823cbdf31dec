//! What is a failure of a pin, what isn't, how long it is remembered, and where the way out leads.

use super::groups::{group, refresh};
use super::services::{arn, deployment, service};
use super::*;
use crate::model::RolloutOutcome::{Cancelled, Failed, Running, Succeeded, Undoing};

const DAY: i64 = 1_440;

/// The frontend's pin is 1.1, and the backend's 2.1, both set by commit b.
fn pinned() -> Environment {
    environment(("1.1", 'b'), ("2.1", 'b'))
}

fn at_rest() -> ObservedTarget {
    service(1, "2.0", None, &[(1, true, "COMPLETED", 2)])
}

fn ours() -> Option<Marker> {
    marker("2.1", 'b', "api:1")
}

/// The group's history in which version 2 was made for the pin, changed.
fn forgotten_group(change: impl Fn(&mut TemplateVersion, &mut Vec<Rollout>, &mut bool)) -> RolloutHistory {
    let mut made = groups::version_of(2, "1.1", marker("1.1", 'b', "1"));
    let (mut refreshes, mut complete) = (Vec::new(), true);
    change(&mut made, &mut refreshes, &mut complete);
    RolloutHistory::Group { refreshes, versions: vec![made], users: Some(Vec::new()), complete }
}

/// The same of the service, in which revision 2 was made for the pin.
fn forgotten_service(change: impl Fn(&mut TaskDefinition, &mut Vec<Rollout>, &mut bool)) -> RolloutHistory {
    let mut history = services::history(&[(2, "2.1", ours())], &[]);
    let RolloutHistory::Service { deployments, revisions, complete } = &mut history else { unreachable!() };
    change(&mut revisions[0], deployments, complete);
    history
}

#[test]
fn what_aws_has_forgotten_is_not_tried_again() {
    let environment = pinned();
    let of_group =
        |history| decide_one(&environment, &web(), group(1, &[(1, "1.0", None)], &[1, 1]), Some(history), |_, _| {});
    let of_service = |history| decide_one(&environment, &api(), at_rest(), Some(history), |_, _| {});
    let unknown = |minute| Rollout { target: RolloutTarget::Unknown, ..refresh("u", 0, Failed, minute) };
    let other = |minute| Rollout { target: RolloutTarget::Other, ..refresh("o", 0, Failed, minute) };
    let undated = Rollout { started: None, ..unknown(0) };
    type Change<'a> = &'a dyn Fn(&mut Option<Timestamp>, &mut Vec<Rollout>, &mut bool);
    let table: [(&str, bool, Change<'_>); 8] = [
        ("it was only made", true, &|_, _, _| {}),
        ("it is older than AWS's memory", false, &|made, _, _| *made = Some(at(-100 * DAY))),
        ("it has no date", false, &|made, _, _| *made = None),
        ("the list isn't whole", false, &|_, _, complete| *complete = false),
        ("AWS doesn't say what was rolled out since", false, &|_, rollouts, _| rollouts.push(unknown(5))),
        ("nor when that was", false, &|_, rollouts, _| rollouts.push(undated.clone())),
        ("that was before the pin was set", true, &|_, rollouts, _| rollouts.push(unknown(-5))),
        ("that was none of Pinion's", true, &|_, rollouts, _| rollouts.push(other(5))),
    ];
    for (what, goes_on, change) in table {
        let plans = [
            of_group(forgotten_group(|made, rollouts, complete| change(&mut made.made, rollouts, complete))),
            of_service(forgotten_service(|made, rollouts, complete| change(&mut made.made, rollouts, complete))),
        ];
        for plan in plans {
            assert_eq!(plan.action.is_some(), goes_on, "{what}: {}", line(&plan));
            assert_eq!(plan.state == State::Quarantined, !goes_on, "{what}: {}", line(&plan));
        }
    }
    // Groups are remembered for six weeks, services for ninety days.
    let weeks = |made: &mut Option<Timestamp>| *made = Some(at(-40 * DAY));
    assert_eq!(of_group(forgotten_group(|made, _, _| weeks(&mut made.made))).action, None);
    assert!(of_service(forgotten_service(|made, _, _| weeks(&mut made.made))).action.is_some());
    let plan = of_service(forgotten_service(|made, _, _| made.made = Some(at(-100 * DAY))));
    insta::assert_snapshot!(line(&plan), @"quarantined (the outcome isn't known any more: a rollout of api:2 may have failed, and that is older than AWS's memory of rollouts; pin another version, or retry with `pinion resync --retry-quarantined`)");
}

#[test]
fn what_was_forgotten_is_tried_after_another_commit_or_a_retry() {
    let old = || forgotten_service(|made, _, _| made.made = Some(at(-100 * DAY)));
    let planned = |environment: &Environment, change: &dyn Fn(&mut Memory)| {
        decide_one(environment, &api(), at_rest(), Some(old()), |_, memory| change(memory))
    };
    assert_eq!(planned(&pinned(), &|_| {}).state, State::Quarantined);
    assert!(planned(&environment(("1.1", 'b'), ("2.1", 'c')), &|_| {}).action.is_some());
    assert!(planned(&pinned(), &|memory| memory.retry(&pinned(), BTreeMap::new(), at(9))).action.is_some());
    let converged = Converged {
        base: None,
        commit: commit('b'),
        version: Version::try_from("2.1").unwrap(),
        artifact: image("2.1"),
        sought: None,
    };
    let healed = planned(&pinned(), &|memory| drop(memory.converged.insert(api(), converged.clone())));
    assert!(healed.action.is_some() && healed.drifted, "this process saw it run well: {}", line(&healed));
}

/// A revision that was deregistered and deleted, or that `failures[]` names in a good answer.
#[test]
fn a_rollout_to_what_is_gone_may_have_been_this_pins() {
    let environment = pinned();
    let planned = |rollouts: &[Rollout]| {
        let history = services::history(&[], rollouts);
        decide_one(&environment, &api(), at_rest(), Some(history), |_, _| {})
    };
    let gone = |outcome, minute| Rollout { target: RolloutTarget::Unknown, ..deployment(2, outcome, minute) };
    for (what, rollout, tried) in [
        ("it failed since the pin was set", gone(Failed, 5), true),
        ("its revision isn't known any more", deployment(7, Failed, 5), true),
        ("it ended well", gone(Succeeded, 5), false),
        ("it was before the pin", gone(Failed, -5), false),
        ("it was none of Pinion's", Rollout { target: RolloutTarget::Other, ..gone(Failed, 5) }, false),
    ] {
        let plan = planned(&[rollout]);
        assert_eq!(plan.state == State::Quarantined, tried, "{what}: {}", line(&plan));
        assert_eq!(plan.action.is_none(), tried, "{what}: {}", line(&plan));
    }
}

/// This process has seen it fail: what AWS says later doesn't change that.
#[test]
fn a_process_remembers_what_it_quarantined() {
    let environment = pinned();
    let known = services::history(&[(2, "2.1", ours())], &[deployment(2, Failed, 5)]);
    let failed = decide_one(&environment, &api(), at_rest(), Some(known), |_, _| {});
    let mut memory = Memory::default();
    memory.note(&environment, &Plan { targets: BTreeMap::from([(api(), failed)]), ..Plan::default() });
    let empty = |memory: &Memory| {
        let memory = memory.clone();
        decide_one(&environment, &api(), at_rest(), Some(services::history(&[], &[])), |_, held| *held = memory)
    };
    let plan = empty(&memory);
    assert_eq!((plan.state, &plan.action), (State::Quarantined, &None), "{}", line(&plan));
    memory.retry(&environment, BTreeMap::new(), at(9));
    assert!(empty(&memory).action.is_some());
}

#[test]
fn a_later_failure_of_what_has_succeeded_is_no_attempt() {
    let environment = pinned();
    let forced = |running| service(2, "2.1", ours(), &[(2, true, "FAILED", 0), (2, false, "COMPLETED", running)]);
    let repeats = || Rollout { repeats: true, ..deployment(2, Failed, 9) };
    let mut lines = String::new();
    for (name, seen, rollouts) in [
        ("both are remembered", forced(2), vec![deployment(2, Failed, 9), deployment(2, Succeeded, 5)]),
        ("the first is forgotten", forced(2), vec![repeats()]),
        ("nothing is listed", forced(2), vec![]),
        ("a task has died since", forced(1), vec![repeats()]),
        (
            "it came from another revision",
            service(2, "2.1", ours(), &[(2, true, "FAILED", 0), (1, false, "COMPLETED", 2)]),
            vec![deployment(2, Failed, 9)],
        ),
    ] {
        let history = services::history(&[], &rollouts);
        let plan = decide_one(&environment, &api(), seen, Some(history), |_, _| {});
        lines += &format!("{name}: {} {:?}\n", line(&plan), plan.warnings.len());
    }
    insta::assert_snapshot!(lines, @r"
    both are remembered: in-sync 1
    the first is forgotten: in-sync 1
    nothing is listed: in-sync 1
    a task has died since: blocked (a new deployment of what runs already ended as Failed (d); the version ran well before, so look for what has changed around it, then deploy it again with `aws ecs update-service --force-new-deployment`) 0
    it came from another revision: quarantined (the rollout ended as Failed (d); what it left is brought back to api:1; pin another version, or retry with `pinion resync --retry-quarantined`) => update service api in cluster app to api:1 0
    ");
    // A refresh to what the group is on.
    let on = || group(2, &[(1, "1.0", None), (2, "1.1", marker("1.1", 'b', "1"))], &[2, 1]);
    let again = groups::history(&[(1, "1.0", None)], &[refresh("r", 2, Failed, 5)]);
    let plan = decide_one(&environment, &web(), on(), Some(again), |_, _| {});
    assert!(plan.state != State::Quarantined && plan.action.is_some(), "{}", line(&plan));
}

/// Other tools copy tags when they register a revision.
#[test]
fn a_marker_holds_for_its_own_revision() {
    let environment = pinned();
    let by = |role: &str| Some(format!("arn:aws:sts::222222222222:assumed-role/{role}/session"));
    let planned = |second: Option<String>| {
        let seen = service(3, "2.1", ours(), &[(3, true, "FAILED", 0), (2, false, "COMPLETED", 2)]);
        let ObservedTarget::Service(mut seen) = seen else { unreachable!() };
        seen.task_definition.made_by = second;
        seen.deployments[1].containers = seen.task_definition.containers.clone();
        let mut history =
            services::history(&[(2, "2.1", ours())], &[deployment(3, Failed, 9), deployment(2, Succeeded, 5)]);
        let RolloutHistory::Service { revisions, deployments, .. } = &mut history else { unreachable!() };
        revisions[0].made_by = by("pinion");
        deployments[1].id = RolloutId("first".to_owned());
        decide_one(&environment, &api(), ObservedTarget::Service(seen), Some(history), |_, _| {})
    };
    let copied = planned(by("terraform"));
    assert_eq!((copied.state, &copied.action), (State::InSync, &None), "the tasks of ours run: {}", line(&copied));
    assert_eq!(copied.warnings.len(), 1);
    for twin in [by("pinion"), None] {
        let plan = planned(twin);
        assert_eq!(plan.state, State::Quarantined, "it may be Pinion's: {}", line(&plan));
    }
}

#[test]
fn the_way_back_leads_to_what_last_ran_well() {
    let environment = environment(("1.1", 'b'), ("2.2", 'c'));
    let third = || marker("2.2", 'c', "api:2");
    let left = || {
        service(3, "2.2", third(), &[(3, true, "FAILED", 0), (2, false, "IN_PROGRESS", 1), (1, false, "COMPLETED", 1)])
    };
    let planned = |second: Option<RolloutOutcome>| {
        let mut rollouts = vec![deployment(3, Failed, 9)];
        rollouts
            .extend(second.map(|outcome| Rollout { id: RolloutId("second".to_owned()), ..deployment(2, outcome, 5) }));
        let known = [(3, "2.2", third()), (2, "2.1", ours()), (1, "2.0", None)];
        decide_one(&environment, &api(), left(), Some(services::history(&known, &rollouts)), |_, _| {})
    };
    let to = |plan: &TargetPlan| plan.action.as_ref().and_then(Action::leads_to);
    let task = |number| Some(RolloutTarget::TaskDefinition(arn(number)));
    assert_eq!(to(&planned(Some(Failed))), task(1), "what was withdrawn before it was through isn't completed");
    assert_eq!(to(&planned(Some(Succeeded))), task(2));
    assert_eq!(to(&planned(None)), task(2), "it ran before AWS's memory begins");
}

#[test]
fn what_pinion_itself_cut_short_is_tried() {
    let environment = pinned();
    let seen = || group(1, &[(1, "1.0", None), (2, "1.1", None)], &[1, 2]);
    let known = [(3, "1.2", marker("1.2", 'c', "1")), (2, "1.1", marker("1.1", 'b', "1"))];
    let planned = |refreshes: &[Rollout], withdrawn: bool| {
        decide_one(&environment, &web(), seen(), Some(groups::history(&known, refreshes)), |_, memory| {
            if withdrawn {
                memory.withdrawn.insert(web(), BTreeSet::from([RolloutId("r".to_owned())]));
            }
        })
    };
    let cancelled = || refresh("r", 2, Cancelled, 5);
    assert_eq!(planned(&[cancelled()], false).state, State::Quarantined, "somebody has stopped it");
    assert_eq!(planned(&[cancelled()], true).state, State::RollingOut, "this process has");
    // What somebody has stopped is rolled back to what an earlier pin has brought.
    let earlier = marker("1.0", 'a', "0");
    let known_earlier = [(2, "1.1", marker("1.1", 'b', "1")), (1, "1.0", earlier.clone())];
    let seen_earlier = group(1, &[(1, "1.0", earlier), (2, "1.1", None)], &[1, 1]);
    let history = groups::history(&known_earlier, &[refresh("back", 1, Succeeded, 6), cancelled()]);
    let plan = decide_one(&environment, &web(), seen_earlier, Some(history), |_, _| {});
    assert_eq!((plan.state, &plan.action), (State::Quarantined, &None), "{}", line(&plan));
    let next = |outcome| refresh("next", 3, outcome, 6);
    assert_eq!(planned(&[next(Cancelled), cancelled()], false).state, State::RollingOut, "for another pin");
    assert_eq!(planned(&[next(Cancelled), refresh("r", 2, Failed, 5)], false).state, State::Quarantined);

    let known = [(3, "2.2", marker("2.2", 'c', "api:2")), (2, "2.1", ours())];
    let stopped = |ended| Rollout { status: "STOPPED".to_owned(), ended: Some(at(ended)), ..deployment(2, Failed, 4) };
    let next = || Rollout { id: RolloutId("next".to_owned()), ..deployment(3, Failed, 6) };
    let service = |ended| {
        let history = services::history(&known, &[next(), stopped(ended)]);
        decide_one(&environment, &api(), at_rest(), Some(history), |_, _| {})
    };
    assert_eq!(service(6).state, State::RollingOut, "the next one has stopped it");
    assert_eq!(service(5).state, State::Quarantined, "it had failed before");
}

#[test]
fn a_way_out_waits_for_nobody() {
    let back = environment(("1.0", 'c'), ("2.0", 'c'));
    let waiting = |local: &LocalRef, other: &LocalRef, seen: ObservedTarget, history: RolloutHistory| {
        let mut environment = back.clone();
        environment.targets.get_mut(local).unwrap().after.insert(other.clone());
        decide_one(&environment, local, seen, Some(history), |_, _| {})
    };
    let bad = || (2, "1.1", marker("1.1", 'b', "1"));
    let versions = || vec![(1, "1.0", None), bad()];
    let mixed = || group(1, &versions(), &[1, 2]);
    let plan = waiting(&web(), &api(), mixed(), groups::history(&[bad()], &[refresh("r", 2, Running, 5)]));
    assert!(matches!(plan.action, Some(Action::CancelRefresh { .. })), "{}", line(&plan));
    let plan = waiting(&web(), &api(), mixed(), groups::history(&[bad()], &[refresh("r", 2, Undoing, 5)]));
    assert_eq!((plan.state, &plan.action), (State::RollingOut, &None), "{}", line(&plan));
    let plan = waiting(&web(), &api(), mixed(), groups::history(&[bad()], &[refresh("r", 2, Cancelled, 5)]));
    assert!(matches!(plan.action, Some(Action::StartRefresh { version: 1, .. })), "{}", line(&plan));
    let through = group(2, &versions(), &[2, 2]);
    let plan = waiting(&web(), &api(), through, groups::history(&[(1, "1.0", None)], &[refresh("r", 2, Succeeded, 5)]));
    assert!(matches!(plan.action, Some(Action::CreateTemplateVersion { .. })), "{}", line(&plan));

    // Back by more than one: to what a rollout brought here that AWS remembers, or to what it was all made from.
    let chain = [(3, "1.1", marker("1.1", 'b', "2")), (2, "1.05", marker("1.05", 'd', "1")), (1, "1.0", None)];
    let through = || group(3, &chain, &[3, 3]);
    let two = [refresh("s", 3, Succeeded, 5), refresh("r", 2, Succeeded, 3)];
    let plan = waiting(&web(), &api(), through(), groups::history(&chain[1..], &two));
    assert!(matches!(plan.action, Some(Action::CreateTemplateVersion { .. })), "{}", line(&plan));
    let unrelated = [(3, "1.1", marker("1.1", 'b', "2")), (2, "1.05", None), (1, "1.0", None)];
    let long_ago = [refresh("s", 3, Succeeded, 5), refresh("r", 1, Succeeded, 3)];
    let plan = waiting(&web(), &api(), through(), groups::history(&unrelated[1..], &long_ago));
    assert!(matches!(plan.action, Some(Action::CreateTemplateVersion { .. })), "{}", line(&plan));
    let plan = waiting(&web(), &api(), through(), groups::history(&unrelated[1..], &long_ago[..1]));
    assert_eq!((plan.state, &plan.action), (State::Pending, &None), "it has never run here: {}", line(&plan));

    let moving = service(2, "2.1", ours(), &[(2, true, "IN_PROGRESS", 1), (1, false, "COMPLETED", 2)]);
    let known = services::history(&[(1, "2.0", None)], &[deployment(2, Running, 5)]);
    let plan = waiting(&api(), &web(), moving, known);
    assert!(matches!(plan.action, Some(Action::RegisterTaskDefinition { .. })), "{}", line(&plan));

    let mut next = environment(("1.2", 'c'), ("2.0", 'c'));
    next.targets.get_mut(&web()).unwrap().after.insert(api());
    let history = groups::history(&[bad()], &[refresh("r", 2, Running, 5)]);
    let plan = decide_one(&next, &web(), mixed(), Some(history), |_, _| {});
    assert_eq!((plan.state, &plan.action), (State::Pending, &None), "what is new waits: {}", line(&plan));
}

#[test]
fn a_hanging_first_deployment_says_what_ends_it() {
    let environment = pinned();
    let ObservedTarget::Service(mut seen) = service(1, "9.9", None, &[(1, true, "IN_PROGRESS", 0)]) else {
        unreachable!()
    };
    seen.deployments[0].failed = 41;
    let planned = |breaker| {
        let mut seen = seen.clone();
        seen.breaker = breaker;
        let history = services::history(&[], &[deployment(1, Running, 5)]);
        line(&decide_one(&environment, &api(), ObservedTarget::Service(seen), Some(history), |_, _| {}))
    };
    insta::assert_snapshot!(planned(false), @"pending (waits for a rollout that Pinion didn't start: d (Running); 41 tasks failed so far, and nothing ends it by itself: put the service on a task definition that works, with `aws ecs update-service --cluster app --service api --task-definition FAMILY:REVISION`, and give it a circuit breaker)");
    insta::assert_snapshot!(planned(true), @"pending (waits for a rollout that Pinion didn't start: d (Running))");
}
