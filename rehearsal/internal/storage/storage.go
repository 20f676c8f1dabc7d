// Package storage plays a cloud's disks. For every claim that the scheduler has
// given a node it makes a PersistentVolume: a folder of this machine that, like a
// disk of the cloud, can be used in the zone of that node only. Kubernetes' own
// controllers bind the two, and the scheduler keeps the claim's pods in the zone.
//
// Attaching and detaching take no time here, and a volume outlives its claim.
package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

const (
	// provisioner is the name under which claims ask for these volumes.
	provisioner = "rehearsal.evenkeel.dev/folder"
	// className is the name of the default StorageClass.
	className = "rehearsal"

	// Written by Kubernetes' controllers: who is to make the volume, and on which
	// node the claim's first pod is to run.
	provisionerAnnotation = "volume.kubernetes.io/storage-provisioner"
	nodeAnnotation        = "volume.kubernetes.io/selected-node"
)

// Class returns the cluster's default StorageClass, whose volumes the Provisioner
// makes when the first pod has been given a node.
func Class() *storagev1.StorageClass {
	wait := storagev1.VolumeBindingWaitForFirstConsumer
	retain := corev1.PersistentVolumeReclaimRetain
	return &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{
			Name:        className,
			Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"},
		},
		Provisioner: provisioner, VolumeBindingMode: &wait, ReclaimPolicy: &retain,
	}
}

// Provisioner makes volumes.
type Provisioner struct {
	client kubernetes.Interface
	dir    string
	log    *slog.Logger
}

// New returns a Provisioner that keeps volumes below dir, one folder each.
func New(client kubernetes.Interface, dir string, log *slog.Logger) *Provisioner {
	return &Provisioner{client, dir, log}
}

// period is how often claims are looked at. They are few, and a pod that waits for
// its first volume waits for its image as well.
const period = 250 * time.Millisecond

// Run makes volumes until ctx ends. What fails is tried again: the API server may
// be stopped by a fault.
func (p *Provisioner) Run(ctx context.Context) error {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := p.provision(ctx); err != nil {
			p.log.Debug("making volumes", "err", err)
		}
	}
}

// provision makes the volumes of all claims that wait for one.
func (p *Provisioner) provision(ctx context.Context) error {
	claims, err := p.client.CoreV1().PersistentVolumeClaims(metav1.NamespaceAll).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return fmt.Errorf("listing claims: %w", err)
	}
	var failed []error
	for i := range claims.Items {
		c := &claims.Items[i]
		if c.Annotations[provisionerAnnotation] != provisioner || c.Annotations[nodeAnnotation] == "" || c.Spec.VolumeName != "" {
			continue
		}
		if err := p.make(ctx, c); err != nil {
			failed = append(failed, fmt.Errorf("claim %s/%s: %w", c.Namespace, c.Name, err))
		}
	}
	return errors.Join(failed...)
}

// make makes a claim's volume in the zone of the node that was chosen for it. If
// the node has gone since, the scheduler is asked for another one.
func (p *Provisioner) make(ctx context.Context, c *corev1.PersistentVolumeClaim) error {
	node, err := p.client.CoreV1().Nodes().Get(ctx, c.Annotations[nodeAnnotation], metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:null}}}`, nodeAnnotation)
		_, err := p.client.CoreV1().PersistentVolumeClaims(c.Namespace).Patch(ctx, c.Name, types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	}
	if err != nil {
		return err
	}
	v := p.volume(c, node.Labels[corev1.LabelTopologyZone])
	if err := os.MkdirAll(v.Spec.HostPath.Path, 0o755); err != nil {
		return err
	}
	_, err = p.client.CoreV1().PersistentVolumes().Create(ctx, v, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil // made before, and not bound yet
	}
	if err == nil {
		p.log.Info("volume made", "claim", c.Namespace+"/"+c.Name, "zone", node.Labels[corev1.LabelTopologyZone])
	}
	return err
}

// volume returns the volume of a claim. Its name follows from the claim, so that
// there is never a second one.
func (p *Provisioner) volume(c *corev1.PersistentVolumeClaim, zone string) *corev1.PersistentVolume {
	name := "pvc-" + string(c.UID)
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": provisioner},
		},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      c.Spec.Resources.Requests,
			AccessModes:                   c.Spec.AccessModes,
			StorageClassName:              className,
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: filepath.Join(p.dir, name)},
			},
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: c.Namespace, Name: c.Name, UID: c.UID,
			},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{
					{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{zone}},
				},
			}}}},
		},
	}
}

// Files returns the paths of all files on the volumes, in order.
func (p *Provisioner) Files() ([]string, error) {
	var out []string
	err := filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // no volume was ever made
		case err == nil && d.Type().IsRegular():
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking at the volumes: %w", err)
	}
	return out, nil
}
