//! What is said once, and what isn't said again.

use super::*;

const SIX: [&str; 6] = ["mailer", "orders", "payments", "reports", "search", "storefront"];

fn six() -> World {
    SIX.iter().fold(World::default(), |world, name| world.service("shop", name, &format!("{HOST}/{name}:1.0.0")))
}

#[test]
fn six_services_are_six_short_tables() {
    insta::assert_snapshot!(six().text(), @r#"

    # for all that say nothing else; {component} is the table's name, or its `component`
    [defaults.fargate]
    cluster = "shop"
    image = "333333333333.dkr.ecr.us-west-1.amazonaws.com/{component}:{version}"

    [fargate.mailer]
    [fargate.orders]
    [fargate.payments]
    [fargate.reports]
    [fargate.search]
    [fargate.storefront]

    pins:
    mailer = "1.0.0"
    orders = "1.0.0"
    payments = "1.0.0"
    reports = "1.0.0"
    search = "1.0.0"
    storefront = "1.0.0"
    "#);
    let apart = six()
        .service("batch", "nightly", &format!("{HOST}/orders:1.0.0"))
        .service("shop", "proxy", "public.ecr.aws/envoy/envoy:v1")
        .service("shop", "orders-old", &format!("{HOST}/orders:0.9.0"));
    insta::assert_snapshot!(apart.text(), @r#"

    # for all that say nothing else; {component} is the table's name, or its `component`
    [defaults.fargate]
    cluster = "shop"
    image = "333333333333.dkr.ecr.us-west-1.amazonaws.com/{component}:{version}"

    [fargate.mailer]

    [fargate.nightly]
    cluster = "batch"
    component = "orders"

    [fargate.orders]

    # guess: a component of its own, as 333333333333.dkr.ecr.us-west-1.amazonaws.com/orders is at 0.9.0 here and at 1.0.0 elsewhere
    [fargate.orders-old]
    image = "333333333333.dkr.ecr.us-west-1.amazonaws.com/orders:{version}"

    [fargate.payments]

    [fargate.proxy]
    component = "envoy"
    image = "public.ecr.aws/envoy/envoy:{version}"

    [fargate.reports]
    [fargate.search]
    [fargate.storefront]

    pins:
    envoy = "v1"
    mailer = "1.0.0"
    orders = "1.0.0"
    orders-old = "0.9.0"
    payments = "1.0.0"
    reports = "1.0.0"
    search = "1.0.0"
    storefront = "1.0.0"
    "#);
}

#[test]
fn what_two_targets_share_is_said_once_and_what_one_has_alone_is_its_own() {
    let alone =
        World::default().service("a", "api", &format!("{HOST}/api:1")).service("b", "web", "quay.io/acme/web:1");
    let text = alone.text();
    assert!(!text.contains("[defaults"), "{text}");
    let groups = ["web", "app", "job"].iter().enumerate().fold(World::default(), |world, (number, name)| {
        let id = format!("ami-0{number}");
        world.group(name, &id).ami(&id, &format!("acme-{name}-1.{number}.0"), &[])
    });
    insta::assert_snapshot!(groups.text(), @r#"

    # for all that say nothing else; {component} is the table's name, or its `component`
    [defaults.asg]
    ami = { name = "{component}-{version}", owner = "333333333333" }

    # guess: the version in the AMI's name `acme-app-1.1.0` is 1.1.0
    [asg.app]
    component = "acme-app"

    # guess: the version in the AMI's name `acme-job-1.2.0` is 1.2.0
    [asg.job]
    component = "acme-job"

    # guess: the version in the AMI's name `acme-web-1.0.0` is 1.0.0
    [asg.web]
    component = "acme-web"

    pins:
    acme-app = "1.1.0"
    acme-job = "1.2.0"
    acme-web = "1.0.0"
    "#);
    let sidecars = ["web", "app", "job"].iter().fold(World::default(), |world, name| {
        let containers =
            [container("envoy", "public.ecr.aws/envoy:1", true), container(name, &format!("{HOST}/{name}:1"), true)];
        world.observed_service(service("shop", name, &containers))
    });
    insta::assert_snapshot!(sidecars.text(), @r#"

    # for all that say nothing else; {target} is the table's name, {component} its `component`, or else its name
    [defaults.fargate]
    cluster = "shop"
    container = "{target}"
    image = "333333333333.dkr.ecr.us-west-1.amazonaws.com/{component}:{version}"

    # guess: container app is the one that is released, not envoy
    [fargate.app]

    # guess: container job is the one that is released, not envoy
    [fargate.job]

    # guess: container web is the one that is released, not envoy
    [fargate.web]

    pins:
    app = "1"
    job = "1"
    web = "1"
    "#);
}

/// The file of docs/six-services.md, whose services have other names and a repository in common.
const DEFAULTS: &str = r#"
[account]
region = "us-west-1"
role = "arn:aws:iam::{account}:role/pinion"

[defaults.fargate]
cluster = "shop"
service = "{environment}-{target}"
image = "333333333333.dkr.ecr.us-west-1.amazonaws.com/shop/{component}:{version}"

[fargate.storefront]
after = ["fargate/orders"]

[fargate.orders]
component = "orders-api"

[fargate.payments]
"#;

#[test]
fn what_defaults_say_already_is_not_said_again() {
    let mut world = World::default()
        .service("shop", "dev-storefront", &format!("{HOST}/shop/storefront:1.0.0"))
        .service("shop", "dev-orders", &format!("{HOST}/shop/orders-api:1.0.0"))
        .service("shop", "dev-payments", &format!("{HOST}/shop/payments:1.0.0"))
        .service("shop", "dev-search", &format!("{HOST}/shop/search:1.0.0"))
        .service("batch", "reports", "quay.io/acme/reports:1.0.0");
    world.defaults = DEFAULTS;
    // Those that every environment has are there, whatever was selected.
    world.only = vec!["fargate/dev-search".parse().unwrap(), "fargate/reports".parse().unwrap()];
    insta::assert_snapshot!(world.text(), @r#"

    [fargate.reports]
    cluster = "batch"
    service = "reports"
    image = "quay.io/acme/reports:{version}"

    [fargate.search]

    pins:
    orders-api = "1.0.0"
    payments = "1.0.0"
    reports = "1.0.0"
    search = "1.0.0"
    storefront = "1.0.0"
    "#);
    assert!(world.proposal().missing().is_empty());
}

#[test]
fn what_defaults_say_otherwise_is_overridden_and_what_is_missing_is_said() {
    let mut world = World::default()
        .service("live", "dev-storefront", &format!("{HOST}/shop/storefront:1.0.0"))
        .service("live", "dev-orders", &format!("{HOST}/shop/backend:1.0.0"))
        .service("live", "dev-search", "quay.io/acme/search:2");
    world.defaults = DEFAULTS;
    let proposal = world.proposal();
    let missing = proposal.missing();
    let missing: Vec<String> = missing.iter().map(|(local, why)| format!("{local}: {why}")).collect();
    assert_eq!(missing.len(), 3, "a cluster of another name has none of them: {missing:?}");

    let mut world = World::default()
        .service("shop", "dev-storefront", &format!("{HOST}/shop/storefront:1.0.0"))
        .service("shop", "dev-orders", &format!("{HOST}/shop/backend:1.0.0"))
        .service("shop", "dev-payments", &format!("{HOST}/shop/backend:2.0.0"))
        .service("live", "dev-search", "quay.io/acme/search:2");
    world.defaults = DEFAULTS;
    insta::assert_snapshot!(world.text(), @r#"

    [fargate.orders]
    image = "333333333333.dkr.ecr.us-west-1.amazonaws.com/shop/backend:{version}"

    [fargate.payments]
    image = "333333333333.dkr.ecr.us-west-1.amazonaws.com/shop/backend:{version}"

    [fargate.search]
    cluster = "live"
    image = "quay.io/acme/search:{version}"

    pins:
    orders-api = "1.0.0"
    payments = "2.0.0"
    search = "2"
    storefront = "1.0.0"
    "#);
}

#[test]
fn a_component_is_called_as_the_pattern_of_defaults_has_it() {
    let mut world = World::default().service("shop", "orders", &format!("{HOST}/shop-orders:1.0.0"));
    world.defaults =
        "[defaults.fargate]\nimage = \"333333333333.dkr.ecr.us-west-1.amazonaws.com/shop-{component}:{version}\"\n";
    assert_eq!(world.text(), "\n[fargate.orders]\ncluster = \"shop\"\n\npins:\norders = \"1.0.0\"\n");
}

#[test]
fn a_shape_that_defaults_would_roll_out_is_held_back() {
    let mut world = World::default().service("shop", "orders", &format!("{HOST}/orders:1.0.0"));
    world.defaults = "[defaults.fargate]\nbase_revision = \"newest\"\n";
    let mut proposal = world.proposal();
    let orders: LocalRef = "fargate/orders".to_owned().try_into().unwrap();
    proposal.hold_back(&BTreeMap::from([(orders, "orders:2".to_owned())]));
    let text = text_over(&proposal, world.defaults);
    assert!(
        text.contains("would roll orders:2 out: remove `base_revision` here when it may be\n[fargate.orders]\n"),
        "{text}"
    );
    assert!(text.contains("\nbase_revision = \"running\"\n"), "{text}");
}
