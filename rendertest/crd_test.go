package rendertest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// A crd checks objects as an API server does on which it is installed: unknown
// fields, types, and the rules written in CEL.
type crd struct {
	structural *schema.Structural
	open       validation.SchemaValidator
	rules      *cel.Validator
}

func loadCRD(t *testing.T, path string) (kind string, c crd) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v1 apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(data, &v1); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	var internal apiextensions.CustomResourceValidation
	for _, version := range v1.Spec.Versions {
		if version.Storage {
			if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(version.Schema, &internal, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.structural, err = schema.NewStructural(internal.OpenAPIV3Schema)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	c.open, _, err = validation.NewSchemaValidator(internal.OpenAPIV3Schema)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	c.rules = cel.NewValidator(c.structural, true, celconfig.PerCallLimit)
	return v1.Spec.Names.Kind, c
}

func (c crd) check(ctx context.Context, o unstructured.Unstructured) []string {
	var out []string
	tree := o.DeepCopy().Object
	for _, unknown := range pruning.PruneWithOptions(tree, c.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		out = append(out, "unknown field "+unknown)
	}
	defaulting.Default(tree, c.structural)
	for _, err := range validation.ValidateCustomResource(field.NewPath(""), tree, c.open) {
		out = append(out, err.Error())
	}
	if c.rules != nil {
		errs, _ := c.rules.Validate(ctx, field.NewPath(""), c.structural, tree, nil, celconfig.RuntimeCELCostBudget)
		for _, err := range errs {
			out = append(out, err.Error())
		}
	}
	return out
}

func crds(t *testing.T) map[string]crd {
	t.Helper()
	karpenter := moduleDir(t.Context(), t, "github.com/aws/karpenter-provider-aws@v1.14.1", karpenterSum)
	keda := moduleDir(t.Context(), t, "github.com/kedacore/keda/v2@v2.21.0", kedaSum)
	out := make(map[string]crd)
	for _, path := range []string{
		filepath.Join(karpenter, "pkg", "apis", "crds", "karpenter.sh_nodepools.yaml"),
		filepath.Join(karpenter, "pkg", "apis", "crds", "karpenter.k8s.aws_ec2nodeclasses.yaml"),
		filepath.Join(keda, "config", "crd", "bases", "keda.sh_scaledobjects.yaml"),
	} {
		kind, c := loadCRD(t, path)
		out[kind] = c
	}
	return out
}

// TestCustomResources checks the Karpenter and KEDA objects against the CRDs
// that those projects ship.
func TestCustomResources(t *testing.T) {
	definitions := crds(t)
	seen := make(map[string]int)
	for _, folder := range []string{"karpenter", "keda"} {
		for _, o := range objects(t, folder) {
			c, ok := definitions[o.GetKind()]
			if !ok {
				t.Errorf("no CRD is read for %s %s", o.GetKind(), o.GetName())
				continue
			}
			seen[o.GetKind()]++
			for _, problem := range c.check(t.Context(), o) {
				t.Errorf("%s %s: %s", o.GetKind(), o.GetName(), problem)
			}
		}
	}
	for kind := range definitions {
		if seen[kind] == 0 {
			t.Errorf("no %s was checked", kind)
		}
	}
}

// TestCustomResourcesCanFail plants mistakes, so that a check that accepts
// everything does not pass for one that found nothing.
func TestCustomResourcesCanFail(t *testing.T) {
	definitions := crds(t)
	all := append(objects(t, "karpenter"), objects(t, "keda")...)
	tests := []struct {
		kind string
		path []string
		to   any
		want string
	}{
		{"NodePool", []string{"spec", "weights"}, int64(1), "unknown field spec.weights"},
		{"NodePool", []string{"spec", "weight"}, int64(101), "should be less than or equal to 100"},
		{"NodePool", []string{"spec", "template", "spec", "expireAfter"}, "soon", "should match"},
		{"NodePool", []string{"spec", "template", "metadata", "labels"}, map[string]any{"kubernetes.io/hostname": "a"}, `label "kubernetes.io/hostname" is restricted`},
		{"NodePool", []string{"spec", "replicas"}, int64(3), "only 'limits.nodes'"}, // weight is set
		{"EC2NodeClass", []string{"spec", "role"}, "", "role cannot be empty"},
		{"EC2NodeClass", []string{"spec", "amiSelectorTerms"}, []any{map[string]any{"alias": "al2023"}}, "alias"},
		{"ScaledObject", []string{"spec", "fallback"}, map[string]any{"replicas": int64(1)}, "failureThreshold: Required value"},
		{"ScaledObject", []string{"spec", "minReplicaCount"}, "1", "must be of type integer"},
	}
	for _, tt := range tests {
		for _, o := range all {
			if o.GetKind() != tt.kind {
				continue
			}
			bad := *o.DeepCopy()
			if err := unstructured.SetNestedField(bad.Object, tt.to, tt.path...); err != nil {
				t.Fatal(err)
			}
			if tt.path[len(tt.path)-1] == "replicas" {
				_ = unstructured.SetNestedField(bad.Object, map[string]any{"cpu": "1"}, "spec", "limits")
			}
			if got := strings.Join(definitions[tt.kind].check(t.Context(), bad), "\n"); !strings.Contains(got, tt.want) {
				t.Errorf("%s with %s = %v: problems %q, want %q among them", tt.kind, strings.Join(tt.path, "."), tt.to, got, tt.want)
			}
			break
		}
	}
}

// Checksums of the modules whose CRDs are read.
const (
	karpenterSum = "h1:WGtIQTQcxpElYMdWfWuPwaF2+9muR+hYhPZsTtoY8Gs="
	kedaSum      = "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps="
)
