# METADATA
# title: Service opens no port on the nodes
# description: >-
#   A Service of type NodePort opens a port on every node of the cluster. Traffic that comes in there passes by the
#   ingress, its TLS and its access rules.
# related_resources:
# - https://kubernetes.io/docs/concepts/services-networking/service/
# custom:
#   id: service-node-port
#   aliases: [SERVICE_INCORRECT_TYPE_VALUE_NODEPORT]
#   severity: medium
#   category: networking
#   impact: Whoever reaches a node reaches the application, around the ingress.
#   effort: easy
#   kinds: [core/Service]
#   fix: Use type ClusterIP behind an Ingress or a Gateway, or type LoadBalancer.
#   mend:
#   - {set: ClusterIP, choose: "ClusterIP, or LoadBalancer"}
#   - {at: 1/ports/*/nodePort, remove: true}
#   - {at: 1/externalTrafficPolicy, remove: true}
package gatepost.rules.service_node_port

violation contains {"message": "use type ClusterIP behind an Ingress, or LoadBalancer", "path": ["spec", "type"]} if {
	input.object.spec.type == "NodePort"
}
