# METADATA
# title: Container has a CPU request
# description: >-
#   A request tells the scheduler how much CPU to keep free for the container, and is its share when the node is
#   busy. An autoscaler that goes by CPU use needs it too.
# related_resources:
# - https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/
# - https://kubernetes.io/docs/concepts/policy/limit-range/
# custom:
#   id: container-cpu-request
#   aliases: [CONTAINERS_MISSING_CPU_REQUEST_KEY]
#   severity: medium
#   category: resources
#   impact: The container starves beside busy neighbours, and autoscaling by CPU use does not work.
#   effort: hard
#   kinds: [workloads]
#   inventory: [core/LimitRange]
#   fix: Set resources.requests.cpu on the container to what it needs as measured, for example 100m.
#   mend:
#   - {set: 100m, choose: what it needs as measured}
#   differs: >-
#     Init containers are judged too. Requests of the whole Pod count for its containers, and so does what a
#     LimitRange of the namespace fills in. A limit without a request passes, because the API server copies it into
#     the request.
package gatepost.rules.container_cpu_request

import data.gatepost.lib.limit_ranges

violation contains {"message": "set resources.requests.cpu, for example 100m", "path": path} if {
	some c in input.containers
	c.takesResources
	not c.requests.cpu
	not limit_ranges.fill({"defaultRequest", "default", "max", "min"}, "cpu")
	path := array.concat(c.path, ["resources", "requests", "cpu"])
}
