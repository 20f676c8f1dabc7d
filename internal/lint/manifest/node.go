package manifest

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxVisits bounds the work on one document. Aliases let a small document
// stand for an enormous one; following them costs visits.
const maxVisits = 4 << 20

// errTooMany is the panic of a decoder whose document expands beyond maxVisits,
// recovered where the document's decoding began: no loop in between need know.
type errTooMany struct{}

// A decoder walks the nodes of one document. It keeps the first error of the
// object at hand and goes on, so that one call reports one clear place.
type decoder struct {
	file   string
	offset int // added to node lines: documents are parsed one by one
	visits int
	err    *Error
}

func (d *decoder) pos(n *yaml.Node) Pos { return Pos{n.Line + d.offset, n.Column} }

// fail records an error at n unless there is one.
func (d *decoder) fail(n *yaml.Node, format string, args ...any) {
	if d.err == nil {
		d.err = &Error{File: d.file, Pos: d.pos(n), Msg: fmt.Sprintf(format, args...)}
	}
}

func (d *decoder) visit(n int) {
	if d.visits += n; d.visits > maxVisits {
		panic(errTooMany{})
	}
}

// deref follows aliases. An alias may stand for a node that contains it; the
// model is of fixed depth, so such a cycle ends.
func (d *decoder) deref(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		d.visit(1)
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// fields calls f for each entry of a mapping; null is an empty mapping, as it
// is for the API server. Merged entries (<<) come first, so that the mapping's
// own, which win, overwrite them.
func (d *decoder) fields(n *yaml.Node, what string, f func(key string, k, v *yaml.Node)) {
	d.fieldsDepth(n, what, 0, f)
}

func (d *decoder) fieldsDepth(n *yaml.Node, what string, depth int, f func(key string, k, v *yaml.Node)) {
	n = d.deref(n)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n, "%s: want a mapping, found %s", what, describe(n))
		return
	}
	if depth > 8 {
		d.fail(n, "%s: merge keys nest too deeply", what)
		return
	}
	d.visit(len(n.Content) + 1)
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Tag == "!!merge" {
			merged := d.deref(n.Content[i+1])
			if merged.Kind == yaml.SequenceNode {
				for _, m := range merged.Content {
					d.fieldsDepth(m, what, depth+1, f)
				}
			} else {
				d.fieldsDepth(merged, what, depth+1, f)
			}
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := n.Content[i]; k.Tag != "!!merge" {
			if k = d.deref(k); k.Kind == yaml.ScalarNode {
				f(k.Value, k, n.Content[i+1])
			}
		}
	}
}

// items calls f for each element of a sequence; null is an empty one.
func (d *decoder) items(n *yaml.Node, what string, f func(*yaml.Node)) {
	n = d.deref(n)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.fail(n, "%s: want a list, found %s", what, describe(n))
		return
	}
	d.visit(len(n.Content) + 1)
	if len(n.Content) > maxItems {
		d.fail(n, "%s: more than %d entries", what, maxItems)
		return
	}
	for _, item := range n.Content {
		f(item)
	}
}

// text returns a string. Numbers and booleans are refused as the API server
// refuses them: `"8080"` must be quoted where a string is wanted.
func (d *decoder) text(n *yaml.Node, what string) Field[string] {
	v := d.deref(n)
	if isNull(v) {
		return Field[string]{}
	}
	if v.Kind != yaml.ScalarNode || v.Tag == "!!int" || v.Tag == "!!float" || v.Tag == "!!bool" {
		d.fail(n, "%s: want a string, found %s", what, describe(v))
		return Field[string]{}
	}
	return Field[string]{Value: v.Value, Set: true, Pos: d.pos(n)}
}

// scalar returns a string where the API takes numbers too.
func (d *decoder) scalar(n *yaml.Node, what string) Field[string] {
	v := d.deref(n)
	if isNull(v) {
		return Field[string]{}
	}
	if v.Kind != yaml.ScalarNode {
		d.fail(n, "%s: want a single value, found %s", what, describe(v))
		return Field[string]{}
	}
	return Field[string]{Value: v.Value, Set: true, Pos: d.pos(n)}
}

// number returns a whole number. A placeholder that a later tool fills in,
// such as ${REPLICAS}, leaves the field unset.
func (d *decoder) number(n *yaml.Node, what string) Field[int] {
	v := d.deref(n)
	if isNull(v) || placeholder(v) {
		return Field[int]{}
	}
	value, err := strconv.ParseInt(v.Value, 0, 32)
	if v.Kind != yaml.ScalarNode || v.Tag != "!!int" || err != nil {
		d.fail(n, "%s: want a whole number, found %s", what, describe(v))
		return Field[int]{}
	}
	return Field[int]{Value: int(value), Set: true, Pos: d.pos(n)}
}

// amount returns an IntOrString that is a count or a percentage.
func (d *decoder) amount(n *yaml.Node, what string) Field[Amount] {
	v := d.deref(n)
	if isNull(v) || placeholder(v) {
		return Field[Amount]{}
	}
	if v.Kind == yaml.ScalarNode {
		digits, percent := strings.CutSuffix(v.Value, "%")
		if value, err := strconv.Atoi(digits); err == nil && value >= 0 && value <= 1<<30 && (percent || v.Tag == "!!int") {
			return Field[Amount]{Value: Amount{value, percent}, Set: true, Pos: d.pos(n)}
		}
	}
	d.fail(n, "%s: want a whole number or a percentage such as 25%%, found %s", what, describe(v))
	return Field[Amount]{}
}

// yes returns a boolean.
func (d *decoder) yes(n *yaml.Node, what string) bool {
	v := d.deref(n)
	if isNull(v) || placeholder(v) {
		return false
	}
	if v.Kind != yaml.ScalarNode || v.Tag != "!!bool" {
		d.fail(n, "%s: want true or false, found %s", what, describe(v))
		return false
	}
	return strings.EqualFold(v.Value, "true")
}

// maxPairs and maxItems bound maps and lists: matching selectors against labels,
// ports against ports or tolerations against taints takes the product of their
// sizes. Objects in use have tens of entries; a list of instance types, hundreds.
const (
	maxPairs = 1000
	maxItems = 2000
)

// pairs returns a string map.
func (d *decoder) pairs(n *yaml.Node, what string) Pairs {
	var out Pairs
	d.fields(n, what, func(key string, k, v *yaml.Node) {
		if len(out) == maxPairs {
			d.fail(k, "%s: more than %d entries", what, maxPairs)
			return
		}
		value := d.text(v, what+"."+key)
		if !value.Set {
			value.Pos = d.pos(v)
		}
		for i := range out {
			if out[i].Key == key { // merged, now overridden
				out[i].Value, out[i].Pos = value.Value, value.Pos
				return
			}
		}
		out = append(out, Pair{key, value.Value, value.Pos})
	})
	return out
}

// texts returns a list of strings.
func (d *decoder) texts(n *yaml.Node, what string) []Field[string] {
	var out []Field[string]
	d.items(n, what, func(item *yaml.Node) {
		if s := d.text(item, what); s.Set {
			out = append(out, s)
		}
	})
	return out
}

// placeholder reports whether a scalar is to be filled in by another tool
// (Flux and envsubst write ${X}, OpenShift templates ${{X}}, others $(X)).
func placeholder(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && (strings.Contains(n.Value, "${") || strings.Contains(n.Value, "$("))
}

// describe says what a node is, shortly.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		kind := map[string]string{"!!int": "the number ", "!!float": "the number ", "!!bool": "the boolean ", "!!str": "the text "}[n.Tag]
		return kind + strconv.Quote(truncate(n.Value, 40))
	}
	return "something else"
}

func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
