package render

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

var update = flag.Bool("update", false, "rewrite golden files")

const example = "../../examples/market-intel-brain"

func reference(t testing.TB) *spec.Platform {
	t.Helper()
	f, err := os.Open(filepath.Join(example, "platform.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := spec.Parse(f, "platform.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func parse(t *testing.T, old, new string) *spec.Platform {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(example, "platform.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte(old)) {
		t.Fatalf("the reference platform does not contain %q", old)
	}
	p, err := spec.Parse(strings.NewReader(strings.Replace(string(data), old, new, 1)), "platform.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestGolden proves that the example's rendered output is what render makes of
// its platform.yaml today: every file, and no file more.
func TestGolden(t *testing.T) {
	for _, tt := range []struct {
		dir     string
		options Options
	}{
		{filepath.Join(example, "rendered"), Options{}},
		{filepath.Join("testdata", "patch"), Options{Patch: true, Only: []string{"kubernetes"}}},
	} {
		t.Run(filepath.Base(tt.dir), func(t *testing.T) {
			files, err := Render(reference(t), tt.options)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				rewrite(t, tt.dir, files)
			}
			want := make(map[string]bool)
			for _, f := range files {
				want[f.Path] = true
				got, err := os.ReadFile(filepath.Join(tt.dir, filepath.FromSlash(f.Path)))
				if err != nil || !bytes.Equal(got, f.Data) {
					t.Errorf("%s is stale (%v): run go test ./internal/render -update and read the difference", f.Path, err)
				}
			}
			err = fs.WalkDir(os.DirFS(tt.dir), ".", func(path string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() && !want[path] {
					t.Errorf("%s is no longer rendered", path)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func rewrite(t *testing.T, dir string, files []File) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRenderTwiceIsTheSame(t *testing.T) {
	first, err := Render(reference(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		again, err := Render(reference(t), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(first, again, func(a, b File) bool { return a.Path == b.Path && bytes.Equal(a.Data, b.Data) }) {
			t.Fatal("two renderings of one platform differ")
		}
	}
}

// objects decodes every Kubernetes object of a rendering.
func objects(t *testing.T, files []File) []map[string]any {
	t.Helper()
	var out []map[string]any
	for _, f := range files {
		if !strings.HasSuffix(f.Path, ".yaml") {
			continue
		}
		for _, doc := range bytes.Split(f.Data, []byte("\n---\n")) {
			var o map[string]any
			if err := yaml.UnmarshalStrict(doc, &o); err != nil {
				t.Fatalf("%s: %v", f.Path, err)
			}
			if o["apiVersion"] != nil {
				out = append(out, o)
			}
		}
	}
	return out
}

func field(o any, path ...any) any {
	for _, step := range path {
		switch s := step.(type) {
		case string:
			m, _ := o.(map[string]any)
			o = m[s]
		case int:
			l, _ := o.([]any)
			if s >= len(l) {
				return nil
			}
			o = l[s]
		}
	}
	return o
}

// TestReferenceCounts holds the output to what the platform promises in its
// issue: one budget per service, and a constraint per service and domain.
func TestReferenceCounts(t *testing.T) {
	files, err := Render(reference(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(map[string]int)
	constraints := make(map[string]int)
	for _, o := range objects(t, files) {
		kinds[o["kind"].(string)]++
		list, _ := field(o, "spec", "template", "spec", "topologySpreadConstraints").([]any)
		if strings.HasPrefix(field(o, "metadata", "name").(string), "headroom-") {
			continue
		}
		for _, c := range list {
			constraints[field(c, "topologyKey").(string)]++
			skew := map[string]float64{zoneKey: 1, hostKey: 2}[field(c, "topologyKey").(string)]
			if field(c, "maxSkew") != skew {
				t.Errorf("%s: maxSkew over %s = %v, want %v", field(o, "metadata", "name"), field(c, "topologyKey"), field(c, "maxSkew"), skew)
			}
		}
	}
	for kind, want := range map[string]int{
		"Deployment": 6, "StatefulSet": 1, "PodDisruptionBudget": 6, "NetworkPolicy": 8,
		"NodePool": 5, "EC2NodeClass": 1, "ScaledObject": 2, "PriorityClass": 4, "Namespace": 1,
	} {
		if kinds[kind] != want {
			t.Errorf("%d objects of kind %s, want %d", kinds[kind], kind, want)
		}
	}
	if constraints[zoneKey] != 6 || constraints[hostKey] != 6 {
		t.Errorf("constraints = %v, want 6 over zones and 6 over nodes", constraints)
	}
}

func TestBudget(t *testing.T) {
	tests := []struct {
		availability     string
		min, max         any
		minNote, maxNote any
	}{
		{"{minAvailable: 2, maxUnavailable: 25%}", nil, "25%", "2", nil},
		{"{minAvailable: 3, maxUnavailable: 50%}", nil, "50%", "3", nil}, // 3..10 replicas: half of them is less, in sum
		{"{minAvailable: 3, maxUnavailable: 9}", 3.0, nil, nil, "9"},
		{"{minAvailable: 60%}", "60%", nil, nil, nil},
		{"{maxUnavailable: 0}", nil, 0.0, nil, nil},
	}
	for _, tt := range tests {
		p := parse(t, "{minAvailable: 2, maxUnavailable: 25%}", tt.availability)
		files, err := Render(p, Options{Only: []string{"PodDisruptionBudget"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects(t, files) {
			if field(o, "metadata", "name") != "go-gateway" {
				continue
			}
			got := []any{
				field(o, "spec", "minAvailable"), field(o, "spec", "maxUnavailable"),
				field(o, "metadata", "annotations", minAvailableAnnotation), field(o, "metadata", "annotations", maxUnavailableAnnotation),
			}
			if want := []any{tt.min, tt.max, tt.minNote, tt.maxNote}; !slices.Equal(got, want) {
				t.Errorf("%s: min, max and their annotations = %v, want %v", tt.availability, got, want)
			}
		}
	}
}

// TestDrainTimes compares what the pod is given with what it is told.
func TestDrainTimes(t *testing.T) {
	tests := []struct {
		drain   string
		grace   float64
		told    string
		preStop any
	}{
		{"{preStop: sleep, delay: 15s, grace: 30s}", 30, "15", map[string]any{"sleep": map[string]any{"seconds": 15.0}}},
		{"{preStop: none, grace: 40s}", 40, "40", nil},
		{"{preStop: http, path: /drain, grace: 20s}", 20, "20", map[string]any{"httpGet": map[string]any{"path": "/drain", "port": 8081.0}}},
	}
	for _, tt := range tests {
		p := parse(t, "drain: &drain {preStop: sleep, delay: 15s, grace: 30s}", "drain: &drain "+tt.drain)
		d := deploymentOf(t, p, "engine")
		pod := field(d, "spec", "template", "spec")
		c := field(pod, "containers", 0)
		if got := field(pod, "terminationGracePeriodSeconds"); got != tt.grace {
			t.Errorf("%s: grace = %v, want %v", tt.drain, got, tt.grace)
		}
		if got := envOf(c, "EVENKEEL_GRACE_SECONDS"); got != tt.told {
			t.Errorf("%s: EVENKEEL_GRACE_SECONDS = %v, want %v", tt.drain, got, tt.told)
		}
		if got := field(c, "lifecycle", "preStop"); !equal(got, tt.preStop) {
			t.Errorf("%s: preStop = %v, want %v", tt.drain, got, tt.preStop)
		}
	}
}

func equal(a, b any) bool {
	x, _ := yaml.Marshal(a)
	y, _ := yaml.Marshal(b)
	return bytes.Equal(x, y)
}

func envOf(container any, name string) any {
	list, _ := field(container, "env").([]any)
	for _, e := range list {
		if field(e, "name") == name {
			return field(e, "value")
		}
	}
	return nil
}

func deploymentOf(t *testing.T, p *spec.Platform, name string) map[string]any {
	t.Helper()
	files, err := Render(p, Options{Only: []string{"Deployment"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects(t, files) {
		if field(o, "metadata", "name") == name {
			return o
		}
	}
	t.Fatalf("there is no Deployment %s", name)
	return nil
}

// TestHeadroom: the vector store's three replicas of 500m and 4Gi are the
// largest demand by processor together with the engine's; memory decides.
func TestHeadroom(t *testing.T) {
	d := deploymentOf(t, reference(t), "headroom-on-demand")
	if got := field(d, "spec", "replicas"); got != 3.0 {
		t.Errorf("replicas = %v, want 3: one per replica of the largest pool", got)
	}
	if got := field(d, "spec", "template", "spec", "containers", 0, "resources", "requests"); !equal(got, map[string]any{"cpu": "500m", "memory": "4Gi"}) {
		t.Errorf("requests = %v, want those of the largest replica", got)
	}
	if got := field(d, "spec", "template", "spec", "priorityClassName"); got != "market-intel-brain-headroom" {
		t.Errorf("priority class = %v", got)
	}
	files, err := Render(parse(t, "headroom: largest-pool", "headroom: none"), Options{Only: []string{"kubernetes"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.Contains(string(f.Data), "headroom") {
			t.Errorf("%s mentions headroom, which the policy switched off", f.Path)
		}
	}
}

func TestFixedReplicas(t *testing.T) {
	files, err := Render(reference(t), Options{FixedReplicas: true})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"go-gateway": 3.0, "analytics": 1.0, "engine": 3.0}
	for _, o := range objects(t, files) {
		switch name, _ := field(o, "metadata", "name").(string); {
		case o["kind"] == "ScaledObject":
			t.Errorf("%s is scaled", name)
		case o["kind"] == "Deployment" && want[name] != nil && field(o, "spec", "replicas") != want[name]:
			t.Errorf("%s: replicas = %v, want %v", name, field(o, "spec", "replicas"), want[name])
		}
	}
	if got := field(deploymentOf(t, reference(t), "go-gateway"), "spec", "replicas"); got != nil {
		t.Errorf("go-gateway is scaled, but its manifest states %v replicas", got)
	}
}

// TestPolicies follows each policy to where it takes effect.
func TestPolicies(t *testing.T) {
	all := func(p *spec.Platform) string {
		files, err := Render(p, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, f := range files {
			b.Write(f.Data)
		}
		return b.String()
	}
	for _, tt := range []struct{ old, new, mark string }{
		{"deadline: delete", "deadline: leave", "evenkeel.dev/on-deadline: leave"},
		{"deadline: delete", "deadline: leave", "--on-deadline=leave"},
		{"margin: 5s", "margin: 7s", "--margin=7s"},
		{"headroom: largest-pool", "podSecurity: baseline", "pod-security.kubernetes.io/enforce: baseline"},
	} {
		if got := all(parse(t, tt.old, tt.new)); !strings.Contains(got, tt.mark) {
			t.Errorf("%s: %q is not in the output", tt.new, tt.mark)
		}
		if strings.Contains(all(reference(t)), tt.mark) {
			t.Errorf("%q is in the output of the reference too, so it proves nothing", tt.mark)
		}
	}
	for _, tt := range []struct{ old, new, mark string }{
		{"rebalance: observe", "rebalance: ignore", "EC2 Instance Rebalance Recommendation"},
		{"headroom: largest-pool", "networkPolicy: none", "kind: NetworkPolicy"},
		{"headroom: largest-pool", "headroom: none", "headroom"},
	} {
		if !strings.Contains(all(reference(t)), tt.mark) {
			t.Errorf("%q is not in the output of the reference, so it proves nothing", tt.mark)
		}
		if got := all(parse(t, tt.old, tt.new)); strings.Contains(got, tt.mark) {
			t.Errorf("%s: %q is still in the output", tt.new, tt.mark)
		}
	}
}

func TestOnly(t *testing.T) {
	tests := []struct {
		only []string
		want []string // paths
		err  string
	}{
		{[]string{"keda"}, []string{"keda/scaledobjects.yaml"}, ""},
		{[]string{"Namespace"}, []string{"kubernetes/00-namespace.yaml"}, ""},
		{[]string{"nodepool", "scaledobject"}, []string{"karpenter/nodepools.yaml", "keda/scaledobjects.yaml"}, ""},
		{[]string{"CronJob"}, nil, `nothing of the kind "CronJob" is rendered`},
	}
	for _, tt := range tests {
		files, err := Render(reference(t), Options{Only: tt.only})
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%v: error = %v, want %q", tt.only, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var paths []string
		for _, f := range files {
			paths = append(paths, f.Path)
		}
		if !slices.Equal(paths, tt.want) {
			t.Errorf("%v: files = %v, want %v", tt.only, paths, tt.want)
		}
	}
}

// TestStringsSurvive sends words through the marshaller that YAML 1.1 takes for
// something else, and reads them back as Kubernetes does.
func TestStringsSurvive(t *testing.T) {
	words := []string{"", "y", "No", "ON", "off", "true", "null", "~", "123", "0x1f", "1e3", "1_000", "0o17", "017", "1:30", "1:30:59", "-", "-.inf", ".5",
		"2026-01-01", "2026-01-01T00:00:00Z", "a: b", "a #b", "*x", "&x", "!x", "%x", "@x", "`x", "'", `"`, "\\", "a\nb\n", " lead", "trail ", "{a}", "[a]", "?", "|", ">", "<<", "=", "é", "\u2028", "\x7f"}
	for _, w := range words {
		data, err := encodeTree(map[string]any{"k": w, "l": []any{w}})
		if err != nil {
			t.Errorf("%q: %v", w, err)
			continue
		}
		var got struct {
			K any   `json:"k"`
			L []any `json:"l"`
		}
		if err := yaml.Unmarshal(data, &got); err != nil || got.K != w || got.L[0] != w {
			t.Errorf("%q is read back as %#v, %#v (%v) from:\n%s", w, got.K, got.L, err, data)
		}
	}
}

func TestNoServerFields(t *testing.T) {
	files, err := Render(reference(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		for _, noise := range []string{"creationTimestamp", "status: {}", "strategy: {}", "resources: {}", ": null"} {
			if strings.HasSuffix(f.Path, ".yaml") && bytes.Contains(f.Data, []byte(noise)) {
				t.Errorf("%s contains %q", f.Path, noise)
			}
		}
	}
}

func BenchmarkRender(b *testing.B) {
	p := reference(b)
	for b.Loop() {
		if _, err := Render(p, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
