//! Whose a namespace is, by its name.

use serde::Serialize;

/// Namespaces of Kubernetes and its distributions; a `*` at the end stands for anything.
const SYSTEM: [&str; 3] = ["kube-*", "openshift", "openshift-*"];

/// Namespaces that well-known software is installed in.
const VENDORS: [&str; 45] = [
    "amazon-*",
    "argo",
    "argo-*",
    "argocd",
    "azure-*",
    "calico-*",
    "cattle-*",
    "cert-manager",
    "cilium*",
    "cnpg-system",
    "crossplane-system",
    "datadog",
    "external-dns",
    "external-secrets",
    "falco",
    "fleet-*",
    "flux-system",
    "gatekeeper-system",
    "gke-*",
    "gmp-*",
    "grafana",
    "ingress-nginx",
    "istio-*",
    "keda",
    "knative-*",
    "kubevirt",
    "kubewarden",
    "kyverno",
    "linkerd*",
    "local-path-storage",
    "logging",
    "longhorn-system",
    "loki",
    "metallb-system",
    "monitoring",
    "observability",
    "olm",
    "rook-ceph",
    "sealed-secrets",
    "tekton-*",
    "tigera-operator",
    "traefik",
    "trivy-system",
    "vault",
    "velero",
];

/// Whose a namespace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// What people here write.
    Yours,
    /// Kubernetes' own, and Gatepost's.
    System,
    /// What somebody else made and people here installed.
    Vendor,
}

impl Group {
    /// Returns the group of a namespace; `own` is where Gatepost is installed.
    pub fn of(namespace: &str, own: Option<&str>) -> Self {
        let is_one_of = |patterns: &[&str]| patterns.iter().any(|pattern| matches(pattern, namespace));
        match () {
            () if own == Some(namespace) || is_one_of(&SYSTEM) => Self::System,
            () if is_one_of(&VENDORS) => Self::Vendor,
            () => Self::Yours,
        }
    }

    /// Returns the word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yours => "yours",
            Self::System => "system",
            Self::Vendor => "vendor",
        }
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_yours_unless_its_name_says_otherwise() {
        for (name, expected) in [
            ("shop", "yours"),
            ("default", "yours"),
            ("argocd-apps", "yours"),
            ("kubernetes-dashboard", "yours"),
            ("kube-system", "system"),
            ("openshift-etcd", "system"),
            ("policies", "system"),
            ("argocd", "vendor"),
            ("flux-system", "vendor"),
            ("cert-manager", "vendor"),
            ("ingress-nginx", "vendor"),
            ("monitoring", "vendor"),
            ("istio-system", "vendor"),
            ("", "yours"),
        ] {
            assert_eq!(Group::of(name, Some("policies")).as_str(), expected, "{name}");
        }
        assert_eq!(Group::of("policies", None), Group::Yours);
    }
}
