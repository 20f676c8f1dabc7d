package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// TestInitFromCluster serves the reference platform's objects as lists, and two
// nodes, and reads the description that comes out.
func TestInitFromCluster(t *testing.T) {
	lists := map[string][]any{}
	plural := map[string]string{
		"Deployment": "/apis/apps/v1/namespaces/market-intel-brain/deployments", "StatefulSet": "/apis/apps/v1/namespaces/market-intel-brain/statefulsets",
		"Service": "/api/v1/namespaces/market-intel-brain/services", "PodDisruptionBudget": "/apis/policy/v1/namespaces/market-intel-brain/poddisruptionbudgets",
	}
	paths, err := filepath.Glob("../../examples/market-intel-brain/rendered/kubernetes/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for doc := range bytes.SplitSeq(data, []byte("\n---\n")) {
			var o map[string]any
			if err := yaml.Unmarshal(doc, &o); err != nil {
				t.Fatal(err)
			}
			if list, ok := plural[o["kind"].(string)]; ok {
				lists[list] = append(lists[list], o)
			}
		}
	}
	for _, zone := range []string{"eu-west-1a", "eu-west-1b"} {
		lists["/api/v1/nodes"] = append(lists["/api/v1/nodes"], map[string]any{"metadata": map[string]any{"name": zone, "labels": map[string]any{
			"topology.kubernetes.io/region": "eu-west-1", "topology.kubernetes.io/zone": zone,
			"node.kubernetes.io/instance-type": "c5.large", "karpenter.sh/capacity-type": "spot",
		}}})
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			t.Errorf("%s %s: init must not write", r.Method, r.URL.Path)
		}
		items := lists[r.URL.Path]
		if items == nil {
			items = []any{}
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(map[string]any{"items": items}); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()

	kubeconfig := writeKubeconfig(t, server.URL)
	var out, errOut bytes.Buffer
	code := Main(t.Context(), []string{"init", "--from-cluster", "-n", "market-intel-brain", "--kubeconfig", kubeconfig, "-o", "-"}, Streams{Out: &out, Err: &errOut})
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errOut.String())
	}
	p, err := spec.Parse(strings.NewReader(out.String()), "out.yaml")
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if p.Cluster.Region != "eu-west-1" || len(p.Cluster.Zones) != 2 || len(p.Services) != 6 || p.Cluster.Namespace != "market-intel-brain" {
		t.Errorf("cluster %+v with %d services, want eu-west-1, 2 zones and 6 services", p.Cluster, len(p.Services))
	}

	server.Close()
	if code := Main(t.Context(), []string{"init", "--from-cluster", "-n", "x", "--kubeconfig", kubeconfig, "-o", "-"}, Streams{Out: &out, Err: &errOut}); code != ExitFailed {
		t.Errorf("a cluster that is gone: exit %d, want %d", code, ExitFailed)
	}
}
