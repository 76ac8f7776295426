# METADATA
# title: Container has a memory request
# description: >-
#   A request tells the scheduler how much memory to keep free for the container. Without it the Pod may land on a
#   node that is already full.
# related_resources:
# - https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/
# - https://kubernetes.io/docs/concepts/policy/limit-range/
# custom:
#   id: container-memory-request
#   aliases: [CONTAINERS_MISSING_MEMORY_REQUEST_KEY]
#   severity: medium
#   category: resources
#   impact: The kubelet evicts this Pod first when the node runs out of memory.
#   effort: hard
#   kinds: [workloads]
#   inventory: [core/LimitRange]
#   fix: Set resources.requests.memory on the container to what it needs as measured, for example 64Mi.
#   mend:
#   - {set: 64Mi, choose: what it needs as measured}
#   differs: >-
#     Init containers are judged too. Requests of the whole Pod count for its containers, and so does what a
#     LimitRange of the namespace fills in. A limit without a request passes, because the API server copies it into
#     the request.
package gatepost.rules.container_memory_request

import data.gatepost.lib.limit_ranges

violation contains {"message": "set resources.requests.memory, for example 64Mi", "path": path} if {
	some c in input.containers
	c.takesResources
	not c.requests.memory
	not limit_ranges.fill({"defaultRequest", "default", "max", "min"}, "memory")
	path := array.concat(c.path, ["resources", "requests", "memory"])
}
