//! CA bundles as sets of certificates: two texts that hold the same certificates are the same bundle.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::entry::Entry;

/// Certificates that somebody trusts, each once, in the order in which they were named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authorities(Vec<CertificateDer<'static>>);

impl Authorities {
    /// Reads the certificates of a PEM text; what is no certificate is left out.
    pub fn parse(pem: &[u8]) -> Self {
        CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns how many of these a bundle lacks.
    pub fn missing_in(&self, bundle: &Self) -> usize {
        self.0.iter().filter(|certificate| !bundle.0.contains(certificate)).count()
    }

    /// Returns these, and after them those of a bundle that have not expired.
    ///
    /// Another replica may trust what this one has not heard of yet, or no longer trusts; neither takes away what the
    /// other still serves by.
    pub fn with_unexpired_of(&self, bundle: &Self, now: Timestamp) -> Self {
        let unexpired = bundle.0.iter().filter(|certificate| expiry(certificate).is_some_and(|end| end > now));
        self.0.iter().chain(unexpired).cloned().collect()
    }

    /// Returns what every one of these entries trusts.
    pub fn common(entries: &[Entry]) -> Self {
        let mut bundles = entries.iter().map(|entry| Self::parse(entry.ca_bundle()));
        let first = bundles.next().unwrap_or_default();
        bundles.fold(first, |common, bundle| {
            common.0.into_iter().filter(|certificate| bundle.0.contains(certificate)).collect()
        })
    }

    /// Returns when the last of them ends.
    pub fn end(&self) -> Option<Timestamp> {
        self.0.iter().filter_map(expiry).max()
    }

    /// Writes them as PEM.
    pub fn to_pem(&self) -> String {
        self.0.iter().fold(String::new(), |text, certificate| text + &encode(certificate))
    }
}

impl FromIterator<CertificateDer<'static>> for Authorities {
    fn from_iter<I: IntoIterator<Item = CertificateDer<'static>>>(certificates: I) -> Self {
        certificates.into_iter().fold(Self::default(), |mut known, certificate| {
            if !known.0.contains(&certificate) {
                known.0.push(certificate);
            }
            known
        })
    }
}

fn expiry(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()
}

fn encode(certificate: &CertificateDer<'_>) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = STANDARD.encode(certificate);
    while !rest.is_empty() {
        let tail = rest.split_off(rest.len().min(64));
        text.push_str(&rest);
        text.push('\n');
        rest = tail;
    }
    text + "-----END CERTIFICATE-----\n"
}
