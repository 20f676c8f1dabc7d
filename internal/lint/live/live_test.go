package live_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/evenkeel-dev/evenkeel/internal/lint"
	"github.com/evenkeel-dev/evenkeel/internal/lint/live"
	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

// server answers list requests with objects by path, two to a page; other paths
// are kinds that the cluster does not have.
func server(t *testing.T, objects map[string][]string, forbidden string) dynamic.Interface {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		items, ok := objects[r.URL.Path]
		switch {
		case r.URL.Path == forbidden:
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"not yours"}`)
			return
		case !ok:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
			return
		}
		start := 0
		fmt.Sscan(r.URL.Query().Get("continue"), &start)
		end, next := min(start+2, len(items)), ""
		if end < len(items) {
			next = fmt.Sprint(end)
		}
		meta, err := json.Marshal(map[string]string{"continue": next})
		if err != nil {
			t.Error(err)
		}
		// As a real server does, the list names the kind, not its items.
		kind, version := "DeploymentList", "apps/v1"
		if strings.HasSuffix(r.URL.Path, "/nodes") {
			kind, version = "NodeList", "v1"
		}
		fmt.Fprintf(w, `{"kind":%q,"apiVersion":%q,"metadata":%s,"items":[%s]}`, kind, version, meta, strings.Join(items[start:end], ","))
	}))
	t.Cleanup(s.Close)
	client, err := dynamic.NewForConfig(&rest.Config{Host: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func node(name, pool, zone, instance, capacity string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"labels":{"karpenter.sh/nodepool":%q,"topology.kubernetes.io/zone":%q,"node.kubernetes.io/instance-type":%q,"karpenter.sh/capacity-type":%q}},"spec":{"taints":[{"key":"spot","effect":"NoSchedule"},{"key":"%s","effect":"NoExecute"}]}}`,
		name, pool, zone, instance, capacity, name)
}

func deployment(name, owner string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"shop"%s},"spec":{"replicas":1,"selector":{"matchLabels":{"app":"x"}},"template":{"metadata":{"labels":{"app":"x"}},"spec":{"tolerations":[{"key":"spot","operator":"Exists"}],"containers":[{"name":"c","image":"i"}]}}}}`, name, owner)
}

func TestRead(t *testing.T) {
	owner := `,"ownerReferences":[{"apiVersion":"v1","kind":"X","name":"x","uid":"u","controller":true}]`
	client := server(t, map[string][]string{
		"/apis/apps/v1/deployments": {deployment("a", ""), deployment("owned", owner), deployment("b", ""), deployment("c", ""), deployment("d", "")},
		"/api/v1/nodes": {node("n1", "p", "a", "m5.large", "spot"), node("n2", "p", "b", "m5.large", "spot"), node("n3", "q", "a", "m5.large", "on-demand"),
			`{"metadata":{"name":"bare"}}`},
	}, "")
	set, invalid, err := live.Read(t.Context(), client, "")
	if err != nil || len(invalid) > 0 {
		t.Fatal(err, invalid)
	}
	var names []string
	for _, w := range set.Workloads {
		names = append(names, w.Name)
	}
	if want := []string{"a", "b", "c", "d"}; !slices.Equal(names, want) {
		t.Errorf("workloads %v, want %v", names, want)
	}
	if len(set.Pools) != 2 {
		t.Fatalf("%d pools", len(set.Pools))
	}
	p := set.Pools[0]
	if p.Name != "p" || !p.OnlySpot() || !slices.Equal(p.Zones, []string{"a", "b"}) || !slices.Equal(p.InstanceTypes, []string{"m5.large"}) || !slices.Equal(p.Taints, []manifest.Taint{{Key: "spot", Effect: "NoSchedule"}}) {
		t.Errorf("pool %+v", p)
	}
	r := lint.Run(lint.NewTarget(set, lint.Options{}), lint.Rules())
	if len(r.Findings) == 0 {
		t.Fatal("nothing found")
	}
	for _, f := range r.Findings {
		if f.File != manifest.Cluster || f.Pos.Line != 0 {
			t.Errorf("a finding in a cluster has a place: %+v", f)
		}
	}
}

func TestReadFails(t *testing.T) {
	_, _, err := live.Read(t.Context(), server(t, nil, "/apis/apps/v1/namespaces/shop/deployments"), "shop")
	if err == nil || !strings.Contains(err.Error(), "listing deployments") {
		t.Errorf("got %v", err)
	}
}
