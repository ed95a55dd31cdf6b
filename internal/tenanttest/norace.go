//go:build !race

package tenanttest

// Raced tells that the race detector watches.
const Raced = false
