//! Certificates that take turns while clients ask, in a Secret that replicas share, and certificates of clients.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::clients::{authority, post};
use crate::support::control_plane::{API_SERVER, ControlPlane};
use crate::support::kubectl::{Kubectl, kubectl, patch};
use crate::support::objects::{Object, namespace, privileged};
use crate::support::serving::Serving;
use crate::support::wait::{eventually, wait_for};
use crate::support::{Gatepost, Options, apply, create};

const SECRET: &str = "secret/gatepost-certificates";
/// How long ago the news came by which a client trusts; less than the overlap of the short lifetimes below.
const DELAY: Duration = Duration::from_secs(2);

/// Two processes that share the Secret of a namespace.
struct Replicas {
    there: Kubectl,
    serving: Vec<Serving>,
}

impl Replicas {
    /// Starts both at once; `None` where there is no control plane.
    fn start(name: &str, arguments: &[&str]) -> Option<Self> {
        let control_plane = ControlPlane::shared()?;
        control_plane.kubectl().accepts(create(&namespace(name)));
        let start = |number: usize| {
            let mut serving = Serving::new(&format!("{name}-{number}"));
            serving.with(["--kubeconfig".into(), control_plane.kubeconfig().as_os_str().to_owned()]);
            serving.with(["--namespace", name, "--registration", "none"]);
            serving.with(arguments);
            serving.launch();
            serving
        };
        let serving = thread::scope(|scope| {
            let started = [0, 1].map(|number| scope.spawn(move || start(number)));
            started.into_iter().map(|started| started.join().expect("Gatepost starts")).collect()
        });
        Some(Self { there: control_plane.kubectl().in_namespace(name), serving })
    }

    fn authorities(&self, number: usize) -> String {
        fs::read_to_string(self.serving[number].directory().join("data/ca.crt")).expect("ca.crt")
    }

    fn secret(&self) -> Option<Object> {
        let answer = self.there.run(kubectl(&format!("get {SECRET} -o json")));
        if answer.succeeded() { answer.objects().into_iter().next() } else { None }
    }

    fn in_secret(&self, key: &str) -> String {
        let secret = self.secret().expect("the Secret");
        let encoded = secret.0["data"][key].as_str().expect("a key of the Secret").to_owned();
        String::from_utf8(STANDARD.decode(encoded).expect("base64")).expect("text")
    }

    fn put(&self, data: &Value) {
        self.there.accepts(patch(SECRET, &json!({"stringData": data})));
    }

    /// Returns whether clients that trust these accept what each process serves.
    fn are_trusted_by(&self, authorities: &str) -> bool {
        self.serving.iter().all(|serving| post(serving.webhook(), authorities, None, "{}").is_ok())
    }
}

#[test]
fn replicas_agree_and_late_clients_are_served_while_authorities_take_turns() {
    let lifetimes = ["--ca-lifetime", "40s", "--tls-lifetime", "12s", "--ca-overlap", "8s"];
    let Some(replicas) = Replicas::start("certificates-turns", &lifetimes) else { return };
    assert_eq!(replicas.authorities(0), replicas.authorities(1), "the first writer wins");
    assert_eq!(replicas.secret().expect("a Secret").text("/type"), "kubernetes.io/tls");
    let mut news = VecDeque::from([(Instant::now(), replicas.authorities(0))]);
    let (mut newest, mut served) = (BTreeSet::new(), 0);
    let turned = wait_for("three authorities", Duration::from_secs(150), || {
        let now = Instant::now();
        let authorities = replicas.authorities(0);
        newest.insert(authorities.split_inclusive("-----END CERTIFICATE-----").next().unwrap_or_default().to_owned());
        news.push_back((now, authorities));
        while news.get(1).is_some_and(|(at, _)| now - *at >= DELAY) {
            news.pop_front();
        }
        for serving in &replicas.serving {
            let status = post(serving.webhook(), &news[0].1, None, "{}");
            let status = status.unwrap_or_else(|error| panic!("after {served}: {error:#}\n{}", serving.log_end()));
            assert_eq!(status, 400, "an empty review is none");
            served += 1;
        }
        (newest.len() >= 3).then_some(())
    });
    turned.unwrap_or_else(|error| panic!("{error}"));
    assert!(served > 100, "{served}");
    for serving in &replicas.serving {
        let ends = |which: &str| {
            serving.metric(&format!("gatepost_tls_certificate_not_after_timestamp_seconds{{certificate=\"{which}\"}}"))
        };
        assert!(ends("ca") >= ends("leaf") && ends("leaf").is_some());
        assert_eq!(serving.metric("gatepost_tls_reloads_total{result=\"failure\"}"), Some(0.0));
    }
}

#[test]
fn an_authority_put_into_the_secret_by_hand_is_taken_and_a_broken_one_is_not() {
    let Some(replicas) = Replicas::start("certificates-hand", &[]) else { return };
    let before = replicas.authorities(0);
    let (certificate, key) = authority("our own");
    replicas.put(&json!({"ca.crt": certificate, "ca.key": key}));
    eventually("certificates of the new authority", || {
        assert!(replicas.are_trusted_by(&format!("{before}{certificate}")), "clients of both are served throughout");
        replicas.are_trusted_by(&certificate).then_some(())
    });
    for number in [0, 1] {
        let authorities = replicas.authorities(number);
        assert!(authorities.contains(before.trim()), "the former one is still trusted: {authorities}");
    }

    replicas.put(&json!({"ca.crt": before}));
    let readiness = |number: usize| replicas.serving[number].readiness();
    for number in [0, 1] {
        eventually("a word about it", || readiness(number).contains("ca.key is not the key").then_some(()));
        assert!(readiness(number).contains("readyz check passed"), "{}", readiness(number));
    }
    assert!(replicas.are_trusted_by(&certificate), "what was in force stays");
    assert_eq!(replicas.in_secret("ca.crt"), before, "nobody's work is overwritten");

    replicas.put(&json!({"ca.crt": certificate}));
    for number in [0, 1] {
        eventually("all to be well again", || (!readiness(number).contains("[!]certificates")).then_some(()));
    }
    replicas.there.accepts(kubectl(&format!("delete {SECRET}")));
    eventually("another authority", || {
        assert!(replicas.are_trusted_by(&format!("{certificate}{}", replicas.authorities(0))));
        let secret = replicas.secret().map(|_| replicas.in_secret("ca.crt"))?;
        let newest = secret.split_inclusive("-----END CERTIFICATE-----").next()?;
        replicas.are_trusted_by(newest).then_some(())
    });
    assert_eq!(replicas.authorities(0), replicas.authorities(1));
}

#[test]
fn without_rights_a_process_is_not_ready_and_says_what_is_missing() {
    let Some(control_plane) = ControlPlane::shared() else { return };
    let mut serving = Serving::new("certificates-refused");
    serving.with(["--kubeconfig".into(), control_plane.kubeconfig().as_os_str().to_owned()]);
    serving.with(["--namespace", "certificates-nowhere", "--registration", "none"]);
    serving.launch_unready();
    let authorities = fs::read_to_string(serving.directory().join("data/ca.crt")).expect("ca.crt");
    eventually("what is missing", || {
        serving.readiness().contains("certificates-nowhere/gatepost-certificates").then_some(())
    });
    // With the namespace there, what it serves goes into the Secret.
    control_plane.kubectl().accepts(create(&namespace("certificates-nowhere")));
    eventually("all to be well", || (!serving.readiness().contains("[!]certificates")).then_some(()));
    post(serving.webhook(), &authorities, None, "{}").expect("the same authority");
}

#[test]
fn the_api_server_proves_who_it_is_and_a_kubelet_is_refused() {
    let options = Options { client_name: Some(API_SERVER), ..Options::default() };
    let Some(gatepost) = Gatepost::start(&options) else { return };
    let shop = gatepost.namespace("shop", &["enforce=baseline"]);
    shop.rejects(apply(&privileged("web")));
    let decisions = gatepost.decisions();
    assert!(!decisions.is_empty() && decisions.iter().all(|decision| decision.verified), "{decisions:?}");
    let serving = gatepost.serving();
    assert_eq!(serving.metric("gatepost_admission_unverified_requests_total"), Some(0.0));

    let authorities = fs::read_to_string(serving.directory().join("data/ca.crt")).expect("ca.crt");
    let clients = gatepost.control_plane().clients();
    let ask = |own: Option<&str>| {
        let file = own.map(|name| {
            let file = serving.directory().join(name.replace(':', "-"));
            clients.issue(name, &file).expect("a client's certificate");
            file
        });
        post(serving.webhook(), &authorities, file.as_deref(), "{}")
    };
    assert_eq!(ask(Some(API_SERVER)).expect("an answer"), 400);
    assert_eq!(ask(Some("system:node:one")).expect("an answer"), 403);
    ask(None).expect_err("no certificate, no connection");
}

#[test]
fn reviews_of_whoever_shows_nothing_are_marked() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = gatepost.namespace("shop", &["enforce=baseline"]);
    shop.rejects(apply(&privileged("web")));
    assert!(gatepost.decisions().iter().all(|decision| !decision.verified));
    let counted = gatepost.serving().metric("gatepost_admission_unverified_requests_total");
    assert!(counted.is_some_and(|count| count >= 1.0), "{counted:?}");
}
