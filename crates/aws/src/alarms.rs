//! The states of CloudWatch alarms, which decide whether AWS lets an instance refresh begin. One small request, made by hand:
//! the SDK's crate would bring a protocol of its own (CBOR) and all of CloudWatch for it.
//!
//! `DescribeAlarms` in CloudWatch's JSON protocol (`json` 1.0, `GraniteServiceVersion20100801`), as its model has it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime::client::orchestrator::operation::Operation as Call;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::metadata::{ErrorMetadata, ProvideErrorMetadata};
use aws_smithy_types::timeout::TimeoutConfig;
use serde_json::{Value, json};
use thiserror::Error;

use super::connection::{ATTEMPT_TIMEOUT, CONNECT_TIMEOUT, Connection, ours};
use super::credentials::in_use;
use super::operation::Operation;
use pinion_core::model::{ErrorClass, PortError};

/// AWS's limit for the alarms named in one call.
const BATCH: usize = 100;

/// What is asked: the request's body, and the credentials and the time to sign it with.
#[derive(Debug)]
struct Question {
    body: String,
    credentials: Option<Credentials>,
    now: SystemTime,
}

/// An error that CloudWatch answered.
#[derive(Debug, Error)]
#[error("{0}")]
struct Refused(ErrorMetadata);

impl ProvideErrorMetadata for Refused {
    fn meta(&self) -> &ErrorMetadata {
        &self.0
    }
}

impl Connection {
    /// The state of each of these alarms: `OK`, `ALARM`, `INSUFFICIENT_DATA`, or another word that AWS has for it; empty where
    /// it doesn't say. An alarm that doesn't exist is missing.
    pub(super) async fn alarm_states(&self, names: &BTreeSet<String>) -> Result<BTreeMap<String, String>, PortError> {
        let operation = Operation::DescribeAlarms;
        let Some(describe) = self.describe_alarms() else {
            let why = "there is no HTTP client to ask CloudWatch with".to_owned();
            return Err(ours(operation, ErrorClass::Invalid, "NoClient", why));
        };
        let mut states = BTreeMap::new();
        for batch in names.iter().collect::<Vec<_>>().chunks(BATCH) {
            let body =
                json!({ "AlarmNames": batch, "AlarmTypes": ["MetricAlarm", "CompositeAlarm"], "MaxRecords": BATCH });
            let body = body.to_string();
            let answer = self
                .call(operation, || {
                    let (body, now) = (body.clone(), SystemTime::from(self.now()));
                    let describe = &describe;
                    async move { describe.invoke(Question { body, credentials: in_use(), now }).await }
                })
                .await?;
            states.extend(read(&answer).ok_or_else(|| {
                let why = "the answer doesn't list alarms by their names".to_owned();
                ours(operation, ErrorClass::Retry, "UnreadableResponse", why)
            })?);
        }
        Ok(states)
    }

    /// The operation, with this account's region and the network connections of all.
    fn describe_alarms(&self) -> Option<Call<Question, Value, Refused>> {
        let region = self.account.region.as_str().to_owned();
        let sdk = &self.shared.sdk;
        let endpoint = sdk.endpoint_url().map_or_else(|| cloudwatch(&region), str::to_owned);
        let url = format!("{}/", endpoint.trim_end_matches('/'));
        let call = Call::builder()
            .service_name("monitoring")
            .operation_name("DescribeAlarms")
            .behavior_version(BehaviorVersion::latest())
            .http_client(sdk.http_client()?)
            .interceptor(self.recorder(Operation::DescribeAlarms.service()))
            .endpoint_url(&endpoint)
            .no_auth()
            // What fails is asked again in the next pass.
            .no_retry()
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                    .build(),
            )
            .serializer(move |question: Question| signed(&question, &url, &region))
            .deserializer(answered);
        Some(call.build())
    }
}

/// CloudWatch's endpoint of a region, by AWS's partitions.
fn cloudwatch(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://monitoring.{region}.{suffix}")
}

/// The signed request.
fn signed(question: &Question, url: &str, region: &str) -> Result<HttpRequest, BoxError> {
    let Question { body, credentials, now } = question;
    let credentials = credentials.as_ref().ok_or("there are no credentials to sign with")?;
    let headers = [
        ("content-type", "application/x-amz-json-1.0"),
        ("x-amz-target", "GraniteServiceVersion20100801.DescribeAlarms"),
    ];
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("monitoring")
        .time(*now)
        .settings(SigningSettings::default())
        .build()?;
    let request = SignableRequest::new("POST", url, headers.into_iter(), SignableBody::Bytes(body.as_bytes()))?;
    let (instructions, _) = sign(request, &params.into())?.into_parts();
    let mut request = http::Request::builder().method("POST").uri(url);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let mut request = request.header("content-length", body.len()).body(SdkBody::from(body.as_str()))?;
    instructions.apply_to_request_http1x(&mut request);
    Ok(HttpRequest::try_from(request)?)
}

/// The answer, or the error in it: `__type` and `message`, as all of AWS's JSON protocols have them.
fn answered(response: &HttpResponse) -> Result<Value, OrchestratorError<Refused>> {
    let body: Value = serde_json::from_slice(response.body().bytes().unwrap_or_default()).unwrap_or_default();
    if response.status().is_success() {
        return Ok(body);
    }
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let code = text("__type").map(|code| code.rsplit_once('#').map_or(code, |(_, code)| code));
    let mut meta = ErrorMetadata::builder();
    if let Some(code) = code {
        meta = meta.code(code);
    }
    if let Some(message) = text("message").or(text("Message")) {
        meta = meta.message(message);
    }
    Err(OrchestratorError::operation(Refused(meta.build())))
}

/// The alarms of an answer, by name. `None` if one has none, or if the lists aren't there.
fn read(answer: &Value) -> Option<BTreeMap<String, String>> {
    let mut states = BTreeMap::new();
    let mut listed = false;
    for list in ["MetricAlarms", "CompositeAlarms"] {
        let Some(alarms) = answer.get(list) else { continue };
        listed = true;
        for alarm in alarms.as_array()? {
            let state = alarm.get("StateValue").and_then(Value::as_str).unwrap_or_default();
            states.insert(alarm.get("AlarmName")?.as_str()?.to_owned(), state.to_owned());
        }
    }
    listed.then_some(states)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_leaves_something_out_is_none() {
        let alarm = |name: &str, state: &str| json!({ "AlarmName": name, "StateValue": state });
        let states = read(&json!({ "MetricAlarms": [alarm("5xx", "OK")], "CompositeAlarms": [alarm("all", "ALARM")] }));
        let states = states.unwrap();
        assert_eq!((states["5xx"].as_str(), states["all"].as_str()), ("OK", "ALARM"));
        assert_eq!(read(&json!({ "MetricAlarms": [{ "AlarmName": "5xx" }] })).unwrap()["5xx"], "", "no state is said");
        for unreadable in [json!({}), json!({ "MetricAlarms": [{ "StateValue": "OK" }] }), json!({ "MetricAlarms": 1 })]
        {
            assert_eq!(read(&unreadable), None, "{unreadable}");
        }
    }

    #[test]
    fn each_partition_has_its_endpoint() {
        assert_eq!(cloudwatch("us-west-1"), "https://monitoring.us-west-1.amazonaws.com");
        assert_eq!(cloudwatch("cn-north-1"), "https://monitoring.cn-north-1.amazonaws.com.cn");
    }
}
