# METADATA
# title: Container has a liveness probe
# description: >-
#   The kubelet restarts a container whose liveness probe fails. Without one, a process that hangs stays as it is
#   until somebody notices.
# related_resources:
# - https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/
# custom:
#   id: container-liveness-probe
#   aliases: [CONTAINERS_MISSING_LIVENESSPROBE_KEY]
#   severity: medium
#   category: probes
#   impact: A process that hangs but does not exit is never restarted.
#   effort: hard
#   kinds: [workloads]
#   fix: Add a livenessProbe that asks the process itself and not what it depends on.
#   mend:
#   - set: {httpGet: {path: /healthz, port: 8080}}
#     choose: what asks the process itself
#   differs: >-
#     Pods that run to completion (Job, CronJob, restartPolicy Never or OnFailure) need no probes. Sidecars, that is
#     init containers with restartPolicy Always, do.
package gatepost.rules.container_liveness_probe

violation contains {"message": "add a livenessProbe, so that it is restarted when it hangs", "path": array.concat(c.path, ["livenessProbe"])} if {
	some c in input.containers
	c.takesProbes
	not c.probes.livenessProbe
}
