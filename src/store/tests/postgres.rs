//! What only a server can do: go away and come back, speak TLS, and be reached by an address that changes.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::server::{Server, remote, skip};
use super::*;

/// Makes a server of its own for a test.
async fn server() -> Option<Server> {
    let made = tokio::task::spawn_blocking(Server::start).await.unwrap();
    made.map_err(|reason| skip(&reason)).ok()
}

async fn until_it_answers(store: &dyn Store) {
    let answers = async {
        while store.ping().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), answers).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_comes_back_without_a_restart_of_ours() {
    let Some(server) = server().await else { return };
    let directory = tempfile::tempdir().unwrap();
    let url = server.database("gatepost").await;
    let store = open(directory.path(), Some(remote(&url))).await.unwrap();
    let found = finding(&object("shop", "web"), "r", Severity::High, at(0));
    store.change("main", put(std::slice::from_ref(&found)), at(0)).await.unwrap();

    server.stop();
    let error = store.finding(&found.id).await.unwrap_err();
    assert!(matches!(error, StoreError::Away { .. }), "{error}");
    // Whoever starts now keeps nothing until the server is back, and goes on then.
    let late = open(directory.path(), Some(remote(&url))).await.unwrap();
    assert!(matches!(late.ping().await, Err(StoreError::Away { .. })));

    server.restart().unwrap();
    until_it_answers(&*store).await;
    assert_eq!(store.finding(&found.id).await.unwrap(), Some(found.clone()));
    assert_eq!(late.finding(&found.id).await.unwrap(), Some(found.clone()));
    store
        .change("main", Changes { close: vec![(found.id, CloseReason::Fixed)], ..Changes::default() }, at(1))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_in_a_change_leaves_nothing_half_written() {
    let Some(kept) = Kept::on_a_server().await else { return };
    let findings: Vec<Finding> =
        (0..3000).map(|number| finding(&object("shop", &number.to_string()), "r", Severity::High, at(0))).collect();
    let (store, changes) = (kept.store.clone(), put(&findings));
    let changing = tokio::spawn(async move { store.change("main", changes, at(0)).await });
    let other = super::server::client(kept.remote.as_ref().unwrap()).await;
    let end = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() \
        AND query LIKE 'INSERT INTO finding (%'";
    let mut ended = 0_i64;
    while ended == 0 && !changing.is_finished() {
        ended = other.query_one(end, &[]).await.unwrap().get(0);
    }
    assert!(ended > 0, "the change was through before it could be broken off");
    assert!(changing.await.unwrap().is_err());
    assert!(ids(&*kept.store, Filter::default()).await.is_empty());
    assert!(kept.store.facet(&Filter::default(), Facet::State, 9).await.unwrap().is_empty());
    kept.store.change("main", put(&findings), at(0)).await.unwrap();
    let counted = kept.store.facet(&Filter::default(), Facet::State, 9).await.unwrap();
    assert_eq!(counted, [("open".to_owned(), 3000)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_gives_up_leaves_the_connection_usable() {
    let Some(kept) = Kept::on_a_server().await else { return };
    let findings: Vec<Finding> =
        (0..2000).map(|number| finding(&object("shop", &number.to_string()), "r", Severity::High, at(0))).collect();
    for _ in 0..10 {
        let change = kept.store.change("main", put(&findings), at(0));
        let _ = tokio::time::timeout(Duration::from_millis(5), change).await;
    }
    kept.store.change("main", put(&findings), at(0)).await.unwrap();
    let counted = kept.store.facet(&Filter::default(), Facet::State, 9).await.unwrap();
    assert_eq!(counted, [("open".to_owned(), 2000)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_want_us_is_an_error_at_the_start() {
    let Some(kept) = Kept::on_a_server().await else { return };
    let server = SERVER.as_ref().unwrap();
    for (url, expected) in [
        (server.url("t0").replacen("gatepost:", "nobody:", 1), "password authentication failed for user \"nobody\""),
        (server.url("nowhere"), "database \"nowhere\" does not exist"),
        (server.url("t0").replace("disable", "require"), "server does not support TLS"),
    ] {
        let error = open(kept.directory.path(), Some(remote(&url))).await.unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("secret"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_in_a_file_is_read_again_for_every_connection() {
    let Some(server) = server().await else { return };
    let directory = tempfile::tempdir().unwrap();
    let (url, file) = (server.database("gatepost").await, directory.path().join("url"));
    std::fs::write(&file, format!("{url}\n")).unwrap();
    let store =
        open(directory.path(), Some(Remote { address: Address::File(file.clone()), authority: None })).await.unwrap();
    let client = super::server::client(&remote(&url)).await;
    client.batch_execute("ALTER ROLE gatepost PASSWORD 'another'").await.unwrap();
    server.stop();
    server.restart().unwrap();
    assert!(store.ping().await.is_err(), "with the old password");
    let (head, tail) = url.split_once('@').unwrap();
    let user = head.rsplit_once(':').unwrap().0;
    std::fs::write(&file, format!("{user}:another@{tail}")).unwrap();
    until_it_answers(&*store).await;
    let gone = Remote { address: Address::File(directory.path().join("gone")), authority: None };
    let error = open(directory.path(), Some(gone)).await.unwrap_err().to_string();
    assert!(error.starts_with("reading the database's address: /"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_sslmode_checks_what_it_says() {
    let Some(server) = server().await else { return };
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let server =
        tokio::task::spawn_blocking(move || server.with_certificate(&certificate.pem(), &key.serialize_pem()).unwrap());
    let server = server.await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (right, wrong) = (directory.path().join("right.pem"), directory.path().join("wrong.pem"));
    std::fs::write(&right, authority.pem()).unwrap();
    std::fs::write(&wrong, rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem()).unwrap();

    let address = server.database("gatepost").await.replace("sslmode=disable", "sslmode=");
    let localhost = address.replace("127.0.0.1", "localhost");
    let is_encrypted = async |url: &str, authority: Option<&std::path::PathBuf>| -> Result<bool, String> {
        let url = url.trim_end_matches("?sslmode=");
        let remote = Remote { address: Address::Url(url.parse()?), authority: authority.cloned() };
        let store = open(directory.path(), Some(remote)).await.map_err(|error| error.to_string())?;
        store.ping().await.map_err(|error| error.to_string())?;
        let plain = "SELECT COUNT(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE NOT ssl \
            AND application_name = 'gatepost' AND pid <> pg_backend_pid()";
        let unencrypted: i64 = server::client(&remote_of(&server)).await.query_one(plain, &[]).await.unwrap().get(0);
        Ok(unencrypted == 0)
    };
    for (url, mode, authority, expected) in [
        (&address, "disable", None, Ok(false)),
        (&address, "", None, Ok(true)),
        (&address, "prefer", None, Ok(true)),
        (&address, "require", None, Ok(true)),
        (&address, "require", Some(&right), Ok(true)),
        (&address, "require", Some(&wrong), Err("invalid peer certificate: ")),
        (&address, "verify-ca", Some(&right), Ok(true)),
        (&address, "verify-ca", None, Err("invalid peer certificate: ")),
        (&address, "verify-full", Some(&right), Err("not valid for name")),
        (&localhost, "verify-full", Some(&right), Ok(true)),
        (&localhost, "", Some(&right), Ok(true)),
        (&localhost, "", Some(&wrong), Err("invalid peer certificate: ")),
        (&address, "prefer", Some(&right), Err("check nothing")),
    ] {
        let found = is_encrypted(&format!("{url}{mode}"), authority).await;
        let is_as_expected = match (&found, expected) {
            (Ok(found), Ok(expected)) => *found == expected,
            (Err(error), Err(expected)) => error.contains(expected),
            _ => false,
        };
        assert!(is_as_expected, "{mode} {authority:?}: {found:?}");
    }
}

fn remote_of(server: &Server) -> Remote {
    remote(&server.url("postgres"))
}
