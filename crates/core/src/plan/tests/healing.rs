//! Healing that meets somebody who changes back what was healed.

use super::services::{deployment, service};
use super::*;
use crate::model::RolloutOutcome::Succeeded;

/// The service of a pin that was rolled out so many times, each time set back to revision 1; the last one this many minutes
/// ago.
fn fought(times: usize, minutes: i64, change: &dyn Fn(&mut Memory)) -> TargetPlan {
    let environment = environment(("1.0", 'b'), ("2.1", 'b'));
    let ObservedTarget::Service(mut seen) = service(1, "2.0", None, &[(1, true, "COMPLETED", 2)]) else {
        unreachable!()
    };
    seen.task_definition.made_by = Some("arn:aws:iam::222222222222:user/deploy".to_owned());
    let rollouts: Vec<Rollout> = (0..times)
        .map(|index| {
            let earlier = i64::try_from(index).unwrap();
            let id = RolloutId(format!("d-{index}"));
            Rollout { id, ended: Some(at(10 - minutes - earlier)), ..deployment(2, Succeeded, 9 - minutes - earlier) }
        })
        .collect();
    let history = services::history(&[(2, "2.1", marker("2.1", 'b', "api:1"))], &rollouts);
    decide_one(&environment, &api(), ObservedTarget::Service(seen), Some(history), |_, memory| change(memory))
}

#[test]
fn healing_pauses_longer_each_time_and_then_stops() {
    for (times, minutes, heals) in [
        (1, 1, true),
        (2, 1, true),
        (3, 1, false),
        (3, 6, true),
        (4, 6, false),
        (4, 16, true),
        (5, 16, false),
        (5, 46, true),
        (6, 46, false),
        (6, 600, false),
        (6, 1_500, true),
    ] {
        let plan = fought(times, minutes, &|_| {});
        assert_eq!(plan.action.is_some(), heals, "{times} times, {minutes} minutes ago: {}", line(&plan));
        assert!(plan.drifted, "{}", line(&plan));
    }
    insta::assert_snapshot!(line(&fought(3, 1, &|_| {})), @"pending (rolled out 3 times within a day, and changed back to api:1 each time (made by arn:aws:iam::222222222222:user/deploy); it is rolled out again at 2027-01-15T08:14:00Z: end what changes it, then ask for a retry with `pinion resync --retry-quarantined`) [drifted]");
    insta::assert_snapshot!(line(&fought(6, 46, &|_| {})), @"blocked (rolled out 6 times within a day, and changed back to api:1 each time (made by arn:aws:iam::222222222222:user/deploy); it isn't rolled out again: end what changes it, then ask for a retry with `pinion resync --retry-quarantined`) [drifted]");
}

#[test]
fn a_retry_or_another_commit_begins_anew() {
    let forgiven =
        Forgiven { rollouts: (0..6).map(|index| RolloutId(format!("d-{index}"))).collect(), ..Forgiven::default() };
    assert!(fought(6, 1, &|memory| drop(memory.forgiven.insert(api(), forgiven.clone()))).action.is_some());
    // By this process's clock, not by AWS's.
    let started = |at| Started { to: RolloutTarget::TaskDefinition(services::arn(2)), at, before: BTreeSet::new() };
    assert_eq!(fought(3, 60, &|memory| drop(memory.started.insert(api(), started(at(9))))).action, None);
    assert!(fought(3, -60, &|memory| drop(memory.started.insert(api(), started(at(1))))).action.is_some());
}
