//! What makes an ID token one of the provider's, for us, now, and for the sign-in that was begun (OpenID Connect Core 1.0,
//! 3.1.3.7).

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use serde_json::{Map, Value};

/// Signatures that are taken: those by which only the provider can sign. With HS256 whoever can check could sign, too.
const TAKEN: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// By how many seconds clocks may differ.
const LEEWAY: u64 = 60;

/// Why an ID token is not taken, in words for whoever wants to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// It is no token at all, or lacks what every ID token has.
    #[error("the ID token cannot be read")]
    Unreadable,
    /// It is not signed, or in a way by which others could sign.
    #[error("the ID token is not signed in a way that can be trusted")]
    Algorithm,
    /// It is signed with a key that the provider does not publish.
    #[error("the ID token is signed with a key that is not the provider's")]
    UnknownKey,
    /// The signature is another text's.
    #[error("the ID token's signature is wrong")]
    Signature,
    /// It comes from somebody else.
    #[error("the ID token is another provider's")]
    Issuer,
    /// It was made for another application.
    #[error("the ID token was made for another application")]
    Audience,
    /// It was made for another sign-in.
    #[error("the ID token was made for another sign-in")]
    Nonce,
    /// Its time is over, or has not come; or the clocks differ.
    #[error("the ID token is not valid at this time; the clocks may differ")]
    Time,
    /// It names nobody.
    #[error("the ID token names nobody")]
    Nameless,
}

/// What an ID token must say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    pub issuer: &'a str,
    pub client_id: &'a str,
    pub nonce: &'a str,
}

/// Returns the claims of an ID token that one of the provider's keys has signed.
pub(super) fn verify(token: &str, keys: &[Jwk], expected: Expected<'_>) -> Result<Map<String, Value>, Doubt> {
    let header = decode_header(token).map_err(|error| match error.kind() {
        // `none`, and whatever else the library does not know, is not read as a header at all.
        ErrorKind::Json(_) => Doubt::Algorithm,
        kind => doubt(kind),
    })?;
    // An extension that must be understood, and is not (RFC 7515, 4.1.11).
    if !TAKEN.contains(&header.alg) || header.crit.is_some() {
        return Err(Doubt::Algorithm);
    }
    let mut last = Doubt::UnknownKey;
    for key in keys.iter().filter(|key| fits(key, &header)) {
        match verify_by(token, key, header.alg, expected) {
            Err(doubt @ (Doubt::Signature | Doubt::Unreadable)) => last = doubt,
            answer => return answer,
        }
    }
    Err(last)
}

fn verify_by(
    token: &str,
    key: &Jwk,
    algorithm: Algorithm,
    expected: Expected<'_>,
) -> Result<Map<String, Value>, Doubt> {
    let key = DecodingKey::from_jwk(key).map_err(|_| Doubt::UnknownKey)?;
    let mut validation = Validation::new(algorithm);
    validation.leeway = LEEWAY;
    validation.validate_nbf = true;
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(&[expected.client_id]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let token = decode::<Map<String, Value>>(token, &key, &validation).map_err(|error| doubt(error.kind()))?;
    let text = |claim: &str| token.claims.get(claim).and_then(Value::as_str);
    // The library takes a list of issuers, too.
    if text("iss") != Some(expected.issuer) {
        return Err(Doubt::Issuer);
    }
    if text("azp").is_some_and(|party| party != expected.client_id) {
        return Err(Doubt::Audience);
    }
    if text("nonce") != Some(expected.nonce) {
        return Err(Doubt::Nonce);
    }
    Ok(token.claims)
}

/// Returns whether a key is the one that a header means, and of the kind of its algorithm.
fn fits(key: &Jwk, header: &Header) -> bool {
    let common = &key.common;
    let is_meant = header.kid.is_none() || common.key_id == header.kid;
    let signs = common.public_key_use.as_ref().is_none_or(|used| *used == PublicKeyUse::Signature);
    let is_so_used = common.key_algorithm.is_none_or(|algorithm| algorithm.to_string() == format!("{:?}", header.alg));
    let is_kind = match (&key.algorithm, header.alg) {
        (
            AlgorithmParameters::RSA(_),
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512,
        ) => true,
        (AlgorithmParameters::EllipticCurve(curve), Algorithm::ES256) => curve.curve == EllipticCurve::P256,
        (AlgorithmParameters::EllipticCurve(curve), Algorithm::ES384) => curve.curve == EllipticCurve::P384,
        (AlgorithmParameters::OctetKeyPair(pair), Algorithm::EdDSA) => pair.curve == EllipticCurve::Ed25519,
        _ => false,
    };
    is_meant && signs && is_so_used && is_kind
}

fn doubt(kind: &ErrorKind) -> Doubt {
    match kind {
        ErrorKind::InvalidSignature => Doubt::Signature,
        ErrorKind::InvalidIssuer => Doubt::Issuer,
        ErrorKind::InvalidAudience => Doubt::Audience,
        ErrorKind::ExpiredSignature | ErrorKind::ImmatureSignature => Doubt::Time,
        ErrorKind::InvalidAlgorithm
        | ErrorKind::InvalidAlgorithmName
        | ErrorKind::MissingAlgorithm
        | ErrorKind::UnsupportedAlgorithm => Doubt::Algorithm,
        _ => Doubt::Unreadable,
    }
}
