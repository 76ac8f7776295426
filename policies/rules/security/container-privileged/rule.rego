# METADATA
# title: Container is not privileged
# description: >-
#   A privileged container has every capability and every device of its node. Whoever breaks into it owns the node,
#   and with it the other Pods there.
# related_resources:
# - https://kubernetes.io/docs/concepts/security/pod-security-standards/
# custom:
#   id: container-privileged
#   aliases: [CONTAINERS_INCORRECT_PRIVILEGED_VALUE_TRUE]
#   severity: critical
#   category: security
#   impact: A break-in into this container is a break-in into the node.
#   effort: easy
#   kinds: [workloads]
#   fix: Take out securityContext.privileged, and add only the capabilities that the process needs.
#   mend:
#   - {set: false}
#   differs: Datree's looks at containers only; this rule looks at init and ephemeral containers too.
package gatepost.rules.container_privileged

violation contains {"message": "set securityContext.privileged to false", "path": path} if {
	some c in input.containers
	c.container.securityContext.privileged in {true, "true"}
	path := array.concat(c.path, ["securityContext", "privileged"])
}
