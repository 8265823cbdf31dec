//! The AWS room against the simulator, over its socket.

mod bases;
mod before;

use std::collections::{BTreeMap, BTreeSet};

use pinion::model::{
    AmiQuery, Artifact, ArtifactQuery, Digest, ErrorClass, GroupTemplate, ImageReference, LocalRef, Marker, Named,
    ObservedGroup, ObservedService, ObservedTarget, ResolveError, RolloutHistory, RolloutId, RolloutOutcome,
    RolloutTarget, TargetSpec, TemplateRef, TemplateVersionSpec,
};
use pinion::plan::{Action, RefreshPreferences, VersionMove};
use pinion::ports::{Accounts, Observe};
use serde_json::{Value, json};

use crate::support::aws::{Simulator, account, asg, environment, fargate, local};

const WORLD: &str = r#"
controller = "111111111111"
region = "us-west-1"

[timing]
boot = 5
unhealthy = 5
terminate = 5
no_progress = 60

[[account]]
id = "111111111111"
name = "tools"
image = [
    { id = "ami-0000000000000140", name = "frontend-1.4.0", shared_with = ["222222222222"] },
    { id = "ami-0000000000000141", name = "frontend-1.4.1", shared_with = ["222222222222"] },
    { id = "ami-0000000000000150", name = "frontend-1.5.0", shared_with = ["222222222222"], healthy = false },
    { id = "ami-0000000000000160", name = "frontend-1.6.0" },
    { id = "ami-0000000000000170", name = "frontend-1.7.0", public = true },
]
[[account.repository]]
name = "backend"
allowed = ["222222222222"]
image = [{ tags = ["2.0.0"] }, { tags = ["2.0.1"] }, { tags = ["2.1.1"], behaviour = "exits" }]
[[account.repository]]
name = "private"
image = [{ tags = ["1"] }]

[[account]]
id = "222222222222"
name = "dev"
role = [{ name = "pinion", external_id = "pinion-test" }]
image = [{ id = "ami-0000000000000199", name = "own", tags = { role = "frontend", version = "own" } }]
parameter = [
    { name = "/app/ami", versions = ["ami-0000000000000140", "ami-0000000000000141"], labels = { live = 1 } },
    { name = "/app/text", versions = ["not an AMI"] },
]
[[account.launch_template]]
name = "frontend"
version = [{ data = { ImageId = "ami-0000000000000140", InstanceType = "t3.small", KeyName = "operations" } }]
[[account.group]]
name = "frontend"
launch_template = "frontend"
version = "1"
desired = 2
warmup = 5
[[account.launch_template]]
name = "moving"
version = [
    { data = { ImageId = "ami-0000000000000140", InstanceType = "t3.small" } },
    { data = { ImageId = "ami-0000000000000141", InstanceType = "t3.small" } },
]
[[account.group]]
name = "latest"
launch_template = "moving"
version = "$Latest"
desired = 1
[[account.group]]
name = "default"
launch_template = "moving"
version = "$Default"
desired = 1

[[account.task_definition]]
tags = { team = "backend" }
[account.task_definition.definition]
family = "api"
networkMode = "awsvpc"
requiresCompatibilities = ["FARGATE"]
cpu = "256"
memory = "512"
fieldFromTheFuture = { nested = ["", 1] }
[[account.task_definition.definition.containerDefinitions]]
name = "app"
image = "111111111111.dkr.ecr.us-west-1.amazonaws.com/backend:2.0.0"
essential = true
environment = [{ name = "EMPTY", value = "" }]
futureSwitch = false
[[account.cluster]]
name = "app"
[[account.cluster.service]]
name = "api"
task_definition = "api"
desired = 2
configuration = { deploymentCircuitBreaker = { enable = true, rollback = true } }
"#;

async fn observe(reader: &dyn Observe, local: &LocalRef, spec: TargetSpec) -> ObservedTarget {
    let mut observed = reader.observe(&BTreeMap::from([(local.clone(), spec)])).await;
    observed.remove(local).unwrap().unwrap()
}

async fn observe_group(reader: &dyn Observe, name: &str) -> ObservedGroup {
    match observe(reader, &local("asg/web"), asg(name)).await {
        ObservedTarget::Group(group) => *group,
        other => panic!("{other:?}"),
    }
}

async fn observe_service(reader: &dyn Observe) -> ObservedService {
    match observe(reader, &local("fargate/api"), fargate("app", "api")).await {
        ObservedTarget::Service(service) => *service,
        other => panic!("{other:?}"),
    }
}

fn template(group: &ObservedGroup) -> TemplateRef {
    match &group.template {
        GroupTemplate::LaunchTemplate { template, .. } => template.clone(),
        other => panic!("{other:?}"),
    }
}

fn marker(version: &str, base: &str) -> Marker {
    Marker {
        version: version.try_into().unwrap(),
        commit: "a".repeat(40).try_into().unwrap(),
        base: base.to_owned(),
        from: None,
        owner: Some(Named::try_from("pinion/dev/fargate/api".to_owned()).unwrap()),
    }
}

#[tokio::test]
async fn reads_are_batched_and_what_cannot_change_is_read_once() {
    let stand = Simulator::fleet(1, 25, 25).await;
    let reader = stand.aws.reader(&environment("one"), &account("000000000001", None));
    let targets: BTreeMap<LocalRef, TargetSpec> = (0..25)
        .flat_map(|n| {
            [
                (local(&format!("asg/g{n}")), asg(&format!("group-{n}"))),
                (local(&format!("fargate/s{n}")), fargate("app", &format!("service-{n}"))),
            ]
        })
        .collect();
    assert_eq!(reader.identity().await.unwrap().as_str(), "000000000001");
    let observed = reader.observe(&targets).await;
    assert_eq!(observed.len(), 50);
    for (local, result) in &observed {
        match result {
            Ok(ObservedTarget::Group(group)) => assert_eq!(group.instances.len(), 2, "{local}"),
            Ok(ObservedTarget::Service(service)) => {
                assert_eq!(service.task_definition.containers[0].name, "app", "{local}");
            }
            other => panic!("{local}: {other:?}"),
        }
    }
    let first = stand.calls().await;
    assert_eq!(
        first,
        BTreeMap::from([
            ("sts:AssumeRole".to_owned(), 1),
            ("sts:GetCallerIdentity".to_owned(), 1),
            ("autoscaling:DescribeAutoScalingGroups".to_owned(), 1),
            ("ecs:DescribeServices".to_owned(), 3),
            ("ecs:DescribeServiceRevisions".to_owned(), 2),
            ("ec2:DescribeLaunchTemplateVersions".to_owned(), 25),
            ("ec2:DescribeInstanceTypes".to_owned(), 1),
            ("ecs:DescribeTaskDefinition".to_owned(), 25),
        ])
    );
    assert_eq!(stand.recorded(), first, "each request is recorded, and no other");

    assert_eq!(reader.identity().await.unwrap().as_str(), "000000000001");
    assert_eq!(reader.observe(&targets).await, observed);
    let second = stand.calls().await;
    assert_eq!(
        second,
        BTreeMap::from([
            ("autoscaling:DescribeAutoScalingGroups".to_owned(), 1),
            ("ecs:DescribeServices".to_owned(), 3),
        ])
    );
    assert_eq!(stand.recorded(), second);
}

#[tokio::test]
async fn many_groups_are_paged_or_named_whichever_is_fewer_calls() {
    let stand = Simulator::fleet(1, 150, 0).await;
    let groups = |environment_name: &str, count: usize| {
        let reader = stand.aws.reader(&environment(environment_name), &account("000000000001", None));
        let targets: BTreeMap<LocalRef, TargetSpec> =
            (0..count).map(|n| (local(&format!("asg/g{n}")), asg(&format!("group-{n}")))).collect();
        async move {
            for _ in 0..2 {
                let observed = reader.observe(&targets).await;
                assert!(observed.values().all(|group| matches!(group, Ok(ObservedTarget::Group(_)))), "{observed:?}");
            }
        }
    };
    let described = |calls: BTreeMap<String, usize>| calls["autoscaling:DescribeAutoScalingGroups"];
    groups("all", 150).await;
    assert_eq!(described(stand.calls().await), 2 + 2, "two pages of a hundred, in both passes");
    groups("few", 50).await;
    assert_eq!(described(stand.calls().await), 1 + 1, "one batch of names");
}

#[tokio::test]
async fn what_is_missing_is_said_and_harms_nothing_else() {
    let stand = Simulator::new(WORLD).await;
    let reader = stand.reader();
    let targets = BTreeMap::from([
        (local("asg/web"), asg("frontend")),
        (local("asg/gone"), asg("gone")),
        (local("fargate/api"), fargate("app", "api")),
        (local("fargate/gone"), fargate("app", "gone")),
        (local("fargate/lost"), fargate("lost", "api")),
    ]);
    let observed = reader.observe(&targets).await;
    let missing = |local: &LocalRef| match &observed[local] {
        Ok(ObservedTarget::Missing(what)) => Some(what.as_str()),
        _ => None,
    };
    assert_eq!(missing(&local("asg/gone")), Some("Auto Scaling group gone"));
    assert_eq!(missing(&local("fargate/gone")), Some("service gone in cluster app"));
    assert_eq!(missing(&local("fargate/lost")), Some("cluster lost"));
    assert!(matches!(observed[&local("asg/web")], Ok(ObservedTarget::Group(_))));
    assert!(matches!(observed[&local("fargate/api")], Ok(ObservedTarget::Service(_))));
}

#[tokio::test]
async fn moving_versions_resolve_to_numbers() {
    let stand = Simulator::new(WORLD).await;
    let reader = stand.reader();
    assert_eq!(observe_group(&*reader, "latest").await.current.unwrap().number, 2);
    let group = observe_group(&*reader, "default").await;
    assert_eq!(group.current.as_ref().unwrap().number, 1);

    let number = Action::NumberTemplate { group: group.name.clone(), template: template(&group), version: 1 };
    stand.writer().apply(&number).await.unwrap();
    let numbered = observe_group(&*reader, "default").await;
    assert!(
        matches!(
            numbered.template,
            GroupTemplate::LaunchTemplate { version: pinion::model::TemplateVersionSpec::Number(1), .. }
        ),
        "{numbered:?}"
    );
}

#[tokio::test]
async fn artifacts_resolve_once_until_a_resync() {
    let stand = Simulator::new(WORLD).await;
    let reader = stand.reader();
    let owner = Some("111111111111".try_into().unwrap());
    let name = |name: &str| ArtifactQuery::Ami(AmiQuery::Name { name: name.to_owned(), owner: owner.clone() });
    let parameter = |name: &str| ArtifactQuery::Ami(AmiQuery::Parameter { parameter: name.to_owned() });
    let id = |id: &str| ArtifactQuery::Ami(AmiQuery::Id { id: id.to_owned() });
    let tags = ArtifactQuery::Ami(AmiQuery::Tags {
        tags: BTreeMap::from([("role".to_owned(), "frontend".to_owned())]),
        owner: None,
    });
    let image = |text: &str, digest: Option<Digest>| ArtifactQuery::Image {
        reference: ImageReference::parse(&format!("111111111111.dkr.ecr.us-west-1.amazonaws.com/{text}")).unwrap(),
        digest,
    };
    let good = [
        (name("frontend-1.4.0"), "ami-0000000000000140"),
        (name("frontend-1.4.1"), "ami-0000000000000141"),
        (parameter("/app/ami"), "ami-0000000000000141"),
        (parameter("/app/ami:live"), "ami-0000000000000140"),
        (id("ami-0000000000000150"), "ami-0000000000000150"),
        (tags, "ami-0000000000000199"),
        (image("backend:2.0.0", None), "111111111111.dkr.ecr.us-west-1.amazonaws.com/backend:2.0.0"),
        (image("backend:2.0.1", None), "111111111111.dkr.ecr.us-west-1.amazonaws.com/backend:2.0.1"),
    ];
    let queries: BTreeSet<ArtifactQuery> = good.iter().map(|(query, _)| query.clone()).collect();
    let resolved = reader.resolve(&queries).await;
    for (query, identity) in &good {
        assert_eq!(resolved[query].as_ref().map(Artifact::identity), Ok(*identity), "{query:?}");
    }
    assert_eq!(
        stand.calls().await,
        BTreeMap::from([
            ("sts:AssumeRole".to_owned(), 1),
            ("sts:GetCallerIdentity".to_owned(), 1),
            ("ec2:DescribeImages".to_owned(), 3),
            ("ssm:GetParameters".to_owned(), 1),
            ("ecr:BatchGetImage".to_owned(), 1),
        ])
    );
    // Tags, parameters and labels may point elsewhere by now; the rest stays what it is.
    assert_eq!(reader.resolve(&queries).await, resolved);
    let again = BTreeMap::from([("ec2:DescribeImages".to_owned(), 2), ("ssm:GetParameters".to_owned(), 1)]);
    assert_eq!(stand.calls().await, again);
    let movable = |query: &&ArtifactQuery| {
        matches!(query, ArtifactQuery::Ami(AmiQuery::Tags { .. } | AmiQuery::Parameter { .. }))
    };
    let lasting: BTreeSet<ArtifactQuery> = queries.iter().filter(|query| !movable(query)).cloned().collect();
    assert_eq!(reader.resolve(&lasting).await.len(), lasting.len());
    assert_eq!(stand.calls().await, BTreeMap::new());
    reader.forget();
    assert_eq!(reader.resolve(&queries).await, resolved);
    assert_eq!(stand.calls().await.len(), 3);

    let Ok(Artifact::Image { digest: Some(digest), .. }) = &resolved[&image("backend:2.0.0", None)] else {
        panic!("no digest: {resolved:?}");
    };
    let wrong = Digest::try_from(format!("sha256:{}", "0".repeat(64))).unwrap();
    let pinned = image("backend:2.0.0", Some(digest.clone()));
    let bad = [
        (name("frontend-9.9.9"), "there is no AMI named `frontend-9.9.9` of account 111111111111 in us-west-1"),
        (name("frontend-1.6.0"), "is shared with account 222222222222"),
        (name("frontend-*"), "there is no AMI named `frontend-*`"),
        (
            ArtifactQuery::Ami(AmiQuery::Name { name: "frontend-1.7.0".to_owned(), owner: None }),
            "a public one of account 111111111111; if it is meant, name that account as `owner`",
        ),
        (parameter("/app/none"), "there is no SSM parameter /app/none in us-west-1 of account 222222222222"),
        (parameter("/app/text"), "SSM parameter /app/text holds `not an AMI`"),
        (id("ami-0000000000000999"), "there is no AMI with the id ami-0000000000000999"),
        (image("backend:9.9.9", None), "there is no image 111111111111.dkr.ecr.us-west-1.amazonaws.com/backend:9.9.9"),
        (image("none:1", None), "there is no ECR repository none in us-west-1 of account 111111111111"),
        (image("private:1", None), "in the repository's policy"),
        (image("backend:2.0.1", Some(wrong)), "the digest is another repository's, or the image was removed"),
    ];
    let queries: BTreeSet<ArtifactQuery> =
        bad.iter().map(|(query, _)| query.clone()).chain([pinned.clone(), good[0].0.clone()]).collect();
    let resolved = reader.resolve(&queries).await;
    for (query, text) in &bad {
        match &resolved[query] {
            Err(ResolveError::Unusable(said)) => assert!(said.contains(text), "{query:?}: {said}"),
            other => panic!("{query:?}: {other:?}"),
        }
    }
    let by_digest = format!("111111111111.dkr.ecr.us-west-1.amazonaws.com/backend@{digest}");
    assert_eq!(resolved[&pinned].as_ref().map(Artifact::identity), Ok(by_digest.as_str()));
    assert!(resolved[&good[0].0].is_ok(), "what is missing doesn't harm the others");
}

#[tokio::test]
async fn a_group_is_rolled_and_its_history_says_so() {
    let stand = Simulator::new(WORLD).await;
    let (reader, writer) = (stand.reader(), stand.writer());
    let group = observe_group(&*reader, "frontend").await;
    let launch_template = template(&group);
    assert_eq!(group.current.as_ref().unwrap().image.as_deref(), Some("ami-0000000000000140"));

    let create = Action::CreateTemplateVersion {
        template: launch_template.clone(),
        source: 1,
        image: "ami-0000000000000141".to_owned(),
        marker: marker("1.4.1", "1"),
        root_device: None,
        sought: "0badcafe".to_owned(),
    };
    assert_eq!(writer.apply(&create).await.unwrap().id.as_deref(), Some("2"));
    assert_eq!(writer.apply(&create).await.unwrap().id.as_deref(), Some("2"), "a repeated call makes nothing new");

    let start = Action::StartRefresh {
        group: group.name.clone(),
        template: launch_template.clone(),
        version: 2,
        preferences: RefreshPreferences { auto_rollback: true, min_healthy: Some(50), ..Default::default() },
    };
    let id = RolloutId(writer.apply(&start).await.unwrap().id.unwrap());
    let again = writer.apply(&start).await.unwrap_err();
    assert_eq!((again.class, again.code.as_str()), (ErrorClass::Conflict, "InstanceRefreshInProgress"));
    assert!(again.request_id.is_some());

    let history = reader.history(&ObservedTarget::Group(Box::new(group.clone()))).await.unwrap();
    let RolloutHistory::Group { refreshes, versions, .. } = history else { panic!("{history:?}") };
    assert_eq!((&refreshes[0].id, refreshes[0].outcome), (&id, RolloutOutcome::Running));
    assert_eq!(refreshes[0].target, RolloutTarget::TemplateVersion(2));
    assert_eq!((versions.len(), versions[0].number, versions[1].number), (2, 2, 1), "what it was made from, too");
    assert_eq!(versions[0].marker, Some(marker("1.4.1", "1")));

    let foreign = Action::CancelRefresh { group: group.name.clone(), refresh: RolloutId("another".to_owned()) };
    assert_eq!(writer.apply(&foreign).await.unwrap_err().class, ErrorClass::Conflict, "only ours is cancelled");

    stand.advance(600).await;
    let rolled = observe_group(&*reader, "frontend").await;
    assert_eq!(rolled.current.as_ref().unwrap().number, 2);
    assert!(rolled.instances.iter().all(|instance| instance.template == Some((launch_template.id.clone(), 2))));
    let history = reader.history(&ObservedTarget::Group(Box::new(rolled))).await.unwrap();
    let RolloutHistory::Group { refreshes, versions, .. } = history else { panic!("{history:?}") };
    assert_eq!(refreshes[0].outcome, RolloutOutcome::Succeeded);
    assert!(refreshes[0].ended.is_some());
    assert!(
        versions.iter().any(|version| version.number == 2),
        "the version that the refresh names, though it isn't newer"
    );

    let over = Action::RollbackRefresh { group: group.name, refresh: id };
    assert_eq!(writer.apply(&over).await.unwrap_err().class, ErrorClass::Conflict);
}

#[tokio::test]
async fn a_policy_that_has_changed_since_is_a_conflict() {
    let group = r#"name = "latest"
launch_template = "moving"
mixed = { overrides = [
    { InstanceType = "t3.small", WeightedCapacity = "2" },
    { InstanceType = "m7g.large", LaunchTemplateSpecification = { LaunchTemplateName = "frontend", Version = "$Latest" } },
] }"#;
    let stand = Simulator::new(&WORLD.replace("name = \"latest\"\nlaunch_template = \"moving\"", group)).await;
    let (reader, writer) = (stand.reader(), stand.writer());
    let group = observe_group(&*reader, "latest").await;
    let GroupTemplate::MixedInstances(policy) = &group.template else { panic!("{group:?}") };
    assert_eq!(policy.own.len(), 1);
    let types: Vec<(&str, Vec<&str>)> =
        group.traits.types.iter().map(|(name, on)| (name.as_str(), on.iter().map(String::as_str).collect())).collect();
    assert_eq!(types, [("m7g.large", vec!["arm64"]), ("t3.small", vec!["x86_64"])]);

    let to = |template: &TemplateRef, from: TemplateVersionSpec, to: u64| VersionMove {
        template: template.clone(),
        from,
        to,
    };
    let own = &policy.own[0];
    let moves = vec![to(&policy.template, policy.version, 2), to(&own.template, own.version, 1)];
    let number = Action::NumberPolicy { group: group.name.clone(), moves };
    writer.apply(&number).await.unwrap();
    let again = writer.apply(&number).await.unwrap_err();
    assert_eq!((again.class, again.code.as_str()), (ErrorClass::Conflict, "PolicyChanged"));
    let numbered = observe_group(&*reader, "latest").await;
    let GroupTemplate::MixedInstances(policy) = &numbered.template else { panic!("{numbered:?}") };
    assert_eq!(policy.version, TemplateVersionSpec::Number(2));
    assert_eq!(policy.own[0].version, TemplateVersionSpec::Number(1));

    // The history knows what a refresh of several templates leads to.
    let (mine, other) = (policy.template.clone(), policy.own[0].template.clone());
    let number = TemplateVersionSpec::Number;
    let moves = vec![to(&mine, number(2), 1), to(&other, number(1), 1)];
    let preferences = RefreshPreferences { auto_rollback: true, ..Default::default() };
    let start = Action::RefreshPolicy { group: group.name, moves: moves.clone(), preferences };
    writer.apply(&start).await.unwrap();
    let history = reader.history(&ObservedTarget::Group(Box::new(numbered))).await.unwrap();
    let RolloutHistory::Group { refreshes, versions, .. } = history else { panic!("{history:?}") };
    assert_eq!(refreshes[0].target, VersionMove::destination(&moves));
    let versions: BTreeSet<(&str, u64)> = versions.iter().map(|one| (one.template.as_str(), one.number)).collect();
    assert!(versions.contains(&(mine.id.as_str(), 1)) && versions.contains(&(other.id.as_str(), 1)), "{versions:?}");
}

#[tokio::test]
async fn a_cancelled_refresh_is_in_the_history() {
    let stand = Simulator::new(WORLD).await;
    let (reader, writer) = (stand.reader(), stand.writer());
    let group = observe_group(&*reader, "frontend").await;
    let create = Action::CreateTemplateVersion {
        template: template(&group),
        source: 1,
        image: "ami-0000000000000141".to_owned(),
        marker: marker("1.4.1", "1"),
        root_device: None,
        sought: "0badcafe".to_owned(),
    };
    writer.apply(&create).await.unwrap();
    let start = Action::StartRefresh {
        group: group.name.clone(),
        template: template(&group),
        version: 2,
        preferences: RefreshPreferences { auto_rollback: true, ..Default::default() },
    };
    let refresh = RolloutId(writer.apply(&start).await.unwrap().id.unwrap());
    let cancel = Action::CancelRefresh { group: group.name.clone(), refresh: refresh.clone() };
    assert_eq!(writer.apply(&cancel).await.unwrap().id, Some(refresh.0));
    stand.advance(120).await;
    let history = reader.history(&ObservedTarget::Group(Box::new(group))).await.unwrap();
    let RolloutHistory::Group { refreshes, .. } = history else { panic!("{history:?}") };
    assert_eq!((refreshes[0].outcome, refreshes[0].status.as_str()), (RolloutOutcome::Cancelled, "Cancelled"));
}

#[tokio::test]
async fn a_service_is_rolled_and_nothing_but_the_image_changes() {
    let stand = Simulator::new(WORLD).await;
    let (reader, writer) = (stand.reader(), stand.writer());
    let service = observe_service(&*reader).await;
    let base = service.task_definition.arn.clone();
    let image = "111111111111.dkr.ecr.us-west-1.amazonaws.com/backend:2.0.1";
    let register = Action::RegisterTaskDefinition {
        family: "api".to_owned(),
        base: base.clone(),
        containers: vec!["app".to_owned()],
        image: image.to_owned(),
        marker: marker("2.0.1", "api:1"),
    };
    let revision = writer.apply(&register).await.unwrap().id.unwrap();
    assert!(revision.ends_with("task-definition/api:2"), "{revision}");

    let sent = stand.journal().await.into_iter().find(|call| call["operation"] == "RegisterTaskDefinition").unwrap();
    let sent = &sent["params"];
    assert_eq!(sent["fieldFromTheFuture"], json!({ "nested": ["", 1] }), "{sent}");
    let container = &sent["containerDefinitions"][0];
    assert_eq!(container["image"], image);
    assert_eq!(container["environment"], json!([{ "name": "EMPTY", "value": "" }]));
    assert_eq!(container["futureSwitch"], false);
    for read_only in ["taskDefinitionArn", "revision", "status", "registeredAt", "compatibilities"] {
        assert_eq!(sent.get(read_only), None, "{sent}");
    }
    assert_eq!(
        sent["tags"],
        json!([
            { "key": "team", "value": "backend" },
            { "key": "pinion:version", "value": "2.0.1" },
            { "key": "pinion:commit", "value": "a".repeat(40) },
            { "key": "pinion:base", "value": "api:1" },
            { "key": "pinion:target", "value": "pinion/dev/fargate/api" },
        ])
    );

    // Registered, not deployed yet: that is where a killed controller goes on.
    let history = reader.history(&ObservedTarget::Service(Box::new(service.clone()))).await.unwrap();
    let RolloutHistory::Service { revisions, .. } = history else { panic!("{history:?}") };
    assert_eq!(revisions[0].arn, revision);
    assert_eq!(revisions[0].marker, Some(marker("2.0.1", "api:1")));
    assert_eq!(revisions[0].containers[0].image, image);

    let update = Action::UpdateService {
        cluster: service.cluster.clone(),
        service: service.name.clone(),
        task_definition: revision.clone(),
    };
    let deployment = writer.apply(&update).await.unwrap().id.unwrap();
    let rolling = observe_service(&*reader).await;
    assert_eq!((rolling.deployments[0].id.as_str(), rolling.deployments[0].primary), (deployment.as_str(), true));
    let history = reader.history(&ObservedTarget::Service(Box::new(rolling))).await.unwrap();
    let RolloutHistory::Service { deployments, .. } = history else { panic!("{history:?}") };
    assert_eq!(deployments[0].outcome, RolloutOutcome::Running);
    assert_eq!(deployments[0].target, RolloutTarget::TaskDefinition(revision.clone()));

    stand.advance(600).await;
    let rolled = observe_service(&*reader).await;
    assert_eq!((rolled.task_definition.arn.as_str(), rolled.running), (revision.as_str(), 2));
    assert_eq!((rolled.deployments.len(), rolled.deployments[0].rollout_state.as_str()), (1, "COMPLETED"));
    let rolled = ObservedTarget::Service(Box::new(rolled));
    let history = reader.history(&rolled).await.unwrap();
    let RolloutHistory::Service { deployments, .. } = &history else { panic!("{history:?}") };
    assert_eq!(deployments[0].outcome, RolloutOutcome::Succeeded);

    stand.calls().await;
    assert_eq!(reader.history(&rolled).await.unwrap(), history);
    let calls = stand.calls().await;
    assert!(!calls.contains_key("ecs:DescribeServiceDeployments"), "what has ended is read once: {calls:?}");
    assert!(!calls.contains_key("ecs:DescribeTaskDefinition"), "{calls:?}");
}

#[tokio::test]
async fn a_service_that_was_rolled_back_has_a_failed_rollout() {
    let stand = Simulator::new(WORLD).await;
    let (reader, writer) = (stand.reader(), stand.writer());
    let service = observe_service(&*reader).await;
    let register = Action::RegisterTaskDefinition {
        family: "api".to_owned(),
        base: service.task_definition.arn.clone(),
        containers: vec!["app".to_owned()],
        image: "111111111111.dkr.ecr.us-west-1.amazonaws.com/backend:2.1.1".to_owned(),
        marker: marker("2.1.1", "api:1"),
    };
    let revision = writer.apply(&register).await.unwrap().id.unwrap();
    let update = Action::UpdateService {
        cluster: service.cluster.clone(),
        service: service.name.clone(),
        task_definition: revision.clone(),
    };
    writer.apply(&update).await.unwrap();
    stand.advance(1800).await;
    let after = observe_service(&*reader).await;
    assert_eq!(after.task_definition.arn, service.task_definition.arn, "back on the old one");
    let history = reader.history(&ObservedTarget::Service(Box::new(after))).await.unwrap();
    let RolloutHistory::Service { deployments, revisions, .. } = history else { panic!("{history:?}") };
    let ours = deployments
        .iter()
        .find(|deployment| deployment.target == RolloutTarget::TaskDefinition(revision.clone()))
        .unwrap();
    assert_eq!(ours.outcome, RolloutOutcome::Failed, "{ours:?}");
    assert!(revisions.iter().any(|known| known.arn == revision));
}

#[tokio::test]
async fn a_role_that_cannot_be_assumed_is_told_from_a_call_that_is_refused() {
    let stand = Simulator::new(WORLD).await;
    let strangers = stand.aws.reader(&environment("dev"), &account("222222222222", Some("wrong")));
    let error = strangers.identity().await.unwrap_err();
    assert_eq!((error.class, error.service, error.operation), (ErrorClass::Denied, "sts", "AssumeRole"));
    assert_eq!(error.code, "AccessDenied");
    assert!(error.request_id.is_some());
    for part in ["arn:aws:iam::222222222222:role/pinion", "with an external id", "trust policy"] {
        assert!(error.message.contains(part), "{error}");
    }
    let observed = strangers.observe(&BTreeMap::from([(local("asg/web"), asg("frontend"))])).await;
    assert_eq!(observed[&local("asg/web")], Err(error));
    assert_eq!(stand.calls().await, BTreeMap::from([("sts:AssumeRole".to_owned(), 1)]), "one failure for all calls");
    assert_eq!(stand.recorded_as("denied"), BTreeMap::from([("sts:AssumeRole".to_owned(), 1)]));

    let none = stand.aws.reader(&environment("dev"), &account("222222222222", None));
    assert!(none.identity().await.unwrap_err().message.contains("without an external id"));
}

#[tokio::test]
async fn who_refuses_is_told_apart() {
    let stand = Simulator::new(WORLD).await;
    let refused = |operation: &str, code: &str, why: &str| {
        let message = format!("User: pinion is not authorized to perform: {operation} on resource: r{why}");
        json!({ "operation": operation, "kind": "error", "code": code, "status": 403, "message": message, "times": 1 })
    };
    let identity = " because no identity-based policy allows the sts:AssumeRole action";
    for (index, (code, why, advice)) in [
        ("AccessDenied", "", "check, in this order, that the role exists; that its trust policy names"),
        ("AccessDenied", identity, "allow sts:AssumeRole on this role in the policies of Pinion's own identity"),
        ("AccessDenied", " with an explicit deny in a service control policy", "a service control policy is the"),
        ("ExpiredToken", "", "Pinion's own credentials have expired"),
        ("InvalidClientTokenId", "", "AWS doesn't know Pinion's own access key"),
        ("RegionDisabledException", "", "activate STS for `account.region`"),
    ]
    .into_iter()
    .enumerate()
    {
        stand.fault(refused("AssumeRole", code, why)).await;
        let name = environment(&format!("dev-{index}"));
        let reader = stand.aws.reader(&name, &account("222222222222", Some("pinion-test")));
        let error = reader.identity().await.unwrap_err();
        assert_eq!((error.class, error.operation, error.code.as_str()), (ErrorClass::Denied, "AssumeRole", code));
        assert!(error.message.starts_with("role arn:aws:iam::222222222222:role/pinion can't be assumed"), "{error}");
        assert!(error.message.contains(advice), "{error}");
    }
    let reader = stand.reader();
    for (why, advice) in [
        ("", "; allow it in the role's permission policy"),
        (" with an explicit deny in a service control policy", "; a service control policy is the organisation's"),
    ] {
        let mut fault = refused("DescribeAutoScalingGroups", "AccessDenied", why);
        fault["times"] = 2.into();
        stand.fault(fault).await;
        let observed = reader.observe(&BTreeMap::from([(local("asg/web"), asg("frontend"))])).await;
        let error = observed[&local("asg/web")].as_ref().unwrap_err();
        assert!(error.class == ErrorClass::Denied && error.to_string().contains(advice), "{error}");
        // The first time the role is assumed again, too, and the second denial counts.
        stand.repair().await;
    }
    let proxy = json!({ "operation": "DescribeAutoScalingGroups", "kind": "gateway", "status": 403, "times": 1 });
    stand.fault(proxy).await;
    let observed = reader.observe(&BTreeMap::from([(local("asg/web"), asg("frontend"))])).await;
    let error = observed[&local("asg/web")].as_ref().unwrap_err();
    assert!(error.message.contains("look at what answers in its place"), "{error}");
}

#[tokio::test]
async fn credentials_that_have_expired_are_renewed_at_once() {
    let stand = Simulator::new(WORLD).await;
    let reader = stand.reader();
    let first = observe_group(&*reader, "frontend").await;
    stand.calls().await;
    let expired =
        json!({ "service": "autoscaling", "kind": "error", "code": "ExpiredToken", "status": 403, "times": 1 });
    stand.fault(expired).await;
    assert_eq!(observe_group(&*reader, "frontend").await, first);
    assert_eq!(
        stand.calls().await,
        BTreeMap::from([
            ("sts:AssumeRole".to_owned(), 1),
            ("sts:GetCallerIdentity".to_owned(), 1),
            ("autoscaling:DescribeAutoScalingGroups".to_owned(), 2)
        ])
    );
}

#[tokio::test]
async fn a_denial_has_the_role_assumed_again_but_not_each_time() {
    let stand = Simulator::new(WORLD).await;
    let reader = stand.reader();
    let first = observe_group(&*reader, "frontend").await;
    let calls = |assumed: usize, described: usize| {
        let all = [
            ("sts:AssumeRole", assumed),
            ("sts:GetCallerIdentity", assumed),
            ("autoscaling:DescribeAutoScalingGroups", described),
        ];
        all.into_iter().filter(|(_, times)| *times > 0).map(|(name, times)| (name.to_owned(), times)).collect()
    };
    stand.calls().await;
    // All sessions are revoked: the next one is good.
    stand.fault(json!({ "account": "222222222222", "kind": "revoke", "times": 1 })).await;
    assert_eq!(observe_group(&*reader, "frontend").await, first);
    assert_eq!(stand.calls().await, calls(1, 2));
    // What the role may not do is denied by that one, too: that is believed for a while.
    let denied = json!({ "service": "autoscaling", "kind": "error", "code": "AccessDenied", "status": 403 });
    stand.fault(denied).await;
    for _ in 0..3 {
        let observed = reader.observe(&BTreeMap::from([(local("asg/web"), asg("frontend"))])).await;
        let error = observed[&local("asg/web")].as_ref().unwrap_err();
        assert_eq!((error.class, error.operation), (ErrorClass::Denied, "DescribeAutoScalingGroups"));
    }
    assert_eq!(stand.calls().await, calls(0, 3));
}

#[tokio::test]
async fn credentials_outlive_a_denial_while_the_role_cannot_be_assumed() {
    let stand = Simulator::new(WORLD).await;
    let reader = stand.reader();
    observe_group(&*reader, "frontend").await;
    let seen = || async {
        let observed = reader.observe(&BTreeMap::from([(local("asg/web"), asg("frontend"))])).await;
        observed[&local("asg/web")].as_ref().map(|_| ()).map_err(|error| (error.operation, error.class))
    };
    let once = |operation: &str, code: &str, status: u16, times: u8| json!({ "operation": operation, "kind": "error", "code": code, "status": status, "times": times });
    stand.fault(once("DescribeAutoScalingGroups", "AccessDenied", 403, 1)).await;
    stand.fault(once("AssumeRole", "ServiceUnavailable", 503, 3)).await;
    assert_eq!(seen().await, Ok(()), "the old session may still be good, and is");
    // But if that is denied as well, access was taken away.
    let stand = Simulator::new(WORLD).await;
    let reader = stand.reader();
    observe_group(&*reader, "frontend").await;
    stand.fault(once("DescribeAutoScalingGroups", "AccessDenied", 403, 1)).await;
    stand.fault(once("AssumeRole", "AccessDenied", 403, 9)).await;
    let observed = reader.observe(&BTreeMap::from([(local("asg/web"), asg("frontend"))])).await;
    assert_eq!(observed[&local("asg/web")].as_ref().unwrap_err().operation, "AssumeRole");
    assert_eq!(reader.identity().await.unwrap_err().operation, "AssumeRole");
}

#[tokio::test]
async fn a_failing_batch_fails_its_targets_only() {
    let stand = Simulator::fleet(1, 1, 11).await;
    let reader = stand.aws.reader(&environment("one"), &account("000000000001", None));
    let services: BTreeMap<LocalRef, TargetSpec> =
        (0..11).map(|n| (local(&format!("fargate/s{n}")), fargate("app", &format!("service-{n}")))).collect();
    let mut targets = services.clone();
    targets.insert(local("asg/g"), asg("group-0"));
    let fault = json!({
        "service": "ecs", "operation": "DescribeServices", "kind": "error", "code": "InvalidParameterException",
        "message": "no", "status": 400, "times": 1,
    });
    stand.fault(fault).await;
    let observed = reader.observe(&targets).await;
    let failed: Vec<&LocalRef> =
        observed.iter().filter(|(_, result)| result.is_err()).map(|(local, _)| local).collect();
    assert_eq!(failed.len(), 10, "{failed:?}");
    assert!(observed[&local("asg/g")].is_ok());
    let error = observed[failed[0]].as_ref().unwrap_err();
    assert_eq!((error.class, error.operation), (ErrorClass::Invalid, "DescribeServices"));
}

#[tokio::test]
async fn nothing_is_written_to_another_account() {
    let stand = Simulator::new(WORLD).await;
    // The folder says prod; the role leads to dev.
    let mut wrong = account("222222222222", Some("pinion-test"));
    wrong.id = "444444444444".try_into().unwrap();
    let reader = stand.aws.reader(&environment("prod"), &wrong);
    assert_eq!(reader.identity().await.unwrap().as_str(), "222222222222");
    let group = observe_group(&*stand.reader(), "default").await;
    let number = Action::NumberTemplate { group: group.name.clone(), template: template(&group), version: 1 };
    stand.calls().await;
    let error = stand.aws.writer(&environment("prod"), &wrong).apply(&number).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Denied, "WrongAccount"));
    assert!(error.message.contains("222222222222") && error.message.contains("444444444444"), "{error}");
    let observed = reader.observe(&BTreeMap::from([(local("asg/web"), asg("frontend"))])).await;
    assert_eq!(observed[&local("asg/web")].as_ref().unwrap_err().code, "WrongAccount", "nothing is read, either");
    assert!(stand.calls().await.keys().all(|call| call.starts_with("sts:")));
    let writes = stand.journal().await.into_iter().filter(|call| call["write"] == true).collect::<Vec<Value>>();
    assert_eq!(writes, Vec::<Value>::new());
}

/// The world with a role of the same name in another account.
fn two_accounts() -> String {
    let role = "role = [{ name = \"pinion\", external_id = \"pinion-test\" }]";
    format!("{WORLD}\n[[account]]\nid = \"444444444444\"\nname = \"prod\"\n{role}\n")
}

#[tokio::test]
async fn a_new_session_is_asked_whose_it_is_before_it_writes() {
    let stand = Simulator::new(&two_accounts()).await;
    let (reader, writer) = (stand.reader(), stand.writer());
    let group = observe_group(&*reader, "default").await;
    let number = Action::NumberTemplate { group: group.name.clone(), template: template(&group), version: 1 };
    let write = "UpdateAutoScalingGroup";
    let made = |from: usize| {
        let stand = &stand;
        async move {
            let journal = stand.journal().await;
            let calls = journal.iter().skip(from);
            let told = |call: &Value| format!("{} {}", call["operation"].as_str().unwrap(), call["status"]);
            (calls.map(told).collect::<Vec<_>>(), journal.len())
        }
    };
    let (_, from) = made(0).await;
    stand.fault(json!({ "operation": write, "kind": "revoke", "times": 1 })).await;
    writer.apply(&number).await.unwrap();
    let (calls, from) = made(from).await;
    let renewed =
        ["UpdateAutoScalingGroup 403", "AssumeRole 200", "GetCallerIdentity 200", "UpdateAutoScalingGroup 200"];
    assert_eq!(calls, renewed);

    // The session runs out at the write, and the new one is another account's.
    stand.fault(json!({ "operation": write, "kind": "expire", "times": 1 })).await;
    let astray = json!({ "operation": "AssumeRole", "kind": "astray", "to": "444444444444", "times": 1 });
    stand.fault(astray).await;
    let error = writer.apply(&number).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Denied, "WrongAccount"));
    let (calls, from) = made(from).await;
    assert_eq!(calls, ["UpdateAutoScalingGroup 403", "AssumeRole 200", "GetCallerIdentity 200"], "nothing is written");
    writer.apply(&number).await.unwrap();
    let (calls, _) = made(from).await;
    assert_eq!(calls, ["AssumeRole 200", "GetCallerIdentity 200", "UpdateAutoScalingGroup 200"], "that one isn't kept");
}

#[tokio::test]
async fn what_would_strike_somebody_elses_refresh_is_sent_once() {
    let stand = Simulator::new(WORLD).await;
    let (reader, writer) = (stand.reader(), stand.writer());
    let group = observe_group(&*reader, "default").await;
    let (name, template) = (group.name.clone(), template(&group));
    let preferences = RefreshPreferences::default();
    let start = Action::StartRefresh { group: name.clone(), template, version: 2, preferences };
    let refresh = RolloutId(writer.apply(&start).await.unwrap().id.unwrap());
    for (operation, action) in [
        ("autoscaling:CancelInstanceRefresh", Action::CancelRefresh { group: name.clone(), refresh: refresh.clone() }),
        ("autoscaling:RollbackInstanceRefresh", Action::RollbackRefresh { group: name.clone(), refresh }),
        ("autoscaling:StartInstanceRefresh", start),
    ] {
        let (_, short) = operation.split_once(':').unwrap();
        stand.fault(json!({ "operation": short, "kind": "error", "status": 503, "times": 3 })).await;
        stand.calls().await;
        assert_eq!(writer.apply(&action).await.unwrap_err().class, ErrorClass::Retry, "{operation}");
        assert_eq!(stand.calls().await[operation], 1);
    }
}

#[tokio::test]
async fn a_family_that_others_register_in_is_tried_again() {
    let stand = Simulator::new(WORLD).await;
    let service = observe_service(&*stand.reader()).await;
    let busy = "Too many concurrent attempts to create a new revision of the specified family.";
    stand
        .fault(json!({
            "operation": "RegisterTaskDefinition", "kind": "error", "code": "ClientException", "status": 400,
            "message": busy, "times": 1,
        }))
        .await;
    let image = "111111111111.dkr.ecr.us-west-1.amazonaws.com/backend:2.0.1".to_owned();
    let (base, marker) = (service.task_definition.arn, marker("2.0.1", "api:1"));
    let register = Action::RegisterTaskDefinition {
        base,
        family: "api".to_owned(),
        containers: vec!["app".to_owned()],
        image,
        marker,
    };
    let error = stand.writer().apply(&register).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Conflict, "ClientException"));
    assert_eq!(stand.recorded_as("conflict"), BTreeMap::from([("ecs:RegisterTaskDefinition".to_owned(), 1)]));
    stand.writer().apply(&register).await.unwrap();
}

#[tokio::test]
async fn many_short_pages_say_the_same() {
    let mixed = r#"name = "latest"
launch_template = "moving"
version = "$Latest"
mixed = { overrides = [{ InstanceType = "t3.small" }, { InstanceType = "m7g.large" }, { InstanceType = "m7i.large" }] }"#;
    let stand =
        Simulator::new(&WORLD.replace("name = \"latest\"\nlaunch_template = \"moving\"\nversion = \"$Latest\"", mixed))
            .await;
    let writer = stand.writer();
    for version in ["2.0.1", "2.0.0"] {
        let service = observe_service(&*stand.reader()).await;
        let image = format!("111111111111.dkr.ecr.us-west-1.amazonaws.com/backend:{version}");
        let (base, marker) = (service.task_definition.arn.clone(), marker(version, "api:1"));
        let register = Action::RegisterTaskDefinition {
            base,
            family: "api".to_owned(),
            containers: vec!["app".to_owned()],
            image,
            marker,
        };
        let task_definition = writer.apply(&register).await.unwrap().id.unwrap();
        let update = Action::UpdateService { cluster: service.cluster, service: service.name, task_definition };
        writer.apply(&update).await.unwrap();
        stand.advance(600).await;
    }
    let group = observe_group(&*stand.reader(), "frontend").await;
    for commit in ["a", "b"] {
        let marker = Marker { commit: commit.repeat(40).try_into().unwrap(), ..marker("1.4.1", "1") };
        let image = "ami-0000000000000141".to_owned();
        let create = Action::CreateTemplateVersion {
            template: template(&group),
            source: 1,
            image,
            marker,
            root_device: None,
            sought: String::new(),
        };
        writer.apply(&create).await.unwrap();
    }
    let targets = BTreeMap::from([
        (local("asg/web"), asg("frontend")),
        (local("asg/latest"), asg("latest")),
        (local("asg/default"), asg("default")),
        (local("fargate/api"), fargate("app", "api")),
    ]);
    let queries = BTreeSet::from([ArtifactQuery::Ami(AmiQuery::Name {
        name: "frontend-1.4.1".to_owned(),
        owner: Some("111111111111".try_into().unwrap()),
    })]);
    let everything = |name: &'static str| {
        let reader = stand.aws.reader(&environment(name), &account("222222222222", Some("pinion-test")));
        let (targets, queries) = (&targets, &queries);
        async move {
            let observed = reader.observe(targets).await;
            let mut histories = BTreeMap::new();
            for (local, target) in &observed {
                histories.insert(local.clone(), reader.history(target.as_ref().unwrap()).await.unwrap());
            }
            (observed, histories, reader.resolve(queries).await)
        }
    };
    let whole = everything("whole").await;
    stand.fault(json!({ "kind": "page" })).await;
    stand.calls().await;
    assert_eq!(everything("short").await, whole);
    let calls = stand.calls().await;
    for (operation, least) in [
        ("autoscaling:DescribeAutoScalingGroups", 3),
        ("ec2:DescribeInstanceTypes", 3),
        ("ec2:DescribeLaunchTemplateVersions", 5),
        ("ecs:ListServiceDeployments", 2),
    ] {
        assert!(calls[operation] >= least, "{operation}: {calls:?}");
    }
}

#[tokio::test]
async fn a_deployment_that_is_listed_and_not_yet_described_is_waited_for() {
    let stand = Simulator::new(WORLD).await;
    let (reader, writer) = (stand.reader(), stand.writer());
    stand.advance(100).await;
    let service = observe_service(&*reader).await;
    stand.fault(json!({ "kind": "lag", "operation": "DescribeServiceDeployments", "millis": 60_000 })).await;
    let image = "111111111111.dkr.ecr.us-west-1.amazonaws.com/backend:2.0.1".to_owned();
    let (base, marker) = (service.task_definition.arn.clone(), marker("2.0.1", "api:1"));
    let register = Action::RegisterTaskDefinition {
        base,
        family: "api".to_owned(),
        containers: vec!["app".to_owned()],
        image,
        marker,
    };
    let task_definition = writer.apply(&register).await.unwrap().id.unwrap();
    let (cluster, name) = (service.cluster.clone(), service.name.clone());
    writer.apply(&Action::UpdateService { cluster, service: name, task_definition }).await.unwrap();
    let rolling = ObservedTarget::Service(Box::new(observe_service(&*reader).await));
    let error = reader.history(&rolling).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Retry, "NotThereYet"), "{error}");
    stand.advance(62).await;
    let RolloutHistory::Service { deployments, .. } = reader.history(&rolling).await.unwrap() else { unreachable!() };
    assert_eq!(deployments.len(), 1);
}

#[tokio::test]
async fn probes_are_not_for_aws() {
    let stand = Simulator::new(WORLD).await;
    let error = stand.writer().apply(&Action::Verify { probes: Vec::new() }).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Invalid);
}

#[tokio::test]
async fn a_throttled_account_delays_no_other() {
    let stand = Simulator::fleet(2, 1, 0).await;
    stand
        .fault(json!({ "account": "000000000001", "service": "autoscaling", "kind": "throttle", "times": 1000 }))
        .await;
    let target = BTreeMap::from([(local("asg/g"), asg("group-0"))]);
    let (one, two) = (environment("one"), environment("two"));
    let throttled = stand.aws.reader(&one, &account("000000000001", None));
    let free = stand.aws.reader(&two, &account("000000000002", None));
    // Longer than the SDK's retry quota lasts, were it shared.
    for _ in 0..3 {
        let error = throttled.observe(&target).await.remove(&local("asg/g")).unwrap().unwrap_err();
        assert_eq!((error.class, error.throttled), (ErrorClass::Retry, true), "{error}");
    }
    assert!(stand.throttles() >= 6, "retries are recorded too");
    assert!(free.observe(&target).await[&local("asg/g")].is_ok());
}
