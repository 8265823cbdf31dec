//! Alarms that are raised before a refresh begins.

use super::groups::{group, refresh};
use super::*;
use crate::model::RolloutOutcome::Succeeded;

fn alarmed(frontend: (&str, char)) -> Environment {
    let mut environment = environment(frontend, ("2.0", 'b'));
    let target = environment.targets.get_mut(&web()).unwrap();
    target.rollout.alarms = ["5xx", "latency"].map(str::to_owned).into();
    environment
}

fn states(states: &[(&str, &str)]) -> Option<Result<BTreeMap<String, String>, PortError>> {
    Some(Ok(states.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect()))
}

#[test]
fn a_new_version_waits_for_alarms_that_are_raised_already() {
    let environment = alarmed(("1.1", 'b'));
    let planned = |alarms| {
        let history = groups::history(&[(2, "1.1", marker("1.1", 'b', "1"))], &[]);
        let seen = group(1, &[(1, "1.0", None)], &[1, 1]);
        decide_one(&environment, &web(), seen, Some(history), |observed, _| observed.alarms = alarms)
    };
    let good = [("5xx", "OK"), ("latency", "OK")];
    let with = |state| [("5xx", state), ("latency", "OK")];
    let mut lines = String::new();
    for (name, alarms) in [
        ("all are OK", states(&good)),
        ("one is raised", states(&with("ALARM"))),
        ("one has no data", states(&with("INSUFFICIENT_DATA"))),
        ("one is in a state that this build doesn't know", states(&with("MAYBE"))),
        ("AWS doesn't say", states(&with(""))),
        ("one doesn't exist", states(&good[..1])),
        ("they may not be read", Some(Err(failed(ErrorClass::Denied)))),
        ("they can't be read now", Some(Err(failed(ErrorClass::Retry)))),
        ("they weren't read", None),
    ] {
        let plan = planned(alarms);
        lines += &format!("{name}: {}{}\n", line(&plan), if plan.warnings.is_empty() { "" } else { ", and a warning" });
    }
    insta::assert_snapshot!(lines, @r"
    all are OK: rolling-out (getting ready) => refresh the instances of group frontend to version 2 of frontend
    one is raised: pending (waits for alarm 5xx, which is in ALARM: AWS starts no refresh until it is OK)
    one has no data: pending (waits for alarm 5xx, which is in INSUFFICIENT_DATA: AWS starts no refresh until it is OK)
    one is in a state that this build doesn't know: pending (waits for alarm 5xx, which is in MAYBE: AWS starts no refresh until it is OK)
    AWS doesn't say: pending (waits for alarm 5xx, whose state AWS doesn't say: AWS starts no refresh until it is OK)
    one doesn't exist: blocked (there is no CloudWatch alarm latency in us-west-1; create it, or correct its name in environment.toml)
    they may not be read: rolling-out (getting ready) => refresh the instances of group frontend to version 2 of frontend, and a warning
    they can't be read now: unknown (can't be read now: autoscaling:DescribeAutoScalingGroups failed: Code: message (request r-1))
    they weren't read: unknown (can't be read now: it wasn't read in this pass)
    ");
}

/// The alarm that the bad version has raised doesn't keep it running.
#[test]
fn the_way_out_goes_without_the_alarm_that_is_raised() {
    let environment = alarmed(("1.0", 'c'));
    let bad = || (2, "1.1", marker("1.1", 'b', "1"));
    let ready = (3, "1.0", marker("1.0", 'c', "2"));
    let seen = || group(2, &[(1, "1.0", None), bad(), ready.clone()], &[2, 2]);
    let planned = |known: &[(u64, &str, Option<Marker>)], refreshes: &[Rollout]| {
        let history = groups::history(known, refreshes);
        let alarms = states(&[("5xx", "ALARM"), ("latency", "OK")]);
        decide_one(&environment, &web(), seen(), Some(history), |observed, _| observed.alarms = alarms)
    };
    let done = refresh("r", 2, Succeeded, 5);
    let plan = planned(&[ready.clone(), (1, "1.0", None)], std::slice::from_ref(&done));
    let Some(Action::StartRefresh { version: 3, preferences, .. }) = plan.action else { panic!("{}", line(&plan)) };
    assert_eq!(preferences.alarms, BTreeSet::from(["latency".to_owned()]));
    assert!(preferences.auto_rollback);
    // What ran here at any time that AWS remembers, too; what never did waits.
    let long_ago = (5, "1.0", None);
    let refreshes = [done.clone(), refresh("long ago", 5, Succeeded, 1)];
    assert!(planned(&[ready.clone(), (1, "0.9", None), long_ago], &refreshes).action.is_some());
    assert_eq!(planned(&[ready.clone(), (1, "0.9", None)], &[done]).state, State::Pending);
}
