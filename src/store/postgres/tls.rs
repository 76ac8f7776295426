//! How a connection to PostgreSQL is protected, and by whose word the server is believed.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::failed;
use crate::any_server::AnyServer;
use crate::store::url::{DatabaseUrl, Encryption};
use crate::store::{StoreError, Stored};

const READING: &str = "reading the authorities of the database";

/// Returns how connections are protected: as the URL says, else as well as can be with what is given.
pub(super) fn encryption(url: &DatabaseUrl, authority: Option<&Path>) -> Stored<Encryption> {
    match (url.encryption(), authority) {
        (None, None) => Ok(Encryption::Prefer),
        (None, Some(_)) => Ok(Encryption::VerifyFull),
        (Some(Encryption::Require), Some(_)) => Ok(Encryption::VerifyCa),
        (Some(Encryption::Disable | Encryption::Prefer), Some(_)) => Err(StoreError::Failed {
            context: "opening the store",
            cause: "with --database-ca the URL's sslmode is require, verify-ca or verify-full, \
                    for the others check nothing"
                .into(),
        }),
        (Some(encryption), _) => Ok(encryption),
    }
}

/// Returns what makes the client's side of TLS.
pub(super) fn connector(encryption: Encryption, authority: Option<&Path>) -> Stored<MakeRustlsConnect> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match encryption {
        Encryption::Disable | Encryption::Prefer | Encryption::Require => Arc::new(AnyServer(provider.clone())),
        Encryption::VerifyCa => Arc::new(WhateverName(verifier(authority, provider.clone())?)),
        Encryption::VerifyFull => verifier(authority, provider.clone())?,
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed("setting up TLS to the database"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// Checks certificates by the authorities of a file, or by those of the machine.
fn verifier(authority: Option<&Path>, provider: Arc<CryptoProvider>) -> Stored<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    match authority {
        Some(file) => {
            let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let certificates = read.map_err(|error| StoreError::Failed {
                context: READING,
                cause: format!("{}: {error}", file.display()),
            })?;
            for certificate in certificates {
                roots.add(certificate).map_err(failed(READING))?;
            }
        }
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().map_err(failed(READING))
}

/// Believes every server that an authority vouches for, whatever its name.
#[derive(Debug)]
struct WhateverName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for WhateverName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The name is looked at last, when everything else was found to be right.
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
