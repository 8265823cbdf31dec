//! Identities and artifacts: STS, images, registries, parameters.

use aws_sdk_ec2::error::ProvideErrorMetadata as _;
use aws_sdk_ec2::types::Filter;
use aws_sdk_ecr::types::ImageIdentifier;
use pinion::sim::{Options, World};
use serde_json::json;

use super::stand::{DEV, PROD, Simulator, TOOLS};

#[tokio::test]
async fn roles_lead_to_accounts() {
    let stand = Simulator::demo().await;
    let own = stand.tools().sts.get_caller_identity().send().await.unwrap();
    assert_eq!(own.account(), Some(TOOLS));
    let prod = stand.account(PROD).await.sts.get_caller_identity().send().await.unwrap();
    assert_eq!(prod.account(), Some(PROD));
    assert_eq!(prod.arn(), Some("arn:aws:sts::444444444444:assumed-role/pinion/pinion"));

    let request = stand.tools().sts.assume_role().role_session_name("pinion");
    for (arn, external_id, seconds, code) in [
        ("arn:aws:iam::222222222222:role/pinion", "wrong", 3600, "AccessDenied"),
        ("arn:aws:iam::222222222222:role/nobody", "pinion-demo", 3600, "AccessDenied"),
        ("arn:aws:iam::999999999999:role/pinion", "pinion-demo", 3600, "AccessDenied"),
        ("arn:aws:iam::222222222222:role/pinion", "pinion-demo", 7200, "ValidationError"),
        ("arn:aws:iam::222222222222:role/pinion", "pinion-demo", 60, "ValidationError"),
    ] {
        let refused = request.clone().role_arn(arn).external_id(external_id).duration_seconds(seconds).send().await;
        let error = refused.unwrap_err().into_service_error();
        assert_eq!(error.code(), Some(code), "{arn} {external_id} {seconds}: {error:?}");
        if code == "AccessDenied" {
            let words = format!(
                "User: arn:aws:iam::111111111111:user/controller is not authorized to perform: sts:AssumeRole on resource: {arn}"
            );
            assert_eq!(error.message(), Some(words.as_str()));
        }
    }
}

#[tokio::test]
async fn foreign_keys_are_told_off_in_each_protocol() {
    let stand = Simulator::demo().await;
    let outsider = stand.account_with(aws_credential_types::Credentials::new(
        "ASIAUNKNOWN",
        "secret",
        Some("token".to_owned()),
        None,
        "test",
    ));
    let error = outsider.sts.get_caller_identity().send().await.unwrap_err().into_service_error();
    assert_eq!(error.code(), Some("InvalidClientTokenId"));
    let error = outsider.ec2.describe_images().send().await.unwrap_err().into_service_error();
    assert_eq!(aws_sdk_ec2::error::ProvideErrorMetadata::code(&error), Some("AuthFailure"));
    let error = outsider.ecs.list_services().cluster("app").send().await.unwrap_err().into_service_error();
    assert_eq!(aws_sdk_ecs::error::ProvideErrorMetadata::code(&error), Some("UnrecognizedClientException"));
    assert!(aws_types::request_id::RequestId::request_id(&error).is_some());
}

#[tokio::test]
async fn images_are_found_by_name_tag_and_id() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    let by_name = dev
        .ec2
        .describe_images()
        .owners(TOOLS)
        .filters(Filter::builder().name("name").values("frontend-1.4.?").build())
        .send()
        .await
        .unwrap();
    assert_eq!(by_name.images().len(), 3);
    let by_tag = dev
        .ec2
        .describe_images()
        .filters(Filter::builder().name("tag:version").values("1.5.0").build())
        .filters(Filter::builder().name("state").values("available").build())
        .send()
        .await
        .unwrap();
    let image = &by_tag.images()[0];
    assert_eq!((image.name(), image.owner_id()), (Some("frontend-1.5.0"), Some(TOOLS)));
    assert_eq!(image.architecture().map(|it| it.as_str()), Some("x86_64"));
    for (id, code) in [("ami-0123456789abcdef0", "InvalidAMIID.NotFound"), ("ami-x", "InvalidAMIID.Malformed")] {
        let error = dev.ec2.describe_images().image_ids(id).send().await.unwrap_err().into_service_error();
        assert_eq!(error.code(), Some(code));
    }
    let types = dev.ec2.describe_instance_types().instance_types("t4g.small".into()).send().await.unwrap();
    let processor = types.instance_types()[0].processor_info().unwrap();
    assert_eq!(processor.supported_architectures()[0].as_str(), "arm64");
    let instances = dev.ec2.describe_instances().send().await.unwrap();
    assert_eq!(instances.reservations().len(), 3);
}

#[tokio::test]
async fn a_deregistered_image_lingers_then_is_empty_then_unknown() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    let id = "ami-0f0000000001402aa";
    stand
        .post(
            "images",
            json!({ "account": TOOLS, "image": { "id": id, "name": "frontend-1.4.2", "state": "deregistered",
                "shared_with": [DEV] } }),
        )
        .await;
    let ask = || dev.ec2.describe_images().image_ids(id).send();
    assert_eq!(ask().await.unwrap().images().len(), 1);
    stand.advance(90).await;
    assert_eq!(ask().await.unwrap().images().len(), 0);
    stand.advance(120).await;
    let error = ask().await.unwrap_err().into_service_error();
    assert_eq!(error.code(), Some("InvalidAMIID.NotFound"));
}

#[tokio::test]
async fn registries_open_to_the_accounts_of_their_policy() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    let request = dev.ecr.describe_images().registry_id(TOOLS).repository_name("backend");
    let tag = |tag: &str| ImageIdentifier::builder().image_tag(tag).build();
    let error = request.clone().image_ids(tag("9.9.9")).send().await.unwrap_err().into_service_error();
    assert!(error.is_image_not_found_exception());
    let error = dev.ecr.describe_images().repository_name("backend").send().await.unwrap_err().into_service_error();
    assert!(error.is_repository_not_found_exception(), "its own registry has none");
    let batch = dev
        .ecr
        .batch_get_image()
        .registry_id(TOOLS)
        .repository_name("backend")
        .image_ids(tag("2.0.1"))
        .image_ids(tag("9.9.9"))
        .send()
        .await
        .unwrap();
    assert_eq!((batch.images().len(), batch.failures().len()), (1, 1));
    let pushed =
        stand.post("ecr", json!({ "account": TOOLS, "repository": "backend", "image": { "tags": ["9.9.9"] } })).await;
    let found = request.clone().image_ids(tag("9.9.9")).send().await.unwrap();
    assert_eq!(found.image_details()[0].image_digest(), pushed["digest"].as_str());
    // An index's images are known by their digests, too, and have no tags.
    let index = json!({ "tags": ["index"], "architectures": ["amd64", "arm64"] });
    stand.post("ecr", json!({ "account": TOOLS, "repository": "backend", "image": index })).await;
    let read = |id: ImageIdentifier| {
        dev.ecr.batch_get_image().registry_id(TOOLS).repository_name("backend").image_ids(id).send()
    };
    let index: serde_json::Value =
        serde_json::from_str(read(tag("index")).await.unwrap().images()[0].image_manifest().unwrap()).unwrap();
    for member in index["manifests"].as_array().unwrap() {
        let digest = member["digest"].as_str().unwrap();
        let id = ImageIdentifier::builder().image_digest(digest).build();
        let found = read(id.clone()).await.unwrap();
        assert_eq!(found.images()[0].image_id().unwrap().image_digest(), Some(digest));
        assert_eq!(found.images()[0].image_manifest_media_type(), member["mediaType"].as_str());
        let detail = &request.clone().image_ids(id).send().await.unwrap().image_details.unwrap()[0];
        assert_eq!((detail.image_digest(), detail.image_tags().len()), (Some(digest), 0));
    }
    stand.post("ecr", json!({ "account": TOOLS, "repository": "closed", "image": { "tags": ["1"] } })).await;
    let error = dev
        .ecr
        .describe_images()
        .registry_id(TOOLS)
        .repository_name("closed")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert_eq!(aws_sdk_ecr::error::ProvideErrorMetadata::code(&error), Some("AccessDeniedException"));
}

#[tokio::test]
async fn parameters_by_version_label_and_arn() {
    let world = World::parse(
        r#"
        controller = "111111111111"
        region = "us-west-1"
        [[account]]
        id = "111111111111"
        name = "tools"
        [[account.parameter]]
        name = "/App/AmiId"
        data_type = "aws:ec2:image"
        versions = ["ami-00000001", "ami-00000002"]
        labels = { stable = 1 }
        shared_with = ["222222222222"]
        [[account]]
        id = "222222222222"
        name = "dev"
        role = [{ name = "pinion" }]
        "#,
    );
    let stand = Simulator::start(world.unwrap(), Options::default()).await;
    let tools = stand.tools();
    let read = tools
        .ssm
        .get_parameters()
        .names("/App/AmiId:stable")
        .names("/App/AmiId")
        .names("/App/AmiId:7")
        .names("/none")
        .send()
        .await
        .unwrap();
    let values: Vec<_> = read.parameters().iter().filter_map(|it| it.value()).collect();
    assert_eq!(values, ["ami-00000002", "ami-00000001"]);
    assert_eq!(read.parameters()[1].selector(), Some(":stable"));
    assert_eq!(read.parameters()[0].data_type(), Some("aws:ec2:image"));
    assert_eq!(read.invalid_parameters(), ["/App/AmiId:7", "/none"]);
    let error = tools.ssm.get_parameter().name("/none").send().await.unwrap_err().into_service_error();
    assert!(error.is_parameter_not_found());
    let error = tools.ssm.get_parameter().name("/App/AmiId:9").send().await.unwrap_err().into_service_error();
    assert!(error.is_parameter_version_not_found());
    stand.post("parameters", json!({ "account": TOOLS, "name": "/App/AmiId", "value": "ami-00000003" })).await;
    let shared = stand
        .account(DEV)
        .await
        .ssm
        .get_parameter()
        .name("arn:aws:ssm:us-west-1:111111111111:parameter/App/AmiId")
        .send()
        .await
        .unwrap();
    let shared = shared.parameter().unwrap();
    assert_eq!((shared.value(), shared.version()), (Some("ami-00000003"), 3));
}
