//! ECS deployments, from a new task definition to their end.

use aws_sdk_ecs::error::ProvideErrorMetadata as _;
use aws_sdk_ecs::types::{
    DeploymentRolloutState as Rollout, KeyValuePair, Service, ServiceDeploymentStatus, ServiceField,
    StopServiceDeploymentStopType, TaskDefinitionField,
};

use super::stand::{Account, DEV, Simulator};

async fn register(dev: &Account, tag: &str) -> String {
    let read = dev
        .ecs
        .describe_task_definition()
        .task_definition("api")
        .include(TaskDefinitionField::Tags)
        .send()
        .await
        .unwrap();
    assert_eq!(read.tags()[0].value(), Some("backend"), "tags are at the top level");
    let definition = read.task_definition().unwrap();
    let mut container = definition.container_definitions()[0].clone();
    assert_eq!(
        container.environment()[1],
        KeyValuePair::builder().name("FEATURES").value("").build(),
        "empty values are kept"
    );
    container.image = Some(format!("111111111111.dkr.ecr.us-west-1.amazonaws.com/backend:{tag}"));
    let registered = dev
        .ecs
        .register_task_definition()
        .family("api")
        .network_mode("awsvpc".into())
        .requires_compatibilities("FARGATE".into())
        .cpu("256")
        .memory("512")
        .container_definitions(container)
        .set_tags(Some(read.tags().to_vec()))
        .send()
        .await
        .unwrap();
    registered.task_definition().unwrap().task_definition_arn().unwrap().to_owned()
}

async fn service(dev: &Account) -> Service {
    let read =
        dev.ecs.describe_services().cluster("app").services("api").include(ServiceField::Tags).send().await.unwrap();
    read.services()[0].clone()
}

/// Updates the service. Answers the id of the new deployment.
async fn update(dev: &Account, definition: &str) -> String {
    let updated =
        dev.ecs.update_service().cluster("app").service("api").task_definition(definition).send().await.unwrap();
    let service = updated.service().unwrap();
    let primary = &service.deployments()[0];
    assert_eq!(primary.status(), Some("PRIMARY"));
    assert_eq!(primary.rollout_state(), Some(&Rollout::InProgress));
    primary.id().unwrap().to_owned()
}

async fn record(dev: &Account) -> aws_sdk_ecs::types::ServiceDeployment {
    let listed = dev.ecs.list_service_deployments().cluster("app").service("api").send().await.unwrap();
    let arn = listed.service_deployments()[0].service_deployment_arn().unwrap().to_owned();
    let read = dev.ecs.describe_service_deployments().service_deployment_arns(arn).send().await.unwrap();
    read.service_deployments()[0].clone()
}

#[tokio::test]
async fn a_good_image_rolls_out() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    let before = service(&dev).await;
    assert_eq!((before.running_count(), before.deployments().len()), (2, 1));
    let old = before.deployments()[0].id().unwrap().to_owned();

    let definition = register(&dev, "2.1.0").await;
    assert!(definition.ends_with(":task-definition/api:2"));
    let id = update(&dev, "api:2").await;
    assert_ne!(id, old);
    let mut pairs = 0;
    for _ in 0..60 {
        stand.advance(2).await;
        let now = service(&dev).await;
        assert!(now.running_count() >= 2 && now.running_count() + now.pending_count() <= 4, "{now:?}");
        pairs += usize::from(now.deployments().len() == 2);
        if now.deployments().len() == 1 && now.deployments()[0].rollout_state() == Some(&Rollout::Completed) {
            break;
        }
    }
    assert!(pairs > 2, "old and new run side by side");
    let after = service(&dev).await;
    assert_eq!(after.deployments()[0].id(), Some(id.as_str()));
    assert_eq!(after.task_definition(), Some(definition.as_str()));
    assert_eq!(record(&dev).await.status(), Some(&ServiceDeploymentStatus::Successful));

    let again = dev.ecs.update_service().cluster("app").service("api").task_definition("api").send().await.unwrap();
    assert_eq!(again.service().unwrap().deployments()[0].id(), Some(id.as_str()), "the same again is no deployment");
    let forced =
        dev.ecs.update_service().cluster("app").service("api").force_new_deployment(true).send().await.unwrap();
    assert_ne!(forced.service().unwrap().deployments()[0].id(), Some(id.as_str()));

    // Every task runs the digest that ECR has for the tag, and so does the service revision.
    let tasks = dev.ecs.list_tasks().cluster("app").service_name("api").send().await.unwrap();
    let read =
        dev.ecs.describe_tasks().cluster("app").set_tasks(Some(tasks.task_arns().to_vec())).send().await.unwrap();
    let image = dev
        .ecr
        .describe_images()
        .registry_id(super::stand::TOOLS)
        .repository_name("backend")
        .image_ids(aws_sdk_ecr::types::ImageIdentifier::builder().image_tag("2.1.0").build())
        .send()
        .await
        .unwrap();
    let digest = image.image_details()[0].image_digest().unwrap();
    assert_eq!(read.tasks().len(), 2);
    assert!(read.tasks().iter().all(|task| task.containers()[0].image_digest() == Some(digest)));
    let target = record(&dev).await.target_service_revision().unwrap().arn().unwrap().to_owned();
    let revisions = dev.ecs.describe_service_revisions().service_revision_arns(target).send().await.unwrap();
    assert_eq!(revisions.service_revisions()[0].container_images()[0].image_digest(), Some(digest));
}

#[tokio::test]
async fn an_image_that_exits_trips_the_breaker() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    let old = service(&dev).await;
    let bad = register(&dev, "2.1.1").await;
    let id = update(&dev, &bad).await;
    for _ in 0..100 {
        stand.advance(5).await;
        assert!(service(&dev).await.running_count() >= 2, "the old tasks go on");
        if record(&dev).await.status() == Some(&ServiceDeploymentStatus::RollbackSuccessful) {
            break;
        }
    }
    let record = record(&dev).await;
    assert_eq!(record.status(), Some(&ServiceDeploymentStatus::RollbackSuccessful));
    assert!(record.rollback().unwrap().reason().unwrap().contains("circuit breaker"));
    assert!(record.deployment_circuit_breaker().unwrap().failure_count() >= 3);
    let after = service(&dev).await;
    let primary = &after.deployments()[0];
    assert_eq!(after.task_definition(), old.task_definition());
    assert_eq!(primary.rollout_state(), Some(&Rollout::Completed));
    assert!(primary.id() != Some(id.as_str()) && primary.id() != old.deployments()[0].id(), "a third id");
    let stopped = dev
        .ecs
        .list_tasks()
        .cluster("app")
        .started_by(&id)
        .desired_status(aws_sdk_ecs::types::DesiredStatus::Stopped)
        .send()
        .await
        .unwrap();
    let read =
        dev.ecs.describe_tasks().cluster("app").set_tasks(Some(stopped.task_arns().to_vec())).send().await.unwrap();
    assert!(read.tasks().iter().any(|task| task.stopped_reason() == Some("Essential container in task exited")));
}

#[tokio::test]
async fn without_a_breaker_a_missing_image_hangs_until_it_is_stopped() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    let definition = register(&dev, "9.9.9").await;
    let off = aws_sdk_ecs::types::DeploymentConfiguration::builder()
        .deployment_circuit_breaker(
            aws_sdk_ecs::types::DeploymentCircuitBreaker::builder().enable(false).rollback(false).build(),
        )
        .build();
    dev.ecs
        .update_service()
        .cluster("app")
        .service("api")
        .deployment_configuration(off)
        .task_definition(&definition)
        .send()
        .await
        .unwrap();
    stand.advance(7200).await;
    let now = service(&dev).await;
    assert_eq!(now.deployments()[0].rollout_state(), Some(&Rollout::InProgress));
    assert!(now.deployments()[0].failed_tasks() > 3);
    let view = stand.service(DEV, "app/api").await;
    assert!(view["tasks"].as_array().unwrap().len() > 5);

    let arn = record(&dev).await.service_deployment_arn().unwrap().to_owned();
    let request = dev
        .ecs
        .stop_service_deployment()
        .service_deployment_arn(&arn)
        .stop_type(StopServiceDeploymentStopType::Rollback);
    request.clone().send().await.unwrap();
    assert_eq!(record(&dev).await.status(), Some(&ServiceDeploymentStatus::RollbackRequested));
    stand.advance(120).await;
    assert_eq!(record(&dev).await.status(), Some(&ServiceDeploymentStatus::RollbackSuccessful));
    let error = request.send().await.unwrap_err().into_service_error();
    assert!(error.is_conflict_exception(), "{error:?}");
}

#[tokio::test]
async fn reads_page_and_name_what_is_missing() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    let read = dev.ecs.describe_services().cluster("app").services("api").services("nope").send().await.unwrap();
    assert_eq!(read.failures()[0].reason(), Some("MISSING"));
    let error =
        dev.ecs.describe_services().cluster("nope").services("api").send().await.unwrap_err().into_service_error();
    assert!(error.is_cluster_not_found_exception());
    let error =
        dev.ecs.describe_task_definition().task_definition("nope").send().await.unwrap_err().into_service_error();
    assert_eq!(error.code(), Some("ClientException"));
    let error = dev.ecs.update_service().cluster("app").service("nope").send().await.unwrap_err().into_service_error();
    assert!(error.is_service_not_found_exception());

    for tag in ["2.0.1", "2.1.0"] {
        register(&dev, tag).await;
    }
    let request = dev.ecs.list_task_definitions().family_prefix("api").sort("DESC".into());
    let first = request.clone().max_results(2).send().await.unwrap();
    assert!(first.task_definition_arns()[0].ends_with("api:3"));
    let second = request.max_results(2).next_token(first.next_token().unwrap()).send().await.unwrap();
    assert_eq!(second.task_definition_arns().len(), 1);
    assert!(second.next_token().is_none());
    dev.ecs.deregister_task_definition().task_definition("api:3").send().await.unwrap();
    let error =
        dev.ecs.update_service().cluster("app").service("api").task_definition("api:3").send().await.unwrap_err();
    assert_eq!(error.into_service_error().code(), Some("ClientException"));
    let clusters = dev.ecs.describe_clusters().clusters("app").clusters("other").send().await.unwrap();
    assert_eq!((clusters.clusters()[0].running_tasks_count(), clusters.failures().len()), (2, 1));
    assert_eq!(dev.ecs.list_services().cluster("app").send().await.unwrap().service_arns().len(), 1);
}
