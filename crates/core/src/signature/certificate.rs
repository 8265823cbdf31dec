//! OpenSSH certificates (PROTOCOL.certkeys): a key, vouched for by an authority's.

use jiff::Timestamp;
use signature::Verifier as _;
use ssh_key::public::KeyData;
use ssh_key::{PublicKey, Signature};

use super::wire::Wire;

/// The kind of certificate that is a person's.
const OF_PERSON: u32 = 1;

/// A certificate that is legible; whether it holds is another question.
#[derive(Debug)]
pub(super) struct Certificate {
    /// The key that it is about.
    pub(super) key: KeyData,
    /// Whether it is a person's, and not a host's.
    pub(super) of_person: bool,
    /// Whom it is for; anybody if there is none.
    pub(super) principals: Vec<String>,
    pub(super) valid_after: Option<Timestamp>,
    /// `None` if it has no end.
    pub(super) valid_before: Option<Timestamp>,
    /// The names of its critical options.
    pub(super) critical: Vec<String>,
    /// The key that vouches for it.
    pub(super) authority: KeyData,
    signature: Signature,
    signed: Vec<u8>,
}

impl Certificate {
    /// Reads one.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut wire = Wire::new(bytes);
        let kind = wire.text()?.strip_suffix("-cert-v01@openssh.com")?;
        let _nonce = wire.string()?;
        // How many fields a key of this kind has.
        let (plain, fields) = match kind {
            "ssh-ed25519" => (kind.to_owned(), 1),
            "ssh-rsa" | "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ecdsa-sha2-nistp521" => (kind.to_owned(), 2),
            "sk-ssh-ed25519" => (format!("{kind}@openssh.com"), 2),
            "sk-ecdsa-sha2-nistp256" => (format!("{kind}@openssh.com"), 3),
            _ => return None,
        };
        let mut key = written(plain.as_bytes())?;
        for _ in 0..fields {
            key.extend(written(wire.string()?)?);
        }
        let _serial = wire.long()?;
        let of_person = wire.number()? == OF_PERSON;
        let _id = wire.string()?;
        let mut names = Wire::new(wire.string()?);
        let mut principals = Vec::new();
        while !names.is_empty() {
            principals.push(names.text()?.to_owned());
        }
        let (after, before) = (wire.long()?, wire.long()?);
        let mut options = Wire::new(wire.string()?);
        let mut critical = Vec::new();
        while !options.is_empty() {
            critical.push(options.text()?.to_owned());
            let _value = options.string()?;
        }
        let _extensions = wire.string()?;
        let _reserved = wire.string()?;
        let authority = PublicKey::from_bytes(wire.string()?).ok()?.into();
        let signed = bytes.get(..bytes.len().checked_sub(wire.len())?)?.to_vec();
        let signature = Signature::try_from(wire.string()?).ok()?;
        wire.is_empty().then_some(())?;
        let stamp = |seconds: u64| i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        Some(Self {
            key: PublicKey::from_bytes(&key).ok()?.into(),
            of_person,
            principals,
            // What lies behind the end of the calendar is never, and so is a beginning there.
            valid_after: Some(stamp(after).unwrap_or(Timestamp::MAX)),
            valid_before: stamp(before),
            critical,
            authority,
            signature,
            signed,
        })
    }

    /// Whether the authority that it names has signed it. Who that is, is for the caller to know.
    pub(super) fn holds(&self) -> bool {
        self.authority.verify(&self.signed, &self.signature).is_ok()
    }
}

/// A string as it is written on the wire.
fn written(string: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = u32::try_from(string.len()).ok()?.to_be_bytes().to_vec();
    bytes.extend_from_slice(string);
    Some(bytes)
}
