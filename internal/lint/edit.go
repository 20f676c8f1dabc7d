package lint

import (
	"strconv"
	"strings"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

// insertBefore returns a fix that adds a line, indented like the value at pos,
// before it.
func insertBefore(pos manifest.Pos, text string) *Fix {
	if pos.Line == 0 {
		return nil
	}
	return &Fix{
		Description: "add " + text,
		Edits:       []Edit{{Line: pos.Line, New: strings.Repeat(" ", pos.Column-1) + text}},
	}
}

// replaceAt returns a fix that replaces the value at pos.
func replaceAt(pos manifest.Pos, old, text string) *Fix {
	if pos.Line == 0 {
		return nil
	}
	return &Fix{
		Description: "write " + text + " for " + old,
		Edits:       []Edit{{Line: pos.Line, Column: pos.Column, Old: old, New: text}},
	}
}

func seconds(n int) string { return strconv.Itoa(n) + " s" }
