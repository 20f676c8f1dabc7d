// Package adopt describes workloads that exist as a platform file, so that a
// team need not start from nothing. It reads decoded objects and returns text;
// where objects do not say enough, it writes a careful value and marks it CHECK.
package adopt

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// Input is what is described. Namespace, if set, leaves out objects that say
// they are in another.
type Input struct {
	Namespace    string
	Deployments  []appsv1.Deployment
	StatefulSets []appsv1.StatefulSet
	Services     []corev1.Service
	Budgets      []policyv1.PodDisruptionBudget
	Autoscalers  []autoscalingv2.HorizontalPodAutoscaler
	Nodes        []corev1.Node
}

// AddYAML adds the objects of a stream of YAML documents. Kinds that say nothing
// about a platform are passed over.
func (in *Input) AddYAML(name string, data []byte) error {
	docs := utilyaml.NewYAMLReader(newReader(data))
	for n := 1; ; n++ {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		if err := in.addDocument(doc); err != nil {
			return fmt.Errorf("reading document %d of %s: %w", n, name, err)
		}
	}
}

func (in *Input) addDocument(doc []byte) error {
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal(doc, &kind); err != nil {
		return err
	}
	switch kind.Kind {
	case "List":
		var list struct {
			Items []any `json:"items"`
		}
		if err := yaml.Unmarshal(doc, &list); err != nil {
			return err
		}
		for _, item := range list.Items {
			inner, err := yaml.Marshal(item)
			if err != nil {
				return err
			}
			if bytes.Contains(inner, []byte("kind: List\n")) {
				return errors.New("a List in a List is not supported")
			}
			if err := in.addDocument(inner); err != nil {
				return err
			}
		}
	case "Deployment":
		return add(doc, &in.Deployments)
	case "StatefulSet":
		return add(doc, &in.StatefulSets)
	case "Service":
		return add(doc, &in.Services)
	case "PodDisruptionBudget":
		return add(doc, &in.Budgets)
	case "HorizontalPodAutoscaler":
		return add(doc, &in.Autoscalers)
	case "Node":
		return add(doc, &in.Nodes)
	}
	return nil
}

func add[T any](doc []byte, to *[]T) error {
	var v T
	if err := yaml.Unmarshal(doc, &v); err != nil {
		return err
	}
	*to = append(*to, v)
	return nil
}
