//! What the registration says: the one source of the webhook configurations, wherever they are written.
//!
//! Every field that the API server would fill in is set, so that what is written is what is read back.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, RuleWithOperations, ServiceReference, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::entry::Entry;
use crate::cluster::installation::{NAME, SERVICE_PORT};
use crate::config::FailurePolicy;

/// Objects in namespaces.
pub const NAMESPACED: &str = "namespaced.validate.gatepost.dev";
/// Objects outside namespaces, Namespaces among them.
pub const CLUSTER: &str = "cluster.validate.gatepost.dev";
/// Objects that are made to find out whether the API server reaches Gatepost.
pub const PROBE: &str = "probe.validate.gatepost.dev";
/// Objects that may be mended as they are made.
pub const MUTATE: &str = "mutate.gatepost.dev";

/// Label of an object that is only made, as a dry run, to find out whether the API server reaches Gatepost. Its value
/// is a number used once.
pub const PROBE_LABEL: &str = "gatepost.dev/probe";
/// Label of a Namespace whose objects are mended.
const MUTATE_LABEL: &str = "gatepost.dev/mutate";
/// Label that the API server itself sets on every Namespace, and nobody can change.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Namespaces that a cluster cannot start without.
const SYSTEM_NAMESPACES: [&str; 2] = ["kube-system", "kube-node-lease"];

/// Returns whether what ships has objects of a namespace sent, where Gatepost is installed in `own`.
pub fn is_sent(namespace: &str, own: Option<&str>) -> bool {
    !SYSTEM_NAMESPACES.contains(&namespace) && own != Some(namespace)
}

const VALIDATE_SECONDS: i32 = 3;
const MUTATE_SECONDS: i32 = 2;

/// What is written all the time, and says nothing that a policy could want to judge. Each is a name and what must hold
/// for a request to be sent, in CEL. An error in one of them would pass the request by, so none may name a field that
/// can be absent without asking for it first.
const CONDITIONS: [(&str, &str); 5] = [
    ("not-leases", r#"!(request.resource.group == "coordination.k8s.io" && request.resource.resource == "leases")"#),
    ("not-events", r#"!(request.resource.group in ["", "events.k8s.io"] && request.resource.resource == "events")"#),
    (
        "not-token-or-access-reviews",
        r#"!(request.resource.group in ["authentication.k8s.io", "authorization.k8s.io"])"#,
    ),
    (
        "not-reports",
        r#"!(request.resource.group in ["wgpolicyk8s.io", "openreports.io", "reports.kyverno.io", "aquasecurity.github.io"] && request.resource.resource.endsWith("reports"))"#,
    ),
    (
        "not-nodes-by-kubelets",
        r#"!(request.resource.group == "" && request.resource.resource == "nodes" && request.operation == "UPDATE" && has(request.userInfo.groups) && "system:nodes" in request.userInfo.groups)"#,
    ),
];

/// Where the API server finds Gatepost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// The Service `gatepost`.
    Service {
        /// Its namespace, which is Gatepost's own and not judged.
        namespace: String,
        /// Its port.
        port: i32,
    },
    /// A process on the API server's own machine.
    Local(SocketAddr),
}

/// Resources whose deletion rules ask about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deleted {
    /// API group, empty for core, `*` for all.
    pub group: String,
    /// Resource, for example `deployments`, or `*` for all.
    pub resource: String,
    /// Whether its objects are in namespaces.
    pub is_namespaced: bool,
}

/// Everything by which one registration differs from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where Gatepost is.
    pub address: Address,
    /// What happens when it does not answer; for validation, for what is not mended is still judged.
    pub failure_policy: FailurePolicy,
    /// What the API server must trust, in PEM; none leaves it to somebody else.
    pub ca_bundle: Option<String>,
    /// Resources whose deletion is asked about; none by what ships.
    pub deleted: Vec<Deleted>,
}

impl Wanted {
    /// Returns what the manifests ship, for an installation in this namespace.
    pub fn shipped(namespace: &str) -> Self {
        Self {
            address: Address::Service { namespace: namespace.to_owned(), port: SERVICE_PORT },
            failure_policy: FailurePolicy::Ignore,
            ca_bundle: None,
            deleted: Vec::new(),
        }
    }

    /// Returns the entries of the validating configuration.
    pub fn validating(&self) -> Vec<Entry> {
        let entry = |name: &str, scope: &str, resources: &[&str]| {
            let mut rules = vec![rule(&["*"], &["CREATE", "UPDATE"], resources, scope)];
            rules.extend(self.deletions(scope));
            Entry {
                failure_policy: Some(self.failure_policy.as_str().to_owned()),
                match_conditions: Some(conditions()),
                namespace_selector: Some(selector(vec![self.judged_namespaces()])),
                rules: Some(rules),
                timeout_seconds: Some(VALIDATE_SECONDS),
                ..self.entry(name, "/validate")
            }
        };
        // `*` leaves subresources out.
        let namespaced = entry(NAMESPACED, "Namespaced", &["*", "pods/ephemeralcontainers"]);
        vec![namespaced, entry(CLUSTER, "Cluster", &["*"])]
    }

    /// Returns the entry that matches nothing but probes, and says aloud why Gatepost cannot be reached.
    pub fn probe(&self) -> Entry {
        Entry {
            failure_policy: Some(FailurePolicy::Fail.as_str().to_owned()),
            namespace_selector: Some(selector(vec![requirement(NAMESPACE_NAME, "In", self.own_namespace())])),
            object_selector: Some(selector(vec![requirement(PROBE_LABEL, "Exists", [])])),
            rules: Some(vec![RuleWithOperations {
                api_versions: Some(vec!["v1".to_owned()]),
                ..rule(&[""], &["CREATE", "UPDATE"], &["configmaps"], "Namespaced")
            }]),
            timeout_seconds: Some(VALIDATE_SECONDS),
            ..self.entry(PROBE, "/validate")
        }
    }

    /// Returns the entries of the mutating configuration. What cannot be mended is judged as it is.
    pub fn mutating(&self) -> Vec<Entry> {
        let namespaces = vec![self.judged_namespaces(), requirement(MUTATE_LABEL, "Exists", [])];
        vec![Entry {
            failure_policy: Some(FailurePolicy::Ignore.as_str().to_owned()),
            match_conditions: Some(conditions()),
            namespace_selector: Some(selector(namespaces)),
            reinvocation_policy: Some("IfNeeded".to_owned()),
            rules: Some(vec![rule(&["*"], &["CREATE"], &["*"], "Namespaced")]),
            timeout_seconds: Some(MUTATE_SECONDS),
            ..self.entry(MUTATE, "/mutate")
        }]
    }

    /// Returns an entry with what all have in common.
    fn entry(&self, name: &str, path: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            admission_review_versions: vec!["v1".to_owned()],
            client_config: self.client_config(path),
            match_policy: Some("Equivalent".to_owned()),
            object_selector: Some(LabelSelector::default()),
            side_effects: "None".to_owned(),
            ..Entry::default()
        }
    }

    fn client_config(&self, path: &str) -> WebhookClientConfig {
        let ca_bundle = self.ca_bundle.as_ref().map(|bundle| ByteString(bundle.clone().into_bytes()));
        match &self.address {
            Address::Service { namespace, port } => WebhookClientConfig {
                ca_bundle,
                service: Some(ServiceReference {
                    name: NAME.to_owned(),
                    namespace: namespace.clone(),
                    path: Some(path.to_owned()),
                    port: Some(*port),
                }),
                url: None,
            },
            Address::Local(address) => {
                WebhookClientConfig { ca_bundle, service: None, url: Some(format!("https://{address}{path}")) }
            }
        }
    }

    fn own_namespace(&self) -> Option<&str> {
        match &self.address {
            Address::Service { namespace, .. } => Some(namespace),
            Address::Local(_) => None,
        }
    }

    /// A cluster must be able to start, and Gatepost to be mended, without Gatepost. For a Namespace its own labels
    /// count, so that these can be changed too.
    fn judged_namespaces(&self) -> LabelSelectorRequirement {
        requirement(NAMESPACE_NAME, "NotIn", SYSTEM_NAMESPACES.into_iter().chain(self.own_namespace()))
    }

    /// Returns one rule for each API group.
    fn deletions(&self, scope: &str) -> Vec<RuleWithOperations> {
        let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for deleted in self.deleted.iter().filter(|deleted| deleted.is_namespaced == (scope == "Namespaced")) {
            groups.entry(&deleted.group).or_default().push(&deleted.resource);
        }
        let rule = |(group, mut resources): (&str, Vec<&str>)| {
            resources.sort_unstable();
            resources.dedup();
            rule(&[group], &["DELETE"], &resources, scope)
        };
        groups.into_iter().map(rule).collect()
    }
}

fn rule(groups: &[&str], operations: &[&str], resources: &[&str], scope: &str) -> RuleWithOperations {
    let list = |texts: &[&str]| Some(texts.iter().map(|&text| text.to_owned()).collect());
    RuleWithOperations {
        api_groups: list(groups),
        api_versions: list(&["*"]),
        operations: list(operations),
        resources: list(resources),
        scope: Some(scope.to_owned()),
    }
}

fn conditions() -> Vec<MatchCondition> {
    let condition =
        |(name, expression): (&str, &str)| MatchCondition { name: name.to_owned(), expression: expression.to_owned() };
    CONDITIONS.into_iter().map(condition).collect()
}

fn requirement<'a>(key: &str, operator: &str, values: impl IntoIterator<Item = &'a str>) -> LabelSelectorRequirement {
    let values: Vec<String> = values.into_iter().map(str::to_owned).collect();
    LabelSelectorRequirement {
        key: key.to_owned(),
        operator: operator.to_owned(),
        values: Some(values).filter(|values| !values.is_empty()),
    }
}

fn selector(requirements: Vec<LabelSelectorRequirement>) -> LabelSelector {
    LabelSelector { match_expressions: Some(requirements), match_labels: None }
}
