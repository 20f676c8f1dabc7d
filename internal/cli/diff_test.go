package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sigs.k8s.io/yaml"
)

// A fakeCluster is as much of an API server as diff asks for: discovery, reads,
// and server-side apply as a dry run, which lays the patch over what is stored.
type fakeCluster struct {
	t *testing.T

	mu      sync.Mutex
	objects map[string]map[string]any // by path
	broken  bool                      // answers with 500
}

func (f *fakeCluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	resource := func(name, kind string, namespaced bool) map[string]any {
		return map[string]any{"name": name, "kind": kind, "namespaced": namespaced, "verbs": []string{"get", "patch"}}
	}
	lists := map[string][]map[string]any{
		"/api/v1":                            {resource("namespaces", "Namespace", false), resource("services", "Service", true), resource("serviceaccounts", "ServiceAccount", true)},
		"/apis/apps/v1":                      {resource("deployments", "Deployment", true), resource("statefulsets", "StatefulSet", true)},
		"/apis/policy/v1":                    {resource("poddisruptionbudgets", "PodDisruptionBudget", true)},
		"/apis/networking.k8s.io/v1":         {resource("networkpolicies", "NetworkPolicy", true)},
		"/apis/scheduling.k8s.io/v1":         {resource("priorityclasses", "PriorityClass", false)},
		"/apis/rbac.authorization.k8s.io/v1": {resource("clusterrolebindings", "ClusterRoleBinding", false)},
	}
	path := r.URL.Path
	switch {
	case f.broken:
		f.status(w, http.StatusInternalServerError, "InternalError")
	case path == "/api":
		f.answer(w, map[string]any{"kind": "APIVersions", "versions": []string{"v1"}})
	case path == "/apis":
		var groups []map[string]any
		for list := range lists {
			if parts := strings.Split(list, "/"); len(parts) == 4 {
				v := map[string]any{"groupVersion": parts[2] + "/" + parts[3], "version": parts[3]}
				groups = append(groups, map[string]any{"name": parts[2], "versions": []any{v}, "preferredVersion": v})
			}
		}
		f.answer(w, map[string]any{"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
	case lists[path] != nil:
		f.answer(w, map[string]any{"kind": "APIResourceList", "groupVersion": strings.TrimPrefix(strings.TrimPrefix(path, "/apis/"), "/api/"), "resources": lists[path]})
	case r.Method == http.MethodGet:
		if o, ok := f.objects[path]; ok {
			f.answer(w, o)
			return
		}
		f.status(w, http.StatusNotFound, "NotFound")
	case r.Method == http.MethodPatch:
		q := r.URL.Query()
		if q.Get("dryRun") != "All" || q.Get("fieldManager") != "evenkeel" || q.Get("fieldValidation") != "Strict" || r.Header.Get("Content-Type") != "application/apply-patch+yaml" {
			f.t.Errorf("patch of %s with %s and %s: diff must change nothing and be strict", path, q, r.Header.Get("Content-Type"))
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			f.t.Error(err)
		}
		var patch map[string]any
		if err := yaml.Unmarshal(body, &patch); err != nil {
			f.t.Error(err)
		}
		f.answer(w, merge(f.objects[path], patch))
	default:
		f.t.Errorf("%s %s: diff must not write", r.Method, path)
		f.status(w, http.StatusMethodNotAllowed, "MethodNotAllowed")
	}
}

func merge(base, patch map[string]any) map[string]any {
	out := make(map[string]any)
	for k, v := range base {
		out[k] = v
	}
	for k, v := range patch {
		if m, ok := v.(map[string]any); ok {
			b, _ := out[k].(map[string]any)
			v = merge(b, m)
		}
		out[k] = v
	}
	return out
}

func (f *fakeCluster) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		f.t.Error(err)
	}
}

func (f *fakeCluster) status(w http.ResponseWriter, code int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason})
}

func newFakeCluster(t *testing.T) (*fakeCluster, string) {
	t.Helper()
	f := &fakeCluster{t: t, objects: make(map[string]map[string]any)}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return f, writeKubeconfig(t, server.URL)
}

func writeKubeconfig(t *testing.T, url string) string {
	t.Helper()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: \"" + url + "\"}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\n"
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

func runDiff(t *testing.T, kubeconfig string, args ...string) (code int, out, errOut string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	args = append([]string{"diff", "-f", "../../examples/market-intel-brain/platform.yaml", "--kubeconfig", kubeconfig}, args...)
	code = Main(t.Context(), args, Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr})
	return code, stdout.String(), stderr.String()
}

func TestDiff(t *testing.T) {
	f, kubeconfig := newFakeCluster(t)

	code, out, errOut := runDiff(t, kubeconfig, "--only", "PodDisruptionBudget")
	if code != 1 || strings.Count(out, "\n+++ platform/poddisruptionbudget/") != 6 {
		t.Fatalf("an empty cluster: exit %d, want 1 and 6 new budgets in\n%s%s", code, out, errOut)
	}

	// What was applied before, with everything that a server adds.
	var live map[string]any
	data, err := os.ReadFile("../../examples/market-intel-brain/rendered/kubernetes/00-namespace.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, &live); err != nil {
		t.Fatal(err)
	}
	live["status"] = map[string]any{"phase": "Active"}
	metadata := live["metadata"].(map[string]any)
	metadata["uid"], metadata["resourceVersion"], metadata["creationTimestamp"] = "u", "7", "2026-01-01T00:00:00Z"
	metadata["managedFields"] = []any{map[string]any{"manager": "kubectl"}}
	f.objects["/api/v1/namespaces/market-intel-brain"] = live
	if code, out, errOut := runDiff(t, kubeconfig, "--only", "Namespace"); code != 0 || out != "" {
		t.Errorf("the same object: exit %d, want 0 and nothing in\n%s%s", code, out, errOut)
	}

	metadata["labels"].(map[string]any)["pod-security.kubernetes.io/enforce"] = "privileged"
	code, out, _ = runDiff(t, kubeconfig, "--only", "Namespace")
	if code != 1 || !strings.Contains(out, "-    pod-security.kubernetes.io/enforce: privileged") || !strings.Contains(out, "+    pod-security.kubernetes.io/enforce: restricted") {
		t.Errorf("a changed label: exit %d, want 1 and the label in\n%s", code, out)
	}
	if strings.Contains(out, "resourceVersion") || strings.Contains(out, "managedFields") {
		t.Errorf("the server's own fields are shown:\n%s", out)
	}

	// A kind that the cluster does not know cannot be there.
	if code, out, _ := runDiff(t, kubeconfig, "--only", "ScaledObject"); code != 1 || !strings.Contains(out, "+kind: ScaledObject") {
		t.Errorf("an unknown kind: exit %d, want 1 and the object in\n%s", code, out)
	}

	f.broken = true
	if code, _, errOut := runDiff(t, kubeconfig); code != 3 || errOut == "" {
		t.Errorf("a broken cluster: exit %d (%s), want 3", code, errOut)
	}
}
