//! Faults that are asked for over the control API.

use serde::{Deserialize, Serialize};

use super::wire::{ApiError, Service};

/// A fault, and the calls that it strikes. What is left out matches everything.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    #[serde(default)]
    pub(crate) id: u64,
    account: Option<String>,
    region: Option<String>,
    service: Option<Service>,
    operation: Option<String>,
    /// How often it strikes; without, until it is removed.
    times: Option<u64>,
    /// Whether the call has taken effect when the error is answered.
    #[serde(default)]
    pub(crate) when: When,
    pub(crate) kind: Kind,
    code: Option<String>,
    message: Option<String>,
    status: Option<u16>,
    #[serde(default)]
    pub(crate) millis: u64,
}

/// What a fault does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Throttle,
    Error,
    Delay,
}

/// Whether an error comes instead of the call's effect, or after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum When {
    #[default]
    Before,
    After,
}

impl Fault {
    fn strikes(&self, account: &str, region: &str, service: Service, operation: &str) -> bool {
        self.account.as_deref().is_none_or(|it| it == account)
            && self.region.as_deref().is_none_or(|it| it == region)
            && self.service.is_none_or(|it| it == service)
            && self.operation.as_deref().is_none_or(|it| it == operation)
    }

    /// The error that it answers with; none if it only delays.
    pub(crate) fn error(&self, service: Service) -> Option<ApiError> {
        match self.kind {
            Kind::Delay => None,
            Kind::Throttle => Some(ApiError::throttled(service)),
            Kind::Error => Some(ApiError::new(
                self.status.unwrap_or(500),
                self.code.as_deref().unwrap_or("InternalFailure"),
                self.message.clone().unwrap_or_else(|| {
                    "The request processing has failed because of an unknown error, exception or failure.".to_owned()
                }),
            )),
        }
    }
}

/// The faults in force.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    all: Vec<Fault>,
    last: u64,
}

impl Faults {
    /// Adds a fault. Answers its id.
    pub(crate) fn add(&mut self, mut fault: Fault) -> u64 {
        self.last += 1;
        fault.id = self.last;
        self.all.push(fault);
        self.last
    }

    /// Removes one fault, or all.
    pub(crate) fn remove(&mut self, id: Option<u64>) {
        self.all.retain(|fault| id.is_some_and(|id| fault.id != id));
    }

    pub(crate) fn all(&self) -> &[Fault] {
        &self.all
    }

    /// The first fault that strikes a call, used up by one.
    pub(crate) fn take(&mut self, account: &str, region: &str, service: Service, operation: &str) -> Option<Fault> {
        let fault = self.all.iter_mut().find(|fault| fault.strikes(account, region, service, operation))?;
        if let Some(times) = &mut fault.times {
            *times = times.saturating_sub(1);
        }
        let taken = fault.clone();
        self.all.retain(|fault| fault.times != Some(0));
        Some(taken)
    }
}
