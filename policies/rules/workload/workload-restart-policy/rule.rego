# METADATA
# title: Restart policy is Always where only that works
# description: >-
#   Controllers that keep Pods running accept no restart policy but Always. The API server refuses any other, and
#   this rule finds it in a file before the rollout does.
# related_resources:
# - https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
# custom:
#   id: workload-restart-policy
#   aliases: [WORKLOAD_INCORRECT_RESTARTPOLICY_VALUE_ALWAYS]
#   severity: high
#   category: workload
#   impact: The workload cannot be created or changed, and the rollout stops there.
#   effort: easy
#   kinds: [apps/Deployment, apps/ReplicaSet, apps/DaemonSet, apps/StatefulSet, core/ReplicationController]
#   fix: Take out restartPolicy, or write Always; use a Job for what runs to completion.
#   mend:
#   - {remove: true}
#   differs: "StatefulSet is judged too: it accepts no other restart policy either."
package gatepost.rules.workload_restart_policy

violation contains {"message": "take out restartPolicy or set it to Always", "path": path} if {
	some template in input.podTemplates
	policy := template.spec.restartPolicy
	policy != null
	policy != "Always"
	path := array.concat(template.path, ["spec", "restartPolicy"])
}
