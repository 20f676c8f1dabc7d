package spec

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Position is a place in a file; lines and columns count from 1.
type Position struct {
	File   string
	Line   int
	Column int
}

// String returns the position as editors and compilers write it.
func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// A Problem is one thing that is wrong with a platform file, and what to write
// instead.
type Problem struct {
	Position
	Path string // of the field, for example services[1].drain.grace; empty for the whole file
	Text string // what is wrong
	Fix  string // what to do about it
}

// String returns the problem on one line.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Position.String())
	b.WriteString(": ")
	if p.Path != "" {
		b.WriteString(p.Path)
		b.WriteString(": ")
	}
	b.WriteString(p.Text)
	if p.Fix != "" {
		b.WriteString("; ")
		b.WriteString(p.Fix)
	}
	return b.String()
}

// Problems is the error that Parse returns: everything that is wrong with the
// file, in the order of the file.
type Problems []Problem

// Error returns one line per problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// sorted returns the problems in the order of the file. A part that aliases use
// several times is wrong once.
func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.CompactFunc(ps, func(a, b Problem) bool { return a.Position == b.Position && a.Text == b.Text })
}

// maxProblems bounds what one file can be told: past it nobody reads on, and a
// hostile file must not make the answer larger than itself.
const maxProblems = 50

// reporter collects problems by the path of the field that they concern.
type reporter struct {
	file     string
	at       map[string]Position // path -> where its value stands
	problems Problems
}

func (r *reporter) full() bool { return len(r.problems) >= maxProblems }

func (r *reporter) add(at Position, path, fix, format string, args ...any) {
	if !r.full() {
		r.problems = append(r.problems, Problem{Position: at, Path: path, Text: fmt.Sprintf(format, args...), Fix: fix})
	}
}

// report adds a problem with the field at path, or with the nearest part of the
// file that encloses it when the field itself was left out.
func (r *reporter) report(path, fix, format string, args ...any) {
	r.add(r.position(path), path, fix, format, args...)
}

func (r *reporter) position(path string) Position {
	for p := path; ; {
		if at, ok := r.at[p]; ok {
			return at
		}
		i := strings.LastIndexAny(p, ".[")
		if i < 0 {
			break
		}
		p = p[:i]
	}
	if at, ok := r.at[""]; ok {
		return at
	}
	return Position{File: r.file, Line: 1, Column: 1}
}

// nearest returns the candidate that a misspelt word most probably meant, or
// "" if none is close.
func nearest(word string, candidates []string) string {
	best, bestDistance := "", 1+len(word)/3
	for _, c := range candidates {
		if strings.EqualFold(c, word) {
			return c
		}
		if d := editDistance(strings.ToLower(word), strings.ToLower(c)); d <= bestDistance && (best == "" || d < bestDistance) {
			best, bestDistance = c, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions and replacements between two
// words. Words longer than any field name are simply far apart: the cost is
// quadratic and the word is the user's.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
