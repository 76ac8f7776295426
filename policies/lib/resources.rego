# Which containers lack a request or a limit.
package gatepost.lib.resources

# Paths to the missing `resources.limits.<resource>` of every container that may have one.
without_limit(resource) := {array.concat(c.path, ["resources", "limits", resource]) |
	some c in input.containers
	takes_resources(c)
	not has_limit(c, resource)
	not filled_by_limit_range({"default", "max"}, resource)
}

# Paths to the missing `resources.requests.<resource>` of every container that may have one.
# A limit is enough: the API server copies it into the request.
without_request(resource) := {array.concat(c.path, ["resources", "requests", resource]) |
	some c in input.containers
	takes_resources(c)
	not has_request(c, resource)
	not has_limit(c, resource)
	not filled_by_limit_range({"defaultRequest", "default", "max", "min"}, resource)
}

# The API refuses resources on ephemeral containers.
takes_resources(c) if c.list != "ephemeralContainers"

has_limit(c, resource) if is_amount(c.container.resources.limits[resource])

has_limit(c, resource) if is_amount(pod_resources(c).limits[resource])

has_request(c, resource) if is_amount(c.container.resources.requests[resource])

has_request(c, resource) if is_amount(pod_resources(c).requests[resource])

# Requests and limits of the whole Pod, which its containers share.
pod_resources(c) := input.podTemplates[c.template].spec.resources

# A LimitRange of the namespace fills in what containers leave out: `default` for limits, and `defaultRequest` for
# requests; where it lacks these, the API server derives them from the other fields.
filled_by_limit_range(fields, resource) if {
	some limit_range in input.inventory["core/LimitRange"]
	is_array(limit_range.spec.limits)
	some item in limit_range.spec.limits
	item.type == "Container"
	some field in fields
	is_amount(item[field][resource])
}

is_amount(value) if is_number(value)

is_amount(value) if {
	is_string(value)
	value != ""
}
