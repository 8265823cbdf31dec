//! Hexadecimal, in small letters.

use sha2::{Digest as _, Sha256};

/// Bytes in hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first digits of a content's SHA-256, at most 64.
#[must_use]
pub fn sha256(content: impl AsRef<[u8]>, digits: usize) -> String {
    let mut hex = hex(&Sha256::digest(content));
    hex.truncate(digits);
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_lower_case_and_padded() {
        assert_eq!(hex(&[0, 1, 0xab]), "0001ab");
        // FIPS 180-4's example of one block.
        assert_eq!(sha256("abc", 8), "ba7816bf");
        assert_eq!(sha256("abc", 64), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
