//! A healthy installation, and one thing after the other that is wrong with it.

use std::collections::BTreeMap;

use jiff::ToSpan as _;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, RuleWithOperations, ServiceReference, ValidatingWebhook,
    ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use kube::api::ObjectMeta;

use super::super::rights::Right;
use super::*;
use crate::cluster::registration::{Configuration as _, Wanted};

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

/// A clock that says this, while this machine's says that.
fn clock(said: Timestamp, here: Timestamp) -> Clock {
    Clock { said, here }
}

fn process(metrics: &str) -> BTreeMap<String, Read<Process>> {
    showing(metrics, READY)
}

fn showing(metrics: &str, readiness: &str) -> BTreeMap<String, Read<Process>> {
    let process = Process::showing(metrics, readiness, clock(now(), now()));
    BTreeMap::from([("gatepost-0".to_owned(), Ok(process))])
}

/// Returns what a process shows with these lines more.
fn with(lines: &str) -> BTreeMap<String, Read<Process>> {
    process(&(metrics(7, now() + 2400.hours(), 40) + lines))
}

fn registration(authority: &str) -> ValidatingWebhookConfiguration {
    ValidatingWebhookConfiguration::new(ObjectMeta::default(), wanted(authority).validating())
}

fn wanted(authority: &str) -> Wanted {
    Wanted { ca_bundle: Some(authority.to_owned()), ..Wanted::shipped("gatepost") }
}

fn mutating(authority: &str) -> MutatingWebhookConfiguration {
    MutatingWebhookConfiguration::new(ObjectMeta::default(), wanted(authority).mutating())
}

fn service(port: i32) -> Service {
    let ports = Some(vec![ServicePort { port, ..ServicePort::default() }]);
    Service { spec: Some(ServiceSpec { ports, ..ServiceSpec::default() }), ..Service::default() }
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
        api_server: Ok(at(clock(now(), now()))),
        now: now(),
        replicas: Ok(Some((2, 2))),
        processes: process(&metrics(7, now() + 2400.hours(), 40)),
        registration: Ok(Some(registration(&authority))),
        mutating: Ok(None),
        service: Ok(Some(service(443))),
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
    let cases: [(Break, State, &str); 24] = [
        (|f| f.replicas = Ok(Some((2, 0))), State::Problem, "Deployment: 0 of 2 replicas"),
        (|f| f.replicas = Ok(Some((2, 1))), State::Warning, "Deployment: 1 of 2 replicas"),
        (|f| f.replicas = Ok(None), State::Warning, "Deployment: there is no Deployment"),
        (|f| f.registration = Ok(None), State::Problem, "registration: there is no ValidatingWebhookConfiguration"),
        (|f| f.registration = Err("forbidden".into()), State::Unknown, "registration: cannot be read: forbidden"),
        (|f| f.authorities = Ok(Some(authority())), State::Warning, "CA bundle: caBundle of"),
        (|f| f.processes = with(DISTRUSTED), State::Problem, "CA bundle: caBundle lacks an authority that gatepost-0"),
        (|f| f.mutating = Ok(Some(mutating(""))), State::Problem, "CA bundle: mutate.gatepost.dev has no caBundle"),
        (|f| f.mutating = Ok(Some(mutating(&authority()))), State::Warning, "CA bundle: caBundle of mutate"),
        (|f| f.authorities = Ok(Some("garbage".into())), State::Problem, "CA bundle: ca.crt of"),
        (|f| entries(f).iter_mut().for_each(|e| e.client_config.ca_bundle = None), State::Problem, "CA bundle: "),
        (|f| f.arrived = Ok(false), State::Problem, "requests: do not arrive"),
        (|f| f.rights.iter_mut().for_each(|(_, may)| *may = Ok(false)), State::Problem, "rights: ServiceAccount"),
        (|f| f.rights.iter_mut().for_each(|(_, may)| *may = Err("no".into())), State::Unknown, "rights: cannot be"),
        (is_fast, State::Problem, "clock: this machine is 5m from"),
        (
            |f| f.processes.values_mut().flatten().for_each(|p| p.clock = Some(clock(now() + 5.minutes(), now()))),
            State::Problem,
            "clock: gatepost-0 is 5m from",
        ),
        (|f| f.processes = process(&metrics(7, now() + 24.hours(), 40)), State::Warning, "certificates: the serving"),
        (|f| f.processes = process(&metrics(7, now() - 24.hours(), 40)), State::Problem, "certificates: the serving"),
        (|f| f.newest_namespace = Ok(41), State::Problem, "watch of namespaces: gatepost-0 has not seen"),
        (|f| drop(entries(f).pop()), State::Problem, "registration: cluster.validate.gatepost.dev: is missing"),
        (|f| service_of(f).namespace = "other".into(), State::Problem, "registration: namespaced.validate"),
        (|f| service_of(f).port = Some(8443), State::Problem, "registration: namespaced.validate"),
        (|f| entries(f)[0].timeout_seconds = Some(9), State::Warning, "registration: namespaced.validate"),
        (|f| f.processes = with(UNASKED), State::Warning, "registration: rules in force ask about DELETE of 2 kinds"),
    ];
    for (damage, state, says) in cases {
        let mut facts = healthy();
        damage(&mut facts);
        let wrong = wrong(&facts);
        assert_eq!(wrong.len(), 1, "{says}: {wrong:#?}");
        assert!(wrong[0].0 == state && wrong[0].1.starts_with(says), "{says}: {wrong:#?}");
    }
}

const DISTRUSTED: &str = "gatepost_registration_state{state=\"unknown\"} 0\ngatepost_registration_ca_matches 0\n";
const UNASKED: &str = "gatepost_registration_missing_delete_kinds 2\n";

/// Lets this machine's clock be 5 minutes ahead of all others.
fn is_fast(facts: &mut Facts) {
    let clock = clock(now(), now() + 5.minutes());
    facts.api_server = Ok(at(clock));
    for process in facts.processes.values_mut().flatten() {
        process.clock = Some(clock);
    }
}

/// An API server with this clock.
fn at(clock: Clock) -> (String, Option<Clock>) {
    ("v1.36.3".into(), Some(clock))
}

fn service_of(facts: &mut Facts) -> &mut ServiceReference {
    entries(facts)[0].client_config.service.as_mut().unwrap()
}

#[test]
fn everything_that_differs_is_told_at_once() {
    let mut facts = Facts { processes: with(UNASKED), ..healthy() };
    entries(&mut facts).pop();
    entries(&mut facts)[0].timeout_seconds = Some(9);
    entries(&mut facts)[0]
        .rules
        .as_mut()
        .unwrap()
        .push(RuleWithOperations { operations: Some(vec!["DELETE".into()]), ..RuleWithOperations::default() });
    let wrong = wrong(&facts);
    let told: Vec<(State, bool)> = [" is missing", "DELETE of 2 kinds", "timeoutSeconds is 9"]
        .iter()
        .zip(&wrong)
        .map(|(words, (state, says))| (*state, says.contains(words)))
        .collect();
    assert_eq!(told, [(State::Problem, true), (State::Warning, true), (State::Warning, true)], "{wrong:#?}");
    assert_eq!(wrong.len(), 3, "{wrong:#?}");
}

#[test]
fn another_port_of_the_service_and_a_url_that_leads_here_are_no_problem() {
    for another in [service(8443), external_name()] {
        let mut facts = Facts { service: Ok(Some(another)), ..healthy() };
        for entry in entries(&mut facts) {
            entry.client_config.service.as_mut().unwrap().port = Some(8443);
        }
        assert_eq!(wrong(&facts), []);
    }
    let mut facts = healthy();
    let client = &mut entries(&mut facts)[0].client_config;
    (client.service, client.url) = (None, Some("https://127.0.0.1:8443/validate".into()));
    assert_eq!(wrong(&facts)[0].0, State::Warning, "requests arrive");
    facts.arrived = Ok(false);
    assert_eq!(wrong(&facts)[0].0, State::Problem, "nobody is there");
}

fn external_name() -> Service {
    let spec = ServiceSpec { type_: Some("ExternalName".into()), ..ServiceSpec::default() };
    Service { spec: Some(spec), ..Service::default() }
}

#[test]
fn a_secret_that_is_left_over_beside_files_is_no_problem() {
    let trusted = "gatepost_registration_state{state=\"unknown\"} 0\ngatepost_registration_ca_matches 1\n";
    let left_over = |lines: &str| Facts { authorities: Ok(Some(authority())), processes: with(lines), ..healthy() };
    assert_eq!(wrong(&left_over(trusted)), []);
    let silent =
        wrong(&left_over("gatepost_registration_state{state=\"unknown\"} 1\ngatepost_registration_ca_matches 0\n"));
    assert!(matches!(silent.as_slice(), [(State::Warning, says)] if says.contains("Secret")), "{silent:?}");
    let unreached = wrong(&Facts { arrived: Ok(false), ..left_over("") });
    let is_told =
        |(state, says): &(State, String)| *state == State::Problem && says.starts_with("CA bundle: caBundle of");
    assert!(unreached.iter().any(is_told), "{unreached:?}");
}

#[test]
fn clocks_that_were_read_late_are_not_wrong() {
    let mut facts = healthy();
    let late = now() + 5.minutes();
    for process in facts.processes.values_mut().flatten() {
        process.clock = Some(clock(late, late));
    }
    assert_eq!(wrong(&facts), []);
}

#[test]
fn who_registers_itself_is_told_what_mends_that() {
    let mut facts = Facts { processes: with("gatepost_registration_self 1\n"), ..healthy() };
    assert!(facts.registers_itself() && !healthy().registers_itself());
    entries(&mut facts).pop();
    facts.rights.iter_mut().for_each(|(_, may)| *may = Ok(false));
    let mends: Vec<String> = diagnose(&facts).into_iter().filter_map(|finding| finding.mend).collect();
    assert!(mends[0].contains("by itself") && !mends[0].contains("install.yaml"), "{mends:?}");
    assert!(mends[1].contains("self-registration"), "{mends:?}");
    let mut probed = healthy();
    let probe = ValidatingWebhook::from(Wanted::shipped("gatepost").probe());
    entries(&mut probed).push(probe);
    assert!(probed.registers_itself(), "even where nobody can be asked");
}

fn entries(facts: &mut Facts) -> &mut Vec<ValidatingWebhook> {
    facts.registration.as_mut().unwrap().as_mut().unwrap().webhooks.as_mut().unwrap()
}

#[test]
fn a_process_that_is_not_ready_says_why() {
    let mut facts = healthy();
    let readiness = "[+]bundle ok\n[-]namespaces failed: not yet\nreadyz check failed\n";
    let metrics = metrics(7, now() + 2400.hours(), 40);
    facts.processes = showing(&metrics, readiness);
    assert_eq!(
        wrong(&facts),
        [(State::Problem, "process: gatepost-0 is not ready: namespaces failed: not yet".to_owned())]
    );
    let readiness = readiness.replace("readyz", "[!]registration cannot be written: you may not\nreadyz");
    facts.processes = showing(&metrics, &readiness);
    assert!(wrong(&facts)[0].1.ends_with("not yet; and says: [!]registration cannot be written: you may not"));
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
    assert_eq!(wrong(&Facts { mutating: Ok(Some(MutatingWebhookConfiguration::default())), ..asking(&["shop"]) }), []);
    let unread = wrong(&Facts { mutating: Err("forbidden".into()), ..asking(&["shop"]) });
    assert!(matches!(unread.as_slice(), [(State::Unknown, says)] if says.contains("forbidden")), "{unread:?}");
}
