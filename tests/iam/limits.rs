//! What the policies don't allow: the calls that a stolen role or a mistake would make.

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_autoscaling::types::{DesiredConfiguration, LaunchTemplateSpecification};
use aws_sdk_ecs::types::{ContainerDefinition, NetworkMode, Tag};
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_types::error::display::DisplayErrorContext;
use aws_smithy_types::retry::RetryConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use pinion::model::{EnvironmentName, Session};
use pinion::sim::{Options, Sim, SimHandle, World};
use tempfile::TempDir;

use super::cases::{COMMON, Case, Kind, whole};
use super::world::{access, files, world};

struct Simulator {
    sim: SimHandle,
    cases: Vec<Case>,
}

fn config(sim: &SimHandle, credentials: Credentials, region: &'static str) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(region))
        .endpoint_url(sim.endpoint())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(RetryConfig::disabled())
        .build()
}

fn key(id: &str) -> Credentials {
    Credentials::new(id, "secret", None, None, "test")
}

impl Simulator {
    async fn start() -> Self {
        let cases = whole();
        let folder = TempDir::new().unwrap();
        let files = files(&cases, "http://127.0.0.1:1/");
        let access = access(folder.path(), &files);
        let world = World::parse(&world(&cases, &access)).unwrap();
        let sim = Sim::start(world, Options { speed: 0.0, ..Options::default() }).await.unwrap();
        Self { sim, cases }
    }

    fn case(&self, kind: Kind) -> &Case {
        self.cases.iter().find(|case| case.kind == kind).unwrap()
    }

    /// Assumes a role with an access key; the answer, or the refusal's text.
    async fn assume(
        &self,
        id: &str,
        role: &str,
        external_id: Option<&str>,
        session: &str,
    ) -> Result<Credentials, String> {
        let sts = aws_sdk_sts::Client::new(&config(&self.sim, key(id), "us-west-1"));
        let request = sts.assume_role().role_arn(role).role_session_name(session);
        let answer = request.set_external_id(external_id.map(str::to_owned)).send().await;
        let answer = answer.map_err(|error| DisplayErrorContext(&error).to_string())?;
        let issued = answer.credentials().unwrap();
        let token = Some(issued.session_token().to_owned());
        Ok(Credentials::new(issued.access_key_id(), issued.secret_access_key(), token, None, "sts"))
    }

    async fn enter(&self, case: &Case, region: &'static str) -> SdkConfig {
        let (external_id, session) = (format!("ext-{}", case.name), format!("pinion-{}", case.name));
        config(&self.sim, self.assume("test", &case.role(), Some(&external_id), &session).await.unwrap(), region)
    }
}

/// The text of a refusal.
fn refused<T: std::fmt::Debug, E: std::error::Error>(answer: Result<T, E>) -> String {
    DisplayErrorContext(&answer.expect_err("it is refused")).to_string()
}

#[tokio::test]
async fn only_pinion_gets_in_and_only_with_the_external_id_and_for_that_environment() {
    let stand = Simulator::start().await;
    let case = stand.case(Kind::Service);
    let external_id = format!("ext-{}", case.name);
    let (role, plan) = (case.role(), format!("{}-plan", case.role()));
    let own = EnvironmentName::try_from(case.name.as_str()).unwrap();
    let [run, look, bump] = [Session::Run, Session::Plan, Session::Bump].map(|session| session.name(&own));
    let other = stand.case(Kind::Group);
    assert_ne!(other.name, case.name);
    let [other_run, other_look] =
        [Session::Run, Session::Plan].map(|it| it.name(&EnvironmentName::try_from(other.name.as_str()).unwrap()));
    let cases = [
        ("test", role.as_str(), Some(external_id.as_str()), &run, true),
        ("test", &role, Some(&external_id), &look, true),
        ("test", &role, Some(&external_id), &bump, true),
        ("AKIAPLANNER", &plan, Some(&external_id), &look, true),
        ("AKIAPLANNER", &plan, Some(&external_id), &bump, true),
        ("test", &role, Some("ext-other"), &run, false),
        ("test", &role, None, &run, false),
        ("test", &plan, Some(&external_id), &run, false),
        ("AKIAPLANNER", &role, Some(&external_id), &look, false),
        ("AKIASOMEBODY", &role, Some(&external_id), &run, false),
        // Another environment's files name this role, and even the external id.
        ("test", &role, Some(&external_id), &other_run, false),
        ("test", &role, Some(&external_id), &other_look, false),
        ("AKIAPLANNER", &plan, Some(&external_id), &other_look, false),
    ];
    for (id, role, external_id, session, expected) in cases {
        let answer = stand.assume(id, role, external_id, session).await;
        assert_eq!(answer.is_ok(), expected, "{id} {role} {external_id:?} {session}: {answer:?}");
        if let Err(text) = answer {
            assert!(
                text.contains("AccessDenied") && text.contains("is not authorized to perform: sts:AssumeRole"),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn a_group_and_its_template_are_all_that_can_be_touched() {
    let stand = Simulator::start().await;
    let case = stand.case(Kind::Group);
    let asg = aws_sdk_autoscaling::Client::new(&stand.enter(case, "us-west-1").await);
    let own = format!("web-{}", case.name);

    let other = refused(asg.start_instance_refresh().auto_scaling_group_name("web-other").send().await);
    let expected = "because no identity-based policy allows the autoscaling:StartInstanceRefresh action";
    assert!(other.contains("AccessDenied") && other.contains(expected), "{other}");
    // Its size isn't Pinion's to change.
    let size = refused(asg.update_auto_scaling_group().auto_scaling_group_name(&own).desired_capacity(9).send().await);
    assert!(size.contains("autoscaling:UpdateAutoScalingGroup"), "{size}");
    let more = refused(asg.set_desired_capacity().auto_scaling_group_name(&own).desired_capacity(9).send().await);
    assert!(more.contains("autoscaling:SetDesiredCapacity"), "{more}");
    // Nor a template that moves by itself.
    let latest = LaunchTemplateSpecification::builder().launch_template_name("web").version("$Latest").build();
    let moving = asg.update_auto_scaling_group().auto_scaling_group_name(&own).launch_template(latest.clone());
    let moving = refused(moving.send().await);
    assert!(moving.contains("autoscaling:UpdateAutoScalingGroup"), "{moving}");
    // What is whole goes through, and so the refusals above are about what they say.
    let numbered = latest.to_owned();
    let numbered = LaunchTemplateSpecification::builder()
        .set_launch_template_name(numbered.launch_template_name)
        .version("1")
        .build();
    asg.update_auto_scaling_group().auto_scaling_group_name(&own).launch_template(numbered).send().await.unwrap();

    let ec2 = aws_sdk_ec2::Client::new(&stand.enter(case, "us-west-1").await);
    let modify = refused(ec2.modify_launch_template().launch_template_name("web").default_version("1").send().await);
    assert!(modify.contains("UnauthorizedOperation") && modify.contains("ec2:ModifyLaunchTemplate"), "{modify}");
    let elsewhere = aws_sdk_ec2::Client::new(&stand.enter(case, "eu-west-1").await);
    let elsewhere = refused(elsewhere.describe_images().send().await);
    assert!(elsewhere.contains("UnauthorizedOperation") && elsewhere.contains("ec2:DescribeImages"), "{elsewhere}");

    // An image of somebody else's, though it is public: not by a template's version, either.
    let image = serde_json::json!({ "account": "999999999999",
        "image": { "id": "ami-0badbadbadbadbad1", "name": "frontend-1.1.0", "public": true } });
    let publish = reqwest::Client::new().post(format!("{}/_sim/images", stand.sim.endpoint())).json(&image);
    publish.send().await.unwrap().error_for_status().unwrap();
    let data = aws_sdk_ec2::types::RequestLaunchTemplateData::builder().image_id("ami-0badbadbadbadbad1").build();
    let made = ec2.create_launch_template_version().launch_template_name("web").source_version("1");
    let made = made.launch_template_data(data).send().await.unwrap();
    let number = made.launch_template_version().unwrap().version_number().unwrap().to_string();
    let desired = LaunchTemplateSpecification::builder().launch_template_name("web").version(number).build();
    let desired = DesiredConfiguration::builder().launch_template(desired).build();
    let strange = asg.start_instance_refresh().auto_scaling_group_name(&own).desired_configuration(desired);
    let strange = refused(strange.send().await);
    assert!(strange.contains("You are not authorized to use launch template"), "{strange}");
}

#[tokio::test]
async fn a_service_and_the_roles_of_its_tasks_are_all_that_can_be_touched() {
    let stand = Simulator::start().await;
    let case = stand.case(Kind::Service);
    let config = stand.enter(case, "us-west-1").await;
    let ecs = aws_sdk_ecs::Client::new(&config);

    let other = refused(ecs.update_service().cluster("app").service("other").desired_count(9).send().await);
    let expected = format!(
        "User: arn:aws:sts::{0}:assumed-role/pinion/pinion-{1} is not authorized to perform: ecs:UpdateService on resource: \
         arn:aws:ecs:us-west-1:{0}:service/app/other because no identity-based policy allows the ecs:UpdateService action",
        case.account, case.name
    );
    assert!(other.contains("AccessDeniedException") && other.contains(&expected), "{other}");
    let definition = |role: &str| {
        ecs.register_task_definition()
            .family("api")
            .network_mode(NetworkMode::Awsvpc)
            .task_role_arn(role)
            .container_definitions(ContainerDefinition::builder().name("app").image("nginx").build())
            .tags(Tag::builder().key("a").value("b").build())
            .send()
    };
    let admin = refused(definition("arn:aws:iam::000000000006:role/admin").await);
    assert!(admin.contains("iam:PassRole on resource: arn:aws:iam::000000000006:role/admin"), "{admin}");
    definition(&format!("arn:aws:iam::{}:role/app-task", case.account)).await.unwrap();
    // Tags of what is there already.
    let arn = format!("arn:aws:ecs:us-west-1:{}:task-definition/api:1", case.account);
    let tag = ecs.tag_resource().resource_arn(arn).tags(Tag::builder().key("team").value("mine").build());
    let tag = refused(tag.send().await);
    assert!(tag.contains("ecs:TagResource"), "{tag}");

    // A deployment that bakes may be taken back, and no other service's.
    let stop = |service: &str| {
        let account = &case.account;
        let arn = format!("arn:aws:ecs:us-west-1:{account}:service-deployment/app/{service}/0123456789abcdefghijk");
        ecs.stop_service_deployment().service_deployment_arn(arn).send()
    };
    let own = refused(stop("api").await);
    assert!(own.contains("ServiceDeploymentNotFoundException"), "{own}");
    let other = refused(stop("other").await);
    assert!(other.contains("ecs:StopServiceDeployment on resource"), "{other}");

    let ecr = aws_sdk_ecr::Client::new(&config);
    let id = aws_sdk_ecr::types::ImageIdentifier::builder().image_tag("1.0.0").build();
    let other = ecr.batch_get_image().registry_id(COMMON).repository_name("backend/other").image_ids(id);
    let other = refused(other.send().await);
    assert!(other.contains("ecr:BatchGetImage"), "{other}");

    let ssm = aws_sdk_ssm::Client::new(&stand.enter(stand.case(Kind::Parameter), "us-west-1").await);
    let secret = refused(ssm.get_parameters().names("/Secrets/Database").send().await);
    assert!(secret.contains("AccessDeniedException") && secret.contains("parameter/Secrets/Database"), "{secret}");
}
