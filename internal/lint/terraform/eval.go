package terraform

import (
	"bytes"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

// functions are those by which people write lists and policies.
func functions() map[string]function.Function {
	return map[string]function.Function{
		"concat": stdlib.ConcatFunc, "merge": stdlib.MergeFunc, "flatten": stdlib.FlattenFunc, "distinct": stdlib.DistinctFunc,
		"format": stdlib.FormatFunc, "join": stdlib.JoinFunc, "lower": stdlib.LowerFunc, "upper": stdlib.UpperFunc,
		"jsonencode": stdlib.JSONEncodeFunc, "compact": stdlib.CompactFunc,
		"tolist": identity, "toset": identity, "tomap": identity,
	}
}

// identity stands for the conversions: whether a list is a set makes no
// difference to any rule.
var identity = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "v", Type: cty.DynamicPseudoType, AllowUnknown: true, AllowDynamicType: true, AllowNull: true}},
	Type:   func(args []cty.Value) (cty.Type, error) { return args[0].Type(), nil },
	Impl:   func(args []cty.Value, _ cty.Type) (cty.Value, error) { return args[0], nil },
})

// context collects variable defaults and locals, and prepares the joins.
func (m *module) context() {
	m.targets, m.documents, m.denies, m.dead = map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	defaults, locals := map[string]cty.Value{}, map[string]cty.Value{}
	m.vars = map[string]cty.Value{}
	for _, b := range m.blocks {
		if b.Type == "variable" {
			if attr := b.Body.Attributes["default"]; attr != nil {
				defaults[b.label(0)] = m.eval(attr.Expr)
			}
		}
	}
	m.vars["var"] = cty.ObjectVal(defaults)
	// Locals may refer to each other in any order. A few rounds settle the ones
	// that people write; what is not settled then is unknown.
	for range 4 {
		for _, b := range m.blocks {
			if b.Type != "locals" {
				continue
			}
			for name, attr := range b.Body.Attributes {
				locals[name] = m.eval(attr.Expr)
			}
		}
		m.vars["local"] = cty.ObjectVal(locals)
	}
}

// eval evaluates an expression as far as that goes. What it refers to beyond
// the module's own literals is unknown.
func (m *module) eval(expr hclsyntax.Expression) (value cty.Value) {
	defer func() {
		if recover() != nil {
			// A function of the library may panic on odd types; then we know nothing.
			value = cty.DynamicVal
		}
	}()
	if tooLong(expr) {
		return cty.DynamicVal
	}
	ctx := &hcl.EvalContext{Variables: map[string]cty.Value{}, Functions: functions()}
	for _, t := range expr.Variables() {
		root := t.RootName()
		known, ok := m.vars[root]
		if ok && len(t) > 1 {
			if step, isAttr := t[1].(hcl.TraverseAttr); isAttr && known.Type().IsObjectType() && known.Type().HasAttribute(step.Name) {
				if ctx.Variables[root] == cty.NilVal {
					ctx.Variables[root] = known
				}
				continue
			}
		}
		ctx.Variables[root] = cty.DynamicVal
	}
	value, diags := expr.Value(ctx)
	if diags.HasErrors() || value == cty.NilVal {
		return cty.DynamicVal
	}
	value, _ = value.Unmark()
	return value
}

// tooLong reports whether an expression is longer than any policy that AWS
// takes (10 KiB). Evaluation recurses on operators, so length bounds its stack.
func tooLong(expr hclsyntax.Expression) bool {
	r := expr.Range()
	return r.End.Byte-r.Start.Byte > 32<<10
}

// str returns a known string.
func (m *module) str(body *hclsyntax.Body, name string) manifest.Field[string] {
	attr := body.Attributes[name]
	if attr == nil {
		return manifest.Field[string]{}
	}
	s, ok := asString(m.eval(attr.Expr))
	return manifest.Field[string]{Value: s, Set: ok, Pos: position(attr.NameRange.Start)}
}

func asString(v cty.Value) (string, bool) {
	if v.IsKnown() && !v.IsNull() && v.Type() == cty.String {
		return v.AsString(), true
	}
	return "", false
}

// list returns a list of strings if all of it is known.
func (m *module) list(body *hclsyntax.Body, name string) (out []string, pos manifest.Pos) {
	attr := body.Attributes[name]
	if attr == nil {
		return nil, pos
	}
	return asStrings(m.eval(attr.Expr)), position(attr.NameRange.Start)
}

func asStrings(v cty.Value) (out []string) {
	if !v.IsKnown() || v.IsNull() || !v.CanIterateElements() {
		return nil
	}
	for it := v.ElementIterator(); it.Next(); {
		_, element := it.Element()
		s, ok := asString(element)
		if !ok {
			return nil
		}
		out = append(out, s)
	}
	return out
}

// pairs returns a map of strings if all of it is known.
func (m *module) pairs(body *hclsyntax.Body, name string) (out manifest.Pairs, known bool) {
	attr := body.Attributes[name]
	if attr == nil {
		return nil, true
	}
	return asPairs(m.eval(attr.Expr), position(attr.NameRange.Start))
}

func asPairs(v cty.Value, pos manifest.Pos) (out manifest.Pairs, known bool) {
	if !v.IsKnown() || v.IsNull() || !v.CanIterateElements() || !(v.Type().IsObjectType() || v.Type().IsMapType()) {
		return nil, false
	}
	known = true
	for it := v.ElementIterator(); it.Next(); {
		key, element := it.Element()
		s, ok := asString(element)
		if !ok {
			known = false
			continue
		}
		out = append(out, manifest.Pair{Key: key.AsString(), Value: s, Pos: pos})
	}
	return out, known
}

// number returns a known whole number.
func (m *module) number(body *hclsyntax.Body, name string) manifest.Field[int] {
	attr := body.Attributes[name]
	if attr == nil {
		return manifest.Field[int]{}
	}
	v := m.eval(attr.Expr)
	if !v.IsKnown() || v.IsNull() || v.Type() != cty.Number {
		return manifest.Field[int]{}
	}
	n, _ := v.AsBigFloat().Int64()
	return manifest.Field[int]{Value: int(n), Set: true, Pos: position(attr.NameRange.Start)}
}

// attribute returns an attribute of an object value, cty.NilVal where there is
// none.
func attribute(v cty.Value, name string) cty.Value {
	switch {
	case !v.IsKnown() || v.IsNull():
	case v.Type().IsObjectType() && v.Type().HasAttribute(name):
		return v.GetAttr(name)
	case v.Type().IsMapType() && v.HasIndex(cty.StringVal(name)).True():
		return v.Index(cty.StringVal(name))
	}
	return cty.NilVal
}

// refs returns the names of the resources of a type that an attribute refers to.
func refs(body *hclsyntax.Body, name, resource string) (out []string) {
	attr := body.Attributes[name]
	if attr == nil {
		return nil
	}
	return refsIn(attr.Expr, resource)
}

func refsIn(expr hclsyntax.Expression, path ...string) (out []string) {
	if tooLong(expr) {
		return nil
	}
	for _, t := range expr.Variables() {
		if len(t) <= len(path) || t.RootName() != path[0] {
			continue
		}
		match := true
		for i, want := range path[1:] {
			step, ok := t[i+1].(hcl.TraverseAttr)
			match = match && ok && step.Name == want
		}
		if step, ok := t[len(path)].(hcl.TraverseAttr); ok && match {
			out = append(out, step.Name)
		}
	}
	return out
}

// maxInstances bounds what a for_each is expanded to.
const maxInstances = 200

// instances calls f for each element of a block's for_each, with "each" set, and
// once where there is none or it is not known.
func (m *module) instances(b *block, f func()) {
	attr := b.Body.Attributes["for_each"]
	if attr == nil {
		f()
		return
	}
	all := m.eval(attr.Expr)
	if !all.IsWhollyKnown() || all.IsNull() || !all.CanIterateElements() || all.LengthInt() > maxInstances {
		f()
		return
	}
	defer delete(m.vars, "each")
	for it := all.ElementIterator(); it.Next(); {
		m.vars["each"] = pairOf(it.Element())
		f()
	}
}

// expand calls f for each nested block of a type, dynamic ones included, and
// reports whether all of them are known.
func (m *module) expand(body *hclsyntax.Body, name string, f func(*hclsyntax.Body)) (known bool) {
	known = true
	for _, b := range body.Blocks {
		switch {
		case b.Type == name:
			f(b.Body)
		case b.Type == "dynamic" && len(b.Labels) == 1 && b.Labels[0] == name:
			known = m.expandDynamic(b, name, f) && known
		}
	}
	return known
}

func (m *module) expandDynamic(b *hclsyntax.Block, name string, f func(*hclsyntax.Body)) (known bool) {
	attr, content := b.Body.Attributes["for_each"], blocksOf(b.Body, "content")
	if attr == nil || len(content) != 1 || b.Body.Attributes["iterator"] != nil {
		return false
	}
	all := m.eval(attr.Expr)
	if !all.IsWhollyKnown() || all.IsNull() || !all.CanIterateElements() || all.LengthInt() > maxInstances {
		return false
	}
	defer delete(m.vars, name)
	for it := all.ElementIterator(); it.Next(); {
		m.vars[name] = pairOf(it.Element())
		f(content[0].Body)
	}
	return true
}

func pairOf(key, value cty.Value) cty.Value {
	return cty.ObjectVal(map[string]cty.Value{"key": key, "value": value})
}

// blocksOf returns the nested blocks of a type; dynamic ones are left out,
// since their content is not known.
func blocksOf(body *hclsyntax.Body, name string) (out []*hclsyntax.Block) {
	for _, b := range body.Blocks {
		if b.Type == name {
			out = append(out, b)
		}
	}
	return out
}

// dynamic reports whether blocks of a type are generated.
func dynamic(body *hclsyntax.Body, name string) bool {
	for _, b := range body.Blocks {
		if b.Type == "dynamic" && len(b.Labels) == 1 && b.Labels[0] == name {
			return true
		}
	}
	return false
}

// ignoreLines are the ignore comments of a file by line.
type ignoreLines map[int][]manifest.Ignore

// ignoreComments finds comments such as "# evenkeel.dev/lint-ignore: EK040: why".
func ignoreComments(f File) ignoreLines {
	if !bytes.Contains(f.Text, []byte(manifest.IgnoreAnnotation)) {
		return nil
	}
	out := ignoreLines{}
	tokens, _ := hclsyntax.LexConfig(f.Text, f.Name, hcl.InitialPos)
	for _, t := range tokens {
		if t.Type != hclsyntax.TokenComment {
			continue
		}
		_, value, found := strings.Cut(string(t.Bytes), manifest.IgnoreAnnotation+":")
		if found {
			value = strings.TrimSuffix(strings.TrimSpace(value), "*/")
			out[t.Range.Start.Line] = manifest.ParseIgnores(value, position(t.Range.Start))
		}
	}
	return out
}

// within returns the ignores in a block or on the line above it.
func (l ignoreLines) within(b *hclsyntax.Block) (out []manifest.Ignore) {
	if len(l) == 0 {
		return nil
	}
	for line := b.DefRange().Start.Line - 1; line <= b.CloseBraceRange.End.Line; line++ {
		out = append(out, l[line]...)
	}
	return out
}
