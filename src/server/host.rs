//! The check of `Host` on loopback. A web site can give its own name the address 127.0.0.1 (DNS rebinding), and the
//! browser of somebody on this machine then lets the site's scripts read what is served here. Such a request names the site.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::hooks;
use super::routes::refuse;

/// Refuses requests that name another host than this machine. Push events are signed, which no site's script can do, and come
/// through a proxy that may keep the name that the forge knows.
pub(super) async fn check(request: Request, next: Next) -> Response {
    if request.uri().path() == hooks::PATH || is_local(&request) {
        return next.run(request).await;
    }
    refuse(
        StatusCode::MISDIRECTED_REQUEST,
        "this listens on loopback, and the request names another host; use http://localhost or the address, or have the proxy \
         in front of it send `Host: localhost`",
    )
}

/// Whether all that names a host names this machine. A request that names none comes from no browser.
fn is_local(request: &Request) -> bool {
    let named = request.headers().get_all(header::HOST).iter();
    let mut named = named.map(|value| value.to_str().ok().and_then(|value| value.parse::<Authority>().ok()));
    let asked = request.uri().authority().is_none_or(names_this_machine);
    asked && named.all(|authority| authority.as_ref().is_some_and(names_this_machine))
}

/// An address can't be rebound, so any is right; of names, only those that RFC 6761, section 6.3, keeps for loopback.
fn names_this_machine(authority: &Authority) -> bool {
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    address.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn a_name_that_somebody_else_can_give_an_address_is_not_this_machine() {
        let local = |hosts: &[&str]| {
            let mut request = Request::builder().uri("/api/v1/status");
            for host in hosts {
                request = request.header(header::HOST, *host);
            }
            is_local(&request.body(Body::empty()).unwrap())
        };
        for host in [
            "localhost",
            "LocalHost:9780",
            "localhost.",
            "pinion.localhost:80",
            "127.0.0.1:9780",
            "127.8.0.1",
            "[::1]:9780",
        ] {
            assert!(local(&[host]), "{host}");
        }
        assert!(local(&[]));
        for host in [
            "rebound.example",
            "rebound.example:9780",
            "localhost.example.com",
            "notlocalhost",
            "127.0.0.1.nip.io",
            "",
            "a b",
        ] {
            assert!(!local(&[host]), "{host}");
        }
        assert!(!local(&["localhost", "rebound.example"]));
        let absolute = Request::builder().uri("http://rebound.example/").header(header::HOST, "localhost");
        assert!(!is_local(&absolute.body(Body::empty()).unwrap()));
    }
}
