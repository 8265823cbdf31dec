//! What AWS leaves out is no reason to write: neither of what runs, nor of what was rolled out before.

use super::groups::{group, refresh};
use super::services::{arn, deployment, service};
use super::*;
use crate::model::RolloutOutcome::{Failed, Running};

/// The frontend's pin is 1.1, and the backend's 2.1, both set by commit b.
fn pinned() -> Environment {
    environment(("1.1", 'b'), ("2.1", 'b'))
}

fn ours() -> Option<Marker> {
    marker("2.1", 'b', "api:1")
}

fn of_group(seen: ObservedTarget, history: RolloutHistory) -> TargetPlan {
    decide_one(&pinned(), &web(), seen, Some(history), |_, _| {})
}

fn of_service(seen: ObservedTarget, history: RolloutHistory) -> TargetPlan {
    decide_one(&pinned(), &api(), seen, Some(history), |_, _| {})
}

type Leave = fn(&mut Vec<Container>);

const NOTHING: Leave = Vec::clear;
const NO_NAME: Leave = |all| all[0].name.clear();
const NO_OTHER_NAME: Leave = |all| all[1].name.clear();
const NO_IMAGE: Leave = |all| all[0].image.clear();

#[test]
fn a_target_of_which_the_image_is_not_said_is_not_rolled_out() {
    let mut seen = group(1, &[(1, "1.0", None)], &[1, 1]);
    let ObservedTarget::Group(web) = &mut seen else { unreachable!() };
    web.current.as_mut().unwrap().image = None;
    let mut lines = line(&of_group(seen, groups::history(&[], &[]))) + "\n";
    for leave in [NOTHING, NO_NAME, NO_OTHER_NAME, NO_IMAGE] {
        let mut seen = service(1, "2.0", None, &[(1, true, "COMPLETED", 2)]);
        let ObservedTarget::Service(api) = &mut seen else { unreachable!() };
        leave(&mut api.task_definition.containers);
        let plan = of_service(seen, services::history(&[], &[]));
        assert_eq!((plan.state, &plan.action), (State::Blocked, &None), "{}", line(&plan));
        lines += &(line(&plan) + "\n");
    }
    insta::assert_snapshot!(lines, @r"
    blocked (AWS doesn't say which image is in launch template version 1, and so not what runs; it is read again in each pass. If there is none in it, put the target on one that has an image)
    blocked (AWS doesn't say what the containers of task definition api:1 are called; it is read again in each pass)
    blocked (AWS doesn't say what the containers of task definition api:1 are called; it is read again in each pass)
    blocked (AWS doesn't say what the containers of task definition api:1 are called; it is read again in each pass)
    blocked (AWS doesn't say which image is in task definition api:1, and so not what runs; it is read again in each pass. If there is none in it, put the target on one that has an image)
    ");
}

/// Its marker says that it was made for this pin, and its rollout has failed.
#[test]
fn what_has_failed_stays_so_though_its_image_is_not_said() {
    for leave in [NOTHING, NO_NAME, NO_OTHER_NAME, NO_IMAGE] {
        let mut history = services::history(&[(2, "2.1", ours())], &[deployment(2, Failed, 5)]);
        let RolloutHistory::Service { revisions, .. } = &mut history else { unreachable!() };
        leave(&mut revisions[0].containers);
        let plan = of_service(service(1, "2.0", None, &[(1, true, "COMPLETED", 2)]), history);
        assert_eq!((plan.state, &plan.action), (State::Quarantined, &None), "{}", line(&plan));
    }
    let mut history = groups::history(&[(2, "1.1", marker("1.1", 'b', "1"))], &[refresh("f", 2, Failed, 5)]);
    let RolloutHistory::Group { versions, .. } = &mut history else { unreachable!() };
    versions[0].image = None;
    let plan = of_group(group(1, &[(1, "1.0", None)], &[1, 1]), history);
    assert_eq!((plan.state, &plan.action), (State::Quarantined, &None), "{}", line(&plan));
}

/// It would be cancelled, or superseded, if it led elsewhere than the pin.
#[test]
fn a_rollout_of_pinions_is_not_ended_because_its_image_is_not_said() {
    let mut history = groups::history(&[(2, "1.1", marker("1.1", 'b', "1"))], &[refresh("r", 2, Running, 5)]);
    let RolloutHistory::Group { versions, .. } = &mut history else { unreachable!() };
    versions[0].image = None;
    let plan = of_group(group(1, &[(1, "1.0", None)], &[1, 1]), history);
    assert_eq!((plan.state, &plan.action, plan.ours), (State::RollingOut, &None, true), "{}", line(&plan));
    for leave in [NOTHING, NO_NAME, NO_OTHER_NAME, NO_IMAGE] {
        let mut seen = service(2, "2.1", ours(), &[(2, true, "IN_PROGRESS", 1), (1, false, "COMPLETED", 2)]);
        let ObservedTarget::Service(service) = &mut seen else { unreachable!() };
        // The service has been put back by hand meanwhile, and the deployment still runs.
        service.task_definition.arn = arn(1);
        service.task_definition.marker = None;
        service.task_definition.containers[0].image = image("2.0");
        service.deployments.iter_mut().for_each(|deployment| leave(&mut deployment.containers));
        let plan = of_service(seen, services::history(&[], &[deployment(2, Running, 5)]));
        assert_eq!((plan.state, &plan.action), (State::RollingOut, &None), "{}", line(&plan));
    }
}
