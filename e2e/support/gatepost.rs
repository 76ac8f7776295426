//! One Gatepost process for one test, registered with the API server for the namespaces of that test alone.

use std::borrow::Borrow;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::control_plane::ControlPlane;
use super::decisions::Decision;
use super::kubectl::{Answer, Kubectl, Request, apply, create, kubectl};
use super::mount;
use super::objects::{Object, namespace, untagged};
use super::serving::{READY_WITHIN, Serving};
use super::wait::wait_for;

/// The label by which the API server knows which test's Gatepost to ask.
const TEST: &str = "e2e";
/// Rules and policies of a test's own: `role-wildcard.rego`, `own.yaml` and the like.
pub type PolicyFiles = &'static [(&'static str, &'static str)];

static TESTS: AtomicU32 = AtomicU32::new(1);

/// Directory and file of the configuration.
const CONFIG: &str = "config";
const CONFIG_FILE: &str = "config.yaml";
/// Directory of the policies.
const POLICIES: &str = "policies";

/// How a test's Gatepost is configured and registered.
#[derive(Debug)]
pub struct Options {
    /// The registration's failurePolicy. By default `Fail`: an answer that does not come must not look like a yes.
    pub failure_policy: &'static str,
    /// The operations registered, in all of the test's namespaces.
    pub operations: &'static [&'static str],
    /// The text of the configuration file; none if empty.
    pub config: &'static str,
    /// Files for `--policies`.
    pub policies: PolicyFiles,
    /// The name that clients must prove to have; none asks for no certificate.
    pub client_name: Option<&'static str>,
    /// Further arguments.
    pub arguments: &'static [&'static str],
}

impl Default for Options {
    fn default() -> Self {
        Self {
            failure_policy: "Fail",
            operations: &["CREATE", "UPDATE"],
            config: "",
            policies: &[],
            client_name: None,
            arguments: &[],
        }
    }
}

/// A Gatepost that the API server asks; gone, with its registration, when dropped.
#[derive(Debug)]
pub struct Gatepost {
    test: String,
    control_plane: &'static ControlPlane,
    serving: Serving,
}

impl Gatepost {
    /// Starts Gatepost and waits until the API server asks it; `None` where there is no control plane.
    pub fn start(options: &Options) -> Option<Self> {
        let control_plane = ControlPlane::shared()?;
        let test = format!("t{}", TESTS.fetch_add(1, Ordering::Relaxed));
        let mut serving = Serving::new(&format!("gatepost-{test}"));
        serving.with(["--kubeconfig".into(), control_plane.kubeconfig().as_os_str().to_owned()]);
        serving.with(write_files(serving.directory(), options).expect("files for Gatepost"));
        if let Some(name) = options.client_name {
            let authority = control_plane.clients().certificate().as_os_str().to_owned();
            serving.with(["--client-ca".into(), authority, "--client-name".into(), name.into()]);
        }
        serving.with(options.arguments.iter().copied());
        serving.launch();
        let gatepost = Self { test, control_plane, serving };
        gatepost.register(options);
        gatepost.wait_until_asked();
        Some(gatepost)
    }

    /// Runs the process, on the port it had before, and waits until it is ready.
    pub fn launch(&mut self) {
        self.serving.launch();
    }

    /// Exchanges the configuration as the kubelet does for a mounted ConfigMap; there must have been one at the start.
    pub fn mount_config(&self, text: &str) {
        mount::swap(&self.serving.directory().join(CONFIG), &[(CONFIG_FILE, text)]).expect("a mounted file");
    }

    /// Exchanges the policies as the kubelet does for a mounted ConfigMap; there must have been some at the start.
    pub fn mount_policies(&self, files: &[(&str, &str)]) {
        mount::swap(&self.serving.directory().join(POLICIES), files).expect("mounted files");
    }

    /// Returns the lines of Gatepost's log with a message.
    pub fn log_lines(&self, message: &str) -> Vec<Value> {
        self.serving.logged(message)
    }

    /// Returns what the health listener answers.
    pub fn health(&self, path: &str) -> String {
        self.serving.health(path)
    }

    /// Kills the process as a crash would: no farewell, no draining.
    pub fn kill(&mut self) {
        self.serving.kill();
    }

    /// Tells the API server to ask this Gatepost about everything in, and every cluster-scoped object of, this test.
    fn register(&self, options: &Options) {
        let ours = self.selector();
        let webhook = |name: &str, scope: &str, resources: &[&str], selector: &str| {
            json!({
                "name": format!("{name}.{}.gatepost.dev", self.test),
                "clientConfig": self.client_config("/validate"),
                "rules": [{
                    "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources, "scope": scope,
                    "operations": options.operations,
                }],
                selector: ours,
                "matchPolicy": "Equivalent",
                "failurePolicy": options.failure_policy,
                "sideEffects": "None",
                "timeoutSeconds": 10,
                "admissionReviewVersions": ["v1"],
            })
        };
        let registration = Object(json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": self.registration()},
            "webhooks": [
                webhook("namespaced", "Namespaced", &["*", "pods/ephemeralcontainers"], "namespaceSelector"),
                // A namespaceSelector would let every other test's cluster-scoped objects through.
                webhook("cluster", "Cluster", &["*"], "objectSelector"),
            ],
        }));
        self.kubectl().accepts(create(&registration));
    }

    /// Returns the name of this test's registrations.
    pub fn registration(&self) -> String {
        format!("e2e-{}", self.test)
    }

    /// Returns where the API server finds this Gatepost, and what it must trust.
    pub fn client_config(&self, path: &str) -> Value {
        let authority =
            fs::read(self.serving.directory().join("data/ca.crt")).expect("Gatepost's certificate authority");
        json!({"url": format!("https://{}{path}", self.serving.webhook()), "caBundle": ByteString(authority)})
    }

    /// Returns the label selector of what belongs to this test.
    pub fn selector(&self) -> Value {
        json!({"matchLabels": {TEST: self.test}})
    }

    /// Waits until the API server has seen the registration.
    fn wait_until_asked(&self) {
        let probe = format!("probe-{}", self.test);
        let namespace = namespace(&probe)
            .with("/metadata/labels/e2e", self.test.clone())
            .with("/metadata/labels/gatepost.dev~1warn", "recommended");
        self.kubectl().accepts(create(&namespace));
        let kubectl = self.kubectl().in_namespace(&probe);
        let asked = wait_for("the API server to ask Gatepost", READY_WITHIN, || {
            let answer = kubectl.run(create(&untagged("probe")).dry_run());
            (!answer.warnings().is_empty()).then_some(())
        });
        asked.unwrap_or_else(|error| panic!("{error}\n{}", self.serving.log_end()));
    }

    /// Returns the certificate authority, the kubeconfig and the like: what the API server and kubectl know.
    pub fn control_plane(&self) -> &'static ControlPlane {
        self.control_plane
    }

    /// Returns kubectl, in no namespace.
    pub fn kubectl(&self) -> &'static Kubectl {
        self.control_plane.kubectl()
    }

    /// Returns a Namespace that belongs to this test, with settings such as `enforce=baseline` and `enforce-scope=all`.
    pub fn namespace_object(&self, name: &str, settings: &[&str]) -> Object {
        let object = namespace(&format!("{name}-{}", self.test)).with("/metadata/labels/e2e", self.test.clone());
        settings.iter().fold(object, |object, setting| {
            let (key, value) = setting.split_once('=').expect("key=value");
            object.with(&format!("/metadata/{}/gatepost.dev~1{key}", place(key)), value)
        })
    }

    /// Returns an object that belongs to no namespace, marked as one of this test's.
    pub fn cluster_scoped(&self, object: Object) -> Object {
        let name = format!("{}-{}", object.text("/metadata/name"), self.test);
        object.with("/metadata/name", name).with("/metadata/labels/e2e", self.test.clone())
    }

    /// Makes a namespace and waits until Pods can be made in it.
    #[track_caller]
    pub fn namespace(&self, name: &str, settings: &[&str]) -> Namespace {
        let object = self.namespace_object(name, settings);
        self.kubectl().accepts(create(&object));
        let name = object.text("/metadata/name").to_owned();
        let namespace = Namespace { kubectl: self.kubectl().in_namespace(&name), name };
        namespace.accepts(kubectl("wait --for=create serviceaccount/default --timeout=50s"));
        namespace
    }

    /// Returns the process and its files.
    pub fn serving(&self) -> &Serving {
        &self.serving
    }

    /// Returns what Gatepost's log says it decided, the oldest first.
    pub fn decisions(&self) -> Vec<Decision> {
        self.serving.decisions()
    }
}

impl Drop for Gatepost {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.serving.log_end());
        }
        // First the registration: what is still written to the test's namespaces must not wait for a dead webhook.
        let name = self.registration();
        self.kubectl().run(kubectl(&format!("delete validatingwebhookconfiguration {name} --ignore-not-found")));
        self.kill();
    }
}

/// Writes the files of the options, and returns the arguments that name them.
fn write_files(directory: &Path, options: &Options) -> std::io::Result<Vec<OsString>> {
    let mut arguments = Vec::new();
    let mut name = |flag: &str, path: &Path| arguments.extend([flag.into(), path.as_os_str().to_owned()]);
    if !options.config.is_empty() {
        let folder = directory.join(CONFIG);
        mount::swap(&folder, &[(CONFIG_FILE, options.config)])?;
        name("--config", &folder.join(CONFIG_FILE));
    }
    if !options.policies.is_empty() {
        let path = directory.join(POLICIES);
        mount::swap(&path, options.policies)?;
        name("--policies", &path);
    }
    Ok(arguments)
}

/// Returns where a setting of a namespace stands: modes are labels, what goes with them annotations.
fn place(key: &str) -> &'static str {
    if key.contains('-') { "annotations" } else { "labels" }
}

/// A namespace of one test.
#[derive(Debug)]
pub struct Namespace {
    pub name: String,
    kubectl: Kubectl,
}

impl Namespace {
    /// Runs a request in the namespace and returns the answer, whatever it is.
    pub fn run(&self, request: impl Borrow<Request>) -> Answer {
        self.kubectl.run(request)
    }

    /// Runs a request that must succeed.
    #[track_caller]
    pub fn accepts(&self, request: impl Borrow<Request>) -> Answer {
        self.kubectl.accepts(request)
    }

    /// Runs a request that Gatepost must deny.
    #[track_caller]
    pub fn rejects(&self, request: impl Borrow<Request>) -> Answer {
        self.kubectl.rejects(request)
    }

    /// Sets modes and what goes with them, such as `enforce=baseline`; `enforce-` removes one.
    #[track_caller]
    pub fn set(&self, setting: &str) -> Answer {
        self.kubectl.accepts(self.setting(setting))
    }

    /// Returns the request that [`Namespace::set`] makes.
    pub fn setting(&self, setting: &str) -> Request {
        let key = setting.split('=').next().unwrap_or_default().trim_end_matches('-');
        let verb = if place(key) == "labels" { "label" } else { "annotate" };
        kubectl(&format!("{verb} --overwrite namespace {} gatepost.dev/{setting}", self.name))
    }

    /// Waits until this object would be denied, without creating it.
    #[track_caller]
    pub fn comes_to_reject(&self, object: &Object) {
        self.comes_to(object, "denied", |answer| answer.denial().is_some());
    }

    /// Waits until this object would be admitted, without creating it.
    #[track_caller]
    pub fn comes_to_accept(&self, object: &Object) {
        self.comes_to(object, "admitted", Answer::succeeded);
    }

    #[track_caller]
    fn comes_to(&self, object: &Object, outcome: &str, is_so: impl Fn(&Answer) -> bool) {
        let mut last = None;
        let reached = wait_for(outcome, Duration::from_secs(30), || {
            let answer = self.run(apply(object).dry_run());
            let is_so = is_so(&answer);
            last = Some(answer);
            is_so.then_some(())
        });
        assert!(
            reached.is_ok(),
            "should come to be {outcome}: {}",
            last.map(|answer| answer.to_string()).unwrap_or_default()
        );
    }
}
