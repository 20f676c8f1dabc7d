package vector

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/viterin/vek/vek32"
)

// A Graph is an index over the rows of a matrix, in which a search follows links
// from row to row towards what it looks for: a hierarchical navigable small world
// (Malkov and Yashunin, 2016). It finds most of the nearest rows, not all; how many
// is measured against Matrix.Search in the tests.
//
// It is made from a matrix and is never the only copy of anything. Rows are not
// removed from it: a search lets them through as stepping stones and leaves them out
// of its answer. Searches may run side by side, but not beside Add.
type Graph struct {
	matrix *Matrix
	random *rand.Rand

	// base holds the links of all rows on the lowest level, and upper those of the
	// few rows that stand on higher levels, from level 1 up. Each list takes a fixed
	// room: its length, and then the links.
	base  []uint32
	upper map[uint32][]uint32

	entry uint32 // a row on the highest level
	top   int    // the highest level; -1 when there are no rows

	scratch sync.Pool
}

const (
	degree     = 16         // links of a row on upper levels
	baseDegree = 2 * degree // links of a row on the lowest level
	breadth    = 100        // candidates that are looked at to link a new row
)

// NewGraph returns an index over the rows of m that are there now.
func NewGraph(m *Matrix, seed uint64) *Graph {
	g := &Graph{
		matrix: m, random: rand.New(rand.NewPCG(seed, 0)), upper: make(map[uint32][]uint32), top: -1,
		scratch: sync.Pool{New: func() any { return new(scratch) }},
	}
	for g.Len() < m.Len() {
		g.Add()
	}
	return g
}

// Len returns how many rows are indexed.
func (g *Graph) Len() int { return len(g.base) / (baseDegree + 1) }

// Add indexes the next row of the matrix.
func (g *Graph) Add() {
	row := uint32(g.Len())
	level := int(-math.Log(1-g.random.Float64()) / math.Log(degree))
	g.base = append(g.base, make([]uint32, baseDegree+1)...)
	if level > 0 {
		g.upper[row] = make([]uint32, level*(degree+1))
	}
	if g.top < 0 {
		g.entry, g.top = row, level
		return
	}
	s := g.begin()
	defer g.scratch.Put(s)
	q := g.matrix.Row(row)
	near := []Hit{g.descend(q, level)}
	for l := min(level, g.top); l >= 0; l-- {
		near = g.walk(s, q, near, breadth, l, nil)
		links := g.choose(slices.Clone(near), limit(l)/2)
		for _, n := range links {
			g.link(row, n, l)
			g.link(n.Row, Hit{row, n.Cosine}, l)
		}
	}
	if level > g.top {
		g.entry, g.top = row, level
	}
}

// Search returns k rows that keep lets through, the nearest first. A greater effort
// finds more of the nearest ones and takes longer; it is at least k.
func (g *Graph) Search(q []float32, k, effort int, keep func(row uint32) bool) []Hit {
	if g.top < 0 || k <= 0 {
		return nil
	}
	s := g.begin()
	defer g.scratch.Put(s)
	hits := g.walk(s, q, []Hit{g.descend(q, 0)}, max(k, effort), 0, keep)
	return slices.Clone(hits[:min(k, len(hits))])
}

// descend goes down to the level above the given one, always to the nearest row.
func (g *Graph) descend(q []float32, level int) Hit {
	at := Hit{g.entry, vek32.Dot(q, g.matrix.Row(g.entry))}
	for l := g.top; l > level; l-- {
		for better := true; better; {
			better = false
			for _, n := range g.links(at.Row, l) {
				if c := vek32.Dot(q, g.matrix.Row(n)); c > at.Cosine {
					at, better = Hit{n, c}, true
				}
			}
		}
	}
	return at
}

// walk returns the nearest rows of a level that it reaches from the given ones, at
// most as many as wide, the nearest first. They are valid until the next walk.
func (g *Graph) walk(s *scratch, q []float32, from []Hit, wide, level int, keep func(uint32) bool) []Hit {
	s.reset(g.Len())
	for _, h := range from {
		s.visit(h.Row)
		heapPush(&s.open, h, nearer)
		if keep == nil || keep(h.Row) {
			heapPush(&s.found, h, farther)
		}
	}
	for len(s.open) > 0 {
		at := heapPop(&s.open, nearer)
		if len(s.found) >= wide && at.Cosine < s.found[0].Cosine {
			break // nothing that is open can lead to something nearer
		}
		for _, n := range g.links(at.Row, level) {
			if !s.visit(n) {
				continue
			}
			h := Hit{n, vek32.Dot(q, g.matrix.Row(n))}
			if len(s.found) >= wide && h.Cosine <= s.found[0].Cosine {
				continue
			}
			heapPush(&s.open, h, nearer)
			if keep == nil || keep(n) {
				heapPush(&s.found, h, farther)
				if len(s.found) > wide {
					heapPop(&s.found, farther)
				}
			}
		}
	}
	slices.SortFunc(s.found, nearestFirst)
	return s.found
}

// choose picks links from candidates, the nearest first: those that are nearer to
// the row than to any link that is chosen already, so that links lead in different
// directions; what room is left goes to the nearest of the others.
func (g *Graph) choose(candidates []Hit, most int) []Hit {
	if len(candidates) <= most {
		return candidates
	}
	chosen, others := make([]Hit, 0, most), make([]Hit, 0, len(candidates))
	for _, c := range candidates {
		if len(chosen) == most {
			break
		}
		v := g.matrix.Row(c.Row)
		if slices.ContainsFunc(chosen, func(o Hit) bool { return vek32.Dot(v, g.matrix.Row(o.Row)) > c.Cosine }) {
			others = append(others, c)
			continue
		}
		chosen = append(chosen, c)
	}
	return append(chosen, others[:min(len(others), most-len(chosen))]...)
}

// link adds a link; when there is no room, what is chosen stays.
func (g *Graph) link(row uint32, to Hit, level int) {
	list := g.list(row, level)
	n := list[0]
	if int(n) < len(list)-1 {
		list[n+1] = to.Row
		list[0]++
		return
	}
	v := g.matrix.Row(row)
	candidates := []Hit{to}
	for _, l := range list[1:] {
		candidates = append(candidates, Hit{l, vek32.Dot(v, g.matrix.Row(l))})
	}
	slices.SortFunc(candidates, nearestFirst)
	chosen := g.choose(candidates, limit(level))
	for i, c := range chosen {
		list[i+1] = c.Row
	}
	list[0] = uint32(len(chosen))
}

func limit(level int) int {
	if level == 0 {
		return baseDegree
	}
	return degree
}

func (g *Graph) links(row uint32, level int) []uint32 {
	list := g.list(row, level)
	return list[1 : 1+list[0]]
}

func (g *Graph) list(row uint32, level int) []uint32 {
	if level == 0 {
		at := int(row) * (baseDegree + 1)
		return g.base[at : at+baseDegree+1]
	}
	at := (level - 1) * (degree + 1)
	return g.upper[row][at : at+degree+1]
}

// scratch is what one search needs, kept for the next.
type scratch struct {
	seen        []uint32 // the round in which a row was visited last
	round       uint32
	open, found []Hit // heaps, the nearest and the farthest first
}

func (g *Graph) begin() *scratch { return g.scratch.Get().(*scratch) }

func (s *scratch) reset(rows int) {
	s.open, s.found = s.open[:0], s.found[:0]
	if len(s.seen) < rows {
		s.seen = append(s.seen, make([]uint32, rows-len(s.seen))...)
	}
	if s.round++; s.round == 0 { // it has come round: old marks would be mistaken for new
		clear(s.seen)
		s.round = 1
	}
}

// visit reports whether the row had not been visited.
func (s *scratch) visit(row uint32) bool {
	if s.seen[row] == s.round {
		return false
	}
	s.seen[row] = s.round
	return true
}

func nearer(a, b Hit) bool  { return a.Cosine > b.Cosine }
func farther(a, b Hit) bool { return nearestFirst(a, b) > 0 }

// heapPush and heapPop are container/heap without its interface, whose calls took a
// good part of the time.
func heapPush(h *[]Hit, x Hit, before func(a, b Hit) bool) {
	s := append(*h, x)
	i := len(s) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !before(s[i], s[up]) {
			break
		}
		s[i], s[up] = s[up], s[i]
		i = up
	}
	*h = s
}

func heapPop(h *[]Hit, before func(a, b Hit) bool) Hit {
	s := *h
	x := s[0]
	n := len(s) - 1
	s[0] = s[n]
	s = s[:n]
	for i := 0; ; {
		down := 2*i + 1
		if down >= n {
			break
		}
		if down+1 < n && before(s[down+1], s[down]) {
			down++
		}
		if !before(s[down], s[i]) {
			break
		}
		s[i], s[down] = s[down], s[i]
		i = down
	}
	*h = s
	return x
}
