//! A data directory that cannot be written for a while.

use std::io;

use rustls::pki_types::{ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};

use super::*;
use crate::webhook::tls::{Tls, provider};

/// A keeper of its own certificates, whose clients read `ca.crt`.
struct World {
    data: TempDir,
    keeper: Keeper,
    begin: Timestamp,
}

/// The clock of clients.
#[derive(Debug)]
struct At(Timestamp);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(since_1970(self.0.as_second())))
    }
}

impl World {
    async fn start() -> Self {
        let data = TempDir::new().unwrap();
        let source = Source::Own(names_with(&[]));
        let settings = Settings { source, data_dir: data.path().to_owned(), lifetimes: years() };
        let readiness = Arc::new(Readiness::default());
        let keeper = Keeper::start(settings, Arc::default(), readiness, CertificateMetrics::default()).await.unwrap();
        Self { data, keeper, begin: Timestamp::now() }
    }

    fn after(&self, seconds: i64) -> Timestamp {
        self.begin + jiff::SignedDuration::from_secs(seconds)
    }

    async fn look(&mut self, seconds: i64) -> Result<(), CertificateError> {
        self.keeper.look(self.after(seconds)).await
    }

    async fn fails_to_write(&mut self, seconds: i64) {
        let error = self.look(seconds).await.unwrap_err();
        assert!(matches!(error, CertificateError::Write { .. }), "{error}");
    }

    /// Keeps every file from being written, as a full disk does: a process writes beside it first.
    fn fill(&self) {
        self.fill_for(&["ca", "tls", "trusted"]);
    }

    fn fill_for(&self, names: &[&str]) {
        for name in names {
            fs::create_dir(self.temporary(name)).unwrap();
        }
    }

    fn make_room(&self) {
        for name in ["ca", "tls", "trusted"] {
            drop(fs::remove_dir(self.temporary(name)));
        }
    }

    fn temporary(&self, name: &str) -> PathBuf {
        self.data.path().join(format!("{name}.{}.new", std::process::id()))
    }

    fn on_disk(&self, name: &str) -> String {
        fs::read_to_string(self.data.path().join(name)).unwrap()
    }

    fn authorities(&self) -> Vec<Certificate> {
        Certificate::parse_all(&self.keeper.authorities_pem()).unwrap()
    }

    /// Returns the certificate that is served to clients that trust `ca.crt`, if they accept it.
    fn served(&self, seconds: i64) -> io::Result<Certificate> {
        let mut roots = RootCertStore::empty();
        for authority in Certificate::parse_all(&self.on_disk("ca.crt")).unwrap() {
            roots.add(authority.der().clone()).unwrap();
        }
        let client = ClientConfig::builder_with_details(provider(), Arc::new(At(self.after(seconds))));
        let client = client.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::new(client.with_no_client_auth()), name).unwrap();
        let mut server = ServerConnection::new(Tls::new(self.keeper.store(), None).unwrap().config()).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes)?;
            }
            server.read_tls(&mut bytes.as_slice())?;
            server.process_new_packets().map_err(io::Error::other)?;
            let mut bytes = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut bytes)?;
            }
            let mut bytes = bytes.as_slice();
            while !bytes.is_empty() {
                client.read_tls(&mut bytes)?;
                client.process_new_packets().map_err(io::Error::other)?;
            }
        }
        let first = client.peer_certificates().and_then(|chain| chain.first()).unwrap();
        Ok(Certificate::parse(first.clone().into_owned()).unwrap())
    }
}

#[tokio::test]
async fn what_is_renewed_on_a_full_disk_is_served_and_written_later() {
    let mut world = World::start().await;
    let first = world.served(0).unwrap();
    world.fill();
    world.look(300 * DAY).await.unwrap();
    world.fails_to_write(340 * DAY).await;
    let second = world.served(340 * DAY).unwrap();
    assert_ne!(second, first);
    for day in [341, 500, 600] {
        world.fails_to_write(day * DAY).await;
        assert_eq!(world.served(day * DAY).unwrap(), second, "it is made once, and outlives the first");
    }
    assert_eq!(Certificate::parse_all(&world.on_disk("tls.crt")).unwrap(), [first]);
    world.fails_to_write(680 * DAY).await;
    let third = world.served(680 * DAY).unwrap();
    assert_ne!(third, second);

    world.make_room();
    world.look(681 * DAY).await.unwrap();
    assert_eq!(world.served(681 * DAY).unwrap(), third);
    assert_eq!(Certificate::parse_all(&world.on_disk("tls.crt")).unwrap(), [third]);
    let left = fs::read_dir(world.data.path()).unwrap().count();
    assert_eq!(left, 5, "no half of a file is left");
}

#[tokio::test]
async fn what_was_written_in_part_is_completed() {
    let mut world = World::start().await;
    let (first, remembered) = (world.on_disk("ca.crt"), world.on_disk("trusted.json"));
    // Who is trusted is written before who issues.
    world.fill_for(&["ca"]);
    let now = 9 * 365 * DAY;
    world.fails_to_write(now).await;
    assert_ne!(world.on_disk("trusted.json"), remembered);
    assert_eq!(world.on_disk("ca.crt"), first);
    let both = world.authorities();
    assert_eq!(both.len(), 2);
    world.fails_to_write(now + DAY).await;
    assert_eq!(world.authorities(), both, "nobody else is made");
    world.make_room();
    world.look(now + 2 * DAY).await.unwrap();
    assert_eq!(Certificate::parse_all(&world.on_disk("ca.crt")).unwrap(), both);
    assert_eq!(world.on_disk("ca.key").matches("BEGIN").count(), 2);
}

#[tokio::test]
async fn no_authority_issues_that_could_not_be_written() {
    let mut world = World::start().await;
    let first = world.authorities();
    world.fill();
    let year = 365 * DAY;
    for days in (0..10 * 365 - 20).step_by(5) {
        // A failure at most: every client that reads `ca.crt` is served.
        let _ = world.look(days * DAY).await;
        world.served(days * DAY).unwrap_or_else(|error| panic!("after {days} days: {error}"));
    }
    let now = 10 * year - 20 * DAY;
    let both = world.authorities();
    assert_eq!((both.len(), &both[1]), (2, &first[0]));
    let before = world.served(now).unwrap();
    assert_eq!(Certificate::parse_all(&world.on_disk("ca.crt")).unwrap(), first);

    world.make_room();
    world.look(now).await.unwrap();
    assert_eq!(Certificate::parse_all(&world.on_disk("ca.crt")).unwrap(), both, "the same that was made before");
    assert_eq!(world.served(now).unwrap(), before, "clients have yet to read it");
    world.look(now + 5).await.unwrap();
    let after = world.served(now + 5).unwrap();
    assert_eq!((after.subject_and_issuer().1, after != before), (both[0].subject_and_issuer().0, true));
}

#[tokio::test]
async fn what_somebody_puts_onto_a_full_disk_counts() {
    let mut world = World::start().await;
    world.fill();
    world.fails_to_write(340 * DAY).await;
    by_hand(world.data.path());
    let by_hand = Certificate::parse_all(&world.on_disk("ca.crt")).unwrap();
    world.fails_to_write(341 * DAY).await;
    assert_eq!((world.authorities().len(), &world.authorities()[0]), (2, &by_hand[0]));
    world.make_room();
    for seconds in [0, 5] {
        world.look(342 * DAY + seconds).await.unwrap();
    }
    let served = world.served(342 * DAY + 5).unwrap();
    assert_eq!(served.subject_and_issuer().1, by_hand[0].subject_and_issuer().0);
}
