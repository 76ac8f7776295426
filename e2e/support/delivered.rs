//! Gatepost as Argo CD installs it from a Git repository, on a control plane of its own.

use std::fs;
use std::sync::OnceLock;
use std::thread;

use super::argocd::{ArgoCd, application};
use super::control_plane::{ControlPlane, free_ports};
use super::decisions::Decision;
use super::kubectl::{Kubectl, create, kubectl};
use super::manifests;
use super::objects::{Object, cron_job, namespace};
use super::repository::Repository;
use super::serving::Serving;
use super::wait::eventually;
use super::watchdog::state_directory;

static SHARED: OnceLock<Option<Delivered>> = OnceLock::new();

/// Everything that tests beside Argo CD stand on.
#[derive(Debug)]
pub struct Delivered {
    pub argocd: ArgoCd,
    pub repository: Repository,
    control_plane: ControlPlane,
    serving: Serving,
    /// Where a scanner may listen that is to be told what was decided.
    reports: u16,
}

impl Delivered {
    /// Returns the installation that the tests of this process share; `None` where it cannot be had.
    pub fn shared(policies: &[(&str, &str)]) -> Option<&'static Self> {
        SHARED.get_or_init(|| Self::start(policies)).as_ref()
    }

    fn start(policies: &[(&str, &str)]) -> Option<Self> {
        let control_plane = ControlPlane::own("gitops")?;
        let argocd = ArgoCd::start(&control_plane)?;
        let repository = Repository::new(&state_directory().join("repository"));
        let [port, reports] = free_ports().expect("free ports");
        repository.commit(manifests::NAMESPACE, &objects(port));
        argocd.kubectl().accepts(create(&application(&repository, manifests::NAMESPACE)));

        let scanner = format!("http://127.0.0.1:{reports}");
        let mut serving = manifests::reporting_to(&scanner, "gitops-gatepost", &control_plane);
        for (file, text) in policies {
            fs::write(serving.directory().join("policies").join(file), text).expect("a policy");
        }
        serving.listen(port);
        serving.launch();
        let registration = kubectl("get validatingwebhookconfiguration gatepost");
        let is_registered = || control_plane.kubectl().run(&registration).succeeded();
        assert!(!is_registered(), "registered in the first wave, before any Pod is ready");
        runs_pods(&control_plane.kubectl().in_namespace(manifests::NAMESPACE), 3);
        eventually("the second wave", || is_registered().then_some(()));
        let bundle =
            kubectl("get validatingwebhookconfiguration gatepost -o jsonpath={.webhooks[*].clientConfig.caBundle}");
        eventually("Gatepost to write caBundle", || {
            let bundles = control_plane.kubectl().accepts(&bundle).stdout;
            (bundles.split_whitespace().count() == 2).then_some(())
        });
        argocd.comes_to_be_synced(manifests::NAMESPACE);
        Some(Self { argocd, repository, control_plane, serving, reports })
    }

    /// Returns kubectl, in no namespace.
    pub fn kubectl(&self) -> &Kubectl {
        self.control_plane.kubectl()
    }

    /// Registers what has objects mended, as it is shipped, and waits until the API server asks.
    pub fn mends(&self) {
        self.kubectl().accepts(create(&manifests::mutating(self.serving.webhook())));
        let probe = namespace("mending").with("/metadata/labels/gatepost.dev~1mutate", "recommended");
        self.kubectl().accepts(create(&probe));
        let there = self.kubectl().in_namespace("mending");
        eventually("the API server to ask what to mend", || {
            let answer = there.accepts(create(&cron_job("probe")).dry_run().with("-o=json"));
            answer.objects()[0].0.pointer("/spec/startingDeadlineSeconds").map(drop)
        });
    }

    /// Returns a scanner that is run as its StatefulSet would run it.
    pub fn scanner(&self, name: &str) -> Serving {
        manifests::scanner(name, &self.control_plane)
    }

    /// Returns such a scanner that is told what was decided; there is one at a time.
    pub fn told_scanner(&self, name: &str) -> Serving {
        let mut scanner = self.scanner(name);
        scanner.answer(self.reports);
        scanner
    }

    /// Returns what Gatepost's log says it decided, the oldest first.
    pub fn decisions(&self) -> Vec<Decision> {
        self.serving.decisions()
    }
}

impl Drop for Delivered {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.serving.log_end());
        }
    }
}

/// Returns what is shipped, as a process on this machine can be reached.
fn objects(port: u16) -> Vec<Object> {
    let here = |object: Object| match object.text("/kind") {
        "Service" if object.text("/metadata/name") == "gatepost" => manifests::service(),
        "ValidatingWebhookConfiguration" => manifests::registration(&format!("127.0.0.1:{port}")),
        _ => object,
    };
    manifests::objects().into_iter().map(here).collect()
}

/// Plays the kubelet: says of so many Pods that they run and are ready.
pub fn runs_pods(there: &Kubectl, count: usize) {
    let pods = eventually("the Pods", || {
        let pods = there.accepts(kubectl("get pods -o name"));
        let pods: Vec<String> = pods.stdout.lines().map(str::to_owned).collect();
        (pods.len() == count).then_some(pods)
    });
    for pod in pods {
        let ready = r#"--patch={"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
        there.accepts(kubectl(&format!("patch {pod} --subresource=status --type=merge")).with(ready));
    }
}
