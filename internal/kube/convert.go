package kube

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/kube/nodeapi"
)

// convert turns an API object into what the decisions need of it, so that the
// object itself can be forgotten at once. It returns nil for one that no
// decision depends on.
func convert(obj any) (cluster.Object, error) {
	switch o := obj.(type) {
	case *corev1.Node:
		return nodeapi.Convert(o), nil
	case *corev1.Pod:
		return pod(o), nil
	case *appsv1.ReplicaSet:
		sel, err := selector(o, o.Spec.Selector)
		return &cluster.ReplicaSet{
			Key: key(o), UID: cluster.UID(o.UID), Owner: owner(o),
			Hash: o.Labels[cluster.TemplateHashLabel], Selector: sel,
		}, err
	case *appsv1.Deployment:
		d := &cluster.Deployment{
			Key: key(o), UID: cluster.UID(o.UID), Replicas: 1, // the API's default
			Recreate: o.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType,
			MinReady: time.Duration(o.Spec.MinReadySeconds) * time.Second,
		}
		if o.Spec.Replicas != nil {
			d.Replicas = int(*o.Spec.Replicas)
		}
		return d, nil
	case *appsv1.StatefulSet:
		sel, err := selector(o, o.Spec.Selector)
		return adopter(o, "StatefulSet", sel), err
	case *batchv1.Job:
		sel, err := selector(o, o.Spec.Selector)
		return adopter(o, "Job", sel), err
	case *corev1.ReplicationController:
		if len(o.Spec.Selector) == 0 {
			return nil, nil
		}
		return adopter(o, "ReplicationController", labels.SelectorFromSet(o.Spec.Selector)), nil
	case *corev1.Service:
		if len(o.Spec.Selector) == 0 {
			return nil, nil
		}
		return &cluster.Service{Key: key(o), Selector: o.Spec.Selector}, nil
	}
	return nil, fmt.Errorf("converting a %T: not a kind that is watched", obj)
}

func key(o metav1.Object) cluster.Key {
	return cluster.Key{Namespace: o.GetNamespace(), Name: o.GetName()}
}

func owner(o metav1.Object) cluster.Owner {
	ref := metav1.GetControllerOfNoCopy(o)
	if ref == nil {
		return cluster.Owner{}
	}
	return cluster.Owner{Kind: ref.Kind, Name: ref.Name, UID: cluster.UID(ref.UID)}
}

// selector parses a label selector. One that cannot be parsed matches nothing,
// as for the controller that owns it.
func selector(o metav1.Object, s *metav1.LabelSelector) (labels.Selector, error) {
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing(), fmt.Errorf("parsing the selector of %s: %w", key(o), err)
	}
	return sel, nil
}

// adopter describes an object that takes pods in by a selector.
func adopter(o metav1.Object, kind string, sel labels.Selector) *cluster.Controller {
	return &cluster.Controller{Key: key(o), Kind: kind, UID: cluster.UID(o.GetUID()), Selector: sel}
}

func pod(o *corev1.Pod) *cluster.Pod {
	p := &cluster.Pod{
		Key: key(o), UID: cluster.UID(o.UID), Node: o.Spec.NodeName,
		Labels: o.Labels, Owner: owner(o),
		Completed:   o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed,
		Terminating: o.DeletionTimestamp != nil,
		Grace:       30 * time.Second, // the API's default
		Deadline:    o.Annotations[cluster.DeadlineAnnotation],
		NoHandoff:   o.Annotations[cluster.HandoffAnnotation] == "false",
		OnDeadline:  o.Annotations[cluster.OnDeadlineAnnotation],
	}
	_, p.Mirror = o.Annotations[corev1.MirrorPodAnnotationKey]
	if s := o.Spec.TerminationGracePeriodSeconds; s != nil {
		p.Grace = time.Duration(*s) * time.Second
	}
	for i := range o.Spec.Containers {
		requests := o.Spec.Containers[i].Resources.Requests
		p.CPUMilli += requests.Cpu().MilliValue()
		p.Memory += requests.Memory().Value()
	}
	for _, c := range o.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			p.Ready, p.ReadySince = true, c.LastTransitionTime.Time
		}
	}
	return p
}
