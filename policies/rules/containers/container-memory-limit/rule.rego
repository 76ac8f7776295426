# METADATA
# title: Container has a memory limit
# description: >-
#   A limit stops a container that leaks memory before it takes that of its neighbours. Without it one container can
#   use up the node.
# related_resources:
# - https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/
# - https://kubernetes.io/docs/concepts/policy/limit-range/
# custom:
#   id: container-memory-limit
#   aliases: [CONTAINERS_MISSING_MEMORY_LIMIT_KEY]
#   severity: high
#   category: resources
#   impact: One leaking container has other Pods on its node evicted or killed.
#   effort: hard
#   kinds: [workloads]
#   inventory: [core/LimitRange]
#   fix: Set resources.limits.memory on the container to what it needs as measured, for example 256Mi.
#   mend:
#   - set: 256Mi
#     like: 2/requests/memory
#     choose: what it needs as measured
#   differs: >-
#     Init containers are judged too. Limits of the whole Pod count for its containers, and so does what a
#     LimitRange of the namespace fills in.
package gatepost.rules.container_memory_limit

import data.gatepost.lib.limit_ranges

violation contains {"message": "set resources.limits.memory, for example 256Mi", "path": path} if {
	some c in input.containers
	c.takesResources
	not c.limits.memory
	not limit_ranges.fill({"default", "max"}, "memory")
	path := array.concat(c.path, ["resources", "limits", "memory"])
}
