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
#     The syntax is that of label values, not of host names, so underscores, upper case and empty values pass.
#     Labels of pod templates are judged too.
package gatepost.rules.workload_label_values

import data.gatepost.lib.names

violation contains {"message": message(value), "path": array.concat(holder.path, ["metadata", "labels", key])} if {
	some holder in holders
	is_object(holder.labels)
	some key, value in holder.labels
	not names.is_label_value(value)
}

# The object itself, and each of its pod templates.
holders contains {"path": [], "labels": input.object.metadata.labels}

holders contains {"path": template.path, "labels": template.metadata.labels} if {
	some template in input.podTemplates
}

message(value) := "use at most 63 letters, digits, - _ . and begin and end with no sign" if is_string(value)

message(value) := "put the label value in quotes, it must be a string" if not is_string(value)
