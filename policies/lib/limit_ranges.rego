# What a LimitRange of the namespace fills in where containers leave it out.
package gatepost.lib.limit_ranges

# Whether one of the fields gives this resource: `default` for limits, and `defaultRequest` for requests; where a
# LimitRange lacks these, the API server derives them from the other fields.
fill(fields, resource) if {
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
