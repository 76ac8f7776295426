# METADATA
# title: API version was not given up in Kubernetes 1.16
# description: >-
#   With 1.16, CustomResourceDefinitions and webhook configurations got their v1, and v1beta1 was on its way out. A
#   cluster of today does not know the old version.
# related_resources:
# - https://kubernetes.io/docs/reference/using-api/deprecation-guide/
# custom:
#   id: deprecated-api-1-16
#   aliases: [K8S_DEPRECATED_APIVERSION_1.16]
#   severity: high
#   category: deprecation
#   impact: The object cannot be created in a cluster of 1.22 or later.
#   effort: easy
#   kinds:
#   - apiextensions.k8s.io/CustomResourceDefinition
#   - admissionregistration.k8s.io/MutatingWebhookConfiguration
#   - admissionregistration.k8s.io/ValidatingWebhookConfiguration
#   fix: >-
#     Write the apiVersion that the message names, and move the fields that changed as the deprecation guide says.
#   byHand: >-
#     The v1 of these kinds has required fields that v1beta1 lacks: schemas of versions, sideEffects,
#     admissionReviewVersions.
#   differs: >-
#     What counts is the version that the client sent: the API server may convert the object before it is judged.
#     Where the release of Kubernetes is known, an API version that it still serves does not fail: it is skipped with
#     the reason if it is deprecated there.
package gatepost.rules.deprecated_api_1_16

import data.gatepost.lib.deprecations

violation contains {"message": message, "path": ["apiVersion"]} if {
	message := deprecations.advice("1.16", input.requestKind)
}

skip contains {"message": message, "path": ["apiVersion"]} if {
	message := deprecations.notice("1.16", input.requestKind)
}
