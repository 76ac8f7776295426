# Which containers lack a probe.
package gatepost.lib.probes

# Paths to the missing probe of every container that serves for as long as its Pod lives.
without(probe) := {array.concat(c.path, [probe]) |
	some c in input.containers
	takes_probes(c)
	not input.podTemplates[c.template].runsToCompletion
	not has_probe(c, probe)
}

# The API accepts probes on containers and on sidecars, that is init containers which restart always.
takes_probes(c) if c.list == "containers"

takes_probes(c) if c.sidecar

has_probe(c, probe) if {
	is_object(c.container[probe])
	count(c.container[probe]) > 0
}
