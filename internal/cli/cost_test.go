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

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestCostOfCluster counts the nodes that an API server lists.
func TestCostOfCluster(t *testing.T) {
	node := func(name, instanceType, capacity string) corev1.Node {
		return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			"node.kubernetes.io/instance-type": instanceType, "topology.kubernetes.io/zone": "us-east-1a",
			"topology.kubernetes.io/region": "us-east-1", "karpenter.sh/capacity-type": capacity, "karpenter.sh/nodepool": "web",
		}}}
	}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/nodes" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(corev1.NodeList{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NodeList"},
			Items:    []corev1.Node{node("a", "m5.large", "spot"), node("b", "m5.large", "spot"), node("c", "m5.large", "on-demand"), node("d", "u9.huge", "spot")},
		})
	}))
	defer api.Close()
	kubeconfig := filepath.Join(t.TempDir(), "config")
	err := os.WriteFile(kubeconfig, []byte(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "`+api.URL+`"}}]
contexts: [{name: c, context: {cluster: c}}]
current-context: c
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (stdout, stderr string, code int) {
		var out, talk bytes.Buffer
		code = Main(t.Context(), append([]string{"cost", "--cluster", "--kubeconfig", kubeconfig}, args...), Streams{In: strings.NewReader(""), Out: &out, Err: &talk})
		return out.String(), talk.String(), code
	}
	out, talk, code := run("-o", "csv")
	if code != ExitClean {
		t.Fatalf("exit %d: %s", code, talk)
	}
	for _, want := range []string{"web,m5.large,us-east-1a,spot,2,0.1920,0.06528,66.0,", "web,m5.large,us-east-1a,on-demand,1,0.0960,0.0960,0.0,"} {
		if !strings.Contains(out, want) {
			t.Errorf("no row %q in\n%s", want, out)
		}
	}
	if !strings.Contains(talk, `node d: no price of instance type "u9.huge"`) {
		t.Errorf("nothing is said of the node without a price: %s", talk)
	}
	if out, _, _ := run("-o", "json"); !json.Valid([]byte(out)) {
		t.Errorf("not JSON:\n%s", out)
	}
	if out, _, _ := run(); !strings.Contains(out, "all") {
		t.Errorf("no sum in\n%s", out)
	}
	api.Close()
	if _, talk, code := run(); code != ExitFailed || !strings.Contains(talk, "listing nodes") {
		t.Errorf("without an API server: exit %d, %s", code, talk)
	}
}
