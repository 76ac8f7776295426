# METADATA
# title: CronJob has a schedule that Kubernetes accepts
# description: >-
#   The API server refuses a schedule that it cannot parse. In a file, this rule finds it before the rollout does.
# related_resources:
# - https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/
# custom:
#   id: cronjob-schedule
#   aliases: [CRONJOB_INVALID_SCHEDULE_VALUE]
#   severity: high
#   category: cronjob
#   impact: The CronJob cannot be created or changed, and the rollout stops there.
#   effort: easy
#   kinds: [batch/CronJob]
#   fix: >-
#     Write minute, hour, day of the month, month and day of the week, for example 0 3 * * 1-5, or a name such as
#     @daily.
#   byHand: When it is meant to run stands nowhere in the object.
#   differs: >-
#     The grammar is that of the API server: names of days and months in any case, lists, ranges, steps, @every with
#     a duration, @midnight. It refuses 7 as a day of the week, @reboot, and a time zone inside the schedule; so
#     does this rule. spec.timeZone must have the shape of an IANA name.
package gatepost.rules.cronjob_schedule

import data.gatepost.lib.cron

default schedule := ""

schedule := input.object.spec.schedule

violation contains {"message": message, "path": ["spec", "schedule"]} if not is_accepted

violation contains {"message": "write an IANA time zone, for example Europe/Berlin", "path": ["spec", "timeZone"]} if {
	zone := input.object.spec.timeZone
	zone != null
	not is_zone(zone)
}

is_accepted if {
	is_string(schedule)
	not contains(schedule, "TZ")
	cron.is_schedule(schedule)
}

# The shape of a name in the IANA database; `Local` would be the time zone of the controller.
is_zone(zone) if {
	is_string(zone)
	lower(zone) != "local"
	regex.match(`^[A-Za-z._0-9+][A-Za-z._0-9+-]{0,13}(/[A-Za-z._0-9+][A-Za-z._0-9+-]{0,13})*$`, zone)
	not regex.match(`(^|/)\.\.?(/|$)`, zone)
}

message := "put the time zone into spec.timeZone, Kubernetes refuses TZ here" if {
	is_string(schedule)
	contains(schedule, "TZ")
} else := "write sun or 0 for Sunday, Kubernetes refuses 7" if {
	is_string(schedule)
	regex.match(`\s([^\s]*[,-])?7([,/-][^\s]*)?\s*$`, schedule)
} else := "write a schedule that Kubernetes can parse, for example 0 3 * * 1-5"
