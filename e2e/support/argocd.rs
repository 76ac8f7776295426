//! A real Argo CD beside a control plane: application controller, repo server and what they share, built from
//! `e2e/argocd`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::control_plane::{ControlPlane, free_ports, last_lines};
use super::go::Module;
use super::kubectl::{Kubectl, create, kubectl};
use super::objects::{Object, namespace, read};
use super::programs::Program;
use super::repository::Repository;
use super::skip::skip;
use super::wait::wait_for;
use super::watchdog::{Guarded, state_directory};

/// Where Argo CD and its Applications are.
pub const NAMESPACE: &str = "argocd";

/// What Argo CD comes to by itself may take a few of its rounds.
const PATIENCE: Duration = Duration::from_mins(2);
const REFRESH: &str = "argocd.argoproj.io/refresh";
const SOURCES: [&str; 3] =
    [include_str!("../argocd/go.mod"), include_str!("../argocd/go.sum"), include_str!("../argocd/main.go")];
/// The cluster as its Applications name it.
const CLUSTER: &str = "test";

/// A running Argo CD.
#[derive(Debug)]
pub struct ArgoCd {
    kubectl: Kubectl,
    directory: PathBuf,
    /// Held, not used.
    _processes: Vec<Guarded>,
}

impl ArgoCd {
    /// Starts Argo CD for a control plane; `None` where it, or Git, cannot be had.
    pub fn start(control_plane: &ControlPlane) -> Option<Self> {
        let module = Module {
            folder: "argocd",
            prebuilt: "GATEPOST_E2E_ARGOCD",
            sources: &SOURCES,
            linker_flags: String::new(),
            takes: "4 minutes on 2 cores",
        };
        if !Repository::is_possible() {
            skip("Git", "there is no program git");
            return None;
        }
        match module.program().expect("Argo CD's program") {
            Ok(program) => Some(Self::beside(control_plane, &module, &program)),
            Err(reason) => {
                skip("Argo CD", &reason);
                None
            }
        }
    }

    fn beside(control_plane: &ControlPlane, module: &Module, program: &Path) -> Self {
        let directory = state_directory().join("argocd");
        for name in ["tls", "ssh", "gpg", "plugins", "tmp"] {
            fs::create_dir_all(directory.join(name)).expect("Argo CD's directories");
        }
        let [redis, repository, repository_metrics, controller_metrics] = free_ports().expect("free ports");
        prepare(control_plane, module);
        let kubeconfig = fs::read_to_string(control_plane.kubeconfig()).expect("a kubeconfig");
        let kubeconfig = kubeconfig.replace("user: user}", &format!("user: user, namespace: {NAMESPACE}}}"));
        fs::write(directory.join("kubeconfig"), kubeconfig).expect("Argo CD's kubeconfig");
        let run = |component, flags: &[String], log| spawn(program, component, flags, &directory, log);
        let processes = vec![
            run("redis", &[format!("127.0.0.1:{redis}")], "redis.log"),
            run(
                "argocd-repo-server",
                &[
                    format!("--redis=127.0.0.1:{redis}"),
                    "--address=127.0.0.1".to_owned(),
                    format!("--port={repository}"),
                    "--metrics-address=127.0.0.1".to_owned(),
                    format!("--metrics-port={repository_metrics}"),
                    "--disable-tls".to_owned(),
                ],
                "repo-server.log",
            ),
            run(
                "argocd-application-controller",
                &[
                    format!("--redis=127.0.0.1:{redis}"),
                    format!("--repo-server=127.0.0.1:{repository}"),
                    "--repo-server-plaintext".to_owned(),
                    format!("--metrics-port={controller_metrics}"),
                    format!("--namespace={NAMESPACE}"),
                    "--app-resync=10".to_owned(),
                ],
                "application-controller.log",
            ),
        ];
        Self { kubectl: control_plane.kubectl().in_namespace(NAMESPACE), directory, _processes: processes }
    }

    /// Returns kubectl, where the Applications are.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// Returns an Application as it is.
    #[track_caller]
    pub fn get(&self, name: &str) -> Object {
        self.kubectl.accepts(kubectl(&format!("get application {name} -o json"))).objects().remove(0)
    }

    /// Has an Application compared anew (`normal`), with its manifests made anew (`hard`), and returns it afterwards.
    #[track_caller]
    pub fn refresh(&self, name: &str, how: &str) -> Object {
        self.kubectl.accepts(kubectl(&format!("annotate --overwrite application {name} {REFRESH}={how}")));
        self.comes_to(name, "be refreshed", |application| {
            application.0.pointer("/metadata/annotations").and_then(|annotations| annotations.get(REFRESH)).is_none()
        })
    }

    /// Waits until an Application is as it should be, and returns it.
    #[track_caller]
    pub fn comes_to(&self, name: &str, what: &str, is_so: impl Fn(&Object) -> bool) -> Object {
        let mut last = None;
        let reached = wait_for(what, PATIENCE, || {
            let application = self.get(name);
            let is_so = is_so(&application);
            last = Some(application);
            is_so.then_some(())
        });
        let application = last.expect("looked at once");
        assert!(reached.is_ok(), "{name} should {what}: {}\n{}", application.0["status"], self.log_end());
        application
    }

    /// Waits until an Application is as in Git, with everything in it healthy.
    #[track_caller]
    pub fn comes_to_be_synced(&self, name: &str) -> Object {
        self.comes_to(name, "be synced and healthy", |application| {
            is_synced(application)
                && application.text("/status/health/status") == "Healthy"
                && application.text("/status/operationState/phase") == "Succeeded"
        })
    }

    fn log_end(&self) -> String {
        format!("its log ends:\n{}", last_lines(&self.directory.join("application-controller.log"), 20))
    }
}

/// Returns an Application of a folder of the repository, synced by itself and healed.
pub fn application(repository: &Repository, name: &str) -> Object {
    Object(json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "finalizers": ["resources-finalizer.argocd.argoproj.io"]},
        "spec": {
            "project": "default",
            "source": {"repoURL": repository.url(), "path": name, "targetRevision": "main"},
            "destination": {"name": CLUSTER, "namespace": name},
            "syncPolicy": {
                "automated": {"prune": true, "selfHeal": true},
                "retry": {"limit": 1, "backoff": {"duration": "1s"}},
            },
        },
    }))
}

/// Returns whether an Application is as in Git.
pub fn is_synced(application: &Object) -> bool {
    application.text("/status/sync/status") == "Synced"
}

/// Returns how many syncs an Application went through.
pub fn syncs(application: &Object) -> usize {
    application.0.pointer("/status/history").and_then(Value::as_array).map_or(0, Vec::len)
}

fn spawn(program: &Path, component: &'static str, flags: &[String], directory: &Path, log: &str) -> Guarded {
    let log = File::create(directory.join(log)).expect("a log file");
    let mut command: Command = Program::component(program.to_owned(), component).command();
    command.args(flags).current_dir(directory);
    command.env("ARGOCD_GPG_ENABLED", "false").env("KUBECONFIG", directory.join("kubeconfig"));
    for (variable, name) in [
        ("ARGOCD_TLS_DATA_PATH", "tls"),
        ("ARGOCD_SSH_DATA_PATH", "ssh"),
        ("ARGOCD_GPG_DATA_PATH", "gpg"),
        ("ARGOCD_PLUGINSOCKFILEPATH", "plugins"),
        ("TMPDIR", "tmp"),
        ("HOME", ""),
    ] {
        command.env(variable, directory.join(name));
    }
    Guarded::spawn(command.stdout(log.try_clone().expect("a second handle of the log")).stderr(log))
        .unwrap_or_else(|error| panic!("{component}: {error}"))
}

/// Makes what Argo CD expects to find: its kinds, its namespace, its configuration, the cluster and a project.
fn prepare(control_plane: &ControlPlane, module: &Module) {
    let source = module.source_of("github.com/argoproj/argo-cd/v3").expect("Argo CD's sources");
    for kind in ["application", "appproject"] {
        let file = source.join(format!("manifests/crds/{kind}-crd.yaml"));
        control_plane.kubectl().accepts(kubectl("apply --server-side -f").with(&file.to_string_lossy()));
    }
    let established = kubectl("wait --for=condition=Established --timeout=50s crd/applications.argoproj.io");
    control_plane.kubectl().accepts(established.with("crd/appprojects.argoproj.io"));
    control_plane.kubectl().accepts(create(&namespace(NAMESPACE)));
    let there = control_plane.kubectl().in_namespace(NAMESPACE);
    there.accepts(kubectl("create -f -").reading(&configuration(control_plane)));
}

fn configuration(control_plane: &ControlPlane) -> Vec<Object> {
    let kubeconfig = read(&fs::read_to_string(control_plane.kubeconfig()).expect("a kubeconfig")).remove(0);
    let labelled = |kind: &str, name: &str, label: &str, value: &str| {
        Object(json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "labels": {label: value}}}))
    };
    let part = |kind: &str, name: &str| labelled(kind, name, "app.kubernetes.io/part-of", "argocd");
    // Any text will do: it signs nothing here.
    let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    let login = json!({
        "bearerToken": kubeconfig.text("/users/0/user/token"), "tlsClientConfig": {"insecure": true},
    });
    let cluster = labelled("Secret", "cluster", "argocd.argoproj.io/secret-type", "cluster").with(
        "/stringData",
        json!({
            "name": CLUSTER, "server": kubeconfig.text("/clusters/0/cluster/server"), "config": login.to_string(),
        }),
    );
    let project = json!({
        "sourceRepos": ["*"],
        "destinations": [{"server": "*", "namespace": "*"}],
        "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
    });
    vec![
        part("ConfigMap", "argocd-cm"),
        part("ConfigMap", "argocd-rbac-cm"),
        part("ConfigMap", "argocd-gpg-keys-cm"),
        part("ConfigMap", "argocd-tls-certs-cm"),
        part("ConfigMap", "argocd-ssh-known-hosts-cm"),
        part("Secret", "argocd-secret").with("/stringData", json!({"server.secretkey": key, "admin.password": "none"})),
        cluster,
        Object(json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": {"name": "default"}}))
            .with("/spec", project),
    ]
}
