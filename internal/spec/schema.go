package spec

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// schemaNode is the part of JSON Schema 2020-12 that the file format needs, in
// the order in which it is written.
type schemaNode struct {
	Schema      string                 `json:"$schema,omitempty"`
	ID          string                 `json:"$id,omitempty"`
	Title       string                 `json:"title,omitempty"`
	Description string                 `json:"description,omitempty"`
	Type        any                    `json:"type,omitempty"`
	Enum        []string               `json:"enum,omitempty"`
	Default     any                    `json:"default,omitempty"`
	Pattern     string                 `json:"pattern,omitempty"`
	MaxLength   int                    `json:"maxLength,omitempty"`
	Minimum     *int                   `json:"minimum,omitempty"`
	Maximum     *int                   `json:"maximum,omitempty"`
	MinItems    int                    `json:"minItems,omitempty"`
	Items       *schemaNode            `json:"items,omitempty"`
	Required    []string               `json:"required,omitempty"`
	Properties  map[string]*schemaNode `json:"properties,omitempty"`
	Names       *schemaNode            `json:"propertyNames,omitempty"`
	Additional  any                    `json:"additionalProperties,omitempty"`
}

// JSONSchema returns the JSON Schema of the file format, for editors. It is made
// from the same tags as the parser, but says less: units are checked by pattern,
// and contradictions between fields only by Parse.
func JSONSchema() ([]byte, error) {
	root := schemaOf(reflect.TypeFor[rawPlatform](), "")
	root.Schema = "https://json-schema.org/draft/2020-12/schema"
	root.ID = "https://evenkeel.dev/schema/platform-v1alpha1.json"
	root.Title = "Evenkeel platform"
	data, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

func schemaOf(t reflect.Type, tag reflect.StructTag) *schemaNode {
	if t.Kind() == reflect.Pointer {
		return schemaOf(t.Elem(), tag)
	}
	n := &schemaNode{Description: tag.Get("doc")}
	if word := tag.Get("default"); word != "" {
		n.Default = word
	}
	if s, ok := reflect.New(t).Interface().(scalar); ok {
		n.Type, n.Pattern = "string", s.pattern()
		switch s.(type) {
		case *Count, *cpu: // written bare, these are numbers to YAML
			n.Type = []string{"integer", "number", "string"}
		}
		return n
	}
	switch t.Kind() {
	case reflect.Struct:
		n.Type, n.Additional = "object", false
		n.Properties = make(map[string]*schemaNode, t.NumField())
		for i := range t.NumField() {
			f := t.Field(i)
			name := f.Tag.Get("yaml")
			n.Properties[name] = schemaOf(f.Type, f.Tag)
			if f.Tag.Get("required") == "true" {
				n.Required = append(n.Required, name)
			}
		}
	case reflect.Slice:
		n.Type, n.MinItems = "array", 1
		n.Items = schemaOf(t.Elem(), withoutDoc(tag))
	case reflect.Map:
		n.Type = "object"
		n.Names = textSchema(tag.Get("keys"))
		n.Additional = textSchema(tag.Get("values"))
	case reflect.String:
		text := textSchema(tag.Get("format"))
		text.Description, text.Default = n.Description, n.Default
		if enum := tag.Get("enum"); enum != "" {
			text.Enum = strings.Split(enum, ",")
		}
		return text
	case reflect.Int:
		lo, hi := intBounds(tag)
		n.Type, n.Minimum, n.Maximum = "integer", &lo, &hi
		if v, err := strconv.Atoi(tag.Get("default")); err == nil {
			n.Default = v
		}
	case reflect.Bool:
		n.Type = "boolean"
	}
	return n
}

func textSchema(name string) *schemaNode {
	n := &schemaNode{Type: "string"}
	if name != "" {
		f := formats(name)
		n.Pattern, n.MaxLength = f.re.String(), f.max
	}
	return n
}

// withoutDoc keeps what concerns the items of a list; its description stays
// with the list.
func withoutDoc(tag reflect.StructTag) reflect.StructTag {
	var kept []string
	for _, k := range []string{"format", "enum", "min", "max"} {
		if v := tag.Get(k); v != "" {
			kept = append(kept, k+":"+strconv.Quote(v))
		}
	}
	return reflect.StructTag(strings.Join(kept, " "))
}
