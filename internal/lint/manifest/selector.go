package manifest

import (
	"slices"
	"strconv"
)

// A Requirement is one expression of a label selector or of a node affinity.
type Requirement struct {
	Key      string
	Operator string
	Values   []Field[string]
	Pos      Pos
}

// Has reports whether value is listed.
func (r *Requirement) Has(value string) bool {
	return slices.ContainsFunc(r.Values, func(f Field[string]) bool { return f.Value == value })
}

// Admits reports whether a label with this value, or its absence, satisfies the
// requirement, by the rules of the API server. An operator that does not exist
// admits nothing.
func (r *Requirement) Admits(value string, present bool) bool {
	switch r.Operator {
	case "In":
		return present && r.Has(value)
	case "NotIn":
		return !present || !r.Has(value)
	case "Exists":
		return present
	case "DoesNotExist":
		return !present
	case "Gt", "Lt":
		if !present || len(r.Values) != 1 {
			return false
		}
		have, err1 := strconv.Atoi(value)
		want, err2 := strconv.Atoi(r.Values[0].Value)
		if err1 != nil || err2 != nil {
			return false
		}
		return r.Operator == "Gt" && have > want || r.Operator == "Lt" && have < want
	}
	return false
}

// A Selector is a label selector. One that is not Set selects nothing; one that
// is set and empty selects everything. Both are the API server's rules.
type Selector struct {
	Set         bool
	Pos         Pos
	MatchLabels Pairs
	Expressions []Requirement
}

// Empty reports whether the selector is set and selects everything.
func (s *Selector) Empty() bool {
	return s.Set && len(s.MatchLabels) == 0 && len(s.Expressions) == 0
}

// Matches reports whether the selector selects an object with these labels.
func (s *Selector) Matches(labels Pairs) bool {
	if !s.Set {
		return false
	}
	for i := range s.MatchLabels {
		have, ok := labels.Find(s.MatchLabels[i].Key)
		if !ok || have.Value != s.MatchLabels[i].Value {
			return false
		}
	}
	for i := range s.Expressions {
		have, ok := labels.Find(s.Expressions[i].Key)
		if !s.Expressions[i].Admits(have.Value, ok) {
			return false
		}
	}
	return true
}
