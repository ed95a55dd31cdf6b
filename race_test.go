//go:build race

package main

// raced: everything costs ten times as much. What the race detector is to see
// happens in a small tenant as well.
const raced = true
