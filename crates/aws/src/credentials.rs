//! The credentials of one account: its role, assumed, kept, and renewed before they expire.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::advice;
use super::error::{credentials_error, port_error};
use super::operation::Operation;
use pinion_clock::Clock;
use pinion_core::model::{ErrorClass, PortError, RoleArn};

/// How long before they expire credentials are renewed.
const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);
/// Credentials that are younger than this are believed, whatever the clock says: one that is wrong by hours must not have
/// the role assumed for each call. AWS issues none for less than 15 minutes.
const SURELY_GOOD: Duration = Duration::from_secs(60);
/// How often, at most, the role is assumed again because a call was denied. Sessions that were revoked are denied
/// everything; but what the role may simply not do is denied in every pass, too.
const DOUBT_EVERY: Duration = Duration::from_secs(5 * 60);
/// For this long a failure stands for the next one, so that the calls of one pass don't each ask again.
const SAME_FAILURE: Duration = Duration::from_secs(1);

/// One role's credentials.
pub(super) struct RoleCredentials {
    /// Pinion's own credentials, where they are used as they are: the role may not be there yet.
    pub(super) own: Option<SharedCredentialsProvider>,
    pub(super) sts: aws_sdk_sts::Client,
    pub(super) role: RoleArn,
    pub(super) external_id: Option<String>,
    pub(super) session: String,
    pub(super) clock: Arc<dyn Clock>,
    /// Locked while the role is assumed, so that callers at the same time share one call.
    pub(super) held: Mutex<Held>,
}

/// What came of assuming the role.
#[derive(Default)]
pub(super) struct Held {
    /// With when they were issued.
    credentials: Option<(Credentials, Instant)>,
    failure: Option<(Instant, PortError)>,
    /// A call was denied with these credentials: they are to be replaced, but are kept if that fails for now.
    doubted: bool,
    /// When that was so last.
    doubted_at: Option<Instant>,
}

impl Held {
    fn are(&self, credentials: &Credentials) -> bool {
        self.credentials.as_ref().is_some_and(|(held, _)| held.access_key_id() == credentials.access_key_id())
    }
}

impl fmt::Debug for RoleCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleCredentials").field("role", &self.role).field("session", &self.session).finish()
    }
}

impl RoleCredentials {
    /// Credentials that are good for a while yet.
    pub(super) async fn current(&self) -> Result<Credentials, PortError> {
        let mut held = self.held.lock().await;
        let now = SystemTime::from(self.clock.now());
        let good_for = |(credentials, issued): &(Credentials, Instant), least: Duration| {
            issued.elapsed() < SURELY_GOOD
                || credentials.expiry().is_none_or(|expiry| expiry.duration_since(now).is_ok_and(|left| left > least))
        };
        let good = held.credentials.as_ref().filter(|credentials| good_for(credentials, RENEW_BEFORE));
        if let Some((credentials, _)) = good.filter(|_| !held.doubted) {
            return Ok(credentials.clone());
        }
        let result = match &held.failure {
            Some((at, error)) if at.elapsed() < SAME_FAILURE => Err(error.clone()),
            _ => self.assume().await,
        };
        match result {
            Ok(fresh) => {
                let credentials = Some((fresh.clone(), Instant::now()));
                let doubted_at = if held.doubted { Some(Instant::now()) } else { held.doubted_at };
                *held = Held { credentials, failure: None, doubted: false, doubted_at };
                Ok(fresh)
            }
            Err(error) => {
                if held.failure.as_ref().is_none_or(|(at, _)| at.elapsed() >= SAME_FAILURE) {
                    held.failure = Some((Instant::now(), error.clone()));
                }
                if held.doubted && error.class == ErrorClass::Denied {
                    held.doubted_at = Some(Instant::now());
                    if error.code == "AccessDenied" {
                        // Denied twice over: access was taken away.
                        held.credentials = None;
                    }
                }
                held.doubted = false;
                // Renewal is due but not yet needed.
                let old = held.credentials.as_ref().filter(|old| good_for(old, Duration::ZERO));
                old.map(|(old, _)| old.clone()).ok_or(error)
            }
        }
    }

    /// Drops credentials that AWS says have expired. Others that came since are kept.
    pub(super) async fn discard(&self, expired: &Credentials) {
        let mut held = self.held.lock().await;
        if held.are(expired) {
            held.credentials = None;
        }
    }

    /// A call with these credentials was denied: their session may have been revoked. Whether others may help.
    pub(super) async fn doubt(&self, denied: &Credentials) -> bool {
        let mut held = self.held.lock().await;
        if !held.are(denied) {
            return true;
        }
        if held.doubted_at.is_some_and(|at| at.elapsed() < DOUBT_EVERY) {
            return held.doubted;
        }
        held.doubted = true;
        true
    }

    async fn assume(&self) -> Result<Credentials, PortError> {
        if let Some(own) = &self.own {
            return own.provide_credentials().await.map_err(|error| credentials_error(&error));
        }
        let assumed = self
            .sts
            .assume_role()
            .role_arn(self.role.as_str())
            .role_session_name(&self.session)
            .set_external_id(self.external_id.clone())
            .send()
            .await
            .map_err(|error| self.explain(port_error(Operation::AssumeRole, &error)))?;
        let credentials = assumed.credentials.ok_or_else(|| {
            self.explain(PortError {
                class: ErrorClass::Retry,
                service: Operation::AssumeRole.service(),
                operation: Operation::AssumeRole.name(),
                code: "UnreadableResponse".to_owned(),
                message: "the answer has no credentials".to_owned(),
                request_id: None,
                throttled: false,
            })
        })?;
        Ok(Credentials::new(
            credentials.access_key_id,
            credentials.secret_access_key,
            Some(credentials.session_token),
            SystemTime::try_from(credentials.expiration).ok(),
            "AssumeRole",
        ))
    }

    /// Says whose credentials or which policy to look at.
    fn explain(&self, mut error: PortError) -> PortError {
        if error.class == ErrorClass::Invalid || error.class == ErrorClass::Conflict {
            error.class = ErrorClass::Denied;
        }
        // What wasn't AWS's answer says so itself.
        let from_aws = error.code != "NoCredentials" && !error.code.starts_with("HTTP");
        if error.class == ErrorClass::Denied && from_aws {
            let given = match self.external_id {
                Some(_) => "with an external id",
                None => "without an external id",
            };
            let advice = advice::for_role(&error.code, &error.message, self.external_id.is_some(), &self.session);
            let said = error.message.trim_end_matches(['.', ' ']);
            error.message = format!("role {} can't be assumed {given}: {said}; {advice}", self.role);
        }
        error
    }
}

/// What the clients of an account take their credentials from.
#[derive(Debug, Clone)]
pub(super) struct Provider(pub(super) Arc<RoleCredentials>);

tokio::task_local! {
    /// The credentials that the call under way is made with.
    static IN_USE: Credentials;
}

/// Makes a call with these credentials and no others, whatever comes in between.
pub(super) async fn with<T>(credentials: Credentials, call: impl Future<Output = T>) -> T {
    IN_USE.scope(credentials, call).await
}

/// The credentials that the call under way is made with.
pub(super) fn in_use() -> Option<Credentials> {
    IN_USE.try_with(Credentials::clone).ok()
}

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            match IN_USE.try_with(Credentials::clone) {
                Ok(credentials) => Ok(credentials),
                Err(_) => self.0.current().await.map_err(CredentialsError::provider_error),
            }
        })
    }
}
