//! Why a target is in its state. Typed, so that tests and metrics need not read prose; `Display` is for people.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::{
    AccountId, EnvironmentName, LocalRef, PortError, Reach, Refusal, RolloutId, Standing, State, Version, words,
};

/// Why a target is in its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Suspended: switched off in Git.
    Suspended {
        /// Who answers for it.
        owner: String,
        /// Why.
        reason: String,
        /// Until when.
        until: Timestamp,
        /// What else is, and so where it stands.
        reach: Reach,
    },
    /// Unknown: the account or something in it can't be read now.
    Unreadable(PortError),
    /// Unknown: nobody asked AWS for it in this pass.
    Unread,
    /// Blocked: the credentials belong to another account.
    WrongAccount {
        /// The account that they belong to.
        caller: AccountId,
        /// The environment's.
        expected: AccountId,
    },
    /// Blocked: a call was refused. Says what to change.
    Denied(PortError),
    /// Blocked: a call was refused as wrong, and will be again.
    Refused(PortError),
    /// As planned: the write for it failed, and is tried again.
    WriteFailed(PortError),
    /// Quarantined: what the failed rollout has left couldn't be brought back just now.
    RollbackNotStarted {
        /// Why the pin is quarantined.
        quarantined: Box<Self>,
        /// Why the rollback couldn't be started.
        error: PortError,
    },
    /// Blocked: the group, service or cluster doesn't exist.
    Missing(String),
    /// Blocked: the pin resolves to nothing usable.
    NoArtifact(String),
    /// Blocked: Pinion can't roll out to something of this shape. Says what to change.
    UnsupportedShape(String),
    /// Blocked, or pending where it ends by itself: another target holds the AWS resource.
    Claimed(Refusal),
    /// Pending: another target has to be in sync first.
    After {
        /// The target waited for.
        target: LocalRef,
        /// Its state.
        state: State,
    },
    /// Pending: somebody else's rollout runs.
    ForeignRollout {
        /// AWS's id of it.
        id: RolloutId,
        /// AWS's word for how far it is.
        status: String,
        /// How many of its tasks have failed, and how to end it, if they do and nothing else ends it.
        failing: Option<Failing>,
    },
    /// Pending: what an earlier pin's failed rollout has left is being brought back to what ran before.
    Rollback {
        /// Where it goes back to: a launch-template version's number, or `family:revision`.
        to: String,
        /// AWS's id of the rollout that does it.
        id: RolloutId,
        /// AWS's word for how far it is.
        status: String,
    },
    /// Blocked: what runs was made from the pinned tag, but the tag is on another image now.
    TagMoved {
        /// The image, with its tag.
        image: String,
        /// The digest that runs.
        running: String,
        /// The digest that the tag has now.
        now: String,
    },
    /// Blocked: the AMI that this pin was rolled out with has been built again.
    AmiRebuilt {
        /// The name that both have, if the AMI is looked up by one.
        name: Option<String>,
        /// The AMI that the pin was rolled out with.
        running: String,
        /// The AMI that is found now.
        now: String,
    },
    /// Pending: a change limit holds the pin. Says which, why, and what lets it through.
    ChangeLimit(String),
    /// Pending: alarms of the rollout are raised before it begins, each with AWS's word for its state.
    Alarm(Vec<(String, String)>),
    /// Pending: the version has to be in sync in another environment first, as `[promotion]` says.
    Promotion {
        /// That environment.
        from: EnvironmentName,
        /// The version.
        version: Version,
        /// How it stands there.
        standing: Standing,
    },
    /// Pending: a guardrail forbids it.
    Guardrail(Vec<Denial>),
    /// Rolling out: getting ready, nothing that runs has changed yet.
    Preparing,
    /// Rolling out: our rollout runs.
    Progress {
        /// AWS's word for how far it is.
        status: String,
        /// How much is replaced, 0 to 100.
        percentage: Option<u8>,
    },
    /// Rolling out: our rollout for an earlier pin is being stopped.
    Superseded {
        /// AWS's id of it.
        id: RolloutId,
    },
    /// Rolling out: our rollout failed and AWS rolls it back.
    RollingBack {
        /// AWS's reason.
        reason: Option<String>,
    },
    /// Overdue: our rollout has run for longer than its deadline.
    Overdue {
        /// The deadline, in seconds.
        deadline: u64,
        /// AWS's word for how far it is.
        status: String,
        /// Whether it is the rollout of an earlier pin, which is being stopped.
        superseded: bool,
    },
    /// Quarantined: our rollout of this very pin ended badly.
    RolloutFailed {
        /// AWS's id of it.
        id: RolloutId,
        /// AWS's word for how it ended.
        status: String,
        /// AWS's reason.
        reason: Option<String>,
        /// What the probe said that made Pinion roll it back.
        probe: Option<String>,
        /// How what it left behind is brought back to what ran before; `None` where nothing is left.
        back: Option<Rollback>,
    },
    /// Quarantined: a new shape ended badly here. The pin isn't quarantined: it goes on with the shape before.
    ShapeFailed {
        /// Whose shape: a launch-template version's number, or `family:revision`.
        base: String,
        /// AWS's id of the rollout.
        id: RolloutId,
        /// AWS's word for how it ended.
        status: String,
        /// AWS's reason.
        reason: Option<String>,
        /// What the probe said that made Pinion roll it back.
        probe: Option<String>,
        /// How what it left behind is brought back to what ran before; `None` where nothing is left.
        back: Option<Rollback>,
    },
    /// Quarantined: this pin may have been tried, and AWS doesn't say any more how that ended.
    OutcomeUnknown {
        /// What may have been tried.
        what: String,
        /// Why its outcome isn't known.
        why: String,
    },
    /// Blocked, or a warning where all runs well: a new deployment of what the service was on already has failed.
    RepeatFailed {
        /// AWS's id of it.
        id: RolloutId,
        /// AWS's word for how it ended.
        status: String,
        /// AWS's reason.
        reason: Option<String>,
    },
    /// Pending or blocked: drift was healed, so often that somebody must be changing it back.
    Contested {
        /// How many rollouts of this pin there were within a day.
        times: usize,
        /// What the target was changed back to.
        to: String,
        /// Who made that, as far as AWS says.
        by: Option<String>,
        /// When it is healed again; `None` if it isn't.
        until: Option<Timestamp>,
    },
    /// Blocked: one of the probes would never be sent.
    ProbeRefused(String),
    /// Verifying: a probe isn't answered as expected.
    ProbeFailed(String),
    /// Quarantined: a probe wasn't answered as expected, when AWS could take nothing back any more.
    ProbeGaveUp(String),
    /// Quarantined: a probe isn't answered as expected, and since this process began it never was. An earlier one saw the
    /// rollout end.
    ProbeNeverPassed(String),
    /// Verifying: probes are about to be sent.
    Probing,
}

impl Reason {
    /// The policies that forbid the rollout, each by its `@id`.
    pub fn policies(&self) -> impl Iterator<Item = &str> {
        let denials = if let Self::Guardrail(denials) = self { denials.as_slice() } else { &[] };
        denials.iter().map(|denial| denial.policy.as_str())
    }

    /// The same without ids of requests and how far a rollout is: for texts that are to be the same as long as nothing else
    /// changes.
    #[must_use]
    pub fn lasting(&self) -> Self {
        self.without(false)
    }

    /// Whether another reason is the same news. What AWS or a probe says in so many words may differ each time, as may
    /// ids of requests and how far a rollout is.
    #[must_use]
    pub fn is_same_cause(&self, other: &Self) -> bool {
        self.without(true) == other.without(true)
    }

    /// The same without what differs each time that it is found, and without messages where `messages` says so.
    fn without(&self, messages: bool) -> Self {
        let error = |error: &PortError| {
            let message = if messages { String::new() } else { error.message.clone() };
            PortError { request_id: None, message, ..error.clone() }
        };
        let nothing = String::new;
        match self {
            Self::Unreadable(it) => Self::Unreadable(error(it)),
            Self::Denied(it) => Self::Denied(error(it)),
            Self::Refused(it) => Self::Refused(error(it)),
            Self::WriteFailed(it) => Self::WriteFailed(error(it)),
            Self::RollbackNotStarted { quarantined, error: it } => {
                Self::RollbackNotStarted { quarantined: Box::new(quarantined.without(messages)), error: error(it) }
            }
            Self::ForeignRollout { id, .. } => {
                Self::ForeignRollout { id: id.clone(), status: nothing(), failing: None }
            }
            Self::Rollback { to, id, .. } => Self::Rollback { to: to.clone(), id: id.clone(), status: nothing() },
            Self::Progress { .. } => Self::Progress { status: nothing(), percentage: None },
            Self::Overdue { deadline, superseded, .. } => {
                Self::Overdue { deadline: *deadline, status: nothing(), superseded: *superseded }
            }
            Self::RolloutFailed { id, status, reason, probe, back } => Self::RolloutFailed {
                id: id.clone(),
                status: status.clone(),
                reason: reason.clone(),
                probe: probe.clone(),
                back: back.as_ref().map(Rollback::lasting),
            },
            Self::ShapeFailed { base, id, status, reason, probe, back } => Self::ShapeFailed {
                base: base.clone(),
                id: id.clone(),
                status: status.clone(),
                reason: reason.clone(),
                probe: probe.clone(),
                back: back.as_ref().map(Rollback::lasting),
            },
            Self::ProbeFailed(_) if messages => Self::ProbeFailed(nothing()),
            Self::ProbeGaveUp(_) if messages => Self::ProbeGaveUp(nothing()),
            Self::ProbeNeverPassed(_) if messages => Self::ProbeNeverPassed(nothing()),
            other => other.clone(),
        }
    }
}

/// A policy's word that a rollout may not be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denial {
    /// The policy's `@id`; one that begins with `pinion:` is Pinion's own.
    pub policy: String,
    /// The policy's `@reason`, with its `@owner` if it names one.
    pub reason: String,
}

impl Denial {
    /// The set of policies is invalid, so that nothing may be rolled out.
    pub const INVALID: &'static str = "pinion:invalid-policies";
    /// Not all environments have been looked at since the start, so that nobody can count.
    pub const STARTING: &'static str = "pinion:starting";

    /// Whether it vanishes by itself within moments.
    #[must_use]
    pub fn is_brief(&self) -> bool {
        self.policy == Self::STARTING
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.policy, self.reason)
    }
}

/// A rollout whose tasks fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// How many have failed so far.
    pub tasks: u32,
    /// What ends it.
    pub end: String,
}

/// How the rest of a failed rollout is brought back to what ran before. `to` is a launch-template version's number, or
/// `family:revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rollback {
    /// It is about to be.
    Due {
        /// Where to.
        to: String,
    },
    /// It is under way.
    Running {
        /// Where to.
        to: String,
        /// AWS's word for how far it is.
        status: String,
    },
    /// It ended badly, too. It isn't tried a second time.
    Failed {
        /// Where to.
        to: String,
        /// AWS's word for how it ended.
        status: String,
    },
    /// A guardrail forbids it.
    Forbidden {
        /// Where to.
        to: String,
        /// Which, and why.
        by: String,
    },
}

impl Rollback {
    /// The same without how far it is.
    fn lasting(&self) -> Self {
        match self {
            Self::Running { to, .. } => Self::Running { to: to.clone(), status: String::new() },
            other => other.clone(),
        }
    }
}

impl fmt::Display for Rollback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Due { to } => write!(f, "what it left is brought back to {to}"),
            Self::Running { to, status } => write!(f, "what it left is on its way back to {to}{}", bracketed(status)),
            Self::Failed { to, status } => {
                write!(f, "versions are mixed, as the way back to {to} ended as {status}")
            }
            Self::Forbidden { to, by } => write!(f, "versions are mixed, as the way back to {to} is forbidden by {by}"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suspended { owner, reason, until, reach } => {
                let (with, place) = match reach {
                    Reach::Target => ("", ""),
                    Reach::Environment => (" with its whole environment", " ([suspend] in environment.toml)"),
                    Reach::All => (" with all environments", " ([suspend] in environments/defaults.toml)"),
                };
                write!(f, "suspended{with} by {owner} until {until}: {reason}{place}")
            }
            Self::Unreadable(error) => write!(f, "can't be read now: {error}"),
            Self::Unread => f.write_str("can't be read now: it wasn't read in this pass"),
            Self::WrongAccount { caller, expected } => write!(
                f,
                "the credentials belong to account {caller}, the environment to {expected}; \
                 correct `account.role` or `account.id` in environment.toml"
            ),
            Self::Denied(error) | Self::Refused(error) => error.fmt(f),
            Self::WriteFailed(error) => write!(f, "{error}; will be tried again"),
            Self::RollbackNotStarted { quarantined, error } => write!(f, "{quarantined}; going back: {error}"),
            Self::Missing(what) => {
                write!(f, "there is no {what}; create it, or correct its name in environment.toml")
            }
            Self::NoArtifact(error) => f.write_str(error),
            Self::UnsupportedShape(what) => f.write_str(what),
            Self::Claimed(refusal) => fmt::Display::fmt(refusal, f),
            Self::After { target, state } => write!(f, "waits for {target}, which is {state}"),
            Self::ForeignRollout { id, status, failing } => {
                write!(f, "waits for a rollout that Pinion didn't start: {}{}", id.short(), bracketed(status))?;
                if let Some(Failing { tasks, end }) = failing {
                    write!(
                        f,
                        "; {} failed so far, and nothing ends it by itself: {end}",
                        words::count(*tasks, "task")
                    )?;
                }
                Ok(())
            }
            Self::Rollback { to, id, status } => {
                let (id, status) = (id.short(), bracketed(status));
                write!(f, "waits until what an earlier rollout left is back on {to}: {id}{status}")
            }
            Self::ChangeLimit(held) => f.write_str(held),
            Self::TagMoved { image, running, now } => write!(
                f,
                "what runs is {running}, but the tag of {image} is on {now} by now: the tag was moved; pin the digest \
                 that you want, or give the new image a tag of its own"
            ),
            Self::AmiRebuilt { name, running, now } => {
                let what = name.as_ref().map(|name| format!(" for {name}")).unwrap_or_default();
                write!(
                    f,
                    "this pin was rolled out with {running}, but what is found{what} by now is {now}: the image was built \
                     again; pin a version of its own for it"
                )
            }
            Self::Alarm(alarms) => {
                let alarm = |(name, state): &(String, String)| match state.as_str() {
                    "" => format!("alarm {name}, whose state AWS doesn't say"),
                    state => format!("alarm {name}, which is in {state}"),
                };
                let alarms = alarms.iter().map(alarm).collect::<Vec<_>>().join("; ");
                write!(f, "waits for {alarms}: AWS starts no refresh until it is OK")
            }
            Self::Promotion { from, version, standing } => {
                write!(f, "held by [promotion]: {}", standing.of(version, from))
            }
            Self::Guardrail(denials) => write!(f, "forbidden by {}", listed(denials)),
            Self::Preparing => f.write_str("getting ready"),
            Self::Progress { status, percentage: Some(percentage) } => write!(f, "{status}, {percentage} %"),
            Self::Progress { status, percentage: None } => f.write_str(status),
            Self::Superseded { id } => write!(f, "the pin has moved on; stopping {}", id.short()),
            Self::RollingBack { reason: Some(reason) } => {
                write!(f, "the rollout failed and is rolled back: {}", reason.trim_end_matches('.'))
            }
            Self::RollingBack { reason: None } => f.write_str("the rollout failed and is rolled back"),
            Self::Overdue { deadline, status, superseded: false } => {
                let (status, deadline) = (or_running(status), span(*deadline));
                write!(f, "still {status} after the deadline of {deadline}; it is left running")
            }
            Self::Overdue { deadline, status, superseded: true } => {
                let (status, deadline) = (or_running(status), span(*deadline));
                write!(f, "the pin has moved on, but its rollout is still {status} after the deadline of {deadline}")
            }
            Self::RolloutFailed { id, status, reason, probe, back } => {
                f.write_str("the rollout ")?;
                ending(f, id, status, [reason.as_deref(), probe.as_deref()], back.as_ref())?;
                f.write_str("pin another version, or retry with `pinion resync --retry-quarantined`")
            }
            Self::ShapeFailed { base, id, status, reason, probe, back } => {
                write!(f, "the rollout of the newer shape of {base} ")?;
                ending(f, id, status, [reason.as_deref(), probe.as_deref()], back.as_ref())?;
                f.write_str(
                    "the pin isn't quarantined and goes on with the shape before: register a corrected revision, or retry with \
                     `pinion resync --retry-quarantined`",
                )
            }
            Self::OutcomeUnknown { what, why } => write!(
                f,
                "the outcome isn't known any more: {what} may have failed, and {why}; pin another version, or retry with \
                 `pinion resync --retry-quarantined`"
            ),
            Self::RepeatFailed { id, status, reason } => {
                write!(f, "a new deployment of what runs already ended as {status}")?;
                if let Some(reason) = reason {
                    write!(f, ": {}", reason.trim_end_matches('.'))?;
                }
                write!(
                    f,
                    " ({}); the version ran well before, so look for what has changed around it, then deploy it again with \
                     `aws ecs update-service --force-new-deployment`",
                    id.short()
                )
            }
            Self::Contested { times, to, by, until } => {
                write!(f, "rolled out {times} times within a day, and changed back to {to} each time")?;
                if let Some(by) = by {
                    write!(f, " (made by {by})")?;
                }
                match until {
                    Some(until) => write!(f, "; it is rolled out again at {until}"),
                    None => f.write_str("; it isn't rolled out again"),
                }?;
                f.write_str(": end what changes it, then ask for a retry with `pinion resync --retry-quarantined`")
            }
            Self::ProbeRefused(why) => {
                write!(f, "{why}; else correct `http`: nothing is rolled out whose probes can't be sent")
            }
            Self::ProbeFailed(failure) => write!(f, "the probe fails: {failure}"),
            Self::ProbeGaveUp(failure) => write!(
                f,
                "the probe fails: {failure}; the rollout itself is over, so that only another pin takes it back: pin \
                 another version, or probe again with `pinion resync --retry-quarantined`"
            ),
            Self::ProbeNeverPassed(failure) => write!(
                f,
                "the probe fails: {failure}; it hasn't passed since Pinion was started, and is sent until it does: pin \
                 another version, or fix what it needs"
            ),
            Self::Probing => f.write_str("probes are sent"),
        }
    }
}

/// How a rollout ended that failed, and what becomes of what it has left. The two texts: AWS's reason, and what the probe said.
fn ending(
    f: &mut fmt::Formatter<'_>,
    id: &RolloutId,
    status: &str,
    [reason, probe]: [Option<&str>; 2],
    back: Option<&Rollback>,
) -> fmt::Result {
    write!(f, "ended as {status}")?;
    if let Some(reason) = reason {
        write!(f, ": {}", reason.trim_end_matches('.'))?;
    }
    write!(f, " ({}); ", id.short())?;
    if let Some(probe) = probe {
        write!(f, "the probe failed: {probe}; ")?;
    }
    match back {
        Some(back) => write!(f, "{back}; "),
        None => Ok(()),
    }
}

/// A status behind a text; nothing if it is left out.
fn bracketed(status: &str) -> String {
    if status.is_empty() { String::new() } else { format!(" ({status})") }
}

/// A status within a text, also where it is left out.
fn or_running(status: &str) -> &str {
    if status.is_empty() { "running" } else { status }
}

fn span(seconds: u64) -> String {
    words::span(Duration::from_secs(seconds))
}

/// Denials, one after the other.
#[must_use]
pub fn listed(denials: &[Denial]) -> String {
    denials.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ErrorClass;

    fn denied(message: &str, request: &str) -> Reason {
        Reason::Denied(PortError {
            class: ErrorClass::Denied,
            service: "ec2",
            operation: "DescribeImages",
            code: "UnauthorizedOperation".to_owned(),
            message: message.to_owned(),
            request_id: Some(request.to_owned()),
            throttled: false,
        })
    }

    #[test]
    fn what_differs_each_time_makes_no_other_cause() {
        let overdue = |status: &str| Reason::Overdue { deadline: 60, status: status.to_owned(), superseded: false };
        let probe = |why: &str| Reason::ProbeNeverPassed(why.to_owned());
        let failed = |status: &str| Reason::RolloutFailed {
            id: RolloutId("r1".to_owned()),
            status: "Failed".to_owned(),
            reason: None,
            probe: None,
            back: Some(Rollback::Running { to: "1".to_owned(), status: status.to_owned() }),
        };
        for (one, other) in [
            (denied("encoded: 8f3a", "r-1"), denied("encoded: 9e21", "r-2")),
            (overdue("InProgress"), overdue("Baking")),
            (probe("answered 502, not 200"), probe("answered 503, not 200")),
            (failed("Pending"), failed("InProgress")),
        ] {
            assert!(one.is_same_cause(&other), "{one} and {other}");
        }
        let change_limit = |held: &str| Reason::ChangeLimit(held.to_owned());
        for (one, other) in [
            (change_limit("a"), change_limit("b")),
            (denied("x", "r"), overdue("x")),
            (Reason::Unread, change_limit("a")),
        ] {
            assert!(!one.is_same_cause(&other), "{one} and {other}");
        }
    }

    #[test]
    fn a_text_that_lasts_has_no_id_of_a_request_and_no_progress() {
        let texts = [
            denied("not you", "r-1"),
            Reason::Overdue { deadline: 60, status: "InProgress".to_owned(), superseded: false },
        ]
        .map(|reason| reason.lasting().to_string());
        assert_eq!(
            texts,
            [
                "ec2:DescribeImages failed: UnauthorizedOperation: not you",
                "still running after the deadline of 1m; it is left running"
            ]
        );
    }
}
