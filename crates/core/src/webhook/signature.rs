//! Whether a push event was sent by who knows the secret. All comparisons take the same time whatever is wrong.
//!
//! | forge | header | what it holds |
//! | --- | --- | --- |
//! | GitHub, Gitea, Forgejo | `X-Hub-Signature-256` | `sha256=` and HMAC-SHA256 of the body in hexadecimal |
//! | Gitea, Forgejo | `X-Gitea-Signature`, `X-Forgejo-Signature` | the same without `sha256=` |
//! | GitLab | `webhook-signature` | `v1,` and HMAC-SHA256 of id, time and body in base64, as Standard Webhooks has it |
//! | GitLab | `X-Gitlab-Token` | the secret itself |

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use thiserror::Error;

use crate::config::hmac_sha256;
use crate::model::hex;

/// How far the time of a signed event may be from ours, as Standard Webhooks advises.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Why an event doesn't count.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Unsigned {
    /// No header that is known.
    #[error("the event isn't signed; set the secret in the webhook's settings")]
    Missing,
    /// Another secret, or another body.
    #[error("the event's signature is wrong; the webhook's secret isn't the one in [hooks] of pinion.toml")]
    Wrong,
    /// It was sent too long ago, or its clock or ours is wrong.
    #[error("the event was sent too long ago or in the future; it is a replay, or a clock is wrong")]
    Stale,
}

/// Checks the signature of a body against secrets, any of which counts.
///
/// # Errors
/// [`Unsigned`].
pub fn verify(headers: &HeaderMap, body: &[u8], secrets: &[SecretString], now: Timestamp) -> Result<(), Unsigned> {
    let Given { hex, token, standard } = Given::of(headers)?;
    let get = |name: &str| headers.get(name).map(|value| value.as_bytes()).unwrap_or_default();
    let (id, sent) = (get("webhook-id"), get("webhook-timestamp"));
    let signed = [id, b".", sent, b".", body].concat();
    let mut plain = Choice::from(0);
    let mut dated = Choice::from(0);
    for secret in secrets.iter().map(|secret| secret.expose_secret().as_bytes()) {
        let expected = hex::hex(&hmac_sha256(secret, body));
        for given in hex.iter().flatten() {
            plain |= expected.as_bytes().ct_eq(&given.to_ascii_lowercase());
        }
        plain |= token.map_or(0.into(), |token| is_token(token, secret));
        let expected = STANDARD.encode(hmac_sha256(&standard_key(secret), &signed));
        for given in standard.unwrap_or_default().split(|byte| *byte == b' ') {
            dated |= given.strip_prefix(b"v1,").map_or(0.into(), |given| expected.as_bytes().ct_eq(given));
        }
    }
    match (bool::from(plain), bool::from(dated)) {
        (true, _) => Ok(()),
        (false, true) if is_near(sent, now) => Ok(()),
        (false, true) => Err(Unsigned::Stale),
        (false, false) => Err(Unsigned::Wrong),
    }
}

/// Says of an event before its body has come what is wrong with its headers whatever the body is: there is no signature, or
/// none that could be one. What passes may still be wrong.
///
/// # Errors
/// [`Unsigned::Missing`] and [`Unsigned::Wrong`].
pub fn expect(headers: &HeaderMap, secrets: &[SecretString]) -> Result<(), Unsigned> {
    let Given { hex, token, standard } = Given::of(headers)?;
    let hashes = hex.iter().flatten().any(|given| given.len() == 64 && given.iter().all(u8::is_ascii_hexdigit));
    let signatures = standard.unwrap_or_default().split(|byte| *byte == b' ').any(|given| given.starts_with(b"v1,"));
    let mut tokens = Choice::from(0);
    for secret in secrets {
        tokens |= token.map_or(0.into(), |token| is_token(token, secret.expose_secret().as_bytes()));
    }
    if hashes || signatures || bool::from(tokens) { Ok(()) } else { Err(Unsigned::Wrong) }
}

/// What the headers hold.
struct Given<'a> {
    hex: [Option<&'a [u8]>; 3],
    token: Option<&'a [u8]>,
    standard: Option<&'a [u8]>,
}

impl<'a> Given<'a> {
    fn of(headers: &'a HeaderMap) -> Result<Self, Unsigned> {
        let get = |name: &str| headers.get(name).map(|value| value.as_bytes());
        let hub = get("x-hub-signature-256").map(|value| value.strip_prefix(b"sha256=").unwrap_or_default());
        let hex = [hub, get("x-gitea-signature"), get("x-forgejo-signature")];
        let (token, standard) = (get("x-gitlab-token"), get("webhook-signature"));
        let none = hex.iter().all(Option::is_none) && token.is_none() && standard.is_none();
        if none { Err(Unsigned::Missing) } else { Ok(Self { hex, token, standard }) }
    }
}

/// Digests have one length, so that the time that this takes doesn't give away the secret's length.
fn is_token(token: &[u8], secret: &[u8]) -> Choice {
    Sha256::digest(token).ct_eq(&Sha256::digest(secret))
}

/// The key of a secret as Standard Webhooks writes it, `whsec_` and base64; otherwise the secret's own bytes.
fn standard_key(secret: &[u8]) -> Vec<u8> {
    let coded = secret.strip_prefix(b"whsec_").and_then(|coded| STANDARD.decode(coded).ok());
    coded.unwrap_or_else(|| secret.to_vec())
}

fn is_near(sent: &[u8], now: Timestamp) -> bool {
    let seconds = std::str::from_utf8(sent).ok().and_then(|text| text.parse::<i64>().ok());
    let sent = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    sent.is_some_and(|sent| sent.duration_since(now).abs() <= TOLERANCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GitHub's own example of a signature.
    const SECRET: &str = "It's a Secret to Everybody";
    const SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn check(headers: &[(&'static str, &str)], body: &str, secrets: &[&str]) -> Result<(), Unsigned> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let secrets: Vec<SecretString> = secrets.iter().map(|secret| SecretString::from(*secret)).collect();
        let verdict = verify(&headers, body.as_bytes(), &secrets, Timestamp::from_second(1_700_000_000).unwrap());
        let before = expect(&headers, &secrets);
        assert!(before.is_ok() || before == verdict, "{before:?} before the body, {verdict:?} after it");
        verdict
    }

    #[test]
    fn github_and_gitea_sign_the_body() {
        let body = "Hello, World!";
        assert_eq!(check(&[("x-hub-signature-256", SIGNATURE)], body, &[SECRET]), Ok(()));
        assert_eq!(
            check(&[("x-hub-signature-256", SIGNATURE)], body, &["other", SECRET]),
            Ok(()),
            "while one is rotated"
        );
        assert_eq!(check(&[("x-gitea-signature", &SIGNATURE[7..])], body, &[SECRET]), Ok(()));
        assert_eq!(check(&[("x-forgejo-signature", &SIGNATURE[7..].to_uppercase())], body, &[SECRET]), Ok(()));
        for (headers, body, secret) in [
            (("x-hub-signature-256", SIGNATURE), "Hello, World?", SECRET),
            (("x-hub-signature-256", SIGNATURE), body, "other"),
            (("x-hub-signature-256", &SIGNATURE[7..]), body, SECRET),
            (("x-hub-signature-256", "sha256="), body, SECRET),
            (("x-hub-signature-256", ""), body, SECRET),
            (("x-hub-signature-256", &SIGNATURE[..40]), body, SECRET),
            (("x-gitea-signature", SIGNATURE), body, SECRET),
        ] {
            assert_eq!(check(&[headers], body, &[secret]), Err(Unsigned::Wrong), "{headers:?}");
        }
        assert_eq!(
            check(&[("x-hub-signature", "sha1=1")], body, &[SECRET]),
            Err(Unsigned::Missing),
            "SHA-1 doesn't count"
        );
        assert_eq!(check(&[("x-hub-signature-256", SIGNATURE)], body, &[]), Err(Unsigned::Wrong));
    }

    #[test]
    fn gitlab_sends_the_token_or_signs_with_id_and_time() {
        assert_eq!(check(&[("x-gitlab-token", "abc")], "", &["abc"]), Ok(()));
        assert_eq!(check(&[("x-gitlab-token", "ab")], "", &["abc"]), Err(Unsigned::Wrong));
        assert_eq!(check(&[("x-gitlab-token", "")], "", &["abc"]), Err(Unsigned::Wrong));

        let signed =
            |secret: &[u8], time: &str| STANDARD.encode(hmac_sha256(secret, format!("m1.{time}.{{}}").as_bytes()));
        for (secret, key) in [("plain", b"plain".as_slice()), ("whsec_a2V5", b"key")] {
            let value = format!("v1a,xx v1,{}", signed(key, "1700000100"));
            let headers = [("webhook-id", "m1"), ("webhook-timestamp", "1700000100"), ("webhook-signature", &value)];
            assert_eq!(check(&headers, "{}", &[secret]), Ok(()));
            assert_eq!(check(&headers, "{ }", &[secret]), Err(Unsigned::Wrong));
            let headers = [("webhook-id", "m2"), ("webhook-timestamp", "1700000100"), ("webhook-signature", &value)];
            assert_eq!(check(&headers, "{}", &[secret]), Err(Unsigned::Wrong));
        }
        for time in ["1699999000", "1700009000", "x"] {
            let value = format!("v1,{}", signed(b"plain", time));
            let headers = [("webhook-id", "m1"), ("webhook-timestamp", time), ("webhook-signature", &value)];
            assert_eq!(check(&headers, "{}", &["plain"]), Err(Unsigned::Stale));
        }
    }
}
