"""The same rules for both: Gatepost's own by their names, and Gatekeeper's constraints that ask the same."""

import json

OWNER = """# METADATA
# title: Owner
# description: Everything names who owns it.
# custom:
#   id: label-owner
#   severity: low
#   category: own
#   impact: Nobody knows whom to ask.
#   effort: easy
#   kinds: [core/ConfigMap, bench.gatepost.dev/Widget]
#   fix: Add the label owner.
package own.label_owner

violation contains {"message": "add the label owner", "path": ["metadata", "labels", "owner"]} if {
	not input.object.metadata.labels.owner
}
"""

POD = """package bench
pod := input.review.object.spec { input.review.object.kind == "Pod" }
pod := input.review.object.spec.template.spec { input.review.object.kind == "Deployment" }
containers[c] { c := pod.containers[_] }
containers[c] { c := pod.initContainers[_] }
"""
WORKLOADS = [{"apiGroups": [""], "kinds": ["Pod"]}, {"apiGroups": ["apps"], "kinds": ["Deployment"]}]


def missing(field):
    """Returns a rule that finds containers without a field."""
    return POD + f"""
violation[{{"msg": msg}}] {{ c := containers[_]; not c.{field}; msg := sprintf("%v: set {field}", [c.name]) }}
"""


# By Gatepost's rule: what Gatekeeper asks, and of which kinds.
RULES = {
    "container-image-tag": (POD + """
fixed(c) { contains(c.image, "@") }
fixed(c) { re_match(":[^/]+$", c.image); not endswith(c.image, ":latest") }
violation[{"msg": msg}] { c := containers[_]; c.image; not fixed(c); msg := sprintf("%v: write a fixed tag", [c.name]) }
""", WORKLOADS),
    "container-memory-request": (missing("resources.requests.memory"), WORKLOADS),
    "container-cpu-request": (missing("resources.requests.cpu"), WORKLOADS),
    "container-memory-limit": (missing("resources.limits.memory"), WORKLOADS),
    "container-cpu-limit": (missing("resources.limits.cpu"), WORKLOADS),
    "container-liveness-probe": (missing("livenessProbe"), WORKLOADS),
    "container-readiness-probe": (missing("readinessProbe"), WORKLOADS),
    "container-privileged": (POD + """
violation[{"msg": msg}] { c := containers[_]; c.securityContext.privileged; msg := sprintf("%v: not privileged", [c.name]) }
""", WORKLOADS),
    "workload-default-namespace": (POD + """
violation[{"msg": "name a namespace"}] { input.review.object.metadata.namespace == "default" }
""", WORKLOADS),
    "deployment-replicas": ("""package bench
violation[{"msg": "two replicas"}] { input.review.object.spec.replicas < 2 }
""", WORKLOADS[1:]),
    "label-owner": ("""package bench
violation[{"msg": "add the label owner"}] { not input.review.object.metadata.labels.owner }
""", [{"apiGroups": [""], "kinds": ["ConfigMap"]}, {"apiGroups": ["bench.gatepost.dev"], "kinds": ["Widget"]}]),
}


def kind(rule):
    return "Bench" + "".join(part.capitalize() for part in rule.split("-"))


def templates():
    """Returns Gatekeeper's templates."""
    def template(rule, rego):
        target = {"target": "admission.k8s.gatekeeper.sh", "rego": rego}
        return {
            "apiVersion": "templates.gatekeeper.sh/v1", "kind": "ConstraintTemplate", "metadata": {"name": kind(rule).lower()},
            "spec": {"crd": {"spec": {"names": {"kind": kind(rule)}}}, "targets": [target]},
        }
    return [template(rule, rego) for rule, (rego, _) in RULES.items()]


def constraints():
    """Returns Gatekeeper's constraints; they judge the namespaces that were filled."""
    return [
        {
            "apiVersion": "constraints.gatekeeper.sh/v1beta1", "kind": kind(rule), "metadata": {"name": "bench"},
            "spec": {"enforcementAction": "dryrun", "match": {"kinds": kinds, "namespaces": ["team-*"]}},
        }
        for rule, (_, kinds) in RULES.items()
    ]


def write_policies(directory):
    """Writes Gatepost's policy `bench`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "label-owner.rego").write_text(OWNER)
    rules = [{"id": rule} for rule in RULES]
    policy = {"apiVersion": "gatepost.dev/v1alpha1", "kind": "Policy", "metadata": {"name": "bench"}, "spec": {"rules": rules}}
    (directory / "bench.yaml").write_text(json.dumps(policy))
