//! What good files become.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use pinion_core::manifest::{self, Draft, pin_values};
use pinion_core::model::{AmiQuery, Component, LocalRef, Provenance, TargetSpec};
use proptest::prelude::*;

use super::sample::{ENVIRONMENT, PINS, Repository};

fn draft(repository: &Repository, name: &str) -> Draft {
    let loaded = repository.load();
    assert_eq!(repository.findings(), "");
    loaded.environments.into_iter().find(|(found, _)| found.as_str() == name).unwrap().1.unwrap()
}

fn local(text: &str) -> LocalRef {
    LocalRef::try_from(text.to_owned()).unwrap()
}

#[test]
fn a_target_is_what_its_table_and_its_pin_say() {
    let draft = draft(&Repository::prod(), "prod");
    insta::assert_debug_snapshot!(draft.targets, @r#"
    {
        asg/web: Target {
            reference: prod/asg/web,
            component: "frontend",
            spec: Asg(
                AsgSpec {
                    group: "frontend",
                    ami: Name {
                        name: "frontend-1.4.2",
                        owner: Some(
                            "333333333333",
                        ),
                    },
                },
            ),
            after: {
                fargate/api,
            },
            rollout: RolloutSettings {
                deadline: 3600s,
                min_healthy: None,
                max_healthy: None,
                warmup: None,
                checkpoints: [],
                checkpoint_delay: None,
                bake: None,
                alarms: {},
            },
            verify: [],
            suspend: None,
            take_over: None,
            base: Running,
        },
        fargate/api: Target {
            reference: prod/fargate/api,
            component: "backend",
            spec: Fargate(
                FargateSpec {
                    cluster: "app",
                    service: "api",
                    containers: [],
                    image: ImageReference {
                        registry: "333333333333.dkr.ecr.us-west-1.amazonaws.com",
                        repository: "backend",
                        tag: "2.0.1",
                    },
                },
            ),
            after: {},
            rollout: RolloutSettings {
                deadline: 3600s,
                min_healthy: None,
                max_healthy: None,
                warmup: None,
                checkpoints: [],
                checkpoint_delay: None,
                bake: None,
                alarms: {},
            },
            verify: [],
            suspend: None,
            take_over: None,
            base: Running,
        },
    }
    "#);
    insta::assert_debug_snapshot!(draft.pins(), @r#"
    {
        "backend": "2.0.1",
        "frontend": "1.4.2",
    }
    "#);
}

#[test]
fn everything_that_can_be_said() {
    let repository = Repository::prod()
        .append(
            r#"
service = "backend"
container = "app"
rollout = { deadline = "1h 30m" }

[asg.web.rollout]
deadline = "45m"
min_healthy = 90
max_healthy = 120
warmup = "90s"
checkpoints = [20, 50, 100]
checkpoint_delay = "5m"
bake = "10m"
alarms = ["{environment}-5xx"]

[[asg.web.verify]]
http = "https://{environment}.example.com/health?v={version}"
status = 204
timeout = "2s"
within = "3m"

[asg.web.suspend]
owner = "ada"
reason = "load test"
until = 2026-12-24T18:00:00+01:00
"#,
        )
        .pins(concat!(
            "frontend = '1.4.2'\nbackend = { version = '2.0.1', ",
            "digest = 'sha256:9b2c5d0e1f7a48c3b6d90e2f4a7185c3d6e9f0b1a2c4d5e6f708192a3b4c5d6e' }"
        ));
    let draft = draft(&repository, "prod");
    let web = &draft.targets[&local("asg/web")];
    insta::assert_debug_snapshot!((&web.rollout, &web.verify, &web.suspend), @r#"
    (
        RolloutSettings {
            deadline: 2700s,
            min_healthy: Some(
                90,
            ),
            max_healthy: Some(
                120,
            ),
            warmup: Some(
                90s,
            ),
            checkpoints: [
                20,
                50,
                100,
            ],
            checkpoint_delay: Some(
                300s,
            ),
            bake: Some(
                600s,
            ),
            alarms: {
                "prod-5xx",
            },
        },
        [
            Probe {
                http: "https://prod.example.com/health?v=1.4.2",
                status: 204,
                timeout: 2s,
                within: 180s,
            },
        ],
        Some(
            Suspension {
                owner: "ada",
                reason: "load test",
                until: 2026-12-24T17:00:00Z,
                reach: Target,
            },
        ),
    )
    "#);
    let api = &draft.targets[&local("fargate/api")];
    assert_eq!(api.rollout.deadline, Duration::from_secs(5400));
    insta::assert_debug_snapshot!(draft.pins(), @r#"
    {
        "backend": "2.0.1@sha256:9b2c5d0e1f7a48c3b6d90e2f4a7185c3d6e9f0b1a2c4d5e6f708192a3b4c5d6e",
        "frontend": "1.4.2",
    }
    "#);
}

#[test]
fn an_ami_is_found_in_four_ways() {
    let query = |ami: &str, pin: &str| {
        let repository = Repository::prod()
            .edit(r#"{ name = "frontend-{version}", owner = "333333333333" }"#, ami)
            .pins(&format!("frontend = '{pin}'\nbackend = '1'"));
        match &draft(&repository, "prod").targets[&local("asg/web")].spec {
            TargetSpec::Asg(asg) => asg.ami.clone(),
            TargetSpec::Fargate(_) => panic!("a service"),
        }
    };
    assert_eq!(
        query(r#"{ tags = { role = "{environment}", version = "{version}" } }"#, "1.4.2"),
        AmiQuery::Tags {
            tags: [("role", "prod"), ("version", "1.4.2")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            owner: None
        }
    );
    assert_eq!(
        query(r#"{ parameter = "/DeploymentConfig/{environment}/App/AmiId:{version}" }"#, "7"),
        AmiQuery::Parameter { parameter: "/DeploymentConfig/prod/App/AmiId:7".to_owned() }
    );
    assert_eq!(
        query(r#"{ id = "{version}" }"#, "ami-0123456789abcdef0"),
        AmiQuery::Id { id: "ami-0123456789abcdef0".to_owned() }
    );
    let AmiQuery::Name { owner, .. } = query(r#"{ name = "a-{version}", owner = "{account}" }"#, "1") else {
        panic!("not by name")
    };
    assert_eq!(owner.unwrap().as_str(), "222222222222");
}

#[test]
fn defaults_lie_under_every_environment() {
    let repository = Repository::default()
        .with(
            "defaults.toml",
            r#"
[account]
region = "us-west-1"
role = "arn:aws:iam::{account}:role/pinion"
[asg.web]
group = "{environment}-web"
component = "frontend"
ami = { name = "frontend-{version}", owner = "333333333333" }
rollout = { deadline = "45m", min_healthy = 50, checkpoints = [20, 100] }
"#,
        )
        .with("dev/environment.toml", "[account]\nid = '111111111111'")
        .with("dev/pins.toml", "frontend = '1'")
        .with(
            "prod/environment.toml",
            r#"
[account]
id = "222222222222"
region = "eu-west-1"
[asg.web]
ami = { parameter = "/App/AmiId:{version}" }
rollout = { min_healthy = 90, checkpoints = [50, 100] }
"#,
        )
        .with("prod/pins.toml", "frontend = '2'");
    let (dev, prod) = (draft(&repository, "dev"), draft(&repository, "prod"));
    assert_eq!(dev.account.role.as_str(), "arn:aws:iam::111111111111:role/pinion");
    assert_eq!((dev.account.region.as_str(), prod.account.region.as_str()), ("us-west-1", "eu-west-1"));
    let web = &prod.targets[&local("asg/web")];
    assert_eq!(web.rollout.deadline, Duration::from_secs(45 * 60), "kept from the defaults");
    assert_eq!((web.rollout.min_healthy, &*web.rollout.checkpoints), (Some(90), &[50, 100][..]));
    let TargetSpec::Asg(asg) = &web.spec else { panic!("a service") };
    assert_eq!(asg.group.as_str(), "prod-web");
    assert!(matches!(asg.ami, AmiQuery::Parameter { .. }), "one way to find the AMI replaces another");
}

#[test]
fn only_our_files_count() {
    let mut repository = Repository::prod()
        .with("README.md", "x")
        .with("prod/README.md", "x")
        .with("prod/.hidden.toml", "x")
        .with(".github/x.toml", "x");
    repository.0.insert("policies/guardrails/freeze.cedar".to_owned(), FREEZE.to_vec());
    repository.0.insert("policies/guardrails/pinion.cedarschema".to_owned(), Vec::new());
    repository.0.insert("policies/iam/trust.json".to_owned(), Vec::new());
    assert_eq!(repository.findings(), "");
    assert_eq!(repository.load().policies.len(), 1);
}

#[test]
fn provenance_completes_a_draft() {
    let draft = draft(&Repository::prod(), "prod");
    let provenance = Provenance::uncommitted("2026-01-01T00:00:00Z".parse().unwrap());
    let provenance: BTreeMap<Component, Provenance> =
        draft.pins().into_keys().map(|component| (component, provenance.clone())).collect();
    let environment = draft.complete(&provenance);
    assert_eq!(environment.pins.len(), 2);
    assert!(environment.targets.values().all(|target| environment.pin_of(target).is_some()));
}

#[test]
fn pin_values_are_canonical() {
    let digest = "sha256:9b2c5d0e1f7a48c3b6d90e2f4a7185c3d6e9f0b1a2c4d5e6f708192a3b4c5d6e";
    let one = pin_values(format!("a = '1'\nb = {{ version = \"2\", digest = '{digest}' }}\n").as_bytes());
    let other = pin_values(format!("[b]\ndigest = '{digest}' # x\nversion = '2'\n[a]\nversion = '1'").as_bytes());
    assert_eq!(one, other);
    assert_eq!(one["b"], format!("2@{digest}"));
    assert_eq!(pin_values(b"a = 1\nb = '2'\nc = 'x y'\nd = { version = '1', digest = 'no' }").len(), 1);
    assert!(pin_values(b"\xff").is_empty());
    assert!(pin_values(b"<<<<<<< HEAD\na = '1'").is_empty());
}

#[test]
fn the_template_is_good() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let folder = manifest::read::folder(root).unwrap();
    let loaded = manifest::load_with_refused(&folder.files, &folder.refused);
    assert_eq!(loaded.all_findings().to_string(), "");
    assert_eq!((loaded.environments.len(), loaded.targets(), loaded.pins()), (2, 4, 4));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        environment in prop::collection::vec(any::<u8>(), 0..200),
        pins in "\\PC{0,80}",
        cut in 0..ENVIRONMENT.len(),
        flip in 0..ENVIRONMENT.len(),
        byte in any::<u8>(),
    ) {
        let mut flipped = ENVIRONMENT.as_bytes().to_vec();
        flipped[flip] = byte;
        let repository = Repository::default()
            .with("defaults.toml", &environment)
            .with("a/environment.toml", &environment)
            .with("a/pins.toml", &pins)
            .with("b/environment.toml", &ENVIRONMENT.as_bytes()[..cut])
            .with("b/pins.toml", PINS)
            .with("c/environment.toml", flipped)
            .with("c/pins.toml", PINS);
        let findings = repository.load().all_findings();
        let _ = manifest::render::graphical(&findings, true, 80);
        let _ = pin_values(&environment);
    }
}

const FREEZE: &[u8] = b"@id(\"freeze\") @reason(\"stock-taking\") forbid (principal, action, resource);";
