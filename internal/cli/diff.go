package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"

	"github.com/evenkeel-dev/evenkeel/internal/render"
)

const diffHelp = `Diff asks the API server what applying the platform would change, and prints it.
Nothing is changed: the server applies each object as a dry run.

Objects that are not rendered are not looked at. Exits with 0 if nothing would
change, 1 if something would, and more than 1 on an error, as kubectl diff does.`

// fieldManager owns the fields that the platform declares.
const fieldManager = "evenkeel"

// NewDiffCommand returns the command "diff".
func NewDiffCommand(s Streams) *cobra.Command {
	var file string
	var cluster clusterFlags
	var only []string
	c := &cobra.Command{
		Use:     "diff",
		Short:   "Show what applying the platform would change in a cluster",
		Long:    diffHelp,
		Example: "  evenkeel diff -f platform.yaml --context production",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := readPlatform(s, file)
			if err != nil {
				return err
			}
			objects, err := render.Objects(p, only)
			if err != nil {
				return failed(err)
			}
			d, err := newDiffer(&cluster)
			if err != nil {
				return failed(err)
			}
			return d.all(c.Context(), s, objects)
		},
	}
	fileFlag(c, &file)
	cluster.add(c)
	c.Flags().StringSliceVar(&only, "only", []string{"kubernetes", "keda"}, "families (kubernetes, keda, karpenter) or `kinds`, separated by commas")
	return c
}

// A differ compares objects with a cluster.
type differ struct {
	client dynamic.Interface
	mapper meta.RESTMapper
}

func newDiffer(flags *clusterFlags) (*differ, error) {
	config, err := flags.config()
	if err != nil {
		return nil, err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	disco, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	groups, err := restmapper.GetAPIGroupResources(disco)
	if err != nil {
		return nil, fmt.Errorf("asking the cluster for its kinds: %w", err)
	}
	return &differ{client, restmapper.NewDiscoveryRESTMapper(groups)}, nil
}

func (d *differ) all(ctx context.Context, s Streams, objects []unstructured.Unstructured) error {
	differs := false
	for _, o := range objects {
		text, err := d.one(ctx, o)
		if err != nil {
			return failed(fmt.Errorf("comparing %s %s: %w", o.GetKind(), o.GetName(), err))
		}
		if text != "" {
			differs = true
			if _, err := fmt.Fprint(s.Out, text); err != nil {
				return failed(err)
			}
		}
	}
	if differs {
		return found()
	}
	return nil
}

// one returns the difference that applying an object would make, or "".
func (d *differ) one(ctx context.Context, o unstructured.Unstructured) (string, error) {
	name := fmt.Sprintf("%s/%s", strings.ToLower(o.GetKind()), o.GetName())
	mapping, err := d.mapper.RESTMapping(o.GroupVersionKind().GroupKind(), o.GroupVersionKind().Version)
	if meta.IsNoMatchError(err) {
		// Its operator is not installed yet, so the object cannot be there.
		return unified(name, nil, &o)
	}
	if err != nil {
		return "", err
	}
	var client dynamic.ResourceInterface = d.client.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		client = d.client.Resource(mapping.Resource).Namespace(o.GetNamespace())
	}
	live, err := client.Get(ctx, o.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		live = nil
	} else if err != nil {
		return "", err
	}
	body, err := o.MarshalJSON()
	if err != nil {
		return "", err
	}
	force := true // who owns a field now does not matter to what it would become
	applied, err := client.Patch(ctx, o.GetName(), types.ApplyPatchType, body, metav1.PatchOptions{
		DryRun: []string{metav1.DryRunAll}, FieldManager: fieldManager, Force: &force, FieldValidation: metav1.FieldValidationStrict,
	})
	if live == nil && apierrors.IsNotFound(err) {
		applied, err = &o, nil // its namespace is not there yet either
	}
	if err != nil {
		return "", err
	}
	return unified(name, live, applied)
}

// unified compares two objects as a person would, without what only the server
// writes. A nil object is one that does not exist.
func unified(name string, live, applied *unstructured.Unstructured) (string, error) {
	texts := make([]string, 2)
	for i, o := range []*unstructured.Unstructured{live, applied} {
		if o == nil {
			continue
		}
		o = o.DeepCopy()
		unstructured.RemoveNestedField(o.Object, "status")
		for _, field := range []string{"managedFields", "resourceVersion", "generation", "creationTimestamp", "uid"} {
			unstructured.RemoveNestedField(o.Object, "metadata", field)
		}
		data, err := yaml.Marshal(o.Object)
		if err != nil {
			return "", err
		}
		texts[i] = string(data)
	}
	return string(diff.Diff("live/"+name, []byte(texts[0]), "platform/"+name, []byte(texts[1]))), nil
}
