//! Probes over HTTP.

mod addresses;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::Resolve;
use url::Url;

use self::addresses::{Resolver, System, refused};
use crate::model::cause::deepest;
use crate::model::{Probe, address_in};
use crate::ports::Prober;

/// Sends probes with a client of its own: no redirects, no proxies' credentials, no cookies. What is link-local, such as the
/// services that give out credentials, isn't asked.
#[derive(Debug, Clone)]
pub struct HttpProber {
    client: reqwest::Client,
    allowed: Arc<BTreeSet<String>>,
}

impl HttpProber {
    /// A prober. The hosts in `allowed` are asked whatever their addresses are.
    ///
    /// # Errors
    /// If the TLS backend can't be set up.
    pub fn new(allowed: BTreeSet<String>) -> Result<Self, reqwest::Error> {
        Self::resolving(Arc::new(System), allowed)
    }

    fn resolving(names: Arc<dyn Resolve>, allowed: BTreeSet<String>) -> Result<Self, reqwest::Error> {
        let allowed = Arc::new(allowed);
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("pinion/", env!("CARGO_PKG_VERSION")))
            .pool_max_idle_per_host(0)
            .dns_resolver(Arc::new(Resolver { names, allowed: Arc::clone(&allowed) }))
            .build()?;
        Ok(Self { client, allowed })
    }

    /// Refuses an address in the URL itself, however it is written. A name is looked at when it is resolved.
    fn look_at(&self, http: &str) -> Result<(), String> {
        let Ok(url) = Url::parse(http) else { return Ok(()) };
        let Some(address) = address_in(&url) else { return Ok(()) };
        let allowed = url.host_str().is_some_and(|host| self.allowed.contains(host));
        if allowed { Ok(()) } else { refused(address).map_or(Ok(()), |refusal| Err(refusal.to_string())) }
    }
}

#[async_trait]
impl Prober for HttpProber {
    async fn probe(&self, probe: &Probe) -> Result<(), String> {
        if let Some(refusal) = self.refuses(probe) {
            return Err(refusal);
        }
        let answer = self.client.get(&probe.http).timeout(probe.timeout).send().await;
        match answer {
            Ok(response) if response.status().as_u16() == probe.status => Ok(()),
            Ok(response) => {
                Err(format!("{} answered {}, not {}", probe.http, response.status().as_u16(), probe.status))
            }
            Err(error) if error.is_timeout() => {
                Err(format!("{} didn't answer within {} s", probe.http, probe.timeout.as_secs_f64()))
            }
            Err(error) => Err(format!("{} can't be reached: {}", probe.http, deepest(&error))),
        }
    }

    fn refuses(&self, probe: &Probe) -> Option<String> {
        self.look_at(&probe.http).err().map(|refusal| format!("{} isn't asked: {refusal}", probe.http))
    }
}

#[cfg(test)]
mod tests;
