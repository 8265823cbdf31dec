//! Errors as AWS words them.

use super::Service;

/// An error answer: AWS's code and message, and the HTTP status that goes with them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    /// The action that no policy allows, if that is what is wrong.
    pub(crate) denied: Option<String>,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), denied: None }
    }

    /// A client error with status 400.
    pub(crate) fn bad(code: &str, message: impl Into<String>) -> Self {
        Self::new(400, code, message)
    }

    /// A value that the service doesn't accept.
    pub(crate) fn invalid(service: Service, message: impl Into<String>) -> Self {
        let code = match service {
            Service::Sts | Service::AutoScaling | Service::CloudWatch => "ValidationError",
            Service::Ec2 => "InvalidParameterValue",
            Service::Ecs | Service::Ecr => "InvalidParameterException",
            Service::Ssm => "ValidationException",
        };
        Self::bad(code, message)
    }

    /// A required parameter that is not there.
    pub(crate) fn missing(service: Service, name: &str) -> Self {
        match service {
            Service::Ec2 => Self::bad("MissingParameter", format!("The request must contain the parameter {name}")),
            Service::Ecs => Self::bad("InvalidParameterException", format!("{name} can not be blank.")),
            _ => {
                let mut member = name.to_owned();
                if let Some(first) = member.get_mut(..1) {
                    first.make_ascii_lowercase();
                }
                Self::invalid(
                    service,
                    format!(
                        "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member \
                         must not be null"
                    ),
                )
            }
        }
    }

    /// An operation that the simulator doesn't have.
    pub(crate) fn unknown_operation(service: Service, operation: &str) -> Self {
        match service {
            Service::Ec2 | Service::AutoScaling | Service::Sts => {
                Self::bad("InvalidAction", format!("The action {operation} is not valid for this web service."))
            }
            Service::Ecs | Service::Ecr | Service::Ssm | Service::CloudWatch => {
                Self::bad("UnknownOperationException", format!("The operation {operation} is not known."))
            }
        }
    }

    /// The access key id is unknown.
    pub(crate) fn unknown_key(service: Service) -> Self {
        match service {
            Service::Ec2 => {
                Self::new(401, "AuthFailure", "AWS was not able to validate the provided access credentials")
            }
            Service::Sts | Service::AutoScaling => {
                Self::new(403, "InvalidClientTokenId", "The security token included in the request is invalid.")
            }
            _ => Self::bad("UnrecognizedClientException", "The security token included in the request is invalid."),
        }
    }

    /// The session has expired.
    pub(crate) fn expired(service: Service) -> Self {
        match service {
            Service::Ec2 => Self::bad("RequestExpired", "Request has expired."),
            Service::Sts | Service::AutoScaling => {
                Self::new(403, "ExpiredToken", "The security token included in the request is expired")
            }
            _ => Self::bad("ExpiredTokenException", "The security token included in the request is expired"),
        }
    }

    /// Too many calls.
    pub(crate) fn throttled(service: Service) -> Self {
        match service {
            Service::Ec2 => Self::new(503, "RequestLimitExceeded", "Request limit exceeded."),
            Service::Sts | Service::AutoScaling => Self::bad("Throttling", "Rate exceeded"),
            _ => Self::bad("ThrottlingException", "Rate exceeded"),
        }
    }

    /// The caller may not do that.
    pub(crate) fn denied(service: Service, arn: &str, action: &str, resource: &str, why: &str) -> Self {
        let message = format!("User: {arn} is not authorized to perform: {action} on resource: {resource}{why}");
        let mut error = match service {
            Service::Ec2 => Self::new(403, "UnauthorizedOperation", message),
            Service::Sts | Service::AutoScaling => Self::new(403, "AccessDenied", message),
            _ => Self::bad("AccessDeniedException", message),
        };
        error.denied = Some(action.to_owned());
        error
    }
}
