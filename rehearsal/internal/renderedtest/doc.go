// Package renderedtest holds one test: what `evenkeel render` makes of the
// reference platform is accepted by a real API server, strictly, and `evenkeel
// diff` then finds nothing.
package renderedtest
