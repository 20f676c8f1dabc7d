package spec

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds on the input. A platform of a hundred services is about 100 kB; what
// is larger is a mistake or an attack, and is refused before it costs memory.
const (
	maxBytes = 1 << 20
	maxNodes = 100_000 // values visited, counting an alias as often as it is used
)

// decode reads one YAML document strictly into a raw struct. It differs from
// the YAML library's own decoder in that it names the column and the fix, finds
// all mistakes and not the first one, and never visits more than maxNodes
// values, however cleverly aliases refer to aliases.
func decode(r io.Reader, file string, into any) *reporter {
	d := &decoder{reporter: reporter{file: file, at: make(map[string]Position)}, budget: maxNodes}
	data, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	switch {
	case err != nil:
		d.report("", "", "reading the file: %v", err)
		return &d.reporter
	case len(data) > maxBytes:
		d.report("", "a platform file holds one platform; keep manifests in files of their own", "the file is larger than %d bytes", maxBytes)
		return &d.reporter
	}
	root, ok := d.document(data)
	if !ok {
		return &d.reporter
	}
	d.at[""] = d.pos(root)
	d.value(root, reflect.ValueOf(into).Elem(), "", "")
	return &d.reporter
}

type decoder struct {
	reporter
	budget int
}

func (d *decoder) pos(n *yaml.Node) Position {
	return Position{File: d.file, Line: max(n.Line, 1), Column: max(n.Column, 1)}
}

var syntaxLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// document parses the bytes and returns the one document's root.
func (d *decoder) document(data []byte) (*yaml.Node, bool) {
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	var doc, second yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) || (err == nil && (len(doc.Content) == 0 || doc.Content[0].Tag == "!!null")) {
		d.report("", "start from the output of `evenkeel init`", "the file is empty")
		return nil, false
	}
	if err != nil {
		at := Position{File: d.file, Line: 1, Column: 1}
		text := err.Error()
		if m := syntaxLine.FindStringSubmatch(text); m != nil {
			text = m[2]
			if line, err := strconv.Atoi(m[1]); err == nil {
				at.Line = max(line, 1)
			}
		}
		d.add(at, "", "check the indentation and quotes of this line and the one above", "this is not YAML: %s", text)
		return nil, false
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		at := Position{File: d.file, Line: max(second.Line, 1), Column: max(second.Column, 1)}
		d.add(at, "", "keep one document per file", "the file holds more than one document")
		return nil, false
	}
	return doc.Content[0], true
}

// visit follows an alias and takes one from the budget. It returns nil once the
// file asks for more than the budget.
func (d *decoder) visit(n *yaml.Node, path string) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	d.budget--
	if d.budget == 0 {
		d.add(d.pos(n), path, "write the repeated parts out, or use fewer aliases", "the file has more than %d values once its aliases are followed", maxNodes)
	}
	if d.budget <= 0 || d.full() {
		return nil
	}
	return n
}

// value decodes a node into v, which is settable. The tag is the struct tag of
// the field that v is or belongs to.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	if n = d.visit(n, path); n == nil {
		return
	}
	if _, seen := d.at[path]; !seen {
		d.at[path] = d.pos(n)
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		d.add(d.pos(n), path, "give it a value, or remove the line", "there is no value here")
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	if s, ok := v.Addr().Interface().(scalar); ok {
		if word, ok := d.word(n, path, "a single value"); ok {
			if problem, fix := s.parse(word); problem != "" {
				d.add(d.pos(n), path, fix, "%s", problem)
			} else {
				d.bounds(n, path, tag, word, s)
			}
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.mapping(n, v, path)
	case reflect.Slice:
		d.sequence(n, v, path, tag)
	case reflect.Map:
		d.table(n, v, path, tag)
	case reflect.String:
		d.text(n, v, path, tag)
	case reflect.Int:
		d.integer(n, v, path, tag)
	case reflect.Bool:
		if word, ok := d.word(n, path, "true or false"); ok {
			if n.Tag != "!!bool" || (word != "true" && word != "false") {
				d.add(d.pos(n), path, "write true or false without quotes", "%q is not a truth value", clip(word))
				return
			}
			v.SetBool(word == "true")
		}
	default:
		panic(fmt.Sprintf("spec: raw field %s has kind %s", path, v.Kind())) // raw.go has no such field; the tests decode all of them
	}
}

func (d *decoder) word(n *yaml.Node, path, want string) (string, bool) {
	if n.Kind != yaml.ScalarNode {
		d.add(d.pos(n), path, "write "+want, "this is %s", kindName(n))
		return "", false
	}
	return n.Value, true
}

func (d *decoder) text(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	word, ok := d.word(n, path, "one word or a quoted text")
	if !ok {
		return
	}
	if n.Tag != "!!str" {
		d.add(d.pos(n), path, fmt.Sprintf("write %q with the quotes", clip(word)), "YAML reads %s as %s, but a text is needed", clip(word), strings.TrimPrefix(n.Tag, "!!"))
		return
	}
	if enum := tag.Get("enum"); enum != "" {
		allowed := strings.Split(enum, ",")
		for _, a := range allowed {
			if word == a {
				v.SetString(word)
				return
			}
		}
		fix := "write one of: " + strings.Join(allowed, ", ")
		if near := nearest(word, allowed); near != "" {
			fix = "did you mean " + near + "?"
		}
		d.add(d.pos(n), path, fix, "%q is not known here", clip(word))
		return
	}
	if word == "" {
		d.add(d.pos(n), path, "give it a value, or remove the line", "the text is empty")
		return
	}
	if !d.wellFormed(n, path, tag.Get("format"), word) {
		return
	}
	v.SetString(word)
}

func (d *decoder) wellFormed(n *yaml.Node, path, name, word string) bool {
	if name == "" {
		return true
	}
	f := formats(name)
	if len(word) > f.max {
		d.add(d.pos(n), path, fmt.Sprintf("shorten it to %d characters", f.max), "%q has %d characters", clip(word), len(word))
		return false
	}
	if !f.re.MatchString(word) {
		d.add(d.pos(n), path, f.hint, "%q has the wrong form", clip(word))
		return false
	}
	return true
}

func (d *decoder) integer(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	word, ok := d.word(n, path, "a whole number")
	if !ok {
		return
	}
	i, err := strconv.Atoi(word)
	if n.Tag != "!!int" || err != nil {
		d.add(d.pos(n), path, "write a whole number without quotes or unit", "%q is not a whole number", clip(word))
		return
	}
	lo, hi := intBounds(tag)
	if i < lo || i > hi {
		d.add(d.pos(n), path, fmt.Sprintf("write a number from %d to %d", lo, hi), "%d is out of range", i)
		return
	}
	v.SetInt(int64(i))
}

// intBounds returns the range of an integer field. Counts are the rule, so
// negative numbers are out unless the tag lets them in.
func intBounds(tag reflect.StructTag) (lo, hi int) {
	hi = 1_000_000
	if s := tag.Get("min"); s != "" {
		lo, _ = strconv.Atoi(s)
	}
	if s := tag.Get("max"); s != "" {
		hi, _ = strconv.Atoi(s)
	}
	return lo, hi
}

// bounds checks the range of a duration, the only scalar that has one.
func (d *decoder) bounds(n *yaml.Node, path string, tag reflect.StructTag, word string, s scalar) {
	v, ok := s.(*duration)
	if !ok {
		return
	}
	for _, b := range []struct {
		tag  string
		text string
		out  func(limit duration) bool
	}{
		{"min", "less", func(limit duration) bool { return *v < limit }},
		{"max", "more", func(limit duration) bool { return *v > limit }},
	} {
		var limit duration
		if t := tag.Get(b.tag); t != "" {
			limit.parse(t)
			if b.out(limit) {
				d.add(d.pos(n), path, fmt.Sprintf("write %s or %s", t, map[string]string{"less": "more", "more": "less"}[b.text]), "%s is %s than %s", word, b.text, t)
			}
		}
	}
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a table of fields"
	case yaml.SequenceNode:
		return "a list"
	default:
		return fmt.Sprintf("the value %q", clip(n.Value))
	}
}
