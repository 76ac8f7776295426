# METADATA
# title: CronJob says how late a run may start
# description: >-
#   Without a deadline, the controller counts every run missed since the last one, and stops scheduling after more
#   than 100. With one, it counts only those within the deadline, and drops what is too late.
# related_resources:
# - https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/
# custom:
#   id: cronjob-starting-deadline
#   aliases: [CRONJOB_MISSING_STARTINGDEADLINESECOND_KEY]
#   severity: low
#   category: cronjob
#   impact: After a long outage the CronJob may never run again, or run far too late.
#   effort: medium
#   kinds: [batch/CronJob]
#   parameters:
#     type: object
#     properties:
#       seconds:
#         description: What a patch sets where there is none.
#         type: integer
#         minimum: 10
#         default: 600
#   fix: >-
#     Set spec.startingDeadlineSeconds to how many seconds late a run is still of use, for example 600; the
#     controller looks every 10 seconds, so not below that.
#   mend:
#   - {set: 600, choose: how many seconds late a run is still of use}
package gatepost.rules.cronjob_starting_deadline

place := ["spec", "startingDeadlineSeconds"]

violation contains {
	"message": sprintf("set startingDeadlineSeconds, for example %d", [input.parameters.seconds]),
	"path": place,
	"patch": [{"path": place, "value": input.parameters.seconds}],
} if not has_deadline

has_deadline if is_number(input.object.spec.startingDeadlineSeconds)
