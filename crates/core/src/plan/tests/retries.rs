//! Reads that lag behind what was done, and what an operator's request to retry forgives.

use super::groups::{group, refresh};
use super::services::{deployment, service};
use super::*;
use crate::model::RolloutOutcome::{Failed, Running, Succeeded};

fn bad() -> (u64, &'static str, Option<Marker>) {
    (2, "1.1", marker("1.1", 'b', "1"))
}

/// The frontend's pin is 1.1, set by commit b.
fn pinned() -> Environment {
    environment(("1.1", 'b'), ("2.0", 'b'))
}

/// What one pass reads of the group: instances on these versions, and these refreshes.
fn read(instances: &[u64], refreshes: &[Rollout]) -> Observed {
    let environment = pinned();
    Observed {
        bases: BTreeMap::new(),
        identity: Some(Ok(environment.account.id.clone())),
        alarms: None,
        unasked: BTreeMap::new(),
        artifacts: artifacts(&environment),
        targets: BTreeMap::from([(web(), Ok(group(1, &[(1, "1.0", None), bad()], instances)))]),
        histories: BTreeMap::from([(web(), Ok(groups::history(&[bad()], refreshes)))]),
    }
}

/// A pass over what was read.
fn pass(memory: &mut Memory, observed: &Observed) -> TargetPlan {
    let environment = pinned();
    memory.forgive(&environment, observed, at(10));
    let (guardrails, fleet) = (&NoPolicies, &Fleet::default());
    let input = Input {
        desired: &environment,
        observed,
        memory,
        guardrails,
        fleet,
        claims: &Claims::alone(&environment),
        now: at(10),
    };
    plan(input).targets.remove(&web()).unwrap()
}

/// AWS's clock is a day ahead of ours, and the group was read a moment before the rollout's end.
#[test]
fn a_rollout_that_ends_between_two_reads_of_a_pass_is_not_repeated_whatever_the_clocks_say() {
    let noted = |memory: &mut Memory, planned: TargetPlan| {
        memory.note(&pinned(), &Plan { targets: BTreeMap::from([(web(), planned)]), ..Plan::default() });
    };
    let mut memory = Memory::default();
    let running = pass(&mut memory, &read(&[1, 2], &[refresh("r", 2, Running, 9)]));
    assert_eq!((running.state, &running.action), (State::RollingOut, &None));
    noted(&mut memory, running);
    let ended = read(&[1, 2], &[refresh("r", 2, Succeeded, 24 * 60)]);
    let first = pass(&mut memory, &ended);
    assert_eq!(first.action, None);
    noted(&mut memory, first);
    let second = pass(&mut memory, &ended);
    assert!(second.action.is_some_and(|action| action.is_write()), "the group isn't there in the next pass either");
}

/// Somebody asks to retry. `known`: by which refresh the group is known to be quarantined.
fn retry(known: Option<&str>) -> Memory {
    let mut memory = Memory::default();
    let known = known.map(|id| (web(), RolloutId(id.to_owned())));
    memory.retry(&pinned(), known.into_iter().collect(), at(10));
    memory
}

fn starts(plan: &TargetPlan) -> bool {
    matches!(plan.action, Some(Action::StartRefresh { version: 2, .. }))
}

#[test]
fn a_retry_forgives_what_has_failed_by_then_whatever_the_clocks_say() {
    // Hours ago, or hours ahead: AWS's clock isn't ours.
    for minute in [-300, 5, 300] {
        let failed = || refresh("r", 2, Failed, minute);
        let mut memory = Memory::default();
        assert_eq!(pass(&mut memory, &read(&[1, 1], &[failed()])).state, State::Quarantined);
        let mut memory = retry(None);
        assert!(starts(&pass(&mut memory, &read(&[1, 1], &[failed()]))));
        assert!(starts(&pass(&mut memory, &read(&[1, 1], &[failed()]))), "until it is begun");
        // No matter who began another one, and when that was by AWS's clock.
        for again in [-301, 4, 301] {
            let twice = [refresh("again", 2, Failed, again), failed()];
            assert_eq!(pass(&mut memory, &read(&[1, 1], &twice)).state, State::Quarantined, "it failed again");
        }
    }
}

#[test]
fn what_runs_at_a_retry_is_not_forgiven() {
    let mut memory = retry(None);
    assert_eq!(pass(&mut memory, &read(&[1, 2], &[refresh("r", 2, Running, 5)])).state, State::RollingOut);
    assert_eq!(pass(&mut memory, &read(&[1, 1], &[refresh("r", 2, Failed, 5)])).state, State::Quarantined);

    let mut memory = retry(Some("r"));
    pass(&mut memory, &read(&[1, 2], &[refresh("r", 2, Running, 5)]));
    let known = pass(&mut memory, &read(&[1, 1], &[refresh("r", 2, Failed, 5)]));
    assert!(starts(&known), "it was known to have failed; the first look was at what was before");
}

#[test]
fn a_retry_waits_for_the_first_look() {
    let failed = || [refresh("r", 2, Failed, 5)];
    let mut memory = retry(None);
    let mut unread = read(&[1, 1], &[]);
    unread.histories.insert(web(), Err(super::failed(ErrorClass::Retry)));
    assert_eq!(pass(&mut memory, &unread).state, State::Unknown);
    unread.histories.clear();
    unread.targets.clear();
    assert_eq!(pass(&mut memory, &unread).state, State::Unknown);
    assert!(starts(&pass(&mut memory, &read(&[1, 1], &failed()))));

    // At rest there is nothing to forgive, and what fails later does so for itself.
    let mut memory = retry(None);
    let mut rests = read(&[], &[]);
    rests.targets.insert(web(), Ok(group(2, &[bad()], &[2, 2])));
    rests.histories.clear();
    assert_eq!(pass(&mut memory, &rests).state, State::InSync);
    assert_eq!(pass(&mut memory, &read(&[1, 1], &failed())).state, State::Quarantined);
}

#[test]
fn a_retry_is_no_failure_while_reads_show_what_was_before() {
    let failed = || refresh("r", 2, Failed, 5);
    let mut memory = retry(None);
    let before = read(&[1, 1], &[failed()]);
    let begun = pass(&mut memory, &before);
    memory.wrote(&pinned(), &before, &web(), begun.action.as_ref().unwrap(), at(10));
    let lagging = pass(&mut memory, &before);
    assert_eq!(
        line(&lagging),
        "rolling-out (it was asked for, but what was read doesn't show it yet)",
        "the failed one leads to the same version, and isn't the one that was begun"
    );
    let shown = |outcome| read(&[1, 2], &[refresh("again", 2, outcome, 9), failed()]);
    assert_eq!(pass(&mut memory, &shown(Running)).state, State::RollingOut);
    assert_eq!(pass(&mut memory, &shown(Failed)).state, State::Quarantined);
    assert_eq!(pass(&mut memory, &before).action, None, "reads may lag again");
    memory.started.get_mut(&web()).unwrap().at = at(9);
    assert!(starts(&pass(&mut memory, &before)), "a minute later it isn't there: it has got lost");
}

#[test]
fn a_way_back_is_begun_once_while_reads_show_what_was_before() {
    let before = read(&[1, 2], &[refresh("r", 2, Failed, 5), refresh("earlier", 1, Succeeded, 1)]);
    let mut memory = Memory::default();
    let back = pass(&mut memory, &before).action.unwrap();
    assert_eq!(back.leads_to(), Some(RolloutTarget::TemplateVersion(1)));
    memory.wrote(&pinned(), &before, &web(), &back, at(10));
    let lagging = pass(&mut memory, &before);
    assert_eq!((lagging.state, &lagging.action), (State::Quarantined, &None));
    assert!(line(&lagging).contains("on its way back to 1 (it was asked for"), "{}", line(&lagging));
    memory.started.get_mut(&web()).unwrap().at = at(9);
    assert_eq!(pass(&mut memory, &before).action, Some(back), "a minute later it isn't there: it has got lost");
}

#[test]
fn a_service_goes_back_before_it_is_retried() {
    let environment = environment(("1.0", 'b'), ("2.1", 'b'));
    let ours = || marker("2.1", 'b', "api:1");
    let left = || service(2, "2.1", ours(), &[(2, true, "FAILED", 0), (1, false, "COMPLETED", 2)]);
    let there = || service(1, "2.0", None, &[(1, true, "COMPLETED", 2)]);
    let failed = || Rollout { id: RolloutId("a".to_owned()), ..deployment(2, Failed, 5) };
    let back = || Rollout { id: RolloutId("back".to_owned()), ..deployment(1, Succeeded, 7) };
    let retried = |seen, deployments: &[Rollout], started: Option<&str>| {
        let history = services::history(&[(2, "2.1", ours())], deployments);
        decide_one(&environment, &api(), seen, Some(history), |observed, memory| {
            memory.retry(&environment, BTreeMap::new(), at(8));
            memory.forgive(&environment, observed, at(8));
            let (to, at) = (RolloutTarget::TaskDefinition(services::arn(2)), at(9));
            let before = started.map(|id| BTreeSet::from([RolloutId(id.to_owned())]));
            memory.started.extend(before.map(|before| (api(), Started { to, at, before })));
        })
    };
    let to = |plan: &TargetPlan| plan.action.as_ref().and_then(Action::leads_to);
    let task = |number| Some(RolloutTarget::TaskDefinition(services::arn(number)));
    let first = retried(left(), &[failed()], None);
    assert_eq!((first.state, to(&first)), (State::Quarantined, task(1)), "{}", line(&first));
    let then = retried(there(), &[back(), failed()], None);
    assert_eq!((then.state, to(&then)), (State::RollingOut, task(2)), "{}", line(&then));
    // The one that was begun has ended well, and the list doesn't show it yet.
    let done = service(2, "2.1", ours(), &[(2, true, "COMPLETED", 2), (1, false, "COMPLETED", 1)]);
    let lagging = retried(done, &[back(), failed()], Some("a"));
    assert_eq!((lagging.state, to(&lagging)), (State::RollingOut, None), "{}", line(&lagging));
}

#[test]
fn what_this_process_has_just_started_is_not_started_again() {
    let environment = environment(("1.0", 'b'), ("2.1", 'b'));
    let with = |started: Option<(u64, i64)>, shown: &[Rollout]| {
        let at_rest = service(1, "2.0", None, &[(1, true, "COMPLETED", 2)]);
        let history = services::history(&[(2, "2.1", marker("2.1", 'b', "api:1"))], shown);
        decide_one(&environment, &api(), at_rest, Some(history), |_, memory| {
            let to = |number| RolloutTarget::TaskDefinition(services::arn(number));
            let before = BTreeSet::new();
            let begun = |(number, minute)| (api(), Started { to: to(number), at: at(minute), before });
            memory.started.extend(started.map(begun));
        })
    };
    assert!(with(None, &[]).action.is_some());
    let lagging = with(Some((2, 10)), &[]);
    assert_eq!((lagging.state, lagging.action), (State::RollingOut, None), "reads don't show it yet");
    assert!(with(Some((2, 9)), &[]).action.is_some(), "a minute later it isn't there: it has got lost");
    assert!(with(Some((2, 11)), &[]).action.is_some(), "a clock that was set back decides nothing");
    assert!(with(Some((3, 10)), &[]).action.is_some(), "that was another one");
    let succeeded = deployment(2, Succeeded, 5);
    assert!(with(Some((2, 10)), &[succeeded]).action.is_some(), "reads show it, and somebody went back since");
}

#[test]
fn reads_that_lag_begin_nothing_anew() {
    let environment = pinned();
    let ended = |ended| Rollout { ended: Some(ended), ..refresh("r", 2, Succeeded, 5) };
    let seen = || group(1, &[(1, "1.0", None), bad()], &[2, 2]);
    let with = |when: Timestamp| {
        let history = Some(groups::history(&[bad()], &[ended(when)]));
        decide_one(&environment, &web(), seen(), history, |_, _| {})
    };
    let lagging = with(at(10));
    assert_eq!(
        (lagging.state, lagging.action),
        (State::RollingOut, None),
        "the group's version is read a moment later"
    );
    assert!(with(at(9)).action.is_some(), "a minute later it isn't there: it is healed");
    // A process that has just started knows of nothing, but what somebody has rolled out since is told by AWS.
    let theirs = refresh("theirs", 1, Succeeded, 10);
    let history = Some(groups::history(&[bad()], &[theirs, ended(at(10))]));
    let back = decide_one(&environment, &web(), seen(), history, |_, _| {});
    assert!(back.action.is_some(), "{}", line(&back));
    let again = refresh("again", 2, RolloutOutcome::Cancelled, 10);
    let history = Some(groups::history(&[bad()], &[again, ended(at(10))]));
    assert_eq!(decide_one(&environment, &web(), seen(), history, |_, _| {}).action, None, "it leads to the same");
    let converged = Converged {
        base: None,
        commit: commit('b'),
        version: Version::try_from("1.1").unwrap(),
        artifact: ami("1.1"),
        sought: None,
    };
    let history = Some(groups::history(&[bad()], &[ended(at(10))]));
    let drifted = decide_one(&environment, &web(), seen(), history, |_, memory| {
        memory.converged.insert(web(), converged);
    });
    assert!(drifted.action.is_some(), "it was there, and somebody put it back");
}

/// A refusal that comes late takes back what was noted when the write might have been heard.
#[test]
fn what_was_refused_after_all_was_not_written() {
    let environment = environment(("1.1", 'b'), ("2.0", 'b'));
    let group = GroupName::try_from("frontend").unwrap();
    let start = Action::StartRefresh {
        group: group.clone(),
        template: TemplateRef { id: "lt-1".to_owned(), name: "frontend".to_owned() },
        version: 2,
        preferences: RefreshPreferences::default(),
    };
    let cancel = Action::CancelRefresh { group, refresh: RolloutId("r".to_owned()) };
    let mut memory = Memory::default();
    for action in [&start, &cancel] {
        memory.wrote(&environment, &Observed::default(), &web(), action, at(1));
    }
    assert!(memory.started.contains_key(&web()) && memory.withdrawn[&web()].len() == 1);
    memory.not_written(&web(), &cancel);
    assert!(memory.started.contains_key(&web()) && memory.withdrawn[&web()].is_empty());
    memory.not_written(&web(), &start);
    assert!(memory.started.is_empty());
}
