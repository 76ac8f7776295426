# METADATA
# title: Container has a CPU limit
# description: >-
#   A limit bounds how much CPU one container can take. Where many teams share nodes, it keeps one from slowing down
#   the others.
# related_resources:
# - https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/
# - https://kubernetes.io/docs/concepts/policy/limit-range/
# custom:
#   id: container-cpu-limit
#   aliases: [CONTAINERS_MISSING_CPU_LIMIT_KEY]
#   severity: low
#   category: resources
#   impact: One busy container slows down others on its node.
#   effort: hard
#   kinds: [workloads]
#   inventory: [core/LimitRange]
#   fix: Set resources.limits.cpu on the container to what it needs as measured, for example 500m.
#   mend:
#   - set: 500m
#     like: 2/requests/cpu
#     choose: what it needs as measured
#   differs: >-
#     Init containers are judged too. Limits of the whole Pod count for its containers, and so does what a
#     LimitRange of the namespace fills in.
package gatepost.rules.container_cpu_limit

import data.gatepost.lib.limit_ranges

violation contains {"message": "set resources.limits.cpu, for example 500m", "path": path} if {
	some c in input.containers
	c.takesResources
	not c.limits.cpu
	not limit_ranges.fill({"default", "max"}, "cpu")
	path := array.concat(c.path, ["resources", "limits", "cpu"])
}
