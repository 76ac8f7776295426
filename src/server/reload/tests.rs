//! Changes of mounted files, and what the webhook makes of them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::*;
use crate::telemetry::{Metrics, Traces};
use crate::webhook::handlers::routes;
use crate::webhook::in_force::Live;
use crate::webhook::journal::Journal;
use crate::webhook::memory::RequestMemory;
use crate::webhook::workers::Workers;

const ALL: [Condition; 4] = [Condition::Certificates, Condition::Bundle, Condition::Namespaces, Condition::Accepting];

/// A directory as the kubelet mounts a ConfigMap: names are links into `..data`, which is a link to the present version.
struct Mount {
    root: PathBuf,
    versions: usize,
}

impl Mount {
    fn new(root: PathBuf, files: &[(&str, String)]) -> Self {
        fs::create_dir_all(&root).unwrap();
        let mut mount = Self { root, versions: 0 };
        mount.swap(files);
        mount
    }

    /// Exchanges all files at once.
    fn swap(&mut self, files: &[(&str, String)]) {
        self.versions += 1;
        let version = format!("..version_{}", self.versions);
        let folder = self.root.join(&version);
        fs::create_dir(&folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        symlink(&version, self.root.join("..data_tmp")).unwrap();
        fs::rename(self.root.join("..data_tmp"), self.root.join("..data")).unwrap();
        for (name, _) in files {
            let _ = symlink(Path::new("..data").join(name), self.root.join(name));
        }
        let stale = |path: &Path| path.symlink_metadata().unwrap().is_symlink() && !path.exists();
        let entries = fs::read_dir(&self.root).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| stale(path)).for_each(|path| fs::remove_file(path).unwrap());
        if self.versions > 1 {
            fs::remove_dir_all(self.root.join(format!("..version_{}", self.versions - 1))).unwrap();
        }
    }
}

/// A rule that finds a version in every ConfigMap.
fn rule(id: &str, version: &str) -> String {
    format!(
        "# METADATA\n# title: t\n# description: d\n# custom:\n#   id: {id}\n#   severity: high\n#   category: own\n\
         #   impact: i\n#   effort: easy\n#   kinds: [core/ConfigMap]\n#   fix: f\npackage own.{}\n\n\
         violation contains {{\"message\": \"{version}\", \"path\": [\"data\"]}}\n",
        id.replace('-', "_")
    )
}

fn policy(name: &str, rules: &[&str]) -> String {
    let rules: Vec<String> = rules.iter().map(|rule| format!("  - id: {rule}\n")).collect();
    let rules = rules.concat();
    format!("apiVersion: gatepost.dev/v1alpha1\nkind: Policy\nmetadata: {{name: {name}}}\nspec:\n  rules:\n{rules}")
}

/// Two rules of one policy, which the configuration has warned of.
fn pair(version: &str) -> Vec<(&'static str, String)> {
    vec![
        ("a.rego", rule("pair-a", version)),
        ("b.rego", rule("pair-b", version)),
        ("pair.yaml", policy("pair", &["pair-a", "pair-b"])),
        ("config.yaml", "defaults: {warn: pair, audit: off}\nclusterScoped: {audit: off}\n".to_owned()),
    ]
}

struct Setting {
    watch: Watch,
    mount: Mount,
    data: TempDir,
}

impl Setting {
    /// Starts with files, policies and configuration in one mounted directory.
    fn with(files: &[(&str, String)]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mount = Mount::new(data.path().join("mount"), files);
        let layers = Layers::of_file(&mount.root.join("config.yaml"));
        let policies = [("GATEPOST_POLICIES".into(), mount.root.clone().into_os_string())];
        let file = layers.file().map(Path::to_owned);
        let layers = Layers::new(&crate::config::Flags::default(), file, None, policies);
        let contents = Contents::read(&layers).unwrap_or_else(|error| panic!("{error}"));
        let cache = ProgramCache::default();
        let in_force = contents.build(&cache, false).unwrap_or_else(|error| panic!("{error}"));
        let metrics = Arc::new(Metrics::new());
        let app = Arc::new(App {
            in_force: Live::new(in_force),
            world: World::Static,
            own_namespace: None,
            traces: Traces::default(),
            memory: RequestMemory::new(96 << 20, 1),
            workers: Workers::new(2.try_into().unwrap(), 1000).unwrap(),
            journal: Journal::start(data.path(), Counter::default()).unwrap(),
            metrics,
            deferred_bytes: AtomicUsize::new(0),
            outbox: None,
            pages: None,
        });
        let readiness = Arc::<Readiness>::default();
        for condition in ALL {
            readiness.set(condition, true);
        }
        let addresses = Addresses {
            webhook: Some("127.0.0.1:1".parse().unwrap()),
            http: "127.0.0.1:2".parse().unwrap(),
            metrics: "127.0.0.1:3".parse().unwrap(),
        };
        let mut settings = contents.read.settings.clone();
        settings.data_dir = data.path().to_owned();
        let reloader = Reloader { layers, cache, app, readiness, settings, addresses, auditor: None };
        Self { watch: Watch::new(reloader, Handle::current(), &contents), mount, data }
    }

    /// Exchanges all files, and looks until they are settled.
    fn swap(&mut self, files: &[(&str, String)]) {
        self.mount.swap(files);
        self.settle();
    }

    fn settle(&mut self) {
        while self.watch.look() == SETTLE {}
    }

    fn app(&self) -> &Arc<App> {
        &self.watch.reloader.app
    }

    /// Returns the versions that the answers for a ConfigMap name.
    async fn versions(&self) -> BTreeSet<String> {
        versions(self.app(), "shop").await
    }

    async fn readyz(&self) -> String {
        let router = crate::webhook::health::router(self.watch.reloader.readiness.clone(), self.app().metrics.clone());
        let response = router.oneshot(Request::get("/readyz?verbose").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    fn metric(&self, line: &str) -> String {
        let text = self.app().metrics.encode();
        text.lines().find_map(|found| found.strip_prefix(line)).unwrap_or_default().trim().to_owned()
    }
}

async fn versions(app: &Arc<App>, namespace: &str) -> BTreeSet<String> {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {}});
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "kind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "name": "c",
        "namespace": namespace, "operation": "CREATE", "userInfo": {"username": "jane"}, "object": object,
    }});
    let request = Request::post("/validate").body(Body::from(review.to_string())).unwrap();
    let response = routes(app.clone()).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let answer: Json = serde_json::from_slice(&body).unwrap();
    let warnings = answer["response"]["warnings"].as_array().cloned().unwrap_or_default();
    let word = |warning: &Json| warning.as_str().and_then(|text| text.rsplit(' ').next()).map(str::to_owned);
    let found: Vec<String> = warnings.iter().filter_map(word).collect();
    assert_eq!(found.len(), 2, "{answer}");
    found.into_iter().collect()
}

fn one(version: &str) -> BTreeSet<String> {
    BTreeSet::from([version.to_owned()])
}

#[tokio::test]
async fn a_change_of_policies_and_configuration_comes_whole() {
    let mut setting = Setting::with(&pair("v1"));
    assert_eq!(setting.versions().await, one("v1"));
    setting.swap(&pair("v2"));
    assert_eq!(setting.versions().await, one("v2"));
    // Neither half would do without the other: the policy has another name in both.
    let mut renamed = pair("v3");
    renamed[2] = ("other.yaml", policy("other", &["pair-a", "pair-b"]));
    renamed[3].1 = renamed[3].1.replace("pair", "other");
    setting.swap(&renamed);
    assert_eq!(setting.versions().await, one("v3"));
    assert_eq!(setting.metric("gatepost_reloads_total{result=\"applied\"}"), "2");
    assert!(!setting.readyz().await.contains("[!]"));
    let digest = setting.app().in_force.load().bundle.digest().to_owned();
    assert_eq!(setting.metric(&format!("gatepost_bundle_info{{digest=\"{digest}\"}}")), "1");
    let seen = setting.watch.retired.len();
    setting.watch.look();
    assert_eq!((seen, setting.watch.retired.len()), (1, 0), "what no request holds is freed");
}

#[tokio::test]
async fn what_is_still_being_written_is_not_taken() {
    let mut setting = Setting::with(&pair("v1"));
    setting.mount.swap(&pair("v2"));
    assert_eq!(setting.watch.look(), SETTLE);
    setting.mount.swap(&pair("v3"));
    assert_eq!(setting.watch.look(), SETTLE);
    assert_eq!(setting.versions().await, one("v1"));
    assert_eq!(setting.watch.look(), INTERVAL);
    assert_eq!(setting.versions().await, one("v3"));
}

#[tokio::test]
async fn what_is_broken_is_refused_with_its_place_until_it_is_mended() {
    let mut setting = Setting::with(&pair("v1"));
    for (index, broken, place, cause) in [
        (0, rule("pair-a", "v2").replace("}\n", "\n"), "a.rego:15: ", "expecting `}`"),
        (0, rule("pair-a", "v2").replace("#   severity: high", "#   severity: hihg"), "a.rego:6: ", "METADATA"),
        (0, rule("pair-a", "v2").replace("]}", "]} if nowhere(input.object)"), "a.rego:", "nowhere"),
        (2, policy("pair", &["pair-a", "pair-c"]), "pair.yaml:7: ", "there is no rule \"pair-c\""),
        (3, "\ndefaults: {wran: pair}\n".to_owned(), "config.yaml:2: ", "did you mean `warn`?"),
        (3, "\n\nqueue: much\n".to_owned(), "config.yaml:3: ", "queue: \"much\""),
        (
            3,
            "defaults:\n  warn: pairs\n".to_owned(),
            "config.yaml:2: ",
            "there is no policy \"pairs\", did you mean \"pair\"?",
        ),
    ] {
        let mut files = pair("v2");
        files[index].1 = broken;
        setting.swap(&files);
        assert_eq!(setting.versions().await, one("v1"), "{place}");
        let ready = setting.readyz().await;
        let line = ready.lines().find(|line| line.starts_with("[!]reload refused, what was in force stays: "));
        let place = format!("{}/{place}", setting.mount.root.display());
        assert!(line.is_some_and(|line| line.contains(&place) && line.contains(cause)), "{place} {cause}: {ready}");
        assert_eq!(setting.metric("gatepost_reload_failed"), "1");
        setting.settle();
    }
    assert_eq!(setting.metric("gatepost_reloads_total{result=\"refused\"}"), "7");
    assert_eq!(setting.metric("gatepost_reloads_total{result=\"applied\"}"), "0");
    setting.swap(&pair("v2"));
    assert_eq!(setting.versions().await, one("v2"));
    assert!(!setting.readyz().await.contains("[!]"));
    assert_eq!(setting.metric("gatepost_reload_failed"), "0");
}

#[tokio::test]
async fn a_change_that_is_taken_back_is_forgotten() {
    let mut setting = Setting::with(&pair("v1"));
    let mut broken = pair("v2");
    broken[0].1 = "package x".into();
    setting.swap(&broken);
    assert_eq!(setting.metric("gatepost_reload_failed"), "1");
    setting.swap(&pair("v1"));
    assert_eq!(setting.metric("gatepost_reload_failed"), "0");
    assert!(!setting.readyz().await.contains("[!]"));
    assert_eq!(setting.metric("gatepost_reloads_total{result=\"applied\"}"), "0");
}

#[tokio::test]
async fn a_directory_that_vanishes_changes_nothing() {
    let mut setting = Setting::with(&pair("v1"));
    let aside = setting.data.path().join("aside");
    fs::rename(&setting.mount.root, &aside).unwrap();
    setting.settle();
    assert_eq!(setting.versions().await, one("v1"));
    assert!(setting.readyz().await.contains("config.yaml: cannot be read: No such file"));
    fs::rename(&aside, &setting.mount.root).unwrap();
    setting.settle();
    assert!(!setting.readyz().await.contains("[!]"));
    // A file that is no text is unreadable, too.
    fs::write(setting.mount.root.join("c.rego"), [0xff, 0xfe]).unwrap();
    setting.settle();
    assert!(setting.readyz().await.contains("c.rego: cannot be read: "), "{}", setting.readyz().await);
}

#[tokio::test]
async fn a_policy_in_use_stays_until_it_is_let_go() {
    let manifests = tempfile::tempdir().unwrap();
    let namespace = |labels: &str| {
        let text = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, labels: {{{labels}}}}}\n");
        fs::write(manifests.path().join("shop.yaml"), text).unwrap();
    };
    namespace("gatepost.dev/audit: extra");
    let with_manifests = |mut files: Vec<(&'static str, String)>| {
        files[3].1 = format!("{}manifests: {}\n", files[3].1, manifests.path().display());
        files
    };
    let mut files = with_manifests(pair("v1"));
    files.push(("extra.yaml", policy("extra", &["pair-a"])));
    let mut setting = Setting::with(&files);
    setting.swap(&with_manifests(pair("v2")));
    assert_eq!(setting.versions().await, one("v1"));
    let ready = setting.readyz().await;
    assert!(
        ready.contains(
            "extra.yaml: policy \"extra\" would be gone, but is in use by the namespaces shop (gatepost.dev/audit): "
        ),
        "{ready}"
    );
    // It is looked at again and again, and told once.
    setting.settle();
    assert_eq!(setting.metric("gatepost_reloads_total{result=\"refused\"}"), "1");

    namespace("");
    setting.watch.is_asked = true;
    setting.settle();
    assert_eq!(setting.versions().await, one("v2"));
    assert!(!setting.readyz().await.contains("[!]"));
}

#[tokio::test]
async fn nothing_goes_while_nobody_knows_whether_it_is_used() {
    let mut files = pair("v1");
    files.push(("extra.yaml", policy("extra", &["pair-a"])));
    let mut setting = Setting::with(&files);
    setting.watch.reloader.readiness.set(Condition::Namespaces, false);
    setting.swap(&pair("v2"));
    assert_eq!(setting.versions().await, one("v1"));
    setting.watch.reloader.readiness.set(Condition::Namespaces, true);
    setting.settle();
    assert_eq!(setting.versions().await, one("v2"), "without another change of the files");
}

#[tokio::test]
async fn settings_hold_at_once_or_say_that_they_need_a_restart() {
    let mut setting = Setting::with(&pair("v1"));
    let mut files = pair("v1");
    files[3].1 += "ruleTimeoutMs: 77\nmaxBodyBytes: 9999\njudgeOwned: true\nqueue: 3\n";
    setting.swap(&files);
    let in_force = setting.app().in_force.load();
    assert_eq!(
        (in_force.limits.time, in_force.max_body, in_force.judge_owned),
        (Duration::from_millis(77), setting.watch.reloader.settings.max_body_bytes, true)
    );
    let ready = setting.readyz().await;
    assert!(ready.contains("config.yaml:6: queue \"3\" needs a restart; \"2048\" holds until then\n"), "{ready}");
    assert_eq!(ready.matches("[!]").count(), 2, "{ready}");
    setting.swap(&pair("v1"));
    assert!(!setting.readyz().await.contains("[!]"));
}

#[tokio::test]
async fn the_registration_asks_about_deletions_once_a_rule_does() {
    let mut setting = Setting::with(&pair("v1"));
    fs::write(setting.data.path().join("ca.crt"), "authority").unwrap();
    let mut files = pair("v2");
    files[0].1 = files[0].1.replace("#   fix: f", "#   fix: f\n#   operations: [CREATE, DELETE]");
    setting.swap(&files);
    let registration = fs::read_to_string(setting.data.path().join("webhook.yaml")).unwrap();
    assert!(registration.contains("- DELETE\n"), "{registration}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_judged_by_half_a_change() {
    let mut setting = Setting::with(&pair("v0"));
    let is_over = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (app, is_over, asked) = (setting.app().clone(), is_over.clone(), asked.clone());
            tokio::spawn(async move {
                let mut seen = BTreeSet::new();
                while !is_over.load(Ordering::Relaxed) {
                    let versions = versions(&app, "shop").await;
                    assert_eq!(versions.len(), 1, "one request saw {versions:?}");
                    seen.extend(versions);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                seen
            })
        })
        .collect();
    // More answers than there are clients: some were asked for after whatever went before.
    let more = async || {
        let before = asked.load(Ordering::Relaxed);
        while asked.load(Ordering::Relaxed) < before + 20 {
            tokio::task::yield_now().await;
        }
    };
    more().await;
    for number in 1..=20 {
        let files = pair(&format!("v{number}"));
        setting = tokio::task::spawn_blocking(move || {
            setting.swap(&files);
            setting
        })
        .await
        .unwrap();
        more().await;
        assert_eq!(setting.versions().await, one(&format!("v{number}")));
    }
    is_over.store(true, Ordering::Relaxed);
    let mut seen = BTreeSet::new();
    for client in clients {
        seen.extend(client.await.unwrap());
    }
    assert_eq!(seen.len(), 21, "{seen:?}");
}
