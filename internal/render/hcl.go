package render

import (
	"fmt"
	"sort"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// expr is an HCL expression that is written as it is, for example a reference.
// Everything else that goes into an attribute is a literal and is escaped.
type expr string

// A hclFile builds one .tf file. Errors are kept until the end: an expression
// that does not parse is a mistake in this package, which the tests find.
type hclFile struct {
	f   *hclwrite.File
	err error
}

// hclBody is the inside of a file or block.
type hclBody struct {
	file *hclFile
	body *hclwrite.Body
}

func newHCL(comment string) (*hclFile, hclBody) {
	h := &hclFile{f: hclwrite.NewEmptyFile()}
	b := hclBody{h, h.f.Body()}
	b.comment(header[2:len(header)-1], comment)
	return h, b
}

// bytes returns the file as `terraform fmt` would write it.
func (h *hclFile) bytes() ([]byte, error) {
	if h.err != nil {
		return nil, h.err
	}
	return hclwrite.Format(h.f.Bytes()), nil
}

func (b hclBody) comment(lines ...string) {
	for _, line := range lines {
		if line != "" {
			b.body.AppendUnstructuredTokens(hclwrite.Tokens{{Type: hclsyntax.TokenComment, Bytes: []byte("# " + line + "\n")}})
		}
	}
}

func (b hclBody) set(name string, value any) hclBody {
	tokens, err := tokensOf(value)
	if err != nil && b.file.err == nil {
		b.file.err = fmt.Errorf("attribute %s: %w", name, err)
	}
	b.body.SetAttributeRaw(name, tokens)
	return b
}

// block appends a block and returns its inside. Blocks that begin with labels
// stand apart from what is above them.
func (b hclBody) block(kind string, labels ...string) hclBody {
	if len(labels) > 0 || len(b.body.Attributes()) > 0 || len(b.body.Blocks()) > 0 {
		b.body.AppendNewline()
	}
	return hclBody{b.file, b.body.AppendNewBlock(kind, labels).Body()}
}

// resource appends a resource with a comment that says what it is for.
func (b hclBody) resource(comment, kind, name string) hclBody {
	b.body.AppendNewline()
	b.comment(comment)
	return hclBody{b.file, b.body.AppendNewBlock("resource", []string{kind, name}).Body()}
}

// object is an HCL object with its keys in the order in which they were written.
type object []pair

type pair struct {
	key   string
	value any
}

func tokensOf(v any) (hclwrite.Tokens, error) {
	switch v := v.(type) {
	case expr:
		tokens, diags := hclsyntax.LexExpression([]byte(v), "", hcl.InitialPos)
		if !diags.HasErrors() {
			_, diags = hclsyntax.ParseExpression([]byte(v), "", hcl.InitialPos)
		}
		if diags.HasErrors() {
			return nil, fmt.Errorf("expression %q: %w", string(v), diags)
		}
		out := make(hclwrite.Tokens, 0, len(tokens))
		end := 0
		for _, t := range tokens {
			if t.Type != hclsyntax.TokenEOF {
				out = append(out, &hclwrite.Token{Type: t.Type, Bytes: t.Bytes, SpacesBefore: t.Range.Start.Byte - end})
				end = t.Range.End.Byte
			}
		}
		return out, nil
	case string:
		return hclwrite.TokensForValue(cty.StringVal(v)), nil
	case bool:
		return hclwrite.TokensForValue(cty.BoolVal(v)), nil
	case int:
		return hclwrite.TokensForValue(cty.NumberIntVal(int64(v))), nil
	case nil:
		return hclwrite.TokensForValue(cty.NullVal(cty.DynamicPseudoType)), nil
	case []string:
		items := make([]any, len(v))
		for i, s := range v {
			items[i] = s
		}
		return listTokens(items)
	case []any:
		return listTokens(v)
	case map[string]string:
		o := object{}
		for k, s := range v {
			o = append(o, pair{k, s})
		}
		sort.Slice(o, func(i, j int) bool { return o[i].key < o[j].key })
		return objectTokens(o)
	case object:
		return objectTokens(v)
	}
	return nil, fmt.Errorf("a value of type %T cannot be written", v)
}

func listTokens(items []any) (hclwrite.Tokens, error) {
	parts := make([]hclwrite.Tokens, len(items))
	for i, item := range items {
		t, err := tokensOf(item)
		if err != nil {
			return nil, err
		}
		parts[i] = t
	}
	return hclwrite.TokensForTuple(parts), nil
}

func objectTokens(o object) (hclwrite.Tokens, error) {
	attrs := make([]hclwrite.ObjectAttrTokens, len(o))
	for i, p := range o {
		value, err := tokensOf(p.value)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", p.key, err)
		}
		key := hclwrite.TokensForValue(cty.StringVal(p.key))
		if hclsyntax.ValidIdentifier(p.key) {
			key = hclwrite.TokensForIdentifier(p.key)
		}
		attrs[i] = hclwrite.ObjectAttrTokens{Name: key, Value: value}
	}
	return hclwrite.TokensForObject(attrs), nil
}

// call wraps a value in a function, as in jsonencode({...}).
type call struct {
	name  string
	value any
}

func (b hclBody) setCall(name string, c call) hclBody {
	tokens, err := tokensOf(c.value)
	if err != nil && b.file.err == nil {
		b.file.err = fmt.Errorf("attribute %s: %w", name, err)
	}
	b.body.SetAttributeRaw(name, hclwrite.TokensForFunctionCall(c.name, tokens))
	return b
}
