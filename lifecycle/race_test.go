//go:build race

package lifecycle_test

// The race detector makes sync.Pool drop items at random.
const raceEnabled = true
