use std::fs;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::watch;

use super::advance::IsPublished;
use super::x509::Certificate;
use super::*;
use crate::telemetry::CertificateMetrics;
use crate::webhook::health::{Condition, Readiness};

mod full_disk;
mod takeover;
mod walk;

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 24 * 60 * 60;

fn second(number: i64) -> Timestamp {
    Timestamp::from_second(NOW + number).unwrap()
}

fn years() -> Lifetimes {
    Lifetimes::new(3650 * DAY, 365 * DAY, None).unwrap()
}

fn names_with(extra: &[&str]) -> Vec<Name> {
    let extra: Vec<_> = extra.iter().map(ToString::to_string).collect();
    names(Some("policy"), &extra).unwrap()
}

fn plan<'a>(names: &'a [Name], is_published: IsPublished<'a>) -> Plan<'a> {
    Plan { names, lifetimes: years(), is_published }
}

/// Starts a process that finds this in the data directory, or goes on with what it has in force.
fn look(dir: &Path, names: &[Name], in_force: Option<&State>, number: i64) -> Result<State, CertificateError> {
    in_directory(&Directory::open(dir).unwrap(), in_force, &plan(names, &|_| true), second(number))
}

fn start(dir: &TempDir, number: i64) -> State {
    let state = look(dir.path(), &names_with(&[]), None, number).unwrap();
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    let leaf = state.leaf.as_ref().unwrap();
    assert_eq!((&leaf.chain_pem, leaf.key.pem()), (&read("tls.crt"), read("tls.key").as_str()));
    assert_eq!(state.authorities_pem(), read("ca.crt"));
    state
}

fn served(state: &State) -> &Certificate {
    &state.leaf.as_ref().unwrap().certificate
}

/// Returns the places of the authorities by which a client accepts what is served, the newest first.
fn accepted_by(state: &State, now: Timestamp) -> Vec<usize> {
    let leaf = state.leaf.as_ref().unwrap();
    let names = leaf.names();
    let accepts = |place: &usize| leaf.is_accepted_by(&state.authorities[*place].certificate, &names, now).is_ok();
    (0..state.authorities.len()).filter(accepts).collect()
}

fn text_of(names: &[Name]) -> Vec<String> {
    names.iter().map(|name| name.asked.to_str().into_owned()).collect()
}

#[test]
fn names_this_machine_the_service_and_what_is_given() {
    let extra = ["gatepost.example".to_owned(), "localhost".to_owned()];
    assert_eq!(text_of(&names(None, &extra).unwrap()), ["localhost", "127.0.0.1", "::1", "gatepost.example"]);
    let service = [
        "gatepost.shop.svc.cluster.local",
        "gatepost.shop.svc",
        "gatepost.shop",
        "gatepost-scanner.shop.svc.cluster.local",
        "gatepost-scanner.shop.svc",
        "gatepost-scanner.shop",
        "gatepost-scanner",
    ];
    assert_eq!(text_of(&names(Some("shop"), &[]).unwrap()).split_off(3), service);
    let error = names(None, &["no name".to_owned()]).unwrap_err();
    assert_eq!(error.to_string(), "\"no name\" is neither a DNS name nor an IP address");
}

#[test]
fn certificates_take_turns_only_with_lifetimes_that_fit() {
    assert_eq!(years().overlap, 30 * DAY);
    assert_eq!(Lifetimes::new(100, 50, None).unwrap().overlap, 10);
    assert!(Lifetimes::new(100, 51, None).unwrap_err().contains("--tls-lifetime"));
    assert!(Lifetimes::new(100, 50, Some(26)).unwrap_err().contains("--ca-overlap"));
}

#[test]
fn a_start_uses_again_what_clients_accept_and_renews_the_rest() {
    // What happens to the files; the day of the second start; whether what is served, and who is trusted, stays.
    type Harm = fn(&Path);
    let table: [(&str, Harm, i64, bool, bool); 13] = [
        ("nothing", |_| (), 0, true, true),
        ("eleven months", |_| (), 334, true, true),
        ("less than 30 days left", |_| (), 336, false, true),
        ("expired", |_| (), 400, false, true),
        ("the authority would end first", |_| (), 9 * 365 + 10, false, false),
        ("a clock set back", |_| (), -1, false, true),
        ("no key", |dir| fs::remove_file(dir.join("tls.key")).unwrap(), 0, false, true),
        ("broken certificate", |dir| fs::write(dir.join("tls.crt"), [0, 159, 146]).unwrap(), 0, false, true),
        ("key of another", |dir| _ = fs::copy(dir.join("ca.key"), dir.join("tls.key")).unwrap(), 0, false, true),
        // What is served lasts, but there is nobody to trust that could issue the next.
        ("no authority's key", |dir| fs::remove_file(dir.join("ca.key")).unwrap(), 0, true, true),
        ("no authority's key, in the end", |dir| fs::remove_file(dir.join("ca.key")).unwrap(), 364, true, false),
        // Who was trusted is remembered, so clients go on; somebody new is to issue.
        ("broken authority", |dir| fs::write(dir.join("ca.crt"), "?").unwrap(), 0, true, true),
        ("no authority", |dir| _ = fs::copy(dir.join("tls.crt"), dir.join("ca.crt")).unwrap(), 0, true, true),
    ];
    for (what, harm, day, keeps_certificate, keeps_authority) in table {
        let dir = TempDir::new().unwrap();
        let first = start(&dir, 0);
        harm(dir.path());
        let second = start(&dir, day * DAY);
        assert_eq!(served(&first) == served(&second), keeps_certificate, "{what}");
        assert_eq!(first.authorities_pem() == second.authorities_pem(), keeps_authority, "{what}");
        assert_eq!(start(&dir, day * DAY), second, "{what}: twice");
        assert!(!accepted_by(&second, self::second(day * DAY)).is_empty(), "{what}");
    }
}

#[test]
fn renews_for_a_new_name_but_not_for_one_less() {
    let dir = TempDir::new().unwrap();
    let first = start(&dir, 0);
    let more = names_with(&["*.gate.example", "192.0.2.1"]);
    let second = look(dir.path(), &more, Some(&first), 0).unwrap();
    assert_ne!(served(&first), served(&second));
    assert_eq!(first.authorities_pem(), second.authorities_pem());
    assert_eq!(look(dir.path(), &more, None, 0).unwrap(), second);
    assert_eq!(start(&dir, 0), second);
    // A replica with another name does not take away the first one's.
    let both = look(dir.path(), &names_with(&["other.example"]), None, 0).unwrap();
    assert_eq!(look(dir.path(), &more, None, 0).unwrap(), both);
}

#[cfg(unix)]
#[test]
fn only_the_owner_reads_keys_and_nothing_else_is_left() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("new/data");
    look(&dir, &names_with(&[]), None, 0).unwrap();
    let modes = fs::read_dir(&dir).unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().permissions().mode() & 0o777)
    });
    let mut modes: Vec<_> = modes.collect();
    modes.sort();
    let expected =
        [("ca.crt", 0o644), ("ca.key", 0o600), ("tls.crt", 0o644), ("tls.key", 0o600), ("trusted.json", 0o600)];
    assert_eq!(modes, expected.map(|(name, mode)| (name.to_owned(), mode)));
    assert!(!fs::read_to_string(dir.join("trusted.json")).unwrap().contains("PRIVATE"));
}

/// Makes an authority as somebody would with openssl: all with the same name, with a key that begins with its parameters.
fn by_hand(dir: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Our own CA");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2036, 1, 1);
    let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    fs::write(dir.join("ca.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(dir.join("ca.key"), format!("{parameters}{}", key.serialize_pem())).unwrap();
}

#[test]
fn an_authority_put_there_by_hand_is_trusted_first_and_issues_then() {
    let dir = TempDir::new().unwrap();
    let names = names_with(&[]);
    let mut state = start(&dir, 0);
    for (round, begin) in [0, DAY].into_iter().enumerate() {
        let before = state.clone();
        by_hand(dir.path());
        state = look(dir.path(), &names, Some(&state), begin).unwrap();
        assert_eq!(served(&state), served(&before), "what was served goes on");
        assert_eq!(state.authorities.len(), 2, "{round}");
        assert_eq!(accepted_by(&state, second(begin)), [1]);

        state = look(dir.path(), &names, Some(&state), begin + 5).unwrap();
        assert_eq!(accepted_by(&state, second(begin)), [0], "the new one issues");
        assert_eq!(state.authorities[1].certificate, before.authorities[0].certificate);
        assert!(state.authorities[1].key.is_none());

        state = look(dir.path(), &names, Some(&state), begin + 5 + 3600).unwrap();
        assert_eq!(state.authorities.len(), 1, "the former one goes");
    }
}

#[test]
fn what_is_removed_is_made_anew_and_what_was_trusted_stays() {
    let dir = TempDir::new().unwrap();
    let names = names_with(&[]);
    let before = start(&dir, 0);
    for name in ["ca.crt", "ca.key", "tls.crt", "tls.key", "trusted.json"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    let after = look(dir.path(), &names, Some(&before), 0).unwrap();
    assert_eq!((served(&after), after.authorities.len()), (served(&before), 2));
    let later = look(dir.path(), &names, Some(&after), 5).unwrap();
    assert_eq!(accepted_by(&later, second(5)), [0]);
    assert_ne!(later.authorities[0].certificate, before.authorities[0].certificate);
}

#[test]
fn a_broken_authority_changes_nothing_while_another_lasts() {
    type Harm = fn(&Path, &Path);
    let names = names_with(&[]);
    let other = TempDir::new().unwrap();
    by_hand(other.path());
    let table: [(Harm, &str); 4] = [
        (|dir, _| fs::write(dir.join("ca.crt"), "?").unwrap(), "ca.crt has no certificate"),
        (|dir, other| _ = fs::copy(other.join("ca.crt"), dir.join("ca.crt")).unwrap(), "ca.key is not the key of"),
        (|dir, _| _ = fs::copy(dir.join("tls.crt"), dir.join("ca.crt")).unwrap(), "is no authority"),
        (|dir, _| fs::remove_file(dir.join("ca.crt")).unwrap(), "ca.crt has no certificate"),
    ];
    for (harm, expected) in table {
        let dir = TempDir::new().unwrap();
        let in_force = start(&dir, 0);
        harm(dir.path(), other.path());
        let harmed = Directory::at(dir.path()).read().unwrap();
        let error = look(dir.path(), &names, Some(&in_force), 5).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(Directory::at(dir.path()).read().unwrap(), harmed, "nothing is overwritten");
        // In the end somebody must issue, and be trusted before.
        let next = look(dir.path(), &names, Some(&in_force), 360 * DAY).unwrap();
        assert_eq!((accepted_by(&next, second(360 * DAY)), next.authorities.len()), (vec![1], 2));
        let next = look(dir.path(), &names, Some(&next), 365 * DAY - 3600).unwrap();
        assert_eq!(accepted_by(&next, second(365 * DAY - 3600)), [0]);
    }
}

#[test]
fn an_authority_that_may_not_issue_these_names_is_refused() {
    let dir = TempDir::new().unwrap();
    let in_force = start(&dir, 0);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let only = vec![rcgen::GeneralSubtree::DnsName("elsewhere.example".into())];
    params.name_constraints = Some(rcgen::NameConstraints { permitted_subtrees: only, excluded_subtrees: vec![] });
    fs::write(dir.path().join("ca.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(dir.path().join("ca.key"), key.serialize_pem()).unwrap();
    let names = names_with(&[]);
    let trusted = look(dir.path(), &names, Some(&in_force), 0).unwrap();
    let error = look(dir.path(), &names, Some(&trusted), 5).unwrap_err().to_string();
    assert!(error.contains("cannot issue a serving certificate for all names"), "{error}");
}

#[test]
fn no_authority_issues_before_the_registrations_hold_it() {
    let dir = TempDir::new().unwrap();
    let names = names_with(&[]);
    let mut state = start(&dir, 0);
    by_hand(dir.path());
    let directory = Directory::at(dir.path());
    let old = state.authorities[0].certificate.clone();
    let only_old = |certificate: &Certificate| *certificate == old;
    for number in [0, 5, DAY, 300 * DAY] {
        let plan = plan(&names, &only_old);
        state = in_directory(&directory, Some(&state), &plan, second(number)).unwrap();
        assert_eq!(accepted_by(&state, second(number)), [1], "{number}");
    }
    state = in_directory(&directory, Some(&state), &plan(&names, &|_| true), second(301 * DAY)).unwrap();
    assert_eq!(accepted_by(&state, second(301 * DAY)), [0]);
}

fn files(dir: &Path, name: &str) -> Files {
    Files { certificate: dir.join(name), key: dir.join("tls.key") }
}

fn given(files: &Files, data_dir: &Path, in_force: Option<&State>, number: i64) -> State {
    let given = files.read(data_dir).unwrap();
    given.advance(in_force, &plan(&[], &|_| true), second(number))
}

#[test]
fn given_files_are_served_and_their_authority_is_told() {
    let (made_in, data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let own = start(&made_in, 0);
    let (leaf, authority) = (own.leaf.clone().unwrap(), own.authorities_pem());
    let chain = made_in.path().join("chain.pem");
    fs::write(&chain, format!("{}{authority}", leaf.chain_pem)).unwrap();
    // `ca.crt` beside it is its authority; so is the end of the chain.
    for name in ["tls.crt", "chain.pem"] {
        let state = given(&files(made_in.path(), name), data.path(), None, 0);
        assert_eq!(state.authorities_pem(), authority, "{name}");
    }
    // In the data directory that file is what was written here, and one that issued nothing says nothing.
    let state = given(&files(made_in.path(), "tls.crt"), made_in.path(), None, 0);
    assert_eq!(state.authorities_pem(), leaf.certificate.pem());
    by_hand(made_in.path());
    let state = given(&files(made_in.path(), "chain.pem"), data.path(), None, 0);
    assert_eq!(state.authorities_pem(), authority);
    fs::write(made_in.path().join("ca.crt"), "").unwrap();
    assert_eq!(
        given(&files(made_in.path(), "tls.crt"), data.path(), None, 0).authorities_pem(),
        leaf.certificate.pem()
    );
}

#[test]
fn files_of_another_authority_are_served_once_it_is_trusted() {
    let (old, new, data) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let (was, is) = (start(&old, 0), start(&new, 0));
    let (old_files, new_files) = (files(old.path(), "tls.crt"), files(new.path(), "tls.crt"));
    let first = given(&old_files, data.path(), None, 0);
    let union = |states: [&State; 2]| states.map(State::authorities_pem).concat();

    let second = given(&new_files, data.path(), Some(&first), 10);
    assert_eq!((served(&second), second.authorities_pem()), (served(&was), union([&is, &was])));
    let third = given(&new_files, data.path(), Some(&second), 15);
    assert_eq!((served(&third), third.authorities_pem()), (served(&is), union([&is, &was])));
    let fourth = given(&new_files, data.path(), Some(&third), 15 + 3600);
    assert_eq!(fourth.authorities_pem(), is.authorities_pem());
    // The same authority needs no time.
    look(new.path(), &names_with(&["more.example"]), None, 0).unwrap();
    assert_ne!(served(&given(&new_files, data.path(), Some(&fourth), 4000)), served(&fourth));
}

#[test]
fn an_error_names_the_file_and_the_cause() {
    let dir = TempDir::new().unwrap();
    start(&dir, 0);
    let path = |name: &str| dir.path().join(name);
    for (certificate, key, expected) in [
        ("none.crt", "tls.key", "none.crt: cannot be read: No such file"),
        ("tls.key", "tls.key", "tls.key: has no certificate"),
        ("tls.crt", "tls.crt", "tls.crt: has no private key"),
        ("tls.crt", "ca.key", "ca.key: cannot be used: "),
    ] {
        let files = Files { certificate: path(certificate), key: path(key) };
        let error = files.read(dir.path()).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
    fs::write(path("file"), "").unwrap();
    let error = Directory::open(&path("file")).unwrap_err().to_string();
    assert!(error.contains("file: cannot be written: "), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn serves_what_a_symbolic_link_is_turned_to() {
    let (old, new, data) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let now = Timestamp::now().as_second() - NOW;
    start(&old, now);
    let expected = start(&new, now);
    let link = data.path().join("..data");
    std::os::unix::fs::symlink(old.path(), &link).unwrap();
    let lifetimes = Lifetimes { overlap: 1, ..years() };
    let data_dir = data.path().to_owned();
    let settings = Settings { source: Source::Files(files(&link, "tls.crt")), data_dir, lifetimes };
    let (trust, readiness) = (Arc::new(Trust::default()), Arc::new(Readiness::default()));
    let keeper = Keeper::start(settings, trust.clone(), readiness, CertificateMetrics::default()).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let mut trusted = trust.authorities();
    let task = tokio::spawn(keeper.run(stopped));

    let turned = data.path().join("..turned");
    std::os::unix::fs::symlink(new.path(), &turned).unwrap();
    fs::rename(&turned, &link).unwrap();
    let of_both =
        |pem: &Option<Arc<str>>| pem.as_ref().is_some_and(|pem| Certificate::parse_all(pem).unwrap().len() == 2);
    let of_one = |pem: &Option<Arc<str>>| pem.as_deref() == Some(expected.authorities_pem().as_str());
    let limit = Duration::from_secs(20);
    let _ = tokio::time::timeout(limit, trusted.wait_for(of_both)).await.unwrap().unwrap();
    let _ = tokio::time::timeout(limit, trusted.wait_for(of_one)).await.unwrap().unwrap();
    assert_eq!(fs::read_to_string(data.path().join("ca.crt")).unwrap(), expected.authorities_pem());
    stop.send(true).unwrap();
    tokio::time::timeout(limit, task).await.unwrap().unwrap();
}

#[tokio::test]
async fn whoever_may_not_read_the_secret_is_not_ready() {
    let says_no = axum::Router::new().fallback(async || {
        let status = serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
            "reason": "Forbidden", "message": "you may not", "code": 403});
        (axum::http::StatusCode::FORBIDDEN, status.to_string())
    });
    let installation =
        crate::cluster::Installation { client: kube::Client::new(says_no, "policy"), namespace: "policy".into() };
    let data = TempDir::new().unwrap();
    let source = Source::Shared(names_with(&[]), installation);
    let settings = Settings { source, data_dir: data.path().to_owned(), lifetimes: years() };
    let (trust, readiness) = (Arc::new(Trust::default()), Arc::new(Readiness::default()));
    readiness.set(Condition::Certificates, true);
    let metrics = CertificateMetrics::default();
    let keeper = Keeper::start(settings, trust.clone(), readiness.clone(), metrics).await.unwrap();
    assert!(!readiness.holds(Condition::Certificates), "else a rollout would retire who is trusted");
    assert_eq!(*trust.authorities().borrow(), None, "nothing is published");
    assert!(!keeper.authorities_pem().is_empty());
}
