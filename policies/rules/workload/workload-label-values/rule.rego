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
#   mend:
#   - {quote: true}
#   byHand: Only numbers, true and false are; another value must be thought of.
#   differs: >-
#     The syntax is that of label values, not of host names, so underscores, upper case and empty values pass, and
#     so does null, which the API server reads as empty.
#     Labels of pod templates are judged too.
package gatepost.rules.workload_label_values

import data.gatepost.lib.names

violation contains {"message": message(value), "path": ["metadata", "labels", key]} if {
	not are_all_right
	some key, value in own_labels
	value != null
	not names.is_label_value(value)
}

violation contains {"message": message(value), "path": array.concat(template.path, ["metadata", "labels", key])} if {
	not are_all_right
	some template in input.podTemplates
	labels := template.metadata.labels
	is_object(labels)
	some key, value in labels
	value != null
	not names.is_label_value(value)
}

# Almost always they are, and one look at all of them costs less than one at each.
are_all_right if names.are_label_values(array.concat([value | some value in own_labels], [value |
	some template in input.podTemplates
	labels := template.metadata.labels
	is_object(labels)
	some value in labels
]))

own_labels := input.object.metadata.labels if is_object(input.object.metadata.labels)

message(value) := "use at most 63 letters, digits, - _ . and begin and end with no sign" if is_string(value)

message(value) := "put the label value in quotes, it must be a string" if not is_string(value)
