package rehearse

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type envVar struct{ name, value string }

// extend appends arguments and variables to the first container of a Deployment.
func extend(o *unstructured.Unstructured, args []string, env []envVar) error {
	containers, ok, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
	if err != nil || !ok {
		return fmt.Errorf("extending %s: it has no containers (%v)", o.GetName(), err)
	}
	c, ok := containers[0].(map[string]any)
	if !ok {
		return fmt.Errorf("extending %s: its container is not an object", o.GetName())
	}
	list, _, err := unstructured.NestedSlice(c, "args")
	if err != nil {
		return fmt.Errorf("extending %s: %w", o.GetName(), err)
	}
	for _, a := range args {
		list = append(list, a)
	}
	vars, _, err := unstructured.NestedSlice(c, "env")
	if err != nil {
		return fmt.Errorf("extending %s: %w", o.GetName(), err)
	}
	for _, e := range env {
		vars = slices.DeleteFunc(vars, func(v any) bool { return v.(map[string]any)["name"] == e.name })
		vars = append(vars, map[string]any{"name": e.name, "value": e.value})
	}
	c["args"], c["env"] = list, vars
	return unstructured.SetNestedSlice(o.Object, containers, "spec", "template", "spec", "containers")
}
