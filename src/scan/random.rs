//! Random bytes as text, and the hashes by which such a text is known.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::webhook::tls;

/// Returns so many random bytes; none where the system has no random numbers.
pub fn bytes<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    tls::provider().secure_random.fill(&mut bytes).ok()?;
    Some(bytes)
}

/// Returns so many random bytes in hexadecimal digits; what it stands for is no secret.
pub fn hex<const N: usize>() -> String {
    to_hex(&bytes::<N>().unwrap_or([0; N]))
}

/// Returns bytes in hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Returns so many random bytes in base64 for URLs; none where the system has no random numbers.
pub fn base64<const N: usize>() -> Option<String> {
    Some(URL_SAFE_NO_PAD.encode(bytes::<N>()?))
}

/// Returns by what a text is known that is not kept. What differs in time is a comparison of hashes, from which nobody
/// learns what is hashed.
pub fn hashed(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}
