package terraform

import (
	"bytes"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

// The HCL parser recurses on brackets, prefix operators and conditionals without
// a bound of its own, and a Go stack overflow cannot be recovered; its time for
// template directives grows with their square. These bounds are far above any
// file that people write.
const (
	maxDepth        = 500
	maxConditionals = 10_000
	maxDirectives   = 2_000
)

// tooComplex returns why a text must not be given to the parser, "" if it may.
// It does not tell code from strings and comments: no real file comes near.
func tooComplex(text []byte) (pos manifest.Pos, why string) {
	depth, prefixes, line := 0, 0, 1
	for _, c := range text {
		switch c {
		case '\n':
			line++
			continue
		case ' ', '\t', '\r':
			continue
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth = max(depth-1, 0)
		case '-', '!':
			prefixes++
			if prefixes > maxDepth {
				return manifest.Pos{Line: line, Column: 1}, "operators nest too deeply"
			}
			continue
		}
		prefixes = 0
		if depth > maxDepth {
			return manifest.Pos{Line: line, Column: 1}, "brackets nest too deeply"
		}
	}
	switch {
	case bytes.Count(text, []byte("?")) > maxConditionals:
		return manifest.Pos{Line: 1, Column: 1}, "too many conditionals"
	case bytes.Count(text, []byte("%{")) > maxDirectives:
		return manifest.Pos{Line: 1, Column: 1}, "too many template directives"
	}
	return manifest.Pos{}, ""
}
