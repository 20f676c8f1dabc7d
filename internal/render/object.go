package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kjson "k8s.io/apimachinery/pkg/util/json"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// The API's Go types carry fields that only a server fills in. They all leave
// through encodeObject, so that no manifest says "creationTimestamp: null" or
// "status: {}".

// Mark is how rendered YAML and Terraform files begin.
const Mark = "# Rendered by `evenkeel render`"

const header = Mark + " from platform.yaml. Change that file, not this one.\n"

// Objects returns the Kubernetes objects of the families or kinds in only, or
// all of them if it is empty, in the order in which they are to be applied.
func Objects(p *spec.Platform, only []string) ([]unstructured.Unstructured, error) {
	all, err := families(p, false)
	if err != nil {
		return nil, err
	}
	var out []unstructured.Unstructured
	for _, f := range all {
		if f.objects == nil {
			continue
		}
		for _, m := range f.objects(p) {
			for _, o := range m.objects {
				tree, err := treeOf(o)
				if err != nil {
					return nil, fmt.Errorf("rendering %s: %w", m.path, err)
				}
				kind, _ := tree["kind"].(string)
				if len(only) == 0 || contains(only, f.name) || contains(only, kind) {
					out = append(out, unstructured.Unstructured{Object: tree})
				}
			}
		}
	}
	return out, nil
}

// encode returns the manifest's objects as YAML documents, without those whose
// kind is not wanted, and nothing at all if none is.
func (m manifest) encode(want func(kind string) bool) ([]byte, error) {
	var out bytes.Buffer
	for _, o := range m.objects {
		kind, data, err := encodeObject(o)
		if err != nil {
			return nil, err
		}
		if !want(kind) {
			continue
		}
		if out.Len() == 0 {
			out.WriteString(header)
		} else {
			out.WriteString("---\n")
		}
		out.Write(data)
	}
	return out.Bytes(), nil
}

// encodeObject returns one object's kind and its YAML.
func encodeObject(o any) (kind string, data []byte, err error) {
	tree, err := treeOf(o)
	if err != nil {
		return "", nil, err
	}
	kind, _ = tree["kind"].(string)
	data, err = encodeTree(tree)
	return kind, data, err
}

// treeOf returns an object as decoded JSON without what only a server writes.
func treeOf(o any) (map[string]any, error) {
	j, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := kjson.Unmarshal(j, &tree); err != nil { // whole numbers as int64
		return nil, err
	}
	delete(tree, "status")
	if empty, ok := tree["spec"].(map[string]any); ok && len(empty) == 0 {
		delete(tree, "spec") // a namespace's
	}
	prune(tree)
	return tree, nil
}

// prune removes what the API types write although it was never set. Other empty
// tables stay: an empty podSelector selects everything.
func prune(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, item := range v {
			empty, ok := item.(map[string]any)
			switch {
			case item == nil:
				delete(v, k)
			case ok && len(empty) == 0 && slices.Contains([]string{"resources", "strategy", "updateStrategy", "status"}, k):
				delete(v, k)
			default:
				prune(item)
			}
		}
	case []any:
		for _, item := range v {
			prune(item)
		}
	}
}

func encodeTree(tree any) ([]byte, error) {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	enc.CompactSeqIndent()
	n, err := node(tree)
	if err != nil {
		return nil, err
	}
	if err := enc.Encode(n); err != nil {
		return nil, err
	}
	return out.Bytes(), enc.Close()
}

// node converts decoded JSON to YAML with its keys in a fixed order: what names
// a thing first, then the alphabet.
func node(v any) (*yaml.Node, error) {
	switch v := v.(type) {
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode}
		if len(v) == 0 {
			n.Style = yaml.FlowStyle
		}
		keys := sortedKeys(v)
		slices.SortStableFunc(keys, func(a, b string) int { return rank(a) - rank(b) })
		for _, k := range keys {
			item, err := node(v[k])
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, text(k), item)
		}
		return n, nil
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		if len(v) == 0 {
			n.Style = yaml.FlowStyle
		}
		for _, item := range v {
			c, err := node(item)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, c)
		}
		return n, nil
	case string:
		return text(v), nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(v)}, nil
	case int64:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.FormatInt(v, 10)}, nil
	case float64:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: strconv.FormatFloat(v, 'g', -1, 64)}, nil
	case nil:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
	}
	return nil, fmt.Errorf("a value of type %T is not JSON", v)
}

func rank(key string) int {
	order := []string{"apiVersion", "kind", "metadata", "name", "namespace", "alert", "record", "expr"}
	if i := slices.Index(order, key); i >= 0 {
		return i
	}
	return len(order)
}

// text returns a string that every YAML reader takes for a string. Readers of
// YAML 1.1, of which Kubernetes is one, take more words for something else than
// the encoder knows of, so whatever could be one is quoted.
func text(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	if n.Style == 0 && ambiguous(s) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

func ambiguous(s string) bool {
	switch strings.ToLower(s) {
	case "", "y", "n", "yes", "no", "on", "off", "true", "false", "null", "~":
		return true
	}
	return strings.ContainsAny(s[:1], "0123456789+-.") && !strings.ContainsAny(s, "ghijklmnpqrstuvwyz/ ")
}
