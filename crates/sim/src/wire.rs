//! AWS's protocols: which service is called, with which parameters, by whom; and answers in that service's own form.

mod args;
mod error;
mod form;
mod sign;
mod xml;

pub(crate) use args::{Args, as_int, as_text, epoch, iso, page};
pub(crate) use error::ApiError;
pub(crate) use form::decode as decode_form;
pub(crate) use sign::{Scope, read_scope};

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A service of the simulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Service {
    Sts,
    Ec2,
    AutoScaling,
    Ecs,
    Ecr,
    Ssm,
    #[serde(rename = "cloudwatch")]
    CloudWatch,
}

/// How a service is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Ec2,
    Query,
    Json,
}

impl Service {
    /// The service of a credential scope.
    pub(crate) fn from_scope(name: &str) -> Option<Self> {
        Some(match name {
            "sts" => Self::Sts,
            "ec2" => Self::Ec2,
            "autoscaling" => Self::AutoScaling,
            "ecs" => Self::Ecs,
            "ecr" => Self::Ecr,
            "ssm" => Self::Ssm,
            "monitoring" => Self::CloudWatch,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sts => "sts",
            Self::Ec2 => "ec2",
            Self::AutoScaling => "autoscaling",
            Self::Ecs => "ecs",
            Self::Ecr => "ecr",
            Self::Ssm => "ssm",
            Self::CloudWatch => "cloudwatch",
        }
    }

    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Ec2 => Protocol::Ec2,
            Self::Sts | Self::AutoScaling => Protocol::Query,
            Self::Ecs | Self::Ecr | Self::Ssm | Self::CloudWatch => Protocol::Json,
        }
    }

    fn namespace(self) -> &'static str {
        match self {
            Self::Ec2 => "http://ec2.amazonaws.com/doc/2016-11-15/",
            Self::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
            _ => "http://autoscaling.amazonaws.com/doc/2011-01-01/",
        }
    }
}

/// Who calls.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Caller {
    pub(crate) account: String,
    pub(crate) arn: String,
    pub(crate) user_id: String,
    /// Whether the credentials came from `AssumeRole`.
    pub(crate) is_session: bool,
    /// Session tags.
    pub(crate) tags: BTreeMap<String, String>,
    /// Keys of the session tags that the next role's session inherits.
    pub(crate) transitive: BTreeSet<String>,
}

/// One call of one operation.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) service: Service,
    pub(crate) region: String,
    pub(crate) operation: String,
    /// Query parameters nested, lists as arrays; or the JSON body.
    pub(crate) params: Value,
    pub(crate) caller: Caller,
}

impl Call {
    pub(crate) fn args(&self) -> Args<'_> {
        Args { service: self.service, value: &self.params }
    }
}

/// An answer on the wire.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
}

/// Writes a call's result in its service's form.
pub(crate) fn encode(
    service: Service,
    operation: &str,
    result: Result<&Value, &ApiError>,
    request_id: &str,
) -> Encoded {
    let protocol = service.protocol();
    let status = result.map_or_else(|error| error.status, |_| 200);
    let body = match (protocol, result) {
        (Protocol::Json, Ok(value)) => Ok(without_nulls(value).to_string()),
        (Protocol::Json, Err(error)) => {
            // Some of AWS's errors say nothing but their name.
            let message = (!error.message.is_empty()).then_some(&error.message);
            Ok(without_nulls(&serde_json::json!({ "__type": error.code, "message": message })).to_string())
        }
        (Protocol::Ec2, Ok(value)) => xml::ec2(operation, service.namespace(), value, request_id),
        (Protocol::Ec2, Err(error)) => xml::ec2_error(error, request_id),
        (Protocol::Query, Ok(value)) => xml::query(operation, service.namespace(), value, request_id),
        (Protocol::Query, Err(error)) => xml::query_error(error, service.namespace(), request_id),
    };
    let content_type = match protocol {
        Protocol::Json => "application/x-amz-json-1.1",
        Protocol::Ec2 | Protocol::Query => "text/xml;charset=UTF-8",
    };
    match body {
        Ok(body) => Encoded { status, content_type, body },
        Err(error) => Encoded { status: 500, content_type: "text/plain", body: error.to_string() },
    }
}

/// The JSON protocols leave out what there isn't.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let present = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(present.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(all) => all.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}
