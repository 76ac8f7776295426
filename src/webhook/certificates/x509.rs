//! Certificates and keys as they stand in PEM, and what is asked of them.

use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};

use super::Name;
use crate::cluster::registration::authorities::Authorities;
use crate::webhook::tls::{self, TlsError};

/// One certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: CertificateDer<'static>,
    /// When it begins to be valid.
    pub begins: Timestamp,
    /// When it ends.
    pub ends: Timestamp,
    /// Whether it may issue others.
    pub is_authority: bool,
}

impl Certificate {
    /// Reads a certificate.
    pub fn parse(der: CertificateDer<'static>) -> Result<Self, TlsError> {
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(|_| TlsError::NoCertificate)?;
        let at = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|_| TlsError::NoCertificate)
        };
        let (begins, ends) = (at(parsed.validity().not_before)?, at(parsed.validity().not_after)?);
        let is_authority = parsed.is_ca();
        Ok(Self { der, begins, ends, is_authority })
    }

    /// Reads every certificate of a PEM text, at least one.
    pub fn parse_all(pem: &str) -> Result<Vec<Self>, TlsError> {
        tls::certificates(pem.as_bytes())?.into_iter().map(Self::parse).collect()
    }

    /// Returns the certificate as DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// Returns the certificate as PEM.
    pub fn pem(&self) -> String {
        union([self])
    }

    /// Returns `sha256:` and the digest of the whole certificate in hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(&self.der)))
    }

    /// Returns whom it names and who issued it, as `CN=…`.
    pub fn subject_and_issuer(&self) -> (String, String) {
        let parsed = x509_parser::parse_x509_certificate(&self.der);
        parsed.map(|(_, parsed)| (parsed.subject().to_string(), parsed.issuer().to_string())).unwrap_or_default()
    }

    /// Returns the DNS names and IP addresses that it is for.
    pub fn names(&self) -> Vec<String> {
        tls::alternative_names(&self.der)
    }

    /// Returns for how many seconds it is valid in all.
    pub fn life_seconds(&self) -> i64 {
        self.ends.as_second() - self.begins.as_second()
    }

    /// Returns for how many seconds it is still valid; negative once it is over.
    pub fn remaining_seconds(&self, now: Timestamp) -> i64 {
        self.ends.as_second() - now.as_second()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, until {})", self.fingerprint(), self.ends)
    }
}

/// Returns several certificates as one PEM text, each once.
pub fn union<'a>(certificates: impl IntoIterator<Item = &'a Certificate>) -> String {
    certificates.into_iter().map(|certificate| certificate.der.clone()).collect::<Authorities>().to_pem()
}

/// A private key as PEM, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Takes a key that was just made.
    pub fn new(pem: String) -> Self {
        Self(pem)
    }

    /// Reads every private key of a PEM text; other things that stand there are left out.
    pub fn parse_all(pem: &str) -> Vec<Self> {
        let is_key = |block: &&str| PrivateKeyDer::from_pem_slice(block.as_bytes()).is_ok();
        blocks(pem).filter(is_key).map(|block| Self(format!("{block}\n"))).collect()
    }

    /// Returns the PEM text.
    pub fn pem(&self) -> &str {
        &self.0
    }

    /// Returns whether this is the key of a certificate.
    pub fn fits(&self, certificate: &Certificate) -> bool {
        let key = PrivateKeyDer::from_pem_slice(self.0.as_bytes());
        key.is_ok_and(|key| CertifiedKey::from_der(vec![certificate.der.clone()], key, &tls::provider()).is_ok())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// Returns the PEM blocks of a text.
fn blocks(mut text: &str) -> impl Iterator<Item = &str> {
    const END: &str = "-----END ";
    std::iter::from_fn(move || {
        let begun = text.get(text.find("-----BEGIN ")?..)?;
        let label = begun.find(END)? + END.len();
        let close = label + begun.get(label..)?.find("-----")? + "-----".len();
        let (block, rest) = begun.split_at_checked(close)?;
        text = rest;
        Some(block)
    })
}

/// A serving certificate with what leads to its authority, and its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The chain as PEM, the serving certificate first.
    pub chain_pem: String,
    /// Its private key.
    pub key: Key,
    /// The serving certificate.
    pub certificate: Certificate,
}

impl Leaf {
    /// Reads a chain and its key, and checks that they belong together.
    pub fn parse(chain_pem: &str, key_pem: &str) -> Result<Self, TlsError> {
        let certified = tls::certified_key(chain_pem.as_bytes(), key_pem.as_bytes())?;
        let first = certified.cert.first().cloned().ok_or(TlsError::NoCertificate)?;
        let (chain_pem, key) = (chain_pem.to_owned(), Key(key_pem.to_owned()));
        Ok(Self { chain_pem, key, certificate: Certificate::parse(first)? })
    }

    /// Reads a chain alone, to look at it: it cannot be served.
    pub fn without_key(chain_pem: &str) -> Result<Self, TlsError> {
        let certificate = Certificate::parse_all(chain_pem)?.into_iter().next().ok_or(TlsError::NoCertificate)?;
        Ok(Self { chain_pem: chain_pem.to_owned(), key: Key(String::new()), certificate })
    }

    /// Checks the chain as a client would that trusts one authority and connects at `now` by each of the names.
    pub fn is_accepted_by(&self, authority: &Certificate, names: &[Name], now: Timestamp) -> Result<(), TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der.clone())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), tls::provider()).build()?;
        let time = UnixTime::since_unix_epoch(super::since_1970(now.as_second()));
        let chain = tls::certificates(self.chain_pem.as_bytes())?;
        let (first, rest) = chain.split_first().ok_or(TlsError::NoCertificate)?;
        names.iter().try_for_each(|name| {
            verifier.verify_server_cert(first, rest, &name.asked, &[], time).map(drop).map_err(TlsError::from)
        })
    }

    /// Returns the DNS names and IP addresses that it is for.
    pub fn names(&self) -> Vec<Name> {
        self.certificate.names().iter().filter_map(|name| Name::parse(name).ok()).collect()
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Leaf").field(&self.certificate).finish()
    }
}
