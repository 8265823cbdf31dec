//! Decisions about ECS services.

use super::*;

pub(super) fn arn(revision: u64) -> String {
    format!("arn:aws:ecs:us-west-1:222222222222:task-definition/api:{revision}")
}

fn containers(version: &str) -> Vec<Container> {
    vec![
        Container { name: "app".to_owned(), image: image(version), essential: true },
        Container { name: "log".to_owned(), image: "registry/log:1".to_owned(), essential: false },
    ]
}

/// A service on a revision, with deployments of (revision, primary, rollout state, running tasks).
pub(super) fn service(
    on: u64,
    version: &str,
    marker: Option<Marker>,
    deployments: &[(u64, bool, &str, u32)],
) -> ObservedTarget {
    ObservedTarget::Service(Box::new(ObservedService {
        cluster: ClusterName::try_from("app").unwrap(),
        name: ServiceName::try_from("api").unwrap(),
        arn: "arn:aws:ecs:us-west-1:222222222222:service/app/api".to_owned(),
        status: "ACTIVE".to_owned(),
        controller: "ECS".to_owned(),
        breaker: true,
        task_definition: TaskDefinition {
            arn: arn(on),
            containers: containers(version),
            architecture: None,
            marker: marker.clone(),
            active: true,
            tags: 0,
            made: Some(at(1)),
            made_by: None,
        },
        deployments: deployments
            .iter()
            .map(|(revision, primary, state, running)| ObservedDeployment {
                id: format!("ecs-svc/{revision}"),
                primary: *primary,
                task_definition: arn(*revision),
                marker: marker.clone().filter(|_| *revision == on),
                containers: if *revision == on { containers(version) } else { containers("2.0") },
                rollout_state: (*state).to_owned(),
                reason: None,
                created: Some(at(9)),
                failed: 0,
                desired: 2,
                running: *running,
            })
            .collect(),
        desired: 2,
        running: 2,
        digests: BTreeMap::new(),
    }))
}

pub(super) fn deployment(to: u64, outcome: RolloutOutcome, minute: i64) -> Rollout {
    Rollout {
        target: RolloutTarget::TaskDefinition(arn(to)),
        percentage: None,
        ..super::groups::refresh("d", 0, outcome, minute)
    }
}

pub(super) fn history(revisions: &[(u64, &str, Option<Marker>)], deployments: &[Rollout]) -> RolloutHistory {
    RolloutHistory::Service {
        deployments: deployments.to_vec(),
        revisions: revisions
            .iter()
            .map(|(revision, version, marker)| TaskDefinition {
                arn: arn(*revision),
                containers: containers(version),
                architecture: None,
                marker: marker.clone(),
                active: true,
                tags: 0,
                made: Some(at(1)),
                made_by: None,
            })
            .collect(),
        complete: true,
    }
}

/// What runs is what ran until the new tasks have taken over.
#[test]
fn a_version_runs_once_all_its_tasks_do() {
    let environment = environment(("1.0", 'b'), ("2.1", 'b'));
    for (new, old, expected) in [(0, 2, "2.0"), (1, 2, "2.0"), (2, 1, "2.1"), (2, 0, "2.1"), (0, 0, "2.1")] {
        let deployments = [(2, true, "IN_PROGRESS", new), (1, false, "COMPLETED", old)];
        let seen = service(2, "2.1", marker("2.1", 'b', "api:1"), &deployments);
        let history = history(&[], &[deployment(2, RolloutOutcome::Running, 9)]);
        let plan = decide_one(&environment, &api(), seen, Some(history), |_, _| {});
        assert_eq!(plan.running.as_deref(), Some(expected), "{new} new ones, {old} old ones");
    }
}

/// The pin is 2.1, set by commit b; the service is on revision 1, which holds 2.0, unless a row says otherwise.
#[test]
fn decisions() {
    use RolloutOutcome::{Failed, Running, Succeeded, Undoing};
    let environment = environment(("1.0", 'b'), ("2.1", 'b'));
    let ours = || marker("2.1", 'b', "api:1");
    let new = || (2, "2.1", ours());
    let earlier = || marker("2.2", 'c', "api:1");
    let at_rest = || service(1, "2.0", None, &[(1, true, "COMPLETED", 2)]);
    let moving = || service(2, "2.1", ours(), &[(2, true, "IN_PROGRESS", 1), (1, false, "COMPLETED", 2)]);
    let table = [
        ("in sync", service(2, "2.1", ours(), &[(2, true, "COMPLETED", 2)]), history(&[], &[])),
        ("a revision is missing", at_rest(), history(&[], &[])),
        ("the revision is ready", at_rest(), history(&[new()], &[])),
        ("our deployment runs", moving(), history(&[], &[deployment(2, Running, 9)])),
        ("our deployment runs, not listed yet", moving(), history(&[], &[])),
        (
            "old tasks stop",
            service(2, "2.1", ours(), &[(2, true, "COMPLETED", 2), (1, false, "COMPLETED", 1)]),
            history(&[], &[deployment(2, Succeeded, 9)]),
        ),
        ("our deployment is rolled back", at_rest(), history(&[new()], &[deployment(2, Undoing, 9)])),
        ("the breaker has rolled it back", at_rest(), history(&[new()], &[deployment(2, Failed, 5)])),
        (
            "failed without rollback",
            service(2, "2.1", ours(), &[(2, true, "FAILED", 0), (1, false, "COMPLETED", 2)]),
            history(&[], &[]),
        ),
        (
            "an earlier pin's deployment runs",
            service(2, "2.2", earlier(), &[(2, true, "IN_PROGRESS", 1), (1, false, "COMPLETED", 2)]),
            history(&[], &[deployment(2, Running, 9)]),
        ),
        (
            "somebody else's deployment runs",
            service(2, "9.9", None, &[(2, true, "IN_PROGRESS", 1), (1, false, "COMPLETED", 2)]),
            history(&[], &[deployment(2, Running, 9)]),
        ),
        (
            "changed by hand",
            service(3, "9.9", None, &[(3, true, "COMPLETED", 2)]),
            history(&[new()], &[deployment(3, Succeeded, 8), deployment(2, Succeeded, 5)]),
        ),
    ];
    let mut lines = String::new();
    for (name, seen, history) in table {
        let plan = decide_one(&environment, &api(), seen, Some(history), |_, _| {});
        lines += &format!("{name}: {}\n", line(&plan));
    }
    insta::assert_snapshot!(lines, @r"
    in sync: in-sync
    a revision is missing: rolling-out (getting ready) => register a revision of api:1 with registry/backend:2.1 in container app
    the revision is ready: rolling-out (getting ready) => update service api in cluster app to api:2
    our deployment runs: rolling-out (Running, 50 %)
    our deployment runs, not listed yet: rolling-out (IN_PROGRESS, 50 %)
    old tasks stop: rolling-out (old tasks are stopping)
    our deployment is rolled back: rolling-out (the rollout failed and is rolled back)
    the breaker has rolled it back: quarantined (the rollout ended as Failed (d); pin another version, or retry with `pinion resync --retry-quarantined`)
    failed without rollback: quarantined (the rollout ended as FAILED (ecs-svc/2); what it left is brought back to api:1; pin another version, or retry with `pinion resync --retry-quarantined`) => update service api in cluster app to api:1
    an earlier pin's deployment runs: rolling-out (getting ready) => register a revision of api:2 with registry/backend:2.1 in container app
    somebody else's deployment runs: pending (waits for a rollout that Pinion didn't start: d (Running))
    changed by hand: rolling-out (getting ready) => register a revision of api:3 with registry/backend:2.1 in container app [drifted]
    ");
}

#[test]
fn a_revision_just_registered_is_used_though_it_is_not_listed_yet() {
    let environment = environment(("1.0", 'b'), ("2.1", 'b'));
    let at_rest = || service(1, "2.0", None, &[(1, true, "COMPLETED", 2)]);
    let made =
        |digit, base| Made { marker: marker("2.1", digit, base).unwrap(), image: Some(image("2.1")), arn: arn(3) };
    let with = |made: Made, revisions: &[(u64, &str, Option<Marker>)]| {
        let plan = decide_one(&environment, &api(), at_rest(), Some(history(revisions, &[])), |_, memory| {
            memory.made.insert(api(), made);
        });
        plan.action.unwrap()
    };
    let updated = |action: Action| match action {
        Action::UpdateService { task_definition, .. } => task_definition,
        other => other.operation().to_owned(),
    };
    assert_eq!(updated(with(made('b', "api:1"), &[])), arn(3));
    let twin = (2, "2.1", marker("2.1", 'b', "api:1"));
    assert_eq!(
        updated(with(made('b', "api:1"), &[twin])),
        arn(2),
        "the oldest that is listed, as another process takes it, too"
    );
    assert_eq!(updated(with(made('a', "api:1"), &[])), "RegisterTaskDefinition", "for another commit");
    assert_eq!(updated(with(made('b', "api:0"), &[])), "RegisterTaskDefinition", "from another base");
}

#[test]
fn shapes_that_cannot_be_rolled_out_say_what_to_change() {
    let environment = environment(("1.0", 'b'), ("2.1", 'b'));
    let named = |name: &str| {
        let mut environment = environment.clone();
        if let TargetSpec::Fargate(spec) = &mut environment.targets.get_mut(&api()).unwrap().spec {
            spec.containers = vec![name.to_owned()];
        }
        environment
    };
    let base = || match service(1, "2.0", None, &[(1, true, "COMPLETED", 2)]) {
        ObservedTarget::Service(service) => service,
        _ => unreachable!("it is a service"),
    };
    type Row = (Environment, fn(&mut ObservedService));
    let table: [Row; 4] = [
        (environment.clone(), |service| service.controller = "CODE_DEPLOY".to_owned()),
        (environment.clone(), |service| service.status = "DRAINING".to_owned()),
        (environment.clone(), |service| service.task_definition.containers[1].essential = true),
        (named("nginx"), |_| {}),
    ];
    let mut lines = String::new();
    for (environment, change) in table {
        let mut service = base();
        change(&mut service);
        let plan =
            decide_one(&environment, &api(), ObservedTarget::Service(service), Some(history(&[], &[])), |_, _| {});
        assert_eq!(plan.action, None);
        lines += &format!("{}\n", line(&plan));
    }
    insta::assert_snapshot!(lines, @r"
    blocked (service api has the deployment controller CODE_DEPLOY, with which only that controller may change the task definition; move it to ECS, which keeps the service: UpdateService with deploymentController ECS (ECS's own blue/green deployments are served, too))
    blocked (service api is DRAINING; create it again, or take it out of environment.toml)
    blocked (task definition api:1 has several essential containers (app, log); say with `container` which one is ours)
    blocked (task definition api:1 has no container `nginx` (it has app, log); correct `container`)
    ");
    let sidecar =
        decide_one(&named("log"), &api(), ObservedTarget::Service(base()), Some(history(&[], &[])), |_, _| {});
    assert!(matches!(sidecar.action, Some(Action::RegisterTaskDefinition { containers, .. }) if containers == ["log"]));
}

/// What AWS says is taken as it is: nothing that it could say ends the process.
#[test]
fn counts_and_times_may_be_anything() {
    use RolloutOutcome::{Failed, Running, Succeeded};
    let mut environment = environment(("1.0", 'b'), ("2.1", 'b'));
    let ours = || marker("2.1", 'b', "api:1");
    let deployments = [(2, true, "IN_PROGRESS", u32::MAX), (1, false, "COMPLETED", u32::MAX), (1, false, "", u32::MAX)];
    for (from, to) in [(Timestamp::MIN, Timestamp::MAX), (Timestamp::MAX, Timestamp::MIN)] {
        environment.pins.values_mut().for_each(|pin| pin.provenance.time = to);
        let mut seen = service(2, "2.1", ours(), &deployments);
        if let ObservedTarget::Service(service) = &mut seen {
            (service.desired, service.running) = (u32::MAX, u32::MAX);
            service.deployments.iter_mut().for_each(|deployment| {
                (deployment.created, deployment.desired) = (Some(from), u32::MAX);
            });
        }
        for outcome in [Running, Failed, Succeeded] {
            let rollout = Rollout { started: Some(from), ended: Some(to), ..deployment(2, outcome, 1) };
            let history = Some(history(&[(2, "2.1", ours())], &[rollout]));
            let plan = decide_one(&environment, &api(), seen.clone(), history, |_, memory| {
                memory.retry(&environment, BTreeMap::new(), to);
            });
            assert!(!line(&plan).is_empty());
        }
    }
}
