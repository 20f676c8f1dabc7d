package scenario_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/scenario"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares text with testdata/<name>.golden.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (run with -update to write it)", err)
	}
	if got != string(want) {
		t.Errorf("%s differs (run with -update to accept):\n%s", path, got)
	}
}

func TestDefault(t *testing.T) {
	s := scenario.Default()
	if got, want := s.Real(s.NoticeLead), 48*time.Second; got != want {
		t.Errorf("notice takes %v, want %v", got, want)
	}
	cpu := map[string]int64{}
	for _, p := range s.Nodes {
		cpu[p.Pool] += int64(p.Count) * p.CPU.MilliValue()
		taints := []scenario.Taint{{Key: cluster.PoolLabel, Value: p.Pool, Effect: "NoSchedule"}}
		if p.CapacityType == scenario.OnDemand {
			taints = nil // its nodes take what finds no room on the others
		}
		if !slices.Equal(p.Taints, taints) {
			t.Errorf("%s has taints %v, want %v", p.Name, p.Taints, taints)
		}
	}
	// The gateway may grow to 10 x 250m, the engine has 3 x 500m: on what is left
	// of their pools when a zone is gone.
	for pool, need := range map[string]int64{"gateway": 2500, "engine": 1500} {
		if left := cpu[pool] * 2 / 3; left < need {
			t.Errorf("after the loss of a zone %dm CPU of pool %s are left, its service needs %dm", left, pool, need)
		}
	}
	var names []string
	for _, n := range s.InitialNodes() {
		names = append(names, n.Name)
	}
	want := []string{"gateway-a-1", "gateway-b-1", "gateway-c-1", "engine-a-1", "engine-b-1", "engine-c-1", "on-demand-a-1", "on-demand-b-1", "on-demand-c-1"}
	if !slices.Equal(names, want) {
		t.Errorf("nodes = %v, want %v", names, want)
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mine.yaml")
	if err := os.WriteFile(path, scenario.DefaultYAML(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := scenario.Load(path); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("timescale: 5"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := scenario.Load(path); err == nil || !strings.HasPrefix(err.Error(), path+": unknown field \"timescale\"") {
		t.Errorf("error = %v, want it to name %s and the field", err, path)
	}
	if _, err := scenario.Load(path + "x"); err == nil {
		t.Error("a missing file is no error")
	}
}

// TestParseDefaults leaves out everything that has a default.
func TestParseDefaults(t *testing.T) {
	s, err := scenario.Parse("dir/small.yaml", []byte(`
region: r
nodes:
- {name: p, zone: za, instanceType: t, capacityType: spot, count: 1, cpu: "1", memory: 1Gi, pods: 8, onDemandPerHour: 1, spotPerHour: 0.5}
load: {rate: 10}
`))
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "small" || s.TimeScale != 5 || s.NoticeLead != 120*time.Second || s.LaunchDelay != 40*time.Second ||
		s.EndpointDelay != time.Second || s.EndpointJitter != 500*time.Millisecond || s.PodStartDelay != (scenario.Range{Min: time.Second, Max: 3 * time.Second}) {
		t.Errorf("scenario = %+v", s)
	}
	if got := s.Nodes[0].Pool; got != "p" {
		t.Errorf("pool = %q, want the name of the node pool", got)
	}
	if tr := s.Trace; tr.Events != 3 || tr.KeepNodes != 2 || tr.Compress != 170*time.Second {
		t.Errorf("trace settings = %+v", tr)
	}
	if l := s.Load; l.Timeout != 5*time.Second || l.WarmUp != 8*time.Second || l.CoolDown != 10*time.Second {
		t.Errorf("load = %+v", l)
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct{ old, new, want string }{
		{"rate: 220", "rate: 0", "f.yaml: load.rate: 0 is not between 0 and 100000 requests a second"},
		{"postShare: 0.3", "postShare: 1.3", "f.yaml: load.postShare: 1.3 is not a share from 0 to 1"},
		{"timeout: 5s", "timeout: 5", "f.yaml: load.timeout: a number does not fit here, want string"},
		{"timeout: 5s", "timeout: soon", `f.yaml: load.timeout: "soon" is not a duration like "120s"`},
		{"timeout: 5s", "timeOut: 5s", `f.yaml: unknown field "load.timeOut"`},
		{"noticeLead: 120s", "noticeLead: 10ms", "f.yaml: noticeLead: 10ms is not between 1s and 720h0m0s"},
		{"timeScale: 2.5", "timeScale: 0", "f.yaml: timeScale: 0 is not between 0.1 and 100"},
		{"timeScale: 2.5", "timeScale: fast", "f.yaml: timeScale: a string does not fit here, want float64"},
		{"seed: 1", "seed: 1\nseed: 2", `f.yaml: yaml: unmarshal errors:`},
		{"region: us-east-1\n", "", "f.yaml: region: missing"},
		{"name: gateway-b", "name: gateway-a", `f.yaml: nodes[1].name: there are two pools named "gateway-a"`},
		{"name: gateway-a", "name: Gateway_A", `f.yaml: nodes[0].name: "Gateway_A" is not a lower-case DNS label`},
		{"pool: gateway,", "pool: a b,", `f.yaml: nodes[0].pool: "a b" is not the value of a label`},
		{"pool: gateway,", "pool: gateway, labels: {evenkeel.dev/pool: engine},", `f.yaml: nodes[0].labels: evenkeel.dev/pool=engine contradicts pool, which is "gateway"`},
		{"cpu: 1930m", "cpu: lots", `f.yaml: nodes[0].cpu: "lots" is not a positive quantity like 1930m or 7Gi`},
		{"capacityType: spot", "capacityType: cheap", `f.yaml: nodes[0].capacityType: "cheap" is neither spot nor on-demand`},
		{", spotPerHour: 0.035", "", "f.yaml: nodes[0].spotPerHour: 0 is not a price in USD"},
		{"pool: gateway,", "pool: gateway, labels: {team: a b},", "f.yaml: nodes[0].labels: team=a b is not a label"},
		{"pool: on-demand,", "pool: on-demand, taints: [{key: k, effect: Never}],", `f.yaml: nodes[6].taints[0].effect: "Never" is not NoSchedule`},
		{"engine: engine", "engine: ../engine", `f.yaml: images.evenkeel.dev/market-intel-brain/engine: "../engine" is not the name of a program`},
		{"endpointJitter: 500ms", "endpointJitter: 2s", "f.yaml: endpointJitter: 2s is longer than endpointDelay, 1s"},
		{"{min: 1s, max: 3s}", "{min: 4s, max: 3s}", "f.yaml: podStartDelay: min 4s is longer than max 3s"},
		{"events: 3", "events: 0", "f.yaml: trace.events: 0 is not positive"},
		{"seed: 1", "seed: 1\nreclaims: [{at: 10s}]", "f.yaml: reclaims[0]: set one of zone, pool and nodes"},
		{"seed: 1", "seed: 1\nreclaims: [{zone: us-east-1a}]", "f.yaml: reclaims[0].at: missing"},
		{"seed: 1", "seed: 1\nreclaims: [{at: 1s, zone: us-east-1z}]", `f.yaml: reclaims[0].zone: no spot pool is in zone "us-east-1z"`},
		{"seed: 1", "seed: 1\nreclaims: [{at: 1s, pool: on-demand-a}]", `f.yaml: reclaims[0].pool: "on-demand-a" is not a spot pool`},
		{"seed: 1", "seed: 1\nreclaims: [{at: 1s, pool: engine-a, replace: {count: -2}}]", "f.yaml: reclaims[0].replace.count: -2 is negative"},
	}
	for _, tt := range tests {
		text := string(scenario.DefaultYAML())
		if !strings.Contains(text, tt.old) {
			t.Fatalf("default.yaml has no %q", tt.old)
		}
		_, err := scenario.Parse("f.yaml", []byte(strings.Replace(text, tt.old, tt.new, 1)))
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%q instead of %q:\n got %v\nwant %s", tt.new, tt.old, err, tt.want)
		}
	}
}

func TestParseReportsAllMistakes(t *testing.T) {
	_, err := scenario.Parse("f.yaml", []byte("nodes: []\nlod: {}\nload: {rate: -1}\n"))
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 4 { // unknown field, region, nodes, rate
		t.Errorf("%d problems, want 4:\n%v", len(lines), err)
	}
	for _, line := range lines {
		if !strings.HasPrefix(line, "f.yaml: ") {
			t.Errorf("%q does not name the file", line)
		}
	}
}

// FuzzParse checks that whatever is accepted can be planned without a panic,
// and keeps the promises that a plan makes.
func FuzzParse(f *testing.F) {
	f.Add(scenario.DefaultYAML())
	f.Add([]byte("region: r\nload: {rate: 10}\nnodes:\n- {name: p, zone: za, instanceType: t, capacityType: spot, count: 2, cpu: 1, memory: 1Gi, pods: 8, onDemandPerHour: 1, spotPerHour: 0.5}\n" +
		"reclaims:\n- {at: 10s, nodes: [p-1], replace: {count: 3, after: 1s}}\n- {at: 20s, zone: za, back: 5m}\n"))
	f.Add([]byte(twoPools + "- {at: 10s, zone: za, back: 3m}\n- {at: 20s, zone: zb, replace: {count: 3}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := scenario.Parse("fuzz.yaml", data)
		if err != nil || len(s.InitialNodes()) > 100 || len(s.Reclaims) > 20 {
			return
		}
		for _, r := range s.Reclaims {
			if r.Replace.Count > 100 {
				return
			}
		}
		plan, err := s.Script()
		if err != nil {
			return
		}
		checkPlan(t, s, plan)
	})
}
