# METADATA
# title: Autoscaler has a lower bound
# description: >-
#   Without minReplicas an autoscaler may scale down to one Pod. Saying it makes clear how many the application
#   needs when it is idle.
# related_resources:
# - https://kubernetes.io/docs/concepts/workloads/autoscaling/
# custom:
#   id: hpa-min-replicas
#   aliases: [HPA_MISSING_MINREPLICAS_KEY]
#   severity: low
#   category: workload
#   impact: At quiet times one Pod is left, and its restart is an outage.
#   effort: medium
#   kinds: [autoscaling/HorizontalPodAutoscaler]
#   fix: Set spec.minReplicas to 2 or more where the application must stay up.
#   mend:
#   - {set: 2, choose: 2 or more}
#   differs: "It finds something in files only: in a cluster the API server has filled in 1."
package gatepost.rules.hpa_min_replicas

violation contains {"message": "set minReplicas, for example 2", "path": ["spec", "minReplicas"]} if not has_minimum

has_minimum if is_number(input.object.spec.minReplicas)
