//! What ran before a service's revision, and whether it can still be deployed.

use pinion::model::{ErrorClass, Marker, ObservedService, ObservedTarget, RolloutHistory};
use pinion::plan::Action;
use serde_json::json;

use super::{WORLD, marker, observe_service};
use crate::support::aws::Simulator;

/// The revisions that matter for a service, each with whether it is ACTIVE, newest first.
async fn revisions(stand: &Simulator, service: &ObservedService) -> Vec<(String, bool)> {
    let seen = ObservedTarget::Service(Box::new(service.clone()));
    let RolloutHistory::Service { revisions, .. } = stand.reader().history(&seen).await.unwrap() else {
        unreachable!("it is a service")
    };
    let short = |arn: &str| arn.rsplit('/').next().unwrap().to_owned();
    revisions.iter().map(|revision| (short(&revision.arn), revision.active)).collect()
}

fn are(revisions: &[(&str, bool)]) -> Vec<(String, bool)> {
    revisions.iter().map(|(name, active)| ((*name).to_owned(), *active)).collect()
}

/// Registers a revision with a bad image, made from what the service is on, and deploys it: it fails, and is left.
async fn fails(stand: &Simulator) -> ObservedService {
    let service = observe_service(&*stand.reader()).await;
    let on = service.task_definition.arn.rsplit('/').next().unwrap().to_owned();
    let register = Action::RegisterTaskDefinition {
        base: service.task_definition.arn.clone(),
        family: "api".to_owned(),
        containers: vec!["app".to_owned()],
        image: "111111111111.dkr.ecr.us-west-1.amazonaws.com/backend:2.1.1".to_owned(),
        marker: Marker { from: Some(on), ..marker("2.1.1", "api:1") },
    };
    let task_definition = stand.writer().apply(&register).await.unwrap().id.unwrap();
    update(stand, &service, task_definition).await.unwrap();
    stand.advance(2_000).await;
    observe_service(&*stand.reader()).await
}

async fn update(
    stand: &Simulator,
    service: &ObservedService,
    task_definition: String,
) -> Result<pinion::model::Applied, pinion::model::PortError> {
    let (cluster, service) = (service.cluster.clone(), service.name.clone());
    stand.writer().apply(&Action::UpdateService { cluster, service, task_definition }).await
}

#[tokio::test]
async fn what_ran_before_is_known_as_far_back_as_rollouts_have_failed() {
    let world = WORLD.replace("rollback = true", "rollback = false").replace(
        "role = [{ name = \"pinion\", external_id = \"pinion-test\" }]",
        "role = [{ name = \"pinion\", external_id = \"pinion-test\" }, { name = \"person\" }]",
    );
    let stand = Simulator::new(&world).await;
    fails(&stand).await;
    let left = fails(&stand).await;
    let account = left.task_definition.arn.rsplit_once('/').unwrap().0.to_owned();
    assert_eq!(left.task_definition.arn, format!("{account}/api:3"));
    assert_eq!(revisions(&stand, &left).await, are(&[("api:3", true), ("api:2", true), ("api:1", true)]));

    // What it was made from is listed in each look.
    let gone = |name: &str| json!({ "taskDefinition": name });
    stand.by_hand("person", "DeregisterTaskDefinition", gone("api:2")).await;
    assert_eq!(revisions(&stand, &left).await, are(&[("api:3", true), ("api:2", false), ("api:1", true)]));
    // What is older is read again when it is refused.
    stand.by_hand("person", "DeregisterTaskDefinition", gone("api:1")).await;
    let refused = update(&stand, &left, format!("{account}/api:1")).await.unwrap_err();
    assert_eq!(refused.class, ErrorClass::Invalid, "{refused}");
    assert_eq!(revisions(&stand, &left).await, are(&[("api:3", true), ("api:2", false), ("api:1", false)]));
}

/// Everything that is in it, what this build doesn't know and what is empty, too.
#[tokio::test]
async fn a_copy_is_what_was_deregistered_with_the_marker() {
    let stand = Simulator::new(WORLD).await;
    let service = observe_service(&*stand.reader()).await;
    let base = service.task_definition.arn.clone();
    let marker = Marker { from: Some("api:9".to_owned()), ..marker("2.0.0", "api:1") };
    let copy = Action::CopyTaskDefinition { base: base.clone(), marker: marker.clone() };
    assert_eq!(copy.to_string(), "register api:1 again, which is INACTIVE");
    let made = stand.writer().apply(&copy).await.unwrap().id.unwrap();
    assert_eq!(made, base.replace("api:1", "api:2"));
    let sent = stand.journal().await.into_iter().find(|call| call["operation"] == "RegisterTaskDefinition").unwrap();
    let sent = &sent["params"];
    assert_eq!(sent["family"], "api");
    assert_eq!(sent["fieldFromTheFuture"], json!({ "nested": ["", 1] }));
    let app = &sent["containerDefinitions"][0];
    assert_eq!(app["image"], "111111111111.dkr.ecr.us-west-1.amazonaws.com/backend:2.0.0");
    assert_eq!(
        (&app["environment"], &app["futureSwitch"]),
        (&json!([{ "name": "EMPTY", "value": "" }]), &json!(false))
    );
    let tags = sent["tags"].as_array().unwrap();
    let tags: Vec<(&str, &str)> =
        tags.iter().map(|tag| (tag["key"].as_str().unwrap(), tag["value"].as_str().unwrap())).collect();
    assert_eq!(Marker::from_tags(tags.iter().copied()), Some(marker));
    assert!(tags.contains(&("team", "backend")), "{tags:?}");
}
