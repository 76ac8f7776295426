//! A store, namespaces and a notifier that tells of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::admission::decide::Action;
use crate::config::Config;
use crate::config::notifications::Target;
use crate::engine::Catalogue;
use crate::notify::collect::Source;
use crate::notify::{Around, Dated, Desk, Links, Notifier};
use crate::policy::{ExemptionTerms, Exemptions, NamespaceMeta, RuleId, Severity};
use crate::report::Verdict;
use crate::report::finding::{Finding, Fingerprint, ObjectKey, State};
use crate::store::{AuditState, Batch, Changes, Decision, DecisionResult, ModeChanged, ModeKeys, Store, Trigger, open};
use crate::telemetry::Metrics;

const RULE: &str = "container-image-tag";

#[derive(Default)]
struct Fake {
    config: Mutex<Arc<Config>>,
    namespaces: Mutex<BTreeMap<String, NamespaceMeta>>,
    exemptions: Mutex<Arc<Exemptions>>,
    dates: Mutex<Vec<Dated>>,
}

impl Around for Fake {
    fn config(&self) -> Arc<Config> {
        self.config.lock().unwrap().clone()
    }

    fn namespaces(&self) -> Vec<Arc<NamespaceMeta>> {
        self.namespaces.lock().unwrap().values().cloned().map(Arc::new).collect()
    }

    fn exemptions(&self) -> Arc<Exemptions> {
        self.exemptions.lock().unwrap().clone()
    }

    fn dates(&self) -> Vec<Dated> {
        self.dates.lock().unwrap().clone()
    }

    fn faults(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
}

pub struct Scene {
    directory: TempDir,
    store: Arc<dyn Store>,
    around: Arc<Fake>,
    metrics: Metrics,
    stop: Mutex<Vec<watch::Sender<bool>>>,
}

impl Scene {
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path(), None).await.unwrap();
        Self { directory, store, around: Arc::default(), metrics: Metrics::new(), stop: Mutex::default() }
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    pub fn annotate(&self, namespace: &str, key: &str, value: &str) {
        let mut namespaces = self.around.namespaces.lock().unwrap();
        let meta = namespaces.entry(namespace.to_owned()).or_insert_with(|| NamespaceMeta::named(namespace));
        meta.annotations.insert(key.to_owned(), value.to_owned());
    }

    pub fn exempt(&self, expires: &str) {
        let text = format!(
            "apiVersion: gatepost.dev/v1alpha1\nkind: Exemption\nmetadata: {{name: old-images, namespace: shop}}\nspec:\n  \
             {{reason: migration, owner: team-a, rules: [{RULE}], expires: \"{expires}\"}}\n"
        );
        let catalogue = Catalogue::read(&[vec![crate::policy::Source::new("exemptions.yaml", text.as_str())]]).unwrap();
        let exemptions = Exemptions::new(catalogue.exemptions().to_vec(), &ExemptionTerms::default());
        *self.around.exemptions.lock().unwrap() = Arc::new(exemptions);
    }

    /// Has a namespace deny what `baseline` finds from a date.
    pub fn enforce_from(&self, namespace: &str, from: &str) {
        let dated = Dated { from: from.parse().unwrap(), namespace: namespace.into(), policy: "baseline".into() };
        self.around.dates.lock().unwrap().push(dated);
    }

    /// Remembers that a date was written from the dashboard.
    pub async fn announce(&self, namespace: &str, time: &str, from: &str) {
        let keys = |key: &str, value: &str| BTreeMap::from([(format!("gatepost.dev/{key}"), value.to_owned())]);
        let after = ModeKeys { labels: keys("enforce", "baseline"), annotations: keys("enforce-from", from) };
        let change = ModeChanged {
            id: 0,
            time: time.parse().unwrap(),
            namespace: namespace.into(),
            user: "jane".into(),
            reason: "it is clean".into(),
            before: ModeKeys::default(),
            after,
            takes_back: None,
        };
        self.store.put_mode_change(&change).await.unwrap();
    }

    fn config(targets: &str) -> Config {
        Config::parse(Path::new("gatepost.yaml"), &format!("notifications:\n{targets}\n")).unwrap()
    }

    pub fn target(text: &str) -> Target {
        Self::config(text).notifications[0].clone()
    }

    pub fn source(&self) -> Source {
        let (store, around) = (self.store.clone(), self.around.clone());
        Source { store, around, links: Self::links(), cluster: String::new() }
    }

    fn links() -> Links {
        Links::new(Some("https://gate.example".to_owned()))
    }

    /// Begins to tell these targets.
    pub fn notify(&self, targets: &str) -> Desk {
        *self.around.config.lock().unwrap() = Arc::new(Self::config(targets));
        // Each has a channel of its own: with one for all, the one before could miss that it was to stop.
        let (stop, stopped) = watch::channel(false);
        self.stop.lock().unwrap().push(stop);
        let (store, around) = (self.store.clone(), self.around.clone());
        let notifier = Notifier::new(store, around, Self::links(), String::new(), self.metrics.notifications.clone());
        notifier.start(stopped, tokio::sync::watch::channel(true).1)
    }

    pub fn stop(&self) {
        for stop in self.stop.lock().unwrap().drain(..) {
            stop.send_replace(true);
        }
    }

    pub fn metrics(&self) -> String {
        self.metrics.encode()
    }

    /// Waits for something, with a limit.
    pub async fn until<T>(&self, is_there: impl Fn() -> Option<T>) -> T {
        for _ in 0..400 {
            if let Some(found) = is_there() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not come to be");
    }

    fn object(namespace: &str, name: &str) -> ObjectKey {
        ObjectKey {
            cluster: String::new(),
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    pub fn id(namespace: &str, name: &str) -> String {
        Fingerprint::new(&Self::object(namespace, name), &RuleId::from(RULE), "/spec").0
    }

    /// Has an audit find something.
    pub async fn audit(&self, found: &[(&str, String, Severity)]) {
        let begun = Timestamp::now();
        let mut audit = self.store.begin_audit("", Trigger::Schedule, "sha256:ab", begun).await.unwrap();
        let put = found.iter().map(|(namespace, name, severity)| Finding {
            id: Fingerprint(Self::id(namespace, name)),
            object: Self::object(namespace, name),
            api_version: "apps/v1".into(),
            uid: "u".into(),
            owner: String::new(),
            application: None,
            content: "c0ffee".into(),
            rule: RULE.into(),
            place: "/spec".into(),
            result: Verdict::Fail,
            severity: *severity,
            category: "workload".into(),
            policies: vec!["recommended".into()],
            action: Action::Warn,
            path: "/spec".into(),
            message: "no tag".into(),
            state: State::Open,
            closed_because: None,
            closed_at: None,
            first_seen: begun,
            last_seen: begun,
            reopened: 0,
            brought_in: None,
            exemption: None,
        });
        let changes = Changes { put: put.collect(), ..Changes::default() };
        self.store.change("", changes, Timestamp::now()).await.unwrap();
        (audit.state, audit.finished, audit.objects) = (AuditState::Complete, Some(Timestamp::now()), 7);
        audit.opened = found.len().try_into().unwrap();
        self.store.end_audit(&audit, &[], &[]).await.unwrap();
    }

    /// Has decisions taken in that denied something.
    pub async fn deny(&self, key: &str, time: Timestamp, denied: &[(&str, &str, &str)]) {
        let decision = |(number, (namespace, name, user)): (usize, &(&str, &str, &str))| Decision {
            uid: format!("{key}-{number}"),
            time,
            cluster: String::new(),
            operation: "CREATE".into(),
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: (*namespace).into(),
            name: (*name).into(),
            user: (*user).into(),
            verified: true,
            dry_run: false,
            allowed: false,
            reason: "judged".into(),
            duration_us: 250,
            break_glass: None,
            changes: Vec::new(),
            results: vec![DecisionResult {
                rule: RULE.into(),
                policy: "baseline".into(),
                severity: "high".into(),
                result: "fail".into(),
                action: "deny".into(),
                path: "/spec".into(),
                place: "/spec".into(),
                message: "no tag".into(),
                exemption: String::new(),
            }],
        };
        let batch = Batch {
            api_version: "gatepost.dev/v1".into(),
            kind: "Report".into(),
            key: key.into(),
            cluster: String::new(),
            source: "webhook/a".into(),
            commit: String::new(),
            decisions: denied.iter().enumerate().map(decision).collect(),
            checks: Vec::new(),
        };
        self.store.take_in(&batch).await.unwrap();
    }
}
