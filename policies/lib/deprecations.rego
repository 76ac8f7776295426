# API versions that Kubernetes has given up, and what took their place.
package gatepost.lib.deprecations

# What to do about an API version whose deprecation took effect in a minor release of Kubernetes 1; undefined when it is
# none of these, and when the cluster that the object is meant for still serves it.
advice(release, kind) := sprintf("use %s, Kubernetes 1.%d removed %s", [now.use, now.removed, kind.version]) if {
	now := replacement(release, kind)
	not is_before(now.removed)
}

# The same where that cluster serves it, though it is deprecated there.
notice(release, kind) := sprintf("use %s: it is deprecated, Kubernetes 1.%d removes %s", [now.use, now.removed, kind.version]) if {
	now := replacement(release, kind)
	is_before(now.removed)
	not is_before(to_number(trim_prefix(release, "1.")))
}

replacement(release, kind) := table[release][sprintf("%s/%s", [kind.group, kind.version])][kind.kind]

# Whether the cluster is older than a minor release. Where nobody says what it is, it is one of today.
is_before(minor) if {
	input.kubernetesVersion.major == 1
	input.kubernetesVersion.minor < minor
}

# Deprecated since → group and version → kind.
table := {
	"1.16": {
		"apiextensions.k8s.io/v1beta1": {"CustomResourceDefinition": extensions},
		"admissionregistration.k8s.io/v1beta1": {
			"MutatingWebhookConfiguration": registration,
			"ValidatingWebhookConfiguration": registration,
		},
	},
	"1.17": {
		"rbac.authorization.k8s.io/v1alpha1": {kind: rbac(23) | some kind in rbac_kinds},
		"rbac.authorization.k8s.io/v1beta1": {kind: rbac(22) | some kind in rbac_kinds},
		"storage.k8s.io/v1beta1": {"CSINode": {"use": "storage.k8s.io/v1", "removed": 22}},
	},
}

extensions := {"use": "apiextensions.k8s.io/v1", "removed": 22}

registration := {"use": "admissionregistration.k8s.io/v1", "removed": 22}

rbac(removed) := {"use": "rbac.authorization.k8s.io/v1", "removed": removed}

rbac_kinds := {
	"ClusterRole", "ClusterRoleBinding", "ClusterRoleBindingList", "ClusterRoleList",
	"Role", "RoleBinding", "RoleBindingList", "RoleList",
}
