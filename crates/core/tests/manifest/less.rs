//! What needn't be written for each target: placeholders, defaults of kinds, and another word for services.

use std::collections::BTreeMap;

use pinion_core::manifest::{self, Draft, render, users};
use pinion_core::model::{AmiQuery, LocalRef, TargetSpec};
use proptest::prelude::*;

use super::sample::{Repository, findings};

const ACCOUNT: &str = r#"
[account]
id = "222222222222"
region = "us-west-1"
role = "arn:aws:iam::{account}:role/pinion"
"#;

const REGISTRY: &str = "333333333333.dkr.ecr.us-west-1.amazonaws.com";

/// One environment, `prod`, with all of its settings in its own file.
fn prod(tables: &str, pins: &str) -> Repository {
    Repository::default().with("prod/environment.toml", format!("{ACCOUNT}{tables}")).with("prod/pins.toml", pins)
}

fn draft(repository: &Repository) -> Draft {
    assert_eq!(repository.findings(), "");
    repository.load().environments.into_values().next().unwrap().unwrap()
}

/// A service as one line: cluster/service, containers, image, deadline, and what it waits for.
fn services(repository: &Repository) -> String {
    let draft = draft(repository);
    let lines = draft.targets.values().map(|target| {
        let TargetSpec::Fargate(spec) = &target.spec else { panic!("{} is no service", target.reference) };
        let (containers, after) = (spec.containers.join("+"), &target.after);
        let image = format!("{}:{}", spec.image.repository, spec.image.tag);
        let (deadline, probes) = (target.rollout.deadline.as_secs(), &target.verify);
        let probes = probes.iter().map(|probe| probe.http.as_str()).collect::<Vec<_>>().join(" ");
        let line = format!(
            "{}: {}/{} [{containers}] {image} {deadline}s {after:?} {probes}",
            target.reference, spec.cluster, spec.service
        );
        format!("{}\n", line.trim_end())
    });
    lines.collect()
}

#[test]
fn six_services_are_six_short_tables() {
    let repository = prod(
        r#"
[defaults.fargate]
cluster = "{environment}-app"
service = "{environment}-{target}"
container = ["{target}", "{component}-migrations"]
image = "333333333333.dkr.ecr.{region}.amazonaws.com/{component}:{version}"
rollout = { deadline = "20m" }
after = ["fargate/migrations"]

[[defaults.fargate.verify]]
http = "https://{target}.{environment}.example.com/health?v={version}&of={component}"

[fargate.api]
[fargate.billing]
[fargate.cart]
[fargate.mail]
component = "api"
[fargate.migrations]
after = []
verify = []
[fargate.worker]
cluster = "batch"
rollout.deadline = "2h"
"#,
        "api = '1'\nbilling = '2'\ncart = '3'\nmigrations = '4'\nworker = '5'",
    );
    insta::assert_snapshot!(services(&repository), @r#"
    prod/fargate/api: prod-app/prod-api [api+api-migrations] api:1 1200s {fargate/migrations} https://api.prod.example.com/health?v=1&of=api
    prod/fargate/billing: prod-app/prod-billing [billing+billing-migrations] billing:2 1200s {fargate/migrations} https://billing.prod.example.com/health?v=2&of=billing
    prod/fargate/cart: prod-app/prod-cart [cart+cart-migrations] cart:3 1200s {fargate/migrations} https://cart.prod.example.com/health?v=3&of=cart
    prod/fargate/mail: prod-app/prod-mail [mail+api-migrations] api:1 1200s {fargate/migrations} https://mail.prod.example.com/health?v=1&of=api
    prod/fargate/migrations: prod-app/prod-migrations [migrations+migrations-migrations] migrations:4 1200s {}
    prod/fargate/worker: batch/prod-worker [worker+worker-migrations] worker:5 7200s {fargate/migrations} https://worker.prod.example.com/health?v=5&of=worker
    "#);
}

#[test]
fn placeholders_stand_wherever_a_target_has_text() {
    let ami = |ami: &str| {
        let repository = prod(
            &format!(
                "[defaults.asg]\nami = {ami}\n[asg.web]\ncomponent = \"frontend\"\ngroup = \"{{target}}-of-{{component}}\"\nrollout = {{ alarms = [\"{{target}}-5xx\", \"{{component}}-5xx\"] }}"
            ),
            "frontend = '1'",
        );
        let web = draft(&repository).targets.remove(&LocalRef::try_from("asg/web".to_owned()).unwrap()).unwrap();
        let alarms: Vec<&str> = web.rollout.alarms.iter().map(String::as_str).collect();
        assert_eq!(alarms, ["frontend-5xx", "web-5xx"]);
        let TargetSpec::Asg(spec) = web.spec else { panic!("a service") };
        assert_eq!(spec.group.as_str(), "web-of-frontend");
        spec.ami
    };
    assert_eq!(
        ami("{ name = \"{component}/{target}-{version}\" }"),
        AmiQuery::Name { name: "frontend/web-1".to_owned(), owner: None }
    );
    assert_eq!(
        ami("{ parameter = \"/{environment}/{component}/{target}:{version}\" }"),
        AmiQuery::Parameter { parameter: "/prod/frontend/web:1".to_owned() }
    );
    let tags = [("role", "frontend"), ("of", "web"), ("version", "1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(
        ami("{ tags = { role = \"{component}\", of = \"{target}\", version = \"{version}\" } }"),
        AmiQuery::Tags { tags: tags.into(), owner: None }
    );
}

#[test]
fn the_nearest_table_wins() {
    let repository = Repository::default()
        .with(
            "defaults.toml",
            format!(
                r#"
[account]
region = "us-west-1"
role = "arn:aws:iam::{{account}}:role/pinion"
[defaults.fargate]
cluster = "a"
image = "{REGISTRY}/{{component}}:{{version}}"
rollout = {{ deadline = "1m" }}
[defaults.asg]
ami = {{ name = "{{component}}-{{version}}", owner = "333333333333" }}
rollout = {{ min_healthy = 50, checkpoints = [20, 100] }}
[fargate.special]
cluster = "c"
"#
            ),
        )
        .with(
            "prod/environment.toml",
            r#"
[account]
id = "222222222222"
[defaults.fargate]
cluster = "b"
[defaults.asg]
ami = { parameter = "/{component}:{version}" }
[fargate.own]
cluster = "d"
rollout = { deadline = "2m" }
[fargate.api]
[asg.web]
rollout = { checkpoints = [50, 100] }
[asg.ami]
"#,
        )
        .with("prod/pins.toml", "api = '1'\nown = '1'\nspecial = '1'\nweb = '1'\nami = '1'");
    let draft = draft(&repository);
    let said = draft.targets.iter().map(|(local, target)| {
        let spec = match &target.spec {
            TargetSpec::Fargate(spec) => format!("{}/{}", spec.cluster, spec.image.repository),
            TargetSpec::Asg(spec) => format!("{:?} {:?}", spec.ami, target.rollout.min_healthy),
        };
        let (deadline, checkpoints) = (target.rollout.deadline.as_secs(), &target.rollout.checkpoints);
        format!("{local}: {spec} {deadline}s {checkpoints:?}\n")
    });
    insta::assert_snapshot!(said.collect::<String>(), @r#"
    asg/ami: Parameter { parameter: "/ami:1" } Some(50) 3600s [20, 100]
    asg/web: Parameter { parameter: "/web:1" } Some(50) 3600s [50, 100]
    fargate/api: b/api 60s []
    fargate/own: d/own 120s []
    fargate/special: c/special 60s []
    "#);
}

/// Where a value stands makes no difference: neither to what is deployed, nor to what is claimed, nor to whose pin it is.
mod moved {
    use super::*;

    const NAMES: [&str; 6] = ["api", "billing", "cart", "mail", "search", "worker"];

    /// The keys of a service, each with a value that holds for all of them once its placeholders are filled in.
    const KEYS: [(&str, &str, &str); 7] = [
        ("cluster", "\"app\"", "\"app\""),
        ("service", "\"{target}-svc\"", "\"NAME-svc\""),
        ("component", "\"shop\"", "\"shop\""),
        ("container", "[\"{target}\"]", "\"NAME\""),
        ("image", "\"docker.io/{component}/{target}:{version}\"", "\"docker.io/shop/NAME:{version}\""),
        ("rollout", "{ deadline = \"20m\" }", "{ deadline = \"20m\" }"),
        ("verify", "[{ http = \"https://{target}/{version}\" }]", "[{ http = \"https://NAME/{version}\" }]"),
    ];

    /// Where a key stands.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Stands {
        EachTable,
        OwnDefaults,
        SharedDefaults,
    }

    /// `defaults.toml` and `environment.toml` with each key where it is to stand, and kinds by this word.
    fn files(places: &[Stands], word: &str) -> (String, String) {
        let (mut all, mut own) = (format!("[defaults.{word}]\n"), format!("{ACCOUNT}[defaults.{word}]\n"));
        for ((key, value, _), place) in KEYS.iter().zip(places) {
            match place {
                Stands::SharedDefaults => all += &format!("{key} = {value}\n"),
                Stands::OwnDefaults => own += &format!("{key} = {value}\n"),
                Stands::EachTable => {}
            }
        }
        for name in NAMES {
            own += &format!("[{word}.{name}]\n");
            for ((key, _, value), _) in KEYS.iter().zip(places).filter(|(_, place)| **place == Stands::EachTable) {
                own += &format!("{key} = {}\n", value.replace("NAME", name));
            }
        }
        (all, own)
    }

    fn read(all: &str, own: &str) -> (Draft, Option<BTreeMap<String, String>>) {
        let repository = Repository::default()
            .with("defaults.toml", all)
            .with("prod/environment.toml", own)
            .with("prod/pins.toml", "shop = '1.4'");
        (draft(&repository), users("prod", Some(all.as_bytes()), own.as_bytes()))
    }

    proptest! {
        #[test]
        fn is_no_change(
            places in prop::collection::vec(
                prop_oneof![
                    Just(Stands::EachTable),
                    Just(Stands::OwnDefaults),
                    Just(Stands::SharedDefaults),
                ],
                KEYS.len(),
            ),
            word in prop_oneof![Just("fargate"), Just("ecs")],
        ) {
            let (all, own) = files(&[Stands::EachTable; KEYS.len()], "fargate");
            let written_out = read(&all, &own);
            prop_assert_eq!(written_out.0.targets.len(), NAMES.len());
            let (all, own) = files(&places, word);
            let moved = read(&all, &own);
            prop_assert_eq!(&written_out.0, &moved.0);
            prop_assert_eq!(written_out.0.claims(), moved.0.claims());
            prop_assert_eq!(&written_out.1, &moved.1);
            prop_assert!(moved.1.is_some());
        }
    }
}

#[test]
fn another_word_for_services_is_explained() {
    let tables = |first: &str, second: &str| {
        prod(
            &format!(
                "[defaults.{second}]\ncluster = \"app\"\nimage = \"{REGISTRY}/{{component}}:{{version}}\"\n[{first}.api]\n[{second}.cart]\nafter = [\"fargate/api\"]\n"
            ),
            "api = '1'\ncart = '2'",
        )
    };
    let (ecs, fargate) = (tables("ecs", "ecs"), tables("fargate", "fargate"));
    assert_eq!(draft(&ecs), draft(&fargate));
    assert_eq!(draft(&tables("ecs", "fargate")), draft(&fargate));
    assert_eq!(services(&ecs), services(&fargate));
    insta::assert_snapshot!(render::notes(&ecs.load()).join("\n"), @"environments/prod/environment.toml:9: note: ecs: [ecs.NAME] is another word for [fargate.NAME]; everywhere else the target is called fargate/NAME: [ecs.api] is fargate/api");
    assert_eq!(render::notes(&fargate.load()), Vec::<String>::new());
    assert_eq!(render::warnings(&ecs.load(), jiff::Timestamp::UNIX_EPOCH), Vec::new());
    // One word in each file is one target, too.
    let both = tables("ecs", "fargate")
        .with("defaults.toml", "[fargate.api]\ncontainer = \"app\"\n[ecs.cart]\ncontainer = \"web\"");
    insta::assert_snapshot!(services(&both), @r#"
    prod/fargate/api: app/api [app] api:1 3600s {}
    prod/fargate/cart: app/cart [web] cart:2 3600s {fargate/api}
    "#);
}

findings! {
    one_name_under_both_words: prod(&format!("[fargate.api]\ncluster = \"a\"\nimage = \"{REGISTRY}/api:{{version}}\"\n[ecs.api]\ncluster = \"a\"\n[defaults.fargate]\ncluster = \"b\"\n[defaults.ecs]\ncluster = \"c\""), "api = '1'") => @r#"
    environments/prod/environment.toml:9:6: error: ecs.api: [ecs.api] and [fargate.api] (environments/prod/environment.toml:6) are one target, fargate/api; `ecs` is another word for `fargate`: put both into one table
    environments/prod/environment.toml:13:11: error: defaults.ecs: [defaults.ecs] and [defaults.fargate] (environments/prod/environment.toml:11) are one table; `ecs` is another word for `fargate`: put both into one table
    "#;
    one_name_under_both_words_in_the_defaults: Repository::prod().with("defaults.toml", "[fargate.api]\ncluster = \"a\"\n[ecs.api]\ncluster = \"a\"") => @"environments/defaults.toml:3:6: error: ecs.api: [ecs.api] and [fargate.api] (environments/defaults.toml:1) are one target, fargate/api; `ecs` is another word for `fargate`: put both into one table";
    the_other_word_elsewhere: Repository::prod().edit("[\"fargate/api\"]", "[\"ecs/api\"]") => @"environments/prod/environment.toml:11:10: error: asg.web.after[0]: `ecs/api` is not a target: a table [ecs.NAME] is the target `fargate/NAME`, everywhere";
    not_a_table: Repository::prod().append("[fargate]\ncluster = \"app\"\n").edit("[fargate.api]", "[fargate.api]\nservice = \"api\"").with("defaults.toml", "ecs = \"app\"\nasg = { group = \"web\" }") => @r#"
    environments/defaults.toml:2:17: error: asg.group: expected a table, found a string; a target is a table [asg.NAME]; what holds for all of them belongs under [defaults.asg]
    environments/prod/environment.toml:19:11: error: fargate.cluster: expected a table, found a string; a target is a table [fargate.NAME]; what holds for all of them belongs under [defaults.fargate]
    "#;
    not_for_all: Repository::prod().with("defaults.toml", "[defaults]\ncluster = \"app\"\nlambda = {}\naccount = { id = \"1\" }\n[defaults.asg]\ntake_over = \"a/prod/asg/web\"\ngruop = \"web\"\n[defaults.fargate]\nami = { id = \"{version}\" }") => @r#"
    environments/defaults.toml:2:1: error: defaults.cluster: unknown key `cluster`; it belongs under [defaults.fargate]
    environments/defaults.toml:3:1: error: defaults.lambda: unknown key `lambda`; known here: asg, fargate, ecs
    environments/defaults.toml:4:1: error: defaults.account: unknown key `account`; what all environments share of it belongs under [account] in environments/defaults.toml
    environments/defaults.toml:6:1: error: defaults.asg.take_over: `take_over` names one target, and can't hold for all; put it into that target's own table
    environments/defaults.toml:7:1: error: defaults.asg.gruop: unknown key `gruop`; did you mean `group`?
    environments/defaults.toml:9:1: error: defaults.fargate.ami: unknown key `ami`; an ECS service has an `image`; an AMI belongs under [asg.NAME]
    "#;
    misspelt_placeholders: prod("[defaults.asg]\nami = { name = \"{componnet}-{vesion}\" }\n[asg.web]\ngroup = \"{env}-{name}\"\n[fargate.api]\ncluster = \"{service}\"\nimage = \"docker.io/{app}/{thing}:{tag}\"", "web = '1'\napi = '1'") => @r#"
    environments/prod/environment.toml:7:16: error: defaults.asg.ami.name: unknown placeholder {componnet}; did you mean {component}?
    environments/prod/environment.toml:9:9: error: asg.web.group: unknown placeholder {env}; did you mean {environment}?
    environments/prod/environment.toml:11:11: error: fargate.api.cluster: unknown placeholder {service}; did you mean {target}?
    environments/prod/environment.toml:12:9: error: fargate.api.image: unknown placeholder {app}; did you mean {component}?
    "#;
    no_target_to_name: prod("[asg.web]\nami = { name = \"{version}\" }", "web = '1'").with("defaults.toml", "[account]\nrole = \"arn:aws:iam::{account}:role/{target}\"\nexternal_id = \"{component}\"").with("prod/environment.toml", "[account]\nid = \"222222222222\"\nregion = \"us-west-1\"\n[asg.web]\nami = { name = \"web-{version}\" }") => @r#"
    environments/defaults.toml:2:8: error: account.role: {component} and {target} can't be used here: this is the same for all targets; known here: {environment}, {account}, {region}
    environments/defaults.toml:3:15: error: account.external_id: {component} and {target} can't be used here: this is the same for all targets; known here: {environment}, {account}, {region}
    "#;
    what_is_missing_may_come_from_defaults: prod("[asg.web]\n[fargate.api]\n[ecs.cart]\ncluster = \"app\"", "web = '1'\napi = '1'\ncart = '1'") => @r#"
    environments/prod/environment.toml:6:6: error: asg.web.ami: the key `ami` is missing; set it here, or in [defaults.asg] for all of them
    environments/prod/environment.toml:7:10: error: fargate.api.cluster: the key `cluster` is missing; set it here, or in [defaults.fargate] for all of them
    environments/prod/environment.toml:7:10: error: fargate.api.image: the key `image` is missing; set it here, or in [defaults.fargate] for all of them
    environments/prod/environment.toml:8:6: error: ecs.cart.image: the key `image` is missing; set it here, or in [defaults.fargate] for all of them
    "#;
    blamed_where_it_stands: prod("[defaults.fargate]\ncluster = \"a b\"\nimage = \"docker.io/team/{component}:{version}\"\nservice = \"{target}!\"\ncontainer = [\"{target}\", \"api\"]\n[fargate.api]\n[fargate.cart]", "api = '1+1'\ncart = '1'") => @r#"
    environments/prod/environment.toml:7:11: error: defaults.fargate.cluster: `a b` is not an ECS cluster's name: it has 1 to 255 of letters, digits, - and _
    environments/prod/environment.toml:9:11: error: defaults.fargate.service: `api!` is not an ECS service's name: it has 1 to 255 of letters, digits, - and _
    environments/prod/environment.toml:9:11: error: defaults.fargate.service: `cart!` is not an ECS service's name: it has 1 to 255 of letters, digits, - and _
    environments/prod/environment.toml:10:13: error: defaults.fargate.container: this names the container `api` twice
    environments/prod/pins.toml:1:7: error: api: defaults.fargate.image makes `docker.io/team/api:1+1` of this, which can't be used: an image's tag has at most 128 of letters, digits and _ . -, and starts with a letter, a digit or _; pin a version that is legal there
    "#;
    waiting_for_itself: prod("[defaults.fargate]\ncluster = \"app\"\nimage = \"docker.io/team/{component}:{version}\"\nafter = [\"fargate/api\", \"fargate/none\"]\n[fargate.api]\n[fargate.cart]\n[fargate.mail]", "api = '1'\ncart = '1'\nmail = '1'") => @r#"
    environments/prod/environment.toml:9:9: error: defaults.fargate.after: these targets wait for each other: fargate/api → fargate/api; give fargate/api an `after` of its own, such as `after = []`
    environments/prod/environment.toml:9:25: error: defaults.fargate.after[1]: there is no target `fargate/none` in this environment; it can wait for: fargate/api, fargate/cart, fargate/mail
    "#;
    one_service_for_all: prod("[defaults.fargate]\ncluster = \"app\"\nservice = \"api\"\nimage = \"docker.io/team/{component}:{version}\"\n[fargate.api]\n[fargate.cart]", "api = '1'\ncart = '1'") => @"environments/prod/environment.toml:11:10: error: fargate.cart: prod/fargate/api (environments/prod/environment.toml:10) claims the ECS service `app/api` in 222222222222, us-west-1, too; put {target} into `service` of [defaults.fargate]";
    no_pin_for_the_component_of_all: prod("[defaults.fargate]\ncluster = \"app\"\ncomponent = \"shop\"\nimage = \"docker.io/team/{target}:{version}\"\n[fargate.api]\n[fargate.cart]", "other = '1'") => @r#"
    environments/prod/environment.toml:8:13: error: defaults.fargate.component: the component `shop` of fargate/api has no pin; add `shop = "VERSION"` to environments/prod/pins.toml
    environments/prod/environment.toml:8:13: error: defaults.fargate.component: the component `shop` of fargate/cart has no pin; add `shop = "VERSION"` to environments/prod/pins.toml
    environments/prod/pins.toml:1:9: error: other: no target uses the component `other`; remove it; components in use: shop
    "#;
    defaults_alone_are_no_target: prod("[defaults.fargate]\ncluster = \"app\"", "api = '1'") => @"environments/prod/environment.toml:1:1: error: this environment has no target; add an [asg.NAME] or a [fargate.NAME]";
    half_a_suspension: prod("[defaults.fargate]\ncluster = \"app\"\nimage = \"docker.io/team/{component}:{version}\"\nsuspend = { owner = \"ada\" }\n[fargate.api]\nsuspend = { reason = \"load test\", until = 2026-12-24T18:00:00Z }\n[fargate.cart]", "api = '1'\ncart = '1'") => @r#"
    environments/prod/environment.toml:9:1: error: defaults.fargate.suspend.reason: the key `reason` is missing
    environments/prod/environment.toml:9:1: error: defaults.fargate.suspend.until: the key `until` is missing
    "#;
}

/// A component that is said badly is reported once, and not by what it would be in.
#[test]
fn a_bad_component_is_one_finding() {
    let repository = prod(
        "[defaults.fargate]\ncomponent = \"Not One\"\ncluster = \"{component}\"\nimage = \"docker.io/team/{component}:{version}\"\n[fargate.api]\n[fargate.cart]",
        "api = '1'\ncart = '1'",
    );
    assert_eq!(repository.findings().lines().count(), 1, "{}", repository.findings());
}

/// A short file mustn't fill the memory, and what one folder does mustn't stop another.
#[test]
fn defaults_that_come_to_too_much_are_refused() {
    let many = |defaults: usize, targets: usize| {
        let probes = "{http=\"https://a/\"},".repeat(defaults);
        let tables: String = (0..targets).map(|number| format!("[fargate.t{number}]\n")).collect();
        let head = format!(
            "[defaults.fargate]\ncomponent=\"api\"\ncluster=\"a\"\nimage=\"docker.io/a/b:{{version}}\"\nverify=[{probes}]\n"
        );
        (format!("{ACCOUNT}{head}{tables}"), "api = '1'")
    };
    let of = |counts: &[(usize, usize)]| {
        let repository =
            counts.iter().enumerate().fold(Repository::default(), |repository, (number, (defaults, targets))| {
                let (settings, pins) = many(*defaults, *targets);
                let settings = settings.replace("222222222222", &format!("{:012}", number + 1));
                repository
                    .with(&format!("e{number}/environment.toml"), settings)
                    .with(&format!("e{number}/pins.toml"), pins)
            });
        manifest::load(&repository.0)
    };
    let good = of(&[(20, 1000)]);
    assert_eq!((good.all_findings().to_string().as_str(), good.targets()), ("", 1000));
    let large = of(&[(1000, 1000), (1, 3)]);
    assert_eq!(large.targets(), 3, "the others are none the worse");
    insta::assert_snapshot!(large.all_findings(), @"environments/e0/environment.toml:6:11: error: defaults.fargate: in the tables of 1000 targets these defaults come to more than 1048576 bytes; shorten them, or divide the environment: several may have the same account");
    let all = of(&[(80, 500); 20]);
    assert_eq!(all.targets(), 0);
    insta::assert_snapshot!(all.findings, @"environments:1:1: error: the defaults of kinds come to more than 16777216 bytes in the tables of all targets of all environments; shorten them, or divide the environments between repositories");
}
