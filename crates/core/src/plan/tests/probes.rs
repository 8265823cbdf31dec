//! Probes: what they quarantine, what is taken back for them, and what a new process makes of it.

use super::groups::refresh;
use super::services::{deployment, service};
use super::*;

/// `prod` with 1.1 and 2.1 pinned, and a probe for each target that may fail for five minutes.
fn probed() -> Environment {
    let mut environment = environment(("1.1", 'b'), ("2.1", 'b'));
    for target in environment.targets.values_mut() {
        target.verify.push(probe());
    }
    environment
}

pub(super) fn probe() -> Probe {
    Probe { http: "https://example.com/health".to_owned(), status: 200, timeout: Duration::from_secs(5), within: SHORT }
}

/// The launch-template version of the frontend's pin, made from version 1.
fn new() -> (u64, &'static str, Option<Marker>) {
    (2, "1.1", marker("1.1", 'b', "1"))
}

/// A group that runs it.
fn converged() -> ObservedTarget {
    groups::group(2, &[new()], &[2, 2])
}

/// A group that somebody has put back by hand.
fn by_hand() -> ObservedTarget {
    groups::group(1, &[(1, "1.0", None), new()], &[1, 1])
}

fn ended(minute: i64) -> Option<RolloutHistory> {
    Some(groups::history(&[new()], &[refresh("r", 2, RolloutOutcome::Succeeded, minute)]))
}

/// Probes that were first sent at a minute, after the rollout.
fn record(minute: i64, failure: Option<&str>) -> ProbeRecord {
    ProbeRecord {
        base: None,
        commit: commit('b'),
        artifact: ami("1.1"),
        first: at(minute),
        failure: failure.map(str::to_owned),
        after_rollout: true,
    }
}

fn with(seen: ObservedTarget, history: Option<RolloutHistory>, record: Option<ProbeRecord>) -> TargetPlan {
    decide_one(&probed(), &web(), seen, history, |_, memory| {
        memory.probes = record.into_iter().map(|record| (web(), record)).collect();
    })
}

/// A version whose probes can't be sent would be rolled out unprobed, and quarantined for nothing.
#[test]
fn what_has_probes_that_are_never_sent_is_blocked_before_anything_moves() {
    let planned = |environment: &Environment, seen: ObservedTarget, history| {
        decide_one(environment, &web(), seen, history, |observed, _| {
            observed.unasked.insert(web(), "http://169.254.169.254/ isn't asked: no".to_owned());
        })
    };
    let blocked = |plan: &TargetPlan| {
        let refused = matches!(&plan.reason, Some(Reason::ProbeRefused(why)) if why.contains("169.254.169.254"));
        (plan.state, plan.action.is_none(), refused) == (State::Blocked, true, true)
    };
    let due = || groups::group(1, &[(1, "1.0", None), new()], &[1, 1]);
    let plan = planned(&probed(), due(), Some(groups::history(&[new()], &[])));
    assert!(blocked(&plan), "{}", line(&plan));
    assert!(plan.reason.unwrap().to_string().contains("nothing is rolled out whose probes can't be sent"));
    let plan = planned(&probed(), converged(), ended(5));
    assert!(blocked(&plan), "what runs already is neither probed nor quarantined: {}", line(&plan));
    let baking = Some(groups::history(&[new()], &[refresh("r", 2, RolloutOutcome::Baking, 5)]));
    let plan = planned(&probed(), due(), baking);
    assert_eq!((plan.state, &plan.action), (State::RollingOut, &None), "nor is it taken back: {}", line(&plan));
    // The way out isn't barred.
    let mut back = probed();
    let pin = back.pins.values_mut().find(|pin| pin.component.as_str() == "frontend").unwrap();
    *pin = self::pin("frontend", "1.0", 'c');
    let versions = groups::history(&[(1, "1.0", None)], &[refresh("r", 2, RolloutOutcome::Succeeded, 5)]);
    let through = groups::group(2, &[(1, "1.0", None), new()], &[2, 2]);
    let plan = planned(&back, through, Some(versions));
    assert!(plan.action.is_some_and(|action| action.is_write()));
}

#[test]
fn probes_have_the_last_word() {
    let first = with(converged(), None, None);
    assert_eq!(first.state, State::Verifying);
    assert!(matches!(first.action, Some(Action::Verify { .. })));
    assert_eq!(with(converged(), None, Some(record(9, None))).state, State::InSync);
    let failing = with(converged(), None, Some(record(9, Some("answered 500"))));
    assert_eq!(failing.state, State::Verifying);
    assert!(failing.action.is_some());
    let failed = with(converged(), None, Some(record(1, Some("answered 500"))));
    assert_eq!((failed.state, failed.action), (State::Quarantined, None));
    // Somebody has gone back by hand: what failed isn't healed.
    let back = with(by_hand(), ended(2), Some(record(1, Some("answered 500"))));
    assert_eq!((back.state, back.action, back.drifted), (State::Quarantined, None, false));
    // Nor does a clock that was set back make what has ended long ago a thing of this moment.
    let healed = with(by_hand(), ended(9 + 60), Some(record(9, None)));
    assert!(healed.action.is_some_and(|action| action.is_write()), "an end an hour ahead is not just now");
    let stale = ProbeRecord { commit: commit('a'), ..record(1, None) };
    assert_eq!(with(converged(), None, Some(stale)).state, State::Verifying);

    let baking = || Some(groups::history(&[new()], &[refresh("r", 2, RolloutOutcome::Baking, 9)]));
    let seen = || groups::group(1, &[(1, "1.0", None)], &[2, 2]);
    assert!(matches!(with(seen(), baking(), None).action, Some(Action::Verify { .. })));
    let failed = with(seen(), baking(), Some(record(1, Some("answered 500"))));
    assert!(matches!(failed.action, Some(Action::RollbackRefresh { .. })));
}

#[test]
fn what_this_process_saw_end_is_probed_for_its_rollout() {
    let just = |minute| with(converged(), ended(minute), None);
    assert!(just(6).just_rolled && !just(4).just_rolled);
    // The process that started it knows, however long the passes took.
    let mine = decide_one(&probed(), &web(), converged(), ended(4), |_, memory| {
        let (to, before) = (RolloutTarget::TemplateVersion(2), BTreeSet::new());
        memory.started.insert(web(), Started { to, at: at(3), before });
    });
    assert!(mine.just_rolled);
}

/// A process that starts long after the rollout can't know whether its probes ever passed.
#[test]
fn what_an_earlier_process_saw_end_is_quarantined_while_its_probes_fail() {
    let late = |minute, failure| Some(ProbeRecord { after_rollout: false, ..record(minute, failure) });
    let failing = with(converged(), ended(-60), late(6, Some("answered 500")));
    assert_eq!(failing.state, State::Verifying, "not for long enough");
    let failed = |seen, history| with(seen, history, late(1, Some("answered 500")));
    for (what, history) in [("AWS remembers the rollout", ended(-60)), ("it was weeks ago", None)] {
        let plan = failed(converged(), history);
        assert_eq!(
            line(&plan),
            "quarantined (the probe fails: answered 500; it hasn't passed since Pinion was started, and is sent until it \
             does: pin another version, or fix what it needs) => send 1 probe",
            "{what}"
        );
        assert!(!plan.drifted && !plan.action.unwrap().is_write(), "{what}");
    }
    assert_eq!(with(converged(), ended(-60), late(1, None)).state, State::InSync, "until they pass");

    // Neither rolled out again nor probed, as something else runs.
    let back = failed(by_hand(), ended(-60));
    assert_eq!((back.state, back.action, back.drifted), (State::Quarantined, None, false));

    // Nothing was rolled out for this very pin.
    let other = |version, digit| groups::group(2, &[(2, "1.1", marker(version, digit, "1"))], &[2, 2]);
    for seen in [groups::group(2, &[(2, "1.1", None)], &[2, 2]), other("1.1", 'a'), other("1.2", 'b')] {
        let plan = failed(seen, None);
        assert_eq!(plan.state, State::Verifying, "no rollout is to blame: {}", line(&plan));
    }

    // A retry gives them as long again.
    let retried = decide_one(&probed(), &web(), converged(), ended(-60), |_, memory| {
        memory.probes.extend(late(1, Some("answered 500")).map(|record| (web(), record)));
        memory.retry(&probed(), BTreeMap::new(), at(9));
    });
    assert_eq!(retried.state, State::Verifying);
}

#[test]
fn a_deployment_in_its_bake_time_is_rolled_back_when_probes_fail() {
    let ours = || marker("2.1", 'b', "api:1");
    let arn = "arn:aws:ecs:us-west-1:222222222222:service-deployment/app/api/abc";
    let with = |id: &str, first: i64| {
        let baking = Rollout { id: RolloutId(id.to_owned()), ..deployment(2, RolloutOutcome::Baking, 9) };
        let seen = service(2, "2.1", ours(), &[(2, true, "IN_PROGRESS", 2)]);
        decide_one(&probed(), &api(), seen, Some(services::history(&[], &[baking])), |_, memory| {
            let record = record(first, Some("answered 500"));
            memory.probes.insert(api(), ProbeRecord { artifact: image("2.1"), ..record });
        })
    };
    let plan = with(arn, 1);
    assert_eq!(
        line(&plan),
        "rolling-out (the probe fails: answered 500) => roll back deployment app/api/abc of service api in cluster app"
    );
    assert!(matches!(with(arn, 9).action, Some(Action::Verify { .. })), "not yet");
    assert!(
        matches!(with("ecs-svc/1", 1).action, Some(Action::Verify { .. })),
        "without a service deployment nobody can"
    );
}
