# METADATA
# title: Ingress names its hosts
# description: >-
#   A rule whose host is a bare star asks for the requests of every host name. It can take traffic that is meant for
#   other applications.
# related_resources:
# - https://kubernetes.io/docs/concepts/services-networking/ingress/
# custom:
#   id: ingress-host-wildcard
#   aliases: [INGRESS_INCORRECT_HOST_VALUE_PERMISSIVE]
#   severity: medium
#   category: networking
#   impact: Requests for other applications may reach this one, and the other way round.
#   effort: medium
#   kinds: [networking.k8s.io/Ingress, extensions/Ingress]
#   fix: Write the host name that the application serves, for example shop.example.com.
#   mend:
#   - {set: shop.example.com, choose: the host name that it serves}
package gatepost.rules.ingress_host_wildcard

violation contains {"message": "name the host, for example shop.example.com", "path": ["spec", "rules", i, "host"]} if {
	some i
	input.object.spec.rules[i].host == "*"
}
