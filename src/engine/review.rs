//! One object to be judged, and the input that all rules share: worked out once, however many rules look at it.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::rego::Value;
use super::template::{PodTemplate, containers_value, strings_value, templates, templates_value};
use super::value::{Fields, ObjectBuilder};
use crate::policy::{GroupVersionKind, KubernetesVersion, NamespaceMeta, Operation, Origin};

/// What stands where a Secret's value was, for rules that may not see it.
const MASK: &str = "***";
/// The annotation in which `kubectl apply` keeps the whole object.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An object, and the circumstances in which it is judged.
#[derive(Debug, Clone)]
pub struct Review {
    /// What is done.
    pub operation: Operation,
    /// Kind of the object.
    pub kind: GroupVersionKind,
    /// Kind that the client sent; differs when the API server converted.
    pub request_kind: GroupVersionKind,
    /// The object; the one that goes on DELETE.
    pub object: Value,
    /// The object as it stood before, null where there was none.
    pub old_object: Value,
    /// Who asks (`authentication.k8s.io/v1` UserInfo), null outside admission.
    pub user_info: Value,
    /// Where the object is judged.
    pub origin: Origin,
    /// The namespace, none for objects outside any.
    pub namespace: Option<Arc<NamespaceMeta>>,
    /// Known objects of other kinds, in the same namespace, by `apiGroup/Kind`.
    pub inventory: Inventory,
    /// The release of Kubernetes that the object is meant for; none where nobody says.
    pub kubernetes_version: Option<KubernetesVersion>,
}

/// Objects that rules look up: by `apiGroup/Kind`, those of the judged object's namespace.
pub type Inventory = BTreeMap<String, Value>;

impl Review {
    /// Returns a review of an object that stands in a file.
    pub fn of_file(object: Value, namespace: Option<Arc<NamespaceMeta>>, inventory: Inventory) -> Self {
        let kind = kind_of(&object);
        Self {
            operation: Operation::Create,
            request_kind: kind.clone(),
            kind,
            object,
            old_object: Value::Null,
            user_info: Value::Null,
            origin: Origin::Files,
            namespace,
            inventory,
            kubernetes_version: None,
        }
    }

    /// Returns the object's name, or its generateName while it has none.
    pub fn name(&self) -> &str {
        name_of(&self.object)
    }
}

/// Returns an object's name, or its generateName while it has none.
pub fn name_of(object: &Value) -> &str {
    let text = |key| object.at(&["metadata", key]).and_then(Fields::as_text).filter(|text| !text.is_empty());
    text("name").or_else(|| text("generateName")).unwrap_or_default()
}

/// Returns an object's GroupVersionKind.
pub fn kind_of(object: &Value) -> GroupVersionKind {
    GroupVersionKind::of(object.text("apiVersion").unwrap_or_default(), object.text("kind").unwrap_or_default())
}

/// What rules see of a review.
#[derive(Debug, Clone)]
pub struct Input {
    base: Value,
    /// The same with the values of a Secret in it.
    unmasked: Option<Value>,
    object: Value,
    templates: Vec<PodTemplate>,
}

/// What one rule needs beyond the input that all share.
#[derive(Debug, Clone, Copy, Default)]
pub struct Needs<'a> {
    /// Its parameters.
    pub parameters: Option<&'a Value>,
    /// Every text of the object with its path.
    pub strings: bool,
    /// The values of Secrets.
    pub secret_data: bool,
}

struct Keys {
    object: Value,
    old_object: Value,
    operation: Value,
    user_info: Value,
    request_kind: Value,
    origin: Value,
    namespace: Value,
    parameters: Value,
    pod_templates: Value,
    containers: Value,
    strings: Value,
    inventory: Value,
    kubernetes_version: Value,
    major: Value,
    minor: Value,
    group: Value,
    version: Value,
    kind: Value,
    name: Value,
    labels: Value,
    annotations: Value,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    object: "object".into(),
    old_object: "oldObject".into(),
    operation: "operation".into(),
    user_info: "userInfo".into(),
    request_kind: "requestKind".into(),
    origin: "origin".into(),
    namespace: "namespace".into(),
    parameters: "parameters".into(),
    pod_templates: "podTemplates".into(),
    containers: "containers".into(),
    strings: "strings".into(),
    inventory: "inventory".into(),
    kubernetes_version: "kubernetesVersion".into(),
    major: "major".into(),
    minor: "minor".into(),
    group: "group".into(),
    version: "version".into(),
    kind: "kind".into(),
    name: "name".into(),
    labels: "labels".into(),
    annotations: "annotations".into(),
});

impl Input {
    /// Works out what all rules share.
    pub fn new(review: &Review) -> Self {
        let templates = templates(&review.kind, &review.object);
        let (object, old_object) = if review.kind.is_secret() {
            (masked(&review.object), masked(&review.old_object))
        } else {
            (review.object.clone(), review.old_object.clone())
        };
        let base = base(review, &templates, object.clone(), old_object);
        let unmasked =
            review.kind.is_secret().then(|| base_with(&base, review.object.clone(), review.old_object.clone()));
        Self { base, unmasked, object, templates }
    }

    /// Returns whether the object holds a pod template, which makes it a workload of whatever kind.
    pub fn has_template(&self) -> bool {
        !self.templates.is_empty()
    }

    /// Returns the object as rules see it.
    pub fn object(&self) -> &Value {
        &self.object
    }

    /// Returns the input for one rule.
    pub fn for_rule(&self, needs: Needs<'_>) -> Value {
        let keys = &*KEYS;
        let base = if needs.secret_data { self.unmasked.as_ref().unwrap_or(&self.base) } else { &self.base };
        if needs.parameters.is_none() && !needs.strings {
            return base.clone();
        }
        let mut input = ObjectBuilder::from_value(base).set_some(&keys.parameters, needs.parameters.cloned());
        if needs.strings {
            let object = base.field("object").unwrap_or(&self.object);
            input = input.set(&keys.strings, strings_value(object));
        }
        input.build()
    }
}

fn base(review: &Review, templates: &[PodTemplate], object: Value, old_object: Value) -> Value {
    let keys = &*KEYS;
    let kind = &review.request_kind;
    let request_kind = ObjectBuilder::default()
        .set(&keys.group, kind.group.as_str())
        .set(&keys.version, kind.version.as_str())
        .set(&keys.kind, kind.kind.as_str())
        .build();
    ObjectBuilder::default()
        .set(&keys.object, object)
        .set(&keys.old_object, old_object)
        .set(&keys.operation, review.operation.as_str())
        .set(&keys.user_info, review.user_info.clone())
        .set(&keys.request_kind, request_kind)
        .set(&keys.origin, review.origin.as_str())
        .set_some(&keys.namespace, review.namespace.as_deref().map(namespace_value))
        .set(&keys.parameters, Value::new_object())
        .set(&keys.pod_templates, templates_value(templates))
        .set(&keys.containers, containers_value(templates))
        .set(&keys.inventory, inventory_value(&review.inventory))
        .set_some(&keys.kubernetes_version, review.kubernetes_version.map(version_value))
        .build()
}

fn base_with(base: &Value, object: Value, old_object: Value) -> Value {
    ObjectBuilder::from_value(base).set(&KEYS.object, object).set(&KEYS.old_object, old_object).build()
}

fn inventory_value(inventory: &Inventory) -> Value {
    let set = |object: ObjectBuilder, (kind, objects): (&String, &Value)| {
        let is_secret = kind == "core/Secret";
        let objects =
            if is_secret { Value::from(objects.items().map(masked).collect::<Vec<_>>()) } else { objects.clone() };
        object.set(&Value::from(kind.as_str()), objects)
    };
    inventory.iter().fold(ObjectBuilder::default(), set).build()
}

fn version_value(version: KubernetesVersion) -> Value {
    let keys = &*KEYS;
    ObjectBuilder::default()
        .set(&keys.major, u64::from(version.major))
        .set(&keys.minor, u64::from(version.minor))
        .build()
}

fn namespace_value(namespace: &NamespaceMeta) -> Value {
    let keys = &*KEYS;
    let texts = |map: &BTreeMap<String, String>| {
        let set = |object: ObjectBuilder, (key, value): (&String, &String)| {
            object.set(&Value::from(key.as_str()), value.as_str())
        };
        map.iter().fold(ObjectBuilder::default(), set).build()
    };
    ObjectBuilder::default()
        .set(&keys.name, namespace.name.as_str())
        .set(&keys.labels, texts(&namespace.labels))
        .set(&keys.annotations, texts(&namespace.annotations))
        .build()
}

/// Returns a Secret whose values cannot be read: data, stringData, and the copy that `kubectl apply` leaves.
pub fn masked(secret: &Value) -> Value {
    let mask = |value: &Value| {
        value
            .entries()
            .fold(ObjectBuilder::default(), |masked, (key, _)| masked.set(&Value::String(key.clone()), MASK))
            .build()
    };
    let mut copy = ObjectBuilder::from_value(secret);
    for key in ["data", "stringData"] {
        copy = copy.set_some(&Value::from(key), secret.field(key).map(mask));
    }
    if secret.at(&["metadata", "annotations", LAST_APPLIED]).is_some() {
        let annotations = secret.at(&["metadata", "annotations"]).unwrap_or(&Value::Null);
        let annotations = ObjectBuilder::from_value(annotations).set(&Value::from(LAST_APPLIED), MASK).build();
        let metadata = secret.field("metadata").unwrap_or(&Value::Null);
        let metadata = ObjectBuilder::from_value(metadata).set(&KEYS.annotations, annotations).build();
        copy = copy.set(&Value::from("metadata"), metadata);
    }
    match secret {
        Value::Object(_) => copy.build(),
        other => other.clone(),
    }
}
