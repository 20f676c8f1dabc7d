package nodeapi

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// Client is an API that knows the types of API group "core" and no others.
type Client struct{ rest rest.Interface }

var _ API = (*Client)(nil)

// NewClient returns a Client for the API server of c.
func NewClient(c *rest.Config) (*Client, error) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("making a client for nodes: %w", err)
	}
	config := rest.CopyConfig(c)
	config.APIPath = "/api"
	config.GroupVersion = &corev1.SchemeGroupVersion
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for nodes: %w", err)
	}
	return &Client{client}, nil
}

// GetNode reads one node.
func (c *Client) GetNode(ctx context.Context, name string) (*corev1.Node, error) {
	var n corev1.Node
	if err := c.rest.Get().Resource("nodes").Name(name).Do(ctx).Into(&n); err != nil {
		return nil, err
	}
	return &n, nil
}

// Instances lists the names of all nodes, by the instance that each stands for.
func (c *Client) Instances(ctx context.Context) (map[interruption.InstanceID]string, error) {
	names := make(map[interruption.InstanceID]string)
	options := metav1.ListOptions{Limit: 500}
	for {
		var page corev1.NodeList
		if err := c.rest.Get().Resource("nodes").VersionedParams(&options, metav1.ParameterCodec).Do(ctx).Into(&page); err != nil {
			return nil, fmt.Errorf("listing nodes: %w", err)
		}
		for i := range page.Items {
			if id, ok := interruption.InstanceOfProviderID(page.Items[i].Spec.ProviderID); ok {
				names[id] = page.Items[i].Name
			}
		}
		if page.Continue == "" {
			return names, nil
		}
		options.Continue = page.Continue
	}
}

// PatchNode applies a JSON merge patch to a node.
func (c *Client) PatchNode(ctx context.Context, name string, patch []byte) error {
	return c.rest.Patch(types.MergePatchType).Resource("nodes").Name(name).Body(patch).Do(ctx).Error()
}
