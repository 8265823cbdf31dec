//! Probes over HTTP.

use async_trait::async_trait;

use crate::model::Probe;
use crate::model::cause::deepest;
use crate::ports::Prober;

/// Sends probes with a client of its own: no redirects, no proxies' credentials, no cookies.
#[derive(Debug, Clone)]
pub struct HttpProber {
    client: reqwest::Client,
}

impl HttpProber {
    /// A prober.
    ///
    /// # Errors
    /// If the TLS backend can't be set up.
    pub fn new() -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("pinion/", env!("CARGO_PKG_VERSION")))
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self { client })
    }
}

#[async_trait]
impl Prober for HttpProber {
    async fn probe(&self, probe: &Probe) -> Result<(), String> {
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
}
