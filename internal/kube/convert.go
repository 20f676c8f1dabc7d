package kube

import (
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

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
		d.Template = o.Spec.Template.Labels
		return d, nil
	case *appsv1.StatefulSet:
		sel, err := selector(o, o.Spec.Selector)
		a := adopter(o, "StatefulSet", sel)
		a.Template, a.Replicas = o.Spec.Template.Labels, 1
		if o.Spec.Replicas != nil {
			a.Replicas = int(*o.Spec.Replicas)
		}
		return a, err
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
	case *policyv1.PodDisruptionBudget:
		return budget(o)
	}
	return nil, fmt.Errorf("converting a %T: not a kind that is watched", obj)
}

func budget(o *policyv1.PodDisruptionBudget) (cluster.Object, error) {
	sel, err := selector(o, o.Spec.Selector)
	b := &cluster.Budget{
		Key: key(o), UID: cluster.UID(o.UID), Selector: sel, Allowed: int(o.Status.DisruptionsAllowed),
		Min: limit(o.Spec.MinAvailable), Max: limit(o.Spec.MaxUnavailable),
	}
	for name, to := range map[string]**cluster.Limit{
		cluster.MinAvailableAnnotation: &b.OtherMin, cluster.MaxUnavailableAnnotation: &b.OtherMax,
	} {
		if v, ok := o.Annotations[name]; ok {
			l, bad := cluster.ParseLimit(v)
			if bad != nil {
				err = fmt.Errorf("reading annotation %s of budget %s: %w", name, b.Key, bad)
				continue
			}
			*to, b.Version = &l, o.ResourceVersion
		}
	}
	return b, err
}

func limit(v *intstr.IntOrString) *cluster.Limit {
	if v == nil {
		return nil
	}
	l, err := cluster.ParseLimit(v.String())
	if err != nil {
		return nil // not reached: the API server has checked it
	}
	return &l
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

// targetHealth begins the readiness gates that the AWS Load Balancer Controller
// gives to pods that it registers in target groups by their IP.
const targetHealth = "target-health.elbv2.k8s.aws/"

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

		Deregistration: -1,
	}
	if o.DeletionTimestamp != nil {
		p.Ends = o.DeletionTimestamp.Time
	}
	if d, err := time.ParseDuration(o.Annotations[cluster.DeregistrationAnnotation]); err == nil && d >= 0 {
		p.Deregistration = d
	}
	if at, err := time.Parse(time.RFC3339, o.Annotations[cluster.WithdrawnAnnotation]); err == nil {
		p.Withdrawn = at
	}
	for _, v := range o.Spec.Volumes {
		p.Volumes = p.Volumes || v.PersistentVolumeClaim != nil || v.Ephemeral != nil
	}
	for _, g := range o.Spec.ReadinessGates {
		p.Targeted = p.Targeted || strings.HasPrefix(string(g.ConditionType), targetHealth)
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
