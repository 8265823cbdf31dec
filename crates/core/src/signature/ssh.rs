//! SSH signatures: OpenSSH's PROTOCOL.sshsig.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, HashAlg, PublicKey, Signature, SshSig};

use super::allowed::{AllowedSigner, matches, matches_address};
use super::certificate::Certificate;
use super::wire::Wire;
use super::{Commit, Moment, Owner, Refusal, malformed, shown};
use crate::model::{Signer, SignerKind};

pub(super) const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";

/// What signatures of commits are for, so that one of anything else can't be taken for one.
const NAMESPACE: &str = "git";

/// The sizes of RSA keys that count and can be checked, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// What signed, as the signature itself says.
enum Signing {
    Key(KeyData),
    Certificate(Box<Certificate>),
}

impl Signing {
    fn key(&self) -> &KeyData {
        match self {
            Self::Key(key) => key,
            Self::Certificate(certificate) => &certificate.key,
        }
    }

    /// How people call it: its kind and fingerprint, as `ssh-keygen -l` shows them.
    fn name(&self) -> String {
        let (kind, key) = match self {
            Self::Key(key) => ("the SSH key", key),
            Self::Certificate(certificate) => ("the SSH certificate of", &certificate.key),
        };
        format!("{kind} {}", key.fingerprint(HashAlg::Sha256))
    }
}

/// Checks a signature against the lines of an allowed-signers file.
pub(super) fn check(
    signers: &[AllowedSigner],
    armored: &str,
    commit: &Commit,
    owner: Owner<'_>,
    moment: Moment,
) -> Result<Signer, Refusal> {
    let (signing, signature) = read(armored)?;
    let name = signing.name();
    check_strength(signing.key(), &name)?;
    if signature.namespace() != NAMESPACE {
        let namespace = shown(signature.namespace());
        return Err(Refusal::Namespace(format!(
            "its signature by {name} is one for `{namespace}`, not for `{NAMESPACE}`"
        )));
    }
    PublicKey::from(signing.key().clone())
        .verify(NAMESPACE, &commit.payload, &signature)
        .map_err(|_| Refusal::Tampered { key: name.clone() })?;
    let mut refusal = Refusal::UnknownKey { key: name.clone() };
    for signer in signers {
        let mine = match &signing {
            Signing::Key(key) => !signer.authority && signer.key == *key,
            Signing::Certificate(certificate) => signer.authority && signer.key == certificate.authority,
        };
        if !mine {
            continue;
        }
        match judge(signer, &signing, &name, owner, moment) {
            Ok(identity) => {
                let key = signing.key().fingerprint(HashAlg::Sha256).to_string();
                return Ok(Signer { identity, key, kind: SignerKind::Ssh });
            }
            Err(why) => refusal = why,
        }
    }
    Err(refusal)
}

/// Whether a line of the file lets its key sign this commit, and in whose name.
fn judge(
    signer: &AllowedSigner,
    signing: &Signing,
    name: &str,
    owner: Owner<'_>,
    moment: Moment,
) -> Result<String, Refusal> {
    let key = || name.to_owned();
    let at = moment.at;
    if let Some(namespaces) = signer.namespaces.as_ref().filter(|namespaces| !matches(NAMESPACE, namespaces)) {
        let (owners, namespaces) = (shown(&signer.principals), shown(namespaces));
        return Err(Refusal::Namespace(format!(
            "{name} of {owners} may sign only for {namespaces}, not `{NAMESPACE}`"
        )));
    }
    if let Some(from) = signer.valid_after.filter(|from| at < *from) {
        return Err(Refusal::NotYetValid { key: key(), at, from });
    }
    if let Some(until) = signer.valid_before.filter(|until| moment.newest > *until) {
        return Err(moment.after(until, key()));
    }
    if let Owner::Committer(committer) = owner
        && !matches_address(committer, &signer.principals)
    {
        let owners = shown(&signer.principals);
        return Err(Refusal::Identity { key: key(), owners, committer: shown(committer) });
    }
    if let Signing::Certificate(certificate) = signing {
        check_certificate(certificate, name, moment, owner)?;
    }
    Ok(match owner {
        Owner::Committer(committer) => committer.to_owned(),
        Owner::Anybody => signer.principals.clone(),
    })
}

fn check_certificate(certificate: &Certificate, name: &str, moment: Moment, owner: Owner<'_>) -> Result<(), Refusal> {
    let at = moment.at;
    let unsupported = |what: &str| Refusal::Unsupported(format!("{name} {what}"));
    let authority = format!("the SSH key {}", certificate.authority.fingerprint(HashAlg::Sha256));
    check_strength(&certificate.authority, &authority)?;
    if !certificate.holds() {
        return Err(unsupported("has a wrong signature of its authority"));
    }
    if !certificate.of_person {
        return Err(unsupported("is one of a host, not of a person"));
    }
    if let Some(option) = certificate.critical.first() {
        let option = shown(option);
        return Err(unsupported(&format!(
            "is limited by the critical option `{option}`, which has no meaning for commits"
        )));
    }
    if let Some(from) = certificate.valid_after.filter(|from| at < *from) {
        return Err(Refusal::NotYetValid { key: name.to_owned(), at, from });
    }
    if let Some(until) = certificate.valid_before.filter(|until| moment.newest >= *until) {
        return Err(moment.after(until, name.to_owned()));
    }
    let principals = &certificate.principals;
    // As OpenSSH has it: a certificate that names nobody is nobody's.
    if principals.is_empty() {
        return Err(unsupported("names no principal"));
    }
    if let Owner::Committer(committer) = owner
        && !principals.iter().any(|principal| principal.eq_ignore_ascii_case(committer))
    {
        let owners = shown(&principals.join(","));
        return Err(Refusal::Identity { key: name.to_owned(), owners, committer: shown(committer) });
    }
    Ok(())
}

/// Whether a key is of a kind that we can check and that is worth checking.
fn check_strength(key: &KeyData, name: &str) -> Result<(), Refusal> {
    match key {
        KeyData::Rsa(rsa) => {
            let bits = rsa.n.as_positive_bytes().map_or(0, <[u8]>::len) * 8;
            if RSA_BITS.contains(&bits) {
                return Ok(());
            }
            let (least, most) = (RSA_BITS.start(), RSA_BITS.end());
            Err(Refusal::Unsupported(format!("{name} is an RSA key of {bits} bits; {least} to {most} are needed")))
        }
        KeyData::Ecdsa(_) | KeyData::Ed25519(_) | KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => Ok(()),
        other => {
            let kind = shown(other.algorithm().as_str());
            Err(Refusal::Unsupported(format!("{name} is of a kind that Pinion can't check: {kind}")))
        }
    }
}

/// The key and the signature in an armored `SSHSIG`.
fn read(armored: &str) -> Result<(Signing, SshSig), Refusal> {
    let inner = armored.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
    let inner = inner.ok_or_else(|| malformed("its armor has no end"))?;
    let coded: String = inner.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let bytes = STANDARD.decode(coded).map_err(|_| malformed("its armor isn't base64"))?;
    open(&bytes).ok_or_else(|| malformed("it isn't an SSH signature as OpenSSH makes them"))
}

fn open(bytes: &[u8]) -> Option<(Signing, SshSig)> {
    let mut wire = Wire::new(bytes.strip_prefix(b"SSHSIG")?);
    if wire.number()? != 1 {
        return None;
    }
    let key = wire.string()?;
    let namespace = std::str::from_utf8(wire.string()?).ok()?;
    let _reserved = wire.string()?;
    let hash = match wire.string()? {
        b"sha256" => HashAlg::Sha256,
        b"sha512" => HashAlg::Sha512,
        _ => return None,
    };
    let signature = wire.string()?;
    if !wire.is_empty() {
        return None;
    }
    let kind = Wire::new(key).string()?;
    let signing = if kind.ends_with(b"-cert-v01@openssh.com") {
        Signing::Certificate(Box::new(Certificate::parse(key)?))
    } else {
        Signing::Key(PublicKey::from_bytes(key).ok()?.into())
    };
    let signature = Signature::try_from(signature).ok()?;
    // What a key is called and what it signs with differ for RSA only, and there SHA-1 doesn't count.
    if matches!(signature.algorithm(), Algorithm::Rsa { hash: None } | Algorithm::Dsa | Algorithm::Other(_)) {
        return None;
    }
    let signature = SshSig::new(signing.key().clone(), namespace, hash, signature).ok()?;
    Some((signing, signature))
}
