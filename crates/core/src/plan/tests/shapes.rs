//! Decisions about services whose shape comes from the newest revision that Pinion didn't make. The pin is 2.1, set by
//! commit b; api:1 is Terraform's, api:2 was made from it for the pin, api:3 is Terraform's next.

use super::groups::{mixed, of, refresh, version_of};
use super::services::{arn, history, service};
use super::*;
use crate::guardrail::{Denial, Proposal};

fn desired() -> Environment {
    let mut environment = environment(("1.0", 'b'), ("2.1", 'b'));
    environment.targets.get_mut(&api()).unwrap().base = BaseRevision::Newest(BaseRule::default());
    environment
}

/// A revision of Terraform's, with an image of its own.
fn base(number: u64) -> Base {
    let RolloutHistory::Service { mut revisions, .. } = history(&[(number, "0.9", None)], &[]) else { panic!() };
    Base {
        name: format!("api:{number}"),
        revision: BaseSource::TaskDefinition(Box::new(revisions.remove(0))),
        changes: vec!["+ env LOG_LEVEL".to_owned()],
    }
}

pub(super) fn bases(recorded: u64, through: &[u64], newest: Option<u64>) -> Bases {
    Bases {
        recorded: format!("api:{recorded}"),
        through: through.iter().map(|number| format!("api:{number}")).collect(),
        newest: newest.map(base),
        registered_by: BTreeSet::new(),
    }
}

pub(super) fn made(version: &str, digit: char, base: u64, from: u64) -> Option<Marker> {
    let from = Some(format!("api:{from}")).filter(|_| from != base);
    Some(Marker { from, ..marker(version, digit, &format!("api:{base}")).unwrap() })
}

fn deployment(id: &str, to: u64, outcome: RolloutOutcome, minute: i64) -> Rollout {
    Rollout { id: RolloutId(id.to_owned()), ..super::services::deployment(to, outcome, minute) }
}

fn decided(seen: ObservedTarget, history: RolloutHistory, bases: Bases) -> TargetPlan {
    decide_one(&desired(), &api(), seen, Some(history), |observed, _| {
        observed.bases.insert(api(), Ok(bases));
    })
}

/// The service at rest on a revision of Pinion's with the pinned version.
fn at_rest(on: u64, marker: Option<Marker>) -> ObservedTarget {
    service(on, "2.1", marker, &[(on, true, "COMPLETED", 2)])
}

#[test]
fn decisions() {
    use RolloutOutcome::{Failed, Running, Succeeded};
    let first = || (2, "2.1", made("2.1", 'b', 1, 1));
    let next = || (4, "2.1", made("2.1", 'b', 3, 2));
    let well = || deployment("d1", 2, Succeeded, 1);
    let bad = || deployment("d2", 4, Failed, 5);
    let left = || service(4, "2.1", next().2, &[(4, true, "FAILED", 0), (2, false, "COMPLETED", 2)]);
    let moving = || service(4, "2.1", next().2, &[(4, true, "IN_PROGRESS", 1), (2, false, "COMPLETED", 1)]);
    let old_pin = || service(2, "2.0", made("2.0", 'a', 1, 1), &[(2, true, "COMPLETED", 2)]);
    let both = || (4, "2.1", made("2.1", 'b', 3, 2));
    let table = [
        ("nothing newer", at_rest(2, first().2), history(&[], &[well()]), bases(1, &[2], None)),
        ("a newer one", at_rest(2, first().2), history(&[first()], &[well()]), bases(1, &[2], Some(3))),
        ("the revision is ready", at_rest(2, first().2), history(&[next()], &[well()]), bases(1, &[2], Some(3))),
        (
            "it rolls out",
            moving(),
            history(&[first()], &[deployment("d2", 4, Running, 9), well()]),
            bases(3, &[4], None),
        ),
        ("a newer pin, too: one revision", old_pin(), history(&[], &[]), bases(1, &[2], Some(3))),
        ("it has failed, and is left", left(), history(&[first()], &[bad(), well()]), bases(3, &[4], None)),
        ("it was taken back", at_rest(2, first().2), history(&[next()], &[bad(), well()]), bases(1, &[2], Some(3))),
        (
            "a corrected one",
            at_rest(2, first().2),
            history(&[next(), (3, "0.9", None)], &[bad(), well()]),
            bases(1, &[2], Some(5)),
        ),
        (
            "both were new and failed: the pair",
            old_pin(),
            history(&[both()], &[bad(), deployment("d1", 2, Succeeded, 1)]),
            bases(1, &[2], Some(3)),
        ),
        (
            "somebody has moved it to Terraform's own",
            service(3, "0.9", None, &[(3, true, "COMPLETED", 2)]),
            history(&[], &[]),
            bases(3, &[], None),
        ),
        (
            "a chain of Pinion's own from before",
            at_rest(4, made("2.1", 'b', 2, 2)),
            history(&[first()], &[well()]),
            bases(1, &[2, 4], None),
        ),
    ];
    let lines: Vec<String> = table
        .into_iter()
        .map(|(what, seen, history, bases)| format!("{what}: {}", line(&decided(seen, history, bases))))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    nothing newer: in-sync
    a newer one: rolling-out (getting ready) => register a revision of api:3 with registry/backend:2.1 in container app
    the revision is ready: rolling-out (getting ready) => update service api in cluster app to api:4
    it rolls out: rolling-out (Running, 50 %)
    a newer pin, too: one revision: rolling-out (getting ready) => register a revision of api:3 with registry/backend:2.1 in container app
    it has failed, and is left: quarantined (the rollout of the newer shape of api:3 ended as Failed (d2); what it left is brought back to api:2; the pin isn't quarantined and goes on with the shape before: register a corrected revision, or retry with `pinion resync --retry-quarantined`) => update service api in cluster app to api:2
    it was taken back: quarantined (the rollout of the newer shape of api:3 ended as Failed (d2); the pin isn't quarantined and goes on with the shape before: register a corrected revision, or retry with `pinion resync --retry-quarantined`)
    a corrected one: rolling-out (getting ready) => register a revision of api:5 with registry/backend:2.1 in container app
    both were new and failed: the pair: quarantined (the rollout ended as Failed (d2); pin another version, or retry with `pinion resync --retry-quarantined`)
    somebody has moved it to Terraform's own: rolling-out (getting ready) => register a revision of api:3 with registry/backend:2.1 in container app
    a chain of Pinion's own from before: in-sync
    ");
}

/// What ran before a shape that failed was deregistered: its copy has its shape, and is made once, however that ends.
#[test]
fn the_way_back_from_a_shape_to_what_was_deregistered() {
    use RolloutOutcome::{Failed, Succeeded};
    let first = || (2, "2.1", made("2.1", 'b', 1, 1));
    let next = || (4, "2.1", made("2.1", 'b', 3, 2));
    let copy = || (5, "2.1", made("2.1", 'b', 2, 4));
    let bad = || deployment("d2", 4, Failed, 5);
    let left = || service(4, "2.1", next().2, &[(4, true, "FAILED", 0), (2, false, "COMPLETED", 2)]);
    let on_copy = |state| service(5, "2.1", copy().2, &[(5, true, state, 2)]);
    let remembered = || vec![bad(), deployment("d1", 2, Succeeded, 1)];
    let back = |outcome| [vec![deployment("d3", 5, outcome, 6)], remembered()].concat();
    let table = [
        ("left", left(), vec![next(), first()], remembered(), bases(3, &[4], None)),
        ("a copy is there", left(), vec![copy(), next(), first()], remembered(), bases(3, &[4], None)),
        ("back", on_copy("COMPLETED"), vec![copy(), next(), first()], back(Succeeded), bases(1, &[2, 5], Some(3))),
        ("the copy failed", on_copy("FAILED"), vec![copy(), next(), first()], back(Failed), bases(1, &[2, 5], Some(3))),
    ];
    let lines = table.into_iter().map(|(what, seen, revisions, deployments, bases)| {
        let mut history = history(&revisions, &deployments);
        let RolloutHistory::Service { revisions, .. } = &mut history else { panic!("it is a service") };
        revisions.iter_mut().for_each(|revision| revision.active = revision.arn != arn(2));
        format!("{what}: {}", line(&decided(seen, history, bases)))
    });
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r"
    left: quarantined (the rollout of the newer shape of api:3 ended as Failed (d2); what it left is brought back to api:2; the pin isn't quarantined and goes on with the shape before: register a corrected revision, or retry with `pinion resync --retry-quarantined`) => register api:2 again, which is INACTIVE
    a copy is there: quarantined (the rollout of the newer shape of api:3 ended as Failed (d2); what it left is brought back to api:2; the pin isn't quarantined and goes on with the shape before: register a corrected revision, or retry with `pinion resync --retry-quarantined`) => update service api in cluster app to api:5
    back: quarantined (the rollout of the newer shape of api:3 ended as Failed (d2); the pin isn't quarantined and goes on with the shape before: register a corrected revision, or retry with `pinion resync --retry-quarantined`)
    the copy failed: quarantined (the rollout ended as Failed (d3); versions are mixed, as the way back to api:2 ended as Failed; pin another version, or retry with `pinion resync --retry-quarantined`)
    ");
}

#[test]
fn an_unread_base_is_no_reason_to_write() {
    let seen = || at_rest(2, made("2.1", 'b', 1, 1));
    let plan = decide_one(&desired(), &api(), seen(), Some(history(&[], &[])), |_, _| {});
    assert_eq!((plan.state, plan.action), (State::Unknown, None));
    let plan = decide_one(&desired(), &api(), seen(), Some(history(&[], &[])), |observed, _| {
        observed.bases.insert(api(), Err(super::failed(ErrorClass::Retry)));
    });
    assert_eq!((plan.state, plan.action), (State::Unknown, None));
}

/// A pin goes on with the shape before while the newer one is quarantined.
#[test]
fn a_new_pin_goes_out_on_the_last_good_shape() {
    let seen = service(2, "2.0", made("2.0", 'a', 1, 1), &[(2, true, "COMPLETED", 2)]);
    let revisions = [(4, "2.0", made("2.0", 'a', 3, 2))];
    let deployments =
        [deployment("d2", 4, RolloutOutcome::Failed, 5), deployment("d1", 2, RolloutOutcome::Succeeded, 1)];
    let plan = decided(seen, history(&revisions, &deployments), bases(1, &[2], Some(3)));
    let Some(Action::RegisterTaskDefinition { base, marker, .. }) = plan.action else { panic!("{}", line(&plan)) };
    assert_eq!((base.as_str(), marker.base.as_str(), marker.from()), (&*arn(2), "api:1", "api:2"));
}

/// The rollout is Terraform's body in the service's family, with the pinned image, whatever image Terraform's has.
#[test]
fn a_new_shape_is_copied_from_the_base() {
    let plan = decided(at_rest(2, made("2.1", 'b', 1, 1)), history(&[], &[]), bases(1, &[2], Some(3)));
    let shape = plan.shape.clone().unwrap();
    assert_eq!((&*shape.from, &*shape.to, shape.changes.len()), ("api:1", "api:3", 1));
    assert!(!plan.drifted, "a new shape is no drift");
    let Some(Action::RegisterTaskDefinition { base, family, image: of, marker, .. }) = plan.action else { panic!() };
    assert_eq!((base, &*family, of), (arn(3), "api", image("2.1")));
    assert_eq!((marker.base.as_str(), marker.from()), ("api:3", "api:2"));
}

#[test]
fn it_is_known_which_shape_a_rollout_brings() {
    let before = || (2, "2.0", made("2.0", 'a', 1, 1));
    let moving =
        |marker: Option<Marker>| service(4, "2.1", marker, &[(4, true, "IN_PROGRESS", 1), (2, false, "COMPLETED", 1)]);
    let running = || history(&[before()], &[deployment("d2", 4, RolloutOutcome::Running, 9)]);
    let brings = |seen, history, bases| decided(seen, history, bases).brings;
    let due = service(2, "2.0", before().2, &[(2, true, "COMPLETED", 2)]);
    assert_eq!(brings(due, history(&[], &[]), bases(1, &[2], Some(3))).as_deref(), Some("api:3"), "due");
    let both = made("2.1", 'b', 3, 2);
    assert_eq!(brings(moving(both), running(), bases(3, &[4], None)).as_deref(), Some("api:3"), "under way");
    let pin = made("2.1", 'b', 1, 2);
    assert_eq!(brings(moving(pin), running(), bases(1, &[2, 4], None)), None, "a pin alone");
    let at_rest = at_rest(4, made("2.1", 'b', 3, 2));
    assert_eq!(brings(at_rest, history(&[before()], &[]), bases(3, &[4], None)), None, "over");
}

/// Holds new shapes, or new images.
struct Holds {
    shapes: bool,
}

impl Guardrails for Holds {
    fn check(&self, proposal: Proposal<'_>) -> Vec<Denial> {
        let denied = if self.shapes { proposal.shape.is_some() } else { proposal.image };
        let denial = Denial { policy: "freeze".to_owned(), reason: "not now".to_owned() };
        if denied { vec![denial] } else { Vec::new() }
    }
}

/// Terraform's next revision is there.
#[test]
fn a_freeze_of_shapes_lets_images_through_and_the_reverse() {
    let under = |shapes: bool, version: &str, digit: char| {
        let seen = service(2, version, made(version, digit, 1, 1), &[(2, true, "COMPLETED", 2)]);
        decide_under(&Holds { shapes }, &desired(), &api(), seen, Some(history(&[], &[])), |observed, _| {
            observed.bases.insert(api(), Ok(bases(1, &[2], Some(3))));
        })
    };
    // A freeze of shapes: the pin goes out with the shape that runs, and a shape alone waits.
    let plan = under(true, "2.0", 'a');
    let Some(Action::RegisterTaskDefinition { base, marker, .. }) = &plan.action else { panic!("{}", line(&plan)) };
    assert_eq!((base.as_str(), marker.base.as_str(), plan.base.as_deref()), (&*arn(2), "api:1", Some("api:1")));
    assert!(plan.shape.is_none() && plan.warnings.concat().contains("freeze: not now"), "{:?}", plan.warnings);
    let plan = under(true, "2.1", 'b');
    assert_eq!(line(&plan), "pending (forbidden by freeze: not now)");
    // A freeze of images: a shape alone goes out.
    assert_eq!(line(&under(false, "2.0", 'a')), "pending (forbidden by freeze: not now)");
    let plan = under(false, "2.1", 'b');
    assert!(matches!(plan.action, Some(Action::RegisterTaskDefinition { .. })), "{}", line(&plan));
}

#[test]
fn a_shared_family_is_warned_of() {
    let mut environment = desired();
    let other = LocalRef::new(Kind::Fargate, "worker").unwrap();
    let target = Target { reference: other.within(&environment.name), ..environment.targets[&api()].clone() };
    environment.targets.insert(other.clone(), target);
    let warned = |environment: &Environment| {
        let seen = at_rest(2, made("2.1", 'b', 1, 1));
        let plan = decide_one(environment, &api(), seen.clone(), Some(history(&[], &[])), |observed, _| {
            observed.targets.insert(other.clone(), Ok(seen));
            observed.bases.insert(api(), Ok(bases(1, &[2], None)));
        });
        plan.warnings.concat()
    };
    assert!(warned(&environment).contains("family api, which fargate/worker uses as well"), "{}", warned(&environment));
    let rule = BaseRule { family: None, registered_by: vec!["*:assumed-role/terraform/*".to_owned()] };
    environment.targets.get_mut(&api()).unwrap().base = BaseRevision::Newest(rule);
    assert_eq!(warned(&environment), "");
}

#[test]
fn several_registrars_are_warned_of() {
    let warned = |environment: &Environment, by: &[&str]| {
        let seen = at_rest(2, made("2.1", 'b', 1, 1));
        let registered_by = by.iter().map(|by| (*by).to_owned()).collect();
        let plan = decide_one(environment, &api(), seen, Some(history(&[], &[])), |observed, _| {
            observed.bases.insert(api(), Ok(Bases { registered_by, ..bases(1, &[2], Some(3)) }));
        });
        plan.warnings.concat()
    };
    let mut environment = desired();
    let said = warned(&environment, &["role/terraform", "user/eve"]);
    assert!(
        said.contains("family api, in which several register: role/terraform, user/eve; anybody who may"),
        "{said}"
    );
    assert_eq!(warned(&environment, &["role/terraform"]), "");
    let rule = BaseRule { family: None, registered_by: vec!["*:user/eve".to_owned(), "*:assumed-role/*".to_owned()] };
    environment.targets.get_mut(&api()).unwrap().base = BaseRevision::Newest(rule);
    assert_eq!(warned(&environment, &["role/terraform", "user/eve"]), "");
}

/// The policy's own template is lt-1, an override's lt-2. Version 1 of each is Terraform's, 2 and 4 were made from them for the
/// pin, and version 3 of lt-1 is Terraform's next.
#[test]
fn each_template_of_a_policy_has_a_base_of_its_own() {
    let mut environment = environment(("1.1", 'b'), ("2.0", 'b'));
    environment.targets.get_mut(&web()).unwrap().base = BaseRevision::Newest(BaseRule::default());
    let made = |number, base: &str, from: &str| {
        let from = Some(from.to_owned()).filter(|from| from != base);
        version_of(number, "1.1", Some(Marker { from, ..marker("1.1", 'b', base).unwrap() }))
    };
    let on = |first: TemplateVersion, second: TemplateVersion| {
        let instances = [("lt-1", first.number), ("lt-2", second.number)];
        let mut seen = mixed(TemplateVersionSpec::Number(first.number), &instances);
        let GroupTemplate::MixedInstances(policy) = &mut seen.template else { unreachable!("it is mixed") };
        policy.own[0].version = TemplateVersionSpec::Number(second.number);
        policy.own[0].current = Some(of("lt-2", second));
        seen.current = Some(first);
        seen
    };
    let next = Base {
        name: "3+1".to_owned(),
        revision: BaseSource::TemplateVersions(vec![version_of(3, "0.9", None)]),
        changes: vec!["lt-1: user data changed".to_owned()],
    };
    let bases = |newest: Option<Base>, recorded: &str, through: &str| Bases {
        recorded: recorded.to_owned(),
        through: BTreeSet::from([through.to_owned()]),
        newest,
        registered_by: BTreeSet::new(),
    };
    let decided = |seen: ObservedGroup, versions: Vec<TemplateVersion>, refreshes: Vec<Rollout>, bases: Bases| {
        let versions = [version_of(1, "1.0", None), of("lt-2", version_of(1, "1.0", None))].into_iter().chain(versions);
        let history =
            RolloutHistory::Group { refreshes, versions: versions.collect(), users: Some(Vec::new()), complete: true };
        decide_one(&environment, &web(), ObservedTarget::Group(Box::new(seen)), Some(history), |observed, _| {
            observed.bases.insert(web(), Ok(bases));
        })
    };
    let first = || on(made(2, "1", "1"), made(4, "1", "1"));
    let newer = || bases(Some(next.clone()), "1+1", "2+4");
    let both = || vec![made(5, "3", "2"), of("lt-2", made(6, "1", "4"))];
    let refreshed = |outcome| {
        let target = RolloutTarget::TemplateVersions(vec![("lt-1".to_owned(), 5), ("lt-2".to_owned(), 6)]);
        vec![Rollout { target, ..refresh("r", 0, outcome, 9) }]
    };

    let plan = decided(first(), vec![], vec![], bases(None, "1+1", "2+4"));
    assert_eq!((plan.state, plan.base.as_deref()), (State::InSync, Some("1+1")), "{}", line(&plan));

    // Each version is made from what its own template has.
    let plan = decided(first(), vec![], vec![], newer());
    let Some(Action::CreateTemplateVersion { template, source, marker, .. }) = &plan.action else { panic!("{plan:?}") };
    assert_eq!((template.id.as_str(), *source, marker.base.as_str(), marker.from()), ("lt-1", 3, "3", "2"));
    let shape = plan.shape.unwrap();
    assert_eq!(
        (&*shape.from, &*shape.to, shape.changes.concat()),
        ("1+1", "3+1", "lt-1: user data changed".to_owned())
    );
    let plan = decided(first(), vec![made(5, "3", "2")], vec![], newer());
    let Some(Action::CreateTemplateVersion { template, source, marker, .. }) = &plan.action else { panic!("{plan:?}") };
    assert_eq!((template.id.as_str(), *source, marker.base.as_str(), marker.from()), ("lt-2", 4, "1", "4"));
    let plan = decided(first(), both(), vec![], newer());
    let Some(Action::RefreshPolicy { moves, .. }) = &plan.action else { panic!("{plan:?}") };
    assert_eq!(moves.iter().map(|one| one.to).collect::<Vec<_>>(), [5, 6]);

    let plan = decided(first(), both(), refreshed(RolloutOutcome::Running), newer());
    assert!(plan.ours && plan.state == State::RollingOut, "{}", line(&plan));
    // It fails: the shape of both is quarantined, and what ran before is what is wanted.
    let plan = decided(first(), both(), refreshed(RolloutOutcome::Failed), newer());
    assert!(line(&plan).starts_with("quarantined (the rollout of the newer shape of 3+1"), "{}", line(&plan));
    assert_eq!(plan.base.as_deref(), Some("1+1"));
    // It goes well.
    let done = on(made(5, "3", "2"), of("lt-2", made(6, "1", "4")));
    let mut before = both();
    before.extend([made(2, "1", "1"), of("lt-2", made(4, "1", "1"))]);
    let plan = decided(done, before, refreshed(RolloutOutcome::Succeeded), bases(None, "3+1", "5+6"));
    assert_eq!((plan.state, plan.base.as_deref()), (State::InSync, Some("3+1")), "{}", line(&plan));
}
