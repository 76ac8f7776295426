//! Several scanners on one store: one audits, and another takes over when it dies.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use crate::events::notes;
use crate::support::control_plane::ControlPlane;
use crate::support::kubectl::{apply, create, kubectl};
use crate::support::objects::{namespace, untagged};
use crate::support::serving::Serving;
use crate::support::wait::eventually;
use crate::support::{http, manifests};

/// How soon another one audits after the first was killed, at most.
const TAKEN_OVER: Duration = Duration::from_secs(30);

fn has_turn(scanner: &Serving) -> Option<bool> {
    scanner.metric("gatepost_audit_turn").map(|turn| turn > 0.0)
}

fn audits(scanner: &Serving) -> usize {
    scanner.logged("what stands was audited").len()
}

#[test]
fn one_of_two_scanners_audits_and_the_other_takes_over_when_it_is_killed() {
    let Some(control_plane) = ControlPlane::own("turns") else { return };
    let kube = control_plane.kubectl();
    kube.accepts(kubectl("apply --server-side -f -").reading(&manifests::objects()));
    kube.accepts(create(&namespace("turns")));
    let shop = kube.in_namespace("turns");
    let [mut first, mut second] = ["turns-first", "turns-second"].map(|name| {
        let mut scanner = manifests::scanner(name, &control_plane);
        scanner.with(["--audit-interval", "2s", "--events"]);
        scanner
    });
    first.launch();
    eventually("the first audit", || (audits(&first) > 0).then_some(()));
    let data = second.directory().join("data");
    fs::create_dir_all(&data).expect("a directory");
    symlink(first.directory().join("data/gatepost.db"), data.join("gatepost.db")).expect("a link to the same store");
    second.launch();
    let address = second.http().expect("an address");
    assert_eq!(http::status_of_post(&address, "/api/v1/audits"), Some(409), "it is the other's turn");
    shop.accepts(apply(&untagged("old")));
    first.audited_once_more();
    assert_eq!((has_turn(&first), has_turn(&second), audits(&second)), (Some(true), Some(false), 0));

    first.kill();
    let killed = Instant::now();
    shop.accepts(apply(&untagged("new")));
    eventually("the other to audit", || (audits(&second) > 0).then_some(()));
    assert!(killed.elapsed() < TAKEN_OVER, "{:?}", killed.elapsed());
    assert_eq!(has_turn(&second), Some(true));
    eventually("a word about what is new", || notes(&shop).iter().any(|note| note.contains("/new: ")).then_some(()));

    first.launch();
    let before = audits(&first);
    second.audited_once_more();
    assert_eq!((has_turn(&first), audits(&first)), (Some(false), before), "whoever comes back waits");
    let notes = notes(&shop);
    for name in ["Deployment/old: ", "Deployment/new: "] {
        assert_eq!(notes.iter().filter(|note| note.starts_with(name)).count(), 1, "{name}: {notes:?}");
    }
}
