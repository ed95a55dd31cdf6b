//go:build race

package tenanttest

// Raced: everything costs ten times as much. What the race detector is to see
// happens in a small tenant as well.
const Raced = true
