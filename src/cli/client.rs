//! Talks to a running controller.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, RequestBuilder, Response, Url};
use serde::Deserialize;

use super::error::CliError;
use crate::history::Query;
use crate::model::cause::deepest;
use crate::model::escape::one_line;
use crate::model::event::{Deliveries, EventPage};
use crate::model::status::Status;

/// Where a controller listens by default.
pub const DEFAULT_ADDRESS: &str = "http://127.0.0.1:9780";

/// Which controller to talk to.
#[derive(Debug, Clone, clap::Args)]
pub struct Address {
    /// The running controller
    #[arg(long, value_name = "URL", env = "PINION_ADDRESS", default_value = DEFAULT_ADDRESS, value_parser = address)]
    address: Url,
}

/// A controller that is talked to.
#[derive(Debug)]
pub(super) struct Controller {
    client: Client,
    address: Url,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Requested {
    number: u64,
}

impl Controller {
    pub(super) fn new(address: Address) -> Result<Self, CliError> {
        let address = address.address;
        let mut builder = Client::builder().connect_timeout(Duration::from_secs(5)).timeout(Duration::from_secs(30));
        if is_loopback(&address) {
            // A proxy can't reach this machine's loopback.
            builder = builder.no_proxy();
        }
        Ok(Self { client: builder.build()?, address })
    }

    /// What the controller says about itself, as it says it.
    pub(super) async fn status_json(&self) -> Result<serde_json::Value, CliError> {
        let response = self.send(self.client.get(self.url("api/v1/status"))).await?;
        response.json().await.map_err(|error| self.strange(&error))
    }

    /// What the controller says about itself.
    pub(super) async fn status(&self) -> Result<Status, CliError> {
        self.read_status(self.status_json().await?)
    }

    /// A status that was read as JSON.
    pub(super) fn read_status(&self, json: serde_json::Value) -> Result<Status, CliError> {
        serde_json::from_value(json).map_err(|error| self.strange(&error))
    }

    /// Events, newest first.
    pub(super) async fn history(&self, query: &Query) -> Result<EventPage, CliError> {
        let mut url = self.url("api/v1/history");
        let kinds: Vec<&str> = query.kinds.iter().map(|kind| kind.as_str()).collect();
        let (target, environment) = match &query.scope {
            Some(scope) if scope.contains('/') => (Some(scope.clone()), None),
            scope => (None, scope.clone()),
        };
        for (name, value) in [
            ("target", target),
            ("environment", environment),
            ("component", query.component.clone()),
            ("kind", Some(kinds.join(",")).filter(|kinds| !kinds.is_empty())),
            ("since", query.since.map(|since| since.to_string())),
            ("before", query.before.map(|before| before.to_string())),
            ("limit", Some(query.limit.to_string())),
        ] {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, &value);
            }
        }
        self.read(url).await
    }

    /// The DORA figures since a time.
    pub(super) async fn dora(&self, environment: Option<&str>, since: Timestamp) -> Result<Deliveries, CliError> {
        let mut url = self.url("api/v1/dora");
        url.query_pairs_mut().append_pair("since", &since.to_string());
        if let Some(environment) = environment {
            url.query_pairs_mut().append_pair("environment", environment);
        }
        self.read(url).await
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, url: Url) -> Result<T, CliError> {
        let response = self.send(self.client.get(url)).await?;
        response.json().await.map_err(|error| self.strange(&error))
    }

    /// Asks for a resync; returns its number.
    pub(super) async fn resync(&self, retry_quarantined: bool, token: &str) -> Result<u64, CliError> {
        let mut url = self.url("api/v1/resync");
        url.query_pairs_mut().append_pair("retry_quarantined", if retry_quarantined { "true" } else { "false" });
        let response = self.send(self.client.post(url).bearer_auth(token)).await?;
        let requested: Requested = response.json().await.map_err(|error| self.strange(&error))?;
        Ok(requested.number)
    }

    /// The address with a path behind its own, so that a controller behind a prefix can be reached.
    fn url(&self, path: &str) -> Url {
        let mut url = self.address.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{path}"));
        url
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let response = request.send().await.map_err(|error| {
            // The library's own words before the last only say that it tried.
            CliError::from_error(deepest(&error))
                .context(format!("can't reach the controller at {}", self.shown()))
                .hint("start one with `pinion run`, or say where it listens with --address or PINION_ADDRESS")
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        match response.json::<Refusal>().await.ok().and_then(|refusal| refusal.error) {
            Some(reason) => Err(CliError::failed(format!(
                "the controller at {} answered {status}: {}",
                self.shown(),
                one_line(&reason)
            ))),
            None => Err(CliError::failed(format!("what listens at {} answered {status}", self.shown()))
                .hint("check that --address or PINION_ADDRESS is a controller's")),
        }
    }

    /// The address without the user and password that it may hold for a proxy before the controller.
    fn shown(&self) -> String {
        let mut shown = self.address.clone();
        // Addresses with a host, as this is, can have and lose both.
        let _ = (shown.set_username(""), shown.set_password(None));
        shown.as_str().trim_end_matches('/').to_owned()
    }

    fn strange(&self, error: &(dyn std::error::Error + 'static)) -> CliError {
        CliError::from_error(error)
            .context(format!("what answers at {} isn't a controller, or not of this version", self.shown()))
            .hint("check --address or PINION_ADDRESS, and that both sides have the same version")
    }
}

fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| format!("this is not the address of a controller; write it like {DEFAULT_ADDRESS}"))
}

fn is_loopback(address: &Url) -> bool {
    let host = address.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
