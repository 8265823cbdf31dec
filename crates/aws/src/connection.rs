//! The connection to one account: its clients, credentials, rate limits and caches. Nothing in it is shared with
//! another account but the pool of network connections.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::future::Future;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use jiff::Timestamp;
use tokio::time::Instant;

use super::bases::{Looked, Newer};
use super::cache::Kept;
use super::credentials::{Provider, RoleCredentials, with};
use super::error::{is_expired, port_error};
use super::limits::{AllLimits, RateLimits};
use super::operation::Operation;
use super::record::Recorder;
use super::services::Deployed;
use super::task_definition::Definition;
use super::users::User;
use pinion_clock::Clock;
use pinion_core::model::{
    Account, AccountId, Artifact, ArtifactQuery, EnvironmentName, ErrorClass, PortError, Rollout, Session,
    TemplateVersion,
};
use pinion_core::ports::RecordCalls;

const ATTEMPTS: u32 = 3;
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
const OPERATION_TIMEOUT: Duration = Duration::from_secs(60);

/// A client of one service in one region, with the account's own credentials, retry quota and recorder.
macro_rules! client {
    ($sdk:ident, $service:literal, $shared:expr, $environment:expr, $limits:expr, $partition:expr, $region:expr, $provider:expr) => {{
        let mut config = $sdk::config::Builder::from(&$shared.sdk)
            .region(Region::new(String::from($region)))
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .retry_partition($sdk::config::retry::RetryPartition::new(format!("{}/{}", $partition, $service)))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                    .operation_timeout(OPERATION_TIMEOUT)
                    .build(),
            )
            .interceptor(Recorder {
                environment: $environment.clone(),
                service: $service,
                calls: Arc::clone(&$shared.recorder),
                limits: Arc::clone(&$limits),
            });
        let provider: Option<Provider> = $provider;
        if let Some(provider) = provider {
            // The provider keeps the credentials itself: a second cache would hide when they are renewed.
            config = config.credentials_provider(provider).identity_cache($sdk::config::IdentityCache::no_cache());
        }
        $sdk::Client::from_conf(config.build())
    }};
}

/// What all connections have in common.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) sdk: SdkConfig,
    pub(super) recorder: Arc<dyn RecordCalls>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) session: Session,
    pub(super) limits: AllLimits,
    /// Whether accounts are read with Pinion's own credentials, without a role.
    pub(super) as_oneself: bool,
}

/// The connection to one account.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) environment: EnvironmentName,
    pub(super) account: Account,
    pub(super) autoscaling: aws_sdk_autoscaling::Client,
    pub(super) ec2: aws_sdk_ec2::Client,
    pub(super) ecs: aws_sdk_ecs::Client,
    pub(super) ssm: aws_sdk_ssm::Client,
    sts: aws_sdk_sts::Client,
    ecr: Mutex<BTreeMap<String, aws_sdk_ecr::Client>>,
    pub(super) shared: Shared,
    partition: String,
    credentials: Arc<RoleCredentials>,
    limits: Arc<RateLimits>,
    /// The access key id that was asked about last, and the account that it belongs to.
    identity: tokio::sync::Mutex<Option<(String, AccountId)>>,
    /// Whether ECS has answered about service deployments. If it has, it isn't a simulator that lacks them.
    pub(super) keeps_deployments: AtomicBool,
    /// Whether this isn't AWS itself: an endpoint was given.
    pub(super) simulator: bool,
    /// Whether the account has so many other groups that pages of all of them aren't worth it.
    pub(super) crowded: AtomicBool,
    /// Which groups launch from which templates, as far as this pass has asked.
    pub(super) users: tokio::sync::Mutex<Option<Arc<Vec<User>>>>,
    pub(super) cache: Cache,
}

/// What is read once. All but `artifacts` can't change.
#[derive(Debug)]
pub(super) struct Cache {
    /// By launch-template id and number.
    pub(super) template_versions: Kept<(String, u64), TemplateVersion>,
    /// The numbers of the versions that this process has made, by launch-template id: lists may not show them yet.
    pub(super) made_versions: Kept<String, BTreeSet<u64>>,
    /// The architectures that each instance type supports; none where AWS doesn't know the type.
    pub(super) instance_types: Kept<String, BTreeSet<String>>,
    /// By ARN.
    pub(super) definitions: Kept<String, Arc<Definition>>,
    /// Service deployments that are at their end, by ARN.
    pub(super) deployments: Kept<String, Rollout>,
    /// When all families and launch templates were last looked at together.
    pub(super) looked: Mutex<Option<Instant>>,
    /// The revisions of families of task definitions, as they were listed last.
    pub(super) families: Kept<String, Looked<Arc<Vec<String>>>>,
    /// The newest number of each launch template, by id, as it was read last.
    pub(super) numbers: Kept<String, Looked<Option<u64>>>,
    /// The newer versions of launch templates, by id, as they were read last.
    pub(super) newer: Kept<String, Newer>,
    /// The task definition of each service revision, by the revision's ARN.
    pub(super) revisions: Kept<String, String>,
    /// Kept until a resync; only what [`super::resolve`] lets in.
    pub(super) artifacts: Kept<ArtifactQuery, (Instant, Artifact)>,
    /// The digest of each container's image in a service revision, by the revision's ARN.
    pub(super) digests: Kept<String, Deployed>,
}

impl Connection {
    /// A connection. Nothing is sent yet.
    pub(super) fn new(shared: &Shared, environment: &EnvironmentName, account: &Account) -> Self {
        let region = account.region.as_str();
        // The SDK's retry quotas are one per process and name: without a name of its own, a throttled account would
        // use up the others'.
        let partition = format!("{environment}/{}/{region}", account.role);
        let limits = shared.limits.of(&account.id, region);
        let credentials = Arc::new(RoleCredentials {
            own: shared.sdk.credentials_provider().filter(|_| shared.as_oneself),
            sts: client!(aws_sdk_sts, "sts", shared, environment, limits, format!("{partition}/assume"), region, None),
            role: account.role.clone(),
            external_id: account.external_id.clone(),
            session: shared.session.name(environment),
            clock: Arc::clone(&shared.clock),
            held: tokio::sync::Mutex::default(),
        });
        let provider = || Some(Provider(Arc::clone(&credentials)));
        Self {
            autoscaling: client!(
                aws_sdk_autoscaling,
                "autoscaling",
                shared,
                environment,
                limits,
                partition,
                region,
                provider()
            ),
            ec2: client!(aws_sdk_ec2, "ec2", shared, environment, limits, partition, region, provider()),
            ecs: client!(aws_sdk_ecs, "ecs", shared, environment, limits, partition, region, provider()),
            ssm: client!(aws_sdk_ssm, "ssm", shared, environment, limits, partition, region, provider()),
            sts: client!(aws_sdk_sts, "sts", shared, environment, limits, partition, region, provider()),
            ecr: Mutex::new(BTreeMap::new()),
            environment: environment.clone(),
            account: account.clone(),
            shared: shared.clone(),
            partition,
            limits,
            identity: tokio::sync::Mutex::new(None),
            keeps_deployments: AtomicBool::new(false),
            simulator: shared.sdk.endpoint_url().is_some(),
            crowded: AtomicBool::new(false),
            users: tokio::sync::Mutex::new(None),
            cache: Cache {
                template_versions: Kept::new(10_000),
                made_versions: Kept::new(2_000),
                instance_types: Kept::new(2_000),
                definitions: Kept::new(2_000),
                deployments: Kept::new(10_000),
                revisions: Kept::new(10_000),
                artifacts: Kept::new(10_000),
                digests: Kept::new(10_000),
                looked: Mutex::new(None),
                families: Kept::new(10_000),
                numbers: Kept::new(10_000),
                newer: Kept::new(2_000),
            },
            credentials,
        }
    }

    /// The ECR client of a region: a registry may be in another one than the account's targets.
    pub(super) fn ecr(&self, region: &str) -> aws_sdk_ecr::Client {
        let mut clients = self.ecr.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let provider = Some(Provider(Arc::clone(&self.credentials)));
            let limits = self.shared.limits.of(&self.account.id, region);
            client!(aws_sdk_ecr, "ecr", self.shared, self.environment, limits, self.partition, region, provider)
        };
        clients.entry(region.to_owned()).or_insert_with(new).clone()
    }

    /// Records the calls of a service.
    pub(super) fn recorder(&self, service: &'static str) -> Recorder {
        let (calls, limits) = (Arc::clone(&self.shared.recorder), Arc::clone(&self.limits));
        Recorder { environment: self.environment.clone(), service, calls, limits }
    }

    /// The wall-clock time.
    pub(super) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Makes one call, when the rate limit lets it, and with no credentials but those of the right account. Where others may
    /// help, it is made once more with others.
    pub(super) async fn call<T, E, F>(
        &self,
        operation: Operation,
        send: impl Fn() -> F + Send + Sync,
    ) -> Result<T, PortError>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
        T: Send,
    {
        self.call_within(&self.limits, operation, send).await
    }

    /// As [`Connection::call`], of a service in another region than the account's: a registry.
    pub(super) async fn call_in<T, E, F>(
        &self,
        region: &str,
        operation: Operation,
        send: impl Fn() -> F + Send + Sync,
    ) -> Result<T, PortError>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
        T: Send,
    {
        let limits = self.shared.limits.of(&self.account.id, region);
        self.call_within(&limits, operation, send).await
    }

    async fn call_within<T, E, F>(
        &self,
        limits: &RateLimits,
        operation: Operation,
        send: impl Fn() -> F + Send + Sync,
    ) -> Result<T, PortError>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
        T: Send,
    {
        let first = self.credentials.current().await?;
        let error = match self.attempt(limits, operation, &first, &send).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if !self.others_may_help(&first, &error).await {
            return Err(error);
        }
        let others = self.credentials.current().await?;
        self.attempt(limits, operation, &others, &send).await
    }

    /// Waits until the rate limits let an operation go, and keeps its place.
    pub(super) async fn reserve(&self, operation: Operation) {
        self.limits.reserve(operation.family()).await;
    }

    /// Makes a call with these credentials, after making sure whose they are.
    async fn attempt<T, E, F>(
        &self,
        limits: &RateLimits,
        operation: Operation,
        credentials: &Credentials,
        send: &(impl Fn() -> F + Send + Sync),
    ) -> Result<T, PortError>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
        T: Send,
    {
        self.belong_here(&self.account_of(credentials).await?)?;
        self.send(limits, operation, credentials, send).await
    }

    async fn send<T, E, F>(
        &self,
        limits: &RateLimits,
        operation: Operation,
        credentials: &Credentials,
        send: &(impl Fn() -> F + Send + Sync),
    ) -> Result<T, PortError>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
        T: Send,
    {
        limits.acquire(operation.family()).await;
        with(credentials.clone(), send()).await.map_err(|error| {
            let error = port_error(operation, &error);
            if error.throttled {
                limits.throttled(operation.family());
            }
            error
        })
    }

    /// Whether a call that failed may go through with other credentials; these are then as good as gone.
    async fn others_may_help(&self, credentials: &Credentials, error: &PortError) -> bool {
        if is_expired(&error.code) {
            self.credentials.discard(credentials).await;
            return true;
        }
        error.class == ErrorClass::Denied && error.code != WRONG_ACCOUNT && self.credentials.doubt(credentials).await
    }

    /// The account that the credentials belong to; asked once for each set of them.
    pub(super) async fn identity(&self) -> Result<AccountId, PortError> {
        let first = self.credentials.current().await?;
        match self.account_of(&first).await {
            Err(error) if self.others_may_help(&first, &error).await => {
                self.account_of(&self.credentials.current().await?).await
            }
            answer => answer,
        }
    }

    /// Credentials of another account are good for nothing: the role is assumed again the next time.
    async fn account_of(&self, credentials: &Credentials) -> Result<AccountId, PortError> {
        let mut known = self.identity.lock().await;
        let key = credentials.access_key_id();
        if let Some((_, account)) = known.as_ref().filter(|(of, _)| of == key) {
            return Ok(account.clone());
        }
        let operation = Operation::GetCallerIdentity;
        let answer = self.send(&self.limits, operation, credentials, &|| self.sts.get_caller_identity().send()).await?;
        let account = AccountId::try_from(answer.account.unwrap_or_default())
            .map_err(|invalid| ours(operation, ErrorClass::Retry, "UnreadableResponse", invalid.to_string()))?;
        if account != self.account.id {
            self.credentials.discard(credentials).await;
        }
        *known = Some((key.to_owned(), account.clone()));
        Ok(account)
    }

    /// Whether calls may be made with credentials of this account.
    fn belong_here(&self, caller: &AccountId) -> Result<(), PortError> {
        if *caller == self.account.id {
            return Ok(());
        }
        let message = format!(
            "the credentials of role {} belong to account {caller}, but environment {} is account {}: nothing is read or \
             written; correct `account.role` or `account.id` in environment.toml",
            self.account.role, self.environment, self.account.id
        );
        Err(ours(Operation::GetCallerIdentity, ErrorClass::Denied, WRONG_ACCOUNT, message))
    }
}

const WRONG_ACCOUNT: &str = "WrongAccount";

/// An error of our own about an operation.
pub(super) fn ours(operation: Operation, class: ErrorClass, code: &str, message: String) -> PortError {
    PortError {
        class,
        service: operation.service(),
        operation: operation.name(),
        code: code.to_owned(),
        message,
        request_id: None,
        throttled: false,
    }
}
