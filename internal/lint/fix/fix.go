// Package fix applies the edits of findings to the text of a file. It changes
// the words that an edit names and nothing else: comments, order, quotes and
// line ends stay. Whether the result is right is for the caller to check, by
// linting it.
package fix

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/evenkeel-dev/evenkeel/internal/lint"
)

// Apply returns text with the fixes that could be applied, and how many those
// are. A fix whose place does not read as expected is left out, as is one that
// touches a line that another has changed: a second run finds it again.
func Apply(text []byte, fixes []*lint.Fix) (fixed []byte, applied int) {
	lines := bytes.SplitAfter(text, []byte("\n"))
	before := make(map[int][]string) // inserted lines by the line they precede
	changed := make(map[int]bool)
	for _, f := range fixes {
		next := make(map[int][]byte)
		ok := true
		for _, e := range f.Edits {
			if e.Line < 1 || e.Line > len(lines) || changed[e.Line] {
				ok = false
				break
			}
			if e.Old == "" {
				if slices.Contains(before[e.Line], e.New) {
					ok = false
				}
				continue
			}
			line, err := replace(lines[e.Line-1], e)
			if err != nil {
				ok = false
				break
			}
			next[e.Line] = line
		}
		if !ok {
			continue
		}
		for _, e := range f.Edits {
			if e.Old == "" {
				before[e.Line] = append(before[e.Line], e.New)
			}
		}
		for n, line := range next {
			lines[n-1], changed[n] = line, true
		}
		applied++
	}
	if applied == 0 {
		return text, 0
	}
	end := "\n"
	if bytes.Contains(text, []byte("\r\n")) {
		end = "\r\n"
	}
	var out bytes.Buffer
	for i, line := range lines {
		for _, insert := range before[i+1] {
			out.WriteString(insert + end)
		}
		out.Write(line)
	}
	return out.Bytes(), applied
}

// replace applies one edit to a line.
func replace(line []byte, e lint.Edit) ([]byte, error) {
	s := string(line)
	start := 0
	if e.Column > 0 {
		for range e.Column - 1 {
			if start >= len(s) {
				return nil, fmt.Errorf("line %d ends before column %d", e.Line, e.Column)
			}
			_, size := utf8.DecodeRuneInString(s[start:])
			start += size
		}
		if start < len(s) && (s[start] == '"' || s[start] == '\'') {
			start++
		}
		if !strings.HasPrefix(s[start:], e.Old) {
			return nil, fmt.Errorf("line %d does not read %q at column %d", e.Line, e.Old, e.Column)
		}
	} else {
		if strings.Count(s, e.Old) != 1 {
			return nil, fmt.Errorf("line %d does not hold %q once", e.Line, e.Old)
		}
		start = strings.Index(s, e.Old)
	}
	return []byte(s[:start] + e.New + s[start+len(e.Old):]), nil
}
