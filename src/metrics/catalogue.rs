//! Every metric of Pinion's own, in one table. `docs/metrics.md` is held to it by a test.

/// What a metric is, in Prometheus' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only ever grows while the process lives.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// Observations in buckets.
    Histogram,
}

impl MetricKind {
    /// The word for it in the text format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric: its name, kind, labels and meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definition {
    /// The full name, `pinion_…`.
    pub name: &'static str,
    /// The kind.
    pub kind: MetricKind,
    /// The names of its labels, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// What it means, in one sentence without a full stop.
    pub help: &'static str,
}

/// The labels of what is measured of one target.
const TARGET: &[&str] = &["environment", "target", "kind", "component"];

macro_rules! catalogue {
    ($($name:ident, $kind:ident, $full:literal, $labels:expr, $help:literal;)*) => {
        $(pub(super) const $name: Definition =
            Definition { name: $full, kind: MetricKind::$kind, labels: $labels, help: $help };)*

        /// All metrics of Pinion's own, by name. The `process_*` ones come on top.
        pub const CATALOGUE: &[Definition] = &[$($name),*];
    };
}

catalogue! {
    ASSUME_ROLE_FAILURES, Counter, "pinion_assume_role_failures_total", &["environment"],
        "Calls of sts:AssumeRole that failed";
    AWS_REQUEST_DURATION, Histogram, "pinion_aws_request_duration_seconds", &["service", "operation"],
        "How long calls to AWS took";
    AWS_REQUESTS, Counter, "pinion_aws_requests_total", &["environment", "service", "operation", "result"],
        "Calls to AWS: ok, retry, denied, conflict or invalid";
    AWS_THROTTLES, Counter, "pinion_aws_throttles_total", &["environment", "service"],
        "Calls that AWS answered by asking for fewer";
    BRAKE_HELD, Gauge, "pinion_change_limit_held", &["environment"],
        "1 while a change limit holds something of the environment until a commit acknowledges it";
    BUILD_INFO, Gauge, "pinion_build_info", &["version"],
        "Always 1, labelled with Pinion's version";
    CONVERGENCE, Histogram, "pinion_convergence_seconds", &["environment", "component"],
        "From seeing a pin's commit on the branch to the target being in sync";
    ENVIRONMENT_VALID, Gauge, "pinion_environment_valid", &["environment"],
        "1 if the environment's files at the branch's tip are good, 0 if its last good desired state is kept";
    GIT_LAST_SUCCESS, Gauge, "pinion_git_last_success_timestamp_seconds", &["repository", "branch"],
        "When the branch was last polled with success; 0 if it never was";
    GIT_POLL_DURATION, Histogram, "pinion_git_poll_duration_seconds", &[],
        "How long polls of Git took, with the fetch where there was news";
    GIT_POLLS, Counter, "pinion_git_polls_total", &["repository", "result"],
        "Polls of Git: unchanged, changed or failed";
    GIT_REFUSED_COMMITS, Gauge, "pinion_git_refused_commits", &["repository", "branch"],
        "Commits on the branch that are refused for their signatures; only where signatures are checked";
    GIT_REVISION_INFO, Gauge, "pinion_git_revision_info", &["repository", "branch", "revision"],
        "Always 1, labelled with the commit at the branch's tip";
    GIT_SIGNATURES_VALID, Gauge, "pinion_git_signatures_valid", &["repository", "branch"],
        "1 if all commits of the branch are signed by those who may, 0 if its tip doesn't count; only where signatures are checked";
    GUARDRAIL_DENIALS, Counter, "pinion_guardrail_denials_total", &["environment", "target", "kind", "component", "policy"],
        "Rollouts that a guardrail began to forbid, by the policy's @id";
    GUARDRAIL_ENDS, Gauge, "pinion_guardrail_ends_timestamp_seconds", &["repository", "branch", "policy"],
        "When a guardrail ends by itself or has ended, by the policy's @id; absent for those that have no end";
    GUARDRAILS_VALID, Gauge, "pinion_guardrails_valid", &["repository", "branch"],
        "1 if the policies at the branch's tip are good, 0 if they aren't and nothing is rolled out from it";
    HISTORY_DROPPED, Counter, "pinion_history_dropped_total", &[],
        "Events that are missing in the history because they came quicker than they could be written";
    HOOKS, Counter, "pinion_hooks_total", &["result"],
        "Push events at /hooks/git: polled, ignored, denied, invalid or limited";
    NOTIFICATIONS_QUEUED, Gauge, "pinion_notifications_queued", &["destination"],
        "Commit statuses and notifications that wait to be sent";
    NOTIFICATIONS, Counter, "pinion_notifications_total", &["destination", "result"],
        "Commit statuses and notifications: sent, retried, failed or dropped";
    QUARANTINED, Gauge, "pinion_quarantined", TARGET,
        "1 while the target's pin is quarantined because its rollout failed";
    RECONCILE_DURATION, Histogram, "pinion_reconcile_duration_seconds", &["environment"],
        "How long passes over an environment took";
    RECONCILE_LAST_SUCCESS, Gauge, "pinion_reconcile_last_success_timestamp_seconds", &["environment"],
        "When a pass over the environment last succeeded";
    RECONCILE, Counter, "pinion_reconcile_total", &["environment", "result"],
        "Passes over an environment: ok or failed";
    RESYNC_COMPLETED, Gauge, "pinion_resync_completed", &[],
        "The number of the last resync that all environments have completed";
    RESYNC_REQUESTED, Gauge, "pinion_resync_requested", &[],
        "The number of the last resync that was asked for";
    ROLLOUT_AGE, Gauge, "pinion_rollout_age_seconds", TARGET,
        "How long the target's rollout has been running; absent while none runs";
    ROLLOUT_DURATION, Histogram, "pinion_rollout_duration_seconds", &["environment", "kind", "component", "result"],
        "How long rollouts took until they ended: succeeded, failed or cancelled";
    ROLLOUTS, Counter, "pinion_rollouts_total", &["environment", "target", "kind", "component", "result"],
        "Rollouts that ended: succeeded, failed or cancelled";
    TARGET_DRIFTED, Gauge, "pinion_target_drifted", TARGET,
        "1 while what is observed differs from what is desired though no pin changed";
    TARGET_OUT_OF_SYNC, Gauge, "pinion_target_out_of_sync_seconds", TARGET,
        "For how long the target hasn't been in sync; 0 while it is";
    TARGET_PIN_INFO, Gauge, "pinion_target_pin_info",
        &["environment", "target", "kind", "component", "desired", "running", "commit"],
        "Always 1, labelled with the pinned version, what runs, and the commit that set the pin";
    TARGET_STATE, Gauge, "pinion_target_state", &["environment", "target", "kind", "component", "state"],
        "1 for the state that the target is in, 0 for all others";
    TARGET_SUSPENDED_UNTIL, Gauge, "pinion_target_suspended_until_timestamp_seconds", TARGET,
        "When the target's suspension, its own or that of its environment or of all, ends or has ended; absent where there is none";
}
