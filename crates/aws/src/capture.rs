//! The body of an answer as AWS sent it: what the SDK's types don't know survives in it.

use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use serde_json::Value;

use super::xml::Element;

/// Keeps the body of an answer. An interceptor of one call.
#[derive(Debug, Clone, Default)]
pub(super) struct Capture(Arc<Mutex<Option<Vec<u8>>>>);

impl Capture {
    /// The answer as JSON, if it is that.
    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.take()?).ok()
    }

    /// The answer as XML, if it is that.
    pub(super) fn xml(&self) -> Option<Element> {
        Element::parse(std::str::from_utf8(&self.take()?).ok()?)
    }

    fn take(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[dyn_dispatch_hint]
impl Intercept for Capture {
    fn name(&self) -> &'static str {
        "Capture"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = context.response().body().bytes().map(<[u8]>::to_vec);
        Ok(())
    }
}
