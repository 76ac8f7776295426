//! Signing in with a provider of OpenID Connect, behind a proxy, in a real Chromium: `e2e/browser/oidc.mjs` is provider,
//! proxy and user; Gatepost audits the real control plane.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use crate::browser::{folder_with, screenshots};
use crate::support::objects::untagged;
use crate::support::wait::eventually;
use crate::support::watchdog::state_directory;
use crate::support::{Gatepost, Options, apply};

#[test]
fn people_without_rights_in_the_cluster_see_what_their_groups_may() {
    let Some(folder) = folder_with("oidc-provider") else { return };
    let (issuer, outside) = (format!("http://127.0.0.1:{}", free_port()), free_port());
    let files = state_directory().join("oidc");
    fs::create_dir_all(&files).expect("a directory");
    let file = |name: &str| files.join(name).display().to_string();
    let secret = gatepost::scan::random::base64::<32>().expect("random numbers");
    fs::write(file("secret"), &secret).expect("a file");
    let proxy = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    fs::write(file("proxy.crt"), proxy.cert.pem()).expect("a file");
    fs::write(file("proxy.key"), proxy.signing_key.serialize_pem()).expect("a file");
    let address = format!("https://localhost:{outside}/gatepost");
    let config = format!(
        "externalUrl: {address}
auth:
  oidc:
    name: Work
    issuer: {issuer}
    clientId: gatepost
    clientSecretFile: {}
    scopes: [profile, groups]
    session: 1h
  groups:
    team-shop: ['shop-*']
    platform: ['*']
",
        file("secret")
    );
    let arguments = &["--audit-interval", "2s"];
    let options = Options { config: Box::leak(config.into()), arguments, ..Options::default() };
    let Some(gatepost) = Gatepost::start(&options) else { return };
    let (front, payments) = (gatepost.namespace("shop-front", &[]), gatepost.namespace("payments", &[]));
    for there in [&front, &payments] {
        there.accepts(apply(&untagged("web")));
    }
    let inside = eventually("the address of the API", || gatepost.serving().http());
    let output = Command::new("node")
        .arg("oidc.mjs")
        .current_dir(&folder)
        .env("GATEPOST_URL", &address)
        .env("GATEPOST_INSIDE", format!("https://{inside}"))
        .env("ISSUER", &issuer)
        .env("CLIENT_SECRET", &secret)
        .env("PROXY_CERT", file("proxy.crt"))
        .env("PROXY_KEY", file("proxy.key"))
        .env("SHOP", &front.name)
        .env("PAYMENTS", &payments.name)
        .env("SCREENSHOTS", screenshots())
        .output()
        .expect("node runs");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}\n{}", gatepost.serving().log_end());
    let log = fs::read_to_string(gatepost.serving().directory().join("gatepost.log")).expect("a log");
    assert!(log.contains("\"message\":\"signed in\"") && !log.contains(&secret), "{log}");
}

/// Returns a port that nobody listens on; whoever takes it next is us.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}
