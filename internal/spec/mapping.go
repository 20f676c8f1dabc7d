package spec

import (
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// mapping decodes a table of known fields: unknown and repeated fields are
// mistakes, missing ones get their default or are asked for.
func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.add(d.pos(n), path, "write fields below it: "+strings.Join(fieldNames(v.Type()), ", "), "this is %s", kindName(n))
		return
	}
	t := v.Type()
	set := make(map[string]int, t.NumField()) // field -> line
	d.keys(n, path, func(key, value *yaml.Node) {
		f, ok := fieldByName(t, key.Value)
		if !ok {
			fix := "the fields here are: " + strings.Join(fieldNames(t), ", ")
			if near := nearest(key.Value, fieldNames(t)); near != "" {
				fix = fmt.Sprintf("did you mean %s?", near)
			}
			d.add(d.pos(key), join(path, clip(key.Value)), fix, "there is no such field")
			return
		}
		set[key.Value] = key.Line
		d.value(value, v.FieldByIndex(f.Index), join(path, key.Value), f.Tag)
	})
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("yaml")
		if _, ok := set[name]; ok || d.full() {
			continue
		}
		switch {
		case f.Tag.Get("required") == "true":
			d.report(join(path, name), fmt.Sprintf("add %s: %s", name, f.Tag.Get("doc")), "it is missing")
		case f.Tag.Get("default") != "":
			setDefault(v.Field(i), f.Tag.Get("default"))
		case isTable(f.Type): // left out as a whole: its fields still have defaults
			d.mapping(&yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Column: n.Column}, v.Field(i), join(path, name))
		}
	}
}

func isTable(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[scalar]())
}

// setDefault gives a field that was left out the default of its tag. A default
// that cannot be read is a mistake in raw.go, which the tests find.
func setDefault(v reflect.Value, word string) {
	d := &decoder{reporter: reporter{at: make(map[string]Position)}, budget: 10}
	n := yaml.Node{Kind: yaml.ScalarNode, Value: word, Tag: "!!str"}
	switch v.Kind() {
	case reflect.Int:
		n.Tag = "!!int"
	case reflect.Bool:
		n.Tag = "!!bool"
	}
	d.value(&n, v, "default", "")
	if len(d.problems) > 0 {
		panic("spec: " + d.problems.Error())
	}
}

// table decodes names chosen by the user, such as environment variables.
func (d *decoder) table(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	if n.Kind != yaml.MappingNode {
		d.add(d.pos(n), path, "write NAME: value pairs below it", "this is %s", kindName(n))
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	valueTag := reflect.StructTag(fmt.Sprintf("format:%q", tag.Get("values")))
	d.keys(n, path, func(key, value *yaml.Node) {
		if !d.wellFormed(key, join(path, clip(key.Value)), tag.Get("keys"), key.Value) {
			return
		}
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(value, item, join(path, key.Value), valueTag)
		v.SetMapIndex(reflect.ValueOf(key.Value), item)
	})
}

// keys calls fn for each pair of a mapping whose key is a plain word that has
// not been used before.
func (d *decoder) keys(n *yaml.Node, path string, fn func(key, value *yaml.Node)) {
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := d.visit(n.Content[i], path), n.Content[i+1]
		switch {
		case key == nil:
			return
		case key.Kind != yaml.ScalarNode:
			d.add(d.pos(key), path, "write a plain name before the colon", "the name of a field cannot be %s", kindName(key))
			continue
		case key.Tag == "!!merge":
			d.add(d.pos(key), path, "write the fields out", "merging tables with << is not supported")
			continue
		}
		if line, ok := seen[key.Value]; ok {
			d.add(d.pos(key), join(path, clip(key.Value)), "keep one of the two", "it is already set on line %d", line)
			continue
		}
		seen[key.Value] = key.Line
		fn(key, value)
	}
}

func (d *decoder) sequence(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	if n.Kind != yaml.SequenceNode {
		d.add(d.pos(n), path, "write a list, one item per line after a dash, or [a, b]", "this is %s", kindName(n))
		return
	}
	if len(n.Content) == 0 {
		d.add(d.pos(n), path, "name at least one, or remove the line", "the list is empty")
		return
	}
	for i, item := range n.Content {
		e := reflect.New(v.Type().Elem()).Elem()
		d.value(item, e, fmt.Sprintf("%s[%d]", path, i), tag)
		if d.budget <= 0 || d.full() {
			return
		}
		v.Set(reflect.Append(v, e))
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func fieldByName(t reflect.Type, name string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("yaml") == name {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

func fieldNames(t reflect.Type) []string {
	names := make([]string, t.NumField())
	for i := range names {
		names[i] = t.Field(i).Tag.Get("yaml")
	}
	return names
}
