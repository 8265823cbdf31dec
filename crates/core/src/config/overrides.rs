//! What flags and environment variables say instead of the file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::fmt::friendly::SpanParser;

use super::raw::DAY;
use crate::model::words;

/// What flags, or else environment variables, say instead of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Overrides {
    /// Where to listen (server.listen)
    #[arg(long, value_name = "ADDRESS", env = "PINION_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// The file with the bearer token for requests that change anything (server.token_file)
    #[arg(long, value_name = "FILE", env = "PINION_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Between two passes of an environment at rest (reconcile.interval)
    #[arg(long, value_name = "DURATION", env = "PINION_INTERVAL", value_parser = duration::<DAY>)]
    pub interval: Option<Duration>,
    /// Between two passes while a rollout runs (reconcile.in_flight_interval)
    #[arg(long, value_name = "DURATION", env = "PINION_IN_FLIGHT_INTERVAL", value_parser = duration::<DAY>)]
    pub in_flight_interval: Option<Duration>,
    /// Environments that have a pass at the same time (reconcile.concurrency)
    #[arg(long, value_name = "N", env = "PINION_CONCURRENCY", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: Option<u16>,
    /// The folder of the mirrors and of the history (cache_dir)
    #[arg(long, value_name = "DIR", env = "PINION_CACHE_DIR")]
    pub cache_dir: Option<PathBuf>,
    /// An endpoint for all AWS services (aws.endpoint_url)
    #[arg(long, value_name = "URL", env = "PINION_AWS_ENDPOINT_URL", value_parser = endpoint)]
    pub aws_endpoint_url: Option<String>,
    /// What log lines look like (log.format)
    #[arg(long, value_enum, value_name = "FORMAT", env = "PINION_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What to log (log.filter), such as `info` or `pinion=debug,warn`
    #[arg(long = "log", value_name = "FILTER", env = "PINION_LOG")]
    pub log_filter: Option<String>,
    /// How long what is in flight may take after SIGTERM (grace_period)
    #[arg(long, value_name = "DURATION", env = "PINION_GRACE_PERIOD", value_parser = duration::<3600>)]
    pub grace_period: Option<Duration>,
}

/// What log lines look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// For programs: one JSON object a line.
    Json,
}

impl LogFormat {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Human, Self::Json];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Json => "json",
        }
    }
}

/// A duration with units, from a second to as many as the file takes.
fn duration<const MOST: u64>(text: &str) -> Result<Duration, String> {
    let parsed = SpanParser::new().parse_unsigned_duration(text).ok();
    let bounds = Duration::from_secs(1)..=Duration::from_secs(MOST);
    parsed.filter(|duration| !text.contains(':') && bounds.contains(duration)).ok_or_else(|| {
        let most = words::span(Duration::from_secs(MOST));
        format!("write a duration from 1s to {most}, with units, such as `90s` or `5m`")
    })
}

/// The URL of an endpoint.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let url = url::Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.map(|_| text.to_owned()).ok_or_else(|| format!("`{text}` is not an http or https URL"))
}
