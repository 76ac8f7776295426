# METADATA
# title: Label values are valid
# description: >-
#   The API server refuses an object with a label value that breaks the syntax. In a file, this rule finds it before
#   the rollout does.
# related_resources:
# - https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
# custom:
#   id: workload-label-values
#   aliases: [WORKLOAD_INVALID_LABELS_VALUE]
#   severity: high
#   category: workload
#   impact: The workload cannot be created or changed, and the rollout stops there.
#   effort: easy
#   kinds: [workloads]
#   fix: >-
#     Use at most 63 letters, digits, hyphens, underscores and dots, with a letter or digit at both ends; put
#     numbers and booleans in quotes.
#   differs: >-
#     The syntax is that of label values, not of host names, so underscores, upper case and empty values pass, and
#     so does null, which the API server reads as empty.
#     Labels of pod templates are judged too.
package gatepost.rules.workload_label_values

import data.gatepost.lib.names

violation contains {"message": message(value), "path": ["metadata", "labels", key]} if {
	labels := input.object.metadata.labels
	is_object(labels)
	some key, value in labels
	value != null
	not names.is_label_value(value)
}

violation contains {"message": message(value), "path": array.concat(template.path, ["metadata", "labels", key])} if {
	some template in input.podTemplates
	labels := template.metadata.labels
	is_object(labels)
	some key, value in labels
	value != null
	not names.is_label_value(value)
}

message(value) := "use at most 63 letters, digits, - _ . and begin and end with no sign" if is_string(value)

message(value) := "put the label value in quotes, it must be a string" if not is_string(value)
