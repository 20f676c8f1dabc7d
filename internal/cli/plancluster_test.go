package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
	"github.com/evenkeel-dev/evenkeel/internal/proof"
)

// fleet serves nodes and NodePools; NodePools may be forbidden.
func fleet(t *testing.T, nodes []map[string]any, pools string) string {
	t.Helper()
	mux := http.NewServeMux()
	answer := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			fmt.Fprint(w, body)
		}
	}
	items, err := json.Marshal(nodes)
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("GET /api/v1/nodes", answer(200, `{"kind":"NodeList","apiVersion":"v1","items":`+string(items)+`}`))
	switch pools {
	case "":
		mux.Handle("GET /apis/karpenter.sh/v1/nodepools", http.NotFoundHandler())
	case "forbidden":
		mux.Handle("GET /apis/karpenter.sh/v1/nodepools", answer(403, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`))
	default:
		mux.Handle("GET /apis/karpenter.sh/v1/nodepools", answer(200, `{"kind":"NodePoolList","apiVersion":"karpenter.sh/v1","items":`+pools+`}`))
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return writeKubeconfig(t, s.URL)
}

func spotNode(name, instanceType, zone string, noticed time.Time) map[string]any {
	meta := map[string]any{
		"name": name, "creationTimestamp": "2026-01-01T00:00:00Z",
		"labels": map[string]any{
			"evenkeel.dev/pool": "workers", "karpenter.sh/capacity-type": "spot", "node.kubernetes.io/instance-type": instanceType,
			"topology.kubernetes.io/zone": zone, "topology.kubernetes.io/region": "us-east-1",
		},
	}
	if !noticed.IsZero() {
		r := drain.Record{
			Notice:   interruption.Notice{Instance: "i-1", Kind: interruption.SpotInterruption},
			Deadline: noticed.Add(2 * time.Minute), Stored: noticed, Cordoned: true,
		}
		meta["annotations"] = map[string]any{"evenkeel.dev/interruption": r.Encode()}
	}
	return map[string]any{
		"kind": "Node", "apiVersion": "v1", "metadata": meta, "spec": map[string]any{"providerID": "aws:///" + zone + "/i-" + name},
		"status": map[string]any{"conditions": []map[string]any{{"type": "Ready", "status": "True"}}},
	}
}

const nodePools = `[
 {"metadata":{"name":"workers","resourceVersion":"1"},"spec":{"weight":100,"template":{"metadata":{"labels":{"evenkeel.dev/pool":"workers"}},"spec":{"requirements":[
  {"key":"karpenter.sh/capacity-type","operator":"In","values":["spot"]},
  {"key":"topology.kubernetes.io/zone","operator":"In","values":["us-east-1a","us-east-1b"]},
  {"key":"node.kubernetes.io/instance-type","operator":"In","values":["m5.large","c5.large"]}]}}}}]`

func planCluster(t *testing.T, args ...string) (code int, out, talk string) {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	var o, e strings.Builder
	code = Main(t.Context(), append([]string{"plan", "--cluster"}, args...), Streams{In: strings.NewReader(""), Out: &o, Err: &e})
	return code, o.String(), e.String()
}

// TestPlanCluster: a machine is being reclaimed, and another was an hour ago.
func TestPlanCluster(t *testing.T) {
	now := time.Now()
	nodes := []map[string]any{
		spotNode("n1", "m5.large", "us-east-1a", now.Add(-10*time.Second)), spotNode("n2", "m5.large", "us-east-1b", time.Time{}),
		spotNode("n3", "c5.large", "us-east-1b", time.Time{}),
	}
	line := proof.Line{
		Interruption: "i-0.1", Node: "n0", Pool: "workers", Zone: "us-east-1a", InstanceType: "m5.large", Outcome: proof.Emptied,
		Notice: interruption.Notice{Instance: "i-0", Kind: interruption.SpotInterruption, Sent: now.Add(-time.Hour)},
	}
	rebalance := line
	rebalance.Interruption, rebalance.InstanceType, rebalance.Notice.Kind = "i-9.1", "c5.large", interruption.Rebalance
	record := filepath.Join(t.TempDir(), "proof.jsonl")
	if err := os.WriteFile(record, append(line.Encode(), rebalance.Encode()...), 0o644); err != nil {
		t.Fatal(err)
	}
	kubeconfig := fleet(t, nodes, nodePools)
	code, out, talk := planCluster(t, "--kubeconfig", kubeconfig, "--proof", record, "--builtin")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, talk)
	}
	for _, want := range []string{
		"workers: 3 wanted, 2 ready, 0 starting, 1 leaving, 0 on demand, bought by NodePool workers",
		"buy 1 machine in m5.large in us-east-1b, at 0.03264 $/h: 1 machine fewer than wanted (spot-missing)",
		"buy nothing in m5.large in us-east-1a until", "it was reclaimed 2 times (pool-reclaimed)", "AWS Spot Instance Advisor",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if strings.Count(out, "buy nothing") != 1 {
		t.Errorf("more is avoided than was reclaimed:\n%s", out)
	}

	code, out, talk = planCluster(t, "--kubeconfig", kubeconfig, "--proof", record, "-o", "json", "--builtin")
	var r struct {
		Pools []struct {
			Want, Leaving int
			BoughtBy      string
			Places        []struct {
				InstanceType, Zone string
				AvoidedUntil       time.Time
				Ask, ReclaimsSeen  int
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 {
		t.Fatalf("exit %d, %v: %s%s", code, err, out, talk)
	}
	asked := 0
	for _, q := range r.Pools[0].Places {
		asked += q.Ask
		if held := q.AvoidedUntil.Sub(now).Round(time.Minute); q.ReclaimsSeen == 2 && held != 20*time.Minute {
			t.Errorf("held for %v after two reclaims, want 20 minutes", held)
		}
	}
	if len(r.Pools) != 1 || r.Pools[0].Want != 3 || len(r.Pools[0].Places) != 4 || asked != 1 || r.Pools[0].BoughtBy != "NodePool workers" {
		t.Errorf("%+v", r)
	}
	if code, out, _ := planCluster(t, "--kubeconfig", kubeconfig, "-o", "csv", "--builtin"); code != 0 || strings.Count(out, "\n") != 6 {
		t.Errorf("exit %d:\n%s", code, out)
	}
}

// TestPlanClusterWithLess: without rights to NodePools, without Karpenter, with a
// platform file, without spot machines.
func TestPlanClusterWithLess(t *testing.T) {
	nodes := []map[string]any{spotNode("n1", "m5.large", "us-east-1a", time.Time{})}
	code, out, talk := planCluster(t, "--kubeconfig", fleet(t, nodes, "forbidden"), "--builtin")
	if code != 0 || !strings.Contains(talk, "NodePools may not be listed") || !strings.Contains(out, "workers: 1 wanted") {
		t.Errorf("exit %d: %s%s", code, out, talk)
	}
	if code, out, talk := planCluster(t, "--kubeconfig", fleet(t, nodes, ""), "-f", "../../examples/market-intel-brain/platform.yaml", "--builtin"); code != 0 || strings.Count(out, " wanted, ") < 2 {
		t.Errorf("exit %d: %s%s", code, out, talk)
	}
	if code, _, talk := planCluster(t, "--kubeconfig", fleet(t, nil, ""), "--builtin"); code == 0 || !strings.Contains(talk, "nothing to advise on") {
		t.Errorf("exit %d: %s", code, talk)
	}
	for _, args := range [][]string{{"--days", "3"}, {"--builtin", "--refresh"}, {"--objective", "0"}} {
		if code, _, _ := planCluster(t, args...); code != ExitUsage {
			t.Errorf("%q: exit %d, want %d", args, code, ExitUsage)
		}
	}
	var e strings.Builder
	if code := Main(t.Context(), []string{"plan", "--proof", "x"}, Streams{Out: &e, Err: &e}); code != ExitUsage {
		t.Errorf("--proof without --cluster: exit %d, want %d", code, ExitUsage)
	}
}

// TestRefreshOfAzure asks a stand-in for the prices of an AKS cluster's nodes, and
// keeps them.
func TestRefreshOfAzure(t *testing.T) {
	asked := 0
	prices := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		item := func(sku string, usd float64) string {
			return fmt.Sprintf(`{"currencyCode":"USD","tierMinimumUnits":0,"retailPrice":%v,"armRegionName":"westeurope","effectiveStartDate":"2022-02-01T00:00:00Z","productName":"Virtual Machines Dsv5 Series","skuName":%q,"serviceName":"Virtual Machines","unitOfMeasure":"1 Hour","type":"Consumption","isPrimaryMeterRegion":true,"armSkuName":"Standard_D4s_v5"}`, usd, sku)
		}
		fmt.Fprintf(w, `{"Items":[%s,%s],"NextPageLink":null}`, item("D4s v5", 0.23), item("D4s v5 Spot", 0.05))
	}))
	defer prices.Close()
	t.Setenv("EVENKEEL_AZURE_PRICES_URL", prices.URL)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	n := spotNode("aks-1", "Standard_D4s_v5", "westeurope-1", time.Time{})
	n["spec"] = map[string]any{"providerID": "azure:///subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/v/virtualMachines/0"}
	n["metadata"].(map[string]any)["labels"].(map[string]any)["topology.kubernetes.io/region"] = "westeurope"
	kubeconfig := fleet(t, []map[string]any{n}, "")
	for _, refresh := range []bool{true, false} {
		var o, e strings.Builder
		args := []string{"cost", "--cluster", "--kubeconfig", kubeconfig, "-o", "csv"}
		if refresh {
			args = append(args, "--refresh")
		}
		if code := Main(t.Context(), args, Streams{Out: &o, Err: &e}); code != 0 || !strings.Contains(o.String(), "0.0500") || !strings.Contains(o.String(), "0.2300") {
			t.Errorf("exit %d: %s%s", code, o.String(), e.String())
		}
		if !strings.Contains(e.String(), "are less than a minute old") {
			t.Errorf("it does not say how old prices are: %s", e.String())
		}
	}
	if asked != 1 {
		t.Errorf("Azure was asked %d times, want once", asked)
	}
}
