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
    /// Returns the word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yours => "yours",
            Self::System => "system",
            Self::Vendor => "vendor",
        }
    }
}

/// What the configuration says of whose namespaces are: names, or how they begin with a `*` behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupTerms(pub Vec<(Group, String)>);

/// Tells whose namespaces are.
#[derive(Debug, Clone, Copy)]
pub struct Groups<'a> {
    /// What the configuration says; it comes first.
    pub terms: &'a GroupTerms,
    /// Where Gatepost is installed.
    pub own: Option<&'a str>,
}

impl Groups<'_> {
    /// Returns the group of a namespace.
    pub fn of(&self, namespace: &str) -> Group {
        let is_one_of = |patterns: &[&str]| patterns.iter().any(|pattern| matches(pattern, namespace));
        let named = self.terms.0.iter().find(|(_, pattern)| matches(pattern, namespace));
        match named {
            Some((group, _)) => *group,
            None if self.own == Some(namespace) || is_one_of(&SYSTEM) => Group::System,
            None if is_one_of(&VENDORS) => Group::Vendor,
            None => Group::Yours,
        }
    }

    /// Returns whether a namespace counts for the cluster's score.
    ///
    /// Objects outside any do not: most of them are Kubernetes' own, and nothing in their names says which.
    pub fn is_scored(&self, namespace: &str) -> bool {
        !namespace.is_empty() && self.of(namespace) != Group::System
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
            let groups = Groups { terms: &GroupTerms::default(), own: Some("policies") };
            assert_eq!(groups.of(name).as_str(), expected, "{name}");
        }
        assert_eq!(Groups { terms: &GroupTerms::default(), own: None }.of("policies"), Group::Yours);
    }

    #[test]
    fn what_the_configuration_says_comes_first() {
        let named = |group, pattern: &str| (group, pattern.to_owned());
        let terms = GroupTerms(vec![
            named(Group::Yours, "monitoring"),
            named(Group::Vendor, "platform-*"),
            named(Group::System, "platform-core"),
        ]);
        let groups = Groups { terms: &terms, own: None };
        for (name, expected) in [("monitoring", "yours"), ("platform-core", "vendor"), ("argocd", "vendor")] {
            assert_eq!(groups.of(name).as_str(), expected, "{name}");
        }
        assert!(groups.is_scored("platform-core") && !groups.is_scored("kube-system") && !groups.is_scored(""));
    }
}
