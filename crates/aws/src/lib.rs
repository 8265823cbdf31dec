//! AWS: observes, resolves and applies. The only place that names the SDK.
//!
//! [`Aws`] opens accounts. Each environment has a connection of its own: clients, credentials, retry quotas and caches; the
//! rate limits are those of its account and region. So a throttled or denied account delays nobody else.

mod advice;
mod alarms;
mod apply;
mod bases;
mod cache;
mod capture;
mod connection;
mod credentials;
mod error;
mod groups;
mod history;
mod images;
mod inventory;
mod limits;
mod operation;
mod record;
mod registry;
mod resolve;
mod services;
mod survey;
mod task_definition;
mod task_shape;
mod templates;
mod users;
mod versions;
mod xml;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::BehaviorVersion;
use aws_credential_types::Credentials;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Builder, ConnectorBuilder, tls};
use aws_smithy_runtime_api::client::http::{HttpClient, SharedHttpClient};
use aws_types::app_name::AppName;
use aws_types::region::Region;
use secrecy::{ExposeSecret, SecretString};

use self::connection::{Connection, Shared};
pub use self::inventory::Inventory;
use self::limits::AllLimits;
use self::operation::Operation;
use pinion_clock::Clock;
use pinion_core::model::{
    Account, AccountId, Applied, Artifact, ArtifactQuery, Bases, EnvironmentName, LocalRef, ObservedTarget, PortError,
    ResolveError, RolloutHistory, Session, TargetSpec,
};
use pinion_core::plan::Action;
use pinion_core::ports::{Accounts, Apply, BaseQuery, Observe, RecordCalls, Surveyor};

/// How to reach AWS.
#[derive(Debug)]
pub struct Options {
    /// Where all services are instead of at AWS: a simulator. `None` leaves it to `AWS_ENDPOINT_URL` and the profile.
    pub endpoint_url: Option<String>,
    /// Pinion's own credentials, where they are known. `None` leaves them to AWS's standard chain.
    pub keys: Option<Keys>,
    /// What role sessions are for, by which they are named.
    pub session: Session,
    /// Is told of each call.
    pub recorder: Arc<dyn RecordCalls>,
    /// Tells when credentials expire.
    pub clock: Arc<dyn Clock>,
}

/// An access key.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Its id.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: SecretString,
}

/// Opens accounts.
#[derive(Debug)]
pub struct Aws {
    shared: Shared,
    connections: Mutex<BTreeMap<(EnvironmentName, Account), Arc<Connection>>>,
}

impl Aws {
    /// Sets up AWS's standard credential chain and the pool of network connections. Sends nothing to AWS; profile files
    /// and the environment are read.
    pub async fn new(options: Options) -> Self {
        Self::over(options, pool()).await
    }

    /// As [`Aws::new`], with HTTP of another make: it may well end in this process.
    pub async fn over(options: Options, http: impl HttpClient + 'static) -> Self {
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
        if let Ok(name) = AppName::new("pinion") {
            loader = loader.app_name(name);
        }
        if let Some(url) = options.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if let Some(keys) = options.keys {
            let secret = keys.secret_access_key.expose_secret();
            let keys = Credentials::new(keys.access_key_id, secret, None, None, "Options");
            // Each client has its account's region. Only the standard chain would want another one, and look for it.
            loader = loader.credentials_provider(keys).region(Region::from_static("us-east-1"));
        }
        let shared = Shared {
            sdk: loader.load().await,
            recorder: options.recorder,
            clock: options.clock,
            session: options.session,
            limits: AllLimits::default(),
            as_oneself: false,
        };
        Self { shared, connections: Mutex::new(BTreeMap::new()) }
    }

    /// The same with Pinion's own credentials for each account, whose roles aren't assumed.
    #[must_use]
    pub fn as_oneself(mut self) -> Self {
        self.shared.as_oneself = true;
        self
    }

    /// The region of one's own profile or environment, if there is one.
    #[must_use]
    pub fn own_region(&self) -> Option<pinion_core::model::Region> {
        self.shared.sdk.region().and_then(|region| pinion_core::model::Region::try_from(region.to_string()).ok())
    }

    /// Whose Pinion's own credentials are, asked in a region: the partition, such as `aws`, and the account.
    ///
    /// # Errors
    /// [`PortError`] if there are none, or STS doesn't say.
    pub async fn own_account(&self, region: &pinion_core::model::Region) -> Result<(String, AccountId), PortError> {
        inventory::own_account(&self.shared, region).await
    }

    /// What lists an account.
    #[must_use]
    pub fn inventory(&self, environment: &EnvironmentName, account: &Account) -> Inventory {
        Inventory(self.connection(environment, account))
    }

    /// What reads an account for forecasts.
    #[must_use]
    pub fn surveyor(&self, environment: &EnvironmentName, account: &Account) -> Arc<dyn Surveyor> {
        self.connection(environment, account)
    }

    fn connection(&self, environment: &EnvironmentName, account: &Account) -> Arc<Connection> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Connection::new(&self.shared, environment, account));
        Arc::clone(connections.entry((environment.clone(), account.clone())).or_insert_with(new))
    }
}

/// Network connections to AWS, by way of the proxy that the environment names.
fn pool() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
        let mut connector = ConnectorBuilder::default().tls_provider(provider).proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.build()
    })
}

impl Accounts for Aws {
    fn reader(&self, environment: &EnvironmentName, account: &Account) -> Arc<dyn Observe> {
        self.connection(environment, account)
    }

    fn writer(&self, environment: &EnvironmentName, account: &Account) -> Arc<dyn Apply> {
        self.connection(environment, account)
    }
}

#[async_trait]
impl Observe for Connection {
    async fn identity(&self) -> Result<AccountId, PortError> {
        self.identity().await
    }

    async fn resolve(
        &self,
        queries: &BTreeSet<ArtifactQuery>,
    ) -> BTreeMap<ArtifactQuery, Result<Artifact, ResolveError>> {
        self.resolve_all(queries, false).await
    }

    async fn look_again(
        &self,
        queries: &BTreeSet<ArtifactQuery>,
    ) -> BTreeMap<ArtifactQuery, Result<Artifact, ResolveError>> {
        self.resolve_all(queries, true).await
    }

    async fn observe(
        &self,
        targets: &BTreeMap<LocalRef, TargetSpec>,
    ) -> BTreeMap<LocalRef, Result<ObservedTarget, PortError>> {
        let (mut groups, mut services) = (BTreeMap::new(), BTreeMap::new());
        for (local, spec) in targets {
            match spec {
                TargetSpec::Asg(asg) => drop(groups.insert(local.clone(), asg.group.clone())),
                TargetSpec::Fargate(fargate) => {
                    drop(services.insert(local.clone(), (fargate.cluster.clone(), fargate.service.clone())));
                }
            }
        }
        let (mut observed, services) = tokio::join!(self.groups(&groups), self.services(&services));
        observed.extend(services);
        observed
    }

    async fn history(&self, observed: &ObservedTarget) -> Result<RolloutHistory, PortError> {
        self.rollouts(observed).await
    }

    async fn bases(
        &self,
        queries: &[BaseQuery<'_>],
        max_age: Duration,
    ) -> BTreeMap<LocalRef, Result<Bases, PortError>> {
        self.bases_of(queries, max_age).await
    }

    async fn alarms(&self, names: &BTreeSet<String>) -> Result<BTreeMap<String, String>, PortError> {
        self.alarm_states(names).await
    }

    fn forget(&self) {
        self.cache.artifacts.clear();
        *self.cache.looked.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.cache.families.clear();
        self.cache.numbers.clear();
        self.cache.newer.clear();
    }
}

#[async_trait]
impl Apply for Connection {
    async fn apply(&self, action: &Action) -> Result<Applied, PortError> {
        self.write(action).await
    }

    async fn turn(&self, action: &Action) {
        if let Some(operation) = Operation::of_action(action) {
            self.reserve(operation).await;
        }
    }
}
