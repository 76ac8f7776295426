//! Clients of the webhook: their certificates, and TLS from their side.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gatepost::webhook::tls::provider;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const LIMIT: Duration = Duration::from_secs(10);

/// Makes an authority, as PEM: its certificate and its key.
pub fn authority(name: &str) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.self_signed(&key).expect("an authority").pem(), key.serialize_pem())
}

/// An authority of clients' certificates, in files.
#[derive(Debug)]
pub struct Clients {
    certificate: PathBuf,
    key: PathBuf,
}

impl Clients {
    /// Returns the one that is there.
    pub fn in_directory(directory: &Path) -> Self {
        Self { certificate: directory.join("clients.crt"), key: directory.join("clients.key") }
    }

    /// Makes one.
    pub fn write(directory: &Path) -> anyhow::Result<Self> {
        let clients = Self::in_directory(directory);
        let (certificate, key) = authority("cluster");
        fs::write(&clients.certificate, certificate)?;
        fs::write(&clients.key, key)?;
        Ok(clients)
    }

    /// Returns the file with its certificate.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// Issues a client's certificate, into `FILE.crt` and `FILE.key`.
    pub fn issue(&self, name: &str, file: &Path) -> anyhow::Result<()> {
        let issuer_key = KeyPair::from_pem(&fs::read_to_string(&self.key)?)?;
        let issuer = Issuer::from_ca_cert_pem(&fs::read_to_string(&self.certificate)?, issuer_key)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        fs::write(file.with_extension("crt"), params.signed_by(&key, &issuer)?.pem())?;
        Ok(fs::write(file.with_extension("key"), key.serialize_pem())?)
    }
}

/// Posts a body to the webhook over a connection of its own, and returns the status.
pub fn post(address: &str, authorities: &str, own: Option<&Path>, body: &str) -> anyhow::Result<u16> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        roots.add(certificate?)?;
    }
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let chain = vec![CertificateDer::from_pem_file(file.with_extension("crt"))?];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(file.with_extension("key"))?)?
        }
    };
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
    let mut stream = StreamOwned::new(connection, stream);
    let length = body.len();
    write!(
        stream,
        "POST /validate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).split_whitespace().nth(1).unwrap_or_default().parse()?)
}
