//! Makes authorities and serving certificates.

use std::net::IpAddr;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use sha2::{Digest as _, Sha256};

use super::x509::{Certificate, Key, Leaf};
use super::{CertificateError, since_1970};
use crate::webhook::tls::TlsError;

/// How far a client's clock may be behind, at most.
const CLOCK_SKEW_SECONDS: i64 = 60 * 60;

/// One name of the serving certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// As it stands in the certificate.
    pub alternative: SanType,
    /// What a client that connects by it asks for.
    pub asked: ServerName<'static>,
}

impl Name {
    /// Reads a DNS name, which may begin with `*.`, or an IP address.
    pub fn parse(name: &str) -> Result<Self, CertificateError> {
        let refused = || CertificateError::Name(name.to_owned());
        // A client asks for some name that a wildcard stands for, never for the wildcard.
        let asked = name.strip_prefix("*.").map_or_else(|| name.to_owned(), |zone| format!("any.{zone}"));
        let alternative = match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(Ia5String::try_from(name).map_err(|_| refused())?),
        };
        Ok(Self { alternative, asked: ServerName::try_from(asked).map_err(|_| refused())? })
    }
}

/// Makes an authority that is valid from `now` for so many seconds.
pub fn authority(life_seconds: i64, now: Timestamp) -> Result<(Certificate, Key), CertificateError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    // Two authorities are trusted at a time; by name alone a client must know which of them issued.
    let digest = Sha256::digest(key.der_bytes());
    let short = HEXLOWER.encode(digest.get(..4).unwrap_or_default());
    params.distinguished_name = common_name(&format!("Gatepost CA {short}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, now, life_seconds);
    let certificate = Certificate::parse(params.self_signed(&key)?.der().clone()).map_err(CertificateError::Made)?;
    Ok((certificate, Key::new(key.serialize_pem())))
}

/// Issues a serving certificate for these names, valid from `now` for so many seconds.
pub fn leaf(
    authority: &Certificate,
    authority_key: &Key,
    names: &[Name],
    life_seconds: i64,
    now: Timestamp,
) -> Result<Leaf, CertificateError> {
    let pem = PrivateKeyDer::from_pem_slice(authority_key.pem().as_bytes()).map_err(TlsError::Pem);
    let issuer_key = KeyPair::try_from(&pem.map_err(CertificateError::Made)?)?;
    let issuer = Issuer::from_ca_cert_der(authority.der(), issuer_key)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("gatepost");
    params.subject_alt_names = names.iter().map(|name| name.alternative.clone()).collect();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now, life_seconds);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let chain_pem = params.signed_by(&key, &issuer)?.pem();
    let leaf = Leaf::parse(&chain_pem, &key.serialize_pem()).map_err(CertificateError::Made)?;
    // Whoever gave the authority may have bound it to other names or uses.
    leaf.is_accepted_by(authority, names, now).map_err(CertificateError::Unfit)?;
    Ok(leaf)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Sets a validity that begins a little earlier, for clients whose clocks are behind; of a short life it is a small part,
/// so that the life can be read from the certificate.
fn set_validity(params: &mut CertificateParams, now: Timestamp, life_seconds: i64) {
    let skew = CLOCK_SKEW_SECONDS.min(life_seconds / 10);
    let now = now.as_second();
    params.not_before = date_time_ymd(1970, 1, 1) + since_1970(now - skew);
    params.not_after = date_time_ymd(1970, 1, 1) + since_1970(now + life_seconds);
}
