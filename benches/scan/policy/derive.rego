# What Gatepost works out of an object before its rules see it, in Rego: for tools that know the bare object only.
# Objects of custom kinds are left out: they would need a walk through each of them.
package gatepost.derive

# The input of Gatepost's rules for an object that stands in a file.
from_file(object) := derived(object, "files", null, namespace_of(object))

# The input of Gatepost's rules for an AdmissionRequest.
from_request(request) := object.union(derived(request.object, "admission", request.userInfo, request.namespace), {
	"oldObject": request.oldObject,
	"operation": request.operation,
	"requestKind": request.requestKind,
})

derived(object, origin, user, namespace) := {
	"object": object,
	"oldObject": null,
	"operation": "CREATE",
	"userInfo": user,
	"requestKind": kind_of(object),
	"origin": origin,
	"namespace": {"name": namespace, "labels": {}, "annotations": {}},
	"parameters": {},
	"podTemplates": templates,
	"containers": containers(templates),
	"inventory": {},
} if {
	templates := pod_templates(object)
}

namespace_of(object) := object.metadata.namespace

namespace_of(object) := "default" if not object.metadata.namespace

kind_of(object) := {"group": parts[0], "version": parts[1], "kind": object.kind} if {
	parts := split(object.apiVersion, "/")
	count(parts) == 2
}

kind_of(object) := {"group": "", "version": object.apiVersion, "kind": object.kind} if {
	not contains(object.apiVersion, "/")
}

pod_templates(object) := [template([], object, object.kind)] if object.kind == "Pod"

pod_templates(object) := [template(["spec", "template"], object.spec.template, object.kind)] if {
	object.kind in {"Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "ReplicationController", "Job"}
}

pod_templates(o) := [template(["spec", "jobTemplate", "spec", "template"], o.spec.jobTemplate.spec.template, o.kind)] if {
	o.kind == "CronJob"
}

pod_templates(object) := [] if not is_workload(object)

is_workload(object) if {
	object.kind in {
		"Pod", "Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "ReplicationController", "Job", "CronJob",
	}
}

template(path, value, kind) := object.union(
	{"path": path, "runsToCompletion": ends(value, kind)},
	object.filter(value, {"metadata", "spec"}),
)

ends(_, kind) if kind in {"Job", "CronJob"}

ends(value, kind) := value.spec.restartPolicy in {"Never", "OnFailure"} if not kind in {"Job", "CronJob"}

ends(value, kind) := false if {
	not kind in {"Job", "CronJob"}
	not value.spec.restartPolicy
}

containers(templates) := [entry |
	some t, found in templates
	some list in ["containers", "initContainers", "ephemeralContainers"]
	some i, container in found.spec[list]
	sidecar := is_sidecar(list, container)
	limits := amounts("limits", found.spec, container)
	base := {
		"list": list,
		"path": array.concat(found.path, ["spec", list, i]),
		"template": t,
		"sidecar": sidecar,
		"container": container,
		"takesResources": list != "ephemeralContainers",
		"limits": limits,
		"requests": object.union(limits, amounts("requests", found.spec, container)),
		"takesProbes": takes_probes(list, sidecar, found.runsToCompletion),
		"probes": {name: probe |
			some name in ["livenessProbe", "readinessProbe", "startupProbe"]
			probe := container[name]
			count(probe) > 0
		},
	}
	entry := object.union(object.union(base, object.filter(container, {"name"})), image_of(container))
]

# What holds for a container: its own, and those of the whole Pod.
amounts(key, spec, container) := object.union(
	object.get(spec, ["resources", key], {}),
	object.get(container, ["resources", key], {}),
)

takes_probes("containers", _, runs_to_completion) := runs_to_completion == false

takes_probes("initContainers", sidecar, false) := sidecar

takes_probes("initContainers", _, true) := false

takes_probes("ephemeralContainers", _, _) := false

is_sidecar(list, container) := true if {
	list == "initContainers"
	container.restartPolicy == "Always"
} else := false

image_of(container) := {} if not container.image

image_of(container) := {"image": object.union({"given": container.image, "valid": true}, parts)} if {
	parts := reference(container.image)
} else := {"image": {"given": container.image, "valid": false}} if container.image

# The reference grammar in one expression: registry, repository, tag, digest. An expression is faster here than steps.
reference(text) := {name: value |
	some i, name in ["registry", "repository", "tag", "digest"]
	value := found[0][i + 1]
	value != ""
} if {
	found := regex.find_all_string_submatch_n(pattern, text, 1)
	count(found) == 1
}

pattern := concat("", [
	`^(?:((?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*:[0-9]+)|localhost|(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+))/)?`,
	`([a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)`,
	`(?::([A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?`,
	`(?:@([A-Za-z][A-Za-z0-9]*(?:[+._-][A-Za-z][A-Za-z0-9]*)*:[0-9A-Fa-f]{32,}))?$`,
])
