# METADATA
# title: Deployment has two replicas or more
# description: >-
#   With one replica, the application is away whenever its Pod is moved, restarted or evicted. With two, the other
#   goes on serving.
# related_resources:
# - https://kubernetes.io/docs/concepts/workloads/controllers/deployment/
# - https://kubernetes.io/docs/concepts/workloads/autoscaling/
# custom:
#   id: deployment-replicas
#   aliases: [DEPLOYMENT_INCORRECT_REPLICAS_VALUE]
#   severity: medium
#   category: workload
#   impact: Users meet an outage at each drain of the node and at each crash.
#   effort: medium
#   kinds: [apps/Deployment]
#   inventory: [autoscaling/HorizontalPodAutoscaler, keda.sh/ScaledObject]
#   atMost: warn
#   fix: Set spec.replicas to 2 or more, or let an autoscaler set it.
#   mend:
#   - {set: 2, choose: 2 or more}
#   differs: >-
#     A Deployment that an autoscaler targets passes, and so does one scaled to 0, which is switched off on purpose.
#     Absent replicas count as 1 in a cluster; in a file they are skipped, since an autoscaler may set them. It
#     never denies, so that kubectl scale and autoscalers are never in its way.
package gatepost.rules.deployment_replicas

violation contains {"message": "run 2 replicas or more, or add an autoscaler", "path": ["spec", "replicas"]} if {
	replicas == 1
	not is_autoscaled
}

skip contains {"message": "replicas is not set: an autoscaler may set it, else it is 1", "path": ["spec", "replicas"]} if {
	not has_replicas
	input.origin == "files"
	not is_autoscaled
}

has_replicas if is_number(input.object.spec.replicas)

replicas := input.object.spec.replicas if has_replicas

# The API server makes 1 of what is absent; a file may leave it to an autoscaler that is not in the file.
replicas := 1 if {
	not has_replicas
	input.origin != "files"
}

is_autoscaled if {
	some autoscaler in input.inventory["autoscaling/HorizontalPodAutoscaler"]
	target := autoscaler.spec.scaleTargetRef
	target.kind == "Deployment"
	target.name == input.object.metadata.name
}

is_autoscaled if {
	some scaler in input.inventory["keda.sh/ScaledObject"]
	target := scaler.spec.scaleTargetRef
	target.name == input.object.metadata.name
	is_deployment(target)
}

# KEDA takes an absent kind for Deployment.
is_deployment(target) if target.kind == "Deployment"

is_deployment(target) if not target.kind
