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

// TestCostRefresh asks a fake of AWS, keeps the answer, and counts with it later
// without asking.
func TestCostRefresh(t *testing.T) {
	asked := 0
	aws := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		switch {
		case r.Method == http.MethodGet:
			w.Write([]byte(`{"spot_advisor":{"us-east-1":{"Linux":{}}}}`))
		case r.Header.Get("X-Amz-Target") != "":
			w.Write([]byte(`{"PriceList":[]}`))
		default:
			w.Write([]byte(`<R><spotPriceHistorySet><item><instanceType>m5.large</instanceType><spotPrice>0.0123</spotPrice><availabilityZone>us-east-1a</availabilityZone></item></spotPriceHistorySet></R>`))
		}
	}))
	defer aws.Close()
	for name, value := range map[string]string{
		"XDG_CACHE_HOME": t.TempDir(), "AWS_ENDPOINT_URL": aws.URL, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
		"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
	} {
		t.Setenv(name, value)
	}
	run := func(args ...string) (stdout, stderr string, code int) {
		var out, talk bytes.Buffer
		args = append([]string{"cost", "-f", "../../examples/market-intel-brain/platform.yaml"}, args...)
		code = Main(t.Context(), args, Streams{In: strings.NewReader(""), Out: &out, Err: &talk})
		return out.String(), talk.String(), code
	}
	// A third of the price is us-east-1a's, the rest is built in: 0.0259 on average.
	const fresh, old = "m5.large       0.0960         0.02586 ", "m5.large       0.0960         0.03264 "
	if out, talk, code := run("--refresh"); code != ExitClean || !strings.Contains(out, fresh) || !strings.Contains(talk, "less than a minute old") {
		t.Fatalf("exit %d, %s\n%s", code, talk, out)
	}
	before := asked
	if out, _, _ := run(); !strings.Contains(out, fresh) {
		t.Errorf("what was kept does not count:\n%s", out)
	}
	if out, talk, _ := run("--builtin"); !strings.Contains(out, old) || talk != "" {
		t.Errorf("--builtin counts what was kept: %s\n%s", talk, out)
	}
	if asked != before {
		t.Error("AWS was asked without --refresh")
	}
	aws.Close()
	if _, talk, code := run("--refresh"); code != ExitFailed || !strings.Contains(talk, "asking for") {
		t.Errorf("without AWS: exit %d, %s", code, talk)
	}
	if _, talk, code := run("--refresh", "--builtin"); code != ExitUsage {
		t.Errorf("both flags: exit %d, %s", code, talk)
	}
	cache := filepath.Join(os.Getenv("XDG_CACHE_HOME"), "evenkeel", "prices", "prices.csv")
	if err := os.WriteFile(cache, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, talk, code := run(); code != ExitFailed || !strings.Contains(talk, "remove the folder") {
		t.Errorf("with a broken cache: exit %d, %s", code, talk)
	}
}

// TestCostGuide keeps what the guide shows what the command prints.
func TestCostGuide(t *testing.T) {
	const (
		page  = "../../docs/guides/cost.md"
		begin = "<!-- Generated: go test ./internal/cli -run CostGuide -update-reference -->\n"
		end   = "<!-- End of the generated part -->\n"
	)
	var out, talk bytes.Buffer
	code := Main(t.Context(), []string{"cost", "-f", "../../examples/market-intel-brain/platform.yaml", "--builtin", "--claim", "55"},
		Streams{In: strings.NewReader(""), Out: &out, Err: &talk})
	if code != ExitFindings {
		t.Fatalf("exit %d, %s: the guide says that the claim is false of the platform", code, &talk)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no generated part", page)
	}
	want := before + begin + "\n```\n" + out.String() + "```\n\n" + end + after
	if *updateReference {
		if err := os.WriteFile(page, []byte(want), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != want {
		t.Errorf("%s is not what the command prints; go test -update-reference writes it anew", page)
	}
}
