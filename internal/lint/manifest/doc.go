// Package manifest reads Kubernetes documents into a small typed model in
// which every value that a lint rule may point at knows its line and column.
//
// It decides what a document is (a whole object, a list of them, a patch, or
// none of our business) and it bounds what a document may cost: its size, its
// structure and what its aliases expand to. It does not judge what it reads:
// that is the work of the rules. It does no I/O beyond the reader it is given
// and starts no goroutine; documents are independent, so a caller may decode
// them in parallel.
//
// Only fields that some rule reads are decoded. A field of the wrong type is an
// error that carries its place, and costs its object, never its neighbours.
package manifest

import (
	"fmt"
	"strconv"
	"strings"
)

// A Pos is a place in a file. Lines and columns count from 1, columns in
// Unicode code points; the zero Pos means that the place is not known, as for
// an object read from a cluster.
type Pos struct{ Line, Column int }

// A Field is a scalar that a document may leave out.
type Field[T any] struct {
	Value T
	Set   bool
	Pos   Pos
}

// Or returns the value, or def where the document leaves the field out.
func (f Field[T]) Or(def T) T {
	if f.Set {
		return f.Value
	}
	return def
}

// An Amount is an IntOrString as budgets and rollouts use it: a count, or a
// percentage of a total.
type Amount struct {
	N       int
	Percent bool
}

func (a Amount) String() string {
	if a.Percent {
		return strconv.Itoa(a.N) + "%"
	}
	return strconv.Itoa(a.N)
}

// Of returns the amount for total pods, a percentage rounded up: the disruption
// controller rounds up both minAvailable and maxUnavailable.
func (a Amount) Of(total int) int {
	if !a.Percent {
		return a.N
	}
	return (a.N*total + 99) / 100
}

// A Pair is one entry of a string map; its Pos is that of the value.
type Pair struct {
	Key, Value string
	Pos        Pos
}

// Pairs is a string map in document order.
type Pairs []Pair

// Find returns the entry for key.
func (p Pairs) Find(key string) (Pair, bool) {
	for i := range p {
		if p[i].Key == key {
			return p[i], true
		}
	}
	return Pair{}, false
}

// Get returns the value for key, or "".
func (p Pairs) Get(key string) string {
	kv, _ := p.Find(key)
	return kv.Value
}

// Meta is what all objects have in common. File and Pos say where the object
// is; Pos is that of its kind (or, in Terraform, of its block).
type Meta struct {
	File                              string
	Pos                               Pos
	APIVersion, Kind, Namespace, Name string
	Labels, Annotations               Pairs
	Ignores                           []Ignore
}

// Cluster is the file name of objects that were read from a cluster. Places in
// what the API server sends say nothing, so findings about them have none.
const Cluster = "(cluster)"

// String names the object as a reader would: Deployment shop/cart.
func (m *Meta) String() string {
	switch {
	case m.Namespace != "":
		return m.Kind + " " + m.Namespace + "/" + m.Name
	default:
		return m.Kind + " " + m.Name
	}
}

// Group returns the API group, "" for the core group.
func (m *Meta) Group() string {
	group, _, found := strings.Cut(m.APIVersion, "/")
	if !found {
		return ""
	}
	return group
}

// An Error is a document, or one object of it, that cannot be read.
type Error struct {
	File string
	Pos  Pos
	Msg  string
}

func (e *Error) Error() string {
	if e.Pos.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Msg)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Pos.Line, max(e.Pos.Column, 1), e.Msg)
}
