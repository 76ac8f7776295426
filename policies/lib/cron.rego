# The schedules that the API server accepts: those of github.com/robfig/cron, which it uses to parse them.
# Only a column of nothing but commas, which it accepts and never runs, is refused here.
package gatepost.lib.cron

is_schedule(text) if text in {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}

# `@every` takes a duration as Go writes it: 90m, 1h30m, 1.5h.
is_schedule(text) if {
	startswith(text, "@every ")
	duration := substring(text, 7, -1)
	regex.match(`^[-+]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|\x{b5}s|\x{3bc}s|ms|s|m|h))+)$`, duration)
}

is_schedule(text) if {
	not startswith(text, "@")
	columns := regex.split(`\s+`, trim_space(text))
	count(columns) == 5
	not has_bad_column(columns)
}

has_bad_column(columns) if {
	some i, column in columns
	not is_column(column, bounds[i])
}

# A column is a list of ranges.
is_column(column, bound) if {
	ranges := [range | some range in split(column, ","); range != ""]
	count(ranges) > 0
	not has_bad_range(ranges, bound)
}

has_bad_range(ranges, bound) if {
	some range in ranges
	not is_range(range, bound)
}

# A range is `*`, `?`, one value, or `low-high`; a step may follow after a `/`.
is_range(range, bound) if {
	parts := split(range, "/")
	has_step(parts)
	has_ends(split(parts[0], "-"), bound)
}

has_step(parts) if count(parts) == 1

has_step(parts) if {
	count(parts) == 2
	number(parts[1]) > 0
}

# What follows a star is not read.
has_ends(ends, _) if ends[0] in {"*", "?"}

has_ends(ends, bound) if {
	count(ends) == 1
	is_within(value(ends[0], bound), bound)
}

has_ends(ends, bound) if {
	count(ends) == 2
	low := value(ends[0], bound)
	high := value(ends[1], bound)
	low <= high
	is_within(low, bound)
	is_within(high, bound)
}

is_within(n, bound) if {
	n >= bound.min
	n <= bound.max
}

value(text, bound) := bound.names[lower(text)]

value(text, _) := number(text)

number(text) := 0 if regex.match(`^\+?0+$`, text)

number(text) := to_number(trim_left(text, "+0")) if regex.match(`^\+?0*[1-9][0-9]{0,8}$`, text)

# Minute, hour, day of the month, month, day of the week.
bounds := [
	{"min": 0, "max": 59, "names": {}},
	{"min": 0, "max": 23, "names": {}},
	{"min": 1, "max": 31, "names": {}},
	{"min": 1, "max": 12, "names": months},
	{"min": 0, "max": 6, "names": days},
]

months := {
	"jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6,
	"jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12,
}

days := {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
