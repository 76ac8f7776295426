# The syntax that Kubernetes asks of names and label values.
package gatepost.lib.names

# Letters, digits, `-`, `_` and `.`, with a letter or digit at both ends; or nothing.
is_label_value(value) if {
	count(value) <= 63
	regex.match(`^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`, value)
}

# Whether all of them are, by one match: true only for texts without line breaks.
are_label_values(values) if {
	max([count(value) | some value in values]) <= 63
	joined := concat("\n", values)
	count(split(joined, "\n")) == count(values)
	regex.match(`^(([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?\n)*([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`, joined)
}

# A DNS subdomain of RFC 1123.
is_subdomain(name) if {
	count(name) <= 253
	regex.match(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`, name)
}

# What generateName may be: the API server appends letters and digits, so it may end in hyphens.
is_subdomain_prefix(prefix) if is_subdomain(prefix)

is_subdomain_prefix(prefix) if {
	is_string(prefix)
	count(prefix) > 1
	endswith(prefix, "-")
	is_subdomain(concat("", [substring(prefix, 0, count(prefix) - 2), "a"]))
}

# Anything that can be one segment of a URL's path.
is_path_segment(name) if {
	is_string(name)
	not name in {"", ".", ".."}
	not regex.match(`[/%]`, name)
}
