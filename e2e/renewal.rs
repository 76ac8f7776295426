//! Serving certificates that follow one another in a process of its own: on a full disk, and by symbolic link under load.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use gatepost::webhook::certificates::x509::Certificate;
use jiff::Timestamp;
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::support::alone::{Alone, post, review};
use crate::support::clients::authority;
use crate::support::mount::swap;
use crate::support::wait::{eventually, wait_for};

/// Returns the certificate that is served to a client that has just read `ca.crt`, and accepts it.
#[track_caller]
fn served(gatepost: &Alone) -> CertificateDer<'static> {
    let connection = gatepost.connect().expect("a handshake");
    let chain = connection.conn.peer_certificates().expect("a chain");
    chain.first().expect("a certificate").clone().into_owned()
}

fn in_file(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).expect("a certificate")
}

#[test]
fn a_certificate_that_is_renewed_on_a_full_disk_is_served_at_once() {
    let lifetimes = ["--ca-lifetime", "20m", "--tls-lifetime", "18s"];
    // What a full disk answers with an error, a limit answers with a signal as well, which must be ignored.
    let gatepost = Alone::start_in_shell("trap '' XFSZ; exec \"$@\"", &lifetimes);
    let pid = Pid::from_raw(i32::try_from(gatepost.process.pid()).expect("a pid"));
    let file = gatepost.data().join("tls.crt");
    prlimit(pid, Resource::Fsize, Rlimit { current: Some(0), maximum: None }).expect("no more room");
    let (written, mut seen) = (in_file(&file), vec![served(&gatepost)]);
    let first_ends = Certificate::parse(written.clone()).expect("a certificate").ends;
    let renewed = wait_for("two renewals", Duration::from_mins(2), || {
        gatepost.still_judges();
        let now = served(&gatepost);
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        (Timestamp::now() > first_ends && seen.len() >= 3).then_some(())
    });
    renewed.unwrap_or_else(|error| panic!("{error}: {}", gatepost.log()));
    assert_eq!(in_file(&file), written, "the disk is full");
    let readiness = gatepost.page("/readyz?verbose").expect("readiness");
    assert!(readiness.contains("cannot be written") && readiness.contains(" 200 "), "{readiness}");
    assert!(gatepost.metric("gatepost_tls_reloads_total{result=\"failure\"}") >= 1.0);

    prlimit(pid, Resource::Fsize, Rlimit { current: None, maximum: None }).expect("room again");
    eventually("what is served to be written", || (in_file(&file) == served(&gatepost)).then_some(()));
    eventually("all to be well", || {
        (!gatepost.page("/readyz?verbose").expect("readiness").contains("[!]certificates")).then_some(())
    });
}

/// Issues a serving certificate, as PEM: itself and its key.
fn issue((certificate, key): &(String, String)) -> (String, String) {
    let issuer = Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key).expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("names");
    (params.signed_by(&key, &issuer).expect("a certificate").pem(), key.serialize_pem())
}

#[test]
fn certificates_exchanged_by_symbolic_link_under_load_fail_no_handshake() {
    let mount = tempfile::tempdir().expect("a directory");
    let put = |authority: &(String, String), (certificate, key): &(String, String)| {
        let files = [("ca.crt", authority.0.as_str()), ("tls.crt", certificate), ("tls.key", key)];
        swap(mount.path(), &files).expect("another version");
        CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate")
    };
    let (ours, other) = (authority("ours"), authority("another"));
    let first = put(&ours, &issue(&ours));
    let path = |name: &str| mount.path().join(name).to_string_lossy().into_owned();
    let gatepost = Alone::start(&["--tls-cert", &path("tls.crt"), "--tls-key", &path("tls.key")]);
    assert_eq!(served(&gatepost), first);

    let (body, is_over) = (review("load").to_string(), AtomicBool::new(false));
    let answered: usize = thread::scope(|scope| {
        let send = || {
            let (mut answered, mut lasting) = (0, gatepost.connect().expect("a connection"));
            while !is_over.load(Ordering::Relaxed) {
                let mut connection = gatepost.connect().expect("a handshake");
                for connection in [&mut connection, &mut lasting] {
                    assert_eq!(post(connection, &body).expect("an answer").0, 200);
                    answered += 1;
                }
            }
            answered
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(send)).collect();
        let exchange = || {
            for authority in [&ours, &ours, &other, &other, &ours] {
                let certificate = put(authority, &issue(authority));
                eventually("the other certificate", || (served(&gatepost) == certificate).then_some(()));
            }
            // A key that does not fit changes nothing.
            let before = served(&gatepost);
            put(&ours, &(issue(&ours).0, issue(&ours).1));
            eventually("a word about it", || {
                gatepost.page("/readyz?verbose").expect("readiness").contains("tls.key: ").then_some(())
            });
            assert_eq!(served(&gatepost), before);
        };
        // On a thread of its own, so that what fails there ends the load, too.
        let exchanged = scope.spawn(exchange).join();
        is_over.store(true, Ordering::Relaxed);
        exchanged.expect("each certificate is served");
        threads.into_iter().map(|thread| thread.join().expect("no handshake fails")).sum()
    });
    eprintln!("{answered} answers, six exchanges");
    assert!(answered > 100, "{answered}");
    assert!(gatepost.metric("gatepost_tls_handshake_failures_total") < 1.0);
}
