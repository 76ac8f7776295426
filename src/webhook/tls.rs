//! TLS: the certificate that is served, swapped live, and who may be the client.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// Returns the one cryptography provider of the process.
pub fn provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not PEM, or cut short.
    #[error("is not valid PEM: {0}")]
    Pem(pem::Error),
    /// PEM without a certificate.
    #[error("has no certificate (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// PEM without a private key.
    #[error("has no private key (-----BEGIN PRIVATE KEY-----)")]
    NoKey,
    /// A certificate or key that TLS refuses, or a pair that does not fit.
    #[error("cannot be used: {0}")]
    Refused(#[from] rustls::Error),
    /// Client authorities that cannot verify anybody.
    #[error("cannot verify clients: {0}")]
    Clients(#[from] VerifierBuilderError),
}

/// The certificate in force: readers take it without a lock, a new one replaces it whole. At first there is none.
#[derive(Debug, Default)]
pub struct CertificateStore(ArcSwapOption<CertifiedKey>);

impl CertificateStore {
    /// Replaces the certificate for every handshake from now on, by a PEM chain, the serving certificate first, and its
    /// PEM key; on an error the old one stays.
    pub fn swap(&self, certificate_pem: &[u8], key_pem: &[u8]) -> Result<(), TlsError> {
        self.0.store(Some(Arc::new(certified_key(certificate_pem, key_pem)?)));
        Ok(())
    }
}

impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// Reads a chain and its key, and checks that they belong together.
pub(super) fn certified_key(certificate_pem: &[u8], key_pem: &[u8]) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(certificate_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey,
        other => TlsError::Pem(other),
    })?;
    Ok(CertifiedKey::from_der(chain, key, &PROVIDER)?)
}

/// Reads every certificate of a PEM text, at least one.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(TlsError::Pem)?;
    if chain.is_empty() { Err(TlsError::NoCertificate) } else { Ok(chain) }
}

/// Reads authorities to trust from a PEM text.
pub(super) fn roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

/// The server's side of TLS 1.2 and 1.3, with HTTP/2 and HTTP/1.1, and resumption by tickets.
#[derive(Debug)]
pub struct Tls {
    store: Arc<CertificateStore>,
    config: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Builds it for the certificates of a store.
    ///
    /// With `client_ca_pem` a client must show a certificate that one of these authorities issued.
    pub fn new(store: Arc<CertificateStore>, client_ca_pem: Option<&[u8]>) -> Result<Arc<Self>, TlsError> {
        let config = server_config(store.clone(), client_ca_pem)?;
        Ok(Arc::new(Self { store, config: ArcSwap::from(config) }))
    }

    /// Exchanges the authorities of clients for every handshake from now on; on an error the old ones stay.
    pub fn set_client_authorities(&self, pem: &[u8]) -> Result<(), TlsError> {
        // With its keys for tickets the old configuration goes: a session that another authority vouched for is not
        // resumed.
        self.config.store(server_config(self.store.clone(), Some(pem))?);
        Ok(())
    }

    /// Returns what the next handshake is done by.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }
}

fn server_config(store: Arc<CertificateStore>, client_ca_pem: Option<&[u8]>) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13, &TLS12])?;
    let builder = match client_ca_pem {
        None => builder.with_no_client_auth(),
        Some(pem) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(pem)?), provider()).build()?,
        ),
    };
    let mut config = builder.with_cert_resolver(store);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(Arc::new(config))
}

/// Who the client is, by its verified certificate; an extension of every request of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity(Arc<[String]>);

impl ClientIdentity {
    /// Reads the common name and the alternative names; none from a certificate that cannot be parsed.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Self {
        let names = x509_parser::parse_x509_certificate(certificate).map(|(_, parsed)| names(&parsed));
        Self(names.unwrap_or_default().into())
    }

    /// Returns whether the certificate bears one of these names, as common name or as an alternative one.
    pub fn has_one_of(&self, names: &[String]) -> bool {
        self.0.iter().any(|own| names.contains(own))
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    common.map(str::to_owned).chain(alternatives(certificate)).collect()
}

/// Returns the alternative names of a certificate; none of one that cannot be parsed.
pub(super) fn alternative_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    x509_parser::parse_x509_certificate(certificate).map(|(_, parsed)| alternatives(&parsed)).unwrap_or_default()
}

fn alternatives(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension.map(|extension| extension.value.general_names.iter().filter_map(alternative_name).collect());
    names.unwrap_or_default()
}

fn alternative_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(text) | GeneralName::URI(text) | GeneralName::RFC822Name(text) => Some((*text).to_owned()),
        GeneralName::IPAddress(octets) => ip_address(octets).map(|address| address.to_string()),
        _ => None,
    }
}

fn ip_address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn self_signed(names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn refuses_what_is_no_certificate_or_does_not_fit() {
        let (certificate, key) = self_signed(&["localhost"]);
        let (_, other) = self_signed(&["localhost"]);
        let cut = certificate.get(..certificate.len() / 2).unwrap_or_default();
        for (certificate, key, expected) in [
            (key.as_str(), key.as_str(), "has no certificate"),
            ("", key.as_str(), "has no certificate"),
            (cut, key.as_str(), "is not valid PEM"),
            (certificate.as_str(), certificate.as_str(), "has no private key"),
            (certificate.as_str(), other.as_str(), "cannot be used"),
        ] {
            let store = CertificateStore::default();
            let error = store.swap(certificate.as_bytes(), key.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(expected) && store.0.load().is_none(), "{error}");
        }
    }

    #[test]
    fn a_failed_swap_leaves_the_old_certificate() {
        let (certificate, key) = self_signed(&["localhost"]);
        let store = CertificateStore::default();
        store.swap(certificate.as_bytes(), key.as_bytes()).unwrap();
        let before = store.0.load_full().unwrap();
        store.swap(b"", key.as_bytes()).unwrap_err();
        assert!(Arc::ptr_eq(&before, &store.0.load_full().unwrap()));
        store.swap(certificate.as_bytes(), key.as_bytes()).unwrap();
        assert!(!Arc::ptr_eq(&before, &store.0.load_full().unwrap()));
    }

    #[test]
    fn names_a_client_by_common_and_alternative_names() {
        let (certificate, _) = self_signed(&["api.example", "10.0.0.1", "::1"]);
        let identity = ClientIdentity::of(&certificates(certificate.as_bytes()).unwrap()[0]);
        for (name, expected) in
            [("kube-apiserver", true), ("api.example", true), ("10.0.0.1", true), ("::1", true), ("api", false)]
        {
            assert_eq!(identity.has_one_of(&["x".into(), name.to_owned()]), expected, "{name}");
        }
    }
}
