# METADATA
# title: Workload is not in the default namespace
# description: >-
#   What lands in default is often there because nobody said where it belongs. Quotas, network policies and access
#   rights are given by namespace, and default usually has none.
# related_resources:
# - https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/
# custom:
#   id: workload-default-namespace
#   aliases: [WORKLOAD_INCORRECT_NAMESPACE_VALUE_DEFAULT]
#   severity: medium
#   category: workload
#   impact: The workload runs without the quotas and access rules of a namespace made for it.
#   effort: medium
#   kinds: [workloads]
#   fix: Set metadata.namespace to a namespace made for the application, or choose one with kubectl -n.
#   byHand: Which namespace it belongs to stands nowhere in the object.
#   differs: >-
#     A file that names no namespace passes; in a cluster the API server has filled it in, and default fails.
package gatepost.rules.workload_default_namespace

violation contains {"message": "use a namespace made for the application", "path": ["metadata", "namespace"]} if {
	input.object.metadata.namespace == "default"
}
