//! The keeper against an API server that says no.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::super::{Given, Keeper, Notes, Registration, Wanted};
use super::api_server::{ApiServer, Way, refusing};
use super::{authority, deletion, text};
use crate::cluster::Installation;
use crate::config::FailurePolicy;
use crate::policy::kinds::KindSelector;
use crate::telemetry::Metrics;

/// Far longer than any wait of these tests.
const PATIENCE: Duration = Duration::from_secs(20);

/// A keeper at work, until it is dropped.
struct Running {
    notes: watch::Receiver<Notes>,
    metrics: Arc<Metrics>,
    /// What was told to be held, each time.
    published: Arc<Mutex<Vec<String>>>,
    senders: (watch::Sender<Option<Arc<str>>>, watch::Sender<()>, watch::Sender<bool>),
}

impl Running {
    fn start(server: &ApiServer, registration: Registration) -> Self {
        Self::with_deletions(server, registration, Vec::new())
    }

    fn with_deletions(server: &ApiServer, registration: Registration, kinds: Vec<KindSelector>) -> Self {
        let metrics = Arc::new(Metrics::new());
        let published = Arc::<Mutex<Vec<String>>>::default();
        let held = published.clone();
        let (keeper, notes) = Keeper::new(Given {
            installation: Installation { client: server.client(), namespace: "gatepost".into() },
            registration,
            service_port: 443,
            pod_port: 8443,
            failure_policy: FailurePolicy::Ignore,
            deletion_kinds: Box::new(move || kinds.clone()),
            published: Box::new(move |pem| held.lock().unwrap().push(pem.to_owned())),
            metrics: metrics.clone(),
        });
        let trusted = watch::channel(Some(Arc::from(authority("ours", 2040))));
        let (in_force, stopped) = (watch::channel(()), watch::channel(false));
        tokio::spawn(keeper.run(trusted.1, in_force.1, stopped.1));
        Self { notes, metrics, published, senders: (trusted.0, in_force.0, stopped.0) }
    }

    /// Has it look again.
    fn wake(&self) {
        self.senders.1.send(()).unwrap();
    }

    /// Waits for a note that holds a text.
    async fn is_told(&mut self, text: &str) {
        self.is_told_within(text, PATIENCE).await;
    }

    async fn is_told_within(&mut self, text: &str, limit: Duration) {
        let told = |notes: &Notes| notes.iter().any(|note| note.says.contains(text));
        let found = tokio::time::timeout(limit, self.notes.wait_for(told)).await.is_ok_and(|told| told.is_ok());
        assert!(found, "{text}: {:?}", self.notes.borrow());
    }

    /// Waits for a line of the metrics.
    async fn shows(&self, line: &str) {
        let shown = async {
            while !self.metrics.encode().lines().any(|found| found == line) {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, shown).await.is_ok(), "{line}\n{}", self.metrics.encode());
    }
}

fn registered() -> Value {
    let mut registration = text(Wanted::shipped("gatepost").validating());
    registration["metadata"] = json!({"name": "gatepost", "uid": "u", "resourceVersion": "5"});
    registration
}

/// Returns a registration that asks only about probes.
fn narrow() -> Value {
    let mut registration = text(vec![Wanted::shipped("gatepost").probe()]);
    registration["metadata"] = json!({"name": "gatepost", "uid": "u", "resourceVersion": "5"});
    registration
}

fn state(data: &Value) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "gatepost-state", "resourceVersion": "3"}, "data": data})
}

#[tokio::test]
async fn a_refused_ca_bundle_is_told_in_the_api_servers_words() {
    let answers = refusing("validatingwebhookconfigurations", 403);
    let server = ApiServer { registration: Some(registered()), answers, ..ApiServer::default() };
    let mut running = Running::start(&server, Registration::Manifest);
    running.is_told("ValidatingWebhookConfiguration gatepost cannot be given its caBundle: you may not").await;
    running.shows("gatepost_registration_ca_matches 0").await;
    running.shows("gatepost_registration_writes_total 0").await;
    let patch = server.written("validatingwebhookconfigurations").remove(0);
    assert_eq!(patch["metadata"], json!({"name": "gatepost", "uid": "u", "resourceVersion": "5"}));
    let entries = patch["webhooks"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    for entry in entries {
        assert_eq!(entry.as_object().unwrap().keys().collect::<Vec<_>>(), ["clientConfig", "name"]);
        assert_eq!(entry["clientConfig"].as_object().unwrap().keys().collect::<Vec<_>>(), ["caBundle"]);
    }
}

#[tokio::test]
async fn nothing_is_made_where_git_has_taken_it_away() {
    let server = ApiServer::default();
    let mut running = Running::start(&server, Registration::Manifest);
    running.is_told("there is no ValidatingWebhookConfiguration gatepost").await;
    running.shows("gatepost_registration_state{state=\"absent\"} 1").await;
    assert!(server.wrote_nothing());
}

#[tokio::test]
async fn nothing_is_made_that_could_not_stay_deleted() {
    let server = ApiServer { answers: refusing("configmaps", 403), ..ApiServer::default() };
    let mut running = Running::start(&server, Registration::Own);
    running.is_told("ConfigMap gatepost-state cannot be written: you may not").await;
    assert_eq!(server.written("validatingwebhookconfigurations"), Vec::<Value>::new());
}

#[tokio::test]
async fn what_was_deleted_is_remembered_and_not_made() {
    let written = state(&json!({"validatingwebhookconfiguration.uid": "u"}));
    let server = ApiServer { state: Some(written), ..ApiServer::default() };
    let mut running = Running::start(&server, Registration::Own);
    running.is_told("gatepost doctor --resume").await;
    running.shows("gatepost_registration_paused 1").await;
    let remembered = server.written("configmaps").remove(0);
    assert_eq!(remembered["data"]["validatingwebhookconfiguration.uid"], "u");
    assert!(remembered["data"]["validatingwebhookconfiguration.deleted"].is_string(), "{remembered}");
    assert_eq!(remembered["metadata"]["resourceVersion"], "3", "who read it earlier does not write over it");
    assert_eq!(server.written("validatingwebhookconfigurations"), Vec::<Value>::new());
}

#[tokio::test]
async fn at_first_only_probes_are_registered() {
    let server = ApiServer { state: Some(state(&json!({}))), ..ApiServer::default() };
    let running = Running::start(&server, Registration::Own);
    running.shows("gatepost_registration_state{state=\"probe_only\"} 1").await;
    let made = server.written("validatingwebhookconfigurations").remove(0);
    assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], "ns");
    let names: Vec<&Value> = made["webhooks"].as_array().unwrap().iter().map(|entry| &entry["name"]).collect();
    assert_eq!(names, ["probe.validate.gatepost.dev"]);
    assert_eq!(server.written("mutatingwebhookconfigurations"), Vec::<Value>::new());
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_nobody_may_look_at_holds_no_authority() {
    for hidden in ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"] {
        let server = ApiServer { hidden: Some(hidden), ..ApiServer::default() };
        let mut running = Running::start(&server, Registration::Manifest);
        let long = Duration::from_mins(5);
        let note = "WebhookConfiguration gatepost cannot be watched";
        let told = |notes: &Notes| notes.iter().any(|told| told.says.contains(note));
        let found = tokio::time::timeout(long, running.notes.wait_for(told)).await.is_ok_and(|told| told.is_ok());
        assert!(found, "{hidden}: {:?}", running.notes.borrow());
        let published = running.published.lock().unwrap();
        assert!(published.len() > 1 && published.iter().all(String::is_empty), "{hidden}: {published:?}");
    }
}

#[tokio::test]
async fn what_is_written_whole_holds_an_authority_where_nothing_did() {
    let uids = json!({"validatingwebhookconfiguration.uid": "u", "mutatingwebhookconfiguration.uid": "m"});
    let mutating = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "gatepost", "uid": "m", "resourceVersion": "6"}, "webhooks": []});
    let (registration, mutating, state) = (Some(registered()), Some(mutating), Some(state(&uids)));
    let server = ApiServer { registration, mutating, state, ..ApiServer::default() };
    let running = Running::start(&server, Registration::Own);
    running.shows("gatepost_registration_writes_total 2").await;
    for resource in ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"] {
        let written = server.written(resource).remove(0);
        for entry in written["webhooks"].as_array().unwrap() {
            assert!(!entry["clientConfig"]["caBundle"].as_str().unwrap().is_empty(), "{resource}: {entry}");
        }
    }
}

fn made_by_us() -> Value {
    state(&json!({"validatingwebhookconfiguration.uid": "u"}))
}

const VALIDATING: &str = "validatingwebhookconfigurations";

/// Waits until the validating registration is written.
async fn first_written(server: &ApiServer) -> Value {
    let written = async {
        while server.written(VALIDATING).is_empty() {
            tokio::task::yield_now().await;
        }
        server.written(VALIDATING).remove(0)
    };
    tokio::time::timeout(PATIENCE, written).await.unwrap()
}

#[tokio::test]
async fn what_to_ask_about_on_delete_stays_registered_until_kinds_can_be_looked_up() {
    let kinds = vec!["apps/Deployment".parse().unwrap()];
    let wanted = Wanted { deleted: vec![deletion("apps", "deployments", true)], ..Wanted::shipped("gatepost") };
    let entries: Vec<_> = wanted.validating().into_iter().chain([wanted.probe()]).collect();
    let mut before = text(entries);
    before["metadata"] = json!({"name": "gatepost", "uid": "u", "resourceVersion": "5"});
    let server = ApiServer { registration: Some(before), state: Some(made_by_us()), ..ApiServer::default() };
    let mut running = Running::with_deletions(&server, Registration::Own, kinds);
    running.is_told("kinds to ask about on DELETE cannot be looked up: try again").await;
    running.shows("gatepost_registration_state{state=\"registered\"} 1").await;
    assert_eq!(server.written(VALIDATING), Vec::<Value>::new());
    *server.served.lock().unwrap() = Some(vec![("deployments", "Deployment")]);
    running.wake();
    assert_eq!(first_written(&server).await["webhooks"][0]["rules"][1]["operations"], json!(["DELETE"]));
}

#[tokio::test(start_paused = true)]
async fn kinds_that_come_later_are_found() {
    let kinds = vec!["apps/*".parse().unwrap()];
    let server = ApiServer { registration: Some(registered()), ..ApiServer::default() };
    *server.served.lock().unwrap() = Some(vec![("deployments", "Deployment")]);
    let mut running = Running::with_deletions(&server, Registration::Manifest, kinds);
    running.is_told("does not ask about DELETE of apps/deployments, which").await;
    *server.served.lock().unwrap() = Some(vec![("deployments", "Deployment"), ("widgets", "Widget")]);
    running.is_told_within("DELETE of apps/deployments, DELETE of apps/widgets, which", Duration::from_secs(80)).await;
}

#[tokio::test]
async fn nothing_is_made_over_what_the_watch_has_not_told_of() {
    let now = HashMap::from([(VALIDATING, Some(registered()))]);
    let server = ApiServer { state: Some(state(&json!({}))), now, ..ApiServer::default() };
    let _running = Running::start(&server, Registration::Own);
    let written = first_written(&server).await;
    assert_eq!(written["metadata"]["resourceVersion"], "5", "it is written over what was read: {written}");
}

#[tokio::test]
async fn nothing_is_made_that_was_made_and_deleted_behind_the_watches() {
    let deleted = state(&json!({"validatingwebhookconfiguration.uid": "u",
        "validatingwebhookconfiguration.deleted": "2026-03-01T12:00:00Z"}));
    let now = HashMap::from([("configmaps", Some(deleted))]);
    for told in [None, Some(state(&json!({})))] {
        let server = ApiServer { state: told, now: now.clone(), ..ApiServer::default() };
        let mut running = Running::start(&server, Registration::Own);
        running.is_told("noticed 2026-03-01T12:00:00Z").await;
        assert!(server.wrote_nothing());
    }
}

#[tokio::test]
async fn what_another_replica_noticed_is_not_forgotten_for_a_watch_that_is_behind() {
    let noticed = state(&json!({"validatingwebhookconfiguration.uid": "u",
        "validatingwebhookconfiguration.deleted": "2026-03-01T12:00:00Z"}));
    let now = HashMap::from([(VALIDATING, None)]);
    let server = ApiServer { registration: Some(registered()), state: Some(noticed), now, ..ApiServer::default() };
    let mut running = Running::start(&server, Registration::Own);
    running.is_told("noticed 2026-03-01T12:00:00Z").await;
    running.shows("gatepost_registration_paused 1").await;
    assert!(server.wrote_nothing());
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_widened_in_time_waits_for_another_probe() {
    let answers = refusing(VALIDATING, 403);
    let server = ApiServer { registration: Some(narrow()), state: Some(made_by_us()), answers, ..ApiServer::default() };
    *server.probes.lock().unwrap() = Way::Open;
    let mut running = Running::start(&server, Registration::Own);
    let widened = || {
        let entries = |object: &Value| object["webhooks"].as_array().unwrap().len();
        server.written(VALIDATING).iter().filter(|object| entries(object) > 1).count()
    };
    let tried = async {
        while widened() == 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), tried).await.unwrap();
    *server.probes.lock().unwrap() = Way::Blocked;
    running.is_told_within("the connection is refused", Duration::from_mins(2)).await;
    let before = widened();
    server.answers.lock().unwrap().clear();
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(widened(), before, "nobody reaches it");
}

#[tokio::test]
async fn what_is_otherwise_in_git_than_what_ships_is_told_and_choices_are_not() {
    let mut changed = registered();
    let entry = &mut changed["webhooks"][0];
    entry["rules"][0]["operations"] = json!(["CREATE"]);
    entry["namespaceSelector"] = json!({"matchLabels": {"judged": "yes"}});
    entry["objectSelector"] = json!({"matchLabels": {"app": "web"}});
    entry["matchConditions"] = json!([]);
    entry["timeoutSeconds"] = json!(10);
    entry["failurePolicy"] = json!("Fail");
    // What is written is not echoed whole.
    let answers = refusing(VALIDATING, 403);
    let server = ApiServer { registration: Some(changed), answers, ..ApiServer::default() };
    let mut running = Running::start(&server, Registration::Manifest);
    for text in [
        "does not ask about UPDATE of */*, UPDATE of */pods/ephemeralcontainers, otherwise than what ships",
        "asks only about namespaces where judged In [yes]",
        "asks only about objects where app In [web]",
        "the match condition not-leases is missing",
    ] {
        running.is_told(text).await;
    }
    let notes = running.notes.borrow();
    assert!(notes.iter().all(|note| !note.is_grave), "{notes:?}");
    assert!(!notes.iter().any(|note| note.says.contains("timeoutSeconds") || note.says.contains("failurePolicy")));
}

#[tokio::test]
async fn what_the_api_server_says_to_a_write_is_told_in_its_words() {
    for (code, registration, done) in [(403, None, "made"), (422, Some(narrow()), "written")] {
        let state = if registration.is_some() { made_by_us() } else { state(&json!({})) };
        let (state, answers) = (Some(state), refusing(VALIDATING, code));
        let server = ApiServer { registration, state, answers, ..ApiServer::default() };
        let mut running = Running::start(&server, Registration::Own);
        running.is_told(&format!("ValidatingWebhookConfiguration gatepost cannot be {done}: you may not")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_overtaken_again_and_again_says_so() {
    let answers = refusing(VALIDATING, 409);
    let server = ApiServer { registration: Some(narrow()), state: Some(made_by_us()), answers, ..ApiServer::default() };
    let mut running = Running::start(&server, Registration::Own);
    running.is_told_within("cannot be written: you may not", Duration::from_mins(2)).await;
    assert_eq!(server.written(VALIDATING).len(), 4);
}
