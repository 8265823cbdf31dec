//! Instance refreshes, from a new template version to their end.

use aws_sdk_autoscaling::error::ProvideErrorMetadata as _;
use aws_sdk_autoscaling::operation::start_instance_refresh::StartInstanceRefreshError;
use aws_sdk_autoscaling::types::{
    DesiredConfiguration, InstanceRefresh, InstanceRefreshStatus as Status, LaunchTemplateSpecification,
    RefreshPreferences,
};
use aws_sdk_ec2::types::RequestLaunchTemplateData;

use super::stand::{Account, DEV, Simulator};

const GOOD: &str = "ami-0f0000000001500aa";
const BAD: &str = "ami-0f0000000001501aa";

async fn new_version(dev: &Account, image: &str, token: &str) -> i64 {
    let created = dev
        .ec2
        .create_launch_template_version()
        .launch_template_name("frontend")
        .source_version("1")
        .client_token(token)
        .launch_template_data(RequestLaunchTemplateData::builder().image_id(image).build())
        .send()
        .await
        .unwrap();
    let version = created.launch_template_version().unwrap();
    let data = version.launch_template_data().unwrap();
    assert_eq!(data.image_id(), Some(image));
    assert_eq!(data.instance_type().map(|it| it.as_str()), Some("t3.small"), "inherited");
    assert_eq!(data.user_data(), Some("IyEvYmluL3NoCmV4ZWMgL29wdC9mcm9udGVuZC9ib290Cg=="));
    assert_eq!(data.tag_specifications()[0].tags()[0].value(), Some("frontend"));
    assert_eq!(data.security_group_ids(), ["sg-0d0000000000000d1"]);
    version.version_number().unwrap()
}

fn desired(version: i64) -> DesiredConfiguration {
    DesiredConfiguration::builder()
        .launch_template(
            LaunchTemplateSpecification::builder()
                .launch_template_name("frontend")
                .version(version.to_string())
                .build(),
        )
        .build()
}

async fn start(dev: &Account, version: i64) -> String {
    let started = dev
        .asg
        .start_instance_refresh()
        .auto_scaling_group_name("frontend")
        .desired_configuration(desired(version))
        .preferences(
            RefreshPreferences::builder()
                .min_healthy_percentage(90)
                .max_healthy_percentage(120)
                .auto_rollback(true)
                .skip_matching(true)
                .build(),
        )
        .send()
        .await
        .unwrap();
    started.instance_refresh_id().unwrap().to_owned()
}

async fn refresh(dev: &Account, id: &str) -> InstanceRefresh {
    let read = dev
        .asg
        .describe_instance_refreshes()
        .auto_scaling_group_name("frontend")
        .instance_refresh_ids(id)
        .send()
        .await
        .unwrap();
    read.instance_refreshes()[0].clone()
}

/// The group's own version, and the versions and images of its instances.
async fn observed(dev: &Account) -> (String, Vec<String>, usize) {
    let read = dev.asg.describe_auto_scaling_groups().auto_scaling_group_names("frontend").send().await.unwrap();
    let group = &read.auto_scaling_groups()[0];
    let own = group.launch_template().unwrap().version().unwrap().to_owned();
    let versions = group
        .instances()
        .iter()
        .filter(|one| one.lifecycle_state().is_some_and(|state| state.as_str() == "InService"))
        .map(|one| one.launch_template().unwrap().version().unwrap().to_owned())
        .collect::<Vec<_>>();
    let serving = versions.len();
    (own, versions, serving)
}

#[tokio::test]
async fn a_good_image_rolls_out() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    assert_eq!(observed(&dev).await, ("1".to_owned(), vec!["1".to_owned(); 3], 3));

    let version = new_version(&dev, GOOD, "t-1").await;
    assert_eq!(version, 2);
    assert_eq!(new_version(&dev, GOOD, "t-1").await, 2, "the token makes it idempotent");
    let id = start(&dev, version).await;
    assert_eq!(refresh(&dev, &id).await.status(), Some(&Status::Pending));

    let mut percentages = Vec::new();
    for _ in 0..200 {
        stand.advance(5).await;
        let read = refresh(&dev, &id).await;
        percentages.push(read.percentage_complete().unwrap());
        if read.status() == Some(&Status::Successful) {
            break;
        }
        let (own, _, serving) = observed(&dev).await;
        assert_eq!(own, "1", "the group keeps its template until the refresh succeeds");
        assert!(serving >= 3, "90 % of 3 rounds up");
    }
    assert!(percentages.is_sorted() && percentages.contains(&33) && percentages.last() == Some(&100));
    assert_eq!(observed(&dev).await, ("2".to_owned(), vec!["2".to_owned(); 3], 3));
    let view = stand.group(DEV, "frontend").await;
    assert!(view["instances"].as_array().unwrap().iter().all(|one| one["ami"] == GOOD), "{view}");
    let read = refresh(&dev, &id).await;
    assert!(read.end_time().is_some() && read.instances_to_update() == Some(0));
}

#[tokio::test]
async fn a_bad_image_is_rolled_back() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    let version = new_version(&dev, BAD, "t-1").await;
    let id = start(&dev, version).await;
    let mut seen = Vec::new();
    for _ in 0..200 {
        stand.advance(10).await;
        let status = refresh(&dev, &id).await.status().unwrap().clone();
        if seen.last() != Some(&status) {
            seen.push(status);
        }
    }
    assert_eq!(seen, [Status::InProgress, Status::RollbackInProgress, Status::RollbackSuccessful]);
    let read = refresh(&dev, &id).await;
    let details = read.rollback_details().unwrap();
    assert!(details.rollback_reason().unwrap().contains("did not become healthy"));
    assert_eq!(observed(&dev).await, ("1".to_owned(), vec!["1".to_owned(); 3], 3));
}

#[tokio::test]
async fn refusals_are_typed() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    let version = new_version(&dev, GOOD, "t-1").await;

    let request = dev.asg.start_instance_refresh().auto_scaling_group_name("frontend");
    let error = request
        .clone()
        .preferences(RefreshPreferences::builder().auto_rollback(true).build())
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert_eq!(error.code(), Some("ValidationError"));

    start(&dev, version).await;
    let error = request.send().await.unwrap_err().into_service_error();
    assert!(matches!(error, StartInstanceRefreshError::InstanceRefreshInProgressFault(_)), "{error:?}");

    let error = dev
        .asg
        .update_auto_scaling_group()
        .auto_scaling_group_name("frontend")
        .launch_template(LaunchTemplateSpecification::builder().launch_template_name("frontend").version("2").build())
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.message().unwrap().contains("active instance refresh with a desired configuration"));
    dev.asg.set_desired_capacity().auto_scaling_group_name("frontend").desired_capacity(4).send().await.unwrap();

    let error = dev
        .ec2
        .create_launch_template_version()
        .launch_template_name("frontend")
        .client_token("t-1")
        .launch_template_data(RequestLaunchTemplateData::builder().image_id(BAD).build())
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert_eq!(aws_sdk_ec2::error::ProvideErrorMetadata::code(&error), Some("IdempotentParameterMismatch"));
}

#[tokio::test]
async fn cancelling_leaves_a_mixed_fleet_and_rolling_back_does_not() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    let version = new_version(&dev, GOOD, "t-1").await;
    let none = dev
        .asg
        .rollback_instance_refresh()
        .auto_scaling_group_name("frontend")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(none.is_active_instance_refresh_not_found_fault());

    let id = start(&dev, version).await;
    stand.advance(100).await;
    dev.asg.cancel_instance_refresh().auto_scaling_group_name("frontend").send().await.unwrap();
    assert_eq!(refresh(&dev, &id).await.status(), Some(&Status::Cancelling));
    stand.advance(120).await;
    assert_eq!(refresh(&dev, &id).await.status(), Some(&Status::Cancelled));
    let (own, versions, _) = observed(&dev).await;
    assert_eq!(own, "1");
    assert!(versions.contains(&"1".to_owned()) && versions.contains(&"2".to_owned()), "{versions:?}");

    let id = start(&dev, version).await;
    stand.advance(60).await;
    dev.asg.rollback_instance_refresh().auto_scaling_group_name("frontend").send().await.unwrap();
    assert_eq!(refresh(&dev, &id).await.status(), Some(&Status::RollbackInProgress));
    stand.advance(600).await;
    assert_eq!(refresh(&dev, &id).await.status(), Some(&Status::RollbackSuccessful));
    assert_eq!(observed(&dev).await, ("1".to_owned(), vec!["1".to_owned(); 3], 3));
    let all = dev.asg.describe_instance_refreshes().auto_scaling_group_name("frontend").send().await.unwrap();
    assert_eq!(all.instance_refreshes()[0].instance_refresh_id(), Some(id.as_str()), "newest first");
}

#[tokio::test]
async fn versions_are_read_by_number_alias_and_range() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    for token in ["a", "b", "c"] {
        new_version(&dev, GOOD, token).await;
    }
    let request = dev.ec2.describe_launch_template_versions().launch_template_name("frontend");
    let numbers =
        |read: aws_sdk_ec2::operation::describe_launch_template_versions::DescribeLaunchTemplateVersionsOutput| {
            read.launch_template_versions().iter().filter_map(|one| one.version_number()).collect::<Vec<_>>()
        };
    assert_eq!(numbers(request.clone().send().await.unwrap()), [4, 3, 2, 1]);
    let aliases = request.clone().versions("$Latest").versions("$Default").send().await.unwrap();
    assert_eq!(numbers(aliases), [4, 1]);
    assert_eq!(numbers(request.clone().min_version("1").max_version("3").send().await.unwrap()), [3, 2]);
    let error = request.versions("9").send().await.unwrap_err().into_service_error();
    assert_eq!(aws_sdk_ec2::error::ProvideErrorMetadata::code(&error), Some("InvalidLaunchTemplateId.VersionNotFound"));
    let bare = dev
        .ec2
        .create_launch_template_version()
        .launch_template_name("frontend")
        .launch_template_data(RequestLaunchTemplateData::builder().image_id("ami-12345678").build())
        .send()
        .await
        .unwrap();
    let version = bare.launch_template_version().unwrap();
    assert!(version.launch_template_data().unwrap().key_name().is_none(), "without a source nothing is inherited");
    assert_eq!(bare.warning().unwrap().errors()[0].code(), Some("InvalidAMIID.NotFound"));
    dev.ec2.modify_launch_template().launch_template_name("frontend").default_version("2").send().await.unwrap();
    let templates = dev.ec2.describe_launch_templates().send().await.unwrap();
    assert_eq!(templates.launch_templates()[0].default_version_number(), Some(2));
}

#[tokio::test]
async fn launch_templates_that_are_not_there_fail_a_call_by_id_or_name_and_no_filter() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    new_version(&dev, GOOD, "a").await;
    let ask = || dev.ec2.describe_launch_templates();
    let names = aws_sdk_ec2::types::Filter::builder().name("launch-template-name").values("frontend").values("none");
    let found = ask().filters(names.build()).send().await.unwrap();
    let found: Vec<_> =
        found.launch_templates().iter().map(|one| (one.launch_template_name(), one.latest_version_number())).collect();
    assert_eq!(found, [(Some("frontend"), Some(2))]);
    let code = |error: aws_sdk_ec2::operation::describe_launch_templates::DescribeLaunchTemplatesError| {
        aws_sdk_ec2::error::ProvideErrorMetadata::code(&error).unwrap().to_owned()
    };
    let by_name = ask().launch_template_names("frontend").launch_template_names("none").send().await;
    assert_eq!(code(by_name.unwrap_err().into_service_error()), "InvalidLaunchTemplateName.NotFoundException");
    let by_id = ask().launch_template_ids("lt-00000000000000000").send().await;
    assert_eq!(code(by_id.unwrap_err().into_service_error()), "InvalidLaunchTemplateId.NotFound");
}
