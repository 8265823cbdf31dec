//! Whom probes don't ask: who writes a probe into the repository has no business with the credentials of Pinion's machine.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;

use crate::model::is_link_local;

/// An address that isn't asked.
#[derive(Debug, Error)]
#[error(
    "the address {0} is link-local or of one of AWS's metadata services; if it is meant, add the host to `allow` under [probes] in pinion.toml"
)]
pub(super) struct Refused(IpAddr);

/// Why an address isn't asked.
pub(super) fn refused(address: IpAddr) -> Option<Refused> {
    is_link_local(address).then_some(Refused(address))
}

/// Resolves names as the system does.
#[derive(Debug)]
pub(super) struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

/// Refuses names that lead where probes don't go. What it returns is what is connected to, so that a name can't lead elsewhere in
/// between.
pub(super) struct Resolver {
    pub(super) names: Arc<dyn Resolve>,
    pub(super) allowed: Arc<BTreeSet<String>>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.allowed.contains(name.as_str());
        let resolving = self.names.resolve(name);
        Box::pin(async move {
            let found: Vec<SocketAddr> = resolving.await?.collect();
            match found.iter().filter(|_| !allowed).find_map(|address| refused(address.ip())) {
                Some(refusal) => Err(refusal.into()),
                None => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}
