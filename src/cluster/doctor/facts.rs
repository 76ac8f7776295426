//! What a diagnosis is made of: read from the cluster, changing nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, Service};
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::{Api, ResourceExt as _};

use super::process::{self, Address, Clock, Process};
use super::rights::{self, Right};
use crate::cluster::Installation;
use crate::cluster::installation::{CERTIFICATES_SECRET, NAME};
use crate::cluster::registration::Configuration as _;
use crate::cluster::registration::wanted::PROBE;
use crate::policy::mutation::MUTATE;

/// How long counters and watches may take to show what just happened.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);
/// Namespace of the object that is sent to see whether requests arrive; nothing is stored.
const PROBED: &str = "default";
/// Pods of one installation; more are not asked.
const MOST_PODS: u32 = 20;

/// Something that was read, or why it could not be.
pub type Read<T> = Result<T, String>;

/// Everything that was read.
#[derive(Debug)]
pub struct Facts {
    /// The namespace that Gatepost is installed in.
    pub namespace: String,
    /// The API server's version, and its clock.
    pub api_server: Read<(String, Option<Clock>)>,
    /// This machine's clock.
    pub now: Timestamp,
    /// Wanted and available replicas; none when there is no Deployment.
    pub replicas: Read<Option<(i32, i32)>>,
    /// Every process that could be found, by name.
    pub processes: BTreeMap<String, Read<Process>>,
    /// The registration; none when there is none.
    pub registration: Read<Option<ValidatingWebhookConfiguration>>,
    /// The registration for mutation; none when there is none.
    pub mutating: Read<Option<MutatingWebhookConfiguration>>,
    /// The Service that registrations name; none when there is none.
    pub service: Read<Option<Service>>,
    /// Namespaces whose label asks for patches.
    pub mutated_namespaces: Read<Vec<String>>,
    /// The authorities that Gatepost's Secret holds, as PEM; none when there is no Secret.
    pub authorities: Read<Option<String>>,
    /// Whether an object sent to the API server was counted by a process.
    pub arrived: Read<bool>,
    /// The newest resource version of any Namespace.
    pub newest_namespace: Read<u64>,
    /// What the ServiceAccount needs, and whether it may.
    pub rights: Vec<(Right, Read<bool>)>,
}

impl Facts {
    /// Reads everything; `local` are health addresses of processes beside the cluster's Pods.
    pub async fn gather(installation: &Installation, local: &[String]) -> Self {
        let Installation { client, namespace } = installation;
        let api_server = version(installation).await;
        let now = Timestamp::now();
        let addresses = addresses(installation, local).await;
        let before = ask(&addresses).await;
        let arrived = arrives(installation, &addresses, &before).await;
        let newest_namespace = newest_namespace(installation).await;
        let processes = caught_up(&addresses, newest_namespace.as_ref().ok().copied()).await;
        let registrations: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
        let mutating: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        let services: Api<Service> = Api::namespaced(client.clone(), namespace);
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let mut facts = Self {
            namespace: namespace.clone(),
            api_server,
            now,
            replicas: replicas(installation).await,
            processes,
            registration: registrations.get_opt(NAME).await.map_err(words),
            mutating: mutating.get_opt(NAME).await.map_err(words),
            service: services.get_opt(NAME).await.map_err(words),
            mutated_namespaces: mutated_namespaces(installation).await,
            authorities: secrets.get_opt(CERTIFICATES_SECRET).await.map_err(words).map(|secret| authorities(secret?)),
            arrived,
            newest_namespace,
            rights: Vec::new(),
        };
        facts.rights = rights::ask(installation, facts.registers_itself()).await;
        facts
    }

    /// Returns whether Gatepost writes its registration itself: a process says so, or what is registered asks about
    /// probes.
    pub fn registers_itself(&self) -> bool {
        let says_so = |process: &Process| process.sample("gatepost_registration_self") == Some(1.0);
        let is_probed = |live: &ValidatingWebhookConfiguration| live.entries().iter().any(|entry| entry.name == PROBE);
        self.processes.values().flatten().any(says_so)
            || self.registration.as_ref().is_ok_and(|live| live.as_ref().is_some_and(is_probed))
    }
}

/// Returns the trusted authorities of the Secret.
fn authorities(secret: Secret) -> Option<String> {
    let text = secret.data?.remove("ca.crt")?;
    String::from_utf8(text.0).ok()
}

async fn version(installation: &Installation) -> Read<(String, Option<Clock>)> {
    let (text, clock) = process::get(&installation.client, "/version").await?;
    let version: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let version = version.get("gitVersion").and_then(serde_json::Value::as_str).unwrap_or("of unknown version");
    Ok((version.to_owned(), clock))
}

async fn replicas(installation: &Installation) -> Read<Option<(i32, i32)>> {
    let deployments: Api<Deployment> = Api::namespaced(installation.client.clone(), &installation.namespace);
    let found = deployments.get_opt(NAME).await.map_err(words)?;
    Ok(found.map(|deployment| {
        let wanted = deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1);
        (wanted, deployment.status.and_then(|status| status.available_replicas).unwrap_or(0))
    }))
}

/// Finds the processes: those named, and every running Pod of the installation.
async fn addresses(installation: &Installation, local: &[String]) -> Vec<Result<Address, (String, String)>> {
    let named = local.iter().map(|address| Address::direct(address).map_err(|cause| (address.clone(), cause)));
    let mut found: Vec<_> = named.collect();
    let Installation { client, namespace } = installation;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let wanted = ListParams::default().labels(&format!("app.kubernetes.io/name={NAME}")).limit(MOST_PODS);
    match pods.list(&wanted).await {
        Ok(pods) => found.extend(pods.items.iter().filter(|pod| is_running(pod)).map(|pod| {
            let name = pod.name_any();
            Ok(Address::pod(client.clone(), namespace, &name))
        })),
        Err(error) => found.push(Err(("the Pods".to_owned(), words(error)))),
    }
    found
}

fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

async fn ask(addresses: &[Result<Address, (String, String)>]) -> BTreeMap<String, Read<Process>> {
    let mut processes = BTreeMap::new();
    for address in addresses {
        match address {
            Ok(address) => processes.insert(address.name.clone(), address.ask().await),
            Err((name, cause)) => processes.insert(name.clone(), Err(cause.clone())),
        };
    }
    processes
}

/// Sends an object that nothing stores, and looks whether any process counted one more request.
async fn arrives(
    installation: &Installation,
    addresses: &[Result<Address, (String, String)>],
    before: &BTreeMap<String, Read<Process>>,
) -> Read<bool> {
    let counted = |processes: &BTreeMap<String, Read<Process>>| {
        let of = |process: &Read<Process>| process.as_ref().ok()?.sum("gatepost_admission_requests_total");
        processes.values().filter_map(of).fold(None, |sum: Option<f64>, count| Some(sum.unwrap_or_default() + count))
    };
    let before = counted(before).ok_or("no process could be asked")?;
    let metadata = ObjectMeta { name: Some("gatepost-doctor".to_owned()), ..ObjectMeta::default() };
    let probe = ConfigMap { metadata, ..ConfigMap::default() };
    let config_maps: Api<ConfigMap> = Api::namespaced(installation.client.clone(), PROBED);
    let sent = config_maps.create(&PostParams { dry_run: true, ..PostParams::default() }, &probe).await;
    // A denial proves as much as a yes; whoever may not even ask cannot tell.
    if let Err(kube::Error::Api(status)) = &sent
        && status.code == 403
        && !status.message.contains("admission webhook")
    {
        return Err(format!("no object may be created in the namespace {PROBED}: {}", status.message));
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < deadline {
        if counted(&ask(addresses).await).is_some_and(|now| now > before) {
            return Ok(true);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(false)
}

/// Returns the newest resource version of all Namespaces; Kubernetes has them comparable as numbers.
async fn newest_namespace(installation: &Installation) -> Read<u64> {
    let namespaces: Api<Namespace> = Api::all(installation.client.clone());
    let list = namespaces.list_metadata(&ListParams::default()).await.map_err(words)?;
    let versions = list.items.iter().filter_map(|namespace| namespace.resource_version()?.parse().ok());
    Ok(versions.max().unwrap_or_default())
}

/// Returns the Namespaces whose label asks for the patches of a policy.
async fn mutated_namespaces(installation: &Installation) -> Read<Vec<String>> {
    let namespaces: Api<Namespace> = Api::all(installation.client.clone());
    let labelled = ListParams::default().labels(&format!("{MUTATE},{MUTATE}!=off"));
    let list = namespaces.list_metadata(&labelled).await.map_err(words)?;
    Ok(list.items.iter().map(kube::ResourceExt::name_any).collect())
}

/// Asks the processes again until their watch has delivered a version, or for a moment.
async fn caught_up(
    addresses: &[Result<Address, (String, String)>],
    newest: Option<u64>,
) -> BTreeMap<String, Read<Process>> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let processes = ask(addresses).await;
        let is_behind = |process: &Read<Process>| {
            let seen = process.as_ref().ok().and_then(Process::namespace_version);
            newest.zip(seen).is_some_and(|(newest, seen)| seen < newest)
        };
        if !processes.values().any(is_behind) || tokio::time::Instant::now() >= deadline {
            return processes;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Says an error of the API in one line.
pub fn words(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => format!("{:#}", anyhow::Error::new(other)),
    }
}
