# METADATA
# title: CronJob does not overlap with itself
# description: >-
#   By default a run starts although the one before is still going. Slow runs then pile up, and work on the same
#   data at once.
# related_resources:
# - https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/
# custom:
#   id: cronjob-concurrency-policy
#   aliases: [CRONJOB_MISSING_CONCURRENCYPOLICY_KEY]
#   severity: medium
#   category: cronjob
#   impact: Runs overlap, compete for resources, and may damage the data they share.
#   effort: easy
#   kinds: [batch/CronJob]
#   fix: >-
#     Set spec.concurrencyPolicy to Forbid, which leaves out a run while one is going, or to Replace, which stops
#     the one that is going.
#   mend:
#   - {set: Forbid, choose: "Forbid, or Replace to stop the run that is going"}
package gatepost.rules.cronjob_concurrency_policy

default policy := "Allow"

policy := input.object.spec.concurrencyPolicy

violation contains {"message": "set concurrencyPolicy to Forbid or Replace", "path": ["spec", "concurrencyPolicy"]} if {
	not policy in {"Forbid", "Replace"}
}
