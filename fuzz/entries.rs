//! Where what untrusted people write comes in. Each function takes any bytes and must neither panic nor hang; some check more.
//! Used by the fuzzers, and by `crates/core/tests/fuzz.rs` without libFuzzer.

#![allow(dead_code, reason = "each fuzzer uses one")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use jiff::Timestamp;
use pinion_core::config::{Config, Overrides};
use pinion_core::guardrail::{Fleet, Guardrails as _, Proposal};
use pinion_core::manifest::{self, Loaded, render};
use pinion_core::model::status::Status;
use pinion_core::model::{
    AccountId, CommitId, Component, Digest, EnvironmentName, LocalRef, Provenance, Region, RoleArn, TargetRef, Version,
};
use pinion_core::signature::{Commit, Keys, Trust};
use pinion_core::webhook;
use secrecy::SecretString;

/// What the files of an input are separated by.
const BETWEEN: &str = "\n=====\n";

const ENVIRONMENT: &str = r#"
[account]
id = "222222222222"
region = "us-west-1"
role = "arn:aws:iam::222222222222:role/pinion"
[asg.web]
component = "frontend"
ami = { name = "frontend-{version}" }
[fargate.api]
cluster = "app"
component = "backend"
image = "333333333333.dkr.ecr.us-west-1.amazonaws.com/backend:{version}"
"#;
const PINS: &str = "frontend = \"1.4.2\"\nbackend = \"backend.2.0.1\"\n";

fn load(files: &[(&str, &[u8])]) -> Loaded {
    let files: BTreeMap<String, Vec<u8>> =
        files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect();
    let loaded = manifest::load(&files);
    // All that is found can be shown.
    let findings = loaded.all_findings();
    assert_eq!(render::plain(&findings).is_empty(), findings.is_empty());
    assert_eq!(render::graphical(&findings, false, 80).is_empty(), findings.is_empty());
    assert!(render::json(&loaded, jiff::Timestamp::UNIX_EPOCH).is_ok());
    loaded
}

fn now() -> Timestamp {
    Timestamp::from_second(1_780_000_000).unwrap_or_default()
}

/// Completes what is good, and asks its guardrails about each target.
fn use_all(loaded: &Loaded) {
    for draft in loaded.environments.values().filter_map(|environment| environment.as_ref().ok()) {
        let provenance =
            draft.pins().into_keys().map(|component| (component, Provenance::uncommitted(now()))).collect();
        let environment = draft.complete(&provenance);
        for target in environment.targets.values() {
            let Some(pin) = environment.pin_of(target) else { continue };
            let fleet = Fleet::default();
            let running = Some("1.4.0");
            let proposal = Proposal {
                environment: &environment,
                target,
                pin,
                running,
                heals: false,
                shape: None,
                image: true,
                fleet: &fleet,
                now: now(),
            };
            let denials = loaded.policies.check(proposal);
            assert!(loaded.policy_findings.is_empty() || !denials.is_empty(), "a set that isn't valid denies all");
        }
    }
}

/// `environment.toml`, `defaults.toml` and `pins.toml`, separated by a line of `=====`.
pub(crate) fn manifest(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.split(BETWEEN);
    let mut files = vec![("environments/dev/environment.toml", parts.next().unwrap_or_default().as_bytes())];
    files.extend(parts.next().map(|part| ("environments/defaults.toml", part.as_bytes())));
    files.push(("environments/dev/pins.toml", parts.next().unwrap_or(PINS).as_bytes()));
    use_all(&load(&files));
    // Bytes that aren't text at all.
    load(&[("environments/dev/environment.toml", data), ("environments/dev/pins.toml", data)]);
}

/// `pins.toml`.
pub(crate) fn pins(data: &[u8]) {
    let values = manifest::pin_values(data);
    let loaded =
        load(&[("environments/dev/environment.toml", ENVIRONMENT.as_bytes()), ("environments/dev/pins.toml", data)]);
    for draft in loaded.environments.values().filter_map(|environment| environment.as_ref().ok()) {
        for (component, value) in draft.pins() {
            assert_eq!(values.get(component.as_str()), Some(&value), "both ways to read a pin agree");
        }
    }
    use_all(&loaded);
}

/// `pinion.toml`.
pub(crate) fn config(data: &[u8]) {
    let variable = |name: &str| (name == "HOME").then(|| "/home/pinion".to_owned());
    if let Err(error) = Config::parse(Path::new("pinion.toml"), data, &Overrides::default(), &variable) {
        assert!(!error.to_string().is_empty());
        if let pinion_core::config::ConfigError::Invalid { findings, .. } = error {
            assert!(!findings.is_empty(), "what is refused is refused for a reason");
            assert!(!render::graphical(&findings, true, 100).is_empty());
        }
    }
}

/// A guardrail file.
pub(crate) fn policy(data: &[u8]) {
    use_all(&load(&[
        ("environments/dev/environment.toml", ENVIRONMENT.as_bytes()),
        ("environments/dev/pins.toml", PINS.as_bytes()),
        ("policies/guardrails/some.cedar", data),
    ]));
}

/// Signed commits that hold, with the keys that they hold for: the seeds of [`commit`] were made with them.
static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let mut signers = Keys::allowed_signers(include_bytes!("corpus/keys/allowed_signers")).unwrap_or_default();
    signers.extend(Keys::keyring(include_bytes!("corpus/keys/keyring.asc")).unwrap_or_default());
    assert!(signers.len() > 4, "the seeds' keys can be read");
    Trust { signers, forges: Keys::default() }
});

/// The commits of the seeds, without their signatures. No other one can hold.
static SIGNED: LazyLock<Vec<Commit>> = LazyLock::new(|| {
    let seeds: [&[u8]; 6] = [
        include_bytes!("corpus/commit/certificate"),
        include_bytes!("corpus/commit/ed25519"),
        include_bytes!("corpus/commit/ecdsa"),
        include_bytes!("corpus/commit/rsa"),
        include_bytes!("corpus/commit/openpgp-ed25519"),
        include_bytes!("corpus/commit/openpgp-rsa"),
    ];
    seeds.iter().filter_map(|seed| Commit::parse(seed).ok()).collect()
});

/// A commit object.
pub(crate) fn commit(data: &[u8]) {
    let Ok(commit) = Commit::parse(data) else { return };
    assert!(commit.parents.iter().all(|parent| CommitId::try_from(parent.clone()).is_ok()));
    if TRUST.verify(&commit, now()).is_ok() {
        assert!(SIGNED.iter().any(|signed| signed.is_same_content(&commit)), "something holds that nobody has signed");
    }
}

/// A signature alone, in a commit that nobody has signed.
pub(crate) fn signature(data: &[u8]) {
    let mut bytes = Vec::from(
        "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <ada@example.com> 1748736000 +0000\n\
         committer A <ada@example.com> 1748736000 +0000\ngpgsig ",
    );
    for byte in data {
        bytes.push(*byte);
        if *byte == b'\n' {
            bytes.push(b' ');
        }
    }
    bytes.extend_from_slice(b"\n\nnobody has signed this\n");
    if let Ok(commit) = Commit::parse(&bytes) {
        let verdict = TRUST.verify(&commit, now());
        assert!(verdict.is_err(), "{verdict:?} of what nobody has signed");
        let shown = verdict.map_err(|refusal| refusal.to_string()).err().unwrap_or_default();
        assert!(shown.len() < 4000 && !shown.contains('\n'), "fit for a line of the log: {shown}");
    }
}

/// A file of keys.
pub(crate) fn keys(data: &[u8]) {
    for read in [Keys::allowed_signers, Keys::keyring, Keys::either] {
        match read(data) {
            Ok(keys) => assert!(!keys.is_empty()),
            Err(errors) => assert!(!errors.is_empty()),
        }
    }
}

/// A push event: its headers, a line each, and its body, separated by a line of `=====`.
pub(crate) fn push(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (head, body) = text.split_once(BETWEEN).unwrap_or(("", &text));
    let headers = head.lines().filter_map(|line| line.split_once(": "));
    let headers = headers.filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?))).collect();
    let secrets = [SecretString::from("whsec_bm9ib2R5IGtub3dzIGl0"), SecretString::from("nobody knows it")];
    let verdict = webhook::signature::verify(&headers, body.as_bytes(), &secrets, now());
    assert!(verdict.is_err(), "an event counts that was signed by nobody");
    // Bytes that aren't text, too.
    for body in [body.as_bytes(), data] {
        match webhook::push::read(body) {
            Ok(push) => {
                assert!(!push.is_of("") && !push.is_of("file:///srv/environments.git"), "{push:?}");
                assert_eq!(push.is_of("https://github.com/acme/e"), push.is_of("git@github.com:acme/e.git"));
            }
            Err(error) => assert!(!error.to_string().contains('\n')),
        }
    }
}

/// Names, versions and references: what is accepted reads the same when it is written.
pub(crate) fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    macro_rules! read {
        ($($name:ty),*) => {$(
            if let Ok(name) = <$name>::try_from(text.clone().into_owned()) {
                assert_eq!(name.to_string(), text);
            }
        )*};
    }
    read!(AccountId, CommitId, Component, Digest, EnvironmentName, LocalRef, Region, RoleArn, TargetRef, Version);
    let mut words = text.split_whitespace();
    if let (Some(one), Some(other)) = (words.next(), words.next())
        && let (Ok(first), Ok(second)) = (Version::try_from(one), Version::try_from(other))
    {
        assert_eq!(first.precedence(other), second.precedence(one).map(std::cmp::Ordering::reverse));
    }
}

/// What another Pinion says of itself: `/api/v1/status`, as the command line reads it.
pub(crate) fn status(data: &[u8]) {
    let Ok(status) = serde_json::from_slice::<Status>(data) else { return };
    let written = serde_json::to_vec(&status);
    assert!(written.is_ok_and(|written| serde_json::from_slice::<Status>(&written).ok() == Some(status)));
}
