// Package chart tests charts/evenkeel with Helm's own library: what it renders, that
// its schema knows its values, and that the plain manifests in deploy/ are what it
// renders by default.
package chart

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"
)

const (
	chartDir  = "../../charts/evenkeel"
	deployDir = "../../deploy"
)

var update = flag.Bool("update", false, "write golden files, deploy/ and the chart's README and rules anew")

func load(t *testing.T) *chartv2.Chart {
	t.Helper()
	c, err := loader.LoadDir(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// rendered renders the chart as `helm template` does, and returns its files by name.
func rendered(t *testing.T, values map[string]any) map[string]string {
	t.Helper()
	out, err := tryRender(load(t), values)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tryRender(c *chartv2.Chart, values map[string]any) (map[string]string, error) {
	all, err := util.ToRenderValues(c, values, common.ReleaseOptions{
		Name: "evenkeel", Namespace: "evenkeel-system", Revision: 1, IsInstall: true,
	}, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	rendered, err := engine.Engine{Strict: true}.RenderWithContext(context.Background(), c, all)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	for name, text := range rendered {
		name = strings.TrimPrefix(name, "evenkeel/templates/")
		if text = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "---")); text != "" {
			out[name] = strings.TrimPrefix(text, "---\n") + "\n"
		}
	}
	return out, nil
}

func readValues(t *testing.T, path string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]any)
	if err := yaml.UnmarshalStrict(data, &values); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return values
}

// sameAs compares a file with what it should be, or writes it.
func sameAs(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is stale, first at line %d: run go test -update here, and read the difference", path, firstDifference(string(got), want))
	}
}

func firstDifference(a, b string) int {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range x {
		if i >= len(y) || x[i] != y[i] {
			return i + 1
		}
	}
	return len(x)
}

// valueSets are the settings that are rendered in tests: the defaults, and each file
// in testdata.
func valueSets(t *testing.T) map[string]map[string]any {
	t.Helper()
	sets := map[string]map[string]any{"default": {}}
	paths, err := filepath.Glob("testdata/*.values.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no values in testdata: %v", err)
	}
	for _, path := range paths {
		sets[strings.TrimSuffix(filepath.Base(path), ".values.yaml")] = readValues(t, path)
	}
	return sets
}

func TestGolden(t *testing.T) {
	for name, values := range valueSets(t) {
		t.Run(name, func(t *testing.T) {
			files := rendered(t, values)
			var out strings.Builder
			for _, file := range slices.Sorted(maps.Keys(files)) {
				fmt.Fprintf(&out, "---\n# Source: %s\n%s", file, files[file])
			}
			sameAs(t, "testdata/"+name+".golden.yaml", out.String())
		})
	}
}

// onlyHelm are labels that say that Helm manages an object.
var onlyHelm = regexp.MustCompile(`(?m)^ *(helm\.sh/chart: .*|app\.kubernetes\.io/managed-by: Helm)\n`)

// TestPlainManifests: the chart is where manifests are changed, and deploy/ is what
// it renders by default.
func TestPlainManifests(t *testing.T) {
	files := rendered(t, map[string]any{"agent": map[string]any{"enabled": true}, "operators": map[string]any{"enabled": true}})
	acting := rendered(t, map[string]any{"controller": map[string]any{"capacity": map[string]any{"mode": "act"}}})
	const made = "#\n# Rendered from charts/evenkeel: change that, and run go test ./chart -update in rendertest/.\n"
	const namespace = `apiVersion: v1
kind: Namespace
metadata:
  name: evenkeel-system
  labels:
    app.kubernetes.io/name: evenkeel
    pod-security.kubernetes.io/enforce: restricted
`
	for _, m := range []struct {
		name, about string
		parts       []string
	}{
		{"controller.yaml", `# Evenkeel's controller, as it runs in a cluster: its identity, the rights that it
# needs and no others, and its Deployment. ` + "`kubectl apply -f`" + ` installs it after the
# queue's name and the region have been set in the Deployment. policies.yaml belongs
# to it.
`, []string{namespace, files["controller-rbac.yaml"], files["controller-deployment.yaml"]}},
		{"policies.yaml", `# What the controller and the agent may change of nodes and pods, where RBAC can
# only say that they may change them. ` + "`kubectl apply -f`" + ` installs it.
`, []string{files["admission-policy.yaml"]}},
		{"capacity.yaml", `# The rights of a controller that acts on capacity (--capacity=act), and what they are
# held to. ` + "`kubectl apply -f`" + ` installs it, beside controller.yaml.
`, []string{acting["capacity.yaml"]}},
		{"agent.yaml", `# The agent that asks every spot machine's metadata for notices: a second ear
# beside the queue. ` + "`kubectl apply -f`" + ` installs it. policies.yaml belongs to it.
`, []string{files["agent.yaml"]}},
		{"operators.yaml", `# The rights of people who run ` + "`evenkeel drain` and `evenkeel cancel`" + `: members of
# the group evenkeel-operators. ` + "`kubectl apply -f`" + ` installs it after the subjects have
# been set. The Role is in the controller's namespace.
`, []string{files["operator-rbac.yaml"]}},
	} {
		text := m.about + made + onlyHelm.ReplaceAllString(strings.Join(m.parts, "---\n"), "")
		sameAs(t, filepath.Join(deployDir, m.name), text)
	}
}

// TestSchemaKnowsEveryValue: a value without a place in the schema could be written
// and ignored, and one without a default is not in the manual.
func TestSchemaKnowsEveryValue(t *testing.T) {
	data, err := os.ReadFile(chartDir + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	var compare func(path string, schema map[string]any, value any)
	compare = func(path string, schema map[string]any, value any) {
		properties, ok := schema["properties"].(map[string]any)
		if !ok {
			return // a leaf, or free-form as Kubernetes defines it
		}
		if schema["additionalProperties"] != false {
			t.Errorf("%s: a misspelled value would be accepted", path)
		}
		values, _ := value.(map[string]any)
		for name, sub := range properties {
			if path == "" && name == "global" { // Helm's own
				continue
			}
			if path == ".controller.resources" || path == ".agent.resources" {
				continue // as Kubernetes defines it
			}
			v, ok := values[name]
			if !ok {
				t.Errorf("%s.%s is in the schema, and not in values.yaml", path, name)
			}
			compare(path+"."+name, sub.(map[string]any), v)
		}
		for name := range values {
			if _, ok := properties[name]; !ok {
				t.Errorf("%s.%s is in values.yaml, and not in the schema", path, name)
			}
		}
	}
	compare("", schema, map[string]any(readValues(t, chartDir+"/values.yaml")))
}

// TestSchemaRefuses what cannot be meant, before anything is installed.
func TestSchemaRefuses(t *testing.T) {
	c := load(t)
	for _, test := range []struct{ values, want string }{
		{"controller: {replica: 2}", "replica"},
		{"controller: {replicas: many}", "/controller/replicas"},
		{"controller: {onDeadline: wait}", "/controller/onDeadline"},
		{"controller: {capacity: {mode: always}}", "/controller/capacity/mode"},
		{"controller: {margin: 2}", "/controller/margin"},
		{"controller: {spotNotice: 2 minutes}", "/controller/spotNotice"},
		{"controller: {image: {digest: latest}}", "/controller/image/digest"},
		{"controller: {sqs: {queue: ''}}", "/controller/sqs/queue"},
		{"agent: {cloud: alibaba}", "/agent/cloud"},
		{"agent: {namespace: {name: Agents}}", "/agent/namespace/name"},
		{"admissionPolicy: {validationActions: []}", "/admissionPolicy/validationActions"},
		{"admissionPolicy: {controllers: [{name: x}]}", "namespace"},
		{"operators: {subjects: [{kind: Person, name: ann}]}", "/operators/subjects/0/kind"},
		{"networkPolicy: {apiServerPort: 70000}", "/networkPolicy/apiServerPort"},
		{"monitor: {}", "monitor"},
	} {
		values := make(map[string]any)
		if err := yaml.Unmarshal([]byte(test.values), &values); err != nil {
			t.Fatal(err)
		}
		if _, err := tryRender(c, values); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an error about %q", test.values, err, test.want)
		}
	}
}

// TestReadme: the table of values is made of values.yaml's comments.
func TestReadme(t *testing.T) {
	data, err := os.ReadFile(chartDir + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := tableOf(string(data))
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(chartDir + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- values: made of values.yaml -->\n", "<!-- end of values -->\n"
	before, rest, ok := bytes.Cut(readme, []byte(begin))
	_, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		t.Fatal("README.md has no place for the table")
	}
	sameAs(t, chartDir+"/README.md", string(before)+begin+rows+end+string(after))
}

// tableOf makes a table of the values that have a comment "# -- …".
func tableOf(values string) (string, error) {
	var out strings.Builder
	out.WriteString("| value | default | what it is |\n| --- | --- | --- |\n")
	all := make(map[string]any)
	if err := yaml.Unmarshal([]byte(values), &all); err != nil {
		return "", err
	}
	var about []string
	path := make(map[int]string)
	for _, line := range strings.Split(values, "\n") {
		text := strings.TrimSpace(line)
		indent := len(line) - len(strings.TrimLeft(line, " "))
		switch {
		case strings.HasPrefix(text, "# -- "):
			about = []string{strings.TrimPrefix(text, "# -- ")}
		case strings.HasPrefix(text, "# ") && about != nil:
			about = append(about, strings.TrimPrefix(text, "# "))
		case text == "" || strings.HasPrefix(text, "#") || strings.HasPrefix(text, "-"):
		default:
			name, _, ok := strings.Cut(text, ":")
			if !ok {
				continue
			}
			path[indent] = name
			if about == nil {
				continue
			}
			var keys []string
			for i := 0; i <= indent; i += 2 {
				keys = append(keys, path[i])
			}
			def, err := lookUp(all, keys)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&out, "| `%s` | %s | %s |\n", strings.Join(keys, "."), def, strings.ReplaceAll(strings.Join(about, " "), "|", `\|`))
			about = nil
		}
	}
	return out.String(), nil
}

// lookUp returns a default as it is shown.
func lookUp(values map[string]any, keys []string) (string, error) {
	var v any = values
	for _, k := range keys {
		m, ok := v.(map[string]any)
		if !ok {
			return "", fmt.Errorf("%s is not in values.yaml", strings.Join(keys, "."))
		}
		v = m[k]
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	if len(b) > 60 {
		return "see values.yaml", nil
	}
	return "`" + string(b) + "`", nil
}
