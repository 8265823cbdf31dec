//! The change limit on shapes. Six services of prod are on Terraform's revision 1, by way of a revision that Pinion made for the
//! pin 2.1; the first of them get Terraform's revision 3.

use super::services::{history, service};
use super::shapes::{bases, made};
use super::*;

const SERVICES: usize = 6;

fn local(number: usize) -> LocalRef {
    LocalRef::new(Kind::Fargate, &format!("s{number}")).unwrap()
}

fn limits() -> ShapeLimit {
    shape_limit::limit(change_limit::ChangeLimits::default(), [])
}

/// Six services on the newest shape, and a group that isn't.
fn desired() -> Environment {
    let mut environment = environment(("1.0", 'b'), ("2.1", 'b'));
    environment.shape_limit = Some(limits());
    let service = environment.targets.remove(&api()).unwrap();
    for number in 0..SERVICES {
        let reference = local(number).within(&environment.name);
        let base = BaseRevision::Newest(BaseRule::default());
        let mut target = Target { reference, base, ..service.clone() };
        if let TargetSpec::Fargate(spec) = &mut target.spec {
            spec.service = ServiceName::try_from(format!("s{number}").as_str()).unwrap();
        }
        environment.targets.insert(local(number), target);
    }
    environment
}

/// What is seen of them: at rest, with a newer revision of the first `newer`.
fn seen(environment: &Environment, newer: usize) -> Observed {
    let mut observed = Observed {
        identity: Some(Ok(environment.account.id.clone())),
        artifacts: artifacts(environment),
        ..Observed::default()
    };
    observed.targets.insert(web(), Ok(groups::group(1, &[(1, "1.0", None)], &[1, 1])));
    for number in 0..SERVICES {
        on_the_first_shape(&mut observed, number, "2.1", 'b');
        observed.bases.insert(local(number), Ok(bases(1, &[2], (number < newer).then_some(3))));
    }
    observed
}

fn on_the_first_shape(observed: &mut Observed, number: usize, version: &str, digit: char) {
    let seen = service(2, version, made(version, digit, 1, 1), &[(2, true, "COMPLETED", 2)]);
    observed.targets.insert(local(number), Ok(seen));
    observed.histories.insert(local(number), Ok(history(&[], &[])));
}

/// The deployments of a rollout, half done or over.
fn from_2_to(to: u64, state: &str) -> Vec<(u64, bool, &str, u32)> {
    if state == "COMPLETED" {
        vec![(to, true, state, 2)]
    } else {
        vec![(to, true, state, 1), (2, false, "COMPLETED", 1)]
    }
}

/// It was rolled out there, or is.
fn moved(observed: &mut Observed, number: usize, state: &str) {
    let seen = service(4, "2.1", made("2.1", 'b', 3, 2), &from_2_to(4, state));
    observed.targets.insert(local(number), Ok(seen));
    observed.histories.insert(local(number), Ok(history(&[(2, "2.1", made("2.1", 'b', 1, 1))], &[])));
    observed.bases.insert(local(number), Ok(bases(3, &[4], None)));
}

fn planned(environment: &Environment, observed: &Observed) -> Plan {
    plan(Input {
        desired: environment,
        observed,
        memory: &Memory::default(),
        guardrails: &NoPolicies,
        fleet: &Fleet::default(),
        claims: &Claims::alone(environment),
        now: at(10),
    })
}

/// How many services wait for an acknowledgement.
fn waiting(plan: &Plan) -> usize {
    plan.targets.values().filter(|plan| matches!(plan.reason, Some(Reason::ChangeLimit(_)))).count()
}

/// The id that has to be acknowledged.
fn id(plan: &Plan) -> String {
    let held = plan.held_shapes.as_deref().unwrap_or_else(|| panic!("nothing is held"));
    let (_, id) = held.split_once("`Pinion-Acknowledge: shapes-").unwrap_or_else(|| panic!("{held}"));
    id.split_once('`').unwrap().0.to_owned()
}

fn acknowledging(id: &str) -> Environment {
    let trailer = Trailer { commit: commit('c'), value: format!("other\n Shapes-{id} "), honored: true };
    let limit = shape_limit::limit(change_limit::ChangeLimits::default(), [&trailer]);
    Environment { shape_limit: Some(limit), ..desired() }
}

#[test]
fn too_many_new_shapes_at_once_wait() {
    let desired = desired();
    for (newer, held) in [(0, 0), (3, 0), (4, 0), (5, 5), (6, 6)] {
        let plan = planned(&desired, &seen(&desired, newer));
        assert_eq!(waiting(&plan), held, "{newer} of {SERVICES}");
        assert_eq!(plan.actions().count(), if held == 0 { newer } else { 0 }, "{newer} of {SERVICES}");
    }
    let plan = planned(&desired, &seen(&desired, 5));
    let first = &plan.targets[&local(0)];
    assert_eq!(
        line(first),
        "pending (held by the blast-radius limit: 5 of 7 targets of prod get a new shape at once, more than 50 %; if that is \
         meant, push a commit with the trailer `Pinion-Acknowledge: shapes-fa04df2d4815`)"
    );
    assert_eq!(first.shape.as_ref().map(|shape| shape.to.as_str()), Some("api:3"), "the plan says what it is");
    assert_eq!(line(&plan.targets[&local(5)]), "in-sync");
    assert_eq!(line(&plan.targets[&web()]), "in-sync");
    let all = Environment { shape_limit: Some(ShapeLimit { max_percent: 100, ..limits() }), ..desired.clone() };
    assert_eq!(waiting(&planned(&all, &seen(&desired, 6))), 0, "the configuration allows it");
    let dev = Environment { shape_limit: None, ..desired.clone() };
    assert_eq!(waiting(&planned(&dev, &seen(&desired, 6))), 0, "dev isn't prod");
    // Those that wait for something else all the same don't count.
    let mut observed = seen(&desired, 5);
    let unusable = ResolveError::Unusable("no image has that tag".to_owned());
    observed.artifacts.insert(local(0), Err(unusable));
    assert_eq!(planned(&desired, &observed).actions().count(), 4);
}

#[test]
fn an_acknowledgement_holds_for_one_set_to_its_end() {
    let before = desired();
    let held = id(&planned(&before, &seen(&before, 6)));
    assert_eq!(id(&planned(&before, &seen(&before, 6))), held, "the same for everybody who looks");
    let desired = acknowledging(&held);
    assert_eq!(planned(&desired, &seen(&desired, 6)).actions().count(), 6);
    // Some of it runs: the rest goes on, and what runs isn't counted.
    let mut observed = seen(&desired, 6);
    moved(&mut observed, 0, "COMPLETED");
    moved(&mut observed, 1, "IN_PROGRESS");
    let plan = planned(&desired, &observed);
    assert_eq!(
        (line(&plan.targets[&local(0)]).as_str(), plan.targets[&local(1)].state),
        ("in-sync", State::RollingOut)
    );
    assert_eq!((waiting(&plan), plan.actions().count()), (0, 4));
    let plan = planned(&before, &observed);
    assert_eq!(waiting(&plan), 0, "four by themselves aren't too many");
    // Another revision of one of them, or one fewer: another set.
    let mut other = seen(&desired, 6);
    other.bases.insert(local(3), Ok(bases(1, &[2], Some(5))));
    let plan = planned(&desired, &other);
    assert!(waiting(&plan) == 6 && id(&plan) != held, "{:?}", plan.held_shapes);
    let fewer = planned(&desired, &seen(&desired, 5));
    assert!(waiting(&fewer) == 5 && id(&fewer) != held && id(&fewer) != id(&plan));
    // Of another environment it says nothing.
    let name = EnvironmentName::try_from("staging").unwrap();
    assert!(id(&planned(&Environment { name, ..desired.clone() }, &seen(&desired, 6))) != held);
}

#[test]
fn a_trailer_that_nobody_may_sign_acknowledges_nothing() {
    let mut desired = desired();
    let held = id(&planned(&desired, &seen(&desired, 6)));
    let forged = Trailer { commit: commit('f'), value: format!("shapes-{held}"), honored: false };
    desired.shape_limit = Some(shape_limit::limit(change_limit::ChangeLimits::default(), [&forged]));
    let plan = planned(&desired, &seen(&desired, 6));
    assert!(
        waiting(&plan) == 6
            && plan.held_shapes.as_deref().unwrap().ends_with(
                "; the one of commit ffffffff doesn't count, because nobody who may sign has signed that message"
            ),
        "{:?}",
        plan.held_shapes
    );
    let word = Trailer { commit: commit('c'), value: change_limit::ACKNOWLEDGEMENT.to_owned(), honored: true };
    desired.shape_limit = Some(shape_limit::limit(change_limit::ChangeLimits::default(), [&word]));
    assert_eq!(waiting(&planned(&desired, &seen(&desired, 6))), 6, "the set has to be named");
}

/// A hotfix goes out on the shape that runs, and the new shape still waits.
#[test]
fn a_pin_goes_out_meanwhile() {
    let desired = desired();
    let mut observed = seen(&desired, 6);
    let held = id(&planned(&desired, &observed));
    on_the_first_shape(&mut observed, 0, "2.0", 'a');
    let plan = planned(&desired, &observed);
    let first = &plan.targets[&local(0)];
    let Some(Action::RegisterTaskDefinition { base, marker, .. }) = &first.action else { panic!("{}", line(first)) };
    assert_eq!((base.as_str(), marker.base.as_str()), (&*services::arn(2), "api:1"));
    assert!(first.warnings.concat().contains("the newer shape waits"), "{:?}", first.warnings);
    assert_eq!((waiting(&plan), plan.actions().count(), id(&plan)), (5, 1, held.clone()));
    // It runs, and has run: a rollout on the old shape is no other set.
    for state in ["IN_PROGRESS", "COMPLETED"] {
        let seen = service(5, "2.1", made("2.1", 'b', 1, 2), &from_2_to(5, state));
        observed.targets.insert(local(0), Ok(seen));
        let before = history(&[(2, "2.0", made("2.0", 'a', 1, 1))], &[]);
        observed.histories.insert(local(0), Ok(before));
        observed.bases.insert(local(0), Ok(bases(1, &[2, 5], Some(3))));
        let plan = planned(&desired, &observed);
        let expected = if state == "COMPLETED" { State::Pending } else { State::RollingOut };
        assert_eq!((plan.targets[&local(0)].state, id(&plan)), (expected, held.clone()), "{state}");
        assert_eq!(plan.actions().count(), 0, "{state}");
    }
}

/// What comes after a service whose new shape waits doesn't wait for that.
#[test]
fn a_pin_goes_out_after_one_whose_shape_waits() {
    let mut desired = desired();
    desired.targets.get_mut(&local(0)).unwrap().after.insert(local(1));
    let mut observed = seen(&desired, 6);
    on_the_first_shape(&mut observed, 0, "2.0", 'a');
    let plan = planned(&desired, &observed);
    assert!(plan.targets[&local(1)].shape_waits && !plan.targets[&local(0)].shape_waits);
    assert_eq!(plan.actions().map(|(local, _)| local.clone()).collect::<Vec<_>>(), [local(0)]);
    // It does for its pin.
    on_the_first_shape(&mut observed, 1, "2.0", 'a');
    let plan = planned(&desired, &observed);
    assert!(
        line(&plan.targets[&local(0)]).starts_with("pending (waits for fargate/s1"),
        "{}",
        line(&plan.targets[&local(0)])
    );
}

/// What couldn't be read just now may be as new as the rest.
#[test]
fn what_is_unread_lets_nothing_through() {
    let desired = desired();
    let mut observed = seen(&desired, 4);
    assert_eq!(planned(&desired, &observed).actions().count(), 4);
    observed.bases.insert(local(5), Err(failed(ErrorClass::Retry)));
    let plan = planned(&desired, &observed);
    assert_eq!((waiting(&plan), plan.actions().count()), (4, 0));
    assert_eq!(
        plan.held_shapes.as_deref(),
        Some(
            "held by the blast-radius limit: 4 of 7 targets of prod get a new shape at once, and of 1 more it couldn't be read \
             just now; they are read in each pass"
        )
    );
    // One that can't be read for good can't be rolled out either.
    observed.bases.insert(local(5), Err(failed(ErrorClass::Denied)));
    assert_eq!(planned(&desired, &observed).actions().count(), 4);
    // That an image can't be looked up says nothing of the shape.
    let mut observed = seen(&desired, 6);
    for number in 0..4 {
        observed.artifacts.insert(local(number), Err(ResolveError::Call(failed(ErrorClass::Retry))));
    }
    assert_eq!(planned(&desired, &observed).actions().count(), 0);
}

/// A shape that has failed here waits for nothing.
#[test]
fn what_has_failed_is_in_no_set() {
    let desired = desired();
    let mut observed = seen(&desired, 5);
    let failed = Rollout { id: RolloutId("d2".to_owned()), ..services::deployment(4, RolloutOutcome::Failed, 5) };
    let history = history(&[(4, "2.1", made("2.1", 'b', 3, 2))], &[failed]);
    observed.histories.insert(local(0), Ok(history));
    let plan = planned(&desired, &observed);
    assert_eq!((plan.targets[&local(0)].state, plan.actions().count()), (State::Quarantined, 4));
}
