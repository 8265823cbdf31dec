//! From AWS's errors to ours: what to do about each, with the request id kept.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId;

use super::advice;
use super::operation::Operation;
use pinion_core::model::{self, ErrorClass, PortError, words};

/// Codes by which AWS asks for fewer calls.
const THROTTLES: [&str; 12] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "Throttled",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "EC2ThrottledException",
    "BandwidthLimitExceeded",
    "PriorRequestNotComplete",
    "SlowDown",
];

/// Codes that say that somebody else was there first, or that what we read is stale.
const CONFLICTS: [&str; 15] = [
    "InstanceRefreshInProgress",
    "ActiveInstanceRefreshNotFound",
    "ResourceContention",
    "ResourceInUse",
    "ResourceInUseException",
    "ScalingActivityInProgress",
    "IdempotentParameterMismatch",
    "ConflictException",
    "UpdateInProgressException",
    "ServiceNotActiveException",
    "ServiceDeploymentConflictException",
    "ServiceDeploymentNotFoundException",
    "TaskSetNotFoundException",
    "OperationAborted",
    "ConcurrentModification",
];

/// Codes of refusals whose name doesn't say so.
const DENIALS: [&str; 13] = [
    "OptInRequired",
    "Blocked",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "AuthFailure",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "IncompleteSignature",
    "MissingAuthenticationToken",
    "NotAuthorized",
    "RegionDisabledException",
    "PendingVerification",
    "KMSAccessDeniedException",
];

/// Codes of faults on AWS's side that may come with a 4xx status.
const FAULTS: [&str; 9] = [
    "InternalFailure",
    "InternalError",
    "InternalServerError",
    "ServerException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "Unavailable",
    "RequestTimeout",
    "RequestTimeoutException",
];

/// Whether a code asks for fewer calls.
pub(super) fn is_throttle(code: &str) -> bool {
    THROTTLES.contains(&code)
}

/// Whether somebody else registers revisions of the same family at this moment: ECS tells it by its code for whatever is
/// wrong with a request, and in these words only.
pub(super) fn is_family_busy(message: &str) -> bool {
    message.contains("Too many concurrent attempts to create a new revision")
}

/// Whether a code says that credentials have run out or aren't known any more, so that new ones may help.
pub(super) fn is_expired(code: &str) -> bool {
    matches!(code, "ExpiredToken" | "ExpiredTokenException" | "RequestExpired") || is_foreign_key(code)
}

/// Whether a code says that AWS doesn't know the access key, or not with this session token.
pub(super) fn is_foreign_key(code: &str) -> bool {
    matches!(code, "InvalidClientTokenId" | "UnrecognizedClientException")
}

/// What to do about an error, by its code and the answer's HTTP status.
pub(super) fn class_of(code: &str, status: Option<u16>) -> ErrorClass {
    if is_throttle(code) || FAULTS.contains(&code) {
        ErrorClass::Retry
    } else if CONFLICTS.contains(&code) {
        // Before the status: AWS sends ResourceContention with 500.
        ErrorClass::Conflict
    } else if DENIALS.contains(&code)
        || is_expired(code)
        || code.starts_with("AccessDenied")
        || code.starts_with("Unauthorized")
        || code.ends_with("NotAuthorized")
        || code.ends_with("NotAuthorizedException")
    {
        ErrorClass::Denied
    } else {
        match status {
            Some(429 | 500..=599) => ErrorClass::Retry,
            Some(401 | 403) => ErrorClass::Denied,
            Some(_) | None => ErrorClass::Invalid,
        }
    }
}

/// How many characters of a message are kept: enough for those that AWS has encoded.
const MAX_LENGTH: usize = 2000;

/// Turns what the SDK reports about an operation into an error of ours.
pub(super) fn port_error<E>(operation: Operation, error: &SdkError<E, HttpResponse>) -> PortError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let Some(earlier) = cause::<PortError>(error) {
        return earlier.clone();
    }
    if let Some(credentials) = cause::<CredentialsError>(error) {
        return credentials_error(credentials);
    }
    let ours = |code: &str, class| PortError {
        class,
        service: operation.service(),
        operation: operation.name(),
        code: code.to_owned(),
        message: deepest(error),
        request_id: None,
        throttled: false,
    };
    match error {
        SdkError::TimeoutError(_) => ours("Timeout", ErrorClass::Retry),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => ours("Timeout", ErrorClass::Retry),
        SdkError::DispatchFailure(_) => ours("Connection", ErrorClass::Retry),
        SdkError::ConstructionFailure(_) => ours("InvalidRequest", ErrorClass::Invalid),
        SdkError::ResponseError(response) => unreadable(operation, error, response.raw()),
        SdkError::ServiceError(service) => {
            let meta = service.err().meta();
            let status = service.raw().status().as_u16();
            let Some(code) = meta.code().map(str::to_owned) else { return unreadable(operation, error, service.raw()) };
            let message = words::shortened(meta.message().unwrap_or_default().to_owned(), MAX_LENGTH);
            // Auto Scaling says it in words, with `Throttling` or without.
            let throttled = is_throttle(&code) || message.contains("Rate exceeded") || status == 429;
            let class = match throttled {
                true => ErrorClass::Retry,
                false if is_family_busy(&message) => ErrorClass::Conflict,
                false => class_of(&code, Some(status)),
            };
            PortError {
                class,
                service: operation.service(),
                operation: operation.name(),
                message: advised(operation, class, &code, message),
                code,
                request_id: meta.request_id().or_else(|| error.request_id()).map(str::to_owned),
                throttled,
            }
        }
        _ => ours("Unknown", ErrorClass::Retry),
    }
}

/// A refusal with what to do about it. Who asked for a role or an image knows more, and says it.
fn advised(operation: Operation, class: ErrorClass, code: &str, message: String) -> String {
    if class != ErrorClass::Denied || matches!(operation, Operation::AssumeRole | Operation::BatchGetImage) {
        return message;
    }
    let advice = advice::for_call(code, &message);
    let said = message.trim_end_matches(['.', ' ']);
    if said.is_empty() { advice.to_owned() } else { format!("{said}; {advice}") }
}

/// An answer that isn't AWS's: a proxy's page, a cut connection, a simulator's fault. The next one may be whole.
fn unreadable<E: Error + 'static>(
    operation: Operation,
    error: &SdkError<E, HttpResponse>,
    response: &HttpResponse,
) -> PortError {
    const SHOWN: usize = 120;
    let status = response.status().as_u16();
    let body = response.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
    let body: String = body.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SHOWN).collect();
    let class = class_of("", Some(status).filter(|status| *status >= 400).or(Some(500)));
    let advice = match class {
        ErrorClass::Retry => "",
        _ => "; that isn't AWS's form: look at what answers in its place, such as a proxy",
    };
    PortError {
        class,
        service: operation.service(),
        operation: operation.name(),
        code: format!("HTTP{status}"),
        message: format!("the answer can't be read: {body}{advice}"),
        request_id: error.request_id().map(str::to_owned),
        throttled: status == 429,
    }
}

/// The error of a credential chain that yields nothing: what comes before any role is assumed.
pub(super) fn credentials_error(error: &CredentialsError) -> PortError {
    let (class, code) = match error {
        CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_) => {
            (ErrorClass::Retry, "CredentialsUnavailable")
        }
        _ => (ErrorClass::Denied, "NoCredentials"),
    };
    let why = deepest(error);
    // The SDK goes on with each provider that it has asked, and why that isn't set up: a paragraph for every target.
    let why = why.split_once(". Attempted:").map_or(why.as_str(), |(short, _)| short);
    PortError {
        class,
        service: Operation::AssumeRole.service(),
        operation: Operation::AssumeRole.name(),
        code: code.to_owned(),
        message: format!(
            "Pinion's own AWS credentials can't be loaded: {why}; give it some by any way of AWS's standard chain \
             (environment, profile, web identity, container or instance role)"
        ),
        request_id: None,
        throttled: false,
    }
}

/// The first error of this type in the chain of causes.
fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// What the last cause says: the SDK's outer ones say only "dispatch failure".
fn deepest(error: &(dyn Error + 'static)) -> String {
    let last = model::cause::deepest(error).to_string();
    // On one line: it ends up in logs and tables.
    words::shortened(last.split_whitespace().collect::<Vec<_>>().join(" "), MAX_LENGTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_classes() {
        let table = [
            ("Throttling", 400, ErrorClass::Retry),
            ("ThrottlingException", 400, ErrorClass::Retry),
            ("RequestLimitExceeded", 503, ErrorClass::Retry),
            ("InternalFailure", 500, ErrorClass::Retry),
            ("ServerException", 500, ErrorClass::Retry),
            ("SomethingNew", 502, ErrorClass::Retry),
            ("AccessDenied", 403, ErrorClass::Denied),
            ("AccessDeniedException", 400, ErrorClass::Denied),
            ("UnauthorizedOperation", 403, ErrorClass::Denied),
            ("ClientNotAuthorized", 400, ErrorClass::Denied),
            ("ExpiredToken", 403, ErrorClass::Denied),
            ("OptInRequired", 401, ErrorClass::Denied),
            ("SomethingNew", 403, ErrorClass::Denied),
            ("InstanceRefreshInProgress", 400, ErrorClass::Conflict),
            ("ResourceContention", 500, ErrorClass::Conflict),
            ("ActiveInstanceRefreshNotFound", 400, ErrorClass::Conflict),
            ("IdempotentParameterMismatch", 400, ErrorClass::Conflict),
            ("ValidationError", 400, ErrorClass::Invalid),
            ("LimitExceeded", 400, ErrorClass::Invalid),
            ("InvalidParameterException", 400, ErrorClass::Invalid),
        ];
        for (code, status, class) in table {
            assert_eq!(class_of(code, Some(status)), class, "{code} {status}");
        }
    }

    #[test]
    fn the_cause_is_found_below_the_sdk_wrapping() {
        let denied = PortError {
            class: ErrorClass::Denied,
            service: "sts",
            operation: "AssumeRole",
            code: "AccessDenied".to_owned(),
            message: "no".to_owned(),
            request_id: Some("r-1".to_owned()),
            throttled: false,
        };
        let wrapped =
            SdkError::<aws_sdk_ecs::operation::describe_services::DescribeServicesError, _>::construction_failure(
                CredentialsError::provider_error(denied.clone()),
            );
        assert_eq!(port_error(Operation::DescribeServices, &wrapped), denied);
        let none =
            SdkError::<aws_sdk_ecs::operation::describe_services::DescribeServicesError, _>::construction_failure(
                CredentialsError::not_loaded("no provider in chain"),
            );
        let error = port_error(Operation::DescribeServices, &none);
        assert_eq!((error.class, error.service, error.code.as_str()), (ErrorClass::Denied, "sts", "NoCredentials"));
    }
}
