//! TLS inside the tunnel.
//!
//! That the other end is the Pod is the API server's and the kubelet's word, by connections of theirs that are verified
//! with what the kubeconfig trusts. Gatepost's own authority adds nothing to it, and most people may not read where it
//! stands; so its certificate is not verified.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, Error};

use crate::any_server::AnyServer;

/// Returns what speaks TLS with whoever is at the other end of the tunnel.
pub(super) fn client_config() -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let verifier = Arc::new(AnyServer(provider));
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}
