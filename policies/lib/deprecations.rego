# API versions that Kubernetes has given up, and what took their place.
package gatepost.lib.deprecations

# What to do about an API version whose deprecation took effect in a release; undefined when it is none of these.
advice(release, kind) := sprintf("use %s, Kubernetes %s removed %s", [now.use, now.removed, kind.version]) if {
	now := table[release][sprintf("%s/%s", [kind.group, kind.version])][kind.kind]
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
		"rbac.authorization.k8s.io/v1alpha1": {kind: rbac("1.23") | some kind in rbac_kinds},
		"rbac.authorization.k8s.io/v1beta1": {kind: rbac("1.22") | some kind in rbac_kinds},
		"storage.k8s.io/v1beta1": {"CSINode": {"use": "storage.k8s.io/v1", "removed": "1.22"}},
	},
}

extensions := {"use": "apiextensions.k8s.io/v1", "removed": "1.22"}

registration := {"use": "admissionregistration.k8s.io/v1", "removed": "1.22"}

rbac(removed) := {"use": "rbac.authorization.k8s.io/v1", "removed": removed}

rbac_kinds := {
	"ClusterRole", "ClusterRoleBinding", "ClusterRoleBindingList", "ClusterRoleList",
	"Role", "RoleBinding", "RoleBindingList", "RoleList",
}
