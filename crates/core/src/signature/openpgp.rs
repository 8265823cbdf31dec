//! OpenPGP signatures (RFC 9580 and what came before it).

use std::cmp::Reverse;
use std::io::Cursor;

use jiff::Timestamp;
use pgp::composed::{Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{self, RevocationCode, Signature, SignatureType, SubpacketData};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails, PublicParams, Tag};

use super::{AHEAD, Commit, Moment, Owner, Refusal, malformed, shown};
use crate::model::{Signer, SignerKind};

const PUBLIC: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// RSA keys with less bits than this don't count.
const RSA_BITS: usize = 2048;

/// An OpenPGP certificate: a primary key with all that it says of itself and its subkeys.
#[derive(Debug)]
pub(super) struct Certificate {
    keys: Vec<Key>,
    /// The user ids that are bound to it, as they are.
    users: Vec<String>,
}

/// A key of a certificate.
#[derive(Debug)]
struct Key {
    public: Public,
    /// How people call it.
    name: String,
    fingerprint: String,
    created: i64,
    /// The end of it, or of its certificate.
    expires: Option<i64>,
    may_sign: bool,
    /// Its revocations, and those of its certificate.
    revocations: Vec<Revocation>,
    /// Why it isn't worth checking.
    unfit: Option<String>,
}

#[derive(Debug)]
enum Public {
    Primary(packet::PublicKey),
    Sub(packet::PublicSubkey),
}

#[derive(Debug, Clone)]
struct Revocation {
    at: i64,
    /// Whether what was signed before it still counts.
    soft: bool,
    why: String,
}

/// Whether a file holds OpenPGP keys rather than lines for SSH.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first & 0x80 != 0) || bytes.windows(15).any(|part| part == b"-----BEGIN PGP ")
}

/// Reads certificates, armored (one block or several) or binary.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Certificate>, String> {
    let mut certificates = Vec::new();
    let unreadable = |error: pgp::errors::Error| format!("a certificate in it can't be read: {}", one_line(&error));
    if bytes.first().is_some_and(|first| first & 0x80 != 0) {
        for certificate in SignedPublicKey::from_bytes_many(Cursor::new(bytes)).map_err(unreadable)? {
            certificates.push(Certificate::new(&certificate.map_err(unreadable)?)?);
        }
    } else {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is neither binary OpenPGP nor text".to_owned())?;
        if text.contains("-----BEGIN PGP PRIVATE KEY BLOCK-----") {
            return Err("it holds a private key; export public ones: gpg --armor --export".to_owned());
        }
        for (at, _) in text.match_indices(PUBLIC) {
            let rest = text.get(at..).unwrap_or_default();
            let (read, _) = SignedPublicKey::from_armor_many(Cursor::new(rest)).map_err(unreadable)?;
            for certificate in read {
                certificates.push(Certificate::new(&certificate.map_err(unreadable)?)?);
            }
        }
    }
    if certificates.is_empty() {
        return Err("it holds no OpenPGP certificate; make one with: gpg --armor --export ADDRESS".to_owned());
    }
    Ok(certificates)
}

impl Certificate {
    /// Takes what the certificate really says: of signatures in it only those that hold.
    fn new(from: &SignedPublicKey) -> Result<Self, String> {
        let primary = &from.primary_key;
        let name = format!("the OpenPGP key {}", primary.fingerprint());
        let mut statements: Vec<&Signature> = Vec::new();
        let directs = from.details.direct_signatures.iter();
        statements.extend(directs.filter(|sig| fit(sig) && sig.verify_key(primary).is_ok()));
        let mut users = Vec::new();
        for user in &from.details.users {
            let holds = |sig: &&Signature| fit(sig) && sig.verify_certification(primary, Tag::UserId, &user.id).is_ok();
            let mut own: Vec<&Signature> = user.signatures.iter().filter(holds).collect();
            own.sort_by_key(|sig| Reverse(created(sig)));
            // The newest word counts; if it takes the name back, so be it.
            let Some(newest) = own.first() else { continue };
            if newest.typ() != Some(SignatureType::CertRevocation) {
                users.push(user.id.as_str().unwrap_or_default().to_owned());
                statements.extend(own.iter().filter(|sig| sig.typ() != Some(SignatureType::CertRevocation)));
            }
        }
        statements.sort_by_key(|sig| Reverse(created(sig)));
        // A direct signature may be about something else than the key's use.
        let with_flags = statements.iter().find(|sig| has_flags(sig));
        let Some(word) = with_flags.or(statements.first()) else {
            return Err(format!("{name} has no valid self-signature"));
        };
        let appoints = statements.iter().any(|sig| sig.revocation_key().is_some());
        let revoked: Vec<Revocation> = from
            .details
            .revocation_signatures
            .iter()
            .filter(|sig| sig.typ() == Some(SignatureType::KeyRevocation))
            .filter_map(|sig| match sig.verify_key(primary) {
                Ok(()) => Some(revocation(sig)),
                // One by somebody whom the key has appointed, whose key we don't have: better believed.
                Err(_) => appoints.then(|| Revocation { soft: false, ..revocation(sig) }),
            })
            .collect();
        let expires = expiry(primary, word);
        let mut keys = vec![Key {
            name,
            fingerprint: primary.fingerprint().to_string(),
            created: seconds(primary.created_at()),
            expires,
            // Old certificates don't say what they are for; then a primary key is for anything.
            may_sign: with_flags.is_none_or(|sig| sig.key_flags().sign()),
            revocations: revoked.clone(),
            unfit: unfit(primary.public_params()),
            public: Public::Primary(primary.clone()),
        }];
        for subkey in &from.public_subkeys {
            keys.extend(sub(primary, subkey, expires, &revoked));
        }
        Ok(Self { keys, users })
    }

    /// Whether one of its user ids has this address.
    fn is_of(&self, address: &str) -> bool {
        self.users.iter().any(|user| address_of(user).eq_ignore_ascii_case(address))
    }

    fn owners(&self) -> String {
        let users = shown(&self.users.join(", "));
        if users.is_empty() { "nobody".to_owned() } else { users }
    }
}

fn sub(
    primary: &packet::PublicKey,
    subkey: &SignedPublicSubKey,
    expires: Option<i64>,
    revoked: &[Revocation],
) -> Option<Key> {
    let key = &subkey.key;
    let of = |typ: SignatureType| {
        let holds = move |sig: &&Signature| {
            sig.typ() == Some(typ) && fit(sig) && sig.verify_subkey_binding(primary, key).is_ok()
        };
        subkey.signatures.iter().filter(holds)
    };
    let binding = of(SignatureType::SubkeyBinding).max_by_key(|sig| created(sig))?;
    // A subkey that signs has to say itself that it belongs there, so that nobody takes another's work for theirs.
    let back = binding.embedded_signature();
    let backed = back.is_some_and(|back| fit(back) && back.verify_primary_key_binding(key, primary).is_ok());
    let ends = [expires, expiry(key, binding)];
    Some(Key {
        name: format!("the OpenPGP key {} (subkey of {})", key.fingerprint(), primary.fingerprint()),
        fingerprint: key.fingerprint().to_string(),
        created: seconds(key.created_at()),
        expires: ends.into_iter().flatten().min(),
        may_sign: binding.key_flags().sign() && backed,
        revocations: of(SignatureType::SubkeyRevocation).map(revocation).chain(revoked.iter().cloned()).collect(),
        unfit: unfit(key.public_params()),
        public: Public::Sub(key.clone()),
    })
}

/// Checks a signature against certificates.
pub(super) fn check(
    certificates: &[Certificate],
    armored: &str,
    commit: &Commit,
    owner: Owner<'_>,
    newest: Option<Timestamp>,
    now: Timestamp,
) -> Result<Signer, Refusal> {
    let signature = read(armored)?;
    if signature.typ() != Some(SignatureType::Binary) {
        return Err(malformed("it isn't a signature of binary data"));
    }
    let issuer = issuer(&signature);
    match signature.hash_alg() {
        None | Some(HashAlgorithm::Md5 | HashAlgorithm::Sha1 | HashAlgorithm::Ripemd160) => {
            let weak = format!("its signature by {issuer} uses a hash that is broken; sign with SHA-256 or better");
            return Err(Refusal::Unsupported(weak));
        }
        Some(_) => {}
    }
    let Some(made) = signature.created().and_then(|at| stamp(seconds(at))) else {
        return Err(malformed("it doesn't say when it was made"));
    };
    if now.duration_since(made) < -AHEAD {
        return Err(Refusal::Future { at: made });
    }
    if signature.signature_expiration_time().is_some_and(|after| after.as_secs() != 0) {
        return Err(Refusal::Unsupported(format!(
            "its signature by {issuer} expires, after which the commit would no longer count; sign without \
             --default-sig-expire"
        )));
    }
    // Nor can it be older than the commit itself says that it is.
    let moment = Moment::new(made, newest.into_iter().chain([commit.time]));
    let mut refusal = Refusal::UnknownKey { key: issuer };
    for certificate in certificates {
        for key in certificate.keys.iter().filter(|key| key.may_be_issuer(&signature)) {
            match key.judge(certificate, &signature, commit, owner, moment) {
                Ok(signer) => return Ok(signer),
                Err(why) => refusal = why,
            }
        }
    }
    Err(refusal)
}

impl Key {
    fn may_be_issuer(&self, signature: &Signature) -> bool {
        match &self.public {
            Public::Primary(key) => is_issuer(key, signature),
            Public::Sub(key) => is_issuer(key, signature),
        }
    }

    fn judge(
        &self,
        certificate: &Certificate,
        signature: &Signature,
        commit: &Commit,
        owner: Owner<'_>,
        moment: Moment,
    ) -> Result<Signer, Refusal> {
        let at = moment.at;
        let key = || self.name.clone();
        if let Some(why) = &self.unfit {
            return Err(Refusal::Unsupported(format!("{} {why}", self.name)));
        }
        let verified = match &self.public {
            Public::Primary(key) => signature.verify(key, commit.payload.as_slice()),
            Public::Sub(key) => signature.verify(key, commit.payload.as_slice()),
        };
        verified.map_err(|_| Refusal::Tampered { key: key() })?;
        let (made, newest) = (at.as_second(), moment.newest.as_second());
        if let Some(revocation) = self.revocations.iter().find(|revoked| !revoked.soft || newest >= revoked.at) {
            return Err(Refusal::Revoked { key: key(), why: revocation.why.clone() });
        }
        if let Some(from) = stamp(self.created).filter(|_| made < self.created) {
            return Err(Refusal::NotYetValid { key: key(), at, from });
        }
        if let Some(until) = self.expires.filter(|until| newest >= *until).and_then(stamp) {
            return Err(moment.after(until, key()));
        }
        if !self.may_sign {
            return Err(Refusal::NotForSigning { key: key() });
        }
        let identity = match owner {
            Owner::Committer(committer) if !certificate.is_of(committer) => {
                let committer = shown(committer);
                return Err(Refusal::Identity { key: key(), owners: certificate.owners(), committer });
            }
            Owner::Committer(committer) => committer.to_owned(),
            Owner::Anybody => certificate.owners(),
        };
        Ok(Signer { identity, key: self.fingerprint.clone(), kind: SignerKind::OpenPgp })
    }
}

/// The one signature in an armored block.
fn read(armored: &str) -> Result<Signature, Refusal> {
    let unreadable = |error: pgp::errors::Error| malformed(&one_line(&error));
    let (mut read, _) = DetachedSignature::from_armor_many(Cursor::new(armored)).map_err(unreadable)?;
    let first = read.next().ok_or_else(|| malformed("it is empty"))?.map_err(unreadable)?;
    if read.next().is_some() {
        return Err(malformed("it holds several signatures"));
    }
    Ok(first.signature)
}

/// Who a signature says that made it.
fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(ToString::to_string);
    let id = || signature.issuer_key_id().first().map(ToString::to_string);
    match fingerprint.or_else(id) {
        Some(key) => format!("the OpenPGP key {key}"),
        None => "an OpenPGP key that it doesn't name".to_owned(),
    }
}

/// Whether a signature may be this key's: it says so, or says nothing.
fn is_issuer(key: &impl KeyDetails, signature: &Signature) -> bool {
    let (ids, fingerprints) = (signature.issuer_key_id(), signature.issuer_fingerprint());
    if ids.is_empty() && fingerprints.is_empty() {
        return true;
    }
    let (id, fingerprint) = (key.legacy_key_id(), key.fingerprint());
    ids.into_iter().any(|one| *one == id) || fingerprints.into_iter().any(|one| *one == fingerprint)
}

/// Whether a key's word about itself may count. SHA-1 may, with the hash that notices collisions: older keys have nothing
/// else, and the person who put the certificate here has looked at it.
fn fit(signature: &Signature) -> bool {
    let broken = matches!(signature.hash_alg(), None | Some(HashAlgorithm::Md5 | HashAlgorithm::Ripemd160));
    !broken && signature.created().is_some()
}

fn has_flags(signature: &Signature) -> bool {
    let is = |data: &SubpacketData| matches!(data, SubpacketData::KeyFlags(_));
    signature.config().is_some_and(|config| config.hashed_subpackets().any(|part| is(&part.data)))
}

fn revocation(signature: &Signature) -> Revocation {
    let code = signature.revocation_reason_code();
    let (soft, why) = match code {
        Some(RevocationCode::KeySuperseded) => (true, "it was replaced by another"),
        Some(RevocationCode::KeyRetired) => (true, "it is no longer used"),
        Some(RevocationCode::KeyCompromised) => (false, "somebody else may have it"),
        _ => (false, "no reason is given, so nothing that it has signed counts"),
    };
    let at = created(signature);
    let since = stamp(at).filter(|_| soft).map(|at| format!(", since {at}")).unwrap_or_default();
    Revocation { at, soft, why: format!("{why}{since}") }
}

/// When a key ends, by what was said of it.
fn expiry(key: &impl KeyDetails, word: &Signature) -> Option<i64> {
    let after = word.key_expiration_time().map(|after| i64::from(after.as_secs())).filter(|after| *after != 0)?;
    seconds(key.created_at()).checked_add(after)
}

/// Why a key isn't worth checking.
fn unfit(parameters: &PublicParams) -> Option<String> {
    match parameters {
        PublicParams::RSA(parameters) => {
            // On the wire the modulus stands first, behind the number of its bits.
            let written = parameters.to_bytes().unwrap_or_default();
            let bits = written.first_chunk().map_or(0, |bits| usize::from(u16::from_be_bytes(*bits)));
            (bits < RSA_BITS).then(|| format!("is an RSA key of {bits} bits; {RSA_BITS} are needed"))
        }
        PublicParams::ECDSA(_) | PublicParams::EdDSALegacy(_) | PublicParams::Ed25519(_) | PublicParams::Ed448(_) => {
            None
        }
        PublicParams::DSA(_) => Some("is a DSA key, which is too weak to count".to_owned()),
        _ => Some("is of a kind that can't sign, or that Pinion can't check".to_owned()),
    }
}

fn created(signature: &Signature) -> i64 {
    signature.created().map(seconds).unwrap_or_default()
}

fn seconds(at: pgp::types::Timestamp) -> i64 {
    i64::from(at.as_secs())
}

fn stamp(seconds: i64) -> Option<Timestamp> {
    Timestamp::from_second(seconds).ok()
}

/// The address of a user id: what stands in its angle brackets, or all of it.
fn address_of(user: &str) -> &str {
    match user.rsplit_once('<') {
        Some((_, rest)) => rest.split_once('>').map_or(rest, |(address, _)| address).trim(),
        None => user.trim(),
    }
}

fn one_line(error: &pgp::errors::Error) -> String {
    shown(&error.to_string().replace('\n', " "))
}
