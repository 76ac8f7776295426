# METADATA
# title: Image has a fixed tag or a digest
# description: >-
#   A tag such as latest, or none, means another image after each push. A digest or a tag that names a version says
#   what runs, and what to go back to.
# related_resources:
# - https://kubernetes.io/docs/concepts/containers/images/
# custom:
#   id: container-image-tag
#   aliases: [CONTAINERS_MISSING_IMAGE_VALUE_VERSION]
#   severity: high
#   category: workload
#   impact: Two Pods of one workload may run different code, and a rollback brings back nothing known.
#   effort: easy
#   kinds: [workloads]
#   fix: Write a tag that names a version, or a digest, after the image name.
#   byHand: Which version is meant to run stands nowhere in the object.
#   differs: >-
#     Datree's looks at containers only; this rule looks at init and ephemeral containers too. It reads the tag by
#     the grammar of image references, so the port of a registry is not taken for a tag, and latest counts in any
#     case.
package gatepost.rules.container_image_tag

violation contains {"message": message(c.image), "path": array.concat(c.path, ["image"])} if {
	some c in input.containers
	c.image
	not is_fixed(c.image)
}

is_fixed(image) if image.digest

is_fixed(image) if lower(image.tag) != "latest"

message(image) := "write a fixed tag, for example nginx:1.27.3" if image.valid

message(image) := "write a valid image reference, for example nginx:1.27.3" if not image.valid
