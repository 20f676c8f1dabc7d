package spec

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "rewrite golden files")

const reference = "../../examples/market-intel-brain/platform.yaml"

func readReference(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestParseReference(t *testing.T) {
	p, err := Parse(strings.NewReader(readReference(t)), "platform.yaml")
	if err != nil {
		t.Fatal(err)
	}
	gateway, ok := p.Service("go-gateway")
	if !ok {
		t.Fatal("there is no go-gateway")
	}
	if got, want := gateway.Pools, []string{"gateway", "on-demand"}; !reflect.DeepEqual(got, want) {
		t.Errorf("go-gateway pools = %v, want %v: the fallback of a spot pool is added", got, want)
	}
	if gateway.Replicas != 3 || gateway.Ceiling() != 10 || !gateway.Handoff {
		t.Errorf("go-gateway replicas, ceiling, handoff = %d, %d, %v, want 3, 10, true", gateway.Replicas, gateway.Ceiling(), gateway.Handoff)
	}
	if pool, _ := p.Pool("gateway"); pool.Taint == nil || pool.Taint.Value != "gateway" || len(pool.Zones) != 3 {
		t.Errorf("pool gateway = %+v, want a taint of its name and all zones", pool)
	}
	if stream, _ := p.Service("event-stream"); stream.Handoff {
		t.Error("event-stream is stateful but would be handed off")
	}
	at := p.Position("services[1].availability")
	line := strings.Split(readReference(t), "\n")[at.Line-1]
	if got := line[at.Column-1:]; !strings.HasPrefix(got, "{minAvailable: 1") {
		t.Errorf("position of services[1].availability points to %q", got)
	}
}

// TestProblems changes one thing in the reference platform and reads the whole
// message: position, field, what is wrong, and the fix.
func TestProblems(t *testing.T) {
	tests := []struct {
		name, old, new string
		want           []string // regular expressions, one per problem
	}{
		{"unknown field", "    priority: high", "    priorty: high", []string{`^p\.yaml:\d+:5: services\[1\]\.priorty: there is no such field; did you mean priority\?$`}},
		{"unknown field without a near one", "kind: Platform", "kind: Platform\nfrobnicate: 1", []string{`^p\.yaml:5:1: frobnicate: there is no such field; the fields here are: apiVersion, `}},
		{"duplicate field", "kind: Platform", "kind: Platform\nkind: Platform", []string{`:5:1: kind: it is already set on line 4; keep one`}},
		{"wrong version", "v1alpha1", "v1beta1", []string{`:3:13: apiVersion: "evenkeel.dev/v1beta1" is not known here; did you mean evenkeel.dev/v1alpha1\?`}},
		{"no unit", "grace: 30s}\n    loadBalancer", "grace: 30}\n    loadBalancer", []string{`drain\.grace: 30 has no unit; write 30s for seconds or 30m for minutes$`}},
		{"wrong unit", "margin: 5s", "margin: 5 sec", []string{`policies\.margin: "5 sec" is not a duration`}},
		{"below the range", "margin: 5s", "margin: 0s", []string{`policies\.margin: 0s is less than 1s; write 1s or more`}},
		{"fraction of a second", "margin: 5s", "margin: 1500ms", []string{`is not a whole number of seconds; write 2s`}},
		{"memory without a unit", "memory: 64Mi,", "memory: 64,", []string{`resources\.memory: 64 is less than a mebibyte; write the unit, such as 64Mi`}},
		{"memory in millibytes", "memory: 64Mi,", "memory: 64m,", []string{`64m means thousandths of a byte; write 64Mi`}},
		{"cores for millicores", "cpu: 250m", "cpu: 2500", []string{`resources\.cpu: 2500 is more cores than any machine has; write 2500m`}},
		{"huge exponent", "cpu: 250m", "cpu: 1e999999999", []string{`resources\.cpu: "1e999999999" is not an amount`}},
		{"share as a fraction", "maxUnavailable: 25%", "maxUnavailable: 0.25", []string{`"0.25" is neither a whole number nor a percentage; write 25% for the share`}},
		{"number for text", `AWS_REGION: us-east-1`, "AWS_REGION: 8080", []string{`env\.AWS_REGION: YAML reads 8080 as int, but a text is needed; write "8080" with the quotes`}},
		{"text for a number", "replicas: 3\n    resources: {cpu: 500m, memory: 512Mi}", `replicas: "3"` + "\n    resources: {cpu: 500m, memory: 512Mi}", []string{`services\[1\]\.replicas: "3" is not a whole number`}},
		{"list for text", "region: us-east-1", "region: [us-east-1]", []string{`cluster\.region: this is a list; write one word`}},
		{"text for a list", "connects: [event-stream, vector-store]", "connects: event-stream", []string{`connects: this is the value "event-stream"; write a list`}},
		{"no value", "headroom: largest-pool", "headroom:", []string{`policies\.headroom: there is no value here`}},
		{"missing field", "  region: us-east-1\n", "", []string{`:7:3: cluster\.region: it is missing; add region: the cloud's region`}},
		{"zone of another region", "us-east-1c]", "us-west-2c]", []string{`cluster\.zones\[2\]: us-west-2c is not a zone of us-east-1`}},
		{"old Kubernetes", `kubernetes: "1.35"`, `kubernetes: "1.29"`, []string{`cluster\.kubernetes: 1\.29 has no native preStop sleep`}},
		{"size out of order", "size: {min: 2, desired: 3, max: 10}", "size: {min: 4, desired: 3, max: 10}", []string{`pools\[0\]\.size: min 4, desired 3 and max 10 are not in order`}},
		{"another architecture", "instanceTypes: [m5.large]", "instanceTypes: [m5.large, m7g.large]", []string{`pools\[4\]\.instanceTypes\[1\]: m7g\.large is arm64 and the pool is amd64`}},
		{"unknown fallback", "fallback: on-demand\n  - name: engine", "fallback: ondemand\n  - name: engine", []string{`pools\[0\]\.fallback: there is no pool ondemand; did you mean on-demand\?`}},
		{"unknown pool", "pools: [engine]", "pools: [engin]", []string{`services\[1\]\.pools\[0\]: there is no pool engin; did you mean engine\?`}},
		{"unknown peer", "connects: [event-stream, vector-store]", "connects: [vectorstore]", []string{`connects\[0\]: there is no service vectorstore; did you mean vector-store\?`}},
		{"peer without ports", "connects: [event-stream, vector-store]", "connects: [analytics]", []string{`service analytics has no port to connect to`}},
		{"budget that cannot be met", "availability: {minAvailable: 2, maxUnavailable: 25%}", "availability: {minAvailable: 4}", []string{`minAvailable: 4 can never be satisfied by 3 replicas; lower minAvailable to 3, or raise the replicas to 4`}},
		{"sleeping service with a budget", "availability: {minAvailable: 0, maxUnavailable: 50%}", "availability: {minAvailable: 1}", []string{`services\[2\].*can never be satisfied by 0 replicas; set minAvailable: 0, or scaling.min: 1`}},
		{"no limit at all", "availability: {maxUnavailable: 1}\n    spread: *even\n    pools: [on-demand]\n    spot: avoid\n    drain: {preStop: none, grace: 60s}", "availability: {}\n    pools: [on-demand]", []string{`services\[4\]\.availability: neither limit is set`}},
		{"stateful that blocks every drain", "availability: {maxUnavailable: 1}", "availability: {minAvailable: 1}", []string{`services\[4\]\.availability: no replica may ever leave`}},
		{"delay eats the grace", "drain: &drain {preStop: sleep, delay: 15s, grace: 30s}", "drain: &drain {preStop: sleep, delay: 30s, grace: 30s}", []string{`services\[0\]\.drain\.grace: the delay of 30s leaves nothing`}},
		{"grace longer than the notice", "drain: {preStop: none, grace: 30s} # no", "drain: {preStop: none, grace: 10m} # no", []string{`services\[2\]\.drain\.grace: a grace of 10m and the margin of 5s do not fit into the 2m that aws gives before a spot machine goes; write at most 1m55s`}},
		{"spot avoided on a spot pool", "pools: [on-demand]\n    spot: avoid\n    drain: {preStop: none, grace: 60s}", "pools: [gateway]\n    spot: avoid\n    drain: {preStop: none, grace: 60s}", []string{`services\[4\]\.pools\[0\]: the service avoids spot, but pool gateway is a spot pool`}},
		{"cpu cannot wake", "- kafka: {brokers: \"event-stream.market-intel-brain:9092\", group: analytics, topic: ticks, lag: 5000}", "- cpu: {utilization: 50}", []string{`services\[2\]\.scaling\.min: a sleeping service uses no processor`}},
		{"two kinds of trigger", "- cpu: {utilization: 70}", "- {cpu: {utilization: 70}, cron: {timezone: UTC, start: \"0 8 * * *\", end: \"0 9 * * *\", replicas: 4}}", []string{`triggers\[1\]: a trigger has exactly one kind, this has 2`}},
		{"impossible promise", `slo: {availability: "99.9"}` + "\n\n  - name: engine", `slo: {availability: "100"}` + "\n\n  - name: engine", []string{`slo\.availability: "100" is not an availability`}},
		{"requirements without Karpenter", "instanceTypes: [m5.large]", "requirements: {categories: [m]}", []string{`pools\[4\]\.requirements: a managed node group needs its instance types by name`}},
		{"name already used", "- name: vector-store\n    image", "- name: engine\n    image", []string{`connects`, `connects`, `services\[3\]: engine is already services\[1\]`}},
		{"reserved variable", "env: {AWS_REGION", "env: {EVENKEEL_GRACE_SECONDS: \"5\", AWS_REGION", []string{`it is made from drain\.grace`}},
		{"ports without health", "    health: {port: 9093}\n", "", []string{`services\[4\]: it has ports but no health check`}},
		{"merge key", "    drain: *drain\n    connects: [event-stream, vector-store]", "    drain: {<<: *drain, grace: 40s}\n    connects: [event-stream, vector-store]", []string{`services\[1\]\.drain: merging tables with << is not supported`}},
		{"not YAML", "kind: Platform", "kind: [Platform", []string{`^p\.yaml:\d+:1: this is not YAML: `}},
		{"two documents", "policies:\n  deadline", "---\npolicies:\n  deadline", []string{`more than one document`}},
		{"two mistakes in the order of the file", "region: us-east-1\n", "region: 7\n  colour: red\n", []string{`cluster\.region`, `cluster\.colour`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := readReference(t)
			if strings.Count(text, tt.old) == 0 {
				t.Fatalf("the reference platform does not contain %q", tt.old)
			}
			_, err := Parse(strings.NewReader(stripComments(strings.Replace(text, tt.old, tt.new, 1))), "p.yaml")
			if err == nil {
				t.Fatal("no problem was found")
			}
			got := strings.Split(err.Error(), "\n")
			if len(got) != len(tt.want) {
				t.Fatalf("got %d problems, want %d:\n%s", len(got), len(tt.want), err)
			}
			for i, want := range tt.want {
				if !regexp.MustCompile(want).MatchString(got[i]) {
					t.Errorf("problem %d:\n got %s\nwant %s", i, got[i], want)
				}
			}
			for _, p := range err.(Problems) {
				if p.Fix == "" {
					t.Errorf("%s has no fix", p)
				}
			}
		})
	}
}

// stripComments takes the leading comment and blank lines away, so that the
// expected line numbers do not move with the prose of the example.
func stripComments(text string) string {
	var kept []string
	for _, line := range strings.Split(text, "\n") {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			kept = append(kept, line)
		}
	}
	// apiVersion stands on line 3 of the example's text without comments.
	return "\n\n" + strings.Join(kept, "\n")
}

func TestBounds(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'j'; c++ {
		p := string(c - 1)
		bomb += string(c) + ": &" + string(c) + " [*" + strings.Join(strings.Split(strings.Repeat(p, 10), ""), ",*") + "]\n"
	}
	aliases := "services: &s\n- &x {name: a, env: {A: b}}\n"
	list := "pools: &p [" + strings.Repeat("{name: a},", 900) + "]\n"
	tests := map[string]struct{ text, want string }{
		"empty":              {"", "the file is empty"},
		"only a comment":     {"# nothing\n", "the file is empty"},
		"null":               {"~\n", "the file is empty"},
		"not a table":        {"- a\n- b\n", "this is a list"},
		"text":               {"hello", `this is the value "hello"`},
		"binary":             {"\x00\x01\x02", "this is not YAML"},
		"invalid UTF-8":      {"a: \xff\xfe", "this is not YAML"},
		"larger than bounds": {strings.Repeat("# padding\n", 200_000), "larger than 1048576 bytes"},
		"anchor bomb":        {bomb, "there is no such field"},
		"alias to itself":    {"cluster: &c {zones: [*c, *c]}\n", "this is a table"},
		"self in services":   {"services: &s [*s, *s, *s]\n", "this is a list"},
		"unknown alias":      {"cluster: *nowhere\n", "this is not YAML"},
		"deep nesting":       {strings.Repeat("[", 20_000), "this is not YAML"},
		"many aliases":       {aliases + strings.Repeat("- *x\n", 40_000), "services"},
		"many unknown":       {list + strings.Repeat("x: 1\n", 10), "it is missing"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(strings.NewReader(tt.text), "p.yaml")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error = %v, want %q in it", err, tt.want)
			}
			if n := len(err.(Problems)); n > maxProblems {
				t.Errorf("%d problems, want at most %d", n, maxProblems)
			}
		})
	}
}

// endless is an input without an end, such as a device file.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '#'
	}
	e.read += len(p)
	return len(p), nil
}

func TestParseStopsReading(t *testing.T) {
	var in endless
	if _, err := Parse(&in, "p.yaml"); err == nil {
		t.Fatal("an endless file was accepted")
	}
	if in.read > 2*maxBytes {
		t.Errorf("read %d bytes of an endless file, want at most %d", in.read, 2*maxBytes)
	}
}

func TestStricterIsMax(t *testing.T) {
	n := func(v int) *Count { return &Count{N: v} }
	percent := func(v int) *Count { return &Count{N: v, Percent: true} }
	tests := []struct {
		name     string
		min, max *Count
		lo, hi   int
		want     bool
	}{
		{"gateway: a quarter is less than all but two", n(2), percent(25), 3, 10, true},
		{"engine: one is less than two of three", n(1), n(1), 3, 3, true},
		{"analytics: half is less than all", n(0), percent(50), 0, 12, true},
		{"minAvailable binds when it leaves less", n(3), n(2), 4, 4, false},
		{"only minAvailable", n(1), nil, 2, 2, false},
		{"only maxUnavailable", nil, n(1), 2, 2, true},
	}
	for _, tt := range tests {
		s := Service{Replicas: tt.lo, Scaling: &Scaling{Min: tt.lo, Max: tt.hi}, Availability: Availability{tt.min, tt.max}}
		if got := s.StricterIsMax(); got != tt.want {
			t.Errorf("%s: StricterIsMax() = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestJSONSchemaIsFresh(t *testing.T) {
	got, err := JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("..", "..", "docs", "schema", "platform-v1alpha1.json")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s is stale: run go test ./internal/spec -update", path)
	}
}

// TestTags reads every tag of the raw structs, so that a misspelt one cannot
// wait for a user's file to be found.
func TestTags(t *testing.T) {
	known := map[string]bool{"yaml": true, "doc": true, "required": true, "default": true, "enum": true, "format": true, "min": true, "max": true, "keys": true, "values": true}
	var walk func(t_ reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if !isTable(typ) {
			return
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			for _, m := range regexp.MustCompile(`(\w+):"`).FindAllStringSubmatch(string(f.Tag), -1) {
				if !known[m[1]] && !strings.Contains(f.Tag.Get("doc"), m[1]+`:`) {
					t.Errorf("%s.%s has the unknown tag %s", typ.Name(), f.Name, m[1])
				}
			}
			if f.Tag.Get("doc") == "" || f.Tag.Get("yaml") == "" {
				t.Errorf("%s.%s has no yaml name or no doc", typ.Name(), f.Name)
			}
			for _, tag := range []string{"format", "keys", "values"} {
				if name := f.Tag.Get(tag); name != "" {
					formats(name)
				}
			}
			if def := f.Tag.Get("default"); def != "" {
				v := reflect.New(f.Type).Elem()
				setDefault(v, def)
				if v.IsZero() && def != "0" {
					t.Errorf("%s.%s: the default %q sets nothing", typ.Name(), f.Name, def)
				}
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[rawPlatform]())
}

// TestSchemaAcceptsReference checks the reference platform against the required
// fields, property names and patterns of the schema.
func TestSchemaAcceptsReference(t *testing.T) {
	data, err := JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	var schema schemaNode
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(readReference(t)), &doc); err != nil {
		t.Fatal(err)
	}
	checkAgainst(t, &schema, doc.Content[0], "")
}

func checkAgainst(t *testing.T, s *schemaNode, n *yaml.Node, path string) {
	t.Helper()
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch n.Kind {
	case yaml.MappingNode:
		have := make(map[string]bool)
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i].Value
			have[key] = true
			if p, ok := s.Properties[key]; ok {
				checkAgainst(t, p, n.Content[i+1], path+"."+key)
			} else if s.Additional == false {
				t.Errorf("%s.%s is not in the schema", path, key)
			}
		}
		for _, r := range s.Required {
			if !have[r] {
				t.Errorf("%s.%s is required by the schema but missing", path, r)
			}
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			checkAgainst(t, s.Items, item, path+"[]")
		}
	default:
		if s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(n.Value) {
			t.Errorf("%s: %q does not match %s", path, n.Value, s.Pattern)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(readReference(f))
	f.Add("apiVersion: evenkeel.dev/v1alpha1\nkind: Platform\ncluster: &c {zones: [*c]}\n")
	f.Add("services: [{name: a, resources: {cpu: 1e9}, availability: {minAvailable: 101%}}]")
	f.Add("pools:\n- {<<: {name: x}, size: {min: -1}}\n")
	f.Add("? [a]\n: b\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(strings.NewReader(text), "p.yaml")
		if err == nil {
			if len(p.Services) == 0 || len(p.Pools) == 0 {
				t.Error("a platform without services or pools was accepted")
			}
			return
		}
		problems := err.(Problems)
		if len(problems) == 0 || len(problems) > maxProblems {
			t.Errorf("%d problems", len(problems))
		}
		for _, p := range problems {
			if p.Line < 1 || p.Column < 1 || p.Text == "" {
				t.Errorf("incomplete problem %+v", p)
			}
			if len(p.String()) > 4096 {
				t.Errorf("a message of %d bytes", len(p.String()))
			}
		}
	})
}
