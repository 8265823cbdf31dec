//! `pinion.toml`, key by key.

use schemars::{Schema, json_schema};

use super::LogFormat;
use super::notifications::{RawForge, RawHooks, RawNotify};
use crate::manifest::Findings;
use crate::manifest::shape::{At, Number, Shape, Span, Text, table};
use crate::manifest::tree::{Node, Value};
use crate::model::{CommitId, EnvironmentName, Installation};

/// The longest interval: a day.
pub(super) const DAY: u64 = 24 * 3600;

table! {
    /// The configuration of the controller.
    RawConfig {
        /// The repositories to follow, and the branch of each. Two branches of one repository are two of these.
        repository: Vec<At<RawRepository>>,
        /// What this installation is called in the markers that it leaves in AWS. Installations that may reach the same
        /// accounts need different names. Default: "pinion".
        installation: Installation,
        /// How often to reconcile, and how much at a time.
        reconcile: RawReconcile,
        /// What one commit may not do unless a trailer acknowledges it.
        change_limits: RawChangeLimits,
        /// The HTTP server: status page, API, metrics, health.
        server: RawServer,
        /// Push events of the forge, at POST /hooks/git: a hint to poll now. Without this table they are refused.
        hooks: RawHooks,
        /// Who is notified of events, each over HTTP.
        notify: Vec<At<RawNotify>>,
        /// What probes ([[NAME.verify]] of a target) may ask.
        probes: RawProbes,
        /// How to reach AWS.
        aws: RawAws,
        /// How much of what has happened to keep.
        history: RawHistory,
        /// How to log.
        log: RawLog,
        /// The folder of the mirrors and of the history, which may be deleted at any time. Default: `pinion` in the user's
        /// cache folder.
        cache_dir: Text,
        /// How long what is in flight may take to finish after SIGTERM or SIGINT. Default: "30s".
        grace_period: Span<1, 3600>,
    }
    required [repository]
}

table! {
    /// One branch of one repository.
    RawRepository {
        /// Its URL: https, http, ssh, user@host:path, file, or a path. Without password or token.
        url: Text,
        /// Its branch. Default: "main".
        branch: Text,
        /// How often to poll it. Default: "30s".
        interval: Span<1, DAY>,
        /// The environments that it feeds. Default: all that it has.
        environments: Vec<At<EnvironmentName>>,
        /// How to get in: exactly one of these. Default: as anybody, or as the system's ssh is set up.
        auth: RawAuth,
        /// Whose commits count: at least one of `allowed_signers` and `keyring`. Default: everybody's who can push.
        verify: RawVerify,
        /// The forge where commits get statuses. Default: none.
        forge: RawForge,
        /// How long making a connection may take. Default: "10s".
        connect_timeout: Span<1, 600>,
        /// How long the server may send nothing. Default: "30s".
        stall_timeout: Span<1, 600>,
        /// How long a poll may take in all, a first clone as well. Default: "10m".
        poll_timeout: Span<1, DAY>,
    }
    required [url]
}

table! {
    /// Whose commits count: every commit has to be signed by one of these. At least one of `allowed_signers` and `keyring`.
    RawVerify {
        /// A file with those who sign with SSH keys, as ssh-keygen(1) has it under ALLOWED SIGNERS.
        allowed_signers: Text,
        /// A file with the OpenPGP certificates of those who sign with them, armored or binary.
        keyring: Text,
        /// "verify" if merges are signed like all other commits (the default), "forge" if `forge_keys` may sign them, too.
        merges: Merges,
        /// A file with the keys, SSH or OpenPGP, with which a forge signs the merges that it makes in other people's names.
        forge_keys: Text,
        /// The commit, all 40 digits of it, that is trusted unsigned with all that came before it.
        since: CommitId,
    }
    refused {
        "revoked_keys" => "take a revoked key's line out of `allowed_signers`; an OpenPGP key says itself that it is revoked",
        "key" => "name the file with `allowed_signers` (SSH) or `keyring` (OpenPGP)",
    }
}

/// How merges are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merges {
    Verify,
    Forge,
}

table! {
    /// How to get in: exactly one of these.
    RawAuth {
        /// A file that holds a token, read at each poll.
        token_file: Text,
        /// An environment variable that holds a token.
        token_env: Text,
        /// A file that holds an SSH private key without passphrase.
        ssh_key_file: Text,
    }
    refused {
        "github_app" => "this version of Pinion doesn't know GitHub App credentials yet; use a token",
        "app_id" => "this version of Pinion doesn't know GitHub App credentials yet; use a token",
        "installation_id" => "this version of Pinion doesn't know GitHub App credentials yet; use a token",
        "private_key_file" => "this version of Pinion doesn't know GitHub App credentials yet; an SSH key is `ssh_key_file`",
        "token" => "a token doesn't belong in this file; name a file (`token_file`) or a variable (`token_env`)",
        "password" => "a secret doesn't belong in this file; name a file (`token_file`) or a variable (`token_env`)",
    }
}

table! {
    /// How often to reconcile, and how much at a time.
    RawReconcile {
        /// Between two passes of an environment at rest. Default: "60s".
        interval: Span<1, DAY>,
        /// Between two passes of an environment in which a rollout runs. Default: "5s".
        in_flight_interval: Span<1, DAY>,
        /// How often to look for a newer revision to take a target's shape from, where `base_revision` is "newest". A resync
        /// and a new pin look at once. Default: "5m".
        base_interval: Span<1, DAY>,
        /// How many environments have a pass at the same time. Default: 16.
        concurrency: Number<1, 1024>,
    }
}

table! {
    /// What one commit may not do unless a trailer acknowledges it.
    RawChangeLimits {
        /// The share in per cent of prod's pins that one commit may move, and of the targets of an environment of prod that may get a new shape at once; 100 holds none. Prod is what has [promotion]. Default: 50.
        max_percent: Number<0, 100>,
        /// So many pins of prod may be moved at once, and so many targets of an environment may get a new shape, whatever share that is. Default: 4.
        always_allowed: Number<0, 1000>,
        /// What happens when a commit removes environments: "hold" or "allow". Default: "hold".
        removals: Removal,
    }
}

table! {
    /// The HTTP server.
    RawServer {
        /// The address and port. Default: "127.0.0.1:9780". Port 0 takes any that is free.
        listen: Text,
        /// A file that holds the bearer token for requests that change anything, read at the start. Without a token none may.
        token_file: Text,
        /// An environment variable that holds the token.
        token_env: Text,
    }
    refused {
        "token" => "a token doesn't belong in this file; name a file (`token_file`) or a variable (`token_env`)",
    }
}

table! {
    /// What probes ([[NAME.verify]] of a target) may ask.
    RawProbes {
        /// Hosts, as a probe's URL has them, that may be asked although their addresses are link-local or of AWS's metadata services.
        /// Default: none.
        allow: Vec<At<Text>>,
    }
}

table! {
    /// How to reach AWS.
    RawAws {
        /// An endpoint for all services, such as a simulator's. Default: AWS's own, or AWS_ENDPOINT_URL.
        endpoint_url: Text,
    }
}

table! {
    /// How much of what has happened to keep, for the status page and `pinion history`.
    RawHistory {
        /// For how long. Default: "9600h", which is 400 days.
        keep: Span<3600, { 3660 * DAY }>,
        /// How many events at most, of about half a kilobyte each. Default: 20000.
        events: Events,
    }
}

table! {
    /// How to log.
    RawLog {
        /// "human" or "json". Default: human on a terminal, JSON otherwise.
        format: LogFormat,
        /// What to log, such as "info" or "pinion=debug,warn".
        filter: Text,
    }
}

/// How many events to keep.
#[derive(Debug, Clone, Copy)]
pub(super) struct Events(pub(super) u64);

impl Events {
    const BOUNDS: std::ops::RangeInclusive<i64> = 100..=1_000_000;
}

impl Shape for Events {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        let Value::Integer(integer) = node.value else {
            let message = format!("expected an integer, found {}", node.value.kind());
            findings.report(&node.place, "wrong-type", message);
            return None;
        };
        let (least, most) = Self::BOUNDS.into_inner();
        let number = u64::try_from(integer).ok().filter(|_| Self::BOUNDS.contains(&integer));
        if number.is_none() {
            findings.report(&node.place, "out-of-range", format!("this must be from {least} to {most}"));
        }
        number.map(Self)
    }

    fn schema() -> Schema {
        let (least, most) = Self::BOUNDS.into_inner();
        json_schema!({ "type": "integer", "minimum": least, "maximum": most })
    }
}

impl Shape for Merges {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        let Text(text) = Text::read(node, findings)?;
        match text.as_str() {
            "verify" => Some(Self::Verify),
            "forge" => Some(Self::Forge),
            _ => {
                let message = format!("`{text}` is not a way to check merges");
                findings.report_with_help(&node.place, "invalid-value", message, "write \"verify\" or \"forge\"");
                None
            }
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": ["verify", "forge"] })
    }
}

/// What happens when a commit removes environments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    Hold,
    Allow,
}

impl Shape for Removal {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        let Text(text) = Text::read(node, findings)?;
        match text.as_str() {
            "hold" => Some(Self::Hold),
            "allow" => Some(Self::Allow),
            _ => {
                let message = format!("`{text}` is neither \"hold\" nor \"allow\"");
                findings.report(&node.place, "invalid-value", message);
                None
            }
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": ["hold", "allow"] })
    }
}

impl Shape for LogFormat {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        let Text(text) = Text::read(node, findings)?;
        let format = Self::ALL.into_iter().find(|format| format.as_str() == text);
        if format.is_none() {
            findings.report_with_help(
                &node.place,
                "invalid-value",
                format!("`{text}` is not a log format"),
                "write \"human\" or \"json\"",
            );
        }
        format
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": Self::ALL.map(Self::as_str) })
    }
}
