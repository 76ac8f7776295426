//! A real control plane on free ports of 127.0.0.1, with fresh state: one for all tests of this process, and more for
//! tests that concern a whole cluster.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context;

use super::clients::Clients;
use super::kubectl::{Kubectl, kubectl as kubectl_command};
use super::programs::{Program, Programs};
use super::skip::skip;
use super::wait::wait_for;
use super::watchdog::{Guarded, state_directory};

const READY_WITHIN: Duration = Duration::from_secs(90);
/// A port found free can be taken before its server listens there.
const ATTEMPTS: u32 = 3;

/// What of its requests the API server writes down: those of the ServiceAccounts that the manifests make, and CronJobs
/// and Deployments that are made.
const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, users: ['system:serviceaccount:gatepost:gatepost', 'system:serviceaccount:gatepost:gatepost-scanner']}
- {level: Metadata, verbs: [create], resources: [{group: batch, resources: [cronjobs]}, {group: apps, resources: [deployments]}]}
- {level: None}
";

/// The name in the certificate that the API server shows to webhooks.
pub const API_SERVER: &str = "kube-apiserver";

/// Has the API server show its certificate to every webhook.
const ADMISSION: &str = "apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- {name: ValidatingAdmissionWebhook, configuration: &webhooks {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, kubeConfigFile: DIRECTORY/webhooks.kubeconfig}}
- {name: MutatingAdmissionWebhook, configuration: *webhooks}
";
const WEBHOOKS_KUBECONFIG: &str = "apiVersion: v1
kind: Config
users:
- name: '*'
  user: {client-certificate: certs/webhook-client.crt, client-key: certs/webhook-client.key}
";

const ADMIN_TOKEN: &str = "admin-token";
/// Users that the API server knows; the controllers get their own rights, the tests' admin may do everything.
const TOKENS: &str =
    "admin-token,admin,admin,system:masters\ncontrollers-token,system:kube-controller-manager,controllers,\n";

static SHARED: OnceLock<Shared> = OnceLock::new();

/// What became of this process's control plane.
enum Shared {
    Running(Box<ControlPlane>),
    /// This machine has not got what it takes.
    Impossible(String),
    Failed(String),
}

impl Shared {
    fn start() -> anyhow::Result<Self> {
        Ok(match Programs::find()? {
            Ok(programs) => Self::Running(Box::new(ControlPlane::start(&programs, "control-plane")?)),
            Err(reason) => Self::Impossible(reason),
        })
    }
}

/// A running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    kubectl: Kubectl,
    kubeconfig: PathBuf,
    audit_log: PathBuf,
    clients: Clients,
    /// Held, not used; the watchdog ends them, for what a static holds is never dropped.
    _processes: Vec<Guarded>,
}

impl ControlPlane {
    /// Returns the control plane of this process, starting it for the first caller.
    ///
    /// `None` where it cannot be had: the caller then passes without a proof, unless `CI=true`, where that is a failure.
    pub fn shared() -> Option<&'static Self> {
        match SHARED.get_or_init(|| Shared::start().unwrap_or_else(|cause| Shared::Failed(format!("{cause:#}")))) {
            Shared::Running(control_plane) => Some(control_plane),
            Shared::Impossible(reason) => {
                skip("a control plane", reason);
                None
            }
            Shared::Failed(cause) => panic!("there is no control plane: {cause}"),
        }
    }

    /// Starts a control plane of a test's own, gone when dropped; `None` as for [`ControlPlane::shared`].
    pub fn own(name: &str) -> Option<Self> {
        match Programs::find().expect("the control plane's programs") {
            Ok(programs) => Some(Self::start(&programs, name).unwrap_or_else(|cause| panic!("{cause:#}"))),
            Err(reason) => {
                skip("a control plane", &reason);
                None
            }
        }
    }

    fn start(programs: &Programs, name: &str) -> anyhow::Result<Self> {
        let mut attempt = 1;
        loop {
            let directory = state_directory().join(format!("{name}-{attempt}"));
            match Self::start_once(programs, &directory) {
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                done => return done,
            }
        }
    }

    fn start_once(programs: &Programs, directory: &Path) -> anyhow::Result<Self> {
        let [etcd, peer, api] = free_ports()?;
        let files = Files::write(directory, api)?;
        let kubectl = Kubectl::new(programs.kubectl.clone(), &files.kubeconfig, &directory.join("kubectl-cache"));
        let mut processes = vec![
            files.spawn(&programs.etcd, &etcd_flags(etcd, peer), "etcd.log")?,
            files.spawn(&programs.apiserver, &apiserver_flags(etcd, api), "apiserver.log")?,
        ];
        wait_for("the API server to be ready", READY_WITHIN, || {
            if let Some(status) = processes.iter_mut().find_map(Guarded::ended) {
                return Some(Err(anyhow::anyhow!("etcd or the API server ended ({status})")));
            }
            kubectl.run(kubectl_command("get --raw /readyz")).succeeded().then_some(Ok(()))
        })
        .flatten()
        .with_context(|| format!("see the logs:\n{}", files.last_lines()))?;
        processes.push(files.spawn(&programs.controllers, CONTROLLERS_FLAGS, "controllers.log")?);
        let audit_log = directory.join("audit.log");
        let clients = Clients::in_directory(&directory.join("certs"));
        Ok(Self { kubectl, kubeconfig: files.kubeconfig, audit_log, clients, _processes: processes })
    }

    /// Returns kubectl as the cluster's administrator.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// Returns the administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Writes a kubeconfig for whoever this token is of.
    pub fn kubeconfig_for(&self, token: &str, path: &Path) {
        let admin = fs::read_to_string(&self.kubeconfig).expect("the administrator's kubeconfig");
        fs::write(path, admin.replace(ADMIN_TOKEN, token)).expect("a kubeconfig");
    }

    /// Returns the authority of clients' certificates: the API server's, and the kubelets' if there were any.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Returns the API server's audit log: a JSON Event a line.
    pub fn audit_log(&self) -> String {
        fs::read_to_string(&self.audit_log).unwrap_or_default()
    }
}

/// The files of one control plane; paths in flags are relative to their directory.
struct Files {
    directory: PathBuf,
    kubeconfig: PathBuf,
}

impl Files {
    fn write(directory: &Path, api: u16) -> anyhow::Result<Self> {
        fs::create_dir_all(directory.join("certs"))?;
        let write = |name: &str, text: &str| fs::write(directory.join(name), text);
        let service_accounts = rcgen::KeyPair::generate()?;
        write("certs/sa.key", &service_accounts.serialize_pem())?;
        write("certs/sa.pub", &service_accounts.public_key_pem())?;
        write("certs/tokens.csv", TOKENS)?;
        write("audit-policy.yaml", AUDIT_POLICY)?;
        let clients = Clients::write(&directory.join("certs"))?;
        clients.issue(API_SERVER, &directory.join("certs/webhook-client"))?;
        write("admission.yaml", &ADMISSION.replace("DIRECTORY", &directory.display().to_string()))?;
        write("webhooks.kubeconfig", WEBHOOKS_KUBECONFIG)?;
        write("kubeconfig", &kubeconfig(directory, api, ADMIN_TOKEN))?;
        write("kubeconfig.controllers", &kubeconfig(directory, api, "controllers-token"))?;
        Ok(Self { directory: directory.to_owned(), kubeconfig: directory.join("kubeconfig") })
    }

    fn spawn(&self, program: &Program, flags: &[impl AsRef<str>], log: &str) -> anyhow::Result<Guarded> {
        let log = File::create(self.directory.join(log))?;
        let mut command: Command = program.command();
        command.args(flags.iter().map(AsRef::as_ref)).current_dir(&self.directory);
        Guarded::spawn(command.stdout(log.try_clone()?).stderr(log))
    }

    fn last_lines(&self) -> String {
        let logs =
            ["etcd.log", "apiserver.log"].map(|log| format!("{log}:\n{}", last_lines(&self.directory.join(log), 5)));
        logs.join("\n")
    }
}

/// Returns the end of a log file.
pub fn last_lines(log: &Path, count: usize) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Returns ports that nothing listens on at this moment.
pub fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    // All are held until the last is known, so that they differ.
    let listeners: Vec<TcpListener> = (0..N).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<_, _>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

fn kubeconfig(directory: &Path, api: u16, token: &str) -> String {
    let authority = directory.join("certs/apiserver.crt");
    let authority = authority.display();
    format!(
        r#"apiVersion: v1
kind: Config
clusters: [{{name: test, cluster: {{server: "https://127.0.0.1:{api}", certificate-authority: "{authority}"}}}}]
users: [{{name: user, user: {{token: {token}}}}}]
contexts: [{{name: test, context: {{cluster: test, user: user}}}}]
current-context: test
"#
    )
}

fn etcd_flags(client: u16, peer: u16) -> Vec<String> {
    vec![
        "--data-dir=etcd".to_owned(),
        // The state is thrown away, so it need not reach the disk.
        "--unsafe-no-fsync".to_owned(),
        format!("--listen-client-urls=http://127.0.0.1:{client}"),
        format!("--advertise-client-urls=http://127.0.0.1:{client}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
    ]
}

fn apiserver_flags(etcd: u16, api: u16) -> Vec<String> {
    let mut flags = vec![format!("--etcd-servers=http://127.0.0.1:{etcd}"), format!("--secure-port={api}")];
    flags.extend(APISERVER_FLAGS.iter().map(|&flag| flag.to_owned()));
    flags
}

const APISERVER_FLAGS: &[&str] = &[
    "--bind-address=127.0.0.1",
    "--cert-dir=certs",
    "--token-auth-file=certs/tokens.csv",
    "--service-account-key-file=certs/sa.pub",
    "--service-account-signing-key-file=certs/sa.key",
    "--service-account-issuer=https://kubernetes.default.svc",
    "--authorization-mode=RBAC",
    "--service-cluster-ip-range=10.0.0.0/16",
    "--allow-privileged",
    "--admission-control-config-file=admission.yaml",
    "--audit-policy-file=audit-policy.yaml",
    "--audit-log-path=audit.log",
];

/// Each controller works as its own service account, as in production: Gatepost tells them by their names.
const CONTROLLERS_FLAGS: &[&str] = &[
    "--kubeconfig=kubeconfig.controllers",
    "--use-service-account-credentials",
    "--service-account-private-key-file=certs/sa.key",
    "--root-ca-file=certs/apiserver.crt",
    "--secure-port=0",
    "--leader-elect=false",
    "--controllers=*,-node-ipam-controller,-service-lb-controller,-node-route-controller",
];
