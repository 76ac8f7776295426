//! The CustomResourceDefinitions of Exemption and ClusterExemption.

use serde_json::{Value as Json, json};

use super::{GROUP, VERSION};
use crate::policy::exemption::ExemptionKind;

/// More rules than anybody names; it bounds what the API server's checks may cost.
const MOST_ITEMS: u32 = 256;

/// Returns both definitions.
pub fn definitions() -> [Json; 2] {
    [definition(ExemptionKind::Exemption), definition(ExemptionKind::ClusterExemption)]
}

/// Returns the plural by which a kind's objects are asked for.
pub const fn plural(kind: ExemptionKind) -> &'static str {
    if is_of_cluster(kind) { "clusterexemptions" } else { "exemptions" }
}

const fn is_of_cluster(kind: ExemptionKind) -> bool {
    matches!(kind, ExemptionKind::ClusterExemption)
}

fn definition(kind: ExemptionKind) -> Json {
    let (plural, singular) = (plural(kind), kind.as_str().to_lowercase());
    let scope = if is_of_cluster(kind) { "Cluster" } else { "Namespaced" };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.{GROUP}"),
            "labels": {"app.kubernetes.io/name": "gatepost", "app.kubernetes.io/component": "webhook"},
        },
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": {
                "plural": plural,
                "singular": singular,
                "kind": kind.as_str(),
                "listKind": format!("{}List", kind.as_str()),
                "categories": ["gatepost"],
            },
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": columns(),
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "description": about(kind),
                    "required": ["spec"],
                    "properties": {
                        "apiVersion": {"type": "string"},
                        "kind": {"type": "string"},
                        "metadata": {"type": "object"},
                        "spec": spec(kind),
                        "status": status(),
                    },
                }},
            }],
        },
    })
}

const fn about(kind: ExemptionKind) -> &'static str {
    if is_of_cluster(kind) {
        "Who may break which rule in the whole cluster, until when, and why."
    } else {
        "Who may break which rule in a namespace, until when, and why."
    }
}

fn columns() -> Json {
    json!([
        {"name": "Owner", "type": "string", "jsonPath": ".spec.owner"},
        {"name": "Expires", "type": "string", "jsonPath": ".spec.expires"},
        {"name": "Accepted", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Accepted\")].status"},
        {"name": "Last used", "type": "date", "jsonPath": ".status.lastUsed"},
        {"name": "Reason", "type": "string", "jsonPath": ".spec.reason", "priority": 1},
    ])
}

fn texts(description: &str) -> Json {
    json!({
        "type": "array", "description": description, "minItems": 1, "maxItems": MOST_ITEMS,
        "items": {"type": "string", "minLength": 1, "maxLength": 512},
    })
}

fn spec(kind: ExemptionKind) -> Json {
    let is_of_cluster = is_of_cluster(kind);
    let mut required = vec!["reason", "owner"];
    required.extend(is_of_cluster.then_some("match"));
    let text = |description: &str, longest: u32| {
        let pattern = r"\S";
        json!({"type": "string", "description": description, "minLength": 1, "maxLength": longest, "pattern": pattern})
    };
    json!({
        "type": "object",
        "required": required,
        "properties": {
            "rules": texts("Rules that are excused, by id or alias."),
            "families": texts("Families all of whose rules are excused."),
            "match": matches(is_of_cluster),
            "reason": text("Why.", 1024),
            "owner": text("Who answers for it.", 256),
            "expires": {
                "type": "string",
                "description": "A date (from midnight UTC) or an RFC 3339 instant from which it does not count. \
                                Required, unless Gatepost's configuration allows exemptions without an end.",
                "maxLength": 64,
                "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt][0-9:.]+([Zz]|[+-][0-9]{2}:[0-9]{2}))?$",
            },
        },
        "x-kubernetes-validations": [
            {"rule": "has(self.rules) || has(self.families)", "message": "spec names neither rules nor families"},
        ],
    })
}

fn matches(is_of_cluster: bool) -> Json {
    let mut matches = json!({
        "type": "object",
        "description": "The objects that it is about; everything that is given must hold.",
        "properties": {
            "namespaces": texts("Names or globs of namespaces."),
            "kinds": texts("Kinds, as apiGroup/Kind (core/Pod), or workloads, controllers, rbac."),
            "names": texts("Names or globs of objects."),
            "selector": selector(),
            "containers": texts("Names or globs of containers: only violations in one of them are excused."),
            "images": texts("Images or globs: only violations in containers with one of them are excused."),
            "users": texts("Names or globs of users: only what they ask for is excused, and only at admission."),
        },
    });
    if is_of_cluster && let Some(matches) = matches.as_object_mut() {
        matches.insert("minProperties".into(), json!(1));
    }
    matches
}

fn selector() -> Json {
    json!({
        "type": "object",
        "description": "Labels of the objects.",
        "minProperties": 1,
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}},
            "matchExpressions": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {"type": "string"},
                        "operator": {"type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
                        "values": {"type": "array", "items": {"type": "string"}},
                    },
                },
            },
        },
    })
}

fn status() -> Json {
    json!({
        "type": "object",
        "description": "Written by Gatepost.",
        "properties": {
            "observedGeneration": {"type": "integer", "format": "int64"},
            "lastUsed": {
                "type": "string", "format": "date-time",
                "description": "When it last excused something, give or take an hour.",
            },
            "conditions": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": {
                    "type": "object",
                    "required": ["type", "status", "lastTransitionTime", "reason", "message"],
                    "properties": {
                        "type": {"type": "string"},
                        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                        "observedGeneration": {"type": "integer", "format": "int64"},
                        "lastTransitionTime": {"type": "string", "format": "date-time"},
                        "reason": {"type": "string"},
                        "message": {"type": "string"},
                    },
                },
            },
        },
    })
}
