//go:build tools

// Package gatekeeper names the version of Gatekeeper that audits are compared with.
package gatekeeper

import _ "github.com/open-policy-agent/gatekeeper/v3"
