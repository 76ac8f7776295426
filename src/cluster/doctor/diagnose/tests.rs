//! A healthy installation, and one thing after the other that is wrong with it.

use std::collections::BTreeMap;

use jiff::ToSpan as _;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhook;

use super::*;

const READY: &str = "[+]bundle ok\nreadyz check passed\n";

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn authority() -> String {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
}

fn metrics(requests: u32, leaf_ends: Timestamp, seen: u64) -> String {
    let ends = leaf_ends.as_second();
    format!(
        "gatepost_admission_requests_total{{operation=\"CREATE\"}} {requests}\n\
         gatepost_tls_certificate_not_after_timestamp_seconds{{certificate=\"leaf\"}} {ends}\n\
         gatepost_namespace_watch_resource_version {seen}\n"
    )
}

fn process(metrics: &str) -> BTreeMap<String, Read<Process>> {
    BTreeMap::from([("gatepost-0".to_owned(), Ok(Process::showing(metrics, READY, now())))])
}

fn registration(authority: &str) -> ValidatingWebhookConfiguration {
    let wanted =
        registration::Wanted { ca_bundle: Some(authority.to_owned()), ..registration::Wanted::shipped("gatepost") };
    let entries = wanted.validating().into_iter().map(ValidatingWebhook::from).collect();
    ValidatingWebhookConfiguration { webhooks: Some(entries), ..ValidatingWebhookConfiguration::default() }
}

fn healthy() -> Facts {
    let authority = authority();
    let right = Right {
        verb: "watch".into(),
        group: String::new(),
        resource: "namespaces".into(),
        name: None,
        own_namespace: false,
    };
    Facts {
        namespace: "gatepost".into(),
        api_server: Ok(("v1.36.3".into(), Some(now()))),
        now: now(),
        replicas: Ok(Some((2, 2))),
        processes: process(&metrics(7, now() + 2400.hours(), 40)),
        registration: Ok(Some(registration(&authority))),
        is_mutation_registered: Ok(false),
        mutated_namespaces: Ok(vec![]),
        authorities: Ok(Some(authority)),
        arrived: Ok(true),
        newest_namespace: Ok(40),
        rights: vec![(right, Ok(true))],
    }
}

/// Returns what is not well, as `check: says`.
fn wrong(facts: &Facts) -> Vec<(State, String)> {
    let findings = diagnose(facts).into_iter().filter(|finding| finding.state != State::Ok);
    findings
        .inspect(|finding| assert!(finding.state == State::Unknown || finding.mend.is_some(), "{finding:?}"))
        .map(|finding| (finding.state, format!("{}: {}", finding.check, finding.says)))
        .collect()
}

#[test]
fn nothing_is_wrong_with_a_healthy_installation() {
    assert_eq!(wrong(&healthy()), []);
}

#[test]
fn names_the_one_thing_that_is_wrong() {
    type Break = fn(&mut Facts);
    let cases: [(Break, State, &str); 16] = [
        (|f| f.replicas = Ok(Some((2, 0))), State::Problem, "Deployment: 0 of 2 replicas"),
        (|f| f.replicas = Ok(Some((2, 1))), State::Warning, "Deployment: 1 of 2 replicas"),
        (|f| f.replicas = Ok(None), State::Warning, "Deployment: there is no Deployment"),
        (|f| f.registration = Ok(None), State::Problem, "registration: there is no ValidatingWebhookConfiguration"),
        (|f| f.registration = Err("forbidden".into()), State::Unknown, "registration: cannot be read: forbidden"),
        (|f| f.authorities = Ok(Some(authority())), State::Problem, "CA bundle: caBundle of"),
        (|f| f.authorities = Ok(Some("garbage".into())), State::Problem, "CA bundle: ca.crt of"),
        (|f| entries(f).iter_mut().for_each(|e| e.client_config.ca_bundle = None), State::Problem, "CA bundle: "),
        (|f| f.arrived = Ok(false), State::Problem, "requests: do not arrive"),
        (|f| f.rights.iter_mut().for_each(|(_, may)| *may = Ok(false)), State::Problem, "rights: ServiceAccount"),
        (|f| f.rights.iter_mut().for_each(|(_, may)| *may = Err("no".into())), State::Unknown, "rights: cannot be"),
        (|f| f.now = now() + 5.minutes(), State::Problem, "clock: this machine is 5m from"),
        (|f| f.processes = process(&metrics(7, now() + 24.hours(), 40)), State::Warning, "certificates: the serving"),
        (|f| f.processes = process(&metrics(7, now() - 24.hours(), 40)), State::Problem, "certificates: the serving"),
        (|f| f.newest_namespace = Ok(41), State::Problem, "watch of namespaces: gatepost-0 has not seen"),
        (|f| drop(entries(f).pop()), State::Warning, "registration: "),
    ];
    for (damage, state, says) in cases {
        let mut facts = healthy();
        damage(&mut facts);
        let wrong = wrong(&facts);
        assert_eq!(wrong.len(), 1, "{says}: {wrong:#?}");
        assert!(wrong[0].0 == state && wrong[0].1.starts_with(says), "{says}: {wrong:#?}");
    }
}

fn entries(facts: &mut Facts) -> &mut Vec<ValidatingWebhook> {
    facts.registration.as_mut().unwrap().as_mut().unwrap().webhooks.as_mut().unwrap()
}

#[test]
fn a_process_that_is_not_ready_says_why() {
    let mut facts = healthy();
    let readiness = "[+]bundle ok\n[-]namespaces failed: not yet\nreadyz check failed\n";
    let metrics = metrics(7, now() + 2400.hours(), 40);
    facts.processes.insert("gatepost-0".into(), Ok(Process::showing(&metrics, readiness, now())));
    assert_eq!(
        wrong(&facts),
        [(State::Problem, "process: gatepost-0 is not ready: namespaces failed: not yet".to_owned())]
    );
    facts.processes.clear();
    assert_eq!(wrong(&facts)[0], (State::Problem, "process: no running Gatepost was found".to_owned()));
}

#[test]
fn a_deleted_registration_is_told_from_one_that_never_was() {
    let mut facts = healthy();
    facts.registration = Ok(None);
    let metrics = metrics(7, now() + 2400.hours(), 40) + "gatepost_registration_paused 1\n";
    facts.processes = process(&metrics);
    let found = diagnose(&facts).into_iter().find(|finding| finding.check == "registration").unwrap();
    assert!(found.mend.unwrap().contains("--resume"));
}

#[test]
fn a_label_that_asks_for_patches_is_told_where_nothing_is_registered_for_them() {
    let namespaces = |names: &[&str]| Ok(names.iter().map(|&name| name.to_owned()).collect());
    let asking = |names: &[&str]| Facts { mutated_namespaces: namespaces(names), ..healthy() };
    for (names, words) in [(vec!["shop"], "in the namespace shop"), (vec!["a", "b", "c"], "in a and 2 more namespaces")]
    {
        let found = wrong(&asking(&names));
        assert!(matches!(found.as_slice(), [(State::Warning, says)] if says.contains(words)), "{found:?}");
    }
    assert_eq!(wrong(&Facts { is_mutation_registered: Ok(true), ..asking(&["shop"]) }), []);
    let unread = wrong(&Facts { is_mutation_registered: Err("forbidden".into()), ..asking(&["shop"]) });
    assert!(matches!(unread.as_slice(), [(State::Unknown, says)] if says.contains("forbidden")), "{unread:?}");
}
