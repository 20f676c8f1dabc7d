package storage

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func claim(name string, change func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "uid-1", Annotations: map[string]string{
			provisionerAnnotation: provisioner, nodeAnnotation: "n1",
		}},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
	if change != nil {
		change(c)
	}
	return c
}

func TestProvision(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{corev1.LabelTopologyZone: "us-east-1b"}}}
	for _, test := range []struct {
		name    string
		change  func(*corev1.PersistentVolumeClaim)
		volumes int
		node    string // that the claim names afterwards
	}{
		{"given a node", nil, 1, "n1"},
		{"no pod yet", func(c *corev1.PersistentVolumeClaim) { delete(c.Annotations, nodeAnnotation) }, 0, ""},
		{"of another class", func(c *corev1.PersistentVolumeClaim) { c.Annotations[provisionerAnnotation] = "ebs.csi.aws.com" }, 0, "n1"},
		{"bound", func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "pvc-old" }, 0, "n1"},
		{"its node went", func(c *corev1.PersistentVolumeClaim) { c.Annotations[nodeAnnotation] = "n2" }, 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			client := fake.NewClientset(node, claim("data-engine-0", test.change))
			p := New(client, filepath.Join(t.TempDir(), "volumes"), slog.New(slog.NewTextHandler(io.Discard, nil)))
			for range 2 { // the second time finds the work done
				if err := p.provision(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			volumes, err := client.CoreV1().PersistentVolumes().List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if len(volumes.Items) != test.volumes {
				t.Fatalf("%d volumes, want %d", len(volumes.Items), test.volumes)
			}
			c, err := client.CoreV1().PersistentVolumeClaims("shop").Get(t.Context(), "data-engine-0", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Annotations[nodeAnnotation]; got != test.node {
				t.Errorf("the claim names node %q, want %q", got, test.node)
			}
			if test.volumes == 0 {
				return
			}
			v := volumes.Items[0]
			zone := v.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0]
			if v.Spec.ClaimRef.UID != c.UID || zone.Values[0] != "us-east-1b" || v.Spec.StorageClassName != Class().Name {
				t.Errorf("volume %+v", v.Spec)
			}
			if s, err := os.Stat(v.Spec.HostPath.Path); err != nil || !s.IsDir() {
				t.Errorf("its folder: %v", err)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	p := New(nil, filepath.Join(dir, "volumes"), nil)
	if files, err := p.Files(); err != nil || len(files) != 0 {
		t.Errorf("before the first volume: %v, %v", files, err)
	}
	want := filepath.Join(dir, "volumes", "pvc-1", "ledger")
	if err := os.MkdirAll(filepath.Dir(want), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(want, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if files, err := p.Files(); err != nil || len(files) != 1 || files[0] != want {
		t.Errorf("files %v, %v; want %s", files, err, want)
	}
}
