use tempfile::TempDir;

use super::*;

const NOW: i64 = 1_800_000_000;

fn day(number: i64) -> Timestamp {
    Timestamp::from_second(NOW + number * DAY_SECONDS).unwrap()
}

fn source(extra: &[&str]) -> Source {
    let extra: Vec<_> = extra.iter().map(ToString::to_string).collect();
    Source::Own { names: names(Some("policy"), &extra) }
}

fn made(dir: &TempDir, source: &Source, day_number: i64) -> Serving {
    let serving = current(source, dir.path(), day(day_number)).unwrap();
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(serving.certificate_pem, read("tls.crt"));
    assert_eq!(serving.key_pem, read("tls.key"));
    assert_eq!(serving.authority_pem, read("ca.crt"));
    CertificateStore::load(serving.certificate_pem.as_bytes(), serving.key_pem.as_bytes()).unwrap();
    serving
}

#[test]
fn names_this_machine_the_service_and_what_is_given() {
    let extra = ["gatepost.example".to_owned(), "localhost".to_owned()];
    assert_eq!(names(None, &extra), ["localhost", "127.0.0.1", "::1", "gatepost.example"]);
    let service = ["gatepost.shop.svc.cluster.local", "gatepost.shop.svc", "gatepost.shop"];
    assert_eq!(names(Some("shop"), &[]).split_off(3), service);
}

#[test]
fn uses_again_what_clients_accept_and_renews_the_rest() {
    // What happens to the files; the day of the second start; whether the certificate and the authority are kept.
    type Harm = fn(&Path);
    let table: [(&str, Harm, i64, bool, bool); 12] = [
        ("nothing", |_| (), 0, true, true),
        ("eleven months", |_| (), 334, true, true),
        ("less than 30 days left", |_| (), 336, false, true),
        ("expired", |_| (), 400, false, true),
        ("the authority would end first", |_| (), 9 * 365 + 10, false, false),
        ("a clock set back", |_| (), -1, false, true),
        ("no key", |dir| fs::remove_file(dir.join("tls.key")).unwrap(), 0, false, true),
        ("broken certificate", |dir| fs::write(dir.join("tls.crt"), [0, 159, 146]).unwrap(), 0, false, true),
        ("key of another", |dir| _ = fs::copy(dir.join("ca.key"), dir.join("tls.key")).unwrap(), 0, false, true),
        ("broken authority", |dir| fs::write(dir.join("ca.crt"), "?").unwrap(), 0, false, false),
        ("no authority's key", |dir| fs::remove_file(dir.join("ca.key")).unwrap(), 0, false, false),
        ("no authority", |dir| _ = fs::copy(dir.join("tls.crt"), dir.join("ca.crt")).unwrap(), 0, false, false),
    ];
    for (what, harm, day_number, keeps_certificate, keeps_authority) in table {
        let dir = TempDir::new().unwrap();
        let first = made(&dir, &source(&[]), 0);
        harm(dir.path());
        let second = made(&dir, &source(&[]), day_number);
        assert_eq!(first.certificate_pem == second.certificate_pem, keeps_certificate, "{what}");
        assert_eq!(first.authority_pem == second.authority_pem, keeps_authority, "{what}");
        assert_eq!(made(&dir, &source(&[]), day_number), second, "{what}: twice");
    }
}

#[test]
fn renews_for_a_new_name_but_not_for_one_less() {
    let dir = TempDir::new().unwrap();
    let first = made(&dir, &source(&[]), 0);
    let more = source(&["*.gate.example", "192.0.2.1"]);
    let second = made(&dir, &more, 0);
    assert_ne!(first.certificate_pem, second.certificate_pem);
    assert_eq!(first.authority_pem, second.authority_pem);
    assert_eq!(made(&dir, &more, 0), second);
    assert_eq!(made(&dir, &source(&[]), 0), second);
}

#[test]
fn refuses_a_name_that_is_none() {
    let dir = TempDir::new().unwrap();
    let error = current(&source(&["no name"]), dir.path(), day(0)).unwrap_err();
    assert_eq!(error.to_string(), "\"no name\" is neither a DNS name nor an IP address");
}

#[cfg(unix)]
#[test]
fn only_the_owner_reads_keys_and_nothing_else_is_left() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("new/data");
    current(&source(&[]), &dir, day(0)).unwrap();
    let modes = fs::read_dir(&dir).unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().permissions().mode() & 0o777)
    });
    let mut modes: Vec<_> = modes.collect();
    modes.sort();
    let expected = [("ca.crt", 0o644), ("ca.key", 0o600), ("tls.crt", 0o644), ("tls.key", 0o600)];
    assert_eq!(modes, expected.map(|(name, mode)| (name.to_owned(), mode)));
}

#[test]
fn given_files_are_served_and_their_authority_is_told() {
    let (made_in, dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let own = made(&made_in, &source(&[]), 0);
    let (certificate, key) = (made_in.path().join("chain.pem"), made_in.path().join("tls.key"));
    fs::write(&certificate, format!("{}{}", own.certificate_pem, own.authority_pem)).unwrap();
    let files = Source::Files { certificate: certificate.clone(), key: key.clone() };
    let serving = current(&files, dir.path(), day(0)).unwrap();
    assert_eq!(serving.authority_pem, own.authority_pem);
    assert_eq!(fs::read_to_string(dir.path().join("ca.crt")).unwrap(), own.authority_pem);

    let alone = Source::Files { certificate: made_in.path().join("tls.crt"), key };
    assert_eq!(current(&alone, dir.path(), day(0)).unwrap().authority_pem, own.certificate_pem);
    assert_eq!(fs::read_to_string(dir.path().join("ca.crt")).unwrap(), own.certificate_pem);
}

#[test]
fn an_error_names_the_file_and_the_cause() {
    let dir = TempDir::new().unwrap();
    made(&dir, &source(&[]), 0);
    let path = |name: &str| dir.path().join(name);
    for (certificate, key, expected) in [
        ("none.crt", "tls.key", "none.crt: cannot be read: No such file"),
        ("tls.key", "tls.key", "tls.key: has no certificate"),
        ("tls.crt", "tls.crt", "tls.crt: has no private key"),
        ("tls.crt", "ca.key", "ca.key: cannot be used: "),
    ] {
        let files = Source::Files { certificate: path(certificate), key: path(key) };
        let error = current(&files, dir.path(), day(0)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    fs::write(path("file"), "").unwrap();
    let error = current(&source(&[]), &path("file"), day(0)).unwrap_err().to_string();
    assert!(error.contains("file: cannot be written: "), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn serves_what_a_symbolic_link_is_turned_to() {
    let (old, new, data) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    made(&old, &source(&[]), 0);
    let expected = made(&new, &source(&[]), 0);
    let link = data.path().join("..data");
    std::os::unix::fs::symlink(old.path(), &link).unwrap();
    let files = Source::Files { certificate: link.join("tls.crt"), key: link.join("tls.key") };
    let serving = current(&files, data.path(), day(0)).unwrap();
    let store = CertificateStore::load(serving.certificate_pem.as_bytes(), serving.key_pem.as_bytes()).unwrap();
    let (stop, stopped) = watch::channel(false);
    let data_dir = data.path().to_owned();
    let task =
        tokio::spawn(keep_current(files, data_dir, serving, store, Arc::default(), Duration::from_millis(5), stopped));

    let turned = data.path().join("..turned");
    std::os::unix::fs::symlink(new.path(), &turned).unwrap();
    fs::rename(&turned, &link).unwrap();
    let seen = async {
        while fs::read_to_string(data.path().join("ca.crt")).ok().as_ref() != Some(&expected.certificate_pem) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), seen).await.unwrap();
    stop.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
}
