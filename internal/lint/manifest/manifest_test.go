package manifest

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// decodeAll reads a stream; everything that went wrong comes as text.
func decodeAll(text string) (*Set, []string) {
	set, errs := &Set{}, []string(nil)
	for doc, err := range Split("f.yaml", strings.NewReader(text)) {
		if err != nil {
			errs = append(errs, err.Error())
			continue
		}
		one, failures := Decode("f.yaml", doc)
		set.Add(one)
		for _, e := range failures {
			errs = append(errs, e.Error())
		}
	}
	return set, errs
}

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string // line: text
	}{
		{"one", "a: b\n", []string{"1: a: b\n"}},
		{"no line end", "a: b", []string{"1: a: b"}},
		{"two", "a: b\n---\nc: d\n", []string{"1: a: b\n", "3: c: d\n"}},
		{"leading mark and comment", "# Source: x\n---\na: b\n", []string{"3: a: b\n"}},
		{"empty documents", "---\n---\n# nothing\n---\na: b\n", []string{"5: a: b\n"}},
		{"text after the mark", "---\n--- {a: b}\n", []string{"2:     {a: b}\n"}},
		{"comment after the mark", "--- # first\na: b\n", []string{"2: a: b\n"}},
		{"inside a block scalar", "a: |\n  x\n---\nb: c\n", []string{"1: a: |\n  x\n", "4: b: c\n"}},
		{"dashes that are no mark", "a: |\n  ---\n----\n", []string{"1: a: |\n  ---\n----\n"}},
		{"CRLF", "a: b\r\n---\r\nc: d\r\n", []string{"1: a: b\r\n", "3: c: d\r\n"}},
		{"byte order mark", "\ufeff---\na: b\n", []string{"2: a: b\n"}},
		{"nothing", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for doc, err := range Split("f", strings.NewReader(c.text)) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, fmt.Sprintf("%d: %s", doc.Line, doc.Text))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: web}]
`

// TestErrors gives the decoder what is wrong; the good object that follows must
// be read all the same.
func TestErrors(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 30; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	merges := "m0: &m0 {a: b}\n"
	for i := 1; i < 8; i++ {
		merges += fmt.Sprintf("m%d: &m%d {<<: [%s]}\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*m%d, ", i-1), 50), ", "))
	}
	containers := "c: &c {name: x, image: y, ports: [" + strings.TrimSuffix(strings.Repeat("{containerPort: 80}, ", 2000), ", ") + "]}\n"
	for _, c := range []struct{ name, text, want string }{
		{"syntax", "a: [\n", "f.yaml:1:1: malformed YAML: did not find expected node content"},
		{"syntax on a later line", "apiVersion: v1\nkind: Service\nspec:\n  a: b\n c: d\n", "f.yaml:4:1: malformed YAML: did not find expected key"},
		{"a template", "apiVersion: v1\nkind: Service\n{{- if .Values.a }}\n", "f.yaml:3:1: malformed YAML: "},
		{"a word for a number", "apiVersion: apps/v1\nkind: Deployment\nspec:\n  replicas: three\n", `f.yaml:4:13: spec.replicas: want a whole number, found the text "three"`},
		{"a number in quotes", "apiVersion: apps/v1\nkind: Deployment\nspec:\n  replicas: \"3\"\n", `f.yaml:4:13: spec.replicas: want a whole number, found the text "3"`},
		{"an enormous number", "apiVersion: apps/v1\nkind: Deployment\nspec:\n  replicas: 99999999999\n", `f.yaml:4:13: spec.replicas: want a whole number, found the number "99999999999"`},
		{"a list for a mapping", "apiVersion: apps/v1\nkind: Deployment\nmetadata: [a]\n", "f.yaml:3:11: metadata: want a mapping, found a list"},
		{"a mapping for a list", "apiVersion: v1\nkind: Pod\nspec:\n  containers: {a: b}\n", "f.yaml:4:15: containers: want a list, found a mapping"},
		{"half a percentage", "apiVersion: policy/v1\nkind: PodDisruptionBudget\nspec: {minAvailable: a%}\n", `f.yaml:3:22: spec.minAvailable: want a whole number or a percentage such as 25%, found the text "a%"`},
		{"a number for a label", "apiVersion: v1\nkind: Service\nspec: {selector: {app: 1}}\n", `f.yaml:3:24: spec.selector.app: want a string, found the number "1"`},
		{"a long list", strings.Replace(deployment, "[{name: web, image: web}]", "["+strings.Repeat("{name: web, image: web}, ", 2000)+"a]", 1), "f.yaml:9:19: containers: more than 2000 entries"},
		{"aliases that expand", containers + strings.Replace(deployment, "[{name: web, image: web}]", "["+strings.TrimSuffix(strings.Repeat("*c, ", 2000), ", ")+"]", 1),
			"f.yaml:1:1: the document's aliases expand to more than 4194304 values; the rest of it was skipped"},
		{"merge keys that expand", merges + strings.Replace(deployment, "{name: web}", "{name: web, labels: *m7}", 1),
			"f.yaml:1:1: the document's aliases expand to more than 4194304 values; the rest of it was skipped"},
		{"a list of itself", "&a\napiVersion: v1\nkind: List\nitems: [*a]\n", "f.yaml:4:8: lists nest too deeply"},
		{"deep brackets", strings.Repeat("[", 100_000) + "\n", "f.yaml:1:1: malformed YAML: exceeded max depth of 10000"},
		{"too many values", "a: [" + strings.Repeat("b,", 1<<20) + "b]\n", "f.yaml:1:1: the document has more than 1048576 values and was skipped; split it"},
		{"too large", "a: " + strings.Repeat("b", 17<<20) + "\n", "f.yaml:1:1: the document is larger than 16 MiB and was skipped; split it, or lint the cluster with --cluster"},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, errs := decodeAll(c.text + "---\n" + deployment)
			if len(errs) != 1 || !strings.HasPrefix(errs[0], c.want) {
				t.Errorf("got %q\nwant [%q...]", errs, c.want)
			}
			if n := len(set.Workloads); n == 0 || set.Workloads[n-1].Name != "web" {
				t.Error("the object after the bad one was not read")
			}
		})
	}
	t.Run("a bomb that no field expands", func(t *testing.T) {
		if _, errs := decodeAll(bomb); errs != nil {
			t.Errorf("got %q", errs)
		}
	})
}

// endless yields the same line for ever, up to a limit.
type endless struct {
	line string
	left int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, fmt.Errorf("read past the end")
	}
	n := 0
	for n+len(e.line) <= len(p) {
		n += copy(p[n:], e.line)
	}
	e.left -= n
	return n, nil
}

// TestLargeInputIsNotKept reads a document of 256 MiB. What is allocated for it
// must be a few times the size that is accepted, whatever the input's size.
func TestLargeInputIsNotKept(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n := 0
	for _, err := range Split("f", &endless{"key: value\n", 256 << 20}) {
		if n++; err == nil {
			t.Error("a document of 256 MiB was accepted")
		}
	}
	runtime.ReadMemStats(&after)
	if n == 0 {
		t.Error("nothing was reported")
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 8*MaxDocument {
		t.Errorf("allocated %d MiB", got>>20)
	}
}

func TestPositions(t *testing.T) {
	set, errs := decodeAll(`# a comment
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: "web"
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 45
      nodeSelector: {"ключ": spot, karpenter.sh/capacity-type: spot}
      containers:
        - image: web
          name: web
          lifecycle: {preStop: {exec: {command: [sh, -c, "sleep 5; kill -QUIT 1; sleep 1m"]}}}
`)
	if errs != nil || len(set.Workloads) != 1 {
		t.Fatalf("errors %q, %d workloads", errs, len(set.Workloads))
	}
	w := set.Workloads[0]
	for name, c := range map[string]struct{ got, want Pos }{
		"kind":        {w.Meta.Pos, Pos{4, 7}},
		"replicas":    {w.Replicas.Pos, Pos{8, 13}},
		"grace":       {w.Pod.Grace.Pos, Pos{13, 38}},
		"after runes": {w.Pod.NodeSelector[1].Pos, Pos{14, 64}},
		"container":   {w.Pod.Containers[0].Pos, Pos{17, 11}},
		"preStop":     {w.Pod.Containers[0].PreStop.Pos, Pos{18, 23}},
	} {
		if c.got != c.want {
			t.Errorf("%s at %v, want %v", name, c.got, c.want)
		}
	}
	if got := w.Pod.Containers[0].PreStop.Sleep.Value; got != 65 {
		t.Errorf("the hook sleeps %d s, want 65", got)
	}
}

func TestMergeAndAliases(t *testing.T) {
	set, errs := decodeAll(`apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: &n 2
  selector: {matchLabels: &labels {app: web, tier: front}}
  template:
    metadata:
      labels: {<<: *labels, tier: back}
    spec:
      terminationGracePeriodSeconds: *n
      containers: [{name: web, image: web}]
`)
	if errs != nil || len(set.Workloads) != 1 {
		t.Fatalf("errors %q, %d workloads", errs, len(set.Workloads))
	}
	w := set.Workloads[0]
	if w.Pod.Grace.Value != 2 || w.Pod.Labels.Get("app") != "web" || w.Pod.Labels.Get("tier") != "back" {
		t.Errorf("grace %v, labels %v", w.Pod.Grace, w.Pod.Labels)
	}
}

func TestListsFragmentsAndOthers(t *testing.T) {
	set, errs := decodeAll(`apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: a}
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: patch}
  spec: {template: {spec: {containers: [{name: a, resources: {}}]}}}
- apiVersion: example.com/v1
  kind: Database
  metadata: {name: db, namespace: data}
---
{"apiVersion": "v1",
	"kind": "Service", "metadata": {"name": "tabs"}}
---
just: values
---
- a list
---
a string
`)
	if errs != nil {
		t.Fatal(errs)
	}
	if len(set.Services) != 2 || set.Services[1].Name != "tabs" || len(set.Fragments) != 1 || len(set.Foreign) != 1 || set.Foreign[0].Namespace != "data" || set.Documents != 5 {
		t.Errorf("services %d, fragments %d, foreign %d, documents %d", len(set.Services), len(set.Fragments), len(set.Foreign), set.Documents)
	}
}

func TestSleepOf(t *testing.T) {
	for script, want := range map[string]int{
		"sleep 15": 15, "/bin/sleep 15s": 15, "sleep 1m": 60, "nginx -s quit; sleep 10": 10, "sleep 5 && sleep 5": 10, "sleep 5 ;sleep 5; sleep 5": 15,
		"while true; do sleep 1; done": -1, "sleep 5 || sleep 9": -1, "sleep 5 &": -1, "echo sleep": -1, "sleep $X": -1, "if a; then sleep 5; fi": -1, "": -1, "sleep 99999999h": -1,
	} {
		got := sleepOf([]Field[string]{{Value: "sh", Set: true}, {Value: "-c", Set: true}, {Value: script, Set: true}})
		if n := got.Or(-1); n != want {
			t.Errorf("%q sleeps %d, want %d", script, n, want)
		}
	}
	if got := sleepOf([]Field[string]{{Value: "sleep", Set: true}, {Value: "20", Set: true}}); got.Value != 20 {
		t.Errorf("sleep 20 sleeps %d", got.Value)
	}
}

func TestSelectorMatches(t *testing.T) {
	labels := Pairs{{Key: "app", Value: "web"}, {Key: "n", Value: "5"}}
	in := func(key, op string, values ...string) Selector {
		r := Requirement{Key: key, Operator: op}
		for _, v := range values {
			r.Values = append(r.Values, Field[string]{Value: v, Set: true})
		}
		return Selector{Set: true, Expressions: []Requirement{r}}
	}
	for _, c := range []struct {
		name string
		s    Selector
		want bool
	}{
		{"unset", Selector{}, false},
		{"empty", Selector{Set: true}, true},
		{"label", Selector{Set: true, MatchLabels: Pairs{{Key: "app", Value: "web"}}}, true},
		{"other label", Selector{Set: true, MatchLabels: Pairs{{Key: "app", Value: "db"}}}, false},
		{"In", in("app", "In", "db", "web"), true},
		{"NotIn", in("app", "NotIn", "web"), false},
		{"NotIn, absent", in("tier", "NotIn", "web"), true},
		{"Exists", in("app", "Exists"), true},
		{"DoesNotExist", in("app", "DoesNotExist"), false},
		{"Gt", in("n", "Gt", "4"), true},
		{"Lt", in("n", "Lt", "4"), false},
		{"no such operator", in("app", "Is", "web"), false},
	} {
		if got := c.s.Matches(labels); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestParseIgnores(t *testing.T) {
	got := ParseIgnores("EK001: agreed; see minutes; ek014:probe is in the mesh\nEK020", Pos{})
	want := []Ignore{{Rule: "EK001", Reason: "agreed; see minutes"}, {Rule: "EK014", Reason: "probe is in the mesh"}, {Rule: "EK020"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
}

// FuzzDecode looks for panics, and for work that is out of proportion.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(deployment))
	f.Add([]byte("apiVersion: v1\nkind: List\nitems: [*a]\n"))
	f.Add([]byte("&a\napiVersion: batch/v1\nkind: CronJob\nspec: {jobTemplate: {spec: {jobTemplate: *a}}}\n"))
	f.Add([]byte("apiVersion: karpenter.sh/v1\nkind: NodePool\nspec: {template: {spec: {requirements: [{key: a, operator: In, values: [b]}]}}}\n"))
	f.Add([]byte("a: {<<: [*a, {b: c}], ? [x] : y}\n--- !!binary x\n...\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for doc, err := range Split("f", strings.NewReader(string(text))) {
			if err != nil {
				continue
			}
			set, errs := Decode("f", doc)
			for _, e := range errs {
				if e.Pos.Line < 1 || e.Msg == "" {
					t.Errorf("an error without a place: %+v", e)
				}
			}
			for _, w := range set.Workloads {
				if w.Kind == "" || len(w.Pod.Containers) == 0 {
					t.Errorf("a workload that is none: %+v", w.Meta)
				}
			}
		}
	})
}
