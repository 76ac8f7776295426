# METADATA
# title: API version was not given up in Kubernetes 1.17
# description: >-
#   With 1.17, the alpha and beta versions of RBAC and the beta of CSINode were on their way out in favour of v1. A
#   cluster of today does not know the old version.
# related_resources:
# - https://kubernetes.io/docs/reference/using-api/deprecation-guide/
# custom:
#   id: deprecated-api-1-17
#   aliases: [K8S_DEPRECATED_APIVERSION_1.17]
#   severity: high
#   category: deprecation
#   impact: "The object cannot be created in a cluster of 1.22 or later (RBAC v1alpha1: 1.23)."
#   effort: easy
#   kinds:
#   - rbac.authorization.k8s.io/Role
#   - rbac.authorization.k8s.io/RoleList
#   - rbac.authorization.k8s.io/RoleBinding
#   - rbac.authorization.k8s.io/RoleBindingList
#   - rbac.authorization.k8s.io/ClusterRole
#   - rbac.authorization.k8s.io/ClusterRoleList
#   - rbac.authorization.k8s.io/ClusterRoleBinding
#   - rbac.authorization.k8s.io/ClusterRoleBindingList
#   - storage.k8s.io/CSINode
#   fix: >-
#     Write the apiVersion that the message names, and move the fields that changed as the deprecation guide says.
#   mend:
#   - {version: v1}
#   differs: >-
#     What counts is the version that the client sent: the API server may convert the object before it is judged.
#     Where the release of Kubernetes is known, an API version that it still serves does not fail: it is skipped with
#     the reason if it is deprecated there.
package gatepost.rules.deprecated_api_1_17

import data.gatepost.lib.deprecations

violation contains {"message": message, "path": ["apiVersion"]} if {
	message := deprecations.advice("1.17", input.requestKind)
}

skip contains {"message": message, "path": ["apiVersion"]} if {
	message := deprecations.notice("1.17", input.requestKind)
}
