mod short;

use std::collections::{BTreeMap, BTreeSet};

use super::machine::version_in;
use super::name::label;
use super::*;
use crate::manifest;
use crate::model::{
    Container, GroupInstance, GroupTemplate, GroupTraits, ObservedDeployment, TargetSpec, TaskDefinition, TemplateRef,
    TemplateVersion, TemplateVersionSpec,
};

const HOST: &str = "333333333333.dkr.ecr.us-west-1.amazonaws.com";

/// What an account has, and what was read of it.
#[derive(Default)]
struct World {
    found: BTreeSet<Found>,
    only: Vec<Selector>,
    groups: BTreeMap<String, ObservedGroup>,
    services: BTreeMap<(String, String), ObservedService>,
    seen: Seen,
    /// environments/defaults.toml.
    defaults: &'static str,
}

fn account() -> Account {
    Account {
        id: "222222222222".parse().unwrap(),
        region: "us-west-1".parse().unwrap(),
        role: "arn:aws:iam::222222222222:role/pinion".parse().unwrap(),
        external_id: None,
    }
}

fn digest(of: char) -> Digest {
    Digest::try_from(format!("sha256:{}", of.to_string().repeat(64))).unwrap()
}

fn group(name: &str, image: &str) -> ObservedGroup {
    let template = TemplateRef { id: format!("lt-{name}"), name: name.to_owned() };
    let current = TemplateVersion {
        template: template.id.clone(),
        number: 1,
        image: Some(image.to_owned()),
        instance_type: Some("t3.small".to_owned()),
        instance_requirements: false,
        marker: None,
        sought: None,
        members: BTreeMap::new(),
        made: None,
        made_by: None,
    };
    let instance = GroupInstance {
        id: "i-1".to_owned(),
        lifecycle: "InService".to_owned(),
        healthy: true,
        template: Some((template.id.clone(), 1)),
        image: None,
        configuration: false,
    };
    ObservedGroup {
        name: name.parse().unwrap(),
        template: GroupTemplate::LaunchTemplate { template, version: TemplateVersionSpec::Number(1) },
        current: Some(current),
        instances: vec![instance],
        desired_capacity: 1,
        traits: GroupTraits::default(),
        launched: BTreeMap::new(),
    }
}

fn container(name: &str, image: &str, essential: bool) -> Container {
    Container { name: name.to_owned(), image: image.to_owned(), essential }
}

fn service(cluster: &str, name: &str, containers: &[Container]) -> ObservedService {
    let arn = format!("arn:aws:ecs:us-west-1:222222222222:task-definition/{name}:1");
    ObservedService {
        cluster: cluster.parse().unwrap(),
        name: name.parse().unwrap(),
        arn: format!("arn:aws:ecs:us-west-1:222222222222:service/{cluster}/{name}"),
        status: "ACTIVE".to_owned(),
        controller: "ECS".to_owned(),
        task_definition: TaskDefinition {
            arn: arn.clone(),
            containers: containers.to_vec(),
            architecture: None,
            marker: None,
            active: true,
            tags: 0,
            made: None,
            made_by: None,
        },
        deployments: vec![ObservedDeployment {
            id: "ecs-svc/1".to_owned(),
            primary: true,
            task_definition: arn,
            marker: None,
            containers: containers.to_vec(),
            rollout_state: "COMPLETED".to_owned(),
            reason: None,
            created: None,
            failed: 0,
            desired: 1,
            running: 1,
        }],
        breaker: true,
        desired: 1,
        running: 1,
        digests: BTreeMap::new(),
    }
}

impl World {
    fn group(self, name: &str, image: &str) -> Self {
        self.observed_group(group(name, image))
    }

    fn observed_group(mut self, group: ObservedGroup) -> Self {
        let name = group.name.to_string();
        self.found.insert(Found::Group(name.clone()));
        self.groups.insert(name, group);
        self
    }

    /// An AMI of the account 333333333333.
    fn ami(mut self, id: &str, name: &str, tags: &[(&str, &str)]) -> Self {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let image = MachineImage { name: Some(name.to_owned()), owner: "333333333333".parse().ok(), tags };
        self.seen.images.insert(id.to_owned(), image);
        self
    }

    fn service(self, cluster: &str, name: &str, image: &str) -> Self {
        self.observed_service(service(cluster, name, &[container("app", image, true)]))
    }

    fn observed_service(mut self, service: ObservedService) -> Self {
        let (cluster, name) = (service.cluster.to_string(), service.name.to_string());
        self.found.insert(Found::Service { cluster: cluster.clone(), service: name.clone() });
        self.services.insert((cluster, name), service);
        self
    }

    fn proposal(&self) -> Proposal {
        let account = account();
        let name = "dev".parse().unwrap();
        let inherited = Inherited::read(self.defaults.as_bytes()).within(&name, &account.id, &account.region);
        let targets = targets(&self.found, &self.only, &inherited);
        let mut seen = self.seen.clone();
        for (local, name) in &targets.groups {
            let group = self.groups[name.as_str()].clone();
            seen.targets.insert(local.clone(), Ok(ObservedTarget::Group(Box::new(group))));
        }
        for (local, (cluster, name)) in &targets.services {
            let Some(service) = self.services.get(&(cluster.to_string(), name.to_string())).cloned() else { continue };
            seen.targets.insert(local.clone(), Ok(ObservedTarget::Service(Box::new(service))));
        }
        Proposal::new(&name, &account, false, inherited, &targets, &seen)
    }

    /// The text of both files behind the account's table; they have no findings.
    fn text(&self) -> String {
        text_over(&self.proposal(), self.defaults)
    }
}

fn text(proposal: &Proposal) -> String {
    text_over(proposal, "")
}

fn text_over(proposal: &Proposal, defaults: &str) -> String {
    let files = proposal.files();
    if proposal.targets().next().is_some() {
        let mut bytes = BTreeMap::from([
            ("environments/dev/environment.toml".to_owned(), files.environment.clone().into_bytes()),
            ("environments/dev/pins.toml".to_owned(), files.pins.clone().into_bytes()),
        ]);
        if !defaults.is_empty() {
            bytes.insert("environments/defaults.toml".to_owned(), defaults.into());
        }
        let loaded = manifest::load(&bytes);
        assert!(loaded.all_findings().is_empty(), "{}\n{}", loaded.all_findings(), files.environment);
        // What the files come to is what was proposed.
        let draft = loaded.environments.values().next().unwrap().as_ref().unwrap();
        for (local, candidate) in &proposal.candidates {
            let spec = &draft.targets[local].spec;
            let held = match spec {
                TargetSpec::Asg(spec) => Held::Group(spec.group.clone()),
                TargetSpec::Fargate(spec) => Held::Service(spec.cluster.clone(), spec.service.clone()),
            };
            assert_eq!(held, candidate.held);
            let (TargetSpec::Fargate(spec), Lookup::Image(image)) = (spec, &candidate.ways[0].lookup) else { continue };
            let image = image.replace("{version}", &candidate.ways[0].version);
            assert_eq!(format!("{}/{}:{}", spec.image.registry, spec.image.repository, spec.image.tag), image);
            let released: Vec<String> = candidate.released.clone().into_iter().collect();
            assert!([&candidate.containers, &released].contains(&&spec.containers), "{local}: {:?}", spec.containers);
        }
    }
    let mark = if files.environment.contains("\nrole = ") { "role/pinion\"\n" } else { "id = \"222222222222\"\n" };
    let (_, targets) = files.environment.split_once(mark).unwrap();
    format!("{targets}\npins:\n{}", files.pins)
}

#[test]
fn what_needs_no_guess_has_no_comment() {
    let world = World::default()
        .service("app", "api", &format!("{HOST}/backend:2.0.0"))
        .service("app", "worker", &format!("{HOST}/backend:2.0.0"))
        .service("app", "cron", "nginx:1.25");
    insta::assert_snapshot!(world.text(), @r#"

    # for all that say nothing else; {component} is the table's name, or its `component`
    [defaults.fargate]
    cluster = "app"
    image = "333333333333.dkr.ecr.us-west-1.amazonaws.com/{component}:{version}"

    [fargate.api]
    component = "backend"

    [fargate.cron]
    component = "nginx"
    image = "docker.io/library/nginx:{version}"

    [fargate.worker]
    component = "backend"

    pins:
    backend = "2.0.0"
    nginx = "1.25"
    "#);
}

#[test]
fn services_of_one_image_that_run_different_versions_are_components_of_their_own() {
    let world = World::default()
        .service("app", "api", &format!("{HOST}/backend:2.0.0"))
        .service("app", "worker", &format!("{HOST}/backend:1.9.0"))
        .service("app", "mail", &format!("{HOST}/backend:2.0.0"));
    let text = world.text();
    assert!(text.ends_with("pins:\nbackend = \"2.0.0\"\nworker = \"1.9.0\"\n"), "{text}");
    assert!(text.contains("[fargate.mail]\ncomponent = \"backend\"\n"), "{text}");
    let note = "guess: a component of its own, as";
    let note = format!("# {note} {HOST}/backend is at 1.9.0 here and at 2.0.0 elsewhere\n[fargate.worker]\n");
    assert!(text.contains(&note), "{text}");
    assert_eq!(text.matches("guess").count(), 1, "{text}");
}

#[test]
fn a_version_is_found_in_the_name_of_an_ami() {
    for (name, found, sure) in [
        ("frontend-1.4.2", Some("1.4.2"), true),
        ("frontend-v1.4.2", Some("v1.4.2"), true),
        ("frontend-1.4.2-rc1", Some("1.4.2-rc1"), true),
        ("frontend-1.4.2-x86_64", Some("1.4.2"), true),
        ("frontend-1.4.2-64bit", Some("1.4.2"), true),
        ("frontend-1.4.2-4f1e2d3c", Some("1.4.2-4f1e2d3c"), true),
        ("team/my.app.2.10.0 (x86_64)", Some("2.10.0"), true),
        ("al2023-ami-2023.5.20240101.0-kernel-6.1-x86_64", Some("2023.5.20240101.0"), true),
        ("web-2-1.4.2", Some("1.4.2"), true),
        ("app 2026-10-01", Some("2026-10-01"), true),
        ("app_20261001T120000Z", Some("20261001T120000Z"), true),
        ("packer-1700000000", Some("1700000000"), true),
        ("1.4.2", Some("1.4.2"), true),
        ("app-1", Some("1"), false),
        ("app2", None, false),
        ("golden image", None, false),
    ] {
        let version = version_in(name).map(|(range, sure)| (name.get(range).unwrap(), sure));
        assert_eq!(version, found.map(|found| (found, sure)), "{name}");
    }
}

#[test]
fn amis_are_found_by_name_by_tags_by_a_parameter_or_by_id() {
    let mut world = World::default()
        .group("web", "ami-01")
        .ami("ami-01", "frontend-1.4.2", &[])
        .group("tagged", "ami-02")
        .ami("ami-02", "app 2026-10-01", &[("Role", "app"), ("version", "7"), ("base", "1")])
        .group("both", "ami-03")
        .ami("ami-03", "api-3.0.0", &[("role", "api"), ("version", "3.0.0")])
        .group("parameter", "ami-04")
        .ami("ami-04", "app-1", &[])
        .group("weak", "ami-05")
        .ami("ami-05", "batch-5", &[])
        .group("fixed", "ami-0123456789abcdef0")
        .ami("ami-0123456789abcdef0", "golden image", &[]);
    let parameter =
        |parameter: &str| ParameterVersion { parameter: parameter.to_owned(), version: 4, image: "ami-04".to_owned() };
    world.seen.parameters = vec![parameter("/aws/service/ami"), parameter("/App/AmiId")];
    insta::assert_snapshot!(world.text(), @r#"

    # for all that say nothing else; {component} is the table's name, or its `component`
    [defaults.asg]
    ami = { name = "{component}-{version}", owner = "333333333333" }

    # guess: the version in the AMI's name `api-3.0.0` is 3.0.0
    [asg.both]
    component = "api"

    # guess: pins are AMI ids: nothing else leads to ami-0123456789abcdef0 (`golden image`) alone
    [asg.fixed]
    ami = { id = "{version}" }

    # guess: version 4 of the parameter holds ami-04, which runs
    [asg.parameter]
    ami = { parameter = "/App/AmiId:{version}" }

    # guess: the version is in the AMI's tag `version`
    [asg.tagged]
    component = "app"
    ami = { tags = { Role = "app", version = "{version}" }, owner = "333333333333" }

    # guess: the version in the AMI's name `batch-5` is 5
    [asg.weak]
    component = "batch"

    # guess: the version in the AMI's name `frontend-1.4.2` is 1.4.2
    [asg.web]
    component = "frontend"

    pins:
    api = "3.0.0"
    app = "7"
    batch = "5"
    fixed = "ami-0123456789abcdef0"
    frontend = "1.4.2"
    parameter = "4"
    "#);
    let targets = targets(&world.found, &[], &Inherited::default());
    for (local, name) in &targets.groups {
        let group = world.groups[name.as_str()].clone();
        world.seen.targets.insert(local.clone(), Ok(ObservedTarget::Group(Box::new(group))));
    }
    let asked: BTreeSet<String> = ["ami-04", "ami-05", "ami-0123456789abcdef0"].map(str::to_owned).into();
    assert_eq!(world.seen.unversioned(), asked, "parameters are looked through for these alone");
}

#[test]
fn what_is_refused_is_found_another_way_and_left_out_at_last() {
    let world = World::default().group("web", "ami-01234567").ami("ami-01234567", "frontend-1.4.2", &[]);
    let mut proposal = world.proposal();
    let web: LocalRef = "asg/web".to_owned().try_into().unwrap();
    proposal.refuse(&BTreeMap::from([(web.clone(), "two AMIs have this name".to_owned())]));
    assert!(text(&proposal).contains("ami = { id = \"{version}\" }"), "{}", text(&proposal));
    proposal.refuse(&BTreeMap::from([(web, "a refresh\nruns".to_owned())]));
    assert_eq!(text(&proposal), "\n# Left out:\n# - asg/web: a refresh\\nruns\n\npins:\n");
}

#[test]
fn what_is_not_served_is_left_out_with_the_planners_reason() {
    let mut configuration = group("legacy", "ami-01");
    configuration.template = GroupTemplate::LaunchConfiguration("legacy-lc".to_owned());
    configuration.current = None;
    let mut deployed = service("app", "pay", &[container("app", "x/pay:1", true)]);
    deployed.controller = "CODE_DEPLOY".to_owned();
    let mut none = service("app", "idle", &[container("app", &format!("{HOST}/idle:1"), true)]);
    none.desired = 0;
    let world = World::default().observed_group(configuration).observed_service(deployed).observed_service(none);
    let proposal = world.proposal();
    let left: Vec<&Left> = proposal.left().iter().collect();
    assert_eq!(left[0].what, "asg/legacy");
    assert!(left[0].why.starts_with("group legacy is on launch configuration legacy-lc"), "{left:?}");
    assert_eq!(left[1].what, "fargate/app/pay");
    assert!(left[1].why.starts_with("service pay has the deployment controller CODE_DEPLOY"), "{left:?}");
    assert!(text(&proposal).contains("# its desired count is 0: nothing runs now\n[fargate.idle]\n"));
}

#[test]
fn the_container_that_is_released_is_guessed_or_said() {
    let several = [
        container("envoy", "public.ecr.aws/envoy:1", true),
        container("main", &format!("{HOST}/shop:3"), true),
        container("migrate", &format!("{HOST}/shop:3"), false),
    ];
    let mut world = World::default().observed_service(service("app", "shop", &several));
    let text = world.text();
    assert!(text.contains("container = [\"main\", \"migrate\"]\n"), "{text}");
    assert!(text.contains("# guess: container main is the one that is released, not envoy\n"), "{text}");
    assert!(text.contains("# guess: migrate has the same image as main, and follows the pin, too\n"), "{text}");

    let shop: LocalRef = "fargate/shop".to_owned().try_into().unwrap();
    let mut seen = Seen::default();
    let observed = world.services[&("app".to_owned(), "shop".to_owned())].clone();
    seen.targets.insert(shop.clone(), Ok(ObservedTarget::Service(Box::new(observed))));
    let questions = seen.questions();
    assert_eq!(questions.len(), 1);
    assert_eq!((questions[0].options.len(), questions[0].guess), (2, 1));
    world.seen.containers.insert(shop, "envoy".to_owned());
    let text = world.text();
    assert!(text.contains("container = \"envoy\"\n") && !text.contains("guess"), "{text}");
    assert!(text.contains("component = \"envoy\"\n"), "{text}");
}

#[test]
fn an_image_without_a_version_is_known_by_another_tag_or_its_digest() {
    let ecr = |rest: &str| format!("{HOST}/{rest}");
    let by_digest = format!("tagged@{}", digest('a'));
    let mut world = World::default()
        .service("app", "digest", &ecr(&by_digest))
        .service("app", "bare", &ecr(&format!("bare@{}", digest('b'))))
        .service("app", "tagless", "docker.io/acme/tagless")
        .service("app", "exact", &ecr(&format!("exact:1.0@{}", digest('d'))));
    let mut moving = service("app", "moving", &[container("app", &ecr("moving:latest"), true)]);
    moving.digests.insert("app".to_owned(), digest('c'));
    let mut stuck = service("app", "stuck", &[container("app", &ecr("stuck:prod"), true)]);
    stuck.digests.insert("app".to_owned(), digest('e'));
    world = world.observed_service(moving).observed_service(stuck);
    let of = |repository: &str, of| Untagged {
        registry: HOST.to_owned(),
        repository: repository.to_owned(),
        digest: digest(of),
    };
    let tags = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
    world.seen.tags.insert(of("tagged", 'a'), tags(&["latest", "1.9.0", "1.10.0", "zebra"]));
    world.seen.tags.insert(of("moving", 'c'), tags(&["latest", "v3"]));
    world.seen.tags.insert(of("stuck", 'e'), tags(&["prod"]));
    let text = world.text();
    let pins = text.split_once("pins:\n").unwrap().1;
    let (a, b, d, e) = (digest('a'), digest('b'), digest('d'), digest('e'));
    let expected = format!(
        "bare = {{ version = \"sha256-bbbbbbbbbbbb\", digest = \"{b}\" }}\n\
         exact = {{ version = \"1.0\", digest = \"{d}\" }}\n\
         moving = \"v3\"\n\
         stuck = {{ version = \"prod\", digest = \"{e}\" }}\n\
         tagged = {{ version = \"1.10.0\", digest = \"{a}\" }}\n\
         tagless = \"latest\"\n"
    );
    assert_eq!(pins, expected);
    assert!(text.contains("no tag is on this digest"), "{text}");
    assert!(text.contains("what runs is tagged v3, too; the task definition says latest, which moves"), "{text}");
}

#[test]
fn odd_names_get_names_of_tables() {
    for (name, expected) in [
        ("Web", Some("web")),
        ("team/web.prod", Some("team-web-prod")),
        ("größe  XL", Some("gr-e-xl")),
        ("_-x", Some("x")),
        ("a--b", Some("a--b")),
        ("日本", None),
    ] {
        assert_eq!(label(name).as_deref(), expected, "{name}");
    }
    assert_eq!(label(&"x".repeat(200)).unwrap().len(), 63);
    let found: BTreeSet<Found> = ["web", "Web", "WEB", "日本", "{x}", "a:b", "a\tb"]
        .into_iter()
        .map(|name| Found::Group(name.to_owned()))
        .chain(
            [("one", "api"), ("two", "api"), ("two", "API_v2")]
                .map(|(cluster, service)| Found::Service { cluster: cluster.to_owned(), service: service.to_owned() }),
        )
        .collect();
    let targets = targets(&found, &[], &Inherited::default());
    let groups: Vec<(&str, &str)> =
        targets.groups.iter().map(|(local, name)| (local.name.as_str(), name.as_str())).collect();
    assert_eq!(groups, [("group", "日本"), ("web", "web"), ("web-2", "WEB"), ("web-3", "Web")]);
    let services: Vec<&str> = targets.services.keys().map(|local| local.name.as_str()).collect();
    assert_eq!(services, ["api_v2", "one-api", "two-api"]);
    let left: Vec<&str> = targets.left.iter().map(|left| left.what.as_str()).collect();
    assert_eq!(left, ["asg/a\tb", "asg/a:b", "asg/{x}"]);
}

#[test]
fn selectors_select() {
    let web = Found::Group("team/web-1".to_owned());
    let api = Found::Service { cluster: "app".to_owned(), service: "api".to_owned() };
    let selects = |text: &str| {
        let found = BTreeSet::from([web.clone(), api.clone()]);
        let targets = targets(&found, &[text.parse().unwrap()], &Inherited::default());
        (targets.groups.len(), targets.services.len())
    };
    for (text, expected) in [
        ("asg/*", (1, 0)),
        ("asg/team/*", (1, 0)),
        ("asg/*web*1", (1, 0)),
        ("asg/web", (0, 0)),
        ("asg/*1*1", (0, 0)),
        ("fargate/api", (0, 1)),
        ("fargate/app/*", (0, 1)),
        ("fargate/app/api", (0, 1)),
        ("fargate/other/*", (0, 0)),
    ] {
        assert_eq!(selects(text), expected, "{text}");
    }
    for bad in ["", "asg", "asg/", "ecs/api", "*"] {
        assert!(bad.parse::<Selector>().is_err(), "{bad}");
    }
}

#[test]
fn names_and_values_are_quoted() {
    let world = World::default().group("web \"é\" \\ # \u{202e}", "ami-01234567").ami(
        "ami-01234567",
        "x",
        &[("app", "a \"b\""), ("app version", "1"), ("version", "1\u{7f}")],
    );
    let text = world.text();
    assert!(text.contains(r#"group = "web \"é\" \\ # \U0000202E""#), "{text}");
}
