//! Faults that are asked for over the control API.

mod broken;
mod bucket;
mod held;
mod past;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::wire::{ApiError, Service};
use super::world::World;
use bucket::Buckets;

pub(crate) use broken::{deliver, label};
pub(crate) use held::{Held, HeldCall};
pub(crate) use past::Past;

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
    /// How many calls that it would strike it lets pass first.
    #[serde(default)]
    skip: u64,
    /// How often it strikes; without, until it is removed.
    times: Option<u64>,
    /// For how many milliseconds of the wall clock it is in force.
    lasts: Option<u64>,
    /// Wall-clock milliseconds at which that is over.
    #[serde(skip)]
    until: Option<i64>,
    /// Whether the call has taken effect when the fault strikes.
    #[serde(default)]
    pub(crate) when: When,
    pub(crate) kind: Kind,
    code: Option<String>,
    message: Option<String>,
    status: Option<u16>,
    #[serde(default)]
    pub(crate) millis: u64,
    /// The account that assumed roles lead to.
    pub(crate) to: Option<String>,
    /// Of a token bucket, instead of AWS's figures: calls at once, and calls a second after that.
    burst: Option<f64>,
    refill: Option<f64>,
}

/// What a fault does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Answers AWS's error for too many calls.
    Throttle,
    /// Answers an error.
    Error,
    /// Answers late.
    Delay,
    /// Keeps the connection open and doesn't go on until it is told to.
    Hold,
    /// Closes the connection without an answer.
    Drop,
    /// Closes the connection in the middle of the answer.
    Cut,
    /// Sends half of the answer, and keeps the connection open.
    Stall,
    /// Sends the answer in small pieces.
    Slow,
    /// Answers something that isn't in any protocol of AWS's.
    Garbage,
    /// Answers a gateway's page instead of AWS's error.
    Gateway,
    /// Throttles by token buckets.
    Bucket,
    /// Reads show the world as it was.
    Lag,
    /// The session that the call is made with is over.
    Expire,
    /// The sessions of the account that were issued until now are denied everything.
    Revoke,
    /// Assuming a role leads to the one of that name in another account, as if somebody in between mixed them up.
    Astray,
    /// Each page of an answer holds one thing only, whatever size was asked for.
    Page,
}

/// Whether a fault comes instead of the call's effect, or after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum When {
    #[default]
    Before,
    After,
}

/// A call, as far as faults are concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Struck<'a> {
    pub(crate) account: &'a str,
    pub(crate) region: &'a str,
    pub(crate) service: Service,
    pub(crate) operation: &'a str,
}

/// What faults have in store for a call.
#[derive(Debug, Default)]
pub(crate) struct Strike {
    pub(crate) fault: Option<Fault>,
    /// By how many milliseconds of engine time what it reads lags behind.
    pub(crate) lag: u64,
}

impl Fault {
    fn strikes(&self, call: Struck<'_>) -> bool {
        self.account.as_deref().is_none_or(|it| it == call.account)
            && self.region.as_deref().is_none_or(|it| it == call.region)
            && self.service.is_none_or(|it| it == call.service)
            && self.operation.as_deref().is_none_or(|it| it == call.operation)
    }

    /// Changes the parameters that a call is answered by.
    pub(crate) fn bend(&self, read: bool, params: &mut Value) {
        let Some(params) = params.as_object_mut() else { return };
        match (self.kind, &self.to) {
            (Kind::Page, _) if read => {
                params.extend(["MaxResults", "MaxRecords", "maxResults"].map(|size| (size.to_owned(), 1.into())));
            }
            (Kind::Astray, Some(to)) => {
                let role = params.get("RoleArn").and_then(Value::as_str).and_then(|arn| arn.split_once(":role/"));
                if let Some(arn) = role.map(|(_, name)| format!("arn:aws:iam::{to}:role/{name}")) {
                    params.insert("RoleArn".to_owned(), arn.into());
                }
            }
            _ => {}
        }
    }

    /// The error that it answers with; none if the call has an answer of its own.
    pub(crate) fn error(&self, service: Service) -> Option<ApiError> {
        match self.kind {
            Kind::Throttle | Kind::Bucket => Some(ApiError::throttled(service)),
            Kind::Error => Some(ApiError::new(
                self.status.unwrap_or(500),
                self.code.as_deref().unwrap_or("InternalFailure"),
                self.message.clone().unwrap_or_else(|| {
                    "The request processing has failed because of an unknown error, exception or failure.".to_owned()
                }),
            )),
            // Nobody reads this: the answer is lost or replaced on its way. The journal shows it.
            Kind::Drop => Some(ApiError::new(503, "(drop)", "The connection is closed without an answer.")),
            Kind::Garbage => Some(ApiError::new(self.status.unwrap_or(200), "(garbage)", "The answer is garbage.")),
            Kind::Gateway => Some(ApiError::new(self.status.unwrap_or(502), "(gateway)", "A gateway answers.")),
            Kind::Delay
            | Kind::Hold
            | Kind::Cut
            | Kind::Stall
            | Kind::Slow
            | Kind::Lag
            | Kind::Expire
            | Kind::Revoke
            | Kind::Astray
            | Kind::Page => None,
        }
    }
}

/// The faults in force.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    all: Vec<Fault>,
    last: u64,
    buckets: Buckets,
    /// Access keys that are denied everything.
    revoked: BTreeSet<String>,
}

impl Faults {
    /// Adds a fault at a wall-clock time in milliseconds. Answers its id.
    pub(crate) fn add(&mut self, mut fault: Fault, wall: i64) -> u64 {
        self.last += 1;
        fault.id = self.last;
        fault.until = fault.lasts.map(|lasts| wall.saturating_add_unsigned(lasts));
        self.all.push(fault);
        self.last
    }

    /// Removes one fault, or all. What was revoked stays so.
    pub(crate) fn remove(&mut self, id: Option<u64>) {
        self.all.retain(|fault| id.is_some_and(|id| fault.id != id));
        if self.all.is_empty() {
            self.buckets = Buckets::default();
        }
    }

    pub(crate) fn all(&self) -> &[Fault] {
        &self.all
    }

    /// By how many milliseconds of engine time reads lag behind at most.
    pub(crate) fn longest_lag(&self) -> u64 {
        self.all.iter().filter(|fault| fault.kind == Kind::Lag).map(|fault| fault.millis).max().unwrap_or(0)
    }

    /// What strikes a call: the first fault, used up by one, and lagging reads beside it.
    pub(crate) fn take(&mut self, call: Struck<'_>, read: bool, wall: i64) -> Strike {
        self.all.retain(|fault| fault.until.is_none_or(|until| wall < until));
        let mut strike = Strike::default();
        for fault in self.all.iter_mut().filter(|fault| fault.strikes(call)) {
            match fault.kind {
                Kind::Lag if !read => continue,
                Kind::Bucket if self.buckets.take(call, fault.burst, fault.refill, wall) => continue,
                _ => {}
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if let Some(times) = &mut fault.times {
                *times = times.saturating_sub(1);
            }
            if fault.kind == Kind::Lag {
                strike.lag = strike.lag.max(fault.millis);
            } else {
                strike.fault = Some(fault.clone());
                break;
            }
        }
        self.all.retain(|fault| fault.times != Some(0));
        strike
    }

    /// Does what a fault does to credentials.
    pub(crate) fn spoil(&mut self, fault: &Fault, key: &str, account: &str, world: &mut World) {
        match fault.kind {
            Kind::Expire => {
                let now = world.wall;
                if let Some(session) = world.sessions.get_mut(key) {
                    session.expires = now;
                }
            }
            Kind::Revoke => {
                let issued = world.sessions.iter().filter(|(_, session)| session.account == account);
                self.revoked.extend(issued.map(|(key, _)| key.clone()));
            }
            _ => {}
        }
    }

    /// Whether a session was issued before its role's sessions were revoked.
    pub(crate) fn is_revoked(&self, key: &str) -> bool {
        self.revoked.contains(key)
    }
}
