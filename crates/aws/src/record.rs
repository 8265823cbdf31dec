//! Tells `RecordCalls` of each request that AWS sees, and the rate limits of each that the SDK sends by itself: its retries.

use std::sync::Arc;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use tokio::time::Instant;

use super::error::{class_of, is_family_busy, is_throttle};
use super::limits::RateLimits;
use super::operation::Operation;
use pinion_core::model::{CallRecord, EnvironmentName, ErrorClass};
use pinion_core::ports::RecordCalls;

/// Records the requests of one service of one environment.
#[derive(Debug, Clone)]
pub(super) struct Recorder {
    pub(super) environment: EnvironmentName,
    pub(super) service: &'static str,
    pub(super) calls: Arc<dyn RecordCalls>,
    /// Those of the region that is called.
    pub(super) limits: Arc<RateLimits>,
}

#[derive(Debug)]
struct Sent(Instant);

impl Storable for Sent {
    type Storer = StoreReplace<Self>;
}

/// A request of this call was sent before.
#[derive(Debug)]
struct Retried;

impl Storable for Retried {
    type Storer = StoreReplace<Self>;
}

impl Recorder {
    fn operation(&self, bag: &ConfigBag) -> Option<Operation> {
        bag.load::<Metadata>().and_then(|meta| Operation::named(self.service, meta.name()))
    }
}

#[dyn_dispatch_hint]
impl Intercept for Recorder {
    fn name(&self) -> &'static str {
        "Recorder"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if bag.load::<Retried>().is_some()
            && let Some(operation) = self.operation(bag)
        {
            self.limits.charge(operation.family());
        }
        bag.interceptor_state().store_put(Retried);
        bag.interceptor_state().store_put(Sent(Instant::now()));
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Nothing was sent where credentials were missing: AWS has seen no request.
        let Some(duration) = bag.load::<Sent>().map(|sent| sent.0.elapsed()) else { return Ok(()) };
        let operation = self.operation(bag);
        bag.interceptor_state().unset::<Sent>();
        let Some(operation) = operation else { return Ok(()) };

        let response = context.response();
        let failed = !matches!(context.output_or_error(), Some(Ok(_)));
        let (class, throttled) = match response {
            _ if !failed => (None, false),
            None => (Some(ErrorClass::Retry), false),
            Some(response) => {
                let status = response.status().as_u16();
                let body = response.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
                let code = code_on_the_wire(&body).unwrap_or_default();
                let throttled = is_throttle(code) || status == 429 || body.contains("Rate exceeded");
                let class = match throttled {
                    true => ErrorClass::Retry,
                    false if is_family_busy(&body) => ErrorClass::Conflict,
                    false => class_of(code, Some(status)),
                };
                (Some(class), throttled)
            }
        };
        if throttled {
            // At once, as the SDK may send it again before its caller hears of it.
            self.limits.throttled(operation.family());
        }
        tracing::debug!(
            service = operation.service(),
            operation = operation.name(),
            result = class.map_or("ok", ErrorClass::as_str),
            throttled,
            milliseconds = duration.as_millis(),
            "called AWS"
        );
        self.calls.record(
            &self.environment,
            CallRecord {
                service: operation.service(),
                operation: operation.name(),
                result: class.map_or("ok", ErrorClass::as_str),
                throttled,
                duration,
            },
        );
        Ok(())
    }
}

/// The error code in a body: `<Code>…</Code>` of the query protocols, `"__type"` of the JSON ones. The SDK knows the
/// code too, but only behind each operation's own type.
fn code_on_the_wire(body: &str) -> Option<&str> {
    if let Some((_, rest)) = body.split_once("<Code>") {
        return rest.split_once("</Code>").map(|(code, _)| code.trim());
    }
    let (_, rest) = body.split_once("\"__type\"")?;
    let value = rest.split('"').nth(1)?;
    Some(value.rsplit_once('#').map_or(value, |(_, code)| code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_off_the_wire() {
        assert_eq!(
            code_on_the_wire(
                "<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code></Error></ErrorResponse>"
            ),
            Some("Throttling")
        );
        assert_eq!(
            code_on_the_wire(r#"{"message":"x","__type": "com.amazonaws.ecs#ClusterNotFoundException"}"#),
            Some("ClusterNotFoundException")
        );
        assert_eq!(code_on_the_wire(r#"{"__type":"AccessDeniedException"}"#), Some("AccessDeniedException"));
        assert_eq!(code_on_the_wire("<html>"), None);
    }
}
