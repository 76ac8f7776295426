# METADATA
# title: Object has a valid name
# description: >-
#   The API server refuses an object without a name, or with one that breaks the syntax. In a file, this rule finds
#   it before the rollout does.
# related_resources:
# - https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
# custom:
#   id: resource-name
#   aliases: [RESOURCE_MISSING_NAME]
#   severity: high
#   category: other
#   impact: The object cannot be created, and the rollout stops there.
#   effort: easy
#   kinds: ["*"]
#   fix: >-
#     Set metadata.name to lower-case letters, digits, hyphens and dots, with a letter or digit at both ends and
#     around each dot.
#   mend:
#   - {quote: true}
#   byHand: Only numbers, true and false are; another name must be thought of.
#   differs: >-
#     generateName may end in a hyphen, as it usually does. Names of RBAC objects, APIServices and trust bundles may
#     be any path segment. Kinds that have no names (kustomizations, configuration files, lists, access reviews) pass.
package gatepost.rules.resource_name

import data.gatepost.lib.names

violation contains {"message": "set metadata.name", "path": ["metadata", "name"]} if {
	not has_plain_name
	is_named_kind
	not has_name
	not has_prefix
}

violation contains {"message": message, "path": ["metadata", "name"]} if {
	not has_plain_name
	is_named_kind
	has_name
	not is_valid(name)
}

violation contains {"message": message, "path": ["metadata", "generateName"]} if {
	not has_plain_name
	is_named_kind
	not has_name
	has_prefix
	not is_valid_prefix(prefix)
}

# Almost every object has one, and nothing more is asked of it.
has_plain_name if names.is_subdomain(input.object.metadata.name)

default message := "use at most 253 lower-case letters, digits, - and . in the name"

message := "put the name in quotes, it must be a string" if {
	has_name
	not is_string(name)
}

default name := ""

name := input.object.metadata.name

default prefix := ""

prefix := input.object.metadata.generateName

has_name if not name in {"", null}

has_prefix if not prefix in {"", null}

is_valid(text) if names.is_subdomain(text)

is_valid(text) if {
	takes_any_name
	names.is_path_segment(text)
}

is_valid_prefix(text) if names.is_subdomain_prefix(text)

is_valid_prefix(text) if {
	takes_any_name
	names.is_path_segment(text)
}

# Built-in kinds and APIs of OpenShift whose names may hold colons, as in system:node and app:v1.
takes_any_name if {
	input.requestKind.group in {
		"rbac.authorization.k8s.io",
		"authorization.openshift.io",
		"image.openshift.io",
		"oauth.openshift.io",
		"user.openshift.io",
	}
}

takes_any_name if {
	input.requestKind.group == "networking.k8s.io"
	input.requestKind.kind == "IPAddress"
}

# The name of an APIService is `version.group`, and the core group is empty.
takes_any_name if {
	input.requestKind.group == "apiregistration.k8s.io"
	input.requestKind.kind == "APIService"
}

# The name of a bundle begins with its signer, as in example.com:shop:v1.
takes_any_name if {
	input.requestKind.group == "certificates.k8s.io"
	input.requestKind.kind == "ClusterTrustBundle"
}

is_named_kind if not is_nameless

# Configuration and test files of tools, and requests that are answered but never stored.
is_nameless if {
	input.requestKind.group in {
		"admission.k8s.io",
		"audit.k8s.io",
		"authentication.k8s.io",
		"authorization.k8s.io",
		"client.authentication.k8s.io",
		"imagepolicy.k8s.io",
		"kind.x-k8s.io",
		"kubeadm.k8s.io",
		"kuttl.dev",
		"test.gatekeeper.sh",
	}
}

is_nameless if input.requestKind.kind == "ConversionReview"

# What the API server answers about itself.
is_nameless if {
	input.requestKind.group == ""
	input.requestKind.kind in {"APIGroup", "APIGroupList", "APIResourceList", "APIVersions", "Status"}
}

is_nameless if endswith(input.requestKind.group, ".config.k8s.io")

# A list of objects, each of which is judged by itself.
is_nameless if {
	endswith(input.requestKind.kind, "List")
	is_array(input.object.items)
}
