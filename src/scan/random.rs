//! Random bytes as text, and the hashes by which such a text is known.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use data_encoding::HEXLOWER;
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
    HEXLOWER.encode(&bytes::<N>().unwrap_or([0; N]))
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
