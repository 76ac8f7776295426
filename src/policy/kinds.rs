//! Kinds, and how a rule names the ones it looks at.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// A GroupVersionKind as in an AdmissionRequest; the core group is the empty text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct GroupVersionKind {
    /// API group, empty for core.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub group: String,
    /// API version.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub version: String,
    /// Kind.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub kind: String,
}

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl GroupVersionKind {
    /// Reads an object's `apiVersion` and `kind`.
    pub fn of(api_version: &str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self { group: group.into(), version: version.into(), kind: kind.into() }
    }

    /// Returns `group/version`, or the version alone in the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Returns whether this is one of the built-in kinds that hold Pods: Pod itself, or a controller of them.
    pub fn is_built_in_workload(&self) -> bool {
        self.is_pod() || CONTROLLERS.contains(&(self.group.as_str(), self.kind.as_str()))
    }

    /// Returns whether this is the core Pod.
    pub fn is_pod(&self) -> bool {
        self.group.is_empty() && self.kind == "Pod"
    }

    /// Returns whether this is the core Namespace.
    pub fn is_namespace(&self) -> bool {
        self.group.is_empty() && self.kind == "Namespace"
    }

    /// Returns whether this is the core Secret.
    pub fn is_secret(&self) -> bool {
        self.group.is_empty() && self.kind == "Secret"
    }

    /// Returns whether the group is one that Kubernetes itself serves, whose kinds hold pod templates at known places.
    pub fn is_built_in_group(&self) -> bool {
        BUILT_IN_GROUPS.contains(&self.group.as_str())
    }
}

impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.api_version(), self.kind)
    }
}

/// Others put kinds of their own into groups that end in `.k8s.io`, so only a list can tell.
const BUILT_IN_GROUPS: [&str; 24] = [
    "",
    "admission.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

/// One entry of a rule's `kinds`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KindSelector {
    /// `*`: any kind.
    Any,
    /// `workloads`: Pod, its built-in controllers, and any other kind that holds a pod template.
    Workloads,
    /// `apiGroup/Kind`, either side may be `*`; `core` is the empty group.
    Kind {
        /// API group, or none for any.
        group: Option<String>,
        /// Kind, or none for any.
        kind: Option<String>,
    },
    /// A group name such as `controllers`.
    Group(&'static [(&'static str, &'static str)]),
}

/// An entry of `kinds` that names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is neither a group of kinds (workloads, controllers, rbac, *) nor apiGroup/Kind, for example core/Pod"
)]
pub struct KindError(String);

impl FromStr for KindSelector {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        match text {
            "*" => return Ok(Self::Any),
            "workloads" => return Ok(Self::Workloads),
            _ => {}
        }
        if let Some(kinds) = kind_groups().get(text) {
            return Ok(Self::Group(kinds));
        }
        let (group, kind) = text.rsplit_once('/').ok_or_else(|| KindError(text.into()))?;
        if group.is_empty() || kind.is_empty() || group.contains('/') {
            return Err(KindError(text.into()));
        }
        let group = match group {
            "*" => None,
            "core" => Some(String::new()),
            other => Some(other.to_owned()),
        };
        Ok(Self::Kind { group, kind: (kind != "*").then(|| kind.to_owned()) })
    }
}

impl KindSelector {
    /// Returns how a rule names the kinds, in words.
    pub fn in_words(&self) -> String {
        let any = |part: &Option<String>| part.clone().unwrap_or_else(|| "*".into());
        match self {
            Self::Any => "every kind".into(),
            Self::Workloads => "every kind that holds a pod template".into(),
            Self::Kind { group: Some(group), kind } if group.is_empty() => any(kind),
            Self::Kind { group, kind } => format!("{}/{}", any(group), any(kind)),
            Self::Group(kinds) => kinds.iter().map(|(_, kind)| *kind).collect::<Vec<_>>().join(", "),
        }
    }

    /// Returns whether an object of this kind is looked at; `has_template` says whether it holds a pod template.
    pub fn matches(&self, gvk: &GroupVersionKind, has_template: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Workloads => has_template || gvk.is_built_in_workload(),
            Self::Kind { group, kind } => {
                group.as_ref().is_none_or(|group| *group == gvk.group)
                    && kind.as_ref().is_none_or(|kind| *kind == gvk.kind)
            }
            Self::Group(kinds) => kinds.contains(&(gvk.group.as_str(), gvk.kind.as_str())),
        }
    }
}

/// Names of the kinds that a rule's group name stands for, as `(apiGroup, Kind)`; `core` is the empty group.
pub fn kind_groups() -> BTreeMap<&'static str, &'static [(&'static str, &'static str)]> {
    BTreeMap::from([("controllers", CONTROLLERS), ("rbac", RBAC)])
}

/// Built-in kinds that make Pods from a template.
pub const CONTROLLERS: &[(&str, &str)] = &[
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("apps", "ReplicaSet"),
    ("", "ReplicationController"),
    ("batch", "Job"),
    ("batch", "CronJob"),
];

const RBAC: &[(&str, &str)] = &[
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
];
