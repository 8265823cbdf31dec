//! Whom probes don't ask: who writes a probe into the repository has no business with the credentials of Pinion's machine.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;

/// An address that isn't asked.
#[derive(Debug, Error)]
#[error(
    "the address {0} is link-local or of one of AWS's metadata services; if it is meant, add the host to `allow` under [probes] in pinion.toml"
)]
pub(super) struct Refused(IpAddr);

/// Why an address isn't asked.
pub(super) fn refused(address: IpAddr) -> Option<Refused> {
    let is_refused = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_unicast_link_local() || is_of_aws(address) || inner(address).is_some_and(|v4| v4.is_link_local())
        }
    };
    is_refused.then_some(Refused(address))
}

/// AWS's services on the machine have addresses in fd00:ec2::/32.
fn is_of_aws(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [0xfd00, 0x0ec2, ..])
}

/// The IPv4 address within one of IPv6: mapped, compatible or translated (RFC 4291, 2765), of NAT64 (RFC 6052), or of 6to4.
fn inner(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let pair = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => pair(high, low),
        _ => None,
    }
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
