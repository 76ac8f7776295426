# Asks Gatepost's own rule files about one object, as conftest hands it over: one rule after the other, each only for the
# kinds that its METADATA names.
package main

import data.gatepost.derive
import data.gatepost.rules

# The input is put in place once for all rules: every `with` costs OPA its caches.
deny contains message if {
	some [rule, violation] in violations with input as derived
	message := sprintf("%s: %s (/%s)", [rule, violation.message, concat("/", [sprintf("%v", [key]) | some key in violation.path])])
}

derived := derive.from_file(input)

kind := concat("/", [input.requestKind.group, input.requestKind.kind])

is_workload if count(input.podTemplates) > 0

is_controller if kind in {"apps/Deployment", "apps/ReplicaSet", "apps/DaemonSet", "apps/StatefulSet", "/ReplicationController"}

violations contains ["resource-name", v] if some v in rules.resource_name.violation

violations contains ["container-image-tag", v] if {
	is_workload
	some v in rules.container_image_tag.violation
}

violations contains ["container-memory-request", v] if {
	is_workload
	some v in rules.container_memory_request.violation
}

violations contains ["container-cpu-request", v] if {
	is_workload
	some v in rules.container_cpu_request.violation
}

violations contains ["container-memory-limit", v] if {
	is_workload
	some v in rules.container_memory_limit.violation
}

violations contains ["container-cpu-limit", v] if {
	is_workload
	some v in rules.container_cpu_limit.violation
}

violations contains ["container-liveness-probe", v] if {
	is_workload
	some v in rules.container_liveness_probe.violation
}

violations contains ["container-readiness-probe", v] if {
	is_workload
	some v in rules.container_readiness_probe.violation
}

violations contains ["container-privileged", v] if {
	is_workload
	some v in rules.container_privileged.violation
}

violations contains ["workload-label-values", v] if {
	is_workload
	some v in rules.workload_label_values.violation
}

violations contains ["workload-default-namespace", v] if {
	is_workload
	some v in rules.workload_default_namespace.violation
}

violations contains ["workload-restart-policy", v] if {
	is_controller
	some v in rules.workload_restart_policy.violation
}

violations contains ["deployment-replicas", v] if {
	kind == "apps/Deployment"
	some v in rules.deployment_replicas.violation
}

violations contains ["cronjob-schedule", v] if {
	kind == "batch/CronJob"
	some v in rules.cronjob_schedule.violation
}

violations contains ["cronjob-starting-deadline", v] if {
	kind == "batch/CronJob"
	some v in rules.cronjob_starting_deadline.violation
}

violations contains ["cronjob-concurrency-policy", v] if {
	kind == "batch/CronJob"
	some v in rules.cronjob_concurrency_policy.violation
}

violations contains ["ingress-host-wildcard", v] if {
	kind in {"networking.k8s.io/Ingress", "extensions/Ingress"}
	some v in rules.ingress_host_wildcard.violation
}

violations contains ["service-node-port", v] if {
	kind == "/Service"
	some v in rules.service_node_port.violation
}

violations contains ["hpa-min-replicas", v] if {
	kind == "autoscaling/HorizontalPodAutoscaler"
	some v in rules.hpa_min_replicas.violation
}

violations contains ["deprecated-api-1-16", v] if {
	kind in {
		"apiextensions.k8s.io/CustomResourceDefinition",
		"admissionregistration.k8s.io/MutatingWebhookConfiguration",
		"admissionregistration.k8s.io/ValidatingWebhookConfiguration",
	}
	some v in rules.deprecated_api_1_16.violation
}

violations contains ["deprecated-api-1-17", v] if {
	startswith(kind, "rbac.authorization.k8s.io/")
	some v in rules.deprecated_api_1_17.violation
}
