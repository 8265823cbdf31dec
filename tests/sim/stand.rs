//! A simulator whose time only the test moves, and clients for it.

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_types::retry::RetryConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use pinion::sim::{Options, Sim, SimHandle, World};
use serde_json::{Value, json};

pub(crate) const TOOLS: &str = "111111111111";
pub(crate) const DEV: &str = "222222222222";
pub(crate) const PROD: &str = "444444444444";
pub(crate) const REGION: &str = "us-west-1";

pub(crate) struct Simulator {
    pub(crate) sim: SimHandle,
    http: reqwest::Client,
}

/// One account's clients.
pub(crate) struct Account {
    pub(crate) asg: aws_sdk_autoscaling::Client,
    pub(crate) ec2: aws_sdk_ec2::Client,
    pub(crate) ecs: aws_sdk_ecs::Client,
    pub(crate) ecr: aws_sdk_ecr::Client,
    pub(crate) ssm: aws_sdk_ssm::Client,
    pub(crate) sts: aws_sdk_sts::Client,
}

impl Simulator {
    pub(crate) async fn demo() -> Self {
        Self::start(World::demo().unwrap(), Options { speed: 0.0, ..Options::default() }).await
    }

    pub(crate) async fn start(world: World, options: Options) -> Self {
        Self { sim: Sim::start(world, options).await.unwrap(), http: reqwest::Client::new() }
    }

    fn config(&self, credentials: Credentials) -> SdkConfig {
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(REGION))
            .endpoint_url(self.sim.endpoint())
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .retry_config(RetryConfig::disabled())
            .build()
    }

    pub(crate) fn account_with(&self, credentials: Credentials) -> Account {
        let config = self.config(credentials);
        Account {
            asg: aws_sdk_autoscaling::Client::new(&config),
            ec2: aws_sdk_ec2::Client::new(&config),
            ecs: aws_sdk_ecs::Client::new(&config),
            ecr: aws_sdk_ecr::Client::new(&config),
            ssm: aws_sdk_ssm::Client::new(&config),
            sts: aws_sdk_sts::Client::new(&config),
        }
    }

    /// The controller's own account.
    pub(crate) fn tools(&self) -> Account {
        self.account_with(Credentials::new("test", "test", None, None, "test"))
    }

    /// An account, by its role.
    pub(crate) async fn account(&self, id: &str) -> Account {
        let assumed = self
            .tools()
            .sts
            .assume_role()
            .role_arn(format!("arn:aws:iam::{id}:role/pinion"))
            .role_session_name("pinion")
            .external_id("pinion-demo")
            .send()
            .await
            .unwrap();
        let issued = assumed.credentials().unwrap();
        self.account_with(Credentials::new(
            issued.access_key_id(),
            issued.secret_access_key(),
            Some(issued.session_token().to_owned()),
            None,
            "sts",
        ))
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/_sim/{path}", self.sim.endpoint());
        let answer = self.http.post(url).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let url = format!("{}/_sim/{path}", self.sim.endpoint());
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    pub(crate) async fn sim_delete(&self, path: &str) {
        let url = format!("{}/_sim/{path}", self.sim.endpoint());
        self.http.delete(url).send().await.unwrap().error_for_status().unwrap();
    }

    pub(crate) async fn advance(&self, seconds: u64) {
        self.post("advance", json!({ "seconds": seconds })).await;
    }

    /// A group in the simulator's own view.
    pub(crate) async fn group(&self, account: &str, name: &str) -> Value {
        self.get("fleet").await["accounts"][account]["regions"][REGION]["groups"][name].clone()
    }

    /// A service in the simulator's own view.
    pub(crate) async fn service(&self, account: &str, name: &str) -> Value {
        self.get("fleet").await["accounts"][account]["regions"][REGION]["services"][name].clone()
    }
}
