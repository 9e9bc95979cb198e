//go:build tools

// Traefik's own program is built; this file only names it, so that go.mod and go.sum hold what it needs.
package tools

import _ "github.com/traefik/traefik/v3/cmd/traefik"
