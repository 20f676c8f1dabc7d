package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/evenkeel-dev/evenkeel/internal/capacity"
	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/kube/nodeapi"
)

// CapacityManager is the field manager of what is changed of NodePools.
const CapacityManager = "evenkeel-capacity"

const (
	nodePoolsPath = "/apis/karpenter.sh/v1/nodepools"

	typeKey     = "node.kubernetes.io/instance-type"
	zoneKey     = "topology.kubernetes.io/zone"
	capacityKey = "karpenter.sh/capacity-type"
)

// NodePools reads and changes Karpenter's NodePools. Karpenter's own Go types bring
// hundreds of packages with them, so the fields that are used are written down here.
type NodePools struct{ rest rest.Interface }

// NewNodePools returns the NodePools of the cluster behind api.
func NewNodePools(api kubernetes.Interface) *NodePools {
	return &NodePools{api.CoreV1().RESTClient()}
}

// Kind says that they are NodePools.
func (n *NodePools) Kind() capacity.Kind { return capacity.NodePool }

type nodePool struct {
	Metadata struct {
		Name            string `json:"name"`
		UID             string `json:"uid"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Spec struct {
		Replicas *int `json:"replicas"`
		Weight   int  `json:"weight"`
		Template struct {
			Metadata struct {
				Labels map[string]string `json:"labels"`
			} `json:"metadata"`
			Spec struct {
				Requirements []requirement `json:"requirements"`
			} `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
}

type requirement struct {
	Key       string   `json:"key"`
	Operator  string   `json:"operator"`
	Values    []string `json:"values,omitempty"`
	MinValues *int     `json:"minValues,omitempty"`
}

// Groups lists the NodePools. Where Karpenter is not installed there are none.
func (n *NodePools) Groups(ctx context.Context) ([]capacity.Group, error) {
	data, err := once(n.rest.Get().AbsPath(nodePoolsPath).SetHeader("Accept", "application/json")).Do(ctx).Raw()
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing NodePools: %w", err)
	}
	var list struct {
		Items []nodePool `json:"items"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("reading NodePools: %w", err)
	}
	var out []capacity.Group
	for i := range list.Items {
		out = append(out, list.Items[i].group())
	}
	return out, nil
}

// group is what the decisions need of a NodePool.
func (p *nodePool) group() capacity.Group {
	g := capacity.Group{
		Pool: p.Metadata.Name, Kind: capacity.NodePool, Name: p.Metadata.Name, UID: p.Metadata.UID,
		Types: p.values(typeKey), Zones: p.values(zoneKey), Set: p.settings(),
	}
	if label := p.Spec.Template.Metadata.Labels[cluster.PoolLabel]; label != "" {
		g.Pool = label
	}
	// Without a requirement both are allowed.
	how := p.values(capacityKey)
	g.Spot, g.OnDemand = len(how) == 0 || slices.Contains(how, "spot"), len(how) == 0 || slices.Contains(how, "on-demand")
	if p.Spec.Replicas != nil {
		g.Fixed = "it is static: it has replicas, and a weight is not allowed"
	}
	return g
}

// values are what requirements with In allow of a key.
func (p *nodePool) values(key string) []string {
	var out []string
	first := true
	for _, r := range p.Spec.Template.Spec.Requirements {
		if r.Key != key || r.Operator != "In" {
			continue
		}
		if first {
			out, first = slices.Clone(r.Values), false
			continue
		}
		out = slices.DeleteFunc(out, func(v string) bool { return !slices.Contains(r.Values, v) })
	}
	return out
}

// without are what requirements with NotIn exclude of a key.
func (p *nodePool) without(key string) []string {
	var out []string
	for _, r := range p.Spec.Template.Spec.Requirements {
		if r.Key == key && r.Operator == "NotIn" {
			out = append(out, r.Values...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (p *nodePool) settings() capacity.Settings {
	return capacity.Settings{Weight: p.Spec.Weight, NoTypes: p.without(typeKey), NoZones: p.without(zoneKey)}
}

// Change sets weight and exclusions of a NodePool. The patch carries the version that
// was compared, so the API server refuses it if somebody else comes between.
func (n *NodePools) Change(ctx context.Context, g capacity.Group, from, to capacity.Settings) error {
	path := nodePoolsPath + "/" + g.Name
	data, err := once(n.rest.Get().AbsPath(path).SetHeader("Accept", "application/json")).Do(ctx).Raw()
	if err != nil {
		return fmt.Errorf("reading NodePool %s: %w", g.Name, err)
	}
	var p nodePool
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("reading NodePool %s: %w", g.Name, err)
	}
	switch now := p.settings(); {
	case now.Equal(to):
		return nil // by us, and the answer was lost
	case !now.Equal(from):
		return fmt.Errorf("NodePool %s: %w", g.Name, capacity.ErrChanged)
	}
	spec := make(map[string]any)
	if from.Weight != to.Weight {
		spec["weight"] = any(to.Weight)
		if to.Weight == 0 {
			spec["weight"] = nil
		}
	}
	if !slices.Equal(from.NoTypes, to.NoTypes) || !slices.Equal(from.NoZones, to.NoZones) {
		list := exclude(p.Spec.Template.Spec.Requirements, typeKey, from.NoTypes, to.NoTypes)
		list = exclude(list, zoneKey, from.NoZones, to.NoZones)
		spec["template"] = map[string]any{"spec": map[string]any{"requirements": list}}
	}
	body := nodeapi.Encode(map[string]any{"metadata": map[string]any{"resourceVersion": p.Metadata.ResourceVersion}, "spec": spec})
	err = once(n.rest.Patch(types.MergePatchType).AbsPath(path).SetHeader("Accept", "application/json").
		Param("fieldManager", CapacityManager).Body(body)).Do(ctx).Error()
	if apierrors.IsConflict(err) {
		return fmt.Errorf("NodePool %s: %w", g.Name, capacity.ErrChanged)
	}
	if err != nil {
		return fmt.Errorf("changing NodePool %s: %w", g.Name, err)
	}
	return nil
}

// exclude returns requirements that exclude other values of a key. What is added gets
// a requirement of its own behind the others, and the rest stay as they are.
func exclude(list []requirement, key string, from, to []string) []requirement {
	var out []requirement
	for _, r := range list {
		if r.Key == key && r.Operator == "NotIn" {
			r.Values = slices.DeleteFunc(slices.Clone(r.Values), func(v string) bool { return slices.Contains(from, v) && !slices.Contains(to, v) })
			if len(r.Values) == 0 {
				continue
			}
		}
		out = append(out, r)
	}
	if added := slices.DeleteFunc(slices.Clone(to), func(v string) bool { return slices.Contains(from, v) }); len(added) > 0 {
		out = append(out, requirement{Key: key, Operator: "NotIn", Values: added})
	}
	return out
}
