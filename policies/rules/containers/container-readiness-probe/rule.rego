# METADATA
# title: Container has a readiness probe
# description: >-
#   Services send requests only to containers whose readiness probe succeeds. Without one, requests come in before
#   the process can answer them.
# related_resources:
# - https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/
# custom:
#   id: container-readiness-probe
#   aliases: [CONTAINERS_MISSING_READINESSPROBE_KEY]
#   severity: medium
#   category: probes
#   impact: Users meet errors at each rollout and whenever the process is overloaded.
#   effort: hard
#   kinds: [workloads]
#   fix: Add a readinessProbe that succeeds once the process can answer requests.
#   mend:
#   - set: {httpGet: {path: /healthz, port: 8080}}
#     choose: what succeeds once it can answer
#   differs: >-
#     Pods that run to completion (Job, CronJob, restartPolicy Never or OnFailure) need no probes. Sidecars, that is
#     init containers with restartPolicy Always, do.
package gatepost.rules.container_readiness_probe

violation contains {"message": "add a readinessProbe, so that it gets requests only once it can answer", "path": array.concat(c.path, ["readinessProbe"])} if {
	some c in input.containers
	c.takesProbes
	not c.probes.readinessProbe
}
