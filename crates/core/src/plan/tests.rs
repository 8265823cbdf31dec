//! The planner's tables, and properties over a small model of AWS.

mod alarms;
mod doubt;
mod failures;
mod groups;
mod healing;
mod images;
mod memory;
mod model;
mod probes;
mod promotion;
mod properties;
mod quarantine;
mod retries;
mod services;
mod shape_limits;
mod shapes;
mod templates;
mod together;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::claims::Claims;
use crate::guardrail::{DenyAll, Fleet, Guardrails, NoPolicies};
use crate::model::ErrorClass;
use crate::model::*;

/// The commit that tests pin with: 40 times this digit.
pub(super) fn commit(digit: char) -> CommitId {
    CommitId::try_from(digit.to_string().repeat(40)).unwrap()
}

pub(super) fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
}

pub(super) fn pin(component: &str, version: &str, digit: char) -> Pin {
    Pin {
        component: Component::try_from(component).unwrap(),
        version: Version::try_from(version).unwrap(),
        digest: None,
        provenance: Provenance {
            commit: commit(digit),
            author: "Ada".to_owned(),
            email: "ada@example.com".to_owned(),
            time: at(0),
            subject: format!("{component}: {version}"),
            trailers: BTreeMap::new(),
            signer: None,
        },
    }
}

pub(super) fn web() -> LocalRef {
    LocalRef::new(Kind::Asg, "web").unwrap()
}

pub(super) fn api() -> LocalRef {
    LocalRef::new(Kind::Fargate, "api").unwrap()
}

/// `prod`: the group `web` on component `frontend`, and the service `api` on component `backend`.
pub(super) fn environment(frontend: (&str, char), backend: (&str, char)) -> Environment {
    let name = EnvironmentName::try_from("prod").unwrap();
    let target = |local: LocalRef, component: &str, spec: TargetSpec| Target {
        reference: local.within(&name),
        component: Component::try_from(component).unwrap(),
        spec,
        after: BTreeSet::new(),
        rollout: RolloutSettings::default(),
        verify: Vec::new(),
        suspend: None,
        take_over: None,
        base: BaseRevision::Running,
    };
    let asg = TargetSpec::Asg(AsgSpec {
        group: GroupName::try_from("frontend").unwrap(),
        ami: AmiQuery::Name { name: format!("frontend-{}", frontend.0), owner: None },
    });
    let fargate = TargetSpec::Fargate(FargateSpec {
        cluster: ClusterName::try_from("app").unwrap(),
        service: ServiceName::try_from("api").unwrap(),
        containers: Vec::new(),
        image: ImageReference::parse(&format!("registry/backend:{}", backend.0)).unwrap(),
    });
    Environment {
        held: BTreeMap::new(),
        shape_limit: None,
        account: Account {
            id: AccountId::try_from("222222222222").unwrap(),
            region: Region::try_from("us-west-1").unwrap(),
            role: RoleArn::try_from("arn:aws:iam::222222222222:role/pinion").unwrap(),
            external_id: None,
        },
        promotion: None,
        targets: BTreeMap::from([(web(), target(web(), "frontend", asg)), (api(), target(api(), "backend", fargate))]),
        pins: [pin("frontend", frontend.0, frontend.1), pin("backend", backend.0, backend.1)]
            .into_iter()
            .map(|pin| (pin.component.clone(), pin))
            .collect(),
        name,
    }
}

/// The AMI id that a version of the frontend resolves to in these tests.
pub(super) fn ami(version: &str) -> String {
    format!("ami-{version}")
}

/// The image that a version of the backend resolves to in these tests.
pub(super) fn image(version: &str) -> String {
    format!("registry/backend:{version}")
}

/// A container image of which nothing but the name is known.
pub(super) fn container_image(text: &str) -> Artifact {
    Artifact::Image {
        image: text.to_owned(),
        digest: None,
        architectures: BTreeSet::new(),
        members: BTreeSet::new(),
        tag: (text.rsplit_once(':').map_or_else(String::new, |(_, tag)| tag.to_owned()), None),
    }
}

pub(super) fn marker(version: &str, digit: char, base: &str) -> Option<Marker> {
    Some(Marker {
        version: Version::try_from(version).unwrap(),
        commit: commit(digit),
        base: base.to_owned(),
        from: None,
        owner: None,
    })
}

/// The artifacts that an environment's pins resolve to.
pub(super) fn artifacts(environment: &Environment) -> BTreeMap<LocalRef, Result<Artifact, ResolveError>> {
    environment
        .targets
        .iter()
        .map(|(local, target)| {
            let version = environment.pin_of(target).unwrap().version.as_str();
            let artifact = match local.kind {
                Kind::Asg => Artifact::Ami {
                    id: ami(version),
                    name: Some(format!("frontend-{version}")),
                    architecture: Some("x86_64".to_owned()),
                    deprecated: false,
                    root_device: None,
                },
                Kind::Fargate => container_image(&image(version)),
            };
            (local.clone(), Ok(artifact))
        })
        .collect()
}

/// Plans one target of an environment of which only that one is looked at.
pub(super) fn decide_one(
    environment: &Environment,
    local: &LocalRef,
    seen: ObservedTarget,
    history: Option<RolloutHistory>,
    change: impl FnOnce(&mut Observed, &mut Memory),
) -> TargetPlan {
    decide_under(&NoPolicies, environment, local, seen, history, change)
}

/// The same under guardrails.
pub(super) fn decide_under(
    guardrails: &dyn Guardrails,
    environment: &Environment,
    local: &LocalRef,
    seen: ObservedTarget,
    history: Option<RolloutHistory>,
    change: impl FnOnce(&mut Observed, &mut Memory),
) -> TargetPlan {
    let mut observed = Observed {
        bases: BTreeMap::new(),
        identity: Some(Ok(environment.account.id.clone())),
        alarms: None,
        unasked: BTreeMap::new(),
        artifacts: artifacts(environment),
        targets: BTreeMap::from([(local.clone(), Ok(seen))]),
        histories: history.into_iter().map(|history| (local.clone(), Ok(history))).collect(),
    };
    let mut memory = Memory::default();
    change(&mut observed, &mut memory);
    let input = Input {
        desired: environment,
        observed: &observed,
        memory: &memory,
        guardrails,
        fleet: &Fleet::default(),
        claims: &Claims::alone(environment),
        now: at(10),
    };
    plan(input).targets.remove(local).unwrap()
}

/// One line for a decision: what tables compare.
pub(super) fn line(plan: &TargetPlan) -> String {
    let mut line = plan.state.to_string();
    if let Some(reason) = &plan.reason {
        line += &format!(" ({reason})");
    }
    if let Some(action) = &plan.action {
        line += &format!(" => {action}");
    }
    if plan.drifted {
        line += " [drifted]";
    }
    line
}

fn failed(class: ErrorClass) -> PortError {
    PortError {
        class,
        service: "autoscaling",
        operation: "DescribeAutoScalingGroups",
        code: "Code".to_owned(),
        message: "message".to_owned(),
        request_id: Some("r-1".to_owned()),
        throttled: false,
    }
}

#[test]
fn what_cannot_be_decided_says_why() {
    let environment = environment(("1.1", 'b'), ("2.0", 'b'));
    let group = || groups::group(1, &[(1, "1.0", None)], &[1, 1]);
    type Row<'a> = (&'a str, &'a dyn Fn(&mut Observed, &mut Memory));
    let table: [Row<'_>; 8] = [
        ("another account", &|observed, _| {
            observed.identity = Some(Ok(AccountId::try_from("999999999999").unwrap()));
        }),
        ("role refused", &|observed, _| observed.identity = Some(Err(failed(ErrorClass::Denied)))),
        ("throttled", &|observed, _| {
            observed.targets.insert(web(), Err(failed(ErrorClass::Retry)));
        }),
        ("read refused", &|observed, _| {
            observed.targets.insert(web(), Err(failed(ErrorClass::Denied)));
        }),
        ("no such group", &|observed, _| {
            let missing = ObservedTarget::Missing("group frontend in us-west-1".to_owned());
            observed.targets.insert(web(), Ok(missing));
        }),
        ("no such image", &|observed, _| {
            let unusable = ResolveError::Unusable("no AMI is named frontend-1.1".to_owned());
            observed.artifacts.insert(web(), Err(unusable));
        }),
        ("history refused", &|observed, _| {
            observed.histories.insert(web(), Err(failed(ErrorClass::Denied)));
        }),
        ("history slow", &|observed, _| {
            observed.histories.insert(web(), Err(failed(ErrorClass::Retry)));
        }),
    ];
    let mut lines = String::new();
    for (name, change) in table {
        let plan = decide_one(&environment, &web(), group(), None, change);
        assert_eq!(plan.action, None, "{name}");
        lines += &format!("{name}: {}\n", line(&plan));
    }
    insta::assert_snapshot!(lines, @r"
    another account: blocked (the credentials belong to account 999999999999, the environment to 222222222222; correct `account.role` or `account.id` in environment.toml)
    role refused: unknown (can't be read now: autoscaling:DescribeAutoScalingGroups failed: Code: message (request r-1))
    throttled: unknown (can't be read now: autoscaling:DescribeAutoScalingGroups failed: Code: message (request r-1))
    read refused: blocked (autoscaling:DescribeAutoScalingGroups failed: Code: message (request r-1))
    no such group: blocked (there is no group frontend in us-west-1; create it, or correct its name in environment.toml)
    no such image: blocked (no AMI is named frontend-1.1)
    history refused: blocked (autoscaling:DescribeAutoScalingGroups failed: Code: message (request r-1))
    history slow: unknown (can't be read now: autoscaling:DescribeAutoScalingGroups failed: Code: message (request r-1))
    ");
}

#[test]
fn a_suspended_target_is_left_alone_until_its_suspension_ends() {
    let mut environment = environment(("1.1", 'b'), ("2.0", 'b'));
    let suspend = |until| Suspension {
        owner: "web team".to_owned(),
        reason: "migration".to_owned(),
        until,
        reach: Reach::Target,
    };
    let seen = || groups::group(1, &[(1, "1.0", None)], &[1, 1]);
    let history = || Some(groups::history(&[], &[]));
    environment.targets.get_mut(&web()).unwrap().suspend = Some(suspend(at(11)));
    let plan = decide_one(&environment, &web(), seen(), history(), |_, _| {});
    assert_eq!((plan.state, plan.action), (State::Suspended, None));
    environment.targets.get_mut(&web()).unwrap().suspend = Some(suspend(at(9)));
    let plan = decide_one(&environment, &web(), seen(), history(), |_, _| {});
    assert!(plan.action.is_some());
}

#[test]
fn a_target_waits_for_those_that_it_comes_after() {
    let mut environment = environment(("1.1", 'b'), ("2.1", 'b'));
    environment.targets.get_mut(&web()).unwrap().after.insert(api());
    let observed = |service: ObservedTarget| Observed {
        bases: BTreeMap::new(),
        identity: Some(Ok(environment.account.id.clone())),
        alarms: None,
        unasked: BTreeMap::new(),
        artifacts: artifacts(&environment),
        targets: BTreeMap::from([(web(), Ok(groups::group(1, &[(1, "1.0", None)], &[1, 1]))), (api(), Ok(service))]),
        histories: BTreeMap::from([(web(), Ok(groups::history(&[], &[]))), (api(), Ok(services::history(&[], &[])))]),
    };
    let memory = Memory::default();
    let planned = |observed: &Observed| {
        plan(Input {
            desired: &environment,
            observed,
            memory: &memory,
            guardrails: &NoPolicies,
            fleet: &Fleet::default(),
            claims: &Claims::alone(&environment),
            now: at(10),
        })
    };
    let waiting = planned(&observed(services::service(1, "2.0", None, &[(1, true, "COMPLETED", 2)])));
    assert_eq!(
        waiting.targets[&web()].reason,
        Some(Reason::After { target: api(), state: State::RollingOut }),
        "{waiting:?}"
    );
    let free = planned(&observed(services::service(1, "2.1", None, &[(1, true, "COMPLETED", 2)])));
    assert!(free.targets[&web()].action.is_some());
}

#[test]
fn a_guardrail_holds_a_rollout_back_and_is_named() {
    let environment = environment(("1.1", 'b'), ("2.0", 'b'));
    let observed = Observed {
        bases: BTreeMap::new(),
        identity: Some(Ok(environment.account.id.clone())),
        alarms: None,
        unasked: BTreeMap::new(),
        artifacts: artifacts(&environment),
        targets: BTreeMap::from([(web(), Ok(groups::group(1, &[(1, "1.0", None)], &[1, 1])))]),
        histories: BTreeMap::from([(web(), Ok(groups::history(&[], &[])))]),
    };
    let memory = Memory::default();
    let guardrails = DenyAll { reason: "no policy can be read".to_owned() };
    let plan = plan(Input {
        desired: &environment,
        observed: &observed,
        memory: &memory,
        guardrails: &guardrails,
        fleet: &Fleet::default(),
        claims: &Claims::alone(&environment),
        now: at(1),
    });
    assert_eq!(plan.targets[&web()].state, State::Pending);
    assert!(line(&plan.targets[&web()]).contains("no policy can be read"));
    assert!(plan.writes_nothing());
}

#[test]
fn order_puts_each_target_behind_those_it_waits_for_and_cycles_are_found() {
    let mut targets = environment(("1", 'a'), ("1", 'a')).targets;
    targets.get_mut(&web()).unwrap().after.insert(api());
    assert_eq!(in_order(&targets), [api(), web()]);
    let after = BTreeMap::from([(web(), BTreeSet::from([api()])), (api(), BTreeSet::from([web()]))]);
    assert_eq!(Cycle::find(&after).unwrap().0.len(), 3);
    assert_eq!(Cycle::find(&BTreeMap::from([(web(), BTreeSet::from([api()]))])), None);
}

#[test]
fn a_chain_is_as_long_as_a_file_allows() {
    let local = |number: usize| LocalRef::try_from(format!("asg/t{number}")).unwrap();
    let target = environment(("1", 'a'), ("1", 'a')).targets.remove(&web()).unwrap();
    let mut targets = BTreeMap::new();
    let mut after = BTreeMap::new();
    for number in 0..20_000 {
        let mut target = target.clone();
        target.after = BTreeSet::from([local(number + 1)]);
        after.insert(local(number), target.after.clone());
        targets.insert(local(number), target);
    }
    assert_eq!(Cycle::find(&after), None);
    let order = in_order(&targets);
    assert_eq!((order.len(), order.first()), (20_000, Some(&local(19_999))));
    after.insert(local(20_000), BTreeSet::from([local(0)]));
    assert_eq!(Cycle::find(&after).unwrap().0.len(), 20_002);
}

#[test]
fn markers_survive_being_written() {
    let marker = marker("1.4.2", 'a', "7").unwrap();
    assert_eq!(Marker::parse(&marker.to_string()), Some(marker.clone()));
    let tags = marker.tags();
    assert_eq!(Marker::from_tags(tags.iter().map(|(key, value)| (*key, value.as_str()))), Some(marker));
    assert_eq!(Marker::parse("made by hand"), None);
    let longest = Marker {
        version: Version::try_from("v".repeat(128)).unwrap(),
        commit: CommitId::try_from("a".repeat(64)).unwrap(),
        base: "10000".to_owned(),
        from: None,
        owner: None,
    };
    assert!(longest.to_string().len() <= 255, "AWS takes at most 255 characters");
}

/// A deadline that has passed at `at(10)` for what started at `at(0)`.
pub(super) const SHORT: Duration = Duration::from_secs(300);
