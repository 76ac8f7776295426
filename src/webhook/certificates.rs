//! The serving certificate and its authority: read from files, or made here and kept in the data directory.
//!
//! Whatever the source, `ca.crt` in the data directory holds what clients must trust. The clock is passed in.

mod trust;

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{ServerName, UnixTime};
use tokio::sync::watch;

pub use trust::Trust;

use super::tls::{self, CertificateStore, TlsError};

const DAY_SECONDS: i64 = 24 * 60 * 60;
const AUTHORITY_LIFE_SECONDS: i64 = 10 * 365 * DAY_SECONDS;
const SERVING_LIFE_SECONDS: i64 = 365 * DAY_SECONDS;
/// How long before its end a certificate is renewed.
const RENEW_BEFORE_SECONDS: i64 = 30 * DAY_SECONDS;
/// How far a client's clock may be behind.
const CLOCK_SKEW_SECONDS: i64 = 60 * 60;

/// Where the serving certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Two PEM files that somebody else keeps.
    Files {
        /// The chain, the serving certificate first.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// Made here, by an authority of our own.
    Own {
        /// DNS names and IP addresses that clients may use.
        names: Vec<String>,
    },
}

/// The certificate to serve and the authority to trust, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Serving {
    /// The chain, the serving certificate first.
    pub certificate_pem: String,
    /// Its private key.
    pub key_pem: String,
    /// What clients must trust, also in `ca.crt`: the webhook configuration's `caBundle`.
    pub authority_pem: String,
}

impl fmt::Debug for Serving {
    /// Leaves the key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

/// Why there is no certificate to serve.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file or directory that cannot be read.
    #[error("{}: cannot be read: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A file or directory that cannot be written.
    #[error("{}: cannot be written: {cause}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A file that is no certificate, no key, or does not fit its companion.
    #[error("{}: {cause}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: TlsError,
    },
    /// A name that no certificate can bear.
    #[error("\"{0}\" is neither a DNS name nor an IP address")]
    Name(String),
    /// The certificate could not be made.
    #[error("no certificate could be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// Returns the names of a serving certificate: this machine's, the Service's in `namespace`, and the given ones.
pub fn names(namespace: Option<&str>, extra: &[String]) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    if let Some(namespace) = namespace {
        names.extend(
            ["svc.cluster.local", "svc", ""]
                .map(|zone| format!("gatepost.{namespace}.{zone}").trim_end_matches('.').to_owned()),
        );
    }
    for name in extra {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// Returns the certificate to serve now, and sees to it that `ca.crt` is in the data directory.
///
/// Of our own, authority (`ca.crt`, `ca.key`) and certificate (`tls.crt`, `tls.key`) are kept there and used again for
/// as long as clients would accept them for every name; what is missing, broken or near its end is made anew.
pub fn current(source: &Source, data_dir: &Path, now: Timestamp) -> Result<Serving, CertificateError> {
    create_directory(data_dir)?;
    match source {
        Source::Files { certificate, key } => from_files(certificate, key, data_dir),
        Source::Own { names } => own(names, data_dir, now),
    }
}

/// Serves what the source gives for as long as the process lives: looks every `interval`, and swaps what changed.
///
/// Contents are compared, since a watch on a file does not see that a mounted Secret was exchanged by symbolic link.
pub async fn keep_current(
    source: Source,
    data_dir: PathBuf,
    mut serving: Serving,
    store: Arc<CertificateStore>,
    trust: Arc<Trust>,
    interval: Duration,
    mut shutdown: watch::Receiver<bool>,
) {
    trust.set_authorities(&serving.authority_pem);
    while tokio::time::timeout(interval, shutdown.wait_for(|is_over| *is_over)).await.is_err() {
        let (source, data_dir) = (source.clone(), data_dir.clone());
        let look = tokio::task::spawn_blocking(move || current(&source, &data_dir, Timestamp::now()));
        match look.await {
            Ok(Ok(found)) if found == serving => {}
            Ok(Ok(found)) => match store.swap(found.certificate_pem.as_bytes(), found.key_pem.as_bytes()) {
                Ok(()) => {
                    tracing::info!("the serving certificate was replaced");
                    trust.set_authorities(&found.authority_pem);
                    serving = found;
                }
                Err(error) => tracing::error!(%error, "the new serving certificate cannot be used; the old one stays"),
            },
            Ok(Err(error)) => tracing::error!(%error, "the serving certificate cannot be renewed; the old one stays"),
            Err(error) => tracing::error!(%error, "looking after the serving certificate failed"),
        }
    }
}

fn from_files(certificate: &Path, key: &Path, data_dir: &Path) -> Result<Serving, CertificateError> {
    let (certificate_pem, key_pem) = (read(certificate)?, read(key)?);
    let invalid = |path: &Path| {
        let path = path.to_owned();
        move |cause| CertificateError::Invalid { path, cause }
    };
    tls::certificates(certificate_pem.as_bytes()).map_err(invalid(certificate))?;
    tls::certified_key(certificate_pem.as_bytes(), key_pem.as_bytes()).map_err(invalid(key))?;
    let authority_pem = last_certificate(&certificate_pem).to_owned();
    let path = data_dir.join(AUTHORITY.certificate);
    if read_if_there(&path)?.as_ref() != Some(&authority_pem) {
        write(&path, &authority_pem, Readers::All)?;
    }
    Ok(Serving { certificate_pem, key_pem, authority_pem })
}

/// Returns the last certificate of a PEM chain: the file itself when it holds only one.
fn last_certificate(chain: &str) -> &str {
    chain.rfind("-----BEGIN CERTIFICATE-----").and_then(|start| chain.get(start..)).unwrap_or(chain)
}

fn own(names: &[String], data_dir: &Path, now: Timestamp) -> Result<Serving, CertificateError> {
    let names = names.iter().map(|name| Name::parse(name)).collect::<Result<Vec<_>, _>>()?;
    let authority = Authority::read(data_dir, now)?;
    if let Some(authority) = &authority
        && let Some(serving) = authority.kept(&names, data_dir, now)?
    {
        return Ok(serving);
    }
    let authority = match authority {
        // A serving certificate must not outlive what it is trusted by.
        Some(authority) if authority.ends > now.as_second() + SERVING_LIFE_SECONDS => authority,
        _ => Authority::make(data_dir, now)?,
    };
    authority.issue(&names, data_dir, now)
}

/// One name of the serving certificate.
struct Name {
    /// As it stands in the certificate.
    alternative: SanType,
    /// What a client that connects by it asks for.
    asked: ServerName<'static>,
}

impl Name {
    fn parse(name: &str) -> Result<Self, CertificateError> {
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

/// Names of a certificate and its key in the data directory.
struct Pair {
    certificate: &'static str,
    key: &'static str,
}

const AUTHORITY: Pair = Pair { certificate: "ca.crt", key: "ca.key" };
const SERVING: Pair = Pair { certificate: "tls.crt", key: "tls.key" };

impl Pair {
    /// Reads both, if both are there.
    fn read(&self, data_dir: &Path) -> Result<Option<(String, String)>, CertificateError> {
        let certificate = read_if_there(&data_dir.join(self.certificate))?;
        Ok(certificate.zip(read_if_there(&data_dir.join(self.key))?))
    }

    /// Writes the key first: a certificate without its key is never found.
    fn write(&self, data_dir: &Path, certificate_pem: &str, key_pem: &str) -> Result<(), CertificateError> {
        write(&data_dir.join(self.key), key_pem, Readers::Owner)?;
        write(&data_dir.join(self.certificate), certificate_pem, Readers::All)
    }
}

/// Our own certificate authority.
struct Authority {
    certificate_pem: String,
    /// Seconds since 1970.
    ends: i64,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Reads the authority of the data directory; none if it is missing, broken or near its end.
    fn read(data_dir: &Path, now: Timestamp) -> Result<Option<Self>, CertificateError> {
        let Some((certificate_pem, key_pem)) = AUTHORITY.read(data_dir)? else { return Ok(None) };
        let Some(authority) = Self::parse(certificate_pem, &key_pem) else {
            tracing::warn!(directory = %data_dir.display(), "ca.crt and ca.key cannot be used and are made anew");
            return Ok(None);
        };
        if authority.ends <= now.as_second() + RENEW_BEFORE_SECONDS {
            tracing::warn!(directory = %data_dir.display(), "the authority in ca.crt is near its end and made anew");
            return Ok(None);
        }
        Ok(Some(authority))
    }

    fn parse(certificate_pem: String, key_pem: &str) -> Option<Self> {
        let certified = tls::certified_key(certificate_pem.as_bytes(), key_pem.as_bytes()).ok()?;
        let der = certified.cert.first()?;
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        if !certificate.is_ca() {
            return None;
        }
        let ends = certificate.validity().not_after.timestamp();
        let issuer = Issuer::from_ca_cert_der(der, KeyPair::from_pem(key_pem).ok()?).ok()?;
        Some(Self { certificate_pem, ends, issuer })
    }

    /// Makes a new authority and keeps it in the data directory.
    fn make(data_dir: &Path, now: Timestamp) -> Result<Self, CertificateError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("Gatepost CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ends = set_validity(&mut params, now, AUTHORITY_LIFE_SECONDS);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate_pem = params.self_signed(&key)?.pem();
        AUTHORITY.write(data_dir, &certificate_pem, &key.serialize_pem())?;
        tracing::info!(directory = %data_dir.display(), "made a certificate authority; clients must trust ca.crt");
        Ok(Self { certificate_pem, ends, issuer: Issuer::new(params, key) })
    }

    /// Returns the certificate of the data directory if a client would accept it, now and until it is due.
    fn kept(&self, names: &[Name], data_dir: &Path, now: Timestamp) -> Result<Option<Serving>, CertificateError> {
        let Some((certificate_pem, key_pem)) = SERVING.read(data_dir)? else { return Ok(None) };
        let is_accepted = [now.as_second(), now.as_second() + RENEW_BEFORE_SECONDS].into_iter().all(|second| {
            let accepted = self.accepts(&certificate_pem, &key_pem, names, second);
            accepted.inspect_err(|cause| tracing::info!(%cause, "the serving certificate is renewed")).is_ok()
        });
        let authority_pem = self.certificate_pem.clone();
        Ok(is_accepted.then_some(Serving { certificate_pem, key_pem, authority_pem }))
    }

    /// Checks a chain as a client would that trusts this authority and connects by each of the names.
    fn accepts(&self, certificate_pem: &str, key_pem: &str, names: &[Name], second: i64) -> Result<(), TlsError> {
        let certified = tls::certified_key(certificate_pem.as_bytes(), key_pem.as_bytes())?;
        let roots: RootCertStore = tls::roots(self.certificate_pem.as_bytes())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), tls::provider()).build()?;
        let time = UnixTime::since_unix_epoch(since_1970(second));
        let (first, rest) = certified.cert.split_first().ok_or(TlsError::NoCertificate)?;
        names.iter().try_for_each(|name| {
            verifier.verify_server_cert(first, rest, &name.asked, &[], time).map(drop).map_err(TlsError::from)
        })
    }

    /// Issues a serving certificate and keeps it in the data directory.
    fn issue(&self, names: &[Name], data_dir: &Path, now: Timestamp) -> Result<Serving, CertificateError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("gatepost");
        params.subject_alt_names = names.iter().map(|name| name.alternative.clone()).collect();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, SERVING_LIFE_SECONDS);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate_pem = params.signed_by(&key, &self.issuer)?.pem();
        let key_pem = key.serialize_pem();
        SERVING.write(data_dir, &certificate_pem, &key_pem)?;
        Ok(Serving { certificate_pem, key_pem, authority_pem: self.certificate_pem.clone() })
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Sets a validity that begins now, and returns the second when it ends.
fn set_validity(params: &mut CertificateParams, now: Timestamp, life_seconds: i64) -> i64 {
    let ends = now.as_second() + life_seconds;
    params.not_before = date_time_ymd(1970, 1, 1) + since_1970(now.as_second() - CLOCK_SKEW_SECONDS);
    params.not_after = date_time_ymd(1970, 1, 1) + since_1970(ends);
    ends
}

fn since_1970(second: i64) -> Duration {
    Duration::from_secs(second.try_into().unwrap_or(0))
}

fn read(path: &Path) -> Result<String, CertificateError> {
    fs::read_to_string(path).map_err(|cause| CertificateError::Read { path: path.to_owned(), cause })
}

/// Reads a file of the data directory; what is no text is left for the parser to refuse.
fn read_if_there(path: &Path) -> Result<Option<String>, CertificateError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(CertificateError::Read { path: path.to_owned(), cause }),
    }
}

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readers {
    All,
    Owner,
}

/// Writes a file so that nobody ever finds half of it.
fn write(path: &Path, text: &str, readers: Readers) -> Result<(), CertificateError> {
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    // Left by a process that was killed here; in a container every process has the same id.
    drop(fs::remove_file(&temporary));
    let written = options(readers).open(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    });
    written.map_err(|cause| CertificateError::Write { path: path.to_owned(), cause })
}

fn options(readers: Readers) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, if readers == Readers::All { 0o644 } else { 0o600 });
    #[cfg(not(unix))]
    let _ = readers;
    options
}

fn create_directory(path: &Path) -> Result<(), CertificateError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|cause| CertificateError::Write { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests;
