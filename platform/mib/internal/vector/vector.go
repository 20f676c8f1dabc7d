// Package vector finds the vectors that are nearest to a given one, by cosine:
// exactly, by looking at all of them (Matrix), or by a graph (Graph) when there are
// too many for that. All vectors are of length 1, or zero.
package vector

import (
	"cmp"
	"slices"

	"github.com/viterin/vek/vek32"
)

// A Hit is a row and its cosine with what was looked for.
type Hit struct {
	Row    uint32
	Cosine float32
}

// A Matrix holds vectors one after the other in one block of memory, so that a
// scan reads it straight through and the dot product can take eight at a time.
type Matrix struct {
	dim    int
	values []float32
}

// NewMatrix returns an empty matrix of rows of dim.
func NewMatrix(dim int) *Matrix { return &Matrix{dim: dim} }

// Len returns the number of rows.
func (m *Matrix) Len() int { return len(m.values) / m.dim }

// Dim returns the length of rows.
func (m *Matrix) Dim() int { return m.dim }

// Add appends a row and returns its number. It panics if v has another length.
func (m *Matrix) Add(v []float32) uint32 {
	if len(v) != m.dim {
		panic("vector: a row of another length")
	}
	m.values = append(m.values, v...)
	return uint32(m.Len() - 1)
}

// Row returns a row, which must not be changed.
func (m *Matrix) Row(i uint32) []float32 {
	at := int(i) * m.dim
	return m.values[at : at+m.dim : at+m.dim]
}

// Search returns the k nearest rows that keep lets through, the nearest first;
// among equals the smallest number. It looks at every row.
func (m *Matrix) Search(q []float32, k int, keep func(row uint32) bool) []Hit {
	if k <= 0 {
		return nil
	}
	top := make([]Hit, 0, k+1)
	for i := range uint32(m.Len()) {
		c := vek32.Dot(q, m.Row(i))
		if len(top) == k && c <= top[0].Cosine || keep != nil && !keep(i) {
			continue
		}
		heapPush(&top, Hit{i, c}, farther)
		if len(top) > k {
			heapPop(&top, farther)
		}
	}
	slices.SortFunc(top, nearestFirst)
	return top
}

func nearestFirst(a, b Hit) int {
	return cmp.Or(cmp.Compare(b.Cosine, a.Cosine), cmp.Compare(a.Row, b.Row))
}
