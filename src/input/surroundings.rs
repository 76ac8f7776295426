//! What the files say about each other: the namespaces they define, and the objects that rules look up.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::engine::Value;
use crate::engine::review::{Inventory, kind_of};
use crate::engine::value::Fields;
use crate::policy::{GroupVersionKind, NamespaceMeta};

/// The namespace that objects are in when nobody says otherwise.
const DEFAULT_NAMESPACE: &str = "default";

/// Kinds of the built-in groups whose objects are outside any namespace.
const CLUSTER_SCOPED: [(&str, &str); 37] = [
    ("", "ComponentStatus"),
    ("", "Namespace"),
    ("", "Node"),
    ("", "PersistentVolume"),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("apiregistration.k8s.io", "APIService"),
    ("authentication.k8s.io", "SelfSubjectReview"),
    ("authentication.k8s.io", "TokenReview"),
    ("authorization.k8s.io", "SelfSubjectAccessReview"),
    ("authorization.k8s.io", "SubjectAccessReview"),
    ("certificates.k8s.io", "CertificateSigningRequest"),
    ("certificates.k8s.io", "ClusterTrustBundle"),
    ("extensions", "PodSecurityPolicy"),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"),
    ("gatepost.dev", "ClusterExemption"),
    ("networking.k8s.io", "IPAddress"),
    ("networking.k8s.io", "IngressClass"),
    ("networking.k8s.io", "ServiceCIDR"),
    ("node.k8s.io", "RuntimeClass"),
    ("policy", "PodSecurityPolicy"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("resource.k8s.io", "DeviceClass"),
    ("resource.k8s.io", "ResourceSlice"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("storage.k8s.io", "CSIDriver"),
    ("storage.k8s.io", "CSINode"),
    ("storage.k8s.io", "StorageClass"),
    ("storage.k8s.io", "VolumeAttachment"),
    ("storagemigration.k8s.io", "StorageVersionMigration"),
];

/// Where an object stands, as far as files tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// Outside any namespace.
    Cluster,
    /// In this namespace; a Namespace counts as in itself.
    Namespace(Arc<NamespaceMeta>),
    /// In whichever namespace it will be applied to.
    Unsaid,
}

/// Collects namespaces and looked-up objects, file by file.
#[derive(Debug, Clone)]
pub struct Surroundings {
    kinds: Vec<String>,
    words: Vec<String>,
    namespaces: BTreeMap<String, Arc<NamespaceMeta>>,
    found: HashMap<String, BTreeMap<String, Vec<Value>>>,
}

impl Surroundings {
    /// Starts with the kinds (`apiGroup/Kind`) that rules look up, and what is known of namespaces.
    pub fn new(kinds: impl IntoIterator<Item = String>) -> Self {
        let mut kinds: Vec<String> = kinds.into_iter().collect();
        kinds.sort();
        kinds.dedup();
        let words = kinds.iter().filter_map(|kind| kind.rsplit('/').next()).map(str::to_owned);
        let words = words.chain(["Namespace".to_owned()]).collect();
        Self { kinds, words, namespaces: BTreeMap::new(), found: HashMap::new() }
    }

    /// Returns the kinds that are collected, beside Namespaces.
    pub fn kinds(&self) -> &[String] {
        &self.kinds
    }

    /// Returns whether a text could hold an object that is collected: a cheap look before it is parsed.
    pub fn could_be_in(&self, text: &[u8]) -> bool {
        self.words.iter().any(|word| holds_word(text, word.as_bytes()))
    }

    /// Returns whether an object is one that is collected.
    pub fn is_wanted(&self, object: &Value) -> bool {
        let kind = kind_of(object);
        kind.is_namespace() || self.kinds.contains(&name_of(&kind))
    }

    /// Takes an object in.
    pub fn add(&mut self, object: &Value) {
        let kind = kind_of(object);
        if kind.is_namespace() {
            let meta = namespace(object);
            self.namespaces.insert(meta.name.clone(), Arc::new(meta));
        }
        let name = name_of(&kind);
        if self.kinds.contains(&name) {
            let place = self.found.entry(namespace_name(object).to_owned()).or_default();
            place.entry(name).or_default().push(object.clone());
        }
    }

    /// Takes over what the configuration says of namespaces, which counts more than what files say.
    pub fn add_namespaces(&mut self, namespaces: &BTreeMap<String, NamespaceMeta>) {
        self.namespaces.extend(namespaces.iter().map(|(name, meta)| (name.clone(), Arc::new(meta.clone()))));
    }

    /// Takes in namespaces that objects name; those that nobody describes have no labels.
    pub fn add_named<'a>(&mut self, names: impl IntoIterator<Item = &'a String>) {
        for name in names.into_iter().filter(|name| !name.is_empty()) {
            self.namespaces.entry(name.clone()).or_insert_with(|| Arc::new(NamespaceMeta::named(name)));
        }
    }

    /// Takes over what is known of a namespace.
    pub fn add_namespace(&mut self, namespace: Arc<NamespaceMeta>) {
        self.namespaces.insert(namespace.name.clone(), namespace);
    }

    /// Forgets the namespaces that `keeps` says no to, with what is in them; objects that say none are in `""`.
    pub fn retain(&mut self, keeps: impl Fn(&str) -> bool) {
        self.namespaces.retain(|name, _| keeps(name));
        self.found.retain(|name, _| keeps(name));
    }

    /// Returns every known namespace.
    pub fn namespaces(&self) -> impl Iterator<Item = &Arc<NamespaceMeta>> {
        self.namespaces.values()
    }

    /// Returns a known namespace.
    pub fn namespace(&self, name: &str) -> Option<&Arc<NamespaceMeta>> {
        self.namespaces.get(name)
    }

    /// Returns where an object stands.
    pub fn home(&self, object: &Value) -> Home {
        let kind = kind_of(object);
        if kind.is_namespace() {
            let own = namespace(object);
            return Home::Namespace(self.namespaces.get(&own.name).cloned().unwrap_or_else(|| Arc::new(own)));
        }
        if CLUSTER_SCOPED.contains(&(kind.group.as_str(), kind.kind.as_str())) {
            return Home::Cluster;
        }
        match namespace_name(object) {
            "" => self.namespaces.get(DEFAULT_NAMESPACE).cloned().map_or(Home::Unsaid, Home::Namespace),
            name => Home::Namespace(
                self.namespaces.get(name).cloned().unwrap_or_else(|| Arc::new(NamespaceMeta::named(name))),
            ),
        }
    }

    /// Returns the objects that rules may look up beside this one.
    pub fn inventory(&self, object: &Value) -> Inventory {
        self.inventory_of(namespace_name(object))
    }

    /// Returns the objects that rules may look up for an object in a namespace; empty where it does not say which.
    /// What does not say where it goes excuses nothing in a namespace that is named: it may go elsewhere.
    pub fn inventory_of(&self, namespace: &str) -> Inventory {
        if self.found.is_empty() {
            return Inventory::new();
        }
        let places = if namespace.is_empty() { vec!["", DEFAULT_NAMESPACE] } else { vec![namespace] };
        let mut lists: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (kind, objects) in places.into_iter().filter_map(|name| self.found.get(name)).flatten() {
            lists.entry(kind.clone()).or_default().extend(objects.iter().cloned());
        }
        lists.into_iter().map(|(kind, objects)| (kind, Value::from(objects))).collect()
    }
}

fn holds_word(text: &[u8], word: &[u8]) -> bool {
    let Some(first) = word.first() else { return false };
    let is_word = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let starts = text.iter().enumerate().filter(|(_, byte)| *byte == first).map(|(at, _)| at);
    let mut found = starts.filter(|at| text.get(*at..).is_some_and(|rest| rest.starts_with(word)));
    found.any(|at| {
        let before = at.checked_sub(1).and_then(|at| text.get(at));
        !is_word(before) && !is_word(text.get(at.saturating_add(word.len())))
    })
}

fn name_of(kind: &GroupVersionKind) -> String {
    let group = if kind.group.is_empty() { "core" } else { &kind.group };
    format!("{group}/{}", kind.kind)
}

/// Returns the namespace that an object names, empty where it names none.
pub fn namespace_name(object: &Value) -> &str {
    object.at(&["metadata", "namespace"]).and_then(Fields::as_text).unwrap_or_default()
}

fn namespace(object: &Value) -> NamespaceMeta {
    let texts = |key| {
        let entries = object.at(&["metadata", key]).into_iter().flat_map(Fields::entries);
        entries.filter_map(|(key, value)| Some((key.to_string(), value.as_text()?.to_owned()))).collect()
    };
    let name = object.at(&["metadata", "name"]).and_then(Fields::as_text).unwrap_or_default().to_owned();
    NamespaceMeta { name, labels: texts("labels"), annotations: texts("annotations") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(json: serde_json::Value) -> Value {
        Value::from(json)
    }

    fn autoscaler(namespace: Option<&str>, name: &str) -> Value {
        object(serde_json::json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name, "namespace": namespace},
        }))
    }

    #[test]
    fn looks_for_whole_words() {
        let surroundings = Surroundings::new(["autoscaling/HorizontalPodAutoscaler".to_owned()]);
        for (text, expected) in [
            ("kind: Namespace\n", true),
            ("{\"kind\":\"Namespace\"}", true),
            ("Namespace", true),
            ("kind: HorizontalPodAutoscaler", true),
            ("CreateNamespace=true Namespaces namespace", false),
            ("kind: Pod", false),
        ] {
            assert_eq!(surroundings.could_be_in(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn an_inventory_is_that_of_the_namespace() {
        let mut surroundings = Surroundings::new(["autoscaling/HorizontalPodAutoscaler".to_owned()]);
        for (namespace, name) in [(Some("shop"), "a"), (Some("default"), "b"), (None, "c")] {
            surroundings.add(&autoscaler(namespace, name));
        }
        let names = |namespace: Option<&str>| -> Vec<String> {
            let pod = object(serde_json::json!({"kind": "Pod", "metadata": {"namespace": namespace}}));
            let inventory = surroundings.inventory(&pod);
            let list = inventory.get("autoscaling/HorizontalPodAutoscaler");
            let items = list.into_iter().flat_map(Fields::items);
            items.filter_map(|item| item.at(&["metadata", "name"])?.as_text().map(str::to_owned)).collect()
        };
        assert_eq!(names(Some("shop")), ["a"]);
        assert_eq!(names(None), ["c", "b"]);
        assert!(names(Some("other")).is_empty());
    }

    #[test]
    fn the_configuration_knows_namespaces_better() {
        let mut surroundings = Surroundings::new([]);
        surroundings.add(&object(serde_json::json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"from": "file"}},
        })));
        let pod = object(serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop"}}));
        let label = |surroundings: &Surroundings| match surroundings.home(&pod) {
            Home::Namespace(meta) => meta.labels.get("from").cloned(),
            _ => None,
        };
        assert_eq!(label(&surroundings).as_deref(), Some("file"));
        let mut meta = NamespaceMeta::named("shop");
        meta.labels.insert("from".into(), "configuration".into());
        surroundings.add_namespaces(&BTreeMap::from([("shop".to_owned(), meta)]));
        assert_eq!(label(&surroundings).as_deref(), Some("configuration"));
    }

    #[test]
    fn tells_where_objects_stand() {
        let surroundings = Surroundings::new([]);
        let home = |api_version: &str, kind: &str, namespace: Option<&str>| {
            let metadata = serde_json::json!({"name": "x", "namespace": namespace});
            surroundings
                .home(&object(serde_json::json!({"apiVersion": api_version, "kind": kind, "metadata": metadata})))
        };
        assert_eq!(home("rbac.authorization.k8s.io/v1", "ClusterRole", None), Home::Cluster);
        assert_eq!(home("v1", "Namespace", None), Home::Namespace(Arc::new(NamespaceMeta::named("x"))));
        assert_eq!(home("v1", "Pod", Some("shop")), Home::Namespace(Arc::new(NamespaceMeta::named("shop"))));
        assert_eq!(home("v1", "Pod", None), Home::Unsaid);
    }
}
